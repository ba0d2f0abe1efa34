//! `snodo test` as an integrator uses it: what passes, what fails and in which words, what is covered.
//!
//! Invariant: asked of the `snodo` binary; nothing is started beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use snodo_tests::bus::binaries;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/fixtures/route-tests");
const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A folder with the fixture in it, to be changed.
fn house() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy(Path::new(FIXTURE), folder.path());
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("there").map(|entry| entry.expect("read")) {
        let (from, to): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            {
                fs::copy(&from, &to).expect("copied");
            }
        }
    }
}

/// Exit code, and what was said; seconds are left out.
fn run(house: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(binaries().expect("built").join("snodo"))
        .arg("test")
        .args(arguments)
        .arg("--house")
        .arg(house)
        .env_remove("SNODO_ENV")
        .stdin(Stdio::null())
        .output()
        .expect("started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let said = text(output.stdout) + &text(output.stderr);
    let (before, after) = said.rsplit_once(" s)").unwrap_or((&said, ""));
    let said = match before.rsplit_once('(') {
        Some((before, seconds)) if seconds.parse::<f64>().is_ok() => {
            format!("{before}(… s){after}")
        }
        _ => said,
    };
    (output.status.code().unwrap_or(-1), said)
}

/// The line of the definition of done: nothing of our own routes is left untested.
#[test]
fn every_way_of_our_own_routes_is_gone_by_their_tests() {
    let (code, said) = run(Path::new(OURS), &["--coverage", "--min-coverage", "100"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("coverage: 100 %"), "{said}");
}

#[test]
fn what_is_as_expected_passes_and_what_no_test_does_is_said() {
    let (code, said) = run(Path::new(FIXTURE), &["--coverage", "--min-coverage", "100"]);
    insta::assert_snapshot!(said);
    assert_eq!(code, 0, "{said}");
    // One way less, and it is said which.
    let house = house();
    let file = house.path().join("routes/filed.test.yaml");
    let text = fs::read_to_string(&file).expect("read");
    let (first, _) = text.split_once("  - name: a no goes on").expect("there");
    fs::write(&file, first).expect("written");
    let (code, said) = run(house.path(), &["filed", "--min-coverage", "90"]);
    assert_eq!(code, 1, "{said}");
    insta::assert_snapshot!(said.replace(house.path().to_str().expect("text"), "house"));
    assert_eq!(run(house.path(), &["filed", "--coverage"]).0, 0);
    assert_eq!(run(house.path(), &["filed", "--min-coverage", "20"]).0, 0);
}

/// Facts: asked once, used again while they are fresh, every outcome of each gone through.
#[test]
fn facts_are_asked_once_and_every_outcome_is_a_way_that_tests_go() {
    let house = concat!(env!("CARGO_MANIFEST_DIR"), "/it/fixtures/fact-tests");
    let (code, said) = run(Path::new(house), &["--coverage", "--min-coverage", "100"]);
    insta::assert_snapshot!(said);
    assert_eq!(code, 0, "{said}");
}

/// Routes as municipalities have them: what is right does what its author expects.
#[test]
fn right_routes_with_facts_do_what_their_tests_say() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/it/fixtures/corpus");
    let (code, said) = run(Path::new(corpus), &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("passed: 14 "), "{said}");
}

/// What `new` writes of a fact is complete: its schema is what the authority promises to answer.
#[test]
fn a_new_fact_is_what_its_authority_answers() {
    let house = tempfile::tempdir().expect("a folder");
    copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/it/fixtures/fact-tests")), house.path());
    let snodo = |arguments: &[&str]| {
        let mut command = Command::new(binaries().expect("built").join("snodo"));
        let command = command.args(arguments).arg("--house").arg(house.path());
        let output = command.stdin(Stdio::null()).output().expect("started");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    };
    let new = |name, query| {
        snodo(&["new", "fact", name, "--held-by", "registry", "--query", query, "--law", "cad-50"])
    };
    let (code, said) = new("family", "household");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said, "wrote routes/facts/family.yaml\nwrote schemas/facts/family.v1.json\n");
    let (code, said) = new("lives", "alive");
    assert_eq!((code, said.as_str()), (Some(0), "wrote routes/facts/lives.yaml\n"));
    assert_eq!(snodo(&["check"]), (Some(0), "nothing is wrong\n".to_owned()));
    let (code, said) = new("other", "nothing");
    assert!(code == Some(2) && said.contains("it has: alive, household, income"), "{said}");
    assert_eq!(new("Family", "household").0, Some(2));
}

const DIFFERS: &str = r#"# every expectation is wrong in its own way
tests:
  - name: one
    message: { data: { name: a, n: 11 }, id: x }
    steps: { put: { fails: [transient], refuses: { reason: full } } }
    expect:
      state: parked
      ran: [put, register]
      not_ran: [put]
      calls: { put: 1, letter: 0 }
      inputs: { put: { name: b, protocol: "0000001/2026" } }
      emits: [{ emit: test.done.v1 }]
      waits: [2s]
      fault: { code: SN0760, step: letter, reason: empty }
      problem: { code: SN0605 }
      deliveries: 2
  - name: what is emitted differs inside
    message: { data: { name: a, n: 1 } }
    steps: { put: { returns: { at: shelf } } }
    expect:
      emits: [{ emit: test.done.v1, to: [region], with: { at: drawer } }]
  - name: nobody says what is answered
    message: { data: { name: a, n: 1 } }
    expect: { state: completed }
  - name: it is refused at the door for another reason
    message: { data: { name: "", n: 1 } }
    expect: { state: completed, problem: { code: SN0601, pointer: /n } }
  - name: they end in another order
    messages: [{ id: a, data: { name: a, n: -1 } }, { id: b, data: { name: b, n: -1 }, expect: { state: parked } }]
    arrive: [b, a]
    expect: { order: [a, b] }
"#;

#[test]
fn what_differs_is_said_with_its_place_what_was_expected_and_what_was_found() {
    let house = house();
    fs::write(house.path().join("routes/filed.test.yaml"), DIFFERS).expect("written");
    let (code, said) = run(house.path(), &["filed"]);
    insta::assert_snapshot!(said);
    assert_eq!(code, 1);
    // By name.
    let (code, said) = run(house.path(), &["--name", "route's own file"]);
    assert_eq!((code, said.contains("passed: 1 (")), (0, true), "{said}");
    let (code, said) = run(house.path(), &["--json"]);
    let told: Value = serde_json::from_str(&said).expect("JSON");
    let failures = told["tests"][1]["failures"].as_array().expect("a list");
    assert_eq!((code, failures[0]["what"].as_str()), (1, Some("state")), "{said}");
    assert_eq!(failures[0]["line"], 7, "{said}");
    let (code, said) = run(house.path(), &["file"]);
    assert_eq!(
        (code, said.as_str()),
        (2, "snodo: there is no route `file`; did you mean `filed`?\n")
    );
}

#[test]
fn coverage_is_written_for_editors_and_code_hosts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("coverage.lcov");
    let (code, said) = run(Path::new(FIXTURE), &["sent", "--lcov", path.to_str().expect("text")]);
    assert_eq!(code, 0, "{said}");
    let written = fs::read_to_string(path).expect("written");
    insta::assert_snapshot!(written, @r"
    TN:
    SF:routes/sent.yaml
    BRDA:10,0,0,2
    BRF:1
    BRH:1
    DA:10,4
    LF:1
    LH:1
    end_of_record
    ");
}
