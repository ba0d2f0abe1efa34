//! Periods: what nobody sends, the clock does. Accepts the message of each period whose time has come.
//!
//! Invariant: a period is one message, whoever accepts it first and however often: its id and its key
//! come from route and period alone, and the cursor moves in the same commit. Missed periods run once.

use std::{collections::BTreeMap, sync::Arc};

use snodo_core::{
    adapter::Cursor,
    envelope::{Envelope, IdempotencyKey, Message, content_digest},
    ids::{Digest, MessageId},
    json,
    route::Route,
    schedule::{Period, Schedule},
    timestamp::Timestamp,
};

use super::{Engine, accept::Admitted};
use crate::ledger::{CommitError, ReadError};

/// The label of its messages in the totals, and of its cursors. No adapter instance is called so.
pub const SOURCE: &str = "clock";

/// The loop that accepts what clocks give.
#[derive(Debug)]
pub struct Periods {
    engine: Arc<Engine>,
    /// A clock that has never run begins with the first period after this.
    begun: Timestamp,
    /// Until when there is nothing to do, by route and version: the ledger is not asked before.
    quiet: BTreeMap<String, Quiet>,
}

/// Nothing to do for a schedule before its next period.
#[derive(Debug)]
struct Quiet {
    version: Digest,
    until: Timestamp,
}

/// Why a period was not accepted; the next step tries again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeriodError {
    /// The ledger could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger did not commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Periods {
    /// The clocks of `engine`.
    pub fn new(engine: Arc<Engine>) -> Self {
        let begun = engine.clock.now();
        Self { engine, begun, quiet: BTreeMap::new() }
    }

    /// Looks at every clock once; returns how many periods were accepted.
    pub async fn step(&mut self) -> Result<u64, PeriodError> {
        let mut accepted = 0;
        for route in self.engine.routes().iter() {
            if let Some(schedule) = &route.schedule {
                accepted += u64::from(self.look(route, schedule).await?);
            }
        }
        Ok(accepted)
    }

    /// Whether a period of this route was due, and is in custody now.
    async fn look(&mut self, route: &Arc<Route>, schedule: &Schedule) -> Result<bool, PeriodError> {
        let now = self.engine.clock.now();
        let quiet = self.quiet.get(&route.name);
        if quiet.is_some_and(|quiet| quiet.version == route.digest && now < quiet.until) {
            return Ok(false);
        }
        let due = match schedule.latest(now) {
            Some(period) => self.due(route, period).await?,
            None => None,
        };
        let accepted = due.is_some();
        if let Some((period, since)) = due {
            self.engine.accept(admitted(route, &period, since)).await?;
        }
        if let Some(next) = schedule.next(now) {
            let quiet = Quiet { version: route.digest, until: next.at };
            self.quiet.insert(route.name.clone(), quiet);
        }
        Ok(accepted)
    }

    /// The period, if it has not run, and when the one before it ran.
    async fn due(
        &self,
        route: &Route,
        period: Period,
    ) -> Result<Option<(Period, Option<Timestamp>)>, PeriodError> {
        let ran = self.engine.ledger.cursor(SOURCE, &route.name).await?;
        let ran = ran.as_deref().and_then(Timestamp::parse);
        let due = period.at > ran.unwrap_or(self.begun);
        Ok(due.then_some((period, ran)))
    }
}

fn admitted(route: &Route, period: &Period, since: Option<Timestamp>) -> Admitted {
    let source = format!("/clock/{}", route.name);
    let data = json::canonical(&Schedule::data(period, since));
    let millis = u64::try_from(period.at.0).unwrap_or(0);
    let envelope = Envelope {
        id: MessageId::of_period(millis, &route.name, &period.name),
        source: source.clone(),
        kind: route.from.clone(),
        subject: None,
        time: period.at,
        correlation: None,
        causation: None,
        traceparent: None,
        party: None,
        purpose: Some(route.purpose.clone()),
        case: None,
        actor: Some("system".to_owned()),
        actor_location: None,
        actor_loa: None,
        data_ref: None,
    };
    Admitted {
        digest: content_digest(&route.from, None, &data),
        message: Arc::new(Message { envelope, data: data.into() }),
        key: IdempotencyKey { party: String::new(), source, sender_id: period.name.clone() },
        source: SOURCE.into(),
        to: Vec::new(),
        documents: Vec::new(),
        cursor: Some(Cursor {
            instance: SOURCE.to_owned(),
            partition: route.name.clone(),
            value: period.at.to_string(),
        }),
    }
}
