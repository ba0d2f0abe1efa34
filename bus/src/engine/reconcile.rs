//! The reconciler: finds deliveries that the ledger believes to be with the broker and that are not.
//!
//! Invariant: it acts on proof (`snodo_core::reconcile`), and a false alarm is harmless by the round.

use std::{collections::BTreeMap, sync::Arc};

use snodo_core::{
    reconcile::{Evidence, is_lost},
    timestamp::Timestamp,
};

use super::{Engine, locked};
use crate::{
    faults,
    ledger::{Action, InBroker, Outcome, ReadError, Subscriber},
};

/// How many deliveries are put back in one step; the pace of steps bounds the rate.
const AT_ONCE: u32 = 500;

/// What the broker said of one route's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The route.
    pub subscriber: Subscriber,
    /// Which of its queues, where it keeps an order.
    pub shard: Option<u16>,
    /// When the question was put, before the answer was on its way.
    pub asked_at: Timestamp,
    /// Ready and unacknowledged.
    pub copies: i64,
}

/// The loop that compares the ledger with the broker.
#[derive(Debug)]
pub struct Reconciler {
    engine: Arc<Engine>,
}

impl Reconciler {
    /// The reconciler of `engine`.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Looks once at the queues of `samples`; returns how many deliveries it put back.
    pub async fn step(&mut self, samples: &[Sample]) -> Result<u64, ReadError> {
        let mut put_back = 0;
        let mut copies: BTreeMap<&Subscriber, i64> = BTreeMap::new();
        for sample in samples {
            *copies.entry(&sample.subscriber).or_default() += sample.copies;
        }
        for (subscriber, copies) in copies {
            self.engine.depths.set(subscriber, copies);
        }
        for sample in samples {
            if !faults::off("no-reconciler") {
                put_back += self.look(sample).await?;
            }
        }
        Ok(put_back)
    }

    async fn look(&self, sample: &Sample) -> Result<u64, ReadError> {
        let evidence = self.evidence(sample);
        if evidence == Evidence::default() && !faults::off("reconcile-by-age") {
            return Ok(0);
        }
        let lost = self.lost(sample, &evidence).await?;
        if lost.is_empty() {
            return Ok(0);
        }
        let Ok(outcomes) = self.engine.write.submit(lost).await else { return Ok(0) };
        let rows = rows_put_back(&outcomes);
        if rows > 0 {
            self.engine.observer.moved("reconcile", rows);
        }
        Ok(rows)
    }

    /// Those of its queue that the evidence says are lost. Rows of the other shards lie between them, so
    /// pages are read until there are enough, or no more.
    async fn lost(&self, sample: &Sample, evidence: &Evidence) -> Result<Vec<Action>, ReadError> {
        let (mut after, mut lost) = (0, Vec::new());
        loop {
            let rows = self.engine.ledger.in_broker(&sample.subscriber, after, AT_ONCE).await?;
            let here = rows
                .iter()
                .filter(|row| self.engine.shard(&row.subscriber, row.key) == sample.shard);
            lost.extend(here.filter_map(|row| put_back(row, evidence)));
            match rows.last() {
                Some(last) if sample.shard.is_some() && lost.len() < AT_ONCE as usize => {
                    after = last.seq;
                }
                _ => return Ok(lost),
            }
        }
    }

    /// An accepted message's id holds its accept time, and it was published after that; so did what it
    /// gave rise to.
    fn evidence(&self, sample: &Sample) -> Evidence {
        let arrivals = locked(&self.engine.arrivals);
        let queues = arrivals.get(&*sample.subscriber);
        let arrived = queues.and_then(|queues| queues.get(&sample.shard)).copied();
        Evidence {
            empty_at: (sample.copies == 0).then_some(sample.asked_at),
            arrived_from: arrived.and_then(|millis| i64::try_from(millis).ok()).map(Timestamp),
        }
    }
}

/// A copy that had come in by then, and whose claim or settle was in the writer's queue before this, was
/// not lost: its row did not match.
fn rows_put_back(outcomes: &[Outcome]) -> u64 {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Matched)).count() as u64
}

fn put_back(row: &InBroker, evidence: &Evidence) -> Option<Action> {
    let lost = is_lost(row.marked_at, evidence) || faults::off("reconcile-by-age");
    lost.then_some(Action::Reconcile { seq: row.seq, round: row.round })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_had_moved_on_by_then_was_not_lost() {
        assert_eq!(rows_put_back(&[Outcome::Missed, Outcome::Matched, Outcome::Missed]), 1);
        assert_eq!(rows_put_back(&[Outcome::Missed]), 0);
    }
}
