//! What became of a message, as its sender or its receiver may read it.
//!
//! Invariant: no data and no subject; a receiver sees its own delivery and nobody else's; who is
//! neither sees nothing.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value, json};
use snodo_core::{
    ids::MessageId,
    message_state::{Bucket, message_state},
};

use super::auth::Caller;
use crate::ledger::{Ledger, ReadError, Row, Story};

/// Derived messages shown under one message.
const MOST: usize = 100;

/// The story of a message, or none where there is none for this caller.
pub(super) async fn tell(
    ledger: &dyn Ledger,
    caller: &Caller,
    id: MessageId,
) -> Result<Option<Value>, ReadError> {
    let Some(story) = ledger.story(id).await? else { return Ok(None) };
    let received: Vec<&Row> =
        story.deliveries.iter().filter(|row| row.subscriber == caller.subscriber).collect();
    if is_sender(&story, caller) {
        let derived = derived(ledger, &story).await?;
        let mut told = of_sender(&story);
        told["derived"] = derived.iter().map(of_derived).collect();
        return Ok(Some(told));
    }
    Ok((!received.is_empty()).then(|| of_receiver(&story, &received)))
}

/// Whether the caller sent the message or is owed it.
pub(super) async fn concerns(
    ledger: &dyn Ledger,
    caller: &Caller,
    id: MessageId,
) -> Result<bool, ReadError> {
    Ok(ledger
        .story(id)
        .await?
        .is_some_and(|story| is_sender(&story, caller) || is_receiver(&story, caller)))
}

fn is_sender(story: &Story, caller: &Caller) -> bool {
    story.key.as_ref().is_some_and(|key| *key.party == *caller.id)
}

fn is_receiver(story: &Story, caller: &Caller) -> bool {
    story.deliveries.iter().any(|row| row.subscriber == caller.subscriber)
}

/// The messages that came of `story`, nearest first.
async fn derived(ledger: &dyn Ledger, story: &Story) -> Result<Vec<Story>, ReadError> {
    let mut open: VecDeque<MessageId> = story.derived.iter().copied().collect();
    let mut seen = BTreeSet::from([story.envelope.id]);
    let mut found = Vec::new();
    while let Some(id) = open.pop_front() {
        if found.len() == MOST || !seen.insert(id) {
            continue;
        }
        if let Some(next) = ledger.story(id).await? {
            open.extend(&next.derived);
            found.push(next);
        }
    }
    Ok(found)
}

fn of_sender(story: &Story) -> Value {
    let deliveries: Vec<&Row> = story.deliveries.iter().collect();
    let mut told = head(story, &deliveries);
    if let Some(key) = &story.key {
        told["source"] = json!(key.source);
        told["senderId"] = json!(key.sender_id);
    }
    told["deliveries"] = deliveries.iter().map(|row| delivery(row)).collect();
    told["timeline"] = timeline(story, &deliveries);
    told
}

fn of_receiver(story: &Story, received: &[&Row]) -> Value {
    let mut told = head(story, received);
    told["deliveries"] = received.iter().map(|row| delivery(row)).collect();
    told["timeline"] = timeline(story, received);
    told
}

fn of_derived(story: &Story) -> Value {
    let deliveries: Vec<&Row> = story.deliveries.iter().collect();
    let mut told = head(story, &deliveries);
    told["cause"] = json!(story.envelope.causation);
    told
}

fn head(story: &Story, deliveries: &[&Row]) -> Value {
    let state = message_state(deliveries.iter().map(|row| row.state));
    json!({
        "id": story.envelope.id,
        "type": story.envelope.kind,
        "acceptedAt": story.accepted_at,
        "state": state.word(),
        "stato": state.parola(),
        "final": state.is_final(),
    })
}

fn delivery(row: &Row) -> Value {
    let state = row.state.bucket();
    let mut told = json!({
        "id": row.id,
        "to": &*row.subscriber,
        "state": state.word(),
        "stato": state.parola(),
        "since": row.changed_at,
        "attempts": row.attempts,
        "stepsDone": row.done.iter().map(|(step, _)| step).collect::<Vec<_>>(),
    });
    if let Some(fault) = row.fault.as_ref().filter(|_| !state.is_final()) {
        told["problem"] =
            json!({ "code": fault.code, "type": format!("/problems/{}", fault.code) });
        told["whoMustAct"] = json!(who_acts(state));
    }
    if let Some(at) = row.next_at {
        told["nextAttemptAt"] = json!(at);
    }
    told
}

fn who_acts(state: Bucket) -> &'static str {
    match state {
        Bucket::Parked | Bucket::Uncertain => "operator",
        Bucket::Open | Bucket::Completed | Bucket::Filtered | Bucket::Discarded => "nobody",
    }
}

fn timeline(story: &Story, deliveries: &[&Row]) -> Value {
    let mut points = vec![json!({ "at": story.accepted_at, "what": "accepted" })];
    let mut rows = deliveries.to_vec();
    rows.sort_by_key(|row| (row.changed_at, row.seq));
    points.extend(rows.iter().filter(|row| row.changed_at > row.created_at).map(|row| {
        json!({ "at": row.changed_at, "what": row.state.bucket().word(), "to": &*row.subscriber })
    }));
    Value::Array(points)
}
