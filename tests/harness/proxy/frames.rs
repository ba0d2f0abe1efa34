//! The frames of AMQP 0-9-1, as far as a proxy must know them.
//!
//! Invariant: pure; whatever comes in comes out, in order, a frame at a time.

use bytes::{Buf as _, Bytes, BytesMut};

/// Type, channel, size; the end of a frame is one more byte.
const HEAD: usize = 7;
/// The types of frames: method, header, body, heartbeat.
const TYPES: [u8; 4] = [1, 2, 3, 8];

/// A stream that is cut into frames.
#[derive(Debug, Default)]
pub struct Frames {
    rest: BytesMut,
}

impl Frames {
    /// The frames that are whole with these bytes; what is no frame is passed as it is.
    pub fn whole(&mut self, bytes: &[u8]) -> Vec<Bytes> {
        self.rest.extend_from_slice(bytes);
        let mut whole = Vec::new();
        while let Some(length) = length(&self.rest) {
            if self.rest.len() < length {
                break;
            }
            whole.push(self.rest.split_to(length).freeze());
        }
        whole
    }
}

/// How long what comes next is; none where that is not known yet.
fn length(bytes: &[u8]) -> Option<usize> {
    let kind = *bytes.first()?;
    if !TYPES.contains(&kind) {
        return Some(bytes.len());
    }
    let size = usize::try_from(bytes.get(3..HEAD)?.get_u32()).ok()?;
    Some(HEAD + size + 1)
}

/// Whether a frame of the broker is its word on publishes: `basic.ack` or `basic.nack`.
pub fn is_confirm(frame: &[u8]) -> bool {
    let method = frame.first() == Some(&1);
    method && matches!(frame.get(HEAD..HEAD + 4), Some([0, 60, 0, 80 | 120]))
}
