//! `needs:` as it is written: which facts a route reads, about whom, under which case.
//!
//! Invariant: a need says about whom and for which case; what a route does not say of an outcome parks.

use std::{ops::Range, sync::Arc, time::Duration};

use super::is_name;
use crate::{
    diagnostic::{Place, Problems, SourceFile, Words},
    route::{IfMissing, IfUnavailable, Priority, StandIn},
    yaml::{
        Content, Node,
        fields::{At, Fields, Known},
    },
};

/// A need as written.
#[derive(Debug)]
pub(in crate::route) struct NeedFile {
    /// What `$facts.<name>` reads.
    pub(in crate::route) name: At<String>,
    pub(in crate::route) fact: At<String>,
    /// The word `about`, and what stands behind it.
    pub(in crate::route) about: (Range<usize>, Node),
    /// What is to be verified, or belongs to the question otherwise.
    pub(in crate::route) with: Option<Node>,
    pub(in crate::route) case: Node,
    /// Whether it is asked at all.
    pub(in crate::route) when: Option<Node>,
    pub(in crate::route) if_not_found: IfMissing,
    pub(in crate::route) if_ambiguous: IfMissing,
    pub(in crate::route) if_unavailable: Option<IfUnavailable>,
    /// What the sender says of it.
    pub(in crate::route) declared: Option<Node>,
    pub(in crate::route) priority: Priority,
}

impl NeedFile {
    /// Whether the fact may be null where it is read, beside where its stand-in is.
    pub(in crate::route) fn may_be_null(&self) -> bool {
        self.when.is_some()
            || self.if_not_found == IfMissing::Continue
            || self.if_ambiguous == IfMissing::Continue
            || self.if_unavailable.is_some_and(|unavailable| unavailable.then == StandIn::Null)
    }

    /// Whether what the sender declares may stand in for it.
    pub(in crate::route) fn is_stood_in(&self) -> bool {
        self.if_unavailable.is_some_and(|unavailable| unavailable.then == StandIn::SelfDeclared)
    }

    /// The templates of its question.
    pub(in crate::route) fn templates(&self) -> impl Iterator<Item = &Node> {
        [&self.about.1, &self.case].into_iter().chain(&self.with)
    }
}

pub(in crate::route) const NEED: Known = Known {
    what: "a need",
    keys: &[
        "fact",
        "about",
        "case",
        "with",
        "when",
        "if_not_found",
        "if_ambiguous",
        "if_unavailable",
        "declared",
        "priority",
    ],
    reserved: &[],
};
pub(in crate::route) const UNAVAILABLE: Known =
    Known { what: "`if_unavailable`", keys: &["wait", "then"], reserved: &[] };

/// A route has at most so many needs.
const MOST_NEEDS: usize = 20;

/// Reads the needs of a route.
pub(super) fn read(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Vec<NeedFile> {
    let mut reader = Reader { file, problems };
    let Content::Map(entries) = &node.content else {
        if node.content != Content::Refused {
            let help = "write `<name>: { fact: …, about: …, case: … }` for each";
            reader.error(
                "SN0111",
                node.span.clone(),
                Words::new("needs are a map", "not a map", help),
            );
        }
        return Vec::new();
    };
    if let Some((key, _)) = entries.get(MOST_NEEDS) {
        let title = format!("a route has at most {MOST_NEEDS} needs");
        let help = "make two routes of it: one emits a type that the other takes";
        reader.error("SN0145", key.span.clone(), Words::new(title, "one too many", help));
    }
    let read = |(key, node)| {
        let name = reader.named(key);
        reader.need(node, name)
    };
    entries.iter().map(|(key, node)| (key, node)).filter_map(read).collect()
}

struct Reader<'r> {
    file: &'r Arc<SourceFile>,
    problems: &'r mut Problems,
}

impl Reader<'_> {
    fn error(&mut self, code: &'static str, span: Range<usize>, words: Words) {
        self.problems.error(code, Place::new(self.file, span), words);
    }

    fn named(&mut self, key: &crate::yaml::Key) -> At<String> {
        // `facts.when` could be taken for the condition of a step called `facts`.
        if !is_name(&key.text, '_') || key.text == "when" {
            let help = "write small letters, digits and `_`, first a letter, so that `$facts.<name>` is jq";
            let title = format!("`{}` is no name of a need", key.text);
            self.error("SN0112", key.span.clone(), Words::new(title, "not a name", help));
        }
        At { value: key.text.clone(), span: key.span.clone() }
    }

    fn need(&mut self, node: &Node, name: At<String>) -> Option<NeedFile> {
        let fields = Fields::of(node, self.file, &NEED, self.problems)?;
        let fact = fields.required_text("fact", self.problems);
        let about = fields.required("about", self.problems);
        let case = fields.required("case", self.problems);
        let if_not_found = self.missing(&fields, "if_not_found");
        let if_ambiguous = self.missing(&fields, "if_ambiguous");
        let if_unavailable = fields.get("if_unavailable").map(|node| self.unavailable(node));
        let priority = self.priority(&fields);
        let key = fields.key("about").map(|key| key.span.clone())?;
        Some(NeedFile {
            name,
            fact: fact?,
            about: (key, about?.clone()),
            with: fields.get("with").cloned(),
            case: case?.clone(),
            when: fields.get("when").cloned(),
            if_not_found,
            if_ambiguous,
            if_unavailable: match if_unavailable {
                Some(unavailable) => Some(unavailable?),
                None => None,
            },
            declared: fields.get("declared").cloned(),
            priority,
        })
    }

    fn missing(&mut self, fields: &Fields<'_>, key: &str) -> IfMissing {
        let Some(word) = fields.text(key, self.problems) else { return IfMissing::default() };
        match word.value.as_str() {
            "park" => IfMissing::Park,
            "continue" => IfMissing::Continue,
            other => {
                let help =
                    "write `park`: a person looks at it; or `continue`: the fact is then null";
                let title = format!("`{key}` cannot be `{other}`");
                self.error("SN0168", word.span, Words::new(title, "unknown word", help));
                IfMissing::default()
            }
        }
    }

    fn priority(&mut self, fields: &Fields<'_>) -> Priority {
        let Some(word) = fields.text("priority", self.problems) else { return Priority::default() };
        let known = Priority::WORDS.iter().find(|(known, _)| *known == word.value);
        known.map_or_else(
            || {
                let help = "write `high` where somebody waits at the desk, `low` for what may wait until \
                            tomorrow, or leave it out";
                let title = format!("`priority` cannot be `{}`", word.value);
                self.error("SN0168", word.span.clone(), Words::new(title, "unknown word", help));
                Priority::default()
            },
            |(_, priority)| *priority,
        )
    }

    fn unavailable(&mut self, node: &Node) -> Option<IfUnavailable> {
        let fields = Fields::of(node, self.file, &UNAVAILABLE, self.problems)?;
        let wait = fields.required("wait", self.problems);
        let wait = wait.and_then(|_| fields.duration("wait", self.problems));
        let then = fields.required_text("then", self.problems);
        let wait = self.waits(wait?)?;
        let then = then?;
        let then = match then.value.as_str() {
            "continue" => StandIn::Null,
            "self_declared" => StandIn::SelfDeclared,
            other => {
                let help = "write `continue`: the fact is then null; or `self_declared`: it is what \
                            `declared` says; to wait for a person leave `if_unavailable` out";
                let title = format!("`then` cannot be `{other}`");
                self.error("SN0168", then.span, Words::new(title, "unknown word", help));
                StandIn::Null
            }
        };
        Some(IfUnavailable { wait, then })
    }

    fn waits(&mut self, wait: At<Duration>) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_hours(365 * 24);
        if wait.value <= LONGEST {
            return Some(wait.value);
        }
        let help = "write a time within a year, for example 3d";
        let words = Words::new("a fact is not waited for so long", "more than a year", help);
        self.error("SN0168", wait.span, words);
        None
    }
}
