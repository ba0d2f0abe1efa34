//! What all runs of a session share, and what each has of its own.
//!
//! Invariant: the runs share the broker's node and the database server, nothing else: each has a vhost, a
//! user, a database, a target and a house; a broken part of one is no part of another.

use std::{
    fs,
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
        plan::LedgerKind,
        session::within,
        stage::Stage,
        target::Target,
    },
    faults::{plan::Run, report::FaultReport},
    node, postgres,
    proxy::{Far, Proxy},
};
use tokio::sync::RwLock;

use crate::{
    fault::{Fault, Place},
    rows,
};

/// No row takes longer: the longest of them fill a broker or a disk.
const LONGEST: Duration = Duration::from_mins(15);
/// Between a call and its answer, in milliseconds: drawn from here.
const DELAY_MS: (u64, u64) = (0, 30);
/// The broker tries again so often to give up a copy that nowhere takes; its own default is three
/// minutes.
const DEAD_LETTERS: &str =
    "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, 5000).";

/// The ground of a session.
#[derive(Debug)]
pub(crate) struct Ground {
    folder: PathBuf,
    node: RwLock<PrivateNode>,
}

impl Ground {
    /// Starts what all runs share.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let options =
            NodeOptions { fresh: true, ready_within: node::START, ..NodeOptions::default() };
        let node = PrivateNode::start(&folder.join("node"), options).await?;
        let mut tool = node.tool("rabbitmqctl");
        let set = tokio::task::spawn_blocking(move || tool.args(["eval", DEAD_LETTERS]).output());
        set.await??;
        Ok(Self { folder: folder.to_owned(), node: RwLock::new(node) })
    }

    /// Runs, reports, and keeps the folder only where something was wrong.
    pub(crate) async fn run(&self, run: &Run) -> FaultReport {
        let begun = Instant::now();
        let folder = self.folder.join(run.slug());
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
            report.mistakes.push(format!("the bus's log is {}", folder.join("bus.log").display()));
        }
        if let Err(error) = self.clear(&run.slug()).await {
            report.mistakes.push(format!("the vhost could not be removed: {error}"));
        }
        report
    }

    async fn try_run(
        &self,
        run: &Run,
        folder: &Path,
    ) -> Result<FaultReport, (FaultReport, Failure)> {
        let mut fault = match within(LONGEST, "setting up", self.set_up(run, folder)).await {
            Ok(fault) => fault,
            Err(error) => return Err((FaultReport::new(run), error)),
        };
        let row = rows::play(&mut fault, run.row.name);
        let played = within(LONGEST, "playing the row", row).await;
        let mut report = fault.report;
        report.mistakes.append(&mut fault.stage.mistakes);
        match played {
            Ok(()) => Ok(report),
            Err(error) => Err((report, error)),
        }
    }

    async fn set_up(&self, run: &Run, folder: &Path) -> Result<Fault<'_>, Failure> {
        let house = HouseFolder::new(folder)?;
        let place = self.place(&run.slug()).await?;
        let endpoint = place.endpoint.clone();
        let proxy = Proxy::amqp(Far::Tcp(place.amqp)).await?;
        node::write_secret(&house.path.join("broker.password"), &place.password)?;
        let broker = json!({
            "uris": [format!("amqp://{}@{}/{}", place.user, proxy.address(), place.vhost)],
            "password": { "file": house.path.join("broker.password") },
            "management": endpoint.management,
        });
        let (ledger, books) = ledger(run.ledger, &house)?;
        let target = Target::start(&folder.join("target.log"), run.seed, DELAY_MS).await?;
        house::write(&house, &Places { ledger, broker, target: target.address() })?;
        let stage = Stage::new(house, books, target);
        Ok(Fault::new(FaultReport::new(run), &self.node, place, proxy, stage))
    }

    /// A vhost and a user that may do everything in it, and see the broker.
    async fn place(&self, name: &str) -> Result<Place, Failure> {
        let endpoint = self.node.read().await.endpoint().in_vhost(name);
        let management = Management::of(&endpoint)?;
        let password = uuid::Uuid::now_v7().simple().to_string();
        let (vhost, user) = (segment(name), name.to_owned());
        let login = json!({ "password": password, "tags": "administrator" });
        management.put(&format!("/api/vhosts/{vhost}"), &json!({})).await?;
        management.put(&format!("/api/users/{vhost}"), &login).await?;
        for user in [&user, &endpoint.user] {
            let path = format!("/api/permissions/{vhost}/{}", segment(user));
            management.put(&path, &all_rights()).await?;
        }
        let address = endpoint.nodes.first().and_then(|node| node.strip_prefix("amqp://"));
        let amqp = address.ok_or("a private node has one address")?.parse()?;
        Ok(Place { vhost: name.to_owned(), user, password, amqp, endpoint, management })
    }

    async fn clear(&self, name: &str) -> Result<(), Failure> {
        let management = Management::of(&self.node.read().await.endpoint())?;
        management.delete(&format!("/api/vhosts/{}", segment(name))).await?;
        Ok(management.delete(&format!("/api/users/{}", segment(name))).await?)
    }
}

/// What a user may do who may do everything.
pub(crate) fn all_rights() -> Value {
    json!({ "configure": ".*", "write": ".*", "read": ".*" })
}

fn ledger(kind: LedgerKind, house: &HouseFolder) -> Result<(Value, Books), Failure> {
    match kind {
        LedgerKind::Sqlite => {
            let path = house.path.join("data/ledger.db");
            Ok((json!({ "sqlite": "ledger.db" }), Books::Sqlite(path)))
        }
        LedgerKind::Postgres => {
            let url = postgres::server().ok_or("PostgreSQL is not installed")?.database();
            let settings = postgres::settings(&url, &house.path).ok_or("another kind of URL")?;
            Ok((json!({ "postgres": settings }), Books::Postgres(url)))
        }
    }
}
