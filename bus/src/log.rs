//! The log: one line per thing that happened, as JSON or for people; what repeats is counted.
//!
//! Invariant: a line is one line, whatever is in it; only fields of the bus's own events are written (no
//! span, which other libraries fill as they like); what cannot be written is given up, never waited for.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    io::{self, IsTerminal as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{EnvFilter, Layer, layer::Context, prelude::*};

use crate::{
    clock::{Clock as _, SystemClock},
    settings::LogFormat,
};

/// The same is said again after so long, with how often it happened meanwhile.
const REPEATED: Duration = Duration::from_mins(1);
/// Things that are told apart; beyond that it is forgotten what was said.
const THINGS: usize = 1024;
/// No field is longer, in characters.
const LONGEST: usize = 2000;

/// Logs to the standard error from now on; `SNODO_LOG` says what. Gives the count of lines that could not
/// be written.
pub(crate) fn start(format: LogFormat) -> Arc<AtomicU64> {
    let filter = EnvFilter::try_from_env("SNODO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Later directives win: whatever was asked for, no body gets into the log.
    let filter = match crate::broker::LOG_FILTER.parse() {
        Ok(never) => filter.add_directive(never),
        Err(_) => EnvFilter::new("info,lapin=off"),
    };
    let json = match format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines { json, repeats: Mutex::default(), dropped: Arc::clone(&dropped) };
    // Set once in a process; an error is a second log.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    dropped
}

/// Writes a line, or counts it where it cannot be: a full disk or a reader that went away stops no message.
fn put_down(out: &mut impl io::Write, line: &str, dropped: &AtomicU64) {
    if out.write_all(line.as_bytes()).is_err() {
        dropped.fetch_add(1, Relaxed);
    }
}

/// Writes events as lines.
struct Lines {
    json: bool,
    repeats: Mutex<Repeats>,
    dropped: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        let mut line = Line::default();
        event.record(&mut line);
        let (level, module) = (*meta.level(), meta.target());
        let mut repeated = 0;
        if level <= Level::INFO {
            let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(before) = repeats.say(&line.thing(module), SystemClock.uptime()) else {
                return;
            };
            repeated = before;
        }
        if repeated > 0 {
            line.fields.insert("repeated".to_owned(), json!(repeated));
        }
        let at = SystemClock.now().to_string();
        let text =
            if self.json { line.as_json(&at, level, module) } else { line.for_people(&at, level) };
        put_down(&mut io::stderr().lock(), &text, &self.dropped);
    }
}

/// What was said lately, and how often it was not.
#[derive(Debug, Default)]
struct Repeats(HashMap<String, (Duration, u64)>);

impl Repeats {
    /// Whether it is said now; then how often it was not since it was said last.
    fn say(&mut self, thing: &str, now: Duration) -> Option<u64> {
        if let Some((said, kept_back)) = self.0.get_mut(thing) {
            if now < *said + REPEATED {
                *kept_back += 1;
                return None;
            }
            *said = now;
            return Some(std::mem::take(kept_back));
        }
        if self.0.len() >= THINGS {
            self.0.clear();
        }
        self.0.insert(thing.to_owned(), (now, 0));
        Some(0)
    }
}

/// The fields of one event.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    /// What must be the same for two lines to be the same thing again: ids do not count.
    fn thing(&self, module: &str) -> String {
        let of = |name: &str| self.fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut thing = format!("{module}\n{}", self.message);
        for name in ["code", "reason", "route", "step", "error", "what", "name"] {
            let _ = write!(thing, "\n{}", of(name));
        }
        thing
    }

    /// The code with which some messages begin is a field of its own.
    fn coded(&self) -> (Option<&str>, &str) {
        let is_code = |word: &str| {
            word.len() == 6
                && word.starts_with("SN")
                && word[2..].bytes().all(|byte| byte.is_ascii_digit())
        };
        match self.message.split_at_checked(6) {
            Some((code, rest)) if is_code(code) => {
                (Some(code), rest.trim_start_matches([':', ' ']))
            }
            _ => (None, &self.message),
        }
    }

    fn as_json(&self, at: &str, level: Level, module: &str) -> String {
        let (code, message) = self.coded();
        let mut line = Map::new();
        line.insert("ts".to_owned(), json!(at));
        line.insert("level".to_owned(), json!(level.as_str()));
        line.insert("message".to_owned(), json!(message));
        if let Some(code) = code {
            line.insert("code".to_owned(), json!(code));
        }
        line.extend(self.fields.clone());
        line.insert("module".to_owned(), json!(module));
        format!("{}\n", Value::Object(line))
    }

    fn for_people(&self, at: &str, level: Level) -> String {
        let mut text = format!("{at} {level:<5} {}", printable(&self.message));
        for (name, value) in &self.fields {
            let value = value.as_str().map_or_else(|| value.to_string(), printable);
            let _ = write!(text, "  {name}={value}");
        }
        text.push('\n');
        text
    }

    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => value.as_str().unwrap_or_default().clone_into(&mut self.message),
            // The engine's word for who is owed a delivery; people and metrics say route.
            "subscriber" => drop(self.fields.insert("route".to_owned(), value)),
            // Of libraries that log by another crate.
            name if name.starts_with("log.") => {}
            name => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

/// Nothing that moves a cursor or begins a line.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text: String = format!("{value:?}").chars().take(LONGEST).collect();
        self.put(field, Value::String(text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.chars().take(LONGEST).collect()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str, fields: &[(&str, &str)]) -> Line {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        Line { message: message.to_owned(), fields: fields.collect() }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_troubles_nobody() {
        let dropped = AtomicU64::new(0);
        let mut room = [0_u8; 3];
        let mut no_room = room.as_mut_slice();
        put_down(&mut no_room, "one\n", &dropped);
        put_down(&mut no_room, "two\n", &dropped);
        assert_eq!(dropped.load(Relaxed), 2);
    }

    #[test]
    fn a_line_is_one_line_and_the_code_a_field() {
        let line =
            line("SN0839: not\nkept", &[("error", "\u{1b}[2J\r\nlevel=ERROR"), ("route", "a")]);
        let json = line.as_json("T", Level::WARN, "snodo::x");
        insta::assert_snapshot!(json.trim_end(), @r#"{"code":"SN0839","error":"\u001b[2J\r\nlevel=ERROR","level":"WARN","message":"not\nkept","module":"snodo::x","route":"a","ts":"T"}"#);
        let text = line.for_people("T", Level::WARN);
        insta::assert_snapshot!(text.trim_end(), @r"T WARN  SN0839: not\nkept  error=\u{1b}[2J\r\nlevel=ERROR  route=a");
        assert_eq!(Line::default().coded(), (None, ""));
    }

    #[test]
    fn what_repeats_is_said_once_a_minute_with_how_often() {
        let mut repeats = Repeats::default();
        let thing = |route: &str, delivery: &str| {
            line("waits", &[("route", route), ("delivery", delivery)]).thing("m")
        };
        let at = Duration::from_secs;
        assert_eq!(repeats.say(&thing("a", "1"), at(1)), Some(0));
        assert_eq!(repeats.say(&thing("a", "2"), at(2)), None);
        assert_eq!(repeats.say(&thing("b", "3"), at(2)), Some(0), "another route");
        assert_eq!(repeats.say(&thing("a", "4"), at(60)), None);
        assert_eq!(repeats.say(&thing("a", "5"), at(61)), Some(2));
        assert_eq!(repeats.say(&thing("a", "6"), at(62)), None);
        for n in 0..2 * THINGS {
            assert_eq!(repeats.say(&n.to_string(), at(63)), Some(0));
        }
        assert!(repeats.0.len() <= THINGS);
    }
}
