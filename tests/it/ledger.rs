//! The contract of the ledger: every action's guard, the totals, the evidence; the same on both databases.
//!
//! Invariant: each test runs on a ledger of its own.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use snodo::ledger::{
    Accept, Action, Claimed, Created, Deed, Emission, IntentFate, Ledger, NewDelivery, Outcome,
    Return, RouteVersion, Row, Settings, Started, StepDone, Store, Stray, TargetAway, Then, open,
};
use snodo_core::{
    adapter::Cursor,
    envelope::{Envelope, IdempotencyKey, Message},
    fault::{Fault, FaultClass},
    ids::{DeliveryId, Digest, Fence, IncarnationId, MessageId},
    message_state::DeliveryState,
    register::{Direction, LedgerEffect, Registration},
    timestamp::Timestamp,
};
use snodo_tests::postgres;

pub(crate) mod bench;
mod contract;
mod evidence;
mod facts;
mod mutants;
mod order;
mod random;
mod race;
mod retention;
mod writer;

/// Any moment.
const NOON: Timestamp = Timestamp(1_764_000_000_000);

fn at(seconds: i64) -> Timestamp {
    Timestamp(NOON.0 + seconds * 1000)
}
