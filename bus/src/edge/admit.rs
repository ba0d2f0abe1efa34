//! What the core says of a request: a message, or why not.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use bytes::Bytes;
use snodo_core::{
    envelope::{Envelope, Message},
    ids::{Digest, MessageId},
    timestamp::Timestamp,
};

use super::problems::Refusal;

/// A message that passed admission, before the bus gave it its own id.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// The sender's own id.
    pub sender_id: String,
    /// The sender's own `source`.
    pub source: String,
    /// `type`.
    pub kind: String,
    /// `subject`.
    pub subject: Option<String>,
    /// `time`, if given.
    pub time: Option<Timestamp>,
    /// Other attributes by CloudEvents name.
    pub extensions: BTreeMap<String, String>,
    /// The body, canonical.
    pub data: Bytes,
    /// Digest of type, subject and canonical data.
    pub digest: Digest,
}

/// A message that was refused for its content.
#[derive(Debug)]
pub struct Refused {
    /// What the sender is told.
    pub refusal: Refusal,
    /// The sender's `source` and id, where they could be read.
    pub named: Option<(String, String)>,
}

/// Decides what is a message.
pub trait Admit: Send + Sync + 'static {
    /// Reads a request: binding, syntax, limits, schema.
    fn admit(&self, headers: &HeaderMap, body: Bytes) -> Result<Arrived, Refused>;
}

impl Arrived {
    /// The message under the bus's own id, as `party` sent it; its time is the accept time where the
    /// sender says none.
    pub fn into_message(self, id: MessageId, party: &str, now: Timestamp) -> Message {
        let mut extensions = self.extensions;
        let mut take = |name: &str| extensions.remove(name);
        let envelope = Envelope {
            id,
            source: self.source,
            kind: self.kind,
            subject: self.subject,
            time: self.time.unwrap_or(now),
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
        Message { envelope, data: self.data }
    }
}
