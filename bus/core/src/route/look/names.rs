//! What a text of a file names, by the keys under which it stands; and all that there is of that kind.
//!
//! Invariant: what is offered for a name is what `check` looks the name up in.

use std::{ops::Range, path::Path, sync::Arc};

use super::{
    Look, Offer, OfferKind, Written,
    spot::{ITEM, Spot},
};
use crate::{
    adapter::Operation,
    compliance::Spot as SchemaSpot,
    diagnostic::{Place, Problems, SourceFile},
    yaml::{self, Content, Node},
};

/// What a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// A type.
    Type,
    /// The schema of a type, written as a path: `facts/household.v1`.
    Schema,
    /// An operation of an adapter instance: `protocollo.register`.
    Operation,
    Instance,
    /// An operation of this instance, that a fact asks.
    Question(String),
    Fact,
    Purpose,
    Law,
    Party,
}

/// Whether that is the path of a route.
pub(super) fn is_route(path: &str) -> bool {
    let stem = path.strip_prefix("routes/").and_then(|name| name.strip_suffix(".yaml"));
    let is_test = |stem: &str| stem.strip_suffix(".test").is_some();
    stem.is_some_and(|stem| stem != "laws" && !stem.contains('/') && !is_test(stem))
}

/// What the text at a spot of a file names, if it names something.
pub(super) fn of(path: &str, spot: &Spot<'_>) -> Option<Naming> {
    let keys = spot.keys.as_slice();
    match path {
        path if is_route(path) => of_route(keys),
        path if path.starts_with("routes/facts/") => of_fact(spot),
        path if path.starts_with("routes/purposes/") => {
            matches!(keys, ["laws", ITEM]).then_some(Naming::Law)
        }
        path if path.starts_with("config/parties/") => match keys {
            ["sends", ITEM] | ["receives", ITEM, "type"] => Some(Naming::Type),
            ["receives", ITEM, "law"] => Some(Naming::Law),
            _ => None,
        },
        path if path.starts_with("config/") => {
            let schema = matches!(keys, ["adapters", _, "operations", _, "input" | "output"]);
            schema.then_some(Naming::Schema)
        }
        _ => None,
    }
}

fn of_route(keys: &[&str]) -> Option<Naming> {
    match keys {
        ["from"] | ["from", "as"] => Some(Naming::Type),
        ["purpose"] => Some(Naming::Purpose),
        ["needs", _, "fact"] => Some(Naming::Fact),
        ["steps", within @ .., last] if !within.contains(&"with") => match (*last, within.last()) {
            ("use", _) => Some(Naming::Operation),
            ("emit", _) => Some(Naming::Type),
            ("to", _) | (ITEM, Some(&"to")) => Some(Naming::Party),
            _ => None,
        },
        _ => None,
    }
}

fn of_fact(spot: &Spot<'_>) -> Option<Naming> {
    match spot.keys.as_slice() {
        ["held_by"] => Some(Naming::Instance),
        ["query"] => {
            let held_by = spot.around.iter().find(|(key, _)| key.text == "held_by");
            match held_by.map(|(_, value)| &value.content) {
                Some(Content::Text(instance)) => Some(Naming::Question(instance.clone())),
                _ => None,
            }
        }
        ["schema"] => Some(Naming::Schema),
        ["law", ITEM] => Some(Naming::Law),
        ["refresh_on", ITEM] => Some(Naming::Type),
        ["reusable_for", ITEM] => Some(Naming::Purpose),
        _ => None,
    }
}

/// The name of a file without its ending.
pub(super) fn stem(file: &SourceFile) -> &str {
    Path::new(&file.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

/// A value of the outermost map of a file.
pub(super) fn value_of(file: &Arc<SourceFile>, key: &str) -> Option<Node> {
    let root = yaml::read(file, &mut Problems::default())?;
    let Content::Map(entries) = root.content else { return None };
    entries.into_iter().find(|(known, _)| known.text == key).map(|(_, value)| value)
}

/// The same, where it is text; "" where it is not.
pub(super) fn text_of(file: &Arc<SourceFile>, key: &str) -> String {
    match value_of(file, key).map(|value| value.content) {
        Some(Content::Text(text)) => text,
        _ => String::new(),
    }
}

impl<'h> Look<'h> {
    /// The file of a fact, a purpose or a party.
    pub(super) fn file_of(files: &'h [Arc<SourceFile>], name: &str) -> Option<&'h Arc<SourceFile>> {
        files.iter().find(|file| stem(file) == name)
    }

    pub(super) fn operation(&self, instance: &str, name: &str) -> Option<&'h Operation> {
        self.house.operations.get(instance)?.iter().find(|operation| operation.name == name)
    }

    /// The laws: id, title, and where each is written.
    pub(super) fn laws(&self) -> impl Iterator<Item = (String, String, Place)> + use<'h> {
        let of_file = |file: &'h Arc<SourceFile>| {
            let root = yaml::read(file, &mut Problems::default());
            let laws = match root.map(|root| root.content) {
                Some(Content::Map(laws)) => laws,
                _ => Vec::new(),
            };
            laws.into_iter().map(|(key, law)| {
                let title =
                    law.value().and_then(|law| Some(law.get("title")?.as_str()?.to_owned()));
                (key.text, title.unwrap_or_default(), Place::new(file, key.span))
            })
        };
        self.house.laws.iter().flat_map(of_file)
    }

    /// Where that is written which a name means.
    pub(super) fn written(&self, naming: &Naming, name: &str) -> Option<Written> {
        let start = |file: &Arc<SourceFile>| Written::At(Place::new(file, 0..0));
        let of_file = |files| Self::file_of(files, name).map(start);
        match naming {
            Naming::Type | Naming::Schema => {
                let kind = name.replace('/', ".");
                SchemaSpot::new(&kind, "").name(&self.house.schemas).map(Written::At)
            }
            Naming::Operation => {
                let (instance, operation) = name.split_once('.').unwrap_or((name, ""));
                self.configured(instance, operation)
            }
            Naming::Instance => self.configured(name, ""),
            Naming::Question(instance) => self.configured(instance, name),
            Naming::Fact => of_file(&self.house.facts),
            Naming::Purpose => of_file(&self.house.purposes),
            Naming::Party => of_file(&self.house.parties),
            Naming::Law => {
                self.laws().find(|(id, ..)| id == name).map(|(_, _, place)| Written::At(place))
            }
        }
    }

    fn configured(&self, instance: &str, operation: &str) -> Option<Written> {
        let known =
            self.house.operations.contains_key(instance) || self.house.unopened.contains(instance);
        let operation = (!operation.is_empty()).then(|| operation.to_owned());
        known.then(|| Written::Configured { instance: instance.to_owned(), operation })
    }

    /// Everything that a name may be there.
    pub(super) fn known(&self, naming: &Naming, span: &Range<usize>) -> Vec<Offer> {
        let offer = |kind, label: String, detail: String| {
            let (span, text) = (self.inner(span), label.clone());
            Offer { label, detail, kind, span, text }
        };
        let of_files = |files: &[Arc<SourceFile>]| {
            let of = |file: &Arc<SourceFile>| {
                offer(OfferKind::Name, stem(file).to_owned(), text_of(file, "title"))
            };
            files.iter().map(of).collect()
        };
        let types = |as_path: bool| {
            let of = |kind: &str| {
                let label = if as_path { kind.replacen('.', "/", 1) } else { kind.to_owned() };
                offer(OfferKind::Type, label, self.title(kind))
            };
            self.house.schemas.kinds().map(of).collect()
        };
        match naming {
            Naming::Type => types(false),
            Naming::Schema => types(true),
            Naming::Operation => {
                let each = self.house.operations.iter().flat_map(|(instance, operations)| {
                    operations.iter().map(move |operation| (instance, operation))
                });
                let steps = each.filter(|(_, operation)| !operation.fact_only);
                let of = |(instance, operation): (&String, &Operation)| {
                    let label = format!("{instance}.{}", operation.name);
                    offer(OfferKind::Operation, label, operation.effect.word().to_owned())
                };
                steps.map(of).collect()
            }
            Naming::Question(instance) => {
                let operations = self.house.operations.get(instance).into_iter().flatten();
                let of = |operation: &Operation| {
                    let detail = operation.effect.word().to_owned();
                    offer(OfferKind::Operation, operation.name.clone(), detail)
                };
                operations.map(of).collect()
            }
            Naming::Instance => {
                let names = self.house.operations.keys();
                names.map(|name| offer(OfferKind::Name, name.clone(), String::new())).collect()
            }
            Naming::Fact => of_files(&self.house.facts),
            Naming::Purpose => of_files(&self.house.purposes),
            Naming::Party => of_files(&self.house.parties),
            Naming::Law => {
                self.laws().map(|(id, title, _)| offer(OfferKind::Name, id, title)).collect()
            }
        }
    }

    /// The title of a type.
    pub(super) fn title(&self, kind: &str) -> String {
        let document = self.house.schemas.document(kind);
        let title = document.and_then(|document| document.get("title")?.as_str());
        title.unwrap_or_default().to_owned()
    }

    /// A text without its quotes.
    fn inner(&self, span: &Range<usize>) -> Range<usize> {
        let text = &self.file.text[span.clone()];
        let quoted = text.len() >= 2 && text.starts_with(['"', '\'']);
        if quoted { span.start + 1..span.end - 1 } else { span.clone() }
    }
}
