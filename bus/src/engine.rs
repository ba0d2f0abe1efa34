//! The engine: takes messages into custody, has them carried, and writes what became of them.
//!
//! Invariant: nothing is told to a sender or to the broker before the row that makes it true is
//! durable. There is no clock, no network and no `spawn` in here: every loop is a struct with one
//! `step()`, so that a scheduler, the runtime's or the simulation's, chooses what goes next.
//!
//! Reading order follows a message: `accept`, `relay`, then `fast` or `effect`; beside them `periods`,
//! `sweep`, `breakers`, `reconcile`, `drain` and, last of all, `retention`. The rules are those of the
//! custody rule book.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use snodo_core::{
    adapter::{BoxFuture, Instances, Port},
    fault::Fault,
    ids::{Digest, Fence, IncarnationId, MessageId},
    kept::Kept,
    pseudonym::Pseudonyms,
    route::{Answer, Routes},
    verdict::Verdict,
};

use crate::{
    broker::{Address, Confirm, Copy, Publish},
    clock::Clock,
    faults,
    ledger::{Forgotten, Ledger, Started, Subscriber, Write},
};

pub mod accept;
mod alone;
pub mod breakers;
mod claims;
pub mod drain;
pub mod effect;
mod emission;
pub mod fast;
mod fault;
mod holds;
pub mod inbox;
mod order;
mod output;
pub mod periods;
pub mod reconcile;
pub mod relay;
pub mod retention;
pub mod sweep;
mod targets;

use alone::Gate;
use claims::Claims;
use holds::Holds;
use output::Outputs;
use relay::{Depths, Outbox};
pub use targets::Calls;
use targets::Targets;

/// How long a claim is leased beyond the deadline of the call it is needed for.
pub const LEASE: Duration = Duration::from_mins(1);

/// Chance: the only place from which the engine takes what it cannot derive.
pub trait Chance: Send + Sync + 'static {
    /// Bytes for a new message id, never the same twice.
    fn bytes(&self) -> [u8; 10];
    /// A draw from 0 to 1, for the jitter of retries.
    fn jitter(&self) -> f64;
}

/// The system's chance.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemChance;

impl Chance for SystemChance {
    fn bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&uuid::Uuid::now_v7().as_bytes()[6..]);
        bytes
    }

    fn jitter(&self) -> f64 {
        let bytes = self.bytes();
        let drawn = u32::from_be_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]);
        f64::from(drawn) / f64::from(u32::MAX)
    }
}

/// Ends work at its deadline.
pub trait Deadlines: Send + Sync + 'static {
    /// Runs `work` for `limit` at most; then drops it unfinished.
    fn within<'a>(&'a self, limit: Duration, work: BoxFuture<'a, ()>) -> BoxFuture<'a, ()>;
}

/// Deadlines by the runtime's timer.
#[derive(Debug, Default, Clone, Copy)]
pub struct TimerDeadlines;

impl Deadlines for TimerDeadlines {
    fn within<'a>(&'a self, limit: Duration, work: BoxFuture<'a, ()>) -> BoxFuture<'a, ()> {
        Box::pin(async move { drop(tokio::time::timeout(limit, work).await) })
    }
}

/// How a fact came to a route, in the order in which metrics count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactWay {
    /// Its authority was asked.
    Asked,
    /// An earlier answer was used again.
    Reused,
    /// The sender's declaration stood in.
    SelfDeclared,
}

/// One use of a fact.
#[derive(Clone, Copy, Debug)]
pub struct FactUse<'f> {
    /// Which.
    pub fact: &'f str,
    /// For what.
    pub purpose: &'f str,
    /// How it came.
    pub way: FactWay,
    /// What the authority has answered; none where a declaration stands in.
    pub answer: Option<Answer>,
    /// Whether what the sender declares differs from it; none where nothing was compared.
    pub differs: Option<bool>,
    /// How many values it gave: so many nobody was asked for.
    pub values: u64,
}

/// What the engine tells of its work, for metrics and logs. Every method may be left out.
pub trait Observe: Send + Sync + 'static {
    /// The broker said its word about a copy, after so long.
    fn confirmed(&self, _subscriber: &str, _confirm: Confirm, _took: Duration) {}
    /// A batch of copies went through the fast path.
    fn fast(&self, _copies: usize, _took: Duration) {}
    /// A step of an effect route was done (or gave the fault of this code).
    fn step(&self, _target: &str, _fault: Option<&str>, _took: Duration) {}
    /// A delivery has a fault, and this becomes of it.
    fn fault(&self, _subscriber: &str, _copy: &Copy, _fault: &Fault, _verdict: &Verdict) {}
    /// A fact was used, asked for now or before.
    fn fact(&self, _told: &FactUse<'_>) {}
    /// A delivery of a subscriber ended, filtered or completed.
    fn ended(&self, _subscriber: &str, _filtered: bool) {}
    /// A target went away (the fault of this code showed it), or is back.
    fn target(&self, _instance: &str, _away: bool, _code: &str) {}
    /// Something moved rows: `due`, `give_back`, `own_end`, `expire`, `reconcile`, `unrouted`,
    /// `poison`, `stray`.
    fn moved(&self, _what: &'static str, _rows: u64) {}
    /// A turn of retention removed rows.
    fn forgot(&self, _rows: &Forgotten) {}
    /// A copy came of which another has had its effect, or has it now; it was acknowledged.
    fn suppressed(&self, _subscriber: &str) {}
    /// The ledger did not commit, or nobody knows whether it did.
    fn commit_failed(&self, _what: &'static str, _unclear: bool) {}
}

/// Tells nobody.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observe for Silent {}

/// What bounds one process.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Copies that this process has taken upon itself to publish and that are not yet marked.
    pub copies: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Copies of one route that the relay keeps with the broker.
    pub per_route: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { copies: 4_000, bytes: 8 << 20, per_route: 10_000 }
    }
}

/// What an engine is made of.
#[expect(missing_debug_implementations, reason = "the parts are behind traits")]
pub struct Parts {
    /// The routes that run now.
    pub routes: Arc<Routes>,
    /// The opened adapter instances.
    pub instances: Instances,
    /// Reads.
    pub ledger: Arc<dyn Ledger>,
    /// Writes.
    pub write: Arc<dyn Write>,
    /// The way to the broker.
    pub publish: Arc<dyn Publish>,
    /// The two clocks.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub chance: Arc<dyn Chance>,
    /// Deadlines of calls.
    pub deadlines: Arc<dyn Deadlines>,
    /// This start of this process.
    pub started: Started,
    /// What adapters are handed of what the bus keeps.
    pub kept: Arc<dyn Kept>,
    /// The key under which rows name persons.
    pub pseudonyms: Arc<Pseudonyms>,
    /// Who wants to know.
    pub observer: Arc<dyn Observe>,
    /// What bounds this process.
    pub limits: Limits,
}

/// The engine of one process. Shared by its loops and by whoever brings messages.
pub struct Engine {
    routes: RwLock<Arc<Routes>>,
    instances: RwLock<Arc<Instances>>,
    ledger: Arc<dyn Ledger>,
    write: Arc<dyn Write>,
    publish: Arc<dyn Publish>,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    deadlines: Arc<dyn Deadlines>,
    started: Started,
    kept: Arc<dyn Kept>,
    pseudonyms: Arc<Pseudonyms>,
    observer: Arc<dyn Observe>,
    limits: Limits,
    holds: Holds,
    outbox: Outbox,
    depths: Depths,
    gate: Gate,
    claims: Claims,
    live: Live,
    outputs: Outputs,
    targets: Targets,
    arrivals: Mutex<BTreeMap<Subscriber, BTreeMap<Option<u16>, u64>>>,
}

/// How a copy is to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// [`Engine::fast_batch`].
    Fast,
    /// [`Engine::carry`].
    Claim,
}

impl Engine {
    /// An engine of `parts`. Nothing happens before its loops are stepped.
    pub fn new(parts: Parts) -> Arc<Self> {
        let targets = Targets::new(&parts.instances, &parts.routes);
        Arc::new(Self {
            targets,
            routes: RwLock::new(parts.routes),
            instances: RwLock::new(Arc::new(parts.instances)),
            ledger: parts.ledger,
            write: parts.write,
            publish: parts.publish,
            clock: parts.clock,
            chance: parts.chance,
            deadlines: parts.deadlines,
            started: parts.started,
            kept: parts.kept,
            pseudonyms: parts.pseudonyms,
            observer: parts.observer,
            limits: parts.limits,
            holds: Holds::new(parts.limits.copies, parts.limits.bytes),
            outbox: Outbox::default(),
            depths: Depths::default(),
            gate: Gate::default(),
            claims: Claims::default(),
            live: Live::default(),
            outputs: Outputs::default(),
            arrivals: Mutex::default(),
        })
    }

    /// The routes that run now.
    pub fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts checked routes in place of those that run. Deliveries keep the version they are pinned to.
    pub fn swap_routes(&self, routes: Arc<Routes>) {
        let instances = Arc::clone(&self.instances.read().unwrap_or_else(PoisonError::into_inner));
        self.targets.follow(&instances, &routes);
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
    }

    /// The same with the adapter instances on which they were checked. A call under way goes on with
    /// the instance that it began with.
    pub fn swap(&self, routes: Arc<Routes>, instances: Instances) {
        *self.instances.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(instances);
        self.swap_routes(routes);
    }

    fn port(&self, instance: &str) -> Option<Arc<dyn Port>> {
        self.instances.read().unwrap_or_else(PoisonError::into_inner).get(instance).cloned()
    }

    /// How often an operation may be asked a day.
    fn per_day(&self, instance: &str, operation: &str) -> Option<u64> {
        let instances = self.instances.read().unwrap_or_else(PoisonError::into_inner);
        instances.per_day(instance, operation)
    }

    /// Every name that a person may have in the ledger, under keys of now and before.
    pub fn names_of(&self, person: &str) -> Vec<Digest> {
        self.pseudonyms.every_name(person)
    }

    /// A new id for a message that is about to be accepted.
    pub fn new_message_id(&self) -> MessageId {
        let millis = u64::try_from(self.clock.now().0).unwrap_or(0);
        MessageId::accepted(millis, self.chance.bytes())
    }

    /// This start of this process.
    pub fn incarnation(&self) -> IncarnationId {
        self.started.incarnation
    }

    /// Which way a copy goes: a redelivered one, one that runs alone, and whatever was open at an
    /// unclean end take a claim, since they may be what ended it. So does one whose body is with the
    /// ledger: it is read for one copy at a time.
    pub fn lane(&self, copy: &Copy, redelivered: bool) -> Lane {
        let unclean = self.started.unclean_up_to.is_some_and(|last| copy.seq <= last);
        let wary = redelivered || copy.alone || copy.message.is_claim();
        let wary = wary || (unclean && !faults::off("fast-path-after-crash"));
        let fast = |routes: &Routes| {
            routes.version(&copy.route_digest).is_some_and(|route| route.is_fast())
        };
        if !wary && fast(&self.routes()) { Lane::Fast } else { Lane::Claim }
    }

    /// Whether no task of this process is under way and nothing of it awaits a confirm.
    pub fn is_idle(&self) -> bool {
        self.live.is_empty() && self.holds.is_empty()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("started", &self.started).finish_non_exhaustive()
    }
}

/// Where the copies of a subscriber go.
pub fn address_of(subscriber: &str) -> Address {
    match subscriber.strip_prefix("party:") {
        Some(party) => Address::Party(party.to_owned()),
        None => Address::Route(subscriber.to_owned()),
    }
}

/// The subscriber that a party is.
pub fn party_subscriber(party: &str) -> Subscriber {
    format!("party:{party}").into()
}

/// The fences of tasks that are under way: what is claimed under another one has no task.
#[derive(Debug, Default)]
struct Live {
    serial: AtomicU64,
    fences: Arc<Mutex<HashSet<Fence>>>,
}

impl Live {
    /// A new fence, live until the guard is dropped.
    fn enter(&self, incarnation: IncarnationId) -> Alive {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        let fence = Fence { incarnation, serial };
        locked(&self.fences).insert(fence);
        Alive { fence, fences: Arc::clone(&self.fences) }
    }

    fn contains(&self, fence: Fence) -> bool {
        locked(&self.fences).contains(&fence)
    }

    fn is_empty(&self) -> bool {
        locked(&self.fences).is_empty()
    }
}

/// One task under its fence. Dropped with the task, however it ends.
#[derive(Debug)]
struct Alive {
    fence: Fence,
    fences: Arc<Mutex<HashSet<Fence>>>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        locked(&self.fences).remove(&self.fence);
    }
}

/// Locks; a panic elsewhere leaves these small maps whole, so a poisoned lock is still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the runtime spawns must be able to change threads; this fails to compile where it cannot.
    #[test]
    fn every_loop_and_every_path_may_be_spawned() {
        fn spawned<T: Send>(_: fn(&'static Engine) -> T) {}
        fn path<F: Future + Send>(_: impl Fn(&'static Engine, &'static Copy) -> F) {}
        path(|engine, copy| async move { engine.carry(copy).await });
        path(|engine, copy| async move { engine.fast_batch(std::slice::from_ref(copy)).await });
        spawned(|_| Option::<relay::Relay>::None);
        spawned(|_| Option::<relay::Feeder>::None);
        spawned(|_| Option::<sweep::Sweeper>::None);
    }

    #[test]
    fn a_party_has_its_own_address() {
        assert_eq!(address_of("party:region"), Address::Party("region".to_owned()));
        assert_eq!(address_of("archive"), Address::Route("archive".to_owned()));
        assert_eq!(&*party_subscriber("region"), "party:region");
    }
}
