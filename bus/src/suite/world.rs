//! One test's world: messages come, copies are carried, time passes, until nothing moves any more.
//!
//! Invariant: a turn that does nothing lets time pass to the next moment at which something is due; a
//! test ends after a bounded number of turns, whatever it says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use snodo_core::{
    adapter::Instances,
    admission::{self, Rejection},
    envelope::IdempotencyKey,
    ids::{DeliveryId, MessageId},
    message_state::Bucket,
    problem::Problem,
    pseudonym::Pseudonyms,
    route::{
        Routes,
        suite::{Observed, Seen, Sent, Test},
    },
    schema::Schemas,
    timestamp::Timestamp,
};

use super::{
    Stage,
    clock::StoppedClock,
    kept::KeepsNothing,
    recorder::{Note, Recorder},
    script::{Log, Target},
    standins::{NoBroker, NoChance, NoDeadlines},
};
use crate::{
    broker::Copy,
    clock::Clock as _,
    edge::admit::into_message,
    engine::{
        Engine, Lane, Limits, Parts, Silent,
        accept::{AcceptAnswer, Admitted},
        breakers::Breakers,
        sweep::Sweeper,
    },
    ledger::{Filter, Ledger, RouteVersion, Row, open::Scratch},
};

/// A test that goes on for more turns than this stays as it is then.
const TURNS: u32 = 20_000;
/// Rows that a test has at most.
const ROWS: u32 = 100_000;

type Failed = String;

/// What a message was answered at the door: its id, or why it was refused: a code, and where.
type Answered = Result<MessageId, (String, Vec<String>)>;

/// A world.
pub(super) struct World<'w> {
    test: &'w Test,
    schemas: &'w Arc<Schemas>,
    route: &'w str,
    around: Surroundings,
    process: Process,
    log: Arc<Mutex<Log>>,
    turns: u32,
    answered: Vec<Answered>,
}

impl<'w> World<'w> {
    /// Runs a test and tells what was seen.
    pub(super) async fn observe(
        stage: &'w Stage<'w>,
        scratch: &Scratch,
        (route, test): (&'w str, &'w Test),
    ) -> Result<Observed, Failed> {
        let ledger = scratch.ledger().await.map_err(words)?;
        let mut world = Self::new(stage, ledger, (route, test)).await?;
        world.live().await?;
        world.told().await
    }

    async fn new(
        stage: &'w Stage<'w>,
        ledger: Arc<dyn Ledger>,
        (route, test): (&'w str, &'w Test),
    ) -> Result<Self, Failed> {
        let compiled = stage.routes.get(route).ok_or("the route is not there")?;
        let routes = Arc::new(Routes::only(Arc::clone(compiled)));
        let version = RouteVersion {
            digest: compiled.digest,
            route: compiled.name.clone(),
            bundle: Arc::from("{}"),
        };
        ledger.put_route_versions(&[version]).await.map_err(words)?;
        let clock = Arc::new(StoppedClock::at(test.at));
        let log = Arc::new(Mutex::new(Log::new(&test.scripts)));
        let mut instances = Instances::default();
        for (name, port) in stage.instances.iter() {
            let (port, log) = (Arc::clone(port), Arc::clone(&log));
            let target = Target { name: name.to_owned(), port, log };
            instances.insert(name.to_owned(), Arc::new(target));
        }
        let dies_after = test.crash_after.clone();
        let recorder =
            Recorder::new(Arc::clone(&ledger), Arc::<StoppedClock>::clone(&clock), dies_after);
        let (recorder, serial) = (Arc::new(recorder), Arc::default());
        let around = Surroundings { routes, instances, ledger, recorder, clock, serial };
        let process = around.start().await?;
        let (schemas, answered) = (stage.schemas, Vec::new());
        Ok(Self { test, schemas, route, around, process, log, turns: 0, answered })
    }

    async fn live(&mut self) -> Result<(), Failed> {
        let ends = self.test.at.after(self.test.lasts);
        for sent in &self.test.messages {
            if sent.after > Duration::ZERO {
                self.go_on_until(self.around.clock.now().after(sent.after)).await?;
            }
            self.send(sent).await?;
        }
        self.go_on(ends).await
    }

    /// Sends a message as often as the test says.
    async fn send(&mut self, sent: &Sent) -> Result<(), Failed> {
        let limits = admission::Limits::default();
        let mut answered = None;
        for _ in 0..sent.times {
            let admitted = admission::admit(sent.incoming.clone(), self.schemas, &limits);
            let answer = match admitted {
                Ok(admitted) => self.accept(sent, admitted).await?,
                Err(rejection) => Err(refusal(rejection)),
            };
            answered.get_or_insert(answer);
        }
        self.answered.extend(answered);
        Ok(())
    }

    async fn accept(&self, sent: &Sent, admitted: admission::Admitted) -> Result<Answered, Failed> {
        let key = IdempotencyKey {
            party: sent.party.clone(),
            source: sent.incoming.source.clone(),
            sender_id: sent.incoming.sender_id.clone(),
        };
        let (digest, incoming) = (admitted.digest, admitted.incoming);
        let id = self.process.engine.new_message_id();
        let message = into_message(incoming, id, &sent.party, self.around.clock.now());
        let accepted = Admitted {
            message: Arc::new(message),
            key,
            digest,
            source: format!("party:{}", sent.party).into(),
            to: Vec::new(),
            documents: Vec::new(),
            cursor: None,
        };
        Ok(match self.process.engine.accept(accepted).await.map_err(words)? {
            AcceptAnswer::New { id } | AcceptAnswer::Repeated { id, same_body: true } => Ok(id),
            AcceptAnswer::Repeated { id, same_body: false } => {
                Err((Problem::conflict(id).code.to_owned(), Vec::new()))
            }
        })
    }

    /// Lets everything happen that happens by then; then it is that time.
    async fn go_on_until(&mut self, then: Timestamp) -> Result<(), Failed> {
        self.go_on(then).await?;
        self.around.clock.pass_until(then);
        Ok(())
    }

    /// Lets everything happen until nothing moves any more, or `ends`.
    async fn go_on(&mut self, ends: Timestamp) -> Result<(), Failed> {
        while self.turns < TURNS && !self.around.recorder.is_at_rest() {
            self.turns += 1;
            if self.carry().await? {
                continue;
            }
            self.process.breakers.step().await.map_err(words)?;
            if self.process.sweeper.step().await.map_err(words)? > 0 {
                continue;
            }
            match self.next_moment().await? {
                Some(moment) if moment <= ends => {
                    // At least a little: a moment that has come and moves nothing is not waited for again.
                    self.around.clock.pass_until(moment);
                    self.around.clock.pass(Duration::from_millis(1));
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Carries every copy that is owed; whether there was one.
    async fn carry(&mut self) -> Result<bool, Failed> {
        let mut copies = self.copies().await?;
        let rank = |copy: &Copy| {
            let sent = self.index_of(copy.message.envelope.id);
            let place = |index| self.test.arrive.iter().position(|arrives| *arrives == index);
            (copy.round, sent.and_then(place))
        };
        copies.sort_by_key(rank);
        for copy in &copies {
            self.hand_over(copy).await?;
        }
        Ok(!copies.is_empty())
    }

    /// Copies of what is queued, as the relay would publish them.
    async fn copies(&self) -> Result<Vec<Copy>, Failed> {
        let (engine, ledger) = (&self.process.engine, &self.around.ledger);
        let now = self.around.clock.now();
        let keys = ledger.queued_keys(None, self.route, now, 0, ROWS).await.map_err(words)?;
        let seqs: Vec<i64> = keys.iter().map(|key| key.seq).collect();
        let queued = ledger.queued(&seqs).await.map_err(words)?;
        Ok(queued.iter().map(|row| engine.copy_of(row)).collect())
    }

    /// The broker hands over a copy, as often as the test says. The first takes a claim, so that every step
    /// is written down for itself; those after it go as they would.
    async fn hand_over(&mut self, copy: &Copy) -> Result<(), Failed> {
        let (recorder, engine) =
            (Arc::clone(&self.around.recorder), Arc::clone(&self.process.engine));
        tokio::select! {
            biased;
            () = recorder.died.notified() => {
                // The next life begins with what the ledger holds.
                self.process = self.around.start().await?;
                return Ok(());
            }
            _ = engine.carry(copy) => {}
        }
        for _ in 1..self.test.copies {
            match engine.lane(copy, false) {
                Lane::Fast => drop(engine.fast_batch(std::slice::from_ref(copy)).await),
                Lane::Claim => drop(engine.carry(copy).await),
            }
        }
        Ok(())
    }

    /// When something is due next.
    async fn next_moment(&self) -> Result<Option<Timestamp>, Failed> {
        let due = self.rows().await?.into_iter().filter_map(|row| row.next_at);
        let away = self.around.ledger.targets_away().await.map_err(words)?;
        Ok(due.chain(away.into_iter().map(|line| line.probe_at)).min())
    }

    async fn rows(&self) -> Result<Vec<Row>, Failed> {
        let subscriber = Some(self.route.into());
        let filter = Filter { subscriber, limit: ROWS, ..Filter::default() };
        self.around.ledger.list(&filter).await.map_err(words)
    }

    /// The first message that has this id: one that comes under the same id again is the same message.
    fn index_of(&self, id: MessageId) -> Option<usize> {
        self.answered.iter().position(|answer| answer.as_ref() == Ok(&id))
    }

    /// What was seen.
    async fn told(self) -> Result<Observed, Failed> {
        let rows = self.rows().await?;
        let mut seen: Vec<Seen> = self.answered.iter().map(at_the_door).collect();
        let (mut by_seq, mut by_delivery) = (BTreeMap::new(), BTreeMap::<DeliveryId, usize>::new());
        let deliveries = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        for row in rows {
            let Some(index) = self.index_of(row.message) else { continue };
            by_seq.insert(row.seq, index);
            by_delivery.insert(row.id, index);
            seen[index].state = row.state.bucket().word();
            seen[index].fault = row.fault;
        }
        let mut order = Vec::new();
        for (seq, note) in self.around.recorder.notes().drain(..) {
            let Some(index) = by_seq.get(&seq) else { continue };
            if let Note::Ended = note {
                order.push(*index);
            }
            noted(&mut seen[*index], note);
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        for (delivery, call) in log.calls.drain(..) {
            if let Some(index) = by_delivery.get(&delivery) {
                seen[*index].calls.push(call);
            }
        }
        for (index, answer) in self.answered.iter().enumerate() {
            let first = answer.as_ref().ok().and_then(|id| self.index_of(*id));
            if let Some(first) = first.filter(|first| *first < index) {
                seen[index] = seen[first].clone();
            }
        }
        let unanswered = std::mem::take(&mut log.unanswered);
        Ok(Observed { messages: seen, order, deliveries, unanswered })
    }
}

/// What is known of a message before its delivery is looked at.
fn at_the_door(answer: &Answered) -> Seen {
    match answer {
        Err(why) => Seen { state: "rejected", problem: Some(why.clone()), ..Seen::default() },
        Ok(_) => Seen { state: Bucket::Open.word(), ..Seen::default() },
    }
}

fn noted(seen: &mut Seen, note: Note) {
    match note {
        Note::Ran(step) => seen.ran.push(step),
        Note::Chose(choice, branch) => seen.chose.push((choice, branch)),
        Note::Fact(fact) => {
            if fact.reused {
                seen.reused.push(fact.need.clone());
            }
            if fact.differs {
                seen.differs.push(fact.need.clone());
            }
            seen.facts.push((fact.need, fact.outcome));
        }
        Note::Emitted(emission) => seen.emits.push(emission),
        Note::Waits(wait) => seen.waits.push(wait),
        Note::Ended => {}
    }
}

/// What a start of the process is made of, and what outlives its death.
struct Surroundings {
    routes: Arc<Routes>,
    instances: Instances,
    ledger: Arc<dyn Ledger>,
    recorder: Arc<Recorder>,
    clock: Arc<StoppedClock>,
    serial: Arc<AtomicU64>,
}

/// One life of the process.
struct Process {
    engine: Arc<Engine>,
    sweeper: Sweeper,
    breakers: Breakers,
}

impl Surroundings {
    async fn start(&self) -> Result<Process, Failed> {
        let started = self.ledger.start("test", self.clock.now()).await.map_err(words)?;
        let engine = Engine::new(Parts {
            routes: Arc::clone(&self.routes),
            instances: self.instances.clone(),
            ledger: Arc::clone(&self.ledger),
            write: Arc::<Recorder>::clone(&self.recorder),
            publish: Arc::new(NoBroker),
            clock: Arc::<StoppedClock>::clone(&self.clock),
            chance: Arc::new(NoChance(Arc::clone(&self.serial))),
            deadlines: Arc::new(NoDeadlines),
            started,
            kept: Arc::new(KeepsNothing),
            pseudonyms: Arc::new(Pseudonyms::for_tests()),
            observer: Arc::new(Silent),
            limits: Limits::default(),
        });
        let sweeper = Sweeper::new(Arc::clone(&engine), false);
        Ok(Process { breakers: Breakers::new(Arc::clone(&engine)), sweeper, engine })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn words(error: impl ToString) -> Failed {
    error.to_string()
}

/// Why a message was refused at the door: the code, and where.
fn refusal(rejection: Rejection) -> (String, Vec<String>) {
    let of = rejection.violations.iter().map(|one| one.pointer.clone());
    let mut pointers: Vec<String> = of.chain(rejection.pointer).collect();
    pointers.dedup();
    (rejection.code.to_owned(), pointers)
}
