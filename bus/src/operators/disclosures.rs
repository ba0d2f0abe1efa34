//! Who was told what about a person: the answer to "who has looked at my data".
//!
//! Invariant: a tax code comes in a body, never in a URL, and goes no further than the hash that is looked
//! for; every look is logged, with who and why, and not about whom.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use snodo_core::timestamp::Timestamp;

use super::{Actor, Office, Told, acts};
use crate::ledger::Disclosure;

/// A page has at most so many.
const MOST: u32 = 500;

/// What is looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// The tax code.
    person: String,
    /// Why somebody looks.
    reason: String,
    /// Not before.
    #[serde(default)]
    from: Option<Timestamp>,
    /// Before.
    #[serde(default)]
    until: Option<Timestamp>,
    /// Only before this one: the `next` of the page before.
    #[serde(default)]
    before: Option<i64>,
}

/// `POST /disclosures/search`: newest first.
pub(super) async fn search(
    State(office): State<Arc<Office>>,
    Extension(actor): Extension<Actor>,
    said: acts::Said<Search>,
) -> Told {
    let search = acts::read(said, "{ person, reason } and, if wanted, from, until, before")?;
    let by = acts::deed(actor, &search.reason)?;
    let names = office.pseudonyms.every_name(&search.person);
    let within = (search.from.unwrap_or(Timestamp(0)), search.until.unwrap_or(Timestamp(i64::MAX)));
    let page = (search.before.unwrap_or(i64::MAX), MOST);
    let found = office.ledger.disclosures(&names, within, page).await?;
    tracing::info!(
        actor = by.actor,
        reason = by.reason,
        rows = found.len(),
        "somebody looks at what was told of a person"
    );
    let full = found.len() == usize::try_from(MOST).unwrap_or(usize::MAX);
    let next = found.last().filter(|_| full).map(|(seq, _)| *seq);
    let shown: Vec<Value> = found.iter().map(|(_, one)| shown(one)).collect();
    Ok(Json(json!({ "disclosures": shown, "next": next })))
}

fn shown(one: &Disclosure) -> Value {
    json!({
        "at": one.at,
        "fact": one.fact,
        "fields": one.fields,
        "purpose": one.purpose,
        "case": one.case,
        "laws": one.laws,
        "source": one.source,
        "question": one.number,
        "way": if one.asked_case.is_some() { "reused" } else { "asked" },
        "askedUnder": one.asked_case,
        "answer": one.answer.word(),
        "freshUntil": one.fresh_until,
        "digest": one.digest,
        "route": one.route,
        "version": one.route_digest,
        "actor": one.actor,
        "differs": one.differs,
        "concealedUntil": one.concealed_until,
    })
}
