//! The ledger's statements on PostgreSQL: a pool, arrays for rows.
//!
//! Invariant: nothing waits for the server without an end: the server ends statements and locks, and
//! the caller of a transaction ends the wait for a server that does not answer at all.

use std::{fmt::Write as _, str::FromStr, time::Duration};

use sqlx::{
    AssertSqlSafe, Column as _, PgConnection, PgPool, Postgres, Row as _, TypeInfo as _,
    ValueRef as _,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::Query,
};

use super::statement::{Cell, Found, Kind, Ran, Rows, Statement, render};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// Opens a database, creates what is missing.
pub(super) async fn open(url: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?.application_name("snodo").options([
        ("statement_timeout", "4000"),
        ("lock_timeout", "2000"),
        ("idle_in_transaction_session_timeout", "10000"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(connections.max(2))
        .acquire_timeout(Duration::from_secs(1))
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    MIGRATIONS.run(&pool).await?;
    Ok(pool)
}

/// Runs statements one after the other; what each did.
pub(super) async fn run(
    connection: &mut PgConnection,
    statements: &[Statement<'_>],
) -> Result<Vec<Ran>, sqlx::Error> {
    let mut all = Vec::with_capacity(statements.len());
    for statement in statements {
        let rows = query(statement).fetch_all(&mut *connection).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
        all.push(Ran { rows, ..Ran::default() });
    }
    Ok(all)
}

fn query<'q>(statement: &Statement<'_>) -> Query<'q, Postgres, PgArguments> {
    let after = 1 + statement.scalars.len();
    let source = statement.rows.as_ref().map(|rows| source(rows, after)).unwrap_or_default();
    let mut sql = String::with_capacity(512);
    render(&statement.sql, 1, &source, " FOR UPDATE SKIP LOCKED", &mut sql);
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for cell in &statement.scalars {
        query = match cell {
            Cell::Null => query.bind(None::<i64>),
            Cell::Int(number) => query.bind(*number),
            Cell::Text(text) => query.bind(&**text),
            Cell::Blob(bytes) => query.bind(&**bytes),
        };
    }
    let Some(rows) = &statement.rows else { return query };
    (0..rows.columns.len()).fold(query, |query, column| bind_column(query, rows, column))
}

/// `UNNEST($2::bigint[], $3::text[]) AS i (k_seq, k_step)`.
fn source(rows: &Rows<'_>, at: usize) -> String {
    let (mut arrays, mut names) = (String::new(), String::new());
    for (number, (name, kind)) in rows.columns.iter().enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        let of = match kind {
            Kind::Int | Kind::MaybeInt => "bigint",
            Kind::Text => "text",
            Kind::Blob => "bytea",
        };
        let _ = write!(arrays, "{comma}${}::{of}[]", at + number);
        let _ = write!(names, "{comma}{name}");
    }
    format!("UNNEST({arrays}) AS i ({names})")
}

fn bind_column<'q>(
    query: Query<'q, Postgres, PgArguments>,
    rows: &Rows<'_>,
    column: usize,
) -> Query<'q, Postgres, PgArguments> {
    let cells = || rows.cells.iter().skip(column).step_by(rows.columns.len());
    match rows.columns[column].1 {
        Kind::Int | Kind::MaybeInt => query.bind(cells().map(number).collect::<Vec<_>>()),
        Kind::Text => query.bind(cells().map(text).collect::<Vec<_>>()),
        Kind::Blob => query.bind(cells().map(bytes).collect::<Vec<_>>()),
    }
}

fn number(cell: &Cell<'_>) -> Option<i64> {
    if let Cell::Int(number) = cell { Some(*number) } else { None }
}

fn text<'c>(cell: &'c Cell<'_>) -> Option<&'c str> {
    if let Cell::Text(text) = cell { Some(text) } else { None }
}

fn bytes<'c>(cell: &'c Cell<'_>) -> Option<&'c [u8]> {
    if let Cell::Blob(bytes) = cell { Some(bytes) } else { None }
}

fn read(row: &PgRow) -> Result<Found, sqlx::Error> {
    row.columns()
        .iter()
        .map(|column| cell(row, column.ordinal()))
        .collect::<Result<_, _>>()
        .map(Found)
}

fn cell(row: &PgRow, at: usize) -> Result<Cell<'static>, sqlx::Error> {
    let raw = row.try_get_raw(at)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    let kind = raw.type_info().into_owned();
    Ok(match kind.name() {
        "INT8" => Cell::Int(row.try_get_unchecked(at)?),
        "INT4" => Cell::Int(row.try_get_unchecked::<i32, _>(at)?.into()),
        "INT2" => Cell::Int(row.try_get_unchecked::<i16, _>(at)?.into()),
        "BYTEA" => Cell::Blob(row.try_get_unchecked::<Vec<u8>, _>(at)?.into()),
        _ => Cell::Text(row.try_get_unchecked::<String, _>(at)?.into()),
    })
}
