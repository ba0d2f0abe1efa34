//! `from:` as it is written: a type, or a clock that gives one.
//!
//! Invariant: a clock's words are read here and nowhere else; what is not understood was said.

use std::sync::Arc;

use crate::{
    diagnostic::{Place, Problems, SourceFile, Words},
    schedule::{self, Every, Schedule},
    yaml::{
        Content, Node,
        fields::{self, At, Fields, Known},
    },
};

pub(in crate::route) const CLOCK: Known =
    Known { what: "a clock", keys: &["every", "zone", "as", "missed"], reserved: &[] };

/// Where it is that time, if a route does not say.
const ZONE: &str = "Europe/Rome";

/// The type that a route takes, and the schedule of the clock that gives it.
pub(super) fn read(
    file: &Arc<SourceFile>,
    node: &Node,
    problems: &mut Problems,
) -> (Option<At<String>>, Option<Schedule>) {
    if !matches!(node.content, Content::Map(_)) {
        return (fields::text(file, node, problems), None);
    }
    let Some(fields) = Fields::of(node, file, &CLOCK, problems) else { return (None, None) };
    let kind = fields.required_text("as", problems);
    let every = fields.required_text("every", problems);
    let every = every.and_then(|every| read_every(file, &every, problems));
    let zone = match fields.text("zone", problems) {
        Some(zone) => read_zone(file, &zone, problems),
        None => schedule::zone(ZONE),
    };
    if let Some(missed) = fields.text("missed", problems).filter(|word| word.value != "once") {
        let help = "write `missed: once`: after an outage it runs once, whatever was missed";
        let title = format!("`missed` cannot be `{}`", missed.value);
        let words = Words::new(title, "unknown word", help);
        problems.error("SN0157", Place::new(file, missed.span), words);
    }
    (kind, every.zip(zone).map(|(every, zone)| Schedule::new(every, zone)))
}

fn read_every(
    file: &Arc<SourceFile>,
    every: &At<String>,
    problems: &mut Problems,
) -> Option<Every> {
    let read = Every::parse(&every.value);
    if let Err(why) = &read {
        let title = format!("`every: {}` is no time at which a route runs", every.value);
        let words = Words::new(title, why.label, why.help);
        problems.error("SN0155", Place::new(file, every.span.clone()), words);
    }
    read.ok()
}

fn read_zone(
    file: &Arc<SourceFile>,
    zone: &At<String>,
    problems: &mut Problems,
) -> Option<jiff::tz::TimeZone> {
    let read = schedule::zone(&zone.value);
    if read.is_none() {
        let help = "write a name of the IANA database: Europe/Rome, UTC";
        let title = format!("there is no time zone `{}`", zone.value);
        let words = Words::new(title, "no such zone", help);
        problems.error("SN0156", Place::new(file, zone.span.clone()), words);
    }
    read
}
