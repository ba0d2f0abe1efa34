//! External bodies on a real bus: one fetches what it is owed, one asks what became of what it sent.
//!
//! Invariant: what waits in an inbox is never published and never lost, whatever dies or is reloaded;
//! a story says what happened and when, never with what.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::post,
};
use lapin::{Connection, ConnectionProperties, options::BasicGetOptions};
use serde_json::{Value, json};
use snodo::broker::session::{Endpoint, Secret};
use snodo_core::ids::Digest;
use snodo_tests::{
    bus::HouseFolder,
    client::{Answer, Client, get, post_message},
    node,
    wait::eventually,
};

use super::workshop::{TOKEN, event, figures, house, party, route, serve, snodo, start, write};

/// The token of the party that fetches.
const FETCHER: &str = "workshop-fetcher";
/// The token of a party that has nothing to do with any of it.
const STRANGER: &str = "workshop-stranger";
const PATIENCE: Duration = Duration::from_mins(1);
const INBOX: &str = "\"inbox\": \"pull\"";

/// The target: answers with the status that it is told to.
#[derive(Clone)]
struct Far(Arc<AtomicU16>);

impl Far {
    async fn start(&self) -> SocketAddr {
        serve(Router::new().route("/{operation}", post(put)).with_state(self.clone())).await
    }

    fn says(&self, status: u16) {
        self.0.store(status, SeqCst);
    }
}

async fn put(State(far): State<Far>) -> impl IntoResponse {
    let status = StatusCode::from_u16(far.0.load(SeqCst)).expect("a status");
    (status, [(CONTENT_TYPE, "application/json")], "{}")
}

/// The party `fetcher`, which gets every note by `way`.
fn fetcher(house: &HouseFolder, way: &str) {
    let digest = Digest::of(FETCHER.as_bytes());
    let text = format!(
        "{{ \"party\": \"fetcher\", \"title\": \"Fetches notes\", \"token\": {{ \"sha256\": \"{digest}\" }}, \
         \"receives\": [{{ \"type\": \"works.note.v1\", \"all\": true, \"law\": \"works\" }}], {way} }}"
    );
    write(house, "config/parties/fetcher.yaml", &text);
}

/// A house in which notes are fetched.
async fn fetching(folder: &Path, broker: &Value, far: &Far) -> HouseFolder {
    let house = house(&folder.join("house"), broker, far.start().await, &["one", "note"]);
    write(&house, "routes/laws.yaml", "works:\n  title: A law\n");
    write(
        &house,
        "routes/one.yaml",
        &route(
            "one",
            "steps:\n  - call:\n      use: target.put\n      with: { key: \"${ .key }\", n: \"${ .n }\" }\n  \
             - announce:\n      emit: works.note.v1\n      with: { key: \"${ .key }\", n: \"${ .n }\" }\n",
        ),
    );
    fetcher(&house, INBOX);
    party(&house, "stranger", STRANGER, &["one"]);
    snodo(&house, &["topology", "apply"]);
    house
}

/// Who asks, over one connection.
struct Desk(Client);

impl Desk {
    async fn send(&mut self, event: &Value) -> String {
        let answer = self.0.send(&post_message(TOKEN, event)).await.expect("an answer");
        assert_eq!(answer.status, 202, "{}", answer.json());
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    async fn ask(&mut self, path: &str, token: &str) -> Answer {
        self.0.send(&get(path, token)).await.expect("an answer")
    }

    async fn story(&mut self, id: &str, token: &str) -> Value {
        let answer = self.ask(&format!("/v1/messages/{id}"), token).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    async fn fetched(&mut self, query: &str) -> Vec<Value> {
        let answer = self.ask(&format!("/v1/inbox{query}"), FETCHER).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json().as_array().expect("a batch").clone()
    }

    async fn ack(&mut self, events: &[Value]) {
        let ids: Vec<&Value> = events.iter().map(|event| &event["deliveryid"]).collect();
        let said = json!({ "deliveries": ids }).to_string();
        let request = format!(
            "POST /v1/inbox/ack HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {FETCHER}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{said}",
            said.len()
        );
        let answer = self.0.send(request.as_bytes()).await.expect("an answer").json();
        for told in answer["deliveries"].as_array().expect("an answer for each") {
            assert_eq!(told["result"], "acknowledged", "{answer}");
        }
    }
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["data"]["n"].as_u64().expect("a number")).collect()
}

/// Waits until a story is as it should be.
async fn told(house: &HouseFolder, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, async || {
        let story = Desk(Client::new(house.http)).story(id, TOKEN).await;
        is(&story).then_some(story)
    })
    .await
}

/// What a timeline says, without its times, which only grow.
fn timeline(story: &Value) -> Vec<String> {
    let points = story["timeline"].as_array().expect("a timeline");
    let times: Vec<&str> = points.iter().filter_map(|point| point["at"].as_str()).collect();
    assert!(times.is_sorted() && times.len() == points.len(), "{story}");
    let word = |point: &Value, key: &str| point[key].as_str().unwrap_or("-").to_owned();
    points
        .iter()
        .map(|point| ["what", "to", "step", "code"].map(|key| word(point, key)).join(" "))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_is_told_to_its_sender_and_its_receiver_and_to_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let far = Far(Arc::new(AtomicU16::new(503)));
    let broker = node::settings_of(&node::vhost().await, folder.path()).expect("written");
    let house = fetching(folder.path(), &broker, &far).await;
    let mut bus = start(&house).await;
    let mut desk = Desk(Client::new(house.http));
    let id = desk.send(&event("one", 7, 1)).await;

    // The target is away: the bus tries again by itself, and says when.
    let story = told(&house, &id, "a retry", |story| {
        story["timeline"][1]["what"] == "retry"
            && story["deliveries"][0]["nextAttemptAt"].is_string()
    })
    .await;
    let delivery = &story["deliveries"][0];
    assert_eq!((&story["state"], &delivery["whoMustAct"]), (&json!("open"), &json!("bus")));
    let code = delivery["problem"]["code"].as_str().expect("a code").to_owned();
    assert_eq!(timeline(&story), ["accepted - - -", &format!("retry one call {code}")]);

    // It says no: a person must act.
    far.says(422);
    let story =
        told(&house, &id, "a person to be waited for", |story| story["state"] == "parked").await;
    let delivery = &story["deliveries"][0];
    assert_eq!(
        (&delivery["whoMustAct"], &delivery["stato"]),
        (&json!("operator"), &json!("in sospeso"))
    );
    let code = delivery["problem"]["code"].as_str().expect("a code").to_owned();
    assert_eq!(timeline(&story), ["accepted - - -", &format!("parked one call {code}")]);
    assert_eq!(story["derived"], json!([]));

    // Mended and tried again: each step with its time, and what came of it.
    far.says(200);
    let row = delivery["id"].as_str().expect("an id");
    snodo(&house, &["parked", "replay", row, "--reason", "mended for somebody"]);
    let story = told(&house, &id, "its end", |story| story["state"] == "completed").await;
    let expected = [
        "accepted - - -",
        "replayed one - -",
        "step one call -",
        "step one announce -",
        "completed one - -",
    ];
    assert_eq!(timeline(&story), expected);
    assert!(story["deliveries"][0].get("whoMustAct").is_none());
    let text = story.to_string();
    assert!(
        !text.contains("somebody") && !text.contains("data"),
        "neither reasons nor data: {text}"
    );
    let derived = &story["derived"][0];
    assert_eq!((&derived["state"], &derived["cause"]), (&json!("open"), &json!(id)));

    // Its receiver sees its own delivery of what came of it, and nothing of what was before.
    let inbox = desk.fetched("").await;
    assert_eq!((numbers(&inbox), &inbox[0]["causationid"]), (vec![1], &json!(id)));
    let note = inbox[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(derived["id"], note);
    let own = desk.story(&note, FETCHER).await;
    assert_eq!(own["deliveries"].as_array().map(Vec::len), Some(1));
    assert_eq!(own["deliveries"][0]["to"], "party:fetcher");
    assert_eq!(own["deliveries"][0]["whoMustAct"], "receiver");
    assert!(own.get("derived").is_none() && own.get("senderId").is_none(), "{own}");
    assert_eq!(desk.ask(&format!("/v1/messages/{id}"), FETCHER).await.status, 404);
    for path in [
        format!("/v1/messages/{id}"),
        format!("/v1/messages/{note}"),
        "/v1/messages?source=/driver&id=1".to_owned(),
        "/v1/inbox".to_owned(),
    ] {
        assert_eq!(desk.ask(&path, STRANGER).await.status, 404, "{path}");
        assert_eq!(desk.ask(&path, "nobody").await.status, 401, "{path}");
    }

    desk.ack(&inbox).await;
    let own = desk.story(&note, FETCHER).await;
    assert_eq!(timeline(&own), ["accepted - - -", "completed party:fetcher - -"]);
    let story = desk.story(&id, TOKEN).await;
    assert_eq!(story["derived"][0]["state"], "completed");
    let proof = snodo(&house, &["ledger", "prove", &note]);
    assert!(proof.contains("party:fetcher"), "who acknowledged is evidence: {proof}");
    assert!(bus.terminate().await.expect("it ends").success());
}

/// The numbers of what lies in the party's queue, taken out.
async fn taken_out(of: &Endpoint, vhost: &str, count: usize) -> Vec<u64> {
    let Secret::Text(password) = &of.password else { panic!("a private node has it as text") };
    let user = format!("amqp://{}:{password}@", of.user);
    let uri = format!("{}/{vhost}", of.nodes[0].replacen("amqp://", &user, 1));
    let connection =
        Connection::connect(&uri, ConnectionProperties::default()).await.expect("connected");
    let channel = connection.create_channel().await.expect("a channel");
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let got = eventually("a note in the queue", PATIENCE, || {
            let got = channel.basic_get("notes".into(), BasicGetOptions { no_ack: true });
            async { got.await.expect("readable") }
        });
        let body: Value = serde_json::from_slice(&got.await.delivery.data).expect("JSON");
        numbers.push(body["n"].as_u64().expect("a number"));
    }
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_an_inbox_outlives_kills_and_follows_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let far = Far(Arc::new(AtomicU16::new(200)));
    let endpoint = node::vhost().await;
    let broker = node::settings_of(&endpoint, folder.path()).expect("written");
    let house = fetching(folder.path(), &broker, &far).await;
    let mut bus = start(&house).await;
    let mut desk = Desk(Client::new(house.http));
    for n in 0..20 {
        desk.send(&event("note", n, n)).await;
    }
    let all = desk.fetched("").await;
    assert_eq!(numbers(&all), (0..20).collect::<Vec<_>>());

    // Killed between fetching and acknowledging, and after: what was not acknowledged is there.
    bus.kill().await.expect("killed");
    let mut bus = start(&house).await;
    let mut desk = Desk(Client::new(house.http));
    assert_eq!(desk.fetched("").await, all);
    desk.ack(&all[..5]).await;
    bus.kill().await.expect("killed");
    let mut bus = start(&house).await;
    let mut desk = Desk(Client::new(house.http));
    assert_eq!(desk.fetched("").await, all[5..]);
    let of_party = [("route", "party:fetcher")];
    let known = eventually("its age to show", PATIENCE, async || {
        let known = figures(&house).await?;
        (known.sum("snodo_inbox_oldest_age_seconds", &of_party) > 0).then_some(known)
    })
    .await;
    assert_eq!(known.sum("snodo_publish_total", &of_party), 0, "nothing of it was published");
    assert_eq!(known.sum("snodo_outbox_oldest_age_seconds", &[]), 0, "the broker owes nothing");
    assert_eq!(known.sum("snodo_ledger_moved_rows_total", &[]), 0, "and no sweep touches it");
    assert_eq!(known.broken_equations(), [""; 0]);

    // The party gets a queue: what it is owed goes there, once, and its inbox is no more.
    let vhost = format!("{}-fetcher", endpoint.vhost);
    fetcher(&house, &format!("\"queue\": {{ \"vhost\": \"{vhost}\", \"name\": \"notes\" }}"));
    snodo(&house, &["topology", "apply"]);
    snodo(&house, &["reload"]);
    assert_eq!(desk.ask("/v1/inbox", FETCHER).await.json()["code"], "SN0640");
    assert_eq!(taken_out(&endpoint, &vhost, 15).await, (5..20).collect::<Vec<_>>());
    completed(&house, 20).await;

    // And an inbox again: what was put into the queue is there, what comes now is in the inbox.
    desk.send(&event("note", 20, 20)).await;
    assert_eq!(taken_out(&endpoint, &vhost, 1).await, [20]);
    completed(&house, 21).await;
    fetcher(&house, INBOX);
    snodo(&house, &["reload"]);
    for n in 21..24 {
        desk.send(&event("note", n, n)).await;
    }
    let waiting = desk.fetched("").await;
    assert_eq!(numbers(&waiting), [21, 22, 23]);
    desk.ack(&waiting).await;
    completed(&house, 24).await;
    assert_eq!(desk.fetched("").await, [Value::Null; 0]);
    assert!(bus.terminate().await.expect("it ends").success());
}

/// Waits until so many deliveries of the party are completed, and none of it is owed otherwise.
async fn completed(house: &HouseFolder, count: i64) {
    eventually("all of it to be completed", PATIENCE, async || {
        let known = figures(house).await?;
        assert_eq!(known.broken_equations(), [""; 0]);
        let of = |state| [("route", "party:fetcher"), ("state", state)];
        let ended = known.sum("snodo_deliveries_ended_total", &of("completed"));
        let open = known.sum("snodo_deliveries", &of("open"));
        (ended == count && open == 0).then_some(())
    })
    .await;
}
