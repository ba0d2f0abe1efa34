//! What the core says of a request: a message, or why not.

use std::sync::Arc;

use axum::http::HeaderMap;
use bytes::Bytes;
use snodo_core::{
    admission::{self, Admitted, Limits, Rejection},
    envelope::{Envelope, Incoming, Message, http},
    ids::MessageId,
    schema::Schemas,
    timestamp::Timestamp,
};

/// Decides what is a message.
#[derive(Debug)]
pub struct Gate {
    /// The schemas of the house.
    pub schemas: Arc<Schemas>,
    /// How much may come at once.
    pub limits: Limits,
}

/// A message that was refused for what it is.
#[derive(Debug)]
pub struct Turned {
    /// Why.
    pub rejection: Rejection,
    /// The sender's `source` and id, where they could be read.
    pub named: Option<(String, String)>,
}

impl Gate {
    /// For messages of these types, with bodies of so many bytes at most.
    pub fn new(schemas: Arc<Schemas>, body: usize) -> Self {
        Self { schemas, limits: Limits { body, ..Limits::default() } }
    }

    /// Reads a request as an event: its binding, in structured mode its JSON.
    pub fn read(&self, headers: &HeaderMap, body: Bytes) -> Result<Incoming, Box<Turned>> {
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        http::read(pairs, body, &self.limits.json)
            .map_err(|rejection| Box::new(Turned { rejection, named: None }))
    }

    /// Whether the bus has messages of this type.
    pub fn knows(&self, kind: &str) -> bool {
        self.schemas.validator(kind).is_some()
    }

    /// Checks an event: syntax, limits, schema.
    pub fn admit(&self, incoming: Incoming) -> Result<Admitted, Box<Turned>> {
        let named = Some((incoming.source.clone(), incoming.sender_id.clone()));
        admission::admit(incoming, &self.schemas, &self.limits)
            .map_err(|rejection| Box::new(Turned { rejection, named }))
    }
}

/// The message under the bus's own id, as `party` sent it. Its time is the accept time where the sender
/// says none; properties that the envelope does not know are not taken over.
pub fn into_message(incoming: Incoming, id: MessageId, party: &str, now: Timestamp) -> Message {
    let mut extensions = incoming.extensions;
    let mut take = |name: &str| extensions.remove(name);
    let envelope = Envelope {
        id,
        source: incoming.source,
        kind: incoming.kind,
        subject: incoming.subject,
        time: incoming.time.unwrap_or(now),
        correlation: None,
        causation: None,
        traceparent: take("traceparent"),
        party: Some(party.to_owned()),
        purpose: take("purpose"),
        case: take("case"),
        actor: take("actor"),
        actor_location: take("actorlocation"),
        actor_loa: take("actorloa"),
        data_ref: take("dataref"),
    };
    Message { envelope, data: incoming.data }
}
