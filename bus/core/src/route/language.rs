//! The language of routes as a JSON Schema, for editors. `check` says more, and in better words.
//!
//! Invariant: what the compiler reads is in it and nothing else: a test compares the keys, another one
//! every route that checks.

use serde_json::{Value, json};

use super::Priority;

mod fact;
mod tests;

pub use fact::schema as fact_schema;
pub use tests::schema as tests_schema;

/// Under which editors know it.
const ID: &str = "https://snodo.example/route.schema.json";

/// The JSON Schema of a route file, as `snodo schema route` prints it.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "A route of Snodo",
        "description": "What happens to each message of a type. `snodo check` checks it like code.",
        "type": "object",
        "required": ["route", "title", "office", "from", "purpose", "actor", "steps"],
        "additionalProperties": false,
        "properties": route(),
        "$defs": definitions(),
    })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn step_when() -> Value {
    refers("condition", "The step runs only where it holds; its result is null elsewhere.")
}

fn refers(name: &str, description: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}"), "description": description })
}

fn route() -> Value {
    json!({
        "route": refers("routeName", "The route's name: also that of its queue and of its label in metrics."),
        "title": text("For people: what happens here."),
        "office": text("The office that owns the route."),
        "from": {
            "description": "The type that the route takes, or a clock that gives one.",
            "oneOf": [{ "$ref": "#/$defs/typeName" }, { "$ref": "#/$defs/clock" }],
        },
        "purpose": text("Why the data travel: a file of routes/purposes/, without its ending."),
        "actor": text("Who acts: `system`, or an expression that gives the person's id: ${ .declaredBy }."),
        "when": refers("condition", "Only messages for which it holds are taken; the others are filtered."),
        "needs": {
            "type": "object", "additionalProperties": { "$ref": "#/$defs/need" }, "maxProperties": 20,
            "description": "What an authority holds: asked just before the first step that reads it.",
        },
        "order_by": text("The key whose messages keep the order in which they were accepted: ${ .plate }."),
        "on_park": {
            "enum": ["hold", "skip"], "default": "hold",
            "description": "What those behind a parked message do: wait with it, or go past it.",
        },
        "shards": {
            "type": "integer", "minimum": 1, "maximum": super::Order::MOST_SHARDS,
            "default": super::Order::SHARDS,
            "description": "In how many queues the keys are handled side by side.",
        },
        "steps": refers("steps", "What is done, in this order; each step is done once."),
        "retry": {
            "type": "object", "additionalProperties": false,
            "required": ["first", "longest", "give_up_after"],
            "description": "How it tries again; left out: { first: 5s, longest: 15m, give_up_after: 3d }.",
            "properties": {
                "first": refers("duration", "The wait after the first fault; it doubles."),
                "longest": refers("duration", "The longest wait; a target may ask for up to a day."),
                "give_up_after": refers("duration", "Then a person must look; outages do not count."),
            },
        },
        "tests": {
            "$ref": "#/$defs/tests",
            "description": "Tests of the route; they may stand in <route>.test.yaml as well.",
        },
    })
}

fn definitions() -> Value {
    let mut defined = json!({
        "routeName": { "type": "string", "pattern": "^[a-z][a-z0-9-]{0,63}$" },
        "typeName": {
            "type": "string", "pattern": r"^[a-z][a-z0-9-]*\.[a-z0-9.-]+\.v[1-9][0-9]*$",
            "description": "<domain>.<name>.v<N>, a schema below schemas/.",
        },
        "duration": { "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|y)$" },
        "condition": {
            "type": ["string", "boolean"],
            "description": "Bare jq that is true or false: .wantsReduction and .age > 6",
        },
        "template": {
            "description": "Any shape; texts may hold ${ jq }. A key `name?` is left out when null.",
        },
        "clock": clock(),
        "need": need(),
        "steps": { "type": "array", "items": { "$ref": "#/$defs/step" } },
        "step": {
            "type": "object", "minProperties": 1, "maxProperties": 1,
            "additionalProperties": false,
            "description": "`- id:` and under it one verb: `use`, `emit` or `choose`.",
            "patternProperties": {
                "^[a-z][a-z0-9_]{0,63}$": {
                    "oneOf": [
                        { "$ref": "#/$defs/use" },
                        { "$ref": "#/$defs/emit" },
                        { "$ref": "#/$defs/choose" },
                    ],
                },
            },
        },
        "use": call(),
        "emit": emit(),
        "choose": choose(),
        "branch": branch(),
    });
    let Value::Object(defined) = &mut defined else { return defined };
    defined.append(&mut tests::definitions());
    Value::Object(std::mem::take(defined))
}

fn clock() -> Value {
    let every = "`15 minutes`, `hour at :05`, `day at 02:30`, `working day at 07:00`, \
                 `monday at 07:00`, `month on day 5 at 06:00`, `month on last day at 06:00`.";
    json!({
        "type": "object", "additionalProperties": false, "required": ["every", "as"],
        "properties": {
            "every": text(every),
            "zone": { "type": "string", "default": "Europe/Rome", "description": "Where it is that time." },
            "as": { "$ref": "#/$defs/typeName" },
            "missed": {
                "enum": ["once"], "default": "once",
                "description": "After an outage it runs once, whatever was missed.",
            },
        },
    })
}

fn need() -> Value {
    let missing = |description: &str| {
        let words = ["park", "continue"];
        json!({ "enum": words, "default": "park", "description": description })
    };
    let priorities = Priority::WORDS.map(|(word, _)| word);
    json!({
        "type": "object", "additionalProperties": false, "required": ["fact", "about", "case"],
        "properties": {
            "fact": text("A file of routes/facts/, without its ending."),
            "about": text("About whom: ${ .applicant.taxCode }."),
            "case": text("The reference of the case, for the authority: ${ $steps.register.number }."),
            "with": refers("template", "What else the question says: what is to be verified."),
            "when": refers("condition", "It is asked only where this holds; elsewhere it is null."),
            "if_not_found": missing("The authority knows nothing: a person looks at it, or it is null."),
            "if_ambiguous": missing("The authority knows several: a person looks at it, or it is null."),
            "if_unavailable": {
                "type": "object", "additionalProperties": false, "required": ["wait", "then"],
                "description": "Left out: it waits as `retry` says, then for a person.",
                "properties": {
                    "wait": refers("duration", "Counted from when the message came."),
                    "then": {
                        "enum": ["continue", "self_declared"],
                        "description": "It is null; or what `declared` says, where the law lets it.",
                    },
                },
            },
            "declared": refers("template", "What the sender says of it: compared, never preferred."),
            "priority": {
                "enum": priorities, "default": "normal",
                "description": "Where its authority answers so many questions a day: `low` leaves half \
                                of them to others, `normal` a tenth.",
            },
        },
    })
}

fn call() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["use", "with"],
        "properties": {
            "use": {
                "type": "string", "pattern": r"^[^.]+\.[^.]+$",
                "description": "<adapter instance>.<operation>",
            },
            "when": step_when(),
            "with": refers("template", "The operation's input."),
            "if_refused": {
                "enum": ["continue"],
                "description": "A target's no becomes $steps.<id>.refused: { code, reason }.",
            },
        },
    })
}

fn emit() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["emit", "with"],
        "dependentRequired": { "each": ["key"], "key": ["each"] },
        "properties": {
            "emit": { "$ref": "#/$defs/typeName" },
            "when": step_when(),
            "with": refers("template", "The body of the message."),
            "each": refers("template", "A list: one message per item, which is $item. At most 10,000."),
            "key": text("What tells the items apart: ${ $item.ipa }."),
            "to": {
                "type": ["string", "array"], "items": { "type": "string" },
                "description": "The parties to whom it is addressed: an id, a list of ids, or an expression.",
            },
        },
    })
}

fn choose() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["choose"],
        "properties": {
            "when": step_when(),
            "choose": {
                "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/branch" },
                "description": "The first branch whose `when` holds. `otherwise` is last, and may be missing \
                                only where every value of an enum has its branch.",
            },
        },
    })
}

fn branch() -> Value {
    json!({
        "oneOf": [
            {
                "type": "object", "additionalProperties": false, "required": ["when", "then"],
                "properties": {
                    "when": { "$ref": "#/$defs/condition" },
                    "then": { "$ref": "#/$defs/steps" },
                },
            },
            {
                "type": "object", "additionalProperties": false, "required": ["otherwise"],
                "properties": {
                    "otherwise": refers("steps", "What is done where no condition holds; [] for nothing."),
                },
            },
        ],
    })
}
