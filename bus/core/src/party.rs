//! Parties.
