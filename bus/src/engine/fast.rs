//! The fast path: a route that only maps and emits needs no claim.
//!
//! Invariant: map → one commit (the settle and, for settles that matched, what they emit) → ack and
//! publish. A batch is one submit, unless it emits very many; one bad copy in it is that copy's own
//! verdict.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::Map;
use snodo_core::{
    fault::Fault,
    retry::RetryPolicy,
    route::{Route, Routes},
    template::Scope,
};

use super::{
    Engine,
    drain::is_of,
    emission::Prepared,
    fault::{During, Past, judge, panicked, unknown_version},
};
use crate::{
    broker::{Copy, Settlement},
    faults::{self, CrashPoint},
    ledger::{Action, CommitError, Outcome, Row},
};

/// What mapping gave: nothing, for a message that the route does not take.
enum Mapped {
    Filtered,
    Emits(Vec<Prepared>),
}

/// One copy, mapped: the action, and what is published if it holds; none for what is filtered.
struct Planned {
    action: Action,
    prepared: Option<Vec<Prepared>>,
}

/// Messages that the copies of one commit emit beyond one each: who emits more is alone in its commit,
/// and what comes after it is mapped when that is written.
const TOGETHER: usize = 500;

impl Planned {
    fn beyond_one(&self) -> usize {
        self.prepared.as_ref().map_or(0, |prepared| prepared.len().saturating_sub(1))
    }
}

impl Engine {
    /// Carries copies of [`Lane::Fast`](super::Lane::Fast); a settlement for each, in their order.
    pub async fn fast_batch(&self, copies: &[Copy]) -> Vec<Settlement> {
        faults::crash(CrashPoint::Cp9);
        let _leave = self.gate.enter(false).await;
        let begun = self.clock.uptime();
        let routes = self.routes();
        for copy in copies {
            self.arrived(copy);
        }
        let mut settlements = Vec::with_capacity(copies.len());
        let mut next = None;
        while settlements.len() < copies.len() {
            let rest = &copies[settlements.len()..];
            let (group, after) = self.plan_group(&routes, rest, next.take());
            next = after;
            settlements.extend(self.commit_group(&rest[..group.len()], group).await);
        }
        self.observer.fast(copies.len(), self.clock.uptime().saturating_sub(begun));
        settlements
    }

    /// The plans of the copies that share the next commit, and the plan of the one after them where it
    /// was made already.
    fn plan_group(
        &self,
        routes: &Routes,
        copies: &[Copy],
        mut first: Option<Planned>,
    ) -> (Vec<Planned>, Option<Planned>) {
        let (mut group, mut beyond) = (Vec::with_capacity(copies.len()), 0);
        for copy in copies {
            let planned = first.take().unwrap_or_else(|| self.plan(routes, copy));
            beyond += planned.beyond_one();
            if beyond > TOGETHER && !group.is_empty() {
                return (group, Some(planned));
            }
            group.push(planned);
        }
        (group, None)
    }

    /// Copies that share a commit.
    async fn commit_group(&self, copies: &[Copy], group: Vec<Planned>) -> Vec<Settlement> {
        let (actions, prepared) =
            group.into_iter().map(|planned| (planned.action, planned.prepared)).unzip();
        faults::crash(CrashPoint::Cp11);
        match self.write.submit(actions).await {
            Ok(outcomes) => self.settled(copies, prepared, outcomes).await,
            Err(_) if faults::off("ack-before-commit") => vec![Settlement::Ack; copies.len()],
            Err(error) => {
                drop(prepared); // the relay publishes what was written
                self.not_settled(copies, &error).await
            }
        }
    }

    fn plan(&self, routes: &Routes, copy: &Copy) -> Planned {
        let failed = |route, fault| Planned {
            action: self.fast_verdict(route, copy, fault),
            prepared: None,
        };
        let Some(route) = routes.version(&copy.route_digest) else {
            return failed(None, unknown_version());
        };
        let mapping = || self.map(routes, route, copy);
        match catch_unwind(AssertUnwindSafe(mapping)).unwrap_or_else(|_| Err(panicked())) {
            Ok(Mapped::Filtered) => {
                Planned { action: settle(route, copy, true, &[]), prepared: None }
            }
            Ok(Mapped::Emits(prepared)) => {
                let action = settle(route, copy, false, &prepared);
                Planned { action, prepared: Some(prepared) }
            }
            Err(fault) => failed(Some(route), fault),
        }
    }

    /// Pure but for the holds: admit, decide whether the route takes it, map.
    fn map(&self, routes: &Routes, route: &Arc<Route>, copy: &Copy) -> Result<Mapped, Fault> {
        let message = &*copy.message;
        faults::trip(&message.data);
        let body = route.body(&message.data)?;
        let done = Map::new();
        let scope = Scope::new(&body, &message.envelope, &done);
        if !route.applies(&scope)? {
            return Ok(Mapped::Filtered);
        }
        let mut prepared = Vec::new();
        route.each_emit(&scope, |step, emit| {
            prepared.extend(self.emissions(routes, route, (step, emit), message, &scope)?);
            Ok(())
        })?;
        Ok(Mapped::Emits(prepared))
    }

    /// The row was not read, so nothing is known of earlier faults: the ledger adds to what it has.
    fn fast_verdict(&self, route: Option<&Arc<Route>>, copy: &Copy, fault: Fault) -> Action {
        let past = Past {
            now: self.clock.now(),
            attempts: 0,
            give_up_at: None,
            jitter: self.chance.jitter(),
        };
        let policy = route.map_or_else(RetryPolicy::default, |route| route.retry);
        let (verdict, back) = judge(fault, During::Mapping, &policy, &past);
        if let Some(fault) = &back.fault {
            let name = route.map_or("", |route| &route.name);
            self.observer.fault(name, copy, fault, &verdict);
        }
        let Copy { seq, delivery: id, round, route_digest, .. } = *copy;
        Action::FastVerdict { seq, id, round, route_digest, back }
    }

    /// The group is durable: publish what was created, ack.
    async fn settled(
        &self,
        copies: &[Copy],
        prepared: Vec<Option<Vec<Prepared>>>,
        outcomes: Vec<Outcome>,
    ) -> Vec<Settlement> {
        faults::crash(CrashPoint::Cp12);
        let mut settlements = Vec::with_capacity(copies.len());
        for ((copy, prepared), outcome) in copies.iter().zip(prepared).zip(outcomes) {
            let settlement = match outcome {
                Outcome::Settled { created } => {
                    self.observer.ended(&self.route_name(copy), prepared.is_none());
                    for one in prepared.into_iter().flatten() {
                        self.send(one, &created);
                    }
                    Settlement::Ack
                }
                Outcome::Matched => Settlement::Ack,
                Outcome::Missed | Outcome::Unknown => self.missed(copy).await,
                // What it emits cannot be stored: it comes back, takes a claim and is parked there.
                _ => Settlement::Return,
            };
            self.left_broker(copy, settlement);
            settlements.push(settlement);
        }
        self.crash_once_published().await;
        settlements
    }

    /// Nothing was written, or nobody knows: then each row says whether it still owes this round.
    async fn not_settled(&self, copies: &[Copy], error: &CommitError) -> Vec<Settlement> {
        let unclear = matches!(error, CommitError::Unclear(_));
        self.observer.commit_failed("fast", unclear);
        let mut settlements = Vec::with_capacity(copies.len());
        for copy in copies {
            let settlement = match self.ledger.row(copy.seq).await {
                Ok(Some(row)) if unclear && is_of(&row, copy) && !owes(&row, copy) => {
                    Settlement::Ack
                }
                _ => Settlement::Return,
            };
            self.left_broker(copy, settlement);
            settlements.push(settlement);
        }
        settlements
    }
}

/// Whether the row owes a verdict to the round of this copy.
pub(super) fn owes(row: &Row, copy: &Copy) -> bool {
    use snodo_core::message_state::DeliveryState::{Published, Queued};
    matches!(row.state, Queued | Published) && row.round == copy.round
}

fn settle(route: &Route, copy: &Copy, filtered: bool, prepared: &[Prepared]) -> Action {
    Action::Settle {
        seq: copy.seq,
        id: copy.delivery,
        round: copy.round,
        subscriber: route.name.as_str().into(),
        route_digest: copy.route_digest,
        filtered,
        emits: prepared.iter().map(|one| one.emission.clone()).collect(),
    }
}
