//! Breakers: targets that are away are written down for every process, asked now and then, and their
//! routes let go once they are back.
//!
//! Invariant: one process at a time asks a target, whoever moved its line's time on; a target is back
//! only when it answered a probe and, where something waits for it, a delivery.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use snodo_core::breaker::{Seen, next_probe};

use super::{Engine, sweep::SweepError};
use crate::{
    broker::Copy,
    ledger::{ReadError, TargetAway},
};

/// Between looks at the lines.
const LOOK: Duration = Duration::from_secs(1);
/// A probe is over by then.
const DEADLINE: Duration = Duration::from_secs(5);
/// Deliveries that are tried until one of them has called.
const TRIES: usize = 3;

/// The loop that opens and closes breakers.
#[derive(Debug)]
pub struct Breakers {
    engine: Arc<Engine>,
    looked_at: Option<Duration>,
}

impl Breakers {
    /// The breakers of `engine`. One loop per process.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, looked_at: None }
    }

    /// Looks once, at most every second: writes what this process has seen, reads what all have, asks
    /// the targets whose time it is.
    pub async fn step(&mut self) -> Result<u64, SweepError> {
        let engine = &self.engine;
        let uptime = engine.clock.uptime();
        if self.looked_at.is_some_and(|looked| uptime < looked + LOOK) {
            return Ok(0);
        }
        self.looked_at = Some(uptime);
        for line in engine.targets.unwritten() {
            engine.ledger.put_target_away(&line).await?;
        }
        let lines = engine.heed_lines().await?;
        let now = engine.clock.now();
        let due = lines.iter().filter(|line| line.probe_at <= now);
        let back = join_all(due.map(|line| engine.ask(line))).await;
        let back = back.into_iter().collect::<Result<Vec<bool>, _>>()?;
        if back.contains(&true) {
            engine.heed_lines().await?;
        }
        Ok(0)
    }
}

impl Engine {
    /// Does what the lines in the ledger say.
    async fn heed_lines(&self) -> Result<Vec<TargetAway>, ReadError> {
        let lines = self.ledger.targets_away().await?;
        let changes = self.targets.set(&lines, self.clock.uptime());
        for (instance, away) in &changes {
            let line = lines.iter().find(|line| line.instance == *instance);
            self.observer.target(instance, *away, line.map_or("", |line| &line.code));
        }
        if changes.iter().any(|(_, away)| !away) {
            // Rows that were named to this process before the outage are looked for too.
            self.holds.say_left();
        }
        Ok(lines)
    }

    /// Asks a target whether it is back, where it is this process's turn; true where it is.
    async fn ask(&self, line: &TargetAway) -> Result<bool, SweepError> {
        let now = self.clock.now();
        if !self.ledger.take_probe(&line.instance, now, next_probe(line.since, now)).await? {
            return Ok(false);
        }
        if !self.answers(line).await? {
            return Ok(false);
        }
        let callers = self.targets.callers(&line.instance);
        self.ledger.end_target_away(line, self.clock.now(), &callers).await?;
        Ok(true)
    }

    /// An instance that is not configured any more is nobody's trouble.
    async fn answers(&self, line: &TargetAway) -> Result<bool, ReadError> {
        let Some(port) = self.port(&line.instance) else { return Ok(true) };
        let probed = self.in_time(DEADLINE, port.probe()).await;
        if !matches!(probed, Some(Ok(()))) {
            return Ok(false);
        }
        for copy in self.first_that_wait(&line.instance).await? {
            let id = copy.delivery;
            self.targets.try_with(id);
            self.carry_by_hand(&copy).await;
            match self.targets.tried(id) {
                Some(Seen::Failed | Seen::Unanswered) => return Ok(false),
                Some(Seen::Answered) => return Ok(true),
                // Filtered, behind another, or at a step before.
                Some(Seen::Nothing) | None => {}
            }
        }
        Ok(true)
    }

    /// The oldest deliveries that wait for an instance, as copies.
    async fn first_that_wait(&self, instance: &str) -> Result<Vec<Copy>, ReadError> {
        let (me, now) = (Some(self.incarnation()), self.clock.now());
        let mut seqs = Vec::new();
        for route in self.targets.callers(instance) {
            let keys = self.ledger.queued_keys(me, &route, now, 0, 1).await?;
            seqs.extend(keys.iter().map(|key| key.seq));
        }
        seqs.sort_unstable();
        seqs.truncate(TRIES);
        let rows = self.ledger.queued(&seqs).await?;
        Ok(rows.iter().map(|row| self.copy_of(row)).collect())
    }
}
