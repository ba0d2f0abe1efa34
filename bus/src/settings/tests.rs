//! What is read of a configuration, and what is said of its mistakes.

use snodo_core::diagnostic::render_text;

use super::*;

const GOOD: &str = "\
instance: { slot: a }
data: /var/lib/snodo
ledger: { sqlite: ledger.db }
broker: { private: true }
http: { listen: 127.0.0.1:8080 }
metrics: { listen: 127.0.0.1:9464 }
limits: { body: 1MiB, waiting_per_route: 100000 }
adapters:
  protocollo: { kind: protocollo, aoo: c_g273 }
";

fn house(files: &[(&str, &str)]) -> tempfile::TempDir {
    let house = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = house.path().join(path);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    house
}

fn around(env: Option<&str>, variables: &[(&str, &str)]) -> Surroundings {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Surroundings { env: env.map(str::to_owned), variables: variables.iter().map(owned).collect() }
}

fn read(files: &[(&str, &str)], around: &Surroundings) -> (Option<Settings>, Vec<String>) {
    let house = house(files);
    let mut problems = Problems::default();
    let settings = load(house.path(), around, &mut problems);
    let said = problems.sorted().into_iter().map(|found| {
        let (line, column) = found.place.line_and_column();
        format!(
            "{} {}:{line}:{column} {} | {}",
            found.code, found.place.file.path, found.title, found.label
        )
    });
    (settings, said.collect())
}

fn mistakes(text: &str) -> Vec<String> {
    read(&[(FILE, text)], &Surroundings::default()).1
}

#[test]
fn the_shape_of_the_design_is_read() {
    let (settings, said) = read(&[(FILE, GOOD)], &Surroundings::default());
    assert_eq!(said, [""; 0]);
    let settings = settings.expect("checked");
    assert_eq!(settings.slot, "a");
    assert_eq!(settings.ledger, LedgerSettings::Sqlite("/var/lib/snodo/ledger.db".into()));
    assert_eq!(settings.broker, BrokerSettings::Private);
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.adapters["protocollo"].kind, "protocollo");
    assert_eq!(settings.adapters["protocollo"].options, serde_json::json!({ "aoo": "c_g273" }));
}

#[test]
fn the_environment_lies_over_its_file_and_that_over_the_main_one() {
    let env = "http: { listen: 0.0.0.0:80 }\nlimits: { body: 2MiB }\n";
    let around = around(
        Some("production"),
        &[
            ("SNODO__LIMITS__BODY", "3MiB"),
            ("SNODO__LIMITS__WAITING_PER_ROUTE", "7"),
            ("SNODO_OTHER", "is not ours"),
        ],
    );
    let (settings, said) = read(&[(FILE, GOOD), ("config/env/production.yaml", env)], &around);
    assert_eq!(said, [""; 0]);
    let settings = settings.expect("checked");
    assert_eq!(settings.http, "0.0.0.0:80".parse().expect("an address"));
    assert_eq!(
        settings.limits,
        Limits { body: 3 << 20, waiting_per_route: 7, ..Limits::default() }
    );
    assert_eq!(settings.metrics, "127.0.0.1:9464".parse().expect("an address"));
}

#[test]
fn all_mistakes_are_said_at_once_each_at_its_place() {
    let text = "\
instance: { slot: A! }
dta: /var/lib/snodo
ledger: { sqlite: l.db, postgres: {} }
broker: { uris: [\"amqp://snodo:hunter2@rabbit:5672\"], password: hunter2 }
http: { listen: localhost }
limits: { body: 1MB, waiting_per_route: 0 }
adapters:
  Canteen: { kind: http }
  archive: { folder: x }
";
    insta::assert_snapshot!(mistakes(text).join("\n"), @r"
    SN0443 config/snodo.yaml:1:1 the key `data` is missing | is missing here
    SN0444 config/snodo.yaml:1:19 the value of `slot` is wrong | not a name
    SN0442 config/snodo.yaml:2:1 the key `dta` is not known | not known here
    SN0445 config/snodo.yaml:3:1 `ledger` must say one thing | none of them or more than one is written
    SN0446 config/snodo.yaml:4:18 a secret stands in the configuration | a password
    SN0446 config/snodo.yaml:4:65 a secret stands in the configuration | written out
    SN0444 config/snodo.yaml:5:17 the value of `listen` is wrong | not an address and port
    SN0444 config/snodo.yaml:6:17 the value of `body` is wrong | not such a size
    SN0444 config/snodo.yaml:6:41 the value of `waiting_per_route` is wrong | not such a number
    SN0444 config/snodo.yaml:8:3 the value of `Canteen` is wrong | not a name
    SN0443 config/snodo.yaml:9:3 the key `kind` is missing | is missing here
    ");
}

#[test]
fn a_mistake_of_a_variable_names_the_variable_and_not_its_value() {
    let around =
        around(None, &[("SNODO__LEDGER__POSTGRES__PASSWORD", "hunter2"), ("SNODO__NEW", "1")]);
    let text = GOOD.replace(
        "{ sqlite: ledger.db }",
        "{ postgres: { host: db, database: snodo, user: snodo, password: { file: p } } }",
    );
    let (settings, said) = read(&[(FILE, &text)], &around);
    assert_eq!(settings, None);
    insta::assert_snapshot!(said.join("\n"), @r"
    SN0442 the environment:1:1 the key `new` is not known | not known here
    SN0446 the environment:1:1 a secret stands in the configuration | written out
    ");
    assert!(!said.join("").contains("hunter2"));
}

#[test]
fn yaml_that_hides_something_is_refused_with_its_place() {
    for (text, place) in [
        ("data: &a x\nledger: *a\n", "SN0104 config/snodo.yaml:1:7"),
        ("data: !!python/object x\n", "SN0103 config/snodo.yaml:1:7"),
        ("data: x\ndata: y\n", "SN0107 config/snodo.yaml:2:1"),
        ("limits:\n\tbody: 1MiB\n", "SN0108 config/snodo.yaml:2:1"),
        ("broker: { private: yes }\n", "SN0106 config/snodo.yaml:1:20"),
        ("- a\n", "SN0441 config/snodo.yaml:1:1"),
    ] {
        let said = mistakes(text);
        assert!(said.iter().any(|line| line.starts_with(place)), "{text:?}: {said:?}");
    }
    let long = format!("data: {}", "x".repeat(10 << 20));
    assert!(mistakes(&long)[0].starts_with("SN0102"));
}

#[test]
fn a_file_that_is_not_there_or_leads_out_of_the_house_is_said() {
    let missing = read(&[], &Surroundings::default()).1;
    insta::assert_snapshot!(missing.join("\n"), @"SN0440 config/snodo.yaml:1:1 config/snodo.yaml cannot be read | there is no such file");
    let outside = house(&[("snodo.yaml", GOOD)]);
    let inside = house(&[("config/x", "")]);
    std::os::unix::fs::symlink(outside.path().join("snodo.yaml"), inside.path().join(FILE))
        .expect("linked");
    let mut problems = Problems::default();
    assert_eq!(load(inside.path(), &Surroundings::default(), &mut problems), None);
    assert_eq!(problems.sorted()[0].label, "it leads out of the house");
    let around = around(Some("../../etc"), &[]);
    assert!(read(&[(FILE, GOOD)], &around).1[0].starts_with("SN0440"));
}

#[test]
fn a_mistake_reads_as_a_person_would_write_it() {
    let house =
        house(&[(FILE, &GOOD.replace("listen: 127.0.0.1:8080", "lissten: 127.0.0.1:8080"))]);
    let mut problems = Problems::default();
    load(house.path(), &Surroundings::default(), &mut problems);
    insta::assert_snapshot!(render_text(&problems.sorted()).trim_end(), @r"
    error[SN0442]: the key `lissten` is not known
     --> config/snodo.yaml:5:9
      |
    5 | http: { lissten: 127.0.0.1:8080 }
      |         ^^^^^^^ not known here
      |
    help: write `listen`, the nearest of the keys here
    ");
}
