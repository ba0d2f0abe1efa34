//! `make bench`: what a message costs, beside the bare relay of the same run.
//!
//! Invariant: every run is a process of its own and does all of its measured work itself; figures are
//! ratios to the limit of this run, never lone absolutes.

use std::{
    error::Error,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use mimalloc::MiMalloc;
use serde_json::{Value, json};
use snodo_tests::{bench_house as house, bus::binaries};

mod bare;
mod compare;
mod documents;
mod http;
mod ledger;
mod load;
mod measure;
mod memory;
mod relay;
mod route;
mod sink;
mod stages;
mod thousand;

use measure::Measured;

type Failure = Box<dyn Error + Send + Sync>;

/// As `snodo` itself has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Messages of the relay and the fast path.
const MESSAGES: u64 = 60_000;
/// Messages of the register.
const REGISTRATIONS: u64 = 20_000;
/// Messages of the ordered route.
const ORDERED: u64 = 20_000;

#[expect(clippy::print_stdout, reason = "printing is what the benchmark does")]
fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *words.as_slice() {
        ["worker", name, folder] => worker(name, Path::new(folder)),
        ["compare", before, ref wish @ ..] => compare(Path::new(before), wish),
        _ => all(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// One measured process. Its figures are the last line of its output.
fn worker(name: &str, folder: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let measured = runtime.block_on(async {
        match name {
            "relay" => relay::in_folder(folder, MESSAGES, &house::body_of(1)).await,
            "fast" | "fast-postgres" => route::run(folder, "fast", MESSAGES).await,
            "register" | "register-postgres" => route::run(folder, "register", REGISTRATIONS).await,
            "order" => route::run(folder, "order", ORDERED).await,
            "ledger" => ledger::run(&folder.join("ledger"), MESSAGES).await,
            "bare-http" => bare::in_folder(folder).await,
            other => Err(format!("there is no run `{other}`").into()),
        }
    })?;
    say(&serde_json::to_string(&measured)?);
    Ok(())
}

/// An empty folder for the runs.
fn folder() -> Result<PathBuf, Failure> {
    let folder = binaries()?.join("../run/bench");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(folder)
}

/// This build beside another one.
fn compare(before: &Path, wish: &[&str]) -> Result<(), Failure> {
    let mut table = Table::default();
    compare::run(&before.canonicalize()?, &folder()?, wish, &mut table)?;
    table.write(&binaries()?.join("../compare.json"))
}

/// Every run that is asked for, in order; all without words.
fn all(only: &[&str]) -> Result<(), Failure> {
    let wanted = |name: &str| only.is_empty() || only.contains(&name);
    let folder = folder()?;
    let mut table = Table::default();
    let relay = in_process_of_its_own(&folder, "relay")?;
    table.add("relay", &relay, None);
    for name in ["fast", "fast-postgres", "register", "register-postgres", "order"] {
        if wanted(name) {
            let measured = in_process_of_its_own(&folder, name)?;
            table.add(name, &measured, Some(&relay));
        }
    }
    if wanted("documents") {
        documents::run(&folder, &mut table)?;
    }
    if ["check", "start", "edit"].iter().any(|what| wanted(&format!("{what}-1000-routes"))) {
        thousand::run(&folder, &wanted, &mut table)?;
    }
    if wanted("http") || wanted("latency") {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(http::runs(&folder, &wanted, &mut table))?;
    }
    if wanted("memory") {
        memory::run(&folder, &mut table)?;
    }
    table.write(&binaries()?.join("../bench.json"))
}

fn in_process_of_its_own(folder: &Path, name: &str) -> Result<Measured, Failure> {
    let folder = folder.join(name);
    let house = house::write(&folder, name.ends_with("-postgres"))?;
    if name == "order" {
        house::add_order(&house)?;
    }
    let output = Command::new(std::env::current_exe()?)
        .args(["worker", name])
        .arg(&folder)
        .env("SNODO_LOG", "warn")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| format!("the run `{name}` failed: {text}").into())
}

/// The figures, as they are printed and written.
#[derive(Debug, Default)]
pub(crate) struct Table {
    runs: Vec<Value>,
}

impl Table {
    /// Adds a run; `limit` is what it is compared with.
    pub(crate) fn add(&mut self, name: &str, run: &Measured, limit: Option<&Measured>) {
        let of_limit = limit.map(|limit| run.per_second() / limit.per_second());
        if self.runs.is_empty() {
            say(
                "run                messages  seconds   per second   CPU µs/message   of its limit",
            );
        }
        let share = of_limit.map_or_else(|| "-".to_owned(), |share| format!("{share:.2}"));
        say(&format!(
            "{name:18} {:8} {:8.2} {:12.0} {:16.1} {share:>14}",
            run.messages,
            run.seconds,
            run.per_second(),
            run.cpu_us_per_message(),
        ));
        self.runs.push(json!({
            "name": name,
            "messages": run.messages,
            "seconds": run.seconds,
            "per_second": run.per_second(),
            "cpu_us_per_message": run.cpu_us_per_message(),
            "of_limit": of_limit,
            "stages": run.stages,
        }));
    }

    /// Adds a run with figures of its own.
    pub(crate) fn add_value(&mut self, words: &str, value: Value) {
        say(words);
        self.runs.push(value);
    }

    fn write(&self, path: &PathBuf) -> Result<(), Failure> {
        std::fs::write(path, serde_json::to_string_pretty(&json!({ "runs": self.runs }))?)?;
        say(&format!("written: {}", path.display()));
        Ok(())
    }
}
