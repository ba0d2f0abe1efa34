//! What is known, in the words of the protocol.
//!
//! Invariant: a place outside the files of the house is shown at the configuration, and named.

use std::{collections::BTreeMap, path::Path, str::FromStr as _};

use lsp_types::{
    CompletionItem, CompletionItemKind, CompletionTextEdit, Diagnostic as Shown,
    DiagnosticSeverity, Hover, HoverContents, Location, MarkupContent, MarkupKind, NumberOrString,
    Position, Range, TextEdit, Uri,
};
use snodo_core::{
    diagnostic::{Diagnostic, Severity},
    position::{self, Columns, Lines},
    route::look::{Offer, OfferKind, Told},
};

use super::uris;
use crate::settings;

/// Where the edge of a text is.
pub(super) fn position(at: position::Position) -> Position {
    Position { line: at.line, character: at.column }
}

pub(super) fn range(lines: &Lines<'_>, span: &std::ops::Range<usize>) -> Range {
    let range = lines.range(span);
    Range { start: position(range.start), end: position(range.end) }
}

/// What is said, by the file in which it is shown.
pub(super) fn by_file(said: &[Diagnostic], columns: Columns) -> BTreeMap<String, Vec<Shown>> {
    let mut files: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
    // What is said of one text stands together: its lines are counted once.
    for same in said.chunk_by(|a, b| std::sync::Arc::ptr_eq(&a.place.file, &b.place.file)) {
        let Some(file) = same.first().map(|one| &one.place.file) else { continue };
        let lines = Lines::new(&file.text, columns);
        let is_file =
            ["routes/", "schemas/", "config/"].iter().any(|in_it| file.path.starts_with(in_it));
        let path = if is_file { file.path.as_str() } else { settings::FILE };
        let shown = same.iter().map(|one| {
            let shown = shown(one, &lines);
            let message =
                if is_file { shown.message } else { format!("{}: {}", file.path, shown.message) };
            Shown { message, ..shown }
        });
        files.entry(path.to_owned()).or_default().extend(shown);
    }
    files
}

fn shown(said: &Diagnostic, lines: &Lines<'_>) -> Shown {
    let Diagnostic { code, title, label, help, .. } = said;
    Shown {
        range: range(lines, &said.place.shown()),
        severity: Some(match said.severity {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
        }),
        code: Some(NumberOrString::String((*code).to_owned())),
        source: Some("snodo".to_owned()),
        message: format!("{title}: {label}\nhelp: {help}\nmore: snodo explain {code}"),
        ..Shown::default()
    }
}

pub(super) fn hover(told: Told, lines: &Lines<'_>) -> Hover {
    let contents = MarkupContent { kind: MarkupKind::Markdown, value: told.text };
    Hover { contents: HoverContents::Markup(contents), range: Some(range(lines, &told.span)) }
}

pub(super) fn item(offer: Offer, lines: &Lines<'_>) -> CompletionItem {
    let range = range(lines, &offer.span);
    CompletionItem {
        label: offer.label,
        kind: Some(match offer.kind {
            OfferKind::Field => CompletionItemKind::FIELD,
            OfferKind::Variable => CompletionItemKind::VARIABLE,
            OfferKind::Function => CompletionItemKind::FUNCTION,
            OfferKind::Type => CompletionItemKind::CLASS,
            OfferKind::Operation => CompletionItemKind::METHOD,
            OfferKind::Name => CompletionItemKind::VALUE,
        }),
        detail: Some(offer.detail).filter(|detail| !detail.is_empty()),
        filter_text: Some(offer.text.clone()),
        text_edit: Some(CompletionTextEdit::Edit(TextEdit { range, new_text: offer.text })),
        ..CompletionItem::default()
    }
}

/// A place of a file of the house.
pub(super) fn location(house: &Path, path: &str, range: Range) -> Option<Location> {
    Some(Location { uri: uri(house, path)?, range })
}

pub(super) fn uri(house: &Path, path: &str) -> Option<Uri> {
    Uri::from_str(&uris::uri_of(&house.join(path))).ok()
}
