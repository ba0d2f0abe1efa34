//! The databases that are asked: connections that only read, and what their errors are. The only IO of `sql`.
//!
//! Invariant: nothing here writes: the server refuses it in a transaction that reads only, SQLite on a file
//! that is opened so; and nothing waits beyond the deadline of its question.

mod postgres;
mod sqlite;

use std::{io, time::Duration};

use serde_json::Value;
use sqlx::{
    error::DatabaseError,
    postgres::{PgDatabaseError, PgErrorPosition},
};
use tokio::time::Instant;

use self::{postgres::Postgres, sqlite::Sqlite};
use super::{
    answer::Row,
    classify::{NotReached, Said, Trouble, Unusable, named_by_sqlite},
    options::Place,
    text::{Dialect, Query},
};

/// Within which a connection must stand.
const CONNECT: Duration = Duration::from_secs(5);
/// Connections of an instance: one per call, and one for the probe.
const CONNECTIONS: u32 = super::AT_ONCE + 1;

/// A database, not yet connected to.
#[derive(Debug)]
pub(super) enum Database {
    /// A server.
    Postgres(Box<Postgres>),
    /// A file.
    Sqlite(Sqlite),
}

/// What is asked, within which bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'q> {
    /// The query.
    pub(super) query: &'q Query,
    /// The value of each of its names.
    pub(super) values: &'q [&'q Value],
    /// The most rows.
    pub(super) row_limit: usize,
    /// The most bytes.
    pub(super) answer_limit: usize,
    /// An answer is there by then.
    pub(super) until: Instant,
}

impl Database {
    /// As the options say.
    pub(super) fn of(place: Place) -> Self {
        match place {
            Place::Postgres(server) => Self::Postgres(Box::new(Postgres::of(&server))),
            Place::Sqlite(path) => Self::Sqlite(Sqlite::of(path)),
        }
    }

    /// The rows of an answer.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Vec<Row>, Trouble> {
        match self {
            Self::Postgres(server) => server.ask(question).await,
            Self::Sqlite(file) => file.ask(question).await,
        }
    }

    /// Whether it answers at all.
    pub(super) async fn probe(&self) -> Result<(), Trouble> {
        let until = Instant::now() + CONNECT;
        match self {
            Self::Postgres(server) => server.probe(until).await,
            Self::Sqlite(file) => file.probe(until).await,
        }
    }
}

/// Rows as they come, counted.
#[derive(Debug)]
struct Gathered<'q> {
    question: &'q Question<'q>,
    rows: Vec<Row>,
    bytes: usize,
}

impl<'q> Gathered<'q> {
    fn new(question: &'q Question<'q>) -> Self {
        Self { question, rows: Vec::new(), bytes: 0 }
    }

    /// Before a row is read: so many bytes more.
    fn count(&mut self, bytes: usize) -> Result<(), Trouble> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.question.answer_limit {
            return Err(Trouble::Unusable(Unusable::TooLong(self.question.answer_limit)));
        }
        Ok(())
    }

    fn push(&mut self, row: Row) -> Result<(), Trouble> {
        if self.rows.len() == self.question.row_limit {
            return Err(Trouble::Unusable(Unusable::TooManyRows(self.question.row_limit)));
        }
        self.rows.push(row);
        Ok(())
    }
}

/// What an error was, before a connection stood.
fn not_connected(error: sqlx::Error, dialect: Dialect) -> Trouble {
    match error {
        sqlx::Error::Io(error) => Trouble::NotReached(why(&error)),
        sqlx::Error::Tls(_) => Trouble::NotReached(NotReached::Tls),
        // A server that refuses connections is asked again until the time is over.
        sqlx::Error::PoolTimedOut => Trouble::NotReached(NotReached::TimedOut),
        error @ sqlx::Error::Database(_) => troubled(error, dialect, None),
        _ => Trouble::NotReached(NotReached::Other),
    }
}

fn why(error: &io::Error) -> NotReached {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NotReached::ConnectionRefused,
        io::ErrorKind::TimedOut => NotReached::TimedOut,
        // The TLS library reports its errors so.
        io::ErrorKind::InvalidData => NotReached::Tls,
        _ => NotReached::Other,
    }
}

/// What an error was, on a connection that stood. The query, where its text was sent as it is.
fn troubled(error: sqlx::Error, dialect: Dialect, query: Option<&Query>) -> Trouble {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default().into_owned();
            let at = match dialect {
                Dialect::Postgres => query.and_then(|query| query.word_at(position(&*error)?)),
                Dialect::Sqlite => named_by_sqlite(error.message()),
            };
            Trouble::Said(Said { dialect, code, at })
        }
        sqlx::Error::Tls(_) => Trouble::NotReached(NotReached::Tls),
        _ => Trouble::Lost,
    }
}

/// Where in the text that was sent PostgreSQL stopped, in characters from 1.
fn position(error: &dyn DatabaseError) -> Option<usize> {
    match error.try_downcast_ref::<PgDatabaseError>()?.position()? {
        PgErrorPosition::Original(position) => Some(position),
        PgErrorPosition::Internal { .. } => None,
    }
}
