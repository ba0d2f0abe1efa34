//! The inbox of a party: it fetches what it is owed, and says what it has.
//!
//! Invariant: fetching takes nothing away, an acknowledgement is one end however often it is said, and
//! nobody learns what is another's.

use serde_json::{Value, json};

use super::{
    assert_problem, body,
    bus::{Bus, FETCHER, KIND, NEIGHBOUR, NOTE, TOKEN, binary},
    header, status,
};

/// Sends a note; the bus's id of it.
async fn note(bus: &Bus, id: &str, text: &str) -> String {
    note_of(bus, id, &json!({ "n": 1, "text": text })).await
}

async fn note_of(bus: &Bus, id: &str, note: &Value) -> String {
    let headers = binary(TOKEN, id).replace(KIND, NOTE);
    let told = bus.post(&headers, note.to_string().as_bytes()).await;
    assert_eq!(status(&told), 202, "{told}");
    body(&told)["id"].as_str().expect("an id").to_owned()
}

/// What lies in the inbox of `token`.
async fn fetched(bus: &Bus, token: &str, query: &str) -> Vec<Value> {
    let told = bus.get(token, &format!("/v1/inbox{query}")).await;
    assert_eq!(status(&told), 200, "{told}");
    assert_eq!(header(&told, "content-type"), Some("application/cloudevents-batch+json"));
    body(&told).as_array().expect("a batch").clone()
}

async fn post_ack(bus: &Bus, token: &str, said: &str) -> String {
    let head = format!(
        "POST /v1/inbox/ack HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{said}",
        said.len()
    );
    bus.raw(head.as_bytes()).await
}

/// The word for each id that is acknowledged.
async fn acked(bus: &Bus, token: &str, ids: &[&str]) -> Vec<String> {
    let told = post_ack(bus, token, &json!({ "deliveries": ids }).to_string()).await;
    assert_eq!(status(&told), 200, "{told}");
    let told = body(&told);
    let told = told["deliveries"].as_array().expect("an answer per id").clone();
    for (id, told) in ids.iter().zip(&told) {
        assert_eq!(told["id"], *id, "in the order in which they were said");
    }
    told.iter().map(|told| told["result"].as_str().expect("a word").to_owned()).collect()
}

fn delivery(event: &Value) -> &str {
    event["deliveryid"].as_str().expect("an id")
}

const NOBODYS: &str = "018f2d3e-0000-8000-8000-000000000001";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_party_fetches_what_it_is_owed_and_says_what_it_has() {
    let bus = Bus::start().await;
    assert_eq!(fetched(&bus, FETCHER, "").await, [Value::Null; 0]);
    let mut sent = Vec::new();
    for n in 0..3 {
        sent.push(note(&bus, &format!("A-{n}"), &format!("note {n}")).await);
    }
    let first = fetched(&bus, FETCHER, "").await;
    let ids: Vec<&str> = first.iter().filter_map(|event| event["id"].as_str()).collect();
    assert_eq!(ids, sent, "oldest first");
    assert_eq!(first[0]["specversion"], "1.0");
    assert_eq!(first[0]["type"], NOTE);
    assert_eq!(first[1]["data"], json!({ "n": 1, "text": "note 1" }));
    assert_eq!(fetched(&bus, FETCHER, "").await, first, "fetching takes nothing away");
    assert_eq!(fetched(&bus, FETCHER, "?limit=2").await, first[..2]);

    let one = delivery(&first[0]);
    assert_eq!(
        acked(&bus, FETCHER, &[one, NOBODYS, one]).await,
        ["acknowledged", "unknown", "acknowledged"]
    );
    assert_eq!(fetched(&bus, FETCHER, "").await, first[1..]);
    assert_eq!(acked(&bus, FETCHER, &[one]).await, ["acknowledged"], "again, the same answer");
    assert_eq!(fetched(&bus, NEIGHBOUR, "").await.len(), 3, "the neighbour has its own");

    // The evidence says by whose word it ended, and says it once.
    let events = bus.desk.ledger.events_of(one).await.expect("read");
    let said: Vec<_> =
        events.iter().map(|event| (&*event.kind, &*event.actor, &*event.reason)).collect();
    assert_eq!(said, [("final", "party:fetcher", "completed")]);
    assert_eq!(bus.desk.ledger.broken_invariants().await.expect("read"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_fetches_or_acknowledges_what_is_anothers() {
    let bus = Bus::start().await;
    note(&bus, "B-1", "for two").await;
    let own = fetched(&bus, FETCHER, "").await;
    let id = delivery(&own[0]);
    assert_eq!(acked(&bus, NEIGHBOUR, &[id]).await, ["unknown"]);
    assert_eq!(acked(&bus, TOKEN, &[id]).await, ["unknown"], "its sender is not its receiver");
    assert_eq!(fetched(&bus, FETCHER, "").await, own);
    assert_problem("who has no inbox", &bus.get(TOKEN, "/v1/inbox").await, 404);
    assert_eq!(body(&bus.get(TOKEN, "/v1/inbox").await)["code"], "SN0640");
    assert_problem("nobody", &bus.get("none", "/v1/inbox").await, 401);
    let said = json!({ "deliveries": [id] }).to_string();
    assert_problem("nobody", &post_ack(&bus, "none", &said).await, 401);
    assert_eq!(fetched(&bus, FETCHER, "").await, own);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_that_is_said_by_many_at_once_is_one_end() {
    let bus = std::sync::Arc::new(Bus::start().await);
    note(&bus, "C-1", "once").await;
    let own = fetched(&bus, FETCHER, "").await;
    let mut sayers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (bus, id) = (std::sync::Arc::clone(&bus), delivery(&own[0]).to_owned());
        sayers.spawn(async move { acked(&bus, FETCHER, &[&id]).await });
    }
    for said in sayers.join_all().await {
        assert_eq!(said, ["acknowledged"]);
    }
    let events = bus.desk.ledger.events_of(delivery(&own[0])).await.expect("read");
    assert_eq!(events.len(), 1, "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_wrongly_of_an_inbox_changes_nothing() {
    let bus = Bus::start().await;
    note(&bus, "D-1", "here").await;
    let own = fetched(&bus, FETCHER, "").await;
    for query in [
        "?limit=0",
        "?limit=501",
        "?limit=x",
        "?limit=1&limit=2",
        "?after=1",
        "?limit=-1",
        "?limit=",
    ] {
        assert_problem(query, &bus.get(FETCHER, &format!("/v1/inbox{query}")).await, 400);
    }
    let id = delivery(&own[0]);
    for (said, expected) in [
        ("", 400),
        ("{", 400),
        ("[]", 422),
        ("{}", 422),
        (r#"{"deliveries":[]}"#, 422),
        (r#"{"deliveries":["RSSMRA80A01G273Z"]}"#, 422),
        (&format!(r#"{{"deliveries":["{id}",7]}}"#), 422),
        (&format!(r#"{{"deliveries":["{id}"],"all":true}}"#), 422),
        (&format!(r#"{{"deliveries":["{id}"],"deliveries":[]}}"#), 400),
    ] {
        let told = post_ack(&bus, FETCHER, said).await;
        assert_problem(said, &told, expected);
        assert!(!told.contains("RSSMRA80A01G273Z"), "{told}");
    }
    let head = format!(
        "POST /v1/inbox/ack HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {FETCHER}\r\n\
         Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    assert_problem("text", &bus.raw(head.as_bytes()).await, 415);
    for request in ["GET /v1/inbox/ack", "POST /v1/inbox"] {
        let request = format!("{request} HTTP/1.1\r\nHost: bus\r\nContent-Length: 0\r\n\r\n");
        assert_problem(&request, &bus.raw(request.as_bytes()).await, 405);
    }
    assert_eq!(fetched(&bus, FETCHER, "").await, own, "nothing was taken away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_holds_no_more_than_it_may_and_always_something() {
    let bus = Bus::within("{ body: 1MiB, waiting_per_route: 12, validation: 10s }").await;
    let large = json!({ "n": 1, "any": vec!["x".repeat(60 << 10); 15] });
    for n in 0..6 {
        note_of(&bus, &format!("E-{n}"), &large).await;
    }
    let first = fetched(&bus, FETCHER, "?limit=500").await;
    assert_eq!(first.len(), 4, "four mebibytes of bodies");
    let ids: Vec<&str> = first.iter().map(delivery).collect();
    assert_eq!(acked(&bus, FETCHER, &ids).await, ["acknowledged"; 4]);
    assert_eq!(fetched(&bus, FETCHER, "?limit=500").await.len(), 2, "then the rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_that_is_full_takes_no_more_until_something_is_acknowledged() {
    let bus = Bus::start().await;
    for n in 0..12 {
        note(&bus, &format!("F-{n}"), "waits").await;
    }
    let refused = binary(TOKEN, "F-12").replace(KIND, NOTE);
    let told = bus.post(&refused, br#"{"n":1}"#).await;
    assert_problem("full", &told, 503);
    assert_eq!(body(&told)["reason"], "cap");
    assert_eq!(status(&bus.send("F-other", r#"{"n":1}"#).await), 202, "other types go on");
    let waiting = |metrics: &str| {
        let line = metrics.lines().find(|line| {
            line.starts_with("snodo_inbox_oldest_age_seconds{route=\"party:fetcher\"}")
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("a gauge")
    };
    snodo_tests::wait::eventually(
        "its age to show",
        std::time::Duration::from_secs(20),
        async || (waiting(&bus.metrics().await) > 0).then_some(()),
    )
    .await;
    let metrics = bus.metrics().await;
    let stuck = "snodo_ledger_oldest_open_message_age_seconds{route=\"party:fetcher\"} 0";
    assert!(
        metrics.lines().any(|line| line == stuck),
        "nobody but the party is waited for: {metrics}"
    );
    for token in [FETCHER, NEIGHBOUR] {
        let own = fetched(&bus, token, "").await;
        let ids: Vec<&str> = own.iter().map(delivery).collect();
        assert_eq!(acked(&bus, token, &ids).await, ["acknowledged"; 12]);
    }
    bus.desk.room.refresh(&*bus.desk.ledger).await.expect("read");
    assert_eq!(status(&bus.post(&refused, br#"{"n":1}"#).await), 202);
}
