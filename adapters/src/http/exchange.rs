//! One HTTP exchange: sends a request, reads the answer within its limits. The only IO of `http`.
//!
//! Invariant: it ends by the deadline, reads no more than the limit, follows nothing, and decides nothing.

use std::{error::Error as _, io, time::Duration};

use futures_util::StreamExt;
use reqwest::{
    Client, Request, Response,
    header::{AsHeaderName, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER},
};
use snodo_core::{ids::Digest, timestamp::Timestamp};
use tokio::time::{Instant, timeout_at};

use super::classify::{
    Answer, Body, NotSent, Outcome, Silence, Unreadable, http_date, retry_after,
};

/// Within which a connection must stand.
const CONNECT: Duration = Duration::from_secs(5);

/// What came of an exchange, with what its receipt needs.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// The digest of the answer's bytes.
    pub(crate) answer: Digest,
    /// The bytes of the answer, where they are whole: for who reads no JSON.
    pub(crate) bytes: Vec<u8>,
    /// The headers of the answer.
    pub(crate) headers: HeaderMap,
}

impl Exchange {
    /// A header of the answer, where it is text.
    pub(crate) fn header(&self, name: impl AsHeaderName) -> Option<String> {
        header(&self.headers, name)
    }
}

/// A client that goes nowhere but where it is told: no redirect, no proxy, no cookie, no second try.
pub(crate) fn client() -> reqwest::Result<Client> {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT)
        .user_agent(concat!("snodo/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Performs `request`, all of it before `deadline` has passed.
pub(crate) async fn exchange(
    client: &Client,
    request: Request,
    deadline: Duration,
    limit: usize,
) -> Exchange {
    let until = Instant::now() + deadline;
    match timeout_at(until, client.execute(request)).await {
        Ok(Ok(response)) => read(response, until, limit).await,
        Ok(Err(error)) => without_answer(failure(&error)),
        Err(_) => without_answer(Outcome::Silent(Silence::TimedOut)),
    }
}

fn without_answer(outcome: Outcome) -> Exchange {
    let (bytes, headers) = (Vec::new(), HeaderMap::new());
    Exchange { outcome, answer: Digest::of(b""), bytes, headers }
}

async fn read(response: Response, until: Instant, limit: usize) -> Exchange {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    // By the target's own clock where it says it, so that the two clocks may differ.
    let now = header(&headers, DATE).and_then(|date| http_date(&date)).unwrap_or_else(clock);
    let retry_after = header(&headers, RETRY_AFTER).and_then(|value| retry_after(&value, now));
    let json = header(&headers, CONTENT_TYPE).is_some_and(|kind| is_json(&kind));
    let (bytes, whole) = match timeout_at(until, read_bytes(response, limit)).await {
        Ok(read) => read,
        Err(_) => (Vec::new(), Err(Unreadable::Cut)),
    };
    let answer = Digest::of(&bytes);
    let (body, bytes) = match whole {
        Ok(()) => (body(&bytes, json), bytes),
        Err(why) => (Body::Unreadable(why), Vec::new()),
    };
    let outcome = Outcome::Answered(Answer { status, retry_after, body });
    Exchange { outcome, answer, bytes, headers }
}

async fn read_bytes(response: Response, limit: usize) -> (Vec<u8>, Result<(), Unreadable>) {
    let mut bytes = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else { return (bytes, Err(Unreadable::Cut)) };
        if bytes.len() + chunk.len() > limit {
            return (bytes, Err(Unreadable::TooLong));
        }
        bytes.extend_from_slice(&chunk);
    }
    (bytes, Ok(()))
}

fn body(bytes: &[u8], json: bool) -> Body {
    if bytes.is_empty() {
        return Body::Empty;
    }
    if !json {
        return Body::Unreadable(Unreadable::NotJson);
    }
    serde_json::from_slice(bytes).map_or(Body::Unreadable(Unreadable::Broken), Body::Json)
}

/// `application/json`, or a type with the suffix `+json`.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn header(headers: &HeaderMap, name: impl AsHeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn clock() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// What a failed exchange was. The error's own words are not kept: they hold the address.
fn failure(error: &reqwest::Error) -> Outcome {
    if error.is_connect() || error.is_builder() {
        return Outcome::NotSent(why_not_sent(error));
    }
    let how = if error.is_timeout() { Silence::TimedOut } else { Silence::ConnectionLost };
    Outcome::Silent(how)
}

fn why_not_sent(error: &reqwest::Error) -> NotSent {
    if error.is_timeout() {
        return NotSent::TimedOut;
    }
    if error.is_dns() {
        return NotSent::NoSuchName;
    }
    match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => NotSent::ConnectionRefused,
        Some(io::ErrorKind::TimedOut) => NotSent::TimedOut,
        // The TLS library reports its errors so.
        Some(io::ErrorKind::InvalidData) => NotSent::Tls,
        _ => NotSent::Other,
    }
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_content_type() {
        for kind in
            ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"]
        {
            assert!(is_json(kind), "{kind}");
        }
        for kind in ["text/html", "text/json", "application/jsonp", ""] {
            assert!(!is_json(kind), "{kind}");
        }
    }
}
