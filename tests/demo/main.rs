//! `make demo`: Palermo's routes on a private broker and SQLite, with the region's service played by the
//! sandbox. Plays the story, prints what became of each message, and where to look.
//!
//! Invariant: what is printed was asked of the running bus; an end that is not as told is exit 1.

use std::{
    error::Error,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::Value;
use snodo_sandbox::{Sandbox, SandboxOptions};
use snodo_tests::{
    bus::{BusProcess, HouseFolder, binaries},
    client::{Answer, Client, get, post_document, post_message},
    palermo,
};

mod story;

use story::{Expected, Scene, scenes};

type Failure = Box<dyn Error + Send + Sync>;

/// A broker that starts for the first time takes a while on two busy cores.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Everything of the story has ended by then.
const STORY_WITHIN: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(demo()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => failed(&"the story did not end as it should".into()),
        Err(error) => failed(&error),
    }
}

fn failed(error: &Failure) -> ExitCode {
    say(&format!("demo: {error}"));
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "printing is what the demo does")]
fn say(line: &str) {
    println!("{line}");
    let _ = io::stdout().flush();
}

async fn demo() -> Result<bool, Failure> {
    let folder = run_folder()?;
    let region = Sandbox::start(SandboxOptions {
        log: folder.join("region.log"),
        delay_ms: (5, 30),
        seed: 1,
    })
    .await?;
    let house = HouseFolder::new(&folder)?;
    palermo::write(&house, Path::new("."), &palermo::Run::of(region.addr))?;
    say("starting a private RabbitMQ node, the region's service and the bus …");
    let begun = Instant::now();
    let mut bus = BusProcess::spawn(&house, &[])?;
    bus.ready(READY_WITHIN).await?;
    say(&format!("ready after {:.1} s\n", begun.elapsed().as_secs_f32()));
    let good = play(&house).await?;
    let calls = region.calls()?.iter().filter(|call| call.applied).count();
    say(&format!("the region's service was told of {calls} changes of residence"));
    if good && io::stdout().is_terminal() && io::stdin().is_terminal() {
        stay(&house).await?;
    }
    bus.terminate().await?;
    region.stop().await;
    Ok(good)
}

/// A fresh folder below the one in which cargo builds.
fn run_folder() -> io::Result<PathBuf> {
    let folder = binaries()?.join("../run/demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    folder.canonicalize()
}

async fn play(house: &HouseFolder) -> Result<bool, Failure> {
    let mut client = Client::new(house.http);
    let mut good = true;
    for mut scene in scenes() {
        say(&format!("── {}", scene.title));
        good &= attach(&mut client, &mut scene).await?;
        let answer = client.send(&post_message(scene.token, &scene.event)).await?;
        good &= match scene.expected {
            Expected::Ends(count) => ends(house, &mut client, &scene, &answer, count).await?,
            Expected::Repeated => repeated(&answer),
            Expected::Refused(code) => refused(&answer, code),
        };
        say("");
    }
    Ok(good)
}

/// Posts what the scene attaches, so that its message cites it.
async fn attach(client: &mut Client, scene: &mut Scene) -> Result<bool, Failure> {
    let mut cited = Vec::new();
    for name in scene.papers {
        let bytes = format!("{name}: a document of the story");
        let request = post_document(scene.token, name, "text/plain", bytes.as_bytes());
        let answer = client.send(&request).await?;
        let document = answer.json();
        say(&format!("   posted {name}: {} {}", answer.status, document["sha256"]));
        if answer.status != 201 {
            return Ok(false);
        }
        cited.push(document);
    }
    if !cited.is_empty() {
        scene.event["data"]["attachments"] = Value::Array(cited);
    }
    Ok(true)
}

/// The message and what came of it are completed; its story is printed.
async fn ends(
    house: &HouseFolder,
    client: &mut Client,
    scene: &Scene,
    answer: &Answer,
    deliveries: usize,
) -> Result<bool, Failure> {
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    if answer.status != 202 || id.is_empty() {
        say(&format!("   not accepted: {} {}", answer.status, answer.json()));
        return Ok(false);
    }
    let begun = Instant::now();
    let lines = loop {
        let lines = story::lines(&trace(house, &id)?);
        let done = lines.len() >= deliveries && lines.iter().all(|line| line.state == "completed");
        if done || begun.elapsed() > STORY_WITHIN {
            break lines;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    say(&story::table(&lines));
    let asked = client.send(&get(&format!("/v1/messages/{id}"), scene.token)).await?;
    say(&format!("   its sender asks what became of it: {}", asked.json()["stato"]));
    Ok(lines.len() == deliveries && lines.iter().all(|line| line.state == "completed"))
}

/// What `snodo trace` tells.
fn trace(house: &HouseFolder, id: &str) -> Result<Value, Failure> {
    let told = std::process::Command::new(binaries()?.join("snodo"))
        .args(["trace", id, "--json"])
        .current_dir(&house.path)
        .output()?;
    if !told.status.success() {
        return Err(String::from_utf8_lossy(&told.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&told.stdout)?)
}

fn repeated(answer: &Answer) -> bool {
    let replayed = answer.header("Idempotency-Replayed") == Some("true");
    say(&format!("   {} {}, Idempotency-Replayed: {replayed}", answer.status, answer.json()["id"]));
    answer.status == 202 && replayed
}

fn refused(answer: &Answer, code: &str) -> bool {
    let problem = answer.json();
    let mistakes = problem["errors"].as_array().cloned().unwrap_or_default();
    say(&format!("   {} {} {}", answer.status, problem["code"], problem["title"]));
    for mistake in mistakes.iter().chain(mistakes.is_empty().then_some(&problem)) {
        say(&format!("   at {}: expected {}", mistake["pointer"], mistake["expected"]));
    }
    say(&format!("   who must act: {}", problem["who_must_act"]));
    problem["code"] == code
}

/// On a terminal the bus stays up.
async fn stay(house: &HouseFolder) -> Result<(), Failure> {
    let path = house.path.display();
    say("\nThe bus stays up. Look at");
    say(&format!("  http://{}/status and http://{}/metrics", house.http, house.metrics));
    say(&format!("  {path}: routes, schemas, config, bus.log, region.log"));
    say(&format!("  snodo --house {path} ledger stats   (also trace, parked list, ledger verify)"));
    say("Ctrl-C ends it.");
    tokio::signal::ctrl_c().await?;
    Ok(())
}
