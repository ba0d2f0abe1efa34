//! Forty-nine routes that are right, nineteen of them with needs: `check` has nothing to say of them, and
//! neither has an editor.
//!
//! Invariant: a route that is refused here is a mistake of the check, not of the route.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use snodo::{house, settings::Surroundings};
use snodo_adapters::catalog;
use snodo_core::{
    diagnostic::{Problems, SourceFile, render_text},
    route::language,
    schema::{Schemas, Validator},
    yaml::{self, Content, Node},
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn corpus() -> PathBuf {
    repository().join("tests/it/fixtures/corpus")
}

fn checks(folder: &Path) -> usize {
    let (checked, mut said) = house::check(folder, &Surroundings::default(), &catalog());
    // The secrets of these houses are nobody's.
    said.retain(|diagnostic| diagnostic.code != "SN0458");
    assert!(said.is_empty(), "{}", render_text(&said));
    checked.expect("it checks").routes.iter().count()
}

#[test]
fn forty_nine_routes_that_are_right_check_without_a_word() {
    assert_eq!(checks(&corpus()), 49);
    let with_needs = routes(&corpus()).into_values().filter(|text| text.contains("\nneeds:\n"));
    assert_eq!(with_needs.count(), 19);
}

#[test]
fn the_routes_of_the_repository_check_without_a_word() {
    assert!(checks(&repository()) >= 8, "an example of every construct");
}

/// A YAML file as JSON, as an editor sees it.
fn as_json(node: &Node) -> Value {
    match &node.content {
        Content::Text(text) => Value::String(text.clone()),
        Content::Plain(value) => value.clone(),
        Content::List(items) => items.iter().map(as_json).collect(),
        Content::Map(fields) => Value::Object(
            fields.iter().map(|(key, value)| (key.text.clone(), as_json(value))).collect(),
        ),
        Content::Refused => Value::Null,
    }
}

fn read(text: &str) -> Value {
    let file = Arc::new(SourceFile { path: "r.yaml".to_owned(), text: text.to_owned() });
    let mut problems = Problems::default();
    let node = yaml::read(&file, &mut problems).expect("YAML");
    assert!(!problems.any_error(), "{text}");
    as_json(&node)
}

/// The texts of the routes in a folder, by path.
fn routes(folder: &Path) -> BTreeMap<PathBuf, String> {
    let files = std::fs::read_dir(folder.join("routes")).expect("a folder");
    let paths = files.map(|file| file.expect("readable").path());
    let is_route = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.extension().is_some_and(|end| end == "yaml")
            && !name.ends_with(".test.yaml")
            && name != "laws.yaml"
    };
    let text = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        (path, text)
    };
    paths.filter(is_route).map(text).collect()
}

#[test]
fn editors_have_nothing_to_say_of_routes_that_are_right() {
    let schema = Schemas::default().compile(&language::schema()).expect("it compiles");
    let all = routes(&corpus()).into_iter().chain(routes(&repository()));
    for (path, text) in all {
        let violations = schema.violations(&read(&text));
        assert!(violations.is_empty(), "{}: {violations:?}", path.display());
    }
}

/// The texts of the facts in the folders of houses, by path.
fn facts() -> BTreeMap<PathBuf, String> {
    let fixtures = repository().join("tests/it/fixtures");
    let houses = [repository(), fixtures.join("fact-tests"), fixtures.join("once-only/house")];
    let folders = houses.iter().map(|house| house.join("routes/facts"));
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).expect("a folder"));
    let text = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).expect("readable"));
    files.map(|file| text(file.expect("readable").path())).collect()
}

#[test]
fn editors_have_nothing_to_say_of_facts_that_are_right() {
    let schema = Schemas::default().compile(&language::fact_schema()).expect("it compiles");
    let facts = facts();
    assert!(facts.len() >= 9, "{}", facts.len());
    for (path, text) in &facts {
        let violations = schema.violations(&read(text));
        assert!(violations.is_empty(), "{}: {violations:?}", path.display());
    }
    let household = &facts[&repository().join("routes/facts/household.yaml")];
    for (from, to) in [
        ("title: ", "titel: "),
        ("held_by: anpr\n", ""),
        ("fresh_for: 24h", "fresh_for: 24 hours"),
        ("about: taxCode", "about: taxCode\nkind: verification"),
        ("schema: facts/household.v1\n", ""),
        ("fact: household", "fact: Household"),
        ("about: taxCode", "about: taxCode\nquota: 100"),
    ] {
        assert_eq!(household.matches(from).count(), 1, "{from}");
        assert!(!schema.is_valid(&read(&household.replace(from, to))), "{from} → {to}");
    }
}

#[test]
fn editors_see_what_the_check_sees_of_words_that_are_not_there() {
    let schema = Schemas::default().compile(&language::schema()).expect("it compiles");
    let route = routes(&corpus()).remove(&corpus().join("routes/enrolment.yaml")).expect("there");
    assert!(schema.is_valid(&read(&route)));
    for (from, to) in [
        ("office: scuola", "ofice: scuola"),
        ("from: scuola.enrolment.requested.v1", "from: { every: day at 02:30 }"),
        ("title: A family enrols a child\n", ""),
        ("use: canteen.enrol", "use: canteen"),
        ("if_refused: continue", "if_refused: park"),
        ("- otherwise:", "- otherwise: []\n          then:"),
        ("- when: any", "- whenn: any"),
        ("steps:", "on_park: hold it\nsteps:"),
        ("steps:", "shards: 65\nsteps:"),
        ("steps:", "retry: { first: 5 }\nsteps:"),
    ] {
        differs(&schema, &route, from, to);
    }
    let bus = routes(&corpus()).remove(&corpus().join("routes/school-bus.yaml")).expect("there");
    assert!(schema.is_valid(&read(&bus)));
    for (from, to) in [
        ("    fact: isee\n", ""),
        ("    case: School", "    cases: School"),
        ("when: .wantsReduction", "when: []"),
        ("if_not_found: continue", "if_not_found: null"),
        ("wait: 3d, then: continue", "wait: 3d"),
        ("wait: 3d", "wait: 3 days"),
    ] {
        differs(&schema, &bus, from, to);
    }
}

fn differs(schema: &Validator, route: &str, from: &str, to: &str) {
    assert_eq!(route.matches(from).count(), 1, "{from}");
    assert!(!schema.is_valid(&read(&route.replace(from, to))), "{from} → {to}");
}
