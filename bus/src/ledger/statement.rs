//! One statement in the words of both databases, the rows that go in and the rows that come out.
//!
//! Invariant: a statement's text depends on its kind only, never on its values or their number, so
//! that it is prepared once. `{0}`, `{1}`, … are its scalars, `{rows}` is the table of its rows, named
//! `i`, whose columns begin with `k_` so that no column of a table has the same name.

use std::borrow::Cow;

/// What a column of incoming rows holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number.
    Int,
    /// A number, or nothing.
    MaybeInt,
    /// Text, or nothing.
    Text,
    /// Bytes, or nothing.
    Blob,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    /// Nothing.
    Null,
    /// A number.
    Int(i64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Blob(Cow<'a, [u8]>),
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Cell<'_> {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<bool> for Cell<'_> {
    fn from(yes: bool) -> Self {
        Self::Int(i64::from(yes))
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Blob(Cow::Borrowed(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Cell<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Blob(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Cell<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(Cow::Owned(bytes))
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The columns of incoming rows.
pub(super) type Columns = &'static [(&'static str, Kind)];

/// Incoming rows, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Rows<'a> {
    /// Their columns.
    pub(super) columns: Columns,
    /// `columns.len()` cells per row.
    pub(super) cells: Vec<Cell<'a>>,
}

impl<'a> Rows<'a> {
    /// No rows yet.
    pub(super) fn new(columns: Columns) -> Self {
        Self { columns, cells: Vec::new() }
    }

    /// One more row.
    pub(super) fn push<const N: usize>(&mut self, row: [Cell<'a>; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.cells.extend(row);
    }

    /// One more row, in two parts.
    pub(super) fn push_with<const N: usize, const M: usize>(
        &mut self,
        row: [Cell<'a>; N],
        more: [Cell<'a>; M],
    ) {
        debug_assert_eq!(N + M, self.columns.len());
        self.cells.extend(row.into_iter().chain(more));
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.cells.len() / self.columns.len()
    }
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub(super) struct Statement<'a> {
    /// The text, see the head of this file.
    pub(super) sql: Cow<'static, str>,
    /// Its scalars.
    pub(super) scalars: Vec<Cell<'a>>,
    /// Its rows.
    pub(super) rows: Option<Rows<'a>>,
}

impl<'a> Statement<'a> {
    /// A statement without rows.
    pub(super) fn new(sql: impl Into<Cow<'static, str>>, scalars: Vec<Cell<'a>>) -> Self {
        Self { sql: sql.into(), scalars, rows: None }
    }

    /// A statement over rows.
    pub(super) fn over(
        sql: impl Into<Cow<'static, str>>,
        scalars: Vec<Cell<'a>>,
        rows: Rows<'a>,
    ) -> Self {
        Self { sql: sql.into(), scalars, rows: Some(rows) }
    }
}

/// Writes a statement in a database's words: `$n` from `first` on for the scalars, `rows` for its
/// rows, `locked` where rows that others hold are passed over.
pub(super) fn render(sql: &str, first: usize, rows: &str, locked: &str, into: &mut String) {
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once('{') {
        let (word, after) = after.split_once('}').unwrap_or((after, ""));
        into.push_str(before);
        match word.parse::<usize>() {
            Ok(number) => {
                into.push('$');
                into.push_str(&(first + number).to_string());
            }
            Err(_) => into.push_str(if word == "rows" { rows } else { locked }),
        }
        rest = after;
    }
    into.push_str(rest);
}

/// A row that came out.
#[derive(Clone, Debug)]
pub(super) struct Found(pub(super) Vec<Cell<'static>>);

/// What a statement did.
#[derive(Clone, Debug, Default)]
pub(super) struct Ran {
    /// The rows that came out.
    pub(super) rows: Vec<Found>,
    /// How many rows it changed, where the database says so (SQLite).
    pub(super) changed: u64,
    /// The sequence of the last row that it inserted, where the database says so (SQLite).
    pub(super) last: i64,
}

/// A cell that is not what the schema says: the database was changed by other hands.
fn unexpected(at: usize, wanted: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("column {at} holds no {wanted}").into())
}

impl Found {
    fn cell(&self, at: usize) -> &Cell<'static> {
        self.0.get(at).unwrap_or(&Cell::Null)
    }

    /// A number.
    pub(super) fn int(&self, at: usize) -> sqlx::Result<i64> {
        self.maybe_int(at)?.ok_or_else(|| unexpected(at, "number"))
    }

    /// A number, or nothing.
    pub(super) fn maybe_int(&self, at: usize) -> sqlx::Result<Option<i64>> {
        match self.cell(at) {
            Cell::Null => Ok(None),
            Cell::Int(number) => Ok(Some(*number)),
            _ => Err(unexpected(at, "number")),
        }
    }

    /// A small number that is never below zero.
    pub(super) fn count(&self, at: usize) -> sqlx::Result<u32> {
        u32::try_from(self.int(at)?).map_err(|_| unexpected(at, "count"))
    }

    /// Text.
    pub(super) fn text(&self, at: usize) -> sqlx::Result<&str> {
        self.maybe_text(at)?.ok_or_else(|| unexpected(at, "text"))
    }

    /// Text, or nothing.
    pub(super) fn maybe_text(&self, at: usize) -> sqlx::Result<Option<&str>> {
        match self.cell(at) {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
            _ => Err(unexpected(at, "text")),
        }
    }

    /// JSON in text.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, at: usize) -> sqlx::Result<T> {
        serde_json::from_str(self.text(at)?).map_err(|error| sqlx::Error::Decode(error.into()))
    }

    /// Bytes.
    pub(super) fn blob(&self, at: usize) -> sqlx::Result<&[u8]> {
        self.maybe_blob(at)?.ok_or_else(|| unexpected(at, "bytes"))
    }

    /// Bytes, or nothing.
    pub(super) fn maybe_blob(&self, at: usize) -> sqlx::Result<Option<&[u8]>> {
        match self.cell(at) {
            Cell::Null => Ok(None),
            Cell::Blob(bytes) => Ok(Some(bytes)),
            _ => Err(unexpected(at, "bytes")),
        }
    }

    /// Sixteen bytes.
    pub(super) fn uuid(&self, at: usize) -> sqlx::Result<uuid::Uuid> {
        uuid::Uuid::from_slice(self.blob(at)?).map_err(|_| unexpected(at, "id"))
    }

    /// Thirty-two bytes.
    pub(super) fn digest(&self, at: usize) -> sqlx::Result<snodo_core::ids::Digest> {
        let bytes = self.blob(at)?.try_into().map_err(|_| unexpected(at, "digest"))?;
        Ok(snodo_core::ids::Digest(bytes))
    }

    /// An instant, or nothing.
    pub(super) fn maybe_time(
        &self,
        at: usize,
    ) -> sqlx::Result<Option<snodo_core::timestamp::Timestamp>> {
        Ok(self.maybe_int(at)?.map(snodo_core::timestamp::Timestamp))
    }

    /// An instant.
    pub(super) fn time(&self, at: usize) -> sqlx::Result<snodo_core::timestamp::Timestamp> {
        self.int(at).map(snodo_core::timestamp::Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_written_with_its_own_numbers() {
        let mut text = String::new();
        render("SET a = {0} FROM {rows} WHERE b = {1}{skip}", 4, "r", " L", &mut text);
        assert_eq!(text, "SET a = $4 FROM r WHERE b = $5 L");
    }
}
