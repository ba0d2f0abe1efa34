//! Authorities as a configuration writes them: what passes `check`, and what the bus makes of it.
//!
//! Invariant: what is written here is what the pages for integrators may show.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use snodo::{
    house::{self, Checked},
    settings::Surroundings,
};
use snodo_adapters::catalog;
use snodo_core::diagnostic::{Diagnostic, render_text};

const CONFIG: &str = "\
instance: { slot: a }
data: data
ledger: { sqlite: ledger.db }
broker: { private: true }
http: { listen: 127.0.0.1:8080 }
metrics: { listen: 127.0.0.1:9464 }
adapters:
  anpr:
    kind: anpr
    base: https://modipa-test.example/govway/rest/in/MinInternoPortaANPR-PDND
    token: https://auth-test.example/token.oauth2
    client: 00000000-0000-0000-0000-000000000064
    kid: key-1
    key: { file: secrets/pdnd.pem, for: test }
    purposes:
      school-canteen: { C021: 00000000-0000-0000-0000-000000000015 }
      deaths: { C004: 00000000-0000-0000-0000-000000000004,
                C007: 00000000-0000-0000-0000-000000000007 }
    services:
      C007: { path: C007-servizioVerificaDichEsistenzaVita/v1, answers: verification }
    limits: { at_once: 8, rate: 5/s }
  inps:
    kind: isee
    base: https://api-test.example/pdnd/soap/ConsultazioneISEE/v1
    token: https://auth-test.example/token.oauth2
    client: 00000000-0000-0000-0000-000000000064
    kid: key-1
    key: { file: secrets/pdnd.pem, for: test }
    purposes: { school-canteen: { indicator: 00000000-0000-0000-0000-000000000063 } }
    benefits: { school-canteen: A1.01 }
    office: '001'
";

fn checked(config: &str) -> (Option<Checked>, Vec<Diagnostic>) {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        ("config/snodo.yaml", config),
        ("secrets/pdnd.pem", "none yet"),
        ("routes/laws.yaml", "a-law:\n  title: A law\n"),
    ];
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
        let mine = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mine).expect("closed to others");
    }
    house::check(folder.path(), &Surroundings::default(), &catalog())
}

#[test]
fn authorities_pass_check_and_anpr_is_asked_one_thing_at_a_time() {
    let (checked, said) = checked(CONFIG);
    assert!(said.is_empty(), "{}", render_text(&said));
    let instances = checked.expect("it checks").instances;
    let paces: Vec<(&str, u32)> =
        instances.paces().map(|(name, pace)| (name, pace.at_once)).collect();
    assert_eq!(paces, [("anpr", 1), ("inps", 64)]);
    let anpr = instances.get("anpr").expect("there").operations();
    let names: Vec<&str> = anpr.iter().map(|operation| operation.name.as_str()).collect();
    assert_eq!(names, ["C004", "C007", "C021"], "what no purpose may ask is no operation");
    let members = anpr[2].output.pointer("/properties/members/items/properties/taxCode/format");
    assert_eq!(members.and_then(Value::as_str), Some("codice-fiscale"));
}

#[test]
fn a_mistake_in_an_authority_is_found_by_check() {
    let table = [
        ("C021: 0", "C020: 0", "there is no service `C020`"),
        ("auth-test.example/token", "auth.example/token", "a test key would be sent"),
        ("kid: key-1", "kid: ../key", "`kid` is no name"),
        ("answers: verification", "answers: perhaps", "unknown variant `perhaps`"),
        ("A1.01", "canteen", "this is no code of a benefit"),
        ("    office: '001'\n", "", "missing field `office`"),
    ];
    for (right, wrong, expected) in table {
        let said = render_text(&checked(&CONFIG.replace(right, wrong)).1);
        assert!(said.contains(expected), "{wrong}: {said}");
    }
}
