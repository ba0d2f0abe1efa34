//! What a fault session found: a line per run, the file that machines read, the verdict.
//!
//! Invariant: a run passes only if everything it was to see was seen, and every count that must be zero
//! is; what was not run says why, and is no pass.

use std::fmt::Write as _;

use serde::Serialize;

use super::plan::{Reconciled, Run};
use crate::{
    chaos::{plan::LedgerKind, stage::Judged},
    checker::Verdicts,
};

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
    /// Messages for which a 202 was seen.
    pub accepted: u64,
    /// Effects that the far sides and the register hold.
    pub effects: u64,
    /// Effects of messages for which no 202 was seen: allowed.
    pub recovered: u64,
    /// Deliveries that a person had to decide.
    pub uncertain: u64,
    /// Deliveries that were parked and tried again by a person.
    pub replayed: u64,
    /// Copies sent again because their queue had lost them.
    pub reconciled: u64,
    /// Effects of messages that nobody sent.
    pub unexpected: u64,
    /// Accepted, and gone.
    pub lost: u64,
    /// Effects that happened twice.
    pub duplicate_effects: u64,
    /// Still open after the quiet time.
    pub stuck: u64,
    /// Effects with another content.
    pub altered: u64,
    /// Deliveries that ended twice.
    pub double_terminal: u64,
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
            accepted: 0,
            effects: 0,
            recovered: 0,
            uncertain: 0,
            replayed: 0,
            reconciled: 0,
            unexpected: 0,
            lost: 0,
            duplicate_effects: 0,
            stuck: 0,
            altered: 0,
            double_terminal: 0,
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

    /// Takes over what was judged.
    pub fn judged(&mut self, judged: &Judged) {
        let Judged { accepted, effects, uncertain, replayed, reconciled, verdicts } = *judged;
        (self.accepted, self.effects, self.uncertain) = (accepted, effects, uncertain);
        (self.replayed, self.reconciled) = (replayed, reconciled);
        let Verdicts {
            lost,
            unexpected,
            duplicate_effects,
            stuck,
            altered,
            double_terminal,
            recovered,
        } = verdicts;
        (self.lost, self.unexpected, self.duplicate_effects) =
            (lost, unexpected, duplicate_effects);
        (self.stuck, self.altered, self.recovered) = (stuck, altered, recovered);
        self.double_terminal = double_terminal;
    }

    /// Why it did not pass; nothing where it did, or was not run.
    pub fn failures(&self) -> Vec<String> {
        let must_not = [
            (self.unexpected, "unexpected"),
            (self.lost, "lost"),
            (self.duplicate_effects, "duplicate effects"),
            (self.stuck, "stuck"),
            (self.altered, "altered"),
            (self.double_terminal, "double terminal"),
            (self.order_breaks, "order breaks"),
        ];
        let counted = must_not.iter().filter(|(count, _)| *count > 0);
        let mut why: Vec<String> = counted.map(|(count, what)| format!("{count} {what}")).collect();
        let unseen = self.seen.iter().filter(|seen| !seen.held);
        why.extend(unseen.map(|seen| format!("not seen: {}", seen.what)));
        why.extend(self.mistakes.iter().cloned());
        if self.skipped.is_some() {
            return why;
        }
        match (self.may_reconcile, self.reconciled) {
            (Reconciled::Never, 1..) => why.push(format!("{} reconciled", self.reconciled)),
            (Reconciled::Surely, 0) => why.push("nothing was reconciled".to_owned()),
            _ => {}
        }
        for (count, what) in [(self.accepted, "accepted"), (self.effects, "done")] {
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
        run.accepted,
        run.effects,
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
    let effects: u64 = runs.iter().map(|run| run.effects).sum();
    let _ = write!(
        words,
        "{}: {} of {wanted} runs passed, {skipped} skipped, {effects} effects",
        if well { "nothing lost, nothing twice" } else { "FAILED" },
        runs.len() - failed.len() - skipped.min(runs.len() - failed.len()),
    );
    (words, well)
}
