//! Groups of parked deliveries: how many there are of each cause, and all of a cause tried again.
//!
//! Invariant: a group is what was parked when it was asked for; each of it is replayed once, by an act
//! of its own that names who and why.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use serde_json::{Value, json};
use snodo_core::adapter::Catalog;
use tokio::time::{Instant, sleep_until};

use super::{
    Common,
    desk::{Desk, Question, Replay, escaped},
    send::problem,
};
use crate::exit::{Exit, Failure};

/// How many signs a bar has.
const BAR: u64 = 30;
/// Between two words of progress.
pub(super) const TELL: Duration = Duration::from_millis(500);

/// `snodo parked groups`.
pub(super) async fn groups(common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
    let mut desk = Desk::new(common, catalog);
    let parked = match parked(&mut desk, "").await? {
        Ok(parked) => parked,
        Err(told) => return refused(common, &told),
    };
    let mut counts: BTreeMap<[String; 3], (u64, String)> = BTreeMap::new();
    for row in &parked {
        let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
        let (many, oldest) =
            counts.entry(["route", "step", "code"].map(word)).or_insert_with(|| (0, word("since")));
        *many += 1;
        *oldest = word("since").min(std::mem::take(oldest));
    }
    let mut groups: Vec<Value> = counts
        .into_iter()
        .map(|([route, step, code], (many, oldest))| {
            json!({ "route": route, "step": step, "code": code, "parked": many, "oldest": oldest })
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group["parked"].as_u64()));
    common.print(&json!({ "groups": groups }), table)?;
    Ok(Exit::Done)
}

fn table(told: &Value) -> String {
    let mut text = String::new();
    for group in told["groups"].as_array().into_iter().flatten() {
        let word = |key: &str| group[key].as_str().unwrap_or("-");
        let (route, step, code, oldest) =
            (word("route"), word("step"), word("code"), word("oldest"));
        let many = &group["parked"];
        let _ = writeln!(text, "{many:>6}  {route:<24}  {step:<16}  {code}  since {oldest}");
    }
    text
}

/// Every parked delivery that the filter takes, oldest first; or what the office said instead.
async fn parked(desk: &mut Desk<'_>, filter: &str) -> Result<Result<Vec<Value>, Value>, Failure> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let question = Question::get(format!("/deliveries?state=parked&after={after}{filter}"));
        let (told, exit) = desk.ask(&question).await?;
        if exit != Exit::Done {
            return Ok(Err(told));
        }
        let page = told["deliveries"].as_array().cloned().unwrap_or_default();
        match told["next"].as_i64() {
            Some(next) if !page.is_empty() => after = next,
            _ => return Ok(Ok(all)),
        }
        all.extend(page);
    }
}

fn refused(common: &Common, told: &Value) -> Result<Exit, Failure> {
    common.print(told, problem)?;
    Ok(Exit::Failed)
}

/// What came of a group.
#[derive(Default)]
struct Tally {
    replayed: usize,
    /// By the code with which each was refused.
    refused: BTreeMap<String, usize>,
}

/// `snodo parked replay --all`.
pub(super) async fn replay(
    replay: &Replay,
    common: &Common,
    catalog: &Catalog,
) -> Result<Exit, Failure> {
    let mut desk = Desk::new(common, catalog);
    let mut filter = String::new();
    for (name, value) in [("route", &replay.route), ("code", &replay.code)] {
        if let Some(value) = value {
            let _ = write!(filter, "&{name}={}", escaped(value));
        }
    }
    let parked = match parked(&mut desk, &filter).await? {
        Ok(parked) => parked,
        Err(told) => return refused(common, &told),
    };
    let ids: Vec<&str> = parked.iter().filter_map(|row| row["id"].as_str()).collect();
    let mut tally = Tally::default();
    let stopped = tokio::select! {
        done = each(&mut desk, replay, &ids, &mut tally) => done.map(|()| false)?,
        _ = tokio::signal::ctrl_c() => true,
    };
    let told = json!({
        "parked": ids.len(),
        "replayed": tally.replayed,
        "refused": tally.refused,
        "stopped": stopped,
    });
    common.print(&told, summary)?;
    Ok(if stopped || !tally.refused.is_empty() { Exit::Failed } else { Exit::Done })
}

/// One after the other, at the rate; what is refused stays parked and is counted.
async fn each(
    desk: &mut Desk<'_>,
    replay: &Replay,
    ids: &[&str],
    tally: &mut Tally,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut told = begun;
    for (number, id) in (0_u32..).zip(ids) {
        sleep_until(begun + Duration::from_secs(1) * number / replay.rate.max(1)).await;
        let (answer, exit) = desk.ask(&replay.question(id)).await?;
        if exit == Exit::Done {
            tally.replayed += 1;
        } else {
            let code = answer["code"].as_str().unwrap_or("-").to_owned();
            *tally.refused.entry(code).or_default() += 1;
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            progress(u64::from(number) + 1, ids.len() as u64);
        }
    }
    progress(ids.len() as u64, ids.len() as u64);
    Ok(())
}

/// Whether a person watches.
pub(super) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// A line that is written over, for a person who watches; it goes when all is done.
pub(super) fn progress(done: u64, of: u64) {
    if !is_watched() {
        return;
    }
    let mut err = io::stderr();
    let _ = if done < of {
        let full = usize::try_from(done.saturating_mul(BAR) / of).unwrap_or(0);
        let bar = "#".repeat(full);
        write!(err, "\r[{bar:<30}] {done} of {of}\x1b[K")
    } else {
        write!(err, "\r\x1b[K")
    };
    let _ = err.flush();
}

fn summary(told: &Value) -> String {
    let mut text = format!("{} of {} replayed\n", told["replayed"], told["parked"]);
    for (code, many) in told["refused"].as_object().into_iter().flatten() {
        let _ = writeln!(text, "{many} refused with {code}; they are still parked");
    }
    if told["stopped"] == json!(true) {
        text.push_str("stopped; the others are still parked\n");
    }
    text
}
