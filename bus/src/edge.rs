//! The HTTP edge.
mod door;
pub mod problems;
pub mod server;
