//! RFC 9457 problems: what a sender reads of a refusal, and every refusal that there is.
//!
//! Invariant: a problem can be acted on from its text alone, and holds nothing of what was sent.

use std::time::Duration;

use serde::Serialize;

use crate::{
    admission::{OVER_BUDGET, Rejection},
    ids::MessageId,
    schema::Violation,
};

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Who can make it work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Who sent the request.
    Sender,
    /// The bus itself; it needs time.
    Bus,
    /// Who runs the bus.
    Operator,
}

/// A problem document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// `/problems/SN06nn`: the page of the code.
    #[serde(rename = "type")]
    pub type_: String,
    /// The code's sentence, the same each time.
    pub title: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// `SN06nn`.
    pub code: &'static str,
    /// A stable word for machines.
    pub reason: &'static str,
    /// Where in the message's data; a field that no schema names is `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Every place, where the data are not as their schema says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Who must do something.
    pub who_must_act: Who,
    /// The id under which the bus knows the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// Seconds to wait; also in the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    fn new(code: &'static str, status: u16, reason: &'static str, detail: &str) -> Self {
        Self {
            type_: format!("/problems/{code}"),
            title: title(code),
            status,
            detail: detail.to_owned(),
            code,
            reason,
            pointer: None,
            expected: None,
            errors: Vec::new(),
            retryable: false,
            who_must_act: Who::Sender,
            id: None,
            retry_after: None,
        }
    }

    fn expecting(self, expected: &str) -> Self {
        Self { expected: Some(expected.to_owned()), ..self }
    }

    fn after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { retryable: true, retry_after: Some(seconds.max(1)), ..self }
    }

    /// With the id under which the bus knows the message.
    #[must_use]
    pub fn about(self, id: MessageId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// The same id came before with another body.
    pub fn conflict(first: MessageId) -> Self {
        let detail = "this source has sent another message with this id";
        Self::new("SN0610", 409, "other_content", detail)
            .expecting("a new id for new content; the same content for a repeat")
            .about(first)
    }

    /// Who asks is not known. `reason` is a word for machines, such as `missing` or `expired`.
    pub fn not_identified(reason: &'static str) -> Self {
        Self::new("SN0611", 401, reason, "the bus does not know who is asking")
            .expecting("valid credentials of a registered party")
    }

    /// Who asks is known and may not. `right` names the right, in the words of the party's file.
    pub fn not_allowed(right: &str) -> Self {
        let problem = Self::new("SN0612", 403, "not_allowed", "the party does not have this right");
        problem.expecting(&format!("`{right}` in the party's file"))
    }

    /// There is no such thing, or it is another party's.
    pub fn not_found() -> Self {
        Self::new("SN0613", 404, "not_found", "there is nothing here for this party")
    }

    /// Faster than agreed.
    pub fn too_many_requests(wait: Duration) -> Self {
        Self::new("SN0614", 429, "rate", "the party sends faster than agreed").after(wait)
    }

    /// The bus takes no more of this for now: a cap is reached, or it cannot write.
    pub fn not_now(reason: &'static str, wait: Duration) -> Self {
        let detail = "nothing was taken into custody; send the same message again";
        Self { who_must_act: Who::Bus, ..Self::new("SN0615", 503, reason, detail) }.after(wait)
    }

    /// A question or an acknowledgement that could not be answered; to ask again changes nothing.
    pub fn ask_again(reason: &'static str, wait: Duration) -> Self {
        let detail = "the bus cannot answer now; ask the same again";
        Self { who_must_act: Who::Bus, ..Self::new("SN0615", 503, reason, detail) }.after(wait)
    }

    /// The party has no inbox.
    pub fn no_inbox() -> Self {
        let detail = "what is owed to this party goes to its queue, or it receives nothing";
        Self::new("SN0640", 404, "no_inbox", detail).expecting("`inbox: pull` in the party's file")
    }

    /// The body of an acknowledgement is not one.
    pub fn not_acknowledged(pointer: Option<String>, expected: &str) -> Self {
        let detail = "nothing was acknowledged: the body is not as it should be";
        let problem = Self::new("SN0641", 422, "acknowledgement", detail).expecting(expected);
        Self { pointer, ..problem }
    }

    /// A question about disclosures is none.
    pub fn not_searched(pointer: Option<String>, expected: &str) -> Self {
        let detail = "the question is not as it should be";
        let problem = Self::new("SN0642", 422, "search", detail).expecting(expected);
        Self { pointer, ..problem }
    }

    /// The disk is nearly full: nothing is written for others.
    pub fn disk(wait: Duration) -> Self {
        let detail = "the disk of the bus is nearly full; nothing was taken, send the same again";
        let problem = Self::new("SN0625", 503, "disk", detail);
        Self { who_must_act: Who::Operator, ..problem }.after(wait)
    }

    /// A document of too many bytes.
    pub fn large_document(most: u64) -> Self {
        let detail = "the document has more bytes than this bus takes";
        Self::new("SN0626", 413, "large_document", detail)
            .expecting(&format!("at most {most} bytes"))
    }

    /// A document without what must be told of it. `reason` is our own word.
    pub fn malformed_document(reason: &'static str, expected: &str) -> Self {
        let detail = "what is told of the document is missing or malformed";
        Self::new("SN0627", 400, reason, detail).expecting(expected)
    }

    /// The request did not arrive in time.
    pub fn too_slow() -> Self {
        let problem = Self::new("SN0616", 408, "too_slow", "the request did not arrive in time");
        Self { retryable: true, ..problem }
    }

    /// The request line and headers are over their limits.
    pub fn headers_too_large(expected: &str) -> Self {
        let detail = "the request line and headers are larger than this bus takes";
        Self::new("SN0619", 431, "headers_too_large", detail).expecting(expected)
    }

    /// No such method on this path.
    pub fn method_not_allowed(allowed: &str) -> Self {
        Self::new("SN0617", 405, "method", "this path does not take this method").expecting(allowed)
    }

    /// The request itself is malformed: its target, a parameter, a header. `what` is our own word for it.
    pub fn malformed_request(what: &'static str, expected: &str) -> Self {
        let detail = format!("the {what} of the request is refused");
        Self::new("SN0618", 400, "malformed_request", &detail).expecting(expected)
    }

    /// The request names a host that this bus is not.
    pub fn misdirected() -> Self {
        let detail = "this bus does not answer under the host that the request names";
        Self::new("SN0622", 421, "misdirected", detail)
            .expecting("a name that `http.hosts` of the bus lists")
    }

    /// A mistake of ours.
    pub fn ours() -> Self {
        let detail = "the bus made a mistake; whether the message was taken can be asked by its id";
        let problem = Self::new("SN0902", 500, "ours", detail);
        Self { retryable: true, who_must_act: Who::Operator, ..problem }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let Rejection { code, http_status, reason, detail, pointer, expected, violations } =
            rejection;
        let errors = violations.into_vec();
        let who_must_act = if code == OVER_BUDGET { Who::Operator } else { Who::Sender };
        let problem = Self::new(code, http_status, reason, &detail);
        Self { pointer, expected, errors, who_must_act, ..problem }
    }
}

/// The sentence of a code, the same each time.
fn title(code: &str) -> &'static str {
    match code {
        "SN0601" => "The body is not JSON as this bus takes it",
        "SN0602" => "The body holds too many items or keys",
        "SN0603" => "An attribute of the event is missing or malformed",
        "SN0604" => "The type of the event is not known",
        "SN0605" => "The data are not as the schema of their type says",
        "SN0606" => "The content type is not taken",
        "SN0607" => "Batches are not taken",
        "SN0608" => "Data in base64 are not taken",
        "SN0609" => "The body is too large",
        "SN0610" => "The id was used for other content",
        "SN0611" => "Who asks is not known",
        "SN0612" => "The party may not do this",
        "SN0613" => "There is nothing here",
        "SN0614" => "Too many requests",
        "SN0615" => "The bus takes no more for now",
        "SN0616" => "The request took too long",
        "SN0617" => "The method is not taken here",
        "SN0618" => "The request is malformed",
        "SN0619" => "The headers are too large",
        "SN0620" => "Routing headers are not taken",
        "SN0621" => "Checking the message takes too long",
        "SN0622" => "The request is meant for another host",
        "SN0625" => "The disk is nearly full",
        "SN0626" => "The document is too large",
        "SN0627" => "The document is not described",
        "SN0628" => "The document is not known",
        "SN0629" => "The document is another one",
        "SN0640" => "The party has no inbox",
        "SN0641" => "The acknowledgement is not understood",
        "SN0642" => "The question is not understood",
        _ => "The bus made a mistake",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{envelope::http, json::JsonLimits};

    fn every() -> Vec<Problem> {
        let wait = Duration::from_millis(1_500);
        let media_type = http::read([], Bytes::new(), &JsonLimits::default()).expect_err("none");
        vec![
            Problem::from(media_type),
            Problem::from(Rejection::too_large(1)),
            Problem::from(Rejection::over_budget(wait)),
            Problem::misdirected(),
            Problem::conflict(MessageId::accepted(0, [0; 10])),
            Problem::not_identified("missing"),
            Problem::not_allowed("sends: a.b.v1"),
            Problem::not_found(),
            Problem::too_many_requests(wait),
            Problem::not_now("cap", wait),
            Problem::ask_again("ledger", wait),
            Problem::no_inbox(),
            Problem::not_acknowledged(Some("/deliveries/0".to_owned()), "an id"),
            Problem::too_slow(),
            Problem::headers_too_large("16 KiB"),
            Problem::method_not_allowed("POST"),
            Problem::malformed_request("query", "`source` and `id`"),
            Problem::disk(wait),
            Problem::large_document(1),
            Problem::malformed_document("name", "a name"),
            Problem::ours(),
        ]
    }

    #[test]
    fn every_problem_says_what_to_do() {
        for problem in every() {
            let is_actionable = problem.expected.is_some() || problem.retryable;
            assert!(is_actionable || problem.status == 404, "{problem:?}");
            assert!(problem.title != title("") || problem.status == 500, "{problem:?}");
            assert_eq!(problem.type_, format!("/problems/{}", problem.code));
        }
    }

    #[test]
    fn a_problem_is_written_as_rfc_9457_says() {
        let problem = Problem::not_now("cap", Duration::from_millis(1_500));
        let text = serde_json::to_string_pretty(&problem).expect("JSON");
        insta::assert_snapshot!(text, @r#"
        {
          "type": "/problems/SN0615",
          "title": "The bus takes no more for now",
          "status": 503,
          "detail": "nothing was taken into custody; send the same message again",
          "code": "SN0615",
          "reason": "cap",
          "retryable": true,
          "who_must_act": "bus",
          "retry_after": 2
        }
        "#);
    }
}
