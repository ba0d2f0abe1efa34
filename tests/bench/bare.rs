//! The limit of the `http` run: a bare axum handler that appends the row in a group commit and relays
//! it by bare lapin. No envelope, no schema, no routes, no fan-out, no events.
//!
//! Invariant: 202 only after the commit; the copy is published after it.

use std::{
    collections::VecDeque,
    error::Error,
    net::SocketAddr,
    path::Path,
    str::FromStr as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use sqlx::{
    QueryBuilder, Sqlite, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use crate::measure::Measured;

type Failure = Box<dyn Error + Send + Sync>;
type Waiting = (Bytes, oneshot::Sender<bool>);

/// When each row was committed that the broker has not confirmed yet, in order.
type Queued = Arc<Mutex<VecDeque<Instant>>>;

/// Rows of a group at most.
const GROUP: usize = 500;
/// Unconfirmed publishes at most.
const WINDOW: usize = 1024;

/// Where its copies go.
pub(crate) const QUEUE: &str = "bench.bare";

/// Serves on the address that stands in `<folder>/listen`, with the broker of `<folder>/broker-uri`.
pub(crate) async fn in_folder(folder: &Path) -> Result<Measured, Failure> {
    let listen = std::fs::read_to_string(folder.join("listen"))?.trim().parse()?;
    serve(&std::fs::read_to_string(folder.join("broker-uri"))?, listen, folder).await?;
    Err("the server ended".into())
}

async fn serve(uri: &str, listen: SocketAddr, folder: &Path) -> Result<(), Failure> {
    let pool = open(folder).await?;
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), arguments).await?;
    let (rows, waiting) = mpsc::channel(4096);
    let (copies, committed) = mpsc::channel(65_536);
    let queued = Queued::default();
    let (mark, unmark) = (Arc::clone(&queued), Arc::clone(&queued));
    tokio::spawn(async move { append(&pool, waiting, copies, &mark).await });
    tokio::spawn(async move { publish(&channel, committed, &unmark).await });
    let app = Router::new()
        .route("/v1/messages", post(take))
        .with_state(rows)
        .route("/metrics", get(show))
        .layer(Extension(queued));
    axum::serve(tokio::net::TcpListener::bind(listen).await?, app).await?;
    drop(connection);
    Ok(())
}

async fn open(folder: &Path) -> Result<SqlitePool, Failure> {
    let file = folder.join("bare.db");
    let options = SqliteConnectOptions::from_str(&format!("sqlite://{}", file.display()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS row (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        .execute(&pool)
        .await?;
    Ok(pool)
}

/// The two metrics by which the bus is judged too, under the same names.
async fn show(Extension(queued): Extension<Queued>) -> String {
    let queued = locked(&queued);
    let oldest = queued.front().map_or(0.0, |since| since.elapsed().as_secs_f64());
    let many = queued.len();
    format!("snodo_deliveries{{}} {many}\nsnodo_outbox_oldest_age_seconds {oldest}\n")
}

fn locked(queued: &Queued) -> MutexGuard<'_, VecDeque<Instant>> {
    queued.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(State(rows): State<mpsc::Sender<Waiting>>, body: Bytes) -> StatusCode {
    let (done, answer) = oneshot::channel();
    if rows.send((body, done)).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match answer.await {
        Ok(true) => StatusCode::ACCEPTED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn append(
    pool: &SqlitePool,
    mut waiting: mpsc::Receiver<Waiting>,
    copies: mpsc::Sender<Bytes>,
    queued: &Queued,
) {
    let mut group = Vec::with_capacity(GROUP);
    while waiting.recv_many(&mut group, GROUP).await > 0 {
        let committed = commit(pool, &group).await.is_ok();
        if committed {
            locked(queued).extend(group.iter().map(|_| Instant::now()));
        }
        for (body, done) in group.drain(..) {
            // A client that went away needs no answer.
            let _ = done.send(committed);
            if committed && copies.send(body).await.is_err() {
                return;
            }
        }
    }
}

async fn commit(pool: &SqlitePool, group: &[Waiting]) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new("INSERT INTO row (body) ");
    insert.push_values(group, |mut row, (body, _)| {
        row.push_bind(body.to_vec());
    });
    insert.build().execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn publish(
    channel: &Channel,
    mut committed: mpsc::Receiver<Bytes>,
    queued: &Queued,
) -> Result<(), Failure> {
    let mut open = VecDeque::new();
    loop {
        // What is idle confirms what is open.
        let next = match committed.try_recv() {
            Ok(body) => Some(body),
            Err(mpsc::error::TryRecvError::Empty) if open.is_empty() => committed.recv().await,
            Err(_) => None,
        };
        let room = if next.is_some() { WINDOW } else { open.len().saturating_sub(1) };
        while open.len() > room {
            let Some(confirm) = open.pop_front() else { break };
            confirm.await?;
            locked(queued).pop_front();
        }
        let Some(body) = next else {
            if committed.is_closed() && open.is_empty() {
                return Ok(());
            }
            continue;
        };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        open.push_back(
            channel.basic_publish("".into(), QUEUE.into(), options, &body, properties).await?,
        );
    }
}
