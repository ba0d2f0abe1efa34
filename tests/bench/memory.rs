//! How much memory the bus needs while many messages wait: in the ledger (no broker), in the broker (the
//! target hangs), in retry (the target is away), and while they drain.
//!
//! Invariant: the bus is a process of its own, the released `snodo`; a phase is left only when what waits
//! is where the phase says. Peaks are the kernel's, reset at the begin of each phase.

use std::{
    error::Error,
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};
use snodo::broker::{
    management::Management,
    node::{NodeOptions, PrivateNode},
};
use snodo_tests::{
    bench_house as house,
    bus::{BusProcess, HouseFolder, free_port},
    chaos::figures::Figures,
    client::{Client, post_message},
    node,
    palermo::set_line,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::Table;

type Failure = Box<dyn Error + Send + Sync>;

/// Messages that wait.
const MESSAGES: u64 = 200_000;
/// Routes over which they are spread: the relay keeps 10,000 of one with the broker.
const ROUTES: u64 = 20;
const CONNECTIONS: usize = 32;
/// No phase takes longer.
const PATIENCE: Duration = Duration::from_mins(20);
/// How long it is looked at what waits.
const LOOK: Duration = Duration::from_secs(15);

const ROUTE: &str = "\
route: NAME
title: Calls a target
office: bench
from: bench.NAME.v1
purpose: bench
actor: system
steps:
  - call:
      use: target.call
      with: { number: \"${ .number }\", subject: \"Practice ${ .number } of ${ .office }\" }
";
const TARGET: &str = "  target:
    kind: http
    base: http://TARGET
    # Each delivery is to find out by itself, and wait for its own retry.
    limits: { breaker: false }
    operations:
      call: { method: POST, path: /calls, input: bench/call.v1, effect: idempotent, deadline: 20s }
";

/// The run `memory`.
pub(crate) fn run(folder: &Path, table: &mut Table) -> Result<(), Failure> {
    tokio::runtime::Runtime::new()?.block_on(measured(&folder.join("memory"), table))
}

async fn measured(folder: &Path, table: &mut Table) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut scene = Scene::set(folder).await?;
    let phases = scene.play().await?;
    scene.bus.terminate().await?;
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let worst = phases.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    let words: Vec<String> =
        phases.iter().map(|(name, bytes)| format!("{name} {}", megabytes(*bytes))).collect();
    let stages: serde_json::Map<String, Value> = phases
        .iter()
        .map(|(name, bytes)| (format!("{name}_rss_mb"), json!(megabytes(*bytes))))
        .chain([("peak_rss_mb".to_owned(), json!(megabytes(worst)))])
        .collect();
    table.add_value(
        &format!("memory: peak RSS in MB with {MESSAGES} waiting: {}", words.join(", ")),
        json!({ "name": "memory", "messages": MESSAGES, "seconds": begun.elapsed().as_secs(),
                "per_second": null, "cpu_us_per_message": null, "of_limit": null,
                "stages": stages }),
    );
    Ok(())
}

/// How the target takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Hangs,
    Answers,
}

struct Scene {
    house: HouseFolder,
    node: PrivateNode,
    bus: BusProcess,
    target: SocketAddr,
}

impl Scene {
    async fn set(folder: &Path) -> Result<Self, Failure> {
        let house = house::write(folder, false)?;
        let node = PrivateNode::start(&folder.join("broker"), NodeOptions::default()).await?;
        let target = free_port()?;
        write(&house, &node, target)?;
        house::apply_topology(&house)?;
        let mut bus = BusProcess::spawn(&house, &[("SNODO_LOG", "warn")])?;
        bus.ready(Duration::from_mins(1)).await?;
        Ok(Self { house, node, bus, target })
    }

    /// Every phase with the peak of its memory.
    async fn play(&mut self) -> Result<Vec<(&'static str, u64)>, Failure> {
        let total = i64::try_from(MESSAGES)?;
        let mut peaks = Vec::new();
        self.reset_peak()?;
        tokio::time::sleep(LOOK / 3).await;
        peaks.push(("idle", self.peak()?));

        self.node.stop().await;
        self.reset_peak()?;
        self.post_all().await?;
        tokio::time::sleep(LOOK).await;
        peaks.push(("ledger", self.peak()?));

        let hanging = serve(self.target, Mode::Hangs).await?;
        self.node.start_again().await?;
        self.reset_peak()?;
        self.until("all are with the broker", async |scene| {
            scene.in_broker().await >= total * 9 / 10
        })
        .await?;
        tokio::time::sleep(LOOK).await;
        peaks.push(("broker", self.peak()?));

        drop(hanging);
        self.reset_peak()?;
        self.until("all wait for their retry", async |scene| {
            scene.waiting().await >= total * 9 / 10
        })
        .await?;
        tokio::time::sleep(LOOK).await;
        peaks.push(("retry", self.peak()?));

        let (_mode, _serving) = serve(self.target, Mode::Answers).await?;
        self.reset_peak()?;
        self.until("all are delivered", async |scene| scene.open().await == Some(0)).await?;
        peaks.push(("draining", self.peak()?));
        Ok(peaks)
    }

    async fn until(
        &mut self,
        what: &str,
        mut holds: impl AsyncFnMut(&Self) -> bool,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        while !holds(self).await {
            if begun.elapsed() > PATIENCE {
                return Err(format!("not in time: {what}").into());
            }
            if self.bus.has_ended() {
                return Err(format!("the bus ended before {what}").into());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// From here on the kernel notes the highest memory anew.
    fn reset_peak(&self) -> io::Result<()> {
        let pid = self.bus.pid().ok_or_else(|| io::Error::other("the bus ended"))?;
        std::fs::OpenOptions::new()
            .write(true)
            .open(format!("/proc/{pid}/clear_refs"))?
            .write_all(b"5")
    }

    fn peak(&self) -> io::Result<u64> {
        self.bus.memory().map(|(_, peak)| peak).ok_or_else(|| io::Error::other("the bus ended"))
    }

    async fn figures(&self) -> Option<Figures> {
        Client::new(self.house.metrics).figures().await.ok()
    }

    async fn open(&self) -> Option<i64> {
        Some(self.figures().await?.open())
    }

    async fn waiting(&self) -> i64 {
        self.figures().await.map_or(0, |figures| figures.sum("snodo_retry_scheduled", &[]))
    }

    /// Copies in all queues, as the broker counts them.
    async fn in_broker(&self) -> i64 {
        let Ok(management) = Management::of(&self.node.endpoint()) else { return 0 };
        let queues = management.get("/api/queues").await.unwrap_or_default();
        queues.as_array().into_iter().flatten().filter_map(|queue| queue["messages"].as_i64()).sum()
    }

    /// Posts every message over some connections, as fast as they are answered.
    async fn post_all(&self) -> Result<(), Failure> {
        let mut senders = JoinSet::new();
        for connection in (0..MESSAGES).take(CONNECTIONS) {
            let address = self.house.http;
            senders.spawn(async move {
                let mut client = Client::new(address);
                for number in (connection..MESSAGES).step_by(CONNECTIONS) {
                    let event = house::event_of(&route(number % ROUTES), number);
                    let answer = client.send(&post_message(house::TOKEN, &event)).await?;
                    if answer.status != 202 {
                        return Err(io::Error::other(answer.json().to_string()));
                    }
                }
                Ok(())
            });
        }
        while let Some(sent) = senders.join_next().await {
            sent??;
        }
        Ok(())
    }
}

fn route(number: u64) -> String {
    format!("call-{number}")
}

/// Adds the routes that call to the house of the benchmark.
fn write(house: &HouseFolder, node: &PrivateNode, target: SocketAddr) -> Result<(), Failure> {
    let broker = node::settings(node, &house.path)?;
    set_line(house, "config/snodo.yaml", "broker:", &broker.to_string())?;
    let settings = std::fs::read_to_string(house.path.join("config/snodo.yaml"))?;
    house
        .write("config/snodo.yaml", &(settings + &TARGET.replace("TARGET", &target.to_string())))?;
    let message = std::fs::read_to_string(house.path.join("schemas/bench/fast.v1.json"))?;
    let mut sends = Vec::new();
    for number in 0..ROUTES {
        let name = route(number);
        house.write(&format!("routes/{name}.yaml"), &ROUTE.replace("NAME", &name))?;
        house.write(&format!("schemas/bench/{name}.v1.json"), &message)?;
        sends.push(format!("bench.{name}.v1"));
    }
    let call = json!({
        "type": "object", "additionalProperties": false, "required": ["number", "subject"],
        "properties": { "number": { "type": "integer" }, "subject": { "type": "string" } },
    });
    house.write("schemas/bench/call.v1.json", &call.to_string())?;
    sends.extend(["fast", "register"].map(|name| format!("bench.{name}.v1")));
    Ok(set_line(house, "config/parties/sender.yaml", "sends:", &json!(sends).to_string())?)
}

/// Serves the target until the second value is dropped.
async fn serve(
    address: SocketAddr,
    mode: Mode,
) -> Result<(watch::Sender<Mode>, JoinSet<()>), Failure> {
    let (sender, receiver) = watch::channel(mode);
    let app = Router::new().route("/calls", post(call)).with_state(receiver);
    let listener = TcpListener::bind(address).await?;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let _ = axum::serve(listener, app).await;
    });
    Ok((sender, serving))
}

async fn call(State(mut mode): State<watch::Receiver<Mode>>) -> Json<Value> {
    // A target that goes away while it hangs does not answer after all.
    if mode.wait_for(|mode| *mode == Mode::Answers).await.is_err() {
        std::future::pending::<()>().await;
    }
    Json(json!({}))
}
