//! The outside systems that Snodo talks to, one module each.
//!
//! Invariant: an adapter knows one protocol and the classification of its faults; retries, breaker,
//! deadlines of deliveries and metrics are the framework's. Nothing here knows the ledger or the broker.

pub mod anpr;
pub mod archive;
pub mod http;
pub mod isee;
pub mod pdnd;
pub mod protocollo;
pub mod sql;
mod typed;

use snodo_core::adapter::Catalog;

/// Every kind of adapter that Snodo ships.
pub fn catalog() -> Catalog {
    Catalog::default()
        .with::<anpr::Anpr>()
        .with::<archive::Archive>()
        .with::<http::Http>()
        .with::<isee::Isee>()
        .with::<protocollo::Protocollo>()
        .with::<sql::Sql>()
}
