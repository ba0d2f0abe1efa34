//! What integration tests share: servers of their own, conditions to wait for, simulated worlds.
//!
//! Invariant: everything that is started here ends with the test process, and listens on this machine
//! only.

pub mod postgres;
pub mod simulation;
