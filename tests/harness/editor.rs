//! An editor for `snodo lsp`: the protocol spoken by hand, byte by byte, to a process of its own.
//!
//! Invariant: every message is awaited with a bound; the server ends with its editor, at the latest. What is
//! not as the protocol says panics: the test or the measurement is over.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use serde_json::{Value, json};

use crate::bus::binaries;

/// No answer takes longer, however busy the machine is.
const LONGEST: Duration = Duration::from_mins(1);

/// An editor, and the server that it has started.
#[derive(Debug)]
pub struct Editor {
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
    /// Starts a server for the house in a folder.
    pub fn start(house: &Path) -> Self {
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

    /// Writes what may be no message.
    pub fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("open");
        input.write_all(bytes).and_then(|()| input.flush()).expect("written");
    }

    fn say(&mut self, message: &Value) {
        let body = message.to_string();
        self.write(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    /// Tells something that has no answer.
    pub fn tell(&mut self, method: &str, params: &Value) {
        self.say(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// The answer to a request; what is told meanwhile is kept.
    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
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

    /// The beginning of every conversation.
    pub fn initialize(&mut self) {
        let params = json!({ "processId": null, "rootUri": self.uri(""), "capabilities": {} });
        let answer = self.ask("initialize", &params);
        assert_eq!(answer["capabilities"]["positionEncoding"], "utf-16");
        self.tell("initialized", &json!({}));
    }

    /// The address of a file of the house.
    pub fn uri(&self, path: &str) -> String {
        format!("file://{}", self.house.join(path).display())
    }

    /// Opens a file, whatever text the disk has.
    pub fn open(&mut self, path: &str, text: &str) {
        let uri = self.uri(path);
        let document = json!({ "uri": uri, "languageId": "yaml", "version": 1, "text": text });
        self.tell("textDocument/didOpen", &json!({ "textDocument": document }));
    }

    /// Changes the text of an open file.
    pub fn change(&mut self, path: &str, text: &str) {
        let document = json!({ "uri": self.uri(path), "version": 2 });
        let changes = json!([{ "text": text }]);
        let params = json!({ "textDocument": document, "contentChanges": changes });
        self.tell("textDocument/didChange", &params);
    }

    /// What is shown of a file the next time that something is told of it.
    pub fn shown(&mut self, path: &str) -> Vec<Value> {
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

    /// What is answered of the place behind `part` in the text of a file.
    pub fn at(&mut self, method: &str, (path, text): (&str, &str), part: &str) -> Value {
        let offset = text.find(part).expect("there") + part.len();
        let document = json!({ "uri": self.uri(path) });
        self.ask(method, &json!({ "textDocument": document, "position": position(text, offset) }))
    }

    /// How it ends, and what it says on standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let mut said = String::new();
        let mut stderr = self.server.stderr.take().expect("piped");
        stderr.read_to_string(&mut said).expect("text");
        (self.server.wait().expect("ended").code(), said)
    }
}

/// Line and column in code units of UTF-16.
pub fn position(text: &str, offset: usize) -> Value {
    let before = &text[..offset];
    let line = before.rsplit('\n').next().unwrap_or_default();
    json!({ "line": before.matches('\n').count(), "character": line.encode_utf16().count() })
}
