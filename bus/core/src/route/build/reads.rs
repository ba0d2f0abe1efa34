//! What expressions read: fields that there are, steps that have run.
//!
//! Invariant: a path is called wrong only where its schema shows it; full inference comes later.

use std::{ops::Range, sync::Arc};

use serde_json::Value;

use super::Builder;
use crate::{
    diagnostic::{Words, help_with_nearest},
    route::{IfRefused, file::VerbFile, paths, refusal},
    template::{
        Condition,
        compile::{Name, Read, Seen},
        cover::Cover,
    },
    yaml::Node,
};

/// What is known of the results of the steps so far.
#[derive(Debug, Default)]
pub(super) struct Results<'b>(Vec<Done<'b>>);

#[derive(Debug)]
struct Done<'b> {
    id: &'b str,
    /// The schema of its result, where one is known.
    schema: Option<Arc<Value>>,
    ran: Ran,
}

/// Whether a step has run where an expression reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ran {
    Surely,
    /// In a branch that may not have been taken: its result may be null.
    Perhaps,
    /// In a branch beside this one.
    Elsewhere,
}

impl<'b> Results<'b> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn done(&mut self, id: &'b str, schema: Option<Arc<Value>>) {
        self.0.push(Done { id, schema, ran: Ran::Surely });
    }

    /// The steps from `mark` on were in a branch; what follows is in another one.
    pub(super) fn leave_branch(&mut self, mark: usize) {
        self.0[mark..].iter_mut().for_each(|done| done.ran = Ran::Elsewhere);
    }

    /// The steps from `mark` on were in branches; what follows comes after all of them.
    pub(super) fn leave_choose(&mut self, mark: usize) {
        self.0[mark..].iter_mut().for_each(|done| done.ran = Ran::Perhaps);
    }

    fn get(&self, id: &str) -> Option<&Done<'b>> {
        self.0.iter().find(|done| done.id == id)
    }

    fn readable(&self) -> impl Iterator<Item = &'b str> {
        self.0.iter().filter(|done| done.ran != Ran::Elsewhere).map(|done| done.id)
    }
}

/// The schema of what a path begins with, the names after that, and whether it may be null as a whole.
struct Begins<'r> {
    schema: Arc<Value>,
    names: &'r [Name],
    perhaps: bool,
}

impl Begins<'_> {
    fn look(&self) -> paths::Known<'_> {
        let names = self.names.iter().map(|(name, _)| name.as_str());
        match paths::look(&self.schema, names) {
            paths::Known::Field { nullable, schema } => {
                paths::Known::Field { nullable: nullable || self.perhaps, schema }
            }
            other => other,
        }
    }
}

impl Builder<'_, '_, '_> {
    /// A bare jq condition, and the values for which it holds where it says so.
    pub(super) fn condition(
        &mut self,
        node: &Node,
        at: &str,
    ) -> (Option<Condition>, Option<Cover>) {
        let condition = self.templates.condition(node, at);
        let seen = self.templates.seen();
        let cover = seen.first().and_then(|seen| seen.cover.clone());
        let sound = seen.iter().all(|seen| self.check_reads(seen));
        if let Some(seen) = seen.first().filter(|_| sound) {
            self.check_boolean(seen);
        }
        if let Some(cover) = cover.as_ref().filter(|_| sound) {
            self.check_values(cover);
        }
        (condition, cover)
    }

    /// Checks the paths of the expressions that were compiled since the last call.
    pub(super) fn check_seen(&mut self) {
        for seen in self.templates.seen() {
            if self.check_reads(&seen) && seen.interpolated {
                self.check_text(&seen);
            }
        }
    }

    pub(super) fn check_reads(&mut self, seen: &Seen) -> bool {
        seen.reads.iter().filter(|read| !self.is_sound(read)).count() == 0
    }

    fn begins<'r>(&self, read: &'r Read) -> Option<Begins<'r>> {
        let names = read.names.as_slice();
        let body = |names| Some(Begins { schema: Arc::clone(self.body?), names, perhaps: false });
        match read.variable.as_deref() {
            None => body(names),
            Some("$message") if names.first().is_some_and(|(name, _)| name == "data") => {
                body(&names[1..])
            }
            Some("$steps") => {
                let (id, _) = names.first()?;
                let done = self.results.get(id)?;
                let schema = Arc::clone(done.schema.as_ref()?);
                Some(Begins { schema, names: &names[1..], perhaps: done.ran == Ran::Perhaps })
            }
            Some(_) => None,
        }
    }

    /// What a path may be: whether it may be null, the word of its type, all its values.
    pub(super) fn may_be(&self, read: &Read) -> MayBe {
        let Some(begins) = self.begins(read) else { return MayBe::default() };
        let known = begins.look();
        let nullable = matches!(known, paths::Known::Field { nullable: true, .. });
        MayBe { nullable, kind: known.kind().map(str::to_owned), values: known.values() }
    }

    fn is_sound(&mut self, read: &Read) -> bool {
        if read.variable.as_deref() == Some("$steps") && !self.step_is_done(read) {
            return false;
        }
        let Some(begins) = self.begins(read) else { return true };
        let paths::Known::Missing(index, known) = begins.look() else { return true };
        let (name, span) = begins.names[index].clone();
        let mut help = help_with_nearest(&name, known, "declared fields");
        if let Some(id) = self.refusable(read, index) {
            help = format!("give the step `{id}` `if_refused: continue`: then its refusal is data");
        }
        let words = Words::new(format!("there is no field `{name}`"), "not in the schema", help);
        self.error("SN0201", span, words);
        false
    }

    /// The step whose refusal a path wants to read although the route does not go on after it.
    fn refusable<'r>(&self, read: &'r Read, index: usize) -> Option<&'r str> {
        let [(id, _), (field, _), ..] = read.names.as_slice() else { return None };
        let asked = read.variable.as_deref() == Some("$steps") && index == 0;
        let parks =
            |verb: &VerbFile| matches!(verb, VerbFile::Use { if_refused: IfRefused::Park, .. });
        let wanted = asked && field == refusal::REFUSED;
        let step = self.written_steps().find(|step| step.id.value == *id)?;
        (wanted && parks(&step.verb)).then_some(id)
    }

    fn step_is_done(&mut self, read: &Read) -> bool {
        let Some((id, span)) = read.names.first() else { return true };
        let ran = self.results.get(id).map(|done| done.ran);
        let (title, label) = match ran {
            Some(Ran::Surely | Ran::Perhaps) => return true,
            Some(Ran::Elsewhere) => {
                (format!("the step `{id}` runs in another branch"), "never done here")
            }
            None if self.written_steps().any(|step| step.id.value == *id) => {
                (format!("the step `{id}` has not run yet"), "runs here or later")
            }
            None => (format!("there is no step `{id}`"), "no such step"),
        };
        let help = help_with_nearest(id, self.results.readable(), "steps that run before");
        self.error("SN0123", span.clone(), Words::new(title, label, help));
        false
    }

    /// A value that is written into a text must be there and have a text.
    pub(super) fn check_text(&mut self, seen: &Seen) {
        let Some(read) = &seen.whole else { return };
        let may_be = self.may_be(read);
        let kind = match may_be.kind.as_deref() {
            Some("array") => "a list",
            Some("object") => "an object",
            _ if may_be.nullable => "null",
            _ => return,
        };
        let (title, help) = match kind {
            "null" => (
                "the text would say \"null\"".to_owned(),
                "give a default with `// \"…\"`, or make the field required in the schema",
            ),
            kind => (format!("{kind} has no text"), "take one of its fields, or `join(\", \")`"),
        };
        let words = Words::new(title, format!("it may be {kind}"), help);
        self.error("SN0209", seen.span.clone(), words);
    }

    /// A condition that is nothing but a path must be true or false.
    fn check_boolean(&mut self, seen: &Seen) {
        let Some(read) = &seen.whole else { return };
        let may_be = self.may_be(read);
        let (label, help) = match may_be.kind.as_deref() {
            Some("boolean") if may_be.nullable => ("it may be null", "write `… == true`"),
            Some("boolean") | None => return,
            Some("string") => ("it is text", "compare it: `… == \"…\"`, or `… != null`"),
            Some("array") => ("it is a list", "ask for its length: `(… | length) > 0`"),
            Some(_) => ("it is neither", "compare it, for example with `!= null`"),
        };
        let words = Words::new("a condition must be true or false", label, help);
        self.error("SN0213", seen.span.clone(), words);
    }

    /// A value with which an enum is compared must be one of its values.
    fn check_values(&mut self, cover: &Cover) {
        let Some(values) = self.may_be(&cover.path).values else { return };
        for (value, span) in &cover.values {
            if !values.contains(value) {
                let words = never_equal(value, &values);
                self.error("SN0215", span.clone(), words);
            }
        }
    }
}

/// What a path may be, as far as its schema shows it.
#[derive(Debug, Default)]
pub(super) struct MayBe {
    pub(super) nullable: bool,
    pub(super) kind: Option<String>,
    /// Every value, where the schema lists them; null among them.
    pub(super) values: Option<Vec<Value>>,
}

fn never_equal(value: &Value, values: &[Value]) -> Words {
    let shown: Vec<String> = values.iter().map(shown).collect();
    let help = help_with_nearest(
        &self::shown(value),
        shown.iter().map(String::as_str),
        "values that it may have",
    );
    Words::new(format!("it is never equal to {value}"), "no such value", help)
}

/// A value as a route writes it, text without quotes.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The place of the first value of a cover, for marks.
pub(super) fn first_place(cover: &Cover) -> Range<usize> {
    cover.values.first().map_or_else(|| cover.path.span(), |(_, span)| span.clone())
}
