//! The far side hangs, fails, says when to come back, or is not what it seems: F29, F53, F56, F58.
//!
//! Invariant: what the target was told to answer it does not do; so the log of its effects stays true.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use snodo_core::topology::route_queue;
use snodo_tests::chaos::{
    Failure,
    drive::Load,
    target::{Manner, Saying},
};

use super::RATE;
use crate::fault::Fault;

const SOON: Duration = Duration::from_secs(30);
/// A target that is away is asked every half minute at least.
const CLOSES: Duration = Duration::from_mins(1);

/// F29: a call ends at its own deadline; a channel that the broker closes in silence is replaced.
pub(super) async fn hangs(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let queue = route_queue("once");
    fault.did("had the broker close channels whose copies are not settled within six seconds");
    let closes = "application:set_env(rabbit, consumer_timeout, 6000), \
                  application:set_env(rabbit, channel_tick_interval, 500).";
    fault.rabbitmqctl(&["eval", closes]).await?;
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.stage.settle().await?;
    fault.did("had the target answer nothing");
    fault.stage.target.behave(Manner::Holds);
    fault.stage.drive(Load { rate: 200, only: Some("once") })?;
    let begun = Instant::now();
    let failed = [("target", "target.once"), ("outcome", "fault")];
    fault
        .see_within("calls end at their own deadline", SOON, async |fault| {
            Ok(fault.figure("snodo_adapter_calls_total", &failed).await > 0)
        })
        .await?;
    let took = begun.elapsed();
    fault.see("which is two seconds", took < Duration::from_secs(8));
    tokio::time::sleep(Duration::from_secs(4)).await;
    fault.stage.rest().await;
    let stopped = format!("\"queue\":\"{queue}\"");
    let is_closed = |fault: &Fault<'_>| {
        let log = std::fs::read_to_string(fault.stage.log()).unwrap_or_default();
        log.lines().any(|line| line.contains("consuming has stopped") && line.contains(&stopped))
    };
    fault
        .see_within("the closed channel is noticed", SOON, async |fault| Ok(is_closed(fault)))
        .await?;
    let back = Duration::from_secs(10);
    fault
        .see_within("its consumer is back within 10 s", back, async |fault| {
            Ok(fault.all_consumed().await)
        })
        .await?;
    fault.stage.target.behave(Manner::Does);
    let opens = "application:set_env(rabbit, consumer_timeout, 1800000), \
                 application:set_env(rabbit, channel_tick_interval, 60000).";
    fault.rabbitmqctl(&["eval", opens]).await?;
    fault.finish().await
}

/// F53: tried again by the route's own waits, or held where the target has a breaker; nothing is parked
/// while its time is not over.
pub(super) async fn fails(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(RATE).await?;
    fault.did("had the target answer 500 to everything for ten seconds");
    fault.stage.target.behave(Manner::Says(Saying::status(500), |_| true));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut times: BTreeMap<u64, Vec<Instant>> = BTreeMap::new();
    for (at, number) in fault.stage.target.answered() {
        times.entry(number).or_default().push(at);
    }
    let most = times.values().map(Vec::len).max().unwrap_or(0);
    fault.did(format!("the target refused {} messages, one of them {most} times", times.len()));
    fault.see("each is tried again, in growing waits", (2..=40).contains(&most));
    let parked = fault.owed("parked").await;
    fault.see("none is parked before its time is over", parked == 0);
    let registered = fault.completed("register").await;
    fault
        .see_within("routes without that target go on", SOON, async |fault| {
            Ok(fault.completed("register").await > registered + 10)
        })
        .await?;
    fault.did("gave the target its breaker, and started the bus anew");
    fault.rewrite("config/snodo.yaml", |settings| {
        settings.replace("\"breaker\":false", "\"breaker\":true")
    })?;
    fault.stage.stop().await?;
    fault.start_bus(false).await?;
    fault
        .see_within("its circuit opens, and its routes are held", SOON, async |fault| {
            Ok(circuit(fault).await == (2, 1))
        })
        .await?;
    fault.stage.target.behave(Manner::Does);
    fault
        .see_within("it closes by itself", CLOSES, async |fault| Ok(circuit(fault).await == (0, 0)))
        .await?;
    fault.finish().await
}

/// Whether the target counts as away (2), and whether a route that calls it is held (1).
async fn circuit(fault: &mut Fault<'_>) -> (i64, i64) {
    let state = fault.figure("snodo_circuit_state", &[("target", "target")]).await;
    (state, fault.figure("snodo_route_held", &[("route", "once")]).await)
}

/// The times between two answers to one message.
fn waits(fault: &Fault<'_>) -> Vec<Duration> {
    let mut last: BTreeMap<u64, Instant> = BTreeMap::new();
    let waits = fault.stage.target.answered().into_iter().filter_map(|(at, number)| {
        let before = last.insert(number, at)?;
        Some(at.duration_since(before))
    });
    waits.collect()
}

/// An HTTP date so many seconds from now.
fn http_date(seconds: u64) -> String {
    let at = jiff::Timestamp::now() + Duration::from_secs(seconds);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// F56: `Retry-After` is kept, in seconds and as a date.
pub(super) async fn says_when(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let clock = fault.stage.house.path.join("clock");
    fault.environment.push(("SNODO_CLOCK_OFF", clock.display().to_string()));
    fault.retry("{ first: 100ms, longest: 1m, give_up_after: 1d }")?;
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.stage.settle().await?;
    fault.did("had the target answer 503 with `Retry-After: 4`");
    let seconds = Saying { status: 503, header: ("retry-after", || "4".to_owned()), body: "" };
    see_kept(fault, seconds, Duration::from_secs(4)).await?;
    fault.did("had the target answer 429 with a date five seconds ahead");
    // A date has whole seconds: it may be almost one second nearer.
    let date = Saying { status: 429, header: ("retry-after", || http_date(5)), body: "" };
    see_kept(fault, date, Duration::from_secs(4)).await?;
    fault.stage.rest().await;
    fault.did("had the target answer 503 with `Retry-After: 7200`, which is longer than the route's longest wait");
    let long = Saying { status: 503, header: ("retry-after", || "7200".to_owned()), body: "" };
    let before = fault.stage.target.answered().len();
    fault.stage.target.behave(Manner::Says(long, |_| true));
    fault.stage.drive(Load { rate: 5, only: Some("idempotent") })?;
    fault
        .wait("an answer", SOON, async |fault| Ok(fault.stage.target.answered().len() > before))
        .await?;
    fault.stage.rest().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let waits = fault.stage.books.latest_wait().await?.saturating_sub(now);
    fault.did(format!("the longest wait in the ledger is {} s", waits.as_secs()));
    let hours = Duration::from_mins(110)..=Duration::from_hours(2);
    fault.see("it waits as long as it was told to, up to a day", hours.contains(&waits));
    fault.stage.target.behave(Manner::Does);
    fault.did("set the wall clock two hours ahead");
    std::fs::write(&clock, "7300")?;
    fault.finish().await
}

/// Two answers to the same message lie at least `wait` apart, and not much more.
async fn see_kept(fault: &mut Fault<'_>, says: Saying, wait: Duration) -> Result<(), Failure> {
    fault.stage.target.behave(Manner::Says(says, |_| true));
    let before = waits(fault).len();
    fault.stage.drive(Load { rate: 10, only: Some("idempotent") })?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fault.stage.rest().await;
    fault
        .wait(
            "each to be answered again",
            SOON,
            async |fault| Ok(waits(fault).len() >= before + 10),
        )
        .await?;
    let shortest = waits(fault).into_iter().min().unwrap_or_default();
    fault.did(format!("the shortest wait was {:.1} s", shortest.as_secs_f64()));
    fault.see(
        format!("nobody comes back before the {} s are over", wait.as_secs()),
        shortest + Duration::from_millis(50) >= wait,
    );
    fault.stage.target.behave(Manner::Does);
    fault.stage.settle().await
}

/// F58: 200 with a web page is no success.
pub(super) async fn shows_a_page(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.stage.settle().await?;
    fault.did("had the target answer 200 with a login page");
    let page = Saying {
        status: 200,
        header: ("content-type", || "text/html; charset=utf-8".to_owned()),
        body: "<!doctype html><title>Accedi</title><form action=\"/login\"></form>",
    };
    fault.stage.target.behave(Manner::Says(page, |_| true));
    let done = fault.completed("idempotent").await;
    fault.stage.drive(Load { rate: RATE, only: Some("idempotent") })?;
    fault
        .see_within("calls are parked", SOON, async |fault| Ok(fault.owed("parked").await >= 20))
        .await?;
    fault.stage.rest().await;
    let told = fault.told(&["parked", "list"]).await?;
    let list = told["deliveries"].as_array().cloned().unwrap_or_default();
    let all = !list.is_empty() && list.iter().all(|row| row["code"] == "SN0766");
    fault.see("because the answer is not JSON (SN0766)", all);
    let since = fault.completed("idempotent").await - done;
    fault.see("none counts as done", since == 0);
    fault.stage.drive(Load { rate: RATE, only: Some("once") })?;
    fault
        .see_within("a call that cannot be repeated is uncertain", SOON, async |fault| {
            Ok(fault.owed("uncertain").await >= 10)
        })
        .await?;
    fault.stage.rest().await;
    fault.stage.target.behave(Manner::Does);
    fault.finish().await
}
