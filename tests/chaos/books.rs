//! The ledger, read while no bus runs: what is open, what the register holds, what does not fit.
//!
//! Invariant: reads only; the ledger is closed again before a bus starts on it.

use std::{collections::BTreeMap, path::PathBuf};

use snodo::ledger::{
    Ledger,
    open::{Settings, open},
};
use snodo_tests::checker::Effect;
use sqlx::{PgPool, SqlitePool};

use crate::{house::expected_subject, scene::Failure};

/// Where the ledger is.
#[derive(Clone, Debug)]
pub(crate) enum Books {
    /// A file.
    Sqlite(PathBuf),
    /// A database by its URL.
    Postgres(String),
}

/// A registration: whose message it is, under which subject, under which number.
type Registered = (Option<String>, String, i64);

const REGISTER: &str = "SELECT m.sender_id, r.subject, CAST(r.n AS BIGINT) FROM register r \
     JOIN delivery d ON d.seq = r.delivery JOIN message m ON m.seq = d.message ORDER BY r.n";
const ENDED_TWICE: &str = "SELECT CAST(count(*) AS BIGINT) FROM (SELECT subject FROM event \
     WHERE kind = 'final' GROUP BY subject HAVING count(*) > 1) AS twice";

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Deliveries by subscriber and bucket.
    pub(crate) deliveries: BTreeMap<(String, String), i64>,
    /// What must not be, a line each.
    pub(crate) broken: Vec<String>,
    /// Deliveries with two final events.
    pub(crate) ended_twice: u64,
    /// What the register applied.
    pub(crate) effects: Vec<Effect>,
}

impl Scan {
    /// Deliveries open.
    pub(crate) fn open(&self) -> u64 {
        let open = self.deliveries.iter().filter(|((_, bucket), _)| bucket == "open");
        open.map(|(_, n)| u64::try_from(*n).unwrap_or(0)).sum()
    }
}

impl Books {
    /// How many deliveries are open, counted from the rows.
    pub(crate) async fn open(&self) -> Result<u64, Failure> {
        let ledger = open(&self.settings()).await?;
        let deliveries = deliveries(&*ledger).await;
        ledger.close().await;
        Ok(Scan { deliveries: deliveries?, ..Scan::default() }.open())
    }

    /// Everything.
    pub(crate) async fn scan(&self) -> Result<Scan, Failure> {
        let ledger = open(&self.settings()).await?;
        let (deliveries, broken) = (deliveries(&*ledger).await, ledger.broken_invariants().await);
        ledger.close().await;
        let (registered, ended_twice) = self.query().await?;
        let mut broken = broken?;
        broken.extend(gaps(&registered));
        Ok(Scan {
            deliveries: deliveries?,
            broken,
            ended_twice: u64::try_from(ended_twice).unwrap_or(u64::MAX),
            effects: registered.into_iter().map(effect).collect(),
        })
    }

    fn settings(&self) -> Settings {
        match self {
            Self::Sqlite(path) => Settings::sqlite(path),
            Self::Postgres(url) => Settings::postgres(url),
        }
    }

    async fn query(&self) -> Result<(Vec<Registered>, i64), Failure> {
        Ok(match self {
            Self::Sqlite(path) => {
                let pool = SqlitePool::connect(&format!("sqlite:{}", path.display())).await?;
                let registered = sqlx::query_as(REGISTER).fetch_all(&pool).await?;
                let twice = sqlx::query_scalar(ENDED_TWICE).fetch_one(&pool).await?;
                pool.close().await;
                (registered, twice)
            }
            Self::Postgres(url) => {
                let pool = PgPool::connect(url).await?;
                let registered = sqlx::query_as(REGISTER).fetch_all(&pool).await?;
                let twice = sqlx::query_scalar(ENDED_TWICE).fetch_one(&pool).await?;
                pool.close().await;
                (registered, twice)
            }
        })
    }
}

async fn deliveries(ledger: &dyn Ledger) -> Result<BTreeMap<(String, String), i64>, Failure> {
    let totals = ledger.scan().await?;
    Ok(totals
        .into_iter()
        .filter(|total| total.n != 0)
        .map(|total| ((total.name.to_string(), total.bucket), total.n))
        .collect())
}

/// Every number from 1 on, once.
fn gaps(registered: &[Registered]) -> Option<String> {
    let numbers = registered.iter().map(|(_, _, number)| *number);
    let wanted = 1..=i64::try_from(registered.len()).unwrap_or(i64::MAX);
    (!numbers.eq(wanted)).then(|| "the register has a gap or a number twice".to_owned())
}

fn effect((sender_id, subject, _): Registered) -> Effect {
    // A registration of nobody's message shows as unexpected: no message has this number.
    let message = sender_id.and_then(|id| id.parse().ok()).unwrap_or(u64::MAX);
    Effect {
        message,
        operation: "register".to_owned(),
        as_expected: subject == expected_subject(message),
    }
}
