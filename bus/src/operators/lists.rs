//! What operators see: lists of deliveries, one delivery, the story of a message.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Deserialize;
use serde_json::{Value, json};
use snodo_core::{
    ids::{DeliveryId, MessageId},
    message_state::{Bucket, DeliveryState, message_state},
};

use super::{No, Office, Told};
use crate::ledger::{Filter, Ledger, ReadError, Row, Story};

/// Deliveries in one answer.
const MOST: u32 = 500;
/// Messages in one trace.
const LONGEST_TRACE: usize = 1000;

/// `?state=parked&route=…&code=…&after=…&limit=…`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    state: Option<String>,
    route: Option<String>,
    code: Option<String>,
    after: Option<i64>,
    limit: Option<u32>,
}

impl Asked {
    fn filter(self) -> Result<Filter, No> {
        let states = match self.state.as_deref() {
            None => Vec::new(),
            Some(word) => {
                let bucket = crate::ledger::bucket_of(word)
                    .ok_or_else(|| No::asked("a state: open, parked, uncertain, completed, …"))?;
                DeliveryState::ALL.into_iter().filter(|state| state.bucket() == bucket).collect()
            }
        };
        Ok(Filter {
            states,
            subscriber: self.route.map(Into::into),
            code: self.code,
            after: self.after.unwrap_or(0),
            limit: self.limit.unwrap_or(MOST).min(MOST),
        })
    }
}

/// `GET /deliveries`.
pub(super) async fn list(
    State(office): State<Arc<Office>>,
    query: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Told {
    let Query(asked) = query.map_err(|_| No::asked("?state=&route=&code=&after=&limit="))?;
    let rows = office.ledger.list(&asked.filter()?).await?;
    let next = rows.last().map(|row| row.seq);
    Ok(Json(json!({
        "deliveries": rows.iter().map(brief).collect::<Vec<_>>(),
        "next": next,
    })))
}

/// `GET /deliveries/{id}`.
pub(super) async fn show(State(office): State<Arc<Office>>, Path(id): Path<String>) -> Told {
    let row = find(&office, &id).await?;
    let events = office.ledger.events_of(&id).await?;
    let story = office.ledger.story(row.message).await?;
    let mut told = full(&row, office.clock.now());
    told["type"] = json!(story.map(|story| story.envelope.kind));
    told["events"] = json!(events);
    Ok(Json(told))
}

/// The row of a delivery by the id that a person typed.
pub(super) async fn find(office: &Office, id: &str) -> Result<Row, No> {
    let id = id.parse().map(DeliveryId).map_err(|_| No::unknown("delivery"))?;
    office.ledger.row_by_id(id).await?.ok_or_else(|| No::unknown("delivery"))
}

/// `GET /messages/{id}`: the message and everything that came of it. In place of its id, the protocol
/// number that it got; several offices may have the same one: then the others are named too.
pub(super) async fn trace(State(office): State<Arc<Office>>, Path(name): Path<String>) -> Told {
    let mut found = match name.parse() {
        Ok(id) => vec![MessageId(id)],
        Err(_) => office.ledger.find("protocol", &name).await?,
    };
    let id = found.pop().ok_or_else(|| No::unknown("message"))?;
    let told = told(&*office.ledger, id, &mut BTreeSet::new()).await?;
    let mut told = told.ok_or_else(|| No::unknown("message"))?;
    if !found.is_empty() {
        told["sameNumber"] = json!(found);
    }
    Ok(Json(told))
}

/// The story of a message with those of its derived messages below it.
async fn told(
    ledger: &dyn Ledger,
    id: MessageId,
    seen: &mut BTreeSet<MessageId>,
) -> Result<Option<Value>, ReadError> {
    if seen.len() == LONGEST_TRACE || !seen.insert(id) {
        return Ok(None);
    }
    let Some(story) = ledger.story(id).await? else { return Ok(None) };
    let mut told = of_message(&story);
    told["events"] = json!(ledger.events_of(&id.to_string()).await?);
    let mut derived = Vec::new();
    for id in &story.derived {
        derived.extend(Box::pin(self::told(ledger, *id, seen)).await?);
    }
    told["derived"] = Value::Array(derived);
    Ok(Some(told))
}

fn of_message(story: &Story) -> Value {
    let state = message_state(story.deliveries.iter().map(|row| row.state));
    json!({
        "id": story.envelope.id,
        "type": story.envelope.kind,
        "source": story.envelope.source,
        "party": story.envelope.party,
        "senderId": story.key.as_ref().map(|key| &key.sender_id),
        "acceptedAt": story.accepted_at,
        "state": state.word(),
        "stato": state.parola(),
        "deliveries": story.deliveries.iter().map(brief).collect::<Vec<_>>(),
    })
}

/// A delivery in a list.
pub(super) fn brief(row: &Row) -> Value {
    let bucket = row.state.bucket();
    json!({
        "id": row.id,
        "seq": row.seq,
        "message": row.message,
        "route": &*row.subscriber,
        "state": bucket.word(),
        "stato": bucket.parola(),
        "detail": row.state,
        "since": row.changed_at,
        "attempts": row.attempts,
        "code": row.fault.as_ref().map(|fault| &fault.code),
        "step": row.fault.as_ref().and_then(|fault| fault.step.as_ref()),
        "stepsDone": row
            .done
            .iter()
            .map(|(step, done)| {
                json!({ "step": step, "operation": done.operation, "reference": done.reference })
            })
            .collect::<Vec<_>>(),
        "nextAttemptAt": row.next_at,
    })
}

fn full(row: &Row, now: snodo_core::timestamp::Timestamp) -> Value {
    let mut told = brief(row);
    told["createdAt"] = json!(row.created_at);
    told["giveUpAt"] = json!(row.give_up_at);
    told["crashes"] = json!(row.crashes);
    told["version"] = json!(row.route_digest);
    told["fault"] = json!(row.fault);
    told["callsUnclear"] = row
        .intents
        .iter()
        .map(|intent| {
            json!({
                "step": intent.step,
                "stoppedAt": intent.stopped_at,
                "settled": intent.is_settled(now),
            })
        })
        .collect();
    told["mayBe"] = json!(match row.state.bucket() {
        Bucket::Parked => &["replay", "discard"][..],
        Bucket::Uncertain => &["resolve"],
        Bucket::Open | Bucket::Completed | Bucket::Filtered | Bucket::Discarded => &[],
    });
    told
}
