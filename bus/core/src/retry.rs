//! When a delivery is tried again. The waits grow, are spread at random, and end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// No target has us wait longer for its own reasons.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// How a route tries again: `retry: { first, longest, give_up_after }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    first: Duration,
    longest: Duration,
    give_up_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            longest: Duration::from_mins(15),
            give_up_after: Duration::from_hours(72),
        }
    }
}

impl RetryPolicy {
    /// A policy whose parts make sense together.
    pub fn try_new(
        first: Duration,
        longest: Duration,
        give_up_after: Duration,
    ) -> Result<Self, &'static str> {
        if first.is_zero() {
            return Err("`first` must be longer than nothing");
        }
        if longest < first {
            return Err("`longest` must not be shorter than `first`");
        }
        if give_up_after < longest {
            return Err("`give_up_after` must not be shorter than `longest`");
        }
        Ok(Self { first, longest, give_up_after })
    }

    /// The longest wait.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// How long after the first fault a delivery is given up, outages not counted.
    pub fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    /// The wait before the attempt after `attempts` failed ones, with full jitter.
    ///
    /// `jitter` is drawn from 0 to 1 by the caller. The wait is never below a tenth of its window,
    /// so a run of low draws cannot become a hot loop.
    pub fn wait(&self, attempts: u32, jitter: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let window = self.first.saturating_mul(1 << doublings).min(self.longest);
        window.mul_f64(jitter.clamp(0.1, 1.0))
    }

    /// A target's own `Retry-After`: kept, as ModI asks of who calls, up to a day.
    pub fn clamp(&self, asked: Duration) -> Duration {
        asked.clamp(self.first, LONGEST_ASKED.max(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy::default();
        let waits: Vec<u64> = (1..=10).map(|n| policy.wait(n, 1.0).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        assert_eq!(policy.wait(1, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn what_a_target_asks_for_is_kept_up_to_a_day() {
        let policy = RetryPolicy::default();
        for (asked, kept) in [(0, 5), (4, 5), (90, 90), (7_200, 7_200), (864_000, 86_400)] {
            let kept = Duration::from_secs(kept);
            assert_eq!(policy.clamp(Duration::from_secs(asked)), kept, "{asked}");
        }
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused() {
        let second = Duration::from_secs(1);
        assert!(RetryPolicy::try_new(Duration::ZERO, second, second).is_err());
        assert!(RetryPolicy::try_new(second * 2, second, second).is_err());
        assert!(RetryPolicy::try_new(second, second * 3, second * 2).is_err());
    }
}
