//! The simulation: thousands of seeds, and every guard switched off once.
//!
//! Invariant: a failing seed prints itself; `SNODO_SIM_SEED=<seed>` tells its whole story again.

use std::{
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use snodo_tests::{
    postgres,
    simulation::{Outcome, Plan, bench, run},
};

const STEPS: u32 = 300;

#[expect(clippy::print_stdout, reason = "what a run of the simulation found is read by people")]
fn say(line: &str) {
    println!("{line}");
}

/// What the person who runs the tests asks for.
#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn asked(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    asked(name)?.parse().ok()
}

/// Runs seeds until one breaks something or all have run, on every core.
fn first_broken(seeds: u64, one: &(dyn Fn(u64) -> Outcome + Sync)) -> Option<Outcome> {
    let next = AtomicU64::new(0);
    let found: Mutex<Option<Outcome>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= seeds || found.lock().expect("whole").is_some() {
                        return;
                    }
                    let begun = std::time::Instant::now();
                    let outcome = one(seed);
                    if env::var_os("SNODO_SIM_TIMES").is_some() {
                        say(&format!("seed {seed}: {:?}, {:?}", begun.elapsed(), outcome.states));
                    }
                    if outcome.broken.is_some() {
                        *found.lock().expect("whole") = Some(outcome);
                    }
                }
            });
        }
    });
    found.into_inner().expect("whole")
}

fn tell(outcome: &Outcome, lines: usize) -> String {
    let Outcome { seed, broken, story, .. } = outcome;
    let from = story.len().saturating_sub(lines);
    let (at, what) = broken.clone().unwrap_or_default();
    format!(
        "{}\n{}\nseed {seed}, step {at}: {what}\nagain: SNODO_SIM_SEED={seed}",
        story[0],
        story[from..].join("\n")
    )
}

fn simulate(name: &str, seeds: u64, open: &(dyn Fn() -> bench::Bench + Sync), processes: usize) {
    thread_local! {
        static BENCH: std::cell::RefCell<Option<Arc<bench::Bench>>> = const { std::cell::RefCell::new(None) };
    }
    let troubles = asked("SNODO_SIM_TROUBLES");
    let one = |seed| {
        let kept = BENCH.with_borrow_mut(Option::take);
        // A server keeps the connections of a world until its runtime goes.
        let bench = kept.filter(|_| processes == 1).unwrap_or_else(|| Arc::new(open()));
        BENCH.set(Some(Arc::clone(&bench)));
        run(&bench, Plan { seed, steps: STEPS, processes, troubles: troubles.as_deref() })
    };
    if let Some(seed) = number("SNODO_SIM_SEED") {
        let outcome = one(seed);
        assert!(outcome.broken.is_none(), "{}", tell(&outcome, usize::MAX));
        return;
    }
    let seeds = number("SNODO_SIM_SEEDS").unwrap_or(seeds);
    if let Some(outcome) = first_broken(seeds, &one) {
        panic!("{name}: {}", tell(&outcome, 120));
    }
}

#[test]
fn whatever_strikes_on_sqlite_nothing_is_lost_and_nothing_done_twice() {
    simulate("sqlite", 2_000, &bench::sqlite, 1);
}

#[test]
fn whatever_strikes_two_processes_on_postgresql_nothing_is_lost_and_nothing_done_twice() {
    if postgres::server().is_some() {
        simulate("postgresql", 50, &bench::postgres, 2);
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let told = |seed| {
        let plan = Plan { seed, steps: STEPS, processes: 1, troubles: None };
        run(&bench::sqlite(), plan).story
    };
    for seed in 0..4 {
        assert!(told(seed) == told(seed), "seed {seed} tells another story each time");
    }
}

const SQLITE: &str =
    "simulation::whatever_strikes_on_sqlite_nothing_is_lost_and_nothing_done_twice";
const POSTGRESQL: &str = "simulation::whatever_strikes_two_processes_on_postgresql_nothing_is_lost_and_nothing_done_twice";

/// Guards of the rule book (custody §e), each with the troubles that bring its absence to light.
const MUTANTS: [(&str, &str, &str); 32] = [
    ("ack-before-commit", SQLITE, "NotCommitted,AnswerLost"),
    ("answer-before-commit", SQLITE, "NotCommitted,AnswerLost"),
    ("unconditional-mark", SQLITE, "ConfirmLost,Disconnect"),
    ("mark-without-round", SQLITE, "NotCommitted,Transient"),
    ("settle-without-guard", SQLITE, "FalseAlarm,ConfirmLost,Disconnect"),
    ("resolve-too-early", SQLITE, "Operator,TimeOut"),
    ("no-intent", SQLITE, "Crash,TimeOut"),
    ("once-retried", SQLITE, "Crash"),
    ("claim-kept-by-a-dead-task", SQLITE, "NotCommitted"),
    ("not-voided", SQLITE, "Crash"),
    ("reconcile-by-age", SQLITE, ""),
    ("no-reconciler", SQLITE, "QueueLost"),
    ("unrouted-dropped", SQLITE, "Unrouted"),
    ("replay-unpinned", SQLITE, "Operator,Reload,Refuse"),
    ("version-at-delivery", SQLITE, "Reload,Transient,Crash"),
    ("poison-without-row", SQLITE, "Disconnect,NotCommitted"),
    ("crashes-in-broker-only", SQLITE, "Pill"),
    ("totals-absolute", POSTGRESQL, ""),
    ("lost-answer-as-failure", SQLITE, "AnswerLost"),
    ("number-apart", POSTGRESQL, "AnswerLate,LeaseLapses"),
    ("handed-over-at-publish", SQLITE, "CopyLost"),
    ("handed-over-unrouted", SQLITE, "Unrouted"),
    ("handed-over-without-guard", POSTGRESQL, "ConfirmLost,Unrouted,Operator"),
    ("held-for-ever", SQLITE, "AnswerLost,NotCommitted"),
    ("held-after-commit", SQLITE, "AnswerLate"),
    ("named-for-ever", SQLITE, "Crash"),
    ("suspect-beside-others", SQLITE, "Pill"),
    ("settle-without-id", SQLITE, "Restored"),
    ("claim-without-id", SQLITE, "Restored,Disconnect"),
    ("order-ignored", SQLITE, "Transient"),
    ("order-by-sequence", SQLITE, "Transient,AnswerLate"),
    ("wake-by-event", SQLITE, "Operator,Refuse,Crash"),
];

/// Seeds within which every switched-off guard must be missed.
const WITHIN: u64 = 400;

/// The first seed that misses a guard which is switched off, in a process of its own.
fn missed_by(mutant: &str, test: &str, troubles: &str) -> Result<String, String> {
    let own = env::current_exe().expect("a test has a path");
    let output = std::process::Command::new(own)
        .args(["--exact", test])
        .env("SNODO_FAULT_OFF", mutant)
        .env("SNODO_SIM_TROUBLES", troubles)
        .env("SNODO_SIM_SEEDS", WITHIN.to_string())
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the test runs again");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let found = said.lines().find(|line| line.starts_with("seed ") && line.contains(", step "));
    found.map(str::to_owned).ok_or(said)
}

#[test]
fn mutants() {
    let only = asked("SNODO_SIM_MUTANT");
    let mut survived = Vec::new();
    for (mutant, test, troubles) in MUTANTS {
        let skipped = only.as_deref().is_some_and(|only| only != mutant)
            || test == POSTGRESQL && postgres::server().is_none();
        if skipped {
            continue;
        }
        match missed_by(mutant, test, troubles) {
            Ok(found) => say(&format!("{mutant}: {found}")),
            Err(said) => {
                say(&format!("{mutant} was not found: {said}"));
                survived.push(mutant);
            }
        }
    }
    assert!(survived.is_empty(), "not found within {WITHIN} seeds: {survived:?}");
}
