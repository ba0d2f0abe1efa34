//! The rules of the house, as one plain test over `git ls-files`.
//!
//! Invariant: a rule that nobody checks is not a rule; each complaint reads `path:line: X, use Y`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use snodo_core::message_state::{Bucket, DeliveryState};

/// What a rule finds, as `path:line: X, use Y`.
type Complaints = Vec<String>;

/// A tracked file. `text` is empty where the file is not UTF-8.
struct File {
    path: String,
    size: usize,
    text: String,
}

impl File {
    fn is(&self, endings: &[&str]) -> bool {
        endings.iter().any(|ending| self.path.ends_with(ending))
    }

    fn under(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    fn stem(&self) -> &str {
        Path::new(&self.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// Lines with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Lines of Rust that are not comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn complaint(&self, line: usize, text: &str) -> String {
        format!("{}:{line}: {text}", self.path)
    }
}

/// Whether `text` may be part of a name.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether `word` stands in `text` with nothing of a name around it. A path (`a::word`) does not count
/// for words that end in `::`: those name a crate.
fn has_word(text: &str, word: &str) -> bool {
    let bytes = text.as_bytes();
    text.match_indices(word).any(|(start, _)| {
        let before = start.checked_sub(1).map(|at| bytes[at]);
        let after = bytes.get(start + word.len()).copied();
        let begins = before.is_none_or(|byte| {
            !is_name(byte) && !(word.ends_with("::") && (byte == b':' || byte == b'.'))
        });
        let ends = word.ends_with([':', '(']) || after.is_none_or(|byte| !is_name(byte));
        begins && ends
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file that git knows and that is still there.
fn house() -> Vec<File> {
    let listed = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("git must be installed: the house rules are checked over `git ls-files`");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    paths.split_terminator('\0').filter_map(read).collect()
}

fn read(path: &str) -> Option<File> {
    let bytes = fs::read(root().join(path)).ok()?;
    let size = bytes.len();
    Some(File { path: path.to_owned(), size, text: String::from_utf8(bytes).unwrap_or_default() })
}

const RUST: &[&str] = &[".rs"];
const TEXT: &[&str] = &[".rs", ".yaml", ".yml", ".md", ".toml", ".json", ".sh", ".sql"];
const PRODUCT: &[&str] = &["bus/", "adapters/"];
const WIDTH: usize = 110;
const LARGEST: usize = 512 * 1024;

// Shape of files ----------------------------------------------------------------------------------

fn a_module_says_what_it_is(file: &File) -> Complaints {
    if !file.is(RUST) || file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![file.complaint(1, "the file does not say what it is, use a first line `//! …`")]
}

fn lines_are_clean(file: &File) -> Complaints {
    if !file.is(TEXT) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        // One fixture is about a tab.
        if line.contains('\t') && !file.path.contains("mistakes/shape/15-tab/") {
            found.push(file.complaint(number, "a tab, use spaces"));
        }
        if line.ends_with(' ') {
            found.push(file.complaint(number, "spaces at the end of the line, use none"));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        found.push(file.complaint(file.text.lines().count(), "no newline at the end, use one"));
    }
    found
}

/// Tests hold the words that people read, as they read them: those lines may be long.
fn lines_are_short(file: &File) -> Complaints {
    let tests = file.stem() == "tests" || file.path.contains("/tests/");
    if !file.is(RUST) || !file.under(PRODUCT) || tests {
        return Vec::new();
    }
    file.lines()
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .filter(|(_, line)| line.chars().count() > WIDTH && !line.contains("://"))
        .map(|(number, _)| file.complaint(number, "a line over 110 characters, use two"))
        .collect()
}

fn files_are_small(file: &File) -> Complaints {
    if file.size <= LARGEST {
        return Vec::new();
    }
    vec![file.complaint(1, "a file over 512 KiB, use a smaller sample or generate it in the test")]
}

fn the_top_level_is_fixed(file: &File) -> Complaints {
    const ALLOWED: &[&str] = &[
        // The eight names of the owner.
        "Cargo.toml",
        "bus",
        "adapters",
        "routes",
        "schemas",
        "config",
        "tests",
        "README.md",
        // Habit files (bus/adr/0001).
        "Cargo.lock",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "LICENSE",
        "publiccode.yml",
        "Makefile",
        "deny.toml",
        ".ci",
        ".clippy.toml",
        ".editorconfig",
        ".gitignore",
        ".rustfmt.toml",
    ];
    let top = file.path.split('/').next().unwrap_or_default();
    if ALLOWED.contains(&top) {
        return Vec::new();
    }
    vec![file.complaint(1, "a new name at the top level, use one of the folders (bus/adr/0001)")]
}

// Words -------------------------------------------------------------------------------------------

fn nothing_is_left_for_later(file: &File) -> Complaints {
    // Put together here, so that this file does not complain about itself.
    let words = [
        (concat!("TO", "DO"), "use an issue, or do it now"),
        (concat!("FIX", "ME"), "use an issue, or do it now"),
        (concat!("todo", "!("), "use code, or leave the function out"),
        (concat!("unimplemented", "!("), "use code, or leave the function out"),
        (concat!("dbg", "!("), "use `tracing`"),
    ];
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        for (word, instead) in words {
            if has_word(line, word) {
                found.push(file.complaint(number, &format!("`{word}`, {instead}")));
            }
        }
    }
    found
}

fn the_house_names_no_other_place(file: &File) -> Complaints {
    if file.path == "Cargo.lock" {
        return Vec::new();
    }
    let places = [
        (concat!("/wo", "rk/"), "use a path relative to the house"),
        (concat!("/home", "/"), "use a path relative to the house"),
        (concat!("index.crates", ".io"), "use Cargo.lock alone"),
        (concat!("static.crates", ".io"), "use Cargo.lock alone"),
        (concat!("registry.npm", "js"), "use no npm"),
        (concat!("files.python", "hosted"), "use no Python package"),
    ];
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        for (place, instead) in places {
            if line.contains(place) {
                found.push(file.complaint(number, &format!("`{place}`, {instead}")));
            }
        }
    }
    found
}

// One home each -----------------------------------------------------------------------------------

/// Crate as code names it, where it may be named in the product, and what to use elsewhere.
const HOMES: &[(&str, &str, &str)] = &[
    ("lapin::", "bus/src/broker", "the traits of `broker`"),
    ("sqlx::", "bus/src/ledger", "the traits of `ledger`"),
    // A database of somebody else's is a far side like any other.
    ("sqlx::", "adapters/src/sql/database", "the traits of `ledger`"),
    ("lsp_server::", "bus/src/cli/lsp", "`snodo lsp`"),
    ("lsp_types::", "bus/src/cli/lsp", "`snodo lsp`"),
    ("layout::", "bus/core/src/route/graph", "`snodo_core::route::svg`"),
    ("tokio_rustls::", "bus/src/doctor/certificates.rs", "a library that speaks TLS itself"),
    ("x509_parser::", "bus/src/doctor/certificates.rs", "`doctor::of_certificates`"),
    ("pretty_yaml::", "bus/src/cli/fmt.rs", "`snodo_core::yaml::layout`"),
    ("backoff::", "bus/src/retry.rs", "`crate::retry`"),
    ("prometheus::", "bus/src/metrics", "`crate::metrics`"),
    ("config::", "bus/src/settings", "`crate::settings`"),
    ("jsonschema::", "bus/core/src/schema", "`snodo_core::schema`"),
    ("jaq_core::", "bus/core/src/template", "`snodo_core::template`"),
    ("jaq_json::", "bus/core/src/template", "`snodo_core::template`"),
    ("jaq_std::", "bus/core/src/template", "`snodo_core::template`"),
    ("snodo_adapters::", "bus/src/main.rs", "the `Catalog` that `main` builds"),
];

fn each_library_has_one_home(file: &File) -> Complaints {
    if !file.is(RUST) || !file.under(PRODUCT) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in file.code() {
        let first = |at: usize, name: &str| HOMES.iter().position(|(n, ..)| *n == name) == Some(at);
        for (at, (name, home, instead)) in HOMES.iter().enumerate() {
            let homes = || HOMES.iter().filter(|(other, ..)| other == name);
            let at_home = || homes().any(|(_, home, _)| file.path.starts_with(home));
            if first(at, name) && has_word(line, name) && !at_home() {
                let text = format!("`{name}` outside its home {home}, use {instead}");
                found.push(file.complaint(number, &text));
            }
        }
    }
    found
}

// Floors ------------------------------------------------------------------------------------------

/// What a manifest must not depend on: nothing that touches the world below, nothing from a floor above.
fn forbidden(manifest: &str) -> &'static [&'static str] {
    match manifest {
        "bus/core/Cargo.toml" => &[
            "axum",
            "backoff",
            "config",
            "futures-util",
            "hyper",
            "hyper-util",
            "lapin",
            "lsp-server",
            "lsp-types",
            "prometheus",
            "reqwest",
            "rustix",
            "snodo",
            "snodo-adapters",
            "snodo-sandbox",
            "sqlx",
            "tokio",
            "tokio-util",
            "tracing",
        ],
        "adapters/Cargo.toml" => {
            &["backoff", "config", "lapin", "prometheus", "snodo", "snodo-sandbox"]
        }
        "bus/Cargo.toml" => &["jaq-core", "jaq-json", "jaq-std", "jsonschema", "snodo-sandbox"],
        "tests/sandbox/Cargo.toml" => &["snodo", "snodo-adapters"],
        _ => &[],
    }
}

/// The dependencies of a manifest, tests' own included, with their lines.
fn dependencies(file: &File) -> Vec<(usize, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if section.ends_with("dependencies") && !line.starts_with(['#', ' ']) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !name.is_empty() {
                found.push((number, name));
            }
        }
    }
    found
}

fn floors_hold(file: &File) -> Complaints {
    let banned = forbidden(&file.path);
    dependencies(file)
        .into_iter()
        .filter(|(_, name)| banned.contains(name))
        .map(|(number, name)| {
            file.complaint(
                number,
                &format!("`{name}` on this floor, use the floor above (bus/adr/0003)"),
            )
        })
        .collect()
}

fn dependencies_are_used(house: &[File]) -> Complaints {
    let mut found = Vec::new();
    for manifest in house.iter().filter(|file| file.is(&["/Cargo.toml"])) {
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        let inner = |file: &File| {
            (folder == "bus/" && file.path.starts_with("bus/core/"))
                || (folder == "tests/" && file.path.starts_with("tests/sandbox/"))
        };
        let sources = || house.iter().filter(|file| file.is(RUST) && file.path.starts_with(folder));
        for (number, name) in dependencies(manifest) {
            let path = format!("{}::", name.replace('-', "_"));
            let used = sources()
                .filter(|file| !inner(file) && file.path != "tests/it/tidy.rs")
                .any(|file| file.code().any(|(_, line)| has_word(line, &path)));
            if !used {
                let text = format!("the dependency `{name}` is not used, use the shorter list");
                found.push(manifest.complaint(number, &text));
            }
        }
    }
    found
}

/// What the workspace shares, some package takes.
fn shared_dependencies_are_taken(house: &[File]) -> Complaints {
    let taken: BTreeSet<&str> = house
        .iter()
        .filter(|file| file.is(&["/Cargo.toml"]))
        .flat_map(|file| dependencies(file).into_iter().map(|(_, name)| name))
        .collect();
    let Some(shared) = house.iter().find(|file| file.path == "Cargo.toml") else {
        return Vec::new();
    };
    dependencies(shared)
        .into_iter()
        .filter(|(_, name)| !taken.contains(name))
        .map(|(number, name)| {
            shared.complaint(number, &format!("no package takes `{name}`, use the shorter list"))
        })
        .collect()
}

// Nothing dead, nothing dangling ------------------------------------------------------------------

fn every_module_is_reached(house: &[File]) -> Complaints {
    let reached = |file: &File| {
        let declared = format!("mod {};", file.stem());
        let path = format!("\"{}\"", file.path.split_once('/').map_or("", |(_, rest)| rest));
        house.iter().any(|other| {
            (other.is(RUST) && other.path != file.path && other.text.contains(&declared))
                || (other.is(&["Cargo.toml"]) && other.text.contains(&path))
        })
    };
    house
        .iter()
        .filter(|file| file.is(RUST) && !matches!(file.stem(), "lib" | "main" | "build"))
        .filter(|file| !reached(file))
        .map(|file| file.complaint(1, "no `mod` names this file, use it or delete it"))
        .collect()
}

/// Targets of a line of Markdown: `](target)` and `[name]: target`, with the name of the latter.
fn links(line: &str) -> Vec<(Option<&str>, &str)> {
    let mut found: Vec<_> = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| (None, target))
        .collect();
    if let Some((name, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
        found.push((Some(name), target));
    }
    found
}

/// The path below the house that `target` names in the file `from`; `None` where it leads elsewhere.
fn target_path(from: &str, target: &str) -> Option<String> {
    let target = target.split('#').next().unwrap_or_default();
    if target.is_empty() || target.contains(':') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(parts.join("/"))
}

fn links_lead_somewhere(file: &File) -> Complaints {
    if !file.is(&[".md"]) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        for (_, target) in links(line) {
            let Some(path) = target_path(&file.path, target) else { continue };
            if !root().join(&path).exists() {
                found.push(
                    file.complaint(number, &format!("`{path}` is not there, use a path that is")),
                );
            }
        }
    }
    found
}

/// `#the-heading` of a link is a heading of the document that it leads to.
fn anchors_lead_somewhere(house: &[File]) -> Complaints {
    let mut found = Vec::new();
    for file in house.iter().filter(|file| file.is(&[".md"])) {
        for (number, line) in file.lines() {
            for (_, target) in links(line) {
                let Some((path, anchor)) = target.split_once('#') else { continue };
                let path = if path.is_empty() {
                    Some(file.path.clone())
                } else {
                    target_path(&file.path, path)
                };
                let Some(to) = path.and_then(|path| house.iter().find(|file| file.path == path))
                else {
                    continue;
                };
                if to.is(&[".md"]) && !to.lines().any(|(_, line)| anchor_of(line) == anchor) {
                    let text =
                        format!("`{}` has no heading `#{anchor}`, use one that it has", to.path);
                    found.push(file.complaint(number, &text));
                }
            }
        }
    }
    found
}

/// The anchor that code hosts give to a heading; "" of other lines.
fn anchor_of(line: &str) -> String {
    let heading = line.trim_start_matches('#');
    if heading.len() == line.len() || !heading.starts_with(' ') {
        return String::new();
    }
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Whoever begins at the README finds every document, by links alone. A link to a folder leads to all
/// that is in it.
fn every_document_is_reached(house: &[File]) -> Complaints {
    let documents: Vec<&File> = house.iter().filter(|file| file.is(&[".md"])).collect();
    let mut reached: BTreeSet<&str> = BTreeSet::from(["README.md"]);
    loop {
        let targets: BTreeSet<String> = documents
            .iter()
            .filter(|file| reached.contains(file.path.as_str()))
            .flat_map(|file| {
                let links = file.lines().flat_map(|(_, line)| links(line));
                links.filter_map(|(_, target)| target_path(&file.path, target))
            })
            .collect();
        let leads = |path: &str| {
            let folder = Path::new(path).parent().and_then(Path::to_str).unwrap_or_default();
            targets.contains(path) || (!folder.is_empty() && targets.contains(folder))
        };
        let before = reached.len();
        reached.extend(documents.iter().map(|file| file.path.as_str()).filter(|path| leads(path)));
        if reached.len() == before {
            break;
        }
    }
    let unreached = documents.iter().filter(|file| !reached.contains(file.path.as_str()));
    unreached
        .map(|file| file.complaint(1, "no link leads here from README.md, use one that does"))
        .collect()
}

/// The spans between backticks of a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Pages, README and the rest tell people to ask `/…` or to type `snodo …`: what is not there yet, nobody
/// can. (Decisions and the design of later parts may speak of them.)
fn documents_name_what_is_there(house: &[File]) -> Complaints {
    let text = |path: &str| {
        house.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str())
    };
    let doors: Vec<&str> = text("bus/src/edge.rs")
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let commands: Vec<String> = text("bus/src/cli.rs")
        .split("Command::")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next())
        .map(str::to_lowercase)
        .collect();
    let is_door = |path: &str| {
        let path = path.split(['?', '#']).next().unwrap_or(path);
        let fits = |door: &&&str| {
            let (door, path) = (door.split('/'), path.split('/'));
            door.clone().count() == path.clone().count()
                && door.zip(path).all(|(door, part)| door == part || door.starts_with('{'))
        };
        doors.iter().any(|door| fits(&door))
    };
    let mut found = Vec::new();
    let documents = house.iter().filter(|file| file.is(&[".md"]) && !file.under(&["bus/adr/"]));
    for file in documents {
        for (number, line) in file.lines() {
            for span in quoted(line) {
                let words: Vec<&str> = span.split_whitespace().collect();
                let missing = match words.as_slice() {
                    ["GET" | "POST" | "PUT" | "DELETE", path, ..] => !is_door(path),
                    [path] if path.starts_with('/') && path.len() > 1 => !is_door(path),
                    ["snodo", command, ..] => {
                        command.starts_with(char::is_alphabetic)
                            && !commands.contains(&command.replace('-', ""))
                    }
                    _ => false,
                };
                if missing {
                    let text = format!("`{span}` is not there, use what is");
                    found.push(file.complaint(number, &text));
                }
            }
        }
    }
    found
}

/// What the README shows as a route is one of the routes.
fn the_readme_shows_a_real_route(house: &[File]) -> Complaints {
    let Some(readme) = house.iter().find(|file| file.path == "README.md") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let blocks = readme.text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    for block in blocks {
        let is_real = |file: &File| file.under(&["routes/"]) && file.text.contains(block);
        if !house.iter().any(is_real) {
            let at = readme.text.find(block).unwrap_or(0);
            let line = readme.text[..at].lines().count() + 1;
            found.push(readme.complaint(line, "not as in routes/, use the lines of a file there"));
        }
    }
    found
}

/// Each box of the path of a message (`[accept]: bus/src/…`) leads to a file that uses the same word.
fn boxes_keep_their_names(house: &[File]) -> Complaints {
    let Some(plan) = house.iter().find(|file| file.path == "ARCHITECTURE.md") else {
        return vec!["ARCHITECTURE.md:1: the file is missing, use one (bus/adr/0001)".to_owned()];
    };
    let mut found = Vec::new();
    for (number, line) in plan.lines() {
        for (name, target) in links(line) {
            let Some((name, file)) = name.zip(house.iter().find(|file| file.path == target)) else {
                continue;
            };
            let word = name.split(' ').next().unwrap_or(name);
            if !has_word(&file.text.to_lowercase(), word) && file.stem() != word {
                let text = format!("`{target}` does not say `{name}`, use one word for both");
                found.push(plan.complaint(number, &text));
            }
        }
    }
    found
}

/// The words that people read of a state stand in the glossary as they stand in the code.
fn states_have_their_words(house: &[File]) -> Complaints {
    let plan = house.iter().find(|file| file.path == "ARCHITECTURE.md");
    let text = plan.map_or("", |file| file.text.as_str());
    let mut found = Vec::new();
    for bucket in Bucket::ALL {
        let row = format!("| {} | {} |", bucket.word(), bucket.parola());
        if !text.contains(&row) {
            found.push(format!("ARCHITECTURE.md:1: a state without its row, use `{row}`"));
        }
    }
    for state in DeliveryState::ALL {
        let word = format!("`{}`", format!("{state:?}").to_lowercase());
        if !text.contains(&word) {
            found
                .push(format!("ARCHITECTURE.md:1: the row state {word} is missing, use the table"));
        }
    }
    found
}

// Codes -------------------------------------------------------------------------------------------

const PAGES: &str = "bus/core/src/codes/";
const LIST: &str = "bus/core/src/codes.rs";

/// The codes (`SN` and four digits) that stand in a line.
fn codes(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("SN").filter_map(|(start, _)| {
        let bytes = line.as_bytes();
        let code = line.get(start..start + 6)?;
        let apart = start == 0 || !is_name(bytes[start - 1]);
        let ends = bytes.get(start + 6).is_none_or(|byte| !is_name(*byte));
        (apart && ends && code[2..].bytes().all(|byte| byte.is_ascii_digit())).then_some(code)
    })
}

fn every_code_has_its_page(house: &[File]) -> Complaints {
    let pages: BTreeSet<&str> =
        house.iter().filter(|file| file.path.starts_with(PAGES)).map(File::stem).collect();
    let mut found = Vec::new();
    for file in house.iter().filter(|file| file.is(RUST) && file.under(PRODUCT)) {
        for (number, line) in file.lines() {
            for code in codes(line).filter(|code| !pages.contains(code)) {
                let text = format!("{code} has no page, use {PAGES}{code}.md");
                found.push(file.complaint(number, &text));
            }
        }
    }
    found
}

fn every_page_is_listed(house: &[File]) -> Complaints {
    const PARTS: [&str; 4] = ["What happened", "Why", "What to do", "Who"];
    let list = house.iter().find(|file| file.path == LIST).map_or("", |file| file.text.as_str());
    let mut found = Vec::new();
    for page in house.iter().filter(|file| file.path.starts_with(PAGES)) {
        if codes(page.stem()).next() != Some(page.stem()) || !page.is(&[".md"]) {
            found.push(page.complaint(1, "not a page of a code, use a name SNnnnn.md"));
        }
        if !has_word(list, page.stem()) {
            found.push(page.complaint(1, &format!("the page is not listed, use a line in {LIST}")));
        }
        for part in PARTS.into_iter().filter(|part| !page.text.contains(part)) {
            found.push(
                page.complaint(1, &format!("the page does not say `{part}`, use a part for it")),
            );
        }
    }
    found
}

// Routes ------------------------------------------------------------------------------------------

const LANGUAGE: &str = "config/route.schema.json";
const LANGUAGE_OF_TESTS: &str = "config/route-tests.schema.json";
const LANGUAGE_OF_FACTS: &str = "config/fact.schema.json";

/// Editors find the schema of the language by the first line of each route, of its tests, and of each fact.
fn routes_name_their_schema(file: &File) -> Complaints {
    let folder = Path::new(&file.path).parent().and_then(Path::to_str);
    let is_fact = folder == Some("routes/facts");
    let is_route = folder == Some("routes") && file.stem() != "laws";
    let is_test = file.stem().strip_suffix(".test").is_some();
    let schema = match (is_fact, is_test) {
        (true, _) => format!("../{LANGUAGE_OF_FACTS}"),
        (false, true) => LANGUAGE_OF_TESTS.to_owned(),
        (false, false) => LANGUAGE.to_owned(),
    };
    let line = format!("# yaml-language-server: $schema=../{schema}");
    if !file.is(&[".yaml"]) || !(is_route || is_fact) || file.text.lines().next() == Some(&line) {
        return Vec::new();
    }
    vec![file.complaint(1, &format!("the schema is not named, use a first line `{line}`"))]
}

fn the_schema_of_the_language_is_the_one_that_is_printed(house: &[File]) -> Complaints {
    use snodo_core::route::language;
    let mut found = Vec::new();
    for (path, of, schema) in [
        (LANGUAGE, "route", language::schema()),
        (LANGUAGE_OF_TESTS, "tests", language::tests_schema()),
        (LANGUAGE_OF_FACTS, "fact", language::fact_schema()),
    ] {
        let kept = house.iter().find(|file| file.path == path).map_or("", |file| &file.text);
        if kept != format!("{schema:#}\n") {
            found.push(format!("{path}:1: not what is printed, use `snodo schema {of} > {path}`"));
        }
    }
    found
}

// The test ----------------------------------------------------------------------------------------

const PER_FILE: &[fn(&File) -> Complaints] = &[
    a_module_says_what_it_is,
    lines_are_clean,
    files_are_small,
    the_top_level_is_fixed,
    nothing_is_left_for_later,
    the_house_names_no_other_place,
    each_library_has_one_home,
    floors_hold,
    links_lead_somewhere,
    lines_are_short,
    routes_name_their_schema,
];

const OVER_ALL: &[fn(&[File]) -> Complaints] = &[
    dependencies_are_used,
    shared_dependencies_are_taken,
    every_module_is_reached,
    boxes_keep_their_names,
    states_have_their_words,
    every_code_has_its_page,
    every_page_is_listed,
    anchors_lead_somewhere,
    every_document_is_reached,
    documents_name_what_is_there,
    the_readme_shows_a_real_route,
    the_schema_of_the_language_is_the_one_that_is_printed,
];

#[test]
fn the_house_is_tidy() {
    let house = house();
    assert!(house.len() > 30, "git lists {} files only", house.len());
    let mut found: Vec<String> = Vec::new();
    for rule in PER_FILE {
        found.extend(house.iter().flat_map(rule));
    }
    for rule in OVER_ALL {
        found.extend(rule(&house));
    }
    assert!(found.is_empty(), "{} complaints\n{}", found.len(), found.join("\n"));
}

/// A file that only a test knows.
fn sample(path: &str, text: &str) -> File {
    File { path: path.to_owned(), size: text.len(), text: text.to_owned() }
}

#[test]
fn each_rule_about_one_file_finds_its_breach() {
    let wide = format!("//! x\n{}\n", "x".repeat(WIDTH + 1));
    let later = format!("//! x\n// {} tidy up\n", concat!("TO", "DO"));
    let place = format!("see {}x\n", concat!("/wo", "rk/"));
    let table: &[(usize, &str, &str, &str)] = &[
        (0, "bus/src/a.rs", "fn main() {}\n", "bus/src/a.rs:1: the file does not say"),
        (1, "routes/a.yaml", "a: 1 \n", "routes/a.yaml:1: spaces at the end"),
        (1, "routes/a.yaml", "a:\t1\n", "routes/a.yaml:1: a tab"),
        (1, "a.md", "a", "a.md:1: no newline"),
        (9, "bus/src/a.rs", &wide, "bus/src/a.rs:2: a line over"),
        (3, "scripts/a.sh", "", "scripts/a.sh:1: a new name"),
        (4, "bus/src/a.rs", &later, "bus/src/a.rs:2: `"),
        (5, "README.md", &place, "README.md:1: `"),
        (6, "bus/src/edge.rs", "//! x\nuse lapin::Channel;\n", "bus/src/edge.rs:2: `lapin::`"),
        (6, "bus/src/edge.rs", "//! x\nlet c = config::Config;\n", "bus/src/edge.rs:2: `config::`"),
        (
            7,
            "bus/core/Cargo.toml",
            "[dependencies]\ntokio.workspace = true\n",
            "bus/core/Cargo.toml:2",
        ),
        (8, "README.md", "[a](not/there.md)\n", "README.md:1: `not/there.md`"),
        (10, "routes/a.yaml", "route: a\n", "routes/a.yaml:1: the schema is not named"),
        (10, "routes/facts/a.yaml", "fact: a\n", "routes/facts/a.yaml:1: the schema is not named"),
    ];
    for (rule, path, text, expected) in table {
        let found = PER_FILE[*rule](&sample(path, text));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{path}: {found:?}");
    }
    let large = File { path: "a".to_owned(), size: LARGEST + 1, text: String::new() };
    assert_eq!(files_are_small(&large).len(), 1);
}

#[test]
fn rules_leave_what_is_right_alone() {
    let wide = "x".repeat(WIDTH + 1);
    let table: &[(usize, &str, &str)] = &[
        (4, "README.md", "un METODO, a mastodon\n"),
        (6, "bus/src/broker/node.rs", "//! x\nuse lapin::Channel;\n"),
        (6, "bus/src/edge.rs", "//! Knows no lapin::Channel.\nuse crate::config::X;\n"),
        (6, "tests/harness/lib.rs", "//! x\nuse sqlx::Row;\n"),
        (7, "bus/core/Cargo.toml", "[dependencies]\nserde.workspace = true\n"),
        (9, "tests/harness/lib.rs", &wide),
        (9, "bus/src/a.rs", &format!("#[cfg(test)]\n{wide}")),
        (10, "routes/laws.yaml", "a: { title: A }\n"),
        (10, "routes/purposes/a.yaml", "purpose: a\n"),
        (
            10,
            "routes/a.test.yaml",
            &format!("# yaml-language-server: $schema=../{LANGUAGE_OF_TESTS}\n"),
        ),
        (8, "bus/adr/0001.md", "[a](../../Cargo.toml#top) [b](https://example.org) [c](#here)\n"),
    ];
    for (rule, path, text) in table {
        let found = PER_FILE[*rule](&sample(path, text));
        assert!(found.is_empty(), "{path}: {found:?}");
    }
}

#[test]
fn each_rule_over_all_files_finds_its_breach() {
    let check = |rule: fn(&[File]) -> Complaints, files: &[File], expected: &str| {
        let found = rule(files);
        assert!(found.iter().any(|line| line.starts_with(expected)), "{expected}: {found:?}");
    };
    let raised = sample("bus/src/a.rs", "//! x\nlet code = \"SN9999\";\n");
    check(every_code_has_its_page, &[raised], "bus/src/a.rs:2: SN9999 has no page");
    let page = sample("bus/core/src/codes/SN9999.md", "# SN9999\n");
    check(every_page_is_listed, &[page], "bus/core/src/codes/SN9999.md:1: the page is not listed");
    check(every_module_is_reached, &[sample("bus/src/a.rs", "")], "bus/src/a.rs:1: no `mod`");
    let manifest = sample("bus/Cargo.toml", "[dependencies]\nbytes.workspace = true\n");
    check(dependencies_are_used, &[manifest], "bus/Cargo.toml:2: the dependency `bytes`");
    let shared = sample("Cargo.toml", "[workspace.dependencies]\nbytes = \"1\"\n");
    check(shared_dependencies_are_taken, &[shared], "Cargo.toml:2: no package takes `bytes`");
    let plan = sample("ARCHITECTURE.md", "[accept]: bus/src/a.rs\n");
    let other = sample("bus/src/a.rs", "//! Acceptance.\n");
    check(boxes_keep_their_names, &[plan, other], "ARCHITECTURE.md:1: `bus/src/a.rs` does not say");
    check(
        the_schema_of_the_language_is_the_one_that_is_printed,
        &[sample(LANGUAGE, "{}\n")],
        "config/route.schema.json:1: not what is printed",
    );
    check(states_have_their_words, &[], "ARCHITECTURE.md:1: a state without its row");
    let readme = sample("README.md", "# A heading\n[a](#a-heading) [b](#another)\n");
    check(anchors_lead_somewhere, &[readme], "README.md:2: `README.md` has no heading `#another`");
    let lonely = [sample("README.md", "[a](b.md)\n"), sample("b.md", ""), sample("c.md", "")];
    check(every_document_is_reached, &lonely, "c.md:1: no link leads here");
    let edge = || sample("bus/src/edge.rs", "x.route(\"/v1/messages/{id}\", y)");
    let page = || sample("a.md", "`GET /v1/messages/7`, `/openapi.json` and `snodo dance`\n");
    check(documents_name_what_is_there, &[edge(), page()], "a.md:1: `/openapi.json` is not there");
    check(documents_name_what_is_there, &[edge(), page()], "a.md:1: `snodo dance` is not there");
    assert_eq!(documents_name_what_is_there(&[edge(), page()]).len(), 2);
    let shown = sample("README.md", "one\n\n```yaml\nroute: a\n```\n");
    check(the_readme_shows_a_real_route, &[shown], "README.md:4: not as in routes/");
}
