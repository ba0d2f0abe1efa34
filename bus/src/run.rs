//! `snodo run`: puts the checked house together, in start order, and takes it down in reverse.
//!
//! Invariant: nothing is taken into custody before the ledger is open under its lock and this start is
//! written in it; nothing waits for the broker but what goes through it. At the end consuming stops
//! first, and what is under way is finished or left to the next start. Only this module and those below
//! it spawn the loops of the engine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, RwLock, atomic::AtomicU64},
    time::Duration,
};

use snodo_core::{
    adapter::Instances,
    party::Parties,
    pseudonym::Pseudonyms,
    route::Routes,
    topology::{PartyQueue, Topology},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    broker::session::{Endpoint, Secret},
    clock::{Clock, SystemClock},
    disk::Disk,
    documents::{Keeper, Store},
    edge::{
        self, Admits, Desk, EdgeLimits, body::Shares, documents::Shelf, health::Health, room::Room,
    },
    engine::{self, Engine, Limits, Parts, SystemChance, TimerDeadlines, party_subscriber},
    house::Checked,
    ledger::{
        self, Ledger, RouteVersion, Started,
        slot::SlotLock,
        verify::Progress,
        writer::{GroupWriter, WriterOptions, WriterStats},
    },
    metrics::{Labels, Metrics},
    operators::{DirectWrite, LooksAtBroker, Office, socket::Socket},
    settings::{LedgerSettings, Settings},
};

mod broker;
mod consume;
pub mod last;
mod loops;
mod observe;
pub mod reload;
mod taking;
mod watch;

use broker::BrokerSide;
use last::Agreement;
use observe::Observer;
use reload::{Asks, CheckHouse, Reloader, Wishes};
use taking::Taking;

/// How long a stop waits for what is under way.
const DRAIN_WITHIN: Duration = Duration::from_secs(25);
/// Versions of routes that are written in one commit.
const VERSIONS: usize = 100;
/// The components that `/status` shows.
const COMPONENTS: [&str; 6] = ["ledger", "broker", "topology", "routes", "targets", "disk"];

/// Why the bus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(
        "SN0834: the data folder {0} cannot be used: {1}; make it writable for this user, \
         or name another under `data:`"
    )]
    Data(String, std::io::Error),
    /// The store of documents.
    #[error(
        "SN0880: the folder of documents below {0} cannot be used: {1}; make it writable for this user"
    )]
    Documents(String, std::io::Error),
    /// The slot is held.
    #[error(transparent)]
    Slot(#[from] ledger::slot::SlotError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] ledger::open::OpenError),
    /// The ledger, once open.
    #[error("SN0835: the start could not be written in the ledger: {0}")]
    Commit(#[from] ledger::CommitError),
    /// The ledger, once open.
    #[error("SN0835: {0}")]
    Read(#[from] ledger::ReadError),
    /// A version that open deliveries are pinned to.
    #[error("SN0836: the ledger's copy of route `{0}` does not run any more: {1}")]
    Version(String, String),
    /// The key under which rows name persons.
    #[error(transparent)]
    Key(#[from] crate::pseudonyms::KeyError),
    /// A secret.
    #[error("SN0837: the secret in {0} cannot be read: {1}")]
    Secret(String, std::io::Error),
    /// A listener.
    #[error(
        "SN0838: {0} cannot be listened on: {1}; another program has it, or `listen:` names a wrong address"
    )]
    Listen(String, std::io::Error),
    /// The broker.
    #[error("{0}")]
    Broker(String),
    /// The metrics.
    #[error("SN0901: a metric is declared twice: {0}")]
    Metrics(String),
}

/// What of the bus is started. The benchmark starts it in parts.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Whether the routes' queues are consumed from the start.
    pub consume: bool,
    /// Bounds of the engine.
    pub limits: Limits,
}

impl Default for Scope {
    fn default() -> Self {
        Self { consume: true, limits: Limits::default() }
    }
}

/// A running bus.
#[expect(missing_debug_implementations, reason = "the parts are behind traits")]
pub struct Bus {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Reads.
    pub ledger: Arc<dyn Ledger>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    pseudonyms: Arc<Pseudonyms>,
    settings: Settings,
    started: Started,
    parties: Parties,
    asks: Asks,
    wishes: Option<Wishes>,
    agreement: Arc<Agreement>,
    desk: Arc<Desk>,
    taking: Arc<Taking>,
    broker: Arc<BrokerSide>,
    writer: Arc<GroupWriter>,
    tasks: TaskTracker,
    /// Ends edge, operators and consuming.
    stop_taking: CancellationToken,
    /// Ends the loops that write what the taking has left.
    stop_writing: CancellationToken,
    store: Store,
    /// Why the broker cannot be worked with.
    no_broker: oneshot::Receiver<String>,
    _slot: SlotLock,
}

/// Runs the bus until SIGTERM or SIGINT; a second signal stops it at once. SIGHUP, and a change of the
/// house's files, have it read the house again. `log` counts lines of the log that were not written.
pub async fn run(
    checked: Checked,
    check: CheckHouse,
    log: &Arc<AtomicU64>,
) -> Result<(), StartError> {
    say_where_it_panicked();
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let hang_up = listen_for(SignalKind::hangup())?;
    let mut bus = tokio::select! {
        started = Bus::start(checked, Scope::default()) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    bus.metrics.follow_log(log);
    bus.follow_house(check, hang_up);
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        // Dropped without a word where all is well.
        Ok(why) = &mut bus.no_broker => Err(StartError::Broker(why)),
    };
    tracing::info!("stopping: what is under way is finished; a second signal stops at once");
    tokio::select! {
        () = bus.stop() => {}
        _ = terminate.recv() => tracing::warn!("stopped at once; the next start takes up what was under way"),
        _ = interrupt.recv() => tracing::warn!("stopped at once; the next start takes up what was under way"),
    }
    ended
}

/// The edge's view of everything.
fn desk(
    base: &Base,
    engine: &Arc<Engine>,
    metrics: &Arc<Metrics>,
    health: Arc<Health>,
    admits: Admits,
) -> Desk {
    let limits = base.settings.limits;
    Desk {
        engine: Arc::clone(engine),
        ledger: Arc::clone(&base.ledger),
        clock: Arc::clone(&base.clock),
        admits: RwLock::new(Arc::new(admits)),
        room: Arc::new(Room::new(limits.waiting_per_route)),
        shelf: Shelf::new(base.store.clone()),
        disk: Arc::new(Disk::new(base.settings.data.clone(), limits.disk_free)),
        health,
        metrics: Arc::clone(metrics),
        limits: EdgeLimits {
            body: limits.body,
            validation: limits.validation,
            ..EdgeLimits::default()
        },
        shares: Shares::default(),
        hosts: base.settings.hosts.as_slice().into(),
    }
}

fn listen_for(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(|error| StartError::Listen("a signal".to_owned(), error))
}

/// What is there before the broker is asked: the slot, the ledger under its lock, this start in it.
struct Base {
    settings: Settings,
    clock: Arc<dyn Clock>,
    ledger: Arc<dyn Ledger>,
    started: Started,
    store: Store,
    slot: SlotLock,
}

impl Base {
    async fn open(settings: Settings, routes: &mut Arc<Routes>) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        prepare(&settings.data)?;
        let slot = SlotLock::take(&settings.data, &settings.slot)?;
        let store = Store::open(&settings.data, &settings.slot)
            .map_err(|error| StartError::Documents(settings.data.display().to_string(), error))?;
        let ledger = ledger::open::open(&ledger_settings(&settings)?).await?;
        pin(&*ledger, Arc::make_mut(routes)).await?;
        let started = ledger.start(&settings.slot, clock.now()).await?;
        log_start(&started);
        Ok(Self { settings, clock, ledger, started, store, slot })
    }

    fn keeper(&self) -> Keeper {
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.clock));
        Keeper::new(self.store.clone(), ledger, clock)
    }

    fn writer(&self, metrics: &Arc<Metrics>) -> Arc<GroupWriter> {
        let heads = Some(heads_log(&self.settings));
        let mut options = match self.settings.ledger {
            LedgerSettings::Sqlite(_) => WriterOptions::sqlite(heads),
            LedgerSettings::Postgres { .. } => WriterOptions::postgres(heads),
        };
        options.report = loops::report(Arc::clone(metrics));
        GroupWriter::start(Arc::clone(&self.ledger), Arc::clone(&self.clock), options)
    }
}

impl Bus {
    /// Starts everything, in order: slot, ledger, engine, edge; the broker comes meanwhile, and what is
    /// accepted before it waits in the ledger.
    pub async fn start(checked: Checked, scope: Scope) -> Result<Self, StartError> {
        let metrics = Metrics::new(&labels(&checked))
            .map_err(|error| StartError::Metrics(error.to_string()))?;
        let Checked { settings, schemas, instances, mut routes, parties, .. } = checked;
        let base = Base::open(settings, &mut routes).await?;
        let health = Arc::new(Health::new(&COMPONENTS, Arc::clone(&metrics), base.clock.now()));
        health.set("ledger", Ok(()), base.clock.now());
        let broker =
            BrokerSide::new(&base.settings, &routes, &parties).map_err(StartError::Broker)?;
        let broker = Arc::new(broker);
        let writer = base.writer(&metrics);
        let pseudonyms = Arc::new(crate::pseudonyms::open(&base.settings)?);
        let engine = Engine::new(Parts {
            routes,
            instances,
            ledger: Arc::clone(&base.ledger),
            write: Arc::<GroupWriter>::clone(&writer),
            publish: Arc::<BrokerSide>::clone(&broker),
            clock: Arc::clone(&base.clock),
            chance: Arc::new(SystemChance),
            deadlines: Arc::new(TimerDeadlines),
            started: base.started.clone(),
            kept: Arc::new(base.keeper()),
            pseudonyms: Arc::clone(&pseudonyms),
            observer: Arc::new(Observer::new(Arc::clone(&metrics))),
            limits: scope.limits,
        });
        let (tasks, stop_taking) = (TaskTracker::new(), CancellationToken::new());
        let taking = Taking::new(&engine, &broker, &metrics, &tasks, &stop_taking);
        let desk =
            desk(&base, &engine, &metrics, health, Admits::of(schemas, &parties, &base.settings));
        let (asks, wishes) = Asks::new();
        let (says_no, no_broker) = oneshot::channel();
        let Base { settings, clock, ledger, started, store, slot } = base;
        let bus = Self {
            engine,
            ledger,
            clock,
            metrics,
            pseudonyms,
            settings,
            started,
            parties,
            asks,
            wishes: Some(wishes),
            agreement: Arc::default(),
            desk: Arc::new(desk),
            taking: Arc::new(taking),
            broker,
            writer,
            tasks,
            stop_taking,
            stop_writing: CancellationToken::new(),
            store,
            no_broker,
            _slot: slot,
        };
        bus.desk.health.set("routes", Ok(()), bus.clock.now());
        bus.bring_up_broker(scope.consume, says_no);
        loops::spawn(&bus, &bus.desk.health);
        last::spawn(&bus);
        bus.open_office()?;
        bus.open_edge().await?;
        Ok(bus)
    }

    /// Has the broker come up beside everything else; then its loops run, and its queues are consumed.
    fn bring_up_broker(&self, consume: bool, says_no: oneshot::Sender<String>) {
        let (settings, parties) = (self.settings.clone(), self.parties.clone());
        let (taking, watch) = (Arc::clone(&self.taking), loops::Watch::of(self));
        let work = async move {
            let routes = watch.engine.routes();
            if let Err(why) = watch.broker.come_up(&settings, &routes, &parties).await {
                // Whoever would hear it has ended.
                let _ = says_no.send(why);
                return;
            }
            watch.health.set("topology", Ok(()), watch.clock.now());
            if consume {
                taking.start();
            }
            watch.spawn();
        };
        let stop = self.stop_taking.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled(work).await });
    }

    /// Reads the house again whenever it is asked to: by SIGHUP, by an operator, by a change of its files.
    fn follow_house(&mut self, check: CheckHouse, mut hang_up: Signal) {
        let Some(wishes) = self.wishes.take() else { return };
        let reloader = Reloader {
            check,
            settings: self.settings.clone(),
            parties: self.parties.clone(),
            engine: Arc::clone(&self.engine),
            ledger: Arc::clone(&self.ledger),
            broker: Arc::clone(&self.broker),
            metrics: Arc::clone(&self.metrics),
            desk: Arc::clone(&self.desk),
            taking: Arc::clone(&self.taking),
            clock: Arc::clone(&self.clock),
        };
        let stop = self.stop_taking.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled(reloader.serve(wishes)).await });
        let (asks, stop) = (self.asks.clone(), self.stop_taking.clone());
        self.tasks.spawn(async move {
            while stop.run_until_cancelled(hang_up.recv()).await.flatten().is_some() {
                asks.soon();
            }
        });
        watch::spawn(&self.settings.house, &self.asks, &self.tasks, &self.stop_taking);
    }

    /// What the group writer has done so far.
    pub fn commits(&self) -> &WriterStats {
        self.writer.stats()
    }

    /// Starts to consume every queue of the bus.
    pub fn consume(&self) {
        self.taking.start();
    }

    fn open_office(&self) -> Result<(), StartError> {
        let path = self.settings.socket();
        let socket = Socket::bind(&path)
            .map_err(|error| StartError::Listen(path.display().to_string(), error))?;
        let engine = Arc::clone(&self.engine);
        let office = Office {
            ledger: Arc::clone(&self.ledger),
            write: Arc::<GroupWriter>::clone(&self.writer),
            routes: Box::new(move || engine.routes()),
            clock: Arc::clone(&self.clock),
            heads: heads_log(&self.settings),
            asks: Some(self.asks.clone()),
            agreement: Some(Arc::clone(&self.agreement)),
            pseudonyms: Arc::clone(&self.pseudonyms),
            broker: Some(self.look_at_broker()),
            verifying: Progress::default(),
        };
        self.tasks.spawn(socket.serve(Arc::new(office), self.stop_taking.clone()));
        Ok(())
    }

    fn look_at_broker(&self) -> LooksAtBroker {
        let broker = Arc::clone(&self.broker);
        Box::new(move || {
            let (endpoint, planned) = (broker.endpoint.clone(), broker.planned());
            Box::pin(async move { crate::doctor::of_broker(&endpoint, &planned).await })
        })
    }

    async fn open_edge(&self) -> Result<(), StartError> {
        loops::spawn_room(self, &self.desk.room);
        let parties = bind(self.settings.http).await?;
        let monitors = bind(self.settings.metrics).await?;
        tracing::info!(http = %self.settings.http, metrics = %self.settings.metrics, "listening");
        let (desk, stop) = (Arc::clone(&self.desk), self.stop_taking.clone());
        self.tasks.spawn(edge::serve(desk, parties, monitors, stop));
        Ok(())
    }

    /// Stops in reverse: takes nothing more, finishes what is under way, writes the clean end.
    pub async fn stop(self) {
        self.stop_taking.cancel();
        self.engine.stop_calling();
        self.tasks.close();
        let drained = timeout(DRAIN_WITHIN, async {
            while !self.engine.is_idle() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if drained.await.is_err() {
            tracing::warn!("not everything under way ended in time; the next start takes it up");
        }
        self.stop_writing.cancel();
        let ended = timeout(Duration::from_secs(5), self.tasks.wait()).await;
        self.broker.close().await;
        self.writer.shutdown().await;
        if ended.is_err() {
            return;
        }
        if let Err(error) = self.ledger.end(self.started.incarnation, self.clock.now()).await {
            tracing::warn!(%error, "the clean end could not be written");
        }
    }
}

/// A panic's words may hold what was in a message: only its place is logged.
fn say_where_it_panicked() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "SN0902 a mistake of the bus: a task panicked");
    }));
}

/// The data folder, for this user alone.
fn prepare(data: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| StartError::Data(data.display().to_string(), error))
}

fn ledger_settings(settings: &Settings) -> Result<ledger::open::Settings, StartError> {
    let mut opened = match &settings.ledger {
        LedgerSettings::Sqlite(path) => ledger::open::Settings::sqlite(settings.data.join(path)),
        LedgerSettings::Postgres { host, port, database, user, password } => {
            let secret = password
                .read()
                .map_err(|error| StartError::Secret(password.0.display().to_string(), error))?;
            ledger::open::Settings::postgres(postgres_url(host, *port, database, user, &secret))
        }
    };
    opened.slot.clone_from(&settings.slot);
    Ok(opened)
}

/// Writes the versions that run now, and takes up those to which open deliveries are pinned.
async fn pin(ledger: &dyn Ledger, routes: &mut Routes) -> Result<(), StartError> {
    let version = |route: &Arc<snodo_core::route::Route>| RouteVersion {
        digest: route.digest,
        route: route.name.clone(),
        bundle: Arc::clone(&route.bundle),
    };
    let versions: Vec<_> = routes.iter().map(version).collect();
    for some in versions.chunks(VERSIONS) {
        ledger.put_route_versions(some).await?;
    }
    for version in ledger.open_route_versions().await? {
        if routes.version(&version.digest).is_none() {
            let route = snodo_core::route::compile_bundle(&version.bundle)
                .map_err(|error| StartError::Version(version.route.clone(), error.to_string()))?;
            routes.add_old_version(Arc::new(route));
        }
    }
    Ok(())
}

fn log_start(started: &Started) {
    if started.unclean_up_to.is_some() {
        tracing::warn!(
            voided = started.voided,
            "the last run had no clean end; what was open takes a claim"
        );
    }
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| StartError::Listen(address.to_string(), error))
}

/// What the configuration names: the only label values there are.
fn labels(checked: &Checked) -> Labels {
    let routes = checked.routes.iter().map(|route| route.name.clone());
    let parties: Vec<String> =
        checked.parties.iter().map(|party| party_subscriber(&party.id).to_string()).collect();
    let fetch = checked.parties.iter().filter(|party| party.pulls());
    let inboxes = fetch.map(|party| party_subscriber(&party.id).to_string()).collect();
    let instances = checked.instances.iter().map(|(name, _)| name.to_owned());
    let clocks = checked.routes.iter().any(|route| route.schedule.is_some());
    let clocks = clocks.then(|| engine::periods::SOURCE.to_owned());
    Labels {
        subscribers: routes.chain(parties.iter().cloned()).collect(),
        inboxes,
        sources: parties.iter().cloned().chain(instances).chain(clocks).collect(),
        targets: targets(&checked.instances),
        codes: edge::problems::codes(),
        facts: asked_facts(checked),
        quotas: checked.instances.quotas().collect(),
    }
}

/// The facts for which routes ask, each once.
fn asked_facts(checked: &Checked) -> Vec<String> {
    let asks = checked.routes.iter().flat_map(|route| route.asked());
    let facts: std::collections::BTreeSet<&str> = asks.map(|ask| ask.fact.name.as_str()).collect();
    facts.into_iter().map(str::to_owned).collect()
}

fn targets(instances: &Instances) -> Vec<String> {
    let of = |name: &str, operation: &str| format!("{name}.{operation}");
    instances
        .iter()
        .flat_map(|(name, port)| {
            port.operations().into_iter().map(move |operation| of(name, &operation.name))
        })
        .collect()
}

/// What operators work with where no bus runs: the ledger, opened under its lock.
pub async fn office(checked: &Checked) -> Result<Office, StartError> {
    let ledger = ledger::open::open(&ledger_settings(&checked.settings)?).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let write = DirectWrite { ledger: Arc::clone(&ledger), clock: Arc::clone(&clock) };
    // A replay may put a delivery on the version that is there now, so it must be in the ledger.
    let mut routes = Arc::clone(&checked.routes);
    pin(&*ledger, Arc::make_mut(&mut routes)).await?;
    Ok(Office {
        ledger,
        write: Arc::new(write),
        routes: Box::new(move || Arc::clone(&routes)),
        clock,
        heads: heads_log(&checked.settings),
        asks: None,
        agreement: None,
        pseudonyms: Arc::new(crate::pseudonyms::open(&checked.settings)?),
        broker: None,
        verifying: Progress::default(),
    })
}

/// Where the heads of the evidence are kept, outside the ledger.
fn heads_log(settings: &Settings) -> PathBuf {
    settings.data.join("heads.log")
}

/// The names that a private broker has for itself; where it listens is known once it runs.
fn names_in_private() -> Endpoint {
    Endpoint {
        nodes: Vec::new(),
        vhost: "/".to_owned(),
        user: "snodo".to_owned(),
        password: Secret::Text(String::new()),
        management: None,
    }
}

/// What the broker must hold for a checked house, and where that broker is.
#[derive(Debug)]
pub struct Planned {
    /// The broker; none where it is the bus's own, which only the running bus reaches.
    pub endpoint: Option<Endpoint>,
    /// What it must hold.
    pub topology: Topology,
    queues: Vec<PartyQueue>,
    data: PathBuf,
}

impl Planned {
    /// Works it out; no network.
    pub fn of(checked: &Checked) -> Self {
        let endpoint = broker::cluster(&checked.settings.broker);
        let queues = broker::party_queues(&checked.parties);
        let names = endpoint.clone().unwrap_or_else(names_in_private);
        let topology = broker::planned(&names, &checked.routes, &queues);
        Self { endpoint, topology, queues, data: checked.settings.data.clone() }
    }

    /// The parties' passwords, made where there are none yet.
    pub fn passwords(&self) -> std::io::Result<BTreeMap<String, Secret>> {
        prepare(&self.data).map_err(std::io::Error::other)?;
        broker::passwords(&self.data, &self.queues)
    }
}

/// The address of a PostgreSQL server; user and password are written so that no sign of them is lost.
fn postgres_url(host: &str, port: u16, database: &str, user: &str, password: &str) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    // The folder of a server's Unix socket is one word of the address.
    let host = host.replace('/', "%2F");
    format!("postgres://{}:{}@{host}:{port}/{}", escape(user), escape(password), escape(database))
}
