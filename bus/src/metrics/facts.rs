//! What was asked of authorities, used again, and so not asked of anybody.
//!
//! Invariant: a fact counts once per delivery, when the row that says so is durable.

use std::collections::BTreeSet;

use prometheus::IntCounter;
use snodo_core::route::Answer;

use super::{Family, Maker};
use crate::engine::FactUse;

const WAYS: [&str; 2] = ["asked", "reused"];
const ANSWERS: [Answer; 3] = [Answer::Found, Answer::NotFound, Answer::Ambiguous];

/// Facts by name.
#[derive(Debug)]
pub(super) struct Facts {
    uses: Family<[IntCounter; 2]>,
    answers: Family<[IntCounter; 3]>,
    values: Family<IntCounter>,
}

impl Facts {
    pub(super) fn new(make: &Maker<'_>, names: &BTreeSet<&str>) -> prometheus::Result<Self> {
        let uses = ("snodo_facts_used_total", "Facts that routes used, asked for now or before.");
        let answers = ("snodo_facts_answered_total", "What authorities answered, as far as used.");
        let values = "Values that a fact gave a route: so many nobody was asked for.";
        Ok(Self {
            uses: make.counters_by(uses, ["fact", "way"], names, WAYS)?,
            answers: make.counters_by(
                answers,
                ["fact", "answer"],
                names,
                ANSWERS.map(Answer::word),
            )?,
            values: make.counters("snodo_values_not_asked_total", values, "fact", names)?,
        })
    }

    pub(super) fn name(&self, names: &BTreeSet<&str>) {
        self.uses.name(names);
        self.answers.name(names);
        self.values.name(names);
    }

    pub(super) fn used(&self, told: &FactUse<'_>) {
        self.uses.with(told.fact, |ways| ways[usize::from(told.reused)].inc());
        self.answers.with(told.fact, |answers| {
            if let Some(at) = ANSWERS.iter().position(|answer| *answer == told.answer) {
                answers[at].inc();
            }
        });
        self.values.with(told.fact, |values| values.inc_by(told.values));
    }
}
