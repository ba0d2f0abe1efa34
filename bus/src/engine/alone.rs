//! Who may work beside whom: a suspect shares its process with no other claim and no fast path.
//!
//! Invariant: while a suspect runs nothing else does, so that the crash it causes is counted for it
//! and for nobody else (custody rule book, a.8 and the trial rule of §f).

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::faults;

/// The gate before every piece of work. Fair: a suspect that waits is not overtaken for ever.
#[derive(Debug, Default)]
pub(super) struct Gate(RwLock<()>);

/// Leave to work, until it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held, never read: dropping the guard is what counts")]
pub(super) enum Leave<'a> {
    /// Beside others.
    Shared(RwLockReadGuard<'a, ()>),
    /// Alone in the process.
    Alone(RwLockWriteGuard<'a, ()>),
}

impl Gate {
    /// Waits for leave to work: alone, or beside others that need not be alone.
    pub(super) async fn enter(&self, alone: bool) -> Leave<'_> {
        if alone && !faults::off("suspect-beside-others") {
            Leave::Alone(self.0.write().await)
        } else {
            Leave::Shared(self.0.read().await)
        }
    }
}
