//! Connections to the broker: dialled with patience, watched, replaced when they are lost.
//!
//! Invariant: nothing of a session (channel, delivery tag) outlives it; who uses one asks for it anew.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, Event, uri::AMQPUri};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use crate::retry::Pace;

/// A session that held so long was healthy: the waits start over after it.
const HEALTHY: Duration = Duration::from_secs(30);
/// How long a broker may take to answer that a connection or a channel is closed.
const GOODBYE: Duration = Duration::from_secs(2);

/// A password, or where it is.
#[derive(Clone)]
pub enum Secret {
    /// The password itself (a private node's, which is made up at its start).
    Text(String),
    /// A file, read anew at every dial so that a changed password needs no restart.
    File(PathBuf),
}

impl Secret {
    /// The password, without the line end that editors leave.
    pub async fn read(&self) -> io::Result<String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// How to reach a broker.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `amqp://host:port` or `amqps://host:port`, one per node; tried in turn.
    pub nodes: Vec<String>,
    /// The vhost.
    pub vhost: String,
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// The management interface, where there is one on this machine.
    pub management: Option<SocketAddr>,
}

/// The largest frame, bytes. The client keeps two buffers of 32 frames for each connection; at the
/// broker's own 128 KiB those of one process were 24 MiB.
const FRAME: u32 = 32 * 1024;

/// Why a connection could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The password file.
    #[error("the broker's password file cannot be read: {0}")]
    Password(io::Error),
    /// The configuration.
    #[error("`{0}` is no address of a broker; write `amqp://host:port` or `amqps://host:port`")]
    Address(String),
    /// Nobody answered.
    #[error("{0} did not answer in {1:?}")]
    Silent(String, Duration),
    /// The broker knows us and says no: user, password, vhost, or too many connections.
    #[error("SN0815 {0} refuses user `{1}` in vhost `{2}`: {3}")]
    Refused(String, String, String, lapin::Error),
    /// Anything else.
    #[error("{0}: {1}")]
    Failed(String, lapin::Error),
}

impl DialError {
    /// The broker said no: to ask again at once is no use and looks like an attack.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(..) | Self::Password(_) | Self::Address(_))
    }
}

/// 403 ACCESS_REFUSED; 530 NOT_ALLOWED: no such vhost, or its limit of connections.
fn is_refusal(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if [403, 530].contains(&error.get_id()))
}

/// How long the sessions wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between attempts to connect.
    pub pace: Pace,
    /// Between attempts where the broker refuses us: two a minute at most.
    pub refused: Duration,
    /// For one attempt to connect.
    pub dial: Duration,
    /// Between looks at what should be alive.
    pub watchdog: Duration,
    /// For the broker's word on a publish.
    pub confirm: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pace: Pace::default(),
            refused: Duration::from_secs(30),
            dial: Duration::from_secs(10),
            watchdog: Duration::from_secs(5),
            confirm: Duration::from_secs(30),
        }
    }
}

impl Endpoint {
    /// The same broker, another vhost.
    #[must_use]
    pub fn in_vhost(&self, vhost: &str) -> Self {
        Self { vhost: vhost.to_owned(), ..self.clone() }
    }

    /// One attempt at the node whose turn it is, with the default patience. `role` is shown in the
    /// broker's list of connections.
    pub async fn dial(&self, attempt: usize, role: &str) -> Result<Connection, DialError> {
        self.dial_within(attempt, role, Patience::default().dial).await
    }

    async fn dial_within(
        &self,
        attempt: usize,
        role: &str,
        within: Duration,
    ) -> Result<Connection, DialError> {
        let node = self
            .nodes
            .get(attempt % self.nodes.len().max(1))
            .ok_or_else(|| DialError::Address(String::new()))?;
        let uri = self.uri(node).await?;
        let properties =
            ConnectionProperties::default().with_connection_name(format!("snodo/{role}").into());
        match timeout(within, Connection::connect_uri(uri, properties)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) if is_refusal(&error) => {
                Err(DialError::Refused(node.clone(), self.user.clone(), self.vhost.clone(), error))
            }
            Ok(Err(error)) => Err(DialError::Failed(node.clone(), error)),
            Err(_) => Err(DialError::Silent(node.clone(), within)),
        }
    }

    async fn uri(&self, node: &str) -> Result<AMQPUri, DialError> {
        let mut uri: AMQPUri =
            node.parse().map_err(|_| DialError::Address(without_password(node).to_owned()))?;
        uri.authority.userinfo.username.clone_from(&self.user);
        uri.authority.userinfo.password =
            self.password.read().await.map_err(DialError::Password)?;
        uri.vhost.clone_from(&self.vhost);
        uri.query.heartbeat = Some(10);
        uri.query.frame_max = Some(FRAME);
        Ok(uri)
    }
}

/// Closes a connection, whether or not the broker answers. lapin's own `close` stops its heartbeats first:
/// where a broker on its way down gives no answer, it waits for ever.
pub async fn close(connection: &Connection, why: &str) {
    let _ = timeout(GOODBYE, connection.close(200, why.into())).await;
}

/// The same for a channel.
pub(crate) async fn close_channel(channel: &Channel, why: &str) {
    let _ = timeout(GOODBYE, channel.close(200, why.into())).await;
}

/// What may be shown of an address that does not parse.
fn without_password(node: &str) -> &str {
    node.rsplit_once('@').map_or(node, |(_, host)| host)
}

/// What is known of a supervised connection.
#[derive(Clone, Debug, Default)]
pub struct LinkState {
    connection: Option<Arc<Connection>>,
    /// The broker takes no publishes (memory or disk alarm).
    pub blocked: bool,
    /// How many sessions there have been.
    pub sessions: u64,
    /// The last attempt was refused: a person must act.
    pub refused: bool,
}

impl LinkState {
    /// There is a connection.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }
}

/// A supervised connection. It ends when the last clone of it is dropped.
#[derive(Clone, Debug)]
pub struct Link {
    state: watch::Receiver<LinkState>,
    stop: CancellationToken,
    _end: Arc<DropGuard>,
}

impl Link {
    /// Starts to connect, and to connect again whenever the connection is lost.
    pub fn start(endpoint: Endpoint, role: &'static str, patience: Patience) -> Self {
        let (sender, state) = watch::channel(LinkState::default());
        let stop = CancellationToken::new();
        let keeper = Keeper { endpoint, role, patience, state: sender, stop: stop.clone() };
        tokio::spawn(keeper.keep());
        Self { state, _end: Arc::new(stop.clone().drop_guard()), stop }
    }

    /// What is known of it, for metrics and `doctor`.
    pub fn observe(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// There is a connection.
    pub fn is_connected(&self) -> bool {
        self.state.borrow().is_connected()
    }

    /// No connection, or one that takes no publishes.
    pub fn is_congested(&self) -> bool {
        let state = self.state.borrow();
        state.blocked || !state.is_connected()
    }

    /// The broker takes no publishes.
    pub fn is_blocked(&self) -> bool {
        self.state.borrow().blocked
    }

    /// The connection, as soon as there is one; none when the link is closed.
    pub(super) async fn connected(&self) -> Option<Arc<Connection>> {
        let mut state = self.state.clone();
        let state = state.wait_for(LinkState::is_connected).await.ok()?;
        state.connection.clone()
    }

    /// Waits for the end of the connection that is there now.
    pub(super) async fn lost(&self) {
        let mut state = self.state.clone();
        let session = state.borrow().sessions;
        // An error: the link itself is closed.
        let _ = state.wait_for(|state| !state.is_connected() || state.sessions != session).await;
    }

    /// Says goodbye to the broker and ends.
    pub async fn close(&self) {
        self.stop.cancel();
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {}
    }
}

struct Keeper {
    endpoint: Endpoint,
    role: &'static str,
    patience: Patience,
    state: watch::Sender<LinkState>,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self) {
        let mut waits = self.patience.pace.waits();
        for attempt in 0.. {
            let began = Instant::now();
            let refused = match self.one_session(attempt).await {
                Ok(()) => return,
                Err(refused) => refused,
            };
            if began.elapsed() >= HEALTHY {
                waits.reset();
            }
            let wait = waits.next_wait();
            let wait = if refused { wait.max(self.patience.refused) } else { wait };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Dials and watches; `Err` tells whether the broker refused us.
    async fn one_session(&self, attempt: usize) -> Result<(), bool> {
        let dial = self.endpoint.dial_within(attempt, self.role, self.patience.dial);
        let dialled = tokio::select! {
            dialled = dial => dialled,
            () = self.stop.cancelled() => return Ok(()),
        };
        let connection = match dialled {
            Ok(connection) => Arc::new(connection),
            Err(error) => {
                let refused = error.is_refusal();
                self.state.send_modify(|state| state.refused = refused);
                warn!(role = self.role, %error, "no connection to the broker");
                return Err(refused);
            }
        };
        self.announce(&connection);
        let stopped = self.watch(&connection).await;
        self.state.send_modify(|state| {
            state.connection = None;
            state.blocked = false;
        });
        // Half a connection must not keep its channels: closed whether or not the broker hears it.
        close(&connection, "bye").await;
        if stopped { Ok(()) } else { Err(false) }
    }

    fn announce(&self, connection: &Arc<Connection>) {
        info!(role = self.role, vhost = self.endpoint.vhost, "connected to the broker");
        self.state.send_modify(|state| {
            state.connection = Some(Arc::clone(connection));
            state.blocked = connection.status().blocked();
            state.sessions += 1;
            state.refused = false;
        });
    }

    /// Until the connection is lost (false) or the link is closed (true). An error event may be of a
    /// channel only: what counts is the connection's own state, looked at also without any event.
    async fn watch(&self, connection: &Connection) -> bool {
        let mut events = connection.events_listener();
        let mut watchdog = interval(self.patience.watchdog);
        watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = watchdog.tick() => None,
                () = self.stop.cancelled() => return true,
            };
            if let Some(Event::ConnectionBlocked(reason)) = &event {
                warn!(role = self.role, reason, "the broker takes no publishes");
            }
            if !connection.status().connected() {
                let error = match event {
                    Some(Event::Error(error)) => error.to_string(),
                    _ => "connection lost".to_owned(),
                };
                warn!(role = self.role, error, "the connection to the broker is lost");
                return false;
            }
            let blocked = connection.status().blocked();
            self.state.send_if_modified(|state| {
                std::mem::replace(&mut state.blocked, blocked) != blocked
            });
        }
    }
}
