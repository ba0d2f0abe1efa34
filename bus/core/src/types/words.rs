//! Types in words, for people who write routes.
//!
//! Invariant: the words come from schemas and expressions alone; no message is in them.

use std::fmt::{self, Display, Formatter, Write as _};

use super::{Fact, Kind, List, Number, Object, Text, Type};

/// How many literals or alternatives are listed.
const MOST: usize = 6;
/// How many names of fields.
const MOST_NAMES: usize = 4;

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = Vec::new();
        words.extend(self.text.as_ref().map(ToString::to_string));
        words.extend(self.number.as_ref().map(ToString::to_string));
        words.extend(match (self.yes, self.no) {
            (true, true) => Some("true or false".to_owned()),
            (true, false) => Some("true".to_owned()),
            (false, true) => Some("false".to_owned()),
            (false, false) => None,
        });
        words.extend(self.list.as_ref().map(ToString::to_string));
        words.extend(self.objects.iter().take(3).map(ToString::to_string));
        if let Some(more) = self.objects.len().checked_sub(3).filter(|more| *more > 0) {
            words.push(format!("{more} other kinds of object"));
        }
        words.extend(self.unknown.is_some().then(|| "unknown".to_owned()));
        words.extend(self.null.then(|| "null".to_owned()));
        if words.is_empty() { f.write_str("nothing") } else { f.write_str(&words.join(" or ")) }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(literals) = &self.literals {
            return f.write_str(&listed(literals.iter().map(ToString::to_string)));
        }
        f.write_str(if self.whole { "whole number" } else { "number" })?;
        self.least.map_or(Ok(()), |least| write!(f, " from {least}"))?;
        self.most.map_or(Ok(()), |most| write!(f, " up to {most}"))
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(literals) = &self.literals {
            return f.write_str(&listed(literals.iter().map(|word| format!("\"{word}\""))));
        }
        let known = self.facts.iter().filter_map(|fact| match fact {
            Fact::Format(format) => Some(format!("{format} text")),
            Fact::Pattern(pattern) => Some(format!("text matching {pattern}")),
            Fact::Schema(_) | Fact::MultipleOf(_) => None,
        });
        let known: Vec<String> = known.collect();
        if !known.is_empty() {
            return f.write_str(&known.join(" and "));
        }
        match (self.least, self.most) {
            (0, None) => f.write_str("text"),
            (1, None) => f.write_str("non-empty text"),
            (least, None) => write!(f, "text of {least} or more characters"),
            (least, Some(most)) if least == most => write!(f, "text of {most} characters"),
            (least, Some(most)) => write!(f, "text of {least} to {most} characters"),
        }
    }
}

impl Display for List {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.most == Some(0) {
            return f.write_str("empty list");
        }
        if self.least > 0 {
            f.write_str("non-empty ")?;
        }
        write!(f, "list of {}", self.element())
    }
}

impl Display for Object {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some((name, tag)) = self.tag() {
            return write!(f, "object with {name} \"{tag}\"");
        }
        let possible = self.fields.iter().filter(|(_, field)| !field.value.is_never());
        let names: Vec<&str> = possible.map(|(name, _)| &**name).collect();
        if names.is_empty() {
            return f.write_str("object");
        }
        let more = if names.len() > MOST_NAMES { ", …" } else { "" };
        let names = &names[..names.len().min(MOST_NAMES)];
        write!(f, "object {{{}{more}}}", names.join(", "))
    }
}

impl Object {
    /// The field that tells it from other alternatives: always there, and always the same text.
    fn tag(&self) -> Option<(&str, &str)> {
        self.fields.iter().find_map(|(name, field)| {
            let text = field.value.text.as_ref()?;
            let sure = field.required && field.value.is_only(Kind::Text);
            match text.literals.as_deref() {
                Some([word]) if sure => Some((&**name, &**word)),
                _ => None,
            }
        })
    }
}

/// The first few, then an ellipsis.
fn listed(words: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = words.collect();
    let mut text = all.iter().take(MOST).cloned().collect::<Vec<_>>().join(" or ");
    if all.len() > MOST {
        // Writing to a String cannot fail.
        let _ = write!(text, " or {} others", all.len() - MOST);
    }
    text
}

impl Kind {
    /// With its article.
    pub(super) fn with_article(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}
