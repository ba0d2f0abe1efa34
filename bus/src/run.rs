//! `snodo run`: puts the checked house together and runs it until it is told to stop.
//!
//! Invariant: nothing is taken into custody before the ledger is open under its lock; what is open when
//! the bus stops is finished or left to the next start.

use std::sync::Arc;

use snodo_core::{adapter::Instances, admission, json::JsonLimits, route::Routes};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    edge::{
        self, Desk, EdgeLimits, admit::Gate, auth::Callers, health::Health, room::Room,
    },
    engine::{Engine, party_subscriber},
    house::Checked,
    ledger::Ledger,
    metrics::{Labels, Metrics},
    operators::{Office, socket::Socket},
    settings::Settings,
};

/// The names that metrics may use: those of the configuration.
pub fn labels(checked: &Checked) -> Labels {
    let routes = checked.routes.iter().map(|route| route.name.clone());
    let parties: Vec<String> =
        checked.parties.iter().map(|party| party_subscriber(&party.id).to_string()).collect();
    let instances = checked.instances.iter().map(|(name, _)| name.to_owned());
    Labels {
        subscribers: routes.chain(parties.iter().cloned()).collect(),
        sources: parties.iter().cloned().chain(instances).collect(),
        targets: targets(&checked.instances),
        codes: refusals(),
    }
}

fn targets(instances: &Instances) -> Vec<String> {
    let of = |name: &str, operation: &str| format!("{name}.{operation}");
    instances
        .iter()
        .flat_map(|(name, port)| {
            port.operations().into_iter().map(move |operation| of(name, &operation.name))
        })
        .collect()
}

/// The codes with which a request may be refused.
fn refusals() -> Vec<String> {
    (601..=620).map(|n| format!("SN0{n}")).chain(["SN0902".to_owned()]).collect()
}

/// The bound addresses of a bus.
#[derive(Debug)]
pub struct Doors {
    /// For parties.
    pub parties: TcpListener,
    /// For monitoring.
    pub monitors: TcpListener,
    /// For operators.
    pub operators: Socket,
}

impl Doors {
    /// Binds what the settings name. The caller holds the ledger's lock.
    pub async fn bind(settings: &Settings) -> Result<Self, String> {
        let bind = async |address: std::net::SocketAddr| {
            let bound = TcpListener::bind(address).await;
            bound.map_err(|error| format!("SN0450: {address} cannot be listened on: {error}"))
        };
        let socket = settings.socket();
        let operators = Socket::bind(&socket)
            .map_err(|error| format!("SN0450: {} cannot be made: {error}", socket.display()))?;
        Ok(Self {
            parties: bind(settings.http).await?,
            monitors: bind(settings.metrics).await?,
            operators,
        })
    }

    /// Serves until `stop`.
    pub async fn serve(self, desk: Arc<Desk>, office: Arc<Office>, stop: CancellationToken) {
        let edge = edge::serve(Arc::clone(&desk), self.parties, self.monitors, stop.clone());
        let watch = watch_room(desk, stop.clone());
        tokio::join!(edge, watch, self.operators.serve(office, stop));
    }
}

/// Reads every second how full the routes are.
async fn watch_room(desk: Arc<Desk>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let state = desk.room.refresh(&*desk.ledger).await.map_err(|error| error.to_string());
        desk.health.set("ledger", state, desk.clock.now());
    }
}

/// The edge's desk of a checked house.
pub fn desk(
    checked: &Checked,
    engine: Arc<Engine>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Desk {
    let body = checked.settings.limits.body;
    let components = &["broker", "ledger", "routes"];
    Desk {
        engine,
        ledger,
        gate: Gate {
            schemas: Arc::clone(&checked.schemas),
            limits: admission::Limits { body, json: JsonLimits::default() },
        },
        callers: Callers::of(&checked.parties),
        room: Arc::new(Room::new(checked.settings.limits.waiting_per_route)),
        health: Arc::new(Health::new(components, Arc::clone(&metrics), clock.now())),
        metrics,
        limits: EdgeLimits { body, ..EdgeLimits::default() },
        clock,
    }
}

/// Resolves at SIGTERM or SIGINT.
pub async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Runs the bus until a signal.
pub async fn run(checked: Checked) -> Result<(), String> {
    let _ = checked;
    Err("not assembled".to_owned())
}

/// The office of operators of a house where no bus runs: the ledger is opened under its lock.
pub async fn office(checked: &Checked) -> Result<Office, String> {
    let _ = Arc::<Routes>::clone(&checked.routes);
    Err("not assembled".to_owned())
}
