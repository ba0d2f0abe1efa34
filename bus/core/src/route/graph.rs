//! The house as a picture: who sends which type, which route takes it, what comes of it, who gets that.
//!
//! Invariant: the same house makes the same text; only names of files are in it, never a message.

use std::{
    collections::BTreeSet,
    fmt::{self, Display, Formatter, Write as _},
};

use super::{Routes, Verb};
use crate::party::Parties;

mod svg;

pub use svg::svg;

/// What a picture shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Party(String),
    Kind(String),
    Route(String),
    Target(String),
}

/// One line of the picture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: Thing,
    to: Thing,
    /// What stands on it; "" for nothing.
    says: String,
    /// Drawn as a call, not as the way of a message.
    call: bool,
}

/// The routes and parties of a house as a flowchart of [Mermaid](https://mermaid.js.org).
pub fn mermaid(routes: &Routes, parties: &Parties) -> String {
    let edges = edges(routes, parties);
    let things: BTreeSet<&Thing> = edges.iter().flat_map(|edge| [&edge.from, &edge.to]).collect();
    let mut text = String::from("flowchart LR\n");
    for thing in things {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {}{thing}", thing.id());
    }
    for Edge { from, to, says, call } in &edges {
        let line = if *call { "-.->" } else { "-->" };
        let says = if says.is_empty() { String::new() } else { format!("|\"{says}\"|") };
        let _ = writeln!(text, "    {} {line}{says} {}", from.id(), to.id());
    }
    text
}

fn edges(routes: &Routes, parties: &Parties) -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    let mut draw = |from: Thing, to: Thing, says: &str, call| {
        edges.insert(Edge { from, to, says: says.to_owned(), call });
    };
    for party in parties.iter() {
        for kind in &party.sends {
            draw(Thing::Party(party.id.clone()), Thing::Kind(kind.clone()), "", false);
        }
        for receives in &party.receives {
            let says = if receives.all { "" } else { "addressed" };
            let kind = Thing::Kind(receives.kind.clone());
            draw(kind, Thing::Party(party.id.clone()), says, false);
        }
    }
    for route in routes.iter() {
        let own = Thing::Route(route.name.clone());
        let says = if route.schedule.is_some() { "clock" } else { "" };
        draw(Thing::Kind(route.from.clone()), own.clone(), says, false);
        for step in route.each_step() {
            match &step.verb {
                Verb::Use(call) => {
                    let target = Thing::Target(call.instance.clone());
                    draw(own.clone(), target, &call.operation.name, true);
                }
                Verb::Emit(emit) => draw(own.clone(), Thing::Kind(emit.kind.clone()), "", false),
                Verb::Ask(ask) => {
                    let target = Thing::Target(ask.fact.held_by.clone());
                    draw(own.clone(), target, &ask.fact.operation.name, true);
                }
                Verb::Choose(_) => {}
            }
        }
    }
    edges
}

impl Thing {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Party(name) => ("party", name),
            Self::Kind(name) => ("type", name),
            Self::Route(name) => ("route", name),
            Self::Target(name) => ("target", name),
        }
    }

    /// A name that Mermaid takes: letters, digits and `_`.
    fn id(&self) -> String {
        let (what, name) = self.parts();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        format!("{what}_{}", name.chars().map(plain).collect::<String>())
    }
}

impl Display for Thing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (_, name) = self.parts();
        match self {
            Self::Party(_) => write!(f, "{{{{\"{name}\"}}}}"),
            Self::Kind(_) => write!(f, "([\"{name}\"])"),
            Self::Route(_) => write!(f, "[\"{name}\"]"),
            Self::Target(_) => write!(f, "[(\"{name}\")]"),
        }
    }
}
