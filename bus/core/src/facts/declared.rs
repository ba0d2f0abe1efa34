//! What a sender says himself of a fact, against what its authority says.
//!
//! Invariant: a difference is named by its place, never by a value; what the sender leaves out is no
//! difference.

use serde_json::Value;

/// Where what is declared differs from what is held: `members[].role`, each place once, in order. Empty
/// where nothing differs.
///
/// Texts are the same whatever their case and spaces, numbers whatever their form. The items of a list
/// stand in any order, and each has a counterpart of its own.
pub fn differences(declared: &Value, held: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", declared, held, &mut found);
    found.sort();
    found.dedup();
    found
}

fn compare(at: &str, declared: &Value, held: &Value, found: &mut Vec<String>) {
    match (declared, held) {
        (Value::Null, _) => {}
        (Value::Object(fields), Value::Object(known)) => {
            for (name, value) in fields {
                let joint = if at.is_empty() { "" } else { "." };
                let other = known.get(name).unwrap_or(&Value::Null);
                compare(&format!("{at}{joint}{name}"), value, other, found);
            }
        }
        (Value::Array(items), Value::Array(others)) => lists(at, items, others, found),
        (declared, held) if is_same(declared, held) => {}
        _ => found.push(if at.is_empty() { ".".to_owned() } else { at.to_owned() }),
    }
}

/// Longer lists are compared as they stand.
const MOST_PAIRS: usize = 10_000;

/// Items that have a counterpart say nothing. Of the others the nearest are compared, so that a place
/// within is named; where one has none left, the list differs.
fn lists(at: &str, items: &[Value], others: &[Value], found: &mut Vec<String>) {
    let within = format!("{at}[]");
    if items.len().saturating_mul(others.len()) > MOST_PAIRS {
        if items != others {
            found.push(within);
        }
        return;
    }
    let between = |item: &Value, other: &Value| {
        let mut places = Vec::new();
        compare(&within, item, other, &mut places);
        places
    };
    let mut left: Vec<&Value> = others.iter().collect();
    let mut open: Vec<&Value> = Vec::new();
    for item in items {
        match left.iter().position(|other| between(item, other).is_empty()) {
            Some(same) => drop(left.swap_remove(same)),
            None => open.push(item),
        }
    }
    if open.len() != left.len() {
        found.push(within);
        return;
    }
    for item in open {
        let places = left.iter().map(|other| between(item, other)).enumerate();
        let Some((nearest, places)) = places.min_by_key(|(_, places)| places.len()) else { return };
        left.swap_remove(nearest);
        found.extend(places);
    }
}

fn is_same(declared: &Value, held: &Value) -> bool {
    match (declared, held) {
        (Value::String(one), Value::String(other)) => {
            let words =
                |text: &str| text.to_uppercase().split_whitespace().collect::<Vec<_>>().join(" ");
            one == other || words(one) == words(other)
        }
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_named_by_its_place() {
        let member = |code: &str, role: &str| json!({ "taxCode": code, "role": role });
        let (anna, luca) = (member("A", "head"), member("L", "child"));
        let cases = [
            ("the same", json!({ "cents": 1 }), json!({ "cents": 1, "year": 2026 }), ""),
            ("another", json!({ "cents": 1 }), json!({ "cents": 2 }), "cents"),
            ("left out", json!({ "cents": null }), json!({ "cents": 2 }), ""),
            ("nothing is held", json!({ "cents": 1 }), json!({ "cents": null }), "cents"),
            ("not held at all", json!({ "cents": 1 }), json!({}), "cents"),
            ("forms of a number", json!(1.0), json!(1), ""),
            ("case and spaces", json!(" de  luca"), json!("De Luca"), ""),
            ("words", json!("de luca"), json!("deluca"), "."),
            ("kinds", json!("1"), json!(1), "."),
            ("any order", json!([luca, anna]), json!([anna, luca]), ""),
            ("one too many", json!([anna, luca]), json!([anna]), "[]"),
            ("one too few", json!([anna]), json!([anna, luca]), "[]"),
            (
                "another role",
                json!({ "members": [anna, member("L", "spouse")] }),
                json!({ "members": [luca, anna] }),
                "members[].role",
            ),
            (
                "somebody else",
                json!({ "members": [member("X", "child"), anna] }),
                json!({ "members": [luca, anna] }),
                "members[].taxCode",
            ),
            ("each has its own", json!([anna, anna]), json!([anna, luca]), "[].role [].taxCode"),
        ];
        for (what, declared, held, places) in cases {
            assert_eq!(differences(&declared, &held).join(" "), places, "{what}");
        }
    }
}
