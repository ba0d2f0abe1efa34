//! Which runs there are, and what each draws.
//!
//! Invariant: pure; the same wish and seed give the same runs with the same seeds.

use std::fmt;

use serde::{Serialize, Serializer};

/// Chance from a seed: SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next draw.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A draw from `low` up to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high.saturating_sub(low) + 1)
    }
}

/// The two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerKind {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

impl LedgerKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// As it is written in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// The ledger called so.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ledger| ledger.word() == word)
    }
}

impl Serialize for LedgerKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The bus is killed.
    KillBus,
    /// The broker is killed.
    KillBroker,
    /// The bus kills itself at the crash point of this number.
    CrashPoint(u8),
}

/// The crash points of the message path.
const CRASH_POINTS: std::ops::RangeInclusive<u8> = 1..=17;
/// Those of the short run: around the mark, the fast settle, the intent, the answer of a call.
const SHORT_CRASH_POINTS: [u8; 4] = [7, 12, 14, 16];

impl Strike {
    /// All of them, in the order of the report.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::KillBus, Self::KillBroker].into_iter().chain(CRASH_POINTS.map(Self::CrashPoint))
    }

    /// The strike called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|strike| strike.to_string().eq_ignore_ascii_case(name))
    }

    /// How often it strikes in a run.
    fn times(self, short: bool) -> u32 {
        match (self, short) {
            (Self::KillBus | Self::KillBroker, false) => 10,
            (Self::KillBus, true) => 2,
            (Self::CrashPoint(_), false) => 5,
            (Self::KillBroker | Self::CrashPoint(_), true) => 1,
        }
    }

    fn is_short(self) -> bool {
        match self {
            Self::KillBus | Self::KillBroker => true,
            Self::CrashPoint(number) => SHORT_CRASH_POINTS.contains(&number),
        }
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillBus => f.write_str("kill-bus"),
            Self::KillBroker => f.write_str("kill-broker"),
            Self::CrashPoint(number) => write!(f, "CP{number}"),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The run of `make test`.
    pub short: bool,
    /// Only this strike.
    pub only: Option<Strike>,
    /// Only this ledger.
    pub ledger: Option<LedgerKind>,
    /// From which every run's seed is derived.
    pub seed: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What strikes.
    pub strike: Strike,
    /// On which ledger.
    pub ledger: LedgerKind,
    /// What its chance starts from.
    pub seed: u64,
    /// How often it strikes.
    pub times: u32,
}

/// The runs of one ledger, in their order; none where another was asked for.
pub fn runs(wish: &Wish, ledger: LedgerKind) -> Vec<Run> {
    if wish.ledger.is_some_and(|only| only != ledger) {
        return Vec::new();
    }
    Strike::all()
        .filter(|strike| match wish.only {
            Some(only) => only == *strike,
            None => !wish.short || strike.is_short(),
        })
        .map(|strike| Run {
            strike,
            ledger,
            seed: seed_of(wish.seed, strike, ledger),
            times: strike.times(wish.short),
        })
        .collect()
}

/// Kept short, so that people can type it.
fn seed_of(seed: u64, strike: Strike, ledger: LedgerKind) -> u64 {
    let name = format!("{strike} {}", ledger.word());
    let mixed = name.bytes().fold(seed, |mixed, byte| Dice::new(mixed ^ u64::from(byte)).draw());
    mixed % 1_000_000
}

/// Whether a crash point is passed only where rows wait that no process holds: those that another one
/// left behind.
pub fn needs_backlog(point: u8) -> bool {
    point == 5
}

/// On which pass of a crash point the bus dies; `percent` stretches it where an earlier try met too few
/// deliveries in flight, or did not come that far.
///
/// Points inside a message are passed once per message; those of the feeder and of the fast path less
/// often.
pub fn pass(point: u8, percent: u64, dice: &mut Dice) -> u64 {
    let (low, high) = match point {
        5 => (2, 4),
        12 | 13 => (14, 28),
        10 | 11 | 14..=17 => (90, 160),
        _ => (130, 240),
    };
    (dice.between(low, high) * percent / 100).max(1)
}
