//! `snodo-chaos`: kills bus and broker under load, and the bus at each of its crash points, on both
//! ledgers side by side; then judges from logs of its own whether anything was lost or done twice.
//!
//! Invariant: exit 0 means that every planned run struck and passed; whatever else happened is exit 1.

use std::{fs, path::Path, pin::pin, process::ExitCode};

use clap::Parser;
use futures_util::{StreamExt as _, stream};
use snodo_tests::{
    chaos::{
        Failure,
        plan::{LedgerKind, Strike, Wish, runs},
        report::{self, RunReport},
        session::{self, ledger, say, target_folder},
    },
    wait::told_to_end,
};

use crate::lane::Lane;

mod lane;
mod scene;
mod strikes;

/// Crash points of one ledger that are tried beside each other: most of their time is waiting.
const BESIDE: usize = 3;

/// Kills bus and broker under load and judges what became of every message.
#[derive(Debug, Parser)]
#[command(name = "snodo-chaos", max_term_width = 100)]
struct Options {
    /// Only the runs of `make test`
    #[arg(long)]
    short: bool,
    /// Only this run: kill-bus, kill-broker, CP1 … CP17
    #[arg(long, value_name = "NAME", value_parser = strike)]
    only: Option<Strike>,
    /// Only this ledger: sqlite, postgres
    #[arg(long, value_name = "LEDGER", value_parser = ledger)]
    ledger: Option<LedgerKind>,
    /// Draw from this seed instead of a new one
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Switch a guard off in the bus; then the runs must fail
    #[arg(long, value_name = "MUTANT")]
    fault: Option<String>,
}

fn strike(name: &str) -> Result<Strike, String> {
    Strike::named(name).ok_or_else(|| "the runs are kill-bus, kill-broker, CP1 … CP17".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = tokio::select! {
        ended = session(Options::parse()) => ended,
        () = told_to_end() => Err("it was told to end".into()),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("snodo-chaos: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn session(options: Options) -> Result<bool, Failure> {
    let seed = options.seed.unwrap_or_else(session::seed);
    let wish = Wish { short: options.short, only: options.only, ledger: options.ledger, seed };
    let target = target_folder()?;
    let folder = target.join(format!("run/chaos-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    say(&format!("seed {seed}: the same again with --seed {seed}"));
    say(&report::head());
    let lane = |ledger| lane(ledger, wish.clone(), &folder, options.fault.clone());
    let (sqlite, postgres) = tokio::join!(lane(LedgerKind::Sqlite), lane(LedgerKind::Postgres));
    let reports: Vec<RunReport> = [sqlite?, postgres?].concat();
    let wanted = LedgerKind::ALL.into_iter().map(|ledger| runs(&wish, ledger).len()).sum();
    fs::write(target.join("chaos.json"), report::file(&reports))?;
    let (words, well) = report::verdict(&reports, wanted);
    say(&words);
    if well {
        fs::remove_dir_all(&folder)?;
    }
    Ok(well)
}

/// The runs of one ledger: the kills one after the other, then the crash points, some beside each other. With a guard switched off the first that fails is enough.
async fn lane(
    ledger: LedgerKind,
    wish: Wish,
    folder: &Path,
    fault: Option<String>,
) -> Result<Vec<RunReport>, Failure> {
    let planned = runs(&wish, ledger);
    let mut reports = Vec::with_capacity(planned.len());
    if planned.is_empty() {
        return Ok(reports);
    }
    let mutated = fault.is_some();
    let lane = Lane::start(ledger, folder, fault).await?;
    let (kills, points): (Vec<_>, Vec<_>) =
        planned.iter().partition(|run| !matches!(run.strike, Strike::CrashPoint(_)));
    let kills = stream::iter(kills).then(|run| lane.run(run));
    let points = stream::iter(points).map(|run| lane.run(run)).buffered(BESIDE);
    let mut all = pin!(kills.chain(points));
    while let Some(report) = all.next().await {
        say(&report::line(&report));
        let failed = !report.failures().is_empty();
        reports.push(report);
        if failed && mutated {
            break;
        }
    }
    Ok(reports)
}
