//! The ledger: who is owed what. Every action of the custody rule book, by its name.
//!
//! Invariant: a group of actions is one transaction; an action reports per item and never fails for
//! another; a guard that matches nothing is an outcome (`Missed`), not an error.
//! The only home of `sqlx` is below this module.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use snodo_core::{
    adapter::{BoxFuture, Cursor, Evidence},
    document::DocumentKey,
    envelope::{IdempotencyKey, Message},
    facts::known::Put,
    fault::Fault,
    ids::{DeliveryId, Digest, Fence, IncarnationId, MessageId},
    message_state::{Bucket, DeliveryState},
    register::LedgerEffect,
    retention::{Kept, Next},
    route::Place,
    timestamp::Timestamp,
};

mod apply;
mod books;
pub mod chain;
pub mod compare;
mod condition;
mod database;
pub mod documents;
mod facts;
mod forget;
mod guards;
pub mod open;
mod order;
mod postgres;
pub mod prove;
mod read;
mod registers;
mod seam;
pub mod slot;
mod sqlite;
mod statement;
mod store;
mod targets;
pub mod verify;
pub mod writer;

pub use facts::{Disclosure, FactRows, NewAnswer, NewQuestion, Outdated, Usages};
pub use open::{OpenError, Settings, Store, open};
pub use writer::{GroupWriter, WriterOptions, WriterStats};

/// Who is owed a delivery: a route's name, or `party:<id>`. Also the label of the metrics.
pub type Subscriber = Arc<str>;

/// A delivery to be created with its message.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// Derived from message and subscriber.
    pub id: DeliveryId,
    /// Who is owed it.
    pub subscriber: Subscriber,
    /// The version it is pinned to; zero for a party.
    pub route_digest: Digest,
    /// Whether the inserting process publishes it itself: it has put (id, round 1) into its set.
    pub held: bool,
    /// To which order it belongs; the commit draws its number.
    pub place: Option<Place>,
}

/// A message that a route emits, with its deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct Emission {
    /// The message; its id is derived.
    pub message: Arc<Message>,
    /// One per subscriber.
    pub deliveries: Vec<NewDelivery>,
    /// The documents that it cites.
    pub documents: Vec<DocumentKey>,
    /// What it makes out of date.
    pub outdates: Option<Box<Outdated>>,
}

/// A message from outside, to be taken into custody.
#[derive(Clone, Debug, PartialEq)]
pub struct Accept {
    /// The message under the bus's own id.
    pub message: Arc<Message>,
    /// (party, source, the sender's id).
    pub key: IdempotencyKey,
    /// Digest of type, subject and canonical data: "the same body".
    pub digest: Digest,
    /// The label under which the source is counted.
    pub source: Subscriber,
    /// One per subscriber.
    pub deliveries: Vec<NewDelivery>,
    /// The documents that it cites: one that is not there any more refuses the accept.
    pub documents: Vec<DocumentKey>,
    /// Where its source has read up to.
    pub cursor: Option<Cursor>,
    /// What it makes out of date.
    pub outdates: Option<Box<Outdated>>,
}

/// What becomes of a claimed or fast delivery that did not get through.
#[derive(Clone, Debug, PartialEq)]
pub struct Return {
    /// The state it goes to.
    pub then: Then,
    /// Whether it counts as an attempt.
    pub counts: bool,
    /// Set where the row has none yet, and moved on by an outage.
    pub give_up_at: Option<Timestamp>,
    /// What went wrong; none for a delivery that only waits (a recall not settled yet).
    pub fault: Option<Fault>,
}

/// Where a verdict sends a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Until its time.
    Waiting(Timestamp),
    /// For a person.
    Parked,
    /// For a person or a receipt.
    Uncertain,
}

/// What a verdict does to the intent of the step that it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentFate {
    /// The far side answered, or nothing was sent: no intent remains.
    Gone,
    /// The sender has stopped now; what the call did is not known.
    Stopped,
    /// As it is.
    Kept,
}

/// A step that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct StepDone {
    /// The step's id.
    pub step: String,
    /// `instance.operation`, or `emit:<type>`.
    pub operation: String,
    /// Its result: what `$steps.<id>` reads.
    pub result: Value,
    /// The version that ran it.
    pub route_digest: Digest,
    /// The far side's id.
    pub reference: Option<String>,
    /// Digests of request and answer.
    pub evidence: Option<Evidence>,
}

/// One action of the rule book (custody §b). Times are the caller's: the ledger reads no clock.
///
/// What a copy or its confirm asks for names the row by sequence and id: a ledger that was restored from
/// a backup gives sequences again, and a copy of what it has forgotten must not pass for another row's.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// accept. → `Accepted` or `Repeated`.
    Accept(Box<Accept>),
    /// An identified party's message refused for its content: counted, with an event. → `Matched`.
    Reject {
        /// The label of the source.
        source: Subscriber,
        /// Who sent it.
        key: IdempotencyKey,
        /// Digest of the raw body.
        digest: Digest,
        /// `SN06nn`.
        code: String,
    },
    /// mark: queued and this round → published. → `Matched` or `Missed`.
    Mark {
        /// The delivery.
        seq: i64,
        /// And its id.
        id: DeliveryId,
        /// The round of the confirmed copy.
        round: u32,
    },
    /// hand over: a party's queue holds it: queued and this round → completed. → `Matched` or `Missed`.
    HandOver {
        /// The delivery.
        seq: i64,
        /// And its id.
        id: DeliveryId,
        /// The round of the confirmed copy.
        round: u32,
        /// The party.
        subscriber: Subscriber,
        /// What the delivery is pinned to.
        route_digest: Digest,
    },
    /// hand over, by the party's own ack: queued, this round, this party's → completed; the event names
    /// the party. → `Matched` or `Missed`.
    Collect {
        /// The delivery.
        seq: i64,
        /// And its id.
        id: DeliveryId,
        /// The round in which it lay in the inbox.
        round: u32,
        /// The party.
        subscriber: Subscriber,
    },
    /// hand over, returned or nacked: queued and this round → waiting or parked, attempts + 1.
    HandBack {
        /// The delivery.
        seq: i64,
        /// And its id.
        id: DeliveryId,
        /// The round of the returned copy.
        round: u32,
        /// What becomes of it.
        back: Return,
    },
    /// fast settle: queued or published, this round, this version → completed (with what it emits) or
    /// filtered (then `emits` is empty). → `Settled` or `Missed`.
    Settle {
        /// The delivery.
        seq: i64,
        /// And its id.
        id: DeliveryId,
        /// The copy's round.
        round: u32,
        /// The route.
        subscriber: Subscriber,
        /// The copy's version.
        route_digest: Digest,
        /// Completed, or filtered.
        filtered: bool,
        /// What it emits.
        emits: Vec<Emission>,
    },
    /// fast verdict: the same guard → waiting or parked. → `Matched` or `Missed`.
    FastVerdict {
        /// The delivery.
        seq: i64,
        /// And its id.
        id: DeliveryId,
        /// The copy's round.
        round: u32,
        /// The copy's version.
        route_digest: Digest,
        /// What becomes of it.
        back: Return,
    },
    /// claim: queued or published and this round → claimed; behind, where an earlier delivery of its key
    /// is open (or, where the route says so, waits for a person). → `Claimed`, `Behind` or `Missed`.
    Claim {
        /// The delivery.
        seq: i64,
        /// And its id.
        id: DeliveryId,
        /// The copy's round.
        round: u32,
        /// Chosen before the commit.
        fence: Fence,
        /// On the ledger's wall clock; judged by other processes only.
        lease_until: Timestamp,
    },
    /// A longer lease for a claim that still stands. → `Matched` or `Missed`.
    Extend {
        /// The delivery.
        seq: i64,
        /// Mine.
        fence: Fence,
        /// The new end.
        lease_until: Timestamp,
    },
    /// intent: before a recallable or once call. → `Matched` or `Missed`.
    Intent {
        /// The delivery.
        seq: i64,
        /// Mine.
        fence: Fence,
        /// The step.
        step: String,
        /// When the call is over at the latest.
        deadline: Timestamp,
        /// How long after its sender has stopped it may still act.
        settles_within: Duration,
    },
    /// ledger step: applies the effect and completes the step in one. → `Done` or `Missed` or `Refused`.
    LedgerStep {
        /// The delivery.
        seq: i64,
        /// Mine.
        fence: Fence,
        /// The step; its result is the effect's.
        step: String,
        /// `instance.operation`.
        operation: String,
        /// The version that runs it.
        route_digest: Digest,
        /// What to apply.
        effect: LedgerEffect,
        /// Whether it is the last step: then the delivery is completed.
        last: bool,
    },
    /// done: step_done, the intent gone; an emit step's messages with it; the last one completes.
    /// → `Done` or `Missed`.
    Done {
        /// The delivery.
        seq: i64,
        /// Mine.
        fence: Fence,
        /// The step.
        done: StepDone,
        /// What the step emits.
        emits: Vec<Emission>,
        /// What it writes of a fact.
        fact: Option<Box<FactRows>>,
        /// Whether it is the last step.
        last: bool,
    },
    /// ask: a question is put under its number, by one claim at a time.
    /// → `Asked`, `Answered`, `AskedElsewhere`, `NotToday` or `Missed`.
    Ask {
        /// The delivery.
        seq: i64,
        /// Mine.
        fence: Fence,
        /// The question.
        question: Box<NewQuestion>,
    },
    /// An answer with which the step is not done: the delivery will wait for a person.
    /// → `Matched` or `Missed`.
    Answer {
        /// The delivery.
        seq: i64,
        /// Mine.
        fence: Fence,
        /// The answer, and who is told of it.
        fact: Box<FactRows>,
    },
    /// A claimed delivery whose `when` says no. → `Matched` or `Missed`.
    Filter {
        /// The delivery.
        seq: i64,
        /// Mine.
        fence: Fence,
    },
    /// verdict of a claimed delivery. → `Matched` or `Missed`.
    Verdict {
        /// The delivery.
        seq: i64,
        /// Mine.
        fence: Fence,
        /// The step that it ended, if one was under way.
        step: Option<String>,
        /// What becomes of that step's intent.
        intent: IntentFate,
        /// What becomes of the delivery.
        back: Return,
    },
    /// due: waiting, its time come, no unsettled intent → queued. At most `limit`. → `Moved`.
    Due {
        /// How many at most.
        limit: u32,
    },
    /// wake: behind, and no earlier delivery of its key holds it any more → queued. → `Matched`/`Missed`.
    Wake {
        /// The delivery.
        seq: i64,
    },
    /// give back: claimed with this fence, whose task has ended → queued; its own intent is stopped.
    GiveBack {
        /// The delivery.
        seq: i64,
        /// The fence of the ended task.
        fence: Fence,
    },
    /// own end: an intent of a task of mine that has ended after it lost its claim. → `Matched`/`Missed`.
    OwnEnd {
        /// The delivery.
        seq: i64,
        /// The step.
        step: String,
        /// The fence of the ended task.
        fence: Fence,
    },
    /// expire: claimed by another process and its lease over → queued, crashes + 1, at 3 parked
    /// (PostgreSQL). A process that lives needs no lease to know of its own claims, so that a wall clock
    /// that is set ahead ends none of them. → `Moved`.
    Expire {
        /// The process that looks.
        by: IncarnationId,
        /// How many at most.
        limit: u32,
    },
    /// reconcile: published, this round, provably lost → queued. → `Matched` or `Missed`.
    Reconcile {
        /// The delivery.
        seq: i64,
        /// The round that was marked.
        round: u32,
    },
    /// drain unrouted: queued or published, this round → waiting. → `Matched` or `Missed` or `Unknown`.
    DrainUnrouted {
        /// The delivery.
        id: DeliveryId,
        /// And its sequence.
        seq: i64,
        /// The copy's round.
        round: u32,
        /// When it is tried again.
        at: Timestamp,
    },
    /// drain poison: the same → queued, suspect. → `Matched` or `Missed` or `Unknown`.
    DrainPoison {
        /// The delivery.
        id: DeliveryId,
        /// And its sequence.
        seq: i64,
        /// The copy's round.
        round: u32,
    },
    /// stray: nobody knows this id. → `Matched`.
    Stray(Box<Stray>),
    /// replay: parked → queued on `onto`, attempts and crashes 0. → `Matched` or `Missed`.
    Replay {
        /// The delivery.
        id: DeliveryId,
        /// The version the row must still name.
        from: Digest,
        /// The version it will run on.
        onto: Digest,
        /// Who, why.
        by: Deed,
    },
    /// discard: parked → discarded. → `Matched` or `Missed`.
    Discard {
        /// The delivery.
        id: DeliveryId,
        /// Who, why.
        by: Deed,
    },
    /// resolve done: uncertain → the step is done; queued, or completed with the last. → `Matched`/`Missed`.
    ResolveDone {
        /// The delivery.
        id: DeliveryId,
        /// The step, as a person or a receipt says it went.
        done: StepDone,
        /// Whether it is the last step.
        last: bool,
        /// Who, why.
        by: Deed,
    },
    /// resolve not done: uncertain and its intent settled → queued. → `Matched`, `Missed`, `TooEarly`.
    ResolveNotDone {
        /// The delivery.
        id: DeliveryId,
        /// The step.
        step: String,
        /// Who, why.
        by: Deed,
    },
    /// declare dead: an incarnation without end is ended by a person; its intents are stopped.
    DeclareDead {
        /// Which.
        incarnation: IncarnationId,
        /// Who, why.
        by: Deed,
    },
    /// forget: one turn of retention; of what is asked, only what nobody is owed any more. → `Forgotten`.
    Forget(Box<Forget>),
}

/// One turn of retention.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forget {
    /// Messages, by sequence, with what becomes of them.
    pub messages: Vec<(i64, Next)>,
    /// The last of the new ones among them.
    pub walked: Option<i64>,
    /// Keys, versions and settled strays that were not used since; none: this turn leaves them.
    pub rest_before: Option<Timestamp>,
    /// Keys of orders.
    pub keys: Vec<IdleKey>,
    /// Versions that this process runs.
    pub running: Vec<Digest>,
}

/// The key of an order that nobody has used for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleKey {
    /// The route.
    pub subscriber: Subscriber,
    /// The digest of the key.
    pub key: Digest,
}

/// How many rows of what retention has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Bodies.
    pub bodies: u64,
    /// Results of steps: emptied, the step stays.
    pub results: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Messages.
    pub messages: u64,
    /// Keys of orders.
    pub keys: u64,
    /// Versions of routes.
    pub versions: u64,
    /// Strays.
    pub strays: u64,
    /// Values of facts that are fresh no more: emptied, the question stays.
    pub values: u64,
    /// Questions to authorities.
    pub questions: u64,
    /// Disclosures.
    pub disclosures: u64,
}

impl Forgotten {
    /// Whether the turn took as much as it may of something that belongs to no message.
    pub fn is_full(&self) -> bool {
        let Self { strays, values, questions, disclosures, .. } = *self;
        [strays, values, questions, disclosures].iter().any(|rows| *rows >= forget::TURN.into())
    }
}

/// Who did what a person did, and why. Written with the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// The operating system's user, or the party of a receipt.
    pub actor: String,
    /// In the person's words.
    pub reason: String,
}

/// A message in our queues that no row knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Stray {
    /// What it called itself, if it did.
    pub id: Option<DeliveryId>,
    /// The queue in which it lay.
    pub queue: String,
    /// Its headers.
    pub headers: Value,
    /// Its body.
    pub body: bytes::Bytes,
}

/// A delivery that was created, for the process that publishes it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: DeliveryId,
    /// Its sequence.
    pub seq: i64,
}

/// What an action did, one per action and in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The guard held; the row is changed.
    Matched,
    /// No row matched: another round or fence has custody.
    Missed,
    /// No row has this id and sequence.
    Unknown,
    /// Taken into custody.
    Accepted {
        /// The rows created.
        created: Vec<Created>,
    },
    /// This key was accepted before: the first answer.
    Repeated {
        /// The message of the first answer.
        id: MessageId,
        /// Its digest; another one means another body.
        digest: Digest,
    },
    /// The fast settle held, and what it emits exists now.
    Settled {
        /// The rows created.
        created: Vec<Created>,
    },
    /// The claim is mine.
    Claimed(Box<Claimed>),
    /// An earlier delivery of its key comes first.
    Behind,
    /// The step is done.
    Done {
        /// The step's result (of a ledger effect: what the commit drew).
        result: Value,
        /// The rows created.
        created: Vec<Created>,
    },
    /// The ledger's effect said no (annul or lookup of what is not there); nothing was written.
    Refused {
        /// A short code, e.g. `not_found`.
        reason: String,
    },
    /// The question is mine to ask.
    Asked {
        /// Under this number.
        number: u64,
        /// When it was put first.
        at: Timestamp,
        /// Under which case it was put first.
        case: String,
    },
    /// Somebody else asks the same for the same purpose.
    AskedElsewhere {
        /// Since when.
        since: Timestamp,
    },
    /// It was answered meanwhile.
    Answered,
    /// The questions of the day are used up.
    NotToday,
    /// How many rows a sweep moved.
    Moved(u64),
    /// What a turn of retention removed.
    Forgotten(Forgotten),
    /// A person's `not done` before the call has settled; when it will have, if that is known.
    TooEarly {
        /// The moment from which it will be believed.
        at: Option<Timestamp>,
    },
    /// The database refuses a value of this action; nothing of it was written, the rest of its group
    /// was. In words without data.
    Failed(String),
}

/// What a claimant learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The version to which the row is pinned.
    pub route_digest: Digest,
    /// Results of the done steps, by step id.
    pub done: Map<String, Value>,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Crashes counted in the row.
    pub crashes: u32,
    /// When it is given up; none before its first fault.
    pub give_up_at: Option<Timestamp>,
    /// Its place, where it belongs to an order.
    pub turn: Option<Turn>,
    /// Calls whose outcome is not known.
    pub intents: Vec<OpenIntent>,
}

/// The place of a delivery among those of its route and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The digest of the key.
    pub key: Digest,
    /// Its number, in the order of acceptance; there may be gaps.
    pub no: i64,
}

/// A call whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIntent {
    /// The step.
    pub step: String,
    /// The claim that wrote it.
    pub fence: Fence,
    /// When its sender was known to have stopped.
    pub stopped_at: Option<Timestamp>,
    /// How long after that it may still act.
    pub settles_within: Duration,
}

impl OpenIntent {
    /// Whether a *no* can be believed at `now`.
    pub fn is_settled(&self, now: Timestamp) -> bool {
        self.stopped_at.is_some_and(|stopped| now >= stopped.after(self.settles_within))
    }
}

/// Why a group was not committed, or not known to be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the group was written.
    #[error("the ledger did not commit: {0}")]
    NotCommitted(String),
    /// The answer was lost: everything of it was written, or nothing. Read back before going on.
    #[error("it is not known whether the ledger committed: {0}")]
    Unclear(String),
}

/// A read that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the ledger could not be read: {0}")]
pub struct ReadError(pub String);

/// One start of a process, as the ledger wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// This start.
    pub incarnation: IncarnationId,
    /// The highest delivery sequence at the start, where an earlier incarnation had no clean end:
    /// copies up to it take a claim. None after a clean end.
    pub unclean_up_to: Option<i64>,
    /// Claims of earlier incarnations that were voided.
    pub voided: u64,
}

/// Names a queued delivery: to know which are held already costs no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedKey {
    /// Its sequence.
    pub seq: i64,
    /// Its id.
    pub id: DeliveryId,
    /// Its round.
    pub round: u32,
}

/// A queued delivery, ready to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// Its sequence.
    pub seq: i64,
    /// Its id.
    pub id: DeliveryId,
    /// Its round.
    pub round: u32,
    /// Who is owed it.
    pub subscriber: Subscriber,
    /// Its version.
    pub route_digest: Digest,
    /// Crashes or suspect: runs alone.
    pub alone: bool,
    /// Failed attempts so far.
    pub attempts: u32,
    /// When it is given up.
    pub give_up_at: Option<Timestamp>,
    /// The digest of its key, where it belongs to an order.
    pub key: Option<Digest>,
    /// The message.
    pub message: Arc<Message>,
}

/// What a read back after an unclear commit needs: a row as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its sequence.
    pub seq: i64,
    /// Its id.
    pub id: DeliveryId,
    /// Its message.
    pub message: MessageId,
    /// The delivery whose route emitted the message; none for an accepted one.
    pub cause: Option<DeliveryId>,
    /// Who is owed it.
    pub subscriber: Subscriber,
    /// Its version.
    pub route_digest: Digest,
    /// Its state.
    pub state: DeliveryState,
    /// Its round.
    pub round: u32,
    /// Its fence, where claimed.
    pub fence: Option<Fence>,
    /// When the lease ends, where claimed.
    pub lease_until: Option<Timestamp>,
    /// Failed attempts.
    pub attempts: u32,
    /// Crashes.
    pub crashes: u32,
    /// Came out of the poison queue.
    pub suspect: bool,
    /// The last fault.
    pub fault: Option<Fault>,
    /// When it is due, where waiting.
    pub next_at: Option<Timestamp>,
    /// When it is given up.
    pub give_up_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it got into this state.
    pub changed_at: Timestamp,
    /// When each of `done` was done.
    pub done_at: Vec<Timestamp>,
    /// Its place, where it belongs to an order.
    pub turn: Option<Turn>,
    /// Done steps in the order in which they were done.
    pub done: Vec<(String, StepDone)>,
    /// Calls whose outcome is not known.
    pub intents: Vec<OpenIntent>,
}

/// A message with everything that became of it.
#[derive(Clone, Debug)]
pub struct Story {
    /// The message, without its body.
    pub envelope: snodo_core::envelope::Envelope,
    /// The sender's key, for an accepted message.
    pub key: Option<IdempotencyKey>,
    /// When it was accepted or emitted.
    pub accepted_at: Timestamp,
    /// Its deliveries.
    pub deliveries: Vec<Row>,
    /// Messages that its routes emitted, by id; each has its own story.
    pub derived: Vec<MessageId>,
}

/// A copy that is said to be with the broker, for the reconciler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InBroker {
    /// Its sequence.
    pub seq: i64,
    /// Its round.
    pub round: u32,
    /// Who is owed it.
    pub subscriber: Subscriber,
    /// When its confirm was marked.
    pub marked_at: Timestamp,
    /// The digest of its key, where it belongs to an order.
    pub key: Option<Digest>,
}

/// One line of the totals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Total {
    /// Who is owed (deliveries) or who brought it (messages).
    pub name: Subscriber,
    /// `received`, `accepted`, `rejected`, `repeated`, or the word of a [`Bucket`].
    pub bucket: String,
    /// How many, rows that retention removed included.
    pub n: i64,
    /// How many of them retention has removed.
    pub gone: i64,
}

/// What the gauges show, read from the rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ages {
    /// Per subscriber, when its oldest queued row got there.
    pub oldest_queued: BTreeMap<Subscriber, Timestamp>,
    /// Per subscriber, when its oldest open delivery was created.
    pub oldest_open: BTreeMap<Subscriber, Timestamp>,
    /// Per subscriber, deliveries waiting for their time.
    pub waiting: BTreeMap<Subscriber, i64>,
    /// Strays that nobody has looked at.
    pub strays: i64,
    /// Of questions that are limited, how many were put on their last day.
    pub asked: Vec<Asked>,
}

/// Questions that were put on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The question: `anpr.C021`.
    pub target: String,
    /// The day in Italy.
    pub day: String,
    /// How many.
    pub n: i64,
}

/// Which deliveries a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these states (parked, uncertain); empty for all.
    pub states: Vec<DeliveryState>,
    /// Only this subscriber.
    pub subscriber: Option<Subscriber>,
    /// Only with this fault code.
    pub code: Option<String>,
    /// Only after this sequence.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
}

/// One start of one process, for `instances list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incarnation {
    /// Its id.
    pub id: IncarnationId,
    /// The slot whose lock it held.
    pub slot: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended cleanly or was ended.
    pub ended_at: Option<Timestamp>,
    /// Who declared it dead and why.
    pub declared_dead: Option<Deed>,
}

/// One event of the evidence, as `EVIDENCE.md` describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The chain: the slot of the instance that wrote it.
    pub chain: String,
    /// Its number in the chain, from 1.
    pub n: i64,
    /// When, UTC.
    pub at: Timestamp,
    /// `accept`, `reject`, `final`, `replay`, `discard`, `resolve`, `declare_dead`, …
    pub kind: String,
    /// The id of the message or delivery.
    pub subject: String,
    /// Who, for acts of a person; else the slot.
    pub actor: String,
    /// Why, or the final state.
    pub reason: String,
    /// Digest of what it is about.
    pub digest: Digest,
    /// The hash before.
    pub previous: Digest,
    /// SHA-256 over all of the above, as described.
    pub hash: Digest,
}

/// A version that rows are pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteVersion {
    /// The digest.
    pub digest: Digest,
    /// The route's name.
    pub route: String,
    /// Canonical JSON, see `snodo_core::route::Route::bundle`.
    pub bundle: Arc<str>,
}

/// A target that is away, as every process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetAway {
    /// The adapter instance.
    pub instance: String,
    /// Since when.
    pub since: Timestamp,
    /// The code of the fault with which the breaker opened.
    pub code: String,
    /// When it may be asked again.
    pub probe_at: Timestamp,
}

/// A call whose sender has not stopped: sequence of the delivery, step, fence of the claim.
pub type Running = (i64, String, Fence);

/// Where a chain of events stands: its name, its last number, its head.
pub type HeadNow = (String, i64, Digest);

/// The ledger, SQLite or PostgreSQL. One contract suite runs against both.
///
/// Writes go through [`commit`](Ledger::commit) only, normally by way of the group writer.
pub trait Ledger: Send + Sync + 'static {
    /// Applies a group in one transaction and reports per action, in their order.
    ///
    /// No two actions of a group concern the same delivery *and* have the same name; the writer sees
    /// to it. On an error of a statement the group is bisected inside, so that one bad item (a value
    /// that the database refuses) fails alone.
    fn commit<'a>(
        &'a self,
        group: &'a [Action],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, CommitError>>;

    /// Writes the start of a process on `slot`, whose operating-system lock the caller holds; voids
    /// the claims of the slot's earlier incarnations (SQLite: of all) and stops their intents.
    fn start<'a>(
        &'a self,
        slot: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Started, CommitError>>;

    /// Writes the clean end of a process.
    fn end(
        &self,
        incarnation: IncarnationId,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Writes route versions, in one commit, before the first row that is pinned to one of them.
    /// Idempotent.
    fn put_route_versions<'a>(
        &'a self,
        versions: &'a [RouteVersion],
    ) -> BoxFuture<'a, Result<(), CommitError>>;

    /// Versions to which open, parked or uncertain deliveries are pinned.
    fn open_route_versions(&self) -> BoxFuture<'_, Result<Vec<RouteVersion>, ReadError>>;

    /// How many deliveries are open, parked or uncertain, by the version to which they are pinned; of
    /// parties none.
    fn owed_by_version(&self) -> BoxFuture<'_, Result<Vec<(Digest, i64)>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Which queued rows `me` may publish: named to me, to nobody, to a voided incarnation, or 5 s old;
    /// of `subscriber` only; after sequence `after`; oldest first. Without `me` those that are named to
    /// me are left out: who holds all of them need not read them.
    fn queued_keys<'a>(
        &'a self,
        me: Option<IncarnationId>,
        subscriber: &'a str,
        now: Timestamp,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<QueuedKey>, ReadError>>;

    /// The rows of these sequences that are queued, with their messages; oldest first.
    fn queued<'a>(&'a self, seqs: &'a [i64]) -> BoxFuture<'a, Result<Vec<Queued>, ReadError>>;

    /// The same for a party that fetches, each with the bytes of its body.
    fn fetchable<'a>(
        &'a self,
        me: IncarnationId,
        subscriber: &'a str,
        now: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(QueuedKey, usize)>, ReadError>> {
        let _ = (me, subscriber, now, limit);
        Box::pin(async { Err(ReadError("this ledger keeps no inbox".to_owned())) })
    }

    /// Subscribers that have queued rows.
    fn queued_subscribers(&self) -> BoxFuture<'_, Result<Vec<Subscriber>, ReadError>>;

    /// A row by sequence, for the read back.
    fn row(&self, seq: i64) -> BoxFuture<'_, Result<Option<Row>, ReadError>>;

    /// A row by id.
    fn row_by_id(&self, id: DeliveryId) -> BoxFuture<'_, Result<Option<Row>, ReadError>>;

    /// Rows by id, in no order; those that are there.
    fn rows_by_id<'a>(
        &'a self,
        ids: &'a [DeliveryId],
    ) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        Box::pin(async move {
            let mut rows = Vec::with_capacity(ids.len());
            for id in ids {
                rows.extend(self.row_by_id(*id).await?);
            }
            Ok(rows)
        })
    }

    /// The message of a delivery, with its body.
    fn message(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Arc<Message>>, ReadError>>;

    /// The bytes of its body.
    fn body_size(&self, id: MessageId) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(async move { Ok(self.message(id).await?.map(|found| found.data.len() as u64)) })
    }

    /// The id of the message accepted under a sender's key.
    fn message_by_key<'a>(
        &'a self,
        key: &'a IdempotencyKey,
    ) -> BoxFuture<'a, Result<Option<MessageId>, ReadError>>;

    /// What was accepted under a sender's key: its id, and the digest by which a repeat is known.
    fn first_answer<'a>(
        &'a self,
        key: &'a IdempotencyKey,
    ) -> BoxFuture<'a, Result<Option<(MessageId, Digest)>, ReadError>> {
        let _ = key;
        Box::pin(async { Err(ReadError("this ledger keeps no digests".to_owned())) })
    }

    /// Messages that a result names: `protocol` and `0001234/2026`.
    fn find<'a>(
        &'a self,
        kind: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Vec<MessageId>, ReadError>> {
        let _ = (kind, value);
        Box::pin(async { Err(ReadError("this ledger keeps no index of results".to_owned())) })
    }

    /// The story of a message.
    fn story(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Story>, ReadError>>;

    /// Deliveries by state, for lists.
    fn list<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Row>, ReadError>>;

    /// Claims that stand in the name of an incarnation: (seq, fence).
    fn claims_of(
        &self,
        incarnation: IncarnationId,
    ) -> BoxFuture<'_, Result<Vec<(i64, Fence)>, ReadError>>;

    /// Intents of an incarnation that are not stopped: (seq, step, fence).
    fn intents_of(
        &self,
        incarnation: IncarnationId,
    ) -> BoxFuture<'_, Result<Vec<Running>, ReadError>>;

    /// Published rows of a subscriber, oldest mark first.
    fn in_broker<'a>(
        &'a self,
        subscriber: &'a str,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<InBroker>, ReadError>>;

    /// Deliveries that are behind and that nothing holds any more, oldest first; of one subscriber's key,
    /// or of all.
    fn to_wake<'a>(
        &'a self,
        of: Option<(&'a str, Digest)>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<i64>, ReadError>>;

    /// The totals of deliveries, per subscriber and bucket.
    fn delivery_totals(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>>;

    /// The totals of messages, per source.
    fn message_totals(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>>;

    /// The same as [`delivery_totals`](Ledger::delivery_totals), counted from the rows.
    fn scan(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>>;

    /// Runs the queries of custody §d; returns a line per row found, which must be none.
    fn broken_invariants(&self) -> BoxFuture<'_, Result<Vec<String>, ReadError>>;

    /// The query of *lost*: at most `limit` deliveries that wait for the bus. None once it is quiet.
    fn lost(&self, limit: u32) -> BoxFuture<'_, Result<Vec<DeliveryId>, ReadError>> {
        Box::pin(async move {
            let states = DeliveryState::ALL[..5].to_vec();
            let filter = Filter { states, limit, ..Filter::default() };
            Ok(self.list(&filter).await?.into_iter().map(|row| row.id).collect())
        })
    }

    /// What it knows of documents, if it keeps any.
    fn documents(&self) -> Option<&dyn documents::DocumentRows> {
        None
    }

    /// Ends all connections; what is asked later fails.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// The totals against the rows, counted from one snapshot in slices.
    fn compare(&self) -> BoxFuture<'_, Result<compare::Comparison, ReadError>> {
        Box::pin(async { Err(ReadError("this ledger is not compared".to_owned())) })
    }

    /// The condition of the database; all of a large file is read only where `thorough`.
    fn condition(
        &self,
        thorough: bool,
    ) -> BoxFuture<'_, Result<snodo_core::doctor::LedgerFacts, ReadError>> {
        let _ = thorough;
        Box::pin(async { Err(ReadError("this ledger has no database".to_owned())) })
    }

    /// Messages at which retention looks now: those whose time has come, then new ones that came before
    /// `before`, in their order.
    fn kept(
        &self,
        now: Timestamp,
        before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Kept>, ReadError>> {
        let _ = (now, before, limit);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// The earliest moment at which a message is to be looked at again.
    fn look_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        Box::pin(async { Ok(None) })
    }

    /// Keys of orders from which no number was drawn since `before`, and of which nothing is open.
    fn idle_keys(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<IdleKey>, ReadError>> {
        let _ = (before, limit);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// What is known of a question, newest first: answers that are fresh at `now`, and what is open.
    fn known<'a>(
        &'a self,
        fact: &'a str,
        about: Digest,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Put>, ReadError>> {
        let _ = (fact, about, now);
        Box::pin(async { Err(ReadError("this ledger keeps no facts".to_owned())) })
    }

    /// Whom an answer concerns.
    fn persons<'a>(
        &'a self,
        instance: &'a str,
        number: u64,
    ) -> BoxFuture<'a, Result<Vec<Digest>, ReadError>> {
        let _ = (instance, number);
        Box::pin(async { Err(ReadError("this ledger keeps no facts".to_owned())) })
    }

    /// What was told of a person whose names under all keys these are, newest first: within a time,
    /// before a sequence, at most so many.
    fn disclosures<'a>(
        &'a self,
        names: &'a [Digest],
        within: (Timestamp, Timestamp),
        page: (i64, u32),
    ) -> BoxFuture<'a, Result<Vec<(i64, Disclosure)>, ReadError>> {
        let _ = (names, within, page);
        Box::pin(async { Err(ReadError("this ledger keeps no disclosures".to_owned())) })
    }

    /// What nobody conceals of what was told of a person, newest first, and how much there is of it.
    fn usages<'a>(
        &'a self,
        wanted: &'a Usages,
    ) -> BoxFuture<'a, Result<(u64, Vec<Disclosure>), ReadError>> {
        let _ = wanted;
        Box::pin(async { Err(ReadError("this ledger keeps no disclosures".to_owned())) })
    }

    /// What the gauges show.
    fn ages(&self) -> BoxFuture<'_, Result<Ages, ReadError>>;

    /// The cursor last committed for a partition of a source.
    fn cursor<'a>(
        &'a self,
        instance: &'a str,
        partition: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, ReadError>>;

    /// The targets that are away.
    fn targets_away(&self) -> BoxFuture<'_, Result<Vec<TargetAway>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Writes that a target is away; where it is written already, as it is.
    fn put_target_away<'a>(
        &'a self,
        _away: &'a TargetAway,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async { Ok(()) })
    }

    /// Takes the next probe of a target whose time has come, and names the one after; whether it is
    /// the caller's.
    fn take_probe<'a>(
        &'a self,
        _instance: &'a str,
        _now: Timestamp,
        _next: Timestamp,
    ) -> BoxFuture<'a, Result<bool, CommitError>> {
        Box::pin(async { Ok(false) })
    }

    /// A target is back. The deliveries of these subscribers that have waited meanwhile get the time
    /// in which they could not have been carried.
    fn end_target_away<'a>(
        &'a self,
        _away: &'a TargetAway,
        _now: Timestamp,
        _subscribers: &'a [Subscriber],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async { Ok(()) })
    }

    /// The starts of processes, newest first.
    fn incarnations(&self) -> BoxFuture<'_, Result<Vec<Incarnation>, ReadError>>;

    /// The chains of events there are.
    fn chains(&self) -> BoxFuture<'_, Result<Vec<String>, ReadError>>;

    /// Events of a chain from number `from`, in order.
    fn events<'a>(
        &'a self,
        chain: &'a str,
        from: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Event>, ReadError>>;

    /// Events about a subject, in the order in which they were written.
    fn events_of<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Vec<Event>, ReadError>>;

    /// The heads of the chains: (chain, n, hash), also written outside the database.
    fn heads(&self) -> BoxFuture<'_, Result<Vec<HeadNow>, ReadError>>;
}

/// The bucket whose word this is.
pub fn bucket_of(word: &str) -> Option<Bucket> {
    Bucket::ALL.into_iter().find(|bucket| bucket.word() == word)
}

/// The way in for actions: the group writer in a running bus, a gate in the simulation.
pub trait Write: Send + Sync + 'static {
    /// Has every action committed, together with what others submit; resolves with an outcome per
    /// action, in their order, or with one error that holds for all of them.
    fn submit(&self, actions: Vec<Action>) -> BoxFuture<'_, Result<Vec<Outcome>, CommitError>>;
}
