//! The trial: what inference accepts is run, on messages that are valid, and must keep every promise.
//!
//! Invariant: an accepted expression gives exactly one value of the type that is claimed, which satisfies
//! every schema that it was said to fit; it stops only where that was foretold.

use serde_json::{Value, json};

use super::random::{self, Dice};
use crate::{
    schema::{Schemas, holds},
    template::{parse_for_tests as parse, tests::values},
    types::{
        Fact, List, Number, Object, Text, Type,
        bugs::{self, Bug},
        fits::misfits,
        infer::{Context, Inference},
        library::Library,
    },
};

/// What became of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) skipped: u64,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    pub(super) runs: u64,
    pub(super) fits: u64,
    pub(super) misfits: u64,
    pub(super) may_stop: u64,
}

/// Messages tried for one schema, and kept.
const TRIES: usize = 14;
const KEPT: usize = 6;

/// The type as a schema that accepts exactly what the type claims.
pub(crate) fn claim(of: &Type) -> Value {
    if of.is_unknown() {
        return json!(true);
    }
    let mut all: Vec<Value> = Vec::new();
    all.extend(of.null.then(|| json!({ "type": "null" })));
    all.extend(of.yes.then(|| json!({ "const": true })));
    all.extend(of.no.then(|| json!({ "const": false })));
    all.extend(of.number.as_ref().map(number));
    all.extend(of.text.as_ref().map(text));
    all.extend(of.list.as_ref().map(|of| list(of)));
    all.extend(of.objects.iter().map(|of| object(of)));
    if all.is_empty() { json!(false) } else { json!({ "anyOf": all }) }
}

fn number(of: &Number) -> Value {
    let mut schema = json!({ "type": if of.whole { "integer" } else { "number" } });
    let mut set = |word: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema[word] = value;
        }
    };
    set("minimum", of.least.map(Value::from));
    set("maximum", of.most.map(Value::from));
    set("enum", of.literals.as_ref().map(|all| json!(all)));
    set("not", of.nonzero.then(|| json!({ "const": 0 })));
    for fact in &of.facts {
        if let Fact::MultipleOf(of) = fact {
            schema["multipleOf"] = json!(of);
        }
    }
    schema
}

fn text(of: &Text) -> Value {
    let mut schema = json!({ "type": "string", "minLength": of.least });
    if let Some(most) = of.most {
        schema["maxLength"] = most.into();
    }
    if let Some(words) = &of.literals {
        schema["enum"] = words.iter().map(|word| Value::from(&**word)).collect();
    }
    for fact in &of.facts {
        match fact {
            Fact::Format(format) => schema["format"] = (&**format).into(),
            Fact::Pattern(pattern) => schema["pattern"] = (&**pattern).into(),
            Fact::Schema(_) | Fact::MultipleOf(_) => {}
        }
    }
    schema
}

fn list(of: &List) -> Value {
    let mut schema = json!({
        "type": "array", "minItems": of.least, "uniqueItems": of.distinct, "items": claim(&of.others),
    });
    if !of.first.is_empty() {
        schema["prefixItems"] = of.first.iter().map(claim).collect();
    }
    if let Some(most) = of.most {
        schema["maxItems"] = most.into();
    }
    schema
}

fn object(of: &Object) -> Value {
    let fields = of.fields.iter().map(|(name, field)| (name.to_string(), claim(&field.value)));
    let fields: serde_json::Map<String, Value> = fields.collect();
    let required = of.fields.iter().filter(|(_, field)| field.required);
    let required: Vec<&str> = required.map(|(name, _)| &**name).collect();
    let others = of.others.as_ref().map_or(json!(false), claim);
    json!({ "type": "object", "properties": fields, "required": required, "additionalProperties": others })
}

/// Schemas that the result may be asked to fit.
fn targets(dice: &mut Dice, source: &Value, of: &Type) -> Vec<Value> {
    let mut all = vec![source.clone(), claim(of), random::schema(dice)];
    let fields = source["properties"].as_object().into_iter().flatten();
    let definitions = source.get("$defs");
    let fields: Vec<Value> = fields
        .map(|(_, schema)| {
            let mut schema = schema.clone();
            if let (Some(keywords), Some(definitions)) = (schema.as_object_mut(), definitions) {
                keywords.insert("$defs".to_owned(), definitions.clone());
            }
            schema
        })
        .collect();
    all.extend(fields);
    let mut changed = claim(of);
    if let Some(branches) = changed.get_mut("anyOf").and_then(Value::as_array_mut) {
        let one = dice.below(branches.len());
        match dice.below(5) {
            0 if branches.len() > 1 => {
                branches.remove(one);
            }
            1 => branches[one]["minLength"] = json!(2),
            2 => branches[one]["minItems"] = json!(2),
            3 => branches[one]["additionalProperties"] = json!(false),
            _ => branches[one]["maximum"] = json!(3),
        }
    }
    all.push(changed.clone());
    if let Some(branches) = changed["anyOf"].as_array() {
        all.push(json!({ "oneOf": branches }));
        all.push(json!({ "oneOf": [claim(of), branches[0]] }));
    }
    all.push(json!({ "oneOf": [claim(of), { "minLength": 1 }] }));
    all.extend(of.objects.iter().filter(|object| object.others.is_some()).map(|of| {
        let mut named = object(of);
        named["properties"]["k"] = json!({ "type": "boolean" });
        named
    }));
    all
}

/// The messages of a schema.
fn messages(dice: &mut Dice, schema: &Value) -> Vec<Value> {
    let Some(validator) = holds::validator(schema) else { return Vec::new() };
    let made = (0..TRIES).map(|_| random::value(dice, schema, schema));
    made.filter(|message| validator.is_valid(message)).take(KEPT).collect()
}

/// An expression of a few parts, each led by what inference claimed of the part before.
fn expression(dice: &mut Dice, input: &Type) -> String {
    let mut whole = random::expression(dice, input, 3);
    for _ in 0..dice.below(3) {
        let Some(of) = claimed(&whole, input) else { break };
        let next = random::expression(dice, &of, 2);
        whole = format!("({whole}) | {next}");
    }
    whole
}

fn claimed(expression: &str, input: &Type) -> Option<Type> {
    let term = parse(expression)?;
    let mut inference = Inference::new(expression);
    let context = Context { input: input.clone(), variables: Vec::new() };
    let of = inference.value(&term, &context);
    (inference.findings.is_empty() && !of.is_unknown()).then_some(of)
}

/// One case; an error is a promise that was not kept.
pub(super) fn case(seed: u64, counts: &mut Counts) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let schema = random::schema(&mut dice);
    let messages = messages(&mut dice, &schema);
    if messages.is_empty() {
        counts.skipped += 1;
        return Ok(());
    }
    let schemas = Schemas::default();
    let library = Library::new(&schemas);
    let input = library.type_of(Library::guest(&schema));
    let source = expression(&mut dice, &input);
    let Some(term) = parse(&source) else { return Err(format!("not jq: {source}")) };
    let mut inference = Inference::new(&source);
    let of = inference.value(&term, &Context { input, variables: Vec::new() });
    if !inference.findings.is_empty() {
        counts.refused += 1;
        return Ok(());
    }
    if of.is_unknown() || !inference.unknowns.is_empty() {
        counts.unknown += 1;
        return Ok(());
    }
    counts.accepted += 1;
    let foretold = !inference.may_stop.is_empty();
    counts.may_stop += u64::from(foretold);
    let told = |message: &Value, what: &str| {
        format!("seed {seed}: {what}\n  {source}\n  on {message}\n  of {schema}\n  claimed {of}")
    };
    let mut given = Vec::new();
    for (message, result) in messages.iter().zip(values(&source, &messages)) {
        counts.runs += 1;
        match result {
            Ok(value) => given.push((message, value)),
            Err(_) if foretold => {}
            Err(fault) => return Err(told(message, &fault)),
        }
    }
    let promise = holds::validator(&claim(&of)).ok_or_else(|| format!("{}", claim(&of)))?;
    if let Some((message, value)) = given.iter().find(|(_, value)| !promise.is_valid(value)) {
        return Err(told(message, &format!("gave {value}")));
    }
    let targets = targets(&mut dice, &schema, &of);
    let library = Library::new(&schemas);
    for target in &targets {
        let Some(validator) = holds::validator(target) else { continue };
        if !misfits(&library, &of, Library::guest(target)).is_empty() {
            counts.misfits += 1;
            continue;
        }
        counts.fits += 1;
        if let Some((message, value)) = given.iter().find(|(_, value)| !validator.is_valid(value)) {
            return Err(told(message, &format!("gave {value}, which was said to fit {target}")));
        }
    }
    Ok(())
}

/// How many cases every run takes; all of them with `SNODO_CASES=80000`.
#[expect(clippy::disallowed_methods, reason = "a trial is no bus")]
fn cases() -> u64 {
    std::env::var("SNODO_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

#[test]
fn what_is_accepted_keeps_every_promise() {
    let mut counts = Counts::default();
    for seed in 0..cases() {
        if let Err(broken) = case(seed, &mut counts) {
            panic!("{broken}");
        }
    }
    eprintln!("{counts:?}");
    let judged = counts.accepted + counts.refused + counts.unknown;
    assert!(counts.accepted * 100 >= judged * 40, "{counts:?}");
    assert!(counts.unknown * 100 <= judged * 5, "{counts:?}");
}

/// Every mistake in the rules that was ever thought of is found within 5,000 cases.
#[test]
fn a_mistake_in_the_rules_is_found() {
    const BUGS: [Bug; 18] = [
        Bug::OptionalIsRequired,
        Bug::JoinKeepsFacts,
        Bug::CaseKeepsFacts,
        Bug::ElseKeepsThen,
        Bug::SelectGivesOne,
        Bug::DefaultIsDropped,
        Bug::IndexIsThere,
        Bug::OneOfIsAnyOf,
        Bug::DivisionIsWhole,
        Bug::OthersNeverCollide,
        Bug::LeftWins,
        Bug::AddIsThere,
        Bug::SplitGivesOne,
        Bug::UniqueKeepsLength,
        Bug::SliceKeepsLength,
        Bug::OrShowsBoth,
        Bug::DifferenceGrows,
        Bug::MinIsThere,
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
