//! What Prometheus is told. The only home of `prometheus`.
//!
//! Invariant: label values come from the configuration, never from input (`_other` for the rest), and
//! every series exists from the start; what concerns custody is read from the ledger's totals, so it
//! survives restarts and is true for every instance that shows it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, process_collector::ProcessCollector,
};
use snodo_core::{message_state::Bucket, timestamp::Timestamp};
use tokio::sync::Mutex;

use crate::{
    clock::Clock,
    engine::FactUse,
    ledger::{Ages, Forgotten, Ledger, ReadError, Total, compare::Comparison},
};

mod facts;

/// Why metrics are not declared.
pub use prometheus::Error;

/// The label of whatever the configuration does not name.
pub const OTHER: &str = "_other";

/// Answers of accept, confirm and calls, seconds (ops O-04).
const SHORT: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Rows in one commit.
const ROWS: [f64; 8] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];
/// Bytes of a body.
const BYTES: [f64; 6] = [1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];
/// How long a reading of the ledger is shown.
const FRESH: Duration = Duration::from_secs(1);

const MESSAGE_BUCKETS: [&str; 4] = ["received", "accepted", "rejected", "repeated"];
const ENDED: [Bucket; 3] = [Bucket::Completed, Bucket::Filtered, Bucket::Discarded];
const OWED: [Bucket; 3] = [Bucket::Open, Bucket::Parked, Bucket::Uncertain];

/// How a request at an edge ended, one word per request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum IngressResult {
    /// In custody now.
    Accepted,
    /// In custody already.
    Replayed,
    /// Refused for what it is.
    Rejected,
    /// Nobody knows or trusts who sent it.
    Unauthorized,
    /// Too much of it.
    Throttled,
    /// Not now.
    Unavailable,
}

impl IngressResult {
    const WORDS: [&str; 6] =
        ["accepted", "replayed", "rejected", "unauthorized", "throttled", "unavailable"];
}

/// What the configuration names: the only label values there are.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Route names and `party:<id>` of parties that receive.
    pub subscribers: Vec<String>,
    /// Which of them fetch what they are owed.
    pub inboxes: Vec<String>,
    /// Parties that send and adapter instances that bring messages.
    pub sources: Vec<String>,
    /// `instance.operation` of every operation.
    pub targets: Vec<String>,
    /// Codes with which a message may be refused.
    pub codes: Vec<String>,
    /// Facts that routes ask for.
    pub facts: Vec<String>,
    /// Questions that may be put so often a day.
    pub quotas: Vec<(String, u64)>,
}

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    custody: Custody,
    ingress: Ingress,
    work: Work,
    facts: facts::Facts,
    log: LogLines,
    kept: Kept,
    reading: Mutex<Option<Duration>>,
}

/// Lines of the log that could not be written, counted by who writes them.
#[derive(Debug)]
struct LogLines {
    dropped: IntCounter,
    counted: OnceLock<Arc<AtomicU64>>,
}

impl LogLines {
    fn show(&self) {
        let counted = self.counted.get().map_or(0, |counted| counted.load(Ordering::Relaxed));
        self.dropped.inc_by(counted.saturating_sub(self.dropped.get()));
    }
}

/// Custody, read from the ledger.
#[derive(Debug)]
struct Custody {
    messages: [Counted; 4],
    created: Counted,
    ended: [Counted; 3],
    owed: [Counted; 3],
    oldest_open: Family<IntGauge>,
    waiting: Family<IntGauge>,
    oldest_queued: Gauge,
    oldest_in_inbox: Family<IntGauge>,
    inboxes: RwLock<BTreeSet<String>>,
    strays: IntGauge,
    read: IntGauge,
}

/// A number per name that follows the totals, as a counter or a gauge.
#[derive(Debug)]
enum Counted {
    Up(Family<IntCounter>),
    Now(Family<IntGauge>),
}

/// What the edge tells.
#[derive(Debug)]
struct Ingress {
    results: Vec<IntCounter>,
    rejected: Family<IntCounter>,
    took: Histogram,
    bytes: Histogram,
    in_flight: IntGauge,
}

/// What broker, engine and ledger tell.
#[derive(Debug)]
struct Work {
    published: Family<[IntCounter; 4]>,
    confirm_took: Histogram,
    consumers: Family<IntGauge>,
    held: Family<IntGauge>,
    circuits: Family<IntGauge>,
    batch_copies: Histogram,
    batch_took: Histogram,
    calls: Family<(IntCounter, IntCounter, Histogram)>,
    faults: Family<[IntCounter; 4]>,
    suppressed: Family<IntCounter>,
    moved: Family<IntCounter>,
    commits: [IntCounter; 3],
    commit_rows: Histogram,
    commit_took: Histogram,
    ready: Family<IntGauge>,
    forgotten: [IntCounter; FORGOTTEN.len()],
    forget_behind: Gauge,
    totals_differ: IntGauge,
    totals_agreed: Gauge,
}

/// What store and disk tell.
#[derive(Debug)]
struct Kept {
    documents: IntCounter,
    document_bytes: IntCounter,
    disk_free: IntGauge,
}

impl Kept {
    fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| make.registered(IntCounter::new(name, help));
        Ok(Self {
            documents: counter("snodo_documents_taken_total", "Documents that parties posted")?,
            document_bytes: counter("snodo_documents_taken_bytes_total", "Their bytes")?,
            disk_free: make.gauge("snodo_disk_free_bytes", "Free bytes on the disk of the data")?,
        })
    }
}

const CONFIRMS: [&str; 4] = ["confirmed", "returned", "nacked", "unknown"];
const VERDICTS: [&str; 4] = ["retry", "park", "uncertain", "recall"];
const MOVES: [&str; 9] =
    ["due", "give_back", "own_end", "expire", "reconcile", "unrouted", "poison", "stray", "wake"];
const FORGOTTEN: [&str; 10] = [
    "bodies",
    "results",
    "deliveries",
    "messages",
    "keys",
    "versions",
    "strays",
    "values",
    "questions",
    "disclosures",
];
const COMMITS: [&str; 3] = ["committed", "not_committed", "unclear"];
const COMPONENTS: [&str; 6] = ["ledger", "broker", "topology", "routes", "targets", "disk"];

/// The children of a metric, by the value of the label that the configuration names. A reload adds
/// names; none goes, so that what was counted stays.
struct Family<T> {
    make: Box<dyn Fn(&str) -> T + Send + Sync>,
    children: RwLock<HashMap<String, T>>,
}

impl<T: Clone> Family<T> {
    fn new(names: &BTreeSet<&str>, make: impl Fn(&str) -> T + Send + Sync + 'static) -> Self {
        let family = Self { make: Box::new(make), children: RwLock::default() };
        family.name(names);
        family
    }

    /// With children for these names, if they are not there.
    fn name(&self, names: &BTreeSet<&str>) {
        let mut children = self.children.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if !children.contains_key(*name) {
                children.insert((*name).to_owned(), (self.make)(name));
            }
        }
    }

    /// Does something with the child of `name`, or of `_other`.
    fn with(&self, name: &str, act: impl FnOnce(&T)) {
        let children = self.read();
        if let Some(child) = children.get(name).or_else(|| children.get(OTHER)) {
            act(child);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, T>> {
        self.children.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Family<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").finish_non_exhaustive()
    }
}

/// Registers what is made, under one name each.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn registered<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<C>,
    ) -> prometheus::Result<C> {
        let made = made?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        names: &BTreeSet<&str>,
    ) -> prometheus::Result<Family<IntCounter>> {
        let vec = self.registered(IntCounterVec::new(Opts::new(name, help), &[label]))?;
        Ok(Family::new(names, move |name| vec.with_label_values(&[name])))
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        label: &str,
        names: &BTreeSet<&str>,
    ) -> prometheus::Result<Family<IntGauge>> {
        let vec = self.registered(IntGaugeVec::new(Opts::new(name, help), &[label]))?;
        Ok(Family::new(names, move |name| vec.with_label_values(&[name])))
    }

    /// A counter with a second label of `N` fixed words.
    fn counters_by<const N: usize>(
        &self,
        (name, help): (&str, &str),
        labels: [&str; 2],
        names: &BTreeSet<&str>,
        words: [&'static str; N],
    ) -> prometheus::Result<Family<[IntCounter; N]>> {
        let vec = self.registered(IntCounterVec::new(Opts::new(name, help), &labels))?;
        let row = move |name: &str| words.map(|word| vec.with_label_values(&[name, word]));
        Ok(Family::new(names, row))
    }

    fn counter_of<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        words: [&str; N],
    ) -> prometheus::Result<[IntCounter; N]> {
        let vec = self.registered(IntCounterVec::new(Opts::new(name, help), &[label]))?;
        Ok(words.map(|word| vec.with_label_values(&[word])))
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.registered(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.registered(Histogram::with_opts(options))
    }
}

/// The names and `_other`.
fn with_other(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).chain([OTHER]).collect()
}

impl Metrics {
    /// The metrics of a bus with these labels, all at 0. Fails only for names that are not metrics'.
    pub fn new(labels: &Labels) -> Result<Arc<Self>, Error> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let custody = Custody::new(&make, labels)?;
        let ingress = Ingress::new(&make, labels)?;
        let work = Work::new(&make, labels)?;
        let facts = facts::Facts::new(&make, &with_other(&labels.facts))?;
        facts.limit(&labels.quotas);
        let dropped = IntCounter::new("snodo_log_dropped_total", "Lines of the log not written.");
        let log = LogLines { dropped: make.registered(dropped)?, counted: OnceLock::new() };
        let kept = Kept::new(&make)?;
        build_info(&make)?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let reading = Mutex::new(None);
        Ok(Arc::new(Self { registry, custody, ingress, work, facts, log, kept, reading }))
    }

    /// Names that a reload has brought.
    pub fn name(&self, labels: &Labels) {
        let (routes, sources) = (with_other(&labels.subscribers), with_other(&labels.sources));
        self.custody.name(&routes, &sources);
        self.custody.fetch(&labels.inboxes);
        self.work.published.name(&routes);
        self.work.consumers.name(&routes);
        self.work.held.name(&routes);
        self.work.circuits.name(&instances_of(labels));
        self.work.faults.name(&routes);
        self.work.suppressed.name(&routes);
        self.work.calls.name(&with_other(&labels.targets));
        self.facts.name(&with_other(&labels.facts));
        self.facts.limit(&labels.quotas);
    }

    /// Everything as text, after a reading of the ledger that is at most a second old.
    ///
    /// Where the ledger cannot be read, the last reading is shown and `snodo_ledger_read` is 0.
    pub async fn render(&self, ledger: &dyn Ledger, clock: &dyn Clock) -> String {
        self.refresh(ledger, clock).await;
        self.log.show();
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reads the ledger, unless somebody did within the last second.
    async fn refresh(&self, ledger: &dyn Ledger, clock: &dyn Clock) {
        let mut read_at = self.reading.lock().await;
        if read_at.is_some_and(|at| clock.uptime().saturating_sub(at) < FRESH) {
            return;
        }
        let now = clock.now();
        let read = self.custody.read(ledger, now, &self.work.held).await;
        self.custody.read.set(i64::from(read.is_ok()));
        match read {
            Ok(ages) => self.facts.asked(&ages.asked, now),
            Err(error) => {
                tracing::warn!(%error, "the metrics show an older reading of the ledger");
            }
        }
        *read_at = Some(clock.uptime());
    }

    /// Lines of the log that were not written are counted here.
    pub fn follow_log(&self, dropped: &Arc<AtomicU64>) {
        // A second log would have a metric of its own.
        let _ = self.log.counted.set(Arc::clone(dropped));
    }

    /// A route has used a fact.
    pub fn fact_used(&self, told: &FactUse<'_>) {
        self.facts.used(told);
    }

    /// A document of so many bytes was taken.
    pub fn document_taken(&self, bytes: u64) {
        self.kept.documents.inc();
        self.kept.document_bytes.inc_by(bytes);
    }

    /// So many bytes of the disk are free.
    pub fn disk_free(&self, bytes: u64) {
        self.kept.disk_free.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A request came in.
    pub fn ingress_begun(&self) {
        self.ingress.in_flight.inc();
    }

    /// A request is no longer under way, answered or not.
    pub fn ingress_left(&self) {
        self.ingress.in_flight.dec();
    }

    /// A request was answered; as what its message was taken, where it was.
    pub fn ingress_ended(&self, taken: Option<IngressResult>, took: Duration) {
        self.ingress.took.observe(took.as_secs_f64());
        if let Some(result) = taken {
            self.ingress.results[result as usize].inc();
        }
    }

    /// A request was refused with this code.
    pub fn ingress_refused(&self, result: IngressResult, code: &str) {
        self.ingress.results[result as usize].inc();
        self.ingress.rejected.with(code, |counter| {
            counter.inc();
        });
    }

    /// A body of so many bytes was read.
    pub fn ingress_body(&self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "bodies are small")]
        self.ingress.bytes.observe(bytes as f64);
    }

    /// The ledger committed a group, or not.
    pub fn committed(&self, outcome: CommitResult, rows: usize, took: Duration) {
        self.work.commits[outcome as usize].inc();
        #[expect(clippy::cast_precision_loss, reason = "a group has at most some hundred rows")]
        self.work.commit_rows.observe(rows as f64);
        self.work.commit_took.observe(took.as_secs_f64());
    }

    /// The broker said its word about a copy of `subscriber`.
    pub fn published(&self, subscriber: &str, confirm: PublishResult, took: Duration) {
        self.work.published.with(subscriber, |counters| counters[confirm as usize].inc());
        self.work.confirm_took.observe(took.as_secs_f64());
    }

    /// Whether the consumer of a route is up, or the route waits for a target: then nothing is amiss
    /// with the consumer.
    pub fn consumer(&self, route: &str, up: bool, held: bool) {
        self.work.consumers.with(route, |gauge| gauge.set(i64::from(up || held)));
        self.work.held.with(route, |gauge| gauge.set(i64::from(held)));
    }

    /// A target went away, or is back.
    pub fn target(&self, instance: &str, away: bool) {
        self.work.circuits.with(instance, |gauge| gauge.set(if away { 2 } else { 0 }));
    }

    /// A batch of copies went through the fast path.
    pub fn batch(&self, copies: usize, took: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most some hundred copies")]
        self.work.batch_copies.observe(copies as f64);
        self.work.batch_took.observe(took.as_secs_f64());
    }

    /// An operation was called.
    pub fn called(&self, target: &str, failed: bool, took: Duration) {
        self.work.calls.with(target, |(ok, fault, duration)| {
            if failed {
                fault.inc();
            } else {
                ok.inc();
            }
            duration.observe(took.as_secs_f64());
        });
    }

    /// A delivery has a fault, and this becomes of it.
    pub fn fault(&self, subscriber: &str, verdict: VerdictWord) {
        self.work.faults.with(subscriber, |counters| counters[verdict as usize].inc());
    }

    /// A copy too many came to `subscriber`.
    pub fn suppressed(&self, subscriber: &str) {
        self.work.suppressed.with(subscriber, IntCounter::inc);
    }

    /// A sweep moved rows.
    pub fn moved(&self, what: &str, rows: u64) {
        self.work.moved.with(what, |counter| counter.inc_by(rows));
    }

    /// Retention removed rows.
    pub fn forgot(&self, rows: &Forgotten) {
        let Forgotten {
            bodies,
            results,
            deliveries,
            messages,
            keys,
            versions,
            strays,
            values,
            questions,
            disclosures,
        } = *rows;
        let rows = [
            bodies,
            results,
            deliveries,
            messages,
            keys,
            versions,
            strays,
            values,
            questions,
            disclosures,
        ];
        for (counter, rows) in self.work.forgotten.iter().zip(rows) {
            counter.inc_by(rows);
        }
    }

    /// What waits longest to be forgotten has waited so long.
    pub fn forget_behind(&self, behind: Duration) {
        self.work.forget_behind.set(behind.as_secs_f64());
    }

    /// The totals were compared with the rows.
    pub fn compared(&self, comparison: &Comparison, now: Timestamp) {
        self.work.totals_differ.set(i64::try_from(comparison.by()).unwrap_or(i64::MAX));
        if comparison.differences.is_empty() {
            #[expect(clippy::cast_precision_loss, reason = "exact to the millisecond for ages")]
            self.work.totals_agreed.set(now.0 as f64 / 1000.0);
        }
    }

    /// Whether a component works.
    pub fn ready(&self, component: &str, ready: bool) {
        self.work.ready.with(component, |gauge| gauge.set(i64::from(ready)));
    }
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum CommitResult {
    /// All of it is written.
    Committed,
    /// Nothing of it.
    NotCommitted,
    /// Nobody knows.
    Unclear,
}

/// What the broker said of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum PublishResult {
    /// It holds it.
    Confirmed,
    /// No queue took it.
    Returned,
    /// It refused it.
    Nacked,
    /// No answer.
    Unknown,
}

/// What becomes of a delivery after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum VerdictWord {
    /// Again later.
    Retry,
    /// A person.
    Park,
    /// A person or a receipt.
    Uncertain,
    /// The far side is asked.
    Recall,
}

fn build_info(make: &Maker<'_>) -> prometheus::Result<()> {
    let name = "snodo_build_info";
    let vec = make.registered(IntGaugeVec::new(Opts::new(name, "Always 1."), &["version"]))?;
    vec.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(())
}

impl Custody {
    fn new(make: &Maker<'_>, labels: &Labels) -> prometheus::Result<Self> {
        let routes = with_other(&labels.subscribers);
        let sources = with_other(&labels.sources);
        let message = |word: &str| {
            let name = format!("snodo_messages_{word}_total");
            let help = format!("Messages {word}, counted from the rows.");
            make.counters(&name, &help, "source", &sources).map(Counted::Up)
        };
        let [received, accepted, rejected, repeated] = MESSAGE_BUCKETS.map(message);
        let (ended, owed) = (make.ended(&routes)?, make.owed(&routes)?);
        Ok(Self {
            messages: [received?, accepted?, rejected?, repeated?],
            created: Counted::Up(make.counters(
                "snodo_deliveries_created_total",
                "Deliveries ever owed, counted from the rows.",
                "route",
                &routes,
            )?),
            ended,
            owed,
            oldest_open: make.gauges(
                "snodo_ledger_oldest_open_message_age_seconds",
                "Age of the oldest open delivery.",
                "route",
                &routes,
            )?,
            waiting: make.gauges(
                "snodo_retry_scheduled",
                "Deliveries that wait for their time.",
                "route",
                &routes,
            )?,
            oldest_queued: make.registered(Gauge::new(
                "snodo_outbox_oldest_age_seconds",
                "How long the oldest queued delivery has not been published.",
            ))?,
            oldest_in_inbox: make.gauges(
                "snodo_inbox_oldest_age_seconds",
                "How long the oldest delivery in a party's inbox has not been fetched and acknowledged.",
                "route",
                &labels.inboxes.iter().map(String::as_str).collect(),
            )?,
            inboxes: RwLock::new(labels.inboxes.iter().cloned().collect()),
            strays: make.gauge("snodo_strays", "Messages in our queues that no row knows.")?,
            read: make.gauge("snodo_ledger_read", "Whether the last reading succeeded.")?,
        })
    }

    fn name(&self, routes: &BTreeSet<&str>, sources: &BTreeSet<&str>) {
        self.messages.iter().for_each(|counted| counted.name(sources));
        let counted = [&self.created].into_iter().chain(&self.ended).chain(&self.owed);
        counted.for_each(|counted| counted.name(routes));
        self.oldest_open.name(routes);
        self.waiting.name(routes);
    }

    /// Who fetches now. What waits for them waits for nobody else.
    fn fetch(&self, inboxes: &[String]) {
        self.oldest_in_inbox.name(&inboxes.iter().map(String::as_str).collect());
        let inboxes = inboxes.iter().cloned().collect();
        *self.inboxes.write().unwrap_or_else(PoisonError::into_inner) = inboxes;
    }

    async fn read(
        &self,
        ledger: &dyn Ledger,
        now: Timestamp,
        held: &Family<IntGauge>,
    ) -> Result<Ages, ReadError> {
        let messages = ledger.message_totals().await?;
        let deliveries = ledger.delivery_totals().await?;
        let ages = ledger.ages().await?;
        for (word, counted) in MESSAGE_BUCKETS.iter().zip(&self.messages) {
            counted.show(&messages, |bucket| bucket == *word);
        }
        self.created.show(&deliveries, |_| true);
        for (bucket, counted) in ENDED.iter().zip(&self.ended) {
            counted.show(&deliveries, |word| word == bucket.word());
        }
        for (bucket, counted) in OWED.iter().zip(&self.owed) {
            counted.show(&deliveries, |word| word == bucket.word());
        }
        self.show_ages(&ages, now, held);
        Ok(ages)
    }

    fn show_ages(&self, ages: &Ages, now: Timestamp, held: &Family<IntGauge>) {
        let age =
            |since: &Timestamp| i64::try_from(now.since(*since).as_secs()).unwrap_or(i64::MAX);
        let inboxes = self.inboxes.read().unwrap_or_else(PoisonError::into_inner);
        let fetches = |name: &str| inboxes.contains(name);
        let oldest = ages.oldest_open.iter().filter(|(name, _)| !fetches(name));
        let oldest = oldest.map(|(name, since)| (name.as_ref(), age(since)));
        show_gauges(&self.oldest_open, oldest, i64::max);
        for (name, gauge) in &*self.oldest_in_inbox.read() {
            let since = ages.oldest_queued.get(name.as_str()).filter(|_| fetches(name));
            gauge.set(since.map_or(0, age));
        }
        let waiting = ages.waiting.iter().map(|(name, n)| (name.as_ref(), *n));
        show_gauges(&self.waiting, waiting, |a, b| a + b);
        // What waits for a target, or for who fetches it, is no backlog of the bus.
        let held = held.read();
        let waits = |name: &str| held.get(name).is_some_and(|gauge| gauge.get() == 1);
        let unpublished =
            ages.oldest_queued.iter().filter(|(name, _)| !fetches(name) && !waits(name));
        let since = unpublished.map(|(_, since)| *since).min();
        let queued = since.map_or(Duration::ZERO, |since| now.since(since));
        self.oldest_queued.set(queued.as_secs_f64());
        self.strays.set(ages.strays);
    }
}

impl Maker<'_> {
    fn ended(&self, routes: &BTreeSet<&str>) -> prometheus::Result<[Counted; 3]> {
        let help = "Deliveries that ended, counted from the rows.";
        let opts = Opts::new("snodo_deliveries_ended_total", help);
        let vec = self.registered(IntCounterVec::new(opts, &["route", "state"]))?;
        let of = |bucket: Bucket| {
            let vec = vec.clone();
            let child = move |name: &str| vec.with_label_values(&[name, bucket.word()]);
            Counted::Up(Family::new(routes, child))
        };
        Ok(ENDED.map(of))
    }

    fn owed(&self, routes: &BTreeSet<&str>) -> prometheus::Result<[Counted; 3]> {
        let help = "Deliveries that are owed, counted from the rows.";
        let opts = Opts::new("snodo_deliveries", help);
        let vec = self.registered(IntGaugeVec::new(opts, &["route", "state"]))?;
        let of = |bucket: Bucket| {
            let vec = vec.clone();
            let child = move |name: &str| vec.with_label_values(&[name, bucket.word()]);
            Counted::Now(Family::new(routes, child))
        };
        Ok(OWED.map(of))
    }
}

/// Sets every gauge to what is told of its name, 0 where nothing is; strangers add up in `_other`.
fn show_gauges<'a>(
    gauges: &Family<IntGauge>,
    told: impl Iterator<Item = (&'a str, i64)>,
    join: fn(i64, i64) -> i64,
) {
    let gauges = gauges.read();
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for (name, n) in told {
        let name = if gauges.contains_key(name) { name } else { OTHER };
        sums.entry(name).and_modify(|sum| *sum = join(*sum, n)).or_insert(n);
    }
    for (name, gauge) in &*gauges {
        gauge.set(sums.get(name.as_str()).copied().unwrap_or(0));
    }
}

impl Counted {
    fn name(&self, names: &BTreeSet<&str>) {
        match self {
            Self::Up(counters) => counters.name(names),
            Self::Now(gauges) => gauges.name(names),
        }
    }

    /// Shows the sums of the totals whose bucket is `wanted`.
    fn show(&self, totals: &[Total], wanted: impl Fn(&str) -> bool) {
        let told = totals.iter().filter(|total| wanted(&total.bucket));
        let told = told.map(|total| (total.name.as_ref(), total.n));
        match self {
            Self::Now(gauges) => show_gauges(gauges, told, |a, b| a + b),
            Self::Up(counters) => show_counters(counters, told),
        }
    }
}

fn show_counters<'a>(counters: &Family<IntCounter>, told: impl Iterator<Item = (&'a str, i64)>) {
    let counters = counters.read();
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, n) in told {
        let name = if counters.contains_key(name) { name } else { OTHER };
        *sums.entry(name).or_default() += u64::try_from(n).unwrap_or(0);
    }
    for (name, counter) in &*counters {
        let sum = sums.get(name.as_str()).copied().unwrap_or(0);
        // Lower only after a restored backup; then Prometheus sees a reset, as it should.
        if sum < counter.get() {
            counter.reset();
        }
        counter.inc_by(sum - counter.get());
    }
}

impl Ingress {
    fn new(make: &Maker<'_>, labels: &Labels) -> prometheus::Result<Self> {
        let results = make.counter_of(
            "snodo_ingress_requests_total",
            "Requests that bring a message, by how they ended.",
            "result",
            IngressResult::WORDS,
        )?;
        Ok(Self {
            results: results.to_vec(),
            rejected: make.counters(
                "snodo_ingress_rejected_total",
                "Requests refused, by code.",
                "code",
                &with_other(&labels.codes),
            )?,
            took: make.histogram(
                "snodo_ingress_duration_seconds",
                "From the request's head to its answer.",
                &SHORT,
            )?,
            bytes: make.histogram("snodo_ingress_body_bytes", "Size of bodies.", &BYTES)?,
            in_flight: make.gauge("snodo_ingress_in_flight", "Requests not answered yet.")?,
        })
    }
}

impl Work {
    fn new(make: &Maker<'_>, labels: &Labels) -> prometheus::Result<Self> {
        let routes = with_other(&labels.subscribers);
        let moves: BTreeSet<&str> = MOVES.into_iter().chain([OTHER]).collect();
        let publish = ("snodo_publish_total", "Copies sent, by the broker's word.");
        let faults = ("snodo_faults_total", "Faults of deliveries, by what became of them.");
        let commits = "Groups given to the ledger, by how they ended.";
        let up = "Whether the route's consumer is up; a route that is held has none, as it should.";
        let held = "Whether the route waits for a target that is away.";
        let circuit = "Whether the target is away: 0 no, 2 yes.";
        let instances = instances_of(labels);
        let moved = "Rows moved by sweeps.";
        let works = "Whether a component works.";
        let components = COMPONENTS.into_iter().collect();
        Ok(Self {
            published: make.counters_by(publish, ["route", "result"], &routes, CONFIRMS)?,
            faults: make.counters_by(faults, ["route", "verdict"], &routes, VERDICTS)?,
            suppressed: make.counters(
                "snodo_duplicates_suppressed_total",
                "Copies that came once more and had no effect.",
                "route",
                &routes,
            )?,
            consumers: make.gauges("snodo_consumer_active", up, "route", &routes)?,
            held: make.gauges("snodo_route_held", held, "route", &routes)?,
            circuits: make.gauges("snodo_circuit_state", circuit, "target", &instances)?,
            calls: make.calls(labels)?,
            moved: make.counters("snodo_ledger_moved_rows_total", moved, "what", &moves)?,
            commits: make.counter_of("snodo_ledger_commits_total", commits, "result", COMMITS)?,
            ready: make.gauges("snodo_ready", works, "component", &components)?,
            forgotten: make.counter_of(
                "snodo_retention_removed_total",
                "Rows that retention removed.",
                "what",
                FORGOTTEN,
            )?,
            forget_behind: make.registered(Gauge::new(
                "snodo_retention_behind_seconds",
                "For how long what is to be forgotten next has waited.",
            ))?,
            totals_differ: make.gauge(
                "snodo_totals_difference",
                "By how much the totals differ from the rows, when last compared.",
            )?,
            totals_agreed: make.registered(Gauge::new(
                "snodo_totals_agreed_timestamp_seconds",
                "When the totals last agreed with the rows.",
            ))?,
            confirm_took: make.histogram(
                "snodo_publish_confirm_duration_seconds",
                "From publish to the broker's word.",
                &SHORT,
            )?,
            batch_copies: make.histogram(
                "snodo_fast_batch_copies",
                "Copies in a batch of the fast path.",
                &ROWS,
            )?,
            batch_took: make.histogram(
                "snodo_fast_batch_duration_seconds",
                "How long a batch of the fast path took.",
                &SHORT,
            )?,
            commit_rows: make.histogram(
                "snodo_ledger_commit_actions",
                "Actions in a group.",
                &ROWS,
            )?,
            commit_took: make.histogram(
                "snodo_ledger_commit_duration_seconds",
                "How long a commit took.",
                &SHORT,
            )?,
        })
    }
}

/// The adapter instances whose operations are called, and one for strangers.
fn instances_of(labels: &Labels) -> BTreeSet<&str> {
    let named = labels.targets.iter().filter_map(|target| target.split_once('.'));
    named.map(|(instance, _)| instance).chain([OTHER]).collect()
}

impl Maker<'_> {
    fn calls(
        &self,
        labels: &Labels,
    ) -> prometheus::Result<Family<(IntCounter, IntCounter, Histogram)>> {
        let targets = with_other(&labels.targets);
        let calls = Opts::new("snodo_adapter_calls_total", "Calls of operations.");
        let calls = self.registered(IntCounterVec::new(calls, &["target", "outcome"]))?;
        let options =
            HistogramOpts::new("snodo_adapter_call_duration_seconds", "How long calls took.");
        let took = HistogramVec::new(options.buckets(SHORT.to_vec()), &["target"]);
        let took = self.registered(took)?;
        Ok(Family::new(&targets, move |target| {
            let [ok, fault] = ["ok", "fault"].map(|word| calls.with_label_values(&[target, word]));
            (ok, fault, took.with_label_values(&[target]))
        }))
    }
}
