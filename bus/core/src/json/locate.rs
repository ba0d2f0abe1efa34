//! From a JSON pointer back to the bytes of the text.
//!
//! Invariant: only for text that `parse` accepted; for other text the answer may be `None`.

use std::ops::Range;

use super::parser::plain_run;

/// The bytes of the value at `pointer` (its key and itself, for a member of an object).
pub fn locate(text: &str, pointer: &str) -> Option<Range<usize>> {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    scan.space();
    let mut start = scan.at;
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        start = match scan.peek()? {
            b'{' => scan.member(&segment)?,
            b'[' => scan.item(segment.parse().ok()?)?,
            _ => return None,
        };
    }
    scan.skip()?;
    Some(start..scan.at)
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace() || byte == b',') {
            self.at += 1;
        }
    }

    /// Goes to the value of the member called `name`; gives where its key starts.
    fn member(&mut self, name: &str) -> Option<usize> {
        self.at += 1;
        loop {
            self.space();
            let start = self.at;
            self.string()?;
            let key: String = serde_json::from_slice(self.bytes.get(start..self.at)?).ok()?;
            self.space();
            self.at += 1;
            self.space();
            if key == name {
                return Some(start);
            }
            self.skip()?;
        }
    }

    /// Goes to the item at `index`; gives where it starts.
    fn item(&mut self, index: usize) -> Option<usize> {
        self.at += 1;
        for _ in 0..index {
            self.space();
            self.skip()?;
        }
        self.space();
        (self.peek()? != b']').then_some(self.at)
    }

    /// Goes behind the value that starts here.
    fn skip(&mut self) -> Option<()> {
        let mut open = 0_usize;
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    open += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    open = open.checked_sub(1)?;
                    self.at += 1;
                }
                _ => self.scalar(),
            }
            if open == 0 {
                return Some(());
            }
            while self
                .peek()
                .is_some_and(|byte| byte.is_ascii_whitespace() || b",:".contains(&byte))
            {
                self.at += 1;
            }
        }
    }

    fn scalar(&mut self) {
        let length = self.bytes[self.at..]
            .iter()
            .take_while(|byte| !byte.is_ascii_whitespace() && !b",:]}".contains(byte))
            .count();
        self.at += length.max(1);
    }

    fn string(&mut self) -> Option<()> {
        (self.peek()? == b'"').then_some(())?;
        self.at += 1;
        loop {
            self.at += plain_run(self.bytes.get(self.at..)?);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                _ => self.at += 2,
            }
        }
    }
}
