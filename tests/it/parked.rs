//! Two thousand deliveries that wait for a person: counted by cause, replayed by group, put away.
//!
//! Invariant: each is replayed once, whatever is stopped in between.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use snodo_tests::{
    bus::{HouseFolder, binaries},
    client::{Client, post_message},
    node,
    wait::{eventually, until},
};

use super::workshop::{TOKEN, command, event, figures, house, route, serve, snodo, start, write};

/// So many for each of the three causes.
const EACH: u64 = 667;
const PATIENCE: Duration = Duration::from_mins(3);

/// Says to each route's calls what it is told to say, and counts what it did.
#[derive(Clone, Default)]
struct Far {
    /// The status by the text of the call; 0 is yes.
    says: [Arc<AtomicU16>; 3],
    done: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Far {
    async fn start(&self) -> SocketAddr {
        serve(Router::new().route("/put", post(put)).with_state(self.clone())).await
    }

    /// How many were done, of the numbers that leave this rest of three.
    fn done(&self, rest: u64) -> u64 {
        let done = self.done.lock().expect("whole");
        done.keys().filter(|n| **n % 3 == rest).count() as u64
    }
}

async fn put(State(far): State<Far>, Json(body): Json<Value>) -> StatusCode {
    let Some(n) = body["n"].as_u64() else { return StatusCode::BAD_REQUEST };
    let says = far.says[usize::try_from(n % 3).expect("small")].load(SeqCst);
    if says != 0 {
        return StatusCode::from_u16(says).expect("a status");
    }
    *far.done.lock().expect("whole").entry(n).or_default() += 1;
    StatusCode::OK
}

const STEPS: &str = "\
steps:
  - call:
      use: target.put
      with: { key: \"${ .key }\", n: \"${ .n }\" }
";

fn groups(house: &HouseFolder) -> Vec<(String, u64)> {
    let told: Value =
        serde_json::from_str(&snodo(house, &["parked", "groups", "--json"])).expect("JSON");
    let groups = told["groups"].as_array().cloned().unwrap_or_default();
    let group = |group: &Value| {
        let route = group["route"].as_str().unwrap_or_default().to_owned();
        (route, group["parked"].as_u64().unwrap_or_default())
    };
    let mut groups: Vec<_> = groups.iter().map(group).collect();
    groups.sort();
    groups
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_parked_deliveries_are_put_right_by_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let far = Far::default();
    for (says, status) in far.says.iter().zip([422, 404, 409]) {
        says.store(status, SeqCst);
    }
    let target = far.start().await;
    let broker = node::settings_of(&node::vhost().await, folder.path()).expect("written");
    let words = ["one", "two", "three"];
    let house = house(&folder.path().join("house"), &broker, target, &words);
    for word in words {
        write(&house, &format!("routes/{word}.yaml"), &route(word, STEPS));
    }
    snodo(&house, &["topology", "apply"]);
    let mut bus = start(&house).await;
    let mut client = Client::new(house.http);
    for n in 0..3 * EACH {
        let word = words[usize::try_from(n % 3).expect("small")];
        let answer = client.send(&post_message(TOKEN, &event(word, n, n))).await;
        assert_eq!(answer.expect("an answer").status, 202);
    }
    eventually("all to be parked", PATIENCE, || async {
        let parked = figures(&house).await?.sum("snodo_deliveries", &[("state", "parked")]);
        (u64::try_from(parked).ok()? == 3 * EACH).then_some(())
    })
    .await;
    let of = |route: &str, many: u64| (route.to_owned(), many);
    assert_eq!(groups(&house), [of("one", EACH), of("three", EACH), of("two", EACH)]);

    // One cause is mended, and its group goes through, each once.
    far.says[0].store(0, SeqCst);
    let group = ["parked", "replay", "--all", "--route", "one", "--rate", "5000"];
    let reason = ["--reason", "the target takes them now"];
    let said = snodo(&house, &[&group[..], &reason].concat());
    insta::assert_snapshot!(said, @"667 of 667 replayed");
    until("the first group to be done", PATIENCE, || far.done(0) == EACH).await;
    assert_eq!(groups(&house), [of("three", EACH), of("two", EACH)]);

    // The second is stopped on its way; then the rest of it.
    far.says[1].store(0, SeqCst);
    let group = ["parked", "replay", "--all", "--route", "two", "--rate", "50"];
    let slow = tokio::process::Command::new(binaries().expect("built").join("snodo"))
        .args([&group[..], &reason].concat())
        .current_dir(&house.path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    until("some of the second group to be done", PATIENCE, || far.done(1) > 20).await;
    let pid = i32::try_from(slow.id().expect("it runs")).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), Signal::INT).expect("interrupted");
    let output = slow.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.ends_with("stopped; the others are still parked\n"), "{said}");
    let left = groups(&house);
    assert!(left.contains(&of("three", EACH)) && left.len() == 2 && left[1].1 < EACH, "{left:?}");
    let group = ["parked", "replay", "--all", "--code", "SN0764", "--rate", "5000"];
    let said = command(&house, &[&group[..], &reason].concat());
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    until("the second group to be done", PATIENCE, || far.done(1) == EACH).await;
    assert!(far.done.lock().expect("whole").values().all(|times| *times == 1), "each once");

    // What is put away has a reason, and is counted.
    eventually("the third group to be parked again", PATIENCE, || async {
        (groups(&house) == [of("three", EACH)]).then_some(())
    })
    .await;
    let told: Value =
        serde_json::from_str(&snodo(&house, &["parked", "list", "--json"])).expect("JSON");
    let id = told["deliveries"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(command(&house, &["parked", "discard", &id]).status.code(), Some(2), "no reason");
    snodo(&house, &["parked", "discard", &id, "--reason", "sent twice by mistake"]);
    let shown = eventually("it to be counted", PATIENCE, || async {
        let figures = figures(&house).await?;
        let discarded = [("route", "three"), ("state", "discarded")];
        (figures.sum("snodo_deliveries_ended_total", &discarded) == 1).then_some(figures)
    })
    .await;
    assert_eq!(shown.broken_equations(), [""; 0]);
    let told: Value =
        serde_json::from_str(&snodo(&house, &["ledger", "stats", "--json"])).expect("JSON");
    assert_eq!(told["brokenInvariants"], json!([]));
    assert!(bus.terminate().await.expect("it ends").success());
}
