//! Crash points and switched-off guards, for tests. Without the feature `faults` this is nothing.
//!
//! `SNODO_CRASH_AT=CP7:3` kills the process with SIGKILL on the third pass of CP7 (ops A7); where a
//! point lies between what we do and what another does, on the first pass from then on that is there.
//! A guard asks `faults::off(Guard::…)`; the simulation switches one off at a time (custody §e).
//! `SNODO_TRIP=abort:WORDS` kills the process, `panic:WORDS` has the task panic, where it begins to work
//! on a message whose body holds WORDS; `SNODO_CLOCK_OFF=FILE` puts the wall clock off by the seconds
//! that FILE holds at the time.

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

    /// Nothing, in a build without faults.
    #[inline]
    pub fn crash_soon(_: CrashPoint) {}

    /// Only `work`, in a build without faults.
    #[inline]
    pub async fn crash_amid<T>(_: CrashPoint, work: impl Future<Output = T>) -> T {
        work.await
    }

    /// Nothing, in a build without faults.
    #[inline]
    pub async fn crash_once(_: CrashPoint, _: impl FnMut() -> bool) {}

    /// Nothing, in a build without faults.
    #[inline]
    pub fn trip(_: &[u8]) {}

    /// By how many milliseconds the wall clock is off: none, in a build without faults.
    #[inline]
    pub const fn clock_off() -> i64 {
        0
    }

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
        path::PathBuf,
        pin::pin,
        sync::{
            LazyLock, RwLock,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
        time::Duration,
    };

    use tokio::time::sleep;

    use super::CrashPoint;

    static CRASH: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let wanted = std::env::var("SNODO_CRASH_AT").ok()?;
        let (point, pass) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((point.to_ascii_uppercase(), pass.parse().ok()?))
    });
    static PASSES: AtomicU32 = AtomicU32::new(0);
    static TRIP: LazyLock<Option<(bool, String)>> = LazyLock::new(|| {
        let wanted = std::env::var("SNODO_TRIP").ok()?;
        let (how, words) = wanted.split_once(':')?;
        Some((how == "abort", words.to_owned()))
    });
    static CLOCK: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("SNODO_CLOCK_OFF").map(PathBuf::from));
    static OFF: LazyLock<RwLock<BTreeSet<String>>> = LazyLock::new(|| {
        let named = std::env::var("SNODO_FAULT_OFF").unwrap_or_default();
        RwLock::new(named.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    });
    /// Between two looks at whether the moment has come, and for how many of them.
    const LOOK: Duration = Duration::from_millis(1);
    const LOOKS: u32 = 2_000;

    /// Counts a pass; whether it is the wanted one, or one after it.
    fn is_due(point: CrashPoint) -> bool {
        CRASH.as_ref().is_some_and(|(wanted, pass)| {
            format!("{point:?}").to_ascii_uppercase() == *wanted
                && PASSES.fetch_add(1, SeqCst) + 1 >= *pass
        })
    }

    fn die() -> ! {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }

    /// Kills the process where `SNODO_CRASH_AT` names this point and pass.
    pub fn crash(point: CrashPoint) {
        if is_due(point) {
            die();
        }
    }

    /// How long after our last line a point is that lies with somebody else: an answer needs to reach its
    /// socket, a copy the broker but not its confirm us, a request its target but not its answer us.
    fn moment(point: CrashPoint) -> Duration {
        Duration::from_millis(match point {
            CrashPoint::Cp4 => 20,
            CrashPoint::Cp15 => 100,
            _ => 1,
        })
    }

    /// The same, a moment later.
    pub fn crash_soon(point: CrashPoint) {
        if is_due(point) {
            tokio::spawn(async move {
                sleep(moment(point)).await;
                die();
            });
        }
    }

    /// The same in the middle of `work`, a moment after its beginning; where it ends before, at a later
    /// pass.
    pub async fn crash_amid<T>(point: CrashPoint, work: impl Future<Output = T>) -> T {
        if !is_due(point) {
            return work.await;
        }
        tokio::select! {
            biased;
            done = pin!(work) => done,
            () = sleep(moment(point)) => die(),
        }
    }

    /// The same as soon as `holds`, while the caller waits.
    pub async fn crash_once(point: CrashPoint, mut holds: impl FnMut() -> bool) {
        if !is_due(point) {
            return;
        }
        for _ in 0..LOOKS {
            if holds() {
                die();
            }
            sleep(LOOK).await;
        }
    }

    /// Fails, as `SNODO_TRIP` says, at a message whose body holds its words.
    pub fn trip(body: &[u8]) {
        if let Some((abort, words)) = TRIP.as_ref()
            && body.windows(words.len().max(1)).any(|part| part == words.as_bytes())
        {
            assert!(*abort, "tripped, as a test wished");
            die();
        }
    }

    /// By how many milliseconds the wall clock is off.
    pub fn clock_off() -> i64 {
        let Some(file) = CLOCK.as_ref() else { return 0 };
        let seconds = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
        seconds.map_or(0, |seconds: i64| seconds * 1000)
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
