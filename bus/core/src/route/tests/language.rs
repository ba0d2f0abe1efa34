//! Tests of the schema for editors: it has the keys that the compiler reads, no more and no fewer.
//!
//! Invariant: a word that is added to one and not to the other fails here.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    route::{file, language},
    yaml::fields::Known,
};

/// The keys of every object in `schema` that is written out, without what it refers to.
fn keys(schema: &Value) -> BTreeSet<&str> {
    let mut found: BTreeSet<&str> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    for branch in schema["oneOf"].as_array().into_iter().flatten() {
        found.extend(keys(branch));
    }
    found
}

#[test]
fn the_schema_for_editors_has_the_keys_that_the_compiler_reads() {
    let schema = language::schema();
    let check = |found: BTreeSet<&str>, known: &Known| {
        assert_eq!(found, known.keys.iter().copied().collect(), "{}", known.what);
    };
    let definition = |name: &str| &schema["$defs"][name];
    check(keys(&schema), &file::ROUTE);
    check(keys(&schema["properties"]["retry"]), &file::RETRY);
    check(keys(definition("clock")), &file::CLOCK);
    check(keys(definition("branch")), &file::BRANCH);
    check(keys(definition("need")), &file::NEED);
    let unavailable = &definition("need")["properties"]["if_unavailable"];
    check(keys(unavailable), &file::UNAVAILABLE);
    let verbs = ["use", "emit", "choose"].map(|verb| keys(definition(verb)));
    check(verbs.into_iter().flatten().collect(), &file::STEP);
}

#[test]
fn the_schema_of_tests_has_the_keys_that_their_reader_reads() {
    use crate::route::suite::read::{
        MESSAGE, TEST, TESTS,
        expect::{EMIT, EXPECT, FAULT, PROBLEM},
        script::{REFUSES, SCRIPT},
    };
    let schema = language::tests_schema();
    let check = |found: &Value, known: &Known| {
        assert_eq!(keys(found), known.keys.iter().copied().collect(), "{}", known.what);
    };
    let definition = |name: &str| &schema["$defs"][name];
    let expect = |name: &str| &definition("expect")["properties"][name];
    check(&schema, &TESTS);
    check(definition("test"), &TEST);
    check(definition("message"), &MESSAGE);
    check(definition("script"), &SCRIPT);
    check(&definition("script")["oneOf"][1]["properties"]["refuses"], &REFUSES);
    check(definition("expect"), &EXPECT);
    check(&expect("emits")["items"], &EMIT);
    check(expect("problem"), &PROBLEM);
    check(expect("fault"), &FAULT);
}

#[test]
fn the_schema_of_facts_has_the_keys_that_their_reader_reads() {
    let schema = language::fact_schema();
    let known = crate::facts::read::FACT;
    assert_eq!(keys(&schema), known.keys.iter().copied().collect(), "{}", known.what);
}

#[test]
fn what_a_route_must_have_is_required_of_an_editor_too() {
    let schema = language::schema();
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for key in file::ROUTE.keys {
        let text: String = super::RESIDENCE
            .split_inclusive('\n')
            .skip_while(|line| line.starts_with('#'))
            .filter(|line| !line.starts_with(&format!("{key}:")))
            .filter(|line| *key != "steps" || !line.starts_with(' '))
            .collect();
        let codes = super::codes(&super::house(&[&text]));
        let missing = codes.contains(&"SN0110");
        assert_eq!(missing, required.contains(key), "{key}: {codes:?}");
    }
}
