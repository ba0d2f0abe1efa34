//! A group of actions in one transaction: guards, then what follows from those that held, then the books.
//!
//! Invariant: totals, events and emitted rows come from what the guards RETURNed, never from what was
//! asked; the whole group is three or four trips to the database, whatever its size.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use serde_json::Map;
use snodo_core::{
    document::DocumentKey,
    envelope::Message,
    ids::{DeliveryId, Digest, Fence, IncarnationId, MessageId},
    message_state::DeliveryState,
    register::LedgerEffect,
    timestamp::Timestamp,
};

use super::{
    Accept, Action, Claimed, Created, IntentFate, NewDelivery, OpenIntent, Outcome, Outdated,
    StepDone,
    database::{GroupError, Tx},
    documents,
    facts::{self, Asker},
    forget::forget,
    guards::{self, Name, Target, fenced},
    order::{self, Numbers},
    registers::{self, Applied, Place, Registers},
    statement::{
        Cell, Columns, Found, Kind::Blob, Kind::Int, Kind::MaybeInt, Kind::Text, Ran, Rows,
        Statement,
    },
};
use crate::faults::off;

/// An event that the group's commit will write.
#[derive(Clone, Debug)]
pub(super) struct NewEvent {
    pub(super) kind: &'static str,
    pub(super) subject: String,
    /// None for the bus itself.
    pub(super) actor: Option<String>,
    pub(super) reason: Cow<'static, str>,
    pub(super) digest: Digest,
}

/// What a group adds to the totals and the evidence.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// By subscriber and bucket.
    pub(super) deliveries: BTreeMap<(Arc<str>, u8), i64>,
    /// By source and word.
    pub(super) messages: BTreeMap<(Arc<str>, &'static str), i64>,
    /// In the order of the group.
    pub(super) events: Vec<NewEvent>,
}

impl Books {
    fn add(&mut self, subscriber: &Arc<str>, state: DeliveryState, n: i64) {
        *self.deliveries.entry((subscriber.clone(), state.bucket() as u8)).or_default() += n;
    }

    pub(super) fn moved(&mut self, subscriber: &Arc<str>, from: DeliveryState, to: DeliveryState) {
        if from.bucket() != to.bucket() {
            self.add(subscriber, from, -1);
            self.add(subscriber, to, 1);
        }
    }

    fn count(&mut self, source: &Arc<str>, words: &[&'static str]) {
        for word in words {
            *self.messages.entry((source.clone(), word)).or_default() += 1;
        }
    }

    /// A delivery has ended; by whose word, where it was a party's.
    fn ended(&mut self, hit: &Hit, state: DeliveryState, by: Option<String>) {
        self.events.push(NewEvent {
            kind: "final",
            subject: hit.id.to_string(),
            actor: by,
            reason: state.bucket().word().into(),
            digest: hit.route_digest,
        });
    }
}

/// A row that a guard matched.
#[derive(Clone, Debug)]
struct Hit {
    seq: i64,
    id: DeliveryId,
    subscriber: Arc<str>,
    route_digest: Digest,
}

/// A claim that held.
struct Loading {
    /// The action.
    of: usize,
    claimed: Claimed,
    /// Whether there are steps or intents to be loaded.
    more: bool,
}

/// A message to be written, with its deliveries.
pub(super) struct NewMessage<'a> {
    /// The action that brings it.
    of: usize,
    pub(super) message: &'a Message,
    pub(super) deliveries: &'a [NewDelivery],
    pub(super) documents: &'a [DocumentKey],
    /// What it makes out of date.
    outdates: Option<&'a Outdated>,
    pub(super) cause: Option<i64>,
}

/// A delivery to be written, and the action that brings it.
struct Owner {
    id: DeliveryId,
    of: usize,
    subscriber: Arc<str>,
}

/// What the results of a statement of the first trip are for.
enum Job {
    Accepts,
    Guard(Name),
    Due(usize),
    Expire(usize),
    OwnEnd(usize),
    Dead(usize),
    Silent,
}

/// The work on one group.
pub(super) struct Group<'a> {
    actions: &'a [Action],
    now: Timestamp,
    me: Option<IncarnationId>,
    /// Which rows matched is asked for; else only how many, and anything but all is an error.
    exact: bool,
    outcomes: Vec<Option<Outcome>>,
    hits: Vec<Option<Hit>>,
    by_name: BTreeMap<Name, Vec<(usize, Target)>>,
    names: HashSet<Arc<str>>,
    created: BTreeMap<usize, Vec<Created>>,
    claimed: BTreeMap<i64, Loading>,
    results: BTreeMap<usize, serde_json::Value>,
    pub(super) books: Books,
    /// Numbers that were drawn in a transaction of their own: a mutant.
    pub(super) drawn_apart: Option<Registers>,
}

const MESSAGE: Columns = &[
    ("k_id", Blob),
    ("k_party", Text),
    ("k_source", Text),
    ("k_sender_id", Text),
    ("k_digest", Blob),
    ("k_cause", MaybeInt),
    ("k_attributes", Text),
];
const BODY: Columns = &[("k_id", Blob), ("k_data", Blob)];
const DELIVERY: Columns = &[
    ("k_id", Blob),
    ("k_message", Blob),
    ("k_subscriber", Text),
    ("k_digest", Blob),
    ("k_publisher", MaybeInt),
];
/// The same with what a delivery of an order has beside it.
const ORDERED: Columns = &[
    ("k_id", Blob),
    ("k_message", Blob),
    ("k_subscriber", Text),
    ("k_digest", Blob),
    ("k_publisher", MaybeInt),
    ("k_key", Blob),
    ("k_no", MaybeInt),
    ("k_below", MaybeInt),
];
const CURSOR: Columns = &[("k_instance", Text), ("k_part", Text), ("k_value", Text)];
const STRAY: Columns = &[("k_id", Blob), ("k_queue", Text), ("k_headers", Text), ("k_body", Blob)];
const INTENT: Columns = &[
    ("k_seq", Int),
    ("k_step", Text),
    ("k_incarnation", Int),
    ("k_serial", Int),
    ("k_deadline", Int),
    ("k_settles", Int),
];
const STEP_DONE: Columns = &[
    ("k_seq", Int),
    ("k_step", Text),
    ("k_operation", Text),
    ("k_result", Text),
    ("k_digest", Blob),
    ("k_reference", Text),
    ("k_request", Blob),
    ("k_answer", Blob),
];
const SEQ_STEP: Columns = &[("k_seq", Int), ("k_step", Text)];
const SEQ: Columns = &[("k_seq", Int)];
const SEQ_LAST: Columns = &[("k_seq", Int), ("k_last", Int)];
const STOP: Columns =
    &[("k_seq", Int), ("k_step", Text), ("k_incarnation", Int), ("k_serial", Int)];
const KEY: Columns = &[("k_party", Text), ("k_source", Text), ("k_sender_id", Text)];

/// Stops intents: those of a step, or all of a delivery, that carry the fence.
fn stop_sql() -> &'static str {
    if off("give-back-stops-all") {
        "UPDATE intent SET stopped_at = {0} FROM {rows} WHERE delivery = k_seq \
         AND stopped_at IS NULL RETURNING delivery, step"
    } else {
        "UPDATE intent SET stopped_at = {0} FROM {rows} WHERE delivery = k_seq \
         AND (k_step IS NULL OR step = k_step) AND incarnation = k_incarnation \
         AND serial = k_serial AND stopped_at IS NULL RETURNING delivery, step"
    }
}

impl<'a> Group<'a> {
    pub(super) fn new(
        actions: &'a [Action],
        now: Timestamp,
        me: Option<IncarnationId>,
        exact: bool,
    ) -> Self {
        let mut by_name: BTreeMap<Name, Vec<(usize, Target)>> = BTreeMap::new();
        let mut outcomes = vec![None; actions.len()];
        let mut seen = HashSet::new();
        for (index, action) in actions.iter().enumerate() {
            let Some((name, target)) = guards::guarded(action) else { continue };
            if seen.insert((name, target)) {
                by_name.entry(name).or_default().push((index, target));
            } else {
                outcomes[index] = Some(Outcome::Missed);
            }
        }
        Self {
            actions,
            now,
            me,
            exact,
            outcomes,
            hits: vec![None; actions.len()],
            by_name,
            names: HashSet::new(),
            created: BTreeMap::new(),
            claimed: BTreeMap::new(),
            results: BTreeMap::new(),
            books: Books::default(),
            drawn_apart: None,
        }
    }

    /// Runs everything but the books.
    pub(super) async fn run(&mut self, tx: &mut Tx) -> Result<(), GroupError> {
        self.guard(tx).await?;
        self.answer_the_missed(tx).await?;
        self.ledger_steps(tx).await?;
        self.questions(tx).await?;
        self.follow(tx).await?;
        self.forget(tx).await
    }

    /// One outcome per action.
    pub(super) fn outcomes(mut self) -> Vec<Outcome> {
        for claim in std::mem::take(&mut self.claimed).into_values() {
            self.outcomes[claim.of] = Some(Outcome::Claimed(Box::new(claim.claimed)));
        }
        for index in 0..self.actions.len() {
            if self.outcomes[index].is_none() {
                self.outcomes[index] = Some(self.outcome(index));
            }
        }
        self.outcomes.into_iter().flatten().collect()
    }

    fn outcome(&mut self, index: usize) -> Outcome {
        let hit = self.hits[index].is_some();
        let created = self.created.remove(&index).unwrap_or_default();
        match &self.actions[index] {
            Action::Accept(_) => Outcome::Accepted { created },
            Action::Settle { .. } if hit => Outcome::Settled { created },
            Action::Done { done, .. } if hit => {
                Outcome::Done { result: done.result.clone(), created }
            }
            Action::LedgerStep { .. } if hit => {
                Outcome::Done { result: self.results.remove(&index).unwrap_or_default(), created }
            }
            Action::Reject { .. } | Action::Stray(_) => Outcome::Matched,
            Action::DrainPoison { .. } if off("poison-without-row") => Outcome::Matched,
            _ if hit => Outcome::Matched,
            _ => Outcome::Missed,
        }
    }

    // --- the first trip: guards, and what needs none -------------------------------------------

    async fn guard(&mut self, tx: &mut Tx) -> Result<(), GroupError> {
        let mut jobs = Vec::new();
        let mut statements = Vec::new();
        self.unguarded(&mut |job, statement| {
            jobs.push(job);
            statements.push(statement);
        });
        for (name, items) in &self.by_name {
            let actions = items.iter().map(|(index, _)| &self.actions[*index]);
            jobs.push(Job::Guard(*name));
            statements.push(guards::statement(*name, actions, self.now, self.returns(*name)));
        }
        self.sweeps(tx, &mut |job, statement| {
            jobs.push(job);
            statements.push(statement);
        });
        let found = tx.ran(&statements).await?;
        for (job, ran) in jobs.into_iter().zip(found) {
            self.digest(&job, &ran)?;
        }
        Ok(())
    }

    /// Whether the guard of a name must say which rows matched.
    fn returns(&self, name: Name) -> bool {
        self.exact || !guards::says_all(name)
    }

    /// Accepts, rejects, strays, cursors.
    fn unguarded(&mut self, job: &mut dyn FnMut(Job, Statement<'a>)) {
        let (mut accepts, mut cursors, mut strays) =
            (Rows::new(MESSAGE), Rows::new(CURSOR), Rows::new(STRAY));
        for action in self.actions {
            match action {
                Action::Accept(accept) => {
                    accepts.push(accepted_row(accept));
                    if let Some(cursor) = &accept.cursor {
                        cursors.push([
                            cursor.instance.as_str().into(),
                            cursor.partition.as_str().into(),
                            cursor.value.as_str().into(),
                        ]);
                    }
                }
                Action::Reject { source, key, digest, code } => {
                    self.books.count(source, &["received", "rejected"]);
                    self.books.events.push(NewEvent {
                        kind: "reject",
                        subject: format!("{}/{}/{}", key.party, key.source, key.sender_id),
                        actor: None,
                        reason: code.clone().into(),
                        digest: *digest,
                    });
                }
                Action::Stray(stray) => strays.push([
                    stray.id.as_ref().map(|id| &id.0.as_bytes()[..]).into(),
                    stray.queue.as_str().into(),
                    stray.headers.to_string().into(),
                    (&*stray.body).into(),
                ]),
                _ => {}
            }
        }
        if !accepts.is_empty() {
            job(Job::Accepts, insert_messages(accepts, self.now, self.exact));
        }
        if !cursors.is_empty() {
            job(Job::Silent, put_cursors(&cursors));
        }
        if !strays.is_empty() {
            job(Job::Silent, put_strays(strays, self.now));
        }
    }

    /// Sweeps over many rows, and acts that concern no delivery.
    fn sweeps(&self, tx: &Tx, job: &mut dyn FnMut(Job, Statement<'a>)) {
        for (index, action) in self.actions.iter().enumerate() {
            match action {
                Action::Due { limit } => job(Job::Due(index), due(self.now, *limit)),
                Action::Expire { by, limit } if matches!(tx, Tx::Postgres(_)) => {
                    job(Job::Expire(index), expire(self.now, *limit, *by));
                }
                Action::OwnEnd { seq, step, fence } => {
                    let mut rows = Rows::new(STOP);
                    rows.push(stop_row(*seq, Some(step), *fence));
                    let stop = Statement::over(stop_sql(), vec![self.now.0.into()], rows);
                    job(Job::OwnEnd(index), stop);
                }
                Action::DeclareDead { incarnation, by } => {
                    let [end, stop] = declare_dead(*incarnation, by, self.now);
                    job(Job::Dead(index), end);
                    job(Job::Silent, stop);
                }
                _ => {}
            }
        }
    }

    fn digest(&mut self, job: &Job, ran: &Ran) -> Result<(), GroupError> {
        let rows = &*ran.rows;
        match job {
            Job::Accepts if self.exact => self.accepted(rows),
            Job::Accepts => self.all_accepted(ran.changed),
            Job::Guard(name) if self.returns(*name) => self.guarded(*name, rows),
            Job::Guard(name) => self.all_matched(*name, ran.changed),
            Job::Due(index) => {
                self.outcomes[*index] = Some(Outcome::Moved(rows.len() as u64));
                Ok(())
            }
            Job::Expire(index) => {
                self.outcomes[*index] = Some(Outcome::Moved(rows.len() as u64));
                count_parked(&mut self.books, rows)
            }
            Job::OwnEnd(index) => {
                let outcome = if rows.is_empty() { Outcome::Missed } else { Outcome::Matched };
                self.outcomes[*index] = Some(outcome);
                Ok(())
            }
            Job::Dead(index) => {
                self.declared_dead(*index, !rows.is_empty());
                Ok(())
            }
            Job::Silent => Ok(()),
        }
    }

    fn accepted(&mut self, rows: &[Found]) -> Result<(), GroupError> {
        let mut new: HashSet<uuid::Uuid> =
            rows.iter().map(|row| row.uuid(0)).collect::<Result<_, _>>()?;
        for (index, accept) in accepts(self.actions) {
            // Taken out: a second accept of the same message in this group is a repeat.
            if new.remove(&accept.message.envelope.id.0) {
                self.is_new(index, accept);
            } else {
                self.books.count(&accept.source, &["repeated"]);
            }
        }
        Ok(())
    }

    /// Every accept is new, or nobody knows which are.
    fn all_accepted(&mut self, changed: u64) -> Result<(), GroupError> {
        if changed != accepts(self.actions).count() as u64 {
            return Err(GroupError::NotAsAsked);
        }
        for (index, accept) in accepts(self.actions) {
            self.is_new(index, accept);
        }
        Ok(())
    }

    fn is_new(&mut self, index: usize, accept: &Accept) {
        self.created.insert(index, Vec::new());
        self.books.count(&accept.source, &["received", "accepted"]);
        self.books.events.push(NewEvent {
            kind: "accept",
            subject: accept.message.envelope.id.to_string(),
            actor: None,
            reason: "".into(),
            digest: accept.digest,
        });
    }

    /// Every row matched, or nobody knows which did. What a row holds is then what its action says.
    fn all_matched(&mut self, name: Name, changed: u64) -> Result<(), GroupError> {
        let items = self.by_name.get(&name).cloned().unwrap_or_default();
        if changed != items.len() as u64 {
            return Err(GroupError::NotAsAsked);
        }
        for (index, _) in items {
            let Some(hit) = hit_as_asked(&self.actions[index]) else { continue };
            self.moved(name, &self.actions[index], &hit);
            self.hits[index] = Some(hit);
        }
        Ok(())
    }

    fn guarded(&mut self, name: Name, rows: &[Found]) -> Result<(), GroupError> {
        let items = self.by_name.get(&name).map(Vec::as_slice).unwrap_or_default();
        let index_of: HashMap<Target, usize> =
            items.iter().map(|(index, target)| (*target, *index)).collect();
        for row in rows {
            let (seq, id) = (row.int(0)?, DeliveryId(row.uuid(1)?));
            let by_seq = index_of.get(&Target::Seq(seq));
            let Some(index) = by_seq.or_else(|| index_of.get(&Target::Id(id))).copied() else {
                continue;
            };
            if name == Name::Claim && row.int(9)? == DeliveryState::Behind as i64 {
                self.outcomes[index] = Some(Outcome::Behind);
                continue;
            }
            let subscriber = self.name(row.text(2)?);
            let hit = Hit { seq, id, subscriber, route_digest: row.digest(3)? };
            if name == Name::Claim {
                self.claimed.insert(seq, loading(index, &hit, row)?);
            }
            self.moved(name, &self.actions[index], &hit);
            self.hits[index] = Some(hit);
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.names.get(name) {
            return name.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    fn moved(&mut self, name: Name, action: &Action, hit: &Hit) {
        let to = guards::to_state(action);
        self.books.moved(&hit.subscriber, guards::from_state(name), to);
        if let Some((kind, by, what)) = deed(action) {
            self.books.events.push(NewEvent {
                kind,
                subject: hit.id.to_string(),
                actor: Some(by.actor.clone()),
                reason: format!("{what}{}", by.reason).into(),
                digest: hit.route_digest,
            });
        }
        if to.bucket().is_final() {
            let collected = matches!(action, Action::Collect { .. });
            self.books.ended(hit, to, collected.then(|| hit.subscriber.to_string()));
        }
    }

    fn declared_dead(&mut self, index: usize, ended: bool) {
        let Action::DeclareDead { incarnation, by } = &self.actions[index] else { return };
        self.outcomes[index] = Some(if ended { Outcome::Matched } else { Outcome::Missed });
        if ended {
            self.books.events.push(NewEvent {
                kind: "declare_dead",
                subject: incarnation.0.to_string(),
                actor: Some(by.actor.clone()),
                reason: by.reason.clone().into(),
                digest: super::chain::EMPTY,
            });
        }
    }

    // --- the second trip, mostly left out: why something did not match ---------------------------

    async fn answer_the_missed(&mut self, tx: &mut Tx) -> Result<(), GroupError> {
        for index in 0..self.actions.len() {
            if self.outcomes[index].is_some() || self.hits[index].is_some() {
                continue;
            }
            let outcome = match &self.actions[index] {
                Action::Accept(accept) if !self.created.contains_key(&index) => {
                    repeated(tx, accept).await?
                }
                Action::DrainUnrouted { id, seq, .. } | Action::DrainPoison { id, seq, .. } => {
                    unknown(tx, *id, *seq).await?
                }
                Action::ResolveNotDone { id, step, .. } => too_early(tx, *id, step).await?,
                Action::Expire { .. } => Some(Outcome::Moved(0)),
                _ => None,
            };
            self.outcomes[index] = outcome;
        }
        Ok(())
    }

    /// Turns of retention, after everything else of the group.
    async fn forget(&mut self, tx: &mut Tx) -> Result<(), GroupError> {
        for (index, action) in self.actions.iter().enumerate() {
            if let Action::Forget(turn) = action {
                let forgotten = forget(tx, turn, self.now).await?;
                self.outcomes[index] = Some(Outcome::Forgotten(forgotten));
            }
        }
        Ok(())
    }

    // --- the ledger's own steps -----------------------------------------------------------------

    async fn ledger_steps(&mut self, tx: &mut Tx) -> Result<(), GroupError> {
        let items = self.by_name.get(&Name::LedgerStep).cloned().unwrap_or_default();
        let matched: Vec<usize> = items
            .iter()
            .map(|(index, _)| *index)
            .filter(|index| self.hits[*index].is_some())
            .collect();
        if matched.is_empty() {
            return Ok(());
        }
        let mut drawn = if let Some(drawn) = self.drawn_apart.take() {
            drawn
        } else {
            let wanted = wanted(matched.iter().map(|index| &self.actions[*index]));
            if wanted.is_empty() {
                Registers::new()
            } else {
                registers::draw(tx, &wanted, self.now).await?
            }
        };
        for index in matched {
            self.ledger_step(tx, index, &mut drawn).await?;
        }
        Ok(())
    }

    async fn ledger_step(
        &mut self,
        tx: &mut Tx,
        index: usize,
        drawn: &mut Registers,
    ) -> Result<(), GroupError> {
        let Action::LedgerStep { seq, step, effect, last, .. } = &self.actions[index] else {
            return Ok(());
        };
        let place = Place { delivery: *seq, step, now: self.now };
        match registers::apply(tx, effect, &place, drawn).await? {
            Applied::Refused(reason) => {
                self.hits[index] = None;
                self.outcomes[index] = Some(Outcome::Refused { reason: reason.to_owned() });
            }
            Applied::Result(result) => {
                self.results.insert(index, result);
                if let (true, Some(hit)) = (*last, &self.hits[index]) {
                    self.books.moved(
                        &hit.subscriber,
                        DeliveryState::Claimed,
                        DeliveryState::Completed,
                    );
                    self.books.ended(hit, DeliveryState::Completed, None);
                }
            }
        }
        Ok(())
    }

    /// Questions, one after the other: two of a group may be the same.
    async fn questions(&mut self, tx: &mut Tx) -> Result<(), GroupError> {
        for (index, action) in self.actions.iter().enumerate() {
            if let (Action::Ask { seq, fence, question }, Some(_)) = (action, &self.hits[index]) {
                let asker = Asker { seq: *seq, fence: *fence, now: self.now };
                self.outcomes[index] = Some(facts::put(tx, question, asker).await?);
            }
        }
        Ok(())
    }

    // --- the third trip: what follows from the guards that held ---------------------------------

    async fn follow(&mut self, tx: &mut Tx) -> Result<(), GroupError> {
        let mut statements = self.steps();
        statements.extend(self.facts());
        let messages = self.new_messages();
        let outdated = messages.iter().filter_map(|new| new.outdates);
        statements.extend(facts::outdate(outdated, self.now));
        let mut numbers = order::draw(tx, &messages, self.now).await?;
        let owners = self.write_messages(&messages, &mut numbers, &mut statements);
        let deliveries = statements.len();
        let claims = self.load_claims(&mut statements);
        let mut ran = tx.ran(&statements).await?;
        if claims {
            self.claims_loaded(&ran.split_off(deliveries))?;
        }
        match ran.last() {
            Some(ran) if !owners.is_empty() => self.deliveries_created(&owners, ran),
            _ => Ok(()),
        }
    }

    /// What steps write of facts.
    fn facts(&self) -> Vec<Statement<'a>> {
        let mut statements = Vec::new();
        for (action, hit) in self.actions.iter().zip(&self.hits) {
            if let (
                Action::Done { fact: Some(fact), .. } | Action::Answer { fact, .. },
                Some(hit),
            ) = (action, hit)
            {
                statements.extend(facts::statements(hit.seq, fact, self.now));
            }
        }
        statements
    }

    /// Intents and steps.
    fn steps(&self) -> Vec<Statement<'a>> {
        let (mut intents, mut done) = (Rows::new(INTENT), Rows::new(STEP_DONE));
        let (mut gone, mut stopped) = (Rows::new(SEQ_STEP), Rows::new(STOP));
        let mut ledger_steps = Rows::new(SEQ_LAST);
        for (index, action) in self.actions.iter().enumerate() {
            let Some(hit) = &self.hits[index] else { continue };
            let seq = hit.seq;
            match action {
                Action::Intent { fence, step, deadline, settles_within, .. } => {
                    let [incarnation, serial] = fenced(*fence);
                    let settles = i64::try_from(settles_within.as_millis()).unwrap_or(i64::MAX / 2);
                    let deadline = deadline.0.into();
                    let step = step.as_str().into();
                    intents.push([seq.into(), step, incarnation, serial, deadline, settles.into()]);
                }
                Action::Done { done: step, .. } | Action::ResolveDone { done: step, .. } => {
                    done.push(done_row(seq, step));
                    gone.push([seq.into(), step.step.as_str().into()]);
                }
                Action::LedgerStep { step, operation, route_digest, last, .. } => {
                    let result = self.results.get(&index);
                    // The register's number is how people and late receipts ask for the step.
                    let number = result.and_then(|result| result["number"].as_str());
                    let reference = number.map(str::to_owned);
                    let result = result.map(ToString::to_string);
                    done.push([
                        seq.into(),
                        step.as_str().into(),
                        operation.as_str().into(),
                        result.into(),
                        (&route_digest.0).into(),
                        reference.into(),
                        Cell::Null,
                        Cell::Null,
                    ]);
                    ledger_steps.push([seq.into(), (*last).into()]);
                }
                Action::Verdict { step: Some(step), intent: IntentFate::Gone, .. }
                | Action::ResolveNotDone { step, .. } => {
                    gone.push([seq.into(), step.as_str().into()]);
                }
                Action::Verdict {
                    step: Some(step), intent: IntentFate::Stopped, fence, ..
                } => {
                    stopped.push(stop_row(seq, Some(step), *fence));
                }
                Action::GiveBack { fence, .. } => stopped.push(stop_row(seq, None, *fence)),
                _ => {}
            }
        }
        let now = self.now;
        [
            (intents, put_intents as fn(Rows<'a>, Timestamp) -> Statement<'a>),
            (done, put_steps),
            (ledger_steps, complete_ledger_steps),
            (gone, delete_intents),
            (stopped, stop_intents),
        ]
        .into_iter()
        .filter(|(rows, _)| !rows.is_empty())
        .map(|(rows, statement)| statement(rows, now))
        .collect()
    }

    /// Messages of accepts that are new, and of settles and steps that matched.
    fn new_messages(&self) -> Vec<NewMessage<'a>> {
        let mut all = Vec::new();
        for (of, action) in self.actions.iter().enumerate() {
            let cause = self.hits[of].as_ref().map(|hit| hit.seq);
            match action {
                Action::Accept(accept) if self.created.contains_key(&of) => all.push(NewMessage {
                    of,
                    message: &accept.message,
                    deliveries: &accept.deliveries,
                    documents: &accept.documents,
                    outdates: accept.outdates.as_deref(),
                    cause: None,
                }),
                Action::Settle { emits, seq, .. } | Action::Done { emits, seq, .. } => {
                    let cause = cause.or_else(|| off("emit-unconditional").then_some(*seq));
                    let Some(cause) = cause else { continue };
                    all.extend(emits.iter().map(|emission| NewMessage {
                        of,
                        message: &emission.message,
                        deliveries: &emission.deliveries,
                        documents: &emission.documents,
                        outdates: emission.outdates.as_deref(),
                        cause: Some(cause),
                    }));
                }
                _ => {}
            }
        }
        all
    }

    /// Writes messages, bodies and deliveries; the deliveries with the last statement. Who owns which.
    fn write_messages(
        &self,
        messages: &[NewMessage<'a>],
        numbers: &mut Numbers<'a>,
        statements: &mut Vec<Statement<'a>>,
    ) -> Vec<Owner> {
        let (mut emitted, mut bodies) = (Rows::new(MESSAGE), Rows::new(BODY));
        let mut deliveries = Rows::new(if numbers.is_empty() { DELIVERY } else { ORDERED });
        let mut owners = Vec::new();
        for new in messages {
            let id = new.message.envelope.id.0.as_bytes();
            if let Some(cause) = new.cause {
                emitted.push(emitted_row(new.message, cause));
            }
            bodies.push([id.into(), (&*new.message.data).into()]);
            for delivery in new.deliveries {
                let publisher = self.me.filter(|_| delivery.held).map(|me| me.0);
                let row = [
                    delivery.id.0.as_bytes().into(),
                    id.into(),
                    (&*delivery.subscriber).into(),
                    (&delivery.route_digest.0).into(),
                    publisher.into(),
                ];
                if numbers.is_empty() {
                    deliveries.push(row);
                } else {
                    deliveries.push_with(row, numbers.cells_of(delivery));
                }
                let subscriber = delivery.subscriber.clone();
                owners.push(Owner { id: delivery.id, of: new.of, subscriber });
            }
        }
        if !emitted.is_empty() {
            statements.push(insert_messages(emitted, self.now, false));
        }
        if !bodies.is_empty() {
            statements.push(put_bodies(bodies));
        }
        statements.extend(documents::pins(messages));
        if !deliveries.is_empty() {
            statements.push(insert_deliveries(deliveries, self.now, self.exact));
        }
        owners
    }

    /// The deliveries that are there now, by the rows that came out; or, where all were inserted, by
    /// their order: sequences of one INSERT follow each other in the order of its rows.
    fn deliveries_created(&mut self, owners: &[Owner], ran: &Ran) -> Result<(), GroupError> {
        if self.exact {
            let by_id: HashMap<DeliveryId, &Owner> =
                owners.iter().rev().map(|owner| (owner.id, owner)).collect();
            for row in &ran.rows {
                let id = DeliveryId(row.uuid(1)?);
                if let Some(owner) = by_id.get(&id) {
                    self.is_created(owner, row.int(0)?);
                }
            }
            return Ok(());
        }
        let many = i64::try_from(owners.len()).map_err(|_| GroupError::NotAsAsked)?;
        if ran.changed != owners.len() as u64 {
            return Err(GroupError::NotAsAsked);
        }
        for (seq, owner) in (ran.last - many + 1..).zip(owners) {
            self.is_created(owner, seq);
        }
        Ok(())
    }

    fn is_created(&mut self, owner: &Owner, seq: i64) {
        self.books.add(&owner.subscriber, DeliveryState::Queued, 1);
        self.created.entry(owner.of).or_default().push(Created { seq, id: owner.id });
    }

    /// Asks for the steps and intents of rows just claimed that have some.
    fn load_claims(&self, statements: &mut Vec<Statement<'a>>) -> bool {
        let mut rows = Rows::new(SEQ);
        for (seq, claim) in &self.claimed {
            if claim.more {
                rows.push([(*seq).into()]);
            }
        }
        if rows.is_empty() {
            return false;
        }
        statements.push(Statement::over(
            "SELECT delivery, step, result FROM step_done JOIN {rows} ON delivery = k_seq \
             ORDER BY seq",
            vec![],
            rows.clone(),
        ));
        statements.push(Statement::over(
            "SELECT delivery, step, incarnation, serial, stopped_at, settles_within FROM intent \
             JOIN {rows} ON delivery = k_seq",
            vec![],
            rows,
        ));
        true
    }

    fn claims_loaded(&mut self, ran: &[Ran]) -> Result<(), GroupError> {
        let [steps, intents] = ran else { return Ok(()) };
        for row in &steps.rows {
            if let Some(Loading { claimed, .. }) = self.claimed.get_mut(&row.int(0)?) {
                claimed.done.insert(row.text(1)?.to_owned(), row.json(2)?);
            }
        }
        for row in &intents.rows {
            if let Some(Loading { claimed, .. }) = self.claimed.get_mut(&row.int(0)?) {
                claimed.intents.push(open_intent(row, 1)?);
            }
        }
        Ok(())
    }
}

/// Rows that a sweep may have parked: (seq, id, subscriber, state).
pub(super) fn count_parked(books: &mut Books, rows: &[Found]) -> Result<(), GroupError> {
    for row in rows {
        let state = DeliveryState::from_number(row.int(3)?).unwrap_or(DeliveryState::Queued);
        books.moved(&row.text(2)?.into(), DeliveryState::Queued, state);
    }
    Ok(())
}

/// How many numbers a group asks of each register.
pub(super) fn wanted<'b>(actions: impl Iterator<Item = &'b Action>) -> BTreeMap<&'b str, i64> {
    let mut wanted = BTreeMap::new();
    for action in actions {
        if let Action::LedgerStep { effect: LedgerEffect::Register(registration), .. } = action {
            *wanted.entry(registration.aoo.as_str()).or_default() += 1;
        }
    }
    wanted
}

/// What a claimant learns from the row itself; its steps and intents are loaded where it has some.
fn loading(of: usize, hit: &Hit, row: &Found) -> sqlx::Result<Loading> {
    let claimed = Claimed {
        route_digest: hit.route_digest,
        done: Map::new(),
        attempts: row.count(4)?,
        crashes: row.count(5)?,
        give_up_at: row.maybe_time(6)?,
        turn: order::turn_of(row, 10)?,
        intents: Vec::new(),
    };
    Ok(Loading { of, claimed, more: row.int(7)? > 0 || row.int(8)? > 0 })
}

/// An intent from (step, incarnation, serial, stopped_at, settles_within), from column `at` on.
pub(super) fn open_intent(row: &Found, at: usize) -> sqlx::Result<OpenIntent> {
    Ok(OpenIntent {
        step: row.text(at)?.to_owned(),
        fence: Fence {
            incarnation: IncarnationId(row.int(at + 1)?),
            serial: row.int(at + 2)?.cast_unsigned(),
        },
        stopped_at: row.maybe_time(at + 3)?,
        settles_within: std::time::Duration::from_millis(
            u64::try_from(row.int(at + 4)?).unwrap_or(0),
        ),
    })
}

/// The event of a person's act on a delivery: kind, who and why, and what stands before the why.
fn deed(action: &Action) -> Option<(&'static str, &super::Deed, &'static str)> {
    match action {
        Action::Replay { by, .. } => Some(("replay", by, "")),
        Action::Discard { by, .. } => Some(("discard", by, "")),
        Action::ResolveDone { by, .. } => Some(("resolve", by, "done: ")),
        Action::ResolveNotDone { by, .. } => Some(("resolve", by, "not done: ")),
        _ => None,
    }
}

async fn repeated(tx: &mut Tx, accept: &Accept) -> Result<Option<Outcome>, GroupError> {
    let mut rows = Rows::new(KEY);
    let key = &accept.key;
    rows.push([
        key.party.as_str().into(),
        key.source.as_str().into(),
        key.sender_id.as_str().into(),
    ]);
    let found = tx
        .one(Statement::over(
            "SELECT id, digest FROM message JOIN {rows} ON party = k_party AND source = k_source \
             AND sender_id = k_sender_id WHERE sender_id IS NOT NULL",
            vec![],
            rows,
        ))
        .await?;
    let Some(row) = found.first() else { return Ok(Some(Outcome::Missed)) };
    Ok(Some(Outcome::Repeated { id: MessageId(row.uuid(0)?), digest: row.digest(1)? }))
}

async fn unknown(tx: &mut Tx, id: DeliveryId, seq: i64) -> Result<Option<Outcome>, GroupError> {
    let sql = "SELECT seq FROM delivery WHERE seq = {0} AND id = {1}";
    let found = tx.one(Statement::new(sql, vec![seq.into(), id.0.as_bytes().into()])).await?;
    Ok(found.is_empty().then_some(Outcome::Unknown))
}

async fn too_early(tx: &mut Tx, id: DeliveryId, step: &str) -> Result<Option<Outcome>, GroupError> {
    let sql = "SELECT stopped_at, settles_within FROM delivery JOIN intent \
        ON intent.delivery = delivery.seq WHERE delivery.id = {0} AND delivery.state = 6 \
        AND intent.step = {1}";
    let scalars = vec![id.0.as_bytes().into(), step.into()];
    let found = tx.one(Statement::new(sql, scalars)).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let settles = row.int(1)?;
    let at = row.maybe_int(0)?.map(|stopped| Timestamp(stopped.saturating_add(settles)));
    Ok(Some(Outcome::TooEarly { at }))
}

fn accepted_row(accept: &Accept) -> [Cell<'_>; 7] {
    [
        accept.message.envelope.id.0.as_bytes().into(),
        accept.key.party.as_str().into(),
        accept.key.source.as_str().into(),
        accept.key.sender_id.as_str().into(),
        (&accept.digest.0).into(),
        Cell::Null,
        attributes(&accept.message),
    ]
}

/// The envelope as JSON, mostly less than 1 KiB. Its fields are text: it always serialises.
fn attributes(message: &Message) -> Cell<'static> {
    let mut json = Vec::with_capacity(1024);
    let written = serde_json::to_writer(&mut json, &message.envelope);
    let text = written.ok().and_then(|()| String::from_utf8(json).ok());
    text.unwrap_or_default().into()
}

fn insert_messages(rows: Rows<'_>, now: Timestamp, returns: bool) -> Statement<'_> {
    let insert = "INSERT INTO message (id, party, source, sender_id, digest, cause, attributes, \
        accepted_at) SELECT k_id, k_party, k_source, k_sender_id, k_digest, k_cause, k_attributes, \
        {0} FROM {rows} WHERE true ON CONFLICT DO NOTHING";
    let returning = if returns { " RETURNING id" } else { "" };
    Statement::over(format!("{insert}{returning}"), vec![now.0.into()], rows)
}

fn accepts(actions: &[Action]) -> impl Iterator<Item = (usize, &Accept)> {
    actions.iter().enumerate().filter_map(|(index, action)| match action {
        Action::Accept(accept) => Some((index, &**accept)),
        _ => None,
    })
}

/// The row of an action whose guard compares all that it says.
fn hit_as_asked(action: &Action) -> Option<Hit> {
    match action {
        Action::Settle { seq, id, subscriber, route_digest, .. }
        | Action::HandOver { seq, id, subscriber, route_digest, .. } => Some(Hit {
            seq: *seq,
            id: *id,
            subscriber: subscriber.clone(),
            route_digest: *route_digest,
        }),
        _ => None,
    }
}

fn put_cursors<'b>(rows: &Rows<'b>) -> Statement<'b> {
    // The last of a group wins: a source hands over in its own order. PostgreSQL refuses to touch one
    // row twice in one INSERT, so the earlier ones are left out.
    let width = rows.columns.len();
    let mut last = Rows::new(rows.columns);
    let mut seen = HashSet::new();
    for row in rows.cells.rchunks_exact(width) {
        if seen.insert(format!("{:?}", &row[..2])) {
            last.cells.extend_from_slice(row);
        }
    }
    Statement::over(
        "INSERT INTO source_cursor (instance, part, value) SELECT k_instance, k_part, k_value \
         FROM {rows} WHERE true ON CONFLICT (instance, part) DO UPDATE SET value = excluded.value",
        vec![],
        last,
    )
}

fn put_strays(rows: Rows<'_>, now: Timestamp) -> Statement<'_> {
    Statement::over(
        "INSERT INTO stray (id, queue, headers, body, seen_at) \
         SELECT k_id, k_queue, k_headers, k_body, {0} FROM {rows}",
        vec![now.0.into()],
        rows,
    )
}

fn due<'b>(now: Timestamp, limit: u32) -> Statement<'b> {
    let sql = format!(
        "UPDATE delivery SET {} WHERE seq IN (SELECT seq FROM delivery AS d WHERE state = 3 \
         AND next_at <= {{0}} AND NOT EXISTS (SELECT 1 FROM intent WHERE intent.delivery = d.seq \
         AND (stopped_at IS NULL OR stopped_at + settles_within > {{0}})) \
         ORDER BY next_at LIMIT {{1}}{{skip locked}}) AND state = 3 RETURNING seq",
        guards::TO_QUEUED
    );
    Statement::new(sql, vec![now.0.into(), limit.into()])
}

fn expire<'b>(now: Timestamp, limit: u32, by: IncarnationId) -> Statement<'b> {
    let counted = u8::from(!off("expiry-counts-nothing"));
    let sql = format!(
        "UPDATE delivery SET {} WHERE seq IN (SELECT seq FROM delivery WHERE state = 2 \
         AND lease_until < {{0}} AND incarnation <> {{3}} LIMIT {{1}}{{skip locked}}) AND state = 2 \
         RETURNING seq, id, subscriber, state",
        crashed(counted, 2)
    );
    Statement::new(sql, vec![now.0.into(), limit.into(), crash_fault().into(), by.0.into()])
}

/// What a crash writes: queued again, or parked with the third; scalar `fault` says why.
pub(super) fn crashed(counted: u8, fault: usize) -> String {
    format!(
        "state = CASE WHEN crashes + {counted} >= 3 THEN 5 ELSE 0 END, \
         fault = CASE WHEN crashes + {counted} >= 3 THEN {{{fault}}} ELSE fault END, \
         round = round + 1, crashes = crashes + {counted}, incarnation = NULL, serial = NULL, \
         lease_until = NULL, publisher = NULL, next_at = NULL, changed_at = {{0}}"
    )
}

/// The fault of a delivery that was being worked on when its process ended, three times.
pub(super) fn crash_fault() -> String {
    let fault = snodo_core::fault::Fault::new(
        snodo_core::fault::FaultClass::Poison,
        "SN0703",
        "the process ended three times while it worked on this delivery",
    );
    serde_json::to_string(&fault).unwrap_or_default()
}

fn declare_dead(
    incarnation: IncarnationId,
    by: &super::Deed,
    now: Timestamp,
) -> [Statement<'_>; 2] {
    let end = Statement::new(
        "UPDATE incarnation SET ended_at = {0}, dead_actor = {2}, dead_reason = {3} \
         WHERE id = {1} AND ended_at IS NULL RETURNING id",
        vec![
            now.0.into(),
            incarnation.0.into(),
            by.actor.as_str().into(),
            by.reason.as_str().into(),
        ],
    );
    // Only where the statement before has just ended it, or an earlier one had: both are ends.
    let stop = Statement::new(
        "UPDATE intent SET stopped_at = {0} WHERE incarnation = {1} AND stopped_at IS NULL \
         AND EXISTS (SELECT 1 FROM incarnation WHERE id = {1} AND dead_actor IS NOT NULL)",
        vec![now.0.into(), incarnation.0.into()],
    );
    [end, stop]
}

fn stop_row(seq: i64, step: Option<&str>, fence: Fence) -> [Cell<'_>; 4] {
    let [incarnation, serial] = fenced(fence);
    [seq.into(), step.into(), incarnation, serial]
}

fn done_row(seq: i64, done: &StepDone) -> [Cell<'_>; 8] {
    [
        seq.into(),
        done.step.as_str().into(),
        done.operation.as_str().into(),
        done.result.to_string().into(),
        (&done.route_digest.0).into(),
        done.reference.as_deref().into(),
        done.evidence.as_ref().map(|evidence| &evidence.request.0).into(),
        done.evidence.as_ref().map(|evidence| &evidence.answer.0).into(),
    ]
}

fn put_intents(rows: Rows<'_>, _: Timestamp) -> Statement<'_> {
    Statement::over(
        "INSERT INTO intent (delivery, step, incarnation, serial, deadline, settles_within) \
         SELECT k_seq, k_step, k_incarnation, k_serial, k_deadline, k_settles FROM {rows} \
         WHERE true ON CONFLICT (delivery, step) DO UPDATE SET incarnation = excluded.incarnation, \
         serial = excluded.serial, deadline = excluded.deadline, \
         settles_within = excluded.settles_within, stopped_at = NULL",
        vec![],
        rows,
    )
}

fn put_steps(rows: Rows<'_>, now: Timestamp) -> Statement<'_> {
    Statement::over(
        "INSERT INTO step_done (delivery, step, operation, result, route_digest, reference, \
         request_digest, answer_digest, done_at) SELECT k_seq, k_step, k_operation, k_result, \
         k_digest, k_reference, k_request, k_answer, {0} FROM {rows} WHERE true \
         ON CONFLICT (delivery, step) DO NOTHING",
        vec![now.0.into()],
        rows,
    )
}

fn complete_ledger_steps(rows: Rows<'_>, now: Timestamp) -> Statement<'_> {
    Statement::over(
        "UPDATE delivery SET steps = steps + 1, state = CASE WHEN k_last = 1 THEN 7 ELSE state END, \
         incarnation = CASE WHEN k_last = 1 THEN NULL ELSE incarnation END, \
         serial = CASE WHEN k_last = 1 THEN NULL ELSE serial END, \
         lease_until = CASE WHEN k_last = 1 THEN NULL ELSE lease_until END, \
         changed_at = CASE WHEN k_last = 1 THEN {0} ELSE changed_at END \
         FROM {rows} WHERE seq = k_seq",
        vec![now.0.into()],
        rows,
    )
}

fn delete_intents(rows: Rows<'_>, _: Timestamp) -> Statement<'_> {
    Statement::over(
        "DELETE FROM intent WHERE (delivery, step) IN (SELECT k_seq, k_step FROM {rows})",
        vec![],
        rows,
    )
}

fn stop_intents(rows: Rows<'_>, now: Timestamp) -> Statement<'_> {
    Statement::over(stop_sql(), vec![now.0.into()], rows)
}

fn emitted_row(message: &Message, cause: i64) -> [Cell<'_>; 7] {
    let (id, attributes) = (message.envelope.id.0.as_bytes(), attributes(message));
    let none = || Cell::Null;
    [id.into(), none(), none(), none(), none(), cause.into(), attributes]
}

fn put_bodies(rows: Rows<'_>) -> Statement<'_> {
    Statement::over(
        "INSERT INTO body (seq, data) SELECT (SELECT seq FROM message WHERE id = k_id), k_data \
         FROM {rows} WHERE true ON CONFLICT DO NOTHING",
        vec![],
        rows,
    )
}

/// The message's sequence is a subquery and no join, so that rows are inserted in their order.
fn insert_deliveries(rows: Rows<'_>, now: Timestamp, returns: bool) -> Statement<'_> {
    let ordered = rows.columns.len() > DELIVERY.len();
    let (into, from) = if ordered {
        (", order_key, order_no, held_below", ", k_key, k_no, k_below")
    } else {
        ("", "")
    };
    let returning = if returns { " RETURNING seq, id" } else { "" };
    let sql = format!(
        "INSERT INTO delivery (id, message, subscriber, route_digest, state, round, publisher, \
         created_at, changed_at{into}) SELECT k_id, \
         (SELECT seq FROM message WHERE message.id = k_message), k_subscriber, k_digest, 0, 1, \
         k_publisher, {{0}}, {{0}}{from} FROM {{rows}} WHERE true ON CONFLICT DO NOTHING{returning}"
    );
    Statement::over(sql, vec![now.0.into()], rows)
}
