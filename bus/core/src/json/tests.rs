//! What is refused, what is accepted, and RFC 8785's own vectors.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn reason(text: impl AsRef<[u8]>) -> &'static str {
    parse(text.as_ref(), &JsonLimits::default()).map_or_else(|error| error.kind.reason(), |_| "ok")
}

fn read(text: &str) -> Value {
    parse(text.as_bytes(), &JsonLimits::default()).expect(text)
}

fn rewritten(text: &str) -> String {
    String::from_utf8(canonical(&read(text))).expect("UTF-8")
}

#[test]
fn what_is_not_strict_json_is_refused_with_a_stable_word() {
    let table: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xEF\xBB\xBF{}", "byte_order_mark"),
        (b"\"\xC3\x28\"", "not_utf8"),
        (b"\"\xC0\xAF\"", "not_utf8"),
        (b"\xFF\xFE{\0}\0", "not_utf8"),
        (b"{\0\"\0a\0", "syntax"),
        (br#"{"a":1,"a":2}"#, "duplicate_key"),
        (br#"{"a":1,"\u0061":2}"#, "duplicate_key"),
        (br#""\ud800""#, "lone_surrogate"),
        (br#""\ud800\u0041""#, "lone_surrogate"),
        (br#""\udc00""#, "lone_surrogate"),
        (br#""\u0000""#, "control_character"),
        (b"\"\x00\"", "control_character"),
        (b"\"a\nb\"", "control_character"),
        (b"1e400", "number"),
        (b"-1e400", "number"),
        (b"1e-400", "number"),
        (b"1e99999999999", "number"),
        (b"12345678901234567890", "number"),
        (b"9007199254740993", "number"),
        (b"0.1000000000000000055511151231257827", "number"),
        (b"NaN", "syntax"),
        (b"Infinity", "syntax"),
        (b"-Infinity", "syntax"),
        (b"01", "syntax"),
        (b"-", "syntax"),
        (b"1.", "syntax"),
        (b".5", "syntax"),
        (b"+1", "syntax"),
        (b"1e", "syntax"),
        (b"{} // no", "second_document"),
        (b"/* no */ {}", "syntax"),
        (b"[1,]", "syntax"),
        (br#"{"a":1,}"#, "syntax"),
        (b"{'a':1}", "syntax"),
        (b"{a:1}", "syntax"),
        (b"{} {}", "second_document"),
        (b"nul", "syntax"),
        (b"truex", "second_document"),
        (br#""\x41""#, "syntax"),
        (br#""\u12""#, "syntax"),
        (br#""abc"#, "syntax"),
        (br#""abc\"#, "syntax"),
        (b"[", "syntax"),
        (br#"{"a""#, "syntax"),
        (br#"{"a":"#, "syntax"),
        (b"{} \xC2\xA0", "second_document"),
    ];
    for (text, expected) in table {
        assert_eq!(reason(text), *expected, "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn limits_hold_at_the_limit_and_one_more() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let items = |count: usize| format!("[{}]", vec!["0"; count].join(","));
    let keys = |count: usize| {
        let members: Vec<String> = (0..count).map(|key| format!("\"k{key}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    let text = |length: usize| format!("\"{}\"", "x".repeat(length));
    let key = |length: usize| format!("{{\"{}\":0}}", "x".repeat(length));
    let number = |length: usize| "1".to_owned() + &"0".repeat(length - 1);
    let table = [
        (nested(64), "ok"),
        (nested(65), "too_deep"),
        ("[".repeat(100_000), "too_deep"),
        ("{\"a\":".repeat(100_000), "too_deep"),
        (items(10_000), "ok"),
        (items(10_001), "too_many_items"),
        (keys(1_000), "ok"),
        (keys(1_001), "too_many_keys"),
        (text(65_536), "ok"),
        (text(65_537), "string_too_long"),
        (key(65_536), "ok"),
        (key(65_537), "key_too_long"),
        (key(1 << 20), "key_too_long"),
        (number(40), "ok"),
        (number(41), "number"),
        (number(400), "number"),
    ];
    for (text, expected) in table {
        assert_eq!(reason(&text), expected, "{} bytes", text.len());
    }
}

#[test]
fn only_too_much_json_is_unprocessable_the_rest_is_a_bad_request() {
    let error = |text: &[u8]| parse(text, &JsonLimits { items: 1, ..JsonLimits::default() });
    assert!(!error(b"[1,2]").expect_err("too many").kind.is_syntax());
    assert!(error(b"[1").expect_err("cut").kind.is_syntax());
}

#[test]
fn an_error_names_byte_and_pointer() {
    let limits = JsonLimits::default();
    let error = parse(br#"{"a/b":[0,{"c~":tru}]}"#, &limits).expect_err("no word");
    assert_eq!((error.offset, error.pointer.as_str()), (16, "/a~1b/1/c~0"));
    let error = parse(br#"{"a":{"b":1,"b":2}}"#, &limits).expect_err("twice");
    assert_eq!((error.offset, error.pointer.as_str()), (12, "/a/b"));
}

#[test]
fn numbers_become_canonical_on_entry() {
    let table = [
        ("1.0", "1"),
        ("-0", "0"),
        ("-0.0e5", "0"),
        ("0e999999999999", "0"),
        ("1e2", "100"),
        ("1.50", "1.5"),
        ("100e-2", "1"),
        ("9007199254740992", "9007199254740992"),
        ("-9007199254740992", "-9007199254740992"),
        ("12345678901234567000", "12345678901234567000"),
        ("1e19", "10000000000000000000"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("5e-324", "5e-324"),
        ("-1.25E+3", "-1250"),
    ];
    for (text, expected) in table {
        assert_eq!(rewritten(text), expected, "{text}");
    }
    assert_eq!(read("1.0"), json!(1));
    assert_eq!(canonical_number(f64::NAN), None);
    assert_eq!(canonical_number(-0.0), Some(0.into()));
}

/// RFC 8785, appendix B: IEEE 754 bits and the ECMAScript text.
#[test]
fn numbers_are_written_as_rfc_8785_says() {
    let table = [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ];
    for (bits, expected) in table {
        let number = canonical_number(f64::from_bits(bits)).expect("finite");
        let text = canonical(&Value::Number(number));
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }
}

/// RFC 8785, 3.2.2 and 3.2.3.
#[test]
fn the_examples_of_rfc_8785_come_out_as_printed() {
    let example = r#"{
        "numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
    assert_eq!(rewritten(example), expected);
    let sorting = r#"{
        "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let text = rewritten(sorting);
    let order: Vec<usize> = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"]
        .iter()
        .map(|word| text.find(word).expect("kept"))
        .collect();
    assert!(order.is_sorted(), "{text}");
}

#[test]
fn what_the_bus_wrote_itself_is_read_without_limits_but_not_without_a_floor() {
    let long = format!("\"{}\"", "x".repeat(100_000));
    assert!(parse_canonical(long.as_bytes()).is_ok());
    assert!(parse_canonical("[".repeat(256).as_bytes()).is_err());
    assert!(parse_canonical(&b"[".repeat(1_000_000)).is_err());
}

#[test]
fn a_pointer_finds_its_bytes() {
    let text = r#"{ "a": [1, {"b/c": "x\"}"}], "d": {"e": null} }"#;
    let found = |pointer| locate(text, pointer).map(|range| &text[range]);
    assert_eq!(found(""), Some(text));
    assert_eq!(found("/a/0"), Some("1"));
    assert_eq!(found("/a/1/b~1c"), Some(r#""b/c": "x\"}""#));
    assert_eq!(found("/d/e"), Some(r#""e": null"#));
    assert_eq!(found("/d/f"), None);
    assert_eq!(found("/a/2"), None);
    assert_eq!(found("/a/x"), None);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>()
            .prop_filter_map("finite", |double| canonical_number(double).map(Value::Number)),
        (-9_007_199_254_740_992_i64..=9_007_199_254_740_992).prop_map(Value::from),
        "[^\0]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[^\0]{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_survives_its_canonical_text(value in any_value()) {
        let text = canonical(&value);
        prop_assert_eq!(&parse(&text, &JsonLimits::default()).expect("own text"), &value);
        let foreign = serde_json::to_vec_pretty(&value).expect("JSON");
        prop_assert_eq!(canonical(&parse(&foreign, &JsonLimits::default()).expect("same")), text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mine = parse(&bytes, &JsonLimits::default());
        if mine.is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = locate(text, "/a/0");
        }
    }

    #[test]
    fn json_like_text_is_accepted_only_where_serde_json_accepts_it(text in r#"[\[\]{}",:0-9eE.+\-tfnulasr \\]{0,30}"#) {
        if parse(text.as_bytes(), &JsonLimits::default()).is_ok() {
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
    }
}
