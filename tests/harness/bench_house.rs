//! The house of the benchmark: one route that only maps and emits, one with a registration.
//!
//! Invariant: the message is 1 KiB; the mapping has six fields, one interpolation and one expression
//! that is not native.

use std::{error::Error, fs, path::Path, process::Command};

use crate::{
    bus::{HouseFolder, binaries},
    node,
    palermo::set_line,
    postgres,
};
use serde_json::{Value, json};
use snodo::broker::node::PrivateNode;
use snodo_core::ids::Digest;

type Failure = Box<dyn Error + Send + Sync>;

/// The token of the sender.
pub const TOKEN: &str = "bench-sender";

const SETTINGS: &str = "\
instance: { slot: a }
data: DATA
ledger: LEDGER
broker: { private: true }
http: { listen: HTTP }
metrics: { listen: METRICS }
limits: { waiting_per_route: 10000000 }
adapters:
  protocollo: { kind: protocollo, aoo: c_g273 }
";
const FAST: &str = "\
route: fast
title: Maps and emits
office: bench
from: bench.fast.v1
purpose: bench
actor: system
steps:
  - forward:
      emit: bench.forwarded.v1
      with:
        number: ${ .number }
        office: ${ .office }
        taxpayer: ${ .owner.taxCode }
        subject: Practice ${ .number } of ${ .office }
        instalments: ${ if .amount > 20000 then 2 else 1 end }
        note: ${ .note }
";
const REGISTER: &str = "\
route: register
title: Registers
office: bench
from: bench.register.v1
purpose: bench
actor: system
steps:
  - register:
      use: protocollo.register
      with:
        direction: incoming
        subject: Practice ${ .number } of ${ .office }
        sender: { name: \"${ .owner.taxCode }\" }
";
const ORDER: &str = "\
route: order
title: Keeps the order of five hundred keys
office: bench
from: bench.order.v1
purpose: bench
actor: system
order_by: ${ .number % 500 }
shards: 4
steps:
  - register:
      use: protocollo.register
      with:
        direction: incoming
        subject: Practice ${ .number } of ${ .office }
        sender: { name: \"${ .owner.taxCode }\" }
";
const SENDER: &str = "\
party: sender
title: The sender
token: { sha256: DIGEST }
sends: [bench.fast.v1, bench.register.v1]
";
const SINK: &str = "\
party: sink
title: The sink
token: { sha256: DIGEST }
receives: [{ type: bench.forwarded.v1, all: true, law: bench }]
queue: { vhost: sink, name: inbox }
";

/// Writes the house into `folder`.
pub fn write(folder: &Path, on_postgres: bool) -> Result<HouseFolder, Failure> {
    fs::create_dir_all(folder)?;
    let house = HouseFolder::new(&folder.canonicalize()?)?;
    let ledger =
        if on_postgres { postgres_ledger(&house)? } else { "{ sqlite: ledger.db }".to_owned() };
    let settings = SETTINGS
        .replace("DATA", &house.path.join("data").display().to_string())
        .replace("LEDGER", &ledger)
        .replace("HTTP", &house.http.to_string())
        .replace("METRICS", &house.metrics.to_string());
    house.write("config/snodo.yaml", &settings)?;
    house.write("config/parties/sender.yaml", &SENDER.replace("DIGEST", &digest(TOKEN)))?;
    house.write("config/parties/sink.yaml", &SINK.replace("DIGEST", &digest("bench-sink")))?;
    house.write("routes/fast.yaml", FAST)?;
    house.write("routes/register.yaml", REGISTER)?;
    house.write("routes/laws.yaml", "bench:\n  title: Bench\n  url: https://bench.example/\n")?;
    house.write(
        "routes/purposes/bench.yaml",
        "purpose: bench\ntitle: Bench\nlaws: [bench]\nrecord: bench\nretention: 30d\n",
    )?;
    for (kind, document) in schemas() {
        house.write(&format!("schemas/bench/{kind}.v1.json"), &document.to_string())?;
    }
    Ok(house)
}

/// Adds the route `order` to a house.
pub fn add_order(house: &HouseFolder) -> Result<(), Failure> {
    house.write("routes/order.yaml", ORDER)?;
    let register = fs::read_to_string(house.path.join("schemas/bench/register.v1.json"))?;
    house.write("schemas/bench/order.v1.json", &register)?;
    send_also(house, "bench.order.v1")
}

/// Lets the sender send one more type.
pub fn send_also(house: &HouseFolder, kind: &str) -> Result<(), Failure> {
    let sends = format!("[bench.fast.v1, bench.register.v1, {kind}]");
    Ok(set_line(house, "config/parties/sender.yaml", "sends:", &sends)?)
}

/// Has the house use a node that is not its own, and declares what it needs there.
pub fn use_node(house: &HouseFolder, node: &PrivateNode) -> Result<(), Failure> {
    let broker = node::settings(node, &house.path)?;
    set_line(house, "config/snodo.yaml", "broker:", &broker.to_string())?;
    apply_topology(house)
}

/// Has `snodo topology apply` declare what the house needs.
pub fn apply_topology(house: &HouseFolder) -> Result<(), Failure> {
    let applied = Command::new(binaries()?.join("snodo"))
        .args(["topology", "apply"])
        .current_dir(&house.path)
        .output()?;
    if applied.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&applied.stderr).into_owned().into())
}

fn digest(token: &str) -> String {
    Digest::of(token.as_bytes()).to_string()
}

fn postgres_ledger(house: &HouseFolder) -> Result<String, Failure> {
    let url = postgres::server().ok_or("PostgreSQL is not installed")?.database();
    let settings = postgres::settings(&url, &house.path).ok_or("another kind of URL")?;
    Ok(json!({ "postgres": settings }).to_string())
}

fn schemas() -> [(&'static str, Value); 3] {
    let text = json!({ "type": "string", "maxLength": 2000 });
    let office = json!({ "type": "string", "maxLength": 200 });
    let object = |properties: Value| {
        let required: Vec<&String> =
            properties.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "required": required, "properties": properties, "additionalProperties": false })
    };
    let owner = json!({ "type": "object", "required": ["taxCode"], "additionalProperties": false,
                        "properties": { "taxCode": { "type": "string", "format": "codice-fiscale" } } });
    let input = object(json!({ "number": { "type": "integer" }, "office": office, "owner": owner,
                               "amount": { "type": "integer" }, "note": text }));
    let output = object(json!({ "number": { "type": "integer" }, "office": text,
                                "taxpayer": { "type": "string", "format": "codice-fiscale" },
                                "subject": text, "instalments": { "type": "integer" }, "note": text }));
    [("fast", input.clone()), ("register", input), ("forwarded", output)]
}

/// The data of message `number`, about 1 KiB.
pub fn data_of(number: u64) -> Value {
    json!({ "number": number, "office": "ufficio tributi", "owner": { "taxCode": "RSSMRA80A01G273Z" },
            "amount": 25_840, "note": "x".repeat(880) })
}

/// The same as bytes.
pub fn body_of(number: u64) -> Vec<u8> {
    data_of(number).to_string().into_bytes()
}

/// A whole CloudEvent of message `number` for route `kind`.
pub fn event_of(kind: &str, number: u64) -> Value {
    json!({ "specversion": "1.0", "id": number.to_string(), "source": "/bench",
            "type": format!("bench.{kind}.v1"), "datacontenttype": "application/json",
            "data": data_of(number) })
}
