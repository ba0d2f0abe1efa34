//! A slot: a lock that the operating system holds for the life of a process.
//!
//! Invariant: while the value lives nobody else has the slot; when the process ends, however it ends,
//! the slot is free.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// A slot that is held.
#[derive(Debug)]
pub struct SlotLock {
    // Held open: the lock ends with it.
    _file: File,
}

/// Why a slot was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// Another process has it.
    #[error("SN0831: {} is in use by process {}; stop that process, or give this one its own data folder",
        path.display(), pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    LockHeld {
        /// The lock's file.
        path: PathBuf,
        /// Who has it, as it wrote itself.
        pid: Option<u32>,
    },
    /// The lock's file cannot be made.
    #[error(
        "SN0832: the lock {} cannot be taken: {why}; make its folder writable for this user",
        path.display()
    )]
    NoFile {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        why: std::io::ErrorKind,
    },
}

impl SlotLock {
    /// Takes the slot `name` of a data folder.
    pub fn take(folder: &Path, name: &str) -> Result<Self, SlotError> {
        Self::at(&folder.join(format!("slot-{name}.lock")))
    }

    /// Takes the lock that a file stands for; writes this process's id into it.
    pub fn at(path: &Path) -> Result<Self, SlotError> {
        let no_file =
            |error: std::io::Error| SlotError::NoFile { path: path.to_owned(), why: error.kind() };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(no_file)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if crate::faults::off("slot-not-exclusive") => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Err(SlotError::LockHeld {
                    path: path.to_owned(),
                    pid: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(no_file(error)),
        }
        file.set_len(0).map_err(no_file)?;
        file.rewind().map_err(no_file)?;
        writeln!(file, "{}", std::process::id()).map_err(no_file)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_taken_once_and_is_free_when_its_holder_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = SlotLock::take(folder.path(), "main").expect("free");
        let refused = SlotLock::take(folder.path(), "main").expect_err("held");
        let me = std::process::id();
        assert!(matches!(refused, SlotError::LockHeld { pid: Some(pid), .. } if pid == me));
        assert!(SlotLock::take(folder.path(), "other").is_ok());
        drop(held);
        assert!(SlotLock::take(folder.path(), "main").is_ok());
    }
}
