//! A route as it is written: every part with its place, nothing looked up yet.
//!
//! Invariant: what is here is well-formed on its own; whether its words exist is for `build` to say.

use std::{borrow::Cow, ops::Range, sync::Arc};

use crate::{
    diagnostic::{Place, Problems, SourceFile, Words},
    retry::RetryPolicy,
    schedule::Schedule,
    yaml::{
        self, Node,
        fields::{At, Fields, Known},
    },
};

mod needs;
mod order;
mod source;
mod steps;

pub(super) use needs::NeedFile;
#[cfg(test)]
pub(super) use needs::{NEED, UNAVAILABLE};
pub(super) use order::OrderFile;
#[cfg(test)]
pub(super) use source::CLOCK;
#[cfg(test)]
pub(super) use steps::{BRANCH, STEP};
pub(super) use steps::{BranchFile, StepFile, VerbFile, each_step};

/// A route file.
#[derive(Debug)]
pub(super) struct RouteFile {
    pub(super) file: Arc<SourceFile>,
    pub(super) name: At<String>,
    pub(super) title: String,
    pub(super) office: String,
    /// The type it takes; of a clock, the type that the clock gives.
    pub(super) from: At<String>,
    pub(super) schedule: Option<Schedule>,
    pub(super) order: Option<OrderFile>,
    pub(super) purpose: At<String>,
    pub(super) actor: Option<Node>,
    pub(super) when: Option<Node>,
    pub(super) needs: Vec<NeedFile>,
    pub(super) steps: Vec<StepFile>,
    pub(super) retry: RetryPolicy,
    /// Its tests: the word, and what stands behind it.
    pub(super) tests: Option<(Range<usize>, Node)>,
}

impl RouteFile {
    /// Each step that emits, with the type.
    pub(super) fn emits(&self) -> impl Iterator<Item = (&StepFile, &At<String>)> {
        each_step(&self.steps).filter_map(|step| match &step.verb {
            VerbFile::Emit { kind, .. } => Some((step, kind)),
            VerbFile::Use { .. } | VerbFile::Choose { .. } | VerbFile::Refused => None,
        })
    }

    /// The text without its tests: they do not decide how a version runs.
    pub(super) fn text(&self) -> Cow<'_, str> {
        let text = &self.file.text;
        match &self.tests {
            Some((key, node)) => {
                let without = format!("{}{}", &text[..key.start], &text[node.span.end..]);
                format!("{}\n", without.trim_end()).into()
            }
            None => text.into(),
        }
    }
}

pub(super) const ROUTE: Known = Known {
    what: "a route",
    keys: &[
        "route", "title", "office", "from", "purpose", "actor", "when", "needs", "order_by",
        "on_park", "shards", "steps", "retry", "tests",
    ],
    reserved: &[],
};
pub(super) const RETRY: Known =
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
    let (from, schedule) = match fields.required("from", problems) {
        Some(from) => source::read(file, from, problems),
        None => (None, None),
    };
    let order = order::read(file, &fields, problems);
    let purpose = fields.required_text("purpose", problems);
    fields.required("actor", problems);
    let retry = fields
        .get("retry")
        .map_or_else(|| Some(RetryPolicy::default()), |node| retry(file, node, problems));
    let needs = fields.get("needs").map(|node| needs::read(file, node, problems));
    let steps = fields.required("steps", problems).map(|node| steps::read(file, node, problems));
    // Where a part is missing the others are still checked, as far as they can be.
    let lost = || At { value: String::new(), span: 0..0 };
    Some(RouteFile {
        file: Arc::clone(file),
        name: name.unwrap_or_else(lost),
        title: title.map(|title| title.value).unwrap_or_default(),
        office: office.map(|office| office.value).unwrap_or_default(),
        from: from.unwrap_or_else(lost),
        schedule,
        order,
        purpose: purpose.unwrap_or_else(lost),
        actor: fields.get("actor").cloned(),
        when: fields.get("when").cloned(),
        needs: needs.unwrap_or_default(),
        steps: steps.unwrap_or_default(),
        retry: retry.unwrap_or_default(),
        tests: fields.key("tests").map(|key| key.span.clone()).zip(fields.get("tests").cloned()),
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
