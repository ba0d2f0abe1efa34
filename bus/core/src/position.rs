//! Lines and columns as editors count them, both from 0, and the bytes that they mean.
//!
//! Invariant: a position outside the text, or within a character, means the nearest place before it: an
//! editor may know an older text than we.

use std::ops::Range;

/// In what an editor counts the columns of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Columns {
    /// Bytes of UTF-8.
    Utf8,
    /// Code units of UTF-16: what every editor knows.
    #[default]
    Utf16,
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 0.
    pub line: u32,
    /// From 0, in [`Columns`].
    pub column: u32,
}

/// A text whose lines are known.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t str,
    /// Where each line begins.
    starts: Vec<usize>,
    columns: Columns,
}

impl<'t> Lines<'t> {
    /// The lines of `text`. A line ends with `\n`, `\r\n` or `\r`.
    pub fn new(text: &'t str, columns: Columns) -> Self {
        let bytes = text.as_bytes();
        let ends = |at: usize| match bytes[at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let starts = (0..bytes.len()).filter(|at| ends(*at)).map(|at| at + 1);
        Self { text, starts: std::iter::once(0).chain(starts).collect(), columns }
    }

    /// The byte at a position.
    pub fn offset(&self, position: Position) -> usize {
        let line = usize::try_from(position.line).unwrap_or(usize::MAX);
        let Some(start) = self.starts.get(line) else { return self.text.len() };
        let end = self.starts.get(line + 1).copied().unwrap_or(self.text.len());
        let line = self.text[*start..end].trim_end_matches(['\n', '\r']);
        let mut left = usize::try_from(position.column).unwrap_or(usize::MAX);
        for (at, character) in line.char_indices() {
            let Some(after) = left.checked_sub(self.width(character)) else { return start + at };
            left = after;
        }
        start + line.len()
    }

    /// The position of a byte.
    pub fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let before = &self.text[self.starts[line]..offset];
        let column = before.chars().map(|character| self.width(character)).sum();
        Position { line: small(line), column: small(column) }
    }

    /// The positions of some bytes.
    pub fn range(&self, span: &Range<usize>) -> Range<Position> {
        self.position(span.start)..self.position(span.end.max(span.start))
    }

    fn width(&self, character: char) -> usize {
        match self.columns {
            Columns::Utf8 => character.len_utf8(),
            Columns::Utf16 => character.len_utf16(),
        }
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Columns, Lines, Position};

    #[test]
    fn a_column_counts_what_the_editor_counts() {
        // «è» is two bytes and one unit, «😀» four bytes and two units.
        let text = "città: è\r\n😀 x: y\rend\n";
        for (offset, utf8, utf16) in [
            (0, (0, 0), (0, 0)),
            (4, (0, 4), (0, 4)),
            (6, (0, 6), (0, 5)),
            (10, (0, 10), (0, 8)),
            (12, (1, 0), (1, 0)),
            (16, (1, 4), (1, 2)),
            (18, (1, 6), (1, 4)),
            (22, (2, 0), (2, 0)),
            (25, (2, 3), (2, 3)),
            (26, (3, 0), (3, 0)),
        ] {
            for (columns, (line, column)) in [(Columns::Utf8, utf8), (Columns::Utf16, utf16)] {
                let lines = Lines::new(text, columns);
                let position = Position { line, column };
                assert_eq!(lines.position(offset), position, "{offset} {columns:?}");
                assert_eq!(lines.offset(position), offset, "{position:?} {columns:?}");
            }
        }
    }

    #[test]
    fn what_lies_outside_means_the_nearest_place_before_it() {
        let text = "à😀\nb";
        let at = |line, column| Position { line, column };
        for (columns, position, offset) in [
            (Columns::Utf16, at(0, 2), 2),
            (Columns::Utf16, at(0, 99), 6),
            (Columns::Utf16, at(1, 99), 8),
            (Columns::Utf16, at(7, 0), 8),
            (Columns::Utf8, at(0, 1), 0),
            (Columns::Utf8, at(0, 4), 2),
            (Columns::Utf8, at(u32::MAX, u32::MAX), 8),
        ] {
            assert_eq!(Lines::new(text, columns).offset(position), offset, "{position:?}");
        }
        let lines = Lines::new(text, Columns::Utf16);
        assert_eq!(lines.position(4), at(0, 1), "within a character");
        assert_eq!(lines.position(99), at(1, 1), "behind the end");
        assert_eq!(lines.range(&(2..99)), at(0, 1)..at(1, 1));
    }
}
