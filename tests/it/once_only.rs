//! Houses that ask a person for what is held, or do not say why they ask: each is found at its place; and
//! the report of those that do it right.
//!
//! Invariant: places and codes were written down by whoever made the mistake, not read off the check.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use snodo::{
    house::{self, Checked},
    settings::Surroundings,
};
use snodo_adapters::catalog;
use snodo_core::{
    compliance::{Format, Language, Report},
    diagnostic::{Diagnostic, render_text},
};
use snodo_tests::bus::binaries;

use crate::mistakes::{entries, lay, places};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("it/fixtures/once-only")
}

/// The house with the files of `over` laid over it, and what is said of it.
fn looked_at(over: Option<&Path>) -> (Option<Checked>, Vec<Diagnostic>) {
    let folder = tempfile::tempdir().expect("a folder");
    lay(&fixtures().join("house"), folder.path());
    if let Some(over) = over {
        lay(over, folder.path());
    }
    house::check(folder.path(), &Surroundings::default(), &catalog())
}

fn report(over: Option<&Path>) -> Report {
    let (checked, said) = looked_at(over);
    assert_eq!(render_text(&said), "");
    Report::of(&checked.expect("it checks").inventory)
}

#[test]
fn types_that_ask_once_check_without_a_word() {
    let report = report(None);
    let mut kinds: Vec<&str> = report.rows.iter().map(|row| row.kind.as_str()).collect();
    kinds.dedup();
    assert!(kinds.len() >= 10, "{kinds:?}");
}

#[test]
fn each_mistake_of_asking_is_said_once_at_its_place() {
    let (mut missed, mut words) = (String::new(), String::new());
    let wrong = entries(&fixtures().join("wrong"));
    assert!(wrong.len() >= 20, "{}", wrong.len());
    for fixture in wrong {
        let wants = fs::read_to_string(fixture.join("wants")).expect("it says what it wants");
        let (_, said) = looked_at(Some(&fixture));
        let name = fixture.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if places(&said) != wants.lines().next().unwrap_or_default() {
            let _ = writeln!(missed, "{name} wants {wants}\n{}", render_text(&said));
        }
        let _ = writeln!(words, "# {name}\n\n{}\n", render_text(&said).trim());
    }
    assert!(missed.is_empty(), "{missed}");
    snapshot("words", &words);
}

#[test]
fn in_production_an_empty_catalogue_lets_no_silent_type_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    lay(&fixtures().join("../mistakes/house"), folder.path());
    let check = || house::check(folder.path(), &Surroundings::default(), &catalog()).1;
    assert_eq!(places(&check()), "");
    let config = folder.path().join("config/snodo.yaml");
    let text = fs::read_to_string(&config).expect("read") + "environment: { kind: production }\n";
    fs::write(&config, text).expect("written");
    assert_eq!(places(&check()), "SN0503 at schemas/edilizia/permit.decided.v1.json:1:1");
}

#[test]
fn what_no_check_can_see_is_named_in_the_report() {
    let report = report(Some(&fixtures().join("around")));
    snapshot("around-en", &report.render(Format::Table, Language::English));
    snapshot("around-it", &report.render(Format::Table, Language::Italian));
    let csv = report.render(Format::Csv, Language::English);
    let records = csv.split("\r\n").filter(|record| !record.is_empty());
    assert_eq!(records.count(), report.rows.len() + 1, "one record per row, and a head");
}

#[test]
fn the_report_of_the_repository_is_the_table_that_an_office_publishes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (checked, mut said) = house::check(&root, &Surroundings::default(), &catalog());
    // The secrets of the repository's house are nobody's.
    said.retain(|diagnostic| diagnostic.code != "SN0458");
    assert_eq!(render_text(&said), "");
    let report = Report::of(&checked.expect("it checks").inventory);
    let judged = |row: &snodo_core::compliance::Row| row.asked_of.is_some() || row.spared;
    assert!(report.rows.iter().all(judged), "every field says who fills it in");
    let italian = report.render(Format::Table, Language::Italian);
    assert!(italian.contains("canteen-enrolment:") && italian.contains("cittadino"), "{italian}");
}

#[test]
fn the_command_writes_the_report_of_a_house_in_order_and_of_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    lay(&fixtures().join("house"), folder.path());
    let run = |more: &[&str]| {
        let mut command = Command::new(binaries().expect("built").join("snodo"));
        command.args(["once-only", "report", "--house"]).arg(folder.path()).args(more);
        let Output { status, stdout, .. } = command.output().expect("started");
        (status.code(), String::from_utf8(stdout).expect("text"))
    };
    for (more, begins) in [
        (&[][..], "Che cosa si chiede"),
        (&["--lang", "en"], "What is asked"),
        (&["--lang", "en", "--format", "markdown"], "# What is asked"),
        (&["--lang", "it", "--format", "csv"], "rotta,ufficio,tipo,campo,"),
        (&["--format", "json"], "{\n  \"fields\""),
        (&["--json"], "{\n  \"fields\""),
    ] {
        let (code, out) = run(more);
        assert_eq!(code, Some(0), "{more:?}");
        assert!(out.starts_with(begins), "{more:?}: {out}");
        assert_eq!(run(more).1, out, "the same house, the same text");
    }
    lay(&fixtures().join("wrong/10-no-verdict"), folder.path());
    assert_eq!(run(&[]), (Some(2), String::new()));
}

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "fixtures/once-only", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, text);
    });
}
