//! What worlds run on: a runtime for the real ledger, and an empty ledger for each world.
//!
//! Invariant: no world finds anything of another.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use snodo::ledger::{Ledger, Settings, Store, open};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::house::House;

/// Opens the ledger of a world, empty, for each process of it.
type Open = Box<dyn Fn(&Runtime, usize) -> Vec<Arc<dyn Ledger>> + Send + Sync>;

/// Made once per thread, used for many seeds.
pub struct Bench {
    /// Drives the real ledger.
    pub runtime: Runtime,
    /// The routes.
    pub house: House,
    /// Opens the ledger of a world.
    pub open: Open,
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bench")
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// A SQLite ledger in memory-backed files, copied from an empty one for each world.
pub fn sqlite() -> Bench {
    let runtime = runtime();
    let folder = scratch();
    let empty = folder.path().join("empty.db");
    drop(runtime.block_on(open(&settings(&empty))).expect("a ledger is created"));
    let open = move |runtime: &Runtime, _: usize| {
        let world = folder.path().join("world.db");
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(with_ending(&world, ending));
            let from = with_ending(&empty, ending);
            if from.exists() {
                fs::copy(from, with_ending(&world, ending)).expect("the empty ledger is copied");
            }
        }
        let _ = fs::remove_file(with_ending(&world, ".lock"));
        vec![runtime.block_on(open(&settings(&world))).expect("the ledger opens")]
    };
    Bench { runtime, house: House::new(), open: Box::new(open) }
}

/// A database of its own on PostgreSQL for each world, with a ledger for each of its processes.
///
/// # Panics
///
/// Where PostgreSQL is not installed.
pub fn postgres() -> Bench {
    let runtime = runtime();
    let open = move |runtime: &Runtime, processes: usize| {
        let server = crate::postgres::server().expect("PostgreSQL is installed");
        let url = server.database();
        let one = |owner: usize| {
            let store = Store::Postgres { url: url.clone(), connections: 2 };
            let settings = Settings { store, slot: format!("slot{owner}") };
            runtime.block_on(open(&settings)).expect("the ledger opens")
        };
        (0..processes).map(one).collect()
    };
    Bench { runtime, house: House::new(), open: Box::new(open) }
}

fn settings(path: &Path) -> Settings {
    let store = Store::Sqlite { path: path.to_owned(), durable: false };
    Settings { store, slot: "slot0".to_owned() }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// In memory where the machine has such a folder.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a folder is made")
}
