//! The bus as those see it who run it: what is kept how long, doctor, top, totals, environments, the log.
//!
//! Invariant: what a command says is asked of the `snodo` binary, as people and scripts ask it.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{Json, Router, http::StatusCode, routing::post};
use serde_json::{Value, json};
use snodo::engine::retention::Retention;
use snodo_tests::{
    bus::{BusProcess, HouseFolder, binaries},
    client::{Client, get, post_message},
    wait::eventually,
};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::{
    stage::Stage,
    workshop::{TOKEN, command, event, figures, house, route, serve, write},
};

const DAY: Duration = Duration::from_hours(24);

const KEPT: &str = "route: kept\ntitle: t\noffice: o\nfrom: test.thing.v1\npurpose: test\n\
    actor: system\nsteps:\n  - on: { emit: test.done.v1, with: { n: \"${ .n }\" } }\n";
const LONGER: &str = "route: longer\ntitle: t\noffice: o\nfrom: test.long.v1\npurpose: long\n\
    actor: system\nsteps:\n  - on: { emit: test.done.v1, with: { n: \"${ .n }\" } }\n";
const LONG: &str = "purpose: long\ntitle: Long\nlaws: [a-law]\nretention: 90d\nrecord: Tests\n";
const THING: &str = r#"{ "type": "object", "additionalProperties": false, "required": ["n"],
    "properties": { "n": { "type": "integer" } } }"#;
const DONE: &str = r#"{ "x-unclaimed": "discard", "type": "object", "additionalProperties": false,
    "properties": { "n": { "type": "integer" } } }"#;

/// How many messages have a body.
async fn bodies(stage: &Stage, route: &str) -> usize {
    let mut bodies = 0;
    for row in stage.rows(route).await {
        let message = stage.ledger.message(row.message).await.expect("read");
        bodies += usize::from(message.is_some());
    }
    bodies
}

#[tokio::test]
async fn bodies_go_as_their_purpose_says_in_turns_and_what_waits_for_a_person_stays() {
    let files = [
        ("routes/kept.yaml", KEPT),
        ("routes/longer.yaml", LONGER),
        ("routes/purposes/long.yaml", LONG),
        ("schemas/test/thing.v1.json", THING),
        ("schemas/test/long.v1.json", THING),
        ("schemas/test/done.v1.json", DONE),
    ];
    let stage = Stage::new(&files).await;
    let engine = stage.start().await;
    for n in 0..300 {
        stage.send(&engine, "test.thing.v1", &json!({ "n": n }), None).await;
    }
    stage.send(&engine, "test.long.v1", &json!({ "n": 1 }), None).await;
    stage.carry(&engine, "longer").await;
    stage.carry(&engine, "kept").await;
    // One more, that nobody carries.
    stage.send(&engine, "test.thing.v1", &json!({ "n": 300 }), None).await;

    let mut retention = Retention::new(engine, DAY * 30, DAY * 400);
    assert_eq!(retention.step().await.expect("a turn"), 0, "all of it is young");
    stage.pass(31 * 24 * 60);
    let mut turns = 0;
    while retention.step().await.expect("a turn") > 0 {
        turns += 1;
        assert!(turns < 20, "it comes to an end");
    }
    assert!(turns > 2, "300 messages and what they emitted are no single turn: {turns}");
    assert_eq!(bodies(&stage, "kept").await, 1, "the one that is owed");
    assert_eq!(bodies(&stage, "longer").await, 1, "its purpose keeps it for 90 days");
    assert_eq!(stage.rows("kept").await.len(), 301, "who was owed what is still known");
    stage.pass(60 * 24 * 60);
    while retention.step().await.expect("a turn") > 0 {}
    assert_eq!(bodies(&stage, "longer").await, 0);
    stage.pass(400 * 24 * 60);
    while retention.step().await.expect("a turn") > 0 {}
    // A message whose derived one went today is looked at again tomorrow.
    stage.pass(2 * 24 * 60);
    while retention.step().await.expect("a turn") > 0 {}
    assert_eq!(stage.rows("kept").await.len(), 1);
    assert_eq!(retention.behind().await.expect("read"), Duration::ZERO);
    assert_eq!(stage.ledger.compare().await.expect("read").differences, []);
    assert_eq!(stage.ledger.broken_invariants().await.expect("read"), Vec::<String>::new());
}

// --- environments -----------------------------------------------------------------------------------

const MAIN: &str = "data: data\nledger: { sqlite: ledger.db }\nbroker: { private: true }\n";
const FAR: &str = "adapters:\n  far:\n    kind: http\n    base: https://servizi.regione.it/x\n    \
    auth: { bearer: { file: KEY, for: test } }\n    operations: { put: { method: POST, path: /x, input: test/call.v1, effect: idempotent } }\n";

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, HouseFolder) {
    let folder = tempfile::tempdir().expect("a folder");
    let house = HouseFolder::new(folder.path()).expect("a house");
    let key = folder.path().join("key");
    fs::write(&key, "hunter2").expect("written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).expect("set");
    write(&house, "schemas/test/call.v1.json", THING);
    for (file, text) in files {
        write(&house, file, &text.replace("KEY", &key.display().to_string()));
    }
    (folder, house)
}

/// The codes with their places that a check says.
fn checked(house: &HouseFolder, arguments: &[&str]) -> (i32, Vec<String>) {
    let output = command(house, &[&["check", "--json"], arguments].concat());
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let word = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let line = |one: &Value| format!("{} {}:{}", word(one, "code"), word(one, "path"), one["line"]);
    let lines = said.as_array().into_iter().flatten().map(line).collect();
    (output.status.code().unwrap_or(-1), lines)
}

#[test]
fn every_environment_is_checked_and_each_mistake_has_its_place_in_the_file_at_fault() {
    let (_folder, house) = folder(&[
        ("config/snodo.yaml", &(MAIN.to_owned() + FAR)),
        ("config/env/production.yaml", "environment: { kind: production }\n"),
        (
            "config/env/test.yaml",
            "environment: { kind: test }\n\
             adapters: { far: { base: \"https://servizi-collaudo.regione.it/x\" } }\n",
        ),
        ("config/env/trial.yaml", "environment: { kind: test }\nlimts: { body: 1MiB }\n"),
        (
            "config/env/leaky.yaml",
            "adapters:\n  far:\n    base: https://far.uat.regione.it\n    \
             auth: { bearer: { for: production } }\n",
        ),
    ]);
    let key_at_fault = "SN0455 config/snodo.yaml:8".to_owned();
    assert_eq!(checked(&house, &[]), (2, vec![key_at_fault.clone()]));
    assert_eq!(checked(&house, &["--env", "test"]), (0, vec![]));
    let mut expected = [
        "SN0455 config/snodo.yaml:8",
        "SN0442 config/env/trial.yaml:2",
        "SN0456 config/env/leaky.yaml:4",
        "SN0457 config/snodo.yaml:7",
    ];
    expected.sort_unstable();
    let (code, mut said) = checked(&house, &["--env", "all"]);
    said.sort();
    assert_eq!((code, said), (2, expected.iter().map(|one| (*one).to_owned()).collect()));
    // What an environment says for itself is at fault itself.
    write(
        &house,
        "config/env/production.yaml",
        "environment: { kind: production }\nadapters:\n  far:\n    base: https://far.test\n    \
         auth: { bearer: { for: test } }\n",
    );
    let expected = vec!["SN0457 config/env/production.yaml:4".to_owned()];
    assert_eq!(checked(&house, &["--env", "production"]), (2, expected));
}

#[test]
fn a_secret_that_is_missing_or_open_to_others_is_said_with_its_place() {
    let far = FAR.replace("servizi", "servizi-test");
    let (folder, house) = folder(&[("config/snodo.yaml", &(MAIN.to_owned() + &far))]);
    assert_eq!(checked(&house, &[]), (0, vec![]));
    let key = folder.path().join("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("set");
    assert_eq!(checked(&house, &[]), (0, vec!["SN0459 config/snodo.yaml:8".to_owned()]));
    fs::remove_file(&key).expect("removed");
    assert_eq!(checked(&house, &[]), (0, vec!["SN0458 config/snodo.yaml:8".to_owned()]));
    let said = String::from_utf8(command(&house, &["check"]).stdout).expect("text");
    assert!(said.contains("put it there before the bus starts"), "{said}");
    assert!(!said.contains("hunter2"));
}

// --- doctor, top, totals, log -----------------------------------------------------------------------

fn told(house: &HouseFolder, arguments: &[&str]) -> (i32, Value) {
    let output = command(house, &[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    (output.status.code().unwrap_or(-1), told)
}

/// Level and what was looked at, of all that is not fine.
fn findings(told: &Value) -> Vec<(String, String)> {
    let word = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let found = told["findings"].as_array().into_iter().flatten();
    found
        .filter(|one| one["level"] != "fine")
        .inspect(|one| assert!(one["help"].is_string() && one["code"].is_string(), "{one}"))
        .map(|one| (word(one, "code"), word(one, "what")))
        .collect()
}

#[test]
fn doctor_without_a_bus_says_what_to_do() {
    let (_folder, house) = folder(&[("config/snodo.yaml", MAIN)]);
    let (code, found) = told(&house, &["doctor"]);
    assert_eq!((code, findings(&found)), (1, vec![("SN0892".into(), "broker".into())]), "{found}");
    // Nothing was made by looking.
    assert!(!house.path.join("data").exists());
    write(&house, "config/snodo.yaml", "data: data\n");
    let output = command(&house, &["doctor"]);
    assert_eq!(output.status.code(), Some(2));
}

const ENDED: &[u8] = include_bytes!("fixtures/tls/ended.pem");
const LASTING: &[u8] = include_bytes!("fixtures/tls/lasting.pem");
const TLS_KEY: &[u8] = include_bytes!("fixtures/tls/key.pem");

/// Shows this certificate to whoever shakes hands, and says nothing after it: where it listens.
async fn shows(certificate: &[u8]) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_slice(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(TLS_KEY).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_looks_at_every_certificate_before_it_ends() {
    let (ended, lasting) = (shows(ENDED).await.port(), shows(LASTING).await.port());
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr();
    let closed = closed.expect("an address").port();
    let mut adapters = String::from("adapters:\n");
    for (name, port) in [("ended", ended), ("lasting", lasting), ("closed", closed)] {
        adapters += &format!(
            "  {name}:\n    kind: http\n    base: https://localhost:{port}\n    operations:\n      \
             look: {{ method: GET, path: /look, input: test/call.v1 }}\n"
        );
    }
    let (_folder, house) = folder(&[("config/snodo.yaml", &format!("{MAIN}{adapters}"))]);
    let (code, found) = told(&house, &["doctor"]);
    let mut certificates = findings(&found);
    certificates.retain(|(code, _)| code == "SN0894");
    let of = |port: u16| ("SN0894".to_owned(), format!("certificate of localhost:{port}"));
    let mut expected = vec![of(ended), of(closed)];
    expected.sort();
    certificates.sort();
    assert_eq!((code, certificates), (1, expected), "{found}");
    let seen = found.to_string();
    assert!(seen.contains("it ended at 2021-01-01T00:00:00"), "{seen}");
    assert!(seen.contains("until 2120-01-01T00:00:00"), "{seen}");
    // Neither is trusted by anybody: calls of the bus go to none of them.
    let refused = findings(&found).into_iter().filter(|(code, _)| code == "SN0893").count();
    assert_eq!(refused, 3, "{seen}");
}

/// Two threads: the target answers while a command is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_bus_is_looked_at_as_a_whole() {
    let refuse = async || (StatusCode::CONFLICT, Json(json!({ "reason": "no" })));
    let target =
        serve(Router::new().route("/put", post(refuse)).route("/also", post(refuse))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let house = house(folder.path(), &json!({ "private": true }), target, &["thing"]);
    let put = "steps:\n  - put:\n      use: target.put\n      with: { key: \"${ .key }\", n: \"${ .n }\" }\n";
    write(&house, "routes/thing.yaml", &route("thing", put));
    // It starts a broker of its own.
    let mut bus = BusProcess::spawn(&house, &[]).expect("started");
    // Messages are taken into custody long before the broker is there.
    let first = post_message(TOKEN, &event("thing", 0, 0));
    eventually("a first 202", Duration::from_mins(1), || async {
        let answer = Client::new(house.http).send(&first).await;
        answer.is_ok_and(|answer| answer.status == 202).then_some(())
    })
    .await;
    let mut client = Client::new(house.http);
    let status = client.send(&get("/status", "")).await.expect("answered").json();
    assert_eq!(status["ready"], true, "{status}");
    for away in ["broker", "topology"] {
        assert_eq!(status["components"][away]["ready"], false, "{status}");
    }
    bus.ready(Duration::from_mins(3)).await.expect("ready");
    for n in 1..10 {
        let event = event("thing", n, n);
        let answer = client.send(&post_message(TOKEN, &event)).await.expect("answered");
        assert_eq!(answer.status, 202);
    }
    eventually("ten are parked", Duration::from_mins(1), || async {
        let parked = told(&house, &["top"]).1["routes"][0]["parked"] == 10;
        parked.then_some(())
    })
    .await;

    let (code, found) = told(&house, &["doctor", "--thorough"]);
    assert_eq!((code, findings(&found)), (0, vec![]), "{found}");
    let seen = found.to_string();
    for what in ["RabbitMQ ", "SQLite ", "as planned", "clock of the broker", "target target"] {
        assert!(seen.contains(what), "{what}: {seen}");
    }

    // Where no terminal is: one look, and an end.
    let output = Command::new(binaries().expect("built").join("snodo"))
        .arg("top")
        .current_dir(&house.path)
        .stdin(Stdio::null())
        .output()
        .expect("started");
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && !shown.contains('\u{1b}'), "{shown}");
    assert!(shown.lines().any(|line| line.contains(" 10 ") && line.ends_with("thing")), "{shown}");

    eventually("totals and rows are compared", Duration::from_mins(1), || async {
        let figures = figures(&house).await?;
        (figures.sum("snodo_totals_agreed_timestamp_seconds", &[]) > 0).then_some(())
    })
    .await;
    let (code, stats) = told(&house, &["ledger", "stats"]);
    assert_eq!((code, &stats["totals"]["differences"]), (0, &json!([])), "{stats}");
    assert!(stats["totals"]["agreedAt"].is_string(), "{stats}");

    assert!(bus.terminate().await.expect("it ends").success());
    the_log_is_a_list_of_facts(&fs::read_to_string(house.path.join("bus.log")).expect("a log"));
}

/// A JSON object per line; ten times the same is one line, with its code and ids.
fn the_log_is_a_list_of_facts(log: &str) {
    let mut waits = Vec::new();
    for line in log.lines() {
        let fact: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(fact["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')), "{line}");
        assert!(fact["level"].is_string() && fact["message"].is_string(), "{line}");
        if fact["message"] == "a delivery waits for a person" {
            waits.push(fact);
        }
    }
    // One a minute, if the machine is that slow.
    assert!((1..4).contains(&waits.len()), "{waits:?}");
    assert_eq!((&waits[0]["route"], &waits[0]["step"]), (&json!("thing"), &json!("put")));
    for field in ["code", "delivery", "message_id"] {
        assert!(waits[0][field].is_string(), "{field}: {}", waits[0]);
    }
}
