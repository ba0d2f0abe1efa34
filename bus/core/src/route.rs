//! Routes as they run: immutable, checked, without spans. Built only by `compile`.
//!
//! Invariant: what is here passed `check`; nothing in it can be "not decided yet".

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    adapter::Operation,
    admission::readmit,
    document::DocumentKey,
    envelope::Envelope,
    fault::Fault,
    ids::Digest,
    retry::RetryPolicy,
    schedule::Schedule,
    schema::Validator,
    template::{Condition, Scope, Template},
    verdict::EffectKind,
};

mod ask;
mod build;
mod bundle;
mod check;
mod describe;
mod entries;
mod graph;
pub(crate) mod file;
pub mod language;
pub mod look;
mod order;
mod refusal;
pub mod suite;
mod walk;

pub use ask::{
    ASKS, Answer, Ask, DECLARES, Declared, IfMissing, IfUnavailable, Priority, Question, StandIn,
};
pub use bundle::{BundleError, compile_bundle};
pub use check::{Compiled, Concealed, House, Purpose, compile, laws};
pub use graph::{mermaid, svg};
pub use order::{OnPark, Order, Place};

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its name, also the label of metrics and the name of its queue.
    pub name: String,
    /// For people.
    pub title: String,
    /// The office that owns it.
    pub office: String,
    /// The type it takes.
    pub from: String,
    /// Checks the body of what it takes.
    pub(crate) schema: Validator,
    /// The purpose under which it runs.
    pub purpose: String,
    /// Who acts: `system`, or a template over the message.
    pub actor: Option<Template>,
    /// The only origin of `filtered`.
    pub when: Option<Condition>,
    /// When its own clock gives it a message.
    pub schedule: Option<Schedule>,
    /// Which deliveries keep the order in which they were accepted.
    pub order: Option<Order>,
    /// In the order in which they run.
    pub steps: Vec<Step>,
    /// How it tries again.
    pub retry: RetryPolicy,
    /// The digest of `bundle`: what deliveries are pinned to.
    pub digest: Digest,
    /// Everything that decides how this version runs (the route's text, the schemas and operations it
    /// refers to), as canonical JSON. `compile_bundle` makes the same route of it.
    pub bundle: Arc<str>,
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// Its id: what `$steps.<id>` reads and what `step_done` is keyed by.
    pub id: String,
    /// What it does.
    pub verb: Verb,
}

/// What a step does.
#[derive(Debug)]
pub enum Verb {
    /// Calls an operation of an adapter instance.
    Use(Use),
    /// Emits a message, or one per item.
    Emit(Emit),
    /// Takes one of several ways.
    Choose(Choose),
    /// Asks for a fact.
    Ask(Ask),
}

/// `choose`: the way of the first branch whose condition holds.
///
/// Which one was taken is itself a done step, written before the first step of the branch begins: a
/// retry, a restart or another version of jaq never takes a second way (bus/adr/0013).
#[derive(Debug)]
pub struct Choose {
    /// In the order in which they are asked; at most the last one has no condition.
    pub branches: Vec<Branch>,
}

/// One way of a `choose`.
#[derive(Debug)]
pub struct Branch {
    /// What traces, the ledger and `$steps.<id>.branch` call it: the id of its first step, which is
    /// unique in the route; [`NOTHING`](Branch::NOTHING) where it has none.
    pub name: String,
    /// When it is taken; none for `otherwise`.
    pub when: Option<Condition>,
    /// In the order in which they run.
    pub steps: Vec<Step>,
}

/// `use: instance.operation`.
#[derive(Debug)]
pub struct Use {
    /// The adapter instance.
    pub instance: String,
    /// The operation as it was when the route was compiled.
    pub operation: Operation,
    /// Its input.
    pub with: Template,
    /// What becomes of the delivery when the target says no.
    pub if_refused: IfRefused,
    /// Checks the input.
    pub(crate) schema: Validator,
}

/// `if_refused`: what a target's no means for the delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfRefused {
    /// It waits for a person.
    #[default]
    Park,
    /// It goes on, and the no is the step's result: `{ refused: { code, reason } }`.
    Continue,
}

impl Use {
    /// `instance.operation`, as the route writes it and `step_done.operation` stores it.
    pub fn target(&self) -> String {
        format!("{}.{}", self.instance, self.operation.name)
    }

    /// How the effect may be repeated.
    pub fn effect(&self) -> EffectKind {
        self.operation.effect
    }

    /// What it calls.
    pub fn callee(&self) -> Callee<'_> {
        Callee { instance: &self.instance, operation: &self.operation }
    }
}

/// An operation of an adapter instance, as a step or a fact calls it.
#[derive(Clone, Copy, Debug)]
pub struct Callee<'r> {
    /// The adapter instance.
    pub instance: &'r str,
    /// The operation as it was when the route was compiled.
    pub operation: &'r Operation,
}

impl Callee<'_> {
    /// `instance.operation`.
    pub fn target(&self) -> String {
        format!("{}.{}", self.instance, self.operation.name)
    }
}

/// `emit: type`.
#[derive(Debug)]
pub struct Emit {
    /// The type of what is emitted.
    pub kind: String,
    /// The body; `$item` is the item where there is an `each`.
    pub with: Template,
    /// The list over which one message per item is emitted.
    pub each: Option<Template>,
    /// Tells the items apart; its text goes into the derived id.
    pub key: Option<Template>,
    /// The parties to whom it is addressed: a party id or a list of them.
    pub to: Option<Template>,
    /// Checks the body.
    pub(crate) schema: Validator,
}

/// One message that a step emits, not yet with an id.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// Tells the items of `each` apart; "" without.
    pub key: String,
    /// The type.
    pub kind: String,
    /// The body, valid against the type's schema.
    pub data: Value,
    /// The parties to whom it is addressed.
    pub to: Vec<String>,
    /// The documents that it cites.
    pub documents: Vec<DocumentKey>,
}

/// Who takes messages of a type.
#[derive(Clone, Debug)]
pub enum Taker {
    /// A route whose `from` is the type.
    Route(Arc<Route>),
    /// A party with `receives: { type, all: true }`.
    Party(String),
}

/// Every route that runs, and who takes what. Immutable: a reload makes another one.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    pub(crate) by_name: BTreeMap<String, Arc<Route>>,
    pub(crate) by_digest: HashMap<Digest, Arc<Route>>,
    pub(crate) takers: HashMap<String, Vec<Taker>>,
    /// Parties that fetch what they are owed.
    pub(crate) inboxes: BTreeSet<String>,
    /// Which facts a message of a type makes out of date.
    pub(crate) refreshes: HashMap<String, Vec<String>>,
    pub(crate) purposes: BTreeMap<String, Purpose>,
}

impl Routes {
    /// One route alone, and nobody beside it.
    pub fn only(route: Arc<Route>) -> Self {
        let mut routes = Self::default();
        routes.takers.insert(route.from.clone(), vec![Taker::Route(Arc::clone(&route))]);
        routes.by_digest.insert(route.digest, Arc::clone(&route));
        routes.by_name.insert(route.name.clone(), route);
        routes
    }

    /// The routes, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.by_name.values()
    }

    /// The purpose of a route as it is now, whichever version of the route that is; none where the house
    /// has it no more.
    pub fn purpose_of(&self, route: &Route) -> Option<&Purpose> {
        self.purposes.get(&route.purpose)
    }

    /// The purposes of the house, by id.
    pub fn purposes(&self) -> &BTreeMap<String, Purpose> {
        &self.purposes
    }

    /// The route that is called so now.
    pub fn get(&self, name: &str) -> Option<&Arc<Route>> {
        self.by_name.get(name)
    }

    /// The version to which a delivery is pinned, present or old.
    pub fn version(&self, digest: &Digest) -> Option<&Arc<Route>> {
        self.by_digest.get(digest)
    }

    /// The digests of all versions, present and old.
    pub fn versions(&self) -> impl Iterator<Item = Digest> {
        self.by_digest.keys().copied()
    }

    /// Who takes messages of `kind`.
    pub fn takers(&self, kind: &str) -> &[Taker] {
        self.takers.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The facts about the persons whom it names that a message of `kind` makes out of date.
    pub fn refreshes(&self, kind: &str) -> &[String] {
        self.refreshes.get(kind).map_or(&[], Vec::as_slice)
    }

    /// Whether what `subscriber` is owed waits for it to fetch, and is never published.
    pub fn is_fetched(&self, subscriber: &str) -> bool {
        !self.inboxes.is_empty()
            && subscriber.strip_prefix("party:").is_some_and(|party| self.inboxes.contains(party))
    }

    /// With an old version whose deliveries are still open. It takes nothing new.
    pub fn add_old_version(&mut self, route: Arc<Route>) {
        self.by_digest.entry(route.digest).or_insert(route);
    }
}

impl Route {
    /// The body of a copy, admitted again: the queue and the disk are not trusted. The fault is poison.
    pub fn body(&self, data: &[u8]) -> Result<Value, Fault> {
        readmit(&self.from, data, &self.schema)
    }

    /// Whether the route takes this message (its `when`).
    pub fn applies(&self, scope: &Scope<'_>) -> Result<bool, Fault> {
        self.when.as_ref().map_or(Ok(true), |when| when.holds(scope))
    }
}

/// Whether a route, a purpose or a party may be called so.
pub fn is_route_name(name: &str) -> bool {
    file::is_name(name, '-')
}

/// Whether a fact may be called so.
pub fn is_fact_name(name: &str) -> bool {
    file::is_name(name, '_')
}

/// The envelope as `$message` sees it.
pub fn message_value(envelope: &Envelope) -> Value {
    serde_json::to_value(envelope).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests;
