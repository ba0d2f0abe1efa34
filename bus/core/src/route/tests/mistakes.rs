//! Every mistake of the language alone, with its exact words: one route that is right, changed in one
//! place at a time.
//!
//! Invariant: one mistake is said once, at its place; what is right around it is not complained about.

use super::*;

const RIGHT: &str = r#"route: canteen
title: A family enrols a child in the school canteen
office: scuola
from: demo.outcome.v1
purpose: residence-registration
actor: system
order_by: ${ .key }
on_park: skip
shards: 2

steps:
  - register:
      use: protocollo.register
      with: { direction: incoming, subject: "For ${ .key }", sender: { taxCode: "${ .key }" } }
  - by_outcome:
      choose:
        - when: .outcome == "accepted"
          then:
            - enrol:
                use: canteen.enrol
                with: { child: "${ .child }", protocol: "${ $steps.register.number }" }
                if_refused: continue
            - told:
                when: $steps.enrol.refused == null
                emit: demo.any.v1
                with: { at: "${ $steps.enrol.at }" }
        - when: .outcome == "refused"
          then: []
        - otherwise:
            - ask: { emit: demo.any.v1, with: { by: "${ add_working_days(date(.key); 10) }" } }
  - spread:
      emit: demo.any.v1
      each: ${ .list }
      key: ${ $item.id }
      with: { cents: "${ cents(.amount // \"0\") }" }
"#;

const CLOCK: &str = r#"route: daily
title: The register of the day is closed
office: protocollo
from: { every: "day at 02:30", zone: Europe/Rome, as: demo.clock.v1, missed: once }
purpose: residence-registration
actor: system

steps:
  - close: { emit: demo.any.v1, with: { day: "${ .period }" } }
"#;

/// What is wrong; the text that is replaced; what it is replaced by; the code.
const OF_ROUTES: &[(&str, &str, &str, &str)] = &[
    (
        "a value of the enum has no branch",
        "        - otherwise:\n            - ask: { emit: demo.any.v1, with: { by: \"${ add_working_days(date(.key); 10) }\" } }\n",
        "",
        "SN0140",
    ),
    (
        "conditions on several fields, and no `otherwise`",
        "- when: .outcome == \"refused\"\n          then: []\n        - otherwise:",
        "- when: .flag == false\n          then:",
        "SN0140",
    ),
    (
        "a branch with `when` and `otherwise`",
        "        - otherwise:\n",
        "        - when: .flag\n          otherwise:\n",
        "SN0141",
    ),
    ("a branch without `then`", "          then: []\n", "", "SN0141"),
    (
        "`otherwise` before the last branch",
        "- when: .outcome == \"refused\"\n          then: []",
        "- otherwise: []",
        "SN0143",
    ),
    (
        "a value that has its branch already",
        "- when: .outcome == \"refused\"",
        "- when: .outcome == \"accepted\"",
        "SN0144",
    ),
    (
        "a branch after one that is always taken",
        "- when: .outcome == \"accepted\"",
        "- when: true",
        "SN0144",
    ),
    ("an id that another branch has", "- ask:", "- enrol:", "SN0122"),
    ("a step of another branch", "add_working_days(date(.key); 10)", "$steps.enrol.at", "SN0123"),
    (
        "a step that may not have run, in a text",
        "with: { cents: \"${ cents(.amount // \\\"0\\\") }\" }",
        "with: { at: \"at ${ $steps.enrol.at }\" }",
        "SN0209",
    ),
    (
        "a `with` that belongs to a step of a branch",
        "  - by_outcome:\n",
        "  - by_outcome:\n      with: { a: 1 }\n",
        "SN0121",
    ),
    (
        "a value that the enum does not list",
        ".outcome == \"refused\"",
        ".outcome == \"refusd\"",
        "SN0215",
    ),
    ("a condition that is text", "when: .outcome == \"refused\"", "when: .key", "SN0213"),
    ("a condition that is a list", "when: .outcome == \"refused\"", "when: .list", "SN0213"),
    (
        "`if_refused` without a target",
        "      each: ${ .list }",
        "      if_refused: continue\n      each: ${ .list }",
        "SN0121",
    ),
    ("an unknown word after `if_refused`", "if_refused: continue", "if_refused: retry", "SN0147"),
    (
        "a result that has a field `refused` of its own",
        "use: canteen.enrol\n                with: { child: \"${ .child }\", protocol: \"${ $steps.register.number }\" }",
        "use: canteen.ask\n                with: {}",
        "SN0146",
    ),
    ("the refusal of a step that parks", "                if_refused: continue\n", "", "SN0201"),
    ("an order whose key may be null", "order_by: ${ .key }", "order_by: ${ .plate }", "SN0202"),
    ("an order whose key is a list", "order_by: ${ .key }", "order_by: ${ .list }", "SN0203"),
    ("an order whose key is no text", "order_by: ${ .key }", "order_by: ${ .flag }", "SN0203"),
    (
        "an order whose key is a text with null",
        "order_by: ${ .key }",
        "order_by: of ${ .plate }",
        "SN0209",
    ),
    (
        "an order whose key is a step's result",
        "order_by: ${ .key }",
        "order_by: ${ $steps.register.number }",
        "SN0150",
    ),
    ("an order whose key is always the same", "order_by: ${ .key }", "order_by: all", "SN0154"),
    (
        "an order whose key reads an item",
        "order_by: ${ .key }",
        "order_by: ${ $item.id }",
        "SN0119",
    ),
    ("`shards` without an order", "order_by: ${ .key }\non_park: skip\n", "", "SN0151"),
    ("an unknown word after `on_park`", "on_park: skip", "on_park: wait", "SN0152"),
    ("no shards at all", "shards: 2", "shards: 0", "SN0153"),
    ("more shards than there may be", "shards: 2", "shards: 65", "SN0153"),
    ("shards as text", "shards: 2", "shards: two", "SN0153"),
    (
        "an amount that cannot be read",
        "cents(.amount // \\\"0\\\")",
        "cents(\\\"1.234\\\")",
        "SN0222",
    ),
    ("an amount that is no text", "cents(.amount // \\\"0\\\")", "cents(19.99)", "SN0222"),
    (
        "a date that does not exist",
        "add_working_days(date(.key); 10)",
        "add_days(\\\"2026-02-29\\\"; 1)",
        "SN0222",
    ),
    ("days that are no whole number", "(date(.key); 10)", "(date(.key); 1.5)", "SN0222"),
    (
        "a function with too few arguments",
        "add_working_days(date(.key); 10)",
        "add_days(.key)",
        "SN0119",
    ),
    ("a function that is nearly called so", "add_working_days(", "add_workin_days(", "SN0119"),
    ("a field within a function's argument", "cents(.amount //", "cents(.amout //", "SN0201"),
    ("a key that is the same for every item", "key: ${ $item.id }", "key: ${ .key }", "SN0148"),
    ("an `each` that is no list", "each: ${ .list }", "each: ${ .child }", "SN0203"),
    ("an `each` that may be null", "each: ${ .list }", "each: ${ .perhaps }", "SN0202"),
];

const OF_CLOCKS: &[(&str, &str, &str, &str)] = &[
    ("a time that is not understood", "day at 02:30", "every night", "SN0155"),
    ("minutes that do not divide the hour", "day at 02:30", "7 minutes", "SN0155"),
    ("an hour with one digit", "day at 02:30", "day at 2:30", "SN0155"),
    ("a day that some months do not have", "day at 02:30", "month on day 31 at 02:30", "SN0155"),
    ("a zone that does not exist", "Europe/Rome", "Europe/Palermo", "SN0156"),
    ("an unknown word after `missed`", "missed: once", "missed: never", "SN0157"),
    ("a type that takes something else", "as: demo.clock.v1", "as: demo.tick.v1", "SN0158"),
    ("a type that does not exist", "as: demo.clock.v1", "as: demo.clok.v1", "SN0301"),
    ("a clock without its type", ", as: demo.clock.v1", "", "SN0110"),
    ("an unknown key of a clock", "missed: once", "misssed: once", "SN0109"),
    ("a field that a clock does not give", ".period", ".perid", "SN0201"),
];

/// What is said; an error where it is something else, too.
fn alone(base: &str, (what, from, to, code): (&str, &str, &str, &str)) -> Result<String, String> {
    let times = base.matches(from).count();
    if times != 1 {
        return Err(format!("{what}: `{from}` is there {times} times\n"));
    }
    let (_, found) = compile(&house(&[&base.replace(from, to)]));
    let said = format!("# {what}\n\n{}", render_text(&found));
    let codes: Vec<&str> = found.iter().map(|mistake| mistake.code).collect();
    if codes == [code] { Ok(said) } else { Err(format!("{code} is expected\n{said}")) }
}

#[test]
fn a_route_that_is_right_is_not_complained_about() {
    for right in [RIGHT, CLOCK] {
        let (compiled, said) = compile(&house(&[right]));
        assert!(said.is_empty() && compiled.is_some(), "{}", render_text(&said));
    }
}

#[test]
fn each_mistake_of_the_language_has_its_place_and_its_words() {
    let nested = nested(5);
    let whole = [
        (
            "true has its branch, false has none",
            BRANCHES,
            "        - when: .flag\n          then: []\n",
            "SN0140",
        ),
        ("a `choose` without a condition", BRANCHES, "        - otherwise: []\n", "SN0142"),
        ("a `choose` within four others", BRANCHES, nested.as_str(), "SN0145"),
    ];
    let of_routes = OF_ROUTES.iter().chain(&whole).map(|mistake| alone(RIGHT, *mistake));
    let of_clocks = OF_CLOCKS.iter().map(|mistake| alone(CLOCK, *mistake));
    let (said, other): (Vec<_>, Vec<_>) = of_routes.chain(of_clocks).partition(Result::is_ok);
    let other: String = other.into_iter().filter_map(Result::err).collect();
    assert!(other.is_empty(), "{other}");
    let said: String = said.into_iter().flatten().collect();
    insta::assert_snapshot!(said);
}

/// The branches of the route that is right.
const BRANCHES: &str = r#"        - when: .outcome == "accepted"
          then:
            - enrol:
                use: canteen.enrol
                with: { child: "${ .child }", protocol: "${ $steps.register.number }" }
                if_refused: continue
            - told:
                when: $steps.enrol.refused == null
                emit: demo.any.v1
                with: { at: "${ $steps.enrol.at }" }
        - when: .outcome == "refused"
          then: []
        - otherwise:
            - ask: { emit: demo.any.v1, with: { by: "${ add_working_days(date(.key); 10) }" } }
"#;

/// Branches in so many `choose`, the outermost among them.
fn nested(depth: usize) -> String {
    let mut text = String::new();
    for level in 1..depth {
        let space = " ".repeat(6 * level + 2);
        text += &format!(
            "{space}- when: .key == \"{level}\"\n{space}  then: []\n{space}- otherwise:\n"
        );
        text += &format!("{space}  - c{level}:\n{space}      choose:\n");
    }
    let space = " ".repeat(6 * depth + 2);
    text + &format!("{space}- when: .flag\n{space}  then: []\n{space}- otherwise: []\n")
}

#[test]
fn a_choose_within_three_others_and_two_hundred_steps_are_no_mistake() {
    let deep = RIGHT.replace(BRANCHES, &nested(4));
    let many = |count: usize| {
        let step = |n: usize| format!("  - s{n}: {{ emit: demo.any.v1, with: {{}} }}\n");
        let head = RIGHT.split("steps:\n").next().expect("a head");
        format!("{head}steps:\n{}", (0..count).map(step).collect::<String>())
    };
    for right in [deep, many(200)] {
        assert_eq!(codes(&house(&[&right])), [""; 0]);
    }
    assert_eq!(codes(&house(&[&many(201)])), ["SN0145"]);
}

#[test]
fn two_clocks_of_one_type_are_a_mistake_of_the_second() {
    let other = CLOCK.replace("route: daily", "route: weekly").replace("day at", "monday at");
    let found = mistakes(&house(&[CLOCK, &other]));
    insta::assert_snapshot!(render_text(&found), @r#"
    error[SN0311]: two clocks give `demo.clock.v1`
     --> routes/r1.yaml:4:58
      |
    4 | from: { every: "monday at 02:30", zone: Europe/Rome, as: demo.clock.v1, missed: once }
      |                                                          ^^^^^^^^^^^^^ the second one
      |
    help: give it a type of its own, or take the type of `daily` without a clock: `from: demo.clock.v1`
    "#);
    let taker = other.replace(
        "from: { every: \"monday at 02:30\", zone: Europe/Rome, as: demo.clock.v1, missed: once }",
        "from: demo.clock.v1",
    );
    assert_eq!(codes(&house(&[CLOCK, &taker])), [""; 0]);
}

#[test]
fn what_is_always_addressed_needs_no_taker_without_a_condition() {
    let there = |to: &str| relay("there", "demo.in.v1", "demo.claimed.v1") + to;
    let sometimes = relay("sometimes", "demo.claimed.v1", "demo.any.v1")
        .replace("actor: system", "actor: system\nwhen: .a == 1");
    let party = REGION.replace("all: true", "all: false");
    let said = |there: &str| codes(&with_parties(&[there, &sometimes], &[&party]));
    assert_eq!(said(&there("")), ["SN0309"]);
    assert_eq!(said(&there("      to: region\n")), [""; 0]);
    let sends = party.replace("demo.in.v1", "demo.claimed.v1");
    let house = with_parties(&[&there("      to: region\n"), &sometimes], &[&sends]);
    assert_eq!(codes(&house), ["SN0309"]);
}
