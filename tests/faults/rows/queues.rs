//! Something of the topology is not as it should be: F05 to F09, F24.
//!
//! Invariant: only the run's own vhost is harmed.

use std::time::Duration;

use serde_json::json;
use snodo_core::topology::{DELIVER, route_queue};
use snodo_tests::{
    chaos::{Failure, drive::Load, target::Manner},
    proxy::Line,
};

use super::RATE;
use crate::fault::Fault;

const SOON: Duration = Duration::from_secs(30);
/// What is drained waits ten seconds before it is tried again; the broker's own figures lag.
const LATER: Duration = Duration::from_secs(90);

/// Notes that the routes beside this one go on.
async fn see_others_run(fault: &mut Fault<'_>, harmed: &str) -> Result<(), Failure> {
    let other = if harmed == "register" { "recallable" } else { "register" };
    let before = fault.completed(other).await;
    fault
        .see_within("other routes run", SOON, async |fault| {
            Ok(fault.completed(other).await > before + 10)
        })
        .await?;
    Ok(())
}

async fn see_unrouted(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault
        .see_within("copies come by the alternate exchange and wait as rows", SOON, async |fault| {
            Ok(fault.moved("unrouted").await > 0)
        })
        .await?;
    Ok(())
}

async fn see_broken(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault
        .see_within("the bus says that the route is broken", LATER, async |fault| {
            Ok(fault.is_degraded("topology", "SN08").await)
        })
        .await?;
    Ok(())
}

async fn see_mended(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.did("snodo topology apply");
    fault.apply().await?;
    fault
        .see_within("consumers are back, and the bus says that all is well", LATER, async |fault| {
            Ok(fault.all_consumed().await && fault.is_well().await)
        })
        .await?;
    Ok(())
}

async fn delete_queue(fault: &mut Fault<'_>, queue: &str) -> Result<(), Failure> {
    fault.did(format!("deleted queue {queue}"));
    Ok(fault.place.management.delete(&fault.place.path("queues", queue)).await?)
}

/// F05: the consumer is told, copies wait as rows, others run; all is delivered after `topology apply`.
pub(super) async fn deleted(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let route = "idempotent";
    fault.begin(RATE).await?;
    delete_queue(fault, &route_queue(route)).await?;
    fault
        .see_within("its consumer is gone, and it is seen", SOON, async |fault| {
            Ok(fault.figure("snodo_consumer_active", &[("route", route)]).await == 0)
        })
        .await?;
    let said = fault.logged("SN0816");
    fault.see("the log says which queue and what to do", said > 0);
    see_unrouted(fault).await?;
    see_others_run(fault, route).await?;
    see_broken(fault).await?;
    see_mended(fault).await?;
    fault.finish().await
}

/// F06: invisible in AMQP; reconciled once the queue is seen empty after its confirm.
pub(super) async fn purged(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let route = "recallable";
    let queue = route_queue(route);
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.stage.target.behave(Manner::Holds);
    fault.stage.drive(Load { rate: 300, only: Some(route) })?;
    // More than the bus takes into its hands: the rest lies in the queue.
    fault
        .wait("copies to lie in the queue", LATER, async |fault| {
            let ready = fault.queue(&queue).await.and_then(|q| q["messages_ready"].as_i64());
            Ok(ready.is_some_and(|ready| ready > 50))
        })
        .await?;
    fault.stage.rest().await;
    fault.did(format!("purged queue {queue}"));
    let contents = format!("{}/contents", fault.place.path("queues", &queue));
    fault.place.management.delete(&contents).await?;
    fault.stage.target.behave(Manner::Does);
    fault
        .see_within("what was purged is published again", LATER * 2, async |fault| {
            Ok(fault.moved("reconcile").await > 0)
        })
        .await?;
    fault.finish().await
}

/// F07: all routes wait; unconfirmed copies are published again when the exchange is back.
pub(super) async fn without_exchange(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(RATE).await?;
    fault.did(format!("deleted exchange {DELIVER}"));
    fault.place.management.delete(&fault.place.path("exchanges", DELIVER)).await?;
    fault
        .see_within("the publishing channel is closed, and it is said", SOON, async |fault| {
            Ok(fault.logged("a publishing channel is dropped") > 0)
        })
        .await?;
    let before = fault.published("unknown").await;
    let window = Duration::from_secs(15);
    fault.see_accepting("while there is no exchange", window).await?;
    // What a channel had not confirmed when it was closed is unknown: each try of each copy counts once.
    let tries = fault.published("unknown").await - before;
    let open = fault.owed("open").await;
    fault.did(format!("counted {tries} copies without a word, of {open} open, in {window:?}"));
    fault.see("it is tried again without a hot loop", (1..=open * 10).contains(&tries));
    fault.see("all routes wait", open > i64::from(RATE) * 10);
    see_broken(fault).await?;
    see_mended(fault).await?;
    let unknown = fault.published("unknown").await;
    fault.see("what had no confirm was published again", unknown > 0);
    fault.finish().await
}

/// F08: copies come by the alternate exchange; all is delivered after `topology apply`.
pub(super) async fn unbound(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let route = "recallable";
    let queue = route_queue(route);
    fault.begin(RATE).await?;
    fault.did(format!("removed the binding of {queue}"));
    let vhost = &fault.place.vhost;
    let binding = format!("/api/bindings/{vhost}/e/{DELIVER}/q/{queue}/{queue}");
    fault.place.management.delete(&binding).await?;
    see_unrouted(fault).await?;
    see_others_run(fault, route).await?;
    let (code, said) = fault.snodo(&["topology", "verify"]).await?;
    fault.see("`snodo topology verify` names the binding", code == 1 && said.contains(&queue));
    see_broken(fault).await?;
    see_mended(fault).await?;
    fault.finish().await
}

/// F09: `run` refuses and names queue and argument; a bus that runs says so.
pub(super) async fn redeclared(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let queue = route_queue("once");
    fault.apply().await?;
    redeclare(fault, &queue).await?;
    let (code, said) = fault.snodo(&["run"]).await?;
    let names = ["SN0822", &queue, "x-queue-type"].iter().all(|word| said.contains(word));
    fault.see("`run` refuses to start and names queue and argument", code == 1 && names);
    delete_queue(fault, &queue).await?;
    fault.begin(RATE).await?;
    redeclare(fault, &queue).await?;
    see_others_run(fault, "once").await?;
    see_broken(fault).await?;
    delete_queue(fault, &queue).await?;
    see_mended(fault).await?;
    fault.finish().await
}

async fn redeclare(fault: &mut Fault<'_>, queue: &str) -> Result<(), Failure> {
    delete_queue(fault, queue).await?;
    fault.did(format!("declared {queue} as a classic queue"));
    let classic = json!({ "durable": true, "arguments": { "x-queue-type": "classic" } });
    let path = fault.place.path("queues", queue);
    fault.place.management.put(&path, &classic).await?;
    let (_, said) = fault.snodo(&["topology", "verify"]).await?;
    fault.see("`snodo topology verify` names the queue", said.contains(queue));
    Ok(())
}

/// F24: the row waits and is tried again, without a hot loop; others are published.
pub(super) async fn full(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let route = "idempotent";
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.did("kept the consumers away and let the queue hold five messages");
    let policy = json!({
        "pattern": "^route\\.idempotent$", "apply-to": "queues", "definition": { "max-length": 5 },
    });
    let path = fault.place.path("policies", "five");
    fault.place.management.put(&path, &policy).await?;
    fault.proxy.set_named("snodo/consume", Line::CLOSED);
    fault.stage.drive(Load::of(RATE))?;
    fault
        .see_within("the broker refuses copies", SOON, async |fault| {
            Ok(fault.published("nacked").await > 0)
        })
        .await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    fault.stage.rest().await;
    let before = fault.published("nacked").await;
    let window = Duration::from_secs(10);
    tokio::time::sleep(window).await;
    let again = fault.published("nacked").await - before;
    let open = fault.figure("snodo_deliveries", &[("route", route), ("state", "open")]).await;
    fault.did(format!("counted {again} more refusals of {open} open deliveries in {window:?}"));
    fault.see("each waits before it is tried again", again > 0 && again <= open * 8);
    let parked = fault.owed("parked").await;
    fault.see("none is given to a person", parked == 0);
    let oldest =
        fault.figure("snodo_ledger_oldest_open_message_age_seconds", &[("route", route)]).await;
    fault.see("their age is shown", oldest >= 10);
    let others = fault.queue(&route_queue("once")).await;
    let others = others.and_then(|queue| queue["messages"].as_i64()).unwrap_or(0);
    fault.see("other queues take theirs", others > 5);
    fault.did("gave the queue its room and its consumers back");
    fault.place.management.delete(&path).await?;
    fault.proxy.mend();
    fault.finish().await
}
