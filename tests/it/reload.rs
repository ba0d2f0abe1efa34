//! Reload on a real bus: what is in flight keeps its version, and nothing is left behind.
//!
//! Invariant: what was accepted before a reload has its effects as the old files say, what comes after
//! as the new ones say, whatever dies in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};
use snodo_tests::{
    bus::HouseFolder,
    client::{Answer, Client, get, post_message},
    node,
    wait::{eventually, until},
};

use super::workshop::{
    TOKEN, command, event, figures, house, party, route, schema, serve, snodo, start, write,
};

/// In flight at the reload.
const MESSAGES: u64 = 2_000;
/// Everything is done within this on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// One effect: of which step, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Effect {
    step: String,
    text: String,
}

/// The target: holds its answers back while it is told to, and applies each key once.
#[derive(Clone, Default)]
struct Far {
    holds: Arc<AtomicBool>,
    keys: Arc<Mutex<BTreeSet<String>>>,
    effects: Arc<Mutex<BTreeMap<u64, Vec<Effect>>>>,
}

impl Far {
    async fn start(&self) -> SocketAddr {
        serve(Router::new().route("/{operation}", post(put)).with_state(self.clone())).await
    }

    fn effects(&self) -> BTreeMap<u64, Vec<Effect>> {
        self.effects.lock().expect("whole").clone()
    }

    /// How many messages have had so many effects.
    fn done(&self, effects: usize) -> usize {
        self.effects().values().filter(|of| of.len() >= effects).count()
    }
}

async fn put(
    State(far): State<Far>,
    Path(_): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> StatusCode {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let (Some((_, step)), Some(n)) = (key.split_once('/'), body["n"].as_u64()) else {
        return StatusCode::BAD_REQUEST;
    };
    while far.holds.load(SeqCst) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if far.keys.lock().expect("whole").insert(key.to_owned()) {
        let text = body["text"].as_str().unwrap_or_default().to_owned();
        let effect = Effect { step: step.to_owned(), text };
        far.effects.lock().expect("whole").entry(n).or_default().push(effect);
    }
    StatusCode::OK
}

/// Two steps; the first is called `step`.
fn steps(step: &str, text: &str) -> String {
    let call = |step: &str, operation: &str, text: &str| {
        format!(
            "  - {step}:\n      use: target.{operation}\n      with:\n        key: ${{ .key }}\n        \
             n: ${{ .n }}\n        text: {text} ${{ .n }}\n"
        )
    };
    format!("steps:\n{}{}", call(step, "put", text), call("after", "also", text))
}

async fn sent(client: &mut Client, token: &str, event: &Value) -> Answer {
    client.send(&post_message(token, event)).await.expect("an answer")
}

async fn send(house: &HouseFolder, words: [&str; 2], numbers: std::ops::Range<u64>) {
    let mut client = Client::new(house.http);
    for n in numbers {
        let word = words[usize::from(n % 2 == 1)];
        assert_eq!(sent(&mut client, TOKEN, &event(word, n, n)).await.status, 202);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_keeps_its_version_through_a_reload_and_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let far = Far::default();
    far.holds.store(true, SeqCst);
    let target = far.start().await;
    let broker = node::settings_of(&node::vhost().await, folder.path()).expect("written");
    let house = house(&folder.path().join("house"), &broker, target, &["one", "two"]);
    write(&house, "routes/one.yaml", &route("one", &steps("call", "old")));
    write(&house, "routes/two.yaml", &route("two", &steps("call", "old")));
    snodo(&house, &["topology", "apply"]);
    let mut bus = start(&house).await;
    send(&house, ["one", "two"], 0..MESSAGES).await;
    let open = [("state", "open")];
    eventually("all to be in flight", PATIENCE, || async {
        let figures = figures(&house).await?;
        (figures.sum("snodo_deliveries", &open) == i64::try_from(MESSAGES).ok()?).then_some(())
    })
    .await;

    // A step of one is renamed, the mapping of the other is another.
    write(&house, "routes/one.yaml", &route("one", &steps("tell", "old")));
    write(&house, "routes/two.yaml", &route("two", &steps("call", "new")));
    snodo(&house, &["reload"]);
    let told: Value =
        serde_json::from_str(&snodo(&house, &["describe", "one", "--json"])).expect("JSON");
    assert_eq!(told["routes"][0]["steps"][0]["step"], "tell");
    assert_eq!(told["older"][0]["owed"], MESSAGES / 2, "{told}");
    send(&house, ["one", "two"], MESSAGES..MESSAGES + 100).await;
    far.holds.store(false, SeqCst);
    until("some of it to be done", PATIENCE, || far.done(1) > 300).await;
    bus.kill().await.expect("killed");
    let mut bus = start(&house).await;
    send(&house, ["one", "two"], MESSAGES + 100..MESSAGES + 200).await;
    let all = usize::try_from(MESSAGES + 200).expect("small");
    until("everything to be done", PATIENCE, || far.done(2) == all).await;

    for (n, effects) in far.effects() {
        let is_new = n >= MESSAGES;
        let step = if is_new && n % 2 == 0 { "tell" } else { "call" };
        let text = format!("{} {n}", if is_new && n % 2 == 1 { "new" } else { "old" });
        let effect = |step: &str| Effect { step: step.to_owned(), text: text.clone() };
        assert_eq!(effects, [effect(step), effect("after")], "message {n}");
    }
    eventually("nothing to be open", PATIENCE, || async {
        let figures = figures(&house).await?;
        assert_eq!(figures.broken_equations(), [""; 0]);
        (figures.sum("snodo_deliveries", &open) == 0).then_some(())
    })
    .await;
    assert!(bus.terminate().await.expect("it ends").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_what_is_in_order_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let far = Far::default();
    let target = far.start().await;
    let broker = node::settings_of(&node::vhost().await, folder.path()).expect("written");
    let house = house(&folder.path().join("house"), &broker, target, &["one", "two"]);
    write(&house, "routes/one.yaml", &route("one", &steps("call", "old")));
    write(&house, "routes/two.yaml", &route("two", &steps("call", "old")));
    snodo(&house, &["topology", "apply"]);
    let nobody = command(&house, &["reload"]);
    assert_eq!(nobody.status.code(), Some(1), "no bus runs yet");
    assert!(String::from_utf8_lossy(&nobody.stdout).contains("SN0873"), "{nobody:?}");
    let mut bus = start(&house).await;
    let mut client = Client::new(house.http);

    // A mistake changes nothing, and is seen from outside until it is mended.
    write(&house, "routes/one.yaml", &route("one", "steps: nothing\n"));
    let wrong = command(&house, &["reload"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8_lossy(&wrong.stdout).into_owned();
    assert!(said.contains("SN0874") && said.contains("routes/one.yaml:7:8"), "{said}");
    let status = client.send(&get("/status", "")).await.expect("an answer").json();
    assert_eq!(status["degraded"], json!(["routes"]), "{status}");
    assert_eq!(sent(&mut client, TOKEN, &event("one", 0, 0)).await.status, 202);
    until("it to be done by the old route", PATIENCE, || far.done(2) == 1).await;

    // A broker that lacks the new queue is a refusal; then route, type and party are there.
    write(&house, "routes/one.yaml", &route("one", &steps("call", "old")));
    write(&house, "routes/three.yaml", &route("three", &steps("call", "new")));
    schema(&house, "three");
    party(&house, "another", "another-token", &["three"]);
    let lacking = command(&house, &["reload"]);
    assert_eq!(lacking.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lacking.stdout).contains("SN0822"), "{lacking:?}");
    snodo(&house, &["topology", "apply"]);
    assert_eq!(sent(&mut client, "another-token", &event("three", 1, 1)).await.status, 401);
    let said = snodo(&house, &["reload"]);
    insta::assert_snapshot!(said, @"new      three");
    assert_eq!(sent(&mut client, "another-token", &event("three", 1, 1)).await.status, 202);
    until("the new route to have done it", PATIENCE, || far.done(2) == 2).await;
    let known = figures(&house).await.expect("metrics");
    assert_eq!(known.sum("snodo_deliveries_created_total", &[("route", "three")]), 1);
    assert_eq!(known.sum("snodo_consumer_active", &[("route", "three")]), 1);
    let status = client.send(&get("/status", "")).await.expect("an answer").json();
    assert_eq!(status["degraded"], json!([]), "{status}");

    // A route that owes something stays, unless the bus is told to wait for it.
    far.holds.store(true, SeqCst);
    assert_eq!(sent(&mut client, TOKEN, &event("two", 2, 2)).await.status, 202);
    std::fs::remove_file(house.path.join("routes/two.yaml")).expect("removed");
    party(&house, "driver", TOKEN, &["one"]);
    let owing = command(&house, &["reload"]);
    assert_eq!(owing.status.code(), Some(1));
    let said = String::from_utf8_lossy(&owing.stdout).into_owned();
    assert!(said.contains("SN0870: route `two` cannot go: it still owes 1 delivery"), "{said}");
    let draining = {
        let house = house.clone();
        tokio::task::spawn_blocking(move || snodo(&house, &["reload", "--drain"]))
    };
    eventually("the type to be refused for now", PATIENCE, || {
        let mut client = Client::new(house.http);
        async move {
            let answer = sent(&mut client, TOKEN, &event("two", 3, 3)).await;
            (answer.status == 503 && answer.json()["reason"] == "drain").then_some(())
        }
    })
    .await;
    assert_eq!(sent(&mut client, TOKEN, &event("one", 4, 4)).await.status, 202, "others go on");
    far.holds.store(false, SeqCst);
    let said = draining.await.expect("no panic");
    insta::assert_snapshot!(said, @"removed  two");
    assert_eq!(sent(&mut client, TOKEN, &event("two", 5, 5)).await.status, 403);

    // What only a start reads.
    let settings = std::fs::read_to_string(house.path.join("config/snodo.yaml")).expect("read");
    write(&house, "config/snodo.yaml", &settings.replace("100000", "99999"));
    let other = command(&house, &["reload"]);
    assert!(String::from_utf8_lossy(&other.stdout).contains("SN0872"), "{other:?}");
    write(&house, "config/snodo.yaml", &settings);

    // And by itself, once files are saved.
    write(&house, "routes/one.yaml", &route("one", &steps("call", "saved")));
    eventually("the saved route to run", PATIENCE, || {
        let mut client = Client::new(house.http);
        let (far, n) = (far.clone(), 1_000 + far.effects().len() as u64);
        async move {
            sent(&mut client, TOKEN, &event("one", n, n)).await;
            let texts: Vec<_> = far.effects().into_values().flatten().collect();
            texts.iter().any(|effect| effect.text.starts_with("saved")).then_some(())
        }
    })
    .await;
    assert!(bus.terminate().await.expect("it ends").success());
}
