//! What expressions read of steps: those that have run.
//!
//! Invariant: a step that is read was written before, on the way to where it is read.

use std::{ops::Range, sync::Arc};

use super::Builder;
use crate::{
    diagnostic::{Words, help_with_nearest},
    route::{IfRefused, file::VerbFile, refusal},
    template::{
        Condition,
        compile::{Read, Seen, Ways},
        cover::Cover,
        uses::FACTS,
    },
    types::{Object, Type},
    yaml::Node,
};

/// The steps so far.
#[derive(Debug, Default)]
pub(super) struct Results<'b>(Vec<Done<'b>>);

#[derive(Debug)]
pub(super) struct Done<'b> {
    pub(super) id: &'b str,
    /// What it gives.
    pub(super) of: Type,
    ran: Ran,
}

/// Whether a step has run where an expression reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ran {
    Here,
    /// In a branch beside this one.
    Elsewhere,
}

impl<'b> Results<'b> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn done(&mut self, id: &'b str, of: Type) {
        self.0.push(Done { id, of, ran: Ran::Here });
    }

    /// The steps from `mark` on were in a branch; what follows is in another one.
    pub(super) fn leave_branch(&mut self, mark: usize) {
        self.0[mark..].iter_mut().for_each(|done| done.ran = Ran::Elsewhere);
    }

    /// The steps from `mark` on were in branches; what follows comes after all of them.
    pub(super) fn leave_choose(&mut self, mark: usize) -> &[Done<'b>] {
        self.0[mark..].iter_mut().for_each(|done| done.ran = Ran::Here);
        &self.0[mark..]
    }

    fn get(&self, id: &str) -> Option<&Done<'b>> {
        self.0.iter().find(|done| done.id == id)
    }

    fn readable(&self) -> impl Iterator<Item = &'b str> {
        self.0.iter().filter(|done| done.ran != Ran::Elsewhere).map(|done| done.id)
    }
}

impl Builder<'_, '_, '_> {
    /// A bare jq condition, the values for which it holds where it says so, and what it tells.
    pub(super) fn condition(
        &mut self,
        node: &Node,
        at: &str,
    ) -> (Option<Condition>, Option<Cover>, Ways) {
        let (condition, ways) = self.templates.condition(node, at);
        let seen = self.templates.seen();
        self.check_reads(&seen);
        let cover = seen.into_iter().next().and_then(|seen| seen.cover);
        (condition, cover, ways)
    }

    /// Whether every step that is read has run, and may have been refused where its refusal is read.
    pub(super) fn check_reads(&mut self, seen: &[Seen]) {
        for read in seen.iter().flat_map(|seen| &seen.reads) {
            match (read.variable.as_deref(), read.names.first()) {
                (Some("$steps"), _) if self.step_is_done(read) => self.check_refusal(read),
                (Some(FACTS), Some((name, span))) => self.fact_is_needed(name, span.clone()),
                _ => {}
            }
        }
    }

    fn check_refusal(&mut self, read: &Read) {
        let Some((id, span)) = self.refusable(read) else { return };
        let help = format!("give the step `{id}` `if_refused: continue`: then its refusal is data");
        let title = format!("there is no field `{}`", refusal::REFUSED);
        self.error("SN0201", span, Words::new(title, "a refusal parks the message", help));
    }

    /// The step whose refusal a path wants to read although the route does not go on after it.
    fn refusable(&self, read: &Read) -> Option<(String, Range<usize>)> {
        let [(id, _), (field, span), ..] = read.names.as_slice() else { return None };
        let parks =
            |verb: &VerbFile| matches!(verb, VerbFile::Use { if_refused: IfRefused::Park, .. });
        let step = self.written_steps().find(|step| step.id.value == *id)?;
        let own = self.results.get(id).is_some_and(|done| {
            let declares = |object: &Arc<Object>| {
                let field = object.fields.get(refusal::REFUSED);
                field.is_some_and(|field| !field.value.is_never())
            };
            done.of.is_unknown() || done.of.objects.iter().any(declares)
        });
        let asked = field == refusal::REFUSED && parks(&step.verb) && !own;
        asked.then(|| (id.clone(), span.clone()))
    }

    fn step_is_done(&mut self, read: &Read) -> bool {
        let Some((id, span)) = read.names.first() else { return true };
        let ran = self.results.get(id).map(|done| done.ran);
        let (title, label) = match ran {
            Some(Ran::Here) => return true,
            Some(Ran::Elsewhere) => {
                (format!("the step `{id}` runs in another branch"), "never done here")
            }
            None if self.written_steps().any(|step| step.id.value == *id) => {
                (format!("the step `{id}` has not run yet"), "runs here or later")
            }
            None => (format!("there is no step `{id}`"), "no such step"),
        };
        let nearest = help_with_nearest(id, self.results.readable(), "steps that run before");
        let help = match (label, self.results.readable().next()) {
            ("runs here or later", None) => format!("move `{id}` above the step that reads it"),
            ("runs here or later", Some(_)) => format!("{nearest}; or move `{id}` above this one"),
            _ => nearest,
        };
        self.error("SN0123", span.clone(), Words::new(title, label, help));
        false
    }
}

/// The place of the first value of a cover, for marks.
pub(super) fn first_place(cover: &Cover) -> Range<usize> {
    cover.values.first().map_or_else(|| cover.path.span(), |(_, span)| span.clone())
}
