//! The ledger's books: totals against a scan, broken invariants, heads of the chains, instances.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Office, Told};
use crate::ledger::Total;

/// `GET /instances`.
pub(super) async fn instances(State(office): State<Arc<Office>>) -> Told {
    Ok(Json(json!({ "instances": office.ledger.incarnations().await? })))
}

/// `GET /ledger/stats`.
pub(super) async fn stats(State(office): State<Arc<Office>>) -> Told {
    let deliveries = office.ledger.delivery_totals().await?;
    let messages = office.ledger.message_totals().await?;
    let broken = office.ledger.broken_invariants().await?;
    let heads = office.ledger.heads().await?;
    let heads: Vec<Value> = heads
        .iter()
        .map(|(chain, n, hash)| json!({ "chain": chain, "n": n, "hash": hash }))
        .collect();
    Ok(Json(json!({
        "messages": as_json(&messages),
        "deliveries": as_json(&deliveries),
        "brokenInvariants": broken,
        "heads": heads,
        "sound": broken.is_empty(),
    })))
}

fn as_json(totals: &[Total]) -> Value {
    totals
        .iter()
        .map(|total| json!({ "name": &*total.name, "bucket": total.bucket, "n": total.n }))
        .collect()
}
