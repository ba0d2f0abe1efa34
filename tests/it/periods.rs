//! Clocks over a real ledger: each period one message, whatever was missed, whoever starts again.
//!
//! Invariant: time moves only when a test says so.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};
use snodo::{
    broker::{Address, Confirm, Copy, Publish},
    clock::Clock,
    engine::{
        Engine, Limits, Parts, Silent, SystemChance, TimerDeadlines,
        accept::Admitted,
        periods::{Periods, SOURCE},
    },
    house,
    ledger::{Action, CommitError, Filter, Ledger, Outcome, RouteVersion, Write, open},
    operators::DirectWrite,
    settings::Surroundings,
};
use snodo_core::{
    adapter::{BoxFuture, Catalog, Cursor},
    diagnostic::render_text,
    envelope::{IdempotencyKey, Message},
    ids::{Digest, MessageId},
    route::Routes,
    timestamp::Timestamp,
};
use snodo_tests::simulation::clock::WorldClock;

const FILES: [(&str, &str); 5] = [
    ("config/snodo.yaml", "data: data\nledger: { sqlite: ledger.db }\nbroker: { private: true }\n"),
    (
        "routes/daily.yaml",
        "route: daily\ntitle: t\noffice: o\n\
         from: { every: \"day at 02:30\", zone: Europe/Rome, as: test.day.v1, missed: once }\n\
         purpose: test\nactor: system\nsteps:\n\
         \x20 - on: { emit: test.closed.v1, with: { day: \"${ .period }\" } }\n",
    ),
    ("routes/laws.yaml", "a-law:\n  title: A law\n"),
    (
        "routes/purposes/test.yaml",
        "purpose: test\ntitle: Test\nlaws: [a-law]\nretention: 30d\nrecord: Tests\n",
    ),
    (
        "schemas/test/closed.v1.json",
        r#"{ "x-unclaimed": "discard", "type": "object", "additionalProperties": false, "properties": { "day": { "type": "string" } } }"#,
    ),
];
const DAY: &str = r#"{
  "type": "object", "additionalProperties": false, "required": ["period", "scheduledFor", "since"],
  "properties": {
    "period": { "type": "string" }, "scheduledFor": { "type": "string", "format": "date-time" },
    "since": { "type": ["string", "null"], "format": "date-time" }
  }
}"#;

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
struct Unwilling {
    write: DirectWrite,
    refuses: AtomicBool,
}

impl Write for Unwilling {
    fn submit(&self, actions: Vec<Action>) -> BoxFuture<'_, Result<Vec<Outcome>, CommitError>> {
        if self.refuses.swap(false, SeqCst) {
            return Box::pin(async { Err(CommitError::NotCommitted("not now".to_owned())) });
        }
        self.write.submit(actions)
    }
}

/// A ledger, its clock, and what runs on it.
struct World {
    ledger: Arc<dyn Ledger>,
    clock: Arc<WorldClock>,
    routes: Arc<Routes>,
    write: Arc<Unwilling>,
    _house: tempfile::TempDir,
}

fn routes(house: &Path) -> Arc<Routes> {
    for (path, text) in FILES.into_iter().chain([("schemas/test/day.v1.json", DAY)]) {
        let path = house.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let (checked, said) = house::check(house, &Surroundings::default(), &Catalog::default());
    assert!(said.is_empty(), "{}", render_text(&said));
    checked.expect("it checks").routes
}

impl World {
    /// At midnight UTC of 24 November 2026: half past two in Rome is an hour and a half away.
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let routes = routes(folder.path());
        let settings = open::Settings::sqlite(folder.path().join("ledger.db"));
        let ledger = open(&settings).await.expect("opened");
        for route in routes.iter() {
            let (digest, name) = (route.digest, route.name.clone());
            let version = RouteVersion { digest, route: name, bundle: Arc::clone(&route.bundle) };
            ledger.put_route_version(&version).await.expect("written");
        }
        let clock = Arc::new(WorldClock::default());
        let write =
            DirectWrite { ledger: Arc::clone(&ledger), clock: Arc::<WorldClock>::clone(&clock) };
        let write = Arc::new(Unwilling { write, refuses: AtomicBool::new(false) });
        Self { ledger, clock, routes, write, _house: folder }
    }

    /// A start of the bus: the clocks of a new process.
    async fn start(&self) -> Periods {
        let started = self.ledger.start("a", self.clock.now()).await.expect("started");
        Periods::new(self.engine(started))
    }

    fn engine(&self, started: snodo::ledger::Started) -> Arc<Engine> {
        Engine::new(Parts {
            routes: Arc::clone(&self.routes),
            instances: snodo_core::adapter::Instances::default(),
            ledger: Arc::clone(&self.ledger),
            write: Arc::<Unwilling>::clone(&self.write),
            publish: Arc::new(NoBroker),
            clock: Arc::<WorldClock>::clone(&self.clock),
            chance: Arc::new(SystemChance),
            deadlines: Arc::new(TimerDeadlines),
            started,
            observer: Arc::new(Silent),
            limits: Limits::default(),
        })
    }

    fn pass(&self, minutes: u64) {
        self.clock.pass(Duration::from_mins(minutes));
    }

    /// The bodies of all messages that are owed to the route, oldest first.
    async fn bodies(&self) -> Vec<Value> {
        let filter = Filter { limit: 100, ..Filter::default() };
        let rows = self.ledger.list(&filter).await.expect("read");
        let mut bodies = Vec::new();
        for row in rows {
            assert_eq!(&*row.subscriber, "daily");
            let message = self.ledger.message(row.message).await.expect("read").expect("there");
            bodies.push(serde_json::from_slice(&message.data).expect("JSON"));
        }
        bodies
    }

    async fn total(&self, bucket: &str) -> i64 {
        let totals = self.ledger.message_totals().await.expect("read");
        let total = totals.iter().find(|one| &*one.name == SOURCE && one.bucket == bucket);
        total.map_or(0, |total| total.n)
    }
}

fn body(day: &str, since: Option<&str>) -> Value {
    let at = |day: &str| format!("2026-11-{day}T01:30:00.000Z");
    json!({
        "period": format!("2026-11-{day}T02:30"), "scheduledFor": at(day), "since": since.map(at),
    })
}

#[tokio::test]
async fn a_period_is_accepted_when_its_time_has_come_and_once() {
    let world = World::new().await;
    let mut periods = world.start().await;
    world.pass(89);
    assert_eq!(periods.step().await.expect("a step"), 0, "the one of yesterday is not made up for");
    world.pass(1);
    assert_eq!(periods.step().await.expect("a step"), 1);
    assert_eq!(periods.step().await.expect("a step"), 0);
    assert_eq!(world.bodies().await, [body("24", None)]);
    let id = MessageId::of_period(1_795_483_800_000, "daily", "2026-11-24T02:30");
    let message = world.ledger.message(id).await.expect("read").expect("its id is the period's");
    assert_eq!(message.envelope.kind, "test.day.v1");
    assert_eq!(message.envelope.source, "/clock/daily");
    assert_eq!(message.envelope.time, Timestamp(1_795_483_800_000));
    assert_eq!((world.total("received").await, world.total("accepted").await), (1, 1));
}

#[tokio::test]
async fn what_an_outage_missed_runs_once_and_says_since_when() {
    let world = World::new().await;
    let mut periods = world.start().await;
    world.pass(90);
    assert_eq!(periods.step().await.expect("a step"), 1);
    drop(periods);
    world.pass(3 * 24 * 60 + 7);
    let mut periods = world.start().await;
    assert_eq!(periods.step().await.expect("a step"), 1);
    assert_eq!(periods.step().await.expect("a step"), 0);
    assert_eq!(world.bodies().await, [body("24", None), body("27", Some("24"))]);
    // A start shortly before the time, and one shortly after it.
    world.pass(24 * 60 - 10);
    let mut early = world.start().await;
    assert_eq!(early.step().await.expect("a step"), 0);
    world.pass(10);
    let mut late = world.start().await;
    assert_eq!(late.step().await.expect("a step"), 1);
    assert_eq!(early.step().await.expect("a step"), 0, "another start has taken it");
    assert_eq!(world.bodies().await.len(), 3);
}

#[tokio::test]
async fn a_period_that_could_not_be_written_is_written_later() {
    let world = World::new().await;
    let mut periods = world.start().await;
    world.pass(91);
    world.write.refuses.store(true, SeqCst);
    periods.step().await.expect_err("nothing was written");
    assert!(world.bodies().await.is_empty());
    assert_eq!(periods.step().await.expect("a step"), 1);
    assert_eq!(world.bodies().await, [body("24", None)]);
}

#[tokio::test]
async fn two_instances_that_find_the_same_period_due_accept_one_message() {
    let world = World::new().await;
    let mut periods = world.start().await;
    world.pass(90);
    assert_eq!(periods.step().await.expect("a step"), 1);
    // As an instance saw it that read the cursor before this one wrote it.
    world.forget().await;
    let mut other = world.start().await;
    world.pass(24 * 60);
    assert_eq!(other.step().await.expect("a step"), 1);
    world.forget().await;
    let mut third = world.start().await;
    world.pass(5);
    assert_eq!(third.step().await.expect("a step"), 1, "it found it due");
    let bodies = world.bodies().await;
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert_eq!(world.total("repeated").await, 1);
}

impl World {
    /// Puts the cursor back, by way of a message of another kind of source.
    async fn forget(&self) {
        let n = self.total("received").await;
        let started = self.ledger.start("b", self.clock.now()).await.expect("started");
        let engine = self.engine(started);
        let text = json!({ "id": engine.new_message_id(), "source": "s", "type": "test.closed.v1", "time": self.clock.now() });
        let envelope = serde_json::from_value(text).expect("an envelope");
        let admitted = Admitted {
            message: Arc::new(Message { envelope, data: bytes::Bytes::from_static(b"{}") }),
            key: IdempotencyKey {
                party: "p".to_owned(),
                source: "s".to_owned(),
                sender_id: n.to_string(),
            },
            digest: Digest::of(b"{}"),
            source: "party:p".into(),
            to: Vec::new(),
            cursor: Some(Cursor {
                instance: SOURCE.to_owned(),
                partition: "daily".to_owned(),
                value: "2026-11-20T01:30:00.000Z".to_owned(),
            }),
        };
        engine.accept(admitted).await.expect("accepted");
    }
}
