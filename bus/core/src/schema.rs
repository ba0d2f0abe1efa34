//! JSON Schema 2020-12 of message types, offline. The only home of `jsonschema`.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

/// The compiled schemas of the house, by type name (`anagrafe.residence-change.declared.v1`).
#[derive(Debug, Default)]
pub struct Schemas {
    documents: BTreeMap<String, Arc<Value>>,
    validators: BTreeMap<String, Validator>,
}

/// A schema that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SchemaError {
    /// What is wrong.
    pub text: String,
}

/// A compiled schema.
#[derive(Clone, Debug)]
pub struct Validator(Arc<jsonschema::Validator>);

/// One way in which a value breaks its schema, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub pointer: String,
    /// Which keyword.
    pub keyword: String,
    /// What was expected.
    pub expected: String,
    /// Where in the schema.
    pub schema_path: String,
}

impl Validator {
    /// Whether a value is valid.
    pub fn is_valid(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }

    /// Every way in which it is not.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let violation = |error: jsonschema::ValidationError<'_>| Violation {
            pointer: error.instance_path().to_string(),
            keyword: error.schema_path().to_string().rsplit('/').next().unwrap_or("").to_owned(),
            expected: error.masked().to_string(),
            schema_path: error.schema_path().to_string(),
        };
        self.0.iter_errors(value).map(violation).collect()
    }
}

impl Schemas {
    /// The schema document of `kind`, if there is one.
    pub fn document(&self, kind: &str) -> Option<&Arc<Value>> {
        self.documents.get(kind)
    }

    /// The validator of `kind`.
    pub fn validator(&self, kind: &str) -> Option<&Validator> {
        self.validators.get(kind)
    }

    /// Compiles one schema.
    pub fn compile(&self, schema: &Value) -> Result<Validator, SchemaError> {
        let validator = jsonschema::validator_for(schema);
        let validator = validator.map_err(|error| SchemaError { text: error.to_string() })?;
        Ok(Validator(Arc::new(validator)))
    }

    /// The types.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.documents.keys().map(String::as_str)
    }

    /// Compiles documents by type.
    pub fn from_documents(documents: BTreeMap<String, Value>) -> Result<Self, SchemaError> {
        let mut schemas = Self::default();
        for (kind, document) in documents {
            let validator = schemas.compile(&document)?;
            schemas.validators.insert(kind.clone(), validator);
            schemas.documents.insert(kind, Arc::new(document));
        }
        Ok(schemas)
    }

    /// Whether a message of `kind` that nobody takes may be thrown away.
    pub fn unclaimed_is_discarded(&self, kind: &str) -> bool {
        let document = self.documents.get(kind);
        document.is_some_and(|document| document["x-unclaimed"] == "discard")
    }
}
