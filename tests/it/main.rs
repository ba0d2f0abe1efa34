//! Every integration test of Snodo, in one binary.

mod simulation;
