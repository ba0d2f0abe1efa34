//! The far sides of the chaos runs: one server, four paths, a line on disk for every call.
//!
//! Invariant: a call's line is synced before the call counts as applied and before it is answered; a
//! call once read acts at its drawn time even if its caller is gone; only `/idempotent` deduplicates,
//! by `Idempotency-Key` alone.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use snodo_core::ids::Digest;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::plan::Dice;

/// Between a call and its answer, in milliseconds: drawn from here.
pub const DELAY_MS: (u64, u64) = (200, 800);

/// One call, as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The `Idempotency-Key`: the delivery and the step.
    pub key: String,
    /// `idempotent`, `recallable` or `once`.
    pub operation: String,
    /// The driver's number of the message.
    pub n: u64,
    /// Digest of the body.
    pub digest: String,
    /// Whether it was done; a call with a key that `idempotent` has seen is not.
    pub applied: bool,
}

/// The digest of a body: over its members in the order of their names.
pub fn digest(body: &Value) -> String {
    let members: std::collections::BTreeMap<_, _> =
        body.as_object().into_iter().flatten().collect();
    let text = serde_json::to_string(&members).unwrap_or_default();
    Digest::of(text.as_bytes()).to_string()
}

/// Every whole line of a log.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
}

/// How a target meets the calls that come.
#[derive(Clone, Debug, Default)]
pub enum Manner {
    /// Does what it is asked.
    #[default]
    Does,
    /// Reads a call and does nothing before it does again.
    Holds,
    /// Answers this and does nothing; calls of other messages are done.
    Says(Saying, fn(u64) -> bool),
}

/// An answer that a target was told to give.
#[derive(Clone, Copy, Debug)]
pub struct Saying {
    /// Its status.
    pub status: u16,
    /// A header of it.
    pub header: (&'static str, fn() -> String),
    /// Its body.
    pub body: &'static str,
}

impl Saying {
    /// A status, and nothing that helps.
    pub fn status(status: u16) -> Self {
        Self { status, header: ("content-type", || "text/plain".to_owned()), body: "" }
    }
}

impl Saying {
    fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or_default();
        let mut response = (status, self.body).into_response();
        let (name, value) = (HeaderName::from_static(self.header.0), (self.header.1)());
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A call that was answered as told: when, and of which message.
pub type Answered = (Instant, u64);

/// So many of them are remembered.
const REMEMBERED: usize = 100_000;

/// A running target. Ends when it is dropped.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    log: PathBuf,
    manner: watch::Sender<Manner>,
    answered: Arc<Mutex<Vec<Answered>>>,
    served: JoinHandle<()>,
}

impl Target {
    /// Starts on a free port of this machine, with a new log.
    pub async fn start(log: &Path, seed: u64, delay_ms: (u64, u64)) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (manner, answered) = (watch::Sender::new(Manner::Does), Arc::default());
        let world = World {
            writer: writer(log)?,
            dice: Arc::new(Mutex::new(Dice::new(seed))),
            delay_ms,
            manner: manner.subscribe(),
            answered: Arc::clone(&answered),
        };
        let router = Router::new()
            .route("/idempotent", post(idempotent))
            .route("/recallable", post(recallable))
            .route("/recallable/{key}", get(find))
            .route("/once", post(once))
            .with_state(world);
        let served = tokio::spawn(async move {
            // It serves until it is aborted; an error of the listener shows in the runs.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, log: log.to_owned(), manner, answered, served })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it meets calls from now on.
    pub fn behave(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// Calls that were answered as told, in their order.
    pub fn answered(&self) -> Vec<Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every call so far, from the disk.
    pub fn lines(&self) -> io::Result<Vec<Line>> {
        read(&self.log)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.served.abort();
    }
}

#[derive(Clone, Debug)]
struct World {
    writer: mpsc::Sender<Request>,
    dice: Arc<Mutex<Dice>>,
    delay_ms: (u64, u64),
    manner: watch::Receiver<Manner>,
    answered: Arc<Mutex<Vec<Answered>>>,
}

/// What the writer is asked.
#[derive(Debug)]
enum Request {
    /// Do this; answered once it is on disk.
    Apply(Line, oneshot::Sender<()>),
    /// Was a recallable call with this key applied?
    Find(String, oneshot::Sender<bool>),
}

async fn idempotent(world: State<World>, headers: HeaderMap, body: Json<Value>) -> Response {
    world.0.act("idempotent", &headers, body.0).await
}

async fn recallable(world: State<World>, headers: HeaderMap, body: Json<Value>) -> Response {
    world.0.act("recallable", &headers, body.0).await
}

async fn once(world: State<World>, headers: HeaderMap, body: Json<Value>) -> Response {
    world.0.act("once", &headers, body.0).await
}

async fn find(State(world): State<World>, UrlPath(key): UrlPath<String>) -> StatusCode {
    let (tell, told) = oneshot::channel();
    if world.writer.send(Request::Find(key, tell)).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    match told.await {
        Ok(true) => StatusCode::OK,
        Ok(false) => StatusCode::NOT_FOUND,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl World {
    async fn act(&self, operation: &str, headers: &HeaderMap, body: Value) -> Response {
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        let (Some(key), Some(n)) = (key, body["n"].as_u64()) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        if let Some(told) = self.told(n).await {
            return told;
        }
        self.apply(operation, key, n, &body).await.into_response()
    }

    /// The answer that it was told to give, as soon as it is not told to wait.
    async fn told(&self, n: u64) -> Option<Response> {
        let mut manner = self.manner.clone();
        // An error: the target is gone, and its answer with it.
        let manner = manner.wait_for(|manner| !matches!(manner, Manner::Holds)).await.ok()?.clone();
        let Manner::Says(saying, to) = manner else { return None };
        if !to(n) {
            return None;
        }
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.len() < REMEMBERED {
            answered.push((Instant::now(), n));
        }
        Some(saying.response())
    }

    async fn apply(&self, operation: &str, key: &str, n: u64, body: &Value) -> StatusCode {
        let line = Line {
            key: key.to_owned(),
            operation: operation.to_owned(),
            n,
            digest: digest(body),
            applied: true,
        };
        let (before, after) = self.delays();
        let writer = self.writer.clone();
        // On its own: a caller that goes away does not take the call back.
        let acted = tokio::spawn(async move {
            tokio::time::sleep(before).await;
            let (tell, told) = oneshot::channel();
            writer.send(Request::Apply(line, tell)).ok()?;
            told.await.ok()
        });
        if !matches!(acted.await, Ok(Some(()))) {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        tokio::time::sleep(after).await;
        StatusCode::OK
    }

    /// The whole delay is drawn, and the moment in it at which the call acts.
    fn delays(&self) -> (Duration, Duration) {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = dice.between(self.delay_ms.0, self.delay_ms.1);
        let before = dice.between(0, whole);
        (Duration::from_millis(before), Duration::from_millis(whole - before))
    }
}

/// The only one that writes: lines that came while it synced share the next sync.
fn writer(path: &Path) -> io::Result<mpsc::Sender<Request>> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let (send, requests) = mpsc::channel::<Request>();
    std::thread::Builder::new().name("target-log".to_owned()).spawn(move || {
        let mut book = Book { file, seen: HashSet::new() };
        while let Ok(first) = requests.recv() {
            let waiting = std::iter::once(first).chain(requests.try_iter()).collect();
            if book.serve(waiting).is_err() {
                // A target whose disk fails answers no more: every call fails, and the run with it.
                return;
            }
        }
    })?;
    Ok(send)
}

struct Book {
    file: File,
    /// Operation and key of what was applied.
    seen: HashSet<(String, String)>,
}

impl Book {
    fn serve(&mut self, requests: Vec<Request>) -> io::Result<()> {
        let (mut text, mut tell, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for request in requests {
            match request {
                Request::Apply(mut line, done) => {
                    let name = (line.operation.clone(), line.key.clone());
                    line.applied = self.seen.insert(name) || line.operation != "idempotent";
                    serde_json::to_writer(&mut text, &line)?;
                    text.push(b'\n');
                    tell.push(done);
                }
                Request::Find(key, answer) => asked.push((key, answer)),
            }
        }
        if !text.is_empty() {
            self.file.write_all(&text)?;
            self.file.sync_data()?;
        }
        // Who called or asked may be gone: that is not the far side's trouble.
        for done in tell {
            let _ = done.send(());
        }
        for (key, answer) in asked {
            let _ = answer.send(self.seen.contains(&("recallable".to_owned(), key)));
        }
        Ok(())
    }
}
