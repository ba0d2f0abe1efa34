//! How many questions a day may be put to an authority, and when the next day begins.
//!
//! Invariant: a day is one of the calendar in Italy, so that it ends when the authority's does.

use std::{collections::BTreeMap, time::Duration};

use crate::{route::Priority, timestamp::Timestamp};

/// Questions a day by operation: `limits: { per_day: { C021: 5000 } }` of an adapter instance.
pub type PerDay = BTreeMap<String, u64>;

/// The bucket from which a question is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The operation that is the question.
    pub operation: String,
    /// The day in Italy: `2026-09-14`.
    pub day: String,
    /// It is put while fewer than so many were put.
    pub most: u64,
}

impl Quota {
    /// That of a question at `now`, of an operation that may be asked `per_day` times.
    pub fn of(operation: &str, per_day: u64, priority: Priority, now: Timestamp) -> Self {
        Self { operation: operation.to_owned(), day: day(now), most: priority.most(per_day) }
    }
}

/// The day in Italy; none but for a time that no calendar has.
pub fn day(now: Timestamp) -> String {
    now.in_rome().map(|zoned| zoned.date().to_string()).unwrap_or_default()
}

/// How long it is until the next day begins.
pub fn until_tomorrow(now: Timestamp) -> Duration {
    const DAY: Duration = Duration::from_hours(24);
    let tomorrow = now.in_rome().and_then(|zoned| zoned.tomorrow().ok()?.start_of_day().ok());
    tomorrow.map_or(DAY, |start| Timestamp(start.timestamp().as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_italy() {
        let at = |text| Timestamp::parse(text).expect("a time");
        for (now, today, wait) in [
            ("2026-09-14T21:59:00Z", "2026-09-14", 60),
            ("2026-09-14T22:00:00Z", "2026-09-15", 24 * 3600),
            ("2026-12-14T22:00:00Z", "2026-12-14", 3600),
            // The clocks go back: this day has 25 hours.
            ("2026-10-24T22:00:00Z", "2026-10-25", 25 * 3600),
        ] {
            assert_eq!(day(at(now)), today);
            assert_eq!(until_tomorrow(at(now)), Duration::from_secs(wait), "{now}");
        }
    }

    #[test]
    fn what_may_wait_leaves_questions_to_what_may_not() {
        let now = Timestamp(0);
        for (priority, per_day, most) in [
            (Priority::High, 5000, 5000),
            (Priority::Normal, 5000, 4500),
            (Priority::Low, 5000, 2500),
            (Priority::Normal, 5, 5),
            (Priority::Low, 1, 0),
        ] {
            assert_eq!(Quota::of("C021", per_day, priority, now).most, most);
        }
    }
}
