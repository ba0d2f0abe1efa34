//! The language of facts, for editors.
//!
//! Invariant: what the reader of facts reads is in it and nothing else: a test compares the keys.

use serde_json::{Value, json};

use super::text;

/// Under which editors know it.
const ID: &str = "https://snodo.example/fact.schema.json";

/// The JSON Schema of a file of `routes/facts/`, as `snodo schema fact` prints it.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "A fact of Snodo",
        "description": "What an authority holds, so that nobody is asked for it. `snodo check` checks it.",
        "type": "object",
        "required": ["fact", "held_by", "query", "about", "law", "fresh_for"],
        "additionalProperties": false,
        "properties": {
            "fact": {
                "type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$",
                "description": "Its name, that of the file: routes read $facts.<name>.",
            },
            "title": text("For people: what it is."),
            "kind": {
                "enum": ["value", "verification"], "default": "value",
                "description": "A value; or a yes or no: holds, fails or undetermined.",
            },
            "held_by": text("The adapter instance that answers."),
            "query": text("Its operation that is the question; one that may be asked again."),
            "about": text("The field of the question that says about whom it is."),
            "schema": text("The type of the value, <domain>/<name>.v<N>; a verification has none."),
            "subjects": {
                "type": ["string", "array"], "items": { "type": "string" },
                "description": "Whom else the value tells about, one disclosure for each: \
                                ${ [.members[].taxCode] }.",
            },
            "law": texts("The laws under which it is asked, of routes/laws.yaml."),
            "fresh_for": {
                "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|y)$",
                "description": "How long an answer is used again for the same purpose: 24h.",
            },
            "refresh_on": texts("Types of messages after which it is asked anew."),
            "reusable_for": texts("Other purposes for which an answer is used again."),
            "terms": texts(
                "What it means, as terms of an ontology: a field with one of them is not asked for.",
            ),
            "documents": texts("Documents that say the same, as `x-document` names them."),
        },
        "if": { "properties": { "kind": { "const": "verification" } }, "required": ["kind"] },
        "then": { "properties": { "schema": false } },
        "else": { "required": ["schema"] },
    })
}

fn texts(description: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}
