//! Each crash point is where its name says: what a bus that died there leaves behind.
//!
//! Invariant: one kind of message and one crash; what is asked are the rows, the queues and the far
//! side's log, never the bus.

use std::time::Duration;

use serde_json::json;
use snodo::broker::session::Endpoint;
use snodo_tests::{
    bus::{BusProcess, HouseFolder},
    chaos::{
        house::{self, Places, TOKEN, event, route_of},
        target::Target,
    },
    client::{Client, post_message},
    node,
    wait::{eventually, until},
};

use crate::broker::ready;

const BOUND: Duration = Duration::from_mins(1);
/// Longer than the way of a request, shorter than any deadline.
const ANSWER_MS: (u64, u64) = (400, 400);
/// The messages whose numbers are these modulo eight go to the route of this name.
const REGISTER: u64 = 0;
const ONCE: u64 = 1;
const TRANSIT: u64 = 3;

/// A house whose bus has died.
struct Died {
    house: HouseFolder,
    endpoint: Endpoint,
    target: Target,
    /// Of the messages that were posted.
    answered: u64,
    _folder: tempfile::TempDir,
}

impl Died {
    /// The vhost is named after the point and the message, which no two tests share.
    async fn at(point: &str, number: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let house = HouseFolder::new(folder.path()).expect("a house");
        let vhost = format!("point-{point}-{number}");
        let endpoint = node::shared().await.endpoint().in_vhost(&vhost);
        let broker = house::broker(&endpoint, &house).await.expect("a vhost");
        let log = folder.path().join("target.log");
        let target = Target::start(&log, 1, ANSWER_MS).await.expect("a target");
        let ledger = json!({ "sqlite": "ledger.db" });
        let places = Places { ledger, broker, target: target.address() };
        house::write(&house, &places).expect("the house is written");
        let mut died = Self { house, endpoint, target, answered: 0, _folder: folder };
        died.once_more(point, number).await;
        died
    }

    /// Starts a bus that dies at `point`, and posts until it has.
    async fn once_more(&mut self, point: &str, number: u64) {
        let at = format!("{point}:1");
        let mut bus = BusProcess::spawn(&self.house, &[("SNODO_CRASH_AT", &at)]).expect("a bus");
        // Some points lie before it is ready.
        let _ = bus.ready(BOUND).await;
        let mut client = Client::new(self.house.http);
        for n in 0..20 {
            if bus.has_ended() {
                break;
            }
            let request = post_message(TOKEN, &event(number + 8 * n));
            let answer = client.send(&request).await;
            self.answered += u64::from(answer.is_ok_and(|answer| answer.status == 202));
            // Time enough to reach the point; if it is not on this message's way, the next one goes.
            let ended = until(point, BOUND, || bus.has_ended());
            let waited = tokio::time::timeout(Duration::from_secs(2), ended);
            if waited.await.is_ok() {
                break;
            }
        }
        until(point, BOUND, || bus.has_ended()).await;
    }

    async fn count(&self, what: &'static str) -> i64 {
        let file = format!("sqlite:{}", self.house.path.join("data/ledger.db").display());
        let pool = sqlx::SqlitePool::connect(&file).await.expect("the ledger");
        let count = sqlx::query_scalar(what).fetch_one(&pool).await.expect("a count");
        pool.close().await;
        count
    }

    /// Waits until the copies of a dead bus are back in its route's queue.
    async fn comes_back(&self, copies: u32, number: u64) {
        let queue = format!("route.{}", route_of(number));
        let there = async || (ready(&self.endpoint, &queue).await == Some(copies)).then_some(());
        eventually(&queue, BOUND, there).await;
    }

    /// What the far side has done, once all that was under way before has been.
    async fn done(&self) -> usize {
        let probe = reqwest::Client::new()
            .post(format!("http://{}/recallable", self.target.address()))
            .header("idempotency-key", "probe")
            .header("content-type", "application/json")
            .body(json!({ "n": 0 }).to_string());
        assert!(probe.send().await.expect("an answer").status().is_success());
        self.target.lines().expect("the log").len() - 1
    }
}

const MESSAGES: &str = "SELECT count(*) FROM message";
const QUEUED: &str = "SELECT count(*) FROM delivery WHERE state = 0";
const UNCLAIMED: &str = "SELECT count(*) FROM delivery WHERE state IN (0, 1)";
const PUBLISHED: &str = "SELECT count(*) FROM delivery WHERE state = 1";
const CLAIMED: &str = "SELECT count(*) FROM delivery WHERE state = 2";
const COMPLETED: &str = "SELECT count(*) FROM delivery WHERE state = 7";
const INTENTS: &str = "SELECT count(*) FROM intent";
const STEPS: &str = "SELECT count(*) FROM step_done";

#[tokio::test]
async fn accept_dies_before_its_commit_after_it_and_after_the_answer() {
    for (point, messages, answered) in [("CP1", 0, 0), ("CP2", 0, 0), ("CP3", 1, 0), ("CP4", 1, 1)]
    {
        let died = Died::at(point, REGISTER).await;
        assert_eq!((died.count(MESSAGES).await, died.answered), (messages, answered), "{point}");
    }
}

#[tokio::test]
async fn the_relay_dies_before_it_publishes_before_it_knows_and_before_it_marks() {
    // What the first bus accepted and did not publish, the second one selects.
    let mut died = Died::at("CP3", ONCE).await;
    died.once_more("CP5", ONCE).await;
    assert_eq!(died.count(QUEUED).await, 1, "selected");
    died.comes_back(0, ONCE).await;
    let died = Died::at("CP7", ONCE).await;
    assert_eq!(died.count(PUBLISHED).await, 0, "confirmed, not marked");
    died.comes_back(1, ONCE).await;
    let died = Died::at("CP6", ONCE).await;
    assert!(died.count(QUEUED).await > 0, "published, nobody knows");
}

#[tokio::test]
async fn a_group_dies_before_its_commit() {
    let died = Died::at("CP8", REGISTER).await;
    assert_eq!(died.count("SELECT count(*) FROM route_version").await, 0);
}

#[tokio::test]
async fn a_delivery_dies_before_its_claim_after_it_and_with_its_input_ready() {
    let died = Died::at("CP9", ONCE).await;
    assert_eq!(died.count(UNCLAIMED).await, 1, "received");
    died.comes_back(1, ONCE).await;
    for point in ["CP10", "CP11"] {
        let died = Died::at(point, ONCE).await;
        assert_eq!((died.count(CLAIMED).await, died.count(INTENTS).await), (1, 0), "{point}");
    }
}

#[tokio::test]
async fn an_emission_dies_before_it_is_published_and_before_its_cause_is_acknowledged() {
    let died = Died::at("CP12", TRANSIT).await;
    assert_eq!((died.count(COMPLETED).await, died.count(QUEUED).await), (1, 1), "committed");
    died.comes_back(1, TRANSIT).await;
    let died = Died::at("CP13", TRANSIT).await;
    assert_eq!((died.count(COMPLETED).await, died.count(QUEUED).await), (1, 0), "published");
    died.comes_back(1, TRANSIT).await;
}

#[tokio::test]
async fn a_call_dies_before_it_is_begun_before_its_answer_and_before_it_is_done() {
    for (point, done) in [("CP14", 0), ("CP15", 1), ("CP16", 1)] {
        let died = Died::at(point, ONCE).await;
        let rows = (died.count(INTENTS).await, died.count(STEPS).await);
        assert_eq!((rows, died.done().await), ((1, 0), done), "{point}");
    }
    let died = Died::at("CP17", ONCE).await;
    assert_eq!((died.count(COMPLETED).await, died.count(STEPS).await), (1, 1));
    died.comes_back(1, ONCE).await;
}
