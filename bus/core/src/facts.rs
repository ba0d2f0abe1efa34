//! The catalogue of facts: what an authority holds of a person, how it is asked, how long it is good.
//!
//! Invariant: a fact names its authority, the law under which it is asked and whom an answer concerns; an
//! operation that changes something is no question.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use crate::{
    adapter::Operation,
    diagnostic::SourceFile,
    envelope::Envelope,
    fault::{Fault, FaultClass},
    formats::codice_fiscale,
    schema::Validator,
    template::{Scope, Template},
    verdict::EffectKind,
};

pub mod declared;
pub mod known;
mod parts;
pub mod quota;
pub(crate) mod read;

pub use parts::Parts;
pub(crate) use parts::Way;
pub(crate) use read::{Around, read, type_of};

/// Something that an authority holds, and that nobody is asked for.
#[derive(Debug)]
pub struct Fact {
    /// Its name, and that of its file.
    pub name: String,
    /// For people; the name where none is written.
    pub title: String,
    /// The adapter instance that answers.
    pub held_by: String,
    /// The operation that is the question.
    pub operation: Operation,
    /// The field of the operation's input that says about whom.
    pub about: String,
    /// A value, or a yes or no.
    pub kind: Kind,
    /// The type of its value, `facts.household.v1`; none for a verification.
    pub schema: Option<String>,
    /// Checks the value.
    pub(crate) validator: Option<Validator>,
    /// Whom the answer concerns beside the person asked about.
    pub(crate) subjects: Option<Template>,
    /// The laws under which it is asked.
    pub laws: Vec<String>,
    /// How long an answer is good.
    pub fresh_for: Duration,
    /// Types of messages after which an answer about a person whom they name is good no more.
    pub refresh_on: Vec<String>,
    /// Other purposes for which an answer may be used again.
    pub reusable_for: Vec<String>,
    /// What it means, as terms of an ontology.
    pub terms: Vec<String>,
    /// Types of documents that say the same: `isee-attestation`, matched with `x-document`.
    pub documents: Vec<String>,
    /// Its file: a version of a route keeps the text.
    pub(crate) file: Arc<SourceFile>,
}

/// What a fact is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A value.
    #[default]
    Value,
    /// `holds`, `fails` or `undetermined`: less is told, so it is preferred where it is enough.
    Verification,
}

/// The words of a verification.
pub const VERDICTS: [&str; 3] = ["holds", "fails", "undetermined"];
/// The field of a verification's answer that says which.
pub(crate) const OUTCOME: &str = "outcome";

/// The persons whom a body names: every text in it that is a codice fiscale, each once.
pub fn persons_in(body: &Value) -> Vec<&str> {
    let (mut found, mut open): (Vec<&str>, Vec<&Value>) = (Vec::new(), vec![body]);
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) if codice_fiscale(text) && !found.contains(&text.as_str()) => {
                found.push(text);
            }
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    found
}

/// The facts of a house by name; none where one is wrong, which was said.
pub(crate) type Catalogue = BTreeMap<String, Option<Arc<Fact>>>;

impl Fact {
    /// Its question, as messages name it: `anpr.C021`.
    pub fn source(&self) -> String {
        format!("{}.{}", self.held_by, self.operation.name)
    }

    /// The fact in an authority's answer, valid against its schema.
    pub fn value(&self, mut answer: Value) -> Result<Value, Fault> {
        if self.kind == Kind::Verification {
            let word = answer.get_mut(OUTCOME).map(Value::take).unwrap_or_default();
            let known = word.as_str().is_some_and(|word| VERDICTS.contains(&word));
            return if known { Ok(word) } else { Err(self.unreadable("no verdict")) };
        }
        if !self.is_valid(&answer) {
            return Err(self.unreadable("not valid against the schema of the fact"));
        }
        Ok(answer)
    }

    /// Whether a value is one of this fact.
    pub fn is_valid(&self, value: &Value) -> bool {
        self.validator.as_ref().is_none_or(|validator| validator.is_valid(value))
    }

    /// Whom an answer concerns: the person asked about first, each once.
    pub fn subjects(
        &self,
        about: &str,
        value: &Value,
        envelope: &Envelope,
    ) -> Result<Vec<String>, Fault> {
        let mut all = vec![about.to_owned()];
        let Some(template) = &self.subjects else { return Ok(all) };
        let found = match template.render(&Scope::new(value, envelope, &Map::new()))? {
            Value::Array(items) => items,
            other => vec![other],
        };
        for subject in found.iter().filter_map(Value::as_str) {
            if !all.iter().any(|known| known == subject) {
                all.push(subject.to_owned());
            }
        }
        Ok(all)
    }

    fn unreadable(&self, why: &str) -> Fault {
        let text = format!("the answer of `{}` is {why}", self.source());
        Fault::new(FaultClass::Transient { retry_after: None }, "SN0763", text)
    }

    /// Whether an operation is a question.
    pub(crate) fn is_question(operation: &Operation) -> bool {
        operation.effect == EffectKind::Idempotent
    }
}
