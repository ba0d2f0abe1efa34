//! Tests of what is asked: leaves, rules, words and the report, on small schemas.
//!
//! Invariant: schemas are read from text, so that every place is one of a file.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::*;
use crate::{
    adapter::Operation,
    diagnostic::{Diagnostic, Severity, SourceFile, render_text},
    schema::SchemaFile,
    verdict::EffectKind,
};

const KIND: &str = "a.form.v1";

/// A fact `household` of ANPR, and what else is said of it.
fn household(terms: &[&str], documents: &[&str]) -> Catalogue {
    let text = "# who lives with whom\nfact: household\nheld_by: anpr\n".to_owned();
    let file = Arc::new(SourceFile { path: "routes/facts/household.yaml".to_owned(), text });
    let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let fact = Fact {
        name: "household".to_owned(),
        title: "Famiglia anagrafica".to_owned(),
        held_by: "anpr".to_owned(),
        operation: Operation::of("C021", json!({}), json!({}), EffectKind::Idempotent),
        about: "taxCode".to_owned(),
        kind: crate::facts::Kind::Value,
        schema: Some("facts.household.v1".to_owned()),
        validator: None,
        subjects: None,
        laws: texts(&["cad-50"]),
        fresh_for: Duration::from_mins(1),
        refresh_on: Vec::new(),
        reusable_for: Vec::new(),
        terms: texts(terms),
        documents: texts(documents),
        file,
    };
    Catalogue::from([("household".to_owned(), Some(Arc::new(fact)))])
}

fn schemas(form: &Value) -> Schemas {
    let mut form = form.clone();
    for (key, value) in [("type", json!("object")), ("additionalProperties", json!(false))] {
        if let Some(keywords) = form.as_object_mut() {
            keywords.entry(key).or_insert(value);
        }
    }
    let members = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "taxCode": { "type": "string" }, "kinship": { "type": "string" } },
    });
    let document = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "key": { "type": "string" }, "name": { "type": "string" } },
    });
    let files = [
        ("a/form.v1.json", &form),
        ("facts/household.v1.json", &members),
        ("documents/document.v1.json", &document),
    ];
    let file = |(path, document): (&str, &Value)| SchemaFile {
        file: Arc::new(SourceFile {
            path: format!("schemas/{path}"),
            text: format!("{document:#}"),
        }),
        path: path.to_owned(),
    };
    let (schemas, said) = Schemas::load(&files.map(file));
    assert_eq!(render_text(&said), "");
    schemas
}

/// A need of the household, with what is declared of it.
fn need(declared: &str, stands_in: bool) -> Need {
    let file = Arc::new(SourceFile { path: "routes/r.yaml".to_owned(), text: "need".to_owned() });
    Need {
        fact: "household".to_owned(),
        place: Place::new(&file, 0..4),
        declared: declared.to_owned(),
        stands_in,
    }
}

fn entry() -> Entry {
    let taker = Taker {
        route: "enrol".to_owned(),
        title: "A family enrols a child".to_owned(),
        office: "scuola".to_owned(),
        needs: vec![need("{ count: \"${ .relatives }\", all: \"${ .a }\" }", false)],
        questions: "${ .applicant.taxCode }".to_owned(),
    };
    Entry { kind: KIND.to_owned(), takers: vec![taker] }
}

fn checked(form: &Value, facts: &Catalogue, production: bool) -> (Inventory, Vec<Diagnostic>) {
    let (schemas, mut problems) = (schemas(form), Problems::default());
    let laws = ["cad-50".to_owned(), "art-46".to_owned()];
    let around = Around { schemas: &schemas, facts, laws: &laws, production };
    let inventory = check(vec![entry()], &around, &mut problems);
    (inventory, problems.sorted())
}

/// The codes that are said, each with the word at its place.
fn codes(form: &Value, facts: &Catalogue) -> Vec<String> {
    let shown = |said: &Diagnostic| {
        let place = &said.place;
        format!("{} {}", said.code, &place.file.text[place.start..place.end])
    };
    checked(form, facts, false).1.iter().map(shown).collect()
}

fn paths(form: &Value) -> Vec<String> {
    let none = Catalogue::new();
    let (inventory, _) = checked(form, &none, false);
    inventory.asked[0].fields.iter().map(|field| field.path.clone()).collect()
}

/// What is said of a route that asks for the household and takes this form.
fn said_of_need(form: &Value, declared: &str, stands_in: bool) -> Vec<String> {
    let (schemas, mut problems) = (schemas(form), Problems::default());
    let facts = household(&[], &[]);
    let laws = ["art-46".to_owned()];
    let around = Around { schemas: &schemas, facts: &facts, laws: &laws, production: false };
    let mut entry = entry();
    entry.takers[0].needs = vec![need(declared, stands_in)];
    check(vec![entry], &around, &mut problems);
    let words = |said: &Diagnostic| format!("{} {} | {}", said.code, said.title, said.label);
    problems.sorted().iter().map(words).collect()
}

#[test]
fn what_stands_in_is_declared_under_a_law_and_what_is_declared_is_compared() {
    let text = json!({ "type": "string" });
    let asked = |more: Value| {
        let mut field = text.clone();
        field["x-asked-of"] = json!("citizen");
        for (key, value) in more.as_object().into_iter().flatten() {
            field[key] = value.clone();
        }
        field
    };
    let declared =
        asked(json!({ "x-verdict": "self-declared", "x-fact": "household", "x-law": "art-46" }));
    let new = asked(json!({ "x-verdict": "new" }));
    let key = asked(json!({ "x-verdict": "key" }));
    let form = json!({ "properties": { "applicant": key, "family": declared, "familyName": new } });
    let none: [&str; 0] = [];
    assert_eq!(said_of_need(&form, "${ .family }", true), none);
    assert_eq!(said_of_need(&form, "members: ${ .family | split(\",\") }", false), none);
    let not_compared = "SN0509 `family` declares `household`, and is compared with nothing | the fact is asked for here";
    assert_eq!(said_of_need(&form, "", false), [not_compared]);
    let nobody = "SN0508 nothing lets `household` be declared by whom it is about | ";
    assert_eq!(
        said_of_need(&form, "${ .familyName }", true),
        [&format!("{nobody}`familyName` is not declared under a law"), not_compared]
    );
    assert_eq!(
        said_of_need(&form, "{ members: [] }", true),
        [&format!("{nobody}it reads no field that a person fills in"), not_compared]
    );
}

#[test]
fn every_place_where_a_value_may_stand_is_a_leaf() {
    let text = json!({ "type": "string" });
    let object = |properties: Value| json!({ "type": "object", "additionalProperties": false, "properties": properties });
    let document = json!({ "$ref": "../documents/document.v1.json" });
    let list = |items: &Value| json!({ "type": "array", "items": items });
    let with = |properties: Value| json!({ "properties": properties });
    let table = [
        (with(json!({ "a": text })), vec!["a"]),
        (with(json!({ "a": object(json!({ "b": text })), "c": list(&text) })), vec!["a.b", "c[]"]),
        (with(json!({ "a": list(&object(json!({ "b": list(&text) }))) })), vec!["a[].b[]"]),
        (with(json!({ "a": { "type": "array" } })), vec!["a[]"]),
        (with(json!({ "a": { "type": "object", "additionalProperties": text } })), vec!["a.*"]),
        (with(json!({ "a": { "type": "object", "additionalProperties": true } })), vec!["a.*"]),
        (with(json!({ "a": object(json!({})) })), vec![]),
        (with(json!({ "a": {} })), vec!["a"]),
        (with(json!({ "a": document, "b": list(&document) })), vec!["a", "b[]"]),
        (with(json!({ "a": { "oneOf": [text, object(json!({ "b": text }))] } })), vec!["a", "a.b"]),
        (with(json!({ "a": { "anyOf": [{ "type": "null" }, text] } })), vec!["a"]),
        (
            with(json!({ "a": { "type": "array", "prefixItems": [text], "items": false } })),
            vec!["a[]"],
        ),
        (
            json!({ "properties": { "a": text }, "if": { "properties": { "a": { "const": "x" } } },
                    "then": { "properties": { "a": { "minLength": 2 }, "b": text } } }),
            vec!["a", "b"],
        ),
        (
            json!({ "properties": { "a": { "$ref": "#/$defs/x" } },
                    "$defs": { "x": object(json!({ "b": text, "inside": { "$ref": "#/$defs/x" } })) } }),
            vec!["a.b"],
        ),
        (
            json!({ "allOf": [{ "properties": { "a": text } }], "properties": { "b": text } }),
            vec!["a", "b"],
        ),
    ];
    for (form, expected) in table {
        assert_eq!(paths(&form), expected, "{form}");
    }
}

#[test]
fn each_rule_holds_where_it_should_and_nowhere_else() {
    let facts = household(&["https://onto.example/Family"], &["family-certificate"]);
    let field = |more: Value| {
        let mut field = json!({ "type": "string", "x-asked-of": "citizen" });
        for (key, value) in more.as_object().into_iter().flatten() {
            field[key] = value.clone();
        }
        json!({ "properties": { "a": field } })
    };
    let document = |more: Value| {
        let mut field = json!({ "$ref": "../documents/document.v1.json", "x-asked-of": "citizen" });
        for (key, value) in more.as_object().into_iter().flatten() {
            field[key] = value.clone();
        }
        json!({ "properties": { "a": field } })
    };
    let looked = json!({ "who": "ufficio scuola", "when": "2026-11-20" });
    let table = [
        (field(json!({ "x-verdict": "new" })), ""),
        (field(json!({ "x-verdict": "key" })), ""),
        (field(json!({})), "SN0502 \"a\""),
        (field(json!({ "x-asked-of": "business" })), "SN0502 \"a\""),
        (field(json!({ "x-asked-of": "system" })), ""),
        (field(json!({ "x-asked-of": "administration", "x-fact": "household" })), ""),
        (field(json!({ "x-asked-of": "Citizen" })), "SN0504 \"Citizen\""),
        (field(json!({ "x-asked-of": 7 })), "SN0504 7"),
        (field(json!({ "x-verdict": "nwe" })), "SN0504 \"nwe\""),
        (field(json!({ "x-term": [] , "x-verdict": "new" })), "SN0504 []"),
        (field(json!({ "x-verdict": "new", "x-fact": "household" })), "SN0501 \"a\""),
        (field(json!({ "x-fact": "household" })), "SN0501 \"a\""),
        (field(json!({ "x-verdict": "new", "x-fact": "houshold" })), "SN0312 \"houshold\""),
        (
            field(json!({ "x-verdict": "new", "x-term": "https://onto.example/Family" })),
            "SN0501 \"a\"",
        ),
        (
            field(json!({ "x-verdict": "new", "x-term": ["x", "https://onto.example/Family/"] })),
            "SN0501 \"a\"",
        ),
        (field(json!({ "x-verdict": "new", "x-term": "https://onto.example/Person" })), ""),
        (
            field(json!({ "x-verdict": "self-declared", "x-fact": "household" })),
            "SN0505 \"self-declared\"",
        ),
        (
            field(
                json!({ "x-verdict": "self-declared", "x-fact": "household", "x-law": "art-46" }),
            ),
            "",
        ),
        (
            field(json!({ "x-verdict": "self-declared", "x-law": ["art-46", "art-99"] })),
            "SN0307 [\"art-46\",\"art-99\"]",
        ),
        (field(json!({ "x-verdict": "not-held" })), "SN0506 \"not-held\""),
        (field(json!({ "x-verdict": "not-held", "x-looked": looked })), ""),
        (
            field(json!({ "x-verdict": "not-held", "x-looked": { "who": "I" } })),
            "SN0506 {\"who\":\"I\"}",
        ),
        (field(json!({ "x-verdict": "not-held", "x-loked": looked })), "SN0507 \"x-loked\""),
        (field(json!({ "x-verdit": "new" })), "SN0507 \"x-verdit\""),
        (field(json!({ "x-vendor": 1, "x-verdict": "new" })), ""),
        (document(json!({ "x-verdict": "new", "x-document": "passport-photo" })), ""),
        (
            document(json!({ "x-verdict": "new", "x-document": "family-certificate" })),
            "SN0501 \"a\"",
        ),
        (document(json!({ "x-document": "passport-photo" })), "SN0502 \"a\""),
        (
            json!({ "properties": { "household": { "type": "string", "x-asked-of": "citizen", "x-verdict": "new" } } }),
            "SN0501 \"household\"",
        ),
        (
            json!({ "properties": { "household": { "type": "string", "x-asked-of": "citizen", "x-verdict": "new", "x-term": "y" } } }),
            "",
        ),
        (json!({ "properties": { "household": { "type": "string", "x-asked-of": "login" } } }), ""),
        (
            json!({ "properties": { "a": { "type": "string", "x-asked-of": "login" }, "b": { "type": "string" } } }),
            "SN0503 \"b\"",
        ),
        (json!({ "x-asked-of": "login", "properties": { "b": { "type": "string" } } }), ""),
        (json!({ "properties": { "b": { "type": "string" } } }), "SN0503 {"),
    ];
    for (form, expected) in table {
        let said = codes(&form, &facts).join(", ").replace(['\n', ' '], "");
        assert_eq!(said, expected.replace(' ', ""), "{form}");
    }
}

#[test]
fn branches_are_judged_one_by_one_and_what_only_restricts_is_not() {
    let facts = household(&[], &[]);
    let new = json!({ "type": "string", "x-verdict": "new" });
    let table = [
        (json!({ "oneOf": [new, { "type": "integer", "x-verdict": "key" }] }), 0),
        (json!({ "oneOf": [new, { "type": "integer" }] }), 1),
        (json!({ "oneOf": [{ "type": "string" }, { "type": "integer" }], "x-verdict": "new" }), 0),
        (json!({ "allOf": [{ "x-verdict": "new" }, { "type": "string" }] }), 0),
        (json!({ "allOf": [{ "minLength": 1 }], "type": "string" }), 1),
    ];
    let split = json!({ "unevaluatedProperties": false, "x-asked-of": "citizen", "allOf": [
        { "properties": { "a": { "type": "string" } } }, { "properties": { "a": { "x-verdict": "new" } } },
    ] });
    assert_eq!(codes(&split, &facts), Vec::<String>::new());
    for (field, expected) in table {
        let form = json!({ "x-asked-of": "citizen", "properties": { "a": field } });
        assert_eq!(codes(&form, &facts).len(), expected, "{form}");
    }
    let form = json!({
        "x-asked-of": "citizen", "properties": { "a": new },
        "then": { "properties": { "a": { "const": "x" } } }, "if": true,
    });
    assert_eq!(codes(&form, &facts), Vec::<String>::new());
}

#[test]
fn with_an_empty_catalogue_a_silent_type_is_passed_over_but_not_in_production_and_never_unseen() {
    let (form, none) = (json!({ "properties": { "a": { "type": "string" } } }), Catalogue::new());
    let (inventory, said) = checked(&form, &none, false);
    assert!(said.is_empty());
    let text = Report::of(&inventory).render(Format::Table, Language::English);
    assert!(text.contains("the catalogue of facts is empty"), "{text}");
    assert!(text.contains("the type says of no field who fills it in\n    a.form.v1\n"), "{text}");
    let (_, said) = checked(&form, &none, true);
    assert!(said.iter().all(|one| one.code == "SN0503" && one.severity == Severity::Error));
    assert_eq!(said.len(), 1);
}

#[test]
fn what_is_asked_and_held_is_said_in_these_words() {
    let person = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "taxCode": { "type": "string", "x-verdict": "key" } },
    });
    let form = json!({
        "x-asked-of": "citizen",
        "properties": { "applicant": person, "household": { "type": "string", "x-verdict": "new", "x-fact": "household" } },
    });
    let (_, said) = checked(&form, &household(&[], &[]), false);
    insta::assert_snapshot!(render_text(&said).trim(), @r#"
    error[SN0501]: the citizen is asked for what ANPR holds
      --> schemas/a/form.v1.json:14:5
       |
    14 |     "household": {
       |     ^^^^^^^^^^^ held: fact `household`, ANPR C021 (routes/facts/household.yaml:2)
       |
    help: write: delete the field, and under `needs:` household: { fact: household, about: "${ .applicant.taxCode }" }, with the number of the case in `case:`
          or:    if it may be self-declared (art. 46): "x-verdict": "self-declared", "x-fact": "household", with "x-law"
          who:   the author of the schema
    "#);
}

/// A form with one field of each kind.
fn report() -> Report {
    let form = json!({ "x-asked-of": "citizen", "properties": {
        "applicant": { "type": "object", "additionalProperties": false, "properties": {
            "taxCode": { "type": "string", "format": "codice-fiscale", "x-verdict": "key" },
            "name": { "type": "string", "x-asked-of": "login" },
        } },
        "relatives": { "type": "integer", "x-verdict": "self-declared", "x-fact": "household", "x-law": ["art-46", "cad-50"] },
        "kinship": { "enum": ["a"], "x-verdict": "new" },
        "school": { "type": "string", "x-verdict": "new", "x-term": "t" },
        "card": { "$ref": "../documents/document.v1.json", "x-verdict": "new" },
        "sent": { "type": "string", "x-asked-of": "system" },
        "list": { "type": "string", "x-asked-of": "administration" },
        "allergy": { "enum": ["x"], "x-term": "t", "x-verdict": "not-held", "x-looked": { "who": "o", "when": "2026-11-20" } },
    } });
    let (inventory, said) = checked(&form, &household(&[], &[]), false);
    assert_eq!(render_text(&said), "");
    Report::of(&inventory)
}

#[test]
fn the_report_says_the_same_in_both_languages() {
    insta::assert_snapshot!("table-en", report().render(Format::Table, Language::English));
    insta::assert_snapshot!("table-it", report().render(Format::Table, Language::Italian));
}

#[test]
fn the_report_is_markdown_csv_and_json_too() {
    insta::assert_snapshot!("markdown", report().render(Format::Markdown, Language::Italian));
    let csv = report().render(Format::Csv, Language::English);
    insta::assert_snapshot!("csv", csv.replace('\r', "\\r"));
    let json: Value =
        serde_json::from_str(&report().render(Format::Json, Language::English)).expect("JSON");
    insta::assert_snapshot!("json", format!("{:#}\n{:#}", json["fields"][6], json["unseen"]));
}
