//! Routes that file documents and make the register of a day; and bodies that the broker does not carry.
//!
//! Invariant: the engine, the adapters and the store are those of production; time stands still.

use serde_json::{Value, json};
use snodo::{
    broker::Settlement,
    engine::periods::Periods,
    ledger::documents::{Origin, Posted},
};
use snodo_core::{
    document::Document,
    ids::{DeliveryId, Digest, StepKey},
    kept::Kept as _,
    message_state::DeliveryState,
};

use super::{super::stage::Stage, document};

const DOCUMENT: &str = include_str!("../../../schemas/documents/document.v1.json");
const FORM: &str = r#"{
  "type": "object", "additionalProperties": false, "required": ["note"],
  "properties": {
    "note": { "type": "string", "minLength": 1 },
    "papers": { "type": "array", "maxItems": 100, "items": { "$ref": "../documents/document.v1.json" } },
    "told": true
  }
}"#;
const DONE: &str = r#"{
  "x-unclaimed": "discard", "type": "object", "additionalProperties": true
}"#;
const FILE: &str =
    "route: file\ntitle: t\noffice: o\nfrom: test.form.v1\npurpose: test\nactor: system\n\
steps:
  - register:
      use: protocollo.register
      with: { direction: internal, subject: \"${ .note }\" }
  - archive:
      use: archive.store
      with: { documents: \"${ .papers }\", protocol: \"${ $steps.register.number }\" }
  - described:
      use: archive.describe
      with: { protocol: \"${ $steps.register.number }\" }
  - done:
      emit: test.done.v1
      with: { held: \"${ $steps.described.documents }\" }
";
/// Takes what the message merely tells of a document for one of its own.
const STEAL: &str =
    "route: steal\ntitle: t\noffice: o\nfrom: test.form.v1\npurpose: test\nactor: system\n\
when: .told != null
steps:
  - archive:
      use: archive.store
      with: { documents: [\"${ .told }\"], protocol: \"0000001/2026\" }
";
const FORWARD: &str = "route: forward\ntitle: t\noffice: o\nfrom: test.form.v1\npurpose: test\n\
actor: system\nsteps:\n  - on: { emit: test.done.v1, with: { note: \"${ .note }\" } }\n";
const DAILY: &str = include_str!("../../../routes/daily-register.yaml");
const DAY: &str = include_str!("../../../schemas/protocollo/day-closed.v1.json");
const DUE: &str = include_str!("../../../schemas/protocollo/daily-register.due.v1.json");

async fn stage(routes: &[(&str, &str)]) -> Stage {
    let schemas = [
        ("schemas/documents/document.v1.json", DOCUMENT),
        ("schemas/test/form.v1.json", FORM),
        ("schemas/test/done.v1.json", DONE),
    ];
    Stage::new(&[&schemas[..], routes].concat()).await
}

/// Posts a document as the party that the stage sends as.
async fn post(stage: &Stage, name: &str, bytes: &[u8]) -> Document {
    let mut incoming = stage.store.begin().await.expect("begun");
    incoming.write(bytes).await.expect("written");
    let document = document(name, bytes);
    let rows = stage.ledger.documents().expect("it keeps documents");
    let origin = Origin::Party("p".to_owned());
    let posted = rows.post(&document, &origin, stage.now()).await.expect("written");
    assert_eq!(posted, Posted::New);
    incoming.seal().await.expect("sealed").put(&stage.store).await.expect("put");
    document
}

async fn bytes_of(stage: &Stage, document: &Document) -> Vec<u8> {
    let mut reading = stage.store.read(document.sha256, document.size).await.expect("opened");
    let mut bytes = Vec::new();
    while let Some(piece) = reading.next().await.expect("whole") {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

#[tokio::test]
async fn what_a_message_cites_is_filed_under_its_number_once() {
    let stage = stage(&[("routes/file.yaml", FILE)]).await;
    let engine = stage.start().await;
    let papers = [post(&stage, "a.txt", b"one").await, post(&stage, "b.txt", b"two").await];
    let keys = papers.iter().map(|paper| paper.key).collect();
    let form = json!({ "note": "moving", "papers": papers });
    stage.send_citing(&engine, "test.form.v1", &form, None, keys).await;
    stage.send(&engine, "test.form.v1", &json!({ "note": "no papers" }), None).await;
    assert_eq!(stage.carry(&engine, "file").await, [Settlement::Ack; 2]);
    let rows = stage.rows("file").await;
    assert!(rows.iter().all(|row| row.state == DeliveryState::Completed), "{rows:?}");
    let result = |row: usize, step: usize| rows[row].done[step].1.result.clone();
    let told = result(0, 1);
    assert_eq!(told["protocol"], "0000001/2026");
    let names = |held: &Value| {
        let held = held.as_array().into_iter().flatten();
        held.map(|held| held["document"]["name"].to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&told["documents"]), r#""a.txt" "b.txt""#);
    assert_eq!(told, result(0, 2), "what it holds is what was filed");
    assert_eq!(result(1, 1), json!({ "protocol": "0000002/2026", "documents": [] }));
}

#[tokio::test]
async fn a_document_that_is_damaged_or_not_the_messages_is_not_filed() {
    let stage = stage(&[("routes/file.yaml", FILE), ("routes/steal.yaml", STEAL)]).await;
    let engine = stage.start().await;
    let paper = post(&stage, "a.txt", b"one").await;
    stage.store.remove(paper.sha256).await.expect("removed");
    let form = json!({ "note": "moving", "papers": [paper] });
    stage.send_citing(&engine, "test.form.v1", &form, None, vec![paper.key]).await;
    stage.carry(&engine, "file").await;
    let others = post(&stage, "secret.txt", b"theirs").await;
    stage.send(&engine, "test.form.v1", &json!({ "note": "x", "told": others }), None).await;
    stage.carry(&engine, "steal").await;
    let codes = async |route: &str| {
        let rows = stage.rows(route).await;
        let parked = rows.into_iter().filter(|row| row.state == DeliveryState::Parked);
        parked.map(|row| row.fault.expect("a fault").code).collect::<Vec<_>>()
    };
    assert_eq!(codes("file").await, ["SN0731"]);
    assert_eq!(codes("steal").await, ["SN0730"]);
    let rows = stage.ledger.documents().expect("it keeps documents");
    assert_eq!(rows.filed("archive", "0000001/2026").await.expect("read"), []);
}

#[tokio::test]
async fn the_register_of_a_day_is_a_document_that_is_registered_and_filed() {
    let stage = stage(&[
        ("routes/file.yaml", FILE),
        ("routes/daily-register.yaml", &DAILY.replace("protocol-register", "test")),
        ("schemas/protocollo/day-closed.v1.json", DAY),
        ("schemas/protocollo/daily-register.due.v1.json", DUE),
    ])
    .await;
    let engine = stage.start().await;
    let mut periods = Periods::new(std::sync::Arc::clone(&engine));
    assert_eq!(periods.step().await.expect("a step"), 0);
    for note in ["first", "second"] {
        stage.send(&engine, "test.form.v1", &json!({ "note": note }), None).await;
    }
    stage.carry(&engine, "file").await;
    stage.pass(26 * 60);
    assert_eq!(periods.step().await.expect("a step"), 1);
    assert_eq!(stage.carry(&engine, "daily-register").await, [Settlement::Ack]);
    let row = stage.rows("daily-register").await.pop().expect("a delivery");
    assert_eq!(row.state, DeliveryState::Completed, "{:?}", row.fault);
    let made = &row.done[0].1.result;
    assert_eq!((&made["from"], &made["day"]), (&json!("2026-11-24"), &json!("2026-11-24")));
    let document: Document = serde_json::from_value(made["document"].clone()).expect("one");
    assert_eq!(document.name, "registro-giornaliero-c_g273-2026-11-24.json");
    let bytes = bytes_of(&stage, &document).await;
    assert_eq!(document.sha256, Digest::of(&bytes));
    let register: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!((&register["count"], &register["aoo"]), (&json!(2), &json!("c_g273")));
    let entries = register["entries"].as_array().expect("a list");
    assert_eq!(entries[1]["number"], "0000002/2026");
    assert_eq!(entries[1]["record"], json!({ "direction": "internal", "subject": "second" }));
    assert_eq!(entries[1]["state"], "registered");
    let number = row.done[1].1.result["number"].as_str().expect("a number").to_owned();
    let rows = stage.ledger.documents().expect("it keeps documents");
    let filed = rows.filed("archive", &number).await.expect("read");
    assert_eq!(filed.iter().map(|filed| &filed.document).collect::<Vec<_>>(), [&document]);
}

#[tokio::test]
async fn what_a_step_was_making_when_its_process_died_is_made_again_under_its_key() {
    let stage = stage(&[("routes/file.yaml", FILE)]).await;
    stage.start().await;
    let keeper = stage.keeper();
    let step = StepKey { delivery: DeliveryId(uuid::Uuid::nil()), step: "list".to_owned() };
    let make = async || {
        let mut making = keeper.make(&step).await.expect("begun");
        making.write(b"entries").await.expect("written");
        making.finish("a.json".to_owned(), "application/json".to_owned()).await.expect("made")
    };
    let first = make().await;
    assert_eq!(keeper.made(&step).await, Ok(Some(first.clone())));
    // The row was written, the file never came to its place.
    stage.store.remove(first.sha256).await.expect("removed");
    assert_eq!(keeper.made(&step).await, Ok(None));
    assert_eq!(make().await, first);
    assert_eq!(bytes_of(&stage, &first).await, b"entries");
}

#[tokio::test]
async fn a_large_body_stays_in_the_ledger_and_is_carried_whole() {
    let stage = stage(&[("routes/forward.yaml", FORWARD)]).await;
    let engine = stage.start().await;
    let long = "è".repeat(200 << 10);
    stage.send(&engine, "test.form.v1", &json!({ "note": long }), None).await;
    stage.send(&engine, "test.form.v1", &json!({ "note": "short" }), None).await;
    let copies = stage.copies(&engine, "forward").await;
    let [large, small] = &copies[..] else { panic!("two copies") };
    let id = large.message.envelope.id;
    assert_eq!(large.message.envelope.data_ref, Some(format!("/v1/messages/{id}/data")));
    assert!(large.message.data.is_empty() && large.message.is_claim());
    assert!(!small.message.is_claim() && !small.message.data.is_empty());
    assert_eq!(stage.carry(&engine, "forward").await, [Settlement::Ack; 2]);
    let rows = stage.rows("forward").await;
    assert!(rows.iter().all(|row| row.state == DeliveryState::Completed), "{rows:?}");
    let story = stage.ledger.story(id).await.expect("read").expect("there");
    let emitted = stage.ledger.message(story.derived[0]).await.expect("read").expect("there");
    let body: Value = serde_json::from_slice(&emitted.data).expect("JSON");
    assert_eq!(body["note"], json!(long));
    assert_eq!(emitted.envelope.data_ref, None, "the ledger has the body itself");
}
