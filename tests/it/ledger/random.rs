//! Random actions in random groups: the queries of the rule book find nothing after any commit, and what
//! is reported is what the row says.

use proptest::prelude::*;

use super::{bench::*, *};

/// What a random action is made from.
#[derive(Clone, Debug)]
struct Draw {
    what: u8,
    seq: i64,
    round: u32,
    serial: u64,
    flag: bool,
    name: u8,
}

fn draws() -> impl Strategy<Value = Vec<Vec<Draw>>> {
    let draw = (0..22_u8, 1..7_i64, 1..4_u32, 1..3_u64, any::<bool>(), 0..6_u8).prop_map(
        |(what, seq, round, serial, flag, name)| Draw { what, seq, round, serial, flag, name },
    );
    prop::collection::vec(prop::collection::vec(draw, 1..10), 1..24)
}

fn back_of(draw: &Draw) -> Return {
    let then = if draw.name.is_multiple_of(2) { Then::Waiting(at(1)) } else { Then::Parked };
    Return { then, counts: draw.flag, give_up_at: Some(at(9)), fault: Some(fault()) }
}

/// Whose delivery it is, of those that `action` makes.
fn subscriber_of(id: DeliveryId) -> snodo::ledger::Subscriber {
    let accepted = (0..6_u8).flat_map(|name| ["r", "s"].map(|to| (id_of(&format!("m{name}")), to)));
    let mut accepted = accepted.filter(|(message, to)| DeliveryId::derived(*message, to) == id);
    accepted.next().map_or("next", |(_, to)| to).into()
}

fn action(bench: &Bench, draw: &Draw, ids: &[DeliveryId]) -> Action {
    let Draw { seq, round, flag, .. } = *draw;
    let fence = bench.fence(draw.serial);
    let route_digest = v(1);
    let id = usize::try_from(seq).ok().and_then(|seq| ids.get(seq - 1)).copied();
    let id = id.unwrap_or_else(|| DeliveryId::derived(id_of("nobody"), "r"));
    let emits = if flag { vec![emission(id, "next")] } else { vec![] };
    match draw.what {
        0 | 1 => accept(&format!("m{}", draw.name), &["r", "s"][..=usize::from(flag)]),
        2 => Action::Mark { seq, id, round },
        3 if flag => Action::Collect { seq, id, round, subscriber: subscriber_of(id) },
        3 => Action::HandOver { seq, id, round, subscriber: subscriber_of(id), route_digest },
        4 => Action::HandBack { seq, id, round, back: back_of(draw) },
        5 => {
            let subscriber = subscriber_of(id);
            Action::Settle { seq, id, round, subscriber, route_digest, filtered: false, emits }
        }
        6 => Action::FastVerdict { seq, id, round, route_digest, back: back_of(draw) },
        7 | 8 => Action::Claim { seq, id, round, fence, lease_until: at(60) },
        9 => bench.intent(seq, draw.serial),
        10 => Action::LedgerStep {
            seq,
            fence,
            step: "register".to_owned(),
            operation: "protocollo.register".to_owned(),
            route_digest,
            effect: register_effect(if flag { "A" } else { "B" }),
            last: draw.name == 0,
        },
        11 => Action::Done {
            seq,
            fence,
            done: step("call"),
            emits: if draw.name == 0 { emits } else { vec![] },
            fact: None,
            last: draw.name == 0,
        },
        12 => Action::Verdict {
            seq,
            fence,
            step: Some("call".to_owned()),
            intent: [IntentFate::Gone, IntentFate::Stopped, IntentFate::Kept]
                [usize::from(draw.name) % 3],
            back: if flag {
                Return { then: Then::Uncertain, counts: false, give_up_at: None, fault: None }
            } else {
                back_of(draw)
            },
        },
        13 => Action::Due { limit: round },
        14 => Action::GiveBack { seq, fence },
        15 => Action::OwnEnd { seq, step: "call".to_owned(), fence },
        16 => Action::Reconcile { seq, round },
        17 => Action::DrainUnrouted { id, seq, round, at: at(2) },
        18 => Action::DrainPoison { id, seq, round },
        19 => Action::Replay { id, from: v(1), onto: v(1), by: deed() },
        20 => Action::ResolveNotDone { id, step: "call".to_owned(), by: deed() },
        _ => Action::ResolveDone { id, done: step("call"), last: flag, by: deed() },
    }
}

async fn ids(bench: &Bench) -> Vec<DeliveryId> {
    let filter = snodo::ledger::Filter { limit: 99, ..Default::default() };
    let rows = bench.ledger.list(&filter).await.expect("readable");
    rows.into_iter().map(|row| row.id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_groups_breaks_an_invariant(groups in draws()) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let bench = Bench::sqlite().await;
            for (index, group) in groups.iter().enumerate() {
                let ids = ids(&bench).await;
                let actions: Vec<Action> =
                    group.iter().map(|draw| action(&bench, draw, &ids)).collect();
                let now = at(i64::try_from(index).unwrap_or(0) * 7);
                let outcomes = bench.all_at(&actions, now).await;
                for (action, outcome) in actions.iter().zip(&outcomes) {
                    if let (Action::Settle { seq, .. }, Outcome::Settled { .. }) = (action, outcome) {
                        assert!(bench.row(*seq).await.state.bucket().is_final());
                    }
                    assert!(!matches!(outcome, Outcome::Failed(_)), "{action:?} {outcome:?}");
                }
            }
            let findings = snodo::ledger::verify::verify(&*bench.ledger, &[]).await;
            assert_eq!(findings.expect("readable"), vec![]);
        });
    }
}
