//! `snodo lsp` as an editor uses it: a process, spoken to over its standard input and output.
//!
//! Invariant: the protocol is spoken here by hand, byte by byte; every message is awaited with a bound.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use serde_json::{Value, json};
use snodo_tests::bus::{HouseFolder, binaries};

/// No answer takes longer, however busy the machine is.
const LONGEST: Duration = Duration::from_mins(1);
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

struct Editor {
    server: Child,
    input: Option<ChildStdin>,
    heard: Receiver<Value>,
    /// What was told meanwhile.
    told: Vec<Value>,
    house: PathBuf,
    last: i64,
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn listen(output: ChildStdout) -> Receiver<Value> {
    let (tell, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if output.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                match line.trim_end_matches("\r\n") {
                    "" => break,
                    line => {
                        let value = line.strip_prefix("Content-Length: ").expect("a head");
                        length = value.parse().expect("a number");
                    }
                }
            }
            let mut body = vec![0; length];
            output.read_exact(&mut body).expect("a body");
            if tell.send(serde_json::from_slice(&body).expect("JSON")).is_err() {
                return;
            }
        }
    });
    heard
}

impl Editor {
    fn start(house: &Path) -> Self {
        let mut server = Command::new(binaries().expect("built").join("snodo"))
            .args(["lsp", "--stdio"])
            .env_remove("SNODO_ENV")
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let (input, output) = (server.stdin.take(), server.stdout.take().expect("piped"));
        let house = house.to_owned();
        Self { server, input, heard: listen(output), told: Vec::new(), house, last: 0 }
    }

    fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("open");
        input.write_all(bytes).and_then(|()| input.flush()).expect("written");
    }

    fn say(&mut self, message: &Value) {
        let body = message.to_string();
        self.write(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    fn tell(&mut self, method: &str, params: &Value) {
        self.say(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// The answer to a request; what is told meanwhile is kept.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let message = self.heard.recv_timeout(LONGEST).expect("an answer");
            if message.get("method").is_some() {
                self.told.push(message);
                continue;
            }
            assert_eq!((&message["id"], message.get("error")), (&json!(id), None), "{message}");
            return message["result"].clone();
        }
    }

    fn initialize(&mut self) {
        let params = json!({ "processId": null, "rootUri": self.uri(""), "capabilities": {} });
        let answer = self.ask("initialize", &params);
        assert_eq!(answer["capabilities"]["positionEncoding"], "utf-16");
        self.tell("initialized", &json!({}));
    }

    fn uri(&self, path: &str) -> String {
        format!("file://{}", self.house.join(path).display())
    }

    fn open(&mut self, path: &str, text: &str) {
        let uri = self.uri(path);
        let document = json!({ "uri": uri, "languageId": "yaml", "version": 1, "text": text });
        self.tell("textDocument/didOpen", &json!({ "textDocument": document }));
    }

    fn change(&mut self, path: &str, text: &str) {
        let document = json!({ "uri": self.uri(path), "version": 2 });
        let changes = json!([{ "text": text }]);
        let params = json!({ "textDocument": document, "contentChanges": changes });
        self.tell("textDocument/didChange", &params);
    }

    /// What is shown of a file the next time that something is told of it.
    fn shown(&mut self, path: &str) -> Vec<Value> {
        let uri = self.uri(path);
        let is_it = |told: &Value| {
            told["method"] == "textDocument/publishDiagnostics" && told["params"]["uri"] == uri
        };
        loop {
            if let Some(at) = self.told.iter().position(is_it) {
                let told = self.told.remove(at);
                return told["params"]["diagnostics"].as_array().expect("a list").clone();
            }
            let told = self.heard.recv_timeout(LONGEST).expect("something is told");
            self.told.push(told);
        }
    }

    /// What is answered of the place behind `part` in a text.
    fn at(&mut self, method: &str, text: &str, part: &str) -> Value {
        let offset = text.find(part).expect("there") + part.len();
        let document = json!({ "uri": self.uri(ROUTE) });
        self.ask(method, &json!({ "textDocument": document, "position": position(text, offset) }))
    }

    /// How it ends, and what it says on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let mut said = String::new();
        let mut stderr = self.server.stderr.take().expect("piped");
        stderr.read_to_string(&mut said).expect("text");
        (self.server.wait().expect("ended").code(), said)
    }
}

/// Line and column in code units of UTF-16.
fn position(text: &str, offset: usize) -> Value {
    let before = &text[..offset];
    let line = before.rsplit('\n').next().unwrap_or_default();
    json!({ "line": before.matches('\n').count(), "character": line.encode_utf16().count() })
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
    let told = editor.at("textDocument/hover", &wrong, "sender: { taxCode: \"${ .applicant.tax");
    let words = told["contents"]["value"].as_str().expect("told");
    assert!(words.starts_with("`taxCode`: codice-fiscale text\n\nCodice fiscale"), "{words}");
    let told = editor.at("textDocument/hover", &wrong, "iseeCents?: ${ $facts.is");
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
    let found = editor.at("textDocument/definition", &wrong, "use: canteen.en");
    leads(
        &found,
        "config/snodo.yaml",
        "enrol: { method: POST, path: /enrolments, input: scuola/canteen-enrolment.v1,",
    );
    let found = editor.at("textDocument/definition", &wrong, "from: scuola.canteen");
    leads(&found, "schemas/scuola/canteen-enrolment.requested.v1.json", "{");
    let found = editor.at("textDocument/definition", &wrong, "taxCode: \"${ .applicant.tax");
    leads(&found, "schemas/scuola/canteen-enrolment.requested.v1.json", "\"taxCode\": {");
    let found = editor.at("textDocument/definition", &wrong, "fact: isee");
    leads(
        &found,
        "routes/facts/isee.yaml",
        "# The indicator of a family's means. The number, and nothing of what it was made of.",
    );

    let half = right.replacen(SUBJECT, "subject: Città ${ .applicant. }", 1);
    editor.change(ROUTE, &half);
    let offered = editor.at("textDocument/completion", &half, "Città ${ .applicant.");
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
