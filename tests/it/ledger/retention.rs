//! What retention may remove of a ledger, and what stays true when it has.

use snodo::ledger::{Forget, Forgotten, verify::verify};
use snodo_core::{
    register::Registered,
    retention::{Keep, Next, next},
    route::{OnPark, Place},
};

use super::{bench::*, *};

const DAY: Duration = Duration::from_hours(24);
const KEEP: Keep = Keep {
    bodies: DAY.saturating_mul(30),
    metadata: DAY.saturating_mul(396),
    of: std::collections::BTreeMap::new(),
};

fn day(n: u32) -> Timestamp {
    NOON.after(DAY * n)
}

impl Bench {
    async fn forget(&self, turn: Forget, now: Timestamp) -> Forgotten {
        let outcome = self.one_at(Action::Forget(Box::new(turn)), now).await;
        let Outcome::Forgotten(rows) = outcome else { panic!("{outcome:?}") };
        rows
    }

    /// One turn, as the engine makes it.
    pub(crate) async fn turn(&self, now: Timestamp) -> Forgotten {
        let kept = self.ledger.kept(now, KEEP.looks_before(now), 100).await.expect("readable");
        let new = kept.iter().filter(|one| one.is_new);
        let walked = new.map(|one| one.seq).max();
        let messages = kept.iter().map(|one| (one.seq, next(one, &KEEP, now))).collect();
        self.forget(Forget { messages, walked, ..Forget::default() }, now).await
    }

    /// A delivery that completes on the fast path.
    async fn completed(&self, sender_id: &str) -> Created {
        let created = self.queued(sender_id).await;
        self.settle(&created, Vec::new()).await;
        created
    }

    pub(crate) async fn settle(&self, of: &Created, emits: Vec<Emission>) -> Vec<Created> {
        let settle = Action::Settle {
            seq: of.seq,
            id: of.id,
            round: self.row(of.seq).await.round,
            subscriber: self.row(of.seq).await.subscriber,
            route_digest: v(1),
            filtered: false,
            emits,
        };
        created_of(&self.one(settle).await)
    }

    async fn has_body(&self, sender_id: &str) -> bool {
        self.ledger.message(id_of(sender_id)).await.expect("readable").is_some()
    }
}

#[tokio::test]
async fn what_somebody_is_owed_stays_whoever_asks() {
    for bench in Bench::each().await {
        bench.queued("queued").await;
        bench.claimed("claimed").await;
        bench.parked("parked").await;
        bench.uncertain("uncertain", IntentFate::Stopped).await;
        let two = bench.one(accept("half", &["one", "two"])).await;
        bench.settle(&created_of(&two)[0], Vec::new()).await;
        bench.completed("last").await;
        let kept = bench.ledger.kept(day(9), day(9), 100).await.expect("readable");
        assert_eq!(kept.len(), 6);
        for one in [Next::All, Next::Body(day(9))] {
            let messages = kept[..5].iter().map(|kept| (kept.seq, one)).collect();
            let rows = bench.forget(Forget { messages, ..Forget::default() }, day(9)).await;
            assert_eq!(rows, Forgotten::default(), "{one:?}");
        }
        for name in ["queued", "claimed", "parked", "uncertain", "half"] {
            assert!(bench.has_body(name).await, "{name}");
        }
        // Nor by turns as the engine makes them, however late.
        assert_eq!(bench.turn(day(4000)).await.messages, 0);
        let outcome = bench.one(Action::Discard { id: kept_id(&bench).await, by: deed() }).await;
        assert_eq!(outcome, Outcome::Matched);
    }
}

/// The delivery that is parked.
async fn kept_id(bench: &Bench) -> DeliveryId {
    let states = vec![DeliveryState::Parked];
    let filter = snodo::ledger::Filter { states, limit: 1, ..Default::default() };
    bench.ledger.list(&filter).await.expect("readable")[0].id
}

#[tokio::test]
async fn a_message_goes_in_two_steps_and_the_totals_stay_true() {
    for bench in Bench::each().await {
        let created = bench.claimed("a").await;
        let done = Action::Done {
            seq: created.seq,
            fence: bench.fence(1),
            done: step("enrol"),
            emits: Vec::new(),
            fact: None,
            last: true,
        };
        bench.one(done).await;
        bench.completed("last").await;
        assert_eq!(bench.turn(day(29)).await, Forgotten::default());
        let rows = bench.turn(day(31)).await;
        assert_eq!((rows.bodies, rows.results, rows.messages), (2, 1, 0));
        assert!(!bench.has_body("a").await);
        let row = bench.row(created.seq).await;
        let (id, done) = &row.done[0];
        assert_eq!((id.as_str(), &done.result), ("enrol", &Value::Null));
        assert_eq!(done.reference.as_deref(), Some("ref"), "who did what is still known");
        let again = bench.one(accept("a", &["route"])).await;
        assert!(matches!(again, Outcome::Repeated { id, .. } if id == id_of("a")), "{again:?}");

        let rows = bench.turn(day(400)).await;
        assert_eq!((rows.deliveries, rows.messages), (1, 1));
        assert_eq!(bench.ledger.story(id_of("a")).await.expect("readable").map(|_| ()), None);
        assert_eq!(bench.total("route", "completed").await, 2, "ever");
        assert_eq!(bench.heard("region", "accepted").await, 2, "ever");
        let events = bench.ledger.events_of(&created.id.to_string()).await.expect("readable");
        assert_eq!(events.len(), 1, "the evidence stays");
        assert_eq!(verify(&*bench.ledger, &[]).await.expect("readable"), []);
        let proof = snodo::ledger::prove::prove(&*bench.ledger, id_of("a"), &[]).await;
        let proof = proof.expect("readable").expect("that it was accepted");
        assert_eq!(proof["events"][0]["event"]["kind"], "accept");
        // What was forgotten is new again.
        let anew = bench.one(accept("a", &["route"])).await;
        assert!(matches!(anew, Outcome::Accepted { .. }), "{anew:?}");
    }
}

#[tokio::test]
async fn a_message_goes_after_what_came_of_it() {
    for bench in Bench::each().await {
        let root = bench.queued("root").await;
        let derived = bench.settle(&root, vec![emission(root.id, "next")]).await;
        bench.completed("last").await;
        assert_eq!(bench.turn(day(31)).await.bodies, 2, "that of the derived one is needed");
        assert_eq!(bench.turn(day(800)).await.messages, 0, "a derived one is open");
        bench.settle(&derived[0], Vec::new()).await;
        assert_eq!(bench.turn(day(802)).await.messages, 1, "the derived one");
        assert_eq!(bench.turn(day(804)).await.messages, 1, "then its root");
    }
}

#[tokio::test]
async fn no_sequence_comes_again_and_a_registration_stays() {
    for bench in Bench::each().await {
        let created = bench.claimed("a").await;
        let register = Action::LedgerStep {
            seq: created.seq,
            fence: bench.fence(1),
            step: "register".to_owned(),
            operation: "protocollo.register".to_owned(),
            route_digest: v(1),
            effect: register_effect("c_g273"),
            last: true,
        };
        let number: Registered =
            serde_json::from_value(result_of(&bench.one(register.clone()).await)).expect("one");
        // Alone it has the highest sequence: only its body goes.
        assert_eq!(bench.turn(day(900)).await.bodies, 1);
        assert_eq!(bench.turn(day(1800)).await.messages, 0);
        let next = bench.claimed("b").await;
        assert_eq!(bench.turn(day(2700)).await.messages, 1);
        assert!(next.seq > created.seq);
        let found = bench.ledger.find("protocol", &number.number).await.expect("readable");
        assert_eq!(found, []);
        let mut again = register;
        if let Action::LedgerStep { seq, effect, .. } = &mut again {
            *seq = next.seq;
            *effect = LedgerEffect::Lookup { aoo: "c_g273".to_owned(), year: 2025, number: 1 };
        }
        assert_eq!(result_of(&bench.one(again).await)["subject"], "oggetto", "the register stays");
    }
}

#[tokio::test]
async fn the_numbers_of_a_key_that_was_removed_go_on_above_it() {
    for bench in Bench::each().await {
        let key = Digest([7; 32]);
        let in_order = |sender_id: &str| {
            let mut action = accept(sender_id, &["route"]);
            if let Action::Accept(accept) = &mut action {
                accept.deliveries[0].place = Some(Place { key, on_park: OnPark::Hold });
            }
            action
        };
        for name in ["a", "b"] {
            let created = created_of(&bench.one(in_order(name)).await);
            let idle = bench.ledger.idle_keys(day(400), 10).await.expect("readable");
            assert_eq!(idle, [], "one of it is open");
            bench.settle(&created[0], Vec::new()).await;
        }
        assert_eq!(bench.ledger.idle_keys(NOON.before(DAY), 10).await.expect("readable"), []);
        let turn = async || {
            let keys = bench.ledger.idle_keys(day(400), 10).await.expect("readable");
            let turn = Forget { rest_before: Some(day(400)), keys, ..Forget::default() };
            bench.forget(turn, day(800)).await.keys
        };
        assert_eq!([turn().await, turn().await, turn().await], [0, 1, 0], "the floor comes first");
        for (name, no) in [("c", 3), ("d", 4)] {
            let created = created_of(&bench.one(in_order(name)).await);
            let drawn = bench.row(created[0].seq).await.turn.map(|turn| turn.no);
            assert_eq!(drawn, Some(no));
        }
    }
}

#[tokio::test]
async fn a_version_goes_when_it_has_not_run_for_long_and_nothing_is_owed_by_it() {
    for bench in Bench::each().await {
        for n in 1..=3 {
            let route = format!("r{n}");
            let version = RouteVersion { digest: v(n), route, bundle: "{}".into() };
            bench.ledger.put_route_versions(&[version]).await.expect("written");
        }
        let turn = async |running: &[Digest], now: Timestamp| {
            let before = Some(now.before(KEEP.metadata));
            let running = running.to_vec();
            let turn = Forget { rest_before: before, running, ..Forget::default() };
            bench.forget(turn, now).await.versions
        };
        assert_eq!(turn(&[v(2)], NOON).await, 0);
        let open = bench.queued("a").await;
        assert_eq!(turn(&[v(2)], day(400)).await, 1, "the third: it runs nowhere, owes nothing");
        assert_eq!(turn(&[v(2)], day(800)).await, 0, "by the first something is owed");
        bench.settle(&open, Vec::new()).await;
        // Put back: it begins to age anew.
        let version = RouteVersion { digest: v(1), route: "r1".to_owned(), bundle: "{}".into() };
        bench.ledger.put_route_versions(&[version]).await.expect("written");
        assert_eq!(turn(&[v(2)], day(801)).await, 0);
        assert_eq!(turn(&[v(2)], day(1202)).await, 1);
    }
}

#[tokio::test]
async fn a_total_that_somebody_changed_is_found_and_named() {
    for bench in Bench::each().await {
        bench.completed("a").await;
        bench.queued("b").await;
        sql(&bench, "UPDATE delivery_total SET n = n + 2 WHERE bucket = 3").await;
        sql(&bench, "UPDATE message_total SET n = n - 1 WHERE bucket = 'accepted'").await;
        let compared = bench.ledger.compare().await.expect("readable");
        let found: Vec<_> = compared
            .differences
            .iter()
            .map(|one| (one.name.as_str(), one.bucket.as_str(), one.totals, one.rows))
            .collect();
        let expected = [
            ("region", "received", 2, 1),
            ("route", "completed", 3, 1),
            ("messages", "accepted", 1, 2),
        ];
        assert_eq!((found, compared.by()), (expected.to_vec(), 4));
    }
}
