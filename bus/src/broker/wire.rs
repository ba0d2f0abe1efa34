//! Copies as AMQP 0-9-1 messages: CloudEvents binary mode in headers `ce-*`, custody in `snodo-*`.
//!
//! Invariant: a copy that is read is the copy that was written; of what is not a copy, nothing is guessed.

use std::sync::Arc;

use bytes::Bytes;
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::{Map, Value};
use snodo_core::{
    envelope::amqp::{self, HeaderValue, Properties},
    ids::{DeliveryId, Digest},
};
use uuid::Uuid;

use super::{Copy, Foreign, Received};

/// The properties of a copy on the way to a route's queue.
pub(super) fn to_route(copy: &Copy) -> BasicProperties {
    let Properties { message_id, content_type, headers } = amqp::encode(&copy.message.envelope);
    let mut table = table_of(headers);
    put(&mut table, "snodo-delivery", copy.delivery.0.to_string());
    table.insert("snodo-seq".into(), AMQPValue::LongLongInt(copy.seq));
    table.insert("snodo-round".into(), AMQPValue::LongLongInt(i64::from(copy.round)));
    put(&mut table, "snodo-route", hex(&copy.route_digest));
    if copy.alone {
        table.insert("snodo-alone".into(), AMQPValue::Boolean(true));
    }
    if let Some(shard) = copy.shard {
        table.insert("snodo-shard".into(), AMQPValue::LongLongInt(i64::from(shard)));
    }
    durable(message_id, content_type, table)
}

/// The properties of a copy on the way to a party: nothing of our custody.
pub(super) fn to_party(copy: &Copy) -> BasicProperties {
    let Properties { message_id, content_type, headers } = amqp::encode(&copy.message.envelope);
    durable(message_id, content_type, table_of(headers))
}

fn durable(message_id: String, content_type: &'static str, headers: FieldTable) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type(content_type.into())
        .with_message_id(message_id.into())
        .with_headers(headers)
}

fn table_of(headers: Vec<(&'static str, String)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        put(&mut table, name, value);
    }
    table
}

fn put(headers: &mut FieldTable, name: &str, value: impl Into<Vec<u8>>) {
    headers.insert(name.into(), AMQPValue::LongString(value.into().into()));
}

/// `Digest`'s own `Display` formats each byte; this is on the path of every copy.
fn hex(digest: &Digest) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    digest.0.iter().flat_map(digits).collect()
}

/// What came in from `queue`.
pub(super) fn read(queue: &str, delivery: Delivery) -> Received {
    let Delivery { redelivered, properties, data, routing_key, .. } = delivery;
    let data = Bytes::from(data);
    match properties.headers().as_ref().and_then(|headers| read_copy(headers, &data)) {
        Some(copy) => Received::Copy { copy, redelivered },
        None => Received::Unreadable(Foreign {
            queue: queue.to_owned(),
            headers: describe(&properties, &routing_key),
            body: data,
        }),
    }
}

fn read_copy(headers: &FieldTable, data: &Bytes) -> Option<Copy> {
    let alone = match headers.inner().get("snodo-alone") {
        None => false,
        Some(value) => value.as_bool()?,
    };
    let shard = match headers.inner().get("snodo-shard") {
        None => None,
        Some(_) => Some(u16::try_from(integer(headers, "snodo-shard")?).ok()?),
    };
    Some(Copy {
        delivery: DeliveryId(Uuid::try_parse(text(headers, "snodo-delivery")?).ok()?),
        seq: integer(headers, "snodo-seq")?,
        round: u32::try_from(integer(headers, "snodo-round")?).ok()?,
        route_digest: Digest::from_hex(text(headers, "snodo-route")?)?,
        alone,
        shard,
        message: Arc::new(amqp::decode(texts(headers), data.clone()).ok()?),
    })
}

/// Other clients write short strings where ours writes long ones.
fn texts(headers: &FieldTable) -> impl Iterator<Item = (&str, HeaderValue<'_>)> {
    headers.inner().iter().map(|(name, value)| (name.as_str(), bytes_of(value)))
}

fn bytes_of(value: &AMQPValue) -> HeaderValue<'_> {
    match value {
        AMQPValue::LongString(text) => HeaderValue::Text(text.as_bytes()),
        AMQPValue::ShortString(text) => HeaderValue::Text(text.as_str().as_bytes()),
        _ => HeaderValue::Other,
    }
}

fn text<'a>(headers: &'a FieldTable, name: &str) -> Option<&'a str> {
    match bytes_of(headers.inner().get(name)?) {
        HeaderValue::Text(text) => std::str::from_utf8(text).ok(),
        HeaderValue::Other => None,
    }
}

fn integer(headers: &FieldTable, name: &str) -> Option<i64> {
    match headers.inner().get(name)? {
        AMQPValue::LongLongInt(value) => Some(*value),
        AMQPValue::LongInt(value) => Some(i64::from(*value)),
        AMQPValue::LongUInt(value) => Some(i64::from(*value)),
        _ => None,
    }
}

/// What a foreign message says of itself, for the row that keeps it.
fn describe(properties: &BasicProperties, routing_key: &ShortString) -> Value {
    let mut said = Map::new();
    said.insert("routing_key".to_owned(), routing_key.as_str().into());
    let named = [
        ("message_id", properties.message_id()),
        ("correlation_id", properties.correlation_id()),
        ("content_type", properties.content_type()),
        ("type", properties.kind()),
        ("app_id", properties.app_id()),
        ("user_id", properties.user_id()),
    ];
    for (name, text) in named {
        if let Some(text) = text {
            said.insert(name.to_owned(), text.as_str().into());
        }
    }
    if let Some(headers) = properties.headers() {
        said.insert("headers".to_owned(), table(headers));
    }
    Value::Object(said)
}

fn table(table: &FieldTable) -> Value {
    table.into_iter().map(|(name, value)| (name.as_str().to_owned(), json(value))).collect()
}

fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Float(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => text.to_string().into(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::DecimalValue(value) => format!("{}e-{}", value.value, value.scale).into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(inner) => table(inner),
        AMQPValue::Void => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::LongString;
    use snodo_core::{
        envelope::{Envelope, Message},
        ids::MessageId,
        timestamp::Timestamp,
    };

    use super::*;

    fn copy() -> Copy {
        let id = MessageId::accepted(1_764_000_000_123, [7; 10]);
        let some = |text: &str| Some(text.to_owned());
        let envelope = Envelope {
            id,
            source: "/sportello".to_owned(),
            kind: "anagrafe.residence-change.requested.v1".to_owned(),
            subject: some("pratica/1"),
            time: Timestamp(1_764_000_000_456),
            correlation: Some(id),
            causation: Some(MessageId::derived(id, "a", "b", "")),
            traceparent: some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            party: some("region"),
            purpose: some("residence"),
            case: some("2026/1"),
            actor: some("system"),
            actor_location: some("Ufficio àè"),
            actor_loa: some("LOA3"),
            data_ref: some("sha256:00"),
        };
        Copy {
            delivery: DeliveryId::derived(id, "residence-change"),
            seq: i64::MAX,
            round: u32::MAX,
            route_digest: Digest::of(b"route"),
            alone: true,
            shard: Some(63),
            message: Arc::new(Message { envelope, data: Bytes::from_static(b"{\"a\":1}") }),
        }
    }

    fn delivered(properties: BasicProperties, data: &[u8]) -> Delivery {
        let mut delivery =
            Delivery::mock(1, "snodo.deliver".into(), "route.x".into(), true, data.to_vec());
        delivery.properties = properties;
        delivery
    }

    fn read_back(copy: &Copy) -> Received {
        read("route.x", delivered(to_route(copy), &copy.message.data))
    }

    #[test]
    fn a_copy_is_read_as_it_was_written() {
        let full = copy();
        let mut bare = copy();
        let envelope = &full.message.envelope;
        bare.alone = false;
        bare.shard = None;
        bare.message = Arc::new(Message {
            envelope: Envelope {
                subject: None,
                correlation: None,
                causation: None,
                traceparent: None,
                party: None,
                purpose: None,
                case: None,
                actor: None,
                actor_location: None,
                actor_loa: None,
                data_ref: None,
                ..envelope.clone()
            },
            data: Bytes::new(),
        });
        for written in [full, bare] {
            let Received::Copy { copy, redelivered } = read_back(&written) else {
                panic!("unreadable")
            };
            assert_eq!(copy, written);
            assert!(redelivered);
        }
    }

    #[test]
    fn a_copy_is_durable_and_carries_the_id_of_its_message() {
        let properties = to_route(&copy());
        assert_eq!(*properties.delivery_mode(), Some(2));
        let id = copy().message.envelope.id.to_string();
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some(id.as_str()));
    }

    #[test]
    fn a_party_sees_nothing_of_our_custody() {
        let properties = to_party(&copy());
        let headers = properties.headers().as_ref().expect("headers");
        assert!(headers.contains_key("ce-type"));
        assert!(headers.inner().keys().all(|name| !name.as_str().starts_with("snodo-")));
    }

    #[test]
    fn a_copy_that_lacks_or_garbles_any_header_of_custody_is_not_a_copy() {
        let damages: [(&str, Option<AMQPValue>); 9] = [
            ("snodo-delivery", None),
            ("snodo-seq", Some(AMQPValue::LongString("7".into()))),
            ("snodo-round", Some(AMQPValue::LongLongInt(-1))),
            ("snodo-route", Some(AMQPValue::LongString("zz".into()))),
            ("snodo-alone", Some(AMQPValue::LongString("yes".into()))),
            ("snodo-shard", Some(AMQPValue::LongLongInt(-1))),
            ("ce-id", Some(AMQPValue::LongString("1".into()))),
            ("ce-correlationid", Some(AMQPValue::LongString("?".into()))),
            ("ce-source", Some(AMQPValue::LongString(LongString::from(vec![0xff])))),
        ];
        for (name, damage) in damages {
            let written = to_route(&copy());
            let mut inner = written.headers().clone().expect("headers").inner().clone();
            inner.remove(name);
            if let Some(damage) = damage {
                inner.insert(name.into(), damage);
            }
            let damaged = written.with_headers(FieldTable::from(inner));
            let Received::Unreadable(foreign) = read("route.x", delivered(damaged, b"{}")) else {
                panic!("`{name}` was read");
            };
            assert_eq!(foreign.queue, "route.x");
            assert_eq!(foreign.headers["headers"]["ce-type"], copy().message.envelope.kind);
        }
    }

    #[test]
    fn headers_of_other_clients_may_be_short_strings() {
        let written = to_route(&copy());
        let mut inner = written.headers().clone().expect("headers").inner().clone();
        inner.insert("ce-source".into(), AMQPValue::ShortString("/theirs".into()));
        let altered = written.with_headers(FieldTable::from(inner));
        let Received::Copy { copy, .. } = read("q", delivered(altered, b"{}")) else {
            panic!("unreadable")
        };
        assert_eq!(copy.message.envelope.source, "/theirs");
    }

    #[test]
    fn a_foreign_message_is_kept_as_it_is() {
        let headers = FieldTable::default();
        let properties = BasicProperties::default()
            .with_message_id("theirs".into())
            .with_headers(headers.clone());
        let Received::Unreadable(foreign) = read("route.x", delivered(properties, b"\xff\x00"))
        else {
            panic!("read")
        };
        assert_eq!(&foreign.body[..], b"\xff\x00");
        insta::assert_snapshot!(
            foreign.headers.to_string(),
            @r#"{"headers":{},"message_id":"theirs","routing_key":"route.x"}"#
        );
    }
}
