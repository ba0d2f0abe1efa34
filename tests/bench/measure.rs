//! What a run costs: wall time, and user plus system time of the measured process.
//!
//! Invariant: no work of a measured run is done in another process.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

/// The figures of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// How many messages.
    pub(crate) messages: u64,
    /// In how long.
    pub(crate) seconds: f64,
    /// CPU time of the measured process, user and system.
    pub(crate) cpu_seconds: f64,
    /// What else is known of where the time went.
    #[serde(default)]
    pub(crate) stages: serde_json::Value,
}

impl Measured {
    /// Messages a second.
    pub(crate) fn per_second(&self) -> f64 {
        as_float(self.messages) / self.seconds
    }

    /// CPU time a message, in microseconds.
    pub(crate) fn cpu_us_per_message(&self) -> f64 {
        self.cpu_seconds * 1e6 / as_float(self.messages)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// The start of a measured stretch in this process.
#[derive(Debug)]
pub(crate) struct Start {
    cpu: Duration,
}

/// Starts measuring this process.
pub(crate) fn start() -> Start {
    Start { cpu: cpu_of_this_process() }
}

impl Start {
    /// Ends it.
    pub(crate) fn stop(&self, messages: u64, elapsed: Duration) -> Measured {
        let cpu = cpu_of_this_process().saturating_sub(self.cpu);
        Measured {
            messages,
            seconds: elapsed.as_secs_f64(),
            cpu_seconds: cpu.as_secs_f64(),
            stages: serde_json::Value::Null,
        }
    }
}

/// User and system time of this process so far.
pub(crate) fn cpu_of_this_process() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// User and system time of the threads of this process so far, added up by what they are for.
pub(crate) fn cpu_by_thread() -> BTreeMap<&'static str, Duration> {
    let mut sums = BTreeMap::new();
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for thread in threads {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        // A thread that has just ended has no time to read.
        let time = cpu_in(&thread.path().join("stat")).unwrap_or_default();
        *sums.entry(purpose_of(&name)).or_default() += time;
    }
    sums
}

fn purpose_of(thread: &str) -> &'static str {
    match thread {
        name if name.starts_with("sqlx") => "ledger thread",
        name if name.starts_with("lapin") => "broker thread",
        _ => "workers",
    }
}

/// User and system time of another process so far.
pub(crate) fn cpu_of(pid: u32) -> std::io::Result<Duration> {
    cpu_in(std::path::Path::new(&format!("/proc/{pid}/stat")))
}

fn cpu_in(stat: &std::path::Path) -> std::io::Result<Duration> {
    let stat = std::fs::read_to_string(stat)?;
    // The command's name may hold spaces; the figures come after its closing bracket.
    let figures = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = figures
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|text| text.parse::<u64>().ok())
        .sum();
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_micros(ticks * 1_000_000 / per_second.max(1)))
}
