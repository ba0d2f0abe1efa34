//! The ledger behind gates: what an instance wants of it lies on its desk until the world says how it
//! ends. Invariant: what is committed is committed by the real ledger, in one real transaction.

use std::{
    fmt,
    mem::{Discriminant, discriminant},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt as _;
use snodo::ledger::{
    Action, Ages, CommitError, Event, Filter, InBroker, Incarnation, Ledger, Outcome, Queued,
    QueuedKey, ReadError, RouteVersion, Row, Started, Story, Subscriber, Total, Write,
};
use snodo_core::{
    adapter::BoxFuture,
    envelope::{IdempotencyKey, Message},
    ids::{DeliveryId, Digest, Fence, IncarnationId, MessageId},
    timestamp::Timestamp,
};
use tokio::{runtime::Runtime, sync::oneshot};

/// A commit that waits.
#[derive(Debug)]
pub struct Commit {
    /// What is to be committed.
    pub actions: Vec<Action>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Vec<Outcome>, CommitError>>,
}

/// A read that waits: run it with the runtime, or have it fail.
pub type Read = Box<dyn FnOnce(Option<&Runtime>) + Send>;

/// What one instance wants of the ledger.
#[derive(Default)]
pub struct Desk {
    commits: Mutex<Vec<Commit>>,
    reads: Mutex<Vec<Read>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// How many commits wait.
    pub fn commits(&self) -> usize {
        locked(&self.commits).len()
    }

    /// How many reads wait.
    pub fn reads(&self) -> usize {
        locked(&self.reads).len()
    }

    /// Takes a commit from the desk.
    pub fn take_commit(&self, index: usize) -> Commit {
        locked(&self.commits).remove(index)
    }

    /// Takes a commit that may share a transaction with `group`: no two actions of one name about one
    /// delivery, and only such as are about one.
    pub fn take_beside(&self, index: usize, group: &[Action]) -> Option<Commit> {
        let mut commits = locked(&self.commits);
        let taken: Vec<_> = group.iter().map(subject_of).collect();
        let free =
            |action| subject_of(action).is_some_and(|subject| !taken.contains(&Some(subject)));
        let fits = taken.iter().all(Option::is_some) && commits[index].actions.iter().all(free);
        fits.then(|| commits.remove(index))
    }

    /// Takes a read from the desk.
    pub fn take_read(&self, index: usize) -> Read {
        locked(&self.reads).remove(index)
    }
}

/// The name of an action and the delivery that it is about.
fn subject_of(action: &Action) -> Option<(Discriminant<Action>, i64)> {
    match action {
        Action::Mark { seq, .. }
        | Action::HandOver { seq, .. }
        | Action::HandBack { seq, .. }
        | Action::Settle { seq, .. }
        | Action::FastVerdict { seq, .. }
        | Action::Claim { seq, .. }
        | Action::Intent { seq, .. }
        | Action::LedgerStep { seq, .. }
        | Action::Done { seq, .. }
        | Action::Verdict { seq, .. } => Some((discriminant(action), *seq)),
        _ => None,
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commits, {} reads", self.commits(), self.reads())
    }
}

impl Write for Desk {
    fn submit(&self, actions: Vec<Action>) -> BoxFuture<'_, Result<Vec<Outcome>, CommitError>> {
        let (answer, answered) = oneshot::channel();
        locked(&self.commits).push(Commit { actions, answer });
        let gone = || Err(CommitError::Unclear("the desk is gone".to_owned()));
        Box::pin(answered.map(move |answer| answer.unwrap_or_else(|_| gone())))
    }
}

/// The ledger as one instance sees it.
pub struct Gated {
    /// The real one.
    pub real: Arc<dyn Ledger>,
    /// Where its reads wait.
    pub desk: Arc<Desk>,
}

impl Gated {
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Runtime, &dyn Ledger) -> Result<T, ReadError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadError>> {
        let (answer, answered) = oneshot::channel();
        let real = Arc::clone(&self.real);
        let lost = || Err(ReadError("the connection is lost".to_owned()));
        let job: Read = Box::new(move |runtime| {
            let result = runtime.map_or_else(lost, |runtime| read(runtime, &*real));
            let _ = answer.send(result);
        });
        locked(&self.desk.reads).push(job);
        Box::pin(answered.map(move |answer| answer.unwrap_or_else(|_| lost())))
    }
}

impl fmt::Debug for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.desk.fmt(f)
    }
}

impl Ledger for Gated {
    fn commit<'a>(
        &'a self,
        group: &'a [Action],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, CommitError>> {
        self.real.commit(group, now)
    }
    fn start<'a>(
        &'a self,
        slot: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Started, CommitError>> {
        self.real.start(slot, now)
    }
    fn end(
        &self,
        incarnation: IncarnationId,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        self.real.end(incarnation, now)
    }
    fn put_route_versions<'a>(
        &'a self,
        versions: &'a [RouteVersion],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        self.real.put_route_versions(versions)
    }
    fn open_route_versions(&self) -> BoxFuture<'_, Result<Vec<RouteVersion>, ReadError>> {
        self.real.open_route_versions()
    }
    fn queued_keys<'a>(
        &'a self,
        me: Option<IncarnationId>,
        subscriber: &'a str,
        now: Timestamp,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<QueuedKey>, ReadError>> {
        let subscriber = subscriber.to_owned();
        self.read(move |runtime, real| {
            runtime.block_on(real.queued_keys(me, &subscriber, now, after, limit))
        })
    }
    fn queued<'a>(&'a self, seqs: &'a [i64]) -> BoxFuture<'a, Result<Vec<Queued>, ReadError>> {
        let seqs = seqs.to_vec();
        self.read(move |runtime, real| runtime.block_on(real.queued(&seqs)))
    }
    fn queued_subscribers(&self) -> BoxFuture<'_, Result<Vec<Subscriber>, ReadError>> {
        self.read(|runtime, real| runtime.block_on(real.queued_subscribers()))
    }
    fn row(&self, seq: i64) -> BoxFuture<'_, Result<Option<Row>, ReadError>> {
        self.read(move |runtime, real| runtime.block_on(real.row(seq)))
    }
    fn row_by_id(&self, id: DeliveryId) -> BoxFuture<'_, Result<Option<Row>, ReadError>> {
        self.read(move |runtime, real| runtime.block_on(real.row_by_id(id)))
    }
    fn message(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Arc<Message>>, ReadError>> {
        self.read(move |runtime, real| runtime.block_on(real.message(id)))
    }
    fn message_by_key<'a>(
        &'a self,
        key: &'a IdempotencyKey,
    ) -> BoxFuture<'a, Result<Option<MessageId>, ReadError>> {
        let key = key.clone();
        self.read(move |runtime, real| runtime.block_on(real.message_by_key(&key)))
    }
    fn story(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Story>, ReadError>> {
        self.read(move |runtime, real| runtime.block_on(real.story(id)))
    }
    fn list<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        self.real.list(filter)
    }
    fn claims_of(
        &self,
        incarnation: IncarnationId,
    ) -> BoxFuture<'_, Result<Vec<(i64, Fence)>, ReadError>> {
        self.read(move |runtime, real| runtime.block_on(real.claims_of(incarnation)))
    }
    fn intents_of(
        &self,
        incarnation: IncarnationId,
    ) -> BoxFuture<'_, Result<Vec<(i64, String, Fence)>, ReadError>> {
        self.read(move |runtime, real| runtime.block_on(real.intents_of(incarnation)))
    }
    fn in_broker<'a>(
        &'a self,
        subscriber: &'a str,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<InBroker>, ReadError>> {
        let subscriber = subscriber.to_owned();
        self.read(move |runtime, real| runtime.block_on(real.in_broker(&subscriber, after, limit)))
    }
    fn to_wake<'a>(
        &'a self,
        of: Option<(&'a str, Digest)>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<i64>, ReadError>> {
        let of = of.map(|(subscriber, key)| (subscriber.to_owned(), key));
        self.read(move |runtime, real| {
            let of = of.as_ref().map(|(subscriber, key)| (subscriber.as_str(), *key));
            runtime.block_on(real.to_wake(of, limit))
        })
    }
    fn delivery_totals(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>> {
        self.real.delivery_totals()
    }
    fn message_totals(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>> {
        self.real.message_totals()
    }
    fn scan(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>> {
        self.real.scan()
    }
    fn broken_invariants(&self) -> BoxFuture<'_, Result<Vec<String>, ReadError>> {
        self.real.broken_invariants()
    }
    fn ages(&self) -> BoxFuture<'_, Result<Ages, ReadError>> {
        self.real.ages()
    }
    fn cursor<'a>(
        &'a self,
        instance: &'a str,
        partition: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, ReadError>> {
        self.real.cursor(instance, partition)
    }
    fn incarnations(&self) -> BoxFuture<'_, Result<Vec<Incarnation>, ReadError>> {
        self.real.incarnations()
    }
    fn chains(&self) -> BoxFuture<'_, Result<Vec<String>, ReadError>> {
        self.real.chains()
    }
    fn events<'a>(
        &'a self,
        chain: &'a str,
        from: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Event>, ReadError>> {
        self.real.events(chain, from, limit)
    }
    fn events_of<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Vec<Event>, ReadError>> {
        self.real.events_of(subject)
    }
    fn heads(&self) -> BoxFuture<'_, Result<Vec<(String, i64, Digest)>, ReadError>> {
        self.real.heads()
    }
}
