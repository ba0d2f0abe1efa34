//! `snodo schema`: what editors check files with, and what others may build on.

use std::io::{self, Write as _};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use snodo_core::{
    adapter::Catalog, diagnostic::Problems, route::language, schema::published::PATH,
};

use super::Common;
use crate::{
    exit::{Exit, Failure},
    house,
};

#[derive(Debug, Subcommand)]
pub(super) enum Schema {
    /// Print the JSON Schema of a route file: config/route.schema.json, for editors
    Route,
    /// Print the JSON Schema of a file of tests: config/route-tests.schema.json, for editors
    Tests,
    /// Print the JSON Schema of a file of routes/facts/: config/fact.schema.json, for editors
    Fact,
    /// Write types into schemas/published.lock: from then on their schemas cannot change
    Publish(Publish),
}

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// Which types; all of the house where none is named
    #[arg(value_name = "TYPE")]
    types: Vec<String>,
}

impl Schema {
    pub(super) fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        match self {
            Self::Route => print(&language::schema()),
            Self::Tests => print(&language::tests_schema()),
            Self::Fact => print(&language::fact_schema()),
            Self::Publish(publish) => publish.run(common, catalog),
        }
    }
}

fn print(schema: &Value) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{schema:#}")?;
    out.flush()?;
    Ok(Exit::Done)
}

impl Publish {
    fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let checked = common.checked(catalog)?;
        let mut published = house::published(&common.house, &mut Problems::default());
        let new = published
            .publish(&checked.schemas, &self.types)
            .map_err(|kind| Failure::mistake(format!("there is no type `{kind}` in schemas/")))?;
        let path = common.house.join(PATH);
        std::fs::write(&path, published.text())
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        common.print(&json!({ "published": new }), |_| match new.len() {
            0 => format!("{PATH} is as it was\n"),
            _ => new.iter().map(|kind| format!("published {kind}\n")).collect(),
        })?;
        Ok(Exit::Done)
    }
}
