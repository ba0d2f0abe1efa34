//! The command line as people and scripts use it: what goes where, and with which code it ends.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use snodo_tests::bus::binaries;

const CONFIG: &str = "\
data: data
ledger: { sqlite: ledger.db }
broker: { private: true }
";

fn house(config: &str) -> tempfile::TempDir {
    let house = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(house.path().join("config")).expect("made");
    fs::write(house.path().join("config/snodo.yaml"), config).expect("written");
    house
}

fn command(house: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries().expect("built").join("snodo"));
    command.args(arguments).arg("--house").arg(house).env_remove("SNODO_ENV");
    command.stdin(Stdio::null());
    command
}

fn run(house: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(house, arguments).output().expect("started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

#[test]
fn a_house_in_order_checks_with_code_0_and_says_nothing_on_the_standard_output() {
    let house = house(CONFIG);
    let (code, out, err) = run(house.path(), &["check"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", "nothing is wrong\n"));
    let (code, out, _) = run(house.path(), &["check", "--format", "json"]);
    assert_eq!((code, out.as_str()), (0, "[]\n"));
}

#[test]
fn mistakes_end_with_code_2_and_are_all_said() {
    let house = house("data: data\nledger: { sqlite: l.db }\nbrokr: { private: true }\n");
    let (code, out, err) = run(house.path(), &["check"]);
    assert_eq!((code, err.as_str()), (2, "mistakes: 2\n"));
    insta::assert_snapshot!(out.trim_end(), @r"
    error[SN0443]: the key `broker` is missing
     --> config/snodo.yaml:1:1
      |
    1 | data: data
      | ^ is missing here
      |
    help: write broker: { private: true } or broker: { uris: [amqp://user@host:5672/vhost], password: { file } }

    error[SN0442]: the key `brokr` is not known
     --> config/snodo.yaml:3:1
      |
    3 | brokr: { private: true }
      | ^^^^^ not known here
      |
    help: write `broker`, the nearest of the keys here
    ");
    let (_, json, _) = run(house.path(), &["check", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(said[1]["code"], "SN0442");
    assert_eq!((&said[1]["line"], &said[1]["column"]), (&3.into(), &1.into()));
    let (_, sarif, _) = run(house.path(), &["check", "--format", "sarif"]);
    a_code_host_accepts(&serde_json::from_str(&sarif).expect("JSON"));
}

/// What code hosts demand of SARIF 2.1.0 before they show it beside the lines.
fn a_code_host_accepts(said: &serde_json::Value) {
    assert_eq!(said["version"], "2.1.0");
    assert!(said["$schema"].as_str().is_some_and(|schema| schema.contains("sarif-2.1.0")));
    let run = &said["runs"][0];
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].is_string() && driver["semanticVersion"].is_string(), "{driver}");
    let rules = driver["rules"].as_array().expect("rules");
    for rule in rules {
        for text in ["shortDescription", "fullDescription", "help"] {
            let words = rule[text]["text"].as_str().expect(text);
            assert!(!words.is_empty(), "{rule}");
        }
        assert!(rule["help"]["markdown"].as_str().is_some_and(|page| page.starts_with("# SN")));
    }
    let results = run["results"].as_array().expect("results");
    assert_eq!(results.len(), 2);
    for result in results {
        let rule = &rules
            [usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small")];
        assert_eq!(rule["id"], result["ruleId"], "{result}");
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap_or_default()));
        assert!(result["message"]["text"].is_string(), "{result}");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "config/snodo.yaml", "relative, with `/`");
        let region = &place["region"];
        let number = |name: &str| region[name].as_u64().expect(name);
        assert!(number("startLine") >= 1 && number("startColumn") >= 1, "{region}");
        assert!(number("endLine") >= number("startLine"), "{region}");
    }
}

const LAWS: &str = "a-law: { title: A law }\n";

/// What `new` writes is complete: it checks, its tests pass and leave nothing out.
#[test]
fn new_files_pass_check_and_test_as_they_are() {
    let register =
        format!("{CONFIG}adapters: {{ protocollo: {{ kind: protocollo, aoo: c_g273 }} }}\n");
    for config in [CONFIG, &register] {
        let house = house(config);
        fs::create_dir_all(house.path().join("routes")).expect("made");
        fs::write(house.path().join("routes/laws.yaml"), LAWS).expect("written");
        let done = |arguments: &[&str]| {
            let (code, out, err) = run(house.path(), arguments);
            assert_eq!(code, 0, "{arguments:?}: {out}{err}");
            out
        };
        let out = done(&["new", "purpose", "school-canteen", "--law", "a-law"]);
        assert_eq!(out, "wrote routes/purposes/school-canteen.yaml\n");
        let new = ["--from", "scuola.canteen.requested.v1", "--purpose", "school-canteen"];
        done(&[&["new", "route", "canteen"][..], &new].concat());
        // A second route of the same type: the schema is there.
        done(&[&["new", "route", "canteen-again"][..], &new].concat());
        let out = done(&["new", "party", "desk"]);
        let token = out.lines().last().and_then(|line| line.rsplit(' ').next()).expect("a token");
        let digest = snodo_core::ids::Digest::of(token.as_bytes()).to_string();
        let party =
            fs::read_to_string(house.path().join("config/parties/desk.yaml")).expect("written");
        assert!(token.len() == 64 && party.contains(&digest) && !party.contains(token), "{party}");
        let (code, _, err) = run(house.path(), &["check"]);
        assert_eq!((code, err.as_str()), (0, "nothing is wrong\n"));
        done(&["test", "--min-coverage", "100"]);
        assert_eq!(done(&["fmt", "--check"]), "", "what is written is in form");

        let (code, _, err) = run(house.path(), &[&["new", "route", "canteen"][..], &new].concat());
        let there = "snodo: routes/canteen.yaml is there already; nothing was written\n";
        assert_eq!((code, err.as_str()), (2, there));
        let (code, _, err) = run(house.path(), &["new", "purpose", "x", "--law", "anything"]);
        assert!(code == 2 && err.contains("it has: a-law"), "{err}");
        assert_eq!(run(house.path(), &["new", "party", "Desk"]).0, 2);
    }
}

/// A kind that is added to the catalogue says how an instance begins, or this fails.
#[test]
fn a_new_adapter_of_each_kind_checks_as_it_is() {
    let flow = format!("{CONFIG}adapters: {{ own_archive: {{ kind: archive }} }} # ours\n");
    let block = format!("adapters:\n  own_archive: {{ kind: archive }} # ours\n{CONFIG}");
    let test = format!("{CONFIG}environment: {{ kind: test }}\n");
    for before in [CONFIG, &flow, &block, &test] {
        for kind in snodo_adapters::catalog().kinds() {
            let house = house(before);
            let (code, out, err) =
                run(house.path(), &["new", "adapter", "far_side", "--kind", kind]);
            assert_eq!(code, 0, "{kind}: {out}{err}");
            assert!(out.ends_with("wrote config/snodo.yaml\n"), "{out}");
            let (code, out, err) = run(house.path(), &["check", "--json"]);
            let said: Vec<serde_json::Value> = serde_json::from_str(&out).expect("JSON");
            // The secrets of this house are nobody's.
            assert!(
                code == 0 && said.iter().all(|one| one["code"] == "SN0458"),
                "{kind}: {out}{err}"
            );
            let after = fs::read_to_string(house.path().join("config/snodo.yaml")).expect("read");
            for line in before.lines().map(|line| line.trim_end_matches(" } # ours")) {
                assert!(after.contains(line), "{line} is not in {after}");
            }
            if before != flow {
                let (code, out, _) = run(house.path(), &["fmt", "--check"]);
                assert_eq!((code, out.as_str()), (0, ""), "{after}");
            }
        }
    }
}

#[test]
fn a_new_adapter_that_cannot_be_says_why_and_writes_nothing() {
    let flow = format!("{CONFIG}adapters: {{ own_archive: {{ kind: archive }} }}\n");
    for (config, name, kind, said) in [
        (
            flow.as_str(),
            "own_archive",
            "archive",
            "there is an adapter instance `own_archive` already; nothing was written",
        ),
        (
            CONFIG,
            "a",
            "htp",
            "there is no adapter of kind `htp`: write `http`, the nearest of the kinds of adapters",
        ),
        (
            CONFIG,
            "a-b",
            "http",
            "`a-b` is no name: write small letters, digits and `_`, first a letter",
        ),
        (
            "{ data: data, ledger: { sqlite: l.db }, broker: { private: true } }\n",
            "a",
            "archive",
            "config/snodo.yaml has no place for `a`: write `adapters:` there, below it one instance per line, \
             and call this again; nothing was written",
        ),
    ] {
        let house = house(config);
        let (code, out, err) = run(house.path(), &["new", "adapter", name, "--kind", kind]);
        assert_eq!((code, out.as_str(), err), (2, "", format!("snodo: {said}\n")));
        let after = fs::read_to_string(house.path().join("config/snodo.yaml")).expect("read");
        assert_eq!(after, config);
    }
}

#[test]
fn mistakes_on_the_command_line_end_with_code_2_and_help_with_0() {
    let house = house(CONFIG);
    for wrong in [&["frob"][..], &["parked", "replay", "x"], &["explain", "SN9999"], &[]] {
        let (code, out, err) = run(house.path(), wrong);
        assert_eq!((code, out.as_str()), (2, ""), "{wrong:?}");
        assert!(!err.is_empty(), "{wrong:?}");
    }
    let (code, out, err) = run(house.path(), &["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("check"));
}

#[test]
fn a_command_of_operators_works_without_a_bus() {
    let house = house(CONFIG);
    fs::create_dir(house.path().join("data")).expect("made");
    let (code, out, err) = run(house.path(), &["parked", "list", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(out, "{\"deliveries\":[],\"next\":null}\n");
    let unknown = "00000000-0000-8000-8000-000000000000";
    let (code, out, _) = run(house.path(), &["parked", "discard", unknown, "--reason", "test"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(out, @r"
    SN0861: there is no such delivery
      expected: an id that a list shows
      who: operator
    ");
    let (code, out, _) = run(house.path(), &["ledger", "stats", "--json"]);
    let stats: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &stats["sound"]), (0, &true.into()));
    let (code, _, _) = run(house.path(), &["instances", "list"]);
    assert_eq!(code, 0);
}

#[test]
fn the_evidence_is_verified_and_proved_without_a_bus() {
    let house = house(CONFIG);
    let data = house.path().join("data");
    fs::create_dir(&data).expect("made");
    let (code, out, err) = run(house.path(), &["ledger", "verify", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(out, "{\"findings\":[],\"headsKept\":0,\"sound\":true}\n");
    // A head that was kept of a chain of which the ledger holds nothing: it was cut off.
    let hash = "0".repeat(64);
    let head = format!(
        "{{\"at\":\"2026-01-01T00:00:00.000000Z\",\"chain\":\"0\",\"n\":3,\"hash\":\"{hash}\"}}\n"
    );
    fs::write(data.join("heads.log"), head).expect("written");
    let (code, out, _) = run(house.path(), &["ledger", "verify"]);
    assert_eq!(code, 1, "{out}");
    insta::assert_snapshot!(out, @r"
    chain 0: events 1 to 3 were cut off the end
    what to do: keep this database as it is, and see `snodo explain SN0843`
    ");
    let (code, out, _) = run(house.path(), &["ledger", "verify", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, 1, "{out}");
    assert_eq!(told["findings"][0]["finding"], "truncated", "{out}");
    assert_eq!(told["findings"][0]["text"], "chain 0: events 1 to 3 were cut off the end");
    fs::remove_file(data.join("heads.log")).expect("removed");
    let (code, out, _) = run(house.path(), &["ledger", "verify"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(out, @"every chain is as it was written; compared with heads kept outside: 0");
    let unknown = "00000000-0000-8000-8000-000000000000";
    let (code, out, _) = run(house.path(), &["ledger", "prove", unknown]);
    assert_eq!(code, 1);
    assert!(out.starts_with("SN0861: there is no such message"), "{out}");
}

#[test]
fn a_code_is_explained_from_its_page() {
    let house = house(CONFIG);
    let (code, out, err) = run(house.path(), &["explain", "sn0834"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("# SN0834 The data folder cannot be used\n"), "{out}");
}

#[test]
fn what_a_broker_must_hold_is_planned_without_one() {
    let house = house(CONFIG);
    let (code, out, err) = run(house.path(), &["topology", "plan"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.lines().any(|line| line == "queue     /  snodo.unrouted"), "{out}");
    for act in ["apply", "verify"] {
        let (code, out, err) = run(house.path(), &["topology", act]);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains("private broker") && err.contains("start the bus again"), "{err}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_hides_no_mistake() {
    let wrong = "data: data\nledger: { sqlite: l.db }\n";
    for (config, arguments, expected) in
        [(CONFIG, &["explain", "SN0101"][..], 0), (CONFIG, &["check"], 0), (wrong, &["check"], 2)]
    {
        let house = house(config);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = command(house.path(), arguments).stdout(writer).status().expect("started");
        assert_eq!(ended.code(), Some(expected), "{arguments:?} {config}");
    }
}

/// A route with twelve mistakes, no two alike.
const TWELVE: &str = "\
route: moved
title: A citizen moves house
office: anagrafe
from: anagrafe.mvoed.v1
purpose: residnce
actor: system
when: !x .applicant
ofice: scuola

steps:
  - register:
      use: protocollo.registre
      with:
        direction: incoming
        subject: Change of residence of ${ .applicant | ascii_downcase( }
        sender: { name: \"${ now }\" }
  - archive:
      with: { documents: \"${ .attachments }\" }
  - announce:
      emit: anagrafe.moved.v1
      with:
        code: 082053
        urgent: no
        protocol: ${ $steps.regster.number }

retry: { first: 5 seconds, longest: 15m, give_up_after: 3d }
";

/// Code, place, what stands there, and a word of the help, for each of them.
const ALL_TWELVE: [(&str, &str, &str, &str); 12] = [
    ("SN0301", "4:7", "from: anagrafe.mvoed.v1", "`anagrafe.moved.v1`"),
    ("SN0306", "5:10", "purpose: residnce", "`residence`"),
    ("SN0103", "7:7", "when: !x .applicant", "`.paid | not`"),
    ("SN0109", "8:1", "ofice: scuola", "`office`"),
    ("SN0305", "12:23", "use: protocollo.registre", "`register`"),
    ("SN0117", "15:72", "ascii_downcase( }", "jq"),
    ("SN0118", "16:29", "sender: { name: \"${ now }\" }", "comes with the message"),
    ("SN0113", "17:5", "- archive:", "add `use:"),
    ("SN0106", "22:15", "code: 082053", "\"082053\""),
    ("SN0106", "23:17", "urgent: no", "\"no\""),
    ("SN0123", "24:29", "$steps.regster.number", "`register`"),
    ("SN0116", "26:17", "first: 5 seconds", "100ms"),
];

fn house_of_residence(route: &str) -> tempfile::TempDir {
    let house =
        house(&format!("{CONFIG}adapters:\n  protocollo: {{ kind: protocollo, aoo: c_g273 }}\n"));
    for (path, text) in [
        ("routes/moved.yaml", route),
        (
            "routes/purposes/residence.yaml",
            "purpose: residence\ntitle: Residence\nlaws: [dpr-223-1989]\nrecord: T-07\nretention: 30d\n",
        ),
        ("routes/laws.yaml", "dpr-223-1989: { title: DPR 223/1989 }\n"),
        ("schemas/anagrafe/moved.v1.json", "{ \"x-unclaimed\": \"discard\" }\n"),
    ] {
        let path = house.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    house
}

#[test]
fn a_route_with_twelve_mistakes_is_told_all_twelve_in_one_run() {
    let house = house_of_residence(TWELVE);
    let (code, out, err) = run(house.path(), &["check"]);
    assert_eq!((code, err.as_str()), (2, "mistakes: 12\n"), "{out}");
    let told: Vec<&str> = out.split("error[").skip(1).collect();
    assert_eq!(told.len(), 12, "{out}");
    for ((code, place, snippet, help), told) in ALL_TWELVE.iter().zip(told) {
        let (what, helped) =
            told.split_once("\nhelp: ").unwrap_or_else(|| panic!("no help: {told}"));
        assert!(what.starts_with(code), "{code} is expected: {told}");
        assert!(
            what.contains(&format!("--> routes/moved.yaml:{place}\n")),
            "{code} {place}: {told}"
        );
        assert!(what.contains(snippet) && what.contains('^'), "{code} {snippet}: {told}");
        assert!(helped.contains(help), "{code} {help}: {told}");
    }
    let (code, json, _) = run(house.path(), &["check", "--json"]);
    let said: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, said.len()), (2, 12));
    // What does not pass does not start.
    let (code, _, err) = run(house.path(), &["run"]);
    assert_eq!(code, 2);
    assert_eq!(err.matches("--> routes/moved.yaml:").count(), 12, "{err}");
}

#[test]
fn an_unknown_code_is_answered_with_the_nearest_and_all_can_be_listed() {
    let house = house(CONFIG);
    let (code, out, err) = run(house.path(), &["explain", "SN061"]);
    assert_eq!((code, out.as_str()), (2, ""));
    insta::assert_snapshot!(err, @"snodo: there is no code `SN061`; the nearest is SN0161, A published schema is gone; `snodo explain` lists all");
    let (code, _, err) = run(house.path(), &["explain", "duplicate_key"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @"snodo: there is no code `DUPLICATE_KEY`; a code is SN and four digits; `snodo explain` lists all");
    let (code, out, _) = run(house.path(), &["explain"]);
    assert_eq!((code, out.lines().count()), (0, snodo_core::codes::all().count()));
    assert!(out.contains("SN0615  The bus takes no more for now\n"), "{out}");
}

#[test]
fn what_a_call_did_is_said_in_one_way() {
    let house = house(CONFIG);
    fs::create_dir(house.path().join("data")).expect("made");
    let id = "00000000-0000-8000-8000-000000000000";
    let resolve = |more: &[&str]| {
        let typed = [&["uncertain", "resolve", id, "--reason", "asked them"][..], more].concat();
        run(house.path(), &typed)
    };
    for understood in [
        &["--done"][..],
        &["--not-done"],
        &["--done", "--result", r#"{"number":"1/2026"}"#, "--reference", "REG-1"],
    ] {
        let (code, out, err) = resolve(understood);
        assert_eq!(code, 1, "{understood:?}: {err}");
        assert!(out.starts_with("SN0861: there is no such delivery"), "{understood:?}: {out}{err}");
    }
    for wrong in [
        &[][..],
        &["--done", "--not-done"],
        &["--not-done", "--result", "{}"],
        &["--not-done", "--reference", "REG-1"],
        &["--done", "--result", "no JSON"],
    ] {
        let (code, out, err) = resolve(wrong);
        assert_eq!((code, out.as_str()), (2, ""), "{wrong:?}: {err}");
    }
}

#[test]
fn every_command_says_what_it_does_and_what_it_takes() {
    let house = house(CONFIG);
    let mut open = vec![Vec::new()];
    let mut seen = 0;
    while let Some(words) = open.pop() {
        let typed: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let (code, out, err) = run(house.path(), &typed);
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        let (what, rest) =
            out.split_once("\n\nUsage: ").unwrap_or_else(|| panic!("{words:?}: {out}"));
        assert!(what.len() > 10, "{words:?} says what it does: {what}");
        assert!(
            rest.contains("\nEverywhere:\n"),
            "{words:?}: what every command knows stands apart"
        );
        let mut section = "";
        for line in rest.lines() {
            if let Some(name) = line.strip_suffix(':') {
                section = name;
            }
            let entry = line.strip_prefix("  ").filter(|entry| !entry.starts_with(' '));
            let Some((name, says)) = entry.and_then(|entry| entry.split_once("  ")) else {
                continue;
            };
            if matches!(section, "Commands" | "Arguments") {
                assert!(!says.trim().is_empty(), "{words:?}: `{name}` says nothing");
            }
            if section == "Commands" && name != "help" {
                open.push(words.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
        seen += 1;
    }
    assert!(seen > 20, "only {seen} commands");
}

#[test]
fn what_lies_in_routes_and_is_read_by_nobody_is_said() {
    let house = house(CONFIG);
    let write = |path: &str| {
        let path = house.path().join("routes").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "").expect("written");
    };
    for path in
        ["notes.txt", "old.yml", "enrol.test.yaml", "enroll/request.json", "cases/isee.yaml"]
    {
        write(path);
    }
    write("purposes/readme.md");
    write(".hidden");
    let (code, out, _) = run(house.path(), &["check"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(out.trim_end(), @r"
    error[SN0115]: routes/cases/ is not in this version
     --> routes/cases:1:1
      |
    1 |
      | ^ reserved
      |
    help: move it away; the folder is kept for a later version

    error[SN0159]: routes/enrol.test.yaml belongs to no route
     --> routes/enrol.test.yaml:1:1
      |
    1 |
      | ^ there is no routes/enrol.yaml
      |
    help: there are no routes yet

    error[SN0159]: routes/enroll belongs to no route
     --> routes/enroll:1:1
      |
    1 |
      | ^ there is no routes/enroll.yaml
      |
    help: there are no routes yet

    error[SN0149]: routes/notes.txt is read by nobody
     --> routes/notes.txt:1:1
      |
    1 |
      | ^ an unknown file
      |
    help: a route is <name>.yaml, its tests are <name>.test.yaml, their files lie in <name>/; put anything else elsewhere

    error[SN0149]: routes/old.yml is read by nobody
     --> routes/old.yml:1:1
      |
    1 |
      | ^ an unknown file
      |
    help: call it routes/old.yaml

    error[SN0149]: routes/purposes/readme.md is read by nobody
     --> routes/purposes/readme.md:1:1
      |
    1 |
      | ^ an unknown file
      |
    help: a purpose is <name>.yaml; put anything else elsewhere
    ");
}

#[test]
fn an_adapter_instance_is_not_called_as_the_clocks_are() {
    let house =
        house(&format!("{CONFIG}adapters:\n  clock: {{ kind: protocollo, aoo: c_g273 }}\n"));
    let (code, out, _) = run(house.path(), &["check"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(out.trim_end(), @r"
    error[SN0450]: no adapter instance may be called `clock`
     --> config/snodo.yaml:5:18
      |
    5 |   clock: { kind: protocollo, aoo: c_g273 }
      |                  ^^^^^^^^^^ the name of the clocks of routes
      |
    help: give it another name: it is the source of what clocks give
    ");
}

#[test]
fn only_questions_are_counted_by_the_day() {
    let limits = "limits: { per_day: { registr: 5 } }";
    let house = house(&format!(
        "{CONFIG}adapters:\n  protocollo: {{ kind: protocollo, aoo: c_g273, {limits} }}\n"
    ));
    let (code, out, _) = run(house.path(), &["check"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(out.trim_end(), @r"
    error[SN0462]: `registr` is no question of `protocollo`
     --> config/snodo.yaml:5:78
      |
    5 |   protocollo: { kind: protocollo, aoo: c_g273, limits: { per_day: { registr: 5 } } }
      |                                                                              ^ no such question
      |
    help: the questions of `protocollo` are `daily_register`
    ");
}

#[test]
fn the_language_of_routes_is_printed_for_editors() {
    let house = house(CONFIG);
    let (code, out, err) = run(house.path(), &["schema", "route"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(schema["title"], "A route of Snodo");
    assert!(schema["properties"]["order_by"].is_object(), "{out}");
    assert_eq!(run(house.path(), &["schema", "party"]).0, 2);
}

#[test]
fn the_house_is_drawn_as_it_is() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (code, out, err) = run(&repository, &["graph"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    for line in [
        "flowchart LR",
        "route_residence_change[\"residence-change\"]",
        "type_anagrafe_residence_change_declared_v1 --> route_residence_change",
        "route_residence_change -.->|\"register\"| target_protocollo",
        "route_residence_change --> type_anagrafe_residence_change_registered_v1",
        "type_protocollo_day_closed_v1 -->|\"clock\"| route_daily_register",
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{out}");
    }
    assert_eq!(run(&repository, &["graph"]).1, out, "the same house, the same text");
    let (code, picture, err) = run(&repository, &["graph", "--format", "svg"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(picture.contains("<svg ") && picture.trim_end().ends_with("</svg>"), "{picture}");
    for name in
        ["residence-change", "anagrafe.residence-change.declared.v1", "comune-sportello", "clock"]
    {
        assert!(picture.contains(&format!(">{name}<")), "{name} is not drawn");
    }
    assert_eq!(run(&repository, &["graph", "--format", "svg"]).1, picture);
}

#[test]
fn what_is_published_cannot_change() {
    let house = house(CONFIG);
    let schema = house.path().join("schemas/town/told.v1.json");
    let write = |most: u32| {
        let text = format!(
            "{{ \"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"type\": \"object\", \
             \"additionalProperties\": false, \"properties\": {{ \"n\": {{ \"type\": \"integer\", \
             \"maximum\": {most} }} }} }}\n"
        );
        fs::create_dir_all(schema.parent().expect("a folder")).expect("made");
        fs::write(&schema, text).expect("written");
    };
    write(3);
    let (code, out, err) = run(house.path(), &["schema", "publish", "town.tol.v1"]);
    assert_eq!((code, out.as_str()), (2, ""));
    insta::assert_snapshot!(err, @"snodo: there is no type `town.tol.v1` in schemas/");
    let (code, out, _) = run(house.path(), &["schema", "publish"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(out, @"published town.told.v1");
    let (code, out, _) = run(house.path(), &["schema", "publish"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(out, @"schemas/published.lock is as it was");
    assert_eq!(run(house.path(), &["check"]).0, 0);
    write(4);
    let (code, out, _) = run(house.path(), &["check"]);
    assert_eq!(code, 2);
    assert!(out.contains("SN0160") && out.contains("town.told.v2"), "{out}");
}

#[test]
fn shells_complete_every_command_and_each_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(folder.path(), &["completions", shell]);
        assert_eq!(code, 0);
        assert!(out.contains("reload") && out.contains("uncertain"), "{shell}");
    }
    let pages = folder.path().join("pages");
    let (code, _, err) = run(folder.path(), &["man", &pages.display().to_string()]);
    assert_eq!(code, 0, "{err}");
    for page in ["snodo.1", "snodo-reload.1", "snodo-parked-replay.1"] {
        let text = fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
}
