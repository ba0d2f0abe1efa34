//! `/v1/documents`: bytes come to the disk, digested on the way; who may read them gets them, verified.
//!
//! Invariant: the answer 201 is given when the row is committed and the file is durable in its place. Never
//! more than one piece of a document is in memory, and only so many come at once.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use snodo_core::{
    admission::{Rejection, admit_documents},
    document::{self, Citation, Document, DocumentKey, LARGEST},
    problem::Problem,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Desk,
    auth::{Allowance, Caller},
    problems::{AGAIN, Refusal, Refused, unanswered, untaken},
};
use crate::{
    documents::{Incoming, Store},
    ledger::documents::{DocumentRows, Origin, Posted},
};

/// Documents that come in at once, of all parties and of one.
const AT_ONCE: usize = 16;
const OF_ONE: usize = 8;
/// Documents that go out at once.
const OUT_AT_ONCE: usize = 64;
/// How long the next piece may take, and the whole.
const PIECE_WITHIN: Duration = Duration::from_secs(30);
const WHOLE_WITHIN: Duration = Duration::from_mins(10);
/// When a place may be free again.
const SOON: Duration = Duration::from_secs(1);

/// The store as the edge uses it.
#[derive(Debug)]
pub struct Shelf {
    store: Store,
    under_way: Arc<UnderWay>,
    out: Arc<Semaphore>,
}

impl Shelf {
    /// Over a store.
    pub fn new(store: Store) -> Self {
        Self { store, under_way: Arc::default(), out: Arc::new(Semaphore::new(OUT_AT_ONCE)) }
    }
}

/// How many documents of each party are coming in.
#[derive(Debug, Default)]
struct UnderWay(Mutex<BTreeMap<Arc<str>, usize>>);

impl UnderWay {
    /// A place for one more document of `party`; none where all are taken.
    fn enter(self: &Arc<Self>, party: &Arc<str>) -> Option<Place> {
        let mut by_party = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = by_party.values().sum();
        let own = by_party.entry(Arc::clone(party)).or_default();
        if all >= AT_ONCE || *own >= OF_ONE {
            return None;
        }
        *own += 1;
        Some(Place { under_way: Arc::clone(self), party: Arc::clone(party) })
    }
}

/// A place of a document that comes in.
#[derive(Debug)]
struct Place {
    under_way: Arc<UnderWay>,
    party: Arc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_party = self.under_way.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = by_party.get_mut(&self.party) {
            *own -= 1;
            if *own == 0 {
                by_party.remove(&self.party);
            }
        }
    }
}

/// What the head of a request tells of its document.
struct Told {
    media_type: String,
    name: String,
}

impl Told {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let media_type = text(CONTENT_TYPE).and_then(document::media_type).ok_or_else(|| {
            let expected = "one `Content-Type`, such as application/pdf";
            Problem::malformed_document("media_type", expected)
        })?;
        let name = text(CONTENT_DISPOSITION).and_then(document::file_name).ok_or_else(|| {
            let expected = "`Content-Disposition: attachment; filename=\"lease.pdf\"`, or `filename*` \
                            for other letters; a name of at most 200 characters and no path";
            Problem::malformed_document("name", expected)
        })?;
        Ok(Self { media_type, name })
    }
}

/// `POST /v1/documents`.
pub(super) async fn post(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let admits = desk.admits();
    let caller = admits.callers.identify(&parts.headers)?;
    let allowance = caller.spend(desk.clock.uptime())?;
    desk.has_room_on_disk()?;
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > LARGEST) {
        return Err(Problem::large_document(LARGEST).into());
    }
    let told = Told::of(&parts.headers)?;
    let place = desk.shelf.under_way.enter(&caller.id);
    let _place = place.ok_or_else(|| Problem::not_now("documents", SOON))?;
    let taking = timeout(WHOLE_WITHIN, desk.take_in(body));
    let incoming = taking.await.unwrap_or_else(|_| Err(Problem::too_slow().into()))?;
    let document = desk.keep(caller, told, incoming).await?;
    desk.metrics.document_taken(document.size);
    let mut response = (StatusCode::CREATED, Json(&document)).into_response();
    // A key is hexadecimal digits and `-`: always a header.
    if let Ok(value) = HeaderValue::try_from(format!("/v1/documents/{}", document.key)) {
        response.headers_mut().insert(LOCATION, value);
    }
    Ok(Allowance::tell(allowance, response))
}

/// `GET /v1/documents/{key}`.
pub(super) async fn get(
    State(desk): State<Arc<Desk>>,
    Path(key): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let admits = desk.admits();
    let caller = admits.callers.identify(request.headers())?;
    let key = key.parse().map_err(|_| Problem::not_found())?;
    let found = desk
        .rows()?
        .readable(&caller.id, DocumentKey(key))
        .await
        .map_err(|error| unanswered(&error))?;
    let document = found.ok_or_else(Problem::not_found)?;
    let place = Arc::clone(&desk.shelf.out).try_acquire_owned();
    let place = place.map_err(|_| Problem::not_now("documents", SOON))?;
    desk.hand_out(&document, place).await
}

impl Desk {
    /// Whether the disk has room; where it has not, nothing is taken.
    pub(super) fn has_room_on_disk(&self) -> Result<(), Refusal> {
        if self.disk.is_short(self.clock.uptime()) {
            return Err(Problem::disk(AGAIN).into());
        }
        Ok(())
    }

    fn rows(&self) -> Result<&dyn DocumentRows, Refusal> {
        self.ledger.documents().ok_or_else(|| Problem::not_now("ledger", AGAIN).into())
    }

    /// Whether the party may cite what its message cites.
    pub(super) async fn has_cited(
        &self,
        caller: &Caller,
        cited: &[Citation],
    ) -> Result<Result<(), Rejection>, Refusal> {
        if cited.is_empty() {
            return Ok(Ok(()));
        }
        let keys: Vec<DocumentKey> = cited.iter().map(|citation| citation.document.key).collect();
        let now = self.clock.now();
        let postings = self.rows()?.of_party(&caller.id, &keys).await;
        let postings = postings.map_err(|error| untaken("a message", &error))?;
        let citable = postings.into_iter().filter(|posting| posting.is_citable(now));
        let known: Vec<Document> = citable.map(|posting| posting.document).collect();
        Ok(admit_documents(cited, &known))
    }

    /// Writes a body beside the store, piece by piece.
    async fn take_in(&self, body: Body) -> Result<Incoming, Refusal> {
        let mut incoming = self.shelf.store.begin().await.map_err(|error| unwritten(&error))?;
        let mut pieces = body.into_data_stream();
        loop {
            let next = timeout(PIECE_WITHIN, pieces.next()).await;
            let Some(piece) = next.map_err(|_| Problem::too_slow())? else { break };
            let piece = piece.map_err(|_| Refused::Framing)?;
            if incoming.size() + piece.len() as u64 > LARGEST {
                return Err(Problem::large_document(LARGEST).into());
            }
            self.has_room_on_disk()?;
            incoming.write(&piece).await.map_err(|error| unwritten(&error))?;
        }
        if incoming.size() == 0 {
            return Err(Problem::malformed_document("empty", "at least one byte").into());
        }
        Ok(incoming)
    }

    /// The row first, then the file into its place: a crash in between leaves a row whose key nobody was
    /// told.
    async fn keep(
        &self,
        caller: &Caller,
        told: Told,
        incoming: Incoming,
    ) -> Result<Document, Refusal> {
        let sealed = incoming.seal().await.map_err(|error| unwritten(&error))?;
        let document = Document {
            key: DocumentKey(uuid::Uuid::now_v7()),
            sha256: sealed.digest,
            size: sealed.size,
            media_type: told.media_type,
            name: told.name,
        };
        let origin = Origin::Party(caller.id.to_string());
        let posted = self.rows()?.post(&document, &origin, self.clock.now()).await;
        match posted.map_err(|error| untaken("a document", &error))? {
            Posted::New => {}
            Posted::Made(_) | Posted::Doomed => {
                return Err(Problem::not_now("documents", SOON).into());
            }
        }
        sealed.put(&self.shelf.store).await.map_err(|error| unwritten(&error))?;
        Ok(document)
    }

    async fn hand_out(
        &self,
        document: &Document,
        place: OwnedSemaphorePermit,
    ) -> Result<Response, Refusal> {
        let reading = self.shelf.store.read(document.sha256, document.size).await;
        let reading = reading.map_err(|error| damaged(document.key, &error))?;
        let key = document.key;
        let pieces = reading.pieces().map(move |piece| {
            let _held = &place;
            // The rest does not come: the client sees an answer that is cut off.
            piece.inspect_err(|error| drop(damaged(key, error)))
        });
        let mut response = Response::new(Body::from_stream(pieces));
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, document.size.into());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, value) in [
            (CONTENT_TYPE, document.media_type.clone()),
            (CONTENT_DISPOSITION, document::disposition(&document.name)),
            (ETAG, format!("\"{}\"", document.sha256)),
        ] {
            // Each was checked when it was taken.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        Ok(response)
    }
}

/// A full disk is told as such, whatever the watermark saw.
fn unwritten(error: &io::Error) -> Refusal {
    tracing::error!(error = %error.kind(), "SN0732 a document cannot be written");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Problem::disk(AGAIN).into(),
        _ => Problem::not_now("storage", AGAIN).into(),
    }
}

fn damaged(key: DocumentKey, error: &io::Error) -> Refusal {
    let error = error.kind();
    tracing::error!(%key, %error, "SN0731 the file of a document is not there, or not as it was taken");
    Problem::not_now("storage", AGAIN).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_documents_come_at_once_and_one_party_leaves_room_for_others() {
        let (under_way, one, two, three) =
            (Arc::<UnderWay>::default(), "one".into(), "two".into(), "three".into());
        let mut places: Vec<Place> = Vec::new();
        let mut enter = |party: &Arc<str>| {
            let place = under_way.enter(party);
            let entered = place.is_some();
            places.extend(place);
            entered
        };
        assert_eq!((0..10).filter(|_| enter(&one)).count(), OF_ONE);
        assert_eq!((0..10).filter(|_| enter(&two)).count(), AT_ONCE - OF_ONE);
        assert!(!enter(&three));
        places.truncate(1);
        assert!(under_way.enter(&three).is_some());
        drop(places);
        assert!(under_way.0.lock().expect("free").keys().all(|party| **party == *three));
    }
}
