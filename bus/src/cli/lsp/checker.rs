//! The check beside the conversation: a thread that checks the house when it is asked to, one at a time.
//!
//! Invariant: a check that panics is told like any other end; the thread goes on.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
};

use snodo_core::{adapter::Catalog, diagnostic::Diagnostic, route::House};

use super::Event;
use crate::{
    house::{self, Folder, Unsaved},
    settings::{AdapterSettings, Surroundings},
};

/// As much as the thread has in which `snodo check` runs: what it can check is checked here too.
const STACK: usize = 8 * 1024 * 1024;

/// What is to be checked.
#[derive(Debug)]
pub(super) struct Ask {
    /// Which state of the texts that is.
    pub(super) state: u64,
    pub(super) house: PathBuf,
    pub(super) unsaved: Arc<Unsaved>,
}

/// A check that has ended.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) state: u64,
    /// None where it panicked.
    pub(super) found: Option<Found>,
}

/// What a check has found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) said: Vec<Diagnostic>,
    pub(super) house: House,
    pub(super) adapters: BTreeMap<String, AdapterSettings>,
}

/// Checks until nobody asks any more.
pub(super) fn spawn(
    around: Surroundings,
    catalog: Catalog,
    asks: Receiver<Ask>,
    tell: SyncSender<Event>,
) -> io::Result<()> {
    let checker = move || {
        for Ask { state, house, unsaved } in asks {
            let folder = Folder::with(&house, unsaved);
            let looked = catch_unwind(AssertUnwindSafe(|| house::look(&folder, &around, &catalog)));
            let found = looked.ok().map(|looked| Found {
                said: looked.said,
                house: looked.house,
                adapters: looked.adapters,
            });
            if tell.send(Event::Checked(Box::new(Round { state, found }))).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("lsp-checker".to_owned()).stack_size(STACK);
    thread.spawn(checker).map(drop)
}
