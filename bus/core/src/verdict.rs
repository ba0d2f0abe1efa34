//! `decide`: the only place that turns a fault into what happens to its delivery.
//!
//! Pure: time and chance come in as values. Source of the rules: custody rule book, design §8.

use std::time::Duration;

use crate::{
    fault::{Fault, FaultClass},
    retry::RetryPolicy,
    timestamp::Timestamp,
};

/// How the effect of an operation may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// A value that the ledger applies in its own transaction.
    Ledger,
    /// The far side deduplicates by step key.
    Idempotent,
    /// The far side can be asked whether it already did it.
    Recallable,
    /// Neither: an unclear outcome waits for a person or a receipt.
    Once,
}

impl EffectKind {
    /// Whether an intent must be durable before the call.
    pub fn needs_intent(self) -> bool {
        matches!(self, Self::Recallable | Self::Once)
    }

    /// As configurations write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Idempotent => "idempotent",
            Self::Recallable => "recallable",
            Self::Once => "once",
        }
    }
}

/// What happens to a delivery after a fault. Every verdict is a row, then an ack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait until `at`, then run again.
    Retry {
        /// When.
        at: Timestamp,
        /// Whether this fault counts as an attempt (an outage does not).
        counts: bool,
    },
    /// Wait for a person.
    Park,
    /// The outcome of a call is not known; a person or a receipt decides.
    Uncertain,
    /// The call may have acted and can be asked: stop, wait until it has settled, then recall.
    Recall {
        /// When the far side has surely acted, if it ever will.
        at: Timestamp,
    },
}

/// What `decide` needs to know beside the fault.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Now.
    pub now: Timestamp,
    /// Failed attempts so far, this one included.
    pub attempts: u32,
    /// When the delivery is given up; `None` before its first fault.
    pub give_up_at: Option<Timestamp>,
    /// A draw from 0 to 1.
    pub jitter: f64,
    /// The effect that was under way; `None` where no call was made (mapping, the ledger's own step).
    pub effect: Option<EffectKind>,
    /// How long after its sender has stopped a call may still act.
    pub settles_within: Duration,
}

/// How long a delivery waits at most when its target does not answer at all. Soon tried again, a few of
/// them show that the target is away; then all wait for it.
const OUTAGE: Duration = Duration::from_secs(30);

/// Decides what happens to a delivery after `fault`.
pub fn decide(fault: &Fault, policy: &RetryPolicy, circumstances: &Circumstances) -> Verdict {
    let now = circumstances.now;
    match fault.class {
        FaultClass::Refused | FaultClass::Poison => Verdict::Park,
        FaultClass::Outage => {
            let wait = policy.wait(1, circumstances.jitter).min(OUTAGE);
            Verdict::Retry { at: now.after(wait), counts: false }
        }
        FaultClass::NotNow { wait } => Verdict::Retry { at: now.after(wait), counts: false },
        FaultClass::Transient { retry_after } => again(policy, circumstances, retry_after),
        FaultClass::NoAnswer => match circumstances.effect {
            Some(EffectKind::Once) => Verdict::Uncertain,
            Some(EffectKind::Recallable) => {
                Verdict::Recall { at: now.after(circumstances.settles_within) }
            }
            Some(EffectKind::Idempotent | EffectKind::Ledger) | None => {
                again(policy, circumstances, None)
            }
        },
    }
}

fn again(policy: &RetryPolicy, circumstances: &Circumstances, asked: Option<Duration>) -> Verdict {
    let wait = match asked {
        Some(asked) => policy.clamp(asked),
        None => policy.wait(circumstances.attempts, circumstances.jitter),
    };
    let at = circumstances.now.after(wait);
    match circumstances.give_up_at {
        Some(end) if circumstances.now >= end => Verdict::Park,
        _ => Verdict::Retry { at, counts: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    fn circumstances(effect: Option<EffectKind>) -> Circumstances {
        Circumstances {
            now: at(1_000_000),
            attempts: 1,
            give_up_at: Some(at(2_000_000)),
            jitter: 1.0,
            effect,
            settles_within: Duration::from_mins(1),
        }
    }

    fn check(class: FaultClass, effect: Option<EffectKind>, expected: &Verdict) {
        let fault = Fault::new(class, "SN0701", "the target failed");
        let found = decide(&fault, &RetryPolicy::default(), &circumstances(effect));
        assert_eq!(&found, expected, "{class:?} with {effect:?}");
    }

    #[test]
    fn every_class_has_its_verdict() {
        use EffectKind::{Idempotent, Ledger, Once, Recallable};
        let soon = Verdict::Retry { at: at(1_005_000), counts: true };
        check(FaultClass::Transient { retry_after: None }, None, &soon);
        check(FaultClass::Transient { retry_after: None }, Some(Once), &soon);
        let asked = FaultClass::Transient { retry_after: Some(Duration::from_secs(90)) };
        check(asked, None, &Verdict::Retry { at: at(1_090_000), counts: true });
        let greedy = FaultClass::Transient { retry_after: Some(Duration::from_hours(48)) };
        check(greedy, None, &Verdict::Retry { at: at(87_400_000), counts: true });
        check(FaultClass::Outage, Some(Once), &Verdict::Retry { at: at(1_005_000), counts: false });
        let wait = Duration::from_secs(2);
        let soon_enough = Verdict::Retry { at: at(1_002_000), counts: false };
        check(FaultClass::NotNow { wait }, None, &soon_enough);
        check(FaultClass::Refused, Some(Idempotent), &Verdict::Park);
        check(FaultClass::Poison, None, &Verdict::Park);
        check(FaultClass::NoAnswer, Some(Once), &Verdict::Uncertain);
        check(FaultClass::NoAnswer, Some(Recallable), &Verdict::Recall { at: at(1_060_000) });
        check(FaultClass::NoAnswer, Some(Idempotent), &soon);
        check(FaultClass::NoAnswer, Some(Ledger), &soon);
    }

    #[test]
    fn a_delivery_is_given_up_only_after_its_time() {
        let fault = Fault::new(FaultClass::Transient { retry_after: None }, "SN0701", "busy");
        let mut late = circumstances(None);
        late.now = at(2_000_000);
        assert_eq!(decide(&fault, &RetryPolicy::default(), &late), Verdict::Park);
        late.give_up_at = None;
        assert!(matches!(decide(&fault, &RetryPolicy::default(), &late), Verdict::Retry { .. }));
    }
}
