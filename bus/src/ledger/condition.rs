//! The condition of the database: what `snodo doctor` asks of a ledger.
//!
//! Invariant: it only reads, and reads a whole file only where that is small or asked for.

use snodo_core::{doctor::LedgerFacts, timestamp::Timestamp};

use super::{
    ReadError,
    database::unreadable,
    statement::{Cell, Found},
    store::SqlLedger,
};
use crate::clock::{Clock as _, SystemClock};

/// A larger file is checked only where that is asked for.
const CHECKED: u64 = 1 << 30;
/// Settings of PostgreSQL that keep what was committed.
const KEEPING: [&str; 3] = ["fsync", "full_page_writes", "synchronous_commit"];

impl SqlLedger {
    /// Everything that doctor asks.
    pub(super) async fn read_condition(&self, thorough: bool) -> Result<LedgerFacts, ReadError> {
        let schema = self.number("SELECT max(version) FROM _sqlx_migrations").await?;
        let newest = "SELECT at FROM event WHERE seq = (SELECT max(seq) FROM event)";
        let newest = self.ask(newest.to_owned(), vec![]).await?;
        let newest_event = newest.first().map(|row| row.time(0)).transpose().map_err(unreadable)?;
        let facts = LedgerFacts { schema, newest_event, ..LedgerFacts::default() };
        if self.database.is_shared() {
            self.of_server(facts).await
        } else {
            self.of_file(facts, thorough).await
        }
    }

    async fn of_file(&self, facts: LedgerFacts, thorough: bool) -> Result<LedgerFacts, ReadError> {
        let version = self.word("SELECT sqlite_version()").await?;
        let bytes = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
        let bytes = u64::try_from(self.number(bytes).await?).unwrap_or(0);
        let path = self.word("SELECT file FROM pragma_database_list WHERE name = 'main'").await?;
        let log = std::fs::metadata(format!("{path}-wal")).ok().map(|log| log.len());
        let mut check = None;
        if thorough || bytes <= CHECKED {
            let said = self.ask("PRAGMA quick_check(20)".to_owned(), vec![]).await?;
            let said = said.iter().map(|row| Ok(row.text(0)?.to_owned()));
            let said: Vec<String> = said.collect::<sqlx::Result<_>>().map_err(unreadable)?;
            check = Some(said.into_iter().filter(|word| word != "ok").collect());
        }
        let database = format!("SQLite {version}");
        Ok(LedgerFacts { database, bytes, log_bytes: log, check, ..facts })
    }

    async fn of_server(&self, facts: LedgerFacts) -> Result<LedgerFacts, ReadError> {
        let version = self.word("SELECT current_setting('server_version')").await?;
        let bytes = self.number("SELECT pg_database_size(current_database())").await?;
        let mut unsafe_settings = Vec::new();
        for name in KEEPING {
            let value = self.word(&format!("SELECT current_setting('{name}')")).await?;
            if value == "off" {
                unsafe_settings.push((name.to_owned(), value));
            }
        }
        let clock = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
        let says = Timestamp(self.number(clock).await?);
        Ok(LedgerFacts {
            database: format!("PostgreSQL {version}"),
            bytes: u64::try_from(bytes).unwrap_or(0),
            unsafe_settings,
            clock: Some((says, SystemClock.now())),
            ..facts
        })
    }

    async fn number(&self, sql: &str) -> Result<i64, ReadError> {
        self.value(sql, |row| row.int(0)).await
    }

    async fn word(&self, sql: &str) -> Result<String, ReadError> {
        self.value(sql, |row| Ok(row.text(0)?.to_owned())).await
    }

    async fn value<T: Default>(
        &self,
        sql: &str,
        of: impl Fn(&Found) -> sqlx::Result<T>,
    ) -> Result<T, ReadError> {
        let none: Vec<Cell<'_>> = Vec::new();
        let found = self.ask(sql.to_owned(), none).await?;
        found.first().map_or(Ok(T::default()), of).map_err(unreadable)
    }
}
