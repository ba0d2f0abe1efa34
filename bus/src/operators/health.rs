//! What operators see at a glance, and what doctor asks of a running bus.
//!
//! Invariant: ages and counts come from the ledger's totals and indexes; nothing here scans.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Deserialize;
use serde_json::{Value, json};

use snodo_core::route::Routes;

use super::{No, Office, Told};
use crate::{doctor, ledger::TargetAway};

/// `?thorough=true`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default)]
    thorough: bool,
}

/// `GET /doctor`: ledger and broker, as the bus sees them.
pub(super) async fn condition(
    State(office): State<Arc<Office>>,
    query: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Told {
    let Query(asked) = query.map_err(|_| No::asked("?thorough="))?;
    let mut found = doctor::of_ledger(&*office.ledger, asked.thorough).await;
    if let Some(look) = &office.broker {
        found.extend(look().await);
    }
    Ok(Json(json!({ "findings": found })))
}

/// `GET /top`: who is owed what since when.
pub(super) async fn top(State(office): State<Arc<Office>>) -> Told {
    let ages = office.ledger.ages().await?;
    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    for total in office.ledger.delivery_totals().await? {
        let row = rows.entry(total.name.to_string()).or_insert_with(|| json!({ "ended": 0 }));
        match total.bucket.as_str() {
            "open" | "parked" | "uncertain" => row[&total.bucket] = json!(total.n - total.gone),
            _ => row["ended"] = json!(row["ended"].as_i64().unwrap_or(0) + total.n),
        }
    }
    for (name, since) in &ages.oldest_open {
        if let Some(row) = rows.get_mut(&**name) {
            row["since"] = json!(since);
        }
    }
    let away = office.ledger.targets_away().await?;
    let routes = (office.routes)();
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(name, mut row)| {
            if let Some(target) = waits_for(&routes, &name, &away) {
                row["waitsFor"] = json!(target);
            }
            row["route"] = json!(name);
            row
        })
        .collect();
    let away: Vec<Value> = away
        .iter()
        .map(|line| json!({ "target": line.instance, "since": line.since, "code": line.code }))
        .collect();
    let at = office.clock.now();
    Ok(Json(json!({ "at": at, "strays": ages.strays, "away": away, "routes": rows })))
}

/// The target that is away and that a route calls.
fn waits_for<'a>(routes: &Routes, name: &str, away: &'a [TargetAway]) -> Option<&'a str> {
    let route = routes.get(name)?;
    let is_called = |line: &&TargetAway| route.targets().any(|target| target == line.instance);
    away.iter().find(is_called).map(|line| line.instance.as_str())
}
