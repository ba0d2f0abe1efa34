//! Reads a map by its known keys and says what is unknown, missing or of the wrong kind.
//!
//! Invariant: `None` means that it is not there, or that why it cannot be used was said.

use std::{ops::Range, sync::Arc, time::Duration};

use super::{Content, Key, Node};
use crate::diagnostic::{Place, Problems, SourceFile, Words, help_with_nearest, nearest};

/// A value with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// The keys that a map may have.
pub(crate) struct Known {
    /// What the map is: "a route".
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [&'static str],
    /// Words of the language that this version does not read.
    pub(crate) reserved: &'static [&'static str],
}

/// A map that is being read.
pub(crate) struct Fields<'n> {
    file: &'n Arc<SourceFile>,
    what: &'static str,
    span: Range<usize>,
    entries: &'n [(Key, Node)],
    /// Known keys that are written, misspelt.
    meant: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    pub(crate) fn of(
        node: &'n Node,
        file: &'n Arc<SourceFile>,
        known: &Known,
        problems: &mut Problems,
    ) -> Option<Self> {
        let what = known.what;
        let entries: &[(Key, Node)] = match &node.content {
            Content::Map(entries) => entries,
            Content::Refused => return None,
            _ => {
                let help = format!("the keys of {what} are {}", known.keys.join(", "));
                let words = Words::new(format!("{what} is a map"), "not a map", help);
                problems.error("SN0111", Place::new(file, node.span.clone()), words);
                return None;
            }
        };
        let mut meant = Vec::new();
        // Of a key without a value it was said what is wrong.
        for (key, _) in entries.iter().filter(|(_, node)| node.content != Content::Refused) {
            meant.extend(unknown(file, key, known, problems));
        }
        Some(Self { file, what, span: node.span.clone(), entries, meant })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    /// Whether a key is written in a way that was said to be wrong.
    pub(crate) fn is_meant(&self, name: &str) -> bool {
        self.meant.contains(&name)
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'n Key> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(key, _)| key)
    }

    pub(crate) fn required(&self, name: &str, problems: &mut Problems) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() && !self.is_meant(name) {
            let title = format!("{} needs `{name}`", self.what);
            let help = format!("add `{name}: {}`", example(name));
            let end = self.first_line();
            let words = Words::new(title, format!("`{name}` is missing here"), help);
            problems.error("SN0110", Place::new(self.file, end), words);
        }
        found
    }

    fn first_line(&self) -> Range<usize> {
        self.entries.first().map_or_else(|| self.span.clone(), |(key, _)| key.span.clone())
    }

    pub(crate) fn text(&self, name: &str, problems: &mut Problems) -> Option<At<String>> {
        text(self.file, self.get(name)?, problems)
    }

    pub(crate) fn required_text(&self, name: &str, problems: &mut Problems) -> Option<At<String>> {
        text(self.file, self.required(name, problems)?, problems)
    }

    pub(crate) fn texts(&self, name: &str, problems: &mut Problems) -> Vec<At<String>> {
        let items = self.get(name).map_or(&[][..], |node| list(self.file, node, problems));
        items.iter().filter_map(|item| text(self.file, item, problems)).collect()
    }

    pub(crate) fn duration(&self, name: &str, problems: &mut Problems) -> Option<At<Duration>> {
        let At { value, span } = self.text(name, problems)?;
        let read = duration(&value);
        if read.is_none() {
            let help = "write a whole number and a unit: 100ms, 5s, 15m, 12h, 3d, 10y";
            let words = Words::new(format!("`{value}` is no duration"), "not understood", help);
            problems.error("SN0116", Place::new(self.file, span.clone()), words);
        }
        read.map(|value| At { value, span })
    }
}

/// Says that a key is not known; the one that is meant, where one is near.
fn unknown(
    file: &Arc<SourceFile>,
    key: &Key,
    known: &Known,
    problems: &mut Problems,
) -> Option<&'static str> {
    let (name, what) = (key.text.as_str(), known.what);
    if known.keys.contains(&name) {
        return None;
    }
    let place = Place::new(file, key.span.clone());
    if known.reserved.contains(&name) {
        let help = "leave it out; the word is kept for a later version";
        let words = Words::new(format!("`{name}` is not in this version"), "reserved", help);
        problems.error("SN0115", place, words);
        return None;
    }
    let help = help_with_nearest(name, known.keys.iter().copied(), "known keys");
    let words = Words::new(format!("{what} has no key `{name}`"), "unknown key", help);
    problems.error("SN0109", place, words);
    nearest(name, known.keys.iter().copied())
}

/// The text of a node.
pub(crate) fn text(
    file: &Arc<SourceFile>,
    node: &Node,
    problems: &mut Problems,
) -> Option<At<String>> {
    match &node.content {
        Content::Text(value) => Some(At { value: value.clone(), span: node.span.clone() }),
        Content::Refused => None,
        Content::Plain(value) => {
            let help = format!("quote it: \"{value}\"");
            let words = Words::new("text is expected", "not text", help);
            problems.error("SN0111", Place::new(file, node.span.clone()), words);
            None
        }
        Content::List(_) | Content::Map(_) => {
            let words = Words::new("text is expected", "not text", "write one text here");
            problems.error("SN0111", Place::new(file, node.span.clone()), words);
            None
        }
    }
}

/// The items of a node.
pub(crate) fn list<'n>(
    file: &Arc<SourceFile>,
    node: &'n Node,
    problems: &mut Problems,
) -> &'n [Node] {
    match &node.content {
        Content::List(items) => items,
        Content::Refused => &[],
        _ => {
            let words =
                Words::new("a list is expected", "not a list", "write `[ … ]` or lines `- …`");
            problems.error("SN0111", Place::new(file, node.span.clone()), words);
            &[]
        }
    }
}

/// What stands behind a key that must be there, so that who forgot it need not look it up.
fn example(key: &str) -> &'static str {
    match key {
        "route" | "party" => "<the name of the file>",
        "title" => "<one line that people read>",
        "office" => "<the office that answers for it>",
        "from" => "<domain>.<name>.v<N>`, a type of schemas/, or `from: { every: … }",
        "purpose" => "<a file of routes/purposes/, without .yaml>",
        "actor" => "system` where no person acts, or `actor: ${ .field }",
        "steps" => "` and below it the steps, each `- <id>:",
        "laws" => "[<ids of routes/laws.yaml>]",
        "law" => "<an id of routes/laws.yaml>",
        "retention" => "<how long bodies are kept, such as 30d>",
        "record" => "<its entry in the record of processing>",
        "token" => "{ sha256: <64 digits> }",
        "with" => "` and below it the values that are sent",
        _ => "…",
    }
}

/// Reads `5s`, `100ms`, `3d`.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "y" => 365 * 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}
