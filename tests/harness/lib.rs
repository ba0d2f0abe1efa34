//! What the tests, the demo and the benchmark share: real servers, conditions to wait for.
//!
//! Invariant: nothing here waits for time to pass; it waits for something to be so, with a bound.

pub mod node;
pub mod wait;
