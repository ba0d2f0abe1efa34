//! What a schema must be before it is compiled: offline, finite, linear, closed.
//!
//! Invariant: a house that passes compiles without retrieving anything, and no validation in it loops.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jsonschema::Draft;
use serde_json::{Map, Value};

use super::{
    SchemaError, options,
    reference::{self, Target},
};

/// The name under which a document that is no type of the house is vetted.
pub(super) const GUEST: &str = "";

/// How many schemas may apply to one value through `$ref`, `allOf` and their like.
const DEEPEST: usize = 64;

/// Keywords that hold one schema; of these `IN_PLACE` apply to the same value.
const ONE: [&str; 10] = [
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "items",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
];
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const MAP: [&str; 5] =
    ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
const IN_PLACE: [&str; 8] =
    ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"];
/// What we do not take: it hides from a reader where a reference leads.
const REFUSED: [&str; 7] = [
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$vocabulary",
    "contentSchema",
];

/// Every document, by type.
pub(super) struct House<'a>(BTreeMap<&'a str, &'a Value>);

/// A schema within a document.
struct Visit<'a> {
    pointer: String,
    schema: &'a Map<String, Value>,
    /// It applies to the same value as the schema around it, or is only a definition.
    is_part: bool,
}

impl<'a> House<'a> {
    pub(super) fn new(documents: &'a BTreeMap<String, Arc<Value>>) -> Self {
        Self(documents.iter().map(|(kind, document)| (kind.as_str(), &**document)).collect())
    }

    pub(super) fn with_guest(
        documents: &'a BTreeMap<String, Arc<Value>>,
        guest: &'a Value,
    ) -> Self {
        let mut house = Self::new(documents);
        house.0.insert(GUEST, guest);
        house
    }

    /// Every mistake in the document of `kind` that compiling would not name, or not all at once.
    pub(super) fn vet(&self, kind: &str) -> Vec<SchemaError> {
        let Some(document) = self.0.get(kind) else { return Vec::new() };
        let mut mistakes: Vec<SchemaError> = vet_head(kind, document).into_iter().collect();
        for visit in visits(document) {
            mistakes.extend(vet_closed(&visit));
            mistakes.extend(vet_words(&visit));
            mistakes.extend(vet_patterns(&visit));
            mistakes.extend(self.vet_reference(kind, &visit));
        }
        if mistakes.is_empty() {
            mistakes.extend(self.vet_loops(kind, document));
        }
        mistakes
    }

    /// The document with absolute references and without `$id`, as the registry takes it.
    pub(super) fn portable(&self, kind: &str) -> Value {
        let Some(document) = self.0.get(kind) else { return Value::Bool(true) };
        let mut portable = (*document).clone();
        for visit in visits(document) {
            let target = self.target(kind, visit.schema);
            let Some(Value::Object(schema)) = portable.pointer_mut(&visit.pointer) else {
                continue;
            };
            schema.retain(|key, _| !is_left_out(key));
            if let Some(target) = target {
                schema.insert("$ref".to_owned(), Value::String(target.uri()));
            }
        }
        portable
    }

    /// Every field that a schema names.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for document in self.0.values() {
            for visit in visits(document) {
                let fields = visit.schema.get("properties").and_then(Value::as_object);
                names.extend(fields.into_iter().flat_map(Map::keys).cloned());
            }
        }
        names
    }

    /// Where the `$ref` of a schema leads, if it leads to something.
    fn target(&self, kind: &str, schema: &Map<String, Value>) -> Option<Target> {
        let id = self.0.get(kind)?.get("$id").and_then(Value::as_str);
        let target = reference::resolve(kind, id, schema.get("$ref")?.as_str()?)?;
        self.0.get(target.kind.as_str())?.pointer(&target.pointer)?;
        Some(target)
    }

    fn vet_reference(&self, kind: &str, visit: &Visit<'_>) -> Option<SchemaError> {
        let written = visit.schema.get("$ref")?;
        if self.target(kind, visit.schema).is_some() {
            return None;
        }
        let id = self.0.get(kind)?.get("$id").and_then(Value::as_str);
        let is_ours =
            written.as_str().and_then(|text| reference::resolve(kind, id, text)).is_some();
        let (code, title) = if is_ours {
            ("SN0134", "this `$ref` leads to nothing")
        } else {
            ("SN0133", "this `$ref` leads out of the house")
        };
        let help = "refer to a type by its path, such as `../anagrafe/address.v1.json`, or to a part \
            of this file, such as `#/$defs/address`; nothing is fetched";
        Some(mistake(code, format!("{}/$ref", visit.pointer), title, "not found here", help))
    }

    fn vet_loops(&self, kind: &str, document: &Value) -> Option<SchemaError> {
        let mut ends = BTreeSet::new();
        visits(document).into_iter().find_map(|visit| {
            let here = Target { kind: kind.to_owned(), pointer: visit.pointer.clone() };
            (!self.ends(here, &mut Vec::new(), &mut ends)).then(|| {
                mistake(
                    "SN0135",
                    visit.pointer,
                    "checking a value against this schema does not end",
                    "comes back to itself, or is deeper than 64, without going into the value",
                    "let `$ref` come back only below `properties` or `items`",
                )
            })
        })
    }

    /// Whether following what applies to the same value comes to an end soon enough.
    fn ends(&self, here: Target, path: &mut Vec<Target>, ends: &mut BTreeSet<Target>) -> bool {
        if ends.contains(&here) {
            return true;
        }
        if path.len() > DEEPEST || path.contains(&here) {
            return false;
        }
        let next = self.applied(&here);
        path.push(here);
        let all_end = next.into_iter().all(|next| self.ends(next, path, ends));
        if let Some(here) = path.pop().filter(|_| all_end) {
            ends.insert(here);
        }
        all_end
    }

    /// What else applies to the value to which the schema at `here` applies.
    fn applied(&self, here: &Target) -> Vec<Target> {
        let schema = self.0.get(here.kind.as_str()).and_then(|d| d.pointer(&here.pointer));
        let Some(Value::Object(schema)) = schema else { return Vec::new() };
        let parts = children(schema).into_iter().filter(|(keyword, ..)| IN_PLACE.contains(keyword));
        let below = |(_, pointer, _): (&str, String, &Value)| Target {
            kind: here.kind.clone(),
            pointer: format!("{}{pointer}", here.pointer),
        };
        parts.map(below).chain(self.target(&here.kind, schema)).collect()
    }
}

/// Stripped before compiling: vetted already, or refused.
fn is_left_out(key: &str) -> bool {
    key == "$id" || key == "$schema" || key == "$ref" || REFUSED.contains(&key)
}

/// Every schema in the document that is an object, from outside to inside.
fn visits(document: &Value) -> Vec<Visit<'_>> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), document, false)];
    while let Some((pointer, schema, is_part)) = open.pop() {
        let Some(schema) = schema.as_object() else { continue };
        for (keyword, below, child) in children(schema) {
            let is_definition = matches!(keyword, "$defs" | "definitions");
            let is_part = is_definition || IN_PLACE.contains(&keyword);
            open.push((format!("{pointer}{below}"), child, is_part));
        }
        found.push(Visit { pointer, schema, is_part });
    }
    found
}

/// Every schema in the document that is an object, with its pointer.
pub(crate) fn each_schema(document: &Value) -> impl Iterator<Item = (String, &Map<String, Value>)> {
    visits(document).into_iter().map(|visit| (visit.pointer, visit.schema))
}

/// The schemas directly inside a schema: keyword, pointer from here, schema.
fn children(schema: &Map<String, Value>) -> Vec<(&str, String, &Value)> {
    let mut found = Vec::new();
    for (keyword, value) in schema {
        let is = |keywords: &[&str]| keywords.contains(&keyword.as_str());
        match value {
            Value::Array(items) if is(&LIST) => {
                let item = |(at, item)| (keyword.as_str(), format!("/{keyword}/{at}"), item);
                found.extend(items.iter().enumerate().map(item));
            }
            Value::Object(map) if is(&MAP) => {
                found.extend(
                    map.iter().map(|(name, child)| (keyword.as_str(), below(keyword, name), child)),
                );
            }
            _ if is(&ONE) => found.push((keyword, format!("/{keyword}"), value)),
            _ => {}
        }
    }
    found
}

fn below(keyword: &str, name: &str) -> String {
    format!("/{keyword}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn mistake(
    code: &'static str,
    pointer: String,
    title: &str,
    label: &str,
    help: &str,
) -> SchemaError {
    let (title, label, help) = (title.to_owned(), label.to_owned(), help.to_owned());
    SchemaError { code, pointer, title, label, help }
}

/// The head of a document: its draft and its own name.
fn vet_head(kind: &str, document: &Value) -> Option<SchemaError> {
    const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
    let says = |key: &str| document.get(key).map(|value| value.as_str().unwrap_or_default());
    if says("$schema").is_some_and(|draft| draft.trim_end_matches('#') != DRAFT) {
        return Some(mistake(
            "SN0138",
            "/$schema".to_owned(),
            "only JSON Schema 2020-12 is spoken here",
            "another draft",
            &format!("write `\"$schema\": \"{DRAFT}\"`, or leave it out"),
        ));
    }
    let path = reference::path_of_kind(kind);
    let is_own =
        |id: &str| id == path || id.strip_suffix(&path).is_some_and(|root| root.ends_with('/'));
    let is_wrong = kind != GUEST && says("$id").is_some_and(|id| !is_own(id));
    is_wrong.then(|| {
        let help = format!("let it end with `/{path}`, or leave it out");
        mistake(
            "SN0131",
            "/$id".to_owned(),
            "`$id` names another type than the file",
            "differs",
            &help,
        )
    })
}

/// An object that does not say whether it has other fields cannot be typed, and lets typing errors in.
fn vet_closed(visit: &Visit<'_>) -> Option<SchemaError> {
    let has = |key: &str| visit.schema.contains_key(key);
    let is_object = match visit.schema.get("type") {
        Some(Value::String(word)) => word == "object",
        Some(Value::Array(words)) => words.iter().any(|word| word == "object"),
        _ => has("properties") && !visit.is_part,
    };
    let is_closed = has("additionalProperties") || has("unevaluatedProperties");
    (is_object && !is_closed).then(|| {
        mistake(
            "SN0132",
            visit.pointer.clone(),
            "this object does not say whether it may have other fields",
            "`additionalProperties` is missing",
            "write `\"additionalProperties\": false`, or a schema for the other fields",
        )
    })
}

/// Keywords and formats that nobody here understands.
fn vet_words(visit: &Visit<'_>) -> Vec<SchemaError> {
    let is_refused = |key: &str| {
        let is_inner_id = !visit.pointer.is_empty() && (key == "$id" || key == "$schema");
        is_inner_id || REFUSED.contains(&key)
    };
    let mut mistakes: Vec<SchemaError> = visit
        .schema
        .keys()
        .filter(|key| is_refused(key))
        .map(|key| {
            let title = format!("`{key}` is not taken here");
            let help = "use `$defs` and `$ref` with a JSON pointer";
            mistake(
                "SN0138",
                format!("{}/{key}", visit.pointer),
                &title,
                "hides where it leads",
                help,
            )
        })
        .collect();
    let format = visit.schema.get("format").and_then(Value::as_str);
    if let Some(format) = format.filter(|name| !options().is_known_format(Draft::Draft202012, name))
    {
        let own: Vec<&str> = crate::formats::FORMATS.iter().map(|(name, _)| *name).collect();
        mistakes.push(mistake(
            "SN0136",
            format!("{}/format", visit.pointer),
            &format!("`{format}` is no format"),
            "unknown",
            &format!("use one of JSON Schema 2020-12, or {}", own.join(", ")),
        ));
    }
    mistakes
}

fn vet_patterns(visit: &Visit<'_>) -> Vec<SchemaError> {
    let own = visit.schema.get("pattern").and_then(Value::as_str);
    let own = own.map(|pattern| ("/pattern".to_owned(), pattern));
    let fields = visit.schema.get("patternProperties").and_then(Value::as_object);
    let fields = fields.into_iter().flat_map(Map::keys);
    let fields = fields.map(|pattern| (below("patternProperties", pattern), pattern.as_str()));
    own.into_iter()
        .chain(fields)
        .filter(|(_, pattern)| options().build(&serde_json::json!({ "pattern": pattern })).is_err())
        .map(|(at, _)| {
            mistake(
                "SN0137",
                format!("{}{at}", visit.pointer),
                "this pattern cannot be run in linear time",
                "not taken",
                "write it without look-around and back references, and smaller than 1 MiB compiled",
            )
        })
        .collect()
}
