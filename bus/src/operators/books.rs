//! The ledger's books: totals against a scan, broken invariants, heads of the chains, instances.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};
use snodo_core::ids::MessageId;

use super::{No, Office, Told};
use crate::ledger::{
    ReadError, Total,
    prove::{Head, prove, read_heads},
    verify::{Finding, verify},
};

/// `GET /instances`.
pub(super) async fn instances(State(office): State<Arc<Office>>) -> Told {
    Ok(Json(json!({ "instances": office.ledger.incarnations().await? })))
}

/// `GET /routes`: what runs, and the older versions by which deliveries are still owed.
pub(super) async fn routes(State(office): State<Arc<Office>>) -> Told {
    let routes = (office.routes)();
    let mut older = Vec::new();
    for (digest, owed) in office.ledger.owed_by_version().await? {
        let version = routes.version(&digest);
        let name = version.map(|version| version.name.as_str());
        let is_now = name.and_then(|name| routes.get(name)).is_some_and(|now| now.digest == digest);
        if !is_now {
            older.push(json!({ "route": name, "digest": digest, "owed": owed }));
        }
    }
    let now: Vec<Value> = routes.iter().map(|route| route.describe()).collect();
    Ok(Json(json!({ "routes": now, "older": older })))
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

/// `GET /ledger/verify`: every chain against itself and against the heads kept outside.
pub(super) async fn verified(State(office): State<Arc<Office>>) -> Told {
    // Read before the chains, which only grow: a head kept meanwhile is no finding.
    let kept = kept(&office).await?;
    let findings = verify(&*office.ledger, &kept).await?;
    Ok(Json(json!({
        "sound": findings.is_empty(),
        "headsKept": kept.len(),
        "findings": findings.iter().map(located).collect::<Vec<_>>(),
    })))
}

/// `GET /ledger/proofs/{id}`: what a third party can check without this bus.
pub(super) async fn proof(State(office): State<Arc<Office>>, Path(id): Path<String>) -> Told {
    let id = id.parse().map(MessageId).map_err(|_| No::unknown("message"))?;
    let proof = prove(&*office.ledger, id, &kept(&office).await?).await?;
    proof.map(Json).ok_or_else(|| No::unknown("message"))
}

/// The heads that were kept outside the database.
async fn kept(office: &Office) -> Result<Vec<Head>, ReadError> {
    let path = office.heads.clone();
    let read = tokio::task::spawn_blocking(move || read_heads(&path)).await;
    let read = read.map_err(std::io::Error::other).and_then(|heads| heads);
    read.map_err(|error| ReadError(format!("heads.log: {}", error.kind())))
}

/// A finding with its place, for programs and for people.
fn located(finding: &Finding) -> Value {
    let mut located = json!(finding);
    located["text"] = json!(finding.to_string());
    located
}

fn as_json(totals: &[Total]) -> Value {
    totals
        .iter()
        .map(|total| json!({ "name": &*total.name, "bucket": total.bucket, "n": total.n }))
        .collect()
}
