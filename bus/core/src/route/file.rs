//! A route as it is written: every part with its place, nothing looked up yet.
//!
//! Invariant: what is here is well-formed on its own; whether its words exist is for `build` to say.

use std::{ops::Range, sync::Arc};

use crate::{
    diagnostic::{Place, Problems, SourceFile, Words},
    retry::RetryPolicy,
    yaml::{
        self, Content, Node,
        fields::{At, Fields, Known, list},
    },
};

/// A route file.
#[derive(Debug)]
pub(super) struct RouteFile {
    pub(super) file: Arc<SourceFile>,
    pub(super) name: At<String>,
    pub(super) title: String,
    pub(super) office: String,
    pub(super) from: At<String>,
    pub(super) purpose: At<String>,
    pub(super) actor: Option<Node>,
    pub(super) when: Option<Node>,
    pub(super) steps: Vec<StepFile>,
    pub(super) retry: RetryPolicy,
}

/// A step as written.
#[derive(Debug)]
pub(super) struct StepFile {
    pub(super) id: At<String>,
    pub(super) verb: VerbFile,
    pub(super) with: Node,
}

/// What a step does, as written.
#[derive(Debug)]
pub(super) enum VerbFile {
    Use(At<String>),
    Emit {
        kind: At<String>,
        each: Option<Node>,
        key: Option<Node>,
        to: Option<Node>,
    },
    /// It was wrong, which was said.
    Refused,
}

const ROUTE: Known = Known {
    what: "a route",
    keys: &["route", "title", "office", "from", "purpose", "actor", "when", "steps", "retry"],
    reserved: &["needs", "order_by", "on_park", "shards", "tests"],
};
const STEP: Known = Known {
    what: "a step",
    keys: &["use", "emit", "with", "each", "key", "to"],
    reserved: &["choose", "when", "if_refused", "needs", "open", "join", "remember", "answer"],
};
const RETRY: Known =
    Known { what: "`retry`", keys: &["first", "longest", "give_up_after"], reserved: &[] };

/// Reads a route file. `None` where too much is missing to go on; why was said.
pub(super) fn read(file: &Arc<SourceFile>, problems: &mut Problems) -> Option<RouteFile> {
    let node = yaml::read(file, problems)?;
    let fields = Fields::of(&node, file, &ROUTE, problems)?;
    let name = fields.required_text("route", problems);
    if let Some(name) = &name {
        named(file, name, problems);
    }
    let title = fields.required_text("title", problems);
    let office = fields.required_text("office", problems);
    let from = fields.required("from", problems).and_then(|from| source(file, from, problems));
    let purpose = fields.required_text("purpose", problems);
    fields.required("actor", problems);
    let retry = fields
        .get("retry")
        .map_or_else(|| Some(RetryPolicy::default()), |node| retry(file, node, problems));
    let steps = fields.required("steps", problems).map(|node| steps(file, node, problems));
    // Where a part is missing the others are still checked, as far as they can be.
    let lost = || At { value: String::new(), span: 0..0 };
    Some(RouteFile {
        file: Arc::clone(file),
        name: name.unwrap_or_else(lost),
        title: title.map(|title| title.value).unwrap_or_default(),
        office: office.map(|office| office.value).unwrap_or_default(),
        from: from.unwrap_or_else(lost),
        purpose: purpose.unwrap_or_else(lost),
        actor: fields.get("actor").cloned(),
        when: fields.get("when").cloned(),
        steps: steps.unwrap_or_default(),
        retry: retry.unwrap_or_default(),
    })
}

fn named(file: &Arc<SourceFile>, name: &At<String>, problems: &mut Problems) {
    if !is_name(&name.value, '-') {
        let help = "write small letters, digits and `-`, first a letter: residence-change";
        let words =
            Words::new(format!("`{}` is no name of a route", name.value), "not a name", help);
        problems.error("SN0112", Place::new(file, name.span.clone()), words);
    }
}

/// Small letters, digits and `joint`, first a letter, at most 64.
pub(crate) fn is_name(text: &str, joint: char) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint;
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(allowed)
}

fn source(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Option<At<String>> {
    if let Content::Map(_) = node.content {
        let help = "write the type that the route takes: `from: <domain>.<name>.v<N>`";
        let words = Words::new("clocks are not in this version", "a map", help);
        problems.error("SN0115", Place::new(file, node.span.clone()), words);
        return None;
    }
    yaml::fields::text(file, node, problems)
}

fn retry(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Option<RetryPolicy> {
    let fields = Fields::of(node, file, &RETRY, problems)?;
    let mut part = |name: &str| {
        fields.required(name, problems)?;
        fields.duration(name, problems)
    };
    let (first, longest, give_up) = (part("first"), part("longest"), part("give_up_after"));
    match RetryPolicy::try_new(first?.value, longest?.value, give_up?.value) {
        Ok(policy) => Some(policy),
        Err(why) => {
            let help = "for example { first: 5s, longest: 15m, give_up_after: 3d }";
            let words = Words::new(why, "these do not fit together", help);
            problems.error("SN0124", Place::new(file, node.span.clone()), words);
            None
        }
    }
}

fn steps(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Vec<StepFile> {
    let items = list(file, node, problems);
    if items.is_empty() && node.content != Content::Refused {
        let words = Words::new("a route has steps", "no step", "write at least one `- id: { … }`");
        problems.error("SN0110", Place::new(file, node.span.clone()), words);
    }
    let mut steps: Vec<StepFile> = Vec::new();
    for item in items {
        let Some(step) = step(file, item, problems) else { continue };
        if let Some(first) = steps.iter().find(|known| known.id.value == step.id.value) {
            twice(file, "steps", &step.id, &Place::new(file, first.id.span.clone()), problems);
        }
        steps.push(step);
    }
    steps
}

/// Says that a name is used a second time.
pub(crate) fn twice(
    file: &Arc<SourceFile>,
    what: &str,
    name: &At<String>,
    first: &Place,
    problems: &mut Problems,
) {
    let (line, _) = first.line_and_column();
    let words = Words::new(
        format!("there are two {what} called `{}`", name.value),
        "the second one",
        format!("give it another name; the first is at {}:{line}", first.file.path),
    );
    problems.error("SN0122", Place::new(file, name.span.clone()), words);
}

fn step(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Option<StepFile> {
    let (key, body) = match &node.content {
        Content::Map(entries) if entries.len() == 1 => entries.first()?,
        Content::Refused => return None,
        _ => {
            let help = "write `- register:` and under it, indented, `use:` or `emit:` and `with:`";
            let words = Words::new("a step is one id with a map under it", "not a step", help);
            problems.error("SN0111", Place::new(file, node.span.clone()), words);
            return None;
        }
    };
    let id = At { value: key.text.clone(), span: key.span.clone() };
    if !is_name(&id.value, '_') {
        let help = "write small letters, digits and `_`, first a letter, so that $steps.<id> is jq";
        let words = Words::new(format!("`{}` is no id of a step", id.value), "not an id", help);
        problems.error("SN0112", Place::new(file, id.span.clone()), words);
    }
    let nothing = Node { span: id.span.clone(), content: Content::Refused };
    let Some(fields) = Fields::of(body, file, &STEP, problems) else {
        return Some(StepFile { id, verb: VerbFile::Refused, with: nothing });
    };
    let verb = verb(file, &fields, &id, problems).unwrap_or(VerbFile::Refused);
    let with = fields.required("with", problems).cloned().unwrap_or(nothing);
    Some(StepFile { id, verb, with })
}

fn verb(
    file: &Arc<SourceFile>,
    fields: &Fields<'_>,
    id: &At<String>,
    problems: &mut Problems,
) -> Option<VerbFile> {
    match (fields.get("use"), fields.get("emit")) {
        (Some(_), Some(_)) => {
            let span = fields.key("emit").map_or_else(|| id.span.clone(), |key| key.span.clone());
            let words = Words::new("a step has one verb", "a second verb", "make two steps of it");
            problems.error("SN0114", Place::new(file, span), words);
            None
        }
        (None, None) => {
            if fields.key("choose").is_none() {
                let help = "add `use: <instance>.<operation>` or `emit: <type>`";
                let title = format!("the step `{}` does nothing", id.value);
                let words = Words::new(title, "neither `use` nor `emit`", help);
                problems.error("SN0113", Place::new(file, id.span.clone()), words);
            }
            None
        }
        (Some(_), None) => {
            for name in ["each", "key", "to"] {
                only_with_emit(file, fields, name, problems);
            }
            fields.text("use", problems).map(VerbFile::Use)
        }
        (None, Some(_)) => {
            let kind = fields.text("emit", problems)?;
            many(file, fields, problems);
            let part = |name: &str| fields.get(name).cloned();
            Some(VerbFile::Emit { kind, each: part("each"), key: part("key"), to: part("to") })
        }
    }
}

fn only_with_emit(
    file: &Arc<SourceFile>,
    fields: &Fields<'_>,
    name: &str,
    problems: &mut Problems,
) {
    if let Some(key) = fields.key(name) {
        let help = "emit one message per item, and let a route that takes one do the effect";
        let words = Words::new(format!("`{name}` belongs to `emit`"), "not with `use`", help);
        problems.error("SN0121", Place::new(file, key.span.clone()), words);
    }
}

fn many(file: &Arc<SourceFile>, fields: &Fields<'_>, problems: &mut Problems) {
    let (span, title, help): (Range<usize>, _, _) = match (fields.key("each"), fields.key("key")) {
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
    let words = Words::new(title, "alone", help);
    problems.error("SN0121", Place::new(file, span), words);
}
