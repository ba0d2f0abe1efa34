//! The JSON Schema of Rust types, in the flat form that route authors and type inference read.
//!
//! Invariant: no `$ref`, no `oneOf` of single constants: a closed list of words is an `enum`.

use std::sync::Arc;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// The schema of what an operation takes.
pub(crate) fn input_schema<T: JsonSchema>() -> Arc<Value> {
    schema::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// The schema of what an operation gives.
pub(crate) fn output_schema<T: JsonSchema>() -> Arc<Value> {
    schema::<T>(SchemaSettings::draft2020_12().for_serialize())
}

fn schema<T: JsonSchema>(mut settings: SchemaSettings) -> Arc<Value> {
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    flatten(&mut schema);
    Arc::new(schema)
}

fn flatten(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(words) = constants(object) {
                object.remove("oneOf");
                object.insert("type".to_owned(), json!("string"));
                object.insert("enum".to_owned(), words);
            }
            // "Left out" is not "null": schemars shows serde's default of an absent field.
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            // `int16` and its like are Rust's words, no formats of JSON Schema; the bounds stay.
            if object.get("type").is_some_and(is_number) {
                object.remove("format");
            }
            object.values_mut().for_each(flatten);
        }
        Value::Array(items) => items.iter_mut().for_each(flatten),
        _ => {}
    }
}

fn is_number(kind: &Value) -> bool {
    kind == "integer" || kind == "number"
}

/// The words of a `oneOf` whose branches are all single constants.
fn constants(object: &Map<String, Value>) -> Option<Value> {
    let branches = object.get("oneOf")?.as_array()?;
    branches.iter().map(|branch| branch.get("const").cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enumeration_is_a_flat_list_of_words() {
        let schema = output_schema::<snodo_core::register::Found>();
        assert_eq!(
            schema.pointer("/properties/direction/enum"),
            Some(&json!(["incoming", "outgoing", "internal"]))
        );
        assert_eq!(schema.get("additionalProperties"), Some(&json!(false)));
        assert!(!schema.to_string().contains("$ref"), "{schema}");
        let registered = output_schema::<snodo_core::register::Registered>();
        assert_eq!(registered.pointer("/properties/year/format"), None);
    }
}
