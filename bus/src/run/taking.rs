//! Who takes from which queue: a consumer for every queue of every route, and what a reload changes.
//!
//! Invariant: a consumer that is stopped finishes what it began and gives the rest back; nobody consumes
//! a queue twice in this process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use snodo_core::{
    route::Routes,
    topology::{POISON, RouteQueues, UNROUTED, queue_of},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    broker::BrokerSide,
    consume::{self, Source},
    loops,
};
use crate::{engine::Engine, metrics::Metrics};

/// The consumers of a process.
pub(super) struct Taking {
    engine: Arc<Engine>,
    broker: Arc<BrokerSide>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    /// Ends all of them.
    stop: CancellationToken,
    routes: Mutex<BTreeMap<String, Taken>>,
}

/// A route whose queues are consumed, and what ends that.
struct Taken {
    queues: RouteQueues,
    stop: CancellationToken,
}

impl Taking {
    pub(super) fn new(
        engine: &Arc<Engine>,
        broker: &Arc<BrokerSide>,
        metrics: &Arc<Metrics>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            broker: Arc::clone(broker),
            metrics: Arc::clone(metrics),
            tasks: tasks.clone(),
            stop: stop.clone(),
            routes: Mutex::default(),
        }
    }

    /// Starts to consume every queue of the bus.
    pub(super) fn start(&self) {
        self.follow(&self.engine.routes(), &[]);
        self.consume(UNROUTED, Source::Unrouted, &self.stop);
        self.consume(POISON, Source::Poison, &self.stop);
    }

    /// Consumes the queues of these routes, and of no others but those that are named to be kept.
    pub(super) fn follow(&self, routes: &Routes, keep: &[String]) {
        let mut taken = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: BTreeMap<_, _> =
            routes.iter().map(|route| (route.name.clone(), RouteQueues::of(route))).collect();
        taken.retain(|name, taken| {
            let stays = wanted.get(name) == Some(&taken.queues) || keep.contains(name);
            if !stays {
                taken.stop.cancel();
            }
            stays
        });
        for (name, queues) in wanted {
            if !taken.contains_key(&name)
                && let Some(begun) = self.take(queues)
            {
                taken.insert(name, begun);
            }
        }
    }

    /// None before the broker is up.
    fn take(&self, queues: RouteQueues) -> Option<Taken> {
        let stop = self.stop.child_token();
        let source = Source::Route(queues.route.clone());
        let consume = |shard| {
            let consumer = self.broker.consumer(&queue_of(&queues.route, shard))?;
            let observed = consumer.observe();
            let (engine, stop) = (Arc::clone(&self.engine), stop.clone());
            self.tasks.spawn(consume::consume(engine, consumer, source.clone(), stop));
            Some(observed)
        };
        let states = queues.shards().map(consume).collect::<Option<_>>()?;
        let engine = Arc::clone(&self.engine);
        let (metrics, route) = (Arc::clone(&self.metrics), queues.route.clone());
        self.tasks.spawn(loops::watch_consumers(states, engine, metrics, route));
        Some(Taken { queues, stop })
    }

    fn consume(&self, queue: &str, source: Source, stop: &CancellationToken) {
        let Some(consumer) = self.broker.consumer(queue) else { return };
        let (engine, stop) = (Arc::clone(&self.engine), stop.clone());
        self.tasks.spawn(consume::consume(engine, consumer, source, stop));
    }
}
