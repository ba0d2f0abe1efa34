//! Watches the files of the house: a reload is asked for once they have been quiet for a moment.
//!
//! Invariant: what is watched decides nothing; a change that goes unseen waits for SIGHUP, an operator,
//! or the next start.

use std::{path::Path, time::Duration};

use notify::{Event, EventKind, RecursiveMode, Watcher as _};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::reload::Asks;

/// Folders of the house that a reload reads. Editors write beside a file and rename, so folders are
/// watched, not files.
const FOLDERS: [&str; 3] = ["routes", "schemas", "config"];
/// Files of one change come within this of each other.
const QUIET: Duration = Duration::from_millis(500);

/// Watches until `stop`.
pub(super) fn spawn(house: &Path, asks: &Asks, tasks: &TaskTracker, stop: &CancellationToken) {
    // One is enough: what comes while it waits is part of the same change.
    let (tell, mut told) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| is_change(event.kind)) {
            let _ = tell.try_send(());
        }
    });
    let watched = watcher.and_then(|mut watcher| {
        for folder in FOLDERS.map(|folder| house.join(folder)).iter().filter(|at| at.is_dir()) {
            watcher.watch(folder, RecursiveMode::Recursive)?;
        }
        Ok(watcher)
    });
    let watcher = match watched {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "the house is not watched; send SIGHUP or run `snodo reload`");
            return;
        }
    };
    let (asks, stop) = (asks.clone(), stop.clone());
    tasks.spawn(async move {
        // Dropped with this task: then nothing is watched any more.
        let _watcher = watcher;
        while stop.run_until_cancelled(told.recv()).await.flatten().is_some() {
            while let Ok(Some(())) = timeout(QUIET, told.recv()).await {}
            asks.soon();
        }
    });
}

fn is_change(kind: EventKind) -> bool {
    matches!(kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_))
}
