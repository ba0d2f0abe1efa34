//! The daily register (registro giornaliero): every registration and annulment of a day, as a document.
//! Sources: DPR 445/2000 art. 53 c. 2, DPCM 3 December 2013 art. 7.
//!
//! Invariant: only days that are over; so the same days give the same bytes, whenever they are asked for.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use snodo_core::{
    adapter::{Call, Receipt},
    document::Document,
    fault::{Fault, FaultClass},
    kept::{Days, Making},
    timestamp::Timestamp,
};

use super::{Protocollo, read, refused};
use crate::typed::write_result;

/// The input of `daily_register`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DailyRegister {
    /// The last day, which must be over.
    #[schemars(extend("format" = "date"))]
    pub day: String,
    /// When the register was made before, if it was: days that an outage missed are in this one.
    #[serde(default)]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
}

/// The result of `daily_register`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MadeRegister {
    /// The first day.
    #[schemars(extend("format" = "date"))]
    pub from: String,
    /// The last day.
    #[schemars(extend("format" = "date"))]
    pub day: String,
    /// The register as a document.
    pub document: Document,
}

/// The days of a register, and their ends in Rome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Period {
    first: Date,
    last: Date,
    from: Timestamp,
    until: Timestamp,
}

impl Period {
    /// From the day on which the register was last made (it closed the one before) to `day`.
    fn of(day: &str, since: Option<&str>) -> Option<Self> {
        let last: Date = day.parse().ok()?;
        let since = since.map(|at| Timestamp::parse(at)?.in_rome()).unwrap_or_default();
        let first = since.map_or(last, |since| since.date().min(last));
        Some(Self { first, last, from: midnight(first)?, until: midnight(last.tomorrow().ok()?)? })
    }
}

fn midnight(day: Date) -> Option<Timestamp> {
    let rome = day.in_tz("Europe/Rome").ok()?;
    Some(Timestamp(rome.timestamp().as_millisecond()))
}

impl Protocollo {
    pub(super) async fn daily_register(&self, call: &Call<'_>) -> Result<Receipt, Fault> {
        let input: DailyRegister = read(call)?;
        let period = Period::of(&input.day, input.since.as_deref()).ok_or_else(|| {
            refused("a date of the daily register is not of the calendar", "wrong_date")
        })?;
        if call.kept.now() < period.until {
            return Err(not_over());
        }
        let document = match call.kept.made(call.step_key).await? {
            Some(made) => made,
            None => self.write(call, &period).await?,
        };
        let made =
            MadeRegister { from: period.first.to_string(), day: period.last.to_string(), document };
        let result = write_result(&made)?;
        Ok(Receipt { result, reference: None, evidence: None })
    }

    /// Writes it page by page: one entry a line, so that it can be read without being held.
    async fn write(&self, call: &Call<'_>, period: &Period) -> Result<Document, Fault> {
        let days = Days { aoo: &self.aoo, from: period.from, until: period.until };
        let mut making = call.kept.make(call.step_key).await?;
        let head = json!({
            "register": "registro giornaliero di protocollo",
            "aoo": self.aoo, "from": period.first.to_string(), "to": period.last.to_string(),
        });
        let head = head.to_string();
        line(&mut *making, &format!("{},\"entries\":[", head.trim_end_matches('}'))).await?;
        let (mut after, mut count) = (None, 0_u64);
        loop {
            let page = call.kept.entries(&days, after).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.year, last.number));
            for entry in &page {
                let comma = if count == 0 { "" } else { "," };
                line(&mut *making, &format!("{comma}{}", entry.shown(period.until))).await?;
                count += 1;
            }
        }
        line(&mut *making, &format!("],\"count\":{count}}}")).await?;
        let name = format!("registro-giornaliero-{}-{}.json", self.aoo, period.last);
        making.finish(name, "application/json".to_owned()).await
    }
}

async fn line(making: &mut dyn Making, text: &str) -> Result<(), Fault> {
    making.write(format!("{text}\n").as_bytes()).await
}

fn not_over() -> Fault {
    let text = "the day is not over in Rome: its register would not be complete";
    Fault::new(FaultClass::Refused, "SN0735", text).with_reason("day_not_over")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(day: &str, since: Option<&str>) -> Option<(String, String, String, String)> {
        let period = Period::of(day, since)?;
        let Period { first, last, from, until } = period;
        Some((first.to_string(), last.to_string(), from.to_string(), until.to_string()))
    }

    #[test]
    fn a_register_has_the_days_since_the_last_one_as_rome_counts_them() {
        let of = |[first, last, from, until]: [&str; 4]| {
            Some((first.to_owned(), last.to_owned(), from.to_owned(), until.to_owned()))
        };
        let day = of([
            "2026-11-24",
            "2026-11-24",
            "2026-11-23T23:00:00.000Z",
            "2026-11-24T23:00:00.000Z",
        ]);
        assert_eq!(days("2026-11-24", None), day);
        assert_eq!(days("2026-11-24", Some("2026-11-24T01:30:00Z")), day);
        assert_eq!(
            days("2026-11-24", Some("2026-11-23T23:30:00Z")),
            day,
            "half past midnight in Rome"
        );
        assert_eq!(days("2026-11-24", Some("2027-01-01T00:00:00Z")), day, "never an empty span");
        let missed = of([
            "2026-11-22",
            "2026-11-24",
            "2026-11-21T23:00:00.000Z",
            "2026-11-24T23:00:00.000Z",
        ]);
        assert_eq!(days("2026-11-24", Some("2026-11-22T01:30:00Z")), missed);
        let summer = of([
            "2026-10-25",
            "2026-10-25",
            "2026-10-24T22:00:00.000Z",
            "2026-10-25T23:00:00.000Z",
        ]);
        assert_eq!(days("2026-10-25", None), summer, "a day of 25 hours");
        assert_eq!(days("2026-02-30", None), None);
    }
}
