//! A step that asks for a fact: used again where an answer is good enough, asked by one claim at a time
//! where not.
//!
//! Invariant: nobody is asked without a purpose and a case, and nothing is used of a person without a row
//! that says so, in the commit of the step that uses it.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use snodo_core::{
    adapter::{Asking, Call, Port, Receipt, STALE_NUMBER},
    facts::{
        Parts,
        declared::differences,
        known::{Kept, Known, Put, Wanted, fresh_until, look_again},
        quota::{Quota, until_tomorrow},
    },
    fault::{Fault, FaultClass},
    ids::{Digest, StepKey},
    route::{Answer, Ask, Callee, Purpose, Question, Route, StandIn, Step},
    template::Scope,
    timestamp::Timestamp,
};

use super::{
    During, Failed, Flow, Persisted, Return, Settlement, Stop, TRIES, Task, Then, done, mapping,
    no_instance,
};
use crate::{
    engine::{FactUse, FactWay, emission::actor},
    ledger::{Action, Disclosure, FactRows, IntentFate, NewAnswer, NewQuestion, Outcome},
};

/// A question of one delivery, rendered.
struct Pending<'t> {
    route: &'t Arc<Route>,
    step: &'t Step,
    ask: &'t Ask,
    question: Question,
    /// Everything that it says, under the key of pseudonyms.
    about: Digest,
    /// The person, under the same.
    person: Digest,
    /// Who acts.
    actor: String,
    /// What the sender says of the fact.
    declared: Option<Value>,
}

/// A question that is ours to ask.
struct Turn {
    number: u64,
    /// When it was put first.
    at: Timestamp,
    /// Under which case it was put first.
    case: String,
}

/// What an authority has said, now or before.
struct Said {
    number: u64,
    /// Whom it concerns.
    persons: Vec<Digest>,
    /// What is kept of it.
    kept: Kept,
    /// The value for this route; null without.
    value: Value,
    /// The case under which it was asked, where it is used again.
    asked_case: Option<String>,
}

impl Task<'_> {
    /// Has the fact, or finds that the route does not want it.
    pub(super) async fn ask_step(
        &mut self,
        route: &Arc<Route>,
        (step, ask): (&Step, &Ask),
        body: &Value,
    ) -> Flow<Option<Value>> {
        let Some(pending) = self.pending(route, (step, ask), body).map_err(mapping)? else {
            return self.leave_null(route, (step, ask)).await;
        };
        for _ in 0..TRIES {
            let known = self.known(&pending).await?;
            let wanted = Wanted { fact: &ask.fact, purpose: &route.purpose, parts: &ask.parts };
            match wanted.judge(&known, self.engine.clock.now()) {
                Known::Use(put, kept) => return self.use_again(&pending, put, kept).await,
                Known::Wait(put) => return self.wait_for(&pending, put.asked_at).await,
                Known::Ask(past) => {
                    if let Some(result) = self.ask(&pending, past).await? {
                        return Ok(result);
                    }
                }
            }
        }
        Err(Stop::Over(Settlement::Ack)) // the claim stands; the sweeper gives it back
    }

    fn pending<'t>(
        &self,
        route: &'t Arc<Route>,
        (step, ask): (&'t Step, &'t Ask),
        body: &Value,
    ) -> Result<Option<Pending<'t>>, Fault> {
        let scope = Scope::new(body, &self.copy.message.envelope, &self.claimed.done);
        let Some(question) = ask.question(&scope)? else { return Ok(None) };
        let pseudonyms = &self.engine.pseudonyms;
        Ok(Some(Pending {
            about: pseudonyms.question(&ask.fact.name, &question.input.to_string()),
            person: pseudonyms.person(&question.about),
            actor: actor(route, &scope)?,
            declared: ask.declared(&scope)?,
            route,
            step,
            ask,
            question,
        }))
    }

    /// The step is done without a value, and nobody is told anything.
    async fn leave_null(
        &mut self,
        route: &Arc<Route>,
        (step, ask): (&Step, &Ask),
    ) -> Flow<Option<Value>> {
        let done = done(route, step, ask.operation(), Value::Null);
        Ok(self.write_done(done, Vec::new(), false).await?.result())
    }

    async fn known(&self, pending: &Pending<'_>) -> Flow<Vec<Put>> {
        let (engine, fact) = (self.engine, &pending.ask.fact.name);
        let known = engine.ledger.known(fact, pending.about, engine.clock.now()).await;
        // The claim stands; the sweeper gives it back.
        known.map_err(|_| Stop::Over(Settlement::Ack))
    }

    /// Somebody else asks the same: this one looks again soon. It is no fault of anybody.
    async fn wait_for(&mut self, pending: &Pending<'_>, since: Timestamp) -> Flow<Option<Value>> {
        let then = Then::Waiting(look_again(since, self.engine.clock.now()));
        let give_up_at = self.claimed.give_up_at;
        let back = Return { then, counts: false, give_up_at, fault: None };
        self.write_verdict(&pending.step.id, IntentFate::Kept, back).await
    }

    /// Asks the authority; none where it was answered meanwhile.
    async fn ask(
        &mut self,
        pending: &Pending<'_>,
        past: Option<u64>,
    ) -> Flow<Option<Option<Value>>> {
        let (engine, callee) = (self.engine, pending.ask.callee());
        let port = engine.port(callee.instance).ok_or_else(|| mapping(no_instance(callee)))?;
        // Before the number is drawn: an authority takes numbers in their order.
        let place = match engine.place_at(callee.instance, self.copy.delivery).await {
            Ok(place) => place,
            Err(fault) => {
                return self.not_now(pending, fault).await.map(Some);
            }
        };
        let mut stale = None;
        for _ in 0..TRIES {
            let turn = match self.put(pending, past, stale).await? {
                Outcome::Asked { number, at, case } => Turn { number, at, case },
                Outcome::AskedElsewhere { since } => {
                    return self.wait_for(pending, since).await.map(Some);
                }
                Outcome::NotToday => {
                    let fault = not_today(callee, engine.clock.now());
                    return self.not_now(pending, fault).await.map(Some);
                }
                _ => return Ok(None),
            };
            let said = self.put_to(pending, &*port, &turn).await;
            match said {
                Err(Stop::Failed(failed)) if is_stale(&failed) => stale = Some(turn.number),
                said => {
                    drop(place);
                    return self.answered(pending, turn, said).await.map(Some);
                }
            }
        }
        let text = format!("`{}` takes no number that it is given", callee.target());
        Err(mapping(Fault::new(FaultClass::Transient { retry_after: None }, "SN0774", text)))
    }

    /// Writes down that this claim asks, and under which number.
    async fn put(
        &mut self,
        pending: &Pending<'_>,
        past: Option<u64>,
        stale: Option<u64>,
    ) -> Flow<Outcome> {
        let (seq, fence) = (self.copy.seq, self.alive.fence);
        let Pending { route, ask, question, .. } = pending;
        let question = Box::new(NewQuestion {
            instance: ask.fact.held_by.clone(),
            fact: ask.fact.name.clone(),
            about: pending.about,
            person: pending.person,
            purpose: route.purpose.clone(),
            case: question.case.clone(),
            past,
            stale,
            quota: self.quota(ask),
            same_for: ask.fact.fresh_for,
        });
        let action = || Action::Ask { seq, fence, question: question.clone() };
        // Where the answer was lost: what is mine is taken over again, under the same number.
        match self.persist(action, |_| None::<()>).await? {
            Persisted::Known(outcome) => Ok(outcome),
            Persisted::Found(()) | Persisted::Forgotten => Ok(Outcome::Answered),
        }
    }

    /// The bucket from which a question is taken.
    fn quota(&self, ask: &Ask) -> Option<Quota> {
        let (fact, engine) = (&ask.fact, self.engine);
        let per_day = engine.per_day(&fact.held_by, &fact.operation.name)?;
        Some(Quota::of(&fact.operation.name, per_day, ask.priority, engine.clock.now()))
    }

    async fn put_to(
        &mut self,
        pending: &Pending<'_>,
        port: &dyn Port,
        turn: &Turn,
    ) -> Flow<Receipt> {
        let Pending { route, ask, question, step, .. } = pending;
        let (callee, envelope) = (ask.callee(), &self.copy.message.envelope);
        let key = StepKey { delivery: self.copy.delivery, step: step.id.clone() };
        let asking = Asking {
            number: turn.number,
            at: turn.at,
            purpose: &route.purpose,
            // The same question is the same bytes, whoever puts it.
            case: &turn.case,
            actor: &pending.actor,
            actor_location: envelope.actor_location.as_deref(),
            actor_loa: envelope.actor_loa.as_deref(),
        };
        let call = Call {
            operation: &callee.operation.name,
            input: &question.input,
            step_key: &key,
            traceparent: envelope.traceparent.as_deref(),
            kept: &*self.engine.kept,
            order_no: None,
            asking: Some(asking),
        };
        self.lease_for(callee.operation.deadline).await?;
        self.call(callee, port, &call).await
    }

    /// What the authority said: an answer, with a value or without, or a fault.
    async fn answered(
        &mut self,
        pending: &Pending<'_>,
        turn: Turn,
        said: Flow<Receipt>,
    ) -> Flow<Option<Value>> {
        let (fact, now) = (&pending.ask.fact, self.engine.clock.now());
        let (answer, value) = match said {
            Ok(receipt) => (Answer::Found, fact.value(receipt.result).map_err(mapping)?),
            Err(Stop::Failed(failed)) => match Answer::of(&failed.fault) {
                Some(answer) => (answer, Value::Null),
                None => return self.without(pending, Stop::Failed(failed)).await,
            },
            Err(stop) => return Err(stop),
        };
        let keeps = if answer == Answer::Found { &pending.ask.keeps } else { &Parts::default() };
        let kept = Kept {
            answer,
            value: keeps.of(&value),
            parts: keeps.clone(),
            digest: Digest::of(value.to_string().as_bytes()),
            fresh_until: fresh_until(fact, answer, now),
        };
        let persons = match answer {
            Answer::Found => {
                let envelope = &self.copy.message.envelope;
                let subjects = fact.subjects(&pending.question.about, &value, envelope);
                let name = |person: &String| self.engine.pseudonyms.person(person);
                subjects.map_err(mapping)?.iter().map(name).collect()
            }
            Answer::NotFound | Answer::Ambiguous => vec![pending.person],
        };
        let answered = NewAnswer {
            instance: fact.held_by.clone(),
            number: turn.number,
            kept: kept.clone(),
            persons: persons.clone(),
        };
        // Somebody else has put it first, and could not wait for the answer.
        let asked_case = Some(turn.case).filter(|case| *case != pending.question.case);
        let said = Said { number: turn.number, persons, kept, value, asked_case };
        self.told(pending, said, Some(answered)).await
    }

    /// An answer that was given before.
    async fn use_again(
        &mut self,
        pending: &Pending<'_>,
        put: &Put,
        kept: &Kept,
    ) -> Flow<Option<Value>> {
        let persons = self.engine.ledger.persons(&put.instance, put.number).await;
        let persons = persons.map_err(|_| Stop::Over(Settlement::Ack))?;
        let said = Said {
            number: put.number,
            persons,
            kept: kept.clone(),
            value: kept.value.clone(),
            asked_case: Some(put.case.clone()),
        };
        self.told(pending, said, None).await
    }

    /// The step is done with what was said; or, where the route does not go on without a value, the
    /// delivery waits for a person. Either way it is written who was told what.
    async fn told(
        &mut self,
        pending: &Pending<'_>,
        said: Said,
        answered: Option<NewAnswer>,
    ) -> Flow<Option<Value>> {
        let Pending { route, step, ask, .. } = pending;
        let differs = pending.differs(&said);
        let reused = said.asked_case.is_some();
        let taken = ask.taken(said.kept.answer, &said.value);
        let told = FactUse {
            fact: &ask.fact.name,
            purpose: &route.purpose,
            way: if reused { FactWay::Reused } else { FactWay::Asked },
            answer: Some(said.kept.answer),
            differs: differs.as_ref().map(|places| !places.is_empty()),
            values: taken.as_ref().map_or(0, values),
        };
        let rows = FactRows {
            answered,
            disclosures: self.disclosures(pending, &said, differs.as_deref()),
        };
        match taken {
            Ok(result) => {
                let done = done(route, step, ask.operation(), result);
                let written = self.write_done_with((done, Some(Box::new(rows))), Vec::new(), false);
                let written = written.await?;
                self.engine.observer.fact(&told);
                Ok(written.result())
            }
            Err(fault) => {
                self.write_answer(rows).await?;
                self.engine.observer.fact(&told);
                Err(mapping(fault))
            }
        }
    }

    async fn write_answer(&mut self, rows: FactRows) -> Flow<()> {
        let (seq, fence, fact) = (self.copy.seq, self.alive.fence, Box::new(rows));
        let action = || Action::Answer { seq, fence, fact: fact.clone() };
        // Written twice it is the same.
        self.persist(action, |_| None::<()>).await.map(drop)
    }

    fn disclosures(
        &self,
        pending: &Pending<'_>,
        said: &Said,
        differs: Option<&[String]>,
    ) -> Vec<Disclosure> {
        let Pending { route, step, ask, question, .. } = pending;
        let (engine, kept) = (self.engine, &said.kept);
        let fields = if kept.answer == Answer::Found { ask.parts.paths() } else { Vec::new() };
        let now = engine.clock.now();
        let routes = engine.routes();
        // As it is now, also for a version of before.
        let purpose = routes.purpose_of(route);
        let concealed = purpose.and_then(|purpose| purpose.concealed.as_ref());
        let kept_for = purpose.map_or(Purpose::DISCLOSURES, |purpose| purpose.disclosures);
        let one = |person: &Digest| Disclosure {
            person: *person,
            key: engine.pseudonyms.key().to_owned(),
            at: now,
            fact: ask.fact.name.clone(),
            fields: fields.clone(),
            purpose: route.purpose.clone(),
            case: question.case.clone(),
            laws: ask.fact.laws.clone(),
            source: ask.fact.source(),
            number: said.number,
            asked_case: said.asked_case.clone(),
            answer: kept.answer,
            fresh_until: kept.fresh_until,
            digest: kept.digest,
            route: route.name.clone(),
            route_digest: route.digest,
            actor: pending.actor.clone(),
            step: step.id.clone(),
            differs: differs.map(<[String]>::to_vec),
            concealed_until: concealed.map(|concealed| concealed.until),
            keep_until: now.after(kept_for),
        };
        said.persons.iter().map(one).collect()
    }

    /// The authority is not asked now. Whoever waits for it a while only is held by nothing that takes
    /// longer, and looks now and then whether the while is over.
    async fn not_now(&mut self, pending: &Pending<'_>, mut fault: Fault) -> Flow<Option<Value>> {
        const NOW_AND_THEN: [Duration; 2] = [Duration::from_mins(5), Duration::from_mins(15)];
        let [often, seldom] = NOW_AND_THEN;
        if let (Some(_), FaultClass::NotNow { wait }) = (pending.ask.if_unavailable, fault.class) {
            fault.class = FaultClass::NotNow { wait: wait.clamp(often, seldom) };
        }
        self.without(pending, mapping(fault)).await
    }

    /// The authority cannot be asked: where the route goes on without it after a while, and the while is
    /// over, the fact is null, or what the sender declares.
    async fn without(&mut self, pending: &Pending<'_>, stop: Stop) -> Flow<Option<Value>> {
        let Stop::Failed(failed) = &stop else { return Err(stop) };
        let over = pending.ask.if_unavailable.filter(|unavailable| {
            let root = self.copy.message.envelope.id.root_millis();
            let came = Timestamp(i64::try_from(root).unwrap_or(i64::MAX));
            is_unavailable(failed.fault.class)
                && self.engine.clock.now() >= came.after(unavailable.wait)
        });
        let Some(unavailable) = over else { return Err(stop) };
        match (unavailable.then, &pending.declared) {
            (StandIn::SelfDeclared, Some(declared)) => self.stand_in(pending, declared).await,
            _ => self.leave_null(pending.route, (pending.step, pending.ask)).await,
        }
    }

    /// What the sender declares is the fact: nobody was asked, so nobody is told anything.
    async fn stand_in(&mut self, pending: &Pending<'_>, declared: &Value) -> Flow<Option<Value>> {
        let Pending { route, step, ask, .. } = pending;
        let result = ask.stands_in(declared).map_err(mapping)?;
        let told = FactUse {
            fact: &ask.fact.name,
            purpose: &route.purpose,
            way: FactWay::SelfDeclared,
            answer: None,
            differs: None,
            values: 0,
        };
        let done = done(route, step, ask.stood_in(), result);
        let written = self.write_done(done, Vec::new(), false).await?;
        self.engine.observer.fact(&told);
        Ok(written.result())
    }
}

impl Pending<'_> {
    /// Where what the sender declares differs from what was said; none where there are not both.
    fn differs(&self, said: &Said) -> Option<Vec<String>> {
        let declared = self.declared.as_ref().filter(|_| said.kept.answer == Answer::Found)?;
        Some(differences(declared, &said.value))
    }
}

/// The day's questions are used up.
fn not_today(callee: Callee<'_>, now: Timestamp) -> Fault {
    let text = format!(
        "`{}` was asked as often today as `limits` of its configuration let questions of this \
         priority; this one waits until tomorrow",
        callee.target()
    );
    Fault::new(FaultClass::NotNow { wait: until_tomorrow(now) }, "SN0775", text)
}

fn is_unavailable(class: FaultClass) -> bool {
    match class {
        FaultClass::Transient { .. }
        | FaultClass::Outage
        | FaultClass::NotNow { .. }
        | FaultClass::NoAnswer => true,
        FaultClass::Refused | FaultClass::Poison => false,
    }
}

fn is_stale(failed: &Failed) -> bool {
    let refused =
        matches!(failed.during, During::Call { .. }) && failed.fault.class == FaultClass::Refused;
    refused && failed.fault.reason.as_deref() == Some(STALE_NUMBER)
}

/// How many values a fact gives a route: so many a person was not asked for.
fn values(result: &Value) -> u64 {
    match result {
        Value::Null => 0,
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(fields) => fields.values().map(values).sum(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}
