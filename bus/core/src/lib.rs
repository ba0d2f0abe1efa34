//! Everything in Snodo that decides. No IO, no clock, no environment, no async runtime.
//!
//! Reading order: a message (`envelope`, `ids`) is admitted (`json`, `schema`, `admission`), a route
//! (`route`, `template`) says what happens to it, an adapter (`adapter`) does it, and a fault
//! (`fault`) becomes a verdict (`verdict`). What people read of a mistake is a `diagnostic`.

pub mod acks;
pub mod adapter;
pub mod admission;
pub mod breaker;
mod calendar;
pub mod codes;
pub mod compliance;
pub mod diagnostic;
pub mod disclosures;
pub mod doctor;
pub mod document;
pub mod envelope;
pub mod facts;
pub mod fault;
pub mod formats;
pub mod ids;
pub mod inbox;
pub mod json;
pub mod kept;
pub mod message_state;
pub mod pace;
pub mod party;
pub mod position;
pub mod problem;
pub mod pseudonym;
pub mod reconcile;
pub mod register;
pub mod reload;
pub mod retention;
pub mod retry;
pub mod route;
pub mod scaffold;
pub mod schedule;
pub mod schema;
pub mod template;
pub mod timestamp;
pub mod topology;
#[expect(clippy::float_cmp, reason = "the bounds of a schema are compared as they are written")]
mod types;
pub mod verdict;
pub mod yaml;
