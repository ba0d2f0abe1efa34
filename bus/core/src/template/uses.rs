//! Which parts of the facts an expression reads: nothing else of a fact is kept.
//!
//! Invariant: an expression gives the same of the facts and of their parts that are found here; where that
//! is not plain, all of what an expression touches counts as read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    functions::Function,
    native::literal,
    tree::{BinaryOp, Part, Path, Pattern, StrPart, Term},
};
use crate::{
    facts::{Parts, Way},
    types::bugs::{Bug, seeded},
};

/// The variable that holds the facts.
pub(crate) const FACTS: &str = "$facts";

/// The parts of `$facts` that a condition reads, or, where `whole`, an expression that gives a value.
pub(crate) fn parts(term: &Term<&str>, whole: bool) -> Parts {
    let mut reader = Reader::default();
    let given = reader.of(term, &Held::default());
    reader.read(&given, whole);
    reader.parts
}

/// What a value may hold of the facts: it is one of the parts at `at`, or was made of some.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    at: BTreeSet<Vec<Way>>,
    items: Option<Box<Held>>,
    fields: BTreeMap<String, Held>,
}

impl Held {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn or(mut self, other: Self) -> Self {
        self.at.extend(other.at);
        if let Some(items) = other.items {
            self.items =
                Some(Box::new(self.items.map_or_else(Self::default, |own| *own).or(*items)));
        }
        for (name, held) in other.fields {
            let own = self.fields.remove(&name).unwrap_or_default();
            self.fields.insert(name, own.or(held));
        }
        self
    }

    fn list(items: Self) -> Self {
        if items.is_empty() {
            items
        } else {
            Self { items: Some(Box::new(items)), ..Self::default() }
        }
    }

    fn below(&self, way: &Way) -> BTreeSet<Vec<Way>> {
        self.at.iter().map(|at| at.iter().cloned().chain([way.clone()]).collect()).collect()
    }
}

/// A condition, and what is given where it holds.
type Branch<'s> = (Term<&'s str>, Term<&'s str>);

#[derive(Default)]
struct Reader<'s> {
    parts: Parts,
    bound: Vec<(&'s str, Held)>,
}

impl<'s> Reader<'s> {
    /// All of what is held is read, or only that it is there.
    fn read(&mut self, held: &Held, whole: bool) {
        for at in &held.at {
            self.parts.add(at, whole && !seeded(Bug::PartIsNotKept));
        }
        held.items.iter().for_each(|items| self.read(items, whole));
        held.fields.values().for_each(|field| self.read(field, whole));
    }

    /// Reads all of what several terms give of `input`; they give nothing of it on.
    fn reads(&mut self, terms: &[&Term<&'s str>], input: &Held) -> Held {
        for term in terms {
            let given = self.of(term, input);
            self.read(&given, true);
        }
        Held::default()
    }

    fn field(&mut self, held: &Held, name: &str) -> Held {
        let at = held.below(&Way::Field(name.to_owned()));
        for at in &at {
            self.parts.add(at, false);
        }
        let made = held.fields.get(name).cloned().unwrap_or_default();
        Held { at, ..Held::default() }.or(made)
    }

    fn items(&mut self, held: &Held) -> Held {
        let at = held.below(&Way::Items);
        for at in &at {
            self.parts.add(at, false);
        }
        let made = held.items.clone().map(|items| *items).into_iter();
        made.chain(held.fields.values().cloned()).fold(Held { at, ..Held::default() }, Held::or)
    }

    /// What `term` gives of `input`.
    fn of(&mut self, term: &Term<&'s str>, input: &Held) -> Held {
        match term {
            Term::Id => input.clone(),
            Term::Var(name) => self.variable(name),
            Term::Arr(Some(inner)) => Held::list(self.of(inner, input)),
            Term::Obj(entries) => self.object(entries, input),
            Term::Str(_, parts) => self.text(parts, input),
            Term::Neg(inner) => self.reads(&[inner], input),
            Term::Path(head, Path(parts)) => {
                let head = self.of(head, input);
                parts.iter().fold(head, |held, (part, _)| self.part(&held, part, input))
            }
            Term::BinOp(left, operator, right) => self.binary((left, operator, right), input),
            Term::IfThenElse(branches, otherwise) => {
                self.branches((branches, otherwise.as_deref()), input)
            }
            Term::TryCatch(inner, None) => self.of(inner, input),
            Term::TryCatch(inner, Some(catch)) => self.caught((inner, catch), input),
            Term::Fold(_, over, pattern, arguments) => self.fold((over, pattern, arguments), input),
            Term::Call(name, arguments) => self.call(name, arguments, input),
            _ => Held::default(),
        }
    }

    /// What is caught is a text that quotes what could not be done: all that was touched, then.
    fn caught(&mut self, (inner, catch): (&Term<&'s str>, &Term<&'s str>), input: &Held) -> Held {
        let before = std::mem::take(&mut self.parts);
        let given = self.of(inner, input);
        let touched = std::mem::replace(&mut self.parts, before);
        self.parts.join(&touched.with_whole_fields());
        self.read(input, true);
        given.or(self.of(catch, &Held::default()))
    }

    fn variable(&self, name: &str) -> Held {
        let bound = self.bound.iter().rev().find(|(known, _)| *known == name);
        match bound {
            Some((_, held)) => held.clone(),
            None if name == FACTS => Held { at: BTreeSet::from([Vec::new()]), ..Held::default() },
            None => Held::default(),
        }
    }

    fn object(&mut self, entries: &[(Term<&'s str>, Option<Term<&'s str>>)], input: &Held) -> Held {
        let mut made = Held::default();
        for (key, value) in entries {
            let name = match literal(key) {
                Some(Value::String(name)) => Some(name),
                _ => None,
            };
            let held = match (value, &name) {
                (Some(value), _) => self.of(value, input),
                (None, Some(name)) => self.field(input, name),
                // `{$x}`: named as the variable.
                (None, None) => self.of(key, input),
            };
            if let Some(name) = name {
                made.fields.insert(name, held);
            } else {
                self.reads(&[key], input);
                self.read(&held, true);
            }
        }
        made
    }

    fn text(&mut self, parts: &[StrPart<&'s str, Term<&'s str>>], input: &Held) -> Held {
        for part in parts {
            if let StrPart::Term(term) = part {
                self.reads(&[term], input);
            }
        }
        Held::default()
    }

    fn part(&mut self, held: &Held, part: &Part<Term<&'s str>>, input: &Held) -> Held {
        match part {
            Part::Index(index) => match literal(index) {
                Some(Value::String(name)) => self.field(held, &name),
                Some(Value::Number(_)) => self.items(held),
                _ => {
                    // By a name or a number that is not known here: any of them.
                    self.reads(&[index], input);
                    self.items(held)
                }
            },
            // `.[]` too.
            Part::Range(None, None) => self.items(held),
            Part::Range(from, to) => {
                let bounds: Vec<&Term<&'s str>> = from.iter().chain(to).collect();
                self.reads(&bounds, input);
                // A slice of a list keeps its length only where each item counts.
                self.items(held);
                held.clone()
            }
        }
    }

    fn binary(
        &mut self,
        (left, operator, right): (&Term<&'s str>, &BinaryOp<&'s str>, &Term<&'s str>),
        input: &Held,
    ) -> Held {
        match operator {
            BinaryOp::Pipe(None) => {
                let given = self.of(left, input);
                self.of(right, &given)
            }
            BinaryOp::Pipe(Some(pattern)) => {
                let given = self.of(left, input);
                self.within(pattern, given, |reader| reader.of(right, input))
            }
            BinaryOp::Comma => self.of(left, input).or(self.of(right, input)),
            BinaryOp::Alt => {
                let given = self.of(left, input);
                self.read(&given, false);
                given.or(self.of(right, input))
            }
            BinaryOp::And | BinaryOp::Or => {
                for side in [left, right] {
                    let given = self.of(side, input);
                    self.read(&given, false);
                }
                Held::default()
            }
            // What is compared with a plain value is of another kind, or is kept as it is.
            BinaryOp::Cmp(_) if literal(right).is_some() => self.touches(left, input),
            BinaryOp::Cmp(_) if literal(left).is_some() => self.touches(right, input),
            BinaryOp::Math(_) | BinaryOp::Cmp(_) => self.reads(&[left, right], input),
            _ => {
                // An update keeps everything around what it changes.
                self.read(input, true);
                self.reads(&[left, right], input)
            }
        }
    }

    fn within(
        &mut self,
        pattern: &Pattern<&'s str>,
        given: Held,
        act: impl FnOnce(&mut Self) -> Held,
    ) -> Held {
        let depth = self.bound.len();
        match pattern {
            Pattern::Var(name) => self.bound.push((name, given)),
            // Taken apart: what is bound holds nothing that was not read.
            Pattern::Arr(_) | Pattern::Obj(_) => self.read(&given, true),
        }
        let held = act(self);
        self.bound.truncate(depth);
        held
    }

    fn branches(
        &mut self,
        (branches, otherwise): (&[Branch<'s>], Option<&Term<&'s str>>),
        input: &Held,
    ) -> Held {
        let mut given = Held::default();
        for (condition, then) in branches {
            let holds = self.of(condition, input);
            self.read(&holds, false);
            given = given.or(self.of(then, input));
        }
        given.or(otherwise.map_or_else(|| input.clone(), |otherwise| self.of(otherwise, input)))
    }

    /// `reduce`: what goes round is read as a whole as soon as it is more than it was.
    fn fold(
        &mut self,
        (over, pattern, arguments): (&Term<&'s str>, &Pattern<&'s str>, &[Term<&'s str>]),
        input: &Held,
    ) -> Held {
        let item = self.of(over, input);
        let Some((begin, steps)) = arguments.split_first() else { return Held::default() };
        let state = self.of(begin, input);
        let more = self.within(pattern, item, |reader| {
            steps.iter().fold(state.clone(), |state, step| reader.of(step, &state))
        });
        let all = state.clone().or(more);
        if all != state {
            self.read(&all, true);
        }
        all
    }

    fn call(&mut self, name: &str, arguments: &[Term<&'s str>], input: &Held) -> Held {
        match (name, arguments) {
            ("empty" | "null" | "true" | "false", []) => Held::default(),
            (
                "values" | "nulls" | "strings" | "numbers" | "objects" | "arrays" | "booleans"
                | "scalars" | "reverse",
                [],
            ) => {
                self.read(input, false);
                self.items(input);
                input.clone()
            }
            ("not", []) => {
                self.read(input, false);
                Held::default()
            }
            ("length" | "keys", []) => {
                self.read(input, false);
                self.items(input);
                Held::default()
            }
            ("has", [name]) => {
                self.items(input);
                self.reads(&[name], input)
            }
            ("any" | "all", []) => {
                let items = self.items(input);
                self.read(&items, false);
                Held::default()
            }
            ("any" | "all", [condition]) => {
                let items = self.items(input);
                self.touches(condition, &items)
            }
            ("any" | "all", [items, condition]) => {
                let items = self.of(items, input);
                self.touches(condition, &items)
            }
            ("isempty", [items]) => self.touches(items, input),
            ("select", [condition]) => {
                self.touches(condition, input);
                input.clone()
            }
            ("map", [each]) => {
                let items = self.items(input);
                Held::list(self.of(each, &items))
            }
            ("first" | "last", []) => self.items(input),
            ("first" | "last", [items]) => self.of(items, input),
            ("min_by" | "max_by", [by]) => {
                let items = self.items(input);
                self.reads(&[by], &items);
                items
            }
            ("sort_by", [by]) => {
                let items = self.items(input);
                self.reads(&[by], &items);
                input.clone()
            }
            _ => {
                if Function::called(name, arguments.len()).is_none() {
                    // It may look at anything; what it gives holds nothing that was not read.
                    self.read(input, true);
                }
                self.reads(&arguments.iter().collect::<Vec<_>>(), input)
            }
        }
    }

    /// Whether something holds, or is there, is looked at; nothing of it is given on.
    fn touches(&mut self, term: &Term<&'s str>, input: &Held) -> Held {
        let given = self.of(term, input);
        self.read(&given, false);
        Held::default()
    }
}

#[cfg(test)]
mod tests;
