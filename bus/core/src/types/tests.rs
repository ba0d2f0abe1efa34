//! What inference says of single expressions: the traps of jq, narrowing, and what fits what.
//!
//! Invariant: each line of a table was tried in jaq; the code beside it is what keeps people out of it.

pub(crate) mod random;
pub(crate) mod trial;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Type,
    fits::misfits,
    infer::{Context, Inference},
    library::Library,
};
use crate::{schema::Schemas, template::parse_for_tests as parse};

/// What is said of `expression` over messages of `schema`: its type, or the codes of its findings.
fn of(schema: &Value, expression: &str) -> String {
    let (found, _) = judged(schema, expression);
    found
}

fn judged(schema: &Value, expression: &str) -> (String, Type) {
    let schemas = Schemas::default();
    let library = Library::new(&schemas);
    let input = library.type_of(Library::guest(schema));
    let context = Context { input, variables: Vec::new() };
    let term = parse(expression).expect(expression);
    let mut inference = Inference::new(expression);
    let of = inference.value(&term, &context);
    let codes: Vec<&str> = inference.findings.iter().map(|finding| finding.code).collect();
    let found = match (codes.as_slice(), inference.may_stop.is_empty()) {
        ([], true) => of.to_string(),
        ([], false) => format!("{of}, may stop"),
        (codes, _) => codes.join(" "),
    };
    (found, of)
}

/// An object with these fields, none of them required.
fn with(fields: &Value) -> Value {
    json!({ "type": "object", "properties": fields, "additionalProperties": false })
}

#[test]
fn every_trap_of_jq_is_a_finding_or_is_typed_as_it_is() {
    let number = json!({ "type": "number" });
    let text = json!({ "type": "string" });
    let list = json!({ "type": "array", "items": text });
    let numbers = json!({ "type": "array", "items": { "type": "object", "properties": { "a": number }, "additionalProperties": false } });
    let one = |name: &str, schema: &Value| with(&json!({ name: schema }));
    let table = [
        (one("x", &number), ".x < 10000", "SN0206"),
        (
            json!({ "type": "object", "required": ["x"], "properties": { "x": text }, "additionalProperties": false }),
            ".x > 5",
            "SN0206",
        ),
        (with(&json!({ "a": text, "b": text })), ".a == .b", "SN0206"),
        (one("a", &json!({ "enum": ["open", "closed"] })), ".a != \"closed\"", "true or false"),
        (numbers.clone(), "min_by(.a)", "SN0206"),
        (json!({ "type": "integer", "minimum": 0 }), "[1, .] | max", "whole number from 1"),
        (json!({ "type": "integer", "minimum": 0 }), "[., 9] | min", "whole number from 0 up to 9"),
        (json!({ "type": "integer" }), "10 / ([., 1] | max)", "number from 0"),
        (json!({ "type": ["integer", "string"] }), "[1, .] | max", "text or whole number"),
        (one("x", &number), ".x + 1", "SN0207"),
        (one("x", &number), ".x - 1", "SN0207"),
        (json!({ "type": "array", "items": { "type": ["string", "null"] } }), "add", "SN0207"),
        (list.clone(), "add", "text or null"),
        (with(&json!({ "a": { "type": "integer" }, "b": number })), "1 / (.b // 0)", "SN0216"),
        (json!({ "type": "number" }), ". * 100", "number"),
        (json!({ "type": "integer" }), "(. / 2) | floor", "whole number"),
        (one("k", &text), "{(.k): 1}", "SN0219"),
        (
            json!({ "type": "array", "items": { "type": "object", "required": ["name", "value"], "properties": { "name": text, "value": number }, "additionalProperties": false } }),
            "from_entries",
            "SN0219",
        ),
        (one("x", &text), "\"a \\(.x)\"", "SN0209"),
        (
            json!({ "type": "array", "items": { "type": ["string", "null"] } }),
            "join(\",\")",
            "SN0209",
        ),
        (one("x", &list), ".x[]", "SN0208"),
        (one("x", &list), ".x[1:]", "SN0208"),
        (
            json!({ "type": "object", "required": ["x"], "properties": { "x": text }, "additionalProperties": false }),
            ".x.y",
            "SN0221",
        ),
        (one("a", &number), ".[0]", "SN0221"),
        (one("x", &number), "has(\"x\")", "true or false"),
        (json!({ "type": ["string", "null"] }), "length", "whole number from 0"),
        (json!({ "type": ["string", "null"] }), "contains(\"a\")", "SN0220"),
        (list.clone(), "contains(\"a\")", "SN0220"),
        (text.clone(), "tonumber", "SN0220"),
        (json!({ "type": "string", "pattern": "^[0-9]{5}$" }), "tonumber", "whole number from 0"),
        (text.clone(), "split(\",\") | .[0]", "text or null"),
        (json!({ "type": "string", "minLength": 1 }), "split(\",\") | .[0]", "text"),
        (one("f", &json!({ "type": "boolean" })), ".f // true", "SN0214"),
        (one("f", &json!({ "type": "boolean" })), ".f // false", "true or false"),
        (number.clone(), "if . then 1 else 2 end", "SN0213"),
        (number.clone(), "if . == 1 then \"x\" end", "\"x\" or number"),
        (one("x", &text), ".x // error(\"no\")", "text, may stop"),
        (
            json!({ "type": "object", "required": ["x"], "properties": { "x": list }, "additionalProperties": false }),
            "{a: .x[]}",
            "SN0210",
        ),
        (text.clone(), ". * 0", "SN0207"),
        (one("x", &text), ".y", "SN0201"),
        (json!({ "enum": ["accepted", "delivered"] }), ". == \"deliverd\"", "SN0215"),
        (json!({ "type": "string", "format": "date-time" }), ".[:10]", "date text"),
        (text.clone(), "add_days(.; 1)", "SN0220"),
        (text.clone(), "add_days(date(.); 1)", "date text, may stop"),
        (text, "test(\"(\")", "SN0223"),
    ];
    for (schema, expression, expected) in table {
        assert_eq!(of(&schema, expression), expected, "{expression} over {schema}");
    }
}

#[test]
fn a_condition_tells_of_what_it_reads() {
    let address = json!({
        "type": "object", "additionalProperties": false, "required": ["city"],
        "properties": { "city": { "type": "string" }, "zip": { "type": ["string", "null"] } },
    });
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["kind", "n"],
        "properties": {
            "kind": { "enum": ["a", "b", "c"] }, "n": { "type": "integer" }, "email": { "type": "string" },
            "address": address, "list": { "type": "array", "items": { "type": "string" } },
            "value": { "type": ["string", "number"] },
        },
    });
    let table = [
        ("if .email != null then .email else \"none\" end", "text"),
        ("if .email == null then 1 else .email end", "text or 1"),
        ("if .email then 1 else 2 end", "SN0213"),
        ("if .kind == \"a\" then 1 elif .kind == \"b\" then 2 else .kind end", "\"c\" or 1 or 2"),
        ("if .n > 3 then .n else 4 end", "whole number from 4"),
        ("if .n != 0 then 10 % .n else 0 end", "whole number"),
        ("if has(\"email\") then .email else \"\" end", "text"),
        ("if .address.zip != null then .address.city else \"\" end", "text"),
        ("if .list != null and (.list | length) > 0 then .list[0] else \"\" end", "text"),
        ("if (.list // []) | any(. == \"x\") then .list else [] end", "list of text or null"),
        ("if .list != null and any(.list[]; . == \"x\") then .list[0] else \"\" end", "text"),
        ("if (.value | type) == \"string\" then .value else \"\" end", "text"),
        ("[.list // [] | .[] | select(. != \"\")] | length", "whole number from 0"),
        ("if .email == null or .n == 0 then 1 else .email end", "text or 1"),
        ("if (.email != null) | not then 1 else .email end", "text or 1"),
        (
            "(.email // \"\") | if test(\"^[0-9]{5}$\") then tonumber else 0 end",
            "whole number from 0",
        ),
        ("(.email // \"\") | if test(\"^[^x]{5}$\") then tonumber else 0 end", "SN0220"),
        ("reduce (.list // [])[] as $x (0; . + 1)", "whole number"),
    ];
    for (expression, expected) in table {
        assert_eq!(of(&schema, expression), expected, "{expression}");
    }
}

#[test]
fn a_tag_tells_alternatives_apart() {
    let one = |kind: &str, name: &str| {
        json!({
            "type": "object", "additionalProperties": false, "required": ["kind", name],
            "properties": { "kind": { "const": kind }, name: { "type": "string", "format": "date" } },
        })
    };
    let schema = json!({ "oneOf": [one("delivered", "at"), one("failed", "since")] });
    let expression = "if .kind == \"delivered\" then .at else .since end";
    assert_eq!(of(&schema, expression), "date text");
    assert_eq!(of(&schema, ".at"), "date text or null");
    assert_eq!(of(&schema, ".ta"), "SN0201");
    let schemas = Schemas::default();
    let library = Library::new(&schemas);
    let (_, whole) = judged(&schema, ".");
    assert!(misfits(&library, &whole, Library::guest(&schema)).is_empty(), "copied unchanged");
    let built = judged(&schema, "{kind, at: (.at // \"2026-11-24\")}").1;
    let found = misfits(&library, &built, Library::guest(&schema));
    assert!(!found.is_empty(), "a `failed` has no `at`");
}

#[test]
fn what_does_not_fit_is_said_in_words() {
    let source = json!({
        "type": "object", "additionalProperties": false, "required": ["tax", "n", "list"],
        "properties": {
            "tax": { "type": "string", "format": "codice-fiscale" }, "n": { "type": "number" },
            "email": { "type": "string" }, "list": { "type": "array", "items": { "type": "string" } },
        },
    });
    let target = json!({
        "type": "object", "additionalProperties": false, "required": ["tax"],
        "properties": {
            "tax": { "type": "string", "format": "codice-fiscale" }, "n": { "type": "integer" },
            "email": { "type": "string" }, "direction": { "enum": ["incoming", "outgoing"] },
            "list": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            "short": { "type": "string", "maxLength": 2 },
        },
    });
    let schemas = Schemas::default();
    let library = Library::new(&schemas);
    let table = [
        ("{tax}", ""),
        (
            "{tax: .email}",
            "SN0202 tax: it may be null; SN0205 tax: nothing shows that it is a codice-fiscale",
        ),
        ("{tax, n}", "SN0203 n: it may have decimals"),
        ("{tax, n: (.n | floor)}", ""),
        ("{tax, email}", "SN0202 email: it may be null"),
        (
            "{tax, direction: \"incomming\"}",
            "SN0204 direction: \"incomming\" is not among the allowed values",
        ),
        ("{tax, list}", "SN0205 list: the list may be empty"),
        ("{tax, nota: 1}", "SN0212 nota: the target has no field `nota`"),
        ("{n: 1}", "SN0211 tax: the required field `tax` is missing"),
        ("{tax, short: .tax}", "SN0205 short: it may be longer than 2 characters"),
        ("{tax, short: .tax[:2]}", ""),
        ("[.tax]", "SN0203 : it is a list"),
    ];
    for (expression, expected) in table {
        let (said, of) = judged(&source, expression);
        let found = misfits(&library, &of, Library::guest(&target));
        let words =
            found.iter().map(|one| format!("{} {}: {}", one.code, one.path.join("."), one.title));
        let words: Vec<String> = words.collect();
        assert_eq!(words.join("; "), expected, "{expression}: {said}");
    }
}

#[test]
fn every_function_that_is_allowed_has_a_type() {
    let schema = json!(true);
    let mut untyped = BTreeMap::new();
    for (name, counts) in crate::template::allowed_for_tests() {
        for count in *counts {
            let arguments = vec!["."; *count].join("; ");
            let call =
                if *count == 0 { (*name).to_owned() } else { format!("{name}({arguments})") };
            let term = parse(&call).expect(&call);
            let mut inference = Inference::new(&call);
            let context = Context { input: Type::unknown(), variables: Vec::new() };
            inference.infer(&term, &context);
            if inference.unknowns.iter().any(|(_, why)| *why == format!("`{name}`")) {
                untyped.insert(call, schema.clone());
            }
        }
    }
    assert!(untyped.is_empty(), "{untyped:?}");
}
