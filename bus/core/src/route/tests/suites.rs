//! Tests of routes as they are written: each mistake in them is said at its place, in its words.
//!
//! Invariant: a file of tests with many mistakes says all of them in one run.

use super::*;
use crate::route::suite::{Edge, Suite};

const ROUTE: &str = r#"route: tested
title: A thing is tested
office: office
from: demo.outcome.v1
purpose: residence-registration
actor: system
when: .outcome != "refused"

steps:
  - register:
      use: protocollo.register
      with: { direction: incoming, subject: "For ${ .key }", sender: { taxCode: "${ .key }" } }
  - told:
      when: .outcome == "accepted"
      emit: demo.any.v1
      with: { at: "${ $steps.register.number }" }
"#;

const WRONG: &str = r"tests:
  - message: { data: {} }
  - name: two
    message: { data: {}, file: x.json }
  - name: two
    mesage: { data: {} }
  - name: three
    message: { file: there.jsn }
    at: yesterday
    lasts: 5 minutes
    copies: 0
  - name: four
    message: { data: {}, after: soon, sent: many, expect: { order: [a] } }
    messages: [{ data: {} }]
  - name: five
    messages:
      - { id: a, data: {} }
      - { id: b, data: {} }
    arrive: [a, c]
    expect: { state: completed, order: [a, d] }
  - name: six
    message: { data: {} }
    crash_after: regster
    steps:
      registr: uncertain
      told: { returns: {} }
      register: { fails: [transient, broken, { outage: 3s }], returns: 1, refuses: { reason: x } }
  - name: seven
    message: { data: {} }
    steps:
      register: { fails: transient, returns: { number: 7 }, recalls: maybe }
  - name: eight
    message: { data: {} }
    steps: { register: { returns: { number: 7 } } }
    expect:
      state: done
      ran: [registered]
      not_ran: [tell]
      calls: { told: 1 }
      inputs: { register: { subject: *all } }
      emits: [{ emit: demo.anny.v1 }]
      waits: [5s, long]
      fault: { step: nowhere }
      asked: [household]
";

fn tested(tests: &str) -> House {
    let there = file("routes/r0/there.json", "{}");
    House {
        tests: vec![file("routes/r0.test.yaml", tests)],
        attachments: [("r0/there.json".to_owned(), there)].into(),
        ..house(&[ROUTE])
    }
}

#[test]
fn each_mistake_in_a_test_has_its_place_and_its_words() {
    let (compiled, said) = compile(&tested(WRONG));
    assert!(compiled.is_none());
    let words = said.iter().map(|one| {
        let (line, column) = one.place.line_and_column();
        format!("{line}:{column} {} {} | {} | {}\n", one.code, one.title, one.label, one.help)
    });
    insta::assert_snapshot!(words.collect::<String>());
}

/// The suite of the only route.
fn suite(house: &House) -> Suite {
    compiled(house).suites.pop().expect("a suite")
}

#[test]
fn every_way_of_a_route_is_a_point_whether_it_has_tests_or_not() {
    let edges: Vec<(usize, Edge)> =
        suite(&house(&[ROUTE])).points.into_iter().map(|point| (point.line, point.edge)).collect();
    let takes = |branch: &str| Edge::Takes("told.when".to_owned(), branch.to_owned());
    let expected = vec![
        (7, Edge::Applies),
        (7, Edge::Filtered),
        (10, Edge::Done("register".to_owned())),
        (10, Edge::Fails("register".to_owned())),
        (14, takes("told")),
        (14, takes("-")),
        (13, Edge::Done("told".to_owned())),
    ];
    assert_eq!(edges, expected);
}

/// Deliveries are pinned to how a route runs: its tests are no part of that.
#[test]
fn tests_in_the_routes_own_file_change_no_version() {
    let tests =
        "\ntests:\n  - name: a\n    message: { data: {} }\n    expect: { state: rejected }\n";
    let digest = |text: &str| {
        let house = house(&[text]);
        let compiled = compiled(&house);
        let tests: usize = compiled.suites.iter().map(|suite| suite.tests.len()).sum();
        (compiled.routes.get("tested").map(|route| route.digest), tests)
    };
    let (alone, none) = digest(ROUTE);
    let (with, one) = digest(&format!("{ROUTE}{tests}"));
    assert_eq!((none, one), (0, 1));
    assert_eq!(alone, with);
    let before = ROUTE.replace("title: A", &format!("{}title: A", &tests[1..]));
    assert_eq!(digest(&before).1, 1);
}
