//! Makes the broker hold what is planned, and tells what differs.
//!
//! Invariant: declarations are made here only, on a connection of their own that is thrown away: some
//! refusals cost the whole connection.

use std::collections::{BTreeMap, BTreeSet};

use lapin::{
    Channel, Connection, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::{Value, json};
use snodo_core::topology::{
    Arguments, Binding, Exchange, Finding, Named, Permission, Queue, Topology, diff,
};

use super::{
    management::{Management, ManagementError, segment},
    session::{DialError, Endpoint, Secret, close},
};

/// Why the topology could not be read or applied.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No management interface.
    #[error(transparent)]
    Management(#[from] ManagementError),
    /// The broker holds something else under this name.
    #[error(
        "SN0802 {object} is there with other properties: {cause}; \
         `snodo topology verify` lists them all; the broker cannot change them in place"
    )]
    Differs {
        /// What was declared.
        object: String,
        /// What the broker says.
        cause: lapin::Error,
    },
    /// The broker refused a declaration.
    #[error("SN0818 the broker refused to declare {object}: {cause}")]
    Declare {
        /// What was declared.
        object: String,
        /// What the broker says.
        cause: lapin::Error,
    },
    /// A user is to be made and nobody said with which password.
    #[error("SN0819 user `{0}` has no password: run `snodo topology apply`, which makes one")]
    NoPassword(String),
}

/// What the broker holds, of all vhosts that the plan names.
pub async fn found(endpoint: &Endpoint, planned: &Topology) -> Result<Topology, TopologyError> {
    let management = Management::of(endpoint)?;
    let mut found = Topology {
        vhosts: names(&management.get("/api/vhosts").await?, "name"),
        users: names(&management.get("/api/users").await?, "name"),
        permissions: permissions(&management.get("/api/permissions").await?),
        ..Topology::default()
    };
    for vhost in planned.vhosts.intersection(&found.vhosts.clone()) {
        let read = |kind: &str| format!("/api/{kind}/{}", segment(vhost));
        found.exchanges.extend(exchanges(&management.get(&read("exchanges")).await?));
        found.queues.extend(queues(&management.get(&read("queues")).await?));
        found.bindings.extend(bindings(&management.get(&read("bindings")).await?));
    }
    Ok(found)
}

/// What differs from the plan.
pub async fn verify(
    endpoint: &Endpoint,
    planned: &Topology,
) -> Result<Vec<Finding>, TopologyError> {
    Ok(diff(planned, &found(endpoint, planned).await?))
}

/// Declares what is planned. Nothing is deleted or changed; doing it again does nothing.
pub async fn apply(
    endpoint: &Endpoint,
    planned: &Topology,
    passwords: &BTreeMap<String, Secret>,
) -> Result<(), TopologyError> {
    apply_access(endpoint, planned, passwords).await?;
    for vhost in &planned.vhosts {
        let connection = endpoint.in_vhost(vhost).dial(0, "topology").await?;
        let declared = declare(&connection, planned, vhost).await;
        close(&connection, "declared").await;
        declared?;
    }
    Ok(())
}

/// Vhosts, users and rights; without a management interface only where there is nothing to do.
async fn apply_access(
    endpoint: &Endpoint,
    planned: &Topology,
    passwords: &BTreeMap<String, Secret>,
) -> Result<(), TopologyError> {
    let vhosts: Vec<_> = planned.vhosts.iter().filter(|vhost| **vhost != endpoint.vhost).collect();
    let users: Vec<_> = planned.users.iter().filter(|user| **user != endpoint.user).collect();
    if vhosts.is_empty() && users.is_empty() && planned.permissions.is_empty() {
        return Ok(());
    }
    let management = Management::of(endpoint)?;
    for vhost in vhosts {
        management.put(&format!("/api/vhosts/{}", segment(vhost)), &json!({})).await?;
    }
    for user in users {
        apply_user(&management, user, passwords).await?;
    }
    for ((vhost, user), permission) in &planned.permissions {
        let path = format!("/api/permissions/{}/{}", segment(vhost), segment(user));
        management.put(&path, &json!(permission)).await?;
    }
    Ok(())
}

async fn apply_user(
    management: &Management,
    user: &str,
    passwords: &BTreeMap<String, Secret>,
) -> Result<(), TopologyError> {
    let secret = passwords.get(user).ok_or_else(|| TopologyError::NoPassword(user.to_owned()))?;
    let password = secret.read().await.map_err(DialError::Password)?;
    let body = json!({ "password": password, "tags": "" });
    Ok(management.put(&format!("/api/users/{}", segment(user)), &body).await?)
}

async fn declare(
    connection: &Connection,
    planned: &Topology,
    vhost: &str,
) -> Result<(), TopologyError> {
    let channel = open(connection, vhost).await?;
    for (name, exchange) in planned.exchanges.iter().filter(|(name, _)| name.vhost == vhost) {
        let declared = declare_exchange(&channel, name, exchange).await;
        declared.map_err(|cause| refused(format!("exchange {name}"), cause))?;
    }
    for (name, queue) in planned.queues.iter().filter(|(name, _)| name.vhost == vhost) {
        let declared = declare_queue(&channel, name, queue).await;
        declared.map_err(|cause| refused(format!("queue {name}"), cause))?;
    }
    for binding in planned.bindings.iter().filter(|binding| binding.vhost == vhost) {
        let bound = bind(&channel, binding).await;
        bound
            .map_err(|cause| refused(format!("the binding of queue `{}`", binding.queue), cause))?;
    }
    Ok(())
}

async fn open(connection: &Connection, vhost: &str) -> Result<Channel, TopologyError> {
    let channel = connection.create_channel().await;
    channel.map_err(|cause| refused(format!("anything in vhost `{vhost}`"), cause))
}

fn refused(object: String, cause: lapin::Error) -> TopologyError {
    match cause.kind() {
        ErrorKind::ProtocolError(error) if error.get_id() == 406 => {
            TopologyError::Differs { object, cause }
        }
        _ => TopologyError::Declare { object, cause },
    }
}

async fn declare_exchange(
    channel: &Channel,
    name: &Named,
    exchange: &Exchange,
) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: exchange.durable, ..Default::default() };
    let kind = match exchange.kind.as_str() {
        "direct" => ExchangeKind::Direct,
        "fanout" => ExchangeKind::Fanout,
        "topic" => ExchangeKind::Topic,
        "headers" => ExchangeKind::Headers,
        other => ExchangeKind::Custom(other.to_owned()),
    };
    channel.exchange_declare(short(&name.name), kind, options, table(&exchange.arguments)).await
}

async fn declare_queue(channel: &Channel, name: &Named, queue: &Queue) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: queue.durable, ..Default::default() };
    channel.queue_declare(short(&name.name), options, table(&queue.arguments)).await.map(drop)
}

async fn bind(channel: &Channel, binding: &Binding) -> lapin::Result<()> {
    let Binding { exchange, queue, key, .. } = binding;
    let options = QueueBindOptions::default();
    channel
        .queue_bind(short(queue), short(exchange), short(key), options, FieldTable::default())
        .await
}

/// A name beyond what AMQP allows is cut, and refused or found to differ.
fn short(name: &str) -> ShortString {
    name[..name.floor_char_boundary(255)].into()
}

fn table(arguments: &Arguments) -> FieldTable {
    arguments.iter().fold(FieldTable::default(), |mut table, (name, value)| {
        let value = match value {
            Value::String(text) => AMQPValue::LongString(text.as_str().into()),
            Value::Bool(flag) => AMQPValue::Boolean(*flag),
            Value::Number(number) => AMQPValue::LongLongInt(number.as_i64().unwrap_or(i64::MAX)),
            other => AMQPValue::LongString(other.to_string().into()),
        };
        table.insert(short(name), value);
        table
    })
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn string(item: &Value, name: &str) -> String {
    item[name].as_str().unwrap_or_default().to_owned()
}

fn names(list: &Value, name: &str) -> BTreeSet<String> {
    items(list).map(|item| string(item, name)).collect()
}

fn permissions(list: &Value) -> BTreeMap<(String, String), Permission> {
    items(list)
        .map(|item| {
            let permission = Permission {
                configure: string(item, "configure"),
                write: string(item, "write"),
                read: string(item, "read"),
            };
            ((string(item, "vhost"), string(item, "user")), permission)
        })
        .collect()
}

fn named(item: &Value) -> Named {
    Named { vhost: string(item, "vhost"), name: string(item, "name") }
}

fn arguments(item: &Value) -> Arguments {
    let pairs = item["arguments"].as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn exchanges(list: &Value) -> BTreeMap<Named, Exchange> {
    items(list)
        .map(|item| {
            let exchange = Exchange {
                kind: string(item, "type"),
                durable: item["durable"] == true,
                arguments: arguments(item),
            };
            (named(item), exchange)
        })
        .collect()
}

/// A classic queue says so by its type only, not by an argument: put there, it can be compared.
fn queues(list: &Value) -> BTreeMap<Named, Queue> {
    items(list)
        .map(|item| {
            let mut arguments = arguments(item);
            if let Some(kind) = item["type"].as_str() {
                arguments.insert("x-queue-type".to_owned(), kind.into());
            }
            (named(item), Queue { durable: item["durable"] == true, arguments })
        })
        .collect()
}

fn bindings(list: &Value) -> BTreeSet<Binding> {
    items(list)
        .filter(|item| item["destination_type"] == "queue")
        .map(|item| Binding {
            vhost: string(item, "vhost"),
            exchange: string(item, "source"),
            queue: string(item, "destination"),
            key: string(item, "routing_key"),
        })
        .collect()
}
