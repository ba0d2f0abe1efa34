//! Where a body cites documents, as its schema says: wherever a `$ref` leads to `documents.document.v1`.
//!
//! Invariant: what is found stands at a place of the schema that is a document's; text that merely looks
//! like a key is none.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{Compiled, Validator, kind_of_path, reference};
use crate::document::{Citation, Document, KIND};

/// Keywords whose schemas apply to the same value.
const IN_PLACE: [&str; 6] = ["allOf", "anyOf", "oneOf", "if", "then", "else"];

impl Validator {
    /// The documents that a valid body cites, by place.
    pub fn citations(&self, body: &Value) -> Vec<Citation> {
        let mut found = BTreeMap::new();
        if self.0.cites {
            self.0.walk(&self.0.own, body, "", &mut found);
        }
        let cited = |(pointer, document)| Citation { pointer, document };
        found.into_iter().map(cited).collect()
    }
}

impl Compiled {
    /// What a `$ref` of a portable document leads to, and whether that is a document.
    fn target(&self, schema: &Map<String, Value>) -> Option<(&Value, bool)> {
        let address = schema.get("$ref")?.as_str()?.strip_prefix(reference::BASE)?;
        let (path, pointer) = address.split_once('#').unwrap_or((address, ""));
        if path.is_empty() {
            return Some((self.own.pointer(pointer)?, false));
        }
        let kind = kind_of_path(path)?;
        let target = self.house.get(&kind)?.pointer(pointer)?;
        Some((target, kind == KIND && pointer.is_empty()))
    }

    fn walk(
        &self,
        schema: &Value,
        value: &Value,
        pointer: &str,
        found: &mut BTreeMap<String, Document>,
    ) {
        let Some(schema) = schema.as_object() else { return };
        match self.target(schema) {
            Some((_, true)) => {
                let document = Document::deserialize(value).ok();
                found.extend(document.map(|document| (pointer.to_owned(), document)));
            }
            Some((target, false)) => self.walk(target, value, pointer, found),
            None => {}
        }
        for part in in_place(schema) {
            self.walk(part, value, pointer, found);
        }
        match value {
            Value::Object(fields) => {
                for (name, child) in fields {
                    let name_in = name.replace('~', "~0").replace('/', "~1");
                    for part in of_field(schema, name) {
                        self.walk(part, child, &format!("{pointer}/{name_in}"), found);
                    }
                }
            }
            Value::Array(items) => {
                for (at, child) in items.iter().enumerate() {
                    for part in of_item(schema, at) {
                        self.walk(part, child, &format!("{pointer}/{at}"), found);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a portable document leads to a document: then its values may cite some.
pub(super) fn cites(own: &Value, house: &BTreeMap<String, Value>) -> bool {
    let (mut open, mut seen) = (vec![own], BTreeSet::new());
    while let Some(part) = open.pop() {
        match part {
            Value::Object(map) => {
                let address = map.get("$ref").and_then(Value::as_str);
                let path = address.and_then(|address| address.strip_prefix(reference::BASE));
                let kind = path.and_then(|path| kind_of_path(path.split('#').next()?));
                if kind.as_deref() == Some(KIND) {
                    return true;
                }
                let unseen = kind.filter(|kind| seen.insert(kind.clone()));
                open.extend(unseen.and_then(|kind| house.get(&kind)));
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    false
}

fn in_place(schema: &Map<String, Value>) -> Vec<&Value> {
    let mut parts = Vec::new();
    for keyword in IN_PLACE {
        match schema.get(keyword) {
            Some(Value::Array(list)) => parts.extend(list),
            Some(one) => parts.push(one),
            None => {}
        }
    }
    let dependent = schema.get("dependentSchemas").and_then(Value::as_object);
    parts.extend(dependent.into_iter().flat_map(Map::values));
    parts
}

/// The schemas of a field. A pattern is not looked at: what it gives must look like a document anyway.
fn of_field<'s>(schema: &'s Map<String, Value>, name: &str) -> Vec<&'s Value> {
    let named = schema.get("properties").and_then(|fields| fields.get(name));
    let patterns = schema.get("patternProperties").and_then(Value::as_object);
    let others = ["additionalProperties", "unevaluatedProperties"];
    let others = others.into_iter().filter(|_| named.is_none()).filter_map(|key| schema.get(key));
    named.into_iter().chain(patterns.into_iter().flat_map(Map::values)).chain(others).collect()
}

fn of_item(schema: &Map<String, Value>, at: usize) -> Vec<&Value> {
    let placed = schema.get("prefixItems").and_then(|items| items.get(at));
    let others = ["items", "unevaluatedItems"];
    let others = others.into_iter().filter(|_| placed.is_none()).filter_map(|key| schema.get(key));
    placed.into_iter().chain(others).chain(schema.get("contains")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Schemas;

    fn house() -> Schemas {
        let document = json!({
            "type": "object", "additionalProperties": false,
            "required": ["key", "sha256", "size", "mediaType", "name"],
            "properties": {
                "key": { "type": "string" }, "sha256": { "type": "string" },
                "size": { "type": "integer" }, "mediaType": { "type": "string" },
                "name": { "type": "string" }
            }
        });
        let here = json!({ "$ref": "../documents/document.v1.json" });
        let form = json!({
            "type": "object", "additionalProperties": here,
            "properties": {
                "attachments": { "type": "array", "items": { "$ref": "#/$defs/attachment" } },
                "signed": { "anyOf": [{ "type": "null" }, here] },
                "pair": { "type": "array", "prefixItems": [{ "type": "string" }, here] },
                "note": {}
            },
            "$defs": { "attachment": here }
        });
        let around = json!({
            "type": "object", "additionalProperties": false,
            "properties": { "form": { "$ref": "../suap/form.v1.json" } }
        });
        let plain = json!({ "type": "object", "additionalProperties": true });
        let documents = BTreeMap::from([
            (KIND.to_owned(), document),
            ("suap.form.v1".to_owned(), form),
            ("suap.around.v1".to_owned(), around),
            ("suap.plain.v1".to_owned(), plain),
        ]);
        Schemas::from_documents(documents).expect("no mistake")
    }

    fn cited() -> Value {
        json!({ "key": "018f2d3e-0000-7000-8000-000000000001", "sha256": "ab".repeat(32),
                "size": 3, "mediaType": "text/plain", "name": "a.txt" })
    }

    #[test]
    fn a_document_is_found_wherever_its_schema_says_one_and_nowhere_else() {
        let schemas = house();
        let form = json!({
            "attachments": [cited(), cited()], "signed": cited(), "pair": [cited(), cited()],
            "note": cited(), "a/b": cited()
        });
        let around = json!({ "form": form });
        let places = |kind: &str, body: &Value| {
            let validator = schemas.validator(kind).expect("a type");
            let found = validator.citations(body).into_iter();
            found.map(|found| found.pointer).collect::<Vec<_>>()
        };
        let expected = ["/attachments/0", "/attachments/1", "/a~1b", "/pair/1", "/signed"];
        assert_eq!(places("suap.form.v1", &form), expected);
        let expected: Vec<String> = expected.iter().map(|at| format!("/form{at}")).collect();
        assert_eq!(places("suap.around.v1", &around), expected);
        assert_eq!(places("suap.plain.v1", &around), Vec::<String>::new());
        assert_eq!(places("suap.form.v1", &json!({ "signed": null })), Vec::<String>::new());
    }
}
