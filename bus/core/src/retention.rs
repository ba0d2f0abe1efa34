//! Retention: what of a message may be kept no longer, and when to look at it again.
//!
//! Invariant: pure. What is open, parked or uncertain is never touched; a body goes first, and what says
//! that the message was here goes last, after everything that came of it.

use std::{collections::BTreeMap, time::Duration};

use crate::timestamp::Timestamp;

/// Between looks at what cannot go yet for another reason than its time.
pub const AGAIN: Duration = Duration::from_hours(24);
/// New messages are looked at so long after the earliest moment at which one of them may go: by then
/// most have ended long enough ago, and one look is enough.
pub const SLACK: Duration = Duration::from_hours(1);

/// How long what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Bodies and results of subscribers that `of` does not name: parties, routes that are gone.
    pub bodies: Duration,
    /// Everything else: who sent what when, and what became of it. Also the time for which a repeated
    /// message is known.
    pub metadata: Duration,
    /// Bodies and results, by route: what its purpose says.
    pub of: BTreeMap<String, Duration>,
}

impl Keep {
    fn bodies_of(&self, subscriber: &str) -> Duration {
        self.of.get(subscriber).copied().unwrap_or(self.bodies)
    }

    /// New messages that came before this are looked at.
    pub fn looks_before(&self, now: Timestamp) -> Timestamp {
        let shortest = self.of.values().copied().fold(self.bodies, Duration::min);
        now.before(shortest.min(self.metadata)).before(SLACK)
    }
}

/// A message, as far as retention asks about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its sequence.
    pub seq: i64,
    /// When it was accepted or emitted.
    pub accepted_at: Timestamp,
    /// Whether it is looked at for the first time.
    pub is_new: bool,
    /// Whether its body is still there.
    pub has_body: bool,
    /// Whether it has to stay for now: a message that one of its deliveries emitted is still there; or it,
    /// or a delivery of it, has the highest sequence, which a database would give again.
    pub is_held: bool,
    /// Its deliveries.
    pub deliveries: Vec<Owed>,
}

/// A delivery of such a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Who was owed it.
    pub subscriber: String,
    /// When it ended; none while it is open, parked or uncertain.
    pub ended: Option<Timestamp>,
    /// How many steps were done.
    pub steps: u32,
}

impl Kept {
    /// How many rows go with it at most.
    pub fn rows(&self) -> usize {
        let steps: usize = self.deliveries.iter().map(|owed| owed.steps as usize).sum();
        2 + self.deliveries.len() + steps
    }
}

/// What becomes of it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing; it is looked at again then.
    Look(Timestamp),
    /// Body and results go; it is looked at again then.
    Body(Timestamp),
    /// All of it goes.
    All,
}

/// Decides about one message at `now`.
pub fn next(kept: &Kept, keep: &Keep, now: Timestamp) -> Next {
    let again = now.after(AGAIN);
    let (mut ended, mut body_until) = (kept.accepted_at, kept.accepted_at);
    for owed in &kept.deliveries {
        let Some(at) = owed.ended else { return Next::Look(again) };
        ended = ended.max(at);
        body_until = body_until.max(at.after(keep.bodies_of(&owed.subscriber)));
    }
    if kept.deliveries.is_empty() {
        body_until = ended.after(keep.bodies);
    }
    let until = body_until.max(ended.after(keep.metadata));
    match kept.has_body {
        true if now < body_until => Next::Look(body_until),
        true if now < until => Next::Body(until),
        true if kept.is_held => Next::Body(again),
        false if now < until => Next::Look(until),
        false if kept.is_held => Next::Look(again),
        _ => Next::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn day(n: u32) -> Timestamp {
        Timestamp(0).after(DAY * n)
    }

    fn keep() -> Keep {
        let of = [("tax".to_owned(), DAY * 90), ("short".to_owned(), DAY)].into();
        Keep { bodies: DAY * 30, metadata: DAY * 395, of }
    }

    fn owed(subscriber: &str, ended: Option<u32>) -> Owed {
        Owed { subscriber: subscriber.to_owned(), ended: ended.map(day), steps: 2 }
    }

    fn kept(deliveries: &[Owed]) -> Kept {
        Kept {
            seq: 1,
            accepted_at: day(0),
            is_new: true,
            has_body: true,
            is_held: false,
            deliveries: deliveries.to_vec(),
        }
    }

    #[test]
    fn a_body_stays_until_the_longest_of_its_purposes_is_over_and_the_rest_longer() {
        let both = kept(&[owed("tax", Some(1)), owed("short", Some(5))]);
        let without = Kept { has_body: false, ..both.clone() };
        for (kept, now, next_is) in [
            (&both, 6, Next::Look(day(91))),
            (&both, 90, Next::Look(day(91))),
            (&both, 91, Next::Body(day(400))),
            (&both, 400, Next::All),
            (&without, 91, Next::Look(day(400))),
            (&without, 399, Next::Look(day(400))),
            (&without, 400, Next::All),
        ] {
            assert_eq!(next(kept, &keep(), day(now)), next_is, "on day {now}");
        }
    }

    #[test]
    fn what_somebody_is_owed_is_never_touched() {
        let open = kept(&[owed("short", Some(1)), owed("party:region", None)]);
        assert_eq!(next(&open, &keep(), day(9000)), Next::Look(day(9001)));
    }

    #[test]
    fn whom_nobody_names_is_kept_as_long_as_the_configuration_says() {
        for kept in
            [kept(&[]), kept(&[owed("party:region", Some(0))]), kept(&[owed("gone", Some(0))])]
        {
            assert_eq!(next(&kept, &keep(), day(29)), Next::Look(day(30)));
            assert_eq!(next(&kept, &keep(), day(30)), Next::Body(day(395)));
        }
    }

    #[test]
    fn what_is_held_loses_its_body_and_nothing_else() {
        let held = Kept { is_held: true, ..kept(&[owed("short", Some(0))]) };
        assert_eq!(next(&held, &keep(), day(500)), Next::Body(day(501)));
        let without = Kept { has_body: false, ..held };
        assert_eq!(next(&without, &keep(), day(500)), Next::Look(day(501)));
    }

    #[test]
    fn metadata_is_kept_no_shorter_than_the_body() {
        let keep = Keep { metadata: DAY * 7, ..keep() };
        let kept = kept(&[owed("tax", Some(0))]);
        assert_eq!(next(&kept, &keep, day(89)), Next::Look(day(90)));
        assert_eq!(next(&kept, &keep, day(90)), Next::All);
        assert_eq!(keep.looks_before(day(10)), day(9).before(SLACK));
    }
}
