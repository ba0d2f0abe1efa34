//! Tests of `choose`, `when` on a step and `if_refused`: which steps run, and what is known of them.
//!
//! Invariant: the way of a delivery is told by its done steps alone.

use serde_json::{Map, Value, json};

use super::*;
use crate::{
    fault::{Fault, FaultClass},
    route::{IfRefused, Step},
};

const WAYS: &str = r#"route: ways
title: t
office: o
from: demo.outcome.v1
purpose: residence-registration
actor: system
steps:
  - register:
      use: protocollo.register
      with: { direction: incoming, subject: s, sender: { taxCode: t } }
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
                with: { who: "${ .child.givenName }" }
        - when: .outcome == "refused" or "withdrawn" == .outcome
          then: []
        - when: .outcome == null
          then:
            - ask:
                emit: demo.any.v1
                with: {}
  - last:
      emit: demo.any.v1
      with: { branch: "${ $steps.by_outcome.branch }", at: "${ $steps.enrol.at // \"nowhere\" }" }
"#;

/// The route, by way of the ledger's copy.
fn ways() -> Route {
    let (compiled, said) = compile(&house(&[WAYS]));
    assert!(said.is_empty(), "{}", render_text(&said));
    let compiled = compiled.expect("it checks");
    compile_bundle(&compiled.routes.get("ways").expect("there").bundle).expect("it compiles")
}

/// Runs a route as the engine does: step by step, each written before the next one begins. `refuses`
/// says no to `enrol`.
fn run(route: &Route, body: &Value, refuses: bool) -> Vec<String> {
    let envelope = envelope();
    let mut done = Map::new();
    let mut ran = Vec::new();
    while let Some((step, last)) = route.next_step(&done) {
        let scope = Scope::new(body, &envelope, &done);
        let (shown, result, ends) = match &step.verb {
            Verb::Choose(choose) => {
                let branch = choose.choose(&scope).expect("a branch");
                (branch.operation(), branch.result(), last && branch.steps.is_empty())
            }
            Verb::Use(call) => {
                call.input(&scope).expect("a valid input");
                let no = Fault::new(FaultClass::Refused, "SN0763", "no").with_reason("full");
                let result = if refuses && step.id == "enrol" { call.refusal(&no) } else { None };
                let given = json!({ "number": "1/2026", "at": "here" });
                (call.target(), result.unwrap_or(given), last)
            }
            Verb::Ask(_) => panic!("no need here"),
            Verb::Emit(emit) => {
                let emitted = emit.emitted(&scope).expect("a valid message");
                (emitted[0].data.to_string(), Value::Null, last)
            }
        };
        ran.push(format!("{}: {shown}", step.id));
        done.insert(step.id.clone(), result);
        assert_eq!(route.is_done(&done), ends, "{ran:?}");
    }
    ran
}

#[test]
fn one_branch_runs_and_then_what_comes_after() {
    let route = ways();
    let child = residence()["applicant"].clone();
    let accepted = json!({ "outcome": "accepted", "child": child });
    assert_eq!(
        run(&route, &accepted, false),
        [
            "register: protocollo.register",
            "by_outcome: choose:enrol",
            "enrol: canteen.enrol",
            "told.when: choose:told",
            "told: {\"who\":\"Nicolò\"}",
            "last: {\"at\":\"here\",\"branch\":\"enrol\"}",
        ]
    );
    assert_eq!(
        run(&route, &accepted, true)[3..],
        ["told.when: choose:-", "last: {\"at\":\"nowhere\",\"branch\":\"enrol\"}"]
    );
    let withdrawn = json!({ "outcome": "withdrawn", "child": child });
    assert_eq!(
        run(&route, &withdrawn, false)[1..],
        ["by_outcome: choose:-", "last: {\"at\":\"nowhere\",\"branch\":\"-\"}"]
    );
    let absent = json!({ "child": child });
    assert_eq!(run(&route, &absent, false)[1..3], ["by_outcome: choose:ask", "ask: {}"]);
}

#[test]
fn a_branch_that_was_taken_is_taken_again_whatever_its_condition_says_now() {
    let route = ways();
    let done = |steps: &Value| steps.as_object().expect("an object").clone();
    let next =
        |steps: Value| route.next_step(&done(&steps)).map(|(step, last)| (step.id.clone(), last));
    let register = json!({ "number": "1/2026" });
    let chosen = |branch: &str| json!({ "register": register, "by_outcome": { "branch": branch } });
    assert_eq!(next(json!({})), Some(("register".to_owned(), false)));
    assert_eq!(next(chosen("ask")), Some(("ask".to_owned(), false)));
    assert_eq!(next(chosen("-")), Some(("last".to_owned(), true)));
    // A version without that branch does not go on by itself.
    assert_eq!(next(chosen("nosuch")), None);
    assert!(!route.is_done(&done(&chosen("nosuch"))));
    let mut all = chosen("ask");
    all["ask"] = Value::Null;
    all["last"] = Value::Null;
    assert_eq!(next(all.clone()), None);
    assert!(route.is_done(&done(&all)));
}

#[test]
fn every_step_is_known_by_its_id_and_by_what_it_does() {
    let route = ways();
    let ids: Vec<&str> = route.each_step().map(|step| step.id.as_str()).collect();
    let expected = ["register", "by_outcome", "enrol", "told.when", "told", "ask", "last"];
    assert_eq!(ids, expected);
    let does =
        |id: &str, operation: &str| route.step(id).is_some_and(|step: &Step| step.does(operation));
    assert!(does("enrol", "canteen.enrol") && does("ask", "emit:demo.any.v1"));
    assert!(does("by_outcome", "choose:ask") && does("by_outcome", "choose:-"));
    assert!(!does("by_outcome", "choose:told") && !does("enrol", "canteen.other"));
    assert!(!does("ask", "emit:demo.any.v2") && !does("nosuch", "canteen.enrol"));
    assert!(!route.is_fast());
}

#[test]
fn only_a_targets_no_is_a_result() {
    let route = ways();
    let Verb::Use(enrol) = &route.step("enrol").expect("there").verb else { panic!("a call") };
    let Verb::Use(register) = &route.step("register").expect("there").verb else {
        panic!("a call")
    };
    assert_eq!((enrol.if_refused, register.if_refused), (IfRefused::Continue, IfRefused::Park));
    let fault = |class| Fault::new(class, "SN0763", "the target said no").with_reason("full");
    let refused = fault(FaultClass::Refused);
    let expected = json!({ "refused": { "code": "SN0763", "reason": "full" } });
    assert_eq!(enrol.refusal(&refused), Some(expected));
    let silent = Fault::new(FaultClass::Refused, "SN0763", "the target said no");
    assert_eq!(enrol.refusal(&silent).expect("a result")["refused"]["reason"], Value::Null);
    assert_eq!(register.refusal(&refused), None);
    let transient = FaultClass::Transient { retry_after: None };
    for class in [transient, FaultClass::Outage, FaultClass::Poison, FaultClass::NoAnswer] {
        assert_eq!(enrol.refusal(&fault(class)), None, "{class:?}");
    }
}

/// What a fast route emits.
fn emits(text: &str, body: &Value) -> Result<Vec<String>, Fault> {
    let house = house(&[text]);
    let compiled = compiled(&house);
    let route = compiled.routes.iter().next().expect("one");
    assert!(route.is_fast(), "{}", route.name);
    let (envelope, none) = (envelope(), Map::new());
    let mut found = Vec::new();
    route.each_emit(&Scope::new(body, &envelope, &none), |step, emit| {
        let scope = Scope::new(body, &envelope, &none);
        found.extend(emit.emitted(&scope)?.iter().map(|one| format!("{step}: {}", one.data)));
        Ok(())
    })?;
    Ok(found)
}

#[test]
fn a_choose_that_only_emits_keeps_the_fast_path() {
    let text = "route: fast\ntitle: t\noffice: o\nfrom: demo.outcome.v1\n\
                purpose: residence-registration\nactor: system\nsteps:\n\
                \x20 - which:\n\
                \x20     choose:\n\
                \x20       - when: .outcome == \"accepted\"\n\
                \x20         then: [ { a: { emit: demo.any.v1, with: { n: 1 } } } ]\n\
                \x20       - otherwise:\n\
                \x20           - b: { emit: demo.any.v1, with: { n: \"${ .child.givenName }\" } }\n\
                \x20 - c: { emit: demo.any.v1, when: .child != null, with: { n: 3 } }\n";
    let both = json!({ "outcome": "accepted", "child": { "givenName": "x" } });
    assert_eq!(emits(text, &both), Ok(vec!["a: {\"n\":1}".to_owned(), "c: {\"n\":3}".to_owned()]));
    assert_eq!(emits(text, &json!({})), Ok(vec!["b: {\"n\":null}".to_owned()]));
    let fault = emits(text, &json!({ "child": 7 })).expect_err("it cannot be read");
    assert_eq!((fault.code.as_str(), fault.step.as_deref()), ("SN0751", Some("b")));
    let ordered = text.replace("steps:", "order_by: ${ .key }\nsteps:");
    let compiled = compiled(&house(&[&ordered]));
    assert!(!compiled.routes.get("fast").expect("there").is_fast(), "an order needs claims");
}

#[test]
fn an_unforeseen_value_is_a_fault_and_not_nothing() {
    let route = ways();
    let Verb::Choose(choose) = &route.step("by_outcome").expect("there").verb else {
        panic!("one")
    };
    let (envelope, none) = (envelope(), Map::new());
    let body = json!({ "outcome": "lost" });
    let fault = choose.choose(&Scope::new(&body, &envelope, &none)).expect_err("none holds");
    assert_eq!(fault.code, "SN0728");
}

#[test]
fn the_ledgers_copy_keeps_order_clock_and_ways() {
    let clocked = "route: daily\ntitle: t\noffice: o\n\
                   from: { every: \"day at 02:30\", zone: Europe/Rome, as: demo.clock.v1, missed: once }\n\
                   purpose: residence-registration\nactor: system\n\
                   order_by: ${ .period }\non_park: skip\nshards: 7\nsteps:\n\
                   \x20 - on: { emit: demo.any.v1, with: { on: \"${ .scheduledFor }\" } }\n";
    let compiled = compiled(&house(&[WAYS, clocked]));
    let daily = compiled.routes.get("daily").expect("there");
    let copy = compile_bundle(&daily.bundle).expect("compiles");
    assert_eq!(copy.digest, daily.digest);
    assert_eq!(copy.from, "demo.clock.v1");
    let order = copy.order.expect("an order");
    assert_eq!((order.on_park, order.shards), (crate::route::OnPark::Skip, 7));
    let now = Timestamp::parse("2026-11-24T01:30:00Z").expect("valid");
    let period = copy.schedule.expect("a clock").latest(now).expect("a period");
    assert_eq!((period.name.as_str(), period.at), ("2026-11-24T02:30", now));
    let ways = compiled.routes.get("ways").expect("there");
    assert_eq!(compile_bundle(&ways.bundle).expect("compiles").digest, ways.digest);
    assert!(ways.order.is_none() && ways.schedule.is_none());
}
