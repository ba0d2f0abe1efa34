//! The way in: one channel per queue on one connection; what came in is settled by tag.
//!
//! Invariant: a tag counts only in the session that gave it; after a reconnect it settles nothing.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    Channel, ErrorKind,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    },
    types::{FieldTable, ShortString},
};
use snodo_core::acks::{Acks, GAP, Tell, prefetch};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Received, Settlement,
    session::{Endpoint, Link, LinkState, Patience, close_channel},
    wire,
};

/// Bytes of all copies that are on their way to this process or in its hands.
const BUDGET: usize = 16 * 1024 * 1024;
/// What a copy takes beside its body: its headers, each a piece or two.
const HEADERS: usize = 4 * 1024;
/// What a copy is taken to weigh before any has come.
const TYPICAL: usize = 4 * 1024;
/// Settled copies are told of together: this long after the first of them,
const LULL: Duration = Duration::from_millis(2);
/// or as soon as they are this share of the prefetch.
const SHARE: u16 = 8;
/// A consumer that held so long was healthy: the waits start over after it.
const HEALTHY: Duration = Duration::from_secs(30);

/// The consuming connection of a process.
#[derive(Debug)]
pub struct Consumers {
    link: Link,
    patience: Patience,
    count: Arc<AtomicUsize>,
}

impl Consumers {
    /// Starts the connection.
    pub fn start(endpoint: &Endpoint, patience: Patience) -> Self {
        let link = Link::start(endpoint.clone(), "consume", patience);
        Self { link, patience, count: Arc::default() }
    }

    /// Starts to consume a queue.
    pub fn consumer(&self, queue: &str) -> Consumer {
        self.count.fetch_add(1, Relaxed);
        #[expect(
            clippy::disallowed_methods,
            reason = "the prefetch bounds it: the broker sends no more than is unacknowledged"
        )]
        let (deliveries, received) = mpsc::unbounded_channel();
        let (wanted, wants) = watch::channel(true);
        let (state, observed) = watch::channel(ConsumerState::default());
        let stop = CancellationToken::new();
        let settler = Settler { shared: Arc::new(Shared::new()) };
        let work = Work {
            queue: queue.to_owned(),
            link: self.link.clone(),
            patience: self.patience,
            settler: settler.clone(),
            deliveries,
            wants,
            state,
            stop: stop.clone(),
            count: Arc::clone(&self.count),
            average: TYPICAL,
            prefetch: 0,
        };
        tokio::spawn(work.run());
        Consumer {
            queue: queue.to_owned(),
            received,
            rest: VecDeque::new(),
            rest_session: 0,
            settler,
            wanted,
            observed,
            stop,
        }
    }

    /// What is known of the connection.
    pub fn observe(&self) -> watch::Receiver<LinkState> {
        self.link.observe()
    }

    /// Ends the connection, and with it all consumers.
    pub async fn close(&self) {
        self.link.close().await;
    }
}

/// Names a copy in the session that delivered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    session: u64,
    tag: u64,
}

/// What is known of a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerState {
    /// Copies can come in.
    pub consuming: bool,
    /// How often it began to consume.
    pub sessions: u64,
    /// Why it last stopped, unless it was told to. `SN0816` where its queue is not there.
    pub fault: Option<String>,
}

/// One queue, consumed.
#[derive(Debug)]
pub struct Consumer {
    queue: String,
    received: mpsc::UnboundedReceiver<Arrivals>,
    /// What was received and not taken, of which session.
    rest: VecDeque<Delivery>,
    rest_session: u64,
    settler: Settler,
    wanted: watch::Sender<bool>,
    observed: watch::Receiver<ConsumerState>,
    stop: CancellationToken,
}

/// What was in the stream at once: one wake of who takes it, not one for each copy.
#[derive(Debug)]
struct Arrivals {
    session: u64,
    deliveries: Vec<Delivery>,
}

impl Consumer {
    /// Waits for copies and takes up to `max` of those that are there; empty only after the end of the
    /// connection. May be dropped at any point without loss.
    pub async fn next_batch(&mut self, max: usize) -> Vec<(Tag, Received)> {
        // Those of a session that is over come again.
        while self.rest.is_empty() || self.rest_session != self.settler.session() {
            let Some(Arrivals { session, deliveries }) = self.received.recv().await else {
                return Vec::new();
            };
            self.rest = deliveries.into();
            self.rest_session = session;
        }
        self.fill(max);
        let (session, queue) = (self.rest_session, &self.queue);
        let taken = self.rest.drain(..max.clamp(1, self.rest.len()));
        let read = taken.map(|delivery| {
            let tag = Tag { session, tag: delivery.delivery_tag };
            (tag, wire::read(queue, delivery))
        });
        read.collect()
    }

    /// With what has arrived meanwhile, as long as it is of the same session.
    fn fill(&mut self, max: usize) {
        while self.rest.len() < max {
            match self.received.try_recv() {
                Ok(Arrivals { session, deliveries }) if session == self.rest_session => {
                    self.rest.extend(deliveries);
                }
                Ok(Arrivals { session, deliveries }) => {
                    // Of a new session: what is left of the old one comes again.
                    self.rest = deliveries.into();
                    self.rest_session = session;
                }
                Err(_) => return,
            }
        }
    }

    /// Settles what this consumer took; clones go wherever that is decided.
    pub fn settler(&self) -> Settler {
        self.settler.clone()
    }

    /// Takes no more from the queue. What came in already is still to be taken and settled.
    pub fn pause(&self) {
        self.wanted.send_replace(false);
    }

    /// Takes from the queue again.
    pub fn resume(&self) {
        self.wanted.send_replace(true);
    }

    /// What is known of it.
    pub fn observe(&self) -> watch::Receiver<ConsumerState> {
        self.observed.clone()
    }

    /// Gives back what nobody took, tells the broker of everything settled, and ends. What is taken and
    /// not settled by then is delivered again.
    pub async fn close(mut self) {
        self.pause();
        let mut observed = self.observed.clone();
        // An error: its task is over already.
        let _ = observed.wait_for(|state| !state.consuming).await;
        let rest =
            Arrivals { session: self.rest_session, deliveries: self.rest.drain(..).collect() };
        self.give_back(rest);
        while let Ok(arrivals) = self.received.try_recv() {
            self.give_back(arrivals);
        }
        self.stop.cancel();
        while observed.changed().await.is_ok() {}
    }

    fn give_back(&self, Arrivals { session, deliveries }: Arrivals) {
        let tags = deliveries.into_iter().map(|delivery| delivery.delivery_tag);
        self.settler.settle_all(tags.map(|tag| (Tag { session, tag }, Settlement::Return)));
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Tells the broker what became of copies. Never waits.
#[derive(Clone, Debug)]
pub struct Settler {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    open: Mutex<Open>,
    /// Something was settled.
    news: Notify,
}

#[derive(Debug, Default)]
struct Open {
    session: u64,
    acks: Acks,
    /// How many were settled since the broker was last told.
    fresh: u16,
    /// So many are told at once.
    many: u16,
}

impl Open {
    fn is_due(&self) -> bool {
        self.fresh >= self.many
    }
}

impl Shared {
    fn new() -> Self {
        Self { began: Instant::now(), open: Mutex::default(), news: Notify::new() }
    }
}

impl Settler {
    /// Settles one copy. Of a session that is over, nothing: its copy comes again.
    pub fn settle(&self, tag: Tag, settlement: Settlement) {
        self.settle_all([(tag, settlement)]);
    }

    /// Settles those of one commit, so that one word to the broker can do for many.
    pub fn settle_all(&self, settled: impl IntoIterator<Item = (Tag, Settlement)>) {
        let now = self.shared.began.elapsed();
        let mut open = self.open();
        let before = (open.fresh, open.is_due());
        for (Tag { session, tag }, settlement) in settled {
            if session == open.session {
                open.fresh = open.fresh.saturating_add(1);
                match settlement {
                    Settlement::Ack => open.acks.settle(tag, now),
                    Settlement::Return => open.acks.give_back(tag),
                }
            }
        }
        let news = (before.0 == 0 && open.fresh > 0) || (!before.1 && open.is_due());
        drop(open);
        // Each wake costs more than what it tells: one for the first, one when there are many.
        if news {
            self.shared.news.notify_one();
        }
    }

    /// Copies that are in our hands, or of which the broker has not been told yet.
    pub fn outstanding(&self) -> usize {
        self.open().acks.outstanding()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.shared.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn session(&self) -> u64 {
        self.open().session
    }

    fn begin_session(&self) -> u64 {
        let mut open = self.open();
        *open = Open { session: open.session + 1, ..Open::default() };
        open.session
    }

    fn tell_after(&self, many: u16) {
        self.open().many = many;
    }

    fn is_due(&self) -> bool {
        self.open().is_due()
    }

    fn delivered(&self, tag: u64) {
        self.open().acks.delivered(tag);
    }

    fn take(&self, waiting: Waiting) -> Vec<Tell> {
        let now = self.shared.began.elapsed();
        let now = if matches!(waiting, Waiting::Over) { now + GAP } else { now };
        let mut open = self.open();
        open.fresh = 0;
        open.acks.take(now)
    }

    fn due(&self) -> Option<Instant> {
        Some(self.shared.began + self.open().acks.due()?)
    }
}

/// Whether a gap among the settled may still close.
#[derive(Clone, Copy)]
enum Waiting {
    Allowed,
    Over,
}

/// The task of one consumer.
struct Work {
    queue: String,
    link: Link,
    patience: Patience,
    settler: Settler,
    deliveries: mpsc::UnboundedSender<Arrivals>,
    wants: watch::Receiver<bool>,
    state: watch::Sender<ConsumerState>,
    stop: CancellationToken,
    count: Arc<AtomicUsize>,
    /// What a copy of this queue weighs, on a moving average.
    average: usize,
    prefetch: u16,
}

/// Why a session ended.
enum End {
    /// It was told to.
    Stopped,
    /// It broke.
    Lost(String),
}

/// A channel, and while the consumer is wanted its stream.
struct Session {
    id: u64,
    channel: Channel,
    stream: Option<lapin::Consumer>,
    /// It was cancelled; what is still in the stream is taken, then it is dropped.
    cancelled: bool,
    watchdog: Interval,
    /// When to tell the broker though nothing else happens,
    lull: Pin<Box<Sleep>>,
    /// unless there is nothing to tell.
    resting: bool,
}

impl Work {
    async fn run(mut self) {
        let mut waits = self.patience.pace.waits();
        loop {
            let began = Instant::now();
            let end = match self.open().await {
                Ok(mut session) => self.serve(&mut session).await,
                Err(end) => end,
            };
            let End::Lost(fault) = end else { break };
            self.report(fault);
            if began.elapsed() >= HEALTHY {
                waits.reset();
            }
            tokio::select! {
                () = sleep(waits.next_wait()) => {}
                () = self.stop.cancelled() => break,
            }
        }
        self.count.fetch_sub(1, Relaxed);
        self.state.send_modify(|state| state.consuming = false);
    }

    fn report(&self, fault: String) {
        self.state.send_modify(|state| {
            // The same fault again and again is one line.
            if state.fault.as_deref() != Some(fault.as_str()) {
                warn!(queue = self.queue, fault, "consuming has stopped");
            }
            state.consuming = false;
            state.fault = Some(fault);
        });
    }

    async fn open(&mut self) -> Result<Session, End> {
        let connection = tokio::select! {
            connection = self.link.connected() => connection.ok_or(End::Stopped)?,
            () = self.stop.cancelled() => return Err(End::Stopped),
        };
        let channel = connection.create_channel().await.map_err(|error| self.lost(&error))?;
        let mut watchdog = interval(self.patience.watchdog);
        watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let id = self.settler.begin_session();
        let mut session = Session {
            id,
            channel,
            stream: None,
            cancelled: false,
            watchdog,
            lull: Box::pin(sleep(LULL)),
            resting: true,
        };
        self.follow_wish(&mut session).await?;
        Ok(session)
    }

    fn lost(&self, error: &lapin::Error) -> End {
        End::Lost(match error.kind() {
            ErrorKind::ProtocolError(said) if said.get_id() == 404 => {
                format!("SN0816 queue `{}` is not there; run `snodo topology apply`", self.queue)
            }
            _ => error.to_string(),
        })
    }

    /// Begins or ceases to consume, as wished.
    async fn follow_wish(&mut self, session: &mut Session) -> Result<(), End> {
        let wanted = *self.wants.borrow_and_update();
        match &session.stream {
            None if wanted => self.subscribe(session).await,
            Some(_) if !wanted && !session.cancelled => self.cancel(session).await,
            _ => Ok(()),
        }
    }

    async fn subscribe(&mut self, session: &mut Session) -> Result<(), End> {
        self.prefetch = self.fitting_prefetch();
        self.settler.tell_after((self.prefetch / SHARE).max(1));
        let Session { channel, .. } = session;
        let qos = BasicQosOptions { global: false };
        channel.basic_qos(self.prefetch, qos).await.map_err(|error| self.lost(&error))?;
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        let stream = channel
            .basic_consume(self.name(), ShortString::default(), options, table)
            .await
            .map_err(|error| self.lost(&error))?;
        session.stream = Some(stream);
        session.cancelled = false;
        info!(queue = self.queue, prefetch = self.prefetch, "consuming");
        self.state.send_modify(|state| {
            state.consuming = true;
            state.sessions = session.id;
            state.fault = None;
        });
        Ok(())
    }

    fn name(&self) -> ShortString {
        // A name beyond 255 bytes names no queue, and neither does the cut one.
        let end = self.queue.floor_char_boundary(255);
        self.queue[..end].into()
    }

    async fn cancel(&self, session: &mut Session) -> Result<(), End> {
        let Some(stream) = &session.stream else { return Ok(()) };
        let cancel = session.channel.basic_cancel(stream.tag(), BasicCancelOptions::default());
        cancel.await.map_err(|error| self.lost(&error))?;
        session.cancelled = true;
        Ok(())
    }

    fn fitting_prefetch(&self) -> u16 {
        prefetch(BUDGET, self.count.load(Relaxed), self.average)
    }

    async fn serve(&mut self, session: &mut Session) -> End {
        loop {
            match self.turn(session).await {
                Ok(()) => {}
                Err(end) => {
                    if matches!(end, End::Stopped) {
                        self.tell(session, Waiting::Over);
                        // Whether the broker hears it: what is not settled comes again either way.
                        close_channel(&session.channel, "bye").await;
                    }
                    return end;
                }
            }
        }
    }

    async fn turn(&mut self, session: &mut Session) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(End::Stopped),
            () = self.settler.shared.news.notified() => {
                if self.settler.is_due() {
                    self.tell(session, Waiting::Allowed);
                } else {
                    session.lull.as_mut().reset(Instant::now() + LULL);
                    session.resting = false;
                }
                Ok(())
            }
            () = &mut session.lull, if !session.resting => {
                self.tell(session, Waiting::Allowed);
                Ok(())
            }
            item = next(&mut session.stream) => self.take(session, item),
            changed = self.wants.changed() => match changed {
                Ok(()) => self.follow_wish(session).await,
                Err(_) => Err(End::Stopped),
            },
            _ = session.watchdog.tick() => self.look(session).await,
        }
    }

    fn take(
        &mut self,
        session: &mut Session,
        item: Option<lapin::Result<Delivery>>,
    ) -> Result<(), End> {
        let mut item = item;
        let mut deliveries = Vec::new();
        while let Some(Ok(delivery)) = item {
            self.average = (self.average * 15 + delivery.data.len() + HEADERS) / 16;
            deliveries.push(delivery);
            // The end of the stream and its errors are said once: what is asked for is dealt with.
            match next(&mut session.stream).now_or_never() {
                Some(further) => item = further,
                None => return self.hand_over(session.id, deliveries),
            }
        }
        self.hand_over(session.id, deliveries)?;
        self.end_of_stream(session, item)
    }

    fn hand_over(&self, session: u64, deliveries: Vec<Delivery>) -> Result<(), End> {
        let Some(last) = deliveries.last() else { return Ok(()) };
        self.settler.delivered(last.delivery_tag);
        self.deliveries.send(Arrivals { session, deliveries }).map_err(|_| End::Stopped)
    }

    fn end_of_stream(
        &mut self,
        session: &mut Session,
        item: Option<lapin::Result<Delivery>>,
    ) -> Result<(), End> {
        match item {
            // Taken before.
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(self.lost(&error)),
            None if session.cancelled => {
                session.stream = None;
                self.state.send_modify(|state| state.consuming = false);
                // Cancelled for another prefetch only: it is still wanted.
                if *self.wants.borrow() {
                    self.wants.mark_changed();
                }
                Ok(())
            }
            None => Err(End::Lost(format!(
                "SN0816 the broker cancelled the consumer of queue `{}`: it was deleted or has moved",
                self.queue
            ))),
        }
    }

    /// The broker may close a channel without any word to its consumer. And the share of the byte
    /// budget changes with the weight of the copies and the number of consumers.
    async fn look(&mut self, session: &mut Session) -> Result<(), End> {
        if !session.channel.status().connected() {
            return Err(End::Lost("the channel is closed".to_owned()));
        }
        let (fits, is) = (u32::from(self.fitting_prefetch()), u32::from(self.prefetch));
        if session.stream.is_some() && !session.cancelled && (fits * 2 <= is || fits >= is * 4) {
            self.cancel(session).await?;
        }
        Ok(())
    }

    /// Hands the words to the session, which writes them in order. Not waited for: where the
    /// connection is lost, the broker forgets the deliveries too.
    fn tell(&self, session: &mut Session, waiting: Waiting) {
        for word in self.settler.take(waiting) {
            match word {
                Tell::Ack(tag) => ack(&session.channel, tag, false),
                Tell::AckUpTo(tag) => ack(&session.channel, tag, true),
                Tell::Return(tag) => {
                    let options = BasicNackOptions { multiple: false, requeue: true };
                    let _ = session.channel.basic_nack(tag, options).now_or_never();
                }
            }
        }
        let due = self.settler.due();
        session.resting = due.is_none();
        if let Some(due) = due {
            session.lull.as_mut().reset(due);
        }
    }
}

fn ack(channel: &Channel, tag: u64, multiple: bool) {
    let _ = channel.basic_ack(tag, BasicAckOptions { multiple }).now_or_never();
}

async fn next(stream: &mut Option<lapin::Consumer>) -> Option<lapin::Result<Delivery>> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
