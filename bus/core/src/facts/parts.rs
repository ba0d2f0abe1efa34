//! Parts of a value: those that expressions read, so that nothing else of a fact is kept.
//!
//! Invariant: what an expression gives of a value and of its projection onto the parts that it reads is
//! the same (a property test in `template::uses`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Which parts of a value are read. Without any, only that it is there and of which kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    whole: bool,
    fields: BTreeMap<String, Parts>,
    items: Option<Box<Parts>>,
}

/// One way into a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// A field of an object.
    Field(String),
    /// Every item of a list, every value of an object.
    Items,
}

impl Parts {
    /// All of a value.
    pub fn all() -> Self {
        Self { whole: true, ..Self::default() }
    }

    /// What is read of a field; none where it is not looked at.
    pub fn of_field(&self, name: &str) -> Option<Self> {
        if self.whole {
            return Some(Self::all());
        }
        match (self.fields.get(name), self.items.as_deref()) {
            (Some(field), Some(items)) => {
                let mut both = field.clone();
                both.join(items);
                Some(both)
            }
            (field, items) => field.or(items).cloned(),
        }
    }

    /// Adds what stands at the end of `ways`: all of it, or that it is there.
    pub(crate) fn add(&mut self, ways: &[Way], whole: bool) {
        let end = ways.iter().fold(self, |at, way| match way {
            Way::Field(name) => at.fields.entry(name.clone()).or_default(),
            Way::Items => at.items.get_or_insert_default(),
        });
        end.whole |= whole;
    }

    /// The same, and of each field that is looked at all.
    pub(crate) fn with_whole_fields(&self) -> Self {
        let fields = self.fields.keys().map(|name| (name.clone(), Self::all())).collect();
        let items = self.items.as_ref().map(|_| Box::new(Self::all()));
        Self { whole: self.whole, fields, items }
    }

    /// Adds other parts.
    pub fn join(&mut self, other: &Self) {
        self.whole |= other.whole;
        for (name, parts) in &other.fields {
            self.fields.entry(name.clone()).or_default().join(parts);
        }
        if let Some(items) = &other.items {
            self.items.get_or_insert_default().join(items);
        }
    }

    /// Adds the parts of a field.
    pub(crate) fn join_field(&mut self, name: &str, parts: &Self) {
        self.fields.entry(name.to_owned()).or_default().join(parts);
    }

    /// Whether these are among the parts of `other`.
    pub fn are_among(&self, other: &Self) -> bool {
        let below = |name: &String, parts: &Self| match (other.fields.get(name), &other.items) {
            (Some(field), _) if parts.are_among(field) => true,
            (_, Some(items)) => parts.are_among(items),
            _ => false,
        };
        let items = || match (&self.items, &other.items) {
            (None, _) => true,
            (Some(items), Some(others)) => items.are_among(others),
            (Some(_), None) => false,
        };
        other.whole
            || !self.whole && self.fields.iter().all(|(name, parts)| below(name, parts)) && items()
    }

    /// The same value with nothing in it but these parts. Of what is read in no way, its kind is kept.
    #[must_use]
    pub fn of(&self, value: &Value) -> Value {
        match value {
            _ if self.whole => value.clone(),
            Value::Object(fields) => {
                let kept = fields.iter().filter_map(|(name, value)| {
                    self.of_field(name).map(|parts| (name.clone(), parts.of(value)))
                });
                Value::Object(kept.collect::<Map<_, _>>())
            }
            Value::Array(items) => match &self.items {
                Some(parts) => items.iter().map(|item| parts.of(item)).collect(),
                None => Value::Array(Vec::new()),
            },
            scalar => scalar.clone(),
        }
    }

    /// As paths, for people and for rows: `members[].taxCode`; `.` is all of it.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.write("", &mut paths);
        paths
    }

    fn write(&self, at: &str, paths: &mut Vec<String>) {
        if self.whole || self.fields.is_empty() && self.items.is_none() {
            let all = if at.is_empty() { "." } else { at };
            let only = if self.whole { "" } else { "?" };
            paths.push(format!("{all}{only}"));
            return;
        }
        for (name, parts) in &self.fields {
            let joint = if at.is_empty() { "" } else { "." };
            parts.write(&format!("{at}{joint}{}", written(name)), paths);
        }
        if let Some(items) = &self.items {
            items.write(&format!("{at}[]"), paths);
        }
    }

    /// From what `paths` wrote.
    pub fn from_paths<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        let mut parts = Self::default();
        for path in paths {
            let (path, whole) = path.strip_suffix('?').map_or((path, true), |path| (path, false));
            parts.add(&ways(path), whole);
        }
        parts
    }
}

/// A name in a path: as it is, or in quotes where it could be taken for something else.
fn written(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        Value::String(name.to_owned()).to_string()
    }
}

fn ways(path: &str) -> Vec<Way> {
    let (mut ways, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[]") {
            ways.push(Way::Items);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = after;
        } else if rest.starts_with('"') {
            let mut read = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let Some(Ok(name)) = read.next() else { break };
            rest = &rest[read.byte_offset()..];
            ways.push(Way::Field(name));
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            ways.push(Way::Field(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parts(paths: &[&str]) -> Parts {
        Parts::from_paths(paths.iter().copied())
    }

    #[test]
    fn nothing_is_kept_but_what_is_read() {
        let household = json!({
            "address": { "street": "Via Roma", "town": "Palermo" },
            "members": [{ "taxCode": "A", "name": "Ada" }, { "taxCode": "B", "name": "Bea" }],
        });
        for (paths, kept) in [
            (
                &["members[].taxCode"][..],
                json!({ "members": [{ "taxCode": "A" }, { "taxCode": "B" }] }),
            ),
            (&["address.town"], json!({ "address": { "town": "Palermo" } })),
            (&["members?"], json!({ "members": [] })),
            (&["members[]?"], json!({ "members": [{}, {}] })),
            (&["?"], json!({})),
            (&["."], household.clone()),
            (&["nothing"], json!({})),
        ] {
            assert_eq!(parts(paths).of(&household), kept, "{paths:?}");
        }
    }

    #[test]
    fn paths_are_read_as_they_are_written() {
        for paths in [
            &["."][..],
            &[".?"],
            &["a", "b.c[].d", "b.e?"],
            &["\"a.b\"[]", "\"x\\\"[]\""],
            &["[][].a"],
        ] {
            assert_eq!(parts(paths).paths(), paths, "{paths:?}");
        }
    }

    #[test]
    fn parts_are_among_others_where_each_is() {
        for (some, others, among) in [
            (&["a"][..], &["."][..], true),
            (&["a"], &["a", "b"], true),
            (&["a.b"], &["a"], true),
            (&["a"], &["a.b"], false),
            (&["a[].b"], &["a[]"], true),
            (&["a[]"], &["a[].b"], false),
            (&["a", "c"], &["a", "b"], false),
            (&["a?"], &["a.b"], true),
            (&["."], &["a"], false),
            (&["a.b"], &["[]"], true),
        ] {
            assert_eq!(parts(some).are_among(&parts(others)), among, "{some:?} {others:?}");
        }
    }
}
