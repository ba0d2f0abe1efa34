//! The words of the route language in a running engine: which steps are done, with what, and what a
//! retry makes of them.
//!
//! Invariant: every claim is about rows of the ledger and calls of the far side.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};
use snodo::{broker::Settlement, ledger::Row};
use snodo_core::{fault::FaultClass, message_state::DeliveryState};

use super::stage::Stage;

const THING: &str = r#"{
  "type": "object", "additionalProperties": false, "required": ["kind", "items"],
  "properties": {
    "kind": { "enum": ["child", "adult", "other"] },
    "items": { "type": "array", "items": { "type": "integer" } }
  }
}"#;
const OUT: &str = r#"{ "type": "object", "additionalProperties": true }"#;
const TAKER: &str = "route: taker\ntitle: t\noffice: o\nfrom: test.out.v1\npurpose: test\n\
    actor: system\nsteps:\n  - put: { use: far.put, with: {} }\n";

const ENROL: &str = r#"route: enrol
title: t
office: o
from: test.thing.v1
purpose: test
actor: system
retry: { first: 1s, longest: 10s, give_up_after: 1h }
steps:
  - which:
      choose:
        - when: .kind == "child"
          then:
            - enrol: { use: far.put, with: { n: 1 }, if_refused: continue }
            - told:
                when: $steps.enrol.refused == null
                use: far.post
                with: { at: "${ $steps.enrol.at }" }
        - when: .kind == "adult"
          then:
            - annul:
                use: protocollo.annul
                with: { number: 0000001/2020, reason: an act }
                if_refused: continue
        - otherwise: []
  - out:
      emit: test.out.v1
      with:
        branch: ${ $steps.which.branch }
        enrolled: ${ $steps.enrol }
        told: ${ $steps.told }
        annulled: ${ $steps.annul }
"#;

async fn stage(route: &str) -> Stage {
    let files = [
        ("routes/enrol.yaml", route),
        ("routes/taker.yaml", TAKER),
        ("schemas/test/thing.v1.json", THING),
        ("schemas/test/out.v1.json", OUT),
    ];
    Stage::new(&files).await
}

fn thing(kind: &str) -> Value {
    json!({ "kind": kind, "items": [] })
}

/// Ids and operations of the done steps of the only row.
fn done(row: &Row) -> Vec<String> {
    row.done.iter().map(|(id, done)| format!("{id}: {}", done.operation)).collect()
}

async fn only(stage: &Stage) -> Row {
    let rows = stage.rows("enrol").await;
    assert_eq!(rows.len(), 1);
    rows.into_iter().next().expect("one")
}

#[tokio::test]
async fn the_branch_that_is_taken_is_a_done_step_and_so_is_each_step_in_it() {
    let stage = stage(ENROL).await;
    let engine = stage.start().await;
    stage.send(&engine, "test.thing.v1", &thing("child"), None).await;
    assert_eq!(stage.carry(&engine, "enrol").await, [Settlement::Ack]);
    let row = only(&stage).await;
    assert_eq!(row.state, DeliveryState::Completed);
    assert_eq!(
        done(&row),
        [
            "which: choose:enrol",
            "enrol: far.put",
            "told.when: choose:told",
            "told: far.post",
            "out: emit:test.out.v1",
        ]
    );
    assert_eq!(stage.far.script().calls, ["enrol", "told"]);
    let here = json!({ "at": "here" });
    let expected = json!({ "branch": "enrol", "enrolled": here, "told": here, "annulled": null });
    assert_eq!(stage.bodies("taker").await, [expected]);
}

#[tokio::test]
async fn a_branch_that_does_nothing_can_be_the_end() {
    let last = ENROL.split("  - out:").next().expect("a head").to_owned();
    let stage = stage(&last).await;
    let engine = stage.start().await;
    stage.send(&engine, "test.thing.v1", &thing("other"), None).await;
    assert_eq!(stage.carry(&engine, "enrol").await, [Settlement::Ack]);
    let row = only(&stage).await;
    assert_eq!(
        (row.state, done(&row)),
        (DeliveryState::Completed, vec!["which: choose:-".to_owned()])
    );
}

#[tokio::test]
async fn a_targets_no_is_data_where_the_route_goes_on_after_it() {
    let stage = stage(ENROL).await;
    let engine = stage.start().await;
    stage.send(&engine, "test.thing.v1", &thing("child"), None).await;
    stage.far.next(FaultClass::Refused);
    assert_eq!(stage.carry(&engine, "enrol").await, [Settlement::Ack]);
    let row = only(&stage).await;
    assert_eq!(row.state, DeliveryState::Completed);
    assert_eq!(done(&row)[1..3], ["enrol: far.put", "told.when: choose:-"]);
    let no = json!({ "refused": { "code": "SN0763", "reason": "full" } });
    let expected = json!({ "branch": "enrol", "enrolled": no, "told": null, "annulled": null });
    assert_eq!(stage.bodies("taker").await, [expected]);
    assert_eq!((row.attempts, row.intents.len()), (0, 0));
}

#[tokio::test]
async fn what_the_ledger_refuses_is_a_targets_no_too() {
    let stage = stage(ENROL).await;
    let engine = stage.start().await;
    stage.send(&engine, "test.thing.v1", &thing("adult"), None).await;
    assert_eq!(stage.carry(&engine, "enrol").await, [Settlement::Ack]);
    let row = only(&stage).await;
    assert_eq!(row.state, DeliveryState::Completed);
    let body = stage.bodies("taker").await.remove(0);
    assert_eq!(body["annulled"]["refused"]["code"], "SN0725", "{body}");
    assert_eq!(body["annulled"]["refused"]["reason"], "not_found", "{body}");
}

#[tokio::test]
async fn a_no_that_the_route_does_not_ask_for_parks_the_message() {
    let stage = stage(
        &ENROL
            .replace(", if_refused: continue }", " }")
            .replace("when: $steps.enrol.refused == null", "when: $steps.enrol != null"),
    )
    .await;
    let engine = stage.start().await;
    stage.send(&engine, "test.thing.v1", &thing("child"), None).await;
    stage.far.next(FaultClass::Refused);
    stage.carry(&engine, "enrol").await;
    let row = only(&stage).await;
    assert_eq!(
        (row.state, done(&row)),
        (DeliveryState::Parked, vec!["which: choose:enrol".to_owned()])
    );
    assert_eq!(row.fault.expect("a fault").step.as_deref(), Some("enrol"));
}

#[tokio::test]
async fn a_retry_goes_on_in_the_branch_that_was_taken() {
    let stage = stage(ENROL).await;
    let engine = stage.start().await;
    stage.send(&engine, "test.thing.v1", &thing("child"), None).await;
    stage.far.next(FaultClass::Transient { retry_after: None });
    stage.carry(&engine, "enrol").await;
    let row = only(&stage).await;
    assert_eq!(row.state, DeliveryState::Waiting);
    assert_eq!(done(&row), ["which: choose:enrol"]);
    // Another process, and an answer of the ledger that is lost on the way.
    let other = stage.start().await;
    stage.pass(1);
    stage.due().await;
    stage.write.refuses.store(true, SeqCst);
    assert_eq!(stage.carry(&other, "enrol").await, [Settlement::Return]);
    stage.carry(&other, "enrol").await;
    let row = only(&stage).await;
    assert_eq!(row.state, DeliveryState::Completed);
    assert_eq!(done(&row).iter().filter(|done| done.starts_with("which")).count(), 1);
    assert_eq!(stage.far.script().calls, ["enrol", "enrol", "told"]);
}

const SPREAD: &str = r#"route: enrol
title: t
office: o
from: test.thing.v1
purpose: test
actor: system
steps:
  - which:
      choose:
        - when: .kind == "child"
          then:
            - spread:
                emit: test.out.v1
                each: ${ .items }
                key: ${ $item }
                with: { n: "${ $item }" }
        - otherwise: []
"#;

#[tokio::test]
async fn a_route_that_chooses_and_emits_takes_the_fast_path_and_many_items_a_commit_of_their_own() {
    let stage = stage(SPREAD).await;
    let engine = stage.start().await;
    let items = |count: i64| json!({ "kind": "child", "items": (0..count).collect::<Vec<_>>() });
    for body in [items(3), items(400), thing("adult"), items(501), items(2)] {
        stage.send(&engine, "test.thing.v1", &body, None).await;
    }
    let copies = stage.copies(&engine, "enrol").await;
    assert!(copies.iter().all(|copy| engine.lane(copy, false) == snodo::engine::Lane::Fast));
    stage.write.groups.lock().expect("whole").clear();
    assert_eq!(engine.fast_batch(&copies).await, [Settlement::Ack; 5]);
    assert_eq!(*stage.write.groups.lock().expect("whole"), [403, 501, 2]);
    let rows = stage.rows("enrol").await;
    assert!(rows.iter().all(|row| row.state == DeliveryState::Completed && row.done.is_empty()));
    assert_eq!(stage.rows("taker").await.len(), 906);
}

#[tokio::test]
async fn more_items_than_there_may_be_park_the_message_with_words() {
    let stage = stage(SPREAD).await;
    let engine = stage.start().await;
    let body = json!({ "kind": "child", "items": (0..10_001).collect::<Vec<_>>() });
    stage.send(&engine, "test.thing.v1", &body, None).await;
    assert_eq!(stage.carry(&engine, "enrol").await, [Settlement::Ack]);
    let row = only(&stage).await;
    let fault = row.fault.expect("a fault");
    assert_eq!((row.state, fault.code.as_str()), (DeliveryState::Parked, "SN0756"));
    assert_eq!(fault.text, "`each` gave 10001 items; at most 10000");
    assert_eq!(fault.step.as_deref(), Some("spread"));
    assert!(stage.rows("taker").await.is_empty());
}
