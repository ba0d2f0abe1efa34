//! What the tests, the demo, the chaos runs and the benchmark share.
//!
//! Invariant: nothing here decides about messages; it starts, drives, waits and judges.

pub mod bus;
pub mod checker;
pub mod client;
