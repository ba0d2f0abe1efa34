//! What the ledger is asked: rows, lists, totals, invariants, evidence.
//!
//! Invariant: a read changes nothing and takes no lock that a writer waits for; every query goes by an
//! index, however many rows have ended.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use snodo_core::{
    adapter::Evidence,
    envelope::{CARRIED, Envelope, IdempotencyKey, Message},
    ids::{DeliveryId, Digest, Fence, IncarnationId, MessageId},
    message_state::{Bucket, DeliveryState},
    timestamp::Timestamp,
};

use super::{
    Ages, Asked, Deed, Event, Filter, InBroker, Incarnation, OpenIntent, Queued, QueuedKey,
    ReadError, RouteVersion, Row, StepDone, Story, Subscriber, Total,
    apply::open_intent,
    database::unreadable,
    guards, order,
    statement::{Cell, Columns, Found, Kind::Blob, Kind::Int, Rows, Statement},
    store::SqlLedger,
};
use crate::faults::off;

const SEQ: Columns = &[("k_seq", Int)];
const ID: Columns = &[("k_id", Blob)];

const ROW: &str = "SELECT d.seq, d.id, m.id, c.id, d.subscriber, d.route_digest, d.state, d.round, \
    d.incarnation, d.serial, d.lease_until, d.attempts, d.crashes, d.suspect, d.fault, d.next_at, \
    d.give_up_at, d.created_at, d.changed_at, d.order_key, d.order_no FROM delivery AS d \
    JOIN message AS m ON m.seq = d.message LEFT JOIN delivery AS c ON c.seq = m.cause";

type Read<T> = Result<T, ReadError>;

/// Maps every row.
fn all<T>(rows: &[Found], of: impl Fn(&Found) -> sqlx::Result<T>) -> Read<Vec<T>> {
    rows.iter().map(of).collect::<Result<_, _>>().map_err(unreadable)
}

fn row_of(row: &Found) -> sqlx::Result<Row> {
    let state = DeliveryState::from_number(row.int(6)?)
        .ok_or_else(|| sqlx::Error::Decode("no such state".into()))?;
    let fence = match (row.maybe_int(8)?, row.maybe_int(9)?) {
        (Some(incarnation), Some(serial)) => {
            Some(Fence { incarnation: IncarnationId(incarnation), serial: serial.cast_unsigned() })
        }
        _ => None,
    };
    let fault = if row.maybe_text(14)?.is_some() { Some(row.json(14)?) } else { None };
    let cause = if row.maybe_blob(3)?.is_some() { Some(DeliveryId(row.uuid(3)?)) } else { None };
    Ok(Row {
        seq: row.int(0)?,
        id: DeliveryId(row.uuid(1)?),
        message: MessageId(row.uuid(2)?),
        cause,
        subscriber: row.text(4)?.into(),
        route_digest: row.digest(5)?,
        state,
        round: row.count(7)?,
        fence,
        lease_until: row.maybe_time(10)?,
        attempts: row.count(11)?,
        crashes: row.count(12)?,
        suspect: row.int(13)? != 0,
        fault,
        next_at: row.maybe_time(15)?,
        give_up_at: row.maybe_time(16)?,
        created_at: row.time(17)?,
        changed_at: row.time(18)?,
        done_at: Vec::new(),
        turn: order::turn_of(row, 19)?,
        done: Vec::new(),
        intents: Vec::new(),
    })
}

fn step_of(row: &Found) -> sqlx::Result<(i64, (StepDone, Timestamp))> {
    let evidence = match row.maybe_blob(6)? {
        Some(_) => Some(Evidence { request: row.digest(6)?, answer: row.digest(7)? }),
        None => None,
    };
    let done = StepDone {
        step: row.text(1)?.to_owned(),
        operation: row.text(2)?.to_owned(),
        result: row.json(3)?,
        route_digest: row.digest(4)?,
        reference: row.maybe_text(5)?.map(str::to_owned),
        evidence,
    };
    Ok((row.int(0)?, (done, row.time(8)?)))
}

fn queued_of(row: &Found) -> sqlx::Result<Queued> {
    Ok(Queued {
        seq: row.int(0)?,
        id: DeliveryId(row.uuid(1)?),
        round: row.count(2)?,
        subscriber: row.text(3)?.into(),
        route_digest: row.digest(4)?,
        alone: row.int(5)? > 0 || row.int(6)? > 0,
        attempts: row.count(7)?,
        give_up_at: row.maybe_time(8)?,
        key: order::key_of(row, 9)?,
        message: Arc::new(carried_of(row, 10)?),
    })
}

/// A message from (attributes, data), from column `at` on.
fn message_of(row: &Found, at: usize) -> sqlx::Result<Message> {
    let data = row.blob(at + 1)?.to_vec().into();
    Ok(Message { envelope: row.json(at)?, data })
}

/// The same as the broker carries it: a large body was not read.
fn carried_of(row: &Found, at: usize) -> sqlx::Result<Message> {
    if row.maybe_blob(at + 1)?.is_some() {
        message_of(row, at)
    } else {
        Ok(Message::claim(row.json(at)?))
    }
}

fn version_of(row: &Found) -> sqlx::Result<RouteVersion> {
    Ok(RouteVersion {
        digest: row.digest(0)?,
        route: row.text(1)?.to_owned(),
        bundle: row.text(2)?.into(),
    })
}

fn event_of(row: &Found) -> sqlx::Result<Event> {
    Ok(Event {
        chain: row.text(0)?.to_owned(),
        n: row.int(1)?,
        at: row.time(2)?,
        kind: row.text(3)?.to_owned(),
        subject: row.text(4)?.to_owned(),
        actor: row.text(5)?.to_owned(),
        reason: row.text(6)?.to_owned(),
        digest: row.digest(7)?,
        hash: row.digest(8)?,
        // A batch whose row is gone leaves its events without the head before them.
        previous: if row.maybe_blob(9)?.is_some() { row.digest(9)? } else { super::chain::EMPTY },
    })
}

const EVENT: &str = "SELECT chain.name, event.n, event.at, event.kind, event.subject, event.actor, \
    event.reason, event.digest, event.hash, batch.previous FROM event \
    JOIN chain ON chain.id = event.chain \
    LEFT JOIN batch ON batch.chain = event.chain AND batch.batch = event.batch";

fn incarnation_of(row: &Found) -> sqlx::Result<Incarnation> {
    let declared_dead = match (row.maybe_text(4)?, row.maybe_text(5)?) {
        (Some(actor), Some(reason)) => {
            Some(Deed { actor: actor.to_owned(), reason: reason.to_owned() })
        }
        _ => None,
    };
    Ok(Incarnation {
        id: IncarnationId(row.int(0)?),
        slot: row.text(1)?.to_owned(),
        started_at: row.time(2)?,
        ended_at: row.maybe_time(3)?,
        declared_dead,
    })
}

fn delivery_total(row: &Found) -> sqlx::Result<Total> {
    let bucket = usize::try_from(row.int(1)?).ok().and_then(|number| Bucket::ALL.get(number));
    let word = bucket.map_or("?", |bucket| bucket.word());
    Ok(Total {
        name: row.text(0)?.into(),
        bucket: word.to_owned(),
        n: row.int(2)?,
        gone: row.int(3)?,
    })
}

/// The bucket of a state, in SQL.
pub(super) const BUCKET: &str = "CASE WHEN state < 5 THEN 0 ELSE state - 4 END";

/// The queries of custody §d. Each must find nothing; its first column says what it found.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "totals",
        "SELECT subscriber, b, n FROM (SELECT subscriber, {bucket} AS b, count(*) AS n \
         FROM delivery GROUP BY 1, 2) AS scanned EXCEPT \
         SELECT subscriber, bucket, n - gone FROM delivery_total",
    ),
    (
        "totals",
        "SELECT subscriber, bucket, n - gone FROM delivery_total WHERE n <> gone EXCEPT \
         SELECT subscriber, b, n FROM (SELECT subscriber, {bucket} AS b, count(*) AS n \
         FROM delivery GROUP BY 1, 2) AS scanned",
    ),
    (
        "totals",
        "SELECT source FROM message_total GROUP BY source HAVING \
         sum(CASE WHEN bucket = 'received' THEN n ELSE 0 END) <> \
         sum(CASE WHEN bucket IN ('accepted', 'rejected') THEN n ELSE 0 END)",
    ),
    ("final", "SELECT subject FROM event WHERE kind = 'final' GROUP BY 1 HAVING count(*) > 1"),
    (
        "final",
        "SELECT subscriber FROM delivery WHERE state >= 7 AND NOT EXISTS \
         (SELECT 1 FROM event WHERE kind = 'final' AND subject = {text_id})",
    ),
    (
        "number",
        "SELECT aoo, year FROM register GROUP BY 1, 2 \
         HAVING count(*) <> max(n) OR min(n) <> 1 OR count(DISTINCT delivery) > count(*)",
    ),
    (
        "number",
        "SELECT delivery.subscriber FROM register JOIN delivery ON delivery.seq = register.delivery \
         WHERE NOT EXISTS (SELECT 1 FROM step_done WHERE step_done.delivery = register.delivery \
         AND step_done.step = register.step)",
    ),
    (
        "number",
        "SELECT aoo FROM counter WHERE last > 0 AND last <> \
         (SELECT max(n) FROM register WHERE register.aoo = counter.aoo AND register.year = counter.year)",
    ),
    (
        "emitted",
        "SELECT e.subscriber FROM delivery AS e JOIN message AS m ON m.seq = e.message \
         JOIN delivery AS c ON c.seq = m.cause WHERE c.state <> 7 AND NOT EXISTS (SELECT 1 \
         FROM step_done WHERE step_done.delivery = c.seq AND operation LIKE 'emit:%')",
    ),
    (
        "cause",
        "SELECT subscriber FROM delivery WHERE state = 5 AND state < 7 AND crashes < 3 \
         AND fault IS NULL",
    ),
    (
        "claim",
        "SELECT subscriber FROM delivery WHERE (state = 2) <> (incarnation IS NOT NULL) \
         OR (state = 2) <> (lease_until IS NOT NULL)",
    ),
    (
        "order",
        "SELECT subscriber, order_no FROM delivery WHERE order_key IS NOT NULL \
         GROUP BY subscriber, order_key, order_no HAVING count(*) > 1",
    ),
    (
        "order",
        "SELECT d.subscriber FROM delivery AS d WHERE (d.state = 4 OR d.order_key IS NOT NULL) \
         AND d.state < 7 AND NOT EXISTS (SELECT 1 FROM order_key AS k WHERE k.subscriber = d.subscriber \
         AND k.order_key = d.order_key)",
    ),
    (
        "document",
        "SELECT d.seq FROM document AS d WHERE d.kept = 0 AND (EXISTS (SELECT 1 FROM document_pin AS p \
         WHERE p.document = d.seq) OR EXISTS (SELECT 1 FROM filing AS f WHERE f.document = d.seq))",
    ),
    (
        "document",
        "SELECT d.seq FROM document AS d JOIN document_file AS f ON f.sha256 = d.sha256 \
         WHERE f.doomed = 1",
    ),
    (
        "known",
        "SELECT d.subscriber FROM delivery AS d LEFT JOIN message AS m ON m.seq = d.message \
         WHERE m.seq IS NULL OR (m.cause IS NULL AND m.sender_id IS NULL)",
    ),
];

impl SqlLedger {
    pub(super) async fn ask(&self, sql: String, scalars: Vec<Cell<'_>>) -> Read<Vec<Found>> {
        self.database.read(Statement::new(sql, scalars)).await
    }

    /// Rows of deliveries with their steps and intents. `which` follows the SELECT.
    async fn rows(&self, which: &str, scalars: Vec<Cell<'_>>) -> Read<Vec<Row>> {
        let mut rows = all(&self.ask(format!("{ROW} {which}"), scalars).await?, row_of)?;
        if rows.is_empty() {
            return Ok(rows);
        }
        let mut steps = self.steps_of(&rows).await?;
        let mut intents = self.intents_of_rows(&rows).await?;
        for row in &mut rows {
            for (done, at) in steps.remove(&row.seq).unwrap_or_default() {
                row.done.push((done.step.clone(), done));
                row.done_at.push(at);
            }
            row.intents = intents.remove(&row.seq).unwrap_or_default();
        }
        Ok(rows)
    }

    async fn steps_of(&self, rows: &[Row]) -> Read<BTreeMap<i64, Vec<(StepDone, Timestamp)>>> {
        let sql = "SELECT delivery, step, operation, result, route_digest, reference, \
            request_digest, answer_digest, done_at FROM step_done JOIN {rows} ON delivery = k_seq \
            ORDER BY seq";
        let found = self.database.read(Statement::over(sql, vec![], seqs(rows))).await?;
        let mut steps: BTreeMap<i64, Vec<(StepDone, Timestamp)>> = BTreeMap::new();
        for (seq, done) in all(&found, step_of)? {
            steps.entry(seq).or_default().push(done);
        }
        Ok(steps)
    }

    async fn intents_of_rows(&self, rows: &[Row]) -> Read<BTreeMap<i64, Vec<OpenIntent>>> {
        let sql = "SELECT delivery, step, incarnation, serial, stopped_at, settles_within FROM intent \
            JOIN {rows} ON delivery = k_seq";
        let found = self.database.read(Statement::over(sql, vec![], seqs(rows))).await?;
        let mut intents: BTreeMap<i64, Vec<OpenIntent>> = BTreeMap::new();
        for (seq, intent) in all(&found, |row| Ok((row.int(0)?, open_intent(row, 1)?)))? {
            intents.entry(seq).or_default().push(intent);
        }
        Ok(intents)
    }

    pub(super) async fn read_row(&self, seq: i64) -> Read<Option<Row>> {
        Ok(self.rows("WHERE d.seq = {0}", vec![seq.into()]).await?.pop())
    }

    pub(super) async fn read_row_by_id(&self, id: DeliveryId) -> Read<Option<Row>> {
        Ok(self.rows("WHERE d.id = {0}", vec![id.0.as_bytes().into()]).await?.pop())
    }

    pub(super) async fn read_rows_by_id(&self, ids: &[DeliveryId]) -> Read<Vec<Row>> {
        let mut rows = Rows::new(ID);
        for id in ids {
            rows.push([id.0.as_bytes().into()]);
        }
        let sql = "SELECT seq FROM delivery JOIN {rows} ON id = k_id";
        let found = self.database.read(Statement::over(sql, vec![], rows)).await?;
        let seqs: Vec<String> = all(&found, |row| Ok(row.int(0)?.to_string()))?;
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(&format!("WHERE d.seq IN ({})", seqs.join(", ")), vec![]).await
    }

    pub(super) async fn read_route_versions(&self) -> Read<Vec<RouteVersion>> {
        let sql = "SELECT digest, route, bundle FROM route_version WHERE digest IN \
            (SELECT route_digest FROM delivery WHERE state < 7)";
        all(&self.ask(sql.to_owned(), vec![]).await?, version_of)
    }

    pub(super) async fn read_owed_by_version(&self) -> Read<Vec<(Digest, i64)>> {
        let sql = "SELECT route_digest, count(*) FROM delivery WHERE state < 7 \
            AND subscriber NOT LIKE 'party:%' GROUP BY 1 ORDER BY 1";
        all(&self.ask(sql.to_owned(), vec![]).await?, |row| Ok((row.digest(0)?, row.int(1)?)))
    }

    pub(super) async fn read_queued_keys(
        &self,
        me: Option<IncarnationId>,
        subscriber: &str,
        now: Timestamp,
        after: i64,
        limit: u32,
    ) -> Read<Vec<QueuedKey>> {
        let sql = format!("SELECT d.seq, d.id, d.round FROM delivery AS d {}", free());
        let old = now.0.saturating_sub(5000);
        let me = me.map(|me| me.0).into();
        let scalars = vec![me, subscriber.into(), old.into(), after.into(), limit.into()];
        all(&self.ask(sql, scalars).await?, key_of)
    }

    pub(super) async fn read_fetchable(
        &self,
        me: IncarnationId,
        subscriber: &str,
        now: Timestamp,
        limit: u32,
    ) -> Read<Vec<(QueuedKey, usize)>> {
        let sql = format!(
            "SELECT d.seq, d.id, d.round, CAST(length(b.data) AS bigint) FROM delivery AS d \
             JOIN body AS b ON b.seq = d.message {}",
            free()
        );
        let old = now.0.saturating_sub(5000);
        let scalars = vec![me.0.into(), subscriber.into(), old.into(), 0_i64.into(), limit.into()];
        all(&self.ask(sql, scalars).await?, |row| {
            Ok((key_of(row)?, usize::try_from(row.int(3)?).unwrap_or(usize::MAX)))
        })
    }

    pub(super) async fn read_queued(&self, seqs: &[i64]) -> Read<Vec<Queued>> {
        let mut rows = Rows::new(SEQ);
        for seq in seqs {
            rows.push([(*seq).into()]);
        }
        let sql = "SELECT d.seq, d.id, d.round, d.subscriber, d.route_digest, d.crashes, \
            d.suspect, d.attempts, d.give_up_at, d.order_key, m.attributes, \
            CASE WHEN length(b.data) <= {0} THEN b.data END FROM {rows} \
            JOIN delivery AS d ON d.seq = k_seq JOIN message AS m ON m.seq = d.message \
            JOIN body AS b ON b.seq = d.message WHERE d.state = 0 ORDER BY d.seq";
        let carried = i64::try_from(CARRIED).unwrap_or(i64::MAX);
        let found = self.database.read(Statement::over(sql, vec![carried.into()], rows)).await?;
        all(&found, queued_of)
    }

    pub(super) async fn read_queued_subscribers(&self) -> Read<Vec<Subscriber>> {
        let sql = "SELECT subscriber FROM delivery_total AS t WHERE bucket = 0 AND EXISTS \
            (SELECT 1 FROM delivery AS d WHERE d.state = 0 AND d.state < 7 \
             AND d.subscriber = t.subscriber) ORDER BY subscriber";
        all(&self.ask(sql.to_owned(), vec![]).await?, |row| Ok(row.text(0)?.into()))
    }

    pub(super) async fn read_message(&self, id: MessageId) -> Read<Option<Arc<Message>>> {
        let sql = "SELECT m.attributes, b.data FROM message AS m JOIN body AS b ON b.seq = m.seq \
            WHERE m.id = {0}";
        let found = self.ask(sql.to_owned(), vec![id.0.as_bytes().into()]).await?;
        Ok(all(&found, |row| message_of(row, 0))?.pop().map(Arc::new))
    }

    pub(super) async fn read_body_size(&self, id: MessageId) -> Read<Option<u64>> {
        let sql = "SELECT length(b.data) FROM message AS m JOIN body AS b ON b.seq = m.seq \
            WHERE m.id = {0}";
        let found = self.ask(sql.to_owned(), vec![id.0.as_bytes().into()]).await?;
        Ok(all(&found, |row| row.int(0))?.pop().map(i64::unsigned_abs))
    }

    pub(super) async fn read_message_by_key(
        &self,
        key: &IdempotencyKey,
    ) -> Read<Option<MessageId>> {
        let sql = "SELECT id FROM message WHERE party = {0} AND source = {1} AND sender_id = {2} \
            AND sender_id IS NOT NULL";
        let scalars = vec![
            key.party.as_str().into(),
            key.source.as_str().into(),
            key.sender_id.as_str().into(),
        ];
        let found = self.ask(sql.to_owned(), scalars).await?;
        Ok(all(&found, |row| Ok(MessageId(row.uuid(0)?)))?.pop())
    }

    pub(super) async fn read_first_answer(
        &self,
        key: &IdempotencyKey,
    ) -> Read<Option<(MessageId, Digest)>> {
        let sql = "SELECT id, digest FROM message WHERE party = {0} AND source = {1} \
            AND sender_id = {2} AND sender_id IS NOT NULL";
        let scalars = vec![
            key.party.as_str().into(),
            key.source.as_str().into(),
            key.sender_id.as_str().into(),
        ];
        let found = self.ask(sql.to_owned(), scalars).await?;
        Ok(all(&found, |row| Ok((MessageId(row.uuid(0)?), row.digest(1)?)))?.pop())
    }

    pub(super) async fn read_found(&self, kind: &str, value: &str) -> Read<Vec<MessageId>> {
        let sql = "SELECT m.id FROM lookup AS l JOIN message AS m ON m.seq = l.message \
            WHERE l.kind = {0} AND l.value = {1} ORDER BY m.seq";
        let found = self.ask(sql.to_owned(), vec![kind.into(), value.into()]).await?;
        all(&found, |row| Ok(MessageId(row.uuid(0)?)))
    }

    pub(super) async fn read_story(&self, id: MessageId) -> Read<Option<Story>> {
        let bytes = || vec![id.0.as_bytes().into()];
        let sql =
            "SELECT attributes, party, source, sender_id, accepted_at FROM message WHERE id = {0}";
        let found = self.ask(sql.to_owned(), bytes()).await?;
        let Some(row) = found.first() else { return Ok(None) };
        let (envelope, key, accepted_at) = head_of_story(row).map_err(unreadable)?;
        let deliveries = self.rows("WHERE m.id = {0} ORDER BY d.seq", bytes()).await?;
        let sql = "SELECT e.id FROM message AS m JOIN delivery AS d ON d.message = m.seq \
            JOIN message AS e ON e.cause = d.seq AND e.cause IS NOT NULL WHERE m.id = {0} \
            ORDER BY e.seq";
        let derived = self.ask(sql.to_owned(), bytes()).await?;
        let derived = all(&derived, |row| Ok(MessageId(row.uuid(0)?)))?;
        Ok(Some(Story { envelope, key, accepted_at, deliveries, derived }))
    }

    pub(super) async fn read_list(&self, filter: &Filter) -> Read<Vec<Row>> {
        let mut which = "WHERE d.seq > {0}".to_owned();
        let mut scalars = vec![filter.after.into(), filter.limit.into()];
        if !filter.states.is_empty() {
            let numbers: Vec<String> =
                filter.states.iter().map(|state| (*state as u8).to_string()).collect();
            let _ = write!(which, " AND d.state IN ({})", numbers.join(", "));
            if filter.states.iter().all(|state| !state.bucket().is_final()) {
                which += " AND d.state < 7";
            }
        }
        if let Some(subscriber) = &filter.subscriber {
            let _ = write!(which, " AND d.subscriber = {{{}}}", scalars.len());
            scalars.push((&**subscriber).into());
        }
        if let Some(code) = &filter.code {
            let _ = write!(which, " AND d.fault LIKE {{{}}}", scalars.len());
            scalars.push(format!("%\"code\":\"{code}\"%").into());
        }
        self.rows(&format!("{which} ORDER BY d.seq LIMIT {{1}}"), scalars).await
    }

    pub(super) async fn read_claims_of(&self, of: IncarnationId) -> Read<Vec<(i64, Fence)>> {
        let sql = "SELECT seq, serial FROM delivery WHERE state = 2 AND incarnation = {0}";
        let found = self.ask(sql.to_owned(), vec![of.0.into()]).await?;
        all(&found, |row| {
            Ok((row.int(0)?, Fence { incarnation: of, serial: row.int(1)?.cast_unsigned() }))
        })
    }

    pub(super) async fn read_intents_of(
        &self,
        of: IncarnationId,
    ) -> Read<Vec<(i64, String, Fence)>> {
        let sql = "SELECT delivery, step, serial FROM intent WHERE incarnation = {0} \
            AND stopped_at IS NULL";
        let found = self.ask(sql.to_owned(), vec![of.0.into()]).await?;
        all(&found, |row| {
            let fence = Fence { incarnation: of, serial: row.int(2)?.cast_unsigned() };
            Ok((row.int(0)?, row.text(1)?.to_owned(), fence))
        })
    }

    pub(super) async fn read_in_broker(
        &self,
        subscriber: &str,
        after: i64,
        limit: u32,
    ) -> Read<Vec<InBroker>> {
        let sql = "SELECT seq, round, subscriber, changed_at, order_key FROM delivery WHERE state = 1 \
            AND state < 7 AND subscriber = {0} AND seq > {1} ORDER BY seq LIMIT {2}";
        let scalars = vec![subscriber.into(), after.into(), limit.into()];
        all(&self.ask(sql.to_owned(), scalars).await?, |row| {
            Ok(InBroker {
                seq: row.int(0)?,
                round: row.count(1)?,
                subscriber: row.text(2)?.into(),
                marked_at: row.time(3)?,
                key: order::key_of(row, 4)?,
            })
        })
    }

    pub(super) async fn read_to_wake(
        &self,
        of: Option<(&str, Digest)>,
        limit: u32,
    ) -> Read<Vec<i64>> {
        let mut scalars = vec![limit.into()];
        let mut which = "";
        if let Some((subscriber, key)) = of {
            which = " AND d.subscriber = {1} AND d.order_key = {2}";
            scalars.extend([subscriber.into(), key.0.to_vec().into()]);
        }
        let sql = format!(
            "SELECT d.seq FROM delivery AS d WHERE d.state = 4 AND d.state < 7{which} \
             AND NOT ({}) ORDER BY d.seq LIMIT {{0}}",
            guards::held("d")
        );
        all(&self.ask(sql, scalars).await?, |row| row.int(0))
    }

    pub(super) async fn read_delivery_totals(&self) -> Read<Vec<Total>> {
        let sql = "SELECT subscriber, bucket, n, gone FROM delivery_total \
            ORDER BY subscriber, bucket";
        all(&self.ask(sql.to_owned(), vec![]).await?, delivery_total)
    }

    pub(super) async fn read_message_totals(&self) -> Read<Vec<Total>> {
        let sql = "SELECT source, bucket, n FROM message_total ORDER BY source, bucket";
        all(&self.ask(sql.to_owned(), vec![]).await?, |row| {
            let (name, bucket) = (row.text(0)?.into(), row.text(1)?.to_owned());
            Ok(Total { name, bucket, n: row.int(2)?, gone: 0 })
        })
    }

    pub(super) async fn read_scan(&self) -> Read<Vec<Total>> {
        let sql = format!(
            "SELECT subscriber, {BUCKET}, count(*), 0 FROM delivery GROUP BY 1, 2 ORDER BY 1, 2"
        );
        all(&self.ask(sql, vec![]).await?, delivery_total)
    }

    pub(super) async fn read_broken_invariants(&self) -> Read<Vec<String>> {
        let text_id = if self.database.is_shared() {
            "CAST(encode(delivery.id, 'hex')::uuid AS text)"
        } else {
            "lower(substr(hex(delivery.id), 1, 8) || '-' || substr(hex(delivery.id), 9, 4) || '-' || \
             substr(hex(delivery.id), 13, 4) || '-' || substr(hex(delivery.id), 17, 4) || '-' || \
             substr(hex(delivery.id), 21))"
        };
        let mut broken = Vec::new();
        for (name, sql) in INVARIANTS {
            let sql = sql.replace("{bucket}", BUCKET).replace("{text_id}", text_id);
            for row in self.ask(sql, vec![]).await? {
                broken.push(format!("{name}: {}", shown(&row)));
            }
        }
        Ok(broken)
    }

    pub(super) async fn read_ages(&self) -> Read<Ages> {
        let sql = "SELECT subscriber, min(changed_at) FROM delivery \
            WHERE state = 0 AND state < 7 GROUP BY 1";
        let oldest = self.ask(sql.to_owned(), vec![]).await?;
        // Sequences follow the time of creation, so the index gives the oldest of each state.
        let sql = "SELECT t.subscriber, min(d.created_at) FROM delivery_total AS t \
            JOIN (SELECT 0 AS s UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 \
            UNION ALL SELECT 4) AS states \
            ON true JOIN delivery AS d ON d.seq = (SELECT min(seq) FROM delivery AS o \
            WHERE o.state = states.s AND o.state < 7 AND o.subscriber = t.subscriber) \
            WHERE t.bucket = 0 AND t.n > t.gone GROUP BY 1";
        let open = self.ask(sql.to_owned(), vec![]).await?;
        let sql =
            "SELECT subscriber, count(*) FROM delivery WHERE state = 3 AND state < 7 GROUP BY 1";
        let waiting = self.ask(sql.to_owned(), vec![]).await?;
        let sql = "SELECT count(*) FROM stray WHERE settled_at IS NULL";
        let strays = self.ask(sql.to_owned(), vec![]).await?;
        let sql = "SELECT instance, operation, day, asked FROM quota AS q WHERE day = \
            (SELECT max(day) FROM quota AS l WHERE l.instance = q.instance \
            AND l.operation = q.operation)";
        let asked = self.ask(sql.to_owned(), vec![]).await?;
        Ok(Ages {
            asked: all(&asked, asked_of)?,
            oldest_queued: all(&oldest, |row| Ok((row.text(0)?.into(), row.time(1)?)))?
                .into_iter()
                .collect(),
            oldest_open: all(&open, |row| Ok((row.text(0)?.into(), row.time(1)?)))?
                .into_iter()
                .collect(),
            waiting: all(&waiting, |row| Ok((row.text(0)?.into(), row.int(1)?)))?
                .into_iter()
                .collect(),
            strays: all(&strays, |row| row.int(0))?.pop().unwrap_or(0),
        })
    }

    pub(super) async fn read_cursor(&self, instance: &str, part: &str) -> Read<Option<String>> {
        let sql = "SELECT value FROM source_cursor WHERE instance = {0} AND part = {1}";
        let found = self.ask(sql.to_owned(), vec![instance.into(), part.into()]).await?;
        Ok(all(&found, |row| Ok(row.text(0)?.to_owned()))?.pop())
    }

    pub(super) async fn read_incarnations(&self) -> Read<Vec<Incarnation>> {
        let sql = "SELECT id, slot, started_at, ended_at, dead_actor, dead_reason FROM incarnation \
            ORDER BY id DESC";
        all(&self.ask(sql.to_owned(), vec![]).await?, incarnation_of)
    }

    pub(super) async fn read_heads(&self) -> Read<Vec<(String, i64, Digest)>> {
        let sql = "SELECT name, n, head FROM chain ORDER BY name";
        let found = self.ask(sql.to_owned(), vec![]).await?;
        all(&found, |row| Ok((row.text(0)?.to_owned(), row.int(1)?, row.digest(2)?)))
    }

    pub(super) async fn read_events(&self, chain: &str, from: i64, limit: u32) -> Read<Vec<Event>> {
        let sql = format!(
            "{EVENT} WHERE chain.name = {{0}} AND event.n >= {{1}} ORDER BY event.n LIMIT {{2}}"
        );
        all(&self.ask(sql, vec![chain.into(), from.into(), limit.into()]).await?, event_of)
    }

    pub(super) async fn read_events_of(&self, subject: &str) -> Read<Vec<Event>> {
        let sql = format!("{EVENT} WHERE event.subject = {{0}} ORDER BY event.seq");
        all(&self.ask(sql, vec![subject.into()]).await?, event_of)
    }
}

/// Which queued rows of a subscriber a process may take: see `queued_keys`. Scalars: me, the subscriber,
/// five seconds ago, the sequence after which, how many.
fn free() -> String {
    let freed = if off("named-for-ever") {
        ""
    } else {
        " OR d.changed_at <= {2} OR EXISTS (SELECT 1 FROM incarnation AS p \
          WHERE p.id = d.publisher AND p.ended_at IS NOT NULL)"
    };
    format!(
        "WHERE d.state = 0 AND d.state < 7 AND d.subscriber = {{1}} AND d.seq > {{3}} \
         AND (d.publisher IS NULL OR d.publisher = {{0}}{freed}) ORDER BY d.seq LIMIT {{4}}"
    )
}

fn key_of(row: &Found) -> sqlx::Result<QueuedKey> {
    Ok(QueuedKey { seq: row.int(0)?, id: DeliveryId(row.uuid(1)?), round: row.count(2)? })
}

fn head_of_story(row: &Found) -> sqlx::Result<(Envelope, Option<IdempotencyKey>, Timestamp)> {
    let key = match (row.maybe_text(1)?, row.maybe_text(2)?, row.maybe_text(3)?) {
        (Some(party), Some(source), Some(sender_id)) => Some(IdempotencyKey {
            party: party.to_owned(),
            source: source.to_owned(),
            sender_id: sender_id.to_owned(),
        }),
        _ => None,
    };
    Ok((row.json(0)?, key, row.time(4)?))
}

fn seqs<'a>(rows: &[Row]) -> Rows<'a> {
    let mut seqs = Rows::new(SEQ);
    for row in rows {
        seqs.push([row.seq.into()]);
    }
    seqs
}

/// What an invariant's query found, in words.
fn shown(row: &Found) -> String {
    let cells: Vec<String> = row
        .0
        .iter()
        .map(|cell| match cell {
            Cell::Null => "nothing".to_owned(),
            Cell::Int(number) => number.to_string(),
            Cell::Text(text) => text.to_string(),
            Cell::Blob(bytes) => format!("{} bytes", bytes.len()),
        })
        .collect();
    cells.join(" ")
}

fn asked_of(row: &Found) -> sqlx::Result<Asked> {
    let target = format!("{}.{}", row.text(0)?, row.text(1)?);
    Ok(Asked { target, day: row.text(2)?.to_owned(), n: row.int(3)? })
}
