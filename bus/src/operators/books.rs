//! The ledger's books: totals against a scan, broken invariants, heads of the chains, instances.

use std::sync::{Arc, atomic::Ordering::Relaxed};

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
    verify::{Finding, verify_watched},
};
use crate::run::last::{Agreement, Seen};

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
    let seen = compared(&office).await?;
    let heads: Vec<Value> = heads
        .iter()
        .map(|(chain, n, hash)| json!({ "chain": chain, "n": n, "hash": hash }))
        .collect();
    Ok(Json(json!({
        "messages": as_json(&messages),
        "deliveries": as_json(&deliveries),
        "brokenInvariants": broken,
        "heads": heads,
        "totals": {
            "comparedAt": seen.compared_at,
            "agreedAt": seen.agreed_at,
            "differences": seen.comparison.differences,
            "rows": seen.comparison.rows,
        },
        "sound": broken.is_empty() && seen.comparison.differences.is_empty(),
    })))
}

/// What the bus found last; compared now, where none runs or it has not come to it yet.
async fn compared(office: &Office) -> Result<Seen, ReadError> {
    let seen = office.agreement.as_ref().map(|agreement| agreement.seen());
    if let Some(seen) = seen.filter(|seen| seen.compared_at.is_some()) {
        return Ok(seen);
    }
    let now = Agreement::default();
    now.note(office.ledger.compare().await?, office.clock.now());
    Ok(now.seen())
}

/// `GET /ledger/verify`: every chain against itself and against the heads kept outside.
pub(super) async fn verified(State(office): State<Arc<Office>>) -> Told {
    // Read before the chains, which only grow: a head kept meanwhile is no finding.
    let kept = kept(&office).await?;
    let findings = verify_watched(&*office.ledger, &kept, &office.verifying).await?;
    Ok(Json(json!({
        "sound": findings.is_empty(),
        "headsKept": kept.len(),
        "findings": findings.iter().map(located).collect::<Vec<_>>(),
    })))
}

/// `GET /ledger/verify/progress`: how far the check under way has come.
pub(super) async fn verifying(State(office): State<Arc<Office>>) -> Told {
    let (done, of) = (&office.verifying.done, &office.verifying.of);
    Ok(Json(json!({ "done": done.load(Relaxed), "of": of.load(Relaxed) })))
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
        .map(|total| {
            let (name, bucket) = (&*total.name, &total.bucket);
            json!({ "name": name, "bucket": bucket, "n": total.n, "gone": total.gone })
        })
        .collect()
}
