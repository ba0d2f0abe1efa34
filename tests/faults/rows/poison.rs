//! Messages that never get through: F27, F28, F52.
//!
//! Invariant: which message it is, is drawn; its neighbours are on the same queue.

use std::time::Duration;

use serde_json::Value;
use snodo_tests::chaos::{
    Failure,
    drive::Load,
    house::{route_of, text_of},
    target::{Manner, Saying},
};

use super::RATE;
use crate::fault::Fault;

const SOON: Duration = Duration::from_secs(30);

fn is_poisoned(number: u64) -> bool {
    number % 56 == 7
}

/// F27: it is parked when its time is over; the others on its queue go on.
pub(super) async fn always_fails(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.retry("{ first: 100ms, longest: 1s, give_up_after: 5s }")?;
    fault.did("had the target answer 500 to one in seven messages of a route, always");
    fault.stage.target.behave(Manner::Says(Saying::status(500), is_poisoned));
    fault.start().await?;
    fault.stage.drive(Load { rate: RATE, only: Some("idempotent") })?;
    fault
        .see_within("it is parked when its time is over", SOON * 2, async |fault| {
            Ok(fault.owed("parked").await >= 5)
        })
        .await?;
    let (done, failed) = (fault.completed("idempotent").await, fault.owed("open").await);
    fault.did(format!("counted {done} completed and {failed} open beside them"));
    fault.see("its neighbours are done meanwhile", done >= 20);
    fault.stage.rest().await;
    let soon = Duration::from_secs(10);
    fault
        .see_within("nothing waits behind it", soon, async |fault| {
            let parked = fault.owed("parked").await;
            Ok(fault.owed("open").await == 0 && parked > 0)
        })
        .await?;
    let tries = fault.stage.target.answered().len();
    fault.did(format!("the target refused {tries} times"));
    fault.see("it was tried again before", tries > 10);
    fault.stage.target.behave(Manner::Does);
    fault.finish().await
}

/// A message of some route, not among the first.
fn victim(fault: &mut Fault<'_>) -> u64 {
    let route = ["transit", "register", "recallable"]
        [usize::try_from(fault.dice.between(0, 2)).unwrap_or(0)];
    let from = fault.dice.between(60, 120);
    (from..from + 8).find(|number| route_of(*number) == route).unwrap_or(from)
}

/// The first parked delivery, and how many there are.
async fn parked(fault: &Fault<'_>) -> Result<(Value, usize), Failure> {
    let told = fault.told(&["parked", "list"]).await?;
    let list = told["deliveries"].as_array().cloned().unwrap_or_default();
    Ok((list.first().cloned().unwrap_or_default(), list.len()))
}

/// F28: after three deaths it is parked; its neighbours are done.
pub(super) async fn kills(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let number = victim(fault);
    fault.did(format!("had message {number}, of {}, kill the process", route_of(number)));
    fault.environment.push(("SNODO_TRIP", format!("abort:\"{}\"", text_of(number))));
    fault.start().await?;
    fault.stage.drive(Load::of(RATE))?;
    let mut deaths = 0_u32;
    while deaths < 8 && fault.stage.wait_death(Duration::from_secs(15)).await {
        deaths += 1;
        // As a supervisor would.
        fault.stage.bury().await?;
        fault.start_bus(true).await?;
    }
    fault.did(format!("counted {deaths} deaths"));
    // A route that only maps has no claim yet when it dies first: that death counts for all that was open.
    let uncounted = u32::from(route_of(number) == "transit");
    let what = "it killed three times under a claim and no more";
    fault.see(what, deaths == 3 + uncounted);
    let (row, many) = parked(fault).await?;
    fault.see("it alone is parked", many == 1);
    let code = row["code"].as_str().unwrap_or_default().to_owned();
    fault.did(format!("it is parked with {code}"));
    fault.see("with a code that says so", code.starts_with("SN"));
    fault.stage.rest().await;
    fault
        .see_within(
            "its neighbours are done",
            SOON,
            async |fault| Ok(fault.owed("open").await == 0),
        )
        .await?;
    cured(fault).await
}

/// The cause is gone: a person has the message tried again.
async fn cured(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.did("started a bus that does not fail at it, and replayed it");
    fault.stage.stop().await?;
    fault.environment.clear();
    fault.start_bus(false).await?;
    fault.finish().await
}

/// F52: it is caught, parked, and the process lives.
pub(super) async fn panics(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let number = victim(fault);
    fault.did(format!("had the work on message {number}, of {}, panic", route_of(number)));
    fault.environment.push(("SNODO_TRIP", format!("panic:\"{}\"", text_of(number))));
    fault.start().await?;
    let pid = fault.pid();
    fault.stage.drive(Load::of(RATE))?;
    fault
        .see_within("it is parked", SOON, async |fault| Ok(fault.owed("parked").await == 1))
        .await?;
    let (row, many) = parked(fault).await?;
    fault.see("as a mistake of the bus (SN0902)", many == 1 && row["code"] == "SN0902");
    let before = fault.ended().await;
    fault
        .see_within("the others go on", SOON, async |fault| Ok(fault.ended().await > before + 20))
        .await?;
    let same = fault.pid();
    fault.see("in the same process", pid.is_some() && pid == same);
    fault.stage.rest().await;
    cured(fault).await
}
