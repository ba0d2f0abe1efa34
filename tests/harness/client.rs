//! A lean HTTP/1.1 client for load: one kept-alive connection, requests built beforehand.
//!
//! Invariant: a request that got no whole answer is an error, never a silent retry.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// How long a driver waits for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header block, as received.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null where it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One connection; opened at the first request and again after an error.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    /// A client of `address`, not yet connected.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: Vec::with_capacity(4096) }
    }

    /// Sends a whole request and reads its answer.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Answer> {
        let result = match timeout(ANSWER_WITHIN, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
        };
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        let Some(stream) = self.stream.as_mut() else {
            return Err(io::Error::other("not connected"));
        };
        stream.write_all(request).await?;
        self.buffer.clear();
        let head_end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            read_more(stream, &mut self.buffer).await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        let length = content_length(&head);
        while self.buffer.len() < head_end + length {
            read_more(stream, &mut self.buffer).await?;
        }
        let status = status(&head);
        let body = self.buffer[head_end..head_end + length].to_vec();
        if head.to_ascii_lowercase().contains("connection: close") {
            self.stream = None;
        }
        Ok(Answer { status, head, body })
    }
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(buffer).await? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    Ok(())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn content_length(head: &str) -> usize {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Sends one request of operators over the bus's socket and reads the answer.
pub async fn over_socket(
    socket: &Path,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bus\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        let head_end = find(&bytes, b"\r\n\r\n")
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "no whole answer"))?;
        let body = bytes.split_off(head_end + 4);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { status: status(&head), head, body })
    };
    timeout(ANSWER_WITHIN, exchange)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))?
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// A `POST /v1/messages` in structured mode.
pub fn post_message(token: &str, event: &serde_json::Value) -> Vec<u8> {
    post_message_to("/v1/messages", token, event)
}

/// A request that posts JSON to a path.
pub fn post_json(path: &str, token: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The same to another path: `/v1/messages?check=true`.
pub fn post_message_to(path: &str, token: &str, event: &serde_json::Value) -> Vec<u8> {
    let body = event.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/cloudevents+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A `POST /v1/documents` of a small document.
pub fn post_document(token: &str, name: &str, media_type: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/documents HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {media_type}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
         Content-Length: {}\r\n\r\n",
        bytes.len()
    );
    [head.as_bytes(), bytes].concat()
}

/// A `GET`.
pub fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {token}\r\n\r\n")
        .into_bytes()
}
