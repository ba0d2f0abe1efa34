//! Tests as they are written in YAML.
//!
//! Invariant: what is read here is well-formed on its own; whether the route has what it names is for
//! `check` to say. Nothing is left out without a word.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Attachments, EmitWanted, Expect, Fails, FaultWanted, STATES, Script, Sent, Test, Then, Together,
    Wanted, bytes_of,
};
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

/// The file beside a route.
pub(in crate::route) const TESTS: Known =
    Known { what: "a file of tests", keys: &["tests"], reserved: &[] };
const TEST: Known = Known {
    what: "a test",
    keys: &[
        "name", "at", "lasts", "message", "messages", "arrive", "copies", "steps", "crash_after",
        "expect",
    ],
    reserved: &["facts"],
};
const MESSAGE: Known = Known {
    what: "a message of a test",
    keys: &[
        "file", "data", "id", "source", "subject", "time", "party", "actor", "case", "after",
        "sent", "expect",
    ],
    reserved: &[],
};
const SCRIPT: Known = Known {
    what: "what a target answers",
    keys: &["fails", "returns", "refuses", "recalls"],
    reserved: &[],
};
const REFUSES: Known = Known { what: "`refuses`", keys: &["code", "reason"], reserved: &[] };
const TRANSIENT: Known = Known { what: "a fault", keys: &["transient"], reserved: &[] };
/// What may be expected of one message.
const OF_ONE: [&str; 9] =
    ["state", "ran", "not_ran", "calls", "inputs", "emits", "waits", "problem", "fault"];
/// What may be expected of all of them.
const OF_ALL: [&str; 2] = ["order", "deliveries"];
const EXPECT: Known = Known {
    what: "`expect`",
    keys: &[
        "state", "ran", "not_ran", "calls", "inputs", "emits", "waits", "problem", "fault", "order",
        "deliveries",
    ],
    reserved: &["asked", "not_asked", "reused"],
};
const EMIT: Known =
    Known { what: "a message that is emitted", keys: &["emit", "to", "with"], reserved: &[] };
const PROBLEM: Known = Known { what: "`problem`", keys: &["code", "pointer"], reserved: &[] };
const FAULT: Known = Known { what: "`fault`", keys: &["code", "step", "reason"], reserved: &[] };
const FAULTS: [&str; 3] = ["transient", "outage", "uncertain"];

/// A Wednesday morning in Rome.
const BEGIN: Timestamp = Timestamp(1_767_772_800_000);
/// Longer than any route goes on trying.
const LASTS: Duration = Duration::from_hours(24 * 400);
/// Copies, and times that a message is sent.
const MOST: u64 = 100;
/// Messages of a test.
const MESSAGES: usize = 1000;
/// The code of a target that refuses, where a script names none.
const REFUSED: &str = "SN0763";

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
        let expect = fields.get("expect").map(|expect| self.expectations(expect, single));
        let scripts = self.scripts(fields.get("steps"));
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
                let sent: Vec<Option<Sent>> =
                    items.iter().enumerate().map(|(index, item)| self.message(item, index)).collect();
                sent.into_iter().collect()
            }
            (None, None) => {
                fields.required("message", self.problems);
                None
            }
            (Some(_), Some(second)) => {
                let help = "put all of them into `messages: [ … ]`";
                let words = Words::new("a test has `message` or `messages`", "the second one", help);
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
            Some(expect) => self.expect(expect, &OF_ONE)?.0,
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
            (None, Some(data)) => Some(bytes_of(&self.value(data)?)),
            (Some(file), None) => {
                let name = text(self.file, file, self.problems)?;
                let path = format!("{}/{}", self.route, name.value);
                if let Some(found) = self.files.get(&path) {
                    return Some(found.text.clone().into());
                }
                let folder = format!("{}/", self.route);
                let known = self.files.keys().filter_map(|path| path.strip_prefix(&folder));
                let help = help_with_nearest(&name.value, known, &format!("files of routes/{folder}"));
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

    fn scripts(&mut self, node: Option<&Node>) -> BTreeMap<String, Wanted<Script>> {
        let entries = node.map(|node| self.entries(node, "`steps`")).unwrap_or_default();
        entries
            .into_iter()
            .filter_map(|(step, node)| {
                let value = self.script(node)?;
                Some((step.value, Wanted { value, place: self.place(step.span) }))
            })
            .collect()
    }

    fn script(&mut self, node: &Node) -> Option<Script> {
        if let Content::Text(word) = &node.content {
            let fails = self.fault(node, word)?;
            return Some(Script { then: Then::Fails(fails), ..Script::default() });
        }
        let fields = Fields::of(node, self.file, &SCRIPT, self.problems)?;
        let mut script = Script { recalls: self.recalls(&fields)?, ..Script::default() };
        match (fields.get("returns"), fields.get("refuses")) {
            (Some(returns), None) => script.then = Then::Returns(self.value(returns)?),
            (None, Some(refuses)) => script.then = self.refuses(refuses)?,
            (None, None) => {}
            (Some(_), Some(second)) => {
                let help = "a target that refuses returns nothing: delete one of the two";
                let words = Words::new("a target returns or refuses", "the second one", help);
                self.error("SN0163", second, words);
                return None;
            }
        }
        match fields.get("fails").map(|node| (node, &node.content)) {
            None => {}
            Some((_, Content::List(items))) => {
                script.fails = items.iter().filter_map(|item| self.fails(item)).collect();
            }
            Some((node, _)) if script.then == Then::Plain => {
                script.then = Then::Fails(self.fails(node)?);
            }
            Some((node, _)) => {
                let help = "write a list, one word per call: fails: [transient, transient]";
                let title = "a target that fails always answers nothing else";
                self.error("SN0163", node, Words::new(title, "always", help));
                return None;
            }
        }
        Some(script)
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
        match &node.content {
            Content::Text(word) => self.fault(node, word),
            _ => {
                let fields = Fields::of(node, self.file, &TRANSIENT, self.problems)?;
                let after = fields.required("transient", self.problems);
                after.and_then(|_| fields.duration("transient", self.problems))
                    .map(|after| Fails::Transient(Some(after.value)))
            }
        }
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

    /// What is expected of a test with one message, or with many.
    fn expectations(&mut self, node: &Node, single: bool) -> Option<(Expect, Together)> {
        let all: Vec<&str> = OF_ONE.into_iter().chain(OF_ALL).collect();
        self.expect(node, if single { &all } else { &OF_ALL })
    }

    fn expect(&mut self, node: &Node, may: &[&str]) -> Option<(Expect, Together)> {
        let fields = Fields::of(node, self.file, &EXPECT, self.problems)?;
        for key in EXPECT.keys.iter().filter(|key| !may.contains(key)) {
            if let Some(key) = fields.key(key) {
                let of_all = OF_ALL.contains(&key.text.as_str());
                let help = if of_all {
                    "write it under the `expect` of the test"
                } else {
                    "write it under the `expect` of each message"
                };
                let title = format!("`{}` cannot be expected here", key.text);
                let words = Words::new(title, "of another thing", help);
                self.problems.error("SN0163", self.place(key.span.clone()), words);
            }
        }
        let one = Expect {
            state: self.state(&fields),
            ran: self.wanted_texts(&fields, "ran"),
            not_ran: self.each_text(&fields, "not_ran"),
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
            if let Some(value) = self.value(node) {
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
            Some(with) => Some(self.value(with)?),
            None => None,
        };
        Some(EmitWanted { kind: kind.value, to, with, place: self.place(node.span.clone()) })
    }

    fn waits(&mut self, fields: &Fields<'_>) -> Option<Wanted<Vec<Duration>>> {
        let node = fields.get("waits")?;
        let mut value = Vec::new();
        for written in fields.texts("waits", self.problems) {
            match crate::yaml::duration(&written.value) {
                Some(wait) => value.push(wait),
                None => {
                    let help = "write a whole number and a unit: 100ms, 5s, 15m, 12h, 3d";
                    let title = format!("`{}` is no duration", written.value);
                    let words = Words::new(title, "not understood", help);
                    self.problems.error("SN0116", self.place(written.span), words);
                }
            }
        }
        Some(Wanted { value, place: self.place(node.span.clone()) })
    }

    #[expect(clippy::type_complexity, reason = "code and pointer, each perhaps")]
    fn problem(
        &mut self,
        node: Option<&Node>,
    ) -> Option<(Option<Wanted<String>>, Option<Wanted<String>>)> {
        let fields = Fields::of(node?, self.file, &PROBLEM, self.problems)?;
        let mut said = |name: &str| fields.text(name, self.problems);
        let (code, pointer) = (said("code"), said("pointer"));
        Some((code.map(|code| self.wanted(code)), pointer.map(|at| self.wanted(at))))
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

    fn count(
        &mut self,
        node: Option<&Node>,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u32> {
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

    /// A value as it is written; `None` where something in it was refused.
    fn value(&mut self, node: &Node) -> Option<Value> {
        node.value()
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
