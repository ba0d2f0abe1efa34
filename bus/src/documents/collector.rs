//! The collector: documents that nobody cited in time go, and files to which nothing refers any more.
//!
//! Invariant: a file goes only when nothing has referred to it for 24 hours, by the ledger's clock, and only
//! while its row says that it is going.

use std::{sync::Arc, time::Duration};

use super::Store;
use crate::{
    clock::Clock,
    ledger::{CommitError, Ledger},
};

/// Rows and files of one turn at most.
const AT_ONCE: u32 = 500;
/// Between turns that found nothing.
const EVERY: Duration = Duration::from_mins(1);

/// The loop that collects.
#[expect(missing_debug_implementations, reason = "the parts are behind traits")]
pub struct Collector {
    store: Store,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    /// When it found nothing.
    rested_at: Option<Duration>,
}

impl Collector {
    /// Of a store and the ledger that knows its files.
    pub fn new(store: Store, ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> Self {
        Self { store, ledger, clock, rested_at: None }
    }

    /// One turn; how many documents and files went.
    pub async fn step(&mut self) -> Result<u64, CommitError> {
        let uptime = self.clock.uptime();
        if self.rested_at.is_some_and(|rested| uptime < rested + EVERY) {
            return Ok(0);
        }
        let Some(rows) = self.ledger.documents() else { return Ok(0) };
        let now = self.clock.now();
        let mut went = rows.forget(now, AT_ONCE).await?;
        let mut gone = Vec::new();
        for file in rows.doom(now, AT_ONCE).await? {
            match self.store.remove(file).await {
                Ok(()) => gone.push(file),
                // It stays doomed, and the next turn tries again.
                Err(error) => tracing::warn!(%error, "SN0732 a document's file cannot be removed"),
            }
        }
        if !gone.is_empty() {
            rows.gone(&gone).await?;
            went += gone.len() as u64;
        }
        if went == 0 {
            self.rested_at = Some(uptime);
        }
        Ok(went)
    }
}
