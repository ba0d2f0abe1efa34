//! Tests of what is read of the facts: examples, and a property over generated expressions.
//!
//! Invariant: what an expression gives of the parts that were found is what it gives of all.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    diagnostic::{Problems, SourceFile},
    envelope::Envelope,
    template::{FACT, Scope, Template, compile::Templates, vet},
    yaml::{Content, Node},
};

fn paths(expression: &str, whole: bool) -> Vec<String> {
    let term = vet::parse(expression).expect("jq");
    parts(&term, whole).paths()
}

#[test]
fn what_is_read_is_found_through_the_constructs_of_jq() {
    for (expression, read) in [
        ("$facts.household.members", &["household.members"][..]),
        ("[$facts.household.members[].taxCode]", &["household.members[].taxCode"]),
        (
            "$facts.household.members | map({ code: .taxCode }) | .[0].code",
            &["household.members[].taxCode"],
        ),
        (
            "$facts.household.members | map(select(.role == \"child\")) | length",
            &["household.members[].role?"],
        ),
        ("$facts.household.members | length", &["household.members[]?"]),
        (
            "first($facts.h.members[] | select(.role == $message.data.role) | .name)",
            &["h.members[].name", "h.members[].role"],
        ),
        ("$facts.isee.value // 0", &["isee.value"]),
        ("if $facts.isee == null then 1 else 2 end", &["isee?"]),
        ("$facts.isee as $i | $i.value + 1", &["isee.value"]),
        ("reduce $facts.h.members[] as $m (0; . + $m.income)", &["h.members[].income"]),
        ("{ a: $facts.h.a, b: $facts.h.b }.a", &["h.a", "h.b?"]),
        ("$facts.h | tojson", &["h"]),
        ("$facts.h | with_entries(.value)", &["h"]),
        ("\"\\($facts.h.name) x\"", &["h.name"]),
        ("$facts[\"h\"].x", &["h.x"]),
        ("$facts", &["."]),
        (".a", &[".?"]),
        ("$facts.h.members | sort_by(.age) | .[0].name", &["h.members[].age", "h.members[].name"]),
        ("$facts.h.members | min_by(.age).name", &["h.members[].age", "h.members[].name"]),
        ("cents($facts.h.amount)", &["h.amount"]),
        ("$facts.h.items[1:] | map(.x)", &["h.items[].x"]),
    ] {
        assert_eq!(paths(expression, true), read, "{expression}");
    }
    assert_eq!(
        paths("any($facts.household.members[]; .taxCode == $message.data.child.taxCode)", false),
        ["household.members[].taxCode"]
    );
    assert_eq!(
        paths("$facts.h.given and ($facts.h.refused | not)", false),
        ["h.given?", "h.refused?"]
    );
}

fn compiled(expression: &str) -> Option<Template> {
    let text = format!("${{ {expression} }}");
    let file = Arc::new(SourceFile { path: "t.yaml".to_owned(), text: text.clone() });
    let mut problems = Problems::default();
    let mut templates = Templates::new(&file, &mut problems);
    let node = Node { span: 0..text.len(), content: Content::Text(text.clone()) };
    let (template, _) = templates.template(&node, "with");
    templates.finish();
    template
}

/// What an expression gives; of a fault only that it is one, and which.
fn given(template: &Template, fact: &Value) -> Result<Value, String> {
    let text = r#"{"id":"00000000-0000-7000-8000-000000000001","source":"s","type":"demo.in.v1",
        "time":"2026-11-24T02:30:00Z"}"#;
    let envelope: Envelope = serde_json::from_str(text).expect("an envelope");
    let body = json!({ "n": 1, "l": [1, 2], "t": "b" });
    let steps: Map<String, Value> = [(format!("{FACT}f"), fact.clone())].into_iter().collect();
    template.render(&Scope::new(&body, &envelope, &steps)).map_err(|fault| fault.code)
}

/// Values of few shapes, so that expressions find something in them.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        "[ab]{0,1}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let name = prop_oneof![Just("a"), Just("b"), Just("c")];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..4).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, of)| (name.to_owned(), of)).collect())
            }),
        ]
    })
}

/// Expressions over `$facts.f`, and over `.` within them.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => Just("$facts.f".to_owned()),
        3 => Just(".".to_owned()),
        3 => prop_oneof![Just(".a"), Just(".b"), Just(".c"), Just(".[0]"), Just(".[]?"), Just(".[\"a\"]?")]
            .prop_map(str::to_owned),
        1 => prop_oneof![Just("1"), Just("\"a\""), Just("null"), Just("true"), Just("$facts"), Just("empty")]
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let three = (inner.clone(), inner.clone(), inner.clone());
        let path = prop_oneof![
            Just(".a?"), Just(".b?"), Just("[]?"), Just("[0]?"), Just("[1:]?"), Just("[.n]?"),
        ];
        let call = prop_oneof![
            Just("length"), Just("not"), Just("keys"), Just("first"), Just("last"), Just("reverse"),
            Just("any"), Just("all"), Just("values"), Just("objects"), Just("arrays"), Just("tojson"),
            Just("type"), Just("add"), Just("unique"), Just("to_entries"), Just("flatten"), Just("strings"),
            Just("scalars"), Just("sort"), Just("min"),
        ];
        let filter = prop_oneof![
            Just("map"), Just("select"), Just("any"), Just("all"), Just("sort_by"), Just("min_by"),
            Just("group_by"), Just("map_values"), Just("isempty"), Just("first"), Just("unique_by"),
            Just("with_entries"), Just("has"), Just("contains"), Just("del"), Just("join"),
        ];
        let operator = prop_oneof![
            Just("|"), Just(","), Just("//"), Just("+"), Just("=="), Just("<"), Just("and"), Just("or"),
            Just("!="), Just("|="), Just("+="),
        ];
        prop_oneof![
            3 => (inner.clone(), path).prop_map(|(a, p)| format!("(({a}) | {})", if p.starts_with('[') { format!(".{p}") } else { p.to_owned() })),
            3 => (two.clone(), operator).prop_map(|((a, b), o)| format!("({a} {o} {b})")),
            2 => (inner.clone(), call).prop_map(|(a, c)| format!("({a} | {c})")),
            3 => (two.clone(), filter).prop_map(|((a, b), f)| format!("({a} | {f}({b}))")),
            1 => three.clone().prop_map(|(a, b, c)| format!("(if {a} then {b} else {c} end)")),
            1 => two.clone().prop_map(|(a, b)| format!("({a} as $x | {b} | [., $x])")),
            1 => two.clone().prop_map(|(a, b)| format!("({a} as $x | {b} | $x.a?)")),
            1 => two.clone().prop_map(|(a, b)| format!("({a} as {{a: $x}} | {b} | [$x])")),
            1 => inner.clone().prop_map(|a| format!("[{a}]")),
            1 => two.clone().prop_map(|(a, b)| format!("{{ a: {a}, b: {b} }}")),
            1 => inner.clone().prop_map(|a| format!("\"x\\({a})\"")),
            1 => two.clone().prop_map(|(a, b)| format!("(try ({a}) catch ({b}))")),
            1 => three.prop_map(|(a, b, c)| format!("(reduce ({a}) as $x ({b}; [., $x, {c}] | .[0:2]))")),
            1 => two.prop_map(|(a, b)| format!("any({a}; {b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn an_expression_gives_the_same_of_the_parts_that_it_reads(
        expression in expressions(), fact in values(),
    ) {
        let Some(template) = compiled(&expression) else { return Ok(()) };
        let term = vet::parse(&expression).expect("it compiled");
        let read = parts(&term, true);
        let kept = read.of_field("f").map_or(Value::Null, |parts| parts.of(&fact));
        prop_assert_eq!(given(&template, &kept), given(&template, &fact), "{}", read.paths().join(" "));
    }
}
