//! `http` against a far side that behaves well, badly, or not at all.
//!
//! Invariant: what the far side did is read from its own log, never from what the adapter says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use snodo_core::{
    adapter::{Port, Recalled, Receipt},
    fault::{Fault, FaultClass},
    ids::Digest,
};
use snodo_sandbox::{Behaviour, Sandbox, SandboxOptions};

use super::{assert_impersonal, call, open, region_options, step_key};

const TRANSIENT: FaultClass = FaultClass::Transient { retry_after: None };

/// A region, the adapter that talks to it, and what is said.
struct Stage {
    region: Sandbox,
    port: std::sync::Arc<dyn Port>,
    input: Value,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::with_deadline("10s").await
    }

    async fn with_deadline(deadline: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SandboxOptions { log: folder.path().join("log"), delay_ms: (0, 2), seed: 1 };
        let region = Sandbox::start(options).await.expect("starts");
        let port = open("http", region_options(&region.base(), deadline)).expect("opens");
        let input = json!({
            "protocol": "0001234/2026", "taxCode": "RSSMRA80A01G273Z",
            "movers": ["RSSMRA80A01G273Z"], "municipality": "082053", "subject": "Mario Rossi"
        });
        Self { region, port, input, folder }
    }

    async fn call(&self, operation: &str) -> Result<Receipt, Fault> {
        let key = step_key("notify");
        let result = self.port.call(call(operation, &self.input, &key)).await;
        if let Err(fault) = &result {
            assert_impersonal(&format!("{fault:?}"));
        }
        result
    }

    async fn met(&self, behaviour: Behaviour, operation: &str) -> Fault {
        self.region.script().next(behaviour);
        self.call(operation).await.expect_err("a fault")
    }

    async fn recall(&self) -> Result<Recalled, Fault> {
        let key = step_key("notify");
        self.port.recall(call("notify_recallable", &self.input, &key)).await
    }

    fn applied(&self) -> usize {
        self.region.calls().expect("a log").iter().filter(|entry| entry.applied).count()
    }
}

#[tokio::test]
async fn a_call_gives_its_result_its_reference_and_its_evidence() {
    let stage = Stage::new().await;
    let receipt = stage.call("notify").await.expect("done");
    assert_eq!(receipt.result, json!({ "id": "REG-000001", "state": "received" }));
    assert_eq!(receipt.reference.as_deref(), Some("/notifications/REG-000001"));
    let evidence = receipt.evidence.expect("evidence");
    assert_eq!(evidence.request, Digest::of(stage.input.to_string().as_bytes()));
    let answer = receipt.result.to_string();
    assert_eq!(evidence.answer, Digest::of(answer.as_bytes()));
    let calls = stage.region.calls().expect("a log");
    assert_eq!(calls[0].key, step_key("notify").to_string());
}

#[tokio::test]
async fn the_same_step_key_twice_is_one_effect_where_the_far_side_deduplicates() {
    let stage = Stage::new().await;
    let first = stage.call("notify").await.expect("done");
    let second = stage.call("notify").await.expect("done");
    assert_eq!(first.result, second.result);
    assert_eq!((stage.region.calls().expect("a log").len(), stage.applied()), (2, 1));
}

#[tokio::test]
async fn a_far_side_that_fails_is_tried_again_only_where_that_is_safe() {
    let stage = Stage::new().await;
    for status in [500, 502, 503, 504] {
        assert_eq!(stage.met(Behaviour::status(status), "notify").await.class, TRANSIENT);
        for operation in ["notify_once", "notify_recallable"] {
            let fault = stage.met(Behaviour::status(status), operation).await;
            assert_eq!(fault.class, FaultClass::NoAnswer, "{operation} {status}");
        }
    }
}

#[tokio::test]
async fn a_no_carries_the_far_sides_code_and_never_its_words() {
    let stage = Stage::new().await;
    let body = json!({ "type": "https://region.example/problems/not-resident",
                       "detail": "Mario Rossi RSSMRA80A01G273Z is not resident" });
    let no = Behaviour::Answer {
        status: 422,
        headers: vec![("content-type", "application/problem+json".to_owned())],
        body: body.to_string(),
    };
    let fault = stage.met(no, "notify_once").await;
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Refused, "SN0763"));
    assert_eq!(fault.reason.as_deref(), Some("not-resident"));
    let rejected = stage.met(Behaviour::status(404), "notify").await;
    assert_eq!((rejected.class, rejected.code.as_str()), (FaultClass::Refused, "SN0764"));
}

#[tokio::test]
async fn retry_after_is_heard_in_both_forms() {
    let stage = Stage::new().await;
    for operation in ["notify", "notify_once"] {
        let busy = |headers| Behaviour::Answer { status: 429, headers, body: String::new() };
        let seconds = busy(vec![("retry-after", "7".to_owned())]);
        let asked = FaultClass::Transient { retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(stage.met(seconds, operation).await.class, asked);
        let date = busy(vec![
            ("date", "Sun, 06 Nov 1994 08:49:30 GMT".to_owned()),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
        ]);
        assert_eq!(stage.met(date, operation).await.class, asked);
    }
}

#[tokio::test]
async fn a_closed_port_is_an_outage_and_so_says_the_probe() {
    let stage = Stage::new().await;
    assert_eq!(stage.port.probe().await, Ok(()));
    let Stage { region, port, input, folder } = stage;
    region.stop().await;
    for operation in ["notify", "notify_once", "notify_recallable"] {
        let key = step_key("notify");
        let fault = port.call(call(operation, &input, &key)).await.expect_err("an outage");
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Outage, "SN0760"));
        assert_impersonal(&format!("{fault:?}"));
    }
    assert_eq!(port.probe().await.expect_err("an outage").class, FaultClass::Outage);
    drop(folder);
}

#[tokio::test]
async fn a_far_side_that_is_busy_does_not_pass_its_probe() {
    let stage = Stage::new().await;
    stage.region.script().next(Behaviour::status(503));
    assert_eq!(stage.port.probe().await.expect_err("busy").class, TRANSIENT);
}

#[tokio::test]
async fn whoever_acts_and_does_not_answer_leaves_no_answer() {
    let stage = Stage::with_deadline("300ms").await;
    let silences =
        [Behaviour::ActThenHang, Behaviour::ActThenDrop, Behaviour::Cut, Behaviour::Slow(40)];
    for (done, behaviour) in silences.into_iter().enumerate() {
        let begun = Instant::now();
        let fault = stage.met(behaviour.clone(), "notify_once").await;
        assert_eq!(fault.class, FaultClass::NoAnswer, "{behaviour:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{behaviour:?} held the call");
        assert_eq!(stage.applied(), done + 1, "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_recall_says_yes_where_it_was_done_and_no_where_it_was_not() {
    let stage = Stage::new().await;
    assert_eq!(stage.recall().await, Ok(Recalled::NotDone));
    let fault = stage.met(Behaviour::ActThenDrop, "notify_recallable").await;
    assert_eq!(fault.class, FaultClass::NoAnswer);
    let Ok(Recalled::Done(receipt)) = stage.recall().await else { panic!("it was done") };
    assert_eq!(receipt.result, json!({ "id": "REG-000001", "state": "received" }));
    assert_eq!(stage.applied(), 1);
    stage.region.script().next(Behaviour::status(500));
    assert_eq!(stage.recall().await.expect_err("no answer to believe").class, TRANSIENT);
}

#[tokio::test]
async fn success_that_cannot_be_read_is_never_success() {
    let stage = Stage::new().await;
    let page = || Behaviour::ActThenAnswer {
        status: 200,
        content_type: "text/html",
        body: "<html>Please log in</html>".to_owned(),
    };
    assert_eq!(stage.met(page(), "notify").await.class, FaultClass::Refused);
    assert_eq!(stage.met(page(), "notify_once").await.class, FaultClass::NoAnswer);
    let huge = || Behaviour::Huge(65 * 1024);
    let fault = stage.met(huge(), "notify").await;
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Refused, "SN0766"));
    assert_eq!(stage.met(huge(), "notify_recallable").await.class, FaultClass::NoAnswer);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let stage = Stage::new().await;
    let headers = || vec![("location", format!("{}/elsewhere", stage.region.base()))];
    let redirect = |status| Behaviour::Answer { status, headers: headers(), body: String::new() };
    assert_eq!(stage.met(redirect(307), "notify").await.class, FaultClass::Refused);
    assert_eq!(stage.met(redirect(303), "notify_once").await.class, FaultClass::NoAnswer);
    let calls = stage.region.calls().expect("a log");
    assert!(calls.iter().all(|entry| entry.operation != "elsewhere"), "{calls:?}");
}

#[tokio::test]
async fn a_token_comes_from_its_file_and_a_missing_file_is_an_outage() {
    let stage = Stage::new().await;
    let file = stage.folder.path().join("token");
    let mut options = region_options(&stage.region.base(), "10s");
    options["auth"] = json!({ "bearer": { "file": file } });
    let port = open("http", options).expect("opens without the file");
    let key = step_key("notify");
    let fault = port.call(call("notify", &stage.input, &key)).await.expect_err("no token");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Outage, "SN0769"));
    stage.region.script().demand_bearer("hunter2");
    std::fs::write(&file, "hunter1\n").expect("written");
    let fault = port.call(call("notify", &stage.input, &key)).await.expect_err("another token");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Refused, "SN0765"));
    std::fs::write(&file, "hunter2\n").expect("written");
    port.call(call("notify", &stage.input, &key)).await.expect("the new token is read");
    assert_eq!(stage.applied(), 1);
}
