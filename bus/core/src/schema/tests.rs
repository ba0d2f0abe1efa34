//! What loads, what does not, and what a violation says.

use serde_json::json;

use super::*;

fn file(path: &str, text: &str) -> SchemaFile {
    let source = SourceFile { path: format!("schemas/{path}"), text: text.to_owned() };
    SchemaFile { file: Arc::new(source), path: path.to_owned() }
}

fn codes(files: &[SchemaFile]) -> Vec<&'static str> {
    Schemas::load(files).1.iter().map(|diagnostic| diagnostic.code).collect()
}

fn one(text: &str) -> Vec<&'static str> {
    codes(&[file("a/b.v1.json", text)])
}

fn house() -> Schemas {
    let address = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema",
        "$id":"https://palermo.example/schemas/anagrafe/address.v1.json",
        "type":"object","additionalProperties":false,"required":["istat"],
        "properties":{"istat":{"type":"string","format":"istat-comune"}}}"#;
    let moved = r##"{"type":"object","additionalProperties":false,"required":["taxCode","to"],
        "x-unclaimed":"discard",
        "properties":{"taxCode":{"$ref":"#/$defs/taxCode"},"to":{"$ref":"address.v1.json"},
            "kind":{"enum":["in","out"]},"note":{"type":"string","pattern":"^(a+)+$"},
            "movers":{"type":"array","items":{"$ref":"#/properties/to"},"maxItems":2},
            "more":{"type":"object","additionalProperties":{"type":"integer"}}},
        "$defs":{"taxCode":{"type":"string","format":"codice-fiscale"}}}"##;
    let files = [file("anagrafe/address.v1.json", address), file("anagrafe/moved.v1.json", moved)];
    let (schemas, diagnostics) = Schemas::load(&files);
    assert_eq!(diagnostics, []);
    schemas
}

#[test]
fn types_of_the_house_refer_to_each_other_and_validate() {
    let schemas = house();
    assert!(schemas.kinds().eq(["anagrafe.address.v1", "anagrafe.moved.v1"]));
    let moved = schemas.validator("anagrafe.moved.v1").expect("loaded");
    assert!(moved.is_valid(&json!({"taxCode": "RSSMRA80A01H501U", "to": {"istat": "082053"}})));
    assert!(!moved.is_valid(&json!({"taxCode": "RSSMRA80A01H501X", "to": {"istat": "082053"}})));
    assert!(!moved.is_valid(&json!({"taxCode": "RSSMRA80A01H501U", "to": {"istat": "82053"}})));
    assert!(schemas.unclaimed_is_discarded("anagrafe.moved.v1"));
    assert!(!schemas.unclaimed_is_discarded("anagrafe.address.v1"));
    let (kind, target) =
        schemas.resolve("anagrafe.moved.v1", "address.v1.json#/type").expect("there");
    assert_eq!((kind, target), ("anagrafe.address.v1", &json!("object")));
}

#[test]
fn documents_of_a_bundle_compile_again() {
    let schemas = house();
    let documents = schemas
        .kinds()
        .map(|kind| (kind.to_owned(), (**schemas.document(kind).expect("listed")).clone()))
        .collect();
    let again = Schemas::from_documents(documents).expect("was accepted before");
    assert!(again.kinds().eq(schemas.kinds()));
    let broken = BTreeMap::from([("a.b.v1".to_owned(), json!({"$ref": "c.v1.json"}))]);
    assert_eq!(Schemas::from_documents(broken).expect_err("leads nowhere").code, "SN0134");
}

#[test]
fn an_operation_may_refer_to_a_type_of_the_house() {
    let schemas = house();
    let document = json!({"type": "object", "additionalProperties": false,
        "properties": {"where": {"$ref": "anagrafe/address.v1.json"}, "n": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"type": "integer"}}});
    let validator = schemas.compile(&document).expect("in order");
    assert!(validator.is_valid(&json!({"where": {"istat": "082053"}, "n": 1})));
    assert!(!validator.is_valid(&json!({"where": {"istat": "x"}})));
    assert!(!validator.is_valid(&json!({"n": "1"})));
    let error = schemas.compile(&json!({"$ref": "http://169.254.169.254/"})).expect_err("remote");
    assert_eq!((error.code, error.pointer.as_str()), ("SN0133", "/$ref"));
    assert!(Schemas::default().compile(&json!({"type": "integer"})).is_ok());
}

#[test]
fn a_schema_that_is_not_offline_finite_linear_and_closed_does_not_load() {
    let deep = format!("{}{{}}{}", r#"{"allOf":["#.repeat(10_000), "]}".repeat(10_000));
    let chain: Vec<String> =
        (0..200).map(|n| format!(r##""d{n}":{{"$ref":"#/$defs/d{}"}}"##, n + 1)).collect();
    let chain = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d200":{{}}}}}}"##, chain.join(","));
    let table: &[(&str, &[&str])] = &[
        ("{", &["SN0130"]),
        (r#"{"type":"string","type":"integer"}"#, &["SN0130"]),
        (&deep, &["SN0130"]),
        (r#"{"$id":"a/c.v1.json"}"#, &["SN0131"]),
        (r#"{"type":"object"}"#, &["SN0132"]),
        (r#"{"type":["null","object"]}"#, &["SN0132"]),
        (r#"{"properties":{"a":{}}}"#, &["SN0132"]),
        (r#"{"items":{"type":"object"},"$defs":{"a":{"type":"object"}}}"#, &["SN0132", "SN0132"]),
        (r#"{"unevaluatedProperties":false,"allOf":[{"properties":{"a":{}}}]}"#, &[]),
        (r#"{"$ref":"http://169.254.169.254/"}"#, &["SN0133"]),
        (r#"{"$ref":"file:///etc/shadow"}"#, &["SN0133"]),
        (r#"{"$ref":"../../secret.json"}"#, &["SN0133"]),
        (r#"{"$ref":"c.v1.json"}"#, &["SN0134"]),
        (r##"{"$ref":"#/$defs/a"}"##, &["SN0134"]),
        (r##"{"$ref":"#"}"##, &["SN0135"]),
        (
            r##"{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"anyOf":[{"$ref":"#"}]}}}"##,
            &["SN0135"],
        ),
        (&chain, &["SN0135"]),
        (r##"{"items":{"$ref":"#"}}"##, &[]),
        (r#"{"format":"codice-fisclae"}"#, &["SN0136"]),
        (r#"{"format":"date"}"#, &[]),
        (r#"{"pattern":"^(?!x).*$"}"#, &["SN0137"]),
        (r#"{"pattern":"(a)\\1"}"#, &["SN0137"]),
        (r#"{"pattern":"((a{1000}){1000}){1000}"}"#, &["SN0137"]),
        (r#"{"patternProperties":{"(?=a)":{}}}"#, &["SN0137"]),
        (r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#, &["SN0138"]),
        (r#"{"$dynamicRef":"a"}"#, &["SN0138"]),
        (r#"{"items":{"$id":"x"}}"#, &["SN0138"]),
        (r#"{"type":"strin"}"#, &["SN0139"]),
        (r#"{"minLength":"1"}"#, &["SN0139"]),
        (r#"{"default":{"$ref":"http://not.a.schema/"},"const":{"type":"object"}}"#, &[]),
    ];
    for (text, expected) in table {
        assert_eq!(one(text), *expected, "{}", &text[..text.len().min(80)]);
    }
}

#[test]
fn a_loop_through_two_files_is_found_in_both() {
    let files = [
        file("a/b.v1.json", r#"{"$ref":"c.v1.json"}"#),
        file("a/c.v1.json", r#"{"anyOf":[{"$ref":"b.v1.json"}]}"#),
    ];
    assert_eq!(codes(&files), ["SN0135", "SN0135"]);
}

#[test]
fn one_broken_file_leaves_the_others_in_use() {
    let files = [
        file("a/b.v1.json", r#"{"$ref":"gone.v1.json","type":"integer"}"#),
        file("a/c.v1.json", r#"{"$ref":"b.v1.json"}"#),
        file("nonsense.json", "{}"),
    ];
    let (schemas, diagnostics) = Schemas::load(&files);
    let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, ["SN0131", "SN0134"]);
    assert!(schemas.kinds().eq(["a.c.v1"]));
}

#[test]
fn a_mistake_is_placed_on_its_bytes() {
    let text = r#"{ "items": { "format": "dato" } }"#;
    let (_, diagnostics) = Schemas::load(&[file("a/b.v1.json", text)]);
    let place = &diagnostics[0].place;
    assert_eq!(&text[place.start..place.end], r#""format": "dato""#);
}

#[test]
fn a_violation_says_what_is_expected_and_never_what_was_sent() {
    let schemas = house();
    let moved = schemas.validator("anagrafe.moved.v1").expect("loaded");
    let secret = "RSSMRA80A01H501X";
    let value = json!({"taxCode": secret, secret: secret, "kind": secret, "note": secret,
        "movers": [{"istat": secret}, {}, {secret: 1, "istat": "082053"}],
        "more": {secret: secret}});
    let told: Vec<String> = moved
        .violations(&value)
        .iter()
        .map(|v| format!("{} {}: {}", v.pointer, v.keyword, v.expected))
        .collect();
    let told = told.join("\n");
    assert!(!told.contains(secret), "{told}");
    insta::assert_snapshot!(told, @r#"
     required: the field "to"
    /kind enum: one of "in", "out"
    /more/* type: integer
    /movers maxItems: at most 2 items
    /movers/0/istat format: istat-comune: six digits, as text, such as 082053
    /movers/1 required: the field "istat"
    /movers/2 additionalProperties: no fields besides istat
    /note pattern: text that matches ^(a+)+$
    /taxCode format: codice-fiscale: 16 capital letters and digits with the right check character, or 11 digits
     additionalProperties: no fields besides kind, more, movers, note, taxCode, to
    "#);
}

#[test]
fn an_evil_pattern_is_answered_in_linear_time() {
    let schemas = house();
    let moved = schemas.validator("anagrafe.moved.v1").expect("loaded");
    let note = format!("{}!", "a".repeat(50_000));
    assert!(!moved.is_valid(
        &json!({"taxCode": "RSSMRA80A01H501U", "to": {"istat": "082053"}, "note": note})
    ));
}
