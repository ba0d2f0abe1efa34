//! Names of types, paths of their schemas, and what a `$ref` leads to.
//!
//! Invariant: a reference leads to a type of the house or nowhere; never to a host or a file.

/// Where every schema of the house lives for `$ref`. The host cannot exist (RFC 6761).
pub(super) const BASE: &str = "https://snodo.invalid/schemas/";

/// The type whose schema is at `path`: `anagrafe/residence-change.declared.v1.json` is
/// `anagrafe.residence-change.declared.v1`.
pub fn kind_of_path(path: &str) -> Option<String> {
    let (domain, name) = path.strip_suffix(".json")?.split_once('/')?;
    let kind = format!("{domain}.{name}");
    let parts: Vec<&str> = kind.split('.').collect();
    let (version, words) = parts.split_last()?;
    let version = version.strip_prefix('v')?;
    let is_number = !version.starts_with('0') && version.parse::<u32>().is_ok();
    let is_named = words.len() >= 2 && is_word(domain) && words.iter().all(|word| is_word(word));
    (is_number && is_named && !version.starts_with('+')).then_some(kind)
}

fn is_word(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The path of the schema of `kind`, relative to `schemas/`.
pub fn path_of_kind(kind: &str) -> String {
    format!("{}.json", kind.replacen('.', "/", 1))
}

/// The address of the schema of `kind` within the registry.
pub(super) fn uri_of_kind(kind: &str) -> String {
    if kind.is_empty() { BASE.to_owned() } else { format!("{BASE}{}", path_of_kind(kind)) }
}

/// What a `$ref` means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// The type; "" for the document itself where it is no type.
    pub(super) kind: String,
    /// JSON pointer within its schema.
    pub(super) pointer: String,
}

impl Target {
    /// The reference that means the same from anywhere in the registry.
    pub(super) fn uri(&self) -> String {
        format!("{}#{}", uri_of_kind(&self.kind), self.pointer)
    }
}

/// Resolves `reference` as written in the schema of `kind` (whose `$id` is `id`), without looking
/// whether it is there. `None` leads out of the house or is no JSON pointer.
pub(super) fn resolve(kind: &str, id: Option<&str>, reference: &str) -> Option<Target> {
    let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    if !fragment.is_empty() && !fragment.starts_with('/') {
        return None;
    }
    let pointer = decode(fragment)?;
    if address.is_empty() {
        return Some(Target { kind: kind.to_owned(), pointer });
    }
    let own = if kind.is_empty() { String::new() } else { path_of_kind(kind) };
    let root = id.and_then(|id| id.strip_suffix(own.as_str())).filter(|root| !root.is_empty());
    let path = match root.and_then(|root| address.strip_prefix(root)) {
        Some(path) => path.to_owned(),
        None => join(&own, address)?,
    };
    Some(Target { kind: kind_of_path(&path)?, pointer })
}

/// Joins a relative address to the path it is written in.
fn join(own: &str, address: &str) -> Option<String> {
    if address.contains(':') || address.starts_with("//") {
        return None;
    }
    let (mut folders, rest): (Vec<&str>, &str) = match address.strip_prefix('/') {
        Some(rooted) => (Vec::new(), rooted.strip_prefix("schemas/")?),
        None => {
            (own.rsplit_once('/').map_or_else(Vec::new, |(f, _)| f.split('/').collect()), address)
        }
    };
    for segment in rest.split('/') {
        match segment {
            "." => {}
            ".." => {
                folders.pop()?;
            }
            _ => folders.push(segment),
        }
    }
    Some(folders.join("/"))
}

/// Undoes percent encoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'%' {
            let (pair, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_type_and_back() {
        let path = "anagrafe/residence-change.declared.v1.json";
        let kind = kind_of_path(path).expect("a type");
        assert_eq!(kind, "anagrafe.residence-change.declared.v1");
        assert_eq!(path_of_kind(&kind), path);
        for bad in [
            "a.v1.json",
            "a/b.json",
            "a/b.v0.json",
            "a/b.v01.json",
            "a/b.v+1.json",
            "A/b.v1.json",
            "a/b/c.v1.json",
            "a/b..v1.json",
            "a/b.v1.yaml",
            "../a/b.v1.json",
            "a/.v1.json",
            "a/v1.json",
        ] {
            assert_eq!(kind_of_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_reference_leads_into_the_house_or_nowhere() {
        let id = Some("https://palermo.example/schemas/a/b.v1.json");
        let table = [
            ("#", Some("a.b.v1#")),
            ("#/$defs/x%20y", Some("a.b.v1#/$defs/x y")),
            ("c.v2.json", Some("a.c.v2#")),
            ("../d/e.v1.json#/$defs/f", Some("d.e.v1#/$defs/f")),
            ("/schemas/d/e.v1.json", Some("d.e.v1#")),
            ("https://palermo.example/schemas/d/e.v1.json", Some("d.e.v1#")),
            ("https://elsewhere.example/schemas/d/e.v1.json", None),
            ("http://169.254.169.254/", None),
            ("file:///etc/shadow", None),
            ("../../secret.json", None),
            ("//host/d/e.v1.json", None),
            ("#anchor", None),
            ("#/%zz", None),
        ];
        for (reference, expected) in table {
            let found =
                resolve("a.b.v1", id, reference).map(|t| format!("{}#{}", t.kind, t.pointer));
            assert_eq!(found.as_deref(), expected, "{reference}");
        }
    }
}
