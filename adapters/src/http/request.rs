//! A request from an operation and an input. Pure.
//!
//! Invariant: a value fills exactly one segment of the path or one value of the query; it can change
//! neither the host nor the shape of the path.

use reqwest::Url;
use serde_json::{Map, Value};
use snodo_core::fault::{Fault, FaultClass};

/// A path template: `/enrolments/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(String),
}

impl Path {
    /// Reads a template, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') || text.starts_with("//") {
            return Err("a path begins with one `/`");
        }
        if text.contains(['?', '#', '\\']) || text.chars().any(char::is_whitespace) {
            return Err("a path has no query, no fragment, no space");
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').ok_or("a `{` of the path has no `}`")?;
            if !is_field(field) {
                return Err("between `{` and `}` stands the name of a field");
            }
            parts.push(Part::Literal(before.to_owned()));
            parts.push(Part::Field(field.to_owned()));
            rest = after;
        }
        if rest.contains('}') {
            return Err("a `}` of the path has no `{`");
        }
        parts.push(Part::Literal(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The fields that fill it.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    fn fill(&self, value_of: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
        let mut path = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => path.push_str(text),
                Part::Field(name) => {
                    let value = value_of(name).filter(|value| !is_dots(value));
                    path.push_str(&encode(&value.ok_or_else(|| unusable(name))?));
                }
            }
        }
        Ok(path)
    }
}

fn is_field(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `.` and `..` stay themselves when encoded: URL parsers take `%2e%2e` for a step upwards.
fn is_dots(value: &str) -> bool {
    matches!(value, "" | "." | "..")
}

fn unusable(name: &str) -> Fault {
    let text = format!("the field `{name}` cannot fill its place in the target's path");
    Fault::new(FaultClass::Poison, "SN0768", text)
}

/// The address of a call: path filled, and for methods without a body the other fields as query.
pub(super) fn address(
    base: &Url,
    path: &Path,
    input: &Value,
    in_query: bool,
) -> Result<Url, Fault> {
    let empty = Map::new();
    let fields = input.as_object().unwrap_or(&empty);
    let mut url = at(base, &path.fill(&|name| scalar(fields.get(name)?))?)?;
    if in_query {
        let used: Vec<&str> = path.fields().collect();
        let others = fields.iter().filter(|(name, _)| !used.contains(&name.as_str()));
        add_query(&mut url, others)?;
    }
    Ok(url)
}

/// The address at which the far side says whether it did `step_key`.
pub(super) fn lookup_address(base: &Url, path: &Path, step_key: &str) -> Result<Url, Fault> {
    let mut url = at(base, &path.fill(&|name| (name == "key").then(|| step_key.to_owned()))?)?;
    if path.fields().next().is_none() {
        url.query_pairs_mut().append_pair("key", step_key);
    }
    Ok(url)
}

fn at(base: &Url, path: &str) -> Result<Url, Fault> {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    (url.host() == base.host() && url.port() == base.port())
        .then_some(url)
        .ok_or_else(|| unusable("path"))
}

fn add_query<'a>(
    url: &mut Url,
    fields: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Result<(), Fault> {
    for (name, value) in fields.filter(|(_, value)| !value.is_null()) {
        let value = scalar(value).ok_or_else(|| unusable(name))?;
        url.query_pairs_mut().append_pair(name, &value);
    }
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Url {
        Url::parse("https://far.example:8443/api/v1/").expect("valid")
    }

    fn called(path: &str, input: &Value, in_query: bool) -> Result<String, String> {
        let path = Path::parse(path).expect("a path");
        address(&base(), &path, input, in_query)
            .map(String::from)
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn fields_fill_segments_and_the_query() {
        let input = json!({ "id": "a/b?c#d è", "year": 2026, "open": true, "none": null });
        insta::assert_snapshot!(called("/x/{id}/{year}", &input, false).expect("valid"),
            @"https://far.example:8443/api/v1/x/a%2Fb%3Fc%23d%20%C3%A8/2026");
        insta::assert_snapshot!(called("/x/{year}", &input, true).expect("valid"),
            @"https://far.example:8443/api/v1/x/2026?id=a%2Fb%3Fc%23d+%C3%A8&open=true");
    }

    #[test]
    fn a_value_cannot_leave_its_segment() {
        for value in [json!(".."), json!("."), json!(""), json!(null), json!([1]), json!({})] {
            let error = called("/x/{id}/y", &json!({ "id": value }), false).expect_err("refused");
            assert_eq!(
                error, "SN0768: the field `id` cannot fill its place in the target's path",
                "{value}"
            );
        }
        for value in ["../..", "@evil.example", "//evil.example/", "\\\\evil", "%2e%2e"] {
            let url = called("/x/{id}/y", &json!({ "id": value }), false).expect("valid");
            assert!(url.starts_with("https://far.example:8443/api/v1/x/"), "{url}");
            assert!(url.ends_with("/y") && url.matches('/').count() == 7, "{url}");
        }
    }

    #[test]
    fn a_lookup_carries_the_key_in_path_or_query() {
        let lookup = |path: &str| {
            let path = Path::parse(path).expect("a path");
            lookup_address(&base(), &path, "d1/notify").map(String::from).expect("valid")
        };
        insta::assert_snapshot!(lookup("/lookup"), @"https://far.example:8443/api/v1/lookup?key=d1%2Fnotify");
        insta::assert_snapshot!(lookup("/done/{key}"), @"https://far.example:8443/api/v1/done/d1%2Fnotify");
    }

    #[test]
    fn a_path_that_makes_no_sense_is_refused() {
        for path in ["x", "//x", "/x?y=1", "/x#y", "/{", "/}", "/{a b}", "/{}", "/a b", "/\\x"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
