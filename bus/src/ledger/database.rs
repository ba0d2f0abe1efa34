//! One handle for both databases: transactions, reads, and what an error means.
//!
//! Invariant: an error before COMMIT is sent means that nothing was written; an error of COMMIT itself
//! means that nobody knows.

use std::time::Duration;

use sqlx::{PgPool, Postgres, Sqlite, Transaction};

use super::{
    CommitError, ReadError, postgres,
    sqlite::{self, SqliteStore},
    statement::{Found, Ran, Statement},
};
use crate::faults::{CrashPoint, crash};

/// How long the caller waits for a server that does not answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// The database of a ledger.
#[derive(Debug, Clone)]
pub(super) enum Database {
    /// A file.
    Sqlite(SqliteStore),
    /// A server.
    Postgres(PgPool),
}

/// A transaction that writes.
#[derive(Debug)]
pub(super) enum Tx {
    /// On the file's only writer.
    Sqlite(Transaction<'static, Sqlite>),
    /// On a connection of the pool.
    Postgres(Transaction<'static, Postgres>),
}

/// What an error of a statement asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Another transaction was in the way: the same again.
    Again,
    /// A value that the database refuses: find it, leave it out.
    Bisect,
    /// Nothing that helps here.
    Nothing,
}

/// An error of a group, before its COMMIT.
#[derive(Debug, thiserror::Error)]
pub(super) enum GroupError {
    /// The database's.
    #[error("{0}")]
    Sql(#[from] sqlx::Error),
    /// The chain of events has moved under us.
    #[error("another process writes the same chain of events")]
    ChainMoved,
    /// Not every row was as it was asked for, and which were not is not known.
    #[error("a row was not as it was asked for")]
    NotAsAsked,
    /// No answer within the deadline.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
    /// Reading a snapshot took longer than one is held.
    #[error("it took longer than {} s", .0.as_secs())]
    TooLong(Duration),
}

impl GroupError {
    /// What to do about it.
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::ChainMoved => Remedy::Again,
            Self::Sql(sqlx::Error::Database(error)) => remedy_of(error.code().as_deref()),
            Self::Sql(sqlx::Error::Encode(_)) => Remedy::Bisect,
            Self::NotAsAsked | Self::Late | Self::TooLong(_) | Self::Sql(_) => Remedy::Nothing,
        }
    }

    /// The error in words that hold no data: the databases quote values in their own.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => {
                format!("database error {}", error.code().as_deref().unwrap_or("without code"))
            }
            other => other.to_string(),
        }
    }
}

/// SQLite's numbers have one to four digits, PostgreSQL's SQLSTATE five characters.
fn remedy_of(code: Option<&str>) -> Remedy {
    match code {
        Some("40001" | "40P01" | "5" | "517" | "261") => Remedy::Again,
        Some(state) if state.len() == 5 && (state.starts_with("22") || state.starts_with("23")) => {
            Remedy::Bisect
        }
        Some(number) if number.len() < 5 => match number.parse::<u32>().map(|code| code & 0xff) {
            Ok(18..=20) => Remedy::Bisect,
            _ => Remedy::Nothing,
        },
        _ => Remedy::Nothing,
    }
}

impl Database {
    /// Whether other processes may write too.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin(&self) -> Result<Tx, GroupError> {
        match self {
            Self::Sqlite(store) => {
                Ok(Tx::Sqlite(store.writer.begin_with("BEGIN IMMEDIATE").await?))
            }
            Self::Postgres(pool) => in_time(async { Ok(Tx::Postgres(pool.begin().await?)) }).await,
        }
    }

    /// Begins a transaction in which everything is read as it is now. It is rolled back.
    pub(super) async fn snapshot(&self) -> Result<Tx, GroupError> {
        match self {
            Self::Sqlite(store) => Ok(Tx::Sqlite(store.readers.begin().await?)),
            Self::Postgres(pool) => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                in_time(async { Ok(Tx::Postgres(pool.begin_with(begin).await?)) }).await
            }
        }
    }

    /// Reads outside of any transaction.
    pub(super) async fn read(&self, statement: Statement<'_>) -> Result<Vec<Found>, ReadError> {
        let statements = [statement];
        let mut all = match self {
            Self::Sqlite(store) => {
                let mut reader = store.readers.acquire().await.map_err(unreadable)?;
                sqlite::run(&mut reader, &statements).await.map_err(unreadable)?
            }
            Self::Postgres(pool) => in_time(async {
                let mut reader = pool.acquire().await?;
                Ok(postgres::run(&mut reader, &statements).await?)
            })
            .await
            .map_err(|error| ReadError(error.words()))?,
        };
        Ok(all.pop().unwrap_or_default().rows)
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(store) => {
                store.readers.close().await;
                store.writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A failed read in words without data.
pub(super) fn unreadable(error: sqlx::Error) -> ReadError {
    ReadError(GroupError::Sql(error).words())
}

async fn in_time<T>(work: impl Future<Output = Result<T, GroupError>>) -> Result<T, GroupError> {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(GroupError::Late))
}

impl Tx {
    /// Runs statements in their order; the rows of each.
    pub(super) async fn run(
        &mut self,
        statements: &[Statement<'_>],
    ) -> Result<Vec<Vec<Found>>, GroupError> {
        Ok(self.ran(statements).await?.into_iter().map(|ran| ran.rows).collect())
    }

    /// Runs statements in their order; what each did.
    pub(super) async fn ran(
        &mut self,
        statements: &[Statement<'_>],
    ) -> Result<Vec<Ran>, GroupError> {
        match self {
            Self::Sqlite(tx) => Ok(sqlite::run(&mut *tx, statements).await?),
            Self::Postgres(tx) => {
                in_time(async { Ok(postgres::run(&mut *tx, statements).await?) }).await
            }
        }
    }

    /// Runs one statement.
    pub(super) async fn one(&mut self, statement: Statement<'_>) -> Result<Vec<Found>, GroupError> {
        Ok(self.run(&[statement]).await?.pop().unwrap_or_default())
    }

    /// Commits.
    pub(super) async fn commit(self) -> Result<(), CommitError> {
        crash(CrashPoint::Cp8);
        let answer = match self {
            Self::Sqlite(tx) => tx.commit().await.map_err(GroupError::Sql),
            Self::Postgres(tx) => in_time(async { Ok(tx.commit().await?) }).await,
        };
        answer.map_err(|error| CommitError::Unclear(error.words()))
    }

    /// Takes everything back.
    pub(super) async fn rollback(self) {
        // A transaction that cannot be rolled back is rolled back by the end of its connection.
        let _ = match self {
            Self::Sqlite(tx) => tx.rollback().await.map_err(GroupError::Sql),
            Self::Postgres(tx) => in_time(async { Ok(tx.rollback().await?) }).await,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_value_is_searched_for_and_a_deadlock_is_tried_again() {
        for (code, remedy) in [
            ("40P01", Remedy::Again),
            ("22021", Remedy::Bisect),
            ("23505", Remedy::Bisect),
            ("57P01", Remedy::Nothing),
            ("53100", Remedy::Nothing),
            ("5", Remedy::Again),
            ("2067", Remedy::Bisect),
            ("18", Remedy::Bisect),
            ("13", Remedy::Nothing),
        ] {
            assert_eq!(remedy_of(Some(code)), remedy, "{code}");
        }
    }
}
