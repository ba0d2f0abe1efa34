//! JSON Schema 2020-12 of message types, offline. The only home of `jsonschema`.
//!
//! Invariant: what is loaded needs no network and no file, ends for every input, and takes linear time
//! per pattern; what a violation says comes from the schema, never from the instance.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, LazyLock},
};

use jsonschema::{Draft, PatternOptions, Registry, ValidationOptions};
use serde::Serialize;
use serde_json::Value;

use crate::{
    diagnostic::{Diagnostic, Place, Severity, SourceFile},
    formats::FORMATS,
    json::{self, JsonLimits},
};

mod citations;
pub(crate) mod holds;
pub mod published;
mod reference;
mod vet;
mod words;

pub use reference::{kind_of_path, path_of_kind};
pub(crate) use vet::each_schema;

/// How many violations of one message are told.
const MOST_VIOLATIONS: usize = 20;
/// Schemas are larger than messages, and are ours.
const LIMITS: JsonLimits =
    JsonLimits { depth: 128, items: 100_000, keys: 100_000, ..JsonLimits::OWN };

/// A file below `schemas/`.
#[derive(Clone, Debug)]
pub struct SchemaFile {
    /// The file itself.
    pub file: Arc<SourceFile>,
    /// Its path relative to `schemas/`: `anagrafe/residence-change.declared.v1.json`.
    pub path: String,
}

/// Why a schema document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} at `{pointer}`: {title}")]
pub struct SchemaError {
    /// `SN0130` … `SN0139`.
    pub code: &'static str,
    /// JSON pointer into the schema.
    pub pointer: String,
    /// One sentence.
    pub title: String,
    /// What stands beside the place.
    pub label: String,
    /// What to write instead.
    pub help: String,
}

/// One way in which a value is not as its schema says. Every word comes from the schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// JSON pointer into the value; a field that no schema names is `*`.
    pub pointer: String,
    /// The keyword that said no.
    pub keyword: String,
    /// What is expected there.
    pub expected: String,
    /// JSON pointer of the keyword in the schema.
    pub schema_path: String,
}

/// The compiled schemas of the house, by type name (`anagrafe.residence-change.declared.v1`).
#[derive(Default)]
pub struct Schemas {
    documents: BTreeMap<String, Arc<Value>>,
    validators: HashMap<String, Validator>,
    registry: Option<Registry<'static>>,
    names: Arc<BTreeSet<String>>,
    /// As the registry has them, to find what is around a keyword.
    portable: Arc<BTreeMap<String, Value>>,
    /// Types whose file is there, and wrong.
    broken: BTreeSet<String>,
    /// The files they were read from; none for those of a ledger bundle.
    sources: BTreeMap<String, Arc<SourceFile>>,
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schemas").field(&self.documents.keys()).finish()
    }
}

impl Schemas {
    /// Reads every file and collects every mistake. Types without a mistake are there to be used, so
    /// that what refers to them can be checked too.
    pub fn load(files: &[SchemaFile]) -> (Self, Vec<Diagnostic>) {
        let mut documents = BTreeMap::new();
        let mut sources = BTreeMap::new();
        let (mut diagnostics, mut broken) = (Vec::new(), BTreeSet::new());
        for source in files {
            match read(source) {
                Ok((kind, document)) => {
                    documents.insert(kind.clone(), document);
                    sources.insert(kind, Arc::clone(&source.file));
                }
                Err(diagnostic) => {
                    broken.extend(kind_of_path(&source.path));
                    diagnostics.push(diagnostic);
                }
            }
        }
        let (mut schemas, mistakes) = Self::build(documents);
        broken.extend(mistakes.iter().map(|(kind, _)| kind.clone()));
        schemas.broken = broken;
        for (kind, mistake) in mistakes {
            if let Some(file) = sources.get(&kind) {
                diagnostics.push(diagnostic(file, mistake));
            }
        }
        schemas.sources = sources;
        (schemas, diagnostics)
    }

    /// Compiles documents that were accepted before, such as those of a ledger bundle.
    pub fn from_documents(documents: BTreeMap<String, Value>) -> Result<Self, SchemaError> {
        let documents =
            documents.into_iter().map(|(kind, document)| (kind, Arc::new(document))).collect();
        let (schemas, mistakes) = Self::build(documents);
        mistakes.into_iter().next().map_or(Ok(schemas), |(_, mistake)| Err(mistake))
    }

    fn build(mut documents: BTreeMap<String, Arc<Value>>) -> (Self, Vec<(String, SchemaError)>) {
        let mut mistakes = Vec::new();
        let house = vet::House::new(&documents);
        for kind in documents.keys() {
            let found = house.vet(kind);
            mistakes.extend(found.into_iter().map(|mistake| (kind.clone(), mistake)));
        }
        let portable: BTreeMap<String, Value> =
            documents.keys().map(|kind| (kind.clone(), house.portable(kind))).collect();
        let names = Arc::new(house.names());
        documents.retain(|kind, _| mistakes.iter().all(|(broken, _)| broken != kind));
        let portable = Arc::new(portable);
        let registry = registry(&portable);
        let mut schemas =
            Self { names, registry, portable: Arc::clone(&portable), ..Self::default() };
        for (kind, document) in documents {
            match schemas.validate_with(&portable[&kind], &reference::uri_of_kind(&kind)) {
                Ok(validator) => {
                    schemas.validators.insert(kind.clone(), validator);
                    schemas.documents.insert(kind, document);
                }
                Err(mistake) => mistakes.push((kind, mistake)),
            }
        }
        (schemas, mistakes)
    }

    fn validate_with(&self, portable: &Value, base: &str) -> Result<Validator, SchemaError> {
        let mut options: ValidationOptions<'_> = options().clone().with_base_uri(base);
        if let Some(registry) = &self.registry {
            options = options.with_registry(registry);
        }
        let compiled = options.build(portable).map_err(|error| invalid(&error))?;
        Ok(Validator(Arc::new(Compiled {
            compiled,
            cites: citations::cites(portable, &self.portable),
            names: Arc::clone(&self.names),
            own: portable.clone(),
            house: Arc::clone(&self.portable),
        })))
    }

    /// Compiles a schema that is not a type of the house, such as an operation's input. It may refer to
    /// a type by its path (`{"$ref": "anagrafe/address.v1.json"}`).
    pub fn compile(&self, document: &Value) -> Result<Validator, SchemaError> {
        let house = vet::House::with_guest(&self.documents, document);
        if let Some(mistake) = house.vet(vet::GUEST).into_iter().next() {
            return Err(mistake);
        }
        let portable = house.portable(vet::GUEST);
        let mut validator = self.validate_with(&portable, reference::BASE)?;
        if let Some(compiled) = Arc::get_mut(&mut validator.0) {
            compiled.names = Arc::new(house.names());
        }
        Ok(validator)
    }

    /// The schema document of `kind`, as its author wrote it, if there is one.
    pub fn document(&self, kind: &str) -> Option<&Arc<Value>> {
        self.documents.get(kind)
    }

    /// A type and its schema document, if there is one.
    pub(crate) fn entry(&self, kind: &str) -> Option<(&str, &Value)> {
        let (kind, document) = self.documents.get_key_value(kind)?;
        Some((kind, document))
    }

    /// The compiled schema of `kind`, if there is one.
    pub fn validator(&self, kind: &str) -> Option<&Validator> {
        self.validators.get(kind)
    }

    /// Whether the type has a file that is wrong: it is there, though nothing can be done with it.
    pub fn is_broken(&self, kind: &str) -> bool {
        self.broken.contains(kind)
    }

    /// The types, in order.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.documents.keys().map(String::as_str)
    }

    /// What a `$ref` in the document of `kind` leads to: the type and the schema within it. For a
    /// document that is not a type of the house `kind` is "".
    pub fn resolve(&self, kind: &str, reference: &str) -> Option<(&str, &Value)> {
        let id = self.documents.get(kind).and_then(|document| document.get("$id")?.as_str());
        let target = reference::resolve(kind, id, reference)?;
        let (kind, document) = self.documents.get_key_value(&target.kind)?;
        Some((kind, document.pointer(&target.pointer)?))
    }

    /// The type and the pointer to which a `$ref` in the document of `kind` leads.
    pub(crate) fn target(&self, kind: &str, reference: &str) -> Option<(String, String)> {
        self.resolve(kind, reference)?;
        let id = self.documents.get(kind).and_then(|document| document.get("$id")?.as_str());
        let target = reference::resolve(kind, id, reference)?;
        Some((target.kind, target.pointer))
    }

    /// The file from which the schema of `kind` was read.
    pub(crate) fn source(&self, kind: &str) -> Option<&Arc<SourceFile>> {
        self.sources.get(kind)
    }

    /// Whether the type says `x-unclaimed: discard`: then nobody needs to take it.
    pub fn unclaimed_is_discarded(&self, kind: &str) -> bool {
        let says = self.documents.get(kind).and_then(|document| document.get("x-unclaimed"));
        says.is_some_and(|word| word == "discard")
    }
}

/// A compiled schema. Cheap to clone.
#[derive(Clone)]
pub struct Validator(Arc<Compiled>);

struct Compiled {
    compiled: jsonschema::Validator,
    /// Whether its values may cite documents.
    cites: bool,
    /// Every field name that a schema of the house knows: these may be told, others may be data.
    names: Arc<BTreeSet<String>>,
    own: Value,
    house: Arc<BTreeMap<String, Value>>,
}

impl Compiled {
    /// The document in which the keyword at an absolute location stands.
    fn document(&self, location: Option<&str>) -> &Value {
        let kind = location.and_then(|uri| {
            let path = uri.split('#').next()?.strip_prefix(reference::BASE)?;
            kind_of_path(path)
        });
        kind.and_then(|kind| self.house.get(&kind)).unwrap_or(&self.own)
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validator")
    }
}

impl Validator {
    /// Whether the value is as the schema says.
    pub fn is_valid(&self, value: &Value) -> bool {
        self.0.compiled.is_valid(value)
    }

    /// Where it is not, at most 20 places.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let errors = self.0.compiled.iter_errors(value).take(MOST_VIOLATIONS);
        errors.map(|error| self.violation(&error)).collect()
    }

    fn violation(&self, error: &jsonschema::ValidationError<'_>) -> Violation {
        let schema_path = error.schema_path().as_str().to_owned();
        let location = error.absolute_keyword_location().map(jsonschema::Uri::as_str);
        let document = self.0.document(location);
        Violation {
            pointer: self.public_pointer(error.instance_path().as_str()),
            keyword: error.kind().keyword().to_owned(),
            expected: words::expected(error.kind(), document, &schema_path),
            schema_path,
        }
    }

    /// A pointer without what the schemas do not name: a key may be a person's tax code.
    pub fn public_pointer(&self, pointer: &str) -> String {
        let is_index =
            |segment: &str| segment.len() <= 5 && segment.bytes().all(|b| b.is_ascii_digit());
        let public = |segment: &str| {
            let name = segment.replace("~1", "/").replace("~0", "~");
            let told = is_index(segment) || self.0.names.contains(&name);
            if told { format!("/{segment}") } else { "/*".to_owned() }
        };
        pointer.split('/').skip(1).map(public).collect()
    }
}

/// How everything is compiled: formats on, unknown ones refused, linear patterns, no retrieval.
fn options() -> &'static ValidationOptions<'static> {
    static OPTIONS: LazyLock<ValidationOptions<'static>> = LazyLock::new(new_options);
    &OPTIONS
}

fn new_options() -> ValidationOptions<'static> {
    let options = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_retriever(Nowhere)
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false);
    FORMATS.into_iter().fold(options, |options, (name, check)| options.with_format(name, check))
}

fn registry(documents: &BTreeMap<String, Value>) -> Option<Registry<'static>> {
    let pairs =
        documents.iter().map(|(kind, document)| (reference::uri_of_kind(kind), document.clone()));
    let builder = Registry::new().draft(Draft::Draft202012).retriever(Nowhere);
    builder.extend(pairs).ok()?.prepare().ok()
}

/// Retrieves nothing: what is not in the house does not exist.
struct Nowhere;

impl jsonschema::Retrieve for Nowhere {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{uri} is not a schema of this house").into())
    }
}

fn invalid(error: &jsonschema::ValidationError<'_>) -> SchemaError {
    SchemaError {
        code: "SN0139",
        pointer: error.instance_path().as_str().to_owned(),
        title: "this is not a schema of JSON Schema 2020-12".to_owned(),
        label: error.to_string(),
        help: "write what the keyword asks for; see json-schema.org, draft 2020-12".to_owned(),
    }
}

fn read(source: &SchemaFile) -> Result<(String, Arc<Value>), Diagnostic> {
    let file = &source.file;
    let kind =
        kind_of_path(&source.path).ok_or_else(|| diagnostic(file, misnamed(&source.path)))?;
    let document =
        json::parse(file.text.as_bytes(), &LIMITS).map_err(|error| unread(file, &error))?;
    Ok((kind, Arc::new(document)))
}

fn misnamed(path: &str) -> SchemaError {
    SchemaError {
        code: "SN0131",
        pointer: String::new(),
        title: format!("`{path}` is not the name of a type"),
        label: "the path of this file is its type".to_owned(),
        help: "call it `<domain>/<name>.v<N>.json`, in lower case, digits and `-`".to_owned(),
    }
}

fn unread(file: &Arc<SourceFile>, error: &json::JsonError) -> Diagnostic {
    Diagnostic {
        code: "SN0130",
        severity: Severity::Error,
        title: "this file is not strict JSON".to_owned(),
        place: Place { file: Arc::clone(file), start: error.offset, end: error.offset },
        label: error.kind.reason().replace('_', " "),
        help: format!("expected is {}", error.kind.expected()),
    }
}

fn diagnostic(file: &Arc<SourceFile>, mistake: SchemaError) -> Diagnostic {
    let place = json::locate(&file.text, &mistake.pointer).unwrap_or(0..0);
    Diagnostic {
        code: mistake.code,
        severity: Severity::Error,
        title: mistake.title,
        place: Place { file: Arc::clone(file), start: place.start, end: place.end },
        label: mistake.label,
        help: mistake.help,
    }
}

#[cfg(test)]
mod tests;
