//! `snodo lsp` as an editor uses it: a process, spoken to over its standard input and output.
//!
//! Invariant: what is shown is compared with what `snodo check` says of the same text.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use snodo_tests::{
    bus::{HouseFolder, binaries},
    editor::{Editor, position},
};

const ROUTE: &str = "routes/canteen-enrolment.yaml";
const SUBJECT: &str = "subject: Canteen, enrolment of ${ .child.givenName } ${ .child.familyName }";

/// A copy of the repository's house.
fn house() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let house = HouseFolder::new(folder.path()).expect("a house");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for part in ["routes", "schemas", "config"] {
        house.copy(&root, part).expect("copied");
    }
    // The repository's secrets are nobody's: that is said of every house.
    let settings = fs::read_to_string(folder.path().join("config/snodo.yaml")).expect("read");
    let key = folder.path().join("key.pem");
    house.write("key.pem", "nobody's").expect("written");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o400)).expect("set");
    let settings = settings.replace("/etc/snodo/pdnd.pem", &key.display().to_string());
    house.write("config/snodo.yaml", &settings).expect("written");
    let path = house.path;
    (folder, path)
}

fn range(text: &str, part: &str) -> Value {
    let start = text.find(part).expect("there");
    json!({ "start": position(text, start), "end": position(text, start + part.len()) })
}

/// What `snodo check` says of a file in JSON, as an editor would show it.
fn checked(house: &Path, path: &str, text: &str) -> Vec<(Value, Value, String)> {
    let output = Command::new(binaries().expect("built").join("snodo"))
        .args(["check", "--json", "--house"])
        .arg(house)
        .env_remove("SNODO_ENV")
        .stdin(Stdio::null())
        .output()
        .expect("started");
    let said: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let here = said.into_iter().filter(|said| said["path"] == path);
    let of = |said: Value| {
        let at = |end: &str| usize::try_from(said[end].as_u64().expect(end)).expect("small");
        let range =
            json!({ "start": position(text, at("start")), "end": position(text, at("end")) });
        let word = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        let (code, help) = (word("code"), word("help"));
        let message = format!(
            "{}: {}\nhelp: {help}\nmore: snodo explain {code}",
            word("title"),
            word("label")
        );
        (json!(code), range, message)
    };
    here.map(of).collect()
}

/// An integrator opens a route, makes a mistake, asks, goes on, and puts it right.
#[test]
fn an_editor_shows_what_check_says_and_knows_what_the_types_know() {
    let (_folder, path) = house();
    let mut editor = Editor::start(&path);
    editor.initialize();
    let right = fs::read_to_string(path.join(ROUTE)).expect("read");
    editor.open(ROUTE, &right);

    // Text of several bytes, and of two code units, stands before the mistake.
    let wrong_subject = "subject: Città di 😀, iscrizione di ${ .child.givenNam }";
    let wrong = right.replacen(SUBJECT, wrong_subject, 1);
    editor.change(ROUTE, &wrong);
    let shown = editor.shown(ROUTE);
    assert_eq!(shown.len(), 1, "{shown:?}");
    let shown = &shown[0];
    assert_eq!((&shown["code"], &shown["severity"]), (&json!("SN0201"), &json!(1)), "{shown}");
    assert_eq!(shown["range"], range(&wrong, "givenNam"));
    let message = shown["message"].as_str().expect("text");
    assert!(message.starts_with("there is no field `givenNam`: is object {"), "{message}");
    assert!(message.contains(".givenName, the nearest"), "{message}");
    let (_other, saved) = house();
    fs::write(saved.join(ROUTE), &wrong).expect("written");
    let said = (shown["code"].clone(), shown["range"].clone(), message.to_owned());
    assert_eq!(checked(&saved, ROUTE, &wrong), [said], "what `check` says of the same text");

    // Of a text with a mistake the rest is known all the same.
    let told =
        editor.at("textDocument/hover", (ROUTE, &wrong), "sender: { taxCode: \"${ .applicant.tax");
    let words = told["contents"]["value"].as_str().expect("told");
    assert!(words.starts_with("`taxCode`: codice-fiscale text\n\nCodice fiscale"), "{words}");
    let told = editor.at("textDocument/hover", (ROUTE, &wrong), "iseeCents?: ${ $facts.is");
    let words = told["contents"]["value"].as_str().expect("told");
    assert!(words.starts_with("`isee`: object {"), "{words}");
    assert!(words.contains("fact `isee`, held by `inps`"), "{words}");

    let leads = |found: &Value, path: &str, line: &str| {
        let uri = found["uri"].as_str().expect("a place");
        assert!(uri.ends_with(path), "{found}");
        let text = fs::read_to_string(uri.trim_start_matches("file://")).expect("a file");
        let at = usize::try_from(found["range"]["start"]["line"].as_u64().expect("a line"));
        let at = at.expect("small");
        assert_eq!(text.lines().nth(at).map(str::trim), Some(line), "{found}");
    };
    let found = editor.at("textDocument/definition", (ROUTE, &wrong), "use: canteen.en");
    leads(
        &found,
        "config/snodo.yaml",
        "enrol: { method: POST, path: /enrolments, input: scuola/canteen-enrolment.v1,",
    );
    let found = editor.at("textDocument/definition", (ROUTE, &wrong), "from: scuola.canteen");
    leads(&found, "schemas/scuola/canteen-enrolment.requested.v1.json", "{");
    let found =
        editor.at("textDocument/definition", (ROUTE, &wrong), "taxCode: \"${ .applicant.tax");
    leads(&found, "schemas/scuola/canteen-enrolment.requested.v1.json", "\"taxCode\": {");
    let found = editor.at("textDocument/definition", (ROUTE, &wrong), "fact: isee");
    leads(
        &found,
        "routes/facts/isee.yaml",
        "# yaml-language-server: $schema=../../config/fact.schema.json",
    );

    let half = right.replacen(SUBJECT, "subject: Città ${ .applicant. }", 1);
    editor.change(ROUTE, &half);
    let offered = editor.at("textDocument/completion", (ROUTE, &half), "Città ${ .applicant.");
    let of = |item: &Value| {
        let word = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", word("label"), word("detail"))
    };
    let items: Vec<String> = offered.as_array().expect("a list").iter().map(of).collect();
    let names = "familyName: text of 1 to 200 characters, givenName: text of 1 to 200 characters, \
                 taxCode: codice-fiscale text";
    assert_eq!(items.join(", "), names);
    let at = half.find(".applicant. }\n").expect("there") + ".applicant.".len();
    let edge = position(&half, at);
    assert_eq!(offered[0]["textEdit"]["range"], json!({ "start": edge, "end": edge }));
    let codes: Vec<Value> = editor.shown(ROUTE).iter().map(|shown| shown["code"].clone()).collect();
    assert_eq!(codes, ["SN0117"], "half an expression is a mistake too");

    editor.change(ROUTE, &right);
    assert_eq!(editor.shown(ROUTE), Vec::<Value>::new(), "put right, nothing is left");

    // A file that is not there yet is one of the house; closed again, it is not.
    editor.open("routes/new.yaml", "route: new\n");
    assert!(!editor.shown("routes/new.yaml").is_empty());
    let document = json!({ "uri": editor.uri("routes/new.yaml") });
    editor.tell("textDocument/didClose", &json!({ "textDocument": document }));
    assert_eq!(editor.shown("routes/new.yaml"), Vec::<Value>::new());

    assert_eq!(fs::read_to_string(path.join(ROUTE)).expect("read"), right, "nothing was written");
    assert_eq!(editor.ask("shutdown", &Value::Null), Value::Null);
    editor.tell("exit", &Value::Null);
    assert_eq!(editor.end(), (Some(0), String::new()));
}

#[test]
fn a_server_that_nobody_speaks_to_any_more_ends_and_says_so() {
    let (_folder, path) = house();
    let mut editor = Editor::start(&path);
    editor.initialize();
    assert_eq!(editor.end(), (Some(1), String::new()), "no `shutdown` came");
    let mut editor = Editor::start(&path);
    editor.write(b"Content-Length: 99999999999\r\n\r\n");
    let (code, said) = editor.end();
    let words = "snodo: what the editor says is not read: a message is longer than 64 MiB\n";
    assert_eq!((code, said.as_str()), (Some(1), words));
}
