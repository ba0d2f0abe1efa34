//! Functions of texts.
//!
//! Invariant: a text that is changed keeps neither format nor pattern.

use std::sync::Arc;

use super::Call;
use crate::{
    schema::holds,
    types::{
        Bug, Fact, Kind, List, Number, Text, Type,
        infer::{Inference, Stream, literal_text},
        seeded,
    },
};

/// `/` and `split`: nothing comes of the empty text.
pub(in crate::types) fn split(text: &Text) -> List {
    let least = if seeded(Bug::SplitGivesOne) { 1 } else { text.least.min(1) };
    List::of(Type::text(Text::default()), least, None)
}

impl<'s> Inference<'s> {
    pub(super) fn of_text(&mut self, call: Call<'_, 's>) -> Option<Stream> {
        Some(match call.name {
            "ascii_downcase" => self.changed(call, &|text| recased(text, str::to_ascii_lowercase)),
            "ascii_upcase" => self.changed(call, &|text| recased(text, str::to_ascii_uppercase)),
            "trim" => self.changed(call, &shorter),
            "ltrimstr" | "rtrimstr" => {
                let cut = self.argument_of(call, 0, Kind::Text, "text");
                let found = self.changed(call, &shorter);
                Self::with_argument(cut, found)
            }
            "startswith" | "endswith" => {
                let part = self.argument_of(call, 0, Kind::Text, "text");
                let found = self.changed(call, &|_| Type::boolean());
                Self::with_argument(part, found)
            }
            "split" => {
                let separator = self.argument_of(call, 0, Kind::Text, "text");
                let found = self.changed(call, &|text| Type::list(split(text)));
                Self::with_argument(separator, found)
            }
            "test" => self.test(call),
            "index" | "rindex" => self.found_at(call, &|at| at.or_null()),
            "indices" => self.found_at(call, &|at| Type::list(List::of(at.clone(), 0, None))),
            "@json" => Stream::one(Type::text(Text::from(1))),
            "@base64" | "@html" | "@text" | "@uri" => {
                let text = self.as_text(call.term, call.input());
                let of = text
                    .text
                    .as_ref()
                    .map_or_else(Type::never, |text| Type::text(Text::from(text.least.min(1))));
                Stream::one(of)
            }
            _ => return None,
        })
    }

    /// What becomes of the input, which must be text.
    fn changed(&mut self, call: Call<'_, 's>, change: &dyn Fn(&Text) -> Type) -> Stream {
        let Some(given) = self.only_of(call, Kind::Text, "text") else { return Stream::stopped() };
        Stream::one(change(&given.text.unwrap_or_default()))
    }

    fn with_argument(argument: Option<Stream>, found: Stream) -> Stream {
        match argument {
            Some(argument) => argument.each(found),
            None => Stream::stopped(),
        }
    }

    fn test(&mut self, call: Call<'_, 's>) -> Stream {
        let pattern = call.argument(0);
        if let Some(text) = literal_text(pattern)
            && !holds::is_pattern(&text)
        {
            let title = "this is not a regular expression";
            return self.wrong(pattern, "SN0223", title, &Type::word(&text), "it as RE2 has it");
        }
        let mut given = Stream::one(Type::never());
        for index in 0..call.arguments.len() {
            match self.argument_of(call, index, Kind::Text, "text") {
                Some(argument) => given = given.each(argument),
                None => return Stream::stopped(),
            }
        }
        if literal_text(pattern).is_none() {
            self.may_stop(pattern, "a regular expression that is computed may be none");
        }
        given.each(self.changed(call, &|_| Type::boolean()))
    }

    /// Where something is in a text or a list.
    fn found_at(&mut self, call: Call<'_, 's>, make: &dyn Fn(&Type) -> Type) -> Stream {
        let of = make(&Type::number(Number::from(0.0)));
        if call.input().is_only(Kind::List) {
            let given = self.infer(call.argument(0), call.context);
            return given.each(Stream::one(of));
        }
        let given = self.argument_of(call, 0, Kind::Text, "text");
        let found = self.changed(call, &|_| of.clone());
        Self::with_argument(given, found)
    }

    pub(super) fn number_in_text(&mut self, call: Call<'_, 's>) -> Stream {
        let input = call.input();
        if input.is_unknown() {
            self.may_stop(call.term, "`tonumber` of an unknown value");
            return self.unknown_many(call.term, "`tonumber` of an unknown value");
        }
        if let Some(other) = input.besides(&[Kind::Number, Kind::Text]) {
            return self.cannot(call, other, "text of digits");
        }
        let number = input.number.clone().map_or_else(Type::never, Type::number);
        let Some(text) = &input.text else { return Stream::one(number) };
        let Some(read) = digits(text) else {
            let title = "`tonumber` of text that may not be a number: \"\" gives no value, \"1 2\" gives \
                         two, \"abc\" stops the message";
            let write =
                "`number(…)`, or `cents(…)` for money, or give the field a pattern of digits";
            return self.wrong(call.term, "SN0220", title, input, write);
        };
        Stream::one(number.join(&Type::number(read)))
    }
}

/// The number that text is, where it is nothing but digits.
fn digits(text: &Text) -> Option<Number> {
    if let Some(words) = &text.literals {
        let is_digits = |word: &str| {
            !word.is_empty() && word.len() <= 15 && word.bytes().all(|byte| byte.is_ascii_digit())
        };
        let read = |word: &Arc<str>| word.parse().ok().filter(|_| is_digits(word));
        return words.iter().map(read).collect::<Option<Vec<f64>>>().map(Number::literals);
    }
    let is_digits = |fact: &Fact| matches!(fact, Fact::Pattern(pattern) if is_digits(pattern));
    text.facts.iter().any(is_digits).then(|| Number::from(0.0))
}

/// `^[0-9]{5}$`, `^\d+$`: at least one digit and nothing else.
fn is_digits(pattern: &str) -> bool {
    let within = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$'));
    let class = |text: &'_ str| -> Option<String> {
        let rest = text.strip_prefix("[0-9]").or_else(|| text.strip_prefix("\\d"))?;
        Some(rest.to_owned())
    };
    let Some(repeated) = within.and_then(class) else { return false };
    match repeated.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        _ if repeated.is_empty() || repeated == "+" => true,
        Some(counts) => {
            let least = counts.split(',').next().and_then(|least| least.parse::<u32>().ok());
            least.is_some_and(|least| least > 0)
                && counts.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')
        }
        None => false,
    }
}

fn recased(text: &Text, change: fn(&str) -> String) -> Type {
    Type::text(match &text.literals {
        Some(words) => Text::literals(words.iter().map(|word| change(word).into()).collect()),
        None if seeded(Bug::CaseKeepsFacts) => text.clone(),
        None => Text { least: text.least, most: text.most, ..Text::default() },
    })
}

fn shorter(text: &Text) -> Type {
    Type::text(Text { most: text.most, ..Text::default() })
}
