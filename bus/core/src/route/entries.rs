//! The types that come into a house from outside, and the routes that take them.
//!
//! Invariant: a type that a route or a clock here makes is none, unless a party may send it too.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{NeedFile, RouteFile};
use crate::{
    compliance::{Entry, Need, Taker},
    diagnostic::Place,
    party::PartyFile,
};

/// The entry types, by name. `unread`: some routes could not be read, so it is not known who makes what.
pub(super) fn entries(routes: &[RouteFile], parties: &[PartyFile], unread: bool) -> Vec<Entry> {
    let sent: BTreeSet<&str> =
        parties.iter().flat_map(|party| &party.sends).map(|kind| kind.value.as_str()).collect();
    let made: BTreeSet<&str> = routes.iter().flat_map(made).collect();
    let mut entries: BTreeMap<&str, Vec<Taker>> =
        sent.iter().map(|kind| (*kind, Vec::new())).collect();
    for route in routes {
        let kind = route.from.value.as_str();
        if sent.contains(kind) || !unread && !made.contains(kind) {
            entries.entry(kind).or_default().push(taker(route));
        }
    }
    let entry = |(kind, takers): (&str, Vec<Taker>)| Entry { kind: kind.to_owned(), takers };
    entries.into_iter().map(entry).collect()
}

/// What a route emits, and what its clock gives.
fn made(route: &RouteFile) -> impl Iterator<Item = &str> {
    let emitted = route.emits().map(|(_, kind)| kind.value.as_str());
    let ticked = route.schedule.as_ref().map(|_| route.from.value.as_str());
    emitted.chain(ticked)
}

fn taker(route: &RouteFile) -> Taker {
    let text = &route.file.text;
    let asked = route.needs.iter().flat_map(|need| [Some(&need.about.1), need.with.as_ref()]);
    let written = asked.flatten().filter_map(|node| text.get(node.span.clone()));
    Taker {
        route: route.name.value.clone(),
        title: route.title.clone(),
        office: route.office.clone(),
        needs: route.needs.iter().map(|written| need(route, written)).collect(),
        questions: written.collect::<Vec<_>>().join("\n"),
    }
}

fn need(route: &RouteFile, written: &NeedFile) -> Need {
    let declared =
        written.declared.as_ref().and_then(|node| route.file.text.get(node.span.clone()));
    Need {
        fact: written.fact.value.clone(),
        place: Place::new(&route.file, written.name.span.clone()),
        declared: declared.unwrap_or_default().to_owned(),
        stands_in: written.is_stood_in(),
    }
}
