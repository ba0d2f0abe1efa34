//! A small HTTP client, for the socket of a running bus and for its edge.

use std::path::Path;

use axum::body::Body;
use bytes::Bytes;
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::exit::Failure;

/// No answer is longer.
const LONGEST: usize = 64 << 20;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Asks the bus on its socket; `None` where no bus is there.
pub(super) async fn ask_socket(
    socket: &Path,
    request: Request<Body>,
) -> Result<Option<Answer>, Failure> {
    match UnixStream::connect(socket).await {
        Ok(stream) => ask(stream, request).await.map(Some),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(Failure::failed(format!("{}: {error}", socket.display()))),
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}

/// Asks `host:port`.
pub(super) async fn ask_tcp(authority: &str, request: Request<Body>) -> Result<Answer, Failure> {
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|error| Failure::failed(format!("no bus answers at {authority}: {error}")))?;
    ask(stream, request).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> Result<Answer, Failure> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(Failure::failed)?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(Failure::failed)?;
    let status = response.status();
    let body = axum::body::to_bytes(Body::new(response.into_body()), LONGEST)
        .await
        .map_err(Failure::failed)?;
    driver.abort();
    Ok(Answer { status, body })
}
