//! A clock that stands still until somebody moves it. Invariant: it never goes back.

use std::{
    sync::atomic::{AtomicI64, Ordering::SeqCst},
    time::Duration,
};

use snodo_core::timestamp::Timestamp;

use crate::clock::Clock;

/// Wall clock and uptime of a world.
#[derive(Debug)]
pub struct StoppedClock {
    begin: Timestamp,
    passed: AtomicI64,
}

impl StoppedClock {
    /// At this moment.
    pub fn at(begin: Timestamp) -> Self {
        Self { begin, passed: AtomicI64::new(0) }
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.passed.fetch_add(i64::try_from(time.as_millis()).unwrap_or(0), SeqCst);
    }

    /// Lets time pass until `moment`, where that is still to come.
    pub fn pass_until(&self, moment: Timestamp) {
        self.pass(moment.since(self.now()));
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.begin.0 + self.passed.load(SeqCst))
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.passed.load(SeqCst)).unwrap_or(0))
    }
}
