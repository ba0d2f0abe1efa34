//! What the broker must hold for a set of routes and parties, and what differs from it.
//!
//! Invariant: a queue that carries anything of ours is a quorum queue that refuses rather than drops.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::diagnostic::Severity;

/// The direct exchange to which every copy for a route goes.
pub const DELIVER: &str = "snodo.deliver";
/// Exchange and queue of what no queue took.
pub const UNROUTED: &str = "snodo.unrouted";
/// Exchange and queue of what a queue gave up after too many deliveries.
pub const POISON: &str = "snodo.poison";

/// After so many deliveries the broker gives a copy up: the last net, never the bus's own count.
const DELIVERY_LIMIT: u32 = 20;
/// For the queue that has nowhere to give up to; newer brokers count to 20 where nothing is said.
const NO_LIMIT: u32 = 2_000_000_000;

/// The queue of a route.
pub fn route_queue(route: &str) -> String {
    format!("route.{route}")
}

/// A queue of a route that keeps an order: its keys are spread over `shards` of them, from 0.
pub fn shard_queue(route: &str, shard: u16) -> String {
    format!("route.{route}.{shard}")
}

/// The queue of a copy for a route: one of its shards', where it keeps an order.
pub fn queue_of(route: &str, shard: Option<u16>) -> String {
    shard.map_or_else(|| route_queue(route), |shard| shard_queue(route, shard))
}

/// The queue beside a party's own in which lies what the party failed to take 20 times.
pub fn poison_of(queue: &str) -> String {
    format!("{queue}.poison")
}

/// Arguments of a queue or exchange, as the management interface shows them.
pub type Arguments = BTreeMap<String, Value>;

/// Name and vhost of a queue or exchange.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Named {
    /// The vhost.
    pub vhost: String,
    /// The name.
    pub name: String,
}

impl Named {
    /// `name` in `vhost`.
    pub fn new(vhost: &str, name: &str) -> Self {
        Self { vhost: vhost.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in vhost `{}`", self.name, self.vhost)
    }
}

/// An exchange.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exchange {
    /// `direct`, `fanout`.
    pub kind: String,
    /// Survives a restart.
    pub durable: bool,
    /// Its arguments.
    pub arguments: Arguments,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Queue {
    /// Survives a restart.
    pub durable: bool,
    /// Its arguments.
    pub arguments: Arguments,
}

/// A binding of a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Binding {
    /// The vhost.
    pub vhost: String,
    /// The exchange.
    pub exchange: String,
    /// The queue.
    pub queue: String,
    /// The routing key.
    pub key: String,
}

/// What a user may do in a vhost: regular expressions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// Declare and delete.
    pub configure: String,
    /// Publish.
    pub write: String,
    /// Consume.
    pub read: String,
}

/// Everything that is in the broker, or should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// The vhosts.
    pub vhosts: BTreeSet<String>,
    /// The users, by name. Passwords are nobody's business here.
    pub users: BTreeSet<String>,
    /// By (vhost, user).
    pub permissions: BTreeMap<(String, String), Permission>,
    /// The exchanges.
    pub exchanges: BTreeMap<Named, Exchange>,
    /// The queues.
    pub queues: BTreeMap<Named, Queue>,
    /// The bindings.
    pub bindings: BTreeSet<Binding>,
}

/// What the bus itself needs: its vhost, its user, its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusNeeds {
    /// The bus's own vhost.
    pub vhost: String,
    /// The user as whom the bus connects.
    pub user: String,
    /// The routes.
    pub routes: Vec<RouteQueues>,
    /// No queue grows beyond this.
    pub max_queue_bytes: u64,
}

/// A route, and into how many queues its copies go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQueues {
    /// Its name.
    pub route: String,
    /// Where it keeps an order: over how many queues its keys are spread.
    pub shards: Option<u16>,
}

impl RouteQueues {
    /// The one queue of a route without an order.
    pub fn plain(route: &str) -> Self {
        Self { route: route.to_owned(), shards: None }
    }

    /// Those of a route.
    pub fn of(route: &crate::route::Route) -> Self {
        Self { route: route.name.clone(), shards: route.order.as_ref().map(|order| order.shards) }
    }

    /// The shards of its queues: none is that of a route without an order.
    pub fn shards(&self) -> impl Iterator<Item = Option<u16>> + use<> {
        let plain = self.shards.is_none().then_some(None);
        plain.into_iter().chain((0..self.shards.unwrap_or(0)).map(Some))
    }
}

/// A party that takes its messages from a queue of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartyQueue {
    /// The party's id; also the name of its user.
    pub party: String,
    /// Its vhost, shared with nobody.
    pub vhost: String,
    /// Its queue.
    pub queue: String,
}

/// What the broker must hold.
pub fn plan(bus: &BusNeeds, parties: &[PartyQueue]) -> Topology {
    let mut topology = Topology::default();
    plan_bus(&mut topology, bus);
    for party in parties {
        plan_party(&mut topology, bus, party);
    }
    topology
}

fn plan_bus(topology: &mut Topology, bus: &BusNeeds) {
    let (vhost, max) = (&bus.vhost, bus.max_queue_bytes);
    topology.vhosts.insert(vhost.clone());
    topology.users.insert(bus.user.clone());
    let mut exchange = |name: &str, kind: &str, arguments| {
        let exchange = Exchange { kind: kind.to_owned(), durable: true, arguments };
        topology.exchanges.insert(Named::new(vhost, name), exchange);
    };
    let alternate = Arguments::from([("alternate-exchange".to_owned(), json!(UNROUTED))]);
    exchange(DELIVER, "direct", alternate);
    exchange(UNROUTED, "fanout", Arguments::new());
    exchange(POISON, "fanout", Arguments::new());
    let to_poison = |limit| dead_letter(quorum(max, limit), POISON, None);
    topology.queue(vhost, UNROUTED, to_poison(DELIVERY_LIMIT)).bind(vhost, UNROUTED, UNROUTED, "");
    topology.queue(vhost, POISON, quorum(max, NO_LIMIT)).bind(vhost, POISON, POISON, "");
    for queues in &bus.routes {
        for shard in queues.shards() {
            let name = queue_of(&queues.route, shard);
            let mut arguments = to_poison(DELIVERY_LIMIT);
            if shard.is_some() {
                // One instance at a time has a key; the order itself is kept by the ledger.
                arguments.insert("x-single-active-consumer".to_owned(), json!(true));
            }
            topology.queue(vhost, &name, arguments).bind(vhost, DELIVER, &name, &name);
        }
    }
}

fn plan_party(topology: &mut Topology, bus: &BusNeeds, party: &PartyQueue) {
    let PartyQueue { party: user, vhost, queue } = party;
    topology.vhosts.insert(vhost.clone());
    topology.users.insert(user.clone());
    let own = Permission {
        configure: "^$".to_owned(),
        write: "^$".to_owned(),
        read: format!("^{}$", escape(queue)),
    };
    let all = || ".*".to_owned();
    let ours = Permission { configure: all(), write: all(), read: all() };
    topology.permissions.insert((vhost.clone(), user.clone()), own);
    topology.permissions.insert((vhost.clone(), bus.user.clone()), ours);
    let poison = poison_of(queue);
    let arguments =
        dead_letter(quorum(bus.max_queue_bytes, DELIVERY_LIMIT), "", Some(poison.as_str()));
    topology.queue(vhost, queue, arguments);
    topology.queue(vhost, &poison, quorum(bus.max_queue_bytes, NO_LIMIT));
}

fn escape(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut text, letter| {
        if !letter.is_alphanumeric() && letter != '_' && letter != '-' {
            text.push('\\');
        }
        text.push(letter);
        text
    })
}

fn quorum(max_bytes: u64, delivery_limit: u32) -> Arguments {
    Arguments::from([
        ("x-queue-type".to_owned(), json!("quorum")),
        ("x-delivery-limit".to_owned(), json!(delivery_limit)),
        ("x-overflow".to_owned(), json!("reject-publish")),
        ("x-max-length-bytes".to_owned(), json!(max_bytes)),
    ])
}

fn dead_letter(mut arguments: Arguments, exchange: &str, key: Option<&str>) -> Arguments {
    arguments.insert("x-dead-letter-exchange".to_owned(), json!(exchange));
    arguments.insert("x-dead-letter-strategy".to_owned(), json!("at-least-once"));
    if let Some(key) = key {
        arguments.insert("x-dead-letter-routing-key".to_owned(), json!(key));
    }
    arguments
}

impl Topology {
    fn queue(&mut self, vhost: &str, name: &str, arguments: Arguments) -> &mut Self {
        self.queues.insert(Named::new(vhost, name), Queue { durable: true, arguments });
        self
    }

    fn bind(&mut self, vhost: &str, exchange: &str, queue: &str, key: &str) -> &mut Self {
        self.bindings.insert(Binding {
            vhost: vhost.to_owned(),
            exchange: exchange.to_owned(),
            queue: queue.to_owned(),
            key: key.to_owned(),
        });
        self
    }
}

/// One difference between what is planned and what the broker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `SN0802`.
    pub code: &'static str,
    /// Whether `run` refuses to start over it.
    pub severity: Severity,
    /// ``queue `route.x` in vhost `/` ``.
    pub object: String,
    /// The argument or property, where the thing itself exists.
    pub property: Option<String>,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, object, property, expected, found, help, .. } = self;
        match property {
            Some(property) => {
                write!(f, "{code} {object}: `{property}` is {found}, not {expected}")?;
            }
            None => {
                write!(f, "{code} {object}: expected {expected}, found {found}")?;
            }
        }
        write!(f, "; {help}")
    }
}

const APPLY: &str = "run `snodo topology apply`";
const REBUILD: &str = "the broker cannot change it in place: let the queue run empty, delete it, \
                       then run `snodo topology apply`";

/// What differs. Things of others are left alone; only what looks like ours and is too much is named.
pub fn diff(planned: &Topology, found: &Topology) -> Vec<Finding> {
    let mut findings = Vec::new();
    diff_queues(planned, found, &mut findings);
    diff_exchanges(planned, found, &mut findings);
    for binding in planned.bindings.difference(&found.bindings) {
        let object = format!("binding of queue `{}` in vhost `{}`", binding.queue, binding.vhost);
        let expected = format!("exchange `{}`, key `{}`", binding.exchange, binding.key);
        findings.push(missing("SN0804", object, expected));
    }
    diff_access(planned, found, &mut findings);
    findings
}

fn diff_queues(planned: &Topology, found: &Topology, findings: &mut Vec<Finding>) {
    for (name, queue) in &planned.queues {
        let object = format!("queue {name}");
        match found.queues.get(name) {
            None => findings.push(missing("SN0801", object, "to exist".to_owned())),
            Some(is) => {
                diff_flag(&object, queue.durable, is.durable, findings);
                diff_arguments(&object, &queue.arguments, &is.arguments, findings);
            }
        }
    }
    for name in found.queues.keys().filter(|name| left_over(planned, name)) {
        findings.push(Finding {
            code: "SN0806",
            severity: Severity::Warning,
            object: format!("queue {name}"),
            property: None,
            expected: "no such queue: no route has this name".to_owned(),
            found: "a queue that nothing of ours consumes".to_owned(),
            help: "its messages are also rows of the ledger; delete it once no delivery of the \
                   old route is open"
                .to_owned(),
        });
    }
}

fn left_over(planned: &Topology, name: &Named) -> bool {
    name.name.starts_with("route.")
        && !planned.queues.contains_key(name)
        && planned.exchanges.contains_key(&Named::new(&name.vhost, DELIVER))
}

fn diff_exchanges(planned: &Topology, found: &Topology, findings: &mut Vec<Finding>) {
    for (name, exchange) in &planned.exchanges {
        let object = format!("exchange {name}");
        let Some(is) = found.exchanges.get(name) else {
            findings.push(missing("SN0803", object, "to exist".to_owned()));
            continue;
        };
        diff_flag(&object, exchange.durable, is.durable, findings);
        if exchange.kind != is.kind {
            findings.push(differs(&object, "type", &json!(exchange.kind), &json!(is.kind)));
        }
        diff_arguments(&object, &exchange.arguments, &is.arguments, findings);
    }
}

fn diff_access(planned: &Topology, found: &Topology, findings: &mut Vec<Finding>) {
    for vhost in planned.vhosts.difference(&found.vhosts) {
        findings.push(missing("SN0805", format!("vhost `{vhost}`"), "to exist".to_owned()));
    }
    for user in planned.users.difference(&found.users) {
        findings.push(missing("SN0805", format!("user `{user}`"), "to exist".to_owned()));
    }
    for ((vhost, user), wanted) in &planned.permissions {
        let is = found.permissions.get(&(vhost.clone(), user.clone()));
        if is != Some(wanted) {
            findings.push(Finding {
                found: is.map_or_else(|| "none".to_owned(), rights),
                ..missing(
                    "SN0805",
                    format!("rights of user `{user}` in vhost `{vhost}`"),
                    rights(wanted),
                )
            });
        }
    }
}

fn rights(permission: &Permission) -> String {
    let Permission { configure, write, read } = permission;
    format!("configure `{configure}`, write `{write}`, read `{read}`")
}

fn missing(code: &'static str, object: String, expected: String) -> Finding {
    Finding {
        code,
        severity: Severity::Error,
        object,
        property: None,
        expected,
        found: "nothing".to_owned(),
        help: APPLY.to_owned(),
    }
}

fn diff_flag(object: &str, expected: bool, found: bool, findings: &mut Vec<Finding>) {
    if expected != found {
        findings.push(differs(object, "durable", &json!(expected), &json!(found)));
    }
}

fn diff_arguments(
    object: &str,
    expected: &Arguments,
    found: &Arguments,
    findings: &mut Vec<Finding>,
) {
    let names: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for name in names {
        let (wanted, is) = (expected.get(name), found.get(name));
        if wanted != is {
            let null = Value::Null;
            findings.push(differs(object, name, wanted.unwrap_or(&null), is.unwrap_or(&null)));
        }
    }
}

fn differs(object: &str, property: &str, expected: &Value, found: &Value) -> Finding {
    let show = |value: &Value| if value.is_null() { "unset".to_owned() } else { value.to_string() };
    Finding {
        code: "SN0802",
        severity: Severity::Error,
        object: object.to_owned(),
        property: Some(property.to_owned()),
        expected: show(expected),
        found: show(found),
        help: REBUILD.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned() -> Topology {
        let bus = BusNeeds {
            vhost: "/".to_owned(),
            user: "snodo".to_owned(),
            routes: vec![RouteQueues::plain("residence-change")],
            max_queue_bytes: 1 << 30,
        };
        let region = PartyQueue {
            party: "region".to_owned(),
            vhost: "region".to_owned(),
            queue: "inbox.v1".to_owned(),
        };
        plan(&bus, &[region])
    }

    fn texts(findings: &[Finding]) -> String {
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_planned_queue_is_a_quorum_queue_that_refuses_and_never_drops() {
        let planned = planned();
        assert_eq!(planned.queues.len(), 5);
        for (name, queue) in &planned.queues {
            assert!(queue.durable, "{name}");
            assert_eq!(queue.arguments["x-queue-type"], "quorum", "{name}");
            assert_eq!(queue.arguments["x-overflow"], "reject-publish", "{name}");
            let gives_up = queue.arguments["x-delivery-limit"] == DELIVERY_LIMIT;
            assert_eq!(queue.arguments.contains_key("x-dead-letter-exchange"), gives_up, "{name}");
        }
    }

    #[test]
    fn a_route_with_an_order_has_a_queue_per_shard_each_with_one_active_consumer() {
        let shards = |shards| RouteQueues { route: "vehicle".to_owned(), shards };
        let bus = BusNeeds {
            vhost: "/".to_owned(),
            user: "snodo".to_owned(),
            routes: vec![shards(Some(2)), RouteQueues::plain("tax")],
            max_queue_bytes: 1 << 30,
        };
        let planned = plan(&bus, &[]);
        let single = |name: &str| {
            let queue = planned.queues.get(&Named::new("/", name))?;
            Some(queue.arguments.contains_key("x-single-active-consumer"))
        };
        assert_eq!(single("route.vehicle.0"), Some(true));
        assert_eq!(single("route.vehicle.1"), Some(true));
        assert_eq!((single("route.vehicle.2"), single("route.vehicle")), (None, None));
        assert_eq!(single("route.tax"), Some(false));
        assert_eq!(planned.bindings.iter().filter(|bound| bound.exchange == DELIVER).count(), 3);
    }

    #[test]
    fn a_party_may_read_its_queue_and_nothing_else() {
        let planned = planned();
        let rights = &planned.permissions[&("region".to_owned(), "region".to_owned())];
        assert_eq!((rights.configure.as_str(), rights.write.as_str()), ("^$", "^$"));
        assert_eq!(rights.read, r"^inbox\.v1$");
    }

    #[test]
    fn nothing_differs_from_itself() {
        assert_eq!(diff(&planned(), &planned()), []);
    }

    #[test]
    fn a_queue_that_somebody_redeclared_is_named_with_its_arguments() {
        let mut found = planned();
        let name = Named::new("/", "route.residence-change");
        found.queues.get_mut(&name).expect("planned").arguments =
            Arguments::from([("x-queue-type".to_owned(), json!("classic"))]);
        let findings = diff(&planned(), &found);
        assert_eq!(findings.len(), 6);
        let finding = findings.last().expect("six");
        assert_eq!(
            finding.to_string(),
            "SN0802 queue `route.residence-change` in vhost `/`: `x-queue-type` is \"classic\", not \
             \"quorum\"; the broker cannot change it in place: let the queue run empty, delete it, then \
             run `snodo topology apply`"
        );
    }

    #[test]
    fn what_is_missing_is_named_by_kind() {
        let mut found = planned();
        found.queues.remove(&Named::new("region", "inbox.v1"));
        found.exchanges.remove(&Named::new("/", DELIVER));
        found.bindings.clear();
        found.users.remove("region");
        found.permissions.remove(&("region".to_owned(), "region".to_owned()));
        insta::assert_snapshot!(texts(&diff(&planned(), &found)), @"
        SN0801 queue `inbox.v1` in vhost `region`: expected to exist, found nothing; run `snodo topology apply`
        SN0803 exchange `snodo.deliver` in vhost `/`: expected to exist, found nothing; run `snodo topology apply`
        SN0804 binding of queue `route.residence-change` in vhost `/`: expected exchange `snodo.deliver`, key `route.residence-change`, found nothing; run `snodo topology apply`
        SN0804 binding of queue `snodo.poison` in vhost `/`: expected exchange `snodo.poison`, key ``, found nothing; run `snodo topology apply`
        SN0804 binding of queue `snodo.unrouted` in vhost `/`: expected exchange `snodo.unrouted`, key ``, found nothing; run `snodo topology apply`
        SN0805 user `region`: expected to exist, found nothing; run `snodo topology apply`
        SN0805 rights of user `region` in vhost `region`: expected configure `^$`, write `^$`, read `^inbox\\.v1$`, found none; run `snodo topology apply`
        ");
    }

    #[test]
    fn a_queue_of_a_route_that_is_no_more_is_a_warning() {
        let mut found = planned();
        found.queue("/", "route.old", Arguments::new());
        found.queue("elsewhere", "route.theirs", Arguments::new());
        let findings = diff(&planned(), &found);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].code, findings[0].severity), ("SN0806", Severity::Warning));
    }
}
