//! Palermo's house for a run: the repository's routes and schemas, with the run's ports, tokens and
//! folders.
//!
//! Invariant: routes and schemas are those of the repository, unchanged but for what a run asks for.

use std::{fs, io, net::SocketAddr, path::Path};

use serde_json::{Value, json};
use snodo_core::ids::Digest;

use crate::bus::HouseFolder;

/// The online desk's token in a run.
pub const SPORTELLO_TOKEN: &str = "demo-token-of-the-online-desk";
/// The region's token in a run.
pub const REGION_TOKEN: &str = "demo-token-of-the-region";

/// What is another in a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Where the region's service listens.
    pub region: SocketAddr,
    /// The `broker:` value of the configuration.
    pub broker: Value,
    /// The `limits: { waiting_per_route }` value.
    pub waiting_per_route: u64,
    /// The retry policy of every route; the routes' own where none is given.
    pub retry: Option<&'static str>,
}

impl Run {
    /// As the repository has it, with the region at `region`.
    pub fn of(region: SocketAddr) -> Self {
        let broker = json!({ "private": true });
        Self { region, broker, waiting_per_route: 100_000, retry: None }
    }
}

/// Writes it.
pub fn write(house: &HouseFolder, repository: &Path, run: &Run) -> io::Result<()> {
    house.copy(repository, "routes")?;
    house.copy(repository, "schemas")?;
    house.copy(repository, "config")?;
    let settings = fs::read_to_string(repository.join("config/snodo.yaml"))?;
    let settings = settings
        .replace("/var/lib/snodo", &house.path.join("data").display().to_string())
        .replace("127.0.0.1:8080", &house.http.to_string())
        .replace("127.0.0.1:9464", &house.metrics.to_string())
        .replace("{ private: true }", &run.broker.to_string())
        .replace(
            "waiting_per_route: 100000",
            &format!("waiting_per_route: {}", run.waiting_per_route),
        )
        .replace("https://servizi.regione.example/residence", &format!("http://{}", run.region));
    house.write("config/snodo.yaml", &settings)?;
    if let Some(retry) = run.retry {
        for route in ["residence-change", "notify-region", "vehicle-tax-transit"] {
            set_line(house, &format!("routes/{route}.yaml"), "retry:", retry)?;
        }
    }
    give_token(house, "comune-sportello", SPORTELLO_TOKEN)?;
    give_token(house, "region", REGION_TOKEN)
}

/// The digest of `token` in place of the example's.
fn give_token(house: &HouseFolder, party: &str, token: &str) -> io::Result<()> {
    let digest = Digest::of(token.as_bytes());
    let file = format!("config/parties/{party}.yaml");
    set_line(house, &file, "token:", &format!("{{ sha256: {digest} }}"))
}

/// Writes `value` behind the key of a line, wherever the file has it; at the end, where it does not.
pub fn set_line(house: &HouseFolder, file: &str, key: &str, value: &str) -> io::Result<()> {
    let text = fs::read_to_string(house.path.join(file))?;
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(key)).collect();
    let line = format!("{key} {value}");
    let at = text.lines().position(|line| line.starts_with(key)).unwrap_or(lines.len());
    lines.insert(at, &line);
    house.write(file, &(lines.join("\n") + "\n"))
}

/// A declared change of residence of Mario Rossi, who does not exist.
pub fn residence(id: &str, tax_code: &str) -> Value {
    let applicant = json!({ "taxCode": tax_code, "givenName": "Mario", "familyName": "Rossi" });
    let address = |street: &str, number: &str, code: &str, municipality: &str| {
        json!({
            "officialStreetName": street, "streetNumber": number,
            "postCode": code, "municipality": municipality,
        })
    };
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/sportello-online",
        "type": "anagrafe.residence-change.declared.v1",
        "datacontenttype": "application/json",
        "data": {
            "applicant": applicant,
            "movers": [applicant],
            "previousAddress": address("Via Etnea", "12", "95124", "087015"),
            "newAddress": address("Via Maqueda", "100", "90134", "082053"),
            "declaredBy": tax_code,
            "declaredOn": "2026-11-20",
        },
    })
}

/// A change of vehicle tax.
pub fn vehicle_tax(id: &str) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/bollo",
        "type": "regione.vehicle-tax.changed.v1",
        "datacontenttype": "application/json",
        "data": {
            "plate": "GA123BC", "ownerTaxCode": "RSSMRA80A01G273Z", "year": 2026,
            "dueDate": "2026-12-31", "amountCents": 25_840, "reason": "sale",
        },
    })
}
