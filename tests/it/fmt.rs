//! `snodo fmt` as people, editors and continuous integration use it.
//!
//! Invariant: what is written means what it meant, has its comments where they were, and is formatted; what
//! cannot be read is left as it is and said.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use snodo_core::{
    diagnostic::{Problems, SourceFile},
    yaml,
};
use snodo_tests::bus::binaries;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs it in a house, with something on its standard input.
fn fmt(house: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(binaries().expect("built").join("snodo"));
    command.arg("fmt").args(arguments).current_dir(house).env_remove("SNODO_ENV");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("started");
    let mut stdin = running.stdin.take().expect("piped");
    let given = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(given.as_bytes()));
    let output = running.wait_with_output().expect("it ends");
    let _ = writer.join();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn house(files: &[(&str, &str)]) -> tempfile::TempDir {
    let house = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let file = house.path().join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
    }
    house
}

fn value(text: &str) -> Option<serde_json::Value> {
    let file = Arc::new(SourceFile { path: "r.yaml".to_owned(), text: text.to_owned() });
    let mut problems = Problems::default();
    yaml::read(&file, &mut problems).filter(|_| !problems.any_error())?.value()
}

/// The comments, in order, without what stands before them.
fn comments(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| {
            let alone = line.trim_start().starts_with('#');
            let at = if alone { line.find('#') } else { line.rfind(" #").map(|at| at + 1) };
            at.map(|at| line[at..].trim_end())
        })
        .collect()
}

#[test]
fn the_house_of_the_repository_is_formatted() {
    let (code, out, err) = fmt(&repository(), &["--check"], "");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""), "run `snodo fmt`");
}

const UNTIDY: &str = "\
# What it is of.
route:   canteen        # its name
title: 'A family''s child'
office:    'school'


needs:
    household:
        fact: household          # held by ANPR
        about: ${ .applicant.taxCode }
        case: ${ $steps.register.number } # asked after
                                          # it has a number
retry: {first: 5s,   longest: 15m}
steps:
- register:
    use: protocollo.register
    with: { direction: incoming,
            subject: \"Of ${ .a }: ${ .b | map(select(.c == 1 and .d == 2)) | length } of a line that is long\" }
    # alone
- text:
    emit: a.b.v1
    with:
        literal: |
            one
              two   # no comment
        folded: >-
            three
            four
        list: [ 1,2,  3 ]
";

const TIDY: &str = "\
# What it is of.
route: canteen          # its name
title: 'A family''s child'
office: \"school\"

needs:
  household:
    fact: household              # held by ANPR
    about: ${ .applicant.taxCode }
    case: ${ $steps.register.number }     # asked after
                                          # it has a number
retry: { first: 5s, longest: 15m }
steps:
  - register:
      use: protocollo.register
      with: { direction: incoming,
              subject: \"Of ${ .a }: ${ .b | map(select(.c == 1 and .d == 2)) | length } of a line that is long\" }
      # alone
  - text:
      emit: a.b.v1
      with:
        literal: |
          one
            two   # no comment
        folded: >-
          three
          four
        list: [1, 2, 3]
";

#[test]
fn an_editor_gets_back_the_same_in_form() {
    let house = house(&[]);
    let (code, out, err) = fmt(house.path(), &["-"], UNTIDY);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, TIDY);
    assert_eq!(value(&out), value(UNTIDY));
    assert_eq!(fmt(house.path(), &["-"], TIDY), (0, TIDY.to_owned(), String::new()));
    assert_eq!(fmt(house.path(), &["-", "--check"], UNTIDY).0, 1);
    assert_eq!(fmt(house.path(), &["-", "--check"], TIDY).0, 0);
    let (code, out, err) = fmt(house.path(), &["-"], "a: [1\n");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.starts_with("snodo: error[SN0101]: this is not YAML\n --> standard input:"),
        "{err}"
    );
    let (code, out, _) = fmt(house.path(), &["-"], &"# long\n".repeat(160_000));
    assert_eq!((code, out.as_str()), (2, ""), "the longest file that is read has 1 MiB");
}

#[test]
fn the_files_of_the_house_are_written_and_no_others() {
    let untidy = "a:   1\n";
    let house = house(&[
        ("config/snodo.yaml", untidy),
        ("config/env/test.yaml", untidy),
        ("config/parties/region.yaml", untidy),
        ("config/prometheus/rules.yaml", untidy),
        ("routes/a.yaml", untidy),
        ("routes/a.test.yaml", "a: 1\n"),
        ("routes/a/body.json", "{\"a\":   1}\n"),
        ("routes/broken.yaml", "a: 1\na:   2\n"),
        ("routes/facts/f.yaml", untidy),
        ("routes/laws.yaml", untidy),
        ("routes/purposes/p.yaml", untidy),
        ("shared.yaml", untidy),
    ]);
    let at = |path: &str| house.path().join(path);
    symlink(at("shared.yaml"), at("routes/link.yaml")).expect("linked");
    fs::set_permissions(at("routes/laws.yaml"), fs::Permissions::from_mode(0o640)).expect("set");
    let all = "config/env/test.yaml\nconfig/parties/region.yaml\nconfig/snodo.yaml\nroutes/a.yaml\n\
               routes/facts/f.yaml\nroutes/laws.yaml\nroutes/link.yaml\nroutes/purposes/p.yaml\n";

    let (code, out, err) = fmt(house.path(), &["--check"], "");
    assert_eq!((code, out.as_str()), (2, all), "{err}");
    assert_eq!(
        fs::read_to_string(at("routes/a.yaml")).expect("read"),
        untidy,
        "nothing is written"
    );
    let (code, out, _) = fmt(house.path(), &["--check", "routes/facts"], "");
    assert_eq!((code, out.as_str()), (1, "routes/facts/f.yaml\n"));
    let (code, out, _) = fmt(house.path(), &["routes/facts/f.yaml", "routes/facts"], "");
    assert_eq!((code, out.as_str()), (0, "formatted routes/facts/f.yaml\n"));

    let (code, out, err) = fmt(house.path(), &[], "");
    let rest = all.replace("routes/facts/f.yaml\n", "");
    let formatted: String = rest.lines().map(|path| format!("formatted {path}\n")).collect();
    assert_eq!((code, out), (2, formatted), "what cannot be read keeps nothing else from it");
    insta::assert_snapshot!(err.trim_end(), @r"
    snodo: error[SN0107]: the key `a` is written twice
     --> routes/broken.yaml:2:1
      |
    2 | a:   2
      | ^ written again here
      |
    help: delete one of the two; the first is on line 1
    ");
    for path in all.lines() {
        assert_eq!(fs::read_to_string(at(path)).expect("read"), "a: 1\n", "{path}");
    }
    for (path, text) in [
        ("routes/broken.yaml", "a: 1\na:   2\n"),
        ("config/prometheus/rules.yaml", untidy),
        ("routes/a/body.json", "{\"a\":   1}\n"),
    ] {
        assert_eq!(fs::read_to_string(at(path)).expect("read"), text, "{path}");
    }
    let mode = fs::metadata(at("routes/laws.yaml")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(fs::symlink_metadata(at("routes/link.yaml")).expect("there").is_symlink());
    let left = fs::read_dir(at("routes")).expect("read").count();
    assert_eq!(left, 8, "nothing is left beside them");

    let (code, out, _) = fmt(house.path(), &["--json", "routes/a.yaml"], "");
    assert_eq!((code, out.as_str()), (0, "{\"as_they_were\":1,\"formatted\":[]}\n"));
    for wrong in ["routes/a/body.json", "routes/none.yaml", "routes/a"] {
        assert_eq!(fmt(house.path(), &[wrong], "").0, 2, "{wrong}");
    }
    let outside = tempfile::NamedTempFile::with_suffix(".yaml").expect("made");
    let (code, _, err) = fmt(house.path(), &[outside.path().to_str().expect("text")], "");
    assert!(code == 2 && err.contains("lies outside the house"), "{err}");
}

/// Every YAML file that the repository has, right or wrong.
fn all_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            all_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
}

/// Other forms of the same file: further in, with room between, without room.
fn other_forms(text: &str) -> Vec<String> {
    let further = text.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        format!("{}{line}\n", " ".repeat(indent))
    });
    let apart =
        text.replace(": ", ":   ").replace('[', "[  ").replace("{ ", "{").replace("\n\n", "\n\n\n");
    vec![text.to_owned(), further.collect(), apart, text.replace('\n', "\r\n")]
}

#[test]
fn form_is_all_that_changes_in_any_file_of_the_repository() {
    let mut files = Vec::new();
    for folder in ["routes", "config", "tests/it/fixtures"] {
        all_files(&repository().join(folder), &mut files);
    }
    files.sort();
    let mut texts: Vec<String> =
        files.iter().map(|file| fs::read_to_string(file).expect("readable")).collect();
    texts.push(UNTIDY.to_owned());
    let house = house(&[]);
    let routes = house.path().join("routes");
    fs::create_dir_all(&routes).expect("made");
    let forms: Vec<String> = texts.iter().flat_map(|text| other_forms(text)).collect();
    for (index, text) in forms.iter().enumerate() {
        fs::write(routes.join(format!("f{index}.yaml")), text).expect("written");
    }
    let (_, _, said) = fmt(house.path(), &[], "");
    assert!(!said.contains("SN0176"), "{said}");
    let (_, again, _) = fmt(house.path(), &[], "");
    assert_eq!(again, "", "what is formatted stays so");
    let mut read = 0;
    for (index, before) in forms.iter().enumerate() {
        let after = fs::read_to_string(routes.join(format!("f{index}.yaml"))).expect("read");
        let Some(meaning) = value(before) else {
            assert_eq!(&after, before, "what cannot be read is left alone");
            continue;
        };
        read += 1;
        assert_eq!(value(&after), Some(meaning), "{before}");
        assert_eq!(comments(&after), comments(&before.replace("\r\n", "\n")), "{before}");
    }
    assert!(read > 600, "{read} could be read");
}
