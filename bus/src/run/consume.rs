//! delivery: takes copies from one queue, has each carried on its lane, and settles what became of it.
//!
//! Invariant: what is told to the broker is what the engine returned, nothing else; copies in hand are
//! bounded by the broker's prefetch, batches of the fast path by `BATCHES`, tasks by `SINGLES`.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{
        Copy, Received, Settlement,
        consume::{Consumer, Settler, Tag},
    },
    engine::{Calls, Engine, Lane},
    faults,
};

/// Copies of a batch at most.
const BATCH: usize = 256;
/// Batches of one queue that are under way at once.
const BATCHES: usize = 4;
/// Copies of one queue that are worked on one by one at once. Each may wait for its target.
const SINGLES: usize = 128;
/// And where their target has no place free: more would only wait for it, claimed.
const FEW: usize = 4;
/// The same of a route that calls nobody: each waits for commits alone, and those come in groups.
const WITHIN: usize = 1024;
/// How long a copy is kept back that could not be written down: the ledger is away, and the broker
/// would hand it over again at once.
const KEPT_BACK: Duration = Duration::from_secs(2);

/// Which queue a consumer empties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This route's.
    Route(String),
    /// What no queue took.
    Unrouted,
    /// What was delivered too often.
    Poison,
}

/// Consumes until `stop`; then gives back what nobody began and waits for what is under way.
pub(super) async fn consume(
    engine: Arc<Engine>,
    mut consumer: Consumer,
    source: Source,
    stop: CancellationToken,
) {
    let settler = consumer.settler();
    let mut held = engine.held_news();
    held.mark_changed();
    let mut batches = JoinSet::new();
    let mut singles = JoinSet::new();
    let mut waiting = VecDeque::new();
    loop {
        let most = at_once(&engine, &source);
        while singles.len() < most {
            let Some((tag, work)) = waiting.pop_front() else { break };
            let (engine, settler) = (Arc::clone(&engine), settler.clone());
            singles.spawn(single(engine, settler, tag, work, stop.clone()));
        }
        let takes = batches.len() < BATCHES && waiting.is_empty() && singles.len() < most;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Ok(()) = held.changed() => heed(&engine, &consumer, &source),
            Some(_) = batches.join_next(), if !batches.is_empty() => {}
            Some(_) = singles.join_next(), if !singles.is_empty() => {}
            batch = consumer.next_batch(BATCH), if takes => {
                if batch.is_empty() {
                    break;
                }
                let mut fast = Vec::new();
                for (tag, received) in batch {
                    match lane(&engine, &source, received) {
                        Work::Fast(copy) => fast.push((tag, copy)),
                        Work::Single(work) => waiting.push_back((tag, work)),
                    }
                }
                if !fast.is_empty() {
                    batches.spawn(fast_batch(Arc::clone(&engine), settler.clone(), fast, stop.clone()));
                }
            }
        }
    }
    consumer.pause();
    settler.settle_all(waiting.into_iter().map(|(tag, _)| (tag, Settlement::Return)));
    while batches.join_next().await.is_some() {}
    while singles.join_next().await.is_some() {}
    consumer.close().await;
}

/// What is done with one copy.
enum Work {
    Fast(Copy),
    Single(Single),
}

/// What is done with a copy that goes by itself.
enum Single {
    Carry(Box<Copy>),
    Drain(Source, Box<Received>),
}

/// How many copies of a queue are worked on one by one.
fn at_once(engine: &Engine, source: &Source) -> usize {
    match source {
        Source::Route(route) => match engine.calls(route) {
            Calls::Nobody => WITHIN,
            Calls::Crowded => FEW,
            Calls::Free => SINGLES,
        },
        Source::Unrouted | Source::Poison => SINGLES,
    }
}

/// Takes nothing more from the queue of a route that is held. What came already is told so, one by one.
fn heed(engine: &Engine, consumer: &Consumer, source: &Source) {
    match source {
        Source::Route(route) if engine.is_held(route) => consumer.pause(),
        Source::Route(_) => consumer.resume(),
        Source::Unrouted | Source::Poison => {}
    }
}

fn lane(engine: &Engine, source: &Source, received: Received) -> Work {
    match (source, received) {
        (Source::Route(_), Received::Copy { copy, redelivered }) => {
            match engine.lane(&copy, redelivered) {
                Lane::Fast => Work::Fast(copy),
                Lane::Claim => Work::Single(Single::Carry(Box::new(copy))),
            }
        }
        (source, received) => Work::Single(Single::Drain(source.clone(), Box::new(received))),
    }
}

async fn single(
    engine: Arc<Engine>,
    settler: Settler,
    tag: Tag,
    work: Single,
    stop: CancellationToken,
) {
    if faults::off("ack-before-commit") {
        settler.settle(tag, Settlement::Ack);
    }
    let settlement = match work {
        Single::Carry(copy) => engine.carry(&copy).await,
        Single::Drain(Source::Poison, received) => engine.drain_poison(*received).await,
        Single::Drain(Source::Unrouted, received) => engine.drain_unrouted(*received).await,
        Single::Drain(Source::Route(_), received) => match *received {
            Received::Unreadable(foreign) => engine.stray(foreign).await,
            Received::Copy { copy, .. } => engine.carry(&copy).await,
        },
    };
    if settlement == Settlement::Return {
        keep_back(&stop).await;
    }
    settler.settle(tag, settlement);
}

async fn fast_batch(
    engine: Arc<Engine>,
    settler: Settler,
    batch: Vec<(Tag, Copy)>,
    stop: CancellationToken,
) {
    let (tags, copies): (Vec<Tag>, Vec<Copy>) = batch.into_iter().unzip();
    if faults::off("ack-before-commit") {
        settler.settle_all(tags.iter().map(|tag| (*tag, Settlement::Ack)));
    }
    let settlements = engine.fast_batch(&copies).await;
    if settlements.contains(&Settlement::Return) {
        keep_back(&stop).await;
    }
    settler.settle_all(tags.into_iter().zip(settlements));
}

async fn keep_back(stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(KEPT_BACK) => {}
        () = stop.cancelled() => {}
    }
}
