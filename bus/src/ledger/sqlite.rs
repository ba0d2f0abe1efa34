//! The ledger's statements on SQLite: one file, one writer, readers beside it.
//!
//! Invariant: rows go in as two blobs, whatever their number: one with twenty bytes per cell, one with
//! the texts and bytes that the cells point to. `json_each` only counts them: reading JSON per cell
//! would cost more than the insert itself.

use std::{fmt::Write as _, path::Path, str::FromStr, time::Duration};

use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Column as _, Either, Executor as _, Row as _, Sqlite, SqliteConnection,
    SqlitePool, TypeInfo as _, ValueRef as _,
    query::Query,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
        SqliteSynchronous,
    },
};

use super::statement::{Cell, Found, Kind, Ran, Rows, Statement, render};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Digits per cell.
const WIDTH: usize = 20;
/// Digits of a position, and of a length, in the cell of a text.
const HALF: usize = WIDTH / 2;

/// The pools of a SQLite file.
#[derive(Debug, Clone)]
pub(super) struct SqliteStore {
    /// One connection: the only writer.
    pub(super) writer: SqlitePool,
    /// Readers.
    pub(super) readers: SqlitePool,
}

/// Makes a ledger in memory, on one connection: who reads waits for who writes.
pub(super) async fn in_memory() -> Result<SqliteStore, sqlx::Error> {
    let options = SqliteConnectOptions::from_str("sqlite::memory:")?
        .foreign_keys(true)
        .serialized(false)
        .statement_cache_capacity(300)
        .row_buffer_size(1024)
        .pragma("temp_store", "memory");
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    MIGRATIONS.run(&writer).await?;
    Ok(SqliteStore { readers: writer.clone(), writer })
}

/// What removes every row.
pub(super) async fn clearing(store: &SqliteStore) -> Result<String, sqlx::Error> {
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> '_sqlx_migrations' \
                  AND name NOT LIKE 'sqlite_%'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&store.writer).await?;
    let mut sql = String::from("BEGIN;\nPRAGMA defer_foreign_keys = ON;\n");
    for table in tables {
        // The names are those of the migrations.
        let _ = writeln!(sql, "DELETE FROM {table};");
    }
    sql.push_str("COMMIT");
    Ok(sql)
}

/// Removes every row, by what `clearing` gave.
pub(super) async fn clear(store: &SqliteStore, clearing: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(clearing.to_owned())).execute(&store.writer).await.map(drop)
}

/// Opens a file, creates what is missing.
pub(super) async fn open(path: &Path, durable: bool) -> Result<SqliteStore, sqlx::Error> {
    let synchronous = if durable { SqliteSynchronous::Full } else { SqliteSynchronous::Off };
    let options = SqliteConnectOptions::from_str("sqlite://")?
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .statement_cache_capacity(300)
        .row_buffer_size(1024)
        .pragma("temp_store", "memory")
        .pragma("journal_size_limit", "67108864")
        .pragma("wal_autocheckpoint", "4000");
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .connect_with(options.clone().pragma("cache_size", "-16000"))
        .await?;
    MIGRATIONS.run(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(3)
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .connect_with(options.read_only(true).pragma("cache_size", "-4000"))
        .await?;
    Ok(SqliteStore { writer, readers })
}

/// Runs statements in one hop to the connection's thread; what each did.
///
/// Each row that comes out costs about as much as writing one: values are copied one by one, and the
/// reader is woken. Who can do with how many rows changed asks for no rows.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    statements: &[Statement<'_>],
) -> Result<Vec<Ran>, sqlx::Error> {
    if statements.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = String::with_capacity(statements.len() * 512);
    let mut next = 1;
    for statement in statements {
        next = write(statement, next, &mut sql);
    }
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for statement in statements {
        query = bind(query, statement);
    }
    let mut all = Vec::with_capacity(statements.len());
    let mut rows = Vec::new();
    let mut stream = connection.fetch_many(query);
    while let Some(item) = stream.try_next().await? {
        match item {
            Either::Left(done) => all.push(Ran {
                rows: std::mem::take(&mut rows),
                changed: done.rows_affected(),
                last: done.last_insert_rowid(),
            }),
            Either::Right(row) => rows.push(read(&row)?),
        }
    }
    all.resize_with(statements.len(), Ran::default);
    Ok(all)
}

/// Writes a statement whose first parameter has the number `first`; the number after its last.
fn write(statement: &Statement<'_>, first: usize, sql: &mut String) -> usize {
    let after = first + statement.scalars.len();
    let source = statement.rows.as_ref().map(|rows| source(rows, after)).unwrap_or_default();
    render(&statement.sql, first, &source, "", sql);
    sql.push_str(";\n");
    after + if statement.rows.is_some() { 3 } else { 0 }
}

/// The table of rows: parameters `at` (an array that only counts), `at + 1` (cells), `at + 2` (data).
fn source(rows: &Rows<'_>, at: usize) -> String {
    let stride = rows.columns.len() * WIDTH;
    let (cells, data) = (at + 1, at + 2);
    let digits = |offset: usize, length: usize| {
        format!("CAST(substr(${cells}, 1 + key * {stride} + {offset}, {length}) AS INTEGER)")
    };
    let mut sql = String::from("(SELECT ");
    for (number, (name, kind)) in rows.columns.iter().enumerate() {
        let offset = number * WIDTH;
        let whole = digits(offset, WIDTH);
        let (from, length) = (digits(offset, HALF), digits(offset + HALF, HALF));
        let part = format!("substr(${data}, nullif({from}, 0), {length})");
        let comma = if number == 0 { "" } else { ", " };
        let _ = match kind {
            Kind::Int => write!(sql, "{comma}{whole} AS {name}"),
            Kind::MaybeInt => write!(sql, "{comma}nullif({whole}, {}) AS {name}", i64::MAX),
            Kind::Blob => write!(sql, "{comma}{part} AS {name}"),
            Kind::Text => write!(sql, "{comma}CAST({part} AS TEXT) AS {name}"),
        };
    }
    let _ = write!(sql, " FROM json_each(${at})) AS i");
    sql
}

type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind<'q>(mut query: SqliteQuery<'q>, statement: &Statement<'_>) -> SqliteQuery<'q> {
    for cell in &statement.scalars {
        query = match cell {
            Cell::Null => query.bind(None::<i64>),
            Cell::Int(number) => query.bind(*number),
            Cell::Text(text) => query.bind(text.clone().into_owned()),
            Cell::Blob(bytes) => query.bind(bytes.clone().into_owned()),
        };
    }
    let Some(rows) = &statement.rows else { return query };
    let (cells, data) = pack(rows);
    query.bind(count_array(rows.len())).bind(cells).bind(data)
}

/// `[0,0,0]`: as many as there are rows.
fn count_array(rows: usize) -> String {
    let mut text = "[".to_owned() + &"0,".repeat(rows);
    text.pop();
    text.push(']');
    if rows == 0 { "[]".to_owned() } else { text }
}

/// Cells of twenty bytes, and what they point to. A position counts from 1; blank reads as 0: nothing.
fn pack(rows: &Rows<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut cells = vec![b' '; rows.cells.len() * WIDTH];
    let long = |cell: &Cell<'_>| match cell {
        Cell::Text(text) => text.len(),
        Cell::Blob(bytes) => bytes.len(),
        Cell::Null | Cell::Int(_) => 0,
    };
    let mut data = Vec::with_capacity(rows.cells.iter().map(long).sum());
    let kinds = rows.columns.iter().map(|(_, kind)| *kind).cycle();
    for ((slot, cell), kind) in cells.chunks_exact_mut(WIDTH).zip(&rows.cells).zip(kinds) {
        match cell {
            Cell::Null if kind == Kind::MaybeInt => digits(i64::MAX, slot),
            Cell::Null => {}
            Cell::Int(number) => digits(*number, slot),
            Cell::Text(text) => point(text.as_bytes(), slot, &mut data),
            Cell::Blob(bytes) => point(bytes, slot, &mut data),
        }
    }
    (cells, data)
}

fn point(bytes: &[u8], slot: &mut [u8], data: &mut Vec<u8>) {
    digits_of(data.len() as u64 + 1, &mut slot[..HALF]);
    digits_of(bytes.len() as u64, &mut slot[HALF..]);
    data.extend_from_slice(bytes);
}

/// Writes a number in decimal digits, to the right.
fn digits(number: i64, slot: &mut [u8]) {
    digits_of(number.unsigned_abs(), slot);
    if number < 0 {
        slot[0] = b'-';
        slot[1..].iter_mut().take_while(|byte| **byte == b' ').for_each(|byte| *byte = b'0');
    }
}

fn digits_of(mut number: u64, slot: &mut [u8]) {
    for byte in slot.iter_mut().rev() {
        *byte = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
}

fn read(row: &SqliteRow) -> Result<Found, sqlx::Error> {
    row.columns()
        .iter()
        .map(|column| cell(row, column.ordinal()))
        .collect::<Result<_, _>>()
        .map(Found)
}

fn cell(row: &SqliteRow, at: usize) -> Result<Cell<'static>, sqlx::Error> {
    let raw = row.try_get_raw(at)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    let kind = raw.type_info().into_owned();
    Ok(match kind.name() {
        "INTEGER" => Cell::Int(row.try_get_unchecked(at)?),
        "BLOB" => Cell::Blob(row.try_get_unchecked::<Vec<u8>, _>(at)?.into()),
        _ => Cell::Text(row.try_get_unchecked::<String, _>(at)?.into()),
    })
}
