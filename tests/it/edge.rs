//! The HTTP edge against bad input: the rows of the security list, over real sockets and a real ledger.

use std::time::Duration;

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

mod bus;
mod clients;
mod documents;
mod inbox;

use bus::{Bus, KIND, OTHER, TOKEN, answer, binary};

/// A codice fiscale that is sent wherever something can be sent.
const SECRET: &str = "RSSMRA80A01H501U";

fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1).unwrap_or("0");
    word.parse().unwrap_or(0)
}

fn body(answer: &str) -> Value {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Every refusal is a problem that says what to do.
fn assert_problem(what: &str, answer: &str, expected: u16) {
    assert_eq!(status(answer), expected, "{what}: {answer}");
    assert_eq!(header(answer, "content-type"), Some("application/problem+json"), "{what}");
    let problem = body(answer);
    assert_eq!(problem["status"], expected, "{what}");
    let code = problem["code"].as_str().unwrap_or_else(|| panic!("{what}: {answer}"));
    assert_eq!(problem["type"], format!("/problems/{code}"), "{what}");
    assert!(problem["who_must_act"].is_string() && problem["retryable"].is_boolean(), "{what}");
    let id = header(answer, "snodo-problem-id").unwrap_or_else(|| panic!("{what}: no id"));
    assert_eq!(problem["instance"], format!("urn:uuid:{id}"), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_answered_once_and_every_repeat_alike() {
    let bus = Bus::start().await;
    let first = bus.send("A-1", r#"{"n":1}"#).await;
    assert_eq!(status(&first), 202, "{first}");
    let id = body(&first)["id"].as_str().expect("an id").to_owned();
    assert_eq!(header(&first, "location"), Some(format!("/v1/messages/{id}").as_str()));
    assert_eq!(header(&first, "snodo-message-id"), Some(id.as_str()));
    assert_eq!(header(&first, "idempotency-replayed"), None);

    let again = bus.send("A-1", r#"{ "n": 1.0 }"#).await;
    assert_eq!((status(&again), body(&again)["id"].as_str()), (202, Some(id.as_str())));
    assert_eq!(header(&again, "idempotency-replayed"), Some("true"));

    let other = bus.send("A-1", r#"{"n":2}"#).await;
    assert_problem("another body", &other, 409);
    assert_eq!(body(&other)["id"], id.as_str());

    let independent = bus.post(&binary(OTHER, "A-1"), br#"{"n":2}"#).await;
    assert_eq!(status(&independent), 202, "the same key of another party: {independent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_sender_and_receiver_are_told_what_became_of_a_message() {
    let bus = Bus::start().await;
    let sent = bus.send("A-1", &format!(r#"{{"n":1,"text":"{SECRET}"}}"#)).await;
    let id = body(&sent)["id"].as_str().expect("an id").to_owned();

    for target in [format!("/v1/messages/{id}"), "/v1/messages?source=urn:test&id=A-1".to_owned()] {
        let told = bus.get(TOKEN, &target).await;
        assert_eq!(status(&told), 200, "{told}");
        let story = body(&told);
        assert_eq!(story["id"], id.as_str());
        assert_eq!((&story["state"], &story["stato"]), (&"open".into(), &"in corso".into()));
        assert_eq!(story["deliveries"][0]["to"], "take");
        assert_eq!(story["timeline"][0]["what"], "accepted");
        assert!(!told.contains(SECRET), "{told}");
        assert_problem("another party", &bus.get(OTHER, &target).await, 404);
        assert_problem("nobody", &bus.get("none", &target).await, 401);
    }
    let unknown = bus.get(TOKEN, "/v1/messages/00000000-0000-7000-8000-000000000000").await;
    assert_problem("an id of nobody", &unknown, 404);
    assert_problem("no id", &bus.get(TOKEN, "/v1/messages/x").await, 404);
    for query in ["", "?id=A-1", "?source=urn:test&id=", "?source=a&id=b&id=c", "?source=a&id=%00"]
    {
        let told = bus.get(TOKEN, &format!("/v1/messages{query}")).await;
        assert_problem(query, &told, 400);
    }
    let injected = bus.get(TOKEN, "/v1/messages?source=urn:test&id='%20OR%201=1--").await;
    assert_problem("SQL metacharacters", &injected, 404);
    assert_problem("wildcards", &bus.get(TOKEN, "/v1/messages?source=%25&id=%25").await, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bodies_are_refused_as_the_security_list_says() {
    let bus = Bus::start().await;
    let deep =
        |levels: usize| format!("{{\"n\":1,\"any\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let items = |count: usize| format!("{{\"n\":1,\"any\":[{}]}}", vec!["0"; count].join(","));
    let table: Vec<(&str, Vec<u8>, u16)> = vec![
        ("6: 65 deep", deep(65).into(), 400),
        ("6: 100,000 deep", "[".repeat(100_000).into(), 400),
        ("7: a key twice", br#"{"n":1,"n":2}"#.to_vec(), 400),
        ("8: invalid UTF-8", b"{\"n\":1,\"text\":\"\xC3\x28\"}".to_vec(), 400),
        ("8: a byte order mark", b"\xEF\xBB\xBF{\"n\":1}".to_vec(), 400),
        ("8: UTF-16", b"\xFF\xFE{\0}\0".to_vec(), 400),
        ("9: a lone surrogate", br#"{"n":1,"text":"\ud800"}"#.to_vec(), 400),
        ("9: NUL", br#"{"n":1,"text":"\u0000"}"#.to_vec(), 400),
        ("10: too large a number", br#"{"n":1e400}"#.to_vec(), 400),
        ("10: 400 digits", format!(r#"{{"n":{}}}"#, "9".repeat(400)).into(), 400),
        ("11: NaN", br#"{"n":NaN}"#.to_vec(), 400),
        ("11: a comment", br#"{"n":1} // x"#.to_vec(), 400),
        ("11: a trailing comma", br#"{"n":1,}"#.to_vec(), 400),
        ("11: two documents", br#"{"n":1}{"n":1}"#.to_vec(), 400),
        ("12: 10,001 items", items(10_001).into(), 422),
        ("13: nothing", Vec::new(), 400),
        ("13: null", b"null".to_vec(), 422),
        ("13: a list", b"[]".to_vec(), 422),
        ("56: a path", br#"{"n":1,"a/../b":1}"#.to_vec(), 422),
        ("56: a prototype", br#"{"n":1,"__proto__":1}"#.to_vec(), 422),
    ];
    for (what, sent, expected) in table {
        assert_problem(what, &bus.post(&binary(TOKEN, "B-1"), &sent).await, expected);
    }
    let literal = r#"{"n":-0,"text":"{{env.DB_PASSWORD}} ${jndi:ldap://x} $(id)"}"#;
    assert_eq!(status(&bus.send("B-2", literal).await), 202, "55: templates are text");
    assert_eq!(status(&bus.send("B-3", &items(10_000)).await), 202, "12: at the limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_headers_are_refused_as_the_security_list_says() {
    let bus = Bus::start().await;
    let with = |from: &str, to: &str| binary(TOKEN, "C-1").replace(from, to);
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let json = "Content-Type: application/json\r\n";
    let table = [
        ("14: no content type", with(json, ""), 415),
        ("14: text", with(json, "Content-Type: text/plain\r\n"), 415),
        ("14: UTF-7", with(json, "Content-Type: application/json; charset=utf-7\r\n"), 415),
        ("15: gzip", with(json, &format!("{json}Content-Encoding: gzip\r\n")), 415),
        ("15: br", with(json, &format!("{json}Content-Encoding: br\r\n")), 415),
        ("21: nobody", with(&token, ""), 401),
        ("21: two", with(&token, &format!("{token}{token}")), 400),
        ("21: Basic", with("Bearer", "Basic"), 401),
        ("21: another token", with(TOKEN, "x"), 401),
        ("62: a long id", with("C-1", &"x".repeat(7000)), 400),
        ("62: no id", with("ce-id: C-1\r\n", ""), 400),
        ("62: an empty id", with("C-1", ""), 400),
        ("62: a control character", with("C-1", "a%0Ab"), 400),
        ("a type of nobody", with(KIND, "test.nothing.v1"), 422),
        ("a type that it may not send", with(KIND, "test.taken.v1"), 403),
    ];
    for (what, headers, expected) in table {
        assert_problem(what, &bus.post(&headers, br#"{"n":1}"#).await, expected);
    }
    let spoofed = with(json, &format!("{json}X-Forwarded-For: 1.2.3.4\r\n"));
    assert_eq!(status(&bus.post(&spoofed, br#"{"n":1}"#).await), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_before_anything_is_read_of_them() {
    let bus = Bus::start().await;
    let post = format!("POST /v1/messages HTTP/1.1\r\nHost: bus\r\n{}", binary(TOKEN, "D-1"));
    let many = "X: y\r\n".repeat(101);
    let long = format!("X: {}\r\n", "x".repeat(8 * 1024));
    let big = format!("X: {}\r\n", "x".repeat(4 * 1024)).repeat(5);
    let table = [
        ("1: a byte too many", format!("{post}Content-Length: {}\r\n\r\n", (1 << 20) + 1), 413),
        ("3: a body that stalls", format!("{post}Content-Length: 10\r\n\r\n12345"), 408),
        (
            "4: two framings",
            format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400,
        ),
        ("5: two lengths", format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), 400),
        ("60: many headers", format!("{post}{many}\r\n"), 431),
        ("60: a long header", format!("{post}{long}\r\n"), 431),
        ("60: a large head", format!("{post}{big}\r\n"), 431),
        ("90: another path", "GET /nothing HTTP/1.1\r\nHost: bus\r\n\r\n".to_owned(), 404),
        ("90: another method", "PUT /v1/messages HTTP/1.1\r\nHost: bus\r\n\r\n".to_owned(), 405),
        ("90: the wrong method", "POST /status HTTP/1.1\r\nHost: bus\r\n\r\n".to_owned(), 405),
        ("90: TRACE", "TRACE / HTTP/1.1\r\nHost: bus\r\nX-Echo: hello\r\n\r\n".to_owned(), 405),
        ("90: CONNECT", "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n".to_owned(), 405),
        ("90: HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 405),
        ("78: metrics", "GET /metrics HTTP/1.1\r\nHost: bus\r\n\r\n".to_owned(), 404),
        (
            "57: an override",
            "GET /v1/messages HTTP/1.1\r\nHost: bus\r\nX-HTTP-Method-Override: POST\r\n\r\n"
                .to_owned(),
            401,
        ),
        ("not HTTP", "hello\r\n\r\n".to_owned(), 400),
    ];
    for (what, request, expected) in table {
        let told = bus.raw(request.as_bytes()).await;
        assert_problem(what, &told, expected);
        assert!(!told.contains("hello") && !told.contains("evil"), "{what} echoes: {told}");
    }
    let absolute = "GET http://evil/health/live HTTP/1.1\r\nHost: evil\r\n\r\n";
    assert_eq!(status(&bus.raw(absolute.as_bytes()).await), 200, "57: the absolute form");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_body_is_cut_at_the_limit_and_the_connection_closed() {
    let bus = Bus::start().await;
    let mut stream = TcpStream::connect(bus.parties).await.expect("connected");
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: bus\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        binary(TOKEN, "E-1")
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x1_0000], b"\r\n"].concat();
    let mut chunks = 0;
    while chunks < 10_000 && stream.write_all(&chunk).await.is_ok() {
        chunks += 1;
    }
    assert!(chunks < 10_000, "the edge goes on reading");

    let mut stream = TcpStream::connect(bus.parties).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("sent");
    for _ in 0..17 {
        let _ = stream.write_all(&chunk).await;
    }
    let told = answer(&mut stream).await;
    assert_problem("2: chunks without end", &told, 413);
    assert_eq!(header(&told, "connection"), Some("close"));

    let fits = format!("{head}7\r\n{{\"n\":1}}\r\n0\r\n\r\n");
    assert_eq!(status(&bus.raw(fits.as_bytes()).await), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_on_one_connection_are_answered_in_their_order() {
    let bus = Bus::start().await;
    let mut stream = TcpStream::connect(bus.parties).await.expect("connected");
    let request = |id: &str, body: &str| {
        format!(
            "POST /v1/messages HTTP/1.1\r\nHost: bus\r\n{}Content-Length: {}\r\n\r\n{body}",
            binary(TOKEN, id),
            body.len()
        )
    };
    let two = request("F-1", r#"{"n":1}"#) + &request("F-2", r#"{"n":"x"}"#);
    stream.write_all(two.as_bytes()).await.expect("sent");
    let mut told = String::new();
    while told.matches("HTTP/1.1 ").count() < 2 {
        let more = answer(&mut stream).await;
        assert!(!more.is_empty(), "closed after {told}");
        told.push_str(&more);
    }
    let second = told.rfind("HTTP/1.1 ").expect("two answers");
    assert_eq!((status(&told), status(&told[second..])), (202, 422), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_too_fast_waits_and_the_others_do_not() {
    let bus = Bus::start().await;
    for n in 0..10 {
        let told = bus.post(&binary(OTHER, &format!("G-{n}")), br#"{"n":1}"#).await;
        assert_eq!(status(&told), 202, "{told}");
        assert_eq!(header(&told, "x-ratelimit-remaining"), Some((9 - n).to_string().as_str()));
    }
    let told = bus.post(&binary(OTHER, "G-10"), br#"{"n":1}"#).await;
    assert_problem("too fast", &told, 429);
    assert_eq!(header(&told, "x-ratelimit-limit"), Some("10"));
    assert!(header(&told, "retry-after").is_some_and(|wait| wait.parse::<u32>().is_ok()));
    assert_eq!(status(&bus.send("G-1", r#"{"n":1}"#).await), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_is_full_takes_no_more_for_now() {
    let bus = Bus::start().await;
    for n in 0..12 {
        assert_eq!(status(&bus.send(&format!("H-{n}"), r#"{"n":1}"#).await), 202);
    }
    // What was taken since the totals were last read counts, and reading them again changes nothing.
    for n in 12..15 {
        let told = bus.send(&format!("H-{n}"), r#"{"n":1}"#).await;
        assert_problem("full", &told, 503);
        assert_eq!(header(&told, "retry-after"), Some("5"));
        bus.desk.room.refresh(&*bus.desk.ledger).await.expect("read");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_can_be_checked_without_being_accepted() {
    let bus = Bus::start().await;
    let ask = |body: &'static str| {
        let head = format!(
            "POST /v1/messages?check=true HTTP/1.1\r\nHost: bus\r\n{}Content-Length: {}\r\n\r\n{body}",
            binary(TOKEN, "I-1"),
            body.len()
        );
        head.into_bytes()
    };
    let told = bus.raw(&ask(r#"{"n":1}"#)).await;
    assert_eq!((status(&told), &body(&told)["valid"]), (200, &Value::Bool(true)));
    assert_eq!(body(&told)["repeats"], Value::Null);
    assert_problem("invalid", &bus.raw(&ask(r#"{"n":"x"}"#)).await, 422);
    assert_problem("not there", &bus.get(TOKEN, "/v1/messages?source=urn:test&id=I-1").await, 404);
    let metrics = bus.metrics().await;
    for line in [
        "snodo_messages_received_total{source=\"party:sender\"} 0",
        "snodo_messages_rejected_total{source=\"party:sender\"} 0",
        "snodo_deliveries_created_total{route=\"take\"} 0",
        "snodo_ingress_requests_total{result=\"accepted\"} 0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line}\n{metrics}");
    }
    let heads = bus.desk.ledger.heads().await.expect("read");
    assert!(heads.iter().all(|(_, n, _)| *n == 0), "neither an accept nor a reject: {heads:?}");

    // Whether it would be a repeat, and of what; the same id for other content is refused alike.
    let id = body(&bus.send("I-1", r#"{"n":1}"#).await)["id"].clone();
    let told = bus.raw(&ask(r#"{ "n": 1.0 }"#)).await;
    assert_eq!((status(&told), &body(&told)["repeats"]), (200, &id));
    let told = bus.raw(&ask(r#"{"n":2}"#)).await;
    assert_problem("other content", &told, 409);
    assert_eq!(body(&told)["id"], id);

    // A check that is misspelt is no message.
    for query in ["check=True", "check=1", "check", "check=true&check=true", "chek=true"] {
        let head = format!(
            "POST /v1/messages?{query} HTTP/1.1\r\nHost: bus\r\n{}Content-Length: 7\r\n\r\n{{\"n\":1}}",
            binary(TOKEN, "I-2")
        );
        assert_problem(query, &bus.raw(head.as_bytes()).await, 400);
    }
    assert_problem("no I-2", &bus.get(TOKEN, "/v1/messages?source=urn:test&id=I-2").await, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_in_is_counted_from_the_rows_by_its_source() {
    let bus = Bus::start().await;
    bus.send("J-1", r#"{"n":1}"#).await;
    bus.send("J-1", r#"{"n":1}"#).await;
    bus.send("J-2", r#"{"n":"x"}"#).await;
    let metrics = bus.metrics().await;
    for line in [
        "snodo_messages_accepted_total{source=\"party:sender\"} 1",
        "snodo_messages_rejected_total{source=\"party:sender\"} 1",
        "snodo_messages_accepted_total{source=\"party:other\"} 0",
        "snodo_deliveries_created_total{route=\"take\"} 1",
        "snodo_deliveries{route=\"take\",state=\"open\"} 1",
        "snodo_deliveries_ended_total{route=\"take\",state=\"completed\"} 0",
        "snodo_ingress_requests_total{result=\"accepted\"} 1",
        "snodo_ingress_requests_total{result=\"replayed\"} 1",
        "snodo_ingress_rejected_total{code=\"SN0605\"} 1",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_input_makes_no_series_and_shows_nowhere() {
    let bus = Bus::start().await;
    let series = |metrics: &str| metrics.lines().filter(|line| !line.starts_with('#')).count();
    let before = series(&bus.metrics().await);
    for n in 0..50 {
        let name = format!("{SECRET}-{n}");
        let table = [
            bus.get(&name, &format!("/v1/messages/{name}")).await,
            bus.get(TOKEN, &format!("/v1/messages?source={name}&id={name}")).await,
            bus.get(TOKEN, &format!("/{name}")).await,
            bus.get(TOKEN, &format!("/problems/{name}")).await,
            bus.send(&name, &format!(r#"{{"n":"{SECRET}","{SECRET}":1}}"#)).await,
            bus.send("x", &format!(r#"{{"{SECRET}":{{"{SECRET}":tru}}}}"#)).await,
            bus.post(&binary(TOKEN, "x").replace(KIND, &name), b"{}").await,
            bus.post(&binary(TOKEN, "x").replace("application/json", &name), b"{}").await,
            bus.post(&format!("User-Agent: {name}\r\n"), b"{}").await,
        ];
        for told in table {
            assert!(status(&told) >= 400, "{told}");
            assert!(!told.contains(SECRET), "{told}");
        }
    }
    let metrics = bus.metrics().await;
    assert!(!metrics.contains(SECRET));
    assert_eq!(series(&metrics), before, "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitoring_is_told_what_works() {
    let bus = Bus::start().await;
    let live = bus.raw(b"GET /health/live HTTP/1.1\r\nHost: bus\r\n\r\n").await;
    assert_eq!(status(&live), 200);
    let ready = b"GET /health/ready HTTP/1.1\r\nHost: bus\r\n\r\n";
    assert_eq!(status(&bus.raw(ready).await), 503);
    bus.desk.health.set("ledger", Ok(()), bus.desk.clock.now());
    assert_eq!(status(&bus.raw(ready).await), 200);
    let told = bus.raw(b"GET /status HTTP/1.1\r\nHost: bus\r\n\r\n").await;
    assert_eq!(body(&told)["components"]["ledger"]["ready"], true, "{told}");
    assert!(bus.metrics().await.contains("snodo_ready{component=\"ledger\"} 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_keep_others_out() {
    let bus = Bus::start().await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        let mut stream = TcpStream::connect(bus.parties).await.expect("connected");
        stream.write_all(b"POST /v1/messages HTTP/1.1\r\nHost").await.expect("sent");
        idle.push(stream);
    }
    let told = tokio::time::timeout(Duration::from_secs(5), bus.send("K-1", r#"{"n":1}"#)).await;
    assert_eq!(told.map(|told| status(&told)), Ok(202));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_dear_to_check_is_refused_and_told_who_must_act() {
    let bus = Bus::within("{ validation: 1ms }").await;
    let row = format!("[{}]", vec!["1"; 9_000].join(","));
    let dear = format!("{{\"n\":1,\"any\":[{}]}}", vec![row; 6].join(","));
    let told = bus.send("L-1", &dear).await;
    assert_problem("dear", &told, 422);
    let problem = body(&told);
    assert_eq!(
        (&problem["code"], &problem["reason"]),
        (&"SN0621".into(), &"validation_budget".into())
    );
    assert_eq!(
        (&problem["retryable"], &problem["who_must_act"]),
        (&false.into(), &"operator".into())
    );
    assert_eq!(problem["detail"], "checking the body took more than 1 ms of CPU");
    assert_eq!(status(&bus.send("L-2", r#"{"n":1}"#).await), 202, "the others go on");
    let metrics = bus.metrics().await;
    for line in [
        "snodo_messages_rejected_total{source=\"party:sender\"} 1",
        "snodo_ingress_rejected_total{code=\"SN0621\"} 1",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line}\n{metrics}");
    }
    // With the usual budget it is taken.
    assert_eq!(status(&Bus::start().await.send("L-1", &dear).await), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_no_rejection() {
    let bus = Bus::start().await;
    let told = bus.post(&binary(TOKEN, "M-1").replace(KIND, "test.taken.v1"), b"{}").await;
    assert_problem("a type that it may not send", &told, 403);
    assert_eq!(body(&told)["expected"], "`sends: test.taken.v1` in the party's file");
    let metrics = bus.metrics().await;
    for line in [
        "snodo_messages_received_total{source=\"party:sender\"} 0",
        "snodo_messages_rejected_total{source=\"party:sender\"} 0",
        "snodo_ingress_requests_total{result=\"unauthorized\"} 1",
        "snodo_ingress_rejected_total{code=\"SN0612\"} 1",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line}\n{metrics}");
    }
    assert!(bus.desk.ledger.events("a", 1, 10).await.expect("readable").is_empty(), "and no event");
}
