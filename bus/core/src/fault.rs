//! A fault: why a delivery's step did not happen. For the machine a class, for people a code and words.
//!
//! Invariant: the words hold no personal data; they may be stored, logged and shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a fault means for what happens next. Classified by a named, exhaustive function per adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultClass {
    /// The same step may succeed later. A target's `Retry-After` is a hint, clamped into the policy.
    Transient {
        /// What the far side asked for.
        retry_after: Option<Duration>,
    },
    /// Nobody answers at all: the target is down. Burns no attempt and no give-up time.
    Outage,
    /// The target was not asked: it is known to be away, or has its fill. Burns as little.
    NotNow {
        /// After which it may be.
        wait: Duration,
    },
    /// The far side said no, for good.
    Refused,
    /// This message can never be processed here: broken, against its schema, or it made us panic.
    Poison,
    /// The call went out and no answer tells whether it acted.
    NoAnswer,
}

/// A fault, with what a person needs to act on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Fault {
    /// What happens next.
    pub class: FaultClass,
    /// Stable code `SN07nn` (see `codes/`).
    pub code: String,
    /// What went wrong, in words without personal data.
    pub text: String,
    /// The far side's own short code, when it refused.
    pub reason: Option<String>,
    /// The step at which it happened, filled in by the engine.
    pub step: Option<String>,
}

impl Fault {
    /// A fault of `class` with its code and words.
    pub fn new(class: FaultClass, code: &str, text: impl Into<String>) -> Self {
        Self { class, code: code.to_owned(), text: text.into(), reason: None, step: None }
    }

    /// With the far side's own short code.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// At `step`.
    #[must_use]
    pub fn at(mut self, step: &str) -> Self {
        self.step = Some(step.to_owned());
        self
    }
}
