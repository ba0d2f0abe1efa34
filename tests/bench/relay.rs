//! The limit: a bare lapin relay from one quorum queue to another, windowed confirms, multiple ack.
//!
//! Invariant: a message is acknowledged only after its copy was confirmed; nothing else is done to it.

use std::{collections::VecDeque, error::Error, path::Path, time::Instant};

use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};

use crate::measure::{self, Measured};
use snodo::broker::{
    management::segment,
    node::{NodeOptions, PrivateNode},
};

type Failure = Box<dyn Error + Send + Sync>;

/// Unconfirmed publishes at most.
const WINDOW: usize = 512;
/// Tags settled by one ack.
const ACK_EVERY: u64 = 64;

/// The same, on a private node in `folder`.
pub(crate) async fn in_folder(
    folder: &Path,
    messages: u64,
    body: &[u8],
) -> Result<Measured, Failure> {
    let mut node = PrivateNode::start(&folder.join("broker"), NodeOptions::default()).await?;
    let measured = run(&uri(&node, "/").await?, messages, body).await;
    node.stop().await;
    measured
}

/// The address of a vhost of a private node, its password in it: it lives as long as the run.
pub(crate) async fn uri(node: &PrivateNode, vhost: &str) -> Result<String, Failure> {
    let endpoint = node.endpoint();
    let host =
        endpoint.nodes.first().and_then(|node| node.strip_prefix("amqp://")).ok_or("no node")?;
    let vhost = segment(vhost);
    Ok(format!("amqp://{}:{}@{host}/{vhost}", endpoint.user, endpoint.password.read().await?))
}

/// Fills a queue with `messages` bodies, then relays them all to another queue, measured.
pub(crate) async fn run(uri: &str, messages: u64, body: &[u8]) -> Result<Measured, Failure> {
    let consuming = Connection::connect(uri, ConnectionProperties::default()).await?;
    let publishing = Connection::connect(uri, ConnectionProperties::default()).await?;
    let input = consuming.create_channel().await?;
    let output = publishing.create_channel().await?;
    output.confirm_select(ConfirmSelectOptions::default()).await?;
    for queue in ["bench.in", "bench.out"] {
        declare(&input, queue).await?;
    }
    fill(&output, messages, body).await?;
    let start = measure::start();
    let began = Instant::now();
    relay(&input, &output, messages).await?;
    Ok(start.stop(messages, began.elapsed()))
}

async fn declare(channel: &Channel, queue: &str) -> Result<(), Failure> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await?;
    channel.queue_purge(queue.into(), lapin::options::QueuePurgeOptions::default()).await?;
    Ok(())
}

async fn fill(channel: &Channel, messages: u64, body: &[u8]) -> Result<(), Failure> {
    let mut open = VecDeque::new();
    for _ in 0..messages {
        open.push_back(send(channel, "bench.in", body, BasicProperties::default()).await?);
        confirm_down_to(&mut open, WINDOW).await?;
    }
    confirm_down_to(&mut open, 0).await
}

async fn send(
    channel: &Channel,
    queue: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Result<PublisherConfirm, Failure> {
    let properties = properties.with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    Ok(channel.basic_publish("".into(), queue.into(), options, body, properties).await?)
}

async fn confirm_down_to(
    open: &mut VecDeque<PublisherConfirm>,
    left: usize,
) -> Result<(), Failure> {
    while open.len() > left {
        if let Some(confirm) = open.pop_front() {
            expect_ack(&confirm.await?)?;
        }
    }
    Ok(())
}

fn expect_ack(confirmation: &lapin::Confirmation) -> Result<(), Failure> {
    if confirmation.is_ack() { Ok(()) } else { Err("the broker refused a copy".into()) }
}

async fn relay(input: &Channel, output: &Channel, messages: u64) -> Result<(), Failure> {
    input.basic_qos(u16::try_from(WINDOW * 2)?, BasicQosOptions::default()).await?;
    let consume = BasicConsumeOptions::default();
    let mut deliveries = input
        .basic_consume("bench.in".into(), "bench".into(), consume, FieldTable::default())
        .await?;
    let mut open: VecDeque<(u64, PublisherConfirm)> = VecDeque::with_capacity(WINDOW);
    let mut acked = 0;
    let mut settled = 0;
    let mut relayed = 0;
    while relayed < messages {
        let delivery = deliveries.next().await.ok_or("the consumer ended")??;
        let confirm = send(output, "bench.out", &delivery.data, delivery.properties).await?;
        open.push_back((delivery.delivery_tag, confirm));
        relayed += 1;
        while let Some(tag) = first_confirmed(&mut open, relayed == messages).await? {
            settled = tag;
        }
        if settled >= acked + ACK_EVERY || relayed == messages {
            input.basic_ack(settled, BasicAckOptions { multiple: true }).await?;
            acked = settled;
        }
    }
    Ok(())
}

/// Takes the oldest publish off the window if it is confirmed; waits for it where the window is full.
async fn first_confirmed(
    open: &mut VecDeque<(u64, PublisherConfirm)>,
    last: bool,
) -> Result<Option<u64>, Failure> {
    let must_wait = last || open.len() >= WINDOW;
    let Some((tag, confirm)) = open.front_mut() else { return Ok(None) };
    let tag = *tag;
    let confirmation =
        if must_wait { Some(confirm.await?) } else { confirm.now_or_never().transpose()? };
    let Some(confirmation) = confirmation else { return Ok(None) };
    expect_ack(&confirmation)?;
    open.pop_front();
    Ok(Some(tag))
}
