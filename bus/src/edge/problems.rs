//! What the edge says no with: RFC 9457 problems with a stable code, and the pages of the codes.
//!
//! Invariant: a problem holds no text of the request but a JSON pointer; everything else is ours.

use std::{fmt, time::Duration};

use axum::{
    body::Body,
    extract::Path,
    http::{
        HeaderName, HeaderValue, Response, StatusCode,
        header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::IntoResponse,
};
use serde_json::Value;
use snodo_core::{
    admission::Rejection,
    problem::{self, Problem},
};

use crate::ledger::ReadError;

/// What the door refuses, before there is a request that a handler could look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The request is not HTTP/1.1 with one framing.
    Framing,
    /// The request line is over its limit.
    RequestLine,
    /// The head is over its limits.
    HeadTooLarge,
    /// The head took too long.
    TooSlow,
    /// Another version of HTTP.
    Version,
}

impl Refused {
    const ALL: [Self; 5] =
        [Self::Framing, Self::RequestLine, Self::HeadTooLarge, Self::TooSlow, Self::Version];

    /// The word by which the door asks for the answer.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::RequestLine => "request-line",
            Self::HeadTooLarge => "head-too-large",
            Self::TooSlow => "too-slow",
            Self::Version => "version",
        }
    }

    /// The refusal of that word.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refused| refused.word() == word)
    }
}

/// A question that the ledger did not answer: to ask again changes nothing.
pub(super) fn unanswered(error: &ReadError) -> Refusal {
    tracing::warn!(%error, "a question was not answered");
    Problem::ask_again("ledger", AGAIN).into()
}

/// `what` was not taken, since the ledger does not do what it should.
pub(super) fn untaken(what: &'static str, error: &dyn fmt::Display) -> Refusal {
    tracing::warn!(%error, what, "nothing was taken");
    Problem::not_now("ledger", AGAIN).into()
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        const FRAMING: &str = "HTTP/1.1 with one `Host`, one `Content-Length` or \
                               `Transfer-Encoding: chunked`, lines ending in CRLF, no control characters";
        Self::from(match refused {
            Refused::Framing => Problem::malformed_request("framing", FRAMING),
            Refused::RequestLine => {
                Problem::malformed_request("request line", "a path and query of at most 8 KiB")
            }
            Refused::HeadTooLarge => {
                Problem::headers_too_large("at most 16 KiB in all, 8 KiB a line and 100 headers")
            }
            Refused::TooSlow => Problem::too_slow(),
            Refused::Version => Problem::method_not_allowed("GET, HEAD or POST over HTTP/1.1"),
        })
    }
}

/// The code of an answer that is a refusal, for whoever counts them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code(pub(super) &'static str);

/// One refusal, ready to be answered.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What it says.
    pub problem: Box<Problem>,
    /// More headers.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), headers: Vec::new() }
    }
}

impl From<Box<Problem>> for Refusal {
    fn from(problem: Box<Problem>) -> Self {
        Self { problem, headers: Vec::new() }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Problem::from(rejection).into()
    }
}

impl Refusal {
    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// With more headers.
    #[must_use]
    pub fn with_headers(
        mut self,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Self {
        self.headers.extend(headers);
        self
    }
}

/// `GET /problems/{code}`: the page of a code, as text.
pub(super) async fn page(Path(code): Path<String>) -> Result<Response<Body>, Refusal> {
    let page = snodo_core::codes::page(&code).ok_or_else(Problem::not_found)?;
    let mut response = Response::new(Body::from(page));
    let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// Every code with which the edge may refuse a request.
pub fn codes() -> Vec<String> {
    let of_messages = snodo_core::codes::all().filter(|code| code.starts_with("SN06"));
    of_messages.chain(["SN0902"]).map(str::to_owned).collect()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let id = uuid::Uuid::now_v7();
        tracing::info!(code = self.problem.code, reason = self.problem.reason, %id, "refused");
        let mut response = Response::new(Body::from(self.body(id)));
        *response.status_mut() = self.status();
        response.extensions_mut().insert(Code(self.problem.code));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            headers.insert(HeaderName::from_static("snodo-problem-id"), value);
        }
        if let Some(seconds) = self.problem.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.problem.status {
            401 => headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            405 => headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST")),
            _ => None,
        };
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

impl Refusal {
    /// The problem, with an id by which it is found in the log.
    fn body(&self, id: uuid::Uuid) -> String {
        let mut body = serde_json::to_value(&*self.problem).unwrap_or_default();
        body["instance"] = Value::String(format!("urn:uuid:{id}"));
        body.to_string()
    }
}

/// When a sender comes again after a 503.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_and_the_edge_agree_on_words() {
        for refused in Refused::ALL {
            assert_eq!(Refused::of_word(refused.word()), Some(refused));
        }
    }
}
