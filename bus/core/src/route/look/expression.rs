//! What stands in an expression, and what may be written into it.
//!
//! Invariant: what is offered behind a dot are the fields that inference finds there. An expression that is
//! half written is read with a name in the place of the cursor and its brackets closed; where that is no jq
//! either, nothing is offered.

use std::{collections::BTreeSet, ops::Range};

use super::{Offer, OfferKind, RouteLook, Told, told, trail};
use crate::{
    diagnostic::Place,
    template::{
        self,
        compile::{Peeked, closers},
    },
    types::{
        Type,
        infer::{Inference, Met},
    },
};

/// A name that no schema has: it stands where the cursor is.
const HERE: &str = "snodo_here";
/// What may be missing behind a half-written expression beside its brackets.
const ENDS: [&str; 4] = ["", " then . else . end", " else . end", " end"];
/// No more of an expression is repeated.
const LONGEST: usize = 60;

/// The bytes of the expression's text that mean the place `at` of the file.
fn within(peeked: &Peeked, at: usize) -> usize {
    peeked.offsets.partition_point(|offset| *offset < at).min(peeked.text.len())
}

fn in_file(peeked: &Peeked, span: &Range<usize>) -> Range<usize> {
    let start = peeked.offsets[span.start];
    let last = span.end.checked_sub(1).filter(|last| *last >= span.start);
    start..last.map_or(start, |last| peeked.offsets[last] + 1)
}

impl RouteLook<'_> {
    /// What is told of the smallest part of an expression that is at a place.
    pub(super) fn of_expression(&self, peeked: &Peeked, at: usize) -> Option<Told> {
        let cursor = within(peeked, at);
        let term = template::parse(&peeked.text)?;
        let met = Inference::met(&peeked.text, &term, &peeked.sees);
        let part = smallest(&met, cursor)?;
        let text = &peeked.text[part.span.clone()];
        let mut told = format!("`{}`: {}", short(text), part.of);
        if part.holder.is_some()
            && let Some(way) = trail::to(&peeked.text, &term, cursor)
            && let Some(more) = self.of_way(&way)
        {
            told.push_str("\n\n");
            told.push_str(&more);
        }
        told.push_str(&told::fields(&part.of));
        Some(Told { span: in_file(peeked, &part.span), text: told })
    }

    /// Where the field, the step or the need is written that an expression names at a place.
    pub(super) fn where_written(&self, peeked: &Peeked, at: usize) -> Option<Place> {
        let term = template::parse(&peeked.text)?;
        self.place_of(&trail::to(&peeked.text, &term, within(peeked, at))?)
    }
}

/// The smallest part around the cursor; a name rather than the whole that is as long.
fn smallest(met: &[Met], cursor: usize) -> Option<Met> {
    let size = |met: &Met| (met.span.len(), met.holder.is_none());
    let around = |met: &&Met| met.span.start <= cursor && cursor <= met.span.end;
    let best = met.iter().filter(around).min_by_key(|met| size(met))?;
    let same = met.iter().filter(|other| other.span == best.span && size(other) == size(best));
    // What is gone through more than once may be another thing each time.
    let of = same.fold(Type::never(), |all, one| all.join(&one.of));
    Some(Met { of, ..best.clone() })
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST).chain(['…']).collect()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What may be written at a place of an expression.
pub(super) fn offers(peeked: &Peeked, at: usize) -> Vec<Offer> {
    let (text, cursor) = (peeked.text.as_str(), within(peeked, at));
    let bytes = text.as_bytes();
    let start = cursor - bytes[..cursor].iter().rev().take_while(|byte| is_word(**byte)).count();
    let end = cursor + bytes[cursor..].iter().take_while(|byte| is_word(**byte)).count();
    let (before, after) = (&text[..start], &text[end..]);
    if closers(before).starts_with('"') {
        return Vec::new();
    }
    let offer = |kind, label: String, detail: String, text: String, from: usize| Offer {
        label,
        detail,
        kind,
        span: in_file(peeked, &(from..end)),
        text,
    };
    match before.as_bytes().last() {
        Some(b'$') => variables(peeked)
            .map(|(name, of)| offer(OfferKind::Variable, name.clone(), of.clone(), name, start - 1))
            .collect(),
        Some(b'.') => fields(peeked, before, after)
            .into_iter()
            .map(|(name, of)| offer(OfferKind::Field, name.clone(), of, name, start))
            .collect(),
        _ => {
            let fields =
                fields(peeked, &format!("{before}."), after).into_iter().map(|(name, of)| {
                    offer(OfferKind::Field, format!(".{name}"), of, format!(".{name}"), start)
                });
            let variables = variables(peeked)
                .map(|(name, of)| offer(OfferKind::Variable, name.clone(), of, name, start));
            let functions = template::allowed().iter().map(|(name, counts)| {
                let takes = if counts.contains(&0) { "jq" } else { "jq, with arguments" };
                offer(
                    OfferKind::Function,
                    (*name).to_owned(),
                    takes.to_owned(),
                    (*name).to_owned(),
                    start,
                )
            });
            fields.chain(variables).chain(functions).collect()
        }
    }
}

fn variables(peeked: &Peeked) -> impl Iterator<Item = (String, String)> {
    let known: BTreeSet<&String> = peeked.sees.variables.iter().map(|(name, _)| name).collect();
    known.into_iter().map(|name| {
        let of = peeked.sees.variables.iter().rev().find(|(known, _)| known == name);
        (name.clone(), of.map(|(_, of)| of.to_string()).unwrap_or_default())
    })
}

/// The fields of what stands before the dot with which `before` ends, with their types.
fn fields(peeked: &Peeked, before: &str, after: &str) -> Vec<(String, String)> {
    let whole = format!("{before}{HERE}{after}");
    let cut = format!("{before}{HERE}");
    let closed = ENDS.iter().map(|end| format!("{cut}{end}{}", closers(&cut)));
    let candidates: Vec<String> = std::iter::once(whole).chain(closed).collect();
    let Some((source, term)) =
        candidates.iter().find_map(|source| Some((source.as_str(), template::parse(source)?)))
    else {
        return Vec::new();
    };
    let met = Inference::met(source, &term, &peeked.sees);
    let here = met.into_iter().filter(|met| source[met.span.clone()] == *HERE);
    let holder = here.filter_map(|met| met.holder).fold(Type::never(), |all, one| all.join(&one));
    // Only what can be written as it is: `."a-b"` is not.
    let plain = |(name, _): &(String, Type)| {
        name.bytes().all(is_word) && !name.starts_with(|first: char| first.is_ascii_digit())
    };
    told::fields_of(&holder)
        .into_iter()
        .filter(plain)
        .map(|(name, of)| (name, of.to_string()))
        .collect()
}
