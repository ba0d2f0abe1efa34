//! The ledger on either database: one transaction per group, starts and ends of processes.
//!
//! Invariant: nothing of a group that failed before its COMMIT is kept, in the database or here.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use snodo_core::{ids::IncarnationId, timestamp::Timestamp};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    Action, CommitError, Outcome, RouteVersion, Started,
    apply::{self, Books, Group},
    books::{self, Believed, ChainHead},
    database::{Database, GroupError, Remedy, Tx},
    registers::{self, Registers},
    slot::SlotLock,
    statement::{Found, Statement},
};
use crate::faults::off;

/// How often a group is tried again that another transaction was in the way of.
const TRIES: u32 = 5;

/// The ledger on SQLite or PostgreSQL.
#[derive(Debug)]
pub struct SqlLedger {
    pub(super) database: Database,
    /// Beside a SQLite file, for as long as the ledger is open.
    _lock: Option<SlotLock>,
    me: AtomicI64,
    slot: RwLock<Arc<str>>,
    /// One chain of events per writer, so that writers do not wait for one another's disk.
    lanes: Vec<Mutex<Option<ChainHead>>>,
    believed: Mutex<Believed>,
}

/// What became of one try.
enum Failed {
    /// Nothing was written.
    Before(GroupError),
    /// Not known.
    Unclear(CommitError),
}

impl SqlLedger {
    pub(super) fn new(
        database: Database,
        slot: &str,
        lock: Option<SlotLock>,
        lanes: usize,
    ) -> Self {
        Self {
            database,
            _lock: lock,
            me: AtomicI64::new(0),
            slot: RwLock::new(slot.into()),
            lanes: (0..lanes.max(1)).map(|_| Mutex::new(None)).collect(),
            believed: Mutex::new(Believed::new()),
        }
    }

    fn me(&self) -> Option<IncarnationId> {
        match self.me.load(SeqCst) {
            0 => None,
            me => Some(IncarnationId(me)),
        }
    }

    fn slot(&self) -> Arc<str> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies a group and reports per action.
    pub(super) async fn apply(
        &self,
        group: &[Action],
        now: Timestamp,
    ) -> Result<Vec<Outcome>, CommitError> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        match self.persist(group, now, true).await {
            Ok(outcomes) => Ok(outcomes),
            Err(Failed::Unclear(error)) => Err(error),
            Err(Failed::Before(error)) if error.remedy() == Remedy::Bisect => {
                self.without_the_bad(group, now, &error).await
            }
            Err(Failed::Before(error)) => Err(CommitError::NotCommitted(error.words())),
        }
    }

    /// Tries again while another transaction is in the way. A file has one writer, so nearly always
    /// every row is as it was asked for: there the first try asks only how many were.
    async fn persist(
        &self,
        group: &[Action],
        now: Timestamp,
        keep: bool,
    ) -> Result<Vec<Outcome>, Failed> {
        let mut tries = 1;
        let mut exact = self.database.is_shared();
        loop {
            match self.attempt(group, now, keep, exact).await {
                Err(Failed::Before(GroupError::NotAsAsked)) if !exact => exact = true,
                Err(Failed::Before(error)) if error.remedy() == Remedy::Again && tries < TRIES => {
                    tries += 1;
                }
                end => return end,
            }
        }
    }

    async fn attempt(
        &self,
        group: &[Action],
        now: Timestamp,
        keep: bool,
        exact: bool,
    ) -> Result<Vec<Outcome>, Failed> {
        let apart = self.number_apart(group, now).await.map_err(Failed::Before)?;
        let mut tx = self.database.begin().await.map_err(Failed::Before)?;
        let mut work = Group::new(group, now, self.me(), exact);
        work.drawn_apart = apart;
        if let Err(error) = work.run(&mut tx).await {
            tx.rollback().await;
            return Err(Failed::Before(error));
        }
        let books = std::mem::take(&mut work.books);
        self.close_books(tx, &books, now, keep).await?;
        Ok(work.outcomes())
    }

    /// Writes totals and events and ends the transaction.
    async fn close_books(
        &self,
        mut tx: Tx,
        books: &Books,
        now: Timestamp,
        keep: bool,
    ) -> Result<(), Failed> {
        let mut lane = if books.events.is_empty() { None } else { Some(self.lane().await) };
        if let Err(error) = self.write_books(&mut tx, books, &mut lane, now).await {
            forget(&mut lane);
            tx.rollback().await;
            return Err(Failed::Before(error));
        }
        if !keep {
            forget(&mut lane);
            tx.rollback().await;
            return Ok(());
        }
        tx.commit().await.map_err(|error| {
            forget(&mut lane);
            Failed::Unclear(error)
        })
    }

    async fn write_books(
        &self,
        tx: &mut Tx,
        books: &Books,
        lane: &mut Option<(usize, MutexGuard<'_, Option<ChainHead>>)>,
        now: Timestamp,
    ) -> Result<(), GroupError> {
        let slot = self.slot();
        let mut statements = Vec::new();
        let mut after = None;
        if let Some((number, known)) = lane {
            let name = if *number == 0 { slot.to_string() } else { format!("{slot}/{number}") };
            let head = match known.take() {
                Some(head) => head,
                None => books::head_of(tx, &name).await?,
            };
            let (events, moved) = books::events(&books.events, &slot, &name, &head, now);
            statements.extend(events);
            after = Some(moved);
        }
        let chained = after.is_some();
        statements.extend(books::totals(books, &mut *self.believed.lock().await));
        let found = tx.run(&statements).await?;
        if chained {
            books::chain_stood(&found)?;
        }
        if let Some((_, known)) = lane {
            **known = after;
        }
        Ok(())
    }

    /// A chain that no other writer of this process is using, or the first.
    async fn lane(&self) -> (usize, MutexGuard<'_, Option<ChainHead>>) {
        for (number, lane) in self.lanes.iter().enumerate() {
            if let Ok(free) = lane.try_lock() {
                return (number, free);
            }
        }
        (0, self.lanes[0].lock().await)
    }

    /// Finds the actions that the database refuses, leaves them out, commits the rest.
    async fn without_the_bad(
        &self,
        group: &[Action],
        now: Timestamp,
        error: &GroupError,
    ) -> Result<Vec<Outcome>, CommitError> {
        let mut bad = std::collections::BTreeMap::new();
        let whole = 0..group.len();
        let mut ranges = Vec::from([whole]);
        while let Some(range) = ranges.pop() {
            match self.persist(&group[range.clone()], now, false).await {
                Ok(_) => {}
                Err(Failed::Before(error)) if error.remedy() == Remedy::Bisect => {
                    if range.len() == 1 {
                        bad.insert(range.start, error.words());
                    } else {
                        let middle = range.start + range.len() / 2;
                        ranges.extend([middle..range.end, range.start..middle]);
                    }
                }
                Err(Failed::Before(error)) => return Err(CommitError::NotCommitted(error.words())),
                Err(Failed::Unclear(error)) => return Err(error),
            }
        }
        if bad.is_empty() {
            return Err(CommitError::NotCommitted(error.words()));
        }
        self.commit_the_good(group, now, &bad).await
    }

    async fn commit_the_good(
        &self,
        group: &[Action],
        now: Timestamp,
        bad: &std::collections::BTreeMap<usize, String>,
    ) -> Result<Vec<Outcome>, CommitError> {
        let good: Vec<Action> = group
            .iter()
            .enumerate()
            .filter(|(index, _)| !bad.contains_key(index))
            .map(|(_, action)| action.clone())
            .collect();
        let committed = match self.persist(&good, now, true).await {
            Ok(outcomes) => outcomes,
            Err(Failed::Before(error)) => return Err(CommitError::NotCommitted(error.words())),
            Err(Failed::Unclear(error)) => return Err(error),
        };
        let mut committed = committed.into_iter();
        Ok((0..group.len())
            .filter_map(|index| match bad.get(&index) {
                Some(words) => Some(Outcome::Failed(words.clone())),
                None => committed.next(),
            })
            .collect())
    }

    /// A mutant: numbers drawn and committed before the step that uses them.
    async fn number_apart(
        &self,
        group: &[Action],
        now: Timestamp,
    ) -> Result<Option<Registers>, GroupError> {
        if !off("number-apart") {
            return Ok(None);
        }
        let mut tx = self.database.begin().await?;
        let drawn = registers::draw(&mut tx, &apply::wanted(group.iter()), now).await?;
        tx.commit().await.map_err(|_| GroupError::Late)?;
        Ok(Some(drawn))
    }

    // --- starts and ends --------------------------------------------------------------------------

    pub(super) async fn begin_incarnation(
        &self,
        slot: &str,
        now: Timestamp,
    ) -> Result<Started, CommitError> {
        let mut tx = self.database.begin().await.map_err(not_committed)?;
        let mut books = Books::default();
        let started = match self.void(&mut tx, slot, now, &mut books).await {
            Ok(started) => started,
            Err(error) => {
                tx.rollback().await;
                return Err(not_committed(error));
            }
        };
        self.close_books(tx, &books, now, true).await.map_err(|failed| match failed {
            Failed::Before(error) => not_committed(error),
            Failed::Unclear(error) => error,
        })?;
        self.me.store(started.incarnation.0, SeqCst);
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = slot.into();
        for lane in &self.lanes {
            *lane.lock().await = None;
        }
        Ok(started)
    }

    async fn void(
        &self,
        tx: &mut Tx,
        slot: &str,
        now: Timestamp,
        books: &mut Books,
    ) -> Result<Started, GroupError> {
        let unclean_up_to = self.unclean(tx, slot).await?;
        let scalars = vec![slot.into(), now.0.into(), unclean_up_to.into()];
        let sql = "INSERT INTO incarnation (slot, started_at, unclean_up_to) \
            VALUES ({0}, {1}, {2}) RETURNING id";
        let me = match tx.one(Statement::new(sql, scalars)).await?.first() {
            Some(row) => IncarnationId(row.int(0)?),
            None => return Err(GroupError::Sql(sqlx::Error::RowNotFound)),
        };
        let found = tx.run(&self.voids(slot, me, now)).await?;
        let rows = if off("not-voided") { &[][..] } else { &found[0] };
        apply::count_parked(books, rows)?;
        Ok(Started { incarnation: me, unclean_up_to, voided: rows.len() as u64 })
    }

    /// Whose ends a start answers for: on a file everybody's, on a server those of its slot.
    fn earlier(&self) -> &'static str {
        if self.database.is_shared() { "id < {1} AND slot = {2}" } else { "id < {1} AND {2} = {2}" }
    }

    fn voids<'b>(&self, slot: &'b str, me: IncarnationId, now: Timestamp) -> Vec<Statement<'b>> {
        let earlier = self.earlier();
        let scalars = || vec![now.0.into(), me.0.into(), slot.into()];
        let counted = u8::from(!off("crashes-in-broker-only"));
        let mut with_fault = scalars();
        with_fault.push(apply::crash_fault().into());
        let mut statements = vec![
            Statement::new(
                format!(
                    "UPDATE delivery SET {} WHERE state = 2 AND incarnation IN \
                     (SELECT id FROM incarnation WHERE {earlier}) \
                     RETURNING seq, id, subscriber, state",
                    apply::crashed(counted, 3)
                ),
                with_fault,
            ),
            Statement::new(
                format!(
                    "UPDATE intent SET stopped_at = {{0}} WHERE stopped_at IS NULL \
                     AND incarnation IN (SELECT id FROM incarnation WHERE {earlier})"
                ),
                scalars(),
            ),
            Statement::new(
                format!(
                    "UPDATE incarnation SET ended_at = {{0}} WHERE ended_at IS NULL AND {earlier}"
                ),
                scalars(),
            ),
        ];
        if off("not-voided") {
            statements.remove(0);
        }
        statements
    }

    /// Up to which delivery copies take a claim: after an unclean end of an earlier process, and
    /// after a clean one of a process that itself still had such deliveries open.
    async fn unclean(&self, tx: &mut Tx, slot: &str) -> Result<Option<i64>, GroupError> {
        let of_slot = if self.database.is_shared() { "slot = {0}" } else { "{0} = {0}" };
        let found = tx
            .run(&[
                Statement::new(
                    format!(
                        "SELECT count(*) FROM incarnation WHERE ended_at IS NULL AND {of_slot}"
                    ),
                    vec![slot.into()],
                ),
                Statement::new("SELECT max(seq) FROM delivery", vec![]),
                Statement::new(
                    format!(
                        "SELECT unclean_up_to FROM incarnation WHERE {of_slot} \
                         AND EXISTS (SELECT 1 FROM delivery WHERE state < 7 AND state < 5 \
                         AND seq <= unclean_up_to) ORDER BY id DESC LIMIT 1"
                    ),
                    vec![slot.into()],
                ),
            ])
            .await?;
        let cell = |at: usize| found[at].first().map_or(Ok(None), |row| row.maybe_int(0));
        if cell(0)?.unwrap_or(0) > 0 { Ok(cell(1)?) } else { Ok(cell(2)?) }
    }

    pub(super) async fn end_incarnation(
        &self,
        incarnation: IncarnationId,
        now: Timestamp,
    ) -> Result<(), CommitError> {
        self.write_alone(&[Statement::new(
            "UPDATE incarnation SET ended_at = {1} WHERE id = {0} AND ended_at IS NULL",
            vec![incarnation.0.into(), now.0.into()],
        )])
        .await
        .map(drop)
    }

    pub(super) async fn write_route_versions(
        &self,
        versions: &[RouteVersion],
    ) -> Result<(), CommitError> {
        let mut statements = Vec::with_capacity(versions.len());
        for RouteVersion { digest, route, bundle } in versions {
            statements.push(Statement::new(
                "INSERT INTO route_version (digest, route, bundle) VALUES ({0}, {1}, {2}) \
                 ON CONFLICT (digest) DO UPDATE SET seen_at = NULL",
                vec![(&digest.0).into(), route.as_str().into(), (&**bundle).into()],
            ));
        }
        self.write_alone(&statements).await.map(drop)
    }

    /// A transaction that is no action of the rule book; the rows of each statement.
    pub(super) async fn write_alone(
        &self,
        statements: &[Statement<'_>],
    ) -> Result<Vec<Vec<Found>>, CommitError> {
        let mut tx = self.database.begin().await.map_err(not_committed)?;
        match tx.run(statements).await {
            Ok(found) => tx.commit().await.map(|()| found),
            Err(error) => {
                tx.rollback().await;
                Err(not_committed(error))
            }
        }
    }
}

fn forget(lane: &mut Option<(usize, MutexGuard<'_, Option<ChainHead>>)>) {
    if let Some((_, known)) = lane {
        **known = None;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn not_committed(error: GroupError) -> CommitError {
    CommitError::NotCommitted(error.words())
}
