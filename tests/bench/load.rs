//! An open loop of HTTP posts at a fixed rate over a fixed number of connections.
//!
//! Invariant: each message has its due time; an answer that is late makes the next ones late, and the
//! report shows it, so a slow server is never measured as a quick one.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use snodo_tests::client::Client;
use tokio::{task::JoinSet, time::Instant};

/// What a load was answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Messages answered 202.
    pub(crate) accepted: u64,
    /// Messages answered otherwise, or not at all.
    pub(crate) failed: u64,
    /// From due time to answer, in order.
    pub(crate) waits: Vec<Duration>,
}

impl Report {
    /// The wait that `share` of the messages did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        quantile(&self.waits, share)
    }
}

/// The value that `share` of the sorted `values` do not exceed.
pub(crate) fn quantile(values: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a short list"
    )]
    let index = ((values.len() as f64) * share) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Makes the request of a message by its number.
pub(crate) type Request = Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>;

/// Posts `rate` messages a second for `seconds`, numbered from `first`.
pub(crate) async fn run(
    server: SocketAddr,
    connections: u32,
    rate: u32,
    seconds: u32,
    first: u64,
    request: Request,
) -> Report {
    let begin = Instant::now() + Duration::from_millis(20);
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let request = Arc::clone(&request);
        tasks.spawn(async move {
            let mut report = Report::default();
            let mut client = Client::new(server);
            let total = rate * seconds;
            let mut index = connection;
            while index < total {
                let due = begin + Duration::from_secs(1) * index / rate;
                let bytes = request(first + u64::from(index));
                tokio::time::sleep_until(due).await;
                match client.send(&bytes).await {
                    Ok(answer) if answer.status == 202 => report.accepted += 1,
                    Ok(_) | Err(_) => report.failed += 1,
                }
                report.waits.push(due.elapsed());
                index += connections;
            }
            report
        });
    }
    let mut whole = Report::default();
    while let Some(Ok(part)) = tasks.join_next().await {
        whole.accepted += part.accepted;
        whole.failed += part.failed;
        whole.waits.extend(part.waits);
    }
    whole.waits.sort_unstable();
    whole
}
