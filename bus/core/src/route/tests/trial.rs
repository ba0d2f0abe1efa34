//! The trial of whole routes: what passes `check` starts, and what it sends is valid.
//!
//! Invariant: an accepted route makes the same route again from the ledger's copy, and whatever valid
//! message comes and whatever its targets answer as they promise, no step gives a value that its schema
//! refuses, or stops where nothing foretold it.

use std::collections::BTreeSet;

use serde_json::Map;

use super::*;
use crate::{
    route::{Routes, Verb},
    schema::holds,
    template::parse_for_tests as parse,
    types::{
        Kind, Type,
        infer::{Context, Inference},
        library::Library,
        tests::{
            random::{self, Dice},
            trial::claim,
        },
    },
};

/// What became of the cases.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    skipped: u64,
    accepted: u64,
    refused: u64,
    unknown: u64,
    messages: u64,
    steps: u64,
}

/// Messages tried for one route, and kept.
const TRIES: usize = 10;
const KEPT: usize = 4;

/// A route that is being made, and what it refers to.
struct Making {
    dice: Dice,
    input: Type,
    /// What `$steps.<id>` is, by id.
    results: Vec<(String, Type)>,
    schemas: BTreeMap<String, Value>,
    operations: Vec<Operation>,
    /// An expression of it may stop: `tonumber`, `cents`.
    foretold: bool,
    steps: usize,
}

impl Making {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut message = random::schema(&mut dice);
        close(&mut message);
        message["x-unclaimed"] = "discard".into();
        let input = type_of(&message);
        Self {
            dice,
            input,
            results: Vec::new(),
            schemas: BTreeMap::from([("trial.in.v1".to_owned(), message)]),
            operations: Vec::new(),
            foretold: false,
            steps: 0,
        }
    }

    fn route(&mut self) -> Value {
        let count = 1 + self.dice.below(3);
        let steps = self.some_steps(count, 0);
        let mut route = json!({
            "route": "trial", "title": "t", "office": "o", "from": "trial.in.v1",
            "purpose": "residence-registration", "actor": "system", "steps": steps,
        });
        if self.dice.chance(15) {
            route["when"] = self.condition().into();
        }
        route
    }

    fn some_steps(&mut self, count: usize, depth: usize) -> Vec<Value> {
        (0..count).map(|_| self.step(depth)).collect()
    }

    fn step(&mut self, depth: usize) -> Value {
        self.steps += 1;
        let id = format!("s{}", self.steps);
        let (before, choice) = (self.results.len(), self.dice.below(10));
        let mut step = match choice {
            0 | 1 if depth < 2 => self.choose(depth),
            2..=5 => self.call(&id),
            _ => self.emit(),
        };
        if choice > 1 && self.dice.chance(20) {
            step["when"] = self.condition().into();
            self.may_not_run(before);
        }
        json!({ id: step })
    }

    fn choose(&mut self, depth: usize) -> Value {
        let (before, mut of_branches) = (self.results.len(), Vec::new());
        let mut branches = Vec::new();
        for _ in 0..=self.dice.below(2) {
            let when = self.condition();
            let count = self.dice.below(3);
            branches.push(json!({ "when": when, "then": self.some_steps(count, depth + 1) }));
            // One branch does not see what another one did.
            of_branches.extend(self.results.drain(before..));
        }
        if self.dice.chance(95) {
            let count = self.dice.below(2);
            branches.push(json!({ "otherwise": self.some_steps(count, depth + 1) }));
        }
        self.results.extend(of_branches);
        self.may_not_run(before);
        json!({ "choose": branches })
    }

    /// The results of steps from `mark` on may be null.
    fn may_not_run(&mut self, mark: usize) {
        for (_, of) in &mut self.results[mark..] {
            of.null = true;
        }
    }

    fn call(&mut self, id: &str) -> Value {
        let (with, input) = self.with();
        let mut output = random::schema(&mut self.dice);
        close(&mut output);
        let name = format!("call_{}", self.operations.len());
        let of = type_of(&output);
        let goes_on = self.dice.chance(25) && !super::super::refusal::is_taken(&output);
        self.operations.push(Operation {
            name: name.clone(),
            input: Arc::new(input),
            output: Arc::new(output),
            effect: EffectKind::Idempotent,
            deadline: Duration::from_secs(1),
            settles_within: Duration::ZERO,
            fact_only: false,
        });
        let mut step = json!({ "use": format!("far.{name}"), "with": with });
        if goes_on {
            step["if_refused"] = "continue".into();
        } else {
            // What may be a refusal is led by nothing here.
            self.results.push((id.to_owned(), of));
        }
        step
    }

    fn emit(&mut self) -> Value {
        let (with, mut body) = self.with();
        let kind = format!("trial.out{}.v1", self.schemas.len());
        body["x-unclaimed"] = "discard".into();
        self.schemas.insert(kind.clone(), body);
        json!({ "emit": kind, "with": with })
    }

    /// A map of expressions, and the schema of what it should be.
    fn with(&mut self) -> (Value, Value) {
        let (mut with, mut properties, mut required) = (Map::new(), Map::new(), Vec::new());
        for name in ["k", "l", "m"].into_iter().take(1 + self.dice.below(3)) {
            let Some((source, of)) = self.expression() else { continue };
            let target = self.target(&of);
            if of.null && self.dice.chance(30) {
                with.insert(format!("{name}?"), format!("${{ {source} }}").into());
                properties.insert(name.to_owned(), claim(&of.not_null()));
                continue;
            }
            let mut kinds = [Kind::Text, Kind::Number, Kind::Boolean].into_iter();
            let is_text = kinds.any(|kind| of.is_only(kind));
            if is_text && self.dice.chance(20) {
                with.insert(name.to_owned(), format!("n {{}} ${{ {source} }}").into());
                properties.insert(name.to_owned(), json!({ "type": "string", "minLength": 3 }));
            } else {
                with.insert(name.to_owned(), format!("${{ {source} }}").into());
                properties.insert(name.to_owned(), target);
            }
            required.push(name);
        }
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": required, "properties": properties,
        });
        (Value::Object(with), schema)
    }

    /// Mostly what the type promises, sometimes something else.
    fn target(&mut self, of: &Type) -> Value {
        if self.dice.chance(95) {
            return claim(of);
        }
        let mut other = random::schema(&mut self.dice);
        close(&mut other);
        let fields: Vec<Value> = other["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, one)| one.clone())
            .collect();
        let flat = fields.into_iter().find(|field| !field.to_string().contains("$ref"));
        flat.unwrap_or_else(|| json!({ "type": "string" }))
    }

    /// An expression over the message, or over the result of a step, with its type.
    fn expression(&mut self) -> Option<(String, Type)> {
        let (start, of) = match self.results.len() {
            results if results > 0 && self.dice.chance(40) => {
                let (id, of) = self.results[self.dice.below(results)].clone();
                (format!("$steps.{id} | "), of)
            }
            _ => (String::new(), self.input.clone()),
        };
        let source = random::expression(&mut self.dice, &of, 3);
        let term = parse(&source)?;
        let mut inference = Inference::new(&source);
        let found = inference.value(&term, &Context { input: of, variables: Vec::new() });
        self.foretold |= !inference.may_stop.is_empty();
        // Where inference ends nothing is promised: seldom of interest here.
        let ends = found.is_unknown() || !inference.unknowns.is_empty();
        let known = inference.findings.is_empty() && (!ends || self.dice.chance(3));
        known.then(|| (format!("{start}{source}"), found))
    }

    fn condition(&mut self) -> String {
        for _ in 0..3 {
            if let Some((source, of)) = self.expression() {
                if of.is_only(Kind::Boolean) {
                    return source;
                }
                if !of.is_only(Kind::Null) {
                    return format!("({source}) != null");
                }
            }
        }
        ". != null".to_owned()
    }

    fn house(&mut self) -> House {
        let route = self.route();
        House {
            routes: vec![file("routes/trial.yaml", &route.to_string())],
            schemas: Arc::new(Schemas::from_documents(self.schemas.clone()).unwrap_or_default()),
            operations: BTreeMap::from([("far".to_owned(), self.operations.clone())]),
            strict: true,
            ..house(&[])
        }
    }
}

fn type_of(schema: &Value) -> Type {
    let schemas = Schemas::default();
    let library = Library::new(&schemas);
    library.type_of(Library::guest(schema))
}

/// Every object says what else it may hold.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            let is_object = keywords.get("type") == Some(&json!("object"));
            if is_object && !keywords.contains_key("additionalProperties") {
                keywords.insert("additionalProperties".to_owned(), false.into());
            }
            keywords.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// A value that the schema accepts, if chance finds one.
fn valid(dice: &mut Dice, schema: &Value) -> Option<Value> {
    let validator = holds::validator(schema)?;
    (0..TRIES).map(|_| random::value(dice, schema, schema)).find(|value| validator.is_valid(value))
}

/// One case; an error is a promise that was not kept.
fn case(seed: u64, counts: &mut Counts) -> Result<(), String> {
    let mut making = Making::new(seed);
    let message = making.schemas["trial.in.v1"].clone();
    if valid(&mut making.dice, &message).is_none() {
        counts.skipped += 1;
        return Ok(());
    }
    let house = making.house();
    let (compiled, said) = compile(&house);
    let codes: BTreeSet<&str> = said.iter().map(|said| said.code).collect();
    let Some(Compiled { routes, .. }) = compiled else {
        counts.refused += 1;
        return Ok(());
    };
    if codes.contains("SN0290") {
        counts.unknown += 1;
        return Ok(());
    }
    counts.accepted += 1;
    let told = |what: &str| format!("seed {seed}: {what}\n{}", house.routes[0].text);
    let route = routes.get("trial").ok_or_else(|| told("it is not there"))?;
    let again = compile_bundle(&route.bundle).map_err(|error| told(&error.to_string()))?;
    if again.digest != route.digest {
        return Err(told("the ledger's copy makes another route"));
    }
    for _ in 0..KEPT {
        let Some(body) = valid(&mut making.dice, &message) else { continue };
        counts.messages += 1;
        let ran = run(&mut making, &routes, &body, counts);
        ran.map_err(|what| told(&format!("{what}\non {body}")))?;
    }
    Ok(())
}

/// Takes a message through the route; targets answer what they promise, or refuse.
fn run(
    making: &mut Making,
    routes: &Routes,
    body: &Value,
    counts: &mut Counts,
) -> Result<(), String> {
    let route = routes.get("trial").ok_or("it is not there")?;
    let stopped = |fault: &crate::fault::Fault| match (making.foretold, fault.code.as_str()) {
        // An expression or a function stopped, or gave none or many, as was foretold.
        (true, "SN0751" | "SN0752" | "SN0759") => Ok(()),
        _ => Err(fault.to_string()),
    };
    let bytes = crate::json::canonical(body);
    let body = route.body(&bytes).map_err(|fault| fault.to_string())?;
    let (envelope, mut done) = (envelope(), Map::new());
    match route.applies(&Scope::new(&body, &envelope, &done)) {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(fault) => return stopped(&fault),
    }
    while let Some((step, _)) = route.next_step(&done) {
        counts.steps += 1;
        let scope = Scope::new(&body, &envelope, &done);
        let result = match &step.verb {
            Verb::Emit(emit) => emit.emitted(&scope).map(|_| Value::Null),
            Verb::Choose(choose) => choose.choose(&scope).map(super::super::Branch::result),
            // No need is made yet.
            Verb::Ask(_) => return Ok(()),
            Verb::Use(used) => {
                let Some(answer) = answer(&mut making.dice, used) else { return Ok(()) };
                used.input(&scope).map(|_| answer)
            }
        };
        match result {
            Ok(result) => drop(done.insert(step.id.clone(), result)),
            Err(fault) => return stopped(&fault),
        }
    }
    Ok(())
}

/// What the target of a step answers; none where chance finds nothing that it promises.
fn answer(dice: &mut Dice, used: &crate::route::Use) -> Option<Value> {
    let no = crate::fault::Fault::new(crate::fault::FaultClass::Refused, "SN0763", "no");
    match used.refusal(&no) {
        Some(refusal) if dice.chance(40) => Some(refusal),
        _ => valid(dice, &used.operation.output),
    }
}

/// How many cases every run takes; all of them with `SNODO_ROUTES=60000`.
#[expect(clippy::disallowed_methods, reason = "a trial is no bus")]
fn cases() -> u64 {
    std::env::var("SNODO_ROUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(6_000)
}

#[test]
fn what_passes_check_starts_and_what_it_sends_is_valid() {
    let mut counts = Counts::default();
    for seed in 0..cases() {
        if let Err(broken) = case(seed, &mut counts) {
            panic!("{broken}");
        }
    }
    eprintln!("{counts:?}");
    let judged = counts.accepted + counts.refused + counts.unknown;
    assert!(judged * 10 >= cases() * 8, "{counts:?}");
    assert!(counts.accepted * 100 >= judged * 40, "{counts:?}");
    assert!(counts.unknown * 100 <= judged * 5, "{counts:?}");
}
