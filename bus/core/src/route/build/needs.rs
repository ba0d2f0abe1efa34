//! Needs as steps: a fact is asked just before the first step on the way that reads it.
//!
//! Invariant: whatever reads `$facts.<need>` stands behind a step that asks for it; what no step reads is
//! asked nowhere.

use std::{ops::Range, sync::Arc};

use super::{Builder, Targets, transpose};
use crate::{
    diagnostic::{Words, help_with_nearest},
    facts::{self, Fact, Kind as FactKind, Parts},
    route::{
        Ask, Declared, Step, Verb,
        file::{NeedFile, StepFile, VerbFile},
    },
    template::{
        Template,
        compile::{Seen, facts_of_condition, facts_read},
        uses::FACTS,
    },
    types::{
        Kind, Type,
        bugs::{Bug, seeded},
        library::Library,
    },
    yaml::{Content, Key, Node},
};

/// The parts that a declaration may have: the keys of its maps, and all that expressions give.
fn named(node: &Node) -> Parts {
    let mut parts = Parts::default();
    match &node.content {
        Content::Map(fields) => {
            for (key, value) in fields {
                let name = key.text.strip_suffix('?').unwrap_or(&key.text);
                parts.join_field(name, &named(value));
            }
        }
        _ => parts = Parts::all(),
    }
    parts
}

/// What of the needs is known on the way.
#[derive(Debug, Default)]
pub(super) struct Asked<'b> {
    /// Those that are asked before, on the way here.
    before: Vec<&'b str>,
    /// Those that are being built: one may not need itself.
    within: Vec<&'b str>,
    /// Those that something reads.
    read: Vec<&'b str>,
    /// Whether something reads what is no need: one of them may be meant.
    misread: bool,
}

impl Asked<'_> {
    pub(super) fn len(&self) -> usize {
        self.before.len()
    }

    /// What was asked since is asked in a branch only.
    pub(super) fn leave(&mut self, mark: usize) {
        if !seeded(Bug::BranchAsksForAll) {
            self.before.truncate(mark);
        }
    }
}

/// Has every question keep what the whole route reads of its fact.
pub(super) fn keep(steps: &mut [Step], parts: &Parts) {
    for step in steps {
        match &mut step.verb {
            Verb::Ask(ask) => {
                ask.parts = parts.of_field(&ask.need).unwrap_or_default();
                if let Some(declared) = &ask.declared {
                    ask.parts.join(&declared.parts);
                }
                ask.keeps = ask.parts.clone();
            }
            Verb::Choose(choose) => {
                for branch in &mut choose.branches {
                    keep(&mut branch.steps, parts);
                }
            }
            Verb::Use(_) | Verb::Emit(_) => {}
        }
    }
}

impl<'h> Targets<'h> {
    fn fact(&self, name: &str) -> Option<&'h Arc<Fact>> {
        self.facts.get(name)?.as_ref()
    }
}

impl<'b, 'h> Builder<'b, 'h, '_> {
    /// From here on facts may be read.
    pub(super) fn begin_steps(&mut self) {
        let written = self.written;
        let mut silent = Vec::new();
        for need in &written.needs {
            if let Some(declared) = self.declared(need)
                && need.is_stood_in()
                && declared.null
                && !seeded(Bug::DeclaredIsThere)
            {
                silent.push(need.name.value.as_str());
            }
        }
        self.before_steps = false;
        let Some(library) = &self.targets.library else { return };
        let of = |need: &NeedFile| {
            let fact = self.targets.fact(&need.fact.value);
            let of = fact.map_or_else(Type::unknown, |fact| facts::type_of(fact, library));
            let null = need.may_be_null() || silent.contains(&need.name.value.as_str());
            let null = null && !seeded(Bug::NeedIsThere);
            (need.name.value.clone(), if null { of.or_null() } else { of })
        };
        let facts = written.needs.iter().map(of).collect();
        if let Some(sees) = &mut self.templates.sees {
            sees.set_facts(facts);
        }
    }

    /// What the sender says of a fact, with its type: of the kind that the fact has, all of it where it
    /// may stand in.
    fn declared(&mut self, need: &'b NeedFile) -> Option<Type> {
        let name = need.name.value.as_str();
        let Some(node) = &need.declared else {
            if need.is_stood_in() {
                let help = "write `declared:` with what the sender says of it, or `then: continue`";
                let title = format!("the need `{name}` declares nothing");
                let words = Words::new(title, "and nothing can stand in for it", help);
                self.error("SN0174", need.name.span.clone(), words);
            }
            return None;
        };
        let (value, of, seen) = self.part(node, "declared");
        let fact = self.targets.fact(&need.fact.value)?;
        if fact.kind == FactKind::Verification {
            let help = "delete `declared`: what is verified is what the question says under `with`";
            let words = Words::new("a verification is not declared", "not compared", help);
            self.error("SN0173", node.span.clone(), words);
            self.declared.push((name, None));
            return None;
        }
        let fits = self.fits_fact(need, node, fact, (&of, &seen));
        let declared =
            value.filter(|_| fits).map(|value| Arc::new(Declared { value, parts: named(node) }));
        self.declared.push((name, declared));
        Some(of)
    }

    fn fits_fact(
        &mut self,
        need: &NeedFile,
        node: &Node,
        fact: &Fact,
        (of, seen): (&Type, &[Seen]),
    ) -> bool {
        let library = self.targets.library.as_ref();
        let schema =
            library.zip(fact.schema.as_ref()).and_then(|(library, schema)| library.of_kind(schema));
        let target = format!("fact {}", fact.name);
        let said = of.not_null();
        if need.is_stood_in() {
            self.fit(node, (&said, seen), (schema, &target))
        } else {
            self.fit_partly(node, (&said, seen), (schema, &target))
        }
    }

    /// Says which facts there are not.
    pub(super) fn check_needs(&mut self) {
        for need in &self.written.needs {
            if self.targets.facts.contains_key(&need.fact.value) {
                continue;
            }
            let known = self.targets.facts.keys().map(String::as_str);
            let help = help_with_nearest(&need.fact.value, known, "facts in routes/facts/");
            let title = format!("there is no fact `{}`", need.fact.value);
            self.error("SN0312", need.fact.span.clone(), Words::new(title, "no such fact", help));
        }
    }

    /// Says which needs nothing reads. To be called last.
    pub(super) fn check_unread(&mut self) {
        if self.asked.misread {
            return;
        }
        for need in &self.written.needs {
            if self.asked.read.contains(&need.name.value.as_str()) {
                continue;
            }
            let title = format!("nothing reads `$facts.{}`", need.name.value);
            let help = "read it in a step, or delete the need: what no step reads is not asked";
            self.error("SN0170", need.name.span.clone(), Words::new(title, "not read", help));
        }
    }

    /// The steps that ask for what a step reads and that was not asked before.
    pub(super) fn ask_for(&mut self, step: &'b StepFile, into: &mut Vec<Option<Step>>) {
        let VerbFile::Choose { branches, .. } = &step.verb else {
            let more: &[&Option<Node>] = match &step.verb {
                VerbFile::Emit { each, key, to, .. } => &[each, key, to],
                _ => &[],
            };
            let nodes = more.iter().filter_map(|node| node.as_ref()).chain([&step.with]);
            return self.ask(&self.read_by(nodes, None), into);
        };
        let conditions = branches.iter().filter_map(|branch| branch.when.as_ref());
        self.ask(&self.read_by([], conditions), into);
    }

    /// The same for a condition that stands before a step.
    pub(super) fn ask_for_condition(&mut self, when: &'b Node, into: &mut Vec<Option<Step>>) {
        self.ask(&self.read_by([], [when]), into);
    }

    fn ask(&mut self, parts: &Parts, into: &mut Vec<Option<Step>>) {
        let written = self.written;
        for need in &written.needs {
            let name = need.name.value.as_str();
            if parts.of_field(name).is_none() {
                continue;
            }
            if !self.asked.read.contains(&name) {
                self.asked.read.push(name);
            }
            if self.asked.before.contains(&name) {
                continue;
            }
            if self.asked.within.contains(&name) {
                let title = format!("the need `{name}` needs itself");
                let help = "say with the message or a step about whom it is asked";
                self.error(
                    "SN0171",
                    need.name.span.clone(),
                    Words::new(title, "in a circle", help),
                );
                continue;
            }
            self.asked.within.push(name);
            if !seeded(Bug::NeedOfNeedIsNotAsked) {
                self.ask(&self.read_by(need.templates(), &need.when), into);
            }
            self.asked.within.pop();
            let step = self.question(need);
            self.asked.before.push(name);
            into.push(step);
        }
    }

    /// What templates and conditions read of the facts.
    fn read_by<'n>(
        &self,
        templates: impl IntoIterator<Item = &'n Node>,
        conditions: impl IntoIterator<Item = &'n Node>,
    ) -> Parts {
        let mut parts = Parts::default();
        if !self.written.needs.is_empty() {
            templates.into_iter().for_each(|node| facts_read(node, &mut parts));
            conditions.into_iter().for_each(|node| facts_of_condition(node, &mut parts));
        }
        parts
    }

    pub(super) fn question(&mut self, need: &'b NeedFile) -> Option<Step> {
        let sees = self.templates.sees.clone();
        let when = need.when.as_ref().map(|node| {
            let (when, _, ways) = self.condition(node, "when");
            self.templates.sees = ways.yes;
            when
        });
        let fact = self.targets.fact(&need.fact.value);
        let input = fact.and_then(|fact| self.input_of(need, fact));
        let span = &need.fact.span;
        let schema = fact.and_then(|fact| self.input_schema(&fact.held_by, &fact.operation, span));
        let case = self.case(&need.case);
        self.templates.sees = sees;
        let name = need.name.value.as_str();
        let at = self.declared.iter().position(|(known, _)| *known == name);
        let declared = match at {
            Some(at) => Some(self.declared[at].1.clone()?),
            None => None,
        };
        Some(Step {
            id: Ask::step(&need.name.value),
            verb: Verb::Ask(Ask {
                need: need.name.value.clone(),
                when: transpose(when)?,
                fact: Arc::clone(fact?),
                input: input?,
                schema: schema?,
                case: case?,
                // Known when every expression was read.
                parts: Parts::default(),
                keeps: Parts::default(),
                if_not_found: need.if_not_found,
                if_ambiguous: need.if_ambiguous,
                if_unavailable: need.if_unavailable,
                declared,
                priority: need.priority,
            }),
        })
    }

    /// The input of the question: about whom, and what else it says.
    fn input_of(&mut self, need: &NeedFile, fact: &'h Fact) -> Option<Template> {
        let (key, about) = &need.about;
        let key = Key { span: key.clone(), text: fact.about.clone() };
        let mut entries = vec![(key, about.clone())];
        let mut right = true;
        match need.with.as_ref().map(|node| &node.content) {
            Some(Content::Map(more)) => {
                right = !self.about_again(more, &fact.about);
                entries.extend(more.iter().cloned());
            }
            Some(Content::Refused) => right = false,
            Some(_) => {
                let span = need.with.as_ref().map_or(0..0, |node| node.span.clone());
                let help = "write `{ <field>: <value> }`";
                self.error("SN0111", span, Words::new("`with` is a map", "not a map", help));
                right = false;
            }
            None => {}
        }
        let written = Node { span: about.span.clone(), content: Content::Map(entries) };
        let (input, of, seen) = self.part(&written, "about");
        let schema = Some(Library::guest(&fact.operation.input));
        right &= self.fit(&written, (&of, &seen), (schema, &fact.source()));
        if right && let Some(of) = of.objects.first().map(|object| object.get(&fact.about)) {
            // An operation may take null, or a number; a question is about a person.
            let words = ["`about`", "text", "name the person: ${ .applicant.taxCode }"];
            right = self.is_one_of(about, (&of, &seen), &[Kind::Text], words);
        }
        input.filter(|_| right)
    }

    /// Whether `with` says once more about whom.
    fn about_again(&mut self, with: &[(Key, Node)], about: &str) -> bool {
        let name = |key: &Key| key.text.strip_suffix('?').unwrap_or(&key.text) == about;
        let Some((key, _)) = with.iter().find(|(key, _)| name(key)) else { return false };
        let words = Words::new(
            format!("the key `{about}` is written twice"),
            "it is what `about` says",
            "delete it here, or write under `about` what should be asked about",
        );
        self.error("SN0107", key.span.clone(), words);
        true
    }

    /// The reference of the case: text that is there.
    fn case(&mut self, node: &Node) -> Option<Template> {
        let (case, of, seen) = self.part(node, "case");
        let words =
            ["the case", "text", "name what people know it by: ${ $steps.register.number }"];
        let right = self.is_one_of(node, (&of, &seen), &[Kind::Text], words);
        case.filter(|_| right)
    }

    /// Whether what is read of `$facts` is a need, and may be read here.
    pub(super) fn fact_is_needed(&mut self, name: &str, span: Range<usize>) {
        if self.before_steps {
            let title = format!("`{FACTS}` is not there yet");
            let help =
                "read it in a step: a fact is asked just before the first step that reads it";
            self.error("SN0169", span, Words::new(title, "before the first step", help));
            return;
        }
        let needs = || self.written.needs.iter().map(|need| need.name.value.as_str());
        if needs().any(|need| need == name) {
            return;
        }
        self.asked.misread = true;
        let needs = || self.written.needs.iter().map(|need| need.name.value.as_str());
        let help = match needs().next() {
            Some(_) => help_with_nearest(name, needs(), "needs of this route"),
            None => {
                format!("write `needs:` and under it `{name}: {{ fact: …, about: …, case: … }}`")
            }
        };
        let title = format!("this route has no need `{name}`");
        self.error("SN0172", span, Words::new(title, "no such need", help));
    }
}
