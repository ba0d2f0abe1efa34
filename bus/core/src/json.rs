//! Strict JSON in, RFC 8785 JSON out: what every message passes through.
//!
//! Invariant: a value that `parse` gives is the same after `canonical` and `parse` again, and no error
//! holds a piece of the input but the names of its fields (`JsonError::pointer`).

use serde_json::Value;

mod canonical;
mod locate;
mod number;
mod parser;

pub use canonical::canonical;
pub use locate::locate;
pub use number::canonical_number;

/// How large and how deep JSON may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Arrays and objects inside each other.
    pub depth: usize,
    /// Characters of one number.
    pub number: usize,
    /// Bytes of one string.
    pub string: usize,
    /// Bytes of one key.
    pub key: usize,
    /// Items of one array.
    pub items: usize,
    /// Keys of one object.
    pub keys: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self {
            depth: 64,
            number: 40,
            string: 64 * 1024,
            key: 64 * 1024,
            items: 10_000,
            keys: 1_000,
        }
    }
}

impl JsonLimits {
    /// For bodies that the bus wrote itself: nothing but the stack needs a limit.
    pub const OWN: Self = Self {
        depth: 256,
        number: usize::MAX,
        string: usize::MAX,
        key: usize::MAX,
        items: usize::MAX,
        keys: usize::MAX,
    };
}

/// What is wrong with a text that should be JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JsonErrorKind {
    /// Nothing but white space.
    Empty,
    /// Not UTF-8.
    NotUtf8,
    /// A byte order mark.
    ByteOrderMark,
    /// Not JSON: a comment, a trailing comma, `NaN`, a missing bracket, …
    Syntax,
    /// Something after the end.
    SecondDocument,
    /// An object names a key twice.
    DuplicateKey,
    /// Too many arrays and objects inside each other.
    TooDeep,
    /// A number that is too long, too large, or changes on its way through an IEEE double and back.
    Number,
    /// A control character in a string, or `\u0000`.
    ControlCharacter,
    /// Half a surrogate pair.
    LoneSurrogate,
    /// A string that is too long.
    StringTooLong,
    /// A key that is too long.
    KeyTooLong,
    /// An array with too many items.
    TooManyItems,
    /// An object with too many keys.
    TooManyKeys,
}

impl JsonErrorKind {
    /// The stable word for machines.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotUtf8 => "not_utf8",
            Self::ByteOrderMark => "byte_order_mark",
            Self::Syntax => "syntax",
            Self::SecondDocument => "second_document",
            Self::DuplicateKey => "duplicate_key",
            Self::TooDeep => "too_deep",
            Self::Number => "number",
            Self::ControlCharacter => "control_character",
            Self::LoneSurrogate => "lone_surrogate",
            Self::StringTooLong => "string_too_long",
            Self::KeyTooLong => "key_too_long",
            Self::TooManyItems => "too_many_items",
            Self::TooManyKeys => "too_many_keys",
        }
    }

    /// What to write instead.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Empty => "a JSON document",
            Self::NotUtf8 => "UTF-8",
            Self::ByteOrderMark => "UTF-8 without a byte order mark",
            Self::Syntax => {
                "JSON as of RFC 8259: no comment, no trailing comma, no NaN or Infinity"
            }
            Self::SecondDocument => "one JSON document and nothing after it",
            Self::DuplicateKey => "each key once per object",
            Self::TooDeep => "arrays and objects no deeper than the limit of this bus (64)",
            Self::Number => {
                "a number that an IEEE double can hold, of at most 40 characters; write longer ones as text"
            }
            Self::ControlCharacter => "text without raw control characters and without \\u0000",
            Self::LoneSurrogate => "both halves of a surrogate pair, or the character itself",
            Self::StringTooLong => "a shorter text, of at most 64 KiB",
            Self::KeyTooLong => "a shorter key",
            Self::TooManyItems => "fewer items, or several messages",
            Self::TooManyKeys => "fewer keys, or an array of items",
        }
    }

    /// Whether the text is not JSON as we take it (400); otherwise it is too much of it (422).
    pub fn is_syntax(self) -> bool {
        !matches!(self, Self::TooManyItems | Self::TooManyKeys)
    }
}

/// Why a text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {offset}", kind.reason())]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// At which byte.
    pub offset: usize,
    /// JSON pointer of the value that could not be read, made of the sender's own field names.
    pub pointer: String,
}

/// Reads what came from outside. Strict, and in one pass.
pub fn parse(bytes: &[u8], limits: &JsonLimits) -> Result<Value, JsonError> {
    parser::document(bytes, limits).map_err(|error| *error)
}

/// Reads what the bus wrote itself: as strict about form, but without limits on size.
pub fn parse_canonical(bytes: &[u8]) -> Result<Value, JsonError> {
    parser::document(bytes, &JsonLimits::OWN).map_err(|error| *error)
}

#[cfg(test)]
mod tests;
