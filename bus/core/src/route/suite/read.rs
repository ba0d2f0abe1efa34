//! Tests as they are written in YAML.
//!
//! Invariant: what is read here is well-formed on its own; whether the route has what it names is for
//! `check` to say. Nothing is left out without a word.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Attachments, Expect, Sent, Test, Wanted, bytes_of};
use crate::{
    diagnostic::{Place, Problems, SourceFile, Words, help_with_nearest},
    envelope::Incoming,
    route::file::twice,
    timestamp::Timestamp,
    yaml::{
        Content, Node,
        fields::{At, Fields, Known, list, text},
    },
};

pub(in crate::route) mod expect;
pub(in crate::route) mod facts;
pub(in crate::route) mod script;

use expect::Of;

/// The file beside a route.
pub(in crate::route) const TESTS: Known =
    Known { what: "a file of tests", keys: &["tests"], reserved: &[] };
pub(in crate::route) const TEST: Known = Known {
    what: "a test",
    keys: &[
        "name",
        "at",
        "lasts",
        "message",
        "messages",
        "arrive",
        "copies",
        "steps",
        "facts",
        "crash_after",
        "expect",
    ],
    reserved: &[],
};
pub(in crate::route) const MESSAGE: Known = Known {
    what: "a message of a test",
    keys: &[
        "file", "data", "id", "source", "subject", "time", "party", "actor", "case", "after",
        "sent", "expect",
    ],
    reserved: &[],
};

/// A Wednesday morning in Rome.
const BEGIN: Timestamp = Timestamp(1_767_772_800_000);
/// Longer than any route goes on trying.
const LASTS: Duration = Duration::from_hours(24 * 400);
/// Copies, and times that a message is sent.
const MOST: u64 = 100;
/// Messages of a test.
const MESSAGES: usize = 1000;

/// Reads the tests of a list, for a route that takes messages of `kind`.
pub(in crate::route) fn read(
    file: &Arc<SourceFile>,
    node: &Node,
    (route, kind): (&str, &str),
    files: &Attachments,
    problems: &mut Problems,
) -> Vec<Test> {
    let mut reader = Reader { file, route, kind, files, problems };
    let items = list(file, node, reader.problems);
    let mut tests: Vec<(At<String>, Test)> = Vec::new();
    for item in items {
        let Some((name, test)) = reader.test(item) else { continue };
        if let Some((first, _)) = tests.iter().find(|(first, _)| first.value == name.value) {
            let first = Place::new(file, first.span.clone());
            twice(file, "tests", &name, &first, reader.problems);
        }
        tests.push((name, test));
    }
    tests.into_iter().map(|(_, test)| test).collect()
}

struct Reader<'r> {
    file: &'r Arc<SourceFile>,
    route: &'r str,
    kind: &'r str,
    files: &'r Attachments,
    problems: &'r mut Problems,
}

impl Reader<'_> {
    fn test(&mut self, node: &Node) -> Option<(At<String>, Test)> {
        let fields = Fields::of(node, self.file, &TEST, self.problems)?;
        let name = fields.required_text("name", self.problems);
        let messages = self.messages(&fields);
        let single = fields.get("message").is_some();
        let of = if single { Of::Single } else { Of::All };
        let expect = fields.get("expect").map(|expect| self.expect(expect, of));
        let mut scripts = self.scripts(fields.get("steps"));
        self.facts(fields.get("facts"), &mut scripts);
        let arrive = self.arrive(&fields, messages.as_deref().unwrap_or_default());
        let at = self.moment(&fields, "at").unwrap_or(BEGIN);
        let lasts = fields.duration("lasts", self.problems).map_or(LASTS, |lasts| lasts.value);
        let copies = self.count(fields.get("copies"), 1..=MOST).unwrap_or(1);
        let crash_after = fields.text("crash_after", self.problems).map(|step| step.value);
        // Everything that is wrong was said; now what is whole is a test.
        let (name, mut messages) = (name?, messages?);
        let (expected, together) = expect.unwrap_or_else(|| Some(Default::default()))?;
        if single && let Some(only) = messages.first_mut() {
            only.expect = expected;
        }
        let place = self.place(name.span.clone());
        let test = Test {
            name: name.value.clone(),
            place,
            at,
            lasts,
            messages,
            arrive,
            copies,
            scripts,
            crash_after,
            expect: together,
        };
        Some((name, test))
    }

    /// The messages; of one that is not in a list, what is expected of it stands beside it.
    fn messages(&mut self, fields: &Fields<'_>) -> Option<Vec<Sent>> {
        match (fields.get("message"), fields.get("messages")) {
            (Some(one), None) => Some(vec![self.message(one, 0)?]),
            (None, Some(many)) => {
                let items = list(self.file, many, self.problems);
                let items = &items[..items.len().min(MESSAGES)];
                let sent: Vec<Option<Sent>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.message(item, index))
                    .collect();
                sent.into_iter().collect()
            }
            (None, None) => {
                fields.required("message", self.problems);
                None
            }
            (Some(_), Some(second)) => {
                let help = "put all of them into `messages: [ … ]`";
                let words =
                    Words::new("a test has `message` or `messages`", "the second one", help);
                self.error("SN0163", second, words);
                None
            }
        }
    }

    fn message(&mut self, node: &Node, index: usize) -> Option<Sent> {
        let fields = Fields::of(node, self.file, &MESSAGE, self.problems)?;
        let data = self.data(&fields, node)?;
        let mut extensions = BTreeMap::new();
        for name in ["actor", "case"] {
            if let Some(value) = fields.text(name, self.problems) {
                extensions.insert(name.to_owned(), value.value);
            }
        }
        let mut said = |name: &str| fields.text(name, self.problems).map(|text| text.value);
        let incoming = Incoming {
            sender_id: said("id").unwrap_or_else(|| format!("message-{}", index + 1)),
            source: said("source").unwrap_or_else(|| "/test".to_owned()),
            kind: self.kind.to_owned(),
            subject: said("subject"),
            time: None,
            extensions,
            data,
        };
        let party = said("party").unwrap_or_else(|| "test".to_owned());
        let after = fields.duration("after", self.problems).map(|after| after.value);
        let expect = match fields.get("expect") {
            Some(expect) => self.expect(expect, Of::Each)?.0,
            None => Expect::default(),
        };
        Some(Sent {
            incoming: Incoming { time: self.moment(&fields, "time"), ..incoming },
            party,
            after: after.unwrap_or_default(),
            times: self.count(fields.get("sent"), 1..=MOST).unwrap_or(1),
            expect,
            place: self.place(node.span.clone()),
        })
    }

    fn data(&mut self, fields: &Fields<'_>, node: &Node) -> Option<bytes::Bytes> {
        match (fields.get("file"), fields.get("data")) {
            (None, Some(data)) => Some(bytes_of(&data.value()?)),
            (Some(file), None) => {
                let name = text(self.file, file, self.problems)?;
                let path = format!("{}/{}", self.route, name.value);
                if let Some(found) = self.files.get(&path) {
                    return Some(found.text.clone().into());
                }
                let folder = format!("{}/", self.route);
                let known = self.files.keys().filter_map(|path| path.strip_prefix(&folder));
                let help =
                    help_with_nearest(&name.value, known, &format!("files of routes/{folder}"));
                let title = format!("there is no file routes/{path}");
                self.error("SN0165", file, Words::new(title, "no such file", help));
                None
            }
            _ => {
                let help = "write `data: { … }`, or `file: <name>` for a file of routes/<route>/";
                let words = Words::new("a message has `data` or `file`", "one of them", help);
                self.error("SN0165", node, words);
                None
            }
        }
    }

    /// The order in which copies come; that in which they were sent, where it is not said.
    fn arrive(&mut self, fields: &Fields<'_>, messages: &[Sent]) -> Vec<usize> {
        let mut order = Vec::new();
        for id in fields.texts("arrive", self.problems) {
            match self.named(&id, messages) {
                Some(index) if !order.contains(&index) => order.push(index),
                _ => {}
            }
        }
        let left = (0..messages.len()).filter(|index| !order.contains(index)).collect::<Vec<_>>();
        order.into_iter().chain(left).collect()
    }

    fn named(&mut self, id: &At<String>, messages: &[Sent]) -> Option<usize> {
        let found = messages.iter().position(|sent| sent.incoming.sender_id == id.value);
        if found.is_none() {
            let known = messages.iter().map(|sent| sent.incoming.sender_id.as_str());
            let help = help_with_nearest(&id.value, known, "messages of this test");
            let title = format!("no message of this test has the id `{}`", id.value);
            let words = Words::new(title, "no such message", help);
            self.problems.error("SN0164", self.place(id.span.clone()), words);
        }
        found
    }

    /// The entries of a map whose keys are the route's own words.
    fn entries<'n>(&mut self, node: &'n Node, what: &str) -> Vec<(At<String>, &'n Node)> {
        match &node.content {
            Content::Map(entries) => entries
                .iter()
                .map(|(key, node)| (At { value: key.text.clone(), span: key.span.clone() }, node))
                .collect(),
            Content::Refused => Vec::new(),
            _ => {
                let words = Words::new(format!("{what} is a map"), "not a map", "write <step>: …");
                self.error("SN0111", node, words);
                Vec::new()
            }
        }
    }

    fn count(&mut self, node: Option<&Node>, range: std::ops::RangeInclusive<u64>) -> Option<u32> {
        let node = node?;
        let number = match &node.content {
            Content::Plain(value) => value.as_u64().filter(|number| range.contains(number)),
            Content::Refused => return None,
            _ => None,
        };
        if number.is_none() {
            let label = format!("not from {} to {}", range.start(), range.end());
            let words = Words::new("a whole number is expected", label, "write a number, unquoted");
            self.error("SN0111", node, words);
        }
        u32::try_from(number?).ok()
    }

    fn moment(&mut self, fields: &Fields<'_>, name: &str) -> Option<Timestamp> {
        let written = fields.text(name, self.problems)?;
        let read = Timestamp::parse(&written.value);
        if read.is_none() {
            let help = "write date, time and offset (RFC 3339): 2026-03-29T02:30:00+01:00";
            let words = Words::new(format!("`{}` is no time", written.value), "no time", help);
            self.problems.error("SN0163", self.place(written.span), words);
        }
        read
    }

    fn wanted(&self, text: At<String>) -> Wanted<String> {
        Wanted { value: text.value, place: self.place(text.span) }
    }

    fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place::new(self.file, span)
    }

    fn error(&mut self, code: &'static str, node: &Node, words: Words) {
        self.problems.error(code, Place::new(self.file, node.span.clone()), words);
    }
}
