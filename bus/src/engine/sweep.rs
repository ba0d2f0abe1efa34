//! The sweeper: what is due, and what tasks of this process left behind.
//!
//! Invariant: a claim is given back only when no task of this process holds its fence any more; the
//! rows are read before the tasks are asked, so that a task which is just beginning is seen.

use std::{sync::Arc, time::Duration};

use super::Engine;
use crate::{
    faults,
    ledger::{Action, CommitError, Outcome, ReadError},
};

/// Rows that one sweep moves at most.
const AT_ONCE: u32 = 500;
/// Between looks at everything that is behind.
const WAKE: Duration = Duration::from_secs(1);

/// The loop that moves rows whose time has come.
#[derive(Debug)]
pub struct Sweeper {
    engine: Arc<Engine>,
    expires: bool,
    /// When it last looked for what nothing holds behind any more.
    woke_at: Option<Duration>,
}

/// Why a sweep did not get through; the next one tries again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SweepError {
    /// The ledger could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger did not commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Sweeper {
    /// The sweeper of `engine`. With `expires`, claims of other processes end with their lease
    /// (PostgreSQL; on SQLite there are no others).
    pub fn new(engine: Arc<Engine>, expires: bool) -> Self {
        Self { engine, expires, woke_at: None }
    }

    /// Sweeps once; returns how many rows it moved.
    pub async fn step(&mut self) -> Result<u64, SweepError> {
        let given_back = self.give_back().await?;
        let ended = self.own_ends().await?;
        let mut timed = vec![Action::Due { limit: AT_ONCE }];
        if self.expires {
            let by = self.engine.incarnation();
            timed.push(Action::Expire { by, limit: AT_ONCE });
        }
        let woken = self.wake().await?;
        Ok(given_back + ended + woken + self.submit(timed, &["due", "expire"]).await?)
    }

    /// What is behind and held by nothing any more: whoever ended before it wakes it, unless it ended
    /// with its process, or a person put it away.
    async fn wake(&mut self) -> Result<u64, SweepError> {
        let uptime = self.engine.clock.uptime();
        if self.woke_at.is_some_and(|woke| uptime < woke + WAKE) || faults::off("wake-by-event") {
            return Ok(0);
        }
        self.woke_at = Some(uptime);
        self.engine.wake(None).await
    }

    /// Claims of this process whose task has ended without a verdict.
    async fn give_back(&self) -> Result<u64, SweepError> {
        let engine = &self.engine;
        let claims = engine.ledger.claims_of(engine.incarnation()).await?;
        let actions = claims
            .into_iter()
            .filter(|(_, fence)| !engine.live.contains(*fence))
            .filter(|_| !faults::off("claim-kept-by-a-dead-task"))
            .map(|(seq, fence)| Action::GiveBack { seq, fence })
            .collect();
        self.submit(actions, &["give_back"]).await
    }

    /// Intents of tasks of this process that have ended after they lost their claim.
    async fn own_ends(&self) -> Result<u64, SweepError> {
        let engine = &self.engine;
        let intents = engine.ledger.intents_of(engine.incarnation()).await?;
        let actions = intents
            .into_iter()
            .filter(|(_, _, fence)| !engine.live.contains(*fence))
            .filter(|_| !faults::off("zombie-never-ends"))
            .map(|(seq, step, fence)| Action::OwnEnd { seq, step, fence })
            .collect();
        self.submit(actions, &["own_end"]).await
    }

    async fn submit(
        &self,
        actions: Vec<Action>,
        names: &[&'static str],
    ) -> Result<u64, SweepError> {
        if actions.is_empty() {
            return Ok(0);
        }
        let outcomes = self.engine.write.submit(actions).await?;
        let mut all = 0;
        for (place, outcome) in outcomes.iter().enumerate() {
            let rows = match outcome {
                Outcome::Moved(rows) => *rows,
                Outcome::Matched => 1,
                _ => 0,
            };
            if rows > 0 {
                let name = names[place.min(names.len() - 1)];
                self.engine.observer.moved(name, rows);
            }
            all += rows;
        }
        Ok(all)
    }
}
