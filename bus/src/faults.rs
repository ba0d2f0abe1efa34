//! Crash points and switched-off guards, for tests. Without the feature `faults` this is nothing.
//!
//! `SNODO_CRASH_AT=CP7:3` kills the process with SIGKILL on the third pass of CP7 (ops A7).
//! A guard asks `faults::off(Guard::…)`; the simulation switches one off at a time (custody §e).

/// The crash points of the message path, by the names of the fault matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Body read.
    Cp1,
    /// Validated.
    Cp2,
    /// Committed, no answer yet.
    Cp3,
    /// Answered.
    Cp4,
    /// Rows selected, none published.
    Cp5,
    /// Published, unconfirmed.
    Cp6,
    /// Confirmed, not marked.
    Cp7,
    /// A group's statements run, COMMIT not sent.
    Cp8,
    /// Copy received.
    Cp9,
    /// Claim committed, no step begun.
    Cp10,
    /// Mapped or `with` ready, nothing committed.
    Cp11,
    /// Settle or verdict committed, not published, not acked.
    Cp12,
    /// Emitted copies published, not acked.
    Cp13,
    /// Intent committed, call not begun.
    Cp14,
    /// Request written, no answer.
    Cp15,
    /// Answer read, done not committed.
    Cp16,
    /// Last done or ledger step committed, not acked.
    Cp17,
}

#[cfg(not(feature = "faults"))]
mod switched {
    use super::CrashPoint;

    /// Nothing, in a build without faults.
    #[inline]
    pub fn crash(_: CrashPoint) {}

    /// Whether a guard is switched off: never, in a build without faults.
    #[inline]
    pub const fn off(_: &str) -> bool {
        false
    }
}

#[cfg(feature = "faults")]
#[expect(clippy::disallowed_methods, reason = "a crash point is set from outside, not configured")]
mod switched {
    use std::{
        collections::BTreeSet,
        sync::{
            LazyLock, RwLock,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
    };

    use super::CrashPoint;

    static CRASH: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let wanted = std::env::var("SNODO_CRASH_AT").ok()?;
        let (point, pass) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((point.to_ascii_uppercase(), pass.parse().ok()?))
    });
    static PASSES: AtomicU32 = AtomicU32::new(0);
    static OFF: LazyLock<RwLock<BTreeSet<String>>> = LazyLock::new(|| {
        let named = std::env::var("SNODO_FAULT_OFF").unwrap_or_default();
        RwLock::new(named.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    });

    /// Kills the process where `SNODO_CRASH_AT` names this point and pass.
    pub fn crash(point: CrashPoint) {
        let Some((wanted, pass)) = &*CRASH else { return };
        if format!("{point:?}").to_ascii_uppercase() == *wanted
            && PASSES.fetch_add(1, SeqCst) + 1 == *pass
        {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            loop {
                std::thread::park();
            }
        }
    }

    /// Whether the guard called `mutant` (custody §e) is switched off.
    pub fn off(mutant: &str) -> bool {
        OFF.read().is_ok_and(|off| off.contains(mutant))
    }

    /// Switches guards off by the names of custody §e; an empty list switches all on.
    pub fn switch_off(mutants: &[&str]) {
        if let Ok(mut off) = OFF.write() {
            *off = mutants.iter().map(|name| (*name).to_owned()).collect();
        }
    }
}

pub use switched::*;
