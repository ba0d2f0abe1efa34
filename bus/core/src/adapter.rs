//! The contract of adapters: one outside system, its operations, and whether an effect can be asked about.
//!
//! An author writes natural `async fn` against [`Adapter`]; the bus holds [`Port`], its erased twin.
//! The framework owns retries, breaker, deadlines, concurrency, metrics and tracing; the author owns one
//! protocol, the classification of its faults, and `recall`.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    facts::quota::PerDay,
    fault::Fault,
    ids::{Digest, StepKey},
    kept::Kept,
    register::LedgerEffect,
    schema::Schemas,
    timestamp::Timestamp,
    verdict::EffectKind,
};

/// A boxed future of the erased twin.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One named operation of an adapter instance, typed.
#[derive(Clone, Debug)]
pub struct Operation {
    /// `register`, `enrol`: what a route writes after the dot.
    pub name: String,
    /// JSON Schema of its `with`.
    pub input: Arc<Value>,
    /// JSON Schema of its result.
    pub output: Arc<Value>,
    /// How its effect may be repeated.
    pub effect: EffectKind,
    /// A call must be over by then.
    pub deadline: Duration,
    /// How long after its sender has stopped a call may still act (`recallable`, `once`).
    pub settles_within: Duration,
    /// Its call needs a number, a purpose and a case ([`Asking`]): it is asked as a fact, and is no step.
    pub fact_only: bool,
}

/// One call of one operation for one step.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Which operation.
    pub operation: &'a str,
    /// The rendered and validated `with`.
    pub input: &'a Value,
    /// The key under which the effect is done once.
    pub step_key: &'a StepKey,
    /// W3C trace context to hand on.
    pub traceparent: Option<&'a str>,
    /// What the bus keeps: documents, closed days of its registers.
    pub kept: &'a dyn Kept,
    /// The order number of the delivery in its key, where the route is ordered: operations that
    /// overwrite carry it, and the target keeps the higher.
    pub order_no: Option<i64>,
    /// Where the call is a question to an authority: on whose behalf, and what for.
    pub asking: Option<Asking<'a>>,
}

/// A question to an authority about somebody: a fact is asked for one purpose and one case, by somebody.
///
/// An authority that knows nobody, or several, refuses with the reason [`NOT_FOUND`] or [`AMBIGUOUS`]:
/// both are answers. [`STALE_NUMBER`] says that it has seen a higher number and never this one; the
/// question is then asked under a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking<'a> {
    /// Grows with every new question to this instance; durable, and the same when it is asked again.
    pub number: u64,
    /// When it was asked first.
    pub at: Timestamp,
    /// The purpose of the route.
    pub purpose: &'a str,
    /// The reference of the case: a protocol number, a file.
    pub case: &'a str,
    /// Who acts; `system` for a route without a human.
    pub actor: &'a str,
    /// Where that person works, if known.
    pub actor_location: Option<&'a str>,
    /// How surely that person is known (level of assurance), if known.
    pub actor_loa: Option<&'a str>,
}

/// The reason of a refusal that says: nobody, nothing.
pub const NOT_FOUND: &str = "not_found";
/// The reason of a refusal that says: several, and not which.
pub const AMBIGUOUS: &str = "ambiguous";
/// The reason of a refusal that says: this number is lower than one that was seen, and is not known.
pub const STALE_NUMBER: &str = "stale_number";

/// What an operation gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The result, validated against the operation's output by the framework.
    pub result: Value,
    /// The far side's own id, by which a late receipt finds its step.
    pub reference: Option<String>,
    /// Digests of what went out and what came back.
    pub evidence: Option<Evidence>,
}

/// Digests of request and answer, for the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What went out.
    pub request: Digest,
    /// What came back.
    pub answer: Digest,
}

/// The answer of a recall.
#[derive(Clone, Debug, PartialEq)]
pub enum Recalled {
    /// It was done; believed always.
    Done(Receipt),
    /// It was not done; believed only `settles_within` after its sender is known to have stopped.
    NotDone,
}

/// Where a source has read up to; written in the accepting transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The adapter instance.
    pub instance: String,
    /// A partition of it (a mailbox folder, a table), or "".
    pub partition: String,
    /// The position, in the source's own words.
    pub value: String,
}

/// What a source hands over: a message and the cursor after it.
#[derive(Clone, Debug)]
pub struct Handover {
    /// What was read.
    pub incoming: crate::envelope::Incoming,
    /// Written in the same commit as the accept; lost with it.
    pub cursor: Option<Cursor>,
}

/// What the bus answers a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handed {
    /// In custody (now or already): the source may forget it.
    Accepted(crate::ids::MessageId),
    /// Refused for its content, recorded; the source keeps or forgets it as its protocol says.
    Rejected {
        /// `SN06nn`.
        code: String,
    },
    /// Not now; hand it over again after the wait.
    NotNow(Duration),
}

/// Where a source puts what it reads. The bus implements it.
pub trait Intake: Send + Sync {
    /// Takes one message into custody, or says why not. Returns only after the commit.
    fn hand_over(&self, handover: Handover) -> BoxFuture<'_, Handed>;
    /// The cursor last committed for a partition.
    fn cursor<'a>(&'a self, instance: &'a str, partition: &'a str)
    -> BoxFuture<'a, Option<String>>;
    /// Resolves when the source must stop.
    fn stopped(&self) -> BoxFuture<'_, ()>;
}

/// Why an adapter instance could not be opened: a mistake in its options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct OpenError {
    /// `SN0449`, or a closer one.
    pub code: &'static str,
    /// JSON pointer into the options, or "".
    pub pointer: String,
    /// What is wrong.
    pub text: String,
    /// What to write instead.
    pub help: String,
}

/// The code of a mistake in options that has no closer one.
pub const WRONG_OPTION: &str = "SN0449";

/// What `open` may use beside its options. No network.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The instance's name in the configuration.
    pub instance: String,
    /// The schemas of the house, for operations typed by schema name.
    pub schemas: Arc<Schemas>,
}

#[cfg(test)]
impl Operation {
    /// One that is answered in time.
    pub(crate) fn of(name: &str, input: Value, output: Value, effect: EffectKind) -> Self {
        Self {
            name: name.to_owned(),
            input: Arc::new(input),
            output: Arc::new(output),
            effect,
            deadline: Duration::from_secs(5),
            settles_within: Duration::ZERO,
            fact_only: false,
        }
    }
}

/// How an instance of a kind begins, to be changed: what `snodo new adapter` writes, complete enough for
/// `check`. `NAME` stands for the instance's name, with `-` for `_`; `PURPOSE` for a purpose of the house;
/// hosts end in `.example`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// What stands below `kind:`, in block style; "" where nothing must.
    pub options: &'static str,
    /// The types that it cites, each with its schema.
    pub schemas: &'static [(&'static str, &'static str)],
}

/// One outside system, as its author writes it.
#[diagnostic::on_unimplemented(
    note = "an adapter needs `KIND`, `Options`, `open`, `operations` and `call`; see adapters/src/http.rs"
)]
pub trait Adapter: Sized + Send + Sync + 'static {
    /// `kind:` in the configuration.
    const KIND: &'static str;
    /// The most calls under way at one time that its protocol bears, whatever `limits:` say.
    const AT_ONCE: u32 = u32::MAX;
    /// How an instance begins; left out where it needs no options.
    const EXAMPLE: Example = Example { options: "", schemas: &[] };
    /// The instance's options; unknown keys must be refused (`deny_unknown_fields`).
    type Options: DeserializeOwned;

    /// Builds the instance. No network: a far side that is down must not stop the bus from starting.
    fn open(options: Self::Options, opening: &Opening) -> Result<Self, OpenError>;

    /// The operations of this instance, typed.
    fn operations(&self) -> Vec<Operation>;

    /// Performs an operation once. Called again with the same step key only as its effect kind allows.
    ///
    /// Never called for an operation of kind `ledger`.
    fn call(&self, call: Call<'_>) -> impl Future<Output = Result<Receipt, Fault>> + Send;

    /// For operations of kind `ledger`: the value that the ledger applies. Pure.
    fn ledger_effect(&self, call: &Call<'_>) -> Result<LedgerEffect, Fault> {
        Err(no_such_effect(call.operation, "ledger"))
    }

    /// Asks the far side whether the effect of this step key was done. Only for `recallable`.
    fn recall(&self, call: Call<'_>) -> impl Future<Output = Result<Recalled, Fault>> + Send {
        let fault = no_such_effect(call.operation, "recallable");
        async { Err(fault) }
    }

    /// Answers "could a call succeed now?", cheaply.
    fn probe(&self) -> impl Future<Output = Result<(), Fault>> + Send {
        async { Ok(()) }
    }

    /// Brings messages in until the intake says stop. Adapters without a source return at once.
    fn listen(&self, _intake: Arc<dyn Intake>) -> impl Future<Output = Result<(), Fault>> + Send {
        async { Ok(()) }
    }
}

fn no_such_effect(operation: &str, kind: &str) -> Fault {
    Fault::new(
        crate::fault::FaultClass::Poison,
        "SN0901",
        format!(
            "the operation `{operation}` is not of kind `{kind}`; this is a mistake of the bus"
        ),
    )
}

/// The object-safe side of [`Adapter`]; never implemented by hand.
pub trait Port: Send + Sync {
    /// See [`Adapter::AT_ONCE`].
    fn at_once(&self) -> u32 {
        u32::MAX
    }
    /// See [`Adapter::operations`].
    fn operations(&self) -> Vec<Operation>;
    /// See [`Adapter::call`].
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Receipt, Fault>>;
    /// See [`Adapter::ledger_effect`].
    fn ledger_effect(&self, call: &Call<'_>) -> Result<LedgerEffect, Fault>;
    /// See [`Adapter::recall`].
    fn recall<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Recalled, Fault>>;
    /// See [`Adapter::probe`].
    fn probe(&self) -> BoxFuture<'_, Result<(), Fault>>;
    /// See [`Adapter::listen`].
    fn listen(&self, intake: Arc<dyn Intake>) -> BoxFuture<'_, Result<(), Fault>>;
}

impl<A: Adapter> Port for A {
    fn at_once(&self) -> u32 {
        A::AT_ONCE
    }
    fn operations(&self) -> Vec<Operation> {
        Adapter::operations(self)
    }
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Receipt, Fault>> {
        Box::pin(Adapter::call(self, call))
    }
    fn ledger_effect(&self, call: &Call<'_>) -> Result<LedgerEffect, Fault> {
        Adapter::ledger_effect(self, call)
    }
    fn recall<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Recalled, Fault>> {
        Box::pin(Adapter::recall(self, call))
    }
    fn probe(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(Adapter::probe(self))
    }
    fn listen(&self, intake: Arc<dyn Intake>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(Adapter::listen(self, intake))
    }
}

type Open = fn(Value, &Opening) -> Result<Arc<dyn Port>, OpenError>;

/// Every kind of adapter that a binary knows.
#[derive(Default, Clone)]
pub struct Catalog(BTreeMap<&'static str, (Open, Example)>);

impl Catalog {
    /// With one more kind.
    #[must_use]
    pub fn with<A: Adapter>(mut self) -> Self {
        let open: Open = |options, opening| {
            let options: A::Options = serde_path_to_error::deserialize(options)
                .map_err(|error| wrong_options(A::KIND, opening, &error))?;
            Ok(Arc::new(A::open(options, opening)?))
        };
        let previous = self.0.insert(A::KIND, (open, A::EXAMPLE));
        assert!(previous.is_none(), "two adapters are called `{}`", A::KIND);
        self
    }

    /// Opens an instance of `kind`; `None` where there is no such kind.
    pub fn open(
        &self,
        kind: &str,
        options: Value,
        opening: &Opening,
    ) -> Option<Result<Arc<dyn Port>, OpenError>> {
        self.0.get(kind).map(|(open, _)| open(options, opening))
    }

    /// How an instance of `kind` begins; `None` where there is no such kind.
    pub fn example(&self, kind: &str) -> Option<Example> {
        self.0.get(kind).map(|(_, example)| *example)
    }

    /// The kinds, in order.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

fn wrong_options(
    kind: &str,
    opening: &Opening,
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> OpenError {
    OpenError {
        code: WRONG_OPTION,
        pointer: pointer_of(error.path()),
        text: format!("the options of `{}` are wrong: {}", opening.instance, error.inner()),
        help: format!("write only what kind `{kind}` knows"),
    }
}

/// The JSON pointer of a path, for a place in the configuration file.
fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("{pointer}/{variant}"),
        Segment::Unknown => pointer,
    })
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How much of a process a target gets: `limits:` of an adapter instance. The framework keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Calls under way at one time.
    pub at_once: u32,
    /// Calls that begin in a second.
    pub per_second: Option<u32>,
    /// Whether its routes wait while it is away.
    pub breaker: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once: 64, per_second: None, breaker: true }
    }
}

/// The opened instances of a configuration, by name.
#[derive(Clone, Default)]
pub struct Instances(BTreeMap<String, Opened>);

#[derive(Clone)]
struct Opened {
    port: Arc<dyn Port>,
    pace: Pace,
    per_day: PerDay,
}

impl Instances {
    /// Adds one, at the usual pace.
    pub fn insert(&mut self, name: String, port: Arc<dyn Port>) {
        self.insert_at(name, port, (Pace::default(), PerDay::new()));
    }

    /// Adds one at a pace of its own, of which so many questions are asked a day.
    pub fn insert_at(&mut self, name: String, port: Arc<dyn Port>, limits: (Pace, PerDay)) {
        let (pace, per_day) = limits;
        self.0.insert(name, Opened { port, pace, per_day });
    }

    /// The instance called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Port>> {
        self.0.get(name).map(|opened| &opened.port)
    }

    /// The pace of every instance, by name.
    pub fn paces(&self) -> impl Iterator<Item = (&str, Pace)> {
        self.0.iter().map(|(name, opened)| (name.as_str(), opened.pace))
    }

    /// How often an operation may be asked a day; none for as often as there are questions.
    pub fn per_day(&self, instance: &str, operation: &str) -> Option<u64> {
        self.0.get(instance)?.per_day.get(operation).copied()
    }

    /// Every operation that may be asked so often a day: `anpr.C021`.
    pub fn quotas(&self) -> impl Iterator<Item = (String, u64)> {
        let of = |(name, opened): (&String, &Opened)| {
            let name = name.clone();
            let quotas = opened.per_day.clone().into_iter();
            quotas.map(move |(operation, most)| (format!("{name}.{operation}"), most))
        };
        self.0.iter().flat_map(of)
    }

    /// Every instance, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn Port>)> {
        self.0.iter().map(|(name, opened)| (name.as_str(), &opened.port))
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
