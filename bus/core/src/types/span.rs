//! Where a term stands in its expression. jaq's tree has no places, but every name, number and text in it is
//! a slice of the source.
//!
//! Invariant: a place lies within the source; a term without any slice has the place of what holds it.

use std::ops::Range;

use crate::template::tree::{Part, Path, Pattern, StrPart, Term};

/// The bytes of `term` in `source`, if it has a slice of it.
pub(super) fn of(source: &str, term: &Term<&str>) -> Option<Range<usize>> {
    let range = bare(source, term).map(|range| with_signs(source, range))?;
    let opening = match term {
        Term::Obj(_) => '{',
        Term::Arr(_) => '[',
        _ => return Some(range),
    };
    let before = source[..range.start].trim_end_matches(['"', ' ', '\n', '(']);
    let start = if before.ends_with(opening) { before.len() - 1 } else { range.start };
    Some(start..range.end)
}

/// The same without the dot before a field and the quotes of a text.
pub(super) fn bare(source: &str, term: &Term<&str>) -> Option<Range<usize>> {
    let mut hull = Hull { source, range: None };
    hull.term(term);
    hull.range
}

/// Slices leave out the quotes of a text and the dot before a field.
fn with_signs(source: &str, mut range: Range<usize>) -> Range<usize> {
    let bytes = source.as_bytes();
    let before = |start: usize, sign: u8| start > 0 && bytes[start - 1] == sign;
    if before(range.start, b'"') {
        range.start -= 1;
    }
    let open = source[range.clone()].bytes().filter(|byte| *byte == b'"').count() % 2 == 1;
    if open && bytes.get(range.end) == Some(&b'"') {
        range.end += 1;
    }
    if before(range.start, b'.') {
        range.start -= 1;
    }
    range
}

struct Hull<'s> {
    source: &'s str,
    range: Option<Range<usize>>,
}

impl Hull<'_> {
    fn slice(&mut self, slice: &str) {
        let (start, at) = (self.source.as_ptr().addr(), slice.as_ptr().addr());
        if at < start || at + slice.len() > start + self.source.len() {
            return;
        }
        let found = at - start..at - start + slice.len();
        self.range = Some(match self.range.take() {
            Some(known) => known.start.min(found.start)..known.end.max(found.end),
            None => found,
        });
    }

    fn terms<'t, 's: 't>(&mut self, terms: impl IntoIterator<Item = &'t Term<&'s str>>) {
        terms.into_iter().for_each(|term| self.term(term));
    }

    fn term(&mut self, term: &Term<&str>) {
        match term {
            Term::Num(slice) | Term::Var(slice) | Term::Break(slice) => self.slice(slice),
            Term::Str(format, parts) => {
                if let Some(format) = format {
                    self.slice(format);
                }
                for part in parts {
                    self.text_part(part);
                }
            }
            Term::Arr(Some(inner)) | Term::Neg(inner) => self.term(inner),
            Term::Label(slice, inner) => {
                self.slice(slice);
                self.term(inner);
            }
            Term::Obj(fields) => {
                for (name, value) in fields {
                    self.term(name);
                    self.terms(value);
                }
            }
            Term::BinOp(left, _, right) => self.terms([&**left, &**right]),
            Term::Fold(word, over, pattern, arguments) => {
                self.slice(word);
                self.term(over);
                self.pattern(pattern);
                self.terms(arguments);
            }
            Term::TryCatch(inner, catch) => {
                self.term(inner);
                self.terms(catch.as_deref());
            }
            Term::IfThenElse(branches, otherwise) => {
                for (condition, then) in branches {
                    self.terms([condition, then]);
                }
                self.terms(otherwise.as_deref());
            }
            Term::Call(name, arguments) => {
                self.slice(name);
                self.terms(arguments);
            }
            Term::Path(head, Path(parts)) => {
                self.term(head);
                for (part, _) in parts {
                    self.path_part(part);
                }
            }
            Term::Id | Term::Recurse | Term::Arr(None) | Term::Def(..) => {}
        }
    }

    fn text_part(&mut self, part: &StrPart<&str, Term<&str>>) {
        match part {
            StrPart::Str(slice) => self.slice(slice),
            StrPart::Term(term) => self.term(term),
            StrPart::Char(_) => {}
        }
    }

    fn path_part(&mut self, part: &Part<Term<&str>>) {
        match part {
            Part::Index(index) => self.term(index),
            Part::Range(from, to) => self.terms(from.iter().chain(to)),
        }
    }

    fn pattern(&mut self, pattern: &Pattern<&str>) {
        if let Pattern::Var(name) = pattern {
            self.slice(name);
        }
    }
}
