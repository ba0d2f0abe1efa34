//! Claim checks: a copy without its body is carried with the one that the ledger has.
//!
//! Invariant: the bodies in hand together are bounded by bytes; who needs more waits, holding none.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Engine;
use crate::broker::{Copy, Settlement};

/// KiB of all such bodies in hand: those of one at the limit. Read and mapped, a body takes several times
/// its length, and what it took goes back to the kernel a second later.
const ALL: u32 = 4 << 10;

/// Room for bodies.
#[derive(Debug)]
pub(super) struct Claims(Semaphore);

impl Default for Claims {
    fn default() -> Self {
        Self(Semaphore::new(ALL as usize))
    }
}

/// A copy with its body, and the room that it takes.
#[derive(Debug)]
pub(super) struct Redeemed<'a> {
    pub(super) copy: Copy,
    _room: Option<SemaphorePermit<'a>>,
}

impl Engine {
    /// The copy with its body; none where it has it, or where the ledger knows nothing of it: then its row
    /// will say so.
    pub(super) async fn redeem(&self, copy: &Copy) -> Result<Option<Redeemed<'_>>, Settlement> {
        if !copy.message.is_claim() {
            return Ok(None);
        }
        let id = copy.message.envelope.id;
        let size = self.ledger.body_size(id).await.map_err(|_| Settlement::Return)?;
        let Some(size) = size else { return Ok(None) };
        let wanted = u32::try_from(size.div_ceil(1024)).map_or(ALL, |wanted| wanted.min(ALL));
        let room = self.claims.0.acquire_many(wanted).await.ok();
        let message = self.ledger.message(id).await.map_err(|_| Settlement::Return)?;
        let Some(message) = message else { return Ok(None) };
        Ok(Some(Redeemed {
            copy: Copy { message: Arc::clone(&message), ..copy.clone() },
            _room: room,
        }))
    }
}
