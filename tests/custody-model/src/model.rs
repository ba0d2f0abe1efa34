//! The machine: which actions exist in a state and what each does, outside the ledger too.
//!
//! Invariant: whatever an action does happens at once; what can be torn apart in reality is two actions.

use crate::mutants::Mutant::{self, *};
use crate::scenarios::{FAULTS, Fault, Scenario};
use crate::state::*;
use stateright::{Model, Property};
use std::collections::HashSet;
use std::sync::Mutex;

/// How a commit ends. Not committed is `Act::Drop`: the task gives up and its copy returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    Known,
    AnswerLost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    Draw(usize),
    Tell(usize),
    Accept(usize, Commit),
    Publish(usize, Id, Place),
    Mark(usize, usize),
    ForgetConfirm(usize, usize),
    Take(usize, usize),
    Kill(usize),
    EmitEarly(usize),
    Settle(usize, Commit),
    Break(usize),
    Claim(usize, Commit),
    Work(usize, Commit),
    Send(usize),
    Recall(usize),
    Verdict(usize, Commit, bool),
    TimeOut(usize),
    ReadBack(usize),
    Ack(usize),
    Drop(usize),
    FarActs(Id, usize),
    FarReplies(Id, usize),
    FarRefuses(Id, usize),
    FarSettles(Id),
    Due(Id),
    Wake(Id),
    Abandoned(Id),
    LeaseExpires(Id),
    Reconcile(Id),
    FalseAlarm(Id),
    Drain(usize, bool),
    Crash(usize),
    Restart(usize),
    ConnLost(usize),
    QueueLost(Id),
    Shutdown(usize),
    Foreign(Id),
    Reload,
    Replay(Id, bool),
    Discard(Id),
    Resolve(Id, bool),
    Stores(usize),
    FlightLost(usize),
    PartyTakes(usize),
    PublisherEnds(usize, usize),
    Grace(Id, bool),
    Expire(Id),
    HostDies(usize),
    DeclareDead(usize),
    Orphan(Id),
    Forgotten(usize),
    ForgottenSent(usize, usize),
    ConfirmForgotten(usize, usize),
}

pub struct Custody {
    pub sc: Scenario,
    pub mutant: Option<Mutant>,
    /// States from which a fair run is known to end well.
    pub fine: Mutex<HashSet<u64>>,
    /// Invariants that have been broken already.
    pub broken: Mutex<[bool; 13]>,
}

impl Custody {
    pub fn new(sc: Scenario, mutant: Option<Mutant>) -> Self {
        Self { sc, mutant, fine: Mutex::default(), broken: Mutex::default() }
    }
    pub fn off(&self, m: Mutant) -> bool {
        self.mutant == Some(m)
    }
    pub fn publish_first(&self) -> bool {
        self.upserts() || self.off(SettleNoUpsert)
    }
    pub fn upserts(&self) -> bool {
        matches!(self.mutant, Some(PublishFirst | PublishFirstUpserts | PublishFirstStray))
    }
    pub fn incarnation_of(&self, procs: &[Proc], p: usize) -> u8 {
        p as u8 * 64 + procs[p].inc
    }
    pub fn incarnation(&self, s: &State, p: usize) -> u8 {
        self.incarnation_of(&s.procs, p)
    }
    fn spend(&self, s: &mut State, f: Fault) -> bool {
        let left = &mut s.budget[f as usize];
        *left > 0 && {
            *left -= 1;
            true
        }
    }
    fn fast_mode(&self, t: &Task) -> bool {
        self.sc.defs[t.copy.d].fast && t.copy.count == 0 && !t.copy.alone && !t.wary
    }
    fn kind(&self, t: &Task) -> Option<Kind> {
        self.sc.defs[t.copy.d].steps.get(t.step as usize).copied()
    }

    /// A copy goes back to its queue, or beyond the delivery limit to the poison queue.
    fn requeue(&self, s: &mut State, mut c: Copied) {
        c.count += 1;
        c.place = if c.count > self.sc.limit { Place::Poison } else { Place::Ready };
        s.wire.push(c);
    }
    fn drop_task(&self, s: &mut State, ti: usize) {
        let t = s.tasks.remove(ti);
        if t.tagged {
            self.requeue(s, t.copy);
        }
    }
    fn crash(&self, s: &mut State, p: usize) {
        while let Some(ti) = s.tasks.iter().position(|t| t.p == p) {
            self.drop_task(s, ti);
        }
        s.procs[p].sent.clear();
        s.procs[p].forgotten.clear();
        s.procs[p].own.clear();
        s.wire.retain(|c| c.place != Place::Returned(p as u8));
        for c in s.wire.iter_mut().filter(|c| c.place == Place::Flight(p as u8)) {
            c.place = Place::Flight(LOOSE);
        }
        s.procs[p].up = false;
        s.procs[p].wary = !self.off(FastAfterCrash) && self.sc.defs.iter().any(|d| d.pill);
        s.procs[p].inc += 1;
        s.drawn.iter_mut().for_each(|x| *x *= self.off(OrderBySequence) as u8);
        if s.procs.len() == 1 {
            self.restart(s, p); // nobody sees the pause
        }
    }
    fn restart(&self, s: &mut State, p: usize) {
        s.procs[p].up = true;
        self.void_earlier(s, p);
        s.procs[p].cache = if self.off(TotalsAbsolute) { s.totals } else { Totals::default() };
    }
    /// An ack is early while the row still owes this very copy a verdict.
    fn check_ack(&self, s: &mut State, c: Copied) {
        let r = &s.rows[c.d];
        if matches!(r.st, St::Queued | St::Published) && r.round == c.round && c.seq == c.d {
            s.bad |= BAD_ACK;
        }
    }
    /// After a commit whose answer is lost, the task reads the row back.
    fn unclear(&self, s: &mut State, ti: usize, before: Task) {
        s.tasks[ti].phase = Phase::Unclear;
        if self.off(AnswerAsFailure) || self.off(AnswerAsFailureCall) {
            s.tasks[ti] = before; // as if nothing had been committed
            if matches!(before.phase, Phase::RepliedOk) {
                s.tasks[ti].phase = Phase::Intended; // calls again
            }
        }
    }
    fn commit(&self, s: &mut State, ti: usize, c: Commit, tx: impl FnOnce(&mut State)) -> bool {
        let before = s.tasks[ti];
        let held = s.procs[before.p].own.clone();
        tx(s);
        if c == Commit::AnswerLost {
            if !self.spend(s, Fault::AnswerLost) {
                return false;
            }
            s.procs[before.p].own = held; // released: the relay of the same process publishes it
            self.unclear(s, ti, before);
        }
        true
    }

    pub fn apply(&self, s: &mut State, a: Act) -> bool {
        match a {
            Act::Draw(m) => {
                if s.drawn[m] > 0 || !self.off(OrderBySequence) {
                    return false;
                }
                s.next_ord += 1;
                s.drawn[m] = s.next_ord;
            }
            Act::Tell(m) => {
                if !self.off(TellFirst) || s.told[m] || !s.procs[0].up {
                    return false;
                }
                s.told[m] = true;
                s.drawn[m] = 1;
            }
            Act::Accept(m, c) => {
                let pending = !(self.off(OrderBySequence) || self.off(TellFirst)) || s.drawn[m] > 0;
                let Some(p) =
                    (0..s.procs.len()).find(|p| s.procs[*p].up && (*p == 0 || s.procs[0].gone))
                else {
                    return false;
                };
                if s.told[m] && (s.accepted[m] || !self.off(TellFirst)) || !pending {
                    return false;
                }
                let held = s.procs[p].own.clone();
                self.accept(s, p, m);
                match c {
                    Commit::Known => s.told[m] = true,
                    Commit::AnswerLost => {
                        s.procs[p].own = held;
                        return self.spend(s, Fault::AnswerLost);
                    }
                }
            }
            Act::Publish(p, d, place) => {
                let r = &s.rows[d];
                let sent = (d, r.round);
                let own = s.procs[p].own.iter().position(|h| (h.d, h.round) == sent);
                let known = s.procs[p].sent.contains(&sent)
                    && !(self.off(HeldAfterCommit) && own.is_some());
                if !s.procs[p].up || r.st != St::Queued || known || !self.may_publish(s, p, d) {
                    return false;
                }
                let party = self.sc.defs[d].party;
                let to = match place {
                    Place::Ready if party => Place::Flight(p as u8),
                    Place::Unrouted if party && !self.off(HandOverUnrouted) => {
                        Place::Returned(p as u8)
                    }
                    other => other,
                };
                let copy = Copied {
                    d,
                    seq: d,
                    round: r.round,
                    version: r.version,
                    count: 0,
                    alone: r.crashes > 0 || r.suspect,
                    place: to,
                };
                if place == Place::Unrouted && !self.spend(s, Fault::Unrouted) {
                    return false;
                }
                if let Some(i) = own {
                    s.procs[p].own.remove(i);
                }
                s.wire.push(copy);
                if party && self.off(HandOverAtPublish) {
                    self.hand_over(s, p, d, sent.1);
                } else if self.sc.plain_relay {
                    self.mark(s, p, d, sent.1); // publish, confirm and mark in one: other scenarios take them apart
                } else {
                    s.procs[p].sent.push(sent);
                }
            }
            Act::Mark(p, i) => {
                let (d, round) = s.procs[p].sent.remove(i);
                let at = |s: &State, place| {
                    s.wire.iter().position(|c| c.d == d && c.round == round && c.place == place)
                };
                if !self.sc.defs[d].party {
                    self.mark(s, p, d, round);
                } else if at(s, Place::Flight(p as u8)).is_some() {
                    return false; // not confirmed yet
                } else if let Some(w) = at(s, Place::Returned(p as u8)) {
                    s.wire.remove(w); // the return comes before the confirm
                    self.returned(s, p, d, round);
                } else {
                    self.hand_over(s, p, d, round);
                }
            }
            Act::ForgetConfirm(p, i) => {
                s.procs[p].sent.remove(i);
                return self.spend(s, Fault::ConfirmLost);
            }
            Act::Take(p, w) => {
                let copy = s.wire[w];
                let twin = !self.sc.twins && s.tasks.iter().any(|t| t.p == p && t.copy.d == copy.d);
                if !s.procs[p].up || copy.place != Place::Ready || twin {
                    return false;
                }
                s.wire.remove(w);
                let mut t = Task {
                    p,
                    copy,
                    wary: s.procs[p].wary,
                    tagged: true,
                    phase: Phase::Arrived,
                    fence: 0,
                    step: 0,
                };
                if self.off(VersionAtDelivery) {
                    t.copy.version = s.config;
                }
                if self.off(AckFirst) {
                    self.check_ack(s, copy);
                    t.tagged = false;
                }
                s.tasks.push(t);
            }
            Act::Kill(ti) => {
                let t = s.tasks[ti];
                let fast = t.phase == Phase::Arrived && self.fast_mode(&t);
                if !self.sc.defs[t.copy.d].pill || !(fast || t.phase == Phase::Claimed) {
                    return false;
                }
                self.crash(s, t.p);
            }
            Act::EmitEarly(ti) => {
                let t = s.tasks[ti];
                if !self.publish_first() || t.phase != Phase::Arrived || !self.fast_mode(&t) {
                    return false;
                }
                for d in 0..self.sc.defs.len() {
                    if self.sc.defs[d]
                        .cause
                        .is_some_and(|(c, mask)| c == t.copy.d && mask & t.copy.version != 0)
                    {
                        let version = s.config;
                        s.wire.push(Copied {
                            d,
                            seq: d,
                            round: 1,
                            version,
                            count: 0,
                            alone: false,
                            place: Place::Ready,
                        });
                    }
                }
                s.tasks[ti].phase = Phase::Emitted;
            }
            Act::Settle(ti, c) => {
                let t = s.tasks[ti];
                let ready = if self.publish_first() { Phase::Emitted } else { Phase::Arrived };
                if !self.fast_mode(&t) || t.phase != ready || self.sc.defs[t.copy.d].pill {
                    return false;
                }
                return self.commit(s, ti, c, |s| self.fast_settle(s, ti));
            }
            Act::Break(ti) => {
                let t = s.tasks[ti];
                if !self.fast_mode(&t) || !matches!(t.phase, Phase::Arrived | Phase::Emitted) {
                    return false;
                }
                self.fast_fault(s, ti);
                return self.spend(s, Fault::Broken);
            }
            Act::Claim(ti, c) => {
                let t = s.tasks[ti];
                if t.phase != Phase::Arrived || self.fast_mode(&t) || !self.alone(s, ti) {
                    return false;
                }
                return self.commit(s, ti, c, |s| self.claim(s, ti));
            }
            Act::Work(ti, c) => {
                let t = s.tasks[ti];
                if t.phase == Phase::RepliedOk {
                    return self.commit(s, ti, c, |s| self.step_done(s, ti, false));
                }
                let number_drawn =
                    t.phase == Phase::Intended && self.kind(&t) == Some(Kind::Ledger);
                if t.phase != Phase::Claimed && !number_drawn || self.sc.defs[t.copy.d].pill {
                    return false;
                }
                match self.kind(&t) {
                    None => return self.commit(s, ti, c, |s| self.step_done(s, ti, false)),
                    Some(Kind::Ledger) if self.off(NumberApart) && !number_drawn => {
                        s.counter += 1;
                        s.tasks[ti].phase = Phase::Intended;
                    }
                    Some(Kind::Ledger) => {
                        return self.commit(s, ti, c, |s| self.step_done(s, ti, true));
                    }
                    Some(Kind::Idempotent | Kind::Upsert) => return false,
                    Some(kind) => match s.rows[t.copy.d].intent {
                        Some(_) if kind == Kind::Recallable && self.held(s, &t) => return false,
                        Some(_)
                            if kind == Kind::Once && self.held(s, &t) && !self.off(OnceRetried) =>
                        {
                            s.tasks[ti].phase = Phase::Unsure;
                        }
                        _ => return self.commit(s, ti, c, |s| self.write_intent(s, ti)),
                    },
                }
            }
            Act::Send(ti) => {
                let t = s.tasks[ti];
                let direct = matches!(self.kind(&t), Some(Kind::Idempotent | Kind::Upsert));
                let ready = if direct { Phase::Claimed } else { Phase::Intended };
                if t.phase != ready || self.kind(&t).is_none_or(|k| k == Kind::Ledger) {
                    return false;
                }
                s.far[t.copy.d].calls.push(Call {
                    p: t.p,
                    fence: t.fence,
                    step: t.step,
                    acted: false,
                });
                s.tasks[ti].phase = Phase::Calling;
            }
            Act::Recall(ti) => {
                let t = s.tasks[ti];
                let Some(intent) = s.rows[t.copy.d].intent else { return false };
                if t.phase != Phase::Claimed
                    || self.kind(&t) != Some(Kind::Recallable)
                    || !self.held(s, &t)
                {
                    return false;
                }
                if s.far[t.copy.d].applied[t.step as usize] > 0 {
                    s.tasks[ti].phase = Phase::RepliedOk; // its yes is always believed
                } else if intent.age == Age::Settled || self.off(RecallEarly) {
                    self.write_intent(s, ti);
                } else {
                    s.tasks[ti].phase = Phase::Unsure;
                }
            }
            Act::Verdict(ti, c, outage) => {
                let t = s.tasks[ti];
                if !matches!(
                    t.phase,
                    Phase::RepliedNo | Phase::TimedOut | Phase::Unsure | Phase::SawEarlier
                ) {
                    return false;
                }
                if outage && (t.phase != Phase::RepliedNo || !self.spend(s, Fault::Outage)) {
                    return false;
                }
                return self.commit(s, ti, c, |s| self.verdict(s, ti, outage));
            }
            Act::TimeOut(ti) => {
                let t = s.tasks[ti];
                if t.phase != Phase::Calling {
                    return false;
                }
                let in_flight = s.far[t.copy.d]
                    .calls
                    .iter()
                    .any(|c| c.p == t.p && c.fence == t.fence && c.step == t.step);
                s.tasks[ti].phase = Phase::TimedOut;
                return !in_flight || self.spend(s, Fault::Timeout);
            }
            Act::ReadBack(ti) => {
                if s.tasks[ti].phase != Phase::Unclear {
                    return false;
                }
                self.read_back(s, ti);
            }
            Act::Ack(ti) => {
                if s.tasks[ti].phase != Phase::Settled {
                    return false;
                }
                let t = s.tasks.remove(ti);
                if t.tagged {
                    self.check_ack(s, t.copy);
                }
            }
            Act::Drop(ti) => {
                if matches!(s.tasks[ti].phase, Phase::Calling | Phase::Settled) {
                    return false;
                }
                self.drop_task(s, ti);
                return self.spend(s, Fault::CommitFailed);
            }
            Act::FarActs(d, i) => {
                let call = s.far[d].calls[i];
                if call.acted {
                    return false;
                }
                s.far[d].calls[i].acted = true;
                let kind = self.sc.defs[d].steps[call.step as usize];
                let n = &mut s.far[d].applied[call.step as usize];
                let repeat = *n > 0 && kind == Kind::Idempotent;
                *n = if matches!(kind, Kind::Idempotent | Kind::Upsert) {
                    1
                } else {
                    (*n + 1).min(2)
                };
                let ord = s.rows[d].ord;
                if repeat {
                    // the far side knows the step key and does nothing
                } else if kind != Kind::Upsert {
                    self.takes_effect(s, d);
                } else if ord >= s.far_ord || self.off(UpsertNoOrder) {
                    if ord < s.far_ord && !s.rows[d].passed {
                        s.bad |= BAD_ORDER;
                    }
                    s.far_ord = ord;
                }
            }
            Act::FarReplies(d, i) => {
                let call = s.far[d].calls[i];
                if !call.acted {
                    return false;
                }
                s.far[d].calls.remove(i);
                self.answer(s, d, call, Phase::RepliedOk);
            }
            Act::FarRefuses(d, i) => {
                let call = s.far[d].calls[i];
                if call.acted {
                    return false;
                }
                s.far[d].calls.remove(i);
                self.answer(s, d, call, Phase::RepliedNo);
                return self.spend(s, Fault::FarRefused);
            }
            Act::FarSettles(d) => {
                let Some(i) = &mut s.rows[d].intent else { return false };
                match i.age {
                    Age::MaySend if self.off(RecallZombie) => i.age = Age::Stopped, // the deadline has passed
                    Age::Stopped => {
                        i.age = Age::Settled;
                        s.far[d].calls.retain(|c| c.acted);
                    }
                    _ => return false,
                }
            }
            Act::Due(d) => return self.due(s, d),
            Act::Wake(d) => return self.wake(s, d),
            Act::Abandoned(d) => {
                let r = &s.rows[d];
                let p = (r.inc / 64) as usize;
                let alive = s.procs[p].up && r.inc == self.incarnation(s, p);
                let worked = s.tasks.iter().any(|t| {
                    t.p == p
                        && t.copy.d == d
                        && (t.fence == r.fence && t.phase != Phase::Settled
                            || t.phase == Phase::Unclear)
                });
                if r.st != St::Claimed || !alive || worked || self.off(DeadTaskKeepsClaim) {
                    return false;
                }
                self.expire(s, d, true);
            }
            Act::LeaseExpires(d) => {
                if s.rows[d].st != St::Claimed {
                    return false;
                }
                self.expire(s, d, false);
                return self.spend(s, Fault::LeaseExpired);
            }
            Act::Reconcile(d) => {
                let here = |c: &Copied| c.d == d && c.place == Place::Ready;
                let seen =
                    s.wire.iter().any(here) || s.tasks.iter().any(|t| t.tagged && t.copy.d == d);
                let old = self.off(AgeReconciler) && s.rows[d].round < 3;
                if seen && !old || self.off(NoReconciler) || self.off(UnroutedDropped) {
                    return false;
                }
                return self.reconcile(s, d);
            }
            Act::FalseAlarm(d) => return self.reconcile(s, d) && self.spend(s, Fault::FalseAlarm),
            Act::Drain(w, acked) => {
                let c = s.wire[w];
                let drained = matches!(c.place, Place::Poison | Place::Unrouted);
                if !drained
                    || !s.procs.iter().any(|p| p.up)
                    || !acked && !self.spend(s, Fault::ConnLost)
                {
                    return false;
                }
                if acked {
                    s.wire.remove(w);
                }
                self.drain(s, c);
                if acked && !self.off(PoisonNoRow) && !self.off(UnroutedDropped) {
                    self.check_ack(s, c);
                }
            }
            Act::Crash(p) => {
                if !s.procs[p].up || !self.spend(s, Fault::Crash) {
                    return false;
                }
                self.crash(s, p);
            }
            Act::Restart(p) => {
                if s.procs[p].up || s.procs[p].gone {
                    return false;
                }
                self.restart(s, p);
            }
            Act::ConnLost(p) => {
                if !s.tasks.iter().any(|t| t.p == p && t.tagged) || !self.spend(s, Fault::ConnLost)
                {
                    return false;
                }
                for ti in 0..s.tasks.len() {
                    if s.tasks[ti].p == p && s.tasks[ti].tagged {
                        s.tasks[ti].tagged = false;
                        let c = s.tasks[ti].copy;
                        self.requeue(s, c);
                    }
                }
            }
            Act::QueueLost(d) => {
                let before = s.wire.len();
                s.far[d].lost_there |= s.wire.iter().any(|c| c.d == d && c.place == Place::Party);
                s.wire.retain(|c| c.d != d || !matches!(c.place, Place::Ready | Place::Party));
                let mut held = 0;
                for t in s.tasks.iter_mut().filter(|t| t.copy.d == d && t.tagged) {
                    t.tagged = false;
                    held += 1;
                }
                return before + held > s.wire.len() && self.spend(s, Fault::QueueLost);
            }
            Act::Shutdown(ti) => {
                if s.tasks[ti].phase != Phase::Arrived || !s.tasks[ti].tagged {
                    return false;
                }
                self.drop_task(s, ti);
                return self.spend(s, Fault::Shutdown);
            }
            Act::Foreign(d) => {
                let def = &self.sc.defs[d];
                if def.message.is_some() || def.cause.is_some() || !self.spend(s, Fault::Foreign) {
                    return false;
                }
                s.wire.push(Copied {
                    d,
                    seq: d,
                    round: 1,
                    version: 1,
                    count: 0,
                    alone: false,
                    place: Place::Ready,
                });
            }
            Act::Forgotten(i) => {
                let (d, seq) = self.sc.forgotten[i];
                let r = &s.rows[seq];
                if !matches!(r.st, St::Queued | St::Published) || !self.spend(s, Fault::Restored) {
                    return false;
                }
                let (round, version) = (s.rows[seq].round, s.rows[seq].version);
                s.wire.push(Copied {
                    d,
                    seq,
                    round,
                    version,
                    count: 0,
                    alone: false,
                    place: Place::Ready,
                });
            }
            Act::ForgottenSent(p, i) => {
                let (_, seq) = self.sc.forgotten[i];
                let r = &s.rows[seq];
                if !s.procs[p].up || r.st != St::Queued || !self.spend(s, Fault::RestoredSent) {
                    return false;
                }
                let round = s.rows[seq].round;
                s.procs[p].forgotten.push((seq, round));
            }
            Act::ConfirmForgotten(p, i) => {
                let (seq, round) = s.procs[p].forgotten.remove(i);
                self.confirm_forgotten(s, p, seq, round);
            }
            Act::Reload => {
                s.config = 2;
                return self.spend(s, Fault::Reload);
            }
            Act::Replay(d, newest) => {
                return self.replay(s, d, newest) && self.spend(s, Fault::Replay);
            }
            Act::Discard(d) => return self.discard(s, d) && self.spend(s, Fault::Discard),
            Act::Resolve(d, done) => {
                return self.resolve(s, d, done) && (self.sc.hands || self.spend(s, Fault::Resolve));
            }
            Act::Stores(w) => {
                if !matches!(s.wire[w].place, Place::Flight(_)) {
                    return false;
                }
                s.wire[w].place = Place::Party;
            }
            Act::FlightLost(w) => {
                let c = s.wire.remove(w);
                let Place::Flight(p) = c.place else { return false };
                if p != LOOSE {
                    s.procs[p as usize].sent.retain(|x| *x != (c.d, c.round)); // a nack, or the connection is lost
                }
                return self.spend(s, Fault::PublishLost);
            }
            Act::PartyTakes(w) => {
                let c = s.wire.remove(w);
                s.far[c.d].seen = true;
                return c.place == Place::Party;
            }
            Act::PublisherEnds(p, i) => {
                if self.off(HeldForEver) {
                    s.procs[p].own[i].dead = true;
                } else {
                    s.procs[p].own.remove(i);
                }
                return self.spend(s, Fault::PublisherEnds);
            }
            Act::Grace(d, early) => {
                let r = &s.rows[d];
                let q = (r.publisher / 64) as usize;
                let alive = s.procs[q].up && r.publisher == self.incarnation(s, q);
                if r.st != St::Queued
                    || r.publisher == 0
                    || self.off(NamedForEver)
                    || alive != early
                {
                    return false;
                }
                s.rows[d].publisher = 0;
                return !early || self.spend(s, Fault::Grace);
            }
            Act::Expire(d) => {
                let r = &s.rows[d];
                let q = (r.inc / 64) as usize;
                if r.st != St::Claimed || s.procs[q].up || !s.procs.iter().any(|p| p.up) {
                    return false;
                }
                self.expire(s, d, false);
            }
            Act::HostDies(p) => {
                if !s.procs[p].up
                    || s.procs.iter().any(|p| p.gone)
                    || !self.spend(s, Fault::HostDies)
                {
                    return false;
                }
                self.crash(s, p);
                s.procs[p].gone = true;
            }
            Act::DeclareDead(p) => return self.declare_dead(s, p),
            Act::Orphan(d) => return self.orphan(s, d),
        }
        true
    }

    fn answer(&self, s: &mut State, d: Id, call: Call, phase: Phase) {
        let waits = |t: &&mut Task| {
            t.p == call.p
                && t.copy.d == d
                && t.fence == call.fence
                && t.step == call.step
                && t.phase == Phase::Calling
        };
        if let Some(t) = s.tasks.iter_mut().find(waits) {
            t.phase = phase;
        }
    }

    /// What goes on by itself.
    fn fair_actions(&self, s: &State, out: &mut Vec<Act>) {
        use Commit::Known;
        for m in 0..s.accepted.len() {
            if !s.told[m] || !s.accepted[m] {
                out.extend([Act::Draw(m), Act::Tell(m), Act::Accept(m, Known)]);
            }
        }
        for (p, proc) in s.procs.iter().enumerate() {
            if self.sc.hands {
                out.push(Act::DeclareDead(p));
            }
            if !proc.up {
                out.push(Act::Restart(p));
                continue;
            }
            out.extend((0..proc.sent.len()).map(|i| Act::Mark(p, i)));
            out.extend((0..proc.forgotten.len()).map(|i| Act::ConfirmForgotten(p, i)));
            out.extend((0..s.wire.len()).map(|w| Act::Take(p, w)));
            out.extend(
                (0..s.rows.len())
                    .filter(|d| s.rows[*d].st == St::Queued)
                    .map(|d| Act::Publish(p, d, Place::Ready)),
            );
        }
        for (d, r) in s.rows.iter().enumerate() {
            match r.st {
                St::Waiting => out.push(Act::Due(d)),
                St::Behind => out.push(Act::Wake(d)),
                St::Claimed => out.extend([Act::Abandoned(d), Act::Expire(d)]),
                St::Queued if r.publisher > 0 => out.push(Act::Grace(d, false)),
                St::Uncertain if self.sc.hands => {
                    out.extend([Act::Resolve(d, true), Act::Resolve(d, false)])
                }
                St::Published => out.push(Act::Reconcile(d)),
                _ => {}
            }
            if r.intent.is_some() {
                out.extend([Act::FarSettles(d), Act::Orphan(d)]);
            }
            out.extend(
                (0..s.far[d].calls.len()).flat_map(|i| [Act::FarActs(d, i), Act::FarReplies(d, i)]),
            );
        }
        for w in 0..s.wire.len() {
            match s.wire[w].place {
                Place::Ready | Place::Returned(_) => {}
                Place::Poison | Place::Unrouted => out.push(Act::Drain(w, true)),
                Place::Flight(_) => out.push(Act::Stores(w)),
                Place::Party => out.push(Act::PartyTakes(w)),
            }
        }
        for (ti, t) in s.tasks.iter().enumerate() {
            match t.phase {
                Phase::Arrived => out.extend([
                    Act::Kill(ti),
                    Act::EmitEarly(ti),
                    Act::Settle(ti, Known),
                    Act::Claim(ti, Known),
                ]),
                Phase::Emitted => out.push(Act::Settle(ti, Known)),
                Phase::Claimed => out.extend([
                    Act::Kill(ti),
                    Act::Work(ti, Known),
                    Act::Send(ti),
                    Act::Recall(ti),
                ]),
                Phase::Intended => out.extend([Act::Send(ti), Act::Work(ti, Known)]),
                Phase::Calling => out.push(Act::TimeOut(ti)),
                Phase::RepliedOk => out.push(Act::Work(ti, Known)),
                Phase::RepliedNo | Phase::TimedOut | Phase::Unsure | Phase::SawEarlier => {
                    out.push(Act::Verdict(ti, Known, false));
                }
                Phase::Unclear => out.push(Act::ReadBack(ti)),
                Phase::Settled => out.push(Act::Ack(ti)),
            }
        }
    }

    /// What happens in a run without faults, the most urgent first. `None`: never happens by itself.
    /// A claim expires before its process is back: the void at start is not what ends a crash loop of two processes.
    fn urgency(a: &Act) -> Option<u8> {
        use Commit::Known;
        Some(match a {
            Act::Expire(_) | Act::Draw(_) | Act::Tell(_) | Act::Stores(_) => 0,
            Act::Accept(_, Known) | Act::Restart(_) => 1,
            Act::Mark(..) | Act::ConfirmForgotten(..) | Act::Ack(_) | Act::ReadBack(_) => 2,
            Act::Kill(_) | Act::EmitEarly(_) => 3,
            Act::Settle(_, Known) | Act::Claim(_, Known) | Act::Work(_, Known) => 4,
            Act::Recall(_) | Act::Send(_) | Act::Verdict(_, Known, false) => 4,
            Act::FarActs(..) | Act::FarReplies(..) => 5,
            Act::TimeOut(_) => 6,
            Act::Drain(_, true) | Act::PartyTakes(_) => 7,
            Act::Publish(_, _, Place::Ready) => 8,
            Act::Take(..) => 9,
            Act::FarSettles(_) => 10,
            Act::Abandoned(_) | Act::Wake(_) | Act::Orphan(_) | Act::Grace(_, false) => 11,
            Act::Due(_) => 12,
            Act::Reconcile(_) => 13,
            Act::DeclareDead(_) | Act::Resolve(..) => 14,
            _ => return None,
        })
    }

    /// The next state of a run without faults; the state's budget of faults is empty.
    pub fn fair_step(&self, s: &State) -> Option<State> {
        let mut acts = Vec::new();
        self.fair_actions(s, &mut acts);
        let mut ranked: Vec<_> =
            acts.into_iter().filter_map(|a| Some((Self::urgency(&a)?, a))).collect();
        ranked.sort_by_key(|r| r.0);
        ranked.into_iter().find_map(|(_, a)| self.next_state(s, a))
    }
}

impl Model for Custody {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let n = self.sc.defs.len();
        let row = Row {
            st: St::Absent,
            round: 0,
            version: 0,
            fence: 0,
            inc: 0,
            step: 0,
            done: 0,
            publisher: 0,
            intent: None,
            attempts: 0,
            crashes: 0,
            suspect: false,
            ord: 0,
            number: 0,
            passed: false,
            faults: 0,
        };
        let mut budget = [0; FAULTS];
        self.sc.faults.iter().for_each(|(f, n)| budget[*f as usize] = *n);
        vec![State {
            told: vec![false; self.sc.messages],
            accepted: vec![false; self.sc.messages],
            drawn: vec![0; self.sc.messages],
            rows: vec![row; n],
            totals: Totals::default(),
            counter: 0,
            issued: vec![],
            next_ord: 0,
            wire: vec![],
            tasks: vec![],
            procs: vec![
                Proc {
                    up: true,
                    inc: 1,
                    wary: false,
                    sent: vec![],
                    forgotten: vec![],
                    own: vec![],
                    gone: false,
                    cache: Totals::default()
                };
                self.sc.procs
            ],
            far: vec![Far::default(); n],
            last_ord: 0,
            far_ord: 0,
            config: 1,
            stray: 0,
            budget,
            bad: 0,
        }]
    }

    /// Candidates, filtered by what is cheap to see; `apply` holds the full guards.
    fn actions(&self, s: &State, out: &mut Vec<Act>) {
        use Commit::*;
        let has = |f: Fault| s.budget[f as usize] > 0;
        let mut may = |f: Fault, a: Act| {
            if has(f) {
                out.push(a);
            }
        };
        for m in 0..s.accepted.len() {
            may(Fault::AnswerLost, Act::Accept(m, AnswerLost));
        }
        for (p, proc) in s.procs.iter().enumerate() {
            may(Fault::Crash, Act::Crash(p));
            may(Fault::ConnLost, Act::ConnLost(p));
            (0..proc.sent.len()).for_each(|i| may(Fault::ConfirmLost, Act::ForgetConfirm(p, i)));
            (0..proc.own.len()).for_each(|i| may(Fault::PublisherEnds, Act::PublisherEnds(p, i)));
            may(Fault::HostDies, Act::HostDies(p));
            (0..self.sc.forgotten.len())
                .for_each(|i| may(Fault::RestoredSent, Act::ForgottenSent(p, i)));
        }
        for (d, r) in s.rows.iter().enumerate() {
            match r.st {
                St::Queued => {
                    (0..s.procs.len())
                        .for_each(|p| may(Fault::Unrouted, Act::Publish(p, d, Place::Unrouted)));
                    if r.publisher > 0 {
                        may(Fault::Grace, Act::Grace(d, true));
                    }
                }
                St::Claimed => may(Fault::LeaseExpired, Act::LeaseExpires(d)),
                St::Published => may(Fault::FalseAlarm, Act::FalseAlarm(d)),
                St::Parked => {
                    may(Fault::Replay, Act::Replay(d, false));
                    may(Fault::Replay, Act::Replay(d, true));
                    may(Fault::Discard, Act::Discard(d));
                }
                St::Uncertain => [true, false]
                    .into_iter()
                    .for_each(|done| may(Fault::Resolve, Act::Resolve(d, done))),
                _ => {}
            }
            may(Fault::QueueLost, Act::QueueLost(d));
            may(Fault::Foreign, Act::Foreign(d));
            (0..s.far[d].calls.len()).for_each(|i| may(Fault::FarRefused, Act::FarRefuses(d, i)));
        }
        (0..self.sc.forgotten.len()).for_each(|i| may(Fault::Restored, Act::Forgotten(i)));
        for w in 0..s.wire.len() {
            match s.wire[w].place {
                Place::Poison | Place::Unrouted => may(Fault::ConnLost, Act::Drain(w, false)),
                Place::Flight(_) => may(Fault::PublishLost, Act::FlightLost(w)),
                _ => {}
            }
        }
        for (ti, t) in s.tasks.iter().enumerate() {
            may(Fault::CommitFailed, Act::Drop(ti));
            may(Fault::AnswerLost, Act::Settle(ti, AnswerLost));
            may(Fault::AnswerLost, Act::Claim(ti, AnswerLost));
            may(Fault::AnswerLost, Act::Work(ti, AnswerLost));
            may(Fault::AnswerLost, Act::Verdict(ti, AnswerLost, false));
            if matches!(t.phase, Phase::Arrived | Phase::Emitted) {
                may(Fault::Shutdown, Act::Shutdown(ti));
                may(Fault::Broken, Act::Break(ti));
            }
            may(Fault::Outage, Act::Verdict(ti, Known, true));
        }
        if s.config == 1 {
            may(Fault::Reload, Act::Reload);
        }
        self.fair_actions(s, out);
    }

    fn next_state(&self, last: &State, a: Act) -> Option<State> {
        let mut s = last.clone();
        let done = self.apply(&mut s, a);
        self.canonical(&mut s);
        (done && s != *last).then_some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::invariants::properties()
    }
}
