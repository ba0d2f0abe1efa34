//! The order of deliveries: the numbers of a group, drawn while the rows of their keys are held.
//!
//! Invariant: a number is drawn by the transaction that inserts its delivery, under the lock of the row
//! of its key, so the order of numbers is the order of commits (custody a.7).

use std::collections::BTreeMap;

use snodo_core::{
    ids::{Digest, MessageId},
    message_state::DeliveryState,
    route::OnPark,
    timestamp::Timestamp,
};

use super::{
    NewDelivery, Turn,
    apply::NewMessage,
    database::{GroupError, Tx},
    statement::{Cell, Columns, Found, Kind::Blob, Kind::Int, Kind::Text, Rows, Statement},
};
use crate::faults::off;

const WANTED: Columns = &[("k_subscriber", Text), ("k_key", Blob), ("k_many", Int)];

/// The next number of every key of a group.
#[derive(Debug, Default)]
pub(super) struct Numbers<'a>(BTreeMap<(&'a str, [u8; 32]), i64>);

/// Draws as many numbers of each key as the deliveries of `messages` need, in the order of the keys:
/// no two writers wait for each other.
pub(super) async fn draw<'a>(
    tx: &mut Tx,
    messages: &[NewMessage<'a>],
    now: Timestamp,
) -> Result<Numbers<'a>, GroupError> {
    let mut wanted: BTreeMap<(&'a str, [u8; 32]), i64> = BTreeMap::new();
    for delivery in messages.iter().flat_map(|new| new.deliveries) {
        if let Some(place) = delivery.place {
            *wanted.entry((&*delivery.subscriber, place.key.0)).or_default() += 1;
        }
    }
    if wanted.is_empty() {
        return Ok(Numbers::default());
    }
    let mut rows = Rows::new(WANTED);
    for ((subscriber, key), many) in &wanted {
        rows.push([(*subscriber).into(), key.to_vec().into(), (*many).into()]);
    }
    let found = tx.one(Statement::over(DRAW, vec![now.0.into()], rows)).await?;
    let mut last = BTreeMap::new();
    for row in &found {
        last.insert((row.text(0)?.to_owned(), row.digest(1)?.0), row.int(2)?);
    }
    let first = wanted.into_iter().map(|((subscriber, key), many)| {
        let last = last.get(&(subscriber.to_owned(), key)).copied().unwrap_or(many);
        ((subscriber, key), last - many + 1)
    });
    Ok(Numbers(first.collect()))
}

/// A key that comes anew draws above the floor of its subscriber: retention may have removed it before.
const DRAW: &str = "INSERT INTO order_key (subscriber, order_key, last, used_at) \
    SELECT k_subscriber, k_key, k_many + COALESCE((SELECT f.last FROM order_floor AS f \
    WHERE f.subscriber = k_subscriber), 0), {0} FROM {rows} WHERE true \
    ORDER BY k_subscriber, k_key ON CONFLICT (subscriber, order_key) DO UPDATE \
    SET last = order_key.last + excluded.last - COALESCE((SELECT f.last FROM order_floor AS f \
    WHERE f.subscriber = excluded.subscriber), 0), used_at = excluded.used_at \
    RETURNING subscriber, order_key, last";

impl<'a> Numbers<'a> {
    /// Whether no delivery of the group belongs to an order.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `order_key`, `order_no` and `held_below` of a delivery; its number is taken.
    pub(super) fn cells_of(&mut self, delivery: &'a NewDelivery) -> [Cell<'a>; 3] {
        let none = [Cell::Null, Cell::Null, Cell::Null];
        let Some(place) = &delivery.place else { return none };
        let Some(next) = self.0.get_mut(&(&*delivery.subscriber, place.key.0)) else { return none };
        let number = if off("order-by-sequence") { drawn_early(delivery) } else { *next };
        *next += 1;
        let below = match place.on_park {
            OnPark::Hold => DeliveryState::Completed,
            OnPark::Skip => DeliveryState::Parked,
        };
        [(&place.key.0).into(), number.into(), (below as i64).into()]
    }
}

/// A mutant: a number drawn before the commit, as a sequence of the database would give it. Whoever
/// commits later may have the lower one.
fn drawn_early(delivery: &NewDelivery) -> i64 {
    let millis = MessageId(delivery.id.0).root_millis();
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// The key of a row from column `at`, where it has one.
pub(super) fn key_of(row: &Found, at: usize) -> sqlx::Result<Option<Digest>> {
    Ok(if row.maybe_blob(at)?.is_some() { Some(row.digest(at)?) } else { None })
}

/// The place of a row from (order_key, order_no), from column `at` on, where it has one.
pub(super) fn turn_of(row: &Found, at: usize) -> sqlx::Result<Option<Turn>> {
    let key = key_of(row, at)?;
    key.map(|key| Ok(Turn { key, no: row.int(at + 1)? })).transpose()
}
