//! What a person reads of a mistake in a file: code, place, cause, what to write instead.
//!
//! Invariant: a diagnostic can be acted on from its text alone.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};
use serde::Serialize;
use serde_json::{Value, json};

use crate::codes;

/// A text file that was read, by the name under which people know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceFile {
    /// Path relative to the house, with `/`.
    pub path: String,
    /// Its text.
    #[serde(skip)]
    pub text: String,
}

/// A place: bytes `start..end` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<SourceFile>,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; `check` passes.
    Warning,
    /// `check` fails.
    Error,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `SN0103`; its page is `codes/SN0103.md`.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// One sentence without full stop.
    pub title: String,
    /// Where.
    pub place: Place,
    /// What stands beside the place, e.g. "no such type".
    pub label: String,
    /// What to write instead.
    pub help: String,
}

impl Place {
    /// Bytes `span` of `file`.
    pub fn new(file: &Arc<SourceFile>, span: Range<usize>) -> Self {
        Self { file: Arc::clone(file), start: span.start, end: span.end }
    }

    /// Line and column of the first character, both from 1; the column counts characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        line_and_column(&self.file.text, self.start)
    }

    /// The bytes that are shown to people: on character boundaries, cut at the end of the first line. A mark
    /// over pages helps nobody.
    pub fn shown(&self) -> Range<usize> {
        let text = &self.file.text;
        let start = floor(text, self.start);
        let end = floor(text, self.end).max(start);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let end = end.min(line_end);
        let trimmed = text[start..end].trim_end().len();
        start..start + trimmed.max(end.min(start + 1) - start)
    }
}

/// Line and column of byte `offset` of `text`, both from 1; the column counts characters, not bytes.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..floor(text, offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// The character boundary at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Collects mistakes, so that all of them are said in one run.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Diagnostic>,
}

impl Problems {
    /// Notes an error.
    pub fn error(&mut self, code: &'static str, place: Place, words: Words) {
        self.add(code, Severity::Error, place, words);
    }

    /// Notes a warning.
    pub fn warning(&mut self, code: &'static str, place: Place, words: Words) {
        self.add(code, Severity::Warning, place, words);
    }

    fn add(&mut self, code: &'static str, severity: Severity, place: Place, words: Words) {
        let Words { title, label, help } = words;
        self.found.push(Diagnostic { code, severity, title, place, label, help });
    }

    /// Takes back what only follows from a mistake that is said: everything of a code.
    pub fn forget(&mut self, code: &str) {
        self.found.retain(|diagnostic| diagnostic.code != code);
    }

    /// The same of one place.
    pub fn forget_at(&mut self, code: &str, place: &Place) {
        self.found
            .retain(|diagnostic| diagnostic.code != code || diagnostic.place.start != place.start);
    }

    /// Whether any of them is an error.
    pub fn any_error(&self) -> bool {
        self.found.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// What was found, by file and place.
    pub fn sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.place.file.path.clone(), d.place.start, d.code);
            key(a).cmp(&key(b))
        });
        self.found
    }
}

/// What a diagnostic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// One sentence without full stop.
    pub title: String,
    /// What stands beside the place.
    pub label: String,
    /// What to write instead.
    pub help: String,
}

impl Words {
    /// Title, label, help.
    pub fn new(
        title: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { title: title.into(), label: label.into(), help: help.into() }
    }
}

/// The word of `known` that is nearest to `written`, if one is near enough to be meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|word| (distance(written, word), word))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, word)| word)
}

/// How many insertions, removals, replacements and swaps of neighbours lead from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(left != right);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *right && *left == b[j - 1] {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// A help that names the nearest known word, or all of them where none is near.
pub fn help_with_nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
    what: &str,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(word) = nearest(written, known.iter().copied()) {
        return format!("write `{word}`, the nearest of the {what}");
    }
    if known.is_empty() {
        return format!("there are no {what} yet");
    }
    let shown = known.iter().take(12).map(|word| format!("`{word}`")).collect::<Vec<_>>();
    let more = if known.len() > shown.len() { ", …" } else { "" };
    format!("the {what} are {}{more}", shown.join(", "))
}

/// As a person reads it: `path:line:col`, code, snippet, label, help.
pub fn render_text(diagnostics: &[Diagnostic]) -> String {
    let renderer = Renderer::plain().decor_style(DecorStyle::Ascii);
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&renderer.render(&report(diagnostic)));
        text.push_str("\n\n");
    }
    text
}

fn report(diagnostic: &Diagnostic) -> [Group<'_>; 2] {
    let level = match diagnostic.severity {
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let file = &diagnostic.place.file;
    let span = diagnostic.place.shown();
    let annotation = AnnotationKind::Primary.span(span).label(diagnostic.label.as_str());
    let snippet =
        Snippet::source(file.text.as_str()).path(file.path.as_str()).annotation(annotation);
    [
        level.primary_title(diagnostic.title.as_str()).id(diagnostic.code).element(snippet),
        Group::with_title(Level::HELP.secondary_title(diagnostic.help.as_str())),
    ]
}

/// As a program reads it: a JSON list, one object per diagnostic.
pub fn render_json(diagnostics: &[Diagnostic]) -> String {
    Value::from(diagnostics.iter().map(as_json).collect::<Vec<_>>()).to_string()
}

fn as_json(diagnostic: &Diagnostic) -> Value {
    let (line, column) = diagnostic.place.line_and_column();
    json!({
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "title": diagnostic.title,
        "path": diagnostic.place.file.path,
        "line": line,
        "column": column,
        "start": diagnostic.place.start,
        "end": diagnostic.place.end,
        "label": diagnostic.label,
        "help": diagnostic.help,
    })
}

/// As code hosts read it: SARIF 2.1.0.
pub fn render_sarif(diagnostics: &[Diagnostic]) -> String {
    let codes: BTreeSet<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    let rules: Vec<Value> = codes.iter().map(|code| rule(code)).collect();
    let result = |diagnostic: &Diagnostic| {
        let mut result = as_sarif(diagnostic);
        result["ruleIndex"] = json!(codes.iter().position(|code| *code == diagnostic.code));
        result
    };
    let results: Vec<Value> = diagnostics.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "snodo", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
    .to_string()
}

/// What a code host shows of a code: its page, first the title.
fn rule(code: &str) -> Value {
    let (title, page) = (codes::title(code), codes::page(code).unwrap_or_default());
    json!({
        "id": code,
        "name": code,
        "shortDescription": { "text": title },
        "fullDescription": { "text": title },
        "help": { "text": page, "markdown": page },
        "defaultConfiguration": { "level": "error" },
    })
}

fn as_sarif(diagnostic: &Diagnostic) -> Value {
    let place = &diagnostic.place;
    let (line, column) = place.line_and_column();
    let (end_line, end_column) = line_and_column(&place.file.text, place.end);
    let level = match diagnostic.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    json!({
        "ruleId": diagnostic.code,
        "level": level,
        "message": {
            "text": format!("{}: {} ({})", diagnostic.title, diagnostic.label, diagnostic.help),
        },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": place.file.path },
                "region": {
                    "startLine": line,
                    "startColumn": column,
                    "endLine": end_line,
                    "endColumn": end_column,
                },
            },
        }],
    })
}
