//! Asked once: who fills in each field of what comes in, why it is asked, and who holds it already.
//!
//! Invariant: where nothing is said, every field that a person fills in has a verdict, and none of them is
//! what a fact of the catalogue holds, unless it may be declared under a law.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    diagnostic::{Place, Problems},
    facts::{Catalogue, Fact},
    json::locate,
    schema::Schemas,
};

mod judge;
mod report;
mod said;
mod walk;

pub(crate) use judge::authority;
pub use report::{Format, Language, Report, Row, Sight, Unseen};
use said::Said;

/// Who fills a field in: `x-asked-of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskedOf {
    /// A person.
    Citizen,
    /// A business.
    Business,
    /// Another administration, out of what it holds.
    Administration,
    /// A program: a number, a time, a file.
    System,
    /// The login, such as SPID or CIE: nobody types it.
    Login,
}

/// Why a person is asked: `x-verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is needed to find what an administration holds.
    Key,
    /// The person is its source.
    New,
    /// An administration holds it, and a law lets it be declared; a fact checks it.
    SelfDeclared,
    /// No administration holds it: somebody looked.
    NotHeld,
}

impl AskedOf {
    pub(crate) const ALL: [Self; 5] =
        [Self::Citizen, Self::Business, Self::Administration, Self::System, Self::Login];

    /// The word that schemas write.
    pub fn word(self) -> &'static str {
        match self {
            Self::Citizen => "citizen",
            Self::Business => "business",
            Self::Administration => "administration",
            Self::System => "system",
            Self::Login => "login",
        }
    }

    /// Whether somebody types it who could have been spared.
    pub fn is_person(self) -> bool {
        matches!(self, Self::Citizen | Self::Business)
    }
}

impl Verdict {
    pub(crate) const ALL: [Self; 4] = [Self::Key, Self::New, Self::SelfDeclared, Self::NotHeld];

    /// The word that schemas write.
    pub fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::New => "new",
            Self::SelfDeclared => "self-declared",
            Self::NotHeld => "not-held",
        }
    }
}

/// What is looked at beside the entry types.
#[derive(Clone, Copy)]
pub(crate) struct Around<'h> {
    pub(crate) schemas: &'h Schemas,
    pub(crate) facts: &'h Catalogue,
    pub(crate) laws: &'h [String],
    /// Whether the house says that its effects count.
    pub(crate) production: bool,
}

/// A type that comes from outside: a party may send it, or a route takes it and nobody here makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: String,
    pub(crate) takers: Vec<Taker>,
}

/// A route that takes an entry type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taker {
    pub(crate) route: String,
    pub(crate) title: String,
    pub(crate) office: String,
    /// What it asks for instead of asking a person.
    pub(crate) needs: Vec<Need>,
    /// What its questions are made of, as written.
    pub(crate) questions: String,
}

/// A need, and what its sender may declare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// The fact that is needed.
    pub(crate) fact: String,
    /// Where it stands in the route.
    pub(crate) place: Place,
    /// `declared`, as written; empty where nothing is.
    pub(crate) declared: String,
    /// Whether it may stand in for the fact.
    pub(crate) stands_in: bool,
}

/// A place in a schema: a type, and a pointer into its document.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    kind: String,
    pointer: String,
}

/// One field that somebody fills in, or one way to fill it in.
#[derive(Clone, Debug)]
struct Field {
    /// `movers[].taxCode`.
    path: String,
    /// Its own name, `taxCode`.
    name: String,
    /// The property in which it stands.
    at: Spot,
    said: Said,
    shape: Shape,
}

/// What a field may hold, as far as it matters to who reads the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Text in which anything may stand.
    FreeText,
    /// A document.
    Document,
    /// Fields that no schema names.
    Map,
    /// Any value at all.
    Anything,
    /// A number, a date, one of a list, a text with a form.
    Formed,
}

/// An entry type with its fields.
#[derive(Clone, Debug)]
struct Asked {
    entry: Entry,
    /// Whether every field must say who fills it in.
    strict: bool,
    fields: Vec<Field>,
}

/// Everything that is asked of those who write to the house.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    asked: Vec<Asked>,
    facts: BTreeMap<String, Arc<Fact>>,
    /// The facts in whose schema a field has the name.
    parts: BTreeMap<String, String>,
}

/// Looks at every type that comes in, and says what is wrong with it.
pub(crate) fn check(
    entries: Vec<Entry>,
    around: &Around<'_>,
    problems: &mut Problems,
) -> Inventory {
    judge::words(around, problems);
    let mut asked: Vec<Asked> =
        entries.into_iter().filter_map(|entry| asked(entry, around)).collect();
    asked.sort_by(|a, b| a.entry.kind.cmp(&b.entry.kind));
    judge::fields(&asked, around, problems);
    let right = around.facts.values().flatten();
    let facts: BTreeMap<String, Arc<Fact>> =
        right.map(|fact| (fact.name.clone(), Arc::clone(fact))).collect();
    let parts = facts.values().flat_map(|fact| parts(fact, around.schemas)).collect();
    Inventory { asked, facts, parts }
}

fn asked(entry: Entry, around: &Around<'_>) -> Option<Asked> {
    let fields = walk::fields(&entry.kind, around)?;
    let says =
        fields.iter().any(|field| field.said.asked_of.is_some() || field.said.verdict.is_some());
    let strict = says || around.production || !around.facts.is_empty();
    Some(Asked { entry, strict, fields })
}

/// The names of the fields of a fact's value, without those by which it is asked.
fn parts(fact: &Fact, schemas: &Schemas) -> Vec<(String, String)> {
    let document = fact.schema.as_ref().and_then(|kind| schemas.document(kind));
    let schemas = document.into_iter().flat_map(|document| crate::schema::each_schema(document));
    let named = schemas.filter_map(|(_, schema)| schema.get("properties")?.as_object());
    let names = named.flat_map(|fields| fields.keys().cloned());
    names.filter(|name| *name != fact.about).map(|name| (name, fact.name.clone())).collect()
}

impl Taker {
    /// Whether a question is made of this field.
    fn asks_with(&self, path: &str) -> bool {
        self.questions.contains(&format!(".{path}"))
    }
}

impl Need {
    /// Whether `declared` reads the field, or what it stands in.
    fn reads(&self, path: &str) -> bool {
        let ends = path.char_indices().filter(|(_, c)| matches!(c, '.' | '[')).map(|(at, _)| at);
        ends.chain([path.len()]).any(|end| mentions(&self.declared, &path[..end]))
    }
}

/// Whether an expression names a field: `.isee`, and not `.iseeCents`.
fn mentions(text: &str, path: &str) -> bool {
    let named = format!(".{path}");
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let mut after = text.match_indices(&named).map(|(at, _)| &text[at + named.len()..]);
    !path.is_empty() && after.any(|rest| !goes_on(rest))
}

impl Spot {
    pub(crate) fn new(kind: &str, pointer: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), pointer: pointer.into() }
    }

    /// The nearest property around it, or the whole.
    fn property(&self) -> Self {
        let mut end = self.pointer.as_str();
        loop {
            let Some((above, _)) = end.rsplit_once('/') else { return Self::new(&self.kind, "") };
            if above.ends_with("/properties") || above.ends_with("/$defs") {
                return Self::new(&self.kind, end);
            }
            end = above;
        }
    }

    /// Where its name stands; the first line, for the whole of a document.
    pub(crate) fn name(&self, schemas: &Schemas) -> Option<Place> {
        let file = schemas.source(&self.kind)?;
        if self.pointer.is_empty() {
            return Some(Place::new(file, 0..file.text.find('\n').unwrap_or(file.text.len())));
        }
        let span = locate(&file.text, &self.pointer)?;
        let length = quoted(&file.text[span.clone()]);
        Some(Place::new(file, span.start..span.start + length))
    }

    /// Where the value of a keyword stands.
    fn value(&self, keyword: &str, schemas: &Schemas) -> Option<Place> {
        let file = schemas.source(&self.kind)?;
        let span = locate(&file.text, &format!("{}/{keyword}", self.pointer))?;
        let text = &file.text[span.clone()];
        let after = &text[quoted(text)..];
        let value = after.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ':');
        Some(Place::new(file, span.end - value.len()..span.end))
    }
}

/// The bytes of the quoted text at the start.
fn quoted(text: &str) -> usize {
    let mut escaped = true;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 1)
}

#[cfg(test)]
mod tests;
