//! The effect path: claim, then step by step, each done once.
//!
//! Invariant: every write names the fence of this claim; after a commit whose answer was lost nothing is
//! done before the row has been read and its fence compared. A call whose outcome would not be known
//! after a crash has a durable intent before it is begun.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use serde_json::{Map, Value};
use snodo_core::{
    adapter::{BoxFuture, Call, Port, Recalled, Receipt},
    fault::{Fault, FaultClass},
    ids::{Digest, Fence, StepKey},
    message_state::DeliveryState,
    retry::RetryPolicy,
    route::{Callee, Choose, Emit, Route, Step, Use, Verb},
    template::Scope,
    verdict::EffectKind,
};

use super::{
    Alive, Engine, LEASE,
    drain::is_of,
    fast::owes,
    fault::{During, Past, intent_fate, judge, panicked, unknown_version},
};
use crate::{
    broker::{Copy, Settlement},
    faults::{self, CrashPoint},
    ledger::{
        Action, Claimed, CommitError, FactRows, IntentFate, OpenIntent, Outcome, Return, Row,
        StepDone, Then,
    },
};

mod facts;

/// How often a guarded write is begun again after its answer was lost and the row says that it did
/// not happen. Then the task ends, and the sweeper gives its claim back.
const TRIES: u32 = 3;

/// Why a task ends before its last step.
enum Stop {
    /// What it had to write is written, or another has custody.
    Over(Settlement),
    /// A fault: it is decided and written down.
    Failed(Box<Failed>),
}

/// A fault, and what was under way.
struct Failed {
    fault: Fault,
    during: During,
}

type Flow<T> = Result<T, Stop>;

/// What is known after a guarded write.
enum Known {
    /// The ledger answered.
    Outcome(Outcome),
    /// The answer was lost; the row is still mine, and this is what it says.
    Mine(Box<Row>),
}

impl Engine {
    /// Carries a copy of [`Lane::Claim`](super::Lane::Claim), from its claim to its verdict.
    pub async fn carry(&self, copy: &Copy) -> Settlement {
        faults::crash(CrashPoint::Cp9);
        self.arrived(copy);
        let settlement = self.carry_by_hand(copy).await;
        self.left_broker(copy, settlement);
        settlement
    }

    /// The same for a copy that did not come by way of the broker.
    pub(super) async fn carry_by_hand(&self, copy: &Copy) -> Settlement {
        let redeemed = match self.redeem(copy).await {
            Ok(redeemed) => redeemed,
            Err(settlement) => return settlement,
        };
        let copy = redeemed.as_ref().map_or(copy, |redeemed| &redeemed.copy);
        let _leave = self.gate.enter(copy.alone).await;
        let alive = self.live.enter(self.incarnation());
        match self.claim(copy, alive).await {
            Ok(task) => {
                let turn = task.claimed.turn;
                let settlement = task.finish().await;
                if let Some(turn) = turn {
                    self.wake_behind(&self.route_name(copy), turn).await;
                }
                settlement
            }
            Err(settlement) => settlement,
        }
    }

    /// What `work` gives before its deadline.
    pub(super) async fn in_time<T: Send>(
        &self,
        limit: Duration,
        work: BoxFuture<'_, T>,
    ) -> Option<T> {
        let mut given = None;
        let work = async { given = Some(work.await) };
        self.deadlines.within(limit, Box::pin(work)).await;
        given
    }

    async fn claim<'a>(&'a self, copy: &'a Copy, alive: Alive) -> Result<Task<'a>, Settlement> {
        let fence = alive.fence;
        let lease_ends = self.clock.uptime() + LEASE;
        let lease_until = self.clock.now().after(LEASE);
        let Copy { seq, delivery: id, round, .. } = *copy;
        let claim = Action::Claim { seq, id, round, fence, lease_until };
        let claimed = match self.submit_one(claim).await {
            Ok(Outcome::Claimed(claimed)) => *claimed,
            Ok(Outcome::Behind) => return Err(Settlement::Ack),
            Ok(_) => return Err(self.missed(copy).await),
            Err(error) => self.claimed_after_all(copy, fence, &error).await?,
        };
        faults::crash(CrashPoint::Cp10);
        Ok(Task { engine: self, copy, alive, lease_ends, claimed, at: None })
    }

    /// The claim was not committed, or nobody knows: the fence in the row says whether it is mine.
    async fn claimed_after_all(
        &self,
        copy: &Copy,
        fence: Fence,
        error: &CommitError,
    ) -> Result<Claimed, Settlement> {
        let unclear = matches!(error, CommitError::Unclear(_));
        self.observer.commit_failed("claim", unclear);
        if !unclear {
            return Err(Settlement::Return);
        }
        match self.ledger.row(copy.seq).await {
            Ok(Some(row)) if is_mine(&row, fence) => Ok(claimed_of(row)),
            Ok(Some(row)) if is_of(&row, copy) && !owes(&row, copy) => Err(Settlement::Ack),
            _ => Err(Settlement::Return),
        }
    }
}

fn is_mine(row: &Row, fence: Fence) -> bool {
    let token = row.fence == Some(fence)
        || (faults::off("claim-without-token")
            && row.fence.is_some_and(|found| found.incarnation == fence.incarnation));
    row.state == DeliveryState::Claimed && token
}

fn claimed_of(row: Row) -> Claimed {
    Claimed {
        route_digest: row.route_digest,
        done: row.done.into_iter().map(|(step, done)| (step, done.result)).collect(),
        attempts: row.attempts,
        crashes: row.crashes,
        give_up_at: row.give_up_at,
        turn: row.turn,
        intents: row.intents,
    }
}

/// One claimed delivery under way.
struct Task<'a> {
    engine: &'a Engine,
    copy: &'a Copy,
    alive: Alive,
    /// By uptime.
    lease_ends: Duration,
    claimed: Claimed,
    /// The step under way.
    at: Option<String>,
}

impl Task<'_> {
    /// Runs to a durable end, a panic included.
    async fn finish(mut self) -> Settlement {
        let route = self.engine.routes().version(&self.version()).cloned();
        let ran = match &route {
            Some(route) => {
                let run = AssertUnwindSafe(self.run(route)).catch_unwind().await;
                run.unwrap_or_else(|_| Err(failed(panicked(), During::Panic)))
            }
            None => Err(mapping(unknown_version())),
        };
        match ran {
            Ok(()) => Settlement::Ack,
            Err(Stop::Over(settlement)) => settlement,
            Err(Stop::Failed(failed)) => self.give_verdict(route.as_deref(), *failed).await,
        }
    }

    /// The version to which the row is pinned.
    fn version(&self) -> Digest {
        let now = || {
            let routes = self.engine.routes();
            let name = self.engine.route_name(self.copy);
            routes.get(&name).map_or(self.claimed.route_digest, |route| route.digest)
        };
        if faults::off("version-at-delivery") { now() } else { self.claimed.route_digest }
    }

    async fn run(&mut self, route: &Arc<Route>) -> Flow<()> {
        faults::trip(&self.copy.message.data);
        let body = route.body(&self.copy.message.data).map_err(mapping)?;
        if self.claimed.turn.is_none() {
            // Without a place in the order of its route, for the fault that this gives.
            route.place(&self.copy.message).map_err(mapping)?;
        }
        if self.claimed.done.is_empty() && !self.applies(route, &body)? {
            return self.filter().await;
        }
        loop {
            let Some((step, mut last)) = next_step(route, &self.claimed.done) else {
                return Err(mapping(nothing_left()));
            };
            self.at = Some(step.id.clone());
            let result = match &step.verb {
                Verb::Use(used) => self.use_step(route, (step, used), &body, last).await?,
                Verb::Emit(emit) => self.emit_step(route, (step, emit), &body, last).await?,
                Verb::Ask(ask) => self.ask_step(route, (step, ask), &body).await?,
                Verb::Choose(choose) => {
                    self.choose_step(route, (step, choose), &body, &mut last).await?
                }
            };
            if let Some(result) = result {
                if last {
                    faults::crash(CrashPoint::Cp17);
                    self.engine.observer.ended(&route.name, false);
                    return Ok(());
                }
                self.claimed.done.insert(step.id.clone(), result);
            }
        }
    }

    fn applies(&self, route: &Route, body: &Value) -> Flow<bool> {
        let scope = Scope::new(body, &self.copy.message.envelope, &self.claimed.done);
        route.applies(&scope).map_err(mapping)
    }

    async fn filter(&mut self) -> Flow<()> {
        let (seq, fence) = (self.copy.seq, self.alive.fence);
        self.persist(|| Action::Filter { seq, fence }, |_| None::<()>).await?;
        self.engine.observer.ended(&self.engine.route_name(self.copy), true);
        Ok(())
    }

    /// Takes a branch, and has it written before anything of it begins: whoever comes next goes the
    /// same way. It is the `last` step only where the branch does nothing.
    async fn choose_step(
        &mut self,
        route: &Arc<Route>,
        (step, choose): (&Step, &Choose),
        body: &Value,
        last: &mut bool,
    ) -> Flow<Option<Value>> {
        let scope = Scope::new(body, &self.copy.message.envelope, &self.claimed.done);
        let branch = choose.choose(&scope).map_err(mapping)?;
        *last &= branch.steps.is_empty();
        let done = done(route, step, branch.operation(), branch.result());
        faults::crash(CrashPoint::Cp11);
        let written = self.write_done(done, Vec::new(), *last).await?;
        faults::crash(CrashPoint::Cp12);
        Ok(written.result())
    }

    async fn emit_step(
        &mut self,
        route: &Arc<Route>,
        (step, emit): (&Step, &Emit),
        body: &Value,
        last: bool,
    ) -> Flow<Option<Value>> {
        let routes = self.engine.routes();
        let message = &*self.copy.message;
        let scope = Scope::new(body, &message.envelope, &self.claimed.done);
        let named = (step.id.as_str(), emit);
        let prepared =
            self.engine.emissions(&routes, route, named, message, &scope).map_err(mapping)?;
        faults::crash(CrashPoint::Cp11);
        let done = done(route, step, format!("emit:{}", emit.kind), Value::Null);
        let emits = prepared.iter().map(|one| one.emission.clone()).collect::<Vec<_>>();
        let written = self.write_done(done, emits, last).await?;
        if let Written::Known(_, created) = &written {
            faults::crash(CrashPoint::Cp12);
            for one in prepared {
                self.engine.send(one, created);
            }
            self.engine.crash_once_published().await;
        }
        Ok(written.result())
    }

    async fn use_step(
        &mut self,
        route: &Arc<Route>,
        (step, used): (&Step, &Use),
        body: &Value,
        last: bool,
    ) -> Flow<Option<Value>> {
        let engine = self.engine;
        let port =
            engine.port(&used.instance).ok_or_else(|| mapping(no_instance(used.callee())))?;
        let input = {
            let scope = Scope::new(body, &self.copy.message.envelope, &self.claimed.done);
            used.input(&scope).map_err(mapping)?
        };
        faults::crash(CrashPoint::Cp11);
        let key = StepKey { delivery: self.copy.delivery, step: step.id.clone() };
        let traceparent = self.copy.message.envelope.traceparent.as_deref();
        let call = Call {
            operation: &used.operation.name,
            input: &input,
            step_key: &key,
            traceparent,
            kept: &*engine.kept,
            order_no: self.claimed.turn.map(|turn| turn.no),
            asking: None,
        };
        if used.effect() == EffectKind::Ledger {
            return self.ledger_step(route, (step, used), &*port, &call, last).await;
        }
        let receipt = match self.effect(used, &*port, &call).await {
            Ok(receipt) => receipt,
            Err(stop) => return self.refused(route, (step, used), stop, last).await,
        };
        faults::crash(CrashPoint::Cp16);
        let done = StepDone {
            reference: receipt.reference,
            evidence: receipt.evidence,
            ..done(route, step, used.target(), receipt.result)
        };
        Ok(self.write_done(done, Vec::new(), last).await?.result())
    }

    /// A step that the target refused, where the route goes on after it: done, with the no as its
    /// result. Whatever else stopped it stops the task.
    async fn refused(
        &mut self,
        route: &Arc<Route>,
        (step, used): (&Step, &Use),
        stop: Stop,
        last: bool,
    ) -> Flow<Option<Value>> {
        let no = match &stop {
            Stop::Failed(failed) if failed.during != During::Recall => used.refusal(&failed.fault),
            Stop::Failed(_) | Stop::Over(_) => None,
        };
        let Some(no) = no else { return Err(stop) };
        let done = done(route, step, used.target(), no);
        faults::crash(CrashPoint::Cp16);
        Ok(self.write_done(done, Vec::new(), last).await?.result())
    }

    /// Has the effect of a step happen, or finds that it has happened.
    async fn effect(&mut self, used: &Use, port: &dyn Port, call: &Call<'_>) -> Flow<Receipt> {
        let place = self.engine.place_at(&used.instance, self.copy.delivery).await;
        let _place = place.map_err(mapping)?;
        let step = call.step_key.step.as_str();
        let open = self.claimed.intents.iter().find(|intent| intent.step == step).cloned();
        if let Some(open) = open
            && let Some(receipt) = self.earlier_call(used, port, call, &open).await?
        {
            return self.checked(used.callee(), step, receipt);
        }
        if used.effect().needs_intent() && !faults::off("no-intent") {
            self.write_intent(used, step).await?;
            faults::crash(CrashPoint::Cp14);
        }
        self.lease_for(used.operation.deadline).await?;
        self.call(used.callee(), port, call).await
    }

    /// A call of an earlier claim, of which nobody knows whether it acted.
    async fn earlier_call(
        &mut self,
        used: &Use,
        port: &dyn Port,
        call: &Call<'_>,
        open: &OpenIntent,
    ) -> Flow<Option<Receipt>> {
        match used.effect() {
            EffectKind::Once if !faults::off("once-retried") => {
                self.write_verdict(&open.step, IntentFate::Kept, uncertain(used)).await
            }
            EffectKind::Recallable => self.recall(used, port, call, open).await,
            EffectKind::Once | EffectKind::Idempotent | EffectKind::Ledger => Ok(None),
        }
    }

    /// Its *yes* is believed always; its *no* only when the sender is known to have stopped, and long
    /// enough ago.
    async fn recall(
        &mut self,
        used: &Use,
        port: &dyn Port,
        call: &Call<'_>,
        open: &OpenIntent,
    ) -> Flow<Option<Receipt>> {
        let asking = self.engine.in_time(used.operation.deadline, port.recall(call.clone()));
        let recalled = asking.await.unwrap_or_else(|| Err(no_answer(used.callee())));
        self.engine.saw(&used.instance, self.copy.delivery, recalled.as_ref().err());
        let recalled = recalled.map_err(|fault| failed(fault, During::Recall))?;
        let now = self.engine.clock.now();
        match (recalled, open.stopped_at) {
            (Recalled::Done(receipt), _) => Ok(Some(receipt)),
            (Recalled::NotDone, Some(_)) if open.is_settled(now) => Ok(None),
            (Recalled::NotDone, Some(_)) if faults::off("recall-too-early") => Ok(None),
            (Recalled::NotDone, None) if faults::off("recall-beside-a-zombie") => Ok(None),
            (Recalled::NotDone, Some(stopped)) => {
                let at = stopped.after(open.settles_within);
                let then = Then::Waiting(at);
                let give_up_at = self.claimed.give_up_at;
                let back = Return { then, counts: false, give_up_at, fault: None };
                self.write_verdict(&open.step, IntentFate::Kept, back).await
            }
            (Recalled::NotDone, None) => {
                self.write_verdict(&open.step, IntentFate::Kept, uncertain(used)).await
            }
        }
    }

    async fn write_intent(&mut self, used: &Use, step: &str) -> Flow<()> {
        let (seq, fence) = (self.copy.seq, self.alive.fence);
        let deadline = self.engine.clock.now().after(used.operation.deadline);
        let settles_within = used.operation.settles_within;
        let step = step.to_owned();
        let intent = || Action::Intent { seq, fence, step: step.clone(), deadline, settles_within };
        let written = |row: &Row| {
            let is_it = |intent: &&OpenIntent| intent.step == step && intent.fence == fence;
            let any = |intent: &&OpenIntent| intent.step == step;
            let loose = faults::off("intent-without-fence");
            row.intents.iter().find(|intent| is_it(intent) || loose && any(intent)).map(drop)
        };
        self.persist(intent, written).await.map(drop)
    }

    /// Tested right before the write: a call must be over before another may take the delivery.
    async fn lease_for(&mut self, deadline: Duration) -> Flow<()> {
        for _ in 0..TRIES {
            let uptime = self.engine.clock.uptime();
            if uptime + deadline <= self.lease_ends {
                return Ok(());
            }
            let (seq, fence) = (self.copy.seq, self.alive.fence);
            let lease_until = self.engine.clock.now().after(deadline + LEASE);
            // An answer that was lost leaves the row mine, and the lease perhaps as it was.
            let longer = |row: &Row| (row.lease_until >= Some(lease_until)).then_some(());
            self.persist(|| Action::Extend { seq, fence, lease_until }, longer).await?;
            self.lease_ends = uptime + deadline + LEASE;
        }
        Err(Stop::Over(Settlement::Ack))
    }

    async fn call(
        &mut self,
        callee: Callee<'_>,
        port: &dyn Port,
        call: &Call<'_>,
    ) -> Flow<Receipt> {
        let engine = self.engine;
        let begun = engine.clock.uptime();
        let deadline = callee.operation.deadline;
        let calling = AssertUnwindSafe(engine.in_time(deadline, port.call(call.clone())));
        let answer = match faults::crash_amid(CrashPoint::Cp15, calling.catch_unwind()).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(no_answer(callee)),
            Err(_) => Err(panicked()),
        };
        let took = engine.clock.uptime().saturating_sub(begun);
        let code = answer.as_ref().err().map(|fault| fault.code.as_str());
        engine.observer.step(&callee.target(), code, took);
        engine.saw(callee.instance, self.copy.delivery, answer.as_ref().err());
        let receipt = answer.map_err(|fault| during_call(callee, fault))?;
        self.checked(callee, &call.step_key.step, receipt)
    }

    /// A result that does not look as the operation promises. The effect may have happened: where the
    /// far side can neither be asked nor told again, a person decides.
    fn checked(&self, callee: Callee<'_>, step: &str, receipt: Receipt) -> Flow<Receipt> {
        let version = self.claimed.route_digest;
        match self.engine.outputs.check(version, step, callee, &receipt.result) {
            Ok(()) => Ok(receipt),
            Err(mut fault) => {
                if callee.operation.effect == EffectKind::Once {
                    fault.class = FaultClass::NoAnswer;
                }
                Err(during_call(callee, fault))
            }
        }
    }

    /// A value that the ledger applies together with the step.
    async fn ledger_step(
        &mut self,
        route: &Arc<Route>,
        (step, used): (&Step, &Use),
        port: &dyn Port,
        call: &Call<'_>,
        last: bool,
    ) -> Flow<Option<Value>> {
        let effect = match port.ledger_effect(call) {
            Ok(effect) => effect,
            Err(fault) => return self.refused(route, (step, used), mapping(fault), last).await,
        };
        let (seq, fence, route_digest) = (self.copy.seq, self.alive.fence, route.digest);
        let action = || Action::LedgerStep {
            seq,
            fence,
            step: step.id.clone(),
            operation: used.target(),
            route_digest,
            effect: effect.clone(),
            last,
        };
        let begun = self.engine.clock.uptime();
        let outcome = self.persist(action, |row| done_in(row, &step.id)).await?;
        let took = self.engine.clock.uptime().saturating_sub(begun);
        let (result, code) = match outcome {
            Persisted::Known(Outcome::Refused { reason }) => {
                (Err(during_call(used.callee(), refused_by_the_ledger(&reason))), Some("SN0725"))
            }
            Persisted::Known(Outcome::Done { result, .. }) | Persisted::Found(result) => {
                (Ok(Some(result)), None)
            }
            Persisted::Known(_) => (Ok(Some(Value::Null)), None),
            Persisted::Forgotten => (Ok(None), None),
        };
        self.engine.observer.step(&used.target(), code, took);
        match result {
            Ok(result) => Ok(result),
            Err(stop) => self.refused(route, (step, used), stop, last).await,
        }
    }

    async fn write_done(
        &mut self,
        done: StepDone,
        emits: Vec<crate::ledger::Emission>,
        last: bool,
    ) -> Flow<Written> {
        self.write_done_with((done, None), emits, last).await
    }

    /// A step that is done, with what it writes of a fact.
    async fn write_done_with(
        &mut self,
        (done, fact): (StepDone, Option<Box<FactRows>>),
        emits: Vec<crate::ledger::Emission>,
        last: bool,
    ) -> Flow<Written> {
        let (seq, fence) = (self.copy.seq, self.alive.fence);
        let step = done.step.clone();
        let action = || Action::Done {
            seq,
            fence,
            done: done.clone(),
            emits: emits.clone(),
            fact: fact.clone(),
            last,
        };
        Ok(match self.persist(action, |row| done_in(row, &step)).await? {
            Persisted::Known(Outcome::Done { result, created }) => Written::Known(result, created),
            Persisted::Known(_) => Written::Known(done.result, Vec::new()),
            Persisted::Found(result) => Written::Found(result),
            Persisted::Forgotten => Written::Forgotten,
        })
    }

    /// Decides what a fault means and writes it down.
    async fn give_verdict(&mut self, route: Option<&Route>, failed: Failed) -> Settlement {
        let Failed { mut fault, during } = failed;
        fault.step.clone_from(&self.at);
        let engine = self.engine;
        let fate = intent_fate(fault.class, during);
        let past = Past {
            now: engine.clock.now(),
            attempts: self.claimed.attempts,
            give_up_at: self.claimed.give_up_at,
            jitter: engine.chance.jitter(),
        };
        let policy = route.map_or_else(RetryPolicy::default, |route| route.retry);
        let (verdict, back) = judge(fault, during, &policy, &past);
        if let Some(fault) = &back.fault {
            let name = route.map_or("", |route| &route.name);
            engine.observer.fault(name, self.copy, fault, &verdict);
        }
        faults::crash(CrashPoint::Cp11);
        let step = self.at.clone();
        match self.verdict(step.clone(), fate, back.clone()).await {
            Ok(()) => Settlement::Ack,
            Err(Stop::Over(settlement)) => settlement,
            // The words of the fault itself cannot be written: without them.
            Err(Stop::Failed(failed)) => {
                let back = Return { fault: Some(failed.fault), ..back };
                let _ = self.verdict(step, fate, back).await;
                Settlement::Ack
            }
        }
    }

    /// Writes a verdict that ends this task, whatever its caller would have given.
    async fn write_verdict<T>(&mut self, step: &str, intent: IntentFate, back: Return) -> Flow<T> {
        self.verdict(Some(step.to_owned()), intent, back).await?;
        Err(Stop::Over(Settlement::Ack))
    }

    async fn verdict(
        &mut self,
        step: Option<String>,
        intent: IntentFate,
        back: Return,
    ) -> Flow<()> {
        let (seq, fence) = (self.copy.seq, self.alive.fence);
        let action =
            || Action::Verdict { seq, fence, step: step.clone(), intent, back: back.clone() };
        self.persist(action, |_| None::<()>).await?;
        faults::crash(CrashPoint::Cp12);
        Ok(())
    }

    /// Writes under this claim's fence until it is known to be written: where the answer was lost and
    /// the row, still mine, does not show it, once more. Stops where the claim is another's.
    async fn persist<T>(
        &mut self,
        action: impl Fn() -> Action,
        shown: impl Fn(&Row) -> Option<T>,
    ) -> Flow<Persisted<T>> {
        for _ in 0..TRIES {
            match self.guarded(action()).await? {
                Known::Outcome(outcome) => return Ok(Persisted::Known(outcome)),
                Known::Mine(_) if faults::off("lost-answer-as-failure") => {
                    return Ok(Persisted::Forgotten);
                }
                Known::Mine(row) => {
                    if let Some(found) = shown(&row) {
                        return Ok(Persisted::Found(found));
                    }
                }
            }
        }
        Err(Stop::Over(Settlement::Ack)) // the claim stands; the sweeper gives it back
    }

    /// One write under this claim's fence.
    async fn guarded(&self, action: Action) -> Flow<Known> {
        let engine = self.engine;
        match engine.submit_one(action).await {
            Ok(Outcome::Missed | Outcome::Unknown) => Err(Stop::Over(Settlement::Ack)),
            Ok(Outcome::Failed(why)) => Err(failed(unwritable(&why), During::Panic)),
            Ok(outcome) => Ok(Known::Outcome(outcome)),
            Err(CommitError::NotCommitted(_)) => {
                engine.observer.commit_failed("step", false);
                Err(Stop::Over(Settlement::Ack)) // the claim stands; the sweeper gives it back
            }
            Err(CommitError::Unclear(_)) => {
                engine.observer.commit_failed("step", true);
                match engine.ledger.row(self.copy.seq).await {
                    Ok(Some(row)) if is_mine(&row, self.alive.fence) => {
                        Ok(Known::Mine(Box::new(row)))
                    }
                    _ => Err(Stop::Over(Settlement::Ack)),
                }
            }
        }
    }
}

/// What is known of a guarded write that was persisted in.
enum Persisted<T> {
    /// The ledger answered.
    Known(Outcome),
    /// The row shows it.
    Found(T),
    /// Only where a guard is switched off: the answer was lost and nobody looked.
    Forgotten,
}

/// What is known of a step that is done.
enum Written {
    /// The ledger answered: its result and the rows created.
    Known(Value, Vec<crate::ledger::Created>),
    /// The row shows it: what it emitted is the relay's.
    Found(Value),
    /// Only where a guard is switched off.
    Forgotten,
}

impl Written {
    fn result(self) -> Option<Value> {
        match self {
            Self::Known(result, _) | Self::Found(result) => Some(result),
            Self::Forgotten => None,
        }
    }
}

/// A step that this version of the route has done.
fn done(route: &Route, step: &Step, operation: String, result: Value) -> StepDone {
    StepDone {
        step: step.id.clone(),
        operation,
        result,
        route_digest: route.digest,
        reference: None,
        evidence: None,
    }
}

fn done_in(row: &Row, step: &str) -> Option<Value> {
    row.done.iter().find(|(id, _)| id == step).map(|(_, done)| done.result.clone())
}

fn next_step<'r>(route: &'r Route, done: &Map<String, Value>) -> Option<(&'r Step, bool)> {
    if faults::off("step-by-index") {
        return route.steps.get(done.len()).map(|step| (step, done.len() + 1 == route.steps.len()));
    }
    route.next_step(done)
}

fn mapping(fault: Fault) -> Stop {
    failed(fault, During::Mapping)
}

fn failed(fault: Fault, during: During) -> Stop {
    Stop::Failed(Box::new(Failed { fault, during }))
}

fn during_call(callee: Callee<'_>, fault: Fault) -> Stop {
    let settles_within = callee.operation.settles_within;
    failed(fault, During::Call { effect: callee.operation.effect, settles_within })
}

fn uncertain(used: &Use) -> Return {
    let text = format!(
        "an earlier call of `{}` has no known outcome; look at the far side and say whether it was done",
        used.target()
    );
    let fault = Fault::new(FaultClass::NoAnswer, "SN0724", text);
    Return { then: Then::Uncertain, counts: false, give_up_at: None, fault: Some(fault) }
}

fn no_answer(callee: Callee<'_>) -> Fault {
    let text = format!("`{}` gave no answer within its deadline", callee.target());
    Fault::new(FaultClass::NoAnswer, "SN0723", text)
}

fn no_instance(callee: Callee<'_>) -> Fault {
    let text = format!(
        "no adapter instance is called `{}`; configure it under `adapters`, then replay",
        callee.instance
    );
    Fault::new(FaultClass::Poison, "SN0721", text)
}

fn nothing_left() -> Fault {
    Fault::new(
        FaultClass::Poison,
        "SN0726",
        "every step of this version is done already, and none of them was its last; discard the \
         delivery, or replay it onto a version with a step to do",
    )
}

fn unwritable(why: &str) -> Fault {
    let text = format!("the ledger cannot store what this step gave: {why}");
    Fault::new(FaultClass::Poison, "SN0727", text)
}

fn refused_by_the_ledger(reason: &str) -> Fault {
    let text = format!("the ledger refused the effect: {reason}");
    Fault::new(FaultClass::Refused, "SN0725", text).with_reason(reason)
}
