//! Reads checked values out of the merged layers, and says every mistake with its place.
//!
//! Invariant: a value that was refused was said; the caller goes on, so that all mistakes are found.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use config::{Map, Value, ValueKind};
use snodo_core::diagnostic::{Place, Problems, SourceFile, Words, help_with_nearest};

use super::{
    SecretFile,
    layer::Layer,
    stage::{self, HostUse, SecretUse},
};

/// The origin that `config` gives to values of environment variables.
const ENVIRONMENT: &str = "the environment";

/// One table of the configuration.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    map: &'a Map<String, Value>,
    /// JSON pointer of the table; "" for the root.
    at: &'a str,
}

impl<'a> Table<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, at: &'a str) -> Self {
        Self { map, at }
    }

    pub(super) fn keys(&self) -> Vec<&'a String> {
        let mut keys: Vec<_> = self.map.keys().collect();
        keys.sort();
        keys
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| value.kind != ValueKind::Nil)
    }

    pub(super) fn pointer(&self, key: &str) -> String {
        format!("{}/{key}", self.at)
    }
}

/// Collects mistakes while values are read.
pub(super) struct Reader<'a> {
    /// The folder from which files are named.
    pub(super) house: &'a Path,
    pub(super) layers: &'a [Layer],
    pub(super) problems: &'a mut Problems,
    /// Secrets, and hosts, that were read.
    pub(super) secrets: Vec<SecretUse>,
    pub(super) hosts: Vec<HostUse>,
}

impl Reader<'_> {
    /// Where `pointer` is said: in the file that its value is from, or the nearest key above it.
    pub(super) fn place(&self, pointer: &str, value: Option<&Value>) -> Place {
        let origin = value.and_then(Value::origin);
        if origin == Some(ENVIRONMENT) {
            return variable(pointer);
        }
        let mut pointer = pointer;
        loop {
            let found = self
                .layers
                .iter()
                .rev()
                .filter(|layer| origin.is_none_or(|origin| layer.origin() == origin))
                .find_map(|layer| layer.place(pointer));
            if let Some(place) = found {
                return place;
            }
            match pointer.rsplit_once('/') {
                Some((above, _)) => pointer = above,
                None => return self.start(),
            }
        }
    }

    fn start(&self) -> Place {
        let empty = || {
            Place::new(
                &Arc::new(SourceFile { path: super::FILE.into(), text: String::new() }),
                0..0,
            )
        };
        self.layers.first().map_or_else(empty, Layer::start)
    }

    pub(super) fn error(&mut self, code: &'static str, place: Place, words: Words) {
        self.problems.error(code, place, words);
    }

    /// Says every key of `table` that is not known.
    pub(super) fn only(&mut self, table: Table<'_>, known: &[&str]) {
        for key in table.keys() {
            if known.contains(&key.as_str()) {
                continue;
            }
            let pointer = table.pointer(key);
            let value = table.map.get(key);
            let place = if value.and_then(Value::origin) == Some(ENVIRONMENT) {
                variable(&pointer)
            } else {
                self.place(&format!("{pointer}#key"), value)
            };
            let help = help_with_nearest(key, known.iter().copied(), "keys here");
            let words = Words::new(format!("the key `{key}` is not known"), "not known here", help);
            self.error("SN0442", place, words);
        }
    }

    /// Says that a key is missing.
    pub(super) fn missing(&mut self, table: Table<'_>, key: &str, help: &str) {
        let place = self.place(table.at, None);
        let title = format!("the key `{key}` is missing");
        self.error("SN0443", place, Words::new(title, "is missing here", help));
    }

    /// Says that a value is not what is expected.
    pub(super) fn wrong(&mut self, pointer: &str, value: &Value, label: &str, help: &str) {
        let key = pointer.rsplit('/').next().unwrap_or_default().trim_end_matches("#key");
        let words = Words::new(format!("the value of `{key}` is wrong"), label, help);
        let place = self.place(pointer, Some(value));
        self.error("SN0444", place, words);
    }

    /// The table under `key`, if it is there and a table.
    pub(super) fn table<'v>(
        &mut self,
        table: Table<'v>,
        key: &str,
    ) -> Option<&'v Map<String, Value>> {
        let value = table.get(key)?;
        if let ValueKind::Table(map) = &value.kind {
            return Some(map);
        }
        self.wrong(&table.pointer(key), value, "not a table", "write keys under it");
        None
    }

    /// The text under `key`, if it is there and text.
    pub(super) fn text(&mut self, table: Table<'_>, key: &str) -> Option<String> {
        let value = table.get(key)?;
        match &value.kind {
            ValueKind::String(text) if !text.is_empty() => Some(text.clone()),
            // A variable of the environment is text; what looks like a number still is one here.
            ValueKind::I64(number) if value.origin() == Some(ENVIRONMENT) => {
                Some(number.to_string())
            }
            _ => {
                self.wrong(
                    &table.pointer(key),
                    value,
                    "not text",
                    "write text, in quotes if in doubt",
                );
                None
            }
        }
    }

    /// The text under `key`, which must be there.
    pub(super) fn required(&mut self, table: Table<'_>, key: &str, help: &str) -> Option<String> {
        if table.get(key).is_none() {
            self.missing(table, key, help);
        }
        self.text(table, key)
    }

    /// A truth value, or `default`.
    pub(super) fn flag(&mut self, table: Table<'_>, key: &str, default: bool) -> bool {
        let Some(value) = table.get(key) else { return default };
        match &value.kind {
            ValueKind::Boolean(flag) => *flag,
            ValueKind::String(text) if text == "true" => true,
            ValueKind::String(text) if text == "false" => false,
            _ => {
                self.wrong(&table.pointer(key), value, "not a truth value", "write true or false");
                default
            }
        }
    }

    /// A whole number within bounds, or `default`.
    pub(super) fn number(
        &mut self,
        table: Table<'_>,
        key: &str,
        default: u64,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let Some(value) = table.get(key) else { return default };
        let number = match &value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| bounds.contains(number)).unwrap_or_else(|| {
            let help = format!("write a whole number from {} to {}", bounds.start(), bounds.end());
            self.wrong(&table.pointer(key), value, "not such a number", &help);
            default
        })
    }

    /// A size with its unit within bounds, or `default`.
    pub(super) fn size(
        &mut self,
        table: Table<'_>,
        key: &str,
        default: usize,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> usize {
        let Some(value) = table.get(key) else { return default };
        let size = match &value.kind {
            ValueKind::String(text) => bytes(text),
            _ => None,
        };
        size.filter(|size| bounds.contains(size)).unwrap_or_else(|| {
            let help = format!(
                "write a size with its unit from {} to {}, e.g. 1MiB",
                shown(*bounds.start()),
                shown(*bounds.end())
            );
            self.wrong(&table.pointer(key), value, "not such a size", &help);
            default
        })
    }

    /// A duration with its unit within bounds, or `default`.
    pub(super) fn duration(
        &mut self,
        table: Table<'_>,
        key: &str,
        default: Duration,
        bounds: std::ops::RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = table.get(key) else { return default };
        let duration = match &value.kind {
            ValueKind::String(text) => snodo_core::yaml::duration(text),
            _ => None,
        };
        duration.filter(|duration| bounds.contains(duration)).unwrap_or_else(|| {
            let (least, most) = (lasting(*bounds.start()), lasting(*bounds.end()));
            let usual = lasting(default);
            let help = format!("write a time with its unit from {least} to {most}, e.g. {usual}");
            self.wrong(&table.pointer(key), value, "not such a time", &help);
            default
        })
    }

    /// An address and port to listen on, or `default`.
    pub(super) fn address(&mut self, table: Table<'_>, key: &str, default: &str) -> SocketAddr {
        let fallback = || default.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
        let Some(text) = self.text(table, key) else { return fallback() };
        text.parse().unwrap_or_else(|_| {
            if let Some(value) = table.get(key) {
                let help = "write an IP address and a port, e.g. 127.0.0.1:8080 or [::1]:8080";
                self.wrong(&table.pointer(key), value, "not an address and port", help);
            }
            fallback()
        })
    }

    /// A secret: `{ file: path }`, and with `for` what it is for. The value itself is never shown. It is
    /// sent to `hosts`.
    pub(super) fn secret(
        &mut self,
        table: Table<'_>,
        key: &str,
        hosts: Vec<String>,
    ) -> Option<SecretFile> {
        const HELP: &str = "write { file: /path/of/a/file } and keep the secret in that file";
        let pointer = table.pointer(key);
        let Some(value) = table.get(key) else {
            self.missing(table, key, HELP);
            return None;
        };
        let ValueKind::Table(map) = &value.kind else {
            let place = self.place(&pointer, Some(value));
            let words = Words::new("a secret stands in the configuration", "written out", HELP);
            self.error("SN0446", place, words);
            return None;
        };
        let secret = Table::new(map, &pointer);
        self.only(secret, &["file", "for"]);
        let stage = stage::stage(self, secret, "for");
        let file = self.house.join(self.required(secret, "file", HELP)?);
        let place = self.place(&secret.pointer("file"), secret.get("file"));
        let key = if stage.is_some() { "for" } else { "file" };
        let said = self.place(&secret.pointer(key), secret.get(key));
        self.secrets.push(SecretUse { file: file.clone(), stage, place, said, hosts });
        Some(SecretFile(file))
    }
}

/// The variable that says `pointer`; its value may be a secret and is not shown.
fn variable(pointer: &str) -> Place {
    let name = format!("SNODO{}", pointer.replace('/', "__").to_ascii_uppercase());
    let end = name.len();
    Place::new(&Arc::new(SourceFile { path: ENVIRONMENT.to_owned(), text: name }), 0..end)
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit: usize = match &text[digits.len()..] {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// A duration in the largest unit that says it whole.
fn lasting(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let whole = units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

fn shown(size: usize) -> String {
    match size {
        size if size >= 1 << 20 => format!("{}MiB", size >> 20),
        size if size >= 1 << 10 => format!("{}KiB", size >> 10),
        size => format!("{size}B"),
    }
}
