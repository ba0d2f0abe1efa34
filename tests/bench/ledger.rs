//! The ledger alone, without a broker: what a message costs there, in groups as the fast path makes them.
//!
//! Invariant: the same actions as the fast path submits, on the same kind of file: accept; settle with
//! one emission; hand over. Nothing is read.

use std::{error::Error, path::Path, sync::Arc, time::Instant};

use serde_json::json;
use snodo::ledger::{self, Accept, Action, Created, Emission, Ledger, NewDelivery, Outcome};
use snodo_core::{
    envelope::{Envelope, IdempotencyKey, Message},
    ids::{DeliveryId, Digest, MessageId},
    timestamp::Timestamp,
};
use snodo_tests::bench_house as house;

use crate::{
    measure::{self, Measured},
    route::envelope_of,
};

type Failure = Box<dyn Error + Send + Sync>;

/// Actions of a group: what the fast path submits at once under load.
const GROUP: u64 = 256;
const VERSION: Digest = Digest([1; 32]);
const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// Measures `messages` on a SQLite file in `folder`.
pub(crate) async fn run(folder: &Path, messages: u64) -> Result<Measured, Failure> {
    std::fs::create_dir_all(folder)?;
    let settings = ledger::Settings::sqlite(folder.join("ledger.db"));
    let ledger = ledger::open(&settings).await?;
    ledger.start("a", NOW).await?;
    let mut stages = [0.0; 3];
    let start = measure::start();
    let begun = Instant::now();
    for first in (0..messages).step_by(usize::try_from(GROUP)?) {
        let numbers = first..messages.min(first + GROUP);
        let ids: Vec<MessageId> = numbers.clone().map(id_of).collect();
        let rows = timed(&mut stages[0], &*ledger, numbers.map(accept).collect()).await?;
        let settles = ids.iter().zip(&created(&rows)).map(|(id, row)| settle(*id, row)).collect();
        let rows = timed(&mut stages[1], &*ledger, settles).await?;
        let handed = created(&rows).iter().map(hand_over).collect();
        timed(&mut stages[2], &*ledger, handed).await?;
    }
    let mut measured = start.stop(messages, begun.elapsed());
    let micros = |index: usize| (stages[index] * 1e6 / seconds(messages)).round();
    measured.stages =
        json!({ "accept_us": micros(0), "settle_us": micros(1), "hand_over_us": micros(2) });
    Ok(measured)
}

#[expect(clippy::cast_precision_loss, reason = "a count of messages")]
fn seconds(messages: u64) -> f64 {
    messages as f64
}

async fn timed(
    cpu: &mut f64,
    ledger: &dyn Ledger,
    actions: Vec<Action>,
) -> Result<Vec<Outcome>, Failure> {
    let before = measure::cpu_of_this_process();
    let outcomes = ledger.commit(&actions, NOW).await?;
    *cpu += (measure::cpu_of_this_process().saturating_sub(before)).as_secs_f64();
    Ok(outcomes)
}

/// As if five messages were accepted a millisecond: ids are in the order of their time, and random
/// within it.
fn id_of(number: u64) -> MessageId {
    let mut random = [0; 10];
    random.copy_from_slice(&Digest::of(&number.to_be_bytes()).0[..10]);
    MessageId::accepted(NOW.0.unsigned_abs() + number / 5, random)
}

fn message(id: MessageId, kind: &str) -> Arc<Message> {
    let envelope = Envelope { id, ..envelope_of(kind, 0) };
    Arc::new(Message { envelope, data: house::body_of(7).into() })
}

fn owed(id: MessageId, subscriber: &str) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::derived(id, subscriber),
        subscriber: subscriber.into(),
        route_digest: VERSION,
        held: true,
        place: None,
    }
}

fn accept(number: u64) -> Action {
    let id = id_of(number);
    Action::Accept(Box::new(Accept {
        message: message(id, "bench.fast.v1"),
        key: IdempotencyKey {
            party: "sender".to_owned(),
            source: "/bench".to_owned(),
            sender_id: number.to_string(),
        },
        digest: Digest::of(&number.to_be_bytes()),
        source: "party:sender".into(),
        deliveries: vec![owed(id, "fast")],
        documents: Vec::new(),
        cursor: None,
        outdates: None,
    }))
}

fn created(outcomes: &[Outcome]) -> Vec<Created> {
    let created = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Accepted { created } | Outcome::Settled { created } => created.first().cloned(),
        _ => None,
    });
    created.collect()
}

fn settle(cause: MessageId, row: &Created) -> Action {
    let id = MessageId::derived(cause, "fast", "forward", "");
    let emission = Emission {
        message: message(id, "bench.forwarded.v1"),
        deliveries: vec![owed(id, "party:sink")],
        documents: Vec::new(),
        outdates: None,
    };
    Action::Settle {
        seq: row.seq,
        id: row.id,
        round: 1,
        subscriber: "fast".into(),
        route_digest: VERSION,
        filtered: false,
        emits: vec![emission],
    }
}

fn hand_over(row: &Created) -> Action {
    Action::HandOver {
        seq: row.seq,
        id: row.id,
        round: 1,
        subscriber: "party:sink".into(),
        route_digest: VERSION,
    }
}
