//! Documents: posted over HTTP until they are durable, beside files of the same size that are written and
//! synced by nobody's help.
//!
//! Invariant: both sides end with as many files of as many bytes on the same disk.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use snodo_tests::{
    bench_house as house,
    bus::BusProcess,
    client::{Client, post_document},
};
use tokio::task::JoinSet;

use crate::{
    Failure, Table,
    measure::{Measured, cpu_of},
};

/// At once, which is what one party may.
const CLIENTS: u64 = 8;
/// Of each client.
const DOCUMENTS: u64 = 40;
const BYTES: usize = 1 << 20;

/// Bytes that no other document has.
fn document(client: u64, number: u64) -> Vec<u8> {
    let mut bytes = vec![b'.'; BYTES];
    let head = format!("{client}/{number}\n");
    bytes[..head.len()].copy_from_slice(head.as_bytes());
    bytes
}

/// Measures both, and adds the run.
pub(crate) fn run(folder: &Path, table: &mut Table) -> Result<(), Failure> {
    let plain = plain_files(&folder.join("files"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let measured = runtime.block_on(posted(&folder.join("documents")))?;
    table.add("documents", &measured, Some(&plain));
    Ok(())
}

/// Files in their place only when they are whole and durable, by as many threads as there are clients.
fn plain_files(folder: &Path) -> Result<Measured, Failure> {
    fs::create_dir_all(folder)?;
    let begun = Instant::now();
    let write = |client: u64| -> std::io::Result<()> {
        for number in 0..DOCUMENTS {
            let (hidden, name) = (format!(".{client}-{number}"), format!("{client}-{number}"));
            let mut file = File::create(folder.join(&hidden))?;
            file.write_all(&document(client, number))?;
            file.sync_all()?;
            fs::rename(folder.join(hidden), folder.join(name))?;
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..CLIENTS).map(|client| scope.spawn(move || write(client))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(written) => written.map_err(Failure::from),
            Err(_) => Err("a thread that writes files has panicked".into()),
        })
    })?;
    Ok(measured(begun.elapsed(), Duration::ZERO))
}

async fn posted(folder: &Path) -> Result<Measured, Failure> {
    let house = house::write(folder, false)?;
    let mut bus = BusProcess::spawn(&house, &[("SNODO_LOG", "warn")])?;
    bus.ready(Duration::from_mins(1)).await?;
    let pid = bus.pid().ok_or("it ended")?;
    let (cpu, begun) = (cpu_of(pid)?, Instant::now());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let mut connection = Client::new(house.http);
        clients.spawn(async move {
            for number in 0..DOCUMENTS {
                let bytes = document(client, number);
                let name = format!("{client}-{number}.txt");
                let request = post_document(house::TOKEN, &name, "text/plain", &bytes);
                let answer = connection.send(&request).await?;
                if answer.status != 201 {
                    return Err(format!("a document was answered {}", answer.status).into());
                }
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    let (lasted, cpu) = (begun.elapsed(), cpu_of(pid)?.saturating_sub(cpu));
    bus.terminate().await?;
    Ok(measured(lasted, cpu))
}

fn measured(lasted: Duration, cpu: Duration) -> Measured {
    Measured {
        messages: CLIENTS * DOCUMENTS,
        seconds: lasted.as_secs_f64(),
        cpu_seconds: cpu.as_secs_f64(),
        stages: json!({ "bytes_each": BYTES, "clients": CLIENTS }),
    }
}
