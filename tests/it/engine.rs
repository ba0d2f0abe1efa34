//! The engine on real ledgers, a copy at a time: what becomes of copies that are not what they seem.
//!
//! Invariant: a copy is acknowledged only when its row does not owe this round, or when it is kept.

use std::sync::{Arc, atomic::AtomicBool};

use snodo::{
    broker::{Copy, Received, Settlement},
    clock::Clock,
    engine::{Engine, Limits, Parts, Silent, accept::Admitted},
    ledger::{GroupWriter, Ledger, Row, Settings, Store, WriterOptions, open},
    suite::kept::KeepsNothing,
};
use snodo_core::{
    adapter::Instances,
    envelope::{Envelope, IdempotencyKey, Message},
    ids::{DeliveryId, Digest, MessageId},
    message_state::DeliveryState,
};
use snodo_tests::{
    postgres,
    simulation::{
        broker::{Line, WorldBroker},
        clock::WorldClock,
        dice::Dice,
        far::{Far, FarSide, Timers},
        house::House,
    },
};

/// An engine on a ledger of its own.
struct Bench {
    engine: Arc<Engine>,
    ledger: Arc<dyn Ledger>,
    writer: Arc<GroupWriter>,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// On both databases.
    async fn each() -> Vec<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::Sqlite { path: folder.path().join("ledger.db"), durable: false };
        let file = Settings { store, slot: "main".to_owned() };
        let mut all = vec![Self::on(&file, folder).await];
        if let Some(server) = postgres::server() {
            let folder = tempfile::tempdir().expect("a folder");
            all.push(Self::on(&Settings::postgres(server.database()), folder).await);
        }
        all
    }

    async fn on(settings: &Settings, folder: tempfile::TempDir) -> Self {
        let clock = Arc::new(WorldClock::default());
        let ledger = open(settings).await.expect("opens");
        let started = ledger.start("main", clock.now()).await.expect("starts");
        let write = Arc::clone(&clock) as Arc<dyn Clock>;
        let writer = GroupWriter::start(Arc::clone(&ledger), write, WriterOptions::sqlite(None));
        let (far, broker) = (FarSide::default(), WorldBroker::default());
        let mut instances = Instances::default();
        instances.insert("far".to_owned(), Arc::new(Far { owner: 0, side: far.clone() }));
        let congested = Arc::new(AtomicBool::new(false));
        let engine = Engine::new(Parts {
            routes: House::new().routes(false),
            instances,
            ledger: Arc::clone(&ledger),
            write: Arc::<GroupWriter>::clone(&writer),
            publish: Arc::new(Line { owner: 0, broker, congested }),
            clock,
            chance: Arc::new(Dice::new(1)),
            deadlines: Arc::new(Timers(far)),
            started,
            kept: Arc::new(KeepsNothing),
            pseudonyms: Arc::new(snodo_core::pseudonym::Pseudonyms::for_tests()),
            observer: Arc::new(Silent),
            limits: Limits::default(),
        });
        Self { engine, ledger, writer, _folder: folder }
    }

    /// Accepts a message that the fast route `chain` takes; its delivery and a copy of it.
    async fn accepted(&self, sender_id: &str) -> Copy {
        let id = self.engine.new_message_id();
        let message = Arc::new(Message {
            envelope: envelope(id),
            data: bytes::Bytes::from_static(b"{\"n\":9,\"k\":1}"),
        });
        let admitted = Admitted {
            message: Arc::clone(&message),
            key: IdempotencyKey {
                party: "p".to_owned(),
                source: "/a".to_owned(),
                sender_id: sender_id.to_owned(),
            },
            digest: Digest::of(sender_id.as_bytes()),
            source: "party:p".into(),
            to: Vec::new(),
            documents: Vec::new(),
            cursor: None,
        };
        self.engine.accept(admitted).await.expect("accepted");
        let delivery = DeliveryId::derived(id, "chain");
        let row = self.row(delivery).await;
        Copy {
            delivery,
            seq: row.seq,
            round: row.round,
            route_digest: row.route_digest,
            alone: false,
            shard: None,
            message,
        }
    }

    async fn row(&self, id: DeliveryId) -> Row {
        self.ledger.row_by_id(id).await.expect("readable").expect("there")
    }

    async fn strays(&self) -> i64 {
        self.ledger.ages().await.expect("readable").strays
    }

    async fn end(self) {
        let broken = self.ledger.broken_invariants().await.expect("readable");
        assert_eq!(broken, Vec::<String>::new());
        self.writer.shutdown().await;
    }
}

fn envelope(id: MessageId) -> Envelope {
    Envelope {
        id,
        source: "/a".to_owned(),
        kind: "sim.begin.v1".to_owned(),
        subject: None,
        time: WorldClock::default().now(),
        correlation: None,
        causation: None,
        traceparent: None,
        party: Some("p".to_owned()),
        purpose: None,
        case: None,
        actor: None,
        actor_location: None,
        actor_loa: None,
        data_ref: None,
    }
}

#[tokio::test]
async fn a_copy_of_a_time_that_a_restored_ledger_has_forgotten_is_kept_and_never_run() {
    for bench in Bench::each().await {
        let own = bench.accepted("a").await;
        let elsewhere = bench.accepted("b").await;
        let unknown = DeliveryId::derived(own.message.envelope.id, "forgotten");
        let mut strays = 0;
        // Its id is unknown; or it was written anew, under another sequence.
        for delivery in [unknown, elsewhere.delivery] {
            let copy = Copy { delivery, ..own.clone() };
            assert_eq!(
                bench.engine.fast_batch(std::slice::from_ref(&copy)).await,
                [Settlement::Ack]
            );
            assert_eq!(bench.engine.carry(&copy).await, Settlement::Ack);
            let received = || Received::Copy { copy: copy.clone(), redelivered: true };
            assert_eq!(bench.engine.drain_unrouted(received()).await, Settlement::Ack);
            assert_eq!(bench.engine.drain_poison(received()).await, Settlement::Ack);
            strays += 4;
            assert_eq!(bench.strays().await, strays);
        }
        for copy in [&own, &elsewhere] {
            let row = bench.row(copy.delivery).await;
            assert_eq!((row.state, row.round), (DeliveryState::Queued, 1));
            assert_eq!(
                bench.engine.fast_batch(std::slice::from_ref(copy)).await,
                [Settlement::Ack]
            );
            assert_eq!(bench.row(copy.delivery).await.state, DeliveryState::Completed);
        }
        bench.end().await;
    }
}

#[tokio::test]
async fn of_two_copies_in_one_batch_the_rows_own_is_not_acknowledged_before_it_is_settled() {
    for bench in Bench::each().await {
        let own = bench.accepted("a").await;
        let forgotten = DeliveryId::derived(own.message.envelope.id, "forgotten");
        let stale = Copy { round: own.round + 7, ..own.clone() };
        let foreign = Copy { delivery: forgotten, ..own.clone() };
        for other in [stale, foreign] {
            let settled = bench.engine.fast_batch(&[other, own.clone()]).await;
            assert_eq!(settled, [Settlement::Ack, Settlement::Return]);
            assert_eq!(bench.row(own.delivery).await.state, DeliveryState::Queued);
        }
        assert_eq!(bench.engine.carry(&own).await, Settlement::Ack);
        assert_eq!(bench.row(own.delivery).await.state, DeliveryState::Completed);
        bench.end().await;
    }
}
