//! `snodo test`: runs the tests written beside routes, and says what of the routes they went through.
//!
//! Invariant: exit 0 only where every test is as expected and, where it is asked for, enough was gone
//! through; a house with mistakes runs no test.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};
use snodo_core::{
    adapter::Catalog,
    diagnostic::nearest,
    route::suite::{Coverage, Point, Suite, Test as RouteTest},
};

use super::Common;
use crate::{
    exit::{Exit, Failure},
    house::Checked,
    suite::{self, Ran, Stage},
};

#[derive(Debug, Args)]
pub(super) struct Test {
    /// Only the tests of these routes
    #[arg(value_name = "ROUTE")]
    routes: Vec<String>,
    /// Only tests whose name holds this text
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Say which branches, steps and failures no test goes through
    #[arg(long)]
    coverage: bool,
    /// Fail where less than so many percent of the branches, steps and failures are gone through
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
    /// Write the coverage into a file in LCOV's format, for editors and code hosts
    #[arg(long, value_name = "FILE")]
    lcov: Option<PathBuf>,
}

/// A test of a suite, and what came of it.
type Told<'t> = (&'t Suite, &'t RouteTest, Ran);
/// A suite, and what its tests went through.
type Covered<'t> = (&'t Suite, Coverage);

impl Test {
    pub(super) fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let checked = common.checked(catalog)?;
        let suites = self.suites(&checked)?;
        let begun = Instant::now();
        let told = self.told(&checked, &suites);
        let took = begun.elapsed();
        let covered = covered(&suites, &told);
        let percent = Percent::of(&covered);
        if let Some(path) = &self.lcov {
            let written = std::fs::write(path, lcov(&covered));
            written.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        }
        let failed = told.iter().filter(|(.., ran)| !ran.passed()).count();
        let enough = self.min_coverage.is_none_or(|least| percent.reaches(least));
        common.print(&Self::as_json(&told, &covered, percent), |_| {
            let mut text = String::new();
            tests(&told, &mut text);
            let _ = writeln!(text, "{}", summary(&told, failed, took));
            if self.coverage || self.min_coverage.is_some() {
                gone_through(&covered, percent, &mut text);
            }
            if let (Some(least), false) = (self.min_coverage, enough) {
                let _ = writeln!(text, "less than the {least} % that are asked for");
            }
            text
        })?;
        Ok(if failed == 0 && enough { Exit::Done } else { Exit::Failed })
    }

    /// The suites of the routes that are meant.
    fn suites<'c>(&self, checked: &'c Checked) -> Result<Vec<&'c Suite>, Failure> {
        for route in &self.routes {
            if checked.routes.get(route).is_none() {
                let known = checked.suites.iter().map(|suite| suite.route.as_str());
                let near = nearest(route, known).map(|near| format!("; did you mean `{near}`?"));
                let near = near.unwrap_or_default();
                return Err(Failure::mistake(format!("there is no route `{route}`{near}")));
            }
        }
        let meant = |suite: &&Suite| self.routes.is_empty() || self.routes.contains(&suite.route);
        Ok(checked.suites.iter().filter(meant).collect())
    }

    fn told<'c>(&self, checked: &Checked, suites: &[&'c Suite]) -> Vec<Told<'c>> {
        let meant = |test: &RouteTest| {
            self.name.as_ref().is_none_or(|text| test.name.contains(text.as_str()))
        };
        let tests: Vec<(&Suite, &RouteTest)> = suites
            .iter()
            .flat_map(|suite| suite.tests.iter().map(move |test| (*suite, test)))
            .filter(|(_, test)| meant(test))
            .collect();
        let stage = Stage {
            routes: &checked.routes,
            instances: &checked.instances,
            schemas: &checked.schemas,
        };
        let ran = suite::run(&stage, &tests);
        tests.into_iter().zip(ran).map(|((suite, test), ran)| (suite, test, ran)).collect()
    }

    fn as_json(told: &[Told<'_>], covered: &[Covered<'_>], percent: Percent) -> Value {
        let tests: Vec<Value> = told.iter().map(test_as_json).collect();
        let points = covered.iter().flat_map(|(suite, coverage)| {
            suite.points.iter().map(move |point| {
                json!({
                    "route": suite.route, "path": suite.path, "line": point.line,
                    "what": point.edge.name(), "times": coverage.hits(&point.edge),
                })
            })
        });
        let points: Vec<Value> = points.collect();
        let (through, all) = (percent.through, percent.all);
        let coverage = json!({ "through": through, "of": all, "points": points });
        json!({ "tests": tests, "coverage": coverage })
    }
}

/// What the tests of each suite went through.
fn covered<'t>(suites: &[&'t Suite], told: &[Told<'t>]) -> Vec<Covered<'t>> {
    let mut observed = BTreeMap::<&str, Coverage>::new();
    for (suite, _, ran) in told {
        if let Ok(seen) = &ran.observed {
            observed.entry(&suite.route).or_default().add(seen);
        }
    }
    let of =
        |suite: &&'t Suite| (*suite, observed.remove(suite.route.as_str()).unwrap_or_default());
    suites.iter().map(of).collect()
}

/// How much was gone through.
#[derive(Clone, Copy, Debug)]
struct Percent {
    through: usize,
    all: usize,
}

impl Percent {
    fn of(covered: &[Covered<'_>]) -> Self {
        let all = covered.iter().map(|(suite, _)| suite.points.len()).sum();
        let missed: usize = covered.iter().map(|of| missed(of).count()).sum();
        Self { through: all - missed, all }
    }

    fn reaches(self, least: u8) -> bool {
        self.through * 100 >= usize::from(least) * self.all
    }

    /// Rounded down: 100 means all.
    fn whole(self) -> usize {
        (self.through * 100).checked_div(self.all).unwrap_or(100)
    }
}

fn missed<'c>((suite, coverage): &'c Covered<'_>) -> impl Iterator<Item = &'c Point> {
    suite.points.iter().filter(|point| coverage.hits(&point.edge) == 0)
}

fn lcov(covered: &[Covered<'_>]) -> String {
    let mut text = String::new();
    for (suite, coverage) in covered {
        coverage.lcov(suite, &mut text);
    }
    text
}

/// A line per test, under the name of its route; what failed in full.
fn tests(told: &[Told<'_>], text: &mut String) {
    let mut route = "";
    for (suite, test, ran) in told {
        if suite.route != route {
            let _ = writeln!(text, "{}", suite.route);
            route = &suite.route;
        }
        let word = if ran.passed() { "ok  " } else { "FAIL" };
        let _ = writeln!(text, "  {word}  {}", test.name);
        if let Err(why) = &ran.observed {
            let _ = writeln!(text, "        it could not be run: {why}");
        }
        for failure in &ran.failures {
            let (line, column) = failure.place.line_and_column();
            let _ = writeln!(text, "        {}:{line}:{column}", failure.place.file.path);
            let _ = writeln!(text, "        {}", failure.what);
            let _ = writeln!(text, "          expected  {}", failure.expected);
            let _ = writeln!(text, "          found     {}", failure.found);
        }
    }
}

fn summary(told: &[Told<'_>], failed: usize, took: Duration) -> String {
    let passed = told.len() - failed;
    let failed = if failed == 0 { String::new() } else { format!(", failed: {failed}") };
    format!("passed: {passed}{failed} ({:.2} s)", took.as_secs_f64())
}

fn gone_through(covered: &[Covered<'_>], percent: Percent, text: &mut String) {
    let Percent { through, all } = percent;
    let _ = writeln!(text, "coverage: {} % ({through} of {all})", percent.whole());
    for of in covered {
        for point in missed(of) {
            let _ = writeln!(text, "  {}:{}  {}", of.0.path, point.line, point.edge.words());
        }
    }
}

fn test_as_json((suite, test, ran): &Told<'_>) -> Value {
    let (line, _) = test.place.line_and_column();
    let failures: Vec<Value> = ran
        .failures
        .iter()
        .map(|failure| {
            let (line, column) = failure.place.line_and_column();
            json!({
                "path": failure.place.file.path, "line": line, "column": column,
                "what": failure.what, "expected": failure.expected, "found": failure.found,
            })
        })
        .collect();
    json!({
        "route": suite.route, "name": test.name, "path": test.place.file.path, "line": line,
        "passed": ran.passed(), "failures": failures, "error": ran.observed.as_ref().err(),
    })
}
