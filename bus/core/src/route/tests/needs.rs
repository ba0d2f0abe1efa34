//! Tests of needs: where a fact is asked, what is kept of it, what is a mistake.
//!
//! Invariant: they go through `compile` and what it gives, never around it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{envelope, file, mistakes, object};
use crate::{
    adapter::Operation,
    diagnostic::render_text,
    fault::{Fault, FaultClass},
    route::{Answer, Ask, House, Question, Route, Step, Verb, compile, compile_bundle},
    schema::Schemas,
    template::Scope,
    verdict::EffectKind::{Idempotent, Ledger, Once},
};

const CANTEEN: &str = r#"route: canteen-enrolment
title: A family enrols a child in the school canteen
office: scuola
from: scuola.canteen-enrolment.requested.v1
purpose: school-canteen
actor: system

needs:
  household:
    fact: household
    about: ${ .applicant }
    case: ${ $steps.register.number }
  isee:
    fact: isee
    about: ${ .applicant }
    case: ${ $steps.register.number }
    when: .wantsReduction
    if_not_found: continue

steps:
  - register:
      use: protocollo.register
      with: { subject: Canteen }
  - by_household:
      choose:
        - when: any($facts.household.members[]; .taxCode == $message.data.child)
          then:
            - enrol:
                use: canteen.enrol
                with:
                  child: ${ .child }
                  isee?: ${ $facts.isee.value }
        - otherwise:
            - to_office:
                emit: scuola.to-check.v1
                with: { protocol: "${ $steps.register.number }" }
"#;

const HOUSEHOLD: &str = "fact: household\nheld_by: anpr\nquery: C021\nabout: taxCode\n\
    schema: facts/household.v1\nsubjects: ${ [.members[].taxCode] }\nlaw: [cad-50]\nfresh_for: 24h\n";
const ISEE: &str = "fact: isee\nheld_by: inps\nquery: attestation\nabout: taxCode\n\
    schema: facts/isee.v1\nlaw: [cad-50]\nfresh_for: 30d\n";
const DEATH: &str = "fact: death\nkind: verification\nheld_by: anpr\nquery: C004\nabout: taxCode\n\
    law: [cad-50]\nfresh_for: 1h\n";

fn text() -> Value {
    json!({ "type": "string" })
}

fn household() -> Value {
    let member = object(json!({ "taxCode": text(), "name": text() }), &["taxCode", "name"]);
    object(
        json!({ "members": { "type": "array", "items": member }, "since": text() }),
        &["members"],
    )
}

/// The house of the canteen, with one route and the facts that are given.
fn house(route: &str, facts: &[&str]) -> House {
    let person = || object(json!({ "taxCode": text() }), &["taxCode"]);
    let verdict =
        object(json!({ "outcome": { "enum": ["holds", "fails", "undetermined"] } }), &["outcome"]);
    let isee = object(json!({ "value": { "type": "integer" } }), &["value"]);
    let mut check = object(json!({ "protocol": text(), "word": { "enum": ["a", "b"] } }), &[]);
    check["x-unclaimed"] = json!("discard");
    let requested = object(
        json!({ "applicant": text(), "child": text(), "wantsReduction": { "type": "boolean" }, "note": text(), "extra": {} }),
        &["applicant", "child", "wantsReduction", "extra"],
    );
    let documents = [
        ("scuola.canteen-enrolment.requested.v1", requested),
        ("scuola.to-check.v1", check),
        ("facts.household.v1", household()),
        ("facts.isee.v1", isee.clone()),
    ];
    let documents = documents.map(|(kind, document)| (kind.to_owned(), document));
    let dated = object(json!({ "taxCode": text(), "on": text() }), &["taxCode"]);
    let enrol =
        object(json!({ "child": text(), "isee": { "type": "integer" }, "on": text() }), &["child"]);
    let number = object(json!({ "number": text() }), &["number"]);
    let either = object(
        json!({ "taxCode": { "type": ["string", "integer", "null"] }, "on": text() }),
        &["taxCode"],
    );
    let operations = [
        (
            "protocollo",
            vec![Operation::of(
                "register",
                object(json!({ "subject": text() }), &[]),
                number,
                Ledger,
            )],
        ),
        ("canteen", vec![Operation::of("enrol", enrol, object(json!({}), &[]), Idempotent)]),
        ("inps", vec![Operation::of("attestation", person(), isee, Idempotent)]),
        (
            "anpr",
            vec![
                Operation {
                    fact_only: true,
                    ..Operation::of("C021", person(), household(), Idempotent)
                },
                Operation::of("C004", dated, verdict, Idempotent),
                Operation::of("C001", person(), json!({}), Once),
                Operation::of("C007", either, household(), Idempotent),
            ],
        ),
    ];
    let operations = operations.into_iter().map(|(name, all)| (name.to_owned(), all));
    let fact = |text: &&str| {
        let name = text.lines().next().and_then(|line| line.split(' ').nth(1)).unwrap_or("x");
        file(&format!("routes/facts/{name}.yaml"), text)
    };
    House {
        routes: vec![file("routes/canteen-enrolment.yaml", route)],
        facts: facts.iter().map(fact).collect(),
        purposes: vec![file(
            "routes/purposes/school-canteen.yaml",
            "title: School canteen\nlaws: [cad-50]\nretention: 30d\nrecord: T-07\n",
        )],
        laws: vec![file("routes/laws.yaml", "cad-50: { title: CAD art. 50 }\n")],
        schemas: Arc::new(
            Schemas::from_documents(documents.into_iter().collect()).expect("compiles"),
        ),
        operations: operations.collect(),
        ..House::default()
    }
}

const FACTS: [&str; 3] = [HOUSEHOLD, ISEE, DEATH];

fn route(text: &str) -> Arc<Route> {
    let (compiled, said) = compile(&house(text, &FACTS));
    let compiled = compiled.unwrap_or_else(|| panic!("{}", render_text(&said)));
    assert!(said.is_empty(), "{}", render_text(&said));
    Arc::clone(compiled.routes.iter().next().expect("one route"))
}

/// Steps and branches as words: `register facts.household by_household(facts.isee enrol | to_office)`.
fn way(steps: &[Step]) -> String {
    let word = |step: &Step| match &step.verb {
        Verb::Choose(choose) => {
            let branches: Vec<String> = choose.branches.iter().map(|b| way(&b.steps)).collect();
            format!("{}({})", step.id, branches.join(" | "))
        }
        _ => step.id.clone(),
    };
    steps.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn asks(route: &Route) -> Vec<&Ask> {
    fn ask(step: &Step) -> Option<&Ask> {
        if let Verb::Ask(ask) = &step.verb { Some(ask) } else { None }
    }
    route.each_step().filter_map(ask).collect()
}

fn with(from: &str, to: &str) -> String {
    assert!(CANTEEN.contains(from), "{from}");
    CANTEEN.replacen(from, to, 1)
}

#[test]
fn a_fact_is_asked_just_before_the_first_step_that_reads_it() {
    assert_eq!(
        way(&route(CANTEEN).steps),
        "register facts.household by_household(facts.isee enrol | to_office)"
    );
    // A step's own condition reads one fact, its body another: the second is asked only where it runs.
    let text = with(
        "            - enrol:\n",
        "            - enrol:\n                when: $facts.isee != null\n",
    );
    assert_eq!(
        way(&route(&text).steps),
        "register facts.household by_household(facts.isee enrol.when(enrol | ) | to_office)"
    );
    // Read in a branch and behind the choice: whichever comes first asks.
    let text = format!(
        "{CANTEEN}  - told:\n      emit: scuola.to-check.v1\n      with: {{ protocol: \"${{ $facts.household.since // \\\"-\\\" }} ${{ $facts.isee.value // 0 }}\" }}\n"
    );
    assert_eq!(
        way(&route(&text).steps),
        "register facts.household by_household(facts.isee enrol | to_office) facts.isee told"
    );
    // One need reads another, which is asked first.
    let text = with(
        "about: ${ .applicant }\n    case: ${ $steps.register.number }\n    when",
        "about: ${ $facts.household.members[0].taxCode // \"-\" }\n    case: ${ $steps.register.number }\n    when",
    );
    let text = text.replace(
        "any($facts.household.members[]; .taxCode == $message.data.child)",
        ".wantsReduction",
    );
    assert_eq!(
        way(&route(&text).steps),
        "register by_household(facts.household facts.isee enrol | to_office)"
    );
}

#[test]
fn nothing_is_kept_of_a_fact_but_what_the_route_reads() {
    let canteen = route(CANTEEN);
    let kept: Vec<(&str, Vec<String>)> =
        asks(&canteen).iter().map(|ask| (&*ask.need, ask.parts.paths())).collect();
    assert_eq!(
        kept,
        [("household", vec!["members[].taxCode".to_owned()]), ("isee", vec!["value".to_owned()])]
    );
    let answer = json!({ "members": [{ "taxCode": "A", "name": "Ada" }], "since": "1999" });
    let taken = asks(&canteen)[0].taken(Answer::Found, &answer);
    assert_eq!(taken, Ok(json!({ "members": [{ "taxCode": "A" }] })));
    let subjects = asks(&canteen)[0].fact.subjects("B", &answer, &envelope());
    assert_eq!(subjects, Ok(vec!["B".to_owned(), "A".to_owned()]));
}

#[test]
fn a_question_says_about_whom_and_for_which_case_or_is_not_put() {
    let canteen = route(CANTEEN);
    let done = json!({ "register": { "number": "12/2026" } });
    let asked = |ask: usize, body: Value| {
        let (envelope, done) = (envelope(), done.as_object().expect("an object").clone());
        asks(&canteen)[ask].question(&Scope::new(&body, &envelope, &done))
    };
    let body = |applicant: &str, reduction: bool| json!({ "applicant": applicant, "child": "C", "wantsReduction": reduction });
    let question = Question {
        input: json!({ "taxCode": "A" }),
        about: "A".to_owned(),
        case: "12/2026".to_owned(),
    };
    assert_eq!(asked(0, body("A", false)), Ok(Some(question.clone())));
    assert_eq!(asked(1, body("A", true)), Ok(Some(question)));
    assert_eq!(asked(1, body("A", false)), Ok(None), "who wants no reduction is not looked up");
    let fault = asked(0, body("", false)).expect_err("about nobody");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Poison, "SN0773"));
}

/// Where its type is not known, a question is checked when it is put, as the input of a step is.
#[test]
fn a_question_that_the_operation_does_not_take_is_not_put() {
    let text = with(
        "case: ${ $steps.register.number }\n  isee",
        "case: c\n    with: { on: \"${ .extra }\" }\n  isee",
    );
    let facts = [&HOUSEHOLD.replace("C021", "C007"), ISEE, DEATH];
    let (compiled, said) = compile(&house(&text, &facts));
    let compiled = compiled.unwrap_or_else(|| panic!("{}", render_text(&said)));
    let canteen = compiled.routes.iter().next().expect("one route");
    let envelope = envelope();
    let asked = |extra: Value| {
        let body =
            json!({ "applicant": "A", "child": "C", "wantsReduction": false, "extra": extra });
        asks(canteen)[0].question(&Scope::new(&body, &envelope, &Map::new()))
    };
    let question = asked(json!("2026-01-01")).expect("it is text").expect("it is asked");
    assert_eq!(question.input["on"], "2026-01-01");
    let fault = asked(json!(17)).expect_err("a number");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Poison, "SN0757"));
    assert_eq!(
        fault.text,
        "the question to `anpr.C007` is not valid: at `/on`: string expected (type)"
    );
}

#[test]
fn an_answer_without_a_value_parks_or_is_null() {
    let canteen = route(CANTEEN);
    let asks = asks(&canteen);
    for answer in [Answer::NotFound, Answer::Ambiguous] {
        let fault = asks[0].taken(answer, &Value::Null).expect_err("it parks");
        assert_eq!(fault.class, FaultClass::Refused);
        assert_eq!(fault.reason.as_deref(), Some(answer.word()));
        let refusal = Fault::new(FaultClass::Refused, "SN0763", "no").with_reason(answer.word());
        assert_eq!(Answer::of(&refusal), Some(answer));
    }
    assert_eq!(asks[1].taken(Answer::NotFound, &Value::Null), Ok(Value::Null));
    assert!(asks[1].taken(Answer::Ambiguous, &Value::Null).is_err());
    let other = Fault::new(FaultClass::Refused, "SN0763", "no").with_reason("suspended");
    assert_eq!(Answer::of(&other), None);
    let transient = Fault::new(FaultClass::Transient { retry_after: None }, "SN0761", "x");
    assert_eq!(Answer::of(&transient.with_reason("not_found")), None);
}

#[test]
fn the_ledgers_copy_asks_the_same() {
    let canteen = route(CANTEEN);
    let copy = compile_bundle(&canteen.bundle).expect("the copy compiles");
    assert_eq!(copy.digest, canteen.digest);
    assert_eq!(way(&copy.steps), way(&canteen.steps));
    assert_eq!(asks(&copy)[0].parts, asks(&canteen)[0].parts);
    assert_eq!(asks(&copy)[0].fact.source(), "anpr.C021");
    assert!(!canteen.is_fast());
    assert_eq!(canteen.targets().collect::<Vec<_>>(), ["anpr", "inps", "canteen"]);
    let step = canteen.step("facts.household").expect("there");
    assert!(step.does("ask:household") && !step.does("ask:isee"));
}

#[test]
fn steps_see_facts_as_results_of_steps() {
    let canteen = route(CANTEEN);
    let mut done = Map::new();
    let body = json!({ "applicant": "A", "child": "C", "wantsReduction": true });
    let envelope = envelope();
    done.insert("register".to_owned(), json!({ "number": "12/2026" }));
    done.insert("facts.household".to_owned(), json!({ "members": [{ "taxCode": "C" }] }));
    done.insert("by_household".to_owned(), json!({ "branch": "enrol" }));
    let (next, last) = canteen.next_step(&done).expect("there");
    assert_eq!((next.id.as_str(), last), ("facts.isee", false));
    done.insert("facts.isee".to_owned(), Value::Null);
    let (next, last) = canteen.next_step(&done).expect("there");
    assert_eq!((next.id.as_str(), last), ("enrol", true));
    let Verb::Use(enrol) = &next.verb else { panic!("a call") };
    let input = |done: &Map<String, Value>| enrol.input(&Scope::new(&body, &envelope, done));
    assert_eq!(input(&done), Ok(json!({ "child": "C" })));
    done.insert("facts.isee".to_owned(), json!({ "value": 9000 }));
    assert_eq!(input(&done), Ok(json!({ "child": "C", "isee": 9000 })));
}

#[test]
fn a_verification_is_an_enum_and_a_choice_can_be_whole() {
    let needs = "needs:\n  death:\n    fact: death\n    about: ${ .applicant }\n    with: { on: \"2026-01-01\" }\n    case: c\n";
    let text = format!(
        "route: canteen-enrolment\ntitle: t\noffice: o\nfrom: scuola.canteen-enrolment.requested.v1\n\
         purpose: school-canteen\nactor: system\n{needs}steps:\n  - by_death:\n      choose:\n\
         \x20       - when: $facts.death == \"holds\"\n          then: [{{ a: {{ emit: scuola.to-check.v1, with: {{ word: a }} }} }}]\n\
         \x20       - when: $facts.death == \"fails\" or $facts.death == \"undetermined\"\n          then: [{{ b: {{ emit: scuola.to-check.v1, with: {{ word: b }} }} }}]\n"
    );
    let route = route(&text);
    assert_eq!(way(&route.steps), "facts.death by_death(a | b)");
    let ask = asks(&route)[0];
    assert_eq!(ask.fact.value(json!({ "outcome": "fails" })), Ok(json!("fails")));
    assert!(ask.fact.value(json!({ "outcome": "perhaps" })).is_err());
    let (envelope, none) = (envelope(), Map::new());
    let body = json!({ "applicant": "A", "child": "C", "wantsReduction": true });
    let question =
        ask.question(&Scope::new(&body, &envelope, &none)).expect("asked").expect("asked");
    assert_eq!(question.input, json!({ "taxCode": "A", "on": "2026-01-01" }));
}

#[test]
fn mistakes_of_needs_and_facts_have_their_place_and_words() {
    let cases: Vec<(&str, String, Vec<String>)> = vec![
        ("no such fact", with("fact: isee", "fact: ise"), vec![]),
        (
            "an authority in a step",
            with(
                "use: protocollo.register\n      with: { subject: Canteen }",
                "use: anpr.C021\n      with: { taxCode: \"${ .child }\" }",
            ),
            vec![],
        ),
        ("no such need", with("$facts.isee.value", "$facts.ise.value"), vec![]),
        ("nothing reads it", with("                  isee?: ${ $facts.isee.value }\n", ""), vec![]),
        ("the case is not known yet", with("number }\n  isee", "numbr }\n  isee"), vec![]),
        (
            "before the register",
            {
                let read = "  - register:\n      when: $facts.isee != null\n";
                with("  - register:\n", read)
            },
            vec![],
        ),
        (
            "in the actor",
            with("actor: system", "actor: ${ $facts.household.members[0].taxCode }"),
            vec![],
        ),
        (
            "needs itself",
            with("about: ${ .applicant }", "about: ${ $facts.household.since // \"x\" }"),
            vec![],
        ),
        ("about perhaps null", with("about: ${ .applicant }", "about: ${ .note }"), vec![]),
        ("an unknown word", with("if_not_found: continue", "if_not_found: ignore"), vec![]),
        (
            "said about whom twice",
            with(
                "about: ${ .applicant }",
                "about: ${ .applicant }\n    with: { taxCode: \"${ .child }\" }",
            ),
            vec![],
        ),
        (
            "read in a text that is no expression",
            with("isee?: ${ $facts.isee.value }", "on: $facts.isee.value"),
            vec![],
        ),
        ("another unknown word", with("if_not_found: continue", "priority: urgent"), vec![]),
        (
            "neither null nor declared",
            with("if_not_found: continue", "if_unavailable: { wait: 3d, then: guess }"),
            vec![],
        ),
        (
            "nothing is declared",
            with("if_not_found: continue", "if_unavailable: { wait: 3d, then: self_declared }"),
            vec![],
        ),
        (
            "declared as something else",
            with("if_not_found: continue", "declared: { value: \"${ .note }\", cents: 1 }"),
            vec![],
        ),
        (
            "declared in part where it stands in",
            with(
                "if_not_found: continue",
                "declared: { \"value?\": \"${ if .wantsReduction then 7 else null end }\" }\n    if_unavailable: { wait: 3d, then: self_declared }",
            ),
            vec![],
        ),
        (
            "declared by a step",
            with("if_not_found: continue", "declared: { value: \"${ $steps.register.number }\" }"),
            vec![],
        ),
        (
            "a verification is declared",
            with("fact: isee", "fact: death\n    declared: { value: 1 }")
                .replace("$facts.isee.value", "(if $facts.isee == \"holds\" then 1 else 0 end)"),
            vec![],
        ),
        (
            "null into a number",
            with("isee?: ${ $facts.isee.value }", "isee: ${ $facts.isee.value }"),
            vec![],
        ),
        ("an unknown field", with(".taxCode ==", ".taxcode =="), vec![]),
        (
            "wrong names in a fact",
            CANTEEN.to_owned(),
            vec![
                HOUSEHOLD
                    .replace("fact: household", "fact: household # renamed")
                    .replace("C021", "C020")
                    .replace("cad-50", "cad-51")
                    .replace("facts/household.v1", "facts/houshold.v1"),
            ],
        ),
        (
            "asked about something else",
            CANTEEN.to_owned(),
            vec![HOUSEHOLD.replace("about: taxCode", "about: taxcode")],
        ),
        ("no question", CANTEEN.to_owned(), vec![HOUSEHOLD.replace("C021", "C001")]),
        (
            "another answer",
            CANTEEN.to_owned(),
            vec![
                HOUSEHOLD
                    .replace("facts/household.v1", "facts/isee.v1")
                    .replace("[.members[].taxCode]", "[]"),
            ],
        ),
        (
            "no verdict",
            CANTEEN.to_owned(),
            vec![
                HOUSEHOLD
                    .replace("schema: facts/household.v1", "kind: verification")
                    .replace("subjects: ${ [.members[].taxCode] }\n", ""),
            ],
        ),
        (
            "subjects of something else",
            CANTEEN.to_owned(),
            vec![HOUSEHOLD.replace("[.members[].taxCode]", ".members")],
        ),
        (
            "about whom is perhaps null where the operation takes it",
            with("about: ${ .applicant }", "about: ${ .note }"),
            vec![HOUSEHOLD.replace("C021", "C007")],
        ),
        (
            "about a number",
            with("about: ${ .applicant }", "about: ${ .applicant | length }"),
            vec![HOUSEHOLD.replace("C021", "C007")],
        ),
        ("in the order", with("needs:", "order_by: ${ $facts.household.since }\nneeds:"), vec![]),
    ];
    let mut said = String::new();
    for (what, text, facts) in cases {
        let mut all: Vec<&str> = facts.iter().map(String::as_str).collect();
        all.extend(FACTS.iter().skip(usize::from(!facts.is_empty())));
        said.push_str(&format!("## {what}\n{}\n", render_text(&mistakes(&house(&text, &all)))));
    }
    insta::assert_snapshot!(said);
}
