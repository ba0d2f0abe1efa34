//! Tests of the compiler from files to rendered values.
//!
//! Invariant: they go through `compile` and what it gives, never around it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use super::{Compiled, House, Route, Verb, compile, compile_bundle};
use crate::{
    adapter::Operation,
    diagnostic::{Diagnostic, SourceFile, render_text},
    envelope::Envelope,
    ids::{Digest, MessageId},
    schema::Schemas,
    template::Scope,
    timestamp::Timestamp,
    verdict::EffectKind,
};

fn file(path: &str, text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile { path: path.to_owned(), text: text.to_owned() })
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object", "additionalProperties": false,
        "properties": properties, "required": required,
    })
}

fn person() -> Value {
    let text = json!({ "type": "string" });
    object(
        json!({ "taxCode": text, "familyName": text, "givenName": text, "email": text }),
        &["taxCode", "familyName", "givenName"],
    )
}

fn schemas() -> Schemas {
    let text = json!({ "type": "string" });
    let mut documents = BTreeMap::new();
    let mut add = |kind: &str, document: Value| documents.insert(kind.to_owned(), document);
    let mover = object(json!({ "taxCode": text }), &["taxCode"]);
    add(
        "anagrafe.residence-change.declared.v1",
        object(
            json!({
                "declaredBy": text, "applicant": person(), "notes": text, "count": { "type": "integer" },
                "movers": { "type": "array", "items": mover },
                "bodies": { "type": "array", "items": { "type": "object", "additionalProperties": true } },
            }),
            &["declaredBy", "applicant", "movers"],
        ),
    );
    let mut registered = object(
        json!({
            "protocol": text, "applicant": person(),
            "movers": { "type": "array", "items": text }, "note": text,
        }),
        &["protocol", "applicant", "movers"],
    );
    registered["x-unclaimed"] = json!("discard");
    add("anagrafe.residence-change.registered.v1", registered);
    add("demo.any.v1", json!({ "x-unclaimed": "discard" }));
    add("demo.in.v1", json!({ "type": "object", "additionalProperties": true }));
    add("demo.claimed.v1", json!({}));
    Schemas::from_documents(documents).expect("the test schemas compile")
}

fn operations() -> BTreeMap<String, Vec<Operation>> {
    let text = json!({ "type": "string" });
    let input = object(
        json!({
            "direction": { "enum": ["incoming", "outgoing"] }, "subject": text,
            "sender": object(json!({ "taxCode": text }), &["taxCode"]),
        }),
        &["direction", "subject", "sender"],
    );
    let output = object(json!({ "number": text, "year": { "type": "integer" } }), &["number"]);
    let register = Operation {
        name: "register".to_owned(),
        input: Arc::new(input),
        output: Arc::new(output),
        effect: EffectKind::Ledger,
        deadline: Duration::from_secs(5),
        settles_within: Duration::ZERO,
    };
    BTreeMap::from([("protocollo".to_owned(), vec![register])])
}

fn house(routes: &[&str]) -> House {
    let name = |(index, text): (usize, &&str)| file(&format!("routes/r{index}.yaml"), text);
    House {
        routes: routes.iter().enumerate().map(name).collect(),
        purposes: vec![file(
            "routes/purposes/residence-registration.yaml",
            "title: Registration of residence\nlaws: [dpr-223-1989]\nretention: 30d\nrecord: T-07\n",
        )],
        laws: vec![file("routes/laws.yaml", "dpr-223-1989: { title: DPR 223/1989 }\n")],
        parties: Vec::new(),
        schemas: Arc::new(schemas()),
        operations: operations(),
    }
}

fn compiled(house: &House) -> Compiled {
    let (compiled, diagnostics) = compile(house);
    compiled.unwrap_or_else(|| panic!("{}", render_text(&diagnostics)))
}

fn mistakes(house: &House) -> Vec<Diagnostic> {
    let (compiled, diagnostics) = compile(house);
    assert!(compiled.is_none(), "a house with mistakes must not run");
    diagnostics
}

fn envelope() -> Envelope {
    Envelope {
        id: MessageId::accepted(1_764_000_000_000, [1; 10]),
        source: "sportello".to_owned(),
        kind: "demo.in.v1".to_owned(),
        subject: Some("pratica/1".to_owned()),
        time: Timestamp(1_764_000_000_000),
        correlation: None,
        causation: None,
        traceparent: None,
        party: Some("region".to_owned()),
        purpose: None,
        case: None,
        actor: None,
        actor_location: None,
        actor_loa: None,
        data_ref: None,
    }
}

const RESIDENCE: &str = r#"# yaml-language-server: $schema=../config/route.schema.json
route: residence-change
title: A citizen moves house
office: anagrafe
from: anagrafe.residence-change.declared.v1
purpose: residence-registration                  # routes/purposes/residence-registration.yaml
actor: ${ .declaredBy }

steps:
  - register:                                    # id: snake_case, so that $steps.register reads as jq
      use: protocollo.register                   # adapter instance . operation
      with:
        direction: incoming
        subject: Change of residence of ${ .applicant.familyName } ${ .applicant.givenName }
        sender: { taxCode: "${ .applicant.taxCode }" }
  - announce:
      emit: anagrafe.residence-change.registered.v1
      with:
        protocol: ${ $steps.register.number }
        applicant: ${ .applicant }
        movers: ${ [.movers[].taxCode] }
        note?: ${ .notes }

retry: { first: 5s, longest: 15m, give_up_after: 3d }
"#;

fn residence() -> Value {
    json!({
        "declaredBy": "RSSMRA80A01G273Z",
        "applicant": { "taxCode": "RSSMRA80A01G273Z", "familyName": "Rossi", "givenName": "Nicolò" },
        "movers": [{ "taxCode": "RSSLCU10C03G273H" }, { "taxCode": "VRDGPP75B12G273K" }],
    })
}

fn inputs_and_emits(route: &Route, body: &Value) -> Vec<Value> {
    let steps = json!({ "register": { "number": "0001234/2026" } });
    let envelope = envelope();
    let scope = Scope::new(body, &envelope, steps.as_object().expect("an object"));
    let mut rendered = Vec::new();
    for step in &route.steps {
        match &step.verb {
            Verb::Use(call) => rendered.push(call.input(&scope).expect("a valid input")),
            Verb::Emit(emit) => {
                let emitted = emit.emitted(&scope).expect("a valid message");
                rendered.extend(emitted.into_iter().map(|one| one.data));
            }
        }
    }
    rendered
}

#[test]
fn the_route_of_the_design_compiles_and_renders() {
    let compiled = compiled(&house(&[RESIDENCE]));
    let route = compiled.routes.get("residence-change").expect("it is there");
    let rendered = inputs_and_emits(route, &residence());
    assert_eq!(
        rendered[0],
        json!({
            "direction": "incoming", "subject": "Change of residence of Rossi Nicolò",
            "sender": { "taxCode": "RSSMRA80A01G273Z" },
        })
    );
    assert_eq!(
        rendered[1],
        json!({
            "protocol": "0001234/2026", "applicant": residence()["applicant"],
            "movers": ["RSSLCU10C03G273H", "VRDGPP75B12G273K"],
        })
    );
    assert!(!route.is_fast());
    assert_eq!(compiled.routes.takers("anagrafe.residence-change.declared.v1").len(), 1);
}

#[test]
fn the_ledgers_copy_makes_the_same_route() {
    let compiled = compiled(&house(&[RESIDENCE]));
    let route = compiled.routes.get("residence-change").expect("it is there");
    let copy = compile_bundle(&route.bundle).expect("the copy compiles");
    assert_eq!(copy.digest, route.digest);
    assert_eq!(copy.bundle, route.bundle);
    assert_eq!(route.digest, Digest::of(route.bundle.as_bytes()));
    let body = residence();
    assert_eq!(inputs_and_emits(&copy, &body), inputs_and_emits(route, &body));
    assert!(route.bundle.contains("anagrafe.residence-change.registered.v1"));
    assert!(!route.bundle.contains("demo.any.v1"), "only what the route refers to");
}
