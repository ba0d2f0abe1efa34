//! `snodo graph`: the routes of the house as a picture.
//!
//! Invariant: it needs a house that checks, and nothing that runs.

use serde_json::json;
use snodo_core::{adapter::Catalog, route::mermaid};

use super::Common;
use crate::exit::{Exit, Failure};

/// Prints the house as a flowchart of Mermaid.
pub(super) fn run(common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
    let checked = common.checked(catalog)?;
    let text = mermaid(&checked.routes, &checked.parties);
    common.print(&json!({ "mermaid": text }), |_| text.clone())?;
    Ok(Exit::Done)
}
