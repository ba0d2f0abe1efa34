//! What tests expect, as they write it.
//!
//! Invariant: what is expected of one message stands with that message, what of all of them with the test.

use std::time::Duration;

use serde_json::Value;

use super::{MOST, Reader, Wanted};
use crate::{
    diagnostic::{Words, help_with_nearest},
    route::suite::{EmitWanted, Expect, FaultWanted, ProblemWanted, STATES, Together},
    yaml::{
        Node,
        fields::{Fields, Known, list},
    },
};

/// What may be expected of all messages together; anything else, of each.
const OF_ALL: [&str; 2] = ["order", "deliveries"];
pub(in crate::route) const EXPECT: Known = Known {
    what: "`expect`",
    keys: &[
        "state",
        "ran",
        "not_ran",
        "asked",
        "not_asked",
        "reused",
        "differs",
        "calls",
        "inputs",
        "emits",
        "waits",
        "problem",
        "fault",
        "order",
        "deliveries",
    ],
    reserved: &[],
};
pub(in crate::route) const EMIT: Known =
    Known { what: "a message that is emitted", keys: &["emit", "to", "with"], reserved: &[] };
pub(in crate::route) const PROBLEM: Known =
    Known { what: "`problem`", keys: &["code", "pointer"], reserved: &[] };
pub(in crate::route) const FAULT: Known =
    Known { what: "`fault`", keys: &["code", "step", "reason"], reserved: &[] };

/// Of what an `expect` speaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// One of many messages.
    Each,
    /// All of many messages.
    All,
    /// The only message.
    Single,
}

impl Of {
    fn may_say(self, key: &str) -> bool {
        match self {
            Self::Each => !OF_ALL.contains(&key),
            Self::All => OF_ALL.contains(&key),
            Self::Single => true,
        }
    }
}

impl Reader<'_> {
    pub(super) fn expect(&mut self, node: &Node, of: Of) -> Option<(Expect, Together)> {
        let fields = Fields::of(node, self.file, &EXPECT, self.problems)?;
        for key in EXPECT.keys.iter().filter(|key| !of.may_say(key)) {
            if let Some(key) = fields.key(key) {
                let (label, help) = if Of::All.may_say(&key.text) {
                    ("said of all messages", "write it under the `expect` of the test")
                } else {
                    ("said of one message", "write it under the `expect` of each message")
                };
                let title = format!("`{}` cannot be expected here", key.text);
                let words = Words::new(title, label, help);
                self.problems.error("SN0163", self.place(key.span.clone()), words);
            }
        }
        let one = Expect {
            state: self.state(&fields),
            ran: self.wanted_texts(&fields, "ran"),
            not_ran: self.each_text(&fields, "not_ran"),
            asked: self.wanted_texts(&fields, "asked"),
            not_asked: self.each_text(&fields, "not_asked"),
            reused: self.wanted_texts(&fields, "reused"),
            differs: self.wanted_texts(&fields, "differs"),
            calls: self.calls(fields.get("calls")),
            inputs: self.inputs(fields.get("inputs")),
            emits: self.emits(fields.get("emits")),
            waits: self.waits(&fields),
            problem: self.problem(fields.get("problem")),
            fault: self.fault_wanted(fields.get("fault")),
        };
        let deliveries = fields.get("deliveries");
        let together = Together {
            order: self.wanted_texts(&fields, "order"),
            deliveries: deliveries.and_then(|node| {
                let value = self.count(Some(node), 0..=MOST)?;
                Some(Wanted { value, place: self.place(node.span.clone()) })
            }),
        };
        Some((one, together))
    }

    fn state(&mut self, fields: &Fields<'_>) -> Option<Wanted<String>> {
        let state = fields.text("state", self.problems)?;
        if !STATES.contains(&state.value.as_str()) {
            let help = help_with_nearest(&state.value, STATES, "states of a message");
            let title = format!("no state is called `{}`", state.value);
            let words = Words::new(title, "no state", help);
            self.problems.error("SN0163", self.place(state.span.clone()), words);
        }
        Some(self.wanted(state))
    }

    fn wanted_texts(&mut self, fields: &Fields<'_>, name: &str) -> Option<Wanted<Vec<String>>> {
        let node = fields.get(name)?;
        let value = fields.texts(name, self.problems).into_iter().map(|text| text.value).collect();
        Some(Wanted { value, place: self.place(node.span.clone()) })
    }

    fn each_text(&mut self, fields: &Fields<'_>, name: &str) -> Vec<Wanted<String>> {
        let texts = fields.texts(name, self.problems);
        texts.into_iter().map(|text| self.wanted(text)).collect()
    }

    fn calls(&mut self, node: Option<&Node>) -> Vec<(String, Wanted<u32>)> {
        let entries = node.map(|node| self.entries(node, "`calls`")).unwrap_or_default();
        let mut calls = Vec::new();
        for (step, node) in entries {
            if let Some(value) = self.count(Some(node), 0..=MOST * MOST) {
                calls.push((step.value, Wanted { value, place: self.place(node.span.clone()) }));
            }
        }
        calls
    }

    fn inputs(&mut self, node: Option<&Node>) -> Vec<(String, Wanted<Value>)> {
        let entries = node.map(|node| self.entries(node, "`inputs`")).unwrap_or_default();
        let mut inputs = Vec::new();
        for (step, node) in entries {
            if let Some(value) = node.value() {
                inputs.push((step.value, Wanted { value, place: self.place(node.span.clone()) }));
            }
        }
        inputs
    }

    fn emits(&mut self, node: Option<&Node>) -> Option<Wanted<Vec<EmitWanted>>> {
        let node = node?;
        let items = list(self.file, node, self.problems);
        let value = items.iter().filter_map(|item| self.emit(item)).collect();
        Some(Wanted { value, place: self.place(node.span.clone()) })
    }

    fn emit(&mut self, node: &Node) -> Option<EmitWanted> {
        let fields = Fields::of(node, self.file, &EMIT, self.problems)?;
        let kind = fields.required_text("emit", self.problems)?;
        let to = fields.get("to").map(|_| {
            let to = fields.texts("to", self.problems);
            to.into_iter().map(|party| party.value).collect()
        });
        let with = match fields.get("with") {
            Some(with) => Some(with.value()?),
            None => None,
        };
        Some(EmitWanted { kind: kind.value, to, with, place: self.place(node.span.clone()) })
    }

    fn waits(&mut self, fields: &Fields<'_>) -> Option<Wanted<Vec<Duration>>> {
        let node = fields.get("waits")?;
        let mut value = Vec::new();
        for written in fields.texts("waits", self.problems) {
            if let Some(wait) = crate::yaml::duration(&written.value) {
                value.push(wait);
                continue;
            }
            let help = "write a whole number and a unit: 100ms, 5s, 15m, 12h, 3d";
            let title = format!("`{}` is no duration", written.value);
            let words = Words::new(title, "not understood", help);
            self.problems.error("SN0116", self.place(written.span), words);
        }
        Some(Wanted { value, place: self.place(node.span.clone()) })
    }

    fn problem(&mut self, node: Option<&Node>) -> Option<ProblemWanted> {
        let fields = Fields::of(node?, self.file, &PROBLEM, self.problems)?;
        let mut said = |name: &str| fields.text(name, self.problems);
        let (code, pointer) = (said("code"), said("pointer"));
        Some(ProblemWanted {
            code: code.map(|code| self.wanted(code)),
            pointer: pointer.map(|pointer| self.wanted(pointer)),
        })
    }

    fn fault_wanted(&mut self, node: Option<&Node>) -> Option<FaultWanted> {
        let fields = Fields::of(node?, self.file, &FAULT, self.problems)?;
        let mut said = |name: &str| fields.text(name, self.problems);
        let (code, step, reason) = (said("code"), said("step"), said("reason"));
        Some(FaultWanted {
            code: code.map(|code| self.wanted(code)),
            step: step.map(|step| self.wanted(step)),
            reason: reason.map(|reason| self.wanted(reason)),
        })
    }
}
