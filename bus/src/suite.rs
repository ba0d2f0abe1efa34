//! Runs the tests of routes: the engine of production over a ledger in memory, with targets that answer
//! as a test says, and time that passes when nothing else is to be done.
//!
//! Invariant: no broker, no file, no network and no clock of the machine: a test gives the same each time.

use std::{
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use snodo_core::{
    adapter::Instances,
    route::{
        Routes,
        suite::{Failure, Observed, Suite, Test, judge},
    },
    schema::Schemas,
};

use tokio::runtime::{self, Runtime};

use crate::ledger::open::Scratch;

pub mod clock;
pub mod kept;
mod recorder;
mod script;
mod standins;
mod world;

use world::World;

/// What tests are run against.
#[derive(Debug)]
pub struct Stage<'h> {
    /// The checked routes.
    pub routes: &'h Routes,
    /// The opened adapter instances: what they would do of themselves, without asking anybody.
    pub instances: &'h Instances,
    /// The schemas of the house.
    pub schemas: &'h Arc<Schemas>,
}

/// What came of one test.
#[derive(Debug)]
pub struct Ran {
    /// What was observed; why it could not be run, where that is a mistake of ours.
    pub observed: Result<Observed, String>,
    /// The differences to what was expected.
    pub failures: Vec<Failure>,
}

impl Ran {
    /// Whether it is as expected.
    pub fn passed(&self) -> bool {
        self.observed.is_ok() && self.failures.is_empty()
    }
}

/// Runs tests, side by side on all processors; what came of each, in their order.
pub fn run(stage: &Stage<'_>, tests: &[(&Suite, &Test)]) -> Vec<Ran> {
    let next = AtomicUsize::new(0);
    let ran: Vec<Mutex<Option<Ran>>> = tests.iter().map(|_| Mutex::new(None)).collect();
    let workers = thread::available_parallelism().map_or(1, usize::from).min(tests.len().max(1));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut worker = Worker::new();
                loop {
                    let index = next.fetch_add(1, Relaxed);
                    let Some((test, place)) = tests.get(index).zip(ran.get(index)) else { break };
                    let one = worker.one(stage, test);
                    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(one);
                }
            });
        }
    });
    ran.into_iter()
        .filter_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// Runs tests one after the other: a runtime, and the tables of its ledgers.
struct Worker(Result<(Runtime, Scratch), String>);

impl Worker {
    fn new() -> Self {
        let made = || -> Result<_, Box<dyn Error>> {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let scratch = runtime.block_on(Scratch::open())?;
            Ok((runtime, scratch))
        };
        Self(made().map_err(|error| error.to_string()))
    }

    fn one(&mut self, stage: &Stage<'_>, (suite, test): &(&Suite, &Test)) -> Ran {
        let observed = match &self.0 {
            Ok((runtime, scratch)) => {
                runtime.block_on(World::observe(stage, scratch, (&suite.route, test)))
            }
            Err(error) => Err(error.clone()),
        };
        let failures = observed.as_ref().map(|observed| judge(test, observed)).unwrap_or_default();
        Ran { observed, failures }
    }
}
