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

    /// Whether all work; since when it is so; each of them.
    pub fn read(&self) -> (bool, Option<Timestamp>, BTreeMap<&'static str, Component>) {
        let components = self.components.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ready = components.values().all(|component| component.ready);
        let changed = components.values().filter(|component| component.ready == ready);
        let changed = changed.map(|component| component.since);
        let since = if ready { changed.max() } else { changed.min() };
        (ready, since, components)
    }
}

/// `GET /status`.
pub(super) async fn status(State(desk): State<Arc<Desk>>) -> Response {
    let (ready, since, components) = desk.health.read();
    let now = desk.clock.now();
    let body = json!({ "ready": ready, "since": since, "now": now, "components": components });
    (status_of(ready), Json(body)).into_response()
}

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// `GET /health/ready`: messages can be taken into custody and carried.
pub(super) async fn ready(State(desk): State<Arc<Desk>>) -> Response {
    let (ready, ..) = desk.health.read();
    (status_of(ready), if ready { "ready\n" } else { "not ready\n" }).into_response()
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
