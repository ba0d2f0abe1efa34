//! The loops of the engine, paced: each `step()` again when there is more, after a pause when not.
//!
//! Invariant: a loop that cannot read or write the ledger waits and tries again; it never ends by itself.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::select_all;
use snodo_core::topology::{Finding, RouteQueues, queue_of};
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Bus, broker::BrokerSide};
use crate::{
    broker::{
        consume::ConsumerState,
        management::{Management, segment},
        session::{Endpoint, LinkState},
    },
    clock::Clock,
    disk::Disk,
    documents::Collector,
    edge::{health::Health, room::Room},
    engine::{
        Engine,
        breakers::Breakers,
        periods::Periods,
        reconcile::{Reconciler, Sample},
        relay::{Feeder, Relay},
        sweep::Sweeper,
    },
    ledger::{CommitError, writer::Report},
    metrics::{CommitResult, Metrics},
    settings::LedgerSettings,
};

/// Between looks where there was nothing to do.
const IDLE: Duration = Duration::from_millis(100);
/// Between looks after a failure.
const FAILED: Duration = Duration::from_secs(1);
/// Between looks at the broker's queues.
const RECONCILE: Duration = Duration::from_secs(5);
/// Between looks at the broker's topology.
const TOPOLOGY: Duration = Duration::from_secs(30);
/// Before the management interface is asked again that has refused us: each question is a login.
const REFUSED: Duration = Duration::from_secs(30);
/// How far the broker's own figures may lag behind: a sample counts as taken so much earlier.
const STATISTICS_LAG: Duration = Duration::from_secs(15);

/// Spawns relay, feeder, sweeper, clocks, collector and the watch on the disk.
pub(super) fn spawn(bus: &Bus, health: &Arc<Health>) {
    let expires = matches!(bus.settings.ledger, LedgerSettings::Postgres { .. });
    let engine = &bus.engine;
    let stop = &bus.stop_writing;
    let mut relay = Relay::new(Arc::clone(engine));
    let stopped = stop.clone();
    bus.tasks
        .spawn(async move { while stopped.run_until_cancelled(relay.step()).await.is_some() {} });
    bus.tasks.spawn(paced(
        stop.clone(),
        "feeder",
        Feeder::new(Arc::clone(engine)),
        async |feeder| feeder.step().await.map(|found| found as u64),
    ));
    bus.tasks.spawn(paced(
        stop.clone(),
        "sweeper",
        Sweeper::new(Arc::clone(engine), expires),
        async |sweeper| sweeper.step().await,
    ));
    let (targets, clock) = (Arc::clone(health), Arc::clone(&bus.clock));
    bus.tasks.spawn(paced(
        stop.clone(),
        "breakers",
        (Breakers::new(Arc::clone(engine)), Arc::clone(engine)),
        async move |(breakers, engine)| {
            let done = breakers.step().await;
            targets.set("targets", all_answer(engine), clock.now());
            done
        },
    ));
    bus.tasks.spawn(paced(
        bus.stop_taking.clone(),
        "periods",
        Periods::new(Arc::clone(engine)),
        async |periods| periods.step().await,
    ));
    bus.tasks.spawn(paced(
        stop.clone(),
        "collector",
        Collector::new(bus.store.clone(), Arc::clone(&bus.ledger), Arc::clone(&bus.clock)),
        async |collector| collector.step().await,
    ));
    bus.tasks.spawn(watch_disk(
        Arc::clone(&bus.desk.disk),
        Arc::clone(&bus.metrics),
        Arc::clone(health),
        Arc::clone(&bus.clock),
        stop.clone(),
    ));
}

/// What the loops work with that look at the broker.
pub(super) struct Watch {
    pub(super) engine: Arc<Engine>,
    pub(super) broker: Arc<BrokerSide>,
    pub(super) health: Arc<Health>,
    pub(super) clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Watch {
    pub(super) fn of(bus: &Bus) -> Self {
        Self {
            engine: Arc::clone(&bus.engine),
            broker: Arc::clone(&bus.broker),
            health: Arc::clone(&bus.desk.health),
            clock: Arc::clone(&bus.clock),
            tasks: bus.tasks.clone(),
            stop: bus.stop_writing.clone(),
        }
    }

    /// Spawns reconciler, and the watches on topology and connection, once the broker is up.
    pub(super) fn spawn(self) {
        let Self { engine, broker, health, clock, tasks, stop } = self;
        let endpoint = broker.endpoint.clone();
        tasks.spawn(reconcile(engine, Arc::clone(&clock), endpoint, stop.clone()));
        let (link, said, at) = (broker.observe(), Arc::clone(&health), Arc::clone(&clock));
        tasks.spawn(watch_topology(broker, said, at, stop.clone()));
        if let Some(link) = link {
            tasks.spawn(watch_broker(link, health, clock, stop));
        }
    }
}

/// Steps a loop: at once where it did something, after a pause where not.
async fn paced<L, E: fmt::Display>(
    stop: CancellationToken,
    name: &'static str,
    mut looped: L,
    mut step: impl AsyncFnMut(&mut L) -> Result<u64, E>,
) {
    let mut failing = false;
    loop {
        let Some(done) = stop.run_until_cancelled(step(&mut looped)).await else { return };
        let pause = match done {
            Ok(0) => IDLE,
            Ok(_) => Duration::ZERO,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, name, "the ledger does not answer; trying again every second");
                }
                FAILED
            }
        };
        failing = pause == FAILED;
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Says which targets are away.
fn all_answer(engine: &Engine) -> Result<(), String> {
    let away: Vec<String> =
        engine.away().into_iter().map(|(name, since)| format!("{name} since {since}")).collect();
    if away.is_empty() {
        return Ok(());
    }
    Err(format!("away: {}; the routes that call them wait", away.join(", ")))
}

/// Compares what the ledger believes with what the broker says of its queues.
async fn reconcile(
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    endpoint: Endpoint,
    stop: CancellationToken,
) {
    let Ok(management) = Management::of(&endpoint) else { return };
    let mut reconciler = Reconciler::new(Arc::clone(&engine));
    let mut pause = RECONCILE;
    loop {
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
        let looked = stop.run_until_cancelled(async {
            let (samples, refused) = samples(&engine, &*clock, &management, &endpoint.vhost).await;
            pause = if refused { REFUSED } else { RECONCILE };
            reconciler.step(&samples).await
        });
        match looked.await {
            None => return,
            Some(Ok(0)) => {}
            Some(Ok(rows)) => {
                tracing::warn!(rows, "copies were lost in the broker and are published again");
            }
            Some(Err(error)) => tracing::debug!(%error, "not reconciled"),
        }
    }
}

/// What the broker says of the queues, and whether it refused to say it.
async fn samples(
    engine: &Engine,
    clock: &dyn Clock,
    management: &Management,
    vhost: &str,
) -> (Vec<Sample>, bool) {
    let mut samples = Vec::new();
    for route in engine.routes().iter() {
        for shard in RouteQueues::of(route).shards() {
            let asked_at = clock.now().before(STATISTICS_LAG);
            let queue = segment(&queue_of(&route.name, shard));
            let path = format!("/api/queues/{}/{queue}", segment(vhost));
            let queue = match management.get(&path).await {
                Ok(queue) => queue,
                Err(error) if error.is_refusal() => return (samples, true),
                Err(_) => continue,
            };
            if let Some(copies) = queue.get("messages").and_then(serde_json::Value::as_i64) {
                let subscriber = route.name.as_str().into();
                samples.push(Sample { subscriber, shard, asked_at, copies });
            }
        }
    }
    (samples, false)
}

/// Says what the broker lacks, or has otherwise than planned: its messages wait until a person acts.
async fn watch_topology(
    broker: Arc<BrokerSide>,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut said = String::new();
    while stop.run_until_cancelled(sleep(TOPOLOGY)).await.is_some() {
        let looked = stop.run_until_cancelled(broker.differs()).await;
        // Nobody can say: what was known is still all that is known.
        let Some(Some(differs)) = looked else { continue };
        let words = in_one_line(&differs);
        if words != said && !words.is_empty() {
            tracing::error!(words, "the broker differs from the plan");
        }
        said.clone_from(&words);
        let state = if words.is_empty() { Ok(()) } else { Err(words) };
        health.set("topology", state, clock.now());
    }
}

fn in_one_line(differs: &[Finding]) -> String {
    let Some(first) = differs.first() else { return String::new() };
    let more = match differs.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more: `snodo topology verify` lists them)"),
    };
    format!("{first}{more}")
}

/// Says whether the broker is there.
async fn watch_broker(
    mut link: watch::Receiver<LinkState>,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        let state = link.borrow_and_update().clone();
        let word = match (state.is_connected(), state.blocked, state.refused) {
            (true, false, _) => Ok(()),
            (true, true, _) => Err("the broker takes no messages: memory or disk alarm".to_owned()),
            (false, _, true) => {
                Err("the broker refuses the connection: user, password or vhost".to_owned())
            }
            (false, _, false) => {
                Err("no connection to the broker; messages are accepted and wait".to_owned())
            }
        };
        health.set("broker", word, clock.now());
        match stop.run_until_cancelled(link.changed()).await {
            Some(Ok(())) => {}
            _ => return,
        }
    }
}

/// Says how much room the disk has.
async fn watch_disk(
    disk: Arc<Disk>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        let uptime = clock.uptime();
        metrics.disk_free(disk.free(uptime));
        let word = if disk.is_short(uptime) {
            Err("the disk is nearly full: messages and documents are refused until there is room"
                .to_owned())
        } else {
            Ok(())
        };
        health.set("disk", word, clock.now());
        if stop.run_until_cancelled(sleep(FAILED)).await.is_none() {
            return;
        }
    }
}

/// Shows whether every queue of a route is consumed, or waits for a target as it should.
pub(super) async fn watch_consumers(
    mut states: Vec<watch::Receiver<ConsumerState>>,
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    route: String,
) {
    let mut held = engine.held_news();
    loop {
        // Each is marked as seen, whatever those before it say.
        let up: Vec<bool> =
            states.iter_mut().map(|state| state.borrow_and_update().consuming).collect();
        held.mark_unchanged();
        metrics.consumer(&route, up.into_iter().all(|up| up), engine.is_held(&route));
        let news = select_all(states.iter_mut().map(|state| Box::pin(state.changed())));
        let over = tokio::select! {
            told = held.changed() => told.is_err(),
            (told, ..) = news => told.is_err(),
        };
        if over {
            metrics.consumer(&route, false, false);
            return;
        }
    }
}

/// Keeps the room of the edge up to date.
pub(super) fn spawn_room(bus: &Bus, room: &Arc<Room>) {
    let (room, ledger, stop) = (Arc::clone(room), Arc::clone(&bus.ledger), bus.stop_taking.clone());
    bus.tasks.spawn(async move {
        loop {
            // Where the totals cannot be read, accepting fails by itself.
            let _ = room.refresh(&*ledger).await;
            if stop.run_until_cancelled(sleep(Duration::from_secs(1))).await.is_none() {
                return;
            }
        }
    });
}

/// Tells the metrics of every commit.
pub(super) fn report(metrics: Arc<Metrics>) -> Report {
    Report::to(move |committed, rows, took| {
        let result = match committed {
            Ok(()) => CommitResult::Committed,
            Err(CommitError::NotCommitted(_)) => CommitResult::NotCommitted,
            Err(CommitError::Unclear(_)) => CommitResult::Unclear,
        };
        metrics.committed(result, rows, took);
    })
}
