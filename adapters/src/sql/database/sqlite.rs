//! SQLite: a file that is opened to be read.
//!
//! Invariant: SQLite itself looks at the clock while it works on a query: none outlives its deadline.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use futures_util::TryStreamExt as _;
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Executor as _, Row as _, Sqlite as Lite,
    SqliteConnection, SqlitePool, TypeInfo as _, ValueRef as _,
    pool::PoolConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePoolOptions, SqliteRow},
};
use tokio::time::{Instant, timeout_at};

use super::{CONNECT, CONNECTIONS, Gathered, Question, not_connected, troubled};
use crate::sql::{
    answer::{Cell, Row, twice},
    classify::{NotReached, Trouble, Unusable},
    text::Dialect,
};

/// After how many of its instructions SQLite looks at the clock.
const STRIDE: i32 = 4000;
/// How long a lock of somebody who writes is waited for.
const LOCKED: Duration = Duration::from_secs(2);

/// A file.
#[derive(Debug)]
pub(in crate::sql) struct Sqlite {
    path: PathBuf,
    pool: OnceLock<SqlitePool>,
}

impl Sqlite {
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path, pool: OnceLock::new() }
    }

    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Vec<Row>, Trouble> {
        let mut connection = self.connection(question.until).await?;
        let rows = timeout_at(question.until, answered(&mut connection, question)).await;
        rows.unwrap_or_else(|_| {
            // What is under way there is not waited for.
            connection.close_on_drop();
            Err(Trouble::Late)
        })
    }

    pub(super) async fn probe(&self, until: Instant) -> Result<(), Trouble> {
        let mut connection = self.connection(until).await?;
        // Of the file itself: a constant would be known without it.
        let asked = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1");
        let answered = timeout_at(until, asked).await;
        let answered = answered.map_err(|_| Trouble::NotReached(NotReached::TimedOut))?;
        answered.map(drop).map_err(trouble)
    }

    async fn connection(&self, until: Instant) -> Result<PoolConnection<Lite>, Trouble> {
        let pool = self.pool.get_or_init(|| pool(&self.path));
        match timeout_at(until, pool.acquire()).await {
            Ok(acquired) => acquired.map_err(|error| not_connected(error, Dialect::Sqlite)),
            Err(_) => Err(Trouble::NotReached(NotReached::TimedOut)),
        }
    }
}

fn pool(path: &std::path::Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(LOCKED)
        .pragma("query_only", "on")
        .row_buffer_size(8)
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT)
        .connect_lazy_with(options)
}

async fn answered(
    connection: &mut SqliteConnection,
    question: &Question<'_>,
) -> Result<Vec<Row>, Trouble> {
    let until = question.until.into_std();
    let mut handle = connection.lock_handle().await.map_err(trouble)?;
    handle.set_progress_handler(STRIDE, move || std::time::Instant::now() < until);
    drop(handle);
    let mut query = sqlx::query(AssertSqlSafe(question.query.questioned()));
    for value in question.values {
        query = bound(query, value);
    }
    let mut gathered = Gathered::new(question);
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(trouble)? {
        if gathered.rows.is_empty()
            && let Some(name) = twice(row.columns().iter().map(sqlx::Column::name))
        {
            return Err(Trouble::Unusable(Unusable::TwoColumns(name.to_owned())));
        }
        let row = read(&row)?;
        gathered.count(row.iter().map(length).sum())?;
        gathered.push(row)?;
    }
    Ok(gathered.rows)
}

fn trouble(error: sqlx::Error) -> Trouble {
    troubled(error, Dialect::Sqlite, None)
}

fn bound<'q>(
    query: Query<'q, Lite, SqliteArguments>,
    value: &Value,
) -> Query<'q, Lite, SqliteArguments> {
    match value {
        Value::Null => query.bind(None::<i64>),
        Value::Bool(truth) => query.bind(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => query.bind(whole),
            None => query.bind(number.as_f64()),
        },
        Value::String(text) => query.bind(text.clone()),
        Value::Array(_) | Value::Object(_) => query.bind(value.to_string()),
    }
}

fn read(row: &SqliteRow) -> Result<Row, Trouble> {
    row.columns()
        .iter()
        .map(|column| Ok((column.name().to_owned(), cell(row, column.ordinal(), column.name())?)))
        .collect()
}

fn cell(row: &SqliteRow, at: usize, column: &str) -> Result<Cell, Trouble> {
    let no_text = |_| Trouble::Unusable(Unusable::NoText(column.to_owned()));
    let raw = row.try_get_raw(at).map_err(trouble)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    let kind = raw.type_info().into_owned();
    Ok(match kind.name() {
        "INTEGER" => {
            Cell::Number(row.try_get_unchecked::<i64, _>(at).map_err(trouble)?.to_string())
        }
        "REAL" => {
            let double: f64 = row.try_get_unchecked(at).map_err(trouble)?;
            let number = serde_json::Number::from_f64(double);
            let number = number.ok_or_else(|| Unusable::Number(column.to_owned()));
            Cell::Number(number.map_err(Trouble::Unusable)?.to_string())
        }
        "BLOB" => return Err(Trouble::Unusable(Unusable::Bytes(column.to_owned()))),
        _ => Cell::Text(row.try_get_unchecked(at).map_err(no_text)?),
    })
}

/// About as many bytes as it has in an answer.
fn length((column, cell): &(String, Cell)) -> usize {
    let cell = match cell {
        Cell::Null | Cell::Bool(_) => 4,
        Cell::Number(text) | Cell::Text(text) | Cell::Json(text) => text.len(),
    };
    column.len() + cell
}
