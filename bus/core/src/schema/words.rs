//! What a schema expects, in words.
//!
//! Invariant: the words are made of the schema alone. No value and no unexpected key is in them.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use crate::formats;

/// How many choices or names are listed.
const MOST: usize = 20;

/// What the keyword that said no expects. `document` and `schema_path` lead to what is around it.
pub(super) fn expected(kind: &Kind, document: &Value, schema_path: &str) -> String {
    match kind {
        Kind::Required { property } => format!("the field {property}"),
        Kind::Type { kind } => types(kind),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            fields(document, schema_path)
        }
        Kind::Enum { options } => choices(options),
        Kind::Constant { expected_value } => format!("exactly {expected_value}"),
        Kind::Format { format } => match formats::words(format) {
            Some(words) => format!("{format}: {words}"),
            None => format!("the format {format}"),
        },
        Kind::Pattern { pattern } => format!("text that matches {pattern}"),
        Kind::AnyOf { context } => format!("one of the {} shapes of `anyOf`", context.len()),
        Kind::OneOfNotValid { context } => {
            format!("one of the {} shapes of `oneOf`", context.len())
        }
        Kind::OneOfMultipleValid { .. } => "only one of the shapes of `oneOf`".to_owned(),
        _ => bound(kind),
    }
}

fn bound(kind: &Kind) -> String {
    match kind {
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("at least {limit} characters"),
        Kind::MaxLength { limit } => format!("at most {limit} characters"),
        Kind::MinItems { limit } => format!("at least {limit} items"),
        Kind::MaxItems { limit } => format!("at most {limit} items"),
        Kind::MinProperties { limit } => format!("at least {limit} fields"),
        Kind::MaxProperties { limit } => format!("at most {limit} fields"),
        Kind::UniqueItems => "items that differ from each other".to_owned(),
        Kind::Contains => "an item as `contains` says".to_owned(),
        Kind::PropertyNames { .. } => "names of fields as `propertyNames` says".to_owned(),
        Kind::AdditionalItems { .. } | Kind::UnevaluatedItems { .. } | Kind::FalseSchema => {
            "nothing here".to_owned()
        }
        Kind::Not { .. } => "anything but what `not` describes".to_owned(),
        other => format!("what `{}` says", other.keyword()),
    }
}

fn types(kind: &TypeKind) -> String {
    let words: Vec<&str> = match kind {
        TypeKind::Single(word) => vec![word.as_str()],
        TypeKind::Multiple(words) => words.into_iter().map(jsonschema::JsonType::as_str).collect(),
    };
    words.join(" or ")
}

fn choices(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    listed("one of", options.iter().map(ToString::to_string))
}

/// The fields that are named beside the keyword.
fn fields(document: &Value, schema_path: &str) -> String {
    let around = schema_path.rsplit_once('/').and_then(|(around, _)| document.pointer(around));
    match around.and_then(|schema| schema.get("properties")?.as_object()) {
        Some(fields) => listed("no fields besides", fields.keys().cloned()),
        None => "no fields besides those that the schema names".to_owned(),
    }
}

fn listed(lead: &str, words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.take(MOST + 1).collect();
    if words.len() > MOST {
        words.truncate(MOST);
        words.push("…".to_owned());
    }
    format!("{lead} {}", words.join(", "))
}
