//! `snodo-bench compare FOLDER [RUN…] [TURNS]`: two builds, this one and the one in a folder, in turns
//! within one run.
//!
//! Invariant: both get the same house, the same load and the same machine; what is compared are medians
//! of CPU time a message, and their spread is printed with them.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use snodo::broker::node::{NodeOptions, PrivateNode};
use snodo_tests::{
    bench_house as house,
    bus::{BusProcess, binaries},
    client::post_message,
    node,
};

use crate::{
    Table,
    load::{self, Request},
    measure::{Measured, cpu_of},
    relay,
    sink::Sink,
};

type Failure = Box<dyn Error + Send + Sync>;

/// Turns of each build where no other number is wished for.
const TURNS: usize = 5;
const RUNS: [&str; 3] = ["fast", "register", "http"];
/// The load of `http`, which both builds carry easily.
const RATE: u32 = 2_000;
const SECONDS: u32 = 15;
const CONNECTIONS: u32 = 64;

/// Where a build is, and what its turns cost.
struct Build {
    name: &'static str,
    folder: PathBuf,
    costs: Vec<f64>,
}

/// Compares the build in `before` with this one: in the runs that `wish` names, or in all; a number in it
/// is how many turns each build has.
pub(crate) fn run(
    before: &Path,
    folder: &Path,
    wish: &[&str],
    table: &mut Table,
) -> Result<(), Failure> {
    let (runs, turns) = wished(wish)?;
    let runtime = tokio::runtime::Runtime::new()?;
    for run in runs {
        let build = |name, folder| Build { name, folder, costs: Vec::new() };
        let mut builds = [build("before", before.to_owned()), build("after", binaries()?)];
        for turn in 0..turns {
            for build in &mut builds {
                let at = folder.join(format!("{run}-{}-{turn}", build.name));
                let measured = match run {
                    "http" => runtime.block_on(http(&build.folder, &at))?,
                    run => in_process(&build.folder, run, &at)?,
                };
                build.costs.push(measured.cpu_us_per_message());
                std::fs::remove_dir_all(&at)?;
            }
        }
        add(run, &mut builds, table);
    }
    Ok(())
}

fn wished(wish: &[&str]) -> Result<(Vec<&'static str>, usize), Failure> {
    let (mut runs, mut turns) = (Vec::new(), TURNS);
    for word in wish {
        match (RUNS.iter().find(|run| *run == word), word.parse()) {
            (Some(run), _) => runs.push(*run),
            (None, Ok(number)) if number > 0 => turns = number,
            _ => return Err(format!("there is no comparison `{word}`; there are {RUNS:?}").into()),
        }
    }
    if runs.is_empty() {
        runs.extend(RUNS);
    }
    Ok((runs, turns))
}

fn add(run: &str, [before, after]: &mut [Build; 2], table: &mut Table) {
    let [was, is] = [before.told(), after.told()];
    let more = (is.1 / was.1 - 1.0) * 100.0;
    let words = format!(
        "compare {run:10} before {:6.1} µs ({:.1} to {:.1})   after {:6.1} µs ({:.1} to {:.1})   {more:+.1} %",
        was.1, was.0, was.2, is.1, is.0, is.2
    );
    let shown = |costs: &[f64]| json!(costs);
    let value = json!({
        "name": format!("compare-{run}"), "messages": null, "seconds": null, "per_second": null,
        "cpu_us_per_message": is.1, "of_limit": null,
        "stages": { "before": shown(&before.costs), "after": shown(&after.costs), "more_percent": more },
    });
    table.add_value(&words, value);
}

impl Build {
    /// Lowest, median and highest cost.
    fn told(&mut self) -> (f64, f64, f64) {
        self.costs.sort_by(f64::total_cmp);
        let last = self.costs.len() - 1;
        (self.costs[0], self.costs[last / 2], self.costs[last])
    }
}

/// A run that a build measures in a process of its own.
fn in_process(build: &Path, run: &str, folder: &Path) -> Result<Measured, Failure> {
    house::write(folder, false)?;
    let output = Command::new(build.join("snodo-bench"))
        .args(["worker", run])
        .arg(folder)
        .env("SNODO_LOG", "warn")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| format!("the run `{run}` failed: {text}").into())
}

/// What a build's bus needs for messages that come over HTTP at a steady rate.
async fn http(build: &Path, folder: &Path) -> Result<Measured, Failure> {
    let house = house::write(folder, false)?;
    let mut broker = PrivateNode::start(&folder.join("broker"), NodeOptions::default()).await?;
    house::use_node(&house, &broker)?;
    let mut bus = BusProcess::spawn_in(build, &house, &[("SNODO_LOG", "warn")])?;
    bus.ready(Duration::from_mins(1)).await?;
    let pid = bus.pid().ok_or("it ended")?;
    node::enter(&broker, "sink").await;
    let sink = Sink::begin(&relay::uri(&broker, "sink").await?, "inbox").await?;
    let request: Request =
        Arc::new(|number| post_message(house::TOKEN, &house::event_of("fast", number)));
    let cpu = cpu_of(pid)?;
    let report = load::run(house.http, CONNECTIONS, RATE, SECONDS, 0, request).await;
    let spent = cpu_of(pid)?.saturating_sub(cpu);
    drop(sink);
    bus.terminate().await?;
    broker.stop().await;
    Ok(Measured {
        messages: report.accepted,
        seconds: f64::from(SECONDS),
        cpu_seconds: spent.as_secs_f64(),
        stages: json!(null),
    })
}
