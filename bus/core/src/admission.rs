//! Whether a message from outside is taken: its attributes, its JSON, its schema.
//!
//! Invariant: what is admitted is valid against the schema of its type and canonical (RFC 8785); what is
//! not is told why in words that hold nothing of what was sent.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::{
    document::{Citation, Document},
    envelope::{Incoming, content_digest},
    fault::{Fault, FaultClass},
    ids::Digest,
    json::{self, JsonError, JsonLimits},
    schema::{Schemas, Validator, Violation},
};

/// The code of a message whose checking cost too much.
pub(crate) const OVER_BUDGET: &str = "SN0621";
/// Characters of a sender's id and of its source.
const LONGEST_NAME: usize = 256;
/// Characters of any other attribute.
const LONGEST_ATTRIBUTE: usize = 1024;

/// How much a sender may send at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body.
    pub body: usize,
    /// What is inside.
    pub json: JsonLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 1 << 20, json: JsonLimits::default() }
    }
}

/// A message that is taken, ready for custody.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// Its attributes as sent; `data` is already the canonical text.
    pub incoming: Incoming,
    /// The body.
    pub value: Value,
    /// "The same body" is the same digest.
    pub digest: Digest,
    /// The documents that it cites; whether the sender may is looked at elsewhere.
    pub cited: Vec<Citation>,
}

impl Admitted {
    /// The canonical text of the body.
    pub fn data(&self) -> &Bytes {
        &self.incoming.data
    }
}

/// Why a message is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code} {reason}: {detail}")]
pub struct Rejection {
    /// `SN06nn`.
    pub code: &'static str,
    /// The status that HTTP answers.
    pub http_status: u16,
    /// A stable word for machines.
    pub reason: &'static str,
    /// One sentence, without anything that was sent.
    pub detail: Box<str>,
    /// Where in the body, or which attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Where the body is not as its schema says.
    #[serde(skip_serializing_if = "<[Violation]>::is_empty")]
    pub violations: Box<[Violation]>,
}

impl Rejection {
    /// Whether it is recorded as rejected: the content was read and refused. What cannot be read at all
    /// is only counted.
    pub fn is_recorded(&self) -> bool {
        self.http_status == 422
    }

    fn new(code: &'static str, http_status: u16, reason: &'static str, detail: &str) -> Self {
        let (detail, violations) = (detail.into(), Box::default());
        let (pointer, expected) = (None, None);
        Self { code, http_status, reason, detail, pointer, expected, violations }
    }

    fn expecting(self, expected: &str) -> Self {
        Self { expected: Some(expected.to_owned()), ..self }
    }

    /// The text is not JSON as we take it (400), or too much of it (422). `pointer` holds no key that
    /// may be data.
    pub(crate) fn unread(error: &JsonError, pointer: Option<String>) -> Self {
        let (code, status) = if error.kind.is_syntax() { ("SN0601", 400) } else { ("SN0602", 422) };
        let detail = format!("the body is refused at byte {}", error.offset);
        let rejection = Self::new(code, status, error.kind.reason(), &detail);
        Self { pointer, ..rejection }.expecting(error.kind.expected())
    }

    /// An attribute of the envelope is missing or malformed.
    pub(crate) fn attribute(name: &str, reason: &'static str, expected: &str) -> Self {
        let detail = format!("the attribute `{name}` is refused");
        Self::new("SN0603", 400, reason, &detail).expecting(expected)
    }

    fn unknown_type() -> Self {
        Self::new("SN0604", 422, "unknown_type", "no schema of this bus has this `type`")
            .expecting("a type of this bus, `<domain>.<name>.v<N>`, as agreed with who runs it")
    }

    fn invalid(violations: Vec<Violation>) -> Self {
        let detail = "the body is not as the schema of its type says";
        let rejection = Self::new("SN0605", 422, "schema", detail);
        let first = violations.first();
        Self {
            pointer: first.map(|violation| violation.pointer.clone()),
            expected: first.map(|violation| violation.expected.clone()),
            violations: violations.into(),
            ..rejection
        }
    }

    /// The media type is not spoken here.
    pub(crate) fn media_type(reason: &'static str) -> Self {
        Self::new("SN0606", 415, reason, "the content type is not taken")
            .expecting("application/cloudevents+json or application/json, in UTF-8, not compressed")
    }

    /// Several events at once.
    pub(crate) fn batch() -> Self {
        Self::new("SN0607", 415, "batch", "batches of events are not taken")
            .expecting("one event per request")
    }

    /// A body in base64.
    pub(crate) fn binary_data() -> Self {
        Self::new("SN0608", 400, "data_base64", "`data_base64` is not taken")
            .expecting("JSON in `data`; a message carries no files")
    }

    /// Too many bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new("SN0609", 413, "too_large", "the body has more bytes than this bus takes")
            .expecting(&format!("at most {limit} bytes; several messages, or less in one"))
    }

    /// Checking it cost more than a message may.
    pub fn over_budget(budget: Duration) -> Self {
        let detail = format!("checking the body took more than {} ms of CPU", budget.as_millis());
        Self::new(OVER_BUDGET, 422, "validation_budget", &detail).expecting(
            "a smaller body; or a schema of its type that is cheaper to check, or a higher \
             `limits.validation`, from who runs the bus",
        )
    }

    /// A document that this party has not, or no longer.
    pub fn unknown_document(cited: &Citation) -> Self {
        let detail = "the message cites a document that this party does not have here";
        let rejection = Self::new("SN0628", 422, "unknown_document", detail).expecting(
            "the key of a document that the same party posted in the last 24 hours, or has cited since",
        );
        Self { pointer: Some(format!("{}/key", cited.pointer)), ..rejection }
    }

    /// A document of which the message says something else than the bus answered.
    pub fn other_document(cited: &Citation, field: &str) -> Self {
        let detail = "the message says something else of a document than the bus answered";
        let rejection = Self::new("SN0629", 422, "other_document", detail)
            .expecting("what `POST /v1/documents` answered for this key, unchanged");
        Self { pointer: Some(format!("{}/{field}", cited.pointer)), ..rejection }
    }

    /// Properties that would route the message elsewhere.
    pub(crate) fn routing_headers() -> Self {
        Self::new("SN0620", 400, "routing_headers", "`CC` and `BCC` headers are not taken")
            .expecting("no `CC` and no `BCC` header")
    }
}

/// Takes a message, or says why not. Rights, caps and duplicates are looked at elsewhere.
pub fn admit(
    mut incoming: Incoming,
    schemas: &Schemas,
    limits: &Limits,
) -> Result<Admitted, Rejection> {
    check_attributes(&incoming)?;
    if incoming.data.len() > limits.body {
        return Err(Rejection::too_large(limits.body));
    }
    let validator = schemas.validator(&incoming.kind);
    let value = json::parse(&incoming.data, &limits.json)
        .map_err(|error| Rejection::unread(&error, public_pointer(validator, &error)))?;
    let validator = validator.ok_or_else(Rejection::unknown_type)?;
    if !validator.is_valid(&value) {
        return Err(Rejection::invalid(validator.violations(&value)));
    }
    incoming.data = json::canonical(&value).into();
    let digest = content_digest(&incoming.kind, incoming.subject.as_deref(), &incoming.data);
    let cited = validator.citations(&value);
    Ok(Admitted { incoming, value, digest, cited })
}

/// Whether the documents that a message cites are those that its sender has: `known` are the documents
/// of the party that may be cited now.
pub fn admit_documents(cited: &[Citation], known: &[Document]) -> Result<(), Rejection> {
    for citation in cited {
        let found = known.iter().find(|known| known.key == citation.document.key);
        let Some(found) = found else { return Err(Rejection::unknown_document(citation)) };
        if let Some(field) = found.differs(&citation.document) {
            return Err(Rejection::other_document(citation, field));
        }
    }
    Ok(())
}

/// Reads the body of a delivery of type `kind` again. It was valid when it was taken: if it no longer
/// is, nobody but an operator can help. The fault is poison and names places, never values.
pub fn readmit(kind: &str, data: &[u8], validator: &Validator) -> Result<Value, Fault> {
    let poison = |code, text: String| Fault::new(FaultClass::Poison, code, text);
    let value = json::parse_canonical(data)
        .map_err(|error| poison("SN0711", format!("the stored body is not JSON: {error}")))?;
    if validator.is_valid(&value) {
        return Ok(value);
    }
    let places: Vec<String> =
        validator.violations(&value).into_iter().map(|violation| violation.pointer).collect();
    Err(poison("SN0713", format!("the body is not as `{kind}` says, at {}", places.join(", "))))
}

fn public_pointer(validator: Option<&Validator>, error: &JsonError) -> Option<String> {
    validator.map(|validator| validator.public_pointer(&error.pointer))
}

fn check_attributes(incoming: &Incoming) -> Result<(), Rejection> {
    check("id", &incoming.sender_id, LONGEST_NAME)?;
    check("source", &incoming.source, LONGEST_NAME)?;
    check("type", &incoming.kind, LONGEST_NAME)?;
    let subject = incoming.subject.iter().map(|subject| ("subject", subject));
    let others = incoming.extensions.iter().map(|(name, value)| (name.as_str(), value));
    subject.chain(others).try_for_each(|(name, value)| check(name, value, LONGEST_ATTRIBUTE))
}

fn check(name: &str, value: &str, longest: usize) -> Result<(), Rejection> {
    let refused = |reason, expected: &str| Err(Rejection::attribute(name, reason, expected));
    if value.is_empty() {
        return refused("empty_attribute", "text that is not empty");
    }
    if value.len() > longest && value.chars().nth(longest).is_some() {
        return refused("attribute_too_long", &format!("at most {longest} characters"));
    }
    if value.chars().any(char::is_control) {
        return refused("control_character", "text without control characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{
        diagnostic::SourceFile,
        document::DocumentKey,
        schema::{SchemaFile, Schemas},
    };

    const KIND: &str = "anagrafe.moved.v1";

    fn house() -> Schemas {
        let text = r#"{"type":"object","additionalProperties":false,"required":["n"],
            "properties":{"n":{"type":"integer"},"taxCode":{"type":"string","format":"codice-fiscale"},
                "any":{}}}"#;
        let path = "anagrafe/moved.v1.json".to_owned();
        let file = Arc::new(SourceFile { path: path.clone(), text: text.to_owned() });
        let (schemas, diagnostics) = Schemas::load(&[SchemaFile { file, path }]);
        assert_eq!(diagnostics, []);
        schemas
    }

    fn incoming(data: &str) -> Incoming {
        Incoming {
            sender_id: "A-1".to_owned(),
            source: "urn:comune".to_owned(),
            kind: KIND.to_owned(),
            subject: None,
            time: None,
            extensions: BTreeMap::new(),
            data: Bytes::copy_from_slice(data.as_bytes()),
        }
    }

    fn outcome(incoming: Incoming) -> (u16, &'static str, bool) {
        match admit(incoming, &house(), &Limits::default()) {
            Ok(_) => (202, "ok", false),
            Err(no) => (no.http_status, no.reason, no.is_recorded()),
        }
    }

    #[test]
    fn a_body_is_answered_as_the_security_list_says() {
        let items = |count: usize| format!(r#"{{"n":1,"any":[{}]}}"#, vec!["0"; count].join(","));
        let pad = |length: usize| format!("{}{{\"n\":1}}", " ".repeat(length - 7));
        let table = [
            (r#"{"n":1}"#.to_owned(), (202, "ok", false)),
            (pad(1 << 20), (202, "ok", false)),
            (pad((1 << 20) + 1), (413, "too_large", false)),
            (String::new(), (400, "empty", false)),
            ("null".to_owned(), (422, "schema", true)),
            ("[]".to_owned(), (422, "schema", true)),
            (r#"{"n":1,"n":2}"#.to_owned(), (400, "duplicate_key", false)),
            ("[".repeat(65), (400, "too_deep", false)),
            ("[".repeat(100_000), (400, "too_deep", false)),
            (r#"{"n":1e400}"#.to_owned(), (400, "number", false)),
            (r#"{"n":-0}"#.to_owned(), (202, "ok", false)),
            (r#"{"n":1.0}"#.to_owned(), (202, "ok", false)),
            (items(10_000), (202, "ok", false)),
            (items(10_001), (422, "too_many_items", true)),
            (r#"{"n":1,"a/../b":1}"#.to_owned(), (422, "schema", true)),
            (r#"{"n":1,"__proto__":1}"#.to_owned(), (422, "schema", true)),
            (r#"{"n":1,"any":"${jndi:x} {{env.A}} $(id)"}"#.to_owned(), (202, "ok", false)),
        ];
        for (data, expected) in table {
            assert_eq!(outcome(incoming(&data)), expected, "{}", &data[..data.len().min(40)]);
        }
    }

    #[test]
    fn attributes_are_checked_before_the_body() {
        let long = "x".repeat(10 * 1024);
        let table = [
            ("", "empty_attribute"),
            (long.as_str(), "attribute_too_long"),
            ("a\nb", "control_character"),
        ];
        for (text, reason) in table {
            let broken = incoming("");
            let id = Incoming { sender_id: text.to_owned(), ..broken.clone() };
            let source = Incoming { source: text.to_owned(), ..broken.clone() };
            let subject = Incoming { subject: Some(text.to_owned()), ..broken };
            for incoming in [id, source, subject] {
                assert_eq!(outcome(incoming), (400, reason, false));
            }
        }
        let limit = Incoming { sender_id: "è".repeat(256), ..incoming(r#"{"n":1}"#) };
        assert_eq!(outcome(limit), (202, "ok", false));
        let unknown = Incoming { kind: "a.b.v1".to_owned(), ..incoming("{}") };
        assert_eq!(outcome(unknown), (422, "unknown_type", true));
    }

    #[test]
    fn the_same_content_has_the_same_digest_however_it_was_written() {
        let digest = |data: &str| {
            let admitted = admit(incoming(data), &house(), &Limits::default()).expect("valid");
            (admitted.digest, admitted.data().clone())
        };
        let (first, data) = digest(r#"{"n":1, "any":{"b":1e0,"a":"\u0061"}}"#);
        assert_eq!(data, r#"{"any":{"a":"a","b":1},"n":1}"#);
        assert_eq!(digest(r#"{"any":{"a":"a","b":1},"n":1.0}"#).0, first);
        assert_ne!(digest(r#"{"any":{"a":"a","b":1},"n":2}"#).0, first);
    }

    #[test]
    fn a_rejection_holds_nothing_of_what_was_sent() {
        let secret = "RSSMRA80A01H501X";
        for data in [
            format!(r#"{{"n":"{secret}","taxCode":"{secret}","{secret}":1}}"#),
            format!(r#"{{"{secret}":{{"{secret}":tru}}}}"#),
            format!(r#"{{"any":{{"{secret}":1,"{secret}":2}}}}"#),
        ] {
            let no = admit(incoming(&data), &house(), &Limits::default()).expect_err("refused");
            let told = format!("{no} {no:?} {}", serde_json::to_string(&no).expect("JSON"));
            assert!(!told.contains(secret), "{told}");
        }
    }

    #[test]
    fn a_document_is_cited_by_who_has_it_and_as_it_is() {
        let document = |name: &str| Document {
            key: DocumentKey(uuid::Uuid::from_u128(7)),
            sha256: Digest::of(b"x"),
            size: 1,
            media_type: "text/plain".to_owned(),
            name: name.to_owned(),
        };
        let cited = |document| [Citation { pointer: "/a/0".to_owned(), document }];
        let admit = |name: &str, known: &[Document]| {
            let no = admit_documents(&cited(document(name)), known);
            no.map_err(|no| (no.code, no.pointer.unwrap_or_default()))
        };
        assert_eq!(admit("a", &[document("a")]), Ok(()));
        assert_eq!(admit("a", &[]), Err(("SN0628", "/a/0/key".to_owned())));
        assert_eq!(admit("b", &[document("a")]), Err(("SN0629", "/a/0/name".to_owned())));
        let no = admit_documents(&cited(document("RSSMRA80A01H501X")), &[]).expect_err("unknown");
        assert!(!format!("{no:?}").contains("RSSMRA80A01H501X"));
    }

    #[test]
    fn a_stored_body_that_no_longer_fits_is_poison() {
        let schemas = house();
        let validator = schemas.validator(KIND).expect("a type of the house");
        assert!(readmit(KIND, br#"{"n":1}"#, validator).is_ok());
        for (data, code) in [(&b"{"[..], "SN0711"), (br#"{"n":"x"}"#, "SN0713")] {
            let fault = readmit(KIND, data, validator).expect_err("poison");
            assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Poison, code));
        }
    }
}
