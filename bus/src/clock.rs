//! Time as the runtime sees it: the wall for people and rows, CLOCK_BOOTTIME for leases and deadlines.
//!
//! Invariant: nothing but this file reads a clock; the simulation puts its own in its place.

use std::time::Duration;

use snodo_core::timestamp::Timestamp;

use crate::faults;

/// The two clocks.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, UTC.
    fn now(&self) -> Timestamp;
    /// Time since boot, suspend included: never set back, never stopped.
    fn uptime(&self) -> Duration;
}

/// The CPU time that the calling thread has used, user and system.
pub fn cpu_of_this_thread() -> Duration {
    duration(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime))
}

fn duration(time: rustix::time::Timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The machine's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp(time.tv_sec * 1000 + time.tv_nsec / 1_000_000 + faults::clock_off())
    }

    fn uptime(&self) -> Duration {
        duration(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
    }
}
