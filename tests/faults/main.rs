//! `snodo-faults`: does to a bus under load what the rows of the fault matrix say, by name, looks for
//! what must be seen, and judges from logs of its own whether anything was lost or done twice.
//!
//! Invariant: exit 0 means that every planned run passed or said why it cannot be run here; whatever
//! else happened is exit 1.

use std::{fs, io, pin::pin, process::ExitCode};

use clap::Parser;
use futures_util::{StreamExt as _, stream};
use snodo_tests::{
    chaos::{
        Failure,
        plan::LedgerKind,
        session::{self, ledger, say, target_folder},
    },
    faults::{
        plan::{Company, Row, Run, Wish, runs},
        report::{self, FaultReport},
    },
    wait::told_to_end,
};

use crate::ground::Ground;

mod fault;
mod ground;
mod rows;

/// Rows beside each other: most of their time is waiting.
const BESIDE: usize = 3;

/// Does to a bus what the rows of the fault matrix say, and judges what became of every message.
#[derive(Debug, Parser)]
#[command(name = "snodo-faults", max_term_width = 100)]
struct Options {
    /// Only the session of `make test`: four short rows, drawn
    #[arg(long)]
    short: bool,
    /// Only these rows: F01,F05
    #[arg(long, value_name = "NAMES", value_parser = row, value_delimiter = ',')]
    only: Vec<Row>,
    /// Only this ledger: sqlite, postgres
    #[arg(long, value_name = "LEDGER", value_parser = ledger)]
    ledger: Option<LedgerKind>,
    /// Draw from this seed instead of a new one
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

fn row(name: &str) -> Result<Row, String> {
    Row::named(name).ok_or_else(|| "no such row; `make faults` runs them all".to_owned())
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
            say(&format!("snodo-faults: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn session(options: Options) -> Result<bool, Failure> {
    let seed = options.seed.unwrap_or_else(session::seed);
    let Options { short, only, ledger, .. } = options;
    let planned = runs(&Wish { short, only, ledger, seed });
    let target = target_folder()?;
    let folder = target.join(format!("run/faults-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    say(&format!("seed {seed}: the same again with --seed {seed}"));
    say(&report::head());
    let ground = Ground::start(&folder).await?;
    let file = target.join("faults.json");
    let reports = play(&ground, &planned, |reports| fs::write(&file, report::file(seed, reports)));
    let reports = reports.await?;
    let (words, well) = report::verdict(&reports, planned.len());
    say(&words);
    drop(ground);
    if well {
        fs::remove_dir_all(&folder)?;
    }
    Ok(well)
}

/// Plays the runs, first those that may be beside others, and tells as they end: a session that is
/// stopped has told what it knew.
async fn play(
    ground: &Ground,
    planned: &[Run],
    tell: impl Fn(&[FaultReport]) -> io::Result<()>,
) -> io::Result<Vec<FaultReport>> {
    let (beside, alone): (Vec<_>, Vec<_>) =
        planned.iter().partition(|run| run.row.company == Company::Beside);
    let beside = stream::iter(beside).map(|run| ground.run(run)).buffer_unordered(BESIDE);
    let alone = stream::iter(alone).then(|run| ground.run(run));
    let mut all = pin!(beside.chain(alone));
    let mut reports: Vec<FaultReport> = Vec::with_capacity(planned.len());
    while let Some(report) = all.next().await {
        say(&report::line(&report));
        reports.push(report);
        reports.sort_by_key(|report| (report.name, report.ledger.word()));
        tell(&reports)?;
    }
    Ok(reports)
}
