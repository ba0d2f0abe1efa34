//! Whether what was observed is what a test expects.
//!
//! Invariant: what a test does not say is not looked at; each difference names its place in the test, what
//! was expected and what was found.

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use serde_json::Value;

use super::{EmitWanted, Expect, FaultWanted, ProblemWanted, Test, Wanted};
use crate::{diagnostic::Place, fault::Fault, template::FACT};

/// What was observed of a test.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Of each message.
    pub messages: Vec<Seen>,
    /// The order in which they ended: indexes of `messages`.
    pub order: Vec<usize>,
    /// How many deliveries the route got.
    pub deliveries: u32,
    /// Calls to which the test gives no answer: step and target.
    pub unanswered: BTreeSet<(String, String)>,
}

/// What was observed of one message.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// One of [`STATES`](super::STATES).
    pub state: &'static str,
    /// The steps that were done, in order, without choices.
    pub ran: Vec<String>,
    /// What became of each need: the need, and the outcome.
    pub facts: Vec<(String, String)>,
    /// Needs for which an earlier answer was used, in order.
    pub reused: Vec<String>,
    /// The needs of which the sender declares something else, in order.
    pub differs: Vec<String>,
    /// The choices that were made: step and branch.
    pub chose: Vec<(String, String)>,
    /// The calls, in order.
    pub calls: Vec<Called>,
    /// What was emitted, in order.
    pub emits: Vec<Emission>,
    /// How long it waited before each new attempt.
    pub waits: Vec<Duration>,
    /// Its last fault.
    pub fault: Option<Fault>,
    /// Why it was refused at the door: the code, and the pointers to what is wrong.
    pub problem: Option<(String, Vec<String>)>,
}

/// A call of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    /// The step.
    pub step: String,
    /// What it was given.
    pub input: Value,
    /// Whether it was answered with a fault.
    pub failed: bool,
}

/// A message that was emitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Emission {
    /// Its type.
    pub kind: String,
    /// The parties to whom it is addressed.
    pub to: Vec<String>,
    /// Its body.
    pub data: Value,
}

/// A difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Where the test says otherwise.
    pub place: Place,
    /// Of what.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

/// The differences between a test and what was observed.
pub fn judge(test: &Test, observed: &Observed) -> Vec<Failure> {
    let mut judge = Judge { of: String::new(), failures: Vec::new() };
    for (step, target) in &observed.unanswered {
        let (what, write) = match step.strip_prefix(FACT) {
            Some(need) => (step.clone(), format!("facts: {{ {need}: … }}")),
            None => (format!("steps.{step}"), format!("steps: {{ {step}: {{ returns: … }} }}")),
        };
        let expected = format!("what `{target}` answers; write `{write}`");
        judge.differs(&what, &test.place, expected, "the test does not say it");
    }
    for (sent, seen) in test.messages.iter().zip(&observed.messages) {
        if test.messages.len() > 1 {
            judge.of = format!("{}: ", sent.incoming.sender_id);
        }
        judge.one(&sent.expect, seen);
    }
    judge.of.clear();
    if let Some(wanted) = &test.expect.order {
        let id = |index: &usize| test.messages[*index].incoming.sender_id.clone();
        let found: Vec<String> = observed.order.iter().map(id).collect();
        judge.lists("order", wanted, &found);
    }
    if let Some(wanted) = &test.expect.deliveries {
        judge.same("deliveries", wanted, &observed.deliveries);
    }
    judge.failures.sort_by_key(|failure| failure.place.start);
    judge.failures
}

struct Judge {
    /// Of which message.
    of: String,
    failures: Vec<Failure>,
}

impl Judge {
    fn one(&mut self, expect: &Expect, seen: &Seen) {
        if let Some(wanted) = &expect.state
            && wanted.value != seen.state
        {
            let found = format!("{}{}", seen.state, why(seen));
            self.differs("state", &wanted.place, &wanted.value, found);
        }
        if let Some(wanted) = &expect.ran {
            self.lists("ran", wanted, &seen.ran);
        }
        for step in &expect.not_ran {
            if seen.ran.contains(&step.value) {
                let expected = format!("not `{}`", step.value);
                self.differs("not_ran", &step.place, expected, "it ran");
            }
        }
        self.asked(expect, seen);
        for (step, wanted) in &expect.calls {
            let found = seen.calls.iter().filter(|call| call.step == *step).count();
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            self.same(&format!("calls.{step}"), wanted, &found);
        }
        for (step, wanted) in &expect.inputs {
            self.input(step, wanted, seen);
        }
        if let Some(wanted) = &expect.emits {
            self.emits(wanted, &seen.emits);
        }
        if let Some(wanted) = &expect.waits {
            let in_words = |waits: &[Duration]| waits.iter().map(|wait| lasting(*wait)).collect();
            let (expected, found): (Vec<_>, Vec<_>) =
                (in_words(&wanted.value), in_words(&seen.waits));
            self.lists("waits", &Wanted { value: expected, place: wanted.place.clone() }, &found);
        }
        if let Some(ProblemWanted { code, pointer }) = &expect.problem {
            let (found, at) = seen.problem.clone().unwrap_or_default();
            self.word("problem.code", code.as_ref(), &found);
            if let Some(wanted) = pointer.as_ref().filter(|wanted| !at.contains(&wanted.value)) {
                let found = format!("[{}]", at.join(", "));
                self.differs("problem.pointer", &wanted.place, &wanted.value, found);
            }
        }
        if let Some(wanted) = &expect.fault {
            self.fault(wanted, seen.fault.as_ref());
        }
    }

    /// Who was asked for a fact, and for which one nobody.
    fn asked(&mut self, expect: &Expect, seen: &Seen) {
        let mut asked: Vec<String> = Vec::new();
        for need in seen.calls.iter().filter_map(|call| call.step.strip_prefix(FACT)) {
            if !asked.iter().any(|known| known == need) {
                asked.push(need.to_owned());
            }
        }
        if let Some(wanted) = &expect.asked {
            self.lists("asked", wanted, &asked);
        }
        for need in &expect.not_asked {
            if asked.contains(&need.value) {
                let expected = format!("nobody is asked for `{}`", need.value);
                self.differs("not_asked", &need.place, expected, "it was asked for");
            }
        }
        if let Some(wanted) = &expect.reused {
            self.lists("reused", wanted, &seen.reused);
        }
        if let Some(wanted) = &expect.differs {
            self.lists("differs", wanted, &seen.differs);
        }
    }

    fn input(&mut self, step: &str, wanted: &Wanted<Value>, seen: &Seen) {
        let what = format!("inputs.{step}");
        match seen.calls.iter().find(|call| call.step == step) {
            None => self.differs(&what, &wanted.place, "a call", "none was made"),
            Some(call) => self.holds(&what, &wanted.place, &wanted.value, &call.input),
        }
    }

    fn emits(&mut self, wanted: &Wanted<Vec<EmitWanted>>, found: &[Emission]) {
        let kinds = |kinds: Vec<&str>| format!("[{}]", kinds.join(", "));
        let expected = kinds(wanted.value.iter().map(|emit| emit.kind.as_str()).collect());
        let emitted = kinds(found.iter().map(|emit| emit.kind.as_str()).collect());
        if expected != emitted {
            return self.differs("emits", &wanted.place, expected, emitted);
        }
        for (index, (wanted, found)) in wanted.value.iter().zip(found).enumerate() {
            let what = format!("emits.{}", index + 1);
            if let Some(to) = &wanted.to
                && to.iter().collect::<BTreeSet<_>>() != found.to.iter().collect()
            {
                let in_words = |to: &[String]| format!("[{}]", to.join(", "));
                self.differs(
                    &format!("{what}.to"),
                    &wanted.place,
                    in_words(to),
                    in_words(&found.to),
                );
            }
            if let Some(with) = &wanted.with {
                self.holds(&format!("{what}.with"), &wanted.place, with, &found.data);
            }
        }
    }

    fn fault(&mut self, wanted: &FaultWanted, found: Option<&Fault>) {
        let of = |part: fn(&Fault) -> Option<&str>| found.and_then(part).unwrap_or_default();
        self.word("fault.code", wanted.code.as_ref(), of(|fault| Some(&fault.code)));
        self.word("fault.step", wanted.step.as_ref(), of(|fault| fault.step.as_deref()));
        self.word("fault.reason", wanted.reason.as_ref(), of(|fault| fault.reason.as_deref()));
    }

    fn word(&mut self, what: &str, wanted: Option<&Wanted<String>>, found: &str) {
        if let Some(wanted) = wanted.filter(|wanted| wanted.value != found) {
            let found = if found.is_empty() { "none" } else { found };
            self.differs(what, &wanted.place, &wanted.value, found);
        }
    }

    fn lists(&mut self, what: &str, wanted: &Wanted<Vec<String>>, found: &[String]) {
        if wanted.value != found {
            let in_words = |list: &[String]| format!("[{}]", list.join(", "));
            self.differs(what, &wanted.place, in_words(&wanted.value), in_words(found));
        }
    }

    fn same<T: PartialEq + Display>(&mut self, what: &str, wanted: &Wanted<T>, found: &T) {
        if wanted.value != *found {
            self.differs(what, &wanted.place, &wanted.value, found);
        }
    }

    /// Whether `found` holds at least what is expected.
    fn holds(&mut self, what: &str, place: &Place, expected: &Value, found: &Value) {
        if let Some((at, expected, found)) = lacks(expected, found, String::new()) {
            self.differs(&format!("{what}{at}"), place, expected, found);
        }
    }

    fn differs(&mut self, what: &str, place: &Place, expected: impl Display, found: impl Display) {
        self.failures.push(Failure {
            place: place.clone(),
            what: format!("{}{what}", self.of),
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }
}

/// Why it is in this state, as far as that is known.
fn why(seen: &Seen) -> String {
    if let Some((code, pointers)) = &seen.problem {
        return format!(": {code} at [{}]", pointers.join(", "));
    }
    // What was mended on the way is no reason.
    let Some(fault) = seen.fault.as_ref().filter(|_| seen.state != "completed") else {
        return String::new();
    };
    let step = fault.step.as_ref().map(|step| format!(" at step {step}")).unwrap_or_default();
    format!("{step}: {fault}")
}

/// The first place at which `found` is not what is expected: fields that are not expected may be there.
fn lacks(expected: &Value, found: &Value, at: String) -> Option<(String, String, String)> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().find_map(|(name, value)| {
                let at = format!("{at}.{name}");
                match found.get(name) {
                    Some(found) => lacks(value, found, at),
                    None => Some((at, value.to_string(), "nothing".to_owned())),
                }
            })
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let mut pairs = expected.iter().zip(found).enumerate();
            pairs.find_map(|(index, (value, found))| lacks(value, found, format!("{at}[{index}]")))
        }
        _ if expected == found => None,
        _ => Some((at, expected.to_string(), found.to_string())),
    }
}

/// A duration in the largest unit that says it whole.
fn lasting(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let whole = units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn at_least_what_is_expected_is_there() {
        for (expected, found, at) in [
            (json!({ "a": 1 }), json!({ "a": 1, "b": 2 }), None),
            (json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2 } }), Some(".a.b")),
            (json!({ "a": 1 }), json!({}), Some(".a")),
            (json!([{ "a": 1 }]), json!([{ "a": 1, "b": 2 }]), None),
            (json!([1, 2]), json!([1]), Some("")),
            (json!([1, 2]), json!([1, 3]), Some("[1]")),
            (json!(null), json!(null), None),
        ] {
            let lacks = lacks(&expected, &found, String::new()).map(|(at, ..)| at);
            assert_eq!(lacks.as_deref(), at, "{expected} {found}");
        }
    }
}
