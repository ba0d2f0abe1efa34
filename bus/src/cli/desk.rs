//! The commands of operators: asked of the running bus, or of the ledger under its lock.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::{Router, body::Body};
use clap::{Args, Subcommand};
use hyper::{
    Method, Request, StatusCode,
    header::{CONTENT_TYPE, HOST},
};
use serde_json::{Value, json};
use snodo_core::adapter::Catalog;
use tower_service::Service as _;

use super::{
    Common,
    client::{self, Answer},
    group,
    send::problem,
};
use crate::{
    exit::{Exit, Failure},
    operators::{self, Actor, socket::user_name},
};

#[derive(Debug, Args)]
pub(super) struct Trace {
    /// The message's id, or the protocol number that it got: 0000123/2026
    id: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Parked {
    /// List them, oldest first
    List(List),
    /// Show one, with its fault and what may be done
    Show {
        /// The delivery's id, as the list shows it
        id: String,
    },
    /// Count them by route, step and code
    Groups,
    /// Have one tried again, or with --all a group, by the route as it is now
    Replay(Replay),
    /// Put one away for good; nothing is undone
    Discard {
        /// The delivery's id, as the list shows it
        id: String,
        /// Why, in one line without personal data; it goes into the evidence
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this route, or of `party:<id>`
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only with this code, such as SN0764
    #[arg(long)]
    code: Option<String>,
    /// Only after this sequence number: the `next` that --json shows, when there are more
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    after: i64,
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The delivery's id, as the list shows it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// All that are parked now, or those of --route and --code; Ctrl-C stops between two
    #[arg(long)]
    all: bool,
    /// Only of this route, or of `party:<id>`
    #[arg(long, requires = "all", value_name = "NAME")]
    pub(super) route: Option<String>,
    /// Only with this code, such as SN0764
    #[arg(long, requires = "all")]
    pub(super) code: Option<String>,
    /// So many a second, so that fresh messages get through beside them
    #[arg(long, requires = "all", default_value_t = 20, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) rate: u32,
    /// Why, in one line without personal data; it goes into the evidence
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// By the version of the route to which each is pinned
    #[arg(long)]
    same_version: bool,
}

impl Replay {
    pub(super) fn question(&self, id: &str) -> Question {
        let body = json!({ "reason": self.reason, "same_version": self.same_version });
        Question::post(act(id, "replay"), body)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Uncertain {
    /// List them, oldest first
    List(List),
    /// Show one, with the call that is unclear
    Show {
        /// The delivery's id, as the list shows it
        id: String,
    },
    /// Say what the call did, having asked the far side; the delivery goes on from there
    Resolve(Resolve),
}

#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// The delivery's id, as the list shows it
    id: String,
    #[command(flatten)]
    verdict: Verdict,
    /// Why, in one line without personal data; it goes into the evidence
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// What the call gave, as JSON, where later steps read it
    #[arg(long, conflicts_with = "not_done", value_parser = json_value, value_name = "JSON")]
    result: Option<Value>,
    /// The far side's own id of what it did
    #[arg(long, conflicts_with = "not_done", value_name = "ID")]
    reference: Option<String>,
}

/// One of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Verdict {
    /// The call acted
    #[arg(long)]
    done: bool,
    /// The call did not act: it is made again
    #[arg(long)]
    not_done: bool,
}

fn json_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

#[derive(Debug, Subcommand)]
pub(super) enum Instances {
    /// List them, newest first
    List,
    /// Say that a process will never come back, so that its unclear calls can be decided
    DeclareDead {
        /// The instance's number, as the list shows it
        id: i64,
        /// Why, in one line without personal data; it goes into the evidence
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Books {
    /// Show totals and whether they are sound
    Stats,
    /// Check every chain of evidence against itself and against heads.log
    Verify,
    /// Write the proof that a message was accepted and how it ended; EVIDENCE.md says how to check it
    Prove {
        /// The message's id
        id: String,
    },
}

/// Have the running bus read the house again: routes, schemas, parties
#[derive(Debug, Args)]
pub(super) struct Reload {
    /// Wait until deliveries that stand in the way have ended; meanwhile their types are refused
    #[arg(long)]
    drain: bool,
}

impl Reload {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let question = Question::post("/reload", json!({ "drain": self.drain }));
        common.tell(catalog, &question, reloaded).await
    }
}

/// Show what the routes do, and the older versions by which deliveries are still owed
#[derive(Debug, Args)]
pub(super) struct Describe {
    /// Only this route
    #[arg(value_name = "ROUTE")]
    route: Option<String>,
}

impl Describe {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let (mut told, exit) = common.ask(catalog, &Question::get("/routes")).await?;
        if let Some(route) = &self.route {
            for what in ["routes", "older"] {
                let all = told[what].take();
                let is_it = |one: &Value| one["route"] == json!(route);
                told[what] = all
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|one| is_it(one))
                    .cloned()
                    .collect();
            }
            if items(&told, "routes").next().is_none() && items(&told, "older").next().is_none() {
                return Err(Failure::mistake(format!("there is no route `{route}`")));
            }
        }
        common.print(&told, if exit == Exit::Done { described } else { problem })?;
        Ok(exit)
    }
}

/// One question to the office.
pub(super) struct Question {
    method: Method,
    path: String,
    body: Option<Value>,
}

impl Question {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }

    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body) }
    }

    pub(super) fn request(&self) -> Result<Request<Body>, Failure> {
        let body = self.body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()));
        Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(HOST, "snodo")
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|_| Failure::mistake("what was typed cannot be an id or a name"))
    }
}

/// A part of a path or query with everything but letters, digits and `-._~` escaped.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

impl List {
    fn question(&self, state: &str) -> Question {
        let mut path = format!("/deliveries?state={state}&after={}", self.after);
        for (name, value) in [("route", &self.route), ("code", &self.code)] {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", escaped(value));
            }
        }
        Question::get(path)
    }
}

impl Trace {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let question = Question::get(format!("/messages/{}", escaped(&self.id)));
        common.tell(catalog, &question, |told| story(told, 0)).await
    }
}

impl Parked {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let (question, text): (Question, fn(&Value) -> String) = match self {
            Self::List(list) => (list.question("parked"), table),
            Self::Show { id } => (show(id), pretty),
            Self::Groups => return group::groups(common, catalog).await,
            Self::Replay(replay) => match &replay.id {
                Some(id) => (replay.question(id), outcome),
                None => return group::replay(replay, common, catalog).await,
            },
            Self::Discard { id, reason } => {
                (Question::post(act(id, "discard"), json!({ "reason": reason })), outcome)
            }
        };
        common.tell(catalog, &question, text).await
    }
}

impl Uncertain {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let (question, text): (Question, fn(&Value) -> String) = match self {
            Self::List(list) => (list.question("uncertain"), table),
            Self::Show { id } => (show(id), pretty),
            Self::Resolve(resolve) => (resolve.question(), outcome),
        };
        common.tell(catalog, &question, text).await
    }
}

impl Resolve {
    fn question(&self) -> Question {
        let mut body = json!({ "reason": self.reason, "done": self.verdict.done });
        if let Some(result) = &self.result {
            body["result"] = result.clone();
        }
        if let Some(reference) = &self.reference {
            body["reference"] = json!(reference);
        }
        Question::post(act(&self.id, "resolve"), body)
    }
}

impl Instances {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        match self {
            Self::List => common.tell(catalog, &Question::get("/instances"), instances).await,
            Self::DeclareDead { id, reason } => {
                let path = format!("/instances/{id}/declare-dead");
                let question = Question::post(path, json!({ "reason": reason }));
                common.tell(catalog, &question, outcome).await
            }
        }
    }
}

impl Books {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let (path, text): (String, fn(&Value) -> String) = match self {
            Self::Stats => ("/ledger/stats".to_owned(), stats),
            Self::Verify => ("/ledger/verify".to_owned(), verified),
            Self::Prove { id } => (format!("/ledger/proofs/{}", escaped(id)), pretty),
        };
        let question = Question::get(path);
        let (told, exit) = match self {
            Self::Verify => Desk::new(common, catalog).watched(&question).await?,
            Self::Stats | Self::Prove { .. } => common.ask(catalog, &question).await?,
        };
        let text = if exit == Exit::Done { text } else { problem };
        common.print(&told, text)?;
        let sound = told["sound"] != json!(false);
        Ok(if sound { exit } else { Exit::Failed })
    }
}

fn show(id: &str) -> Question {
    Question::get(format!("/deliveries/{}", escaped(id)))
}

fn act(id: &str, act: &str) -> String {
    format!("/deliveries/{}/{act}", escaped(id))
}

impl Common {
    /// Asks, and prints the answer or the problem.
    pub(super) async fn tell(
        &self,
        catalog: &Catalog,
        question: &Question,
        text: impl FnOnce(&Value) -> String,
    ) -> Result<Exit, Failure> {
        let (told, exit) = self.ask(catalog, question).await?;
        if exit == Exit::Done {
            self.print(&told, text)?;
        } else {
            self.print(&told, problem)?;
        }
        Ok(exit)
    }

    /// The answer of the running bus; where none runs, of the ledger itself.
    pub(super) async fn ask(
        &self,
        catalog: &Catalog,
        question: &Question,
    ) -> Result<(Value, Exit), Failure> {
        Desk::new(self, catalog).ask(question).await
    }
}

/// Where questions go: to the running bus; where none runs, to the ledger, opened once.
pub(super) struct Desk<'a> {
    common: &'a Common,
    catalog: &'a Catalog,
    office: Option<Router>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(common: &'a Common, catalog: &'a Catalog) -> Self {
        Self { common, catalog, office: None }
    }

    pub(super) async fn ask(&mut self, question: &Question) -> Result<(Value, Exit), Failure> {
        let answer = match &self.office {
            Some(office) => in_process(office.clone(), question).await?,
            // While a bus runs, a route that somebody is writing is in nobody's way.
            None => match client::ask_socket(&self.common.socket()?, question.request()?).await? {
                Some(answer) => answer,
                None => in_process(self.open().await?, question).await?,
            },
        };
        let exit = match answer.status {
            status if status.is_success() => Exit::Done,
            StatusCode::UNPROCESSABLE_ENTITY => Exit::Mistakes,
            _ => Exit::Failed,
        };
        Ok((answer.json(), exit))
    }
}

impl Desk<'_> {
    /// Asks what takes long, and tells a person who watches how far it has come.
    async fn watched(&mut self, question: &Question) -> Result<(Value, Exit), Failure> {
        let progress = Question::get("/ledger/verify/progress");
        if !group::is_watched() {
            return self.ask(question).await;
        }
        // Where no bus runs, this has opened the ledger.
        self.ask(&progress).await?;
        let (common, catalog) = (self.common, self.catalog);
        let mut beside = Desk { common, catalog, office: self.office.clone() };
        let answer = self.ask(question);
        let mut answer = std::pin::pin!(answer);
        let mut shown = false;
        loop {
            tokio::select! {
                answer = answer.as_mut() => {
                    if shown {
                        group::progress(1, 1);
                    }
                    return answer;
                }
                () = tokio::time::sleep(group::TELL) => {
                    let (told, _) = beside.ask(&progress).await?;
                    let of = |key: &str| told[key].as_u64().unwrap_or(0);
                    group::progress(of("done"), of("of").max(of("done") + 1));
                    shown = true;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Router, Failure> {
        let checked = self.common.checked(self.catalog)?;
        let office = crate::run::office(&checked).await.map_err(Failure::failed)?;
        Ok(self.office.insert(operators::router(Arc::new(office))).clone())
    }
}

/// The same functions, in this process.
async fn in_process(mut office: Router, question: &Question) -> Result<Answer, Failure> {
    let mut request = question.request()?;
    let me = rustix::process::geteuid().as_raw();
    request.extensions_mut().insert(Actor(user_name(me)));
    let response = office.call(request).await;
    let response = response.unwrap_or_else(|never| match never {});
    let status = response.status();
    let body =
        axum::body::to_bytes(response.into_body(), usize::MAX).await.map_err(Failure::failed)?;
    Ok(Answer { status, body })
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn table(told: &Value) -> String {
    let mut text = String::new();
    for row in items(told, "deliveries") {
        let _ = writeln!(
            text,
            "{}  {}  {:<24}  {}  {}",
            word(row, "id"),
            word(row, "since"),
            word(row, "route"),
            word(row, "code"),
            word(row, "step"),
        );
    }
    text
}

fn pretty(told: &Value) -> String {
    serde_json::to_string_pretty(told).unwrap_or_default() + "\n"
}

fn verified(told: &Value) -> String {
    let kept = &told["headsKept"];
    let lines: String =
        items(told, "findings").map(|finding| format!("{}\n", word(finding, "text"))).collect();
    if lines.is_empty() {
        return format!(
            "every chain is as it was written; compared with heads kept outside: {kept}\n"
        );
    }
    format!("{lines}what to do: keep this database as it is, and see `snodo explain SN0843`\n")
}

fn reloaded(told: &Value) -> String {
    let mut text = String::new();
    for what in ["new", "changed", "removed"] {
        for route in items(&told["reloaded"], what) {
            let _ = writeln!(text, "{what:<8} {}", route.as_str().unwrap_or_default());
        }
    }
    if text.is_empty() {
        text.push_str("no route is another; schemas and parties were read again\n");
    }
    for warning in items(told, "warnings") {
        let _ = writeln!(text, "warning  {}", warning.as_str().unwrap_or_default());
    }
    text
}

fn described(told: &Value) -> String {
    let mut text = String::new();
    for route in items(told, "routes") {
        let (name, from, title) = (word(route, "route"), word(route, "from"), word(route, "title"));
        let digest = word(route, "digest").get(..12).unwrap_or("-");
        let _ = writeln!(text, "{name}  {digest}  {title}\n  from {from}");
        if let Some(by) = route["order"]["by"].as_str() {
            let on_park = word(&route["order"], "onPark");
            let shards = &route["order"]["shards"];
            let _ = writeln!(text, "  in the order of {by}, on_park {on_park}, {shards} shards");
        }
        text.push_str(&described_steps(&route["steps"], 1));
    }
    for old in items(told, "older") {
        let digest = word(old, "digest").get(..12).unwrap_or("-");
        let _ = writeln!(text, "older  {}  {digest}  owes {}", word(old, "route"), old["owed"]);
    }
    text
}

fn described_steps(steps: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let mut text = String::new();
    for step in steps.as_array().into_iter().flatten() {
        let name = word(step, "step");
        match (step["use"].as_str(), step["emit"].as_str()) {
            (Some(target), _) => {
                let _ = writeln!(text, "{indent}{name}: use {target} ({})", word(step, "effect"));
            }
            (None, Some(kind)) => {
                let _ = writeln!(text, "{indent}{name}: emit {kind}");
            }
            (None, None) => {
                let _ = writeln!(text, "{indent}{name}: choose");
                for branch in items(step, "choose") {
                    text.push_str(&described_steps(branch, depth + 1));
                }
            }
        }
    }
    text
}

fn outcome(told: &Value) -> String {
    format!("{}\n", word(told, "done"))
}

fn instances(told: &Value) -> String {
    let line = |start: &Value| {
        let id = &start["id"];
        let (slot, at) = (word(start, "slot"), word(start, "started_at"));
        format!("{id}  {slot}  {at}  {}\n", word(start, "ended_at"))
    };
    items(told, "instances").map(line).collect()
}

fn stats(told: &Value) -> String {
    let mut text = String::new();
    for what in ["messages", "deliveries"] {
        for total in items(told, what) {
            let (name, bucket) = (word(total, "name"), word(total, "bucket"));
            let _ = write!(text, "{what:<10}  {name:<32}  {bucket:<10}  {}", total["n"]);
            match total["gone"].as_i64() {
                Some(gone) if gone > 0 => text.push_str(&format!("  ({gone} forgotten)\n")),
                _ => text.push('\n'),
            }
        }
    }
    text.push_str(&agreement(&told["totals"]));
    for broken in items(told, "brokenInvariants") {
        let _ = writeln!(text, "BROKEN  {}", broken.as_str().unwrap_or_default());
    }
    text
}

/// Whether the totals say what the rows say.
fn agreement(totals: &Value) -> String {
    let mut text = format!(
        "totals and rows: compared {}, {} rows; agreed {}\n",
        word(totals, "comparedAt"),
        totals["rows"],
        word(totals, "agreedAt"),
    );
    for one in items(totals, "differences") {
        let (name, bucket) = (word(one, "name"), word(one, "bucket"));
        let (told, rows) = (&one["totals"], &one["rows"]);
        text.push_str(&format!("DIFFERS  {name}  {bucket}: totals {told}, rows {rows}\n"));
    }
    text
}

/// The story of a message, each message that came of it two spaces further in.
fn story(told: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let mut text = format!(
        "{indent}{}  {}  {}  {}\n",
        word(told, "id"),
        word(told, "acceptedAt"),
        word(told, "type"),
        word(told, "state"),
    );
    for row in items(told, "deliveries") {
        let code = row["code"].as_str().map(|code| format!("  {code}")).unwrap_or_default();
        let (since, route, state) = (word(row, "since"), word(row, "route"), word(row, "state"));
        let _ = writeln!(text, "{indent}  → {route}  {state}  {since}{code}  {}", word(row, "id"));
    }
    for derived in items(told, "derived") {
        text.push_str(&story(derived, depth + 2));
    }
    text
}
