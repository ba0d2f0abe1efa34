//! Coming to rest: no more faults, everything gets its turn. Invariant: then nothing is open but what
//! waits for a person, or behind something that does.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use snodo_core::message_state::DeliveryState;

use super::world::World;

/// Rounds after which a world that does not come to rest never will. A delivery that is never
/// answered, only asked about, is given up within these.
const ROUNDS: u32 = 60;
/// Acts in one round at most.
const ACTS: u32 = 500;

impl World<'_> {
    /// Heals the world and waits until it rests; then looks at what must hold at rest.
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        self.calm = true;
        self.tell("the faults stop".to_owned());
        for instance in self.instances.iter().flatten() {
            instance.congested.store(false, SeqCst);
        }
        for _ in 0..ROUNDS {
            self.turn();
            self.look()?;
            if self.rests() {
                self.calm = false;
                return self.look_at_promises();
            }
        }
        let open = self.open().chain(self.rows(&[DeliveryState::Behind]));
        let open = open.map(|row| format!("{} is {:?}", row.id, row.state));
        Err(format!("lost: {}", open.collect::<Vec<_>>().join(", ")))
    }

    /// Everybody gets a turn, then some time passes.
    fn turn(&mut self) {
        for owner in 0..self.instances.len() {
            if self.instances[owner].is_none() {
                self.start_again(owner);
            }
            self.feed(owner);
            self.sweep(owner);
            self.reconcile(owner);
        }
        self.run_tasks();
        for _ in 0..ACTS {
            if !self.busy() {
                break;
            }
            for owner in 0..self.instances.len() {
                self.commit(owner);
                self.read(owner);
                self.take(owner);
                self.run_tasks();
            }
            self.fly();
            self.far_side();
            self.run_tasks();
        }
        self.clock.pass(Duration::from_secs(7));
    }

    /// Whether anything could happen without time passing.
    fn busy(&self) -> bool {
        let desks = self.instances.iter().flatten();
        let wanted = desks.map(|instance| instance.desk.commits() + instance.desk.reads());
        let broker = self.broker.state();
        let far = self.far.state();
        wanted.sum::<usize>() > 0
            || !self.late.is_empty()
            || !broker.flights.is_empty()
            || broker.queues.values().any(|ready| !ready.is_empty())
            || !far.questions.is_empty()
            || far.calls.iter().any(|call| call.stopped_at.is_none())
    }

    fn open(&self) -> impl Iterator<Item = snodo::ledger::Row> {
        use DeliveryState::{Claimed, Published, Queued, Waiting};
        self.rows(&[Queued, Published, Claimed, Waiting]).into_iter()
    }

    fn rests(&self) -> bool {
        !self.busy() && self.open().next().is_none() && !self.anything_to_wake()
    }

    /// Behind something that is over.
    fn anything_to_wake(&self) -> bool {
        let to_wake = self.bench.runtime.block_on(self.ledgers[0].to_wake(None, 1));
        !to_wake.expect("the ledger is read").is_empty()
    }
}
