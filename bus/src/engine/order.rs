//! Order: to which key a delivery belongs, where its copies go, and who is woken behind it.
//!
//! Invariant: the order is the ledger's: a claim that finds an earlier open delivery of its key goes
//! behind it. Who wakes those behind is not relied upon: the sweeper looks for them by itself.

use snodo_core::{
    envelope::Message,
    ids::Digest,
    route::{Place, Routes},
};

use super::{Engine, sweep::SweepError};
use crate::ledger::{Action, Outcome, Turn};

/// Deliveries that are woken at once.
const AT_ONCE: u32 = 500;

/// The place of a message among the deliveries of the version to which one of them is pinned. None too
/// where its key cannot be worked out: then it belongs to no order, and is parked when it runs.
pub(super) fn place(routes: &Routes, version: &Digest, message: &Message) -> Option<Place> {
    routes.version(version)?.place(message).ok()?
}

impl Engine {
    /// The queue of a key, where the route that is called so now keeps an order; the first one for what
    /// has no key.
    pub(super) fn shard(&self, subscriber: &str, key: Option<Digest>) -> Option<u16> {
        let routes = self.routes();
        let order = routes.get(subscriber)?.order.as_ref()?;
        Some(key.map_or(0, |key| order.shard_of(&key)))
    }

    /// Wakes what waited behind a delivery of this key, now that it has left its place, and publishes it.
    pub(super) async fn wake_behind(&self, subscriber: &str, turn: Turn) {
        // What is not woken here, the sweeper wakes.
        let _ = self.wake(Some((subscriber, turn.key))).await;
    }

    /// Wakes what nothing holds any more, of one key or of all, and publishes it; how many.
    pub(super) async fn wake(&self, of: Option<(&str, Digest)>) -> Result<u64, SweepError> {
        let seqs = self.ledger.to_wake(of, AT_ONCE).await?;
        if seqs.is_empty() {
            return Ok(0);
        }
        let actions = seqs.iter().map(|seq| Action::Wake { seq: *seq }).collect();
        let outcomes = self.write.submit(actions).await?;
        let woken = seqs.iter().zip(outcomes);
        let woken: Vec<i64> = woken
            .filter(|(_, outcome)| matches!(outcome, Outcome::Matched))
            .map(|(seq, _)| *seq)
            .collect();
        let rows = woken.len() as u64;
        if rows > 0 {
            self.observer.moved("wake", rows);
            // Where there is no room for them, the feeder finds them.
            let _ = self.take_up(&woken).await;
        }
        Ok(rows)
    }
}
