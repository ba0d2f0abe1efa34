//! The door of the edge: it reads the head of each request before hyper does.
//!
//! Invariant: hyper only sees heads that are whole, within the limits and framed in one way. What is
//! refused here is replaced by a request for its own refusal, so that answers stay in order and every
//! refusal is a problem like any other. (hyper drops a `Content-Length` beside `Transfer-Encoding`
//! silently, and closes on a slow head without a word.)

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::problems::Refused;

/// The method by which the door asks the edge for a refusal.
pub(super) const REFUSE: &str = "REFUSE";

/// What a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Request line and headers, bytes.
    pub head: usize,
    /// One line, bytes.
    pub line: usize,
    /// How many headers.
    pub headers: usize,
    /// How long a head may take, from its first byte.
    pub deadline: Duration,
    /// How long a connection may be idle.
    pub idle: Duration,
    /// How long the other side may take nothing of an answer.
    pub unread: Duration,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head: 16 * 1024,
            line: 8 * 1024,
            headers: 100,
            deadline: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            unread: Duration::from_secs(30),
        }
    }
}

/// How the body after a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

/// What a scan of the bytes so far says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    More,
    Whole { len: usize, framing: Framing },
    Refuse(Refused),
}

/// Looks for a whole head at the start of `bytes`.
fn scan(bytes: &[u8], limits: &HeadLimits) -> Scan {
    let mut framing = Framed::default();
    let mut start = 0;
    let mut lines = 0;
    while let Some(length) = bytes[start..].iter().position(|byte| *byte == b'\n') {
        let end = start + length + 1;
        let Some(line) = bytes[start..end].strip_suffix(b"\r\n") else {
            return Scan::Refuse(Refused::Framing);
        };
        let fits = line.is_empty() || lines <= limits.headers;
        if !fits || end > limits.head || line.len() > limits.line {
            return Scan::Refuse(too_large(lines));
        }
        if line.is_empty() {
            return framing.whole(end);
        }
        let read = if lines == 0 { framing.request(line) } else { framing.header(line) };
        if let Err(refused) = read {
            return Scan::Refuse(refused);
        }
        lines += 1;
        start = end;
    }
    if bytes.len() > limits.head || bytes.len() - start > limits.line {
        return Scan::Refuse(too_large(lines));
    }
    Scan::More
}

/// A request line that is too long is a malformed request; headers have a status of their own.
fn too_large(lines: usize) -> Refused {
    if lines == 0 { Refused::RequestLine } else { Refused::HeadTooLarge }
}

/// Whether this is a request line of another version: `GET / HTTP/3.0`, or `GET /` as in HTTP/0.9.
fn is_of_another_version(line: &[u8]) -> bool {
    let names_one = line.windows(6).any(|part| part.eq_ignore_ascii_case(b" http/"));
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    let is_old = words.next().is_some_and(|target| target.starts_with(b"/"))
        && words.next().is_none()
        && !method.is_empty()
        && method.iter().all(u8::is_ascii_uppercase);
    names_one || is_old
}

/// What the request line and the headers so far say about the body and the host.
#[derive(Default)]
struct Framed {
    length: Option<u64>,
    chunked: bool,
    needs_host: bool,
    hosts: u8,
}

impl Framed {
    fn request(&mut self, line: &[u8]) -> Result<(), Refused> {
        if line.iter().any(u8::is_ascii_control) {
            return Err(Refused::Framing);
        }
        self.needs_host = line.ends_with(b" HTTP/1.1");
        if self.needs_host || line.ends_with(b" HTTP/1.0") {
            return Ok(());
        }
        Err(if is_of_another_version(line) { Refused::Version } else { Refused::Framing })
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Refused> {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Refused::Framing)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is_text = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
        if name.is_empty() || !name.iter().copied().all(is_of_a_name) || !value.iter().all(is_text)
        {
            return Err(Refused::Framing);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.content_length(value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.transfer_encoding(value)
        } else {
            self.hosts = self.hosts.saturating_add(name.eq_ignore_ascii_case(b"host").into());
            Ok(())
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refused> {
        let digits = std::str::from_utf8(value).ok().filter(|text| is_number(text));
        let length = digits.and_then(|text| text.parse().ok()).ok_or(Refused::Framing)?;
        if self.chunked || self.length.replace(length).is_some() {
            return Err(Refused::Framing);
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refused> {
        if self.chunked || self.length.is_some() || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refused::Framing);
        }
        self.chunked = true;
        Ok(())
    }

    /// Two hosts can be read in two ways; HTTP/1.1 wants one.
    fn whole(self, len: usize) -> Scan {
        if self.hosts > 1 || (self.needs_host && self.hosts == 0) {
            return Scan::Refuse(Refused::Framing);
        }
        let framing = match self {
            Self { chunked: true, .. } => Framing::Chunked,
            Self { length, .. } => Framing::Length(length.unwrap_or(0)),
        };
        Scan::Whole { len, framing }
    }
}

/// What hyper takes in the name of a header; it would answer without a word of explanation.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

enum State {
    /// Before or in a head.
    Head,
    /// So many bytes of the body are still to come.
    Body(u64),
    /// A chunked body: no head follows, because the edge closes after it.
    Rest,
    /// Refused: nothing more is read.
    Refused,
}

/// A connection whose heads are read first.
pub(super) struct Door<S> {
    inner: S,
    limits: HeadLimits,
    state: State,
    buffer: BytesMut,
    /// Bytes at the front of `buffer` that may pass.
    passing: usize,
    alarm: Pin<Box<Sleep>>,
    /// Runs while the other side takes nothing of what is written.
    unread: Option<Pin<Box<Sleep>>>,
    /// How many bytes are still swallowed, once our side has ended.
    lingering: Option<usize>,
}

/// How long the rest of a refused request is swallowed, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it is swallowed at most: a fast sender could go on for gigabytes in that time.
const SWALLOW: usize = 8 * 1024 * 1024;
const CHUNK: usize = 16 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> Door<S> {
    pub(super) fn new(inner: S, limits: HeadLimits) -> Self {
        Self {
            inner,
            limits,
            state: State::Head,
            buffer: BytesMut::new(),
            passing: 0,
            alarm: Box::pin(sleep(limits.deadline)),
            unread: None,
            lingering: None,
        }
    }

    /// Reads more into the buffer; how many bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [0; 4096];
        let mut into = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut into))?;
        if self.buffer.is_empty() {
            self.alarm.as_mut().reset(Instant::now() + self.limits.deadline);
        }
        self.buffer.extend_from_slice(into.filled());
        Poll::Ready(Ok(into.filled().len()))
    }

    /// Goes on reading a head. `Ready(false)` is the end of the connection.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            while self.buffer.starts_with(b"\r\n") {
                self.buffer.advance(2);
            }
            match scan(&self.buffer, &self.limits) {
                Scan::Whole { len, framing } => {
                    self.pass(len, framing);
                    return Poll::Ready(Ok(true));
                }
                Scan::Refuse(refused) => {
                    self.refuse(refused);
                    return Poll::Ready(Ok(true));
                }
                Scan::More => {}
            }
            match self.poll_fill(cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(false)),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    ready!(self.alarm.as_mut().poll(cx));
                    return Poll::Ready(Ok(self.too_slow()));
                }
            }
        }
    }

    fn too_slow(&mut self) -> bool {
        let begun = !self.buffer.is_empty();
        if begun {
            self.refuse(Refused::TooSlow);
        }
        begun
    }

    fn pass(&mut self, len: usize, framing: Framing) {
        self.passing = len;
        self.state = match framing {
            Framing::Length(left) => State::Body(left),
            Framing::Chunked => State::Rest,
        };
    }

    fn refuse(&mut self, refused: Refused) {
        let request = format!("{REFUSE} /{} HTTP/1.1\r\n\r\n", refused.word());
        self.buffer.clear();
        self.buffer.extend_from_slice(request.as_bytes());
        self.passing = self.buffer.len();
        self.state = State::Refused;
    }

    fn give(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.passing.min(out.remaining());
        out.put_slice(&self.buffer[..count]);
        self.buffer.advance(count);
        self.passing -= count;
    }

    /// Hands body bytes on, at most `left` of them; how many.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        left: u64,
    ) -> Poll<io::Result<u64>> {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        if !self.buffer.is_empty() {
            self.passing = self.buffer.len().min(most);
            let before = self.passing;
            self.give(out);
            let given = before - std::mem::take(&mut self.passing);
            return Poll::Ready(Ok(given as u64));
        }
        let count = out.remaining().min(most).min(CHUNK);
        let mut part = ReadBuf::new(out.initialize_unfilled_to(count));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        out.advance(read);
        Poll::Ready(Ok(read as u64))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Door<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.passing > 0 {
                self.give(out);
                return Poll::Ready(Ok(()));
            }
            match self.state {
                State::Head => {
                    if !ready!(self.poll_head(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::Body(0) => {
                    let idle = self.limits.idle;
                    self.alarm.as_mut().reset(Instant::now() + idle);
                    self.state = State::Head;
                }
                State::Body(left) => {
                    let read = ready!(self.poll_body(cx, out, left))?;
                    self.state = State::Body(left - read);
                    return Poll::Ready(Ok(()));
                }
                State::Rest => {
                    return self.poll_body(cx, out, u64::MAX).map_ok(drop);
                }
                // No end of file: hyper would take it for a client that has gone.
                State::Refused => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Door<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.inner).poll_write(cx, bytes) {
            self.unread = None;
            return Poll::Ready(written);
        }
        // Who never reads would keep his place for ever.
        let limit = self.limits.unread;
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(unread.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Ends our side, then swallows for a moment what the other side still sends.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.lingering = Some(SWALLOW);
            self.alarm.as_mut().reset(Instant::now() + LINGER);
        }
        loop {
            if self.alarm.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; CHUNK];
            let mut into = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut into))?;
            let read = into.filled().len();
            let left = self.lingering.map_or(0, |left| left.saturating_sub(read));
            self.lingering = Some(left);
            if read == 0 || left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Scan {
        scan(head.as_bytes(), &HeadLimits::default())
    }

    fn whole(head: &str, framing: Framing) -> Scan {
        Scan::Whole { len: head.len(), framing }
    }

    #[test]
    fn a_head_is_framed_in_one_way_or_refused() {
        let refused = Scan::Refuse(Refused::Framing);
        let post = "POST / HTTP/1.1\r\nHost: bus\r\n";
        for (headers, expected) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", refused),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", refused),
            ("Content-Length: 5\r\nContent-Length: 6\r\n\r\n", refused),
            ("Content-Length: 5\r\nContent-Length: 5\r\n\r\n", refused),
            ("Content-Length: +5\r\n\r\n", refused),
            ("User-Agent: \x1b[31m\r\n\r\n", refused),
            ("User-Agent: a\rb\r\n\r\n", refused),
            ("User Agent: a\r\n\r\n", refused),
            ("User\x01Agent: a\r\n\r\n", refused),
            ("Content-Length:\r\n\r\n", refused),
            ("Transfer-Encoding: gzip, chunked\r\n\r\n", refused),
            ("Content-Length : 5\r\n\r\n", refused),
            ("A: b\r\n folded\r\n\r\n", refused),
            ("A: b\n\r\n", refused),
            ("nothing\r\n\r\n", refused),
            ("host: other\r\n\r\n", refused),
        ] {
            assert_eq!(read(&format!("{post}{headers}")), expected, "{headers:?}");
        }
        let fixed = format!("{post}content-length: 5\r\n\r\n");
        assert_eq!(read(&fixed), whole(&fixed, Framing::Length(5)));
        let chunked = format!("{post}Transfer-Encoding: Chunked\r\n\r\n");
        assert_eq!(read(&chunked), whole(&chunked, Framing::Chunked));
        assert_eq!(read("GET / HTTP/1.1\r\nA: b\r\n\r\n"), refused, "no host");
        let old = "GET / HTTP/1.0\r\n\r\n";
        assert_eq!(read(old), whole(old, Framing::Length(0)));
        assert_eq!(read("GET / HTTP/1.1\r\nA: b\r\n"), Scan::More);
    }

    #[test]
    fn a_head_is_refused_one_byte_over_its_limit() {
        let limits = HeadLimits { head: 64, line: 40, headers: 2, ..HeadLimits::default() };
        let refused = Scan::Refuse(Refused::HeadTooLarge);
        let many = "GET / HTTP/1.1\r\nHost: b\r\nC: d\r\n";
        assert!(matches!(scan(format!("{many}\r\n").as_bytes(), &limits), Scan::Whole { .. }));
        assert_eq!(scan(format!("{many}E: f\r\n\r\n").as_bytes(), &limits), refused);
        assert_eq!(scan(&[b'a'; 40], &limits), Scan::More);
        assert_eq!(scan(&[b'a'; 41], &limits), Scan::Refuse(Refused::RequestLine));
        let header = [b"GET / HTTP/1.1\r\n".as_slice(), &[b'a'; 41]].concat();
        assert_eq!(scan(&header, &limits), refused);
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\nB: {}", "x".repeat(30), "x".repeat(20));
        assert_eq!(scan(long.as_bytes(), &limits), refused);
    }

    #[tokio::test]
    async fn who_never_reads_his_answers_is_let_go() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let limits = HeadLimits { unread: Duration::from_millis(50), ..HeadLimits::default() };
        let (mut client, server) = tokio::io::duplex(64);
        let mut door = Door::new(server, limits);
        let ended = door.write_all(&[b'x'; 1000]).await.expect_err("nobody reads");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        let mut read = [0; 64];
        client.read_exact(&mut read).await.expect("what was written");
        door.write_all(&[b'y'; 64]).await.expect("room again");
    }

    #[test]
    fn another_version_of_http_is_refused() {
        for line in
            ["PRI * HTTP/2.0", "GET / HTTP/3.0", "GET / HTTP/1.2", "GET / http/1.1", "GET /"]
        {
            assert_eq!(read(&format!("{line}\r\n")), Scan::Refuse(Refused::Version), "{line}");
        }
        for line in ["hello", "hello /", "GET", "GET x", "GET / x"] {
            assert_eq!(read(&format!("{line}\r\n")), Scan::Refuse(Refused::Framing), "{line}");
        }
    }
}
