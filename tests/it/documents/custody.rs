//! The rows of documents on both databases: what pins them, what lets them go.
//!
//! Invariant: a time is what the test says it is.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use snodo::{
    clock::Clock as _,
    documents::{Collector, Store},
    ledger::{
        Action, Ledger, Outcome, Settings,
        documents::{DocumentRows, Origin, Posted},
        open,
    },
};
use snodo_core::{
    document::{Document, DocumentKey},
    ids::{DeliveryId, StepKey},
    kept::{Days, Filing},
    message_state::DeliveryState,
    timestamp::Timestamp,
};
use snodo_tests::simulation::clock::WorldClock;

use super::{
    super::ledger::bench::{Bench, accept, created_of, emission, id_of, register_effect, v},
    document,
};

const NOON: Timestamp = Timestamp(1_764_000_000_000);

fn hours(hours: u64) -> Timestamp {
    NOON.after(Duration::from_hours(hours))
}

fn rows(ledger: &dyn Ledger) -> &dyn DocumentRows {
    ledger.documents().expect("it keeps documents")
}

/// Posts as the party whose messages the bench accepts.
async fn post(ledger: &dyn Ledger, name: &str, bytes: &[u8], at: Timestamp) -> Document {
    let document = document(name, bytes);
    let origin = Origin::Party("region".to_owned());
    assert_eq!(rows(ledger).post(&document, &origin, at).await.expect("written"), Posted::New);
    document
}

fn citing(sender_id: &str, subscribers: &[&str], document: &Document) -> Action {
    let mut action = accept(sender_id, subscribers);
    if let Action::Accept(accept) = &mut action {
        accept.documents = vec![document.key];
    }
    action
}

async fn has(ledger: &dyn Ledger, party: &str, document: &Document) -> bool {
    let found = rows(ledger).readable(party, document.key).await.expect("read");
    assert!(found.as_ref().is_none_or(|found| found == document));
    found.is_some()
}

#[tokio::test]
async fn a_document_that_nobody_cites_in_a_day_goes_and_one_that_is_cited_stays() {
    for bench in Bench::each().await {
        let ledger = &*bench.ledger;
        let cited = post(ledger, "cited", b"one", NOON).await;
        let left = post(ledger, "left", b"two", NOON).await;
        let same = post(ledger, "same bytes as the cited one", b"one", NOON).await;
        bench.one(citing("a", &["one"], &cited)).await;
        assert_eq!(rows(ledger).forget(hours(23), 10).await.expect("done"), 0);
        assert_eq!(rows(ledger).forget(hours(24), 10).await.expect("done"), 2);
        assert!(has(ledger, "region", &cited).await);
        assert!(!has(ledger, "region", &left).await && !has(ledger, "region", &same).await);
        assert_eq!(rows(ledger).doom(hours(47), 10).await.expect("done"), []);
        assert_eq!(rows(ledger).doom(hours(48), 10).await.expect("done"), [left.sha256]);
        rows(ledger).gone(&[left.sha256]).await.expect("written");
        assert_eq!(rows(ledger).doom(hours(99), 10).await.expect("done"), []);
    }
}

#[tokio::test]
async fn what_a_forgotten_message_cited_goes_unless_it_is_filed_or_cited_elsewhere() {
    for bench in Bench::each().await {
        let ledger = &*bench.ledger;
        let mut cited = Vec::new();
        for (n, name) in ["alone", "filed", "shared"].into_iter().enumerate() {
            cited.push(post(ledger, name, name.as_bytes(), hours(n as u64)).await);
        }
        let [alone, filed, shared] = &cited[..] else { panic!("three") };
        let mut message = citing("a", &["one"], alone);
        if let Action::Accept(accept) = &mut message {
            accept.documents = cited.iter().map(|document| document.key).collect();
        }
        let [a, b] = [bench.one(message).await, bench.one(citing("b", &["one"], shared)).await]
            .map(|accepted| created_of(&accepted).swap_remove(0));
        let step = StepKey { delivery: a.id, step: "archive".to_owned() };
        let documents = std::slice::from_ref(filed);
        let filing =
            Filing { archive: "archive", protocol: "0000001/2026", documents, step: &step };
        rows(ledger).file(&filing, hours(3)).await.expect("filed");
        bench.settle(&a, Vec::new()).await;
        assert_eq!(bench.row(b.seq).await.state, DeliveryState::Queued);

        // First its body goes, and what it cited with it; then the message itself can.
        let month = Duration::from_hours(24 * 31);
        for (turn, messages) in [(1, 0), (13, 1)] {
            let now = NOON.after(month * turn);
            assert_eq!(bench.turn(now).await.messages, messages);
            rows(ledger).forget(now, 10).await.expect("done");
            assert!(!has(ledger, "region", alone).await, "nothing cites it any more");
            assert!(has(ledger, "region", filed).await, "it is filed");
            assert!(has(ledger, "region", shared).await, "another message cites it");
        }
        bench.check().await;
    }
}

#[tokio::test]
async fn a_file_that_is_being_deleted_is_nobodys_until_it_is_gone() {
    for bench in Bench::each().await {
        let ledger = &*bench.ledger;
        let first = post(ledger, "a", b"bytes", NOON).await;
        rows(ledger).forget(hours(24), 10).await.expect("done");
        // Posted again in time, it is wanted again.
        post(ledger, "b", b"bytes", hours(47)).await;
        assert_eq!(rows(ledger).doom(hours(48), 10).await.expect("done"), []);
        rows(ledger).forget(hours(72), 10).await.expect("done");
        assert_eq!(rows(ledger).doom(hours(96), 10).await.expect("done"), [first.sha256]);
        let again = document("c", b"bytes");
        let origin = Origin::Party("region".to_owned());
        let posted = rows(ledger).post(&again, &origin, hours(96)).await.expect("answered");
        assert_eq!(posted, Posted::Doomed);
        // A process that died before it said so leaves it doomed: the next turn names it again.
        assert_eq!(rows(ledger).doom(hours(96), 10).await.expect("done"), [first.sha256]);
        rows(ledger).gone(&[first.sha256]).await.expect("written");
        let posted = rows(ledger).post(&again, &origin, hours(96)).await.expect("answered");
        assert_eq!(posted, Posted::New);
    }
}

#[tokio::test]
async fn a_message_whose_document_is_gone_is_refused_and_nothing_beside_it() {
    for bench in Bench::each().await {
        let ledger = &*bench.ledger;
        let there = post(ledger, "a", b"bytes", NOON).await;
        let gone = document("b", b"other");
        let outcomes = bench
            .all(&[
                citing("a", &["one"], &there),
                citing("b", &["one"], &gone),
                accept("c", &["one"]),
            ])
            .await;
        assert!(matches!(outcomes[0], Outcome::Accepted { .. }), "{outcomes:?}");
        assert!(matches!(outcomes[1], Outcome::Failed(_)), "{outcomes:?}");
        assert!(matches!(outcomes[2], Outcome::Accepted { .. }), "{outcomes:?}");
        assert!(ledger.message(id_of("b")).await.expect("read").is_none());
        assert_eq!(bench.heard("region", "accepted").await, 2);
        let again = bench.one(citing("a", &["one"], &there)).await;
        assert!(matches!(again, Outcome::Repeated { .. }), "{again:?}");
    }
}

#[tokio::test]
async fn who_is_owed_a_message_reads_what_it_cites_and_nobody_else() {
    for bench in Bench::each().await {
        let ledger = &*bench.ledger;
        let cited = post(ledger, "a", b"bytes", NOON).await;
        let other = post(ledger, "b", b"other", NOON).await;
        assert!(!has(ledger, "x", &cited).await);
        bench.one(citing("a", &["one", "party:x"], &cited)).await;
        assert!(has(ledger, "x", &cited).await && !has(ledger, "x", &other).await);
        assert!(!has(ledger, "y", &cited).await);
        // A route hands on what its message cites; what it does not, nobody can make it hand on.
        let cause = DeliveryId::derived(id_of("a"), "one");
        let row = ledger.row_by_id(cause).await.expect("read").expect("there");
        let mut emitted = emission(cause, "party:y");
        emitted.documents = vec![cited.key, other.key, DocumentKey(uuid::Uuid::nil())];
        let settle = Action::Settle {
            seq: row.seq,
            id: row.id,
            round: row.round,
            subscriber: "one".into(),
            route_digest: row.route_digest,
            filtered: false,
            emits: vec![emitted],
        };
        let settled = bench.one(settle).await;
        assert!(matches!(settled, Outcome::Settled { .. }), "{settled:?}");
        assert!(has(ledger, "y", &cited).await && !has(ledger, "y", &other).await);
    }
}

#[tokio::test]
async fn what_a_step_makes_or_files_is_made_and_filed_once() {
    for bench in Bench::each().await {
        let ledger = &*bench.ledger;
        let step = StepKey { delivery: DeliveryId(uuid::Uuid::nil()), step: "list".to_owned() };
        let origin = Origin::Step(step.clone());
        let made = document("register.json", b"[]");
        let posted = rows(ledger).post(&made, &origin, NOON).await.expect("written");
        assert_eq!(posted, Posted::New);
        let again = document("register.json", b"[]");
        let posted = rows(ledger).post(&again, &origin, hours(1)).await.expect("written");
        assert_eq!(posted, Posted::Made(made.clone()));
        let known = rows(ledger).of_delivery(step.delivery, &[made.key, again.key]).await;
        assert_eq!(known.expect("read"), std::slice::from_ref(&made));
        let documents = [made.clone()];
        let filing = Filing {
            archive: "archive",
            protocol: "0000001/2026",
            documents: &documents,
            step: &step,
        };
        rows(ledger).file(&filing, hours(1)).await.expect("written");
        rows(ledger).file(&filing, hours(2)).await.expect("written");
        let filed = rows(ledger).filed("archive", "0000001/2026").await.expect("read");
        assert_eq!(filed.len(), 1);
        assert_eq!((&filed[0].document, filed[0].at), (&made, hours(1)));
        assert_eq!(rows(ledger).filed("other", "0000001/2026").await.expect("read"), []);
        assert_eq!(rows(ledger).forget(hours(99), 10).await.expect("done"), 0, "it is filed");
    }
}

#[tokio::test]
async fn a_register_is_read_by_day_and_page() {
    for bench in Bench::each().await {
        for name in ["a", "b", "c"] {
            let seq = bench.claimed(name).await.seq;
            let step = Action::LedgerStep {
                seq,
                fence: bench.fence(1),
                step: "register".to_owned(),
                operation: "protocollo.register".to_owned(),
                route_digest: v(1),
                effect: register_effect("A"),
                last: true,
            };
            bench.one(step).await;
        }
        let ledger = &*bench.ledger;
        let days = |from, until| Days { aoo: "A", from, until };
        let all = rows(ledger).entries(&days(hours(0), hours(24)), None).await.expect("read");
        assert_eq!(all.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1, 2, 3]);
        let after = Some((all[0].year, all[0].number));
        let rest = rows(ledger).entries(&days(hours(0), hours(24)), after).await.expect("read");
        assert_eq!(rest, all[1..]);
        let before = days(NOON.before(Duration::from_hours(24)), NOON);
        assert_eq!(rows(ledger).entries(&before, None).await.expect("read"), []);
        assert_eq!(all[0].shown(hours(24))["state"], json!("registered"));
    }
}

#[tokio::test]
async fn the_collector_takes_the_files_of_what_nobody_wants_and_leaves_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = open(&Settings::sqlite(folder.path().join("ledger.db"))).await.expect("opens");
    let clock = Arc::new(WorldClock::default());
    ledger.start("a", clock.now()).await.expect("started");
    let store = Store::open(folder.path(), "a").expect("opened");
    let mut collector =
        Collector::new(store.clone(), Arc::clone(&ledger), Arc::<WorldClock>::clone(&clock));
    let mut documents = Vec::new();
    for bytes in [&b"claimed"[..], b"left"] {
        let mut incoming = store.begin().await.expect("begun");
        incoming.write(bytes).await.expect("written");
        documents.push(post(&*ledger, "a", bytes, clock.now()).await);
        incoming.seal().await.expect("sealed").put(&store).await.expect("put");
    }
    let [claimed, left] = &documents[..] else { panic!("two") };
    ledger.commit(&[citing("a", &["one"], claimed)], clock.now()).await.expect("committed");
    let is_whole =
        async |document: &Document| store.verify(document.sha256, document.size).await.is_ok();
    for (passed, went, is_there) in [(0, 0, true), (24, 1, true), (23, 0, true), (2, 1, false)] {
        clock.pass(Duration::from_hours(passed));
        assert_eq!(collector.step().await.expect("a turn"), went, "after {passed} more hours");
        assert!(is_whole(claimed).await);
        assert_eq!(is_whole(left).await, is_there, "after {passed} more hours");
        // It goes on until it has found nothing, then rests.
        clock.pass(Duration::from_mins(2));
        assert_eq!(collector.step().await.expect("a turn"), 0);
    }
}
