//! `/v1/documents` and what messages cite, against good and bad clients.
//!
//! Invariant: what is refused leaves nothing on the disk.

use serde_json::{Value, json};
use snodo_core::ids::Digest;

use super::{
    assert_problem, body,
    bus::{Bus, OTHER, TOKEN},
    header, status,
};

const NAMED: &str = "Content-Type: text/plain; charset=utf-8\r\n\
    Content-Disposition: attachment; filename*=UTF-8''citt%C3%A0.txt\r\n";

fn head(token: &str, headers: &str) -> String {
    format!(
        "POST /v1/documents HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {token}\r\n{headers}"
    )
}

async fn post(bus: &Bus, token: &str, headers: &str, bytes: &[u8]) -> String {
    let head = format!("{}Content-Length: {}\r\n\r\n", head(token, headers), bytes.len());
    bus.raw(&[head.as_bytes(), bytes].concat()).await
}

/// The path of a document.
fn path(document: &Value) -> String {
    format!("/v1/documents/{}", document["key"].as_str().expect("a key"))
}

/// A message that cites these.
async fn cite(bus: &Bus, token: &str, id: &str, documents: &[&Value]) -> String {
    let body = json!({ "n": 1, "papers": documents }).to_string();
    bus.post(&super::bus::binary(token, id), body.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_its_owners_and_comes_back_as_it_was() {
    let bus = Bus::start().await;
    let posted = post(&bus, TOKEN, NAMED, b"Palermo").await;
    assert_eq!(status(&posted), 201, "{posted}");
    let document = body(&posted);
    let described = json!({
        "key": document["key"], "sha256": Digest::of(b"Palermo"), "size": 7,
        "mediaType": "text/plain", "name": "città.txt"
    });
    assert_eq!(document, described);
    assert_eq!(header(&posted, "location"), Some(path(&document).as_str()));
    let got = bus.get(TOKEN, &path(&document)).await;
    assert_eq!((status(&got), got.split("\r\n\r\n").nth(1)), (200, Some("Palermo")), "{got}");
    assert_eq!(header(&got, "content-type"), Some("text/plain"));
    assert_eq!(header(&got, "x-content-type-options"), Some("nosniff"));
    let named = "attachment; filename*=UTF-8''citt%C3%A0.txt";
    assert_eq!(header(&got, "content-disposition"), Some(named));
    assert_problem("another party's", &bus.get(OTHER, &path(&document)).await, 404);
    assert_problem("no key", &bus.get(TOKEN, "/v1/documents/x").await, 404);
    assert_problem("unknown", &bus.get("nobody", &path(&document)).await, 401);
    let again = body(&post(&bus, TOKEN, NAMED, b"Palermo").await);
    assert_eq!(again["sha256"], document["sha256"]);
    assert_ne!(again["key"], document["key"], "each posting is a document of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_cites_what_its_sender_posted_and_as_it_is() {
    let bus = Bus::start().await;
    let document = body(&post(&bus, TOKEN, NAMED, b"Palermo").await);
    assert_eq!(status(&cite(&bus, TOKEN, "A-1", &[&document]).await), 202);
    let refused = |answer: &str| {
        let problem = body(answer);
        (problem["code"].clone(), problem["pointer"].clone())
    };
    let stolen = cite(&bus, OTHER, "B-1", &[&document]).await;
    assert_problem("another party's document", &stolen, 422);
    assert_eq!(refused(&stolen), (json!("SN0628"), json!("/papers/0/key")));
    for (field, value) in
        [("name", json!("x.pdf")), ("size", json!(8)), ("mediaType", json!("a/b"))]
    {
        let mut wrong = document.clone();
        wrong[field] = value;
        let answer = cite(&bus, TOKEN, field, &[&document, &wrong]).await;
        assert_eq!(refused(&answer), (json!("SN0629"), json!(format!("/papers/1/{field}"))));
    }
    let mut unknown = document.clone();
    unknown["key"] = json!("019abc3e-7a10-7cc2-8d6f-2f4b1a6c9e01");
    let checked = json!({ "n": 1, "papers": [unknown] }).to_string();
    let head = format!(
        "POST /v1/messages?check=true HTTP/1.1\r\nHost: bus\r\n{}Content-Length: {}\r\n\r\n{checked}",
        super::bus::binary(TOKEN, "C-1"),
        checked.len()
    );
    assert_eq!(refused(&bus.raw(head.as_bytes()).await).0, json!("SN0628"), "checked alike");
    assert!(bus.metrics().await.contains("snodo_documents_taken_total 1\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_document_is_refused_and_leaves_nothing() {
    let bus = Bus::start().await;
    let nameless = "Content-Type: text/plain\r\n";
    let path = "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=\"../x\"\r\n";
    let kindless = "Content-Disposition: attachment; filename=\"x\"\r\n";
    for (what, headers, bytes, code) in [
        ("without a name", nameless, &b"x"[..], "SN0627"),
        ("with a path", path, b"x", "SN0627"),
        ("without a media type", kindless, b"x", "SN0627"),
        ("without a byte", NAMED, b"", "SN0627"),
    ] {
        let answer = post(&bus, TOKEN, headers, bytes).await;
        assert_problem(what, &answer, 400);
        assert_eq!(body(&answer)["code"], code, "{what}");
    }
    let large = format!("{}Content-Length: 52428801\r\n\r\n", head(TOKEN, NAMED));
    assert_problem("one byte too many, as it says", &bus.raw(large.as_bytes()).await, 413);
    let chunked = format!(
        "{}Transfer-Encoding: chunked\r\n\r\n5\r\nPaler\r\n2\r\nmo\r\n0\r\n\r\n",
        head(TOKEN, NAMED)
    );
    assert_eq!(status(&bus.raw(chunked.as_bytes()).await), 201);
    assert_problem("unknown", &post(&bus, "nobody", NAMED, b"x").await, 401);
    assert_eq!(bus.half_written(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_watermark_nothing_is_taken() {
    let bus = Bus::within("{ waiting_per_route: 12, disk_free: 1048576GiB }").await;
    let message = bus.send("A-1", r#"{"n":1}"#).await;
    let document = post(&bus, TOKEN, NAMED, b"Palermo").await;
    for (what, answer) in [("a message", message), ("a document", document)] {
        assert_problem(what, &answer, 503);
        assert_eq!(
            (&body(&answer)["code"], &body(&answer)["who_must_act"]),
            (&json!("SN0625"), &json!("operator"))
        );
        assert!(header(&answer, "retry-after").is_some(), "{what}");
    }
    assert_eq!(bus.half_written(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_of_a_message_is_its_senders_and_its_receivers() {
    let bus = Bus::start().await;
    let sent = bus.send("A-1", r#"{ "n": 1, "text": "x" }"#).await;
    let path = format!("/v1/messages/{}/data", body(&sent)["id"].as_str().expect("an id"));
    let got = bus.get(TOKEN, &path).await;
    assert_eq!(got.split("\r\n\r\n").nth(1), Some(r#"{"n":1,"text":"x"}"#), "{got}");
    assert_problem("neither", &bus.get(OTHER, &path).await, 404);
    assert_problem("unknown", &bus.get("nobody", &path).await, 401);
}
