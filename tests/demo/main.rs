//! `make demo`: Palermo's routes on a private broker and SQLite, with the region's service played by the
//! sandbox. Plays the story, prints what became of each message, and where to look.
//!
//! Invariant: what is printed was asked of the running bus; an end that is not as told is exit 1.

use std::{
    error::Error,
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use snodo_sandbox::{
    Sandbox, SandboxOptions,
    authority::{Authority, jws::Key},
};
use snodo_tests::{
    bus::{BusProcess, HouseFolder, binaries},
    client::{Answer, Client, get, post_document, post_json, post_message_to},
    palermo::{self, SPORTELLO_TOKEN},
    wait::told_to_end,
};

mod story;

use story::{Expected, Scene, scenes};

type Failure = Box<dyn Error + Send + Sync>;

/// A broker that starts for the first time takes a while on two busy cores.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// The clock has struck by then, and all that comes of it is done.
const STRIKES_WITHIN: Duration = Duration::from_mins(4);
/// Everything of the story has ended by then.
const STORY_WITHIN: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = demo() => ended,
            () = told_to_end() => Err("it was told to end".into()),
        }
    });
    match ended {
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
    let mut region = Region::start(&folder).await?;
    let house = HouseFolder::new(&folder)?;
    let key = Key::generate().ok_or("no key can be made")?;
    let authority = Authority::start(palermo::world(key.public())).await?;
    let authorities = Some((authority.base(), key.pem().ok_or("the key has no PEM")?));
    let run = palermo::Run { authority: authorities, ..palermo::Run::of(region.addr) };
    palermo::write(&house, Path::new("."), &run)?;
    say("starting a private RabbitMQ node, the region's service, PDND, ANPR, INPS and the bus …");
    let begun = Instant::now();
    let mut bus = BusProcess::spawn(&house, &[])?;
    bus.ready(READY_WITHIN).await?;
    say(&format!("ready after {:.1} s\n", begun.elapsed().as_secs_f32()));
    let told = play(&house, &mut region, scenes()).await?;
    let told = told && play(&house, &mut region, story::asked_once()).await?;
    let told = told && asked_once(&house, &authority).await?;
    let good = told && close_the_day(&house).await?;
    say(&format!("the region's service was told of {} changes of residence", region.told()?));
    if good && io::stdout().is_terminal() && io::stdin().is_terminal() {
        stay(&house).await?;
    }
    bus.terminate().await?;
    region.stop().await;
    Ok(good)
}

/// Has the clock strike now instead of at night: saving the route is enough. The register's document gets
/// the number after those of the story.
async fn close_the_day(house: &HouseFolder) -> Result<bool, Failure> {
    let (at, number) = story::soon().ok_or("this machine's clock shows no year of ours")?;
    say(&format!(
        "── the clock is set to {at} and the route saved: yesterday's register is closed"
    ));
    let clock = format!(
        "{{ every: \"day at {at}\", zone: Europe/Rome, as: protocollo.day-closed.v1, missed: once }}"
    );
    palermo::set_line(house, "routes/daily-register.yaml", "from:", &clock)?;
    let begun = Instant::now();
    let lines = loop {
        // Before it strikes nothing has that number, and there is nothing to tell.
        let lines = trace(house, &number).map(|told| story::lines(&told)).unwrap_or_default();
        let done = !lines.is_empty() && lines.iter().all(|line| line.state == "completed");
        if done || begun.elapsed() > STRIKES_WITHIN {
            break lines;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    say(&story::table(&lines));
    say("");
    Ok(!lines.is_empty() && lines.iter().all(|line| line.state == "completed"))
}

/// The region's service, which may be down for a while.
struct Region {
    addr: SocketAddr,
    options: SandboxOptions,
    up: Option<Sandbox>,
}

impl Region {
    async fn start(folder: &Path) -> io::Result<Self> {
        let log = folder.join("region.log");
        let options = SandboxOptions { log, delay_ms: (5, 30), seed: 1 };
        let sandbox = Sandbox::start(options.clone()).await?;
        Ok(Self { addr: sandbox.addr, options, up: Some(sandbox) })
    }

    /// Nobody answers any more where it was.
    async fn stop(&mut self) {
        if let Some(sandbox) = self.up.take() {
            sandbox.stop().await;
        }
    }

    /// It is back where it was.
    async fn back(&mut self) -> io::Result<()> {
        self.up = Some(Sandbox::start_at(self.addr, self.options.clone()).await?);
        Ok(())
    }

    /// How many changes of residence it was told of.
    fn told(&self) -> io::Result<usize> {
        let calls = self.up.as_ref().map(Sandbox::calls).transpose()?.unwrap_or_default();
        Ok(calls.iter().filter(|call| call.applied && call.operation == "notify").count())
    }
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

/// What was asked, of whom, and what that spared a family: counted by the authorities and by the bus.
async fn asked_once(house: &HouseFolder, authority: &Authority) -> Result<bool, Failure> {
    say("── asked once");
    let questions = authority.questions();
    for (service, count) in &questions {
        say(&format!("   questions that {service} answered: {count}"));
    }
    let figures = Client::new(house.metrics).figures().await?;
    let reused = figures.sum("snodo_facts_used_total", &[("way", "reused")]);
    let values = figures.sum("snodo_values_not_asked_total", &[]);
    say(&format!("   facts used again without asking: {reused}"));
    say(&format!("   values a family was not asked for: {values}"));
    say("   who was told what of Luca (snodo disclosures):");
    let told = disclosures(house, "RSSLCU18C03G273P")?;
    say(&told.lines().map(|line| format!("   {line}")).collect::<Vec<_>>().join("\n"));
    say("   what his family reads in its own area (POST /v1/disclosures/search):");
    let usages = usages(house, "RSSLCU18C03G273P").await?;
    for usage in &usages {
        say(&format!("   {usage}"));
    }
    say("");
    let asked = questions.get("C021") == Some(&2) && questions.get("ISEE") == Some(&1);
    Ok(asked && reused > 0 && values > 0 && told.lines().count() == 3 && usages.len() == 3)
}

/// What the online desk shows a family of how its data were used.
async fn usages(house: &HouseFolder, tax_code: &str) -> Result<Vec<String>, Failure> {
    let search = json!({ "userCode": tax_code });
    let request = post_json("/v1/disclosures/search", SPORTELLO_TOKEN, &search);
    let told = Client::new(house.http).send(&request).await?.json();
    let usages = told["usages"].as_array().into_iter().flatten();
    Ok(usages.filter_map(|usage| usage["action"].as_str()).map(str::to_owned).collect())
}

/// What `snodo disclosures` tells.
fn disclosures(house: &HouseFolder, tax_code: &str) -> Result<String, Failure> {
    let mut command = std::process::Command::new(binaries()?.join("snodo"));
    let child =
        command.args(["disclosures", "--reason", "the demo"]).arg("--house").arg(&house.path);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{tax_code}")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

async fn play(
    house: &HouseFolder,
    region: &mut Region,
    scenes: Vec<Scene>,
) -> Result<bool, Failure> {
    let mut client = Client::new(house.http);
    let mut good = true;
    for mut scene in scenes {
        say(&format!("── {}", scene.title));
        if let Expected::Survives(_) = scene.expected {
            region.stop().await;
        }
        good &= attach(&mut client, &mut scene).await?;
        let path = match scene.expected {
            Expected::Valid => "/v1/messages?check=true",
            _ => "/v1/messages",
        };
        let answer = client.send(&post_message_to(path, scene.token, &scene.event)).await?;
        good &= match scene.expected {
            Expected::Ends(count) => ends(house, &mut client, &scene, &answer, count).await?,
            Expected::Repeated => repeated(&answer),
            Expected::Refused(code) => refused(&answer, code),
            Expected::Valid => valid(&answer),
            Expected::Survives(count) => {
                held(house, &answer).await?;
                region.back().await?;
                say("   the region's server is back");
                ends(house, &mut client, &scene, &answer, count).await?
            }
        };
        say("");
    }
    Ok(good)
}

/// The delivery that calls the region waits, and says why and until when.
async fn held(house: &HouseFolder, answer: &Answer) -> Result<(), Failure> {
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    let begun = Instant::now();
    loop {
        let waiting = story::waiting(&trace(house, &id)?);
        if let Some(line) = waiting {
            say(&format!("   {line}"));
            return Ok(());
        }
        if begun.elapsed() > STORY_WITHIN {
            return Err("the region is down, and no delivery says so".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn valid(answer: &Answer) -> bool {
    say(&format!("   {} {}", answer.status, answer.json()));
    answer.status == 200 && answer.json()["valid"] == true
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
        let done = lines.len() >= deliveries && lines.iter().all(story::Line::is_done);
        if done || begun.elapsed() > STORY_WITHIN {
            break lines;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    say(&story::table(&lines));
    let asked = client.send(&get(&format!("/v1/messages/{id}"), scene.token)).await?;
    say(&format!("   its sender asks what became of it: {}", asked.json()["stato"]));
    Ok(lines.len() == deliveries && lines.iter().all(story::Line::is_done))
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
