//! The group writer: a free writer takes what waits and has it committed as one group. No timer.
//!
//! Invariant: no two actions of a group have the same name and concern the same delivery; everybody of
//! a group gets the same word on its commit.

use std::{
    collections::{HashSet, VecDeque},
    mem::{Discriminant, discriminant},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use snodo_core::adapter::BoxFuture;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{Action, CommitError, Ledger, Outcome, Write};
use crate::clock::Clock;

/// Actions of a group at most.
const ROWS: usize = 500;
/// Bytes of bodies in a group at most.
const BYTES: usize = 4 << 20;
/// Submits that wait at most; more submitters wait for their place.
const WAITING: usize = 4096;

/// Hears of every commit: how it ended, how many actions, how long it took.
pub type Report = Arc<dyn Fn(Result<(), &CommitError>, usize, Duration) + Send + Sync>;

type Answer = oneshot::Sender<Result<Vec<Outcome>, CommitError>>;

struct Submit {
    actions: Vec<Action>,
    answer: Answer,
}

/// The way into the ledger of a running bus. Clones share one writer.
#[derive(Clone)]
pub struct GroupWriter {
    submits: mpsc::Sender<Submit>,
    report: Arc<RwLock<Option<Report>>>,
    task: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl std::fmt::Debug for GroupWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupWriter").finish_non_exhaustive()
    }
}

impl GroupWriter {
    /// Starts the writer.
    pub fn start(ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> Self {
        let (submits, waiting) = mpsc::channel(WAITING);
        let report = Arc::default();
        let work =
            Work { ledger, clock, waiting, later: VecDeque::new(), report: Arc::clone(&report) };
        let task = tokio::spawn(work.run());
        Self { submits, report, task: Arc::new(tokio::sync::Mutex::new(Some(task))) }
    }

    /// Tells `report` of every commit from now on.
    pub fn report_to(&self, report: Report) {
        *self.report.write().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    /// Waits until everything submitted is committed, once every clone is gone but this one.
    pub async fn close(self) {
        let Self { submits, task, .. } = self;
        drop(submits);
        let task = task.lock().await.take();
        if let Some(task) = task {
            // A clone that lives on holds the writer up: the stop must not hang for it.
            let _ = tokio::time::timeout(Duration::from_secs(5), task).await;
        }
    }
}

impl Write for GroupWriter {
    fn submit(&self, actions: Vec<Action>) -> BoxFuture<'_, Result<Vec<Outcome>, CommitError>> {
        Box::pin(async move {
            if actions.is_empty() {
                return Ok(Vec::new());
            }
            let gone = || CommitError::NotCommitted("the bus is stopping".to_owned());
            let (answer, answered) = oneshot::channel();
            self.submits.send(Submit { actions, answer }).await.map_err(|_| gone())?;
            answered
                .await
                .unwrap_or_else(|_| Err(CommitError::Unclear("the writer ended".to_owned())))
        })
    }
}

struct Work {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    waiting: mpsc::Receiver<Submit>,
    /// Submits that met a conflict, in their order.
    later: VecDeque<Submit>,
    report: Arc<RwLock<Option<Report>>>,
}

impl Work {
    async fn run(mut self) {
        loop {
            let mut group = Group::default();
            for submit in std::mem::take(&mut self.later) {
                self.later.extend(group.take(submit));
            }
            if group.is_empty() {
                match self.waiting.recv().await {
                    Some(submit) => self.later.extend(group.take(submit)),
                    None => return,
                }
            }
            while !group.is_full() && self.later.len() < WAITING {
                match self.waiting.try_recv() {
                    Ok(submit) => self.later.extend(group.take(submit)),
                    Err(_) => break,
                }
            }
            self.commit(group).await;
        }
    }

    async fn commit(&self, group: Group) {
        let begun = self.clock.uptime();
        let committed = self.ledger.commit(&group.actions, self.clock.now()).await;
        let took = self.clock.uptime().saturating_sub(begun);
        let report = self.report.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(report) = report {
            report(committed.as_ref().map(|_| ()), group.actions.len(), took);
        }
        group.answer(committed);
    }
}

/// What identifies an action for the purpose of conflicts: its name and its delivery.
type Key = (Discriminant<Action>, i128);

#[derive(Default)]
struct Group {
    actions: Vec<Action>,
    keys: HashSet<Key>,
    answers: Vec<(usize, Answer)>,
    bytes: usize,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    fn is_full(&self) -> bool {
        self.actions.len() >= ROWS || self.bytes >= BYTES
    }

    /// Takes a submit, or gives it back where it conflicts or does not fit.
    fn take(&mut self, submit: Submit) -> Option<Submit> {
        let bytes: usize = submit.actions.iter().map(weight).sum();
        let fits = self.actions.len() + submit.actions.len() <= ROWS && self.bytes + bytes <= BYTES;
        let keys = submit.actions.iter().filter_map(key);
        if !self.is_empty() && (!fits || keys.clone().any(|key| self.keys.contains(&key))) {
            return Some(submit);
        }
        self.keys.extend(keys);
        self.bytes += bytes;
        self.answers.push((submit.actions.len(), submit.answer));
        self.actions.extend(submit.actions);
        None
    }

    fn answer(self, committed: Result<Vec<Outcome>, CommitError>) {
        match committed {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (count, answer) in self.answers {
                    // A submitter that went away needs no answer.
                    let _ = answer.send(Ok(outcomes.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                for (_, answer) in self.answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

fn weight(action: &Action) -> usize {
    match action {
        Action::Accept(accept) => accept.message.data.len(),
        Action::Settle { emits, .. } | Action::Done { emits, .. } => {
            emits.iter().map(|emission| emission.message.data.len()).sum()
        }
        Action::Stray(stray) => stray.body.len(),
        _ => 0,
    }
}

/// None for actions that concern no single delivery.
fn key(action: &Action) -> Option<Key> {
    let delivery = match action {
        Action::Mark { seq, .. }
        | Action::HandOver { seq, .. }
        | Action::HandBack { seq, .. }
        | Action::Settle { seq, .. }
        | Action::FastVerdict { seq, .. }
        | Action::Claim { seq, .. }
        | Action::Extend { seq, .. }
        | Action::Intent { seq, .. }
        | Action::LedgerStep { seq, .. }
        | Action::Done { seq, .. }
        | Action::Filter { seq, .. }
        | Action::Verdict { seq, .. }
        | Action::GiveBack { seq, .. }
        | Action::OwnEnd { seq, .. }
        | Action::Reconcile { seq, .. } => i128::from(*seq),
        Action::DrainUnrouted { id, .. }
        | Action::DrainPoison { id, .. }
        | Action::Replay { id, .. }
        | Action::Discard { id, .. }
        | Action::ResolveDone { id, .. }
        | Action::ResolveNotDone { id, .. } => i128::from_be_bytes(*id.0.as_bytes()),
        Action::Accept(_)
        | Action::Reject { .. }
        | Action::Due { .. }
        | Action::Expire { .. }
        | Action::Stray(_)
        | Action::DeclareDead { .. } => return None,
    };
    Some((discriminant(action), delivery))
}
