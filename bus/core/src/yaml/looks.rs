//! What a scalar looks like, against what YAML makes of it.
//!
//! Invariant: a plain scalar is text, or exactly `null`, `true`, `false` or a canonical number;
//! whatever another YAML reader could take for something else is refused with its place.

use std::{ops::Range, sync::Arc};

use serde_json::Value;
use serde_saphyr::granit_parser::ScalarStyle;

use super::{Content, canonical_number};
use crate::diagnostic::{Place, Problems, SourceFile, Words};

/// The content of a scalar.
pub(super) fn scalar(
    file: &Arc<SourceFile>,
    span: Range<usize>,
    text: String,
    style: ScalarStyle,
    problems: &mut Problems,
) -> Content {
    if style != ScalarStyle::Plain {
        return Content::Text(text);
    }
    // Of an empty value the parser says `~`.
    let written = file.text.get(span.clone()).unwrap_or_default();
    match if written.trim().is_empty() { Plain::Empty } else { plain(&text) } {
        Plain::Text => Content::Text(text),
        Plain::Value(value) => Content::Plain(value),
        Plain::Empty => {
            let (place, in_braces) = visible(file, span);
            let (label, help) = if in_braces {
                let help =
                    "write its value; or quote the text before it: in { } a comma ends a text";
                ("read as a key without a value", help)
            } else {
                ("nothing is written here", "write the value, `null`, or \"\"")
            };
            let words = Words::new("a value is missing", label, help);
            problems.error("SN0105", Place::new(file, place), words);
            Content::Refused
        }
        Plain::Misleading(read_as) => {
            let words = Words::new(
                format!("YAML reads `{text}` as other than it looks"),
                read_as,
                format!("quote it: \"{text}\", or write plainly what is meant"),
            );
            problems.error("SN0106", Place::new(file, span), words);
            Content::Refused
        }
    }
}

/// An empty value has no bytes of its own: the key before it is shown; whether it stands after a comma.
fn visible(file: &SourceFile, span: Range<usize>) -> (Range<usize>, bool) {
    let before = file.text[..span.start].trim_end();
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    let in_braces = before[line..].contains('{').then(|| before[line..].rfind(',')).flatten();
    let written = in_braces.map_or(line, |comma| line + comma + 1);
    let start = before.len() - before[written..].trim_start_matches([' ', '-']).len();
    (start.min(before.len().saturating_sub(1))..before.len(), in_braces.is_some())
}

enum Plain {
    Text,
    Value(Value),
    Empty,
    Misleading(&'static str),
}

fn plain(text: &str) -> Plain {
    match text {
        "null" => return Plain::Value(Value::Null),
        "true" => return Plain::Value(Value::Bool(true)),
        "false" => return Plain::Value(Value::Bool(false)),
        "~" => return Plain::Misleading("some readers take it for null"),
        _ => {}
    }
    if let Some(number) = canonical_number(text) {
        return Plain::Value(Value::Number(number));
    }
    match text.to_ascii_lowercase().as_str() {
        "yes" | "no" | "on" | "off" | "y" | "n" | "true" | "false" => {
            Plain::Misleading("many readers take it for true or false")
        }
        "null" => Plain::Misleading("many readers take it for null"),
        ".inf" | "+.inf" | "-.inf" | ".nan" => {
            Plain::Misleading("many readers take it for a number")
        }
        lower => number_like(lower).map_or(Plain::Text, Plain::Misleading),
    }
}

/// What is misleading about text that some reader takes for a number but that is not written as one.
fn number_like(lower: &str) -> Option<&'static str> {
    let digits = lower.strip_prefix(['-', '+']).unwrap_or(lower);
    let has_digit = digits.bytes().any(|byte| byte.is_ascii_digit());
    let begins = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !has_digit || !begins {
        return None;
    }
    let radix = ["0x", "0o", "0b"].iter().any(|prefix| {
        let rest = digits.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_'))
    });
    if radix {
        return Some("many readers take it for a number in another base");
    }
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((digits, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let numeric = |text: &str, also: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || also.contains(&b))
    };
    let one_dot = mantissa.matches('.').count() <= 1;
    if !one_dot || !numeric(mantissa, b"._") || !numeric(exponent, b"") {
        return None;
    }
    if digits.contains('e') {
        return Some("many readers take it for a number with an exponent");
    }
    if mantissa.starts_with('0') && !mantissa.starts_with("0.") {
        return Some("many readers drop its leading zero");
    }
    Some("many readers take it for a number and write it otherwise")
}

/// Says it and answers true where a line is indented with a tab.
pub(super) fn indented_with_tabs(file: &Arc<SourceFile>, problems: &mut Problems) -> bool {
    let mut at = 0;
    let mut found = false;
    for line in file.text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indent].find('\t').filter(|_| !line.trim().is_empty()) {
            let words =
                Words::new("a line is indented with a tab", "a tab", "indent with spaces only");
            problems.error("SN0108", Place::new(file, at + tab..at + tab + 1), words);
            found = true;
        }
        at += line.len();
    }
    found
}

/// The `${ … }` on the line of `at` (or the one before) that is not quoted and so broke YAML.
pub(super) fn unquoted_template(text: &str, at: usize) -> Option<Range<usize>> {
    let line_end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    let mut line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    if text[line_start..at].trim().is_empty() && line_start > 0 {
        line_start = text[..line_start - 1].rfind('\n').map_or(0, |newline| newline + 1);
    }
    let line = &text[line_start..line_end];
    for (start, _) in line.match_indices("${") {
        let before = &line[..start];
        let in_quotes =
            before.matches('"').count() % 2 == 1 || before.matches('\'').count() % 2 == 1;
        let rest = &line[start..];
        let flow = before.replace("${", "").contains(['{', '[']);
        let broken = rest.contains(": ") || rest.contains(" #") || flow;
        if !in_quotes && broken {
            let end = rest.find('}').map_or_else(|| rest.trim_end().len(), |end| end + 1);
            return Some(line_start + start..line_start + start + end);
        }
    }
    None
}
