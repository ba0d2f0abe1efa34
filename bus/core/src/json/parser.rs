//! The parser: one pass over validated UTF-8, straight to a value.
//!
//! Invariant: recursion is bounded by `JsonLimits::depth`; no input makes it panic.

#![expect(
    clippy::unnecessary_box_returns,
    reason = "errors are boxed where they arise: every result on the way out stays as small as a value"
)]

use serde_json::{Map, Number, Value, map::Entry};

use super::{JsonError, JsonErrorKind as Kind, JsonLimits, number};

/// Boxed: results stay as small as a value.
type Parsed<T> = Result<T, Box<JsonError>>;

/// Reads one document.
pub(super) fn document(bytes: &[u8], limits: &JsonLimits) -> Parsed<Value> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return Err(error(Kind::ByteOrderMark, 0));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|invalid| error(Kind::NotUtf8, invalid.valid_up_to()))?;
    let mut parser = Parser { text, bytes, at: 0, depth: 0, limits };
    parser.skip_space();
    if parser.peek().is_none() {
        return Err(error(Kind::Empty, 0));
    }
    let value = parser.value()?;
    parser.skip_space();
    match parser.peek() {
        Some(_) => Err(parser.fail(Kind::SecondDocument)),
        None => Ok(value),
    }
}

/// How many bytes of a string need no escape: up to a quote, a backslash or a control character.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let mut run = 0;
    for chunk in bytes.chunks_exact(8) {
        let stops = stops(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        if stops != 0 {
            return run + (stops.trailing_zeros() / 8) as usize;
        }
        run += 8;
    }
    let rest = bytes[run..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    rest.map_or(bytes.len(), |position| run + position)
}

/// Eight bytes at once: the lowest high bit set is exact, higher ones may be borrowed.
fn stops(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let equals = |byte: u8| {
        let difference = word ^ (ONES * u64::from(byte));
        difference.wrapping_sub(ONES) & !difference
    };
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (equals(b'"') | equals(b'\\') | control) & HIGH
}

fn error(kind: Kind, offset: usize) -> Box<JsonError> {
    Box::new(JsonError { kind, offset, pointer: String::new() })
}

/// Adds, from inside to outside, where an error stands.
fn inside(mut error: Box<JsonError>, segment: &str) -> Box<JsonError> {
    let escaped = segment.replace('~', "~0").replace('/', "~1");
    error.pointer.insert_str(0, &escaped);
    error.pointer.insert(0, '/');
    error
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    limits: &'a JsonLimits,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fail(&self, kind: Kind) -> Box<JsonError> {
        error(kind, self.at)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Parsed<Value> {
        match self.peek() {
            Some(b'"') => self.string(self.limits.string, Kind::StringTooLong).map(Value::String),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.fail(Kind::Syntax)),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Parsed<Value> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fail(Kind::Syntax));
        }
        self.at += word.len();
        Ok(value)
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Parsed<Value>) -> Parsed<Value> {
        if self.depth == self.limits.depth {
            return Err(self.fail(Kind::TooDeep));
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Parsed<Value> {
        let mut items = Vec::new();
        if self.takes(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            if items.len() == self.limits.items {
                return Err(self.fail(Kind::TooManyItems));
            }
            let item = self.value().map_err(|error| inside(error, &items.len().to_string()))?;
            items.push(item);
            if self.ends(b']')? {
                return Ok(Value::Array(items));
            }
        }
    }

    fn object(&mut self) -> Parsed<Value> {
        let mut map = Map::new();
        if self.takes(b'}') {
            return Ok(Value::Object(map));
        }
        loop {
            if map.len() == self.limits.keys {
                return Err(self.fail(Kind::TooManyKeys));
            }
            self.member(&mut map)?;
            if self.ends(b'}')? {
                return Ok(Value::Object(map));
            }
        }
    }

    fn member(&mut self, map: &mut Map<String, Value>) -> Parsed<()> {
        if self.peek() != Some(b'"') {
            return Err(self.fail(Kind::Syntax));
        }
        let start = self.at;
        let key = self.string(self.limits.key, Kind::KeyTooLong)?;
        self.skip_space();
        if !self.takes(b':') {
            return Err(self.fail(Kind::Syntax));
        }
        match map.entry(key) {
            Entry::Occupied(entry) => Err(inside(error(Kind::DuplicateKey, start), entry.key())),
            Entry::Vacant(entry) => {
                let value = self.value().map_err(|error| inside(error, entry.key()))?;
                entry.insert(value);
                Ok(())
            }
        }
    }

    /// Takes `byte` and the space after it, if it stands here.
    fn takes(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        if taken {
            self.at += 1;
            if byte == b':' || byte == b',' {
                self.skip_space();
            }
        }
        taken
    }

    /// After an item: whether the bracket closes; otherwise a comma is needed.
    fn ends(&mut self, close: u8) -> Parsed<bool> {
        self.skip_space();
        if self.takes(close) {
            return Ok(true);
        }
        if self.takes(b',') { Ok(false) } else { Err(self.fail(Kind::Syntax)) }
    }

    fn string(&mut self, limit: usize, too_long: Kind) -> Parsed<String> {
        let start = self.at;
        self.at += 1;
        let run = self.run();
        let text = if self.peek() == Some(b'"') {
            self.at += 1;
            run.to_owned()
        } else {
            self.escaped(run.to_owned())?
        };
        if text.len() > limit { Err(error(too_long, start)) } else { Ok(text) }
    }

    /// The plain text from here on. Its ends are ASCII or the end of the text, so it can be sliced.
    fn run(&mut self) -> &'a str {
        let start = self.at;
        self.at += plain_run(&self.bytes[start..]);
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn escaped(&mut self, mut text: String) -> Parsed<String> {
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.fail(Kind::ControlCharacter)),
                None => return Err(self.fail(Kind::Syntax)),
            }
            text.push_str(self.run());
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let character = match self.bytes.get(self.at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.fail(Kind::Syntax)),
        };
        self.at += 2;
        Ok(character)
    }

    fn unicode(&mut self) -> Parsed<char> {
        let first = self.unit(self.at).ok_or_else(|| self.fail(Kind::Syntax))?;
        let (code, length) = match first {
            0 => return Err(self.fail(Kind::ControlCharacter)),
            0xD800..=0xDBFF => match self.unit(self.at + 6) {
                Some(second @ 0xDC00..=0xDFFF) => {
                    (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), 12)
                }
                _ => return Err(self.fail(Kind::LoneSurrogate)),
            },
            _ => (first, 6),
        };
        let character = char::from_u32(code).ok_or_else(|| self.fail(Kind::LoneSurrogate))?;
        self.at += length;
        Ok(character)
    }

    /// The four digits of the `\uXXXX` at `at`.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
    }

    fn number(&mut self) -> Parsed<Number> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let first = self.peek();
        let whole = self.digits()?;
        if first == Some(b'0') && whole > 1 {
            return Err(error(Kind::Syntax, start));
        }
        let is_whole = !self.fraction_and_exponent()?;
        let token = self.text.get(start..self.at).unwrap_or_default();
        if token.len() > self.limits.number {
            return Err(error(Kind::Number, start));
        }
        let small = (is_whole && whole <= 15).then(|| token.parse::<i64>().ok()).flatten();
        let number = small.map(Number::from).or_else(|| number::read(token));
        number.ok_or_else(|| error(Kind::Number, start))
    }

    fn digits(&mut self) -> Parsed<usize> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.fail(Kind::Syntax)) } else { Ok(self.at - start) }
    }

    fn fraction_and_exponent(&mut self) -> Parsed<bool> {
        let start = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.at > start)
    }
}
