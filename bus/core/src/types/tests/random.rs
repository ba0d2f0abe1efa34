//! Random schemas, messages that are valid for them, and expressions that are led by types.
//!
//! Invariant: a seed is all that is needed to make the same case again.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::types::{Kind, List, Object, Type};

/// Numbers by chance.
pub(crate) struct Dice(u64);

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const WORDS: [&str; 12] = [
    "",
    "x",
    "open",
    "closed",
    "19,99",
    "12",
    "a,b",
    "Via Roma 1",
    "città",
    "2024-02-29",
    "RSSMRA80A01G273Z",
    "1 2",
];
const TAGS: [&str; 4] = ["p", "q", "r", "s"];

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most.max(1) as u64).unwrap_or(0)
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The schema of a message.
pub(crate) fn schema(dice: &mut Dice) -> Value {
    let mut root = object(dice, 3);
    if dice.chance(40) {
        with_definitions(dice, &mut root);
    }
    if dice.chance(15) {
        root["allOf"] =
            json!([{ "properties": { "a": leaf(dice) } }, { "required": [NAMES[dice.below(3)]] }]);
    }
    if dice.chance(15) {
        with_condition(dice, &mut root);
    }
    root
}

fn require(root: &mut Value, name: &str) {
    if let Some(required) = root["required"].as_array_mut() {
        required.push(name.into());
    }
}

fn with_definitions(dice: &mut Dice, root: &mut Value) {
    let person = object(dice, 1);
    root["$defs"] =
        json!({ "person": person, "code": { "type": "string", "format": "codice-fiscale" } });
    root["properties"]["who"] = json!({ "$ref": "#/$defs/person" });
    root["properties"]["cf"] = json!({ "$ref": "#/$defs/code" });
    if dice.chance(50) {
        root["properties"]["whos"] =
            json!({ "type": "array", "items": { "$ref": "#/$defs/person" } });
    }
    if dice.chance(25) {
        root["$defs"]["tree"] = json!({
            "type": "object", "required": ["v"], "additionalProperties": false,
            "properties": { "v": { "type": "integer" }, "kids": { "type": "array", "items": { "$ref": "#/$defs/tree" } } },
        });
        root["properties"]["tree"] = json!({ "$ref": "#/$defs/tree" });
    }
    for name in ["who", "cf"] {
        if dice.chance(50) {
            require(root, name);
        }
    }
}

fn with_condition(dice: &mut Dice, root: &mut Value) {
    root["properties"]["kind"] = json!({ "enum": TAGS });
    require(root, "kind");
    root["if"] = json!({ "properties": { "kind": { "const": "p" } }, "required": ["kind"] });
    root["then"] = json!({ "required": [NAMES[dice.below(3)]] });
    if dice.chance(50) {
        root["else"] = json!({ "properties": { NAMES[dice.below(3)]: leaf(dice) } });
    }
}

fn object(dice: &mut Dice, depth: usize) -> Value {
    let mut fields = Map::new();
    for _ in 0..=dice.below(4) {
        fields.insert((*dice.pick(&NAMES)).to_owned(), node(dice, depth));
    }
    let required: Vec<&String> = fields.keys().filter(|_| dice.chance(60)).collect();
    let mut object = json!({ "type": "object", "required": required });
    match dice.below(8) {
        0 => {}
        1 => object["additionalProperties"] = leaf(dice),
        2 => {
            object["patternProperties"] = json!({ "^z": leaf(dice) });
            object["additionalProperties"] = false.into();
        }
        _ => object["additionalProperties"] = false.into(),
    }
    object["properties"] = Value::Object(fields);
    object
}

fn leaf(dice: &mut Dice) -> Value {
    match dice.below(20) {
        0 | 1 => json!({ "type": "string" }),
        2 => json!({ "type": "string", "minLength": 1 }),
        3 => json!({ "type": "string", "format": "codice-fiscale" }),
        4 => json!({ "type": "string", "format": "date" }),
        5 => json!({ "type": ["string", "null"] }),
        6 => json!({ "enum": ["open", "closed"] }),
        7 => json!({ "enum": ["open", "closed", null] }),
        8 => json!({ "const": "x" }),
        9 if dice.chance(50) => json!({ "type": "string", "pattern": "^[A-Z]+$" }),
        9 => json!({ "type": "string", "pattern": "^[0-9]+$" }),
        10 | 11 => json!({ "type": "integer" }),
        12 => json!({ "type": "integer", "minimum": 0, "maximum": 5 }),
        13 => json!({ "type": "integer", "exclusiveMinimum": 0, "multipleOf": 2 }),
        14 => json!({ "type": "number" }),
        15 => json!({ "type": "number", "minimum": 0 }),
        16 | 17 => json!({ "type": "boolean" }),
        18 => json!({ "type": ["boolean", "null"] }),
        _ => json!({ "type": ["integer", "string"] }),
    }
}

fn node(dice: &mut Dice, depth: usize) -> Value {
    if depth == 0 || dice.chance(50) {
        return leaf(dice);
    }
    match dice.below(10) {
        0..=2 => object(dice, depth - 1),
        3 => json!({ "type": "array", "items": node(dice, depth - 1) }),
        4 => json!({ "type": "array", "minItems": 2, "items": leaf(dice) }),
        5 => {
            json!({ "type": "array", "minItems": 1, "maxItems": 3, "items": node(dice, depth - 1) })
        }
        6 => {
            json!({ "type": "array", "prefixItems": [leaf(dice), leaf(dice)], "items": false, "minItems": dice.below(3) })
        }
        7 => json!({ "oneOf": [tagged(dice, "p"), tagged(dice, "q")] }),
        8 => json!({ "anyOf": [leaf(dice), object(dice, depth - 1)] }),
        _ => json!({ "type": "array", "uniqueItems": true, "items": leaf(dice) }),
    }
}

fn tagged(dice: &mut Dice, tag: &str) -> Value {
    let name = *dice.pick(&NAMES);
    json!({
        "type": "object", "required": ["kind", name], "additionalProperties": false,
        "properties": { "kind": { "const": tag }, name: leaf(dice) },
    })
}

/// A value for a schema; often, not always, a valid one.
pub(crate) fn value(dice: &mut Dice, root: &Value, schema: &Value) -> Value {
    made(dice, root, schema, 4)
}

fn made(dice: &mut Dice, root: &Value, schema: &Value, depth: usize) -> Value {
    if let Some(pointer) = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#')) {
        return made(dice, root, root.pointer(pointer).unwrap_or(&Value::Null), depth);
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(branches) = schema[keyword].as_array() {
            let branch = dice.pick(branches);
            return made(dice, root, branch, depth);
        }
    }
    if let Some(one) = schema.get("const") {
        return one.clone();
    }
    if let Some(all) = schema["enum"].as_array() {
        return dice.pick(all).clone();
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => dice.pick(kinds).as_str().unwrap_or_default().to_owned(),
        _ => "object".to_owned(),
    };
    match kind.as_str() {
        "null" => Value::Null,
        "boolean" => dice.chance(50).into(),
        "integer" => integer(dice, schema),
        "number" => match dice.below(4) {
            0 => json!(0),
            1 => json!(2.5),
            2 => json!(dice.below(7)),
            _ => json!(if schema.get("minimum").is_some() { 1.25 } else { -1.25 }),
        },
        "string" => text(dice, schema),
        "array" => list(dice, root, schema, depth),
        _ => fields(dice, root, schema, depth),
    }
}

fn integer(dice: &mut Dice, schema: &Value) -> Value {
    if schema.get("multipleOf").is_some() {
        return json!(2 + 2 * dice.below(3));
    }
    match (schema.get("minimum"), dice.below(4)) {
        (_, 0) => json!(0),
        (Some(_), _) => json!(dice.below(6)),
        (None, 1) => json!(-3),
        (None, _) => json!(dice.below(20)),
    }
}

fn text(dice: &mut Dice, schema: &Value) -> Value {
    if schema["format"] == "codice-fiscale" {
        return "RSSMRA80A01G273Z".into();
    }
    if schema["format"] == "date" {
        return (*dice.pick(&["2024-02-29", "2026-11-24"])).into();
    }
    if schema["pattern"] == "^[A-Z]+$" {
        return (*dice.pick(&["A", "PA"])).into();
    }
    if schema.get("pattern").is_some() {
        return (*dice.pick(&["0", "12", "007"])).into();
    }
    if schema.get("minLength").is_some() {
        return WORDS[1 + dice.below(WORDS.len() - 1)].into();
    }
    (*dice.pick(&WORDS)).into()
}

fn list(dice: &mut Dice, root: &Value, schema: &Value, depth: usize) -> Value {
    let least = usize::try_from(schema["minItems"].as_u64().unwrap_or(0)).unwrap_or(0);
    if let Some(first) = schema["prefixItems"].as_array() {
        let length = dice.below(first.len() + 1).max(least);
        return first.iter().take(length).map(|one| made(dice, root, one, depth)).collect();
    }
    let most = if depth == 0 { 1 } else { 4 };
    let length = dice.below(most).max(least);
    (0..length).map(|_| made(dice, root, &schema["items"], depth.saturating_sub(1))).collect()
}

fn fields(dice: &mut Dice, root: &Value, schema: &Value, depth: usize) -> Value {
    let mut object = Map::new();
    let required: BTreeSet<&str> = schema["required"]
        .as_array()
        .map_or_else(BTreeSet::new, |names| names.iter().filter_map(Value::as_str).collect());
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if required.contains(name.as_str()) || (depth > 0 && dice.chance(50)) {
            object.insert(name.clone(), made(dice, root, field, depth.saturating_sub(1)));
        }
    }
    if let Some(others) = schema.get("additionalProperties").filter(|others| others.is_object())
        && dice.chance(50)
    {
        let name = *dice.pick(&["a", "k", "zz"]);
        let value = made(dice, root, others, 0);
        object.entry(name).or_insert(value);
    }
    if let Some(others) = schema["patternProperties"].get("^z").filter(|_| dice.chance(50)) {
        object.insert("zed".to_owned(), made(dice, root, others, 0));
    }
    if schema.get("additionalProperties").is_none() && dice.chance(30) {
        object.entry(*dice.pick(&NAMES)).or_insert_with(|| json!("anything"));
    }
    Value::Object(object)
}

/// An expression over a value of the type, led by what can be done with it.
pub(crate) fn expression(dice: &mut Dice, of: &Type, depth: usize) -> String {
    if depth == 0 || dice.chance(12) {
        return ".".to_owned();
    }
    let kinds: Vec<Kind> = of.kinds().collect();
    if of.null && dice.chance(70) {
        return guarded(dice, of, depth);
    }
    match kinds.get(dice.below(kinds.len().max(1))) {
        Some(Kind::Object) => {
            let object = dice.below(of.objects.len());
            of_object(dice, &of.objects[object], depth)
        }
        Some(Kind::List) => match &of.list {
            Some(list) => of_list(dice, list, depth),
            None => ".".to_owned(),
        },
        Some(Kind::Text) => of_text(dice).to_owned(),
        Some(Kind::Number) => of_number(dice).to_owned(),
        Some(Kind::Boolean) => {
            (*dice.pick(&["not", "if . then 1 else 2 end", ". and true", ". == true"])).to_owned()
        }
        Some(Kind::Null) | None => (*dice.pick(&[". == null", ". // 1", ".", "length"])).to_owned(),
    }
}

fn guarded(dice: &mut Dice, of: &Type, depth: usize) -> String {
    let inner = expression(dice, &of.not_null(), depth - 1);
    let other = *dice.pick(&["null", "0", "\"none\"", "[]", "false"]);
    match dice.below(4) {
        0 => format!("if . != null then {inner} else {other} end"),
        1 => format!("if . == null then {other} else {inner} end"),
        2 => format!("(. // {other})"),
        _ => format!("[select(. != null) | {inner}]"),
    }
}

fn of_object(dice: &mut Dice, object: &Object, depth: usize) -> String {
    let names: Vec<&str> = object.fields.keys().map(AsRef::as_ref).collect();
    let name = if names.is_empty() || dice.chance(4) {
        (*dice.pick(&NAMES)).to_owned()
    } else {
        (*dice.pick(&names)).to_owned()
    };
    let value = object.get(&name);
    let inner = expression(dice, &value, depth - 1);
    match dice.below(18) {
        0..=5 => format!(".{name} | {inner}"),
        6 => format!("{{k: (.{name} | {inner}), v: .{name}}}"),
        7 => format!("if has(\"{name}\") then (.{name} | {inner}) else null end"),
        8 => format!("if .{name} != null then (.{name} | {inner}) else 0 end"),
        9 => "keys".to_owned(),
        10 => "to_entries".to_owned(),
        11 => format!("del(.{name})"),
        12 => format!(". + {{{name}: 1}}"),
        13 => "[.[]]".to_owned(),
        14 => format!(".{name} as $x | {{x: $x}}"),
        15 => {
            let test = one_value(dice, &value);
            format!("if .{name} == {test} or .{name} == null then .{name} else 0 end")
        }
        16 => ".".to_owned(),
        _ => format!("with_entries(select(.key != \"{name}\"))"),
    }
}

/// A literal that the value may be.
fn one_value(dice: &mut Dice, of: &Type) -> String {
    let words = of.text.as_ref().and_then(|text| text.literals.as_ref());
    match words {
        Some(words) => format!("\"{}\"", dice.pick(words)),
        None if of.number.is_some() => "2".to_owned(),
        None if of.text.is_some() => "\"x\"".to_owned(),
        None => "true".to_owned(),
    }
}

fn of_list(dice: &mut Dice, list: &List, depth: usize) -> String {
    let element = list.element();
    let inner = expression(dice, &element, depth - 1);
    let condition = condition(dice, &element);
    match dice.below(27) {
        0 | 1 => format!("map({inner})"),
        2 | 3 => format!("[.[] | select({condition}) | {inner}]"),
        4 => format!(".[0] | {inner}"),
        5 => format!("if length > 0 then (.[0] | {inner}) else null end"),
        6 => format!("any(.[]; {condition})"),
        7 => format!("all({condition})"),
        8 => "length".to_owned(),
        9 => "sort".to_owned(),
        10 | 24 | 25 => "unique".to_owned(),
        11 => "reverse".to_owned(),
        12 => "add".to_owned(),
        13 => "first".to_owned(),
        14 => "last".to_owned(),
        15 => ".[1:]".to_owned(),
        16 => ".[:2]".to_owned(),
        17 => "join(\"-\")".to_owned(),
        18 => format!("group_by({inner})"),
        19 => format!("first(.[] | {inner}) // null"),
        20 => "min".to_owned(),
        21 => "reduce .[] as $x (0; . + 1)".to_owned(),
        22 => format!("[.[-1], {inner}]"),
        _ => ".[] ".to_owned(),
    }
}

fn condition(dice: &mut Dice, of: &Type) -> String {
    if of.is_only(Kind::Object) {
        let object = &of.objects[dice.below(of.objects.len())];
        let names: Vec<&str> = object.fields.keys().map(AsRef::as_ref).collect();
        if !names.is_empty() {
            let name = *dice.pick(&names);
            return (*dice.pick(&[
                format!(".{name} != null"),
                format!(".{name} == \"open\""),
                format!("has(\"{name}\")"),
                format!("(.{name} | type) == \"string\""),
            ]))
            .clone();
        }
    }
    let plain = [". != null", ". == \"x\"", ". == 2", "type == \"string\"", "true", ". != \"\""];
    (*dice.pick(&plain)).to_owned()
}

fn of_text(dice: &mut Dice) -> &'static str {
    const PARTS: [&str; 20] = [
        "length",
        "ascii_downcase",
        "ascii_upcase | ascii_downcase",
        "split(\",\")",
        "split(\",\") | first",
        "split(\",\") | .[0]",
        ". + \"!\"",
        "\"a \\(.)\"",
        ".[:3]",
        ".[2:]",
        "startswith(\"x\")",
        "test(\"^[0-9]+$\")",
        "if test(\"^[0-9]+$\") then . else \"0\" end",
        "if . == \"open\" then 1 elif . == \"closed\" then 2 else . end",
        "cents(.)",
        "tonumber",
        "ltrimstr(\"x\")",
        "if length > 0 then . else \"none\" end",
        "index(\",\")",
        "tojson",
    ];
    PARTS[dice.below(PARTS.len())]
}

fn of_number(dice: &mut Dice) -> &'static str {
    const PARTS: [&str; 18] = [
        ". + 1",
        "[., 2] | max",
        "[10, .] | min",
        ". * 2",
        ". - 1",
        ". / 2",
        "1 / .",
        "if . != 0 then 10 / . else 0 end",
        "if . > 3 then . else 4 end",
        "floor",
        "round",
        "abs",
        "tostring",
        ". % 3",
        "if . >= 0 and . < 10 then . else 0 end",
        "-.",
        "\"n \\(.)\"",
        ". == 1",
    ];
    PARTS[dice.below(PARTS.len())]
}
