//! What of a route its tests went through.
//!
//! Invariant: the points of a route are there whether or not it has tests; each is gone through only by
//! something that was observed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{Observed, Suite, UNAVAILABLE};
use crate::{
    adapter::{AMBIGUOUS, NOT_FOUND},
    diagnostic::{SourceFile, line_and_column},
    facts::VERDICTS,
    route::{
        Branch,
        file::{BranchFile, RouteFile, StepFile, VerbFile},
    },
    template::FACT,
};

/// A way that a message may take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// The route's own `when` holds.
    Applies,
    /// It does not.
    Filtered,
    /// A step is done.
    Done(String),
    /// The target of a step refuses, fails, or gives no answer.
    Fails(String),
    /// A choice takes this branch.
    Takes(String, String),
    /// A need has this outcome.
    Fact(String, String),
}

/// A way, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The way.
    pub edge: Edge,
    /// The line of the route's file.
    pub line: usize,
}

impl Edge {
    /// A name for programs.
    pub fn name(&self) -> String {
        match self {
            Self::Applies => "applies".to_owned(),
            Self::Filtered => "filtered".to_owned(),
            Self::Done(step) => format!("done:{step}"),
            Self::Fails(step) => format!("fails:{step}"),
            Self::Takes(choice, branch) => format!("takes:{choice}:{branch}"),
            Self::Fact(need, outcome) => format!("fact:{need}:{outcome}"),
        }
    }

    /// In words: what no test does.
    pub fn words(&self) -> String {
        match self {
            Self::Applies => "no message passes its `when`".to_owned(),
            Self::Filtered => "no message is filtered by its `when`".to_owned(),
            Self::Done(step) => format!("`{step}` is never done"),
            Self::Fails(step) => format!("the target of `{step}` never refuses or fails"),
            Self::Fact(need, outcome) => {
                format!("`$facts.{need}` is never {}", outcome_in_words(outcome))
            }
            Self::Takes(choice, branch) => match choice.strip_suffix(".when") {
                Some(step) if branch == Branch::NOTHING => format!("`{step}` is never left out"),
                Some(step) => format!("the `when` of `{step}` never holds"),
                None if branch == Branch::NOTHING => {
                    format!("`{choice}` never takes the branch that does nothing")
                }
                None => format!("`{choice}` never takes the branch of `{branch}`"),
            },
        }
    }
}

/// What the sender declares stands in for the fact.
pub const SELF_DECLARED: &str = "self_declared";
/// A need whose own `when` does not hold.
const NOT_WANTED: &str = "not_wanted";

fn outcome_in_words(outcome: &str) -> String {
    match outcome {
        NOT_WANTED => "left out by its `when`".to_owned(),
        other => other.replace('_', " "),
    }
}

/// The points of a route as it is written; which facts are verifications says `verifies`.
pub(in crate::route) fn points(route: &RouteFile, verifies: impl Fn(&str) -> bool) -> Vec<Point> {
    let mut finder = Finder { file: &route.file, points: Vec::new() };
    for need in &route.needs {
        let found: &[&str] = if verifies(&need.fact.value) { &VERDICTS } else { &["found"] };
        let wanted = need.when.as_ref().map(|_| NOT_WANTED);
        let declared = need.is_stood_in().then_some(SELF_DECLARED);
        let others = [NOT_FOUND, AMBIGUOUS, UNAVAILABLE].into_iter().chain(declared).chain(wanted);
        for outcome in found.iter().copied().chain(others) {
            let edge = Edge::Fact(need.name.value.clone(), outcome.to_owned());
            finder.add(edge, need.name.span.start);
        }
    }
    if let Some(when) = &route.when {
        finder.add(Edge::Applies, when.span.start);
        finder.add(Edge::Filtered, when.span.start);
    }
    finder.steps(&route.steps);
    finder.points
}

struct Finder<'f> {
    file: &'f SourceFile,
    points: Vec<Point>,
}

impl Finder<'_> {
    fn add(&mut self, edge: Edge, at: usize) {
        let (line, _) = line_and_column(&self.file.text, at);
        self.points.push(Point { edge, line });
    }

    fn steps(&mut self, steps: &[StepFile]) {
        for step in steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &StepFile) {
        let (id, at) = (&step.id.value, step.id.span.start);
        if let Some(when) = &step.when {
            let choice = format!("{id}.when");
            self.add(Edge::Takes(choice.clone(), id.clone()), when.span.start);
            self.add(Edge::Takes(choice, Branch::NOTHING.to_owned()), when.span.start);
        }
        match &step.verb {
            VerbFile::Use { .. } => {
                self.add(Edge::Done(id.clone()), at);
                self.add(Edge::Fails(id.clone()), at);
            }
            VerbFile::Emit { .. } => self.add(Edge::Done(id.clone()), at),
            VerbFile::Choose { branches, .. } => {
                for branch in branches {
                    self.branch(id, branch);
                }
            }
            VerbFile::Refused => {}
        }
    }

    fn branch(&mut self, choice: &str, branch: &BranchFile) {
        let edge = Edge::Takes(choice.to_owned(), branch.name().to_owned());
        self.add(edge, branch.key.start);
        self.steps(&branch.steps);
    }
}

/// What the tests of one route went through, and how often.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<Edge, u64>);

impl Coverage {
    /// With what one test went through.
    pub fn add(&mut self, observed: &Observed) {
        for seen in &observed.messages {
            let mut edges = Vec::new();
            match seen.state {
                "filtered" => edges.push(Edge::Filtered),
                "rejected" => {}
                _ => edges.push(Edge::Applies),
            }
            edges.extend(seen.ran.iter().cloned().map(Edge::Done));
            let takes =
                |(choice, branch): &(String, String)| Edge::Takes(choice.clone(), branch.clone());
            edges.extend(seen.chose.iter().map(takes));
            let failed = seen.calls.iter().filter(|call| call.failed);
            edges.extend(failed.map(|call| match call.step.strip_prefix(FACT) {
                Some(need) => Edge::Fact(need.to_owned(), UNAVAILABLE.to_owned()),
                None => Edge::Fails(call.step.clone()),
            }));
            let fact =
                |(need, outcome): &(String, String)| Edge::Fact(need.clone(), outcome.clone());
            edges.extend(seen.facts.iter().map(fact));
            for edge in edges {
                *self.0.entry(edge).or_default() += 1;
            }
        }
    }

    /// How often a way was gone.
    pub fn hits(&self, edge: &Edge) -> u64 {
        self.0.get(edge).copied().unwrap_or_default()
    }

    /// The same as one record of LCOV's tracefile format (man 1 geninfo): a line per step, a branch per
    /// other way.
    pub fn lcov(&self, suite: &Suite, out: &mut String) {
        let line = |edge: &Edge| matches!(edge, Edge::Done(_));
        let (lines, branches): (Vec<&Point>, Vec<&Point>) =
            suite.points.iter().partition(|point| line(&point.edge));
        let mut write = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        write(format!("TN:\nSF:{}", suite.path));
        for (number, point) in branches.iter().enumerate() {
            let hits = self.hits(&point.edge);
            write(format!("BRDA:{},0,{number},{hits}", point.line));
        }
        let taken = branches.iter().filter(|point| self.hits(&point.edge) > 0).count();
        write(format!("BRF:{}\nBRH:{taken}", branches.len()));
        for point in &lines {
            write(format!("DA:{},{}", point.line, self.hits(&point.edge)));
        }
        let unique: BTreeSet<usize> = lines.iter().map(|point| point.line).collect();
        let hit = lines.iter().filter(|point| self.hits(&point.edge) > 0);
        let hit: BTreeSet<usize> = hit.map(|point| point.line).collect();
        let mut end = String::new();
        let _ = write!(end, "LF:{}\nLH:{}\nend_of_record", unique.len(), hit.len());
        write(end);
    }
}
