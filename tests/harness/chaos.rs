//! What the chaos and fault runs are made of, apart from what they do to the bus: the house, the load,
//! the far sides, the person, the ledger read past the bus, the plan and the report of chaos.
//!
//! Invariant: what is judged comes from logs that the bus does not write.

pub mod books;
pub mod drive;
pub mod ends;
pub mod figures;
pub mod house;
pub mod office;
pub mod plan;
pub mod report;
pub mod session;
pub mod stage;
pub mod target;

/// Why a run could not be carried out.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
