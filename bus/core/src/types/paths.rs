//! Paths in types: `.name`, `.[0]`, `.[$key]`, `.[]`, `.[2:4]`.
//!
//! Invariant: what a path reads that may not be there is null in its type, or a finding where jaq stops.

use super::{
    Bug, Fact, Kind, List, Text, Type,
    infer::{Context, Inference, Stream, literal_number, literal_text},
    meet::tighter,
    seeded,
};
use crate::diagnostic::nearest;
use crate::template::tree::Term;

/// What an index is.
enum Key {
    /// One name.
    Name(String),
    /// A text that is computed.
    Text(Type),
    /// One number.
    Number(f64),
    /// A number that is computed.
    Index,
}

impl<'s> Inference<'s> {
    /// `of[key]`; `optional` where `?` follows it.
    pub(super) fn index(
        &mut self,
        term: &Term<&'s str>,
        of: &Type,
        key: &Term<&'s str>,
        optional: bool,
        context: &Context,
    ) -> Stream {
        if of.is_never() {
            return Stream::stopped();
        }
        let (keys, key_of) = match self.key(key, context) {
            Ok(found) => found,
            Err(stopped) => return *stopped,
        };
        if of.is_unknown() {
            self.unknown(term, "field of an unknown value");
        }
        let fit = match key_of {
            Key::Name(_) | Key::Text(_) => Kind::Object,
            Key::Number(_) | Key::Index => Kind::List,
        };
        let other = of.besides(&[fit, Kind::Null]);
        if let (Some(other), false) = (other, optional) {
            return self.indexed_other([term, key], &key_of, of, other);
        }
        let nothing = Type {
            unknown: of.unknown.as_ref().map(|_| Vec::new()),
            null: of.null,
            ..Type::default()
        };
        let found = match &key_of {
            Key::Name(name) => match self.field(key, of, name) {
                Some(found) => nothing.join(&found),
                None => return Stream::stopped(),
            },
            Key::Text(text) => nothing.join(&computed_field(of, text)),
            Key::Number(index) => nothing.join(&self.element(term, of, Some(*index))),
            Key::Index => nothing.join(&self.element(term, of, None)),
        };
        keys.each(Stream { of: found, least: u64::from(other.is_none()), most: Some(1) })
    }

    /// What an index is, and how many of it there are.
    fn key(
        &mut self,
        key: &Term<&'s str>,
        context: &Context,
    ) -> Result<(Stream, Key), Box<Stream>> {
        let one = Stream::one(Type::never());
        if let Some(name) = literal_text(key) {
            return Ok((one, Key::Name(name)));
        }
        if let Some(number) = literal_number(key) {
            return Ok((one, Key::Number(number)));
        }
        let given = self.infer(key, context);
        if given.of.is_never() {
            return Err(Box::new(Stream::stopped()));
        }
        if given.of.is_unknown() {
            return Err(Box::new(self.unknown_many(key, "index of unknown type")));
        }
        if given.of.is_only(Kind::Text) {
            let text = given.of.clone();
            return Ok((given, Key::Text(text)));
        }
        if given.of.is_only(Kind::Number) {
            return Ok((given, Key::Index));
        }
        let title = "an index must be text or a number";
        let write = "a default where it is null";
        Err(Box::new(self.wrong(key, "SN0220", title, &given.of, write)))
    }

    fn indexed_other(
        &mut self,
        [term, at]: [&Term<&str>; 2],
        key: &Key,
        of: &Type,
        other: Kind,
    ) -> Stream {
        let what = match key {
            Key::Name(name) => format!("`.{name}`"),
            _ => "an index".to_owned(),
        };
        let title = format!("{what} of {} stops the message with an error", other.with_article());
        let write = match other {
            Kind::List => "`.[]` or `first(.[])` before it",
            Kind::Object => "the name of a field",
            _ => "a test with `type == \"object\"` before it",
        };
        match key {
            Key::Name(_) => self.wrong_word(at, "SN0221", title, of, write),
            _ => self.wrong(term, "SN0221", title, of, write),
        }
    }

    fn field(&mut self, at: &Term<&str>, of: &Type, name: &str) -> Option<Type> {
        if of.objects.is_empty() {
            return Some(Type::never());
        }
        if !of.is_unknown() && !of.objects.iter().any(|object| object.declares(name)) {
            let known = of.objects.iter().flat_map(|object| object.fields.keys());
            let near = nearest(name, known.map(AsRef::as_ref));
            let write = near.map_or_else(
                || "one of the declared fields, or declare it in the schema".to_owned(),
                |near| format!(".{near}, the nearest of the declared fields"),
            );
            let title = format!("there is no field `{name}`");
            self.wrong_word(at, "SN0201", title, of, write);
            return None;
        }
        let values = of.objects.iter().map(|object| object.get(name));
        Some(values.fold(Type::never(), |all, one| all.join(&one)))
    }

    /// The element at an index; null where the list may be too short.
    fn element(&mut self, term: &Term<&str>, of: &Type, index: Option<f64>) -> Type {
        let Some(list) = &of.list else { return Type::never() };
        let whole = index.filter(|index| index.fract() == 0.0 && index.abs() < 1e9);
        let Some(index) = whole else {
            self.may_stop(term, "an index that is not a whole number stops the message");
            return list.element().or_null();
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and small"
        )]
        let distance = index.abs() as u64;
        let (sure, element) = if index < 0.0 {
            (distance <= list.least, list.element())
        } else {
            let at = usize::try_from(distance).unwrap_or(usize::MAX);
            (distance < list.least, list.at(at).clone())
        };
        if sure || seeded(Bug::IndexIsThere) { element } else { element.or_null() }
    }

    /// `of[]`; `optional` where `?` follows it.
    pub(super) fn iterate(&mut self, term: &Term<&str>, of: &Type, optional: bool) -> Stream {
        if of.is_never() {
            return Stream::stopped();
        }
        if of.is_unknown() {
            return self.unknown_many(term, "elements of an unknown value");
        }
        if of.null && !optional {
            let title = "`.[]` of null stops the message with an error";
            let write = "`(… // [])[]`, or `.[]?` if nothing is meant";
            return self.wrong(term, "SN0208", title, of, write);
        }
        let other = of.besides(&[Kind::List, Kind::Object, Kind::Null]);
        if let (Some(other), false) = (other, optional) {
            let title =
                format!("`.[]` of {} stops the message with an error", other.with_article());
            return self.wrong(term, "SN0208", title, of, "a list");
        }
        let objects = of.objects.iter().map(|object| Stream {
            of: object.values(),
            least: object.least(),
            most: object.most(),
        });
        let list = of.list.iter().map(|list| Stream {
            of: list.element(),
            least: list.least,
            most: list.most,
        });
        let nothing = (of.null || other.is_some()).then(Stream::none);
        let all = objects.chain(list).chain(nothing);
        all.reduce(|a, b| one_of(&a, &b)).unwrap_or_else(Stream::stopped)
    }

    /// `of[from:to]`
    pub(super) fn slice(
        &mut self,
        term: &Term<&'s str>,
        of: &Type,
        from: Option<&Term<&'s str>>,
        to: Option<&Term<&'s str>>,
    ) -> Stream {
        if of.is_never() {
            return Stream::stopped();
        }
        if of.is_unknown() {
            return self.unknown(term, "slice of an unknown value");
        }
        if of.null {
            let title = "a slice of null stops the message with an error";
            return self.wrong(term, "SN0208", title, of, "a default with `// \"\"` or `// []`");
        }
        if let Some(other) = of.besides(&[Kind::Text, Kind::List]) {
            let title =
                format!("a slice of {} stops the message with an error", other.with_article());
            return self.wrong(term, "SN0221", title, of, "text or a list");
        }
        let (Some(from), Some(to)) = (bound(from), bound(to)) else {
            return self.unknown(term, "slice with computed bounds");
        };
        let cut = Cut { from, to };
        let list = of.list.iter().map(|list| {
            let most = tighter(list.most, cut.most(), u64::min);
            let part = List::of(list.element(), cut.least(list.least), most);
            Type::list(List { distinct: list.distinct, ..part })
        });
        let text = of.text.iter().map(|text| {
            let most = tighter(text.most, cut.most(), u64::min);
            let part = Text { least: cut.least(text.least), most, ..Text::default() };
            // RFC 3339: a date-time begins with its date.
            let is_date = cut.is_first(10) && text.has_format("date-time");
            let date = Fact::Format("date".into());
            if is_date { Type::text(part).with(&date) } else { Type::text(part) }
        });
        Stream::one(list.chain(text).fold(Type::never(), |all, one| all.join(&one)))
    }
}

/// Two ways in which a value may be, each with as many values; both are possible.
fn one_of(a: &Stream, b: &Stream) -> Stream {
    Stream {
        of: a.of.join(&b.of),
        least: a.least.min(b.least),
        most: a.most.zip(b.most).map(|(a, b)| a.max(b)),
    }
}

/// The fields that a computed name may mean.
fn computed_field(of: &Type, name: &Type) -> Type {
    let names = name.text.as_ref().and_then(|text| text.literals.as_ref());
    let of_object = |object: &super::Object| match names {
        Some(names) => names.iter().fold(Type::never(), |all, name| all.join(&object.get(name))),
        None => object.values().or_null(),
    };
    of.objects.iter().fold(Type::never(), |all, object| all.join(&of_object(object)))
}

/// A bound of a slice: not written, or a whole number. None where it is computed.
#[expect(clippy::option_option, reason = "computed, not written, written")]
fn bound(term: Option<&Term<&str>>) -> Option<Option<i64>> {
    let Some(term) = term else { return Some(None) };
    let number =
        literal_number(term).filter(|number| number.fract() == 0.0 && number.abs() < 1e9)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
    let whole = number as i64;
    Some(Some(whole))
}

/// The bounds of a slice.
#[derive(Clone, Copy)]
struct Cut {
    from: Option<i64>,
    to: Option<i64>,
}

impl Cut {
    /// Whether it is exactly the first so many.
    fn is_first(self, count: i64) -> bool {
        self.from.is_none_or(|from| from == 0) && self.to == Some(count)
    }

    /// What is kept of so many.
    fn kept(self, length: u64) -> u64 {
        let at = |bound: Option<i64>, default: u64| match bound {
            None => default,
            Some(bound) if bound >= 0 => bound.unsigned_abs().min(length),
            Some(bound) => length.saturating_sub(bound.unsigned_abs()),
        };
        at(self.to, length).saturating_sub(at(self.from, 0))
    }

    /// What is kept at least of so many or more.
    fn least(self, length: u64) -> u64 {
        // With bounds from both ends a longer list may keep less: `.[-3:2]`.
        if seeded(Bug::SliceKeepsLength) {
            return length;
        }
        let crosses = self.from.is_some_and(|from| from < 0) && self.to.is_some_and(|to| to >= 0);
        if crosses { 0 } else { self.kept(length) }
    }

    /// What is kept at most, of however many.
    fn most(self) -> Option<u64> {
        match (self.from, self.to) {
            (from, Some(to)) if to >= 0 && from.is_none_or(|from| from >= 0) => {
                Some(to.abs_diff(0).saturating_sub(from.unwrap_or(0).unsigned_abs()))
            }
            (Some(from), None) if from < 0 => Some(from.unsigned_abs()),
            (Some(from), Some(to)) if from < 0 && to < 0 => {
                Some(from.unsigned_abs().saturating_sub(to.unsigned_abs()))
            }
            _ => None,
        }
    }
}
