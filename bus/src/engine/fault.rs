//! From a fault to the row that it leaves: pure, around `snodo_core::verdict::decide`.
//!
//! Invariant: an intent goes only where the far side answered or nothing was sent; otherwise it stays,
//! stopped, and whoever comes next asks before it calls.

use std::time::Duration;

use snodo_core::{
    fault::{Fault, FaultClass},
    retry::RetryPolicy,
    timestamp::Timestamp,
    verdict::{Circumstances, EffectKind, Verdict, decide},
};

use crate::ledger::{IntentFate, Return, Then};

/// What was under way when a fault came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    /// Nothing had been sent: mapping, rendering, a lookup in the configuration.
    Mapping,
    /// An earlier call was being asked about.
    Recall,
    /// Whatever it was, it panicked: a call may have been under way.
    Panic,
    /// A call.
    Call {
        /// How it may be repeated.
        effect: EffectKind,
        /// How long after its sender has stopped it may still act.
        settles_within: Duration,
    },
}

impl During {
    fn effect(self) -> Option<EffectKind> {
        match self {
            Self::Call { effect, .. } => Some(effect),
            Self::Mapping | Self::Recall | Self::Panic => None,
        }
    }

    fn settles_within(self) -> Duration {
        match self {
            Self::Call { settles_within, .. } => settles_within,
            Self::Mapping | Self::Recall | Self::Panic => Duration::ZERO,
        }
    }
}

/// What the row says of earlier faults, and the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) now: Timestamp,
    pub(super) attempts: u32,
    pub(super) give_up_at: Option<Timestamp>,
    pub(super) jitter: f64,
}

/// Decides, and shapes what the row becomes.
pub(super) fn judge(
    fault: Fault,
    during: During,
    policy: &RetryPolicy,
    past: &Past,
) -> (Verdict, Return) {
    let circumstances = Circumstances {
        now: past.now,
        attempts: past.attempts + 1,
        give_up_at: past.give_up_at,
        jitter: past.jitter,
        effect: during.effect(),
        settles_within: during.settles_within(),
    };
    let verdict = decide(&fault, policy, &circumstances);
    let back = returned(&verdict, fault, policy, past);
    (verdict, back)
}

fn returned(verdict: &Verdict, fault: Fault, policy: &RetryPolicy, past: &Past) -> Return {
    let give_up_at =
        Some(past.give_up_at.unwrap_or_else(|| past.now.after(policy.give_up_after())));
    let spent = past.give_up_at.is_some_and(|end| past.now >= end);
    let (then, counts, give_up_at) = match *verdict {
        // Time in which nobody answered at all is not the delivery's own.
        Verdict::Retry { at, counts: false } => {
            (Then::Waiting(at), false, past.give_up_at.map(|end| end.after(at.since(past.now))))
        }
        // A call that may have acted and cannot be repeated for ever: a person replays it, and the
        // replay asks first.
        Verdict::Recall { .. } if spent => (Then::Parked, true, give_up_at),
        Verdict::Retry { at, counts: true } | Verdict::Recall { at } => {
            (Then::Waiting(at), true, give_up_at)
        }
        Verdict::Park => (Then::Parked, true, give_up_at),
        Verdict::Uncertain => (Then::Uncertain, true, give_up_at),
    };
    Return { then, counts, give_up_at, fault: Some(fault) }
}

/// What becomes of the intent of the step that a fault ends.
pub(super) fn intent_fate(class: FaultClass, during: During) -> IntentFate {
    match (during, class) {
        (During::Mapping | During::Recall, _) => IntentFate::Kept,
        (
            During::Call { .. },
            FaultClass::Refused
            | FaultClass::Transient { .. }
            | FaultClass::Outage
            | FaultClass::NotNow { .. },
        ) => IntentFate::Gone,
        (During::Panic, _) | (During::Call { .. }, FaultClass::NoAnswer | FaultClass::Poison) => {
            IntentFate::Stopped
        }
    }
}

/// The process was about to do, or did, something that made it panic.
pub(super) fn panicked() -> Fault {
    Fault::new(
        FaultClass::Poison,
        "SN0902",
        "the bus came upon a mistake of its own while it worked on this delivery; the others go on",
    )
}

/// The delivery is pinned to a version that this process does not have.
pub(super) fn unknown_version() -> Fault {
    Fault::new(
        FaultClass::Poison,
        "SN0720",
        "the delivery is pinned to a version of its route that this bus does not have; \
         replay it onto the present version",
    )
}

/// The body that a template gave has no JSON form.
pub(super) fn unwritable_body() -> Fault {
    Fault::new(FaultClass::Poison, "SN0903", "the body to emit has no JSON form; nothing was done")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn past(give_up_at: Option<i64>) -> Past {
        Past { now: NOW, attempts: 2, give_up_at: give_up_at.map(Timestamp), jitter: 1.0 }
    }

    fn call(effect: EffectKind) -> During {
        During::Call { effect, settles_within: Duration::from_mins(1) }
    }

    fn back(class: FaultClass, during: During, past: &Past) -> Return {
        let fault = Fault::new(class, "SN0701", "the target failed");
        judge(fault, during, &RetryPolicy::default(), past).1
    }

    #[test]
    fn the_first_fault_starts_the_time_after_which_a_delivery_is_given_up() {
        let transient = FaultClass::Transient { retry_after: None };
        let back = back(transient, During::Mapping, &past(None));
        assert_eq!(back.give_up_at, Some(NOW.after(Duration::from_hours(72))));
        assert!(back.counts);
    }

    #[test]
    fn an_outage_burns_neither_attempts_nor_time() {
        let back = back(FaultClass::Outage, call(EffectKind::Once), &past(Some(2_000_000)));
        assert_eq!(back.then, Then::Waiting(Timestamp(1_005_000)));
        assert!(!back.counts);
        assert_eq!(back.give_up_at, Some(Timestamp(2_005_000)));
    }

    #[test]
    fn a_recallable_call_without_answer_waits_until_it_has_settled_and_is_given_up_in_the_end() {
        let waits = back(FaultClass::NoAnswer, call(EffectKind::Recallable), &past(None));
        assert_eq!(waits.then, Then::Waiting(Timestamp(1_060_000)));
        let late = back(FaultClass::NoAnswer, call(EffectKind::Recallable), &past(Some(999_999)));
        assert_eq!(late.then, Then::Parked);
    }

    #[test]
    fn an_intent_goes_only_when_the_far_side_answered_or_nothing_was_sent() {
        use FaultClass::{NoAnswer, Outage, Poison, Refused, Transient};
        let transient = Transient { retry_after: None };
        for class in [transient, Outage, Refused] {
            assert_eq!(intent_fate(class, call(EffectKind::Once)), IntentFate::Gone);
        }
        for class in [NoAnswer, Poison] {
            assert_eq!(intent_fate(class, call(EffectKind::Once)), IntentFate::Stopped);
        }
        for class in [transient, Outage, Refused, NoAnswer, Poison] {
            assert_eq!(intent_fate(class, During::Recall), IntentFate::Kept);
        }
    }
}
