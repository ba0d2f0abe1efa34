//! What runs after everything else: retention, and the comparison of the totals with the rows.
//!
//! Invariant: neither takes more than a part of the ledger's time, however much there is to do.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use snodo_core::timestamp::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Bus;
use crate::{
    clock::Clock,
    engine::retention::Retention,
    ledger::{Ledger, compare::Comparison, writer::GroupWriter},
    metrics::Metrics,
};

/// Between looks where nothing was to be forgotten, and after a failure.
const IDLE: Duration = Duration::from_mins(1);
/// A turn waits so long for a moment in which nobody else writes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between looks for such a moment.
const LOOK: Duration = Duration::from_millis(20);
/// After a turn retention rests so many times as long as the turn took.
const REST: u32 = 4;
/// The first comparison comes so long after the start, the next ones so long after each other.
const FIRST: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_hours(1);

/// What the last comparison of totals and rows found.
#[derive(Debug, Default)]
pub struct Agreement(Mutex<Seen>);

/// One comparison, and when they last agreed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When they were compared.
    pub compared_at: Option<Timestamp>,
    /// When they last agreed.
    pub agreed_at: Option<Timestamp>,
    /// What was found.
    pub comparison: Comparison,
}

impl Agreement {
    /// What was found last.
    pub fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what was found at `now`.
    pub fn note(&self, comparison: Comparison, now: Timestamp) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.compared_at = Some(now);
        if comparison.differences.is_empty() {
            seen.agreed_at = Some(now);
        }
        seen.comparison = comparison;
    }
}

/// Spawns both.
pub(super) fn spawn(bus: &Bus) {
    let kept = bus.settings.retention;
    let retention = Retention::new(Arc::clone(&bus.engine), kept.bodies, kept.metadata);
    let (writer, metrics) = (Arc::clone(&bus.writer), Arc::clone(&bus.metrics));
    bus.tasks.spawn(forget(retention, writer, metrics, bus.stop_taking.clone()));
    bus.tasks.spawn(compare(
        Arc::clone(&bus.ledger),
        Arc::clone(&bus.clock),
        Arc::clone(&bus.metrics),
        Arc::clone(&bus.agreement),
        bus.stop_taking.clone(),
    ));
}

async fn forget(
    mut retention: Retention,
    writer: Arc<GroupWriter>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut pause = Duration::ZERO;
    while stop.run_until_cancelled(sleep(pause)).await.is_some() {
        if stop.run_until_cancelled(quiet(&writer)).await.is_none() {
            return;
        }
        let begun = Instant::now();
        pause = match retention.step().await {
            Ok(0) => IDLE,
            Ok(_) => begun.elapsed() * REST,
            Err(error) => {
                tracing::warn!(%error, "SN0899: a turn of retention did not get through");
                IDLE
            }
        };
        if let Ok(behind) = retention.behind().await {
            metrics.forget_behind(behind);
        }
    }
}

/// Until nobody waits for the writer; not for ever.
async fn quiet(writer: &GroupWriter) {
    let begun = Instant::now();
    while writer.stats().waiting.load(Relaxed) > 0 && begun.elapsed() < PATIENCE {
        sleep(LOOK).await;
    }
}

async fn compare(
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    agreement: Arc<Agreement>,
    stop: CancellationToken,
) {
    let mut pause = FIRST;
    while stop.run_until_cancelled(sleep(pause)).await.is_some() {
        let Some(compared) = stop.run_until_cancelled(ledger.compare()).await else { return };
        pause = EVERY;
        match compared {
            Ok(comparison) => {
                metrics.compared(&comparison, clock.now());
                if !comparison.differences.is_empty() {
                    let by = comparison.by();
                    tracing::error!(by, "SN0897: the totals differ from the rows");
                }
                agreement.note(comparison, clock.now());
            }
            Err(error) => tracing::warn!(%error, "SN0898: the totals were not compared"),
        }
    }
}
