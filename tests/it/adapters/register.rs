//! The `ledger` effects of `protocollo`: values that the ledger applies, and what art. 53 refuses.
//!
//! Invariant: what is refused here never reaches the ledger.

use serde_json::{Value, json};
use snodo_core::{
    fault::{Fault, FaultClass},
    register::{Direction, LedgerEffect, Registration},
    verdict::EffectKind,
};

use super::{assert_impersonal, call, open, step_key};

fn effect(operation: &str, input: &Value) -> Result<LedgerEffect, Fault> {
    let port = open("protocollo", json!({ "aoo": "c_g273" })).expect("opens");
    port.ledger_effect(&call(operation, input, &step_key("register")))
}

#[test]
fn a_registration_keeps_everything_that_was_given() {
    let input = json!({
        "direction": "incoming",
        "subject": "Change of residence of Rossi Mario",
        "sender": { "taxCode": "RSSMRA80A01G273Z" }
    });
    let registration = Registration {
        aoo: "c_g273".to_owned(),
        direction: Direction::Incoming,
        subject: "Change of residence of Rossi Mario".to_owned(),
        record: input.clone(),
    };
    assert_eq!(effect("register", &input), Ok(LedgerEffect::Register(registration)));
}

#[test]
fn a_number_is_annulled_and_looked_up_as_it_is_written() {
    let annul = json!({ "number": "0001234/2026", "reason": "Act 77 of 2026" });
    let annulled = LedgerEffect::Annul {
        aoo: "c_g273".to_owned(),
        year: 2026,
        number: 1234,
        reason: "Act 77 of 2026".to_owned(),
    };
    assert_eq!(effect("annul", &annul), Ok(annulled));
    let found = LedgerEffect::Lookup { aoo: "c_g273".to_owned(), year: 2026, number: 1234 };
    assert_eq!(effect("lookup", &json!({ "number": "0001234/2026" })), Ok(found));
}

#[test]
fn what_article_53_does_not_allow_is_refused_with_a_reason() {
    let table = [
        ("register", json!({ "direction": "incoming", "subject": "A" }), "missing_sender"),
        ("register", json!({ "direction": "outgoing", "subject": "A" }), "missing_recipient"),
        ("register", json!({ "direction": "internal", "subject": " " }), "missing_subject"),
        ("annul", json!({ "number": "0001234/2026", "reason": " " }), "missing_reason"),
        ("lookup", json!({ "number": "RSSMRA80A01G273Z" }), "no_such_number"),
    ];
    for (operation, input, reason) in table {
        let fault = effect(operation, &input).expect_err(reason);
        assert_eq!(fault.class, FaultClass::Refused, "{fault}");
        assert_eq!(fault.reason.as_deref(), Some(reason));
        assert_impersonal(&format!("{fault:?}"));
    }
}

#[test]
fn an_input_of_another_shape_is_poison_and_not_repeated() {
    let input = json!({ "direction": "incoming", "subject": "A", "Rossi": "Mario" });
    let fault = effect("register", &input).expect_err("poison");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Poison, "SN0771"));
    assert_impersonal(&format!("{fault:?}"));
}

#[test]
fn every_operation_but_the_daily_register_is_the_ledgers_and_an_unknown_register_is_refused() {
    let port = open("protocollo", json!({ "aoo": "c_g273" })).expect("opens");
    let mut others = port.operations();
    others.retain(|operation| operation.effect != EffectKind::Ledger);
    let others: Vec<_> = others.into_iter().map(|other| (other.name, other.effect)).collect();
    assert_eq!(others, [("daily_register".to_owned(), EffectKind::Idempotent)]);
    for aoo in ["", "c g273", "c_g273_is_far_too_long"] {
        let error = open("protocollo", json!({ "aoo": aoo })).err().expect("refused");
        assert_eq!(error.pointer, "/aoo", "{error}");
    }
}
