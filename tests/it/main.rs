//! The integration tests of Snodo, one binary: each module is one area.
//!
//! Invariant: no test sleeps; each waits on a condition with a bound.

mod broker;
mod tidy;
//! Every integration test of Snodo, in one binary.

mod simulation;
//! Integration tests of Snodo, one binary: each area is a module.

mod ledger;
