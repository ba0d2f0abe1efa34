//! A broker of quorum-like queues. Invariant: what it has confirmed it delivers until it is
//! acknowledged, unless its queue is lost; what comes back too often goes to the poison queue.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use futures_util::FutureExt as _;
use snodo::broker::{Address, Confirm, Copy, Publish, Settlement};
use snodo_core::{adapter::BoxFuture, ids::DeliveryId};
use tokio::sync::oneshot;

/// Returns after which a copy goes to the poison queue (RabbitMQ's default is 20).
pub const LIMIT: u32 = 2;
/// Where unroutable copies go.
pub const UNROUTED: &str = "unrouted";
/// Where copies go that came back too often.
pub const POISON: &str = "poison";

/// The queue of a route, or of one of its shards.
pub fn queue_of(route: &str, shard: Option<u16>) -> String {
    shard.map_or_else(|| route.to_owned(), |shard| format!("{route}.{shard}"))
}

/// A copy in a queue.
#[derive(Clone, Debug)]
pub struct Item {
    /// The copy.
    pub copy: Copy,
    /// How often it has come back.
    pub count: u32,
}

/// A copy that an instance holds unacknowledged.
#[derive(Clone, Debug)]
pub struct Unacked {
    /// Its delivery tag.
    pub tag: u64,
    /// Who holds it.
    pub owner: usize,
    /// From which queue.
    pub queue: String,
    /// The copy.
    pub item: Item,
}

/// A publish under way.
#[derive(Debug)]
pub struct Flight {
    /// Who publishes.
    pub owner: usize,
    /// Where to.
    pub to: Address,
    /// What.
    pub copy: Copy,
    /// Whether the broker has it; its confirm may still be on its way.
    pub stored: bool,
    confirm: oneshot::Sender<Confirm>,
}

/// The state of the broker.
#[derive(Debug, Default)]
pub struct State {
    /// Ready copies, by queue.
    pub queues: BTreeMap<String, VecDeque<Item>>,
    /// Delivered, not acknowledged.
    pub unacked: Vec<Unacked>,
    /// Publishes under way.
    pub flights: Vec<Flight>,
    /// What parties have in their queues.
    pub inboxes: BTreeMap<String, Vec<Copy>>,
    /// Rounds whose copies went with a queue, or were lost on the way with a lost confirm.
    pub lost: BTreeSet<(DeliveryId, u32)>,
    /// Copies that went with a queue: sequence and delivery.
    pub gone: Vec<(i64, DeliveryId)>,
    /// How many publishes there were, by round.
    pub published: BTreeMap<(DeliveryId, u32), u32>,
    tag: u64,
}

/// The broker.
#[derive(Clone, Default)]
pub struct WorldBroker(Arc<Mutex<State>>);

/// The broker as one instance reaches it.
pub struct Line {
    /// The instance.
    pub owner: usize,
    /// The broker.
    pub broker: WorldBroker,
    /// Whether publishes would have to wait.
    pub congested: Arc<AtomicBool>,
}

impl Publish for Line {
    fn publish(&self, to: &Address, copy: Copy) -> BoxFuture<'static, Confirm> {
        let (confirm, confirmed) = oneshot::channel();
        let mut state = self.broker.state();
        *state.published.entry((copy.delivery, copy.round)).or_default() += 1;
        state.flights.push(Flight {
            owner: self.owner,
            to: to.clone(),
            copy,
            stored: false,
            confirm,
        });
        Box::pin(confirmed.map(|answer| answer.unwrap_or(Confirm::Unknown)))
    }

    fn is_congested(&self) -> bool {
        self.congested.load(SeqCst)
    }
}

impl WorldBroker {
    /// Its state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is lost: what was unacknowledged comes back, what was on its way may be stored.
    pub fn disconnect(&self, owner: usize, arrives: impl Fn() -> bool) {
        let mut state = self.state();
        let (mine, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.unacked).into_iter().partition(|held| held.owner == owner);
        state.unacked = others;
        mine.into_iter().rev().for_each(|held| state.come_back(held));
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut state.flights)
            .into_iter()
            .partition(|flight| flight.owner == owner);
        state.flights = others;
        for flight in mine {
            if !flight.stored && arrives() {
                state.store(&flight.to, flight.copy.clone());
            }
            let _ = flight.confirm.send(Confirm::Unknown);
        }
    }
}

impl fmt::Debug for WorldBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorldBroker")
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line of {}", self.owner)
    }
}

impl State {
    /// Puts a copy where it belongs.
    pub fn store(&mut self, to: &Address, copy: Copy) {
        match to {
            Address::Route(route) => {
                self.push(&queue_of(route, copy.shard), Item { copy, count: 0 });
            }
            Address::Party(party) => self.inboxes.entry(party.clone()).or_default().push(copy),
        }
    }

    /// Appends to a queue.
    pub fn push(&mut self, queue: &str, item: Item) {
        self.queues.entry(queue.to_owned()).or_default().push_back(item);
    }

    /// The publish is stored, and its confirm on its way.
    pub fn arrive(&mut self, index: usize) {
        let flight = &mut self.flights[index];
        flight.stored = true;
        let (to, copy) = (flight.to.clone(), flight.copy.clone());
        self.store(&to, copy);
    }

    /// The publish went to no queue: the alternate exchange has it, or it comes back to its sender.
    pub fn unrouted(&mut self, index: usize) {
        let flight = &self.flights[index];
        if matches!(flight.to, Address::Party(_)) {
            return self.answer(index, Confirm::Returned);
        }
        let copy = flight.copy.clone();
        self.push(UNROUTED, Item { copy, count: 0 });
        self.answer(index, Confirm::Confirmed);
    }

    /// Tells the sender the broker's word.
    pub fn answer(&mut self, index: usize, confirm: Confirm) {
        let _ = self.flights.remove(index).confirm.send(confirm);
    }

    /// Delivers a ready copy; its tag.
    pub fn deliver(&mut self, owner: usize, queue: &str, index: usize) -> Option<Unacked> {
        let item = self.queues.get_mut(queue)?.remove(index)?;
        self.tag += 1;
        let held = Unacked { tag: self.tag, owner, queue: queue.to_owned(), item };
        self.unacked.push(held.clone());
        Some(held)
    }

    /// An acknowledgement or a return; what it was about, where the tag still stands.
    pub fn settle(&mut self, tag: u64, settlement: Settlement) -> Option<Unacked> {
        let index = self.unacked.iter().position(|held| held.tag == tag)?;
        let held = self.unacked.remove(index);
        if settlement == Settlement::Return {
            self.come_back(held.clone());
        }
        Some(held)
    }

    fn come_back(&mut self, held: Unacked) {
        let Unacked { queue, mut item, .. } = held;
        item.count += 1;
        let own = queue == UNROUTED || queue == POISON;
        if item.count > LIMIT && !own {
            item.count = 0;
            self.push(POISON, item);
        } else {
            self.queues.entry(queue).or_default().push_front(item);
        }
    }

    /// A queue is gone, with everything in it.
    pub fn lose(&mut self, queue: &str) {
        let ready = self.queues.remove(queue).unwrap_or_default();
        let gone: Vec<_> = self
            .unacked
            .iter()
            .filter(|held| held.queue == queue)
            .map(|held| held.item.clone())
            .collect();
        self.unacked.retain(|held| held.queue != queue);
        for item in ready.into_iter().chain(gone) {
            self.lost.insert((item.copy.delivery, item.copy.round));
            self.gone.push((item.copy.seq, item.copy.delivery));
        }
    }

    /// Whether a copy of this round of a row is anywhere.
    pub fn has(&self, (seq, delivery): (i64, DeliveryId), round: u32) -> bool {
        let is = |copy: &Copy| copy.seq == seq && copy.delivery == delivery && copy.round == round;
        self.queues.values().flatten().any(|item| is(&item.copy))
            || self.unacked.iter().any(|held| is(&held.item.copy))
            || self.flights.iter().any(|flight| is(&flight.copy))
    }

    /// Ready and unacknowledged copies of a queue.
    pub fn depth(&self, queue: &str) -> usize {
        let ready = self.queues.get(queue).map_or(0, VecDeque::len);
        ready + self.unacked.iter().filter(|held| held.queue == queue).count()
    }
}
