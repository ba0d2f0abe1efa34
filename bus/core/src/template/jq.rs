//! Runs what is not native with jaq, and takes its values back as canonical JSON.
//!
//! Invariant: no text that leaves here holds a value of the message, only words of the route.

use std::{fmt, sync::OnceLock};

use jaq_core::{
    Compiler, Ctx, Cv, Error, RunPtr, ValR, Vars,
    data::JustLut,
    load::{Arena, File, Loader},
    native::{self, bome, v},
    unwrap_valr,
};
use jaq_json::{Num, Val};
use serde_json::{Map, Number, Value};

use super::functions::{Function, Unreadable};

type Filter = jaq_core::Filter<JustLut<Val>>;

/// What a program sees beside `.`; the last one chooses the part that runs.
const VARIABLES: [&str; 6] = ["$steps", "$facts", "$message", "$party", "$item", "$__part"];
/// Natives that look at the world are not linked at all.
const UNLINKED: [&str; 9] = [
    "env",
    "now",
    "localtime",
    "strflocaltime",
    "input_filename",
    "input",
    "inputs",
    "debug_empty",
    "stderr_empty",
];

/// The values of [`VARIABLES`] but the last.
pub(super) type Variables = [Val; 5];

/// All expressions of a route that are not native, as one jaq program.
///
/// jaq's library costs 0.3 ms per compilation whatever the program, so a route compiles once, when its
/// first message comes: `check` runs none and pays nothing.
pub(super) struct Program {
    parts: OnceLock<Vec<Vec<String>>>,
    named: OnceLock<Named>,
    filter: OnceLock<Option<Filter>>,
}

/// Which variables the expressions of a program name: the others need no values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one per variable")]
pub(super) struct Named {
    pub(super) steps: bool,
    pub(super) facts: bool,
    pub(super) message: bool,
    pub(super) party: bool,
}

impl Named {
    /// By their text: a name in a string or in a comment counts too, which costs only time.
    fn by(parts: &[Vec<String>]) -> Self {
        let names = |name| parts.iter().flatten().any(|source| source.contains(name));
        let facts = names("$facts");
        Self { steps: names("$steps"), facts, message: names("$message"), party: names("$party") }
    }
}

/// Why a part gave no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// jq stopped with an error.
    Stopped,
    /// None or many values.
    Count(usize),
    /// NaN, Infinity, a name that is not text, text that is not Unicode.
    NotJson,
    /// One of our own functions could not read what it was given.
    Unreadable(Function, Unreadable),
}

/// A failure and the expression of the part in which it was.
pub(super) type Failed = (usize, Failure);

impl Program {
    pub(super) fn empty() -> Self {
        Self { parts: OnceLock::new(), named: OnceLock::new(), filter: OnceLock::new() }
    }

    /// Gives it its expressions, part by part. Said once, before anything runs.
    pub(super) fn fill(&self, parts: Vec<Vec<String>>) {
        let filled = self.parts.set(parts);
        debug_assert!(filled.is_ok(), "a program is filled once");
    }

    /// Which variables its expressions name.
    pub(super) fn named(&self) -> Named {
        *self.named.get_or_init(|| Named::by(self.parts.get().map_or(&[][..], Vec::as_slice)))
    }

    /// One value per expression of `part`.
    pub(super) fn run(
        &self,
        part: usize,
        body: &Val,
        variables: &Variables,
    ) -> Result<Vec<Value>, Failed> {
        let parts = self.parts.get().map_or(&[][..], Vec::as_slice);
        let filter = self.filter.get_or_init(|| compile(&whole(parts)));
        let number = Val::from(isize::try_from(part).unwrap_or(isize::MAX));
        let found = run(filter.as_ref(), body, variables, number);
        found.map_or_else(
            |failure| Err(self.place(part, body, variables, failure)),
            |lists| take_each(&lists),
        )
    }

    /// Runs the expressions of a part one by one to find the one that failed.
    fn place(&self, part: usize, body: &Val, variables: &Variables, failure: Failure) -> Failed {
        let sources = self.parts.get().and_then(|parts| parts.get(part));
        let fails = |source: &String| {
            let filter = compile(&list_of(source));
            run(filter.as_ref(), body, variables, Val::Null).is_err()
        };
        let index = sources.and_then(|sources| sources.iter().position(fails));
        (index.unwrap_or(0), failure)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// `[e]`; the line breaks end a comment within `e`.
fn list_of(source: &str) -> String {
    format!("[(\n{source}\n)]")
}

fn whole(parts: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, sources) in parts.iter().enumerate() {
        let lists: Vec<String> = sources.iter().map(|source| list_of(source)).collect();
        let list = lists.join(",");
        text.extend(["if $__part == ", &number.to_string(), " then [", &list, "] else "]);
    }
    text.push_str("null");
    text.push_str(&" end".repeat(parts.len()));
    text
}

/// `None` where jaq refuses what was vetted; a test compiles every allowed function.
fn compile(code: &str) -> Option<Filter> {
    let definitions = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs())
        .filter(|definition| !reads_the_world(definition.name));
    let natives = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|(name, ..)| !UNLINKED.contains(name))
        .chain(own());
    let arena = Arena::default();
    let modules = Loader::new(definitions).load(&arena, File { code, path: () }).ok()?;
    Compiler::default().with_funs(natives).with_global_vars(VARIABLES).compile(modules).ok()
}

/// Definitions of jaq's own library that need an unlinked native.
fn reads_the_world(name: &str) -> bool {
    matches!(name, "debug" | "stderr" | "halt_error" | "halt")
}

type Own = JustLut<Val>;

/// Our own functions, by name and number of arguments.
fn own() -> impl Iterator<Item = native::Fun<Own>> {
    let all: [native::Filter<RunPtr<Own>>; 8] = [
        ("cents", v(1), |cv| bome(apply(Function::Cents, 1, cv))),
        ("number", v(1), |cv| bome(apply(Function::Number, 1, cv))),
        ("csv", v(1), |cv| bome(apply(Function::Csv, 1, cv))),
        ("csv", v(2), |cv| bome(apply(Function::Csv, 2, cv))),
        ("date", v(1), |cv| bome(apply(Function::Date, 1, cv))),
        ("add_days", v(2), |cv| bome(apply(Function::AddDays, 2, cv))),
        ("add_working_days", v(2), |cv| bome(apply(Function::AddWorkingDays, 2, cv))),
        ("age_on", v(2), |cv| bome(apply(Function::AgeOn, 2, cv))),
    ];
    all.into_iter().map(native::run::<Own>)
}

fn apply(function: Function, arguments: usize, mut cv: Cv<'_, Own>) -> ValR<Val> {
    // The last one is on top.
    let mut given: Vec<Value> =
        (0..arguments).map(|_| to_json(&cv.0.pop_var()).unwrap_or(Value::Null)).collect();
    given.reverse();
    let given: Vec<&Value> = given.iter().collect();
    match function.apply(&given) {
        Ok(value) => Ok(from_json(&value)),
        Err(unreadable) => Err(Error::new(Val::from(marked(function, unreadable)))),
    }
}

/// The text of an error by which it is known again.
fn marked(function: Function, unreadable: Unreadable) -> String {
    format!("\u{1}{function:?} {unreadable:?}")
}

/// What an error of jq was: one of ours, or any other.
fn failure(error: &Val) -> Failure {
    let Val::TStr(text) = error else { return Failure::Stopped };
    let all = Function::ALL.into_iter().flat_map(|function| {
        let arguments = function.arguments().iter().copied().map(Some).chain([None]);
        arguments.map(move |argument| (function, Unreadable(argument)))
    });
    let ours = all.into_iter().find(|(function, why)| marked(*function, *why).as_bytes() == **text);
    ours.map_or(Failure::Stopped, |(function, why)| Failure::Unreadable(function, why))
}

fn run(
    filter: Option<&Filter>,
    body: &Val,
    variables: &Variables,
    part: Val,
) -> Result<Vec<Val>, Failure> {
    let filter = filter.ok_or(Failure::Stopped)?;
    let variables = Vars::new(variables.iter().cloned().chain([part]));
    let context = Ctx::<JustLut<Val>>::new(&filter.lut, variables);
    let first = filter.id.run((context, body.clone())).map(unwrap_valr).next();
    match first {
        Some(Ok(Val::Arr(lists))) => Ok(lists.to_vec()),
        Some(Err(error)) => Err(failure(&error.into_val())),
        _ => Err(Failure::Stopped),
    }
}

fn take_each(lists: &[Val]) -> Result<Vec<Value>, Failed> {
    let each = lists.iter().enumerate().map(|(index, list)| {
        let values = if let Val::Arr(values) = list { values.as_slice() } else { &[] };
        match values {
            [value] => to_json(value).ok_or((index, Failure::NotJson)),
            many => Err((index, Failure::Count(many.len()))),
        }
    });
    each.collect()
}

/// JSON as jaq sees it.
pub(super) fn from_json(value: &Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(boolean) => Val::Bool(*boolean),
        Value::Number(number) => Val::Num(from_number(number)),
        Value::String(text) => Val::from(text.clone()),
        Value::Array(items) => Val::Arr(items.iter().map(from_json).collect::<Vec<_>>().into()),
        Value::Object(fields) => fields_of(fields, None),
    }
}

/// An object, with one more field.
pub(super) fn fields_of(fields: &Map<String, Value>, more: Option<(&str, Val)>) -> Val {
    let fields = fields.iter().map(|(name, value)| (Val::from(name.clone()), from_json(value)));
    let more = more.map(|(name, value)| (Val::from(name.to_owned()), value));
    Val::obj(fields.chain(more).collect())
}

fn from_number(number: &Number) -> Num {
    match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => Num::from_integral(whole),
        (None, Some(whole)) => Num::from_integral(whole),
        (None, None) => Num::Float(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// What jaq gave, as canonical JSON; `None` where it is no JSON.
fn to_json(value: &Val) -> Option<Value> {
    Some(match value {
        Val::Null => Value::Null,
        Val::Bool(boolean) => Value::Bool(*boolean),
        Val::Num(number) => Value::Number(to_number(number)?),
        Val::TStr(text) => Value::String(std::str::from_utf8(text).ok()?.to_owned()),
        Val::BStr(_) => return None,
        Val::Arr(items) => Value::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        Val::Obj(fields) => {
            let field = |(name, value): (&Val, &Val)| match to_json(name)? {
                Value::String(name) => Some((name, to_json(value)?)),
                _ => None,
            };
            Value::Object(fields.iter().map(field).collect::<Option<Map<_, _>>>()?)
        }
    })
}

fn to_number(number: &Num) -> Option<Number> {
    match number {
        Num::Float(float) => of_float(*float),
        other => canonical(&other.to_string()).ok(),
    }
}

/// The canonical number that `text` writes: `1.0` is 1.
///
/// Refused are numbers that change on their way through an IEEE double.
pub(super) fn canonical(text: &str) -> Result<Number, NotCanonical> {
    if let Ok(whole) = text.parse::<i128>() {
        let float = text.parse::<f64>().map_err(|_| NotCanonical)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "compared with the original right after"
        )]
        let same = float as i128 == whole;
        return if same { of_float(float).ok_or(NotCanonical) } else { Err(NotCanonical) };
    }
    text.parse::<f64>().ok().and_then(of_float).ok_or(NotCanonical)
}

/// A number that JSON cannot carry unchanged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotCanonical;

fn of_float(float: f64) -> Option<Number> {
    /// Whole numbers up to here are written as such: every double below has one integer.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() <= WHOLE {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Some(Number::from(float as i64));
    }
    Number::from_f64(float)
}
