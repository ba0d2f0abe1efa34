//! Rows that are files of the house: `snodo check` refuses them with their place, and reads nothing that
//! lies outside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use snodo_tests::bus::binaries;

const CONFIG: &str = "data: data\nledger: { sqlite: ledger.db }\nbroker: { private: true }\n";
/// What lies beside the house and must not be read.
const OUTSIDE: &str = "the-secret-of-a-neighbour";
/// No trap may hold `check` for longer.
const AT_ONCE: Duration = Duration::from_secs(20);

/// One trap: the file in which it lies, and what is said of it.
pub(super) struct Trap {
    row: u8,
    what: &'static str,
    file: &'static str,
    text: Text,
    code: &'static str,
    /// `line:column`.
    place: &'static str,
}

enum Text {
    Is(String),
    /// A link to this, relative to the file.
    Leads(&'static str),
}

const SCHEMA: &str = "schemas/test/thing.v1.json";

fn trap(
    row: u8,
    what: &'static str,
    file: &'static str,
    text: impl Into<String>,
    code: &'static str,
    place: &'static str,
) -> Trap {
    Trap { row, what, file, text: Text::Is(text.into()), code, place }
}

fn schema(
    row: u8,
    what: &'static str,
    property: &str,
    code: &'static str,
    place: &'static str,
) -> Trap {
    let text = format!(
        "{{ \"type\": \"object\", \"additionalProperties\": false,\n  \"properties\": {{ \"a\": {property} }} }}\n"
    );
    trap(row, what, SCHEMA, text, code, place)
}

/// Every trap, in the order of the list.
pub(super) fn traps() -> Vec<Trap> {
    schemas().into_iter().chain(texts()).chain(links()).collect()
}

/// Rows 19, 47 and 48.
fn schemas() -> Vec<Trap> {
    let deep = format!("{}{{}}{}", "{\"allOf\":[".repeat(10_000), "]}".repeat(10_000));
    vec![
        schema(19, "a pattern that looks around", r#"{ "pattern": "^(?=a)b" }"#, "SN0137", "2:26"),
        schema(19, "a pattern that looks back", r#"{ "pattern": "(a)\\1" }"#, "SN0137", "2:26"),
        schema(47, "another host", r#"{ "$ref": "http://169.254.169.254/" }"#, "SN0133", "2:26"),
        schema(47, "a file", r#"{ "$ref": "file:///etc/shadow" }"#, "SN0133", "2:26"),
        schema(47, "a path outside", r#"{ "$ref": "../../secret.json" }"#, "SN0133", "2:26"),
        trap(48, "itself", SCHEMA, "{ \"$ref\": \"#\" }\n", "SN0135", "1:1"),
        schema(
            48,
            "itself, by a detour",
            r##"{ "allOf": [{ "$ref": "#/properties/a" }] }"##,
            "SN0135",
            "2:19",
        ),
        schema(48, "10,000 deep", &deep, "SN0130", "2:"),
    ]
}

/// Row 84: YAML that hides something.
fn texts() -> Vec<Trap> {
    const MAIN: &str = "config/snodo.yaml";
    const ROUTE: &str = "routes/trap.yaml";
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
    let long = format!("{CONFIG}# {}\n", "x".repeat(10 << 20));
    let route = |line: &str| format!("route: trap\ntitle: A trap\n{line}\n");
    vec![
        trap(84, "an alias bomb", MAIN, bomb, "SN0104", "1:4"),
        trap(84, "a tag", MAIN, "data: !!python/object x\n", "SN0103", "1:7"),
        trap(84, "a key twice", MAIN, format!("{CONFIG}data: other\n"), "SN0107", "4:1"),
        trap(84, "a tab", MAIN, format!("{CONFIG}limits:\n\tbody: 1MiB\n"), "SN0108", "5:1"),
        trap(84, "an unknown field", MAIN, format!("{CONFIG}adaptors: {{}}\n"), "SN0442", "4:1"),
        trap(84, "10 MiB", MAIN, long, "SN0102", "1:1"),
        trap(
            84,
            "a secret",
            MAIN,
            CONFIG.replace(
                "{ private: true }",
                "{ uris: [\"amqp://bus@rabbit:5672\"], password: hunter2 }",
            ),
            "SN0446",
            "3:",
        ),
        trap(
            84,
            "an alias bomb in a route",
            ROUTE,
            route("office: &o x\nfrom: *o"),
            "SN0104",
            "3:9",
        ),
        trap(84, "a tag in a route", ROUTE, route("office: !!python/object x"), "SN0103", "3:9"),
        trap(84, "a key twice in a route", ROUTE, route("title: Again"), "SN0107", "3:1"),
        trap(84, "a tab in a route", ROUTE, route("retry:\n\tfirst: 5s"), "SN0108", "4:1"),
        trap(84, "an unknown field in a route", ROUTE, route("ofice: x"), "SN0109", "3:1"),
        trap(
            84,
            "a route of 10 MiB",
            ROUTE,
            route(&format!("# {}", "x".repeat(10 << 20))),
            "SN0102",
            "1:1",
        ),
    ]
}

/// Row 84: paths that lead out of the house.
fn links() -> Vec<Trap> {
    let link = |what, file, to| Trap {
        row: 84,
        what,
        file,
        text: Text::Leads(to),
        code: "SN0440",
        place: "1:1",
    };
    vec![
        link("a link in routes", "routes/trap.yaml", "../../outside.yaml"),
        link("a link in schemas", SCHEMA, "../../../outside.yaml"),
        link("a link in parties", "config/parties/trap.yaml", "../../../outside.yaml"),
        link("a link to the system", "routes/trap.yaml", "/etc/hostname"),
    ]
}

/// `check` ends with code 2 and says this trap at its place, with help; else why not.
pub(super) fn is_refused(trap: &Trap) -> Result<u8, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let begun = Instant::now();
    let said = set(trap, folder.path()).and_then(|house| check(&house));
    let why = match said {
        Err(why) => why,
        Ok(_) if begun.elapsed() > AT_ONCE => format!("it takes {:?}", begun.elapsed()),
        Ok(said) => match missed(trap, &said) {
            None => return Ok(trap.row),
            Some(why) => why,
        },
    };
    Err(format!("{}: {}: {why}", trap.row, trap.what))
}

/// Writes a house with the trap in it, and something beside it that must not be read.
fn set(trap: &Trap, folder: &Path) -> Result<PathBuf, String> {
    let house = folder.join("house");
    let file = house.join(trap.file);
    let written = || {
        fs::write(folder.join("outside.yaml"), format!("{OUTSIDE}: 1\n"))?;
        fs::create_dir_all(house.join("config"))?;
        fs::write(house.join("config/snodo.yaml"), CONFIG)?;
        fs::create_dir_all(file.parent().unwrap_or(&house))?;
        match &trap.text {
            Text::Is(text) => fs::write(&file, text),
            Text::Leads(to) => std::os::unix::fs::symlink(to, &file),
        }
    };
    written().map_err(|error| error.to_string())?;
    Ok(house)
}

fn missed(trap: &Trap, said: &[Value]) -> Option<String> {
    let is_it = |found: &&Value| found["code"] == trap.code && found["path"] == trap.file;
    let Some(found) = said.iter().find(is_it) else {
        return Some(format!("{} is not said: {said:?}", trap.code));
    };
    let place = format!("{}:{}", found["line"], found["column"]);
    let helped = found["help"].as_str().is_some_and(|help| !help.is_empty());
    (!place.starts_with(trap.place) || !helped).then(|| format!("at {place}: {found}"))
}

fn check(house: &Path) -> Result<Vec<Value>, String> {
    let output = Command::new(binaries().expect("built").join("snodo"))
        .args(["check", "--json", "--house"])
        .arg(house)
        .env_remove("SNODO_ENV")
        .stdin(Stdio::null())
        .output()
        .expect("started");
    let told = String::from_utf8_lossy(&output.stdout);
    let cried = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(2) {
        return Err(format!("it ends with {:?}: {told}{cried}", output.status));
    }
    if told.contains(OUTSIDE) || cried.contains(OUTSIDE) {
        return Err("what lies outside was read".to_owned());
    }
    serde_json::from_str(&told).map_err(|error| format!("{error}: {told}"))
}
