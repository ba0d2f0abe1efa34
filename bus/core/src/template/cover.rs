//! Conditions that test one path for certain values: what makes a `choose` exhaustive, or one of its
//! branches idle.
//!
//! Invariant: a condition is covered only where it holds for exactly the values that are said.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Term},
        span,
    },
    ops::Cmp,
};
use serde_json::Value;

use super::{
    compile::{Located, Name, Read, whole},
    native::literal,
};

/// A condition that holds if and only if a path has one of these values.
#[derive(Clone, Debug)]
pub(crate) struct Cover {
    /// The path.
    pub(crate) path: Read,
    /// The values, each with its place in the file.
    pub(crate) values: Vec<(Value, std::ops::Range<usize>)>,
}

impl Cover {
    /// Of `.kind == "a"`, `"a" == .kind`, several of them with `or`, `.flag`, `.flag | not`.
    pub(super) fn of(located: &Located<'_>, term: &Term<&str>) -> Option<Self> {
        if let Some(path) = whole(located, term) {
            return Some(Self::one(path, Value::Bool(true)));
        }
        let Term::BinOp(left, operator, right) = term else { return None };
        match operator {
            BinaryOp::Pipe(None) => match **right {
                Term::Call("not", ref arguments) if arguments.is_empty() => {
                    whole(located, left).map(|path| Self::one(path, Value::Bool(false)))
                }
                _ => None,
            },
            BinaryOp::Cmp(Cmp::Eq) => {
                tested(located, left, right).or_else(|| tested(located, right, left))
            }
            BinaryOp::Or => {
                let mut left = Self::of(located, left)?;
                let right = Self::of(located, right)?;
                left.path.is_same(&right.path).then(|| left.values.extend(right.values))?;
                Some(left)
            }
            _ => None,
        }
    }

    fn one(path: Read, value: Value) -> Self {
        let span = path.span();
        Self { path, values: vec![(value, span)] }
    }
}

fn tested(located: &Located<'_>, path: &Term<&str>, value: &Term<&str>) -> Option<Cover> {
    let path = whole(located, path)?;
    let span = place(located, value).unwrap_or_else(|| path.span());
    Some(Cover { path, values: vec![(literal(value)?, span)] })
}

/// Where a literal stands.
fn place(located: &Located<'_>, term: &Term<&str>) -> Option<std::ops::Range<usize>> {
    let slice = match term {
        Term::Str(None, parts) => match parts.as_slice() {
            [StrPart::Str(slice)] => *slice,
            _ => return None,
        },
        Term::Num(slice) | Term::Call(slice, _) => *slice,
        _ => return None,
    };
    Some(located.span(&span(located.text, slice)))
}

impl Read {
    /// Whether both are the same path.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let names =
            |read: &Self| read.names.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        self.variable == other.variable && names(self) == names(other)
    }

    /// Where its names stand.
    pub(crate) fn span(&self) -> std::ops::Range<usize> {
        let edge = |name: Option<&Name>| name.map_or(0..0, |(_, span)| span.clone());
        edge(self.names.first()).start..edge(self.names.last()).end
    }
}
