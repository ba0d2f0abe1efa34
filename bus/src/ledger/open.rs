//! Opening the ledger that the settings name.
//!
//! Invariant: a SQLite file has one holder; a ledger written by a newer version is refused.

use std::{path::PathBuf, sync::Arc};

use super::{
    Ledger,
    database::Database,
    postgres,
    slot::{SlotError, SlotLock},
    sqlite,
    store::SqlLedger,
};

/// Where the ledger is kept.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file.
    Sqlite {
        /// Its path.
        path: PathBuf,
        /// Whether every commit is on disk before it is reported. Off for simulations only.
        durable: bool,
    },
    /// A server.
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: String,
        /// Connections at most.
        connections: u32,
    },
}

/// How a ledger is opened.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is kept.
    pub store: Store,
    /// The slot: the name of the chain of events until `start` names one.
    pub slot: String,
}

impl Settings {
    /// A durable file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        let store = Store::Sqlite { path: path.into(), durable: true };
        Self { store, slot: "main".to_owned() }
    }

    /// A server.
    pub fn postgres(url: impl Into<String>) -> Self {
        let store = Store::Postgres { url: url.into(), connections: 8 };
        Self { store, slot: "main".to_owned() }
    }
}

/// Why a ledger was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// A newer version wrote it.
    #[error(
        "SN0833: the ledger was written by a newer version of snodo (schema {0}); \
         run that version or a later one"
    )]
    Newer(i64),
    /// The database said no.
    #[error(
        "SN0830: the ledger cannot be opened: {0}; \
         check that the file or server of `ledger` in config/snodo.yaml exists and may be written"
    )]
    Database(String),
}

/// Opens a ledger, creates or expands its tables.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Ledger>, OpenError> {
    Ok(Arc::new(open_sql(settings).await?))
}

/// The same as [`open`], with what only the two databases know.
pub async fn open_sql(settings: &Settings) -> Result<SqlLedger, OpenError> {
    let (database, lock, lanes) = match &settings.store {
        Store::Sqlite { path, durable } => {
            let mut beside = path.clone().into_os_string();
            beside.push(".lock");
            let lock = SlotLock::at(&PathBuf::from(beside))?;
            let store = sqlite::open(path, *durable).await.map_err(refused)?;
            (Database::Sqlite(store), Some(lock), 1)
        }
        Store::Postgres { url, connections } => {
            let pool = postgres::open(url, *connections).await.map_err(refused)?;
            (Database::Postgres(pool), None, 2)
        }
    };
    Ok(SqlLedger::new(database, &settings.slot, lock, lanes))
}

/// Ledgers in memory, one after the other on the same connection: what one of them has prepared serves
/// the next. The tests of routes run on them.
#[derive(Debug)]
pub struct Scratch {
    store: sqlite::SqliteStore,
    clearing: String,
}

impl Scratch {
    /// Makes the tables.
    pub async fn open() -> Result<Self, OpenError> {
        let store = sqlite::in_memory().await.map_err(refused)?;
        let clearing = sqlite::clearing(&store).await.map_err(refused)?;
        Ok(Self { store, clearing })
    }

    /// An empty ledger; what was in the one before it is gone.
    pub async fn ledger(&self) -> Result<Arc<dyn Ledger>, OpenError> {
        sqlite::clear(&self.store, &self.clearing).await.map_err(refused)?;
        Ok(Arc::new(SqlLedger::new(Database::Sqlite(self.store.clone()), "main", None, 1)))
    }
}

fn refused(error: sqlx::Error) -> OpenError {
    if let sqlx::Error::Migrate(error) = &error
        && let sqlx::migrate::MigrateError::VersionMissing(version) = **error
    {
        return OpenError::Newer(version);
    }
    OpenError::Database(super::database::unreadable(error).0)
}
