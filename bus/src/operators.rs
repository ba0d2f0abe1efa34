//! The office of operators: what people may see and do, over `<data>/snodo.sock` or without a bus.
//!
//! Invariant: whatever a person does is written with who and why; nothing shows a message's data or
//! subject.

use std::{fmt, path::PathBuf, sync::Arc};

use axum::{
    Router,
    routing::{get, post},
};
use snodo_core::{adapter::BoxFuture, doctor::Finding, pseudonym::Pseudonyms, route::Routes};

use crate::{
    clock::Clock,
    ledger::{Action, CommitError, Ledger, Outcome, Write, verify::Progress},
    run::{last::Agreement, reload::Asks},
};

mod acts;
mod books;
mod disclosures;
mod health;
mod lists;
pub mod socket;

/// What operators work with.
pub struct Office {
    /// Reads.
    pub ledger: Arc<dyn Ledger>,
    /// Writes.
    pub write: Arc<dyn Write>,
    /// The routes that run now, with the versions that open deliveries are pinned to.
    pub routes: Box<dyn Fn() -> Arc<Routes> + Send + Sync>,
    /// The two clocks.
    pub clock: Arc<dyn Clock>,
    /// The file of the heads that are kept outside the ledger.
    pub heads: PathBuf,
    /// Where a reload is asked for; none where no bus runs.
    pub asks: Option<Asks>,
    /// What the running bus found when it last compared totals and rows; none where no bus runs.
    pub agreement: Option<Arc<Agreement>>,
    /// How far a check of the evidence has come.
    pub verifying: Progress,
    /// The keys under which rows name persons.
    pub pseudonyms: Arc<Pseudonyms>,
    /// Looks at the broker; none where no bus runs.
    pub broker: Option<LooksAtBroker>,
}

/// What the running bus finds of its broker.
pub type LooksAtBroker = Box<dyn Fn() -> BoxFuture<'static, Vec<Finding>> + Send + Sync>;

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Office").finish_non_exhaustive()
    }
}

/// Who works at the office: the operating system's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(pub String);

/// The office as a JSON API. Every request carries its [`Actor`] as an extension.
pub fn router(office: Arc<Office>) -> Router {
    Router::new()
        .route("/deliveries", get(lists::list))
        .route("/deliveries/{id}", get(lists::show))
        .route("/deliveries/{id}/replay", post(acts::replay))
        .route("/deliveries/{id}/discard", post(acts::discard))
        .route("/deliveries/{id}/resolve", post(acts::resolve))
        .route("/messages/{id}", get(lists::trace))
        .route("/instances", get(books::instances))
        .route("/instances/{id}/declare-dead", post(acts::declare_dead))
        .route("/disclosures/search", post(disclosures::search))
        .route("/doctor", get(health::condition))
        .route("/top", get(health::top))
        .route("/reload", post(acts::reload))
        .route("/routes", get(books::routes))
        .route("/ledger/stats", get(books::stats))
        .route("/ledger/verify", get(books::verified))
        .route("/ledger/verify/progress", get(books::verifying))
        .route("/ledger/proofs/{id}", get(books::proof))
        .with_state(office)
}

/// Writes at once, for an office without a bus: the ledger's lock is held by this process.
pub struct DirectWrite {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for DirectWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectWrite").finish_non_exhaustive()
    }
}

impl Write for DirectWrite {
    fn submit(&self, actions: Vec<Action>) -> BoxFuture<'_, Result<Vec<Outcome>, CommitError>> {
        Box::pin(async move { self.ledger.commit(&actions, self.clock.now()).await })
    }
}

/// What an operator is told when something is not done.
mod refusal {
    use axum::{
        Json,
        http::StatusCode,
        response::{IntoResponse, Response},
    };
    use serde_json::json;

    use crate::ledger::{CommitError, ReadError};

    /// Why not: status, code, title, what to do.
    #[derive(Clone, Debug)]
    pub(super) struct No {
        status: StatusCode,
        code: &'static str,
        title: String,
        expected: String,
    }

    impl No {
        pub(super) fn new(
            status: StatusCode,
            code: &'static str,
            title: impl Into<String>,
            expected: impl Into<String>,
        ) -> Self {
            Self { status, code, title: title.into(), expected: expected.into() }
        }

        /// No such delivery, message or instance.
        pub(super) fn unknown(what: &str) -> Self {
            let title = format!("there is no such {what}");
            Self::new(StatusCode::NOT_FOUND, "SN0861", title, "an id that a list shows")
        }

        /// It is no longer as it was when the operator looked.
        pub(super) fn moved_on(expected: impl Into<String>) -> Self {
            let title = "the delivery is in another state, or somebody was faster";
            Self::new(StatusCode::CONFLICT, "SN0862", title, expected)
        }

        /// What was asked for is not understood.
        pub(super) fn asked(expected: impl Into<String>) -> Self {
            let title = "the request is not understood";
            Self::new(StatusCode::BAD_REQUEST, "SN0863", title, expected)
        }
    }

    impl From<ReadError> for No {
        fn from(error: ReadError) -> Self {
            let expected = "the ledger at its place; see `snodo explain SN0830`";
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "SN0864", error.to_string(), expected)
        }
    }

    impl From<CommitError> for No {
        fn from(error: CommitError) -> Self {
            let expected = match error {
                CommitError::NotCommitted(_) => "the same again; nothing was written",
                CommitError::Unclear(_) => "a look at the list: it may have been written",
            };
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "SN0864", error.to_string(), expected)
        }
    }

    impl IntoResponse for No {
        fn into_response(self) -> Response {
            let body = json!({
                "type": format!("/problems/{}", self.code),
                "status": self.status.as_u16(),
                "code": self.code,
                "title": self.title,
                "expected": self.expected,
                "who_must_act": "operator",
            });
            (self.status, Json(body)).into_response()
        }
    }
}

use refusal::No;

/// What a handler gives.
type Told = Result<axum::Json<serde_json::Value>, No>;
