//! Arithmetic on types: what `+ - * / %` give of numbers, texts, lists and objects.
//!
//! Invariant: what is computed lies within the bounds that are given; new values carry no facts.

use std::{collections::BTreeMap, sync::Arc};

use super::{Bug, EXACT, Field, List, MOST_LITERALS, Number, Object, Text, Type, seeded};
use crate::template::tree::Math;

/// The sum of two counts; none where one has no end.
pub(super) fn plus(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.zip(b).and_then(|(a, b)| a.checked_add(b))
}

/// The product of two counts.
pub(super) fn times(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(0), _) | (_, Some(0)) => Some(0),
        (a, b) => a.zip(b).and_then(|(a, b)| a.checked_mul(b)),
    }
}

fn run(op: Math, a: f64, b: f64) -> f64 {
    op.run::<f64, f64>(a, b)
}

/// `a op b`.
pub(super) fn arithmetic(op: Math, a: &Number, b: &Number) -> Number {
    if let Some(literals) = literals(op, a, b) {
        return Number::literals(literals);
    }
    let (least, most) = bounds(op, a, b);
    Number {
        whole: a.whole && b.whole && (op != Math::Div || seeded(Bug::DivisionIsWhole)),
        least,
        most,
        nonzero: least.is_some_and(|least| least > 0.0) || most.is_some_and(|most| most < 0.0),
        literals: None,
        facts: Vec::new(),
    }
}

/// The results, where both sides are a few whole numbers and so is every result.
fn literals(op: Math, a: &Number, b: &Number) -> Option<Vec<f64>> {
    let (first, second) = (a.literals.as_ref()?, b.literals.as_ref()?);
    let exact = a.whole && b.whole && matches!(op, Math::Add | Math::Sub | Math::Mul);
    if !exact || first.len() * second.len() > MOST_LITERALS {
        return None;
    }
    let results = first.iter().flat_map(|a| second.iter().map(move |b| run(op, *a, *b)));
    let results: Vec<f64> = results.collect();
    results.iter().all(|result| result.abs() < EXACT).then_some(results)
}

fn bounds(op: Math, a: &Number, b: &Number) -> (Option<f64>, Option<f64>) {
    let of = |a: Option<f64>, b: Option<f64>| {
        let result = a.zip(b).map(|(a, b)| run(op, a, b));
        result.filter(|result| result.abs() < EXACT)
    };
    let positive = |number: &Number| number.least.is_some_and(|least| least >= 0.0);
    match op {
        Math::Add => (of(a.least, b.least), of(a.most, b.most)),
        Math::Sub if seeded(Bug::DifferenceGrows) => (of(a.least, b.least), of(a.most, b.most)),
        Math::Sub => (of(a.least, b.most), of(a.most, b.least)),
        Math::Mul => {
            let corners =
                [(a.least, b.least), (a.least, b.most), (a.most, b.least), (a.most, b.most)];
            let corners: Option<Vec<f64>> = corners.into_iter().map(|(a, b)| of(a, b)).collect();
            match corners {
                Some(all) => {
                    (all.iter().copied().reduce(f64::min), all.into_iter().reduce(f64::max))
                }
                None if positive(a) && positive(b) => (of(a.least, b.least), None),
                None => (None, None),
            }
        }
        Math::Div if positive(a) && positive(b) => (Some(0.0), None),
        Math::Rem if positive(a) && positive(b) => (Some(0.0), b.most),
        Math::Div | Math::Rem => (None, None),
    }
}

/// One text after the other.
pub(crate) fn concatenated(a: &Text, b: &Text) -> Text {
    if let (Some(first), Some(second)) = (&a.literals, &b.literals)
        && first.len() * second.len() <= MOST_LITERALS
    {
        let joined = |a: &Arc<str>, b: &Arc<str>| Arc::from(format!("{a}{b}"));
        let all = first.iter().flat_map(|a| second.iter().map(move |b| joined(a, b)));
        return Text::literals(all.collect());
    }
    // The empty text changes nothing: what is known of the other stays.
    match (a.most, b.most) {
        (Some(0), _) => b.clone(),
        (_, Some(0)) => a.clone(),
        _ => Text {
            least: a.least.saturating_add(b.least),
            most: plus(a.most, b.most),
            ..Text::default()
        },
    }
}

/// One list after the other.
pub(super) fn appended(a: &List, b: &List) -> List {
    if a.most == Some(0) {
        return b.clone();
    }
    if b.most == Some(0) {
        return a.clone();
    }
    let exact = |list: &List| {
        let length = list.first.len() as u64;
        list.least == length && list.most == Some(length)
    };
    if exact(a) && exact(b) {
        return List::tuple([a.first.as_slice(), &b.first].concat());
    }
    let least = a.least.saturating_add(b.least);
    List::of(a.element().join(&b.element()), least, plus(a.most, b.most))
}

/// `a + b` of objects: the right side wins where it has the field.
pub(super) fn merged(a: &Object, b: &Object) -> Object {
    let (a, b) = if seeded(Bug::LeftWins) { (b, a) } else { (a, b) };
    let mut fields = BTreeMap::new();
    for name in a.fields.keys().chain(b.fields.keys()) {
        let (left, right) = (a.field(name), b.field(name));
        let field = if right.required {
            right
        } else {
            Field { value: left.value.join(&right.value), required: left.required }
        };
        fields.insert(Arc::clone(name), field);
    }
    let others = match (&a.others, &b.others) {
        (Some(a), Some(b)) => Some(a.join(b)),
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    Object { fields, others, undescribed: a.undescribed || b.undescribed, facts: Vec::new() }
}

/// The longest text of a number or a truth: `-2.2250738585072014e-308`.
pub(super) const WRITTEN: u64 = 25;

/// Text of a number or a truth.
pub(super) fn written() -> Type {
    Type::text(Text { most: Some(WRITTEN), ..Text::from(1) })
}
