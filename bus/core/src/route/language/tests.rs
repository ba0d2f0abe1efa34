//! The language of the tests of routes, for editors.
//!
//! Invariant: what the reader of tests reads is in it and nothing else: a test compares the keys.

use serde_json::{Map, Value, json};

use super::{refers, text};
use crate::route::suite::STATES;

/// Under which editors know it.
const ID: &str = "https://snodo.example/route-tests.schema.json";

/// The JSON Schema of a file of tests, as `snodo schema tests` prints it.
pub fn schema() -> Value {
    let mut defined = definitions();
    defined.insert("duration".to_owned(), super::definitions()["duration"].clone());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "Tests of a route of Snodo",
        "description": "What comes, what targets answer, what is expected. `snodo test` runs them.",
        "type": "object",
        "required": ["tests"],
        "additionalProperties": false,
        "properties": { "tests": { "$ref": "#/$defs/tests" } },
        "$defs": defined,
    })
}

/// What a route's own file may hold too.
pub(super) fn definitions() -> Map<String, Value> {
    let all = [
        ("tests", json!({ "type": "array", "items": { "$ref": "#/$defs/test" } })),
        ("test", test()),
        ("message", message()),
        ("script", script()),
        ("fault", fault()),
        ("expect", expect()),
    ];
    all.into_iter().map(|(name, definition)| (name.to_owned(), definition)).collect()
}

fn by_step(of: &Value, description: &str) -> Value {
    json!({ "type": "object", "additionalProperties": of, "description": description })
}

fn texts(description: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

fn count(most: u32, description: &str) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "description": description })
}

fn test() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["name"],
        "properties": {
            "name": text("What it shows, in words."),
            "at": text("When it begins (RFC 3339); else 2026-01-07T09:00:00+01:00."),
            "lasts": refers("duration", "How long it lasts at most; what is open then stays so."),
            "message": { "$ref": "#/$defs/message" },
            "messages": { "type": "array", "items": { "$ref": "#/$defs/message" } },
            "arrive": texts("The ids of messages, in the order in which their first copies come."),
            "copies": count(100, "How often the broker hands over each copy."),
            "steps": by_step(&json!({ "$ref": "#/$defs/script" }), "What targets answer, by step."),
            "facts": by_step(
                &json!({}),
                "What authorities answer, by need: the value, `not_found`, `ambiguous`, `unavailable`, \
                 a verdict, or a script as under `steps`.",
            ),
            "crash_after": text("The bus dies once after this step, and starts again."),
            "expect": { "$ref": "#/$defs/expect" },
        },
    })
}

fn message() -> Value {
    json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "file": text("Its body: a file of routes/<route>/, taken as it is."),
            "data": { "description": "Its body, written here." },
            "id": text("The sender's id."),
            "source": text("The sender's source."),
            "subject": text("CloudEvents `subject`."),
            "time": text("CloudEvents `time` (RFC 3339)."),
            "party": text("Who sends it."),
            "actor": text("Who acts."),
            "case": text("The case to which it belongs."),
            "after": refers("duration", "How long after the message before it."),
            "sent": count(100, "How often it is sent."),
            "expect": { "$ref": "#/$defs/expect" },
        },
    })
}

fn script() -> Value {
    json!({
        "description": "What the target of a step answers; left out, the register registers and what \
                        promises no answer gives none.",
        "oneOf": [
            { "$ref": "#/$defs/fault" },
            {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "fails": {
                        "description": "One fault per call, then the rest; a bare word: always.",
                        "oneOf": [
                            { "$ref": "#/$defs/fault" },
                            { "type": "array", "items": { "$ref": "#/$defs/fault" } },
                        ],
                    },
                    "returns": { "description": "The result, as the operation promises it." },
                    "refuses": {
                        "type": "object", "additionalProperties": false,
                        "description": "The target says no, for good.",
                        "properties": {
                            "code": text("The code of the fault; SN0763 if left out."),
                            "reason": text("The target's own short word."),
                        },
                    },
                    "recalls": {
                        "enum": ["done", "not_done"], "default": "not_done",
                        "description": "Asked whether an earlier call acted, it says so.",
                    },
                },
            },
        ],
    })
}

fn fault() -> Value {
    json!({
        "oneOf": [
            {
                "enum": ["transient", "outage", "uncertain"],
                "description": "Not now; nobody answers; the call went out and no answer came.",
            },
            {
                "type": "object", "additionalProperties": false, "required": ["transient"],
                "properties": { "transient": refers("duration", "Not now, with this Retry-After.") },
            },
        ],
    })
}

fn expect() -> Value {
    json!({
        "type": "object", "additionalProperties": false,
        "description": "What is not said is not looked at.",
        "properties": {
            "state": { "enum": STATES, "description": "What becomes of the message." },
            "ran": texts("The steps that are done, in order, without choices."),
            "not_ran": texts("Steps that are not done."),
            "asked": texts("The needs for which an authority is asked, in order."),
            "not_asked": texts("Needs for which nobody is asked."),
            "differs": texts("The needs of which the sender declares something else than the answer, in order."),
            "reused": texts("The needs for which an earlier answer is used, in order."),
            "calls": by_step(
                &json!({ "type": "integer", "minimum": 0 }),
                "How often targets are called, by step.",
            ),
            "inputs": by_step(&json!({}), "What targets are given, by step: at least this."),
            "emits": {
                "type": "array",
                "description": "What is emitted: all of it, in order.",
                "items": {
                    "type": "object", "additionalProperties": false, "required": ["emit"],
                    "properties": {
                        "emit": text("Its type."),
                        "to": texts("The parties to whom it is addressed."),
                        "with": { "description": "Its body: at least this." },
                    },
                },
            },
            "waits": {
                "type": "array", "items": { "$ref": "#/$defs/duration" },
                "description": "How long it waits before each new attempt; jitter gives the longest.",
            },
            "problem": {
                "type": "object", "additionalProperties": false,
                "description": "Why the message is refused at the door.",
                "properties": {
                    "code": text("SN06nn."),
                    "pointer": text("Where in the body; \"\" for all of it."),
                },
            },
            "fault": {
                "type": "object", "additionalProperties": false,
                "description": "Its last fault.",
                "properties": {
                    "code": text("Its code."),
                    "step": text("The step at which it happened."),
                    "reason": text("The target's own short word."),
                },
            },
            "order": texts("The ids of the messages, in the order in which they end."),
            "deliveries": { "type": "integer", "minimum": 0, "description": "How many the route gets." },
        },
    })
}
