//! `/v1/inbox`: a party fetches what it is owed, and acknowledges what it has.
//!
//! Invariant: fetching changes nothing; an acknowledgement is answered after the commit. Of what is not
//! the party's own nothing is told, not even that it is there.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};
use snodo_core::{
    ids::DeliveryId,
    inbox::{self, Acked},
    json::JsonLimits,
    problem::Problem,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Desk,
    auth::{Allowance, Caller},
    body,
    problems::{AGAIN, Refusal, unanswered},
};

/// `?limit=…`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    limit: Option<u32>,
}

impl Asked {
    fn most(&self) -> Option<u32> {
        Some(self.limit.unwrap_or(inbox::USUAL)).filter(|most| (1..=inbox::MOST).contains(most))
    }
}

/// `GET /v1/inbox`.
pub(super) async fn get(
    State(desk): State<Arc<Desk>>,
    query: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let admits = desk.admits();
    let caller = admits.callers.identify(&parts.headers)?;
    let allowance = caller.spend(desk.clock.uptime())?;
    let most = query.ok().and_then(|Query(asked)| asked.most()).ok_or_else(|| {
        let expected = "`?limit=…`, once, from 1 to 500; nothing else";
        Problem::malformed_request("query", expected)
    })?;
    if !desk.engine.routes().is_fetched(&caller.subscriber) {
        return Err(Problem::no_inbox().into());
    }
    let mut response = desk.waiting(caller, most).await?.into_response();
    let kind = HeaderValue::from_static(inbox::BATCH);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(Allowance::tell(allowance, response))
}

/// `POST /v1/inbox/ack`.
pub(super) async fn ack(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let admits = desk.admits();
    let caller = admits.callers.identify(&parts.headers)?;
    let allowance = caller.spend(desk.clock.uptime())?;
    let held = body::read(&parts.headers, body, &desk.limits, &desk.shares).await?;
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let ids = inbox::acknowledged(headers, &held.bytes, &JsonLimits::default())?;
    let acked = desk.engine.collect(&caller.subscriber, &ids).await.map_err(|error| {
        tracing::warn!(%error, "an acknowledgement was not written");
        Refusal::from(Problem::ask_again("ledger", AGAIN))
    })?;
    let deliveries: Vec<Value> =
        ids.iter().zip(acked).map(|(id, acked)| answer(*id, acked)).collect();
    let response = Json(json!({ "deliveries": deliveries })).into_response();
    Ok(Allowance::tell(allowance, response))
}

fn answer(id: DeliveryId, acked: Acked) -> Value {
    let mut told = json!({ "id": id, "result": acked.word() });
    if let Acked::NotInInbox(state) = acked {
        told["state"] = json!(state.word());
        told["stato"] = json!(state.parola());
    }
    told
}

/// An answer, with its share of the room for bodies until the last byte is written.
struct Batch {
    text: Vec<u8>,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Batch {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Desk {
    /// What waits for a party, as a batch of events.
    async fn waiting(&self, caller: &Caller, most: u32) -> Result<Bytes, Refusal> {
        let _place = self.shares.batches.acquire().await;
        let given = self.engine.fetchable(&caller.subscriber, most).await;
        let given = given.map_err(|error| unanswered(&error))?;
        let text = inbox::batch(given.iter().map(|given| (given.id, &*given.message)));
        let share = body::room(text.len(), &self.shares);
        let share = share.ok_or_else(|| Problem::ask_again("memory", AGAIN))?;
        Ok(Bytes::from_owner(Batch { text, _share: share }))
    }
}
