//! The ledger, read past the bus: what is open, what the register holds, what does not fit.
//!
//! Invariant: reads only; what needs the ledger to itself is closed again before a bus starts on it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use snodo::ledger::open::{Settings, open};
use sqlx::{FromRow, PgPool, SqlitePool, postgres::PgRow, sqlite::SqliteRow};

use super::Failure;
use crate::{
    chaos::{figures::BUCKETS, house::expected_subject},
    checker::Effect,
};

/// Where the ledger is.
#[derive(Clone, Debug)]
pub enum Books {
    /// A file.
    Sqlite(PathBuf),
    /// A database by its URL.
    Postgres(String),
}

/// A registration: whose message it is, under which subject, in which year, under which number.
type Registered = (Option<String>, String, i64, i64);

const DELIVERIES: &str = "SELECT subscriber, CAST(CASE WHEN state < 5 THEN 0 ELSE state - 4 END AS \
     BIGINT) AS bucket, CAST(count(*) AS BIGINT) FROM delivery GROUP BY 1, 2";
const ACCEPTED: &str = "SELECT party, CAST(count(*) AS BIGINT) FROM message \
     WHERE sender_id IS NOT NULL GROUP BY party";
const REGISTER: &str = "SELECT m.sender_id, r.subject, CAST(r.year AS BIGINT), CAST(r.n AS BIGINT) FROM register r \
     JOIN delivery d ON d.seq = r.delivery JOIN message m ON m.seq = d.message ORDER BY r.year, r.n";
const LATEST_WAIT: &str = "SELECT CAST(coalesce(max(next_at), 0) AS BIGINT) FROM delivery";
const ENDED_TWICE: &str = "SELECT CAST(count(*) AS BIGINT) FROM (SELECT subject FROM event \
     WHERE kind = 'final' GROUP BY subject HAVING count(*) > 1) AS twice";

/// What the rows say, counted one by one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Deliveries by subscriber and bucket.
    pub deliveries: BTreeMap<(String, String), i64>,
    /// Messages accepted, by source.
    pub accepted: BTreeMap<String, i64>,
}

impl Rows {
    /// Deliveries open.
    pub fn open(&self) -> u64 {
        let open = self.deliveries.iter().filter(|((_, bucket), _)| bucket == BUCKETS[0]);
        open.map(|(_, n)| u64::try_from(*n).unwrap_or(0)).sum()
    }
}

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// The counts.
    pub rows: Rows,
    /// What must not be, a line each.
    pub broken: Vec<String>,
    /// Deliveries with two final events.
    pub ended_twice: u64,
    /// What the register applied.
    pub effects: Vec<Effect>,
}

impl Books {
    /// Counts the rows; a bus may be running.
    pub async fn rows(&self) -> Result<Rows, Failure> {
        let counted: Vec<(String, i64, i64)> = self.ask(DELIVERIES).await?;
        let deliveries = counted.into_iter().map(|(subscriber, bucket, n)| {
            let word = usize::try_from(bucket).ok().and_then(|bucket| BUCKETS.get(bucket));
            ((subscriber, (*word.unwrap_or(&"?")).to_owned()), n)
        });
        let deliveries = deliveries.collect();
        let accepted: Vec<(String, i64)> = self.ask(ACCEPTED).await?;
        let accepted = accepted.into_iter().map(|(party, n)| (format!("party:{party}"), n));
        Ok(Rows { deliveries, accepted: accepted.collect() })
    }

    /// When the last of the deliveries that wait for their time is due, since 1970.
    pub async fn latest_wait(&self) -> Result<Duration, Failure> {
        let latest: Vec<(i64,)> = self.ask(LATEST_WAIT).await?;
        let millis = latest.first().map_or(0, |(millis,)| u64::try_from(*millis).unwrap_or(0));
        Ok(Duration::from_millis(millis))
    }

    /// Everything, of a ledger that no bus holds.
    pub async fn scan(&self) -> Result<Scan, Failure> {
        let ledger = open(&self.settings()).await?;
        let broken = ledger.broken_invariants().await;
        ledger.close().await;
        let mut broken = broken?;
        let registered: Vec<Registered> = self.ask(REGISTER).await?;
        broken.extend(gaps(&registered));
        let twice: Vec<(i64,)> = self.ask(ENDED_TWICE).await?;
        let twice = twice.into_iter().map(|(n,)| u64::try_from(n).unwrap_or(u64::MAX));
        Ok(Scan {
            rows: self.rows().await?,
            broken,
            ended_twice: twice.sum(),
            effects: registered.into_iter().map(effect).collect(),
        })
    }

    fn settings(&self) -> Settings {
        match self {
            Self::Sqlite(path) => Settings::sqlite(path),
            Self::Postgres(url) => Settings::postgres(url),
        }
    }

    async fn ask<T>(&self, question: &'static str) -> Result<Vec<T>, Failure>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        Ok(match self {
            Self::Sqlite(path) => {
                let pool = SqlitePool::connect(&format!("sqlite:{}", path.display())).await?;
                let rows = sqlx::query_as(question).fetch_all(&pool).await;
                pool.close().await;
                rows?
            }
            Self::Postgres(url) => {
                let pool = PgPool::connect(url).await?;
                let rows = sqlx::query_as(question).fetch_all(&pool).await;
                pool.close().await;
                rows?
            }
        })
    }
}

/// Every number of each year from 1 on, once.
fn gaps(registered: &[Registered]) -> Option<String> {
    let mut last = (0, 0);
    let whole = registered.iter().all(|(_, _, year, number)| {
        let before = if *year == last.0 { last.1 } else { 0 };
        last = (*year, *number);
        *number == before + 1
    });
    (!whole).then(|| "the register has a gap or a number twice".to_owned())
}

fn effect((sender_id, subject, _, _): Registered) -> Effect {
    // A registration of nobody's message shows as unexpected: no message has this number.
    let message = sender_id.and_then(|id| id.parse().ok()).unwrap_or(u64::MAX);
    Effect {
        message,
        operation: "register".to_owned(),
        as_expected: subject == expected_subject(message),
    }
}
