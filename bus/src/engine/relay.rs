//! The relay: publishes queued deliveries, each to its own queue, and marks what is confirmed.
//!
//! Invariant: a mark names the round that was confirmed; a confirm that nobody knows of is forgotten
//! and the same round is published again.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use snodo_core::{
    adapter::BoxFuture,
    fault::{Fault, FaultClass},
    retry::RetryPolicy,
    timestamp::Timestamp,
};
use tokio::sync::Notify;

use super::{
    Engine, Limits, address_of,
    fault::{During, Past, judge},
    holds::{HEADERS, Hold},
    locked,
};
use crate::{
    broker::{Address, Confirm, Copy},
    faults::{self, CrashPoint},
    ledger::{Action, Queued, QueuedKey, ReadError, Return, Subscriber},
};

/// Keys that the feeder reads at once.
const PAGE: u32 = 2_000;
/// Messages that it reads at once.
const MESSAGES: usize = 500;
/// How often the copies with the broker are counted anew where they seem too many.
const RECOUNT: Duration = Duration::from_secs(5);

/// One copy on its way out, with what its hand-back would need.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) to: Address,
    pub(super) subscriber: Subscriber,
    pub(super) copy: Copy,
    pub(super) attempts: u32,
    pub(super) give_up_at: Option<Timestamp>,
    pub(super) hold: Hold,
}

/// What accept, the fast path, effects and the feeder have for the relay of this process.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<VecDeque<Outgoing>>,
    filled: Notify,
}

impl Outbox {
    pub(super) fn push(&self, outgoing: Outgoing) {
        locked(&self.waiting).push_back(outgoing);
        self.filled.notify_one();
    }

    fn take(&self) -> VecDeque<Outgoing> {
        std::mem::take(&mut locked(&self.waiting))
    }
}

/// How long a row waits at least for room in a queue of ours.
const ROOM: Duration = Duration::from_secs(2);

/// How many copies of each route are with the broker, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Depths(Mutex<HashMap<Subscriber, Depth>>);

#[derive(Debug, Default, Clone, Copy)]
struct Depth {
    copies: i64,
    counted_at: Option<Duration>,
}

impl Depths {
    pub(super) fn is_full(&self, subscriber: &str, limits: &Limits) -> bool {
        locked(&self.0).get(subscriber).is_some_and(|depth| depth.copies >= limits.per_route)
    }

    pub(super) fn of(&self, subscriber: &str) -> i64 {
        locked(&self.0).get(subscriber).map_or(0, |depth| depth.copies)
    }

    pub(super) fn add(&self, subscriber: &str, copies: i64) {
        let mut depths = locked(&self.0);
        if let Some(depth) = depths.get_mut(subscriber) {
            depth.copies = (depth.copies + copies).max(0);
        } else if copies > 0 {
            depths.insert(subscriber.into(), Depth { copies, counted_at: None });
        }
    }

    /// A count by somebody who has looked.
    pub(super) fn set(&self, subscriber: &Subscriber, copies: i64) {
        locked(&self.0).entry(Arc::clone(subscriber)).or_default().copies = copies;
    }

    /// Whether it is time to count again; says yes once per turn.
    fn is_due(&self, subscriber: &str, uptime: Duration) -> bool {
        locked(&self.0).get_mut(subscriber).is_some_and(|depth| {
            let due = depth.counted_at.is_none_or(|counted| uptime >= counted + RECOUNT);
            depth.counted_at = if due { Some(uptime) } else { depth.counted_at };
            due
        })
    }
}

/// A copy about which the broker has said its word.
struct Landed {
    outgoing: Outgoing,
    confirm: Confirm,
}

/// The loop that publishes what is in the outbox and writes what the broker says.
#[expect(missing_debug_implementations, reason = "futures have no shape to show")]
pub struct Relay {
    engine: Arc<Engine>,
    flying: FuturesUnordered<BoxFuture<'static, Landed>>,
    writing: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Relay {
    /// The relay of `engine`. One per process.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, flying: FuturesUnordered::new(), writing: FuturesUnordered::new() }
    }

    /// Publishes what waits, then waits until something comes: a copy to publish, a confirm, a commit.
    pub async fn step(&mut self) {
        for outgoing in self.engine.outbox.take() {
            self.engine.depths.add(&outgoing.subscriber, 1);
            self.flying.push(Box::pin(fly(Arc::clone(&self.engine), outgoing)));
        }
        tokio::select! {
            biased;
            Some(landed) = self.flying.next(), if !self.flying.is_empty() => self.land(landed),
            Some(()) = self.writing.next(), if !self.writing.is_empty() => {}
            () = self.engine.outbox.filled.notified() => {}
        }
    }

    /// Whether nothing is on its way out and no mark is being written.
    pub fn is_idle(&self) -> bool {
        let outbox = &self.engine.outbox;
        self.flying.is_empty() && self.writing.is_empty() && locked(&outbox.waiting).is_empty()
    }

    /// Writes what this confirm and those beside it say, in one submit.
    fn land(&mut self, first: Landed) {
        let mut actions = Vec::new();
        let mut holds = Vec::new();
        let mut next = Some(first);
        while let Some(landed) = next {
            if let Some(action) = self.engine.said(&landed) {
                actions.push(action);
                holds.push(landed.outgoing.hold);
            }
            next = self.flying.next().now_or_never().flatten();
        }
        if !actions.is_empty() {
            faults::crash(CrashPoint::Cp7);
            self.writing.push(Box::pin(write_down(Arc::clone(&self.engine), actions, holds)));
        }
    }
}

/// The holds go when the commit has ended, however it did: what may still be queued is looked for.
async fn write_down(engine: Arc<Engine>, actions: Vec<Action>, holds: Vec<Hold>) {
    match engine.write.submit(actions).await {
        Ok(_) => holds.into_iter().for_each(Hold::written),
        Err(error) => {
            let unclear = matches!(error, crate::ledger::CommitError::Unclear(_));
            engine.observer.commit_failed("mark", unclear);
        }
    }
}

/// Publishes one copy and waits for the broker's word.
async fn fly(engine: Arc<Engine>, mut outgoing: Outgoing) -> Landed {
    let begun = engine.clock.uptime();
    outgoing.hold.publishing();
    let mut publish = engine.publish.publish(&outgoing.to, outgoing.copy.clone());
    let confirm = if faults::off("handed-over-at-publish") && is_party(&outgoing.to) {
        let _ = publish.as_mut().now_or_never();
        Confirm::Confirmed
    } else {
        faults::crash_amid(CrashPoint::Cp6, publish).await
    };
    let took = engine.clock.uptime().saturating_sub(begun);
    engine.observer.confirmed(&outgoing.subscriber, confirm, took);
    Landed { outgoing, confirm }
}

fn is_party(to: &Address) -> bool {
    matches!(to, Address::Party(_))
}

impl Engine {
    /// What the broker's word means for the row; nothing where nobody knows.
    fn said(&self, landed: &Landed) -> Option<Action> {
        let Landed { outgoing, confirm } = landed;
        let Copy { seq, delivery: id, round, .. } = outgoing.copy;
        let party = is_party(&outgoing.to);
        if *confirm != Confirm::Confirmed || party {
            self.depths.add(&outgoing.subscriber, -1);
        }
        let handed_over = || Action::HandOver {
            seq,
            id,
            round,
            subscriber: Arc::clone(&outgoing.subscriber),
            route_digest: outgoing.copy.route_digest,
        };
        match confirm {
            Confirm::Confirmed if party => Some(handed_over()),
            Confirm::Confirmed => Some(Action::Mark { seq, id, round }),
            Confirm::Returned if party && faults::off("handed-over-unrouted") => {
                Some(handed_over())
            }
            Confirm::Returned | Confirm::Nacked => {
                let back = self.handed_back(outgoing, *confirm);
                Some(Action::HandBack { seq, id, round, back })
            }
            Confirm::Unknown => None,
        }
    }

    /// A party's queue that is not there is a fault of this delivery; a full queue of ours is not, and its
    /// rows wait for room, however short the waits of their route are.
    fn handed_back(&self, outgoing: &Outgoing, confirm: Confirm) -> Return {
        let class = if is_party(&outgoing.to) {
            FaultClass::Transient { retry_after: None }
        } else {
            FaultClass::NotNow { wait: ROOM.mul_f64(1.0 + self.chance.jitter().clamp(0.0, 1.0)) }
        };
        let fault = match confirm {
            Confirm::Returned => Fault::new(class, "SN0820", "no queue took the copy"),
            _ => Fault::new(class, "SN0821", "the broker refused the copy: its queue is full"),
        };
        let past = Past {
            now: self.clock.now(),
            attempts: outgoing.attempts,
            give_up_at: outgoing.give_up_at,
            jitter: self.chance.jitter(),
        };
        let policy = self
            .routes()
            .version(&outgoing.copy.route_digest)
            .map_or_else(RetryPolicy::default, |route| route.retry);
        let (verdict, back) = judge(fault, During::Mapping, &policy, &past);
        if let Some(fault) = &back.fault {
            self.observer.fault(&outgoing.subscriber, &outgoing.copy, fault, &verdict);
        }
        back
    }
}

/// The loop that finds queued rows which nobody of this process holds, and puts them into the outbox.
#[derive(Debug)]
pub struct Feeder {
    engine: Arc<Engine>,
    /// Rows that are named to this process are read too: a hold has left some of them queued.
    looks_for_own: bool,
}

/// What one look at a subscriber gave.
#[derive(Clone, Copy, Debug, Default)]
struct Fed {
    /// Rows to publish.
    found: usize,
    /// Nothing is left that was not looked at.
    whole: bool,
}

impl Feeder {
    /// The feeder of `engine`. One per process.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, looks_for_own: false }
    }

    /// Looks once at every subscriber with queued rows, but for those that fetch them; returns how many it
    /// found to publish. What is held lies in front, so it looks when half of that is gone, and then
    /// fills the room.
    pub async fn step(&mut self) -> Result<usize, ReadError> {
        if self.engine.publish.is_congested() || !self.engine.holds.is_roomy() {
            return Ok(0);
        }
        self.looks_for_own |= self.engine.holds.take_left();
        let (mut found, mut whole) = (0, true);
        let routes = self.engine.routes();
        for subscriber in self.engine.ledger.queued_subscribers().await? {
            if routes.is_fetched(&subscriber) {
                continue;
            }
            let fed = self.feed(&subscriber).await?;
            found += fed.found;
            whole &= fed.whole;
        }
        self.looks_for_own &= !whole;
        Ok(found)
    }

    /// Reads page after page until one has something to publish.
    async fn feed(&self, subscriber: &Subscriber) -> Result<Fed, ReadError> {
        let engine = &self.engine;
        if engine.targets.holds(subscriber) {
            return Ok(Fed { found: 0, whole: true });
        }
        self.recount(subscriber).await?;
        let ahead = engine.depths.of(subscriber);
        let released = engine.targets.let_old(subscriber, engine.clock.uptime(), ahead);
        let limit = released.unwrap_or(PAGE).min(PAGE);
        let (mut after, mut fed) = (0, Fed::default());
        while limit > 0
            && fed.found == 0
            && engine.holds.has_room()
            && !engine.depths.is_full(subscriber, &engine.limits)
        {
            let reading = engine.holds.reading();
            let me = self.looks_for_own.then(|| engine.incarnation());
            let now = engine.clock.now();
            let keys = engine.ledger.queued_keys(me, subscriber, now, after, limit).await?;
            fed.whole = keys.len() < limit as usize;
            after = keys.last().map_or(after, |key| key.seq);
            let free = |key: &&QueuedKey| !engine.holds.holds(&(key.id, key.round));
            let seqs: Vec<i64> = keys.iter().filter(free).map(|key| key.seq).collect();
            for seqs in seqs.chunks(MESSAGES) {
                fed.found += engine.take_up(seqs).await?;
            }
            drop(reading);
            if fed.whole {
                break;
            }
        }
        if let Some(released) = released {
            let found = u32::try_from(fed.found).unwrap_or(released);
            engine.targets.let_go(subscriber, released.saturating_sub(found), fed.whole);
        }
        Ok(fed)
    }

    /// Other processes take copies from the same queue: a full one is counted again now and then.
    async fn recount(&self, subscriber: &Subscriber) -> Result<(), ReadError> {
        let engine = &self.engine;
        let full = engine.depths.is_full(subscriber, &engine.limits);
        if full && engine.depths.is_due(subscriber, engine.clock.uptime()) {
            let limit = u32::try_from(engine.limits.per_route).unwrap_or(u32::MAX);
            let rows = engine.ledger.in_broker(subscriber, 0, limit).await?;
            engine.depths.set(subscriber, i64::try_from(rows.len()).unwrap_or(i64::MAX));
        }
        Ok(())
    }
}

impl Engine {
    /// Puts the rows that are still queued and free into the outbox; how many.
    pub(super) async fn take_up(&self, seqs: &[i64]) -> Result<usize, ReadError> {
        let rows = self.ledger.queued(seqs).await?;
        let picked: Vec<Outgoing> = rows.into_iter().filter_map(|row| self.pick(row)).collect();
        let found = picked.len();
        if found > 0 {
            faults::crash(CrashPoint::Cp5);
        }
        for outgoing in picked {
            self.outbox.push(outgoing);
        }
        Ok(found)
    }

    fn pick(&self, row: Queued) -> Option<Outgoing> {
        if self.targets.holds(&row.subscriber) {
            return None;
        }
        let hold = self.holds.take((row.id, row.round), row.message.data.len() + HEADERS)?;
        Some(Outgoing {
            to: address_of(&row.subscriber),
            copy: self.copy_of(&row),
            subscriber: row.subscriber,
            attempts: row.attempts,
            give_up_at: row.give_up_at,
            hold,
        })
    }

    /// The copy of a queued row, as its queue gets it.
    pub(crate) fn copy_of(&self, row: &Queued) -> Copy {
        Copy {
            delivery: row.id,
            seq: row.seq,
            round: row.round,
            route_digest: row.route_digest,
            alone: row.alone,
            shard: self.shard(&row.subscriber, row.key),
            message: Arc::clone(&row.message),
        }
    }
}
