//! Proofs: that a message was accepted and how it ended, for somebody who has nothing of ours.
//!
//! Invariant: a proof is checked against a head that was kept outside the database (`EVIDENCE.md`); a
//! chain that was rewritten as a whole agrees with itself, but not with the heads.

use std::{collections::BTreeMap, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snodo_core::{
    ids::{Digest, MessageId},
    timestamp::Timestamp,
};

use super::{Event, Ledger, ReadError, Row, chain};

/// Events read at once.
const PAGE: u32 = 1000;

/// A head of a chain, as it was at a moment: a line of `heads.log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// When it was kept.
    pub at: Timestamp,
    /// The chain.
    pub chain: String,
    /// Its last event.
    pub n: i64,
    /// Its head.
    pub hash: Digest,
}

/// Reads `heads.log`; none where there is no such file. A last line cut short is left out.
pub fn read_heads(path: &Path) -> io::Result<Vec<Head>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Appends the heads that have moved since they were last kept.
pub async fn append_heads(
    ledger: &dyn Ledger,
    path: &Path,
    now: Timestamp,
) -> Result<(), ReadError> {
    let heads = ledger.heads().await?;
    let path = path.to_owned();
    let write = move || append(&path, heads, now);
    let done = tokio::task::spawn_blocking(write).await.map_err(io::Error::other);
    done.and_then(|written| written).map_err(|error| ReadError(error.kind().to_string()))
}

fn append(path: &Path, heads: Vec<(String, i64, Digest)>, now: Timestamp) -> io::Result<()> {
    use std::io::{Read as _, Seek as _, Write as _};
    let mut file = std::fs::OpenOptions::new().read(true).append(true).create(true).open(path)?;
    // The last heads are in the last few kilobytes; one kept twice does no harm.
    let from = file.metadata()?.len().saturating_sub(16 * 1024);
    file.seek(io::SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let mut last = BTreeMap::new();
    for line in String::from_utf8_lossy(&tail).lines() {
        if let Ok(head) = serde_json::from_str::<Head>(line) {
            last.insert(head.chain.clone(), head.n);
        }
    }
    let mut lines = String::new();
    for (chain, n, hash) in heads {
        if n > 0 && last.get(&chain) != Some(&n) {
            lines += &serde_json::to_string(&Head { at: now, chain, n, hash })?;
            lines.push('\n');
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}

/// The proof of everything that the chains hold about a message and its deliveries; none of a message
/// that the ledger does not know. Of one that retention has removed it proves that it was accepted: which
/// deliveries it had is not known any more. `heads` are those kept outside.
pub async fn prove(
    ledger: &dyn Ledger,
    id: MessageId,
    heads: &[Head],
) -> Result<Option<Value>, ReadError> {
    let story = ledger.story(id).await?;
    let deliveries = story.map(|story| story.deliveries).unwrap_or_default();
    let mut subjects = vec![id.to_string()];
    subjects.extend(deliveries.iter().map(|delivery| delivery.id.to_string()));
    let mut events = Vec::new();
    for subject in subjects {
        for event in ledger.events_of(&subject).await? {
            events.push(prove_event(ledger, event, heads).await?);
        }
    }
    if events.is_empty() {
        return Ok(None);
    }
    let to = |row: &Row| json!({ "id": row.id, "to": &*row.subscriber });
    Ok(Some(json!({
        "format": "snodo-proof-v1",
        "message": id,
        "deliveries": deliveries.iter().map(to).collect::<Vec<_>>(),
        "events": events,
    })))
}

async fn prove_event(
    ledger: &dyn Ledger,
    event: Event,
    heads: &[Head],
) -> Result<Value, ReadError> {
    let mut batches = Batches::from(ledger, &event.chain, batch_start(ledger, &event).await?);
    let own = batches.next().await?.unwrap_or_default();
    let leaves: Vec<Digest> = own.iter().map(|event| event.hash).collect();
    let index = own.iter().position(|other| other.n == event.n).unwrap_or(0);
    let path: Vec<Value> = chain::path_of(&leaves, index)
        .iter()
        .map(|(side, hash)| json!({ "side": side, "hash": hash }))
        .collect();
    let mut last = own.last().map_or(event.n, |event| event.n);
    let head = anchor(ledger, &event.chain, last, heads).await?;
    let mut roots = Vec::new();
    while head.as_ref().is_some_and(|head| last < head.n) {
        let Some(batch) = batches.next().await? else { break };
        last = batch.last().map_or(last, |event| event.n);
        let leaves: Vec<Digest> = batch.iter().map(|event| event.hash).collect();
        roots.extend(chain::root_of(&leaves));
    }
    Ok(json!({ "event": event, "path": path, "roots": roots, "head": head }))
}

/// The first head kept at or after event `n`; else the chain's head now.
async fn anchor(
    ledger: &dyn Ledger,
    chain: &str,
    n: i64,
    heads: &[Head],
) -> Result<Option<Head>, ReadError> {
    let kept = heads.iter().filter(|head| head.chain == chain && head.n >= n);
    if let Some(head) = kept.min_by_key(|head| head.n) {
        return Ok(Some(head.clone()));
    }
    let now = ledger.heads().await?.into_iter().find(|(name, _, _)| name == chain);
    Ok(now.map(|(chain, n, hash)| Head { at: Timestamp::default(), chain, n, hash }))
}

/// The number of the first event of an event's commit.
async fn batch_start(ledger: &dyn Ledger, event: &Event) -> Result<i64, ReadError> {
    let mut start = event.n;
    while start > 1 {
        let from = (start - i64::from(PAGE)).max(1);
        let limit = u32::try_from(start - from).unwrap_or(PAGE);
        let before = ledger.events(&event.chain, from, limit).await?;
        let same = before.iter().rev().take_while(|other| other.previous == event.previous).count();
        start -= i64::try_from(same).unwrap_or(0);
        if same < before.len() || before.is_empty() {
            break;
        }
    }
    Ok(start)
}

/// A chain, commit by commit.
pub(super) struct Batches<'a> {
    ledger: &'a dyn Ledger,
    chain: String,
    next: i64,
    page: std::collections::VecDeque<Event>,
}

impl<'a> Batches<'a> {
    pub(super) fn from(ledger: &'a dyn Ledger, chain: &str, from: i64) -> Self {
        Self {
            ledger,
            chain: chain.to_owned(),
            next: from,
            page: std::collections::VecDeque::new(),
        }
    }

    /// The next event, without taking it.
    async fn peek(&mut self) -> Result<Option<&Event>, ReadError> {
        if self.page.is_empty() {
            self.page = self.ledger.events(&self.chain, self.next, PAGE).await?.into();
            if let Some(last) = self.page.back() {
                self.next = last.n + 1;
            }
        }
        Ok(self.page.front())
    }

    /// The events of the next commit: those that follow the same head.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Event>>, ReadError> {
        let Some(first) = self.peek().await? else { return Ok(None) };
        let previous = first.previous;
        let mut batch = Vec::new();
        while self.peek().await?.is_some_and(|event| event.previous == previous) {
            batch.extend(self.page.pop_front());
        }
        Ok(Some(batch))
    }
}
