//! From a route as written to a route that runs: its words are looked up, its templates compiled.
//!
//! Invariant: the same text with the same schemas and operations makes the same route, in a house and
//! from the ledger's copy alike.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use serde_json::Value;

use super::{
    Route, bundle,
    file::{RouteFile, StepFile},
};
use crate::{
    adapter::Operation,
    diagnostic::{Place, Problems, Words, help_with_nearest},
    ids::Digest,
    schema::{Schemas, Validator},
    template::{Template, compile::Templates},
    yaml::{Node, fields::At},
};

mod choices;
mod keys;
mod reads;
mod steps;

use reads::Results;

/// What routes refer to.
pub(super) struct Targets<'h> {
    pub(super) schemas: &'h Schemas,
    pub(super) operations: &'h BTreeMap<String, Vec<Operation>>,
    validators: HashMap<(String, String), Option<Validator>>,
}

impl<'h> Targets<'h> {
    pub(super) fn new(
        schemas: &'h Schemas,
        operations: &'h BTreeMap<String, Vec<Operation>>,
    ) -> Self {
        Self { schemas, operations, validators: HashMap::new() }
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
    let mut builder = Builder {
        written,
        body,
        results: Results::default(),
        templates: Templates::new(&written.file, problems),
        targets,
    };
    let actor = written.actor.as_ref().map(|node| builder.actor(node));
    let when = written.when.as_ref().map(|node| builder.condition(node, "when").0);
    let order = written.order.as_ref().map(|order| builder.order(order));
    builder.check_clock();
    let steps = builder.steps(&written.steps);
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
        retention: None,
        actor: transpose(actor)?,
        when: transpose(when)?,
        schedule: written.schedule.clone(),
        order: transpose(order)?,
        steps: steps?,
        retry: written.retry,
        digest: Digest([0; 32]),
        bundle: Arc::from(""),
    };
    route.bundle = bundle::write(&written.file.text, &route, targets.schemas).into();
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
    if found.is_none() && !kind.span.is_empty() {
        let help = help_with_nearest(&kind.value, schemas.kinds(), "types in schemas/");
        let words = Words::new(format!("there is no type `{}`", kind.value), "no such type", help);
        problems.error("SN0301", Place::new(&written.file, kind.span.clone()), words);
    }
    found
}

struct Builder<'b, 'h, 't> {
    written: &'b RouteFile,
    body: Option<&'h Arc<Value>>,
    results: Results<'b>,
    templates: Templates<'b>,
    targets: &'t mut Targets<'h>,
}

impl Builder<'_, '_, '_> {
    fn actor(&mut self, node: &Node) -> Option<Template> {
        self.part(node, "actor")
    }

    fn part(&mut self, node: &Node, at: &str) -> Option<Template> {
        let template = self.templates.template(node, at);
        self.check_seen();
        template
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
