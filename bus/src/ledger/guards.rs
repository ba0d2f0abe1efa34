//! The guards of the rule book (custody §b): one UPDATE per action's name, over all rows of a group.
//!
//! Invariant: what a guard does not match is not changed, and every later statement of the group works
//! on what the guards RETURNed only. Each guard can be switched off by its mutant's name (custody §e).

use snodo_core::{
    ids::{DeliveryId, Fence},
    message_state::DeliveryState,
    timestamp::Timestamp,
};

use super::{
    Action, Return, Then,
    statement::{
        Cell, Columns, Kind::Blob, Kind::Int, Kind::MaybeInt, Kind::Text, Rows, Statement,
    },
};
use crate::faults::off;

/// The name of a guarded action. Their order is the order in which a group applies them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Name {
    Mark,
    HandOver,
    Collect,
    HandBack,
    Settle,
    FastVerdict,
    Claim,
    Extend,
    Intent,
    LedgerStep,
    Done,
    Ask,
    Answer,
    Filter,
    Verdict,
    Wake,
    GiveBack,
    Reconcile,
    DrainUnrouted,
    DrainPoison,
    Replay,
    Discard,
    ResolveDone,
    ResolveNotDone,
}

/// Which delivery an action concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// By sequence.
    Seq(i64),
    /// By id.
    Id(DeliveryId),
}

/// The name and the delivery of a guarded action.
pub(super) fn guarded(action: &Action) -> Option<(Name, Target)> {
    use Target::{Id, Seq};
    Some(match action {
        Action::Mark { seq, .. } => (Name::Mark, Seq(*seq)),
        Action::HandOver { seq, .. } => (Name::HandOver, Seq(*seq)),
        Action::Collect { seq, .. } => (Name::Collect, Seq(*seq)),
        Action::HandBack { seq, .. } => (Name::HandBack, Seq(*seq)),
        Action::Settle { seq, .. } => (Name::Settle, Seq(*seq)),
        Action::FastVerdict { seq, .. } => (Name::FastVerdict, Seq(*seq)),
        Action::Claim { seq, .. } => (Name::Claim, Seq(*seq)),
        Action::Extend { seq, .. } => (Name::Extend, Seq(*seq)),
        Action::Intent { seq, .. } => (Name::Intent, Seq(*seq)),
        Action::LedgerStep { seq, .. } => (Name::LedgerStep, Seq(*seq)),
        Action::Done { seq, .. } => (Name::Done, Seq(*seq)),
        Action::Ask { seq, .. } => (Name::Ask, Seq(*seq)),
        Action::Answer { seq, .. } => (Name::Answer, Seq(*seq)),
        Action::Filter { seq, .. } => (Name::Filter, Seq(*seq)),
        Action::Verdict { seq, .. } => (Name::Verdict, Seq(*seq)),
        Action::Wake { seq } => (Name::Wake, Seq(*seq)),
        Action::GiveBack { seq, .. } => (Name::GiveBack, Seq(*seq)),
        Action::Reconcile { seq, .. } => (Name::Reconcile, Seq(*seq)),
        Action::DrainUnrouted { seq, .. } => (Name::DrainUnrouted, Seq(*seq)),
        Action::DrainPoison { seq, .. } => (Name::DrainPoison, Seq(*seq)),
        Action::Replay { id, .. } => (Name::Replay, Id(*id)),
        Action::Discard { id, .. } => (Name::Discard, Id(*id)),
        Action::ResolveDone { id, .. } => (Name::ResolveDone, Id(*id)),
        Action::ResolveNotDone { id, .. } => (Name::ResolveNotDone, Id(*id)),
        Action::Accept(_)
        | Action::Reject { .. }
        | Action::Due { .. }
        | Action::OwnEnd { .. }
        | Action::Expire { .. }
        | Action::Stray(_)
        | Action::DeclareDead { .. }
        | Action::Forget(_) => return None,
    })
}

/// The state from which a name's rows come, as far as the totals tell states apart.
pub(super) fn from_state(name: Name) -> DeliveryState {
    match name {
        Name::Replay | Name::Discard => DeliveryState::Parked,
        Name::ResolveDone | Name::ResolveNotDone => DeliveryState::Uncertain,
        _ => DeliveryState::Queued,
    }
}

/// The state to which an action moves its row, as far as the totals tell states apart.
pub(super) fn to_state(action: &Action) -> DeliveryState {
    use DeliveryState::{Completed, Discarded, Filtered, Queued};
    match action {
        Action::Settle { filtered, .. } => {
            if *filtered {
                Filtered
            } else {
                Completed
            }
        }
        Action::Filter { .. } => Filtered,
        Action::Discard { .. } => Discarded,
        Action::HandOver { .. }
        | Action::Collect { .. }
        | Action::Done { last: true, .. }
        | Action::ResolveDone { last: true, .. } => Completed,
        Action::HandBack { back, .. }
        | Action::FastVerdict { back, .. }
        | Action::Verdict { back, .. } => then_state(back.then),
        _ => Queued,
    }
}

fn then_state(then: Then) -> DeliveryState {
    match then {
        Then::Waiting(_) => DeliveryState::Waiting,
        Then::Parked => DeliveryState::Parked,
        Then::Uncertain => DeliveryState::Uncertain,
    }
}

/// What every guard RETURNs.
pub(super) const HIT: &str = " RETURNING seq, id, subscriber, route_digest";
/// What a claim RETURNs beside it.
const CLAIM_HIT: &str = " RETURNING seq, id, subscriber, route_digest, attempts, crashes, \
    give_up_at, steps, (SELECT count(*) FROM intent WHERE intent.delivery = delivery.seq), state, \
    order_key, order_no";

/// Whether an earlier delivery of the key of `row` comes first: one that is open, or, as the route
/// says, one that waits for a person.
pub(super) fn held(row: &str) -> String {
    format!(
        "{row}.order_key IS NOT NULL AND EXISTS (SELECT 1 FROM delivery AS earlier \
         WHERE earlier.subscriber = {row}.subscriber AND earlier.order_key = {row}.order_key \
         AND earlier.order_no < {row}.order_no AND earlier.state < {row}.held_below \
         AND earlier.state < 7)"
    )
}

/// "→ q": another round, without fence and publisher.
pub(super) const TO_QUEUED: &str = "state = 0, round = round + 1, incarnation = NULL, \
    serial = NULL, lease_until = NULL, publisher = NULL, next_at = NULL, changed_at = {0}";
/// Out of the claim.
const RELEASED: &str = "incarnation = NULL, serial = NULL, lease_until = NULL, publisher = NULL, \
    next_at = NULL, changed_at = {0}";
/// What a verdict writes.
const BACK: &str = "state = k_state, next_at = k_next, attempts = attempts + k_counts, \
    give_up_at = CASE WHEN k_counts = 1 THEN COALESCE(give_up_at, k_give_up) \
    ELSE COALESCE(k_give_up, give_up_at) END, fault = COALESCE(k_fault, fault), \
    incarnation = NULL, serial = NULL, lease_until = NULL, publisher = NULL, changed_at = {0}";

/// A copy, or its confirm, names its row by the id too: a restored ledger gives sequences again, and
/// what it has forgotten may still travel.
fn of_copy(name: Name) -> &'static str {
    let mutant = match name {
        Name::Mark | Name::HandOver | Name::HandBack => "mark-without-id",
        Name::Settle | Name::FastVerdict => "settle-without-id",
        Name::Claim => "claim-without-id",
        Name::DrainUnrouted | Name::DrainPoison => "drain-without-id",
        Name::Collect => return " AND id = k_id",
        _ => return "",
    };
    if off(mutant) { "" } else { " AND id = k_id" }
}

/// Whether the guard of a name compares all that its action says of the row: then it is enough to know
/// that every row matched.
pub(super) fn says_all(name: Name) -> bool {
    matches!(name, Name::Settle | Name::HandOver)
}

/// Custody of a round that is queued.
fn queued_round(unconditional: bool) -> &'static str {
    match (unconditional, off("mark-without-round")) {
        (true, _) => "",
        (false, true) => " AND state = 0",
        (false, false) => " AND state = 0 AND round = k_round",
    }
}

/// Custody of a round that may be with the broker.
const OUT_ROUND: &str = " AND state IN (0, 1) AND round = k_round";

/// Custody of a copy on the fast path.
fn fast() -> String {
    let state = if off("settle-without-guard") { "" } else { OUT_ROUND };
    let version = if off("settle-without-version") { "" } else { " AND route_digest = k_digest" };
    format!("{state}{version}")
}

/// What an action says of its row beside the version.
const OF_SUBSCRIBER: &str = " AND subscriber = k_subscriber";

/// Custody by fence.
fn mine(mutant: &str) -> &'static str {
    if off(mutant) || off("claim-without-fence") {
        " AND state = 2"
    } else {
        " AND state = 2 AND incarnation = k_incarnation AND serial = k_serial"
    }
}

const SEQ: Columns = &[("k_seq", Int)];
const SEQ_ROUND: Columns = &[("k_seq", Int), ("k_round", Int)];
const COPY_ROUND: Columns = &[("k_seq", Int), ("k_id", Blob), ("k_round", Int)];
const SEQ_FENCE: Columns = &[("k_seq", Int), ("k_incarnation", Int), ("k_serial", Int)];
const SEQ_FENCE_STEP: Columns =
    &[("k_seq", Int), ("k_incarnation", Int), ("k_serial", Int), ("k_step", Text)];
const SEQ_FENCE_LAST: Columns =
    &[("k_seq", Int), ("k_incarnation", Int), ("k_serial", Int), ("k_last", Int)];
const SEQ_FENCE_LEASE: Columns =
    &[("k_seq", Int), ("k_incarnation", Int), ("k_serial", Int), ("k_lease", Int)];
const CLAIM: Columns = &[
    ("k_seq", Int),
    ("k_id", Blob),
    ("k_round", Int),
    ("k_incarnation", Int),
    ("k_serial", Int),
    ("k_lease", Int),
];
const HAND_OVER: Columns =
    &[("k_seq", Int), ("k_id", Blob), ("k_round", Int), ("k_digest", Blob), ("k_subscriber", Text)];
const COLLECT: Columns =
    &[("k_seq", Int), ("k_id", Blob), ("k_round", Int), ("k_subscriber", Text)];
const SETTLE: Columns = &[
    ("k_seq", Int),
    ("k_id", Blob),
    ("k_round", Int),
    ("k_digest", Blob),
    ("k_subscriber", Text),
    ("k_state", Int),
];
const ROUND_BACK: Columns = &[
    ("k_seq", Int),
    ("k_id", Blob),
    ("k_round", Int),
    ("k_digest", Blob),
    ("k_state", Int),
    ("k_next", MaybeInt),
    ("k_counts", Int),
    ("k_give_up", MaybeInt),
    ("k_fault", Text),
];
const FENCE_BACK: Columns = &[
    ("k_seq", Int),
    ("k_incarnation", Int),
    ("k_serial", Int),
    ("k_state", Int),
    ("k_next", MaybeInt),
    ("k_counts", Int),
    ("k_give_up", MaybeInt),
    ("k_fault", Text),
];
const COPY_ROUND_AT: Columns = &[("k_seq", Int), ("k_id", Blob), ("k_round", Int), ("k_at", Int)];
const REPLAY: Columns = &[("k_id", Blob), ("k_from", Blob), ("k_onto", Blob)];
const ID: Columns = &[("k_id", Blob)];
const ID_LAST: Columns = &[("k_id", Blob), ("k_last", Int)];
const ID_STEP: Columns = &[("k_id", Blob), ("k_step", Text)];

/// The columns of a name's rows.
fn columns(name: Name) -> Columns {
    match name {
        Name::Mark | Name::DrainPoison => COPY_ROUND,
        Name::HandOver => HAND_OVER,
        Name::Collect => COLLECT,
        Name::Reconcile => SEQ_ROUND,
        Name::Wake => SEQ,
        Name::HandBack | Name::FastVerdict => ROUND_BACK,
        Name::Settle => SETTLE,
        Name::Claim => CLAIM,
        Name::Extend => SEQ_FENCE_LEASE,
        Name::LedgerStep => SEQ_FENCE_STEP,
        Name::Intent | Name::Filter | Name::GiveBack | Name::Ask | Name::Answer => SEQ_FENCE,
        Name::Done => SEQ_FENCE_LAST,
        Name::Verdict => FENCE_BACK,
        Name::DrainUnrouted => COPY_ROUND_AT,
        Name::Replay => REPLAY,
        Name::Discard => ID,
        Name::ResolveDone => ID_LAST,
        Name::ResolveNotDone => ID_STEP,
    }
}

/// What a name writes.
fn writes(name: Name) -> String {
    match name {
        Name::Mark => "state = 1, changed_at = {0}".to_owned(),
        Name::HandOver | Name::Collect => format!("state = 7, {RELEASED}"),
        Name::HandBack | Name::FastVerdict | Name::Verdict => BACK.to_owned(),
        Name::Settle => format!("state = k_state, {RELEASED}"),
        // To look and to go behind are one statement: else what was looked at may end in between.
        Name::Claim => {
            let held = if off("order-ignored") { "1 = 0".to_owned() } else { held("delivery") };
            let unless_held = |value: &str| format!("CASE WHEN {held} THEN NULL ELSE {value} END");
            format!(
                "state = CASE WHEN {held} THEN 4 ELSE 2 END, incarnation = {}, serial = {}, \
                 lease_until = {}, publisher = NULL, changed_at = {{0}}",
                unless_held("k_incarnation"),
                unless_held("k_serial"),
                unless_held("k_lease"),
            )
        }
        Name::Extend => "lease_until = k_lease".to_owned(),
        // Changes nothing but takes the row's lock, under which the fence stays true.
        Name::Intent | Name::LedgerStep | Name::Ask | Name::Answer => {
            "lease_until = lease_until".to_owned()
        }
        Name::Done => "state = CASE WHEN k_last = 1 THEN 7 ELSE 2 END, steps = steps + 1, \
            incarnation = CASE WHEN k_last = 1 THEN NULL ELSE incarnation END, \
            serial = CASE WHEN k_last = 1 THEN NULL ELSE serial END, \
            lease_until = CASE WHEN k_last = 1 THEN NULL ELSE lease_until END, \
            changed_at = CASE WHEN k_last = 1 THEN {0} ELSE changed_at END"
            .to_owned(),
        Name::Filter => format!("state = 8, {RELEASED}"),
        Name::Wake | Name::GiveBack | Name::Reconcile | Name::ResolveNotDone => {
            TO_QUEUED.to_owned()
        }
        Name::DrainUnrouted => {
            format!("state = 3, {RELEASED}").replace("next_at = NULL", "next_at = k_at")
        }
        Name::DrainPoison => format!("{TO_QUEUED}, suspect = 1"),
        Name::Replay => format!(
            "{TO_QUEUED}, route_digest = k_onto, attempts = 0, crashes = 0, give_up_at = NULL, \
             fault = NULL"
        ),
        Name::Discard => format!("state = 9, {RELEASED}"),
        Name::ResolveDone => format!(
            "state = CASE WHEN k_last = 1 THEN 7 ELSE 0 END, \
             round = CASE WHEN k_last = 1 THEN round ELSE round + 1 END, steps = steps + 1, {RELEASED}"
        ),
    }
}

/// The guard of a name.
fn guard(name: Name) -> String {
    match name {
        Name::Mark => queued_round(off("unconditional-mark")).to_owned(),
        Name::HandOver => format!(
            "{}{OF_SUBSCRIBER} AND route_digest = k_digest",
            queued_round(off("handed-over-without-guard"))
        ),
        Name::Collect => format!("{}{OF_SUBSCRIBER}", queued_round(off("collected-without-guard"))),
        Name::HandBack => " AND state = 0 AND round = k_round".to_owned(),
        Name::Settle => format!("{}{OF_SUBSCRIBER}", fast()),
        Name::FastVerdict => fast(),
        Name::Intent => mine("intent-without-fence").to_owned(),
        // A step that was done is not done again, whoever asks: its key is its step.
        Name::LedgerStep => format!(
            "{} AND NOT EXISTS (SELECT 1 FROM step_done WHERE step_done.delivery = delivery.seq \
             AND step_done.step = k_step)",
            mine("claim-without-fence")
        ),
        Name::Extend
        | Name::Done
        | Name::Ask
        | Name::Answer
        | Name::Filter
        | Name::Verdict
        | Name::GiveBack => mine("claim-without-fence").to_owned(),
        Name::Wake => format!(" AND state = 4 AND NOT ({})", held("delivery")),
        Name::Reconcile => " AND state = 1 AND round = k_round".to_owned(),
        // As a copy that left the queue without its row.
        Name::DrainPoison if off("poison-without-row") => " AND 1 = 0".to_owned(),
        Name::Claim | Name::DrainUnrouted | Name::DrainPoison => OUT_ROUND.to_owned(),
        Name::Replay if off("replay-unpinned") => " AND state = 5".to_owned(),
        Name::Replay => " AND state = 5 AND route_digest = k_from".to_owned(),
        Name::Discard => " AND state = 5".to_owned(),
        Name::ResolveDone => " AND state = 6".to_owned(),
        Name::ResolveNotDone if off("resolve-too-early") => " AND state = 6".to_owned(),
        Name::ResolveNotDone => " AND state = 6 AND NOT EXISTS (SELECT 1 FROM intent \
            WHERE intent.delivery = delivery.seq AND intent.step = k_step \
            AND (stopped_at IS NULL OR stopped_at + settles_within > {0}))"
            .to_owned(),
    }
}

/// The one statement for all rows of a name; it RETURNs the rows that matched, or nothing, where
/// to know how many is enough. Its only scalar is now.
pub(super) fn statement<'a>(
    name: Name,
    actions: impl Iterator<Item = &'a Action>,
    now: Timestamp,
    returns: bool,
) -> Statement<'a> {
    let mut rows = Rows::new(columns(name));
    for action in actions {
        push(&mut rows, action);
    }
    let key = if rows.columns[0].0 == "k_id" { "id = k_id" } else { "seq = k_seq" };
    let hit = match name {
        Name::Claim => CLAIM_HIT,
        _ if returns => HIT,
        _ => "",
    };
    let sql = format!(
        "UPDATE delivery SET {} FROM {{rows}} WHERE {key}{}{}{hit}",
        writes(name),
        of_copy(name),
        guard(name)
    );
    Statement::over(sql, vec![now.0.into()], rows)
}

fn push<'a>(rows: &mut Rows<'a>, action: &'a Action) {
    match action {
        Action::Wake { seq } => rows.push([(*seq).into()]),
        Action::Reconcile { seq, round } => rows.push([(*seq).into(), (*round).into()]),
        Action::Mark { seq, id, round } | Action::DrainPoison { id, seq, round } => {
            rows.push(of_round(*seq, id, *round));
        }
        Action::HandBack { seq, id, round, back } => {
            rows.push(returned(of_round(*seq, id, *round), &[0; 32], back));
        }
        Action::FastVerdict { seq, id, round, route_digest, back } => {
            rows.push(returned(of_round(*seq, id, *round), &route_digest.0, back));
        }
        Action::HandOver { seq, id, round, subscriber, route_digest } => {
            let [seq, id, round] = of_round(*seq, id, *round);
            rows.push([seq, id, round, (&route_digest.0).into(), (&**subscriber).into()]);
        }
        Action::Collect { seq, id, round, subscriber } => {
            let [seq, id, round] = of_round(*seq, id, *round);
            rows.push([seq, id, round, (&**subscriber).into()]);
        }
        Action::Settle { seq, id, round, subscriber, route_digest, .. } => {
            let state = i64::from(to_state(action) as u8).into();
            let [seq, id, round] = of_round(*seq, id, *round);
            let subscriber = (&**subscriber).into();
            rows.push([seq, id, round, (&route_digest.0).into(), subscriber, state]);
        }
        Action::Claim { seq, id, round, fence, lease_until } => {
            let [seq, id, round] = of_round(*seq, id, *round);
            let [incarnation, serial] = fenced(*fence);
            rows.push([seq, id, round, incarnation, serial, lease_until.0.into()]);
        }
        Action::Extend { seq, fence, lease_until } => {
            let [incarnation, serial] = fenced(*fence);
            rows.push([(*seq).into(), incarnation, serial, lease_until.0.into()]);
        }
        Action::LedgerStep { seq, fence, step, .. } => {
            let [incarnation, serial] = fenced(*fence);
            rows.push([(*seq).into(), incarnation, serial, step.as_str().into()]);
        }
        Action::Intent { seq, fence, .. }
        | Action::Ask { seq, fence, .. }
        | Action::Answer { seq, fence, .. }
        | Action::Filter { seq, fence }
        | Action::GiveBack { seq, fence } => {
            let [incarnation, serial] = fenced(*fence);
            rows.push([(*seq).into(), incarnation, serial]);
        }
        Action::Done { seq, fence, last, .. } => {
            let [incarnation, serial] = fenced(*fence);
            rows.push([(*seq).into(), incarnation, serial, (*last).into()]);
        }
        Action::Verdict { seq, fence, back, .. } => {
            let [incarnation, serial] = fenced(*fence);
            let [state, next, counts, give_up, fault] = back_cells(back);
            rows.push([(*seq).into(), incarnation, serial, state, next, counts, give_up, fault]);
        }
        Action::DrainUnrouted { id, seq, round, at } => {
            let [seq, id, round] = of_round(*seq, id, *round);
            rows.push([seq, id, round, at.0.into()]);
        }
        Action::Replay { id, from, onto, .. } => {
            rows.push([id.0.as_bytes().into(), (&from.0).into(), (&onto.0).into()]);
        }
        Action::Discard { id, .. } => rows.push([id.0.as_bytes().into()]),
        Action::ResolveDone { id, last, .. } => {
            rows.push([id.0.as_bytes().into(), (*last).into()]);
        }
        Action::ResolveNotDone { id, step, .. } => {
            rows.push([id.0.as_bytes().into(), step.as_str().into()]);
        }
        // Not guarded by a row of its own; `guarded` says so.
        _ => {}
    }
}

/// What names a copy: `k_seq`, `k_id`, `k_round`.
fn of_round(seq: i64, id: &DeliveryId, round: u32) -> [Cell<'_>; 3] {
    [seq.into(), id.0.as_bytes().into(), round.into()]
}

fn returned<'a>(copy: [Cell<'a>; 3], digest: &'a [u8; 32], back: &Return) -> [Cell<'a>; 9] {
    let [seq, id, round] = copy;
    let [state, next, counts, give_up, fault] = back_cells(back);
    [seq, id, round, digest.into(), state, next, counts, give_up, fault]
}

fn back_cells<'a>(back: &Return) -> [Cell<'a>; 5] {
    let next = if let Then::Waiting(at) = back.then { Some(at.0) } else { None };
    [
        i64::from(then_state(back.then) as u8).into(),
        next.into(),
        back.counts.into(),
        back.give_up_at.map(|at| at.0).into(),
        back.fault.as_ref().and_then(|fault| serde_json::to_string(fault).ok()).into(),
    ]
}

/// A fence in two columns; the serial's bits are kept, whatever its sign.
pub(super) fn fenced<'a>(fence: Fence) -> [Cell<'a>; 2] {
    [fence.incarnation.0.into(), fence.serial.cast_signed().into()]
}
