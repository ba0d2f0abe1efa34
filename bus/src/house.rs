//! The house on disk: reads its files and checks them as a whole. One validator for `check` and `run`.
//!
//! Invariant: every text comes from [`Folder`]; files are read in the order of their names, so that what is
//! said does not depend on the disk.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

use snodo_core::{
    adapter::{Catalog, Instances, OpenError, Opening, Pace, Port},
    compliance::Inventory,
    diagnostic::{Diagnostic, Place, Problems, Severity, SourceFile, Words, help_with_nearest},
    party::Parties,
    route::{
        House, Routes, compile,
        suite::{Attachments, Suite},
    },
    schema::{
        SchemaFile, Schemas,
        published::{self, Published},
    },
    verdict::EffectKind,
};

use crate::{
    engine::periods::SOURCE,
    settings::{self, AdapterSettings, LedgerSettings, Settings, Stage, Surroundings},
};

mod folder;
mod routes;

pub(crate) use folder::in_words;
pub use folder::{Folder, Unsaved};

/// No folder of the house is deeper.
const DEEPEST: usize = 8;

/// The text files of the house.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// `routes/*.yaml` without `*.test.yaml`.
    pub routes: Vec<Arc<SourceFile>>,
    /// `routes/purposes/*.yaml`.
    pub purposes: Vec<Arc<SourceFile>>,
    /// `routes/facts/*.yaml`.
    pub facts: Vec<Arc<SourceFile>>,
    /// `routes/laws.yaml`.
    pub laws: Option<Arc<SourceFile>>,
    /// `config/parties/*.yaml`.
    pub parties: Vec<Arc<SourceFile>>,
    /// `schemas/**/*.json`.
    pub schemas: Vec<SchemaFile>,
    /// `routes/*.test.yaml`.
    pub tests: Vec<Arc<SourceFile>>,
    /// `routes/<route>/*`: what tests name.
    pub attachments: Attachments,
}

/// A house that passed `check`.
#[derive(Debug)]
pub struct Checked {
    /// The configuration.
    pub settings: Settings,
    /// The schemas of its types.
    pub schemas: Arc<Schemas>,
    /// Its adapter instances, opened.
    pub instances: Instances,
    /// Its routes.
    pub routes: Arc<Routes>,
    /// Its parties.
    pub parties: Parties,
    /// The tests of its routes.
    pub suites: Vec<Suite>,
    /// What is asked of those who write to it.
    pub inventory: Inventory,
}

/// A house as it was looked at, in order or not.
#[derive(Debug)]
pub struct Looked {
    /// What it is, where nothing is wrong.
    pub checked: Option<Checked>,
    /// Everything that is wrong.
    pub said: Vec<Diagnostic>,
    /// What the core has checked.
    pub house: House,
    /// Its adapter instances as they are written.
    pub adapters: BTreeMap<String, AdapterSettings>,
}

/// Reads and checks the house: what it is, where nothing is wrong, and everything that is wrong.
pub fn check(
    house: &Path,
    around: &Surroundings,
    catalog: &Catalog,
) -> (Option<Checked>, Vec<Diagnostic>) {
    let looked = look(&Folder::of(house), around, catalog);
    (looked.checked, looked.said)
}

/// The same of a folder that may have unsaved texts, with what there was to look at.
pub fn look(house: &Folder, around: &Surroundings, catalog: &Catalog) -> Looked {
    let mut problems = Problems::default();
    let settings = settings::load_from(house, around, &mut problems);
    if let Some(settings) = &settings {
        settings::look_at_secrets(&settings.secrets, &mut problems);
    }
    let files = read(house, &mut problems);
    let (schemas, mut said) = Schemas::load(&files.schemas);
    lock(house, &mut problems).check(&schemas, &files.schemas, &mut problems);
    let schemas = Arc::new(schemas);
    let adapters = settings.as_ref().map(|settings| &settings.adapters);
    let instances = open(adapters.into_iter().flatten(), catalog, &schemas, &mut problems);
    let configured = settings.iter().flat_map(|settings| settings.adapters.keys().cloned());
    let unopened = configured.filter(|name| instances.get(name).is_none()).collect();
    let stage = settings.as_ref().and_then(|settings| settings.environment.kind);
    let house = House {
        strict: around.strict,
        production: stage == Some(Stage::Production),
        unopened,
        ..house_of(files, &schemas, &instances)
    };
    let (compiled, mistakes) = compile(&house);
    said.extend(mistakes);
    if let (Some(settings), Some(compiled)) = (&settings, &compiled) {
        one_key(settings, &compiled.routes, &mut problems);
    }
    said.extend(problems.sorted());
    sort(&mut said);
    let wrong = said.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    let adapters = settings.iter().map(|settings| settings.adapters.clone()).next();
    let checked = settings.zip(compiled).filter(|_| !wrong).map(|(settings, compiled)| Checked {
        settings,
        schemas,
        instances,
        routes: Arc::new(compiled.routes),
        parties: compiled.parties,
        suites: compiled.suites,
        inventory: compiled.inventory,
    });
    Looked { checked, said, house, adapters: adapters.unwrap_or_default() }
}

/// Instances that share a ledger name persons alike.
fn one_key(settings: &Settings, routes: &Routes, problems: &mut Problems) {
    let shared = matches!(settings.ledger, LedgerSettings::Postgres { .. });
    let asks = routes.iter().any(|route| route.asked().next().is_some());
    if shared && asks && settings.facts.key.is_none() {
        let file = SourceFile { path: settings::FILE.to_owned(), text: String::new() };
        let help = "write `facts: { key: { file: … } }`, the same key for every instance; `openssl rand \
                    -hex 32` makes one";
        let title = "routes ask for facts, and the ledger is shared without a key of pseudonyms";
        let words = Words::new(title, "no `facts.key`", help);
        problems.error("SN0461", Place::new(&Arc::new(file), 0..0), words);
    }
}

/// The environments that the house has: the names of the files in `config/env/`.
pub fn environments(house: &Path) -> Vec<String> {
    let files = Folder::of(house).names("config/env");
    files.iter().filter_map(|file| file.strip_suffix(".yaml")).map(str::to_owned).collect()
}

/// The types that are published; none, where the house has no lock.
pub fn published(house: &Path, problems: &mut Problems) -> Published {
    lock(&Folder::of(house), problems)
}

fn lock(house: &Folder, problems: &mut Problems) -> Published {
    if !house.holds(published::PATH) {
        return Published::default();
    }
    let file = source(house, published::PATH.to_owned(), problems);
    file.map(|file| Published::read(&file, problems)).unwrap_or_default()
}

/// The ids of the laws that the house knows.
pub fn laws(house: &Path, problems: &mut Problems) -> Vec<String> {
    let file = source(&Folder::of(house), "routes/laws.yaml".to_owned(), problems);
    file.and_then(|file| snodo_core::route::laws(&file, problems)).unwrap_or_default()
}

/// What the core checks together.
fn house_of(files: Files, schemas: &Arc<Schemas>, instances: &Instances) -> House {
    let operations = instances.iter().map(|(name, port)| (name.to_owned(), port.operations()));
    House {
        routes: files.routes,
        purposes: files.purposes,
        facts: files.facts,
        laws: files.laws.into_iter().collect(),
        parties: files.parties,
        tests: files.tests,
        attachments: files.attachments,
        schemas: Arc::clone(schemas),
        operations: operations.collect(),
        ..House::default()
    }
}

fn sort(said: &mut [Diagnostic]) {
    said.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.place.file.path.clone(), d.place.start, d.code);
        key(a).cmp(&key(b))
    });
}

/// Opens every adapter instance; no network.
fn open<'a>(
    adapters: impl Iterator<Item = (&'a String, &'a AdapterSettings)>,
    catalog: &Catalog,
    schemas: &Arc<Schemas>,
    problems: &mut Problems,
) -> Instances {
    let mut instances = Instances::default();
    for (name, adapter) in adapters {
        if name == SOURCE {
            let words = Words::new(
                format!("no adapter instance may be called `{SOURCE}`"),
                "the name of the clocks of routes",
                "give it another name: it is the source of what clocks give",
            );
            problems.error("SN0450", adapter.place("/kind"), words);
        }
        let opening = Opening { instance: name.clone(), schemas: Arc::clone(schemas) };
        match catalog.open(&adapter.kind, adapter.options.clone(), &opening) {
            Some(Ok(port)) => {
                let at_once = adapter.pace.at_once.min(port.at_once());
                check_per_day(adapter, name, &*port, problems);
                let limits = (Pace { at_once, ..adapter.pace }, adapter.per_day.clone());
                instances.insert_at(name.clone(), port, limits);
            }
            Some(Err(error)) => wrong_options(adapter, &error, problems),
            None => unknown_kind(adapter, catalog, problems),
        }
    }
    instances
}

/// Every operation of which so many are asked a day is one, and a question.
fn check_per_day(adapter: &AdapterSettings, name: &str, port: &dyn Port, problems: &mut Problems) {
    for operation in adapter.per_day.keys() {
        let known = port.operations();
        let questions = known.iter().filter(|one| one.effect == EffectKind::Idempotent);
        let names: Vec<&str> = questions.map(|one| one.name.as_str()).collect();
        if !names.contains(&operation.as_str()) {
            let help = help_with_nearest(operation, names, &format!("questions of `{name}`"));
            let title = format!("`{operation}` is no question of `{name}`");
            let place = adapter.place(&format!("/limits/per_day/{operation}"));
            problems.error("SN0462", place, Words::new(title, "no such question", help));
        }
    }
}

fn unknown_kind(adapter: &AdapterSettings, catalog: &Catalog, problems: &mut Problems) {
    let help = help_with_nearest(&adapter.kind, catalog.kinds(), "kinds of adapters");
    let title = format!("there is no adapter of kind `{}`", adapter.kind);
    problems.error("SN0448", adapter.place("/kind"), Words::new(title, "no such kind", help));
}

fn wrong_options(adapter: &AdapterSettings, error: &OpenError, problems: &mut Problems) {
    let words = Words::new(&error.text, "wrong option", &error.help);
    problems.error(error.code, adapter.place(&error.pointer), words);
}

fn has_ending(path: &str, ending: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == ending)
}

/// Reads the text files of the house; what cannot be read is said.
pub fn read(house: &Folder, problems: &mut Problems) -> Files {
    let mut routes = folder(house, "routes", 1, routes::is_route, problems);
    let laws = routes
        .iter()
        .position(|file| file.path == "routes/laws.yaml")
        .map(|index| routes.remove(index));
    routes::unknown(house, problems);
    let tests = folder(house, "routes", 1, routes::is_test, problems);
    let attachments = routes::attachments(house, problems);
    let yaml = |path: &str| has_ending(path, "yaml");
    let json = |path: &str| has_ending(path, "json");
    let schemas = folder(house, "schemas", DEEPEST, json, problems);
    Files {
        routes,
        laws,
        tests,
        attachments,
        purposes: folder(house, "routes/purposes", 1, yaml, problems),
        facts: folder(house, "routes/facts", 1, yaml, problems),
        parties: folder(house, "config/parties", 1, yaml, problems),
        schemas: schemas
            .into_iter()
            .map(|file| {
                let path = file.path.trim_start_matches("schemas/").to_owned();
                SchemaFile { file, path }
            })
            .collect(),
    }
}

/// The paths of the YAML files that `check` reads, of all environments.
pub fn yaml_files(house: &Folder) -> Vec<String> {
    const FOLDERS: [&str; 5] =
        ["config/env", "config/parties", "routes", "routes/facts", "routes/purposes"];
    let main = Some(settings::FILE.to_owned()).filter(|file| house.holds(file));
    let below = FOLDERS.into_iter().flat_map(|folder| {
        let files = house.names(folder).into_iter();
        files.filter(|file| has_ending(file, "yaml")).map(move |file| format!("{folder}/{file}"))
    });
    main.into_iter().chain(below).filter(|path| !house.is_folder(path)).collect()
}

/// Puts a text in the place of a file at once and for good: whoever reads sees the one or the other. A link
/// stays one, and who may read and write it stays the same.
pub fn replace(file: &Path, text: &str) -> io::Result<()> {
    let file = file.canonicalize()?;
    let folder = file.parent().unwrap_or_else(|| Path::new("/"));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // Hidden: nobody takes it for a file of the house.
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_beside(&beside, &file, text).and_then(|()| fs::rename(&beside, &file));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.and_then(|()| fs::File::open(folder)?.sync_all())
}

fn write_beside(beside: &Path, file: &Path, text: &str) -> io::Result<()> {
    let mut open = fs::OpenOptions::new().write(true).create_new(true).open(beside)?;
    open.set_permissions(file.metadata()?.permissions())?;
    open.write_all(text.as_bytes())?;
    open.sync_all()
}

/// The files of a folder that are wanted, in the order of their names.
fn folder(
    house: &Folder,
    path: &str,
    depth: usize,
    wanted: impl Fn(&str) -> bool + Copy,
    problems: &mut Problems,
) -> Vec<Arc<SourceFile>> {
    let mut found = Vec::new();
    for name in house.names(path) {
        let below = format!("{path}/{name}");
        if house.is_folder(&below) {
            if depth > 1 {
                found.extend(folder(house, &below, depth - 1, wanted, problems));
            }
        } else if wanted(&below) {
            found.extend(source(house, below, problems));
        }
    }
    found
}

/// Reads a text file of the house; that it cannot be read is said.
pub fn source(house: &Folder, path: String, problems: &mut Problems) -> Option<Arc<SourceFile>> {
    match house.text(&path) {
        Ok(text) => Some(Arc::new(SourceFile { path, text })),
        Err(why) => {
            let place =
                Place::new(&Arc::new(SourceFile { path: path.clone(), text: String::new() }), 0..0);
            let help = "put a readable text file there, or remove it";
            let words = Words::new(format!("{path} cannot be read"), why, help);
            problems.error("SN0440", place, words);
            None
        }
    }
}
