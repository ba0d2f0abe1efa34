//! How a far side behaves: the delay of its answers, and what its next answers are.
//!
//! Invariant: the same seed and the same order of calls give the same delays.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// One way to answer. The effect of a call happens, or not, as each says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As a good far side does.
    Normal,
    /// This status, headers and body; nothing is done.
    Answer {
        /// The status.
        status: u16,
        /// Headers.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// It is done, then answered so.
    ActThenAnswer {
        /// The status.
        status: u16,
        /// The content type.
        content_type: &'static str,
        /// The body.
        body: String,
    },
    /// Nothing is done and nothing ever answered.
    Hang,
    /// It is done, and nothing ever answered.
    ActThenHang,
    /// Nothing is done; the connection ends after the request was read.
    Drop,
    /// It is done; the connection ends without an answer.
    ActThenDrop,
    /// It is done, then answered with a JSON text of so many bytes.
    Huge(usize),
    /// It is done, then answered byte by byte, one each so many milliseconds.
    Slow(u64),
    /// It is done, then answered; the connection ends in the middle of the body.
    Cut,
}

impl Behaviour {
    /// A status without body or headers; nothing is done.
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: String::new() }
    }

    /// Whether the effect happens.
    pub fn acts(&self) -> bool {
        !matches!(self, Self::Answer { .. } | Self::Hang | Self::Drop)
    }
}

/// What comes next.
#[derive(Debug)]
pub struct Script {
    delay_ms: (u64, u64),
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    draw: u64,
    next: VecDeque<Behaviour>,
    always: Behaviour,
    bearer: Option<String>,
}

impl Script {
    /// Behaves well, with delays drawn from `seed`.
    pub fn new(delay_ms: (u64, u64), seed: u64) -> Self {
        let state =
            State { draw: seed, next: VecDeque::new(), always: Behaviour::Normal, bearer: None };
        Self { delay_ms, state: Mutex::new(state) }
    }

    /// Behaves so once, after what was said before.
    pub fn next(&self, behaviour: Behaviour) {
        self.lock().next.push_back(behaviour);
    }

    /// Behaves so from now on, until told otherwise.
    pub fn always(&self, behaviour: Behaviour) {
        let mut state = self.lock();
        state.next.clear();
        state.always = behaviour;
    }

    /// From now on takes calls only with this bearer token.
    pub fn demand_bearer(&self, token: &str) {
        self.lock().bearer = Some(format!("Bearer {token}"));
    }

    /// Whether a call with this `Authorization` is taken.
    pub fn lets_in(&self, authorization: Option<&str>) -> bool {
        self.lock().bearer.as_deref().is_none_or(|bearer| authorization == Some(bearer))
    }

    /// What the next call meets.
    pub fn take(&self) -> (Duration, Behaviour) {
        let mut state = self.lock();
        let (from, to) = self.delay_ms;
        let span = to.saturating_sub(from) + 1;
        let delay = Duration::from_millis(from + split_mix(&mut state.draw) % span);
        let always = state.always.clone();
        (delay, state.next.pop_front().unwrap_or(always))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SplitMix64: well spread, and the same on every machine.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_within_their_range_and_of_their_seed() {
        let delays = |seed| {
            let script = Script::new((200, 800), seed);
            (0..50).map(|_| script.take().0.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
        assert!(delays(1).iter().all(|delay| (200..=800).contains(delay)));
    }
}
