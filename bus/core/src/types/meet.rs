//! The meet of two types: what is one and the other.
//!
//! Invariant: a value of both is a value of the meet (which may hold more), with the facts of both.

use std::{collections::BTreeMap, sync::Arc};

use super::{Fact, Facts, Field, List, Number, Object, Text, Type, join::shared};

fn united(a: &Facts, b: &Facts) -> Facts {
    let mut facts = [a.as_slice(), b].concat();
    facts.sort();
    facts.dedup();
    facts
}

/// The tighter of two bounds.
pub(super) fn tighter<T: Copy>(a: Option<T>, b: Option<T>, pick: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(pick(a, b)),
        (one, other) => one.or(other),
    }
}

impl Type {
    pub(crate) fn meet(&self, other: &Self) -> Self {
        match (&self.unknown, &other.unknown) {
            (Some(a), Some(b)) => {
                // A value may be of the unknown part of one and of a known part of the other.
                let pure = self.kinds().chain(other.kinds()).next().is_none();
                let facts = if pure { united(a, b) } else { shared(a, b) };
                Self { unknown: Some(facts), ..Self::default() }
            }
            (Some(facts), None) => self.narrowed_to(other, facts),
            (None, Some(facts)) => other.narrowed_to(self, facts),
            (None, None) => self.meet_known(other),
        }
    }

    /// `self` may be anything, so the meet is `known`; with the facts, where they hold of all of `self`.
    fn narrowed_to(&self, known: &Self, facts: &[Fact]) -> Self {
        if self.kinds().next().is_some() {
            return known.clone();
        }
        facts.iter().fold(known.clone(), Self::with)
    }

    fn meet_known(&self, other: &Self) -> Self {
        let lists = self.list.as_ref().zip(other.list.as_ref());
        let pairs =
            self.objects.iter().flat_map(|a| other.objects.iter().map(move |b| (a.as_ref(), b)));
        let objects = pairs.filter_map(|(a, b)| a.meet(b)).map(Self::object);
        let rest = Self {
            unknown: None,
            null: self.null && other.null,
            yes: self.yes && other.yes,
            no: self.no && other.no,
            number: self.number.as_ref().zip(other.number.as_ref()).and_then(|(a, b)| a.meet(b)),
            text: self.text.as_ref().zip(other.text.as_ref()).and_then(|(a, b)| a.meet(b)),
            list: lists.and_then(|(a, b)| a.meet(b)).map(Arc::new),
            objects: Vec::new(),
        };
        objects.fold(rest, |all, one| all.join(&one))
    }
}

impl Number {
    fn meet(&self, other: &Self) -> Option<Self> {
        let number = Self {
            whole: self.whole || other.whole,
            least: tighter(self.least, other.least, f64::max),
            most: tighter(self.most, other.most, f64::min),
            nonzero: self.nonzero || other.nonzero,
            literals: common(self.literals.as_ref(), other.literals.as_ref()),
            facts: united(&self.facts, &other.facts),
        };
        number.trimmed()
    }

    /// The same without literals that its bounds exclude; none where nothing is left.
    pub(super) fn trimmed(mut self) -> Option<Self> {
        let (least, most, whole, nonzero) = (self.least, self.most, self.whole, self.nonzero);
        if let Some(literals) = &mut self.literals {
            literals.retain(|number| {
                least.is_none_or(|least| *number >= least)
                    && most.is_none_or(|most| *number <= most)
                    && (!whole || number.fract() == 0.0)
                    && (!nonzero || *number != 0.0)
            });
            if literals.is_empty() {
                return None;
            }
        }
        least.zip(most).is_none_or(|(least, most)| least <= most).then_some(self)
    }
}

/// What both lists of literals have.
fn common<T: Clone + PartialEq>(a: Option<&Vec<T>>, b: Option<&Vec<T>>) -> Option<Vec<T>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.iter().filter(|one| b.contains(one)).cloned().collect()),
        (one, other) => one.or(other).cloned(),
    }
}

impl Text {
    fn meet(&self, other: &Self) -> Option<Self> {
        let text = Self {
            literals: common(self.literals.as_ref(), other.literals.as_ref()),
            least: self.least.max(other.least),
            most: tighter(self.most, other.most, u64::min),
            facts: united(&self.facts, &other.facts),
        };
        text.trimmed()
    }

    /// The same without literals that its bounds exclude; none where nothing is left.
    pub(super) fn trimmed(mut self) -> Option<Self> {
        let (least, most) = (self.least, self.most);
        if let Some(words) = &mut self.literals {
            words.retain(|word| {
                let length = word.chars().count() as u64;
                length >= least && most.is_none_or(|most| length <= most)
            });
            if words.is_empty() {
                return None;
            }
        }
        most.is_none_or(|most| least <= most).then_some(self)
    }
}

impl List {
    fn meet(&self, other: &Self) -> Option<Self> {
        let length = self.first.len().max(other.first.len());
        let list = Self {
            first: (0..length).map(|index| self.at(index).meet(other.at(index))).collect(),
            others: self.others.meet(&other.others),
            least: self.least.max(other.least),
            most: tighter(self.most, other.most, u64::min),
            distinct: self.distinct || other.distinct,
            facts: united(&self.facts, &other.facts),
        };
        list.most.is_none_or(|most| list.least <= most).then_some(list)
    }
}

impl Object {
    fn meet(&self, other: &Self) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for name in self.fields.keys().chain(other.fields.keys()) {
            let (a, b) = (self.field(name), other.field(name));
            let field = Field { value: a.value.meet(&b.value), required: a.required || b.required };
            if field.required && field.value.is_never() {
                return None;
            }
            fields.insert(Arc::clone(name), field);
        }
        let others = self.others.as_ref().zip(other.others.as_ref());
        let others = others.map(|(a, b)| a.meet(b)).filter(|others| !others.is_never());
        Some(Self {
            fields,
            undescribed: others.is_some() && self.undescribed && other.undescribed,
            others,
            facts: united(&self.facts, &other.facts),
        })
    }
}
