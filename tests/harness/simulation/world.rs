//! The world: draws what happens next, lets it happen, and looks whether the rules still hold.
//!
//! Invariant: whatever is drawn can happen to a real bus; what cannot happen is no finding.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use snodo::{
    broker::{Confirm, Copy, Received, Settlement},
    clock::Clock as _,
    engine::{
        Lane,
        accept::{AcceptAnswer, Admitted},
        reconcile::{Reconciler, Sample},
        relay::{Feeder, Relay},
        sweep::Sweeper,
    },
    faults,
    ledger::{Action, CommitError, Deed, Filter, Ledger, Outcome as Done, Row, StepDone},
};
use snodo_core::{
    envelope::{Envelope, IdempotencyKey, Message},
    fault::FaultClass,
    ids::{DeliveryId, Digest, MessageId},
    message_state::DeliveryState,
    route::{OnPark, Routes},
    topology::RouteQueues,
};
use tokio::sync::oneshot;

use super::{
    bench::Bench,
    broker::{POISON, UNROUTED, WorldBroker, queue_of},
    clock::WorldClock,
    desk::Commit,
    dice::Dice,
    executor::Tasks,
    far::FarSide,
    instance::{Around, Instance},
};

/// How long, with how many processes, and with which troubles.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Decides everything else.
    pub seed: u64,
    /// Draws.
    pub steps: u32,
    /// Processes; more than one only where the ledger allows it.
    pub processes: usize,
    /// These troubles, by name and parted by commas; none: the seed draws them.
    pub troubles: Option<&'a str>,
}

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was broken, at which step; none where all held.
    pub broken: Option<(u32, String)>,
    /// What happened, a line per draw.
    pub story: Vec<String>,
    /// Deliveries by final state, for a look at what was exercised.
    pub states: BTreeMap<DeliveryState, u32>,
}

/// Runs one seed.
pub fn run(bench: &Bench, plan: Plan<'_>) -> Outcome {
    let mut world = World::new(bench, plan);
    let broken = world.live().err();
    let mut states = BTreeMap::new();
    for row in world.rows(&[]) {
        *states.entry(row.state).or_default() += 1;
    }
    let broken = broken.map(|what| (world.at, what));
    Outcome { seed: plan.seed, broken, story: world.story, states }
}

/// What may go wrong in a world: a seed draws which of them do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    NotCommitted,
    AnswerLost,
    AnswerLate,
    ReadFails,
    ConfirmLost,
    CopyLost,
    Unrouted,
    Nacked,
    Disconnect,
    QueueLost,
    Foreign,
    Crash,
    Refuse,
    Transient,
    Outage,
    TimeOut,
    Reload,
    Operator,
    FalseAlarm,
    Pill,
    LeaseLapses,
    Broken,
    Restored,
}

const TROUBLES: [Trouble; 23] = [
    Trouble::NotCommitted,
    Trouble::AnswerLost,
    Trouble::AnswerLate,
    Trouble::ReadFails,
    Trouble::ConfirmLost,
    Trouble::CopyLost,
    Trouble::Unrouted,
    Trouble::Nacked,
    Trouble::Disconnect,
    Trouble::QueueLost,
    Trouble::Foreign,
    Trouble::Crash,
    Trouble::Refuse,
    Trouble::Transient,
    Trouble::Outage,
    Trouble::TimeOut,
    Trouble::Reload,
    Trouble::Operator,
    Trouble::FalseAlarm,
    Trouble::Pill,
    Trouble::LeaseLapses,
    Trouble::Broken,
    Trouble::Restored,
];

/// One world in eight has no trouble at all; the others a few, so that each is seen apart.
fn drawn(dice: &Dice) -> BTreeSet<Trouble> {
    if dice.chance(12) {
        return BTreeSet::new();
    }
    let many = 1 + dice.below(10);
    let mut troubles: BTreeSet<Trouble> =
        (0..many).map(|_| TROUBLES[dice.below(TROUBLES.len())]).collect();
    if troubles.contains(&Trouble::Pill) {
        // Where a pill goes round, whoever else crashes would be counted as its neighbour's.
        for other in [Trouble::Crash, Trouble::LeaseLapses, Trouble::AnswerLate] {
            troubles.remove(&other);
        }
    }
    troubles
}

fn named(names: &str) -> BTreeSet<Trouble> {
    let of = |name: &str| {
        let found = TROUBLES.into_iter().find(|trouble| format!("{trouble:?}") == name);
        found.unwrap_or_else(|| panic!("no trouble is called {name}"))
    };
    names.split(',').filter(|name| !name.is_empty()).map(of).collect()
}

/// What a task ends with.
pub(super) enum Ended {
    Loop,
    Settled(Vec<(u64, Settlement)>),
    Told(usize, Result<AcceptAnswer, CommitError>),
}

/// A message that a sender has, until he is told that it is in custody.
struct Sent {
    kind: &'static str,
    n: u64,
    told: Option<MessageId>,
    asking: bool,
}

/// An answer that is on its way from the ledger.
type Late = (usize, Answer, Vec<Done>);

/// Where the answer of a commit goes.
type Answer = oneshot::Sender<Result<Vec<Done>, CommitError>>;

/// Commits that share one transaction.
#[derive(Default)]
struct Group {
    actions: Vec<Action>,
    answers: Vec<(usize, Answer)>,
}

impl Group {
    fn add(&mut self, commit: Commit) {
        self.answers.push((commit.actions.len(), commit.answer));
        self.actions.extend(commit.actions);
    }

    fn fail(self, error: &CommitError) {
        for (_, answer) in self.answers {
            let _ = answer.send(Err(error.clone()));
        }
    }

    fn split(self, outcomes: Vec<Done>) -> impl Iterator<Item = (Answer, Vec<Done>)> {
        let mut outcomes = outcomes.into_iter();
        self.answers
            .into_iter()
            .map(move |(many, answer)| (answer, outcomes.by_ref().take(many).collect()))
    }
}

/// One seed's world.
pub(super) struct World<'a> {
    pub(super) bench: &'a Bench,
    pub(super) plan: Plan<'a>,
    pub(super) dice: Dice,
    pub(super) clock: Arc<WorldClock>,
    pub(super) broker: WorldBroker,
    pub(super) far: FarSide,
    pub(super) ledgers: Vec<Arc<dyn Ledger>>,
    pub(super) instances: Vec<Option<Instance>>,
    pub(super) tasks: Tasks<Ended>,
    pub(super) late: Vec<Late>,
    pub(super) calm: bool,
    pub(super) at: u32,
    pub(super) story: Vec<String>,
    pub(super) violation: Option<String>,
    /// Whether anything has changed since the invariants were looked at.
    changed: bool,
    troubles: BTreeSet<Trouble>,
    sent: Vec<Sent>,
    most: usize,
    foreign: u64,
    /// Copies that no row has: sequence and delivery.
    strangers: BTreeSet<(i64, DeliveryId)>,
    reloaded: bool,
    crashes: u32,
    finals: BTreeMap<DeliveryId, DeliveryState>,
    replayed: BTreeSet<DeliveryId>,
    /// Deliveries that have waited for a person.
    waited: BTreeSet<DeliveryId>,
}

impl<'a> World<'a> {
    fn new(bench: &'a Bench, plan: Plan<'a>) -> Self {
        let dice = Dice::new(plan.seed);
        let troubles = plan.troubles.map_or_else(|| drawn(&dice), named);
        let most = 2 + dice.below(9);
        let ledgers = (bench.open)(&bench.runtime, plan.processes);
        let mut world = Self {
            bench,
            plan,
            dice,
            clock: Arc::default(),
            broker: WorldBroker::default(),
            far: FarSide::default(),
            instances: (0..ledgers.len()).map(|_| None).collect(),
            ledgers,
            tasks: Tasks::default(),
            late: Vec::new(),
            calm: false,
            at: 0,
            story: Vec::new(),
            violation: None,
            changed: true,
            troubles,
            sent: Vec::new(),
            most,
            foreign: 0,
            strangers: BTreeSet::new(),
            reloaded: false,
            crashes: 0,
            finals: BTreeMap::new(),
            replayed: BTreeSet::new(),
            waited: BTreeSet::new(),
        };
        world.tell(format!("seed {} with {:?}", plan.seed, world.troubles));
        let versions = world.bench.house.versions();
        for ledger in &world.ledgers {
            let put = world.bench.runtime.block_on(ledger.put_route_versions(&versions));
            put.expect("a version is written before anything is pinned to it");
        }
        (0..world.instances.len()).for_each(|owner| world.start(owner));
        world
    }

    pub(super) fn tell(&mut self, line: String) {
        self.story.push(line);
    }

    pub(super) fn routes(&self) -> Arc<Routes> {
        self.bench.house.routes(self.reloaded)
    }

    pub(super) fn start(&mut self, owner: usize) {
        self.changed = true;
        let slot = format!("slot{owner}");
        let ledger = Arc::clone(&self.ledgers[owner]);
        let started = self.bench.runtime.block_on(ledger.start(&slot, self.clock.now()));
        let started = started.expect("a start is written");
        let routes = self.routes();
        let around = Around {
            dice: &self.dice,
            clock: &self.clock,
            broker: &self.broker,
            far: &self.far,
            routes: &routes,
        };
        let instance = Instance::start(owner, ledger, started, &around);
        let mut relay = Relay::new(Arc::clone(&instance.engine));
        self.tasks.spawn(
            owner,
            Box::pin(async move {
                loop {
                    relay.step().await;
                }
            }),
        );
        self.instances[owner] = Some(instance);
    }

    /// Lives to the end of the plan; every two hundred draws, and at the end, everything must come to
    /// rest.
    fn live(&mut self) -> Result<(), String> {
        while self.at < self.plan.steps {
            self.at += 1;
            self.draw();
            self.run_tasks();
            self.look()?;
            if self.at.is_multiple_of(200) || self.at == self.plan.steps {
                self.come_to_rest()?;
            }
        }
        Ok(())
    }

    /// Runs what was woken, and lets the broker and the senders hear of what ended.
    pub(super) fn run_tasks(&mut self) {
        loop {
            let ended = self.tasks.run();
            let now = self.clock.now();
            self.far.state().settle(now);
            if ended.is_empty() {
                return;
            }
            for (owner, ended) in ended {
                match ended {
                    Ended::Settled(settlements) => self.settle(owner, &settlements),
                    Ended::Told(index, answer) => self.told(index, answer),
                    Ended::Loop => {}
                }
            }
        }
    }

    fn settle(&mut self, owner: usize, settlements: &[(u64, Settlement)]) {
        for (tag, settlement) in settlements {
            self.changed = true;
            let settled = self.broker.state().settle(*tag, *settlement);
            self.tell(format!("  {owner}: {settlement:?} of tag {tag}"));
            if let (Some(held), Settlement::Ack) = (settled, settlement) {
                self.check_ack(&held.item.copy);
            }
        }
    }

    /// An ack is early while the row still owes this very copy a verdict.
    fn check_ack(&mut self, copy: &Copy) {
        let row = self.row(copy.delivery);
        let owed = row.filter(|row| {
            matches!(row.state, DeliveryState::Queued | DeliveryState::Published)
                && row.seq == copy.seq
                && row.round == copy.round
        });
        if let Some(row) = owed {
            self.violation = Some(format!("ack: acknowledged while {:?}: {}", row.state, row.id));
        }
    }

    pub(super) fn row(&self, id: DeliveryId) -> Option<Row> {
        let row = self.bench.runtime.block_on(self.ledgers[0].row_by_id(id));
        row.expect("the ledger is read")
    }

    pub(super) fn rows(&self, states: &[DeliveryState]) -> Vec<Row> {
        let filter = Filter { states: states.to_vec(), limit: 10_000, ..Filter::default() };
        let rows = self.bench.runtime.block_on(self.ledgers[0].list(&filter));
        rows.expect("the ledger is read")
    }

    fn told(&mut self, index: usize, answer: Result<AcceptAnswer, CommitError>) {
        let sent = &mut self.sent[index];
        sent.asking = false;
        let line = match answer {
            Ok(AcceptAnswer::New { id } | AcceptAnswer::Repeated { id, same_body: true }) => {
                if sent.told.is_some_and(|told| told != id) {
                    self.violation = Some(format!("told: two ids for message {index}"));
                }
                sent.told = Some(id);
                format!("  sender {index} is told {id}")
            }
            Ok(AcceptAnswer::Repeated { same_body: false, .. }) => {
                self.violation = Some(format!("told: message {index} is said to be another"));
                String::new()
            }
            Err(error) => format!("  sender {index} is told: {error}"),
        };
        self.tell(line);
    }

    /// Whether this trouble strikes now, of `percent` times that it could.
    fn strikes(&self, trouble: Trouble, percent: u64) -> bool {
        !self.calm && self.troubles.contains(&trouble) && self.dice.chance(percent)
    }

    /// One draw: who goes next, or what strikes.
    fn draw(&mut self) {
        self.clock.pass(Duration::from_millis(1));
        let owner = self.dice.below(self.instances.len());
        if self.instances[owner].is_none() {
            return self.start_again(owner);
        }
        match self.dice.below(100) {
            0..=7 => self.send(owner),
            8..=33 => self.commit(owner),
            34..=41 => self.read(owner),
            42..=53 => self.fly(),
            54..=65 => self.take(owner),
            66..=69 => self.feed(owner),
            70..=72 => self.sweep(owner),
            73..=74 => self.reconcile(owner),
            75..=81 => self.far_side(),
            82..=84 => self.pass(),
            _ => self.strike(owner),
        }
    }

    pub(super) fn start_again(&mut self, owner: usize) {
        self.tell(format!("{owner} starts again"));
        self.start(owner);
    }

    fn pass(&mut self) {
        let short = Duration::from_millis(10 + self.dice.below(5_000) as u64);
        let long = Duration::from_secs(10 + self.dice.below(60) as u64);
        let time = if self.dice.chance(30) { long } else { short };
        self.clock.pass(time);
        self.tell(format!("{time:?} pass"));
    }

    /// A sender sends: a new message, or again the one of which he was told nothing.
    fn send(&mut self, owner: usize) {
        let open = self.sent.iter().position(|sent| !sent.asking && sent.told.is_none());
        let again = self.dice.chance(10) && !self.sent.is_empty();
        let index = match open {
            Some(index) => index,
            None if again => self.dice.below(self.sent.len()),
            None if self.sent.len() < self.most && !self.calm => {
                let kinds = self.bench.house.kinds();
                let kind = kinds[self.dice.below(kinds.len())];
                let broken = self.strikes(Trouble::Broken, 30);
                let n = if broken { 13 } else { self.dice.below(12) as u64 };
                self.sent.push(Sent { kind, n, told: None, asking: false });
                self.sent.len() - 1
            }
            None => return,
        };
        if !self.sent[index].asking {
            self.ask(owner, index);
        }
    }

    fn ask(&mut self, owner: usize, index: usize) {
        let Some(instance) = &self.instances[owner] else { return };
        let engine = Arc::clone(&instance.engine);
        let sent = &mut self.sent[index];
        sent.asking = true;
        let pill = self.troubles.contains(&Trouble::Pill) && index == 1;
        let data = self.bench.house.body(sent.n);
        let envelope = envelope(engine.new_message_id(), sent.kind, pill, self.clock.now());
        let admitted = Admitted {
            message: Arc::new(Message { envelope, data: data.into() }),
            key: IdempotencyKey {
                party: "p".to_owned(),
                source: "/sim".to_owned(),
                sender_id: index.to_string(),
            },
            digest: Digest::of(&index.to_be_bytes()),
            source: "party:p".into(),
            to: Vec::new(),
            documents: Vec::new(),
            cursor: None,
        };
        let line =
            format!("{owner}: message {index} comes, {} n={} pill={pill}", sent.kind, sent.n);
        self.tell(line);
        self.tasks.spawn(
            owner,
            Box::pin(async move { Ended::Told(index, engine.accept(admitted).await) }),
        );
    }

    /// A commit ends, well or not.
    pub(super) fn commit(&mut self, owner: usize) {
        if !self.late.is_empty() && self.dice.chance(if self.calm { 50 } else { 4 }) {
            let (owner, answer, outcomes) = self.late.remove(0);
            self.tell(format!("{owner}: a late answer comes"));
            let _ = answer.send(Ok(outcomes));
            return;
        }
        let Some(instance) = &self.instances[owner] else { return };
        let waiting = instance.desk.commits();
        if waiting == 0 {
            return;
        }
        let first = instance.desk.take_commit(self.dice.below(waiting));
        let mut group = Group::default();
        group.add(first);
        while instance.desk.commits() > 0 && self.dice.chance(30) {
            let index = self.dice.below(instance.desk.commits());
            let Some(beside) = instance.desk.take_beside(index, &group.actions) else { break };
            group.add(beside);
        }
        self.end(owner, group);
    }

    /// A group ends: committed or not, its answer given, late or lost.
    fn end(&mut self, owner: usize, group: Group) {
        let names = group.actions.iter().map(name_of).collect::<Vec<_>>().join(" ");
        if self.strikes(Trouble::NotCommitted, 12) {
            self.tell(format!("{owner}: {names} is not committed"));
            return group.fail(&CommitError::NotCommitted("drawn".to_owned()));
        }
        let unclear = self.strikes(Trouble::AnswerLost, 15);
        if unclear && self.dice.chance(40) {
            self.tell(format!("{owner}: {names} is lost on the way, unclear"));
            return group.fail(&CommitError::Unclear("drawn".to_owned()));
        }
        if self.kills(owner, &group.actions, true) {
            return;
        }
        self.changed = true;
        let now = self.clock.now();
        let ledger = &self.ledgers[owner];
        let committed = self.bench.runtime.block_on(ledger.commit(&group.actions, now));
        let outcomes = match committed {
            Ok(outcomes) => outcomes,
            Err(error) => {
                self.violation = Some(format!("the ledger fails at {names}: {error}"));
                return;
            }
        };
        let said = outcomes.iter().map(said_of).collect::<Vec<_>>().join(" ");
        self.tell(format!(
            "{owner}: {names} → {said}{}",
            if unclear { ", answer lost" } else { "" }
        ));
        if self.kills(owner, &group.actions, false) {
            return;
        }
        if unclear {
            return group.fail(&CommitError::Unclear("drawn".to_owned()));
        }
        for (answer, outcomes) in group.split(outcomes) {
            if self.strikes(Trouble::AnswerLate, 20) {
                self.late.push((owner, answer, outcomes));
            } else {
                let _ = answer.send(Ok(outcomes));
            }
        }
    }

    /// A pill kills the process that maps it or has just claimed it.
    fn kills(&mut self, owner: usize, actions: &[Action], before: bool) -> bool {
        if !self.troubles.contains(&Trouble::Pill) {
            return false;
        }
        let deadly = actions.iter().any(|action| match action {
            Action::Settle { seq, .. } if before => self.is_pill(*seq),
            Action::Claim { seq, .. } if !before => self.is_pill(*seq),
            _ => false,
        });
        if deadly {
            self.tell(format!("{owner} is killed by the pill"));
            self.crash(owner);
        }
        deadly
    }

    fn is_pill(&self, seq: i64) -> bool {
        let row = self.bench.runtime.block_on(self.ledgers[0].row(seq));
        let Ok(Some(row)) = row else { return false };
        let message = self.bench.runtime.block_on(self.ledgers[0].message(row.message));
        message.is_ok_and(|message| {
            message.is_some_and(|message| message.envelope.subject.as_deref() == Some("pill"))
        })
    }

    pub(super) fn read(&mut self, owner: usize) {
        let Some(instance) = &self.instances[owner] else { return };
        let waiting = instance.desk.reads();
        if waiting > 0 {
            let read = instance.desk.take_read(self.dice.below(waiting));
            let fails = self.strikes(Trouble::ReadFails, 15);
            read((!fails).then_some(&self.bench.runtime));
            self.tell(format!("{owner}: reads{}", if fails { ", in vain" } else { "" }));
        }
    }

    /// A copy on its way to the broker gets on, or not.
    pub(super) fn fly(&mut self) {
        let mut state = self.broker.state();
        if state.flights.is_empty() {
            return;
        }
        let index = self.dice.below(state.flights.len());
        let (stored, copy) = (state.flights[index].stored, state.flights[index].copy.clone());
        let key = (copy.delivery, copy.round);
        let what = if stored {
            let lost = self.strikes(Trouble::ConfirmLost, 20);
            let confirm = if lost { Confirm::Unknown } else { Confirm::Confirmed };
            state.answer(index, confirm);
            format!("{confirm:?}")
        } else if self.strikes(Trouble::CopyLost, 15) {
            state.answer(index, Confirm::Unknown);
            "lost on its way".to_owned()
        } else if self.strikes(Trouble::Unrouted, 20) {
            state.unrouted(index);
            "routed nowhere".to_owned()
        } else if self.strikes(Trouble::Nacked, 15) {
            state.answer(index, Confirm::Nacked);
            "refused by the broker".to_owned()
        } else {
            state.arrive(index);
            "stored".to_owned()
        };
        drop(state);
        self.tell(format!("copy {} round {}: {what}", short(key.0), key.1));
    }

    /// An instance takes copies from a queue.
    pub(super) fn take(&mut self, owner: usize) {
        let queues: Vec<String> = {
            let state = self.broker.state();
            let full = state.queues.iter().filter(|(_, ready)| !ready.is_empty());
            full.map(|(queue, _)| queue.clone()).collect()
        };
        if queues.is_empty() {
            return;
        }
        let queue = &queues[self.dice.below(queues.len())];
        self.take_from(owner, queue);
    }

    fn take_from(&mut self, owner: usize, queue: &str) {
        let Some(instance) = &self.instances[owner] else { return };
        let engine = Arc::clone(&instance.engine);
        let mut fast = Vec::new();
        for _ in 0..=self.dice.below(3) {
            let Some(held) = self.broker.state().deliver(owner, queue, 0) else { break };
            let (tag, copy, redelivered) = (held.tag, held.item.copy, held.item.count > 0);
            let line = format!(
                "{owner}: takes {} round {} from {queue}, tag {tag}, count {}, alone {}",
                short(copy.delivery),
                copy.round,
                held.item.count,
                copy.alone,
            );
            self.tell(line);
            let engine = Arc::clone(&engine);
            if queue == UNROUTED || queue == POISON {
                let received = Received::Copy { copy, redelivered };
                let poison = queue == POISON;
                self.spawn_settled(owner, async move {
                    let settlement = if poison {
                        engine.drain_poison(received).await
                    } else {
                        engine.drain_unrouted(received).await
                    };
                    vec![(tag, settlement)]
                });
            } else if engine.lane(&copy, redelivered) == Lane::Fast {
                fast.push((tag, copy));
            } else {
                self.spawn_settled(owner, async move { vec![(tag, engine.carry(&copy).await)] });
            }
        }
        if !fast.is_empty() {
            let (tags, copies): (Vec<_>, Vec<_>) = fast.into_iter().unzip();
            self.spawn_settled(owner, async move {
                let settlements = engine.fast_batch(&copies).await;
                tags.into_iter().zip(settlements).collect()
            });
        }
    }

    fn spawn_settled(
        &mut self,
        owner: usize,
        work: impl Future<Output = Vec<(u64, Settlement)>> + Send + 'static,
    ) {
        self.tasks.spawn(owner, Box::pin(async move { Ended::Settled(work.await) }));
    }

    pub(super) fn feed(&mut self, owner: usize) {
        let Some(instance) = &self.instances[owner] else { return };
        let mut feeder = Feeder::new(Arc::clone(&instance.engine));
        self.tasks.spawn(
            owner,
            Box::pin(async move {
                let _ = feeder.step().await;
                Ended::Loop
            }),
        );
    }

    pub(super) fn sweep(&mut self, owner: usize) {
        let Some(instance) = &self.instances[owner] else { return };
        let expires = self.instances.len() > 1;
        let mut sweeper = Sweeper::new(Arc::clone(&instance.engine), expires);
        self.tasks.spawn(
            owner,
            Box::pin(async move {
                let _ = sweeper.step().await;
                Ended::Loop
            }),
        );
    }

    pub(super) fn reconcile(&mut self, owner: usize) {
        let Some(instance) = &self.instances[owner] else { return };
        let alarm = self.strikes(Trouble::FalseAlarm, 30);
        let samples: Vec<Sample> = self
            .routes()
            .iter()
            .flat_map(|route| {
                RouteQueues::of(route).shards().map(|shard| (route.name.as_str(), shard))
            })
            .map(|(route, shard)| {
                let copies = self.broker.state().depth(&queue_of(route, shard));
                Sample {
                    subscriber: route.into(),
                    shard,
                    asked_at: self.clock.now(),
                    copies: i64::try_from(copies).unwrap_or(0),
                }
            })
            .map(|sample| if alarm { Sample { copies: 0, ..sample } } else { sample })
            .collect();
        let mut reconciler = Reconciler::new(Arc::clone(&instance.engine));
        self.tasks.spawn(
            owner,
            Box::pin(async move {
                let _ = reconciler.step(&samples).await;
                Ended::Loop
            }),
        );
    }

    /// The far side acts, answers, refuses, or a deadline comes first.
    pub(super) fn far_side(&mut self) {
        let far = self.far.clone();
        let mut state = far.state();
        if !state.timers.is_empty() && self.strikes(Trouble::TimeOut, 15) {
            let index = self.dice.below(state.timers.len());
            let _ = state.timers.remove(index).send(());
            self.story.push("a deadline comes".to_owned());
        } else if !state.questions.is_empty() && self.dice.chance(50) {
            let index = self.dice.below(state.questions.len());
            self.story.push(format!("the far side is asked about {}", state.questions[index].key));
            state.recalled(index);
        } else if !state.calls.is_empty() {
            let index = self.dice.below(state.calls.len());
            let (acted, key) = (state.calls[index].acted, state.calls[index].key.clone());
            let stopped = state.calls[index].stopped_at.is_some();
            let no = [
                (Trouble::Refuse, FaultClass::Refused),
                (Trouble::Transient, FaultClass::Transient { retry_after: None }),
                (Trouble::Outage, FaultClass::Outage),
            ];
            let refusal = no.into_iter().find(|(trouble, _)| self.strikes(*trouble, 20));
            let what = match refusal {
                _ if acted => {
                    state.reply(index);
                    "answers"
                }
                Some((_, class)) if !stopped => {
                    state.refuse(index, class);
                    "says no to"
                }
                // What was sent before its sender stopped is slow, or it would have acted by now.
                _ if stopped && self.dice.chance(75) => "is slow with",
                _ => {
                    state.act(index);
                    self.changed = true;
                    "acts for"
                }
            };
            self.story.push(format!("the far side {what} {key}"));
        }
    }

    /// What strikes a process or the broker, of the troubles of this world.
    fn strike(&mut self, owner: usize) {
        const STRIKES: [Trouble; 9] = [
            Trouble::Crash,
            Trouble::Disconnect,
            Trouble::QueueLost,
            Trouble::Foreign,
            Trouble::Reload,
            Trouble::Operator,
            Trouble::FalseAlarm,
            Trouble::LeaseLapses,
            Trouble::Restored,
        ];
        let mine: Vec<Trouble> =
            STRIKES.into_iter().filter(|trouble| self.troubles.contains(trouble)).collect();
        let quiet = self.calm || mine.is_empty() || self.dice.chance(20);
        match mine.get(self.dice.below(mine.len())) {
            _ if quiet => self.congest(owner),
            Some(Trouble::Crash) if self.dice.chance(40) => {
                self.tell(format!("{owner} crashes"));
                self.crash(owner);
            }
            Some(Trouble::Disconnect) if self.dice.chance(60) => {
                self.tell(format!("{owner} loses its connection"));
                let dice = self.dice.clone();
                self.broker.disconnect(owner, move || dice.chance(50));
            }
            Some(Trouble::QueueLost) if self.dice.chance(40) => self.lose_queue(),
            Some(Trouble::Foreign) if self.dice.chance(40) => self.foreign(),
            Some(Trouble::Restored) if self.dice.chance(40) => self.forgotten(),
            Some(Trouble::Reload) if !self.reloaded => self.reload(),
            Some(Trouble::Operator) => self.operate(),
            Some(Trouble::FalseAlarm) => self.reconcile(owner),
            Some(Trouble::LeaseLapses) if self.dice.chance(40) => {
                self.tell("a minute and a half pass".to_owned());
                self.clock.pass(Duration::from_secs(90));
            }
            _ => {}
        }
    }

    /// The window of a process is full for a while.
    fn congest(&self, owner: usize) {
        if let Some(instance) = &self.instances[owner] {
            instance.congested.store(!self.calm && self.dice.chance(20), SeqCst);
        }
    }

    /// Ends a process: its tasks are gone, what it had sent may still arrive.
    pub(super) fn crash(&mut self, owner: usize) {
        self.changed = true;
        self.crashes += 1;
        self.tasks.kill(owner);
        for sent in &mut self.sent {
            sent.asking = false;
        }
        if let Some(instance) = self.instances[owner].take() {
            while instance.desk.commits() > 0 {
                let commit = instance.desk.take_commit(0);
                if !self.calm && self.dice.chance(20) && !self.troubles.contains(&Trouble::Pill) {
                    let now = self.clock.now();
                    let ledger = &self.ledgers[owner];
                    let names = commit.actions.iter().map(name_of).collect::<Vec<_>>().join(" ");
                    let _ = self.bench.runtime.block_on(ledger.commit(&commit.actions, now));
                    self.tell(format!("  {names} is committed all the same"));
                }
            }
        }
        let now = self.clock.now();
        self.far.state().settle(now);
        let dice = self.dice.clone();
        self.broker.disconnect(owner, move || dice.chance(50));
        self.late.retain(|(late, ..)| *late != owner);
    }

    fn lose_queue(&mut self) {
        let mut state = self.broker.state();
        let names: Vec<String> = state
            .queues
            .keys()
            .filter(|name| *name != UNROUTED && *name != POISON)
            .cloned()
            .collect();
        if names.is_empty() {
            return;
        }
        let name = &names[self.dice.below(names.len())];
        state.lose(name);
        drop(state);
        self.tell(format!("queue {name} is lost"));
    }

    fn foreign(&mut self) {
        let routes = self.routes();
        let routes: Vec<_> = routes.iter().collect();
        let route = routes[self.dice.below(routes.len())];
        self.foreign += 1;
        let n = self.foreign;
        let id = MessageId::accepted(1, [u8::try_from(n % 250).unwrap_or(0); 10]);
        let envelope = envelope(id, &route.from, false, self.clock.now());
        let copy = Copy {
            delivery: DeliveryId::derived(id, "foreign"),
            seq: 1_000_000 + i64::try_from(n).unwrap_or(0),
            round: 1,
            route_digest: route.digest,
            alone: false,
            shard: route.order.as_ref().map(|_| 0),
            message: Arc::new(Message { envelope, data: self.bench.house.body(1).into() }),
        };
        self.stranger(&queue_of(&route.name, copy.shard), copy);
    }

    fn stranger(&mut self, queue: &str, copy: Copy) {
        self.strangers.insert((copy.seq, copy.delivery));
        self.tell(format!("a stranger lies in {queue}: {} as {}", short(copy.delivery), copy.seq));
        self.broker.state().push(queue, super::broker::Item { copy, count: 0 });
    }

    /// A copy of a time that a restored backup has forgotten: since then its sequence was given to
    /// another row, and its delivery, if it was emitted, was perhaps written again as another.
    fn forgotten(&mut self) {
        let rows = self.rows(&[DeliveryState::Queued, DeliveryState::Published]);
        let rows: Vec<_> =
            rows.iter().filter(|row| !row.subscriber.starts_with("party:")).collect();
        if rows.is_empty() {
            return;
        }
        let row = rows[self.dice.below(rows.len())];
        let twins: Vec<_> = rows
            .iter()
            .filter(|other| other.subscriber == row.subscriber && other.id != row.id)
            .collect();
        let n = self.foreign + 1;
        let id = MessageId::accepted(2, [u8::try_from(n % 250).unwrap_or(0); 10]);
        let delivery = match twins.get(self.dice.below(2 * twins.len())) {
            Some(twin) => twin.id,
            None => DeliveryId::derived(id, "forgotten"),
        };
        let routes = self.routes();
        let Some(route) = routes.version(&row.route_digest) else { return };
        if self.strangers.contains(&(row.seq, delivery)) {
            return;
        }
        self.foreign = n;
        let copy = Copy {
            delivery,
            seq: row.seq,
            round: row.round,
            route_digest: row.route_digest,
            alone: false,
            shard: route
                .order
                .as_ref()
                .map(|order| row.turn.map_or(0, |turn| order.shard_of(&turn.key))),
            message: Arc::new(Message {
                envelope: envelope(id, &route.from, false, self.clock.now()),
                data: self.bench.house.body(1).into(),
            }),
        };
        self.stranger(&queue_of(&route.name, copy.shard), copy);
    }

    fn reload(&mut self) {
        self.reloaded = true;
        let routes = self.routes();
        for instance in self.instances.iter().flatten() {
            instance.engine.swap_routes(Arc::clone(&routes));
        }
        self.tell("the routes are reloaded".to_owned());
    }

    /// A person acts: replays, discards, says what became of a call.
    fn operate(&mut self) {
        use DeliveryState::{Parked, Uncertain};
        let rows = self.rows(&[Parked, Uncertain]);
        if rows.is_empty() {
            return;
        }
        let row = &rows[self.dice.below(rows.len())];
        let by = Deed { actor: "operator".to_owned(), reason: "drawn".to_owned() };
        let action = match row.state {
            Parked if self.dice.chance(25) => Action::Discard { id: row.id, by },
            Parked => {
                self.replayed.insert(row.id);
                self.replay(row, by)
            }
            _ => match self.resolution(row, by) {
                Some(action) => action,
                None => return,
            },
        };
        self.changed = true;
        let now = self.clock.now();
        let name = name_of(&action);
        let outcome = self.bench.runtime.block_on(self.ledgers[0].commit(&[action], now));
        self.tell(format!("a person: {name} of {} → {outcome:?}", short(row.id)));
    }

    fn replay(&self, row: &Row, by: Deed) -> Action {
        let routes = self.routes();
        let unpinned = faults::off("replay-unpinned");
        let newest = routes.get(&row.subscriber).filter(|route| {
            unpinned
                || row
                    .done
                    .iter()
                    .all(|(step, done)| self.bench.house.has(route, step, &done.operation))
        });
        let onto = newest.map_or(row.route_digest, |route| route.digest);
        Action::Replay { id: row.id, from: row.route_digest, onto, by }
    }

    /// The person has looked at the far side and tells the truth.
    fn resolution(&self, row: &Row, by: Deed) -> Option<Action> {
        let step = row.intents.first()?.step.clone();
        let key = snodo_core::ids::StepKey { delivery: row.id, step: step.clone() }.to_string();
        let acted = self.far.state().log.get(&key).is_some_and(|times| *times > 0);
        if !acted {
            return Some(Action::ResolveNotDone { id: row.id, step, by });
        }
        let routes = self.routes();
        let route = routes.version(&row.route_digest)?;
        let operation = self.bench.house.operation(route, &step)?;
        let results = row.done.iter().map(|(id, done)| (id.clone(), done.result.clone()));
        let this = (step.clone(), serde_json::Value::Null);
        let last = route.is_done(&results.chain([this]).collect());
        let done = StepDone {
            step,
            operation,
            result: serde_json::json!({ "ok": true }),
            route_digest: row.route_digest,
            reference: None,
            evidence: None,
        };
        Some(Action::ResolveDone { id: row.id, done, last, by })
    }

    /// What must hold after every draw.
    pub(super) fn look(&mut self) -> Result<(), String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let far = self.far.state();
        if let Some((key, times)) = far.log.iter().find(|(_, times)| **times > 1) {
            return Err(format!("once: {key} took effect {times} times"));
        }
        drop(far);
        let broken = self.bench.runtime.block_on(self.ledgers[0].broken_invariants());
        match broken {
            Ok(broken) if broken.is_empty() => {}
            Ok(broken) => return Err(broken.join("; ")),
            Err(error) => return Err(format!("the invariants cannot be read: {error}")),
        }
        self.look_at_rows()
    }

    fn look_at_rows(&mut self) -> Result<(), String> {
        let rows = self.rows(&[]);
        let state = self.broker.state();
        for row in &rows {
            let key = (row.id, row.round);
            let published = row.state == DeliveryState::Published;
            let has = state.has((row.seq, row.id), row.round);
            if published && !has && !state.lost.contains(&key) {
                return Err(format!("carried: {} is published and nobody has it", row.id));
            }
            self.look_at_versions(row)?;
            let inbox = row.subscriber.strip_prefix("party:").map(|party| state.inboxes.get(party));
            let in_it = |copies: &Vec<Copy>| copies.iter().any(|copy| copy.delivery == row.id);
            if row.state == DeliveryState::Completed
                && inbox.is_some_and(|inbox| !inbox.is_some_and(in_it))
            {
                return Err(format!("handed over: {} is completed, its party has nothing", row.id));
            }
            if matches!(row.state, DeliveryState::Parked | DeliveryState::Uncertain) {
                self.waited.insert(row.id);
            }
            let before = self.finals.get(&row.id).copied();
            if before.is_some_and(|before| before != row.state) {
                return Err(format!("final: {} was {before:?} and is {:?}", row.id, row.state));
            }
            if row.state.bucket().is_final() {
                self.finals.insert(row.id, row.state);
            }
            if row.state == DeliveryState::Parked && row.fault.is_none() && row.crashes < 3 {
                return Err(format!("cause: {} is parked without a cause", row.id));
            }
        }
        // A second process may publish what the first is slow with: once five seconds old.
        if self.instances.len() == 1
            && self.troubles.iter().all(|trouble| *trouble == Trouble::AnswerLate)
            && let Some((key, times)) = state.published.iter().find(|((id, round), n)| {
                // Who went behind another comes again.
                let ordered = || rows.iter().any(|row| row.id == *id && row.turn.is_some());
                **n > 1 || *round > 1 && !ordered()
            })
        {
            return Err(format!("copies: {} round {} was sent {times} times", key.0, key.1));
        }
        drop(state);
        self.look_at_orders(&rows)?;
        if self.troubles.contains(&Trouble::Pill) {
            self.look_at_the_innocent(&rows)?;
        }
        Ok(())
    }

    /// What ran is what the row names: the operation of each done step, and the version that ran it.
    fn look_at_versions(&self, row: &Row) -> Result<(), String> {
        let house = &self.bench.house;
        let versions = house.routes(true);
        for (step, done) in &row.done {
            let named = versions.version(&row.route_digest);
            let named = named.is_some_and(|route| house.has(route, step, &done.operation));
            let ran = done.route_digest == row.route_digest || self.replayed.contains(&row.id);
            if !ran || !named {
                return Err(format!("pinned: {} ran {step} as {}", row.id, done.operation));
            }
        }
        Ok(())
    }

    /// The first effects of a key come in the order of their numbers, but for those of a delivery that
    /// waited for a person and was passed, or put away.
    fn look_at_orders(&self, rows: &[Row]) -> Result<(), String> {
        let far = self.far.state();
        let mut last: BTreeMap<(&str, Digest), i64> = BTreeMap::new();
        for id in &far.first {
            let Some(row) = rows.iter().find(|row| row.id == *id) else { continue };
            let Some(turn) = row.turn else { continue };
            let routes = self.routes();
            let order = routes.version(&row.route_digest).and_then(|route| route.order.as_ref());
            let passes = order.is_some_and(|order| order.on_park == OnPark::Skip);
            if row.state == DeliveryState::Discarded || passes && self.waited.contains(id) {
                continue;
            }
            let before = last.entry((&row.subscriber, turn.key)).or_default();
            if turn.no <= *before {
                return Err(format!("order: {id} is number {} and came after {before}", turn.no));
            }
            *before = turn.no;
        }
        Ok(())
    }

    /// Where nothing else crashes, only the pill may be parked for its crashes.
    fn look_at_the_innocent(&self, rows: &[Row]) -> Result<(), String> {
        let crashed = rows.iter().find(|row| {
            row.state == DeliveryState::Parked && row.crashes >= 3 && !self.is_pill(row.seq)
        });
        crashed
            .map_or(Ok(()), |row| Err(format!("cause: {} is parked for a pill's crashes", row.id)))
    }

    /// Everything that a sender was told of has its rows, and strangers are kept.
    pub(super) fn look_at_promises(&self) -> Result<(), String> {
        for (index, sent) in self.sent.iter().enumerate() {
            let Some(id) = sent.told else { continue };
            let story = self.bench.runtime.block_on(self.ledgers[0].story(id));
            let story = story.map_err(|error| error.to_string())?;
            let deliveries = story.map_or(0, |story| story.deliveries.len());
            let owed = self.routes().takers(sent.kind).len();
            if deliveries != owed {
                return Err(format!("lost: message {index} has {deliveries} of {owed} deliveries"));
            }
        }
        let ages = self.bench.runtime.block_on(self.ledgers[0].ages());
        let strays = ages.map_err(|error| error.to_string())?.strays;
        let foreign = self.foreign_at_large();
        if strays < i64::try_from(self.foreign).unwrap_or(0) - foreign {
            return Err(format!("stray: {strays} are kept of {} strangers", self.foreign));
        }
        Ok(())
    }

    /// Strangers that went with a lost queue.
    fn foreign_at_large(&self) -> i64 {
        let state = self.broker.state();
        let lost = state.gone.iter().filter(|copy| self.strangers.contains(copy)).count();
        i64::try_from(lost).unwrap_or(0)
    }
}

fn envelope(
    id: MessageId,
    kind: &str,
    pill: bool,
    now: snodo_core::timestamp::Timestamp,
) -> Envelope {
    Envelope {
        id,
        source: "/sim".to_owned(),
        kind: kind.to_owned(),
        subject: pill.then(|| "pill".to_owned()),
        time: now,
        correlation: None,
        causation: None,
        traceparent: None,
        party: Some("p".to_owned()),
        purpose: None,
        case: None,
        actor: None,
        actor_location: None,
        actor_loa: None,
        data_ref: None,
    }
}

pub(super) fn short(id: DeliveryId) -> String {
    id.to_string()[30..].to_owned()
}

fn name_of(action: &Action) -> String {
    let text = format!("{action:?}");
    let name: String = text.chars().take_while(char::is_ascii_alphanumeric).collect();
    match action {
        Action::Mark { seq, round, .. }
        | Action::HandOver { seq, round, .. }
        | Action::Claim { seq, round, .. }
        | Action::Settle { seq, round, .. }
        | Action::FastVerdict { seq, round, .. }
        | Action::HandBack { seq, round, .. }
        | Action::Reconcile { seq, round } => format!("{name}({seq}/{round})"),
        Action::Intent { seq, fence, .. }
        | Action::LedgerStep { seq, fence, .. }
        | Action::Done { seq, fence, .. }
        | Action::GiveBack { seq, fence }
        | Action::OwnEnd { seq, fence, .. }
        | Action::Verdict { seq, fence, .. } => format!("{name}({seq}, fence {})", fence.serial),
        _ => name,
    }
}

fn said_of(outcome: &Done) -> String {
    let text = format!("{outcome:?}");
    text.chars().take_while(|char| *char != ' ' && *char != '(').collect()
}
