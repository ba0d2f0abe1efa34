//! PDND, ANPR and INPS: authorities that answer only what is asked as the law and ModI want it.
//!
//! Invariant: every rule is checked here anew, from the bytes that came, with nothing of the adapter's
//! code; a question that breaks one is refused, counted, and its rule noted for the tests.

pub mod anpr;
pub mod inps;
pub mod jws;
mod modi;
pub mod people;
mod token;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use self::{
    jws::{Key, Public},
    people::Register,
};
use crate::{
    region::behave,
    script::{Behaviour, Script},
    serve,
};

/// Who may ask, for what, and about whom there is something to know: plain data.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct World {
    /// The clients at PDND.
    pub clients: Vec<ClientEntry>,
    /// The purposes at PDND.
    pub purposes: Vec<Purpose>,
    /// The register of residents.
    pub register: Register,
    /// The indicators of families, at INPS.
    pub indicators: Vec<inps::Indicator>,
    /// How many questions a day a service takes; as many as you like, where none is said.
    pub thresholds: BTreeMap<String, u64>,
    /// Whether services want AUDIT_REST_01 alone: an evidence that no voucher is bound to.
    pub unbound: bool,
}

/// A client at PDND with one key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientEntry {
    /// Its id.
    pub id: String,
    /// The id of its key.
    pub kid: String,
    /// The public half of its key.
    pub key: Public,
}

/// A purpose at PDND: one client, one e-service.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Purpose {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub client: String,
    /// `C021`.
    pub service: String,
    /// Whether it is approved and not suspended.
    #[serde(default = "yes")]
    pub active: bool,
}

fn yes() -> bool {
    true
}

/// A question that was let in.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// `C021`.
    pub service: String,
    /// The purpose, as PDND knows it.
    pub purpose: String,
    /// The body.
    pub body: Value,
    /// Its very bytes.
    pub bytes: Vec<u8>,
    /// Who asked: the claims of the evidence.
    pub evidence: Value,
    /// The status of the answer.
    pub status: u16,
    /// Whether the answer was the stored one.
    pub repeated: bool,
    /// The headers that were signed, and the signed tokens, as they came: for another judge.
    pub headers: BTreeMap<String, String>,
}

/// A question, or a request for a voucher, that was refused for the rule that it broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `token` or `C021`.
    pub door: String,
    /// The rule.
    pub rule: &'static str,
}

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) asked: Vec<Asked>,
    pub(crate) refused: Vec<Refused>,
    /// The client assertions for which vouchers were given.
    pub(crate) assertions: Vec<String>,
    /// Tokens that were seen, by issuer and id.
    pub(crate) seen: BTreeSet<(String, String)>,
    pub(crate) numbers: anpr::Numbers,
    pub(crate) counted: BTreeMap<String, u64>,
    pub(crate) transactions: u64,
}

/// What both doors share.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) base: String,
    pub(crate) key: Key,
    pub(crate) pdnd: Script,
    pub(crate) services: Script,
    pub(crate) state: Mutex<State>,
}

impl House {
    /// A panic elsewhere leaves whole entries.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a refusal and says which rule it was for.
    pub(crate) fn refuse(&self, door: &str, rule: &'static str) {
        self.state().refused.push(Refused { door: door.to_owned(), rule });
    }
}

/// The authorities, running. They end when they are stopped or dropped.
#[derive(Debug)]
pub struct Authority {
    /// Where they listen.
    pub addr: SocketAddr,
    house: Arc<House>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl Authority {
    /// Starts them on a free port of this machine.
    pub async fn start(world: World) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), world).await
    }

    /// Starts them on `addr`: authorities that come back where they were, and remember nothing.
    pub async fn start_at(addr: SocketAddr, world: World) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let key = Key::generate().ok_or_else(|| io::Error::other("no key can be made"))?;
        let state = Mutex::new(State { world, ..State::default() });
        let script = || Script::new((0, 0), 1);
        let base = format!("http://{addr}");
        let house = Arc::new(House { base, key, pdnd: script(), services: script(), state });
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, router(Arc::clone(&house)), stopped));
        Ok(Self { addr, house, stop: Some(stop), served: Some(served) })
    }

    /// `http://127.0.0.1:…`.
    pub fn base(&self) -> String {
        self.house.base.clone()
    }

    /// How the token service of PDND behaves.
    pub fn pdnd(&self) -> &Script {
        &self.house.pdnd
    }

    /// How the services behave.
    pub fn services(&self) -> &Script {
        &self.house.services
    }

    /// Every question that was let in.
    pub fn asked(&self) -> Vec<Asked> {
        self.house.state().asked.clone()
    }

    /// Every refusal.
    pub fn refused(&self) -> Vec<Refused> {
        self.house.state().refused.clone()
    }

    /// How many vouchers were given.
    pub fn vouchers(&self) -> usize {
        self.house.state().assertions.len()
    }

    /// The client assertions for which they were given, as they came: for another judge.
    pub fn assertions(&self) -> Vec<String> {
        self.house.state().assertions.clone()
    }

    /// How many questions each service answered anew: what was asked, repeats left out.
    pub fn questions(&self) -> BTreeMap<String, u64> {
        let mut questions = BTreeMap::new();
        for asked in self.house.state().asked.iter().filter(|asked| !asked.repeated) {
            *questions.entry(asked.service.clone()).or_default() += 1;
        }
        questions
    }

    /// Suspends a purpose, or takes it up again.
    pub fn activate(&self, purpose: &str, active: bool) {
        let mut state = self.house.state();
        for known in state.world.purposes.iter_mut().filter(|known| known.id == purpose) {
            known.active = active;
        }
    }

    /// From now on a service takes so many questions a day, those of today counted.
    pub fn threshold(&self, service: &str, most: u64) {
        self.house.state().world.thresholds.insert(service.to_owned(), most);
    }

    /// Stops them at once, connections included.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            // A panic of the sandbox has been reported where it happened.
            let _ = served.await;
        }
    }
}

fn router(house: Arc<House>) -> Router {
    let below = "/govway/rest/in/MinInternoPortaANPR-PDND/{service}/v1";
    Router::new()
        .route("/token.oauth2", post(token))
        .route(&format!("{below}/anpr-service-e002"), post(ask))
        .route(&format!("{below}/status"), get(status))
        .route(inps::PATH, post(ask_inps))
        .with_state(house)
}

async fn token(Shared(house): Shared<Arc<House>>, headers: HeaderMap, body: Bytes) -> Response {
    let (delay, behaviour) = house.pdnd.take();
    tokio::time::sleep(delay).await;
    let good = good(&behaviour, || token::answer(&house, &headers, &body));
    behave(behaviour, good).await
}

async fn ask(
    Shared(house): Shared<Arc<House>>,
    Path(service): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    behind_govway(&house, || anpr::answer(&house, &service, &headers, &body)).await
}

async fn ask_inps(Shared(house): Shared<Arc<House>>, headers: HeaderMap, body: Bytes) -> Response {
    behind_govway(&house, || inps::answer(&house, &headers, &body)).await
}

/// A service behaves as its script says, and every answer has the id of its call.
async fn behind_govway(house: &House, answer: impl FnOnce() -> Response) -> Response {
    let (delay, behaviour) = house.services.take();
    tokio::time::sleep(delay).await;
    let good = good(&behaviour, answer);
    let mut response = behave(behaviour, good).await;
    if let Ok(id) = transaction(house).parse() {
        response.headers_mut().insert("govway-transaction-id", id);
    }
    response
}

async fn status(Shared(house): Shared<Arc<House>>) -> Response {
    let (_, behaviour) = house.services.take();
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    behave(behaviour, (kind, json!({}).to_string()).into_response()).await
}

/// What a good authority answers; nothing is done where the script says so.
fn good(behaviour: &Behaviour, answer: impl FnOnce() -> Response) -> Response {
    if behaviour.acts() { answer() } else { StatusCode::NO_CONTENT.into_response() }
}

/// An id as GovWay gives to each call.
fn transaction(house: &House) -> String {
    let mut state = house.state();
    state.transactions += 1;
    format!("2ee9edf2-61ed-11ee-bdb9-{:012x}", state.transactions)
}

/// The headers of a question that another judge needs.
pub(crate) fn told(headers: &HeaderMap) -> BTreeMap<String, String> {
    let wanted = ["digest", "content-type", "agid-jwt-trackingevidence", "agid-jwt-signature"];
    let told = wanted.into_iter().filter_map(|name| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name.to_owned(), value.to_owned()))
    });
    told.collect()
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}
