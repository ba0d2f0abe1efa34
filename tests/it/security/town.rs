//! Palermo under test: a real `snodo run` that logs all it can, with a few types more for what the list
//! asks, and a memory of all that it said.

use std::{net::SocketAddr, path::Path, time::Duration};

use serde_json::{Value, json};
use snodo_core::ids::Digest;
use snodo_sandbox::{Sandbox, SandboxOptions};
use snodo_tests::{
    bus::{BusProcess, HouseFolder},
    chaos::figures::Figures,
    client::{Answer, Client, get},
    palermo::{self, Run},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// The token of the party `sender`.
pub(super) const TOKEN: &str = "the-token-of-sender";
/// The token of the party `other`, which may send the same.
pub(super) const OTHER: &str = "the-token-of-other";
/// The token of the party `hasty`, which may send fifty messages a second.
pub(super) const HASTY: &str = "the-token-of-hasty";
/// The type that all of them may send.
pub(super) const KIND: &str = "test.thing.v1";

/// Tax codes and names that are sent wherever something can be sent. Nobody has them.
pub(super) const SECRETS: [&str; 6] = [
    "RSSMRA80A01G273Z",
    "VRDGPP75B12G273H",
    "RSSLCU10C03G273H",
    "Quattrocchi",
    "Ermenegilda",
    "Baldassarre",
];

/// The longest wait for anything.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// A running town.
pub(super) struct Town {
    pub(super) house: HouseFolder,
    pub(super) region: Sandbox,
    bus: BusProcess,
    client: Client,
    /// Everything that anybody was answered, commands of operators included.
    pub(super) answers: Vec<String>,
    _folder: tempfile::TempDir,
}

fn party(id: &str, token: &str, rate: &str, more: &str) -> String {
    let digest = Digest::of(token.as_bytes());
    format!(
        "party: {id}\ntitle: {id}\ntoken: {{ sha256: {digest} }}\n\
         sends: [{KIND}, test.broken.v1]\nlimits: {{ rate: {rate} }}\n{more}"
    )
}

fn object(properties: &Value, required: &[&str]) -> String {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object", "additionalProperties": false, "x-asked-of": "administration",
        "properties": properties, "required": required,
    })
    .to_string()
}

const TAKE: &str = "\
route: take
title: Takes things
office: test
from: test.thing.v1
purpose: vehicle-tax
actor: system
steps:
  - forward:
      emit: test.taken.v1
      with: { n: \"${ .n }\", text?: \"${ .text }\", told: \"text ${ .n }\" }
";
/// What this expression meets is no object; its fault must not say what it is.
const BREAK: &str = "\
route: break
title: Meets what it did not expect
office: test
from: test.broken.v1
purpose: vehicle-tax
actor: system
steps:
  - forward:
      emit: test.taken.v1
      with: { n: \"${ .any.deeper.still + 1 }\", told: \"text ${ .any }\" }
";

fn write(house: &HouseFolder, region: SocketAddr) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let run =
        Run { retry: Some("{ first: 200ms, longest: 1s, give_up_after: 1s }"), ..Run::of(region) };
    palermo::write(house, &repository, &run).expect("written");
    let http = format!("{{ listen: {}, hosts: [bus, localhost] }}", house.http);
    palermo::set_line(house, "config/snodo.yaml", "http:", &http).expect("written");
    for party in ["comune-sportello", "region"] {
        let file = format!("config/parties/{party}.yaml");
        palermo::set_line(house, &file, "limits:", "{ rate: 10000/s }").expect("written");
    }
    let thing = json!({
        "n": { "type": "integer" }, "text": { "type": "string" }, "any": {},
        "taxCode": { "type": "string", "format": "codice-fiscale" },
        "slow": { "type": "string", "pattern": "^(a+)+$" },
    });
    let taken = json!({
        "n": { "type": "integer" }, "text": { "type": "string" }, "told": { "type": "string" },
    });
    let receives = "receives: [{ type: test.taken.v1, all: true, law: cad-50 }]\n\
                    queue: { vhost: sender, name: inbox }\n";
    let files = [
        ("config/parties/sender.yaml", party("sender", TOKEN, "100000/s", receives)),
        ("config/parties/other.yaml", party("other", OTHER, "100000/s", "")),
        ("config/parties/hasty.yaml", party("hasty", HASTY, "50/s", "")),
        ("schemas/test/thing.v1.json", object(&thing, &["n"])),
        ("schemas/test/broken.v1.json", object(&json!({ "any": {} }), &["any"])),
        ("schemas/test/taken.v1.json", object(&taken, &["n"])),
        ("routes/take.yaml", TAKE.to_owned()),
        ("routes/break.yaml", BREAK.to_owned()),
    ];
    for (path, text) in files {
        house.write(path, &text).expect("written");
    }
}

impl Town {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("region.log");
        let options = SandboxOptions { log, delay_ms: (1, 5), seed: 1 };
        let region = Sandbox::start(options).await.expect("the region's service starts");
        let house = HouseFolder::new(&folder.path().join("house")).expect("a house");
        write(&house, region.addr);
        let mut bus = BusProcess::spawn(&house, &[("SNODO_LOG", "trace")]).expect("started");
        bus.ready(Duration::from_mins(2)).await.expect("ready");
        let client = Client::new(house.http);
        Self { house, region, bus, client, answers: Vec::new(), _folder: folder }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.house.http
    }

    /// Resident memory, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.bus.memory().map_or(0, |(now, _)| now)
    }

    pub(super) async fn send(&mut self, request: &[u8]) -> Answer {
        let answer = self.client.send(request).await.expect("an answer");
        self.heard(&answer);
        answer
    }

    /// Posts a message with these headers.
    pub(super) async fn post(&mut self, headers: &str, body: &[u8]) -> Answer {
        let request = posted(headers, body);
        // A connection of its own: what is refused may end it.
        let answer = raw(self.address(), request).await;
        self.heard(&answer);
        answer
    }

    pub(super) async fn get(&mut self, path: &str, token: &str) -> Answer {
        let request = if token.is_empty() {
            format!("GET {path} HTTP/1.1\r\nHost: bus\r\n\r\n").into_bytes()
        } else {
            get(path, token)
        };
        self.send(&request).await
    }

    /// Remembers what was answered.
    pub(super) fn heard(&mut self, answer: &Answer) {
        let body = String::from_utf8_lossy(&answer.body);
        self.answers.push(format!("{}{body}", answer.head));
    }

    pub(super) async fn metrics(&mut self) -> String {
        let answer = Client::new(self.house.metrics).send(&get("/metrics", "")).await;
        let answer = answer.expect("metrics");
        self.heard(&answer);
        String::from_utf8(answer.body).expect("text")
    }

    /// How many requests were refused with this code.
    pub(super) async fn refusals(&mut self, code: &str) -> i64 {
        let figures = Figures::read(&self.metrics().await);
        figures.sum("snodo_ingress_rejected_total", &[("code", code)])
    }

    /// A refusal is a problem that says what to do, and says nothing of what was sent.
    pub(super) fn assert_refused(&mut self, what: &str, told: &Answer, status: u16, code: &str) {
        self.heard(told);
        assert_eq!(told.status, status, "{what}: {}{}", told.head, told.json());
        assert_eq!(told.header("content-type"), Some("application/problem+json"), "{what}");
        let problem = told.json();
        assert_eq!(problem["code"], code, "{what}: {problem}");
        assert_eq!(problem["type"], format!("/problems/{code}"), "{what}");
        assert_eq!(problem["status"], status, "{what}");
        assert!(problem["who_must_act"].is_string(), "{what}: {problem}");
        assert!(problem["retryable"].is_boolean(), "{what}: {problem}");
        let id = told.header("snodo-problem-id").unwrap_or_default();
        assert_eq!(problem["instance"], format!("urn:uuid:{id}"), "{what}");
        assert_silent(what, &format!("{}{problem}", told.head));
    }

    /// Ends the bus and searches its log and every answer.
    pub(super) async fn stop_and_search(mut self) {
        self.metrics().await;
        let ended = self.bus.terminate().await.expect("it ends");
        let log = std::fs::read_to_string(self.house.path.join("bus.log")).expect("a log");
        assert!(ended.success(), "{ended}");
        assert!(log.contains("\"level\":\"TRACE\""), "the log is as verbose as can be");
        assert!(log.lines().count() > 1000, "only {} lines", log.lines().count());
        assert_silent("the log", &log);
        // Row 89: whatever was sent, each line is one event of the bus.
        for line in log.lines() {
            let is_event =
                serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"].is_string());
            assert!(is_event && !line.contains('\x1b'), "89: a line that is not the bus's: {line}");
        }
        assert!(!log.contains("forged"), "89: what senders write is not logged");
        for answer in &self.answers {
            assert_silent("an answer", answer);
        }
        self.region.stop().await;
    }
}

/// No tax code and no name of a person shows.
pub(super) fn assert_silent(what: &str, text: &str) {
    for secret in SECRETS {
        if let Some(at) = text.to_uppercase().find(&secret.to_uppercase()) {
            let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
            let line: String = text[from..].chars().take(2000).collect();
            panic!("{what} tells `{secret}`: {line}");
        }
    }
}

/// Headers of a message in binary mode.
pub(super) fn binary(token: &str, id: &str) -> String {
    format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nce-specversion: 1.0\r\n\
         ce-id: {id}\r\nce-source: urn:test\r\nce-type: {KIND}\r\n"
    )
}

/// A whole `POST /v1/messages`.
pub(super) fn posted(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: bus\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends bytes as they are on a connection of their own; the answer, as far as one came.
pub(super) async fn raw(address: SocketAddr, bytes: Vec<u8>) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let _ = stream.write_all(&bytes).await;
    answer_of(&mut stream).await
}

/// Reads one answer: to its `Content-Length`, or to the end.
pub(super) async fn answer_of(stream: &mut TcpStream) -> Answer {
    let mut told = Vec::new();
    let read = async {
        while whole(&told).is_none() && stream.read_buf(&mut told).await.is_ok_and(|n| n > 0) {}
    };
    let in_time = timeout(PATIENCE, read).await;
    assert!(in_time.is_ok(), "no answer in {PATIENCE:?}: {}", String::from_utf8_lossy(&told));
    let head_len = whole(&told).map_or(told.len(), |(head, _)| head);
    let head = String::from_utf8_lossy(&told[..head_len]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Answer { status, head, body: told[head_len..].to_vec() }
}

/// The lengths of head and body, once both are there.
fn whole(told: &[u8]) -> Option<(usize, usize)> {
    let head = told.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&told[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let length: usize = length.trim().parse().ok()?;
    (told.len() >= head + length).then_some((head, length))
}
