//! A TCP proxy that does to a connection what networks, and what stands behind them, do: hold, cut,
//! delay, slow down, refuse, and take without passing on. Each direction on its own, switched at any
//! time; for AMQP also by the name that a connection gives itself.
//!
//! Invariant: what is passed is passed unchanged and in order; each direction of a connection holds
//! `PIECES` pieces at most, and reads no more while they wait.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use self::frames::Frames;

pub mod frames;

/// Bytes of a piece, where the protocol has no frames.
const PIECE: usize = 16 * 1024;
/// Pieces that wait in one direction of one connection.
const PIECES: usize = 64;
/// Connections at once.
const CONNECTIONS: usize = 1_024;
/// How long a connection that was closed in order may still have something to say.
const GOODBYE: Duration = Duration::from_secs(1);
/// A slow direction writes so many times a second.
const SLICES: u32 = 20;

/// Who is behind the proxy.
#[derive(Clone, Debug)]
pub enum Far {
    /// A server on the network.
    Tcp(SocketAddr),
    /// A server on a socket of this machine.
    Unix(PathBuf),
}

/// What becomes of what one side says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// It is passed on.
    #[default]
    Pass,
    /// It waits until another flow is set; soon nothing more is read.
    Hold,
    /// It is read, and passed on to nobody.
    Swallow,
    /// It is passed on so much later.
    Delay(Duration),
    /// So many bytes a second.
    Rate(u32),
    /// It is passed on until the other side has said this; from then on it is swallowed.
    SwallowAfter(&'static [u8]),
    /// AMQP: all of it but the broker's word on publishes.
    SwallowConfirms,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// From who connects.
    pub up: Flow,
    /// To who connects.
    pub down: Flow,
    /// Whether connections are let through; those that stand are reset where not.
    pub open: bool,
}

impl Line {
    /// Nothing is wrong.
    pub const SOUND: Self = Self { up: Flow::Pass, down: Flow::Pass, open: true };
    /// Nobody gets through.
    pub const CLOSED: Self = Self { open: false, ..Self::SOUND };

    /// This becomes of what the far side says.
    pub const fn down(flow: Flow) -> Self {
        Self { down: flow, ..Self::SOUND }
    }

    /// This becomes of what the near side says.
    pub const fn up(flow: Flow) -> Self {
        Self { up: flow, ..Self::SOUND }
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// In order (FIN).
    Close,
    /// On the spot (RST).
    Reset,
}

/// The names that connections of the bus give themselves in AMQP.
pub const NAMES: [&str; 3] = ["snodo/publish", "snodo/consume", "snodo/party"];

/// What is wrong now.
#[derive(Clone, Debug)]
struct Faults {
    all: Line,
    named: BTreeMap<&'static str, Line>,
    /// Cuts so far, the last of each name and of all.
    cuts: u64,
    cut_all: (u64, Cut),
    cut_named: BTreeMap<&'static str, (u64, Cut)>,
}

impl Faults {
    fn none() -> Self {
        Self {
            all: Line::SOUND,
            named: BTreeMap::new(),
            cuts: 0,
            cut_all: (0, Cut::Close),
            cut_named: BTreeMap::new(),
        }
    }

    fn line(&self, name: Option<&str>) -> Line {
        name.and_then(|name| self.named.get(name)).copied().unwrap_or(self.all)
    }

    /// The cut that ends a connection of this name which began after `begun` cuts.
    fn cut(&self, name: Option<&str>, begun: u64) -> Option<Cut> {
        if !self.line(name).open {
            return Some(Cut::Reset);
        }
        let named = name.and_then(|name| self.cut_named.get(name)).copied();
        [named, Some(self.cut_all)].into_iter().flatten().find(|(n, _)| *n > begun).map(|(_, c)| c)
    }
}

/// A running proxy. Ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    faults: Arc<watch::Sender<Faults>>,
    count: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Before a server whose protocol does not matter.
    pub async fn start(far: Far) -> io::Result<Self> {
        Self::serve(far, false).await
    }

    /// Before a broker.
    pub async fn amqp(far: Far) -> io::Result<Self> {
        Self::serve(far, true).await
    }

    async fn serve(far: Far, amqp: bool) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let faults = Arc::new(watch::Sender::new(Faults::none()));
        let count = Arc::new(AtomicU64::new(0));
        let accepting =
            tokio::spawn(accept(listener, far, amqp, Arc::clone(&faults), Arc::clone(&count)));
        Ok(Self { address, faults, count, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// From now on, for all connections but those of a name that has its own.
    pub fn set(&self, line: Line) {
        self.faults.send_modify(|faults| faults.all = line);
    }

    /// From now on, for connections of this name.
    pub fn set_named(&self, name: &'static str, line: Line) {
        self.faults.send_modify(|faults| {
            faults.named.insert(name, line);
        });
    }

    /// Nothing is wrong any more; what was held goes on.
    pub fn mend(&self) {
        self.faults.send_modify(|faults| {
            faults.all = Line::SOUND;
            faults.named.clear();
        });
    }

    /// Cuts the connections that stand.
    pub fn cut(&self, how: Cut) {
        self.faults.send_modify(|faults| {
            faults.cuts += 1;
            faults.cut_all = (faults.cuts, how);
        });
    }

    /// Cuts those of this name.
    pub fn cut_named(&self, name: &'static str, how: Cut) {
        self.faults.send_modify(|faults| {
            faults.cuts += 1;
            faults.cut_named.insert(name, (faults.cuts, how));
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    far: Far,
    amqp: bool,
    faults: Arc<watch::Sender<Faults>>,
    count: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        count.fetch_add(1, Relaxed);
        // One too many is closed at once.
        if connections.len() < CONNECTIONS {
            let connection = Connection::new(&faults, amqp);
            let far = far.clone();
            connections.spawn(async move { connection.carry(near, far).await });
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(far: &Far) -> io::Result<Box<dyn Stream>> {
    Ok(match far {
        Far::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Far::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

/// From who connects, or to them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// One connection and what is known of it.
struct Connection {
    faults: watch::Receiver<Faults>,
    /// Cuts before it began.
    begun: u64,
    amqp: bool,
    name: watch::Sender<Option<&'static str>>,
    /// The near side has said what the far side's answer is not to survive.
    said: AtomicBool,
}

impl Connection {
    fn new(faults: &watch::Sender<Faults>, amqp: bool) -> Self {
        let faults = faults.subscribe();
        let begun = faults.borrow().cuts;
        let name = watch::Sender::new(None);
        Self { faults, begun, amqp, name, said: AtomicBool::new(false) }
    }

    async fn carry(self, mut near: TcpStream, far: Far) {
        let ended = match self.cut_now() {
            Some(cut) => Some(cut),
            None => self.connected(&mut near, &far).await,
        };
        match ended {
            // An error: whoever was there is gone already.
            Some(Cut::Reset) => drop(near.set_zero_linger()),
            Some(Cut::Close) => say_goodbye(near).await,
            None => {}
        }
    }

    /// Until both sides have ended, or it is cut.
    async fn connected(&self, near: &mut TcpStream, far: &Far) -> Option<Cut> {
        let Ok(far) = connect(far).await else { return Some(Cut::Reset) };
        // A connection without it is slower, not wrong.
        let _ = near.set_nodelay(true);
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = tokio::io::split(far);
        let up = self.pump(near_read, far_write, Way::Up);
        let down = self.pump(far_read, near_write, Way::Down);
        tokio::select! {
            _ = async { tokio::join!(up, down) } => None,
            cut = self.cut() => Some(cut),
        }
    }

    fn cut_now(&self) -> Option<Cut> {
        let name = *self.name.borrow();
        self.faults.borrow().cut(name, self.begun)
    }

    async fn cut(&self) -> Cut {
        let (mut faults, mut named) = (self.faults.clone(), self.name.subscribe());
        loop {
            faults.mark_unchanged();
            if let Some(cut) = self.cut_now() {
                return cut;
            }
            tokio::select! {
                changed = faults.changed() => if changed.is_err() { return Cut::Reset },
                _ = named.changed() => {}
            }
        }
    }

    fn flow(&self, way: Way) -> Flow {
        let name = *self.name.borrow();
        let line = self.faults.borrow().line(name);
        if way == Way::Up { line.up } else { line.down }
    }

    async fn pump(&self, from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, way: Way) {
        let (pieces, waiting) = mpsc::channel(PIECES);
        // An error is the end of this direction, as its own end is.
        let _ = tokio::join!(self.read(from, pieces, way), self.write(to, waiting, way));
    }

    async fn read(
        &self,
        mut from: impl AsyncRead + Unpin,
        pieces: mpsc::Sender<(Instant, Bytes)>,
        way: Way,
    ) -> io::Result<()> {
        let mut frames = (self.amqp && way == Way::Down).then(Frames::default);
        let mut tail = Vec::new();
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            if from.read_buf(&mut piece).await? == 0 {
                return Ok(());
            }
            if way == Way::Up {
                self.listen(&mut tail, &piece);
            }
            let ready = match &mut frames {
                Some(frames) => frames.whole(&piece),
                None => vec![piece.freeze()],
            };
            for piece in ready {
                // Nobody takes it: the other side has ended.
                if pieces.send((Instant::now(), piece)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Looks for a name, and for what the answer to it is swallowed; it may lie across two pieces.
    fn listen(&self, tail: &mut Vec<u8>, piece: &[u8]) {
        const LONGEST: usize = 64;
        tail.extend_from_slice(piece);
        if self.amqp && self.name.borrow().is_none() {
            let name = NAMES.into_iter().find(|name| holds(tail, name.as_bytes()));
            self.name.send_if_modified(|known| {
                *known = name;
                name.is_some()
            });
        }
        if let Flow::SwallowAfter(words) = self.flow(Way::Down)
            && holds(tail, words)
        {
            self.said.store(true, Relaxed);
        }
        tail.drain(..tail.len().saturating_sub(LONGEST));
    }

    async fn write(
        &self,
        mut to: impl AsyncWrite + Unpin,
        mut waiting: mpsc::Receiver<(Instant, Bytes)>,
        way: Way,
    ) -> io::Result<()> {
        while let Some((came, piece)) = waiting.recv().await {
            self.pass(&mut to, came, piece, way).await?;
        }
        to.shutdown().await
    }

    /// Passes one piece on, or not.
    async fn pass(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        came: Instant,
        piece: Bytes,
        way: Way,
    ) -> io::Result<()> {
        let mut faults = self.faults.clone();
        let mut rest = &piece[..];
        while !rest.is_empty() {
            faults.mark_unchanged();
            match self.flow(way) {
                Flow::Swallow => return Ok(()),
                Flow::SwallowAfter(_) if self.said.load(Relaxed) => return Ok(()),
                Flow::SwallowConfirms if frames::is_confirm(&piece) => return Ok(()),
                Flow::Hold => {
                    if faults.changed().await.is_err() {
                        return Ok(());
                    }
                }
                Flow::Rate(rate) => {
                    let slice = rest.len().min((rate / SLICES).max(1) as usize);
                    to.write_all(&rest[..slice]).await?;
                    rest = &rest[slice..];
                    sleep(Duration::from_secs(1) * u32::try_from(slice).unwrap_or(1) / rate.max(1))
                        .await;
                }
                Flow::Delay(delay) => {
                    sleep_until(came + delay).await;
                    return to.write_all(rest).await;
                }
                Flow::Pass | Flow::SwallowAfter(_) | Flow::SwallowConfirms => {
                    return to.write_all(rest).await;
                }
            }
        }
        Ok(())
    }
}

/// Ends our side, and lets the other end its own: closed with something unread, it would be a reset.
async fn say_goodbye(mut near: TcpStream) {
    let _ = near.shutdown().await;
    let mut unread = [0; 1024];
    let _ = timeout(GOODBYE, async { while near.read(&mut unread).await.is_ok_and(|n| n > 0) {} })
        .await;
}

fn holds(heap: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && heap.windows(needle.len()).any(|window| window == needle)
}
