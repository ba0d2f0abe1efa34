//! The worlds that are explored: who is owed what, how many processes, which faults and how often.
//!
//! Invariant: every fault has a budget, so that each world is finite.

use crate::state::{Id, Kind};

/// Everything that a scenario may let happen, with a budget each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Fault {
    Crash,
    ConnLost,
    CommitFailed,
    AnswerLost,
    ConfirmLost,
    QueueLost,
    Unrouted,
    FarRefused,
    Timeout,
    LeaseExpired,
    FalseAlarm,
    Shutdown,
    Outage,
    Broken,
    Foreign,
    Reload,
    Replay,
    Discard,
    Resolve,
    PublishLost,
    PublisherEnds,
    Grace,
    HostDies,
    /// A copy comes of a time that the ledger, restored from a backup, has forgotten.
    Restored,
    /// The confirm of such a copy: the process lived through the restore (a failover that lost commits).
    RestoredSent,
}
pub const FAULTS: usize = 25;

/// One delivery that a scenario can bring into being.
#[derive(Clone, Debug)]
pub struct Def {
    pub name: &'static str,
    pub message: Option<usize>,
    /// Emitted by this delivery, when it runs under a version in the mask (1 = v1, 2 = v2).
    pub cause: Option<(Id, u8)>,
    /// Only used by a mutant that gives emitted deliveries random ids.
    pub spare: bool,
    pub fast: bool,
    /// By id. v1 runs them in this order.
    pub steps: &'static [Kind],
    /// The ids that v1 and v2 run; both empty: all of them, but v2's first step uses another operation.
    pub plans: [&'static [u8]; 2],
    pub ordered: bool,
    /// Its processing always kills the process.
    pub pill: bool,
    /// Its subscriber is a party: no consumer of ours, the confirm hands it over.
    pub party: bool,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub defs: Vec<Def>,
    pub messages: usize,
    pub procs: usize,
    pub max_attempts: u8,
    /// `x-delivery-limit`: a copy that returns more often goes to the poison queue.
    pub limit: u8,
    pub skip: bool,
    /// Publish, confirm and mark are one step (the scenarios about steps and order).
    pub plain_relay: bool,
    /// One process may work on two copies of a delivery at once (in four scenarios: it costs states).
    pub twins: bool,
    /// People look after what is uncertain: no uncertain delivery may rest.
    pub hands: bool,
    /// Copies of a forgotten time: their id, and the row that has their sequence now.
    pub forgotten: Vec<(Id, Id)>,
    pub faults: Vec<(Fault, u8)>,
}

fn def(name: &'static str, message: usize) -> Def {
    Def {
        name,
        message: Some(message),
        cause: None,
        spare: false,
        fast: false,
        steps: &[],
        plans: [&[], &[]],
        ordered: false,
        pill: false,
        party: false,
    }
}
fn fast(name: &'static str, message: usize) -> Def {
    Def { fast: true, ..def(name, message) }
}
fn effect(name: &'static str, message: usize, steps: &'static [Kind]) -> Def {
    Def { steps, ..def(name, message) }
}
fn emitted(name: &'static str, by: Id, versions: u8) -> Def {
    Def { message: None, cause: Some((by, versions)), fast: true, ..def(name, 0) }
}
fn party(name: &'static str, message: usize) -> Def {
    Def { party: true, ..def(name, message) }
}
fn world(
    name: &'static str,
    about: &'static str,
    defs: Vec<Def>,
    procs: usize,
    faults: &[(Fault, u8)],
) -> Scenario {
    let messages = defs.iter().filter_map(|d| d.message).max().map_or(0, |m| m + 1);
    let plain_relay =
        !defs.iter().any(|d| d.fast || d.party) && !matches!(name, "innocent" | "register");
    let twins = ["versions, steps", "stray", "random ids", "two: once"].contains(&name);
    Scenario {
        name,
        about,
        defs,
        messages,
        procs,
        max_attempts: 2,
        limit: 3,
        skip: false,
        plain_relay,
        twins,
        hands: false,
        forgotten: vec![],
        faults: faults.to_vec(),
    }
}

pub fn all() -> Vec<Scenario> {
    use Fault::*;
    use Kind::*;
    let chain = || vec![fast("F", 0), emitted("G", 0, 3)];
    let chain_and_effect = || vec![fast("F", 0), effect("E", 0, &[Ledger]), emitted("G", 0, 3)];
    let keyed = |steps: &'static [Kind]| {
        let mut v = vec![effect("O1", 0, steps), effect("O2", 1, steps)];
        v.iter_mut().for_each(|d| d.ordered = true);
        v
    };
    vec![
        world(
            "quiet",
            "no fault at all: every delivery has at most one copy",
            chain_and_effect(),
            1,
            &[],
        ),
        world(
            "fan-out",
            "accept, fast route that emits, effect route; crash, lost answers",
            chain_and_effect(),
            1,
            &[(Crash, 1), (AnswerLost, 1), (CommitFailed, 1)],
        ),
        world(
            "fast chain",
            "fast route feeds fast route; crashes, connection loss, lost confirms",
            chain(),
            1,
            &[(Crash, 2), (ConnLost, 1), (AnswerLost, 1), (CommitFailed, 1), (ConfirmLost, 1)],
        ),
        world(
            "fast retry",
            "a fast delivery fails, waits, parks, is replayed or discarded while stale copies travel",
            chain(),
            1,
            &[(Crash, 1), (ConnLost, 1), (Broken, 2), (ConfirmLost, 1), (Replay, 1), (Discard, 1)],
        ),
        world(
            "fast relays",
            "PostgreSQL: two processes relay and consume the same chain",
            chain(),
            2,
            &[(Crash, 1), (ConnLost, 1), (Broken, 1), (Grace, 1)],
        ),
        world(
            "queue lost",
            "a queue goes with its content; unrouted; the reconciler, right and wrong",
            chain(),
            1,
            &[(QueueLost, 2), (Unrouted, 1), (FalseAlarm, 1), (ConfirmLost, 1), (Crash, 1)],
        ),
        world(
            "poison pill",
            "a delivery that always kills the process, beside a healthy one",
            vec![Def { pill: true, ..fast("Pill", 0) }, fast("F", 0)],
            1,
            &[],
        ),
        Scenario {
            limit: 2,
            ..world(
                "innocent",
                "connection losses and shutdowns push a healthy delivery to the delivery limit",
                vec![effect("E", 0, &[Idempotent])],
                1,
                &[(ConnLost, 3), (Shutdown, 3), (FarRefused, 1)],
            )
        },
        world(
            "register",
            "ledger effect: two messages take numbers, then call an idempotent target",
            vec![effect("E1", 0, &[Ledger, Idempotent]), effect("E2", 1, &[Ledger])],
            1,
            &[(Crash, 1), (AnswerLost, 1), (CommitFailed, 1)],
        ),
        world(
            "idempotent",
            "effect by step key: crash, time-outs, refusals, outage, park, replay",
            vec![effect("E", 0, &[Idempotent])],
            1,
            &[
                (Crash, 1),
                (Timeout, 1),
                (FarRefused, 2),
                (Outage, 1),
                (ConnLost, 1),
                (AnswerLost, 1),
                (Replay, 1),
                (Discard, 1),
            ],
        ),
        world(
            "recallable",
            "effect that can be asked about: crash, time-outs, late acts, a register step after it",
            vec![effect("E", 0, &[Recallable, Ledger])],
            1,
            &[(Crash, 1), (Timeout, 1), (FarRefused, 1), (AnswerLost, 1), (CommitFailed, 1)],
        ),
        world(
            "once",
            "effect that can neither be asked nor repeated; a person resolves",
            vec![effect("E", 0, &[Once, Ledger])],
            1,
            &[
                (Crash, 1),
                (Timeout, 1),
                (FarRefused, 1),
                (AnswerLost, 1),
                (CommitFailed, 1),
                (Resolve, 2),
            ],
        ),
        world(
            "two: recallable",
            "PostgreSQL: a lease expires under a process that lives on (zombie)",
            vec![effect("E", 0, &[Recallable])],
            2,
            &[(Crash, 1), (Timeout, 1), (LeaseExpired, 2), (Resolve, 1)],
        ),
        world(
            "two: once",
            "PostgreSQL: as above with an effect that cannot be asked",
            vec![effect("E", 0, &[Once])],
            2,
            &[(Crash, 1), (Timeout, 1), (LeaseExpired, 2), (Resolve, 1)],
        ),
        world(
            "two: register",
            "PostgreSQL: two processes number two messages; zombies write late",
            vec![effect("E1", 0, &[Ledger, Idempotent]), effect("E2", 1, &[Ledger])],
            2,
            &[(LeaseExpired, 2), (Crash, 1)],
        ),
        Scenario {
            max_attempts: 1,
            ..world(
                "order hold",
                "two deliveries of one key; the first retries, parks, is replayed; queue loss",
                keyed(&[Idempotent]),
                1,
                &[(FarRefused, 1), (QueueLost, 1), (Crash, 1), (Replay, 1), (Discard, 1)],
            )
        },
        Scenario {
            max_attempts: 1,
            skip: true,
            ..world(
                "order skip",
                "the same with on_park: skip",
                keyed(&[Idempotent]),
                1,
                &[(FarRefused, 1), (QueueLost, 1), (Crash, 1), (Replay, 1)],
            )
        },
        world(
            "two: order",
            "PostgreSQL: two consumers during a failover, lease expiry, far side keeps the last write",
            keyed(&[Upsert]),
            2,
            &[(LeaseExpired, 1), (ConnLost, 1), (FarRefused, 1)],
        ),
        world(
            "versions",
            "reload between accept, run, park and replay; v1 and v2 emit other items",
            vec![fast("F", 0), emitted("G@v1", 0, 1), emitted("H@v2", 0, 2)],
            1,
            &[(Reload, 1), (Broken, 2), (Replay, 1), (ConnLost, 1), (Crash, 1)],
        ),
        world(
            "versions, steps",
            "a parked delivery with a done step is replayed after a reload",
            vec![effect("E", 0, &[Ledger, Idempotent])],
            1,
            &[(Reload, 1), (FarRefused, 2), (Replay, 2), (Crash, 1)],
        ),
        world(
            "step inserted",
            "as before, but v2 has the same steps and a new one before them",
            vec![Def {
                plans: [&[0, 1], &[2, 0, 1]],
                ..effect("E", 0, &[Ledger, Idempotent, Idempotent])
            }],
            1,
            &[(Reload, 1), (FarRefused, 2), (Replay, 2), (Crash, 1), (AnswerLost, 1), (Timeout, 1)],
        ),
        world(
            "stray",
            "copies of a delivery that the ledger does not know (foreign, or a restored backup)",
            vec![fast("F", 0), Def { message: None, ..fast("Foreign", 0) }],
            1,
            &[(Foreign, 2), (Crash, 1), (ConnLost, 1)],
        ),
        Scenario {
            // The id is unknown, or was written anew as another row; either has the sequence of a row that lives.
            forgotten: vec![(2, 0), (1, 0), (2, 1)],
            ..world(
                "restored",
                "a restored backup: sequences are given again, and copies of what is forgotten still travel",
                vec![
                    fast("F", 0),
                    emitted("G", 0, 3),
                    Def { message: None, ..fast("Forgotten", 0) },
                ],
                1,
                &[(Restored, 2), (Crash, 1), (ConnLost, 1)],
            )
        },
        Scenario {
            limit: 1,
            forgotten: vec![(1, 0)],
            ..world(
                "restored, effect",
                "the same where a claim is taken, up to the poison queue",
                vec![
                    effect("E", 0, &[Idempotent]),
                    Def { message: None, ..effect("Forgotten", 0, &[Idempotent]) },
                ],
                1,
                &[(Restored, 1), (Crash, 1), (ConnLost, 2)],
            )
        },
        Scenario {
            forgotten: vec![(2, 0), (2, 1)],
            ..world(
                "two: restored",
                "PostgreSQL: a failover that lost commits, while processes wait for the confirms of what is forgotten",
                vec![fast("F", 0), party("P", 1), Def { message: None, ..fast("Forgotten", 0) }],
                2,
                &[(RestoredSent, 2), (Crash, 1)],
            )
        },
        world(
            "random ids",
            "as fast chain, with room for a second emitted row",
            vec![fast("F", 0), emitted("G", 0, 3), Def { spare: true, ..emitted("G again", 0, 3) }],
            1,
            &[(Crash, 1), (ConnLost, 1)],
        ),
        world(
            "hand over",
            "a route feeds a party: publishes, confirms and queues are lost",
            vec![fast("F", 0), Def { party: true, fast: false, ..emitted("P", 0, 3) }],
            1,
            &[(Crash, 1), (ConfirmLost, 1), (PublishLost, 2), (QueueLost, 1), (AnswerLost, 1)],
        ),
        Scenario {
            max_attempts: 1,
            ..world(
                "two: hand over",
                "PostgreSQL: two relays hand over the same delivery; it parks for want of a queue, is discarded or replayed",
                vec![party("P", 0)],
                2,
                &[
                    (Crash, 1),
                    (ConfirmLost, 1),
                    (PublishLost, 1),
                    (Unrouted, 1),
                    (QueueLost, 1),
                    (Grace, 1),
                    (PublisherEnds, 1),
                    (Discard, 1),
                    (Replay, 1),
                ],
            )
        },
        world(
            "publisher",
            "who inserts publishes: it crashes or its task ends between commit and publish",
            chain(),
            1,
            &[(Crash, 2), (PublisherEnds, 2), (AnswerLost, 1), (ConfirmLost, 1), (CommitFailed, 1)],
        ),
        world(
            "two: publisher",
            "PostgreSQL: the same, and another relay takes over after a grace period or a void",
            chain(),
            2,
            &[(Crash, 2), (PublisherEnds, 1), (Grace, 1)],
        ),
        Scenario {
            plain_relay: true,
            ..world(
                "two: poison pill",
                "PostgreSQL: the other instance expires the claim before the start can void it",
                vec![Def { pill: true, ..fast("Pill", 0) }, fast("F", 0)],
                2,
                &[],
            )
        },
        Scenario {
            hands: true,
            ..world(
                "two: dead host",
                "a host dies for good under a recallable, then a once; people end what is uncertain",
                vec![effect("E", 0, &[Recallable, Once])],
                2,
                &[
                    (HostDies, 1),
                    (Timeout, 1),
                    (FarRefused, 1),
                    (LeaseExpired, 1),
                    (CommitFailed, 1),
                ],
            )
        },
    ]
}
