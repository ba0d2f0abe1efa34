//! The way out: copies go to their queues in a window of confirms.
//!
//! Invariant: nothing is sent twice here, and nothing is called confirmed but by the broker's own word
//! on this very copy. What is lost with a session is `Unknown`; the relay decides.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{join_all, ready},
    stream::FuturesUnordered,
};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use snodo_core::{
    adapter::BoxFuture,
    topology::{DELIVER, PartyQueue, queue_of},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::warn;

use super::{
    Address, Confirm, Copy, Publish,
    session::{Endpoint, Link, LinkState, Patience, close_channel},
    wire,
};
use crate::retry::Waits;

/// Unconfirmed copies on one channel.
const WINDOW: usize = 1024;
/// Their bytes. One copy that is larger goes alone.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// Copies that wait for room in the window; beyond it, the publish itself waits.
const QUEUE: usize = 1024;
/// A channel that held so long was healthy: the waits start over after it.
const HEALTHY: Duration = Duration::from_secs(30);
/// Copies of one batch for a party: a batch takes one way to the broker's disk and back, however large.
const BATCH: usize = 1024;

/// One copy, encoded by who publishes it, and where its answer goes.
#[derive(Debug)]
struct Job {
    key: ShortString,
    properties: BasicProperties,
    body: Bytes,
    answer: oneshot::Sender<Confirm>,
}

/// The AMQP sessions of everything that goes out: one connection for the routes, one per party vhost.
#[derive(Debug)]
pub struct Publisher {
    endpoint: Endpoint,
    patience: Patience,
    routes: Lane,
    parties: RwLock<HashMap<String, (PartyQueue, Arc<Lane>)>>,
}

/// A connection, and the task that publishes on it.
#[derive(Debug)]
struct Lane {
    link: Link,
    jobs: mpsc::Sender<Job>,
    full: Arc<AtomicBool>,
}

impl Publisher {
    /// Starts the sessions.
    pub fn start(endpoint: &Endpoint, parties: &[PartyQueue], patience: Patience) -> Self {
        let link = Link::start(endpoint.clone(), "publish", patience);
        let publisher = Self {
            endpoint: endpoint.clone(),
            patience,
            routes: Lane::start(link, patience, |work| tokio::spawn(work.publish_windowed())),
            parties: RwLock::default(),
        };
        publisher.set_parties(parties);
        publisher
    }

    /// Other parties: sessions of those that are no more end, those of the others stay.
    pub fn set_parties(&self, parties: &[PartyQueue]) {
        let mut lanes = self.parties.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        lanes.retain(|_, (queue, _)| parties.contains(queue));
        for party in parties {
            lanes.entry(party.party.clone()).or_insert_with(|| {
                let endpoint = self.endpoint.in_vhost(&party.vhost);
                let link = Link::start(endpoint, "party", self.patience);
                let lane = Lane::start(link, self.patience, |work| {
                    tokio::spawn(work.publish_in_batches())
                });
                (party.clone(), Arc::new(lane))
            });
        }
    }

    /// What is known of the routes' connection.
    pub fn observe(&self) -> tokio::sync::watch::Receiver<LinkState> {
        self.routes.link.observe()
    }

    /// What is known of a party's connection.
    pub fn observe_party(&self, party: &str) -> Option<tokio::sync::watch::Receiver<LinkState>> {
        self.party(party).map(|(_, lane)| lane.link.observe())
    }

    /// Whether a publish to this party would have to wait.
    pub fn is_party_congested(&self, party: &str) -> bool {
        self.party(party).is_some_and(|(_, lane)| lane.is_congested())
    }

    /// Ends the sessions. What is unconfirmed becomes `Unknown`.
    pub async fn close(&self) {
        let lanes: Vec<_> = {
            let mut parties =
                self.parties.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            parties.drain().map(|(_, (_, lane))| lane).collect()
        };
        join_all(lanes.iter().map(|lane| lane.link.close())).await;
        self.routes.link.close().await;
    }

    fn party(&self, party: &str) -> Option<(String, Arc<Lane>)> {
        let lanes = self.parties.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        lanes.get(party).map(|(queue, lane)| (queue.queue.clone(), Arc::clone(lane)))
    }
}

impl Publish for Publisher {
    fn publish(&self, to: &Address, copy: Copy) -> BoxFuture<'static, Confirm> {
        match to {
            Address::Route(route) => {
                let properties = wire::to_route(&copy);
                let queue = queue_of(route, copy.shard);
                self.routes.publish(queue, properties, copy.message.data.clone())
            }
            Address::Party(party) => match self.party(party) {
                Some((queue, lane)) => {
                    lane.publish(queue, wire::to_party(&copy), copy.message.data.clone())
                }
                // Not configured to have a queue: none takes it.
                None => Box::pin(ready(Confirm::Returned)),
            },
        }
    }

    fn is_congested(&self) -> bool {
        self.routes.is_congested()
    }
}

impl Lane {
    fn start(
        link: Link,
        patience: Patience,
        spawn: impl FnOnce(Work) -> tokio::task::JoinHandle<()>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let full = Arc::new(AtomicBool::new(false));
        spawn(Work { link: link.clone(), patience, queue, full: Arc::clone(&full) });
        Self { link, jobs, full }
    }

    fn is_congested(&self) -> bool {
        self.full.load(Relaxed) || self.jobs.capacity() == 0 || self.link.is_congested()
    }

    fn publish(
        &self,
        key: String,
        properties: BasicProperties,
        body: Bytes,
    ) -> BoxFuture<'static, Confirm> {
        // A name beyond 255 bytes can name no queue.
        let Ok(key) = ShortString::try_new(key) else { return Box::pin(ready(Confirm::Returned)) };
        let (answer, answered) = oneshot::channel();
        let job = Job { key, properties, body, answer };
        // A session that ends drops its jobs, and their answers with them.
        let answered = answered.map(|answer| answer.unwrap_or(Confirm::Unknown));
        match self.jobs.try_send(job) {
            Ok(()) => Box::pin(answered),
            Err(mpsc::error::TrySendError::Closed(_)) => Box::pin(ready(Confirm::Unknown)),
            Err(mpsc::error::TrySendError::Full(job)) => {
                let jobs = self.jobs.clone();
                Box::pin(async move {
                    match jobs.send(job).await {
                        Ok(()) => answered.await,
                        Err(_) => Confirm::Unknown,
                    }
                })
            }
        }
    }
}

/// The publishing task of a lane. One task per channel: confirms are numbered in the order in which
/// publishes are handed to `lapin`, which does not hold for concurrent callers.
struct Work {
    link: Link,
    patience: Patience,
    queue: mpsc::Receiver<Job>,
    full: Arc<AtomicBool>,
}

/// A publish that came to its end.
struct Answered {
    answer: oneshot::Sender<Confirm>,
    size: usize,
    epoch: u64,
    confirm: Result<Confirm, lapin::Error>,
}

async fn publish(
    channel: Channel,
    exchange: ShortString,
    mandatory: bool,
    job: &mut Job,
) -> Result<Confirmation, lapin::Error> {
    let options = BasicPublishOptions { mandatory, ..Default::default() };
    let (key, properties) = (std::mem::take(&mut job.key), std::mem::take(&mut job.properties));
    channel.basic_publish(exchange, key, options, &job.body, properties).await?.await
}

fn word(confirmation: &Confirmation) -> Confirm {
    match confirmation {
        Confirmation::Ack(_) => Confirm::Confirmed,
        Confirmation::Nack(_) => Confirm::Nacked,
        // Only without confirms, which every channel here selects.
        Confirmation::NotRequested => Confirm::Unknown,
    }
}

impl Work {
    /// For the routes: as many as the window holds, each confirmed on its own.
    async fn publish_windowed(mut self) {
        let mut waits = self.patience.pace.waits();
        while let Some(channel) = self.channel().await {
            let began = Instant::now();
            let mut room = Room::new(Arc::clone(&self.full));
            let deadline = self.patience.confirm;
            let end = run_window(&channel, &mut self.queue, &self.link, &mut room, deadline).await;
            let Err(cause) = end else { return };
            warn!(cause, "a publishing channel is dropped; what it had not confirmed is unknown");
            close_channel(&channel, "over").await;
            self.pause(&mut waits, began).await;
        }
    }

    /// For a party: mandatory, so the broker returns what no queue took. `lapin` gives a return to
    /// whichever confirm comes next, so a batch is judged when all of it is confirmed, by message id:
    /// each return comes before its own confirm, so by then every return has been seen.
    async fn publish_in_batches(mut self) {
        let mut waits = self.patience.pace.waits();
        while let Some(channel) = self.channel().await {
            let began = Instant::now();
            if !self.batches(&channel).await {
                return;
            }
            warn!("a party's publishing channel is dropped; its last batch is unknown");
            close_channel(&channel, "over").await;
            self.pause(&mut waits, began).await;
        }
    }

    /// Before the next channel on a connection that stands: what closed the last one, an exchange that is
    /// not there for example, would close it too.
    async fn pause(&self, waits: &mut Waits, began: Instant) {
        if began.elapsed() >= HEALTHY {
            waits.reset();
        }
        if self.link.is_connected() {
            sleep(waits.next_wait()).await;
        }
    }

    async fn batches(&mut self, channel: &Channel) -> bool {
        loop {
            let mut batch = Vec::new();
            if self.queue.recv_many(&mut batch, BATCH).await == 0 {
                return false;
            }
            batch.retain(|job| !job.answer.is_closed());
            let sent = send_batch(channel, &mut batch, self.patience.confirm).await;
            let Ok(confirms) = sent else { return true };
            for (job, confirm) in batch.into_iter().zip(confirms) {
                // Who asked may be gone; nobody else wants to know.
                let _ = job.answer.send(confirm);
            }
        }
    }

    /// A fresh channel with confirms; none when the link or the last publisher is gone.
    async fn channel(&mut self) -> Option<Channel> {
        let mut first = true;
        loop {
            if !std::mem::take(&mut first) {
                sleep(Duration::from_millis(100)).await;
            }
            let connection = self.connection().await?;
            let Ok(channel) = connection.create_channel().await else { continue };
            if channel.confirm_select(ConfirmSelectOptions::default()).await.is_ok() {
                return Some(channel);
            }
        }
    }

    /// Waits for the connection. Nobody waits longer than for a confirm: what is queued by then is
    /// unknown, once a second, so that who tries again at once makes no hot loop.
    async fn connection(&mut self) -> Option<Arc<lapin::Connection>> {
        let began = Instant::now();
        let mut tick = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                connection = self.link.connected() => return connection,
                _ = tick.tick() => {
                    if self.queue.is_closed() && self.queue.is_empty() {
                        return None;
                    }
                    if began.elapsed() >= self.patience.confirm {
                        while self.queue.try_recv().is_ok() {}
                    }
                }
            }
        }
    }
}

async fn send_batch(
    channel: &Channel,
    batch: &mut [Job],
    deadline: Duration,
) -> Result<Vec<Confirm>, ()> {
    let ids: Vec<Option<ShortString>> =
        batch.iter().map(|job| job.properties.message_id().clone()).collect();
    let publishes = batch
        .iter_mut()
        .map(|job| Box::pin(publish(channel.clone(), ShortString::default(), true, job)));
    let confirmations = timeout(deadline, one_after_the_other(publishes.collect())).await;
    let confirmations = confirmations.map_err(drop)?.map_err(drop)?;
    let mut confirms: Vec<Confirm> = confirmations.iter().map(word).collect();
    let returned: HashSet<Option<ShortString>> = confirmations
        .into_iter()
        .filter_map(Confirmation::take_message)
        .map(|message| message.delivery.properties.message_id().clone())
        .collect();
    for (confirm, id) in confirms.iter_mut().zip(&ids) {
        if *confirm == Confirm::Confirmed && returned.contains(id) {
            *confirm = Confirm::Returned;
        }
    }
    Ok(confirms)
}

/// Begins all of them in their order, then waits for each in turn: when the first is confirmed, mostly
/// all are. Whoever waits for all at once is woken for each.
async fn one_after_the_other<F, T, E>(mut publishes: Vec<F>) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>> + Unpin,
{
    let begun: Vec<_> = publishes.iter_mut().map(futures_util::FutureExt::now_or_never).collect();
    let mut done = Vec::with_capacity(publishes.len());
    for (early, publish) in begun.into_iter().zip(publishes) {
        done.push(match early {
            Some(early) => early?,
            None => publish.await?,
        });
    }
    Ok(done)
}

/// Publishes from the queue until the publisher is gone (`Ok`, with everything answered) or the channel
/// is of no more use.
async fn run_window(
    channel: &Channel,
    queue: &mut mpsc::Receiver<Job>,
    link: &Link,
    room: &mut Room,
    deadline: Duration,
) -> Result<(), String> {
    let mut in_flight = FuturesUnordered::new();
    let mut tick = interval(Duration::from_secs(1).min(deadline));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lost = link.lost();
    tokio::pin!(lost);
    let mut open = true;
    while open || !in_flight.is_empty() {
        room.announce();
        tokio::select! {
            biased;
            Some(answered) = in_flight.next() => {
                room.answered(answered)?;
                while let Some(Some(answered)) = in_flight.next().now_or_never() {
                    room.answered(answered)?;
                }
            }
            job = queue.recv(), if open && room.has_place() => {
                let mut next = job;
                open = next.is_some();
                while let Some(job) = next {
                    in_flight.push(send_one(channel.clone(), room.enter(&job), job));
                    next = if room.has_place() { queue.try_recv().ok() } else { None };
                }
            }
            _ = tick.tick() => {
                room.tick(Instant::now(), deadline, link.is_blocked())?;
                if !channel.status().connected() {
                    return Err("the channel is closed".to_owned());
                }
            }
            // What is still queued then waits for the next session instead of this one's error.
            () = &mut lost => return Err("the connection is lost".to_owned()),
        }
    }
    Ok(())
}

async fn send_one(channel: Channel, epoch: u64, mut job: Job) -> Answered {
    let confirm = publish(channel, DELIVER.into(), false, &mut job).await.map(|said| word(&said));
    Answered { size: job.body.len(), answer: job.answer, epoch, confirm }
}

/// The room that the unconfirmed publishes of one channel leave, and since when they wait.
struct Room {
    full: Arc<AtomicBool>,
    count: usize,
    bytes: usize,
    /// How many wait of those that were sent since each instant: one deadline for all, no timer each.
    epochs: VecDeque<(Instant, usize)>,
    first_epoch: u64,
}

impl Room {
    fn new(full: Arc<AtomicBool>) -> Self {
        let epochs = VecDeque::from([(Instant::now(), 0)]);
        Self { full, count: 0, bytes: 0, epochs, first_epoch: 0 }
    }

    fn has_place(&self) -> bool {
        self.count < WINDOW && self.bytes < WINDOW_BYTES
    }

    fn announce(&self) {
        self.full.store(!self.has_place(), Relaxed);
    }

    fn enter(&mut self, job: &Job) -> u64 {
        self.count += 1;
        self.bytes += job.body.len();
        if let Some((_, waiting)) = self.epochs.back_mut() {
            *waiting += 1;
        }
        self.first_epoch + self.epochs.len() as u64 - 1
    }

    /// Hands the broker's word on; an error is the end of the channel.
    fn answered(&mut self, answered: Answered) -> Result<(), String> {
        self.count -= 1;
        self.bytes -= answered.size;
        let index = usize::try_from(answered.epoch - self.first_epoch).unwrap_or(usize::MAX);
        if let Some((_, waiting)) = self.epochs.get_mut(index) {
            *waiting -= 1;
        }
        let (confirm, end) = match answered.confirm {
            Ok(confirm) => (confirm, Ok(())),
            Err(error) => (Confirm::Unknown, Err(error.to_string())),
        };
        // Who asked may be gone; nobody else wants to know.
        let _ = answered.answer.send(confirm);
        end
    }

    /// Looks whether one has waited too long. While the broker takes nothing, nothing is late.
    fn tick(&mut self, now: Instant, deadline: Duration, blocked: bool) -> Result<(), String> {
        if blocked {
            self.epochs.iter_mut().for_each(|(since, _)| *since = now);
        }
        while self.epochs.front().is_some_and(|(_, waiting)| *waiting == 0) {
            self.epochs.pop_front();
            self.first_epoch += 1;
        }
        let oldest = self.epochs.front().map(|(since, _)| *since);
        self.epochs.push_back((now, 0));
        match oldest {
            Some(since) if now.duration_since(since) >= deadline => {
                Err(format!("no word from the broker for {deadline:?}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(size: usize) -> Job {
        let (answer, _) = oneshot::channel();
        let body = Bytes::from(vec![0; size]);
        Job { key: "k".into(), properties: BasicProperties::default(), body, answer }
    }

    fn confirmed(epoch: u64, size: usize) -> (Answered, oneshot::Receiver<Confirm>) {
        let (answer, answered) = oneshot::channel();
        (Answered { answer, size, epoch, confirm: Ok(Confirm::Confirmed) }, answered)
    }

    #[test]
    fn the_window_is_bounded_by_count_and_by_bytes() {
        let mut room = Room::new(Arc::default());
        for _ in 0..WINDOW {
            room.enter(&job(1));
        }
        assert!(!room.has_place());
        room.announce();
        assert!(room.full.load(Relaxed));
        let mut room = Room::new(Arc::default());
        room.enter(&job(WINDOW_BYTES + 1));
        assert!(!room.has_place());
        let (answered, word) = confirmed(0, WINDOW_BYTES + 1);
        room.answered(answered).expect("no error");
        assert!(room.has_place());
        assert_eq!(word.now_or_never(), Some(Ok(Confirm::Confirmed)));
    }

    #[test]
    fn one_copy_without_a_word_ends_the_channel_though_others_are_confirmed() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut room = Room::new(Arc::default());
        let epochs: Vec<u64> = (1..=30_u32)
            .map(|n| {
                let epoch = room.enter(&job(1));
                room.tick(start + second * n, second * 100, false).expect("in time");
                epoch
            })
            .collect();
        for epoch in &epochs[1..] {
            room.answered(confirmed(*epoch, 1).0).expect("no error");
        }
        assert!(room.tick(start + second * 29, second * 30, false).is_ok());
        assert!(room.tick(start + second * 31, second * 30, false).is_err());
    }

    #[test]
    fn nothing_is_late_while_the_broker_takes_nothing() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut room = Room::new(Arc::default());
        room.enter(&job(1));
        assert!(room.tick(start + second * 60, second * 30, true).is_ok());
        assert!(room.tick(start + second * 89, second * 30, false).is_ok());
        assert!(room.tick(start + second * 91, second * 30, false).is_err());
    }
}
