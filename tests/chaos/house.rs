//! The house of the chaos runs: four routes, one per kind of effect, and what they transform.
//!
//! Invariant: the reference transform is written here a second time, in Rust, not asked of the bus.

use std::{io, net::SocketAddr};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use snodo_tests::bus::HouseFolder;

/// The kinds of effect, each with its type and route.
pub const KINDS: [&str; 4] = ["register", "idempotent", "recallable", "once"];
/// The driver's `source`.
pub const SOURCE: &str = "/driver";
/// The driver's token; the house holds its digest.
pub const TOKEN: &str = "chaos-driver";

/// The text of message `number`, as the driver writes it.
pub fn text_of(number: u64) -> String {
    format!("pratica {number}")
}

/// What the far side must get of message `number`.
pub fn expected_call(number: u64) -> Value {
    json!({ "n": number, "subject": format!("Registrazione di pratica {number}"), "doubled": number * 2 })
}

/// Where ledger and broker of a house are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The `ledger:` value of the configuration.
    pub ledger: Value,
    /// The `broker:` value of the configuration.
    pub broker: Value,
    /// Where the far sides listen.
    pub target: SocketAddr,
}

/// Writes the whole house.
pub fn write(house: &HouseFolder, places: &Places) -> io::Result<()> {
    house.write("config/snodo.yaml", &settings(house, places).to_string())?;
    house.write("config/parties/driver.yaml", &driver().to_string())?;
    house.write("routes/purposes/chaos.yaml", &purpose().to_string())?;
    house.write("routes/laws.yaml", "laws: []\n")?;
    let object = |properties: Value| {
        let required: Vec<&String> = properties.as_object().into_iter().flatten().map(|(k, _)| k).collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "required": required, "properties": properties, "additionalProperties": false
        })
    };
    let message = object(json!({ "n": { "type": "integer" }, "text": { "type": "string" } }));
    for kind in KINDS {
        house.write(&format!("schemas/chaos/{kind}.v1.json"), &message.to_string())?;
    }
    let call = object(json!({
        "n": { "type": "integer" }, "subject": { "type": "string" }, "doubled": { "type": "integer" }
    }));
    house.write("schemas/chaos/call.v1.json", &call.to_string())?;
    house.write("routes/register.yaml", REGISTER)?;
    for kind in &KINDS[1..] {
        house.write(&format!("routes/{kind}.yaml"), &CALL.replace("KIND", kind))?;
    }
    Ok(())
}

const REGISTER: &str = "\
route: register
title: Registers a chaos message
office: tests
from: chaos.register.v1
purpose: chaos
actor: system
steps:
  - register:
      use: protocollo.register
      with:
        direction: incoming
        subject: Registrazione di ${ .text }
        sender: { name: \"${ .text }\" }
retry: { first: 100ms, longest: 2s, give_up_after: 1h }
";

const CALL: &str = "\
route: KIND
title: Calls a target whose effect is KIND
office: tests
from: chaos.KIND.v1
purpose: chaos
actor: system
steps:
  - call:
      use: target.KIND
      with:
        n: ${ .n }
        subject: Registrazione di ${ .text }
        doubled: ${ .n * 2 }
retry: { first: 100ms, longest: 2s, give_up_after: 1h }
";

fn settings(house: &HouseFolder, places: &Places) -> Value {
    let operation = |path: &str, effect: Value| {
        json!({ "method": "POST", "path": path, "input": "chaos/call.v1", "effect": effect,
                "deadline": "5s", "settles_within": "2s" })
    };
    json!({
        "instance": { "slot": "a" },
        "data": house.path.join("data"),
        "ledger": places.ledger,
        "broker": places.broker,
        "http": { "listen": house.http.to_string() },
        "metrics": { "listen": house.metrics.to_string() },
        "adapters": {
            "protocollo": { "kind": "protocollo", "aoo": "c_g273" },
            "target": {
                "kind": "http",
                "base": format!("http://{}", places.target),
                "operations": {
                    "idempotent": operation("/idempotent", json!("idempotent")),
                    "recallable": operation("/recallable", json!({ "recallable": "find" })),
                    "find": { "method": "GET", "path": "/recallable/{key}", "input": "chaos/call.v1",
                              "effect": "idempotent", "deadline": "5s" },
                    "once": operation("/once", json!("once")),
                },
            },
        },
    })
}

fn driver() -> Value {
    let sends: Vec<String> = KINDS.iter().map(|kind| format!("chaos.{kind}.v1")).collect();
    let digest = Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({ "party": "driver", "title": "The driver", "token": { "sha256": digest }, "sends": sends })
}

fn purpose() -> Value {
    json!({ "purpose": "chaos", "title": "Tests", "laws": [], "retention": "30d", "record": "none" })
}
