//! The HTTP edge: the highest rate that holds, beside a bare handler; and the time from post to queue.
//!
//! Invariant: a rate holds when every message of a minute was accepted in time, the oldest queued row
//! stayed young and all were delivered at the end.

use std::{
    error::Error,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use snodo::broker::node::{NodeOptions, PrivateNode};
use snodo_tests::{
    bench_house as house,
    bus::{BusProcess, HouseFolder, free_port},
    client::{Client, get, post_message},
    node,
};
use tokio::process::Command;

use crate::{
    Table, bare,
    load::{self, Report, Request},
    measure::{Measured, cpu_of},
    relay,
    sink::Sink,
};

type Failure = Box<dyn Error + Send + Sync>;

const CONNECTIONS: u32 = 64;
/// Rates are multiples of this.
const STEP: u32 = 500;
/// No rate is looked for from so many steps on.
const MOST: u32 = 64;
const PROBE_SECONDS: u32 = 10;
const HOLD_SECONDS: u32 = 60;
/// Everything is delivered so soon after the last post.
const DELIVERED_WITHIN: Duration = Duration::from_secs(15);
/// No queued row may be older.
const OLDEST: f64 = 5.0;
/// A rate holds only where its slowest hundredth is answered within this.
const LATE: Duration = Duration::from_secs(2);

/// The runs `http` and `latency`.
pub(crate) async fn runs(
    folder: &Path,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    table: &mut Table,
) -> Result<(), Failure> {
    if wanted("http") {
        let bare = bare(folder).await?;
        table.add("bare-http", &bare, None);
        let bus = bus(folder).await?;
        table.add("http", &bus, Some(&bare));
    }
    if wanted("latency") {
        latency(folder, table).await?;
    }
    Ok(())
}

/// A server under test.
struct Server {
    address: SocketAddr,
    metrics: SocketAddr,
    pid: u32,
    next: u64,
}

async fn bare(folder: &Path) -> Result<Measured, Failure> {
    let folder = folder.join("bare-http");
    std::fs::create_dir_all(&folder)?;
    let address = free_port()?;
    std::fs::write(folder.join("listen"), address.to_string())?;
    let mut node = PrivateNode::start(&folder.join("broker"), NodeOptions::default()).await?;
    let uri = relay::uri(&node, "/").await?;
    std::fs::write(folder.join("broker-uri"), &uri)?;
    let child = Command::new(std::env::current_exe()?)
        .args(["worker", "bare-http"])
        .arg(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if begun.elapsed() > Duration::from_mins(1) {
            return Err("the bare server did not start".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pid = child.id().ok_or("it ended")?;
    let sink = Sink::begin(&uri, bare::QUEUE).await?;
    let measured = search(Server { address, metrics: address, pid, next: 0 }).await;
    drop((child, sink));
    node.stop().await;
    measured
}

async fn bus(folder: &Path) -> Result<Measured, Failure> {
    let house = house::write(&folder.join("http"), false)?;
    let mut node = PrivateNode::start(&folder.join("broker"), NodeOptions::default()).await?;
    house::use_node(&house, &node)?;
    let mut bus = BusProcess::spawn(&house, &[("SNODO_LOG", "warn")])?;
    bus.ready(Duration::from_mins(1)).await?;
    let pid = bus.pid().ok_or("it ended")?;
    node::enter(&node, "sink").await;
    let sink = Sink::begin(&relay::uri(&node, "sink").await?, "inbox").await?;
    let server = Server { address: house.http, metrics: house.metrics, pid, next: 0 };
    let measured = search(server).await;
    drop(sink);
    bus.terminate().await?;
    node.stop().await;
    measured
}

/// Ten-second probes, doubling and then halving the distance, until the highest rate that holds is known;
/// then a minute of it; a tenth lower where it does not hold for so long.
async fn search(mut server: Server) -> Result<Measured, Failure> {
    let (mut holds, mut fails) = (0, MOST);
    while fails - holds > 1 {
        let next =
            if fails == MOST { (holds * 2).clamp(1, MOST - 1) } else { holds.midpoint(fails) };
        match server.holds(next * STEP, PROBE_SECONDS).await? {
            Some(_) => holds = next,
            None => fails = next,
        }
    }
    let mut rate = holds;
    while rate > 0 {
        if let Some(measured) = server.holds(rate * STEP, HOLD_SECONDS).await? {
            return Ok(measured);
        }
        rate = (rate * 9 / 10).min(rate - 1);
    }
    Err("not even the lowest rate holds".into())
}

impl Server {
    /// Loads for so long; the figures where the rate held.
    async fn holds(&mut self, rate: u32, seconds: u32) -> Result<Option<Measured>, Failure> {
        let request: Request =
            Arc::new(|number| post_message(house::TOKEN, &house::event_of("fast", number)));
        let cpu = cpu_of(self.pid)?;
        let begun = Instant::now();
        let loading = load::run(self.address, CONNECTIONS, rate, seconds, self.next, request);
        let (report, oldest) =
            tokio::join!(loading, self.oldest_while(Duration::from_secs(seconds.into())));
        self.next += u64::from(rate * seconds);
        let delivered = self.delivered(DELIVERED_WITHIN).await;
        if !delivered {
            // What this rate has left behind is not the next one's.
            self.delivered(Duration::from_mins(3)).await;
        }
        let measured = Measured {
            messages: report.accepted,
            seconds: begun.elapsed().as_secs_f64().min(f64::from(seconds)),
            cpu_seconds: (cpu_of(self.pid)?.saturating_sub(cpu)).as_secs_f64(),
            stages: json!({ "rate": rate, "oldest_queued_seconds": oldest,
                            "answer_p99_ms": report.quantile(0.99).as_secs_f64() * 1e3 }),
        };
        Ok((in_time(&report) && oldest < OLDEST && delivered).then_some(measured))
    }

    /// The highest age of a queued row that the metrics showed meanwhile.
    async fn oldest_while(&self, lasting: Duration) -> f64 {
        let begun = Instant::now();
        let mut oldest: f64 = 0.0;
        while begun.elapsed() < lasting {
            oldest = oldest
                .max(read(self.metrics, "snodo_outbox_oldest_age_seconds").await.unwrap_or(0.0));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        oldest
    }

    /// Whether nothing is open any more.
    async fn delivered(&self, within: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if read(self.metrics, "snodo_deliveries{").await == Some(0.0) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    }
}

fn in_time(report: &Report) -> bool {
    report.failed == 0 && report.quantile(0.99) < LATE
}

/// The sum of a metric's values.
async fn read(metrics: SocketAddr, name: &str) -> Option<f64> {
    let answer = Client::new(metrics).send(&get("/metrics", "")).await.ok()?;
    let text = String::from_utf8(answer.body).ok()?;
    let values = text.lines().filter(|line| line.starts_with(name));
    Some(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// From post to the party's queue at 100 messages a second, read from the ledger's own times.
async fn latency(folder: &Path, table: &mut Table) -> Result<(), Failure> {
    const RATE: u32 = 100;
    const SECONDS: u32 = 20;
    let house = house::write(&folder.join("latency"), false)?;
    let mut bus = BusProcess::spawn(&house, &[("SNODO_LOG", "warn")])?;
    bus.ready(Duration::from_mins(1)).await?;
    let request: Request =
        Arc::new(|number| post_message(house::TOKEN, &house::event_of("fast", number)));
    let report = load::run(house.http, CONNECTIONS, RATE, SECONDS, 0, request).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    bus.terminate().await?;
    let mut waits = end_to_end(&house).await?;
    waits.sort_unstable();
    let millis = |share| load::quantile(&waits, share).as_secs_f64() * 1e3;
    let (p50, p99) = (millis(0.5), millis(0.99));
    let answered = report.quantile(0.5).as_secs_f64() * 1e3;
    table.add_value(
        &format!("latency at {RATE}/s: accepted to handed over p50 {p50:.1} ms, p99 {p99:.1} ms; 202 p50 {answered:.1} ms"),
        json!({ "name": "latency", "messages": waits.len(), "seconds": SECONDS, "per_second": RATE,
                "cpu_us_per_message": null, "of_limit": null,
                "stages": { "p50_ms": p50, "p99_ms": p99, "answer_p50_ms": answered } }),
    );
    Ok(())
}

/// For every emitted delivery, from its root's accept time (in its id) to its end.
async fn end_to_end(house: &HouseFolder) -> Result<Vec<Duration>, Failure> {
    let settings = snodo::ledger::Settings::sqlite(house.path.join("data/ledger.db"));
    let ledger = snodo::ledger::open(&settings).await?;
    let mut filter = snodo::ledger::Filter {
        subscriber: Some("party:sink".into()),
        limit: 500,
        ..Default::default()
    };
    let mut waits = Vec::new();
    loop {
        let rows = ledger.list(&filter).await?;
        let Some(last) = rows.last() else { return Ok(waits) };
        filter.after = last.seq;
        for row in rows {
            let accepted = i64::try_from(row.message.root_millis())?;
            waits.push(row.changed_at.since(snodo_core::timestamp::Timestamp(accepted)));
        }
    }
}
