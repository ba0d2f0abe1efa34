//! One private RabbitMQ node per test process, one vhost per test.
//!
//! Invariant: the node ends with the process; its folder is used again by the next, with nothing in it.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use serde_json::{Value, json};
use snodo::broker::{
    management::{Management, segment},
    node::{NodeError, NodeOptions, PrivateNode},
    session::{Endpoint, Secret},
};
use tokio::sync::OnceCell;

/// A start costs seconds of CPU: on a machine that others use too, a minute or more.
pub const START: Duration = Duration::from_mins(3);

static NODE: OnceCell<PrivateNode> = OnceCell::const_new();
static VHOSTS: AtomicU32 = AtomicU32::new(0);

/// The node that the tests of this process share. Do not harm it: for that, start your own.
pub async fn shared() -> &'static PrivateNode {
    NODE.get_or_init(start_shared).await
}

/// The first folder that no other test process uses.
async fn start_shared() -> PrivateNode {
    let folders =
        std::env::temp_dir().join(format!("snodo-tests-{}", rustix::process::getuid().as_raw()));
    for n in 0..16 {
        let options = NodeOptions { fresh: true, ready_within: START, ..NodeOptions::default() };
        match PrivateNode::start(&folders.join(format!("node-{n}")), options).await {
            Ok(node) => return node,
            Err(NodeError::InUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("sixteen test processes hold all folders below {}", folders.display());
}

/// What the configuration says under `broker:` for a node that is not the bus's own; the password's file
/// lies in `folder`.
pub fn settings(node: &PrivateNode, folder: &Path) -> io::Result<Value> {
    settings_of(&node.endpoint(), folder)
}

/// The same for a vhost of such a node.
pub fn settings_of(endpoint: &Endpoint, folder: &Path) -> io::Result<Value> {
    let Secret::Text(secret) = &endpoint.password else {
        return Err(io::Error::other("a private node has its password as text"));
    };
    let password = folder.join("broker.password");
    write_secret(&password, secret)?;
    let vhost = segment(&endpoint.vhost);
    let with_user = |node: &String| {
        format!("{}/{vhost}", node.replacen("amqp://", &format!("amqp://{}@", endpoint.user), 1))
    };
    let uris: Vec<String> = endpoint.nodes.iter().map(with_user).collect();
    let management = &endpoint.management;
    Ok(json!({ "uris": uris, "password": { "file": password }, "management": management }))
}

/// Writes a secret as secrets are kept: for this user alone.
pub fn write_secret(file: &Path, secret: &str) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    options.open(file)?.write_all(secret.as_bytes())
}

/// A new, empty vhost on the shared node, as its administrator.
pub async fn vhost() -> Endpoint {
    vhost_of(shared().await).await
}

/// A new, empty vhost on `node`.
pub async fn vhost_of(node: &PrivateNode) -> Endpoint {
    enter(node, &format!("test-{}", VHOSTS.fetch_add(1, Relaxed))).await
}

/// A vhost of `node`, made where it is not there, in which its administrator may do everything.
pub async fn enter(node: &PrivateNode, vhost: &str) -> Endpoint {
    let endpoint = node.endpoint().in_vhost(vhost);
    let management = Management::of(&endpoint).expect("a private node has one");
    let vhost = segment(&endpoint.vhost);
    let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    management.put(&format!("/api/vhosts/{vhost}"), &json!({})).await.expect("vhost");
    let permissions = format!("/api/permissions/{vhost}/{}", segment(&endpoint.user));
    management.put(&permissions, &all).await.expect("permissions");
    endpoint
}
