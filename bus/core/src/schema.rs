//! JSON Schema 2020-12 of message types, offline. The only home of `jsonschema`.

use serde_json::Value;

/// The compiled schemas of the house, by type name (`anagrafe.residence-change.declared.v1`).
#[derive(Debug, Default)]
pub struct Schemas {}

impl Schemas {
    /// The schema document of `kind`, if there is one.
    pub fn document(&self, _kind: &str) -> Option<&Value> {
        None
    }
}
