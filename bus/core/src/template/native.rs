//! Plain paths, literals, their comparisons and our own functions as native code: no jaq, no conversion,
//! nothing cloned.
//!
//! Invariant: whatever is native gives exactly what jaq gives for the same text (a property test).

use std::{borrow::Cow, cmp::Ordering};

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Term},
    },
    ops::Cmp,
    path::{Opt, Part, Path},
};
use serde_json::{Map, Number, Value};

use super::{
    FACT, Scope,
    functions::{Function, Unreadable},
    jq::{self, Failure},
};

/// An expression that needs no jaq.
#[derive(Debug)]
pub(super) enum Native {
    /// `.a.b`, `$steps.register.number`
    Path(Root, Vec<Box<str>>),
    /// `"text"`, `12`, `true`
    Literal(Value),
    /// `a == b`
    Compare(Box<Native>, Cmp, Box<Native>),
    /// `a and b`
    And(Box<Native>, Box<Native>),
    /// `a or b`
    Or(Box<Native>, Box<Native>),
    /// `a | not`
    Not(Box<Native>),
    /// `add_days(a; 3)`
    Call(Function, Vec<Native>),
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Body,
    Steps,
    Facts,
    Message,
    Party,
    Item,
}

/// The evaluation stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// A name was asked of something that is neither object nor null.
    NoObject,
    /// A function could not read what it was given.
    Unreadable(Function, Unreadable),
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::NoObject => Self::Stopped,
            Stopped::Unreadable(function, why) => Self::Unreadable(function, why),
        }
    }
}

static NULL: Value = Value::Null;

impl Native {
    /// The native form of `term`, where it has one.
    pub(super) fn of(term: &Term<&str>) -> Option<Self> {
        Some(match term {
            Term::Id => Self::Path(Root::Body, Vec::new()),
            Term::Var(name) => Self::path(root(name)?, &[])?,
            Term::Path(head, Path(parts)) => {
                let root = match &**head {
                    Term::Id => Root::Body,
                    Term::Var(name) => root(name)?,
                    _ => return None,
                };
                Self::path(root, parts)?
            }
            Term::BinOp(left, operator, right) => Self::binary(left, operator, right)?,
            Term::Call(name, arguments) if !arguments.is_empty() => {
                let function = Function::called(name, arguments.len())?;
                Self::Call(function, arguments.iter().map(Self::of).collect::<Option<_>>()?)
            }
            _ => Self::Literal(literal(term)?),
        })
    }

    fn path(root: Root, parts: &[(Part<Term<&str>>, Opt)]) -> Option<Self> {
        let names = parts.iter().map(name).collect::<Option<Vec<Box<str>>>>()?;
        match (root, names.first().map(|name| &**name)) {
            // `$message.data` is the body, also where `.` is something else.
            (Root::Message, Some("data")) => Some(Self::Path(Root::Body, names[1..].to_vec())),
            (Root::Message, None) => None,
            // A fact is the result of the step that asks for it.
            (Root::Facts, Some(need)) => {
                let step = format!("{FACT}{need}").into_boxed_str();
                let names = names.iter().skip(1).cloned();
                Some(Self::Path(Root::Steps, std::iter::once(step).chain(names).collect()))
            }
            _ => Some(Self::Path(root, names)),
        }
    }

    fn binary(left: &Term<&str>, operator: &BinaryOp<&str>, right: &Term<&str>) -> Option<Self> {
        if let (BinaryOp::Pipe(None), Term::Call("not", arguments)) = (operator, right) {
            return arguments.is_empty().then_some(Self::Not(Box::new(Self::of(left)?)));
        }
        let sides = || Some((Box::new(Self::of(left)?), Box::new(Self::of(right)?)));
        match operator {
            BinaryOp::Cmp(cmp) => sides().map(|(left, right)| Self::Compare(left, *cmp, right)),
            BinaryOp::And => sides().map(|(left, right)| Self::And(left, right)),
            BinaryOp::Or => sides().map(|(left, right)| Self::Or(left, right)),
            _ => None,
        }
    }

    /// Its value. Borrowed wherever it stands somewhere.
    pub(super) fn eval<'v>(&'v self, scope: &'v Scope<'_>) -> Result<Cow<'v, Value>, Stopped> {
        let boolean = |boolean: bool| Ok(Cow::Owned(Value::Bool(boolean)));
        match self {
            Self::Path(Root::Steps, names) if !names.is_empty() => {
                walk(scope.step(&names[0]).unwrap_or(&NULL), &names[1..]).map(Cow::Borrowed)
            }
            Self::Path(root, names) => walk(scope.root(*root), names).map(Cow::Borrowed),
            Self::Literal(value) => Ok(Cow::Borrowed(value)),
            Self::Compare(left, cmp, right) => {
                let (left, right) = (left.eval(scope)?, right.eval(scope)?);
                boolean(compares(*cmp, &left, &right))
            }
            Self::And(left, right) => boolean(left.truth(scope)? && right.truth(scope)?),
            Self::Or(left, right) => boolean(left.truth(scope)? || right.truth(scope)?),
            Self::Not(inner) => boolean(!inner.truth(scope)?),
            Self::Call(function, arguments) => {
                let given: Vec<Cow<'_, Value>> =
                    arguments.iter().map(|one| one.eval(scope)).collect::<Result<_, _>>()?;
                let given: Vec<&Value> = given.iter().map(AsRef::as_ref).collect();
                let value = function.apply(&given);
                value.map(Cow::Owned).map_err(|why| Stopped::Unreadable(*function, why))
            }
        }
    }

    fn truth(&self, scope: &Scope<'_>) -> Result<bool, Stopped> {
        let value = self.eval(scope)?;
        Ok(!matches!(*value, Value::Null | Value::Bool(false)))
    }
}

fn root(variable: &str) -> Option<Root> {
    Some(match variable {
        "$steps" => Root::Steps,
        "$facts" => Root::Facts,
        "$message" => Root::Message,
        "$party" => Root::Party,
        "$item" => Root::Item,
        _ => return None,
    })
}

fn name(part: &(Part<Term<&str>>, Opt)) -> Option<Box<str>> {
    match part {
        (Part::Index(term), Opt::Essential) => match literal(term)? {
            Value::String(name) => Some(name.into_boxed_str()),
            _ => None,
        },
        _ => None,
    }
}

/// The value of a literal; `None` for anything else.
pub(super) fn literal(term: &Term<&str>) -> Option<Value> {
    Some(match term {
        Term::Str(None, parts) => Value::String(text(parts)?),
        Term::Num(number) => Value::Number(jq::canonical(number).ok()?),
        Term::Neg(inner) => match &**inner {
            Term::Num(number) => Value::Number(jq::canonical(&format!("-{number}")).ok()?),
            _ => return None,
        },
        Term::Call("null", arguments) if arguments.is_empty() => Value::Null,
        Term::Call("true", arguments) if arguments.is_empty() => Value::Bool(true),
        Term::Call("false", arguments) if arguments.is_empty() => Value::Bool(false),
        _ => return None,
    })
}

fn text(parts: &[StrPart<&str, Term<&str>>]) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            StrPart::Str(part) => text.push_str(part),
            StrPart::Char(character) => text.push(*character),
            StrPart::Term(_) => return None,
        }
    }
    Some(text)
}

fn walk<'v>(mut value: &'v Value, names: &[Box<str>]) -> Result<&'v Value, Stopped> {
    for name in names {
        value = match value {
            Value::Object(fields) => fields.get(&**name).unwrap_or(&NULL),
            Value::Null => &NULL,
            _ => return Err(Stopped::NoObject),
        };
    }
    Ok(value)
}

fn compares(cmp: Cmp, left: &Value, right: &Value) -> bool {
    let order = || order(left, right);
    match cmp {
        Cmp::Eq => order().is_eq(),
        Cmp::Ne => order().is_ne(),
        Cmp::Lt => order().is_lt(),
        Cmp::Le => order().is_le(),
        Cmp::Gt => order().is_gt(),
        Cmp::Ge => order().is_ge(),
    }
}

/// jq's order: null, false, true, numbers, texts, lists, objects.
fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Number(left), Value::Number(right)) => order_of_numbers(left, right),
        (Value::String(left), Value::String(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Value::Array(left), Value::Array(right)) => {
            let pairs = left.iter().zip(right).map(|(left, right)| order(left, right));
            first_difference(pairs).then(left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => order_of_objects(left, right),
        _ => rank(left).cmp(&rank(right)),
    }
}

fn first_difference(orders: impl IntoIterator<Item = Ordering>) -> Ordering {
    orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn order_of_numbers(left: &Number, right: &Number) -> Ordering {
    if let (Some(left), Some(right)) = (left.as_i128(), right.as_i128()) {
        return left.cmp(&right);
    }
    let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
    float(left).partial_cmp(&float(right)).unwrap_or(Ordering::Equal)
}

/// First all names in order, then all values in the order of their names.
fn order_of_objects(left: &Map<String, Value>, right: &Map<String, Value>) -> Ordering {
    let sorted = |fields: &Map<String, Value>| {
        let mut names: Vec<String> = fields.keys().cloned().collect();
        names.sort_unstable();
        names
    };
    let (names, others) = (sorted(left), sorted(right));
    names
        .cmp(&others)
        .then_with(|| first_difference(names.iter().map(|name| order(&left[name], &right[name]))))
}
