//! What is told is bounded by the configuration and true to the ledger.
