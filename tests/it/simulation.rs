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

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
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
                        eprintln!("seed {seed}: {:?}, {:?}", begun.elapsed(), outcome.states);
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
    let troubles = env::var("SNODO_SIM_TROUBLES").ok();
    let one = |seed| {
        let bench = BENCH
            .with_borrow_mut(|bench| Arc::clone(bench.get_or_insert_with(|| Arc::new(open()))));
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
