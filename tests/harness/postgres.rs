//! A PostgreSQL server of the tests' own, from the installed package; one per test process.
//!
//! Invariant: it listens on a socket in its own folder only, keeps nothing on disk that outlives the
//! test process, and ends with it: it watches a pipe that the process holds.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// The longest that a start may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    bin: PathBuf,
    _keeper: Child,
}

static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The server of this test process; none where PostgreSQL is not installed.
pub fn server() -> Option<&'static Postgres> {
    let start = || installed().map(|bin| Postgres::start(bin).expect("PostgreSQL starts"));
    SERVER.get_or_init(start).as_ref()
}

impl Postgres {
    fn start(bin: PathBuf) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("snodo-pg-").tempdir().ok()?.keep();
        let data = folder.join("data");
        fs::create_dir(&data).ok()?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).ok()?;
        if as_root() {
            let owner = format!("{USER}:");
            run(Command::new("chown").arg("-R").arg(owner).arg(&folder))?;
        }
        run(as_user(&bin.join("initdb"))
            .args(["-U", "snodo", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data))?;
        let keeper = keep(&bin, &folder)?;
        let server = Self { folder, bin, _keeper: keeper };
        server.wait()?;
        Some(server)
    }

    fn wait(&self) -> Option<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let ready = Command::new(self.bin.join("pg_isready"))
                .arg("-q")
                .arg("-h")
                .arg(&self.folder)
                .status();
            if ready.is_ok_and(|status| status.success()) {
                return Some(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// A new, empty database; the URL under which it is reached.
    pub fn database(&self) -> String {
        let name = format!("snodo_{}", DATABASES.fetch_add(1, SeqCst));
        let made = run(Command::new(self.bin.join("createdb"))
            .args(["-U", "snodo", "-h"])
            .arg(&self.folder)
            .arg(&name));
        assert!(made.is_some(), "createdb failed");
        self.url(&name)
    }

    /// A copy of a database to which nobody is connected; the URL under which it is reached.
    pub fn copy_of(&self, url: &str) -> String {
        let from = url.rsplit('/').next().unwrap_or_default();
        let name = format!("snodo_{}", DATABASES.fetch_add(1, SeqCst));
        let made = run(Command::new(self.bin.join("createdb"))
            .args(["-U", "snodo", "-T", from, "-h"])
            .arg(&self.folder)
            .arg(&name));
        assert!(made.is_some(), "createdb failed: somebody is connected to {from}");
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://snodo@{folder}/{database}")
    }
}

/// What the configuration says under `ledger: { postgres: … }` for a URL of ours; the password's file
/// lies in `folder`.
pub fn settings(url: &str, folder: &Path) -> Option<serde_json::Value> {
    let (user, rest) = url.strip_prefix("postgres://")?.split_once('@')?;
    let (host, database) = rest.split_once('/')?;
    let password = folder.join("ledger.password");
    crate::node::write_secret(&password, "trusted\n").ok()?;
    Some(serde_json::json!({
        "host": host, "database": database, "user": user, "password": { "file": password }
    }))
}

/// The user that runs the server when the tests run as root, which PostgreSQL refuses to do.
const USER: &str = "nobody";

fn as_root() -> bool {
    rustix::process::getuid().is_root()
}

fn as_user(program: &Path) -> Command {
    if !as_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={USER}")).arg("--regid=nogroup").args(["--clear-groups", "--"]);
    command.arg(program).current_dir("/");
    command
}

/// The newest of Debian's versions, or what is on the path.
fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .max()
}

fn run(command: &mut Command) -> Option<()> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then_some(())
}

/// A shell between us and the server: when the pipe from us closes, it stops the server and removes
/// its folder. The pipe closes with our process, however it ends.
fn keep(bin: &Path, folder: &Path) -> Option<Child> {
    let script = r#"
        "$@" & server=$!
        cat >/dev/null
        kill -QUIT $server; wait $server; rm -rf "$FOLDER"
    "#;
    let postgres = bin.join("postgres");
    let mut server = vec![postgres.display().to_string(), "-D".into()];
    server.push(folder.join("data").display().to_string());
    let options = [
        "listen_addresses=",
        "fsync=off",
        "max_connections=200",
        "shared_buffers=32MB",
        "autovacuum=off",
    ];
    server.push("-k".into());
    server.push(folder.display().to_string());
    server.extend(options.iter().flat_map(|option| ["-c".to_owned(), (*option).to_owned()]));
    let log = fs::File::create(folder.join("log")).ok()?;
    let mut command = as_user(Path::new("/bin/sh"));
    command.arg("-c").arg(script).arg("snodo-pg").args(server);
    command
        .env("FOLDER", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .ok()
}
