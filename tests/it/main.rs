//! Every integration test of Snodo, in one binary.

mod simulation;
//! Integration tests of Snodo, one binary: each area is a module.

mod ledger;
