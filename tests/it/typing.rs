//! Routes with types: what is wrong is found at its exact place, in words that say what to write; what is
//! right passes without a word.
//!
//! Invariant: the routes were written before the rules were read; a rule that does not find one is wrong.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use snodo::{house, settings::Surroundings};
use snodo_adapters::catalog;
use snodo_core::diagnostic::{Diagnostic, render_text};
use snodo_tests::bus::HouseFolder;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("it/fixtures/typing")
}

/// The house that the routes share, and one of them at a time in it.
struct Shared(tempfile::TempDir);

impl Shared {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let house = HouseFolder::new(folder.path()).expect("a house");
        for part in ["config", "schemas", "routes"] {
            house.copy(&fixtures(), part).expect("copied");
        }
        Self(folder)
    }

    fn check(&self, text: &str) -> Vec<Diagnostic> {
        let route = self.0.path().join("routes/route.yaml");
        fs::write(route, text).expect("written");
        house::check(self.0.path(), &Surroundings::default(), &catalog()).1
    }
}

/// The routes in a folder, in order.
fn routes(folder: &str) -> Vec<(String, String)> {
    let files = fs::read_dir(fixtures().join(folder)).expect("a folder");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        (name.to_owned(), fs::read_to_string(path).expect("readable"))
    };
    files.iter().map(read).collect()
}

/// `SN0202 at 13:16` of the first line.
fn wanted(text: &str) -> &str {
    text.lines().next().and_then(|line| line.strip_prefix("# wants: ")).expect("a first line")
}

fn places(said: &[Diagnostic]) -> String {
    let place = |one: &Diagnostic| {
        let (line, column) = one.place.line_and_column();
        format!("{} at {line}:{column}", one.code)
    };
    said.iter().map(place).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_is_wrong_is_found_at_its_place() {
    let shared = Shared::new();
    let (mut missed, mut words) = (String::new(), String::new());
    let wrong = routes("wrong");
    assert_eq!(wrong.len(), 45);
    for (name, text) in wrong {
        let said = shared.check(&text);
        if places(&said) != wanted(&text) {
            let _ = writeln!(missed, "{name} wants {}\n{}", wanted(&text), render_text(&said));
        }
        let _ = writeln!(words, "# {name}\n\n{}\n", render_text(&said).trim());
    }
    assert!(missed.is_empty(), "{missed}");
    insta::with_settings!({ snapshot_path => "fixtures/typing", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("words", words);
    });
}

#[test]
fn what_is_right_passes_without_a_word() {
    let shared = Shared::new();
    let mut refused = String::new();
    let right = routes("right");
    assert_eq!(right.len(), 60);
    for (name, text) in right {
        let said = shared.check(&text);
        if !said.is_empty() {
            let _ = writeln!(refused, "{name}\n{}", render_text(&said));
        }
    }
    assert!(refused.is_empty(), "{refused}");
}
