//! The command line: what was typed, into one call.
//!
//! Invariant: data goes to standard output, everything else to standard error; the exit code says how
//! it ended; nothing here decides anything.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use serde_json::Value;
use snodo_core::{
    adapter::Catalog,
    diagnostic::{Problems, render_text},
};

use crate::{
    exit::{Exit, Failure},
    house::{self, Checked},
    log,
    settings::{self, Surroundings},
};

mod check;
mod client;
mod desk;
mod disclosures;
mod doctor;
mod explain;
mod fmt;
mod graph;
mod group;
mod help;
mod lsp;
mod new;
mod once_only;
mod schema;
mod send;
mod test;
mod top;
mod topology;

/// The once-only integration bus for public administrations.
#[derive(Debug, Parser)]
#[command(name = "snodo", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command knows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Common {
    /// The folder that holds config/, routes/ and schemas/
    #[arg(long, global = true, default_value = ".", value_name = "FOLDER")]
    house: PathBuf,
    /// Use config/env/NAME.yaml, instead of the one that SNODO_ENV names; `check` also takes `all`
    #[arg(long, global = true, value_name = "NAME")]
    env: Option<String>,
    /// Write JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check routes, schemas, parties and configuration; needs no network
    Check(check::Check),
    /// Run the tests of routes: no broker, no database, no network, no waiting
    Test(test::Test),
    /// Run the bus until SIGTERM; a house that does not pass `check` does not start
    Run,
    /// Show what the routes do, and the older versions by which deliveries are still owed
    Describe(desk::Describe),
    /// Serve an editor over standard input and output: mistakes, types, completion while one writes
    Lsp(lsp::Lsp),
    /// Draw who sends what, which route takes it and what comes of it
    Graph(graph::Graph),
    /// Write a new route with its tests, a purpose, a fact, an adapter or a party, complete enough for
    /// `check` and `test`
    #[command(subcommand)]
    New(new::New),
    /// Write the YAML files of the house in one form; what they mean and their comments stay
    Fmt(fmt::Fmt),
    /// Have the running bus read the house again: routes, schemas, parties
    Reload(desk::Reload),
    /// Send a message to the bus and print its id
    Send(send::Send),
    /// Report what is asked, of whom, why and under which law: the table that an office can publish
    #[command(subcommand)]
    OnceOnly(once_only::OnceOnly),
    /// Explain a code such as SN0103: what happened, why, what to do, who
    Explain(explain::Explain),
    /// Print the schema of routes, tests or facts; publish types, so that they cannot change
    #[command(subcommand)]
    Schema(schema::Schema),
    /// Tell what became of a message and of all that came of it
    Trace(desk::Trace),
    /// List, show, replay or discard deliveries that wait for a person
    #[command(subcommand)]
    Parked(desk::Parked),
    /// List, show or resolve deliveries whose last call may have acted or not
    #[command(subcommand)]
    Uncertain(desk::Uncertain),
    /// Tell who was told what about a person; the tax code is read from standard input
    Disclosures(disclosures::Disclosures),
    /// List the starts of this bus's processes; declare one dead
    #[command(subcommand)]
    Instances(desk::Instances),
    /// Count what the ledger holds, verify its evidence, prove a message
    #[command(subcommand)]
    Ledger(desk::Books),
    /// Plan, apply or verify what the broker must hold
    #[command(subcommand)]
    Topology(topology::Action),
    /// Look at files, disk, clocks, ledger, broker and targets, and say what to do
    Doctor(doctor::Doctor),
    /// Watch who is owed what, since when; q ends it
    Top(top::Top),
    /// Print what a shell completes `snodo` with
    Completions(help::Completions),
    /// Write the manual pages of all commands into a folder
    Man(help::Man),
}

/// Reads the command line, does it, and says how it ended.
pub fn main(catalog: &Catalog) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error).into(),
    };
    match dispatch(&cli, catalog) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.text.is_empty() {
                let _ = writeln!(io::stderr(), "snodo: {}", failure.text);
            }
            failure.exit.into()
        }
    }
}

/// Threads for what blocks: files, large bodies to check. Each keeps of its allocator what it has used.
const BLOCKING: usize = 8;

/// Help and version are answers; anything else is a mistake on the command line.
fn usage(error: &clap::Error) -> Exit {
    let _ = error.print();
    if error.use_stderr() { Exit::Mistakes } else { Exit::Done }
}

fn dispatch(cli: &Cli, catalog: &Catalog) -> Result<Exit, Failure> {
    let common = &cli.common;
    match &cli.command {
        Command::Check(check) => check.run(common, catalog),
        Command::Test(test) => test.run(common, catalog),
        Command::Run => run(common, catalog),
        Command::Describe(describe) => block_on(describe.run(common, catalog)),
        Command::Lsp(lsp) => lsp.run(common, catalog),
        Command::Graph(graph) => graph.run(common, catalog),
        Command::New(new) => new.run(common, catalog),
        Command::Fmt(fmt) => fmt.run(common),
        Command::Reload(reload) => block_on(reload.run(common, catalog)),
        Command::Send(send) => block_on(send.run(common)),
        Command::OnceOnly(once_only) => once_only.run(common, catalog),
        Command::Explain(explain) => explain.run(common),
        Command::Schema(schema) => schema.run(common, catalog),
        Command::Trace(trace) => block_on(trace.run(common, catalog)),
        Command::Parked(parked) => block_on(parked.run(common, catalog)),
        Command::Uncertain(uncertain) => block_on(uncertain.run(common, catalog)),
        Command::Disclosures(disclosures) => block_on(disclosures.run(common, catalog)),
        Command::Instances(instances) => block_on(instances.run(common, catalog)),
        Command::Ledger(books) => block_on(books.run(common, catalog)),
        Command::Topology(action) => block_on(action.run(common, catalog)),
        Command::Doctor(doctor) => block_on(doctor.run(common, catalog)),
        Command::Top(top) => block_on(top.run(common, catalog)),
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
    }
}

fn run(common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
    let checked = common.checked(catalog)?;
    let dropped = log::start(checked.settings.log);
    let (house, around, catalog) = (common.house.clone(), common.around(), catalog.clone());
    let check = Arc::new(move || house::check(&house, &around, &catalog));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING).build()?;
    runtime.block_on(crate::run::run(checked, check, &dropped)).map_err(Failure::failed)?;
    Ok(Exit::Done)
}

fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command)
}

impl Common {
    fn around(&self) -> Surroundings {
        Surroundings::of_process(self.env.clone())
    }

    /// The house, where nothing is wrong with it; else the mistakes are said.
    fn checked(&self, catalog: &Catalog) -> Result<Checked, Failure> {
        let (checked, said) = house::check(&self.house, &self.around(), catalog);
        checked.ok_or_else(|| {
            let text = render_text(&said);
            Failure::mistake(format!("the house is not in order\n\n{}", text.trim_end()))
        })
    }

    /// Where a running bus answers operators: the configuration alone says it.
    fn socket(&self) -> Result<PathBuf, Failure> {
        let mut problems = Problems::default();
        let settings = settings::load(&self.house, &self.around(), &mut problems);
        settings.map(|settings| settings.socket()).ok_or_else(|| {
            let text = render_text(&problems.sorted());
            Failure::mistake(format!("the configuration is not in order\n\n{}", text.trim_end()))
        })
    }

    /// Writes data: as JSON where it is asked for, else as `text`.
    fn print(&self, data: &Value, text: impl FnOnce(&Value) -> String) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json { writeln!(out, "{data}") } else { out.write_all(text(data).as_bytes()) }?;
        out.flush()
    }
}
