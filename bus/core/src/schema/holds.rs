//! Whether a text has a format, or matches a pattern: for literals, before any message has come.
//!
//! Invariant: the answer is that of the validator that will check the message.

use std::{cell::RefCell, collections::HashMap};

use serde_json::{Value, json};

use super::options;

thread_local! {
    /// By schema, in its text. As many as the formats and patterns of the house.
    static VALIDATORS: RefCell<HashMap<String, Option<jsonschema::Validator>>> = RefCell::default();
}

fn holds(schema: &Value, text: &str) -> bool {
    VALIDATORS.with_borrow_mut(|known| {
        let validator =
            known.entry(schema.to_string()).or_insert_with(|| options().build(schema).ok());
        validator.as_ref().is_some_and(|validator| validator.is_valid(&Value::from(text)))
    })
}

/// Whether `text` has the format; an unknown format has none.
pub(crate) fn format(format: &str, text: &str) -> bool {
    holds(&json!({ "format": format }), text)
}

/// Whether `text` matches the pattern; a pattern that is none matches nothing.
pub(crate) fn pattern(pattern: &str, text: &str) -> bool {
    holds(&json!({ "pattern": pattern }), text)
}

/// Whether this is a pattern.
pub(crate) fn is_pattern(pattern: &str) -> bool {
    options().build(&json!({ "pattern": pattern })).is_ok()
}

/// The validator of any schema, for trials.
#[cfg(test)]
pub(crate) fn validator(schema: &Value) -> Option<jsonschema::Validator> {
    options().build(schema).ok()
}
