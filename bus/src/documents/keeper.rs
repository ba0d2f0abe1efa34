//! What adapters are handed of the documents and registers that the bus keeps.
//!
//! Invariant: rights are asked of the ledger at each call, by the delivery of the step; a fault says what a
//! person can do, and holds neither the name nor the bytes of a document.

use std::{fmt, io, sync::Arc};

use snodo_core::{
    adapter::BoxFuture,
    document::{Document, DocumentKey},
    fault::{Fault, FaultClass},
    ids::StepKey,
    kept::{Days, Filed, Filing, Kept, Making},
    register::Entry,
    timestamp::Timestamp,
};

use super::{Incoming, Store};
use crate::{
    clock::Clock,
    ledger::{
        CommitError, Ledger, ReadError,
        documents::{DocumentRows, Origin, Posted},
    },
};

/// The keeper of one process.
#[derive(Clone)]
pub struct Keeper {
    store: Store,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
}

impl Keeper {
    /// Of a store and the ledger that knows its files.
    pub fn new(store: Store, ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> Self {
        Self { store, ledger, clock }
    }

    fn rows(&self) -> Result<&dyn DocumentRows, Fault> {
        self.ledger.documents().ok_or_else(|| not_now("this ledger keeps no documents"))
    }

    async fn has(&self, step: &StepKey, documents: &[Document]) -> Result<(), Fault> {
        let keys: Vec<DocumentKey> = documents.iter().map(|document| document.key).collect();
        let known =
            self.rows()?.of_delivery(step.delivery, &keys).await.map_err(|error| unread(&error))?;
        let is_known = |document: &Document| known.contains(document);
        if documents.iter().all(is_known) { Ok(()) } else { Err(unknown()) }
    }

    async fn is_whole(&self, document: &Document) -> Result<(), Fault> {
        let verified = self.store.verify(document.sha256, document.size).await;
        verified.map_err(|error| damaged(document.key, &error))
    }

    /// A row whose file never came to its place is of a process that died in between: it is made again.
    async fn made_before(&self, step: &StepKey) -> Result<Option<Document>, Fault> {
        let Some(made) = self.rows()?.made(step).await.map_err(|error| unread(&error))? else {
            return Ok(None);
        };
        match self.store.read(made.sha256, made.size).await {
            Ok(_) => Ok(Some(made)),
            Err(error) if is_damage(&error) => Ok(None),
            Err(error) => Err(damaged(made.key, &error)),
        }
    }

    async fn put_away(&self, filing: &Filing<'_>) -> Result<Vec<Filed>, Fault> {
        let rows = self.rows()?;
        rows.file(filing, self.clock.now()).await.map_err(|error| uncommitted(&error))?;
        let filed =
            rows.filed(filing.archive, filing.protocol).await.map_err(|error| unread(&error))?;
        let wanted = |filed: &Filed| filing.documents.contains(&filed.document);
        Ok(filed.into_iter().filter(wanted).collect())
    }

    async fn keep(
        self,
        incoming: Incoming,
        step: StepKey,
        name: String,
        media_type: String,
    ) -> Result<Document, Fault> {
        let sealed = incoming.seal().await.map_err(|error| unwritten(&error))?;
        let document = Document {
            key: DocumentKey(uuid::Uuid::now_v7()),
            sha256: sealed.digest,
            size: sealed.size,
            media_type,
            name,
        };
        let posted = self.rows()?.post(&document, &Origin::Step(step), self.clock.now()).await;
        match posted.map_err(|error| uncommitted(&error))? {
            Posted::New => {}
            // Of an earlier try, whose file may never have come to its place.
            Posted::Made(made) if made.sha256 != document.sha256 => return Ok(made),
            Posted::Made(made) => {
                sealed.put(&self.store).await.map_err(|error| unwritten(&error))?;
                return Ok(made);
            }
            Posted::Doomed => return Err(not_now("its file is just being deleted")),
        }
        sealed.put(&self.store).await.map_err(|error| unwritten(&error))?;
        Ok(document)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keeper").field(&self.store).finish()
    }
}

impl Kept for Keeper {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn may_have<'a>(
        &'a self,
        step: &'a StepKey,
        documents: &'a [Document],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.has(step, documents))
    }

    fn verify<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.is_whole(document))
    }

    fn file<'a>(&'a self, filing: &'a Filing<'a>) -> BoxFuture<'a, Result<Vec<Filed>, Fault>> {
        Box::pin(self.put_away(filing))
    }

    fn filed<'a>(
        &'a self,
        archive: &'a str,
        protocol: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Filed>, Fault>> {
        Box::pin(async move {
            self.rows()?.filed(archive, protocol).await.map_err(|error| unread(&error))
        })
    }

    fn made<'a>(&'a self, step: &'a StepKey) -> BoxFuture<'a, Result<Option<Document>, Fault>> {
        Box::pin(self.made_before(step))
    }

    fn make<'a>(&'a self, step: &'a StepKey) -> BoxFuture<'a, Result<Box<dyn Making>, Fault>> {
        Box::pin(async move {
            let incoming = self.store.begin().await.map_err(|error| unwritten(&error))?;
            let draft = Draft { keeper: self.clone(), step: step.clone(), incoming };
            Ok(Box::new(draft) as Box<dyn Making>)
        })
    }

    fn entries<'a>(
        &'a self,
        days: &'a Days<'a>,
        after: Option<(i16, i64)>,
    ) -> BoxFuture<'a, Result<Vec<Entry>, Fault>> {
        Box::pin(
            async move { self.rows()?.entries(days, after).await.map_err(|error| unread(&error)) },
        )
    }
}

/// A document that a step is making.
struct Draft {
    keeper: Keeper,
    step: StepKey,
    incoming: Incoming,
}

impl Making for Draft {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { self.incoming.write(bytes).await.map_err(|error| unwritten(&error)) })
    }

    fn finish(
        self: Box<Self>,
        name: String,
        media_type: String,
    ) -> BoxFuture<'static, Result<Document, Fault>> {
        let Self { keeper, step, incoming } = *self;
        Box::pin(keeper.keep(incoming, step, name, media_type))
    }
}

fn unknown() -> Fault {
    let text = "the message of this step does not cite a document that the step was given";
    Fault::new(FaultClass::Refused, "SN0730", text).with_reason("unknown_document")
}

/// What is not there, or not as it was, comes back by nobody's retry; what cannot be read now may.
fn damaged(key: DocumentKey, error: &io::Error) -> Fault {
    if !is_damage(error) {
        return storage(format!("a document cannot be read: {}", error.kind()));
    }
    let text = format!("the file of document {key} is not there, or not as it was taken");
    Fault::new(FaultClass::Poison, "SN0731", text)
}

fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | InvalidData | UnexpectedEof)
}

fn unwritten(error: &io::Error) -> Fault {
    storage(format!("a document cannot be written: {}", error.kind()))
}

fn not_now(why: &str) -> Fault {
    storage(format!("a document cannot be kept now: {why}"))
}

fn unread(error: &ReadError) -> Fault {
    storage(format!("the ledger cannot be read: {}", error.0))
}

fn uncommitted(error: &CommitError) -> Fault {
    storage(error.to_string())
}

fn storage(text: String) -> Fault {
    Fault::new(FaultClass::Transient { retry_after: None }, "SN0732", text)
}
