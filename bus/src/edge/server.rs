//! Sockets to requests: a bounded number of connections, hard limits on heads, an orderly end.
//!
//! Invariant: whatever comes in, one answer goes out or the connection is closed; nothing is echoed.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{
        HeaderValue, Method, Request, Response, StatusCode,
        header::{CONNECTION, HOST, TRANSFER_ENCODING},
    },
    response::IntoResponse,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use snodo_core::problem::Problem;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service;

use super::{
    door::{Door, HeadLimits, REFUSE},
    problems::{Code, Refusal, Refused},
};
use crate::metrics::{IngressResult, Metrics};

/// What stands before the router.
#[derive(Clone, Debug, Default)]
pub struct Front {
    /// The hosts that a request may name; any, where none is listed.
    pub hosts: Arc<[String]>,
    /// Where refusals are counted.
    pub metrics: Option<Arc<Metrics>>,
}

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Open connections at one time; more wait in the system's backlog.
    pub connections: usize,
    /// Heads.
    pub head: HeadLimits,
    /// How long requests under way may take when the bus stops.
    pub stop_within: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head: HeadLimits::default(),
            stop_within: Duration::from_secs(10),
        }
    }
}

/// Serves `router` on `listener` until `stop`; then lets requests under way end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    front: Front,
    limits: ServerLimits,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    while let Some((stream, place)) = next(&listener, &places, &stop).await {
        let (router, front, stop) = (router.clone(), front.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, (router, front), limits.head, stop).await;
            drop(place);
        });
    }
    connections.close();
    let _ = timeout(limits.stop_within, connections.wait()).await;
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// The next connection and its place; none when the bus stops.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, Place)> {
    let accept = async {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, place)),
                // Out of file descriptors, mostly: it passes, and a hot loop would not help it.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        accepted = accept => accepted,
        () = stop.cancelled() => None,
    }
}

async fn connection(
    stream: TcpStream,
    (router, front): (Router, Front),
    head: HeadLimits,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(router.clone(), front.clone(), request));
    let mut http = http1::Builder::new();
    // The door is stricter; these are the second net.
    http.max_buf_size(64 * 1024).max_headers(128).timer(TokioTimer::new());
    // Who has nothing more to say may close his side and still wants his answer.
    http.half_close(true);
    http.header_read_timeout(head.deadline + head.idle);
    let connection = http.serve_connection(TokioIo::new(Door::new(stream, head)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.unwrap_or_else(|error| log(&error)),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.unwrap_or_else(|error| log(&error));
}

fn log(error: &hyper::Error) {
    tracing::debug!(%error, "a connection ended early");
}

async fn answer(
    mut router: Router,
    front: Front,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    // The door does not look for a head behind a chunked body.
    let mut close = request.headers().contains_key(TRANSFER_ENCODING);
    let response = match refused(&request, &front.hosts) {
        Some(refusal) => {
            close = true;
            refusal.into_response()
        }
        None => router.call(request).await?,
    };
    if let (Some(metrics), Some(Code(code))) = (&front.metrics, response.extensions().get()) {
        metrics.ingress_refused(result_of(response.status()), code);
    }
    Ok(if close { closing(response) } else { response })
}

fn result_of(status: StatusCode) -> IngressResult {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => IngressResult::Unauthorized,
        StatusCode::TOO_MANY_REQUESTS => IngressResult::Throttled,
        StatusCode::SERVICE_UNAVAILABLE => IngressResult::Unavailable,
        _ => IngressResult::Rejected,
    }
}

/// What never reaches a handler: the door's refusals, other hosts, and methods that nobody serves.
fn refused(request: &Request<Incoming>, hosts: &[String]) -> Option<Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD | Method::POST if request.uri().path().starts_with('/') => {
            misdirected(request, hosts)
        }
        Method::GET | Method::HEAD | Method::POST => Some(Problem::not_found().into()),
        ref other if other.as_str() == REFUSE => {
            let word = request.uri().path().trim_start_matches('/');
            Some(Refused::of_word(word).unwrap_or(Refused::Framing).into())
        }
        _ => Some(Problem::method_not_allowed("GET, HEAD or POST").into()),
    }
}

/// A request that names two hosts, or one that is not ours.
fn misdirected(request: &Request<Incoming>, hosts: &[String]) -> Option<Refusal> {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if let (Some(named), Some(target)) = (named, request.uri().authority())
        && !named.eq_ignore_ascii_case(target.as_str())
    {
        let expected = "the same host in the request's target and in `Host`";
        return Some(Problem::malformed_request("host", expected).into());
    }
    let named = named.map(|named| without_port(named).to_ascii_lowercase());
    let ours = hosts.is_empty() || named.is_some_and(|named| hosts.contains(&named));
    (!ours).then(|| Problem::misdirected().into())
}

/// `bus:8080` is the host `bus`; an address of IPv6 keeps its colons, in brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
