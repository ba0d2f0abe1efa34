//! From a route as written to a route that runs: its words are looked up, its templates compiled.
//!
//! Invariant: the same text with the same schemas and operations makes the same route, in a house and
//! from the ledger's copy alike.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use super::{
    Emit, Route, Step, Use, Verb, bundle,
    file::{RouteFile, StepFile, VerbFile},
    paths,
};
use crate::{
    adapter::Operation,
    diagnostic::{Place, Problems, Words, help_with_nearest},
    ids::Digest,
    schema::{Schemas, Validator},
    template::compile::{Name, Read, Seen, Templates},
    yaml::{Content, Node, fields::At},
};
use serde_json::Value;

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
        results: Vec::new(),
        templates: Templates::new(&written.file, problems),
        targets,
    };
    let actor = written.actor.as_ref().map(|node| builder.actor(node));
    let when = written.when.as_ref().map(|node| {
        let when = builder.templates.condition(node, "when");
        builder.check_seen();
        when
    });
    let steps: Vec<Option<Step>> = written.steps.iter().map(|step| builder.step(step)).collect();
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
        steps: steps.into_iter().collect::<Option<_>>()?,
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
    /// The steps so far, with the schema of their results where one is known.
    results: Vec<(&'b str, Option<Arc<Value>>)>,
    templates: Templates<'b>,
    targets: &'t mut Targets<'h>,
}

impl<'b> Builder<'b, '_, '_> {
    fn actor(&mut self, node: &Node) -> Option<crate::template::Template> {
        let actor = self.templates.template(node, "actor");
        self.check_seen();
        actor
    }

    fn step(&mut self, step: &'b StepFile) -> Option<Step> {
        let (verb, result) = match &step.verb {
            VerbFile::Use(target) => self.call(step, target),
            VerbFile::Refused => {
                // `$item` may be meant: what is wrong with the verb was said, not more.
                self.templates.with_item(true);
                self.part(&step.with, "with");
                self.templates.with_item(false);
                (None, None)
            }
            VerbFile::Emit { kind, each, key, to } => {
                (self.emit(step, kind, [each.as_ref(), key.as_ref(), to.as_ref()]), None)
            }
        };
        self.results.push((&step.id.value, result));
        Some(Step { id: step.id.value.clone(), verb: verb? })
    }

    fn call(&mut self, step: &StepFile, target: &At<String>) -> (Option<Verb>, Option<Arc<Value>>) {
        let with = self.part(&step.with, "with");
        let Some((instance, operation)) = self.operation(target) else { return (None, None) };
        let fits = self.object(&step.with, &operation.input, &target.value);
        let result = Some(Arc::clone(&operation.output));
        let schema = self.targets.input(instance, operation);
        if schema.is_none() {
            let title = format!("the input schema of `{}` cannot be compiled", target.value);
            let words = Words::new(title, "used here", "correct the schema of the operation");
            self.error("SN0303", target.span.clone(), words);
        }
        let instance = instance.to_owned();
        let verb = with.zip(schema).filter(|_| fits).map(|(with, schema)| {
            Verb::Use(Use { instance, operation: operation.clone(), with, schema })
        });
        (verb, result)
    }

    fn operation<'r>(&mut self, target: &'r At<String>) -> Option<(&'r str, &'r Operation)>
    where
        Self: 'r,
    {
        let operations = self.targets.operations;
        let (instance, name) = target.value.split_once('.').unwrap_or((&target.value, ""));
        let Some(known) = operations.get(instance) else {
            let help = help_with_nearest(
                instance,
                operations.keys().map(String::as_str),
                "adapter instances of the configuration",
            );
            let title = format!("there is no adapter instance `{instance}`");
            let words = Words::new(title, "no such instance", help);
            self.error("SN0304", target.span.clone(), words);
            return None;
        };
        let found = known.iter().find(|operation| operation.name == name);
        if found.is_none() {
            let names = known.iter().map(|operation| operation.name.as_str());
            let help = help_with_nearest(name, names, &format!("operations of `{instance}`"));
            let title = format!("`{instance}` has no operation `{name}`");
            self.error("SN0305", target.span.clone(), Words::new(title, "no such operation", help));
        }
        Some((instance, found?))
    }

    fn emit(
        &mut self,
        step: &StepFile,
        kind: &At<String>,
        [each, key, to]: [Option<&Node>; 3],
    ) -> Option<Verb> {
        let schemas = self.targets.schemas;
        let document = known_type(self.written, kind, schemas, self.templates.problems);
        let listed = each.map(|node| self.part(node, "each"));
        self.templates.with_item(each.is_some());
        let key = key.map(|node| self.part(node, "key"));
        let to = to.map(|node| self.part(node, "to"));
        let with = self.part(&step.with, "with");
        self.templates.with_item(false);
        let fits = document.is_none_or(|document| self.object(&step.with, document, &kind.value));
        let schema = schemas.validator(&kind.value).cloned();
        let emit = Emit {
            kind: kind.value.clone(),
            with: with?,
            each: transpose(listed)?,
            key: transpose(key)?,
            to: transpose(to)?,
            schema: schema?,
        };
        fits.then_some(Verb::Emit(emit))
    }

    fn part(&mut self, node: &Node, at: &str) -> Option<crate::template::Template> {
        let template = self.templates.template(node, at);
        self.check_seen();
        template
    }

    /// Whether the names of a `with` fit its target, as far as they are written out.
    fn object(&mut self, with: &Node, schema: &Value, target: &str) -> bool {
        let Content::Map(fields) = &with.content else { return true };
        let names = fields.iter().map(|(key, _)| {
            let name = key.text.strip_suffix('?');
            (name.unwrap_or(&key.text), name.is_some())
        });
        let names: Vec<(&str, bool)> = names.collect();
        let paths::Mismatch { missing, unknown, declared } = paths::compare(schema, &names);
        for name in &missing {
            let optional = names.iter().any(|(written, _)| written == name);
            let (label, help) = if optional {
                (format!("`{name}?` is left out when null"), format!("write `{name}:` without `?`"))
            } else {
                (format!("`{name}` is missing here"), format!("add `{name}: ${{ … }}`"))
            };
            let title = format!("the field `{name}` is required by `{target}`");
            let first =
                fields.first().map_or_else(|| with.span.clone(), |(key, _)| key.span.clone());
            self.error("SN0211", first, Words::new(title, label, help));
        }
        for name in &unknown {
            let help = help_with_nearest(name, declared.iter().copied(), "fields of the target");
            let title = format!("`{target}` has no field `{name}`");
            let key = fields
                .iter()
                .find(|(key, _)| key.text.strip_suffix('?').unwrap_or(&key.text) == *name);
            let span = key.map_or_else(|| with.span.clone(), |(key, _)| key.span.clone());
            self.error("SN0212", span, Words::new(title, "no such field", help));
        }
        missing.is_empty() && unknown.is_empty()
    }

    /// Checks the paths of the expressions that were compiled since the last call.
    fn check_seen(&mut self) {
        for seen in self.templates.seen() {
            let sound = seen.reads.iter().filter(|read| !self.is_sound(read)).count() == 0;
            if sound && seen.interpolated {
                self.check_text(&seen);
            }
        }
    }

    /// The schema of what a path begins with, and the names after that.
    fn schema_of<'r>(&self, read: &'r Read) -> Option<(Arc<Value>, &'r [Name])> {
        match read.variable.as_deref() {
            None => Some((Arc::clone(self.body?), &read.names)),
            Some("$message") if read.names.first().is_some_and(|(name, _)| name == "data") => {
                Some((Arc::clone(self.body?), &read.names[1..]))
            }
            Some("$steps") => {
                let (id, _) = read.names.first()?;
                let (_, result) = self.results.iter().find(|(step, _)| step == id)?;
                Some((Arc::clone(result.as_ref()?), &read.names[1..]))
            }
            Some(_) => None,
        }
    }

    fn is_sound(&mut self, read: &Read) -> bool {
        if read.variable.as_deref() == Some("$steps") && !self.step_is_done(read) {
            return false;
        }
        let Some((schema, names)) = self.schema_of(read) else { return true };
        let found = paths::look(&schema, names.iter().map(|(name, _)| name.as_str()));
        let paths::Known::Missing(index, known) = found else { return true };
        let (name, span) = &names[index];
        let help = help_with_nearest(name, known, "declared fields");
        let words = Words::new(format!("there is no field `{name}`"), "not in the schema", help);
        self.error("SN0201", span.clone(), words);
        false
    }

    fn step_is_done(&mut self, read: &Read) -> bool {
        let Some((id, span)) = read.names.first() else { return true };
        if self.results.iter().any(|(step, _)| step == id) {
            return true;
        }
        let later = self.written.steps.iter().any(|step| step.id.value == *id);
        let (title, label) = if later {
            (format!("the step `{id}` has not run yet"), "runs here or later")
        } else {
            (format!("there is no step `{id}`"), "no such step")
        };
        let known = self.results.iter().map(|(step, _)| *step);
        let help = help_with_nearest(id, known, "steps that run before");
        self.error("SN0123", span.clone(), Words::new(title, label, help));
        false
    }

    /// A value that is written into a text must be there and have a text.
    fn check_text(&mut self, seen: &Seen) {
        let Some(read) = &seen.whole else { return };
        let Some((schema, names)) = self.schema_of(read) else { return };
        let found = paths::look(&schema, names.iter().map(|(name, _)| name.as_str()));
        let paths::Known::Field { nullable, kind } = found else { return };
        let kind = match kind {
            Some("array") => "a list",
            Some("object") => "an object",
            _ if nullable => "null",
            _ => return,
        };
        let (title, help) = match kind {
            "null" => (
                "the text would say \"null\"".to_owned(),
                "give a default with `// \"…\"`, or make the field required in the schema",
            ),
            kind => (format!("{kind} has no text"), "take one of its fields, or `join(\", \")`"),
        };
        let words = Words::new(title, format!("it may be {kind}"), help);
        self.error("SN0209", seen.span.clone(), words);
    }

    fn error(&mut self, code: &'static str, span: Range<usize>, words: Words) {
        let place = Place::new(&self.written.file, span);
        self.templates.problems.error(code, place, words);
    }
}
