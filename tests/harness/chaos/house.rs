//! The house of the chaos runs: four routes, one per kind of effect, a fifth that only passes on, and
//! what they transform.
//!
//! Invariant: the reference transform is written here a second time, in Rust, not asked of the bus.

use std::{collections::BTreeMap, error::Error, io, net::SocketAddr};

use serde_json::{Value, json};
use snodo::broker::{
    management::{Management, segment},
    session::{Endpoint, Secret},
    topology,
};
use snodo_core::{
    ids::Digest,
    topology::{BusNeeds, RouteQueues, plan},
};

use super::target::{Line, digest};
use crate::{bus::HouseFolder, checker::Effect, node::write_secret};

/// The routes, each with its type; `transit` passes its message on to `idempotent`.
pub const ROUTES: [&str; 5] = ["register", "idempotent", "recallable", "once", "transit"];
/// The operations of the target.
const CALLED: [&str; 3] = ["idempotent", "recallable", "once"];
/// How the messages go round: who is killed in a call has most calls to make again one by one where they
/// are idempotent, so those are fewer.
const ROUND: [&str; 8] =
    ["register", "once", "recallable", "transit", "register", "once", "recallable", "idempotent"];
/// The driver's `source`.
pub const SOURCE: &str = "/driver";
/// The driver's token; the house holds its digest.
pub const TOKEN: &str = "chaos-driver";

/// The route that takes message `number`.
pub fn route_of(number: u64) -> &'static str {
    ROUND[usize::try_from(number).unwrap_or(0) % ROUND.len()]
}

/// The operation by which message `number` has its effect.
pub fn operation_of(number: u64) -> &'static str {
    match route_of(number) {
        "transit" => "idempotent",
        other => other,
    }
}

/// The text of message `number`, as the driver writes it.
pub fn text_of(number: u64) -> String {
    format!("pratica {number}")
}

/// The message with this number, as the driver posts it.
pub fn event(number: u64) -> Value {
    json!({
        "specversion": "1.0",
        "id": number.to_string(),
        "source": SOURCE,
        "type": format!("chaos.{}.v1", route_of(number)),
        "datacontenttype": "application/json",
        "data": { "n": number, "text": text_of(number) },
    })
}

/// The subject that message `number` must be registered under.
pub fn expected_subject(number: u64) -> String {
    format!("Registrazione di pratica {number}")
}

/// The digest of what the far side must get of message `number`.
pub fn expected_call(number: u64) -> String {
    digest(&json!({ "n": number, "subject": expected_subject(number), "doubled": number * 2 }))
}

/// What the target applied, as the checker counts it.
pub fn effects_of(lines: &[Line]) -> Vec<Effect> {
    lines
        .iter()
        .filter(|line| line.applied)
        .map(|line| Effect {
            message: line.n,
            operation: line.operation.clone(),
            as_expected: line.digest == expected_call(line.n)
                && line.operation == operation_of(line.n),
        })
        .collect()
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
    let object = |properties: Value| {
        let required: Vec<&String> =
            properties.as_object().into_iter().flatten().map(|(k, _)| k).collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "required": required, "properties": properties, "additionalProperties": false
        })
    };
    let message = object(json!({ "n": { "type": "integer" }, "text": { "type": "string" } }));
    for kind in ROUTES {
        house.write(&format!("schemas/chaos/{kind}.v1.json"), &message.to_string())?;
    }
    let call = object(json!({
        "n": { "type": "integer" }, "subject": { "type": "string" }, "doubled": { "type": "integer" }
    }));
    house.write("schemas/chaos/call.v1.json", &call.to_string())?;
    house.write("routes/register.yaml", REGISTER)?;
    house.write("routes/transit.yaml", TRANSIT)?;
    for kind in CALLED {
        house.write(&format!("routes/{kind}.yaml"), &CALL.replace("KIND", kind))?;
    }
    Ok(())
}

/// Makes the vhost of `endpoint` with the topology of the house; the `broker:` value that names it.
pub async fn broker(
    endpoint: &Endpoint,
    house: &HouseFolder,
) -> Result<Value, Box<dyn Error + Send + Sync>> {
    let bus = BusNeeds {
        vhost: endpoint.vhost.clone(),
        user: endpoint.user.clone(),
        routes: ROUTES.map(RouteQueues::plain).to_vec(),
        max_queue_bytes: 1 << 30,
    };
    grant(endpoint).await?;
    topology::apply(endpoint, &plan(&bus, &[]), &BTreeMap::new()).await?;
    let Secret::Text(password) = &endpoint.password else {
        return Err("a private node has its password as text".into());
    };
    write_secret(&house.path.join("broker.password"), password)?;
    let node = endpoint.nodes.first().ok_or("a private node has one address")?;
    let uri = node.replacen("amqp://", &format!("amqp://{}@", endpoint.user), 1);
    Ok(json!({
        "uris": [format!("{uri}/{}", endpoint.vhost)],
        "password": { "file": house.path.join("broker.password") },
        "management": endpoint.management,
    }))
}

/// The vhost, and all rights in it.
async fn grant(endpoint: &Endpoint) -> Result<(), Box<dyn Error + Send + Sync>> {
    let management = Management::of(endpoint)?;
    let vhost = segment(&endpoint.vhost);
    let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    management.put(&format!("/api/vhosts/{vhost}"), &json!({})).await?;
    let user = segment(&endpoint.user);
    Ok(management.put(&format!("/api/permissions/{vhost}/{user}"), &all).await?)
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

const TRANSIT: &str = "\
route: transit
title: Passes a chaos message on
office: tests
from: chaos.transit.v1
purpose: chaos
actor: system
steps:
  - pass:
      emit: chaos.idempotent.v1
      with:
        n: ${ .n }
        text: ${ .text }
retry: { first: 100ms, longest: 2s, give_up_after: 1h }
";

fn settings(house: &HouseFolder, places: &Places) -> Value {
    let operation = |path: &str, effect: Value| {
        json!({ "method": "POST", "path": path, "input": "chaos/call.v1", "effect": effect,
                "deadline": "2s", "settles_within": "2s" })
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
                // Each delivery is to meet its own faults, however many meet them at once.
                "limits": { "breaker": false },
                "operations": {
                    "idempotent": operation("/idempotent", json!("idempotent")),
                    "recallable": operation("/recallable", json!({ "recallable": "find" })),
                    "find": { "method": "GET", "path": "/recallable/{key}", "deadline": "2s" },
                    "once": operation("/once", json!("once")),
                },
            },
        },
    })
}

fn driver() -> Value {
    let sends: Vec<String> = ROUTES.iter().map(|kind| format!("chaos.{kind}.v1")).collect();
    let digest = Digest::of(TOKEN.as_bytes()).to_string();
    json!({ "party": "driver", "title": "The driver", "token": { "sha256": digest }, "sends": sends })
}

fn purpose() -> Value {
    json!({ "purpose": "chaos", "title": "Tests", "laws": [], "retention": "30d", "record": "none" })
}
