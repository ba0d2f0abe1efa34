//! What the fault runs are made of, apart from the faults: which rows there are, and what is reported.
//!
//! Invariant: a row that was asked for is reported: it ran, or it says why it did not.

pub mod plan;
pub mod report;
