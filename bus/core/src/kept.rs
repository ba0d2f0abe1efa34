//! What the bus keeps and an adapter may ask it for: documents, and the closed days of its registers.
//!
//! Invariant: an adapter gets no document that the message of its step does not cite, but those that the
//! same delivery has made; what it files or makes under a step key is done once.

use std::fmt;

use serde_json::Value;

use crate::{
    adapter::BoxFuture, document::Document, fault::Fault, ids::StepKey, register::Entry,
    timestamp::Timestamp,
};

/// What is handed to a call beside its input. The bus implements it.
pub trait Kept: fmt::Debug + Send + Sync {
    /// The ledger's time.
    fn now(&self) -> Timestamp;

    /// Whether this step may have all of these documents, and each is as it is cited; a refusal where not.
    fn may_have<'a>(
        &'a self,
        step: &'a StepKey,
        documents: &'a [Document],
    ) -> BoxFuture<'a, Result<(), Fault>>;

    /// Reads every byte of a document: it is there, and its digest is right.
    fn verify<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<(), Fault>>;

    /// Files documents under a number, once each; when each was filed first.
    fn file<'a>(&'a self, filing: &'a Filing<'a>) -> BoxFuture<'a, Result<Vec<Filed>, Fault>>;

    /// What an archive holds under a number, in the order in which it was filed.
    fn filed<'a>(
        &'a self,
        archive: &'a str,
        protocol: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Filed>, Fault>>;

    /// The document that this step has made, if it has.
    fn made<'a>(&'a self, step: &'a StepKey) -> BoxFuture<'a, Result<Option<Document>, Fault>>;

    /// Begins a document.
    fn make<'a>(&'a self, step: &'a StepKey) -> BoxFuture<'a, Result<Box<dyn Making>, Fault>>;

    /// Entries of a register, in their order, a page at a time: those registered or annulled within
    /// `days`, behind `after` (year and number).
    fn entries<'a>(
        &'a self,
        days: &'a Days<'a>,
        after: Option<(i16, i64)>,
    ) -> BoxFuture<'a, Result<Vec<Entry>, Fault>>;
}

/// A document that is being made. Dropped before its end, it is nothing.
pub trait Making: Send {
    /// Adds bytes.
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), Fault>>;
    /// Makes it durable. Where the same step has made one before, that one.
    fn finish(
        self: Box<Self>,
        name: String,
        media_type: String,
    ) -> BoxFuture<'static, Result<Document, Fault>>;
}

/// Documents to be filed.
#[derive(Clone, Copy, Debug)]
pub struct Filing<'a> {
    /// The archive: the name of the adapter instance.
    pub archive: &'a str,
    /// The protocol number.
    pub protocol: &'a str,
    /// What is filed under it.
    pub documents: &'a [Document],
    /// The step that files.
    pub step: &'a StepKey,
}

/// A document in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filed {
    /// Which.
    pub document: Document,
    /// When it was filed first.
    pub at: Timestamp,
}

/// Days of a register.
#[derive(Clone, Copy, Debug)]
pub struct Days<'a> {
    /// The register.
    pub aoo: &'a str,
    /// The first instant of the first day.
    pub from: Timestamp,
    /// The first instant after the last day.
    pub until: Timestamp,
}

impl Entry {
    /// The entry as a register of the days before `until` shows it.
    pub fn shown(&self, until: Timestamp) -> Value {
        let annulled = self.annulled_at.filter(|at| *at < until);
        let mut shown = serde_json::json!({
            "number": crate::register::show_number(self.number, self.year),
            "registeredAt": self.registered_at,
            "state": if annulled.is_some() { "annulled" } else { "registered" },
            "record": self.record,
        });
        if let (Some(at), Some(reason)) = (annulled, &self.annul_reason) {
            shown["annulledAt"] = serde_json::json!(at);
            shown["annulledBy"] = serde_json::json!(reason);
        }
        shown
    }
}
