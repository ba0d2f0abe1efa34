//! Two processes on one PostgreSQL ledger.

use futures_util::future::{join, join_all};

use super::{bench::*, *};

async fn two() -> Option<(Bench, Arc<dyn Ledger>, IncarnationId)> {
    let bench = Bench::postgres().await?;
    let other = open(&bench.settings).await.expect("opens");
    let started = other.start("other", NOON).await.expect("starts");
    Some((bench, other, started.incarnation))
}

fn claims(rows: &[Created], incarnation: IncarnationId) -> Vec<Action> {
    let fence = Fence { incarnation, serial: 1 };
    let claim = |row: &Created| {
        let Created { seq, id } = *row;
        Action::Claim { seq, id, round: 1, fence, lease_until: at(60) }
    };
    rows.iter().map(claim).collect()
}

#[tokio::test]
async fn a_delivery_is_claimed_by_one_of_two_processes() {
    let Some((bench, other, them)) = two().await else { return };
    let mut rows = Vec::new();
    for number in 0..20 {
        rows.push(bench.queued(&format!("m{number}")).await);
    }
    for chunk in rows.chunks(5) {
        let (mine, theirs) = (claims(chunk, bench.me), claims(chunk, them));
        let theirs: Vec<Action> = theirs.into_iter().rev().collect();
        let (mine, theirs) =
            join(bench.ledger.commit(&mine, NOON), other.commit(&theirs, NOON)).await;
        let mine = mine.expect("commits, after deadlocks too");
        let theirs = theirs.expect("commits, after deadlocks too");
        for (mine, theirs) in mine.iter().zip(theirs.iter().rev()) {
            let claimed = |outcome: &Outcome| matches!(outcome, Outcome::Claimed(_));
            assert!(claimed(mine) != claimed(theirs), "{mine:?} {theirs:?}");
        }
    }
    bench.check().await;
}

#[tokio::test]
async fn totals_numbers_and_chains_hold_while_two_processes_write_at_once() {
    let Some((bench, other, _)) = two().await else { return };
    let write = |ledger: Arc<dyn Ledger>, me: &'static str| async move {
        for round in 0..15 {
            let actions: Vec<Action> = (0..4)
                .map(|number| accept(&format!("{me}{round}-{number}"), &["r", "s"]))
                .collect();
            ledger.commit(&actions, NOON).await.expect("commits");
        }
    };
    let lanes = [
        (Arc::clone(&bench.ledger), "a"),
        (Arc::clone(&bench.ledger), "b"),
        (Arc::clone(&other), "c"),
    ];
    join_all(lanes.map(|(ledger, me)| write(ledger, me))).await;
    bench.check().await;
    assert_eq!(bench.total("r", "open").await, 180);
    let heads = bench.ledger.heads().await.expect("readable");
    assert_eq!(heads.iter().map(|(_, n, _)| n).sum::<i64>(), 180);
    let findings = snodo::ledger::verify::verify(&*bench.ledger, &[]).await.expect("readable");
    assert_eq!(findings, vec![]);
}

#[tokio::test]
async fn two_processes_draw_from_one_register_without_a_gap() {
    let Some((bench, other, them)) = two().await else { return };
    let draw = |ledger: Arc<dyn Ledger>, me: IncarnationId, rows: Vec<Created>| async move {
        let fence = Fence { incarnation: me, serial: 1 };
        ledger.commit(&claims(&rows, me), NOON).await.expect("commits");
        for pair in rows.chunks(2) {
            let steps: Vec<Action> = pair
                .iter()
                .zip(["A", "B"])
                .map(|(row, aoo)| Action::LedgerStep {
                    seq: row.seq,
                    fence,
                    step: "s".to_owned(),
                    operation: "o".to_owned(),
                    route_digest: v(1),
                    effect: register_effect(aoo),
                    last: true,
                })
                .collect();
            ledger.commit(&steps, NOON).await.expect("commits");
        }
    };
    let mut rows = Vec::new();
    for number in 0..24 {
        rows.push(bench.queued(&format!("m{number}")).await);
    }
    let (mine, theirs) = rows.split_at(12);
    join(
        draw(Arc::clone(&bench.ledger), bench.me, mine.to_vec()),
        draw(Arc::clone(&other), them, theirs.to_vec()),
    )
    .await;
    bench.check().await;
    assert_eq!(bench.total("route", "completed").await, 24);
}

#[tokio::test]
async fn a_lapsed_lease_is_taken_back_and_its_intent_not_stopped() {
    let Some((bench, other, them)) = two().await else { return };
    let Created { seq, id } = bench.queued("a").await;
    for crash in 1..=3_u32 {
        let fence = Fence { incarnation: them, serial: u64::MAX };
        let claim = Action::Claim { seq, id, round: crash, fence, lease_until: at(60) };
        let intent = Action::Intent {
            seq,
            fence,
            step: "call".to_owned(),
            deadline: at(30),
            settles_within: Duration::from_mins(1),
        };
        other.commit(&[claim], NOON).await.expect("commits");
        other.commit(&[intent], NOON).await.expect("commits");
        let expire = |by| Action::Expire { by, limit: 9 };
        assert_eq!(bench.one_at(expire(bench.me), at(60)).await, Outcome::Moved(0));
        // Whoever holds it knows better, whatever the wall clock says.
        assert_eq!(bench.one_at(expire(them), at(3_600)).await, Outcome::Moved(0));
        assert_eq!(bench.one_at(expire(bench.me), at(61)).await, Outcome::Moved(1));
        let row = bench.row(seq).await;
        assert_eq!((row.crashes, row.round), (crash, crash + 1));
        assert_eq!(row.intents[0].stopped_at, None);
        assert_eq!(row.intents[0].fence, fence);
    }
    assert_eq!(bench.row(seq).await.state, DeliveryState::Parked);
}

#[tokio::test]
async fn a_start_voids_its_own_slot_only() {
    let Some((mut bench, other, them)) = two().await else { return };
    let mine = bench.claimed("mine").await.seq;
    let theirs = bench.queued("theirs").await;
    other.commit(&claims(std::slice::from_ref(&theirs), them), NOON).await.expect("commits");
    assert_eq!(bench.another("main").await.voided, 1);
    assert_eq!(bench.row(mine).await.state, DeliveryState::Queued);
    assert_eq!(bench.row(theirs.seq).await.state, DeliveryState::Claimed);
    bench.check().await;
}
