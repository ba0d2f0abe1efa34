//! The contract suite of adapters: what every kind of the catalogue keeps, and each effect safety.
//!
//! Invariant: a kind that joins the catalogue without joining this suite fails it.

mod calls;
mod content;
mod database;
mod kept;
mod register;
mod written;

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};
use snodo::suite::kept::KeepsNothing;
use snodo_adapters::catalog;
use snodo_core::{
    adapter::{Call, OpenError, Opening, Port},
    diagnostic::SourceFile,
    ids::{DeliveryId, MessageId, StepKey},
    schema::{SchemaFile, Schemas},
};

/// What must never be in an error text.
const PERSONAL: [&str; 4] = ["RSSMRA80A01G273Z", "Mario", "Rossi", "hunter2"];

/// Every kind with options that open.
fn entries() -> Vec<(&'static str, Value)> {
    vec![
        ("anpr", anpr_options("http://127.0.0.1:9")),
        ("archive", json!({})),
        ("http", region_options("http://127.0.0.1:9", "20s")),
        ("isee", isee_options("http://127.0.0.1:9")),
        ("protocollo", json!({ "aoo": "c_g273" })),
        ("sql", database::options(&json!({ "sqlite": "/nowhere/registry.db" }))),
    ]
}

/// ANPR and PDND on one host, one purpose that may ask every service that the bus knows.
fn anpr_options(host: &str) -> Value {
    let id = |number: u128| uuid::Uuid::from_u128(number);
    json!({
        "base": format!("{host}/govway/rest/in/MinInternoPortaANPR-PDND"),
        "token": format!("{host}/token.oauth2"),
        "client": id(100), "kid": "key-1", "key": { "file": "/nowhere/pdnd.pem" },
        "purposes": {
            "school-canteen": { "C001": id(1), "C004": id(4), "C021": id(21), "C030": id(30) }
        }
    })
}

/// INPS and PDND on one host.
fn isee_options(host: &str) -> Value {
    let id = |number: u128| uuid::Uuid::from_u128(number);
    json!({
        "base": format!("{host}/pdnd/soap/ConsultazioneISEE/v1"),
        "token": format!("{host}/token.oauth2"),
        "client": id(100), "kid": "key-1", "key": { "file": "/nowhere/pdnd.pem" },
        "purposes": { "school-canteen": { "indicator": id(99) } },
        "benefits": { "school-canteen": "A1.01" }, "office": "001"
    })
}

/// The region in all three effect safeties.
fn region_options(base: &str, deadline: &str) -> Value {
    let operation = |path: &str, effect: Value| {
        json!({ "method": "POST", "path": path, "input": "regione/residence-notification.v1",
                "output": "regione/residence-notified.v1", "effect": effect, "deadline": deadline })
    };
    json!({
        "base": base,
        "answer_limit": "64KiB",
        "operations": {
            "notify": operation("/notifications", json!("idempotent")),
            "notify_once": operation("/once", json!("once")),
            "notify_recallable": operation("/recallable", json!({ "recallable": "lookup" })),
            "lookup": { "method": "GET", "path": "/lookup", "deadline": deadline }
        }
    })
}

fn house() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every schema file of the house.
fn schema_files() -> Vec<SchemaFile> {
    let root = house().join("schemas");
    let mut files = Vec::new();
    for domain in std::fs::read_dir(&root).expect("schemas/ is there").flatten() {
        let Ok(names) = std::fs::read_dir(domain.path()) else { continue };
        for file in names.flatten() {
            let path = file.path().strip_prefix(&root).expect("below").display().to_string();
            let text = std::fs::read_to_string(file.path()).expect("readable");
            let file = SourceFile { path: format!("schemas/{path}"), text };
            files.push(SchemaFile { file: Arc::new(file), path });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn schemas() -> Arc<Schemas> {
    let (schemas, diagnostics) = Schemas::load(&schema_files());
    assert_eq!(diagnostics, [], "the schemas of the house have no mistake");
    Arc::new(schemas)
}

fn open(kind: &str, options: Value) -> Result<Arc<dyn Port>, OpenError> {
    let opening = Opening { instance: "far".to_owned(), schemas: schemas() };
    catalog().open(kind, options, &opening).expect("the kind is in the catalogue")
}

fn step_key(step: &str) -> StepKey {
    let message = MessageId::accepted(1_764_000_000_123, [7; 10]);
    StepKey { delivery: DeliveryId::derived(message, "notify-region"), step: step.to_owned() }
}

fn call<'a>(operation: &'a str, input: &'a Value, step_key: &'a StepKey) -> Call<'a> {
    Call {
        operation,
        input,
        step_key,
        traceparent: None,
        kept: &KeepsNothing,
        order_no: None,
        asking: None,
    }
}

fn assert_impersonal(text: &str) {
    for datum in PERSONAL {
        assert!(!text.contains(datum), "`{datum}` is told: {text}");
    }
}

#[test]
fn every_kind_of_the_catalogue_is_in_this_suite() {
    let kinds: Vec<&str> = catalog().kinds().collect();
    let tested: Vec<&str> = entries().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, tested);
}

#[test]
fn every_kind_opens_without_its_far_side_and_types_its_operations() {
    let schemas = schemas();
    for (kind, options) in entries() {
        let port = open(kind, options).expect(kind);
        let operations = port.operations();
        assert!(!operations.is_empty(), "{kind} has no operation");
        for operation in &operations {
            let same = operations.iter().filter(|other| other.name == operation.name).count();
            assert_eq!(same, 1, "{kind} has two operations `{}`", operation.name);
            schemas.compile(&operation.input).expect(&operation.name);
            schemas.compile(&operation.output).expect(&operation.name);
            assert!(!operation.effect.needs_intent() || !operation.settles_within.is_zero());
        }
    }
}

#[test]
fn an_unknown_option_is_refused_at_its_place_without_repeating_its_value() {
    for (kind, mut options) in entries() {
        options["colour"] = json!("hunter2");
        let error = open(kind, options).err().expect(kind);
        assert_eq!(error.pointer, "/colour", "{kind}: {error}");
        assert!(error.text.contains("colour"), "{error}");
        assert!(!error.help.is_empty());
        assert_impersonal(&error.to_string());
    }
}

#[test]
fn an_unknown_option_of_an_operation_is_refused_at_its_place() {
    let mut options = region_options("http://127.0.0.1:9", "20s");
    options["operations"]["notify"]["retries"] = json!(3);
    let error = open("http", options).err().expect("refused");
    assert_eq!(error.pointer, "/operations/notify/retries", "{error}");
}

#[test]
fn a_literal_secret_is_refused_without_being_repeated() {
    let mut options = region_options("http://127.0.0.1:9", "20s");
    options["auth"] = json!({ "bearer": "hunter2" });
    let error = open("http", options).err().expect("refused");
    assert_eq!(error.pointer, "/auth/bearer", "{error}");
    assert_impersonal(&format!("{error:?}"));
}

#[test]
fn an_operation_that_is_not_there_is_a_mistake_of_the_bus() {
    for (kind, options) in entries() {
        let port = open(kind, options).expect(kind);
        let key = step_key("x");
        let input = json!({ "taxCode": "RSSMRA80A01G273Z" });
        let fault = port.ledger_effect(&call("nothing", &input, &key)).expect_err(kind);
        assert_eq!(fault.code, "SN0901", "{kind}");
        assert_impersonal(&format!("{fault:?}"));
    }
}
