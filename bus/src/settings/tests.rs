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
    Surroundings {
        env: env.map(str::to_owned),
        variables: variables.iter().map(owned).collect(),
        ..Surroundings::default()
    }
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

#[test]
fn what_is_kept_how_it_is_logged_and_what_it_is_have_their_words() {
    let text = GOOD.to_owned()
        + "environment: { kind: prod, test_hosts: 7 }\nlog: { format: xml }\n"
        + "retention: { bodies: 40d, metadata: 20d }\n";
    insta::assert_snapshot!(mistakes(&text).join("\n"), @r"
    SN0444 config/snodo.yaml:10:22 the value of `kind` is wrong | neither
    SN0444 config/snodo.yaml:10:40 the value of `test_hosts` is wrong | not a list of hosts
    SN0444 config/snodo.yaml:11:16 the value of `format` is wrong | no such format
    SN0460 config/snodo.yaml:12:37 metadata is kept for a shorter time than bodies | shorter than `bodies`
    ");
    let text = GOOD.to_owned() + "retention: { bodies: 1h }\n";
    let said = mistakes(&text);
    assert_eq!(
        said,
        ["SN0444 config/snodo.yaml:10:22 the value of `bodies` is wrong | not such a time"]
    );
    let (settings, _) = read(&[(FILE, GOOD)], &Surroundings::default());
    assert_eq!(settings.map(|settings| settings.retention), Some(Retention::default()));
}

#[test]
fn a_key_and_a_host_that_do_not_fit_are_said_where_they_stand() {
    let text = GOOD.replace(
        "adapters:\n",
        "environment: { kind: test }\nadapters:\n\
         \u{20} far: { kind: http, base: \"https://servizi.regione.it/x\", auth: { bearer: { file: k, for: test } } }\n\
         \u{20} near: { kind: http, base: \"https://far.uat.it\", auth: { bearer: { file: k, for: production } } }\n",
    );
    insta::assert_snapshot!(mistakes(&text).join("\n"), @r"
    SN0457 config/snodo.yaml:10:28 a test environment names a production host | a production host
    SN0455 config/snodo.yaml:10:92 a test key would be sent to a production host | `for: test`, and it goes to servizi.regione.it
    SN0456 config/snodo.yaml:11:83 a production key would be sent to a test host | `for: production`, and it goes to far.uat.it
    ");
    // What an adapter is handed has no `for`, and names the file as it is found from the house.
    let (settings, said) = read(
        &[(FILE, &text.replace("servizi", "servizi-test").replace("for: production", "for: test"))],
        &Surroundings::default(),
    );
    assert_eq!(said, [""; 0]);
    let settings = settings.expect("checked");
    let file = settings.house.join("k");
    assert_eq!(
        settings.adapters["far"].options["auth"],
        serde_json::json!({ "bearer": { "file": file } })
    );
    assert_eq!(settings.secrets.len(), 2);
}

#[test]
fn the_server_of_a_database_is_a_host_and_gets_its_password() {
    let text = |server: &str| {
        let instance = format!(
            "environment: {{ kind: test }}\nadapters:\n\
             \u{20} registry: {{ kind: sql, database: {{ postgres: {{ {server} }} }} }}\n"
        );
        GOOD.replace("adapters:\n", &instance)
    };
    let password = "password: { file: k, for: test }";
    insta::assert_snapshot!(mistakes(&text(&format!("host: Db.comune.it, {password}"))).join("\n"), @r"
    SN0457 config/snodo.yaml:10:56 a test environment names a production host | a production host
    SN0455 config/snodo.yaml:10:96 a test key would be sent to a production host | `for: test`, and it goes to db.comune.it
    ");
    let read_text = |server: &str| read(&[(FILE, &text(server))], &Surroundings::default());
    for (server, hosts) in [
        ("host: db.test, port: 6432", vec![("db.test", Some(Tls::Postgres(6432)))]),
        ("host: db.test, sslmode: disable", vec![("db.test", None)]),
        ("host: /run/postgresql", vec![]),
    ] {
        let (settings, said) = read_text(&format!("{server}, {password}"));
        assert_eq!(said, [""; 0], "{server}");
        let settings = settings.expect("checked");
        let found: Vec<(&str, Option<Tls>)> =
            settings.talks_to.iter().map(|one| (one.host.as_str(), one.tls)).collect();
        assert_eq!(found, hosts, "{server}");
    }
}

#[test]
fn the_file_of_a_secret_is_there_and_for_one_user() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    let secret = SecretUse {
        file: file.clone(),
        stage: None,
        place: nowhere(FILE),
        said: nowhere(FILE),
        hosts: Vec::new(),
    };
    let said = || {
        let mut problems = Problems::default();
        look_at_secrets(std::slice::from_ref(&secret), &mut problems);
        let name = file.display().to_string();
        let line = |found: snodo_core::diagnostic::Diagnostic| {
            format!("{} {} | {} | {}", found.code, found.title, found.label, found.help)
                .replace(&name, "KEY")
        };
        problems.sorted().into_iter().map(line).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(said(), @"SN0458 the secret in KEY cannot be read | there is no such file | put it there before the bus starts, readable by its user alone (0400)");
    std::fs::write(&file, "hunter2").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("set");
    insta::assert_snapshot!(said(), @"SN0459 the secret in KEY may be read by others | mode 0640 | chmod 0400 KEY");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).expect("set");
    assert_eq!(said(), "");
}

/// Else a reload takes a configuration for changed that nobody touched.
#[test]
fn two_readings_of_one_configuration_are_the_same() {
    let text = GOOD.replace(
        "adapters:\n",
        "adapters:\n  far: { kind: http, base: \"https://a.example\", token: \"https://a.example/t\", \
         other: \"https://a.example/o\", key: { file: k.pem, for: test }, \
         purposes: { one: { C021: x, C030: y, C001: z }, two: { C021: w } } }\n\
         \x20 near: { kind: http, base: \"https://b.example\", key: { file: k.pem, for: test } }\n",
    );
    let house = house(&[(FILE, &text)]);
    let reading = || {
        let settings = load(house.path(), &Surroundings::default(), &mut Problems::default());
        settings.expect("checked")
    };
    let first = reading();
    for _ in 0..20 {
        let again = reading();
        assert_eq!(format!("{:?}", again.secrets), format!("{:?}", first.secrets));
        assert_eq!(format!("{:?}", again.talks_to), format!("{:?}", first.talks_to));
        assert_eq!(again, first);
    }
}
