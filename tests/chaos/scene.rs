//! One run under way: its house, bus, broker, target, driver; what it has seen so far.
//!
//! Invariant: every wait is bounded; only processes that the run started are ended.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use snodo::broker::node::PrivateNode;
use snodo_tests::{
    bus::{BusProcess, HouseFolder},
    chaos::{
        figures::Figures,
        house,
        plan::Dice,
        report::RunReport,
        target::{Line, Target},
    },
    checker::{Effect, Logs, judge},
    client::{Client, get},
};
use tokio::sync::RwLock;

use crate::{books::Books, drive::Driver, ends, office::Office};

/// Why a run could not be carried out.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A start takes no longer.
const START: Duration = Duration::from_mins(1);
/// The quiet time: what is open after nothing has ended for so long is stuck.
const QUIET: Duration = Duration::from_mins(1);
/// An orderly stop takes no longer.
const STOP: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A run under way.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    /// What is reported of it.
    pub(crate) report: RunReport,
    /// Its chance.
    pub(crate) dice: Dice,
    /// Its broker.
    pub(crate) node: &'a RwLock<PrivateNode>,
    house: HouseFolder,
    books: Books,
    target: Target,
    fault: Option<String>,
    bus: Option<BusProcess>,
    driver: Option<Driver>,
    figures: Client,
    attempted: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    slowest_start: Duration,
    office: Office,
}

impl<'a> Scene<'a> {
    /// Before anything has started.
    pub(crate) fn new(
        report: RunReport,
        node: &'a RwLock<PrivateNode>,
        house: HouseFolder,
        books: Books,
        target: Target,
        fault: Option<String>,
    ) -> Self {
        Self {
            dice: Dice::new(report.seed),
            report,
            node,
            figures: Client::new(house.metrics),
            office: Office::new(house.path.join("data/snodo.sock")),
            house,
            books,
            target,
            fault,
            bus: None,
            driver: None,
            attempted: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            slowest_start: Duration::ZERO,
        }
    }

    /// The longest that a start took until it was ready.
    pub(crate) fn slowest_start(&self) -> Duration {
        self.slowest_start
    }

    /// Starts the bus and waits until it is ready. With a crash point it may die before.
    pub(crate) async fn start_bus(&mut self, crash_at: Option<&str>) -> Result<(), Failure> {
        let mut environment: Vec<(&str, &str)> = Vec::new();
        environment.extend(crash_at.map(|at| ("SNODO_CRASH_AT", at)));
        environment.extend(self.fault.as_deref().map(|off| ("SNODO_FAULT_OFF", off)));
        let begun = Instant::now();
        let mut bus = BusProcess::spawn(&self.house, &environment)?;
        let ready = bus.ready(START).await;
        let died = bus.has_ended();
        self.bus = Some(bus);
        if crash_at.is_some() && died {
            return Ok(());
        }
        ready?;
        self.slowest_start = self.slowest_start.max(begun.elapsed());
        Ok(())
    }

    /// Waits until the bus says again that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        let bus = self.bus.as_mut().ok_or("no bus runs")?;
        Ok(bus.ready(START).await?)
    }

    /// Starts posting messages, so many a second.
    pub(crate) fn drive(&mut self, rate: u32) -> Result<(), Failure> {
        let first = self.attempted.last().map_or(1, |last| last + 1);
        self.driver = Some(Driver::start(self.house.http, &self.house.path, first, rate)?);
        Ok(())
    }

    /// Stops posting.
    pub(crate) async fn rest(&mut self) {
        if let Some(driver) = self.driver.take() {
            let (attempted, acknowledged) = driver.stop().await;
            self.attempted.extend(attempted);
            self.acknowledged.extend(acknowledged);
        }
    }

    /// What the bus shows; none while it cannot.
    pub(crate) async fn figures(&mut self) -> Option<Figures> {
        let answer = self.figures.send(&get("/metrics", "")).await.ok()?;
        Some(Figures::read(std::str::from_utf8(&answer.body).ok()?))
    }

    /// Waits until so many deliveries are open, by the bus's own figures.
    pub(crate) async fn wait_open(
        &mut self,
        wanted: i64,
        within: Duration,
    ) -> Result<i64, Failure> {
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
    pub(crate) async fn wait_death(&mut self, within: Duration) -> bool {
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
    pub(crate) async fn bury(&mut self) -> Result<u64, Failure> {
        if let Some(mut bus) = self.bus.take() {
            bus.kill().await?;
        }
        self.open().await
    }

    /// Counts from the rows what is open.
    pub(crate) async fn open(&self) -> Result<u64, Failure> {
        Ok(self.books.rows().await?.open())
    }

    /// Waits, deciding what a person must decide, until nothing is open; then the figures are the rows.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
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
        self.report.mistakes.extend(figures.broken_equations());
        if figures.deliveries() != rows.deliveries || figures.accepted() != rows.accepted {
            self.report.mistakes.push("/metrics differs from a scan of the rows".to_owned());
        }
        Ok(())
    }

    /// Collects the ends, stops the bus and judges.
    pub(crate) async fn judge(&mut self) -> Result<(), Failure> {
        let ends = ends::collect(self.house.http, &self.acknowledged).await?;
        self.stop().await?;
        let scan = self.books.scan().await?;
        let mut effects = called(&self.target.lines()?);
        effects.extend(scan.effects.iter().cloned());
        let logs = Logs {
            attempted: std::mem::take(&mut self.attempted),
            acknowledged: std::mem::take(&mut self.acknowledged),
            effects,
            ends,
            double_terminal: scan.ended_twice,
        };
        self.report.accepted = logs.acknowledged.len() as u64;
        self.report.effects = logs.effects.len() as u64;
        self.report.uncertain = self.office.resolved();
        self.report.parked = self.office.replayed();
        self.report.judged(&judge(&logs));
        self.report.stuck = self.report.stuck.max(scan.rows.open());
        self.report.reconciled = reconciled(&log_of(&self.house.path))?;
        self.report.mistakes.extend(scan.broken);
        Ok(())
    }

    /// Asks the bus, if one runs, to stop; an end that is not clean is a mistake of the bus.
    pub(crate) async fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut bus) = self.bus.take() else { return Ok(()) };
        match tokio::time::timeout(STOP, bus.terminate()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => {}
            Ok(status) => {
                self.report.mistakes.push(format!("the bus did not end cleanly: {:?}", status?));
            }
            Err(_) => {
                bus.kill().await?;
                self.report.mistakes.push(format!("the bus did not end within {STOP:?}"));
            }
        }
        Ok(())
    }
}

/// What the target applied, as the checker counts it.
fn called(lines: &[Line]) -> Vec<Effect> {
    lines
        .iter()
        .filter(|line| line.applied)
        .map(|line| Effect {
            message: line.n,
            operation: line.operation.clone(),
            as_expected: line.digest == house::expected_call(line.n)
                && line.operation == house::operation_of(line.n),
        })
        .collect()
}

/// Copies that every bus of a house together said to be lost, from its log: their figures died with them.
fn reconciled(log: &Path) -> io::Result<u64> {
    let log = fs::read_to_string(log)?;
    let lost = log.lines().filter(|line| line.contains("copies were lost in the broker"));
    let rows = lost.map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        line["fields"]["rows"].as_u64().unwrap_or(1)
    });
    Ok(rows.sum())
}

/// Where the bus of a house writes its log.
pub(crate) fn log_of(folder: &Path) -> PathBuf {
    folder.join("bus.log")
}
