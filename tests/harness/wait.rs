//! Waiting for something to be so.
//!
//! Invariant: a wait ends when its condition holds, or fails naming what it waited for.

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

/// Asks until there is an answer. Panics, naming `what`, if there is none within `bound`.
pub async fn eventually<T, F, Fut>(what: &str, bound: Duration, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + bound;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {bound:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until `holds`. Panics, naming `what`, if it does not within `bound`.
pub async fn until(what: &str, bound: Duration, mut holds: impl FnMut() -> bool) {
    eventually(what, bound, || std::future::ready(holds().then_some(()))).await;
}

/// Resolves when this program is ended from outside, or its terminal goes away. What it has started goes
/// with it, once it returns. Ctrl-C is not meant: a terminal tells it to everything that was started.
pub async fn told_to_end() {
    let (Ok(mut terminate), Ok(mut hang_up)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}
