//! `snodo lsp`: what `check` knows, in an editor, over standard input and output.
//!
//! Invariant: it reads files, writes none, and opens no connection; what it says of a file is what `check`
//! says of the texts that the editor holds.

use std::{
    collections::VecDeque,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    time::{Duration, Instant},
};

use clap::Args;
use lsp_server::Message;
use snodo_core::adapter::Catalog;

use super::Common;
use crate::exit::{Exit, Failure};

mod answers;
mod checker;
mod frames;
mod session;
mod uris;

use checker::Round;
use session::{Next, Session};

#[derive(Debug, Args)]
pub(super) struct Lsp {
    /// What many editors add: it is the only way there is
    #[arg(long)]
    stdio: bool,
}

/// What happens to the server.
#[derive(Debug)]
enum Event {
    Said(Box<Message>),
    Checked(Box<Round>),
    /// Nothing more will be said; why, where something is wrong.
    Ended(Option<String>),
}

impl Event {
    fn said(&self) -> Option<&Message> {
        if let Self::Said(message) = self { Some(message) } else { None }
    }
}

/// So much waits to be answered; whoever says more waits.
const QUEUE: usize = 64;
/// A check begins when nothing was changed for so long.
const QUIET: Duration = Duration::from_millis(200);
/// How long it waits for something to happen while nothing is due.
const IDLE: Duration = Duration::from_hours(1);

impl Lsp {
    pub(super) fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        // Whoever writes it means what there is.
        let Self { stdio: _ } = self;
        let (tell, events) = mpsc::sync_channel(QUEUE);
        read(tell.clone())?;
        let (ask, asks) = mpsc::sync_channel(1);
        checker::spawn(common.around(), catalog.clone(), asks, tell)?;
        let session = Session::new(named(&common.house), ask);
        let mut out = io::stdout().lock();
        Server { session, events, waiting: VecDeque::new(), out: &mut out }.serve()
    }
}

/// The house that was named on the command line; none where none was: then it is where the editor works.
fn named(house: &Path) -> Option<PathBuf> {
    (house != Path::new("."))
        .then(|| std::path::absolute(house).unwrap_or_else(|_| house.to_owned()))
}

/// Reads what the editor says, until it says nothing more.
fn read(tell: SyncSender<Event>) -> io::Result<()> {
    let reader = move || {
        let mut input = io::stdin().lock();
        loop {
            let event = match frames::read(&mut input) {
                Ok(Some(message)) => Event::Said(Box::new(message)),
                Ok(None) => Event::Ended(None),
                Err(error) => Event::Ended(Some(error.to_string())),
            };
            let last = matches!(event, Event::Ended(_));
            if tell.send(event).is_err() || last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("lsp-reader".to_owned()).spawn(reader).map(drop)
}

struct Server<'s> {
    session: Session,
    events: Receiver<Event>,
    /// What has come and is still to be looked at: what is later may make it stale.
    waiting: VecDeque<Event>,
    out: &'s mut dyn Write,
}

impl Server<'_> {
    fn serve(mut self) -> Result<Exit, Failure> {
        while let Some(event) = self.next() {
            let (said, next) = match event {
                Event::Said(message) => {
                    let later: Vec<&Message> =
                        self.waiting.iter().filter_map(Event::said).collect();
                    self.session.heard(*message, &later)
                }
                Event::Checked(round) => (self.session.checked(*round), Next::More),
                Event::Ended(None) => return Ok(Exit::Failed),
                Event::Ended(Some(why)) => {
                    return Err(Failure::failed(format!(
                        "what the editor says is not read: {why}"
                    )));
                }
            };
            for message in said {
                message.write(&mut self.out)?;
            }
            if let Next::End(exit) = next {
                return Ok(exit);
            }
        }
        Ok(Exit::Failed)
    }

    /// The next event; a check is begun whenever one is due.
    fn next(&mut self) -> Option<Event> {
        while self.waiting.is_empty() {
            let wait = self.session.begin_check(Instant::now()).unwrap_or(IDLE);
            match self.events.recv_timeout(wait) {
                Ok(event) => self.waiting.push_back(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        let more = self.events.try_iter().take(QUEUE.saturating_sub(self.waiting.len()));
        self.waiting.extend(more);
        self.waiting.pop_front()
    }
}
