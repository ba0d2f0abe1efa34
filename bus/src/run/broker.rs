//! The broker's side of the assembly: a private node or a cluster, its topology, the sessions.
//!
//! Invariant: a private node is declared by us; on a cluster `run` verifies and refuses on a difference.
//! No session is begun before that: until then nothing is published, and messages wait in the ledger.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use snodo_core::{
    adapter::BoxFuture,
    diagnostic::Severity,
    party::Parties,
    route::Routes,
    topology::{BusNeeds, Finding, PartyQueue, RouteQueues, Topology, plan},
};
use tokio::{sync::watch, time::timeout};

use crate::{
    broker::{
        Address, Confirm, Copy, Publish,
        consume::{Consumer, Consumers},
        node::{NodeOptions, PrivateNode},
        publish::Publisher,
        session::{Endpoint, LinkState, Patience, Secret},
        topology,
    },
    settings::{BrokerSettings, Settings},
};

/// No queue of the bus grows beyond this.
const MAX_QUEUE_BYTES: u64 = 1 << 30;
/// A cluster that does not answer by then is verified later: the bus starts without it.
const VERIFY_WITHIN: Duration = Duration::from_secs(10);

/// The sessions, and the node where it is ours.
#[derive(Debug)]
pub(super) struct BrokerSide {
    /// Where the broker is.
    pub(super) endpoint: Endpoint,
    is_ours: bool,
    sessions: OnceLock<Sessions>,
    /// Whether the sessions are there.
    up: watch::Sender<bool>,
    /// What it must hold, as of the last start or reload.
    planned: Mutex<Topology>,
    node: tokio::sync::Mutex<Option<PrivateNode>>,
}

#[derive(Debug)]
struct Sessions {
    publisher: Publisher,
    consumers: Consumers,
}

impl BrokerSide {
    /// Where the broker will be; nothing is begun.
    pub(super) fn new(
        settings: &Settings,
        routes: &Routes,
        parties: &Parties,
    ) -> Result<Self, String> {
        let node = match &settings.broker {
            BrokerSettings::Private => {
                let folder = settings.data.join("broker");
                let node = PrivateNode::prepare(&folder, NodeOptions::default());
                Some(node.map_err(|error| error.to_string())?)
            }
            BrokerSettings::Cluster { .. } => None,
        };
        let endpoint = match &node {
            Some(node) => node.endpoint(),
            None => cluster(&settings.broker).ok_or("SN0810 no broker is named")?,
        };
        let planned = planned(&endpoint, routes, &party_queues(parties));
        Ok(Self {
            endpoint,
            is_ours: node.is_some(),
            sessions: OnceLock::new(),
            up: watch::Sender::new(false),
            planned: Mutex::new(planned),
            node: tokio::sync::Mutex::new(node),
        })
    }

    /// Starts the node where it is ours, sees to the topology, starts the sessions. Once.
    pub(super) async fn come_up(
        &self,
        settings: &Settings,
        routes: &Routes,
        parties: &Parties,
    ) -> Result<(), String> {
        if let Some(node) = self.node.lock().await.as_mut() {
            node.launch().await.map_err(|error| error.to_string())?;
        }
        let queues = party_queues(parties);
        prepare(&self.endpoint, self.is_ours, settings, routes, &queues).await?;
        self.sessions.get_or_init(|| Sessions {
            publisher: Publisher::start(&self.endpoint, &queues, Patience::default()),
            consumers: Consumers::start(&self.endpoint, Patience::default()),
        });
        self.up.send_replace(true);
        Ok(())
    }

    /// Waits until there are sessions.
    pub(super) async fn is_up(&self) {
        // It ends with an error only where `self` ends before it.
        let _ = self.up.subscribe().wait_for(|up| *up).await;
    }

    /// Sees to it that the broker holds what these routes and parties need.
    pub(super) async fn prepare(
        &self,
        settings: &Settings,
        routes: &Routes,
        parties: &Parties,
    ) -> Result<(), String> {
        self.is_up().await;
        let queues = party_queues(parties);
        prepare(&self.endpoint, self.is_ours, settings, routes, &queues).await?;
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) =
            planned(&self.endpoint, routes, &queues);
        Ok(())
    }

    /// What it must hold.
    pub(super) fn planned(&self) -> Topology {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What differs at the broker from what it must hold, and holds messages up; none where nobody can
    /// say.
    pub(super) async fn differs(&self) -> Option<Vec<Finding>> {
        let planned = self.planned();
        let verified = timeout(VERIFY_WITHIN, topology::verify(&self.endpoint, &planned)).await;
        Some(verified.ok()?.ok()?.into_iter().filter(is_error).collect())
    }

    /// Publishes to the queues of these parties from now on.
    pub(super) fn follow(&self, parties: &Parties) {
        if let Some(sessions) = self.sessions.get() {
            sessions.publisher.set_parties(&party_queues(parties));
        }
    }

    /// A consumer of a queue; none before the broker is up.
    pub(super) fn consumer(&self, queue: &str) -> Option<Consumer> {
        Some(self.sessions.get()?.consumers.consumer(queue))
    }

    /// What is known of the publishing connection; nothing before the broker is up.
    pub(super) fn observe(&self) -> Option<watch::Receiver<LinkState>> {
        Some(self.sessions.get()?.publisher.observe())
    }

    /// Ends the sessions, then the node where it is ours.
    pub(super) async fn close(&self) {
        if let Some(sessions) = self.sessions.get() {
            sessions.publisher.close().await;
            sessions.consumers.close().await;
        }
        if let Some(mut node) = self.node.lock().await.take() {
            node.stop().await;
        }
    }
}

/// The way out. Before the broker is up it is congested, and what is sent all the same is not known to
/// have arrived.
impl Publish for BrokerSide {
    fn publish(&self, to: &Address, copy: Copy) -> BoxFuture<'static, Confirm> {
        match self.sessions.get() {
            Some(sessions) => sessions.publisher.publish(to, copy),
            None => Box::pin(std::future::ready(Confirm::Unknown)),
        }
    }

    fn is_congested(&self) -> bool {
        self.sessions.get().is_none_or(|sessions| sessions.publisher.is_congested())
    }
}

/// Applies the topology on a node of our own; verifies it on a cluster.
async fn prepare(
    endpoint: &Endpoint,
    is_ours: bool,
    settings: &Settings,
    routes: &Routes,
    queues: &[PartyQueue],
) -> Result<(), String> {
    let planned = planned(endpoint, routes, queues);
    if !is_ours {
        return verify(endpoint, &planned).await;
    }
    let passwords = passwords(&settings.data, queues).map_err(|error| error.to_string())?;
    let applied = topology::apply(endpoint, &planned, &passwords).await;
    applied.map(drop).map_err(|error| error.to_string())
}

/// The endpoint that the configuration names; none for a private node.
pub(super) fn cluster(settings: &BrokerSettings) -> Option<Endpoint> {
    let BrokerSettings::Cluster { uris, password, management } = settings else { return None };
    let parts: Vec<_> = uris.iter().filter_map(|uri| take_apart(uri)).collect();
    let (_, user, vhost) = parts.first()?.clone();
    Some(Endpoint {
        nodes: parts.into_iter().map(|(node, _, _)| node).collect(),
        vhost,
        user,
        password: Secret::File(password.0.clone()),
        management: *management,
    })
}

/// (node, user, vhost) of `amqp://user@host:port/vhost`; user `guest` and vhost `/` where left out.
fn take_apart(uri: &str) -> Option<(String, String, String)> {
    let (scheme, rest) = uri.split_once("://")?;
    let (authority, vhost) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("guest", authority));
    let vhost = if vhost.is_empty() { "/" } else { vhost };
    Some((
        format!("{scheme}://{host}"),
        user.to_owned(),
        vhost.replace("%2f", "/").replace("%2F", "/"),
    ))
}

/// The queues of parties that take their messages from one.
pub(super) fn party_queues(parties: &Parties) -> Vec<PartyQueue> {
    let queue = |party: &Arc<snodo_core::party::Party>| {
        let queue = party.queue()?;
        Some(PartyQueue {
            party: party.id.clone(),
            vhost: queue.vhost.clone(),
            queue: queue.name.clone(),
        })
    };
    parties.iter().filter_map(queue).collect()
}

/// What the broker must hold for these routes and parties.
pub(super) fn planned(endpoint: &Endpoint, routes: &Routes, queues: &[PartyQueue]) -> Topology {
    let needs = BusNeeds {
        vhost: endpoint.vhost.clone(),
        user: endpoint.user.clone(),
        routes: routes.iter().map(|route| RouteQueues::of(route)).collect(),
        max_queue_bytes: MAX_QUEUE_BYTES,
    };
    plan(&needs, queues)
}

/// A password per party of a private node, made at its first start and kept beside the data.
pub(super) fn passwords(
    data: &Path,
    queues: &[PartyQueue],
) -> std::io::Result<BTreeMap<String, Secret>> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let folder = data.join("parties");
    std::fs::create_dir_all(&folder)?;
    let mut passwords = BTreeMap::new();
    for queue in queues {
        let path = folder.join(format!("{}.password", queue.party));
        if !path.exists() {
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            writeln!(file, "{}", crate::random::hex(32)?)?;
        }
        passwords.insert(queue.party.clone(), Secret::File(path));
    }
    Ok(passwords)
}

/// Refuses on a difference. A broker that does not answer is no difference: custody needs none.
async fn verify(endpoint: &Endpoint, planned: &Topology) -> Result<(), String> {
    match timeout(VERIFY_WITHIN, topology::verify(endpoint, planned)).await {
        Ok(Ok(findings)) => refuse(findings),
        Ok(Err(error)) => {
            tracing::warn!(
                %error,
                "the broker's topology could not be verified; messages are accepted and wait"
            );
            Ok(())
        }
        Err(_) => {
            tracing::warn!("the broker did not answer in time; messages are accepted and wait");
            Ok(())
        }
    }
}

fn is_error(finding: &Finding) -> bool {
    finding.severity == Severity::Error
}

/// Differences that lose or hold up messages refuse the start; the others are said.
fn refuse(findings: Vec<Finding>) -> Result<(), String> {
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_error);
    for warning in warnings {
        tracing::warn!(%warning, "the broker differs from the plan");
    }
    if errors.is_empty() {
        return Ok(());
    }
    let lines: String = errors.iter().map(|finding| format!("\n  {finding}")).collect();
    Err(format!("SN0822 the broker differs from the plan; run `snodo topology apply`:{lines}"))
}
