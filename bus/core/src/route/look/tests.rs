//! What is told and offered at each kind of place; `^` stands for the cursor.
//!
//! Invariant: they go through the three questions that editors ask.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{Offer, Written, definition, hover, offers};
use crate::{
    adapter::Operation,
    diagnostic::SourceFile,
    route::House,
    schema::{SchemaFile, Schemas},
    verdict::EffectKind,
};

const ROUTE: &str = r#"route: canteen
title: È così, per ogni città
office: scuola
from: scuola.requested.v1
purpose: school
actor: ${ .submittedBy }
needs:
  household:
    fact: household
    about: ${ .applicant.taxCode }
    case: ${ $steps.register.number }
steps:
  - register:
      use: protocollo.register
      with: { subject: "Città: ${ .child.givenName } ${ .applicant.taxCode }" }
  - by_household:
      choose:
        - when: any($facts.household.members[]; .taxCode == $message.data.child.taxCode)
          then:
            - decided:
                emit: scuola.decided.v1
                with:
                  protocol: ${ $steps.register.number }
                  names: ${ [.movers[] | select(.adult) | .name] }
        - otherwise: []
"#;
const FACT: &str = "fact: household\ntitle: Stato di famiglia\nheld_by: anpr\nquery: C021\nabout: taxCode\n\
    schema: facts/household.v1\nlaw: [cad-50]\nfresh_for: 24h\n";
const PURPOSE: &str =
    "purpose: school\ntitle: School\nlaws: [cad-50]\nretention: 30d\nrecord: Enrols children\n";

fn file(path: &str, text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile { path: path.to_owned(), text: text.to_owned() })
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn schema(path: &str, schema: &Value) -> SchemaFile {
    let text = format!("{schema:#}\n");
    SchemaFile { file: file(&format!("schemas/{path}"), &text), path: path.to_owned() }
}

fn schemas() -> Schemas {
    let text = json!({ "type": "string" });
    let person = object(
        &json!({
            "taxCode": { "type": "string", "format": "codice-fiscale", "description": "Codice fiscale",
                         "x-asked-of": "citizen", "x-verdict": "key" },
            "givenName": text,
        }),
        &["taxCode"],
    );
    let mover =
        object(&json!({ "name": text, "adult": { "type": "boolean" } }), &["name", "adult"]);
    let mut requested = object(
        &json!({
            "submittedBy": text, "applicant": { "$ref": "person.v1.json" },
            "child": { "$ref": "person.v1.json" }, "movers": { "type": "array", "items": mover },
        }),
        &["submittedBy", "applicant", "child", "movers"],
    );
    requested["title"] = json!("A request");
    requested["description"] = json!("What a family asks for");
    let mut decided = object(
        &json!({ "protocol": text, "names": { "type": "array", "items": text } }),
        &["protocol", "names"],
    );
    decided["x-unclaimed"] = json!("discard");
    let members =
        json!({ "type": "array", "items": object(&json!({ "taxCode": text }), &["taxCode"]) });
    let household = object(&json!({ "members": members }), &["members"]);
    let (schemas, said) = Schemas::load(&[
        schema("scuola/person.v1.json", &person),
        schema("scuola/requested.v1.json", &requested),
        schema("scuola/decided.v1.json", &decided),
        schema("facts/household.v1.json", &household),
    ]);
    assert!(said.is_empty(), "{said:?}");
    schemas
}

fn house() -> House {
    let text = json!({ "type": "string" });
    let number =
        object(&json!({ "number": { "type": "string", "title": "The number" } }), &["number"]);
    let subject = object(&json!({ "subject": text }), &["subject"]);
    let person = object(&json!({ "taxCode": text }), &["taxCode"]);
    let household = json!({ "$ref": "facts/household.v1.json" });
    let question = Operation::of("C021", person, household, EffectKind::Idempotent);
    let operations = [
        ("protocollo", Operation::of("register", subject, number, EffectKind::Ledger)),
        ("anpr", Operation { fact_only: true, ..question }),
    ];
    let operations = operations.map(|(name, operation)| (name.to_owned(), vec![operation]));
    House {
        purposes: vec![file("routes/purposes/school.yaml", PURPOSE)],
        facts: vec![file("routes/facts/household.yaml", FACT)],
        laws: vec![file("routes/laws.yaml", "cad-50: { title: CAD }\n")],
        parties: vec![file("config/parties/region.yaml", "party: region\ntitle: Regione\n")],
        schemas: Arc::new(schemas()),
        operations: BTreeMap::from(operations),
        ..House::default()
    }
}

/// The text without its `^`, and where that was.
fn cursor(text: &str) -> (String, usize) {
    let at = text.find('^').expect("a cursor");
    (text.replacen('^', "", 1), at)
}

/// The route with a part of it that has the cursor.
fn route(part: &str) -> (Arc<SourceFile>, usize) {
    let (written, _) = cursor(part);
    assert!(ROUTE.contains(&written), "{written}");
    let (text, at) = cursor(&ROUTE.replacen(&written, part, 1));
    (file("routes/canteen.yaml", &text), at)
}

#[test]
fn what_is_told_of_each_kind_of_place() {
    let house = house();
    for (part, told) in [
        ("from: scuola.re^quested.v1", "type `scuola.requested.v1`: A request"),
        ("purpose: ^school", "purpose `school`: School"),
        ("fact: household^", "fact `household`: Stato di famiglia"),
        ("use: protocollo.^register", "operation `protocollo.register`, effect: ledger"),
        ("emit: scuola^.decided.v1", "type `scuola.decided.v1`: "),
        ("- regi^ster:", "step `register`: uses `protocollo.register`"),
        ("- ^by_household:", "step `by_household`: chooses one of its branches"),
        ("  household^:\n", "need `household`"),
        ("about: ${ .appli^cant.taxCode }", "`applicant`: object {givenName, taxCode}"),
        ("about: ${ .applicant.tax^Code }", "`taxCode`: codice-fiscale text"),
        ("case: ${ $steps.regis^ter.number }", "`register`: object {number}"),
        ("case: ${ $st^eps.register.number }", "`$steps`: object {register}"),
        ("${ .child.given^Name }", "`givenName`: text or null"),
        ("any($facts.house^hold.members[];", "`household`: object {members}"),
        ("; .tax^Code == $message", "`taxCode`: text"),
        ("$message.data.child.tax^Code)", "`taxCode`: codice-fiscale text"),
        ("taxCode =^= $message", "`.taxCode == $message.data.child.taxCode`: true or false"),
        ("select(.ad^ult)", "`adult`: true or false"),
        ("se^lect(.adult)", "`select(.adult`: object {adult, name}"),
    ] {
        let (file, at) = route(part);
        let found = hover(&house, &file, at);
        let first = found.as_ref().and_then(|told| told.text.lines().next());
        assert_eq!(first, Some(told), "{part}");
        let span = found.map(|told| told.span).expect("told");
        assert!(span.start <= at && at <= span.end, "{part}: {span:?} is not at {at}");
    }
    for nothing in ["tit^le: È", "title: È co^sì", "office: scu^ola", "^- otherwise"] {
        let (file, at) = route(nothing);
        assert_eq!(hover(&house, &file, at), None, "{nothing}");
    }
}

#[test]
fn a_field_is_told_with_what_its_schema_says() {
    let (file, at) = route("${ .applicant.tax^Code }\"");
    let told = hover(&house(), &file, at).expect("told");
    assert_eq!(&file.text[told.span], "taxCode", "behind text of several bytes");
    assert_eq!(
        told.text,
        "`taxCode`: codice-fiscale text\n\nCodice fiscale\n\nasked of: citizen, key"
    );
    let (file, at) = route("$message.data.chi^ld.taxCode");
    let told = hover(&house(), &file, at).expect("told");
    assert_eq!(
        told.text,
        "`child`: object {givenName, taxCode}\n\n- `givenName`: text or null\n\
         - `taxCode`: codice-fiscale text"
    );
}

#[test]
fn each_name_leads_to_where_it_is_written() {
    let house = house();
    let register = "  - register:\n";
    let here = ROUTE.find(register).expect("there") + 4;
    let need = ROUTE.find("  household:\n").expect("there") + 2;
    for (part, path, line) in [
        ("from: scuola.re^quested.v1", "schemas/scuola/requested.v1.json", "{"),
        ("purpose: ^school", "routes/purposes/school.yaml", "purpose: school"),
        ("fact: household^", "routes/facts/household.yaml", "fact: household"),
        ("emit: scuola^.decided.v1", "schemas/scuola/decided.v1.json", "{"),
        ("about: ${ .applicant.tax^Code }", "schemas/scuola/person.v1.json", "\"taxCode\": {"),
        ("about: ${ .appli^cant.taxCode }", "schemas/scuola/requested.v1.json", "\"applicant\": {"),
        ("; .tax^Code == $message", "schemas/facts/household.v1.json", "\"taxCode\": {"),
        ("$facts.household.mem^bers", "schemas/facts/household.v1.json", "\"members\": {"),
        ("select(.ad^ult)", "schemas/scuola/requested.v1.json", "\"adult\": {"),
        ("| .na^me]", "schemas/scuola/requested.v1.json", "\"name\": {"),
        ("case: ${ $steps.regis^ter", "routes/canteen.yaml", "register:"),
        ("any($facts.house^hold", "routes/canteen.yaml", "household:"),
    ] {
        let (file, at) = route(part);
        let Some(Written::At(place)) = definition(&house, &file, at) else { panic!("{part}") };
        assert_eq!(place.file.path, path, "{part}");
        let rest = &place.file.text[place.start..];
        assert_eq!(rest.lines().next(), Some(line), "{part}");
        if path == "routes/canteen.yaml" {
            assert!([here, need].contains(&place.start), "{part}");
        }
    }
    let (file, at) = route("use: proto^collo.register");
    let configured =
        Written::Configured { instance: "protocollo".into(), operation: Some("register".into()) };
    assert_eq!(definition(&house, &file, at), Some(configured));
    for nothing in ["$steps.register.num^ber }\n                  names", "office: scu^ola"] {
        let (file, at) = route(nothing);
        assert_eq!(definition(&house, &file, at), None, "{nothing}");
    }
}

/// The route in which a part is exchanged for one that has the cursor, and what is offered there.
fn offered(part: &str, written: &str) -> (Arc<SourceFile>, Vec<Offer>) {
    assert!(ROUTE.contains(part), "{part}");
    let (text, at) = cursor(&ROUTE.replacen(part, written, 1));
    let file = file("routes/canteen.yaml", &text);
    let offers = offers(&house(), &file, at);
    (file, offers)
}

#[test]
fn fields_are_offered_where_the_expression_is_half_written() {
    let about = "about: ${ .applicant.taxCode }";
    let when = "any($facts.household.members[]; .taxCode == $message.data.child.taxCode)";
    let names = "${ [.movers[] | select(.adult) | .name] }";
    let person = "givenName: text or null, taxCode: codice-fiscale text";
    for (part, written, fields) in [
        (about, "about: ${ .applicant.^ }", person),
        (about, "about: ${ .applicant.^taxCode }", person),
        (about, "about: ${ .applicant.giv^ }", person),
        (about, "about: ${ .applicant.^", person),
        (about, "about: ${ (.applicant.^ }", person),
        (about, "about: ${ if .applicant.^ }", person),
        (about, "about: ${ [.movers[].^ }", "adult: true or false, name: text"),
        (about, "about: ${ .nothing.^ }", ""),
        (about, "about: ${ \"x .applicant.^\" }", ""),
        (about, "about: ${ \"x \\(.applicant.^)\" }", person),
        (about, "about: ${ .applicant ! .^ }", ""),
        (when, "any($facts.household.^; .taxCode)", "members: list of object {taxCode}"),
        (when, "any($facts.household.members[]; .^ == 1)", "taxCode: text"),
        (when, "any($facts.household.members[]; .^", "taxCode: text"),
        (names, "${ [.movers[] | select(.^) | .name] }", "adult: true or false, name: text"),
        (names, "${ [.movers[] | select(.adult) | .^", "adult: true, name: text"),
        (names, "${ $facts.^ }", "household: object {members}"),
        (names, "${ $steps.register.^ }", "number: text"),
        ("${ .child.givenName }", "${ .child.^ }", person),
    ] {
        let (file, offers) = offered(part, written);
        let listed: Vec<String> =
            offers.iter().map(|offer| format!("{}: {}", offer.label, offer.detail)).collect();
        assert_eq!(listed.join(", "), fields, "{written}");
        for offer in &offers {
            let end = written.find('^').map(|at| &written[at + 1..]).unwrap_or_default();
            let rest = &file.text[offer.span.end..];
            let kept = end.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
            assert!(rest.starts_with(kept), "{written}: what stands behind is kept");
        }
    }
}

#[test]
fn variables_and_functions_are_offered_where_a_term_begins() {
    let (_, offers) = offered("case: ${ $steps.register.number }", "case: ${ ^ }");
    let has = |label: &str| offers.iter().any(|offer| offer.label == label);
    for label in [".applicant", "$facts", "$message", "$party", "$steps", "select", "age_on"] {
        assert!(has(label), "{label}: {offers:?}");
    }
    assert!(!has("$item") && !has("range"));
    let (file, offers) = offered("case: ${ $steps.register.number }", "case: ${ $st^ }");
    let labels: Vec<&str> = offers.iter().map(|offer| offer.label.as_str()).collect();
    assert_eq!(labels, ["$facts", "$message", "$party", "$steps"]);
    assert_eq!(&file.text[offers[0].span.clone()], "$st");
}

#[test]
fn names_are_offered_from_what_the_house_knows() {
    for (part, written, labels) in [
        (
            "from: scuola.requested.v1",
            "from: ^",
            "facts.household.v1 scuola.decided.v1 scuola.person.v1 scuola.requested.v1",
        ),
        ("purpose: school", "purpose: sch^", "school"),
        ("fact: household", "fact: ^", "household"),
        // What is asked as a fact only is no step.
        ("use: protocollo.register", "use: protocollo.^", "protocollo.register"),
        (
            "emit: scuola.decided.v1",
            "emit: \"scuola.^\"",
            "facts.household.v1 scuola.decided.v1 scuola.person.v1 scuola.requested.v1",
        ),
        ("emit: scuola.decided.v1", "emit: scuola.decided.v1\n                to: ^", "region"),
        ("title: È", "title: ^È", ""),
        (
            "emit: scuola.decided.v1",
            "emit: scuola.decided.v1\n                with: { use: ^x }",
            "",
        ),
    ] {
        let (file, offers) = offered(part, written);
        let found: Vec<&str> = offers.iter().map(|offer| offer.label.as_str()).collect();
        assert_eq!(found.join(" "), labels, "{written}");
        let quotes = offers.iter().any(|offer| file.text[offer.span.clone()].contains('"'));
        assert!(!quotes, "{written}: what is quoted stays quoted");
    }
}

#[test]
fn names_of_other_files_are_offered_and_lead_somewhere() {
    let house = house();
    for (path, text, labels, leads) in [
        (
            "routes/facts/household.yaml",
            FACT.replace("facts/household.v1", "facts/^household.v1"),
            "facts/household.v1 scuola/decided.v1 scuola/person.v1 scuola/requested.v1",
            "schemas/facts/household.v1.json",
        ),
        (
            "routes/facts/household.yaml",
            FACT.replace("[cad-50]", "[^cad-50]"),
            "cad-50",
            "routes/laws.yaml",
        ),
        ("routes/facts/household.yaml", FACT.replace("C021", "^C021"), "C021", "anpr C021"),
        (
            "routes/facts/household.yaml",
            FACT.replace("held_by: anpr", "held_by: ^anpr"),
            "anpr protocollo",
            "anpr",
        ),
        (
            "routes/purposes/school.yaml",
            PURPOSE.replace("[cad-50]", "[^cad-50]"),
            "cad-50",
            "routes/laws.yaml",
        ),
        (
            "config/parties/region.yaml",
            "sends: [scuola.^decided.v1]\n".to_owned(),
            "facts.household.v1 scuola.decided.v1 scuola.person.v1 scuola.requested.v1",
            "schemas/scuola/decided.v1.json",
        ),
        (
            "config/parties/region.yaml",
            "receives:\n  - type: x.y.v1\n    law: cad^-50\n".to_owned(),
            "cad-50",
            "routes/laws.yaml",
        ),
        (
            "config/snodo.yaml",
            "adapters:\n  x:\n    operations:\n      y:\n        input: scuola/decided.^v1\n"
                .to_owned(),
            "facts/household.v1 scuola/decided.v1 scuola/person.v1 scuola/requested.v1",
            "schemas/scuola/decided.v1.json",
        ),
    ] {
        let (text, at) = cursor(&text);
        let file = file(path, &text);
        let found: Vec<String> =
            offers(&house, &file, at).into_iter().map(|offer| offer.label).collect();
        assert_eq!(found.join(" "), labels, "{text}");
        let to = match definition(&house, &file, at) {
            Some(Written::At(place)) => place.file.path.clone(),
            Some(Written::Configured { instance, operation: Some(operation) }) => {
                format!("{instance} {operation}")
            }
            Some(Written::Configured { instance, operation: None }) => instance,
            None => String::new(),
        };
        assert_eq!(to, leads, "{text}");
        assert!(hover(&house, &file, at).is_some(), "{text}");
    }
}

/// While somebody writes, any text may come, and the cursor may be anywhere.
#[test]
fn no_half_of_a_route_and_no_place_of_it_panics() {
    let house = house();
    for end in (0..=ROUTE.len()).filter(|end| ROUTE.is_char_boundary(*end)) {
        let half = file("routes/canteen.yaml", &ROUTE[..end]);
        for at in [end, end.saturating_sub(1), end / 2, end + 7] {
            hover(&house, &half, at);
            definition(&house, &half, at);
            offers(&house, &half, at);
        }
    }
}
