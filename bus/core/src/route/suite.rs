//! The tests of a route, written beside it: what comes, what its targets answer, what is expected.
//!
//! Invariant: pure. Who runs them (`snodo test`) tells what it observed; what that means is judged here.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    diagnostic::{Place, SourceFile},
    envelope::Incoming,
    timestamp::Timestamp,
};

mod check;
mod coverage;
mod judge;
pub(super) mod read;

pub(super) use check::check;
pub(super) use coverage::points;
pub use coverage::{Coverage, Edge, Point, SELF_DECLARED};
pub use judge::{Called, Emission, Failure, Observed, Seen, judge};
pub use read::facts::UNAVAILABLE;
pub(super) use read::{TESTS, read};

/// Files that tests name, by their path below `routes/`: `<route>/<file>`.
pub type Attachments = BTreeMap<String, Arc<SourceFile>>;

/// Tests of one route, and what of it they should go through.
#[derive(Debug)]
pub struct Suite {
    /// The route.
    pub route: String,
    /// The file of the route.
    pub path: String,
    /// Its tests.
    pub tests: Vec<Test>,
    /// What there is to go through.
    pub points: Vec<Point>,
}

/// One test.
#[derive(Clone, Debug)]
pub struct Test {
    /// What it shows, in words; unique in its route.
    pub name: String,
    /// Where it is written.
    pub place: Place,
    /// When it begins.
    pub at: Timestamp,
    /// How long it lasts at most; what is open then stays so.
    pub lasts: Duration,
    /// What comes, in this order.
    pub messages: Vec<Sent>,
    /// The order in which first copies come: indexes of `messages`.
    pub arrive: Vec<usize>,
    /// How often the broker hands over each copy.
    pub copies: u32,
    /// What targets answer, by step.
    pub scripts: BTreeMap<String, Wanted<Script>>,
    /// The process dies once after this step is done.
    pub crash_after: Option<String>,
    /// What is expected of all messages together.
    pub expect: Together,
}

/// One message of a test.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What the sender sends.
    pub incoming: Incoming,
    /// Who sends it.
    pub party: String,
    /// How long after the one before it.
    pub after: Duration,
    /// How often it is sent.
    pub times: u32,
    /// What is expected of it.
    pub expect: Expect,
    /// Where it is written.
    pub place: Place,
}

/// What the target of a step answers: first the faults, in this order, then `then`, again and again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// Faults, one per call.
    pub fails: Vec<Fails>,
    /// What every call after them is answered.
    pub then: Then,
    /// What it answers whoever asks whether an earlier call acted.
    pub recalls: bool,
}

/// A fault of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// Not now; perhaps with `Retry-After`.
    Transient(Option<Duration>),
    /// Nobody answers.
    Outage,
    /// The call went out, and no answer tells whether it acted.
    Uncertain,
}

/// What a target answers in the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Then {
    /// What the operation gives of itself, or nothing at all.
    #[default]
    Plain,
    /// This.
    Returns(Value),
    /// No.
    Refuses {
        /// The code of the fault.
        code: String,
        /// The target's own short word.
        reason: Option<String>,
    },
    /// This fault, whatever comes.
    Fails(Fails),
}

/// A value that is expected, and where that is written.
#[derive(Clone, Debug)]
pub struct Wanted<T> {
    /// It.
    pub value: T,
    /// Where.
    pub place: Place,
}

/// What is expected of one message. What is not said is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// One of [`STATES`].
    pub state: Option<Wanted<String>>,
    /// The steps that were done, in order; a `choose` is none of them.
    pub ran: Option<Wanted<Vec<String>>>,
    /// Steps that were not.
    pub not_ran: Vec<Wanted<String>>,
    /// The needs for which an authority was asked, in order.
    pub asked: Option<Wanted<Vec<String>>>,
    /// Needs for which nobody was asked.
    pub not_asked: Vec<Wanted<String>>,
    /// The needs for which an earlier answer was used, in order.
    pub reused: Option<Wanted<Vec<String>>>,
    /// The needs of which the sender declares something else.
    pub differs: Option<Wanted<Vec<String>>>,
    /// How often targets were called, by step.
    pub calls: Vec<(String, Wanted<u32>)>,
    /// What they were given, by step: at least this.
    pub inputs: Vec<(String, Wanted<Value>)>,
    /// What was emitted, all of it, in order.
    pub emits: Option<Wanted<Vec<EmitWanted>>>,
    /// How long it waited before each new attempt.
    pub waits: Option<Wanted<Vec<Duration>>>,
    /// Why it was refused at the door.
    pub problem: Option<ProblemWanted>,
    /// Its last fault.
    pub fault: Option<FaultWanted>,
}

/// A message that is expected to be emitted.
#[derive(Clone, Debug)]
pub struct EmitWanted {
    /// Its type.
    pub kind: String,
    /// To whom it is addressed.
    pub to: Option<Vec<String>>,
    /// Its body: at least this.
    pub with: Option<Value>,
    /// Where this is written.
    pub place: Place,
}

/// A refusal at the door that is expected.
#[derive(Clone, Debug, Default)]
pub struct ProblemWanted {
    /// `SN06nn`.
    pub code: Option<Wanted<String>>,
    /// Where in the body; one of several is enough.
    pub pointer: Option<Wanted<String>>,
}

/// A fault that is expected.
#[derive(Clone, Debug, Default)]
pub struct FaultWanted {
    /// Its code.
    pub code: Option<Wanted<String>>,
    /// The step at which it happened.
    pub step: Option<Wanted<String>>,
    /// The target's own short word.
    pub reason: Option<Wanted<String>>,
}

/// What is expected of all messages of a test together.
#[derive(Clone, Debug, Default)]
pub struct Together {
    /// The order in which they ended, by their ids.
    pub order: Option<Wanted<Vec<String>>>,
    /// How many deliveries the route got.
    pub deliveries: Option<Wanted<u32>>,
}

/// What may become of a message.
pub const STATES: [&str; 6] = ["completed", "filtered", "parked", "uncertain", "rejected", "open"];

/// `data`, ready to be sent.
fn bytes_of(data: &Value) -> Bytes {
    crate::json::canonical(data).into()
}
