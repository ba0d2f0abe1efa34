//! The steps of a route as they are written: one id each, one verb each, branches within branches.
//!
//! Invariant: an id is there once in the whole route, whatever branch it stands in.

use std::{ops::Range, sync::Arc};

use super::{is_name, twice};
use crate::{
    diagnostic::{Place, Problems, SourceFile, Words},
    route::{Branch, IfRefused},
    yaml::{
        Content, Key, Node,
        fields::{At, Fields, Known, list},
    },
};

/// A step as written.
#[derive(Debug)]
pub(in crate::route) struct StepFile {
    pub(in crate::route) id: At<String>,
    /// When it runs; none for always.
    pub(in crate::route) when: Option<Node>,
    pub(in crate::route) verb: VerbFile,
    /// The body or the input; refused where the verb has none.
    pub(in crate::route) with: Node,
}

/// What a step does, as written.
#[derive(Debug)]
pub(in crate::route) enum VerbFile {
    Use {
        target: At<String>,
        if_refused: IfRefused,
    },
    Emit {
        kind: At<String>,
        each: Option<Node>,
        key: Option<Node>,
        to: Option<Node>,
    },
    Choose {
        /// The word `choose`.
        key: Range<usize>,
        branches: Vec<BranchFile>,
        /// Whether every branch could be read.
        whole: bool,
    },
    /// It was wrong, which was said.
    Refused,
}

/// A branch as written.
#[derive(Debug)]
pub(in crate::route) struct BranchFile {
    /// Its `when` or `otherwise`.
    pub(in crate::route) key: Range<usize>,
    /// None for `otherwise`.
    pub(in crate::route) when: Option<Node>,
    pub(in crate::route) steps: Vec<StepFile>,
}

impl BranchFile {
    /// What traces, the ledger and `$steps.<id>.branch` call it.
    pub(in crate::route) fn name(&self) -> &str {
        self.steps.first().map_or(Branch::NOTHING, |step| &step.id.value)
    }
}

pub(in crate::route) const STEP: Known = Known {
    what: "a step",
    keys: &["use", "emit", "choose", "when", "with", "each", "key", "to", "if_refused"],
    reserved: &["needs", "open", "join", "remember", "answer"],
};
pub(in crate::route) const BRANCH: Known =
    Known { what: "a branch of `choose`", keys: &["when", "then", "otherwise"], reserved: &[] };
const VERBS: [&str; 3] = ["use", "emit", "choose"];

/// Steps of a route at most, those of branches included.
const MOST_STEPS: usize = 200;
/// A `choose` stands in at most so many others.
const DEEPEST: usize = 4;

/// Every step, those of branches included.
pub(in crate::route) fn each_step(steps: &[StepFile]) -> impl Iterator<Item = &StepFile> {
    let mut open: Vec<&StepFile> = steps.iter().rev().collect();
    std::iter::from_fn(move || {
        let step = open.pop()?;
        if let VerbFile::Choose { branches, .. } = &step.verb {
            open.extend(branches.iter().rev().flat_map(|branch| branch.steps.iter().rev()));
        }
        Some(step)
    })
}

/// Reads the steps of a route.
pub(super) fn read(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Vec<StepFile> {
    let mut reader = Reader { file, problems };
    let steps = reader.steps(node, 0);
    if steps.is_empty() && matches!(&node.content, Content::List(items) if items.is_empty()) {
        let words = Words::new("a route has steps", "no step", "write at least one `- id: { … }`");
        reader.error("SN0110", node.span.clone(), words);
    }
    let all: Vec<&StepFile> = each_step(&steps).collect();
    for (index, step) in all.iter().enumerate() {
        if let Some(first) = all[..index].iter().find(|known| known.id.value == step.id.value) {
            let first = Place::new(file, first.id.span.clone());
            twice(file, "steps", &step.id, &first, reader.problems);
        }
    }
    if let Some(step) = all.get(MOST_STEPS) {
        let help = "make two routes of it: one emits a type that the other takes";
        let words = Words::new(
            format!("a route has at most {MOST_STEPS} steps, branches included"),
            "one too many",
            help,
        );
        reader.error("SN0145", step.id.span.clone(), words);
    }
    steps
}

fn is_verb(key: &Key) -> bool {
    VERBS.contains(&key.text.as_str())
}

/// Whether an id comes first, and what belongs under it beside it.
fn has_verb_beside(entries: &[(Key, Node)]) -> bool {
    entries
        .split_first()
        .is_some_and(|((id, _), rest)| !is_verb(id) && rest.iter().any(|(key, _)| is_verb(key)))
}

struct Reader<'r> {
    file: &'r Arc<SourceFile>,
    problems: &'r mut Problems,
}

impl Reader<'_> {
    /// The steps of a list; `depth` counts the `choose` around it.
    fn steps(&mut self, node: &Node, depth: usize) -> Vec<StepFile> {
        let items = list(self.file, node, self.problems);
        items.iter().filter_map(|item| self.step(item, depth)).collect()
    }

    fn step(&mut self, node: &Node, depth: usize) -> Option<StepFile> {
        let (key, body) = match &node.content {
            Content::Map(entries) if entries.len() == 1 => entries.first()?,
            Content::Refused => return None,
            Content::Map(entries) if has_verb_beside(entries) => {
                return Some(self.not_under(&entries[0]));
            }
            _ => {
                let help =
                    "write `- register:` and under it, indented, `use:`, `emit:` or `choose:`";
                let words = Words::new("a step is one id with a map under it", "not a step", help);
                self.error("SN0111", node.span.clone(), words);
                return None;
            }
        };
        let id = At { value: key.text.clone(), span: key.span.clone() };
        if !is_name(&id.value, '_') {
            let help =
                "write small letters, digits and `_`, first a letter, so that $steps.<id> is jq";
            let words = Words::new(format!("`{}` is no id of a step", id.value), "not an id", help);
            self.error("SN0112", id.span.clone(), words);
        }
        let nothing = Node { span: id.span.clone(), content: Content::Refused };
        let Some(fields) = Fields::of(body, self.file, &STEP, self.problems) else {
            return Some(StepFile { id, when: None, verb: VerbFile::Refused, with: nothing });
        };
        let when = fields.get("when").cloned();
        let verb = self.verb(&fields, &id, depth).unwrap_or(VerbFile::Refused);
        let with = if fields.key("choose").is_some() {
            fields.get("with").cloned()
        } else {
            fields.required("with", self.problems).cloned()
        };
        Some(StepFile { id, when, verb, with: with.unwrap_or(nothing) })
    }

    /// What belongs under the id stands beside it.
    fn not_under(&mut self, (key, value): &(Key, Node)) -> StepFile {
        let help = "indent what belongs to the step: `- register:` and under it, two spaces deeper, `use:`";
        let title = format!("what belongs to `{}` stands beside it", key.text);
        self.error("SN0111", key.span.clone(), Words::new(title, "not under it", help));
        // That nothing stands under it follows from that.
        self.problems.forget_at("SN0105", &Place::new(self.file, key.span.clone()));
        let with = Node { span: value.span.clone(), content: Content::Refused };
        let id = At { value: key.text.clone(), span: key.span.clone() };
        StepFile { id, when: None, verb: VerbFile::Refused, with }
    }

    fn verb(&mut self, fields: &Fields<'_>, id: &At<String>, depth: usize) -> Option<VerbFile> {
        let mut written: Vec<_> = VERBS.iter().filter_map(|verb| fields.key(verb)).collect();
        written.sort_by_key(|key| key.span.start);
        let mut written = written.into_iter();
        let Some(verb) = written.next() else {
            if VERBS.iter().any(|verb| fields.is_meant(verb)) {
                return None;
            }
            let help = "add `use: <instance>.<operation>`, `emit: <type>` or `choose:`";
            let title = format!("the step `{}` does nothing", id.value);
            let words = Words::new(title, "neither `use` nor `emit` nor `choose`", help);
            self.error("SN0113", id.span.clone(), words);
            return None;
        };
        if let Some(second) = written.next() {
            let words = Words::new("a step has one verb", "a second verb", "make two steps of it");
            self.error("SN0114", second.span.clone(), words);
            return None;
        }
        match verb.text.as_str() {
            "use" => self.call(fields),
            "emit" => self.emit(fields),
            _ => self.choose(fields, depth),
        }
    }

    fn call(&mut self, fields: &Fields<'_>) -> Option<VerbFile> {
        let help = "emit one message per item, and let a route that takes one do the effect";
        self.belongs(fields, &["each", "key", "to"], "emit", help);
        let if_refused = self.if_refused(fields);
        let target = fields.text("use", self.problems)?;
        Some(VerbFile::Use { target, if_refused })
    }

    fn if_refused(&mut self, fields: &Fields<'_>) -> IfRefused {
        let Some(word) = fields.text("if_refused", self.problems) else { return IfRefused::Park };
        if word.value != "continue" {
            let help = "write `if_refused: continue`, or leave it out: then the message waits for a \
                        person";
            let title = format!("`if_refused` cannot be `{}`", word.value);
            self.error("SN0147", word.span, Words::new(title, "unknown word", help));
        }
        IfRefused::Continue
    }

    fn emit(&mut self, fields: &Fields<'_>) -> Option<VerbFile> {
        let help = "delete it: no target is asked, so none can say no";
        self.belongs(fields, &["if_refused"], "use", help);
        let kind = fields.text("emit", self.problems)?;
        self.many(fields);
        let part = |name: &str| fields.get(name).cloned();
        Some(VerbFile::Emit { kind, each: part("each"), key: part("key"), to: part("to") })
    }

    fn choose(&mut self, fields: &Fields<'_>, depth: usize) -> Option<VerbFile> {
        let help = "write it into a step of the branch";
        self.belongs(fields, &["each", "key", "to", "with"], "a step of a branch", help);
        self.belongs(fields, &["if_refused"], "use", help);
        let node = fields.get("choose")?;
        if depth == DEEPEST {
            let help = "let a branch emit a type, and a route of its own take it";
            let words = Words::new(
                format!("a `choose` stands in at most {DEEPEST} others"),
                "one too deep",
                help,
            );
            self.error("SN0145", node.span.clone(), words);
            return None;
        }
        let items = list(self.file, node, self.problems);
        let branches: Vec<Option<BranchFile>> =
            items.iter().map(|item| self.branch(item, depth)).collect();
        self.order(node, &branches);
        let whole = branches.iter().all(Option::is_some);
        let key = fields.key("choose")?.span.clone();
        let branches: Vec<BranchFile> = branches.into_iter().flatten().collect();
        (!branches.is_empty()).then_some(VerbFile::Choose { key, branches, whole })
    }

    fn branch(&mut self, node: &Node, depth: usize) -> Option<BranchFile> {
        let fields = Fields::of(node, self.file, &BRANCH, self.problems)?;
        let (when, then, otherwise) =
            (fields.key("when"), fields.key("then"), fields.key("otherwise"));
        let (key, steps) = match (when, then, otherwise) {
            (Some(when), Some(_), None) => (when, fields.get("then")?),
            (None, None, Some(otherwise)) => (otherwise, fields.get("otherwise")?),
            _ => {
                let key = when.or(then).or(otherwise);
                let span = key.map_or_else(|| node.span.clone(), |key| key.span.clone());
                let help =
                    "write `- when: <jq>` with `then: [ … ]` beside it, or `- otherwise: [ … ]`";
                let words = Words::new(
                    "a branch is `when` with `then`, or `otherwise` alone",
                    "not a branch",
                    help,
                );
                self.error("SN0141", span, words);
                return None;
            }
        };
        let steps = self.steps(steps, depth + 1);
        Some(BranchFile { key: key.span.clone(), when: fields.get("when").cloned(), steps })
    }

    /// `otherwise` is the last branch, and not the only one.
    fn order(&mut self, node: &Node, branches: &[Option<BranchFile>]) {
        let conditions = branches.iter().flatten().filter(|branch| branch.when.is_some()).count();
        if conditions == 0 && branches.iter().all(Option::is_some) {
            let help = "add `- when: <jq>` with `then: [ … ]`, or write its steps without `choose`";
            let words = Words::new("a `choose` has at least one `when`", "nothing to choose", help);
            self.error("SN0142", node.span.clone(), words);
            return;
        }
        let before_the_last = branches.iter().rev().skip(1).rev().flatten();
        for branch in before_the_last.filter(|branch| branch.when.is_none()) {
            let help = "move it to the end: what stands after it would never be reached";
            let words = Words::new("`otherwise` is the last branch", "not the last", help);
            self.error("SN0143", branch.key.clone(), words);
        }
    }

    /// Says which keys of a step belong to another verb.
    fn belongs(&mut self, fields: &Fields<'_>, names: &[&str], to: &str, help: &str) {
        for key in names.iter().filter_map(|name| fields.key(name)) {
            let owner = if VERBS.contains(&to) { format!("`{to}`") } else { to.to_owned() };
            let words = Words::new(format!("`{}` belongs to {owner}", key.text), "not here", help);
            self.error("SN0121", key.span.clone(), words);
        }
    }

    fn many(&mut self, fields: &Fields<'_>) {
        let (span, title, help): (Range<usize>, _, _) =
            match (fields.key("each"), fields.key("key")) {
                (Some(each), None) => (
                    each.span.clone(),
                    "`each` needs `key`",
                    "add `key: ${ $item.… }`: it tells the items apart",
                ),
                (None, Some(key)) => {
                    (key.span.clone(), "`key` needs `each`", "add `each: ${ … }`, or delete `key`")
                }
                _ => return,
            };
        self.error("SN0121", span, Words::new(title, "alone", help));
    }

    fn error(&mut self, code: &'static str, span: Range<usize>, words: Words) {
        self.problems.error(code, Place::new(self.file, span), words);
    }
}
