//! The broker goes, restarts, or takes nothing more: F01 to F04.
//!
//! Invariant: these rows harm the whole node, so they run alone.

use std::time::Duration;

use snodo_tests::chaos::Failure;

use super::RATE;
use crate::fault::Fault;

/// Messages a second while the broker is away.
const MANY: u32 = 100;
/// How long it is away at least.
const AWAY: Duration = Duration::from_secs(15);
/// Everything that waited is delivered within this of its return.
const DRAINED: Duration = Duration::from_mins(1);

/// F01: 202 goes on, `degraded`, drained within 60 s.
pub(super) async fn killed(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(MANY).await?;
    fault.did("killed the broker's process");
    fault.node.write().await.kill();
    let ten = Duration::from_secs(10);
    fault
        .see_within("the bus says that its broker is away, and is ready", ten, async |fault| {
            Ok(fault.is_degraded("broker", "messages are accepted and wait").await)
        })
        .await?;
    fault.see_accepting("while the broker is away", AWAY).await?;
    fault.did("started it again");
    fault.node.write().await.start_again().await?;
    fault.stage.rest().await;
    drained(fault).await?;
    fault.finish().await
}

async fn drained(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let what = format!("everything is delivered within {DRAINED:?}");
    let took = fault
        .see_within(what, DRAINED, async |fault| {
            Ok(fault.is_well().await && fault.owed("open").await == 0)
        })
        .await?;
    fault.did(format!("waited {:.1} s until nothing was open", took.as_secs_f64()));
    Ok(())
}

/// F02: reconnects; consumers are back within 5 s of the start.
pub(super) async fn restarted(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let back = Duration::from_secs(5);
    fault.begin(MANY).await?;
    for _ in 0..3 {
        fault.did("rabbitmqctl stop_app; start_app");
        fault.rabbitmqctl(&["stop_app"]).await?;
        fault.rabbitmqctl(&["start_app"]).await?;
        let took = fault
            .see_within(format!("consumers are back within {back:?}"), back, async |fault| {
                Ok(fault.all_consumed().await && fault.is_well().await)
            })
            .await?;
        fault.did(format!("consumers were back after {:.1} s", took.as_secs_f64()));
    }
    fault.finish().await
}

/// What makes the broker refuse publishes, and what ends it.
pub(super) struct Alarm {
    set: &'static [&'static str],
    cleared: &'static [&'static str],
}

/// F03.
pub(super) const MEMORY: Alarm = Alarm {
    set: &["set_vm_memory_high_watermark", "absolute", "1MB"],
    cleared: &["set_vm_memory_high_watermark", "absolute", "512MB"],
};

/// F04.
pub(super) const DISK: Alarm =
    Alarm { set: &["set_disk_free_limit", "900GB"], cleared: &["set_disk_free_limit", "64MB"] };

/// F03 and F04: the relay pauses, 202 goes on, the bus says so, no attempt is counted.
pub(super) async fn alarmed(fault: &mut Fault<'_>, alarm: Alarm) -> Result<(), Failure> {
    fault.begin(RATE).await?;
    fault.did(format!("rabbitmqctl {}", alarm.set.join(" ")));
    fault.rabbitmqctl(alarm.set).await?;
    let soon = Duration::from_secs(30);
    fault
        .see_within("the bus says that the broker takes nothing", soon, async |fault| {
            Ok(fault.is_degraded("broker", "alarm").await)
        })
        .await?;
    let ready = fault.figure("snodo_ready", &[("component", "broker")]).await;
    fault.see("snodo_ready of the broker is 0", ready == 0);
    let before = fault.published("confirmed").await;
    // Longer than a confirm may take: nothing is late while the broker takes nothing.
    fault.see_accepting("while the broker takes nothing", Duration::from_secs(35)).await?;
    let after = fault.published("confirmed").await;
    fault.see("nothing is published meanwhile", after == before);
    let unknown = fault.published("unknown").await;
    let faults = fault.figure("snodo_faults_total", &[]).await;
    fault.see("no attempt is counted", (unknown, faults) == (0, 0));
    fault.did(format!("rabbitmqctl {}", alarm.cleared.join(" ")));
    fault.rabbitmqctl(alarm.cleared).await?;
    fault.stage.rest().await;
    drained(fault).await?;
    fault.finish().await
}
