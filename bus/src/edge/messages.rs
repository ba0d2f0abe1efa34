//! `/v1/messages`: a message comes into custody; its sender or receiver asks what became of it.
//!
//! Invariant: the answer 202 is given after the commit; a refusal for content is recorded before it is
//! told.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::json;
use snodo_core::{
    admission::{Admitted as Arrived, Rejection},
    envelope::{IdempotencyKey, Incoming},
    ids::{Digest, MessageId},
    problem::Problem,
};

use super::{
    Admits, Desk,
    admit::{self, Gate, Turned},
    auth::{Allowance, Caller},
    body,
    problems::{AGAIN, Refusal, unanswered, untaken},
    story,
};
use crate::{
    clock::cpu_of_this_thread,
    engine::accept::{AcceptAnswer, Admitted},
    faults::{self, CrashPoint},
    ledger::Subscriber,
    metrics::{IngressResult, Metrics},
};

/// A body from here on is checked on a thread of its own.
const LARGE: usize = 16 << 10;
/// No id and no source in a query is longer.
const LONGEST: usize = 1024;

/// `POST /v1/messages`.
pub(super) async fn post(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let begun = desk.clock.uptime();
    let _under_way = UnderWay::begun(&desk.metrics);
    let answer = desk.take(request).await;
    // Refusals are counted where all of them pass, those of the door too.
    let taken = answer.as_ref().ok().and_then(|(result, _)| *result);
    desk.metrics.ingress_ended(taken, desk.clock.uptime().saturating_sub(begun));
    answer.map_or_else(IntoResponse::into_response, |(_, response)| response)
}

/// A request under way. Its client may go away, and the work on it is dropped: it is counted all the same.
struct UnderWay<'a>(&'a Metrics);

impl<'a> UnderWay<'a> {
    fn begun(metrics: &'a Metrics) -> Self {
        metrics.ingress_begun();
        Self(metrics)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.ingress_left();
    }
}

/// As what a message was taken, where it was not only checked, and the answer.
type Taken = (Option<IngressResult>, Response);

/// A message that is not taken.
struct Turn {
    refusal: Refusal,
    named: Option<(String, String)>,
    /// Whether it counts as received and rejected: its content was read.
    recorded: bool,
}

impl From<Box<Turned>> for Turn {
    fn from(turned: Box<Turned>) -> Self {
        let recorded = turned.rejection.is_recorded();
        Self { refusal: turned.rejection.into(), named: turned.named, recorded }
    }
}

impl Desk {
    async fn take(self: &Arc<Self>, request: Request) -> Result<Taken, Refusal> {
        let (parts, body) = request.into_parts();
        let admits = self.admits();
        let caller = admits.callers.identify(&parts.headers)?;
        let allowance = caller.spend(self.clock.uptime())?;
        self.has_room_on_disk()?;
        let only_checked = only_checked(parts.uri.query())?;
        let held = body::read(&parts.headers, body, &self.limits, &self.shares).await?;
        let body = &held.bytes;
        self.metrics.ingress_body(body.len());
        faults::crash(CrashPoint::Cp1);
        let judged = match self.judge(&admits, caller, &parts.headers, body).await {
            Ok(arrived) => self.with_documents(caller, arrived).await?,
            Err(turned) => Err(turned),
        };
        let arrived = match judged {
            Ok(arrived) => arrived,
            Err(turned) if only_checked || !turned.recorded => return Err(turned.refusal),
            Err(turned) => return Err(self.reject(caller, turned, body).await),
        };
        faults::crash(CrashPoint::Cp2);
        if only_checked {
            let response = self.checked(caller, &arrived).await?;
            return Ok((None, Allowance::tell(allowance, response)));
        }
        let kind = &arrived.incoming.kind;
        if self.room.is_closed(&self.engine.routes(), kind) {
            return Err(Problem::not_now("drain", AGAIN).into());
        }
        if self.room.is_full(&self.engine.routes(), kind, &*self.ledger).await {
            return Err(Problem::not_now("cap", AGAIN).into());
        }
        let (result, response) = self.accept(caller, arrived).await?;
        Ok((Some(result), Allowance::tell(allowance, response)))
    }

    /// What a sender is told of a message that would be taken: whether it would be new, or is the repeat
    /// of one that is here. The same id for other content is refused as it would be in earnest.
    async fn checked(&self, caller: &Caller, arrived: &Arrived) -> Result<Response, Refusal> {
        let first = self.ledger.first_answer(&key_of(caller, &arrived.incoming)).await;
        let first = first.map_err(|error| unanswered(&error))?;
        let mut told = json!({ "valid": true, "type": arrived.incoming.kind, "repeats": null });
        match first {
            Some((id, digest)) if digest != arrived.digest => {
                return Err(Problem::conflict(id).into());
            }
            Some((id, _)) => told["repeats"] = json!(id),
            None => {}
        }
        Ok(Json(told).into_response())
    }

    /// Judges a request; a large one on a thread of its own, so that nobody else waits for it.
    async fn judge(
        self: &Arc<Self>,
        admits: &Arc<Admits>,
        caller: &Arc<Caller>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Arrived, Turn> {
        if body.len() < LARGE {
            return self.judge_here(&admits.gate, caller, headers, body.clone());
        }
        let _place = self.shares.heavy.acquire().await;
        let (desk, admits, caller) = (Arc::clone(self), Arc::clone(admits), Arc::clone(caller));
        let (headers, body) = (headers.clone(), body.clone());
        let judge = move || desk.judge_here(&admits.gate, &caller, &headers, body);
        tokio::task::spawn_blocking(judge).await.unwrap_or_else(|_| {
            Err(Turn { refusal: Problem::ours().into(), named: None, recorded: false })
        })
    }

    /// The same within the budget of CPU time. A body that is refused anyway is told why.
    fn judge_here(
        &self,
        gate: &Gate,
        caller: &Caller,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Arrived, Turn> {
        let begun = cpu_of_this_thread();
        let arrived = admitted(gate, caller, headers, body)?;
        if cpu_of_this_thread().saturating_sub(begun) <= self.limits.validation {
            return Ok(arrived);
        }
        let named = Some(named(&arrived.incoming));
        let refusal = Rejection::over_budget(self.limits.validation).into();
        Err(Turn { refusal, named, recorded: true })
    }

    /// The same where the party may cite what the message cites.
    async fn with_documents(
        &self,
        caller: &Caller,
        arrived: Arrived,
    ) -> Result<Result<Arrived, Turn>, Refusal> {
        let admitted = self.has_cited(caller, &arrived.cited).await?;
        Ok(match admitted {
            Ok(()) => Ok(arrived),
            Err(rejection) => {
                let (named, rejection) = (Some(named(&arrived.incoming)), Box::new(rejection));
                Err(Turn { refusal: (*rejection).into(), named, recorded: true })
            }
        })
    }

    /// Records a refusal for content; where that cannot be done, nothing was decided.
    async fn reject(&self, caller: &Caller, turned: Turn, body: &Bytes) -> Refusal {
        let (source, sender_id) = turned.named.unwrap_or_default();
        let key = IdempotencyKey { party: caller.id.to_string(), source, sender_id };
        let label = Subscriber::clone(&caller.subscriber);
        match self.engine.reject(label, key, Digest::of(body), turned.refusal.problem.code).await {
            Ok(()) => turned.refusal,
            Err(error) => untaken("a refusal", &error),
        }
    }

    async fn accept(
        &self,
        caller: &Caller,
        arrived: Arrived,
    ) -> Result<(IngressResult, Response), Refusal> {
        let id = self.engine.new_message_id();
        let key = key_of(caller, &arrived.incoming);
        let (digest, kind) = (arrived.digest, arrived.incoming.kind.clone());
        let documents = arrived.cited.iter().map(|cited| cited.document.key).collect();
        let now = self.clock.now();
        let message = Arc::new(admit::into_message(arrived.incoming, id, &caller.id, now));
        let source = Subscriber::clone(&caller.subscriber);
        let admitted =
            Admitted { message, key, digest, source, to: Vec::new(), documents, cursor: None };
        match self.engine.accept(admitted).await {
            Ok(AcceptAnswer::New { id }) => {
                self.room.took(&self.engine.routes(), &kind);
                Ok((IngressResult::Accepted, accepted(id, false)))
            }
            Ok(AcceptAnswer::Repeated { id, same_body: true }) => {
                Ok((IngressResult::Replayed, accepted(id, true)))
            }
            Ok(AcceptAnswer::Repeated { id, same_body: false }) => {
                Err(Problem::conflict(id).into())
            }
            Err(error) => Err(untaken("a message", &error)),
        }
    }

    /// The story of `id` as the caller may see it.
    async fn tell(&self, parts: &Parts, id: MessageId) -> Result<Response, Refusal> {
        let admits = self.admits();
        let caller = admits.callers.identify(&parts.headers)?;
        let routes = self.engine.routes();
        let told = story::tell(&*self.ledger, &routes, caller, id).await;
        let told = told.map_err(|error| unanswered(&error))?;
        told.map(|story| Json(story).into_response()).ok_or_else(|| Problem::not_found().into())
    }

    async fn look_up(&self, parts: &Parts, query: Asked) -> Result<Response, Refusal> {
        let admits = self.admits();
        let caller = admits.callers.identify(&parts.headers)?;
        let key = query.key(caller).ok_or_else(malformed_query)?;
        let found = self.ledger.message_by_key(&key).await.map_err(|error| unanswered(&error))?;
        self.tell(parts, found.ok_or_else(Problem::not_found)?).await
    }
}

/// What the party's rights and the core say of the request, in this order.
///
/// A 403 is no `rejected`: the content was not looked at, so there is nothing that an event could prove.
/// Like a 401 it is counted in memory only (custody rule book, section b).
fn admitted(
    gate: &Gate,
    caller: &Caller,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Arrived, Turn> {
    let incoming = gate.read(headers, body)?;
    let kind = &incoming.kind;
    if caller.sends.contains(kind) || !gate.knows(kind) {
        return Ok(gate.admit(incoming)?);
    }
    let refusal = Problem::not_allowed(&format!("sends: {kind}")).into();
    Err(Turn { refusal, named: Some(named(&incoming)), recorded: false })
}

/// The sender's own source and id.
fn named(incoming: &Incoming) -> (String, String) {
    (incoming.source.clone(), incoming.sender_id.clone())
}

fn key_of(caller: &Caller, incoming: &Incoming) -> IdempotencyKey {
    IdempotencyKey {
        party: caller.id.to_string(),
        source: incoming.source.clone(),
        sender_id: incoming.sender_id.clone(),
    }
}

/// A query that is misspelt must not turn a check into a message.
fn only_checked(query: Option<&str>) -> Result<bool, Refusal> {
    match query {
        None | Some("" | "check=false") => Ok(false),
        Some("check=true") => Ok(true),
        Some(_) => Err(Problem::malformed_request("query", "`?check=true`, or no query").into()),
    }
}

fn malformed_query() -> Problem {
    let expected = "`?source=…&id=…`, each once, at most 1 KiB, without control characters";
    Problem::malformed_request("query", expected)
}

fn accepted(id: MessageId, replayed: bool) -> Response {
    faults::crash_soon(CrashPoint::Cp4);
    let body = Json(json!({ "id": id }));
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    let headers = response.headers_mut();
    // An id is hexadecimal digits and `-`: always a header.
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(format!("/v1/messages/{id}"))) {
        headers.insert(LOCATION, value);
    }
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(id.to_string())) {
        headers.insert(HeaderName::from_static("snodo-message-id"), value);
    }
    if replayed {
        let name = HeaderName::from_static("idempotency-replayed");
        headers.insert(name, HeaderValue::from_static("true"));
    }
    response
}

/// `?source=…&id=…`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    source: String,
    id: String,
}

impl Asked {
    fn key(self, caller: &Caller) -> Option<IdempotencyKey> {
        let fits = |text: &str| {
            !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
        };
        let key = IdempotencyKey {
            party: caller.id.to_string(),
            source: self.source,
            sender_id: self.id,
        };
        (fits(&key.source) && fits(&key.sender_id)).then_some(key)
    }
}

/// `GET /v1/messages/{id}`.
pub(super) async fn get(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    // Who is not known learns nothing, not even whether this could be an id.
    desk.admits().callers.identify(&parts.headers)?;
    let id = id.parse().map_err(|_| Problem::not_found())?;
    desk.tell(&parts, MessageId(id)).await
}

/// `GET /v1/messages/{id}/data`: the body, for its sender and for whoever is owed it.
pub(super) async fn data(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let admits = desk.admits();
    let caller = admits.callers.identify(request.headers())?;
    let id = MessageId(id.parse().map_err(|_| Problem::not_found())?);
    let concerned = story::concerns(&*desk.ledger, caller, id).await;
    if !concerned.map_err(|error| unanswered(&error))? {
        return Err(Problem::not_found().into());
    }
    let size = desk.ledger.body_size(id).await.map_err(|error| unanswered(&error))?;
    let size = usize::try_from(size.ok_or_else(Problem::not_found)?).unwrap_or(usize::MAX);
    let share = body::room_for(size, &desk.shares)?;
    let message = desk.ledger.message(id).await.map_err(|error| unanswered(&error))?;
    let data = message.ok_or_else(Problem::not_found)?.data.clone();
    let length = data.len().into();
    let mut response = Response::new(body::held(data, share));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().extend([(CONTENT_TYPE, kind), (CONTENT_LENGTH, length)]);
    Ok(response)
}

/// `GET /v1/messages?source=…&id=…`.
pub(super) async fn find(
    State(desk): State<Arc<Desk>>,
    query: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    desk.admits().callers.identify(&parts.headers)?;
    let Query(asked) = query.map_err(|_| malformed_query())?;
    desk.look_up(&parts, asked).await
}
