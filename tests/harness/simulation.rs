//! The seeded simulation: the real engine and the real ledger in a world of faults (custody §g).
//!
//! Invariant: a seed decides everything. Every task waits only on gates that the world opens, one draw
//! at a time; after each draw the invariants of the rule book hold, or the story is told.

pub mod bench;
pub mod broker;
pub mod clock;
pub mod desk;
pub mod dice;
pub mod executor;
pub mod far;
pub mod house;
pub mod instance;
pub mod quiet;
pub mod world;

pub use world::{Outcome, Plan, run};
