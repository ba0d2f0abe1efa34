//! An engine over a real ledger: no broker, a far side that answers as it is told, time that stands
//! still until a test moves it.
//!
//! Invariant: what a test reads of a delivery is its row; the engine is the one of production.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};
use snodo::{
    broker::{Address, Confirm, Copy, Publish, Settlement},
    clock::Clock,
    documents::{Keeper, Store},
    engine::{Engine, Lane, Limits, Parts, Silent, SystemChance, TimerDeadlines, accept::Admitted},
    house,
    ledger::{
        Action, CommitError, Filter, Ledger, Outcome, RouteVersion, Row, Started, Write, open,
    },
    operators::DirectWrite,
    settings::Surroundings,
};
use snodo_adapters::{archive::Archive, protocollo::Protocollo};
use snodo_core::{
    adapter::{
        Adapter, BoxFuture, Call, Catalog, Cursor, Instances, OpenError, Opening, Operation,
        Receipt,
    },
    diagnostic::render_text,
    document::DocumentKey,
    envelope::{IdempotencyKey, Message},
    fault::{Fault, FaultClass},
    ids::Digest,
    route::Routes,
    timestamp::Timestamp,
    verdict::EffectKind,
};
use snodo_tests::simulation::clock::WorldClock;

const CONFIG: &str = "\
data: data
ledger: { sqlite: ledger.db }
broker: { private: true }
adapters:
  protocollo: { kind: protocollo, aoo: c_g273 }
  archive: { kind: archive }
  far: { kind: scripted }
";
const PURPOSE: &str = "purpose: test\ntitle: Test\nlaws: [a-law]\nretention: 30d\nrecord: Tests\n";

/// A far side that answers in the order in which it was told to; left alone it says yes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted {
    script: Arc<Mutex<Script>>,
    /// Whether nobody answers.
    pub(crate) away: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) answers: VecDeque<Result<Value, Fault>>,
    /// Step keys, without the delivery.
    pub(crate) calls: Vec<String>,
}

impl Scripted {
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> Result<(), Fault> {
        let away = || Fault::new(FaultClass::Outage, "SN0760", "nobody answers");
        if self.away.load(SeqCst) { Err(away()) } else { Ok(()) }
    }

    /// The next call ends so.
    pub(crate) fn next(&self, class: FaultClass) {
        let fault = Fault::new(class, "SN0763", "the target said so").with_reason("full");
        self.script().answers.push_back(Err(fault));
    }
}

impl Adapter for Scripted {
    const KIND: &'static str = "scripted";
    type Options = Value;

    fn open(_: Value, _: &Opening) -> Result<Self, OpenError> {
        Ok(Self::default())
    }

    fn operations(&self) -> Vec<Operation> {
        let operation = |name: &str, effect| Operation {
            name: name.to_owned(),
            input: Arc::new(json!({ "type": "object", "additionalProperties": true })),
            output: Arc::new(json!({
                "type": "object", "required": ["at"], "additionalProperties": false,
                "properties": { "at": { "type": "string" } },
            })),
            effect,
            deadline: Duration::from_secs(5),
            settles_within: Duration::ZERO,
            fact_only: false,
        };
        vec![operation("put", EffectKind::Idempotent), operation("post", EffectKind::Once)]
    }

    async fn call(&self, call: Call<'_>) -> Result<Receipt, Fault> {
        let mut script = self.script();
        script.calls.push(call.step_key.step.clone());
        self.answers()?;
        let result = script.answers.pop_front().unwrap_or_else(|| Ok(json!({ "at": "here" })))?;
        Ok(Receipt { result, reference: None, evidence: None })
    }

    async fn probe(&self) -> Result<(), Fault> {
        self.answers()
    }
}

/// Copies wait in the ledger until a test takes them.
struct NoBroker;

impl Publish for NoBroker {
    fn publish(&self, _: &Address, _: Copy) -> BoxFuture<'static, Confirm> {
        Box::pin(std::future::pending())
    }
    fn is_congested(&self) -> bool {
        true
    }
}

/// Writes, but for once when it is told not to.
pub(crate) struct Unwilling {
    write: DirectWrite,
    pub(crate) refuses: AtomicBool,
    /// The most that one submission emitted.
    pub(crate) groups: Mutex<Vec<usize>>,
}

impl Write for Unwilling {
    fn submit(&self, actions: Vec<Action>) -> BoxFuture<'_, Result<Vec<Outcome>, CommitError>> {
        if self.refuses.swap(false, SeqCst) {
            return Box::pin(async { Err(CommitError::NotCommitted("not now".to_owned())) });
        }
        let emits = |action: &Action| match action {
            Action::Settle { emits, .. } | Action::Done { emits, fact: None, .. } => emits.len(),
            _ => 0,
        };
        let emitted = actions.iter().map(emits).sum();
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).push(emitted);
        self.write.submit(actions)
    }
}

/// A checked house, its ledger, its clock.
pub(crate) struct Stage {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) clock: Arc<WorldClock>,
    pub(crate) write: Arc<Unwilling>,
    pub(crate) far: Scripted,
    routes: Arc<Routes>,
    instances: Instances,
    sent: AtomicU64,
    pub(crate) store: Store,
    _house: tempfile::TempDir,
}

impl Stage {
    /// With these routes and schemas, at midnight UTC of 24 November 2026.
    pub(crate) async fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let always = [
            ("config/snodo.yaml", CONFIG),
            ("routes/laws.yaml", "a-law:\n  title: A law\n"),
            ("routes/purposes/test.yaml", PURPOSE),
        ];
        for (path, text) in always.iter().chain(files) {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let catalog = Catalog::default().with::<Protocollo>().with::<Archive>().with::<Scripted>();
        let (checked, said) = house::check(folder.path(), &Surroundings::default(), &catalog);
        assert!(said.is_empty(), "{}", render_text(&said));
        let checked = checked.expect("it checks");
        let (far, mut instances) = (Scripted::default(), checked.instances);
        instances.insert("far".to_owned(), Arc::new(far.clone()));
        let settings = open::Settings::sqlite(folder.path().join("ledger.db"));
        let ledger = open(&settings).await.expect("opened");
        for route in checked.routes.iter() {
            let (digest, route, bundle) =
                (route.digest, route.name.clone(), Arc::clone(&route.bundle));
            let version = RouteVersion { digest, route, bundle };
            ledger.put_route_versions(&[version]).await.expect("written");
        }
        let clock = Arc::new(WorldClock::default());
        let write =
            DirectWrite { ledger: Arc::clone(&ledger), clock: Arc::<WorldClock>::clone(&clock) };
        let write = Unwilling { write, refuses: AtomicBool::new(false), groups: Mutex::default() };
        Self {
            ledger,
            clock,
            write: Arc::new(write),
            far,
            routes: checked.routes,
            instances,
            sent: AtomicU64::new(0),
            store: Store::open(&folder.path().join("data"), "a").expect("opened"),
            _house: folder,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, minutes: u64) {
        self.clock.pass(Duration::from_mins(minutes));
    }

    /// A start of a process on a slot of its own.
    pub(crate) async fn start(&self) -> Arc<Engine> {
        self.start_with(Arc::new(NoBroker)).await
    }

    /// The same with a broker.
    pub(crate) async fn start_with(&self, publish: Arc<dyn Publish>) -> Arc<Engine> {
        let started = self.ledger.start("a", self.clock.now()).await.expect("started");
        self.engine(started, publish)
    }

    /// What the bus keeps, beside the ledger.
    pub(crate) fn keeper(&self) -> Keeper {
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::<WorldClock>::clone(&self.clock));
        Keeper::new(self.store.clone(), ledger, clock)
    }

    fn engine(&self, started: Started, publish: Arc<dyn Publish>) -> Arc<Engine> {
        Engine::new(Parts {
            routes: Arc::clone(&self.routes),
            instances: self.instances.clone(),
            ledger: Arc::clone(&self.ledger),
            write: Arc::<Unwilling>::clone(&self.write),
            publish,
            clock: Arc::<WorldClock>::clone(&self.clock),
            chance: Arc::new(SystemChance),
            deadlines: Arc::new(TimerDeadlines),
            started,
            kept: Arc::new(self.keeper()),
            pseudonyms: Arc::new(snodo_core::pseudonym::Pseudonyms::for_tests()),
            observer: Arc::new(Silent),
            limits: Limits::default(),
        })
    }

    /// Takes a message into custody.
    pub(crate) async fn send(
        &self,
        engine: &Engine,
        kind: &str,
        data: &Value,
        cursor: Option<Cursor>,
    ) {
        self.send_citing(engine, kind, data, cursor, Vec::new()).await;
    }

    /// The same, of a message that cites documents.
    pub(crate) async fn send_citing(
        &self,
        engine: &Engine,
        kind: &str,
        data: &Value,
        cursor: Option<Cursor>,
        documents: Vec<DocumentKey>,
    ) {
        let sender_id = self.sent.fetch_add(1, SeqCst).to_string();
        let attributes = json!({
            "id": engine.new_message_id(), "source": "s", "type": kind, "time": self.clock.now(),
        });
        let message = Message {
            envelope: serde_json::from_value(attributes).expect("an envelope"),
            data: snodo_core::json::canonical(data).into(),
        };
        let admitted = Admitted {
            digest: Digest::of(&message.data),
            message: Arc::new(message),
            key: IdempotencyKey { party: "p".to_owned(), source: "s".to_owned(), sender_id },
            source: "party:p".into(),
            to: Vec::new(),
            documents,
            cursor,
        };
        engine.accept(admitted).await.expect("accepted");
    }

    /// Copies of what a route is owed now, as the relay would publish them.
    pub(crate) async fn copies(&self, engine: &Engine, route: &str) -> Vec<Copy> {
        // Rows that nobody publishes are anybody's after a while.
        self.clock.pass(Duration::from_secs(6));
        let (me, now) = (engine.incarnation(), self.clock.now());
        let keys = self.ledger.queued_keys(Some(me), route, now, 0, 1000).await.expect("read");
        let seqs: Vec<i64> = keys.iter().map(|key| key.seq).collect();
        let queued = self.ledger.queued(&seqs).await.expect("read");
        let copy = |row: snodo::ledger::Queued| Copy {
            delivery: row.id,
            seq: row.seq,
            round: row.round,
            route_digest: row.route_digest,
            alone: row.alone,
            shard: None,
            message: row.message,
        };
        queued.into_iter().map(copy).collect()
    }

    /// Carries what a route is owed now, each copy on the lane that is its own.
    pub(crate) async fn carry(&self, engine: &Engine, route: &str) -> Vec<Settlement> {
        let copies = self.copies(engine, route).await;
        let mut settlements = Vec::new();
        for copy in &copies {
            match engine.lane(copy, false) {
                Lane::Fast => {
                    settlements.extend(engine.fast_batch(std::slice::from_ref(copy)).await);
                }
                Lane::Claim => settlements.push(engine.carry(copy).await),
            }
        }
        settlements
    }

    /// Returns what waits for its time to the queue.
    pub(crate) async fn due(&self) {
        let due = vec![Action::Due { limit: 100 }];
        self.ledger.commit(&due, self.clock.now()).await.expect("committed");
    }

    /// The rows of a subscriber, oldest first.
    pub(crate) async fn rows(&self, subscriber: &str) -> Vec<Row> {
        let subscriber = Some(subscriber.into());
        let filter = Filter { subscriber, limit: 100_000, ..Filter::default() };
        self.ledger.list(&filter).await.expect("read")
    }

    /// The bodies of the messages that a subscriber is owed, oldest first.
    pub(crate) async fn bodies(&self, subscriber: &str) -> Vec<Value> {
        let mut bodies = Vec::new();
        for row in self.rows(subscriber).await {
            let message = self.ledger.message(row.message).await.expect("read").expect("there");
            bodies.push(serde_json::from_slice(&message.data).expect("JSON"));
        }
        bodies
    }
}
