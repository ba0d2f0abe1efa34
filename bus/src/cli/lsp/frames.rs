//! Messages as they come over standard input: a head that says how long, then JSON.
//!
//! Invariant: no more is read than the bounds say, whatever a head promises.

use std::io::{self, BufRead, Read as _};

use lsp_server::Message;

/// No head is longer.
const HEAD: usize = 4 * 1024;
/// No message is longer: the largest file of a house, written as JSON text.
const BODY: u64 = 64 * 1024 * 1024;

/// The next message; none where the input ends between two.
pub(super) fn read(input: &mut impl BufRead) -> io::Result<Option<Message>> {
    let Some(head) = head(input)? else { return Ok(None) };
    let length = length(&head)?;
    let mut body = Vec::new();
    input.take(length).read_to_end(&mut body)?;
    if body.len() as u64 != length {
        return Err(wrong("the input ends within a message"));
    }
    serde_json::from_slice(&body).map(Some).map_err(|error| wrong(&format!("no message: {error}")))
}

/// The lines up to the empty one.
fn head(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let start = head.len();
        input.take((HEAD - start) as u64).read_until(b'\n', &mut head)?;
        match &head[start..] {
            [] if start == 0 => return Ok(None),
            b"\r\n" | b"\n" => return Ok(Some(head)),
            line if line.ends_with(b"\n") => {}
            _ => return Err(wrong("the head of a message has no end")),
        }
    }
}

fn length(head: &[u8]) -> io::Result<u64> {
    let head = String::from_utf8_lossy(head);
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("Content-Length").then(|| value.trim().to_owned())
    });
    let length = value.and_then(|value| value.parse().ok());
    let length: u64 = length.ok_or_else(|| wrong("a message does not say how long it is"))?;
    if length > BODY { Err(wrong("a message is longer than 64 MiB")) } else { Ok(length) }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::read;

    fn method(input: &str) -> Result<Option<String>, String> {
        let found = read(&mut input.as_bytes()).map_err(|error| error.to_string())?;
        Ok(found.map(|message| format!("{message:?}").chars().take(12).collect()))
    }

    #[test]
    fn a_message_is_read_within_bounds() {
        let body = r#"{"jsonrpc":"2.0","method":"exit"}"#;
        let of = |head: &str| format!("{head}{body}");
        let long = format!("X: {}\r\n", "x".repeat(5_000));
        for (input, expected) in [
            (String::new(), Ok(None)),
            (of("Content-Length: 33\r\n\r\n"), Ok(Some("Notification"))),
            (of("content-length:33\r\nContent-Type: x\r\n\r\n"), Ok(Some("Notification"))),
            (of("Content-Length: 34\r\n\r\n"), Err("the input ends within a message")),
            (of("Content-Length: 99999999999999\r\n\r\n"), Err("a message is longer than 64 MiB")),
            (of("Content-Length: x\r\n\r\n"), Err("a message does not say how long it is")),
            (of("Content-Type: x\r\n\r\n"), Err("a message does not say how long it is")),
            (of(&long), Err("the head of a message has no end")),
            ("Content-Length: 33".to_owned(), Err("the head of a message has no end")),
        ] {
            let expected = expected.map(|name| name.map(str::to_owned)).map_err(str::to_owned);
            assert_eq!(method(&input), expected, "{}", input.chars().take(60).collect::<String>());
        }
        assert!(method("Content-Length: 2\r\n\r\n[]").is_err());
    }
}
