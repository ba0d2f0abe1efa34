//! Reload: the house on disk takes the place of the one that runs, as a whole or not at all.
//!
//! Invariant: checked, pinned in the ledger and planned at the broker before anything is swapped; what
//! runs keeps the version to which it is pinned. A house with a mistake changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use snodo_core::{
    adapter::BoxFuture,
    diagnostic::{Diagnostic, Severity, render_text},
    message_state::Bucket,
    party::Parties,
    reload::{self, Changes, House, Refusal},
    route::Routes,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use super::{StartError, broker::BrokerSide, labels, pin, taking::Taking};
use crate::{
    clock::Clock,
    edge::{Admits, Desk},
    engine::Engine,
    house::Checked,
    ledger::{Ledger, ReadError},
    metrics::Metrics,
    settings::Settings,
};

/// Reads and checks the house on disk.
pub type CheckHouse = Arc<dyn Fn() -> (Option<Checked>, Vec<Diagnostic>) + Send + Sync>;

/// How long a reload waits for what is owed, where it is told to drain.
const DRAIN_WITHIN: Duration = Duration::from_mins(10);
/// How long the queue of a route that is gone is consumed at most.
const RETIRED_WITHIN: Duration = Duration::from_secs(30);
/// Between looks at what is owed.
const LOOK: Duration = Duration::from_millis(200);
/// Reloads that wait for the one under way.
const WAITING: usize = 4;

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What is another now.
    pub changes: Changes,
    /// What is odd in the house, without being wrong.
    pub warnings: Vec<String>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The house does not pass `check`.
    #[error("the house is not in order; the bus runs on as before\n\n{0}")]
    Mistakes(String),
    /// It would leave deliveries behind.
    #[error("{}", lines(.0))]
    Refused(Vec<Refusal>),
    /// What only a start reads is another.
    #[error(
        "SN0872 config/snodo.yaml has changed, and only a start reads it: restart the bus, or put it back"
    )]
    Settings,
    /// The broker lacks what the house needs.
    #[error("{0}")]
    Broker(String),
    /// The ledger.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The ledger.
    #[error("SN0835: {0}")]
    Read(#[from] ReadError),
    /// The bus stops.
    #[error("SN0873 the bus is stopping; it reads the house at its next start")]
    Stopping,
}

fn lines(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A wish for a reload.
struct Wish {
    drain: bool,
    told: Option<oneshot::Sender<Result<Reloaded, ReloadError>>>,
}

/// Where reloads are asked for.
#[derive(Clone, Debug)]
pub struct Asks(mpsc::Sender<Wish>);

impl Asks {
    /// A place to ask, and where the wishes come.
    pub(super) fn new() -> (Self, Wishes) {
        let (asks, wishes) = mpsc::channel(WAITING);
        (Self(asks), Wishes(wishes))
    }

    /// Asks, and waits for what comes of it.
    pub fn reload(&self, drain: bool) -> BoxFuture<'_, Result<Reloaded, ReloadError>> {
        Box::pin(async move {
            let (told, answer) = oneshot::channel();
            let wish = Wish { drain, told: Some(told) };
            self.0.send(wish).await.map_err(|_| ReloadError::Stopping)?;
            answer.await.unwrap_or(Err(ReloadError::Stopping))
        })
    }

    /// Asks without waiting; one that waits already does for this too.
    pub fn soon(&self) {
        let _ = self.0.try_send(Wish { drain: false, told: None });
    }
}

/// Wishes for a reload, as they come.
#[derive(Debug)]
pub(super) struct Wishes(mpsc::Receiver<Wish>);

/// What a reload works on.
pub(super) struct Reloader {
    pub(super) check: CheckHouse,
    pub(super) settings: Settings,
    pub(super) parties: Parties,
    pub(super) engine: Arc<Engine>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) broker: Arc<BrokerSide>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) desk: Arc<Desk>,
    pub(super) taking: Arc<Taking>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Reloader {
    /// Reloads as often as it is asked to, one after the other.
    pub(super) async fn serve(mut self, mut wishes: Wishes) {
        while let Some(Wish { drain, told }) = wishes.0.recv().await {
            let reloaded = self.reload(drain).await;
            self.say(&reloaded);
            if let Some(told) = told {
                let _ = told.send(reloaded);
            }
        }
    }

    /// A house that was refused leaves `/status` with what is wrong until one is taken.
    fn say(&self, reloaded: &Result<Reloaded, ReloadError>) {
        let state = match reloaded {
            Ok(Reloaded { changes, warnings }) => {
                tracing::info!(?changes, "reloaded");
                for warning in warnings {
                    tracing::warn!(warning, "of the house");
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "not reloaded");
                let first = error.to_string();
                Err(format!("not reloaded: {}", first.lines().next().unwrap_or_default()))
            }
        };
        self.desk.health.set("routes", state, self.clock.now());
    }

    async fn reload(&mut self, drain: bool) -> Result<Reloaded, ReloadError> {
        let check = Arc::clone(&self.check);
        // It reads and compiles everything: not on a thread that carries messages.
        let (checked, said) = tokio::task::spawn_blocking(move || check())
            .await
            .map_err(|_| ReloadError::Stopping)?;
        let mut checked = checked.ok_or_else(|| ReloadError::Mistakes(text(&said)))?;
        if checked.settings != self.settings {
            return Err(ReloadError::Settings);
        }
        self.may(&checked, drain).await?;
        self.broker
            .prepare(&self.settings, &checked.routes, &checked.parties)
            .await
            .map_err(ReloadError::Broker)?;
        let changes = reload::changes(&self.engine.routes(), &checked.routes);
        self.pin(&mut checked.routes).await?;
        self.parties = checked.parties.clone();
        let routes = Arc::clone(&checked.routes);
        self.swap(checked);
        self.taking.follow(&routes, &changes.removed);
        self.retire(&changes.removed).await;
        self.taking.follow(&routes, &[]);
        let warnings = said.iter().filter(|said| said.severity != Severity::Error);
        let warnings = warnings.map(|said| format!("{} {}", said.code, said.title)).collect();
        Ok(Reloaded { changes, warnings })
    }

    /// Whether nothing that is owed stands in the way; with `drain`, once it has ended.
    async fn may(&self, checked: &Checked, drain: bool) -> Result<(), ReloadError> {
        let begun = Instant::now();
        loop {
            let routes = self.engine.routes();
            let now = House { routes: &routes, parties: &self.parties };
            let then = House { routes: &checked.routes, parties: &checked.parties };
            let refusals = reload::refusals(now, then, &self.owed().await?);
            let over = refusals.is_empty() || !drain || begun.elapsed() > DRAIN_WITHIN;
            // What is drained takes nothing new; nor does it once it is: it is about to go.
            if !refusals.is_empty() {
                let closed = refusals.iter().map(Refusal::subscriber).collect();
                self.desk.room.close(if over { BTreeSet::new() } else { closed });
            }
            match (refusals.is_empty(), over) {
                (true, _) => return Ok(()),
                (false, true) => return Err(ReloadError::Refused(refusals)),
                (false, false) => sleep(LOOK).await,
            }
        }
    }

    /// Open, parked and uncertain deliveries by subscriber.
    async fn owed(&self) -> Result<BTreeMap<String, u64>, ReadError> {
        let mut owed = BTreeMap::new();
        for total in self.ledger.delivery_totals().await? {
            let waits = [Bucket::Open, Bucket::Parked, Bucket::Uncertain];
            if waits.iter().any(|bucket| bucket.word() == total.bucket) {
                *owed.entry(total.name.to_string()).or_default() +=
                    u64::try_from(total.n).unwrap_or(0);
            }
        }
        Ok(owed)
    }

    /// Writes the new versions, and takes with them every version that something may be pinned to: those
    /// of open rows, and those that run now, by which a row may come into being this moment.
    async fn pin(&self, routes: &mut Arc<Routes>) -> Result<(), ReloadError> {
        let routes = Arc::make_mut(routes);
        pin(&*self.ledger, routes).await?;
        for old in self.engine.routes().iter() {
            routes.add_old_version(Arc::clone(old));
        }
        Ok(())
    }

    fn swap(&self, checked: Checked) {
        self.metrics.name(&labels(&checked));
        let Checked { schemas, instances, routes, parties, .. } = checked;
        self.broker.follow(&parties);
        self.engine.swap(Arc::clone(&routes), instances);
        self.desk.swap(Admits::of(schemas, &parties, &self.settings));
        self.desk.room.close(BTreeSet::new());
    }

    /// What was accepted while the routes were swapped may still be for one that is gone: its queue is
    /// consumed until that has ended.
    async fn retire(&self, removed: &[String]) {
        let begun = Instant::now();
        while begun.elapsed() < RETIRED_WITHIN {
            let owed = self.owed().await.unwrap_or_default();
            if !removed.iter().any(|route| owed.get(route).is_some_and(|owed| *owed > 0)) {
                return;
            }
            sleep(LOOK).await;
        }
        tracing::warn!(?removed, "a route that is gone still owes deliveries; put it back");
    }
}

fn text(said: &[Diagnostic]) -> String {
    render_text(said).trim_end().to_owned()
}
