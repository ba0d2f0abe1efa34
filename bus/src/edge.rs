//! The HTTP edge: where parties bring messages, ask what became of them, and fetch what they are owed.
//!
//! Invariant: 202 means custody, and every other answer is a problem with a stable code. What a request
//! holds is never echoed, logged or counted by.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    routing::{get, post},
};
use snodo_core::{party::Parties, problem::Problem, schema::Schemas};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock, disk::Disk, engine::Engine, ledger::Ledger, metrics::Metrics, settings::Settings,
};

pub mod admit;
pub mod auth;
pub mod body;
mod disclosures;
pub mod documents;
mod door;
pub mod health;
mod inbox;
pub mod messages;
pub mod problems;
pub mod room;
pub mod server;
mod story;

use admit::Gate;
use auth::Callers;
use body::Shares;
use documents::Shelf;
use health::Health;
use problems::Refusal;
use room::Room;
use server::{Front, ServerLimits};

/// What bounds the requests of the edge.
#[derive(Clone, Copy, Debug)]
pub struct EdgeLimits {
    /// The largest body, bytes.
    pub body: usize,
    /// How long a body may take.
    pub body_within: Duration,
    /// CPU time that checking one message may take.
    pub validation: Duration,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            body: 1 << 20,
            body_within: Duration::from_secs(30),
            validation: Duration::from_millis(50),
        }
    }
}

/// What the edge answers with.
#[expect(missing_debug_implementations, reason = "the parts are behind traits")]
pub struct Desk {
    /// Takes into custody.
    pub engine: Arc<Engine>,
    /// Answers questions.
    pub ledger: Arc<dyn Ledger>,
    /// The two clocks.
    pub clock: Arc<dyn Clock>,
    /// What a reload changes.
    pub admits: RwLock<Arc<Admits>>,
    /// How full the routes are.
    pub room: Arc<Room>,
    /// Where documents come in and go out.
    pub shelf: Shelf,
    /// How much room the disk has.
    pub disk: Arc<Disk>,
    /// What works.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Bounds of one request.
    pub limits: EdgeLimits,
    /// Bounds of all of them together.
    pub shares: Shares,
    /// The hosts under which parties reach the bus; any, where none is listed.
    pub hosts: Arc<[String]>,
}

/// Who may ask, and what is a message.
#[derive(Debug)]
pub struct Admits {
    /// Decides what is a message.
    pub gate: Gate,
    /// Who may ask.
    pub callers: Callers,
}

impl Admits {
    /// By the schemas and parties of a house.
    pub fn of(schemas: Arc<Schemas>, parties: &Parties, settings: &Settings) -> Self {
        Self { gate: Gate::new(schemas, settings.limits.body), callers: Callers::of(parties) }
    }
}

impl Desk {
    /// Who may ask now, and what is a message: one view for the whole of a request.
    pub fn admits(&self) -> Arc<Admits> {
        Arc::clone(&self.admits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in their place. Requests under way go on as they began.
    pub fn swap(&self, admits: Admits) {
        *self.admits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(admits);
    }
}

/// What parties reach.
pub fn routes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/v1/messages", post(messages::post).get(messages::find))
        .route("/v1/messages/{id}", get(messages::get))
        .route("/v1/inbox", get(inbox::get))
        .route("/v1/inbox/ack", post(inbox::ack))
        .route("/v1/messages/{id}/data", get(messages::data))
        .route("/v1/disclosures/search", post(disclosures::search))
        .route("/v1/documents", post(documents::post))
        .route("/v1/documents/{key}", get(documents::get))
        .route("/problems/{code}", get(problems::page))
        .route("/status", get(health::status))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_done_here)
        .with_state(desk)
}

/// What monitoring reaches, on a listener of its own.
pub fn monitoring(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/metrics", get(health::metrics))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_done_here)
        .with_state(desk)
}

async fn nothing_here() -> Refusal {
    Problem::not_found().into()
}

async fn not_done_here() -> Refusal {
    Problem::method_not_allowed("GET, HEAD or POST").into()
}

/// Serves parties and monitoring until `stop`, then lets requests under way end.
pub async fn serve(
    desk: Arc<Desk>,
    parties: TcpListener,
    monitors: TcpListener,
    stop: CancellationToken,
) {
    let limits = ServerLimits::default();
    let front = Front { hosts: Arc::clone(&desk.hosts), metrics: Some(Arc::clone(&desk.metrics)) };
    let monitoring = monitoring(Arc::clone(&desk));
    let monitoring = server::serve(monitors, monitoring, Front::default(), limits, stop.clone());
    tokio::join!(server::serve(parties, routes(desk), front, limits, stop), monitoring);
}
