//! What stands in for the broker, chance and deadlines in a test of a route.
//!
//! Invariant: nothing here waits, and nothing differs from one run to the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use snodo_core::adapter::BoxFuture;

use crate::{
    broker::{Address, Confirm, Copy, Publish},
    engine::{Chance, Deadlines},
};

/// Copies stay in the ledger until the world takes them.
pub(super) struct NoBroker;

impl Publish for NoBroker {
    fn publish(&self, _: &Address, _: Copy) -> BoxFuture<'static, Confirm> {
        Box::pin(std::future::ready(Confirm::Unknown))
    }
    fn is_congested(&self) -> bool {
        true
    }
}

/// Ids in a row, and always the longest wait.
pub(super) struct NoChance(pub(super) Arc<AtomicU64>);

impl Chance for NoChance {
    fn bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&self.0.fetch_add(1, Relaxed).to_be_bytes());
        bytes
    }
    fn jitter(&self) -> f64 {
        1.0
    }
}

/// Scripted targets answer at once, or say themselves that they do not.
pub(super) struct NoDeadlines;

impl Deadlines for NoDeadlines {
    fn within<'a>(&'a self, _: Duration, work: BoxFuture<'a, ()>) -> BoxFuture<'a, ()> {
        work
    }
}
