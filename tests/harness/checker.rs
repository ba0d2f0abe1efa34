//! The verdicts of a chaos run, from logs that the bus does not write: what was attempted, what was
//! acknowledged, what the far sides applied, and what the bus says became of each message.
//!
//! Invariant: pure; the same logs give the same counts. After Jepsen's total-queue checker.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// What the bus says of a message at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All its deliveries are completed.
    Completed,
    /// It waits for a person (parked or uncertain), or was refused for its content.
    WithAPerson,
    /// Still open after the quiet time.
    Open,
}

/// One effect that a far side applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The driver's number of the message.
    pub message: u64,
    /// The operation, as the far side names it.
    pub operation: String,
    /// Whether what arrived is what the reference transform gives.
    pub as_expected: bool,
}

/// Everything that was logged of one run.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// Numbers of the messages that were posted.
    pub attempted: BTreeSet<u64>,
    /// Those for which a 202 was seen.
    pub acknowledged: BTreeSet<u64>,
    /// Effects that far sides applied, in their order.
    pub effects: Vec<Effect>,
    /// What the bus says of the messages it knows.
    pub ends: BTreeMap<u64, End>,
    /// Deliveries for which the bus wrote more than one final event.
    pub double_terminal: u64,
}

/// The counts. All but `recovered` must be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// Acknowledged, and neither applied nor with a person nor open.
    pub lost: u64,
    /// Applied, never attempted.
    pub unexpected: u64,
    /// Applied more than once for one message and operation.
    pub duplicate_effects: u64,
    /// Still open after the quiet time.
    pub stuck: u64,
    /// Applied with another content than the reference transform gives.
    pub altered: u64,
    /// Ended twice.
    pub double_terminal: u64,
    /// Applied though no 202 was seen: allowed, the caller got no answer.
    pub recovered: u64,
}

impl Verdicts {
    /// What must be zero and is not, in words.
    pub fn failures(&self) -> Vec<String> {
        let must_not = [
            (self.unexpected, "unexpected"),
            (self.lost, "lost"),
            (self.duplicate_effects, "duplicate effects"),
            (self.stuck, "stuck"),
            (self.altered, "altered"),
            (self.double_terminal, "double terminal"),
        ];
        let counted = must_not.into_iter().filter(|(count, _)| *count > 0);
        counted.map(|(count, what)| format!("{count} {what}")).collect()
    }

    /// Whether nothing that must be zero is not.
    pub fn all_well(&self) -> bool {
        Self { recovered: 0, ..*self } == Self::default()
    }
}

/// Judges a run.
pub fn judge(logs: &Logs) -> Verdicts {
    let mut times: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for effect in &logs.effects {
        *times.entry((effect.message, &effect.operation)).or_default() += 1;
    }
    let applied: BTreeSet<u64> = times.keys().map(|(message, _)| *message).collect();
    let accounted = |message: &u64| applied.contains(message) || logs.ends.contains_key(message);
    let completed_without_effect = |message: &u64| {
        logs.ends.get(message) == Some(&End::Completed) && !applied.contains(message)
    };
    Verdicts {
        lost: count(
            logs.acknowledged
                .iter()
                .filter(|message| !accounted(message) || completed_without_effect(message)),
        ),
        unexpected: count(applied.difference(&logs.attempted)),
        duplicate_effects: count(times.values().filter(|times| **times > 1)),
        stuck: count(logs.ends.values().filter(|end| **end == End::Open)),
        altered: count(logs.effects.iter().filter(|effect| !effect.as_expected)),
        double_terminal: logs.double_terminal,
        recovered: count(
            applied
                .intersection(&logs.attempted)
                .filter(|message| !logs.acknowledged.contains(message)),
        ),
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}
