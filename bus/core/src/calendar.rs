//! The calendar: days, working days and ages, on dates without a time.
//!
//! Invariant: the calendar is Italy's and only Italy's; a local patron saint is no holiday here.

use jiff::{
    ToSpan as _,
    civil::{Date, Weekday},
};

/// A hundred years.
pub(crate) const MOST_DAYS: i64 = 36_525;
/// About four years.
pub(crate) const MOST_WORKING_DAYS: i64 = 1000;

/// Reads `2026-11-24` and nothing else.
pub(crate) fn date(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    let digits = |at: usize| matches!(at, 4 | 7) == (bytes[at] == b'-');
    let shaped = bytes.len() == 10
        && (0..10).all(|at| digits(at) && (bytes[at] == b'-' || bytes[at].is_ascii_digit()));
    shaped.then(|| text.parse().ok())?.filter(|date: &Date| date.year() > 0)
}

/// A date as Italian offices and old systems write it: `24/11/2026`, `24.11.2026`, or as `date` reads it.
pub(crate) fn written(text: &str) -> Option<Date> {
    let text = text.trim();
    let sign = ['/', '.'].into_iter().find(|sign| text.contains(*sign));
    let Some(sign) = sign else { return date(text) };
    let mut parts = text.split(sign);
    let mut number = |digits: std::ops::RangeInclusive<usize>| {
        let part = parts.next()?;
        let right = digits.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i16>().ok().filter(|_| right)
    };
    let (day, month, year) = (number(1..=2)?, number(1..=2)?, number(4..=4)?);
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    (parts.next().is_none() && year > 0).then_some(date)
}

fn later(date: Date, days: i64) -> Option<Date> {
    date.checked_add(days.days()).ok().filter(|date| date.year() > 0)
}

/// The date so many days after `text`, or before it.
pub(crate) fn add_days(text: &str, days: i64) -> Option<String> {
    Some(later(date(text)?, days)?.to_string())
}

/// The so-manieth working day after `text`, or before it. With 0 the day itself, or the next working
/// day where it is none.
pub(crate) fn add_working_days(text: &str, days: i64) -> Option<String> {
    let mut date = date(text)?;
    if days == 0 {
        while !is_working(date) {
            date = later(date, 1)?;
        }
    }
    let mut left = days.abs();
    while left > 0 {
        date = later(date, days.signum())?;
        left -= i64::from(is_working(date));
    }
    Some(date.to_string())
}

/// Monday to Friday, and no national holiday.
pub(crate) fn is_working(date: Date) -> bool {
    !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday) && !is_holiday(date)
}

/// The national holidays as they are since 2001 (law 260/1949 with law 336/2000), and Saint Francis
/// since 2026 (law 151/2025).
fn is_holiday(date: Date) -> bool {
    match (date.month(), date.day()) {
        (1, 1 | 6) | (4, 25) | (5 | 11, 1) | (6, 2) | (8, 15) | (12, 8 | 25 | 26) => true,
        (10, 4) => date.year() >= 2026,
        (3 | 4, _) => easter(date.year()).and_then(|easter| later(easter, 1)) == Some(date),
        _ => false,
    }
}

/// Easter Sunday of the Gregorian calendar: the first Sunday after the full moon on which spring begins
/// or which comes next, as the Church reckons it (Butcher's rule).
fn easter(year: i16) -> Option<Date> {
    let year = i32::from(year);
    let (golden, century, of_century) = (year % 19, year / 100, year % 100);
    let correction = (8 * century + 13) / 25;
    let moon = (19 * golden + century - century / 4 - correction + 15) % 30;
    let sunday = (32 + 2 * (century % 4) + 2 * (of_century / 4) - moon - of_century % 4) % 7;
    let late = (golden + 11 * moon + 22 * sunday) / 451;
    let since = moon + sunday - 7 * late + 114;
    let (month, day) = (i8::try_from(since / 31).ok()?, i8::try_from(since % 31 + 1).ok()?);
    Date::new(i16::try_from(year).ok()?, month, day).ok()
}

/// Whole years from birth to a day. Who was born on 29 February has the birthday on the 28th in other
/// years: a term of years ends on the month's last day where the day is missing (art. 2963 c.c.).
pub(crate) fn age_on(born: &str, on: &str) -> Option<i64> {
    let (born, on) = (date(born)?, date(on)?);
    (born <= on).then_some(())?;
    let years = i64::from(on.year()) - i64::from(born.year());
    let birthday = born.checked_add(years.years()).ok()?;
    Some(if birthday > on { years - 1 } else { years })
}
