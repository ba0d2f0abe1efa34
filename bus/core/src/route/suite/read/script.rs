//! What targets answer, as tests write it.
//!
//! Invariant: a script that is read can be followed: each word of it is a fault or an answer.

use std::collections::BTreeMap;

use super::{Reader, Wanted};
use crate::{
    diagnostic::{Words, help_with_nearest},
    route::suite::{Fails, Script, Then},
    yaml::{
        Content, Key, Node,
        fields::{Fields, Known},
    },
};

pub(in crate::route) const SCRIPT: Known = Known {
    what: "what a target answers",
    keys: &["fails", "returns", "refuses", "recalls"],
    reserved: &[],
};
pub(in crate::route) const REFUSES: Known =
    Known { what: "`refuses`", keys: &["code", "reason"], reserved: &[] };
const TRANSIENT: Known = Known { what: "a fault", keys: &["transient"], reserved: &[] };
const FAULTS: [&str; 3] = ["transient", "outage", "uncertain"];
/// The code of a target that refuses, where a script names none.
pub(super) const REFUSED: &str = "SN0763";

/// `fails` as it is written.
enum Listed {
    /// A list: one per call.
    Some(Vec<Fails>),
    /// One word: always; none where it is no word.
    Always(Option<Fails>),
}

/// Whether a node has the words of a script and nothing else.
pub(super) fn is_script(node: &Node) -> bool {
    match &node.content {
        Content::Text(word) => FAULTS.contains(&word.as_str()),
        Content::Map(entries) => {
            let known = |(key, _): &(Key, Node)| SCRIPT.keys.contains(&key.text.as_str());
            !entries.is_empty() && entries.iter().all(known)
        }
        _ => false,
    }
}

impl Reader<'_> {
    pub(super) fn scripts(&mut self, node: Option<&Node>) -> BTreeMap<String, Wanted<Script>> {
        let entries = node.map(|node| self.entries(node, "`steps`")).unwrap_or_default();
        entries
            .into_iter()
            .filter_map(|(step, node)| {
                let value = self.script(node)?;
                Some((step.value, Wanted { value, place: self.place(step.span) }))
            })
            .collect()
    }

    pub(super) fn script(&mut self, node: &Node) -> Option<Script> {
        if let Content::Text(word) = &node.content {
            let fails = self.fault(node, word)?;
            return Some(Script { then: Then::Fails(fails), ..Script::default() });
        }
        let fields = Fields::of(node, self.file, &SCRIPT, self.problems)?;
        let recalls = self.recalls(&fields);
        let fails = fields.get("fails").map(|node| (node, self.all_fails(node)));
        let then = self.then(&fields);
        let (recalls, then) = (recalls?, then?);
        match fails {
            None => Some(Script { then, recalls, ..Script::default() }),
            Some((_, Listed::Some(fails))) => Some(Script { fails, then, recalls }),
            Some((_, Listed::Always(fails))) if then == Then::Plain => {
                Some(Script { then: Then::Fails(fails?), recalls, ..Script::default() })
            }
            Some((node, Listed::Always(_))) => {
                let help = "write a list, one word per call: fails: [transient, transient]";
                let title = "a target that fails always answers nothing else";
                self.error("SN0163", node, Words::new(title, "always", help));
                None
            }
        }
    }

    fn all_fails(&mut self, node: &Node) -> Listed {
        match &node.content {
            Content::List(items) => {
                Listed::Some(items.iter().filter_map(|item| self.fails(item)).collect())
            }
            _ => Listed::Always(self.fails(node)),
        }
    }

    /// What is answered after the faults.
    fn then(&mut self, fields: &Fields<'_>) -> Option<Then> {
        match (fields.get("returns"), fields.get("refuses")) {
            (Some(returns), None) => returns.value().map(Then::Returns),
            (None, Some(refuses)) => self.refuses(refuses),
            (None, None) => Some(Then::Plain),
            (Some(_), Some(second)) => {
                let help = "a target that refuses returns nothing: delete one of the two";
                let words = Words::new("a target returns or refuses", "the second one", help);
                self.error("SN0163", second, words);
                None
            }
        }
    }

    fn recalls(&mut self, fields: &Fields<'_>) -> Option<bool> {
        let Some(word) = fields.text("recalls", self.problems) else { return Some(false) };
        match word.value.as_str() {
            "done" => Some(true),
            "not_done" => Some(false),
            other => {
                let title = format!("`recalls` cannot be `{other}`");
                let help = "write `done` or `not_done`: what the target answers when it is asked";
                let words = Words::new(title, "unknown word", help);
                self.problems.error("SN0163", self.place(word.span), words);
                None
            }
        }
    }

    fn refuses(&mut self, node: &Node) -> Option<Then> {
        let fields = Fields::of(node, self.file, &REFUSES, self.problems)?;
        let mut said = |name: &str| fields.text(name, self.problems).map(|text| text.value);
        Some(Then::Refuses {
            code: said("code").unwrap_or_else(|| REFUSED.to_owned()),
            reason: said("reason"),
        })
    }

    fn fails(&mut self, node: &Node) -> Option<Fails> {
        if let Content::Text(word) = &node.content {
            return self.fault(node, word);
        }
        let fields = Fields::of(node, self.file, &TRANSIENT, self.problems)?;
        fields.required("transient", self.problems)?;
        let after = fields.duration("transient", self.problems)?;
        Some(Fails::Transient(Some(after.value)))
    }

    fn fault(&mut self, node: &Node, word: &str) -> Option<Fails> {
        match word {
            "transient" => Some(Fails::Transient(None)),
            "outage" => Some(Fails::Outage),
            "uncertain" => Some(Fails::Uncertain),
            other => {
                let help = help_with_nearest(other, FAULTS, "faults of a target");
                let words = Words::new(format!("no fault is called `{other}`"), "no fault", help);
                self.error("SN0163", node, words);
                None
            }
        }
    }
}
