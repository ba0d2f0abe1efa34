//! Amounts and numbers as people and old systems write them.
//!
//! Invariant: money never goes through a float; a text that could mean two amounts means none.

use serde_json::Number;

use super::super::jq::canonical;

/// Whole cents up to here are exact in every reader of JSON.
const MOST: i64 = 9_007_199_254_740_991;

/// `19,99`, `1.234,56`, `-3`, `€ 5`, `19.99` as whole cents.
///
/// A dot before exactly three digits parts thousands, so `1.234` alone could be either and is none.
pub(super) fn cents(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = text.strip_prefix('€').or_else(|| text.strip_suffix('€')).unwrap_or(text).trim();
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest.trim_start()),
        None => (1, text),
    };
    let (whole, decimals) = parts(text)?;
    let hundredths = match decimals.len() {
        0 => 0,
        1 => 10 * decimals.parse::<i64>().ok()?,
        _ => decimals.parse().ok()?,
    };
    let cents = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
    (cents <= MOST).then_some(sign * cents)
}

/// The digits before and after the decimal sign; of the latter at most two.
fn parts(text: &str) -> Option<(String, &str)> {
    if let Some((whole, decimals)) = text.split_once(',') {
        let decimals = Some(decimals).filter(|text| is_digits(text) && text.len() <= 2)?;
        return Some((grouped(whole)?, decimals));
    }
    if is_digits(text) {
        return Some((text.to_owned(), ""));
    }
    if let Some((whole, decimals)) = text.split_once('.')
        && is_digits(whole)
        && is_digits(decimals)
        && decimals.len() <= 2
    {
        return Some((whole.to_owned(), decimals));
    }
    // Two dots or more can only part thousands.
    grouped(text).filter(|_| text.matches('.').count() > 1).map(|whole| (whole, ""))
}

/// Digits, or groups of three parted by dots: `1.234.567`.
fn grouped(text: &str) -> Option<String> {
    let mut groups = text.split('.');
    let first = groups.next().filter(|first| is_digits(first))?;
    let rest: Vec<&str> = groups.collect();
    let whole = rest.iter().all(|group| group.len() == 3 && is_digits(group));
    (whole && (rest.is_empty() || first.len() <= 3)).then(|| first.to_owned() + &rest.concat())
}

/// `12`, `-3.5`, `12,5`: one decimal sign, no thousands, no exponent.
pub(super) fn number(text: &str) -> Option<Number> {
    let text = text.trim();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once([',', '.']).unwrap_or((unsigned, "0"));
    (is_digits(whole) && is_digits(decimals)).then_some(())?;
    canonical(&text.replace(',', ".")).ok()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
