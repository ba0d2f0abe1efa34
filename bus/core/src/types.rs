//! Types of values: what is known of a value before any message has come, one slot per kind of JSON.
//!
//! Invariant: a type never leaves out a value that can occur; what is not known is [`Type::unknown`], and
//! `never` means that nothing comes here, or that a mistake was already said.

use std::{collections::BTreeMap, sync::Arc};

pub(crate) mod bugs;
pub(crate) mod fits;
mod functions;
pub(crate) mod infer;
mod join;
pub(crate) mod library;
mod meet;
mod narrow;
pub(crate) mod numbers;
mod operators;
mod paths;
mod span;
#[cfg(test)]
pub(crate) mod tests;
mod words;

use bugs::{Bug, seeded};

/// More alternatives of objects are joined into one.
pub(crate) const MOST_OBJECTS: usize = 8;
/// More literals are forgotten.
pub(crate) const MOST_LITERALS: usize = 24;
/// Beyond, a whole number is not exact in an IEEE double.
const EXACT: f64 = 9e15;

/// A kind of JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    List,
    Object,
}

/// Something that holds of every value of a slot beyond its shape. It travels with values that are copied,
/// selected, sorted or narrowed; what makes a new value drops it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    /// It satisfies the schema with this digest.
    Schema(u64),
    /// It has this format.
    Format(Arc<str>),
    /// It matches this pattern.
    Pattern(Arc<str>),
    /// It is a multiple of this number.
    MultipleOf(u64),
}

/// Sorted, without doubles.
pub(crate) type Facts = Vec<Fact>;

/// The type of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Type {
    /// Anything may come, of which nevertheless this is known.
    pub(crate) unknown: Option<Facts>,
    pub(crate) null: bool,
    /// It may be `true`.
    pub(crate) yes: bool,
    /// It may be `false`.
    pub(crate) no: bool,
    pub(crate) number: Option<Number>,
    pub(crate) text: Option<Text>,
    pub(crate) list: Option<Arc<List>>,
    /// Alternatives, at most [`MOST_OBJECTS`].
    pub(crate) objects: Vec<Arc<Object>>,
}

/// Numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Number {
    pub(crate) whole: bool,
    pub(crate) least: Option<f64>,
    pub(crate) most: Option<f64>,
    /// It is never 0.
    pub(crate) nonzero: bool,
    /// Sorted.
    pub(crate) literals: Option<Vec<f64>>,
    pub(crate) facts: Facts,
}

/// Texts. Lengths count characters, as JSON Schema does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Text {
    /// Sorted.
    pub(crate) literals: Option<Vec<Arc<str>>>,
    pub(crate) least: u64,
    pub(crate) most: Option<u64>,
    pub(crate) facts: Facts,
}

/// Lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct List {
    /// The first elements, where they differ from the others.
    pub(crate) first: Vec<Type>,
    /// The others.
    pub(crate) others: Type,
    pub(crate) least: u64,
    pub(crate) most: Option<u64>,
    /// No two elements are equal.
    pub(crate) distinct: bool,
    pub(crate) facts: Facts,
}

/// A field of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Field {
    pub(crate) value: Type,
    pub(crate) required: bool,
}

/// Objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object {
    pub(crate) fields: BTreeMap<Arc<str>, Field>,
    /// What other fields hold; none where there are no others.
    pub(crate) others: Option<Type>,
    /// The schema says nothing of the others: to read one is a mistake, not a look into a map.
    pub(crate) undescribed: bool,
    pub(crate) facts: Facts,
}

impl Type {
    pub(crate) fn never() -> Self {
        Self::default()
    }

    pub(crate) fn unknown() -> Self {
        Self { unknown: Some(Vec::new()), ..Self::default() }
    }

    pub(crate) fn null() -> Self {
        Self { null: true, ..Self::default() }
    }

    pub(crate) fn boolean() -> Self {
        Self { yes: true, no: true, ..Self::default() }
    }

    pub(crate) fn truth(value: bool) -> Self {
        Self { yes: value, no: !value, ..Self::default() }
    }

    pub(crate) fn number(number: Number) -> Self {
        Self { number: Some(number), ..Self::default() }
    }

    pub(crate) fn text(text: Text) -> Self {
        Self { text: Some(text), ..Self::default() }
    }

    pub(crate) fn list(list: List) -> Self {
        Self { list: Some(Arc::new(list)), ..Self::default() }
    }

    pub(crate) fn object(object: Object) -> Self {
        Self { objects: vec![Arc::new(object)], ..Self::default() }
    }

    /// Text that is exactly this.
    pub(crate) fn word(word: &str) -> Self {
        Self::text(Text::literals(vec![word.into()]))
    }

    /// The type of exactly one value.
    pub(crate) fn of(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::null(),
            Value::Bool(truth) => Self::truth(*truth),
            Value::Number(number) => Self::number(Number::of(number.as_f64())),
            Value::String(word) => Self::word(word),
            Value::Array(items) => Self::list(List::tuple(items.iter().map(Self::of).collect())),
            Value::Object(fields) => {
                let field = |value| Field { value: Self::of(value), required: true };
                let fields =
                    fields.iter().map(|(name, value)| (name.as_str().into(), field(value)));
                Self::object(Object::closed(fields.collect()))
            }
        }
    }

    pub(crate) fn is_never(&self) -> bool {
        self.unknown.is_none() && self.kinds().next().is_none()
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown.is_some()
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Null => self.null,
            Kind::Boolean => self.yes || self.no,
            Kind::Number => self.number.is_some(),
            Kind::Text => self.text.is_some(),
            Kind::List => self.list.is_some(),
            Kind::Object => !self.objects.is_empty(),
        }
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(|kind| self.has(*kind))
    }

    /// Whether every value is of this kind, and that is known.
    pub(crate) fn is_only(&self, kind: Kind) -> bool {
        self.unknown.is_none() && self.kinds().eq([kind])
    }

    /// A kind other than these that it may have.
    pub(crate) fn besides(&self, kinds: &[Kind]) -> Option<Kind> {
        self.kinds().find(|kind| !kinds.contains(kind))
    }

    pub(crate) fn or_null(&self) -> Self {
        self.join(&Self::null())
    }

    pub(crate) fn not_null(&self) -> Self {
        Self { null: false, ..self.clone() }
    }

    /// The part of one kind; what is unknown may be of it.
    pub(crate) fn only(&self, kind: Kind) -> Self {
        let unknown = Self { unknown: self.unknown.clone(), ..Self::default() };
        match kind {
            Kind::Null => Self { null: self.null, ..unknown },
            Kind::Boolean => Self { yes: self.yes, no: self.no, ..unknown },
            Kind::Number => Self { number: self.number.clone(), ..unknown },
            Kind::Text => Self { text: self.text.clone(), ..unknown },
            Kind::List => Self { list: self.list.clone(), ..unknown },
            Kind::Object => Self { objects: self.objects.clone(), ..unknown },
        }
    }

    /// The part of all other kinds.
    pub(crate) fn without(&self, kind: Kind) -> Self {
        let all = self.clone();
        match kind {
            Kind::Null => Self { null: false, ..all },
            Kind::Boolean => Self { yes: false, no: false, ..all },
            Kind::Number => Self { number: None, ..all },
            Kind::Text => Self { text: None, ..all },
            Kind::List => Self { list: None, ..all },
            Kind::Object => Self { objects: Vec::new(), ..all },
        }
    }

    /// The part that `if`, `and` and `//` take for true.
    pub(crate) fn truthy(&self) -> Self {
        Self { null: false, no: false, ..self.clone() }
    }

    /// The part that they take for false.
    pub(crate) fn falsy(&self) -> Self {
        Self { unknown: self.unknown.clone(), null: self.null, no: self.no, ..Self::default() }
    }

    /// The facts of each of its values, where it has one kind.
    pub(crate) fn facts(&self) -> &[Fact] {
        let of_kind = || {
            let number = self.number.as_ref().map(|number| &number.facts);
            let text = || self.text.as_ref().map(|text| &text.facts);
            let list = || self.list.as_ref().map(|list| &list.facts);
            let object = || self.objects.first().map(|object| &object.facts);
            number.or_else(text).or_else(list).or_else(object)
        };
        self.unknown.as_ref().or_else(of_kind).map_or(&[], Vec::as_slice)
    }

    /// The same, where every value satisfies `fact` too.
    pub(crate) fn with(mut self, fact: &Fact) -> Self {
        let add = |facts: &mut Facts| {
            if let Err(at) = facts.binary_search(fact) {
                facts.insert(at, fact.clone());
            }
        };
        self.unknown.iter_mut().for_each(add);
        self.number.iter_mut().for_each(|number| add(&mut number.facts));
        self.text.iter_mut().for_each(|text| add(&mut text.facts));
        self.list.iter_mut().for_each(|list| add(&mut Arc::make_mut(list).facts));
        self.objects.iter_mut().for_each(|object| add(&mut Arc::make_mut(object).facts));
        self
    }

    /// One type for each kind and each alternative: what holds of every piece holds of the whole.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Self> {
        let others = self.kinds().filter(|kind| *kind != Kind::Object);
        let others = others.map(|kind| Self { unknown: None, ..self.only(kind) });
        let object =
            |object: &Arc<Object>| Self { objects: vec![Arc::clone(object)], ..Self::default() };
        let unknown = self
            .unknown
            .iter()
            .map(|facts| Self { unknown: Some(facts.clone()), ..Self::default() });
        others.chain(self.objects.iter().map(object)).chain(unknown)
    }
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Null, Self::Boolean, Self::Number, Self::Text, Self::List, Self::Object];

    /// The kind that jq's `type` calls so.
    fn called(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "number" => Self::Number,
            "string" => Self::Text,
            "array" => Self::List,
            "object" => Self::Object,
            _ => return None,
        })
    }
}

impl Number {
    pub(crate) fn whole() -> Self {
        Self { whole: true, ..Self::default() }
    }

    /// Whole and not smaller than that.
    pub(crate) fn from(least: f64) -> Self {
        Self { least: Some(least), nonzero: least > 0.0, ..Self::whole() }
    }

    /// Exactly one number; where it is not exact, any.
    pub(crate) fn of(number: Option<f64>) -> Self {
        let exact = number.filter(|number| number.abs() < EXACT);
        exact.map_or_else(Self::default, |number| Self::literals(vec![number]))
    }

    /// One of these.
    pub(crate) fn literals(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        Self {
            whole: numbers.iter().all(|number| number.fract() == 0.0),
            least: numbers.first().copied(),
            most: numbers.last().copied(),
            nonzero: !numbers.contains(&0.0),
            literals: (numbers.len() <= MOST_LITERALS).then_some(numbers),
            facts: Vec::new(),
        }
    }
}

impl Text {
    /// One of these.
    pub(crate) fn literals(mut words: Vec<Arc<str>>) -> Self {
        words.sort();
        words.dedup();
        let lengths = || words.iter().map(|word| word.chars().count() as u64);
        Self {
            least: lengths().min().unwrap_or(0),
            most: lengths().max(),
            literals: (words.len() <= MOST_LITERALS).then_some(words),
            facts: Vec::new(),
        }
    }

    /// Not shorter than that.
    pub(crate) fn from(least: u64) -> Self {
        Self { least, ..Self::default() }
    }

    pub(crate) fn has_format(&self, format: &str) -> bool {
        self.facts.iter().any(|fact| matches!(fact, Fact::Format(known) if **known == *format))
    }
}

impl List {
    /// Between `least` and `most` elements of one type.
    pub(crate) fn of(others: Type, least: u64, most: Option<u64>) -> Self {
        Self { others, least, most, ..Self::default() }
    }

    /// Exactly these elements.
    pub(crate) fn tuple(first: Vec<Type>) -> Self {
        let length = first.len() as u64;
        Self { first, least: length, most: Some(length), ..Self::default() }
    }

    /// The element at an index, where there is one.
    pub(crate) fn at(&self, index: usize) -> &Type {
        self.first.get(index).unwrap_or(&self.others)
    }

    /// Any element.
    pub(crate) fn element(&self) -> Type {
        let reaches = |index: usize| self.most.is_none_or(|most| (index as u64) < most);
        let first = self.first.iter().enumerate().filter(|(index, _)| reaches(*index));
        let others = reaches(self.first.len()).then_some(&self.others);
        first.map(|(_, value)| value).chain(others).fold(Type::never(), |all, one| all.join(one))
    }
}

impl Object {
    /// These fields and no others.
    pub(crate) fn closed(fields: BTreeMap<Arc<str>, Field>) -> Self {
        Self { fields, ..Self::default() }
    }

    /// What `.name` gives: null where the field may be absent.
    pub(crate) fn get(&self, name: &str) -> Type {
        match (self.fields.get(name), &self.others) {
            (Some(field), _) if field.required || seeded(Bug::OptionalIsRequired) => {
                field.value.clone()
            }
            (Some(field), _) => field.value.or_null(),
            (None, Some(others)) => others.or_null(),
            (None, None) => Type::null(),
        }
    }

    /// Whether the schema speaks of a field that is called so.
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.fields.contains_key(name) || (self.others.is_some() && !self.undescribed)
    }

    /// Any value in it.
    pub(crate) fn values(&self) -> Type {
        let fields = self.fields.values().map(|field| &field.value);
        fields.chain(&self.others).fold(Type::never(), |all, one| all.join(one))
    }

    /// How many fields it has at least.
    pub(crate) fn least(&self) -> u64 {
        self.fields.values().filter(|field| field.required).count() as u64
    }

    /// How many fields it has at most, where that is known.
    pub(crate) fn most(&self) -> Option<u64> {
        let possible = self.fields.values().filter(|field| !field.value.is_never());
        self.others.is_none().then(|| possible.count() as u64)
    }
}

impl Type {
    /// Every value, where they are few and known.
    pub(crate) fn values(&self) -> Option<Vec<serde_json::Value>> {
        use serde_json::Value;
        if self.is_unknown() || self.has(Kind::List) || self.has(Kind::Object) {
            return None;
        }
        let truths = [(self.yes, true), (self.no, false)];
        let mut values: Vec<Value> = truths
            .into_iter()
            .filter(|(may, _)| *may)
            .map(|(_, truth)| Value::Bool(truth))
            .collect();
        if let Some(text) = &self.text {
            values.extend(text.literals.as_ref()?.iter().map(|word| Value::from(&**word)));
        }
        if let Some(number) = &self.number {
            #[expect(clippy::cast_possible_truncation, reason = "literals are exact")]
            let value = |number: &f64| match number.fract() {
                0.0 => Value::from(*number as i64),
                _ => Value::from(*number),
            };
            values.extend(number.literals.as_ref()?.iter().map(value));
        }
        values.extend(self.null.then_some(Value::Null));
        Some(values)
    }
}
