//! What lies in `routes/`: routes, laws, purposes, tests beside a route; anything else is a mistake.
//!
//! Invariant: no file that somebody put there is passed over without a word.

use std::sync::Arc;

use snodo_core::{
    diagnostic::{Place, Problems, SourceFile, Words, help_with_nearest},
    route::suite::Attachments,
};

use super::{Folder, folder, has_ending};

const TEST: &str = ".test.yaml";
const LAWS: &str = "laws.yaml";
/// Folders of other things than routes: what one of them is.
const KINDS: [(&str, &str); 2] = [("purposes", "a purpose"), ("facts", "a fact")];
const ROUTES: &str = "a route is <name>.yaml, its tests are <name>.test.yaml, their files lie in <name>/; \
                      put anything else elsewhere";
/// Folders of the language that this version does not read.
const LATER: [&str; 1] = ["cases"];

/// Whether a path of `routes/` is that of a route, or of the laws.
pub(super) fn is_route(path: &str) -> bool {
    has_ending(path, "yaml") && !path.ends_with(TEST)
}

/// Whether a path of `routes/` is that of the tests of a route.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with(TEST)
}

/// The files of the folders of routes.
pub(super) fn attachments(house: &Folder, problems: &mut Problems) -> Attachments {
    let mut found = Attachments::new();
    for name in house.names("routes") {
        let own = kind_of(&name).is_none() && !LATER.contains(&name.as_str());
        if own && house.is_folder(&format!("routes/{name}")) {
            let files = folder(house, &format!("routes/{name}"), 1, |_| true, problems);
            found.extend(files.into_iter().map(|file| {
                let path = file.path.trim_start_matches("routes/").to_owned();
                (path, file)
            }));
        }
    }
    found
}

/// Says what `routes/` holds that nobody reads.
pub(super) fn unknown(house: &Folder, problems: &mut Problems) {
    let here = house.names("routes");
    let stems = here.iter().filter(|name| is_route(name) && *name != LAWS);
    let routes: Vec<&str> = stems.filter_map(|name| name.strip_suffix(".yaml")).collect();
    let folders = |name: &str| house.is_folder(&format!("routes/{name}"));
    for name in &here {
        if let Some(what) = kind_of(name).filter(|_| folders(name)) {
            only_yaml(house, name, what, problems);
            continue;
        }
        match (folders(name), name.strip_suffix(TEST)) {
            (true, _) if LATER.contains(&name.as_str()) => later(name, problems),
            (true, _) => belongs_to(name, name, &routes, problems),
            (false, Some(route)) => belongs_to(name, route, &routes, problems),
            (false, None) if is_route(name) => {}
            (false, None) => not_read(&format!("routes/{name}"), ROUTES, problems),
        }
    }
}

fn kind_of(folder: &str) -> Option<&'static str> {
    KINDS.iter().find(|(known, _)| *known == folder).map(|(_, what)| *what)
}

fn only_yaml(house: &Folder, folder: &str, what: &str, problems: &mut Problems) {
    for name in house.names(&format!("routes/{folder}")) {
        if !has_ending(&name, "yaml") {
            let help = format!("{what} is <name>.yaml; put anything else elsewhere");
            not_read(&format!("routes/{folder}/{name}"), &help, problems);
        }
    }
}

fn later(name: &str, problems: &mut Problems) {
    let help = "move it away; the folder is kept for a later version";
    let words = Words::new(format!("routes/{name}/ is not in this version"), "reserved", help);
    say("SN0115", &format!("routes/{name}"), words, problems);
}

/// Tests of a route, or the folder of files that they name.
fn belongs_to(name: &str, route: &str, routes: &[&str], problems: &mut Problems) {
    if routes.contains(&route) {
        return;
    }
    let help = help_with_nearest(route, routes.iter().copied(), "routes");
    let title = format!("routes/{name} belongs to no route");
    let words = Words::new(title, format!("there is no routes/{route}.yaml"), help);
    say("SN0159", &format!("routes/{name}"), words, problems);
}

fn not_read(path: &str, otherwise: &str, problems: &mut Problems) {
    let renamed = path.strip_suffix(".yml").map(|stem| format!("call it {stem}.yaml"));
    let help = renamed.unwrap_or_else(|| otherwise.to_owned());
    let words = Words::new(format!("{path} is read by nobody"), "an unknown file", help);
    say("SN0149", path, words, problems);
}

/// The file itself is what is wrong, not a place in it.
fn say(code: &'static str, path: &str, words: Words, problems: &mut Problems) {
    let file = Arc::new(SourceFile { path: path.to_owned(), text: String::new() });
    problems.error(code, Place::new(&file, 0..0), words);
}
