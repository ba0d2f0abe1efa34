//! Writes to the ledger, and notes what was written of each delivery.
//!
//! Invariant: noted is only what the ledger took; the crash that a test wants comes between a commit and
//! whoever waits for its answer.

use std::{
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::Value;
use snodo_core::{
    adapter::BoxFuture,
    facts::VERDICTS,
    route::{
        ASKS, DECLARES,
        suite::{Emission, SELF_DECLARED},
    },
};
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    ledger::{self, Action, CommitError, FactRows, Ledger, Outcome, StepDone, Then, Write},
};

/// The outcome of a need.
#[derive(Clone, Debug)]
pub(super) struct FactNote {
    pub(super) need: String,
    pub(super) outcome: String,
    /// By an earlier answer.
    pub(super) reused: bool,
    /// The sender declares something else.
    pub(super) differs: bool,
}

/// What was written of a delivery.
#[derive(Clone, Debug)]
pub(super) enum Note {
    /// A step was done.
    Ran(String),
    /// A need has an outcome, by an earlier answer or not.
    Fact(FactNote),
    /// A choice took a branch.
    Chose(String, String),
    /// A message was emitted.
    Emitted(Emission),
    /// It waits so long for a new attempt.
    Waits(Duration),
    /// It ended.
    Ended,
}

/// The way to the ledger.
pub(super) struct Recorder {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) clock: Arc<dyn Clock>,
    notes: Mutex<Vec<(i64, Note)>>,
    /// The step after which the process dies.
    dies_after: Mutex<Option<String>>,
    /// It has died.
    pub(super) died: Notify,
    /// Deliveries that wait for the bus.
    open: AtomicI64,
}

impl Recorder {
    pub(super) fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        dies_after: Option<String>,
    ) -> Self {
        let dies_after = Mutex::new(dies_after);
        let (notes, died, open) = (Mutex::default(), Notify::new(), AtomicI64::new(0));
        Self { ledger, clock, notes, dies_after, died, open }
    }

    /// Whether nothing waits for the bus.
    pub(super) fn is_at_rest(&self) -> bool {
        self.open.load(Relaxed) == 0
    }

    /// What was noted, by the sequence of its delivery.
    pub(super) fn notes(&self) -> MutexGuard<'_, Vec<(i64, Note)>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what an action did; whether the process dies now.
    fn note(&self, action: &Action, outcome: &Outcome) -> bool {
        let add = |seq: &i64, note: Note| {
            if let Note::Ended = note {
                self.open.fetch_sub(1, Relaxed);
            }
            self.notes().push((*seq, note));
        };
        match (action, outcome) {
            (Action::Accept(_), Outcome::Accepted { created }) => {
                self.open.fetch_add(i64::try_from(created.len()).unwrap_or(0), Relaxed);
            }
            (Action::Settle { seq, emits, .. }, Outcome::Settled { .. }) => {
                for emit in emits {
                    add(seq, Note::Emitted(emission(emit)));
                }
                add(seq, Note::Ended);
            }
            (Action::Answer { seq, fact, .. }, Outcome::Matched) => {
                if let Some(told) = fact.disclosures.first() {
                    add(seq, of_fact(&told.step, Some(fact), &Value::Null));
                }
            }
            (Action::Done { seq, done, emits, fact, last, .. }, Outcome::Done { .. }) => {
                add(seq, ran(done, fact.as_deref()));
                for emit in emits {
                    add(seq, Note::Emitted(emission(emit)));
                }
                if *last {
                    add(seq, Note::Ended);
                }
                return self.dies(&done.step);
            }
            (Action::LedgerStep { seq, step, last, .. }, Outcome::Done { .. }) => {
                add(seq, Note::Ran(step.clone()));
                if *last {
                    add(seq, Note::Ended);
                }
                return self.dies(step);
            }
            (Action::Filter { seq, .. }, Outcome::Matched) => add(seq, Note::Ended),
            (
                Action::Verdict { seq, back, .. } | Action::FastVerdict { seq, back, .. },
                Outcome::Matched,
            ) => match &back.then {
                Then::Waiting(until) if back.counts => {
                    add(seq, Note::Waits(until.since(self.clock.now())));
                }
                Then::Waiting(_) => {}
                Then::Parked | Then::Uncertain => drop(self.open.fetch_sub(1, Relaxed)),
            },
            _ => {}
        }
        false
    }

    fn dies(&self, step: &str) -> bool {
        let mut dies_after = self.dies_after.lock().unwrap_or_else(PoisonError::into_inner);
        dies_after.take_if(|after| after == step).is_some()
    }
}

impl Write for Recorder {
    fn submit(&self, actions: Vec<Action>) -> BoxFuture<'_, Result<Vec<Outcome>, CommitError>> {
        Box::pin(async move {
            let outcomes = self.ledger.commit(&actions, self.clock.now()).await?;
            let mut dies = false;
            for (action, outcome) in actions.iter().zip(&outcomes) {
                dies |= self.note(action, outcome);
            }
            if dies {
                self.died.notify_one();
                return pending().await;
            }
            Ok(outcomes)
        })
    }
}

/// What a step that was done is called.
fn ran(done: &StepDone, fact: Option<&FactRows>) -> Note {
    if done.operation.starts_with(ASKS) {
        return of_fact(&done.step, fact, &done.result);
    }
    if done.operation.starts_with(DECLARES) {
        let (need, outcome) = (need_of(&done.step), SELF_DECLARED.to_owned());
        return Note::Fact(FactNote { need, outcome, reused: false, differs: false });
    }
    match done.operation.strip_prefix("choose:") {
        Some(branch) => Note::Chose(done.step.clone(), branch.to_owned()),
        None => Note::Ran(done.step.clone()),
    }
}

fn need_of(step: &str) -> String {
    step.strip_prefix("facts.").unwrap_or(step).to_owned()
}

/// The outcome of a need: a verdict, what the authority answered, or that it was not wanted.
fn of_fact(step: &str, fact: Option<&FactRows>, result: &Value) -> Note {
    let told = fact.and_then(|fact| fact.disclosures.first());
    let outcome = match (told, result.as_str().filter(|word| VERDICTS.contains(word))) {
        (_, Some(verdict)) => verdict.to_owned(),
        (Some(told), None) => told.answer.word().to_owned(),
        (None, None) => "not_wanted".to_owned(),
    };
    let differs = told.and_then(|told| told.differs.as_ref());
    Note::Fact(FactNote {
        need: need_of(step),
        outcome,
        reused: told.is_some_and(|told| told.asked_case.is_some()),
        differs: differs.is_some_and(|places| !places.is_empty()),
    })
}

fn emission(emit: &ledger::Emission) -> Emission {
    let to = emit
        .deliveries
        .iter()
        .filter_map(|delivery| Some(delivery.subscriber.strip_prefix("party:")?.to_owned()));
    Emission {
        kind: emit.message.envelope.kind.clone(),
        to: to.collect(),
        // What the engine emits is JSON.
        data: serde_json::from_slice(&emit.message.data).unwrap_or_default(),
    }
}
