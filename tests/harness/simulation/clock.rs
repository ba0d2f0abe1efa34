//! The clock of a world. Invariant: it moves only when the world says so, and never back.

use std::{
    sync::atomic::{AtomicI64, Ordering::SeqCst},
    time::Duration,
};

use snodo::clock::Clock;
use snodo_core::timestamp::Timestamp;

/// 2026-11-24T00:00:00Z, where every world begins.
const BEGIN: i64 = 1_795_478_400_000;

/// Wall clock and uptime of every instance of a world.
#[derive(Debug, Default)]
pub struct WorldClock(AtomicI64);

impl WorldClock {
    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap_or(0), SeqCst);
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        Timestamp(BEGIN + self.0.load(SeqCst))
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.load(SeqCst)).unwrap_or(0))
    }
}
