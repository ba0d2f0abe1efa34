//! Documents and large bodies on a real bus: many clients at once, bodies without an end, a full disk.
//!
//! Invariant: caps hold and memory is bounded whatever clients send; what was answered 201 and is cited is
//! filed under its number and comes back as it was. `SNODO_DOCUMENTS=full` is 20 clients with 50 MiB each.

use std::net::SocketAddr;

use lapin::types::AMQPValue;
use serde_json::json;
use snodo_core::ids::Digest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::*;

/// The most that the bus may need.
const MOST_MEMORY: u64 = 200_000_000;
/// And with message bodies of MiB coming and going: what they took is given back a second later.
const MOST_WITH_LARGE: u64 = 256_000_000;
/// The body that has no end.
const ENDLESS: u64 = 10 << 30;
/// What of it may leave the client before the bus has closed: buffers of sockets, and what is swallowed.
const CUT_BY: u64 = 64 << 20;
const PIECE: usize = 64 << 10;

/// How many clients, and the bytes of each one's document.
fn load() -> (u64, u64) {
    let full = std::env::var_os("SNODO_DOCUMENTS").is_some_and(|word| word == "full");
    if full { (20, 50 << 20) } else { (4, 5 << 20) }
}

/// The bytes of a client's document, piece by piece: no two pieces are alike.
fn pieces(client: u64, size: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..size.div_ceil(PIECE as u64)).map(move |number| {
        let rest = size - number * PIECE as u64;
        let mut piece = vec![b'.'; usize::try_from(rest).map_or(PIECE, |rest| rest.min(PIECE))];
        let head = format!("{client}/{number}\n");
        let head = &head.as_bytes()[..head.len().min(piece.len())];
        piece[..head.len()].copy_from_slice(head);
        piece
    })
}

fn digest(client: u64, size: u64) -> Digest {
    Digest::of(&pieces(client, size).flatten().collect::<Vec<u8>>())
}

fn head(path: &str, framing: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {SPORTELLO_TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Disposition: attachment; filename=\"a.json\"\r\n\
         {framing}\r\n\r\n"
    )
}

async fn read(stream: &mut TcpStream) -> (u16, Vec<u8>) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.as_bytes().to_vec())
}

/// Posts a document until it is taken; the answer, and how often it was to come again.
async fn post(address: SocketAddr, client: u64, size: u64) -> (Value, u32) {
    let mut again = 0;
    loop {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let framing = format!("Content-Length: {size}\r\nConnection: close");
        let _ = stream.write_all(head("/v1/documents", &framing).as_bytes()).await;
        for piece in pieces(client, size) {
            if stream.write_all(&piece).await.is_err() {
                break;
            }
        }
        let (status, body) = read(&mut stream).await;
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        match status {
            201 => return (told, again),
            // A client that is told no while it still sends may lose the answer.
            0 | 503 => again += 1,
            _ => panic!("{status}: {told}"),
        }
        assert!(again < 600, "never taken: {told}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends a body that has no end until the bus has had enough; what left the client, and the answer.
async fn endless(address: SocketAddr, path: &str, chunked: bool) -> (u64, u16) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let length = format!("Content-Length: {ENDLESS}");
    let framing = if chunked { "Transfer-Encoding: chunked" } else { &length };
    stream.write_all(head(path, framing).as_bytes()).await.expect("sent");
    let (mut reader, mut writer) = stream.into_split();
    let answer = tokio::spawn(async move {
        let mut bytes = vec![0; 64];
        let count = reader.read(&mut bytes).await.unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    });
    let mut sent = 0;
    for piece in pieces(0, ENDLESS) {
        let framed = format!("{:x}\r\n", piece.len());
        let parts =
            if chunked { [framed.as_bytes(), &piece, b"\r\n"] } else { [b"", &*piece, b""] };
        if writer.write_all(&parts.concat()).await.is_err() {
            break;
        }
        sent += piece.len() as u64;
    }
    (sent, answer.await.expect("read"))
}

/// Palermo with a type whose bodies may be large, which the region receives.
fn with_large_bodies(house: &HouseFolder) {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["texts"],
        "x-asked-of": "administration",
        "properties": { "texts": { "type": "array", "items": { "type": "string" } } },
    });
    let route = "route: pass-on\ntitle: Passes on\noffice: tests\nfrom: test.large.v1\n\
        purpose: residence-registration\nactor: system\nsteps:\n  - on:\n      emit: test.passed.v1\n\
        \x20     with: { texts: \"${ .texts }\" }\n      to: region\n";
    for (file, text) in [
        ("schemas/test/large.v1.json", schema.to_string()),
        ("schemas/test/passed.v1.json", schema.to_string()),
        ("routes/pass-on.yaml", route.to_owned()),
    ] {
        house.write(file, &text).expect("written");
    }
    let sends = "[anagrafe.residence-change.declared.v1, scuola.canteen-enrolment.requested.v1, test.large.v1]";
    set_line(house, "config/parties/comune-sportello.yaml", "sends:", sends).expect("written");
    let receives = "[{ type: anagrafe.residence-change.registered.v1, all: true, law: dpr-223-1989 }, \
        { type: test.passed.v1 }]";
    set_line(house, "config/parties/region.yaml", "receives:", receives).expect("written");
    let limits = "{ body: 4MiB, waiting_per_route: 1000, validation: 2s }";
    set_line(house, "config/snodo.yaml", "limits:", limits).expect("written");
}

/// The last message of the region's queue: whether it has a body, and where that is.
async fn last_of_region(node: &PrivateNode) -> Option<(usize, String)> {
    let endpoint = node.endpoint();
    let Secret::Text(password) = &endpoint.password else { panic!("a private node has its own") };
    let host = endpoint.nodes[0].trim_start_matches("amqp://").to_owned();
    let uri = format!("amqp://{}:{password}@{host}/region", endpoint.user);
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&uri, properties).await.expect("connected");
    let channel = connection.create_channel().await.expect("a channel");
    let mut last = None;
    while let Some(got) =
        channel.basic_get("inbox".into(), BasicGetOptions { no_ack: true }).await.expect("readable")
    {
        let headers = got.delivery.properties.headers().clone().unwrap_or_default();
        let data_ref = match headers.inner().get("ce-dataref") {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            _ => String::new(),
        };
        last = Some((got.delivery.data.len(), data_ref));
    }
    connection.close(200, "bye".into()).await.expect("closed");
    last
}

#[expect(clippy::print_stderr, reason = "a figure that is worth a look")]
fn assert_small(bus: &BusProcess, after: &str, most: u64) {
    let (_, highest) = bus.memory().expect("it runs");
    assert!(highest <= most, "{} MB after {after}", highest / 1_000_000);
    eprintln!("peak RSS after {after}: {} MB", highest / 1_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_documents_and_endless_bodies_leave_memory_small_and_what_is_cited_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let region = region_in(folder.path()).await;
    let options = NodeOptions { ready_within: node::START, ..NodeOptions::default() };
    let node = PrivateNode::start(&folder.path().join("broker"), options).await.expect("starts");
    let broker = node::settings(&node, folder.path()).expect("written");
    let run = Run { broker, retry: Some(SOON), ..Run::of(region.addr) };
    let house = palermo_in(&folder.path().join("house"), &run);
    with_large_bodies(&house);
    let (code, said) = snodo(&house, &["topology", "apply"]);
    assert_eq!(code, 0, "{said}");
    let mut bus = BusProcess::spawn(&house, &[]).expect("started");
    bus.ready(PATIENCE).await.expect("ready");
    let mut desk = Desk::of(&house);

    let (clients, size) = load();
    let mut posting = JoinSet::new();
    for client in 0..clients {
        let address = house.http;
        posting.spawn(async move { (client, post(address, client, size).await) });
    }
    let (mut documents, mut again) = (Vec::new(), 0);
    while let Some(posted) = posting.join_next().await {
        let (client, (document, came_again)) = posted.expect("posted");
        assert_eq!(document["sha256"], digest(client, size).to_string());
        again += came_again;
        documents.push((client, document));
    }
    assert!(clients <= 8 || again > 0, "of one party only eight come at once");
    assert_small(&bus, "documents", MOST_MEMORY);

    for (path, chunked) in [
        ("/v1/messages", false),
        ("/v1/messages", true),
        ("/v1/documents", false),
        ("/v1/documents", true),
    ] {
        let (sent, status) = endless(house.http, path, chunked).await;
        let most = if path == "/v1/documents" && chunked { (50 << 20) + CUT_BY } else { CUT_BY };
        assert!(sent < most, "{sent} bytes of {path} left the client");
        assert!(status == 413 || status == 0, "{status}: {path}");
    }
    assert_small(&bus, "endless bodies", MOST_MEMORY);

    let mut event = residence("with-documents", "RSSMRA80A01G273Z");
    event["data"]["attachments"] = documents.iter().map(|(_, document)| document.clone()).collect();
    let answer = desk.client.send(&post_message(SPORTELLO_TOKEN, &event)).await.expect("an answer");
    let id = id_of(&answer);
    desk.completed(std::slice::from_ref(&id), SPORTELLO_TOKEN, 2).await;
    let (code, told) = snodo(&house, &["trace", &id, "--json"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("archive.store"), "{told}");
    for (client, document) in &documents {
        let path = format!("/v1/documents/{}", document["key"].as_str().expect("a key"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {SPORTELLO_TOKEN}\r\n\
             Connection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(house.http).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("read");
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        assert_eq!(Digest::of(&bytes[at..]), digest(*client, size));
        let other = desk.ask(&path, REGION_TOKEN).await;
        assert_eq!(other.status, 404, "nothing that cites it is owed to the region");
    }
    assert_small(&bus, "documents out", MOST_MEMORY);

    large_bodies(&mut desk, &node).await;
    assert_small(&bus, "large bodies", MOST_WITH_LARGE);
    assert!(bus.terminate().await.expect("it ends").success(), "{}", desk.log());

    let short = [("SNODO__LIMITS__DISK_FREE", "1048576GiB")];
    let mut bus = BusProcess::spawn(&house, &short).expect("started");
    bus.ready(PATIENCE).await.expect("who has the ledger is ready");
    let mut desk = Desk::of(&house);
    let refused = desk.declare("on-a-full-disk").await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("SN0625")));
    let told = desk.ask("/status", "").await.json();
    assert_eq!(told["components"]["disk"]["ready"], false, "{told}");
    assert!(desk.figures().await.sum("snodo_disk_free_bytes", &[]) > 0);
    assert!(bus.terminate().await.expect("it ends").success(), "{}", desk.log());
    region.stop().await;
}

/// Bodies of three MiB: the broker does not carry them, and the region fetches what it is owed.
async fn large_bodies(desk: &mut Desk, node: &PrivateNode) {
    let texts = vec!["è".repeat(32 << 10); 48];
    let mut ids = Vec::new();
    for n in 0..32 {
        let event = json!({
            "specversion": "1.0", "id": format!("large-{n}"), "source": "/sportello-online",
            "type": "test.large.v1", "datacontenttype": "application/json", "data": { "texts": texts },
        });
        let answer = desk.client.send(&post_message(SPORTELLO_TOKEN, &event)).await;
        ids.push(id_of(&answer.expect("an answer")));
    }
    desk.completed(&ids, SPORTELLO_TOKEN, 2).await;
    let (length, data_ref) = last_of_region(node).await.expect("a message");
    assert_eq!(length, 0, "the broker carries no large body");
    let body = desk.ask(&data_ref, REGION_TOKEN).await;
    assert_eq!((body.status, &body.json()["texts"]), (200, &json!(texts)), "{data_ref}");
    let own = desk.ask(&format!("/v1/messages/{}/data", ids[0]), REGION_TOKEN).await;
    assert_eq!(own.status, 404, "what the desk sent is not the region's");
}
