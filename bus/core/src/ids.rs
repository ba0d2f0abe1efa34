//! Identifiers and digests: how a message, a delivery and a step are named.
//!
//! Invariant: what is derived is derived from the same inputs to the same id, so a repeat is absorbed.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The bus's own id of a message: UUIDv7 at ingress, UUIDv8 for a message that a route emitted.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub Uuid);

/// The id of one delivery: one message owed to one route or party.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(pub Uuid);

impl MessageId {
    /// A new id of an accepted message. `unix_millis` is the accept time, `random` fresh from the system.
    pub fn accepted(unix_millis: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid())
    }

    /// The id of a message that `route` emits at `step` for `cause`; `key` tells items of `each` apart.
    ///
    /// The first 48 bits are the accept time of the root message, so ids stay in time order and the
    /// indexes stay fast; the rest is a hash, so a repeat gives the same id.
    pub fn derived(cause: Self, route: &str, step: &str, key: &str) -> Self {
        Self(derive(cause.0, &[route.as_bytes(), step.as_bytes(), key.as_bytes()]))
    }

    /// The id of the message of one period of a route's clock: the same for whoever works it out.
    pub fn of_period(unix_millis: u64, route: &str, period: &str) -> Self {
        let root = uuid::Builder::from_unix_timestamp_millis(unix_millis, &[0; 10]).into_uuid();
        Self(derive(root, &[b"period", route.as_bytes(), period.as_bytes()]))
    }

    /// Milliseconds since 1970 at which the root message was accepted.
    pub fn root_millis(self) -> u64 {
        let bytes = self.0.as_bytes();
        bytes[..6].iter().fold(0, |millis, byte| (millis << 8) | u64::from(*byte))
    }
}

impl DeliveryId {
    /// The delivery of `message` to `subscriber` (a route's name or `party:<id>`).
    pub fn derived(message: MessageId, subscriber: &str) -> Self {
        Self(derive(message.0, &[b"delivery", subscriber.as_bytes()]))
    }
}

fn derive(root: Uuid, parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(root.as_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&root.as_bytes()[..6]);
    bytes[6..].copy_from_slice(&hash[..10]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A SHA-256 digest.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_hex(&text)
            .ok_or_else(|| serde::de::Error::custom("64 hexadecimal digits are expected"))
    }
}

/// Names one step of one delivery: the key under which its effect is done once.
///
/// Shown to far sides as `Idempotency-Key: <delivery>/<step>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepKey {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The id of the step in its route.
    pub step: String,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.delivery, self.step)
    }
}

/// Marks one claim of one delivery. Chosen before the commit; only ever compared for equality.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence {
    /// The process incarnation that claims.
    pub incarnation: IncarnationId,
    /// The serial number of the task within it.
    pub serial: u64,
}

/// One start of one process on one slot. Never reused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncarnationId(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_keeps_the_time_of_its_root_and_is_the_same_each_time() {
        let root = MessageId::accepted(1_764_000_000_123, [7; 10]);
        let child = MessageId::derived(root, "residence-change", "announce", "");
        assert_eq!(child, MessageId::derived(root, "residence-change", "announce", ""));
        assert_eq!(child.root_millis(), 1_764_000_000_123);
        assert_eq!(child.0.get_version_num(), 8);
        assert_ne!(child, MessageId::derived(root, "residence-change", "announc", "e"));
        assert_eq!(MessageId::derived(child, "a", "b", "").root_millis(), root.root_millis());
        let period = MessageId::of_period(1_764_000_000_000, "daily", "2026-11-24T02:30");
        assert_eq!(period, MessageId::of_period(1_764_000_000_000, "daily", "2026-11-24T02:30"));
        assert_eq!(period.root_millis(), 1_764_000_000_000);
        assert_ne!(period, MessageId::of_period(1_764_000_000_000, "weekly", "2026-11-24T02:30"));
    }

    #[test]
    fn a_digest_reads_what_it_prints() {
        let digest = Digest::of(b"snodo");
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("zz"), None);
    }
}
