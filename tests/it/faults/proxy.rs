//! The fault proxy: each of its harms is what it says, and what it passes is unchanged.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use snodo_tests::{
    proxy::{
        Cut, Far, Flow, Line, Proxy,
        frames::{Frames, is_confirm},
    },
    wait::eventually,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const BOUND: Duration = Duration::from_secs(20);
/// Nothing has come within this: long enough to mean something, and never waited for luck.
const A_WHILE: Duration = Duration::from_millis(300);

/// Says everything back.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

async fn before_echo() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(Far::Tcp(echo().await)).await.expect("a proxy");
    let stream = TcpStream::connect(proxy.address()).await.expect("connected");
    (proxy, stream)
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(BOUND, stream.read_exact(&mut bytes)).await.expect("in time").expect("read");
    bytes
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(A_WHILE, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn what_is_passed_is_unchanged_and_an_end_is_passed_too() {
    let (proxy, mut stream) = before_echo().await;
    let sent: Vec<u8> =
        (0..1_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let (mut reads, mut writes) = stream.split();
    let mut back = Vec::new();
    let writes = async {
        writes.write_all(&sent).await.expect("written");
        writes.shutdown().await.expect("ended");
    };
    let ((), whole) = tokio::join!(writes, timeout(BOUND, reads.read_to_end(&mut back)));
    whole.expect("in time").expect("read");
    assert!(back == sent);
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn what_is_held_waits_within_bounds_and_goes_on() {
    let (proxy, mut stream) = before_echo().await;
    proxy.set(Line::up(Flow::Hold));
    // What the system and the proxy hold between them is bounded: at some point nobody takes more.
    let piece = vec![7; 64 * 1024];
    let mut taken = 0;
    while let Ok(written) = timeout(A_WHILE, stream.write(&piece)).await {
        taken += written.expect("it stands");
        assert!(taken < 64 << 20, "somebody takes everything");
    }
    assert!(is_silent(&mut stream).await);
    proxy.mend();
    assert!(read(&mut stream, taken).await.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn each_direction_is_harmed_on_its_own_and_what_is_swallowed_does_not_come_back() {
    let (proxy, mut stream) = before_echo().await;
    proxy.set(Line::down(Flow::Swallow));
    stream.write_all(b"lost").await.expect("written");
    assert!(is_silent(&mut stream).await);
    proxy.mend();
    stream.write_all(b"kept").await.expect("written");
    assert_eq!(read(&mut stream, 4).await, b"kept");
}

#[tokio::test]
async fn the_answer_is_swallowed_from_the_words_on_even_if_they_come_in_two_pieces() {
    let (proxy, mut stream) = before_echo().await;
    proxy.set(Line::down(Flow::SwallowAfter(b"COMMIT")));
    stream.write_all(b"BEGIN").await.expect("written");
    assert_eq!(read(&mut stream, 5).await, b"BEGIN");
    stream.write_all(b"COM").await.expect("written");
    assert_eq!(read(&mut stream, 3).await, b"COM");
    stream.write_all(b"MIT").await.expect("written");
    assert!(is_silent(&mut stream).await);
}

#[tokio::test]
async fn what_is_delayed_comes_later_and_what_is_slowed_comes_slowly() {
    let (proxy, mut stream) = before_echo().await;
    proxy.set(Line::up(Flow::Delay(Duration::from_millis(400))));
    let begun = Instant::now();
    stream.write_all(b"late").await.expect("written");
    assert_eq!(read(&mut stream, 4).await, b"late");
    assert!(begun.elapsed() >= Duration::from_millis(400));
    proxy.set(Line::down(Flow::Rate(10_000)));
    let begun = Instant::now();
    stream.write_all(&[1; 5_000]).await.expect("written");
    read(&mut stream, 5_000).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400), "5,000 bytes at 10,000 a second took {took:?}");
}

#[tokio::test]
async fn a_cut_in_order_is_an_end_and_a_reset_is_an_error() {
    let (proxy, mut stream) = before_echo().await;
    stream.write_all(b"a").await.expect("written");
    assert_eq!(read(&mut stream, 1).await, b"a");
    proxy.cut(Cut::Close);
    assert_eq!(timeout(BOUND, stream.read(&mut [0])).await.expect("in time").expect("an end"), 0);
    let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
    stream.write_all(b"b").await.expect("the earlier cut does not concern it");
    assert_eq!(read(&mut stream, 1).await, b"b");
    proxy.cut(Cut::Reset);
    let error = timeout(BOUND, stream.read(&mut [0])).await.expect("in time").expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_closed_line_lets_nobody_through_until_it_is_mended() {
    let (proxy, mut stream) = before_echo().await;
    proxy.set(Line::CLOSED);
    let ended = timeout(BOUND, stream.read(&mut [0])).await.expect("in time");
    assert!(ended.is_err(), "those that stood are reset");
    let says_it_back = |address: SocketAddr| async move {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"x").await.ok()?;
        let mut byte = [0];
        let read = timeout(A_WHILE, stream.read_exact(&mut byte)).await.ok()?;
        read.ok().map(drop)
    };
    assert_eq!(says_it_back(proxy.address()).await, None);
    proxy.mend();
    eventually("somebody gets through", BOUND, || says_it_back(proxy.address())).await;
}

/// A frame of this type with this payload.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("small");
    [&[kind, 0, 1], &size.to_be_bytes()[..], payload, &[0xCE]].concat()
}

const ACK: [u8; 4] = [0, 60, 0, 80];
const NACK: [u8; 4] = [0, 60, 0, 120];
const DELIVER: [u8; 4] = [0, 60, 0, 60];

#[test]
fn frames_come_out_whole_however_they_come_in() {
    let stream = [frame(1, &DELIVER), frame(3, &[9; 300]), frame(8, &[]), frame(1, &ACK)].concat();
    for size in [1, 2, 7, 8, 100, stream.len()] {
        let mut frames = Frames::default();
        let whole: Vec<_> = stream.chunks(size).flat_map(|piece| frames.whole(piece)).collect();
        assert_eq!(whole.len(), 4, "in pieces of {size}");
        assert_eq!(whole.concat(), stream);
    }
    assert_eq!(Frames::default().whole(b"AMQP\0\0\x09\x01").concat(), b"AMQP\0\0\x09\x01");
    let confirms = [frame(1, &ACK), frame(1, &NACK), frame(1, &DELIVER), frame(3, &ACK)];
    assert_eq!(confirms.map(|frame| is_confirm(&frame)), [true, true, false, false]);
}

#[tokio::test]
async fn only_confirms_are_swallowed_and_only_of_the_connections_that_are_named() {
    let proxy = Proxy::amqp(Far::Tcp(echo().await)).await.expect("a proxy");
    proxy.set_named("snodo/publish", Line::down(Flow::SwallowConfirms));
    let said = [frame(1, &ACK), frame(8, &[]), frame(1, &NACK), frame(1, &DELIVER)].concat();
    for (name, expected) in [
        ("snodo/publish", [frame(8, &[]), frame(1, &DELIVER)].concat()),
        ("snodo/consume", said.clone()),
    ] {
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        let hello = frame(1, name.as_bytes());
        stream.write_all(&hello).await.expect("written");
        assert_eq!(read(&mut stream, hello.len()).await, hello);
        stream.write_all(&said).await.expect("written");
        assert_eq!(read(&mut stream, expected.len()).await, expected, "{name}");
        assert!(is_silent(&mut stream).await);
    }
}

#[tokio::test]
async fn only_the_connections_of_a_name_are_cut() {
    let proxy = Proxy::amqp(Far::Tcp(echo().await)).await.expect("a proxy");
    let mut streams = Vec::new();
    for name in ["snodo/publish", "snodo/consume"] {
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        let hello = frame(1, name.as_bytes());
        stream.write_all(&hello).await.expect("written");
        read(&mut stream, hello.len()).await;
        streams.push(stream);
    }
    proxy.cut_named("snodo/publish", Cut::Close);
    assert_eq!(timeout(BOUND, streams[0].read(&mut [0])).await.expect("in time").expect("end"), 0);
    let heartbeat = frame(8, &[]);
    streams[1].write_all(&heartbeat).await.expect("it stands");
    assert_eq!(read(&mut streams[1], heartbeat.len()).await, heartbeat);
    assert_eq!(proxy.connections(), 2);
}
