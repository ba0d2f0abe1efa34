//! `archive` and the daily register on a bus that keeps nothing, or not yet.
//!
//! Invariant: what they may have, find or make is asked of the bus; what it does with it, `documents` tests.

use serde_json::{Value, json};
use snodo_core::{
    adapter::Receipt,
    fault::{Fault, FaultClass},
};

use super::{assert_impersonal, call, open, step_key};

async fn called(kind: &str, operation: &str, input: &Value) -> Result<Receipt, Fault> {
    let options = if kind == "archive" { json!({}) } else { json!({ "aoo": "c_g273" }) };
    let port = open(kind, options).expect("opens");
    let answer = port.call(call(operation, input, &step_key("archive"))).await;
    if let Err(fault) = &answer {
        assert_impersonal(&format!("{fault:?}"));
    }
    answer
}

fn paper() -> Value {
    json!({ "key": "019abc3e-7a10-7cc2-8d6f-2f4b1a6c9e01", "sha256": "ab".repeat(32), "size": 3,
            "mediaType": "text/plain", "name": "Mario Rossi.txt" })
}

#[tokio::test]
async fn an_archive_files_nothing_that_it_may_not_have_and_nothing_is_no_fault() {
    let number = "0000001/2026";
    for none in [json!(null), json!([])] {
        let input = json!({ "documents": none, "protocol": number });
        let receipt = called("archive", "store", &input);
        let held = json!({ "protocol": number, "documents": [] });
        assert_eq!(receipt.await.expect("done").result, held);
    }
    let input = json!({ "documents": [paper()], "protocol": number });
    let fault = called("archive", "store", &input).await.expect_err("not the message's");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Refused, "SN0730"));
    let input = json!({ "protocol": number, "name": "Mario Rossi.txt" });
    let fault = called("archive", "fetch", &input).await.expect_err("not there");
    assert_eq!((fault.code.as_str(), fault.reason.as_deref()), ("SN0733", Some("not_found")));
    let fault = called("archive", "store", &json!({ "Rossi": "Mario" })).await.expect_err("shape");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Poison, "SN0734"));
    let fault = called("archive", "nothing", &json!({})).await.expect_err("a mistake of the bus");
    assert_eq!(fault.code, "SN0901");
}

#[tokio::test]
async fn the_register_of_a_day_that_is_not_over_is_not_made() {
    let day = |day: &str| json!({ "day": day });
    let fault = called("protocollo", "daily_register", &day("1970-01-01")).await;
    let fault = fault.expect_err("not over");
    let reason = fault.reason.as_deref();
    assert_eq!((fault.code.as_str(), reason), ("SN0735", Some("day_not_over")));
    let fault =
        called("protocollo", "daily_register", &day("2026-02-30")).await.expect_err("no day");
    assert_eq!(fault.reason.as_deref(), Some("wrong_date"));
}
