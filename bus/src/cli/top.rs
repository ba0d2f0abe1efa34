//! `snodo top`: who is owed what, since when, live.
//!
//! Invariant: the terminal is as it was before, however this ends; where none is, one snapshot is
//! written and nothing else.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, IsTerminal as _, Read as _, Write as _},
    time::Duration,
};

use clap::Args;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use serde_json::Value;
use snodo_core::{adapter::Catalog, timestamp::Timestamp};
use tokio::time::{Instant, sleep};

use super::{
    Common,
    desk::{Desk, Question},
    send::problem,
};
use crate::exit::{Exit, Failure};

/// Between two looks at the keyboard.
const KEYS: Duration = Duration::from_millis(100);
/// Into another screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

#[derive(Debug, Args)]
pub(super) struct Top {
    /// Look so often, in seconds
    #[arg(long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Write one snapshot and end; so it is where no terminal is
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let mut desk = Desk::new(common, catalog);
        let live =
            !self.once && !common.json && io::stdout().is_terminal() && io::stdin().is_terminal();
        if live {
            return self.live(&mut desk).await;
        }
        let (told, exit) = desk.ask(&Question::get("/top")).await?;
        let text = |told: &Value| render(told, None, usize::MAX);
        common.print(&told, if exit == Exit::Done { text } else { problem })?;
        Ok(exit)
    }

    async fn live(&self, desk: &mut Desk<'_>) -> Result<Exit, Failure> {
        let _screen = Screen::enter()?;
        let mut before = None;
        loop {
            let (told, exit) = desk.ask(&Question::get("/top")).await?;
            let shown = if exit == Exit::Done {
                render(&told, before.as_ref(), rows_of_terminal())
            } else {
                problem(&told)
            };
            paint(&shown)?;
            before = Some(told);
            if self.wait().await {
                return Ok(Exit::Done);
            }
        }
    }

    /// Until the next look; whether somebody wants to end.
    async fn wait(&self) -> bool {
        let until = Instant::now() + Duration::from_secs(self.every);
        while Instant::now() < until {
            tokio::select! {
                () = sleep(KEYS) => {}
                _ = tokio::signal::ctrl_c() => return true,
            }
            if pressed().iter().any(|key| b"qQ".contains(key)) {
                return true;
            }
        }
        false
    }
}

/// Another screen, on which keys are neither shown nor waited for.
struct Screen(Termios);

impl Screen {
    fn enter() -> io::Result<Self> {
        let was = tcgetattr(io::stdin())?;
        let mut quiet = was.clone();
        quiet.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 0;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        let screen = Self(was);
        write_all(ENTER)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write_all(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn write_all(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Over what was there, so that nothing flickers.
fn paint(text: &str) -> io::Result<()> {
    let mut frame = "\x1b[H".to_owned();
    for line in text.lines() {
        let _ = write!(frame, "{line}\x1b[K\r\n");
    }
    write_all(&(frame + "\x1b[J"))
}

/// Keys that were pressed and not read yet.
fn pressed() -> Vec<u8> {
    let mut keys = [0; 16];
    let read = io::stdin().lock().read(&mut keys).unwrap_or(0);
    keys[..read].to_vec()
}

fn rows_of_terminal() -> usize {
    tcgetwinsize(io::stdout()).map_or(24, |size| usize::from(size.ws_row.max(5)))
}

/// The table: what waits longest first. `before` is the look before it: from both comes the rate.
fn render(told: &Value, before: Option<&Value>, height: usize) -> String {
    let now = time(&told["at"]);
    let mut rows: Vec<Line<'_>> = items(told).map(|row| Line::of(row, now)).collect();
    rows.sort_by(|a, b| (b.age, b.waits(), a.route).cmp(&(a.age, a.waits(), b.route)));
    let passed = before.map(|before| now.since(time(&before["at"])));
    let ended: BTreeMap<&str, i64> =
        before.into_iter().flat_map(items).map(|row| (word(row), count(row, "ended"))).collect();
    let sum = |of: fn(&Line<'_>) -> i64| rows.iter().map(of).sum::<i64>();
    let mut text = format!(
        "{now}  open {}  parked {}  uncertain {}  strays {}\n",
        sum(|row| row.open),
        sum(|row| row.parked),
        sum(|row| row.uncertain),
        told["strays"],
    );
    for target in told["away"].as_array().into_iter().flatten() {
        let part = |name: &str| target[name].as_str().unwrap_or("-");
        let age = lasting(now.since(time(&target["since"])));
        let (name, code) = (part("target"), part("code"));
        let _ = writeln!(text, "away for {age}: {name} ({code}); the routes that call it wait");
    }
    let head = text.lines().count();
    let _ = writeln!(
        text,
        "{:>8}  {:>9}  {:>7}  {:>9}  {:>8}  {:>10}  ROUTE",
        "OLDEST", "OPEN", "PARKED", "UNCERTAIN", "ENDED/S", "ENDED"
    );
    let none = || "-".to_owned();
    for row in rows.iter().take(height.saturating_sub(head + 2)) {
        let rate = passed.zip(ended.get(row.route)).map(|(passed, was)| row.rate(*was, passed));
        let rate = rate.map_or_else(none, |rate| format!("{rate:.1}"));
        let age = row.age.map_or_else(none, lasting);
        let Line { open, parked, uncertain, ended, route, .. } = row;
        let waits = row.waits_for.map(|target| format!("  (waits for {target})"));
        let waits = waits.unwrap_or_default();
        let _ = writeln!(
            text,
            "{age:>8}  {open:>9}  {parked:>7}  {uncertain:>9}  {rate:>8}  {ended:>10}  {route}{waits}"
        );
    }
    text
}

/// One route or party.
struct Line<'a> {
    route: &'a str,
    age: Option<Duration>,
    open: i64,
    parked: i64,
    uncertain: i64,
    ended: i64,
    /// A target that is away.
    waits_for: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(row: &'a Value, now: Timestamp) -> Self {
        Self {
            route: word(row),
            age: row["since"].as_str().map(|_| now.since(time(&row["since"]))),
            open: count(row, "open"),
            parked: count(row, "parked"),
            uncertain: count(row, "uncertain"),
            ended: count(row, "ended"),
            waits_for: row["waitsFor"].as_str(),
        }
    }

    fn waits(&self) -> i64 {
        self.open + self.parked + self.uncertain
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    fn rate(&self, was: i64, passed: Duration) -> f64 {
        (self.ended - was).max(0) as f64 / passed.as_secs_f64().max(0.001)
    }
}

fn items(told: &Value) -> impl Iterator<Item = &Value> {
    told["routes"].as_array().into_iter().flatten()
}

fn word(row: &Value) -> &str {
    row["route"].as_str().unwrap_or("-")
}

fn count(row: &Value, key: &str) -> i64 {
    row[key].as_i64().unwrap_or(0)
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(Timestamp::parse).unwrap_or_default()
}

/// `42s`, `17m`, `5h`, `3d`.
fn lasting(age: Duration) -> String {
    match age.as_secs() {
        secs if secs < 120 => format!("{secs}s"),
        secs if secs < 7_200 => format!("{}m", secs / 60),
        secs if secs < 172_800 => format!("{}h", secs / 3_600),
        secs => format!("{}d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_longest_is_on_top_and_two_looks_give_a_rate() {
        let look = |at: &str, ended: i64| {
            let away = json!([{ "target": "region", "since": "2026-11-26T07:10:00.000Z", "code": "SN0760" }]);
            json!({ "at": at, "strays": 0, "away": away, "routes": [
                { "route": "archive", "open": 3, "ended": ended, "since": "2026-11-26T09:59:18.000Z" },
                { "route": "notify-region", "open": 1, "parked": 2, "ended": 7,
                  "since": "2026-11-26T07:00:00.000Z", "waitsFor": "region" },
                { "route": "party:region", "uncertain": 1, "ended": 0 },
            ]})
        };
        let before = look("2026-11-26T09:59:58.000Z", 10);
        let now = look("2026-11-26T10:00:00.000Z", 15);
        insta::assert_snapshot!(render(&now, Some(&before), 24), @r"
        2026-11-26T10:00:00.000Z  open 4  parked 2  uncertain 1  strays 0
        away for 2h: region (SN0760); the routes that call it wait
          OLDEST       OPEN   PARKED  UNCERTAIN   ENDED/S       ENDED  ROUTE
              3h          1        2          0       0.0           7  notify-region  (waits for region)
             42s          3        0          0       2.5          15  archive
               -          0        0          1       0.0           0  party:region
        ");
        assert_eq!(render(&now, None, 5).lines().count(), 4, "no more than the terminal shows");
    }
}
