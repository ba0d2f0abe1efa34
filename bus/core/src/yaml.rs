//! Reads YAML into a tree that knows the place of every node, and refuses YAML that swallows meaning.
//!
//! Invariant: what is in a tree means what it looks like: no tags, no anchors, no scalar that YAML
//! reads as something other than what is written. What was refused is [`Content::Refused`], and said.

use std::{ops::Range, sync::Arc};

use serde_json::{Number, Value};
use serde_saphyr::granit_parser::{Event, Parser, ScanError, Span, StructureStyle};

use crate::diagnostic::{Place, Problems, SourceFile, Words};

pub(crate) mod fields;
mod form;
mod looks;

pub use fields::duration;
pub use form::format;

/// No file that people write is longer.
pub const LONGEST: usize = 1024 * 1024;

/// One node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The bytes of the file in which it stands.
    pub span: Range<usize>,
    /// What it holds.
    pub content: Content,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text: quoted, a block, or plain text that looks like nothing else.
    Text(String),
    /// A plain `null`, `true`, `false` or number.
    Plain(Value),
    /// A list.
    List(Vec<Node>),
    /// A map; keys are unique.
    Map(Vec<(Key, Node)>),
    /// It was a mistake, and the mistake was said.
    Refused,
}

impl Node {
    /// The value that is written, texts as they are; `None` where something in it was refused.
    pub fn value(&self) -> Option<Value> {
        match &self.content {
            Content::Text(text) => Some(Value::String(text.clone())),
            Content::Plain(value) => Some(value.clone()),
            Content::List(items) => items.iter().map(Self::value).collect(),
            Content::Map(entries) => {
                let of = |(key, node): &(Key, Self)| Some((key.text.clone(), node.value()?));
                entries.iter().map(of).collect::<Option<_>>().map(Value::Object)
            }
            Content::Refused => None,
        }
    }
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The bytes of the file in which it stands.
    pub span: Range<usize>,
    /// Its text.
    pub text: String,
}

/// Reads one file that holds one document. `None` where there is no tree at all; why was said.
pub fn read(file: &Arc<SourceFile>, problems: &mut Problems) -> Option<Node> {
    if file.text.len() > LONGEST {
        let words = Words::new(
            "the file is too long",
            format!("{} bytes; at most {LONGEST} are read", file.text.len()),
            "split it: one route per file",
        );
        problems.error("SN0102", Place::new(file, 0..1), words);
        return None;
    }
    if looks::indented_with_tabs(file, problems) {
        return None;
    }
    let events = events(file, problems)?;
    let mut reader = Reader { file, events: events.into_iter().peekable(), problems };
    reader.document()
}

type Events = Vec<(Event<'static>, Span)>;

fn events(file: &Arc<SourceFile>, problems: &mut Problems) -> Option<Events> {
    let options = serde_saphyr::granit_parser::options! {
        emit_comments: false,
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        strict_indentation: true,
    };
    let mut events = Events::new();
    for next in Parser::new_from_str_with_options(&file.text, options) {
        match next {
            Ok((event, span)) => events.push((owned(event), span)),
            Err(error) => {
                not_yaml(file, &error, problems);
                return None;
            }
        }
    }
    Some(events)
}

fn owned(event: Event<'_>) -> Event<'static> {
    use std::borrow::Cow::Owned;
    match event {
        Event::Scalar(text, style, anchor, tag) => {
            let tag = tag.map(|tag| Owned(tag.into_owned()));
            Event::Scalar(Owned(text.into_owned()), style, anchor, tag)
        }
        Event::SequenceStart(style, anchor, tag) => {
            Event::SequenceStart(style, anchor, tag.map(|tag| Owned(tag.into_owned())))
        }
        Event::MappingStart(style, anchor, tag) => {
            Event::MappingStart(style, anchor, tag.map(|tag| Owned(tag.into_owned())))
        }
        Event::Anchor(id, name) => Event::Anchor(id, Owned(name.into_owned())),
        Event::UnresolvedAlias(name) => Event::UnresolvedAlias(Owned(name.into_owned())),
        Event::DocumentStart(explicit, version) => Event::DocumentStart(explicit, version),
        Event::Alias(id) => Event::Alias(id),
        Event::StreamStart => Event::StreamStart,
        Event::DocumentEnd => Event::DocumentEnd,
        Event::SequenceEnd => Event::SequenceEnd,
        Event::MappingEnd => Event::MappingEnd,
        // The parser was told to emit no comments; nothing else is left.
        _ => Event::StreamEnd,
    }
}

/// Says why a file is not YAML; where an unquoted `${ }` broke it, that.
fn not_yaml(file: &Arc<SourceFile>, error: &ScanError, problems: &mut Problems) {
    let at = error.marker().byte_offset().unwrap_or(file.text.len()).min(file.text.len());
    if let Some(span) = looks::unquoted_template(&file.text, at) {
        let words = Words::new(
            "YAML cannot read this `${ … }`",
            "not quoted",
            format!(
                "quote it: \"{}\" (inside {{ }} or [ ], and where it holds `: ` or ` #`, \
                 a `${{ … }}` must be quoted)",
                file.text[span.clone()].replace('\\', "\\\\").replace('"', "\\\"")
            ),
        );
        problems.error("SN0120", Place::new(file, span), words);
        return;
    }
    let words = Words::new(
        "this is not YAML",
        error.info(),
        "check the indentation, the quotes and the brackets before this place",
    );
    problems.error("SN0101", Place::new(file, at..at + 1), words);
}

struct Reader<'r> {
    file: &'r Arc<SourceFile>,
    events: std::iter::Peekable<std::vec::IntoIter<(Event<'static>, Span)>>,
    problems: &'r mut Problems,
}

impl Reader<'_> {
    fn document(&mut self) -> Option<Node> {
        let mut documents = Vec::new();
        while let Some((event, span)) = self.events.next() {
            match event {
                Event::DocumentStart(..) => documents.extend(self.next_node()),
                Event::StreamStart | Event::DocumentEnd | Event::StreamEnd => {}
                other => documents.extend(self.node(other, span)),
            }
        }
        if let Some(second) = documents.get(1) {
            let words = Words::new(
                "a file holds one document",
                "a second one begins here",
                "put it into a file of its own",
            );
            self.error("SN0102", second.span.clone(), words);
        }
        if documents.is_empty() {
            let words =
                Words::new("the file is empty", "nothing is here", "write it, or delete it");
            self.error("SN0102", 0..0, words);
        }
        documents.into_iter().next()
    }

    fn next_node(&mut self) -> Option<Node> {
        let (event, span) = self.events.next()?;
        self.node(event, span)
    }

    fn node(&mut self, event: Event<'static>, span: Span) -> Option<Node> {
        let range = self.range(span);
        let tagged = matches!(
            event,
            Event::Scalar(_, _, _, Some(_))
                | Event::SequenceStart(_, _, Some(_))
                | Event::MappingStart(_, _, Some(_))
        );
        let node = match event {
            Event::Scalar(text, style, ..) => {
                self.anchor();
                let content = if tagged {
                    Content::Refused
                } else {
                    looks::scalar(self.file, range.clone(), text.into_owned(), style, self.problems)
                };
                Node { span: range, content }
            }
            Event::SequenceStart(style, ..) => self.list(range, style),
            Event::MappingStart(style, ..) => self.map(range, style),
            Event::Alias(_) | Event::UnresolvedAlias(_) => self.alias(range),
            _ => return None,
        };
        if !tagged {
            return Some(node);
        }
        self.tag(span);
        Some(Node { content: Content::Refused, ..node })
    }

    fn list(&mut self, mut span: Range<usize>, style: StructureStyle) -> Node {
        self.anchor();
        let mut items = Vec::new();
        while let Some((event, at)) = self.events.next() {
            if event == Event::SequenceEnd {
                self.close(&mut span, at, style);
                break;
            }
            items.extend(self.node(event, at));
        }
        Node { span, content: Content::List(items) }
    }

    fn map(&mut self, mut span: Range<usize>, style: StructureStyle) -> Node {
        self.anchor();
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while let Some((event, at)) = self.events.next() {
            if event == Event::MappingEnd {
                self.close(&mut span, at, style);
                break;
            }
            let key = self.key(event, at);
            let Some(value) = self.next_node() else { break };
            let Some(key) = key else { continue };
            match entries.iter().find(|(known, _)| known.text == key.text) {
                Some((first, _)) => {
                    let first = first.span.clone();
                    self.duplicate(&key, first);
                }
                None => entries.push((key, value)),
            }
        }
        Node { span, content: Content::Map(entries) }
    }

    fn close(&self, span: &mut Range<usize>, end: Span, style: StructureStyle) {
        let end = self.range(end);
        let end = if style == StructureStyle::Flow { end.end } else { end.start };
        let text = &self.file.text[span.start..end.max(span.start)];
        span.end = span.start + text.trim_end().len();
    }

    fn key(&mut self, event: Event<'static>, span: Span) -> Option<Key> {
        let range = self.range(span);
        if let Event::Scalar(text, _, _, None) = event {
            self.anchor();
            if text == "<<" {
                let help = "write the fields out: merge keys hide what is there";
                let words = Words::new("merge keys are not read", "a merge key", help);
                self.error("SN0104", range, words);
                return None;
            }
            if text.contains("${") {
                let (label, help) =
                    ("YAML cut it at `: `", "quote it: the whole text from `${` on");
                self.error("SN0120", range, Words::new("a key holds a `${`", label, help));
                return None;
            }
            return Some(Key { span: range, text: text.into_owned() });
        }
        let said = self.node(event, span);
        if said.is_some_and(|node| node.content != Content::Refused) {
            let words = Words::new("a key must be text", "not text", "write a name before the `:`");
            self.error("SN0111", range, words);
        }
        None
    }

    fn duplicate(&mut self, key: &Key, first: Range<usize>) {
        let (line, _) = Place::new(self.file, first).line_and_column();
        let words = Words::new(
            format!("the key `{}` is written twice", key.text),
            "written again here",
            format!("delete one of the two; the first is on line {line}"),
        );
        self.error("SN0107", key.span.clone(), words);
    }

    fn anchor(&mut self) {
        if let Some((Event::Anchor(..), span)) =
            self.events.next_if(|(event, _)| matches!(event, Event::Anchor(..)))
        {
            let words = Words::new(
                "anchors are not read",
                "an anchor",
                "delete it, and write the value out where it is needed; text that begins with `&` \
                 must be quoted",
            );
            let range = self.range(span);
            self.error("SN0104", range, words);
        }
    }

    fn alias(&mut self, range: Range<usize>) -> Node {
        let words = Words::new(
            "aliases are not read",
            "an alias",
            "write the value out; text that begins with `*` must be quoted",
        );
        self.error("SN0104", range.clone(), words);
        Node { span: range, content: Content::Refused }
    }

    fn tag(&mut self, span: Span) {
        let range = span.tag_span().map_or_else(|| self.range(span), |tag| self.range(tag));
        let tag = &self.file.text[range.clone()];
        let words = Words::new(
            "tags are not read",
            format!("YAML reads `{tag}` as a tag and hides it"),
            format!(
                "quote the text if `{tag}` belongs to it; otherwise delete the tag; jq's word for \
                 `not` comes last: `.paid | not`"
            ),
        );
        self.error("SN0103", range, words);
    }

    fn error(&mut self, code: &'static str, span: Range<usize>, words: Words) {
        self.problems.error(code, Place::new(self.file, span), words);
    }

    fn range(&self, span: Span) -> Range<usize> {
        let end = self.file.text.len();
        let start = span.start.byte_offset().unwrap_or(end);
        start..span.end.byte_offset().unwrap_or(end).max(start)
    }
}

/// Where each byte of a scalar's text stands in the file, as well as can be known.
///
/// Exact for one line without escapes; within folded or escaped text it is near.
pub fn offsets(file: &SourceFile, span: &Range<usize>, text: &str) -> Vec<usize> {
    let source = file.text.get(span.clone()).unwrap_or_default();
    let mut at = source.find(text).unwrap_or(0);
    let mut offsets = Vec::with_capacity(text.len() + 1);
    for character in text.chars() {
        at = if character.is_whitespace() {
            at + source[at..].len() - source[at..].trim_start_matches(['\\', '\n']).len()
        } else {
            at + source[at..].find(character).unwrap_or(0)
        };
        offsets.extend(std::iter::repeat_n(span.start + at, character.len_utf8()));
        at = (at + character.len_utf8()).min(source.len());
        while !source.is_char_boundary(at) {
            at += 1;
        }
    }
    offsets.push(span.start + at);
    offsets
}

/// A JSON number from text that is written canonically; `None` otherwise.
fn canonical_number(text: &str) -> Option<Number> {
    let number: Number = serde_json::from_str(text).ok()?;
    (number.to_string() == text).then_some(number)
}
