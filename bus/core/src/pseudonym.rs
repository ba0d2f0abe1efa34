//! Persons under a name that only the holder of a key can make: what rows say of whom.
//!
//! Invariant: the key is never in the database, and a name says nothing without it. A tax code alone is
//! guessed in minutes (there are few enough): hence a keyed hash, HMAC-SHA-256 (RFC 2104).

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::ids::Digest;

/// A key of pseudonyms, with its id.
#[derive(Clone)]
pub struct Key {
    id: String,
    hmac: Hmac<Sha256>,
}

impl Key {
    /// A key of 32 random bytes. Its id is made of it and does not give it away.
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        let id = Digest::of(&[b"snodo pseudonym key\0", &bytes[..]].concat()).to_string();
        Some(Self { id: id[..8].to_owned(), hmac: Hmac::new_from_slice(bytes).ok()? })
    }

    /// A key written as 64 hexadecimal digits, as in its file.
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::new(&Digest::from_hex(text.trim())?.0)
    }

    /// By which rows name it.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn of(&self, parts: &[&str]) -> Digest {
        let mut hmac = self.hmac.clone();
        for part in parts {
            // Lengths, so that no two lists of parts are the same bytes.
            hmac.update(&(part.len() as u64).to_be_bytes());
            hmac.update(part.as_bytes());
        }
        Digest(hmac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The key under which rows are written, and earlier ones under which they are still found.
#[derive(Clone, Debug)]
pub struct Pseudonyms {
    now: Key,
    before: Vec<Key>,
}

impl Pseudonyms {
    /// With the key of today and those before.
    pub fn new(now: Key, before: Vec<Key>) -> Self {
        Self { now, before }
    }

    /// Under a key that everybody knows, for tests: names that say nothing of anybody.
    pub fn for_tests() -> Self {
        let hmac = Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default());
        Self::new(Key { id: "testkey0".to_owned(), hmac }, Vec::new())
    }

    /// The id of the key of today.
    pub fn key(&self) -> &str {
        self.now.id()
    }

    /// A person, under the key of today. Small letters and spaces around it make no other person.
    pub fn person(&self, code: &str) -> Digest {
        person(&self.now, code)
    }

    /// A person, under every key, that of today first: to find rows.
    pub fn every_name(&self, code: &str) -> Vec<Digest> {
        std::iter::once(&self.now).chain(&self.before).map(|key| person(key, code)).collect()
    }

    /// Everything that a question says, under the key of today.
    pub fn question(&self, fact: &str, input: &str) -> Digest {
        self.now.of(&["question", fact, input])
    }
}

fn person(key: &Key, code: &str) -> Digest {
    key.of(&["person", &code.trim().to_ascii_uppercase()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 32]).expect("a key")
    }

    #[test]
    fn a_person_has_one_name_under_one_key() {
        let pseudonyms = Pseudonyms::new(key(1), vec![key(2)]);
        let name = pseudonyms.person("RSSMRA80A01G273Z");
        assert_eq!(pseudonyms.person(" rssmra80a01g273z"), name);
        assert_ne!(pseudonyms.person("VRDGPP75B12G273K"), name);
        let earlier = Pseudonyms::new(key(2), vec![]).person("RSSMRA80A01G273Z");
        assert_ne!(earlier, name);
        assert_eq!(pseudonyms.every_name("RSSMRA80A01G273Z"), [name, earlier]);
        assert_ne!(pseudonyms.question("a", "bc"), pseudonyms.question("ab", "c"));
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = key(7);
        assert_eq!(key.id().len(), 8);
        assert_eq!(format!("{key:?}"), format!("Key {{ id: {:?}, .. }}", key.id()));
        assert!(Key::from_hex("07").is_none());
        let hex = "07".repeat(32);
        assert_eq!(Key::from_hex(&format!("{hex}\n")).expect("a key").id(), key.id());
    }
}
