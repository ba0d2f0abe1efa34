//! Integration tests of Snodo, one binary: each area is a module.

mod ledger;
mod simulation;
