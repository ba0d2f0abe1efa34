//! The broker no longer knows the bus: F10 to F12.
//!
//! Invariant: only the run's own user and vhost are harmed.

use std::time::Duration;

use serde_json::json;
use snodo_core::ids::Digest;
use snodo_tests::{chaos::Failure, node::write_secret};

use super::RATE;
use crate::{fault::Fault, ground::all_rights};

/// The bus has two connections; each may ask twice a minute.
const ATTEMPTS: u64 = 4;
/// A little less than a minute: what asks at its beginning may ask at its end.
const MINUTE: Duration = Duration::from_secs(55);
/// Between two attempts lie thirty seconds.
const BACK: Duration = Duration::from_secs(50);

async fn see_refused(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.close_connections().await?;
    let soon = Duration::from_secs(20);
    fault
        .see_within("the bus says that the broker refuses it", soon, async |fault| {
            Ok(fault.is_degraded("broker", "refuses").await)
        })
        .await?;
    Ok(())
}

async fn see_few_attempts(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let before = fault.proxy.connections();
    fault.see_accepting("while the broker refuses the bus", MINUTE).await?;
    let attempts = fault.proxy.connections() - before;
    fault.did(format!("counted {attempts} attempts to connect in {MINUTE:?}"));
    fault.see("it asks at most twice a minute", (1..=ATTEMPTS).contains(&attempts));
    Ok(())
}

async fn see_back(fault: &mut Fault<'_>, pid: Option<u32>) -> Result<(), Failure> {
    fault
        .see_within("it connects again", BACK, async |fault| {
            Ok(fault.all_consumed().await && fault.is_well().await)
        })
        .await?;
    let same = fault.pid();
    fault.see("without a restart", pid.is_some() && same == pid);
    Ok(())
}

/// F10: 403; it waits thirty seconds between attempts.
pub(super) async fn revoked(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(RATE).await?;
    let pid = fault.pid();
    let rights = fault.place.path("permissions", &fault.place.user);
    fault.did("took the bus's permissions away and closed its connections");
    fault.place.management.delete(&rights).await?;
    see_refused(fault).await?;
    see_few_attempts(fault).await?;
    fault.did("gave them back");
    fault.place.management.put(&rights, &all_rights()).await?;
    see_back(fault, pid).await?;
    fault.finish().await
}

/// F11: the password's file is read again at each attempt.
pub(super) async fn password_changed(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(RATE).await?;
    let pid = fault.pid();
    let password = Digest::of(fault.place.password.as_bytes()).to_string();
    let before = denied(fault).await;
    fault.did("changed the bus's password and closed its connections");
    let login = json!({ "password": password, "tags": "administrator" });
    let user = format!("/api/users/{}", fault.place.user);
    fault.place.management.put(&user, &login).await?;
    see_refused(fault).await?;
    fault.see_accepting("while the password is the old one", Duration::from_secs(20)).await?;
    let denied = denied(fault).await - before;
    fault.did(format!("counted {denied} logins to the management interface that were denied"));
    fault.see("nor is the management interface asked in a hot loop", denied <= 3);
    fault.did("wrote the new password into its file");
    write_secret(&fault.stage.house.path.join("broker.password"), &password)?;
    see_back(fault, pid).await?;
    fault.finish().await
}

/// Logins of the bus that the management interface has denied.
async fn denied(fault: &Fault<'_>) -> usize {
    let log = fault.node.read().await.folder().join("log/node.log");
    let user = format!("'{}'", fault.place.user);
    let log = std::fs::read_to_string(log).unwrap_or_default();
    log.lines().filter(|line| line.contains("HTTP access denied") && line.contains(&user)).count()
}

/// F12: as F10.
pub(super) async fn limited(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(RATE).await?;
    let pid = fault.pid();
    let limit = format!("/api/vhost-limits/{}/max-connections", fault.place.vhost);
    fault.did("let the vhost take no more connections and closed those that stood");
    fault.place.management.put(&limit, &json!({ "value": 0 })).await?;
    see_refused(fault).await?;
    see_few_attempts(fault).await?;
    fault.did("took the limit away");
    fault.place.management.delete(&limit).await?;
    see_back(fault, pid).await?;
    fault.finish().await
}
