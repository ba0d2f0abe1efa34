//! Targets that are away: their lines, and the time that their deliveries get back.
//!
//! Invariant: a line ends by its own `since` only, so that who has slept through an outage and the next
//! one does not end the next one.

use snodo_core::timestamp::Timestamp;

use super::{
    CommitError, ReadError, Subscriber, TargetAway,
    database::unreadable,
    statement::{Columns, Found, Kind::Text, Rows, Statement},
    store::SqlLedger,
};

const SUBSCRIBERS: Columns = &[("k_subscriber", Text)];

/// What is queued, published or waiting gets the time since it was, or since the outage began.
const GIVE_TIME: &str = "UPDATE delivery SET give_up_at = give_up_at + {1} - \
    CASE WHEN changed_at > {2} THEN changed_at ELSE {2} END \
    WHERE state IN (0, 1, 3) AND state < 7 AND give_up_at IS NOT NULL AND changed_at < {1} \
    AND subscriber IN (SELECT k_subscriber FROM {rows}) \
    AND EXISTS (SELECT 1 FROM target_away WHERE instance = {0} AND since = {2})";

impl SqlLedger {
    pub(super) async fn read_targets_away(&self) -> Result<Vec<TargetAway>, ReadError> {
        let sql = "SELECT instance, since, code, probe_at FROM target_away ORDER BY instance";
        let found = self.database.read(Statement::new(sql, vec![])).await?;
        found.iter().map(away_of).collect::<Result<_, _>>().map_err(unreadable)
    }

    pub(super) async fn write_target_away(&self, away: &TargetAway) -> Result<(), CommitError> {
        let sql = "INSERT INTO target_away (instance, since, code, probe_at) \
            VALUES ({0}, {1}, {2}, {3}) ON CONFLICT (instance) DO NOTHING";
        let TargetAway { instance, since, code, probe_at } = away;
        let values =
            vec![instance.as_str().into(), since.0.into(), code.as_str().into(), probe_at.0.into()];
        self.write_alone(&[Statement::new(sql, values)]).await.map(drop)
    }

    pub(super) async fn write_probe(
        &self,
        instance: &str,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<bool, CommitError> {
        let sql = "UPDATE target_away SET probe_at = {2} \
            WHERE instance = {0} AND probe_at <= {1} RETURNING instance";
        let values = vec![instance.into(), now.0.into(), next.0.into()];
        let found = self.write_alone(&[Statement::new(sql, values)]).await?;
        Ok(found.iter().any(|rows| !rows.is_empty()))
    }

    pub(super) async fn write_target_back(
        &self,
        away: &TargetAway,
        now: Timestamp,
        subscribers: &[Subscriber],
    ) -> Result<(), CommitError> {
        let values = || vec![away.instance.as_str().into(), now.0.into(), away.since.0.into()];
        let mut rows = Rows::new(SUBSCRIBERS);
        for subscriber in subscribers {
            rows.push([(&**subscriber).into()]);
        }
        let end = "DELETE FROM target_away WHERE instance = {0} AND since = {2} AND {1} = {1}";
        let mut statements = vec![Statement::new(end, values())];
        if !rows.is_empty() {
            statements.insert(0, Statement::over(GIVE_TIME, values(), rows));
        }
        self.write_alone(&statements).await.map(drop)
    }
}

fn away_of(row: &Found) -> sqlx::Result<TargetAway> {
    Ok(TargetAway {
        instance: row.text(0)?.to_owned(),
        since: row.time(1)?,
        code: row.text(2)?.to_owned(),
        probe_at: row.time(3)?,
    })
}
