//! How full the routes are: a type whose taker has too much waiting is refused for now.
//!
//! Invariant: only types whose takers are at their cap are refused; the others go on. What this process
//! took since the last reading counts too, so the cap holds between two readings; before anybody is
//! refused the totals are read again, since much of it may have ended meanwhile.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use snodo_core::{
    message_state::Bucket,
    route::{Routes, Taker},
};
use tokio::{sync::Mutex, time::Instant};

use crate::ledger::{Ledger, ReadError, Subscriber, Total};

/// Open deliveries per subscriber, as last read from the totals, and what was taken since.
#[derive(Debug)]
pub struct Room {
    most: i64,
    open: RwLock<HashMap<Subscriber, Open>>,
    /// Those that take nothing new until what they have has ended.
    closed: RwLock<BTreeSet<String>>,
    /// When the totals were last read because somebody was about to be refused.
    looked: Mutex<Option<Instant>>,
}

/// A full house is not looked through more often.
const LOOK: Duration = Duration::from_millis(20);

/// One subscriber's deliveries.
#[derive(Debug, Default)]
struct Open {
    /// Open ones, as the totals say.
    read: i64,
    /// Taken by this process since that reading.
    since: AtomicI64,
}

impl Open {
    fn count(&self) -> i64 {
        self.read + self.since.load(Relaxed)
    }
}

impl Room {
    /// With at most so many open deliveries per subscriber.
    pub fn new(most: u64) -> Self {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Self { most, open: RwLock::default(), closed: RwLock::default(), looked: Mutex::default() }
    }

    /// Refuses, for now, the types that these take; and no others any more.
    pub fn close(&self, subscribers: BTreeSet<String>) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = subscribers;
    }

    /// Whether somebody who takes `kind` takes nothing new.
    pub fn is_closed(&self, routes: &Routes, kind: &str) -> bool {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        !closed.is_empty()
            && routes.takers(kind).iter().any(|taker| closed.contains(&*subscriber(taker)))
    }

    /// Reads the totals; called every second. What is taken while they are read may count twice until
    /// the next reading: a sender is rather asked to wait than the cap passed over.
    pub async fn refresh(&self, ledger: &dyn Ledger) -> Result<(), ReadError> {
        self.begin();
        self.show(&ledger.delivery_totals().await?);
        Ok(())
    }

    /// A reading begins: what was taken before is in it.
    fn begin(&self) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        for open in open.values_mut() {
            open.read = open.count();
            open.since = AtomicI64::new(0);
        }
    }

    fn show(&self, totals: &[Total]) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        for total in totals.iter().filter(|total| total.bucket == Bucket::Open.word()) {
            open.entry(Arc::clone(&total.name)).or_default().read = total.n;
        }
    }

    /// Whether somebody who takes `kind` is full.
    pub async fn is_full(&self, routes: &Routes, kind: &str, ledger: &dyn Ledger) -> bool {
        if !self.looks_full(routes, kind) {
            return false;
        }
        let mut looked = self.looked.lock().await;
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            // Where the totals cannot be read, accepting fails by itself.
            let _ = self.refresh(ledger).await;
            *looked = Some(Instant::now());
        }
        drop(looked);
        self.looks_full(routes, kind)
    }

    fn looks_full(&self, routes: &Routes, kind: &str) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let full = |name: &str| open.get(name).is_some_and(|open| open.count() >= self.most);
        routes.takers(kind).iter().any(|taker| full(&subscriber(taker)))
    }

    /// A message of `kind` came into custody: each of its takers has one more waiting.
    pub fn took(&self, routes: &Routes, kind: &str) {
        for name in routes.takers(kind).iter().map(subscriber) {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = open.get(&*name) {
                open.since.fetch_add(1, Relaxed);
                continue;
            }
            drop(open);
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            *open.entry(name.into()).or_default().since.get_mut() += 1;
        }
    }
}

fn subscriber(taker: &Taker) -> Cow<'_, str> {
    match taker {
        Taker::Route(route) => Cow::Borrowed(&route.name),
        Taker::Party(party) => Cow::Owned(format!("party:{party}")),
    }
}
