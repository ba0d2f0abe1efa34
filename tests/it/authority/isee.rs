//! The indicator of INPS, asked through the same machinery.
//!
//! Invariant: INPS is told the case and who asks, and gives a number, never a declaration.

use serde_json::{Value, json};
use snodo_core::{
    adapter::{NOT_FOUND, Receipt},
    fault::{Fault, FaultClass},
};
use snodo_sandbox::Behaviour;

use super::{ANNA, MARIO, Stage, purpose, world};

async fn stage() -> Stage {
    let options = |base: &str| {
        json!({
            "base": format!("{base}/pdnd/soap/ConsultazioneISEE/v1"),
            "purposes": { "school-canteen": { "indicator": purpose(99) } },
            "benefits": { "school-canteen": "A1.01" }, "office": "001"
        })
    };
    Stage::of("isee", world(), options).await
}

async fn indicator(stage: &Stage, input: Value) -> Result<Receipt, Fault> {
    stage.ask("indicator", 1, input).await
}

#[tokio::test]
async fn an_indicator_is_asked_for_a_case_and_told_in_cents() {
    let stage = stage().await;
    let receipt = indicator(&stage, json!({ "taxCode": MARIO })).await.expect("an answer");
    assert_eq!(
        receipt.result,
        json!({ "valueCents": 980_392, "kind": "ordinary", "presentedOn": "2026-02-03",
                "validUntil": "2026-12-31", "declaration": "INPS-ISEE-2026-12345678A-00" })
    );
    assert_eq!(receipt.reference.as_deref(), Some("999"));
    let asked = stage.authority.asked();
    assert_eq!(
        asked[0].body,
        json!({ "taxCode": MARIO, "kind": "Ordinario", "case": "c_x999/AOO1/2026/0001234",
                "benefit": "A1.01", "user": "op-4711", "office": "001" })
    );
    assert_eq!(stage.authority.refused(), []);
}

#[tokio::test]
async fn whoever_has_no_declaration_is_not_found() {
    let stage = stage().await;
    let inputs = [json!({ "taxCode": ANNA }), json!({ "taxCode": MARIO, "kind": "university" })];
    for input in inputs {
        let fault = indicator(&stage, input).await.expect_err("nothing");
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Refused, "SN0784"));
        assert_eq!(fault.reason.as_deref(), Some(NOT_FOUND));
    }
}

#[tokio::test]
async fn inps_has_the_classes_of_every_authority() {
    let stage = stage().await;
    let transient = FaultClass::Transient { retry_after: None };
    let page = |kind: &str| Behaviour::Answer {
        status: 200,
        headers: vec![("content-type", kind.to_owned())],
        body: "<html>Rossi</html>".to_owned(),
    };
    let table = [
        (page("text/html"), FaultClass::Refused, "SN0766"),
        (page("text/xml"), FaultClass::Refused, "SN0766"),
        (Behaviour::status(403), FaultClass::Refused, "SN0765"),
        (Behaviour::status(429), transient, "SN0787"),
        (Behaviour::status(503), transient, "SN0762"),
        (Behaviour::Drop, FaultClass::NoAnswer, "SN0761"),
    ];
    for (behaviour, class, code) in table {
        stage.authority.services().next(behaviour.clone());
        let fault = indicator(&stage, json!({ "taxCode": MARIO })).await.expect_err("no answer");
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{behaviour:?}");
    }
    let none = stage.ask_as("indicator", json!({ "taxCode": MARIO }), None).await;
    assert_eq!(none.expect_err("no asking").code, "SN0781");
}
