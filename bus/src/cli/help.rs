//! What is made of the definitions of the commands: completions for shells, manual pages.
//!
//! Invariant: nothing is written twice; a command that is there is completed and has its page.

use std::{io, path::PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, mut command: Command) -> Result<Exit, Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "snodo", &mut text);
        io::Write::write_all(&mut io::stdout().lock(), &text)?;
        Ok(Exit::Done)
    }
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Where to, for instance /usr/local/share/man/man1
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(&self, command: Command) -> Result<Exit, Failure> {
        let failed = |error| Failure::failed(format!("{}: {error}", self.folder.display()));
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        clap_mangen::generate_to(command, &self.folder).map_err(failed)?;
        Ok(Exit::Done)
    }
}
