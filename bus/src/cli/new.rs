//! `snodo new`: new files of the house, each complete enough for `check` and `test`.
//!
//! Invariant: nothing that is there is written again; what a new file needs and the house does not have is
//! asked for, not guessed.

use std::{fs::OpenOptions, io::Write as _, path::Path, sync::Arc};

use clap::{Args, Subcommand};
use serde_json::json;
use snodo_core::{
    adapter::Catalog,
    diagnostic::{Problems, Severity, SourceFile, help_with_nearest, render_text},
    ids::Digest,
    route::{is_fact_name, is_route_name},
    scaffold::{self, NewAdapter, NewFact, NewFile, NewRoute},
};

use super::{Common, fmt};
use crate::{
    engine::periods::SOURCE,
    exit::{Exit, Failure},
    house::{self, Checked, Folder},
    random,
    settings::{self, Stage},
};

#[derive(Debug, Subcommand)]
pub(super) enum New {
    /// Write a route, its tests, and the schema of the type it takes where there is none yet
    Route(Route),
    /// Write a purpose of processing
    Purpose(Purpose),
    /// Write a fact that an authority holds, and its schema from what the authority answers
    Fact(Fact),
    /// Write an adapter instance into config/snodo.yaml, and the schemas of what it is given and answers
    Adapter(Adapter),
    /// Write a party, and print its token, which is kept nowhere
    Party(Party),
}

#[derive(Debug, Args)]
pub(super) struct Route {
    /// The name of the route
    #[arg(value_name = "NAME")]
    name: String,
    /// The type it takes; a new one gets a schema with one field
    #[arg(long, value_name = "TYPE")]
    from: String,
    /// Why the data travel: a file of routes/purposes/
    #[arg(long, value_name = "PURPOSE")]
    purpose: String,
    /// The office that owns it; if left out, the domain of the type
    #[arg(long, value_name = "OFFICE")]
    office: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Purpose {
    /// Its id
    #[arg(value_name = "ID")]
    id: String,
    /// A law on which it rests, of routes/laws.yaml; may be given again
    #[arg(long = "law", value_name = "LAW", required = true)]
    laws: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Fact {
    /// Its name, so that `$facts.NAME` is jq
    #[arg(value_name = "NAME")]
    name: String,
    /// The adapter instance that answers
    #[arg(long, value_name = "INSTANCE")]
    held_by: String,
    /// The operation that is the question
    #[arg(long, value_name = "OPERATION")]
    query: String,
    /// A law under which it is asked, of routes/laws.yaml; may be given again
    #[arg(long = "law", value_name = "LAW", required = true)]
    laws: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Adapter {
    /// The name of the instance: routes write it before a dot
    #[arg(value_name = "NAME")]
    name: String,
    /// What kind of system it is
    #[arg(long, value_name = "KIND")]
    kind: String,
}

#[derive(Debug, Args)]
pub(super) struct Party {
    /// Its id
    #[arg(value_name = "ID")]
    id: String,
}

impl New {
    pub(super) fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let checked = common.checked(catalog)?;
        let (mut config, mut token) = (None, None);
        let files = match self {
            Self::Route(route) => route.files(&checked)?,
            Self::Purpose(purpose) => purpose.files(common)?,
            Self::Fact(fact) => fact.files(common, &checked)?,
            Self::Adapter(adapter) => {
                let wanted = adapter.wanted(&checked, catalog)?;
                config = Some(adapter.config(common, &wanted)?);
                wanted.schemas()
            }
            Self::Party(party) => {
                let made = token.insert(random::hex(32)?);
                let digest = Digest::of(made.as_bytes());
                vec![scaffold::party(named(&party.id)?, &digest.to_string())]
            }
        };
        let files: Vec<NewFile> = files.into_iter().map(in_form).collect();
        write(&common.house, &files)?;
        if let Some(text) = &config {
            house::replace(&common.house.join(settings::FILE), text).map_err(|error| {
                Failure::failed(format!("{} cannot be written: {error}", settings::FILE))
            })?;
        }
        let (_, said) = house::check(&common.house, &common.around(), catalog);
        let files = files.iter().map(|(path, _)| path.as_str());
        let written: Vec<&str> = files.chain(config.is_some().then_some(settings::FILE)).collect();
        common.print(&json!({ "written": written, "token": token }), |_| {
            let mut text: String = written.iter().map(|path| format!("wrote {path}\n")).collect();
            if let Some(token) = &token {
                text += &format!("its token, shown this once: {token}\n");
            }
            text
        })?;
        if said.iter().any(|one| one.severity == Severity::Error) {
            return Err(Failure::mistake(render_text(&said)));
        }
        Ok(Exit::Done)
    }
}

impl Route {
    fn files(&self, checked: &Checked) -> Result<Vec<NewFile>, Failure> {
        named(&self.name)?;
        let domain = self.from.split('.').next().unwrap_or_default().to_owned();
        let register = checked.settings.adapters.iter().find(|(_, one)| one.kind == "protocollo");
        let wanted = NewRoute {
            name: self.name.clone(),
            from: self.from.clone(),
            purpose: self.purpose.clone(),
            office: self.office.clone().unwrap_or(domain),
            register: register.map(|(name, _)| name.clone()),
        };
        Ok(scaffold::route(&wanted, &checked.schemas))
    }
}

impl Purpose {
    fn files(&self, common: &Common) -> Result<Vec<NewFile>, Failure> {
        named(&self.id)?;
        known_laws(common, &self.laws)?;
        Ok(vec![scaffold::purpose(&self.id, &self.laws)])
    }
}

impl Fact {
    fn files(&self, common: &Common, checked: &Checked) -> Result<Vec<NewFile>, Failure> {
        if !is_fact_name(&self.name) {
            return Err(no_name(&self.name, '_'));
        }
        known_laws(common, &self.laws)?;
        let port = checked.instances.get(&self.held_by);
        let operations = port.map(|port| port.operations()).unwrap_or_default();
        let names: Vec<&str> = operations.iter().map(|one| one.name.as_str()).collect();
        let Some(operation) = operations.iter().find(|one| one.name == self.query) else {
            return Err(Failure::mistake(format!(
                "there is no operation `{}` of an instance `{}`; it has: {}",
                self.query,
                self.held_by,
                names.join(", ")
            )));
        };
        Ok(scaffold::fact(&NewFact {
            name: self.name.clone(),
            held_by: self.held_by.clone(),
            operation: operation.clone(),
            laws: self.laws.clone(),
        }))
    }
}

impl Adapter {
    fn wanted(&self, checked: &Checked, catalog: &Catalog) -> Result<NewAdapter, Failure> {
        if !is_fact_name(&self.name) || self.name == SOURCE {
            return Err(no_name(&self.name, '_'));
        }
        if checked.settings.adapters.contains_key(&self.name) {
            return Err(Failure::mistake(format!(
                "there is an adapter instance `{}` already; nothing was written",
                self.name
            )));
        }
        let Some(example) = catalog.example(&self.kind) else {
            let help = help_with_nearest(&self.kind, catalog.kinds(), "kinds of adapters");
            return Err(Failure::mistake(format!(
                "there is no adapter of kind `{}`: {help}",
                self.kind
            )));
        };
        Ok(NewAdapter {
            name: self.name.clone(),
            kind: self.kind.clone(),
            example,
            purpose: checked.routes.iter().next().map(|route| route.purpose.clone()),
            test: checked.settings.environment.kind == Some(Stage::Test),
        })
    }

    /// The configuration with it.
    fn config(&self, common: &Common, wanted: &NewAdapter) -> Result<String, Failure> {
        let path = settings::FILE;
        let text = Folder::of(&common.house)
            .text(path)
            .map_err(|why| Failure::failed(format!("{path} cannot be read: {why}")))?;
        let file = Arc::new(SourceFile { path: path.to_owned(), text });
        wanted.inserted(&file).ok_or_else(|| {
            Failure::mistake(format!(
                "{path} has no place for `{}`: write `adapters:` there, below it one instance per line, \
                 and call this again; nothing was written",
                self.name
            ))
        })
    }
}

fn known_laws(common: &Common, cited: &[String]) -> Result<(), Failure> {
    let laws = house::laws(&common.house, &mut Problems::default());
    let Some(law) = cited.iter().find(|law| !laws.contains(law)) else { return Ok(()) };
    let known = laws.join(", ");
    Err(Failure::mistake(format!(
        "there is no law `{law}` in routes/laws.yaml: write it there first; it has: {known}"
    )))
}

fn named(name: &str) -> Result<&str, Failure> {
    if is_route_name(name) {
        return Ok(name);
    }
    Err(no_name(name, '-'))
}

fn no_name(name: &str, joint: char) -> Failure {
    Failure::mistake(format!(
        "`{name}` is no name: write small letters, digits and `{joint}`, first a letter"
    ))
}

/// A file as `snodo fmt` leaves it.
fn in_form((path, text): NewFile) -> NewFile {
    if Path::new(&path).extension().is_none_or(|ending| ending != "yaml") {
        return (path, text);
    }
    let file = Arc::new(SourceFile { path, text });
    let text = fmt::formatted(&file).unwrap_or_else(|_| file.text.clone());
    (file.path.clone(), text)
}

/// Writes all of them, or none where one is there already.
fn write(house: &Path, files: &[NewFile]) -> Result<(), Failure> {
    if let Some((path, _)) = files.iter().find(|(path, _)| house.join(path).exists()) {
        return Err(Failure::mistake(format!("{path} is there already; nothing was written")));
    }
    for (path, text) in files {
        let file = house.join(path);
        let written = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            OpenOptions::new().write(true).create_new(true).open(&file)?.write_all(text.as_bytes())
        });
        written.map_err(|error| Failure::failed(format!("{path} cannot be written: {error}")))?;
    }
    Ok(())
}
