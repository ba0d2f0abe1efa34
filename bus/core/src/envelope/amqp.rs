//! The AMQP 0-9-1 binding: CloudEvents binary mode with headers `ce-*`, and W3C `traceparent`.
//!
//! Invariant: what `encode` writes, `decode` reads back to the same envelope. Nothing here knows a client
//! library; short and long strings both arrive as `HeaderValue::Text`.

use bytes::Bytes;
use uuid::Uuid;

use super::{Envelope, Incoming, Message, attributes};
use crate::{
    admission::Rejection,
    fault::{Fault, FaultClass},
    ids::MessageId,
    timestamp::Timestamp,
};

/// The content type of every body.
pub const CONTENT_TYPE: &str = "application/json";
const TRACEPARENT: &str = "traceparent";

/// What goes beside a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The bus's id of the message.
    pub message_id: String,
    /// Always `application/json`.
    pub content_type: &'static str,
    /// `ce-*` and `traceparent`, as long strings.
    pub headers: Vec<(&'static str, String)>,
}

/// A header as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// A short or a long string.
    Text(&'a [u8]),
    /// Anything else.
    Other,
}

/// The properties of a message.
pub fn encode(envelope: &Envelope) -> Properties {
    let mut headers = Vec::with_capacity(16);
    attributes::each(envelope, |name, value| headers.push((header_name(name), value)));
    Properties { message_id: envelope.id.to_string(), content_type: CONTENT_TYPE, headers }
}

/// W3C trace context has a name of its own on AMQP.
fn header_name(name: &'static str) -> &'static str {
    if name == "ce-traceparent" { TRACEPARENT } else { name }
}

fn attribute_name(name: &str) -> Option<&str> {
    if name == TRACEPARENT { Some(name) } else { name.strip_prefix("ce-") }
}

/// Reads a message that the bus published. Unknown headers are ignored. The fault is poison.
pub fn decode<'a>(
    headers: impl IntoIterator<Item = (&'a str, HeaderValue<'a>)>,
    data: Bytes,
) -> Result<Message, Fault> {
    let mut read = Read::default();
    for (name, value) in headers {
        if let (Some(name), HeaderValue::Text(text)) = (attribute_name(name), value) {
            read.take(name, text).ok_or_else(|| malformed(name))?;
        }
    }
    Ok(Message { envelope: read.envelope()?, data })
}

/// Reads what a party put into its own vhost. Its properties are not copied; `message_id` stands for
/// a missing `ce-id`.
pub fn incoming<'a>(
    headers: impl IntoIterator<Item = (&'a str, HeaderValue<'a>)>,
    message_id: Option<&str>,
    data: Bytes,
) -> Result<Incoming, Rejection> {
    let mut taken = attributes::Attributes::default();
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("cc") || name.eq_ignore_ascii_case("bcc") {
            return Err(Rejection::routing_headers());
        }
        if let (Some(name), HeaderValue::Text(text)) = (attribute_name(name), value) {
            let text = std::str::from_utf8(text)
                .map_err(|_| Rejection::attribute(known(name), "not_utf8", "UTF-8"))?;
            taken.set(name, text.to_owned())?;
        }
    }
    if let Some(id) = message_id.filter(|_| !taken.has("id")) {
        taken.set("id", id.to_owned())?;
    }
    taken.into_incoming(data)
}

/// The name of an attribute, unless it is the sender's own invention.
fn known(name: &str) -> &str {
    if name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase()) {
        name
    } else {
        "ce-*"
    }
}

#[derive(Default)]
struct Read {
    id: Option<MessageId>,
    source: Option<String>,
    kind: Option<String>,
    time: Option<Timestamp>,
    correlation: Option<MessageId>,
    causation: Option<MessageId>,
    subject: Option<String>,
    traceparent: Option<String>,
    party: Option<String>,
    purpose: Option<String>,
    case: Option<String>,
    actor: Option<String>,
    actor_location: Option<String>,
    actor_loa: Option<String>,
    data_ref: Option<String>,
}

impl Read {
    /// `None` where the value is malformed.
    fn take(&mut self, name: &str, text: &[u8]) -> Option<()> {
        let text = std::str::from_utf8(text).ok()?;
        let slot = match name {
            "id" => return read_id(&mut self.id, text),
            "correlationid" => return read_id(&mut self.correlation, text),
            "causationid" => return read_id(&mut self.causation, text),
            "time" => {
                self.time = Some(Timestamp::parse(text)?);
                return Some(());
            }
            "source" => &mut self.source,
            "type" => &mut self.kind,
            "subject" => &mut self.subject,
            "traceparent" => &mut self.traceparent,
            "party" => &mut self.party,
            "purpose" => &mut self.purpose,
            "case" => &mut self.case,
            "actor" => &mut self.actor,
            "actorlocation" => &mut self.actor_location,
            "actorloa" => &mut self.actor_loa,
            "dataref" => &mut self.data_ref,
            _ => return Some(()),
        };
        *slot = Some(text.to_owned());
        Some(())
    }

    fn envelope(self) -> Result<Envelope, Fault> {
        Ok(Envelope {
            id: self.id.ok_or_else(|| malformed("id"))?,
            source: self.source.ok_or_else(|| malformed("source"))?,
            kind: self.kind.ok_or_else(|| malformed("type"))?,
            time: self.time.ok_or_else(|| malformed("time"))?,
            subject: self.subject,
            correlation: self.correlation,
            causation: self.causation,
            traceparent: self.traceparent,
            party: self.party,
            purpose: self.purpose,
            case: self.case,
            actor: self.actor,
            actor_location: self.actor_location,
            actor_loa: self.actor_loa,
            data_ref: self.data_ref,
        })
    }
}

fn read_id(slot: &mut Option<MessageId>, text: &str) -> Option<()> {
    *slot = Some(MessageId(Uuid::try_parse(text).ok()?));
    Some(())
}

fn malformed(name: &str) -> Fault {
    let text = format!("the header `ce-{}` is missing or malformed", known(name));
    Fault::new(FaultClass::Poison, "SN0710", text)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = MessageId> {
        any::<u128>().prop_map(|bits| MessageId(Uuid::from_u128(bits)))
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        prop::option::of("[^\0]{0,20}")
    }

    pub(crate) fn any_envelope() -> impl Strategy<Value = Envelope> {
        let names = (id(), ".{1,20}", ".{1,20}", 0..4_000_000_000_000_i64);
        let ids = (prop::option::of(id()), prop::option::of(id()));
        let texts = prop::collection::vec(text(), 9);
        (names, ids, texts).prop_map(|((id, source, kind, time), ids, texts)| {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().flatten();
            Envelope {
                id,
                source,
                kind,
                time: Timestamp(time),
                correlation: ids.0,
                causation: ids.1,
                subject: next(),
                traceparent: next(),
                party: next(),
                purpose: next(),
                case: next(),
                actor: next(),
                actor_location: next(),
                actor_loa: next(),
                data_ref: next(),
            }
        })
    }

    fn arrived<'a>(
        properties: &'a Properties,
        more: &[(&'a str, HeaderValue<'a>)],
    ) -> Vec<(&'a str, HeaderValue<'a>)> {
        let own = properties.headers.iter();
        let own = own.map(|(name, value)| (*name, HeaderValue::Text(value.as_bytes())));
        own.chain(more.iter().copied()).collect()
    }

    proptest! {
        #[test]
        fn an_envelope_survives_amqp(envelope in any_envelope()) {
            let properties = encode(&envelope);
            prop_assert_eq!(&properties.message_id, &envelope.id.to_string());
            let more = [("ce-unheard-of", HeaderValue::Text(b"x")), ("x-death", HeaderValue::Other)];
            let data = Bytes::from_static(b"{}");
            let message = decode(arrived(&properties, &more), data.clone()).expect("own");
            prop_assert_eq!(message, Message { envelope, data });
        }
    }

    #[test]
    fn a_missing_or_broken_header_is_poison() {
        let good = [
            ("ce-id", "018f2d3e-0000-7000-8000-000000000001"),
            ("ce-source", "s"),
            ("ce-type", "a.b.v1"),
            ("ce-time", "2026-11-24T09:00:00Z"),
        ];
        let read = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(n, v)| (*n, HeaderValue::Text(v.as_bytes())));
            decode(headers, Bytes::new())
        };
        assert!(read(&good).is_ok());
        for index in 0..good.len() {
            let mut headers = good.to_vec();
            headers.remove(index);
            let fault = read(&headers).expect_err("missing");
            assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Poison, "SN0710"));
        }
        assert!(read(&[good.as_slice(), &[("ce-causationid", "x")]].concat()).is_err());
    }

    #[test]
    fn a_party_sets_only_what_it_may() {
        let text = |text: &'static str| HeaderValue::Text(text.as_bytes());
        let headers = vec![
            ("ce-specversion", text("1.0")),
            ("ce-source", text("urn:x")),
            ("ce-type", text("a.b.v1")),
            ("ce-case", text("2026/1")),
            ("ce-party", text("somebody-else")),
            ("ce-dataref", text("file:///etc/passwd")),
            ("x-death", HeaderValue::Other),
        ];
        let taken = incoming(headers.clone(), Some("A-1"), Bytes::new()).expect("in order");
        assert_eq!(taken.sender_id, "A-1");
        assert_eq!(
            taken.extensions.into_iter().collect::<Vec<_>>(),
            [("case".into(), "2026/1".into())]
        );
        let no = incoming(headers.clone(), None, Bytes::new()).expect_err("no id");
        assert_eq!((no.code, no.reason), ("SN0603", "missing_attribute"));
        let routed = [headers, vec![("CC", HeaderValue::Other)]].concat();
        assert_eq!(incoming(routed, Some("A"), Bytes::new()).expect_err("routed").code, "SN0620");
    }
}
