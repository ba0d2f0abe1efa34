//! One YAML file of the configuration as a layer of `config`, with the place of every key and value.
//!
//! Invariant: the text is read by the house's strict reader only; `config` lays values over values.

use std::{collections::HashMap, ops::Range, sync::Arc};

use config::{Map, Source, Value, ValueKind};
use serde_json::Value as Json;
use snodo_core::{
    diagnostic::{Place, Problems, SourceFile},
    yaml::{self, Content, Node},
};

/// A file of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    file: Arc<SourceFile>,
    values: Map<String, Value>,
    places: Arc<HashMap<String, Range<usize>>>,
}

impl Layer {
    /// Reads a file; what is wrong with it is said.
    pub(super) fn read(file: Arc<SourceFile>, problems: &mut Problems) -> Option<Self> {
        let root = yaml::read(&file, problems)?;
        let mut places = HashMap::new();
        note_places(&root, "", &mut places);
        let ValueKind::Table(values) = to_value(&root, &file.path).kind else {
            let words = snodo_core::diagnostic::Words::new(
                "the configuration is not a table of keys",
                "not a table",
                "begin with a key, e.g. `data: /var/lib/snodo`",
            );
            problems.error("SN0441", Place::new(&file, root.span), words);
            return None;
        };
        Some(Self { file, values, places: Arc::new(places) })
    }

    /// The name of the file: the origin of its values.
    pub(super) fn origin(&self) -> &str {
        &self.file.path
    }

    /// The place of `pointer`, if this file says it.
    pub(super) fn place(&self, pointer: &str) -> Option<Place> {
        self.places.get(pointer).map(|span| Place::new(&self.file, span.clone()))
    }

    /// The file as a whole.
    pub(super) fn start(&self) -> Place {
        Place::new(&self.file, 0..0)
    }
}

/// Notes the bytes of every value (a key's value where it has one of its own) by JSON pointer.
fn note_places(node: &Node, at: &str, places: &mut HashMap<String, Range<usize>>) {
    match &node.content {
        Content::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let pointer = format!("{at}/{index}");
                places.insert(pointer.clone(), item.span.clone());
                note_places(item, &pointer, places);
            }
        }
        Content::Map(fields) => {
            for (key, value) in fields {
                let pointer = format!("{at}/{}", key.text);
                let scalar = matches!(value.content, Content::Text(_) | Content::Plain(_));
                let span = if scalar { &value.span } else { &key.span };
                places.insert(pointer.clone(), span.clone());
                places.insert(format!("{pointer}#key"), key.span.clone());
                note_places(value, &pointer, places);
            }
        }
        Content::Text(_) | Content::Plain(_) | Content::Refused => {}
    }
}

fn to_value(node: &Node, origin: &String) -> Value {
    let kind = match &node.content {
        Content::Text(text) => ValueKind::String(text.clone()),
        Content::Plain(plain) => scalar(plain),
        Content::List(items) => {
            ValueKind::Array(items.iter().map(|item| to_value(item, origin)).collect())
        }
        Content::Map(fields) => ValueKind::Table(
            fields.iter().map(|(key, value)| (key.text.clone(), to_value(value, origin))).collect(),
        ),
        Content::Refused => ValueKind::Nil,
    };
    Value::new(Some(origin), kind)
}

fn scalar(plain: &Json) -> ValueKind {
    match plain {
        Json::Bool(value) => ValueKind::Boolean(*value),
        Json::Number(number) => number
            .as_i64()
            .map_or_else(|| ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)), ValueKind::I64),
        _ => ValueKind::Nil,
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.values.clone())
    }
}
