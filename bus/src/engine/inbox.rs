//! What a party fetches: its deliveries wait as `queued`, are never published, and end by its own ack.
//!
//! Invariant: giving changes nothing; an ack completes a row of the party that asks, in the round in
//! which it was looked at, and is answered after the commit.

use std::collections::{BTreeMap, BTreeSet};

use snodo_core::{
    ids::DeliveryId,
    inbox::{Acked, fitting},
    message_state::DeliveryState,
};

use super::Engine;
use crate::ledger::{Action, CommitError, Outcome, Queued, ReadError, Row, Subscriber};

/// Why an ack was not answered; to ask again changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum AckError {
    /// The rows could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They could not be written, or nobody knows whether they were.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Engine {
    /// What waits for a party that fetches, oldest first: at most so many, and no more than fits into an
    /// answer. What this process, or another, publishes at this moment (the party had a queue until a
    /// reload) is left out until that is over.
    pub async fn fetchable(&self, subscriber: &str, most: u32) -> Result<Vec<Queued>, ReadError> {
        let reading = self.holds.reading();
        let (me, now) = (self.incarnation(), self.clock.now());
        let mut keys = self.ledger.fetchable(me, subscriber, now, most).await?;
        keys.retain(|(key, _)| !self.holds.holds(&(key.id, key.round)));
        let fits = fitting(keys.iter().map(|(_, bytes)| *bytes));
        let seqs: Vec<i64> = keys[..fits].iter().map(|(key, _)| key.seq).collect();
        let given = if seqs.is_empty() { Vec::new() } else { self.ledger.queued(&seqs).await? };
        drop(reading);
        self.with_bodies(given).await
    }

    /// The same, each with its body: what is large is not carried by a broker, but an answer holds it.
    async fn with_bodies(&self, mut given: Vec<Queued>) -> Result<Vec<Queued>, ReadError> {
        for row in given.iter_mut().filter(|row| row.message.is_claim()) {
            if let Some(message) = self.ledger.message(row.message.envelope.id).await? {
                row.message = message;
            }
        }
        Ok(given)
    }

    /// Completes those of these deliveries that wait for the party; what became of each, in their order.
    pub async fn collect(
        &self,
        subscriber: &Subscriber,
        ids: &[DeliveryId],
    ) -> Result<Vec<Acked>, AckError> {
        let ids_once: Vec<DeliveryId> =
            ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let mut rows = self.rows_of(subscriber, &ids_once).await?;
        let waiting: Vec<&Row> =
            rows.values().filter(|row| row.state == DeliveryState::Queued).collect();
        if !waiting.is_empty() {
            let actions = waiting.into_iter().map(collected).collect();
            let outcomes = self.write.submit(actions).await?;
            if let Some(Outcome::Failed(why)) =
                outcomes.into_iter().find(|outcome| matches!(outcome, Outcome::Failed(_)))
            {
                return Err(CommitError::NotCommitted(why).into());
            }
            // Some may have been acknowledged, or taken up, by somebody else in between.
            rows = self.rows_of(subscriber, &ids_once).await?;
        }
        Ok(ids.iter().map(|id| Acked::of(rows.get(id).map(|row| row.state))).collect())
    }

    /// The rows among these that the subscriber is owed.
    async fn rows_of(
        &self,
        subscriber: &Subscriber,
        ids: &[DeliveryId],
    ) -> Result<BTreeMap<DeliveryId, Row>, ReadError> {
        let rows = self.ledger.rows_by_id(ids).await?;
        let own = rows.into_iter().filter(|row| row.subscriber == *subscriber);
        Ok(own.map(|row| (row.id, row)).collect())
    }
}

fn collected(row: &Row) -> Action {
    let (seq, id, round) = (row.seq, row.id, row.round);
    Action::Collect { seq, id, round, subscriber: Subscriber::clone(&row.subscriber) }
}
