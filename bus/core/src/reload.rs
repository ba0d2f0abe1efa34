//! What a reload changes, and what it must not change while deliveries are owed.
//!
//! Invariant: pure. A delivery runs by the version to which it is pinned, whatever is reloaded; what is
//! refused here is only what would leave it without a queue, or its key without an order.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    party::{Parties, Party},
    route::Routes,
};

/// Routes and parties that run, or are to run.
#[derive(Clone, Copy, Debug)]
pub struct House<'a> {
    /// The routes.
    pub routes: &'a Routes,
    /// The parties.
    pub parties: &'a Parties,
}

/// What is another after a reload, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Routes that were not there.
    pub new: Vec<String>,
    /// Routes that have another version: what comes from now on runs by that.
    pub changed: Vec<String>,
    /// Routes that are not there any more.
    pub removed: Vec<String>,
}

/// Why a reload would leave deliveries behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A route is gone.
    RouteGone {
        /// Its name.
        route: String,
        /// Deliveries that it still owes.
        owed: u64,
    },
    /// A party is gone, or has another queue, or no way to receive any more.
    PartyGone {
        /// Its id.
        party: String,
        /// Deliveries that it is still owed.
        owed: u64,
    },
    /// `order_by` or `shards` of a route.
    OrderChanged {
        /// Its name.
        route: String,
        /// Deliveries that it still owes.
        owed: u64,
    },
}

impl Refusal {
    /// `SN0871`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RouteGone { .. } | Self::PartyGone { .. } => "SN0870",
            Self::OrderChanged { .. } => "SN0871",
        }
    }

    /// Who is owed: as the ledger names it.
    pub fn subscriber(&self) -> String {
        match self {
            Self::RouteGone { route, .. } | Self::OrderChanged { route, .. } => route.clone(),
            Self::PartyGone { party, .. } => format!("party:{party}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code();
        match self {
            Self::RouteGone { route, owed } => write!(
                f,
                "{code} route `{route}` cannot go: it still owes {}; put its file back, or reload with \
                 --drain",
                deliveries(*owed)
            ),
            Self::PartyGone { party, owed } => write!(
                f,
                "{code} party `{party}` cannot go: it is still owed {}; put it back with its queue or \
                 inbox, or reload with --drain",
                deliveries(*owed)
            ),
            Self::OrderChanged { route, owed } => write!(
                f,
                "{code} the order of route `{route}` cannot change: it still owes {}, numbered by the \
                 old one; put `order_by` and `shards` back, or reload with --drain",
                deliveries(*owed)
            ),
        }
    }
}

fn deliveries(n: u64) -> String {
    if n == 1 { "1 delivery".to_owned() } else { format!("{n} deliveries") }
}

/// What differs between the routes that run and those that are to run.
pub fn changes(now: &Routes, then: &Routes) -> Changes {
    let mut changes = Changes::default();
    for route in then.iter() {
        match now.get(&route.name) {
            None => changes.new.push(route.name.clone()),
            Some(old) if old.digest != route.digest => changes.changed.push(route.name.clone()),
            Some(_) => {}
        }
    }
    let gone = now.iter().filter(|route| then.get(&route.name).is_none());
    changes.removed = gone.map(|route| route.name.clone()).collect();
    changes
}

/// Why `then` may not take the place of `now`. `owed` holds, by subscriber, the deliveries that are open,
/// parked or uncertain.
pub fn refusals(now: House<'_>, then: House<'_>, owed: &BTreeMap<String, u64>) -> Vec<Refusal> {
    let owed = |name: &str| owed.get(name).copied().filter(|owed| *owed > 0);
    let of_route = |route: &std::sync::Arc<crate::route::Route>| {
        let (name, owed) = (route.name.clone(), owed(&route.name)?);
        match then.routes.get(&route.name) {
            None => Some(Refusal::RouteGone { route: name, owed }),
            Some(new) if !route.has_the_order_of(new) => {
                Some(Refusal::OrderChanged { route: name, owed })
            }
            Some(_) => None,
        }
    };
    let of_party = |party: &std::sync::Arc<Party>| {
        let owed = owed(&format!("party:{}", party.id))?;
        let there = then.parties.get(&party.id).is_some_and(|new| reaches(new, party));
        (!there).then(|| Refusal::PartyGone { party: party.id.clone(), owed })
    };
    let routes = now.routes.iter().filter_map(of_route);
    routes.chain(now.parties.iter().filter_map(of_party)).collect()
}

/// Whether what is owed reaches a party as it will be: from a queue to an inbox and back it follows, since
/// it is in the ledger until the queue has it. Two queues are two places where the party must look.
fn reaches(new: &Party, old: &Party) -> bool {
    match (new.queue(), old.queue()) {
        (Some(new), Some(old)) => new == old,
        _ => new.way.is_some() || old.way.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnostic::SourceFile,
        party::{PartyQueue, Way},
        route::compile,
        schema::Schemas,
    };

    /// Routes `a`, `b`, … of these texts after their fixed part.
    fn routes(texts: &[(&str, &str)]) -> Routes {
        let file = |path: String, text: String| std::sync::Arc::new(SourceFile { path, text });
        let routes = texts.iter().map(|(name, rest)| {
            let text = format!(
                "route: {name}\ntitle: T\noffice: o\nfrom: in.x.v1\npurpose: p\nactor: system\n{rest}\
                 steps:\n  - on:\n      emit: out.x.v1\n      with: {{ k: \"${{ .k }}\" }}\n"
            );
            file(format!("routes/{name}.yaml"), text)
        });
        let schema = serde_json::json!({
            "type": "object", "properties": { "k": { "type": "string" }, "l": { "type": "string" } },
            "required": ["k", "l"], "additionalProperties": false,
        });
        let schemas = ["in.x.v1", "out.x.v1"].map(|kind| (kind.to_owned(), schema.clone()));
        let out = serde_json::json!({
            "type": "object", "properties": { "k": { "type": "string" } }, "x-unclaimed": "discard",
            "additionalProperties": false,
        });
        let mut schemas = BTreeMap::from(schemas);
        schemas.insert("out.x.v1".to_owned(), out);
        let house = crate::route::House {
            routes: routes.collect(),
            purposes: vec![file(
                "routes/purposes/p.yaml".to_owned(),
                "purpose: p\ntitle: P\nlaws: []\nretention: 1d\nrecord: none\n".to_owned(),
            )],
            laws: Vec::new(),
            parties: Vec::new(),
            schemas: std::sync::Arc::new(Schemas::from_documents(schemas).expect("they compile")),
            operations: BTreeMap::new(),
            ..crate::route::House::default()
        };
        let (compiled, mistakes) = compile(&house);
        let said: Vec<_> = mistakes.iter().map(|said| (said.code, &said.title)).collect();
        compiled.unwrap_or_else(|| panic!("{said:?}")).routes
    }

    fn refused(now: &Routes, then: &Routes, owed: &[(&str, u64)]) -> Vec<String> {
        let parties = Parties::default();
        let house = |routes| House { routes, parties: &parties };
        let owed = owed.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        refusals(house(now), house(then), &owed).iter().map(ToString::to_string).collect()
    }

    const PLAIN: &str = "";
    const BY_K: &str = "order_by: ${ .k }\n";
    const BY_L: &str = "order_by: ${ .l }\n";
    const SHARDS: &str = "order_by: ${ .k }\nshards: 8\n";
    const SKIP: &str = "order_by: ${ .k }\non_park: skip\n";

    #[test]
    fn what_is_new_changed_and_gone_is_said_by_name() {
        let now = routes(&[("a", PLAIN), ("b", PLAIN), ("c", PLAIN)]);
        let then = routes(&[("a", PLAIN), ("b", "when: .k == \"x\"\n"), ("d", PLAIN)]);
        let one = |name: &str| vec![name.to_owned()];
        let expected = Changes { new: one("d"), changed: one("b"), removed: one("c") };
        assert_eq!(changes(&now, &then), expected);
        assert_eq!(changes(&now, &now), Changes::default());
    }

    #[test]
    fn only_what_owes_something_cannot_go() {
        let (now, then) = (routes(&[("a", PLAIN), ("b", PLAIN)]), routes(&[("b", PLAIN)]));
        assert_eq!(refused(&now, &then, &[("b", 7)]), Vec::<String>::new());
        insta::assert_snapshot!(refused(&now, &then, &[("a", 1)]).join("\n"), @"SN0870 route `a` cannot go: it still owes 1 delivery; put its file back, or reload with --drain");
    }

    #[test]
    fn what_a_party_is_owed_follows_its_way_but_not_to_another_queue() {
        let party = |way: Option<Way>| Party {
            searches_disclosures: false,
            id: "region".to_owned(),
            title: "R".to_owned(),
            ipa: None,
            token: crate::ids::Digest::of(b"t"),
            sends: Vec::new(),
            receives: Vec::new(),
            way,
            limits: crate::party::Limits::default(),
        };
        let queue = |name: &str| {
            Some(Way::Queue(PartyQueue { vhost: "region".to_owned(), name: name.to_owned() }))
        };
        let inbox = || Some(Way::Inbox);
        for (new, old, follows) in [
            (inbox(), queue("a"), true),
            (queue("a"), inbox(), true),
            (inbox(), inbox(), true),
            (queue("a"), queue("a"), true),
            (queue("b"), queue("a"), false),
            (None, queue("a"), false),
            (None, inbox(), false),
            (inbox(), None, true),
            (None, None, true),
        ] {
            let (new, old) = (party(new), party(old));
            assert_eq!(reaches(&new, &old), follows, "{:?} after {:?}", new.way, old.way);
        }
        let gone = Refusal::PartyGone { party: "region".to_owned(), owed: 3 };
        insta::assert_snapshot!(gone, @"SN0870 party `region` cannot go: it is still owed 3 deliveries; put it back with its queue or inbox, or reload with --drain");
    }

    #[test]
    fn an_order_stays_as_it_is_while_deliveries_are_owed() {
        let now = routes(&[("a", BY_K)]);
        for (then, fits) in
            [(BY_K, true), (SKIP, true), (BY_L, false), (SHARDS, false), (PLAIN, false)]
        {
            let then = routes(&[("a", then)]);
            assert_eq!(refused(&now, &then, &[("a", 2)]).is_empty(), fits);
            assert_eq!(refused(&now, &then, &[]), Vec::<String>::new());
            assert_eq!(refused(&then, &now, &[("a", 2)]).is_empty(), fits);
        }
        let then = routes(&[("a", SHARDS)]);
        insta::assert_snapshot!(refused(&now, &then, &[("a", 2)]).join("\n"), @"SN0871 the order of route `a` cannot change: it still owes 2 deliveries, numbered by the old one; put `order_by` and `shards` back, or reload with --drain");
    }
}
