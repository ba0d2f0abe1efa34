//! The broker's management interface: plain HTTP/1.1 on loopback, one connection per request.
//!
//! Invariant: it is for what AMQP cannot say (vhosts, users, arguments as they are); no message passes it.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use snodo_core::timestamp::Timestamp;
use tokio::{net::TcpStream, time::timeout};

use super::session::{Endpoint, Secret};

/// A listing of some ten thousand queues; more is not read into memory.
const LARGEST: usize = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the management interface did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// None is configured.
    #[error(
        "SN0817 the broker's management interface is not configured, and only it knows vhosts, users \
         and the arguments of queues; enable the plugin `rabbitmq_management` and write `management:` \
         under `broker:`"
    )]
    NotConfigured,
    /// It does not answer.
    #[error("SN0817 the broker's management interface at {0} does not answer: {1}")]
    Unreachable(SocketAddr, String),
    /// It answers no.
    #[error("SN0817 the broker's management interface refuses {method} {path}: {status} {reason}")]
    Refused {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
        /// What it says.
        reason: String,
    },
}

impl ManagementError {
    /// It knows who asks and says no.
    pub fn is_refusal(&self) -> bool {
        let refusals = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        matches!(self, Self::Refused { status, .. } if refusals.contains(status))
    }
}

/// A client of it.
#[derive(Clone, Debug)]
pub struct Management {
    address: SocketAddr,
    user: String,
    password: Secret,
}

impl Management {
    /// The one of this broker.
    pub fn of(endpoint: &Endpoint) -> Result<Self, ManagementError> {
        let address = endpoint.management.ok_or(ManagementError::NotConfigured)?;
        let (user, password) = (endpoint.user.clone(), endpoint.password.clone());
        Ok(Self { address, user, password })
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Result<Value, ManagementError> {
        let bytes = self.send(Method::GET, path, None).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.unreachable(&error))
    }

    /// What the broker's clock says, to the second; none where it does not say.
    pub async fn date(&self) -> Result<Option<Timestamp>, ManagementError> {
        let asked = timeout(PATIENCE, self.exchange(Method::GET, "/api/whoami", None)).await;
        match asked {
            Ok(Ok((_, date, _))) => Ok(date),
            Ok(Err(error)) => Err(self.unreachable(&*error)),
            Err(elapsed) => Err(self.unreachable(&elapsed)),
        }
    }

    /// Creates or replaces.
    pub async fn put(&self, path: &str, body: &Value) -> Result<(), ManagementError> {
        self.send(Method::PUT, path, Some(body)).await.map(drop)
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) -> Result<(), ManagementError> {
        self.send(Method::DELETE, path, None).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, ManagementError> {
        let exchange = self.exchange(method.clone(), path, body);
        let (status, _, bytes) = match timeout(PATIENCE, exchange).await {
            Ok(answer) => answer.map_err(|error| self.unreachable(&*error))?,
            Err(elapsed) => return Err(self.unreachable(&elapsed)),
        };
        if status.is_success() {
            return Ok(bytes);
        }
        let reason = serde_json::from_slice::<Value>(&bytes)
            .ok()
            .and_then(|value| value["reason"].as_str().map(str::to_owned))
            .unwrap_or_default();
        Err(ManagementError::Refused { method, path: path.to_owned(), status, reason })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Option<Timestamp>, Bytes), Box<dyn std::error::Error + Send + Sync>>
    {
        let password = self.password.read().await?;
        let login = base64(format!("{}:{password}", self.user).as_bytes());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, format!("Basic {login}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))?;
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer: the sender is dropped here.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(Timestamp::parse_http);
        Ok((status, date, to_bytes(Body::new(answer.into_body()), LARGEST).await?))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> ManagementError {
        ManagementError::Unreachable(self.address, error.to_string())
    }
}

/// A name as one segment of a path: `/` is a vhost's name too.
pub fn segment(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// RFC 4648, for one header of one interface.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            (0..3).fold(0_u32, |word, n| word << 8 | u32::from(chunk.get(n).copied().unwrap_or(0)));
        for n in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * n)) as usize & 63];
            text.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_the_standard_has_it() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in table {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn a_name_becomes_one_segment_of_a_path() {
        assert_eq!(segment("/"), "%2F");
        assert_eq!(segment("route.a-b_c d"), "route.a-b_c%20d");
        assert_eq!(segment("è"), "%C3%A8");
    }
}
