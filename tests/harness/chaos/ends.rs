//! What the bus says became of each message, asked as its sender would.
//!
//! Invariant: a message of which the bus knows nothing has no end; an answer that cannot be read is an
//! error, never a guess.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::task::JoinSet;

use super::Failure;
use crate::{
    chaos::house::{SOURCE, TOKEN},
    checker::End,
    client::{Answer, Client, get},
};

/// Questions at once.
const ASKERS: usize = 16;

/// How often one question is put again, a second later each time.
const PATIENCE: u32 = 20;

/// The ends of `messages`.
pub async fn collect(
    bus: SocketAddr,
    messages: &BTreeSet<u64>,
) -> Result<BTreeMap<u64, End>, Failure> {
    let messages: Arc<[u64]> = messages.iter().copied().collect();
    let next = Arc::new(AtomicUsize::new(0));
    let mut askers = JoinSet::new();
    for _ in 0..ASKERS {
        askers.spawn(ask(bus, Arc::clone(&messages), Arc::clone(&next)));
    }
    let mut ends = BTreeMap::new();
    while let Some(found) = askers.join_next().await {
        ends.extend(found??);
    }
    Ok(ends)
}

async fn ask(
    bus: SocketAddr,
    messages: Arc<[u64]>,
    next: Arc<AtomicUsize>,
) -> io::Result<Vec<(u64, End)>> {
    let mut client = Client::new(bus);
    let mut ends = Vec::new();
    while let Some(message) = messages.get(next.fetch_add(1, Relaxed)) {
        let path = format!("/v1/messages?source={SOURCE}&id={message}");
        let answer = patiently(&mut client, &get(&path, TOKEN)).await?;
        match answer.status {
            200 => ends.push((*message, end(&answer.json())?)),
            404 => {}
            status => return Err(io::Error::other(format!("{status} to the question for an end"))),
        }
    }
    Ok(ends)
}

/// "Not now" is asked again: the machine may have other things to do.
async fn patiently(client: &mut Client, question: &[u8]) -> io::Result<Answer> {
    let mut answer = client.send(question).await?;
    for _ in 0..PATIENCE {
        if answer.status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer = client.send(question).await?;
    }
    Ok(answer)
}

/// The end of a message and of all that came of it.
fn end(story: &Value) -> io::Result<End> {
    let derived = story["derived"].as_array().into_iter().flatten();
    let states = std::iter::once(story).chain(derived).map(|message| message["state"].as_str());
    let mut end = End::Completed;
    for state in states {
        end = match (state, end) {
            (Some("open"), _) | (_, End::Open) => End::Open,
            (Some("parked" | "uncertain" | "discarded"), _) | (Some(_), End::WithAPerson) => {
                End::WithAPerson
            }
            (Some(_), End::Completed) => End::Completed,
            (None, _) => return Err(io::Error::other("an answer without state")),
        };
    }
    Ok(end)
}

/// Copies that every bus of a house together said to be lost, from its log: their figures died with them.
pub fn reconciled(log: &Path) -> io::Result<u64> {
    let log = fs::read_to_string(log)?;
    let lost = log.lines().filter(|line| line.contains("copies were lost in the broker"));
    let rows = lost.map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        line["fields"]["rows"].as_u64().unwrap_or(1)
    });
    Ok(rows.sum())
}
