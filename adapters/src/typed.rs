//! Operations whose input and result are Rust types: their JSON Schema, in the flat form that route authors
//! and type inference read, and calls of them.
//!
//! Invariant: no `$ref`, no `oneOf` of single constants: a closed list of words is an `enum`.

use std::sync::Arc;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use snodo_core::fault::{Fault, FaultClass};

/// The schema of what an operation takes.
pub(crate) fn input_schema<T: JsonSchema>() -> Arc<Value> {
    schema::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// The schema of what an operation gives.
pub(crate) fn output_schema<T: JsonSchema>() -> Arc<Value> {
    schema::<T>(SchemaSettings::draft2020_12().for_serialize())
}

/// The input of a call. The words of a serde error may repeat a value, which may be a person's: they are
/// not passed on.
pub(crate) fn read_input<T: DeserializeOwned>(input: &Value) -> Result<T, Fault> {
    T::deserialize(input).map_err(|_| mistake("the input is not of the operation's schema"))
}

/// The result of a call: a plain structure of text and numbers, which always serialises.
pub(crate) fn write_result(result: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(result).map_err(|_| mistake("the result cannot be written"))
}

/// A call of an operation that is not there.
pub(crate) fn unknown(operation: &str) -> Fault {
    mistake(&format!("there is no operation `{operation}`"))
}

fn mistake(text: &str) -> Fault {
    let text = format!("{text}; this is a mistake of the bus");
    Fault::new(FaultClass::Poison, "SN0901", text)
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
