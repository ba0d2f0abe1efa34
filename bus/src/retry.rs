//! Waits between attempts that nobody counts: reconnects. The only home of `backoff`.
//!
//! Invariant: the waits grow, are spread at random, and never end; giving up is somebody else's decision.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

/// How long to wait between attempts to reach something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    first: Duration,
    longest: Duration,
}

impl Pace {
    /// From `first` to `longest`, doubling.
    pub fn try_new(first: Duration, longest: Duration) -> Result<Self, &'static str> {
        if first.is_zero() {
            return Err("the first wait must be longer than nothing");
        }
        if longest < first {
            return Err("the longest wait must not be shorter than the first");
        }
        Ok(Self { first, longest })
    }

    /// The waits, from the start.
    pub fn waits(self) -> Waits {
        let waits = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.first)
            .with_max_interval(self.longest)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            .with_max_elapsed_time(None)
            .build();
        Waits { waits, longest: self.longest }
    }
}

impl Default for Pace {
    /// For a broker: 0.2 s to 4 s, so that the bus is back within five seconds of the broker's return.
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(4) }
    }
}

/// An endless run of waits.
#[derive(Debug)]
pub struct Waits {
    waits: ExponentialBackoff,
    longest: Duration,
}

impl Waits {
    /// The next wait, never above the longest.
    pub fn next_wait(&mut self) -> Duration {
        // `None` would be its own deadline, of which it has none; it must not become a hot loop.
        self.waits.next_backoff().unwrap_or(self.longest).min(self.longest)
    }

    /// Starts over: what was tried has worked for a while.
    pub fn reset(&mut self) {
        self.waits.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_never_end() {
        let (first, longest) = (Duration::from_millis(10), Duration::from_millis(80));
        let mut waits = Pace::try_new(first, longest).expect("sensible").waits();
        for window in [10, 20, 40, 80, 80, 80, 80, 80] {
            let (wait, window) = (waits.next_wait(), Duration::from_millis(window));
            assert!(
                wait >= window / 2 && wait <= (window * 3 / 2).min(longest),
                "{wait:?} of {window:?}"
            );
        }
        waits.reset();
        assert!(waits.next_wait() <= first * 3 / 2);
    }

    #[test]
    fn a_pace_that_makes_no_sense_is_refused() {
        let second = Duration::from_secs(1);
        assert!(Pace::try_new(Duration::ZERO, second).is_err());
        assert!(Pace::try_new(second, second / 2).is_err());
    }
}
