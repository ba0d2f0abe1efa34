//! Tests of the compiler from files to rendered values.
//!
//! Invariant: they go through `compile` and what it gives, never around it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

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

mod language;
mod mistakes;
mod needs;
mod suites;
mod trial;
mod ways;

fn file(path: &str, text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile { path: path.to_owned(), text: text.to_owned() })
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
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
    let mut outcome = object(
        json!({
            "outcome": { "enum": ["accepted", "refused", "withdrawn"] }, "child": person(),
            "flag": { "type": "boolean" }, "key": text, "plate": text, "list": { "type": "array" },
            "amount": text, "perhaps": { "type": "array" },
        }),
        &["flag", "key", "list", "child"],
    );
    outcome["x-unclaimed"] = json!("discard");
    add("demo.outcome.v1", outcome);
    let instant = json!({ "type": "string", "format": "date-time" });
    let since = json!({ "type": ["string", "null"], "format": "date-time" });
    add("demo.tick.v1", object(json!({ "period": text, "scheduledFor": instant }), &["period"]));
    add(
        "demo.clock.v1",
        object(
            json!({ "period": text, "scheduledFor": instant, "since": since }),
            &["period", "scheduledFor", "since"],
        ),
    );
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
    let register = Operation::of("register", input, output, EffectKind::Ledger);
    let input = json!({ "child": person(), "protocol": text, "isee": { "type": "integer" } });
    let enrol = Operation {
        name: "enrol".to_owned(),
        input: Arc::new(object(input, &["child", "protocol"])),
        output: Arc::new(object(json!({ "at": text }), &["at"])),
        effect: EffectKind::Idempotent,
        ..register.clone()
    };
    let ask = Operation {
        name: "ask".to_owned(),
        input: Arc::new(object(json!({}), &[])),
        output: Arc::new(object(json!({ "at": text, "refused": { "type": "boolean" } }), &["at"])),
        ..enrol.clone()
    };
    let canteen = vec![enrol, ask];
    BTreeMap::from([("protocollo".to_owned(), vec![register]), ("canteen".to_owned(), canteen)])
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
        ..House::default()
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
    for step in route.each_step() {
        match &step.verb {
            Verb::Choose(_) | Verb::Ask(_) => {}
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

const MISTAKES: &str = r#"route: twelve-mistakes
title: Perché no
office: 082053
from: demo.inn.v1
purpose: residence-registraton
ofice: scuola
actor: system
when: !x .kind == "a"

steps:
  - first:
      with: { a: 1 }
  - second:
      use: protocollo.registre
      with:
        direction: incoming
        subject: ${ .a | map( }
        sender: ${ [range(10)] }
  - third:
      emit: demo.any.v1
      with:
        flag: no
        città: Società ${ $foo }
        nothing:
        twice: 1
        twice: 2
  - fourth:
      use: protocol.register
      with: { direction: "${ $steps.fifth.number }" }
      if_refused: continue
  - fifth:
      use: protocollo.register
      emit: demo.any.v1
      with: &anchor { a: "${ .a }" }
  - third:
      emit: demo.any.v1
      each: ${ .list }
      with: { a: "${ .list | frist }", exponent: 12e5 }

retry: { first: 5 seconds, longest: 15m, give_up_after: 3d }
"#;

#[test]
fn one_run_says_every_mistake_of_a_file() {
    let found = mistakes(&house(&[MISTAKES]));
    insta::assert_snapshot!(render_text(&found), @r##"
    error[SN0106]: YAML reads `082053` as other than it looks
     --> routes/r0.yaml:3:9
      |
    3 | office: 082053
      |         ^^^^^^ many readers drop its leading zero
      |
    help: quote it: "082053", or write plainly what is meant

    error[SN0301]: there is no type `demo.inn.v1`
     --> routes/r0.yaml:4:7
      |
    4 | from: demo.inn.v1
      |       ^^^^^^^^^^^ no such type
      |
    help: write `demo.in.v1`, the nearest of the types in schemas/

    error[SN0306]: there is no purpose `residence-registraton`
     --> routes/r0.yaml:5:10
      |
    5 | purpose: residence-registraton
      |          ^^^^^^^^^^^^^^^^^^^^^ no such purpose
      |
    help: write `residence-registration`, the nearest of the purposes in routes/purposes/

    error[SN0109]: a route has no key `ofice`
     --> routes/r0.yaml:6:1
      |
    6 | ofice: scuola
      | ^^^^^ unknown key
      |
    help: write `office`, the nearest of the known keys

    error[SN0103]: tags are not read
     --> routes/r0.yaml:8:7
      |
    8 | when: !x .kind == "a"
      |       ^^ YAML reads `!x` as a tag and hides it
      |
    help: quote the text if `!x` belongs to it; otherwise delete the tag; jq's word for `not` comes last: `.paid | not`

    error[SN0113]: the step `first` does nothing
      --> routes/r0.yaml:11:5
       |
    11 |   - first:
       |     ^^^^^ neither `use` nor `emit` nor `choose`
       |
    help: add `use: <instance>.<operation>`, `emit: <type>` or `choose:`

    error[SN0305]: `protocollo` has no operation `registre`
      --> routes/r0.yaml:14:23
       |
    14 |       use: protocollo.registre
       |                       ^^^^^^^^ no such operation
       |
    help: write `register`, the nearest of the operations of `protocollo`

    error[SN0117]: this is not jq
      --> routes/r0.yaml:17:30
       |
    17 |         subject: ${ .a | map( }
       |                              ^ closing parenthesis is expected here
       |
    help: try the expression with the command `jq` on a sample message

    error[SN0118]: a route may not use `range`
      --> routes/r0.yaml:18:21
       |
    18 |         sender: ${ [range(10)] }
       |                     ^^^^^ its work or its values are not bounded by the message
       |
    help: say it with map, select, any, all, first, reduce or a plain path; a value from outside comes with the message

    error[SN0106]: YAML reads `no` as other than it looks
      --> routes/r0.yaml:22:15
       |
    22 |         flag: no
       |               ^^ many readers take it for true or false
       |
    help: quote it: "no", or write plainly what is meant

    error[SN0119]: there is no variable `$foo`
      --> routes/r0.yaml:23:27
       |
    23 |         città: Società ${ $foo }
       |                           ^^^^ unknown
       |
    help: the variables here are `$steps`, `$facts`, `$message`, `$party`, `$item`

    error[SN0105]: a value is missing
      --> routes/r0.yaml:24:9
       |
    24 |         nothing:
       |         ^^^^^^^ nothing is written here
       |
    help: write the value, `null`, or ""

    error[SN0107]: the key `twice` is written twice
      --> routes/r0.yaml:26:9
       |
    26 |         twice: 2
       |         ^^^^^ written again here
       |
    help: delete one of the two; the first is on line 25

    error[SN0304]: there is no adapter instance `protocol`
      --> routes/r0.yaml:28:12
       |
    28 |       use: protocol.register
       |            ^^^^^^^^^^^^^^^^^ no such instance
       |
    help: write `protocollo`, the nearest of the adapter instances of the configuration

    error[SN0123]: the step `fifth` has not run yet
      --> routes/r0.yaml:29:37
       |
    29 |       with: { direction: "${ $steps.fifth.number }" }
       |                                     ^^^^^ runs here or later
       |
    help: the steps that run before are `first`, `second`, `third`; or move `fifth` above this one

    error[SN0114]: a step has one verb
      --> routes/r0.yaml:33:7
       |
    33 |       emit: demo.any.v1
       |       ^^^^ a second verb
       |
    help: make two steps of it

    error[SN0104]: anchors are not read
      --> routes/r0.yaml:34:13
       |
    34 |       with: &anchor { a: "${ .a }" }
       |             ^^^^^^^ an anchor
       |
    help: delete it, and write the value out where it is needed; text that begins with `&` must be quoted

    error[SN0122]: there are two steps called `third`
      --> routes/r0.yaml:35:5
       |
    35 |   - third:
       |     ^^^^^ the second one
       |
    help: give it another name; the first is at routes/r0.yaml:19

    error[SN0121]: `each` needs `key`
      --> routes/r0.yaml:37:7
       |
    37 |       each: ${ .list }
       |       ^^^^ alone
       |
    help: add `key: ${ $item.… }`: it tells the items apart

    error[SN0119]: there is no function `frist`
      --> routes/r0.yaml:38:30
       |
    38 |       with: { a: "${ .list | frist }", exponent: 12e5 }
       |                              ^^^^^ unknown
       |
    help: write `first`, the nearest of the functions that a route may use

    error[SN0106]: YAML reads `12e5` as other than it looks
      --> routes/r0.yaml:38:50
       |
    38 |       with: { a: "${ .list | frist }", exponent: 12e5 }
       |                                                  ^^^^ many readers take it for a number with an exponent
       |
    help: quote it: "12e5", or write plainly what is meant

    error[SN0116]: `5 seconds` is no duration
      --> routes/r0.yaml:40:17
       |
    40 | retry: { first: 5 seconds, longest: 15m, give_up_after: 3d }
       |                 ^^^^^^^^^ not understood
       |
    help: write a whole number and a unit: 100ms, 5s, 15m, 12h, 3d, 10y
    "##);
}

#[test]
fn what_an_expression_reads_is_checked_against_the_schemas() {
    let text = RESIDENCE
        .replace(".applicant.familyName", ".aplicant.familyName")
        .replace("${ .applicant.givenName }", "${ .applicant.email }")
        .replace(
            "$steps.register.number }\n        applicant: ${ .applicant }",
            "$steps.register.numero }",
        )
        .replace("note?:", "nota?:")
        .replace("${ [.movers[].taxCode] }", "${ [.movers[].taxCode, $steps.announce] }");
    let found = mistakes(&house(&[&text]));
    insta::assert_snapshot!(render_text(&found), @r##"
    error[SN0201]: there is no field `aplicant`
      --> routes/r0.yaml:14:45
       |
    14 |         subject: Change of residence of ${ .aplicant.familyName } ${ .applicant.email }
       |                                             ^^^^^^^^ is object {applicant, bodies, count, declaredBy, …}
       |
    help: write .applicant, the nearest of the declared fields

    error[SN0209]: the text would say "null"
      --> routes/r0.yaml:14:70
       |
    14 |         subject: Change of residence of ${ .aplicant.familyName } ${ .applicant.email }
       |                                                                      ^^^^^^^^^^^^^^^^ is text or null
       |
    help: write a default with `// "…"`, or make the field required in the schema

    error[SN0211]: the required field `applicant` is missing
      --> routes/r0.yaml:19:9
       |
    19 |         protocol: ${ $steps.register.numero }
       |         ^^^^^^^^ is object {movers, nota}; `applicant` of `anagrafe.residence-change.registered.v1` wants object {email, familyName, givenName, taxCode}
       |
    help: write `applicant: ${ … }`

    error[SN0201]: there is no field `numero`
      --> routes/r0.yaml:19:38
       |
    19 |         protocol: ${ $steps.register.numero }
       |                                      ^^^^^^ is object {number, year}
       |
    help: write .number, the nearest of the declared fields

    error[SN0123]: the step `announce` has not run yet
      --> routes/r0.yaml:20:47
       |
    20 |         movers: ${ [.movers[].taxCode, $steps.announce] }
       |                                               ^^^^^^^^ runs here or later
       |
    help: the steps that run before are `register`; or move `announce` above this one

    error[SN0212]: the target has no field `nota`
      --> routes/r0.yaml:21:9
       |
    21 |         nota?: ${ .notes }
       |         ^^^^^ is object {movers, nota}; `anagrafe.residence-change.registered.v1` wants object {applicant, movers, note, protocol}
       |
    help: write note, the nearest of the target's fields
    "##);
}

fn codes(house: &House) -> Vec<&'static str> {
    compile(house).1.iter().map(|mistake| mistake.code).collect()
}

/// A route that only emits; `lines` come after its head.
fn relay(name: &str, from: &str, emit: &str) -> String {
    format!(
        "route: {name}\ntitle: t\noffice: o\nfrom: {from}\npurpose: residence-registration\n\
         actor: system\nsteps:\n  - announce:\n      emit: {emit}\n      with: {{ a: \"${{ .a }}\" }}\n"
    )
}

#[test]
fn what_is_emitted_is_taken_and_nothing_goes_round() {
    let there = relay("there", "demo.in.v1", "demo.claimed.v1");
    assert_eq!(codes(&house(&[&there])), ["SN0302"]);
    let back = relay("back", "demo.claimed.v1", "demo.in.v1");
    assert_eq!(codes(&house(&[&there, &back])), ["SN0308"]);
    let on = relay("onward", "demo.claimed.v1", "demo.any.v1");
    assert_eq!(codes(&house(&[&there, &on])), [""; 0]);
    let again = relay("there", "demo.claimed.v1", "demo.any.v1");
    assert_eq!(codes(&house(&[&there, &again])), ["SN0122"]);
    let conditional = on.replace("actor: system", "actor: system\nwhen: .a == 1");
    assert_eq!(codes(&house(&[&there, &conditional])), ["SN0309"]);
    assert_eq!(codes(&house(&[&there, &conditional, &on.replace("onward\n", "other\n")])), [""; 0]);
}

const REGION: &str = "party: region
title: Regione Siciliana
ipa: r_sicili
token: { sha256: 9f86d081884c7d659a2feaa0c55ad0159f86d081884c7d659a2feaa0c55ad015 }
sends: [demo.in.v1]
receives: [{ type: demo.claimed.v1, all: true, law: dpr-223-1989 }]
queue: { vhost: region, name: inbox }
limits: { rate: 20/s }
";

fn with_parties(routes: &[&str], parties: &[&str]) -> House {
    let name = |(index, text): (usize, &&str)| file(&format!("config/parties/p{index}.yaml"), text);
    House { parties: parties.iter().enumerate().map(name).collect(), ..house(routes) }
}

#[test]
fn a_party_takes_what_its_file_says() {
    let there = relay("there", "demo.in.v1", "demo.claimed.v1");
    let compiled = compiled(&with_parties(&[&there], &[REGION]));
    let region = compiled.parties.get("region").expect("it is there");
    assert_eq!(region.limits.rate.expect("a rate").count, 20);
    assert_eq!(region.queue().expect("a queue").vhost, "region");
    assert!(!compiled.routes.is_fetched("party:region"));
    let found = compiled.parties.by_token(&region.token).expect("known by its token");
    assert_eq!(found.id, "region");
    assert!(compiled.parties.by_token(&Digest::of(b"another")).is_none());
    assert!(compiled.parties.may_receive("region", "demo.claimed.v1"));
    let takers = compiled.routes.takers("demo.claimed.v1");
    assert!(matches!(takers, [super::Taker::Party(id)] if id == "region"));
    assert_eq!(compiled.routes.purposes()["residence-registration"].record, "T-07");
}

#[test]
fn a_party_may_fetch_what_it_is_owed() {
    let there = relay("there", "demo.in.v1", "demo.claimed.v1");
    let region = REGION.replace("queue: { vhost: region, name: inbox }", "inbox: pull");
    let compiled = compiled(&with_parties(&[&there], &[&region]));
    let region = compiled.parties.get("region").expect("it is there");
    assert!(region.pulls() && region.queue().is_none());
    assert!(compiled.routes.is_fetched("party:region"));
    for other in ["region", "party:other", "there"] {
        assert!(!compiled.routes.is_fetched(other), "{other}");
    }
}

#[test]
fn the_ways_of_a_party_are_refused_in_these_words() {
    let there = relay("there", "demo.in.v1", "demo.claimed.v1");
    let queue = "queue: { vhost: region, name: inbox }";
    let said = |way: &str| {
        let (_, said) = compile(&with_parties(&[&there], &[&REGION.replace(queue, way)]));
        said.iter().map(|said| format!("{} {}", said.code, said.title)).collect::<Vec<_>>()
    };
    assert_eq!(said(&format!("{queue}\ninbox: pull")), ["SN0426 a party has one way to receive"]);
    assert_eq!(said("inbox: push"), ["SN0427 an inbox is `pull`"]);
    assert_eq!(said(""), ["SN0428 a party that receives must say how"]);
}

#[test]
fn mistakes_of_parties_are_said_with_those_of_routes() {
    let there = relay("there", "demo.in.v1", "demo.claimed.v1");
    let check = |from: &str, to: &str, expected: &[&str]| {
        let party = REGION.replace(from, to);
        assert_ne!(party, REGION, "`{from}` is in the file");
        assert_eq!(codes(&with_parties(&[&there], &[&party])), expected, "{from} → {to}");
    };
    check("demo.in.v1", "demo.inn.v1", &["SN0301"]);
    check("demo.in.v1", "anagrafe.residence-change.declared.v1", &["SN0310"]);
    check("dpr-223-1989", "dpr-223-1998", &["SN0307"]);
    check(", law: dpr-223-1989", "", &["SN0424"]);
    check("9f86d0", "nothex", &["SN0421"]);
    check("rate: 20/s", "rate: 20/fortnight", &["SN0116"]);
    check("party: region", "party: Region", &["SN0112"]);
    check("queue:", "webhook:", &["SN0428", "SN0115"]);
    check("queue:", "inbox:", &["SN0427"]);
    check("queue: { vhost: region, name: inbox }", "inbox: push", &["SN0427"]);
    check("limits:", "inbox: pull\nlimits:", &["SN0426"]);
    check("queue: { vhost: region, name: inbox }\n", "", &["SN0428"]);
    check("limits:", "searches: [disclosure]\nlimits:", &["SN0429"]);
    check("limits:", "searches: [disclosures]\nlimits:", &[]);
    check("ipa:", "ippa:", &["SN0109"]);
    let twice = with_parties(&[&there], &[REGION, REGION]);
    assert_eq!(codes(&twice), ["SN0122", "SN0425"]);
}

#[test]
fn an_address_names_parties_that_receive_the_type() {
    let to = |to: &str| {
        let there = relay("there", "demo.in.v1", "demo.claimed.v1");
        format!("{there}      to: {to}\n")
    };
    let good = to("region");
    let compiled = compiled(&with_parties(&[&good], &[&REGION.replace("all: true", "all: false")]));
    let emitted = emitted(&compiled, &json!({ "a": 1 })).expect("emits");
    assert_eq!(emitted[0].to, ["region"]);
    assert_eq!(codes(&with_parties(&[&to("[region, regoin]")], &[REGION])), ["SN0422"]);
    let other = REGION.replace("demo.claimed.v1", "demo.any.v1");
    assert_eq!(codes(&with_parties(&[&to("region")], &[&other])), ["SN0423"]);
}

#[test]
fn who_was_told_what_is_concealed_under_a_law_until_a_day() {
    let check = |concealed: &str, expected: &[&str]| {
        let text = format!(
            "purpose: inquiry\ntitle: Inquiry\nlaws: [dpr-223-1989]\nrecord: Looks into it.\n\
             retention: 30d\nconcealed: {concealed}\n"
        );
        let mut house =
            with_parties(&[&relay("there", "demo.in.v1", "demo.claimed.v1")], &[REGION]);
        house.purposes.push(file("routes/purposes/inquiry.yaml", &text));
        let (compiled, said) = compile(&house);
        let codes: Vec<&str> = said.iter().map(|said| said.code).collect();
        assert_eq!(codes, expected, "{text}");
        compiled.and_then(|compiled| compiled.routes.purposes()["inquiry"].concealed.clone())
    };
    let found = check("{ law: dpr-223-1989, until: \"2027-12-31\" }", &[]).expect("concealed");
    assert_eq!(found.until.to_string(), "2027-12-31T23:00:00.000Z", "the day ends in Italy");
    check("{ law: dpr-223-1989, until: \"2027-12-32\" }", &["SN0175"]);
    check("{ law: dpr-223-1989 }", &["SN0110"]);
    check("{ law: dpr-224-1989, until: \"2027-12-31\" }", &["SN0307"]);
}

#[test]
fn a_law_is_known_unless_the_laws_could_not_be_read() {
    let check = |laws: &str, expected: &[&str]| {
        let laws = vec![file("routes/laws.yaml", laws)];
        let there = relay("there", "demo.in.v1", "demo.claimed.v1");
        let house = House { laws, ..with_parties(&[&there], &[REGION]) };
        assert_eq!(codes(&house), expected, "{:?}", house.laws[0].text);
    };
    check("{}\n", &["SN0307", "SN0307"]);
    check("other: { title: Another }\n", &["SN0307", "SN0307"]);
    check("- dpr-223-1989\n", &["SN0111"]);
}

fn emitted(compiled: &Compiled, body: &Value) -> Result<Vec<super::Emitted>, crate::fault::Fault> {
    let route = compiled.routes.get("there").expect("it is there");
    assert!(route.is_fast());
    let Verb::Emit(emit) = &route.steps[0].verb else { panic!("an emit") };
    let (envelope, steps) = (envelope(), serde_json::Map::new());
    emit.emitted(&Scope::new(body, &envelope, &steps))
}

#[test]
fn an_emit_for_each_item_has_a_key_per_item() {
    let text = relay("there", "demo.in.v1", "demo.any.v1").replace(
        "with: { a: \"${ .a }\" }",
        "each: ${ .bodies }\n      key: ${ $item.ipa }\n      with: { a: \"${ $item.n }\", l: \"${ [.x, $item.n + 1] }\" }",
    );
    let compiled = compiled(&house(&[&text]));
    let good = json!({ "x": 9, "bodies": [{ "ipa": "a", "n": 1 }, { "ipa": "b", "n": 2 }] });
    let found = emitted(&compiled, &good).expect("emits");
    assert_eq!(found.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(found[1].data, json!({ "a": 2, "l": [9, 3] }));
    for bad in [
        json!({ "bodies": 1 }),
        json!({ "bodies": [{ "ipa": "a", "n": 1 }, { "ipa": "a", "n": 2 }] }),
        json!({ "bodies": [{ "n": 1 }] }),
        json!({ "bodies": vec![json!({ "ipa": "a", "n": 1 }); 10_001] }),
    ] {
        assert_eq!(emitted(&compiled, &bad).expect_err("a fault").code, "SN0756");
    }
}

#[test]
fn what_is_rendered_against_the_schema_is_a_fault_without_the_value() {
    let compiled = compiled(&house(&[RESIDENCE]));
    let route = compiled.routes.get("residence-change").expect("it is there");
    let Verb::Emit(emit) = &route.steps[1].verb else { panic!("an emit") };
    let (body, envelope, steps) = (residence(), envelope(), serde_json::Map::new());
    let fault = emit.emitted(&Scope::new(&body, &envelope, &steps)).expect_err("no protocol");
    assert_eq!(fault.code, "SN0757");
    assert!(fault.text.contains("/protocol"), "{fault}");
    assert!(!fault.text.contains("RSSMRA80A01G273Z"), "{fault}");
}

#[test]
fn files_that_cannot_be_read_are_said_in_words() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(codes(&house(&[text])), expected, "{text}");
    };
    check("route: a\n\ttitle: b\n", &["SN0108"]);
    check("", &["SN0102"]);
    check("route: [a\n", &["SN0101"]);
    check(&"#".repeat(crate::yaml::LONGEST + 1), &["SN0102"]);
    check("- a\n", &["SN0111"]);
    let fine = relay("there", "demo.in.v1", "demo.any.v1");
    check(&format!("{fine}---\na: 1\n"), &["SN0102"]);
    check(&fine.replace("actor: system", "actor: *who"), &["SN0104"]);
    check(&fine.replace("title: t", "title: 1.10"), &["SN0106"]);
    check(&fine.replace("title: t", "title: 5"), &["SN0111"]);
    check(&fine.replace("title: t", "title: On"), &["SN0106"]);
    check(&fine.replace("title: t", "title:"), &["SN0105"]);
    check(&fine.replace("title: t", "title: 12:30"), &[]);
    check(&fine.replace("title: t\n", ""), &["SN0110"]);
    check(&fine.replace("      with:", "      needs: .a\n      with:"), &["SN0115"]);
    check(&fine.replace("\"${ .a }\"", "${ .a }"), &["SN0120"]);
    check(&format!("{fine}when: ${{ .a == 1 }}\n"), &["SN0125", "SN0309"]);
    check(&format!("{fine}retry: {{ first: 5m, longest: 1s, give_up_after: 3d }}\n"), &["SN0124"]);
}

#[test]
fn a_diagnostic_is_said_to_programs_too() {
    let text = relay("there", "demo.inn.v1", "demo.any.v1").replace("title: t", "title: \"è\"");
    let found = mistakes(&house(&[&text.replace("from: ", "from:  # però\n  ")]));
    insta::assert_snapshot!(crate::diagnostic::render_json(&found), @r##"
    [{"code":"SN0301","column":3,"end":63,"help":"write `demo.in.v1`, the nearest of the types in schemas/","label":"no such type","line":5,"path":"routes/r0.yaml","severity":"error","start":52,"title":"there is no type `demo.inn.v1`"}]
    "##);
    let sarif: Value =
        serde_json::from_str(&crate::diagnostic::render_sarif(&found)).expect("it is JSON");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "SN0301");
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 5);
}

const CANTEEN: &str = r#"route: canteen-enrolment
title: A family enrols a child in the school canteen
office: scuola
from: demo.in.v1
purpose: residence-registration
actor: ${ .submittedBy }
when: .kind == "canteen" or .child != null

steps:
  - register:
      use: protocollo.register
      with:
        direction: incoming
        subject: Canteen, enrolment of ${ .child.givenName } ${ .child.familyName }
        sender: { taxCode: "${ .applicant.taxCode }" }
  - enrol:
      use: canteen.enrol
      with:
        child: ${ .child }
        protocol: ${ $steps.register.number }
        isee?: ${ .isee }
"#;

#[test]
fn an_optional_field_is_left_out_when_null() {
    let mut house = house(&[CANTEEN]);
    // The schema of the type must not say that every taker has a condition.
    let mut documents = BTreeMap::new();
    documents.insert("demo.in.v1".to_owned(), json!({ "x-unclaimed": "discard" }));
    house.schemas = Arc::new(Schemas::from_documents(documents).expect("it compiles"));
    let compiled = compiled(&house);
    let route = compiled.routes.get("canteen-enrolment").expect("it is there");
    let mut body = residence();
    body["child"] = body["applicant"].clone();
    let rendered = inputs_and_emits(route, &body);
    assert_eq!(rendered[1], json!({ "child": body["child"], "protocol": "0001234/2026" }));
    body["isee"] = json!(9000);
    assert_eq!(inputs_and_emits(route, &body)[1]["isee"], json!(9000));
    let (envelope, steps) = (envelope(), serde_json::Map::new());
    assert_eq!(route.applies(&Scope::new(&body, &envelope, &steps)), Ok(true));
    assert_eq!(route.applies(&Scope::new(&json!({}), &envelope, &steps)), Ok(false));
}

fn damaged() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    const PIECES: [&str; 22] = [
        "${", "}", "\"", "'", "{", "[", ": ", " #", "\t", "\n", "è", "\\", "!x ", "&a ", "*a ",
        "|", ">", "- ", "(", "🐚", "\r\n", "? ",
    ];
    let text = prop::sample::select(vec![RESIDENCE, MISTAKES, CANTEEN]);
    let edit = (any::<prop::sample::Index>(), 0_usize..6, prop::sample::select(PIECES.to_vec()));
    (text, prop::collection::vec(edit, 1..6)).prop_map(|(text, edits)| {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, removed, piece) in edits {
            let at = at.index(characters.len());
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, piece.chars());
        }
        characters.into_iter().collect()
    })
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 800, ..Default::default() })]
    #[test]
    fn no_text_makes_the_check_panic(text in damaged()) {
        let (compiled, diagnostics) = compile(&house(&[&text]));
        let error = crate::diagnostic::Severity::Error;
        let any_error = diagnostics.iter().any(|found| found.severity == error);
        let routes = compiled.map(|compiled| compiled.routes.iter().count());
        proptest::prop_assert_eq!(routes, (!any_error).then_some(1), "nothing is dropped silently");
        proptest::prop_assert_eq!(render_text(&diagnostics).is_empty(), diagnostics.is_empty());
        crate::diagnostic::render_sarif(&diagnostics);
    }
}
