//! The conversation, message by message, without a process and without a file.
//!
//! Invariant: what the protocol demands of a server is here; what is known of a house is tested elsewhere.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

use lsp_server::{Message, Notification, Request, RequestId};
use serde_json::{Value, json};
use snodo_core::{
    diagnostic::{Place, Problems, SourceFile, Words},
    route::House,
};

use super::{
    super::checker::{Ask, Found, Round},
    Next, Session,
};
use crate::exit::Exit;

fn session() -> (Session, Receiver<Ask>) {
    let (ask, asks) = mpsc::sync_channel(1);
    (Session::new(None, ask), asks)
}

fn request(id: i32, method: &str, params: Value) -> Message {
    Request::new(RequestId::from(id), method.to_owned(), params).into()
}

fn told(method: &str, params: Value) -> Message {
    Notification::new(method.to_owned(), params).into()
}

fn said(session: &mut Session, message: Message, later: &[&Message]) -> Value {
    let (mut said, next) = session.heard(message, later);
    assert!(matches!(next, Next::More));
    said.pop().map_or(Value::Null, |message| json!(message))
}

fn opened() -> (Session, Receiver<Ask>) {
    let (mut session, asks) = session();
    let params = json!({ "rootUri": "file:///srv/house", "capabilities": {} });
    let answer = said(&mut session, request(1, "initialize", params), &[]);
    assert_eq!(answer["result"]["capabilities"]["positionEncoding"], "utf-16");
    said(&mut session, told("initialized", json!({})), &[]);
    (session, asks)
}

const FILE: &str = "file:///srv/house/routes/a.yaml";

fn change(version: i32, text: &str) -> Message {
    let document = json!({ "uri": FILE, "version": version });
    told(
        "textDocument/didChange",
        json!({ "textDocument": document, "contentChanges": [{ "text": text }] }),
    )
}

fn open(text: &str) -> Message {
    let document = json!({ "uri": FILE, "languageId": "yaml", "version": 1, "text": text });
    told("textDocument/didOpen", json!({ "textDocument": document }))
}

fn hover(id: i32) -> Message {
    let at = json!({ "textDocument": { "uri": FILE }, "position": { "line": 0, "character": 0 } });
    request(id, "textDocument/hover", at)
}

/// Begins the check that is due, whenever that is.
fn asked(session: &mut Session, asks: &Receiver<Ask>) -> Ask {
    let later = Instant::now() + Duration::from_mins(1);
    assert_eq!(session.begin_check(later), None);
    asks.try_recv().expect("a check has begun")
}

/// A check that found these mistakes, each at the first byte of a file.
fn round(state: u64, files: &[&str]) -> Round {
    let mut problems = Problems::default();
    for path in files {
        let file = Arc::new(SourceFile { path: (*path).to_owned(), text: "x\n".to_owned() });
        problems.error("SN0101", Place::new(&file, 0..1), Words::new("title", "label", "help"));
    }
    let (said, adapters) = (problems.sorted(), std::collections::BTreeMap::new());
    Round { state, found: Some(Found { said, house: House::default(), adapters }) }
}

#[test]
fn a_conversation_begins_and_ends_as_the_protocol_says() {
    let (mut session, _asks) = session();
    let answer = said(&mut session, hover(1), &[]);
    assert_eq!(answer["error"]["code"], -32002, "not initialized");
    assert_eq!(said(&mut session, open("x"), &[]), Value::Null, "what comes before is not heard");
    assert!(matches!(session.heard(told("exit", json!({})), &[]).1, Next::End(Exit::Failed)));

    let (mut session, _asks) = opened();
    assert_eq!(said(&mut session, request(2, "no/such", json!({})), &[])["error"]["code"], -32601);
    assert_eq!(said(&mut session, told("$/setTrace", json!({})), &[]), Value::Null);
    let wrong = request(3, "textDocument/hover", json!([]));
    assert_eq!(said(&mut session, wrong, &[])["error"]["code"], -32602);
    let answer = said(&mut session, request(4, "shutdown", Value::Null), &[]);
    assert_eq!((&answer["id"], &answer["result"]), (&json!(4), &Value::Null));
    assert_eq!(said(&mut session, hover(5), &[])["error"]["code"], -32600, "only `exit` comes now");
    assert!(matches!(session.heard(told("exit", json!({})), &[]).1, Next::End(Exit::Done)));
}

#[test]
fn the_encoding_and_the_files_are_those_that_the_editor_offers() {
    let (mut session, _asks) = session();
    let params = json!({
        "rootUri": "file:///srv/house",
        "capabilities": {
            "general": { "positionEncodings": ["utf-8", "utf-16"] },
            "workspace": { "didChangeWatchedFiles": { "dynamicRegistration": true } },
        },
    });
    let answer = said(&mut session, request(1, "initialize", params), &[]);
    assert_eq!(answer["result"]["capabilities"]["positionEncoding"], "utf-8");
    let asked = said(&mut session, told("initialized", json!({})), &[]);
    assert_eq!(asked["method"], "client/registerCapability");
}

#[test]
fn what_is_stale_is_not_answered() {
    let (mut session, _asks) = opened();
    said(&mut session, open("x"), &[]);
    let cancel = told("$/cancelRequest", json!({ "id": 7 }));
    let (other, newer) = (told("$/cancelRequest", json!({ "id": 8 })), change(2, "y"));
    for (later, code) in [
        (vec![&cancel], json!(-32800)),
        (vec![&newer], json!(-32801)),
        (vec![&other], Value::Null),
        (vec![], Value::Null),
    ] {
        assert_eq!(said(&mut session, hover(7), &later)["error"]["code"], code, "{later:?}");
    }
}

#[test]
fn a_change_is_checked_once_it_is_quiet_and_old_texts_show_nothing() {
    let (mut session, asks) = opened();
    said(&mut session, open("x"), &[]);
    let wait = session.begin_check(Instant::now());
    assert!(wait.is_some_and(|wait| !wait.is_zero()), "not at once: {wait:?}");
    let first = asked(&mut session, &asks);
    assert_eq!(first.unsaved.get("routes/a.yaml").map(|text| &**text), Some("x"));
    said(&mut session, change(2, "y"), &[]);
    let later = Instant::now() + Duration::from_mins(1);
    assert_eq!(session.begin_check(later), None, "one check at a time");
    assert!(session.checked(round(first.state, &["routes/a.yaml"])).is_empty(), "of an older text");
    let second = asked(&mut session, &asks);
    assert_eq!(second.unsaved.get("routes/a.yaml").map(|text| &**text), Some("y"));
    let shown = session.checked(round(second.state, &["routes/a.yaml", "SNODO_ENV"]));
    let shown: Vec<Value> = shown.iter().map(|message| json!(message)["params"].clone()).collect();
    assert_eq!(shown[0]["uri"], "file:///srv/house/config/snodo.yaml");
    let words = "SNODO_ENV: title: label\nhelp: help\nmore: snodo explain SN0101";
    assert_eq!(shown[0]["diagnostics"][0]["message"], words);
    assert_eq!(shown[1]["uri"], FILE);
    assert_eq!(shown.len(), 2);
}

#[test]
fn only_what_has_changed_is_shown_and_what_is_gone_is_cleared() {
    let (mut session, asks) = opened();
    let shown = |session: &mut Session, files: &[&str]| {
        said(session, change(2, "y"), &[]);
        let state = asked(session, &asks).state;
        let messages = session.checked(round(state, files));
        let of = |message: &Message| {
            let params = json!(message)["params"].clone();
            let count = params["diagnostics"].as_array().map_or(0, Vec::len);
            format!(
                "{} {count}",
                params["uri"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or("")
            )
        };
        messages.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(shown(&mut session, &["routes/a.yaml", "routes/b.yaml"]), "a.yaml 1, b.yaml 1");
    assert_eq!(shown(&mut session, &["routes/a.yaml", "routes/b.yaml"]), "");
    assert_eq!(shown(&mut session, &["routes/b.yaml", "routes/b.yaml"]), "a.yaml 0, b.yaml 2");
    assert_eq!(shown(&mut session, &[]), "b.yaml 0");
}

#[test]
fn a_check_that_panics_is_told_and_the_next_one_begins() {
    let (mut session, asks) = opened();
    let state = asked(&mut session, &asks).state;
    let told = session.checked(Round { state, found: None });
    assert_eq!(json!(told[0])["method"], "window/showMessage");
    said(&mut session, open("x"), &[]);
    asked(&mut session, &asks);
}
