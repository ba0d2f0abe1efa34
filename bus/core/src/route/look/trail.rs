//! The way from what an expression sees to a field that it names: `.movers[] | select(.taxCode)` is the
//! message, `movers`, an item, `taxCode`. And from there to where a schema describes the field.
//!
//! Invariant: where the way is not plain there is none; a wrong one is never told.

use std::ops::Range;

use serde_json::Value;

use crate::{
    facts::Way,
    schema::Schemas,
    template::tree::{BinaryOp, Part, Path, Pattern, StrPart, Term},
    types::infer::{literal_text, name_span},
};

/// Schemas that lead to schemas.
const DEEPEST: usize = 16;

/// A way into a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trail {
    /// Where it begins: a variable, with `$`; none for the message.
    pub(super) variable: Option<String>,
    pub(super) ways: Vec<Way>,
}

impl Trail {
    fn then(&self, way: Way) -> Self {
        let mut further = self.clone();
        further.ways.push(way);
        further
    }
}

/// The way to the name at `at`.
pub(super) fn to(source: &str, term: &Term<&str>, at: usize) -> Option<Trail> {
    let mut walk = Walk { source, at, bound: Vec::new(), found: None };
    walk.of(term, Some(&Trail::default()));
    walk.found
}

struct Walk<'s> {
    source: &'s str,
    at: usize,
    bound: Vec<(&'s str, Option<Trail>)>,
    found: Option<Trail>,
}

impl<'s> Walk<'s> {
    /// The way to what a term gives.
    fn of(&mut self, term: &Term<&'s str>, input: Option<&Trail>) -> Option<Trail> {
        match term {
            Term::Id => input.cloned(),
            Term::Var(name) => self.variable(name),
            Term::Path(head, Path(parts)) => {
                let mut trail = self.of(head, input);
                for (part, _) in parts {
                    trail = self.part(part, trail.as_ref(), input);
                }
                trail
            }
            Term::BinOp(left, operator, right) => self.binary((left, operator, right), input),
            Term::Call(name, arguments) => self.call(name, arguments, input),
            Term::TryCatch(inner, _) => self.of(inner, input),
            Term::Fold(_, over, Pattern::Var(name), arguments) => {
                let item = self.of(over, input);
                self.bound.push((name, item));
                self.all(arguments, None);
                self.bound.pop();
                None
            }
            other => {
                self.inside(other, input);
                None
            }
        }
    }

    /// What only holds other terms.
    fn inside(&mut self, term: &Term<&'s str>, input: Option<&Trail>) {
        match term {
            Term::Arr(Some(inner)) | Term::Neg(inner) => {
                self.of(inner, input);
            }
            Term::Str(_, parts) => parts.iter().for_each(|part| {
                if let StrPart::Term(term) = part {
                    self.of(term, input);
                }
            }),
            Term::Obj(entries) => entries.iter().for_each(|(name, value)| match value {
                Some(value) => self.all([name, value], input),
                None => {
                    self.name(name, input);
                }
            }),
            Term::IfThenElse(branches, otherwise) => {
                for (condition, then) in branches {
                    self.all([condition, then], input);
                }
                self.all(otherwise.as_deref(), input);
            }
            _ => {}
        }
    }

    fn all<'t>(&mut self, terms: impl IntoIterator<Item = &'t Term<&'s str>>, input: Option<&Trail>)
    where
        's: 't,
    {
        terms.into_iter().for_each(|term| {
            self.of(term, input);
        });
    }

    fn variable(&self, name: &str) -> Option<Trail> {
        match self.bound.iter().rev().find(|(known, _)| *known == name) {
            Some((_, trail)) => trail.clone(),
            None => Some(Trail { variable: Some(name.to_owned()), ways: Vec::new() }),
        }
    }

    /// A name of a field; whether it is the one that is looked for is noted.
    fn name(&mut self, name: &Term<&'s str>, holder: Option<&Trail>) -> Option<Trail> {
        let further = holder?.then(Way::Field(literal_text(name)?));
        let span: Option<Range<usize>> = name_span(self.source, name);
        if span.is_some_and(|span| span.start <= self.at && self.at <= span.end) {
            self.found = Some(further.clone());
        }
        Some(further)
    }

    fn part(
        &mut self,
        part: &Part<Term<&'s str>>,
        trail: Option<&Trail>,
        input: Option<&Trail>,
    ) -> Option<Trail> {
        match part {
            Part::Index(name) if literal_text(name).is_some() => self.name(name, trail),
            Part::Index(index) => {
                self.of(index, input);
                trail.map(|trail| trail.then(Way::Items))
            }
            Part::Range(None, None) => trail.map(|trail| trail.then(Way::Items)),
            Part::Range(from, to) => {
                self.all(from.iter().chain(to), input);
                trail.cloned()
            }
        }
    }

    fn binary(
        &mut self,
        (left, operator, right): (&Term<&'s str>, &BinaryOp<&'s str>, &Term<&'s str>),
        input: Option<&Trail>,
    ) -> Option<Trail> {
        let given = self.of(left, input);
        match operator {
            BinaryOp::Pipe(None) => self.of(right, given.as_ref()),
            BinaryOp::Pipe(Some(Pattern::Var(name))) => {
                self.bound.push((name, given));
                let found = self.of(right, input);
                self.bound.pop();
                found
            }
            BinaryOp::Alt => {
                let other = self.of(right, input);
                given.or(other)
            }
            _ => {
                self.of(right, input);
                None
            }
        }
    }

    fn call(
        &mut self,
        name: &str,
        arguments: &[Term<&'s str>],
        input: Option<&Trail>,
    ) -> Option<Trail> {
        let items = input.map(|input| input.then(Way::Items));
        match (name, arguments) {
            ("select", [condition]) => {
                self.of(condition, input);
                input.cloned()
            }
            ("any" | "all", [generator, condition]) => {
                let each = self.of(generator, input);
                self.of(condition, each.as_ref());
                None
            }
            ("first" | "last", [generator]) => self.of(generator, input),
            ("first" | "last", []) => items,
            ("reverse" | "sort" | "unique" | "values", []) => input.cloned(),
            ("min_by" | "max_by", [by]) => {
                self.of(by, items.as_ref());
                items
            }
            ("sort_by" | "unique_by", [by]) => {
                self.of(by, items.as_ref());
                input.cloned()
            }
            ("map" | "any" | "all" | "group_by", [each]) => {
                self.of(each, items.as_ref());
                None
            }
            _ => {
                self.all(arguments, input);
                None
            }
        }
    }
}

/// A schema: a pointer into a document.
#[derive(Clone, Debug)]
pub(super) struct Described<'s> {
    /// The type whose document it is; "" of a document that is no file of the house.
    pub(super) kind: String,
    pub(super) pointer: String,
    root: &'s Value,
}

impl<'s> Described<'s> {
    /// The whole of a document.
    pub(super) fn whole(kind: &str, root: &'s Value) -> Self {
        Self { kind: kind.to_owned(), pointer: String::new(), root }
    }

    /// The schema of what is found on the way.
    pub(super) fn along(self, schemas: &'s Schemas, ways: &[Way]) -> Option<Self> {
        ways.iter().try_fold(self, |at, way| at.below(schemas, way, 0))
    }

    fn schema(&self) -> Option<&'s Value> {
        self.root.pointer(&self.pointer)
    }

    fn at(&self, pointer: &str) -> Option<Self> {
        let pointer = format!("{}{pointer}", self.pointer);
        self.root.pointer(&pointer)?;
        Some(Self { pointer, ..self.clone() })
    }

    fn below(&self, schemas: &'s Schemas, way: &Way, depth: usize) -> Option<Self> {
        if depth > DEEPEST {
            return None;
        }
        let own = match way {
            Way::Field(name) => {
                let name = name.replace('~', "~0").replace('/', "~1");
                self.at(&format!("/properties/{name}"))
            }
            Way::Items => self.at("/items").or_else(|| self.at("/prefixItems/0")),
        };
        let further = |other: Self| other.below(schemas, way, depth + 1);
        own.or_else(|| self.others(schemas).into_iter().find_map(further))
    }

    /// Schemas of the same value: what it refers to, and its branches.
    fn others(&self, schemas: &'s Schemas) -> Vec<Self> {
        let mut others: Vec<Self> = self.target(schemas).into_iter().collect();
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let listed = self.schema().and_then(|schema| schema.get(keyword)?.as_array());
            let count = listed.map_or(0, Vec::len);
            others.extend((0..count).filter_map(|at| self.at(&format!("/{keyword}/{at}"))));
        }
        others.extend(["/then", "/else"].into_iter().filter_map(|keyword| self.at(keyword)));
        others
    }

    fn target(&self, schemas: &'s Schemas) -> Option<Self> {
        let reference = self.schema()?.get("$ref")?.as_str()?;
        if let (true, Some(pointer)) = (self.kind.is_empty(), reference.strip_prefix('#')) {
            return Self { pointer: String::new(), ..self.clone() }.at(pointer);
        }
        let (kind, pointer) = schemas.target(&self.kind, reference)?;
        let (_, root) = schemas.entry(&kind)?;
        Some(Self { kind, pointer, root })
    }

    /// A note of the schema, or of what it refers to.
    pub(super) fn note(&self, schemas: &'s Schemas, keyword: &str) -> Option<&'s str> {
        let mut at = self.clone();
        for _ in 0..DEEPEST {
            if let Some(note) = at.schema()?.get(keyword).and_then(Value::as_str) {
                return Some(note);
            }
            at = at.target(schemas)?;
        }
        None
    }
}
