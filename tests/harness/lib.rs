//! The harness of Snodo's tests. Invariant: nothing in here sleeps; it waits on conditions.

pub mod simulation;
//! What integration tests share: servers of their own, conditions to wait for.
//!
//! Invariant: everything that is started here ends with the test process, and listens on this machine
//! only.

pub mod postgres;
