//! Snodo's own functions in expressions: pure, total but for a typed fault, the same in jaq and natively.
//! What each gives is in `functions.md`, whose examples are a test.
//!
//! Invariant: the work is bounded by the arguments; what cannot be read is refused, never guessed.

use serde_json::{Number, Value};

use crate::calendar;

mod amounts;
mod csv;

/// One of the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Cents,
    Number,
    Csv,
    Date,
    AddDays,
    AddWorkingDays,
    AgeOn,
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Amount,
    Number,
    Text,
    Separator,
    WrittenDate,
    Date,
    Days,
    WorkingDays,
}

/// The argument that could not be read; `None` where each can and they do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) Option<Argument>);

impl Function {
    pub(super) const ALL: [Self; 7] = [
        Self::Cents,
        Self::Number,
        Self::Csv,
        Self::Date,
        Self::AddDays,
        Self::AddWorkingDays,
        Self::AgeOn,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cents => "cents",
            Self::Number => "number",
            Self::Csv => "csv",
            Self::Date => "date",
            Self::AddDays => "add_days",
            Self::AddWorkingDays => "add_working_days",
            Self::AgeOn => "age_on",
        }
    }

    /// The function that is called so with so many arguments.
    pub(super) fn called(name: &str, arguments: usize) -> Option<Self> {
        let this =
            |function: &Self| function.name() == name && function.arities().contains(&arguments);
        Self::ALL.into_iter().find(this)
    }

    pub(super) fn arities(self) -> &'static [usize] {
        match self {
            Self::Cents | Self::Number | Self::Date => &[1],
            Self::Csv => &[1, 2],
            Self::AddDays | Self::AddWorkingDays | Self::AgeOn => &[2],
        }
    }

    /// What it takes, in order.
    pub(super) fn arguments(self) -> &'static [Argument] {
        match self {
            Self::Cents => &[Argument::Amount],
            Self::Number => &[Argument::Number],
            Self::Csv => &[Argument::Text, Argument::Separator],
            Self::Date => &[Argument::WrittenDate],
            Self::AddDays => &[Argument::Date, Argument::Days],
            Self::AddWorkingDays => &[Argument::Date, Argument::WorkingDays],
            Self::AgeOn => &[Argument::Date, Argument::Date],
        }
    }

    /// What it gives for these arguments.
    pub(super) fn apply(self, given: &[&Value]) -> Result<Value, Unreadable> {
        for (argument, value) in self.arguments().iter().zip(given) {
            if !argument.reads(value) {
                return Err(Unreadable(Some(*argument)));
            }
        }
        self.value(given).ok_or(Unreadable(None))
    }

    fn value(self, given: &[&Value]) -> Option<Value> {
        let text = |index: usize| given.get(index)?.as_str();
        Some(match self {
            Self::Cents => Value::from(amounts::cents(text(0)?)?),
            Self::Number => Value::Number(number(given.first()?)?),
            Self::Csv => {
                let separator = given.get(1).map_or(Some(csv::SEPARATOR), |one| separator(one))?;
                Value::from(csv::rows(text(0)?, separator)?)
            }
            Self::Date => Value::from(calendar::written(text(0)?)?.to_string()),
            Self::AddDays => Value::from(calendar::add_days(text(0)?, given.get(1)?.as_i64()?)?),
            Self::AddWorkingDays => {
                Value::from(calendar::add_working_days(text(0)?, given.get(1)?.as_i64()?)?)
            }
            Self::AgeOn => Value::from(calendar::age_on(text(0)?, text(1)?)?),
        })
    }
}

impl Argument {
    /// Whether `value` can be read as such.
    pub(super) fn reads(self, value: &Value) -> bool {
        match self {
            Self::Amount => value.as_str().and_then(amounts::cents).is_some(),
            Self::Number => number(value).is_some(),
            Self::Text => value.is_string(),
            Self::Separator => separator(value).is_some(),
            Self::WrittenDate => value.as_str().and_then(calendar::written).is_some(),
            Self::Date => value.as_str().and_then(calendar::date).is_some(),
            Self::Days => value.as_i64().is_some_and(|days| days.abs() <= calendar::MOST_DAYS),
            Self::WorkingDays => {
                value.as_i64().is_some_and(|days| days.abs() <= calendar::MOST_WORKING_DAYS)
            }
        }
    }

    /// What it must be, in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Amount => "an amount as text, such as \"1.234,56\" or \"19.99\"",
            Self::Number => "a number, or a number as text, such as \"12,5\" or \"-3\"",
            Self::Text => "text",
            Self::Separator => "a separator of one character, such as \";\"",
            Self::WrittenDate => "a date, such as \"24/11/2026\" or \"2026-11-24\"",
            Self::Date => "a date as text, such as \"2026-11-24\"",
            Self::Days => "a whole number of days, at most 36525 either way",
            Self::WorkingDays => "a whole number of working days, at most 1000 either way",
        }
    }
}

impl Unreadable {
    /// What would have been read, in words.
    pub(super) fn words(self, function: Function) -> &'static str {
        match (self.0, function) {
            (Some(argument), _) => argument.words(),
            (None, Function::Csv) => "rows whose quoted fields are closed",
            (None, Function::AgeOn) => "a day that is not before the birth",
            (None, _) => "a result within the years 1 to 9999",
        }
    }
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => amounts::number(text),
        _ => None,
    }
}

fn separator(value: &Value) -> Option<char> {
    let mut characters = value.as_str()?.chars();
    let one = characters.next().filter(|one| !matches!(one, '"' | '\n' | '\r'))?;
    characters.next().is_none().then_some(one)
}

#[cfg(test)]
mod tests;
