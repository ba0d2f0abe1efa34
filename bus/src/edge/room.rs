//! How full the routes are: a type whose taker has too much waiting is refused for now.
//!
//! Invariant: only types whose takers are at their cap are refused; the others go on.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use snodo_core::{
    message_state::Bucket,
    route::{Routes, Taker},
};

use crate::ledger::{Ledger, ReadError, Subscriber, Total};

/// Open deliveries per subscriber, as last read from the totals.
#[derive(Debug)]
pub struct Room {
    most: i64,
    open: RwLock<HashMap<Subscriber, i64>>,
}

impl Room {
    /// With at most so many open deliveries per subscriber.
    pub fn new(most: u64) -> Self {
        Self { most: i64::try_from(most).unwrap_or(i64::MAX), open: RwLock::default() }
    }

    /// Reads the totals; called every second.
    pub async fn refresh(&self, ledger: &dyn Ledger) -> Result<(), ReadError> {
        self.show(&ledger.delivery_totals().await?);
        Ok(())
    }

    fn show(&self, totals: &[Total]) {
        let open = totals
            .iter()
            .filter(|total| total.bucket == Bucket::Open.word())
            .map(|total| (Arc::clone(&total.name), total.n))
            .collect();
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// Whether somebody who takes `kind` is full.
    pub fn is_full(&self, routes: &Routes, kind: &str) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let full = |name: &str| open.get(name).is_some_and(|n| *n >= self.most);
        routes.takers(kind).iter().any(|taker| match taker {
            Taker::Route(route) => full(&route.name),
            Taker::Party(party) => full(&crate::engine::party_subscriber(party)),
        })
    }
}
