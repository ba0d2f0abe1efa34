//! Whether an answer that is known is good enough, or an authority must be asked.
//!
//! Invariant: an answer is used again only while it is fresh, for the purpose for which it was given or one
//! to which its fact may be handed on, and where it holds all that is read; else it is as if it were not
//! there.

use std::time::Duration;

use serde_json::Value;

use super::{Fact, Parts};
use crate::{ids::Digest, route::Answer, timestamp::Timestamp};

/// A question that was put, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    /// Its number at the authority.
    pub number: u64,
    /// The adapter instance that was asked.
    pub instance: String,
    /// For which purpose.
    pub purpose: String,
    /// Under which case.
    pub case: String,
    /// When it was put first.
    pub asked_at: Timestamp,
    /// What was answered; none while it is open.
    pub answer: Option<Kept>,
    /// Whether somebody asks it now, while it is open.
    pub is_asked: bool,
}

/// What is kept of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Whether there is a value.
    pub answer: Answer,
    /// The parts of it that were read under its purpose; null without.
    pub value: Value,
    /// Which these are.
    pub parts: Parts,
    /// Of the whole answer.
    pub digest: Digest,
    /// Until when it may be used again.
    pub fresh_until: Timestamp,
}

/// What to do about a fact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known<'k> {
    /// This answer is good enough.
    Use(&'k Put, &'k Kept),
    /// Somebody else asks the same for the same purpose.
    Wait(&'k Put),
    /// It must be asked; the newest answer that was not good enough.
    Ask(Option<u64>),
}

/// What is wanted of a fact.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// Which.
    pub fact: &'w Fact,
    /// For which purpose.
    pub purpose: &'w str,
    /// What is read of it.
    pub parts: &'w Parts,
}

impl Wanted<'_> {
    /// Judges what is known of one person, newest first.
    pub fn judge<'k>(&self, known: &'k [Put], now: Timestamp) -> Known<'k> {
        for put in known {
            if let Some(kept) = &put.answer
                && self.is_good(put, kept, now)
            {
                return Known::Use(put, kept);
            }
        }
        let own = || known.iter().filter(|put| put.purpose == self.purpose);
        if let Some(open) = own().find(|put| put.answer.is_none() && put.is_asked) {
            return Known::Wait(open);
        }
        Known::Ask(own().find(|put| put.answer.is_some()).map(|put| put.number))
    }

    fn is_good(&self, put: &Put, kept: &Kept, now: Timestamp) -> bool {
        let handed_on = self.fact.reusable_for.iter().any(|purpose| purpose == self.purpose);
        let read = kept.answer != Answer::Found || self.parts.are_among(&kept.parts);
        now < kept.fresh_until && (put.purpose == self.purpose || handed_on) && read
    }
}

/// How long an answer without a value stands: long enough for those who asked at the same time, and not
/// for somebody who has put the register right.
const NEGATIVE: Duration = Duration::from_mins(1);

/// Until when an answer may be used again.
pub fn fresh_until(fact: &Fact, answer: Answer, now: Timestamp) -> Timestamp {
    let good = if answer == Answer::Found { fact.fresh_for } else { fact.fresh_for.min(NEGATIVE) };
    now.after(good)
}

/// When to look again whether a question that somebody else has put is answered: soon at first, then less
/// and less often.
pub fn look_again(asked_at: Timestamp, now: Timestamp) -> Timestamp {
    const SOON: i64 = 250;
    const LATE: i64 = 15_000;
    let waited = now.0.saturating_sub(asked_at.0) / 2;
    now.after(Duration::from_millis(waited.clamp(SOON, LATE).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{adapter::Operation, diagnostic::SourceFile, facts::Kind, verdict::EffectKind};

    fn fact(reusable_for: &[&str]) -> Fact {
        Fact {
            name: "household".to_owned(),
            title: String::new(),
            held_by: "anpr".to_owned(),
            operation: Operation::of("C021", json!({}), json!({}), EffectKind::Idempotent),
            about: "taxCode".to_owned(),
            kind: Kind::Value,
            schema: None,
            validator: None,
            subjects: None,
            laws: Vec::new(),
            fresh_for: Duration::from_hours(24),
            refresh_on: Vec::new(),
            reusable_for: reusable_for.iter().map(|purpose| (*purpose).to_owned()).collect(),
            terms: Vec::new(),
            documents: Vec::new(),
            file: Arc::new(SourceFile { path: String::new(), text: String::new() }),
        }
    }

    fn put(number: u64, purpose: &str, answer: Option<(Answer, &str, i64)>, is_asked: bool) -> Put {
        let kept = |(answer, part, until)| Kept {
            answer,
            value: Value::Null,
            parts: Parts::from_paths([part]),
            digest: Digest::of(b""),
            fresh_until: Timestamp(until),
        };
        Put {
            number,
            instance: "anpr".to_owned(),
            purpose: purpose.to_owned(),
            case: String::new(),
            asked_at: Timestamp(0),
            answer: answer.map(kept),
            is_asked,
        }
    }

    #[test]
    fn an_answer_is_used_again_where_it_is_fresh_allowed_and_enough() {
        use Answer::{Found, NotFound};
        let now = Timestamp(1000);
        let open = |number, purpose, is_asked| put(number, purpose, None, is_asked);
        let answered =
            |number, purpose, part, until| put(number, purpose, Some((Found, part, until)), false);
        let cases: Vec<(&str, Vec<Put>, &[&str], &str)> = vec![
            ("nothing is known", vec![], &[], "ask None"),
            ("fresh, same purpose", vec![answered(7, "canteen", "a", 1001)], &[], "use 7"),
            ("no longer fresh", vec![answered(7, "canteen", "a", 1000)], &[], "ask Some(7)"),
            ("another purpose", vec![answered(7, "taxes", "a", 1001)], &[], "ask None"),
            ("handed on", vec![answered(7, "taxes", "a", 1001)], &["canteen"], "use 7"),
            ("handed on to others", vec![answered(7, "taxes", "a", 1001)], &["school"], "ask None"),
            ("other parts", vec![answered(7, "canteen", "b", 1001)], &[], "ask Some(7)"),
            ("more parts", vec![answered(7, "canteen", ".", 1001)], &[], "use 7"),
            (
                "nobody is there",
                vec![put(7, "canteen", Some((NotFound, ".?", 1001)), false)],
                &[],
                "use 7",
            ),
            ("asked now", vec![open(8, "canteen", true)], &[], "wait 8"),
            ("its asker has stopped", vec![open(8, "canteen", false)], &[], "ask None"),
            ("asked for another purpose", vec![open(8, "taxes", true)], &["canteen"], "ask None"),
            (
                "asked again",
                vec![open(8, "canteen", true), answered(7, "canteen", "a", 1000)],
                &[],
                "wait 8",
            ),
            (
                "asked with other parts",
                vec![open(8, "canteen", true), answered(7, "canteen", "a", 1001)],
                &[],
                "use 7",
            ),
        ];
        for (what, known, reusable, then) in cases {
            let fact = fact(reusable);
            let parts = Parts::from_paths(["a"]);
            let wanted = Wanted { fact: &fact, purpose: "canteen", parts: &parts };
            let judged = match wanted.judge(&known, now) {
                Known::Use(put, _) => format!("use {}", put.number),
                Known::Wait(put) => format!("wait {}", put.number),
                Known::Ask(past) => format!("ask {past:?}"),
            };
            assert_eq!(judged, then, "{what}");
        }
    }

    #[test]
    fn a_no_stands_for_a_minute_and_an_answer_as_long_as_its_fact_says() {
        let now = Timestamp(0);
        assert_eq!(fresh_until(&fact(&[]), Answer::Found, now), Timestamp(86_400_000));
        assert_eq!(fresh_until(&fact(&[]), Answer::NotFound, now), Timestamp(60_000));
        for (asked, now, again) in
            [(0, 0, 250), (0, 4_000, 6_000), (0, 600_000, 615_000), (5, 0, 250)]
        {
            assert_eq!(look_again(Timestamp(asked), Timestamp(now)), Timestamp(again));
        }
    }
}
