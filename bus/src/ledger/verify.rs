//! Whether a chain of events is as it was written; where it is not, what was done to it and where.
//!
//! Invariant: nothing found means that every event is what was hashed, that every commit leads to the
//! next, and that the chain leads to every head, those kept outside the database included. What is found
//! is named by the numbers that the events bear now.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::Serialize;
use snodo_core::ids::Digest;

use super::{
    Event, Ledger, ReadError, chain,
    prove::{Batches, Head},
};

/// How far from its place an event is looked for that bears another number than it was hashed with.
const FAR: i64 = 1000;
/// So many events are looked for that far; of the others it is enough that they were altered.
const SEARCHES: u32 = 200;

/// What is wrong with a chain, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// Events are not what was hashed.
    Altered {
        /// The chain.
        chain: String,
        /// The first.
        from: i64,
        /// The last.
        to: i64,
    },
    /// Events are gone from the middle.
    Missing {
        /// The chain.
        chain: String,
        /// The first.
        from: i64,
        /// The last.
        to: i64,
    },
    /// Events were put in: those after them bear higher numbers than they were hashed with, or no head
    /// knows of them.
    Inserted {
        /// The chain.
        chain: String,
        /// The first.
        from: i64,
        /// The last.
        to: i64,
    },
    /// An event has the place of another.
    Reordered {
        /// The chain.
        chain: String,
        /// Where it stands.
        n: i64,
        /// Where it stood.
        was: i64,
    },
    /// Events of a commit do not lead to the head after it: one was put in, taken out or changed
    /// together with its hash.
    Broken {
        /// The chain.
        chain: String,
        /// The commit's first event.
        from: i64,
        /// Its last.
        to: i64,
    },
    /// Events are gone from the end.
    Truncated {
        /// The chain.
        chain: String,
        /// The first.
        from: i64,
        /// The last that is known of.
        to: i64,
    },
    /// The chain's own head, or one that was kept outside, is not what its events lead to: among them,
    /// or in the chain's own head, something was rewritten.
    OtherHead {
        /// The chain.
        chain: String,
        /// The first event after the last head that agrees.
        from: i64,
        /// The last event that the head stands for.
        to: i64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered { chain, from, to } => {
                write!(f, "chain {chain}: {} altered", Events(*from, *to))
            }
            Self::Missing { chain, from, to } => {
                write!(f, "chain {chain}: {} taken out", Events(*from, *to))
            }
            Self::Inserted { chain, from, to } => {
                write!(f, "chain {chain}: {} put in", Events(*from, *to))
            }
            Self::Reordered { chain, n, was } => {
                write!(f, "chain {chain}: event {n} stood at place {was}")
            }
            Self::Broken { chain, from, to } => {
                write!(f, "chain {chain}: the commit of events {from} to {to} was tampered with")
            }
            Self::Truncated { chain, from, to } => {
                write!(f, "chain {chain}: {} cut off the end", Events(*from, *to))
            }
            Self::OtherHead { chain, from, to } => {
                write!(
                    f,
                    "chain {chain}: events {from} to {to} do not lead to the head that was kept"
                )
            }
        }
    }
}

/// `event 5 was`, `events 5 to 7 were`.
struct Events(i64, i64);

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(from, to) if from == to => write!(f, "event {from} was"),
            Self(from, to) => write!(f, "events {from} to {to} were"),
        }
    }
}

impl Finding {
    /// Where it lies: the first event and the last.
    fn place(&self) -> (i64, i64) {
        match *self {
            Self::Reordered { n, .. } => (n, n),
            Self::Altered { from, to, .. }
            | Self::Missing { from, to, .. }
            | Self::Inserted { from, to, .. }
            | Self::Broken { from, to, .. }
            | Self::Truncated { from, to, .. }
            | Self::OtherHead { from, to, .. } => (from, to),
        }
    }
}

/// How far a check has come: events that were read, of those that were there when it began.
#[derive(Debug, Default)]
pub struct Progress {
    /// Read so far.
    pub done: AtomicU64,
    /// All of them.
    pub of: AtomicU64,
}

/// Checks every chain, with itself and with the heads kept outside. Nothing found: nothing changed.
pub async fn verify(ledger: &dyn Ledger, kept: &[Head]) -> Result<Vec<Finding>, ReadError> {
    verify_watched(ledger, kept, &Progress::default()).await
}

/// The same, for somebody who watches.
pub async fn verify_watched(
    ledger: &dyn Ledger,
    kept: &[Head],
    progress: &Progress,
) -> Result<Vec<Finding>, ReadError> {
    let mut heads: BTreeMap<String, Vec<(i64, Digest)>> = BTreeMap::new();
    for (chain, n, hash) in ledger.heads().await? {
        heads.entry(chain).or_default().push((n, hash));
    }
    let events = heads.values().flatten().map(|(n, _)| u64::try_from(*n).unwrap_or(0)).sum();
    progress.done.store(0, Relaxed);
    progress.of.store(events, Relaxed);
    for head in kept {
        heads.entry(head.chain.clone()).or_default().push((head.n, head.hash));
    }
    let mut findings = Vec::new();
    for (chain, mut heads) in heads {
        heads.sort_unstable();
        heads.dedup();
        let mut walk = Walk::along(&chain, heads);
        let mut batches = Batches::from(ledger, &chain, 1);
        while let Some(batch) = batches.next().await? {
            walk.batch(&batch);
            progress.done.fetch_add(batch.len() as u64, Relaxed);
        }
        // A bus that runs has gone on meanwhile: as far as the head that the chain has now.
        let now = ledger.heads().await?.into_iter().find(|(name, _, _)| *name == chain);
        if let Some((_, n, hash)) = now {
            walk.expect(n, hash);
            while walk.next <= n
                && let Some(batch) = batches.next().await?
            {
                walk.batch(&batch);
            }
        }
        findings.extend(walk.end());
    }
    Ok(findings)
}

/// Events that bear other numbers than they were hashed with, all by the same difference.
#[derive(Clone, Copy, Debug)]
struct Moved {
    from: i64,
    to: i64,
    by: i64,
}

/// A walk along a chain.
struct Walk {
    chain: String,
    /// The number that comes next.
    next: i64,
    /// The first event of the commit before.
    last_from: i64,
    /// The head that the events so far lead to.
    head: Digest,
    /// Heads to be met, in the order of their numbers; the highest of them, and the last that agreed.
    heads: Vec<(i64, Digest)>,
    highest: i64,
    agreed: i64,
    /// By how much the numbers are shifted here.
    by: i64,
    moved: Vec<Moved>,
    /// Events that are not what was hashed, under whatever number; events that are not there.
    altered: Vec<(i64, i64)>,
    missing: Vec<(i64, i64)>,
    /// Commits that the events do not lead to, and the first such head: causes, or consequences of the
    /// above.
    unmet: Vec<Finding>,
    other_head: Option<Finding>,
    searches: u32,
}

impl Walk {
    fn along(chain: &str, heads: Vec<(i64, Digest)>) -> Self {
        let highest = heads.last().map_or(0, |(n, _)| *n);
        Self {
            chain: chain.to_owned(),
            next: 1,
            last_from: 0,
            head: chain::EMPTY,
            heads,
            highest,
            agreed: 0,
            by: 0,
            moved: Vec::new(),
            altered: Vec::new(),
            missing: Vec::new(),
            unmet: Vec::new(),
            other_head: None,
            searches: 0,
        }
    }

    /// A head that came while the chain was walked.
    fn expect(&mut self, n: i64, hash: Digest) {
        if n > self.highest {
            self.highest = n;
            self.heads.push((n, hash));
            self.meet(self.next - 1 - self.by);
        }
    }

    fn batch(&mut self, batch: &[Event]) {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
        if first.previous != self.head && self.next > 1 {
            let (chain, from, to) = (self.chain.clone(), self.last_from, self.next - 1);
            self.unmet.push(Finding::Broken { chain, from, to });
        }
        self.last_from = first.n;
        for event in batch {
            self.event(event);
        }
        let leaves: Vec<Digest> = batch.iter().map(|event| event.hash).collect();
        let root = chain::root_of(&leaves).unwrap_or(chain::EMPTY);
        self.head = chain::head_after(first.previous, root);
        self.meet(last.n - self.by);
    }

    fn event(&mut self, event: &Event) {
        if event.n > self.next {
            self.missing.push((self.next, event.n - 1));
        }
        self.next = event.n + 1;
        match self.shift_of(event) {
            Some(0) => self.by = 0,
            Some(by) => {
                self.by = by;
                match self.moved.last_mut() {
                    Some(run) if run.by == by && run.to == event.n - 1 => run.to = event.n,
                    _ => self.moved.push(Moved { from: event.n, to: event.n, by }),
                }
            }
            None => add(&mut self.altered, event.n),
        }
    }

    /// By how much an event's number differs from the one that it was hashed with; none where it is not
    /// what was hashed under any number near it.
    fn shift_of(&mut self, event: &Event) -> Option<i64> {
        let by_number = |by: i64| {
            let was = Event { n: event.n - by, ..event.clone() };
            was.n > 0 && chain::hash_of(&was) == event.hash
        };
        if chain::hash_of(event) == event.hash {
            return Some(0);
        }
        if by_number(self.by) {
            return Some(self.by);
        }
        self.searches += 1;
        let far = if self.searches > SEARCHES { 2 } else { FAR };
        (1..=far).flat_map(|by| [by, -by]).find(|by| by_number(*by))
    }

    /// Compares with the heads up to event `n`, which ends a commit.
    fn meet(&mut self, n: i64) {
        let met = self.heads.iter().take_while(|(at, _)| *at <= n).count();
        for (at, hash) in self.heads.drain(..met) {
            if at == 0 || self.other_head.is_some() {
                continue;
            }
            if at == n && hash == self.head {
                self.agreed = at;
                continue;
            }
            let (chain, from) = (self.chain.clone(), self.agreed + 1);
            self.other_head = Some(Finding::OtherHead { chain, from, to: at });
        }
    }

    /// What was found, in the order of the places; what only follows from it is left out.
    fn end(self) -> Vec<Finding> {
        let mut found = self.by_number();
        found.extend(self.beyond_the_ends());
        let causes: Vec<(i64, i64)> = found.iter().map(Finding::place).collect();
        let follows = |finding: &Finding| {
            let (from, to) = finding.place();
            causes.iter().any(|(first, last)| *first <= to + 1 && *last >= from - 1)
        };
        let unmet = self.unmet.into_iter().chain(self.other_head);
        found.extend(unmet.filter(|finding| !follows(finding)));
        found.sort_by_key(Finding::place);
        found
    }

    /// What the numbers of the events tell.
    fn by_number(&self) -> Vec<Finding> {
        let chain = || self.chain.clone();
        let mut found = Vec::new();
        if is_reordering(&self.moved) {
            found.extend(self.moved.iter().flat_map(|run| {
                (run.from..=run.to).map(|n| Finding::Reordered {
                    chain: chain(),
                    n,
                    was: n - run.by,
                })
            }));
        } else {
            found.extend(self.shifts());
        }
        let put_in: Vec<(i64, i64)> = found.iter().map(Finding::place).collect();
        let is_new = |(from, to): &&(i64, i64)| {
            !put_in.iter().any(|(first, last)| first <= from && to <= last)
        };
        let altered = self.altered.iter().filter(is_new);
        found.extend(altered.map(|(from, to)| Finding::Altered {
            chain: chain(),
            from: *from,
            to: *to,
        }));
        found.extend(self.missing.iter().map(|(from, to)| Finding::Missing {
            chain: chain(),
            from: *from,
            to: *to,
        }));
        found
    }

    /// Where the numbers begin to be higher, events were put in; where they begin to be lower, taken out.
    fn shifts(&self) -> Vec<Finding> {
        let (mut found, mut before) = (Vec::new(), 0);
        for run in &self.moved {
            let (chain, change) = (self.chain.clone(), run.by - before);
            let was = run.from - run.by;
            // A copy at the end: its original stands where it stood.
            let appended = run.from > self.highest.max(1);
            if change > 0 && !appended {
                found.push(Finding::Inserted { chain, from: run.from - change, to: run.from - 1 });
            } else if change < 0 {
                found.push(Finding::Missing { chain, from: was + change, to: was - 1 });
            }
            before = run.by;
        }
        found
    }

    /// What no head knows of, and what a head knows of and is gone.
    fn beyond_the_ends(&self) -> Option<Finding> {
        let (chain, last) = (self.chain.clone(), self.next - 1);
        let stood = if is_reordering(&self.moved) { last } else { last - self.by };
        let shifted = self.moved.last().is_some_and(|run| run.from <= self.highest);
        if last > self.highest && !shifted {
            return Some(Finding::Inserted { chain, from: self.highest + 1, to: last });
        }
        (stood < self.highest).then_some(Finding::Truncated {
            chain,
            from: stood + 1,
            to: self.highest,
        })
    }
}

/// Adds `n` to ranges in order.
fn add(ranges: &mut Vec<(i64, i64)>, n: i64) {
    match ranges.last_mut() {
        Some((_, to)) if *to == n - 1 => *to = n,
        _ => ranges.push((n, n)),
    }
}

/// Whether the moved events only changed places among themselves.
fn is_reordering(moved: &[Moved]) -> bool {
    let joined = |mut ranges: Vec<(i64, i64)>| {
        ranges.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::new();
        for (from, to) in ranges {
            match joined.last_mut() {
                Some((_, end)) if *end == from - 1 => *end = to,
                _ => joined.push((from, to)),
            }
        }
        joined
    };
    let now = moved.iter().map(|run| (run.from, run.to)).collect();
    let once = moved.iter().map(|run| (run.from - run.by, run.to - run.by)).collect();
    joined(now) == joined(once)
}
