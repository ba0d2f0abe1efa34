//! The order of a key, as the ledger keeps it: numbers, who goes behind whom, who is woken.

use snodo_core::route::{OnPark, Place};

use super::{bench::*, *};
use DeliveryState::{Behind, Claimed as IsClaimed, Filtered, Parked, Queued};

const KEY: Digest = Digest([7; 32]);

/// A message whose delivery to `subscriber` belongs to the order of `key`.
fn in_order(sender_id: &str, subscriber: &str, key: Digest, on_park: OnPark) -> Action {
    let mut action = accept(sender_id, &[subscriber]);
    if let Action::Accept(accept) = &mut action {
        accept.deliveries[0].place = Some(Place { key, on_park });
    }
    action
}

impl Bench {
    /// So many deliveries of one key, in one group; their sequences.
    async fn queue_up(&self, names: &[&str], on_park: OnPark) -> Vec<i64> {
        let actions: Vec<_> =
            names.iter().map(|name| in_order(name, "route", KEY, on_park)).collect();
        let outcomes = self.all(&actions).await;
        outcomes.iter().flat_map(created_of).map(|created| created.seq).collect()
    }

    fn filter(&self, seq: i64) -> Action {
        Action::Filter { seq, fence: self.fence(seq.cast_unsigned()) }
    }

    async fn claim_as(&self, seq: i64, round: u32) -> Outcome {
        self.claim(seq, round, seq.cast_unsigned()).await
    }

    async fn to_wake(&self) -> Vec<i64> {
        let of_all = self.ledger.to_wake(None, 100).await.expect("readable");
        let of_key = self.ledger.to_wake(Some(("route", KEY)), 100).await.expect("readable");
        assert_eq!(of_all, of_key);
        of_all
    }

    async fn no(&self, seq: i64) -> Option<i64> {
        self.row(seq).await.turn.map(|turn| turn.no)
    }
}

#[tokio::test]
async fn numbers_follow_each_other_within_a_key_and_a_subscriber() {
    for bench in Bench::each().await {
        let other = Digest([8; 32]);
        let outcomes = bench
            .all(&[
                in_order("a", "route", KEY, OnPark::Hold),
                accept("plain", &["route"]),
                in_order("b", "route", other, OnPark::Hold),
                in_order("c", "route", KEY, OnPark::Hold),
                in_order("d", "elsewhere", KEY, OnPark::Hold),
            ])
            .await;
        let mut numbers = Vec::new();
        for outcome in &outcomes {
            numbers.push(bench.no(created_of(outcome)[0].seq).await);
        }
        assert_eq!(numbers, [Some(1), None, Some(1), Some(2), Some(1)]);
        let again = bench.one(in_order("a", "route", KEY, OnPark::Hold)).await;
        assert!(matches!(again, Outcome::Repeated { .. }));
        let next = bench.one(in_order("e", "route", KEY, OnPark::Hold)).await;
        assert_eq!(bench.no(created_of(&next)[0].seq).await, Some(3), "a repeat draws nothing");
    }
}

#[tokio::test]
async fn a_claim_goes_behind_an_earlier_open_delivery_and_is_woken_when_that_has_ended() {
    for bench in Bench::each().await {
        let seqs = bench.queue_up(&["a", "b", "c"], OnPark::Hold).await;
        let [a, b, c] = seqs[..] else { panic!("three") };
        // Both in one group: they look at what was there before it.
        let mut claims = Vec::new();
        for seq in [b, a] {
            let (id, fence) = (bench.row(seq).await.id, bench.fence(seq.cast_unsigned()));
            claims.push(Action::Claim { seq, id, round: 1, fence, lease_until: at(60) });
        }
        let outcomes = bench.all(&claims).await;
        assert_eq!(outcomes[0], Outcome::Behind);
        let claimed = claimed_of(outcomes[1].clone());
        assert_eq!(claimed.turn.map(|turn| (turn.key, turn.no)), Some((KEY, 1)));
        assert_eq!(bench.claim_as(c, 1).await, Outcome::Behind);
        assert_eq!((bench.state(b).await, bench.row(b).await.fence), ((Behind, 1), None));
        assert_eq!(bench.claim_as(b, 1).await, Outcome::Missed, "its copy has had its word");
        assert_eq!(bench.to_wake().await, Vec::<i64>::new());
        assert_eq!(bench.one(Action::Wake { seq: b }).await, Outcome::Missed);
        assert_eq!(bench.one(bench.filter(a)).await, Outcome::Matched);
        assert_eq!(bench.to_wake().await, [b], "c is behind b");
        let woken = bench.all(&[Action::Wake { seq: b }, Action::Wake { seq: c }]).await;
        assert_eq!(woken, [Outcome::Matched, Outcome::Missed]);
        assert_eq!(bench.state(b).await, (Queued, 2));
        assert!(matches!(bench.claim_as(b, 2).await, Outcome::Claimed(_)));
        assert_eq!(bench.state(b).await, (IsClaimed, 2));
        assert_eq!(bench.one(bench.filter(b)).await, Outcome::Matched);
        assert_eq!(bench.state(b).await, (Filtered, 2));
        assert_eq!(bench.to_wake().await, [c]);
    }
}

#[tokio::test]
async fn a_parked_delivery_holds_its_key_or_is_passed() {
    for (on_park, held) in [(OnPark::Hold, true), (OnPark::Skip, false)] {
        for bench in Bench::each().await {
            let seqs = bench.queue_up(&["a", "b"], on_park).await;
            let [a, b] = seqs[..] else { panic!("two") };
            let id = bench.row(a).await.id;
            let park = Action::FastVerdict {
                seq: a,
                id,
                round: 1,
                route_digest: v(1),
                back: back(Then::Parked),
            };
            assert_eq!(bench.one(park).await, Outcome::Matched);
            assert_eq!(bench.state(a).await, (Parked, 1));
            let outcome = bench.claim_as(b, 1).await;
            if held {
                assert_eq!(outcome, Outcome::Behind);
                assert_eq!(bench.to_wake().await, Vec::<i64>::new());
                assert_eq!(bench.one(Action::Discard { id, by: deed() }).await, Outcome::Matched);
                assert_eq!(bench.to_wake().await, [b]);
            } else {
                assert!(matches!(outcome, Outcome::Claimed(_)), "{outcome:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_emitted_belongs_to_its_order_too() {
    for bench in Bench::each().await {
        let cause = bench.queued("a").await;
        let mut emits = emission(cause.id, "route");
        emits.deliveries[0].place = Some(Place { key: KEY, on_park: OnPark::Hold });
        let settle = Action::Settle {
            seq: cause.seq,
            id: cause.id,
            round: 1,
            subscriber: "route".into(),
            route_digest: v(1),
            filtered: false,
            emits: vec![emits],
        };
        let created = created_of(&bench.one(settle).await);
        assert_eq!(bench.no(created[0].seq).await, Some(1));
        let keys = bench.ledger.queued(&[created[0].seq]).await.expect("readable");
        assert_eq!(keys[0].key, Some(KEY));
    }
}

#[tokio::test]
async fn writers_that_draw_from_the_same_keys_do_not_stop_each_other() {
    for bench in Bench::each().await {
        let keys: Vec<Digest> = (0..5).map(|n| Digest([n; 32])).collect();
        let group = |writer: usize, round: usize| -> Vec<Action> {
            let mut keys = keys.clone();
            if writer == 1 {
                keys.reverse();
            }
            let name = |key: &Digest| format!("w{writer} r{round} k{}", key.0[0]);
            keys.iter().map(|key| in_order(&name(key), "route", *key, OnPark::Hold)).collect()
        };
        let write = async |writer| {
            for round in 0..20 {
                let group = group(writer, round);
                let outcomes = bench.ledger.commit(&group, NOON).await.expect("commits");
                assert!(outcomes.iter().all(|of| matches!(of, Outcome::Accepted { .. })));
            }
        };
        futures_util::future::join(write(0), write(1)).await;
        bench.check().await;
        assert_eq!(bench.total("route", "open").await, 200);
    }
}
