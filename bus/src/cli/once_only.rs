//! `snodo once-only report`: what is asked, of whom, why, who holds it, under which law.
//!
//! Invariant: it needs a house that checks, and nothing that runs; the same house makes the same text.

use std::io::{self, Write as _};

use clap::{Args, Subcommand, ValueEnum};
use snodo_core::{
    adapter::Catalog,
    compliance::{self, Report},
};

use super::Common;
use crate::exit::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub(super) enum OnceOnly {
    /// Write per route and field whom it is asked of, why, who holds it, and what the check cannot see
    Report(Wanted),
}

#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// In which language
    #[arg(long, value_enum, default_value_t = Language::It)]
    lang: Language,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Italian
    It,
    /// English
    En,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal
    Table,
    /// For a page of the administration
    Markdown,
    /// For a spreadsheet
    Csv,
    /// For programs; in no language
    Json,
}

impl OnceOnly {
    pub(super) fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let Self::Report(wanted) = self;
        let report = Report::of(&common.checked(catalog)?.inventory);
        let mut out = io::stdout().lock();
        out.write_all(wanted.text(&report, common.json).as_bytes())?;
        out.flush()?;
        Ok(Exit::Done)
    }
}

impl Wanted {
    fn text(&self, report: &Report, json: bool) -> String {
        let language = match self.lang {
            Language::It => compliance::Language::Italian,
            Language::En => compliance::Language::English,
        };
        let format = match self.format {
            Format::Table => compliance::Format::Table,
            Format::Markdown => compliance::Format::Markdown,
            Format::Csv => compliance::Format::Csv,
            Format::Json => compliance::Format::Json,
        };
        report.render(if json { compliance::Format::Json } else { format }, language)
    }
}
