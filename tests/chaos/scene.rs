//! One run under way: its stage, its broker, its chance, its report.
//!
//! Invariant: what is reported is what the stage's logs say, and how often it struck.

use std::path::{Path, PathBuf};

use snodo::broker::node::PrivateNode;
use snodo_tests::chaos::{
    Failure,
    plan::Dice,
    report::RunReport,
    stage::{Judged, Stage},
};
use tokio::sync::RwLock;

/// A run under way.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    /// What is reported of it.
    pub(crate) report: RunReport,
    /// Its chance.
    pub(crate) dice: Dice,
    /// Its broker.
    pub(crate) node: &'a RwLock<PrivateNode>,
    /// Its bus and what is around it.
    pub(crate) stage: Stage,
    fault: Option<String>,
}

impl<'a> Scene<'a> {
    /// Before anything has started.
    pub(crate) fn new(
        report: RunReport,
        node: &'a RwLock<PrivateNode>,
        stage: Stage,
        fault: Option<String>,
    ) -> Self {
        Self { dice: Dice::new(report.seed), report, node, stage, fault }
    }

    /// Starts the bus and waits until it is ready. With a crash point it may die before.
    pub(crate) async fn start_bus(&mut self, crash_at: Option<&str>) -> Result<(), Failure> {
        let mut environment: Vec<(&str, &str)> = Vec::new();
        environment.extend(crash_at.map(|at| ("SNODO_CRASH_AT", at)));
        environment.extend(self.fault.as_deref().map(|off| ("SNODO_FAULT_OFF", off)));
        self.stage.start_bus(&environment, crash_at.is_some()).await?;
        Ok(())
    }

    /// Judges, and reports it.
    pub(crate) async fn judge(&mut self) -> Result<(), Failure> {
        let judged = self.stage.judge().await?;
        let Judged { accepted, effects, uncertain, replayed, reconciled, verdicts } = judged;
        self.report.verdicts = verdicts;
        (self.report.accepted, self.report.effects) = (accepted, effects);
        (self.report.uncertain, self.report.parked) = (uncertain, replayed);
        self.report.reconciled = reconciled;
        Ok(())
    }
}

/// Where the bus of a house writes its log.
pub(crate) fn log_of(folder: &Path) -> PathBuf {
    folder.join("bus.log")
}
