//! Gathers what `snodo doctor` judges: files, disk, clocks, ledger, broker, certificates, targets.
//!
//! Invariant: it only looks; every question has an end, and one that is not answered is a finding.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use snodo_core::{
    adapter::Instances,
    doctor::{
        self, BrokerFacts, CertificateFacts, DiskFacts, FileFacts, FileKind, Finding, NodeFacts,
    },
    topology::Topology,
};
use tokio::time::timeout;

use crate::{
    broker::{
        management::{Management, ManagementError},
        session::Endpoint,
        topology,
    },
    clock::{Clock as _, SystemClock},
    ledger::Ledger,
    settings::{LedgerSettings, Settings, Tls},
};

mod certificates;

/// A question to broker or target has its answer by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// The files of the bus and the disk they are on.
pub fn of_machine(settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    let secrets = settings.secrets.iter().map(|secret| (&secret.file, FileKind::Secret));
    let own = [(&settings.data, FileKind::Own)];
    for (path, is) in secrets.chain(own) {
        found.push(doctor::file(&file(path, is)));
    }
    // Within the data folder it is as safe as that is.
    if let LedgerSettings::Sqlite(path) = &settings.ledger
        && !path.starts_with(&settings.data)
    {
        found.push(doctor::file(&file(path, FileKind::Own)));
    }
    if settings.data.exists() {
        found.push(doctor::disk(&disk(&settings.data)));
    }
    found
}

fn file(path: &Path, is: FileKind) -> FileFacts {
    let mode = std::fs::metadata(path).map(|found| found.mode());
    let mode = mode.map_err(|error| crate::house::in_words(&error));
    FileFacts { path: path.display().to_string(), is, mode }
}

fn disk(path: &Path) -> DiskFacts {
    let room = rustix::fs::statvfs(path)
        .map(|disk| (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize));
    let room = room.map_err(|error| crate::house::in_words(&error.into()));
    DiskFacts { path: path.display().to_string(), room }
}

/// The ledger; all of a large file only where `thorough`.
pub async fn of_ledger(ledger: &dyn Ledger, thorough: bool) -> Vec<Finding> {
    match ledger.condition(thorough).await {
        Ok(facts) => doctor::ledger(&facts, SystemClock.now()),
        Err(error) => vec![doctor::no_ledger(&error.to_string())],
    }
}

/// The broker, and how far it is from the plan.
pub async fn of_broker(endpoint: &Endpoint, planned: &Topology) -> Vec<Finding> {
    let facts = timeout(PATIENCE, broker(endpoint)).await;
    let mut found = match facts {
        Ok(Ok(facts)) => doctor::broker(&facts),
        Ok(Err(error)) => return vec![doctor::no_broker(&error.to_string())],
        Err(_) => return vec![doctor::no_broker("it does not answer")],
    };
    match timeout(PATIENCE, topology::verify(endpoint, planned)).await {
        Ok(Ok(differences)) => found.extend(doctor::drift(&differences)),
        Ok(Err(error)) => found.push(doctor::no_broker(&error.to_string())),
        Err(_) => found.push(doctor::no_broker("it does not say what it holds")),
    }
    found
}

async fn broker(endpoint: &Endpoint) -> Result<BrokerFacts, ManagementError> {
    let management = Management::of(endpoint)?;
    let overview = management.get("/api/overview").await?;
    let nodes = management.get("/api/nodes").await?;
    let flags = management.get("/api/feature-flags").await?;
    let says = management.date().await?;
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let items = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let off = |flag: &serde_json::Value| {
        // An experimental one is nobody's duty.
        let stable = flag["stability"] == "stable" || flag["stability"] == "required";
        stable && flag["state"] == "disabled"
    };
    Ok(BrokerFacts {
        version: word(&overview["rabbitmq_version"]),
        nodes: items(&nodes)
            .iter()
            .map(|node| NodeFacts {
                name: word(&node["name"]),
                running: node["running"] == true,
                memory_alarm: node["mem_alarm"] == true,
                disk_alarm: node["disk_free_alarm"] == true,
                partitions: items(&node["partitions"]).iter().map(word).collect(),
            })
            .collect(),
        flags_off: items(&flags)
            .iter()
            .filter(|flag| off(flag))
            .map(|flag| word(&flag["name"]))
            .collect(),
        clock: says.map(|says| (says, SystemClock.now())),
    })
}

/// The certificates of all hosts to which the configuration has the bus talk over TLS.
pub async fn of_certificates(settings: &Settings) -> Vec<Finding> {
    let shows = |host: &crate::settings::HostUse| Some((host.host.clone(), host.tls?));
    let all: BTreeSet<(String, Tls)> = settings.talks_to.iter().filter_map(shows).collect();
    let looks = all.iter().map(|(host, tls)| async move {
        let (Tls::AtOnce(port) | Tls::Postgres(port)) = tls;
        let of = format!("{host}:{port}");
        let shown = certificates::look(host, *tls).await;
        doctor::certificate(&CertificateFacts { of, shown }, SystemClock.now())
    });
    futures_util::future::join_all(looks).await
}

/// Whether each adapter instance could be called now.
pub async fn of_targets(instances: &Instances) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, port) in instances.iter() {
        let silent = ("SN0893", "it does not answer");
        found.push(match timeout(PATIENCE, port.probe()).await {
            Ok(Ok(())) => doctor::target(name, None),
            Ok(Err(fault)) => doctor::target(name, Some((&fault.code, &fault.text))),
            Err(_) => doctor::target(name, Some(silent)),
        });
    }
    found
}
