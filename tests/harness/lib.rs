//! What the tests, the demo, the chaos runs and the benchmark share: real servers, conditions to wait
//! for, the bus as a process, a lean client, the checker.
//!
//! Invariant: nothing here waits for time to pass; it waits for something to be so, with a bound.

pub mod bus;
pub mod checker;
pub mod client;
pub mod node;
pub mod wait;
//! The harness of Snodo's tests. Invariant: nothing in here sleeps; it waits on conditions.

pub mod simulation;
//! What integration tests share: servers of their own, conditions to wait for.
//!
//! Invariant: everything that is started here ends with the test process, and listens on this machine
//! only.

pub mod postgres;
