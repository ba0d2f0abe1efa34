//! The region's notification service, in the three safeties that far sides have.
//!
//! Invariant: `/notifications` deduplicates by `Idempotency-Key` and by nothing else; `/once` and
//! `/recallable` do what they are told as often as they are told.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;

use crate::{
    log::Log,
    script::{Behaviour, Script},
};

#[derive(Clone, Debug)]
struct World {
    script: Arc<Script>,
    log: Arc<Log>,
}

/// The service as an axum router.
pub fn router(script: Arc<Script>, log: Arc<Log>) -> Router {
    Router::new()
        .route("/notifications", post(notify))
        .route("/enrolments", post(enrol))
        .route("/once", post(notify_once))
        .route("/recallable", post(notify_recallable))
        .route("/lookup", get(lookup))
        .fallback(elsewhere)
        .with_state(World { script, log })
}

async fn notify(State(world): State<World>, headers: HeaderMap, body: Bytes) -> Response {
    world.act("notify", &headers, &body, true).await
}

/// The manager of the canteen: a number of its own, and the first day.
async fn enrol(State(world): State<World>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = world.act("enrol", &headers, &body, true).await;
    if answer.status() != StatusCode::OK {
        return answer;
    }
    Json(json!({ "number": "M-000001", "from": "2026-09-15" })).into_response()
}

async fn notify_once(State(world): State<World>, headers: HeaderMap, body: Bytes) -> Response {
    world.act("notify_once", &headers, &body, false).await
}

async fn notify_recallable(
    State(world): State<World>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    world.act("notify_recallable", &headers, &body, false).await
}

#[derive(Deserialize)]
struct Asked {
    key: String,
}

async fn lookup(State(world): State<World>, Query(asked): Query<Asked>) -> Response {
    let (delay, behaviour) = world.script.take();
    tokio::time::sleep(delay).await;
    if world.log.note("lookup", &asked.key, b"").is_err() {
        return broken();
    }
    let good = match world.log.number("notify_recallable", &asked.key) {
        Some(number) => receipt(number),
        None => problem(StatusCode::NOT_FOUND, "unknown-key"),
    };
    behave(behaviour, good).await
}

/// Where a redirect would lead, and what a probe meets.
async fn elsewhere(State(world): State<World>, uri: Uri) -> Response {
    let (_, behaviour) = world.script.take();
    if world.log.note("elsewhere", uri.path(), b"").is_err() {
        return broken();
    }
    behave(behaviour, StatusCode::NOT_FOUND.into_response()).await
}

impl World {
    async fn act(
        &self,
        operation: &str,
        headers: &HeaderMap,
        body: &Bytes,
        once_per_key: bool,
    ) -> Response {
        let (delay, behaviour) = self.script.take();
        tokio::time::sleep(delay).await;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if !self.script.lets_in(text("authorization")) {
            return problem(StatusCode::UNAUTHORIZED, "unknown-caller");
        }
        let key = text("idempotency-key");
        let Some(key) = key else { return problem(StatusCode::BAD_REQUEST, "no-key") };
        let done = if behaviour.acts() {
            self.log.apply(operation, key, body, once_per_key).map(Some)
        } else {
            self.log.note(operation, key, body).map(|()| None)
        };
        match done {
            Ok(number) => behave(behaviour, receipt(number.unwrap_or(0))).await,
            Err(_) => broken(),
        }
    }
}

/// A disk that fails is a far side that fails: it did nothing that it can prove.
fn broken() -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "log")
}

fn receipt(number: u64) -> Response {
    let id = format!("REG-{number:06}");
    let location = format!("/notifications/{id}");
    (StatusCode::OK, [(header::LOCATION, location)], Json(json!({ "id": id, "state": "received" })))
        .into_response()
}

fn problem(status: StatusCode, kind: &str) -> Response {
    let body = json!({ "type": format!("https://region.example/problems/{kind}"),
                       "status": status.as_u16(), "title": "The region says no" });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

pub(crate) async fn behave(behaviour: Behaviour, good: Response) -> Response {
    match behaviour {
        Behaviour::Normal => good,
        Behaviour::Answer { status, headers, body } => answer(status, headers, body),
        Behaviour::ActThenAnswer { status, content_type, body } => {
            answer(status, vec![("content-type", content_type.to_owned())], body)
        }
        Behaviour::Hang | Behaviour::ActThenHang => std::future::pending().await,
        Behaviour::Drop | Behaviour::ActThenDrop => severed(),
        Behaviour::Huge(size) => json_answer(format!("\"{}\"", "a".repeat(size))),
        Behaviour::Slow(millis) => json_answer(Body::from_stream(slow(millis))),
        Behaviour::Cut => json_answer(Body::from_stream(cut())),
    }
}

/// Tells the server to end the connection without an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Severed;

fn severed() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Severed);
    response
}

fn answer(status: u16, headers: Vec<(&'static str, String)>, body: String) -> Response {
    let builder =
        headers.into_iter().fold(Response::builder().status(status), |builder, (name, value)| {
            builder.header(name, value)
        });
    builder.body(Body::from(body)).unwrap_or_else(|_| broken())
}

fn json_answer(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// A JSON text without end.
fn slow(millis: u64) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    stream::unfold(true, move |first| async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let byte: &'static [u8] = if first { b"\"" } else { b"a" };
        Some((Ok(Bytes::from_static(byte)), false))
    })
}

fn cut() -> impl Stream<Item = Result<Bytes, &'static str>> + Send + 'static {
    let begin = stream::once(async { Ok(Bytes::from_static(b"{\"id\": \"REG-")) });
    let end = stream::once(async {
        // So that what came before is on its way.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err("cut")
    });
    begin.chain(end)
}
