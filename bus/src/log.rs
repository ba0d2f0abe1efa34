//! The log: JSON lines on the standard error; `SNODO_LOG` says which.
//!
//! Invariant: a line that cannot be written is dropped and counted; whoever logs never learns of it.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Starts to log; what it gives counts the lines that could not be written.
pub(crate) fn to_stderr() -> Arc<AtomicU64> {
    let filter = EnvFilter::try_from_env("SNODO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Later directives win: whatever was asked for, no body gets into the log.
    let filter = match crate::broker::LOG_FILTER.parse() {
        Ok(never) => filter.add_directive(never),
        Err(_) => EnvFilter::new("info,lapin=off"),
    };
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines { out: io::stderr, dropped: Arc::clone(&dropped) };
    // Set once in a process; an error is a second log.
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(lines).try_init();
    dropped
}

/// Makes the writer of each line.
struct Lines<F> {
    out: F,
    dropped: Arc<AtomicU64>,
}

impl<'a, F: Fn() -> W + 'a, W: Write> MakeWriter<'a> for Lines<F> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Line<W> {
        Line { out: (self.out)(), dropped: Arc::clone(&self.dropped) }
    }
}

/// Writes one line. Told of an error, the subscriber would complain on the standard error itself, and
/// panic where that is what fails: on a full disk, with the task that had something to say.
struct Line<W> {
    out: W,
    dropped: Arc<AtomicU64>,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.out.write_all(line).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_troubles_nobody() {
        let dropped = Arc::new(AtomicU64::new(0));
        let lines = Lines { out: || Full, dropped: Arc::clone(&dropped) };
        let log = tracing_subscriber::fmt().json().with_writer(lines).finish();
        tracing::subscriber::with_default(log, || {
            tracing::info!("one");
            tracing::info!("two");
        });
        assert_eq!(dropped.load(Relaxed), 2);
    }
}
