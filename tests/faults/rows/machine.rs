//! The machine is short of something, or says stop: F43, F45 to F48.
//!
//! Invariant: what needs rights that this user does not have is skipped in words, never done by halves.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use snodo_tests::{
    bus::BusProcess,
    chaos::{Failure, drive::Load, house::TOKEN},
    client::{Client, get},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::RATE;
use crate::fault::Fault;

const SOON: Duration = Duration::from_secs(30);

/// F43: nothing more is taken, what is under way is finished, exit 0, nothing to void at the next start.
pub(super) async fn told_to_stop(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(RATE * 5).await?;
    for _ in 0..2 {
        fault.stage.wait_open(1, SOON).await?;
        let mut bus = fault.stage.bus.take().ok_or("no bus runs")?;
        let begun = Instant::now();
        fault.did("SIGTERM under load");
        let status = timeout(SOON, bus.terminate()).await;
        let took = begun.elapsed();
        fault.did(format!("it took {:.1} s", took.as_secs_f64()));
        fault.see("it ends with 0 within 25 s", matches!(status, Ok(Ok(s)) if s.success()));
        fault.start_bus(false).await?;
    }
    let unclean = fault.logged("no clean end");
    fault.see("the next start finds a clean end", unclean == 0);
    let before = fault.ended().await;
    fault
        .see_within("and goes on", SOON, async |fault| Ok(fault.ended().await > before + 20))
        .await?;
    fault.finish().await
}

/// A folder of the memory controller (version 1), and what is in it ends with it.
struct Cage(PathBuf);

impl Cage {
    fn new(bytes: u64) -> io::Result<Self> {
        let name = format!("snodo-faults-{}", std::process::id());
        let cage = Self(Path::new("/sys/fs/cgroup/memory").join(name));
        fs::create_dir_all(&cage.0)?;
        fs::write(cage.0.join("memory.limit_in_bytes"), bytes.to_string())?;
        Ok(cage)
    }

    fn wrapper(&self) -> Vec<String> {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec()
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // Empty once its process has ended; what cannot be removed is an empty folder.
        let _ = fs::remove_dir(&self.0);
    }
}

/// F45: with 200 MB, giant inputs are refused and the bus lives.
pub(super) async fn short_of_memory(fault: &mut Fault<'_>) -> Result<(), Failure> {
    const LIMIT: u64 = 200 * 1024 * 1024;
    let cage = match Cage::new(LIMIT) {
        Ok(cage) => Some(cage),
        Err(error) => {
            fault.did(format!("no memory cgroup of version 1 ({error}): the peak is read instead"));
            None
        }
    };
    if let Some(cage) = &cage {
        fault.did("started the bus in a memory cgroup of 200 MiB");
        fault.stage.wrapper = cage.wrapper();
    }
    fault.begin(RATE / 2).await?;
    let pid = fault.pid();
    fault.did("40 clients posted endless bodies, deep JSON and bodies at the limit for 20 s");
    let address = fault.stage.house.http;
    let ends = Instant::now() + Duration::from_secs(20);
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..40_u32 {
        clients.spawn(async move {
            let mut refused = 0_u64;
            while Instant::now() < ends {
                let answer = giant(address, n % 4).await;
                refused += u64::from(answer.is_ok_and(|status| (400..=503).contains(&status)));
            }
            refused
        });
    }
    let mut refused = 0;
    while let Some(of_one) = clients.join_next().await {
        refused += of_one?;
    }
    fault.did(format!("{refused} of them were refused"));
    fault.see("they are refused", refused > 40);
    let alive = fault.pid();
    let highest = fault.stage.bus.as_ref().and_then(BusProcess::memory).map_or(0, |(_, peak)| peak);
    fault.did(format!("its highest resident memory was {} MiB", highest >> 20));
    fault.see("the bus lives", pid.is_some() && alive == pid);
    fault.see("within 200 MiB", highest > 0 && highest <= LIMIT);
    let before = fault.ended().await;
    fault
        .see_within("and carries messages", SOON, async |fault| {
            Ok(fault.ended().await > before + 10)
        })
        .await?;
    fault.finish().await
}

/// Posts one giant of a kind; the status of the answer.
async fn giant(address: std::net::SocketAddr, kind: u32) -> io::Result<u16> {
    const PIECE: usize = 64 * 1024;
    let head = |rest: &str| {
        format!(
            "POST /v1/messages HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/cloudevents+json\r\n{rest}\r\n\r\n"
        )
    };
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let sent = match kind {
            0 => {
                stream.write_all(head("Transfer-Encoding: chunked").as_bytes()).await?;
                let piece =
                    [format!("{PIECE:x}\r\n").as_bytes(), &vec![b' '; PIECE], b"\r\n"].concat();
                let mut sent = Ok(());
                for _ in 0..1_000 {
                    sent = stream.write_all(&piece).await;
                    if sent.is_err() {
                        break;
                    }
                }
                sent
            }
            1 => {
                let body = vec![b'['; (1 << 20) - 1];
                let head = head(&format!("Content-Length: {}", body.len()));
                stream.write_all(&[head.as_bytes(), &body].concat()).await
            }
            2 => {
                let body = format!("{{\"data\":[{}0]}}", "\"xy\",".repeat(200_000));
                let head = head(&format!("Content-Length: {}", body.len()));
                stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await
            }
            _ => stream.write_all(head("Content-Length: 10737418240").as_bytes()).await,
        };
        // Refused while it still writes: the answer may be there all the same.
        drop(sent);
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer[..read]).into_owned();
        Ok(text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
    };
    timeout(Duration::from_secs(20), exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// F46: with 128 descriptors and 300 idle connections the bus lives, and goes on when they are gone.
pub(super) async fn short_of_files(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.did("started the bus with 128 file descriptors");
    fault.stage.wrapper = ["prlimit", "--nofile=128", "--"].map(str::to_owned).to_vec();
    fault.begin(RATE).await?;
    let pid = fault.pid();
    fault.did("opened 300 idle connections, and kept them for ten seconds");
    let mut idle = Vec::new();
    for _ in 0..300 {
        // Where nobody accepts, the system soon lets nobody wait any more.
        let patience = Duration::from_millis(50);
        if let Ok(Ok(stream)) = timeout(patience, TcpStream::connect(fault.stage.house.http)).await
        {
            idle.push(stream);
        }
    }
    let before = fault.stage.books.rows().await?.accepted;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after = fault.stage.books.rows().await?.accepted;
    fault.see("connections that stand go on to be served", after != before);
    fault.see("many were opened", idle.len() > 100);
    drop(idle);
    fault
        .see_within("new ones are served when the idle ones are gone", SOON, async |fault| {
            let mut client = Client::new(fault.stage.house.http);
            Ok(client.send(&get("/health/live", "")).await.is_ok_and(|live| live.status == 200))
        })
        .await?;
    let alive = fault.pid();
    fault.see("the bus lives", pid.is_some() && alive == pid);
    let panicked = fault.logged("SN0902");
    fault.see("nothing panicked", panicked == 0);
    let before = fault.ended().await;
    fault
        .see_within("and carries messages", SOON, async |fault| {
            Ok(fault.ended().await > before + 20)
        })
        .await?;
    fault.finish().await
}

/// A small disk in memory. Goes with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, kib: u32) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let size = format!("size={kib}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(path).output()?;
        if mounted.status.success() {
            return Ok(Self(path.to_owned()));
        }
        Err(io::Error::other(String::from_utf8_lossy(&mounted.stderr).trim().to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still writes there is on their way out.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// F47: lines of the log are dropped and counted; messages are not touched.
pub(super) async fn full_disk(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let folder = fault.stage.house.path.join("logs");
    let disk = match SmallDisk::mount(&folder, 64) {
        Ok(disk) => disk,
        Err(error) => {
            let why = format!("a small disk cannot be mounted, which needs root: {error}");
            fault.report.skipped = Some(why);
            return Ok(());
        }
    };
    fault.did("had the bus log everything onto a disk of 64 KiB");
    let log = format!("exec \"$@\" 2>>{}", folder.join("bus.log").display());
    fault.stage.wrapper = ["sh", "-c", &log, "sh"].map(str::to_owned).to_vec();
    fault.environment.push(("SNODO_LOG", "debug".to_owned()));
    fault.begin(RATE).await?;
    let pid = fault.pid();
    fault
        .see_within("lines that could not be written are counted", SOON, async |fault| {
            Ok(fault.figure("snodo_log_dropped_total", &[]).await > 0)
        })
        .await?;
    let left = fs::metadata(folder.join("bus.log"))?.len();
    fault.did(format!("{left} bytes of log fitted"));
    fault.see_accepting("with a full disk of logs", Duration::from_secs(5)).await?;
    let before = fault.ended().await;
    fault
        .see_within("messages are carried", SOON, async |fault| {
            Ok(fault.ended().await > before + 20)
        })
        .await?;
    let alive = fault.pid();
    fault.see("the bus lives", pid.is_some() && alive == pid);
    fault.finish().await?;
    drop(disk);
    Ok(())
}

/// F48: the wall clock jumps an hour ahead and back, and a year ahead and back.
pub(super) async fn clock_jumps(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let file = fault.stage.house.path.join("clock");
    let put = |seconds: i64| fs::write(&file, seconds.to_string());
    put(0)?;
    // Not by libfaketime: the bus reads its clocks past the C library.
    fault.environment.push(("SNODO_CLOCK_OFF", file.display().to_string()));
    fault.begin(RATE).await?;
    for (seconds, word) in [
        (3_600, "an hour ahead"),
        (-3_600, "an hour back"),
        (31_536_000, "a year ahead"),
        (0, "right"),
    ] {
        fault.did(format!("set the wall clock {word}"));
        put(seconds)?;
        let before = fault.ended().await;
        fault.see_accepting(&format!("with the clock {word}"), Duration::from_secs(6)).await?;
        fault
            .see_within("and carried", SOON, async |fault| Ok(fault.ended().await > before + 20))
            .await?;
    }
    let (expired, parked) = (fault.moved("expire").await, fault.owed("parked").await);
    fault.see("no lease ended by it", expired == 0);
    fault.see("nothing was given up by it", parked == 0);
    fault.stage.rest().await;
    fault.stage.drive(Load::of(RATE))?;
    let (code, said) = fault.snodo(&["ledger", "verify"]).await?;
    fault.see(format!("the evidence keeps its order ({})", said.trim()), code == 0);
    fault.report.not_built = vec![
        "tokens with times, and their reason clock_skew".to_owned(),
        "snodo_clock_offset_seconds".to_owned(),
    ];
    fault.finish().await
}
