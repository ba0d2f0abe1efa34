//! The totals against the rows: both equations of custody, counted anew.
//!
//! Invariant: everything is read from one snapshot, so a busy ledger gives no false alarm; it is read in
//! slices with a rest after each, waits for no writer, and no writer waits for it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;
use snodo_core::message_state::Bucket;
use tokio::time::sleep;

use super::{
    ReadError,
    database::{GroupError, Tx},
    read::BUCKET,
    statement::Statement,
    store::SqlLedger,
};

/// Rows of one slice.
const SLICE: i64 = 20_000;
/// A snapshot is held no longer: a file's log grows meanwhile.
const LONGEST: Duration = Duration::from_mins(2);

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Where totals and rows differ; none where both equations hold.
    pub differences: Vec<Difference>,
    /// How many rows were counted.
    pub rows: i64,
}

/// One total that is not what the rows say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// A subscriber, or a source; `messages` for the accepted messages of all sources.
    pub name: String,
    /// A bucket, or `received`, `accepted`.
    pub bucket: String,
    /// What the totals say.
    pub totals: i64,
    /// What the rows say; of `received`, what was accepted and rejected.
    pub rows: i64,
}

impl Comparison {
    /// By how much they differ, over all totals.
    pub fn by(&self) -> u64 {
        self.differences.iter().map(|one| one.totals.abs_diff(one.rows)).sum()
    }

    fn note(&mut self, name: &str, bucket: &str, totals: i64, rows: i64) {
        if totals != rows {
            let (name, bucket) = (name.to_owned(), bucket.to_owned());
            self.differences.push(Difference { name, bucket, totals, rows });
        }
    }
}

/// By subscriber and bucket.
type Counts = BTreeMap<(String, i64), i64>;

impl SqlLedger {
    /// Compares once.
    pub(super) async fn read_comparison(&self) -> Result<Comparison, ReadError> {
        let words = |error: GroupError| ReadError(error.words());
        let mut tx = self.database.snapshot().await.map_err(words)?;
        let compared = Counting { tx: &mut tx, begun: Instant::now() }.compare().await;
        tx.rollback().await;
        compared.map_err(words)
    }
}

/// One comparison under way.
struct Counting<'t> {
    tx: &'t mut Tx,
    begun: Instant,
}

impl Counting<'_> {
    async fn compare(&mut self) -> Result<Comparison, GroupError> {
        let mut comparison = Comparison::default();
        let mut totals = self.delivery_totals().await?;
        let accepted = self.message_totals(&mut comparison).await?;
        for ((name, bucket), n) in self.deliveries(&mut comparison.rows).await? {
            let told = totals.remove(&(name.clone(), bucket)).unwrap_or(0);
            comparison.note(&name, word(bucket), told, n);
        }
        for ((name, bucket), told) in totals {
            comparison.note(&name, word(bucket), told, 0);
        }
        let counted = self.messages().await?;
        comparison.rows += counted;
        comparison.note("messages", "accepted", accepted, counted);
        Ok(comparison)
    }

    async fn delivery_totals(&mut self) -> Result<Counts, GroupError> {
        let sql = "SELECT subscriber, bucket, n - gone FROM delivery_total";
        let found = self.tx.one(Statement::new(sql, vec![])).await?;
        let counts =
            found.iter().map(|row| Ok(((row.text(0)?.to_owned(), row.int(1)?), row.int(2)?)));
        Ok(counts.collect::<sqlx::Result<_>>()?)
    }

    /// Notes the sources of which not every received message was accepted or rejected; how many accepted
    /// ones must still be there.
    async fn message_totals(&mut self, comparison: &mut Comparison) -> Result<i64, GroupError> {
        let sql = "SELECT source, bucket, n FROM message_total";
        let mut sources: BTreeMap<String, [i64; 3]> = BTreeMap::new();
        for row in self.tx.one(Statement::new(sql, vec![])).await? {
            let counts = sources.entry(row.text(0)?.to_owned()).or_default();
            match row.text(1)? {
                "received" => counts[0] = row.int(2)?,
                "accepted" => counts[1] = row.int(2)?,
                "rejected" => counts[2] = row.int(2)?,
                _ => {}
            }
        }
        let mut accepted = 0;
        for (source, [received, taken, rejected]) in &sources {
            comparison.note(source, "received", *received, taken + rejected);
            accepted += taken;
        }
        let sql = "SELECT n FROM retention WHERE name = 'messages'";
        let gone = self.tx.one(Statement::new(sql, vec![])).await?;
        Ok(accepted - gone.first().map_or(Ok(0), |row| row.int(0))?)
    }

    async fn deliveries(&mut self, rows: &mut i64) -> Result<Counts, GroupError> {
        let sql = format!(
            "SELECT subscriber, {BUCKET}, count(*), max(seq) FROM (SELECT seq, subscriber, state \
             FROM delivery WHERE seq > {{0}} ORDER BY seq LIMIT {{1}}) AS slice GROUP BY 1, 2"
        );
        let (mut counts, mut after) = (Counts::new(), 0);
        loop {
            let begun = Instant::now();
            let scalars = vec![after.into(), SLICE.into()];
            let found = self.tx.one(Statement::new(sql.clone(), scalars)).await?;
            let mut slice = 0;
            for row in &found {
                *counts.entry((row.text(0)?.to_owned(), row.int(1)?)).or_default() += row.int(2)?;
                slice += row.int(2)?;
                after = after.max(row.int(3)?);
            }
            *rows += slice;
            if slice < SLICE {
                return Ok(counts);
            }
            self.rest(begun).await?;
        }
    }

    /// By the index of their keys: the rows themselves hold whole envelopes.
    async fn messages(&mut self) -> Result<i64, GroupError> {
        const AFTER: &str = "FROM message WHERE sender_id IS NOT NULL \
            AND (party, source, sender_id) > ({0}, {1}, {2}) ORDER BY party, source, sender_id";
        let mut after = [String::new(), String::new(), String::new()];
        let mut counted = 0;
        loop {
            let begun = Instant::now();
            let scalars = |more: i64| {
                let mut scalars: Vec<_> = after.iter().map(|part| part.as_str().into()).collect();
                scalars.push(more.into());
                scalars
            };
            let count = format!("SELECT count(*) FROM (SELECT 1 {AFTER} LIMIT {{3}}) AS slice");
            let last = format!("SELECT party, source, sender_id {AFTER} LIMIT 1 OFFSET {{3}}");
            let statements =
                [Statement::new(count, scalars(SLICE)), Statement::new(last, scalars(SLICE - 1))];
            let found = self.tx.run(&statements).await?;
            counted += found[0].first().map_or(Ok(0), |row| row.int(0))?;
            let Some(row) = found[1].first() else { return Ok(counted) };
            after = [row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned()];
            self.rest(begun).await?;
        }
    }

    /// As long as the slice took.
    async fn rest(&self, begun: Instant) -> Result<(), GroupError> {
        sleep(begun.elapsed()).await;
        if self.begun.elapsed() > LONGEST { Err(GroupError::TooLong(LONGEST)) } else { Ok(()) }
    }
}

fn word(bucket: i64) -> &'static str {
    let bucket = usize::try_from(bucket).ok().and_then(|number| Bucket::ALL.get(number));
    bucket.map_or("?", |bucket| bucket.word())
}
