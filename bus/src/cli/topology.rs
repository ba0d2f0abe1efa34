//! `snodo topology`: what the broker must hold, and whether it does.
//!
//! Invariant: `plan` needs no network; nothing here deletes or changes what a broker holds.

use clap::Subcommand;
use serde_json::{Value, json};
use snodo_core::{
    adapter::Catalog,
    diagnostic::Severity,
    topology::{Finding, Topology},
};
use std::fmt::Write as _;

use super::Common;
use crate::{
    broker::{session::Endpoint, topology},
    exit::{Exit, Failure},
    run::Planned,
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Show what the broker must hold; needs no network
    Plan,
    /// Declare what is missing, then verify; nothing is deleted or changed
    Apply,
    /// Compare what the broker must hold with what it holds
    Verify,
}

impl Action {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let planned = Planned::of(&common.checked(catalog)?);
        match self {
            Self::Plan => {
                common.print(&as_json(&planned.topology), text)?;
                Ok(Exit::Done)
            }
            Self::Apply => {
                let endpoint = cluster(&planned)?;
                let passwords = planned.passwords().map_err(Failure::failed)?;
                let applied = topology::apply(endpoint, &planned.topology, &passwords).await;
                applied.map_err(Failure::failed)?;
                verify(common, endpoint, &planned.topology).await
            }
            Self::Verify => verify(common, cluster(&planned)?, &planned.topology).await,
        }
    }
}

fn cluster(planned: &Planned) -> Result<&Endpoint, Failure> {
    planned.endpoint.as_ref().ok_or_else(|| {
        Failure::failed(
            "this house has a private broker, which only its bus reaches: `snodo run` declares what \
             is planned each time it starts, so start the bus again; `snodo topology plan` shows it",
        )
    })
}

async fn verify(common: &Common, endpoint: &Endpoint, planned: &Topology) -> Result<Exit, Failure> {
    let findings = topology::verify(endpoint, planned).await.map_err(Failure::failed)?;
    let told: Vec<Value> = findings.iter().map(told).collect();
    let lines = || findings.iter().map(|found| format!("{found}\n")).collect();
    common.print(&json!({ "findings": told }), |_| lines())?;
    let wrong = findings.iter().any(|found| found.severity == Severity::Error);
    Ok(if wrong { Exit::Failed } else { Exit::Done })
}

fn told(found: &Finding) -> Value {
    json!({
        "code": found.code,
        "error": found.severity == Severity::Error,
        "object": found.object,
        "property": found.property,
        "expected": found.expected,
        "found": found.found,
        "help": found.help,
    })
}

fn as_json(planned: &Topology) -> Value {
    let exchanges = planned
        .exchanges
        .iter()
        .map(|(name, exchange)| json!({ "vhost": name.vhost, "name": name.name, "is": exchange }));
    let queues = planned
        .queues
        .iter()
        .map(|(name, queue)| json!({ "vhost": name.vhost, "name": name.name, "is": queue }));
    let permissions = planned.permissions.iter().map(
        |((vhost, user), permission)| json!({ "vhost": vhost, "user": user, "is": permission }),
    );
    json!({
        "vhosts": planned.vhosts,
        "users": planned.users,
        "permissions": permissions.collect::<Vec<_>>(),
        "exchanges": exchanges.collect::<Vec<_>>(),
        "queues": queues.collect::<Vec<_>>(),
        "bindings": planned.bindings,
    })
}

/// One line each: what it is, where, and its name.
fn text(told: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut text = String::new();
    for (key, kind) in [("vhosts", "vhost"), ("users", "user")] {
        for name in told[key].as_array().into_iter().flatten() {
            let _ = writeln!(text, "{kind:<8}  {}", word(name));
        }
    }
    for (key, kind) in [("exchanges", "exchange"), ("queues", "queue")] {
        for one in told[key].as_array().into_iter().flatten() {
            let (vhost, name) = (word(&one["vhost"]), word(&one["name"]));
            let _ = writeln!(text, "{kind:<8}  {vhost}  {name}");
        }
    }
    text
}
