//! What a fault session found: a line per run, the file that machines read, the verdict.
//!
//! Invariant: a run passes only if everything it was to see was seen, and every count that must be zero
//! is; what was not run says why, and is no pass.

use std::fmt::Write as _;

use serde::Serialize;

use super::plan::{Reconciled, Run};
use crate::chaos::{plan::LedgerKind, stage::Judged};

/// Something that the row says must be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// What.
    pub what: String,
    /// Whether it was.
    pub held: bool,
}

/// One run, as `target/faults.json` holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultReport {
    /// `F01`.
    pub name: &'static str,
    /// The fault.
    pub title: &'static str,
    /// On which ledger.
    pub ledger: LedgerKind,
    /// What its chance started from.
    pub seed: u64,
    /// What was done to the bus and around it.
    pub done: Vec<String>,
    /// What had to be seen.
    pub seen: Vec<Seen>,
    /// Why it was not run here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Parts of the row that speak of what Snodo does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_built: Vec<String>,
    /// What became of everything.
    #[serde(flatten)]
    pub judged: Judged,
    /// Effects of a key out of their order, where the route keeps one.
    pub order_breaks: u64,
    /// What else was wrong: the register, the equations, the invariants, the run itself.
    pub mistakes: Vec<String>,
    /// How long it took.
    pub seconds: u64,
    #[serde(skip)]
    may_reconcile: Reconciled,
}

impl FaultReport {
    /// Of a run that has not begun.
    pub fn new(run: &Run) -> Self {
        Self {
            name: run.row.name,
            title: run.row.title,
            ledger: run.ledger,
            seed: run.seed,
            done: Vec::new(),
            seen: Vec::new(),
            skipped: None,
            not_built: Vec::new(),
            judged: Judged::default(),
            order_breaks: 0,
            mistakes: Vec::new(),
            seconds: 0,
            may_reconcile: run.row.reconciled,
        }
    }

    /// Notes what was done.
    pub fn did(&mut self, what: impl Into<String>) {
        self.done.push(what.into());
    }

    /// Notes whether what must be seen was.
    pub fn see(&mut self, what: impl Into<String>, held: bool) {
        self.seen.push(Seen { what: what.into(), held });
    }

    /// Why it did not pass; nothing where it did, or was not run.
    pub fn failures(&self) -> Vec<String> {
        let Judged { accepted, effects, reconciled, verdicts, .. } = self.judged;
        let mut why = verdicts.failures();
        if self.order_breaks > 0 {
            why.push(format!("{} order breaks", self.order_breaks));
        }
        let unseen = self.seen.iter().filter(|seen| !seen.held);
        why.extend(unseen.map(|seen| format!("not seen: {}", seen.what)));
        why.extend(self.mistakes.iter().cloned());
        if self.skipped.is_some() {
            return why;
        }
        match (self.may_reconcile, reconciled) {
            (Reconciled::Never, 1..) => why.push(format!("{reconciled} reconciled")),
            (Reconciled::Surely, 0) => why.push("nothing was reconciled".to_owned()),
            _ => {}
        }
        for (count, what) in [(accepted, "accepted"), (effects, "done")] {
            if count == 0 {
                why.push(format!("nothing was {what}"));
            }
        }
        if self.seen.is_empty() {
            why.push("nothing was looked at".to_owned());
        }
        why
    }
}

/// The file that machines read.
pub fn file(seed: u64, runs: &[FaultReport]) -> String {
    let runs = serde_json::json!({ "seed": seed, "runs": runs });
    let mut text = serde_json::to_string_pretty(&runs).unwrap_or_default();
    text.push('\n');
    text
}

/// The head of the table.
pub fn head() -> String {
    let [accepted, effects, seen] = ["accepted", "effects", "seen"];
    format!("{:<4} {:<8} {accepted:>8} {effects:>7} {seen:>5} {:>5}  verdict", "run", "ledger", "s")
}

/// The line of a run.
pub fn line(run: &FaultReport) -> String {
    let failures = run.failures();
    let held = run.seen.iter().filter(|seen| seen.held).count();
    let mut verdict = match (&run.skipped, failures.is_empty()) {
        (Some(why), true) => format!("skipped: {why}"),
        (_, true) => format!("ok: {}", run.title),
        (_, false) => failures.join("; "),
    };
    for missing in &run.not_built {
        let _ = write!(verdict, "; not built: {missing}");
    }
    format!(
        "{:<4} {:<8} {:>8} {:>7} {:>5} {:>5}  {verdict}",
        run.name,
        run.ledger.word(),
        run.judged.accepted,
        run.judged.effects,
        format!("{held}/{}", run.seen.len()),
        run.seconds,
    )
}

/// The last words, and whether all is well.
pub fn verdict(runs: &[FaultReport], wanted: usize) -> (String, bool) {
    let failed: Vec<&FaultReport> = runs.iter().filter(|run| !run.failures().is_empty()).collect();
    let mut words = String::new();
    for run in &failed {
        let why = run.failures().join("; ");
        let _ = writeln!(words, "{} on {}: {why}", run.name, run.ledger.word());
    }
    let well = failed.is_empty() && runs.len() == wanted && wanted > 0;
    let skipped = runs.iter().filter(|run| run.skipped.is_some()).count();
    let effects: u64 = runs.iter().map(|run| run.judged.effects).sum();
    let _ = write!(
        words,
        "{}: {} of {wanted} runs passed, {skipped} skipped, {effects} effects",
        if well { "nothing lost, nothing twice" } else { "FAILED" },
        runs.len() - failed.len() - skipped.min(runs.len() - failed.len()),
    );
    (words, well)
}
