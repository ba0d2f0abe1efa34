//! What a condition tells of the values that it reads: the types after `if`, `and`, `select`, `any`.
//!
//! Invariant: a value for which the condition came out so is in the narrowed type. jq's values never
//! change, so a place that was tested stays as it was.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Bug, Fact, Field, Kind, Number, Object, Text, Type,
    infer::{Context, is_exact, literal_number, literal_text},
    meet::tighter,
    seeded,
};
use crate::template::tree::{BinaryOp, Cmp, Part, Path, Term};

/// A place that a condition can speak of: `.a.b`, `$steps.register.number`, `.a | .b`.
struct Place {
    variable: Option<String>,
    names: Vec<String>,
}

impl Place {
    fn here() -> Self {
        Self { variable: None, names: Vec::new() }
    }

    fn of(term: &Term<&str>) -> Option<Self> {
        match term {
            Term::Id => Some(Self::here()),
            Term::Var(name) => Some(Self { variable: Some((*name).to_owned()), names: Vec::new() }),
            Term::Path(head, Path(parts)) => {
                let mut place = Self::of(head)?;
                for (part, _) in parts {
                    let Part::Index(index) = part else { return None };
                    place.names.push(literal_text(index)?);
                }
                Some(place)
            }
            Term::BinOp(left, BinaryOp::Pipe(None), right) => {
                let (mut place, more) = (Self::of(left)?, Self::of(right)?);
                if more.variable.is_some() {
                    return None;
                }
                place.names.extend(more.names);
                Some(place)
            }
            _ => None,
        }
    }

    fn change(&self, context: &Context, change: &dyn Fn(&Type) -> Type) -> Context {
        let mut changed = context.clone();
        let of = match &self.variable {
            None => Some(&mut changed.input),
            Some(name) => {
                let found = changed.variables.iter_mut().rev().find(|(known, _)| known == name);
                found.map(|(_, of)| of)
            }
        };
        if let Some(of) = of {
            *of = below(of, &self.names, change);
        }
        changed
    }
}

/// Changes what is below some names. An alternative in which nothing is left cannot be.
fn below(of: &Type, names: &[String], change: &dyn Fn(&Type) -> Type) -> Type {
    let Some((name, more)) = names.split_first() else { return change(of) };
    let null = of.null && !below(&Type::null(), more, change).is_never();
    let objects = of.objects.iter().filter_map(|object| {
        let before = object.get(name);
        let after = below(&before, more, change);
        if after == before {
            return Some(Arc::clone(object));
        }
        (!after.is_never()).then(|| Arc::new(with_field(object, name, after)))
    });
    Type { null, objects: objects.collect(), ..of.clone() }
}

/// The object whose field reads as `after`.
fn with_field(object: &Object, name: &str, after: Type) -> Object {
    let mut object = object.clone();
    let known = object.fields.get(name);
    let may_be_null = |of: &Type| of.null || of.is_unknown();
    // Null that comes of absence alone is no value of the field.
    let own_null = match known {
        Some(field) => may_be_null(&field.value),
        None => object.others.as_ref().is_some_and(may_be_null),
    };
    let required = known.is_some_and(|field| field.required) || !may_be_null(&after);
    let value = if own_null { after } else { after.not_null() };
    object.fields.insert(name.into(), Field { value, required });
    object
}

impl Context {
    /// What is known where `condition` has come out as `truth`.
    pub(crate) fn where_is(&self, condition: &Term<&str>, truth: bool) -> Self {
        if let Some(place) = Place::of(condition) {
            let part = |of: &Type| if truth { of.truthy() } else { of.falsy() };
            return place.change(self, &part);
        }
        match condition {
            Term::BinOp(left, BinaryOp::Pipe(None), right) => self.where_piped(left, right, truth),
            Term::BinOp(left, operator @ (BinaryOp::And | BinaryOp::Or), right) => {
                self.where_both(left, matches!(operator, BinaryOp::And), right, truth)
            }
            Term::BinOp(left, BinaryOp::Cmp(op), right) => match (literal(left), literal(right)) {
                (None, Some(value)) => self.where_compared(left, *op, &value, truth),
                (Some(value), None) => self.where_compared(right, flipped(*op), &value, truth),
                _ => self.clone(),
            },
            Term::Call("has", arguments) => self.where_has(arguments, truth),
            Term::Call("test", arguments) if truth => self.where_matches(arguments),
            Term::Call(name @ ("any" | "all"), arguments) if (*name == "any") == truth => {
                self.where_any(arguments)
            }
            _ => self.clone(),
        }
    }

    fn where_piped(&self, left: &Term<&str>, right: &Term<&str>, truth: bool) -> Self {
        if matches!(right, Term::Call("not", _)) {
            return self.where_is(left, !truth);
        }
        let Some(place) = Place::of(left) else { return self.clone() };
        place.change(self, &|of| self.at(of.clone()).where_is(right, truth).input)
    }

    fn where_both(&self, left: &Term<&str>, and: bool, right: &Term<&str>, truth: bool) -> Self {
        let through = self.where_is(left, and);
        let both = through.where_is(right, truth);
        if and == truth || seeded(Bug::OrShowsBoth) {
            return both;
        }
        // It came out so on the left, or on the right.
        let at_once = self.where_is(left, truth);
        let variables = at_once.variables.iter().zip(&both.variables);
        Self {
            input: at_once.input.join(&both.input),
            variables: variables.map(|((name, a), (_, b))| (name.clone(), a.join(b))).collect(),
        }
    }

    fn where_has(&self, arguments: &[Term<&str>], truth: bool) -> Self {
        let [name] = arguments else { return self.clone() };
        let Some(name) = literal_text(name) else { return self.clone() };
        Place::here().change(self, &|of| has(of, &name, truth))
    }

    /// `test` was true: the text has the pattern, where jaq and the validator read it alike.
    fn where_matches(&self, arguments: &[Term<&str>]) -> Self {
        let [pattern] = arguments else { return self.clone() };
        let Some(pattern) = literal_text(pattern).filter(|pattern| reads_alike(pattern)) else {
            return self.clone();
        };
        let fact = Fact::Pattern(pattern.into());
        Place::here().change(self, &|of| {
            let text = of.only(Kind::Text).with(&fact);
            Type { text: text.text, ..of.clone() }
        })
    }

    /// `any` was true, or `all` false: there was something to look at.
    fn where_any(&self, arguments: &[Term<&str>]) -> Self {
        let place = match arguments {
            [Term::Path(head, Path(parts)), _] => match parts.split_last() {
                Some(((Part::Range(None, None), _), before)) => {
                    Place::of(&Term::Path(head.clone(), Path(before.to_vec())))
                }
                _ => None,
            },
            [_, _] => None,
            _ => Some(Place::here()),
        };
        place.map_or_else(|| self.clone(), |place| place.change(self, &|of| sized(of, 1, None)))
    }

    fn where_compared(&self, side: &Term<&str>, op: Cmp, value: &Value, truth: bool) -> Self {
        let op = if truth { op } else { opposite(op) };
        // `.x | length`, `length`, `.x | type`, `type`
        let (place, function) = match side {
            Term::Call(name, arguments) if arguments.is_empty() => (Some(Place::here()), *name),
            Term::BinOp(left, BinaryOp::Pipe(None), right) => match &**right {
                Term::Call(name, arguments) if arguments.is_empty() => (Place::of(left), *name),
                _ => (Place::of(side), ""),
            },
            side => (Place::of(side), ""),
        };
        let Some(place) = place else { return self.clone() };
        match function {
            "" => place.change(self, &|of| compared(of, op, value)),
            "length" => match lengths(op, value) {
                Some((least, most)) => place.change(self, &|of| sized(of, least, most)),
                None => self.clone(),
            },
            "type" => match value.as_str().and_then(Kind::called) {
                Some(kind) => place.change(self, &|of| match op {
                    Cmp::Eq => of.only(kind),
                    Cmp::Ne => of.without(kind),
                    _ => of.clone(),
                }),
                None => self.clone(),
            },
            _ => self.clone(),
        }
    }
}

/// Whether every reader of regular expressions reads this one alike: letters, digits, lists of them,
/// anchors, how often.
fn reads_alike(pattern: &str) -> bool {
    let within = pattern.strip_prefix('^').unwrap_or(pattern);
    let within = within.strip_suffix('$').unwrap_or(within);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" -_/,:@[]{}+*?()|".contains(&byte);
    within.bytes().all(plain)
}

fn literal(term: &Term<&str>) -> Option<Value> {
    match term {
        Term::Call("null", arguments) if arguments.is_empty() => Some(Value::Null),
        Term::Call("true", arguments) if arguments.is_empty() => Some(Value::Bool(true)),
        Term::Call("false", arguments) if arguments.is_empty() => Some(Value::Bool(false)),
        term => {
            let number = || literal_number(term).filter(|number| is_exact(*number));
            literal_text(term).map(Value::String).or_else(|| number().map(Value::from))
        }
    }
}

fn flipped(op: Cmp) -> Cmp {
    match op {
        Cmp::Lt => Cmp::Gt,
        Cmp::Gt => Cmp::Lt,
        Cmp::Le => Cmp::Ge,
        Cmp::Ge => Cmp::Le,
        same => same,
    }
}

fn opposite(op: Cmp) -> Cmp {
    match op {
        Cmp::Lt => Cmp::Ge,
        Cmp::Ge => Cmp::Lt,
        Cmp::Gt => Cmp::Le,
        Cmp::Le => Cmp::Gt,
        Cmp::Eq => Cmp::Ne,
        Cmp::Ne => Cmp::Eq,
    }
}

/// The lengths that compare so with a number.
fn lengths(op: Cmp, value: &Value) -> Option<(u64, Option<u64>)> {
    let number =
        value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e9).contains(number))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and small")]
    let number = number as u64;
    Some(match op {
        Cmp::Gt => (number + 1, None),
        Cmp::Ge => (number, None),
        Cmp::Eq => (number, Some(number)),
        Cmp::Lt => (0, number.checked_sub(1)),
        Cmp::Le => (0, Some(number)),
        Cmp::Ne => (u64::from(number == 0), None),
    })
}

/// What of `of` compares so with a value.
fn compared(of: &Type, op: Cmp, value: &Value) -> Type {
    match op {
        Cmp::Eq if of.is_unknown() => Type::of(value),
        Cmp::Eq => of.meet(&Type::of(value)),
        Cmp::Ne => different(of, value),
        _ => match (value.as_f64(), &of.number) {
            // Bounds say something only where nothing but numbers is possible.
            (Some(bound), Some(number)) if of.is_only(Kind::Number) => {
                bounded(number, op, bound).map_or_else(Type::never, Type::number)
            }
            _ => of.clone(),
        },
    }
}

/// What of `of` is not this value.
pub(super) fn different(of: &Type, value: &Value) -> Type {
    let of = of.clone();
    match value {
        Value::Null => Type { null: false, ..of },
        Value::Bool(true) => Type { yes: false, ..of },
        Value::Bool(false) => Type { no: false, ..of },
        Value::Number(number) => {
            let without = of.number.clone().and_then(|of| without(of, number.as_f64()?));
            Type { number: without, ..of }
        }
        Value::String(word) => {
            let without = of.text.clone().and_then(|of| without_word(of, word));
            Type { text: without, ..of }
        }
        Value::Array(_) | Value::Object(_) => of,
    }
}

fn without(mut of: Number, number: f64) -> Option<Number> {
    of.nonzero |= number == 0.0;
    if let Some(literals) = &mut of.literals {
        literals.retain(|literal| *literal != number);
    }
    of.trimmed()
}

fn without_word(mut of: Text, word: &str) -> Option<Text> {
    if word.is_empty() {
        of.least = of.least.max(1);
    }
    if let Some(literals) = &mut of.literals {
        literals.retain(|literal| **literal != *word);
    }
    of.trimmed()
}

fn bounded(number: &Number, op: Cmp, bound: f64) -> Option<Number> {
    let mut number = number.clone();
    let (above, below) =
        if number.whole { (bound.floor() + 1.0, bound.ceil() - 1.0) } else { (bound, bound) };
    let (least, most) = match op {
        Cmp::Gt => (Some(above), None),
        Cmp::Ge => (Some(bound), None),
        Cmp::Lt => (None, Some(below)),
        _ => (None, Some(bound)),
    };
    number.nonzero |= match op {
        Cmp::Gt => bound >= 0.0,
        Cmp::Ge => bound > 0.0,
        Cmp::Lt => bound <= 0.0,
        _ => bound < 0.0,
    };
    number.least = tighter(number.least, least, f64::max);
    number.most = tighter(number.most, most, f64::min);
    number.trimmed()
}

fn has(of: &Type, name: &str, truth: bool) -> Type {
    let objects = of.objects.iter().filter_map(|object| {
        let known = object.fields.get(name);
        let value = known.map(|field| field.value.clone()).or_else(|| object.others.clone());
        let field = if truth {
            let value = value.filter(|value| !value.is_never())?;
            Field { value, required: true }
        } else if known.is_some_and(|field| field.required) {
            return None;
        } else {
            Field { value: Type::never(), required: false }
        };
        let mut object = Object::clone(object);
        object.fields.insert(name.into(), field);
        Some(Arc::new(object))
    });
    Type { objects: objects.collect(), null: of.null && !truth, ..of.clone() }
}

/// Of a length between two bounds: lists and texts; null has length 0.
fn sized(of: &Type, least: u64, most: Option<u64>) -> Type {
    let list = of.list.as_ref().and_then(|list| {
        let mut list = super::List::clone(list);
        list.least = list.least.max(least);
        list.most = tighter(list.most, most, u64::min);
        list.most.is_none_or(|most| list.least <= most).then(|| Arc::new(list))
    });
    let text = of.text.clone().and_then(|mut text| {
        text.least = text.least.max(least);
        text.most = tighter(text.most, most, u64::min);
        text.trimmed()
    });
    Type { null: of.null && least == 0, list, text, ..of.clone() }
}
