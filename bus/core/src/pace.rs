//! When a free writer begins its next group: at once, or a little later, because more is surely coming.
//!
//! Invariant: pure. Nothing waits on a quiet bus; nothing ever waits longer than its pace.

use std::time::Duration;

/// From the start of one group to the start of the next, where rows come thick.
const PACE: Duration = Duration::from_millis(8);
/// The same, where a sender waits for the answer to an accept.
const PACE_OF_ACCEPTS: Duration = Duration::from_millis(3);
/// Rows that make a group worth its fixed cost: then it begins whatever the pace.
const ENOUGH: usize = 256;
/// Where fewer rows than this come during a pace, waiting would gather nothing.
const FEW: f64 = 24.0;
/// The weight of the newest group in the rate.
const NEWEST: f64 = 0.3;

/// How thick rows come, from group to group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    began: Option<Duration>,
    /// Rows a second.
    rate: f64,
}

/// What waits for the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many rows.
    pub rows: usize,
    /// Whether a sender waits for one of them.
    pub accepts: bool,
}

impl Pace {
    /// How long a group of what waits is still held back; none: it begins now.
    pub fn hold(&self, waiting: Waiting, now: Duration) -> Option<Duration> {
        let pace = if waiting.accepts { PACE_OF_ACCEPTS } else { PACE };
        let due = self.began? + pace;
        let gathers = self.rate * pace.as_secs_f64() >= FEW;
        let left = due.checked_sub(now).filter(|left| !left.is_zero());
        left.filter(|_| gathers && waiting.rows < ENOUGH)
    }

    /// A group of `rows` begins.
    pub fn begins(&mut self, rows: usize, now: Duration) {
        let since = self.began.map_or(PACE, |began| now.saturating_sub(began));
        // A pause says that nothing came; a burst within one microsecond says no more than that.
        let seconds = since.max(Duration::from_micros(100)).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a group has hundreds of rows")]
        let newest = rows as f64 / seconds;
        self.rate += (newest - self.rate) * NEWEST;
        self.began = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A pace after groups of `rows`, `every` so often; and now.
    fn after(rows: usize, every: Duration) -> (Pace, Duration) {
        let mut pace = Pace::default();
        let mut now = Duration::ZERO;
        for _ in 0..50 {
            now += every;
            pace.begins(rows, now);
        }
        (pace, now)
    }

    fn few(accepts: bool) -> Waiting {
        Waiting { rows: 3, accepts }
    }

    #[test]
    fn a_quiet_bus_never_waits() {
        assert_eq!(Pace::default().hold(few(false), MS), None);
        // A hundred messages a second, five rows each.
        let (pace, now) = after(5, MS * 10);
        assert_eq!(pace.hold(few(false), now + MS), None);
    }

    #[test]
    fn where_rows_come_thick_a_group_waits_for_its_pace_and_no_longer() {
        let (pace, now) = after(60, MS * 6);
        assert_eq!(pace.hold(few(false), now + MS), Some(MS * 7));
        assert_eq!(pace.hold(few(true), now + MS), Some(MS * 2));
        assert_eq!(pace.hold(few(true), now + MS * 3), None);
        assert_eq!(pace.hold(few(false), now + MS * 8), None);
    }

    #[test]
    fn a_large_group_begins_at_once() {
        let (pace, now) = after(60, MS * 6);
        let large = Waiting { rows: ENOUGH, accepts: false };
        assert_eq!(pace.hold(large, now + MS), None);
    }

    #[test]
    fn a_burst_after_a_pause_does_not_wait() {
        let (mut pace, now) = after(5, MS * 100);
        pace.begins(100, now + Duration::from_secs(1));
        assert_eq!(pace.hold(few(false), now + Duration::from_secs(1) + MS), None);
    }

    #[test]
    fn the_pace_ends_with_the_load() {
        let (mut pace, mut now) = after(200, MS * 8);
        let mut groups = 0;
        while pace.hold(few(false), now + MS).is_some() {
            now += MS * 8;
            pace.begins(2, now);
            groups += 1;
        }
        assert!(groups < 20, "{groups} groups of two rows were still held back");
    }
}
