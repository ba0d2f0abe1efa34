//! Steps as they run: their words looked up, their templates compiled, their fields compared.
//!
//! Invariant: what an operation promises and what a type asks for is what the run will check.

use std::ops::Range;

use super::{Builder, known_type, sees, transpose};
use crate::{
    adapter::Operation,
    diagnostic::{Words, help_with_nearest},
    route::{
        Branch, Choose, Emit, IfRefused, Step, Use, Verb,
        file::{BranchFile, StepFile, VerbFile},
        refusal,
    },
    schema::Validator,
    template::Condition,
    types::{Type, infer::Context, library::Library},
    yaml::{Node, fields::At, offsets},
};

impl<'b, 'h> Builder<'b, 'h, '_> {
    /// `None` where something of one of them is wrong, which was said.
    pub(super) fn steps(&mut self, steps: &'b [StepFile]) -> Option<Vec<Step>> {
        let mut built = Vec::with_capacity(steps.len());
        for step in steps {
            self.step(step, &mut built);
        }
        built.into_iter().collect()
    }

    /// A step, behind those that ask for what it reads.
    fn step(&mut self, step: &'b StepFile, into: &mut Vec<Option<Step>>) {
        let Some(when) = &step.when else {
            self.ask_for(step, into);
            into.push(self.one(step));
            return;
        };
        self.ask_for_condition(when, into);
        let (before, start) = (self.results.len(), self.templates.sees.clone());
        let asked = self.asked.len();
        let (when, _, ways) = self.condition(when, "when");
        self.templates.sees = ways.yes;
        let mut inner = Vec::new();
        self.ask_for(step, &mut inner);
        inner.push(self.one(step));
        self.asked.leave(asked);
        self.leave_choose(before, start);
        let inner: Option<Vec<Step>> = inner.into_iter().collect();
        into.push(when.zip(inner).map(|(when, inner)| Step::conditional(when, inner)));
    }

    /// Steps from `mark` on may have run; `start` is what was seen before them.
    fn leave_choose(&mut self, mark: usize, start: Option<Context>) {
        self.templates.sees = start;
        for done in self.results.leave_choose(mark) {
            if let Some(sees) = &mut self.templates.sees {
                sees.add_step(done.id, &done.of, false);
            }
        }
    }

    fn one(&mut self, step: &'b StepFile) -> Option<Step> {
        let (verb, result) = match &step.verb {
            VerbFile::Use { target, if_refused } => self.call(step, target, *if_refused),
            VerbFile::Refused => {
                // `$item` may be meant: what is wrong with the verb was said, not more.
                self.with_item(Some(Type::unknown()));
                self.part(&step.with, "with");
                self.with_item(None);
                (None, Type::unknown())
            }
            VerbFile::Emit { kind, each, key, to } => {
                let verb = self.emit(step, kind, [each.as_ref(), key.as_ref(), to.as_ref()]);
                (verb, Type::null())
            }
            VerbFile::Choose { key, branches, whole } => {
                let names = branches.iter().map(BranchFile::name);
                let of = sees::chosen(names);
                (self.choose(key.clone(), branches, *whole).map(Verb::Choose), of)
            }
        };
        if let Some(sees) = &mut self.templates.sees {
            sees.add_step(&step.id.value, &result, true);
        }
        self.results.done(&step.id.value, result);
        Some(Step { id: step.id.value.clone(), verb: verb? })
    }

    fn choose(
        &mut self,
        key: Range<usize>,
        branches: &'b [BranchFile],
        whole: bool,
    ) -> Option<Choose> {
        let (before, start) = (self.results.len(), self.templates.sees.clone());
        let (mut built, mut covers) = (Vec::new(), Vec::new());
        let (mut left, mut impossible) = (start.clone(), Vec::new());
        for branch in branches {
            self.templates.sees.clone_from(&left);
            let (mut when, mut cover, mut never) = (None, None, false);
            if let Some(node) = &branch.when {
                self.templates.before.clone_from(&start);
                let (condition, found, ways) = self.condition(node, "when");
                self.templates.before = None;
                never =
                    condition.is_some() && ways.yes.as_ref().is_some_and(Context::is_impossible);
                (self.templates.sees, left) = (ways.yes, ways.no);
                (when, cover) = (Some(condition), found);
            }
            impossible.push(never);
            covers.push(cover);
            let (mark, asked) = (self.results.len(), self.asked.len());
            let steps = self.steps(&branch.steps);
            self.results.leave_branch(mark);
            self.asked.leave(asked);
            built.push((branch.name(), transpose(when), steps));
        }
        self.leave_choose(before, start);
        self.check_idle(branches, &covers, &impossible);
        let nothing_left = left.is_some_and(|left| left.is_impossible());
        if whole && !nothing_left {
            self.check_whole(key, branches, &covers);
        }
        let branches = built.into_iter().map(|(name, when, steps)| {
            Some(Branch { name: name.to_owned(), when: when?, steps: steps? })
        });
        Some(Choose { branches: branches.collect::<Option<_>>()? })
    }

    fn with_item(&mut self, item: Option<Type>) {
        self.templates.with_item(item.is_some());
        if let Some(sees) = &mut self.templates.sees {
            sees.set_item(item);
        }
    }

    fn call(
        &mut self,
        step: &StepFile,
        target: &At<String>,
        if_refused: IfRefused,
    ) -> (Option<Verb>, Type) {
        let (with, of, seen) = self.part(&step.with, "with");
        let Some((instance, operation)) = self.operation(target) else {
            return (None, Type::unknown());
        };
        let input = Some(Library::guest(&operation.input));
        let fits = self.fit(&step.with, (&of, &seen), (input, &target.value));
        let result = self.result(target, operation, if_refused);
        let schema = self.input_schema(instance, operation, &target.span);
        let instance = instance.to_owned();
        let verb = with.zip(schema).filter(|_| fits).map(|(with, schema)| {
            Verb::Use(Use { instance, operation: operation.clone(), with, if_refused, schema })
        });
        (verb, result)
    }

    /// What checks the input of an operation that is called at `span`.
    pub(super) fn input_schema(
        &mut self,
        instance: &str,
        operation: &Operation,
        span: &Range<usize>,
    ) -> Option<Validator> {
        let schema = self.targets.input(instance, operation);
        if schema.is_none() {
            let title =
                format!("the input schema of `{instance}.{}` cannot be compiled", operation.name);
            let words = Words::new(title, "used here", "correct the schema of the operation");
            self.error("SN0303", span.clone(), words);
        }
        schema
    }

    /// The type of what `$steps.<id>` reads.
    fn result(
        &mut self,
        target: &At<String>,
        operation: &'h Operation,
        if_refused: IfRefused,
    ) -> Type {
        if if_refused == IfRefused::Continue && refusal::is_taken(&operation.output) {
            let title =
                format!("the result of `{}` has a field `refused` of its own", target.value);
            let help = "leave `if_refused` out, and tell the two apart by the result's own field";
            let words = Words::new(title, "a refusal could not be told from it", help);
            self.error("SN0146", target.span.clone(), words);
        }
        let library = self.targets.library.as_ref();
        library.map_or_else(Type::unknown, |library| sees::result(library, operation, if_refused))
    }

    fn operation<'r>(&mut self, target: &'r At<String>) -> Option<(&'r str, &'h Operation)> {
        let operations = self.targets.operations;
        let (instance, name) = target.value.split_once('.').unwrap_or((&target.value, ""));
        let Some(known) = operations.get(instance) else {
            if self.targets.unopened.contains(instance) {
                return None;
            }
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
            let words = Words::new(title, "no such operation", help);
            self.error("SN0305", self.after_dot(target), words);
        }
        let found = found?;
        if found.fact_only {
            let title = format!("`{}` is asked as a fact only", target.value);
            let help = format!(
                "write a fact with `held_by: {instance}` and `query: {name}` \
                 (`snodo new fact` makes one), and ask for it under `needs:`"
            );
            let words = Words::new(title, "not for a step", help);
            self.error("SN0313", target.span.clone(), words);
            return None;
        }
        Some((instance, found))
    }

    /// Where the name of the operation stands.
    fn after_dot(&self, target: &At<String>) -> Range<usize> {
        let offsets = offsets(&self.written.file, &target.span, &target.value);
        let start = target.value.find('.').and_then(|dot| offsets.get(dot + 1).copied());
        let end = offsets.last().copied();
        start.zip(end).map_or_else(|| target.span.clone(), |(start, end)| start..end)
    }

    fn emit(
        &mut self,
        step: &StepFile,
        kind: &At<String>,
        [each, key, to]: [Option<&Node>; 3],
    ) -> Option<Verb> {
        let schemas = self.targets.schemas;
        let known = known_type(self.written, kind, schemas, self.templates.problems);
        let (listed, item) = match each.map(|node| self.each(node)) {
            Some((listed, item)) => (Some(listed), Some(item)),
            None => (None, None),
        };
        self.with_item(item);
        let key = key.map(|node| self.item_key(node));
        let to = to.map(|node| self.addressees(node));
        let (with, of, seen) = self.part(&step.with, "with");
        self.with_item(None);
        let library = self.targets.library.as_ref();
        let target = known.and_then(|_| library?.of_kind(&kind.value));
        let fits = self.fit(&step.with, (&of, &seen), (target, &kind.value));
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
}

impl Step {
    /// A step that has a `when`: a choice between it and nothing, which is written down like any other.
    /// Its last step is the one; before it is asked for what it reads.
    fn conditional(when: Condition, steps: Vec<Self>) -> Self {
        let name = steps.last().map(|step| step.id.clone()).unwrap_or_default();
        let id = format!("{name}.when");
        let taken = Branch { name, when: Some(when), steps };
        let left_out = Branch { name: Branch::NOTHING.to_owned(), when: None, steps: Vec::new() };
        Self { id, verb: Verb::Choose(Choose { branches: vec![taken, left_out] }) }
    }
}
