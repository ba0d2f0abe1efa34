//! Production or test: what the environment, a key and a host say they are, and whether they fit.
//!
//! Invariant: a host is production unless its name, or the configuration, says test: whoever is in doubt
//! is told, before anything is sent.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use config::{Map, Value, ValueKind};
use serde_json::Value as Json;
use snodo_core::diagnostic::{Place, Problems, Words};

use super::reader::{Reader, Table};

/// What something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Real people and real effects.
    Production,
    /// Nothing that counts.
    Test,
}

impl Stage {
    /// The word that is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Production, Self::Test].into_iter().find(|stage| stage.word() == word)
    }
}

/// `environment:`, what this bus is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentSettings {
    /// Whether its effects count; not said, nothing is compared with it.
    pub kind: Option<Stage>,
    /// Hosts that are test though their names do not say so.
    pub test_hosts: Vec<String>,
}

/// A secret that the configuration names, and where it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretUse {
    /// The file.
    pub file: PathBuf,
    /// What it is for, where it says so.
    pub stage: Option<Stage>,
    /// Where the file is written.
    pub place: Place,
    /// Where it says what it is for; the same, where it does not.
    pub said: Place,
    /// The hosts that get it.
    pub hosts: Vec<String>,
}

/// A host to which the configuration has the bus talk.
#[derive(Clone, Debug, PartialEq)]
pub struct HostUse {
    /// Its name or address, without port.
    pub host: String,
    /// Where it shows a certificate; none where it is spoken to in the clear.
    pub tls: Option<Tls>,
    /// Where it is written.
    pub place: Place,
}

/// Where, and how, a host shows its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tls {
    /// At this port, at once.
    AtOnce(u16),
    /// At this port, asked in the way of PostgreSQL.
    Postgres(u16),
}

/// Words of names of hosts that are for trials, as administrations use them.
const TEST_WORDS: [&str; 16] = [
    "test", "tests", "testing", "collaudo", "coll", "uat", "val", "att", "staging", "stage",
    "sandbox", "preprod", "pre", "svil", "dev", "qa",
];

/// Whether a host is for trials: this machine, a name that says so, or one that is listed.
pub(super) fn is_test(host: &str, listed: &[String]) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let reserved =
        host.rsplit('.').next().is_some_and(|top| ["test", "localhost", "invalid"].contains(&top));
    let says_so = || host.split(['.', '-', '_']).any(|word| TEST_WORDS.contains(&word));
    loopback || reserved || says_so() || listed.contains(&host)
}

/// The host of `scheme://user@host:port/path`.
pub(super) fn host_of(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Where the host of `scheme://host:port/path` shows its certificate.
pub(super) fn tls_of(address: &str) -> Option<Tls> {
    let (scheme, rest) = address.split_once("://")?;
    let usual = match scheme {
        "https" => 443,
        "amqps" => 5671,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    let after_host = authority.rsplit(']').next()?;
    let port = after_host.split_once(':').map_or(Some(usual), |(_, port)| port.parse().ok())?;
    Some(Tls::AtOnce(port))
}

/// `environment: { kind: production, test_hosts: [mock.comune.lan] }`.
pub(super) fn environment(reader: &mut Reader<'_>, root: Table<'_>) -> EnvironmentSettings {
    let Some(map) = reader.table(root, "environment") else {
        return EnvironmentSettings::default();
    };
    let table = Table::new(map, "/environment");
    reader.only(table, &["kind", "test_hosts"]);
    let kind = stage(reader, table, "kind");
    let test_hosts = table.get("test_hosts").map(|value| (value, hosts(value)));
    let test_hosts = match test_hosts {
        Some((value, None)) => {
            let help = "write [mock.comune.lan], names or addresses without a port";
            reader.wrong("/environment/test_hosts", value, "not a list of hosts", help);
            Vec::new()
        }
        Some((_, Some(hosts))) => hosts,
        None => Vec::new(),
    };
    EnvironmentSettings { kind, test_hosts }
}

fn hosts(value: &Value) -> Option<Vec<String>> {
    match &value.kind {
        ValueKind::Array(items) => {
            items.iter().map(|item| item.clone().into_string().ok()).collect()
        }
        ValueKind::String(list) => {
            Some(list.split(',').map(|host| host.trim().to_owned()).collect())
        }
        _ => None,
    }
}

/// `production` or `test` under `key`, where it is written.
pub(super) fn stage(reader: &mut Reader<'_>, table: Table<'_>, key: &str) -> Option<Stage> {
    let word = reader.text(table, key)?;
    let stage = Stage::of(&word);
    if let (None, Some(value)) = (stage, table.get(key)) {
        reader.wrong(&table.pointer(key), value, "neither", "write production or test");
    }
    stage
}

/// Takes the secrets out of the options of an adapter instance: `{ file, for }` with nothing beside. What
/// is handed to the adapter is `{ file }`, as it is found from the house.
pub(super) fn adapter_secrets(
    options: &mut Json,
    pointer: &str,
    house: &Path,
    place: &dyn Fn(&str) -> Place,
    (found, problems): (&mut Vec<SecretUse>, &mut Problems),
) {
    let Json::Object(fields) = options else { return };
    let is_secret = fields.get("file").is_some_and(Json::is_string)
        && fields.keys().all(|key| key == "file" || key == "for");
    if !is_secret {
        for (key, value) in fields {
            let pointer = format!("{pointer}/{key}");
            adapter_secrets(value, &pointer, house, place, (&mut *found, &mut *problems));
        }
        return;
    }
    let written = fields.remove("for");
    let stage = written.as_ref().and_then(Json::as_str).and_then(Stage::of);
    if written.is_some() && stage.is_none() {
        let words =
            Words::new("the value of `for` is wrong", "neither", "write production or test");
        problems.error("SN0444", place(&format!("{pointer}/for")), words);
    }
    let at = |key: &str| place(&format!("{pointer}/{key}"));
    let said = at(if written.is_some() { "for" } else { "file" });
    let file = house.join(fields["file"].as_str().unwrap_or_default());
    if let Some(path) = file.to_str() {
        fields.insert("file".to_owned(), path.into());
    }
    found.push(SecretUse { file, stage, place: at("file"), said, hosts: Vec::new() });
}

/// The addresses in the options of an adapter instance.
pub(super) fn adapter_hosts(
    map: &Map<String, Value>,
    place: &dyn Fn(&str) -> Place,
) -> Vec<HostUse> {
    // In the order of their names: a reload compares what two readings gave.
    let map: BTreeMap<&String, &Value> = map.iter().collect();
    let mut found = Vec::new();
    for (key, value) in &map {
        if let ValueKind::String(text) = &value.kind
            && let Some(host) = host_of(text)
        {
            found.push(HostUse { host, tls: tls_of(text), place: place(&format!("/{key}")) });
        }
    }
    found.extend(server(&map, place));
    found
}

/// The host of `database: { postgres: { host, port, sslmode } }`; none where it is the folder of a socket.
fn server(map: &BTreeMap<&String, &Value>, place: &dyn Fn(&str) -> Place) -> Option<HostUse> {
    let below = |value: &Value, key: &str| match &value.kind {
        ValueKind::Table(map) => map.get(key).cloned(),
        _ => None,
    };
    let server = below(map.get(&"database".to_owned())?, "postgres")?;
    let text = |key: &str| below(&server, key).and_then(|value| value.into_string().ok());
    let host = text("host").filter(|host| !host.is_empty() && !host.starts_with('/'))?;
    let port = text("port").map_or(Some(5432), |port| port.parse().ok());
    let tls = port.map(Tls::Postgres).filter(|_| text("sslmode").as_deref() != Some("disable"));
    let place = place("/database/postgres/host");
    Some(HostUse { host: host.to_ascii_lowercase(), tls, place })
}

/// Says what does not fit together.
pub(super) fn fit(
    environment: &EnvironmentSettings,
    secrets: &[SecretUse],
    hosts: &[HostUse],
    problems: &mut Problems,
) {
    let listed = &environment.test_hosts;
    for secret in secrets {
        let of = |test: bool| secret.hosts.iter().find(|host| is_test(host, listed) == test);
        match (secret.stage, of(false), of(true)) {
            (Some(Stage::Test), Some(host), _) => problems.error(
                "SN0455",
                secret.said.clone(),
                Words::new(
                    "a test key would be sent to a production host",
                    format!("`for: test`, and it goes to {host}"),
                    "name the production key here, or the test host; a test host whose name does not \
                     say so is listed under `environment: { test_hosts }`",
                ),
            ),
            (Some(Stage::Production), _, Some(host)) => problems.error(
                "SN0456",
                secret.said.clone(),
                Words::new(
                    "a production key would be sent to a test host",
                    format!("`for: production`, and it goes to {host}"),
                    "name the test key here, or the production host; a key that was sent is not \
                     secret any more",
                ),
            ),
            _ => {}
        }
    }
    let Some(kind) = environment.kind else { return };
    for HostUse { host, place, .. } in hosts {
        let stage = if is_test(host, listed) { Stage::Test } else { Stage::Production };
        let local = host.parse::<std::net::IpAddr>().is_ok_and(|at| at.is_loopback())
            || host == "localhost";
        if stage != kind && !local {
            let words = Words::new(
                format!("a {} environment names a {} host", kind.word(), stage.word()),
                format!("a {} host", stage.word()),
                "name the host of this environment in config/env/<name>.yaml; a test host whose name \
                 does not say so is listed under `environment: { test_hosts }`",
            );
            problems.error("SN0457", place.clone(), words);
        }
    }
}

/// Looks at the files of the secrets: a missing one, and one that others may read, is said.
pub fn look_at_secrets(secrets: &[SecretUse], problems: &mut Problems) {
    use std::os::unix::fs::MetadataExt as _;
    for (index, secret) in secrets.iter().enumerate() {
        // Of a file that several name it is said once.
        if secrets[..index].iter().any(|other| other.file == secret.file) {
            continue;
        }
        let path = secret.file.display();
        let words = match std::fs::metadata(&secret.file) {
            Err(error) => (
                "SN0458",
                Words::new(
                    format!("the secret in {path} cannot be read"),
                    crate::house::in_words(&error),
                    "put it there before the bus starts, readable by its user alone (0400)",
                ),
            ),
            Ok(found) if found.mode() & 0o077 != 0 => (
                "SN0459",
                Words::new(
                    format!("the secret in {path} may be read by others"),
                    format!("mode {:04o}", found.mode() & 0o7777),
                    format!("chmod 0400 {path}"),
                ),
            ),
            Ok(_) => continue,
        };
        problems.warning(words.0, secret.place.clone(), words.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_production_unless_its_name_says_otherwise() {
        let listed = ["mock.comune.lan".to_owned()];
        for (host, test) in [
            ("servizi.regione.example", false),
            ("modipa.anpr.interno.it", false),
            ("modipa-val.anpr.interno.it", true),
            ("auth.uat.interop.pagopa.it", true),
            ("api-collaudo.regione.it", true),
            ("localhost", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("10.0.0.5", false),
            ("broker.test", true),
            ("Mock.Comune.lan", true),
            // A word within a word says nothing.
            ("protest.it", false),
            ("attestazioni.comune.it", false),
        ] {
            assert_eq!(is_test(host, &listed), test, "{host}");
        }
    }

    #[test]
    fn the_host_of_an_address_is_found() {
        for (address, host) in [
            ("https://servizi.regione.example/residence", Some("servizi.regione.example")),
            ("amqps://snodo@rabbit.comune.it:5671/bus", Some("rabbit.comune.it")),
            ("http://[::1]:8080/x", Some("::1")),
            ("https://HOST?x", Some("host")),
            ("c_g273", None),
            ("https:///x", None),
        ] {
            assert_eq!(host_of(address).as_deref(), host, "{address}");
        }
    }

    #[test]
    fn a_certificate_is_shown_where_the_address_says_so() {
        for (address, port) in [
            ("https://servizi.regione.example/residence", Some(443)),
            ("https://[::1]:8443/x", Some(8443)),
            ("https://[::1]/x", Some(443)),
            ("amqps://snodo@rabbit.comune.it/bus", Some(5671)),
            ("amqps://snodo@rabbit.comune.it:5690", Some(5690)),
            ("amqp://snodo@rabbit.comune.it:5671", None),
            ("http://127.0.0.1:80", None),
            ("c_g273", None),
        ] {
            assert_eq!(tls_of(address), port.map(Tls::AtOnce), "{address}");
        }
    }
}
