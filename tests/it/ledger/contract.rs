//! Each action of the rule book: matches when it must, misses when round, fence, state or version differ.

use super::{bench::*, *};
use DeliveryState::{
    Claimed as IsClaimed, Completed, Discarded, Filtered, Parked, Published, Queued, Uncertain,
    Waiting,
};

#[tokio::test]
async fn a_message_is_accepted_once_with_a_delivery_per_subscriber() {
    for bench in Bench::each().await {
        let first = bench.one(accept("a", &["one", "party:x"])).await;
        assert_eq!(created_of(&first).len(), 2);
        let again = bench.one(accept("a", &["one", "party:x", "new"])).await;
        let digest = Digest::of(b"body");
        assert_eq!(again, Outcome::Repeated { id: id_of("a"), digest });
        assert_eq!(bench.heard("region", "received").await, 1);
        assert_eq!(bench.heard("region", "repeated").await, 1);
        assert_eq!(bench.total("new", "open").await, 0);
        let story = bench.ledger.story(id_of("a")).await.expect("readable").expect("there");
        assert_eq!(story.deliveries.len(), 2);
        assert_eq!(story.key, Some(key("a")));
        let read = bench.ledger.message(id_of("a")).await.expect("readable");
        assert_eq!(read, Some(message(id_of("a"))));
        let by_key = bench.ledger.message_by_key(&key("a")).await.expect("readable");
        assert_eq!(by_key, Some(id_of("a")));
    }
}

#[tokio::test]
async fn two_accepts_of_one_key_in_a_group_are_one_message() {
    for bench in Bench::each().await {
        let mut second = accept("a", &["one"]);
        if let Action::Accept(accept) = &mut second {
            accept.message = message(id_of("another id"));
            accept.deliveries = vec![owed(id_of("another id"), "one")];
        }
        let outcomes = bench.all(&[accept("a", &["one"]), second]).await;
        assert!(matches!(outcomes[0], Outcome::Accepted { .. }));
        assert!(matches!(outcomes[1], Outcome::Repeated { id, .. } if id == id_of("a")));
        assert_eq!(bench.total("one", "open").await, 1);
    }
}

#[tokio::test]
async fn a_cursor_is_written_with_its_message() {
    for bench in Bench::each().await {
        let with = |sender_id, value: &str| {
            let mut action = accept(sender_id, &["one"]);
            if let Action::Accept(accept) = &mut action {
                accept.cursor = Some(Cursor {
                    instance: "mail".to_owned(),
                    partition: "INBOX".to_owned(),
                    value: value.to_owned(),
                });
            }
            action
        };
        bench.all(&[with("a", "7"), with("b", "8")]).await;
        let read = bench.ledger.cursor("mail", "INBOX").await.expect("readable");
        assert_eq!(read.as_deref(), Some("8"));
        assert_eq!(bench.ledger.cursor("mail", "SPAM").await.expect("readable"), None);
    }
}

#[tokio::test]
async fn a_rejected_message_is_counted_and_leaves_an_event() {
    for bench in Bench::each().await {
        let action = Action::Reject {
            source: "region".into(),
            key: key("r"),
            digest: Digest::of(b"raw"),
            code: "SN0604".to_owned(),
        };
        assert_eq!(bench.one(action).await, Outcome::Matched);
        assert_eq!(bench.heard("region", "received").await, 1);
        assert_eq!(bench.heard("region", "rejected").await, 1);
        let events = bench.ledger.events_of("region//a/r").await.expect("readable");
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].kind.as_str(), events[0].reason.as_str()), ("reject", "SN0604"));
    }
}

#[tokio::test]
async fn a_mark_matches_only_a_queued_row_of_its_round() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        assert_eq!(bench.one(Action::Mark { seq, id, round: 2 }).await, Outcome::Missed);
        assert_eq!(bench.one(Action::Mark { seq, id, round: 1 }).await, Outcome::Matched);
        assert_eq!(bench.state(seq).await, (Published, 1));
        assert_eq!(bench.one(Action::Mark { seq, id, round: 1 }).await, Outcome::Missed);
        assert_eq!(bench.one(Action::Mark { seq: 999, id, round: 1 }).await, Outcome::Missed);
    }
}

#[tokio::test]
async fn a_hand_over_completes_a_queued_row_and_a_returned_one_waits() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        assert_eq!(bench.one(hand_over(seq, id, 2)).await, Outcome::Missed);
        assert_eq!(bench.one(hand_over(seq, id, 1)).await, Outcome::Matched);
        assert_eq!(bench.one(hand_over(seq, id, 1)).await, Outcome::Missed);
        assert_eq!(bench.state(seq).await, (Completed, 1));
        let Created { seq, id } = bench.queued("b").await;
        let back = back(Then::Waiting(at(5)));
        let hand_back = |round| Action::HandBack { seq, id, round, back: back.clone() };
        assert_eq!(bench.one(hand_back(2)).await, Outcome::Missed);
        assert_eq!(bench.one(hand_back(1)).await, Outcome::Matched);
        let row = bench.row(seq).await;
        assert_eq!((row.state, row.attempts, row.next_at), (Waiting, 1, Some(at(5))));
        assert_eq!((row.give_up_at, row.fault), (Some(at(1000)), Some(fault())));
    }
}

#[tokio::test]
async fn an_ack_completes_a_queued_row_of_its_own_party() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        let collect = |id, round, subscriber: &str| Action::Collect {
            seq,
            id,
            round,
            subscriber: subscriber.into(),
        };
        let other = owed(id_of("other"), "route").id;
        for foreign in
            [collect(id, 2, "route"), collect(id, 1, "party"), collect(other, 1, "route")]
        {
            assert_eq!(bench.one(foreign).await, Outcome::Missed);
            assert_eq!(bench.state(seq).await, (Queued, 1));
        }
        assert_eq!(bench.one(collect(id, 1, "route")).await, Outcome::Matched);
        assert_eq!(bench.state(seq).await, (Completed, 1));
        assert_eq!(bench.one(collect(id, 1, "route")).await, Outcome::Missed);
        let events = bench.ledger.events_of(&id.to_string()).await.expect("readable");
        let told: Vec<_> = events.iter().map(|event| (&*event.actor, &*event.reason)).collect();
        assert_eq!(told, [("route", "completed")], "the event says by whose word");
        assert_eq!(bench.total("route", "completed").await, 1);

        // Nobody leaves waiting or parked but by its own way.
        let Created { seq, id } = bench.queued("b").await;
        let parked = back(Then::Parked);
        bench
            .one(Action::FastVerdict { seq, id, round: 1, route_digest: v(1), back: parked })
            .await;
        let ack = Action::Collect { seq, id, round: 1, subscriber: "route".into() };
        assert_eq!(bench.one(ack).await, Outcome::Missed);
        assert_eq!(bench.ledger.broken_invariants().await.expect("readable"), [""; 0]);
    }
}

#[tokio::test]
async fn what_is_fetched_is_read_oldest_first_with_its_size() {
    for bench in Bench::each().await {
        for name in ["a", "b", "c"] {
            bench.queued(name).await;
        }
        let me = bench.me;
        let read = async |limit| {
            let keys = bench.ledger.fetchable(me, "route", at(60), limit).await.expect("readable");
            keys.into_iter().map(|(key, bytes)| (key.seq, bytes)).collect::<Vec<_>>()
        };
        let bytes = message(id_of("a")).data.len();
        assert_eq!(read(2).await, [(1, bytes), (2, bytes)]);
        assert_eq!(read(9).await.len(), 3);
        let ids: Vec<_> = ["c", "a"].map(|name| owed(id_of(name), "route").id).to_vec();
        let nobody = owed(id_of("nobody"), "route").id;
        let asked = [ids.clone(), vec![nobody]].concat();
        let rows = bench.ledger.rows_by_id(&asked).await.expect("readable");
        let mut seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, [1, 3]);
        let first = bench.ledger.first_answer(&key("a")).await.expect("readable");
        assert_eq!(first, Some((id_of("a"), Digest::of(b"body"))));
        assert_eq!(bench.ledger.first_answer(&key("z")).await.expect("readable"), None);
    }
}

#[tokio::test]
async fn a_settle_matches_its_round_and_version_and_emits_only_then() {
    for bench in Bench::each().await {
        let cause = bench.queued("a").await;
        let settle = |round, version, filtered| Action::Settle {
            seq: cause.seq,
            id: cause.id,
            round,
            subscriber: "route".into(),
            route_digest: v(version),
            filtered,
            emits: if filtered { vec![] } else { vec![emission(cause.id, "next")] },
        };
        assert_eq!(bench.one(settle(2, 1, false)).await, Outcome::Missed);
        assert_eq!(bench.one(settle(1, 2, false)).await, Outcome::Missed);
        assert_eq!(bench.total("next", "open").await, 0);
        let settled = bench.one(settle(1, 1, false)).await;
        let emitted = created_of(&settled);
        assert_eq!(emitted.len(), 1);
        assert_eq!(bench.one(settle(1, 1, false)).await, Outcome::Missed);
        let row = bench.row(emitted[0].seq).await;
        assert_eq!((row.state, row.cause), (Queued, Some(cause.id)));
        let story = bench.ledger.story(id_of("a")).await.expect("readable").expect("there");
        assert_eq!(story.derived, vec![row.message]);
        let other = bench.queued("b").await;
        let filter = Action::Settle {
            seq: other.seq,
            id: other.id,
            round: 1,
            subscriber: "route".into(),
            route_digest: v(1),
            filtered: true,
            emits: vec![],
        };
        assert_eq!(bench.one(filter).await, Outcome::Settled { created: vec![] });
        assert_eq!(bench.state(other.seq).await, (Filtered, 1));
        let finals = bench.ledger.events_of(&cause.id.to_string()).await.expect("readable");
        assert_eq!(finals.len(), 1);
        assert_eq!((finals[0].kind.as_str(), finals[0].reason.as_str()), ("final", "completed"));
    }
}

#[tokio::test]
async fn a_fast_verdict_and_the_time_that_comes() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        let verdict = |round, version| Action::FastVerdict {
            seq,
            id,
            round,
            route_digest: v(version),
            back: back(Then::Waiting(at(5))),
        };
        assert_eq!(bench.one(verdict(2, 1)).await, Outcome::Missed);
        assert_eq!(bench.one(verdict(1, 2)).await, Outcome::Missed);
        assert_eq!(bench.one(verdict(1, 1)).await, Outcome::Matched);
        assert_eq!(bench.one_at(Action::Due { limit: 9 }, at(4)).await, Outcome::Moved(0));
        assert_eq!(bench.one_at(Action::Due { limit: 9 }, at(5)).await, Outcome::Moved(1));
        assert_eq!(bench.state(seq).await, (Queued, 2));
        assert_eq!(bench.one(Action::Mark { seq, id, round: 1 }).await, Outcome::Missed);
    }
}

/// What a copy asks for, or its confirm: of a row by its sequence and another's id.
fn asked_by_a_copy(seq: i64, id: DeliveryId) -> [(&'static str, Action); 9] {
    let fence = Fence { incarnation: IncarnationId(1), serial: 1 };
    let (round, route_digest, emits) = (1, v(1), vec![]);
    let waiting = || back(Then::Waiting(at(5)));
    let settle = |filtered| {
        let emits = if filtered { emits.clone() } else { vec![emission(id, "next")] };
        let subscriber = "route".into();
        Action::Settle { seq, id, round, subscriber, route_digest, filtered, emits }
    };
    [
        ("mark", Action::Mark { seq, id, round }),
        ("hand over", hand_over(seq, id, round)),
        ("hand back", Action::HandBack { seq, id, round, back: waiting() }),
        ("settle", settle(false)),
        ("filter", settle(true)),
        ("verdict", Action::FastVerdict { seq, id, round, route_digest, back: waiting() }),
        ("claim", Action::Claim { seq, id, round, fence, lease_until: at(60) }),
        ("unrouted", Action::DrainUnrouted { id, seq, round, at: at(9) }),
        ("poison", Action::DrainPoison { id, seq, round }),
    ]
}

#[tokio::test]
async fn a_copy_that_a_restored_ledger_has_forgotten_is_not_taken_for_another_row() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        let forgotten = owed(id_of("forgotten"), "route").id;
        let elsewhere = bench.queued("b").await;
        for other in [forgotten, elsewhere.id] {
            for (what, action) in asked_by_a_copy(seq, other) {
                let outcome = bench.one(action).await;
                assert!(
                    matches!(outcome, Outcome::Missed | Outcome::Unknown),
                    "{what}: {outcome:?}"
                );
                assert_eq!(bench.state(seq).await, (Queued, 1), "{what}");
                assert_eq!(bench.state(elsewhere.seq).await, (Queued, 1), "{what}");
            }
        }
        assert_eq!(bench.total("next", "open").await, 0);
        let own = bench.one(Action::Mark { seq, id, round: 1 }).await;
        assert_eq!(own, Outcome::Matched);
    }
}

#[tokio::test]
async fn due_moves_no_more_than_its_limit_and_oldest_first() {
    for bench in Bench::each().await {
        for (name, seconds) in [("a", 3), ("b", 1), ("c", 2)] {
            let Created { seq, id } = bench.queued(name).await;
            let back = back(Then::Waiting(at(seconds)));
            bench.one(Action::FastVerdict { seq, id, round: 1, route_digest: v(1), back }).await;
        }
        assert_eq!(bench.one_at(Action::Due { limit: 2 }, at(9)).await, Outcome::Moved(2));
        let waiting = bench.ledger.ages().await.expect("readable").waiting;
        assert_eq!(waiting.get("route"), Some(&1));
        assert_eq!(bench.row(1).await.state, Waiting);
    }
}

#[tokio::test]
async fn an_outage_moves_the_end_of_patience_and_burns_no_attempt() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        let mut back = back(Then::Waiting(at(1)));
        bench
            .one(Action::FastVerdict { seq, id, round: 1, route_digest: v(1), back: back.clone() })
            .await;
        bench.one_at(Action::Due { limit: 9 }, at(1)).await;
        back.give_up_at = Some(at(2000));
        bench
            .one(Action::FastVerdict { seq, id, round: 2, route_digest: v(1), back: back.clone() })
            .await;
        let row = bench.row(seq).await;
        assert_eq!((row.attempts, row.give_up_at), (2, Some(at(1000))));
        bench.one_at(Action::Due { limit: 9 }, at(1)).await;
        back.counts = false;
        bench.one(Action::FastVerdict { seq, id, round: 3, route_digest: v(1), back }).await;
        let row = bench.row(seq).await;
        assert_eq!((row.attempts, row.give_up_at), (2, Some(at(2000))));
    }
}

#[tokio::test]
async fn a_claim_is_one_tasks_and_says_what_was_done_before() {
    for bench in Bench::each().await {
        let Created { seq, .. } = bench.queued("a").await;
        assert_eq!(bench.claim(seq, 2, 1).await, Outcome::Missed);
        let claimed = claimed_of(bench.claim(seq, 1, 1).await);
        assert_eq!((claimed.route_digest, claimed.attempts), (v(1), 0));
        assert!(claimed.done.is_empty() && claimed.intents.is_empty());
        assert_eq!(bench.claim(seq, 1, 2).await, Outcome::Missed);
        assert_eq!(bench.row(seq).await.fence, Some(bench.fence(1)));
        let done = |serial, last| Action::Done {
            seq,
            fence: bench.fence(serial),
            done: step("one"),
            emits: vec![],
            fact: None,
            last,
        };
        assert_eq!(bench.one(done(2, false)).await, Outcome::Missed);
        assert_eq!(result_of(&bench.one(done(1, false)).await), json!({"ok": "one"}));
        assert_eq!(bench.one(bench.intent(seq, 1)).await, Outcome::Matched);
        assert_eq!(
            bench.one(Action::GiveBack { seq, fence: bench.fence(2) }).await,
            Outcome::Missed
        );
        assert_eq!(
            bench.one(Action::GiveBack { seq, fence: bench.fence(1) }).await,
            Outcome::Matched
        );
        let claimed = claimed_of(bench.claim(seq, 2, 3).await);
        assert_eq!(claimed.done.get("one"), Some(&json!({"ok": "one"})));
        assert_eq!(claimed.intents.len(), 1);
        assert_eq!(claimed.intents[0].fence, bench.fence(1));
        assert_eq!(claimed.intents[0].stopped_at, Some(NOON));
        let row = bench.row(seq).await;
        assert_eq!(row.done, vec![("one".to_owned(), step("one"))]);
    }
}

#[tokio::test]
async fn a_longer_lease_needs_the_claim() {
    for bench in Bench::each().await {
        let Created { seq, .. } = bench.claimed("a").await;
        let extend =
            |serial| Action::Extend { seq, fence: bench.fence(serial), lease_until: at(90) };
        assert_eq!(bench.one(extend(2)).await, Outcome::Missed);
        assert_eq!(bench.one(extend(1)).await, Outcome::Matched);
        assert_eq!(bench.row(seq).await.lease_until, Some(at(90)));
    }
}

#[tokio::test]
async fn the_last_step_completes_and_emits_in_one() {
    for bench in Bench::each().await {
        let cause = bench.claimed("a").await;
        assert_eq!(bench.one(bench.intent(cause.seq, 2)).await, Outcome::Missed);
        assert_eq!(bench.one(bench.intent(cause.seq, 1)).await, Outcome::Matched);
        let mut called = step("call");
        called.operation = "emit:x".to_owned();
        let done = |last| Action::Done {
            seq: cause.seq,
            fence: bench.fence(1),
            done: if last { step("end") } else { called.clone() },
            emits: if last { vec![] } else { vec![emission(cause.id, "next")] },
            fact: None,
            last,
        };
        let outcomes = bench.all(&[done(false)]).await;
        assert_eq!(created_of(&outcomes[0]).len(), 1);
        assert!(bench.row(cause.seq).await.intents.is_empty());
        bench.one(done(true)).await;
        let row = bench.row(cause.seq).await;
        assert_eq!((row.state, row.fence, row.done.len()), (Completed, None, 2));
        assert_eq!(bench.one(done(true)).await, Outcome::Missed);
    }
}

#[tokio::test]
async fn a_claimed_delivery_is_filtered_by_its_claimant_only() {
    for bench in Bench::each().await {
        let Created { seq, .. } = bench.claimed("a").await;
        assert_eq!(bench.one(Action::Filter { seq, fence: bench.fence(9) }).await, Outcome::Missed);
        assert_eq!(
            bench.one(Action::Filter { seq, fence: bench.fence(1) }).await,
            Outcome::Matched
        );
        assert_eq!(bench.state(seq).await.0, Filtered);
    }
}

#[tokio::test]
async fn a_verdict_does_with_the_intent_what_it_says() {
    for bench in Bench::each().await {
        for (name, fate, left, stopped) in [
            ("a", IntentFate::Gone, 0, None),
            ("b", IntentFate::Stopped, 1, Some(NOON)),
            ("c", IntentFate::Kept, 1, None),
        ] {
            let Created { seq, .. } = bench.uncertain(name, fate).await;
            let row = bench.row(seq).await;
            assert_eq!((row.state, row.intents.len()), (Uncertain, left));
            assert_eq!(row.intents.first().and_then(|intent| intent.stopped_at), stopped);
        }
        let Created { seq, .. } = bench.claimed("d").await;
        let verdict = Action::Verdict {
            seq,
            fence: bench.fence(7),
            step: None,
            intent: IntentFate::Kept,
            back: back(Then::Parked),
        };
        assert_eq!(bench.one(verdict).await, Outcome::Missed);
    }
}

#[tokio::test]
async fn what_waits_for_a_call_to_settle_is_not_due_before() {
    for bench in Bench::each().await {
        let Created { seq, .. } = bench.claimed("a").await;
        bench.one(bench.intent(seq, 1)).await;
        let verdict = Action::Verdict {
            seq,
            fence: bench.fence(1),
            step: Some("call".to_owned()),
            intent: IntentFate::Stopped,
            back: Return {
                then: Then::Waiting(at(1)),
                counts: false,
                give_up_at: None,
                fault: None,
            },
        };
        assert_eq!(bench.one(verdict).await, Outcome::Matched);
        assert_eq!(bench.one_at(Action::Due { limit: 9 }, at(59)).await, Outcome::Moved(0));
        assert_eq!(bench.one_at(Action::Due { limit: 9 }, at(60)).await, Outcome::Moved(1));
    }
}

#[tokio::test]
async fn a_give_back_stops_its_own_intent_only() {
    for bench in Bench::each().await {
        let Created { seq, .. } = bench.claimed("a").await;
        bench.one(bench.intent(seq, 1)).await;
        let kept = Action::Verdict {
            seq,
            fence: bench.fence(1),
            step: None,
            intent: IntentFate::Kept,
            back: back(Then::Waiting(at(1))),
        };
        bench.one(kept).await;
        // As after a lapse: the intent's sender has not stopped, another task claims.
        let drained = bench.one_at(Action::Due { limit: 1 }, at(100)).await;
        assert_eq!(drained, Outcome::Moved(0));
        bench.one(Action::OwnEnd { seq, step: "call".into(), fence: bench.fence(5) }).await;
        assert_eq!(bench.row(seq).await.intents[0].stopped_at, None);
        let own = Action::OwnEnd { seq, step: "call".into(), fence: bench.fence(1) };
        assert_eq!(bench.one(own.clone()).await, Outcome::Matched);
        assert_eq!(bench.one(own).await, Outcome::Missed);
        assert_eq!(bench.row(seq).await.intents[0].stopped_at, Some(NOON));
    }
}

#[tokio::test]
async fn the_reconciler_sends_again_what_is_published_in_its_round() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        assert_eq!(bench.one(Action::Reconcile { seq, round: 1 }).await, Outcome::Missed);
        bench.one(Action::Mark { seq, id, round: 1 }).await;
        let in_broker = bench.ledger.in_broker("route", 0, 9).await.expect("readable");
        assert_eq!(in_broker.len(), 1);
        assert_eq!(in_broker[0].marked_at, NOON);
        assert_eq!(bench.one(Action::Reconcile { seq, round: 2 }).await, Outcome::Missed);
        assert_eq!(bench.one(Action::Reconcile { seq, round: 1 }).await, Outcome::Matched);
        assert_eq!(bench.state(seq).await, (Queued, 2));
    }
}

#[tokio::test]
async fn drains_tell_another_round_from_an_unknown_id() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        let nobody = DeliveryId::derived(id_of("nobody"), "x");
        let unrouted = |id, round| Action::DrainUnrouted { id, seq, round, at: at(9) };
        let poison = |id, round| Action::DrainPoison { id, seq, round };
        assert_eq!(bench.one(unrouted(nobody, 1)).await, Outcome::Unknown);
        assert_eq!(bench.one(poison(nobody, 1)).await, Outcome::Unknown);
        assert_eq!(bench.one(unrouted(id, 2)).await, Outcome::Missed);
        assert_eq!(bench.one(poison(id, 1)).await, Outcome::Matched);
        assert!(bench.row(seq).await.suspect);
        assert_eq!(bench.state(seq).await, (Queued, 2));
        assert_eq!(bench.one(poison(id, 1)).await, Outcome::Missed);
        let queued = bench.ledger.queued(&[seq]).await.expect("readable");
        assert!(queued[0].alone);
        assert_eq!(bench.one(unrouted(id, 2)).await, Outcome::Matched);
        let row = bench.row(seq).await;
        assert_eq!((row.state, row.next_at), (Waiting, Some(at(9))));
        let stray = Stray {
            id: Some(nobody),
            queue: "q".to_owned(),
            headers: json!({"a": 1}),
            body: bytes::Bytes::from_static(b"\x00\xff"),
        };
        assert_eq!(bench.one(Action::Stray(Box::new(stray))).await, Outcome::Matched);
        assert_eq!(bench.ledger.ages().await.expect("readable").strays, 1);
    }
}

#[tokio::test]
async fn a_replay_needs_a_parked_row_on_the_version_that_was_looked_at() {
    for bench in Bench::each().await {
        let Created { seq, id } = bench.parked("a").await;
        let replay = |from| Action::Replay { id, from: v(from), onto: v(2), by: deed() };
        assert_eq!(bench.one(replay(3)).await, Outcome::Missed);
        assert_eq!(bench.one(replay(1)).await, Outcome::Matched);
        assert_eq!(bench.one(replay(1)).await, Outcome::Missed);
        let row = bench.row(seq).await;
        assert_eq!((row.state, row.round, row.route_digest, row.attempts), (Queued, 2, v(2), 0));
        let events = bench.ledger.events_of(&id.to_string()).await.expect("readable");
        assert_eq!((events[0].kind.as_str(), events[0].actor.as_str()), ("replay", "anna"));
        assert_eq!(events[0].reason, "because");
        let Created { seq, id } = bench.parked("b").await;
        assert_eq!(bench.one(Action::Discard { id, by: deed() }).await, Outcome::Matched);
        assert_eq!(bench.one(Action::Discard { id, by: deed() }).await, Outcome::Missed);
        assert_eq!(bench.state(seq).await.0, Discarded);
    }
}

#[tokio::test]
async fn a_person_resolves_what_is_uncertain() {
    for bench in Bench::each().await {
        for (name, last, state) in [("a", false, (Queued, 2)), ("b", true, (Completed, 1))] {
            let Created { seq, id } = bench.uncertain(name, IntentFate::Kept).await;
            let resolve = Action::ResolveDone { id, done: step("call"), last, by: deed() };
            assert_eq!(bench.one(resolve.clone()).await, Outcome::Matched);
            assert_eq!(bench.one(resolve).await, Outcome::Missed);
            assert_eq!(bench.state(seq).await, state);
            let row = bench.row(seq).await;
            assert_eq!((row.done.len(), row.intents.len()), (1, 0));
        }
        let not_done = |id| Action::ResolveNotDone { id, step: "call".to_owned(), by: deed() };
        let Created { id, .. } = bench.uncertain("c", IntentFate::Kept).await;
        assert_eq!(bench.one_at(not_done(id), at(999)).await, Outcome::TooEarly { at: None });
        let Created { seq, id } = bench.uncertain("d", IntentFate::Stopped).await;
        let early = Outcome::TooEarly { at: Some(at(60)) };
        assert_eq!(bench.one_at(not_done(id), at(59)).await, early);
        assert_eq!(bench.one_at(not_done(id), at(60)).await, Outcome::Matched);
        assert_eq!(bench.state(seq).await, (Queued, 2));
        assert!(bench.row(seq).await.intents.is_empty());
        assert_eq!(bench.one_at(not_done(id), at(60)).await, Outcome::Missed);
    }
}

#[tokio::test]
async fn a_start_voids_the_claims_of_earlier_processes_and_the_third_parks() {
    for mut bench in Bench::each().await {
        let Created { seq, .. } = bench.claimed("a").await;
        bench.one(bench.intent(seq, 1)).await;
        for crash in 1..=3_u32 {
            let started = bench.another("main").await;
            assert_eq!((started.voided, started.unclean_up_to), (1, Some(seq)));
            bench.check().await;
            let row = bench.row(seq).await;
            assert_eq!((row.crashes, row.round), (crash, crash + 1));
            assert_eq!(row.intents[0].stopped_at, Some(at(10)));
            if crash < 3 {
                assert_eq!(row.state, Queued);
                assert_eq!(claimed_of(bench.claim(seq, crash + 1, 1).await).crashes, crash);
            } else {
                assert_eq!(row.state, Parked);
                assert_eq!(row.fault.expect("a fault").code, "SN0703");
            }
        }
    }
}

#[tokio::test]
async fn after_a_clean_end_nothing_is_unclean_but_what_was_before() {
    for mut bench in Bench::each().await {
        let Created { seq, id } = bench.queued("a").await;
        bench.ledger.end(bench.me, at(1)).await.expect("ends");
        assert_eq!(bench.another("main").await.unclean_up_to, None);
        assert_eq!(bench.another("main").await.unclean_up_to, Some(seq));
        bench.ledger.end(bench.me, at(1)).await.expect("ends");
        assert_eq!(bench.another("main").await.unclean_up_to, Some(seq));
        bench.one(hand_over(seq, id, 1)).await;
        bench.ledger.end(bench.me, at(1)).await.expect("ends");
        assert_eq!(bench.another("main").await.unclean_up_to, None);
    }
}

#[tokio::test]
async fn an_incarnation_is_declared_dead_once_and_its_intents_are_stopped() {
    for bench in Bench::each().await {
        let Created { seq, .. } = bench.uncertain("a", IntentFate::Kept).await;
        let dead = || Action::DeclareDead { incarnation: bench.me, by: deed() };
        assert_eq!(bench.one(dead()).await, Outcome::Matched);
        assert_eq!(bench.one(dead()).await, Outcome::Missed);
        assert_eq!(bench.row(seq).await.intents[0].stopped_at, Some(NOON));
        let incarnations = bench.ledger.incarnations().await.expect("readable");
        assert_eq!(incarnations[0].declared_dead, Some(deed()));
    }
}

#[tokio::test]
async fn a_queued_row_is_published_by_its_publisher_first() {
    for mut bench in Bench::each().await {
        let mut action = accept("a", &["route"]);
        if let Action::Accept(accept) = &mut action {
            accept.deliveries[0].held = true;
        }
        bench.one(action).await;
        let other = IncarnationId(bench.me.0 + 77);
        let queued = async |bench: &Bench, me, now| {
            let found = bench.ledger.queued_keys(me, "route", now, 0, 9).await.expect("readable");
            found.len()
        };
        assert_eq!(queued(&bench, Some(bench.me), NOON).await, 1);
        assert_eq!(queued(&bench, None, NOON).await, 0);
        assert_eq!(queued(&bench, Some(other), NOON).await, 0);
        assert_eq!(queued(&bench, Some(other), at(5)).await, 1);
        let found = bench.ledger.queued_subscribers().await.expect("readable");
        assert_eq!(found, vec!["route".into()]);
        bench.another("main").await;
        assert_eq!(queued(&bench, None, NOON).await, 1);
    }
}

#[tokio::test]
async fn registrations_of_a_group_have_consecutive_numbers_and_their_steps() {
    for bench in Bench::each().await {
        let mut actions = Vec::new();
        for name in ["a", "b", "c"] {
            let Created { seq, .. } = bench.claimed(name).await;
            let fence = bench.fence(if name == "b" { 9 } else { 1 });
            actions.push(Action::LedgerStep {
                seq,
                fence,
                step: "register".to_owned(),
                operation: "protocollo.register".to_owned(),
                route_digest: v(1),
                effect: register_effect("AOO1"),
                last: name == "c",
            });
        }
        let outcomes = bench.all(&actions).await;
        assert_eq!(result_of(&outcomes[0])["number"], "0000001/2025");
        assert_eq!(outcomes[1], Outcome::Missed);
        assert_eq!(result_of(&outcomes[2])["number"], "0000002/2025");
        assert_eq!(bench.one(actions[0].clone()).await, Outcome::Missed);
        assert_eq!(bench.state(1).await.0, IsClaimed);
        assert_eq!(bench.state(3).await.0, Completed);
        assert_eq!(bench.row(1).await.done[0].1.result["number"], "0000001/2025");
        let found = bench.ledger.find("protocol", "0000002/2025").await.expect("readable");
        assert_eq!(found, vec![id_of("c")]);
    }
}

#[tokio::test]
async fn a_register_begins_each_year_in_rome_and_its_time_never_runs_back() {
    for bench in Bench::each().await {
        let new_year = Timestamp::parse("2026-12-31T23:00:00Z").expect("valid");
        let before = Timestamp(new_year.0 - 1);
        let mut numbers = Vec::new();
        for (name, now) in [("a", before), ("b", new_year), ("c", before)] {
            let Created { seq, .. } = bench.claimed(name).await;
            let action = Action::LedgerStep {
                seq,
                fence: bench.fence(1),
                step: "register".to_owned(),
                operation: "protocollo.register".to_owned(),
                route_digest: v(1),
                effect: register_effect("AOO1"),
                last: true,
            };
            let result = result_of(&bench.one_at(action, now).await);
            numbers.push(format!("{} {}", result["number"], result["registeredAt"]));
        }
        assert_eq!(
            numbers,
            [
                r#""0000001/2026" "2026-12-31T22:59:59.999Z""#,
                r#""0000001/2027" "2026-12-31T23:00:00.000Z""#,
                r#""0000002/2027" "2026-12-31T23:00:00.000Z""#,
            ]
        );
    }
}

#[tokio::test]
async fn a_registration_is_found_and_annulled_and_another_is_refused_without_a_trace() {
    for bench in Bench::each().await {
        let Created { seq, .. } = bench.claimed("a").await;
        let step = |name: &str, effect| Action::LedgerStep {
            seq,
            fence: bench.fence(1),
            step: name.to_owned(),
            operation: "protocollo.x".to_owned(),
            route_digest: v(1),
            effect,
            last: false,
        };
        bench.one(step("one", register_effect("A"))).await;
        let annul = |number| LedgerEffect::Annul {
            aoo: "A".to_owned(),
            year: 2025,
            number,
            reason: "wrong".to_owned(),
        };
        let refused = Outcome::Refused { reason: "not_found".to_owned() };
        assert_eq!(bench.one(step("two", annul(9))).await, refused);
        assert_eq!(bench.row(seq).await.done.len(), 1);
        let annulled = result_of(&bench.one(step("two", annul(1))).await);
        assert_eq!(annulled["number"], "0000001/2025");
        let look = LedgerEffect::Lookup { aoo: "A".to_owned(), year: 2025, number: 1 };
        let found = result_of(&bench.one(step("three", look)).await);
        assert_eq!(
            (&found["subject"], &found["direction"]),
            (&json!("oggetto"), &json!("incoming"))
        );
        assert_eq!(found["annulledAt"], annulled["annulledAt"]);
    }
}

#[tokio::test]
async fn a_group_mixes_everything_and_reports_in_its_order() {
    for bench in Bench::each().await {
        let one = bench.queued("one").await;
        let two = bench.claimed("two").await;
        let outcomes = bench
            .all(&[
                Action::Mark { seq: one.seq, id: one.id, round: 1 },
                accept("three", &["route", "party:p"]),
                Action::Filter { seq: two.seq, fence: bench.fence(1) },
                Action::Settle {
                    seq: one.seq,
                    id: one.id,
                    round: 1,
                    subscriber: "route".into(),
                    route_digest: v(1),
                    filtered: false,
                    emits: vec![emission(one.id, "next"), emission(one.id, "other")],
                },
                Action::Due { limit: 3 },
                Action::Mark { seq: one.seq, id: one.id, round: 1 },
                accept("one", &["route"]),
            ])
            .await;
        assert_eq!(outcomes[0], Outcome::Matched);
        assert_eq!(created_of(&outcomes[1]).len(), 2);
        assert_eq!(outcomes[2], Outcome::Matched);
        assert_eq!(created_of(&outcomes[3]).len(), 2);
        assert_eq!(outcomes[4], Outcome::Moved(0));
        assert_eq!(outcomes[5], Outcome::Missed);
        assert!(matches!(outcomes[6], Outcome::Repeated { .. }));
    }
}

#[tokio::test]
async fn a_value_that_the_database_refuses_fails_alone() {
    let Some(bench) = Bench::postgres().await else { return };
    let nul = Action::Reject {
        source: "region".into(),
        key: key("n\0l"),
        digest: v(1),
        code: "SN0601".to_owned(),
    };
    let outcomes = bench.all(&[accept("a", &["r"]), nul, accept("b", &["r"])]).await;
    assert!(matches!(outcomes[0], Outcome::Accepted { .. }));
    assert!(matches!(outcomes[1], Outcome::Failed(_)), "{outcomes:?}");
    assert!(matches!(outcomes[2], Outcome::Accepted { .. }));
    assert_eq!(bench.total("r", "open").await, 2);
}

#[tokio::test]
async fn open_versions_are_those_that_rows_are_pinned_to() {
    for bench in Bench::each().await {
        for number in [1, 2] {
            let version =
                RouteVersion { digest: v(number), route: "route".to_owned(), bundle: "{}".into() };
            let twice = [version.clone(), version];
            bench.ledger.put_route_versions(&twice).await.expect("writes");
            bench.ledger.put_route_versions(&twice).await.expect("writes again");
        }
        let Created { seq, id } = bench.queued("a").await;
        let open = bench.ledger.open_route_versions().await.expect("readable");
        assert_eq!(open.iter().map(|version| version.digest).collect::<Vec<_>>(), [v(1)]);
        bench.one(hand_over(seq, id, 1)).await;
        assert!(bench.ledger.open_route_versions().await.expect("readable").is_empty());
    }
}

#[tokio::test]
async fn lists_are_by_state_subscriber_and_code() {
    for bench in Bench::each().await {
        let one = bench.parked("a").await;
        let two = bench.parked("b").await;
        let filter = snodo::ledger::Filter {
            states: vec![Parked],
            subscriber: Some("route".into()),
            code: Some("SN0701".to_owned()),
            after: 0,
            limit: 9,
        };
        let list = bench.ledger.list(&filter).await.expect("readable");
        assert_eq!(list.iter().map(|row| row.id).collect::<Vec<_>>(), [one.id, two.id]);
        let after = snodo::ledger::Filter { after: one.seq, ..filter.clone() };
        assert_eq!(bench.ledger.list(&after).await.expect("readable").len(), 1);
        let other = snodo::ledger::Filter { code: Some("SN0702".to_owned()), ..filter };
        assert!(bench.ledger.list(&other).await.expect("readable").is_empty());
        assert!(bench.ledger.lost(9).await.expect("readable").is_empty());
    }
}

#[tokio::test]
async fn claims_and_intents_are_found_by_their_process() {
    for bench in Bench::each().await {
        let Created { seq, .. } = bench.claimed("a").await;
        bench.one(bench.intent(seq, 1)).await;
        let claims = bench.ledger.claims_of(bench.me).await.expect("readable");
        assert_eq!(claims, vec![(seq, bench.fence(1))]);
        let intents = bench.ledger.intents_of(bench.me).await.expect("readable");
        assert_eq!(intents, vec![(seq, "call".to_owned(), bench.fence(1))]);
        let ages = bench.ledger.ages().await.expect("readable");
        assert_eq!(
            (ages.oldest_queued.get("route"), ages.oldest_open.get("route")),
            (None, Some(&NOON))
        );
    }
}

#[tokio::test]
async fn a_file_in_use_is_refused() {
    let bench = Bench::sqlite().await;
    let refused = open(&bench.settings).await.err().expect("refused").to_string();
    assert!(refused.starts_with("SN0831"), "{refused}");
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
}

#[tokio::test]
async fn a_ledger_that_a_newer_version_wrote_is_refused() {
    for mut bench in Bench::each().await {
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
            execution_time) VALUES (9999, 'later', true, '', 0)";
        sql(&bench, newer).await;
        if matches!(bench.settings.store, Store::Sqlite { .. }) {
            bench.shut().await;
        }
        let mut refused = String::new();
        // A test beside this one that is just starting a process has the lock with it until that has begun.
        for _ in 0..500 {
            refused = open(&bench.settings).await.err().expect("refused").to_string();
            if !refused.starts_with("SN0831") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(refused.starts_with("SN0833"), "{refused}");
        assert!(refused.contains("9999"), "{refused}");
    }
}

#[tokio::test]
async fn an_outage_is_one_line_and_gives_back_its_time() {
    for bench in Bench::each().await {
        let hour = |hours| NOON.after(Duration::from_hours(hours));
        let line = |since, code: &str| TargetAway {
            instance: "canteen".to_owned(),
            since,
            code: code.to_owned(),
            probe_at: since.after(Duration::from_secs(5)),
        };
        let away = line(NOON, "SN0760");
        bench.ledger.put_target_away(&away).await.expect("written");
        bench.ledger.put_target_away(&line(hour(1), "SN0723")).await.expect("written");
        let lines = bench.ledger.targets_away().await.expect("readable");
        assert_eq!(lines, std::slice::from_ref(&away));

        let probe = |now| bench.ledger.take_probe("canteen", now, hour(1));
        assert!(!probe(NOON).await.expect("written"), "it is not time");
        assert!(probe(away.probe_at).await.expect("written"));
        assert!(!probe(away.probe_at).await.expect("written"), "another has taken it");

        let Created { seq, .. } = bench.claimed("a").await;
        let back = Return {
            then: Then::Waiting(hour(1)),
            counts: true,
            give_up_at: Some(hour(10)),
            fault: None,
        };
        let (fence, intent) = (bench.fence(1), IntentFate::Kept);
        bench.one(Action::Verdict { seq, fence, step: None, intent, back }).await;
        let ends = |line: TargetAway, subscriber: &str| {
            let subscribers = [subscriber.into()];
            let ledger = &bench.ledger;
            async move { ledger.end_target_away(&line, hour(4), &subscribers).await.expect("ended") }
        };
        ends(line(hour(1), "SN0760"), "route").await;
        assert_eq!(bench.ledger.targets_away().await.expect("readable").len(), 1, "another one");
        let given_up = async || {
            let row = bench.ledger.row(seq).await.expect("readable").expect("there");
            row.give_up_at
        };
        assert_eq!(given_up().await, Some(hour(10)));
        ends(bench.ledger.targets_away().await.expect("readable")[0].clone(), "route").await;
        assert_eq!(given_up().await, Some(hour(14)));
        assert!(bench.ledger.targets_away().await.expect("readable").is_empty());
    }
}
