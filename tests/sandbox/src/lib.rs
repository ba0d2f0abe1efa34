//! The outside world of the demo and the tests: far sides on 127.0.0.1 that behave well, or as told.
//!
//! Invariant: what a far side did is in its log, on disk, before it answers; so after any crash of the bus
//! the log says how often an effect happened.

pub mod authority;
pub mod log;
pub mod region;
pub mod script;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{Router, body::Body, http::Request, response::Response};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};
use tower_service::Service as _;

pub use self::{
    log::{Entry, Log},
    script::{Behaviour, Script},
};

/// How a sandbox starts.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Where its log is written; appended to where it is there already.
    pub log: PathBuf,
    /// How long an answer takes, from and to, in milliseconds.
    pub delay_ms: (u64, u64),
    /// What the delays are drawn from.
    pub seed: u64,
}

/// A running sandbox. Ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Sandbox {
    /// Where it listens.
    pub addr: SocketAddr,
    script: Arc<Script>,
    log: Arc<Log>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Starts it on a free port of this machine.
    pub async fn start(options: SandboxOptions) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), options).await
    }

    /// Starts it on `addr`: a far side that comes back where it was.
    pub async fn start_at(addr: SocketAddr, options: SandboxOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let log = Arc::new(Log::open(&options.log)?);
        let script = Arc::new(Script::new(options.delay_ms, options.seed));
        let router = region::router(Arc::clone(&script), Arc::clone(&log));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, router, stopped));
        Ok(Self { addr, script, log, stop: Some(stop), served: Some(served) })
    }

    /// `http://127.0.0.1:…`.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What its next answers are.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Every call so far, from the log on disk.
    pub fn calls(&self) -> io::Result<Vec<Entry>> {
        log::read(self.log.path())
    }

    /// Stops it at once, connections included: the target is down.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            // A panic of the sandbox has been reported where it happened.
            let _ = served.await;
        }
    }
}

/// Serves until `stopped` is told or dropped; then every connection ends with it.
async fn serve(listener: TcpListener, router: Router, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve_connection(stream, router.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
            _ = &mut stopped => return,
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let service = hyper::service::service_fn(move |request| answer(router.clone(), request));
    // A connection that breaks is the client's or the script's doing.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Hyper ends a connection without an answer when its service fails: that is how a script cuts it.
async fn answer(
    mut router: Router,
    request: Request<hyper::body::Incoming>,
) -> Result<Response, &'static str> {
    let response = match router.call(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    match response.extensions().get::<region::Severed>() {
        Some(region::Severed) => Err("severed"),
        None => Ok(response),
    }
}
