//! The trial of whole routes: what passes `check` starts, and what it sends is valid.
//!
//! Invariant: an accepted route makes the same route again from the ledger's copy, and whatever valid
//! message comes and whatever its targets and authorities answer as they promise, no step gives a value
//! that its schema refuses, or stops where nothing foretold it; and each gives the same of the whole answer
//! and of what is kept of it.

use std::collections::BTreeSet;

use serde_json::Map;

use super::*;
use crate::{
    schema::holds,
    template::parse_for_tests as parse,
    types::{
        Field, Kind, Object, Type,
        bugs::{self, Bug},
        infer::{Context, Inference},
        library::Library,
        tests::{
            random::{self, Dice},
            trial::claim,
        },
    },
};

mod asked;
mod run;

/// What became of the cases.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    skipped: u64,
    accepted: u64,
    refused: u64,
    unknown: u64,
    messages: u64,
    steps: u64,
    /// Accepted routes that have a need, and those of which one was answered.
    with_needs: u64,
    answered: u64,
    questions: u64,
    found: u64,
    /// Needs that are null: not asked, or without a value.
    null: u64,
    /// Needs that are what the sender says.
    declared: u64,
    parked: u64,
}

/// Messages tried for one route, and kept.
const TRIES: usize = 10;
const KEPT: usize = 4;

/// A route that is being made, and what it refers to.
struct Making {
    dice: Dice,
    input: Type,
    /// What can be read here beside the message.
    sources: Vec<Source>,
    needs: Vec<asked::Need>,
    facts: Vec<asked::Made>,
    /// Whether facts may be read here, and how many needs are being made.
    asks: bool,
    within: usize,
    schemas: BTreeMap<String, Value>,
    operations: Vec<Operation>,
    /// An expression of it may stop: `tonumber`, `cents`.
    foretold: bool,
    steps: usize,
}

/// The result of a step, or a fact.
#[derive(Clone, Debug)]
struct Source {
    /// `$steps.s1`, `$facts.n_a`.
    path: String,
    of: Type,
    /// For a need, those without which it cannot be asked.
    made_of: Vec<String>,
}

/// What the route takes.
const MESSAGE: &str = "trial.in.v1";
const STEPS: &str = "$steps.";
const FACTS: &str = "$facts.";

impl Source {
    fn is_fact(&self) -> bool {
        self.path.starts_with(FACTS)
    }
}

impl Making {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut message = random::schema(&mut dice);
        close(&mut message);
        message["x-unclaimed"] = "discard".into();
        let input = type_of(&message);
        let asks = dice.chance(60);
        Self {
            dice,
            input,
            sources: Vec::new(),
            needs: Vec::new(),
            facts: Vec::new(),
            asks,
            within: 0,
            schemas: BTreeMap::from([(MESSAGE.to_owned(), message)]),
            operations: Vec::new(),
            foretold: false,
            steps: 0,
        }
    }

    fn route(&mut self) -> Value {
        let when = self.dice.chance(15).then(|| self.of_message(Self::condition));
        let count = 1 + self.dice.below(3);
        let steps = self.some_steps(count, 0);
        let mut route = json!({
            "route": "trial", "title": "t", "office": "o", "from": MESSAGE,
            "purpose": "residence-registration", "actor": "system", "steps": steps,
        });
        if let Some(when) = when {
            route["when"] = when.into();
        }
        let needs = self.needs_read_by(&route["steps"]);
        if !needs.is_empty() {
            route["needs"] = Value::Object(needs);
        }
        route
    }

    /// Made of the message alone: no step has run, and no fact was asked.
    fn of_message<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> T {
        let sources = std::mem::take(&mut self.sources);
        let asks = std::mem::replace(&mut self.asks, false);
        let made = make(self);
        (self.sources, self.asks) = (sources, asks);
        made
    }

    fn some_steps(&mut self, count: usize, depth: usize) -> Vec<Value> {
        (0..count).map(|_| self.step(depth)).collect()
    }

    fn step(&mut self, depth: usize) -> Value {
        self.steps += 1;
        let id = format!("s{}", self.steps);
        let choice = self.dice.below(10);
        let when = (choice > 1 && self.dice.chance(20)).then(|| self.condition());
        let before = self.sources.len();
        let mut step = match choice {
            0 | 1 if depth < 2 => self.choose(depth),
            2..=5 => self.call(&id),
            _ => self.emit(),
        };
        if let Some(when) = when {
            step["when"] = when.into();
            let results = self.leave(before);
            self.may_not_have_run(results);
        }
        json!({ id: step })
    }

    fn choose(&mut self, depth: usize) -> Value {
        let verdicts = if self.dice.chance(30) { self.verdicts() } else { None };
        let whole = verdicts.is_some() || self.dice.chance(5);
        let whens = verdicts.unwrap_or_else(|| {
            let count = 1 + self.dice.below(2);
            (0..count).map(|_| self.condition()).collect()
        });
        let (mut results, mut branches) = (Vec::new(), Vec::new());
        for when in whens {
            let count = self.dice.below(3);
            let (then, of_branch) = self.branch(count, depth);
            branches.push(json!({ "when": when, "then": then }));
            results.extend(of_branch);
        }
        if !whole {
            let count = self.dice.below(2);
            let (then, of_branch) = self.branch(count, depth);
            branches.push(json!({ "otherwise": then }));
            results.extend(of_branch);
        }
        self.may_not_have_run(results);
        json!({ "choose": branches })
    }

    /// One branch does not see what another one did.
    fn branch(&mut self, count: usize, depth: usize) -> (Vec<Value>, Vec<Source>) {
        let before = self.sources.len();
        let steps = self.some_steps(count, depth + 1);
        (steps, self.leave(before))
    }

    /// Takes away what there is since `before`, and gives the results of steps. A need stays, where what it
    /// is made of does.
    fn leave(&mut self, before: usize) -> Vec<Source> {
        let (needs, results): (Vec<Source>, Vec<Source>) =
            self.sources.drain(before..).partition(Source::is_fact);
        for need in needs {
            let is_there = |path: &String| self.sources.iter().any(|known| known.path == *path);
            if need.made_of.iter().all(is_there) {
                self.sources.push(need);
            }
        }
        results
    }

    /// Puts back results, which may be null.
    fn may_not_have_run(&mut self, results: Vec<Source>) {
        let null = |source: Source| Source { of: source.of.or_null(), ..source };
        self.sources.extend(results.into_iter().map(null));
    }

    fn call(&mut self, id: &str) -> Value {
        let (with, input) = self.with();
        let mut output = random::schema(&mut self.dice);
        close(&mut output);
        let name = format!("call_{}", self.operations.len());
        let of = type_of(&output);
        let goes_on = self.dice.chance(25) && !super::super::refusal::is_taken(&output);
        self.operations.push(Operation::of(&name, input, output, EffectKind::Idempotent));
        let mut step = json!({ "use": format!("far.{name}"), "with": with });
        if goes_on {
            step["if_refused"] = "continue".into();
        } else {
            // What may be a refusal is led by nothing here.
            self.sources.push(Source { path: format!("{STEPS}{id}"), of, made_of: Vec::new() });
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

    /// Mostly what the type promises, sometimes something else; where it may be null often that it is not,
    /// which is to be refused.
    fn target(&mut self, of: &Type) -> Value {
        if of.null && self.dice.chance(15) {
            return claim(&of.not_null());
        }
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

    /// An expression over what can be read here, with its type.
    fn expression(&mut self) -> Option<(String, Type)> {
        let source = if self.dice.chance(15) { self.combined() } else { self.reading() };
        let term = parse(&source)?;
        let context = self.context();
        let mut inference = Inference::new(&source);
        let found = inference.value(&term, &context);
        // Where inference ends nothing is promised: seldom of interest here.
        let ends = found.is_unknown() || !inference.unknowns.is_empty();
        let known = inference.findings.is_empty() && (!ends || self.dice.chance(3));
        self.foretold |= known && !inference.may_stop.is_empty();
        known.then_some((source, found))
    }

    /// What an expression sees.
    fn context(&self) -> Context {
        let of = |prefix: &str| {
            let named =
                self.sources.iter().filter_map(|one| Some((one.path.strip_prefix(prefix)?, one)));
            let fields = named
                .map(|(name, one)| (name.into(), Field { value: one.of.clone(), required: true }));
            Type::object(Object::closed(fields.collect()))
        };
        let variables = [("$steps", of(STEPS)), ("$facts", of(FACTS))];
        let variables = variables.into_iter().map(|(name, of)| (name.to_owned(), of));
        Context { input: self.input.clone(), variables: variables.collect() }
    }

    /// An expression over the message, the result of a step, or a fact.
    fn reading(&mut self) -> String {
        let Some(Source { path, of, .. }) = self.source() else {
            let of = self.input.clone();
            return random::expression(&mut self.dice, &of, 3);
        };
        let source = random::expression(&mut self.dice, &of, 3);
        let is_path = source.starts_with('.') && source[1..].starts_with(char::is_alphabetic);
        if !is_path || self.dice.chance(30) {
            return format!("{path} | {source}");
        }
        // As people write it.
        let plain = source.strip_suffix(" | .").unwrap_or(&source);
        format!("{path}{plain}")
    }

    /// What to begin with; none for the message.
    fn source(&mut self) -> Option<Source> {
        let steps: Vec<Source> =
            self.sources.iter().filter(|one| !one.is_fact()).cloned().collect();
        match self.dice.below(10) {
            0..=2 if !steps.is_empty() => Some(self.dice.pick(&steps).clone()),
            3..=5 if self.asks => self.fact(),
            _ => None,
        }
    }

    /// An expression over several of them.
    fn combined(&mut self) -> String {
        let (one, other) = (self.reading(), self.reading());
        match self.dice.below(7) {
            0 => format!("[({one}), ({other})]"),
            1 => format!("{{k: ({one}), l: ({other})}}"),
            2 => format!("if {} then ({one}) else ({other}) end", self.condition()),
            3 => format!("({one}) == ({other})"),
            4 => format!("({one}) as $v | [$v, ({other})]"),
            5 => format!("[{one}] + [{other}]"),
            _ => format!("({one}) as $v | any([{other}][]; . == $v)"),
        }
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
        let mut operations = BTreeMap::from([("far".to_owned(), self.operations.clone())]);
        operations.insert("held".to_owned(), self.questions());
        House {
            routes: vec![file("routes/trial.yaml", &route.to_string())],
            facts: self.fact_files(),
            schemas: Arc::new(Schemas::from_documents(self.schemas.clone()).unwrap_or_default()),
            operations,
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
    let message = making.schemas[MESSAGE].clone();
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
    let facts = || house.facts.iter().map(|fact| fact.text.as_str()).collect::<Vec<_>>().join("\n");
    let told = |what: &str| format!("seed {seed}: {what}\n{}\n{}", house.routes[0].text, facts());
    let route = routes.get("trial").ok_or_else(|| told("it is not there"))?;
    let again = compile_bundle(&route.bundle).map_err(|error| told(&error.to_string()))?;
    if again.digest != route.digest {
        return Err(told("the ledger's copy makes another route"));
    }
    let found = counts.found;
    for _ in 0..KEPT {
        let Some(body) = valid(&mut making.dice, &message) else { continue };
        counts.messages += 1;
        let ran = run::run(&mut making, route, &body, counts);
        ran.map_err(|what| told(&format!("{what}\non {body}")))?;
    }
    counts.with_needs += u64::from(route.asked().next().is_some());
    counts.answered += u64::from(counts.found > found);
    Ok(())
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
    assert!(counts.answered * 100 >= counts.accepted * 20, "{counts:?}");
    assert!(counts.declared * 1_000 >= counts.accepted, "{counts:?}");
}

/// Every mistake about facts that was thought of is found within 5,000 cases, as those in the rules of
/// types are.
#[test]
fn a_mistake_about_facts_is_found() {
    const BUGS: [Bug; 6] = [
        Bug::NeedIsThere,
        Bug::PartIsNotKept,
        Bug::BranchAsksForAll,
        Bug::NeedOfNeedIsNotAsked,
        Bug::UndeterminedIsForgotten,
        Bug::DeclaredIsThere,
    ];
    let mut missed = Vec::new();
    for bug in BUGS {
        let mut counts = Counts::default();
        let found = bugs::with(bug, || (0..5_000).find(|seed| case(*seed, &mut counts).is_err()));
        eprintln!("{bug:?} is found at {found:?}");
        missed.extend(found.is_none().then_some(bug));
    }
    assert!(missed.is_empty(), "{missed:?}");
}
