//! The configuration: files and environment, laid over each other, read into checked settings.
//!
//! Invariant: what is in [`Settings`] passed `check`; every knob has a bound; a secret is a file name
//! and never a value. The only home of `config`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use config::{Config, ConfigBuilder, Environment, Map, Value, ValueKind, builder::DefaultState};
use serde_json::Value as Json;
use snodo_core::{
    adapter::Pace,
    diagnostic::{Place, Problems, SourceFile, Words},
    facts::quota::PerDay,
};

use crate::house::Folder;

mod layer;
mod reader;
mod stage;
#[cfg(test)]
mod tests;

use layer::Layer;
use reader::{Reader, Table};
pub use stage::{EnvironmentSettings, HostUse, SecretUse, Stage, Tls, look_at_secrets};

/// The main file, relative to the house.
pub const FILE: &str = "config/snodo.yaml";

/// Checked settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The folder that holds `config/`, `routes/` and `schemas/`.
    pub house: PathBuf,
    /// The name of the slot whose lock this instance holds.
    pub slot: String,
    /// Where the bus keeps what it must not lose.
    pub data: PathBuf,
    /// Which ledger.
    pub ledger: LedgerSettings,
    /// Which broker.
    pub broker: BrokerSettings,
    /// Where parties are answered.
    pub http: SocketAddr,
    /// The hosts under which they are; whatever a request names, where none is listed.
    pub hosts: Vec<String>,
    /// Where metrics are shown.
    pub metrics: SocketAddr,
    /// Bounds.
    pub limits: Limits,
    /// How long what is kept.
    pub retention: Retention,
    /// The keys under which rows name persons.
    pub facts: FactSettings,
    /// How the log is written.
    pub log: LogFormat,
    /// What this bus is: production or test.
    pub environment: EnvironmentSettings,
    /// The secrets that are named here.
    pub secrets: Vec<SecretUse>,
    /// The hosts to which the bus talks.
    pub talks_to: Vec<HostUse>,
    /// The adapter instances by name.
    pub adapters: BTreeMap<String, AdapterSettings>,
}

impl Settings {
    /// The socket on which operators are served.
    pub fn socket(&self) -> PathBuf {
        self.data.join("snodo.sock")
    }
}

/// The keys under which rows name persons. A bus of its own makes one, where none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactSettings {
    /// The one of today.
    pub key: Option<SecretFile>,
    /// Those before, one per line: rows that were written under them are still found.
    pub earlier: Option<SecretFile>,
}

/// Which ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerSettings {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Database.
        database: String,
        /// User.
        user: String,
        /// Where the password is kept.
        password: SecretFile,
    },
}

/// Which broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerSettings {
    /// A node of our own, started from the installed `rabbitmq-server`.
    Private,
    /// A cluster.
    Cluster {
        /// `amqp://user@host:port/vhost` or `amqps://…`, without password.
        uris: Vec<String>,
        /// Where the password is kept.
        password: SecretFile,
        /// The management interface, where the bus can reach it: it verifies the topology and finds
        /// copies that the broker has lost.
        management: Option<SocketAddr>,
    },
}

/// Whether this is `amqp://user@host:port/vhost`, without a password.
fn is_broker(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else { return false };
    let (authority, vhost) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("guest", authority));
    let named = !user.is_empty() && !user.contains(':') && !host.is_empty();
    ["amqp", "amqps"].contains(&scheme) && named && !vhost.contains('/')
}

/// Bounds that operators choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, bytes.
    pub body: usize,
    /// Open deliveries of one route at which its types are refused for now.
    pub waiting_per_route: u64,
    /// CPU time that checking one message may take.
    pub validation: Duration,
    /// Bytes of the disk that stay free: below, nothing is taken.
    pub disk_free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 1 << 20,
            waiting_per_route: 100_000,
            validation: Duration::from_millis(50),
            disk_free: 1 << 30,
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, else as JSON.
    #[default]
    Auto,
    /// A JSON object per line.
    Json,
    /// For people.
    Text,
}

/// How long the ledger keeps what, where no purpose says longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bodies and results, from the end of the last delivery on.
    pub bodies: Duration,
    /// Who sent what when and what became of it; for so long a repeated message is known.
    pub metadata: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { bodies: DAY * 30, metadata: DAY * 396 }
    }
}

const DAY: Duration = Duration::from_hours(24);

/// An adapter instance as it is written; its options are the kind's own.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSettings {
    /// `kind:`.
    pub kind: String,
    /// `limits:`.
    pub pace: Pace,
    /// `limits: { per_day }`.
    pub per_day: PerDay,
    /// Everything else.
    pub options: Json,
    /// Where its parts are written, by JSON pointer into it; "" is the whole.
    places: BTreeMap<String, Place>,
}

impl AdapterSettings {
    /// Where `pointer` is written, or the nearest part around it.
    pub fn place(&self, pointer: &str) -> Place {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.places.get(pointer) {
                return place.clone();
            }
            match pointer.rsplit_once('/') {
                Some((above, _)) => pointer = above,
                None => return nowhere(FILE),
            }
        }
    }
}

/// The name of a file that holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile(pub PathBuf);

impl SecretFile {
    /// Reads the secret; a line end after it does not belong to it.
    pub fn read(&self) -> std::io::Result<String> {
        let text = std::fs::read_to_string(&self.0)?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretFile({})", self.0.display())
    }
}

/// What the process was started with, beside the files.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `SNODO_ENV` or `--env`: the name of a file in `config/env/`.
    pub env: Option<String>,
    /// Variables; only `SNODO__…` are read.
    pub variables: HashMap<String, String>,
    /// `--strict`: say where the inference of types ends.
    pub strict: bool,
}

impl Surroundings {
    /// Those of this process. `env` wins over `SNODO_ENV`.
    pub fn of_process(env: Option<String>) -> Self {
        let variables: HashMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("SNODO_"))
            .collect();
        let env = env.or_else(|| variables.get("SNODO_ENV").cloned());
        Self { env: env.filter(|name| !name.is_empty()), variables, strict: false }
    }
}

/// Reads and checks the configuration of the house; what is wrong is said.
pub fn load(house: &Path, around: &Surroundings, problems: &mut Problems) -> Option<Settings> {
    load_from(&Folder::of(house), around, problems)
}

/// The same of a folder that may have unsaved texts.
pub(crate) fn load_from(
    folder: &Folder,
    around: &Surroundings,
    problems: &mut Problems,
) -> Option<Settings> {
    // Absolute, so that paths below it stay what they are wherever they are joined.
    let house = folder.path();
    let house = &std::path::absolute(house).unwrap_or_else(|_| house.to_owned());
    let layers = layers(folder, around.env.as_deref(), problems)?;
    let variables = around
        .variables
        .iter()
        .filter(|(name, _)| name.starts_with("SNODO__"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let environment = Environment::with_prefix("SNODO")
        .prefix_separator("__")
        .separator("__")
        .source(Some(variables));
    let builder =
        layers.iter().cloned().fold(Config::builder(), ConfigBuilder::<DefaultState>::add_source);
    let built = builder.add_source(environment).build();
    let (secrets, hosts) = (Vec::new(), Vec::new());
    let mut reader = Reader { house, layers: &layers, problems, secrets, hosts };
    let Ok(ValueKind::Table(map)) = built.map(|config| config.cache.kind) else {
        let place = reader.place("", None);
        let words = Words::new(
            "the layers of the configuration do not fit together",
            "a key is a table in one layer and a value in another",
            "write the key alike in snodo.yaml, config/env/ and the environment",
        );
        reader.error("SN0441", place, words);
        return None;
    };
    checked(house, &mut reader, &map)
}

/// The main file and the one of the environment.
fn layers(house: &Folder, env: Option<&str>, problems: &mut Problems) -> Option<Vec<Layer>> {
    let main = read_file(house, FILE, problems);
    let Some(env) = env else { return main.map(|main| vec![main]) };
    let fits = env.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !fits {
        let words = Words::new(
            "the name of the environment is not one",
            "SNODO_ENV",
            "use small letters, digits and `-`: it names a file in config/env/",
        );
        problems.error("SN0440", nowhere("SNODO_ENV"), words);
        return None;
    }
    let layer = read_file(house, &format!("config/env/{env}.yaml"), problems);
    Some(vec![main?, layer?])
}

fn read_file(house: &Folder, path: &str, problems: &mut Problems) -> Option<Layer> {
    match house.text(path) {
        Ok(text) => {
            let file = Arc::new(SourceFile { path: path.to_owned(), text });
            Layer::read(file, problems)
        }
        Err(why) => {
            let help = format!("write {path}, or name the folder that holds it with --house");
            let words = Words::new(format!("{path} cannot be read"), why, help);
            problems.error("SN0440", nowhere(path), words);
            None
        }
    }
}

fn nowhere(path: &str) -> Place {
    Place::new(&Arc::new(SourceFile { path: path.to_owned(), text: String::new() }), 0..0)
}

fn checked(house: &Path, reader: &mut Reader<'_>, root: &Map<String, Value>) -> Option<Settings> {
    const KNOWN: [&str; 12] = [
        "instance",
        "environment",
        "data",
        "ledger",
        "broker",
        "http",
        "metrics",
        "limits",
        "log",
        "retention",
        "facts",
        "adapters",
    ];
    let root = Table::new(root, "");
    reader.only(root, &KNOWN);
    let slot = slot(reader, root);
    let environment = stage::environment(reader, root);
    let data = reader.required(root, "data", "write the folder of the bus's data");
    let data = data.map(|path| house.join(path));
    let ledger = ledger(reader, root, data.as_deref());
    let broker = broker(reader, root);
    let http = listen(reader, root, "http", &["listen", "hosts"], "127.0.0.1:8080");
    let hosts = hosts(reader, root);
    let metrics = listen(reader, root, "metrics", &["listen"], "127.0.0.1:9464");
    let limits = limits(reader, root);
    let log = log_format(reader, root);
    let retention = retention(reader, root);
    let facts = facts(reader, root);
    let adapters = adapters(reader, root);
    same_listener(reader, root, http, metrics);
    let secrets = std::mem::take(&mut reader.secrets);
    let talks_to = std::mem::take(&mut reader.hosts);
    stage::fit(&environment, &secrets, &talks_to, reader.problems);
    Some(Settings {
        house: house.to_owned(),
        slot: slot?,
        data: data?,
        ledger: ledger?,
        broker: broker?,
        http,
        hosts,
        metrics,
        limits,
        log,
        retention,
        facts,
        environment,
        secrets,
        talks_to,
        adapters,
    })
}

fn slot(reader: &mut Reader<'_>, root: Table<'_>) -> Option<String> {
    let Some(map) = reader.table(root, "instance") else { return Some("a".to_owned()) };
    let table = Table::new(map, "/instance");
    reader.only(table, &["slot"]);
    let slot = reader.required(table, "slot", "write the name of the slot, e.g. a")?;
    if is_name(&slot) {
        return Some(slot);
    }
    if let Some(value) = table.get("slot") {
        reader.wrong("/instance/slot", value, "not a name", NAME_HELP);
    }
    None
}

const NAME_HELP: &str = "use small letters, digits, `_` and `-`, beginning with a letter";

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

/// Says where one of two keys must be, and not both.
fn one_of(reader: &mut Reader<'_>, pointer: &str, value: Option<&Value>, help: &str) {
    let place = reader.place(pointer, value);
    let words = Words::new(
        format!("`{}` must say one thing", pointer.trim_start_matches('/')),
        "none of them or more than one is written",
        help,
    );
    reader.error("SN0445", place, words);
}

fn ledger(reader: &mut Reader<'_>, root: Table<'_>, data: Option<&Path>) -> Option<LedgerSettings> {
    const HELP: &str = "write ledger: { sqlite: ledger.db } or ledger: { postgres: { host, database, user, password } }";
    if root.get("ledger").is_none() {
        reader.missing(root, "ledger", HELP);
    }
    let map = reader.table(root, "ledger")?;
    let table = Table::new(map, "/ledger");
    reader.only(table, &["sqlite", "postgres"]);
    match (table.get("sqlite"), table.get("postgres")) {
        (Some(_), None) => {
            let path = reader.text(table, "sqlite")?;
            Some(LedgerSettings::Sqlite(data?.join(path)))
        }
        (None, Some(_)) => postgres(reader, table),
        (_, second) => {
            one_of(reader, "/ledger", second, HELP);
            None
        }
    }
}

fn postgres(reader: &mut Reader<'_>, ledger: Table<'_>) -> Option<LedgerSettings> {
    let map = reader.table(ledger, "postgres")?;
    let table = Table::new(map, "/ledger/postgres");
    reader.only(table, &["host", "port", "database", "user", "password"]);
    let host = reader.required(table, "host", "write the server's name");
    let hosts: Vec<String> = host.iter().filter(|host| !host.starts_with('/')).cloned().collect();
    let place = reader.place("/ledger/postgres/host", table.get("host"));
    let port = reader.number(table, "port", 5432, 1..=65_535);
    let tls = u16::try_from(port).ok().map(Tls::Postgres);
    let of = |host: &String| HostUse { host: host.to_ascii_lowercase(), tls, place: place.clone() };
    reader.hosts.extend(hosts.iter().map(of));
    let database = reader.required(table, "database", "write the database's name");
    let user = reader.required(table, "user", "write the user's name");
    let password = reader.secret(table, "password", hosts);
    Some(LedgerSettings::Postgres {
        host: host?,
        port: u16::try_from(port).ok()?,
        database: database?,
        user: user?,
        password: password?,
    })
}

fn broker(reader: &mut Reader<'_>, root: Table<'_>) -> Option<BrokerSettings> {
    const HELP: &str = "write broker: { private: true } or broker: { uris: [amqp://user@host:5672/vhost], password: { file } }";
    if root.get("broker").is_none() {
        reader.missing(root, "broker", HELP);
    }
    let map = reader.table(root, "broker")?;
    let table = Table::new(map, "/broker");
    reader.only(table, &["private", "uris", "password", "management"]);
    let private = reader.flag(table, "private", false);
    match (private, table.get("uris")) {
        (true, None) => Some(BrokerSettings::Private),
        (false, Some(value)) => {
            let uris = uris(reader, value);
            let place = reader.place("/broker/uris", Some(value));
            let named = uris.iter().flatten().filter_map(|uri| {
                let (host, tls) = (stage::host_of(uri)?, stage::tls_of(uri));
                Some(HostUse { host, tls, place: place.clone() })
            });
            let named: Vec<HostUse> = named.collect();
            let hosts = named.iter().map(|one| one.host.clone()).collect();
            reader.hosts.extend(named);
            let password = reader.secret(table, "password", hosts);
            let management = table
                .get("management")
                .is_some()
                .then(|| reader.address(table, "management", "127.0.0.1:15672"));
            Some(BrokerSettings::Cluster { uris: uris?, password: password?, management })
        }
        (_, second) => {
            one_of(reader, "/broker", second, HELP);
            None
        }
    }
}

fn uris(reader: &mut Reader<'_>, value: &Value) -> Option<Vec<String>> {
    let items: Vec<(String, String)> = match &value.kind {
        ValueKind::Array(items) => items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| match &item.kind {
                ValueKind::String(text) => Some((format!("/broker/uris/{index}"), text.clone())),
                _ => None,
            })
            .collect(),
        ValueKind::String(list) => list
            .split(',')
            .map(|text| ("/broker/uris".to_owned(), text.trim().to_owned()))
            .collect(),
        _ => Vec::new(),
    };
    if items.is_empty() {
        reader.wrong(
            "/broker/uris",
            value,
            "not a list of addresses",
            "write [amqp://user@host:5672/vhost]",
        );
        return None;
    }
    let fits =
        items.iter().map(|(at, uri)| uri_fits(reader, at, value, uri)).fold(true, |a, b| a & b);
    fits.then(|| items.into_iter().map(|(_, uri)| uri).collect())
}

fn uri_fits(reader: &mut Reader<'_>, at: &str, value: &Value, uri: &str) -> bool {
    let authority = uri.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    let user = authority.and_then(|authority| authority.rsplit_once('@'));
    if user.is_some_and(|(user, _)| user.contains(':')) {
        let place = reader.place(at, Some(value));
        let help = "write amqp://user@host and the password as password: { file: … }";
        let words = Words::new("a secret stands in the configuration", "a password", help);
        reader.error("SN0446", place, words);
        return false;
    }
    let fits = is_broker(uri);
    if !fits {
        let help = "write amqp://user@host:5672/vhost or amqps://…, with one user and vhost in all";
        reader.wrong(at, value, "not the address of a broker", help);
    }
    fits
}

fn listen(
    reader: &mut Reader<'_>,
    root: Table<'_>,
    key: &str,
    known: &[&str],
    default: &str,
) -> SocketAddr {
    let at = format!("/{key}");
    let empty = Map::new();
    let map = reader.table(root, key).unwrap_or(&empty);
    let table = Table::new(map, &at);
    reader.only(table, known);
    reader.address(table, "listen", default)
}

/// The names under which parties reach the edge, in lower case.
fn hosts(reader: &mut Reader<'_>, root: Table<'_>) -> Vec<String> {
    const HELP: &str = "write [bus.comune.example], names or addresses without a port";
    let Some(ValueKind::Table(map)) = root.get("http").map(|value| &value.kind) else {
        return Vec::new();
    };
    let table = Table::new(map, "/http");
    let Some(value) = table.get("hosts") else { return Vec::new() };
    let written: Option<Vec<&str>> = match &value.kind {
        ValueKind::Array(items) => items
            .iter()
            .map(|item| match &item.kind {
                ValueKind::String(text) => Some(text.as_str()),
                _ => None,
            })
            .collect(),
        ValueKind::String(list) => Some(list.split(',').map(str::trim).collect()),
        _ => None,
    };
    let hosts = written.filter(|hosts| !hosts.is_empty() && hosts.iter().all(|host| is_host(host)));
    let Some(hosts) = hosts else {
        reader.wrong("/http/hosts", value, "not a list of hosts", HELP);
        return Vec::new();
    };
    hosts.into_iter().map(str::to_ascii_lowercase).collect()
}

/// A name, an address, or an address of IPv6 in brackets; no port.
fn is_host(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        }
    }
}

fn same_listener(reader: &mut Reader<'_>, root: Table<'_>, http: SocketAddr, metrics: SocketAddr) {
    if http != metrics || http.port() == 0 {
        return;
    }
    let value = root.get("metrics").or_else(|| root.get("http"));
    let place = reader.place("/metrics/listen", value);
    let words = Words::new(
        "metrics and parties are served on the same address",
        "the same as `http.listen`",
        "give metrics a port of their own that only monitoring reaches",
    );
    reader.error("SN0447", place, words);
}

fn limits(reader: &mut Reader<'_>, root: Table<'_>) -> Limits {
    let default = Limits::default();
    let Some(map) = reader.table(root, "limits") else { return default };
    let table = Table::new(map, "/limits");
    reader.only(table, &["body", "waiting_per_route", "validation", "disk_free"]);
    Limits {
        body: reader.size(table, "body", default.body, 1 << 10..=64 << 20),
        waiting_per_route: reader.number(
            table,
            "waiting_per_route",
            default.waiting_per_route,
            1..=10_000_000,
        ),
        validation: reader.duration(
            table,
            "validation",
            default.validation,
            Duration::from_millis(1)..=Duration::from_secs(10),
        ),
        disk_free: reader
            .size(table, "disk_free", 1 << 30, 1 << 20..=1 << 50)
            .try_into()
            .unwrap_or(default.disk_free),
    }
}

fn log_format(reader: &mut Reader<'_>, root: Table<'_>) -> LogFormat {
    let Some(map) = reader.table(root, "log") else { return LogFormat::default() };
    let table = Table::new(map, "/log");
    reader.only(table, &["format"]);
    match reader.text(table, "format").as_deref() {
        Some("auto") | None => LogFormat::Auto,
        Some("json") => LogFormat::Json,
        Some("text") => LogFormat::Text,
        Some(_) => {
            if let Some(value) = table.get("format") {
                let help = "write auto (JSON where no terminal is), json or text";
                reader.wrong("/log/format", value, "no such format", help);
            }
            LogFormat::Auto
        }
    }
}

fn retention(reader: &mut Reader<'_>, root: Table<'_>) -> Retention {
    let default = Retention::default();
    let Some(map) = reader.table(root, "retention") else { return default };
    let table = Table::new(map, "/retention");
    reader.only(table, &["bodies", "metadata"]);
    let kept = Retention {
        bodies: reader.duration(table, "bodies", default.bodies, DAY..=DAY * 36_500),
        metadata: reader.duration(table, "metadata", default.metadata, DAY * 7..=DAY * 36_500),
    };
    if kept.metadata < kept.bodies {
        let value = table.get("metadata").or_else(|| table.get("bodies"));
        let place = reader.place("/retention/metadata", value);
        let words = Words::new(
            "metadata is kept for a shorter time than bodies",
            "shorter than `bodies`",
            "write a `metadata` that is at least as long: it says whose bodies they are",
        );
        reader.error("SN0460", place, words);
    }
    kept
}

fn facts(reader: &mut Reader<'_>, root: Table<'_>) -> FactSettings {
    let Some(map) = reader.table(root, "facts") else { return FactSettings::default() };
    let table = Table::new(map, "/facts");
    reader.only(table, &["key", "earlier"]);
    let mut secret = |key: &str| {
        table.get(key)?;
        reader.secret(table, key, Vec::new())
    };
    FactSettings { key: secret("key"), earlier: secret("earlier") }
}

fn adapters(reader: &mut Reader<'_>, root: Table<'_>) -> BTreeMap<String, AdapterSettings> {
    let Some(map) = reader.table(root, "adapters") else { return BTreeMap::new() };
    let table = Table::new(map, "/adapters");
    table
        .keys()
        .into_iter()
        .filter_map(|name| Some((name.clone(), adapter(reader, table, name)?)))
        .collect()
}

fn adapter(reader: &mut Reader<'_>, all: Table<'_>, name: &str) -> Option<AdapterSettings> {
    let at = all.pointer(name);
    let map = reader.table(all, name)?;
    if !is_name(name) || name.contains('-') {
        if let Some(value) = all.get(name) {
            let help = "use small letters, digits and `_`: routes write it before a dot";
            reader.wrong(&format!("{at}#key"), value, "not a name", help);
        }
        return None;
    }
    let kind = reader.required(Table::new(map, &at), "kind", "write the kind of the adapter")?;
    let mut options: serde_json::Map<String, Json> =
        map.iter().map(|(key, value)| (key.clone(), to_json(value))).collect();
    options.remove("kind");
    options.remove("limits");
    let (pace, per_day) = limits_of(reader, Table::new(map, &at));
    let mut places = BTreeMap::from([(String::new(), reader.place(&at, None))]);
    note_places(reader, &at, "", map, &mut places);
    let mut adapter =
        AdapterSettings { kind, options: Json::Object(options), pace, per_day, places };
    note_secrets(reader, map, &mut adapter);
    Some(adapter)
}

/// Notes the hosts of an instance, and its secrets, which go to them.
fn note_secrets(reader: &mut Reader<'_>, map: &Map<String, Value>, adapter: &mut AdapterSettings) {
    let mut options = std::mem::take(&mut adapter.options);
    let (mut secrets, place) = (Vec::new(), |pointer: &str| adapter.place(pointer));
    let found = (&mut secrets, &mut *reader.problems);
    stage::adapter_secrets(&mut options, "", reader.house, &place, found);
    let hosts = stage::adapter_hosts(map, &place);
    for secret in &mut secrets {
        secret.hosts = hosts.iter().map(|one| one.host.clone()).collect();
    }
    adapter.options = options;
    reader.secrets.extend(secrets);
    reader.hosts.extend(hosts);
}

/// How much of the bus a target gets: `limits: { at_once, rate, breaker, per_day }`.
fn limits_of(reader: &mut Reader<'_>, adapter: Table<'_>) -> (Pace, PerDay) {
    let usual = Pace::default();
    let Some(map) = reader.table(adapter, "limits") else { return (usual, PerDay::new()) };
    let at = adapter.pointer("limits");
    let table = Table::new(map, &at);
    reader.only(table, &["at_once", "rate", "breaker", "per_day"]);
    let at_once = reader.number(table, "at_once", u64::from(usual.at_once), 1..=4096);
    let pace = Pace {
        at_once: u32::try_from(at_once).unwrap_or(usual.at_once),
        per_second: per_second(reader, table),
        breaker: reader.flag(table, "breaker", usual.breaker),
    };
    (pace, per_day(reader, table))
}

/// Questions a day, by operation.
fn per_day(reader: &mut Reader<'_>, limits: Table<'_>) -> PerDay {
    let Some(map) = reader.table(limits, "per_day") else { return PerDay::new() };
    let at = limits.pointer("per_day");
    let table = Table::new(map, &at);
    let most = |operation: &String| {
        (operation.clone(), reader.number(table, operation, u64::MAX, 1..=100_000_000))
    };
    map.keys().map(most).collect()
}

fn per_second(reader: &mut Reader<'_>, limits: Table<'_>) -> Option<u32> {
    let value = limits.get("rate")?;
    let text = reader.text(limits, "rate")?;
    let rate = text.strip_suffix("/s").and_then(|count| count.parse().ok());
    let rate = rate.filter(|rate| (1..=100_000).contains(rate));
    if rate.is_none() {
        let at = limits.pointer("rate");
        reader.wrong(&at, value, "not a number of calls a second", "write 20/s");
    }
    rate
}

fn note_places(
    reader: &Reader<'_>,
    at: &str,
    below: &str,
    map: &Map<String, Value>,
    places: &mut BTreeMap<String, Place>,
) {
    for (key, value) in map {
        let pointer = format!("{below}/{key}");
        places.insert(pointer.clone(), reader.place(&format!("{at}{pointer}"), Some(value)));
        if let ValueKind::Table(map) = &value.kind {
            note_places(reader, at, &pointer, map, places);
        }
    }
}

fn to_json(value: &Value) -> Json {
    match &value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(flag) => Json::Bool(*flag),
        ValueKind::I64(number) => Json::from(*number),
        ValueKind::I128(number) => Json::from(i64::try_from(*number).unwrap_or(i64::MAX)),
        ValueKind::U64(number) => Json::from(*number),
        ValueKind::U128(number) => Json::from(u64::try_from(*number).unwrap_or(u64::MAX)),
        ValueKind::Float(number) => Json::from(*number),
        ValueKind::String(text) => Json::String(text.clone()),
        ValueKind::Table(map) => {
            Json::Object(map.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
        }
        ValueKind::Array(items) => Json::Array(items.iter().map(to_json).collect()),
    }
}
