//! The hash chain of events: what is hashed, in which order. `EVIDENCE.md` says the same in words.
//!
//! Invariant: everything here is pure and frozen; a change would break every proof ever handed out.

use sha2::{Digest as _, Sha256};
use snodo_core::{ids::Digest, timestamp::Timestamp};

use super::Event;

/// The head of an empty chain.
pub const EMPTY: Digest = Digest([0; 32]);

/// What is hashed of an event.
pub(super) struct Hashed<'a> {
    pub(super) chain: &'a str,
    pub(super) n: i64,
    pub(super) at: Timestamp,
    pub(super) kind: &'a str,
    pub(super) subject: &'a str,
    pub(super) actor: &'a str,
    pub(super) reason: &'a str,
    pub(super) digest: Digest,
    pub(super) previous: Digest,
}

/// The hash of an event: each part after its length in eight bytes, big endian; a leaf of its commit's
/// tree.
pub(super) fn hash(event: &Hashed<'_>) -> Digest {
    let mut bytes = Vec::with_capacity(320);
    let mut part = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    };
    part(b"snodo-event-v1");
    part(event.chain.as_bytes());
    part(&event.n.to_be_bytes());
    part(&event.at.0.to_be_bytes());
    part(event.kind.as_bytes());
    part(event.subject.as_bytes());
    part(event.actor.as_bytes());
    part(event.reason.as_bytes());
    part(&event.digest.0);
    part(&event.previous.0);
    node(0, &[&bytes])
}

/// The hash of an event as it lies in the ledger.
pub fn hash_of(event: &Event) -> Digest {
    hash(&Hashed {
        chain: &event.chain,
        n: event.n,
        at: event.at,
        kind: &event.kind,
        subject: &event.subject,
        actor: &event.actor,
        reason: &event.reason,
        digest: event.digest,
        previous: event.previous,
    })
}

/// The head after a commit: from the head before it and the root of its events.
pub fn head_after(previous: Digest, root: Digest) -> Digest {
    node(2, &[&previous.0, &root.0])
}

/// The root over the hashes of a commit's events, as in RFC 6962. None of nothing.
pub fn root_of(leaves: &[Digest]) -> Option<Digest> {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = above(&level);
    }
    level.first().copied()
}

/// On which side of the hash so far a step of a path stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Before it.
    Left,
    /// After it.
    Right,
}

/// The path from the leaf at `index` to the root.
pub fn path_of(leaves: &[Digest], mut index: usize) -> Vec<(Side, Digest)> {
    let mut path = Vec::new();
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        let (side, beside) = if index.is_multiple_of(2) {
            (Side::Right, level.get(index + 1))
        } else {
            (Side::Left, level.get(index - 1))
        };
        path.extend(beside.map(|hash| (side, *hash)));
        level = above(&level);
        index /= 2;
    }
    path
}

/// The root that a path leads to.
pub fn climb(leaf: Digest, path: &[(Side, Digest)]) -> Digest {
    path.iter().fold(leaf, |below, (side, beside)| match side {
        Side::Left => node(1, &[&beside.0, &below.0]),
        Side::Right => node(1, &[&below.0, &beside.0]),
    })
}

/// Pairs are hashed, one left over goes up as it is.
fn above(level: &[Digest]) -> Vec<Digest> {
    level
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => node(1, &[&left.0, &right.0]),
            _ => pair[0],
        })
        .collect()
}

fn node(prefix: u8, parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new_with_prefix([prefix]);
    for part in parts {
        hash.update(part);
    }
    Digest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_of_every_small_tree_leads_to_its_root() {
        for size in 1..40_u8 {
            let leaves: Vec<Digest> = (0..size).map(|leaf| Digest::of(&[leaf])).collect();
            let root = root_of(&leaves).expect("not empty");
            for (index, leaf) in leaves.iter().enumerate() {
                assert_eq!(climb(*leaf, &path_of(&leaves, index)), root, "{index} of {size}");
            }
        }
        assert_eq!(root_of(&[]), None);
    }
}
