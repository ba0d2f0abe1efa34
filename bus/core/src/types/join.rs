//! The join of two types: what may be one or the other.
//!
//! Invariant: every value of either is a value of the join; a fact of the join holds of both.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Bug, Fact, Facts, Field, List, MOST_LITERALS, MOST_OBJECTS, Number, Object, Text, Type, seeded,
};
use crate::schema::holds;

/// The facts of both.
pub(super) fn shared(a: &Facts, b: &Facts) -> Facts {
    if seeded(Bug::JoinKeepsFacts) {
        return [a.as_slice(), b].concat();
    }
    a.iter().filter(|fact| b.binary_search(fact).is_ok()).cloned().collect()
}

/// One of two bounds where both are there.
pub(super) fn both<T: Copy>(a: Option<T>, b: Option<T>, pick: impl Fn(T, T) -> T) -> Option<T> {
    a.zip(b).map(|(a, b)| pick(a, b))
}

fn either<T: Clone>(a: Option<&T>, b: Option<&T>, join: impl Fn(&T, &T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (one, other) => one.or(other).cloned(),
    }
}

impl Type {
    pub(crate) fn join(&self, other: &Self) -> Self {
        if other.is_never() || self == other {
            return self.clone();
        }
        if self.is_never() {
            return other.clone();
        }
        let lists = |a: &Arc<List>, b: &Arc<List>| Arc::new(a.join(b));
        let unknown = either(self.unknown.as_ref(), other.unknown.as_ref(), shared);
        // What may be anything may be null: that is nothing that could be mended.
        let anything = unknown.as_ref().is_some_and(Vec::is_empty);
        Self {
            unknown,
            null: (self.null || other.null) && !anything,
            yes: self.yes || other.yes,
            no: self.no || other.no,
            number: either(self.number.as_ref(), other.number.as_ref(), Number::join),
            text: either(self.text.as_ref(), other.text.as_ref(), Text::join),
            list: either(self.list.as_ref(), other.list.as_ref(), lists),
            objects: alternatives(&self.objects, &other.objects),
        }
    }

    /// The same kinds without what would make a loop go on for ever.
    pub(super) fn widened(&self) -> Self {
        let number = |number: &Number| Number { whole: number.whole, ..Number::default() };
        let list = |list: &Arc<List>| Arc::new(List::of(list.element().widened(), 0, None));
        Self {
            number: self.number.as_ref().map(number),
            text: self.text.as_ref().map(|_| Text::default()),
            list: self.list.as_ref().map(list),
            ..self.clone()
        }
    }
}

/// The alternatives of both; too many are one.
fn alternatives(a: &[Arc<Object>], b: &[Arc<Object>]) -> Vec<Arc<Object>> {
    let mut all = a.to_vec();
    for object in b {
        if !all.iter().any(|known| Arc::ptr_eq(known, object) || known == object) {
            all.push(Arc::clone(object));
        }
    }
    match all.split_first() {
        Some((first, others)) if others.len() >= MOST_OBJECTS => {
            let first = Object::clone(first);
            vec![Arc::new(others.iter().fold(first, |all, one| all.join(one)))]
        }
        _ => all,
    }
}

impl Number {
    fn join(&self, other: &Self) -> Self {
        let literals = match (&self.literals, &other.literals) {
            (Some(a), Some(b)) if a.len() + b.len() <= MOST_LITERALS => {
                Self::literals([a.as_slice(), b].concat()).literals
            }
            _ => None,
        };
        Self {
            whole: self.whole && other.whole,
            least: both(self.least, other.least, f64::min),
            most: both(self.most, other.most, f64::max),
            nonzero: self.nonzero && other.nonzero,
            literals,
            facts: shared(&self.facts, &other.facts),
        }
    }
}

impl Text {
    fn join(&self, other: &Self) -> Self {
        let literals = match (&self.literals, &other.literals) {
            (Some(a), Some(b)) => Self::literals([a.as_slice(), b].concat()).literals,
            _ => None,
        };
        let mut facts = shared(&self.facts, &other.facts);
        facts.extend(self.facts.iter().filter(|fact| other.satisfies(fact)).cloned());
        facts.extend(other.facts.iter().filter(|fact| self.satisfies(fact)).cloned());
        facts.sort();
        facts.dedup();
        Self {
            literals,
            least: self.least.min(other.least),
            most: both(self.most, other.most, u64::max),
            facts,
        }
    }

    /// Whether a fact about texts holds of each of its literals.
    pub(super) fn satisfies(&self, fact: &Fact) -> bool {
        let holds: &dyn Fn(&str) -> bool = match fact {
            Fact::Format(format) => &|word| holds::format(format, word),
            Fact::Pattern(pattern) => &|word| holds::pattern(pattern, word),
            Fact::Schema(_) | Fact::MultipleOf(_) => return false,
        };
        self.literals.as_ref().is_some_and(|words| words.iter().all(|word| holds(word)))
    }
}

impl List {
    fn join(&self, other: &Self) -> Self {
        let length = self.first.len().max(other.first.len());
        Self {
            first: (0..length).map(|index| self.at(index).join(other.at(index))).collect(),
            others: self.others.join(&other.others),
            least: self.least.min(other.least),
            most: both(self.most, other.most, u64::max),
            distinct: self.distinct && other.distinct,
            facts: shared(&self.facts, &other.facts),
        }
    }
}

impl Object {
    fn join(&self, other: &Self) -> Self {
        let names = self.fields.keys().chain(other.fields.keys());
        let fields: BTreeMap<Arc<str>, Field> = names
            .map(|name| {
                let (a, b) = (self.field(name), other.field(name));
                let value = a.value.join(&b.value);
                (Arc::clone(name), Field { value, required: a.required && b.required })
            })
            .collect();
        Self {
            fields,
            others: either(self.others.as_ref(), other.others.as_ref(), Type::join),
            undescribed: self.undescribed || other.undescribed,
            facts: shared(&self.facts, &other.facts),
        }
    }

    /// The field of that name, or what another field may be.
    pub(super) fn field(&self, name: &str) -> Field {
        let other = || Field { value: self.others.clone().unwrap_or_default(), required: false };
        self.fields.get(name).cloned().unwrap_or_else(other)
    }
}
