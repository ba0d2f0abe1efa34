//! What lies where it should not: copies that no queue took, poisoned ones, strangers.
//!
//! Invariant: what is drained is in the ledger before it is acknowledged; an unknown id is kept as a
//! stray with its body, never executed and never dropped.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::{Engine, fast::owes};
use crate::{
    broker::{Copy, Foreign, Received, Settlement},
    faults,
    ledger::{Action, CommitError, Outcome, Row, Stray, Subscriber},
};

/// How long an unrouted delivery waits: its queue is being declared, or somebody is called.
const UNROUTED_WAIT: Duration = Duration::from_secs(10);

impl Engine {
    /// Puts a copy that no queue took back into the ledger.
    pub async fn drain_unrouted(&self, received: Received) -> Settlement {
        let at = self.clock.now().after(UNROUTED_WAIT);
        let action = |copy: &Copy| {
            let Copy { delivery: id, seq, round, .. } = *copy;
            Action::DrainUnrouted { id, seq, round, at }
        };
        self.drain(received, "unrouted", action).await
    }

    /// Puts a copy that came back too often into the ledger again, as a suspect.
    pub async fn drain_poison(&self, received: Received) -> Settlement {
        let action = |copy: &Copy| {
            let Copy { delivery: id, seq, round, .. } = *copy;
            Action::DrainPoison { id, seq, round }
        };
        self.drain(received, "poison", action).await
    }

    async fn drain(
        &self,
        received: Received,
        what: &'static str,
        action: impl Fn(&Copy) -> Action + Send,
    ) -> Settlement {
        let copy = match received {
            Received::Copy { copy, .. } => copy,
            Received::Unreadable(foreign) => return self.stray(foreign).await,
        };
        if faults::off(if what == "poison" { "poison-without-row" } else { "unrouted-dropped" }) {
            return Settlement::Ack;
        }
        let settlement = match self.submit_one(action(&copy)).await {
            Ok(Outcome::Unknown) => self.stray_copy(&copy, what).await,
            Ok(_) => Settlement::Ack,
            // Guarded by the round: to do it again does no harm.
            Err(_) => Settlement::Return,
        };
        if settlement == Settlement::Ack {
            self.observer.moved(what, 1);
        }
        settlement
    }

    /// Keeps a message that is not one of ours, as it is.
    pub async fn stray(&self, foreign: Foreign) -> Settlement {
        let Foreign { queue, headers, body } = foreign;
        self.keep_stray(Stray { id: None, queue, headers, body }).await
    }

    /// No row matched a copy: another round has custody, or no row has its sequence and id. A row of its
    /// id under another sequence was written by a ledger that has forgotten this copy, and has a copy of
    /// its own: this one is kept as a stray, its content may be another.
    pub(super) async fn missed(&self, copy: &Copy) -> Settlement {
        match self.ledger.row(copy.seq).await {
            // Two copies of it were in one group, and only the first was tried.
            Ok(Some(row)) if is_of(&row, copy) && owes(&row, copy) => Settlement::Return,
            Ok(Some(row)) if is_of(&row, copy) => {
                self.observer.suppressed(&row.subscriber);
                Settlement::Ack
            }
            Ok(_) => self.stray_copy(copy, &self.route_name(copy)).await,
            Err(_) => Settlement::Return,
        }
    }

    async fn stray_copy(&self, copy: &Copy, queue: &str) -> Settlement {
        let headers = json!({
            "delivery": copy.delivery,
            "seq": copy.seq,
            "round": copy.round,
            "route_digest": copy.route_digest,
            "envelope": copy.message.envelope,
        });
        let (id, body) = (Some(copy.delivery), copy.message.data.clone());
        self.keep_stray(Stray { id, queue: queue.to_owned(), headers, body }).await
    }

    async fn keep_stray(&self, stray: Stray) -> Settlement {
        match self.submit_one(Action::Stray(Box::new(stray))).await {
            Ok(_) => {
                self.observer.moved("stray", 1);
                Settlement::Ack
            }
            Err(_) => Settlement::Return,
        }
    }

    /// Submits one action; the outcome is the only one.
    pub(super) async fn submit_one(&self, action: Action) -> Result<Outcome, CommitError> {
        let mut outcomes = self.write.submit(vec![action]).await?;
        outcomes.pop().ok_or_else(|| CommitError::Unclear("no outcome was reported".to_owned()))
    }

    /// The name of the route to whose version a copy is pinned; "" where this process does not know.
    pub(super) fn route_name(&self, copy: &Copy) -> Subscriber {
        let routes = self.routes();
        routes.version(&copy.route_digest).map_or("", |route| route.name.as_str()).into()
    }

    /// Notes that a copy has come in: what was published a minute before it has come in or is lost.
    pub(super) fn arrived(&self, copy: &Copy) {
        let published = copy.message.envelope.id.root_millis();
        let routes = self.routes();
        if let Some(route) = routes.version(&copy.route_digest) {
            let mut arrivals = super::locked(&self.arrivals);
            if !arrivals.contains_key(route.name.as_str()) {
                arrivals.insert(route.name.as_str().into(), BTreeMap::new());
            }
            if let Some(queues) = arrivals.get_mut(route.name.as_str()) {
                let last = queues.entry(copy.shard).or_default();
                *last = published.max(*last);
            }
        }
    }

    /// Notes that a copy has left its queue for good.
    pub(super) fn left_broker(&self, copy: &Copy, settlement: Settlement) {
        if settlement == Settlement::Ack {
            let routes = self.routes();
            if let Some(route) = routes.version(&copy.route_digest) {
                self.depths.add(&route.name, -1);
            }
        }
    }
}

/// Whether a row is the one that a copy was made of. A round has one version.
pub(super) fn is_of(row: &Row, copy: &Copy) -> bool {
    let version = row.round != copy.round || row.route_digest == copy.route_digest;
    row.seq == copy.seq && row.id == copy.delivery && version
}
