//! A private RabbitMQ node: own name, ports, folder, cookie and epmd, from the installed server.
//!
//! Invariant: one folder has at most one node, and no node outlives for long the process that started it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, time::Instant};

use super::session::{Endpoint, Secret, close};
use crate::random;

/// Where Debian's package and the generic archive put the server's own script (not Debian's wrapper,
/// which changes user).
const SERVERS: [&str; 3] = [
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/usr/local/lib/rabbitmq/sbin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
];

/// Below the range from which the system takes the ports of outgoing connections, so that none of ours
/// takes the node's port while it restarts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How a node is run.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// It must answer by then.
    pub ready_within: Duration,
    /// A stop that takes longer becomes a kill.
    pub stop_within: Duration,
    /// Publishers are blocked beyond so many MiB.
    pub memory_mib: u32,
    /// Forgets what an earlier node left in the folder.
    pub fresh: bool,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            ready_within: Duration::from_mins(1),
            stop_within: Duration::from_secs(20),
            memory_mib: 512,
            fresh: false,
        }
    }
}

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The server is not on this machine.
    #[error(
        "SN0811 RabbitMQ is not installed: no `rabbitmq-server` was found; \
         run `tests/install-debian.sh rabbitmq`, or name a broker under `broker: {{ uris: … }}`"
    )]
    NotInstalled,
    /// Another process runs a node in this folder.
    #[error(
        "SN0812 the folder `{}` already has a private node, held by process {holder}; \
         stop that process or choose another folder", folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process id that holds it, as written in its lock file.
        holder: String,
    },
    /// The folder cannot be used.
    #[error("SN0813 the private node's folder `{}` cannot be used: {cause}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It was started and did not come up.
    #[error(
        "SN0814 the private RabbitMQ node did not come up: {cause}; its own words are in `{}`",
        log.display()
    )]
    NotReady {
        /// What was seen.
        cause: String,
        /// Its log.
        log: PathBuf,
    },
}

/// What must stay the same from start to start of one folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Identity {
    name: String,
    user: String,
    password: String,
    amqp: u16,
    management: u16,
    distribution: u16,
    epmd: u16,
}

/// A running private node. Dropping it kills it.
#[derive(Debug)]
pub struct PrivateNode {
    folder: PathBuf,
    options: NodeOptions,
    server: PathBuf,
    identity: Identity,
    running: Option<Running>,
    /// Held for the life of this value; the system gives it back when the process ends.
    _lock: File,
}

#[derive(Debug)]
struct Running {
    epmd: Child,
    beam: Child,
    guard: Child,
}

impl PrivateNode {
    /// Starts a node in `folder`, with what an earlier node left there, and waits until it answers.
    pub async fn start(folder: &Path, options: NodeOptions) -> Result<Self, NodeError> {
        let mut node = Self::prepare(folder, options)?;
        node.launch().await?;
        Ok(node)
    }

    /// A node that does not run yet, and where it will be reached once it is launched.
    pub fn prepare(folder: &Path, options: NodeOptions) -> Result<Self, NodeError> {
        let server = find_server()?;
        fs::create_dir_all(folder).map_err(|cause| unusable(folder, cause))?;
        let folder = folder.canonicalize().map_err(|cause| unusable(folder, cause))?;
        let lock = lock(&folder)?;
        let identity = Identity::load_or_new(&folder)?;
        let mut node = Self { folder, options, server, identity, running: None, _lock: lock };
        // One that is still on its way down gives back the ports that are ours.
        if !node.left_behind().iter().any(|pid| node.is_ours(*pid)) {
            node.identity.take_free_ports();
        }
        Ok(node)
    }

    /// Starts a prepared node and waits until it answers.
    pub async fn launch(&mut self) -> Result<(), NodeError> {
        self.bury_the_dead().await;
        if self.options.fresh {
            self.forget()?;
        }
        self.run().await
    }

    /// Starts it again after [`PrivateNode::stop`] or [`PrivateNode::kill`], on the same ports where they
    /// are free.
    pub async fn start_again(&mut self) -> Result<(), NodeError> {
        self.kill();
        self.identity.take_free_ports();
        self.run().await
    }

    async fn run(&mut self) -> Result<(), NodeError> {
        self.write_files().map_err(|cause| unusable(&self.folder, cause))?;
        self.running = Some(self.spawn().map_err(|cause| unusable(&self.server, cause))?);
        self.wait_ready().await
    }

    /// Ends it as a service manager would; kills it if it takes too long. The data stay.
    pub async fn stop(&mut self) {
        let Some(running) = &mut self.running else { return };
        signal(&running.beam, Signal::TERM);
        let deadline = Instant::now() + self.options.stop_within;
        while matches!(running.beam.try_wait(), Ok(None)) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
    }

    /// Kills it on the spot, as a power cut would. The data stay.
    pub fn kill(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        for child in [&mut running.beam, &mut running.epmd, &mut running.guard] {
            // An error means that it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(self.folder.join("node.pid"));
    }

    /// The process id of the node while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.beam.id())
    }

    /// How to reach it, as its administrator.
    pub fn endpoint(&self) -> Endpoint {
        let Identity { user, password, amqp, management, .. } = &self.identity;
        Endpoint {
            nodes: vec![format!("amqp://127.0.0.1:{amqp}")],
            vhost: "/".to_owned(),
            user: user.clone(),
            password: Secret::Text(password.clone()),
            management: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, *management))),
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command line tool of this node's server (`rabbitmqctl`), with name and cookie set.
    pub fn tool(&self, tool: &str) -> Command {
        let mut command = Command::new(self.server.with_file_name(tool));
        self.set_environment(&mut command);
        command.arg("--node").arg(&self.identity.name);
        command
    }

    /// A node of this folder whose starter was killed may still be on its way down.
    async fn bury_the_dead(&self) {
        let pids = self.left_behind();
        let deadline = Instant::now() + self.options.stop_within;
        while pids.iter().any(|pid| self.is_ours(*pid)) {
            if Instant::now() >= deadline {
                let ours = pids.iter().filter(|pid| self.is_ours(**pid));
                ours.filter_map(|pid| Pid::from_raw(*pid)).for_each(|pid| {
                    let _ = kill_process(pid, Signal::KILL);
                });
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The processes of the node that ran in this folder last.
    fn left_behind(&self) -> Vec<i32> {
        let pids = fs::read_to_string(self.folder.join("node.pid")).unwrap_or_default();
        pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    fn forget(&self) -> Result<(), NodeError> {
        let data = self.folder.join("data");
        match fs::remove_dir_all(&data) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(unusable(&data, cause)),
            _ => Ok(()),
        }
    }

    /// Process ids are used again: only one that carries our node's name, or our epmd's port, is ours.
    fn is_ours(&self, pid: i32) -> bool {
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        let line = String::from_utf8_lossy(&line);
        line.contains(&self.identity.name)
            || (line.contains("epmd") && line.contains(&self.identity.epmd.to_string()))
    }

    fn write_files(&self) -> io::Result<()> {
        let Identity { user, password, amqp, management, .. } = &self.identity;
        let memory = self.options.memory_mib;
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {management}\n\
             default_user = {user}\n\
             default_pass = {password}\n\
             default_user_tags.administrator = true\n\
             vm_memory_high_watermark.absolute = {memory}MiB\n\
             disk_free_limit.absolute = 64MiB\n\
             raft.wal_max_size_bytes = 67108864\n\
             heartbeat = 10\n\
             log.console = false\n\
             log.file = node.log\n\
             log.file.level = info\n"
        );
        write_secret(&self.folder.join("rabbitmq.conf"), &config)?;
        write_secret(&self.folder.join("identity.json"), &serde_json::to_string(&self.identity)?)?;
        fs::write(self.folder.join("enabled_plugins"), "[rabbitmq_management].\n")?;
        let cookie = self.folder.join(".erlang.cookie");
        if !cookie.exists() {
            write_secret(&cookie, &random::hex(20)?)?;
        }
        Ok(())
    }

    fn set_environment(&self, command: &mut Command) {
        let Identity { name, amqp, distribution, epmd, .. } = &self.identity;
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", &self.folder)
            .env("ERL_CRASH_DUMP", self.folder.join("erl_crash.dump"))
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_NODENAME", name)
            .env("RABBITMQ_NODE_PORT", amqp.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_MNESIA_BASE", self.folder.join("data"))
            .env("RABBITMQ_LOG_BASE", self.folder.join("log"))
            .env("RABBITMQ_CONFIG_FILE", self.folder.join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.folder.join("enabled_plugins"))
            // Makes the script exec the virtual machine, so that the child's pid is the node's.
            .env("RABBITMQ_ALLOW_INPUT", "true")
            // The last flag means nothing to Erlang: it puts the name where `ps` and the guard see it.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!(
                    "-noinput +B i +S 1:1 +A 4 +sbwt none \
                     -kernel inet_dist_use_interface {{127,0,0,1}} -snodo_node {name}"
                ),
            );
    }

    fn spawn(&self) -> io::Result<Running> {
        fs::create_dir_all(self.folder.join("log"))?;
        let output = File::create(self.folder.join("log/start.log"))?;
        let epmd_port = self.identity.epmd.to_string();
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &epmd_port, "-address", "127.0.0.1"]);
        let mut beam = Command::new(&self.server);
        self.set_environment(&mut beam);
        let mut epmd = detached(&mut epmd, &output)?.spawn()?;
        let beam = match detached(&mut beam, &output)?.spawn() {
            Ok(beam) => beam,
            Err(error) => return Err(abandon(&mut [&mut epmd], error)),
        };
        self.guarded(epmd, beam)
    }

    fn guarded(&self, mut epmd: Child, mut beam: Child) -> io::Result<Running> {
        let pids = format!("{} {}\n", beam.id(), epmd.id());
        let guard = fs::write(self.folder.join("node.pid"), pids)
            .and_then(|()| self.spawn_guard(beam.id(), epmd.id()));
        match guard {
            Ok(guard) => Ok(Running { epmd, beam, guard }),
            Err(error) => Err(abandon(&mut [&mut beam, &mut epmd], error)),
        }
    }

    /// A shell that waits on a pipe of ours. The system closes the pipe when we end, however we end;
    /// then it ends the node and its epmd. A death signal would not do: it is bound to the thread that
    /// started the child.
    fn spawn_guard(&self, beam: u32, epmd: u32) -> io::Result<Child> {
        let script = "
            read -r _
            ours() { tr '\\0' ' ' <\"/proc/$1/cmdline\" 2>/dev/null | grep -qF -e \"$2\"; }
            ours \"$1\" \"$3\" && kill -TERM \"$1\"
            n=0
            while ours \"$1\" \"$3\" && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
            ours \"$1\" \"$3\" && kill -KILL \"$1\"
            ours \"$2\" \"-port $4\" && kill -KILL \"$2\"
        ";
        let (name, port) = (&self.identity.name, self.identity.epmd.to_string());
        Command::new("/bin/sh")
            .args([
                "-c",
                script,
                "snodo-node-guard",
                &beam.to_string(),
                &epmd.to_string(),
                name,
                &port,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
    }

    /// Asked by connecting, not by `rabbitmqctl`, which costs half a second of CPU a call.
    async fn wait_ready(&mut self) -> Result<(), NodeError> {
        let deadline = Instant::now() + self.options.ready_within;
        let endpoint = self.endpoint();
        loop {
            if let Some(status) = self.ended() {
                return Err(self.not_ready(format!("it ended with {status}")));
            }
            let answer = self.answers(&endpoint).await;
            match answer {
                Ok(()) => return Ok(()),
                Err(cause) if Instant::now() >= deadline => {
                    self.kill();
                    let waited = self.options.ready_within;
                    return Err(self.not_ready(format!("no answer in {waited:?} ({cause})")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn ended(&mut self) -> Option<String> {
        let running = self.running.as_mut()?;
        match running.beam.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    async fn answers(&self, endpoint: &Endpoint) -> Result<(), String> {
        for port in [self.identity.management, self.identity.amqp] {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| e.to_string())?;
        }
        let connection = endpoint.dial(0, "ready").await.map_err(|error| error.to_string())?;
        close(&connection, "ready").await;
        Ok(())
    }

    fn not_ready(&self, cause: String) -> NodeError {
        NodeError::NotReady { cause, log: self.folder.join("log") }
    }
}

impl Drop for PrivateNode {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Identity {
    fn load_or_new(folder: &Path) -> Result<Self, NodeError> {
        let path = folder.join("identity.json");
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| unusable(&path, error.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::new().map_err(|cause| unusable(folder, cause))
            }
            Err(error) => Err(unusable(&path, error)),
        }
    }

    fn new() -> io::Result<Self> {
        Ok(Self {
            name: format!("snodo-{}@localhost", random::hex(5)?),
            user: "snodo".to_owned(),
            password: random::hex(24)?,
            amqp: 0,
            management: 0,
            distribution: 0,
            epmd: 0,
        })
    }

    fn take_free_ports(&mut self) {
        let ports = [&mut self.amqp, &mut self.management, &mut self.distribution, &mut self.epmd];
        // Held until all four are chosen, so that they differ.
        let mut held = Vec::new();
        for port in ports {
            if let Some((free, listener)) = free_port(*port) {
                *port = free;
                held.push(listener);
            }
        }
    }
}

/// The wanted port if it can be had, else another.
fn free_port(wanted: u16) -> Option<(u16, TcpListener)> {
    let bind = |port| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some((port, listener))
    };
    if wanted != 0
        && let Some(bound) = bind(wanted)
    {
        return Some(bound);
    }
    let start = random::hex(2).ok().and_then(|hex| u16::from_str_radix(&hex, 16).ok()).unwrap_or(0);
    let count = PORTS.end - PORTS.start;
    (0..count).find_map(|step| bind(PORTS.start + (start % count + step) % count))
}

fn find_server() -> Result<PathBuf, NodeError> {
    SERVERS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or(NodeError::NotInstalled)
}

fn unusable(path: &Path, cause: io::Error) -> NodeError {
    NodeError::Folder { path: path.to_owned(), cause }
}

fn lock(folder: &Path) -> Result<File, NodeError> {
    let path = folder.join("node.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|cause| unusable(&path, cause))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim().to_owned();
            return Err(NodeError::InUse { folder: folder.to_owned(), holder });
        }
        Err(TryLockError::Error(cause)) => return Err(unusable(&path, cause)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|cause| unusable(&path, cause))?;
    Ok(file)
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// In its own process group: an interrupt at the terminal is ours to pass on.
fn detached<'a>(command: &'a mut Command, output: &File) -> io::Result<&'a mut Command> {
    Ok(command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0))
}

fn abandon(children: &mut [&mut Child], error: io::Error) -> io::Error {
    for child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
    error
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // An error means that it is gone already.
        let _ = kill_process(pid, signal);
    }
}
