//! What the edge says no with: RFC 9457 problems with a stable code, and the pages of the codes.
//!
//! Invariant: a problem holds no text of the request but a JSON pointer; everything else is ours.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Path,
    http::{
        HeaderName, HeaderValue, Response, StatusCode,
        header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::IntoResponse,
};
use serde_json::{Map, Value, json};

/// The refusals that are the edge's own; what is wrong with a message itself says `admission`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request is not HTTP/1.1 with one framing.
    Framing,
    /// The head is over its limits.
    HeadTooLarge,
    /// The head took too long.
    HeadTooSlow,
    /// The body took too long.
    BodyTooSlow,
    /// The body is over its limit.
    BodyTooLarge,
    /// Nothing is here.
    Path,
    /// This is not done here.
    Method,
    /// Nobody knows who is asking.
    Token,
    /// Two ways of saying who is asking.
    TwoTokens,
    /// The party may not send this type.
    Forbidden,
    /// The same id with another body.
    OtherBody,
    /// No such message, or not one of this party's.
    Unknown,
    /// Too many requests.
    Rate,
    /// Everybody who takes this type is full.
    Full,
    /// The ledger does not answer.
    NotNow,
    /// The query is not understood.
    Query,
}

/// Who has to do something.
const SENDER: &str = "sender";
const OPERATOR: &str = "operator";

/// What is always the same about a code: (code, status, reason, title, expected, who).
type Row = (Code, &'static str, StatusCode, &'static str, &'static str, &'static str, &'static str);

/// The table of the edge's refusals. Codes never change their meaning.
const TABLE: [Row; 16] = [
    (
        Code::Framing,
        "SN0641",
        StatusCode::BAD_REQUEST,
        "malformed_request",
        "the request is not well-formed HTTP/1.1",
        "one `Content-Length` or `Transfer-Encoding: chunked`, never both; lines end with CRLF",
        SENDER,
    ),
    (
        Code::HeadTooLarge,
        "SN0642",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers_too_large",
        "the request line and headers are too large",
        "at most 16 KiB in all, 8 KiB a line, 100 headers",
        SENDER,
    ),
    (
        Code::HeadTooSlow,
        "SN0643",
        StatusCode::REQUEST_TIMEOUT,
        "headers_too_slow",
        "the request line and headers took too long",
        "all headers within 10 seconds",
        SENDER,
    ),
    (
        Code::BodyTooSlow,
        "SN0644",
        StatusCode::REQUEST_TIMEOUT,
        "body_too_slow",
        "the body took too long",
        "the whole body within 30 seconds",
        SENDER,
    ),
    (
        Code::BodyTooLarge,
        "SN0645",
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        "the body is larger than this bus takes",
        "a body within `limits.body`; large documents go to `POST /v1/documents`",
        SENDER,
    ),
    (
        Code::Path,
        "SN0646",
        StatusCode::NOT_FOUND,
        "unknown_path",
        "there is nothing at this path",
        "a path of `/openapi.json`, e.g. `/v1/messages`",
        SENDER,
    ),
    (
        Code::Method,
        "SN0647",
        StatusCode::METHOD_NOT_ALLOWED,
        "unknown_method",
        "this method or version of HTTP is not served here",
        "a method named in `Allow`, over HTTP/1.1",
        SENDER,
    ),
    (
        Code::Token,
        "SN0648",
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "the request does not say who is asking, or not in a way that is known here",
        "one header `Authorization: Bearer <token>` with the token agreed on",
        SENDER,
    ),
    (
        Code::TwoTokens,
        "SN0649",
        StatusCode::BAD_REQUEST,
        "two_authorizations",
        "the request has more than one `Authorization` header",
        "exactly one `Authorization` header",
        SENDER,
    ),
    (
        Code::Forbidden,
        "SN0650",
        StatusCode::FORBIDDEN,
        "type_not_allowed",
        "this party may not send messages of this type",
        "a type listed under `sends:` in the party's file",
        OPERATOR,
    ),
    (
        Code::OtherBody,
        "SN0651",
        StatusCode::CONFLICT,
        "other_body",
        "a message with this id was accepted before, with other content",
        "the content of the first one, or a new id for new content",
        SENDER,
    ),
    (
        Code::Unknown,
        "SN0652",
        StatusCode::NOT_FOUND,
        "unknown_message",
        "no message of yours has this id",
        "the id of the answer 202, or `?source=…&id=…` with your own",
        SENDER,
    ),
    (
        Code::Rate,
        "SN0653",
        StatusCode::TOO_MANY_REQUESTS,
        "rate",
        "this party sends faster than was agreed",
        "the same request again after `Retry-After`",
        SENDER,
    ),
    (
        Code::Full,
        "SN0654",
        StatusCode::SERVICE_UNAVAILABLE,
        "route_full",
        "a route that takes this type has as many messages waiting as it may",
        "the same request again after `Retry-After`",
        OPERATOR,
    ),
    (
        Code::NotNow,
        "SN0655",
        StatusCode::SERVICE_UNAVAILABLE,
        "not_now",
        "the bus cannot take messages into custody at the moment; nothing was accepted",
        "the same request again after `Retry-After`, under the same id",
        OPERATOR,
    ),
    (
        Code::Query,
        "SN0656",
        StatusCode::BAD_REQUEST,
        "query",
        "the query is not understood",
        "`?source=…&id=…`, both once, each at most 1 KiB without control characters",
        SENDER,
    ),
];

impl Code {
    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// `SN06nn`.
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// The refusal of `code`, where it is one of ours.
    pub fn find(code: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == code).map(|row| row.0)
    }
}

/// One refusal, ready to be answered.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The answer's status.
    pub status: StatusCode,
    /// `SN06nn`.
    pub code: String,
    /// The word that metrics use.
    pub reason: String,
    /// Everything that the problem says.
    pub members: Map<String, Value>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// More headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        let (_, code, status, reason, title, expected, who) = *code.row();
        let retryable = who == OPERATOR && status == StatusCode::SERVICE_UNAVAILABLE
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let members = json!({
            "type": format!("/problems/{code}"),
            "title": title,
            "status": status.as_u16(),
            "code": code,
            "reason": reason,
            "expected": expected,
            "retryable": retryable,
            "who_must_act": who,
        });
        let Value::Object(members) = members else { unreachable!("an object is written above") };
        Self {
            status,
            code: code.to_owned(),
            reason: reason.to_owned(),
            members,
            retry_after: None,
            headers: Vec::new(),
        }
    }
}

impl Refusal {
    /// To be tried again after `wait`.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// About the message that the bus knows under `id`.
    #[must_use]
    pub fn about(mut self, id: impl ToString) -> Self {
        self.members.insert("id".to_owned(), Value::String(id.to_string()));
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// `GET /problems/{code}`: the page of a code, as text.
pub(super) async fn page(Path(code): Path<String>) -> Result<Response<Body>, Refusal> {
    let page = page_of(&code).ok_or(Code::Path)?;
    let mut response = Response::new(Body::from(page));
    let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

pub(crate) fn page_of(code: &str) -> Option<String> {
    let (_, code, _, _, title, expected, who) = Code::find(code)?.row();
    Some(format!("# {code}\n\n{title}\n\nExpected: {expected}\n\nWho acts: {who}\n"))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let id = uuid::Uuid::now_v7();
        tracing::info!(code = self.code, %id, "a request was refused");
        let mut members = self.members;
        members.insert("instance".to_owned(), Value::String(format!("urn:uuid:{id}")));
        let body = Value::Object(members).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            headers.insert(HeaderName::from_static("snodo-problem-id"), value);
        }
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_codes_and_names_each_once() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert_eq!(Code::find(row.1), Some(row.0));
        }
    }
}
