//! From a route as written to a route that runs: its words are looked up, its templates compiled.
//!
//! Invariant: the same text with the same schemas and operations makes the same route, in a house and
//! from the ledger's copy alike.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use serde_json::Value;

use super::{
    Declared, Route, bundle,
    file::{RouteFile, StepFile},
};
use crate::{
    adapter::Operation,
    diagnostic::{Place, Problems, Words, help_with_nearest},
    facts::Catalogue,
    ids::Digest,
    schema::{Schemas, Validator},
    template::{
        Condition, Template,
        compile::{Peek, Seen, Templates},
    },
    types::{Kind, Type, library::Library},
    yaml::{Node, fields::At},
};

mod choices;
mod fit;
mod keys;
mod needs;
mod reads;
mod sees;
mod steps;

use needs::Asked;
use reads::Results;

/// What routes refer to.
pub(super) struct Targets<'h> {
    pub(super) schemas: &'h Schemas,
    pub(super) operations: &'h BTreeMap<String, Vec<Operation>>,
    validators: HashMap<(String, String), Option<Validator>>,
    /// The types of the schemas; none where types are not checked, as in the ledger's copies: what was
    /// accepted once still runs where a later version of the check would refuse it.
    library: Option<Library<'h>>,
    /// Whether the places are said where inference ends.
    strict: bool,
    /// Adapter instances that could not be opened: what they would have is not missing.
    unopened: BTreeSet<String>,
    /// The facts of the house.
    pub(super) facts: &'h Catalogue,
    /// Somebody asks what stands at a place of the next route.
    peek: Option<Peek>,
}

impl<'h> Targets<'h> {
    pub(super) fn new(
        schemas: &'h Schemas,
        operations: &'h BTreeMap<String, Vec<Operation>>,
        facts: &'h Catalogue,
    ) -> Self {
        let (validators, unopened) = (HashMap::new(), BTreeSet::new());
        let (library, peek) = (None, None);
        Self { schemas, operations, validators, library, strict: false, unopened, facts, peek }
    }

    /// The same, and types are checked.
    pub(super) fn typed(self, strict: bool) -> Self {
        Self { library: Some(Library::new(self.schemas)), strict, ..self }
    }

    /// The same, where these instances could not be opened.
    pub(super) fn without(self, unopened: &BTreeSet<String>) -> Self {
        Self { unopened: unopened.clone(), ..self }
    }

    /// What expressions see at a place of a route, and behind its last step.
    pub(super) fn peek(mut self, written: &RouteFile, at: usize) -> Peek {
        self.peek = Some(Peek::new(at));
        build(written, &mut self, &mut Problems::default());
        self.peek.unwrap_or_else(|| Peek::new(at))
    }

    /// The compiled input of an operation, compiled once for all routes.
    fn input(&mut self, instance: &str, operation: &Operation) -> Option<Validator> {
        let key = (instance.to_owned(), operation.name.clone());
        let schemas = self.schemas;
        let found = self.validators.entry(key);
        found.or_insert_with(|| schemas.compile(&operation.input).ok()).clone()
    }
}

/// Builds a route; `None` where something of it is wrong, which was said.
pub(super) fn build(
    written: &RouteFile,
    targets: &mut Targets<'_>,
    problems: &mut Problems,
) -> Option<Route> {
    let body = known_type(written, &written.from, targets.schemas, problems);
    let mut templates = Templates::new(&written.file, problems);
    templates.peek = targets.peek.take();
    templates.sees = targets.library.as_ref().map(|library| {
        let of = library.of_kind(&written.from.value).map(|node| library.type_of(node));
        sees::begin(&written.from.value, of.unwrap_or_else(Type::unknown))
    });
    let (results, asked) = (Results::default(), Asked::default());
    let mut builder = Builder {
        written,
        results,
        asked,
        templates,
        targets,
        before_steps: true,
        declared: Vec::new(),
    };
    builder.check_needs();
    let actor = written.actor.as_ref().map(|node| builder.actor(node));
    let order = written.order.as_ref().map(|order| builder.order(order));
    let when = written.when.as_ref().map(|node| builder.route_when(node));
    builder.check_clock();
    builder.begin_steps();
    let mut steps = builder.steps(&written.steps);
    builder.check_unread();
    builder.end_peek();
    builder.say_unknowns();
    if let Some(steps) = &mut steps {
        needs::keep(steps, &builder.templates.facts);
    }
    builder.templates.finish();
    body?;
    let schema = targets.schemas.validator(&written.from.value).cloned();
    let mut route = Route {
        name: written.name.value.clone(),
        title: written.title.clone(),
        office: written.office.clone(),
        from: written.from.value.clone(),
        schema: schema?,
        purpose: written.purpose.value.clone(),
        actor: transpose(actor)?,
        when: transpose(when)?,
        schedule: written.schedule.clone(),
        order: transpose(order)?,
        steps: steps?,
        retry: written.retry,
        digest: Digest([0; 32]),
        bundle: Arc::from(""),
    };
    route.bundle = bundle::write(&written.text(), &route, targets.schemas).into();
    route.digest = Digest::of(route.bundle.as_bytes());
    Some(route)
}

/// `None` where it was written and is wrong.
#[expect(clippy::option_option, reason = "not written, written and wrong, written and right")]
fn transpose<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        Some(None) => None,
        Some(part) => Some(part),
        None => Some(None),
    }
}

/// The schema document of a type that a route names.
fn known_type<'h>(
    written: &RouteFile,
    kind: &At<String>,
    schemas: &'h Schemas,
    problems: &mut Problems,
) -> Option<&'h Arc<Value>> {
    let found = schemas.document(&kind.value);
    if found.is_none() && !kind.span.is_empty() && !schemas.is_broken(&kind.value) {
        let help = help_with_nearest(&kind.value, schemas.kinds(), "types in schemas/");
        let words = Words::new(format!("there is no type `{}`", kind.value), "no such type", help);
        problems.error("SN0301", Place::new(&written.file, kind.span.clone()), words);
    }
    found
}

struct Builder<'b, 'h, 't> {
    written: &'b RouteFile,
    results: Results<'b>,
    asked: Asked<'b>,
    /// Whether no step has run yet, and no fact was asked.
    before_steps: bool,
    /// What the sender says of the facts, by need; none where it is wrong.
    declared: Vec<(&'b str, Option<Arc<Declared>>)>,
    templates: Templates<'b>,
    targets: &'t mut Targets<'h>,
}

impl Builder<'_, '_, '_> {
    fn actor(&mut self, node: &Node) -> Option<Template> {
        let (template, of, seen) = self.part(node, "actor");
        let words = ["the actor", "text", "write `system`, or a field that says who acts"];
        let right = self.is_one_of(node, (&of, &seen), &[Kind::Text], words);
        template.filter(|_| right)
    }

    /// The route's own `when`: what it shows holds in every step.
    fn route_when(&mut self, node: &Node) -> Option<Condition> {
        let (condition, _, ways) = self.condition(node, "when");
        self.templates.sees = ways.yes;
        condition
    }

    /// A template, its type, and the expressions in it.
    fn part(&mut self, node: &Node, at: &str) -> (Option<Template>, Type, Vec<Seen>) {
        let (template, of) = self.templates.template(node, at);
        let seen = self.templates.seen();
        self.check_reads(&seen);
        (template, of, seen)
    }

    /// Where inference ends, if that is asked for.
    fn say_unknowns(&mut self) {
        let mut notes = std::mem::take(&mut self.templates.unknowns);
        notes.retain(|_| self.targets.strict);
        for (span, why) in notes {
            let help = "it is checked when a message has come; `snodo explain SN0290`";
            let words = Words::new("the type is not known here", why, help);
            let place = Place::new(&self.written.file, span);
            self.templates.problems.warning("SN0290", place, words);
        }
    }

    /// Hands over what was asked for; it may stand in a need that nothing reads yet.
    fn end_peek(&mut self) {
        let (sees, written) = (self.templates.sees.clone(), self.written);
        for need in &written.needs {
            if self.templates.peek.as_ref().is_some_and(|peek| peek.found.is_none()) {
                self.question(need);
            }
        }
        self.targets.peek = self.templates.peek.take().map(|peek| Peek { end: sees, ..peek });
    }

    /// Every step as written, those of branches included.
    fn written_steps(&self) -> impl Iterator<Item = &StepFile> {
        super::file::each_step(&self.written.steps)
    }

    fn error(&mut self, code: &'static str, span: Range<usize>, words: Words) {
        let place = Place::new(&self.written.file, span);
        self.templates.problems.error(code, place, words);
    }
}
