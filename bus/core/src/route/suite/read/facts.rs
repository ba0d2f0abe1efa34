//! What authorities answer, as tests write it under `facts:`, by need.
//!
//! Invariant: what is read here is a script like that of any target: a need is a step that asks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Reader, Wanted,
    script::{REFUSED, is_script},
};
use crate::{
    adapter::{AMBIGUOUS, NOT_FOUND},
    facts::VERDICTS,
    route::{
        Ask,
        suite::{Fails, Script, Then},
    },
    yaml::{Content, Node},
};

/// An authority that does not answer, as tests and coverage call it.
pub const UNAVAILABLE: &str = "unavailable";

impl Reader<'_> {
    /// Adds what authorities answer to what other targets do.
    pub(super) fn facts(
        &mut self,
        node: Option<&Node>,
        scripts: &mut BTreeMap<String, Wanted<Script>>,
    ) {
        let entries = node.map(|node| self.entries(node, "`facts`")).unwrap_or_default();
        for (need, node) in entries {
            if let Some(value) = self.fact(node) {
                let place = self.place(need.span);
                scripts.insert(Ask::step(&need.value), Wanted { value, place });
            }
        }
    }

    /// A word for an outcome, a script as under `steps:`, or else the value itself.
    fn fact(&mut self, node: &Node) -> Option<Script> {
        let always = |then| Script { then, ..Script::default() };
        if let Content::Text(word) = &node.content
            && let Some(then) = outcome(word)
        {
            return Some(always(then));
        }
        if is_script(node) {
            let mut script = self.script(node)?;
            if let Then::Returns(Value::String(word)) = &script.then
                && let Some(then) = outcome(word)
            {
                script.then = then;
            }
            return Some(script);
        }
        node.value().map(|value| always(Then::Returns(value)))
    }
}

/// What an authority answers in a word.
fn outcome(word: &str) -> Option<Then> {
    let refuses =
        |reason: &str| Then::Refuses { code: REFUSED.to_owned(), reason: Some(reason.to_owned()) };
    match word {
        NOT_FOUND | AMBIGUOUS => Some(refuses(word)),
        UNAVAILABLE => Some(Then::Fails(Fails::Transient(None))),
        word if VERDICTS.contains(&word) => Some(Then::Returns(json!({ "outcome": word }))),
        _ => None,
    }
}
