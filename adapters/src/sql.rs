//! `sql`: questions to a database that the administration has already, named and typed in the configuration.
//!
//! Invariant: a database is only read; a value is bound and never part of a text; what comes of a question is
//! decided in `classify` alone, in words that hold no value.

mod answer;
mod classify;
mod database;
mod open;
mod options;
mod text;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use snodo_core::{
    adapter::{Adapter, Call, Evidence, Example, OpenError, Opening, Operation, Receipt},
    fault::Fault,
    ids::Digest,
    json::canonical,
};
use tokio::time::Instant;

pub use self::options::{OperationOptions, Options, Place, Server, SslMode};
use self::{
    answer::{Columns, Shape, answer},
    classify::classify,
    database::{Database, Question},
    text::Query,
};
use crate::typed::unknown;

/// The most questions to one database at one time: it has other work.
const AT_ONCE: u32 = 8;

/// A database and what is asked of it.
#[derive(Debug)]
pub struct Sql {
    database: Database,
    operations: BTreeMap<String, Checked>,
    row_limit: usize,
    answer_limit: usize,
}

/// An operation that makes sense.
#[derive(Debug)]
struct Checked {
    query: Query,
    shape: Shape,
    columns: Columns,
    typed: Operation,
}

impl Adapter for Sql {
    const KIND: &'static str = "sql";
    const AT_ONCE: u32 = AT_ONCE;
    const EXAMPLE: Example = Example { options: include_str!("sql/example.yaml"), schemas: &[] };
    type Options = Options;

    fn open(options: Options, opening: &Opening) -> Result<Self, OpenError> {
        open::open(options, &opening.schemas)
    }

    fn operations(&self) -> Vec<Operation> {
        self.operations.values().map(|operation| operation.typed.clone()).collect()
    }

    async fn call(&self, call: Call<'_>) -> Result<Receipt, Fault> {
        let operation =
            self.operations.get(call.operation).ok_or_else(|| unknown(call.operation))?;
        let names = operation.query.names();
        // What is left out is NULL.
        let values: Vec<&Value> = names.iter().map(|name| &call.input[name.as_str()]).collect();
        let question = Question {
            query: &operation.query,
            values: &values,
            row_limit: self.row_limit,
            answer_limit: self.answer_limit,
            until: Instant::now() + operation.typed.deadline,
        };
        let rows = self.database.ask(&question).await.map_err(classify)?;
        let result = answer(rows, &operation.shape, &operation.columns).map_err(classify)?;
        let asked = json!({ "query": operation.query.numbered(), "input": call.input });
        let evidence = Evidence {
            request: Digest::of(&canonical(&asked)),
            answer: Digest::of(&canonical(&result)),
        };
        Ok(Receipt { result, reference: None, evidence: Some(evidence) })
    }

    async fn probe(&self) -> Result<(), Fault> {
        self.database.probe().await.map_err(classify)
    }
}
