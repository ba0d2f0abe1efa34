//! What a route writes against what its target asks for.
//!
//! Invariant: a misfit is said at the smallest part of the file that makes it.

use std::ops::Range;

use super::Builder;
use crate::{
    diagnostic::Words,
    template::compile::Seen,
    types::{
        Kind, Type,
        fits::{self, Misfit},
        library::Node as Schema,
    },
    yaml::{Content, Node},
};

impl<'h> Builder<'_, 'h, '_> {
    /// Whether what was written fits its target; what does not was said.
    pub(super) fn fit(
        &mut self,
        written: &Node,
        of: (&Type, &[Seen]),
        target: (Option<Schema<'h>>, &str),
    ) -> bool {
        self.fit_where(written, of, target, |_| true)
    }

    /// Whether what was written is of the kinds that its target has, as far as it is there.
    pub(super) fn fit_partly(
        &mut self,
        written: &Node,
        of: (&Type, &[Seen]),
        target: (Option<Schema<'h>>, &str),
    ) -> bool {
        let of_another_kind = |misfit: &Misfit| matches!(misfit.code, "SN0203" | "SN0212");
        self.fit_where(written, of, target, of_another_kind)
    }

    fn fit_where(
        &mut self,
        written: &Node,
        (of, seen): (&Type, &[Seen]),
        target: (Option<Schema<'h>>, &str),
        counts: impl Fn(&Misfit) -> bool,
    ) -> bool {
        let (Some(library), (Some(schema), target)) = (&self.targets.library, target) else {
            return true;
        };
        let mut right = true;
        for misfit in fits::misfits(library, of, schema).into_iter().filter(counts) {
            let span = place(written, &misfit, seen);
            if misfit.is_unknown() {
                self.templates.unknowns.push((span, misfit.title));
                continue;
            }
            right = false;
            let wants = format!("wants {}", misfit.wants);
            // Of a field that the target does not have, what is wanted is the target.
            let around = misfit.path.len().saturating_sub(usize::from(misfit.code == "SN0212"));
            let wants = match misfit.path[..around].join(".").as_str() {
                "" => format!("`{target}` {wants}"),
                field => format!("`{field}` of `{target}` {wants}"),
            };
            let words =
                Words::new(misfit.title, format!("is {}; {wants}", misfit.is), misfit.write);
            self.error(misfit.code, span, words);
        }
        right
    }

    /// Whether a value is of one of some kinds, and never null; `what` is it that must be.
    pub(super) fn is_one_of(
        &mut self,
        written: &Node,
        (of, seen): (&Type, &[Seen]),
        kinds: &[Kind],
        [what, must, write]: [&str; 3],
    ) -> bool {
        let span = expression(written, seen);
        if of.null {
            let label = format!("is {of}");
            let help = "write a default with `// …`, or make the field required in the schema";
            let words = Words::new(format!("{what} is never null"), label, help);
            self.error("SN0202", span, words);
            return false;
        }
        if of.besides(kinds).is_none() {
            return true;
        }
        let words = Words::new(format!("{what} is {must}"), format!("is {of}"), write);
        self.error("SN0203", span, words);
        false
    }
}

/// Where the part of `written` is that does not fit.
fn place(written: &Node, misfit: &Misfit, seen: &[Seen]) -> Range<usize> {
    let mut at = written;
    for (depth, name) in misfit.path.iter().enumerate() {
        let next = match &at.content {
            Content::Map(fields) => {
                let found = fields
                    .iter()
                    .find(|(key, _)| key.text.strip_suffix('?').unwrap_or(&key.text) == name);
                let last = depth + 1 == misfit.path.len();
                match found {
                    Some((key, _)) if last && misfit.code == "SN0212" => return key.span.clone(),
                    found => found.map(|(_, value)| value),
                }
            }
            Content::List(items) => {
                let index = name.parse::<usize>().unwrap_or(0);
                items.get(index)
            }
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    expression(at, seen)
}

/// The expression that a node is, the first key of a map, or the node.
fn expression(node: &Node, seen: &[Seen]) -> Range<usize> {
    match &node.content {
        Content::Map(fields) => {
            fields.first().map_or_else(|| node.span.clone(), |(key, _)| key.span.clone())
        }
        Content::Text(text) if text.trim_start().starts_with("${") => {
            let within =
                |seen: &&Seen| node.span.start <= seen.span.start && seen.span.end <= node.span.end;
            let mut found = seen.iter().filter(within);
            match (found.next(), found.next()) {
                (Some(one), None) => one.span.clone(),
                _ => node.span.clone(),
            }
        }
        _ => node.span.clone(),
    }
}
