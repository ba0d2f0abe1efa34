//! `snodo doctor`: whether this machine, the ledger, the broker and the targets are as they should be.
//!
//! Invariant: it changes nothing; what a running bus holds is asked of the bus.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};
use snodo_core::{
    adapter::Catalog,
    doctor::{Finding, no_broker},
};

use super::{
    Common,
    client::{self, Answer},
    desk::Question,
};
use crate::{
    doctor,
    exit::{Exit, Failure},
    house::Checked,
    run::Planned,
    settings::LedgerSettings,
};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Check all of the ledger's file, however large it is
    #[arg(long)]
    thorough: bool,
}

impl Doctor {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let checked = common.checked(catalog)?;
        let mut found = as_json(&doctor::of_machine(&checked.settings));
        let question = Question::get(format!("/doctor?thorough={}", self.thorough));
        match client::ask_socket(&checked.settings.socket(), question.request()?).await? {
            Some(answer) => found.extend(told(&answer)?),
            None => found.extend(as_json(&self.without_bus(&checked).await)),
        }
        found.extend(as_json(&doctor::of_certificates(&checked.settings).await));
        found.extend(as_json(&doctor::of_targets(&checked.instances).await));
        let wrong = found.iter().any(|one| one["level"] == "error");
        common.print(&json!({ "findings": found, "sound": !wrong }), text)?;
        Ok(if wrong { Exit::Failed } else { Exit::Done })
    }

    /// Where no bus runs, the ledger is opened under its lock.
    async fn without_bus(&self, checked: &Checked) -> Vec<Finding> {
        let mut found = Vec::new();
        let is_there = match &checked.settings.ledger {
            LedgerSettings::Sqlite(path) => checked.settings.data.join(path).exists(),
            LedgerSettings::Postgres { .. } => true,
        };
        if is_there {
            match crate::run::office(checked).await {
                Ok(office) => {
                    found.extend(doctor::of_ledger(&*office.ledger, self.thorough).await);
                    office.ledger.close().await;
                }
                Err(error) => found.push(snodo_core::doctor::no_ledger(&error.to_string())),
            }
        }
        let planned = Planned::of(checked);
        match &planned.endpoint {
            Some(endpoint) => found.extend(doctor::of_broker(endpoint, &planned.topology).await),
            None => found.push(no_broker("no bus runs, and the private broker runs with it alone")),
        }
        found
    }
}

fn as_json(found: &[Finding]) -> Vec<Value> {
    found.iter().map(|one| json!(one)).collect()
}

fn told(answer: &Answer) -> Result<Vec<Value>, Failure> {
    let told = answer.json();
    let found = told["findings"].as_array().cloned();
    found.ok_or_else(|| Failure::failed("the running bus is of another version: restart it"))
}

/// What is wrong in full, what is fine in a line.
fn text(told: &Value) -> String {
    let mut text = String::new();
    for one in told["findings"].as_array().into_iter().flatten() {
        let word = |key: &str| one[key].as_str().unwrap_or_default();
        let (level, what, seen) = (word("level"), word("what"), word("seen"));
        match one["help"].as_str() {
            None => {
                let _ = writeln!(text, "{level:<8} {what}: {seen}");
            }
            Some(help) => {
                let _ = writeln!(text, "{level:<8} {} {what}: {seen}", word("code"));
                let _ = writeln!(text, "         do: {help}");
            }
        }
    }
    text
}
