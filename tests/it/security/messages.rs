//! Rows whose answer is more than one refusal: what is taken, what it costs the others, what shows.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use snodo_sandbox::Behaviour;
use snodo_tests::{
    bus::binaries,
    client::{Answer, Client, get, post_message},
    palermo::{self, REGION_TOKEN, SPORTELLO_TOKEN},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use super::{
    rows::message,
    town::{HASTY, KIND, OTHER, PATIENCE, SECRETS, TOKEN, Town, answer_of, binary, posted},
};

/// Walks them; their numbers.
pub(super) async fn walk(town: &mut Town) -> [u8; 11] {
    a_body_without_end(town).await;
    what_is_taken_arrives_as_it_was_sent(town).await;
    a_pattern_takes_linear_time(town).await;
    a_key_is_of_its_party(town).await;
    metacharacters_are_text(town).await;
    who_sends_too_fast_hurts_nobody_else(town).await;
    a_life_with_tax_codes(town).await;
    no_input_makes_a_series(town).await;
    who_says_where_he_comes_from_is_not_believed(town).await;
    who_says_nothing_or_slowly_is_let_go(town).await;
    [2, 10, 19, 55, 58, 59, 60, 63, 74, 79, 83]
}

fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}{}", answer.head, answer.json());
    answer.json()["id"].as_str().expect("an id").to_owned()
}

/// Waits until the sender is told that a message has one of these states, or what came of it does.
async fn comes_to(town: &mut Town, id: &str, token: &str, states: &[&str]) -> Value {
    let begun = Instant::now();
    loop {
        let told = town.get(&format!("/v1/messages/{id}"), token).await.json();
        let derived = told["derived"].as_array().into_iter().flatten();
        let mut all = std::iter::once(&told).chain(derived);
        let reached = states.iter().all(|state| all.any(|told| told["state"] == *state));
        if reached {
            return told;
        }
        assert!(begun.elapsed() < PATIENCE, "{id} never is {states:?}: {told}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Row 2: chunks without end, as fast as they are read.
async fn a_body_without_end(town: &mut Town) {
    let memory = town.memory();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: bus\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        binary(TOKEN, "endless")
    );
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x1_0000], b"\r\n"].concat();
    let mut stream = TcpStream::connect(town.address()).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut sent = 0_u64;
    while sent < 10 << 30 && stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len() as u64;
    }
    assert!(sent < 64 << 20, "{sent} bytes were read of a body without end");
    // The answer, of one who stops soon enough to hear it.
    let mut stream = TcpStream::connect(town.address()).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("sent");
    for _ in 0..17 {
        let _ = stream.write_all(&chunk).await;
    }
    let told = answer_of(&mut stream).await;
    town.assert_refused("2: a body without end", &told, 413, "SN0609");
    assert_eq!(told.header("connection"), Some("close"));
    assert!(town.memory().saturating_sub(memory) < super::GROWTH, "2: the process stays small");
}

/// Rows 10 and 55: `-0` is 0, and what looks like a template to somebody is text.
async fn what_is_taken_arrives_as_it_was_sent(town: &mut Town) {
    let text = "{{env.DB_PASSWORD}} ${jndi:ldap://evil/x} $(id) ${ .n } `id` %{x} <%= 1 %>";
    let body = json!({ "n": 7, "text": text }).to_string().replace("\"n\":7", "\"n\":-0");
    let id = id_of(&town.send(&message("literal", &body)).await);
    comes_to(town, &id, TOKEN, &["completed", "completed"]).await;
    let arrived = town.inbox("sender", 1).await.remove(0);
    assert_eq!(arrived, json!({ "n": 0, "text": text, "told": "text 0" }));
    assert!(arrived.to_string().contains("\"n\":0,"), "{arrived}");
}

/// Row 58: no header says who or where somebody is; the rate is the party's.
async fn who_says_where_he_comes_from_is_not_believed(town: &mut Town) {
    let mut refused = 0;
    for n in 0..2_000 {
        let spoofed =
            format!("{}X-Forwarded-For: 10.0.0.{}\r\n", binary(HASTY, &format!("from-{n}")), n);
        let told = town.post(&spoofed, br#"{"n":1}"#).await;
        assert!([202, 429].contains(&told.status), "58: {}", told.json());
        refused += u32::from(told.status == 429);
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "58: an address of its own for each request does not make a party faster");
}

/// Row 60: 5,000 connections without a word and 500 slow heads. More than the cap wait at the door;
/// meanwhile monitoring is answered, and within seconds the others are again.
async fn who_says_nothing_or_slowly_is_let_go(town: &mut Town) {
    const SLOW: usize = 500;
    const IDLE: usize = 5_000;
    let memory = town.memory();
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(town.address()).await.expect("connected");
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: bus\r\nX-Slow: ").await.expect("sent");
        slow.spawn(async move {
            let begun = Instant::now();
            (answer_of(&mut stream).await, begun.elapsed())
        });
    }
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(town.address()).await.expect("connected"));
    }
    let mut monitor = Client::new(town.house.metrics);
    let alive = monitor.send(&get("/health/live", "")).await.expect("an answer");
    assert_eq!(alive.status, 200, "60: monitoring is answered");
    assert!(town.memory().saturating_sub(memory) < super::GROWTH, "60: the process stays small");
    for (told, took) in slow.join_all().await {
        town.assert_refused("60: a slow head", &told, 408, "SN0616");
        assert!(took < Duration::from_secs(20), "60: after {took:?}");
    }
    let mut client = Client::new(town.address());
    let begun = Instant::now();
    while !client.send(&get("/health/live", "")).await.is_ok_and(|told| told.status == 200) {
        assert!(begun.elapsed() < PATIENCE, "60: nobody is answered any more");
    }
    drop(idle);
}

/// Row 19: what would take for ever elsewhere is refused at once. The best of some tries, since the
/// machine may be busy.
async fn a_pattern_takes_linear_time(town: &mut Town) {
    let body = json!({ "n": 1, "slow": format!("{}!", "a".repeat(50)) }).to_string();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        let told = town.post(&binary(TOKEN, "slow"), body.as_bytes()).await;
        best = best.min(begun.elapsed());
        town.assert_refused("19: a pattern", &told, 422, "SN0605");
    }
    assert!(best < Duration::from_millis(50), "19: {best:?}");
}

/// Row 63.
async fn a_key_is_of_its_party(town: &mut Town) {
    let first = town.send(&message("key", r#"{"n":1}"#)).await;
    let id = id_of(&first);
    let again = town.send(&message("key", r#"{ "n": 1.0 }"#)).await;
    assert_eq!((id_of(&again), again.header("idempotency-replayed")), (id.clone(), Some("true")));
    let other_body = town.send(&message("key", r#"{"n":2}"#)).await;
    town.assert_refused("63: the same key, another body", &other_body, 409, "SN0610");
    assert_eq!(other_body.json()["id"], id.as_str());
    let other_party = town.post(&binary(OTHER, "key"), br#"{"n":2}"#).await;
    assert_ne!(id_of(&other_party), id, "63: the same key of another party");
}

/// Row 83: in the query of senders, and in every search of operators.
async fn metacharacters_are_text(town: &mut Town) {
    id_of(&town.send(&message("a_b", r#"{"n":1}"#)).await);
    let found = town.get("/v1/messages?source=urn:test&id=a_b", TOKEN).await;
    assert_eq!(found.status, 200, "83: as it was sent: {}", found.json());
    for id in
        ["a%25b", "axb", "%25", "_", "'", "a_b'--", "'%20OR%20'1'='1", "%22;DROP%20TABLE%20x;--"]
    {
        let told = town.get(&format!("/v1/messages?source=urn:test&id={id}"), TOKEN).await;
        town.assert_refused(&format!("83: {id}"), &told, 404, "SN0613");
        let told = town.get(&format!("/v1/messages?source={id}&id=a_b"), TOKEN).await;
        town.assert_refused(&format!("83: {id} as a source"), &told, 404, "SN0613");
    }
    for list in ["parked", "uncertain"] {
        for what in ["%", "_", "'", "x' OR '1'='1", "\"; DROP TABLE delivery; --"] {
            for flag in ["--route", "--code"] {
                let (code, told) = town.snodo(&[list, "list", flag, what, "--json"]);
                assert_eq!(
                    (code, &told["deliveries"]),
                    (0, &json!([])),
                    "83: {list} {flag} {what}"
                );
            }
        }
    }
    let (code, told) = town.snodo(&["trace", "' OR '1'='1", "--json"]);
    assert_eq!((code, &told["code"]), (1, &json!("SN0861")));
}

/// Row 59: one party floods, another sends five messages a second and is served as before.
async fn who_sends_too_fast_hurts_nobody_else(town: &mut Town) {
    const CALM: usize = 40;
    let quiet = paced(town, "quiet", CALM).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut floods = JoinSet::new();
    for flood in 0..4 {
        let (address, stopped) = (town.address(), stopped.clone());
        floods.spawn(async move {
            let mut client = Client::new(address);
            let mut answers: BTreeMap<u16, u64> = BTreeMap::new();
            let mut throttled = None;
            let mut n = 0_u64;
            while !*stopped.borrow() {
                n += 1;
                let request = posted(&binary(HASTY, &format!("{flood}-{n}")), br#"{"n":1}"#);
                let Ok(answer) = client.send(&request).await else { continue };
                *answers.entry(answer.status).or_default() += 1;
                if answer.status == 429 {
                    throttled = Some(answer);
                }
            }
            (answers, throttled)
        });
    }
    let loaded = paced(town, "loaded", CALM).await;
    stop.send_replace(true);
    let (mut taken, mut refused) = (0, 0);
    for (answers, throttled) in floods.join_all().await {
        taken += answers.get(&202).copied().unwrap_or(0);
        refused += answers.get(&429).copied().unwrap_or(0);
        assert!(answers.keys().all(|status| [202, 429].contains(status)), "59: {answers:?}");
        let told = throttled.expect("59: somebody who floods is told to wait");
        town.assert_refused("59: too fast", &told, 429, "SN0614");
        assert_eq!(told.header("x-ratelimit-limit"), Some("50"));
        assert_eq!(told.header("x-ratelimit-remaining"), Some("0"));
        for name in ["x-ratelimit-reset", "retry-after"] {
            assert!(
                told.header(name).is_some_and(|text| text.parse::<u64>().is_ok()),
                "59: {name}"
            );
        }
    }
    assert!(refused > taken, "59: {refused} of {taken}");
    // Twice as slow at most, and the noise of a machine that does other things too.
    assert!(loaded < quiet * 2 + Duration::from_millis(200), "59: p99 {quiet:?}, then {loaded:?}");
}

/// Five messages a second; the slowest hundredth of their answers.
async fn paced(town: &mut Town, name: &str, count: usize) -> Duration {
    let mut waits = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    for n in 0..count {
        ticks.tick().await;
        let request = posted(&binary(OTHER, &format!("{name}-{n}")), br#"{"n":1}"#);
        let begun = Instant::now();
        id_of(&town.send(&request).await);
        waits.push(begun.elapsed());
    }
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

/// Row 74: tax codes and names wherever a message can hold them, in good days and in bad ones. What is
/// told of it all is searched at the end.
async fn a_life_with_tax_codes(town: &mut Town) {
    refusals(town).await;
    let parked = bad_days(town).await;
    good_days(town).await;
    operators(town, &parked);
}

/// A declaration of people who have the secrets for names.
fn declared(id: &str) -> Value {
    let mut event = palermo::residence(id, SECRETS[0]);
    let person = |tax_code: &str, name: &str| json!({ "taxCode": tax_code, "givenName": name, "familyName": SECRETS[3] });
    event["data"]["applicant"] = person(SECRETS[0], SECRETS[4]);
    event["data"]["movers"] =
        json!([person(SECRETS[0], SECRETS[4]), person(SECRETS[1], SECRETS[5])]);
    event
}

/// Every way in which a message that holds them is refused.
async fn refusals(town: &mut Town) {
    let secret = SECRETS[0];
    for secret in SECRETS {
        let bodies = [
            format!(r#"{{"n":"{secret}","text":5,"taxCode":"{secret}X","{secret}":1}}"#),
            format!(r#"{{"n":1,"any":{{"{secret}":{{"{secret}":tru}}}}}}"#),
            format!(r#"{{"n":1,"any":{{"{secret}":1,"{secret}":2}}}}"#),
            format!(r#"{{"n":1,"slow":"{secret}"}}"#),
            format!(r#"{{"n":1,"any":"{secret}\u0000"}}"#),
            format!(r#""{secret}""#),
            secret.to_owned(),
        ];
        for body in bodies {
            let told = town.post(&binary(TOKEN, secret), body.as_bytes()).await;
            assert!(told.status == 400 || told.status == 422, "{}", told.json());
        }
        let wrong = [
            binary(secret, "x"),
            binary(TOKEN, "x").replace(KIND, secret),
            binary(TOKEN, "x").replace("urn:test", &format!("{secret}%0A")),
            binary(TOKEN, "x").replace("application/json", secret),
            binary(TOKEN, "x").replace("1.0", secret),
            binary(TOKEN, "x") + &format!("ce-time: {secret}\r\n"),
            format!("User-Agent: {secret}\r\n"),
        ];
        for headers in wrong {
            let told = town.post(&headers, br#"{"n":1}"#).await;
            assert!(told.status >= 400, "{}", told.json());
        }
        for path in [
            format!("/{secret}"),
            format!("/v1/messages/{secret}"),
            format!("/v1/messages?source={secret}&id={secret}"),
            format!("/problems/{secret}"),
        ] {
            let told = town.get(&path, TOKEN).await;
            assert_eq!(told.status, 404, "{}", told.json());
        }
    }
    let mut event = declared(secret);
    event["data"]["applicant"]["taxCode"] = json!("RSSMRA80A01G273X");
    event["data"]["newAddress"][secret] = json!(secret);
    let told = town.send(&post_message(SPORTELLO_TOKEN, &event)).await;
    town.assert_refused("74: a declaration with mistakes", &told, 422, "SN0605");
    assert_eq!(told.json()["errors"].as_array().map(Vec::len), Some(2), "{}", told.json());
    let told = town.send(&post_message(REGION_TOKEN, &declared("not-mine"))).await;
    town.assert_refused("74: a type that is not the sender's", &told, 403, "SN0612");
}

/// The far side answers with what it was told; an expression meets what it did not expect.
async fn bad_days(town: &mut Town) -> Vec<String> {
    let echo = |status| {
        let body = json!({ "title": SECRETS.join(" "), "detail": SECRETS[0], "code": SECRETS[1] });
        Behaviour::Answer {
            status,
            headers: vec![
                ("content-type", "application/problem+json".to_owned()),
                ("location", format!("/{}", SECRETS[0])),
                ("x-echo", SECRETS[1].to_owned()),
            ],
            body: body.to_string(),
        }
    };
    let mut ids = Vec::new();
    for (number, status) in [422, 409, 404, 401, 302, 500].into_iter().enumerate() {
        town.region.script().always(echo(status));
        let event = declared(&format!("bad-{number}"));
        ids.push(id_of(&town.send(&post_message(SPORTELLO_TOKEN, &event)).await));
        comes_to(town, &ids[number], SPORTELLO_TOKEN, &["completed", "parked"]).await;
    }
    town.region.script().always(Behaviour::Normal);
    for secret in SECRETS {
        let headers =
            binary(TOKEN, &format!("broken-{}", ids.len())).replace(KIND, "test.broken.v1");
        let body = json!({ "any": secret }).to_string();
        let id = id_of(&town.post(&headers, body.as_bytes()).await);
        comes_to(town, &id, TOKEN, &["parked"]).await;
        ids.push(id);
    }
    ids
}

async fn good_days(town: &mut Town) {
    for number in 0..5 {
        let event = declared(&format!("good-{number}"));
        let id = id_of(&town.send(&post_message(SPORTELLO_TOKEN, &event)).await);
        comes_to(town, &id, SPORTELLO_TOKEN, &["completed", "completed"]).await;
        let body = json!({ "n": 1, "text": SECRETS.join(" "), "taxCode": SECRETS[number % 3] });
        let id = id_of(&town.send(&message(&format!("good-{number}"), &body.to_string())).await);
        comes_to(town, &id, TOKEN, &["completed", "completed"]).await;
    }
    let mut event = palermo::vehicle_tax("tax");
    event["data"]["ownerTaxCode"] = json!(SECRETS[1]);
    let id = id_of(&town.send(&post_message(REGION_TOKEN, &event)).await);
    comes_to(town, &id, REGION_TOKEN, &["completed", "completed"]).await;
}

/// All that operators are shown, and all that they do.
fn operators(town: &mut Town, ids: &[String]) {
    for id in ids {
        for command in [["trace", id].as_slice(), &["ledger", "prove", id]] {
            let (code, told) = town.snodo(&[command, &["--json"]].concat());
            assert_eq!(code, 0, "{told}");
            town.snodo(command);
        }
    }
    for command in [
        ["ledger", "verify"].as_slice(),
        &["ledger", "stats"],
        &["instances", "list"],
        &["parked", "list"],
        &["uncertain", "list"],
        &["topology", "plan"],
    ] {
        town.snodo(command);
    }
    let (code, told) = town.snodo(&["parked", "list", "--json"]);
    let rows = told["deliveries"].as_array().cloned().unwrap_or_default();
    assert_eq!((code, rows.len()), (0, ids.len()), "{told}");
    for (number, row) in rows.iter().enumerate() {
        let id = row["id"].as_str().expect("an id");
        town.snodo(&["parked", "show", id]);
        town.snodo(&["parked", "show", id, "--json"]);
        let act = if number % 2 == 0 { "replay" } else { "discard" };
        let (code, told) = town.snodo(&["parked", act, id, "--reason", "a test", "--json"]);
        assert_eq!(code, 0, "{told}");
    }
    town.snodo(&["ledger", "verify", "--json"]);
}

/// Row 79: a hundred thousand distinct values, and not one series more.
async fn no_input_makes_a_series(town: &mut Town) {
    const EACH: usize = 25_000;
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let before = series(&town.metrics().await);
    let mut senders = JoinSet::new();
    for sender in 0..4 {
        let address = town.address();
        senders.spawn(async move {
            let mut client = Client::new(address);
            for n in (sender..EACH).step_by(4) {
                let request = format!(
                    "GET /path-{n} HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer token-{n}\r\n\
                     Content-Type: type/{n}\r\nUser-Agent: agent-{n}\r\n\r\n"
                );
                let answer = client.send(request.as_bytes()).await.expect("an answer");
                assert_eq!(answer.status, 404);
            }
        });
    }
    senders.join_all().await;
    for n in 0..100 {
        let headers = binary(&format!("party-{n}"), &format!("id-{n}"));
        assert_eq!(town.post(&headers, br#"{"n":1}"#).await.status, 401);
    }
    let text = town.metrics().await;
    assert_eq!(series(&text), before, "{text}");
}

impl Town {
    /// Runs a command of `snodo`; its exit code and, where it is JSON, what it said.
    pub(super) fn snodo(&mut self, arguments: &[&str]) -> (i32, Value) {
        let output = Command::new(binaries().expect("built").join("snodo"))
            .args(arguments)
            .current_dir(&self.house.path)
            .env_remove("SNODO_ENV")
            .stdin(Stdio::null())
            .output()
            .expect("started");
        let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
        for said in [output.stdout, output.stderr] {
            self.answers.push(String::from_utf8_lossy(&said).into_owned());
        }
        (output.status.code().unwrap_or(-1), told)
    }

    /// Waits for so many messages in a party's queue and takes them out.
    async fn inbox(&self, vhost: &str, count: usize) -> Vec<Value> {
        let folder = self.house.path.join("data/broker");
        let identity = std::fs::read(folder.join("identity.json")).expect("the bus's own node");
        let identity: Value = serde_json::from_slice(&identity).expect("JSON");
        let word = |key: &str| identity[key].as_str().expect("text").to_owned();
        let address = format!("127.0.0.1:{}", identity["amqp"]);
        let uri = format!("amqp://{}:{}@{address}/{vhost}", word("user"), word("password"));
        let connection = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default());
        let connection = connection.await.expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        let begun = Instant::now();
        let mut bodies = Vec::new();
        while bodies.len() < count {
            let options = lapin::options::BasicGetOptions { no_ack: true };
            match channel.basic_get("inbox".into(), options).await.expect("readable") {
                Some(got) => bodies.push(serde_json::from_slice(&got.delivery.data).expect("JSON")),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            assert!(begun.elapsed() < PATIENCE, "{} of {count} arrived", bodies.len());
        }
        connection.close(200, "bye".into()).await.expect("closed");
        bodies
    }
}
