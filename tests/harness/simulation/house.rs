//! The routes of the simulated worlds, in two versions. Invariant: every kind of effect, every way of
//! ending and a chain of fast routes are among them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use snodo::ledger::RouteVersion;
use snodo_core::{
    adapter::Adapter as _,
    diagnostic::SourceFile,
    route::{self, Route, Routes, Verb, compile},
    schema::Schemas,
};

use super::far::{Far, FarSide};

const KINDS: [&str; 6] =
    ["sim.begin.v1", "sim.middle.v1", "sim.post.v1", "sim.ask.v1", "sim.line.v1", "sim.end.v1"];

/// What worlds send: the last of the kinds is only emitted.
const SENT: [&str; 5] =
    ["sim.begin.v1", "sim.middle.v1", "sim.post.v1", "sim.ask.v1", "sim.line.v1"];

const RETRY: &str = "retry: { first: 1s, longest: 10s, give_up_after: 40s }";

/// Routes in their first version: (name, from, the rest).
const FIRST: [(&str, &str, &str); 8] = [
    (
        "chain",
        "sim.begin.v1",
        "steps:\n  - on:\n      emit: sim.middle.v1\n      with: { n: \"${ .n }\", k: \"${ .k }\" }\n",
    ),
    (
        "picky",
        "sim.begin.v1",
        "when: .n < 5\nsteps:\n  - on:\n      emit: sim.line.v1\n      with: { n: \"${ .n }\", k: \"${ .k }\" }\n",
    ),
    (
        "put",
        "sim.middle.v1",
        "steps:\n  - put:\n      use: far.put\n      with: { n: \"${ .n }\" }\n",
    ),
    (
        "post",
        "sim.post.v1",
        "steps:\n  - post:\n      use: far.post\n      with: { n: \"${ .n }\" }\n  - on:\n      emit: sim.end.v1\n      with: { n: \"${ .n }\", k: \"${ .k }\" }\n",
    ),
    (
        "number",
        "sim.post.v1",
        "steps:\n  - number:\n      use: far.number\n      with: { n: \"${ .n }\" }\n  - put:\n      use: far.put\n      with: { n: \"${ .n }\" }\n",
    ),
    (
        "line",
        "sim.line.v1",
        "order_by: ${ .k }\nshards: 2\nsteps:\n  - put:\n      use: far.put\n      with: { n: \"${ .n }\" }\n",
    ),
    (
        "past",
        "sim.line.v1",
        "order_by: ${ .k }\non_park: skip\nshards: 1\nsteps:\n  - put:\n      use: far.put\n      with: { n: \"${ .n }\" }\n",
    ),
    (
        "ask",
        "sim.ask.v1",
        "steps:\n  - ask:\n      use: far.ask\n      with: { n: \"${ .n }\" }\n      if_refused: continue\n  - number:\n      use: far.number\n      with: { n: \"${ .n }\" }\n  - either:\n      choose:\n        - when: $steps.ask.refused == null\n          then:\n            - put:\n                use: far.put\n                with: { n: \"${ .n }\" }\n        - otherwise:\n            - on:\n                emit: sim.end.v1\n                with: { n: \"${ .n }\", k: \"${ .k }\" }\n",
    ),
];

/// What the second version has instead: other titles everywhere, and steps put before, between, other.
const SECOND: [(&str, &str); 3] = [
    (
        "chain",
        "steps:\n  - on:\n      emit: sim.middle.v1\n      with: { n: \"${ .n }\", k: \"${ .k }\" }\n  - also:\n      emit: sim.end.v1\n      with: { n: \"${ .n }\", k: \"${ .k }\" }\n",
    ),
    (
        "number",
        "steps:\n  - before:\n      use: far.put\n      with: { n: \"${ .n }\" }\n  - number:\n      use: far.number\n      with: { n: \"${ .n }\" }\n  - put:\n      use: far.put\n      with: { n: \"${ .n }\" }\n",
    ),
    (
        "ask",
        "steps:\n  - ask:\n      use: far.put\n      with: { n: \"${ .n }\" }\n  - number:\n      use: far.number\n      with: { n: \"${ .n }\" }\n  - put:\n      use: far.put\n      with: { n: \"${ .n }\" }\n",
    ),
];

/// Two versions of everything, compiled.
#[derive(Debug)]
pub struct House {
    first: Arc<Routes>,
    second: Arc<Routes>,
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

impl House {
    /// Compiles both versions.
    pub fn new() -> Self {
        let first = compiled(|name, from, rest| text(name, from, "first", rest));
        let mut second = compiled(|name, from, rest| {
            let other = SECOND.iter().find(|(other, _)| *other == name).map(|(_, rest)| *rest);
            text(name, from, "second", other.unwrap_or(rest))
        });
        first.iter().for_each(|route| second.add_old_version(Arc::clone(route)));
        Self { first: Arc::new(first), second: Arc::new(second) }
    }

    /// The routes that run.
    pub fn routes(&self, reloaded: bool) -> Arc<Routes> {
        Arc::clone(if reloaded { &self.second } else { &self.first })
    }

    /// Every version, to be written before the first row is pinned to it.
    pub fn versions(&self) -> Vec<RouteVersion> {
        let all = self.first.iter().chain(self.second.iter());
        all.map(|route| RouteVersion {
            digest: route.digest,
            route: route.name.clone(),
            bundle: Arc::clone(&route.bundle),
        })
        .collect()
    }

    /// The types that senders send.
    pub fn kinds(&self) -> &'static [&'static str] {
        &SENT
    }

    /// A body, its key one of two; 13 is one that no route can read.
    pub fn body(&self, n: u64) -> Vec<u8> {
        if n == 13 {
            return b"{ broken".to_vec();
        }
        json!({ "n": n, "k": n % 2 }).to_string().into_bytes()
    }

    /// `instance.operation` of a step that calls.
    pub fn operation(&self, route: &Route, step: &str) -> Option<String> {
        match &route.step(step)?.verb {
            Verb::Use(used) => Some(used.target()),
            Verb::Emit(_) | Verb::Choose(_) | Verb::Ask(_) => None,
        }
    }

    /// Whether a route has this step with this operation.
    pub fn has(&self, route: &Route, step: &str, operation: &str) -> bool {
        route.step(step).is_some_and(|step| step.does(operation))
    }
}

fn text(name: &str, from: &str, version: &str, rest: &str) -> String {
    format!(
        "route: {name}\ntitle: The {version} {name}\noffice: sim\nfrom: {from}\npurpose: sim\nactor: system\n{RETRY}\n{rest}"
    )
}

fn compiled(text: impl Fn(&str, &str, &str) -> String) -> Routes {
    let file = |path: &str, text: String| Arc::new(SourceFile { path: path.to_owned(), text });
    let routes = FIRST
        .iter()
        .map(|(name, from, rest)| file(&format!("routes/{name}.yaml"), text(name, from, rest)));
    let schema = || {
        json!({
            "type": "object",
            "properties": { "n": { "type": "integer" }, "k": { "type": "integer" } },
            "required": ["n", "k"],
            "additionalProperties": false,
        })
    };
    let schemas: BTreeMap<String, Value> =
        KINDS.iter().map(|kind| ((*kind).to_owned(), schema())).collect();
    let far = Far { owner: 0, side: FarSide::default() };
    let house = route::House {
        routes: routes.collect(),
        purposes: vec![file("routes/purposes/sim.yaml", PURPOSE.to_owned())],
        laws: vec![file("routes/laws.yaml", "sim-law: { title: A law }\n".to_owned())],
        parties: vec![file("config/parties/p.yaml", PARTY.to_owned())],
        schemas: Arc::new(Schemas::from_documents(schemas).expect("the schemas compile")),
        operations: BTreeMap::from([("far".to_owned(), far.operations())]),
        ..route::House::default()
    };
    let (compiled, mistakes) = compile(&house);
    let said = mistakes.iter().map(|mistake| format!("{}: {}", mistake.code, mistake.title));
    let said: Vec<String> = said.collect();
    compiled.unwrap_or_else(|| panic!("the house has mistakes: {said:#?}")).routes
}

const PURPOSE: &str =
    "purpose: sim\ntitle: Simulated\nlaws: [sim-law]\nretention: 1d\nrecord: none\n";

const PARTY: &str = "party: p\ntitle: A party\ntoken: { sha256: \"0000000000000000000000000000000000000000000000000000000000000000\" }\nsends: [sim.begin.v1, sim.middle.v1, sim.post.v1, sim.ask.v1, sim.line.v1]\nreceives: [{ type: sim.end.v1, all: true, law: sim-law }]\nqueue: { vhost: p, name: inbox }\n";
