//! A route in a few words: for `snodo describe` and whoever reads its JSON.
//!
//! Invariant: what a route does, never a value of a message.

use serde_json::{Value, json};

use super::{OnPark, Route, Step, Verb};

impl Route {
    /// Name, type, steps, order, version.
    pub fn describe(&self) -> Value {
        let order = self.order.as_ref().map(|order| {
            let on_park = match order.on_park {
                OnPark::Hold => "hold",
                OnPark::Skip => "skip",
            };
            json!({ "by": order.written, "onPark": on_park, "shards": order.shards })
        });
        json!({
            "route": self.name,
            "title": self.title,
            "office": self.office,
            "from": self.from,
            "purpose": self.purpose,
            "path": if self.is_fast() { "fast" } else { "effect" },
            "order": order,
            "steps": steps(&self.steps),
            "digest": self.digest,
        })
    }
}

fn steps(steps: &[Step]) -> Value {
    steps.iter().map(step).collect()
}

fn step(step: &Step) -> Value {
    match &step.verb {
        Verb::Use(used) => {
            json!({ "step": step.id, "use": used.target(), "effect": used.effect().word() })
        }
        Verb::Emit(emit) => json!({ "step": step.id, "emit": emit.kind }),
        Verb::Ask(ask) => {
            let fact = &ask.fact;
            json!({ "step": step.id, "ask": fact.name, "of": fact.source(), "keeps": ask.parts.paths() })
        }
        Verb::Choose(choose) => {
            let branches = choose.branches.iter().map(|branch| steps(&branch.steps));
            json!({ "step": step.id, "choose": branches.collect::<Vec<_>>() })
        }
    }
}
