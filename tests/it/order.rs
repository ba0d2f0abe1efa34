//! `order_by` on a bad day: a real bus is killed, its target stumbles, two queues are deleted.
//!
//! Invariant: the far side writes down what takes effect, in the order in which it does; of each key
//! that is the order in which its messages were accepted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::Value;
use snodo::broker::{
    management::{Management, segment},
    session::Endpoint,
};
use snodo_core::topology::shard_queue;
use snodo_tests::{
    bus::{BusProcess, HouseFolder},
    chaos::plan::Dice,
    client::{Client, post_message},
    node,
    wait::{eventually, until},
};

use super::workshop::{TOKEN, event, figures, house, route, serve, snodo, start, write};

/// How many messages, unless `SNODO_ORDER_MESSAGES` says so; a key for every forty of them.
const MESSAGES: u64 = 2_000;
const OF_A_KEY: u64 = 40;
/// Who brings them: each has keys of its own, so that what comes after what is known.
const DRIVERS: u64 = 8;
/// Until everything is done, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(8);
/// Calls of a hundred that fail for now.
const STUMBLES: u64 = 10;

/// After the head of the route.
const ROUTE: &str = "\
order_by: ${ .key }
on_park: hold
shards: 4
steps:
  - call:
      use: target.put
      with:
        key: ${ .key }
        n: ${ .n }
";

/// Writes down what takes effect: first calls of a message, by key.
#[derive(Clone, Default)]
struct Far {
    effects: Arc<Mutex<BTreeMap<u64, Vec<u64>>>>,
    done: Arc<Mutex<BTreeSet<u64>>>,
    dice: Arc<Mutex<Option<Dice>>>,
    /// Whether the key 0 is refused.
    refuses: Arc<AtomicBool>,
}

impl Far {
    async fn start(&self) -> SocketAddr {
        serve(Router::new().route("/put", post(put)).with_state(self.clone())).await
    }

    fn stumbles(&self) -> bool {
        let mut dice = self.dice.lock().expect("whole");
        dice.get_or_insert_with(|| Dice::new(11)).between(1, 100) <= STUMBLES
    }

    fn done(&self) -> u64 {
        self.done.lock().expect("whole").len() as u64
    }

    fn of(&self, key: u64) -> Vec<u64> {
        self.effects.lock().expect("whole").get(&key).cloned().unwrap_or_default()
    }
}

async fn put(State(far): State<Far>, Json(body): Json<Value>) -> StatusCode {
    let (Some(key), Some(n)) = (body["key"].as_u64(), body["n"].as_u64()) else {
        return StatusCode::BAD_REQUEST;
    };
    if key == 0 && far.refuses.load(SeqCst) {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    if far.stumbles() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if far.done.lock().expect("whole").insert(n) {
        far.effects.lock().expect("whole").entry(key).or_default().push(n);
    }
    if far.stumbles() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
}

/// Brings the messages of some keys one after the other, each until it is in custody.
async fn drive(http: SocketAddr, driver: u64, messages: u64, accepted: Arc<AtomicU64>) {
    let mut client = Client::new(http);
    let keys = messages / OF_A_KEY;
    for n in (0..messages).filter(|n| n % keys % DRIVERS == driver) {
        let request = post_message(TOKEN, &event("line", n % keys, n));
        // The bus is killed meanwhile: the same again, until there is an answer.
        while client.send(&request).await.map_or(0, |answer| answer.status) != 202 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        accepted.fetch_add(1, SeqCst);
    }
}

async fn delete_queue(endpoint: &Endpoint, queue: &str) {
    let management = Management::of(endpoint).expect("management");
    let path = format!("/api/queues/{}/{}", segment(&endpoint.vhost), segment(queue));
    management.delete(&path).await.expect("deleted");
}

async fn restart(bus: &mut BusProcess, house: &HouseFolder) {
    bus.kill().await.expect("killed");
    *bus = start(house).await;
}

#[expect(clippy::disallowed_methods, reason = "a test is told from outside how long to be")]
fn asked() -> Option<u64> {
    std::env::var("SNODO_ORDER_MESSAGES").ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_keeps_its_order_through_faults_kills_and_lost_queues() {
    let messages = asked().unwrap_or(MESSAGES);
    let keys = messages / OF_A_KEY;
    let folder = tempfile::tempdir().expect("a folder");
    let far = Far::default();
    far.refuses.store(true, SeqCst);
    let target = far.start().await;
    let endpoint = node::vhost().await;
    let broker = node::settings_of(&endpoint, folder.path()).expect("written");
    let house = house(&folder.path().join("house"), &broker, target, &["line"]);
    write(&house, "routes/line.yaml", &route("line", ROUTE));
    snodo(&house, &["topology", "apply"]);
    let mut bus = start(&house).await;

    let accepted = Arc::new(AtomicU64::new(0));
    for driver in 0..DRIVERS {
        tokio::spawn(drive(house.http, driver, messages, Arc::clone(&accepted)));
    }
    let taken = |share: u64| {
        let accepted = Arc::clone(&accepted);
        until("messages to be taken", PATIENCE, move || {
            accepted.load(SeqCst) >= messages * share / 4
        })
    };
    taken(1).await;
    restart(&mut bus, &house).await;
    taken(2).await;
    delete_queue(&endpoint, &shard_queue("line", 0)).await;
    delete_queue(&endpoint, &shard_queue("line", 2)).await;
    snodo(&house, &["topology", "apply"]);
    taken(3).await;
    restart(&mut bus, &house).await;
    taken(4).await;

    let all_but_one = messages - OF_A_KEY;
    until("every key but the parked one to be done", PATIENCE, || far.done() >= all_but_one).await;
    assert_eq!(far.of(0), [0_u64; 0], "its first message waits for a person, the others behind it");
    for key in 1..keys {
        let expected: Vec<u64> = (0..OF_A_KEY).map(|turn| turn * keys + key).collect();
        assert_eq!(far.of(key), expected, "key {key}");
    }
    let parked: Value =
        serde_json::from_str(&snodo(&house, &["parked", "list", "--json"])).expect("JSON");
    let rows = parked["deliveries"].as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), 1, "{parked}");

    far.refuses.store(false, SeqCst);
    let id = rows[0]["id"].as_str().expect("an id");
    snodo(&house, &["parked", "replay", id, "--reason", "the target takes it now"]);
    until("the parked key to be done", PATIENCE, || far.done() == messages).await;
    let expected: Vec<u64> = (0..OF_A_KEY).map(|turn| turn * keys).collect();
    assert_eq!(far.of(0), expected);
    eventually("nothing to be open", PATIENCE, || async {
        let figures = figures(&house).await?;
        assert_eq!(figures.broken_equations(), [""; 0]);
        let open = figures.sum("snodo_deliveries", &[("state", "open")]);
        (open == 0).then_some(())
    })
    .await;
    assert!(bus.terminate().await.expect("it ends").success());
}
