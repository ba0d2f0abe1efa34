//! `snodo check`: everything that is wrong, at once, with its place.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use snodo_core::{
    adapter::Catalog,
    diagnostic::{Diagnostic, Severity, render_json, render_sarif, render_text},
};

use super::Common;
use crate::{
    exit::{Exit, Failure},
    house,
    settings::Surroundings,
};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// How mistakes are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Say also where the types end that can be known before a message has come
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
    /// For code hosts
    Sarif,
}

impl Check {
    pub(super) fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let (in_order, said) = self.looked_at(common, catalog);
        let format = if common.json { Format::Json } else { self.format };
        match say(format, &said) {
            // Whoever read goes away, the mistakes stay: the exit code still says them.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            said => said?,
        }
        if format == Format::Text {
            let _ = writeln!(io::stderr(), "{}", summary(&said));
        }
        Ok(if in_order { Exit::Done } else { Exit::Mistakes })
    }

    /// The house as its environment runs it; with `--env all` as each of them does. What several have to say
    /// of one place is said once.
    fn looked_at(&self, common: &Common, catalog: &Catalog) -> (bool, Vec<Diagnostic>) {
        let each = match common.env.as_deref() {
            Some("all") => house::environments(&common.house),
            _ => Vec::new(),
        };
        if each.is_empty() && common.env.as_deref() != Some("all") {
            let around = Surroundings { strict: self.strict, ..common.around() };
            let (checked, said) = house::check(&common.house, &around, catalog);
            return (checked.is_some(), said);
        }
        let (mut in_order, mut all) = (true, Vec::new());
        // A house without environments runs as its main file says.
        let each = if each.is_empty() { vec![None] } else { each.into_iter().map(Some).collect() };
        for env in each {
            let around = Surroundings { env, strict: self.strict, ..common.around() };
            let (checked, said) = house::check(&common.house, &around, catalog);
            in_order &= checked.is_some();
            for one in said {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
        }
        (in_order, all)
    }
}

fn say(format: Format, said: &[Diagnostic]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Text => out.write_all(render_text(said).as_bytes())?,
        Format::Json => writeln!(out, "{}", render_json(said))?,
        Format::Sarif => writeln!(out, "{}", render_sarif(said))?,
    }
    out.flush()
}

fn summary(said: &[Diagnostic]) -> String {
    let of = |severity| said.iter().filter(|found| found.severity == severity).count();
    match (of(Severity::Error), of(Severity::Warning)) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, warnings) => format!("nothing is wrong; warnings: {warnings}"),
        (errors, 0) => format!("mistakes: {errors}"),
        (errors, warnings) => format!("mistakes: {errors}, warnings: {warnings}"),
    }
}
