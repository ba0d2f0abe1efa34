//! A small house with one party, one target and a bus of its own: what order and reload are tested on.
//!
//! Invariant: a message is two numbers, `key` and `n`; the routes are the test's.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use axum::Router;
use serde_json::{Value, json};
use snodo_core::ids::Digest;
use snodo_tests::{
    bus::{BusProcess, HouseFolder, binaries},
    chaos::figures::Figures,
    client::Client,
};
use tokio::net::TcpListener;

/// The token of the party.
pub(crate) const TOKEN: &str = "workshop-driver";

/// Writes a house whose party sends these types (`works.<word>.v1`) and whose target has the operations
/// `put` and `also`. Its routes are still to be written.
pub(crate) fn house(
    folder: &Path,
    broker: &Value,
    target: SocketAddr,
    words: &[&str],
) -> HouseFolder {
    let house = HouseFolder::new(folder).expect("a house");
    let operation = |path: &str| {
        json!({ "method": "POST", "path": path, "input": "works/call.v1", "effect": "idempotent",
                "deadline": "20s" })
    };
    let settings = json!({
        "instance": { "slot": "a" },
        "data": house.path.join("data"),
        "ledger": { "sqlite": "ledger.db" },
        "broker": broker,
        "http": { "listen": house.http.to_string() },
        "metrics": { "listen": house.metrics.to_string() },
        "limits": { "waiting_per_route": 100_000 },
        "adapters": { "target": {
            "kind": "http",
            "base": format!("http://{target}"),
            "operations": { "put": operation("/put"), "also": operation("/also") },
        } },
    });
    write(&house, "config/snodo.yaml", &settings.to_string());
    party(&house, "driver", TOKEN, words);
    let purpose = json!({
        "purpose": "works", "title": "Tests", "laws": [], "retention": "30d", "record": "none",
    });
    write(&house, "routes/purposes/works.yaml", &purpose.to_string());
    for word in words {
        schema(&house, word);
    }
    let call = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
        "required": ["key", "n"], "additionalProperties": false,
        "properties": {
            "key": { "type": "integer" }, "n": { "type": "integer" }, "text": { "type": "string" },
        },
    });
    write(&house, "schemas/works/call.v1.json", &call.to_string());
    house
}

/// Serves a target on a free port, as long as the test runs.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Writes a file of the house.
pub(crate) fn write(house: &HouseFolder, file: &str, text: &str) {
    house.write(file, text).expect("written");
}

/// Writes a party that sends these types.
pub(crate) fn party(house: &HouseFolder, name: &str, token: &str, words: &[&str]) {
    let sends: Vec<_> = words.iter().map(|word| format!("works.{word}.v1")).collect();
    let party = json!({
        "party": name, "title": "A party", "sends": sends,
        "token": { "sha256": Digest::of(token.as_bytes()).to_string() },
        "limits": { "rate": "100000/s" },
    });
    write(house, &format!("config/parties/{name}.yaml"), &party.to_string());
}

/// Writes the schema of a type.
pub(crate) fn schema(house: &HouseFolder, word: &str) {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object", "required": ["key", "n"], "additionalProperties": false,
        "properties": { "key": { "type": "integer" }, "n": { "type": "integer" } },
    });
    write(house, &format!("schemas/works/{word}.v1.json"), &schema.to_string());
}

/// A route from its name and what comes after its head.
pub(crate) fn route(name: &str, rest: &str) -> String {
    format!(
        "route: {name}\ntitle: A route\noffice: tests\nfrom: works.{name}.v1\npurpose: works\n\
         actor: system\n{rest}retry: {{ first: 50ms, longest: 500ms, give_up_after: 1h }}\n"
    )
}

/// The message with this number.
pub(crate) fn event(word: &str, key: u64, n: u64) -> Value {
    json!({
        "specversion": "1.0", "id": n.to_string(), "source": "/driver",
        "type": format!("works.{word}.v1"), "datacontenttype": "application/json",
        "data": { "key": key, "n": n },
    })
}

/// Runs a command of `snodo` in the house.
pub(crate) fn command(house: &HouseFolder, arguments: &[&str]) -> Output {
    Command::new(binaries().expect("built").join("snodo"))
        .args(arguments)
        .current_dir(&house.path)
        .env_remove("SNODO_ENV")
        .output()
        .expect("started")
}

/// The same where it must succeed; what it said.
pub(crate) fn snodo(house: &HouseFolder, arguments: &[&str]) -> String {
    let output = command(house, arguments);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// Starts a bus and waits until it is ready.
pub(crate) async fn start(house: &HouseFolder) -> BusProcess {
    let mut bus = BusProcess::spawn(house, &[]).expect("started");
    bus.ready(Duration::from_mins(1)).await.expect("ready");
    bus
}

/// What the bus shows of itself.
pub(crate) async fn figures(house: &HouseFolder) -> Option<Figures> {
    Client::new(house.metrics).figures().await.ok()
}
