//! Tests of rendering, trap by trap, and of native code against jaq.
//!
//! Invariant: what jaq would let through silently either is refused or is what the author wrote.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{
    Condition, Expression, Leaf, Part, Scope, Template, compile::Templates, jq::Program, vet,
};
use crate::{
    diagnostic::{Problems, SourceFile, render_text},
    envelope::Envelope,
    fault::Fault,
    ids::MessageId,
    timestamp::Timestamp,
    yaml,
};

fn envelope() -> Envelope {
    let text = r#"{"id":"00000000-0000-7000-8000-000000000001","source":"s","type":"demo.in.v1",
        "time":"2026-11-24T02:30:00Z","party":"region","subject":"pratica/1"}"#;
    serde_json::from_str(text).expect("an envelope")
}

fn templates<T>(text: &str, run: impl FnOnce(&mut Templates<'_>, &yaml::Node) -> Option<T>) -> T {
    let file = Arc::new(SourceFile { path: "t.yaml".to_owned(), text: text.to_owned() });
    let mut problems = Problems::default();
    let node = yaml::read(&file, &mut problems);
    let mut templates = Templates::new(&file, &mut problems);
    templates.with_item(true);
    let made = node.and_then(|node| run(&mut templates, &node));
    templates.finish();
    made.unwrap_or_else(|| panic!("{}", render_text(&problems.sorted())))
}

fn template(text: &str) -> Template {
    templates(text, |templates, node| templates.template(node, "with").0)
}

fn condition(text: &str) -> Condition {
    let quoted = json!(text).to_string();
    templates(&quoted, |templates, node| templates.condition(node, "when").0)
}

fn in_scope<T>(body: &Value, run: impl FnOnce(&Scope<'_>) -> T) -> T {
    let (envelope, steps) = (envelope(), json!({ "register": { "number": "7/2026" } }));
    run(&Scope::new(body, &envelope, steps.as_object().expect("an object")))
}

pub(super) fn render(text: &str, body: &Value) -> Result<Value, Fault> {
    in_scope(body, |scope| template(text).render(scope))
}

/// What an expression gives of each message; the words of the fault where it gives none.
pub(crate) fn values(expression: &str, bodies: &[Value]) -> Vec<Result<Value, String>> {
    let made = template(&json!(format!("${{ {expression} }}")).to_string());
    let one = |body| in_scope(body, |scope| made.render(scope)).map_err(|fault| fault.to_string());
    bodies.iter().map(one).collect()
}

pub(super) fn mistakes(text: &str) -> Vec<&'static str> {
    let file = Arc::new(SourceFile { path: "t.yaml".to_owned(), text: text.to_owned() });
    let mut problems = Problems::default();
    if let Some(node) = yaml::read(&file, &mut problems) {
        let mut templates = Templates::new(&file, &mut problems);
        templates.template(&node, "with");
    }
    problems.sorted().iter().map(|mistake| mistake.code).collect()
}

#[test]
fn a_template_keeps_types_and_writes_texts() {
    let body = json!({ "n": 7, "t": "x", "f": 1.5, "b": false, "none": null, "l": [{ "c": "q" }] });
    let check = |text: &str, expected: Value| {
        assert_eq!(render(text, &body).expect("renders"), expected, "{text}");
    };
    check("${ .n }", json!(7));
    check("a${ .n }b${ .t }c${ .f }${ .b }", json!("a7bxc1.5false"));
    check(
        "{ a: 1, b: [true, x], \"c\": \"${ .l }\" }",
        json!({ "a": 1, "b": [true, "x"], "c": [{ "c": "q" }] }),
    );
    check(
        "{ a?: \"${ .none }\", b?: \"${ .t }\", c: \"${ .none }\" }",
        json!({ "b": "x", "c": null }),
    );
    check("{ a?: \"${ .l[5] // null }\", b: \"${ [.l[].c] }\" }", json!({ "b": ["q"] }));
    check("${ $steps.register.number }", json!("7/2026"));
    check("${ $steps.later.number }", json!(null));
    check("'${ {a: .n, \"b\": \"}\"} }'", json!({ "a": 7, "b": "}" }));
    check("\"${ .t + \\\" # \\\" } }\"", json!("x #  }"));
    check(
        "${ $message.subject }-${ $party.id }-${ $message.data.n + 0 }-${ $message.data.t }",
        json!("pratica/1-region-7-x"),
    );
    check("${ .l | map($message.data.t + .c) | first }", json!("xq"));
    check("|-\n  ${ reduce .l[] as $x (0; . + 1) # a comment\n  }", json!(1));
    check("${ .f * 2 }", json!(3));
    check("${ 0.1 }", json!(0.1));
    check("${ .n - 1.0 }", json!(6));
    check("${ .t == \"x\" and (.n > 5 | not) }", json!(false));
}

#[test]
fn a_fault_names_the_place_and_never_a_value() {
    let secret = "RSSMRA80A01G273Z";
    let body = json!({ "s": secret, "none": null, "l": [1, 2], "zero": 0, "big": 9_007_199_254_740_991_i64, "e": "" });
    let check = |text: &str, code: &str, place: &str| {
        let fault = render(text, &body).expect_err(text);
        assert_eq!(fault.code, code, "{text}: {fault}");
        assert!(fault.text.contains(place), "{text}: {fault}");
        assert!(!fault.to_string().contains(secret), "{fault}");
    };
    check("{ x: \"a ${ .none }\" }", "SN0753", "`with.x` is null");
    check("{ x: \"a ${ .l }\" }", "SN0753", "a list");
    check("{ x: \"a ${ .l | {a: .} }\" }", "SN0753", "an object");
    check("{ x: \"a ${ {} }\" }", "SN0753", "an object");
    check("{ y: \"${ .l | first }\", x: [\"${ .s | tonumber }\"] }", "SN0751", "`with.x.0`");
    check("${ .s.y }", "SN0751", "`with`");
    check("${ .none[] }", "SN0751", "`with`");
    check("${ .none[1:] }", "SN0751", "`with`");
    check("${ .e | tonumber }", "SN0752", "0 values");
    check("${ \"1 2\" | tonumber }", "SN0752", "2 values");
    check("{ a: \"${ .s | length }\", b: \"${ .l[] }\" }", "SN0752", "`with.b` gave 2 values");
    check("${ empty }", "SN0752", "0 values");
    check("'${ {a: .l[]} }'", "SN0752", "2 values");
    check("${ 1 / .zero }", "SN0754", "`with`");
    check("${ .zero / .zero }", "SN0754", "`with`");
    check("${ [1e308 * 10] }", "SN0754", "`with`");
    check("'${ {a: 1} | with_entries(.key = null) }'", "SN0754", "not JSON");
    check("'${ [{name: \"a\", value: 1}] | from_entries }'", "SN0754", "not JSON");
    check("${ .big + 2 }", "SN0754", "`with`");
    check("${ error(.s) }", "SN0751", "`with`");
}

#[test]
fn a_condition_is_one_boolean() {
    let body = json!({ "w": true, "n": 3, "l": [1, 2], "t": "x" });
    let holds = |text: &str| in_scope(&body, |scope| condition(text).holds(scope));
    assert_eq!(holds(".w"), Ok(true));
    assert_eq!(holds(".n > 3 or .t != \"x\""), Ok(false));
    assert_eq!(holds("any(.l[]; . == 2)"), Ok(true));
    assert_eq!(holds("true"), Ok(true));
    for text in [".n", ".missing", ".l | first", ".t"] {
        assert_eq!(holds(text).expect_err(text).code, "SN0755", "{text}");
    }
    assert_eq!(holds(".l[] == 1").expect_err("two values").code, "SN0752");
}

#[test]
fn what_is_not_allowed_is_found_in_dead_branches_too() {
    let check = |expression: &str, code: &str| {
        let text = json!(format!("${{ {expression} }}")).to_string();
        assert_eq!(mistakes(&text), [code], "{expression}");
    };
    for refused in [
        "if . == null then env else 1 end",
        "def f: f; f",
        "\"\\(now)\"",
        "{a: [range(9)]}",
        "..",
        "[limit(3; .[])]",
        "label $x | 1",
        "foreach .[] as $x (0; 1)",
        "$ENV.HOME",
        "[.[] | recurse]",
        ".a[input]",
        "first(repeat(1))",
        "reduce .[] as $x (now; .)",
        ".a as [$x, {b: $y}] | halt",
        "try 1 catch debug",
    ] {
        check(refused, "SN0118");
    }
    for unknown in ["$foo", "frist", "map(1; 2)", "(1 as $x | 2) + $x", "@csv", "nosuch(1)"] {
        check(unknown, "SN0119");
    }
    for broken in [".a |", "", "{a: }", "&", "(1", "1 1", ".[", "if 1 then 2"] {
        check(broken, "SN0117");
    }
    assert_eq!(mistakes("${ $item.x }"), ["SN0119"]);
    assert_eq!(mistakes("a ${ .x"), ["SN0120"]);
    assert_eq!(mistakes("a: { b: ${ .x } }"), ["SN0120"]);
    assert_eq!(mistakes("a: ${ if .b then \"c: d\" else 1 end }"), ["SN0120"]);
    assert_eq!(mistakes("- ${ {a: .x} }"), ["SN0120"]);
}

#[test]
fn every_allowed_function_is_known_to_jaq() {
    for (name, counts) in vet::ALLOWED {
        for count in *counts {
            let arguments = vec!["."; *count].join("; ");
            let call =
                if *count == 0 { (*name).to_owned() } else { format!("{name}({arguments})") };
            let dead = format!("if false then {call} else 7 end");
            assert_eq!(jq(&dead, &Value::Null), Ok(json!(7)), "{call}");
        }
    }
    for format in vet::FORMATS {
        assert_eq!(jq(&format!("if false then ({format}) else 7 end"), &Value::Null), Ok(json!(7)));
    }
}

/// What jaq gives, native or not.
pub(super) fn jq(expression: &str, body: &Value) -> Result<Value, String> {
    let program = Arc::new(Program::empty());
    program.fill(vec![vec![expression.to_owned()]]);
    let leaves = vec![Leaf { at: "with".to_owned(), source: expression.to_owned() }];
    let part = Part { program, number: 0, leaves };
    in_scope(body, |scope| part.run(scope)).map(|mut values| values.remove(0)).map_err(|f| f.code)
}

pub(super) fn native(expression: &str, body: &Value) -> Result<Value, String> {
    let text = json!(format!("${{ {expression} }}")).to_string();
    let template = template(&text);
    let is_native = matches!(&template.shape, super::Shape::Value(Expression::Native(..)));
    assert!(is_native, "`{expression}` is not native");
    in_scope(body, |scope| template.render(scope)).map_err(|fault| fault.code)
}

fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        (-3_i64..4).prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(|float| float / 1e300).prop_map(|float| {
            // Bodies are canonical on entry: no 0.0, no 1.0.
            if float.fract() == 0.0 { json!(0) } else { json!(float) }
        }),
        Just(json!(0.5)),
        Just(json!(9_007_199_254_740_991_i64)),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        "[ab\u{e9}\u{1f600}]{0,2}".prop_map(Value::from),
        prop::sample::select(vec!["1,5", "2026-11-24", "a;b", ";"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let fields = prop::collection::btree_map("[abc]", inner.clone(), 0..3);
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_native() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        Just(".".to_owned()),
        prop::collection::vec("[abc]", 1..3).prop_map(|names| format!(".{}", names.join("."))),
        "[abc]".prop_map(|name| format!(".[\"{name}\"]")),
        "[abc]".prop_map(|name| format!("$message.data.{name}")),
    ];
    let literal = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("0.5".to_owned()),
        Just("-1".to_owned()),
        Just("1.0".to_owned()),
        (0_u8..4).prop_map(|number| number.to_string()),
        "[ab\u{e9}]{0,2}".prop_map(|text| format!("\"{text}\"")),
    ];
    let function = prop::sample::select(vec!["cents", "number", "csv", "add_days", "age_on"]);
    let call =
        (function, path.clone(), path.clone()).prop_map(|(function, left, right)| match function {
            "cents" | "number" => format!("{function}({left})"),
            two => format!("{two}({left}; {right})"),
        });
    let leaf = prop_oneof![2 => path, 1 => literal, 1 => call];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let operator = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">=", "and", "or"]);
        prop_oneof![
            4 => (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("({left}) {operator} ({right})")),
            1 => inner.prop_map(|inner| format!("({inner}) | not")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn native_code_gives_what_jaq_gives(expression in any_native(), body in any_json()) {
        let (native, jq) = (native(&expression, &body), jq(&expression, &body));
        prop_assert_eq!(native, jq, "{} on {}", expression, body);
    }
}

#[test]
fn the_body_is_converted_once_and_only_for_jaq() {
    let body = json!({ "l": [{ "k": "a" }, { "k": "b" }] });
    let (envelope, steps) = (envelope(), Map::new());
    let scope = Scope::new(&body, &envelope, &steps);
    template("{ a: \"${ .l }\", b: \"x ${ $message.subject }\" }").render(&scope).expect("renders");
    assert!(scope.converted.body.get().is_none(), "a native template converts nothing");
    let item = json!({ "k": "b" });
    let inner = scope.of_item(&item);
    let rendered = template("${ [$item.k, (.l | length)] }").render(&inner).expect("renders");
    assert_eq!(rendered, json!(["b", 2]));
    assert!(scope.converted.body.get().is_some(), "what one item converted serves all");
    assert!(scope.converted.message.get().is_none(), "no expression names `$message`");
    assert_eq!(envelope.id, MessageId(envelope.id.0));
    assert_eq!(envelope.time, Timestamp(1_795_487_400_000));
}
