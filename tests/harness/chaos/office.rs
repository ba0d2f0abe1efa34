//! The person of the chaos runs: decides what is uncertain from the target's log, tries again what is
//! parked.
//!
//! Invariant: says *done* only of what the log holds, and *not done* only of what it does not hold; when
//! that may be believed is the bus's to say.

use std::{collections::BTreeMap, io, path::PathBuf};

use serde_json::{Value, json};

use super::Failure;
use crate::{chaos::target::Line, client::over_socket};

/// How often one delivery is tried again.
const REPLAYS: u32 = 2;

/// The person, and what they have decided.
#[derive(Debug)]
pub struct Office {
    socket: PathBuf,
    /// Decisions that the bus took, by delivery.
    resolved: BTreeMap<String, u32>,
    replayed: BTreeMap<String, u32>,
}

impl Office {
    /// Of the bus that serves this socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, resolved: BTreeMap::new(), replayed: BTreeMap::new() }
    }

    /// Uncertain deliveries that were decided.
    pub fn resolved(&self) -> u64 {
        self.resolved.len() as u64
    }

    /// Parked deliveries that were tried again.
    pub fn replayed(&self) -> u64 {
        self.replayed.len() as u64
    }

    /// Decides all that is uncertain and can be decided now; tries again what is parked. Returns how many
    /// still wait. `read` reads the target's log.
    pub async fn work(
        &mut self,
        read: impl FnOnce() -> io::Result<Vec<Line>>,
    ) -> Result<usize, Failure> {
        let mut left = 0;
        let uncertain = self.list("uncertain").await?;
        let lines = if uncertain.is_empty() { Vec::new() } else { read()? };
        for id in uncertain {
            if self.resolve(&id, &lines).await? {
                *self.resolved.entry(id).or_default() += 1;
            } else {
                left += 1;
            }
        }
        for id in self.list("parked").await? {
            let times = self.replayed.get(&id).copied().unwrap_or(0);
            if times < REPLAYS && self.replay(&id).await? {
                self.replayed.insert(id, times + 1);
            }
        }
        Ok(left)
    }

    async fn resolve(&self, id: &str, lines: &[Line]) -> Result<bool, Failure> {
        // A step key is the delivery's id, a slash, the step.
        let step_key = format!("{id}/");
        let done = lines.iter().any(|line| line.applied && line.key.starts_with(&step_key));
        self.act(id, "resolve", &json!({ "reason": "read in the target's log", "done": done }))
            .await
    }

    async fn replay(&self, id: &str) -> Result<bool, Failure> {
        self.act(id, "replay", &json!({ "reason": "the cause is gone", "same_version": true }))
            .await
    }

    /// Whether the bus took it; 409 is its no: too early, or no longer so.
    async fn act(&self, id: &str, act: &str, body: &Value) -> Result<bool, Failure> {
        let path = format!("/deliveries/{id}/{act}");
        let answer = over_socket(&self.socket, "POST", &path, &body.to_string()).await?;
        match answer.status {
            200 => Ok(true),
            409 => Ok(false),
            status => Err(format!("the operators' socket answered {status} to {act}").into()),
        }
    }

    async fn list(&self, state: &str) -> Result<Vec<String>, Failure> {
        let (mut ids, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/deliveries?state={state}&after={after}&limit=500");
            let answer = over_socket(&self.socket, "GET", &path, "").await?;
            if answer.status != 200 {
                return Err(
                    format!("the operators' socket answered {} to a list", answer.status).into()
                );
            }
            let page = answer.json();
            let found = page["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
            ids.extend(found.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)));
            match page["next"].as_i64() {
                Some(next) if !found.is_empty() => after = next,
                _ => return Ok(ids),
            }
        }
    }
}
