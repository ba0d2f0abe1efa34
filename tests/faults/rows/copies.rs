//! Copies are not confirmed, come twice, out of order, or too often: F23, F25, F26, F30.
//!
//! Invariant: a copy that a run makes by hand is one that the bus made, byte for byte.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lapin::{
    Channel, Connection,
    message::BasicGetMessage,
    options::{BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions},
};
use snodo_core::topology::{DELIVER, POISON, route_queue};
use snodo_tests::{
    chaos::{
        Failure,
        drive::Load,
        house::{TOKEN, event, route_of},
    },
    client::{Client, post_message},
    proxy::{Cut, Flow, Line},
};

use super::RATE;
use crate::fault::Fault;

const SOON: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(90);
/// After so many deliveries the broker gives a copy up.
const DELIVERY_LIMIT: u32 = 20;

/// F23: after thirty seconds the channel is dropped, and the same round published again.
pub(super) async fn unconfirmed(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.stage.settle().await?;
    fault.did("swallowed the broker's confirms, and held what it delivers");
    fault.proxy.set_named("snodo/publish", Line::down(Flow::SwallowConfirms));
    fault.proxy.set_named("snodo/consume", Line::down(Flow::Hold));
    fault.stage.drive(Load::of(RATE))?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    fault.stage.rest().await;
    let unknown = fault.published("unknown").await;
    let took = fault
        .see_within("the channel is dropped", LATER, async |fault| {
            Ok(fault.logged("no word from the broker for 30s") > 0)
        })
        .await?;
    let seconds = took.as_secs();
    fault.did(format!("waited {seconds} s for that"));
    fault.see("after thirty seconds, not before", (25..=45).contains(&seconds));
    let unknown = fault.published("unknown").await - unknown;
    fault.see("what it had not confirmed is unknown", unknown > 0);
    let (confirmed, again) = (fault.published("confirmed").await, unknown);
    // Copies that came through are not delivered yet: else they were done before they go out again.
    fault.did("let confirms pass again");
    fault.proxy.set_named("snodo/publish", Line::SOUND);
    fault
        .see_within("the same rounds are published again", SOON, async |fault| {
            Ok(fault.published("confirmed").await >= confirmed + again)
        })
        .await?;
    fault.did("let deliveries pass again");
    fault.proxy.mend();
    fault.finish().await
}

/// F25: a copy that comes again has no second effect.
pub(super) async fn twice(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.apply().await?;
    fault.did("killed the bus between a settle and its acknowledgement (CP12)");
    let pass = fault.dice.between(8, 16);
    fault.environment.push(("SNODO_CRASH_AT", format!("CP12:{pass}")));
    fault.start_bus(true).await?;
    fault.stage.drive(Load::of(RATE))?;
    let died = fault.stage.wait_death(SOON).await;
    fault.see("it died there", died);
    fault.stage.rest().await;
    fault.stage.bury().await?;
    fault.environment.clear();
    fault.start_bus(false).await?;
    fault.stage.settle().await?;
    let suppressed = fault.figure("snodo_duplicates_suppressed_total", &[]).await;
    fault.proxy.set_named("snodo/consume", Line::CLOSED);
    fault.stage.drive(Load { rate: RATE, only: Some("idempotent") })?;
    let queue = route_queue("idempotent");
    let copies = copies_in(fault, &queue, 3).await?;
    fault.stage.rest().await;
    fault.did(format!("published {} copies twice more by hand", copies.len()));
    publish_again(fault, &queue, copies).await?;
    fault.proxy.mend();
    fault.stage.settle().await?;
    fault
        .see_within("each copy too many is counted", SOON, async |fault| {
            let now = fault.figure("snodo_duplicates_suppressed_total", &[]).await;
            Ok(now >= suppressed + 6)
        })
        .await?;
    fault.finish().await
}

async fn channel(fault: &Fault<'_>) -> Result<(Connection, Channel), Failure> {
    let connection = fault.place.endpoint.dial(0, "by-hand").await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

/// Takes so many copies out of a queue, and leaves them there.
async fn copies_in(
    fault: &Fault<'_>,
    queue: &str,
    wanted: usize,
) -> Result<Vec<BasicGetMessage>, Failure> {
    let (connection, channel) = channel(fault).await?;
    let mut copies = Vec::new();
    for _ in 0..300 {
        let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: false }).await?;
        copies.extend(got);
        if copies.len() == wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Closed with what it has not acknowledged: the copies go back.
    connection.close(200, "looked".into()).await?;
    if copies.len() == wanted {
        return Ok(copies);
    }
    Err(format!("only {} copies came into {queue}", copies.len()).into())
}

async fn publish_again(
    fault: &Fault<'_>,
    queue: &str,
    copies: Vec<BasicGetMessage>,
) -> Result<(), Failure> {
    let (connection, channel) = channel(fault).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    for copy in copies {
        for _ in 0..2 {
            let (properties, body) = (copy.delivery.properties.clone(), &copy.delivery.data);
            let options = BasicPublishOptions::default();
            channel
                .basic_publish(DELIVER.into(), queue.into(), options, body, properties)
                .await?
                .await?;
        }
    }
    Ok(connection.close(200, "published".into()).await?)
}

/// F26: an ordered route keeps the order of each key, however its copies come.
pub(super) async fn reordered(fault: &mut Fault<'_>) -> Result<(), Failure> {
    const KEYS: u64 = 7;
    fault.rewrite("routes/once.yaml", |text| {
        text.replace("from:", "order_by: ${ .n % 7 }\nshards: 2\nfrom:")
    })?;
    fault.start().await?;
    fault.did("delayed deliveries by 80 ms, and cut the consuming connection nine times");
    fault.proxy.set_named("snodo/consume", Line::down(Flow::Delay(Duration::from_millis(80))));
    let ends = tokio::time::Instant::now() + Duration::from_secs(20);
    let (mut attempted, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    let mut client = Client::new(fault.stage.house.http);
    let (mut number, mut cuts) = (0, 0);
    while tokio::time::Instant::now() < ends {
        // One after the other: so the order of acceptance is that of the numbers.
        number += 1;
        if route_of(number) != "once" {
            continue;
        }
        attempted.insert(number);
        if client.send(&post_message(TOKEN, &event(number))).await?.status == 202 {
            acknowledged.insert(number);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        let left = ends.duration_since(tokio::time::Instant::now()).as_secs();
        if left < 18 - cuts * 2 {
            cuts += 1;
            let how = if fault.dice.draw().is_multiple_of(2) { Cut::Close } else { Cut::Reset };
            fault.proxy.cut_named("snodo/consume", how);
        }
    }
    fault.see("copies were thrown back while they were worked on", cuts >= 5);
    fault.proxy.mend();
    fault.stage.posted(attempted, acknowledged);
    fault.stage.settle().await?;
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut breaks = 0;
    for line in fault.stage.target.lines()?.iter().filter(|line| line.applied) {
        let before = last.insert(line.n % KEYS, line.n);
        breaks += u64::from(before.is_some_and(|before| before > line.n));
    }
    fault.report.order_breaks = breaks;
    fault.see("every key had its effects in the order of acceptance", breaks == 0);
    fault.finish().await
}

/// F30: what the broker gives up stays where it is until the poison queue is there; then it is drained.
pub(super) async fn without_poison_queue(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let queue = route_queue("idempotent");
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.stage.settle().await?;
    fault.did("deleted the poison queue, and returned three copies until the broker gave them up");
    fault.place.management.delete(&fault.place.path("queues", POISON)).await?;
    fault.proxy.set_named("snodo/consume", Line::CLOSED);
    fault.stage.drive(Load { rate: RATE, only: Some("idempotent") })?;
    copies_in(fault, &queue, 3).await?;
    fault.stage.rest().await;
    give_up(fault, &queue).await?;
    fault
        .see_within("they stay in the queue they came from", SOON, async |fault| {
            let queue = fault.queue(&queue).await.unwrap_or_default();
            Ok(queue["messages_dlx"].as_i64().is_some_and(|waiting| waiting >= 3))
        })
        .await?;
    fault.did("snodo topology apply");
    fault.apply().await?;
    fault.proxy.mend();
    fault
        .see_within("then they are drained, and run alone", LATER, async |fault| {
            Ok(fault.moved("poison").await >= 3)
        })
        .await?;
    fault.finish().await
}

/// Takes every copy of a queue and returns it, until the broker has given them all up.
async fn give_up(fault: &Fault<'_>, queue: &str) -> Result<(), Failure> {
    let (connection, channel) = channel(fault).await?;
    for _ in 0..=DELIVERY_LIMIT * 2 {
        let mut tags = Vec::new();
        let options = BasicGetOptions { no_ack: false };
        while let Some(got) = channel.basic_get(queue.into(), options).await? {
            tags.push(got.delivery.delivery_tag);
        }
        if tags.is_empty() {
            break;
        }
        for tag in tags {
            let back = BasicNackOptions { multiple: false, requeue: true };
            channel.basic_nack(tag, back).await?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(connection.close(200, "given up".into()).await?)
}
