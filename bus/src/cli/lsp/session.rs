//! The conversation with one editor: what it has open, what was told, what is to be checked.
//!
//! Invariant: no word of the editor ends the server but `exit`; what was found of older texts is not shown
//! over newer ones.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, mpsc::SyncSender},
    time::{Duration, Instant},
};

use lsp_server::{ErrorCode, Message, Notification, Request, RequestId, Response};
use lsp_types::{
    CompletionOptions, Diagnostic, DidChangeTextDocumentParams, DidCloseTextDocumentParams,
    DidOpenTextDocumentParams, HoverProviderCapability, OneOf, PositionEncodingKind,
    PublishDiagnosticsParams, SaveOptions, ServerCapabilities, TextDocumentPositionParams,
    TextDocumentSyncCapability, TextDocumentSyncKind, TextDocumentSyncOptions,
    TextDocumentSyncSaveOptions, Uri,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use snodo_core::{
    diagnostic::{Place, SourceFile},
    position::{Columns, Lines, Position},
    route::look::{self, Written},
};

use super::{
    QUIET, answers,
    checker::{Ask, Found, Round},
    uris,
};
use crate::{exit::Exit, house::Unsaved};

/// Whether the conversation goes on.
#[derive(Debug)]
pub(super) enum Next {
    More,
    End(Exit),
}

/// How far the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before `initialize`.
    Before,
    Open,
    /// After `shutdown`: only `exit` is to come.
    Shut,
}

pub(super) struct Session {
    /// The house that the command line names.
    named: Option<PathBuf>,
    ask: SyncSender<Ask>,
    stage: Stage,
    house: PathBuf,
    columns: Columns,
    /// Whether the editor tells of files that others change, if it is asked to.
    tells_of_files: bool,
    open: Unsaved,
    /// Counts every change of a text.
    state: u64,
    /// When the next check begins.
    due: Option<Instant>,
    is_checking: bool,
    found: Option<Found>,
    /// What the editor shows, by file.
    shown: BTreeMap<String, Vec<Diagnostic>>,
}

/// Why a request has no answer.
type Refused = (ErrorCode, String);

impl Session {
    pub(super) fn new(named: Option<PathBuf>, ask: SyncSender<Ask>) -> Self {
        Self {
            named,
            ask,
            stage: Stage::Before,
            house: PathBuf::new(),
            columns: Columns::default(),
            tells_of_files: false,
            open: Unsaved::new(),
            state: 0,
            due: None,
            is_checking: false,
            found: None,
            shown: BTreeMap::new(),
        }
    }

    /// What is said to a message of the editor; `later` has come since.
    pub(super) fn heard(&mut self, message: Message, later: &[&Message]) -> (Vec<Message>, Next) {
        match message {
            Message::Request(request) => (vec![self.answer(request, later).into()], Next::More),
            Message::Notification(told) if told.method == "exit" => {
                let in_order = self.stage == Stage::Shut;
                (Vec::new(), Next::End(if in_order { Exit::Done } else { Exit::Failed }))
            }
            Message::Notification(told) => (self.told(told), Next::More),
            Message::Response(_) => (Vec::new(), Next::More),
        }
    }

    fn answer(&mut self, request: Request, later: &[&Message]) -> Response {
        let Request { id, method, params } = request;
        let answer = match (self.stage, method.as_str()) {
            _ if is_cancelled(&id, later) => {
                Err((ErrorCode::RequestCanceled, "cancelled".to_owned()))
            }
            (Stage::Before, "initialize") => Ok(self.initialize(&params)),
            (Stage::Before, _) => {
                Err((ErrorCode::ServerNotInitialized, "`initialize` comes first".to_owned()))
            }
            (Stage::Shut, _) => {
                Err((ErrorCode::InvalidRequest, "after `shutdown` only `exit`".to_owned()))
            }
            (Stage::Open, "shutdown") => {
                self.stage = Stage::Shut;
                Ok(Value::Null)
            }
            (Stage::Open, method) => self.looked_up(method, params, later),
        };
        match answer {
            Ok(answer) => Response::new_ok(id, answer),
            Err((code, why)) => Response::new_err(id, code as i32, why),
        }
    }

    fn initialize(&mut self, params: &Value) -> Value {
        self.stage = Stage::Open;
        let text = |pointer: &str| params.pointer(pointer).and_then(Value::as_str);
        let offered =
            params.pointer("/capabilities/general/positionEncodings").and_then(Value::as_array);
        let utf8 = offered.is_some_and(|offered| offered.contains(&json!("utf-8")));
        self.columns = if utf8 { Columns::Utf8 } else { Columns::Utf16 };
        let watches = "/capabilities/workspace/didChangeWatchedFiles/dynamicRegistration";
        self.tells_of_files = params.pointer(watches) == Some(&Value::Bool(true));
        let root =
            text("/workspaceFolders/0/uri").or_else(|| text("/rootUri")).and_then(uris::path_of);
        let here = || std::env::current_dir().unwrap_or_default();
        self.house = self.named.clone().or(root).unwrap_or_else(here);
        let capabilities = capabilities(self.columns);
        json!({
            "capabilities": capabilities,
            "serverInfo": { "name": "snodo", "version": env!("CARGO_PKG_VERSION") },
        })
    }

    /// What the editor tells and wants no answer to.
    fn told(&mut self, told: Notification) -> Vec<Message> {
        if self.stage != Stage::Open {
            return Vec::new();
        }
        let Notification { method, params } = told;
        match method.as_str() {
            "initialized" => {
                self.changed();
                return self.tells_of_files.then(watch).into_iter().collect();
            }
            "textDocument/didOpen" => {
                if let Some(DidOpenTextDocumentParams { text_document }) = read(params) {
                    self.set(&text_document.uri, Some(text_document.text));
                }
            }
            "textDocument/didChange" => {
                let params: Option<DidChangeTextDocumentParams> = read(params);
                if let Some(mut params) = params
                    && let Some(change) = params.content_changes.pop()
                {
                    self.set(&params.text_document.uri, Some(change.text));
                }
            }
            "textDocument/didClose" => {
                if let Some(DidCloseTextDocumentParams { text_document }) = read(params) {
                    self.set(&text_document.uri, None);
                }
            }
            "textDocument/didSave" | "workspace/didChangeWatchedFiles" => self.changed(),
            _ => {}
        }
        Vec::new()
    }

    /// A file of the house has this text in the editor; none: it is closed.
    fn set(&mut self, uri: &Uri, text: Option<String>) {
        let Some(path) = self.path(uri) else { return };
        match text {
            Some(text) => self.open.insert(path, text.into()),
            None => self.open.remove(&path),
        };
        self.changed();
    }

    fn path(&self, uri: &Uri) -> Option<String> {
        let file = uris::path_of(uri.as_str())?;
        // The editor may know the house by another name than we.
        let real = |path: &Path| path.canonicalize().ok();
        let by_name = uris::in_house(&self.house, &file);
        by_name.or_else(|| {
            let file = real(file.parent()?)?.join(file.file_name()?);
            uris::in_house(&real(&self.house)?, &file)
        })
    }

    fn changed(&mut self) {
        self.state += 1;
        self.due = Some(Instant::now() + QUIET);
    }

    /// Begins the check that is due; how long until one is.
    pub(super) fn begin_check(&mut self, now: Instant) -> Option<Duration> {
        let due = self.due.filter(|_| !self.is_checking)?;
        if let Some(wait) = due.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
            return Some(wait);
        }
        let unsaved = Arc::new(self.open.clone());
        let ask = Ask { state: self.state, house: self.house.clone(), unsaved };
        if self.ask.try_send(ask).is_ok() {
            self.is_checking = true;
        }
        self.due = None;
        None
    }

    /// What is shown of a check.
    pub(super) fn checked(&mut self, round: Round) -> Vec<Message> {
        self.is_checking = false;
        let Some(found) = round.found else {
            let text = "SN0902 a mistake of Snodo: the check panicked; what is shown may be old; report it \
                        with the lines on standard error";
            return vec![notification("window/showMessage", json!({ "type": 1, "message": text }))];
        };
        let is_new = round.state == self.state;
        let files = is_new.then(|| answers::by_file(&found.said, self.columns));
        self.found = Some(found);
        files.map(|files| self.show(files)).unwrap_or_default()
    }

    /// Tells what has changed of what is shown.
    fn show(&mut self, files: BTreeMap<String, Vec<Diagnostic>>) -> Vec<Message> {
        let gone = self.shown.keys().filter(|path| !files.contains_key(*path));
        let gone: Vec<(String, Vec<Diagnostic>)> =
            gone.map(|path| (path.clone(), Vec::new())).collect();
        let new = files.iter().filter(|(path, shown)| self.shown.get(*path) != Some(shown));
        let new = new.map(|(path, shown)| (path.clone(), shown.clone()));
        let said = gone.into_iter().chain(new).filter_map(|(path, diagnostics)| {
            let uri = answers::uri(&self.house, &path)?;
            let params = PublishDiagnosticsParams { uri, diagnostics, version: None };
            Some(notification("textDocument/publishDiagnostics", params))
        });
        let said = said.collect();
        self.shown = files;
        said
    }

    fn looked_up(&self, method: &str, params: Value, later: &[&Message]) -> Result<Value, Refused> {
        type LookUp = fn(&Session, &Found, &Arc<SourceFile>, usize) -> Value;
        let look: LookUp = match method {
            "textDocument/hover" => Self::hover,
            "textDocument/definition" => Self::definition,
            "textDocument/completion" => Self::completion,
            _ => return Err((ErrorCode::MethodNotFound, format!("`{method}` is not known here"))),
        };
        let at: Option<TextDocumentPositionParams> = read(params);
        let Some(at) = at else {
            return Err((
                ErrorCode::InvalidParams,
                "a file and a position are expected".to_owned(),
            ));
        };
        let uri = &at.text_document.uri;
        if is_changed(uri, later) {
            return Err((ErrorCode::ContentModified, "the text has changed since".to_owned()));
        }
        let file = self.path(uri).and_then(|path| Some((self.open.get(&path)?, path)));
        let (Some(found), Some((text, path))) = (&self.found, file) else { return Ok(Value::Null) };
        let file = Arc::new(SourceFile { path, text: text.as_ref().to_owned() });
        let position = Position { line: at.position.line, column: at.position.character };
        let offset = Lines::new(&file.text, self.columns).offset(position);
        let answer = catch_unwind(AssertUnwindSafe(|| look(self, found, &file, offset)));
        answer.map_err(|_| {
            let why = "SN0902 a mistake of Snodo: report it with the lines on standard error";
            (ErrorCode::InternalError, why.to_owned())
        })
    }

    fn hover(&self, found: &Found, file: &Arc<SourceFile>, at: usize) -> Value {
        let lines = Lines::new(&file.text, self.columns);
        let told = look::hover(&found.house, file, at);
        told.map_or(Value::Null, |told| json!(answers::hover(told, &lines)))
    }

    fn completion(&self, found: &Found, file: &Arc<SourceFile>, at: usize) -> Value {
        let lines = Lines::new(&file.text, self.columns);
        let offers = look::offers(&found.house, file, at).into_iter();
        json!(offers.map(|offer| answers::item(offer, &lines)).collect::<Vec<_>>())
    }

    fn definition(&self, found: &Found, file: &Arc<SourceFile>, at: usize) -> Value {
        let place = match look::definition(&found.house, file, at) {
            Some(Written::At(place)) => Some(place),
            Some(Written::Configured { instance, operation }) => {
                let pointer =
                    operation.map(|name| format!("/operations/{name}")).unwrap_or_default();
                found.adapters.get(&instance).map(|adapter| adapter.place(&pointer))
            }
            None => None,
        };
        place.and_then(|place| self.location(&place)).unwrap_or_default()
    }

    fn location(&self, place: &Place) -> Option<Value> {
        let range = answers::range(&Lines::new(&place.file.text, self.columns), &place.shown());
        answers::location(&self.house, &place.file.path, range).map(|location| json!(location))
    }
}

fn capabilities(columns: Columns) -> ServerCapabilities {
    let sync = TextDocumentSyncOptions {
        open_close: Some(true),
        // A route is short: its whole text comes with each change, and no edit can be counted wrong.
        change: Some(TextDocumentSyncKind::FULL),
        save: Some(TextDocumentSyncSaveOptions::SaveOptions(SaveOptions::default())),
        ..TextDocumentSyncOptions::default()
    };
    ServerCapabilities {
        position_encoding: Some(match columns {
            Columns::Utf8 => PositionEncodingKind::UTF8,
            Columns::Utf16 => PositionEncodingKind::UTF16,
        }),
        text_document_sync: Some(TextDocumentSyncCapability::Options(sync)),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        definition_provider: Some(OneOf::Left(true)),
        completion_provider: Some(CompletionOptions {
            trigger_characters: Some(vec![".".to_owned(), "$".to_owned()]),
            ..CompletionOptions::default()
        }),
        ..ServerCapabilities::default()
    }
}

/// Asks the editor to tell when others change files of the house.
fn watch() -> Message {
    let watchers = json!([{ "globPattern": "**/{routes,schemas,config}/**" }]);
    let registration = json!({
        "id": "files", "method": "workspace/didChangeWatchedFiles",
        "registerOptions": { "watchers": watchers },
    });
    let params = json!({ "registrations": [registration] });
    let id = RequestId::from("files".to_owned());
    Request::new(id, "client/registerCapability".to_owned(), params).into()
}

fn notification(method: &str, params: impl serde::Serialize) -> Message {
    Notification::new(method.to_owned(), params).into()
}

fn read<T: DeserializeOwned>(params: Value) -> Option<T> {
    serde_json::from_value(params).ok()
}

/// What was told since, under this name.
fn since<'l>(later: &'l [&Message], method: &str) -> impl Iterator<Item = &'l Value> {
    later.iter().filter_map(move |message| match message {
        Message::Notification(told) if told.method == method => Some(&told.params),
        _ => None,
    })
}

/// Whether nobody waits for the answer any more.
fn is_cancelled(id: &RequestId, later: &[&Message]) -> bool {
    since(later, "$/cancelRequest").any(|params| params.get("id") == Some(&json!(id)))
}

/// Whether a text has changed since it was asked of.
fn is_changed(uri: &Uri, later: &[&Message]) -> bool {
    since(later, "textDocument/didChange").any(|params| {
        params.pointer("/textDocument/uri").and_then(Value::as_str) == Some(uri.as_str())
    })
}

#[cfg(test)]
mod tests;
