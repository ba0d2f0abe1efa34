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
    route::{
        Routes,
        suite::{Observed, Seen, Sent, Test},
    },
    timestamp::Timestamp,
};

use super::{
    Stage,
    clock::StoppedClock,
    recorder::{Note, Recorder},
    script::{Log, Target},
    standins::{NoBroker, NoChance, NoDeadlines, NothingKept},
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
/// Rows of this process that nobody publishes are anybody's after a while.
const FREE: Duration = Duration::from_secs(6);

type Failed = String;

/// A world.
pub(super) struct World<'w> {
    test: &'w Test,
    stage: &'w Stage<'w>,
    route: &'w str,
    routes: Arc<Routes>,
    instances: Instances,
    clock: Arc<StoppedClock>,
    ledger: Arc<dyn Ledger>,
    recorder: Arc<Recorder>,
    log: Arc<Mutex<Log>>,
    engine: Arc<Engine>,
    sweeper: Sweeper,
    breakers: Breakers,
    serial: Arc<AtomicU64>,
    turns: u32,
    /// What became of each message at the door: its id, or why not.
    answered: Vec<Result<MessageId, (String, Vec<String>)>>,
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
        let dies_after = test.crash_after.clone();
        let recorder =
            Recorder::new(Arc::clone(&ledger), Arc::<StoppedClock>::clone(&clock), dies_after);
        let (recorder, serial) = (Arc::new(recorder), Arc::default());
        let mut instances = Instances::default();
        for (name, port) in stage.instances.iter() {
            let (port, log) = (Arc::clone(port), Arc::clone(&log));
            let target = Target { name: name.to_owned(), port, log };
            instances.insert(name.to_owned(), Arc::new(target));
        }
        let around = (&routes, &instances, &ledger, &recorder, &clock, &serial);
        let engine = start(around).await?;
        Ok(Self {
            test,
            stage,
            route,
            sweeper: Sweeper::new(Arc::clone(&engine), false),
            breakers: Breakers::new(Arc::clone(&engine)),
            routes,
            instances,
            clock,
            ledger,
            recorder,
            log,
            engine,
            serial,
            turns: 0,
            answered: Vec::new(),
        })
    }

    async fn live(&mut self) -> Result<(), Failed> {
        let ends = self.test.at.after(self.test.lasts);
        for sent in &self.test.messages {
            if sent.after > Duration::ZERO {
                self.go_on_until(self.clock.now().after(sent.after)).await?;
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
            let admitted = admission::admit(sent.incoming.clone(), self.stage.schemas, &limits);
            let answer = match admitted {
                Ok(admitted) => Ok(self.accept(sent, admitted).await?),
                Err(rejection) => Err(refusal(rejection)),
            };
            answered.get_or_insert(answer);
        }
        self.answered.extend(answered);
        Ok(())
    }

    async fn accept(
        &self,
        sent: &Sent,
        admitted: admission::Admitted,
    ) -> Result<MessageId, Failed> {
        let key = IdempotencyKey {
            party: sent.party.clone(),
            source: sent.incoming.source.clone(),
            sender_id: sent.incoming.sender_id.clone(),
        };
        let (digest, incoming) = (admitted.digest, admitted.incoming);
        let id = self.engine.new_message_id();
        let message = into_message(incoming, id, &sent.party, self.clock.now());
        let accepted = Admitted {
            message: Arc::new(message),
            key,
            digest,
            source: format!("party:{}", sent.party).into(),
            to: Vec::new(),
            documents: Vec::new(),
            cursor: None,
        };
        match self.engine.accept(accepted).await.map_err(words)? {
            AcceptAnswer::New { id } | AcceptAnswer::Repeated { id, .. } => Ok(id),
        }
    }

    /// Lets everything happen that happens by then; then it is that time.
    async fn go_on_until(&mut self, then: Timestamp) -> Result<(), Failed> {
        self.go_on(then).await?;
        self.clock.pass_until(then);
        Ok(())
    }

    /// Lets everything happen until nothing moves any more, or `ends`.
    async fn go_on(&mut self, ends: Timestamp) -> Result<(), Failed> {
        while self.turns < TURNS && !self.recorder.is_at_rest() {
            self.turns += 1;
            if self.carry().await? {
                continue;
            }
            self.breakers.step().await.map_err(words)?;
            if self.sweeper.step().await.map_err(words)? > 0 {
                continue;
            }
            match self.next_moment().await? {
                Some(moment) if moment <= ends => {
                    // At least a little: a moment that has come and moves nothing is not waited for again.
                    self.clock.pass_until(moment);
                    self.clock.pass(Duration::from_millis(1));
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
        let (me, now) = (self.engine.incarnation(), self.clock.now().after(FREE));
        let keys = self.ledger.queued_keys(Some(me), self.route, now, 0, ROWS).await;
        let seqs: Vec<i64> = keys.map_err(words)?.iter().map(|key| key.seq).collect();
        let queued = self.ledger.queued(&seqs).await.map_err(words)?;
        Ok(queued.iter().map(|row| self.engine.copy_of(row)).collect())
    }

    /// The broker hands over a copy, as often as the test says. The first takes a claim, so that every step
    /// is written down for itself; those after it go as they would.
    async fn hand_over(&mut self, copy: &Copy) -> Result<(), Failed> {
        let recorder = Arc::clone(&self.recorder);
        let engine = Arc::clone(&self.engine);
        tokio::select! {
            biased;
            () = recorder.died.notified() => return self.start_again().await,
            _ = engine.carry(copy) => {}
        }
        for _ in 1..self.test.copies {
            match self.engine.lane(copy, true) {
                Lane::Fast => drop(self.engine.fast_batch(std::slice::from_ref(copy)).await),
                Lane::Claim => drop(self.engine.carry(copy).await),
            }
        }
        Ok(())
    }

    /// The process has died: the next one begins with what the ledger holds.
    async fn start_again(&mut self) -> Result<(), Failed> {
        let around = (
            &self.routes,
            &self.instances,
            &self.ledger,
            &self.recorder,
            &self.clock,
            &self.serial,
        );
        self.engine = start(around).await?;
        self.sweeper = Sweeper::new(Arc::clone(&self.engine), false);
        self.breakers = Breakers::new(Arc::clone(&self.engine));
        Ok(())
    }

    /// When something is due next.
    async fn next_moment(&self) -> Result<Option<Timestamp>, Failed> {
        let due = self.rows().await?.into_iter().filter_map(|row| row.next_at);
        let away = self.ledger.targets_away().await.map_err(words)?;
        Ok(due.chain(away.into_iter().map(|line| line.probe_at)).min())
    }

    async fn rows(&self) -> Result<Vec<Row>, Failed> {
        let subscriber = Some(self.route.into());
        let filter = Filter { subscriber, limit: ROWS, ..Filter::default() };
        self.ledger.list(&filter).await.map_err(words)
    }

    fn index_of(&self, id: MessageId) -> Option<usize> {
        self.answered.iter().position(|answer| answer.as_ref() == Ok(&id))
    }

    /// What was seen.
    async fn told(self) -> Result<Observed, Failed> {
        let rows = self.rows().await?;
        let mut observed = Observed {
            deliveries: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            ..Observed::default()
        };
        for answer in &self.answered {
            observed.messages.push(match answer {
                Err(why) => {
                    Seen { state: "rejected", problem: Some(why.clone()), ..Seen::default() }
                }
                Ok(_) => Seen { state: Bucket::Open.word(), ..Seen::default() },
            });
        }
        let (mut by_seq, mut by_delivery) = (BTreeMap::new(), BTreeMap::<DeliveryId, usize>::new());
        for row in rows {
            let Some(index) = self.index_of(row.message) else { continue };
            by_seq.insert(row.seq, index);
            by_delivery.insert(row.id, index);
            let seen = &mut observed.messages[index];
            seen.state = row.state.bucket().word();
            seen.fault = row.fault;
        }
        for (seq, note) in self.recorder.notes().drain(..) {
            let Some(index) = by_seq.get(&seq) else { continue };
            if let Note::Ended = note {
                observed.order.push(*index);
            }
            noted(&mut observed.messages[*index], note);
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        for (delivery, call) in log.calls.drain(..) {
            if let Some(index) = by_delivery.get(&delivery) {
                observed.messages[*index].calls.push(call);
            }
        }
        observed.unanswered = std::mem::take(&mut log.unanswered);
        Ok(observed)
    }
}

fn noted(seen: &mut Seen, note: Note) {
    match note {
        Note::Ran(step) => seen.ran.push(step),
        Note::Chose(choice, branch) => seen.chose.push((choice, branch)),
        Note::Emitted(emission) => seen.emits.push(emission),
        Note::Waits(wait) => seen.waits.push(wait),
        Note::Ended => {}
    }
}

type AroundEngine<'a> = (
    &'a Arc<Routes>,
    &'a Instances,
    &'a Arc<dyn Ledger>,
    &'a Arc<Recorder>,
    &'a Arc<StoppedClock>,
    &'a Arc<AtomicU64>,
);

/// A start of the process.
async fn start(
    (routes, instances, ledger, recorder, clock, serial): AroundEngine<'_>,
) -> Result<Arc<Engine>, Failed> {
    let started = ledger.start("test", clock.now()).await.map_err(words)?;
    Ok(Engine::new(Parts {
        routes: Arc::clone(routes),
        instances: instances.clone(),
        ledger: Arc::clone(ledger),
        write: Arc::<Recorder>::clone(recorder),
        publish: Arc::new(NoBroker),
        clock: Arc::<StoppedClock>::clone(clock),
        chance: Arc::new(NoChance(Arc::clone(serial))),
        deadlines: Arc::new(NoDeadlines),
        started,
        kept: Arc::new(NothingKept(Arc::clone(clock))),
        observer: Arc::new(Silent),
        limits: Limits::default(),
    }))
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
