//! A bus that keeps nothing: for engines and adapters whose documents and registers are not looked at.
//!
//! Invariant: whatever is asked for is not there, in the words of a real one.

use snodo_core::{
    adapter::BoxFuture,
    document::Document,
    fault::{Fault, FaultClass},
    ids::StepKey,
    kept::{Days, Filed, Filing, Kept, Making},
    register::Entry,
    timestamp::Timestamp,
};

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepsNothing;

fn nothing<T: Send + 'static>() -> BoxFuture<'static, Result<T, Fault>> {
    Box::pin(async { Err(Fault::new(FaultClass::Refused, "SN0730", "nothing is kept here")) })
}

impl Kept for KeepsNothing {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn may_have<'a>(
        &'a self,
        _: &'a StepKey,
        documents: &'a [Document],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        if documents.is_empty() { Box::pin(async { Ok(()) }) } else { nothing() }
    }

    fn verify<'a>(&'a self, _: &'a Document) -> BoxFuture<'a, Result<(), Fault>> {
        nothing()
    }

    fn file<'a>(&'a self, _: &'a Filing<'a>) -> BoxFuture<'a, Result<Vec<Filed>, Fault>> {
        nothing()
    }

    fn filed<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Vec<Filed>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn made<'a>(&'a self, _: &'a StepKey) -> BoxFuture<'a, Result<Option<Document>, Fault>> {
        Box::pin(async { Ok(None) })
    }

    fn make<'a>(&'a self, _: &'a StepKey) -> BoxFuture<'a, Result<Box<dyn Making>, Fault>> {
        nothing()
    }

    fn entries<'a>(
        &'a self,
        _: &'a Days<'a>,
        _: Option<(i16, i64)>,
    ) -> BoxFuture<'a, Result<Vec<Entry>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
