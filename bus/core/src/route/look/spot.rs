//! Where a place is in the tree of a YAML file: under which keys, and on what.
//!
//! Invariant: a value that is still to be written behind its key has a spot too.

use std::ops::Range;

use crate::yaml::{Content, Key, Node};

/// An item of a list, as a key.
pub(super) const ITEM: &str = "[]";

/// A place in a tree.
#[derive(Debug)]
pub(super) struct Spot<'n> {
    /// The keys that lead there, [`ITEM`] for each item of a list.
    pub(super) keys: Vec<&'n str>,
    /// The map around it, the nearest one.
    pub(super) around: &'n [(Key, Node)],
    pub(super) on: On<'n>,
}

/// What is there.
#[derive(Debug)]
pub(super) enum On<'n> {
    /// A key.
    Key(&'n Key),
    /// A text that is a value.
    Text { span: Range<usize>, text: &'n str },
    /// A value that is still to be written.
    Nothing(usize),
}

/// The spot of the place `at`; none where nothing is, or something that no text is.
pub(super) fn find<'n>(root: &'n Node, text: &str, at: usize) -> Option<Spot<'n>> {
    let mut spot = Spot { keys: Vec::new(), around: &[], on: On::Nothing(at) };
    let mut node = root;
    loop {
        node = match &node.content {
            Content::Text(value) => {
                spot.on = On::Text { span: node.span.clone(), text: value };
                return Some(spot);
            }
            Content::List(items) => {
                spot.keys.push(ITEM);
                items.iter().find(|item| touches(&item.span, at))?
            }
            Content::Map(entries) => {
                spot.around = entries;
                let (key, value) = entries.iter().find(|(key, value)| {
                    touches(&key.span, at)
                        || touches(&value.span, at) && !value.span.is_empty()
                        || is_missing(key, value, text, at)
                })?;
                spot.keys.push(&key.text);
                if touches(&key.span, at) {
                    spot.on = On::Key(key);
                    return Some(spot);
                }
                if value.content == Content::Refused {
                    return is_missing(key, value, text, at).then_some(spot);
                }
                value
            }
            Content::Plain(_) | Content::Refused => return None,
        };
    }
}

fn touches(span: &Range<usize>, at: usize) -> bool {
    span.start <= at && at <= span.end
}

/// Whether the value of a key is to be written at `at`: behind the `:`, on the same line.
fn is_missing(key: &Key, value: &Node, text: &str, at: usize) -> bool {
    let between = text.get(key.span.end..at).unwrap_or("x");
    let is_empty = text.get(value.span.clone()).is_none_or(|text| text.trim().is_empty());
    is_empty
        && between
            .trim_start()
            .strip_prefix(':')
            .is_some_and(|rest| rest.trim() == "" && !rest.contains('\n'))
}
