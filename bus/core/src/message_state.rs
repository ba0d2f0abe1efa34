//! What people read of a message's and a delivery's state, in both languages, once and for all.

use serde::{Deserialize, Serialize};

/// The state of a delivery row. The numbers are what the ledger stores; they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum DeliveryState {
    /// Owed, no copy known to be with the broker.
    Queued = 0,
    /// A copy is confirmed by the broker.
    Published = 1,
    /// A task works on it.
    Claimed = 2,
    /// Waits for its time.
    Waiting = 3,
    /// Waits behind an earlier delivery of its key.
    Behind = 4,
    /// Waits for a person.
    Parked = 5,
    /// Waits for a person or a receipt: what a call did is not known.
    Uncertain = 6,
    /// Done.
    Completed = 7,
    /// The route's `when` said no.
    Filtered = 8,
    /// Put away by a person, with a reason.
    Discarded = 9,
}

impl DeliveryState {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Published,
        Self::Claimed,
        Self::Waiting,
        Self::Behind,
        Self::Parked,
        Self::Uncertain,
        Self::Completed,
        Self::Filtered,
        Self::Discarded,
    ];

    /// The state stored as `number`.
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index)).copied()
    }

    /// The bucket in which the totals count it.
    pub fn bucket(self) -> Bucket {
        match self {
            Self::Queued | Self::Published | Self::Claimed | Self::Waiting | Self::Behind => {
                Bucket::Open
            }
            Self::Parked => Bucket::Parked,
            Self::Uncertain => Bucket::Uncertain,
            Self::Completed => Bucket::Completed,
            Self::Filtered => Bucket::Filtered,
            Self::Discarded => Bucket::Discarded,
        }
    }
}

/// Where a delivery is counted: the words of the equation of promise 1, and what people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Bucket {
    /// Waits for the bus.
    Open = 0,
    /// Waits for a person.
    Parked = 1,
    /// Waits for a person or a receipt.
    Uncertain = 2,
    /// Done.
    Completed = 3,
    /// The route's `when` said no.
    Filtered = 4,
    /// Put away by a person.
    Discarded = 5,
}

impl Bucket {
    /// Every bucket, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Parked,
        Self::Uncertain,
        Self::Completed,
        Self::Filtered,
        Self::Discarded,
    ];

    /// The English word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Parked => "parked",
            Self::Uncertain => "uncertain",
            Self::Completed => "completed",
            Self::Filtered => "filtered",
            Self::Discarded => "discarded",
        }
    }

    /// The Italian words.
    pub fn parola(self) -> &'static str {
        match self {
            Self::Open => "in corso",
            Self::Parked => "in sospeso",
            Self::Uncertain => "esito incerto",
            Self::Completed => "concluso",
            Self::Filtered => "non pertinente",
            Self::Discarded => "archiviato senza seguito",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Filtered | Self::Discarded)
    }
}

/// The state of a message: the first that any of its deliveries has, in this order (design §10).
///
/// A message without deliveries (its type says `x-unclaimed: discard`) is `completed`.
pub fn message_state(deliveries: impl IntoIterator<Item = DeliveryState>) -> Bucket {
    const ORDER: [Bucket; 6] = [
        Bucket::Uncertain,
        Bucket::Parked,
        Bucket::Open,
        Bucket::Discarded,
        Bucket::Completed,
        Bucket::Filtered,
    ];
    let mut seen = [false; 6];
    for delivery in deliveries {
        seen[delivery.bucket() as usize] = true;
    }
    ORDER.into_iter().find(|bucket| seen[*bucket as usize]).unwrap_or(Bucket::Completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_what_needs_a_person_first() {
        use DeliveryState::{Completed, Filtered, Parked, Queued, Uncertain};
        assert_eq!(message_state([Completed, Parked, Uncertain]), Bucket::Uncertain);
        assert_eq!(message_state([Queued, Parked]), Bucket::Parked);
        assert_eq!(message_state([Completed, Queued]), Bucket::Open);
        assert_eq!(message_state([Filtered, Completed]), Bucket::Completed);
        assert_eq!(message_state([Filtered]), Bucket::Filtered);
        assert_eq!(message_state([]), Bucket::Completed);
    }

    #[test]
    fn numbers_and_states_agree() {
        for (number, state) in DeliveryState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
        }
        assert_eq!(DeliveryState::from_number(10), None);
    }
}
