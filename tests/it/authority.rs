//! `anpr` and `isee` against authorities that check every rule, and those authorities against every breach of one.
//!
//! Invariant: what was asked is read from the authority's own record, never from what the adapter says;
//! nobody in these families lives.

mod forged;
mod isee;
mod judged;
mod questions;
mod written;

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use snodo::suite::kept::KeepsNothing;
use snodo_adapters::catalog;
use snodo_core::{
    adapter::{Asking, Call, Opening, Port, Receipt},
    fault::Fault,
    ids::{DeliveryId, MessageId, StepKey},
    schema::Schemas,
    timestamp::Timestamp,
};
use snodo_sandbox::authority::{Authority, World, jws::Key};
use uuid::Uuid;

const MARIO: &str = "RSSMRA80A01G273Z";
const LUCA: &str = "RSSLCU10C03G273H";
const ANNA: &str = "BNCLRA95H55G273T";
const GIUSEPPE: &str = "VRDGPP13A10B293I";
const TWICE: &str = "MRTMTT91D08F205J";

/// What must be in no fault: people, and the start of every token.
const SECRET: [&str; 6] = [MARIO, "Rossi", "ROSSI", "op-4711", "eyJ", "Bearer"];

/// One key for the whole run: they are slow to make.
fn key() -> &'static Key {
    static KEY: LazyLock<Key> = LazyLock::new(|| Key::generate().expect("a key"));
    &KEY
}

fn purpose(service: u128) -> String {
    Uuid::from_u128(service).to_string()
}

fn client() -> String {
    Uuid::from_u128(100).to_string()
}

/// A family of three, somebody dead, somebody unsure, and two with one code.
fn world() -> World {
    let person = |code: &str, id: &str, name: (&str, &str), more: Value| {
        let mut person = json!({ "taxCode": code, "idANPR": id, "familyName": name.0,
                                 "givenName": name.1, "birthDate": "1980-01-01", "sex": "M",
                                 "street": ["AMERIGO VESPUCCI", "55"] });
        person.as_object_mut().expect("an object").extend(more.as_object().expect("too").clone());
        person
    };
    let purposes: Vec<Value> = [(1, "C001"), (4, "C004"), (21, "C021"), (30, "C030"), (99, "ISEE")]
        .map(|(id, service)| json!({ "id": purpose(id), "client": client(), "service": service }))
        .into();
    let mut world: World = serde_json::from_value(json!({
        "purposes": purposes,
        "indicators": [{ "taxCode": MARIO, "kind": "Ordinario", "amount": "9803.92",
                         "presented": "2026-02-03", "declaration": "INPS-ISEE-2026-12345678A-00" }],
        "register": {
            "people": [
                person(MARIO, "AF00001AA", ("ROSSI", "MARIO"), json!({})),
                person(ANNA, "AF00002AA", ("BIANCHI", "CHIARA"), json!({ "sex": "F" })),
                person(LUCA, "AF00003AA", ("ROSSI", "LUCA"), json!({})),
                person(GIUSEPPE, "AF00004AA", ("VERDI", "GIUSEPPE"), json!({ "died": "2025-05-06" })),
                person("DVNLRD52D15M059P", "AF00007AA", ("DA VINCI", "L"), json!({ "unsure": true })),
                person(TWICE, "AF00005AA", ("MARTINI", "MATTEO"), json!({})),
                person(TWICE, "AF00006AA", ("MARTINI", "MATTIA"), json!({}))
            ],
            "households": [[
                { "taxCode": MARIO, "relation": "1" },
                { "taxCode": ANNA, "relation": "2" },
                { "taxCode": LUCA, "relation": "3" }
            ]]
        }
    }))
    .expect("a world");
    let entry = snodo_sandbox::authority::ClientEntry {
        id: client(),
        kid: "key-1".to_owned(),
        key: key().public(),
    };
    world.clients.push(entry);
    world
}

/// The authorities, and the adapter that asks them.
struct Stage {
    authority: Authority,
    port: Arc<dyn Port>,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::with(world(), |_| {}).await
    }

    async fn with(world: World, change: impl FnOnce(&mut Value)) -> Self {
        let options = |base: &str| {
            let mut options = json!({
                "base": format!("{base}/govway/rest/in/MinInternoPortaANPR-PDND"),
                "purposes": { "school-canteen": {
                    "C001": purpose(1), "C004": purpose(4), "C021": purpose(21), "C030": purpose(30)
                } }
            });
            change(&mut options);
            options
        };
        Self::of("anpr", world, options).await
    }

    /// An instance of `kind` with its own options; those of the client are here.
    async fn of(kind: &str, world: World, options: impl FnOnce(&str) -> Value) -> Self {
        let authority = Authority::start(world).await.expect("starts");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pdnd.pem");
        std::fs::write(&file, key().pem().expect("a PEM")).expect("written");
        let mut options = options(&authority.base());
        options["token"] = json!(format!("{}/token.oauth2", authority.base()));
        options["client"] = json!(client());
        options["kid"] = json!("key-1");
        options["key"] = json!({ "file": file });
        let opening =
            Opening { instance: "far".to_owned(), schemas: Arc::new(Schemas::load(&[]).0) };
        let port = catalog().open(kind, options, &opening).expect("a kind").expect("opens");
        Self { authority, port, folder }
    }

    async fn ask(&self, operation: &str, number: u64, input: Value) -> Result<Receipt, Fault> {
        self.ask_as(operation, input, Some(asking(number))).await
    }

    async fn ask_as(
        &self,
        operation: &str,
        input: Value,
        asking: Option<Asking<'_>>,
    ) -> Result<Receipt, Fault> {
        let key = step_key();
        let call = Call {
            operation,
            input: &input,
            step_key: &key,
            traceparent: None,
            kept: &KeepsNothing,
            order_no: None,
            asking,
        };
        let result = self.port.call(call).await;
        if let Err(fault) = &result {
            let told = format!("{fault:?}");
            assert!(SECRET.iter().all(|secret| !told.contains(secret)), "a secret is told: {told}");
        }
        result
    }

    /// What the family of Mario is, asked under `number`.
    async fn family(&self, number: u64) -> Result<Receipt, Fault> {
        self.ask("C021", number, json!({ "taxCode": MARIO })).await
    }
}

fn step_key() -> StepKey {
    let message = MessageId::accepted(1_764_000_000_123, [7; 10]);
    StepKey { delivery: DeliveryId::derived(message, "canteen"), step: "household".to_owned() }
}

fn asking(number: u64) -> Asking<'static> {
    Asking {
        number,
        at: Timestamp::parse("2026-11-22T23:30:00Z").expect("valid"),
        purpose: "school-canteen",
        case: "c_x999/AOO1/2026/0001234",
        actor: "op-4711",
        actor_location: Some("desk-3"),
        actor_loa: Some("LoA3"),
    }
}
