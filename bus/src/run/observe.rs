//! What the engine tells of its work, as metrics and one log line per state change that matters.
//!
//! Invariant: a fault's words hold no personal data, so they may be logged; ids never become labels.

use std::{sync::Arc, time::Duration};

use snodo_core::{fault::Fault, verdict::Verdict};

use crate::{
    broker::{Confirm, Copy},
    engine::{FactUse, Observe},
    ledger::Forgotten,
    metrics::{Metrics, PublishResult, VerdictWord},
};

/// Tells the metrics and the log.
#[derive(Debug)]
pub(super) struct Observer {
    metrics: Arc<Metrics>,
}

impl Observer {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl Observe for Observer {
    fn confirmed(&self, subscriber: &str, confirm: Confirm, took: Duration) {
        let result = match confirm {
            Confirm::Confirmed => PublishResult::Confirmed,
            Confirm::Returned => PublishResult::Returned,
            Confirm::Nacked => PublishResult::Nacked,
            Confirm::Unknown => PublishResult::Unknown,
        };
        self.metrics.published(subscriber, result, took);
    }

    fn fast(&self, copies: usize, took: Duration) {
        self.metrics.batch(copies, took);
    }

    fn step(&self, target: &str, fault: Option<&str>, took: Duration) {
        self.metrics.called(target, fault.is_some(), took);
    }

    fn fault(&self, subscriber: &str, copy: &Copy, fault: &Fault, verdict: &Verdict) {
        let word = match verdict {
            Verdict::Retry { .. } => VerdictWord::Retry,
            Verdict::Park => VerdictWord::Park,
            Verdict::Uncertain => VerdictWord::Uncertain,
            Verdict::Recall { .. } => VerdictWord::Recall,
        };
        self.metrics.fault(subscriber, word);
        let (delivery, message) = (copy.delivery, copy.message.envelope.id);
        let step = fault.step.as_deref().unwrap_or("-");
        match verdict {
            Verdict::Retry { .. } | Verdict::Recall { .. } => {
                tracing::debug!(
                    subscriber,
                    step,
                    %delivery,
                    message_id = %message,
                    code = fault.code,
                    fault = fault.text,
                    "a delivery is tried again"
                );
            }
            Verdict::Park | Verdict::Uncertain => {
                tracing::error!(
                    subscriber,
                    step,
                    %delivery,
                    message_id = %message,
                    code = fault.code,
                    fault = fault.text,
                    ?verdict,
                    "a delivery waits for a person"
                );
            }
        }
    }

    fn fact(&self, told: &FactUse<'_>) {
        self.metrics.fact_used(told);
    }

    fn target(&self, instance: &str, away: bool, code: &str) {
        self.metrics.target(instance, away);
        if away {
            tracing::warn!(
                target = instance,
                code,
                "a target is away; the routes that call it wait"
            );
        } else {
            tracing::info!(target = instance, "a target is back; what has waited is let go");
        }
    }

    fn suppressed(&self, subscriber: &str) {
        self.metrics.suppressed(subscriber);
    }

    fn moved(&self, what: &'static str, rows: u64) {
        self.metrics.moved(what, rows);
    }

    fn forgot(&self, rows: &Forgotten) {
        self.metrics.forgot(rows);
    }

    fn commit_failed(&self, what: &'static str, unclear: bool) {
        tracing::warn!(what, unclear, "a commit failed");
    }
}
