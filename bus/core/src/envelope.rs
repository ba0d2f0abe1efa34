//! The envelope of a message: CloudEvents 1.0 attributes and Snodo's extensions.
//!
//! Invariant: an envelope holds no body and no personal data but `subject`, `actor` and `purpose` ids.
//! The bindings are pure: `amqp` (binary mode, headers `ce-*`) and `http` (structured and binary mode).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{Digest, MessageId},
    timestamp::Timestamp,
};

pub mod amqp;
mod attributes;
pub mod http;

/// The attributes of one message. Field names follow CloudEvents; `kind` is its `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The bus's own id.
    pub id: MessageId,
    /// Who brought it: the sender's own `source`, or `/routes/<route>` for an emitted message.
    pub source: String,
    /// `<domain>.<name>.v<N>`, also the path of its schema.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the message is about; never used for routing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, as the sender says; the accept time where it does not.
    pub time: Timestamp,
    /// `correlationid`: the id of the root message.
    #[serde(default, rename = "correlationid", skip_serializing_if = "Option::is_none")]
    pub correlation: Option<MessageId>,
    /// `causationid`: the id of the message that a route answered with this one.
    #[serde(default, rename = "causationid", skip_serializing_if = "Option::is_none")]
    pub causation: Option<MessageId>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The external body that sent it; none for an emitted message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<String>,
    /// The purpose under which the data travel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The pratica it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Who acted: a person's id at the sender, or `system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Where the actor worked (AUDIT pattern).
    #[serde(default, rename = "actorlocation", skip_serializing_if = "Option::is_none")]
    pub actor_location: Option<String>,
    /// The actor's level of assurance (AUDIT pattern).
    #[serde(default, rename = "actorloa", skip_serializing_if = "Option::is_none")]
    pub actor_loa: Option<String>,
    /// Claim check: where a body over 256 KiB is kept.
    #[serde(default, rename = "dataref", skip_serializing_if = "Option::is_none")]
    pub data_ref: Option<String>,
}

/// A message: its envelope and its body, canonical JSON bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The attributes.
    pub envelope: Envelope,
    /// The body: JSON whose numbers are canonical and whose keys are unique.
    pub data: Bytes,
}

/// The largest body that the broker carries, bytes. A larger one stays in the ledger.
pub const CARRIED: usize = 256 << 10;

impl Message {
    /// As the broker carries it: with its body, or with `dataref` in place of a large one.
    pub fn carried(self: &Arc<Self>) -> Arc<Self> {
        if self.data.len() <= CARRIED {
            Arc::clone(self)
        } else {
            Arc::new(Self::claim(self.envelope.clone()))
        }
    }

    /// A message whose body is to be read from the ledger.
    pub fn claim(mut envelope: Envelope) -> Self {
        envelope.data_ref = Some(format!("/v1/messages/{}/data", envelope.id));
        Self { envelope, data: Bytes::new() }
    }

    /// Whether the body is to be read from the ledger.
    pub fn is_claim(&self) -> bool {
        self.data.is_empty() && self.envelope.data_ref.is_some()
    }
}

/// What a sender wrote, before the bus gave it its own id. See `admission`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The sender's own id: with party and source the idempotency key.
    pub sender_id: String,
    /// The sender's own `source`.
    pub source: String,
    /// `type`.
    pub kind: String,
    /// `subject`.
    pub subject: Option<String>,
    /// `time`, if given.
    pub time: Option<Timestamp>,
    /// Other attributes, by CloudEvents name, that the bus takes over (`case`, `actor`, …).
    pub extensions: BTreeMap<String, String>,
    /// The body as received.
    pub data: Bytes,
}

/// What names a message in its sender's world: (party, source, the sender's id).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey {
    /// The party.
    pub party: String,
    /// Its `source`.
    pub source: String,
    /// Its id.
    pub sender_id: String,
}

/// "The same body": SHA-256 over type, subject and RFC 8785 data, so `time` and trace may differ.
pub fn content_digest(kind: &str, subject: Option<&str>, canonical_data: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(kind.len() + canonical_data.len() + 64);
    for part in [kind.as_bytes(), subject.unwrap_or_default().as_bytes(), canonical_data] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    Digest::of(&bytes)
}
