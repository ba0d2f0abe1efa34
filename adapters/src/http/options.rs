//! The options of an `http` instance, as written and as checked.
//!
//! Invariant: a literal secret cannot be written here, and no error text repeats what stood in its place.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de};
use snodo_core::{
    adapter::{OpenError, WRONG_OPTION},
    verdict::EffectKind,
};

/// The longest deadline of a call: above it a delivery would hold its claim for too long.
const LONGEST_DEADLINE: Duration = Duration::from_mins(5);

/// What stands under an instance of kind `http`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where the far side is. `https`, or `http` on this machine.
    pub base: String,
    /// What it can do, by the name that routes write.
    pub operations: BTreeMap<String, OperationOptions>,
    /// How it knows us.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// The longest answer that is read.
    #[serde(default = "default_answer_limit", deserialize_with = "size")]
    pub answer_limit: usize,
}

/// One operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationOptions {
    /// The HTTP method.
    pub method: Method,
    /// The path below `base`; `{field}` is filled from the input.
    pub path: String,
    /// The schema of the input, `scuola/enrolment.v1`. Left out only where another operation recalls
    /// by this one.
    #[serde(default)]
    pub input: Option<String>,
    /// The schema of the answer; left out where the answer says nothing.
    #[serde(default)]
    pub output: Option<String>,
    /// How the effect may be repeated; left out only for `GET`.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// A call must be over by then.
    #[serde(default = "default_deadline", deserialize_with = "duration")]
    pub deadline: Duration,
    /// How long a call may still act after we gave up; twice the deadline where left out.
    #[serde(default, deserialize_with = "some_duration")]
    pub settles_within: Option<Duration>,
    /// The statuses by which the far side says no to this very request.
    #[serde(default = "default_refused")]
    pub refused: Vec<u16>,
    /// Of an authority: the statuses by which it says that it knows nothing of the person.
    #[serde(default)]
    pub not_found: Vec<u16>,
    /// Of an authority: the statuses by which it says that it knows several, and not which.
    #[serde(default)]
    pub ambiguous: Vec<u16>,
}

/// The HTTP methods of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    Get,
    /// Creates or acts.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// As written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether the input travels as a body; otherwise in path and query.
    pub fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

/// `effect: idempotent`, `once`, or `{ recallable: lookup }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The far side deduplicates by `Idempotency-Key`.
    Idempotent,
    /// Neither deduplicated nor to be asked.
    Once,
    /// The named operation answers whether it was done.
    Recallable(String),
}

impl Effect {
    /// Its kind.
    pub fn kind(&self) -> EffectKind {
        match self {
            Self::Idempotent => EffectKind::Idempotent,
            Self::Once => EffectKind::Once,
            Self::Recallable(_) => EffectKind::Recallable,
        }
    }
}

/// How the far side knows us.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `Authorization: Bearer …`, read from a file at every call, so that it can be replaced.
    pub bearer: SecretFile,
}

/// `{ file: … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile(pub PathBuf);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSecretFile {
    file: PathBuf,
}

impl<'de> Deserialize<'de> for SecretFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> de::Visitor<'de> for SecretVisitor {
    type Value = SecretFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ file: … }; a secret is never written into the configuration")
    }

    /// Serde would quote the text, which is most likely the secret itself.
    fn visit_str<E: de::Error>(self, _secret: &str) -> Result<SecretFile, E> {
        Err(E::custom("a secret is written as { file: … }, never literally"))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<SecretFile, A::Error> {
        let written = WrittenSecretFile::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(SecretFile(written.file))
    }
}

pub(crate) fn default_answer_limit() -> usize {
    1024 * 1024
}

pub(crate) fn default_deadline() -> Duration {
    Duration::from_secs(20)
}

fn default_refused() -> Vec<u16> {
    vec![409, 422]
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    read_duration(&text).ok_or_else(|| de::Error::custom("a duration such as 20s is expected"))
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn read_duration(text: &str) -> Option<Duration> {
    text.parse::<jiff::SignedDuration>().ok()?.try_into().ok()
}

pub(crate) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    read_size(&text).ok_or_else(|| de::Error::custom("a size such as 1MiB or 64KiB is expected"))
}

fn read_size(text: &str) -> Option<usize> {
    let units = [("KiB", 1024), ("MiB", 1024 * 1024)];
    let (digits, unit) =
        units.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let size = digits.trim().parse::<usize>().ok()?.checked_mul(unit)?;
    (size > 0).then_some(size)
}

/// A deadline that a call may have.
pub(crate) fn checked_deadline(pointer: &str, deadline: Duration) -> Result<(), OpenError> {
    if deadline.is_zero() || deadline > LONGEST_DEADLINE {
        return Err(mistake(pointer, "a deadline is longer than 0s, at most 5m", "write 20s"));
    }
    Ok(())
}

/// A mistake at `pointer`.
pub(crate) fn mistake(
    pointer: &str,
    text: impl Into<String>,
    help: impl Into<String>,
) -> OpenError {
    let pointer = pointer.to_owned();
    OpenError { code: WRONG_OPTION, pointer, text: text.into(), help: help.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_and_durations_are_read_with_their_units() {
        assert_eq!(read_size("64KiB"), Some(65536));
        assert_eq!(read_size("2MiB"), Some(2 * 1024 * 1024));
        assert_eq!([read_size("64"), read_size("0KiB"), read_size("-1MiB")], [None; 3]);
        assert_eq!(read_duration("1m 30s"), Some(Duration::from_secs(90)));
        assert_eq!([read_duration("20"), read_duration("-3s")], [None; 2]);
    }

    #[test]
    fn a_literal_secret_is_refused_without_being_repeated() {
        let error =
            serde_json::from_value::<Auth>(json!({ "bearer": "hunter2" })).expect_err("refused");
        insta::assert_snapshot!(error, @"a secret is written as { file: … }, never literally");
        let auth: Auth =
            serde_json::from_value(json!({ "bearer": { "file": "/x" } })).expect("valid");
        assert_eq!(auth.bearer, SecretFile("/x".into()));
    }

    #[test]
    fn the_three_effects_are_read() {
        let read = |value| serde_json::from_value::<Effect>(value).ok();
        assert_eq!(read(json!("idempotent")), Some(Effect::Idempotent));
        assert_eq!(read(json!("once")), Some(Effect::Once));
        assert_eq!(read(json!({ "recallable": "l" })), Some(Effect::Recallable("l".to_owned())));
        assert_eq!(read(json!("recallable")), None);
    }
}
