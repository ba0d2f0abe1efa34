//! What formatting must leave as it is: what a file means, its comments, and where its lines break.
//!
//! Invariant: a text comes out only where the house reads from it what it read before, where every comment
//! stands beside what it stood by, and where formatting it again changes nothing.

use std::{ops::Range, sync::Arc};

use serde_saphyr::granit_parser::{Event, Parser};

use super::{Content, Node, read};
use crate::diagnostic::{Diagnostic, Place, Problems, SourceFile, Words};

/// So often a text is formatted until it stays as it is.
const PASSES: usize = 4;

/// A comment of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Comment {
    /// Its bytes, from `#` to the end of its line.
    span: Range<usize>,
    /// In which column it begins, in characters.
    column: usize,
    /// How many scalars stand before it.
    after: usize,
    /// Whether something stands before it on its line.
    trails: bool,
    /// Whether it goes on with the comment on the line above it, in the same column.
    continues: bool,
}

/// A file that the house reads.
struct Written {
    file: Arc<SourceFile>,
    tree: Node,
    comments: Vec<Comment>,
}

/// Formats a file of the house with `formatter`, which may break what it likes: what would come out wrong is
/// refused, with its place. A file that cannot be read is as wrong here as it is for `check`.
pub fn format(
    file: &Arc<SourceFile>,
    formatter: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let tree = read(file, &mut problems);
    let Some(tree) = tree.filter(|_| !problems.any_error()) else { return Err(problems.sorted()) };
    let formatted = Written::of(file, tree).map_or(Err(0..0), |first| first.settled(formatter));
    formatted.map_err(|place| {
        let help = "write this place more plainly, or leave the file as it is: nothing was written";
        let title = "the formatter would change more than the form";
        let words = Words::new(title, "from here on", help);
        problems.error("SN0176", Place::new(file, place), words);
        problems.sorted()
    })
}

impl Written {
    fn of(file: &Arc<SourceFile>, tree: Node) -> Option<Self> {
        let comments = comments(&file.text)?;
        Some(Self { file: Arc::clone(file), tree, comments })
    }

    /// The text after which formatting changes nothing; else the place from which on it went wrong.
    fn settled(&self, formatter: &dyn Fn(&str) -> Option<String>) -> Result<String, Range<usize>> {
        let mut last = self.pass(formatter, self)?;
        for _ in 0..PASSES {
            let next = last.pass(formatter, self)?;
            if next.file.text == last.file.text {
                return Ok(next.file.text.clone());
            }
            last = next;
        }
        Err(0..0)
    }

    /// Formats it once, and compares what came of it with how it was at `first`.
    fn pass(
        &self,
        formatter: &dyn Fn(&str) -> Option<String>,
        first: &Self,
    ) -> Result<Self, Range<usize>> {
        let kept = self.kept();
        let text = formatter(&kept.hidden).ok_or(0..0)?;
        let text = kept.shown(&self.file.text, &text).ok_or(0..0)?;
        let text = self.columns(&text).map_err(|index| first.comment(index))?;
        let file = Arc::new(SourceFile { path: self.file.path.clone(), text });
        let mut said = Problems::default();
        let tree = read(&file, &mut said).filter(|_| !said.any_error());
        let after = tree.and_then(|tree| Self::of(&file, tree)).ok_or(0..0)?;
        first.differs(&after).map_or(Ok(after), Err)
    }

    fn comment(&self, index: usize) -> Range<usize> {
        self.comments.get(index).map_or(0..0, |comment| comment.span.clone())
    }

    fn said(&self, comment: &Comment) -> &str {
        self.file.text[comment.span.clone()].trim_end()
    }

    /// What is in brackets and goes over several lines is laid out by its author: the formatter gets a word
    /// in its place.
    fn kept(&self) -> Kept {
        let text = &self.file.text;
        let mut word = "kept".to_owned();
        while text.contains(&word) {
            word.push('-');
        }
        let mut spans = Vec::new();
        broken(&self.tree, text, &mut spans);
        let (mut hidden, mut from) = (String::with_capacity(text.len()), 0);
        for span in &spans {
            hidden = hidden + &text[from..span.start] + &word;
            from = span.end;
        }
        Kept { hidden: hidden + &text[from..], word, spans }
    }

    /// `formatted` with the comments at the ends of lines in the columns in which they stand here, where
    /// their lines leave room. Where it has other comments, which of them is the first that is missed.
    fn columns(&self, formatted: &str) -> Result<String, usize> {
        let there = comments(formatted).ok_or(self.comments.len())?;
        let is_there = |(index, here): &(usize, &Comment)| {
            there
                .get(*index)
                .is_some_and(|there| formatted[there.span.clone()].trim_end() == self.said(here))
        };
        let found = self.comments.iter().enumerate().take_while(is_there).count();
        if found < self.comments.len().max(there.len()) {
            return Err(found);
        }
        let mut text = String::with_capacity(formatted.len() + 512);
        let (mut from, mut last) = (0, 0);
        for (here, there) in self.comments.iter().zip(&there) {
            text.push_str(formatted[from..there.span.start].trim_end_matches(' '));
            let taken = column(&text, text.len());
            let wanted = match (there.trails, here.continues) {
                (true, _) => here.column.max(taken + 1),
                (false, true) => last,
                (false, false) => there.column,
            };
            text.extend(std::iter::repeat_n(' ', wanted - taken));
            (from, last) = (there.span.start, wanted);
        }
        Ok(text + &formatted[from..])
    }

    /// The first place here from which on `other`, which has as many comments, says something else.
    fn differs(&self, other: &Self) -> Option<Range<usize>> {
        let moved = || {
            let mut pairs = self.comments.iter().zip(&other.comments);
            pairs.find(|(here, there)| (here.after, here.trails) != (there.after, there.trails))
        };
        let tree = differs(&self.tree, &other.tree);
        tree.or_else(|| moved().map(|(here, _)| here.span.clone()))
    }
}

/// The place in `a` of the first node that means something else in `b`.
fn differs(a: &Node, b: &Node) -> Option<Range<usize>> {
    let here = || Some(a.span.clone());
    match (&a.content, &b.content) {
        (Content::List(a), Content::List(b)) if a.len() == b.len() => {
            a.iter().zip(b).find_map(|(a, b)| differs(a, b))
        }
        (Content::Map(a), Content::Map(b)) if a.len() == b.len() => {
            a.iter().zip(b).find_map(|((key, a), (other, b))| {
                if key.text == other.text { differs(a, b) } else { Some(key.span.clone()) }
            })
        }
        (Content::List(_), Content::List(_)) | (Content::Map(_), Content::Map(_)) => here(),
        (a, b) => {
            if a == b {
                None
            } else {
                here()
            }
        }
    }
}

/// What the formatter does not get to see.
struct Kept {
    /// The text with a word in each place.
    hidden: String,
    /// The word, which the text has nowhere else.
    word: String,
    /// The places, in order.
    spans: Vec<Range<usize>>,
}

impl Kept {
    /// What was hidden of `text`, shown in `formatted`; its lines go along with the first. `None` where a
    /// place is missing.
    fn shown(&self, text: &str, formatted: &str) -> Option<String> {
        let mut pieces = formatted.split(&self.word);
        let mut shown = pieces.next()?.to_owned();
        for span in &self.spans {
            shown.push_str(&moved(text, span, column(&shown, shown.len()), indent(&shown)));
            shown.push_str(pieces.next()?);
        }
        pieces.next().is_none().then_some(shown)
    }
}

/// The lines of a place, whose first now begins in `column` of a line that is indented by `indented`: lines
/// below the bracket stay below it, others stay as far in.
fn moved(text: &str, span: &Range<usize>, begins: usize, indented: usize) -> String {
    let (began, was_indented) = (column(text, span.start), indent(&text[..span.start]));
    let mut lines = text[span.clone()].lines();
    let mut moved = lines.next().unwrap_or_default().trim_end().to_owned();
    let rest: Vec<&str> = lines.map(str::trim_end).collect();
    let spaces = |line: &str| line.len() - line.trim_start().len();
    let below = rest.iter().all(|line| line.is_empty() || spaces(line) > began);
    let (was, is) = if below { (began, begins) } else { (was_indented, indented) };
    for line in rest {
        let spaces = (spaces(line) + is).saturating_sub(was);
        moved.push('\n');
        if !line.is_empty() {
            moved.extend(std::iter::repeat_n(' ', spaces));
        }
        moved.push_str(line.trim_start());
    }
    moved
}

/// How far in the last line of `text` is.
fn indent(text: &str) -> usize {
    let line = &text[line_start(text, text.len())..];
    line.len() - line.trim_start_matches(' ').len()
}

/// Notes what is in brackets and goes over several lines, from the outside, in the order of the text.
fn broken(node: &Node, text: &str, spans: &mut Vec<Range<usize>>) {
    let written = &text[node.span.clone()];
    if written.starts_with(['{', '[']) && is_collection(node) {
        spans.extend(written.contains('\n').then(|| node.span.clone()));
        return;
    }
    match &node.content {
        Content::List(items) => items.iter().for_each(|item| broken(item, text, spans)),
        Content::Map(entries) => entries.iter().for_each(|(_, node)| broken(node, text, spans)),
        Content::Text(_) | Content::Plain(_) | Content::Refused => {}
    }
}

fn is_collection(node: &Node) -> bool {
    matches!(node.content, Content::List(_) | Content::Map(_))
}

/// The comments of a text, in order; `None` where it is not YAML.
fn comments(text: &str) -> Option<Vec<Comment>> {
    let options = serde_saphyr::granit_parser::options! {
        emit_comments: true,
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        strict_indentation: true,
    };
    let (mut scalars, mut spans) = (Vec::new(), Vec::new());
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.ok()?;
        let span = span.start.byte_offset()?..span.end.byte_offset()?;
        match event {
            Event::Scalar(..) => scalars.push(span.start),
            Event::Comment(..) => spans.push(span),
            _ => {}
        }
    }
    scalars.sort_unstable();
    spans.sort_unstable_by_key(|span| span.start);
    let mut comments: Vec<Comment> = Vec::with_capacity(spans.len());
    for span in spans {
        let column = column(text, span.start);
        let above = comments.last().filter(|last| {
            let between = &text[last.span.end..span.start];
            last.column == column && between.matches('\n').count() == 1
        });
        let line = line_start(text, span.start);
        let trails = !text[line..span.start].trim().is_empty();
        comments.push(Comment {
            column,
            after: scalars.partition_point(|start| *start < span.start),
            trails,
            continues: !trails && above.is_some_and(|above| above.trails || above.continues),
            span,
        });
    }
    Some(comments)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// How many characters stand before `at` on its line.
fn column(text: &str, at: usize) -> usize {
    text[line_start(text, at)..at].chars().count()
}

#[cfg(test)]
mod tests;
