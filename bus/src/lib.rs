//! The runtime of Snodo: everything that touches the world on behalf of `snodo-core`'s decisions.
//!
//! Reading order follows a message: `edge` takes it into custody (`ledger`), the `engine` has its
//! deliveries carried by the `broker`, maps them, calls adapters and writes what became of them.

pub mod broker;
pub mod cli;
pub mod clock;
pub mod doctor;
pub mod disk;
pub mod documents;
pub mod edge;
pub mod engine;
pub mod exit;
pub mod faults;
pub mod house;
pub mod ledger;
mod log;
pub mod metrics;
pub mod operators;
pub mod pseudonyms;
mod random;
pub mod retry;
pub mod run;
pub mod settings;
pub mod suite;
