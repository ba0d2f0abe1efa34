//! What this process has taken upon itself to publish: the relay's own set of (delivery, round).
//!
//! Invariant: a round that is held is published by its holder and by nobody else of this process; a
//! holder that ends before its round is written down releases it and says so, and then the relay looks
//! for rows that are named to this process and still queued.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use snodo_core::ids::DeliveryId;

use super::locked;
use crate::faults;

/// One round of one delivery.
pub(super) type Key = (DeliveryId, u32);

/// What a copy weighs beside its body.
pub(super) const HEADERS: usize = 2 * 1024;

/// The set, and the room that is left in this process.
#[derive(Debug)]
pub(super) struct Holds {
    held: Arc<Mutex<Held>>,
    copies: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Held {
    keys: HashMap<Key, usize>,
    bytes: usize,
    readers: u32,
    /// Released while somebody reads: his rows may be older than the release.
    released: HashSet<Key>,
    /// Something was released that may still be queued.
    left: bool,
}

impl Holds {
    pub(super) fn new(copies: usize, bytes: usize) -> Self {
        Self { held: Arc::default(), copies, bytes }
    }

    /// Takes `key` for a copy of `bytes`; `None` where it is held already or no room is left.
    pub(super) fn take(&self, key: Key, bytes: usize) -> Option<Hold> {
        let mut held = locked(&self.held);
        let room =
            held.keys.len() < self.copies && (held.bytes == 0 || held.bytes + bytes <= self.bytes);
        if !room || held.keys.contains_key(&key) || held.released.contains(&key) {
            return None;
        }
        held.keys.insert(key, bytes);
        held.bytes += bytes;
        drop(held);
        Some(Hold { key, held: Arc::clone(&self.held), published: false, written: false })
    }

    /// Whether `key` cannot be taken by who reads now: it is held, or was when he began.
    pub(super) fn holds(&self, key: &Key) -> bool {
        let held = locked(&self.held);
        held.keys.contains_key(key) || held.released.contains(key)
    }

    /// Whether more than half of the room is free.
    pub(super) fn is_roomy(&self) -> bool {
        let held = locked(&self.held);
        held.keys.len() < self.copies.div_ceil(2) && held.bytes <= self.bytes / 2
    }

    /// Whether there is room for at least one more copy.
    pub(super) fn has_room(&self) -> bool {
        let held = locked(&self.held);
        held.keys.len() < self.copies && held.bytes < self.bytes
    }

    /// Whether something was released, since the last time of asking, that may still be queued.
    pub(super) fn take_left(&self) -> bool {
        std::mem::take(&mut locked(&self.held).left)
    }

    /// Rows that are named to this process may be queued and held by nobody.
    pub(super) fn say_left(&self) {
        locked(&self.held).left = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        locked(&self.held).keys.is_empty()
    }

    /// Whether all that was held when `before` was first asked about has been published and marked.
    pub(super) fn are_past(&self, before: &mut Option<HashSet<Key>>) -> bool {
        let held = locked(&self.held);
        let before = before.get_or_insert_with(|| held.keys.keys().copied().collect());
        !before.iter().any(|key| held.keys.contains_key(key))
    }

    /// Say before rows are read: until it is dropped, what is released counts as held, so that a row
    /// read before its mark is not published once more.
    pub(super) fn reading(&self) -> Reading {
        locked(&self.held).readers += 1;
        Reading(Arc::clone(&self.held))
    }
}

/// Somebody reads queued rows.
#[derive(Debug)]
pub(super) struct Reading(Arc<Mutex<Held>>);

impl Drop for Reading {
    fn drop(&mut self) {
        let mut held = locked(&self.0);
        held.readers -= 1;
        if held.readers == 0 {
            held.released.clear();
        }
    }
}

/// A round that is held, until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    key: Key,
    held: Arc<Mutex<Held>>,
    published: bool,
    written: bool,
}

impl Hold {
    /// The copy is on its way to the broker.
    pub(super) fn publishing(&mut self) {
        self.published = true;
    }

    /// What the broker said of it is durable: the row is not queued any more in this round.
    pub(super) fn written(mut self) {
        self.written = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if faults::off("held-for-ever") && !self.published {
            return;
        }
        let mut held = locked(&self.held);
        if let Some(bytes) = held.keys.remove(&self.key) {
            held.bytes -= bytes;
        }
        if held.readers > 0 {
            held.released.insert(self.key);
        }
        held.left |= !self.written;
    }
}

#[cfg(test)]
mod tests {
    use snodo_core::ids::{DeliveryId, MessageId};

    use super::*;

    fn key(n: u8) -> Key {
        (DeliveryId::derived(MessageId::accepted(1, [n; 10]), "a"), 1)
    }

    #[test]
    fn a_round_is_held_once_and_by_one() {
        let holds = Holds::new(10, 1000);
        let hold = holds.take(key(1), 10).expect("free");
        assert!(holds.take(key(1), 10).is_none());
        drop(hold);
        assert!(holds.take(key(1), 10).is_some());
    }

    #[test]
    fn a_hold_that_ends_before_its_round_is_written_is_asked_for_once() {
        let holds = Holds::new(10, 1000);
        holds.take(key(1), 10).expect("free").written();
        assert!(!holds.take_left());
        drop(holds.take(key(1), 10).expect("free"));
        assert!(holds.take_left() && !holds.take_left());
    }

    #[test]
    fn what_is_released_while_rows_are_read_is_not_taken_from_those_rows() {
        let holds = Holds::new(10, 1000);
        let hold = holds.take(key(1), 10).expect("free");
        let reading = holds.reading();
        drop(hold);
        assert!(holds.take(key(1), 10).is_none());
        drop(reading);
        assert!(holds.take(key(1), 10).is_some());
    }

    #[test]
    fn copies_and_bytes_are_bounded_but_one_large_copy_goes_through() {
        let holds = Holds::new(2, 100);
        let large = holds.take(key(1), 500).expect("the first may be larger than the room");
        assert!(holds.take(key(2), 1).is_none());
        drop(large);
        let _one = holds.take(key(1), 60).expect("room");
        assert!(holds.take(key(2), 60).is_none());
        let _two = holds.take(key(2), 40).expect("room");
        assert!(holds.take(key(3), 0).is_none() && !holds.has_room());
    }
}
