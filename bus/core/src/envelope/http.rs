//! The HTTP binding: CloudEvents structured and binary mode.
//!
//! Invariant: what is read is one event; its attributes are checked in `admission`, its data there again.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Envelope, Incoming, Message, attributes};
use crate::{
    admission::Rejection,
    json::{self, JsonLimits},
};

/// The content type of structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";

enum Mode {
    Structured,
    Binary,
}

/// Reads one event. Names of headers are in lower case, as every HTTP library gives them.
pub fn read<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    body: Bytes,
    limits: &JsonLimits,
) -> Result<Incoming, Rejection> {
    let (mut content_types, mut trace) = (Vec::new(), None);
    let mut taken = attributes::Attributes::default();
    for (name, value) in headers {
        match name {
            "content-type" => content_types.push(value),
            "traceparent" => trace = header(value).ok(),
            "content-encoding" if !value.eq_ignore_ascii_case(b"identity") => {
                return Err(Rejection::media_type("content_encoding"));
            }
            _ => {
                if let Some(name) = name.strip_prefix("ce-") {
                    taken.set(name, header(value)?)?;
                }
            }
        }
    }
    let (mut taken, data) = match mode(&content_types)? {
        Mode::Binary => (taken, body),
        Mode::Structured => structured(&body, limits)?,
    };
    if let Some(trace) = trace.filter(|_| !taken.has("traceparent")) {
        taken.set("traceparent", trace)?;
    }
    taken.into_incoming(data)
}

/// Whether a request says that its body is one JSON document, and not compressed.
pub(crate) fn expect_json<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), Rejection> {
    let mut content_types = Vec::new();
    for (name, value) in headers {
        match name {
            "content-type" => content_types.push(value),
            "content-encoding" if !value.eq_ignore_ascii_case(b"identity") => {
                return Err(Rejection::media_type("content_encoding"));
            }
            _ => {}
        }
    }
    mode(&content_types).map(drop)
}

/// One event in structured mode, with attributes beside those of its envelope.
pub fn write_structured(message: &Message, beside: &[(&str, String)]) -> Vec<u8> {
    let mut event = Map::new();
    attributes::each(&message.envelope, |name, value| {
        event.insert(name.trim_start_matches("ce-").to_owned(), Value::String(value));
    });
    event.insert("datacontenttype".to_owned(), "application/json".into());
    for (name, value) in beside {
        event.insert((*name).to_owned(), Value::String(value.clone()));
    }
    let mut text = json::canonical(&Value::Object(event));
    text.pop();
    text.extend_from_slice(b",\"data\":");
    text.extend_from_slice(&message.data);
    text.push(b'}');
    text
}

/// The headers of an event in binary mode.
pub fn headers(envelope: &Envelope) -> Vec<(&'static str, String)> {
    let mut headers = Vec::with_capacity(16);
    attributes::each(envelope, |name, value| headers.push((name, encoded(&value))));
    headers
}

fn mode(content_types: &[&[u8]]) -> Result<Mode, Rejection> {
    let [content_type] = content_types else {
        let reason = if content_types.is_empty() { "missing" } else { "twice" };
        return Err(Rejection::media_type(reason));
    };
    let text = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !parts.all(is_harmless) {
        return Err(Rejection::media_type("charset"));
    }
    match essence {
        STRUCTURED => Ok(Mode::Structured),
        "application/cloudevents-batch+json" => Err(Rejection::batch()),
        _ if is_json(essence) => Ok(Mode::Binary),
        _ => Err(Rejection::media_type("media_type")),
    }
}

/// A parameter that does not change how the bytes are read.
fn is_harmless(parameter: &str) -> bool {
    let charset = parameter.strip_prefix("charset=").map(|charset| charset.trim_matches('"'));
    charset.is_none_or(|charset| matches!(charset, "utf-8" | "utf8" | "us-ascii"))
}

fn is_json(essence: &str) -> bool {
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn structured(
    body: &[u8],
    limits: &JsonLimits,
) -> Result<(attributes::Attributes, Bytes), Rejection> {
    let event = json::parse(body, limits).map_err(|error| Rejection::unread(&error, None))?;
    let Value::Object(mut event) = event else {
        return Err(match event {
            Value::Array(_) => Rejection::batch(),
            _ => Rejection::attribute("specversion", "not_an_event", "an object: the event"),
        });
    };
    if event.contains_key("data_base64") {
        return Err(Rejection::binary_data());
    }
    let data = json::canonical(&event.remove("data").unwrap_or(Value::Null));
    let mut taken = attributes::Attributes::default();
    for (name, value) in event {
        match (name.as_str(), value) {
            ("datacontenttype", value) if !value.as_str().is_some_and(is_json) => {
                return Err(Rejection::media_type("datacontenttype"));
            }
            (name, Value::String(text)) => taken.set(name, text)?,
            _ => {}
        }
    }
    Ok((taken, data.into()))
}

/// Undoes the percent encoding of CloudEvents' HTTP binding.
fn header(value: &[u8]) -> Result<String, Rejection> {
    let refused = || {
        let expected = "printable ASCII; other characters as %XX of their UTF-8";
        Rejection::attribute("ce-*", "header_encoding", expected)
    };
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => {
                let (pair, after) = rest.split_at_checked(2).ok_or_else(refused)?;
                bytes.push(hex_pair(pair).ok_or_else(refused)?);
                rest = after;
            }
            0x20..=0x7E => bytes.push(*byte),
            _ => return Err(refused()),
        }
    }
    String::from_utf8(bytes).map_err(|_| refused())
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b'"' | b' ' | 0..0x20 | 0x7F.. => {
                out.push('%');
                out.extend([byte >> 4, byte & 15].map(|digit| {
                    char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase()
                }));
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::amqp::tests::any_envelope, *};

    const EVENT: &str = r#"{"specversion":"1.0","id":"A-1","source":"urn:x","type":"a.b.v1",
        "subject":"s","time":"2026-11-24T09:00:00Z","case":"2026/1","party":"other","n":5,
        "datacontenttype":"application/json","data":{"b":1.0,"a":[]}}"#;

    fn outcome(
        content_type: Option<&str>,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, &'static str) {
        let content_type = content_type.map(|text| ("content-type", text));
        let all = content_type.into_iter().chain(headers.iter().copied());
        let all = all.map(|(name, value)| (name, value.as_bytes()));
        match read(all, Bytes::copy_from_slice(body.as_bytes()), &JsonLimits::default()) {
            Ok(_) => (202, "ok"),
            Err(no) => (no.http_status, no.reason),
        }
    }

    const CE: [(&str, &str); 4] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "A-1"),
        ("ce-source", "urn:x"),
        ("ce-type", "a.b.v1"),
    ];

    #[test]
    fn content_types_are_taken_or_refused_as_the_security_list_says() {
        let table = [
            (None, (415, "missing")),
            (Some("text/plain"), (415, "media_type")),
            (Some("application/json; charset=utf-7"), (415, "charset")),
            (Some("application/json; charset=\"UTF-8\""), (202, "ok")),
            (Some("Application/JSON"), (202, "ok")),
            (Some("application/problem+json"), (202, "ok")),
            (Some("application/xml"), (415, "media_type")),
            (Some("application/cloudevents-batch+json"), (415, "batch")),
            (Some(""), (415, "media_type")),
        ];
        for (content_type, expected) in table {
            assert_eq!(outcome(content_type, &CE, "{}"), expected, "{content_type:?}");
        }
        let json = Some("application/json");
        let with = |name, value| [CE.as_slice(), &[(name, value)]].concat();
        assert_eq!(outcome(json, &with("content-type", "application/json"), ""), (415, "twice"));
        assert_eq!(outcome(json, &with("content-encoding", "br"), ""), (415, "content_encoding"));
        assert_eq!(outcome(json, &with("ce-id", "B"), ""), (400, "attribute_twice"));
        assert_eq!(outcome(json, &with("ce-subject", "%zz"), ""), (400, "header_encoding"));
        assert_eq!(outcome(json, &with("ce-subject", "%ff"), ""), (400, "header_encoding"));
        assert_eq!(outcome(json, &with("ce-time", "noon"), ""), (400, "time"));
        for index in 0..CE.len() {
            let mut headers = CE.to_vec();
            headers.remove(index);
            assert_eq!(outcome(json, &headers, "{}"), (400, "missing_attribute"));
        }
    }

    #[test]
    fn a_structured_event_is_read_without_what_senders_may_not_set() {
        let headers = [("content-type", STRUCTURED.as_bytes()), ("ce-id", b"ignored")];
        let taken = read(headers, Bytes::from(EVENT), &JsonLimits::default()).expect("an event");
        assert_eq!((taken.sender_id.as_str(), taken.kind.as_str()), ("A-1", "a.b.v1"));
        assert_eq!(taken.data, r#"{"a":[],"b":1}"#);
        assert_eq!(
            taken.extensions.into_iter().collect::<Vec<_>>(),
            [("case".into(), "2026/1".into())]
        );
    }

    #[test]
    fn a_trace_is_taken_over_only_if_it_is_one() {
        let trace = |header: &str, body: &str| {
            let headers =
                [("content-type", STRUCTURED.as_bytes()), ("traceparent", header.as_bytes())];
            let body = Bytes::copy_from_slice(body.as_bytes());
            let taken = read(headers, body, &JsonLimits::default()).expect("an event");
            taken.extensions.get("traceparent").cloned()
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace(good, EVENT).as_deref(), Some(good));
        assert_eq!(trace("RSSMRA80A01H501U", EVENT), None);
        assert_eq!(trace(&good.replace("b7ad6b7169203331", "0000000000000000"), EVENT), None);
        let own = good.replace("01", "00");
        let event = EVENT.replace("\"n\":5", &format!("\"traceparent\":\"{own}\""));
        assert_eq!(trace(good, &event), Some(own));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let table = [
            ("[]".to_owned(), (415, "batch")),
            ("3".to_owned(), (400, "not_an_event")),
            (String::new(), (400, "empty")),
            ("{}".to_owned(), (400, "missing_attribute")),
            (EVENT.replace("\"1.0\"", "\"0.3\""), (400, "specversion")),
            (EVENT.replace("\"data\"", "\"data_base64\""), (400, "data_base64")),
            (EVENT.replace("application/json", "text/xml"), (415, "datacontenttype")),
            (EVENT.replace("\"subject\"", "\"id\""), (400, "duplicate_key")),
        ];
        for (body, expected) in table {
            assert_eq!(outcome(Some(STRUCTURED), &[], &body), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn binary_headers_are_ascii_and_mean_the_same(envelope in any_envelope()) {
            let mut expected = Vec::new();
            attributes::each(&envelope, |name, value| expected.push((name, value)));
            let read: Vec<_> = headers(&envelope)
                .into_iter()
                .map(|(name, value)| (name, header(value.as_bytes()).expect("own")))
                .collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn a_structured_event_holds_every_attribute(envelope in any_envelope()) {
            let message = Message { envelope, data: Bytes::from_static(b"{\"a\":1}") };
            let event: Value = serde_json::from_slice(&write_structured(&message, &[])).expect("JSON");
            prop_assert_eq!(&event["data"], &serde_json::json!({"a": 1}));
            let read: Envelope = serde_json::from_value(event).expect("the same names");
            prop_assert_eq!(read, message.envelope);
        }
    }
}
