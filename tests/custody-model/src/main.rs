//! Explores every scenario of Snodo's custody protocol and prints a table; `--mutant NAME` shows what one missing rule does.
//!
//! Invariant: the program ends with 0 only where everything that it looked for was as it should be.

mod canonical;
mod invariants;
mod ledger;
mod model;
mod mutants;
mod scenarios;
mod state;
mod story;

use model::Custody;
use stateright::{Checker, HasDiscoveries, Model};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let good = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => explore(""),
        ["--scenario", name] => explore(name),
        ["--mutants"] => all_mutants(),
        ["--mutant", name] => one_mutant(name, None),
        ["--mutant", name, scenario] => one_mutant(name, Some(scenario)),
        _ => {
            eprintln!(
                "usage: custody-model [--scenario NAME | --mutants | --mutant NAME [SCENARIO]]"
            );
            false
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `job(0..n)` on two threads and returns the lines in order.
fn in_two<T: Send>(n: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= n {
                        break;
                    }
                    let r = job(i);
                    done.lock().unwrap().push((i, r));
                }
            });
        }
    });
    let mut all = done.into_inner().unwrap();
    all.sort_by_key(|r| r.0);
    all.into_iter().map(|r| r.1).collect()
}

fn explore(only: &str) -> bool {
    let start = Instant::now();
    let all: Vec<_> =
        scenarios::all().into_iter().filter(|s| only.is_empty() || s.name == only).collect();
    let heads: Vec<_> = invariants::ALL.iter().map(|i| format!("{:>7}", i.short)).collect();
    println!("{:<16} {:>9} {:>5} {:>6} {}", "scenario", "states", "depth", "s", heads.join(" "));
    let rows = in_two(all.len(), |i| {
        let t = Instant::now();
        let checker = Custody::new(all[i].clone(), None).checker().spawn_bfs().join();
        let found = checker.discoveries();
        let cells: Vec<_> = invariants::ALL
            .iter()
            .map(|v| format!("{:>7}", if found.contains_key(v.name) { "BROKEN" } else { "ok" }))
            .collect();
        let (n, depth) = (checker.unique_state_count(), checker.max_depth());
        println!(
            "{:<16} {:>9} {:>5} {:>6.1} {}",
            all[i].name,
            n,
            depth,
            t.elapsed().as_secs_f32(),
            cells.join(" ")
        );
        let shortest = found.into_iter().min_by_key(|(_, p)| p.clone().into_actions().len());
        (n, shortest.map(|(name, path)| story::tell(checker.model(), name, path)))
    });
    let states: usize = rows.iter().map(|r| r.0).sum();
    println!("{} scenarios, {states} states, {:.0} s", all.len(), start.elapsed().as_secs_f32());
    for (sc, r) in all.iter().zip(&rows) {
        if let Some(story) = &r.1 {
            println!("\n{}: {}\n{story}", sc.name, sc.about);
        }
    }
    rows.iter().all(|r| r.1.is_none())
}

/// The shortest counterexample of a mutant: invariant, number of steps, story.
fn hunt(i: usize, scenario: &str) -> Option<(&'static str, usize, String)> {
    let sc =
        scenarios::all().into_iter().find(|s| s.name == scenario).expect("a scenario of the table");
    let checker = Custody::new(sc, Some(mutants::ALL[i].0))
        .checker()
        .finish_when(HasDiscoveries::Any)
        .spawn_bfs()
        .join();
    let place = |name| invariants::ALL.iter().position(|i| i.name == name);
    let (name, path) = checker
        .discoveries()
        .into_iter()
        .min_by_key(|(n, p)| (p.clone().into_actions().len(), place(*n)))?;
    let steps = path.clone().into_actions().len();
    Some((name, steps, story::tell(checker.model(), name, path)))
}

fn all_mutants() -> bool {
    println!("{:<28} {:<16} {:>5}  caught by", "mutant", "scenario", "steps");
    let caught = in_two(mutants::ALL.len(), |i| {
        hunt(i, mutants::ALL[i].2).map(|(name, steps, _)| (name, steps))
    });
    for (m, c) in mutants::ALL.iter().zip(&caught) {
        match c {
            Some((name, steps)) => println!("{:<28} {:<16} {:>5}  {name}", m.1, m.2, steps),
            None => println!("{:<28} {:<16} {:>5}  NOT CAUGHT", m.1, m.2, "-"),
        }
    }
    let n = caught.iter().flatten().count();
    println!("{n} of {} mutants caught", caught.len());
    n == caught.len()
}

fn one_mutant(name: &str, elsewhere: Option<&str>) -> bool {
    let Some((mutant, _, scenario, about)) = mutants::find(name) else {
        eprintln!("no mutant `{name}`; there are:");
        mutants::ALL.iter().for_each(|m| eprintln!("  {:<28} {}", m.1, m.3));
        return false;
    };
    let scenario = elsewhere.unwrap_or(scenario);
    println!("{name}: {about}\nscenario: {scenario}");
    let i = mutants::ALL.iter().position(|m| m.0 == mutant).expect("it was just found");
    match hunt(i, scenario) {
        Some((_, _, story)) => println!("{story}"),
        None => println!("not caught"),
    }
    true
}
