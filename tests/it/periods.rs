//! Clocks over a real ledger: each period one message, whatever was missed, whoever starts again.
//!
//! Invariant: time moves only when a test says so.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};
use snodo::engine::periods::{Periods, SOURCE};
use snodo_core::{adapter::Cursor, ids::MessageId, timestamp::Timestamp};

use super::stage::Stage;

const DAILY: &str = "route: daily\ntitle: t\noffice: o\n\
    from: { every: \"day at 02:30\", zone: Europe/Rome, as: test.day.v1, missed: once }\n\
    purpose: test\nactor: system\nsteps:\n\
    \x20 - on: { emit: test.closed.v1, with: { day: \"${ .period }\" } }\n";
const CLOSED: &str = r#"{
  "x-unclaimed": "discard", "type": "object", "additionalProperties": false,
  "properties": { "day": { "type": "string" } }
}"#;
const DAY: &str = r#"{
  "type": "object", "additionalProperties": false, "required": ["period", "scheduledFor", "since"],
  "properties": {
    "period": { "type": "string" }, "scheduledFor": { "type": "string", "format": "date-time" },
    "since": { "type": ["string", "null"], "format": "date-time" }
  }
}"#;

/// At midnight UTC of 24 November 2026: half past two in Rome is an hour and a half away.
async fn stage() -> Stage {
    let files = [
        ("routes/daily.yaml", DAILY),
        ("schemas/test/day.v1.json", DAY),
        ("schemas/test/closed.v1.json", CLOSED),
    ];
    Stage::new(&files).await
}

/// The clocks of a process that starts now.
async fn start(stage: &Stage) -> Periods {
    Periods::new(stage.start().await)
}

async fn total(stage: &Stage, bucket: &str) -> i64 {
    let totals = stage.ledger.message_totals().await.expect("read");
    let total = totals.iter().find(|one| &*one.name == SOURCE && one.bucket == bucket);
    total.map_or(0, |total| total.n)
}

/// Puts the cursor back, as an instance saw it that read it too early.
async fn forget(stage: &Stage) {
    let engine = stage.start().await;
    let cursor = Cursor {
        instance: SOURCE.to_owned(),
        partition: "daily".to_owned(),
        value: "2026-11-20T01:30:00.000Z".to_owned(),
    };
    stage.send(&engine, "test.closed.v1", &json!({}), Some(cursor)).await;
}

fn body(day: &str, since: Option<&str>) -> Value {
    let at = |day: &str| format!("2026-11-{day}T01:30:00.000Z");
    json!({
        "period": format!("2026-11-{day}T02:30"), "scheduledFor": at(day), "since": since.map(at),
    })
}

#[tokio::test]
async fn a_period_is_accepted_when_its_time_has_come_and_once() {
    let stage = stage().await;
    let mut periods = start(&stage).await;
    stage.pass(89);
    assert_eq!(periods.step().await.expect("a step"), 0, "the one of yesterday is not made up for");
    stage.pass(1);
    assert_eq!(periods.step().await.expect("a step"), 1);
    assert_eq!(periods.step().await.expect("a step"), 0);
    assert_eq!(stage.bodies("daily").await, [body("24", None)]);
    let id = MessageId::of_period(1_795_483_800_000, "daily", "2026-11-24T02:30");
    let message = stage.ledger.message(id).await.expect("read").expect("its id is the period's");
    assert_eq!(message.envelope.kind, "test.day.v1");
    assert_eq!(message.envelope.source, "/clock/daily");
    assert_eq!(message.envelope.time, Timestamp(1_795_483_800_000));
    assert_eq!((total(&stage, "received").await, total(&stage, "accepted").await), (1, 1));
}

#[tokio::test]
async fn what_an_outage_missed_runs_once_and_says_since_when() {
    let stage = stage().await;
    let mut periods = start(&stage).await;
    stage.pass(90);
    assert_eq!(periods.step().await.expect("a step"), 1);
    drop(periods);
    stage.pass(3 * 24 * 60 + 7);
    let mut periods = start(&stage).await;
    assert_eq!(periods.step().await.expect("a step"), 1);
    assert_eq!(periods.step().await.expect("a step"), 0);
    assert_eq!(stage.bodies("daily").await, [body("24", None), body("27", Some("24"))]);
    // A start shortly before the time, and one shortly after it.
    stage.pass(24 * 60 - 10);
    let mut early = start(&stage).await;
    assert_eq!(early.step().await.expect("a step"), 0);
    stage.pass(10);
    let mut late = start(&stage).await;
    assert_eq!(late.step().await.expect("a step"), 1);
    assert_eq!(early.step().await.expect("a step"), 0, "another start has taken it");
    assert_eq!(stage.bodies("daily").await.len(), 3);
}

#[tokio::test]
async fn a_period_that_could_not_be_written_is_written_later() {
    let stage = stage().await;
    let mut periods = start(&stage).await;
    stage.pass(91);
    stage.write.refuses.store(true, SeqCst);
    periods.step().await.expect_err("nothing was written");
    assert!(stage.bodies("daily").await.is_empty());
    assert_eq!(periods.step().await.expect("a step"), 1);
    assert_eq!(stage.bodies("daily").await, [body("24", None)]);
}

#[tokio::test]
async fn two_instances_that_find_the_same_period_due_accept_one_message() {
    let stage = stage().await;
    let mut periods = start(&stage).await;
    stage.pass(90);
    assert_eq!(periods.step().await.expect("a step"), 1);
    // As an instance saw it that read the cursor before this one wrote it.
    forget(&stage).await;
    let mut other = start(&stage).await;
    stage.pass(24 * 60);
    assert_eq!(other.step().await.expect("a step"), 1);
    forget(&stage).await;
    let mut third = start(&stage).await;
    stage.pass(5);
    assert_eq!(third.step().await.expect("a step"), 1, "it found it due");
    let bodies = stage.bodies("daily").await;
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert_eq!(total(&stage, "repeated").await, 1);
}
