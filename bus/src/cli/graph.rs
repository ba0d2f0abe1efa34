//! `snodo graph`: the routes of the house as a picture.
//!
//! Invariant: it needs a house that checks, and nothing that runs.

use clap::{Args, ValueEnum};
use serde_json::json;
use snodo_core::{
    adapter::Catalog,
    route::{mermaid, svg},
};

use super::Common;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct Graph {
    /// How it is drawn
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A flowchart that code hosts and wikis draw
    Mermaid,
    /// A picture
    Svg,
}

impl Graph {
    /// Prints the house as a picture.
    pub(super) fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let checked = common.checked(catalog)?;
        let (name, text) = match self.format {
            Format::Mermaid => ("mermaid", mermaid(&checked.routes, &checked.parties)),
            Format::Svg => ("svg", svg(&checked.routes, &checked.parties)),
        };
        common.print(&json!({ name: text }), |_| text.clone())?;
        Ok(Exit::Done)
    }
}
