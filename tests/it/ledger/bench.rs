//! A ledger under test, with short words for what tests do to it.

use super::*;

/// A ledger of its own, and its folder.
pub(crate) struct Bench {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) settings: Settings,
    pub(crate) me: IncarnationId,
    _folder: tempfile::TempDir,
}

/// The route version of all tests.
pub(crate) fn v(number: u8) -> Digest {
    Digest([number; 32])
}

pub(crate) fn message(id: MessageId) -> Arc<Message> {
    let envelope = Envelope {
        id,
        source: "/test".to_owned(),
        kind: "test.happened.v1".to_owned(),
        subject: None,
        time: NOON,
        correlation: None,
        causation: None,
        traceparent: None,
        party: None,
        purpose: None,
        case: None,
        actor: None,
        actor_location: None,
        actor_loa: None,
        data_ref: None,
    };
    Arc::new(Message { envelope, data: bytes::Bytes::from_static(b"{\"a\":\"\xc3\xa8\"}") })
}

pub(crate) fn id_of(key: &str) -> MessageId {
    let hash = Digest::of(key.as_bytes()).0;
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    MessageId::accepted(NOON.0.unsigned_abs(), random)
}

pub(crate) fn key(sender_id: &str) -> IdempotencyKey {
    IdempotencyKey {
        party: "region".to_owned(),
        source: "/a".to_owned(),
        sender_id: sender_id.to_owned(),
    }
}

pub(crate) fn owed(message: MessageId, subscriber: &str) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::derived(message, subscriber),
        subscriber: subscriber.into(),
        route_digest: v(1),
        held: false,
        place: None,
    }
}

pub(crate) fn accept(sender_id: &str, subscribers: &[&str]) -> Action {
    let id = id_of(sender_id);
    Action::Accept(Box::new(Accept {
        message: message(id),
        key: key(sender_id),
        digest: Digest::of(b"body"),
        source: "region".into(),
        deliveries: subscribers.iter().map(|subscriber| owed(id, subscriber)).collect(),
        documents: Vec::new(),
        cursor: None,
        outdates: None,
    }))
}

pub(crate) fn emission(cause: DeliveryId, to: &str) -> Emission {
    let id = MessageId::derived(MessageId(cause.0), "route", "emit", to);
    Emission {
        message: message(id),
        deliveries: vec![owed(id, to)],
        documents: Vec::new(),
        outdates: None,
    }
}

/// To the subscriber of [`Bench::queued`].
pub(crate) fn hand_over(seq: i64, id: DeliveryId, round: u32) -> Action {
    Action::HandOver { seq, id, round, subscriber: "route".into(), route_digest: v(1) }
}

pub(crate) fn fault() -> Fault {
    Fault::new(FaultClass::Refused, "SN0701", "no")
}

pub(crate) fn back(then: Then) -> Return {
    Return { then, counts: true, give_up_at: Some(at(1000)), fault: Some(fault()) }
}

pub(crate) fn deed() -> Deed {
    Deed { actor: "anna".to_owned(), reason: "because".to_owned() }
}

pub(crate) fn step(name: &str) -> StepDone {
    StepDone {
        step: name.to_owned(),
        operation: "registry.enrol".to_owned(),
        result: json!({"ok": name}),
        route_digest: v(1),
        reference: Some("ref".to_owned()),
        evidence: None,
    }
}

pub(crate) fn register_effect(aoo: &str) -> LedgerEffect {
    LedgerEffect::Register(Registration {
        aoo: aoo.to_owned(),
        direction: Direction::Incoming,
        subject: "oggetto".to_owned(),
        record: json!({"senders": ["x"]}),
    })
}

impl Bench {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::Sqlite { path: folder.path().join("ledger.db"), durable: false };
        Self::open(Settings { store, slot: "main".to_owned() }, folder).await
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let server = postgres::server()?;
        let folder = tempfile::tempdir().expect("a folder");
        Some(Self::open(Settings::postgres(server.database()), folder).await)
    }

    /// Both.
    pub(crate) async fn each() -> Vec<Self> {
        let mut all = vec![Self::sqlite().await];
        if std::env::var_os("SNODO_TEST_SQLITE_ONLY").is_none() {
            all.extend(Self::postgres().await);
        }
        all
    }

    async fn open(settings: Settings, folder: tempfile::TempDir) -> Self {
        let ledger = open(&settings).await.expect("opens");
        let started = ledger.start("main", NOON).await.expect("starts");
        Self { ledger, settings, me: started.incarnation, _folder: folder }
    }

    /// Another process on the same ledger: on a file after the first, on a server beside it.
    pub(crate) async fn another(&mut self, slot: &str) -> Started {
        if matches!(self.settings.store, Store::Sqlite { .. }) {
            self.shut().await;
        }
        self.ledger = open(&self.settings).await.expect("opens again");
        let started = self.ledger.start(slot, at(10)).await.expect("starts again");
        self.me = started.incarnation;
        started
    }

    pub(crate) async fn shut(&mut self) {
        self.ledger.close().await;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        let nowhere = Settings::sqlite(path);
        // Gives the lock back before the file is opened again.
        self.ledger = open(&nowhere).await.expect("opens");
    }

    pub(crate) fn fence(&self, serial: u64) -> Fence {
        Fence { incarnation: self.me, serial }
    }

    pub(crate) async fn all(&self, actions: &[Action]) -> Vec<Outcome> {
        self.all_at(actions, NOON).await
    }

    pub(crate) async fn all_at(&self, actions: &[Action], now: Timestamp) -> Vec<Outcome> {
        let outcomes = self.ledger.commit(actions, now).await.expect("commits");
        assert_eq!(outcomes.len(), actions.len());
        self.check().await;
        outcomes
    }

    pub(crate) async fn one(&self, action: Action) -> Outcome {
        self.one_at(action, NOON).await
    }

    pub(crate) async fn one_at(&self, action: Action, now: Timestamp) -> Outcome {
        self.all_at(&[action], now).await.pop().expect("one outcome")
    }

    /// The queries of the rule book, and the totals against a scan.
    pub(crate) async fn check(&self) {
        let broken = self.ledger.broken_invariants().await.expect("readable");
        assert_eq!(broken, Vec::<String>::new());
        let mut totals = self.ledger.delivery_totals().await.expect("readable");
        for total in &mut totals {
            total.n -= std::mem::take(&mut total.gone);
        }
        totals.retain(|total| total.n != 0);
        assert_eq!(totals, self.ledger.scan().await.expect("readable"));
        let compared = self.ledger.compare().await.expect("readable");
        assert_eq!(compared.differences, []);
    }

    pub(crate) async fn row(&self, seq: i64) -> Row {
        self.ledger.row(seq).await.expect("readable").expect("there")
    }

    /// A delivery, queued in round 1.
    pub(crate) async fn queued(&self, sender_id: &str) -> Created {
        let Outcome::Accepted { mut created } = self.one(accept(sender_id, &["route"])).await
        else {
            panic!("not accepted")
        };
        created.pop().expect("one delivery")
    }

    /// A delivery claimed with serial 1.
    pub(crate) async fn claimed(&self, sender_id: &str) -> Created {
        let created = self.queued(sender_id).await;
        let outcome = self.claim(created.seq, 1, 1).await;
        assert!(matches!(outcome, Outcome::Claimed(_)), "{outcome:?}");
        created
    }

    pub(crate) async fn claim(&self, seq: i64, round: u32, serial: u64) -> Outcome {
        let (id, fence) = (self.row(seq).await.id, self.fence(serial));
        self.one(Action::Claim { seq, id, round, fence, lease_until: at(60) }).await
    }

    /// A parked delivery.
    pub(crate) async fn parked(&self, sender_id: &str) -> Created {
        let created = self.queued(sender_id).await;
        let back = back(Then::Parked);
        let Created { seq, id } = created;
        let action = Action::FastVerdict { seq, id, round: 1, route_digest: v(1), back };
        assert_eq!(self.one(action).await, Outcome::Matched);
        Created { seq, id }
    }

    /// A delivery whose `once` call has no answer: its intent carries fence 1.
    pub(crate) async fn uncertain(&self, sender_id: &str, intent: IntentFate) -> Created {
        let created = self.claimed(sender_id).await;
        assert_eq!(self.one(self.intent(created.seq, 1)).await, Outcome::Matched);
        let action = Action::Verdict {
            seq: created.seq,
            fence: self.fence(1),
            step: Some("call".to_owned()),
            intent,
            back: Return { then: Then::Uncertain, counts: false, give_up_at: None, fault: None },
        };
        assert_eq!(self.one(action).await, Outcome::Matched);
        created
    }

    pub(crate) fn intent(&self, seq: i64, serial: u64) -> Action {
        Action::Intent {
            seq,
            fence: self.fence(serial),
            step: "call".to_owned(),
            deadline: at(30),
            settles_within: Duration::from_mins(1),
        }
    }

    pub(crate) async fn state(&self, seq: i64) -> (DeliveryState, u32) {
        let row = self.row(seq).await;
        (row.state, row.round)
    }

    pub(crate) async fn total(&self, subscriber: &str, bucket: &str) -> i64 {
        let totals = self.ledger.delivery_totals().await.expect("readable");
        let found =
            totals.iter().find(|total| &*total.name == subscriber && total.bucket == bucket);
        found.map_or(0, |total| total.n)
    }

    pub(crate) async fn heard(&self, source: &str, word: &str) -> i64 {
        let totals = self.ledger.message_totals().await.expect("readable");
        let found = totals.iter().find(|total| &*total.name == source && total.bucket == word);
        found.map_or(0, |total| total.n)
    }
}

pub(crate) fn claimed_of(outcome: Outcome) -> Claimed {
    let Outcome::Claimed(claimed) = outcome else { panic!("not claimed: {outcome:?}") };
    *claimed
}

pub(crate) fn created_of(outcome: &Outcome) -> Vec<Created> {
    match outcome {
        Outcome::Accepted { created }
        | Outcome::Settled { created }
        | Outcome::Done { created, .. } => created.clone(),
        other => panic!("creates nothing: {other:?}"),
    }
}

pub(crate) fn result_of(outcome: &Outcome) -> Value {
    let Outcome::Done { result, .. } = outcome else { panic!("not done: {outcome:?}") };
    result.clone()
}

/// Changes the database behind the ledger's back.
pub(crate) async fn sql(bench: &Bench, statement: &str) {
    sql_at(&bench.settings.store, statement).await;
}

/// The same of a database that no ledger has open.
pub(crate) async fn sql_at(store: &Store, statement: &str) {
    let run = sqlx::AssertSqlSafe(statement.to_owned());
    match store {
        Store::Sqlite { path, .. } => {
            let url = format!("sqlite://{}", path.display());
            let pool = sqlx::SqlitePool::connect(&url).await.expect("connects");
            sqlx::raw_sql(run).execute(&pool).await.expect("runs");
            pool.close().await;
        }
        Store::Postgres { url, .. } => {
            let pool = sqlx::PgPool::connect(url).await.expect("connects");
            sqlx::raw_sql(run).execute(&pool).await.expect("runs");
            pool.close().await;
        }
    }
}
