//! `schemas/published.lock`: the types that others build on, each with the digest of its schema.
//!
//! Invariant: a published schema never changes. What is digested is canonical JSON (RFC 8785), so it may
//! be laid out anew, and nothing else.

use std::{collections::BTreeMap, fmt::Write as _, ops::Range, sync::Arc};

use super::{SchemaFile, Schemas, kind_of_path};
use crate::{
    diagnostic::{Place, Problems, SourceFile, Words},
    ids::Digest,
    json::canonical,
};

/// Where it lies in the house.
pub const PATH: &str = "schemas/published.lock";

const HEAD: &str = "\
# What is published stays as it is: others build on it. Written by `snodo schema publish`.
";

/// What a lock file says.
#[derive(Debug, Default)]
pub struct Published(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    digest: Digest,
    place: Option<Place>,
}

impl Published {
    /// Reads the file; what cannot be read is said.
    pub fn read(file: &Arc<SourceFile>, problems: &mut Problems) -> Self {
        let mut published = Self::default();
        let mut start = 0;
        for line in file.text.split_inclusive('\n') {
            let span = start..start + line.trim_end().len();
            start += line.len();
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = Place::new(file, span);
            match entry(line) {
                Some((digest, kind)) if !published.0.contains_key(kind) => {
                    let entry = Entry { digest, place: Some(place) };
                    published.0.insert(kind.to_owned(), entry);
                }
                found => {
                    let label = if found.is_some() { "said twice" } else { "no digest and type" };
                    let help = "delete the line, then run `snodo schema publish`";
                    let words = Words::new("this line of the lock cannot be read", label, help);
                    problems.error("SN0162", place, words);
                }
            }
        }
        published
    }

    /// Whether every type is as it was published.
    pub fn check(&self, schemas: &Schemas, files: &[SchemaFile], problems: &mut Problems) {
        for (kind, entry) in &self.0 {
            let is_it = |file: &&SchemaFile| kind_of_path(&file.path).as_ref() == Some(kind);
            match (files.iter().find(is_it), digest_of(schemas, kind)) {
                (Some(file), Some(digest)) if digest != entry.digest => {
                    problems.error(
                        "SN0160",
                        Place::new(&file.file, first_line(file)),
                        changed(kind),
                    );
                }
                (None, _) => {
                    let Some(place) = entry.place.clone() else { continue };
                    problems.error("SN0161", place, gone(kind));
                }
                // With a mistake, which is said elsewhere.
                (Some(_), _) => {}
            }
        }
    }

    /// With these types too, as they are now; all there are, where none is named. Which were not there
    /// before, or the name that no type has.
    pub fn publish(&mut self, schemas: &Schemas, kinds: &[String]) -> Result<Vec<String>, String> {
        let all: Vec<String>;
        let kinds = if kinds.is_empty() {
            all = schemas.kinds().map(str::to_owned).collect();
            &all
        } else {
            kinds
        };
        let mut new = Vec::new();
        for kind in kinds {
            let digest = digest_of(schemas, kind).ok_or_else(|| kind.clone())?;
            let entry = Entry { digest, place: None };
            if self.0.insert(kind.clone(), entry).is_none() {
                new.push(kind.clone());
            }
        }
        Ok(new)
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (kind, Entry { digest, .. }) in &self.0 {
            let _ = writeln!(text, "{digest}  {kind}");
        }
        text
    }
}

fn entry(line: &str) -> Option<(Digest, &str)> {
    let (digest, kind) = line.split_once("  ")?;
    Some((Digest::from_hex(digest)?, kind.trim()))
}

fn digest_of(schemas: &Schemas, kind: &str) -> Option<Digest> {
    Some(Digest::of(&canonical(schemas.document(kind)?)))
}

fn first_line(file: &SchemaFile) -> Range<usize> {
    0..file.file.text.find('\n').unwrap_or(file.file.text.len())
}

fn changed(kind: &str) -> Words {
    let next = next_version(kind);
    Words::new(
        format!("type `{kind}` is published, and its schema has changed"),
        "others build on what it was",
        format!("put it back, and write `{next}` beside it"),
    )
}

fn gone(kind: &str) -> Words {
    Words::new(
        format!("type `{kind}` is published, and its schema is gone"),
        "others build on it",
        "put it back; or delete this line, once nobody uses the type any more",
    )
}

/// `a.b.v1` → `a.b.v2`.
fn next_version(kind: &str) -> String {
    let parts = kind
        .rsplit_once(".v")
        .and_then(|(name, number)| Some((name, number.parse::<u32>().ok()?.checked_add(1)?)));
    parts.map_or_else(|| format!("{kind}.v2"), |(name, number)| format!("{name}.v{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::render_text;

    fn files(of: &[(&str, &str)]) -> Vec<SchemaFile> {
        of.iter()
            .map(|(path, text)| SchemaFile {
                file: Arc::new(SourceFile {
                    path: format!("schemas/{path}"),
                    text: (*text).to_owned(),
                }),
                path: (*path).to_owned(),
            })
            .collect()
    }

    const FIRST: &str = r#"{ "type": "object", "additionalProperties": true, "maxProperties": 3 }"#;

    fn lock_of(files: &[SchemaFile]) -> Arc<SourceFile> {
        let (schemas, _) = Schemas::load(files);
        let mut published = Published::default();
        published.publish(&schemas, &[]).expect("they are there");
        Arc::new(SourceFile { path: PATH.to_owned(), text: published.text() })
    }

    fn said(lock: &Arc<SourceFile>, files: &[SchemaFile]) -> String {
        let (schemas, _) = Schemas::load(files);
        let mut problems = Problems::default();
        Published::read(lock, &mut problems).check(&schemas, files, &mut problems);
        render_text(&problems.sorted())
    }

    #[test]
    fn what_is_published_may_be_laid_out_anew_and_nothing_else() {
        let first = files(&[("a/b.v1.json", FIRST), ("a/c.v1.json", FIRST)]);
        let lock = lock_of(&first);
        assert_eq!(said(&lock, &first), "");
        let laid_out = "{\n  \"maxProperties\": 3,\n  \"type\": \"object\",\n  \"additionalProperties\": true\n}\n";
        assert_eq!(said(&lock, &files(&[("a/b.v1.json", laid_out), ("a/c.v1.json", FIRST)])), "");
        let more = files(&[("a/b.v1.json", FIRST), ("a/c.v1.json", FIRST), ("a/d.v1.json", FIRST)]);
        assert_eq!(said(&lock, &more), "", "a type that is not published is nobody's yet");
        let changed = FIRST.replace('3', "4");
        insta::assert_snapshot!(said(&lock, &files(&[("a/b.v1.json", &changed)])), @r#"
        error[SN0160]: type `a.b.v1` is published, and its schema has changed
         --> schemas/a/b.v1.json:1:1
          |
        1 | { "type": "object", "additionalProperties": true, "maxProperties": 4 }
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ others build on what it was
          |
        help: put it back, and write `a.b.v2` beside it

        error[SN0161]: type `a.c.v1` is published, and its schema is gone
         --> schemas/published.lock:3:1
          |
        3 | c6a75b92110e6328451a0af0e91b74a908e51c4ca607aa138c41f9bb3b5d6177  a.c.v1
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ others build on it
          |
        help: put it back; or delete this line, once nobody uses the type any more
        "#);
    }

    #[test]
    fn a_line_that_says_nothing_or_says_it_again_is_a_mistake() {
        let first = files(&[("a/b.v1.json", FIRST)]);
        let lock = lock_of(&first);
        let line = lock.text.lines().last().expect("one").to_owned();
        let text = format!("{line}\n\n# a word\n{line}\nnonsense\n");
        let said = said(&Arc::new(SourceFile { path: PATH.to_owned(), text }), &first);
        assert_eq!(said.matches("SN0162").count(), 2, "{said}");
        assert!(
            said.contains("published.lock:4:1") && said.contains("published.lock:5:1"),
            "{said}"
        );
    }
}
