//! Steps as they run: their words looked up, their templates compiled, their fields compared.
//!
//! Invariant: what an operation promises and what a type asks for is what the run will check.

use std::{ops::Range, sync::Arc};

use serde_json::Value;

use super::{Builder, known_type, transpose};
use crate::{
    adapter::Operation,
    diagnostic::{Words, help_with_nearest},
    route::{
        Branch, Choose, Emit, IfRefused, Step, Use, Verb,
        file::{BranchFile, StepFile, VerbFile},
        paths, refusal,
    },
    template::Condition,
    yaml::{Content, Node, fields::At},
};

impl<'b> Builder<'b, '_, '_> {
    /// `None` where something of one of them is wrong, which was said.
    pub(super) fn steps(&mut self, steps: &'b [StepFile]) -> Option<Vec<Step>> {
        let built: Vec<Option<Step>> = steps.iter().map(|step| self.step(step)).collect();
        built.into_iter().collect()
    }

    fn step(&mut self, step: &'b StepFile) -> Option<Step> {
        let Some(when) = &step.when else { return self.one(step) };
        let before = self.results.len();
        let (when, _) = self.condition(when, "when");
        let inner = self.one(step);
        self.results.leave_choose(before);
        Some(Step::conditional(when?, inner?))
    }

    fn one(&mut self, step: &'b StepFile) -> Option<Step> {
        let (verb, result) = match &step.verb {
            VerbFile::Use { target, if_refused } => self.call(step, target, *if_refused),
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
            VerbFile::Choose { key, branches, whole } => {
                let choose = self.choose(key.clone(), branches, *whole);
                let result = choose.as_ref().map(|choose| Arc::new(choose.result_schema()));
                (choose.map(Verb::Choose), result)
            }
        };
        self.results.done(&step.id.value, result);
        Some(Step { id: step.id.value.clone(), verb: verb? })
    }

    fn choose(
        &mut self,
        key: Range<usize>,
        branches: &'b [BranchFile],
        whole: bool,
    ) -> Option<Choose> {
        let before = self.results.len();
        let (mut built, mut covers) = (Vec::new(), Vec::new());
        for branch in branches {
            let (when, cover) = match &branch.when {
                Some(node) => {
                    let (when, cover) = self.condition(node, "when");
                    (Some(when), cover)
                }
                None => (None, None),
            };
            covers.push(cover);
            let mark = self.results.len();
            let steps = self.steps(&branch.steps);
            self.results.leave_branch(mark);
            let name = branch.steps.first().map_or(Branch::NOTHING, |step| &step.id.value);
            built.push((name, transpose(when), steps));
        }
        self.results.leave_choose(before);
        self.check_idle(branches, &covers);
        if whole {
            self.check_whole(key, branches, &covers);
        }
        let branches = built.into_iter().map(|(name, when, steps)| {
            Some(Branch { name: name.to_owned(), when: when?, steps: steps? })
        });
        Some(Choose { branches: branches.collect::<Option<_>>()? })
    }

    fn call(
        &mut self,
        step: &StepFile,
        target: &At<String>,
        if_refused: IfRefused,
    ) -> (Option<Verb>, Option<Arc<Value>>) {
        let with = self.part(&step.with, "with");
        let Some((instance, operation)) = self.operation(target) else { return (None, None) };
        let fits = self.object(&step.with, &operation.input, &target.value);
        let result = self.result(target, operation, if_refused);
        let schema = self.targets.input(instance, operation);
        if schema.is_none() {
            let title = format!("the input schema of `{}` cannot be compiled", target.value);
            let words = Words::new(title, "used here", "correct the schema of the operation");
            self.error("SN0303", target.span.clone(), words);
        }
        let instance = instance.to_owned();
        let verb = with.zip(schema).filter(|_| fits).map(|(with, schema)| {
            Verb::Use(Use { instance, operation: operation.clone(), with, if_refused, schema })
        });
        (verb, Some(result))
    }

    /// The schema of what `$steps.<id>` reads.
    fn result(
        &mut self,
        target: &At<String>,
        operation: &Operation,
        if_refused: IfRefused,
    ) -> Arc<Value> {
        if if_refused == IfRefused::Park {
            return Arc::clone(&operation.output);
        }
        if refusal::is_taken(&operation.output) {
            let title =
                format!("the result of `{}` has a field `refused` of its own", target.value);
            let help = "leave `if_refused` out, and tell the two apart by the result's own field";
            let words = Words::new(title, "a refusal could not be told from it", help);
            self.error("SN0146", target.span.clone(), words);
        }
        Arc::new(refusal::with_refusal(&operation.output))
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
        let listed = each.map(|node| self.each(node));
        self.templates.with_item(each.is_some());
        let key = key.map(|node| self.item_key(node));
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
}

impl Step {
    /// A step that has a `when`: a choice between it and nothing, which is written down like any other.
    fn conditional(when: Condition, step: Self) -> Self {
        let id = format!("{}.when", step.id);
        let name = step.id.clone();
        let taken = Branch { name, when: Some(when), steps: vec![step] };
        let left_out = Branch { name: Branch::NOTHING.to_owned(), when: None, steps: Vec::new() };
        Self { id, verb: Verb::Choose(Choose { branches: vec![taken, left_out] }) }
    }
}

impl Choose {
    /// What `$steps.<id>` reads: which branch was taken.
    fn result_schema(&self) -> Value {
        let names: Vec<&str> = self.branches.iter().map(|branch| branch.name.as_str()).collect();
        serde_json::json!({
            "type": "object",
            "properties": { "branch": { "enum": names } },
            "required": ["branch"],
            "additionalProperties": false,
        })
    }
}
