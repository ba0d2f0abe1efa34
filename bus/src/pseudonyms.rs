//! The key under which rows name persons: read from the file of the configuration, or made at the first
//! start, beside the ledger and never in it.
//!
//! Invariant: a key is made only where there is none, and for one bus alone: processes that share a ledger
//! are told theirs (SN0461).

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use snodo_core::pseudonym::{Key, Pseudonyms};

use crate::{
    random,
    settings::{FactSettings, Settings},
};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file.
    #[error("SN0837: the secret in {0} cannot be read: {1}")]
    File(String, io::Error),
    /// What stands in it.
    #[error(
        "SN0844: the key in {0} is none; write 64 hexadecimal digits: `openssl rand -hex 32` makes some"
    )]
    NoKey(String),
}

/// The name of the file that is made.
const MADE: &str = "pseudonyms.key";

/// The keys of a bus.
pub fn open(settings: &Settings) -> Result<Pseudonyms, KeyError> {
    let FactSettings { key, earlier } = &settings.facts;
    let now = match key {
        Some(file) => read(&file.0)?.into_iter().next().ok_or_else(|| none(&file.0))?,
        None => made(&settings.data.join(MADE))?,
    };
    let before = earlier.as_ref().map_or(Ok(Vec::new()), |file| read(&file.0))?;
    Ok(Pseudonyms::new(now, before))
}

/// The keys in a file, one per line.
fn read(file: &Path) -> Result<Vec<Key>, KeyError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| KeyError::File(file.display().to_string(), error))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| Key::from_hex(line).ok_or_else(|| none(file))).collect()
}

fn none(file: &Path) -> KeyError {
    KeyError::NoKey(file.display().to_string())
}

/// The key in a file of this bus, which only its user may read; made where there is none.
fn made(file: &PathBuf) -> Result<Key, KeyError> {
    let failed = |error| KeyError::File(file.display().to_string(), error);
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut new) => {
            let key = random::hex(32).map_err(failed)?;
            new.write_all(key.as_bytes()).and_then(|()| new.sync_all()).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    read(file)?.into_iter().next().ok_or_else(|| none(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_user_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(MADE);
        let first = made(&file).expect("made");
        assert_eq!(made(&file).expect("there").id(), first.id());
        let mode = std::fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&file, "abc").expect("written");
        assert!(matches!(made(&file), Err(KeyError::NoKey(_))));
    }
}
