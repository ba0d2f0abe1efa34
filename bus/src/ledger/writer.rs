//! The group writer: what waits when the ledger is free is the next group. Where rows come thick, a
//! group begins at the pace of `snodo_core::pace`: a commit has a fixed cost, whatever its size.
//!
//! Invariant: the actions of one submission are in one group, in their order; two actions that concern
//! the same delivery are never in two groups at once, and of the same name never in one group; what
//! was submitted is answered, whether or not anybody still waits for the answer.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use snodo_core::{
    adapter::BoxFuture,
    pace::{Pace, Waiting},
    register::LedgerEffect,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Action, CommitError, Ledger, Outcome, Write,
    guards::{Name, Target, guarded},
    prove,
};
use crate::clock::Clock;

/// How groups are made.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Groups under way at once: one for SQLite, two for PostgreSQL.
    pub writers: usize,
    /// Actions of a group at most, and messages that they emit beyond one each.
    pub rows: usize,
    /// Bytes of bodies of a group at most.
    pub bytes: usize,
    /// Actions that may wait; who submits more waits outside.
    pub waiting: usize,
    /// Whether registrations form groups of their own, so that a counter's row is held shortly.
    pub registrations_apart: bool,
    /// Where the heads of the chains are kept, outside the database.
    pub heads: Option<PathBuf>,
    /// Who hears of every commit.
    pub report: Report,
}

/// A turn of retention removes about so many rows.
const TURN: usize = 500;

/// Hears of every commit: how it ended, how many actions, how long it took.
#[derive(Clone, Default)]
pub struct Report(Option<Arc<Hears>>);

type Hears = dyn Fn(Result<(), &CommitError>, usize, Duration) + Send + Sync;

impl Report {
    /// Tells `hears`.
    pub fn to(
        hears: impl Fn(Result<(), &CommitError>, usize, Duration) + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(hears)))
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Report").field(&self.0.is_some()).finish()
    }
}

impl WriterOptions {
    /// For a file.
    pub fn sqlite(heads: Option<PathBuf>) -> Self {
        Self {
            writers: 1,
            rows: 500,
            bytes: 4 << 20,
            waiting: 20_000,
            registrations_apart: false,
            heads,
            report: Report::default(),
        }
    }

    /// For a server.
    pub fn postgres(heads: Option<PathBuf>) -> Self {
        Self { writers: 2, registrations_apart: true, ..Self::sqlite(heads) }
    }
}

/// What the writer has done, for the metrics.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Groups committed.
    pub commits: AtomicU64,
    /// Actions in them.
    pub rows: AtomicU64,
    /// Microseconds that they took.
    pub micros: AtomicU64,
    /// Groups of which nothing was written.
    pub not_committed: AtomicU64,
    /// Groups of which it is not known.
    pub unclear: AtomicU64,
    /// Actions that wait now.
    pub waiting: AtomicU64,
}

/// The group writer.
#[derive(Debug)]
pub struct GroupWriter {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    options: WriterOptions,
    room: Arc<Semaphore>,
    state: Mutex<State>,
    work: Notify,
    stats: WriterStats,
    heads_written: tokio::sync::Mutex<Option<Duration>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Submission>,
    /// Rows in it, and accepts among them.
    rows: usize,
    accepts: usize,
    pace: Pace,
    /// Deliveries of groups under way.
    in_flight: HashSet<Target>,
    closed: bool,
}

struct Submission {
    actions: Vec<Action>,
    accepts: usize,
    answer: oneshot::Sender<Result<Vec<Outcome>, CommitError>>,
    room: OwnedSemaphorePermit,
}

/// Limits and keys of a group that is being made.
#[derive(Default)]
struct Forming {
    actions: usize,
    rows: usize,
    bytes: usize,
    registers: Option<bool>,
    keys: HashSet<(Name, Target)>,
}

impl GroupWriter {
    /// Starts the writer's tasks.
    pub fn start(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        options: WriterOptions,
    ) -> Arc<Self> {
        let writers = options.writers.max(1);
        let shared = Arc::new(Shared {
            ledger,
            clock,
            room: Arc::new(Semaphore::new(options.waiting.max(1))),
            options,
            state: Mutex::default(),
            work: Notify::new(),
            stats: WriterStats::default(),
            heads_written: tokio::sync::Mutex::new(None),
        });
        let tasks = (0..writers).map(|_| tokio::spawn(Arc::clone(&shared).run())).collect();
        Arc::new(Self { shared, tasks: Mutex::new(tasks) })
    }

    /// What it has done.
    pub fn stats(&self) -> &WriterStats {
        &self.shared.stats
    }

    /// Writes what waits, refuses what comes, ends; the heads are kept a last time.
    pub async fn shutdown(&self) {
        self.shared.close();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // A writer that panicked has answered its group by dropping it.
            let _ = task.await;
            self.shared.work.notify_one();
        }
        self.shared.keep_heads(true).await;
    }
}

impl Drop for GroupWriter {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Write for GroupWriter {
    fn submit(&self, actions: Vec<Action>) -> BoxFuture<'_, Result<Vec<Outcome>, CommitError>> {
        Box::pin(self.shared.submit(actions))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn submit(&self, actions: Vec<Action>) -> Result<Vec<Outcome>, CommitError> {
        if actions.is_empty() {
            return Ok(Vec::new());
        }
        let closed = || CommitError::NotCommitted("the writer has ended".to_owned());
        let permits = u32::try_from(actions.len().min(self.options.waiting.max(1))).unwrap_or(1);
        let room =
            Arc::clone(&self.room).acquire_many_owned(permits).await.map_err(|_| closed())?;
        let (answer, wait) = oneshot::channel();
        {
            let mut state = self.state();
            if state.closed {
                return Err(closed());
            }
            self.stats.waiting.fetch_add(actions.len() as u64, Relaxed);
            let accepts = actions.iter().filter(|one| matches!(one, Action::Accept(_))).count();
            state.rows += rows(&actions);
            state.accepts += accepts;
            state.queue.push_back(Submission { actions, accepts, answer, room });
        }
        self.work.notify_one();
        wait.await.unwrap_or_else(|_| Err(CommitError::Unclear("the writer ended".to_owned())))
    }

    fn close(&self) {
        self.state().closed = true;
        self.room.close();
        self.work.notify_waiters();
        self.work.notify_one();
    }

    async fn run(self: Arc<Self>) {
        loop {
            let mut notified = std::pin::pin!(self.work.notified());
            notified.as_mut().enable();
            if let Some(hold) = self.hold() {
                // Woken before: there is more, and perhaps enough. Not woken: it is time.
                if timeout(hold, notified.as_mut()).await.is_ok() {
                    continue;
                }
            }
            match self.take() {
                Some(group) => self.write(group).await,
                None if self.state().closed && self.state().queue.is_empty() => return,
                None => notified.await,
            }
        }
    }

    /// How long the next group waits for more.
    fn hold(&self) -> Option<Duration> {
        let state = self.state();
        let waiting = Waiting { rows: state.rows, accepts: state.accepts > 0 };
        if waiting.rows == 0 || state.closed {
            return None;
        }
        state.pace.hold(waiting, self.clock.uptime())
    }

    /// What waits, as far as it fits into one group. What does not fit stays, and all behind it: an
    /// action must not overtake another of its delivery.
    fn take(&self) -> Option<Vec<Submission>> {
        let mut state = self.state();
        let mut forming = Forming::default();
        let mut group = Vec::new();
        while let Some(next) = state.queue.front() {
            if !forming.fits(&next.actions, &self.options, &state.in_flight) {
                break;
            }
            forming.add(&next.actions, &self.options);
            group.extend(state.queue.pop_front());
        }
        if group.is_empty() {
            return None;
        }
        state.rows -= forming.rows;
        state.accepts -= group.iter().map(|each: &Submission| each.accepts).sum::<usize>();
        state.pace.begins(forming.rows, self.clock.uptime());
        state.in_flight.extend(forming.keys.iter().map(|(_, target)| *target));
        self.stats.waiting.fetch_sub(forming.actions as u64, Relaxed);
        if !state.queue.is_empty() {
            self.work.notify_one();
        }
        Some(group)
    }

    async fn write(&self, group: Vec<Submission>) {
        let mut actions = Vec::with_capacity(group.iter().map(|each| each.actions.len()).sum());
        let mut answers = Vec::with_capacity(group.len());
        for submission in group {
            answers.push((submission.actions.len(), submission.answer, submission.room));
            actions.extend(submission.actions);
        }
        let begun = self.clock.uptime();
        let result = self.ledger.commit(&actions, self.clock.now()).await;
        self.count(&result, actions.len(), self.clock.uptime().saturating_sub(begun));
        {
            let mut state = self.state();
            for (_, target) in actions.iter().filter_map(guarded) {
                state.in_flight.remove(&target);
            }
        }
        let mut outcomes = result.map(Vec::into_iter);
        for (many, answer, _room) in answers {
            let part = match &mut outcomes {
                Ok(outcomes) => Ok(outcomes.take(many).collect()),
                Err(error) => Err(error.clone()),
            };
            // Who no longer waits has lost interest, not custody: the row says what happened.
            let _ = answer.send(part);
        }
        self.work.notify_one();
        self.keep_heads(false).await;
    }

    fn count(&self, result: &Result<Vec<Outcome>, CommitError>, rows: usize, took: Duration) {
        if let Report(Some(hears)) = &self.options.report {
            hears(result.as_ref().map(drop), rows, took);
        }
        let stats = &self.stats;
        match result {
            Ok(_) => {
                stats.commits.fetch_add(1, Relaxed);
                stats.rows.fetch_add(rows as u64, Relaxed);
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                stats.micros.fetch_add(micros, Relaxed);
            }
            Err(CommitError::NotCommitted(_)) => {
                stats.not_committed.fetch_add(1, Relaxed);
            }
            Err(CommitError::Unclear(_)) => {
                stats.unclear.fetch_add(1, Relaxed);
            }
        }
    }

    /// Keeps the heads outside the database, at most once a second.
    async fn keep_heads(&self, at_once: bool) {
        let Some(path) = &self.options.heads else { return };
        let Ok(mut written) = self.heads_written.try_lock() else { return };
        let now = self.clock.uptime();
        let early = written.is_some_and(|last| now.saturating_sub(last) < Duration::from_secs(1));
        if early && !at_once {
            return;
        }
        *written = Some(now);
        if let Err(error) = prove::append_heads(&*self.ledger, path, self.clock.now()).await {
            tracing::warn!(%error, "SN0839: the heads of the evidence were not kept");
        }
    }
}

impl Forming {
    fn fits(
        &self,
        actions: &[Action],
        options: &WriterOptions,
        in_flight: &HashSet<Target>,
    ) -> bool {
        let registers = options.registrations_apart.then(|| registers(actions));
        let keys = || actions.iter().filter_map(guarded);
        if keys().any(|(_, target)| in_flight.contains(&target)) {
            return false;
        }
        // A submission that is too large for any group is one of its own.
        self.rows == 0
            || self.rows + rows(actions) <= options.rows
                && self.bytes + bytes(actions) <= options.bytes
                && self.registers == registers
                && !keys().any(|key| self.keys.contains(&key))
    }

    fn add(&mut self, actions: &[Action], options: &WriterOptions) {
        self.registers = options.registrations_apart.then(|| registers(actions));
        self.actions += actions.len();
        self.rows += rows(actions);
        self.bytes += bytes(actions);
        self.keys.extend(actions.iter().filter_map(guarded));
    }
}

fn registers(actions: &[Action]) -> bool {
    actions.iter().any(|action| {
        matches!(action, Action::LedgerStep { effect: LedgerEffect::Register(_), .. })
    })
}

/// One per action, and one per message that it emits beyond the first: an `each` over many items fills
/// a group by itself.
fn rows(actions: &[Action]) -> usize {
    let of = |action: &Action| match action {
        Action::Settle { emits, .. } | Action::Done { emits, .. } => emits.len().max(1),
        // A turn is a group by itself: nobody waits for it but those who come after it.
        Action::Forget(_) => TURN,
        _ => 1,
    };
    actions.iter().map(of).sum()
}

fn bytes(actions: &[Action]) -> usize {
    actions.iter().map(bytes_of).sum()
}

fn bytes_of(action: &Action) -> usize {
    match action {
        Action::Accept(accept) => accept.message.data.len(),
        Action::Settle { emits, .. } | Action::Done { emits, .. } => {
            emits.iter().map(|emission| emission.message.data.len()).sum()
        }
        Action::Stray(stray) => stray.body.len(),
        _ => 0,
    }
}
