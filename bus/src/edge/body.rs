//! Reads a body within its limits.
//!
//! Invariant: nothing is read of a body that says it is too large, and never more than the limit; all
//! bodies in hand together are bounded too, and where there is no room the sender is asked to wait.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, header::CONTENT_LENGTH},
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream::unfold};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use snodo_core::{admission::Rejection, problem::Problem};

use super::{
    EdgeLimits,
    problems::{AGAIN, Refusal, Refused},
};

/// Bytes of all bodies in hand that did not come in one piece.
const ALL: usize = 64 << 20;

/// What all requests share.
#[derive(Clone, Debug)]
pub struct Shares {
    /// Room for bodies, in bytes.
    bodies: Arc<Semaphore>,
    /// Threads for what takes long to check: never all of the runtime's.
    pub(super) heavy: Arc<Semaphore>,
    /// Inboxes that are read at once: each holds a batch twice for a moment.
    pub(super) batches: Arc<Semaphore>,
}

/// See [`Shares`].
const BATCHES: usize = 4;

impl Default for Shares {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            bodies: Arc::new(Semaphore::new(ALL)),
            heavy: Arc::new(Semaphore::new(threads)),
            batches: Arc::new(Semaphore::new(BATCHES)),
        }
    }
}

/// A body in hand. Its share of the room is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: &EdgeLimits,
    shares: &Shares,
) -> Result<Held, Refusal> {
    // The door lets one numeric length pass, or none.
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limits.body as u64) {
        return Err(too_large(limits.body));
    }
    let all = collect(body, limits.body, shares);
    timeout(limits.body_within, all).await.unwrap_or_else(|_| Err(Problem::too_slow().into()))
}

fn too_large(most: usize) -> Refusal {
    Rejection::too_large(most).into()
}

async fn collect(body: Body, most: usize, shares: &Shares) -> Result<Held, Refusal> {
    let mut chunks = body.into_data_stream();
    let Some(first) = chunks.next().await else {
        return Ok(Held { bytes: Bytes::new(), _share: None });
    };
    let first = first.map_err(|_| Refused::Framing)?;
    if first.len() > most {
        return Err(too_large(most));
    }
    let Some(mut next) = chunks.next().await else {
        return Ok(Held { bytes: first, _share: None });
    };
    let mut share = room_for(first.len(), shares)?;
    let mut all = BytesMut::from(first);
    loop {
        let chunk = next.map_err(|_| Refused::Framing)?;
        if all.len() + chunk.len() > most {
            return Err(too_large(most));
        }
        share.merge(room_for(chunk.len(), shares)?);
        all.extend_from_slice(&chunk);
        match chunks.next().await {
            Some(more) => next = more,
            None => return Ok(Held { bytes: all.freeze(), _share: Some(share) }),
        }
    }
}

/// A body of ours that is handed out. Its share of the room is free again when it is sent, or when the
/// client has gone.
pub(super) fn held(bytes: Bytes, share: OwnedSemaphorePermit) -> Body {
    let pieces = unfold((Some(bytes), share), async |(bytes, share)| {
        bytes.map(|bytes| (Ok::<_, Infallible>(bytes), (None, share)))
    });
    Body::from_stream(pieces)
}

/// Room for so many bytes more of a body.
pub(super) fn room_for(bytes: usize, shares: &Shares) -> Result<OwnedSemaphorePermit, Refusal> {
    room(bytes, shares).ok_or_else(|| Problem::not_now("memory", AGAIN).into())
}

/// Room for so many bytes more. Who waited for it would hold what he has, so nobody waits.
pub(super) fn room(bytes: usize, shares: &Shares) -> Option<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Arc::clone(&shares.bodies).try_acquire_many_owned(bytes).ok()
}
