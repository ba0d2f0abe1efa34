//! The way of a delivery through the steps of its route, as far as its done steps show it.
//!
//! Invariant: what runs next depends on the done steps alone; a branch that was taken is never asked
//! about again.

use serde_json::{Map, Value, json};

use super::{Ask, Branch, Choose, Emit, Route, Step, Verb};
use crate::{
    fault::{Fault, FaultClass},
    template::Scope,
    verdict::EffectKind,
};

impl Route {
    /// Whether it only maps, chooses and emits, and keeps no order: then it needs no claim.
    pub fn is_fast(&self) -> bool {
        self.order.is_none() && only_emits(&self.steps)
    }

    /// The questions that it may ask.
    pub fn asked(&self) -> impl Iterator<Item = &Ask> {
        self.each_step().filter_map(|step| match &step.verb {
            Verb::Ask(ask) => Some(ask),
            Verb::Use(_) | Verb::Emit(_) | Verb::Choose(_) => None,
        })
    }

    /// Every step, those of branches after their `choose`, in the order in which they are written.
    pub fn each_step(&self) -> impl Iterator<Item = &Step> {
        let mut open = vec![self.steps.iter()];
        std::iter::from_fn(move || {
            loop {
                let Some(step) = open.last_mut()?.next() else {
                    open.pop();
                    continue;
                };
                if let Verb::Choose(choose) = &step.verb {
                    open.extend(choose.branches.iter().rev().map(|branch| branch.steps.iter()));
                }
                return Some(step);
            }
        })
    }

    /// The adapter instances without which it does not go on. What the ledger itself applies is no call, and
    /// what is asked for a while only holds nobody.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.each_step().filter_map(|step| match &step.verb {
            Verb::Use(used) if used.effect() != EffectKind::Ledger => Some(used.instance.as_str()),
            Verb::Ask(ask) if ask.if_unavailable.is_none() => Some(ask.fact.held_by.as_str()),
            Verb::Use(_) | Verb::Emit(_) | Verb::Choose(_) | Verb::Ask(_) => None,
        })
    }

    /// The step that is called so, in whatever branch.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.each_step().find(|step| step.id == id)
    }

    /// The first step, by id, that is not done; with it, whether nothing comes after it. A `choose`
    /// counts as one step until its branch is known. None where every step is done, and where a branch
    /// was taken that this version does not have.
    pub fn next_step(&self, done: &Map<String, Value>) -> Option<(&Step, bool)> {
        let mut left = Vec::with_capacity(2);
        remaining(&self.steps, done, &mut left).ok()?;
        Some((left.first()?, left.len() == 1))
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self, done: &Map<String, Value>) -> bool {
        let mut left = Vec::new();
        remaining(&self.steps, done, &mut left).is_ok() && left.is_empty()
    }

    /// Hands every emit that a fast route makes of the message in `scope` to `act`. A fault names its
    /// step.
    pub fn each_emit<'r>(
        &'r self,
        scope: &Scope<'_>,
        mut act: impl FnMut(&'r str, &'r Emit) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        each_emit(&self.steps, scope, &mut act)
    }
}

fn only_emits(steps: &[Step]) -> bool {
    steps.iter().all(|step| match &step.verb {
        Verb::Use(_) | Verb::Ask(_) => false,
        Verb::Emit(_) => true,
        Verb::Choose(choose) => choose.branches.iter().all(|branch| only_emits(&branch.steps)),
    })
}

/// The branch that was taken is not one of this version's.
struct UnknownBranch;

/// The first two steps that are not done.
fn remaining<'r>(
    steps: &'r [Step],
    done: &Map<String, Value>,
    left: &mut Vec<&'r Step>,
) -> Result<(), UnknownBranch> {
    for step in steps {
        match (done.get(&step.id), &step.verb) {
            (None, _) => left.push(step),
            (Some(chosen), Verb::Choose(choose)) => {
                let branch = choose.chosen(chosen).ok_or(UnknownBranch)?;
                remaining(&branch.steps, done, left)?;
            }
            (Some(_), _) => {}
        }
        if left.len() > 1 {
            break;
        }
    }
    Ok(())
}

fn each_emit<'r>(
    steps: &'r [Step],
    scope: &Scope<'_>,
    act: &mut impl FnMut(&'r str, &'r Emit) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for step in steps {
        let acted = match &step.verb {
            Verb::Emit(emit) => act(&step.id, emit),
            Verb::Choose(choose) => match choose.choose(scope) {
                Ok(branch) => {
                    each_emit(&branch.steps, scope, act)?;
                    Ok(())
                }
                Err(fault) => Err(fault),
            },
            Verb::Use(_) | Verb::Ask(_) => Ok(()),
        };
        acted.map_err(|fault| fault.at(&step.id))?;
    }
    Ok(())
}

impl Choose {
    /// The branch that the message takes: the first whose condition holds.
    pub fn choose(&self, scope: &Scope<'_>) -> Result<&Branch, Fault> {
        for branch in &self.branches {
            let taken = branch.when.as_ref().map_or(Ok(true), |when| when.holds(scope))?;
            if taken {
                return Ok(branch);
            }
        }
        let text = "no condition of the `choose` holds, and it has no `otherwise`; the value is not \
                    one of those that its schema lists";
        Err(Fault::new(FaultClass::Poison, "SN0728", text))
    }

    /// The branch that a done step says was taken.
    pub fn chosen(&self, result: &Value) -> Option<&Branch> {
        let name = result["branch"].as_str()?;
        self.branches.iter().find(|branch| branch.name == name)
    }
}

impl Branch {
    /// The name of a branch without steps; no step can be called so.
    pub const NOTHING: &'static str = "-";

    /// What `step_done.operation` holds when it was taken.
    pub fn operation(&self) -> String {
        format!("choose:{}", self.name)
    }

    /// The result of its `choose`.
    pub fn result(&self) -> Value {
        json!({ "branch": self.name })
    }
}

impl Step {
    /// Whether `operation`, as `step_done.operation` holds it, is something that this step does.
    pub fn does(&self, operation: &str) -> bool {
        match &self.verb {
            Verb::Use(call) => call.target() == operation,
            Verb::Emit(emit) => operation.strip_prefix("emit:") == Some(&emit.kind),
            Verb::Choose(choose) => {
                choose.branches.iter().any(|branch| branch.operation() == operation)
            }
            Verb::Ask(ask) => ask.operation() == operation,
        }
    }
}
