//! The attributes of an envelope by their CloudEvents names, for both bindings.
//!
//! Invariant: nothing is taken over from outside but what is listed here.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Envelope, Incoming};
use crate::{admission::Rejection, timestamp::Timestamp};

/// Extensions that a sender may set.
const TAKEN: [&str; 6] = ["case", "actor", "actorlocation", "actorloa", "purpose", "traceparent"];
/// Attributes that are read on their own.
const CORE: [&str; 6] = ["specversion", "id", "source", "type", "subject", "time"];

/// Hands every attribute that is set to `put`, by the name of its header.
pub(super) fn each(envelope: &Envelope, mut put: impl FnMut(&'static str, String)) {
    put("ce-specversion", "1.0".to_owned());
    put("ce-id", envelope.id.to_string());
    put("ce-source", envelope.source.clone());
    put("ce-type", envelope.kind.clone());
    put("ce-time", envelope.time.to_string());
    let ids = [("ce-correlationid", envelope.correlation), ("ce-causationid", envelope.causation)];
    for (name, id) in ids {
        if let Some(id) = id {
            put(name, id.to_string());
        }
    }
    let texts = [
        ("ce-subject", &envelope.subject),
        ("ce-traceparent", &envelope.traceparent),
        ("ce-party", &envelope.party),
        ("ce-purpose", &envelope.purpose),
        ("ce-case", &envelope.case),
        ("ce-actor", &envelope.actor),
        ("ce-actorlocation", &envelope.actor_location),
        ("ce-actorloa", &envelope.actor_loa),
        ("ce-dataref", &envelope.data_ref),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            put(name, text.clone());
        }
    }
}

/// What a sender wrote, attribute by attribute.
#[derive(Debug, Default)]
pub(super) struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// Takes one over, if it is one that senders may set. Twice is refused, but for the trace, which
    /// may stand in two headers; a malformed one is left out, as W3C says.
    pub(super) fn set(&mut self, name: &str, value: String) -> Result<(), Rejection> {
        if name == "traceparent" {
            if is_traceparent(&value) {
                self.0.insert(name.to_owned(), value);
            }
            return Ok(());
        }
        if !CORE.contains(&name) && !TAKEN.contains(&name) {
            return Ok(());
        }
        match self.0.insert(name.to_owned(), value) {
            Some(_) => Err(Rejection::attribute(name, "attribute_twice", "each attribute once")),
            None => Ok(()),
        }
    }

    /// Whether it is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The message, if the required attributes are there.
    pub(super) fn into_incoming(mut self, data: Bytes) -> Result<Incoming, Rejection> {
        if self.required("specversion")? != "1.0" {
            return Err(Rejection::attribute("specversion", "specversion", "1.0"));
        }
        let time = self.0.remove("time").map(|text| {
            let expected = "an instant of RFC 3339, such as 2026-11-24T09:00:00Z";
            Timestamp::parse(&text).ok_or_else(|| Rejection::attribute("time", "time", expected))
        });
        Ok(Incoming {
            sender_id: self.required("id")?,
            source: self.required("source")?,
            kind: self.required("type")?,
            subject: self.0.remove("subject"),
            time: time.transpose()?,
            extensions: self.0,
            data,
        })
    }

    fn required(&mut self, name: &str) -> Result<String, Rejection> {
        let missing = || Rejection::attribute(name, "missing_attribute", "this attribute, always");
        self.0.remove(name).ok_or_else(missing)
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zeros.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts.as_slice() else { return false };
    let lengths = (version.len(), trace.len(), span.len(), flags.len());
    lengths == (2, 32, 16, 2)
        && *version != "ff"
        && parts.iter().all(|part| is_hex(part))
        && !is_zero(trace)
        && !is_zero(span)
}
