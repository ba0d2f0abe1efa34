//! The rows of the fault matrix, by name, and which of them a session runs on which ledger.
//!
//! Invariant: pure; the same wish and seed give the same runs with the same seeds.

use crate::chaos::plan::{Dice, LedgerKind};

/// On which ledgers a row runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledgers {
    /// On each: rows of custody are at stake.
    Both,
    /// On a drawn one: it is about something else.
    One,
}

/// What it shares the machine with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Other rows, on the same broker: no time is measured, and only its own vhost is harmed.
    Beside,
    /// Nothing.
    Alone,
}

/// Whether copies may be sent again because their queue has lost them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// None was lost.
    Never,
    /// Some may have been.
    Maybe,
    /// Some were.
    Surely,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `F01`.
    pub name: &'static str,
    /// The fault.
    pub title: &'static str,
    /// On which ledgers.
    pub ledgers: Ledgers,
    /// Beside which others.
    pub company: Company,
    /// What the reconciler has to do.
    pub reconciled: Reconciled,
    /// Whether `make test` may draw it: it takes seconds and harms nobody else.
    pub short: bool,
}

const fn row(name: &'static str, title: &'static str) -> Row {
    Row {
        name,
        title,
        ledgers: Ledgers::One,
        company: Company::Beside,
        reconciled: Reconciled::Never,
        short: false,
    }
}

impl Row {
    const fn both(self) -> Self {
        Self { ledgers: Ledgers::Both, ..self }
    }

    const fn alone(self) -> Self {
        Self { company: Company::Alone, ..self }
    }

    const fn reconciled(self, reconciled: Reconciled) -> Self {
        Self { reconciled, ..self }
    }

    const fn short(self) -> Self {
        Self { short: true, ..self }
    }

    /// The row called so.
    pub fn named(name: &str) -> Option<Self> {
        ROWS.into_iter().find(|row| row.name.eq_ignore_ascii_case(name))
    }
}

use Reconciled::{Maybe, Surely};

/// All of them.
pub const ROWS: [Row; 34] = [
    row("F01", "the broker is killed").both().alone(),
    row("F02", "the broker's application restarts").alone(),
    row("F03", "the broker has a memory alarm").alone(),
    row("F04", "the broker has a disk alarm").alone(),
    row("F05", "a route's queue is deleted").both().reconciled(Maybe),
    row("F06", "a route's queue is purged").both().reconciled(Surely),
    row("F07", "the exchange is deleted").both(),
    row("F08", "a binding is removed").both(),
    row("F09", "a queue is not as it is planned").reconciled(Maybe),
    row("F10", "the permissions are revoked"),
    row("F11", "the password is changed"),
    row("F12", "the vhost takes no more connections"),
    row("F23", "the broker's confirms are swallowed").both(),
    row("F24", "the broker refuses: a queue is full").both(),
    row("F25", "a copy is delivered twice").both().short(),
    row("F26", "copies come out of order").both(),
    row("F27", "a message always fails").short(),
    row("F28", "a message kills the process").both().short(),
    row("F29", "a call hangs, and the broker closes the channel in silence").alone(),
    row("F30", "the poison queue is missing").both().reconciled(Maybe),
    row("F43", "the bus is told to stop under load").both().short(),
    row("F45", "memory is short and inputs are giant").alone(),
    row("F46", "file descriptors are short"),
    row("F47", "the disk of the logs is full"),
    row("F48", "the clock jumps").both(),
    row("F49", "a broken house is reloaded").short(),
    row("F50", "a schema goes with messages in flight").both().short(),
    row("F51", "a route goes that owes deliveries").both().short(),
    row("F52", "a transform panics").both().short(),
    row("F53", "the target answers 500").both(),
    row("F56", "the target says when to come back"),
    row("F58", "the target answers 200 with a web page").short(),
    row("F66", "the broker comes back to a backlog").alone(),
    row("F67", "thousands of parked deliveries are replayed").alone(),
];

/// Rows of the short session.
const SHORT: usize = 4;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The session of `make test`: some short rows, drawn.
    pub short: bool,
    /// Only these.
    pub only: Vec<Row>,
    /// Only this ledger.
    pub ledger: Option<LedgerKind>,
    /// From which every run's seed is derived.
    pub seed: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its row.
    pub row: Row,
    /// On which ledger.
    pub ledger: LedgerKind,
    /// What its chance starts from.
    pub seed: u64,
}

impl Run {
    /// For folders and vhosts.
    pub fn slug(&self) -> String {
        format!("{}-{}", self.row.name.to_lowercase(), self.ledger.word())
    }
}

/// The runs of a session, in the order of the rows.
pub fn runs(wish: &Wish) -> Vec<Run> {
    let mut dice = Dice::new(wish.seed);
    let rows = if wish.short { drawn(&mut dice) } else { wish.only.clone() };
    let all = !wish.short && rows.is_empty();
    let mut runs = Vec::new();
    for row in ROWS.into_iter().filter(|row| all || rows.contains(row)) {
        let seed = dice.draw();
        let both = row.ledgers == Ledgers::Both && !wish.short;
        let one = LedgerKind::ALL[usize::from(seed % 2 == 1)];
        let ledgers = match wish.ledger {
            Some(ledger) => vec![ledger],
            None if both => LedgerKind::ALL.to_vec(),
            None => vec![one],
        };
        // Kept short, so that people can type it.
        runs.extend(ledgers.into_iter().map(|ledger| Run { row, ledger, seed: seed % 1_000_000 }));
    }
    runs
}

fn drawn(dice: &mut Dice) -> Vec<Row> {
    let mut rows: Vec<Row> = ROWS.into_iter().filter(|row| row.short).collect();
    while rows.len() > SHORT {
        let last = u64::try_from(rows.len() - 1).unwrap_or(0);
        rows.remove(usize::try_from(dice.between(0, last)).unwrap_or(0));
    }
    rows
}
