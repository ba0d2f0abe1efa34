//! A thousand routes over five hundred schemas: how long `check` takes, how soon an editor shows a mistake,
//! and how soon after its start a bus answers its first 202.
//!
//! Invariant: half of the expressions are not native; no two routes or schemas have the same text.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use snodo_tests::{
    bench_house as house,
    bus::{BusProcess, HouseFolder, binaries},
    client::{Client, get, post_message},
    editor::Editor,
};

use crate::{Failure, Table};

const ROUTES: usize = 1_000;
const SCHEMAS: usize = 500;
const TURNS: usize = 5;
/// A start that takes longer has failed.
const LONGEST: Duration = Duration::from_mins(2);

fn schema(number: usize) -> Value {
    let mut fields = json!({
        "taxCode": { "type": "string", "format": "codice-fiscale" },
        "flag": { "type": "boolean" },
        "amount": { "type": ["integer", "null"], "minimum": 0 },
        "list": {
            "type": "array",
            "items": {
                "type": "object", "additionalProperties": false, "required": ["name", "n"],
                "properties": { "name": { "type": "string" }, "n": { "type": "integer" } },
            },
        },
    });
    for field in 0..8 {
        fields[format!("text{field}of{number}")] =
            json!({ "type": "string", "minLength": 1, "maxLength": 200 });
    }
    let names: Vec<&String> =
        fields.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    json!({
        "title": format!("Message {number}"), "x-unclaimed": "discard", "type": "object",
        "required": names, "properties": fields, "additionalProperties": false,
    })
}

fn out() -> Value {
    json!({
        "title": "What comes of it", "x-unclaimed": "discard", "type": "object", "additionalProperties": false,
        "required": ["names", "count", "text"],
        "properties": {
            "names": { "type": "array", "items": { "type": "string" } },
            "count": { "type": "integer" }, "text": { "type": "string" },
        },
    })
}

/// Four steps and twelve expressions, half of them not native.
fn route(number: usize) -> String {
    let kind = number % SCHEMAS;
    format!(
        "route: r-{number}\ntitle: Route {number}\noffice: bench\nfrom: many.m{kind}.v1\npurpose: bench\n\
         actor: system\nsteps:\n\
         \x20 - register:\n      use: protocollo.register\n      with:\n        direction: incoming\n\
         \x20       subject: Practice ${{ .text0of{kind} }} of ${{ .text1of{kind} }}\n\
         \x20       sender: {{ name: \"${{ .text2of{kind} }}\", taxCode: \"${{ .taxCode }}\" }}\n\
         \x20 - first:\n      emit: many.out.v1\n      with:\n\
         \x20       names: ${{ [.list[] | select(.n > {number}) | .name] }}\n\
         \x20       count: ${{ .list | length }}\n        text: ${{ $steps.register.number }}\n\
         \x20 - second:\n      emit: many.out.v1\n      with:\n\
         \x20       names: ${{ .list | map(.name) | sort }}\n\
         \x20       count: ${{ (.amount // 0) + {number} }}\n        text: ${{ .text3of{kind} }}\n\
         \x20 - third:\n      emit: many.out.v1\n      with:\n\
         \x20       names: []\n        count: ${{ if .flag then 1 else {number} end }}\n\
         \x20       text: ${{ .text4of{kind} }}\n"
    )
}

fn message(number: u64) -> Value {
    let mut data = json!({
        "taxCode": "RSSMRA80A01G273Z", "flag": true, "amount": null, "list": [{ "name": "a", "n": 1 }],
    });
    for field in 0..8 {
        data[format!("text{field}of0")] = "x".into();
    }
    json!({
        "specversion": "1.0", "id": format!("m-{number}"), "source": "/bench", "type": "many.m0.v1",
        "datacontenttype": "application/json", "data": data,
    })
}

fn write(folder: &Path) -> Result<HouseFolder, Failure> {
    let written = house::write(folder, false)?;
    for number in 0..SCHEMAS {
        written.write(&format!("schemas/many/m{number}.v1.json"), &schema(number).to_string())?;
    }
    written.write("schemas/many/out.v1.json", &out().to_string())?;
    for number in 0..ROUTES {
        written.write(&format!("routes/r-{number}.yaml"), &route(number))?;
    }
    house::send_also(&written, "many.m0.v1")?;
    Ok(written)
}

/// Measures both, and adds the runs.
pub(crate) fn run(
    folder: &Path,
    wanted: &dyn Fn(&str) -> bool,
    table: &mut Table,
) -> Result<(), Failure> {
    let written = write(&folder.join("thousand"))?;
    if wanted("check-1000-routes") {
        let mut seconds = (0..TURNS).map(|_| check(&written)).collect::<Result<Vec<f64>, _>>()?;
        seconds.sort_by(f64::total_cmp);
        add(table, "check-1000-routes", seconds[TURNS / 2], &json!({ "turns": seconds }));
    }
    if wanted("edit-1000-routes") {
        let (mut shown, mut told) = edit(&written);
        shown.sort_by(f64::total_cmp);
        told.sort_by(f64::total_cmp);
        let stages = json!({ "turns": shown, "hover_seconds": told[TURNS / 2] });
        add(table, "edit-1000-routes", shown[TURNS / 2], &stages);
    }
    if wanted("start-1000-routes") {
        let runtime = tokio::runtime::Runtime::new()?;
        let (answered, ready) = runtime.block_on(start(&written))?;
        add(table, "start-1000-routes", answered, &json!({ "all_consumers_seconds": ready }));
    }
    Ok(())
}

fn add(table: &mut Table, name: &str, seconds: f64, stages: &Value) {
    let words = format!("{name:18} {seconds:.2} s {stages}");
    let run = json!({
        "name": name, "messages": ROUTES, "seconds": seconds, "per_second": null,
        "cpu_us_per_message": null, "of_limit": null, "stages": stages,
    });
    table.add_value(&words, run);
}

fn check(house: &HouseFolder) -> Result<f64, Failure> {
    let begun = Instant::now();
    let output = Command::new(binaries()?.join("snodo"))
        .arg("check")
        .current_dir(&house.path)
        .stdin(Stdio::null())
        .output()?;
    let seconds = begun.elapsed().as_secs_f64();
    if output.status.success() {
        return Ok(seconds);
    }
    Err(String::from_utf8_lossy(&output.stdout).chars().take(2_000).collect::<String>().into())
}

/// From a change to what is shown of it, the pause before a check included; and from a question to what is told.
fn edit(house: &HouseFolder) -> (Vec<f64>, Vec<f64>) {
    let path = "routes/r-7.yaml";
    let right = route(7);
    let wrong = right.replacen(".list | length", ".lost | length", 1);
    let mut editor = Editor::start(&house.path);
    editor.initialize();
    editor.open(path, &wrong);
    editor.shown(path);
    let (mut shown, mut told) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let text = if turn % 2 == 0 { &right } else { &wrong };
        let begun = Instant::now();
        editor.change(path, text);
        editor.shown(path);
        shown.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        editor.at("textDocument/hover", (path, text), "names: ${ [.li");
        told.push(begun.elapsed().as_secs_f64());
    }
    (shown, told)
}

/// From the start of the process to its first 202, and to the time when every route is taken from.
async fn start(house: &HouseFolder) -> Result<(f64, f64), Failure> {
    let begun = Instant::now();
    let mut bus = BusProcess::spawn(house, &[("SNODO_LOG", "warn")])?;
    let mut client = Client::new(house.http);
    let mut number = 0;
    let answered = loop {
        number += 1;
        let answer = client.send(&post_message(house::TOKEN, &message(number))).await;
        if answer.is_ok_and(|answer| answer.status == 202) {
            break begun.elapsed().as_secs_f64();
        }
        if begun.elapsed() > LONGEST || bus.has_ended() {
            return Err("a bus of a thousand routes answers no 202".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let mut monitor = Client::new(house.metrics);
    let ready = loop {
        let answer = monitor.send(&get("/metrics", "")).await?;
        let text = String::from_utf8(answer.body)?;
        let taken = text.lines().filter(|line| is_consumed(line)).count();
        if taken >= ROUTES {
            break begun.elapsed().as_secs_f64();
        }
        if begun.elapsed() > LONGEST {
            return Err(format!("after two minutes {taken} routes have a consumer").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    bus.terminate().await?;
    Ok((answered, ready))
}

fn is_consumed(line: &str) -> bool {
    line.starts_with("snodo_consumer_active{") && line.contains("\"r-") && line.ends_with(" 1")
}
