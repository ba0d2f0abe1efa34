//! A target is away: what calls it waits in the ledger and burns nothing, and everything else goes on.
//!
//! Invariant: what has waited is published in the order of acceptance, at a rate, beside what is fresh.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};
use snodo::{
    broker::{Address, Confirm, Copy, Publish},
    engine::{
        Engine,
        breakers::Breakers,
        relay::{Feeder, Relay},
        sweep::Sweeper,
    },
};
use snodo_core::{adapter::BoxFuture, message_state::DeliveryState};
use snodo_tests::{
    bus::HouseFolder,
    client::{Client, get, post_message},
    node,
    wait::{eventually, until},
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    stage::Stage,
    workshop::{TOKEN, event, figures, house, route, serve, start, write},
};

// --- three days, simulated --------------------------------------------------------------------------

const DELIVER: &str = "\
route: deliver
title: Calls the far side
office: tests
from: far.wanted.v1
purpose: test
actor: system
steps:
  - put:
      use: far.put
      with: { n: \"${ .n }\" }
retry: { first: 5s, longest: 15m, give_up_after: 1d }
";
const WANTED: &str = "\
{ \"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"type\": \"object\", \"required\": [\"n\"],
  \"additionalProperties\": false, \"properties\": { \"n\": { \"type\": \"integer\" } } }";

/// Takes every copy, and keeps it until a test carries it.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<Copy>>>);

impl Publish for Shelf {
    fn publish(&self, _: &Address, copy: Copy) -> BoxFuture<'static, Confirm> {
        self.0.lock().expect("whole").push(copy);
        Box::pin(async { Confirm::Confirmed })
    }
    fn is_congested(&self) -> bool {
        false
    }
}

/// One process and its loops.
struct Process {
    engine: Arc<Engine>,
    shelf: Shelf,
    relay: Relay,
    feeder: Feeder,
    sweeper: Sweeper,
    breakers: Breakers,
}

impl Process {
    async fn start(stage: &Stage) -> Self {
        let shelf = Shelf::default();
        let engine = stage.start_with(Arc::new(shelf.clone())).await;
        let own = || Arc::clone(&engine);
        let (relay, feeder) = (Relay::new(own()), Feeder::new(own()));
        let (sweeper, breakers) = (Sweeper::new(own(), false), Breakers::new(own()));
        Self { engine, shelf, relay, feeder, sweeper, breakers }
    }

    /// Every loop once; what the broker was given meanwhile.
    async fn turn(&mut self) -> Vec<Copy> {
        self.breakers.step().await.expect("stepped");
        self.sweeper.step().await.expect("stepped");
        self.feeder.step().await.expect("stepped");
        while !self.relay.is_idle() {
            self.relay.step().await;
        }
        std::mem::take(&mut *self.shelf.0.lock().expect("whole"))
    }

    async fn carry(&self, copies: &[Copy]) {
        for copy in copies {
            self.engine.carry(copy).await;
        }
    }
}

async fn send(stage: &Stage, engine: &Engine, numbers: std::ops::Range<u64>) {
    for n in numbers {
        stage.send(engine, "far.wanted.v1", &json!({ "n": n }), None).await;
    }
}

fn number(copy: &Copy) -> u64 {
    let data: Value = serde_json::from_slice(&copy.message.data).expect("JSON");
    data["n"].as_u64().expect("a number")
}

const DAYS: u64 = 3;
const WAITING: u64 = 1_200;
/// Accepted in a tenth of a second while the others are let go.
const FRESH: u64 = 20;

#[tokio::test]
async fn three_days_burn_nothing_and_then_all_goes_in_order_beside_what_is_fresh() {
    let stage =
        Stage::new(&[("routes/deliver.yaml", DELIVER), ("schemas/far/wanted.v1.json", WANTED)])
            .await;
    let mut process = Process::start(&stage).await;
    stage.far.away.store(true, SeqCst);

    // The first calls find nobody; from then on nobody is called.
    send(&stage, &process.engine, 0..20).await;
    let copies = process.turn().await;
    process.carry(&copies).await;
    let called = stage.far.script().calls.len();
    assert_eq!(called, 5, "what was in hand is not tried any more");
    assert!(process.engine.is_held("deliver"));
    send(&stage, &process.engine, 20..WAITING).await;
    for _ in 0..DAYS * 24 * 6 {
        stage.pass(10);
        assert!(process.turn().await.is_empty(), "it is published to nobody");
    }
    assert_eq!(stage.far.script().calls.len(), called, "it is probed, not called");
    for row in stage.rows("deliver").await {
        assert_eq!((row.attempts, row.state), (0, DeliveryState::Queued), "{:?}", row.fault);
        assert!(row.give_up_at.is_none_or(|end| end > snodo::clock::Clock::now(&*stage.clock)));
    }

    stage.far.away.store(false, SeqCst);
    stage.pass(1);
    let (mut old, mut tenths, mut sent) = (Vec::new(), 0, WAITING);
    let mut first = process.turn().await;
    assert_eq!(stage.far.script().calls.len(), called + 1, "one of them tries");
    while old.len() + 1 < usize::try_from(WAITING).expect("few") {
        stage.clock.pass(Duration::from_millis(100));
        send(&stage, &process.engine, sent..sent + FRESH).await;
        let copies = [std::mem::take(&mut first), process.turn().await].concat();
        let fresh = copies.iter().filter(|copy| number(copy) >= sent).count();
        assert_eq!(fresh as u64, FRESH, "fresh ones do not wait behind the old");
        old.extend(copies.iter().map(number).filter(|n| *n < WAITING));
        process.carry(&copies).await;
        (tenths, sent) = (tenths + 1, sent + FRESH);
        assert!(tenths < 100, "too slow");
    }
    let mut sorted = old.clone();
    sorted.sort_unstable();
    assert_eq!(old, sorted, "in the order of acceptance");
    // 500 a second: 200 fresh, 300 old ones.
    assert!((38..=46).contains(&tenths), "{tenths} tenths of a second");
    assert!(stage.rows("deliver").await.iter().all(|row| row.state == DeliveryState::Completed));
}

// --- an outage beside a route that is well ----------------------------------------------------------

/// How long, unless `SNODO_OUTAGE_SECONDS` says so; before it as long at most.
const SECONDS: u64 = 8;
const PER_SECOND: u64 = 50;
const PATIENCE: Duration = Duration::from_mins(2);
/// A busy machine is slower than this before anything is wrong; the long run is not so patient.
const NOISE: Duration = Duration::from_millis(400);

const SICK: &str = "steps:\n  - call:\n      use: target.put\n      with: { key: \"${ .key }\", n: \"${ .n }\" }\n";
const WELL: &str =
    "steps:\n  - call:\n      use: other.put\n      with: { key: \"${ .key }\", n: \"${ .n }\" }\n";

/// When each number arrived.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<BTreeMap<u64, Instant>>>);

impl Arrivals {
    fn len(&self) -> u64 {
        self.0.lock().expect("whole").len() as u64
    }

    fn router(&self) -> Router {
        Router::new().route("/put", post(put)).with_state(self.clone())
    }
}

async fn put(State(arrivals): State<Arrivals>, Json(body): Json<Value>) -> StatusCode {
    let Some(n) = body["n"].as_u64() else { return StatusCode::BAD_REQUEST };
    arrivals.0.lock().expect("whole").entry(n).or_insert_with(Instant::now);
    StatusCode::OK
}

/// Serves on this address until it is aborted.
async fn serve_at(address: SocketAddr, arrivals: &Arrivals) -> JoinHandle<()> {
    let listener = TcpListener::bind(address).await.expect("the port is free again");
    let app = arrivals.router();
    tokio::spawn(async move { axum::serve(listener, app).await.expect("served") })
}

/// Posts to both routes at a steady rate; when each was due.
async fn drive(house: &HouseFolder, first: u64, seconds: u64) -> BTreeMap<u64, Instant> {
    let mut client = Client::new(house.http);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / 50);
    let mut due = BTreeMap::new();
    for n in first..first + seconds * PER_SECOND {
        ticks.tick().await;
        due.insert(n, Instant::now());
        for word in ["well", "sick"] {
            let mut event = event(word, n, n);
            event["source"] = json!(format!("/{word}"));
            let answer = client.send(&post_message(TOKEN, &event)).await.expect("an answer");
            assert_eq!(answer.status, 202);
        }
    }
    due
}

fn p99(due: &BTreeMap<u64, Instant>, arrivals: &Arrivals) -> Duration {
    let arrived = arrivals.0.lock().expect("whole");
    let mut waits: Vec<_> =
        due.iter().map(|(n, due)| arrived[n].saturating_duration_since(*due)).collect();
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

#[expect(clippy::disallowed_methods, reason = "a test is told from outside how long to be")]
fn asked() -> Option<u64> {
    std::env::var("SNODO_OUTAGE_SECONDS").ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_whose_target_is_away_does_not_slow_another_down() {
    let seconds = asked().unwrap_or(SECONDS);
    let folder = tempfile::tempdir().expect("a folder");
    let (sick, well) = (Arrivals::default(), Arrivals::default());
    let other = serve(well.router()).await;
    let target =
        TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let serving = serve_at(target, &sick).await;
    let endpoint = node::vhost().await;
    let broker = node::settings_of(&endpoint, folder.path()).expect("written");
    let house = house(&folder.path().join("house"), &broker, target, &["sick", "well"]);
    let settings = std::fs::read_to_string(house.path.join("config/snodo.yaml")).expect("there");
    let mut settings: Value = serde_json::from_str(&settings).expect("JSON");
    settings["adapters"]["other"] = settings["adapters"]["target"].clone();
    settings["adapters"]["other"]["base"] = json!(format!("http://{other}"));
    settings["adapters"]["other"]["limits"] = json!({ "at_once": 8, "rate": "1000/s" });
    write(&house, "config/snodo.yaml", &settings.to_string());
    write(&house, "routes/sick.yaml", &route("sick", SICK));
    write(&house, "routes/well.yaml", &route("well", WELL));
    super::workshop::snodo(&house, &["topology", "apply"]);
    let mut bus = start(&house).await;

    let before = drive(&house, 0, seconds.min(20)).await;
    let first = before.len() as u64;
    until("both to be well", PATIENCE, || sick.len() == first && well.len() == first).await;
    serving.abort();
    let _ = serving.await;
    let during = drive(&house, first, seconds).await;
    let all = first + during.len() as u64;
    until("the other route to go on", PATIENCE, || well.len() == all).await;
    eventually("the breaker to be shown", PATIENCE, || async {
        let figures = figures(&house).await?;
        let held = figures.sum("snodo_route_held", &[("route", "sick")]);
        let up = figures.sum("snodo_consumer_active", &[("route", "sick")]);
        let state = figures.sum("snodo_circuit_state", &[("target", "target")]);
        ((held, up, state) == (1, 1, 2)).then_some(())
    })
    .await;
    let status = Client::new(house.http).send(&get("/status", TOKEN)).await.expect("an answer");
    assert_eq!(status.json()["degraded"], json!(["targets"]), "{}", status.json());
    let (was, is) = (p99(&before, &well), p99(&during, &well));
    println!("p99 of the other route: {was:?} before, {is:?} during {seconds} s of outage");
    let floor = if asked().is_some() { Duration::from_millis(20) } else { NOISE };
    assert!(is < was.max(floor) * 2, "{was:?} before, {is:?} during the outage");

    let _serving = serve_at(target, &sick).await;
    until("what has waited to arrive", PATIENCE, || sick.len() == all).await;
    eventually("nothing to be open", PATIENCE, || async {
        let figures = figures(&house).await?;
        assert_eq!(figures.broken_equations(), [""; 0]);
        assert_eq!(figures.sum("snodo_deliveries", &[("state", "parked")]), 0);
        let open = figures.sum("snodo_deliveries", &[("state", "open")]);
        let away = figures.sum("snodo_circuit_state", &[]);
        ((open, away) == (0, 0)).then_some(())
    })
    .await;
    assert!(bus.terminate().await.expect("it ends").success());
}
