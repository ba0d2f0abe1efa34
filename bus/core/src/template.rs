//! Templates: YAML's shape with `${ jq }` leaves, compiled once, run per message.
//!
//! Invariant: a rendered value is canonical JSON; every `${ }` gave exactly one value.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use jaq_json::Val;
use serde_json::{Map, Value};

use crate::{
    envelope::Envelope,
    fault::{Fault, FaultClass},
    route::{Emit, Emitted, Use, message_value},
    schema::Validator,
};
use jq::{Failed, Failure, Named, Program, Variables};
use native::{Native, Root};

pub(crate) mod compile;
pub(crate) mod cover;
mod functions;
mod jq;
mod native;
pub(crate) mod tree;
pub(crate) mod uses;
mod vet;

/// What the id of a step begins with that asks for a fact; no step of a route can be called so.
pub(crate) const FACT: &str = "facts.";

/// What expressions see: `.`, `$facts`, `$steps`, `$message`, `$party`, `$item`.
///
/// `$facts` are the results of the steps that ask for them, [`FACT`] and the name of the need;
/// `$message` is the envelope and, as `data`, the body; `$party` is `{ id }` of the party that sent the
/// message, or null.
#[derive(Debug)]
pub struct Scope<'a> {
    body: &'a Value,
    envelope: &'a Envelope,
    steps: &'a Map<String, Value>,
    steps_value: OnceLock<Value>,
    facts: OnceLock<Value>,
    item: Option<&'a Value>,
    message: OnceLock<Value>,
    party: OnceLock<Value>,
    converted: Arc<Converted>,
}

/// The scope as jaq sees it: made once per message, where an expression is not native, and of that only
/// what the route's expressions name.
#[derive(Debug, Default)]
struct Converted {
    body: OnceLock<Val>,
    steps: OnceLock<Val>,
    facts: OnceLock<Val>,
    message: OnceLock<Val>,
    party: OnceLock<Val>,
}

impl<'a> Scope<'a> {
    /// The scope of one message at one point of its route. `steps` holds the results of done steps.
    pub fn new(body: &'a Value, envelope: &'a Envelope, steps: &'a Map<String, Value>) -> Self {
        Self {
            body,
            envelope,
            steps,
            steps_value: OnceLock::new(),
            facts: OnceLock::new(),
            item: None,
            message: OnceLock::new(),
            party: OnceLock::new(),
            converted: Arc::default(),
        }
    }

    /// The same scope, for one item of `each`.
    fn of_item<'b>(&'b self, item: &'b Value) -> Scope<'b> {
        Scope {
            item: Some(item),
            converted: Arc::clone(&self.converted),
            ..Scope::new(self.body, self.envelope, self.steps)
        }
    }

    fn root(&self, root: Root) -> &Value {
        match root {
            Root::Body => self.body,
            Root::Steps => self.steps_value.get_or_init(|| Value::Object(self.steps.clone())),
            Root::Facts => self.facts.get_or_init(|| facts_value(self.steps)),
            Root::Message => self.message.get_or_init(|| message_value(self.envelope)),
            Root::Party => self.party.get_or_init(|| party_value(self.envelope)),
            Root::Item => self.item.unwrap_or(&Value::Null),
        }
    }

    /// The result of a step, without copying the others.
    fn step(&self, name: &str) -> Option<&Value> {
        self.steps.get(name)
    }

    /// The body, and of the variables those that are named.
    fn converted(&self, named: Named) -> (&Val, Variables) {
        let Converted { body, steps, facts, message, party } = &*self.converted;
        let body = body.get_or_init(|| jq::from_json(self.body));
        let message_of = || match self.root(Root::Message) {
            Value::Object(fields) => jq::fields_of(fields, Some(("data", body.clone()))),
            other => jq::from_json(other),
        };
        let of = |named, cell: &OnceLock<Val>, make: &dyn Fn() -> Val| {
            if named { cell.get_or_init(make).clone() } else { Val::Null }
        };
        let variables = [
            of(named.steps, steps, &|| jq::fields_of(self.steps, None)),
            of(named.facts, facts, &|| jq::from_json(self.root(Root::Facts))),
            of(named.message, message, &message_of),
            of(named.party, party, &|| jq::from_json(self.root(Root::Party))),
            self.item.map_or(Val::Null, jq::from_json),
        ];
        (body, variables)
    }
}

/// The facts among the results of steps.
fn facts_value(steps: &Map<String, Value>) -> Value {
    let fact =
        |(id, value): (&String, &Value)| Some((id.strip_prefix(FACT)?.to_owned(), value.clone()));
    Value::Object(steps.iter().filter_map(fact).collect())
}

fn party_value(envelope: &Envelope) -> Value {
    envelope.party.as_ref().map_or(Value::Null, |id| serde_json::json!({ "id": id }))
}

/// A template, compiled.
#[derive(Debug)]
pub struct Template {
    shape: Shape,
    jq: Option<Part>,
}

/// The expressions of a template that run in jaq: one part of the route's program.
#[derive(Debug)]
struct Part {
    program: Arc<Program>,
    number: usize,
    leaves: Vec<Leaf>,
}

/// An expression, for the words of a fault.
#[derive(Clone, Debug)]
struct Leaf {
    /// Where in the step it stands: `with.sender.taxCode`.
    at: String,
    /// As written.
    source: String,
}

#[derive(Debug)]
enum Shape {
    Literal(Value),
    Value(Expression),
    Text(Vec<Piece>),
    List(Vec<Shape>),
    Object(Vec<Field>),
}

#[derive(Debug)]
struct Field {
    name: String,
    /// Written `name?:`: left out when null.
    optional: bool,
    shape: Shape,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Expression(Expression, Leaf),
}

#[derive(Debug)]
enum Expression {
    Native(Native, Leaf),
    /// The index of its value among those of the template's part.
    Jq(usize),
}

impl Template {
    /// Renders it. A fault is of class poison and names the place in the template, never a value.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Value, Fault> {
        let mut computed = self.jq.as_ref().map_or(Ok(Vec::new()), |part| part.run(scope))?;
        self.shape.render(scope, &mut computed)
    }
}

impl Part {
    fn run(&self, scope: &Scope<'_>) -> Result<Vec<Value>, Fault> {
        let (body, variables) = scope.converted(self.program.named());
        let found = self.program.run(self.number, body, &variables);
        found.map_err(|(index, failure): Failed| failed(&self.leaves[index], failure))
    }
}

impl Shape {
    fn render(&self, scope: &Scope<'_>, computed: &mut [Value]) -> Result<Value, Fault> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Value(Expression::Jq(index)) => Ok(std::mem::take(&mut computed[*index])),
            Self::Value(expression) => Ok(expression.get(scope, computed)?.into_owned()),
            Self::Text(pieces) => text(pieces, scope, computed).map(Value::String),
            Self::List(items) => items.iter().map(|item| item.render(scope, computed)).collect(),
            Self::Object(fields) => {
                let mut object = Map::new();
                for field in fields {
                    let value = field.shape.render(scope, computed)?;
                    if !(field.optional && value.is_null()) {
                        object.insert(field.name.clone(), value);
                    }
                }
                Ok(Value::Object(object))
            }
        }
    }
}

impl Expression {
    fn get<'v>(
        &'v self,
        scope: &'v Scope<'_>,
        computed: &'v [Value],
    ) -> Result<Cow<'v, Value>, Fault> {
        match self {
            Self::Native(native, leaf) => {
                native.eval(scope).map_err(|stopped| failed(leaf, stopped.into()))
            }
            Self::Jq(index) => Ok(Cow::Borrowed(&computed[*index])),
        }
    }
}

fn text(pieces: &[Piece], scope: &Scope<'_>, computed: &[Value]) -> Result<String, Fault> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Expression(expression, leaf) => {
                let value = expression.get(scope, computed)?;
                push(&mut text, &value).map_err(|kind| not_text(leaf, kind))?;
            }
        }
    }
    Ok(text)
}

/// Writes a value into text; the kind of what has no text.
fn push(text: &mut String, value: &Value) -> Result<(), &'static str> {
    match value {
        Value::String(value) => text.push_str(value),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::Bool(boolean) => text.push_str(if *boolean { "true" } else { "false" }),
        Value::Null => return Err("null"),
        Value::Array(_) => return Err("a list"),
        Value::Object(_) => return Err("an object"),
    }
    Ok(())
}

/// A bare jq condition, compiled.
#[derive(Debug)]
pub struct Condition {
    expression: Expression,
    leaf: Leaf,
    jq: Option<Part>,
}

impl Condition {
    /// Whether it holds; anything but one boolean is a fault.
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, Fault> {
        let computed = self.jq.as_ref().map_or(Ok(Vec::new()), |part| part.run(scope))?;
        let value = self.expression.get(scope, &computed)?;
        value.as_bool().ok_or_else(|| {
            let Leaf { at, source } = &self.leaf;
            let text = format!("the condition `{source}` at `{at}` is neither true nor false");
            poison("SN0755", text)
        })
    }
}

/// An `emit … each` has at most so many items.
const MOST_ITEMS: usize = 10_000;

impl Emit {
    /// Everything this step emits for the message in `scope`, each valid against the type's schema.
    pub fn emitted(&self, scope: &Scope<'_>) -> Result<Vec<Emitted>, Fault> {
        let Some(each) = &self.each else {
            return Ok(vec![self.one(scope)?]);
        };
        let Value::Array(items) = each.render(scope)? else {
            return Err(poison("SN0756", "`each` did not give a list"));
        };
        if items.len() > MOST_ITEMS {
            let text = format!("`each` gave {} items; at most {MOST_ITEMS}", items.len());
            return Err(poison("SN0756", text));
        }
        let emitted: Vec<Emitted> =
            items.iter().map(|item| self.one(&scope.of_item(item))).collect::<Result<_, _>>()?;
        let mut seen = std::collections::HashSet::new();
        if emitted.iter().all(|one| seen.insert(one.key.as_str())) {
            return Ok(emitted);
        }
        Err(poison("SN0756", "two items of `each` have the same `key`"))
    }

    fn one(&self, scope: &Scope<'_>) -> Result<Emitted, Fault> {
        let key = self.key.as_ref().map_or(Ok(String::new()), |key| one_key(key, scope))?;
        let to = self.to.as_ref().map_or(Ok(Vec::new()), |to| addressees(to, scope))?;
        let data = self.with.render(scope)?;
        valid(&data, &self.schema, || format!("the message of type `{}`", self.kind))?;
        let cited = self.schema.citations(&data).into_iter();
        let documents = cited.map(|citation| citation.document.key).collect();
        Ok(Emitted { key, kind: self.kind.clone(), data, to, documents })
    }
}

fn one_key(key: &Template, scope: &Scope<'_>) -> Result<String, Fault> {
    let mut text = String::new();
    let given = push(&mut text, &key.render(scope)?);
    given.map_err(|kind| poison("SN0756", format!("`key` is {kind}; it must be text")))?;
    if text.is_empty() {
        return Err(poison("SN0756", "`key` is empty: it must tell the items apart"));
    }
    Ok(text)
}

fn addressees(to: &Template, scope: &Scope<'_>) -> Result<Vec<String>, Fault> {
    let parties = match to.render(scope)? {
        Value::String(party) => Some(vec![party]),
        Value::Array(parties) => {
            parties.into_iter().map(|party| party.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    };
    parties.ok_or_else(|| poison("SN0758", "`to` is neither a party id nor a list of them"))
}

impl Use {
    /// The input of the call, valid against the operation's schema.
    pub fn input(&self, scope: &Scope<'_>) -> Result<Value, Fault> {
        let input = self.with.render(scope)?;
        valid(&input, &self.schema, || format!("the input of `{}`", self.target()))?;
        Ok(input)
    }
}

/// Whether a value is what its schema says; `what` says of what the fault speaks.
pub(crate) fn valid(
    value: &Value,
    schema: &Validator,
    what: impl Fn() -> String,
) -> Result<(), Fault> {
    if schema.is_valid(value) {
        return Ok(());
    }
    let violations = schema.violations(value);
    let said = violations.iter().take(5).map(|violation| {
        let pointer = if violation.pointer.is_empty() { "/" } else { &violation.pointer };
        format!("at `{pointer}`: {} expected ({})", violation.expected, violation.keyword)
    });
    let said = said.collect::<Vec<_>>().join("; ");
    Err(poison("SN0757", format!("{} is not valid: {said}", what())))
}

fn not_text(leaf: &Leaf, kind: &str) -> Fault {
    let Leaf { at, source } = leaf;
    let text = format!("`${{ {source} }}` at `{at}` is {kind}, and would be written into a text");
    poison("SN0753", text)
}

fn failed(leaf: &Leaf, failure: Failure) -> Fault {
    let Leaf { at, source } = leaf;
    match failure {
        Failure::Stopped => {
            poison("SN0751", format!("`${{ {source} }}` at `{at}` stopped with an error"))
        }
        Failure::Count(count) => {
            let text = format!("`${{ {source} }}` at `{at}` gave {count} values instead of one");
            poison("SN0752", text)
        }
        Failure::Unreadable(function, why) => {
            let (name, wants) = (function.name(), why.words(function));
            poison("SN0759", format!("`${{ {source} }}` at `{at}`: `{name}` wants {wants}"))
        }
        Failure::NotJson => poison(
            "SN0754",
            format!(
                "`${{ {source} }}` at `{at}` gave what is not JSON (NaN, Infinity, a number that \
                 does not keep its digits, or a name that is not text)"
            ),
        ),
    }
}

fn poison(code: &str, text: impl Into<String>) -> Fault {
    Fault::new(FaultClass::Poison, code, text)
}

/// The functions that a route may use, with how many arguments.
pub(crate) fn allowed() -> &'static [(&'static str, &'static [usize])] {
    vet::ALLOWED
}

/// The tree of an expression; none where it is no jq.
pub(crate) fn parse(source: &str) -> Option<tree::Term<&str>> {
    vet::parse(source).ok()
}

#[cfg(test)]
pub(crate) use self::{allowed as allowed_for_tests, parse as parse_for_tests};

#[cfg(test)]
pub(crate) mod tests;
