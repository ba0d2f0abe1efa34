//! A step that asks an authority for a fact, so that nobody else is asked.
//!
//! Invariant: no question without a purpose and a case; of the answer nothing is kept but what the route
//! reads.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    facts::{Fact, Parts},
    fault::{Fault, FaultClass},
    route::{Callee, Route, Step, Verb},
    schema::Validator,
    template::{Condition, FACT, Scope, Template, valid},
};

/// What `step_done.operation` begins with, where a fact was asked for.
pub const ASKS: &str = "ask:";
/// The same, where a declaration stands in for it.
pub const DECLARES: &str = "declared:";

/// A need of a route, as the step that asks for it. Its result is what `$facts.<need>` reads.
#[derive(Debug)]
pub struct Ask {
    /// What `$facts.<need>` reads.
    pub need: String,
    /// What is asked.
    pub fact: Arc<Fact>,
    /// Whether it is asked at all; where not, it is null.
    pub when: Option<Condition>,
    /// About whom, and what else the question says.
    pub input: Template,
    /// Checks it.
    pub(crate) schema: Validator,
    /// The reference of the case.
    pub case: Template,
    /// What the route reads of it.
    pub parts: Parts,
    /// What all routes of its purpose read of it: an answer is kept for them, and no more of it.
    pub keeps: Parts,
    /// What becomes of the delivery when the authority knows nothing.
    pub if_not_found: IfMissing,
    /// The same when it knows several.
    pub if_ambiguous: IfMissing,
    /// Until when it waits for an authority that does not answer; none for as long as `retry` says.
    pub if_unavailable: Option<IfUnavailable>,
    /// What the sender says of it: compared with what the authority says.
    pub declared: Option<Arc<Declared>>,
    /// Which questions go first where the authority answers so many a day.
    pub priority: Priority,
}

/// What an outcome without a value means for the delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfMissing {
    /// It waits for a person: a negative answer never refuses anybody by itself.
    #[default]
    Park,
    /// It goes on, and the fact is null.
    Continue,
}

/// `if_unavailable: { wait, then }`: what the fact is when the authority has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfUnavailable {
    /// How long after the message came.
    pub wait: Duration,
    /// And then.
    pub then: StandIn,
}

/// What stands in for a fact whose authority does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// Nothing: it is null.
    Null,
    /// What the sender declares, where the law lets it.
    SelfDeclared,
}

/// `declared`: what the sender says of a fact.
#[derive(Debug)]
pub struct Declared {
    /// The value, or a part of it; null where nothing is said.
    pub value: Template,
    /// The parts that it may have: they are compared, so they are kept.
    pub parts: Parts,
}

/// Which of the questions of a day go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// What may wait: it leaves half of the day's questions to the others.
    Low,
    /// It leaves a tenth.
    #[default]
    Normal,
    /// Somebody stands at the desk.
    High,
}

impl Priority {
    /// The words, as routes write them.
    pub const WORDS: [(&str, Self); 3] =
        [("low", Self::Low), ("normal", Self::Normal), ("high", Self::High)];

    /// How many of `per_day` questions may have been put before one of these.
    pub fn most(self, per_day: u64) -> u64 {
        match self {
            Self::Low => per_day / 2,
            Self::Normal => per_day - per_day / 10,
            Self::High => per_day,
        }
    }
}

/// One question, rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The input of the operation.
    pub input: Value,
    /// About whom.
    pub about: String,
    /// The reference of the case.
    pub case: String,
}

/// How the outcome of a question is called, in rows, metrics and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// There is one.
    Found,
    /// The authority knows nothing.
    NotFound,
    /// It knows several, and not which.
    Ambiguous,
}

impl Answer {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotFound => crate::adapter::NOT_FOUND,
            Self::Ambiguous => crate::adapter::AMBIGUOUS,
        }
    }

    /// The answer that is called so.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Found, Self::NotFound, Self::Ambiguous]
            .into_iter()
            .find(|answer| answer.word() == word)
    }

    /// What a refusal of an authority answers; none where it is no answer.
    pub fn of(fault: &Fault) -> Option<Self> {
        let reason = fault.reason.as_deref().filter(|_| fault.class == FaultClass::Refused)?;
        Self::of_word(reason).filter(|answer| *answer != Self::Found)
    }
}

/// Has every answer kept for all routes of its purpose.
pub(super) fn share(routes: &mut [Route]) {
    let mut read: BTreeMap<(String, String), Parts> = BTreeMap::new();
    for route in &mut *routes {
        let purpose = route.purpose.clone();
        each_ask(&mut route.steps, &mut |ask| {
            let key = (purpose.clone(), ask.fact.name.clone());
            read.entry(key).or_default().join(&ask.parts);
        });
    }
    for route in routes {
        let purpose = route.purpose.clone();
        each_ask(&mut route.steps, &mut |ask| {
            let key = (purpose.clone(), ask.fact.name.clone());
            ask.keeps = read.get(&key).cloned().unwrap_or_default();
        });
    }
}

fn each_ask(steps: &mut [Step], act: &mut impl FnMut(&mut Ask)) {
    for step in steps {
        match &mut step.verb {
            Verb::Ask(ask) => act(ask),
            Verb::Choose(choose) => {
                for branch in &mut choose.branches {
                    each_ask(&mut branch.steps, act);
                }
            }
            Verb::Use(_) | Verb::Emit(_) => {}
        }
    }
}

impl Ask {
    /// What the id of the step of a need is.
    pub fn step(need: &str) -> String {
        format!("{FACT}{need}")
    }

    /// Whom it asks.
    pub fn callee(&self) -> Callee<'_> {
        Callee { instance: &self.fact.held_by, operation: &self.fact.operation }
    }

    /// What `step_done.operation` holds.
    pub fn operation(&self) -> String {
        format!("{ASKS}{}", self.fact.name)
    }

    /// What it holds where a declaration stands in for the answer.
    pub fn stood_in(&self) -> String {
        format!("{DECLARES}{}", self.fact.name)
    }

    /// What is asked of the message in `scope`, valid against the operation's schema; none where it is not
    /// asked.
    pub fn question(&self, scope: &Scope<'_>) -> Result<Option<Question>, Fault> {
        if !self.when.as_ref().map_or(Ok(true), |when| when.holds(scope))? {
            return Ok(None);
        }
        let input = self.input.render(scope)?;
        let about = match &input[&self.fact.about] {
            Value::String(about) if !about.is_empty() => about.clone(),
            _ => return Err(self.unasked("about nobody")),
        };
        valid(&input, &self.schema, || format!("the question to `{}`", self.fact.source()))?;
        match self.case.render(scope)? {
            Value::String(case) if !case.is_empty() => Ok(Some(Question { input, about, case })),
            _ => Err(self.unasked("for no case")),
        }
    }

    /// What the delivery does with an answer: the value that `$facts.<need>` reads, or why it waits.
    pub fn taken(&self, answer: Answer, value: &Value) -> Result<Value, Fault> {
        let then = match answer {
            Answer::Found => return Ok(self.parts.of(value)),
            Answer::NotFound => self.if_not_found,
            Answer::Ambiguous => self.if_ambiguous,
        };
        match then {
            IfMissing::Continue => Ok(Value::Null),
            IfMissing::Park => Err(self.missing(answer)),
        }
    }

    /// What the sender says of the fact; none where he says nothing.
    pub fn declared(&self, scope: &Scope<'_>) -> Result<Option<Value>, Fault> {
        let Some(declared) = &self.declared else { return Ok(None) };
        Ok(Some(declared.value.render(scope)?).filter(|value| !value.is_null()))
    }

    /// What `$facts.<need>` reads where a declaration stands in. One that is no such fact is a mistake of
    /// the route.
    pub fn stands_in(&self, declared: &Value) -> Result<Value, Fault> {
        if self.fact.is_valid(declared) {
            return Ok(self.parts.of(declared));
        }
        let text = format!("what is declared under `{}` is no `{}`", self.need, self.fact.name);
        Err(Fault::new(FaultClass::Poison, "SN0776", text))
    }

    fn missing(&self, answer: Answer) -> Fault {
        let said = match answer {
            Answer::Ambiguous => "knows several, and not which",
            Answer::NotFound | Answer::Found => "knows nothing",
        };
        let text = format!(
            "`{}` {said} of the person for whom `{}` was asked; correct the message's data at \
             their source, then replay or discard",
            self.fact.source(),
            self.fact.name
        );
        Fault::new(FaultClass::Refused, "SN0772", text).with_reason(answer.word())
    }

    fn unasked(&self, how: &str) -> Fault {
        let text = format!("`{}` would be asked {how}: nothing was asked", self.fact.name);
        Fault::new(FaultClass::Poison, "SN0773", text)
    }
}
