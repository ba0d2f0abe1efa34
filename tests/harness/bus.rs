//! A bus as its users run it: the `snodo` binary in a house folder of its own, on free ports.
//!
//! Invariant: a process that this file starts ends with its value, at the latest.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use crate::client::{Client, get};

/// A folder with routes, schemas and configuration, and where its bus listens.
#[derive(Clone, Debug)]
pub struct HouseFolder {
    /// The folder.
    pub path: PathBuf,
    /// Where the edge listens.
    pub http: SocketAddr,
    /// Where the metrics are.
    pub metrics: SocketAddr,
}

impl HouseFolder {
    /// An empty house in `path`, with two free ports.
    pub fn new(path: &Path) -> io::Result<Self> {
        for part in ["routes/purposes", "schemas", "config/parties"] {
            fs::create_dir_all(path.join(part))?;
        }
        Ok(Self { path: path.to_owned(), http: free_port()?, metrics: free_port()? })
    }

    /// Writes a file of the house.
    pub fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let path = self.path.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)
    }

    /// Copies `routes` and `schemas` of a house in the repository.
    pub fn copy(&self, from: &Path, folder: &str) -> io::Result<()> {
        copy_folder(&from.join(folder), &self.path.join(folder))
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Below the range from which the system takes the ports of outgoing connections: none of those takes the
/// port of a bus that restarts. (Not even a client that finds nobody there: it may reach itself.)
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// What this process has given out: a port is often bound long after it was drawn.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of the loopback that nobody uses now, and that this process has not given out before.
pub fn free_port() -> io::Result<SocketAddr> {
    let mut given = GIVEN.lock().map_err(|_| io::Error::other("a port was drawn in a panic"))?;
    for _ in 0..100 {
        let drawn = u16::try_from(uuid::Uuid::now_v7().as_u128() % PORTS.len() as u128);
        let port = PORTS.start + drawn.unwrap_or(0);
        let bound =
            TcpListener::bind(("127.0.0.1", port)).and_then(|listener| listener.local_addr());
        if let Ok(address) = bound
            && given.insert(port)
        {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// The folder in which cargo put this program, and `snodo` beside it.
pub fn binaries() -> io::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let folder = me.parent().ok_or_else(|| io::Error::other("no folder"))?;
    // A test binary lives in `deps`, one below.
    Ok(if folder.ends_with("deps") { folder.join("..") } else { folder.to_owned() })
}

/// A running bus.
#[derive(Debug)]
pub struct BusProcess {
    house: HouseFolder,
    child: Child,
}

impl BusProcess {
    /// Starts `snodo run` in a house, with extra environment; its log goes to `<house>/bus.log`.
    pub fn spawn(house: &HouseFolder, environment: &[(&str, &str)]) -> io::Result<Self> {
        Self::spawn_in(&binaries()?, house, environment)
    }

    /// The same with the `snodo` that lies in `folder`.
    pub fn spawn_in(
        folder: &Path,
        house: &HouseFolder,
        environment: &[(&str, &str)],
    ) -> io::Result<Self> {
        Self::begin(Command::new(folder.join("snodo")), house, environment)
    }

    /// The same by a program that becomes it: `prlimit --nofile=128`.
    pub fn spawn_under(
        house: &HouseFolder,
        environment: &[(&str, &str)],
        wrapper: &[String],
    ) -> io::Result<Self> {
        let [program, arguments @ ..] = wrapper else { return Self::spawn(house, environment) };
        let mut command = Command::new(program);
        command.args(arguments).arg(binaries()?.join("snodo"));
        Self::begin(command, house, environment)
    }

    fn begin(
        mut command: Command,
        house: &HouseFolder,
        environment: &[(&str, &str)],
    ) -> io::Result<Self> {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(house.path.join("bus.log"))?;
        let child = command
            .arg("run")
            .current_dir(&house.path)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { house: house.clone(), child })
    }

    /// Waits until it says that it is ready, and its broker holds what it needs.
    pub async fn ready(&mut self, within: Duration) -> io::Result<()> {
        let start = Instant::now();
        let mut client = Client::new(self.house.http);
        while start.elapsed() < within {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failed(&format!("it ended with {status}")));
            }
            if let Ok(answer) = client.send(&get("/health/ready", "")).await
                && answer.status == 200
                && !String::from_utf8_lossy(&answer.body).contains("topology")
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(self.failed("it was not ready in time"))
    }

    fn failed(&self, what: &str) -> io::Error {
        let log = fs::read_to_string(self.house.path.join("bus.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        io::Error::other(format!("the bus did not start: {what}; its log ends with\n{tail}"))
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to stop with SIGTERM and waits.
    pub async fn terminate(&mut self) -> io::Result<std::process::ExitStatus> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let pid =
                rustix::process::Pid::from_raw(pid).ok_or_else(|| io::Error::other("no pid"))?;
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        self.child.wait().await
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Its resident memory, in bytes: (now, highest).
    pub fn memory(&self) -> Option<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let read = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some((read("VmRSS:")?, read("VmHWM:")?))
    }
}
