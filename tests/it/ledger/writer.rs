//! The group writer: nothing overtakes, everything is answered.

use std::{
    path::PathBuf,
    sync::{Mutex, atomic::Ordering::SeqCst},
};

use snodo::{
    clock::SystemClock,
    ledger::{CommitError, GroupWriter, Write as _, WriterOptions, prove::read_heads},
};
use snodo_core::adapter::BoxFuture;

use super::{bench::*, *};

fn options(heads: Option<PathBuf>) -> WriterOptions {
    WriterOptions::sqlite(heads)
}

fn writer(bench: &Bench, options: WriterOptions) -> Arc<GroupWriter> {
    GroupWriter::start(Arc::clone(&bench.ledger), Arc::new(SystemClock), options)
}

#[tokio::test]
async fn what_waits_is_written_together_and_each_gets_its_own_outcomes() {
    for bench in Bench::each().await {
        let folder = tempfile::tempdir().expect("a folder");
        let heads = folder.path().join("heads.log");
        let writer = writer(&bench, options(Some(heads.clone())));
        let submit = |number: i64| {
            let name = format!("m{number}");
            let writer = Arc::clone(&writer);
            tokio::spawn(async move {
                writer.submit(vec![accept(&name, &["one", "two"]), accept(&name, &["one"])]).await
            })
        };
        let tasks: Vec<_> = (0..200).map(submit).collect();
        for task in tasks {
            let outcomes = task.await.expect("no panic").expect("committed");
            assert_eq!(created_of(&outcomes[0]).len(), 2);
            assert!(matches!(outcomes[1], Outcome::Repeated { .. }));
        }
        writer.shutdown().await;
        let stats = writer.stats();
        assert_eq!(stats.rows.load(SeqCst), 400);
        assert!(stats.commits.load(SeqCst) < 100, "{stats:?}");
        assert_eq!(bench.total("one", "open").await, 200);
        assert_eq!(read_heads(&heads).expect("readable").last().map(|head| head.n), Some(200));
        assert!(writer.submit(vec![accept("late", &[])]).await.is_err());
        bench.check().await;
    }
}

#[tokio::test]
async fn marks_of_one_delivery_are_not_in_one_group_and_keep_their_order() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        let mut options = WriterOptions::postgres(None);
        options.registrations_apart = false;
        let writer = writer(&bench, options);
        // The first does not match; the second does, as if it came a moment later.
        let (first, second) = futures_util::future::join(
            writer.submit(vec![Action::Mark { seq, id, round: 7 }]),
            writer.submit(vec![Action::Mark { seq, id, round: 1 }]),
        )
        .await;
        assert_eq!(first.expect("committed"), [Outcome::Missed]);
        assert_eq!(second.expect("committed"), [Outcome::Matched]);
        writer.shutdown().await;
    }
}

/// A ledger that answers with an error, and says what it was asked.
struct Refusing {
    error: CommitError,
    groups: Mutex<Vec<usize>>,
    inner: Arc<dyn Ledger>,
}

macro_rules! passed_on {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name<'a>(&'a self, $($argument: $kind),*)
            -> BoxFuture<'a, Result<$result, snodo::ledger::ReadError>> {
            self.inner.$name($($argument),*)
        })*
    };
}

#[expect(
    clippy::elidable_lifetime_names,
    reason = "one macro for reads with and without arguments"
)]
impl Ledger for Refusing {
    fn commit<'a>(
        &'a self,
        group: &'a [Action],
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, CommitError>> {
        self.groups.lock().expect("not poisoned").push(group.len());
        Box::pin(async { Err(self.error.clone()) })
    }

    fn start<'a>(
        &'a self,
        slot: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Started, CommitError>> {
        self.inner.start(slot, now)
    }

    fn end(&self, me: IncarnationId, now: Timestamp) -> BoxFuture<'_, Result<(), CommitError>> {
        self.inner.end(me, now)
    }

    fn put_route_versions<'a>(
        &'a self,
        versions: &'a [RouteVersion],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        self.inner.put_route_versions(versions)
    }

    passed_on! {
        open_route_versions() -> Vec<RouteVersion>;
        queued_keys(
            me: Option<IncarnationId>, subscriber: &'a str, now: Timestamp, after: i64, limit: u32
        ) -> Vec<snodo::ledger::QueuedKey>;
        queued(seqs: &'a [i64]) -> Vec<snodo::ledger::Queued>;
        queued_subscribers() -> Vec<Arc<str>>;
        row(seq: i64) -> Option<Row>;
        row_by_id(id: DeliveryId) -> Option<Row>;
        message(id: MessageId) -> Option<Arc<Message>>;
        message_by_key(key: &'a IdempotencyKey) -> Option<MessageId>;
        story(id: MessageId) -> Option<snodo::ledger::Story>;
        list(filter: &'a snodo::ledger::Filter) -> Vec<Row>;
        claims_of(me: IncarnationId) -> Vec<(i64, Fence)>;
        intents_of(me: IncarnationId) -> Vec<(i64, String, Fence)>;
        in_broker(subscriber: &'a str, after: i64, limit: u32) -> Vec<snodo::ledger::InBroker>;
        to_wake(of: Option<(&'a str, Digest)>, limit: u32) -> Vec<i64>;
        delivery_totals() -> Vec<snodo::ledger::Total>;
        message_totals() -> Vec<snodo::ledger::Total>;
        scan() -> Vec<snodo::ledger::Total>;
        broken_invariants() -> Vec<String>;
        ages() -> snodo::ledger::Ages;
        cursor(instance: &'a str, partition: &'a str) -> Option<String>;
        incarnations() -> Vec<snodo::ledger::Incarnation>;
        chains() -> Vec<String>;
        events(chain: &'a str, from: i64, limit: u32) -> Vec<snodo::ledger::Event>;
        events_of(subject: &'a str) -> Vec<snodo::ledger::Event>;
        heads() -> Vec<(String, i64, Digest)>;
    }
}

#[tokio::test]
async fn an_unclear_commit_is_unclear_for_everybody_in_the_group() {
    let bench = Bench::sqlite().await;
    let refusing = Arc::new(Refusing {
        error: CommitError::Unclear("lost".to_owned()),
        groups: Mutex::default(),
        inner: Arc::clone(&bench.ledger),
    });
    let ledger: Arc<dyn Ledger> = refusing.clone();
    let writer = GroupWriter::start(ledger, Arc::new(SystemClock), options(None));
    let both = futures_util::future::join(
        writer.submit(vec![accept("a", &[]), accept("b", &[])]),
        writer.submit(vec![accept("c", &[])]),
    )
    .await;
    assert!(matches!(both.0, Err(CommitError::Unclear(_))));
    assert!(matches!(both.1, Err(CommitError::Unclear(_))));
    assert_eq!(writer.stats().unclear.load(SeqCst), 1);
    assert_eq!(*refusing.groups.lock().expect("not poisoned"), [3]);
    writer.shutdown().await;
}

#[tokio::test]
async fn groups_end_at_their_limits_and_registrations_stand_apart() {
    let bench = Bench::sqlite().await;
    let refusing = Arc::new(Refusing {
        error: CommitError::NotCommitted("no".to_owned()),
        groups: Mutex::default(),
        inner: Arc::clone(&bench.ledger),
    });
    let ledger: Arc<dyn Ledger> = refusing.clone();
    let mut limits = WriterOptions::postgres(None);
    limits.writers = 1;
    limits.rows = 3;
    let writer = GroupWriter::start(ledger, Arc::new(SystemClock), limits);
    let register = Action::LedgerStep {
        seq: 1,
        fence: bench.fence(1),
        step: "s".to_owned(),
        operation: "o".to_owned(),
        route_digest: v(1),
        effect: register_effect("A"),
        last: false,
    };
    let cause = DeliveryId::derived(id_of("cause"), "route");
    let spread = Action::Settle {
        seq: 2,
        id: cause,
        round: 1,
        subscriber: "route".into(),
        route_digest: v(1),
        filtered: false,
        emits: ["a", "b", "c", "d"].map(|to| emission(cause, to)).into(),
    };
    let plain = |name: &str| vec![accept(name, &[]), accept(name, &[])];
    futures_util::future::join_all([
        writer.submit(plain("a")),
        writer.submit(plain("b")),
        writer.submit(vec![accept("c", &[])]),
        writer.submit(vec![register]),
        writer.submit(vec![accept("d", &[]); 5]),
        writer.submit(vec![accept("e", &[])]),
        writer.submit(vec![spread]),
        writer.submit(vec![accept("f", &[])]),
    ])
    .await;
    // Who emits more than a group holds is alone in it.
    assert_eq!(*refusing.groups.lock().expect("not poisoned"), [2, 3, 1, 5, 1, 1, 1]);
    writer.shutdown().await;
}
