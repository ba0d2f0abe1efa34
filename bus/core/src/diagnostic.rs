//! What a person reads of a mistake in a file: code, place, cause, what to write instead.
//!
//! Invariant: a diagnostic can be acted on from its text alone.

use std::sync::Arc;

use serde::Serialize;

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
