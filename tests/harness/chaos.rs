//! What the chaos runs are made of, apart from the killing: their plan, the far sides, the report.
//!
//! Invariant: what is judged comes from logs that the bus does not write.

pub mod figures;
pub mod house;
pub mod plan;
pub mod report;
pub mod target;
