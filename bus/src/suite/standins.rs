//! What stands in for the broker, chance, deadlines and the store of documents in a test of a route.
//!
//! Invariant: nothing here waits, and nothing differs from one run to the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use snodo_core::{
    adapter::BoxFuture,
    document::Document,
    fault::{Fault, FaultClass},
    ids::StepKey,
    kept::{Days, Filed, Filing, Kept, Making},
    register::Entry,
    timestamp::Timestamp,
};

use super::clock::StoppedClock;
use crate::{
    broker::{Address, Confirm, Copy, Publish},
    clock::Clock as _,
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

/// The bus keeps no documents in a test: who would use them is a target, and answers as the test says.
#[derive(Debug)]
pub(super) struct NothingKept(pub(super) Arc<StoppedClock>);

fn none<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, Fault>> {
    let text = "a test of a route keeps no documents";
    Box::pin(async move { Err(Fault::new(FaultClass::Poison, "SN0167", text)) })
}

impl Kept for NothingKept {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
    fn may_have<'a>(
        &'a self,
        _: &'a StepKey,
        _: &'a [Document],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        none()
    }
    fn verify<'a>(&'a self, _: &'a Document) -> BoxFuture<'a, Result<(), Fault>> {
        none()
    }
    fn file<'a>(&'a self, _: &'a Filing<'a>) -> BoxFuture<'a, Result<Vec<Filed>, Fault>> {
        none()
    }
    fn filed<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Vec<Filed>, Fault>> {
        none()
    }
    fn made<'a>(&'a self, _: &'a StepKey) -> BoxFuture<'a, Result<Option<Document>, Fault>> {
        none()
    }
    fn make<'a>(&'a self, _: &'a StepKey) -> BoxFuture<'a, Result<Box<dyn Making>, Fault>> {
        none()
    }
    fn entries<'a>(
        &'a self,
        _: &'a Days<'a>,
        _: Option<(i16, i64)>,
    ) -> BoxFuture<'a, Result<Vec<Entry>, Fault>> {
        none()
    }
}
