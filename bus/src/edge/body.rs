//! Reads a body within its limits.
//!
//! Invariant: nothing is read of a body that says it is too large, and never more than the limit.

use axum::{
    body::Body,
    http::{HeaderMap, header::CONTENT_LENGTH},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use snodo_core::{admission::Rejection, problem::Problem};

use super::{
    EdgeLimits,
    problems::{Refusal, Refused},
};

pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: &EdgeLimits,
) -> Result<Bytes, Refusal> {
    // The door lets one numeric length pass, or none.
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limits.body as u64) {
        return Err(too_large(limits.body));
    }
    let all = collect(body, limits.body);
    timeout(limits.body_within, all).await.unwrap_or_else(|_| Err(Problem::too_slow().into()))
}

fn too_large(most: usize) -> Refusal {
    Rejection::too_large(most).into()
}

async fn collect(body: Body, most: usize) -> Result<Bytes, Refusal> {
    let mut chunks = body.into_data_stream();
    let Some(first) = chunks.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|_| Refused::Framing)?;
    if first.len() > most {
        return Err(too_large(most));
    }
    let Some(mut next) = chunks.next().await else { return Ok(first) };
    let mut all = BytesMut::from(first);
    loop {
        let chunk = next.map_err(|_| Refused::Framing)?;
        if all.len() + chunk.len() > most {
            return Err(too_large(most));
        }
        all.extend_from_slice(&chunk);
        match chunks.next().await {
            Some(more) => next = more,
            None => return Ok(all.freeze()),
        }
    }
}
