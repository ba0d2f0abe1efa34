//! Where the time of a run went: by thread, by commit, and each pure stage measured for itself.
//!
//! Invariant: what is measured for itself runs after the measured stretch, on the same route and the
//! same bodies; its figures are shares of the run's CPU time, never added to it.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use snodo::run::Bus;
use snodo_core::{
    envelope::{
        Envelope, Message,
        amqp::{self, HeaderValue},
    },
    route::{Route, Verb},
    template::Scope,
};
use snodo_tests::bench_house as house;

use crate::{measure, route::envelope_of};

type Failure = Box<dyn Error + Send + Sync>;

/// Rounds of a stage that is measured for itself.
const ROUNDS: u32 = 5_000;

/// What was spent before the measured stretch.
#[derive(Debug)]
pub(crate) struct Before {
    threads: BTreeMap<&'static str, Duration>,
    commits: [u64; 3],
}

impl Before {
    /// Now.
    pub(crate) fn of(bus: &Bus) -> Self {
        Self { threads: measure::cpu_by_thread(), commits: commits(bus) }
    }
}

fn commits(bus: &Bus) -> [u64; 3] {
    let stats = bus.commits();
    [&stats.commits, &stats.rows, &stats.micros].map(|counter| counter.load(Relaxed))
}

/// Microseconds a message by thread and by stage; how many commits, of how many actions, how long.
pub(crate) fn of(bus: &Bus, before: &Before, name: &str, messages: u64) -> Result<Value, Failure> {
    let per_message = |time: Duration| round(time.as_secs_f64() * 1e6 / float(messages));
    let threads: Map<String, Value> = measure::cpu_by_thread()
        .into_iter()
        .map(|(thread, time)| {
            let spent =
                time.saturating_sub(before.threads.get(thread).copied().unwrap_or_default());
            (thread.to_owned(), per_message(spent).into())
        })
        .collect();
    let after = commits(bus);
    let [groups, rows, micros] =
        std::array::from_fn(|index| float(after[index].saturating_sub(before.commits[index])));
    let routes = bus.engine.routes();
    let route = routes.get(name).ok_or("the route is not there")?;
    Ok(json!({
        "cpu_us_by_thread": threads,
        "commits": groups,
        "actions_per_commit": round(rows / groups.max(1.0)),
        "commit_ms": round(micros / groups.max(1.0) / 1e3),
        "stage_us": stages_of(route)?,
    }))
}

/// Decode, validate, map (with the check of what it gives) and encode, in microseconds.
fn stages_of(route: &Route) -> Result<Value, Failure> {
    let data = Bytes::from(house::body_of(7));
    let envelope = envelope_of(&route.from, 7);
    let properties = amqp::encode(&envelope);
    let headers = || {
        let named = properties.headers.iter();
        named.map(|(name, value)| (*name, HeaderValue::Text(value.as_bytes())))
    };
    let body = route.body(&data)?;
    Ok(json!({
        "decode": each(|| amqp::decode(headers(), data.clone()).map(drop))?,
        "validate": each(|| route.body(&data).map(drop))?,
        "map": each(|| map(route, &envelope, &body))?,
        "encode": each(|| encode(&envelope, &body))?,
    }))
}

fn map(route: &Route, envelope: &Envelope, body: &Value) -> Result<(), snodo_core::fault::Fault> {
    let done = Map::new();
    let scope = Scope::new(body, envelope, &done);
    for step in route.each_step() {
        match &step.verb {
            Verb::Emit(emit) => drop(emit.emitted(&scope)?),
            Verb::Use(used) => drop(used.input(&scope)?),
            Verb::Choose(choose) => drop(choose.choose(&scope)?),
            Verb::Ask(ask) => drop(ask.question(&scope)?),
        }
    }
    Ok(())
}

fn encode(envelope: &Envelope, body: &Value) -> Result<(), serde_json::Error> {
    let data = serde_json::to_vec(body)?.into();
    let message = Message { envelope: envelope.clone(), data };
    drop(std::hint::black_box(amqp::encode(&message.envelope)));
    Ok(())
}

/// The mean of many rounds, in microseconds.
fn each<E: Into<Failure>>(mut work: impl FnMut() -> Result<(), E>) -> Result<f64, Failure> {
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(work()).map_err(Into::into)?;
    }
    Ok(round(begun.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)))
}

/// Two digits are more than the measure holds.
fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}
