//! The killing.
//!
//! Invariant: a strike counts only with enough deliveries open; one that does not count is repeated, a
//! bounded number of times.

use std::{pin::pin, time::Duration};

use snodo::broker::node::PrivateNode;
use snodo_tests::chaos::{
    Failure,
    drive::Load,
    plan::{self, Strike},
};
use tokio::time::timeout;

use crate::scene::Scene;

/// Messages per second while bus or broker are killed.
const RATE: u32 = 300;
/// Deliveries open at a kill that counts.
const OPEN: u64 = 100;
/// How long messages go on coming while the broker is away.
const WITHOUT_BROKER: Duration = Duration::from_secs(15);
/// Messages per second while the bus runs into a crash point: some sixty deliveries in flight.
const RATE_AT_POINT: u32 = 150;
/// Deliveries open at a crash point that counts.
const OPEN_AT_POINT: u64 = 40;
/// How long deliveries may take to become that many.
const FILLING: Duration = Duration::from_mins(1);
/// How long the bus may take to reach its crash point.
const REACHING: Duration = Duration::from_secs(20);
/// Tries of one crash.
const TRIES: u32 = 6;

/// Has it strike so many times, and leaves a bus that runs and a driver that rests.
pub(crate) async fn strike(
    scene: &mut Scene<'_>,
    strike: Strike,
    times: u32,
) -> Result<(), Failure> {
    match strike {
        Strike::KillBus => kill_bus(scene, times).await,
        Strike::KillBroker => kill_broker(scene, times).await,
        Strike::CrashPoint(point) => {
            for _ in 0..times {
                crash_at(scene, point).await?;
            }
            Ok(())
        }
    }
}

async fn kill_bus(scene: &mut Scene<'_>, times: u32) -> Result<(), Failure> {
    scene.start_bus(None).await?;
    scene.stage.drive(Load::of(RATE))?;
    for _ in 0..times * 2 {
        wait_for_a_moment(scene).await?;
        let open = scene.stage.bury().await?;
        if open >= OPEN {
            scene.report.struck(open);
        }
        scene.start_bus(None).await?;
        if scene.report.fired == times {
            break;
        }
    }
    scene.stage.rest().await;
    Ok(())
}

async fn kill_broker(scene: &mut Scene<'_>, times: u32) -> Result<(), Failure> {
    let node = scene.node;
    scene.start_bus(None).await?;
    scene.stage.drive(Load::of(RATE))?;
    for _ in 0..times * 2 {
        wait_for_a_moment(scene).await?;
        let mut node = node.write().await;
        node.kill();
        let open = scene.stage.open().await?;
        if open >= OPEN {
            scene.report.struck(open);
        }
        start_again(scene, &mut node).await?;
        drop(node);
        scene.stage.ready().await?;
        if scene.report.fired == times {
            break;
        }
    }
    scene.stage.rest().await;
    Ok(())
}

/// The loop goes on meanwhile; but where a start takes minutes, not for minutes.
async fn start_again(scene: &mut Scene<'_>, node: &mut PrivateNode) -> Result<(), Failure> {
    let mut started = pin!(node.start_again());
    if let Ok(started) = timeout(WITHOUT_BROKER, started.as_mut()).await {
        return Ok(started?);
    }
    scene.stage.rest().await;
    started.await?;
    scene.stage.drive(Load::of(RATE))
}

/// Until enough is open, and a drawn moment more.
async fn wait_for_a_moment(scene: &mut Scene<'_>) -> Result<(), Failure> {
    scene.stage.wait_open(i64::try_from(OPEN)?, FILLING).await?;
    let more = scene.dice.between(0, 1500);
    tokio::time::sleep(Duration::from_millis(more)).await;
    Ok(())
}

/// One crash that counts, and everything after it until nothing is open.
async fn crash_at(scene: &mut Scene<'_>, point: u8) -> Result<(), Failure> {
    let mut percent = 100;
    for _ in 0..TRIES {
        scene.stage.stop().await?;
        if plan::needs_backlog(point) {
            leave_a_backlog(scene).await?;
        }
        let pass = plan::pass(point, percent, &mut scene.dice);
        scene.start_bus(Some(&format!("CP{point}:{pass}"))).await?;
        scene.stage.drive(Load::of(RATE_AT_POINT))?;
        let died = scene.stage.wait_death(REACHING).await;
        scene.stage.rest().await;
        let open = scene.stage.bury().await?;
        let counts = died && open >= OPEN_AT_POINT;
        if counts {
            scene.report.struck(open);
        }
        scene.start_bus(None).await?;
        scene.stage.settle().await?;
        if counts {
            break;
        }
        percent = if died { percent * 3 / 2 } else { percent / 2 };
    }
    Ok(())
}

/// A bus that is killed with enough open, so that the next one finds rows to publish.
async fn leave_a_backlog(scene: &mut Scene<'_>) -> Result<(), Failure> {
    scene.start_bus(None).await?;
    scene.stage.drive(Load::of(RATE_AT_POINT))?;
    scene.stage.wait_open(i64::try_from(OPEN_AT_POINT)?, FILLING).await?;
    scene.stage.bury().await?;
    scene.stage.rest().await;
    Ok(())
}
