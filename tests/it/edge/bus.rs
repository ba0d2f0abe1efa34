//! A real edge over a real ledger, without a broker: copies wait in the ledger.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, RwLock},
};

use snodo::{
    broker::{Address, Confirm, Copy, Publish},
    clock::{Clock, SystemClock},
    disk::Disk,
    documents::{Keeper, Store},
    edge::{
        self, Admits, Desk, EdgeLimits, body::Shares, documents::Shelf, health::Health, problems,
        room::Room,
    },
    engine::{Engine, Limits, Parts, Silent, SystemChance, TimerDeadlines},
    house::{self, Checked},
    ledger::{Ledger, RouteVersion, open},
    metrics::{Labels, Metrics},
    operators::DirectWrite,
    settings::Surroundings,
};
use snodo_core::{
    adapter::{BoxFuture, Catalog},
    diagnostic::render_text,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const CONFIG: &str = "\
data: data
ledger: { sqlite: ledger.db }
broker: { private: true }
limits: LIMITS
";
const SCHEMA: &str = r#"{
  "type": "object", "additionalProperties": false, "required": ["n"],
  "properties": { "n": { "type": "integer" }, "text": { "type": "string" }, "any": {},
    "papers": { "type": "array", "items": { "$ref": "../documents/document.v1.json" } } }
}"#;
const DOCUMENT: &str = include_str!("../../../schemas/documents/document.v1.json");
const EMITTED: &str = r#"{
  "x-unclaimed": "discard",
  "type": "object", "additionalProperties": false, "required": ["n"],
  "properties": { "n": { "type": "integer" } }
}"#;

/// The token of the party `sender`.
pub(super) const TOKEN: &str = "the-token-of-sender";
/// The token of the party `other`, which may send ten messages a day.
pub(super) const OTHER: &str = "the-token-of-other";
/// The token of the party `fetcher`, which fetches notes.
pub(super) const FETCHER: &str = "the-token-of-fetcher";
/// The token of the party `neighbour`, which fetches notes too.
pub(super) const NEIGHBOUR: &str = "the-token-of-neighbour";
/// The type that both senders may send.
pub(super) const KIND: &str = "test.thing.v1";
/// The type that `sender` may send and that is fetched.
pub(super) const NOTE: &str = "test.note.v1";

fn party(id: &str, token: &str, rate: &str) -> String {
    let digest = snodo_core::ids::Digest::of(token.as_bytes());
    format!(
        "party: {id}\ntitle: {id}\ntoken: {{ sha256: \"{digest}\" }}\n\
         sends: [{KIND}]\nlimits: {{ rate: {rate} }}\n"
    )
}

fn fetching(id: &str, token: &str) -> String {
    let digest = snodo_core::ids::Digest::of(token.as_bytes());
    format!(
        "party: {id}\ntitle: {id}\ntoken: {{ sha256: \"{digest}\" }}\ninbox: pull\n\
         receives: [{{ type: {NOTE}, all: true, law: a-law }}]\nlimits: {{ rate: 1000/s }}\n"
    )
}

fn route(name: &str, from: &str) -> String {
    format!(
        "route: {name}\ntitle: Takes things\noffice: test\nfrom: {from}\npurpose: test\n\
         actor: system\nsteps:\n  - forward:\n      emit: test.taken.v1\n      with: {{ n: 1 }}\n"
    )
}

fn write(house: &Path, limits: &str) {
    let files = [
        ("config/snodo.yaml", CONFIG.replace("LIMITS", limits)),
        (
            "config/parties/sender.yaml",
            party("sender", TOKEN, "100000/s").replace(KIND, &format!("{KIND}, {NOTE}")),
        ),
        ("config/parties/fetcher.yaml", fetching("fetcher", FETCHER)),
        ("config/parties/neighbour.yaml", fetching("neighbour", NEIGHBOUR)),
        ("schemas/test/note.v1.json", SCHEMA.to_owned()),
        ("config/parties/other.yaml", party("other", OTHER, "10/h")),
        ("schemas/test/thing.v1.json", SCHEMA.to_owned()),
        ("schemas/documents/document.v1.json", DOCUMENT.to_owned()),
        ("schemas/test/taken.v1.json", EMITTED.to_owned()),
        ("routes/take.yaml", route("take", KIND)),
        ("routes/laws.yaml", "a-law:\n  title: A law\n".to_owned()),
        (
            "routes/purposes/test.yaml",
            "purpose: test\ntitle: Test\nlaws: [a-law]\nretention: 30d\nrecord: Tests\n".to_owned(),
        ),
    ];
    for (path, text) in files {
        let path = house.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
}

/// Nobody takes copies: they wait in the ledger.
struct NoBroker;

impl Publish for NoBroker {
    fn publish(&self, _: &Address, _: Copy) -> BoxFuture<'static, Confirm> {
        Box::pin(std::future::pending())
    }
    fn is_congested(&self) -> bool {
        true
    }
}

/// A running edge. Ends with the value.
pub(super) struct Bus {
    pub(super) parties: SocketAddr,
    pub(super) monitors: SocketAddr,
    pub(super) desk: Arc<Desk>,
    stop: CancellationToken,
    house: tempfile::TempDir,
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

/// A checked house in a folder of its own.
fn checked(limits: &str) -> (tempfile::TempDir, Checked) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), limits);
    let (checked, said) =
        house::check(folder.path(), &Surroundings::default(), &Catalog::default());
    let checked = checked.unwrap_or_else(|| panic!("{}", render_text(&said)));
    (folder, checked)
}

impl Bus {
    pub(super) async fn start() -> Self {
        Self::within("{ body: 1MiB, waiting_per_route: 12 }").await
    }

    /// With these `limits:`.
    pub(super) async fn within(limits: &str) -> Self {
        let (house, checked) = checked(limits);
        std::fs::create_dir_all(&checked.settings.data).expect("made");
        let opened = open::Settings::sqlite(checked.settings.data.join("ledger.db"));
        let ledger = open(&opened).await.expect("opened");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let desk = Arc::new(desk(checked, ledger, clock).await);
        let (parties, monitors) = (free().await, free().await);
        let stop = CancellationToken::new();
        let bus = Self {
            parties: parties.local_addr().expect("bound"),
            monitors: monitors.local_addr().expect("bound"),
            desk: Arc::clone(&desk),
            stop: stop.clone(),
            house,
        };
        tokio::spawn(edge::serve(desk, parties, monitors, stop));
        bus
    }

    /// Sends bytes as they are; the whole answer, until the edge closes or the answer is complete.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.parties).await.expect("connected");
        let _ = stream.write_all(bytes).await;
        answer(&mut stream).await
    }

    /// Posts a message with these headers.
    pub(super) async fn post(&self, headers: &str, body: &[u8]) -> String {
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: bus\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// Posts a message of the party `sender` in binary mode.
    pub(super) async fn send(&self, id: &str, body: &str) -> String {
        self.post(&binary(TOKEN, id), body.as_bytes()).await
    }

    /// Asks as the party of `token`.
    pub(super) async fn get(&self, token: &str, target: &str) -> String {
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {token}\r\n\r\n");
        self.raw(head.as_bytes()).await
    }

    /// Files of documents that have not come to their place.
    pub(super) fn half_written(&self) -> usize {
        let folder = self.house.path().join("data/documents/incoming/a");
        std::fs::read_dir(folder).expect("a folder").count()
    }

    /// What monitoring reads.
    pub(super) async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.monitors).await.expect("connected");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bus\r\n\r\n").await.expect("sent");
        answer(&mut stream).await
    }
}

/// Headers of a message in binary mode.
pub(super) fn binary(token: &str, id: &str) -> String {
    format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nce-specversion: 1.0\r\n\
         ce-id: {id}\r\nce-source: urn:test\r\nce-type: {KIND}\r\n"
    )
}

/// Reads an answer: to its `Content-Length`, or to the end.
pub(super) async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    while !is_whole(&answer) {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.trim().parse().ok()).is_some_and(|n: usize| body.len() >= n)
}

async fn desk(checked: Checked, ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> Desk {
    let Checked { settings, schemas, instances, routes, parties, .. } = checked;
    for route in routes.iter() {
        let version = RouteVersion {
            digest: route.digest,
            route: route.name.clone(),
            bundle: Arc::clone(&route.bundle),
        };
        ledger.put_route_versions(&[version]).await.expect("written");
    }
    let started = ledger.start("a", clock.now()).await.expect("started");
    let labels = Labels {
        subscribers: ["party:fetcher", "party:neighbour"]
            .map(str::to_owned)
            .into_iter()
            .chain(routes.iter().map(|route| route.name.clone()))
            .collect(),
        inboxes: vec!["party:fetcher".to_owned(), "party:neighbour".to_owned()],
        sources: parties.iter().map(|party| format!("party:{}", party.id)).collect(),
        targets: Vec::new(),
        facts: Vec::new(),
        quotas: Vec::new(),
        codes: problems::codes(),
    };
    let metrics = Metrics::new(&labels).expect("declared");
    let store = Store::open(&settings.data, "a").expect("opened");
    let write = DirectWrite { ledger: Arc::clone(&ledger), clock: Arc::clone(&clock) };
    let engine = Engine::new(Parts {
        routes,
        instances,
        ledger: Arc::clone(&ledger),
        write: Arc::new(write),
        publish: Arc::new(NoBroker),
        clock: Arc::clone(&clock),
        chance: Arc::new(SystemChance),
        deadlines: Arc::new(TimerDeadlines),
        started,
        kept: Arc::new(Keeper::new(store.clone(), Arc::clone(&ledger), Arc::clone(&clock))),
        pseudonyms: Arc::new(snodo_core::pseudonym::Pseudonyms::for_tests()),
        observer: Arc::new(Silent),
        limits: Limits::default(),
    });
    let limits = EdgeLimits {
        body: settings.limits.body,
        body_within: std::time::Duration::from_millis(300),
        validation: settings.limits.validation,
    };
    Desk {
        engine,
        admits: RwLock::new(Arc::new(Admits::of(schemas, &parties, &settings))),
        room: Arc::new(Room::new(settings.limits.waiting_per_route)),
        shelf: Shelf::new(store),
        disk: Arc::new(Disk::new(settings.data.clone(), settings.limits.disk_free)),
        health: Arc::new(Health::new(&["ledger"], Arc::clone(&metrics), clock.now())),
        metrics,
        limits,
        shares: Shares::default(),
        hosts: settings.hosts.as_slice().into(),
        clock,
        ledger,
    }
}
