//! The load: an open loop of messages at a fixed rate, on its own connections, logged as it goes.
//!
//! Invariant: a message is logged as attempted before it is sent, and as acknowledged only after its
//! 202 was read; the loop never waits for an answer before the next message is due.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    chaos::house::{TOKEN, event, route_of},
    client::{Client, post_message},
};

/// Connections of the driver; more messages than that are never in flight.
const CONNECTIONS: usize = 64;

/// An append-only log of numbers, a line each.
#[derive(Debug)]
struct NumberLog {
    file: Mutex<(File, BTreeSet<u64>)>,
}

impl NumberLog {
    fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Mutex::new((File::create(path)?, BTreeSet::new())) })
    }

    fn add(&self, number: u64) {
        if let Ok(mut log) = self.file.lock() {
            // A line that cannot be written is missed by the checker, which is what must happen.
            let _ = writeln!(log.0, "{number}");
            log.1.insert(number);
        }
    }

    fn numbers(&self) -> BTreeSet<u64> {
        self.file.lock().map(|log| log.1.clone()).unwrap_or_default()
    }
}

/// What is posted.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Messages a second.
    pub rate: u32,
    /// Only messages for this route; the others' numbers are left out.
    pub only: Option<&'static str>,
}

impl Load {
    /// So many a second, for all routes in turn.
    pub fn of(rate: u32) -> Self {
        Self { rate, only: None }
    }
}

/// A driver under way.
#[derive(Debug)]
pub struct Driver {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    log: Arc<Log>,
}

/// What it notes.
#[derive(Debug)]
struct Log {
    attempted: NumberLog,
    acknowledged: NumberLog,
    /// How often another answer came, or none at all (0).
    refused: Mutex<BTreeMap<u16, u64>>,
}

impl Log {
    fn create(folder: &Path, first: u64) -> io::Result<Self> {
        let log = |name: &str| NumberLog::create(&folder.join(format!("{name}-{first}.log")));
        Ok(Self {
            attempted: log("attempted")?,
            acknowledged: log("acknowledged")?,
            refused: Mutex::default(),
        })
    }

    fn answered(&self, number: u64, status: u16) {
        if status == 202 {
            self.acknowledged.add(number);
        } else if let Ok(mut refused) = self.refused.lock() {
            *refused.entry(status).or_default() += 1;
        }
    }
}

impl Driver {
    /// Starts posting messages, numbered from `first` on.
    pub fn start(bus: SocketAddr, logs: &Path, first: u64, load: Load) -> io::Result<Self> {
        let log = Arc::new(Log::create(logs, first)?);
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(first));
        let (due, waiting) = tokio::sync::mpsc::channel::<()>(CONNECTIONS);
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let mut tasks = JoinSet::new();
        tasks.spawn(tick(Arc::clone(&stop), due, load.rate));
        for _ in 0..CONNECTIONS {
            let (next, waiting) = (Arc::clone(&next), Arc::clone(&waiting));
            let log = Arc::clone(&log);
            tasks.spawn(async move {
                let mut client = Client::new(bus);
                while waiting.lock().await.recv().await.is_some() {
                    let number = draw(&next, load.only);
                    log.attempted.add(number);
                    let answer = client.send(&post_message(TOKEN, &event(number))).await;
                    log.answered(number, answer.map_or(0, |answer| answer.status));
                }
            });
        }
        Ok(Self { stop, tasks, log })
    }

    /// Messages for which a 202 was seen so far.
    pub fn acknowledged(&self) -> usize {
        self.log.acknowledged.numbers().len()
    }

    /// How often each other answer came so far; 0 is none at all.
    pub fn refused(&self) -> BTreeMap<u16, u64> {
        self.log.refused.lock().map(|refused| refused.clone()).unwrap_or_default()
    }

    /// Stops and gives (attempted, acknowledged).
    pub async fn stop(mut self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        self.stop.store(true, Relaxed);
        while self.tasks.join_next().await.is_some() {}
        (self.log.attempted.numbers(), self.log.acknowledged.numbers())
    }
}

/// The next number, of those for the route that is wanted.
fn draw(next: &AtomicU64, only: Option<&str>) -> u64 {
    loop {
        let number = next.fetch_add(1, Relaxed);
        if only.is_none_or(|route| route_of(number) == route) {
            return number;
        }
    }
}

async fn tick(stop: Arc<AtomicBool>, due: tokio::sync::mpsc::Sender<()>, rate: u32) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !stop.load(Relaxed) {
        ticks.tick().await;
        // Where every connection waits for an answer, this message is not posted at all.
        let _ = due.try_send(());
    }
}
