//! When a published delivery is known to be lost: its copy is no longer with the broker, and no task
//! has it.
//!
//! Invariant: age alone proves nothing; a backlog is never multiplied.

use std::time::Duration;

use crate::timestamp::Timestamp;

/// How much later something must have been published on the same queue for its arrival to prove that
/// what was published before is gone.
pub const OVERTAKEN_BY: Duration = Duration::from_mins(1);

/// What is known of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The last moment at which somebody asked and was told: nothing ready, nothing unacknowledged.
    pub empty_at: Option<Timestamp>,
    /// The latest moment before which an arrived copy cannot have been published.
    pub arrived_from: Option<Timestamp>,
}

/// Whether a copy whose confirm was marked at `marked_at` is lost.
///
/// The question that found the queue empty must have been asked after the confirm: an answer that is
/// older says nothing of this copy.
pub fn is_lost(marked_at: Timestamp, evidence: &Evidence) -> bool {
    let seen_empty = evidence.empty_at.is_some_and(|empty| empty > marked_at);
    let overtaken = evidence.arrived_from.is_some_and(|from| from >= marked_at.after(OVERTAKEN_BY));
    seen_empty || overtaken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(marked_at: i64, empty_at: Option<i64>, arrived_from: Option<i64>) -> bool {
        let evidence = Evidence {
            empty_at: empty_at.map(Timestamp),
            arrived_from: arrived_from.map(Timestamp),
        };
        is_lost(Timestamp(marked_at), &evidence)
    }

    #[test]
    fn age_alone_proves_nothing() {
        assert!(!lost(0, None, None));
    }

    #[test]
    fn an_empty_queue_proves_loss_only_when_asked_after_the_confirm() {
        assert!(lost(1_000, Some(1_001), None));
        assert!(!lost(1_000, Some(1_000), None));
        assert!(!lost(1_000, Some(999), None));
    }

    #[test]
    fn a_copy_published_a_minute_later_proves_loss_by_its_arrival() {
        assert!(lost(1_000, None, Some(61_000)));
        assert!(!lost(1_000, None, Some(60_999)));
    }
}
