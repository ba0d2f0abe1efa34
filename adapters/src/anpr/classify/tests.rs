//! The table of errors, and every answer that is none of ANPR's.
//!
//! Invariant: the shapes are those that ANPR and GovWay were seen to send.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::http::classify::{NotSent, Silence, Unreadable};

const TRANSIENT: FaultClass = FaultClass::Transient { retry_after: None };

fn answered(status: u16, body: Body) -> Outcome {
    Outcome::Answered(Answer { status, retry_after: None, body })
}

fn ko(status: u16, codes: &[&str]) -> Outcome {
    let errors: Vec<Value> = codes
        .iter()
        .map(|code| {
            json!({ "codiceErroreAnomalia": code, "tipoErroreAnomalia": "E",
                    "testoErroreAnomalia": "Il soggetto Mario Rossi RSSMRA80A01G273Z" })
        })
        .collect();
    answered(status, Body::Json(json!({ "idOperazioneANPR": "58438306", "listaErrori": errors })))
}

fn judged(outcome: Outcome) -> Fault {
    let fault = classify(outcome, None, "C021").expect_err("a fault");
    for datum in ["Mario", "Rossi", "RSSMRA80A01G273Z"] {
        assert!(!format!("{fault:?}").contains(datum), "{fault:?}");
    }
    fault
}

#[test]
fn every_code_has_its_meaning() {
    use Meaning::{Malformed, No, Nobody, Several, Stale};
    let table = [
        ("EN122", Nobody),
        ("EN130", Nobody),
        ("EN133", Nobody),
        ("EN115", Several),
        ("EN131", Several),
        ("EN469", Several),
        ("EN470", Several),
        ("EN471", Several),
        ("EN472", Several),
        ("EN132", Malformed),
        ("EN448", Malformed),
        ("EN489", Malformed),
        ("EN079", Stale),
        ("EN141", No),
        ("EN492", No),
        ("XX", No),
    ];
    for (code, expected) in table {
        assert_eq!(meaning(code, ""), expected, "{code}");
    }
    assert_eq!(meaning("EN315", "idOperazioneClient"), Stale);
}

#[test]
fn an_error_of_anpr_is_a_fault_with_its_reason() {
    let table = [
        ("EN122", "SN0784", NOT_FOUND),
        ("EN131", "SN0785", AMBIGUOUS),
        ("EN079", "SN0786", STALE_NUMBER),
        ("EN132", "SN0764", "EN132"),
        ("EN141", "SN0763", "EN141"),
    ];
    for (code, number, reason) in table {
        for status in [200, 400, 404] {
            let fault = judged(ko(status, &[code]));
            assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Refused, number), "{code}");
            assert_eq!(fault.reason.as_deref(), Some(reason), "{code}");
        }
    }
    assert_eq!(judged(ko(500, &["EN122"])).reason.as_deref(), Some(NOT_FOUND));
    assert_eq!(judged(ko(500, &["EN141"])).class, TRANSIENT);
}

#[test]
fn nobody_is_believed_only_where_nothing_else_is_said() {
    let reason = |codes: &[&str]| judged(ko(404, codes)).reason.expect("a reason");
    assert_eq!(reason(&["EN122", "EN131"]), AMBIGUOUS);
    assert_eq!(reason(&["EN122", "EN141"]), "EN141");
    assert_eq!(reason(&["EN122", "EN132", "EN141"]), "EN132");
    let warned = json!({ "listaErrori": [
        { "codiceErroreAnomalia": "EN141", "tipoErroreAnomalia": "W" },
        { "codiceErroreAnomalia": "EN122", "tipoErroreAnomalia": "E" } ] });
    assert_eq!(judged(answered(404, Body::Json(warned))).reason.as_deref(), Some(NOT_FOUND));
}

#[test]
fn what_is_not_of_anpr_has_its_class() {
    use FaultClass::{NoAnswer, Outage, Refused};
    let unreadable = |why| answered(200, Body::Unreadable(why));
    let page = |status| answered(status, Body::Unreadable(Unreadable::NotJson));
    let table = [
        (Outcome::NotSent(NotSent::ConnectionRefused), Outage, "SN0760"),
        (Outcome::Silent(Silence::TimedOut), NoAnswer, "SN0761"),
        (unreadable(Unreadable::Cut), NoAnswer, "SN0761"),
        (unreadable(Unreadable::NotJson), Refused, "SN0766"),
        (unreadable(Unreadable::Broken), Refused, "SN0766"),
        (unreadable(Unreadable::TooLong), Refused, "SN0766"),
        (answered(200, Body::Empty), Refused, "SN0766"),
        (answered(302, Body::Empty), Refused, "SN0764"),
        (answered(400, Body::Empty), Refused, "SN0764"),
        (answered(401, Body::Empty), Refused, "SN0765"),
        (answered(403, Body::Empty), Refused, "SN0765"),
        (page(404), Refused, "SN0764"),
        (answered(429, Body::Empty), TRANSIENT, "SN0787"),
        (page(500), TRANSIENT, "SN0762"),
        (answered(502, Body::Empty), TRANSIENT, "SN0762"),
        (answered(503, Body::Empty), TRANSIENT, "SN0762"),
    ];
    for (outcome, class, code) in table {
        let fault = judged(outcome.clone());
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{outcome:?}");
    }
}

#[test]
fn a_quota_says_when_to_come_back() {
    let wait = Some(Duration::from_hours(1));
    let fault =
        judged(Outcome::Answered(Answer { status: 429, retry_after: wait, body: Body::Empty }));
    assert_eq!(fault.class, FaultClass::Transient { retry_after: wait });
    insta::assert_snapshot!(fault.text, @"today's threshold of C021 is reached, or calls come too fast");
}

#[test]
fn govway_is_heard_and_its_transaction_told() {
    let problem = |title: &str| {
        answered(
            400,
            Body::Json(json!({
                "type": format!("https://govway.org/handling-errors/400/{title}.html"),
                "title": title, "status": 400,
                "detail": "body.criteriRicerca.codiceFiscale: RSSMRA80A01G273Z",
                "govway_id": "2ee9edf2-61ed-11ee-bdb9-005056ae1884"
            })),
        )
    };
    let fault = judged(problem("InvalidRequestContent"));
    assert_eq!(fault.reason.as_deref(), Some("InvalidRequestContent.html"));
    insta::assert_snapshot!(fault, @"SN0764: the target does not take this call (status 400); GovWay calls it 2ee9edf2-61ed-11ee-bdb9-005056ae1884");
    let fault = judged(problem("InteroperabilityInvalidRequest"));
    assert_eq!(fault.code, "SN0765");
    let header = Some("7d8c5f0e-0000-4000-8000-000000000001");
    let fault = classify(answered(503, Body::Empty), header, "C021").expect_err("a fault");
    assert!(fault.text.ends_with("calls it 7d8c5f0e-0000-4000-8000-000000000001"), "{fault}");
    let fault = classify(answered(503, Body::Empty), Some("Mario Rossi"), "C021");
    assert!(!fault.expect_err("a fault").text.contains("Mario"));
}

#[test]
fn a_list_of_persons_beside_errors_is_an_answer() {
    let body = json!({ "listaSoggetti": { "datiSoggetto": [{}] },
                       "listaErrori": [{ "codiceErroreAnomalia": "EN141" }] });
    assert_eq!(classify(answered(200, Body::Json(body.clone())), None, "C021"), Ok(body));
}
