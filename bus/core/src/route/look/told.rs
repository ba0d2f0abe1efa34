//! What is told of names, steps, needs and fields, in Markdown.
//!
//! Invariant: types are told in the words of the errors; every word comes from files of the house.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    Look, RouteLook,
    names::{Naming, text_of, value_of},
    trail::{Described, Trail},
};
use crate::{
    adapter::Operation,
    compliance::Spot as SchemaSpot,
    diagnostic::Place,
    facts::Way,
    route::file::{self, StepFile, VerbFile},
    template::{compile::Peek, uses::FACTS},
    types::{Type, library::Library},
};

/// So many fields of an object are listed.
const MOST: usize = 24;

/// The fields of an object, or of the objects in a list, with their types.
pub(super) fn fields_of(of: &Type) -> Vec<(String, Type)> {
    let names = of.objects.iter().flat_map(|object| object.fields.keys());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    let field = |name: &std::sync::Arc<str>| {
        let values = of.objects.iter().map(|object| object.get(name));
        (name.to_string(), values.fold(Type::never(), |all, one| all.join(&one)))
    };
    let is_there = |(_, of): &(String, Type)| !of.not_null().is_never();
    names.into_iter().map(field).filter(is_there).collect()
}

/// The same as a list; "" of what has none.
pub(super) fn fields(of: &Type) -> String {
    let of_items = of.list.as_ref().map(|list| list.element());
    let fields = match (of.objects.is_empty(), of_items) {
        (true, Some(item)) => fields_of(&item),
        _ => fields_of(of),
    };
    let mut text = String::new();
    for (name, of) in fields.iter().take(MOST) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n- `{name}`: {of}");
    }
    if fields.len() > MOST {
        text.push_str("\n- …");
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// A heading and what belongs to it, without what is empty.
fn joined<const N: usize>(parts: [String; N]) -> String {
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.trim().is_empty()).collect();
    parts.join("\n\n")
}

fn effect(operation: &Operation) -> String {
    let asked = if operation.fact_only { "; asked as a fact only" } else { "" };
    format!("effect: {}{asked}", operation.effect.word())
}

impl Look<'_> {
    /// What is told of a name.
    pub(super) fn of_name(&self, naming: &Naming, name: &str) -> Option<String> {
        match naming {
            Naming::Type | Naming::Schema => self.of_type(&name.replace('/', ".")),
            Naming::Operation => {
                let (instance, operation) = name.split_once('.')?;
                self.of_operation(instance, operation)
            }
            Naming::Question(instance) => self.of_operation(instance, name),
            Naming::Instance => {
                let operations = self.house.operations.get(name)?;
                let names: Vec<String> =
                    operations.iter().map(|operation| format!("`{}`", operation.name)).collect();
                Some(joined([format!("adapter instance `{name}`"), names.join(", ")]))
            }
            Naming::Fact => self.of_fact(name),
            Naming::Purpose => {
                let file = Self::file_of(&self.house.purposes, name)?;
                let title = format!("purpose `{name}`: {}", text_of(file, "title"));
                let laws = value_of(file, "laws").and_then(|laws| laws.value());
                let laws = laws.map(|laws| format!("laws: {}", listed(&laws))).unwrap_or_default();
                let kept = format!("bodies are kept for {}", text_of(file, "retention"));
                Some(joined([title, laws, kept]))
            }
            Naming::Party => {
                let file = Self::file_of(&self.house.parties, name)?;
                Some(format!("party `{name}`: {}", text_of(file, "title")))
            }
            Naming::Law => {
                let (id, title, _) = self.laws().find(|(id, ..)| id == name)?;
                Some(format!("law `{id}`: {title}"))
            }
        }
    }

    fn of_type(&self, kind: &str) -> Option<String> {
        let schemas = &*self.house.schemas;
        let library = Library::new(schemas);
        let of = library.type_of(library.of_kind(kind)?);
        let note = |keyword: &str| {
            let (_, document) = schemas.entry(kind)?;
            Some(document.get(keyword)?.as_str()?.to_owned())
        };
        let heading = format!("type `{kind}`: {}", self.title(kind));
        let (text, of) = (note("description").unwrap_or_default(), format!("{of}{}", fields(&of)));
        Some(joined([heading, text, of]))
    }

    fn of_operation(&self, instance: &str, name: &str) -> Option<String> {
        let operation = self.operation(instance, name)?;
        let library = Library::new(&self.house.schemas);
        let heading = format!("operation `{instance}.{name}`, {}", effect(operation));
        let [wants, gives] =
            [("wants", &operation.input), ("gives", &operation.output)].map(|(word, schema)| {
                let of = library.type_of(Library::guest(schema));
                format!("{word} {of}{}", fields(&of))
            });
        Some(joined([heading, wants, gives]))
    }

    fn of_fact(&self, name: &str) -> Option<String> {
        let file = Self::file_of(&self.house.facts, name)?;
        let heading = format!("fact `{name}`: {}", text_of(file, "title"));
        let (held_by, query) = (text_of(file, "held_by"), text_of(file, "query"));
        let held =
            format!("held by `{held_by}`, asked by `{query}` about `{}`", text_of(file, "about"));
        let fresh = format!("an answer is good for {}", text_of(file, "fresh_for"));
        let kind = text_of(file, "schema").replace('/', ".");
        let library = Library::new(&self.house.schemas);
        let of = library.of_kind(&kind).map(|node| library.type_of(node));
        let of = of.map(|of| format!("{of}{}", fields(&of))).unwrap_or_default();
        Some(joined([heading, held, fresh, of]))
    }
}

fn listed(value: &Value) -> String {
    let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

impl RouteLook<'_> {
    fn step(&self, id: &str) -> Option<&StepFile> {
        file::each_step(&self.written.steps).find(|step| step.id.value == id)
    }

    fn does(step: &StepFile) -> String {
        let id = &step.id.value;
        match &step.verb {
            VerbFile::Use { target, .. } => format!("step `{id}`: uses `{}`", target.value),
            VerbFile::Emit { kind, .. } => format!("step `{id}`: emits `{}`", kind.value),
            VerbFile::Choose { .. } => format!("step `{id}`: chooses one of its branches"),
            VerbFile::Refused => format!("step `{id}`"),
        }
    }

    /// What is told of a step at its id.
    pub(super) fn of_step(&self, id: &str, peek: &Peek) -> Option<String> {
        let variables = peek.end.iter().flat_map(|end| &end.variables);
        let mut steps = variables.filter(|(name, _)| name == "$steps").map(|(_, of)| of);
        let object = steps.next_back().and_then(|of| of.objects.first());
        let of = object.and_then(|object| object.fields.get(id)).map(|field| &field.value);
        let gives = of.filter(|of| !of.is_never() && **of != Type::null());
        let gives = gives.map(|of| format!("`$steps.{id}`: {of}{}", fields(of)));
        Some(joined([Self::does(self.step(id)?), gives.unwrap_or_default()]))
    }

    /// What is told of a need at its name.
    pub(super) fn of_need(&self, name: &str) -> Option<String> {
        let need = self.written.needs.iter().find(|need| need.name.value == name)?;
        let may_be_null = if need.may_be_null() { "`$facts` may have null for it" } else { "" };
        let fact = Look { house: self.house, file: &self.written.file }.of_fact(&need.fact.value);
        Some(joined([format!("need `{name}`"), fact.unwrap_or_default(), may_be_null.to_owned()]))
    }

    /// What is told of a field beside its type.
    pub(super) fn of_way(&self, way: &Trail) -> Option<String> {
        match (way.variable.as_deref(), way.ways.as_slice()) {
            (Some("$steps"), [Way::Field(id)]) => self.step(id).map(Self::does),
            (Some(FACTS), [Way::Field(name)]) => {
                let need = self.written.needs.iter().find(|need| need.name.value == *name)?;
                let fact = &need.fact.value;
                let file = Look::file_of(&self.house.facts, fact)?;
                Some(format!("fact `{fact}`, held by `{}`", text_of(file, "held_by")))
            }
            _ => {
                let described = self.described(way)?;
                let schemas = &*self.house.schemas;
                let note =
                    |keyword| described.note(schemas, keyword).unwrap_or_default().to_owned();
                let asked = match (note("x-asked-of"), note("x-verdict")) {
                    (who, _) if who.is_empty() => String::new(),
                    (who, why) if why.is_empty() => format!("asked of: {who}"),
                    (who, why) => format!("asked of: {who}, {why}"),
                };
                let told = joined([note("title"), note("description"), asked]);
                (!told.is_empty()).then_some(told)
            }
        }
    }

    /// Where a field, a step or a need is written.
    pub(super) fn place_of(&self, way: &Trail) -> Option<Place> {
        let here = |span: &std::ops::Range<usize>| Place::new(&self.written.file, span.clone());
        match (way.variable.as_deref(), way.ways.as_slice()) {
            (Some("$steps"), [Way::Field(id)]) => self.step(id).map(|step| here(&step.id.span)),
            (Some(FACTS), [Way::Field(name)]) => {
                let need = self.written.needs.iter().find(|need| need.name.value == *name)?;
                Some(here(&need.name.span))
            }
            _ => {
                let Described { kind, pointer, .. } = self.described(way)?;
                SchemaSpot::new(&kind, pointer).name(&self.house.schemas)
            }
        }
    }

    /// The schema of a field of the message, of a fact or of the result of a step.
    fn described(&self, way: &Trail) -> Option<Described<'_>> {
        let schemas = &*self.house.schemas;
        let of_kind = |kind: &str| {
            let (kind, root) = schemas.entry(kind)?;
            Some(Described::whole(kind, root))
        };
        let (whole, ways) = match (way.variable.as_deref(), way.ways.as_slice()) {
            (None, ways) => (of_kind(&self.written.from.value)?, ways),
            (Some("$message"), [Way::Field(data), ways @ ..]) if data == "data" => {
                (of_kind(&self.written.from.value)?, ways)
            }
            (Some("$steps"), [Way::Field(id), ways @ ..]) => {
                let VerbFile::Use { target, .. } = &self.step(id)?.verb else { return None };
                let (instance, name) = target.value.split_once('.')?;
                let operations = self.house.operations.get(instance)?;
                let operation = operations.iter().find(|operation| operation.name == name)?;
                (Described::whole("", &operation.output), ways)
            }
            (Some(FACTS), [Way::Field(name), ways @ ..]) => {
                let need = self.written.needs.iter().find(|need| need.name.value == *name)?;
                let fact = self.facts.get(&need.fact.value)?.as_ref()?;
                (of_kind(fact.schema.as_deref()?)?, ways)
            }
            _ => return None,
        };
        whole.along(schemas, ways)
    }
}
