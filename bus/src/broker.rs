//! The broker as the engine sees it: copies go out with confirms, come in to be settled.
//!
//! Invariant: a confirm means that the broker holds the copy, never that anybody has custody but the
//! ledger. The only home of `lapin` is below this module.
//!
#![doc = include_str!("broker/traps.md")]

use std::sync::Arc;

use bytes::Bytes;
use snodo_core::{
    adapter::BoxFuture,
    envelope::Message,
    ids::{DeliveryId, Digest},
};

pub mod consume;
pub mod management;
pub mod node;
pub mod publish;
pub mod session;
pub mod topology;

mod wire;

/// What a log filter must say of the client library: it writes whole messages, bodies and all, into its
/// warnings (a returned message). What matters of a session, these modules log themselves.
pub const LOG_FILTER: &str = "lapin=off";

/// Where a copy goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// The queue of a route (of the copy's shard, where it has one), through the exchange
    /// `snodo.deliver`; unroutable copies come back by the alternate exchange and are drained.
    Route(String),
    /// The queue of a party in its own vhost: mandatory, no alternate exchange.
    Party(String),
}

/// One copy of a delivery: what the rows say, and the message.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its sequence in the ledger.
    pub seq: i64,
    /// The round under which this copy was sent.
    pub round: u32,
    /// The route version to which the delivery is pinned; zero for a party.
    pub route_digest: Digest,
    /// Runs alone and under a claim: its row has crashes or is suspect.
    pub alone: bool,
    /// The queue of its key, where the route keeps an order.
    pub shard: Option<u16>,
    /// The message.
    pub message: Arc<Message>,
}

/// What the broker said of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// It holds the copy.
    Confirmed,
    /// No queue took it (mandatory only).
    Returned,
    /// It refused the copy (queue full).
    Nacked,
    /// Nobody knows: connection or channel lost, or no answer in time. Publish again, same round.
    Unknown,
}

/// The way out. Implemented by the AMQP sessions and by the simulation's faulty broker.
pub trait Publish: Send + Sync + 'static {
    /// Sends a copy; resolves with the broker's word. Bounded: waits where the window is full.
    fn publish(&self, to: &Address, copy: Copy) -> BoxFuture<'static, Confirm>;
    /// Whether a publish would have to wait: the connection is down, blocked, or its window is full.
    fn is_congested(&self) -> bool;
}

/// What came in from a queue.
#[derive(Clone, Debug)]
pub enum Received {
    /// A copy of ours, decoded.
    Copy {
        /// The copy.
        copy: Copy,
        /// The broker says it may have been delivered before.
        redelivered: bool,
    },
    /// Not one of ours, or altered beyond reading: goes to `stray` as it is.
    Unreadable(Foreign),
}

/// A message in our queues that is not a copy of ours.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// The queue in which it lay.
    pub queue: String,
    /// What it says of itself: headers as JSON, without body.
    pub headers: serde_json::Value,
    /// Its bytes.
    pub body: Bytes,
}

/// What is told to the broker of a copy, after its row is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The ledger has written what becomes of it.
    Ack,
    /// Nothing was begun (shutdown) or the outcome of a commit is not known: deliver it again.
    Return,
}
