//! Palermo's house for a run: the repository's routes and schemas, with the run's ports, tokens and
//! folders.
//!
//! Invariant: routes and schemas are those of the repository, unchanged but for what a run asks for.

use std::{fs, io, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};
use snodo_core::ids::Digest;
use snodo_sandbox::authority::{ClientEntry, World, jws::Public};

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
    /// Where the authorities are, and the key with which they are asked; example hosts where none.
    pub authority: Option<(String, String)>,
    /// The retry policy of every route; the routes' own where none is given.
    pub retry: Option<&'static str>,
}

impl Run {
    /// As the repository has it, with the region at `region`.
    pub fn of(region: SocketAddr) -> Self {
        let broker = json!({ "private": true });
        Self { region, broker, waiting_per_route: 100_000, authority: None, retry: None }
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
        .replace("https://servizi.regione.example/residence", &format!("http://{}", run.region))
        .replace("https://mensa.gestore.example/api", &format!("http://{}", run.region));
    let settings = match &run.authority {
        Some(authority) => asked(house, settings, authority)?,
        None => settings,
    };
    house.write("config/snodo.yaml", &settings)?;
    if let Some(retry) = run.retry {
        for route in ["residence-change", "notify-region", "vehicle-tax-transit"] {
            set_line(house, &format!("routes/{route}.yaml"), "retry:", retry)?;
        }
    }
    give_token(house, "comune-sportello", SPORTELLO_TOKEN)?;
    give_token(house, "region", REGION_TOKEN)
}

/// The configuration with these authorities, which are asked with this key.
fn asked(
    house: &HouseFolder,
    settings: String,
    (base, key): &(String, String),
) -> io::Result<String> {
    let file = house.path.join("secrets/pdnd.pem");
    house.write("secrets/pdnd.pem", key)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let hosts = ["modipa.anpr.example", "auth.pdnd.example", "servizi.inps.example"];
    let settings = hosts
        .into_iter()
        .fold(settings, |text, host| text.replace(&format!("https://{host}"), base))
        .replace("/etc/snodo/pdnd.pem, for: production", &format!("{}, for: test", file.display()));
    Ok(settings)
}

/// The authorities of a run: PDND knows the client and the purposes of the repository's configuration, ANPR
/// the family Rossi, INPS its indicator. None of them lives.
pub fn world(key: Public) -> World {
    let client = "7a1f0c5e-0000-4000-8000-000000000001";
    let purpose = |end: &str, service: &str| {
        let id = format!("7a1f0c5e-0000-4000-8000-0000000000{end}");
        json!({ "id": id, "client": client, "service": service })
    };
    let person = |code: &str, id: &str, given: &str, born: &str, sex: &str| {
        json!({
            "taxCode": code, "idANPR": id, "familyName": "ROSSI", "givenName": given,
            "birthDate": born, "sex": sex, "street": ["MAQUEDA", "100"],
        })
    };
    let mut world: World = serde_json::from_value(json!({
        "purposes": [purpose("21", "C021"), purpose("22", "C021"), purpose("31", "ISEE")],
        "indicators": [{
            "taxCode": "RSSMRA80A01G273Z", "kind": "Ordinario", "amount": "9803.92",
            "presented": "2026-02-03", "declaration": "INPS-ISEE-2026-12345678A-00",
        }],
        "register": {
            "people": [
                person("RSSMRA80A01G273Z", "AF00001AA", "MARIO", "1980-01-01", "M"),
                person("RSSLCU18C03G273P", "AF00003AA", "LUCA", "2018-03-03", "M"),
                person("RSSNNA20D50G273K", "AF00004AA", "ANNA", "2020-04-10", "F"),
            ],
            "households": [[
                { "taxCode": "RSSMRA80A01G273Z", "relation": "1" },
                { "taxCode": "RSSLCU18C03G273P", "relation": "3" },
                { "taxCode": "RSSNNA20D50G273K", "relation": "3" },
            ]],
        },
    }))
    .unwrap_or_default();
    world.clients.push(ClientEntry {
        id: client.to_owned(),
        kid: "comune-palermo-1".to_owned(),
        key,
    });
    world
}

/// A child of the family is enrolled in the canteen.
pub fn enrolment(
    id: &str,
    (tax_code, given_name, born): (&str, &str, &str),
    reduction: bool,
) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/sportello-online",
        "type": "scuola.canteen-enrolment.requested.v1",
        "datacontenttype": "application/json",
        "data": {
            "applicant": { "taxCode": "RSSMRA80A01G273Z", "givenName": "Mario", "familyName": "Rossi" },
            "child": {
                "taxCode": tax_code, "givenName": given_name, "familyName": "Rossi", "birthDate": born,
            },
            "school": "PAEE01600X",
            "schoolYearStart": "2026-09-14",
            "wantsReduction": reduction,
            "submittedBy": "RSSMRA80A01G273Z",
        },
    })
}

/// A dwelling is declared for the waste tax.
pub fn dwelling(id: &str, holder: &str) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/sportello-online",
        "type": "tributi.dwelling.declared.v1",
        "datacontenttype": "application/json",
        "data": {
            "holder": holder, "dwelling": "PA-12-345-6", "squareMetres": 84, "declaredBy": holder,
        },
    })
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
