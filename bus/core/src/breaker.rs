//! When a target counts as away, and how what has waited for it is let go again. Pure.
//!
//! Invariant: a breaker opens on what calls have shown, never on what was asked of a person or a clock;
//! it closes only after a call, or where there is none to make a probe, has been answered.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    fault::{Fault, FaultClass},
    timestamp::Timestamp,
};

/// Calls that are remembered of one target.
const WINDOW: u32 = 20;
/// It opens when so many of them failed, the last few among them,
const FAILED: u32 = WINDOW / 2;
/// or when nobody answered at all: so often in a row.
const IN_A_ROW: u32 = 5;
/// Between probes of a target that is away.
const PROBE: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(30);
/// Deliveries a second that are let go after an outage, where the target names no rate.
pub const RELEASE: u32 = 500;

/// What a call showed of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It answered: yes, no, or nonsense.
    Answered,
    /// It answered that it cannot now, or not in time.
    Failed,
    /// Nobody answered: no name, no connection.
    Unanswered,
    /// Nothing: the call was not made.
    Nothing,
}

impl Seen {
    /// What the end of a call shows.
    pub fn of(fault: Option<&Fault>) -> Self {
        match fault.map(|fault| fault.class) {
            None | Some(FaultClass::Refused | FaultClass::Poison) => Self::Answered,
            Some(FaultClass::Transient { .. } | FaultClass::NoAnswer) => Self::Failed,
            Some(FaultClass::Outage) => Self::Unanswered,
            Some(FaultClass::NotNow { .. }) => Self::Nothing,
        }
    }
}

/// When a target that is away since `since` is asked for the next time: soon at first, every half
/// minute later.
pub fn next_probe(since: Timestamp, now: Timestamp) -> Timestamp {
    now.after(now.since(since).clamp(*PROBE.start(), *PROBE.end()))
}

/// The last calls of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// A bit for each: 1 where it failed, the last one lowest.
    failed: u32,
    calls: u32,
    unanswered: u32,
}

impl Window {
    /// Takes in one call; whether the breaker opens now.
    pub fn opens(&mut self, seen: Seen) -> bool {
        let failed = match seen {
            Seen::Nothing => return false,
            Seen::Answered => 0,
            Seen::Failed | Seen::Unanswered => 1,
        };
        self.unanswered = if seen == Seen::Unanswered { self.unanswered + 1 } else { 0 };
        self.calls = (self.calls + 1).min(WINDOW);
        self.failed = ((self.failed << 1) | failed) & ((1 << WINDOW) - 1);
        let many = self.calls == WINDOW && self.failed.count_ones() >= FAILED;
        let last = (1 << IN_A_ROW) - 1;
        (many && self.failed & last == last) || self.unanswered >= IN_A_ROW
    }
}

/// Starts so many calls a second and no more: the moment at which the next one may begin.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    per_second: u32,
    /// By uptime.
    next: Duration,
}

impl Rate {
    /// Evenly so many a second.
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.max(1), next: Duration::ZERO }
    }

    /// How long from `now` until it is the turn of one more call; its place is taken, unless that is
    /// longer than `patience`.
    pub fn turn(&mut self, now: Duration, patience: Duration) -> Result<Duration, Duration> {
        let begins = self.next.max(now);
        let wait = begins.saturating_sub(now);
        if wait > patience {
            return Err(wait);
        }
        self.next = begins + Duration::from_secs(1) / self.per_second;
        Ok(wait)
    }
}

/// What may be published of a route after an outage: half for what has waited, in order, half for what
/// comes fresh. What the fresh do not need is for the old.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    per_second: f64,
    old: f64,
    fresh: f64,
    /// By uptime.
    at: Duration,
}

impl Release {
    /// From now on, so many a second.
    pub fn new(per_second: u32, now: Duration) -> Self {
        Self { per_second: f64::from(per_second.max(2)), old: 0.0, fresh: 0.0, at: now }
    }

    fn pass(&mut self, now: Duration) {
        let half = self.per_second / 2.0;
        let more = half * now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        self.fresh += more;
        // The fresh keep a fifth of a second's worth for a burst.
        let spared = (self.fresh - half / 5.0).max(0.0);
        self.fresh -= spared;
        // No more than a second's worth: what was not let go meanwhile does not come in one burst.
        self.old = (self.old + more + spared).min(self.per_second);
    }

    /// Whether a fresh one may go at once; else it waits behind the old ones.
    pub fn lets_fresh(&mut self, now: Duration) -> bool {
        self.pass(now);
        let free = self.fresh >= 1.0;
        if free {
            self.fresh -= 1.0;
        }
        free
    }

    /// How many of the old ones may go now, at most `room`.
    pub fn let_old(&mut self, now: Duration, room: u32) -> u32 {
        self.pass(now);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between zero and the rate"
        )]
        let free = (self.old as u32).min(room);
        self.old -= f64::from(free);
        free
    }

    /// Gives back what was let go and is not there.
    pub fn give_back(&mut self, many: u32) {
        self.old = (self.old + f64::from(many)).min(self.per_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn window(calls: &[(Seen, u32)]) -> Option<u32> {
        let mut window = Window::default();
        let all = calls.iter().flat_map(|(seen, times)| (0..*times).map(|_| *seen));
        let mut opened = all.enumerate().filter(|(_, seen)| window.opens(*seen));
        opened.next().and_then(|(at, _)| u32::try_from(at + 1).ok())
    }

    #[test]
    fn it_opens_when_half_of_the_last_calls_failed_or_nobody_answers_five_times() {
        use Seen::{Answered, Failed, Nothing, Unanswered};
        assert_eq!(window(&[(Unanswered, 5)]), Some(5));
        assert_eq!(window(&[(Unanswered, 4), (Answered, 1), (Unanswered, 4)]), None);
        assert_eq!(window(&[(Failed, 19)]), None, "too few to judge by");
        assert_eq!(window(&[(Failed, 20)]), Some(20));
        assert_eq!(window(&[(Answered, 30), (Failed, 9)]), None);
        assert_eq!(window(&[(Answered, 30), (Failed, 10)]), Some(40));
        assert_eq!(window(&[(Answered, 11), (Failed, 9), (Answered, 40)]), None);
        let mixed = [(Failed, 4), (Answered, 1), (Failed, 4), (Answered, 1)].repeat(4);
        assert_eq!(window(&mixed), None, "it answers every now and then");
        assert_eq!(window(&[(Nothing, 100), (Unanswered, 4)]), None);
    }

    #[test]
    fn a_target_is_asked_soon_at_first_and_every_half_minute_later() {
        let next = |seconds: i64| next_probe(Timestamp(0), Timestamp(seconds * 1000)).0 / 1000;
        assert_eq!([0, 5, 10, 20, 40, 100_000].map(next), [5, 10, 20, 40, 70, 100_030]);
    }

    #[test]
    fn every_end_of_a_call_shows_something() {
        let of = |class| Seen::of(Some(&Fault::new(class, "SN0701", "x")));
        assert_eq!(Seen::of(None), Seen::Answered);
        assert_eq!(of(FaultClass::Refused), Seen::Answered);
        assert_eq!(of(FaultClass::Poison), Seen::Answered);
        assert_eq!(of(FaultClass::Transient { retry_after: Some(SECOND) }), Seen::Failed);
        assert_eq!(of(FaultClass::NoAnswer), Seen::Failed);
        assert_eq!(of(FaultClass::Outage), Seen::Unanswered);
        assert_eq!(of(FaultClass::NotNow { wait: SECOND }), Seen::Nothing);
    }

    #[test]
    fn calls_begin_evenly_and_a_long_wait_is_not_taken() {
        let mut rate = Rate::new(4);
        let waits: Vec<_> = (0..3).map(|_| rate.turn(SECOND, SECOND)).collect();
        assert_eq!(waits, [0, 250, 500].map(|millis| Ok(Duration::from_millis(millis))));
        for _ in 0..2 {
            rate.turn(SECOND, SECOND).expect("a turn");
        }
        assert_eq!(rate.turn(SECOND, SECOND), Err(Duration::from_millis(1250)));
        assert_eq!(rate.turn(SECOND * 9, SECOND), Ok(Duration::ZERO), "idle time is not saved up");
    }

    #[test]
    fn half_of_what_is_let_go_is_for_the_fresh_and_what_they_spare_for_the_old() {
        let mut busy = Release::new(100, Duration::ZERO);
        let (mut old, mut fresh) = (0, 0);
        for millis in 1..=10_000 {
            let now = Duration::from_millis(millis);
            old += busy.let_old(now, 1000);
            fresh += u32::from(busy.lets_fresh(now));
        }
        assert!((499..=501).contains(&old) && (499..=501).contains(&fresh), "{old} {fresh}");
        let mut quiet = Release::new(100, Duration::ZERO);
        let old: u32 = (1..=100).map(|tenth| quiet.let_old(SECOND * tenth / 10, 1000)).sum();
        assert!((949..=1000).contains(&old), "{old}");
        assert!(quiet.let_old(SECOND * 100, 1000) <= 100, "no burst");
    }
}
