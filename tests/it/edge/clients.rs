//! Clients that misbehave: slow ones, those that close too early or never read, those that say too much.
//!
//! Invariant: the edge stays up, the others are served as before, and what was answered 202 is there.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use snodo_tests::wait::eventually;

use super::{
    assert_problem, body,
    bus::{Bus, TOKEN, answer, binary},
    header, status,
};

/// Answers of others take no longer beside clients that misbehave, on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

fn post(id: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /v1/messages HTTP/1.1\r\nHost: bus\r\n{}Content-Length: {length}\r\n\r\n{body}",
        binary(TOKEN, id)
    )
    .into_bytes()
}

async fn connect(bus: &Bus) -> TcpStream {
    TcpStream::connect(bus.parties).await.expect("connected")
}

/// How many requests are not answered yet, as the metrics show it.
async fn under_way(bus: &Bus) -> u64 {
    let metrics = bus.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with("snodo_ingress_in_flight "));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a gauge")
}

async fn nothing_is_under_way(bus: &Bus) {
    let begun = Instant::now();
    while under_way(bus).await > 0 {
        assert!(begun.elapsed() < PROMPT, "requests are under way that nobody waits for");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the sender is told of a message with this id.
async fn is_there(bus: &Bus, id: &str) -> bool {
    status(&bus.get(TOKEN, &format!("/v1/messages?source=urn:test&id={id}")).await) == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_his_side_after_the_request_still_gets_the_answer() {
    let bus = Bus::start().await;
    let mut stream = connect(&bus).await;
    stream.write_all(&post("A-1", r#"{"n":1}"#)).await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let told = answer(&mut stream).await;
    assert_eq!(status(&told), 202, "{told}");
    assert!(is_there(&bus, "A-1").await);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the edge closes too");
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_in_the_middle_of_a_request_has_sent_nothing() {
    let bus = Bus::start().await;
    let whole = post("B-1", r#"{"n":1}"#);
    for cut in [1, 20, whole.len() / 2, whole.len() - 3] {
        let mut stream = connect(&bus).await;
        stream.write_all(&whole[..cut]).await.expect("sent");
        stream.shutdown().await.expect("half closed");
        let told = answer(&mut stream).await;
        assert!(told.is_empty() || status(&told) == 400, "{cut}: {told}");
        let mut gone = connect(&bus).await;
        gone.write_all(&whole[..cut]).await.expect("sent");
        drop(gone);
    }
    assert!(!is_there(&bus, "B-1").await);
    nothing_is_under_way(&bus).await;
    assert_eq!(status(&bus.send("B-1", r#"{"n":1}"#).await), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_away_before_the_answer_has_sent_all_or_nothing() {
    let bus = Bus::start().await;
    for n in 0..10 {
        let mut stream = connect(&bus).await;
        let id = format!("C-{n}");
        stream.write_all(&post(&id, r#"{"n":1}"#)).await.expect("sent");
        if n % 2 == 0 {
            // With data unread in either direction the system resets the connection.
            stream.set_zero_linger().expect("set");
        }
        drop(stream);
    }
    nothing_is_under_way(&bus).await;
    // Whoever heard nothing sends again, and it is one message.
    for n in 0..10 {
        let told = bus.send(&format!("C-{n}"), r#"{"n":1}"#).await;
        assert_eq!(status(&told), 202, "{told}");
        assert!(is_there(&bus, &format!("C-{n}")).await);
    }
    // The figures are read from the rows now and then.
    eventually("ten messages and ten deliveries in the figures", PROMPT * 6, async || {
        let metrics = bus.metrics().await;
        let has = |wanted: &str| metrics.lines().any(|line| line == wanted).then_some(());
        has("snodo_messages_accepted_total{source=\"party:sender\"} 10")?;
        has("snodo_deliveries_created_total{route=\"take\"} 10")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_of_a_mebibyte_is_refused_and_its_sender_hears_of_it() {
    let bus = Bus::start().await;
    let huge = "x".repeat(1 << 20);
    for head in [
        format!("POST /v1/messages HTTP/1.1\r\nHost: bus\r\nX-Huge: {huge}\r\n\r\n"),
        format!("POST /v1/messages HTTP/1.1\r\nHost: bus\r\n{}: y\r\n\r\n", &huge[..(1 << 19)]),
        format!("GET /status HTTP/1.1\r\nHost: bus\r\n{}\r\n", "X: y\r\n".repeat(1 << 17)),
    ] {
        let told = bus.raw(head.as_bytes()).await;
        assert_problem("a header of a mebibyte", &told, 431);
        assert_eq!(header(&told, "connection"), Some("close"));
    }
    // Without an end, and slowly: it is refused at its limit and not when it ends.
    let mut stream = connect(&bus).await;
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: bus\r\nX-Huge: ").await.expect("sent");
    for _ in 0..9 {
        stream.write_all(&[b'x'; 1024]).await.expect("sent");
    }
    assert_problem("a header without end", &answer(&mut stream).await, 431);
    assert_eq!(status(&bus.send("D-1", r#"{"n":1}"#).await), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_answered_in_order_and_ends_where_it_is_broken() {
    let bus = Bus::start().await;
    let mut pipeline = Vec::new();
    for n in 0..60 {
        // Repeats of six messages, each third of them with a mistake.
        let wrong = if n % 3 == 2 { r#"{"n":"x"}"# } else { r#"{"n":1}"# };
        pipeline.extend(post(&format!("E-{}", n % 6), wrong));
    }
    pipeline.extend(b"POST /v1/messages HTTP/1.1\r\nHost: bus\r\nContent-Length: 5\r\n");
    pipeline.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    pipeline.extend(post("E-smuggled", r#"{"n":1}"#));
    let mut stream = connect(&bus).await;
    stream.write_all(&pipeline).await.expect("sent");
    let mut told = String::new();
    stream.read_to_string(&mut told).await.expect("answers, then the end");
    let statuses: Vec<u16> = told
        .split("HTTP/1.1 ")
        .skip(1)
        // A problem may speak of HTTP/1.1 too.
        .filter(|told| told.starts_with(|first: char| first.is_ascii_digit()))
        .map(|told| told.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0))
        .collect();
    let expected: Vec<u16> =
        (0..60).map(|n| if n % 3 == 2 { 422 } else { 202 }).chain([400]).collect();
    assert_eq!(statuses, expected);
    assert!(!is_there(&bus, "E-smuggled").await, "nothing is read behind a broken request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_and_slow_bodies_time_out_and_hold_up_nobody() {
    const SLOW: usize = 300;
    let bus = Bus::start().await;
    let mut slow = JoinSet::new();
    for n in 0..SLOW {
        let mut stream = connect(&bus).await;
        slow.spawn(async move {
            let head = if n % 2 == 0 {
                b"GET /status HTTP/1.1\r\nHost: bus\r\nX-Slow: ".to_vec()
            } else {
                let head = String::from_utf8(post("F-slow", "")).expect("text");
                head.replace("Content-Length: 0", "Content-Length: 1000").into_bytes()
            };
            stream.write_all(&head).await.expect("sent");
            // A byte now and then, until the edge has had enough.
            while stream.write_all(b"x").await.is_ok() {
                let mut told = [0; 16];
                let pause = Duration::from_millis(500);
                if let Ok(read) = tokio::time::timeout(pause, stream.read(&mut told)).await {
                    return String::from_utf8_lossy(&told[..read.unwrap_or(0)]).into_owned();
                }
            }
            String::new()
        });
    }
    let mut n = 0;
    while !slow.is_empty() {
        n += 1;
        let begun = Instant::now();
        let told = bus.send(&format!("F-{}", n % 5), r#"{"n":1}"#).await;
        assert_eq!(status(&told), 202, "{told}");
        assert!(begun.elapsed() < PROMPT, "an answer took {:?}", begun.elapsed());
        while let Some(told) = slow.try_join_next() {
            let told = told.expect("ended");
            assert!(told.starts_with("HTTP/1.1 408"), "a slow one is told `{told}`");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    nothing_is_under_way(&bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_his_answers_is_let_go() {
    let bus = Bus::start().await;
    let request = b"GET /problems/SN0605 HTTP/1.1\r\nHost: bus\r\n\r\n".repeat(1000);
    let mut stream = connect(&bus).await;
    // As much as both sides' buffers take; then nobody writes any more.
    let written = async { while stream.write_all(&request).await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_secs(2), written).await.is_err());
    let told = bus.send("G-1", r#"{"n":1}"#).await;
    assert_eq!((status(&told), body(&told)["id"].is_string()), (202, true));
}
