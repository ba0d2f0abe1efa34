//! What operators do. Each act is one action of the rule book, with who and why.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use snodo_core::{
    ids::IncarnationId,
    message_state::DeliveryState,
    reload::Refusal,
    route::{Route, Use, Verb},
};

use super::{Actor, No, Office, Told, lists};
use crate::{
    ledger::{Action, Deed, Outcome, Row, StepDone},
    run::reload::{ReloadError, Reloaded},
};

/// No reason is longer.
const LONGEST: usize = 500;

/// Why; every act needs it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Because {
    reason: String,
}

/// Who did what, and the reason that was given for it.
pub(super) fn deed(actor: Actor, reason: &str) -> Result<Deed, No> {
    let reason = reason.trim();
    let fits =
        !reason.is_empty() && reason.len() <= LONGEST && !reason.chars().any(char::is_control);
    if fits {
        return Ok(Deed { actor: actor.0, reason: reason.to_owned() });
    }
    Err(No::asked("a `reason` of one line, at most 500 characters, without personal data"))
}

pub(super) type Said<T> = Result<Json<T>, JsonRejection>;

pub(super) fn read<T>(said: Said<T>, expected: &str) -> Result<T, No> {
    said.map(|Json(body)| body).map_err(|_| No::asked(expected))
}

/// `replay`: on the route as it is now, or as it was.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    reason: String,
    #[serde(default)]
    same_version: bool,
}

/// `POST /deliveries/{id}/replay`.
pub(super) async fn replay(
    State(office): State<Arc<Office>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    said: Said<Replay>,
) -> Told {
    let said = read(said, "{ reason, same_version? }")?;
    let by = deed(actor, &said.reason)?;
    let row = lists::find(&office, &id).await?;
    expect(&row, DeliveryState::Parked)?;
    let onto = if said.same_version || is_party(&row) {
        row.route_digest
    } else {
        let routes = (office.routes)();
        let route = routes.get(&row.subscriber).ok_or_else(no_route)?;
        fits(route, &row)?;
        route.digest
    };
    let action = Action::Replay { id: row.id, from: row.route_digest, onto, by };
    done(&office, action, "replayed").await
}

fn is_party(row: &Row) -> bool {
    row.subscriber.starts_with("party:")
}

fn no_route() -> No {
    let expected = "the version that the delivery is pinned to: `same_version`";
    No::new(StatusCode::CONFLICT, "SN0865", "the route is not there any more", expected)
}

/// A replay on another version is refused where a done step is missing there or does something else.
fn fits(route: &Route, row: &Row) -> Result<(), No> {
    let differs = |(id, done): &&(String, StepDone)| {
        !route.step(id).is_some_and(|step| step.does(&done.operation))
    };
    match row.done.iter().find(differs) {
        None => Ok(()),
        Some((step, _)) => Err(No::new(
            StatusCode::CONFLICT,
            "SN0865",
            format!(
                "the route has changed: its done step `{step}` is not there or does something else"
            ),
            "the version that the delivery is pinned to: `same_version`",
        )),
    }
}

/// `POST /deliveries/{id}/discard`.
pub(super) async fn discard(
    State(office): State<Arc<Office>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    said: Said<Because>,
) -> Told {
    let by = deed(actor, &read(said, "{ reason }")?.reason)?;
    let row = lists::find(&office, &id).await?;
    expect(&row, DeliveryState::Parked)?;
    done(&office, Action::Discard { id: row.id, by }, "discarded").await
}

/// `resolve`: the call acted (with what it gave), or it did not.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolve {
    reason: String,
    done: bool,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    reference: Option<String>,
}

/// `POST /deliveries/{id}/resolve`.
pub(super) async fn resolve(
    State(office): State<Arc<Office>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    said: Said<Resolve>,
) -> Told {
    let said = read(said, "{ reason, done, result?, reference? }")?;
    let by = deed(actor, &said.reason)?;
    let row = lists::find(&office, &id).await?;
    expect(&row, DeliveryState::Uncertain)?;
    let step = open_step(&row)?;
    if !said.done {
        let action = Action::ResolveNotDone { id: row.id, step, by };
        return done(&office, action, "to be tried again").await;
    }
    let (done_step, last) = as_done(&office, &row, step, said)?;
    let action = Action::ResolveDone { id: row.id, done: done_step, last, by };
    done(&office, action, "done").await
}

/// The step whose outcome is not known.
fn open_step(row: &Row) -> Result<String, No> {
    let of_fault = || row.fault.as_ref().and_then(|fault| fault.step.clone());
    let of_intent = row.intents.first().map(|intent| intent.step.clone());
    of_intent.or_else(of_fault).ok_or_else(|| No::moved_on("a delivery with an unclear call"))
}

/// The step as a person says it went, and whether it is the route's last.
fn as_done(
    office: &Office,
    row: &Row,
    step: String,
    said: Resolve,
) -> Result<(StepDone, bool), No> {
    let routes = (office.routes)();
    let route = routes.version(&row.route_digest).ok_or_else(no_route)?;
    let at = route.step(&step).ok_or_else(no_route)?;
    let Verb::Use(call) = &at.verb else { return Err(No::moved_on("a call to a target")) };
    let mut done: Map<String, Value> =
        row.done.iter().map(|(id, done)| (id.clone(), done.result.clone())).collect();
    done.insert(step.clone(), Value::Null);
    let last = route.is_done(&done);
    let result = said.result.unwrap_or(Value::Null);
    check_result(call, &result)?;
    let done = StepDone {
        operation: call.target(),
        step,
        result,
        route_digest: row.route_digest,
        reference: said.reference,
        evidence: None,
    };
    Ok((done, last))
}

/// What a person types as a result is read by later steps: it must be what the operation gives.
fn check_result(call: &Use, result: &Value) -> Result<(), No> {
    let required = call.operation.output.get("required").and_then(Value::as_array);
    let missing = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|field| result.get(field).is_none());
    match missing {
        None => Ok(()),
        Some(field) => {
            Err(No::asked(format!("a `result` with the field `{field}`, as the far side shows it")))
        }
    }
}

/// `POST /instances/{id}/declare-dead`.
pub(super) async fn declare_dead(
    State(office): State<Arc<Office>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<i64>,
    said: Said<Because>,
) -> Told {
    let by = deed(actor, &read(said, "{ reason }")?.reason)?;
    let action = Action::DeclareDead { incarnation: IncarnationId(id), by };
    done(&office, action, "declared dead").await
}

fn expect(row: &Row, state: DeliveryState) -> Result<(), No> {
    if row.state == state {
        return Ok(());
    }
    let word = row.state.bucket().word();
    Err(No::moved_on(format!("a delivery that is {}; this one is {word}", state.bucket().word())))
}

async fn done(office: &Office, action: Action, word: &str) -> Told {
    let outcomes = office.write.submit(vec![action]).await?;
    match outcomes.into_iter().next() {
        Some(Outcome::Matched) => Ok(Json(json!({ "done": word }))),
        Some(Outcome::Unknown) => Err(No::unknown("delivery or instance")),
        Some(Outcome::TooEarly { at }) => Err(too_early(at)),
        _ => Err(No::moved_on("another look at the list")),
    }
}

fn too_early(at: Option<snodo_core::timestamp::Timestamp>) -> No {
    let expected = match at {
        Some(at) => format!("the same again from {at} on"),
        None => {
            "the end of the process that made the call, or `snodo instances declare-dead`".into()
        }
    };
    let title = "the call may still act: `not done` cannot be believed yet";
    No::new(StatusCode::CONFLICT, "SN0866", title, expected)
}

/// `reload`: whether it waits for what stands in its way.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reload {
    #[serde(default)]
    drain: bool,
}

/// `POST /reload`.
pub(super) async fn reload(State(office): State<Arc<Office>>, said: Said<Reload>) -> Told {
    let said = read(said, "{ drain? }")?;
    let asks = office.asks.as_ref().ok_or_else(no_bus)?;
    let Reloaded { changes, warnings } =
        asks.reload(said.drain).await.map_err(|error| not_reloaded(&error))?;
    Ok(Json(json!({ "reloaded": changes, "warnings": warnings })))
}

fn no_bus() -> No {
    let title = "no bus runs in this house: there is nothing to reload";
    No::new(
        StatusCode::CONFLICT,
        "SN0873",
        title,
        "a running bus; `snodo run` reads the house anew",
    )
}

fn not_reloaded(error: &ReloadError) -> No {
    let (status, code) = match error {
        ReloadError::Mistakes(_) => (StatusCode::UNPROCESSABLE_ENTITY, "SN0874"),
        ReloadError::Refused(refusals) => {
            (StatusCode::CONFLICT, refusals.first().map_or("SN0870", Refusal::code))
        }
        ReloadError::Settings => (StatusCode::CONFLICT, "SN0872"),
        ReloadError::Broker(_) => (StatusCode::CONFLICT, "SN0822"),
        ReloadError::Start(_) | ReloadError::Read(_) => (StatusCode::SERVICE_UNAVAILABLE, "SN0864"),
        ReloadError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "SN0873"),
    };
    // The code stands before the title already.
    let text = error.to_string();
    let title = text.strip_prefix(code).map_or(text.as_str(), str::trim_start);
    No::new(status, code, title, "the bus runs on as before")
}
