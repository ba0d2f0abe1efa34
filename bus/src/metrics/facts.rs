//! What was asked of authorities, used again, and so not asked of anybody.
//!
//! Invariant: a fact counts once per delivery, when the row that says so is durable.

use std::collections::BTreeSet;

use prometheus::{IntCounter, IntGauge};
use snodo_core::{facts::quota::day, route::Answer, timestamp::Timestamp};

use super::{Family, Maker};
use crate::{engine::FactUse, ledger::Asked};

const WAYS: [&str; 3] = ["asked", "reused", "self_declared"];
const COMPARED: [&str; 2] = ["same", "differs"];
const ANSWERS: [Answer; 3] = [Answer::Found, Answer::NotFound, Answer::Ambiguous];

/// Facts by name.
#[derive(Debug)]
pub(super) struct Facts {
    uses: Family<[IntCounter; 3]>,
    compared: Family<[IntCounter; 2]>,
    answers: Family<[IntCounter; 3]>,
    values: Family<IntCounter>,
    asked_today: Family<IntGauge>,
    per_day: Family<IntGauge>,
}

impl Facts {
    pub(super) fn new(make: &Maker<'_>, names: &BTreeSet<&str>) -> prometheus::Result<Self> {
        let uses = ("snodo_facts_used_total", "Facts that routes used, by how they came.");
        let compared =
            ("snodo_facts_compared_total", "Facts that were compared with what a sender declares.");
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
            compared: make.counters_by(compared, ["fact", "outcome"], names, COMPARED)?,
            asked_today: make.gauges(
                "snodo_quota_used",
                "Questions that were put today, where an authority answers so many a day.",
                "target",
                &BTreeSet::new(),
            )?,
            per_day: make.gauges(
                "snodo_quota_limit",
                "How many questions a day the configuration lets through.",
                "target",
                &BTreeSet::new(),
            )?,
            values: make.counters("snodo_values_not_asked_total", values, "fact", names)?,
        })
    }

    pub(super) fn name(&self, names: &BTreeSet<&str>) {
        self.uses.name(names);
        self.answers.name(names);
        self.compared.name(names);
        self.values.name(names);
    }

    /// The questions that are limited, and how often each may be put a day.
    pub(super) fn limit(&self, quotas: &[(String, u64)]) {
        let names = quotas.iter().map(|(name, _)| name.as_str()).collect();
        self.asked_today.name(&names);
        self.per_day.name(&names);
        for (name, most) in quotas {
            self.per_day.with(name, |limit| limit.set(i64::try_from(*most).unwrap_or(i64::MAX)));
        }
    }

    /// How many were put today: another day's count is none.
    pub(super) fn asked(&self, asked: &[Asked], now: Timestamp) {
        let today = day(now);
        for (name, used) in &*self.asked_today.read() {
            let of_it = asked.iter().find(|one| one.target == *name && one.day == today);
            used.set(of_it.map_or(0, |one| one.n));
        }
    }

    pub(super) fn used(&self, told: &FactUse<'_>) {
        self.uses.with(told.fact, |ways| ways[told.way as usize].inc());
        if let Some(differs) = told.differs {
            self.compared.with(told.fact, |outcomes| outcomes[usize::from(differs)].inc());
        }
        self.answers.with(told.fact, |answers| {
            if let Some(at) = ANSWERS.iter().position(|answer| Some(*answer) == told.answer) {
                answers[at].inc();
            }
        });
        self.values.with(told.fact, |values| values.inc_by(told.values));
    }
}
