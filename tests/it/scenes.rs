//! Scenes from a bad day: the broker goes, the region's service goes. A real bus in a process of its own.
//!
//! Invariant: what was answered 202 is delivered in the end, each effect once; nobody is refused who
//! need not be.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use lapin::{Connection, ConnectionProperties, options::BasicGetOptions};
use serde_json::Value;
use snodo::broker::{
    node::{NodeOptions, PrivateNode},
    session::Secret,
};
use snodo_sandbox::{Sandbox, SandboxOptions};
use snodo_tests::{
    bus::{BusProcess, HouseFolder, binaries},
    chaos::figures::Figures,
    client::{Answer, Client, get, post_json, post_message},
    node,
    palermo::{self, REGION_TOKEN, Run, SPORTELLO_TOKEN, residence, set_line, vehicle_tax},
    wait::eventually,
};

mod documents;
mod facts;
mod registry;

/// Deliveries of one route that may wait.
const CAP: u8 = 20;
/// A broker starts, or everything is delivered, within this on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Tries again soon: the scenes are short.
const SOON: &str = "{ first: 200ms, longest: 1s, give_up_after: 1h }";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn region_in(folder: &Path) -> Sandbox {
    let log = folder.join("region.log");
    let options = SandboxOptions { log, delay_ms: (1, 5), seed: 1 };
    Sandbox::start(options).await.expect("the region's service starts")
}

/// Palermo's house, with parties that may send as fast as they like.
fn palermo_in(folder: &Path, run: &Run) -> HouseFolder {
    let house = HouseFolder::new(folder).expect("a house");
    palermo::write(&house, &repository(), run).expect("written");
    for party in ["comune-sportello", "region"] {
        let file = format!("config/parties/{party}.yaml");
        set_line(&house, &file, "limits:", "{ rate: 10000/s }").expect("written");
    }
    house
}

/// Who sends and asks.
struct Desk {
    house: HouseFolder,
    client: Client,
}

impl Desk {
    fn of(house: &HouseFolder) -> Self {
        Self { house: house.clone(), client: Client::new(house.http) }
    }

    async fn declare(&mut self, id: &str) -> Answer {
        let event = residence(id, "RSSMRA80A01G273Z");
        self.client.send(&post_message(SPORTELLO_TOKEN, &event)).await.expect("an answer")
    }

    async fn tax(&mut self, id: &str) -> Answer {
        let event = vehicle_tax(id);
        self.client.send(&post_message(REGION_TOKEN, &event)).await.expect("an answer")
    }

    async fn ask(&mut self, path: &str, token: &str) -> Answer {
        self.client.send(&get(path, token)).await.expect("an answer")
    }

    /// The states of a message and of all that came of it.
    async fn states(&mut self, id: &str, token: &str) -> Vec<String> {
        let told = self.ask(&format!("/v1/messages/{id}"), token).await.json();
        let derived = told["derived"].as_array().into_iter().flatten();
        let states = std::iter::once(&told).chain(derived);
        states.map(|told| told["state"].as_str().unwrap_or("-").to_owned()).collect()
    }

    /// Waits until these messages, and what came of them, are completed.
    async fn completed(&mut self, ids: &[String], token: &str, with_derived: usize) {
        for id in ids {
            let begun = Instant::now();
            loop {
                let states = self.states(id, token).await;
                if states.len() == with_derived && states.iter().all(|state| state == "completed") {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{id} stays {states:?}\n{}", self.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn figures(&self) -> Figures {
        Client::new(self.house.metrics).figures().await.expect("metrics")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.house.path.join("bus.log")).unwrap_or_default()
    }
}

fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.json());
    answer.json()["id"].as_str().expect("an id").to_owned()
}

/// Runs a command of `snodo` in the house.
fn snodo(house: &HouseFolder, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(binaries().expect("built").join("snodo"))
        .args(arguments)
        .current_dir(&house.path)
        .env_remove("SNODO_ENV")
        .output()
        .expect("started");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// Takes every message out of a party's queue; their ids.
async fn inbox_of(node: &PrivateNode, vhost: &str) -> Vec<String> {
    let endpoint = node.endpoint();
    let Secret::Text(password) = &endpoint.password else { panic!("a private node has its own") };
    let host = endpoint.nodes[0].trim_start_matches("amqp://").to_owned();
    let uri = format!("amqp://{}:{password}@{host}/{vhost}", endpoint.user);
    let connection =
        Connection::connect(&uri, ConnectionProperties::default()).await.expect("connected");
    let channel = connection.create_channel().await.expect("a channel");
    let mut ids = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(got) = channel.basic_get("inbox".into(), options).await.expect("readable") {
        let id = got.delivery.properties.message_id().as_ref().expect("an id").to_string();
        ids.push(id);
    }
    connection.close(200, "bye".into()).await.expect("closed");
    ids
}

/// Each message has reached the region's service once and the region's queue, by however many copies.
async fn assert_all_arrived(region: &Sandbox, node: &PrivateNode, messages: usize) {
    let calls = region.calls().expect("readable");
    let applied: Vec<_> = calls.iter().filter(|call| call.applied).collect();
    let keys: BTreeSet<_> = applied.iter().map(|call| &call.key).collect();
    assert_eq!((applied.len(), keys.len()), (messages, messages), "calls of the region's service");
    let inbox: BTreeSet<String> = inbox_of(node, "region").await.into_iter().collect();
    assert_eq!(inbox.len(), messages, "messages in the region's queue");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_broker_stopped_messages_are_taken_up_to_the_cap_and_all_are_delivered_in_the_end()
{
    let folder = tempfile::tempdir().expect("a folder");
    let region = region_in(folder.path()).await;
    let mut node = PrivateNode::start(&folder.path().join("broker"), NodeOptions::default())
        .await
        .expect("RabbitMQ starts");
    let run = Run {
        broker: node::settings(&node, folder.path()).expect("written"),
        waiting_per_route: CAP.into(),
        retry: Some(SOON),
        ..Run::of(region.addr)
    };
    let house = palermo_in(&folder.path().join("house"), &run);
    let (code, said) = snodo(&house, &["topology", "apply"]);
    assert_eq!(code, 0, "{said}");
    let mut bus = BusProcess::spawn(&house, &[]).expect("started");
    bus.ready(PATIENCE).await.expect("ready");
    let mut desk = Desk::of(&house);
    let first = id_of(&desk.declare("before").await);
    desk.completed(std::slice::from_ref(&first), SPORTELLO_TOKEN, 2).await;

    node.stop().await;
    broker_is(&mut desk, false).await;
    let ready = desk.ask("/health/ready", "").await;
    assert_eq!(ready.status, 200, "who accepts is ready: {}", String::from_utf8_lossy(&ready.body));

    let mut accepted = vec![first];
    let refused = loop {
        let begun = Instant::now();
        let answer = desk.declare(&format!("during-{}", accepted.len())).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "an answer does not wait for the broker");
        if answer.status != 202 {
            break answer;
        }
        accepted.push(id_of(&answer));
        assert!(accepted.len() <= usize::from(CAP) + 1, "more than the cap is accepted");
    };
    assert_eq!(
        accepted.len(),
        usize::from(CAP) + 1,
        "every one up to the cap, and the one before: {:?}",
        refused.json()
    );
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    let problem = refused.json();
    assert_eq!((&problem["code"], &problem["reason"]), (&"SN0615".into(), &"cap".into()));
    assert_eq!((&problem["retryable"], &problem["who_must_act"]), (&true.into(), &"bus".into()));
    assert_eq!(desk.declare("still-full").await.status, 503);
    let tax = id_of(&desk.tax("another-type").await);
    assert_eq!(
        desk.states(&accepted[1], SPORTELLO_TOKEN).await,
        ["open"],
        "and can be asked about"
    );
    let figures = desk.figures().await;
    assert_eq!(
        figures.sum("snodo_deliveries", &[("route", "residence-change"), ("state", "open")]),
        i64::from(CAP)
    );
    assert_eq!(figures.broken_equations(), [""; 0]);

    node.start_again().await.expect("RabbitMQ starts again");
    broker_is(&mut desk, true).await;
    desk.completed(&accepted, SPORTELLO_TOKEN, 2).await;
    desk.completed(&[tax], REGION_TOKEN, 2).await;
    let last = id_of(&desk.declare("after").await);
    desk.completed(&[last], SPORTELLO_TOKEN, 2).await;
    assert_all_arrived(&region, &node, usize::from(CAP) + 2).await;
    assert_eq!(desk.figures().await.broken_equations(), [""; 0]);
    assert!(bus.terminate().await.expect("it ends").success(), "{}", desk.log());
    region.stop().await;
}

/// Waits until `/status` says so of the broker.
async fn broker_is(desk: &mut Desk, there: bool) {
    let begun = Instant::now();
    loop {
        let told = desk.ask("/status", "").await.json();
        if told["components"]["broker"]["ready"] == Value::Bool(there) {
            assert_eq!(told["ready"], true, "{told}");
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}\n{}", desk.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_regions_server_stopped_the_other_routes_go_on_and_nothing_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let region = region_in(folder.path()).await;
    let address = region.addr;
    let node = PrivateNode::start(&folder.path().join("broker"), NodeOptions::default())
        .await
        .expect("RabbitMQ starts");
    let run = Run {
        broker: node::settings(&node, folder.path()).expect("written"),
        waiting_per_route: CAP.into(),
        retry: Some(SOON),
        ..Run::of(address)
    };
    let house = palermo_in(&folder.path().join("house"), &run);
    let (code, said) = snodo(&house, &["topology", "apply"]);
    assert_eq!(code, 0, "{said}");
    let mut bus = BusProcess::spawn(&house, &[]).expect("started");
    bus.ready(PATIENCE).await.expect("ready");
    let mut desk = Desk::of(&house);

    region.stop().await;
    let many = CAP + CAP / 2;
    let (mut declared, mut taxes) = (Vec::new(), Vec::new());
    for n in 0..many {
        declared.push(id_of(&desk.declare(&format!("declared-{n}")).await));
        taxes.push(id_of(&desk.tax(&format!("tax-{n}")).await));
        // One after the other, so that each route has room but the one whose target is away.
        desk.completed(&taxes[usize::from(n)..], REGION_TOKEN, 2).await;
        registered(&mut desk, &declared[usize::from(n)]).await;
    }
    let waiting = [("route", "notify-region"), ("state", "open")];
    let figures = desk.figures().await;
    assert_eq!(
        figures.sum("snodo_deliveries", &waiting),
        i64::from(many),
        "beyond its cap, unhurt"
    );
    assert_eq!(figures.sum("snodo_deliveries", &[("state", "parked")]), 0);
    assert_eq!(figures.broken_equations(), [""; 0]);
    let waits = waits_for_the_region(&house, &declared[0]);
    assert_eq!((&waits["code"], &waits["attempts"]), (&"SN0760".into(), &0.into()), "{waits}");

    let log = folder.path().join("region.log");
    let options = SandboxOptions { log, delay_ms: (1, 5), seed: 2 };
    let region = eventually("the region's port to be free", PATIENCE, || {
        let options = options.clone();
        async move { Sandbox::start_at(address, options).await.ok() }
    })
    .await;
    desk.completed(&declared, SPORTELLO_TOKEN, 2).await;
    assert_all_arrived(&region, &node, many.into()).await;
    assert_eq!(desk.figures().await.broken_equations(), [""; 0]);
    assert!(bus.terminate().await.expect("it ends").success(), "{}", desk.log());
    region.stop().await;
}

/// Waits until a declaration has its number and its event is with the region's queue.
async fn registered(desk: &mut Desk, id: &str) {
    let begun = Instant::now();
    loop {
        let told = desk.ask(&format!("/v1/messages/{id}"), SPORTELLO_TOKEN).await.json();
        if told["state"] == "completed" && told["derived"][0]["state"] == "open" {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}\n{}", desk.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The delivery to the region's service, as `snodo trace` shows it once it has met its fault.
fn waits_for_the_region(house: &HouseFolder, id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let (code, told) = snodo(house, &["trace", id, "--json"]);
        assert_eq!(code, 0, "{told}");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let deliveries = told["derived"][0]["deliveries"].as_array().cloned().unwrap_or_default();
        let waits = deliveries.into_iter().find(|delivery| delivery["route"] == "notify-region");
        let waits = waits.unwrap_or_default();
        if waits["code"].is_string() {
            return waits;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
    }
}
