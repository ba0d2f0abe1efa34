//! What to tell the broker of the copies of one channel: few acknowledgements, none too early.
//!
//! Invariant: a tag is told once, only after it was settled, and a `multiple` never covers an open tag.

use std::{collections::VecDeque, time::Duration};

/// A settled tag above an open one waits this long for the gap to close before it is told singly.
pub const GAP: Duration = Duration::from_millis(50);

/// What to send to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// `basic.ack` of this tag alone.
    Ack(u64),
    /// `basic.ack` of every outstanding tag up to this one, which is itself outstanding.
    AckUpTo(u64),
    /// `basic.nack` of this tag alone, to be delivered again.
    Return(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Open,
    Ack { since: Duration },
    Return,
    Told,
}

impl Slot {
    fn since(&self) -> Option<Duration> {
        if let Self::Ack { since } = self { Some(*since) } else { None }
    }
}

/// The tags of one channel between delivery and the word to the broker.
///
/// The broker numbers the deliveries of a channel from 1 without holes, so a queue of slots is enough.
#[derive(Debug, Default)]
pub struct Acks {
    /// The tag of the first slot, less one: everything up to here was told.
    done: u64,
    slots: VecDeque<Slot>,
    /// Slots that are neither open nor told.
    pending: usize,
    /// Those of them that are to be delivered again.
    returns: usize,
    /// No acknowledgement that waits is older than this.
    oldest: Option<Duration>,
}

impl Acks {
    /// A copy came in. A tag out of turn (it cannot be) opens the tags before it too, so none is skipped.
    pub fn delivered(&mut self, tag: u64) {
        while self.done + (self.slots.len() as u64) < tag {
            self.slots.push_back(Slot::Open);
        }
    }

    /// The copy may be acknowledged. A tag that is not open is left as it is.
    pub fn settle(&mut self, tag: u64, now: Duration) {
        if self.put(tag, Slot::Ack { since: now }) {
            self.oldest = self.oldest.or(Some(now));
        }
    }

    /// The copy is to be delivered again.
    pub fn give_back(&mut self, tag: u64) {
        if self.put(tag, Slot::Return) {
            self.returns += 1;
        }
    }

    /// Whether the tag was open.
    fn put(&mut self, tag: u64, slot: Slot) -> bool {
        let index = tag.checked_sub(self.done + 1).and_then(|index| usize::try_from(index).ok());
        let Some(place) = index.and_then(|index| self.slots.get_mut(index)) else { return false };
        let open = *place == Slot::Open;
        if open {
            *place = slot;
            self.pending += 1;
        }
        open
    }

    /// Copies of which the broker has heard nothing yet.
    pub fn outstanding(&self) -> usize {
        self.slots.iter().filter(|slot| **slot != Slot::Told).count()
    }

    /// What to send now, in order.
    pub fn take(&mut self, now: Duration) -> Vec<Tell> {
        let mut tell = Vec::new();
        if self.pending == 0 {
            return tell;
        }
        if self.returns > 0 {
            self.take_returns(&mut tell);
        }
        self.take_lowest(&mut tell);
        self.oldest = self.oldest_above();
        if self.oldest.is_some_and(|since| now.saturating_sub(since) >= GAP) {
            self.take_above(&mut tell);
            self.oldest = None;
        }
        tell
    }

    /// When [`Acks::take`] may have something to say though nothing else happens.
    pub fn due(&self) -> Option<Duration> {
        self.oldest.map(|since| since.saturating_add(GAP))
    }

    /// Since when the first acknowledgement above the lowest open tag waits.
    fn oldest_above(&self) -> Option<Duration> {
        if self.pending == 0 {
            return None;
        }
        self.slots.iter().filter_map(Slot::since).min()
    }

    /// Returns first: a `multiple` that came before would cover them.
    fn take_returns(&mut self, tell: &mut Vec<Tell>) {
        for (tag, slot) in (self.done + 1..).zip(&mut self.slots) {
            if *slot == Slot::Return {
                *slot = Slot::Told;
                self.pending -= 1;
                self.returns -= 1;
                tell.push(Tell::Return(tag));
            }
        }
    }

    /// The tags below the lowest open one, in one word. Its tag must be outstanding itself: the broker
    /// closes the channel over a `multiple` that names a tag which it was told of before.
    fn take_lowest(&mut self, tell: &mut Vec<Tell>) {
        let (mut highest, mut count) = (0, 0);
        while let Some(slot) = self.slots.front().copied() {
            match slot {
                Slot::Open | Slot::Return => break,
                Slot::Ack { .. } => {
                    highest = self.done + 1;
                    count += 1;
                    self.pending -= 1;
                }
                Slot::Told => {}
            }
            self.slots.pop_front();
            self.done += 1;
        }
        match count {
            0 => {}
            1 => tell.push(Tell::Ack(highest)),
            _ => tell.push(Tell::AckUpTo(highest)),
        }
    }

    fn take_above(&mut self, tell: &mut Vec<Tell>) {
        for (tag, slot) in (self.done + 1..).zip(&mut self.slots) {
            if matches!(slot, Slot::Ack { .. }) {
                *slot = Slot::Told;
                self.pending -= 1;
                tell.push(Tell::Ack(tag));
            }
        }
    }
}

/// How many copies of a queue may be on their way or in work, so that all queues of the process
/// together hold no more than `budget` bytes.
pub fn prefetch(budget: usize, consumers: usize, average_size: usize) -> u16 {
    let copies = budget / consumers.max(1) / average_size.max(1);
    u16::try_from(copies.clamp(1, 500)).unwrap_or(500)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: Duration = Duration::ZERO;

    fn with(delivered: u64, settled: &[u64]) -> Acks {
        let mut acks = Acks::default();
        acks.delivered(delivered);
        for tag in settled {
            acks.settle(*tag, T0);
        }
        acks
    }

    #[test]
    fn a_run_from_the_lowest_tag_is_acknowledged_in_one_word() {
        let mut acks = with(5, &[2, 3, 1]);
        assert_eq!(acks.take(T0), [Tell::AckUpTo(3)]);
        assert_eq!(acks.take(T0), []);
        assert_eq!(acks.outstanding(), 2);
        assert_eq!(with(2, &[1]).take(T0), [Tell::Ack(1)]);
    }

    #[test]
    fn tags_above_a_gap_are_acknowledged_singly_once_the_gap_is_old() {
        let mut acks = with(4, &[2, 4]);
        assert_eq!(acks.take(T0), []);
        assert_eq!(acks.due(), Some(GAP));
        assert_eq!(acks.take(GAP), [Tell::Ack(2), Tell::Ack(4)]);
        assert_eq!(acks.due(), None);
    }

    #[test]
    fn a_multiple_ends_with_a_tag_of_which_the_broker_has_not_heard() {
        let mut acks = with(4, &[4]);
        assert_eq!(acks.take(GAP), [Tell::Ack(4)]);
        for tag in [1, 2, 3] {
            acks.settle(tag, GAP);
        }
        assert_eq!(acks.take(GAP), [Tell::AckUpTo(3)]);
        assert_eq!(acks.outstanding(), 0);
    }

    #[test]
    fn what_is_returned_goes_before_the_multiple_that_would_cover_it() {
        let mut acks = with(3, &[1, 3]);
        acks.give_back(2);
        assert_eq!(acks.take(T0), [Tell::Return(2), Tell::AckUpTo(3)]);
    }

    #[test]
    fn a_tag_settled_twice_or_unknown_is_told_once_or_never() {
        let mut acks = with(1, &[1, 1, 7, 0]);
        assert_eq!(acks.take(T0), [Tell::Ack(1)]);
        acks.settle(1, T0);
        acks.give_back(1);
        assert_eq!(acks.take(GAP), []);
    }

    #[test]
    fn the_prefetch_shares_one_budget() {
        let mib = 1024 * 1024;
        let table = [
            (32 * mib, 1, 1024, 500),
            (32 * mib, 200, 1024, 163),
            (32 * mib, 200, 256 * 1024, 1),
            (32 * mib, 0, 0, 500),
        ];
        for (budget, consumers, size, expected) in table {
            assert_eq!(prefetch(budget, consumers, size), expected);
        }
    }

    proptest! {
        /// A broker that knows what is outstanding sees each settled tag once and no open one.
        #[test]
        fn every_settled_tag_is_told_once(
            steps in prop::collection::vec((0_u8..4, 1_u64..40), 1..200)
        ) {
            let (mut acks, mut at, mut next) = (Acks::default(), T0, 1);
            let mut outstanding = std::collections::BTreeSet::new();
            let mut settled = std::collections::BTreeSet::new();
            for (kind, tag) in steps {
                match kind {
                    0 => {
                        acks.delivered(next);
                        outstanding.insert(next);
                        next += 1;
                    }
                    1 => { acks.settle(tag, at); if tag < next { settled.insert(tag); } }
                    2 => { acks.give_back(tag); if tag < next { settled.insert(tag); } }
                    _ => at += GAP / 2,
                }
                for told in acks.take(at) {
                    match told {
                        Tell::Ack(tag) | Tell::Return(tag) => {
                            prop_assert!(settled.contains(&tag));
                            prop_assert!(outstanding.remove(&tag));
                        }
                        Tell::AckUpTo(tag) => {
                            prop_assert!(outstanding.contains(&tag));
                            let covered: Vec<u64> = outstanding.range(..=tag).copied().collect();
                            for tag in covered {
                                prop_assert!(settled.contains(&tag));
                                outstanding.remove(&tag);
                            }
                        }
                    }
                }
            }
            let _ = acks.take(at + GAP);
            prop_assert_eq!(acks.outstanding() as u64, next - 1 - settled.len() as u64);
        }
    }
}
