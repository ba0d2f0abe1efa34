//! One route of the bus in this process: everything is accepted and published beforehand, then its queue
//! is consumed, measured, until every delivery has ended.
//!
//! Invariant: the measured stretch holds all that a message costs after its copy lies in the queue:
//! decode, validate, map, commit, publish what was emitted, confirm, mark.

use std::{
    error::Error,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use snodo::{
    engine::{Limits, accept::Admitted},
    house::check,
    run::{Bus, Scope},
    settings::Surroundings,
};
use snodo_core::{
    envelope::{Envelope, IdempotencyKey, Message, content_digest},
    ids::MessageId,
    timestamp::Timestamp,
};

use snodo_tests::bench_house as house;

use crate::{
    measure::{self, Measured},
    stages,
};

type Failure = Box<dyn Error + Send + Sync>;

/// Accepts under way at once while the queue is filled.
const AT_ONCE: usize = 256;

/// Measures `messages` through the route called `name`.
pub(crate) async fn run(folder: &Path, name: &str, messages: u64) -> Result<Measured, Failure> {
    let catalog = snodo_adapters::catalog();
    let (checked, said) = check(folder, &Surroundings::default(), &catalog);
    let checked = checked.ok_or_else(|| snodo_core::diagnostic::render_text(&said))?;
    let limits = Limits { per_route: i64::MAX, ..Limits::default() };
    let bus = Bus::start(checked, Scope { consume: false, limits }).await?;
    fill(&bus, name, messages).await?;
    let before = stages::Before::of(&bus);
    let start = measure::start();
    let begun = Instant::now();
    bus.consume();
    let emitted = if name == "fast" { "party:sink" } else { name };
    until(&bus, &[name, emitted], messages).await?;
    let mut measured = start.stop(messages, begun.elapsed());
    measured.stages = stages::of(&bus, &before, name, messages)?;
    bus.stop().await;
    Ok(measured)
}

/// Accepts every message and waits until each copy lies in its queue.
async fn fill(bus: &Bus, name: &str, messages: u64) -> Result<(), Failure> {
    let mut accepts = stream::iter(0..messages)
        .map(|number| bus.engine.accept(admitted(bus, name, number)))
        .buffer_unordered(AT_ONCE);
    while let Some(answer) = accepts.next().await {
        answer?;
    }
    while !bus.ledger.queued_subscribers().await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The envelope of message `number`.
pub(crate) fn envelope_of(kind: &str, number: u64) -> Envelope {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    Envelope {
        id: MessageId::accepted(0, random),
        source: "/bench".to_owned(),
        kind: kind.to_owned(),
        subject: None,
        time: Timestamp(0),
        correlation: None,
        causation: None,
        traceparent: None,
        party: Some("sender".to_owned()),
        purpose: None,
        case: None,
        actor: None,
        actor_location: None,
        actor_loa: None,
        data_ref: None,
    }
}

fn admitted(bus: &Bus, name: &str, number: u64) -> Admitted {
    let kind = format!("bench.{name}.v1");
    let data = house::body_of(number);
    let digest = content_digest(&kind, None, &data);
    let envelope = Envelope { id: bus.engine.new_message_id(), ..envelope_of(&kind, number) };
    let sender_id = number.to_string();
    Admitted {
        message: Arc::new(Message { envelope, data: data.into() }),
        key: IdempotencyKey { party: "sender".to_owned(), source: "/bench".to_owned(), sender_id },
        digest,
        source: "party:sender".into(),
        to: Vec::new(),
        documents: Vec::new(),
        cursor: None,
    }
}

/// Waits until so many deliveries of each subscriber are completed.
async fn until(bus: &Bus, subscribers: &[&str], messages: u64) -> Result<(), Failure> {
    let wanted = i64::try_from(messages)?;
    let begun = Instant::now();
    loop {
        let totals = bus.ledger.delivery_totals().await?;
        let done = |name: &str| {
            totals.iter().any(|total| {
                &*total.name == name && total.bucket == "completed" && total.n >= wanted
            })
        };
        if subscribers.iter().all(|name| done(name)) {
            return Ok(());
        }
        if begun.elapsed() > Duration::from_mins(5) {
            return Err(format!("not every delivery ended: {totals:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
