//! The protocol register (registro di protocollo): what a registration holds, and the effects that the
//! ledger applies in its own transaction.
//!
//! Invariant: a number exists only together with its registration, in one commit. Source: DPR 445/2000
//! art. 53 (what is recorded), art. 54 (annulment keeps the record).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// Which way the document goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// In entrata.
    Incoming,
    /// In uscita.
    Outgoing,
    /// Interno.
    Internal,
}

/// One registration, complete but for what only the commit knows: number, year, time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The area organizzativa omogenea whose register it is.
    pub aoo: String,
    /// Which way.
    pub direction: Direction,
    /// Oggetto.
    pub subject: String,
    /// Everything else that the record holds (senders, recipients, documents' digests, …), as the
    /// `protocollo` adapter's input type shapes it. Stored unchanged.
    pub record: serde_json::Value,
}

/// A value that the ledger applies in its own transaction. A closed list: the ledger knows each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerEffect {
    /// Draws the next number of (AOO, year) and writes the record. Result: [`Registered`].
    Register(Registration),
    /// Marks a registration as annulled; number and record stay. Result: [`Annulled`].
    Annul {
        /// The register.
        aoo: String,
        /// The year.
        year: i16,
        /// The number.
        number: i64,
        /// The act or reason (art. 54).
        reason: String,
    },
    /// Applies nothing. Result: this value, which was worked out without asking anybody.
    Given(serde_json::Value),
    /// Reads a registration. Result: [`Found`].
    Lookup {
        /// The register.
        aoo: String,
        /// The year.
        year: i16,
        /// The number.
        number: i64,
    },
}

/// The result of `protocollo.register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registered {
    /// `0001234/2026`: at least seven digits (art. 57), then the year.
    #[schemars(extend("pattern" = NUMBER_PATTERN))]
    pub number: String,
    /// The register's AOO.
    pub aoo: String,
    /// The year in Europe/Rome.
    pub year: i16,
    /// When, UTC, RFC 3339; never before the previous number's.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub registered_at: Timestamp,
}

/// The result of `protocollo.annul`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Annulled {
    /// `0001234/2026`.
    #[schemars(extend("pattern" = NUMBER_PATTERN))]
    pub number: String,
    /// When it was annulled (by this or an earlier request), UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub annulled_at: Timestamp,
}

/// The result of `protocollo.lookup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Found {
    /// `0001234/2026`.
    #[schemars(extend("pattern" = NUMBER_PATTERN))]
    pub number: String,
    /// Oggetto.
    pub subject: String,
    /// Which way.
    pub direction: Direction,
    /// When it was registered, UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub registered_at: Timestamp,
    /// When it was annulled, if it was.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub annulled_at: Option<Timestamp>,
}

/// An entry of a register, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The year.
    pub year: i16,
    /// The number.
    pub number: i64,
    /// What art. 53 demands, as it was given.
    pub record: serde_json::Value,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// When it was annulled, if it was.
    pub annulled_at: Option<Timestamp>,
    /// By which act.
    pub annul_reason: Option<String>,
}

/// How a number of the register looks, as JSON Schemas say it.
pub const NUMBER_PATTERN: &str = "^[0-9]{7,}/[0-9]{4}$";

/// Writes a number as the register shows it.
pub fn show_number(number: i64, year: i16) -> String {
    format!("{number:07}/{year}")
}

/// Reads `0001234/2026` into (number, year).
pub fn read_number(text: &str) -> Option<(i64, i16)> {
    let (number, year) = text.split_once('/')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(number) && digits(year)).then_some(())?;
    Some((number.parse().ok()?, year.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_seven_digits_and_its_year() {
        assert_eq!(show_number(1234, 2026), "0001234/2026");
        assert_eq!(show_number(12_345_678, 2026), "12345678/2026");
        assert_eq!(read_number("0001234/2026"), Some((1234, 2026)));
        assert_eq!(read_number("-1/2026"), None);
        assert_eq!(read_number("1234"), None);
    }
}
