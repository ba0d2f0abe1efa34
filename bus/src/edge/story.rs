//! What became of a message, as its sender or its receiver may read it.
//!
//! Invariant: no data and no subject, no input and no result of a step, no name of a person; a receiver
//! sees its own delivery and nobody else's; who is neither sees nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};
use snodo_core::{
    ids::{DeliveryId, MessageId},
    message_state::{Bucket, DeliveryState, message_state},
    route::Routes,
    timestamp::Timestamp,
};

use super::auth::Caller;
use crate::ledger::{Event, Ledger, ReadError, Row, Story};

/// Derived messages shown under one message.
const MOST: usize = 100;
/// Deliveries of which more than the present state is told.
const TRACED: usize = 100;

/// What the ledger has kept of each delivery.
type Kept = BTreeMap<DeliveryId, Vec<Event>>;

/// The story of a message, or none where there is none for this caller.
pub(super) async fn tell(
    ledger: &dyn Ledger,
    routes: &Routes,
    caller: &Caller,
    id: MessageId,
) -> Result<Option<Value>, ReadError> {
    let Some(story) = ledger.story(id).await? else { return Ok(None) };
    let sent = is_sender(&story, caller);
    let may_see = |row: &&Row| sent || row.subscriber == caller.subscriber;
    let seen: Vec<&Row> = story.deliveries.iter().filter(may_see).collect();
    if seen.is_empty() && !sent {
        return Ok(None);
    }
    let kept = kept(ledger, &seen).await?;
    let mut told = head(&story, &seen);
    told["deliveries"] = seen.iter().map(|row| delivery(row, routes)).collect();
    told["timeline"] = timeline(&story, &seen, &kept);
    if let Some(key) = story.key.as_ref().filter(|_| sent) {
        let (derived, left_out) = derived(ledger, &story).await?;
        told["source"] = json!(key.source);
        told["senderId"] = json!(key.sender_id);
        told["derived"] = derived.iter().map(of_derived).collect();
        told["derivedLeftOut"] = json!(left_out);
    }
    Ok(Some(told))
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

/// The events of these deliveries: how each ended, and what people did to it.
async fn kept(ledger: &dyn Ledger, seen: &[&Row]) -> Result<Kept, ReadError> {
    let mut kept = Kept::new();
    for row in seen.iter().take(TRACED) {
        kept.insert(row.id, ledger.events_of(&row.id.to_string()).await?);
    }
    Ok(kept)
}

/// The messages that came of `story`, nearest first, and whether there are more.
async fn derived(ledger: &dyn Ledger, story: &Story) -> Result<(Vec<Story>, bool), ReadError> {
    let mut open: VecDeque<MessageId> = story.derived.iter().copied().collect();
    let mut seen = BTreeSet::from([story.envelope.id]);
    let mut found = Vec::new();
    while let Some(id) = open.pop_front() {
        if !seen.insert(id) {
            continue;
        }
        if found.len() == MOST {
            return Ok((found, true));
        }
        if let Some(next) = ledger.story(id).await? {
            open.extend(&next.derived);
            found.push(next);
        }
    }
    Ok((found, false))
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

fn delivery(row: &Row, routes: &Routes) -> Value {
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
    }
    if !state.is_final() {
        told["whoMustAct"] = json!(who_acts(row, routes));
    }
    if let Some(at) = row.next_at {
        told["nextAttemptAt"] = json!(at);
    }
    told
}

/// Who has to do something, so that a delivery comes to its end.
fn who_acts(row: &Row, routes: &Routes) -> &'static str {
    let is_in_inbox = row.state == DeliveryState::Queued && routes.is_fetched(&row.subscriber);
    match row.state.bucket() {
        Bucket::Parked | Bucket::Uncertain => "operator",
        Bucket::Open if is_in_inbox => "receiver",
        Bucket::Open => "bus",
        Bucket::Completed | Bucket::Filtered | Bucket::Discarded => "nobody",
    }
}

/// What happened, in its order: taken, each step that was done, what people did, how each delivery ended,
/// and since when, and why, those that have not ended are as they are.
fn timeline(story: &Story, deliveries: &[&Row], kept: &Kept) -> Value {
    let mut points: Vec<(Timestamp, Value)> = Vec::new();
    for row in deliveries {
        let steps = row.done.iter().zip(&row.done_at);
        points.extend(steps.map(|((step, _), at)| {
            (*at, json!({ "at": at, "what": "step", "step": step, "to": &*row.subscriber }))
        }));
        let events = kept.get(&row.id).map(Vec::as_slice).unwrap_or_default();
        points.extend(events.iter().filter_map(|event| Some((event.at, of_event(event, row)?))));
        points.extend(as_it_is(row).map(|point| (row.changed_at, point)));
    }
    // Stable: what happened at once stays in the order in which it was done.
    points.sort_by_key(|(at, _)| *at);
    let first = json!({ "at": story.accepted_at, "what": "accepted" });
    std::iter::once(first).chain(points.into_iter().map(|(_, point)| point)).collect()
}

/// An end, or an act of a person; never who, never why: both may name somebody.
fn of_event(event: &Event, row: &Row) -> Option<Value> {
    let what = match event.kind.as_str() {
        "final" => event.reason.as_str(),
        "replay" => "replayed",
        "resolve" => "resolved",
        _ => return None,
    };
    Some(json!({ "at": event.at, "what": what, "to": &*row.subscriber }))
}

/// A delivery that waits for its time or for a person.
fn as_it_is(row: &Row) -> Option<Value> {
    let what = match row.state {
        DeliveryState::Waiting => "retry",
        DeliveryState::Behind => "behind",
        DeliveryState::Parked | DeliveryState::Uncertain => row.state.bucket().word(),
        _ => return None,
    };
    let mut point = json!({ "at": row.changed_at, "what": what, "to": &*row.subscriber });
    if let Some(fault) = &row.fault {
        point["code"] = json!(fault.code);
        if let Some(step) = &fault.step {
            point["step"] = json!(step);
        }
    }
    if let Some(at) = row.next_at {
        point["nextAttemptAt"] = json!(at);
    }
    Some(point)
}
