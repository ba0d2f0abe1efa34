//! Whether a `choose` leaves nothing out, and none of its branches is idle.
//!
//! Invariant: without `otherwise` every value of one path is covered, null included where it may be.

use std::ops::Range;

use serde_json::Value;

use super::{Builder, reads::first_place};
use crate::{diagnostic::Words, route::file::BranchFile, template::cover::Cover, yaml::Content};

impl Builder<'_, '_, '_> {
    /// Whether the branches of one `choose` leave nothing out; `covers` has one entry per branch.
    pub(super) fn check_whole(
        &mut self,
        key: Range<usize>,
        branches: &[BranchFile],
        covers: &[Option<Cover>],
    ) {
        if branches.iter().any(|branch| branch.when.is_none()) || self.templates.sees.is_none() {
            return;
        }
        let (label, help) = match self.left_out(covers) {
            LeftOut::Nothing => return,
            LeftOut::Values(values) => {
                let listed = listed(&values);
                let help = format!("add a branch for {listed}, or `- otherwise: [ … ]`");
                (format!("nothing is said for {listed}"), help)
            }
            LeftOut::Unknown => (
                "its conditions may all be false".to_owned(),
                "add `- otherwise: [ … ]`; `otherwise: []` says that nothing is done".to_owned(),
            ),
        };
        let words = Words::new("a `choose` must say what happens otherwise", label, help);
        self.error("SN0140", key, words);
    }

    fn left_out(&self, covers: &[Option<Cover>]) -> LeftOut {
        let Some(covers) = covers.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else {
            return LeftOut::Unknown;
        };
        let Some(first) = covers.first() else { return LeftOut::Unknown };
        if !covers.iter().all(|cover| cover.path.is_same(&first.path)) {
            return LeftOut::Unknown;
        }
        let sees = self.templates.sees.as_ref();
        let Some(mut values) = sees.and_then(|sees| sees.values(&first.path)) else {
            return LeftOut::Unknown;
        };
        let taken = |value: &Value| {
            covers.iter().any(|cover| cover.values.iter().any(|(taken, _)| taken == value))
        };
        values.retain(|value| !taken(value));
        if values.is_empty() { LeftOut::Nothing } else { LeftOut::Values(values) }
    }

    /// A branch for which nothing is left: by the branches before it, or by the types of what it asks.
    pub(super) fn check_idle(
        &mut self,
        branches: &[BranchFile],
        covers: &[Option<Cover>],
        impossible: &[bool],
    ) {
        for (index, branch) in branches.iter().enumerate() {
            let idle = |label, help| Words::new("this branch is never taken", label, help);
            if branches[..index].iter().any(is_always) {
                let help = "delete it, or give the branch before it a condition of its own";
                return self.error(
                    "SN0144",
                    branch.key.clone(),
                    idle("one before it always is", help),
                );
            }
            if let Some(cover) =
                covers[index].as_ref().filter(|cover| is_taken(&covers[..index], cover))
            {
                let words =
                    idle("an earlier branch takes this value", "delete it, or test another value");
                self.error("SN0144", first_place(cover), words);
            } else if impossible[index] {
                let help = "delete it, or correct the condition: by its type no value comes here";
                self.error("SN0144", branch.key.clone(), idle("no value is left for it", help));
            }
        }
    }
}

/// Whether a branch is taken whatever comes.
fn is_always(branch: &BranchFile) -> bool {
    branch.when.as_ref().is_some_and(|when| match &when.content {
        Content::Plain(Value::Bool(always)) => *always,
        Content::Text(text) => text.trim() == "true",
        _ => false,
    })
}

/// Whether branches before it take every value of a cover.
fn is_taken(before: &[Option<Cover>], cover: &Cover) -> bool {
    let same = || before.iter().flatten().filter(|known| known.path.is_same(&cover.path));
    let taken =
        |value: &Value| same().any(|known| known.values.iter().any(|(taken, _)| taken == value));
    cover.values.iter().all(|(value, _)| taken(value))
}

/// Values as people list them: `"a", "b" and null`.
fn listed(values: &[Value]) -> String {
    let (last, others) = match values.split_last() {
        Some((last, others)) => (last.to_string(), others),
        None => return String::new(),
    };
    let others: Vec<String> = others.iter().map(Value::to_string).collect();
    if others.is_empty() { last } else { format!("{} and {last}", others.join(", ")) }
}

/// What no branch takes.
enum LeftOut {
    Nothing,
    Values(Vec<Value>),
    /// The conditions do not say.
    Unknown,
}
