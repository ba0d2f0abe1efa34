//! Documents: bytes that messages cite by key and digest. What is told of one, and how its name and media
//! type are read from a request. Pure.
//!
//! Invariant: a citation says all that the bus answered when it took the document; so what a receiver reads
//! in a message is true of the bytes.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::Digest;

/// The type by which a schema says that a value is a document: `{ "$ref": "../documents/document.v1.json" }`.
pub const KIND: &str = "documents.document.v1";
/// Bytes of a document at most.
pub const LARGEST: u64 = 50 << 20;
/// Characters of a file name, and of a media type.
const LONGEST: usize = 200;

/// What names a document: chosen by the bus when it was posted or made.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DocumentKey(pub Uuid);

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A document, as the bus answers it and as messages cite it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// By which it is fetched.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub key: DocumentKey,
    /// Impronta: SHA-256 of its bytes.
    #[schemars(with = "String", extend("pattern" = "^[0-9a-f]{64}$"))]
    pub sha256: Digest,
    /// Its bytes.
    #[schemars(extend("minimum" = 1))]
    pub size: u64,
    /// Its media type.
    #[schemars(length(min = 1, max = 200))]
    pub media_type: String,
    /// Its file name.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
}

/// A place in a body that cites a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// JSON pointer into the body.
    pub pointer: String,
    /// What it says of the document.
    pub document: Document,
}

impl Document {
    /// The first field in which `cited` differs from the document itself.
    pub fn differs(&self, cited: &Self) -> Option<&'static str> {
        [
            ("sha256", self.sha256 != cited.sha256),
            ("size", self.size != cited.size),
            ("mediaType", self.media_type != cited.media_type),
            ("name", self.name != cited.name),
        ]
        .into_iter()
        .find_map(|(field, differs)| differs.then_some(field))
    }
}

/// The media type of a `Content-Type`, in lower case and without its parameters.
pub fn media_type(header: &str) -> Option<String> {
    let kind = header.split(';').next()?.trim();
    let (main, sub) = kind.split_once('/')?;
    let token = |text: &str| !text.is_empty() && text.bytes().all(is_token);
    (token(main) && token(sub) && kind.len() <= LONGEST).then(|| kind.to_ascii_lowercase())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The file name of a `Content-Disposition` (RFC 6266): `filename*` in UTF-8, or `filename`.
pub fn file_name(header: &str) -> Option<String> {
    let mut plain = None;
    for part in parameters(header) {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "filename*" => return decoded(value).filter(|name| is_file_name(name)),
            "filename" => plain = Some(unquoted(value)?),
            _ => {}
        }
    }
    plain.filter(|name| is_file_name(name))
}

/// What stands between semicolons behind the disposition itself; a semicolon in quotes does not count.
fn parameters(header: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in header.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                parts.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&header[start..]);
    parts.split_off(1)
}

fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let inner = rest.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(next) = chars.next() {
        text.push(if next == '\\' { chars.next()? } else { next });
    }
    Some(text)
}

/// `UTF-8''na%C3%AFve.pdf`.
fn decoded(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, text) = rest.split_once('\'')?;
    charset.eq_ignore_ascii_case("utf-8").then_some(())?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.as_bytes();
    while let [byte, rest @ ..] = left {
        left = rest;
        if *byte == b'%' {
            let (pair, rest) = left.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
            left = rest;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A name, never a path.
fn is_file_name(name: &str) -> bool {
    let fits = (1..=LONGEST).contains(&name.chars().count());
    fits && name != "."
        && name != ".."
        && !name.chars().any(|c| c.is_control() || "/\\".contains(c))
}

/// The `Content-Disposition` under which a document is handed out (RFC 6266, RFC 8187).
pub fn disposition(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut text = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_two_words_and_its_parameters_are_left_out() {
        for (header, expected) in [
            ("application/pdf", Some("application/pdf")),
            ("Text/Plain; charset=utf-8", Some("text/plain")),
            (
                "application/vnd.oasis.opendocument.text",
                Some("application/vnd.oasis.opendocument.text"),
            ),
            ("pdf", None),
            ("/pdf", None),
            ("application/", None),
            ("a b/c", None),
            ("", None),
        ] {
            assert_eq!(media_type(header).as_deref(), expected, "{header}");
        }
        assert_eq!(media_type(&format!("a/{}", "b".repeat(200))), None);
    }

    #[test]
    fn a_file_name_is_a_name_and_no_path() {
        for (header, expected) in [
            ("attachment; filename=\"lease.pdf\"", Some("lease.pdf")),
            ("attachment; filename=lease.pdf", Some("lease.pdf")),
            ("attachment; filename=\"a;b \\\"c\\\".pdf\"", Some("a;b \"c\".pdf")),
            ("attachment; filename=\"x\"; filename*=UTF-8''citt%C3%A0.pdf", Some("città.pdf")),
            ("attachment; FILENAME*=utf-8'it'a.pdf", Some("a.pdf")),
            ("attachment; filename*=ISO-8859-1''a.pdf", None),
            ("attachment; filename*=UTF-8''%zz", None),
            ("attachment; filename=\"../../etc/passwd\"", None),
            ("attachment; filename=\"a\\\\b\"", None),
            ("attachment; filename*=UTF-8''a%00b", None),
            ("attachment; filename=\"..\"", None),
            ("attachment; filename=\"\"", None),
            ("attachment", None),
        ] {
            assert_eq!(file_name(header).as_deref(), expected, "{header}");
        }
        assert_eq!(file_name(&format!("attachment; filename={}", "a".repeat(201))), None);
    }

    #[test]
    fn a_name_that_is_handed_out_is_read_back() {
        for name in ["lease.pdf", "città di \"Palermo\"; 1.pdf", "%41.pdf"] {
            assert_eq!(file_name(&disposition(name)).as_deref(), Some(name));
        }
    }
}
