//! One ledger's side of a session: its own broker, database server, and one house after the other.
//!
//! Invariant: two lanes share nothing but the machine; the runs of a lane share the broker's node, each in
//! a vhost of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use snodo::broker::{
    management::{Management, segment},
    node::{NodeOptions, PrivateNode},
};
use snodo_tests::{
    bus::HouseFolder,
    chaos::{
        Failure,
        books::Books,
        house::{self, Places},
        plan::{LedgerKind, Run},
        report::RunReport,
        session::within,
        stage::Stage,
        target::{DELAY_MS, Target},
    },
    node, postgres,
};
use tokio::sync::RwLock;

use crate::{
    scene::{Scene, log_of},
    strikes,
};

/// No strike takes longer, nor what comes after the last.
const LONGEST: Duration = Duration::from_mins(5);

/// A lane, ready to run.
#[derive(Debug)]
pub(crate) struct Lane {
    ledger: LedgerKind,
    folder: PathBuf,
    node: RwLock<PrivateNode>,
    fault: Option<String>,
}

impl Lane {
    /// Starts what all its runs share.
    pub(crate) async fn start(
        ledger: LedgerKind,
        folder: &Path,
        fault: Option<String>,
    ) -> Result<Self, Failure> {
        let folder = folder.join(ledger.word());
        let options =
            NodeOptions { fresh: true, ready_within: node::START, ..NodeOptions::default() };
        let node = PrivateNode::start(&folder.join("node"), options).await?;
        Ok(Self { ledger, folder, node: RwLock::new(node), fault })
    }

    /// Runs, reports, and keeps the folder only where something was wrong.
    pub(crate) async fn run(&self, run: &Run) -> RunReport {
        let begun = Instant::now();
        let name = run.strike.to_string().to_lowercase();
        let folder = self.folder.join(&name);
        let mut report = match self.try_run(run, &folder).await {
            Ok(report) => report,
            Err((mut report, error)) => {
                report.mistakes.push(format!("could not be carried out: {error}"));
                report
            }
        };
        report.seconds = begun.elapsed().as_secs();
        if report.failures().is_empty() {
            // What is left over is only in the way.
            let _ = fs::remove_dir_all(&folder);
        } else {
            report.mistakes.push(format!("the bus's log is {}", log_of(&folder).display()));
        }
        if let Err(error) = self.drop_vhost(&name).await {
            report.mistakes.push(format!("the vhost could not be removed: {error}"));
        }
        report
    }

    async fn try_run(&self, run: &Run, folder: &Path) -> Result<RunReport, (RunReport, Failure)> {
        let mut scene = match within(LONGEST, "setting up", self.set_up(run, folder)).await {
            Ok(scene) => scene,
            Err(error) => return Err((RunReport::new(run), error)),
        };
        let played = play(&mut scene, run).await;
        let slowest = scene.stage.slowest_start;
        let mut report = scene.report;
        report.mistakes.extend(scene.stage.mistakes);
        if slowest.as_secs() >= 5 {
            report.mistakes.push(format!("a start took {slowest:.1?} until it was ready"));
        }
        match played {
            Ok(()) => Ok(report),
            Err(error) => Err((report, error)),
        }
    }

    async fn set_up(&self, run: &Run, folder: &Path) -> Result<Scene<'_>, Failure> {
        let vhost = run.strike.to_string().to_lowercase();
        let house = HouseFolder::new(folder)?;
        let endpoint = self.node.read().await.endpoint().in_vhost(&vhost);
        let broker = house::broker(&endpoint, &house).await?;
        let (ledger, books) = self.ledger(&house)?;
        let target = Target::start(&folder.join("target.log"), run.seed, DELAY_MS).await?;
        house::write(&house, &Places { ledger, broker, target: target.address() })?;
        let stage = Stage::new(house, books, target);
        Ok(Scene::new(RunReport::new(run), &self.node, stage, self.fault.clone()))
    }

    fn ledger(&self, house: &HouseFolder) -> Result<(Value, Books), Failure> {
        match self.ledger {
            LedgerKind::Sqlite => {
                let path = house.path.join("data/ledger.db");
                Ok((json!({ "sqlite": "ledger.db" }), Books::Sqlite(path)))
            }
            LedgerKind::Postgres => {
                let url = postgres::server().ok_or("PostgreSQL is not installed")?.database();
                house.write("ledger.password", "trusted\n")?;
                Ok((postgres_settings(&url, house)?, Books::Postgres(url)))
            }
        }
    }

    async fn drop_vhost(&self, vhost: &str) -> Result<(), Failure> {
        let management = Management::of(&self.node.read().await.endpoint())?;
        Ok(management.delete(&format!("/api/vhosts/{}", segment(vhost))).await?)
    }
}

async fn play(scene: &mut Scene<'_>, run: &Run) -> Result<(), Failure> {
    let strikes = strikes::strike(scene, run.strike, run.times);
    within(LONGEST * run.times, "striking", strikes).await?;
    within(LONGEST, "settling", scene.stage.settle()).await?;
    within(LONGEST, "judging", scene.judge()).await
}

/// From `postgres://user@%2Fsocket%2Ffolder/database`, as the tests' server gives it.
fn postgres_settings(url: &str, house: &HouseFolder) -> Result<Value, Failure> {
    let parts = url
        .strip_prefix("postgres://")
        .and_then(|rest| rest.split_once('@'))
        .and_then(|(user, rest)| Some((user, rest.split_once('/')?)));
    let Some((user, (host, database))) = parts else {
        return Err(io::Error::other("the tests' server has another kind of URL").into());
    };
    Ok(json!({ "postgres": {
        // Stays as it stands in a URL: there a folder of sockets is one word.
        "host": host,
        "database": database,
        "user": user,
        "password": { "file": house.path.join("ledger.password") },
    } }))
}
