//! Text with separated values, as RFC 4180 says, with any separator.
//!
//! Invariant: every field is text as it was written; a quote that is not closed is no row.

use std::{iter::Peekable, str::Chars};

use serde_json::Value;

/// What spreadsheets write where the comma is the decimal sign.
pub(super) const SEPARATOR: char = ';';

/// The rows, each a list of its fields. A line break at the end begins no row.
pub(super) fn rows(text: &str, separator: char) -> Option<Vec<Value>> {
    let mut reader =
        Reader { rest: text.trim_start_matches('\u{feff}').chars().peekable(), separator };
    let mut rows = Vec::new();
    while reader.rest.peek().is_some() {
        rows.push(Value::Array(reader.row()?));
    }
    Some(rows)
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    separator: char,
}

impl Reader<'_> {
    fn row(&mut self) -> Option<Vec<Value>> {
        let mut fields = Vec::new();
        loop {
            let field =
                if self.rest.next_if_eq(&'"').is_some() { self.quoted()? } else { self.plain() };
            fields.push(Value::String(field));
            match self.rest.next() {
                Some(next) if next == self.separator => {}
                Some('\r') => {
                    self.rest.next_if_eq(&'\n');
                    return Some(fields);
                }
                Some('\n') | None => return Some(fields),
                Some(_) => return None,
            }
        }
    }

    fn plain(&mut self) -> String {
        let separator = self.separator;
        let inside = |next: &char| *next != separator && !matches!(next, '\r' | '\n');
        std::iter::from_fn(|| self.rest.next_if(inside)).collect()
    }

    /// What follows an opening quote, up to the closing one; two quotes are one.
    fn quoted(&mut self) -> Option<String> {
        let mut field = String::new();
        loop {
            match self.rest.next()? {
                '"' if self.rest.next_if_eq(&'"').is_none() => return Some(field),
                next => field.push(next),
            }
        }
    }
}
