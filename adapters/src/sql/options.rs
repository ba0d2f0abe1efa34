//! The options of an `sql` instance, as written.
//!
//! Invariant: a password is never written here: it is read from its file.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::http::{
    SecretFile,
    options::{default_answer_limit, default_deadline, duration, size},
};

/// What stands under an instance of kind `sql`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Which database.
    pub database: Place,
    /// What is asked of it, by the name that routes and facts write.
    pub operations: BTreeMap<String, OperationOptions>,
    /// The most rows of an answer; more is a fault.
    #[serde(default = "default_row_limit")]
    pub row_limit: usize,
    /// The longest answer that is read.
    #[serde(default = "default_answer_limit", deserialize_with = "size")]
    pub answer_limit: usize,
}

/// `{ postgres: … }` or `{ sqlite: /path }`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A server.
    Postgres(Server),
    /// A file.
    Sqlite(PathBuf),
}

/// A PostgreSQL server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Name, address, or the folder of a socket.
    pub host: String,
    /// Port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// User; one that may only read.
    pub user: String,
    /// Where its password is kept; read again for each connection.
    pub password: SecretFile,
    /// How the connection is protected; where left out `verify-full`, on this machine `disable`.
    #[serde(default)]
    pub sslmode: Option<SslMode>,
    /// The certificate of the authority that signed the server's, where it is none that browsers know.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// In PostgreSQL's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// In the clear.
    Disable,
    /// Encrypted, to whoever answers.
    Require,
    /// To a server with a certificate of the authority.
    VerifyCa,
    /// To that very server.
    VerifyFull,
}

/// One operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationOptions {
    /// One SELECT; `:name` is a field of the input.
    pub query: String,
    /// The schema of the input: `anagrafe/person.v1`, or the schema itself.
    pub input: Value,
    /// The schema of the answer.
    pub output: Value,
    /// The rows are the answer, as a list under this name.
    #[serde(default)]
    pub rows: Option<String>,
    /// One row is the answer.
    #[serde(default)]
    pub one: bool,
    /// An answer is there by then.
    #[serde(default = "default_deadline", deserialize_with = "duration")]
    pub deadline: Duration,
}

fn default_row_limit() -> usize {
    1000
}

fn default_port() -> u16 {
    5432
}
