//! What the targets of routes can take now: how many calls at once, how many a second, or none at all.
//!
//! Invariant: a call has a place here before anything of it is written or sent; while a target is away
//! the routes that call it are held, and nobody calls it but who was told to try.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use snodo_core::{
    adapter::{Instances, Pace},
    breaker::{RELEASE, Rate, Release, Seen, Window, next_probe},
    fault::{Fault, FaultClass},
    ids::DeliveryId,
    route::Routes,
    timestamp::Timestamp,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{Engine, locked};
use crate::ledger::{Subscriber, TargetAway};

/// How long a claimed delivery waits for its place at a target. Its lease is longer.
const PATIENCE: Duration = Duration::from_secs(40);
/// After which a delivery that got no place is tried again.
const FULL: Duration = Duration::from_secs(5);
/// After which a delivery that met a target which is away may be published again: then it is held.
const AWAY: Duration = Duration::from_secs(5);
/// Old copies that are with the broker at one time after an outage, so that fresh ones are soon served.
const AHEAD: u32 = 256;

/// Whom a route calls, as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Nobody: what the ledger itself applies is no call.
    Nobody,
    /// A target that has no place free.
    Crowded,
    /// Targets with places.
    Free,
}

/// The targets of one process.
#[derive(Debug)]
pub(super) struct Targets {
    inner: Mutex<Inner>,
    /// Tells that routes are held, or not any more.
    news: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: BTreeMap<String, Target>,
    /// Which instances each route calls.
    calls: BTreeMap<String, BTreeSet<String>>,
    /// Routes that are held.
    held: BTreeSet<String>,
    /// Routes that are let go again.
    releases: HashMap<Subscriber, Release>,
    /// What may call a target that is away, to see whether it is back; and what that showed.
    trials: HashMap<DeliveryId, Option<Seen>>,
}

#[derive(Debug)]
struct Target {
    pace: Pace,
    places: Arc<Semaphore>,
    rate: Option<Rate>,
    window: Window,
    away: Option<Away>,
}

/// A target that is away, as this process knows it.
#[derive(Clone, Debug)]
struct Away {
    line: TargetAway,
    /// Whether the ledger has its line.
    written: bool,
}

/// A place at a target, until it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held, never read: dropping it is what counts")]
pub(super) struct Place(Option<OwnedSemaphorePermit>);

/// What a delivery has to do before its call.
enum Turn {
    Go(Arc<Semaphore>, Duration),
    NotNow(Fault),
    Unlimited,
}

impl Target {
    fn new(pace: Pace) -> Self {
        let places = usize::try_from(pace.at_once).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            pace,
            places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))),
            rate: pace.per_second.map(Rate::new),
            window: Window::default(),
            away: None,
        }
    }
}

impl Targets {
    pub(super) fn new(instances: &Instances, routes: &Routes) -> Self {
        let targets = Self { inner: Mutex::default(), news: watch::Sender::new(()) };
        targets.follow(instances, routes);
        targets
    }

    /// These instances and routes are the ones now. What is away stays away.
    pub(super) fn follow(&self, instances: &Instances, routes: &Routes) {
        let mut inner = locked(&self.inner);
        let mut before = std::mem::take(&mut inner.by_name);
        for (name, pace) in instances.paces() {
            let known = before.remove(name);
            let away = known.as_ref().and_then(|known| known.away.clone()).filter(|_| pace.breaker);
            let target = known.filter(|known| known.pace == pace);
            let mut target = target.unwrap_or_else(|| Target::new(pace));
            target.away = away;
            inner.by_name.insert(name.to_owned(), target);
        }
        let calls = routes.iter().map(|route| {
            (route.name.clone(), route.targets().map(str::to_owned).collect::<BTreeSet<_>>())
        });
        inner.calls = calls.filter(|(_, targets)| !targets.is_empty()).collect();
        inner.hold();
        drop(inner);
        self.news.send_replace(());
    }

    /// Whether a route waits for a target that is away.
    pub(super) fn holds(&self, subscriber: &str) -> bool {
        locked(&self.inner).held.contains(subscriber)
    }

    fn calls(&self, route: &str) -> Calls {
        let inner = locked(&self.inner);
        let Some(targets) = inner.calls.get(route) else { return Calls::Nobody };
        let is_full = |name: &String| {
            inner.by_name.get(name).is_some_and(|target| target.places.available_permits() == 0)
        };
        if targets.iter().any(is_full) { Calls::Crowded } else { Calls::Free }
    }

    /// Nobody gets a place any more: what waits for one goes back to the ledger.
    fn close(&self) {
        locked(&self.inner).by_name.values().for_each(|target| target.places.close());
    }

    /// Whether a new delivery may be published at once.
    pub(super) fn lets_fresh(&self, subscriber: &str, now: Duration) -> bool {
        let mut inner = locked(&self.inner);
        if inner.held.contains(subscriber) {
            return false;
        }
        inner.releases.get_mut(subscriber).is_none_or(|release| release.lets_fresh(now))
    }

    /// How many that have waited may be published now; none said: as many as there is room for.
    pub(super) fn let_old(&self, subscriber: &str, now: Duration, ahead: i64) -> Option<u32> {
        let mut inner = locked(&self.inner);
        let release = inner.releases.get_mut(subscriber)?;
        let room = AHEAD.saturating_sub(u32::try_from(ahead).unwrap_or(0));
        Some(release.let_old(now, room))
    }

    /// So many of those that were let go were not there; `whole`: and nothing waits any more.
    pub(super) fn let_go(&self, subscriber: &str, unused: u32, whole: bool) {
        let mut inner = locked(&self.inner);
        if whole {
            inner.releases.remove(subscriber);
        } else if let Some(release) = inner.releases.get_mut(subscriber) {
            release.give_back(unused);
        }
    }

    fn turn(&self, instance: &str, delivery: DeliveryId, now: Duration) -> Turn {
        let mut inner = locked(&self.inner);
        let tries = inner.trials.contains_key(&delivery);
        let Some(target) = inner.by_name.get_mut(instance) else { return Turn::Unlimited };
        if let (Some(away), false) = (&target.away, tries) {
            return Turn::NotNow(is_away(instance, away.line.since));
        }
        match target.rate.as_mut().map_or(Ok(Duration::ZERO), |rate| rate.turn(now, PATIENCE)) {
            Ok(wait) => Turn::Go(Arc::clone(&target.places), wait),
            Err(wait) => Turn::NotNow(has_its_fill(instance, wait)),
        }
    }

    /// What a call showed of its target; opens the breaker where it shows enough.
    fn saw(
        &self,
        instance: &str,
        delivery: DeliveryId,
        seen: Seen,
        (now, code): (Timestamp, &str),
    ) {
        let mut inner = locked(&self.inner);
        if let Some(trial) = inner.trials.get_mut(&delivery) {
            *trial = Some(seen);
            return;
        }
        let Some(target) = inner.by_name.get_mut(instance) else { return };
        if !target.window.opens(seen) || !target.pace.breaker || target.away.is_some() {
            return;
        }
        let probe_at = next_probe(now, now);
        let (instance, code) = (instance.to_owned(), code.to_owned());
        let line = TargetAway { instance, since: now, code, probe_at };
        target.away = Some(Away { line, written: false });
        inner.hold();
        drop(inner);
        self.news.send_replace(());
    }

    /// Lines that the ledger does not have yet.
    pub(super) fn unwritten(&self) -> Vec<TargetAway> {
        let inner = locked(&self.inner);
        let away = inner.by_name.values().filter_map(|target| target.away.as_ref());
        away.filter(|away| !away.written).map(|away| away.line.clone()).collect()
    }

    /// What the ledger says: these are away, all others are not. Which of them came or went.
    pub(super) fn set(&self, lines: &[TargetAway], now: Duration) -> Vec<(String, bool)> {
        let mut inner = locked(&self.inner);
        let mut changes = Vec::new();
        for (name, target) in &mut inner.by_name {
            let line = lines.iter().find(|line| line.instance == *name);
            let line = line.filter(|_| target.pace.breaker);
            let written = target.away.as_ref().is_some_and(|away| away.written);
            if line.is_some() != written {
                changes.push((name.clone(), line.is_some()));
            }
            target.away = line.map(|line| Away { line: line.clone(), written: true });
            if line.is_none() && written {
                target.window = Window::default();
            }
        }
        let before = inner.held.clone();
        inner.hold();
        let free: Vec<String> = before.difference(&inner.held).cloned().collect();
        let moved = before != inner.held;
        for route in free {
            let rate = inner.rate_of(&route);
            inner.releases.insert(route.into(), Release::new(rate, now));
        }
        drop(inner);
        if moved {
            self.news.send_replace(());
        }
        changes
    }

    /// The routes that call an instance.
    pub(super) fn callers(&self, instance: &str) -> Vec<Subscriber> {
        let inner = locked(&self.inner);
        let calls = inner.calls.iter().filter(|(_, targets)| targets.contains(instance));
        calls.map(|(route, _)| route.as_str().into()).collect()
    }

    /// This delivery may call a target that is away.
    pub(super) fn try_with(&self, delivery: DeliveryId) {
        locked(&self.inner).trials.insert(delivery, None);
    }

    /// What its call showed, where it made one.
    pub(super) fn tried(&self, delivery: DeliveryId) -> Option<Seen> {
        locked(&self.inner).trials.remove(&delivery).flatten()
    }
}

impl Inner {
    fn hold(&mut self) {
        let is_away =
            |name: &String| self.by_name.get(name).is_some_and(|target| target.away.is_some());
        let held = self.calls.iter().filter(|(_, targets)| targets.iter().any(is_away));
        self.held = held.map(|(route, _)| route.clone()).collect();
    }

    /// The lowest rate among the targets of a route.
    fn rate_of(&self, route: &str) -> u32 {
        let targets = self.calls.get(route).into_iter().flatten();
        let rates = targets.filter_map(|name| self.by_name.get(name)?.pace.per_second);
        rates.min().unwrap_or(RELEASE)
    }
}

impl Engine {
    /// Whether a route waits for a target that is away: then nobody takes from its queues.
    pub fn is_held(&self, route: &str) -> bool {
        self.targets.holds(route)
    }

    /// Whom a route calls, and whether more of its deliveries than a few would only wait for a place.
    pub fn calls(&self, route: &str) -> Calls {
        self.targets.calls(route)
    }

    /// At the end of a process: what waits for a place at its target goes back to the ledger at once.
    pub fn stop_calling(&self) {
        self.targets.close();
    }

    /// Changes whenever [`Engine::is_held`] may answer otherwise.
    pub fn held_news(&self) -> watch::Receiver<()> {
        self.targets.news.subscribe()
    }

    /// The targets that are away, with since when.
    pub fn away(&self) -> Vec<(String, Timestamp)> {
        let inner = locked(&self.targets.inner);
        let away = inner.by_name.iter().filter_map(|(name, target)| {
            target.away.as_ref().map(|away| (name.clone(), away.line.since))
        });
        away.collect()
    }

    /// A place at a target for the call of a delivery, soon or not now.
    pub(super) async fn place_at(
        &self,
        instance: &str,
        delivery: DeliveryId,
    ) -> Result<Place, Fault> {
        let (places, wait) = match self.targets.turn(instance, delivery, self.clock.uptime()) {
            Turn::Go(places, wait) => (places, wait),
            Turn::NotNow(fault) => return Err(fault),
            Turn::Unlimited => return Ok(Place(None)),
        };
        if !wait.is_zero() {
            self.deadlines.within(wait, Box::pin(std::future::pending())).await;
        }
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Ok(Place(Some(place)));
        }
        match self.in_time(PATIENCE, Box::pin(places.acquire_owned())).await {
            Some(Ok(place)) => Ok(Place(Some(place))),
            _ => Err(has_its_fill(instance, FULL)),
        }
    }

    /// Notes what a call showed of its target.
    pub(super) fn saw(&self, instance: &str, delivery: DeliveryId, fault: Option<&Fault>) {
        let code = fault.map_or("", |fault| fault.code.as_str());
        self.targets.saw(instance, delivery, Seen::of(fault), (self.clock.now(), code));
    }
}

fn is_away(instance: &str, since: Timestamp) -> Fault {
    let text = format!(
        "`{instance}` is away since {since}; what calls it waits, and goes on by itself once it answers"
    );
    Fault::new(FaultClass::NotNow { wait: AWAY }, "SN0729", text)
}

fn has_its_fill(instance: &str, wait: Duration) -> Fault {
    let text = format!(
        "`{instance}` has as many calls as `limits` of its configuration let through; this one waits"
    );
    Fault::new(FaultClass::NotNow { wait }, "SN0740", text)
}

#[cfg(test)]
mod tests {
    use snodo_core::ids::MessageId;

    use super::*;

    const NOW: (Timestamp, &str) = (Timestamp(1_000_000), "SN0760");

    fn targets() -> Targets {
        let targets = Targets { inner: Mutex::default(), news: watch::Sender::new(()) };
        let mut inner = locked(&targets.inner);
        let pace = Pace { at_once: 1, per_second: None, breaker: true };
        inner.by_name.insert("canteen".to_owned(), Target::new(pace));
        inner.calls.insert("enrol".to_owned(), BTreeSet::from(["canteen".to_owned()]));
        drop(inner);
        targets
    }

    fn delivery() -> DeliveryId {
        DeliveryId::derived(MessageId::accepted(1, [1; 10]), "enrol")
    }

    fn go_away(targets: &Targets) -> TargetAway {
        for _ in 0..5 {
            targets.saw("canteen", delivery(), Seen::Unanswered, NOW);
        }
        targets.unwritten().pop().expect("it is away")
    }

    #[test]
    fn a_target_that_is_away_holds_its_routes_and_is_not_called() {
        let targets = targets();
        assert!(!targets.holds("enrol"));
        let line = go_away(&targets);
        assert!(targets.holds("enrol") && !targets.holds("another"));
        assert!(!targets.lets_fresh("enrol", Duration::ZERO));
        let Turn::NotNow(fault) = targets.turn("canteen", delivery(), Duration::ZERO) else {
            panic!("it is called");
        };
        assert_eq!(
            fault.to_string(),
            "SN0729: `canteen` is away since 1970-01-01T00:16:40.000Z; what calls it waits, and goes \
             on by itself once it answers"
        );
        assert_eq!(targets.set(&[line], Duration::ZERO), [("canteen".to_owned(), true)]);
        assert!(targets.unwritten().is_empty());
        assert_eq!(targets.set(&[], Duration::ZERO), [("canteen".to_owned(), false)]);
        assert!(!targets.holds("enrol"));
        assert_eq!(targets.let_old("enrol", Duration::from_secs(1), 0), Some(256), "let go slowly");
        targets.let_go("enrol", 0, true);
        assert_eq!(targets.let_old("enrol", Duration::from_secs(1), 0), None);
    }

    #[test]
    fn what_tries_whether_it_is_back_may_call_and_opens_nothing() {
        let targets = targets();
        let line = go_away(&targets);
        targets.set(&[line], Duration::ZERO);
        targets.try_with(delivery());
        assert!(matches!(targets.turn("canteen", delivery(), Duration::ZERO), Turn::Go(..)));
        targets.saw("canteen", delivery(), Seen::Answered, NOW);
        assert_eq!(targets.tried(delivery()), Some(Seen::Answered));
        assert!(matches!(targets.turn("canteen", delivery(), Duration::ZERO), Turn::NotNow(_)));
    }

    #[test]
    fn two_processes_see_one_outage() {
        let (first, second) = (targets(), targets());
        let line = go_away(&first);
        assert_eq!(second.set(&[line], Duration::ZERO), [("canteen".to_owned(), true)]);
        assert!(second.holds("enrol"));
    }
}
