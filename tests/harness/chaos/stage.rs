//! One bus under test with everything around it: its house, its ledger, the target, the driver, the
//! person; what they have logged, and what is judged from it.
//!
//! Invariant: every wait is bounded; only processes that the stage started are ended.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    Failure,
    books::Books,
    drive::{Driver, Load},
    ends,
    figures::Figures,
    house,
    office::Office,
    target::Target,
};
use crate::{
    bus::{BusProcess, HouseFolder},
    checker::{Logs, Verdicts, judge},
    client::Client,
};

/// A start takes no longer.
const START: Duration = Duration::from_mins(1);
/// The quiet time: what is open after nothing has ended for so long is stuck.
const QUIET: Duration = Duration::from_mins(1);
/// An orderly stop takes no longer.
const STOP: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A stage.
#[derive(Debug)]
pub struct Stage {
    /// Where the bus lives.
    pub house: HouseFolder,
    /// Its ledger, past it.
    pub books: Books,
    /// The far sides.
    pub target: Target,
    /// The person.
    pub office: Office,
    /// What the bus is started by, where it is not started plainly.
    pub wrapper: Vec<String>,
    /// The bus while one runs.
    pub bus: Option<BusProcess>,
    /// The driver while it posts.
    pub driver: Option<Driver>,
    /// What was wrong that no verdict counts.
    pub mistakes: Vec<String>,
    /// The longest that a start took until the bus was ready.
    pub slowest_start: Duration,
    figures: Client,
    attempted: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
}

/// What became of everything on a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Messages for which a 202 was seen.
    pub accepted: u64,
    /// Effects that the far sides and the register hold.
    pub effects: u64,
    /// Deliveries that a person had to decide.
    pub uncertain: u64,
    /// Deliveries that were parked and tried again by a person.
    pub replayed: u64,
    /// Copies sent again because their queue seemed to have lost them.
    pub reconciled: u64,
    /// The checker's counts.
    #[serde(flatten)]
    pub verdicts: Verdicts,
}

impl Stage {
    /// Before anything has started.
    pub fn new(house: HouseFolder, books: Books, target: Target) -> Self {
        Self {
            figures: Client::new(house.metrics),
            office: Office::new(house.path.join("data/snodo.sock")),
            house,
            books,
            target,
            wrapper: Vec::new(),
            bus: None,
            driver: None,
            mistakes: Vec::new(),
            slowest_start: Duration::ZERO,
            attempted: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    /// Starts the bus and waits until it is ready; whether it lives. Where it may die before, its death
    /// is no error.
    pub async fn start_bus(
        &mut self,
        environment: &[(&str, &str)],
        may_die: bool,
    ) -> Result<bool, Failure> {
        let begun = Instant::now();
        let mut bus = BusProcess::spawn_under(&self.house, environment, &self.wrapper)?;
        let ready = bus.ready(START).await;
        let died = bus.has_ended();
        self.bus = Some(bus);
        if may_die && died {
            return Ok(false);
        }
        ready?;
        self.slowest_start = self.slowest_start.max(begun.elapsed());
        Ok(true)
    }

    /// Waits until the bus says again that it is ready.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        let bus = self.bus.as_mut().ok_or("no bus runs")?;
        Ok(bus.ready(START).await?)
    }

    /// Starts posting messages.
    pub fn drive(&mut self, load: Load) -> Result<(), Failure> {
        let first = self.attempted.last().map_or(1, |last| last + 1);
        self.driver = Some(Driver::start(self.house.http, &self.house.path, first, load)?);
        Ok(())
    }

    /// Stops posting.
    pub async fn rest(&mut self) {
        if let Some(driver) = self.driver.take() {
            let (attempted, acknowledged) = driver.stop().await;
            self.attempted.extend(attempted);
            self.acknowledged.extend(acknowledged);
        }
    }

    /// Messages that somebody else than the driver posted, and those for which it saw a 202.
    pub fn posted(&mut self, attempted: BTreeSet<u64>, acknowledged: BTreeSet<u64>) {
        self.attempted.extend(attempted);
        self.acknowledged.extend(acknowledged);
    }

    /// Messages for which a 202 was seen, as far as they are known when nothing is posted.
    pub fn acknowledged(&self) -> &BTreeSet<u64> {
        &self.acknowledged
    }

    /// What the bus shows; none while it cannot.
    pub async fn figures(&mut self) -> Option<Figures> {
        self.figures.figures().await.ok()
    }

    /// Waits until so many deliveries are open, by the bus's own figures.
    pub async fn wait_open(&mut self, wanted: i64, within: Duration) -> Result<i64, Failure> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if let Some(open) = self.figures().await.map(|figures| figures.open())
                && open >= wanted
            {
                return Ok(open);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("fewer than {wanted} deliveries were open for {within:?}").into())
    }

    /// Waits until the bus has died; says whether it did.
    pub async fn wait_death(&mut self, within: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.bus.as_mut().is_none_or(BusProcess::has_ended) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Kills the bus, or buries it; counts from the rows what was open.
    pub async fn bury(&mut self) -> Result<u64, Failure> {
        if let Some(mut bus) = self.bus.take() {
            bus.kill().await?;
        }
        self.open().await
    }

    /// Counts from the rows what is open.
    pub async fn open(&self) -> Result<u64, Failure> {
        Ok(self.books.rows().await?.open())
    }

    /// Waits, deciding what a person must decide, until nothing is open; then the figures are the rows.
    pub async fn settle(&mut self) -> Result<(), Failure> {
        let (mut least, mut since) = (i64::MAX, Instant::now());
        while since.elapsed() < QUIET {
            let left = self.office.work(|| self.target.lines()).await?;
            // Read after the decisions: a delivery that was sent on is open again. The bus may show a
            // reading of up to a second ago, so it is asked once more before it is believed.
            if left == 0 && self.unended().await == 0 {
                tokio::time::sleep(Duration::from_millis(1100)).await;
                if self.unended().await == 0 {
                    return self.compare().await;
                }
            }
            let unended = self.unended().await;
            if unended < least {
                (least, since) = (unended, Instant::now());
            }
            tokio::time::sleep(LOOK).await;
        }
        // Not an error of the run: the checker counts what is stuck.
        Ok(())
    }

    /// Deliveries that wait for the bus or for a person's word; many while nobody can say.
    async fn unended(&mut self) -> i64 {
        self.figures().await.map_or(i64::MAX, |figures| figures.open() + figures.uncertain())
    }

    /// Both equations on `/metrics`, and the same numbers in a scan of the rows.
    async fn compare(&mut self) -> Result<(), Failure> {
        let figures = self.figures().await.ok_or("the bus shows no figures")?;
        let rows = self.books.rows().await?;
        self.mistakes.extend(figures.broken_equations());
        if figures.deliveries() != rows.deliveries || figures.accepted() != rows.accepted {
            self.mistakes.push("/metrics differs from a scan of the rows".to_owned());
        }
        Ok(())
    }

    /// Collects the ends, stops the bus and judges.
    pub async fn judge(&mut self) -> Result<Judged, Failure> {
        let ends = ends::collect(self.house.http, &self.acknowledged).await?;
        self.stop().await?;
        let scan = self.books.scan().await?;
        let mut effects = house::effects_of(&self.target.lines()?);
        effects.extend(scan.effects.iter().cloned());
        let logs = Logs {
            attempted: std::mem::take(&mut self.attempted),
            acknowledged: std::mem::take(&mut self.acknowledged),
            effects,
            ends,
            double_terminal: scan.ended_twice,
        };
        let mut verdicts = judge(&logs);
        verdicts.stuck = verdicts.stuck.max(scan.rows.open());
        self.mistakes.extend(scan.broken);
        Ok(Judged {
            accepted: logs.acknowledged.len() as u64,
            effects: logs.effects.len() as u64,
            uncertain: self.office.resolved(),
            replayed: self.office.replayed(),
            reconciled: ends::reconciled(&self.log())?,
            verdicts,
        })
    }

    /// Asks the bus, if one runs, to stop; an end that is not clean is a mistake of the bus.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut bus) = self.bus.take() else { return Ok(()) };
        match tokio::time::timeout(STOP, bus.terminate()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => {}
            Ok(status) => {
                self.mistakes.push(format!("the bus did not end cleanly: {:?}", status?));
            }
            Err(_) => {
                bus.kill().await?;
                self.mistakes.push(format!("the bus did not end within {STOP:?}"));
            }
        }
        Ok(())
    }

    /// Where the bus writes its log.
    pub fn log(&self) -> PathBuf {
        self.house.path.join("bus.log")
    }
}
