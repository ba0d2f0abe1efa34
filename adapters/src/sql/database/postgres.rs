//! PostgreSQL: a pool that connects when it is needed, transactions that only read.
//!
//! Invariant: a value goes to the server as a parameter, as text, and the server itself makes of it the type
//! that the query wants; a row comes back as JSON that the server wrote.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use futures_util::TryStreamExt as _;
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Either, Executor as _,
    PgConnection, PgPool, Postgres as Pg, Row as _, SqlSafeStr as _, Statement as _, TypeInfo,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode, PgStatement, PgTypeInfo},
};
use tokio::time::{Instant, timeout_at};

use super::{CONNECT, CONNECTIONS, Gathered, Question, not_connected, troubled};
use crate::sql::{
    answer::{Row, twice, written},
    classify::{NotReached, Trouble, Unusable},
    options::{Server, SslMode},
    text::Dialect,
};

/// What holds for every connection. A notice could say anything: none is sent.
const SESSION: [(&str, &str); 5] = [
    ("default_transaction_read_only", "on"),
    ("client_min_messages", "error"),
    ("standard_conforming_strings", "on"),
    ("idle_in_transaction_session_timeout", "60000"),
    ("lock_timeout", "2000"),
];
/// Beyond which a connection that nobody uses is closed.
const IDLE: Duration = Duration::from_mins(1);

/// A server.
#[derive(Debug)]
pub(in crate::sql) struct Postgres {
    options: PgConnectOptions,
    password: PathBuf,
    pool: OnceLock<PgPool>,
}

impl Postgres {
    pub(super) fn of(server: &Server) -> Self {
        let local = is_local(&server.host);
        let usual = if local { SslMode::Disable } else { SslMode::VerifyFull };
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&server.host)
            .port(server.port)
            .database(&server.database)
            .username(&server.user)
            .ssl_mode(server.sslmode.unwrap_or(usual).into())
            .application_name("snodo")
            .options(SESSION)
            .disable_statement_logging();
        if let Some(ca) = &server.ca {
            options = options.ssl_root_cert(ca);
        }
        Self { options, password: server.password.0.clone(), pool: OnceLock::new() }
    }

    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Vec<Row>, Trouble> {
        let mut connection = self.connection(question.until).await?;
        let rows = timeout_at(question.until, answered(&mut connection, question)).await;
        rows.unwrap_or_else(|_| {
            // What is under way there is not waited for.
            connection.close_on_drop();
            Err(Trouble::Late)
        })
    }

    pub(super) async fn probe(&self, until: Instant) -> Result<(), Trouble> {
        let mut connection = self.connection(until).await?;
        let asked = timeout_at(until, connection.execute("SELECT 1")).await;
        let answered = asked.map_err(|_| Trouble::NotReached(NotReached::TimedOut))?;
        answered.map(drop).map_err(|error| troubled(error, Dialect::Postgres, None))
    }

    /// The password is read each time: who replaces the file needs no restart.
    async fn connection(&self, until: Instant) -> Result<PoolConnection<Pg>, Trouble> {
        let password = tokio::fs::read_to_string(&self.password).await;
        let password = password.map_err(|_| Trouble::NoPassword)?;
        let password = Some(password.trim()).filter(|password| !password.is_empty());
        let options = self.options.clone().password(password.ok_or(Trouble::NoPassword)?);
        let pool = self.pool.get_or_init(|| pool(options.clone()));
        pool.set_connect_options(options);
        match timeout_at(until, pool.acquire()).await {
            Ok(acquired) => acquired.map_err(|error| not_connected(error, Dialect::Postgres)),
            Err(_) => Err(Trouble::NotReached(NotReached::TimedOut)),
        }
    }
}

fn pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT)
        .idle_timeout(IDLE)
        .connect_lazy_with(options)
}

/// This machine: an address of its own, or the folder of a socket.
fn is_local(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host.starts_with('/')
        || host == "localhost"
        || address.is_ok_and(|address| address.is_loopback())
}

async fn answered(
    connection: &mut PgConnection,
    question: &Question<'_>,
) -> Result<Vec<Row>, Trouble> {
    let left = question.until.saturating_duration_since(Instant::now()).as_millis().max(1);
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {left}");
    let mut tx = connection.begin_with(AssertSqlSafe(begin)).await.map_err(trouble)?;
    let sql = whole(&mut tx, question).await?;
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in question.values {
        query = query.bind(as_text(value));
    }
    let mut gathered = Gathered::new(question);
    let mut rows = query.fetch(&mut *tx);
    while let Some(row) = rows.try_next().await.map_err(trouble)? {
        let text: String = row.try_get(0).map_err(trouble)?;
        gathered.count(text.len())?;
        gathered.push(written(&text).map_err(Trouble::Unusable)?)?;
    }
    drop(rows);
    tx.rollback().await.map_err(trouble)?;
    Ok(gathered.rows)
}

fn trouble(error: sqlx::Error) -> Trouble {
    troubled(error, Dialect::Postgres, None)
}

/// The query within one that has each row written as JSON, no more of them than are wanted and one; no row
/// is sent that is longer than a whole answer.
async fn whole(tx: &mut PgConnection, question: &Question<'_>) -> Result<String, Trouble> {
    let query = question.query;
    // Once per connection: it keeps what it was told of a statement.
    let told = tx.prepare(AssertSqlSafe(query.numbered()).into_sql_str()).await;
    let told = told.map_err(|error| troubled(error, Dialect::Postgres, Some(query)))?;
    columns(&told)?;
    let wanted = match told.parameters() {
        Some(Either::Left(types)) => types,
        _ => &[],
    };
    let inner = query.with(|index| cast(index + 1, wanted.get(index)));
    let (most, longest) = (question.row_limit + 1, question.answer_limit + 1);
    Ok(format!(
        "SELECT left(row_to_json(snodo_row)::text, {longest}) FROM (\n{inner}\n) AS snodo_row LIMIT {most}"
    ))
}

/// Whether each column has a name of its own, and is something that JSON holds.
fn columns(told: &PgStatement) -> Result<(), Trouble> {
    let all = told.columns();
    if let Some(name) = twice(all.iter().map(sqlx::Column::name)) {
        return Err(Trouble::Unusable(Unusable::TwoColumns(name.to_owned())));
    }
    let bytes = all.iter().find(|column| column.type_info().name().starts_with("BYTEA"));
    match bytes {
        None => Ok(()),
        Some(column) => Err(Trouble::Unusable(Unusable::Bytes(column.name().to_owned()))),
    }
}

/// A parameter in the type that the query wants. Without it a text would be compared as text, past the index
/// of a column of type `char(16)`.
fn cast(number: usize, wanted: Option<&PgTypeInfo>) -> String {
    let name = wanted.map_or("?", TypeInfo::name);
    // `char` alone and `bit` alone would cut a value to its first character.
    let name = match name {
        "CHAR" => "bpchar",
        "\"CHAR\"" => "\"char\"",
        "BIT" => "varbit",
        other => other,
    };
    if name.contains('?') { format!("${number}") } else { format!("CAST(${number} AS {name})") }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

impl From<SslMode> for PgSslMode {
    fn from(mode: SslMode) -> Self {
        match mode {
            SslMode::Disable => Self::Disable,
            SslMode::Require => Self::Require,
            SslMode::VerifyCa => Self::VerifyCa,
            SslMode::VerifyFull => Self::VerifyFull,
        }
    }
}
