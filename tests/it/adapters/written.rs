//! A database as a configuration writes it: the example of its page passes `check`, and a mistake in a query is
//! shown where it stands.
//!
//! Invariant: what the page for integrators shows is what is checked here.

use std::path::Path;

use snodo::{
    house::{self, Checked},
    settings::Surroundings,
};
use snodo_adapters::catalog;
use snodo_core::diagnostic::{Diagnostic, render_text};

const HEAD: &str = "\
instance: { slot: a }
data: data
ledger: { sqlite: ledger.db }
broker: { private: true }
http: { listen: 127.0.0.1:8080 }
metrics: { listen: 127.0.0.1:9464 }
";
const PAGE: &str = include_str!("../../../adapters/src/sql/options.md");
const FACT: &str = "\
fact: household
held_by: registry
query: household
about: taxCode
schema: facts/household.v1
subjects: ${ [.members[].taxCode] }
law: [a-law]
fresh_for: 24h
";

/// The example of the page.
fn example() -> &'static str {
    let block = PAGE.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("the page has an example")
}

fn checked(instance: &str) -> (Option<Checked>, Vec<Diagnostic>) {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = super::house().join("schemas/facts/household.v1.json");
    let schema = std::fs::read_to_string(schema).expect("readable");
    let config = format!("{HEAD}{instance}");
    for (path, text) in [
        ("config/snodo.yaml", config.as_str()),
        ("schemas/facts/household.v1.json", &schema),
        ("routes/facts/household.yaml", FACT),
        ("routes/laws.yaml", "a-law:\n  title: A law\n"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or_else(|| Path::new("."))).expect("made");
        std::fs::write(path, text).expect("written");
    }
    house::check(folder.path(), &Surroundings::default(), &catalog())
}

#[test]
fn the_example_of_the_page_answers_the_fact_household() {
    let (checked, said) = checked(example());
    let said: Vec<&str> = said.iter().map(|one| one.code).collect();
    assert_eq!(said, ["SN0458"], "the password is not on this machine");
    let checked = checked.expect("it checks");
    let operations = checked.instances.get("registry").expect("there").operations();
    assert_eq!(operations[0].name, "household");
    let hosts: Vec<&str> = checked.settings.talks_to.iter().map(|one| one.host.as_str()).collect();
    assert_eq!(hosts, ["registry.comune.example"]);
}

#[test]
fn a_mistake_in_a_query_is_shown_where_it_stands() {
    let wrong = example().replace(":taxCode", ":taxcode");
    let said = checked(&wrong).1;
    let said: Vec<Diagnostic> = said.into_iter().filter(|one| one.code == "SN0471").collect();
    insta::assert_snapshot!(render_text(&said), @r#"
    error[SN0471]: `:taxcode` of the query is no field of the input
      --> config/snodo.yaml:16:11
       |
    16 |           SELECT m.tax_code AS "taxCode", m.surname AS "familyName", m.name AS "givenName", m.kinship AS role
       |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ wrong option
       |
    help: write `taxCode`, the nearest of the fields of the input
    "#);
    for (right, wrong, code) in [
        ("SELECT m.tax_code", "DELETE m.tax_code", "SN0470"),
        ("ORDER BY m.born", "; DROP TABLE residents", "SN0470"),
        (":taxCode", "'x'", "SN0471"),
        ("rows: members", "one: false", "SN0472"),
    ] {
        let said = checked(&example().replace(right, wrong)).1;
        assert!(said.iter().any(|one| one.code == code), "{wrong}: {}", render_text(&said));
    }
}
