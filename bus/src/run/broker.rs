//! The broker's side of the assembly: a private node or a cluster, its topology, the sessions.
//!
//! Invariant: a private node is declared by us; on a cluster `run` verifies and refuses on a difference.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use snodo_core::{
    diagnostic::Severity,
    party::Parties,
    route::Routes,
    topology::{BusNeeds, Finding, PartyQueue, RouteQueues, Topology, plan},
};
use tokio::time::timeout;

use crate::{
    broker::{
        Publish,
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
    publisher: Arc<Publisher>,
    consumers: Consumers,
    /// What it must hold, as of the last start or reload.
    planned: Mutex<Topology>,
    node: tokio::sync::Mutex<Option<PrivateNode>>,
}

impl BrokerSide {
    /// Starts the node where it is ours, sees to the topology, starts the sessions.
    pub(super) async fn start(
        settings: &Settings,
        routes: &Routes,
        parties: &Parties,
    ) -> Result<Self, String> {
        let node = match &settings.broker {
            BrokerSettings::Private => {
                let folder = settings.data.join("broker");
                let node = PrivateNode::start(&folder, NodeOptions::default()).await;
                Some(node.map_err(|error| error.to_string())?)
            }
            BrokerSettings::Cluster { .. } => None,
        };
        let endpoint = match &node {
            Some(node) => node.endpoint(),
            None => cluster(&settings.broker).ok_or("SN0810 no broker is named")?,
        };
        let queues = party_queues(parties);
        prepare(&endpoint, node.is_some(), settings, routes, &queues).await?;
        let publisher = Arc::new(Publisher::start(&endpoint, &queues, Patience::default()));
        let consumers = Consumers::start(&endpoint, Patience::default());
        let planned = Mutex::new(planned(&endpoint, routes, &queues));
        let node = tokio::sync::Mutex::new(node);
        Ok(Self { endpoint, publisher, consumers, planned, node })
    }

    /// Sees to it that the broker holds what these routes and parties need.
    pub(super) async fn prepare(
        &self,
        settings: &Settings,
        routes: &Routes,
        parties: &Parties,
    ) -> Result<(), String> {
        let is_ours = self.node.lock().await.is_some();
        let queues = party_queues(parties);
        prepare(&self.endpoint, is_ours, settings, routes, &queues).await?;
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
        self.publisher.set_parties(&party_queues(parties));
    }

    /// The way out.
    pub(super) fn publisher(&self) -> Arc<dyn Publish> {
        Arc::<Publisher>::clone(&self.publisher)
    }

    /// A consumer of a queue.
    pub(super) fn consumer(&self, queue: &str) -> Consumer {
        self.consumers.consumer(queue)
    }

    /// What is known of the publishing connection.
    pub(super) fn observe(&self) -> tokio::sync::watch::Receiver<LinkState> {
        self.publisher.observe()
    }

    /// Ends the sessions, then the node where it is ours.
    pub(super) async fn close(&self) {
        self.publisher.close().await;
        self.consumers.close().await;
        if let Some(mut node) = self.node.lock().await.take() {
            node.stop().await;
        }
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
            writeln!(file, "{}", random_secret())?;
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

/// 256 bits from the system, in hexadecimal.
fn random_secret() -> String {
    let mut bytes = [0; 32];
    // The kernel's pool is ready long before any service starts, so this neither blocks nor fails.
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    debug_assert_eq!(filled, Ok(bytes.len()), "32 bytes come in one piece");
    snodo_core::ids::Digest::of(&bytes).to_string()
}
