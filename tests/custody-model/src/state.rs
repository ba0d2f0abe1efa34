//! What a state of the world holds: ledger rows, copies in the broker, tasks in processes, the far side.
//!
//! Invariant: a state is a value: it holds no reference to what has happened before, so equal states have equal futures.

pub type Id = usize;

/// State of a delivery row. `Absent` means that the ledger has no such row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum St {
    Absent,
    Queued,
    Published,
    Claimed,
    Waiting,
    Behind,
    Parked,
    Uncertain,
    Completed,
    Discarded,
}

impl St {
    pub fn terminal(self) -> bool {
        matches!(self, St::Completed | St::Discarded)
    }
    pub fn open(self) -> bool {
        matches!(self, St::Queued | St::Published | St::Claimed | St::Waiting | St::Behind)
    }
    /// Which totals row counts this state; a guard never spans two of them.
    pub fn bucket(self) -> Option<usize> {
        match self {
            St::Absent => None,
            St::Parked => Some(PARKED),
            St::Uncertain => Some(UNCERTAIN),
            St::Completed => Some(COMPLETED),
            St::Discarded => Some(DISCARDED),
            _ => Some(OPEN),
        }
    }
}

pub const OPEN: usize = 0;
pub const PARKED: usize = 1;
pub const UNCERTAIN: usize = 2;
pub const COMPLETED: usize = 3;
pub const DISCARDED: usize = 4;
pub const DELIVERIES: usize = 5;
pub const RECEIVED: usize = 6;
pub const ACCEPTED: usize = 7;
pub type Totals = [i8; 8];

/// What an effect step is (design §8, "Effects declare what they are").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Ledger,
    Idempotent,
    /// Idempotent by overwriting: the far side keeps the last write.
    Upsert,
    Recallable,
    Once,
}

/// How far the far side can still change its mind about a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Age {
    /// The sender may still send.
    MaySend,
    /// The sender is known to have stopped; the far side may still act.
    Stopped,
    /// `settles_within` has passed since then: what has not acted never will.
    Settled,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Intent {
    pub age: Age,
    pub inc: u8,
    /// The claim that wrote it: an intent of an earlier claim is not mine, even in the same process.
    pub fence: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Row {
    pub st: St,
    /// Grows each time the row goes back to `Queued`; every copy carries it.
    pub round: u8,
    pub version: u8,
    pub fence: u8,
    pub inc: u8,
    /// How many steps are done: a guard. Which ones: by id; what runs next is the first of the plan without a row.
    pub step: u8,
    pub done: u8,
    /// The incarnation that inserted the row and publishes it at once; 0: any relay may.
    pub publisher: u8,
    pub intent: Option<Intent>,
    pub attempts: u8,
    /// Crashes under a claim, and whether it has come out of the poison queue: either makes it run alone.
    pub crashes: u8,
    pub suspect: bool,
    /// Place in its key's order, 0 when not ordered.
    pub ord: u8,
    pub number: u8,
    /// A later delivery of the key went ahead while this one was parked (`on_park: skip`).
    pub passed: bool,
    /// Real failures of its own: what entitles the bus to park.
    pub faults: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Place {
    Ready,
    Poison,
    Unrouted,
    /// To a party's queue, sent by this process (`LOOSE`: by one that is gone), not yet safe in the broker.
    Flight(u8),
    /// The broker's return of a mandatory publish that no queue took, on its way to this process.
    Returned(u8),
    /// In the party's queue, confirmed: the party's from now on.
    Party,
}
pub const LOOSE: u8 = 9;
/// No step is left.
pub const NO_STEP: u8 = 9;

/// A copy of a delivery in the broker, not held by a consumer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Copied {
    pub d: Id,
    /// The row that has its sequence: its own, but for a copy that a restored ledger has forgotten.
    pub seq: Id,
    pub round: u8,
    pub version: u8,
    pub count: u8,
    pub alone: bool,
    pub place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Phase {
    Arrived,
    /// Mutant only: the emitted deliveries are published, nothing is committed.
    Emitted,
    Claimed,
    Intended,
    Calling,
    RepliedOk,
    RepliedNo,
    TimedOut,
    /// Recall could not be believed: give the verdict `Waiting` or `Uncertain`.
    Unsure,
    /// Mutant only: an earlier delivery of the key was seen open, the row is not written yet.
    SawEarlier,
    /// The last commit's answer was lost: read the row before anything else.
    Unclear,
    /// The row is durable; only the ack is missing.
    Settled,
}

/// A consumer's work on one copy, inside one process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Task {
    pub p: usize,
    pub copy: Copied,
    pub wary: bool,
    /// The delivery tag is still good (its connection has not been lost).
    pub tagged: bool,
    pub phase: Phase,
    pub fence: u8,
    pub step: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Call {
    pub p: usize,
    pub fence: u8,
    pub step: u8,
    pub acted: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Far {
    /// How often the effect of step 0, 1, 2 has happened.
    pub applied: [u8; 3],
    /// A party: it has seen the message; its queue went with a copy that the broker had confirmed.
    pub seen: bool,
    pub lost_there: bool,
    pub calls: Vec<Call>,
}

/// A hold on a row of one's own insert; `dead` (mutant only): the task has ended and nobody has released it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Held {
    pub d: Id,
    pub round: u8,
    pub dead: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proc {
    pub up: bool,
    pub inc: u8,
    /// The earlier incarnation did not end cleanly: everything runs under a claim.
    pub wary: bool,
    /// Published and not yet confirmed: delivery and round.
    pub sent: Vec<(Id, u8)>,
    /// Published before the ledger was restored beneath it, not yet confirmed: the row that has its sequence
    /// now, and the round.
    pub forgotten: Vec<(Id, u8)>,
    /// Inserted by a task of this process that is about to publish: kept from the relay of the same process.
    pub own: Vec<Held>,
    /// Its host is dead: it never starts again.
    pub gone: bool,
    /// Mutant only: totals kept in memory.
    pub cache: Totals,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub told: Vec<bool>,
    pub accepted: Vec<bool>,
    /// Mutant only: the order numbers drawn before the commit.
    pub drawn: Vec<u8>,
    pub rows: Vec<Row>,
    pub totals: Totals,
    pub counter: u8,
    pub issued: Vec<(Id, u8)>,
    pub next_ord: u8,
    pub wire: Vec<Copied>,
    pub tasks: Vec<Task>,
    pub procs: Vec<Proc>,
    pub far: Vec<Far>,
    /// Highest order number that has taken effect, and that the far side holds.
    pub last_ord: u8,
    pub far_ord: u8,
    pub config: u8,
    pub stray: u8,
    pub budget: [u8; crate::scenarios::FAULTS],
    /// Things that must never happen and leave no other trace.
    pub bad: u16,
}

pub const BAD_TERMINAL: u16 = 1;
pub const BAD_ACK: u16 = 2;
pub const BAD_VERSION: u16 = 4;
pub const BAD_ORDER: u16 = 8;
pub const BAD_PARK: u16 = 16;
pub const BAD_KNOWN: u16 = 32;
