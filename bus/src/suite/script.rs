//! Targets that answer as a test says.
//!
//! Invariant: nobody is asked; what the ledger itself applies is worked out by the adapter where the test
//! says nothing of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use snodo_core::{
    adapter::{BoxFuture, Call, Intake, Operation, Port, Recalled, Receipt},
    fault::{Fault, FaultClass},
    ids::DeliveryId,
    register::LedgerEffect,
    route::{
        Answer,
        suite::{Called, Fails, Script, Then, Wanted},
    },
    schema::Schemas,
};

/// What every target of a world shares.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// What the test says, and how many calls of each step it has answered.
    scripts: BTreeMap<String, (Script, usize)>,
    /// The calls, in order.
    pub(super) calls: Vec<(DeliveryId, Called)>,
    /// Calls to which the test gives no answer: step and target.
    pub(super) unanswered: BTreeSet<(String, String)>,
}

impl Log {
    pub(super) fn new(scripts: &BTreeMap<String, Wanted<Script>>) -> Self {
        let of =
            |(step, script): (&String, &Wanted<Script>)| (step.clone(), (script.value.clone(), 0));
        Self { scripts: scripts.iter().map(of).collect(), ..Self::default() }
    }

    /// What the test says to this call of a step.
    fn next(&mut self, step: &str) -> Then {
        let Some((script, answered)) = self.scripts.get_mut(step) else { return Then::Plain };
        let then = script.fails.get(*answered).map(|fails| Then::Fails(*fails));
        *answered += 1;
        then.unwrap_or_else(|| script.then.clone())
    }
}

/// One adapter instance of a world.
pub(super) struct Target {
    pub(super) name: String,
    /// The real one.
    pub(super) port: Arc<dyn Port>,
    pub(super) log: Arc<Mutex<Log>>,
}

impl Target {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the test says to this call; nothing where the operation is left to do what it does of itself.
    fn said(&self, call: &Call<'_>) -> Option<Result<Value, Fault>> {
        match self.log().next(&call.step_key.step) {
            Then::Returns(value) => Some(Ok(value)),
            Then::Refuses { code, reason } => Some(Err(refused(&code, reason))),
            Then::Fails(fails) => Some(Err(fault(fails))),
            Then::Plain => None,
        }
    }

    /// What an operation gives that promises nothing; nobody knows what another one would.
    fn plain(&self, call: &Call<'_>) -> Result<Value, Fault> {
        let operation = self.port.operations().into_iter().find(|one| one.name == call.operation);
        let output = operation.map(|operation| operation.output).unwrap_or_default();
        if let Ok(validator) = Schemas::default().compile(&output) {
            let nothing = [json!({}), Value::Null].into_iter().find(|one| validator.is_valid(one));
            if let Some(nothing) = nothing {
                return Ok(nothing);
            }
        }
        let target = format!("{}.{}", self.name, call.operation);
        let step = call.step_key.step.clone();
        let text = format!("the test does not say what `{target}` answers");
        self.log().unanswered.insert((step, target));
        Err(Fault::new(FaultClass::Poison, "SN0167", text))
    }

    fn called(&self, call: &Call<'_>, failed: bool) {
        let step = call.step_key.step.clone();
        let called = Called { step, input: call.input.clone(), failed };
        self.log().calls.push((call.step_key.delivery, called));
    }
}

impl Port for Target {
    fn operations(&self) -> Vec<Operation> {
        self.port.operations()
    }

    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Receipt, Fault>> {
        let answer = self.said(&call).unwrap_or_else(|| self.plain(&call));
        // That nobody is found is an answer to a question.
        let failed = answer
            .as_ref()
            .err()
            .is_some_and(|fault| call.asking.is_none() || Answer::of(fault).is_none());
        self.called(&call, failed);
        Box::pin(async move { answer.map(receipt) })
    }

    fn ledger_effect(&self, call: &Call<'_>) -> Result<LedgerEffect, Fault> {
        let effect = match self.said(call) {
            Some(answer) => answer.map(LedgerEffect::Given),
            None => self.port.ledger_effect(call),
        };
        self.called(call, effect.is_err());
        effect
    }

    fn recall<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Recalled, Fault>> {
        Box::pin(async move {
            let script = self.log().scripts.get(&call.step_key.step).cloned();
            let (script, _) = script.unwrap_or_default();
            if !script.recalls {
                return Ok(Recalled::NotDone);
            }
            let result = match script.then {
                Then::Returns(result) => result,
                Then::Plain | Then::Refuses { .. } | Then::Fails(_) => self.plain(&call)?,
            };
            Ok(Recalled::Done(receipt(result)))
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn listen(&self, _: Arc<dyn Intake>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
}

fn receipt(result: Value) -> Receipt {
    Receipt { result, reference: None, evidence: None }
}

fn refused(code: &str, reason: Option<String>) -> Fault {
    let fault = Fault::new(FaultClass::Refused, code, "the target refuses, as the test says");
    match reason {
        Some(reason) => fault.with_reason(reason),
        None => fault,
    }
}

/// The faults that targets of kind `http` have for these.
fn fault(fails: Fails) -> Fault {
    let (class, code, text) = match fails {
        Fails::Transient(retry_after) => {
            (FaultClass::Transient { retry_after }, "SN0762", "the target cannot do it now")
        }
        Fails::Outage => (FaultClass::Outage, "SN0760", "nobody answers"),
        Fails::Uncertain => (FaultClass::NoAnswer, "SN0761", "no answer came"),
    };
    Fault::new(class, code, format!("{text}, as the test says"))
}
