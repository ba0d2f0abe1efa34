//! Retention: what may be kept no longer goes, in turns, after everything else.
//!
//! Invariant: what goes is decided by `snodo_core::retention` and guarded by the ledger; a turn takes at
//! most so many rows, and one that did not get through changes nothing.

use std::{sync::Arc, time::Duration};

use snodo_core::{
    retention::{Keep, next},
    timestamp::Timestamp,
};

use super::{Engine, sweep::SweepError};
use crate::ledger::{Action, Forget, Outcome, ReadError};

/// Rows that one turn removes at most, but for a single message that has more.
const ROWS: usize = 500;
/// Messages that one turn looks at.
const MESSAGES: u32 = 200;
/// Keys of orders that one turn looks at.
const KEYS: u32 = 500;
/// Between looks at what belongs to no message, where the last turn took all that was due of it.
const REST: Duration = Duration::from_hours(1);

/// The loop that forgets.
#[derive(Debug)]
pub struct Retention {
    engine: Arc<Engine>,
    /// What the configuration says; the purposes are added to it.
    bodies: Duration,
    metadata: Duration,
    rested_at: Option<Duration>,
}

impl Retention {
    /// The retention of `engine`: bodies and metadata are kept so long where no purpose says longer.
    pub fn new(engine: Arc<Engine>, bodies: Duration, metadata: Duration) -> Self {
        Self { engine, bodies, metadata, rested_at: None }
    }

    /// One turn; returns how much it found to do: messages that it looked at, and 1 where more of the rest
    /// is due at once.
    pub async fn step(&mut self) -> Result<u64, SweepError> {
        let (keep, now) = (self.keep(), self.engine.clock.now());
        let mut turn = self.messages(&keep, now).await?;
        let looked = turn.messages.len() as u64;
        let rest = self.rest(&mut turn, now).await?;
        if looked == 0 && !rest {
            return Ok(0);
        }
        let outcomes = self.engine.write.submit(vec![Action::Forget(Box::new(turn))]).await?;
        let Some(Outcome::Forgotten(rows)) = outcomes.first() else { return Ok(looked) };
        self.engine.observer.forgot(rows);
        if rest && !rows.is_full() {
            self.rested_at = Some(self.engine.clock.uptime());
        }
        Ok(looked + u64::from(rows.is_full()))
    }

    /// For how long the message that has waited longest to be looked at has waited.
    pub async fn behind(&self) -> Result<Duration, ReadError> {
        let due = self.engine.ledger.look_due().await?;
        Ok(due.map_or(Duration::ZERO, |due| self.engine.clock.now().since(due)))
    }

    /// By the purposes of the routes that run now.
    fn keep(&self) -> Keep {
        let routes = self.engine.routes();
        let of = routes
            .iter()
            .filter_map(|route| Some((route.name.clone(), routes.purpose_of(route)?.retention)));
        Keep { bodies: self.bodies, metadata: self.metadata, of: of.collect() }
    }

    async fn messages(&self, keep: &Keep, now: Timestamp) -> Result<Forget, ReadError> {
        let kept = self.engine.ledger.kept(now, keep.looks_before(now), MESSAGES).await?;
        let (mut turn, mut rows) = (Forget::default(), 0);
        for one in kept {
            rows += one.rows();
            if rows > ROWS && !turn.messages.is_empty() {
                break;
            }
            turn.messages.push((one.seq, next(&one, keep, now)));
            if one.is_new {
                turn.walked = Some(one.seq);
            }
        }
        Ok(turn)
    }

    /// Adds what belongs to no message, if it is time for it.
    async fn rest(&self, turn: &mut Forget, now: Timestamp) -> Result<bool, ReadError> {
        let uptime = self.engine.clock.uptime();
        if self.rested_at.is_some_and(|rested| uptime < rested + REST) {
            return Ok(false);
        }
        let before = now.before(self.metadata);
        turn.rest_before = Some(before);
        turn.keys = self.engine.ledger.idle_keys(before, KEYS).await?;
        turn.running = self.engine.routes().versions().collect();
        Ok(true)
    }
}
