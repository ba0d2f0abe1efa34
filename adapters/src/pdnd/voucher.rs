//! Vouchers: what PDND's token service answers, and for how long one may be used again. Pure.
//!
//! Invariant: a voucher is never shown, and never used in its last minute.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use snodo_core::{
    fault::{Fault, FaultClass},
    verdict::EffectKind,
};

use crate::http::classify::{Answer, Body, Outcome, Rules, classify, is_short_code};

/// A voucher is not used in its last minute: the call takes its time, and clocks differ.
const SPARED: i64 = 60;
/// The longest that a header of theirs and ours may be.
const LONGEST: usize = 8 * 1024;

/// The access token of one client for one purpose.
#[derive(Clone)]
pub(super) struct Voucher {
    token: String,
    /// Seconds since 1970; not used after that.
    until: i64,
}

impl fmt::Debug for Voucher {
    /// Says that it is one, and nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Voucher")
    }
}

impl Voucher {
    /// `Bearer …`.
    pub(super) fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Whether it may be used at `now`, in seconds since 1970.
    pub(super) fn lasts(&self, now: i64) -> bool {
        now < self.until
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    expires_in: i64,
}

/// What an answer to a request made at `now` means: a voucher, or why there is none.
pub(super) fn granted(outcome: Outcome, now: i64) -> Result<Voucher, Fault> {
    let code = code_of(&outcome);
    let rules = Rules::new(EffectKind::Idempotent, true);
    let value = classify(outcome, &rules).map_err(|fault| of_pdnd(fault, code))?;
    voucher(&value, now)
        .map_err(|why| refused(format!("PDND answers with a voucher that {why} (status 200)")))
}

fn voucher(value: &Value, now: i64) -> Result<Voucher, &'static str> {
    let granted = Granted::deserialize(value).map_err(|_| "is not of the agreed form")?;
    if !granted.token_type.eq_ignore_ascii_case("bearer") {
        return Err("is bound to a proof of possession, which is not supported");
    }
    let token = granted.access_token;
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || token.len() > LONGEST || !token.bytes().all(of_token) {
        return Err("no header can hold");
    }
    Ok(Voucher { token, until: now.saturating_add(granted.expires_in).saturating_sub(SPARED) })
}

/// The same fault, said of PDND: its no has a code of its own; what passes keeps its class.
fn of_pdnd(fault: Fault, code: Option<String>) -> Fault {
    match fault.class {
        FaultClass::Refused => {
            let no = refused(format!("PDND gives no voucher: {}", fault.text));
            match code.or(fault.reason) {
                Some(reason) => no.with_reason(reason),
                None => no,
            }
        }
        FaultClass::Transient { .. }
        | FaultClass::Outage
        | FaultClass::NotNow { .. }
        | FaultClass::Poison
        | FaultClass::NoAnswer => Fault { text: format!("at PDND, {}", fault.text), ..fault },
    }
}

fn refused(text: String) -> Fault {
    Fault::new(FaultClass::Refused, "SN0782", text)
}

/// PDND's own code: `errors[0].code` of its problem, or `error` as RFC 6749 has it.
fn code_of(outcome: &Outcome) -> Option<String> {
    let Outcome::Answered(Answer { body: Body::Json(body), .. }) = outcome else { return None };
    let code = body.pointer("/errors/0/code").or_else(|| body.get("error"))?.as_str()?;
    (is_short_code(code) || is_code_of_pdnd(code)).then(|| code.to_owned())
}

/// `015-0008`: more digits than other codes may have.
fn is_code_of_pdnd(code: &str) -> bool {
    code.len() == 8
        && code.bytes().enumerate().all(|(place, byte)| match place {
            3 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::classify::{NotSent, Silence, Unreadable};

    fn answered(status: u16, body: Value) -> Outcome {
        Outcome::Answered(Answer { status, retry_after: None, body: Body::Json(body) })
    }

    fn good() -> Value {
        json!({ "access_token": "a.b.c", "token_type": "Bearer", "expires_in": 600 })
    }

    #[test]
    fn a_voucher_is_used_until_a_minute_before_its_end() {
        let voucher = granted(answered(200, good()), 1000).expect("a voucher");
        assert_eq!(voucher.authorization(), "Bearer a.b.c");
        assert!(voucher.lasts(1539) && !voucher.lasts(1540));
    }

    #[test]
    fn what_is_no_voucher_is_refused_without_being_repeated() {
        let with = |field: &str, value: Value| {
            let mut body = good();
            body[field] = value;
            body
        };
        let table = [
            json!({}),
            with("token_type", json!("DPoP")),
            with("access_token", json!("hunter2\r\nx: y")),
            with("access_token", json!("")),
            with("access_token", json!("a".repeat(LONGEST + 1))),
            with("expires_in", json!("soon")),
        ];
        for body in table {
            let fault = granted(answered(200, body.clone()), 0).expect_err("refused");
            assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Refused, "SN0782"));
            assert!(!fault.text.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn every_answer_has_its_class() {
        let transient = FaultClass::Transient { retry_after: None };
        let unreadable = |why| {
            let body = Body::Unreadable(why);
            Outcome::Answered(Answer { status: 200, retry_after: None, body })
        };
        let table = [
            (Outcome::NotSent(NotSent::ConnectionRefused), FaultClass::Outage, "SN0760"),
            (Outcome::Silent(Silence::TimedOut), FaultClass::NoAnswer, "SN0761"),
            (answered(500, json!({})), transient, "SN0762"),
            (answered(429, json!({})), transient, "SN0762"),
            (answered(400, json!({})), FaultClass::Refused, "SN0782"),
            (answered(401, json!({})), FaultClass::Refused, "SN0782"),
            (unreadable(Unreadable::NotJson), FaultClass::Refused, "SN0782"),
            (unreadable(Unreadable::Cut), FaultClass::NoAnswer, "SN0761"),
        ];
        for (outcome, class, code) in table {
            let fault = granted(outcome.clone(), 0).expect_err("a fault");
            assert_eq!((fault.class, fault.code.as_str()), (class, code), "{outcome:?}");
            assert!(fault.text.contains("PDND"), "{fault}");
        }
    }

    #[test]
    fn pdnd_says_why_in_its_own_code() {
        let reason = |body| granted(answered(400, body), 0).err().and_then(|fault| fault.reason);
        let problem = json!({ "type": "about:blank", "errors": [{ "code": "015-0008" }] });
        assert_eq!(reason(problem).as_deref(), Some("015-0008"));
        let oauth = json!({ "error": "invalid_client" });
        assert_eq!(reason(oauth).as_deref(), Some("invalid_client"));
        assert_eq!(reason(json!({ "error": "Mario Rossi" })).as_deref(), Some("400"));
    }
}
