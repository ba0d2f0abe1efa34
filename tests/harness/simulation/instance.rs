//! One process of a world. Invariant: a crash takes everything of it but what the ledger and the broker
//! have.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
};

use snodo::{
    broker::Copy,
    engine::{Engine, Limits, Observe, Parts},
    ledger::{Ledger, Started},
    suite::kept::KeepsNothing,
};
use snodo_core::{
    adapter::{Instances, Pace},
    facts::quota::PerDay,
    fault::Fault,
    route::Routes,
    verdict::Verdict,
};

use super::{
    broker::{Line, WorldBroker},
    clock::WorldClock,
    desk::{Desk, Gated},
    dice::Dice,
    far::{Far, FarSide, Timers},
};

/// A process while it lives.
pub struct Instance {
    /// Its number in the world.
    pub owner: usize,
    /// Its engine.
    pub engine: Arc<Engine>,
    /// What it wants of the ledger.
    pub desk: Arc<Desk>,
    /// Whether its publishes would wait.
    pub congested: Arc<AtomicBool>,
    /// What it has seen.
    pub seen: Arc<Seen>,
}

/// Counts what the engine tells, for the tests of the simulation itself.
#[derive(Debug, Default)]
pub struct Seen {
    /// Faults decided.
    pub faults: AtomicU32,
}

impl Observe for Seen {
    fn fault(&self, _: &str, _: &Copy, _: &Fault, _: &Verdict) {
        self.faults.fetch_add(1, SeqCst);
    }
}

/// What a process needs of its world.
#[derive(Debug)]
pub struct Around<'a> {
    /// Chance.
    pub dice: &'a Dice,
    /// Time.
    pub clock: &'a Arc<WorldClock>,
    /// The broker.
    pub broker: &'a WorldBroker,
    /// The far side.
    pub far: &'a FarSide,
    /// The routes that run now.
    pub routes: &'a Arc<Routes>,
}

impl Instance {
    /// A process that has just started on `real`.
    pub fn start(
        owner: usize,
        real: Arc<dyn Ledger>,
        started: Started,
        around: &Around<'_>,
    ) -> Self {
        let desk = Arc::new(Desk::default());
        let congested = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Seen::default());
        let mut instances = Instances::default();
        let far = Far { owner, side: around.far.clone() };
        // Breakers are no part of the rule book; a world's outages are drawn one call at a time.
        let pace = Pace { breaker: false, ..Pace::default() };
        instances.insert_at("far".to_owned(), Arc::new(far), (pace, PerDay::new()));
        let line = Line { owner, broker: around.broker.clone(), congested: Arc::clone(&congested) };
        let clock: Arc<WorldClock> = Arc::clone(around.clock);
        let engine = Engine::new(Parts {
            routes: Arc::clone(around.routes),
            instances,
            ledger: Arc::new(Gated { real, desk: Arc::clone(&desk) }),
            write: Arc::clone(&desk) as _,
            publish: Arc::new(line),
            clock,
            chance: Arc::new(around.dice.clone()),
            deadlines: Arc::new(Timers(around.far.clone())),
            started,
            kept: Arc::new(KeepsNothing),
            pseudonyms: Arc::new(snodo_core::pseudonym::Pseudonyms::for_tests()),
            observer: Arc::clone(&seen) as _,
            limits: Limits { copies: 6, bytes: 1 << 20, per_route: 8 },
        });
        Self { owner, engine, desk, congested, seen }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance {}", self.owner)
    }
}
