//! How much room the disk has: below the watermark nothing is taken from others.
//!
//! Invariant: the disk is asked at most once in a while, whoever wants to know; where it cannot be asked,
//! there is room, and the write itself will say.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long a look is believed. Who writes as fast as a disk can writes some hundred MiB in that time.
const BELIEVED: Duration = Duration::from_millis(200);

/// The disk on which the bus keeps what it must not lose.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    least: u64,
    looked: Mutex<Option<(Duration, u64)>>,
}

impl Disk {
    /// The disk of `folder`, of which `least` bytes are to stay free.
    pub fn new(folder: PathBuf, least: u64) -> Self {
        Self { folder, least, looked: Mutex::default() }
    }

    /// The bytes that are free, as of a moment ago.
    pub fn free(&self, uptime: Duration) -> u64 {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, free)) = *looked
            && uptime < at + BELIEVED
        {
            return free;
        }
        let stat = rustix::fs::statvfs(&self.folder);
        let free = stat.map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        *looked = Some((uptime, free));
        free
    }

    /// Whether less is free than is to stay so.
    pub fn is_short(&self, uptime: Duration) -> bool {
        self.free(uptime) < self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_believed_for_a_moment() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::new(folder.path().to_owned(), 1);
        let free = disk.free(Duration::ZERO);
        assert!(free > 1 && free < u64::MAX && !disk.is_short(Duration::ZERO));
        *disk.looked.lock().expect("free") = Some((Duration::ZERO, 0));
        assert!(disk.is_short(BELIEVED / 2));
        assert!(!disk.is_short(BELIEVED), "it is looked at again");
        assert!(Disk::new(folder.path().to_owned(), u64::MAX).is_short(Duration::ZERO));
    }
}
