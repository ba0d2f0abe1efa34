//! The content that ships with the house: schemas whose examples hold, adapters that open.
//!
//! Invariant: every example of a schema is valid against it; every schema has one.

use serde_json::Value;

use super::{schema_files, schemas};

#[test]
fn every_schema_has_examples_and_they_are_valid() {
    let schemas = schemas();
    assert_eq!(schemas.kinds().count(), schema_files().len());
    for kind in schemas.kinds() {
        let document = schemas.document(kind).expect("there");
        let examples = document["examples"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(!examples.is_empty(), "{kind} has no example");
        let validator = schemas.validator(kind).expect("compiled");
        for example in examples {
            assert_eq!(validator.violations(example), [], "{kind}");
        }
    }
}

#[test]
fn every_object_of_every_schema_says_whether_it_is_closed() {
    let schemas = schemas();
    for kind in schemas.kinds() {
        assert_closed(kind, schemas.document(kind).expect("there"));
    }
}

fn assert_closed(kind: &str, schema: &Value) {
    match schema {
        Value::Object(object) => {
            if object.get("type").is_some_and(|name| name == "object") {
                assert!(object.contains_key("additionalProperties"), "{kind}: {schema}");
            }
            object.values().for_each(|part| assert_closed(kind, part));
        }
        Value::Array(items) => items.iter().for_each(|part| assert_closed(kind, part)),
        _ => {}
    }
}
