//! When a route runs that no message starts: `from: { every: "day at 02:30", zone: Europe/Rome }`.
//!
//! Invariant: a period has one name and one instant, whoever works it out and when; a time that a day
//! does not have runs at the next instant that there is, one that it has twice runs once.

use std::fmt;

use jiff::{
    Timestamp as Instant, ToSpan as _, Zoned,
    civil::{Date, Time, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};
use serde_json::{Value, json};

use crate::{calendar::is_working, timestamp::Timestamp};

/// When, and where it is that time.
#[derive(Clone, Debug)]
pub struct Schedule {
    every: Every,
    zone: TimeZone,
}

/// One time at which a schedule runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its name: the time as the schedule says it, such as `2026-11-24T02:30`; where a schedule runs
    /// several times an hour or in the hour that autumn has twice, with its offset.
    pub name: String,
    /// When its time comes.
    pub at: Timestamp,
}

/// `every:`, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Every {
    /// `15 minutes`, `minute`: the minutes of each hour that this number divides.
    Minutes(i64),
    /// `hour at :05`, `hour`: that minute of each hour.
    Hour(i64),
    /// The days that match, at a time.
    At(Days, Time),
}

/// Which days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Days {
    /// `day at 02:30`
    Each,
    /// `working day at 07:00`: Monday to Friday, and no national holiday of Italy.
    Working,
    /// `monday at 07:00`
    Weekday(Weekday),
    /// `month on day 5 at 06:00`
    OfMonth(i8),
    /// `month on last day at 06:00`
    LastOfMonth,
}

/// Why `every:` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotUnderstood {
    /// What stands beside it.
    pub(crate) label: &'static str,
    /// What to write instead.
    pub(crate) help: &'static str,
}

const UNKNOWN: NotUnderstood = NotUnderstood {
    label: "not understood",
    help: "write one of `15 minutes`, `hour at :05`, `day at 02:30`, `working day at 07:00`, \
           `monday at 07:00`, `month on day 5 at 06:00`, `month on last day at 06:00`",
};
const NO_DIVISOR: NotUnderstood = NotUnderstood {
    label: "it does not divide the hour",
    help: "write a number that divides 60: 1, 2, 3, 4, 5, 6, 10, 12, 15, 20 or 30",
};
const NO_MINUTE: NotUnderstood =
    NotUnderstood { label: "no minute", help: "write the minute with two digits: `hour at :05`" };
const NO_TIME: NotUnderstood = NotUnderstood {
    label: "no time of day",
    help: "write the time with two digits each, from 00:00 to 23:59: `day at 02:30`",
};
const NO_DAY: NotUnderstood = NotUnderstood {
    label: "not in every month",
    help: "write a day from 1 to 28, which every month has, or `month on last day at …`",
};

impl Every {
    /// Reads the words of `every:`.
    pub(crate) fn parse(text: &str) -> Result<Self, NotUnderstood> {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["minute"] => Ok(Self::Minutes(1)),
            [number, "minutes"] => {
                let number = number.parse().ok().filter(|n| (1..60).contains(n) && 60 % n == 0);
                number.map(Self::Minutes).ok_or(NO_DIVISOR)
            }
            ["hour"] => Ok(Self::Hour(0)),
            ["hour", "at", minute] => {
                let minute = minute.strip_prefix(':').and_then(|text| two_digits(text, 59));
                minute.map(|minute| Self::Hour(minute.into())).ok_or(NO_MINUTE)
            }
            ["day", "at", time] => at(Days::Each, time),
            ["working", "day", "at", time] => at(Days::Working, time),
            ["month", "on", "last", "day", "at", time] => at(Days::LastOfMonth, time),
            ["month", "on", "day", day, "at", time] => {
                let day = day.parse().ok().filter(|day| (1..=28).contains(day));
                at(Days::OfMonth(day.ok_or(NO_DAY)?), time)
            }
            [day, "at", time] => {
                let day = weekday(day).ok_or(UNKNOWN)?;
                at(Days::Weekday(day), time)
            }
            _ => Err(UNKNOWN),
        }
    }
}

fn at(days: Days, time: &str) -> Result<Every, NotUnderstood> {
    let read = || {
        let (hour, minute) = time.split_once(':')?;
        Time::new(two_digits(hour, 23)?, two_digits(minute, 59)?, 0, 0).ok()
    };
    read().map(|time| Every::At(days, time)).ok_or(NO_TIME)
}

fn two_digits(text: &str, most: i8) -> Option<i8> {
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?.filter(|number| *number <= most)
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

/// The zone that is called so in the IANA database.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

impl Schedule {
    pub(crate) fn new(every: Every, zone: TimeZone) -> Self {
        Self { every, zone }
    }

    /// The last period whose time has come at `now`. Whatever was missed before it stays missed.
    pub fn latest(&self, now: Timestamp) -> Option<Period> {
        let now = self.civil(now)?;
        match self.every {
            Every::Minutes(minutes) => {
                let over = i64::from(now.minute()) % minutes;
                Some(self.exact(whole_minute(&now)?.checked_sub(over.minutes()).ok()?))
            }
            Every::Hour(minute) => {
                let over = (i64::from(now.minute()) - minute).rem_euclid(60);
                Some(self.exact(whole_minute(&now)?.checked_sub(over.minutes()).ok()?))
            }
            Every::At(days, time) => {
                let before = |past: i64| now.date().checked_sub(past.days()).ok();
                let dates = (0..=MOST_DAYS).filter_map(before).filter(|date| days.include(*date));
                let mut periods = dates.filter_map(|date| self.on(date, time));
                periods.find(|period| period.at.0 <= now.timestamp().as_millisecond())
            }
        }
    }

    /// The first period whose time comes after `now`.
    pub fn next(&self, now: Timestamp) -> Option<Period> {
        let civil = self.civil(now)?;
        match self.every {
            Every::Minutes(_) | Every::Hour(_) => {
                // Offsets are whole minutes, so stepping by minutes misses nothing.
                let last = self.latest(now)?.at;
                let later = (1..=120).map(|minutes| Timestamp(last.0 + minutes * 60_000));
                later.filter_map(|at| self.latest(at)).find(|period| period.at > now)
            }
            Every::At(days, time) => {
                let after = |ahead: i64| civil.date().checked_add(ahead.days()).ok();
                let dates = (0..=MOST_DAYS).filter_map(after).filter(|date| days.include(*date));
                let mut periods = dates.filter_map(|date| self.on(date, time));
                periods.find(|period| period.at > now)
            }
        }
    }

    /// What the message of a period says. `since` is when the period before it ran, missed ones left
    /// out; none for the first.
    pub fn data(period: &Period, since: Option<Timestamp>) -> Value {
        json!({ "period": period.name, "scheduledFor": period.at, "since": since })
    }

    fn civil(&self, now: Timestamp) -> Option<Zoned> {
        Some(Instant::from_millisecond(now.0).ok()?.to_zoned(self.zone.clone()))
    }

    /// A period that is an instant, named with its offset.
    fn exact(&self, at: Instant) -> Period {
        let civil = at.to_zoned(self.zone.clone());
        let name = civil.strftime("%Y-%m-%dT%H:%M%:z").to_string();
        Period { name, at: Timestamp(at.as_millisecond()) }
    }

    /// The period of a day.
    fn on(&self, date: Date, time: Time) -> Option<Period> {
        let civil = date.to_datetime(time);
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        let at = match ambiguous.offset() {
            // The next instant that there is: the moment at which the clocks go forward.
            AmbiguousOffset::Gap { .. } => {
                self.zone.following(ambiguous.earlier().ok()?).next()?.timestamp()
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                ambiguous.earlier().ok()?
            }
        };
        let name = civil.strftime("%Y-%m-%dT%H:%M").to_string();
        Some(Period { name, at: Timestamp(at.as_millisecond()) })
    }
}

/// A month and its longest gap between two last days.
const MOST_DAYS: i64 = 62;

fn whole_minute(now: &Zoned) -> Option<Instant> {
    let over = now.timestamp().as_second().rem_euclid(60);
    Instant::from_second(now.timestamp().as_second() - over).ok()
}

impl Days {
    fn include(self, date: Date) -> bool {
        match self {
            Self::Each => true,
            Self::Working => is_working(date),
            Self::Weekday(weekday) => date.weekday() == weekday,
            Self::OfMonth(day) => date.day() == day,
            Self::LastOfMonth => date.day() == date.days_in_month(),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(every: &str) -> Schedule {
        let rome = zone("Europe/Rome").expect("bundled");
        Schedule::new(Every::parse(every).unwrap_or_else(|why| panic!("{every}: {why:?}")), rome)
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    /// The latest period at `now`, and the next one: names and instants.
    fn check(every: &str, now: &str, latest: (&str, &str), next: (&str, &str)) {
        let schedule = schedule(every);
        let shown = |period: Option<Period>| {
            let period = period.expect("there is one");
            (period.name, period.at.to_string().replace(":00.000Z", "Z"))
        };
        let found = (shown(schedule.latest(at(now))), shown(schedule.next(at(now))));
        let owned = |(name, at): (&str, &str)| (name.to_owned(), at.to_owned());
        assert_eq!(found, (owned(latest), owned(next)), "{every} at {now}");
    }

    #[test]
    fn a_day_has_its_period_in_winter_and_in_summer() {
        check(
            "day at 02:30",
            "2026-11-24T01:29:59Z",
            ("2026-11-23T02:30", "2026-11-23T01:30Z"),
            ("2026-11-24T02:30", "2026-11-24T01:30Z"),
        );
        check(
            "day at 02:30",
            "2026-11-24T01:30:00Z",
            ("2026-11-24T02:30", "2026-11-24T01:30Z"),
            ("2026-11-25T02:30", "2026-11-25T01:30Z"),
        );
        check(
            "day at 23:55",
            "2026-07-01T21:55:00Z",
            ("2026-07-01T23:55", "2026-07-01T21:55Z"),
            ("2026-07-02T23:55", "2026-07-02T21:55Z"),
        );
    }

    #[test]
    fn a_time_that_spring_leaves_out_runs_at_the_next_instant_there_is() {
        // On 29 March 2026 Rome goes from 02:00 to 03:00, at 01:00 UTC.
        check(
            "day at 02:30",
            "2026-03-29T00:59:59Z",
            ("2026-03-28T02:30", "2026-03-28T01:30Z"),
            ("2026-03-29T02:30", "2026-03-29T01:00Z"),
        );
        check(
            "day at 02:00",
            "2026-03-29T01:00:00Z",
            ("2026-03-29T02:00", "2026-03-29T01:00Z"),
            ("2026-03-30T02:00", "2026-03-30T00:00Z"),
        );
        check(
            "day at 03:00",
            "2026-03-29T01:00:00Z",
            ("2026-03-29T03:00", "2026-03-29T01:00Z"),
            ("2026-03-30T03:00", "2026-03-30T01:00Z"),
        );
    }

    #[test]
    fn a_time_that_autumn_has_twice_runs_once() {
        // On 25 October 2026 Rome goes from 03:00 to 02:00, at 01:00 UTC.
        check(
            "day at 02:30",
            "2026-10-25T00:30:00Z",
            ("2026-10-25T02:30", "2026-10-25T00:30Z"),
            ("2026-10-26T02:30", "2026-10-26T01:30Z"),
        );
        check(
            "day at 02:30",
            "2026-10-25T01:30:00Z",
            ("2026-10-25T02:30", "2026-10-25T00:30Z"),
            ("2026-10-26T02:30", "2026-10-26T01:30Z"),
        );
    }

    #[test]
    fn hours_and_minutes_run_in_both_hours_that_are_called_alike() {
        check(
            "hour at :05",
            "2026-10-25T01:04:59Z",
            ("2026-10-25T02:05+02:00", "2026-10-25T00:05Z"),
            ("2026-10-25T02:05+01:00", "2026-10-25T01:05Z"),
        );
        check(
            "30 minutes",
            "2026-10-25T00:59:59Z",
            ("2026-10-25T02:30+02:00", "2026-10-25T00:30Z"),
            ("2026-10-25T02:00+01:00", "2026-10-25T01:00Z"),
        );
        check(
            "15 minutes",
            "2026-03-29T00:59:00Z",
            ("2026-03-29T01:45+01:00", "2026-03-29T00:45Z"),
            ("2026-03-29T03:00+02:00", "2026-03-29T01:00Z"),
        );
        check(
            "hour",
            "2026-11-24T10:00:00Z",
            ("2026-11-24T11:00+01:00", "2026-11-24T10:00Z"),
            ("2026-11-24T12:00+01:00", "2026-11-24T11:00Z"),
        );
    }

    #[test]
    fn days_are_counted_by_the_calendar() {
        check(
            "working day at 07:00",
            "2026-12-27T12:00:00Z",
            ("2026-12-24T07:00", "2026-12-24T06:00Z"),
            ("2026-12-28T07:00", "2026-12-28T06:00Z"),
        );
        check(
            "monday at 07:00",
            "2026-11-23T06:00:00Z",
            ("2026-11-23T07:00", "2026-11-23T06:00Z"),
            ("2026-11-30T07:00", "2026-11-30T06:00Z"),
        );
        check(
            "month on day 5 at 06:00",
            "2026-03-01T00:00:00Z",
            ("2026-02-05T06:00", "2026-02-05T05:00Z"),
            ("2026-03-05T06:00", "2026-03-05T05:00Z"),
        );
        check(
            "month on last day at 06:00",
            "2028-02-29T04:59:59Z",
            ("2028-01-31T06:00", "2028-01-31T05:00Z"),
            ("2028-02-29T06:00", "2028-02-29T05:00Z"),
        );
    }

    #[test]
    fn the_periods_of_two_years_follow_one_another_without_gap_or_double() {
        let begin = at("2026-01-01T00:00:00Z");
        let end = at("2028-01-01T00:00:00Z");
        for (every, expected) in [
            ("day at 02:30", 730),
            ("day at 00:00", 730),
            ("hour at :59", 730 * 24),
            ("monday at 02:59", 104),
            ("month on last day at 23:59", 24),
            ("working day at 08:00", 508),
        ] {
            let schedule = schedule(every);
            let mut names = std::collections::BTreeSet::new();
            let mut now = begin;
            while let Some(period) = schedule.next(now).filter(|period| period.at < end) {
                assert!(period.at > now, "{every}");
                assert_eq!(schedule.latest(period.at), Some(period.clone()), "{every}");
                now = period.at;
                assert!(names.insert(period.name), "{every}");
            }
            assert_eq!(names.len(), expected, "{every}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_in_words() {
        let check = |every: &str, label: &str| {
            assert_eq!(Every::parse(every).expect_err(every).label, label, "{every}");
        };
        check("7 minutes", "it does not divide the hour");
        check("60 minutes", "it does not divide the hour");
        check("day at 2:30", "no time of day");
        check("day at 24:00", "no time of day");
        check("day at :30", "no time of day");
        check("hour at 05", "no minute");
        check("month on day 31 at 06:00", "not in every month");
        check("fortnight", "not understood");
        check("someday at 07:00", "not understood");
        check("Day at 07:00", "not understood");
        check("2 hours", "not understood");
        check("", "not understood");
    }
}
