//! `order_by`: the deliveries of one key keep the order in which they were accepted.
//!
//! Invariant: a message has the same key whoever works it out, and nobody can read the key of it: what
//! the ledger keeps is a digest, for a key may be a number plate or a tax code.

use serde_json::{Map, Value};

use super::Route;
use crate::{
    envelope::Message,
    fault::Fault,
    ids::Digest,
    template::{Scope, Template},
};

/// Which deliveries of a route keep an order, and how.
#[derive(Debug)]
pub struct Order {
    /// Gives the key of a message: text or a number.
    pub key: Template,
    /// The same as it is written.
    pub written: String,
    /// What those behind a parked delivery do.
    pub on_park: OnPark,
    /// Over how many queues the keys are spread.
    pub shards: u16,
}

/// `on_park`: what the deliveries of a key do while one before them waits for a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPark {
    /// They wait with it.
    #[default]
    Hold,
    /// They go past it.
    Skip,
}

/// To which order a delivery belongs. Its number in it is drawn by the commit that creates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The digest of the key.
    pub key: Digest,
    /// What it does while one before it waits for a person.
    pub on_park: OnPark,
}

impl Order {
    /// Where a route does not say.
    pub const SHARDS: u16 = 4;
    /// At most.
    pub const MOST_SHARDS: u16 = 64;

    /// The queue, from 0, of the deliveries of a key.
    pub fn shard_of(&self, key: &Digest) -> u16 {
        shard_of(key, self.shards)
    }
}

fn shard_of(key: &Digest, shards: u16) -> u16 {
    let first = u16::from_be_bytes([key.0[0], key.0[1]]);
    first % shards.max(1)
}

impl Route {
    /// Whether numbers and queues of this route's deliveries mean the same in `other`.
    pub fn has_the_order_of(&self, other: &Self) -> bool {
        let shape =
            |route: &Self| route.order.as_ref().map(|order| (order.written.clone(), order.shards));
        shape(self) == shape(other)
    }

    /// The place of a message among the deliveries of this route; none where it keeps no order. The
    /// fault is of the message: such a delivery belongs to no order, and does not run.
    pub fn place(&self, message: &Message) -> Result<Option<Place>, Fault> {
        let Some(order) = &self.order else { return Ok(None) };
        let (body, none) = (self.body(&message.data)?, Map::new());
        let key = order.key.render(&Scope::new(&body, &message.envelope, &none))?;
        Ok(Some(Place { key: digest_of(&key), on_park: order.on_park }))
    }
}

/// As JSON, so that the text `1` and the number 1 are two keys.
fn digest_of(key: &Value) -> Digest {
    Digest::of(key.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_spread_over_the_shards_and_each_stays_where_it_is() {
        let mut seen = [0_u32; 4];
        for key in 0..1000 {
            let key = digest_of(&json!(key));
            let shard = shard_of(&key, 4);
            assert_eq!(shard, shard_of(&key, 4));
            seen[usize::from(shard)] += 1;
        }
        assert!(seen.iter().all(|keys| (200..300).contains(keys)), "{seen:?}");
        assert_eq!(shard_of(&digest_of(&json!("AB123CD")), 1), 0);
        assert_ne!(digest_of(&json!("1")), digest_of(&json!(1)));
    }
}
