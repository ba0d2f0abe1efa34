//! What a chaos session found: a line per run, the file that machines read, the verdict.
//!
//! Invariant: a run passes only if it struck, carried something, and every count that must be zero is.

use std::fmt::Write as _;

use serde::Serialize;

use super::plan::{LedgerKind, Run};
use crate::checker::Verdicts;

/// One run, as `target/chaos.json` holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// `kill-bus`, `kill-broker`, `CP1` … `CP17`.
    pub name: String,
    /// On which ledger.
    pub ledger: LedgerKind,
    /// What its chance started from.
    pub seed: u64,
    /// Messages for which a 202 was seen.
    pub accepted: u64,
    /// Effects that the far sides and the register hold.
    pub effects: u64,
    /// How often it struck, and counted.
    pub fired: u32,
    /// The fewest deliveries open at a strike that counted.
    pub open_at_kill: u64,
    /// Deliveries that a person had to decide.
    pub uncertain: u64,
    /// Copies sent again because their queue seemed lost: none was.
    pub reconciled: u64,
    /// What the checker counted.
    #[serde(flatten)]
    pub verdicts: Verdicts,
    /// Deliveries that were parked and tried again by a person.
    #[serde(skip)]
    pub parked: u64,
    /// How often it was to strike.
    #[serde(skip)]
    pub wanted: u32,
    /// What else was wrong: the register, the equations, the invariants, the run itself.
    #[serde(skip)]
    pub mistakes: Vec<String>,
    /// How long it took.
    #[serde(skip)]
    pub seconds: u64,
}

impl RunReport {
    /// Of a run that has not begun.
    pub fn new(run: &Run) -> Self {
        Self {
            name: run.strike.to_string(),
            ledger: run.ledger,
            seed: run.seed,
            accepted: 0,
            effects: 0,
            fired: 0,
            open_at_kill: 0,
            uncertain: 0,
            reconciled: 0,
            verdicts: Verdicts::default(),
            parked: 0,
            wanted: run.times,
            mistakes: Vec::new(),
            seconds: 0,
        }
    }

    /// A strike that counted.
    pub fn struck(&mut self, open: u64) {
        self.open_at_kill = if self.fired == 0 { open } else { self.open_at_kill.min(open) };
        self.fired += 1;
    }

    /// Why it did not pass; nothing where it did.
    pub fn failures(&self) -> Vec<String> {
        let mut why = self.verdicts.failures();
        if self.reconciled > 0 {
            why.push(format!("{} reconciled", self.reconciled));
        }
        if self.fired < self.wanted || self.fired == 0 {
            why.push(format!("struck {} of {} times", self.fired, self.wanted));
        }
        if self.accepted == 0 {
            why.push("nothing was accepted".to_owned());
        }
        if self.effects == 0 {
            why.push("nothing had an effect".to_owned());
        }
        why.extend(self.mistakes.iter().cloned());
        why
    }
}

/// The file that machines read.
pub fn file(runs: &[RunReport]) -> String {
    let mut text =
        serde_json::to_string_pretty(&serde_json::json!({ "runs": runs })).unwrap_or_default();
    text.push('\n');
    text
}

/// The head of the table.
pub fn head() -> String {
    format!(
        "{:<11} {:<8} {:>6} {:>8} {:>7} {:>5} {:>9} {:>9} {:>9} {:>6} {:>5}  verdict",
        "run",
        "ledger",
        "seed",
        "accepted",
        "effects",
        "fired",
        "open",
        "recovered",
        "uncertain",
        "parked",
        "s"
    )
}

/// The line of a run.
pub fn line(run: &RunReport) -> String {
    let failures = run.failures();
    let verdict = if failures.is_empty() { "ok".to_owned() } else { failures.join("; ") };
    format!(
        "{:<11} {:<8} {:>6} {:>8} {:>7} {:>5} {:>9} {:>9} {:>9} {:>6} {:>5}  {verdict}",
        run.name,
        run.ledger.word(),
        run.seed,
        run.accepted,
        run.effects,
        run.fired,
        run.open_at_kill,
        run.verdicts.recovered,
        run.uncertain,
        run.parked,
        run.seconds,
    )
}

/// The last words, and whether all is well.
pub fn verdict(runs: &[RunReport], wanted: usize) -> (String, bool) {
    let failed: Vec<&RunReport> = runs.iter().filter(|run| !run.failures().is_empty()).collect();
    let mut words = String::new();
    for run in &failed {
        let why = run.failures().join("; ");
        let _ = writeln!(words, "{} on {}: {why}", run.name, run.ledger.word());
    }
    let well = failed.is_empty() && runs.len() == wanted && wanted > 0;
    let strikes: u32 = runs.iter().map(|run| run.fired).sum();
    let effects: u64 = runs.iter().map(|run| run.effects).sum();
    let _ = write!(
        words,
        "{}: {} of {wanted} runs passed, {strikes} strikes, {effects} effects",
        if well { "nothing lost, nothing twice" } else { "FAILED" },
        runs.len() - failed.len(),
    );
    (words, well)
}
