//! Numbers: a decimal text to its canonical value, and back as ECMAScript writes it.
//!
//! Invariant: what is accepted means the same number after an IEEE double and back.

use serde_json::Number;

/// Up to here every integer is a double.
const SAFE: f64 = 9_007_199_254_740_992.0;

/// Reads a token of JSON's number grammar; `None` when the number would change.
pub(super) fn read(token: &str) -> Option<Number> {
    let double: f64 = token.parse().ok()?;
    if !double.is_finite() || Decimal::of_token(token) != Decimal::of_double(double) {
        return None;
    }
    canonical_number(double)
}

/// The canonical number of a double: an integer where it is one, `-0` is `0`; `None` for NaN and
/// infinities.
pub fn canonical_number(double: f64) -> Option<Number> {
    if double.fract() != 0.0 || !double.is_finite() {
        return Number::from_f64(double);
    }
    if double.abs() <= SAFE {
        #[expect(clippy::cast_possible_truncation, reason = "an integer of at most 2^53")]
        return Some(Number::from(double as i64));
    }
    let text = Decimal::of_double(double).ecmascript();
    let whole = text.parse::<i64>().map(Number::from);
    whole
        .or_else(|_| text.parse::<u64>().map(Number::from))
        .ok()
        .or_else(|| Number::from_f64(double))
}

/// Writes a number as ECMAScript does (RFC 8785, 3.2.2.3).
pub(super) fn write(number: &Number, out: &mut Vec<u8>) {
    const SMALL: u64 = 1 << 53;
    if let Some(integer) = number.as_i64().filter(|integer| integer.unsigned_abs() <= SMALL) {
        write_integer(integer, out);
    } else {
        let double = number.as_f64().unwrap_or_default();
        out.extend_from_slice(Decimal::of_double(double).ecmascript().as_bytes());
    }
}

fn write_integer(integer: i64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = integer.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if integer < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// `± 0.digits × 10^point`: digits without zeros at either end; zero has none and no sign.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    point: i64,
}

impl Decimal {
    fn of_token(token: &str) -> Self {
        let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
        let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        if digits.is_empty() {
            return Self::default();
        }
        let zeros = all.len() - digits.len();
        // An exponent beyond i32 is beyond every double: then the other side differs anyway.
        let exponent = exponent.parse::<i32>().map_or(i64::MAX / 2, i64::from);
        let point = exponent + whole.len().cast_signed() as i64 - zeros.cast_signed() as i64;
        let digits = digits.trim_end_matches('0').to_owned();
        Self { negative: mantissa.starts_with('-'), digits, point }
    }

    /// The shortest digits that give this double again; of two, the even one (as ECMAScript says,
    /// and unlike `format!`).
    fn of_double(double: f64) -> Self {
        Number::from_f64(double)
            .map(|number| Self::of_token(&number.to_string()))
            .unwrap_or_default()
    }

    fn ecmascript(&self) -> String {
        let (digits, count) = (self.digits.as_str(), self.digits.len().cast_signed() as i64);
        let sign = if self.negative { "-" } else { "" };
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
        match self.point {
            _ if digits.is_empty() => "0".to_owned(),
            point if count <= point && point <= 21 => {
                format!("{sign}{digits}{}", zeros(point - count))
            }
            point if 0 < point && point <= 21 => {
                let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or_default());
                format!("{sign}{whole}.{fraction}")
            }
            point if -6 < point && point <= 0 => format!("{sign}0.{}{digits}", zeros(-point)),
            point => {
                let (first, rest) = digits.split_at(1);
                let dot = if rest.is_empty() { "" } else { "." };
                format!("{sign}{first}{dot}{rest}e{:+}", point - 1)
            }
        }
    }
}
