//! A message is taken through a route twice, side by side: once every step sees the whole of what was
//! answered, once no more than what is kept of it.
//!
//! Invariant: both go the same way and give the same, or stop alike.

use std::fmt::Debug;

use serde_json::{Map, Value};

use super::{Counts, Making, valid};
use crate::{
    facts::Parts,
    fault::{Fault, FaultClass},
    route::{Answer, Ask, Branch, IfMissing, Question, Route, StandIn, Step, Use, Verb},
    schema::holds,
    template::Scope,
};

/// What the step of a need comes to.
enum Told {
    /// With the whole value, and with what is kept of it.
    Value(Value, Value),
    Null,
    /// The delivery waits for a person.
    Parked,
    /// Chance finds nothing that the authority promises.
    Nothing,
}

/// The results of the steps so far.
#[derive(Default)]
struct Done {
    whole: Map<String, Value>,
    kept: Map<String, Value>,
}

impl Done {
    fn insert(&mut self, step: &Step, whole: Value, kept: Value) {
        self.whole.insert(step.id.clone(), whole);
        self.kept.insert(step.id.clone(), kept);
    }

    /// What runs next on both ways.
    fn next<'r>(&self, route: &'r Route) -> Result<Option<&'r Step>, String> {
        let next = |done| route.next_step(done).map(|(step, _)| step);
        let (whole, kept) = (next(&self.whole), next(&self.kept));
        if whole.map(|step| &step.id) == kept.map(|step| &step.id) {
            return Ok(whole);
        }
        Err("with what is kept another step comes next".to_owned())
    }
}

/// Takes a message through the route; targets and authorities answer what they promise, or refuse.
pub(super) fn run(
    making: &mut Making,
    route: &Route,
    body: &Value,
    counts: &mut Counts,
) -> Result<(), String> {
    let body = route.body(&crate::json::canonical(body)).map_err(|fault| fault.to_string())?;
    let (envelope, mut done) = (super::envelope(), Done::default());
    match route.applies(&Scope::new(&body, &envelope, &done.whole)) {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(fault) => return stopped(making, &fault),
    }
    while let Some(step) = done.next(route)? {
        counts.steps += 1;
        let scopes = [&done.whole, &done.kept].map(|done| Scope::new(&body, &envelope, done));
        let result = match &step.verb {
            Verb::Emit(emit) => alike(&scopes, |scope| emit.emitted(scope)).map(same(Value::Null)),
            Verb::Choose(choose) => {
                let name = |branch: &Branch| branch.result();
                let chosen = alike(&scopes, |scope| choose.choose(scope).map(name));
                chosen.map(|chosen| chosen.map(|branch| (branch.clone(), branch)))
            }
            Verb::Use(used) => {
                let Some(answer) = answer(making, used) else { return Ok(()) };
                alike(&scopes, |scope| used.input(scope)).map(same(answer))
            }
            Verb::Ask(ask) => match asked(making, ask, &scopes, counts)? {
                Ok(Told::Value(whole, kept)) => Ok(Ok((whole, kept))),
                Ok(Told::Null) => Ok(Ok((Value::Null, Value::Null))),
                Ok(Told::Parked | Told::Nothing) => return Ok(()),
                Err(fault) => Ok(Err(fault)),
            },
        };
        match result? {
            Ok((whole, kept)) => done.insert(step, whole, kept),
            Err(fault) => return stopped(making, &fault),
        }
    }
    Ok(())
}

/// Whether it was foretold that an expression or a function stops, or gives none or many.
fn stopped(making: &Making, fault: &Fault) -> Result<(), String> {
    match (making.foretold, fault.code.as_str()) {
        (true, "SN0751" | "SN0752" | "SN0759") => Ok(()),
        _ => Err(fault.to_string()),
    }
}

/// What is given of the whole answers, if the same is given of what is kept of them.
fn alike<T: PartialEq + Debug>(
    [whole, kept]: &[Scope<'_>; 2],
    give: impl Fn(&Scope<'_>) -> Result<T, Fault>,
) -> Result<Result<T, Fault>, String> {
    match (give(whole), give(kept)) {
        (Ok(whole), Ok(kept)) if whole == kept => Ok(Ok(whole)),
        (Err(whole), Err(kept)) if whole.code == kept.code => Ok(Err(whole)),
        (whole, kept) => Err(format!("of the whole {whole:?}, of what is kept {kept:?}")),
    }
}

fn same<T>(result: Value) -> impl FnOnce(Result<T, Fault>) -> Result<(Value, Value), Fault> {
    |given| given.map(|_| (result.clone(), result))
}

/// What the target of a step answers; none where chance finds nothing that it promises.
fn answer(making: &mut Making, used: &Use) -> Option<Value> {
    let no = Fault::new(FaultClass::Refused, "SN0763", "no");
    match used.refusal(&no) {
        Some(refusal) if making.dice.chance(40) => Some(refusal),
        _ => valid(&mut making.dice, &used.operation.output),
    }
}

/// Asks, and is told.
fn asked(
    making: &mut Making,
    ask: &Ask,
    scopes: &[Scope<'_>; 2],
    counts: &mut Counts,
) -> Result<Result<Told, Fault>, String> {
    let question = match alike(scopes, |scope| ask.question(scope))? {
        Ok(Some(question)) => question,
        Ok(None) => {
            counts.null += 1;
            return Ok(Ok(Told::Null));
        }
        // That a text is empty is known when it has come.
        Err(fault) if fault.code == "SN0773" && is_empty(ask, &scopes[0]) => {
            return Ok(Ok(Told::Nothing));
        }
        Err(fault) => return Ok(Err(fault)),
    };
    counts.questions += 1;
    let schema = holds::validator(&ask.fact.operation.input).ok_or("no schema")?;
    if !schema.is_valid(&question.input) {
        return Err(format!("the question {} is not valid", question.input));
    }
    // It is compared with whatever is answered.
    let declared = match alike(scopes, |scope| ask.declared(scope))? {
        Ok(declared) => declared,
        Err(fault) => return Ok(Err(fault)),
    };
    match making.dice.below(20) {
        0 | 1 => without(ask, Answer::NotFound, counts),
        2 => without(ask, Answer::Ambiguous, counts),
        3..=7 if ask.if_unavailable.is_some() => unavailable(ask, declared, counts),
        _ => found(making, ask, &question, counts),
    }
}

/// Nobody answers in time: what is declared stands in, where it may.
fn unavailable(
    ask: &Ask,
    declared: Option<Value>,
    counts: &mut Counts,
) -> Result<Result<Told, Fault>, String> {
    let may = ask.if_unavailable.is_some_and(|then| then.then == StandIn::SelfDeclared);
    let Some(declared) = declared.filter(|_| may) else {
        counts.null += 1;
        return Ok(Ok(Told::Null));
    };
    counts.declared += 1;
    match ask.stands_in(&declared) {
        Ok(kept) => Ok(Ok(Told::Value(declared, kept))),
        Err(fault) => Err(format!("{declared} does not stand in: {fault}")),
    }
}

/// Whether it would be asked about nobody, or for no case.
fn is_empty(ask: &Ask, scope: &Scope<'_>) -> bool {
    let about = ask.input.render(scope).map(|input| input[&ask.fact.about].clone());
    about.is_ok_and(|about| about == "") || ask.case.render(scope).is_ok_and(|case| case == "")
}

/// An answer without a value.
fn without(ask: &Ask, answer: Answer, counts: &mut Counts) -> Result<Result<Told, Fault>, String> {
    let then = if answer == Answer::NotFound { ask.if_not_found } else { ask.if_ambiguous };
    match (then, ask.taken(answer, &Value::Null)) {
        (IfMissing::Continue, Ok(Value::Null)) => {
            counts.null += 1;
            Ok(Ok(Told::Null))
        }
        (IfMissing::Park, Err(fault)) if fault.code == "SN0772" => {
            counts.parked += 1;
            Ok(Ok(Told::Parked))
        }
        (_, taken) => Err(format!("{answer:?} is taken for {taken:?}")),
    }
}

/// An answer with a value: the whole of it, and what is used again of what the ledger keeps.
fn found(
    making: &mut Making,
    ask: &Ask,
    question: &Question,
    counts: &mut Counts,
) -> Result<Result<Told, Fault>, String> {
    let Some(answer) = valid(&mut making.dice, &ask.fact.operation.output) else {
        return Ok(Ok(Told::Nothing));
    };
    counts.found += 1;
    let said = |what: &dyn Debug| format!("of the answer {answer}: {what:?}");
    let value = ask.fact.value(answer.clone()).map_err(|fault| said(&fault))?;
    match ask.fact.subjects(&question.about, &value, &super::envelope()) {
        Ok(subjects) if subjects.first() != Some(&question.about) => return Err(said(&subjects)),
        Ok(_) => {}
        Err(fault) => return Ok(Err(fault)),
    }
    let paths = ask.keeps.paths();
    let keeps = Parts::from_paths(paths.iter().map(String::as_str));
    if !ask.keeps.are_among(&keeps) || !ask.parts.are_among(&keeps) {
        return Err(said(&paths));
    }
    let kept = ask.taken(Answer::Found, &keeps.of(&value)).map_err(|fault| said(&fault))?;
    if ask.taken(Answer::Found, &value) != Ok(kept.clone()) {
        return Err(said(&kept));
    }
    Ok(Ok(Told::Value(value, kept)))
}
