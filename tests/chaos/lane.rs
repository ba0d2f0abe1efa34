//! One ledger's side of a session: its own broker, database server, and one house after the other.
//!
//! Invariant: two lanes share nothing but the machine; the runs of a lane share the broker's node, each in
//! a vhost of its own.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::{Value, json};
use snodo::broker::{
    management::{Management, segment},
    node::{NodeOptions, PrivateNode},
    session::{Endpoint, Secret},
    topology,
};
use snodo_core::topology::{BusNeeds, plan};
use snodo_tests::{
    bus::HouseFolder,
    chaos::{
        plan::{LedgerKind, Run},
        report::RunReport,
        target::{DELAY_MS, Target},
    },
    postgres,
};

use crate::{
    books::Books,
    house::{self, Places, ROUTES},
    scene::{Failure, Scene, log_of},
    strikes,
};

/// A lane, ready to run.
#[derive(Debug)]
pub(crate) struct Lane {
    ledger: LedgerKind,
    folder: PathBuf,
    node: PrivateNode,
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
        let options = NodeOptions { fresh: true, ..NodeOptions::default() };
        let node = PrivateNode::start(&folder.join("node"), options).await?;
        Ok(Self { ledger, folder, node, fault })
    }

    /// Runs, reports, and keeps the folder only where something was wrong.
    pub(crate) async fn run(&mut self, run: &Run) -> RunReport {
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

    async fn try_run(
        &mut self,
        run: &Run,
        folder: &Path,
    ) -> Result<RunReport, (RunReport, Failure)> {
        let mut scene = match self.set_up(run, folder).await {
            Ok(scene) => scene,
            Err(error) => return Err((RunReport::new(run), error)),
        };
        let played = play(&mut scene, run).await;
        let slowest = scene.slowest_start();
        let mut report = scene.report;
        if slowest.as_secs() >= 5 {
            report.mistakes.push(format!("a start took {slowest:.1?} until it was ready"));
        }
        match played {
            Ok(()) => Ok(report),
            Err(error) => Err((report, error)),
        }
    }

    async fn set_up(&mut self, run: &Run, folder: &Path) -> Result<Scene<'_>, Failure> {
        let vhost = run.strike.to_string().to_lowercase();
        let house = HouseFolder::new(folder)?;
        let broker = self.broker(&vhost, &house).await?;
        let (ledger, books) = self.ledger(&house)?;
        let target = Target::start(&folder.join("target.log"), run.seed, DELAY_MS).await?;
        house::write(&house, &Places { ledger, broker, target: target.address() })?;
        Ok(Scene::new(
            RunReport::new(run),
            &mut self.node,
            house,
            books,
            target,
            self.fault.clone(),
        ))
    }

    /// A vhost with the topology of the house, and the configuration that names it.
    async fn broker(&self, vhost: &str, house: &HouseFolder) -> Result<Value, Failure> {
        let endpoint = self.node.endpoint().in_vhost(vhost);
        let bus = BusNeeds {
            vhost: vhost.to_owned(),
            user: endpoint.user.clone(),
            routes: ROUTES.map(str::to_owned).to_vec(),
            max_queue_bytes: 1 << 30,
        };
        grant(&endpoint).await?;
        topology::apply(&endpoint, &plan(&bus, &[]), &BTreeMap::new()).await?;
        let Secret::Text(password) = &endpoint.password else {
            return Err("a private node has its password as text".into());
        };
        house.write("broker.password", password)?;
        let node = endpoint.nodes.first().ok_or("a private node has one address")?;
        let uri = node.replacen("amqp://", &format!("amqp://{}@", endpoint.user), 1);
        Ok(json!({
            "uris": [format!("{uri}/{vhost}")],
            "password": { "file": house.path.join("broker.password") },
            "management": endpoint.management,
        }))
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
        let management = Management::of(&self.node.endpoint())?;
        Ok(management.delete(&format!("/api/vhosts/{}", segment(vhost))).await?)
    }
}

async fn play(scene: &mut Scene<'_>, run: &Run) -> Result<(), Failure> {
    strikes::strike(scene, run.strike, run.times).await?;
    scene.settle().await?;
    scene.judge().await
}

/// The vhost, and all rights in it.
async fn grant(endpoint: &Endpoint) -> Result<(), Failure> {
    let management = Management::of(endpoint)?;
    let vhost = segment(&endpoint.vhost);
    let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    management.put(&format!("/api/vhosts/{vhost}"), &json!({})).await?;
    let user = segment(&endpoint.user);
    Ok(management.put(&format!("/api/permissions/{vhost}/{user}"), &all).await?)
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
