//! Very many at once: F66, F67.
//!
//! Invariant: scaled to a development build on a small machine; the sizes are said in what was done.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use snodo_tests::{
    bus::binaries,
    chaos::{
        Failure,
        drive::Load,
        house::{SOURCE, TOKEN, event},
        target::{Manner, Saying},
    },
    client::{Client, get, post_message},
};
use tokio::{process::Command, time::timeout};

use super::RATE;
use crate::fault::Fault;

const SOON: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_mins(5);

/// F66: a backlog drains, and what comes now does not wait behind it.
pub(super) async fn backlog(fault: &mut Fault<'_>) -> Result<(), Failure> {
    const BACKLOG: i64 = 12_000;
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.node.write().await.kill();
    fault.stage.drive(Load::of(400))?;
    fault.wait("the backlog", LATER, async |fault| Ok(fault.owed("open").await >= BACKLOG)).await?;
    fault.stage.rest().await;
    fault.did(format!("let {BACKLOG} deliveries wait without a broker, then started it"));
    fault.node.write().await.start_again().await?;
    fault.wait("the broker", SOON, async |fault| Ok(fault.is_well().await)).await?;
    let begun = Instant::now();
    // For the register: a multiple of eight, beyond those of the backlog.
    let (mut took, mut number) = (Vec::new(), 1_000_000);
    while fault.owed("open").await > BACKLOG / 10 && begun.elapsed() < LATER {
        number += 8;
        took.push(fresh(fault, number).await?);
    }
    let drained = begun.elapsed();
    fault.did(format!("it drained in {:.0} s", drained.as_secs_f64()));
    took.sort_unstable();
    let p99 = took.get(took.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default();
    let count = took.len();
    fault.did(format!("of {count} fresh messages meanwhile 99 % took {:.1} s", p99.as_secs_f64()));
    fault.see("fresh messages were looked at meanwhile", count >= 5);
    fault.see("99 % of them take less than 5 s", p99 < Duration::from_secs(5));
    fault.finish().await
}

/// Posts one message more, and waits until it is completed.
async fn fresh(fault: &mut Fault<'_>, number: u64) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let mut client = Client::new(fault.stage.house.http);
    let answer = client.send(&post_message(TOKEN, &event(number))).await?;
    if answer.status != 202 {
        return Err(format!("a fresh message was answered {}", answer.status).into());
    }
    fault.stage.posted([number].into(), [number].into());
    while begun.elapsed() < Duration::from_mins(1) {
        let path = format!("/v1/messages?source={SOURCE}&id={number}");
        let told = client.send(&get(&path, TOKEN)).await?.json();
        if told["state"] == "completed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(begun.elapsed())
}

/// F67: at 20 a second where nobody says otherwise; can be stopped; each once.
pub(super) async fn replayed(fault: &mut Fault<'_>) -> Result<(), Failure> {
    const PARKED: i64 = 2_000;
    let route = "idempotent";
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.stage.settle().await?;
    let refuses = Saying::status(422);
    fault.stage.target.behave(Manner::Says(refuses, |_| true));
    fault.stage.drive(Load { rate: 500, only: Some(route) })?;
    fault
        .wait("two thousand to be parked", LATER, async |fault| {
            if fault.figure("snodo_deliveries_created_total", &[("route", route)]).await >= PARKED {
                fault.stage.rest().await;
            }
            Ok(fault.owed("parked").await >= PARKED)
        })
        .await?;
    fault.stage.rest().await;
    fault.wait("all of them", LATER, async |fault| Ok(fault.owed("open").await == 0)).await?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let parked = fault.owed("parked").await;
    fault.did(format!("had the target refuse {parked} messages, which were parked"));
    fault.stage.target.behave(Manner::Does);
    fault.stage.drive(Load { rate: RATE, only: Some("register") })?;
    let before = fault.completed(route).await;
    let (slow, took) = stopped(fault, route, before).await?;
    let most = took.as_secs() * 20 + 40;
    fault.did(format!("replayed {slow} in {:.0} s at the usual rate", took.as_secs_f64()));
    fault.see("at some 20 a second", (20..=most).contains(&slow));
    let left = fault.owed("parked").await;
    let most = parked - i64::try_from(slow)?;
    fault.see("stopped, the others are still parked", left == most);
    let group = ["parked", "replay", "--all", "--route", route, "--rate", "2000"];
    let reason = ["--reason", "the target takes them now"];
    let (code, said) = fault.snodo(&[&group[..], &reason].concat()).await?;
    let last = said.lines().last().unwrap_or_default().to_owned();
    fault.did(format!("replayed the rest at 2,000 a second: {last}"));
    let left = fault.owed("parked").await;
    fault.see("all of them", (code, left) == (0, 0));
    fault
        .see_within("each is done", LATER, async |fault| {
            Ok(fault.completed(route).await >= before + parked)
        })
        .await?;
    fault.finish().await
}

/// Replays the group, and interrupts that once some of it is done: how many were replayed, in which time.
async fn stopped(
    fault: &mut Fault<'_>,
    route: &str,
    before: i64,
) -> Result<(u64, Duration), Failure> {
    let replay = Command::new(binaries()?.join("snodo"))
        .args([
            "parked",
            "replay",
            "--all",
            "--route",
            route,
            "--reason",
            "the target takes them now",
            "--json",
        ])
        .current_dir(&fault.stage.house.path)
        .kill_on_drop(true)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let begun = Instant::now();
    let some = async |fault: &mut Fault<'_>| Ok(fault.completed(route).await >= before + 60);
    fault.wait("some to be replayed", LATER, some).await?;
    let took = begun.elapsed();
    let pid = replay.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    kill_process(pid.ok_or("it has ended")?, Signal::INT)?;
    let output = timeout(SOON, replay.wait_with_output()).await??;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    // The figures that were looked at may be a second old.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    Ok((told["replayed"].as_u64().unwrap_or(0), took + Duration::from_secs(1)))
}
