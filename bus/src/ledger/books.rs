//! The last trip of a group: totals, and the events with their batch of the chain.
//!
//! Invariant: the head of a chain moves in the commit that writes its events, and only from the head
//! on which they were hashed: two writers of one chain cannot both succeed.

use std::sync::Arc;

use snodo_core::{ids::Digest, timestamp::Timestamp};

use super::{
    apply::{Books, NewEvent},
    chain::{self, Hashed},
    database::{GroupError, Tx},
    statement::{Columns, Found, Kind::Blob, Kind::Int, Kind::Text, Rows, Statement},
};
use crate::faults::off;

const TOTAL: Columns = &[("k_name", Text), ("k_bucket", Int), ("k_n", Int)];
const SOURCE: Columns = &[("k_name", Text), ("k_bucket", Text), ("k_n", Int)];
const EVENT: Columns = &[
    ("k_n", Int),
    ("k_kind", Text),
    ("k_subject", Text),
    ("k_actor", Text),
    ("k_reason", Text),
    ("k_digest", Blob),
    ("k_hash", Blob),
];

/// Where a chain stands, as this process knows it.
#[derive(Clone, Debug)]
pub(super) struct ChainHead {
    /// The chain's row.
    id: i64,
    /// Its last event.
    n: i64,
    /// Its last batch.
    batch: i64,
    /// Its head.
    head: Digest,
}

/// The totals of deliveries as this process believes them to be: used by a mutant only.
pub(super) type Believed = std::collections::BTreeMap<(Arc<str>, u8), i64>;

/// The statements that change the totals.
pub(super) fn totals<'a>(books: &Books, believed: &mut Believed) -> Vec<Statement<'a>> {
    let mut statements = Vec::new();
    let absolute = off("totals-absolute");
    let mut rows = Rows::new(TOTAL);
    for ((name, bucket), n) in books.deliveries.iter().filter(|(_, n)| **n != 0) {
        let mut n = *n;
        if absolute {
            let mine = believed.entry((name.clone(), *bucket)).or_default();
            *mine += n;
            n = *mine;
        }
        rows.push([name.to_string().into(), i64::from(*bucket).into(), n.into()]);
    }
    if !rows.is_empty() {
        let new = if absolute { "excluded.n" } else { "delivery_total.n + excluded.n" };
        statements.push(Statement::over(
            format!(
                "INSERT INTO delivery_total (subscriber, bucket, n) SELECT k_name, k_bucket, k_n \
                 FROM {{rows}} WHERE true ON CONFLICT (subscriber, bucket) DO UPDATE SET n = {new}"
            ),
            vec![],
            rows,
        ));
    }
    let mut rows = Rows::new(SOURCE);
    for ((name, word), n) in &books.messages {
        rows.push([name.to_string().into(), (*word).into(), (*n).into()]);
    }
    if !rows.is_empty() {
        statements.push(Statement::over(
            "INSERT INTO message_total (source, bucket, n) SELECT k_name, k_bucket, k_n \
             FROM {rows} WHERE true ON CONFLICT (source, bucket) DO UPDATE \
             SET n = message_total.n + excluded.n",
            vec![],
            rows,
        ));
    }
    statements
}

/// Reads where a chain stands, and creates it.
pub(super) async fn head_of(tx: &mut Tx, name: &str) -> Result<ChainHead, GroupError> {
    let found = tx
        .run(&[
            Statement::new(
                "INSERT INTO chain (name, n, batch, head) VALUES ({0}, 0, 0, {1}) \
                 ON CONFLICT (name) DO NOTHING",
                vec![name.into(), (&chain::EMPTY.0).into()],
            ),
            Statement::new(
                "SELECT id, n, batch, head FROM chain WHERE name = {0}",
                vec![name.into()],
            ),
        ])
        .await?;
    let row = found.last().and_then(|rows| rows.first()).ok_or(GroupError::ChainMoved)?;
    Ok(ChainHead { id: row.int(0)?, n: row.int(1)?, batch: row.int(2)?, head: row.digest(3)? })
}

/// The statements that write events after `head`, the first of which RETURNs a row if the chain still
/// stood there; and the head after them.
pub(super) fn events<'a>(
    events: &'a [NewEvent],
    slot: &'a str,
    name: &str,
    head: &ChainHead,
    now: Timestamp,
) -> (Vec<Statement<'a>>, ChainHead) {
    let mut rows = Rows::new(EVENT);
    let mut leaves = Vec::with_capacity(events.len());
    for (n, new) in (head.n + 1..).zip(events) {
        let actor = new.actor.as_deref().unwrap_or(slot);
        let hash = hash(new, actor, name, n, head.head, now);
        leaves.push(hash);
        rows.push([
            n.into(),
            new.kind.into(),
            new.subject.as_str().into(),
            actor.into(),
            (&*new.reason).into(),
            (&new.digest.0).into(),
            hash.0.to_vec().into(),
        ]);
    }
    let root = chain::root_of(&leaves).unwrap_or(chain::EMPTY);
    let after = ChainHead {
        id: head.id,
        n: head.n + i64::try_from(events.len()).unwrap_or(0),
        batch: head.batch + 1,
        head: chain::head_after(head.head, root),
    };
    (write_events(rows, head, &after, now), after)
}

fn hash(
    new: &NewEvent,
    actor: &str,
    chain: &str,
    n: i64,
    previous: Digest,
    at: Timestamp,
) -> Digest {
    chain::hash(&Hashed {
        chain,
        n,
        at,
        kind: new.kind,
        subject: &new.subject,
        actor,
        reason: &new.reason,
        digest: new.digest,
        previous,
    })
}

fn write_events<'a>(
    rows: Rows<'a>,
    head: &ChainHead,
    after: &ChainHead,
    now: Timestamp,
) -> Vec<Statement<'a>> {
    vec![
        Statement::new(
            "UPDATE chain SET n = {2}, batch = {3}, head = {4} WHERE id = {0} AND n = {1} \
             RETURNING id",
            vec![
                head.id.into(),
                head.n.into(),
                after.n.into(),
                after.batch.into(),
                after.head.0.to_vec().into(),
            ],
        ),
        Statement::new(
            "INSERT INTO batch (chain, batch, previous) VALUES ({0}, {1}, {2}) \
             ON CONFLICT DO NOTHING",
            vec![head.id.into(), after.batch.into(), head.head.0.to_vec().into()],
        ),
        Statement::over(
            "INSERT INTO event (chain, n, batch, at, kind, subject, actor, reason, digest, hash) \
             SELECT {0}, k_n, {1}, {2}, k_kind, k_subject, k_actor, k_reason, k_digest, k_hash \
             FROM {rows} WHERE true ON CONFLICT DO NOTHING",
            vec![head.id.into(), after.batch.into(), now.0.into()],
            rows,
        ),
    ]
}

/// Whether the chain stood where the events were hashed.
pub(super) fn chain_stood(found: &[Vec<Found>]) -> Result<(), GroupError> {
    match found.first() {
        Some(rows) if rows.is_empty() => Err(GroupError::ChainMoved),
        _ => Ok(()),
    }
}
