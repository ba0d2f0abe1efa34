//! From the rows of a query to the answer of its operation. Pure.
//!
//! Invariant: an answer is whole or none: no row and no text is cut, no number is rounded.

use std::collections::BTreeMap;

use serde_json::{Map, Value, value::RawValue};
use snodo_core::json::{JsonErrorKind, JsonLimits, parse};

use super::classify::{Trouble, Unusable};

/// A value of a row, as a database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// NULL.
    Null,
    /// A truth.
    Bool(bool),
    /// A number in decimal digits.
    Number(String),
    /// Text.
    Text(String),
    /// A list or an object.
    Json(String),
}

/// A row: its columns in their order.
pub(super) type Row = Vec<(String, Cell)>;

/// What the rows become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One row, which is the answer.
    One,
    /// All of them, as a list under this name.
    Rows(String),
}

/// What the output schema takes in a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Null.
    pub(super) null: bool,
    /// Text, and no number.
    pub(super) text_only: bool,
    /// A truth, and no number.
    pub(super) truth_only: bool,
}

impl Taken {
    /// By the types of a schema.
    pub(super) fn by(types: &[&str]) -> Self {
        let has = |name: &str| types.contains(&name);
        let number = has("number") || has("integer");
        Self {
            null: has("null"),
            text_only: has("string") && !number,
            truth_only: has("boolean") && !number && !has("string"),
        }
    }
}

/// The columns that the output schema knows.
pub(super) type Columns = BTreeMap<String, Taken>;

/// The answer of rows.
pub(super) fn answer(rows: Vec<Row>, shape: &Shape, columns: &Columns) -> Result<Value, Trouble> {
    if rows.is_empty() {
        return Err(Trouble::Nobody);
    }
    if *shape == Shape::One && rows.len() > 1 {
        return Err(Trouble::Several);
    }
    let objects = rows.into_iter().map(|row| object(row, columns)).collect::<Result<Vec<_>, _>>();
    let objects = objects.map_err(Trouble::Unusable)?;
    Ok(match shape {
        Shape::One => objects.into_iter().next().unwrap_or_default(),
        Shape::Rows(name) => Value::Object(Map::from_iter([(name.clone(), objects.into())])),
    })
}

fn object(row: Row, columns: &Columns) -> Result<Value, Unusable> {
    let mut fields = Map::new();
    for (column, cell) in row {
        let taken = columns.get(&column).copied().unwrap_or_default();
        if let Some(value) = value(&column, cell, taken)? {
            fields.insert(column, value);
        }
    }
    Ok(Value::Object(fields))
}

/// The JSON of a value; none where it is NULL and the schema takes no null.
fn value(column: &str, cell: Cell, taken: Taken) -> Result<Option<Value>, Unusable> {
    Ok(Some(match cell {
        Cell::Null if taken.null => Value::Null,
        Cell::Null => return Ok(None),
        Cell::Bool(truth) => Value::Bool(truth),
        Cell::Number(digits) if taken.text_only => Value::String(digits),
        // What a database without truths has in their place.
        Cell::Number(digits) if taken.truth_only && digits == "0" => Value::Bool(false),
        Cell::Number(digits) if taken.truth_only && digits == "1" => Value::Bool(true),
        Cell::Number(text) | Cell::Json(text) => json(column, &text)?,
        Cell::Text(text) if text.contains('\0') => {
            return Err(Unusable::NoText(column.to_owned()));
        }
        Cell::Text(text) => Value::String(text),
    }))
}

fn json(column: &str, text: &str) -> Result<Value, Unusable> {
    parse(text.as_bytes(), &JsonLimits::default()).map_err(|error| match error.kind {
        JsonErrorKind::Number => Unusable::Number(column.to_owned()),
        JsonErrorKind::ControlCharacter => Unusable::NoText(column.to_owned()),
        _ => Unusable::NoJson(column.to_owned()),
    })
}

/// A row that a database has written as a JSON object. Numbers are taken as they are written there.
pub(super) fn written(text: &str) -> Result<Row, Unusable> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|_| Unusable::NoJson("?".to_owned()))?;
    fields
        .into_iter()
        .map(|(column, raw)| Ok((column.clone(), cell(&column, raw.get())?)))
        .collect()
}

fn cell(column: &str, raw: &str) -> Result<Cell, Unusable> {
    Ok(match raw.as_bytes().first() {
        Some(b'n') | None => Cell::Null,
        Some(b't') => Cell::Bool(true),
        Some(b'f') => Cell::Bool(false),
        Some(b'"') => {
            Cell::Text(serde_json::from_str(raw).map_err(|_| Unusable::NoText(column.to_owned()))?)
        }
        Some(b'{' | b'[') => Cell::Json(raw.to_owned()),
        Some(_) => Cell::Number(raw.to_owned()),
    })
}

/// The first name that two columns have.
pub(super) fn twice<'n>(names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Some(name);
        }
        seen.push(name);
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn columns(of: &[(&str, &[&str])]) -> Columns {
        of.iter().map(|(name, types)| ((*name).to_owned(), Taken::by(types))).collect()
    }

    fn one(text: &str, of: &[(&str, &[&str])]) -> Result<Value, Trouble> {
        let row = written(text).map_err(Trouble::Unusable)?;
        answer(vec![row], &Shape::One, &columns(of))
    }

    #[test]
    fn a_value_is_what_its_schema_takes() {
        let table: [(&str, &[&str], Value); 15] = [
            (r#""Rossi""#, &["string"], json!({ "x": "Rossi" })),
            ("19.90", &["number"], json!({ "x": 19.9 })),
            ("19.90", &["string"], json!({ "x": "19.90" })),
            ("19.90", &["string", "number"], json!({ "x": 19.9 })),
            ("5.00", &["integer"], json!({ "x": 5 })),
            ("12345678901234567890.12", &["string"], json!({ "x": "12345678901234567890.12" })),
            ("1", &["boolean"], json!({ "x": true })),
            ("0", &["boolean", "null"], json!({ "x": false })),
            ("2", &["boolean"], json!({ "x": 2 })),
            ("true", &["string"], json!({ "x": true })),
            ("null", &["string", "null"], json!({ "x": null })),
            ("null", &["string"], json!({})),
            ("null", &[], json!({})),
            (r#"{"a":[1.50]}"#, &["object"], json!({ "x": { "a": [1.5] } })),
            (r#""2026-11-27""#, &[], json!({ "x": "2026-11-27" })),
        ];
        for (raw, types, expected) in table {
            let found = one(&format!(r#"{{"x":{raw}}}"#), &[("x", types)]);
            assert_eq!(found, Ok(expected), "{raw} {types:?}");
        }
    }

    #[test]
    fn what_json_cannot_hold_is_named_by_its_column() {
        let unusable = |text: &str| match one(text, &[]) {
            Err(Trouble::Unusable(why)) => why,
            other => panic!("{other:?}"),
        };
        let x = || "x".to_owned();
        assert_eq!(unusable(r#"{"x":12345678901234567890.12}"#), Unusable::Number(x()));
        assert_eq!(unusable(r#"{"x":{"a":1e999}}"#), Unusable::Number(x()));
        assert_eq!(unusable(r#"{"x":{"a":1,"a":2}}"#), Unusable::NoJson(x()));
        assert_eq!(unusable(r#"{"x":"a\u0000"}"#), Unusable::NoText(x()));
    }

    #[test]
    fn rows_are_a_list_one_row_is_the_answer_and_none_is_nobody() {
        let row = |text| written(text).expect("a row");
        let rows = || vec![row(r#"{"a":1}"#), row(r#"{"a":2}"#)];
        let list = Shape::Rows("members".to_owned());
        let found = answer(rows(), &list, &Columns::new());
        assert_eq!(found, Ok(json!({ "members": [{ "a": 1 }, { "a": 2 }] })));
        assert_eq!(answer(rows(), &Shape::One, &Columns::new()), Err(Trouble::Several));
        for shape in [list, Shape::One] {
            assert_eq!(answer(Vec::new(), &shape, &Columns::new()), Err(Trouble::Nobody));
        }
    }

    #[test]
    fn a_name_that_two_columns_have_is_found() {
        assert_eq!(twice(["a", "b", "a"].into_iter()), Some("a"));
        assert_eq!(twice(["a", "b"].into_iter()), None);
    }
}
