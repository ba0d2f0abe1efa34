//! Retention in the ledger: what is to be looked at, and what goes, at most a turn's worth per commit.
//!
//! Invariant: the guard is here and not with whoever asks: nothing of a message goes that has a delivery
//! which is open, parked or uncertain; what goes moves from the totals' rows to `gone` in the same commit;
//! `event` and `register` are not touched; no sequence, number of an order or running version comes back.

use std::collections::BTreeMap;

use snodo_core::{
    message_state::DeliveryState,
    retention::{AGAIN, Kept, Next, Owed},
    timestamp::Timestamp,
};

use super::{
    Forget, Forgotten, IdleKey, ReadError,
    database::{GroupError, Tx, unreadable},
    documents::unpins,
    facts,
    statement::{Columns, Found, Kind::Blob, Kind::Int, Kind::Text, Rows, Statement},
    store::SqlLedger,
};
use crate::faults::off;

/// At most so many rows of a kind that belongs to no message go in one turn.
pub(super) const TURN: u32 = 500;

const SEQ: Columns = &[("k_seq", Int)];
const SEQ_AT: Columns = &[("k_seq", Int), ("k_at", Int)];
const KEYS: Columns = &[("k_subscriber", Text), ("k_key", Blob)];
const DIGESTS: Columns = &[("k_digest", Blob)];
const GONE: Columns = &[("k_name", Text), ("k_bucket", Int), ("k_n", Int)];

/// Whether somebody is still owed something of the message `k_seq`.
const OWED: &str = "EXISTS (SELECT 1 FROM delivery AS d WHERE d.message = k_seq AND d.state < 7)";
/// Whether the message `k_seq` cannot go for what hangs on it. The highest sequences stay: SQLite would
/// give them again, and what names a row by its sequence (the register, first of all) would name another.
const HELD: &str = "EXISTS (SELECT 1 FROM delivery AS d JOIN message AS e ON e.cause = d.seq \
     AND e.cause IS NOT NULL WHERE d.message = k_seq) \
     OR k_seq >= (SELECT max(seq) FROM message) \
     OR EXISTS (SELECT 1 FROM delivery AS d WHERE d.message = k_seq \
     AND d.seq >= (SELECT max(seq) FROM delivery))";

/// Applies one turn.
pub(super) async fn forget(
    tx: &mut Tx,
    turn: &Forget,
    now: Timestamp,
) -> Result<Forgotten, GroupError> {
    let mut told = Forgotten::default();
    messages(tx, turn, now, &mut told).await?;
    if let Some(before) = turn.rest_before {
        rest(tx, turn, before, now, &mut told).await?;
    }
    Ok(told)
}

async fn messages(
    tx: &mut Tx,
    turn: &Forget,
    now: Timestamp,
    told: &mut Forgotten,
) -> Result<(), GroupError> {
    let (mut looks, mut bodies, mut whole) = (Rows::new(SEQ_AT), Rows::new(SEQ), Rows::new(SEQ));
    for (seq, next) in &turn.messages {
        match next {
            Next::Look(at) => looks.push([(*seq).into(), at.0.into()]),
            Next::Body(at) => {
                looks.push([(*seq).into(), at.0.into()]);
                bodies.push([(*seq).into()]);
            }
            // Should something hang on it after all, it is not lost sight of.
            Next::All => {
                looks.push([(*seq).into(), now.after(AGAIN).0.into()]);
                whole.push([(*seq).into()]);
            }
        }
    }
    let [bodies, whole] = may_go(tx, bodies, whole).await?;
    if !looks.is_empty() {
        tx.one(look_again(looks)).await?;
    }
    if !bodies.is_empty() {
        tx.run(&unpins(&bodies)).await?;
        let gone = tx.run(&without_bodies(&bodies)).await?;
        told.bodies += gone[0].len() as u64;
        told.results += gone[1].len() as u64;
    }
    if !whole.is_empty() {
        remove(tx, &whole, told).await?;
    }
    if let Some(walked) = turn.walked {
        tx.one(count("walked", walked, "excluded.n")).await?;
    }
    Ok(())
}

/// Those whose deliveries have all ended; of `whole` those on which nothing hangs. What has ended stays
/// so: the rows need no lock.
async fn may_go<'a>(
    tx: &mut Tx,
    bodies: Rows<'a>,
    whole: Rows<'a>,
) -> Result<[Rows<'a>; 2], GroupError> {
    let guard = if off("forget-open") { "1 = 1".to_owned() } else { format!("NOT {OWED}") };
    let ended = format!("SELECT k_seq FROM {{rows}} WHERE {guard}");
    let free = format!("{ended} AND NOT ({HELD})");
    let mut may = [Rows::new(SEQ), Rows::new(SEQ)];
    for ((rows, sql), may) in [(bodies, ended), (whole, free)].into_iter().zip(&mut may) {
        if rows.is_empty() {
            continue;
        }
        for row in tx.one(Statement::over(sql, vec![], rows)).await? {
            may.push([row.int(0)?.into()]);
        }
    }
    Ok(may)
}

fn look_again(rows: Rows<'_>) -> Statement<'_> {
    Statement::over(
        "INSERT INTO keeping (message, look_at) SELECT k_seq, k_at FROM {rows} \
         WHERE EXISTS (SELECT 1 FROM message WHERE message.seq = k_seq) \
         ON CONFLICT (message) DO UPDATE SET look_at = excluded.look_at",
        vec![],
        rows,
    )
}

fn without_bodies<'a>(rows: &Rows<'a>) -> [Statement<'a>; 2] {
    let over = |sql: &'static str| Statement::over(sql, vec![], rows.clone());
    [
        over("DELETE FROM body WHERE seq IN (SELECT k_seq FROM {rows}) RETURNING seq"),
        over(
            "UPDATE step_done SET result = 'null' WHERE delivery IN (SELECT d.seq FROM {rows} \
             JOIN delivery AS d ON d.message = k_seq) AND result <> 'null' RETURNING seq",
        ),
    ]
}

/// Removes messages with all that belongs to them; what the totals counted as there is gone.
async fn remove(tx: &mut Tx, rows: &Rows<'_>, told: &mut Forgotten) -> Result<(), GroupError> {
    let of_delivery = |table: &str| {
        let sql = format!(
            "DELETE FROM {table} WHERE delivery IN (SELECT d.seq FROM {{rows}} \
             JOIN delivery AS d ON d.message = k_seq)"
        );
        Statement::over(sql, vec![], rows.clone())
    };
    let of_message = |sql: &'static str| Statement::over(sql, vec![], rows.clone());
    tx.run(&unpins(rows)).await?;
    let gone = tx
        .run(&[
            of_message("DELETE FROM body WHERE seq IN (SELECT k_seq FROM {rows}) RETURNING seq"),
            of_delivery("step_done"),
            of_delivery("intent"),
            of_message(
                "DELETE FROM delivery WHERE message IN (SELECT k_seq FROM {rows}) \
                 RETURNING subscriber, state",
            ),
            of_message("DELETE FROM lookup WHERE message IN (SELECT k_seq FROM {rows})"),
            of_message("DELETE FROM keeping WHERE message IN (SELECT k_seq FROM {rows})"),
            of_message(
                "DELETE FROM message WHERE seq IN (SELECT k_seq FROM {rows}) \
                 RETURNING CASE WHEN sender_id IS NULL THEN 0 ELSE 1 END",
            ),
        ])
        .await?;
    told.bodies += gone[0].len() as u64;
    told.deliveries += gone[3].len() as u64;
    told.messages += gone[6].len() as u64;
    count_gone(tx, &gone[3]).await?;
    let accepted = gone[6].iter().map(|row| row.int(0)).sum::<sqlx::Result<i64>>()?;
    tx.one(count("messages", accepted, "retention.n + excluded.n")).await?;
    Ok(())
}

async fn count_gone(tx: &mut Tx, deliveries: &[Found]) -> Result<(), GroupError> {
    let mut gone: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    for row in deliveries {
        let state = DeliveryState::from_number(row.int(1)?).unwrap_or(DeliveryState::Queued);
        *gone.entry((row.text(0)?, i64::from(state.bucket() as u8))).or_default() += 1;
    }
    if gone.is_empty() || off("forget-uncounted") {
        return Ok(());
    }
    let mut rows = Rows::new(GONE);
    for ((name, bucket), n) in gone {
        rows.push([name.into(), bucket.into(), n.into()]);
    }
    let sql = "UPDATE delivery_total SET gone = gone + k_n FROM {rows} \
        WHERE subscriber = k_name AND bucket = k_bucket";
    tx.one(Statement::over(sql, vec![], rows)).await?;
    Ok(())
}

fn count(name: &'static str, n: i64, set: &str) -> Statement<'static> {
    let sql = format!(
        "INSERT INTO retention (name, n) VALUES ({{0}}, {{1}}) \
         ON CONFLICT (name) DO UPDATE SET n = {set}"
    );
    Statement::new(sql, vec![name.into(), n.into()])
}

/// Keys of orders, versions of routes, strays, facts.
async fn rest(
    tx: &mut Tx,
    turn: &Forget,
    before: Timestamp,
    now: Timestamp,
    told: &mut Forgotten,
) -> Result<(), GroupError> {
    let mut keys = Rows::new(KEYS);
    for key in &turn.keys {
        keys.push([(&*key.subscriber).into(), (&key.key.0).into()]);
    }
    if !keys.is_empty() {
        let [gone, _] = &tx.run(&without_keys(keys, before)).await?[..] else { return Ok(()) };
        told.keys += gone.len() as u64;
    }
    let mut running = Rows::new(DIGESTS);
    for digest in &turn.running {
        running.push([(&digest.0).into()]);
    }
    let found = tx.run(&[seen(running, now), old_versions(before), old_strays(before)]).await?;
    told.versions += found[1].len() as u64;
    told.strays += found[2].len() as u64;
    facts::forget(tx, now, before, told).await
}

/// A key goes in two turns: the first raises the floor from which its subscriber's new keys draw, the
/// second finds it raised and removes the key. A target that keeps the higher number of an order never
/// sees a lower one, and no number is drawn below a floor that was not there yet.
fn without_keys(keys: Rows<'_>, before: Timestamp) -> [Statement<'_>; 2] {
    const IDLE: &str = "COALESCE(order_key.used_at, 0) <= {0} AND NOT EXISTS (SELECT 1 \
        FROM delivery AS d WHERE d.subscriber = order_key.subscriber \
        AND d.order_key = order_key.order_key AND d.state < 7)";
    let gone = format!(
        "DELETE FROM order_key WHERE (subscriber, order_key) IN (SELECT k_subscriber, k_key \
         FROM {{rows}}) AND last <= COALESCE((SELECT f.last FROM order_floor AS f \
         WHERE f.subscriber = order_key.subscriber), 0) AND {IDLE} RETURNING last"
    );
    let raised = format!(
        "INSERT INTO order_floor (subscriber, last) SELECT order_key.subscriber, \
         max(order_key.last) FROM {{rows}} JOIN order_key ON order_key.subscriber = k_subscriber \
         AND order_key.order_key = k_key WHERE {IDLE} GROUP BY 1 ON CONFLICT (subscriber) \
         DO UPDATE SET last = CASE WHEN excluded.last > order_floor.last THEN excluded.last \
         ELSE order_floor.last END"
    );
    [
        Statement::over(gone, vec![before.0.into()], keys.clone()),
        Statement::over(raised, vec![before.0.into()], keys),
    ]
}

/// What runs was seen now; a version of which nobody knew when it ran begins to age now.
fn seen(running: Rows<'_>, now: Timestamp) -> Statement<'_> {
    Statement::over(
        "UPDATE route_version SET seen_at = {0} WHERE seen_at IS NULL \
         OR digest IN (SELECT k_digest FROM {rows})",
        vec![now.0.into()],
        running,
    )
}

/// A row that is pinned to a version came into being, or was replayed onto it, while it ran: what has
/// ended since then is gone, unless it was open for very long; then it needs no version any more.
fn old_versions<'a>(before: Timestamp) -> Statement<'a> {
    Statement::new(
        "DELETE FROM route_version WHERE seen_at <= {0} AND digest NOT IN \
         (SELECT d.route_digest FROM delivery AS d WHERE d.state < 7) RETURNING digest",
        vec![before.0.into()],
    )
}

fn old_strays<'a>(before: Timestamp) -> Statement<'a> {
    Statement::new(
        "DELETE FROM stray WHERE seq IN (SELECT seq FROM stray WHERE settled_at <= {0} LIMIT {1}) \
         RETURNING seq",
        vec![before.0.into(), TURN.into()],
    )
}

// --- what is asked ----------------------------------------------------------------------------------

impl SqlLedger {
    /// Messages whose time to be looked at has come, then new ones that came before `before`.
    pub(super) async fn read_kept(
        &self,
        now: Timestamp,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Kept>, ReadError> {
        let due = "SELECT message FROM keeping WHERE look_at <= {0} ORDER BY look_at LIMIT {1}";
        let due = self.ask(due.to_owned(), vec![now.0.into(), limit.into()]).await?;
        let mut seqs = Rows::new(SEQ);
        for row in &due {
            seqs.push([row.int(0).map_err(unreadable)?.into()]);
        }
        let left = limit.saturating_sub(u32::try_from(due.len()).unwrap_or(limit));
        let new = self.unwalked(before, left).await?;
        for seq in &new {
            seqs.push([(*seq).into()]);
        }
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let mut kept = self.kept_of(&seqs).await?;
        let first_new = new.first().copied().unwrap_or(i64::MAX);
        for one in kept.values_mut() {
            one.is_new = one.seq >= first_new;
        }
        Ok(kept.into_values().collect())
    }

    /// New messages in their order, up to the first that is too young: what came after it is younger,
    /// or is looked at a little later than it might.
    async fn unwalked(&self, before: Timestamp, limit: u32) -> Result<Vec<i64>, ReadError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let sql = "SELECT seq, accepted_at FROM message WHERE seq > \
            COALESCE((SELECT n FROM retention WHERE name = 'walked'), 0) ORDER BY seq LIMIT {0}";
        let found = self.ask(sql.to_owned(), vec![limit.into()]).await?;
        let mut seqs = Vec::new();
        for row in &found {
            if row.time(1).map_err(unreadable)? > before {
                break;
            }
            seqs.push(row.int(0).map_err(unreadable)?);
        }
        Ok(seqs)
    }

    async fn kept_of(&self, seqs: &Rows<'_>) -> Result<BTreeMap<i64, Kept>, ReadError> {
        let sql = "SELECT m.seq, m.accepted_at, (SELECT count(*) FROM body AS b \
            WHERE b.seq = m.seq), CASE WHEN EXISTS (SELECT 1 FROM delivery AS d JOIN message AS e \
            ON e.cause = d.seq AND e.cause IS NOT NULL WHERE d.message = m.seq) \
            OR m.seq >= (SELECT max(seq) FROM message) THEN 1 ELSE 0 END \
            FROM {rows} JOIN message AS m ON m.seq = k_seq";
        let found = self.database.read(Statement::over(sql, vec![], seqs.clone())).await?;
        let mut kept = BTreeMap::new();
        for row in &found {
            let one = kept_row(row).map_err(unreadable)?;
            kept.insert(one.seq, one);
        }
        let sql = "SELECT d.message, d.subscriber, d.state, d.changed_at, d.steps, \
            CASE WHEN d.seq >= (SELECT max(seq) FROM delivery) THEN 1 ELSE 0 END \
            FROM {rows} JOIN delivery AS d ON d.message = k_seq";
        let found = self.database.read(Statement::over(sql, vec![], seqs.clone())).await?;
        for row in &found {
            let (seq, owed, is_last) = owed_row(row).map_err(unreadable)?;
            if let Some(one) = kept.get_mut(&seq) {
                one.is_held |= is_last;
                one.deliveries.push(owed);
            }
        }
        Ok(kept)
    }

    /// How long the longest has waited to be looked at.
    pub(super) async fn read_look_due(&self) -> Result<Option<Timestamp>, ReadError> {
        let found = self.ask("SELECT min(look_at) FROM keeping".to_owned(), vec![]).await?;
        found.first().map_or(Ok(None), |row| row.maybe_time(0)).map_err(unreadable)
    }

    /// Keys of orders from which no number was drawn since `before`, and of which nothing is open.
    pub(super) async fn read_idle_keys(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<IdleKey>, ReadError> {
        let sql = "SELECT k.subscriber, k.order_key FROM order_key AS k \
            WHERE COALESCE(k.used_at, 0) <= {0} AND NOT EXISTS (SELECT 1 FROM delivery AS d \
            WHERE d.subscriber = k.subscriber AND d.order_key = k.order_key AND d.state < 7) \
            LIMIT {1}";
        let found = self.ask(sql.to_owned(), vec![before.0.into(), limit.into()]).await?;
        let key = |row: &Found| -> sqlx::Result<IdleKey> {
            Ok(IdleKey { subscriber: row.text(0)?.into(), key: row.digest(1)? })
        };
        found.iter().map(key).collect::<Result<_, _>>().map_err(unreadable)
    }
}

fn kept_row(row: &Found) -> sqlx::Result<Kept> {
    Ok(Kept {
        seq: row.int(0)?,
        accepted_at: row.time(1)?,
        is_new: false,
        has_body: row.int(2)? > 0,
        is_held: row.int(3)? > 0,
        deliveries: Vec::new(),
    })
}

fn owed_row(row: &Found) -> sqlx::Result<(i64, Owed, bool)> {
    let ended = row.int(2)? >= DeliveryState::Completed as i64;
    let owed = Owed {
        subscriber: row.text(1)?.to_owned(),
        ended: if ended { Some(row.time(3)?) } else { None },
        steps: row.count(4)?,
    };
    Ok((row.int(0)?, owed, row.int(5)? > 0))
}
