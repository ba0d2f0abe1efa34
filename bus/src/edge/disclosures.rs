//! `/v1/disclosures/search`: who has used a person's data, for parties that show it to that person.
//!
//! Invariant: a tax code goes no further than the hashes that are looked for; every look is logged with the
//! party that looked, and not about whom.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde_json::json;
use snodo_core::{
    disclosures::{Search, Titles, Usage, Used},
    json::JsonLimits,
    problem::Problem,
};

use super::{
    Desk,
    auth::Allowance,
    body,
    problems::{Refusal, unanswered},
};
use crate::ledger::{Disclosure, Usages};

/// `POST /v1/disclosures/search`.
pub(super) async fn search(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let admits = desk.admits();
    let caller = admits.callers.identify(&parts.headers)?;
    let allowance = caller.spend(desk.clock.uptime())?;
    if !caller.searches_disclosures {
        return Err(Problem::not_allowed("searches: [disclosures]").into());
    }
    let held = body::read(&parts.headers, body, &desk.limits, &desk.shares).await?;
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let search = Search::read(headers, &held.bytes, &JsonLimits::default())?;
    let titles = Titles::of(&desk.engine.routes());
    let (total, usages) = desk.usages(&search, &titles).await?;
    tracing::info!(
        party = %caller.id,
        rows = usages.len(),
        "a party looks at what was told of a person"
    );
    let response = Json(json!({ "totalUsages": total, "usages": usages })).into_response();
    Ok(Allowance::tell(allowance, response))
}

impl Desk {
    async fn usages(&self, search: &Search, titles: &Titles) -> Result<(u64, Vec<Usage>), Refusal> {
        let now = self.clock.now();
        let wanted = Usages {
            names: self.engine.names_of(&search.user_code),
            within: search.within,
            concealed: titles.concealed(now),
            now,
            offset: search.offset,
            limit: search.limit,
        };
        let found = self.ledger.usages(&wanted).await;
        let (total, rows) = found.map_err(|error| unanswered(&error))?;
        Ok((total, rows.iter().map(|row| titles.usage(&used(row), search.language)).collect()))
    }
}

fn used(row: &Disclosure) -> Used<'_> {
    Used {
        at: row.at,
        fact: &row.fact,
        source: &row.source,
        purpose: &row.purpose,
        case: &row.case,
        reused: row.asked_case.is_some(),
        route: &row.route,
    }
}
