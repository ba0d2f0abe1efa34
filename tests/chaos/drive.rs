//! The load: an open loop of messages at a fixed rate, on its own connections, logged as it goes.
//!
//! Invariant: a message is logged as attempted before it is sent, and as acknowledged only after its
//! 202 was read; the loop never waits for an answer before the next message is due.

use std::{
    collections::BTreeSet,
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

use snodo_tests::{
    chaos::house::{TOKEN, event},
    client::{Client, post_message},
};
use tokio::{task::JoinSet, time::MissedTickBehavior};

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

/// A driver under way.
#[derive(Debug)]
pub(crate) struct Driver {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    attempted: Arc<NumberLog>,
    acknowledged: Arc<NumberLog>,
}

impl Driver {
    /// Starts posting `rate` messages a second, numbered from `first` on.
    pub(crate) fn start(bus: SocketAddr, logs: &Path, first: u64, rate: u32) -> io::Result<Self> {
        let attempted = Arc::new(NumberLog::create(&logs.join(format!("attempted-{first}.log")))?);
        let acknowledged =
            Arc::new(NumberLog::create(&logs.join(format!("acknowledged-{first}.log")))?);
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(first));
        let (due, waiting) = tokio::sync::mpsc::channel::<()>(CONNECTIONS);
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let mut tasks = JoinSet::new();
        tasks.spawn(tick(Arc::clone(&stop), due, rate));
        for _ in 0..CONNECTIONS {
            let (next, waiting) = (Arc::clone(&next), Arc::clone(&waiting));
            let (attempted, acknowledged) = (Arc::clone(&attempted), Arc::clone(&acknowledged));
            tasks.spawn(async move {
                let mut client = Client::new(bus);
                while waiting.lock().await.recv().await.is_some() {
                    let number = next.fetch_add(1, Relaxed);
                    attempted.add(number);
                    let request = post_message(TOKEN, &event(number));
                    if client.send(&request).await.is_ok_and(|answer| answer.status == 202) {
                        acknowledged.add(number);
                    }
                }
            });
        }
        Ok(Self { stop, tasks, attempted, acknowledged })
    }

    /// Stops and gives (attempted, acknowledged).
    pub(crate) async fn stop(mut self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        self.stop.store(true, Relaxed);
        while self.tasks.join_next().await.is_some() {}
        (self.attempted.numbers(), self.acknowledged.numbers())
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
