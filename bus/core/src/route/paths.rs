//! What a schema says about a plain path: whether there is such a field, whether it may be null, and
//! which values it may have.
//!
//! Invariant: what cannot be known without full inference is [`Known::Unknown`], never guessed.

use serde_json::Value;

/// What is known of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known<'s> {
    Unknown,
    /// There is no such field; the index of the name, and the names that there are.
    Missing(usize, Vec<&'s str>),
    /// It is there.
    Field {
        /// It may be absent or null.
        nullable: bool,
        /// Its schema, where that is in the same document.
        schema: Option<&'s Value>,
    },
}

impl<'s> Known<'s> {
    /// The one word of its schema's `type`.
    pub(super) fn kind(&self) -> Option<&'s str> {
        self.schema()?["type"].as_str()
    }

    fn schema(&self) -> Option<&'s Value> {
        if let Self::Field { schema, .. } = self { *schema } else { None }
    }

    /// Every value that it may have, null included, where its schema lists them.
    pub(super) fn values(&self) -> Option<Vec<Value>> {
        let Self::Field { nullable, schema: Some(schema) } = self else { return None };
        let mut values = match (schema.get("enum"), schema.get("const")) {
            _ if !is_plain(schema) => return None,
            (Some(Value::Array(values)), _) => values.clone(),
            (_, Some(value)) => vec![value.clone()],
            _ if self.kind() == Some("boolean") => vec![Value::Bool(true), Value::Bool(false)],
            _ => return None,
        };
        if *nullable && !values.contains(&Value::Null) {
            values.push(Value::Null);
        }
        Some(values)
    }
}

/// Looks `names` up in `schema`.
pub(super) fn look<'s, 'n>(
    schema: &'s Value,
    names: impl IntoIterator<Item = &'n str>,
) -> Known<'s> {
    let (mut at, mut nullable) = (schema, false);
    for (index, name) in names.into_iter().enumerate() {
        let Some(object) = resolved(schema, at).filter(|object| is_plain(object)) else {
            return Known::Unknown;
        };
        let Some(Value::Object(properties)) = object.get("properties") else {
            return Known::Unknown;
        };
        let Some(next) = properties.get(name) else {
            if is_open(object) {
                return Known::Unknown;
            }
            return Known::Missing(index, properties.keys().map(String::as_str).collect());
        };
        let required = object["required"].as_array();
        nullable |= !required.is_some_and(|required| required.iter().any(|word| word == name));
        at = next;
        nullable |= resolved(schema, at).is_some_and(may_be_null);
    }
    match resolved(schema, at) {
        None if !nullable => Known::Unknown,
        found => Known::Field { nullable, schema: found },
    }
}

/// The schema behind a local `$ref`; `None` where it leads elsewhere.
fn resolved<'s>(root: &'s Value, mut schema: &'s Value) -> Option<&'s Value> {
    for _ in 0..8 {
        let Some(reference) = schema.get("$ref") else { return Some(schema) };
        schema = root.pointer(reference.as_str()?.strip_prefix('#')?)?;
    }
    None
}

/// Whether `properties` is all that it says of its fields.
fn is_plain(schema: &Value) -> bool {
    const OTHERS: [&str; 5] = ["allOf", "anyOf", "oneOf", "if", "not"];
    OTHERS.iter().all(|keyword| schema.get(keyword).is_none())
}

fn is_open(schema: &Value) -> bool {
    let more = schema.get("additionalProperties");
    schema.get("patternProperties").is_some()
        || more.is_some_and(|more| *more == Value::Bool(true) || more.is_object())
}

fn may_be_null(schema: &Value) -> bool {
    match &schema["type"] {
        Value::String(kind) => kind == "null",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "null"),
        _ => schema["enum"].as_array().is_some_and(|values| values.contains(&Value::Null)),
    }
}

/// What is wrong with the names that a route writes into an object for `schema`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mismatch<'s, 'n> {
    /// Required, but not written or only with `?`.
    pub(super) missing: Vec<&'s str>,
    /// Written, but not declared.
    pub(super) unknown: Vec<&'n str>,
    /// What is declared.
    pub(super) declared: Vec<&'s str>,
}

/// Compares the written `names` (with whether they may be left out) with an object schema.
pub(super) fn compare<'s, 'n>(schema: &'s Value, names: &[(&'n str, bool)]) -> Mismatch<'s, 'n> {
    let Some(object) = resolved(schema, schema) else { return Mismatch::default() };
    let Some(Value::Object(properties)) = object.get("properties") else {
        return Mismatch::default();
    };
    let written = |word: &str| names.iter().any(|(name, optional)| *name == word && !optional);
    let required = object["required"].as_array().map_or(&[][..], Vec::as_slice);
    let missing = required.iter().filter_map(Value::as_str).filter(|word| !written(word)).collect();
    let closed = is_plain(object) && !is_open(object);
    let unknown = |(name, _): &(&'n str, bool)| (!properties.contains_key(*name)).then_some(*name);
    Mismatch {
        missing,
        unknown: if closed { names.iter().filter_map(unknown).collect() } else { Vec::new() },
        declared: properties.keys().map(String::as_str).collect(),
    }
}
