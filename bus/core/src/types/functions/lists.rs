//! Functions of lists.
//!
//! Invariant: elements that are selected, sorted or grouped keep their type and its facts.

use super::Call;
use crate::types::{
    Bug, Kind, List, Number, Text, Type,
    infer::{Inference, Stream},
    numbers::merged,
    seeded,
};

impl<'s> Inference<'s> {
    pub(super) fn of_list(&mut self, call: Call<'_, 's>) -> Option<Stream> {
        Some(match call.name {
            "map" => self.map(call),
            "any" | "all" => self.any(call),
            "first" => self.end(call, true),
            "last" => self.end(call, false),
            "add" => self.add(call),
            "reverse" => self.with_list(call, &reversed),
            "sort" => self.with_list(call, &|list| sorted(list, list.distinct, list.least)),
            "unique" => self.with_list(call, &|list| sorted(list, true, kept_by_unique(list))),
            "flatten" => self.with_list(call, &flat),
            "sort_by" => self.keyed(call, false, &|list| sorted(list, list.distinct, list.least)),
            "unique_by" => self.keyed(call, false, &|list| sorted(list, false, list.least.min(1))),
            "group_by" => self.keyed(call, false, &grouped),
            "min_by" | "max_by" => self.keyed(call, true, &extreme),
            "min" | "max" => self.extreme(call),
            "join" => self.join(call),
            _ => return None,
        })
    }

    /// The input, which must be a list; none where that was said to be wrong.
    fn list_of(&mut self, call: Call<'_, 's>) -> Option<List> {
        let given = self.only_of(call, Kind::List, "a list")?;
        let unknown = || List::of(Type::unknown(), 0, None);
        Some(given.list.as_deref().cloned().unwrap_or_else(unknown))
    }

    fn with_list(&mut self, call: Call<'_, 's>, make: &dyn Fn(&List) -> Type) -> Stream {
        match self.list_of(call) {
            Some(list) => Stream::one(make(&list)),
            None => Stream::stopped(),
        }
    }

    fn map(&mut self, call: Call<'_, 's>) -> Stream {
        let elements = self.iterate(call.term, call.input(), false);
        if elements.stops() {
            return Stream::stopped();
        }
        let given = if elements.most == Some(0) {
            Stream::none()
        } else {
            self.infer(call.argument(0), &call.context.at(elements.of.clone()))
        };
        if given.stops() && elements.least > 0 {
            return Stream::stopped();
        }
        let all = elements.each(given);
        Stream::one(Type::list(List::of(all.of, all.least, all.most)))
    }

    /// `any`, `all`, with a condition, or with values and a condition.
    fn any(&mut self, call: Call<'_, 's>) -> Stream {
        let values = match call.arguments {
            [values, _] => self.infer(values, call.context),
            _ => self.iterate(call.term, call.input(), false),
        };
        if values.stops() {
            return Stream::stopped();
        }
        if values.of.is_never() {
            return Stream::one(Type::boolean());
        }
        let asked = match call.arguments.last() {
            Some(condition) => self.condition(condition, &call.context.at(values.of)).of,
            None => self.truth(call.term, &values.of),
        };
        if asked.is_never() { Stream::stopped() } else { Stream::one(Type::boolean()) }
    }

    /// `first` and `last` of the input.
    fn end(&mut self, call: Call<'_, 's>, first: bool) -> Stream {
        if call.input().is_only(Kind::Null) {
            return Stream::one(Type::null());
        }
        self.with_list(call, &|list| {
            let element = if first { list.at(0).clone() } else { list.element() };
            if list.least > 0 { element } else { element.or_null() }
        })
    }

    fn add(&mut self, call: Call<'_, 's>) -> Stream {
        let values = match call.arguments {
            [values] => self.infer(values, call.context),
            _ => self.iterate(call.term, call.input(), false),
        };
        if values.stops() {
            return Stream::stopped();
        }
        if values.of.is_never() {
            return Stream::one(Type::null());
        }
        if values.of.is_unknown() {
            return self.unknown(call.term, "the sum of unknown values");
        }
        let Some(sum) = sum(&values.of) else {
            let (title, write) = if values.of.null {
                (
                    "an element may be null, and null + 1 is 1: it would go unnoticed",
                    "`map(select(. != null))` before it",
                )
            } else {
                ("the elements cannot be added to each other", "elements of one kind")
            };
            return self.wrong(call.term, "SN0207", title, &values.of, write);
        };
        let sure = values.least > 0 || seeded(Bug::AddIsThere);
        Stream::one(if sure { sum } else { sum.or_null() })
    }

    /// A function with a key; `compares` where a missing key would win or lose unnoticed.
    fn keyed(
        &mut self,
        call: Call<'_, 's>,
        compares: bool,
        make: &dyn Fn(&List) -> Type,
    ) -> Stream {
        let Some(list) = self.list_of(call) else { return Stream::stopped() };
        let key = call.argument(0);
        if list.most == Some(0) {
            return Stream::one(make(&list));
        }
        let given = self.infer(key, &call.context.at(list.element()));
        if given.of.is_never() {
            return Stream::stopped();
        }
        if compares && given.of.null {
            let title = "null is smaller than every number and text, so an element without it wins \
                         or loses silently";
            let write = "`map(select(… != null))` before it";
            return self.wrong(key, "SN0206", title, &given.of, write);
        }
        Stream::one(make(&list))
    }

    fn extreme(&mut self, call: Call<'_, 's>) -> Stream {
        let Some(list) = self.list_of(call) else { return Stream::stopped() };
        let element = list.element();
        if element.null {
            let title = "null is smaller than every number and text, so a missing value wins or \
                         loses silently";
            return self.wrong(
                call.term,
                "SN0206",
                title,
                &element,
                "`map(select(. != null))` before it",
            );
        }
        Stream::one(bounded(extreme(&list), &list, call.name == "max"))
    }

    fn join(&mut self, call: Call<'_, 's>) -> Stream {
        let separator = self.argument_of(call, 0, Kind::Text, "text");
        let (Some(separator), Some(list)) = (separator, self.list_of(call)) else {
            return Stream::stopped();
        };
        let element = list.element();
        if element.is_never() {
            return separator.each(Stream::one(Type::word("")));
        }
        let text = self.as_text(call.term, &element);
        let Some(text) = text.text else { return Stream::stopped() };
        let least = if list.least > 0 { text.least } else { 0 };
        separator.each(Stream::one(Type::text(Text::from(least))))
    }
}

/// The sum of one or more values of a type; none where they cannot be added.
fn sum(of: &Type) -> Option<Type> {
    if let (Some(number), true) = (&of.number, of.is_only(Kind::Number)) {
        let least = number.least.filter(|least| *least >= 0.0);
        let nonzero = least.is_some_and(|least| least > 0.0);
        return Some(Type::number(Number {
            whole: number.whole,
            least,
            nonzero,
            ..Number::default()
        }));
    }
    if let (Some(text), true) = (&of.text, of.is_only(Kind::Text)) {
        return Some(Type::text(Text::from(text.least)));
    }
    if let (Some(list), true) = (&of.list, of.is_only(Kind::List)) {
        return Some(Type::list(List::of(list.element(), list.least, None)));
    }
    let (Some((first, others)), true) = (of.objects.split_first(), of.is_only(Kind::Object)) else {
        return None;
    };
    let all = others.iter().fold(Type::object(super::super::Object::clone(first)), |all, one| {
        all.join(&Type::object(super::super::Object::clone(one)))
    });
    // Of several alternatives, any may come last, and fields of the others stay.
    let pairs = all.objects.iter().flat_map(|a| all.objects.iter().map(move |b| merged(a, b)));
    let twice: Vec<_> = pairs.collect();
    match twice.as_slice() {
        [one] => Some(Type::object(one.clone())),
        _ => Some(Type::object(super::super::Object {
            others: Some(
                all.objects.iter().fold(Type::never(), |all, one| all.join(&one.values())),
            ),
            ..Default::default()
        })),
    }
}

fn kept_by_unique(list: &List) -> u64 {
    if seeded(Bug::UniqueKeepsLength) { list.least } else { list.least.min(1) }
}

fn sorted(list: &List, distinct: bool, least: u64) -> Type {
    Type::list(List { distinct, ..List::of(list.element(), least, list.most) })
}

fn reversed(list: &List) -> Type {
    let length = list.first.len() as u64;
    if list.least == length && list.most == Some(length) && length > 0 {
        return Type::list(List {
            distinct: list.distinct,
            ..List::tuple(list.first.iter().rev().cloned().collect())
        });
    }
    sorted(list, list.distinct, list.least)
}

fn grouped(list: &List) -> Type {
    let group = Type::list(List::of(list.element(), 1, list.most));
    Type::list(List::of(group, list.least.min(1), list.most))
}

fn extreme(list: &List) -> Type {
    let element = list.element();
    let sure = list.least > 0 || seeded(Bug::MinIsThere);
    if sure { element } else { element.or_null() }
}

/// The greatest of several numbers is not below any that is surely there, nor the least above one:
/// `[1, .n] | max`, as people write a bound.
fn bounded(mut of: Type, list: &List, greatest: bool) -> Type {
    if !list.element().is_only(Kind::Number) {
        return of;
    }
    let Some(number) = &mut of.number else { return of };
    let sure = usize::try_from(list.least).unwrap_or(usize::MAX);
    for there in list.first.iter().take(sure).filter_map(|one| one.number.as_ref()) {
        if greatest {
            number.least = ends(number.least, there.least, f64::max);
        } else {
            number.most = ends(number.most, there.most, f64::min);
        }
    }
    let (least, most) = (number.least, number.most);
    let within =
        |n: &f64| least.is_none_or(|least| *n >= least) && most.is_none_or(|most| *n <= most);
    number.literals.iter_mut().for_each(|literals| literals.retain(within));
    number.nonzero |= least.is_some_and(|least| least > 0.0) || most.is_some_and(|most| most < 0.0);
    of
}

fn ends(one: Option<f64>, other: Option<f64>, of: fn(f64, f64) -> f64) -> Option<f64> {
    one.zip(other).map(|(one, other)| of(one, other)).or(one).or(other)
}

fn flat(list: &List) -> Type {
    let element = list.element();
    let nested = element.list.is_some() || element.is_unknown();
    let (least, most) = if nested { (0, None) } else { (list.least, list.most) };
    Type::list(List::of(within(&element), least, most))
}

/// What is left of an element when no list is within it.
fn within(element: &Type) -> Type {
    let others = element.without(Kind::List);
    match &element.list {
        Some(list) => others.join(&within(&list.element())),
        None => others,
    }
}
