//! The values that the ledger applies in its own transaction: the protocol register.
//!
//! Invariant: a number is drawn, its record written and its step completed in one transaction, so the
//! register has no gap and no number without a record; the row of the counter is held from the draw to
//! the commit, so time never runs back within a register.

use std::collections::BTreeMap;

use serde_json::Value;
use snodo_core::{
    register::{Annulled, Found, LedgerEffect, Registered, Registration, show_number},
    timestamp::Timestamp,
};

use super::{
    database::{GroupError, Tx},
    statement::{Columns, Kind::Int, Kind::Text, Rows, Statement},
};

/// What a register gave for one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    /// The year in Rome.
    year: i16,
    /// The next number.
    next: i64,
    /// When.
    at: Timestamp,
}

/// Registers by name.
pub(super) type Registers = BTreeMap<String, Drawn>;

const WANTED: Columns = &[("k_aoo", Text), ("k_at", Int)];
const COUNTED: Columns = &[("k_aoo", Text), ("k_year", Int), ("k_last", Int)];

/// Draws as many numbers of each register as are wanted, in the order of their names.
pub(super) async fn draw(
    tx: &mut Tx,
    wanted: &BTreeMap<&str, i64>,
    now: Timestamp,
) -> Result<Registers, GroupError> {
    let mut rows = Rows::new(WANTED);
    for aoo in wanted.keys() {
        rows.push([(*aoo).into(), now.0.into()]);
    }
    let found = tx
        .one(Statement::over(
            "INSERT INTO counter (aoo, year, last, at) SELECT k_aoo, 0, 0, k_at FROM {rows} \
             WHERE true ORDER BY k_aoo ON CONFLICT (aoo) DO UPDATE SET at = CASE \
             WHEN counter.at > excluded.at THEN counter.at ELSE excluded.at END \
             RETURNING aoo, year, last, at",
            vec![],
            rows,
        ))
        .await?;
    let mut drawn = Registers::new();
    let mut rows = Rows::new(COUNTED);
    for row in found {
        let (aoo, at) = (row.text(0)?.to_owned(), row.time(3)?);
        let year = at.in_rome().map_or(1970, |rome| rome.year());
        let last = if row.int(1)? == i64::from(year) { row.int(2)? } else { 0 };
        let many = wanted.get(aoo.as_str()).copied().unwrap_or(0);
        rows.push([aoo.clone().into(), i64::from(year).into(), (last + many).into()]);
        drawn.insert(aoo, Drawn { year, next: last + 1, at });
    }
    tx.one(Statement::over(
        "UPDATE counter SET year = k_year, last = k_last FROM {rows} WHERE aoo = k_aoo",
        vec![],
        rows,
    ))
    .await?;
    Ok(drawn)
}

/// What an effect gave.
pub(super) enum Applied {
    /// The step's result.
    Result(Value),
    /// The effect said no; nothing was written.
    Refused(&'static str),
}

/// Where an effect is applied.
pub(super) struct Place<'a> {
    /// The delivery.
    pub(super) delivery: i64,
    /// Its step.
    pub(super) step: &'a str,
    /// When.
    pub(super) now: Timestamp,
}

/// Applies one effect.
pub(super) async fn apply(
    tx: &mut Tx,
    effect: &LedgerEffect,
    place: &Place<'_>,
    drawn: &mut Registers,
) -> Result<Applied, GroupError> {
    match effect {
        LedgerEffect::Register(registration) => register(tx, registration, place, drawn).await,
        LedgerEffect::Annul { aoo, year, number, reason } => {
            annul(tx, (aoo, *year, *number), reason, place.now).await
        }
        LedgerEffect::Given(value) => Ok(Applied::Result(value.clone())),
        LedgerEffect::Lookup { aoo, year, number } => look_up(tx, (aoo, *year, *number)).await,
    }
}

async fn register(
    tx: &mut Tx,
    registration: &Registration,
    place: &Place<'_>,
    drawn: &mut Registers,
) -> Result<Applied, GroupError> {
    let Some(counter) = drawn.get_mut(&registration.aoo) else {
        return Ok(Applied::Refused("no_counter"));
    };
    let number = counter.next;
    counter.next += 1;
    let shown = show_number(number, counter.year);
    let insert = Statement::new(
        "INSERT INTO register (aoo, year, n, delivery, step, direction, subject, record, \
         registered_at) VALUES ({0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8})",
        vec![
            registration.aoo.as_str().into(),
            i64::from(counter.year).into(),
            number.into(),
            place.delivery.into(),
            place.step.into(),
            serde_json::to_string(&registration.direction).unwrap_or_default().into(),
            registration.subject.as_str().into(),
            registration.record.to_string().into(),
            counter.at.0.into(),
        ],
    );
    let found_by = Statement::new(
        "INSERT INTO lookup (kind, value, message) SELECT 'protocol', {0}, message FROM delivery \
         WHERE seq = {1} ON CONFLICT DO NOTHING",
        vec![shown.as_str().into(), place.delivery.into()],
    );
    tx.run(&[insert, found_by]).await?;
    Ok(Applied::Result(result(&Registered {
        number: shown,
        aoo: registration.aoo.clone(),
        year: counter.year,
        registered_at: counter.at,
    })))
}

async fn annul(
    tx: &mut Tx,
    (aoo, year, number): (&str, i16, i64),
    reason: &str,
    now: Timestamp,
) -> Result<Applied, GroupError> {
    let found = tx
        .one(Statement::new(
            "UPDATE register SET annul_reason = CASE WHEN annulled_at IS NULL THEN {3} \
             ELSE annul_reason END, annulled_at = COALESCE(annulled_at, {4}) \
             WHERE aoo = {0} AND year = {1} AND n = {2} RETURNING annulled_at",
            vec![aoo.into(), i64::from(year).into(), number.into(), reason.into(), now.0.into()],
        ))
        .await?;
    let Some(row) = found.first() else { return Ok(Applied::Refused("not_found")) };
    let annulled = Annulled { number: show_number(number, year), annulled_at: row.time(0)? };
    Ok(Applied::Result(result(&annulled)))
}

async fn look_up(
    tx: &mut Tx,
    (aoo, year, number): (&str, i16, i64),
) -> Result<Applied, GroupError> {
    let found = tx
        .one(Statement::new(
            "SELECT subject, direction, registered_at, annulled_at FROM register \
             WHERE aoo = {0} AND year = {1} AND n = {2}",
            vec![aoo.into(), i64::from(year).into(), number.into()],
        ))
        .await?;
    let Some(row) = found.first() else { return Ok(Applied::Refused("not_found")) };
    Ok(Applied::Result(result(&Found {
        number: show_number(number, year),
        subject: row.text(0)?.to_owned(),
        direction: row.json(1)?,
        registered_at: row.time(2)?,
        annulled_at: row.maybe_time(3)?,
    })))
}

/// Results are plain structures of text and numbers: they always serialise.
fn result(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
