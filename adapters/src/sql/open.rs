//! From options as written to an instance that makes sense. No network.
//!
//! Invariant: what passes here is one question per operation, each of whose parameters has its field and
//! each of whose fields has its parameter.

use std::sync::Arc;

use serde_json::{Value, json};
use snodo_core::{
    adapter::{OpenError, Operation},
    diagnostic::help_with_nearest,
    schema::Schemas,
    verdict::EffectKind,
};

use super::{
    Checked, Sql,
    answer::{Columns, Shape, Taken},
    database::Database,
    options::{OperationOptions, Options, Place},
    text::{Dialect, Query},
};
use crate::http::options::{checked_deadline, mistake};

/// The most that `row_limit` may be: no list of the bus is longer.
const MOST_ROWS: usize = 10_000;

pub(super) fn open(options: Options, schemas: &Schemas) -> Result<Sql, OpenError> {
    if options.operations.is_empty() {
        return Err(mistake("/operations", "no operation is named", "name at least one"));
    }
    if !(1..=MOST_ROWS).contains(&options.row_limit) {
        let text = "`row_limit` is from 1 to 10000";
        return Err(mistake("/row_limit", text, "leave it out: it is 1000"));
    }
    let dialect = dialect(&options.database)?;
    let operations = options
        .operations
        .iter()
        .map(|(name, written)| Ok((name.clone(), operation(name, written, dialect, schemas)?)))
        .collect::<Result<_, OpenError>>()?;
    Ok(Sql {
        operations,
        row_limit: options.row_limit,
        answer_limit: options.answer_limit,
        database: Database::of(options.database),
    })
}

fn dialect(place: &Place) -> Result<Dialect, OpenError> {
    match place {
        Place::Sqlite(path) if !path.is_absolute() => {
            let text = "the path of the database is not a whole one";
            Err(mistake("/database/sqlite", text, "write sqlite: /srv/registry/registry.db"))
        }
        Place::Sqlite(_) => Ok(Dialect::Sqlite),
        Place::Postgres(server) if server.ca.as_ref().is_some_and(|ca| !ca.is_absolute()) => {
            let text = "the path of the certificate is not a whole one";
            let help = "write ca: /etc/snodo/registry-ca.pem";
            Err(mistake("/database/postgres/ca", text, help))
        }
        Place::Postgres(_) => Ok(Dialect::Postgres),
    }
}

fn operation(
    name: &str,
    written: &OperationOptions,
    dialect: Dialect,
    schemas: &Schemas,
) -> Result<Checked, OpenError> {
    let at = |field: &str| format!("/operations/{name}/{field}");
    let query = Query::parse(&written.query, dialect)
        .map_err(|wrong| coded("SN0470", &at("query"), wrong.text(), wrong.help()))?;
    let input = schema(&at("input"), &written.input, schemas)?;
    let output = schema(&at("output"), &written.output, schemas)?;
    fields(&at("query"), &at("input"), &query, &input)?;
    let shape = shape(name, written)?;
    let columns = columns(&at("rows"), &shape, &output)?;
    checked_deadline(&at("deadline"), written.deadline)?;
    let typed = Operation {
        name: name.to_owned(),
        input,
        output,
        effect: EffectKind::Idempotent,
        deadline: written.deadline,
        settles_within: written.deadline * 2,
        fact_only: false,
    };
    Ok(Checked { query, shape, columns, typed })
}

/// `anagrafe/person.v1`, or the schema itself.
fn schema(pointer: &str, written: &Value, schemas: &Schemas) -> Result<Arc<Value>, OpenError> {
    let help = "write anagrafe/person.v1 for schemas/anagrafe/person.v1.json, or the schema itself: \
                { type: object, … }";
    match written {
        Value::String(name) => {
            let known = schemas.document(&name.replace('/', ".")).filter(|_| name.contains('/'));
            known
                .map(Arc::clone)
                .ok_or_else(|| mistake(pointer, format!("there is no schema `{name}`"), help))
        }
        Value::Object(_) => match schemas.compile(written) {
            Ok(_) => Ok(Arc::new(written.clone())),
            Err(wrong) => {
                let pointer = format!("{pointer}{}", wrong.pointer);
                Err(mistake(&pointer, wrong.title, wrong.help))
            }
        },
        _ => Err(mistake(pointer, "this is no schema", help)),
    }
}

/// Each parameter is a field of the input, each field a parameter, and each a single value.
fn fields(query_at: &str, at: &str, query: &Query, input: &Value) -> Result<(), OpenError> {
    let empty = serde_json::Map::new();
    let known = input["properties"].as_object().unwrap_or(&empty);
    let names = || known.keys().map(String::as_str);
    if let Some(name) = query.names().iter().find(|name| !known.contains_key(*name)) {
        let text = format!("`:{name}` of the query is no field of the input");
        let help = help_with_nearest(name, names(), "fields of the input");
        return Err(coded("SN0471", query_at, text, help));
    }
    if let Some(name) = names().find(|name| !query.names().iter().any(|used| used == name)) {
        let text = format!("the query does not use the field `{name}` of the input");
        let help = format!("write :{name} into the query, or take the field out of the input");
        return Err(coded("SN0471", at, text, help));
    }
    match known.iter().find(|(_, schema)| !is_single(schema)) {
        None => Ok(()),
        Some((name, _)) => {
            let text = format!("the field `{name}` of the input is no single value");
            let help =
                "give it one of the types string, integer, number, boolean, or null beside one";
            Err(coded("SN0471", at, text, help))
        }
    }
}

fn is_single(schema: &Value) -> bool {
    let single = |kind: &str| !matches!(kind, "array" | "object");
    types(schema).is_some_and(|types| types.into_iter().all(single))
}

/// The types that a schema names; none where it does not say.
fn types(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Some(words.iter().map(type_of).collect());
    }
    match (schema.get("const"), &schema["type"]) {
        (Some(word), _) => Some(vec![type_of(word)]),
        (None, Value::String(kind)) => Some(vec![kind]),
        (None, Value::Array(kinds)) => kinds.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn shape(name: &str, written: &OperationOptions) -> Result<Shape, OpenError> {
    match (&written.rows, written.one) {
        (None, true) => Ok(Shape::One),
        (Some(rows), false) => Ok(Shape::Rows(rows.clone())),
        (rows, _) => {
            let at = format!("/operations/{name}");
            let text = match rows {
                None => format!("`{name}` does not say what its rows are"),
                Some(_) => format!("`{name}` has `rows` and `one`"),
            };
            let help = "write rows: members (the rows are the list `members` of the answer) or one: true \
                        (one row is the answer)";
            Err(coded("SN0472", &at, text, help))
        }
    }
}

/// The columns that the output schema knows, where it says it itself.
fn columns(at: &str, shape: &Shape, output: &Value) -> Result<Columns, OpenError> {
    let Shape::Rows(name) = shape else { return Ok(columns_of(output)) };
    let list = &output["properties"][name.as_str()];
    if list["type"] != json!("array") {
        let text = format!("`{name}` is no list of the output");
        let help = "name the list of the output schema that the rows become";
        return Err(coded("SN0472", at, text, help));
    }
    let required = output["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match required.into_iter().find(|other| other != name) {
        None => Ok(columns_of(&list["items"])),
        Some(other) => {
            let text = format!("the output demands `{other}`, and the answer has `{name}` alone");
            let help = "take it out of `required`, or name another output";
            Err(coded("SN0472", at, text, help))
        }
    }
}

fn columns_of(row: &Value) -> Columns {
    let known = row["properties"].as_object().into_iter().flatten();
    known
        .map(|(name, schema)| (name.clone(), Taken::by(&types(schema).unwrap_or_default())))
        .collect()
}

fn coded(
    code: &'static str,
    pointer: &str,
    text: impl Into<String>,
    help: impl Into<String>,
) -> OpenError {
    OpenError { code, ..mistake(pointer, text, help) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(change: impl FnOnce(&mut Value)) -> Result<Sql, OpenError> {
        let text = json!({ "type": "string" });
        let of = |fields: Value| json!({ "type": "object", "additionalProperties": false, "properties": fields });
        let member = of(json!({ "name": text }));
        let mut options = json!({
            "database": { "postgres": { "host": "db.example", "database": "d", "user": "u",
                                        "password": { "file": "/nowhere" } } },
            "operations": {
                "household": {
                    "query": "SELECT name FROM residents WHERE code = :code",
                    "input": of(json!({ "code": text })),
                    "rows": "members",
                    "output": of(json!({ "members": { "type": "array", "items": member } }))
                }
            }
        });
        change(&mut options);
        open(serde_json::from_value(options).expect("of the shape"), &Schemas::default())
    }

    #[test]
    fn an_operation_is_a_question_with_its_defaults() {
        use snodo_core::adapter::Adapter as _;
        let sql = opened(|_| {}).expect("opens");
        let operations = sql.operations();
        let [household] = operations.as_slice() else { panic!("one operation") };
        assert_eq!(household.effect, EffectKind::Idempotent);
        assert!(!household.fact_only, "steps may ask too");
        assert_eq!((household.deadline.as_secs(), sql.row_limit), (20, 1000));
        assert_eq!(sql.answer_limit, 1024 * 1024);
    }

    #[test]
    fn a_mistake_has_its_code_its_place_and_its_words() {
        let household = "/operations/household";
        let query = |text: &str| (format!("{household}/query"), json!(text));
        let at = |field: &str, value: Value| (format!("{household}/{field}"), value);
        let table = [
            query("DELETE FROM residents WHERE code = :code"),
            query("SELECT :code; SELECT 2"),
            query("SELECT ':code"),
            query("SELECT $1"),
            query("SELECT name WHERE code = :cod"),
            query("SELECT name"),
            at("input/properties/code", json!({ "type": "array" })),
            at("input/properties/code", json!({})),
            at("input", json!("anagrafe/person.v1")),
            at("input", json!({ "type": "text" })),
            at("input", json!(7)),
            at("rows", Value::Null),
            at("rows", json!("people")),
            at("one", json!(true)),
            at("output/required", json!(["members", "warnings"])),
            at("deadline", json!("0s")),
            ("/operations".to_owned(), json!({})),
            ("/row_limit".to_owned(), json!(10_001)),
            ("/database".to_owned(), json!({ "sqlite": "registry.db" })),
            ("/database/postgres/ca".to_owned(), json!("ca.pem")),
        ];
        let mut said = String::new();
        for (place, value) in table {
            let wrong = |options: &mut Value| {
                let (parent, key) = place.rsplit_once('/').expect("a place");
                options.pointer_mut(parent).expect("there")[key] = value.clone();
            };
            let OpenError { code, pointer, text, help } = opened(wrong).expect_err(&place);
            said += &format!("{code} {pointer}: {text}; {help}\n");
        }
        insta::assert_snapshot!(said, @"
        SN0470 /operations/household/query: the query does not begin with SELECT or WITH; write a question: query: SELECT … FROM … WHERE tax_code = :taxCode
        SN0470 /operations/household/query: the query holds a second statement; write one statement; what follows the first `;` is another operation
        SN0470 /operations/household/query: a ' of the query has no end; close what is open
        SN0470 /operations/household/query: the query has the parameter $1; write :name, after a field of the input
        SN0471 /operations/household/query: `:cod` of the query is no field of the input; write `code`, the nearest of the fields of the input
        SN0471 /operations/household/input: the query does not use the field `code` of the input; write :code into the query, or take the field out of the input
        SN0471 /operations/household/input: the field `code` of the input is no single value; give it one of the types string, integer, number, boolean, or null beside one
        SN0471 /operations/household/input: the field `code` of the input is no single value; give it one of the types string, integer, number, boolean, or null beside one
        SN0449 /operations/household/input: there is no schema `anagrafe/person.v1`; write anagrafe/person.v1 for schemas/anagrafe/person.v1.json, or the schema itself: { type: object, … }
        SN0449 /operations/household/input/type: this is not a schema of JSON Schema 2020-12; write what the keyword asks for; see json-schema.org, draft 2020-12
        SN0449 /operations/household/input: this is no schema; write anagrafe/person.v1 for schemas/anagrafe/person.v1.json, or the schema itself: { type: object, … }
        SN0472 /operations/household: `household` does not say what its rows are; write rows: members (the rows are the list `members` of the answer) or one: true (one row is the answer)
        SN0472 /operations/household/rows: `people` is no list of the output; name the list of the output schema that the rows become
        SN0472 /operations/household: `household` has `rows` and `one`; write rows: members (the rows are the list `members` of the answer) or one: true (one row is the answer)
        SN0472 /operations/household/rows: the output demands `warnings`, and the answer has `members` alone; take it out of `required`, or name another output
        SN0449 /operations/household/deadline: a deadline is longer than 0s, at most 5m; write 20s
        SN0449 /operations: no operation is named; name at least one
        SN0449 /row_limit: `row_limit` is from 1 to 10000; leave it out: it is 1000
        SN0449 /database/sqlite: the path of the database is not a whole one; write sqlite: /srv/registry/registry.db
        SN0449 /database/postgres/ca: the path of the certificate is not a whole one; write ca: /etc/snodo/registry-ca.pem
        ");
    }
}
