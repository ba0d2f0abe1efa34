//! What the tests, the demo, the chaos and fault runs and the benchmark share: real servers, a proxy that
//! harms connections, conditions to wait for, the bus as a process, a lean client, the checker, the
//! simulated world.
//!
//! Invariant: nothing here waits for time to pass; it waits for something to be so, with a bound.
//! Everything that is started here ends with the process, and listens on this machine only.

pub mod bench_house;
pub mod bus;
pub mod chaos;
pub mod checker;
pub mod client;
pub mod editor;
pub mod faults;
pub mod node;
pub mod palermo;
pub mod postgres;
pub mod proxy;
#[cfg(feature = "faults")]
pub mod simulation;
pub mod wait;
