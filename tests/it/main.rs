//! The integration tests of Snodo, one binary: each module is one area.
//!
//! Invariant: no test sleeps; each waits on a condition with a bound.

mod adapters;
mod authority;
mod broker;
mod cli;
mod corpus;
mod edge;
mod documents;
mod engine;
mod chaos;
mod faults;
mod fmt;
mod language;
mod ledger;
mod lsp;
mod mistakes;
mod once_only;
mod operation;
mod order;
mod outage;
mod parties;
mod parked;
mod periods;
mod prometheus;
mod reload;
mod route_tests;
mod scenes;
mod security;
mod simulation;
mod stage;
mod tidy;
mod typing;
mod workshop;
