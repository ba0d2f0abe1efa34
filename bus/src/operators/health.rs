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

use super::{No, Office, Told};
use crate::doctor;

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
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(name, mut row)| {
            row["route"] = json!(name);
            row
        })
        .collect();
    Ok(Json(json!({ "at": office.clock.now(), "strays": ages.strays, "routes": rows })))
}
