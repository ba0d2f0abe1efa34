//! From a message to the deliveries that it makes: who takes it, under which ids, held by whom.
//!
//! Invariant: ids are derived, so that the same cause, route and step give the same rows each time.

use std::sync::Arc;

use serde_json::Value;
use snodo_core::{
    document::DocumentKey,
    envelope::{CARRIED, Envelope, Message},
    facts::persons_in,
    fault::Fault,
    ids::{DeliveryId, Digest, MessageId},
    route::{Emit, Emitted, Route, Routes, Taker},
    template::Scope,
    timestamp::Timestamp,
};

use super::{
    Engine, address_of,
    holds::{HEADERS, Hold},
    order::place,
    party_subscriber,
    relay::Outgoing,
};
use crate::{
    broker::Copy,
    faults::{self, CrashPoint},
    ledger::{Created, Emission, NewDelivery, Outdated, Subscriber},
};

/// A message with its deliveries, and what this process holds of them.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) emission: Emission,
    holds: Vec<Option<Hold>>,
}

impl Engine {
    /// Who is owed `message`, each with a hold where this process publishes it itself.
    pub(super) fn prepare(
        &self,
        routes: &Routes,
        message: &Arc<Message>,
        to: &[String],
        documents: &[DocumentKey],
    ) -> Prepared {
        let mut prepared = Prepared {
            emission: Emission {
                message: Arc::clone(message),
                deliveries: Vec::new(),
                documents: documents.to_vec(),
                outdates: self.outdates(routes, message),
            },
            holds: Vec::new(),
        };
        for (subscriber, route_digest) in owed(routes, &message.envelope.kind, to) {
            let id = DeliveryId::derived(message.envelope.id, &subscriber);
            let place = place(routes, &route_digest, message);
            // What is fetched is nobody's to publish.
            let fetched = routes.is_fetched(&subscriber);
            let hold = if fetched { None } else { self.hold_new(&subscriber, id, message) };
            let late = !fetched && faults::off("held-after-commit");
            let held = hold.is_some() || late;
            prepared.holds.push(hold.filter(|_| !late));
            prepared.emission.deliveries.push(NewDelivery {
                id,
                subscriber,
                route_digest,
                held,
                place,
            });
        }
        prepared
    }

    /// The answers that a message makes out of date: those about whom it names. Only a message of a type in
    /// some `refresh_on` is read for that, which its own route may never do.
    fn outdates(&self, routes: &Routes, message: &Message) -> Option<Box<Outdated>> {
        let facts = routes.refreshes(&message.envelope.kind);
        if facts.is_empty() {
            return None;
        }
        let body: Value = serde_json::from_slice(&message.data).ok()?;
        let name = |person| self.pseudonyms.person(person);
        let persons = persons_in(&body).into_iter().map(name).collect();
        Some(Box::new(Outdated { facts: facts.to_vec(), persons }))
    }

    /// A hold on round 1, unless the relay of this process has enough to do.
    fn hold_new(&self, subscriber: &str, id: DeliveryId, message: &Message) -> Option<Hold> {
        let busy = self.publish.is_congested()
            || self.depths.is_full(subscriber, &self.limits)
            || !self.targets.lets_fresh(subscriber, self.clock.uptime());
        let carried = Some(message.data.len()).filter(|bytes| *bytes <= CARRIED).unwrap_or(0);
        (!busy).then(|| self.holds.take((id, 1), carried + HEADERS))?
    }

    /// Hands the deliveries that were created, and are held, to the relay of this process.
    pub(super) fn send(&self, prepared: Prepared, created: &[Created]) {
        let Prepared { emission, holds } = prepared;
        for (delivery, hold) in emission.deliveries.into_iter().zip(holds) {
            let late = || self.hold_new(&delivery.subscriber, delivery.id, &emission.message);
            let hold = if faults::off("held-after-commit") { late() } else { hold };
            let row = created.iter().find(|row| row.id == delivery.id);
            if let (Some(hold), Some(row)) = (hold, row) {
                let message = emission.message.carried();
                let shard = self.shard(&delivery.subscriber, delivery.place.map(|place| place.key));
                self.outbox.push(first_copy(delivery, (row.seq, shard), message, hold));
            }
        }
    }

    /// Crash point: what was sent is published, the copy that gave rise to it not yet acknowledged.
    pub(super) async fn crash_once_published(&self) {
        let mut before = None;
        faults::crash_once(CrashPoint::Cp13, || self.holds.are_past(&mut before)).await;
    }

    /// What `step` emits for `cause`: messages under derived ids, with their deliveries.
    pub(super) fn emissions(
        &self,
        routes: &Routes,
        route: &Route,
        (step, emit): (&str, &Emit),
        cause: &Message,
        scope: &Scope<'_>,
    ) -> Result<Vec<Prepared>, Fault> {
        let emitted = emit.emitted(scope)?;
        if emitted.is_empty() {
            return Ok(Vec::new());
        }
        let actor = actor(route, scope)?;
        let now = self.clock.now();
        let mut prepared = Vec::with_capacity(emitted.len());
        for item in emitted {
            let mut envelope = envelope(route, cause, &actor, now, &item, step);
            if faults::off("random-id") {
                envelope.id = self.new_message_id();
            }
            let data = bytes_of(&item.data, cause.data.len())?;
            let message = Arc::new(Message { envelope, data });
            prepared.push(self.prepare(routes, &message, &item.to, &item.documents));
        }
        Ok(prepared)
    }
}

/// What a route emits is mostly about as long as what it took: `likely` bytes.
fn bytes_of(data: &Value, likely: usize) -> Result<bytes::Bytes, Fault> {
    let mut bytes = Vec::with_capacity(likely.saturating_add(128));
    match serde_json::to_writer(&mut bytes, data) {
        Ok(()) => Ok(bytes.into()),
        Err(_) => Err(super::fault::unwritable_body()),
    }
}

/// Every taker of the type, then the parties to whom it is addressed; each once.
fn owed(routes: &Routes, kind: &str, to: &[String]) -> Vec<(Subscriber, Digest)> {
    let mut owed: Vec<(Subscriber, Digest)> = Vec::new();
    let takers = routes.takers(kind).iter().map(|taker| match taker {
        Taker::Route(route) => (Subscriber::from(route.name.as_str()), route.digest),
        Taker::Party(party) => (party_subscriber(party), Digest([0; 32])),
    });
    let addressed = to.iter().map(|party| (party_subscriber(party), Digest([0; 32])));
    for (subscriber, digest) in takers.chain(addressed) {
        if !owed.iter().any(|(known, _)| *known == subscriber) {
            owed.push((subscriber, digest));
        }
    }
    owed
}

/// Who acts: what the route says of the message, or `system` for a route without a human.
pub(super) fn actor(route: &Route, scope: &Scope<'_>) -> Result<String, Fault> {
    let rendered = route.actor.as_ref().map(|actor| actor.render(scope)).transpose()?;
    Ok(match rendered {
        Some(Value::String(actor)) => actor,
        Some(Value::Number(actor)) => actor.to_string(),
        _ => "system".to_owned(),
    })
}

/// The envelope of an emitted message. What it is about stays with its body: `subject` may name a
/// person, and the emitted message goes to others.
fn envelope(
    route: &Route,
    cause: &Message,
    actor: &str,
    now: Timestamp,
    item: &Emitted,
    step: &str,
) -> Envelope {
    let from = &cause.envelope;
    let acted = route.actor.is_some();
    Envelope {
        id: MessageId::derived(from.id, &route.name, step, &item.key),
        source: format!("/routes/{}", route.name),
        kind: item.kind.clone(),
        subject: None,
        time: now,
        correlation: from.correlation.or(Some(from.id)),
        causation: Some(from.id),
        traceparent: from.traceparent.clone(),
        party: None,
        purpose: Some(route.purpose.clone()),
        case: from.case.clone(),
        actor: Some(actor.to_owned()),
        actor_location: from.actor_location.clone().filter(|_| acted),
        actor_loa: from.actor_loa.clone().filter(|_| acted),
        data_ref: None,
    }
}

fn first_copy(
    delivery: NewDelivery,
    (seq, shard): (i64, Option<u16>),
    message: Arc<Message>,
    hold: Hold,
) -> Outgoing {
    Outgoing {
        to: address_of(&delivery.subscriber),
        subscriber: delivery.subscriber,
        copy: Copy {
            delivery: delivery.id,
            seq,
            round: 1,
            route_digest: delivery.route_digest,
            alone: false,
            shard,
            message,
        },
        attempts: 0,
        give_up_at: None,
        hold,
    }
}
