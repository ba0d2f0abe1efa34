//! The log of a far side: one line of JSON for every call, durable before the answer.
//!
//! Invariant: lines are only appended, each with its sync; a half line at the end is of a call that was
//! never answered, and is passed over by readers and cut off by the next opening.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970.
    pub at: u64,
    /// `notify`, `notify_once`, `notify_recallable`, `enrol`, `lookup`, `elsewhere`.
    pub operation: String,
    /// The `Idempotency-Key`, or the key asked for.
    pub key: String,
    /// The body, as a number that tells bodies apart; the body itself is not kept.
    pub digest: String,
    /// Whether the call had its effect: not where it was refused, repeated or a question.
    pub applied: bool,
    /// The number that the far side gave, where the call was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// An open log and what it knows.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// The number that each key was first given, by (operation, key).
    numbers: HashMap<(String, String), u64>,
    last: u64,
}

impl Log {
    /// Opens or begins the log at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        cut_half_line(path, &file)?;
        let mut numbers = HashMap::new();
        for entry in read(path)? {
            if let Some(number) = entry.number {
                numbers.entry((entry.operation, entry.key)).or_insert(number);
            }
        }
        let last = numbers.values().copied().max().unwrap_or(0);
        let state = Mutex::new(State { file, numbers, last });
        Ok(Self { path: path.to_owned(), state })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records an effect and gives its number. Where `once_per_key`, a key that has a number keeps it
    /// and the effect does not happen again.
    pub fn apply(
        &self,
        operation: &str,
        key: &str,
        body: &[u8],
        once_per_key: bool,
    ) -> io::Result<u64> {
        let mut state = self.lock();
        let name = (operation.to_owned(), key.to_owned());
        if let Some(number) = state.numbers.get(&name).copied().filter(|_| once_per_key) {
            append(&mut state.file, &entry(operation, key, body, None))?;
            return Ok(number);
        }
        let number = state.last + 1;
        append(&mut state.file, &entry(operation, key, body, Some(number)))?;
        state.last = number;
        state.numbers.entry(name).or_insert(number);
        Ok(number)
    }

    /// Records a call without effect.
    pub fn note(&self, operation: &str, key: &str, body: &[u8]) -> io::Result<()> {
        append(&mut self.lock().file, &entry(operation, key, body, None))
    }

    /// The number that `key` has, if its effect happened.
    pub fn number(&self, operation: &str, key: &str) -> Option<u64> {
        self.lock().numbers.get(&(operation.to_owned(), key.to_owned())).copied()
    }

    /// A panic elsewhere leaves the state as it was before or after a whole line.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every whole line of the log at `path`.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
}

fn cut_half_line(path: &Path, file: &File) -> io::Result<()> {
    let bytes = std::fs::read(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < bytes.len() { file.set_len(whole as u64) } else { Ok(()) }
}

fn append(file: &mut File, entry: &Entry) -> io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()
}

fn entry(operation: &str, key: &str, body: &[u8], number: Option<u64>) -> Entry {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Entry {
        at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        operation: operation.to_owned(),
        key: key.to_owned(),
        digest: format!("{:016x}", digest(body)),
        applied: number.is_some(),
        number,
    }
}

/// FNV-1a: enough to tell bodies apart, and the sandbox stays free of a hash library.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_on_after_a_crash_in_the_middle_of_a_line() {
        let path = std::env::temp_dir().join(format!("snodo-sandbox-{}", std::process::id()));
        let log = Log::open(&path).expect("opens");
        assert_eq!(log.apply("notify", "k1", b"a", true).expect("written"), 1);
        drop(log);
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(b"{\"at\":1,\"oper").expect("half a line");
        assert_eq!(read(&path).expect("readable").len(), 1);
        let log = Log::open(&path).expect("opens again");
        assert_eq!(log.apply("notify", "k1", b"a", true).expect("written"), 1);
        assert_eq!(log.apply("notify", "k2", b"b", true).expect("written"), 2);
        assert_eq!(log.apply("notify_once", "k2", b"b", false).expect("written"), 3);
        assert_eq!(log.number("notify_recallable", "k2"), None);
        let applied: Vec<bool> =
            read(&path).expect("readable").iter().map(|entry| entry.applied).collect();
        assert_eq!(applied, [true, false, true, true]);
        std::fs::remove_file(path).expect("removed");
    }
}
