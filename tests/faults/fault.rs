//! One row under way: its stage, its place in the broker, the proxy between them; the verbs of the rows.
//!
//! Invariant: every wait is bounded; what is not seen in time is reported and does not stop the row.

use std::{
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use snodo::broker::{
    management::{Management, segment},
    node::PrivateNode,
    session::Endpoint,
};
use snodo_tests::{
    bus::binaries,
    chaos::{Failure, drive::Load, house::ROUTES, plan::Dice, stage::Stage},
    client::{Client, get},
    faults::report::FaultReport,
    proxy::Proxy,
};
use tokio::{process::Command, sync::RwLock, time::timeout};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// No command of `snodo` takes longer.
const COMMAND: Duration = Duration::from_mins(5);

/// Where in the broker a run is.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its vhost.
    pub(crate) vhost: String,
    /// The bus's user.
    pub(crate) user: String,
    /// That user's password.
    pub(crate) password: String,
    /// The broker itself, not the proxy.
    pub(crate) amqp: SocketAddr,
    /// As the node's administrator, past the proxy.
    pub(crate) endpoint: Endpoint,
    /// The same by HTTP.
    pub(crate) management: Management,
}

impl Place {
    /// `/api/<kind>/<vhost>/<name>`.
    pub(crate) fn path(&self, kind: &str, name: &str) -> String {
        format!("/api/{kind}/{}/{}", segment(&self.vhost), segment(name))
    }
}

/// A row under way.
#[derive(Debug)]
pub(crate) struct Fault<'a> {
    /// What is reported of it.
    pub(crate) report: FaultReport,
    /// Its chance.
    pub(crate) dice: Dice,
    /// The broker.
    pub(crate) node: &'a RwLock<PrivateNode>,
    /// Where in it.
    pub(crate) place: Place,
    /// Between the bus and the broker.
    pub(crate) proxy: Proxy,
    /// The bus and what is around it.
    pub(crate) stage: Stage,
    /// What the bus is started with.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl<'a> Fault<'a> {
    /// Before anything has started.
    pub(crate) fn new(
        report: FaultReport,
        node: &'a RwLock<PrivateNode>,
        place: Place,
        proxy: Proxy,
        stage: Stage,
    ) -> Self {
        let dice = Dice::new(report.seed);
        Self { report, dice, node, place, proxy, stage, environment: Vec::new() }
    }

    /// Notes what was done.
    pub(crate) fn did(&mut self, what: impl Into<String>) {
        self.report.did(what);
    }

    /// Notes whether what must be seen was.
    pub(crate) fn see(&mut self, what: impl Into<String>, held: bool) {
        self.report.see(what, held);
    }

    /// Waits for what must be seen, and notes whether it was; how long it took.
    pub(crate) async fn see_within(
        &mut self,
        what: impl Into<String>,
        within: Duration,
        mut holds: impl AsyncFnMut(&mut Self) -> Result<bool, Failure>,
    ) -> Result<Duration, Failure> {
        let begun = Instant::now();
        let held = loop {
            if holds(self).await? {
                break true;
            }
            if begun.elapsed() >= within {
                break false;
            }
            tokio::time::sleep(LOOK).await;
        };
        self.see(what, held);
        Ok(begun.elapsed())
    }

    /// Waits for what the rest of the row needs; an error where it does not come.
    pub(crate) async fn wait(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl AsyncFnMut(&mut Self) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        while !holds(self).await? {
            if begun.elapsed() >= within {
                return Err(format!("waited {within:?} in vain for {what}").into());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Declares what the house needs, and starts the bus.
    pub(crate) async fn start(&mut self) -> Result<(), Failure> {
        self.apply().await?;
        self.start_bus(false).await?;
        Ok(())
    }

    /// The same, and messages come.
    pub(crate) async fn begin(&mut self, rate: u32) -> Result<(), Failure> {
        self.start().await?;
        self.stage.drive(Load::of(rate))?;
        self.wait("the first effects", Duration::from_mins(1), async |fault| {
            Ok(fault.ended().await >= 10)
        })
        .await
    }

    /// Starts the bus; whether it lives.
    pub(crate) async fn start_bus(&mut self, may_die: bool) -> Result<bool, Failure> {
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.stage.start_bus(&environment, may_die).await
    }

    /// `snodo topology apply`.
    pub(crate) async fn apply(&mut self) -> Result<(), Failure> {
        let (code, said) = self.snodo(&["topology", "apply"]).await?;
        if code == 0 { Ok(()) } else { Err(format!("topology apply: {said}").into()) }
    }

    /// Runs a command of `snodo` in the house: its exit code and what it said.
    pub(crate) async fn snodo(&self, arguments: &[&str]) -> Result<(i32, String), Failure> {
        let house = &self.stage.house.path;
        let run = Command::new(binaries()?.join("snodo"))
            .args(arguments)
            .current_dir(house)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(COMMAND, run).await??;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned()))
    }

    /// The same where it prints JSON.
    pub(crate) async fn told(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let (_, said) = self.snodo(&[arguments, &["--json"]].concat()).await?;
        Ok(serde_json::from_str(said.lines().next().unwrap_or_default()).unwrap_or_default())
    }

    /// Runs `rabbitmqctl`.
    pub(crate) async fn rabbitmqctl(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut tool = self.node.read().await.tool("rabbitmqctl");
        tool.args(arguments);
        let output = tokio::task::spawn_blocking(move || tool.output()).await??;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("rabbitmqctl: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// Closes every connection in the vhost.
    pub(crate) async fn close_connections(&self) -> Result<(), Failure> {
        let vhost = self.place.vhost.clone();
        self.rabbitmqctl(&["close_all_connections", "--vhost", &vhost, "by the fault run"]).await
    }

    /// A number on `/metrics`; 0 while the bus shows none.
    pub(crate) async fn figure(&mut self, name: &str, labels: &[(&str, &str)]) -> i64 {
        self.stage.figures().await.map_or(0, |figures| figures.sum(name, labels))
    }

    /// Deliveries that have ended.
    pub(crate) async fn ended(&mut self) -> i64 {
        self.figure("snodo_deliveries_ended_total", &[]).await
    }

    /// Deliveries of a route that are completed.
    pub(crate) async fn completed(&mut self, route: &str) -> i64 {
        let labels = [("route", route), ("state", "completed")];
        self.figure("snodo_deliveries_ended_total", &labels).await
    }

    /// Deliveries in a state, of all routes.
    pub(crate) async fn owed(&mut self, state: &str) -> i64 {
        self.figure("snodo_deliveries", &[("state", state)]).await
    }

    /// Rows that a sweep has moved.
    pub(crate) async fn moved(&mut self, what: &str) -> i64 {
        self.figure("snodo_ledger_moved_rows_total", &[("what", what)]).await
    }

    /// Copies of which the broker said this.
    pub(crate) async fn published(&mut self, result: &str) -> i64 {
        self.figure("snodo_publish_total", &[("result", result)]).await
    }

    /// Whether every route is consumed.
    pub(crate) async fn all_consumed(&mut self) -> bool {
        let mut up = 0;
        for route in ROUTES {
            up += self.figure("snodo_consumer_active", &[("route", route)]).await;
        }
        up == i64::try_from(ROUTES.len()).unwrap_or(0)
    }

    /// `/status`; null while it cannot be had.
    pub(crate) async fn status(&self) -> Value {
        let answer = Client::new(self.stage.house.http).send(&get("/status", "")).await;
        answer.map_or(Value::Null, |answer| answer.json())
    }

    /// Whether `/status` says so of a component, and that messages are taken all the same.
    pub(crate) async fn is_degraded(&self, component: &str, why: &str) -> bool {
        let status = self.status().await;
        let said = status["components"][component]["why"].as_str().unwrap_or_default();
        status["ready"] == json!(true)
            && status["components"][component]["ready"] == json!(false)
            && said.contains(why)
    }

    /// Whether `/status` says that everything works.
    pub(crate) async fn is_well(&self) -> bool {
        self.status().await["degraded"] == json!([])
    }

    /// Lets messages come for a while, and notes that each of them was taken.
    pub(crate) async fn see_accepting(
        &mut self,
        when: &str,
        during: Duration,
    ) -> Result<(), Failure> {
        let driver = self.stage.driver.as_ref().ok_or("nobody posts")?;
        let (before, refused) = (driver.acknowledged(), driver.refused());
        tokio::time::sleep(during).await;
        let driver = self.stage.driver.as_ref().ok_or("nobody posts")?;
        let taken = driver.acknowledged() - before;
        let others = driver.refused();
        let held = taken > 0 && others == refused;
        let words = if held { String::new() } else { format!(" ({taken} taken, {others:?})") };
        self.see(format!("messages are taken {when}{words}"), held);
        Ok(())
    }

    /// How often a text stands in the bus's log.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let log = std::fs::read_to_string(self.stage.log()).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// Writes another `retry:` into every route.
    pub(crate) fn retry(&self, policy: &str) -> Result<(), Failure> {
        for route in ROUTES {
            self.rewrite(&format!("routes/{route}.yaml"), |text| {
                let head = text.split("retry:").next().unwrap_or_default();
                format!("{head}retry: {policy}\n")
            })?;
        }
        Ok(())
    }

    /// Writes a file of the house anew, from what it is.
    pub(crate) fn rewrite(
        &self,
        file: &str,
        change: impl FnOnce(&str) -> String,
    ) -> Result<(), Failure> {
        let text = std::fs::read_to_string(self.stage.house.path.join(file))?;
        Ok(self.stage.house.write(file, &change(&text))?)
    }

    /// Removes a file of the house.
    pub(crate) fn remove(&self, file: impl AsRef<Path>) -> Result<(), Failure> {
        Ok(std::fs::remove_file(self.stage.house.path.join(file))?)
    }

    /// Ready and unacknowledged copies of a queue, by the broker's own figures; none where it is not.
    pub(crate) async fn queue(&self, name: &str) -> Option<Value> {
        self.place.management.get(&self.place.path("queues", name)).await.ok()
    }

    /// The process id of the bus.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.stage.bus.as_ref().and_then(snodo_tests::bus::BusProcess::pid)
    }

    /// Nothing is posted any more, everything comes to its end, and all of it is judged.
    pub(crate) async fn finish(&mut self) -> Result<(), Failure> {
        self.stage.rest().await;
        self.stage.settle().await?;
        let judged = self.stage.judge().await?;
        self.report.judged = judged;
        Ok(())
    }
}
