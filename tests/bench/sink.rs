//! Who takes what is delivered: reads a queue to its end, all the time, so that it stays short.
//!
//! Invariant: what is measured is the way into the queue; a queue that only grows would measure the
//! broker's disk.

use std::{error::Error, time::Duration};

use futures_util::StreamExt as _;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::task::JoinHandle;

type Failure = Box<dyn Error + Send + Sync>;

/// Copies that are told of by one ack.
const ACK_EVERY: u64 = 256;
/// How soon a lull is told of.
const LULL: Duration = Duration::from_millis(20);

/// A consumer, until it is dropped.
pub(crate) struct Sink(JoinHandle<()>);

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sink {
    /// Begins to empty `queue`, which is there already.
    pub(crate) async fn begin(uri: &str, queue: &str) -> Result<Self, Failure> {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(u16::try_from(ACK_EVERY * 4)?, BasicQosOptions::default()).await?;
        let consume = BasicConsumeOptions::default();
        let consumer = channel
            .basic_consume(queue.into(), "sink".into(), consume, FieldTable::default())
            .await?;
        Ok(Self(tokio::spawn(async move {
            empty(&channel, consumer).await;
            drop(connection);
        })))
    }
}

async fn empty(channel: &Channel, mut consumer: lapin::Consumer) {
    let (mut last, mut told) = (0, 0);
    loop {
        let next = tokio::time::timeout(LULL, consumer.next()).await;
        let lull = next.is_err();
        match next {
            Ok(Some(Ok(delivery))) => last = delivery.delivery_tag,
            Ok(_) => return,
            Err(_) => {}
        }
        if last >= told + ACK_EVERY || (lull && last > told) {
            if channel.basic_ack(last, BasicAckOptions { multiple: true }).await.is_err() {
                return;
            }
            told = last;
        }
    }
}
