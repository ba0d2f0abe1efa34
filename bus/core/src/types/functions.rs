//! Types of jq's functions, those of the allow-list, and of our own.
//!
//! Invariant: every function of the allow-list is here (a test); a kind that a function cannot take, or of
//! which it says nothing without a word, is a finding.

use super::{
    Bug, Kind, Number, Type,
    infer::{Context, Inference, Stream},
    seeded,
};
use crate::template::tree::Term;

mod lists;
mod objects;
mod own;
mod texts;

pub(super) use texts::split;

/// A call: the term, for its place; its name; its arguments; what they see.
#[derive(Clone, Copy)]
struct Call<'c, 's> {
    term: &'c Term<&'s str>,
    name: &'c str,
    arguments: &'c [Term<&'s str>],
    context: &'c Context,
}

impl<'c, 's> Call<'c, 's> {
    fn input(&self) -> &'c Type {
        &self.context.input
    }

    fn argument(&self, index: usize) -> &'c Term<&'s str> {
        self.arguments.get(index).unwrap_or(self.term)
    }
}

impl<'s> Inference<'s> {
    /// `name(arguments)`. The allow-list has said what there is, and with how many arguments.
    pub(super) fn call(
        &mut self,
        term: &Term<&'s str>,
        name: &str,
        arguments: &[Term<&'s str>],
        context: &Context,
    ) -> Stream {
        if let Some(value) = constant(name, arguments.len()) {
            return Stream::one(value);
        }
        let call = Call { term, name, arguments, context };
        if let Some(kinds) = kept_kinds(name) {
            return kept(call.input(), kinds);
        }
        let found = self.plain(call);
        let found = found.or_else(|| self.of_text(call));
        let found = found.or_else(|| self.of_list(call));
        let found = found.or_else(|| self.of_object(call));
        let found = found.or_else(|| self.of_ours(call));
        found.unwrap_or_else(|| self.unknown_many(term, format!("`{name}`")))
    }

    /// Functions that take more than one kind.
    fn plain(&mut self, call: Call<'_, 's>) -> Option<Stream> {
        let input = call.input();
        Some(match call.name {
            "empty" => Stream::none(),
            "error" => {
                self.may_stop(call.term, "`error` stops the message");
                if let [message] = call.arguments {
                    self.infer(message, call.context);
                }
                Stream::stopped()
            }
            "not" => {
                let given = self.truth(call.term, input);
                Stream { of: negated(&given), ..Stream::one(Type::never()) }
            }
            "type" => Stream::one(type_names(input)),
            "tojson" => Stream::one(Type::text(super::Text::from(1))),
            "tostring" => Stream::one(self.as_text(call.term, input)),
            "select" => self.select(call),
            "isempty" => {
                self.infer(call.argument(0), call.context);
                Stream::one(Type::boolean())
            }
            "first" | "last" if call.arguments.len() == 1 => {
                let given = self.infer(call.argument(0), call.context);
                Stream {
                    least: given.least.min(1),
                    most: Some(given.most.map_or(1, |most| most.min(1))),
                    ..given
                }
            }
            "length" => self.length(call),
            "floor" | "ceil" | "round" | "abs" => self.rounded(call),
            "tonumber" => self.number_in_text(call),
            "contains" => self.contains(call, input, false),
            "inside" => self.contains(call, input, true),
            _ => return None,
        })
    }

    /// What must be true or false.
    fn truth(&mut self, at: &Term<&str>, of: &Type) -> Type {
        if of.is_unknown() {
            self.unknown(at, "condition of unknown type");
            return Type::boolean();
        }
        if of.is_never() || of.is_only(Kind::Boolean) {
            return of.clone();
        }
        let write = "`!= null` or another comparison before it";
        self.wrong(at, "SN0213", "a condition must be true or false", of, write).of
    }

    fn select(&mut self, call: Call<'_, 's>) -> Stream {
        let condition = call.argument(0);
        let asked = self.condition(condition, call.context);
        if asked.of.is_never() {
            return Stream::stopped();
        }
        let of = call.context.where_is(condition, true).input;
        if of.is_never() {
            return Stream::none();
        }
        let least = if asked.of.no && !seeded(Bug::SelectGivesOne) { 0 } else { asked.least };
        Stream { of, least, most: asked.most }
    }

    fn length(&mut self, call: Call<'_, 's>) -> Stream {
        let input = call.input();
        if input.is_unknown() {
            self.unknown(call.term, "`length` of an unknown value");
            return Stream::one(Type::number(Number::from(0.0)));
        }
        match input.besides(&[Kind::Null, Kind::Text, Kind::List, Kind::Object]) {
            None => {}
            Some(Kind::Number) => {
                let title = "`length` of a number is the number without its sign";
                return self.wrong(call.term, "SN0220", title, input, "`abs`, if that is meant");
            }
            Some(other) => return self.cannot(call, other, "text, a list or an object"),
        }
        let null = input.null.then_some((0, Some(0)));
        let text = input.text.as_ref().map(|text| (text.least, text.most));
        let list = input.list.as_ref().map(|list| (list.least, list.most));
        let objects = input.objects.iter().map(|object| (object.least(), object.most()));
        let lengths = null.into_iter().chain(text).chain(list).chain(objects);
        let length = |(least, most): (u64, Option<u64>)| Number {
            least: Some(exact(least)),
            most: most.map(exact),
            nonzero: least > 0,
            ..Number::whole()
        };
        let all = lengths.map(|bounds| Type::number(length(bounds)));
        Stream::one(all.fold(Type::never(), |all, one| all.join(&one)))
    }

    fn rounded(&mut self, call: Call<'_, 's>) -> Stream {
        let Some(given) = self.only_of(call, Kind::Number, "a number") else {
            return Stream::stopped();
        };
        let Some(number) = given.number else { return Stream::one(Type::unknown()) };
        let round: fn(f64) -> f64 = match call.name {
            "floor" => f64::floor,
            "ceil" => f64::ceil,
            "round" => f64::round,
            _ => return Stream::one(Type::number(magnitude(&number))),
        };
        if number.whole {
            return Stream::one(Type::number(Number { facts: Vec::new(), ..number }));
        }
        let (least, most) = (number.least.map(round), number.most.map(round));
        let nonzero = least.is_some_and(|least| least > 0.0) || most.is_some_and(|most| most < 0.0);
        Stream::one(Type::number(Number { least, most, nonzero, ..Number::whole() }))
    }

    /// `contains` and `inside`: text in text, list in list, object in object; of other pairs jaq says
    /// `false` without a word.
    fn contains(&mut self, call: Call<'_, 's>, input: &Type, turned: bool) -> Stream {
        let given = self.infer(call.argument(0), call.context);
        if given.of.is_never() {
            return Stream::stopped();
        }
        if input.is_unknown() || given.of.is_unknown() {
            self.unknown(call.term, format!("`{}` of an unknown value", call.name));
            return given.each(Stream::one(Type::boolean()));
        }
        let both = |kind| input.is_only(kind) && given.of.is_only(kind);
        if !(both(Kind::Text) || both(Kind::List) || both(Kind::Object)) {
            let (whole, part) = if turned { (&given.of, input) } else { (input, &given.of) };
            let title = format!("`{}` of {part} in {whole} is false without a word", call.name);
            let write = if input.null || given.of.null {
                "a default with `// \"\"` where it may be null"
            } else {
                "text in text, or a list in a list; `any(.[]; . == …)` for one element"
            };
            return self.wrong(call.term, "SN0220", title, input, write);
        }
        given.each(Stream::one(Type::boolean()))
    }

    /// A function of a kind that it cannot take.
    fn cannot(&mut self, call: Call<'_, 's>, kind: Kind, wanted: &str) -> Stream {
        let title =
            format!("`{}` of {} stops the message with an error", call.name, kind.with_article());
        let write = match kind {
            Kind::Null => format!("a default with `// …`: it takes {wanted}"),
            _ => wanted.to_owned(),
        };
        self.wrong(call.term, "SN0220", title, call.input(), write)
    }

    /// The input where it is of one kind, or unknown; none where that was said to be wrong.
    fn only_of(&mut self, call: Call<'_, 's>, kind: Kind, wanted: &str) -> Option<Type> {
        let input = call.input();
        if let Some(other) = input.besides(&[kind]) {
            self.cannot(call, other, wanted);
            return None;
        }
        if input.is_unknown() {
            self.unknown(call.term, format!("`{}` of an unknown value", call.name));
            return Some(Type::unknown());
        }
        Some(input.clone())
    }

    /// An argument that must be of one kind; its values, none where that was said to be wrong.
    fn argument_of(
        &mut self,
        call: Call<'_, 's>,
        index: usize,
        kind: Kind,
        wanted: &str,
    ) -> Option<Stream> {
        let term = call.argument(index);
        let given = self.infer(term, call.context);
        if given.of.is_never() {
            return None;
        }
        if let Some(other) = given.of.besides(&[kind]) {
            let title = format!("`{}` cannot take {}", call.name, other.with_article());
            let write = match other {
                Kind::Null => format!("{wanted}, or a default with `// …`"),
                _ => wanted.to_owned(),
            };
            self.wrong(term, "SN0220", title, &given.of, write);
            return None;
        }
        if given.of.is_unknown() {
            self.unknown(term, format!("`{}` with an unknown value", call.name));
        }
        Some(given)
    }
}

#[expect(clippy::cast_precision_loss, reason = "lengths of messages are far below 2^53")]
fn exact(length: u64) -> f64 {
    length as f64
}

fn magnitude(number: &Number) -> Number {
    let ends = number.least.zip(number.most).map(|(least, most)| least.abs().max(most.abs()));
    let least = match (number.least, number.most) {
        (Some(least), _) if least >= 0.0 => least,
        (_, Some(most)) if most <= 0.0 => -most,
        _ => 0.0,
    };
    Number {
        whole: number.whole,
        least: Some(least),
        most: ends,
        nonzero: number.nonzero,
        literals: None,
        facts: Vec::new(),
    }
}

fn negated(of: &Type) -> Type {
    Type { yes: of.no, no: of.yes, ..Type::default() }
}

fn constant(name: &str, arguments: usize) -> Option<Type> {
    Some(match (name, arguments) {
        ("null", 0) => Type::null(),
        ("true", 0) => Type::truth(true),
        ("false", 0) => Type::truth(false),
        _ => return None,
    })
}

/// The kinds that a function such as `strings` lets through.
fn kept_kinds(name: &str) -> Option<&'static [Kind]> {
    const SCALARS: [Kind; 4] = [Kind::Null, Kind::Boolean, Kind::Number, Kind::Text];
    const VALUES: [Kind; 5] = [Kind::Boolean, Kind::Number, Kind::Text, Kind::List, Kind::Object];
    Some(match name {
        "arrays" => &[Kind::List],
        "booleans" => &[Kind::Boolean],
        "nulls" => &[Kind::Null],
        "numbers" => &[Kind::Number],
        "objects" => &[Kind::Object],
        "strings" => &[Kind::Text],
        "scalars" => &SCALARS,
        "values" => &VALUES,
        _ => return None,
    })
}

fn kept(input: &Type, kinds: &[Kind]) -> Stream {
    let parts = kinds.iter().map(|kind| input.only(*kind));
    let of = parts.fold(Type::never(), |all, one| all.join(&one));
    if of.is_never() {
        return Stream::none();
    }
    let sure = input.besides(kinds).is_none() && !input.is_unknown();
    Stream { of, least: u64::from(sure), most: Some(1) }
}

fn type_names(input: &Type) -> Type {
    if input.is_unknown() {
        return Type::text(super::Text::from(1));
    }
    let name = |kind| match kind {
        Kind::Null => "null",
        Kind::Boolean => "boolean",
        Kind::Number => "number",
        Kind::Text => "string",
        Kind::List => "array",
        Kind::Object => "object",
    };
    input.kinds().map(|kind| Type::word(name(kind))).fold(Type::never(), |all, one| all.join(&one))
}
