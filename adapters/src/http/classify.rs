//! What one HTTP exchange means: a result, or a fault of a class. Pure.
//!
//! Invariant: where a `once` or `recallable` call may have acted, the class is never one that repeats it.

use std::time::Duration;

use serde_json::Value;
use snodo_core::{
    adapter::{AMBIGUOUS, NOT_FOUND},
    fault::{Fault, FaultClass},
    timestamp::Timestamp,
    verdict::EffectKind,
};

/// What became of one exchange.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Not a byte of the request went out.
    NotSent(NotSent),
    /// The request may have gone out; no status came back.
    Silent(Silence),
    /// A status came back.
    Answered(Answer),
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// Nobody listens there.
    ConnectionRefused,
    /// The name has no address.
    NoSuchName,
    /// No secure connection: certificate or protocol.
    Tls,
    /// No connection in time.
    TimedOut,
    /// Another failure before the connection stood.
    Other,
}

/// How an answer failed to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The deadline passed.
    TimedOut,
    /// The connection ended.
    ConnectionLost,
}

/// An answer, read as far as it could be.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Retry-After`, in either form.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Body,
}

/// A body.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Of no bytes.
    Empty,
    /// JSON, declared as such.
    Json(Value),
    /// Anything else.
    Unreadable(Unreadable),
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Its content type is not JSON: a login page, a proxy's notice.
    NotJson,
    /// Declared as JSON, and is not.
    Broken,
    /// Over the instance's limit.
    TooLong,
    /// It ended, or the deadline passed, before it was complete.
    Cut,
}

/// What classification must know of the operation.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How its effect may be repeated.
    pub effect: EffectKind,
    /// The statuses by which the far side says no.
    pub refused: Vec<u16>,
    /// Those by which an authority says that it knows nothing.
    pub not_found: Vec<u16>,
    /// Those by which it says that it knows several.
    pub ambiguous: Vec<u16>,
    /// Whether a successful answer has a body that routes read.
    pub answers: bool,
}

impl Rules {
    /// No status is a no.
    pub fn new(effect: EffectKind, answers: bool) -> Self {
        let (refused, not_found, ambiguous) = (Vec::new(), Vec::new(), Vec::new());
        Self { effect, refused, not_found, ambiguous, answers }
    }
}

/// Turns what happened into the result of the call, or a fault.
///
/// A 5xx, a 408 and an unreadable success leave open whether the far side acted: a gateway may have
/// lost the answer of a target that did. A call that deduplicates is then repeated (or, where the same
/// answer would come again, given to a person); any other is `NoAnswer`: asked about, or `uncertain`.
pub fn classify(outcome: Outcome, rules: &Rules) -> Result<Value, Fault> {
    match outcome {
        Outcome::NotSent(why) => Err(fault(FaultClass::Outage, "SN0760", words_not_sent(why))),
        Outcome::Silent(how) => Err(fault(FaultClass::NoAnswer, "SN0761", words_silent(how))),
        Outcome::Answered(answer) => match answer.status {
            200..=299 => success(answer.body, rules),
            status if is_one_of(&rules.not_found, status, &answer.body) => {
                Err(refused(&answer).with_reason(NOT_FOUND))
            }
            status if is_one_of(&rules.ambiguous, status, &answer.body) => {
                Err(refused(&answer).with_reason(AMBIGUOUS))
            }
            status if rules.refused.contains(&status) => Err(refused(&answer)),
            401 | 403 | 407 => Err(rejected(&answer, "SN0765", "does not accept our credentials")),
            // Not acted, says RFC 6585 and RFC 8470; with `Retry-After` a 503 says so too. A bare 503
            // is also what proxies make of a connection that broke after the request had gone through.
            425 | 429 => Err(busy(&answer)),
            503 if answer.retry_after.is_some() => Err(busy(&answer)),
            501 | 505 => Err(rejected(&answer, "SN0764", "does not take this call")),
            // A redirect after a POST is also how web applications say "done, look there".
            302 | 303 if !repeatable(rules) => Err(unclear(&answer)),
            408 | 500..=599 if repeatable(rules) => Err(busy(&answer)),
            408 | 500..=599 => Err(unclear(&answer)),
            300..=399 => Err(rejected(
                &answer,
                "SN0764",
                "sends us elsewhere, and redirects are not followed",
            )),
            _ => Err(rejected(&answer, "SN0764", "does not take this call")),
        },
    }
}

/// What the answer to a lookup means: the result of the call in question, or that it was not done.
///
/// A 404 that is a web page comes from something before the far side, which knows nothing of the call.
pub fn classify_recall(outcome: Outcome, answers: bool) -> Result<Option<Value>, Fault> {
    let rules = Rules::new(EffectKind::Idempotent, answers);
    match outcome {
        Outcome::Answered(Answer { status: 404, body: Body::Empty | Body::Json(_), .. }) => {
            Ok(None)
        }
        other => classify(other, &rules).map(Some),
    }
}

/// What an answer to a probe means: anything but failing or being busy is alive.
pub fn classify_probe(outcome: Outcome) -> Result<(), Fault> {
    match outcome {
        Outcome::Answered(answer) if answer.status < 500 && answer.status != 429 => Ok(()),
        Outcome::Answered(answer) => Err(busy(&answer)),
        Outcome::NotSent(why) => Err(fault(FaultClass::Outage, "SN0760", words_not_sent(why))),
        Outcome::Silent(how) => Err(fault(FaultClass::Outage, "SN0760", words_silent(how))),
    }
}

fn repeatable(rules: &Rules) -> bool {
    match rules.effect {
        EffectKind::Idempotent | EffectKind::Ledger => true,
        EffectKind::Recallable | EffectKind::Once => false,
    }
}

fn success(body: Body, rules: &Rules) -> Result<Value, Fault> {
    let why = match body {
        Body::Json(value) if rules.answers => return Ok(value),
        Body::Json(_) | Body::Empty if !rules.answers => return Ok(Value::Null),
        Body::Json(_) | Body::Empty => "its answer is empty",
        Body::Unreadable(Unreadable::NotJson) => "its answer is not JSON",
        Body::Unreadable(Unreadable::Broken) => "its answer is broken JSON",
        Body::Unreadable(Unreadable::TooLong) => "its answer is longer than `answer_limit`",
        Body::Unreadable(Unreadable::Cut) => {
            return Err(fault(FaultClass::NoAnswer, "SN0761", "the target's answer broke off"));
        }
    };
    // A login page in front of the far side answers 200 and did nothing; the far side itself, answering
    // so, did act. Which of the two it was cannot be told from here.
    Err(if repeatable(rules) {
        fault(FaultClass::Refused, "SN0766", format!("the target says success, but {why}"))
    } else {
        fault(FaultClass::NoAnswer, "SN0767", format!("the target says success, but {why}"))
    })
}

/// Whether an answer about a person has one of these statuses. A web page comes from something before the
/// authority, which knows nobody.
fn is_one_of(statuses: &[u16], status: u16, body: &Body) -> bool {
    statuses.contains(&status) && matches!(body, Body::Empty | Body::Json(_))
}

fn refused(answer: &Answer) -> Fault {
    let text = format!("the target said no (status {})", answer.status);
    fault(FaultClass::Refused, "SN0763", text).with_reason(reason(answer))
}

fn rejected(answer: &Answer, code: &str, what: &str) -> Fault {
    let text = format!("the target {what} (status {})", answer.status);
    fault(FaultClass::Refused, code, text).with_reason(reason(answer))
}

fn busy(answer: &Answer) -> Fault {
    let class = FaultClass::Transient { retry_after: answer.retry_after };
    fault(class, "SN0762", format!("the target is busy or failing (status {})", answer.status))
}

fn unclear(answer: &Answer) -> Fault {
    let text = format!("the target answered {}; it may have acted", answer.status);
    fault(FaultClass::NoAnswer, "SN0767", text)
}

fn fault(class: FaultClass, code: &str, text: impl Into<String>) -> Fault {
    Fault::new(class, code, text)
}

fn words_not_sent(why: NotSent) -> &'static str {
    match why {
        NotSent::ConnectionRefused => "the target refuses connections",
        NotSent::NoSuchName => "the target's name has no address",
        NotSent::Tls => "no secure connection to the target: certificate or protocol",
        NotSent::TimedOut => "no connection to the target in time",
        NotSent::Other => "no connection to the target",
    }
}

fn words_silent(how: Silence) -> &'static str {
    match how {
        Silence::TimedOut => "the target did not answer before the deadline",
        Silence::ConnectionLost => "the connection to the target ended before its answer",
    }
}

/// The far side's short code: `code`, or the end of `type`, of a problem; else the status.
///
/// Never `title` or `detail`: they are written for a person and may name one.
fn reason(answer: &Answer) -> String {
    let Body::Json(problem) = &answer.body else { return answer.status.to_string() };
    let member = |name: &str| problem.get(name).and_then(Value::as_str);
    let of_type = member("type").and_then(|kind| kind.rsplit(['/', ':', '#']).next());
    member("code")
        .filter(|code| is_short_code(code))
        .or_else(|| of_type.filter(|code| is_short_code(code) && *code != "blank"))
        .map_or_else(|| answer.status.to_string(), str::to_owned)
}

/// Whether a text is a code and not a datum: short, of code characters, unlike a tax code or a number
/// by which a person is known.
pub(crate) fn is_short_code(text: &str) -> bool {
    let of_code = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let like_tax_code = text.len() == 16 && text.chars().all(|c| c.is_ascii_alphanumeric());
    (1..=64).contains(&text.len()) && text.chars().all(of_code) && digits <= 6 && !like_tax_code
}

/// Reads `Retry-After`: seconds, or an HTTP date against `now`.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    http_date(value).map(|at| at.since(now))
}

/// Reads an HTTP date (`Sun, 06 Nov 1994 08:49:37 GMT`).
pub fn http_date(value: &str) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(Timestamp(date.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TRANSIENT: FaultClass = FaultClass::Transient { retry_after: None };

    fn rules(effect: EffectKind) -> Rules {
        Rules { refused: vec![409, 422], not_found: vec![404], ..Rules::new(effect, true) }
    }

    fn answered(status: u16, body: Body) -> Outcome {
        Outcome::Answered(Answer { status, retry_after: None, body })
    }

    /// The class for (idempotent, recallable, once).
    fn classes(outcome: &Outcome) -> [Option<FaultClass>; 3] {
        [EffectKind::Idempotent, EffectKind::Recallable, EffectKind::Once]
            .map(|effect| classify(outcome.clone(), &rules(effect)).err().map(|fault| fault.class))
    }

    fn same(class: FaultClass) -> [Option<FaultClass>; 3] {
        [Some(class); 3]
    }

    #[test]
    fn every_outcome_has_its_class() {
        use FaultClass::{NoAnswer, Outage, Refused};
        let acted = |idempotent| [Some(idempotent), Some(NoAnswer), Some(NoAnswer)];
        let ok = answered(200, Body::Json(json!({ "id": 1 })));
        let unreadable = |why| answered(200, Body::Unreadable(why));
        let table = [
            (Outcome::NotSent(NotSent::ConnectionRefused), same(Outage)),
            (Outcome::NotSent(NotSent::NoSuchName), same(Outage)),
            (Outcome::NotSent(NotSent::Tls), same(Outage)),
            (Outcome::NotSent(NotSent::TimedOut), same(Outage)),
            (Outcome::NotSent(NotSent::Other), same(Outage)),
            (Outcome::Silent(Silence::TimedOut), same(NoAnswer)),
            (Outcome::Silent(Silence::ConnectionLost), same(NoAnswer)),
            (ok, [None; 3]),
            (answered(204, Body::Empty), acted(Refused)),
            (unreadable(Unreadable::NotJson), acted(Refused)),
            (unreadable(Unreadable::Broken), acted(Refused)),
            (unreadable(Unreadable::TooLong), acted(Refused)),
            (unreadable(Unreadable::Cut), same(NoAnswer)),
            (answered(101, Body::Empty), same(Refused)),
            (answered(301, Body::Empty), same(Refused)),
            (answered(302, Body::Empty), acted(Refused)),
            (answered(303, Body::Empty), acted(Refused)),
            (answered(307, Body::Empty), same(Refused)),
            (answered(400, Body::Empty), same(Refused)),
            (answered(401, Body::Empty), same(Refused)),
            (answered(404, Body::Empty), same(Refused)),
            (answered(408, Body::Empty), acted(TRANSIENT)),
            (answered(409, Body::Empty), same(Refused)),
            (answered(422, Body::Unreadable(Unreadable::Cut)), same(Refused)),
            (answered(425, Body::Empty), same(TRANSIENT)),
            (answered(429, Body::Unreadable(Unreadable::NotJson)), same(TRANSIENT)),
            (answered(500, Body::Empty), acted(TRANSIENT)),
            (answered(501, Body::Empty), same(Refused)),
            (answered(502, Body::Empty), acted(TRANSIENT)),
            (answered(503, Body::Empty), acted(TRANSIENT)),
            (answered(504, Body::Empty), acted(TRANSIENT)),
            (answered(599, Body::Empty), acted(TRANSIENT)),
        ];
        for (outcome, expected) in table {
            assert_eq!(classes(&outcome), expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_503_that_says_when_to_come_back_has_not_acted() {
        let wait = Some(Duration::from_secs(9));
        let answer = Answer { status: 503, retry_after: wait, body: Body::Empty };
        let asked = FaultClass::Transient { retry_after: wait };
        assert_eq!(classes(&Outcome::Answered(answer)), same(asked));
    }

    #[test]
    fn an_operation_without_output_takes_an_empty_answer_but_no_web_page() {
        let mut rules = rules(EffectKind::Idempotent);
        rules.answers = false;
        let result = |body| classify(answered(200, body), &rules).map_err(|fault| fault.class);
        assert_eq!(result(Body::Empty), Ok(Value::Null));
        assert_eq!(result(Body::Json(json!({ "ok": true }))), Ok(Value::Null));
        let page = result(Body::Unreadable(Unreadable::NotJson));
        assert_eq!(page, Err(FaultClass::Refused));
    }

    #[test]
    fn a_lookup_says_yes_or_no_or_nothing() {
        let recall = |outcome| classify_recall(outcome, true).map_err(|fault| fault.class);
        assert_eq!(recall(answered(200, Body::Json(json!(1)))), Ok(Some(json!(1))));
        assert_eq!(recall(answered(404, Body::Json(json!({})))), Ok(None));
        assert_eq!(recall(answered(404, Body::Empty)), Ok(None));
        let page = answered(404, Body::Unreadable(Unreadable::NotJson));
        assert_eq!(recall(page), Err(FaultClass::Refused));
        assert_eq!(recall(answered(500, Body::Empty)), Err(TRANSIENT));
        assert_eq!(recall(Outcome::Silent(Silence::TimedOut)), Err(FaultClass::NoAnswer));
    }

    #[test]
    fn whatever_answers_a_probe_is_alive_unless_it_fails() {
        let probe = |outcome| classify_probe(outcome).map_err(|fault| fault.class);
        assert_eq!(probe(answered(404, Body::Empty)), Ok(()));
        assert_eq!(probe(answered(503, Body::Empty)), Err(TRANSIENT));
        assert_eq!(probe(answered(429, Body::Empty)), Err(TRANSIENT));
        assert_eq!(probe(Outcome::Silent(Silence::TimedOut)), Err(FaultClass::Outage));
    }

    #[test]
    fn a_reason_is_a_code_and_never_a_datum() {
        let table = [
            (json!({ "type": "https://far.example/problems/duplicate_key" }), "duplicate_key"),
            (json!({ "type": "urn:problem:unknown-person" }), "unknown-person"),
            (json!({ "type": "about:blank", "title": "Conflict" }), "409"),
            (json!({ "code": "EN148", "type": "about:blank" }), "EN148"),
            (json!({ "code": "RSSMRA80A01G273Z" }), "409"),
            (json!({ "code": "RSSMRAULALMGNTPH" }), "409"),
            (json!({ "code": "12345678903" }), "409"),
            (json!({ "code": "Mario Rossi", "type": "/problems/taken" }), "taken"),
            (json!({ "detail": "Mario Rossi is known" }), "409"),
            (json!("taken"), "409"),
        ];
        for (problem, expected) in table {
            let answer =
                Answer { status: 409, retry_after: None, body: Body::Json(problem.clone()) };
            assert_eq!(refused(&answer).reason.as_deref(), Some(expected), "{problem}");
        }
    }

    #[test]
    fn an_authority_that_knows_nobody_answers_and_a_page_before_it_does_not() {
        let reason = |body| {
            let fault = classify(answered(404, body), &rules(EffectKind::Idempotent));
            fault.expect_err("no value").reason
        };
        let json = serde_json::json!({ "reason": "gone" });
        assert_eq!(reason(Body::Json(json)).as_deref(), Some(NOT_FOUND));
        assert_eq!(reason(Body::Empty).as_deref(), Some(NOT_FOUND));
        assert_ne!(reason(Body::Unreadable(Unreadable::NotJson)).as_deref(), Some(NOT_FOUND));
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = Timestamp::parse("1994-11-06T08:49:07Z").expect("valid");
        let read = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(30));
        assert_eq!(read("Sun, 06 Nov 1994 08:40:00 GMT"), Some(0));
        assert_eq!(read("99999999999999999999999"), Some(u64::MAX));
        assert_eq!([read("soon"), read(""), read("-3")], [None; 3]);
    }
}
