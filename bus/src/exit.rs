//! How a command ends: 0 done, 1 could not be done, 2 mistakes in files or on the command line.

use std::{fmt, io, process::ExitCode};

/// How a command ended that said what it had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It could not be done, or what was looked at is not as it should be.
    Failed = 1,
    /// Mistakes in routes, schemas, configuration or on the command line.
    Mistakes = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub struct Failure {
    /// With which code.
    pub exit: Exit,
    /// What is said on the standard error.
    pub text: String,
}

impl Failure {
    /// It could not be done.
    pub fn failed(text: impl fmt::Display) -> Self {
        Self { exit: Exit::Failed, text: text.to_string() }
    }

    /// A mistake of whoever called.
    pub fn mistake(text: impl fmt::Display) -> Self {
        Self { exit: Exit::Mistakes, text: text.to_string() }
    }
}

impl From<io::Error> for Failure {
    /// Whoever read our output went away: `snodo parked list | head` is done, not broken.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Done, text: String::new() };
        }
        Self::failed(error)
    }
}
