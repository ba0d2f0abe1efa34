//! `snodo schema`: what editors and other programs check files with.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};

use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Of what
    #[arg(value_enum)]
    of: Of,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// A route file: config/route.schema.json, for editors
    Route,
}

impl Schema {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let schema = match self.of {
            Of::Route => snodo_core::route::language::schema(),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{schema:#}")?;
        out.flush()?;
        Ok(Exit::Done)
    }
}
