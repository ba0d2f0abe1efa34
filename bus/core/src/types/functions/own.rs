//! Types of our own functions.
//!
//! Invariant: what a function cannot read whatever the message says is a finding; what it may not be able
//! to read is noted as "may stop".

use super::Call;
use crate::{
    schema::holds,
    types::{
        Fact, Kind, List, Number, Text, Type,
        infer::{Inference, Stream, literal_text},
    },
};

/// Days beyond which a date is refused.
const MOST_DAYS: f64 = 36_525.0;

impl<'s> Inference<'s> {
    pub(super) fn of_ours(&mut self, call: Call<'_, 's>) -> Option<Stream> {
        Some(match call.name {
            "cents" => self.cents(call),
            "number" => self.number_of(call),
            "csv" => self.csv(call),
            "date" => self.written_date(call),
            "add_days" | "add_working_days" => self.moved(call),
            "age_on" => self.age(call),
            _ => return None,
        })
    }

    fn cents(&mut self, call: Call<'_, 's>) -> Stream {
        let Some(given) = self.argument_of(call, 0, Kind::Text, "an amount as text") else {
            return Stream::stopped();
        };
        let literal = literal_text(call.argument(0)).is_some();
        if !literal && !is_amount(&given.of) {
            self.may_stop(call.term, "`cents` of text that is no amount");
        }
        given.each(Stream::one(Type::number(Number::whole())))
    }

    fn number_of(&mut self, call: Call<'_, 's>) -> Stream {
        let term = call.argument(0);
        let given = self.infer(term, call.context);
        if given.of.is_never() {
            return Stream::stopped();
        }
        if let Some(other) = given.of.besides(&[Kind::Number, Kind::Text]) {
            let title = format!("`number` cannot take {}", other.with_article());
            return self.wrong(term, "SN0220", title, &given.of, "a number, or one as text");
        }
        if given.of.text.is_some() || given.of.is_unknown() {
            if literal_text(term).is_none() {
                self.may_stop(call.term, "`number` of text that is no number");
            }
            return given.each(Stream::one(Type::number(Number::default())));
        }
        given
    }

    fn csv(&mut self, call: Call<'_, 's>) -> Stream {
        let Some(mut given) = self.argument_of(call, 0, Kind::Text, "text") else {
            return Stream::stopped();
        };
        if call.arguments.len() > 1 {
            match self.argument_of(call, 1, Kind::Text, "a separator of one character") {
                Some(separator) => given = given.each(separator),
                None => return Stream::stopped(),
            }
        }
        self.may_stop(call.term, "`csv` of text whose quotes are not closed");
        let row = Type::list(List::of(Type::text(Text::default()), 1, None));
        given.each(Stream::one(Type::list(List::of(row, 0, None))))
    }

    fn moved(&mut self, call: Call<'_, 's>) -> Stream {
        let Some(date) = self.date(call, 0) else { return Stream::stopped() };
        let Some(days) = self.argument_of(call, 1, Kind::Number, "a whole number of days") else {
            return Stream::stopped();
        };
        let number = days.of.number.clone().unwrap_or_default();
        if !number.whole && !days.of.is_unknown() {
            let title = format!("`{}` takes whole days", call.name);
            let at = call.argument(1);
            return self.wrong(at, "SN0220", title, &days.of, "`| floor` or `| round` after it");
        }
        let most = if call.name == "add_days" { MOST_DAYS } else { 1_000.0 };
        let bounded = number.least.is_some_and(|least| least >= -most)
            && number.most.is_some_and(|last| last <= most);
        if !bounded {
            self.may_stop(call.term, format!("`{}` of more days than it takes", call.name));
        }
        date.each(days.each(Stream::one(date_text())))
    }

    fn written_date(&mut self, call: Call<'_, 's>) -> Stream {
        let Some(given) = self.argument_of(call, 0, Kind::Text, "a date as text") else {
            return Stream::stopped();
        };
        let is_date = given.of.text.as_ref().is_some_and(|text| text.has_format("date"));
        if !is_date && literal_text(call.argument(0)).is_none() {
            self.may_stop(call.term, "`date` of text that is no date");
        }
        given.each(Stream::one(date_text()))
    }

    fn age(&mut self, call: Call<'_, 's>) -> Stream {
        let (Some(born), Some(day)) = (self.date(call, 0), self.date(call, 1)) else {
            return Stream::stopped();
        };
        self.may_stop(call.term, "`age_on` of a day before the birth");
        born.each(day.each(Stream::one(Type::number(Number::from(0.0)))))
    }

    /// An argument that is a date.
    fn date(&mut self, call: Call<'_, 's>, index: usize) -> Option<Stream> {
        let given = self.argument_of(call, index, Kind::Text, "a date")?;
        let text = given.of.text.as_ref()?;
        let literal = |text: &Text| {
            let words = text.literals.as_ref();
            words.is_some_and(|words| words.iter().all(|word| holds::format("date", word)))
        };
        if text.has_format("date") || literal(text) {
            return Some(given);
        }
        let title = format!("nothing shows that `{}` is given a date", call.name);
        let write = "`date(…)` around it, or give the field `format: date`";
        self.wrong(call.argument(index), "SN0220", title, &given.of, write);
        None
    }
}

fn date_text() -> Type {
    let text = Text { least: 10, most: Some(10), ..Text::default() };
    Type::text(text).with(&Fact::Format("date".into()))
}

/// Whether text is an amount by its pattern: digits, a comma, two digits.
fn is_amount(of: &Type) -> bool {
    const PATTERNS: [&str; 4] =
        ["^[0-9]+,[0-9]{2}$", r"^\d+,\d{2}$", r"^[0-9]+\.[0-9]{2}$", r"^\d+\.\d{2}$"];
    let is_amount =
        |fact: &Fact| matches!(fact, Fact::Pattern(pattern) if PATTERNS.contains(&&**pattern));
    of.text.as_ref().is_some_and(|text| text.facts.iter().any(is_amount))
}
