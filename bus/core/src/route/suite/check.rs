//! Whether the route has what its tests name, and its targets can answer what the tests say.
//!
//! Invariant: a test that passes here can be run; nothing in it is about another route.

use super::{Expect, Script, Test, Then, Wanted};
use crate::{
    diagnostic::{Place, Problems, Words, help_with_nearest},
    route::{Callee, Route, Verb},
    schema::Schemas,
    template::FACT,
};

/// Says what of the tests is not about this route.
pub(in crate::route) fn check(tests: &[Test], route: &Route, problems: &mut Problems) {
    let mut checks = Checks { route, problems };
    for test in tests {
        checks.test(test);
    }
}

struct Checks<'c> {
    route: &'c Route,
    problems: &'c mut Problems,
}

impl Checks<'_> {
    fn test(&mut self, test: &Test) {
        for (step, script) in &test.scripts {
            let known = match step.strip_prefix(FACT) {
                Some(need) => self.need(need, &script.place),
                None => self.is_call(step, &script.place),
            };
            if known {
                self.answers(step, script);
            }
        }
        if let Some(step) = &test.crash_after {
            self.step_or_need(step, &test.place);
        }
        for sent in &test.messages {
            self.expect(&sent.expect);
        }
        self.ids(test);
    }

    /// Two messages of one sender with one id are one message.
    fn ids(&mut self, test: &Test) {
        let Some(order) = &test.expect.order else { return };
        for id in &order.value {
            let mut known = test.messages.iter().map(|sent| sent.incoming.sender_id.as_str());
            if !known.any(|known| known == id) {
                let known = test.messages.iter().map(|sent| sent.incoming.sender_id.as_str());
                let help = help_with_nearest(id, known, "messages of this test");
                let title = format!("no message of this test has the id `{id}`");
                self.missing(&order.place, Words::new(title, "no such message", help));
            }
        }
    }

    fn expect(&mut self, expect: &Expect) {
        if let Some(ran) = &expect.ran {
            ran.value.iter().for_each(|id| {
                self.step(id, &ran.place);
            });
        }
        for step in &expect.not_ran {
            self.step(&step.value, &step.place);
        }
        for wanted in expect.asked.iter().chain(&expect.reused).chain(&expect.differs) {
            for need in &wanted.value {
                self.need(need, &wanted.place);
            }
        }
        for need in &expect.not_asked {
            self.need(&need.value, &need.place);
        }
        for (step, wanted) in &expect.calls {
            self.is_call(step, &wanted.place);
        }
        for (step, wanted) in &expect.inputs {
            self.is_call(step, &wanted.place);
        }
        for emit in expect.emits.iter().flat_map(|emits| &emits.value) {
            self.emitted(&emit.kind, &emit.place);
        }
        if let Some(step) = expect.fault.as_ref().and_then(|fault| fault.step.as_ref()) {
            self.step_or_need(&step.value, &step.place);
        }
    }

    fn step(&mut self, id: &str, place: &Place) -> bool {
        // The choice that a step's own `when` makes is called with a dot, and nobody names it.
        let known =
            || self.route.each_step().map(|step| step.id.as_str()).filter(|id| !id.contains('.'));
        let found = known().any(|known| known == id);
        if !found {
            let help = help_with_nearest(id, known(), "steps of the route");
            let title = format!("`{}` has no step `{id}`", self.route.name);
            self.missing(place, Words::new(title, "no such step", help));
        }
        found
    }

    fn step_or_need(&mut self, id: &str, place: &Place) {
        match id.strip_prefix(FACT) {
            Some(need) => self.need(need, place),
            None => self.step(id, place),
        };
    }

    /// Whether the route has a need.
    fn need(&mut self, need: &str, place: &Place) -> bool {
        let known = || self.route.each_step().filter_map(|step| step.id.strip_prefix(FACT));
        let found = known().any(|known| known == need);
        if !found {
            let help = help_with_nearest(need, known(), "needs of the route");
            let title = format!("`{}` has no need `{need}`", self.route.name);
            self.missing(place, Words::new(title, "no such need", help));
        }
        found
    }

    /// Whether a step calls somebody, as it must.
    fn is_call(&mut self, id: &str, place: &Place) -> bool {
        if !self.step(id, place) {
            return false;
        }
        let calls = self.call(id).is_some();
        if !calls {
            let help = "only a step with `use:` has a target that answers and is given something";
            let words = Words::new(format!("`{id}` calls nobody"), "no call", help);
            self.missing(place, words);
        }
        calls
    }

    fn call(&self, id: &str) -> Option<Callee<'_>> {
        match &self.route.step(id)?.verb {
            Verb::Use(used) => Some(used.callee()),
            Verb::Ask(ask) => Some(ask.callee()),
            Verb::Emit(_) | Verb::Choose(_) => None,
        }
    }

    /// What a target is said to answer is what its operation promises.
    fn answers(&mut self, step: &str, script: &Wanted<Script>) {
        let (Some(used), Then::Returns(value)) = (self.call(step), &script.value.then) else {
            return;
        };
        let Ok(validator) = Schemas::default().compile(&used.operation.output) else { return };
        let Some(first) = validator.violations(value).into_iter().next() else { return };
        let at = if first.pointer.is_empty() { "/" } else { &first.pointer };
        let title = format!("`{}` never answers this", used.target());
        let label = format!("at `{at}`: {} expected", first.expected);
        let help = "write what the operation's output schema promises: `snodo describe` shows it";
        self.problems.error("SN0166", script.place.clone(), Words::new(title, label, help));
    }

    fn emitted(&mut self, kind: &str, place: &Place) {
        let kinds: Vec<&str> = self
            .route
            .each_step()
            .filter_map(|step| match &step.verb {
                Verb::Emit(emit) => Some(emit.kind.as_str()),
                Verb::Use(_) | Verb::Choose(_) | Verb::Ask(_) => None,
            })
            .collect();
        if !kinds.contains(&kind) {
            let help = help_with_nearest(kind, kinds.iter().copied(), "types that it emits");
            let title = format!("`{}` never emits `{kind}`", self.route.name);
            self.missing(place, Words::new(title, "not one of its types", help));
        }
    }

    fn missing(&mut self, place: &Place, words: Words) {
        self.problems.error("SN0164", place.clone(), words);
    }
}
