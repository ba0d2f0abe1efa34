//! What works, and since when.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use snodo_core::timestamp::Timestamp;

use super::Desk;
use crate::metrics::Metrics;

/// One component: whether it works, since when, and what is wrong in words without personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    /// Whether it works.
    pub ready: bool,
    /// Since when it is so.
    pub since: Timestamp,
    /// What is wrong, or "".
    #[serde(skip_serializing_if = "str::is_empty")]
    pub why: String,
}

/// What the bus is nothing without. Without any other component messages are accepted, and wait.
const CUSTODY: &str = "ledger";

/// The components of the bus. Each is not ready until it says that it is.
#[derive(Debug)]
pub struct Health {
    components: Mutex<BTreeMap<&'static str, Component>>,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Of these components, none of them ready at `now`.
    pub fn new(components: &[&'static str], metrics: Arc<Metrics>, now: Timestamp) -> Self {
        let start = || Component { ready: false, since: now, why: "starting".to_owned() };
        let components = components.iter().map(|name| (*name, start())).collect();
        Self { components: Mutex::new(components), metrics }
    }

    /// A component works now, or does not and why.
    pub fn set(&self, component: &'static str, state: Result<(), String>, now: Timestamp) {
        let ready = state.is_ok();
        self.metrics.ready(component, ready);
        let mut components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        let known = components.get(component).filter(|known| known.ready == ready);
        let since = known.map_or(now, |known| known.since);
        let why = state.err().unwrap_or_default();
        components.insert(component, Component { ready, since, why });
    }

    /// What works now.
    pub fn read(&self) -> Reading {
        let components = self.components.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = |ready| components.iter().filter(move |(_, component)| component.ready == ready);
        let ready = components.get(CUSTODY).is_none_or(|custody| custody.ready);
        let degraded: Vec<_> = of(false).map(|(name, _)| *name).collect();
        let since = if degraded.is_empty() {
            of(true).map(|(_, component)| component.since).max()
        } else {
            of(false).map(|(_, component)| component.since).min()
        };
        Reading { ready, since, degraded, components }
    }
}

/// What works at a moment.
#[derive(Clone, Debug, Serialize)]
pub struct Reading {
    /// Whether messages are taken into custody. A load balancer that heeded more than this would take
    /// a bus away which accepts and keeps, only because its broker is away.
    pub ready: bool,
    /// Since when it is as it is: all well, or the first of what does not work.
    pub since: Option<Timestamp>,
    /// What does not work.
    pub degraded: Vec<&'static str>,
    /// Each component.
    pub components: BTreeMap<&'static str, Component>,
}

/// `GET /status`.
pub(super) async fn status(State(desk): State<Arc<Desk>>) -> Response {
    let reading = desk.health.read();
    let status = status_of(reading.ready);
    let mut body = json!(reading);
    body["now"] = json!(desk.clock.now());
    (status, Json(body)).into_response()
}

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// `GET /health/ready`: messages can be taken into custody; what does not work beside is named.
pub(super) async fn ready(State(desk): State<Arc<Desk>>) -> Response {
    let Reading { ready, degraded, .. } = desk.health.read();
    let word = if ready { "ready" } else { "not ready" };
    let words = if degraded.is_empty() {
        format!("{word}\n")
    } else {
        format!("{word}; does not work: {}\n", degraded.join(", "))
    };
    (status_of(ready), words).into_response()
}

fn status_of(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// `GET /metrics`, on the listener of monitoring only.
pub(super) async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    let text = desk.metrics.render(&*desk.ledger, &*desk.clock).await;
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
