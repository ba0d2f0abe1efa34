//! Houses with exactly one mistake of the graph or of shape: it is said once, at its place, in its words,
//! and nothing that only follows from it is said.
//!
//! Invariant: places and codes were written down by whoever made the mistake, not read off the check.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use snodo::{house, settings::Surroundings};
use snodo_adapters::catalog;
use snodo_core::diagnostic::{Diagnostic, render_text};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("it/fixtures/mistakes")
}

pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("read").path()).collect();
    entries.sort();
    entries
}

/// Lays the files of a folder over those of another.
pub(crate) fn lay(from: &Path, over: &Path) {
    fs::create_dir_all(over).expect("made");
    for entry in entries(from) {
        let there = over.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            lay(&entry, &there);
        } else if !entry.ends_with("wants") {
            fs::copy(&entry, &there).expect("copied");
        }
    }
}

/// What is said of the house with the files of `fixture` over it.
fn said(fixture: Option<&Path>) -> Vec<Diagnostic> {
    let folder = tempfile::tempdir().expect("a folder");
    lay(&fixtures().join("house"), folder.path());
    if let Some(fixture) = fixture {
        lay(fixture, folder.path());
    }
    house::check(folder.path(), &Surroundings::default(), &catalog()).1
}

pub(crate) fn places(said: &[Diagnostic]) -> String {
    let place = |one: &Diagnostic| {
        let (line, column) = one.place.line_and_column();
        format!("{} at {}:{line}:{column}", one.code, one.place.file.path)
    };
    said.iter().map(place).collect::<Vec<_>>().join(", ")
}

#[test]
fn in_the_house_nothing_is_wrong() {
    assert_eq!(render_text(&said(None)), "");
}

#[test]
fn each_mistake_is_said_once_at_its_place() {
    let (mut missed, mut words) = (String::new(), String::new());
    for kind in ["graph", "shape"] {
        let fixtures = entries(&fixtures().join(kind));
        assert_eq!(fixtures.len(), 15, "{kind}");
        for fixture in fixtures {
            let wants = fs::read_to_string(fixture.join("wants")).expect("it says what it wants");
            let wanted = wants.lines().next().unwrap_or_default();
            let said = said(Some(&fixture));
            let name = fixture.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if places(&said) != wanted {
                let _ = writeln!(missed, "{kind}/{name} wants {wanted}\n{}", render_text(&said));
            }
            let _ = writeln!(words, "# {kind}/{name}\n\n{}\n", render_text(&said).trim());
        }
    }
    assert!(missed.is_empty(), "{missed}");
    insta::with_settings!({ snapshot_path => "fixtures/mistakes", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("words", words);
    });
}
