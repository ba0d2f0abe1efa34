//! The harness of Snodo's tests. Invariant: nothing in here sleeps; it waits on conditions.

pub mod simulation;
