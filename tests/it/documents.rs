//! Documents: posted, cited, filed, handed out, collected. Over real ledgers, a real store, real buses.
//!
//! Invariant: a document is somebody's; who has no right to it cannot tell it from one that is not there.

mod custody;
mod routes;

use snodo_core::{
    document::{Document, DocumentKey},
    ids::Digest,
};

/// A document of these bytes.
fn document(name: &str, bytes: &[u8]) -> Document {
    Document {
        key: DocumentKey(uuid::Uuid::now_v7()),
        sha256: Digest::of(bytes),
        size: bytes.len() as u64,
        media_type: "text/plain".to_owned(),
        name: name.to_owned(),
    }
}
