//! The ledger's copy of a route: everything that decides how this version runs.
//!
//! Invariant: the same route makes the same bytes, and the bytes make the same route, whatever the house
//! looks like by then.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Route, Verb,
    build::{Targets, build},
    file,
};
use crate::{
    adapter::Operation,
    diagnostic::{Diagnostic, Problems, SourceFile},
    facts::{self, Around, Catalogue},
    schema::Schemas,
    verdict::EffectKind,
};

/// The shape of bundles that this version writes.
const FORMAT: u32 = 1;

/// Why a bundle does not make a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It is not a bundle.
    #[error("SN0840: the stored route cannot be read: {0}")]
    NotABundle(String),
    /// A later version wrote it.
    #[error("SN0841: the stored route has format {0}; this version reads {FORMAT}")]
    Format(u32),
    /// Its route does not check any more.
    #[error("SN0842: the stored route does not check: {}", titles(.0))]
    Mistakes(Vec<Diagnostic>),
}

fn titles(mistakes: &[Diagnostic]) -> String {
    let titles: Vec<&str> = mistakes.iter().map(|mistake| mistake.title.as_str()).collect();
    titles.join("; ")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    format: u32,
    /// The files of the facts that it asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    facts: BTreeMap<String, String>,
    operations: BTreeMap<String, Frozen>,
    route: String,
    schemas: BTreeMap<String, Value>,
}

/// An operation as it was.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Frozen {
    deadline_ms: u64,
    effect: EffectKind,
    input: Value,
    output: Value,
    settles_within_ms: u64,
}

/// Writes the bundle of a route whose text is `text`.
pub(super) fn write(text: &str, route: &Route, schemas: &Schemas) -> String {
    let (mut operations, mut facts) = (BTreeMap::new(), BTreeMap::new());
    let mut kinds = BTreeSet::from([route.from.clone()]);
    for step in route.each_step() {
        match &step.verb {
            Verb::Use(call) => {
                operations.insert(call.target(), frozen(&call.operation));
                refer(schemas, &call.operation.input, &mut kinds);
                refer(schemas, &call.operation.output, &mut kinds);
            }
            Verb::Emit(emit) => {
                kinds.insert(emit.kind.clone());
            }
            Verb::Ask(ask) => {
                let fact = &ask.fact;
                facts.insert(fact.name.clone(), fact.file.text.clone());
                operations.insert(fact.source(), frozen(&fact.operation));
                refer(schemas, &fact.operation.input, &mut kinds);
                refer(schemas, &fact.operation.output, &mut kinds);
                kinds.extend(fact.schema.clone());
            }
            Verb::Choose(_) => {}
        }
    }
    let bundle = Bundle {
        format: FORMAT,
        facts,
        operations,
        route: text.to_owned(),
        schemas: with_references(schemas, kinds),
    };
    // Strings, numbers and maps with text keys always have a JSON form.
    sorted(serde_json::to_value(bundle).unwrap_or_default()).to_string()
}

fn frozen(operation: &Operation) -> Frozen {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Frozen {
        deadline_ms: millis(operation.deadline),
        effect: operation.effect,
        input: Value::clone(&operation.input),
        output: Value::clone(&operation.output),
        settles_within_ms: millis(operation.settles_within),
    }
}

/// The documents of `kinds` and of everything that they refer to.
fn with_references(schemas: &Schemas, kinds: BTreeSet<String>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut open: Vec<String> = kinds.into_iter().collect();
    while let Some(kind) = open.pop() {
        let Some(document) = schemas.document(&kind).filter(|_| !found.contains_key(&kind)) else {
            continue;
        };
        let mut referred = BTreeSet::new();
        refer(schemas, document, &mut referred);
        open.extend(referred);
        found.insert(kind, Value::clone(document));
    }
    found
}

/// Adds the types whose documents a schema may refer to.
///
/// A reference names a document by its `$id` or by its path; what could mean a type is taken in, since a
/// document too many is harmless and one too few is not.
fn refer(schemas: &Schemas, schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| refer(schemas, item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(reference) if name.ends_with("$ref") || name == "$dynamicRef" => {
                        found.extend(
                            schemas
                                .kinds()
                                .filter(|kind| means(reference, kind))
                                .map(str::to_owned),
                        );
                    }
                    other => refer(schemas, other, found),
                }
            }
        }
        _ => {}
    }
}

/// Whether `…/scuola/enrolment.v1.json#/$defs/x` may mean `scuola.enrolment.v1`.
fn means(reference: &str, kind: &str) -> bool {
    let document = reference.split('#').next().unwrap_or_default();
    let document = document.strip_suffix(".json").unwrap_or(document);
    let document = document.rsplit(':').next().unwrap_or(document).replace('/', ".");
    let Some((_, name)) = kind.split_once('.') else { return document == kind };
    document.ends_with(kind) || document.trim_start_matches('.') == name
}

/// The same value with the names of every object in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().collect();
            Value::Object(fields.into_iter().map(|(name, value)| (name, sorted(value))).collect())
        }
        other => other,
    }
}

/// Makes the route of the ledger's copy.
pub fn compile_bundle(bundle: &str) -> Result<Route, BundleError> {
    let not = |error: &dyn std::fmt::Display| BundleError::NotABundle(error.to_string());
    let Bundle { format, facts, operations, route, schemas } =
        serde_json::from_str(bundle).map_err(|error| not(&error))?;
    if format != FORMAT {
        return Err(BundleError::Format(format));
    }
    let schemas = Schemas::from_documents(schemas).map_err(|error| not(&error))?;
    let operations = thaw(operations);
    let file = Arc::new(SourceFile { path: "the ledger's copy".to_owned(), text: route });
    let mut problems = Problems::default();
    let facts = thaw_facts(facts, (&schemas, &operations), &mut problems);
    let mut targets = Targets::new(&schemas, &operations, &facts);
    let written = file::read(&file, &mut problems);
    let built = written.and_then(|written| build(&written, &mut targets, &mut problems));
    match built.filter(|_| !problems.any_error()) {
        Some(route) => Ok(route),
        None => Err(BundleError::Mistakes(problems.sorted())),
    }
}

fn thaw_facts(
    facts: BTreeMap<String, String>,
    (schemas, operations): (&Schemas, &BTreeMap<String, Vec<Operation>>),
    problems: &mut Problems,
) -> Catalogue {
    let is_unopened = |_: &str| false;
    let (laws, purposes, library) = (None, None, None);
    let around = Around { schemas, operations, is_unopened: &is_unopened, laws, purposes, library };
    let read = |(name, text): (String, String)| {
        let file = Arc::new(SourceFile { path: format!("{name}.yaml"), text });
        facts::read(&file, &around, problems)
    };
    facts.into_iter().map(read).collect()
}

fn thaw(operations: BTreeMap<String, Frozen>) -> BTreeMap<String, Vec<Operation>> {
    let mut thawed: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for (target, frozen) in operations {
        let (instance, name) = target.split_once('.').unwrap_or((&target, ""));
        let operation = Operation {
            name: name.to_owned(),
            input: Arc::new(frozen.input),
            output: Arc::new(frozen.output),
            effect: frozen.effect,
            deadline: Duration::from_millis(frozen.deadline_ms),
            settles_within: Duration::from_millis(frozen.settles_within_ms),
            // Checked when the bundle was written.
            fact_only: false,
        };
        thawed.entry(instance.to_owned()).or_default().push(operation);
    }
    thawed
}
