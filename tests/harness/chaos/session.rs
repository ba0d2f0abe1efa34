//! What the programs that harm a bus have in common as programs: a seed to type, a folder to work in, lines.
//!
//! Invariant: a seed that is printed is the whole of a session's chance.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use super::{Failure, plan::LedgerKind};
use crate::bus::binaries;

/// Prints a line. Whoever reads no longer does not stop the session.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A new seed; small, so that people can type it.
pub fn seed() -> u64 {
    uuid::Uuid::now_v7().as_fields().3.iter().fold(0, |seed, byte| seed * 31 + u64::from(*byte))
        % 1_000_000
}

/// Cargo's target folder: two above this program.
pub fn target_folder() -> io::Result<PathBuf> {
    let folder = binaries()?.canonicalize()?;
    folder.parent().map(Path::to_owned).ok_or_else(|| io::Error::other("no target folder"))
}

/// What takes longer is a failure that names it; without this, a run that hangs would tell nobody where.
pub async fn within<T>(
    longest: Duration,
    what: &str,
    part: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let ended = timeout(longest, part).await;
    ended.unwrap_or_else(|_| Err(format!("{what} was not over after {longest:?}").into()))
}

/// The ledger of a command line's word.
pub fn ledger(name: &str) -> Result<LedgerKind, String> {
    LedgerKind::named(name).ok_or_else(|| "the ledgers are sqlite and postgres".to_owned())
}
