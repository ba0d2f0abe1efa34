//! Schemas as types: JSON Schema 2020-12, across the documents of a house.
//!
//! Invariant: every value that a schema accepts is in its type. Whether a type fits a schema is never
//! decided by this approximation but by [`super::fits`].

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    ptr,
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{
    Fact, Field, Kind, List, Number, Object, Text, Type, meet::tighter, narrow::different,
};
use crate::schema::Schemas;

/// Keywords that say nothing of values.
const NOTES: [&str; 12] = [
    "title",
    "description",
    "$comment",
    "examples",
    "default",
    "$schema",
    "$id",
    "$defs",
    "definitions",
    "deprecated",
    "readOnly",
    "writeOnly",
];
/// Keywords that hold schemas by name, in a list, and alone.
const BY_NAME: [&str; 3] = ["properties", "patternProperties", "dependentSchemas"];
const IN_LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const ALONE: [&str; 11] = [
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contentSchema",
];
/// Keywords that shape a type by themselves.
const SHAPING: [&str; 23] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minProperties",
];
/// A schema that holds itself is unfolded so often.
const UNFOLDED: usize = 2;
/// References that lead to nothing but references.
const MOST_HOPS: usize = 16;

/// A schema, and the document in which it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'s> {
    pub(crate) schema: &'s Value,
    document: Document<'s>,
}

/// Where `$ref` is looked up.
#[derive(Clone, Copy, Debug)]
struct Document<'s> {
    /// The type whose schema it is; "" for a document that is no type of the house.
    kind: &'s str,
    root: &'s Value,
}

impl<'s> Node<'s> {
    /// Another schema of the same document.
    pub(super) fn with(self, schema: &'s Value) -> Self {
        Self { schema, ..self }
    }

    pub(super) fn keywords(self) -> Option<&'s Map<String, Value>> {
        self.schema.as_object()
    }

    fn address(self) -> Address<'s> {
        Address(self.schema)
    }
}

/// A schema by where it lies. It lies there as long as the library lives that knows it.
#[derive(Clone, Copy, Debug)]
struct Address<'s>(&'s Value);

impl PartialEq for Address<'_> {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }
}

impl Eq for Address<'_> {}

impl Hash for Address<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        ptr::from_ref(self.0).hash(hasher);
    }
}

/// The types of the schemas of a house. Made for one check.
#[derive(Debug)]
pub(crate) struct Library<'s> {
    schemas: &'s Schemas,
    digests: RefCell<HashMap<Address<'s>, u64>>,
    types: RefCell<HashMap<Address<'s>, Type>>,
}

/// The schemas under a keyword that holds a list of them.
pub(super) fn listed<'s>(keywords: &'s Map<String, Value>, keyword: &str) -> &'s [Value] {
    keywords.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn named<'s>(
    keywords: &'s Map<String, Value>,
    keyword: &str,
) -> impl Iterator<Item = (&'s String, &'s Value)> {
    keywords.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

/// Whether a keyword says nothing of values.
fn is_note(keyword: &str) -> bool {
    NOTES.contains(&keyword) || keyword.starts_with("x-")
}

impl<'s> Library<'s> {
    pub(crate) fn new(schemas: &'s Schemas) -> Self {
        Self { schemas, digests: RefCell::default(), types: RefCell::default() }
    }

    /// The schema of a type of the house.
    pub(crate) fn of_kind(&self, kind: &str) -> Option<Node<'s>> {
        let (kind, root) = self.schemas.entry(kind)?;
        Some(Node { schema: root, document: Document { kind, root } })
    }

    /// A schema that is no type of the house, such as an operation's input.
    pub(crate) fn guest(root: &'s Value) -> Node<'s> {
        Node { schema: root, document: Document { kind: "", root } }
    }

    /// What its `$ref` leads to, if it has one.
    pub(super) fn target(&self, node: Node<'s>) -> Option<Node<'s>> {
        let reference = node.schema.get("$ref")?.as_str()?;
        if let (true, Some(pointer)) = (node.document.kind.is_empty(), reference.strip_prefix('#'))
        {
            return Some(node.with(node.document.root.pointer(pointer)?));
        }
        let (kind, schema) = self.schemas.resolve(node.document.kind, reference)?;
        let root = self.schemas.document(kind)?.as_ref();
        Some(Node { schema, document: Document { kind, root } })
    }

    /// The schema itself, where it is nothing but a reference to another.
    pub(super) fn resolved(&self, mut node: Node<'s>) -> Node<'s> {
        for _ in 0..MOST_HOPS {
            let only_refers = node.keywords().is_some_and(|keywords| {
                keywords.contains_key("$ref")
                    && keywords.keys().all(|keyword| keyword == "$ref" || is_note(keyword))
            });
            match self.target(node).filter(|_| only_refers) {
                Some(target) => node = target,
                None => break,
            }
        }
        node
    }

    /// Schemas with the same digest accept the same values. Notes do not count, references are followed.
    pub(super) fn digest(&self, node: Node<'s>) -> u64 {
        self.digest_within(node, &mut Vec::new())
    }

    fn digest_within(&self, node: Node<'s>, open: &mut Vec<Address<'s>>) -> u64 {
        let node = self.resolved(node);
        let at = node.address();
        if let Some(digest) = self.digests.borrow().get(&at) {
            return *digest;
        }
        let mut hasher = DefaultHasher::new();
        if open.contains(&at) {
            ("holds itself", at).hash(&mut hasher);
            return hasher.finish();
        }
        open.push(at);
        self.hash(node, open, &mut hasher);
        open.pop();
        let digest = hasher.finish();
        // Within a schema that holds itself, a digest depends on where one came from.
        if open.is_empty() {
            self.digests.borrow_mut().insert(at, digest);
        }
        digest
    }

    fn hash(&self, node: Node<'s>, open: &mut Vec<Address<'s>>, hasher: &mut DefaultHasher) {
        let Some(keywords) = node.keywords() else { return node.schema.to_string().hash(hasher) };
        let mut sorted: Vec<(&String, &Value)> =
            keywords.iter().filter(|(keyword, _)| !is_note(keyword)).collect();
        sorted.sort_by_key(|(keyword, _)| *keyword);
        for (keyword, value) in sorted {
            keyword.hash(hasher);
            match (keyword.as_str(), value) {
                (word, Value::Object(schemas)) if BY_NAME.contains(&word) => {
                    let mut schemas: Vec<_> = schemas.iter().collect();
                    schemas.sort_by_key(|(name, _)| *name);
                    for (name, schema) in schemas {
                        (name, self.digest_within(node.with(schema), open)).hash(hasher);
                    }
                }
                (word, Value::Array(schemas)) if IN_LISTS.contains(&word) => {
                    for schema in schemas {
                        self.digest_within(node.with(schema), open).hash(hasher);
                    }
                }
                (word, schema) if ALONE.contains(&word) => {
                    self.digest_within(node.with(schema), open).hash(hasher);
                }
                ("$ref", Value::String(reference)) => match self.target(node) {
                    Some(target) => self.digest_within(target, open).hash(hasher),
                    None => (node.address(), reference).hash(hasher),
                },
                ("required", Value::Array(names)) => {
                    let mut names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                    names.sort_unstable();
                    names.hash(hasher);
                }
                (_, value) => value.to_string().hash(hasher),
            }
        }
    }

    /// The type of what the schema accepts.
    pub(crate) fn type_of(&self, node: Node<'s>) -> Type {
        let at = self.resolved(node).address();
        if let Some(known) = self.types.borrow().get(&at) {
            return known.clone();
        }
        let found = self.type_within(node, &mut Vec::new());
        self.types.borrow_mut().insert(at, found.clone());
        found
    }

    fn type_within(&self, node: Node<'s>, open: &mut Vec<Address<'s>>) -> Type {
        let node = self.resolved(node);
        let Some(keywords) = node.keywords() else {
            return if *node.schema == Value::Bool(false) {
                Type::never()
            } else {
                Type::unknown()
            };
        };
        let fact = Fact::Schema(self.digest(node));
        let at = node.address();
        if open.iter().filter(|open| **open == at).count() >= UNFOLDED {
            return Type { unknown: Some(vec![fact]), ..Type::default() };
        }
        open.push(at);
        let found = self.combined(node, keywords, open);
        open.pop();
        let found = if keywords.get("nullable") == Some(&Value::Bool(true)) {
            found.or_null()
        } else {
            found
        };
        found.with(&fact)
    }

    /// What its own keywords say, and the schemas that it combines.
    fn combined(
        &self,
        node: Node<'s>,
        keywords: &'s Map<String, Value>,
        open: &mut Vec<Address<'s>>,
    ) -> Type {
        let mut found = self.own(node, keywords, open);
        if let Some(target) = self.target(node) {
            found = found.meet(&self.type_within(target, open));
        }
        for part in listed(keywords, "allOf") {
            found = found.meet(&self.type_within(node.with(part), open));
        }
        for keyword in ["anyOf", "oneOf"] {
            if keywords.contains_key(keyword) {
                let branches = listed(keywords, keyword).iter();
                found = branches
                    .map(|branch| found.meet(&self.type_within(node.with(branch), open)))
                    .fold(Type::never(), |all, one| all.join(&one));
            }
        }
        match keywords.get("if") {
            Some(condition) => self.conditional(&found, node, condition, open),
            None => found,
        }
    }

    fn conditional(
        &self,
        all: &Type,
        node: Node<'s>,
        condition: &'s Value,
        open: &mut Vec<Address<'s>>,
    ) -> Type {
        let mut part = |keyword: &str| {
            let schema = node.schema.get(keyword);
            schema.map_or_else(Type::unknown, |schema| self.type_within(node.with(schema), open))
        };
        let (then, otherwise) = (part("then"), part("else"));
        let holds = all.meet(&self.type_within(node.with(condition), open)).meet(&then);
        holds.join(&without_tag(all, condition).meet(&otherwise))
    }

    fn own(
        &self,
        node: Node<'s>,
        keywords: &'s Map<String, Value>,
        open: &mut Vec<Address<'s>>,
    ) -> Type {
        if !SHAPING.iter().any(|keyword| keywords.contains_key(*keyword)) {
            return Type::unknown();
        }
        let mut found = Type::never();
        for kind in kinds(keywords) {
            match kind {
                "null" => found.null = true,
                "boolean" => (found.yes, found.no) = (true, true),
                "integer" if found.number.is_none() => found.number = Some(number(keywords, true)),
                "number" => found.number = Some(number(keywords, false)),
                "string" => found.text = Some(text(keywords)),
                "array" => found.list = Some(Arc::new(self.list(node, keywords, open))),
                "object" => found.objects = vec![Arc::new(self.object(node, keywords, open))],
                _ => {}
            }
        }
        let literals = match (keywords.get("const"), keywords.get("enum")) {
            (Some(one), _) => Some(std::slice::from_ref(one)),
            (None, Some(_)) => Some(listed(keywords, "enum")),
            (None, None) => None,
        };
        let Some(literals) = literals else { return found };
        let one_of = literals.iter().map(Type::of);
        found.meet(&one_of.fold(Type::never(), |all, one| all.join(&one)))
    }

    fn list(
        &self,
        node: Node<'s>,
        keywords: &'s Map<String, Value>,
        open: &mut Vec<Address<'s>>,
    ) -> List {
        let first = listed(keywords, "prefixItems");
        let others = keywords.get("items");
        let closed = (others == Some(&Value::Bool(false))).then_some(first.len() as u64);
        let mut part = |schema: &'s Value| self.type_within(node.with(schema), open);
        List {
            first: first.iter().map(&mut part).collect(),
            others: others.map_or_else(Type::unknown, part),
            least: count(keywords, "minItems").unwrap_or(0),
            most: tighter(closed, count(keywords, "maxItems"), u64::min),
            distinct: keywords.get("uniqueItems") == Some(&Value::Bool(true)),
            facts: Vec::new(),
        }
    }

    fn object(
        &self,
        node: Node<'s>,
        keywords: &'s Map<String, Value>,
        open: &mut Vec<Address<'s>>,
    ) -> Object {
        let required: Vec<&str> =
            listed(keywords, "required").iter().filter_map(Value::as_str).collect();
        let mut part = |schema: &'s Value| self.type_within(node.with(schema), open);
        let mut fields: BTreeMap<Arc<str>, Field> = named(keywords, "properties")
            .map(|(name, schema)| {
                let required = required.contains(&name.as_str());
                (name.as_str().into(), Field { value: part(schema), required })
            })
            .collect();
        let patterns = named(keywords, "patternProperties").map(|(_, schema)| part(schema));
        let patterns = patterns.reduce(|all, one| all.join(&one));
        let (others, undescribed) = match keywords.get("additionalProperties") {
            Some(Value::Bool(false)) => (None, false),
            Some(schema) => (Some(part(schema)), false),
            // What says nothing of any field is not asked for one by its name.
            None => (Some(Type::unknown()), keywords.contains_key("properties")),
        };
        let others = match (others, patterns) {
            (Some(others), Some(patterns)) => Some(others.join(&patterns)),
            (one, other) => one.or(other),
        };
        for name in required {
            let other = || Field { value: others.clone().unwrap_or_default(), required: true };
            fields.entry(name.into()).or_insert_with(other);
        }
        Object { fields, others, undescribed, facts: Vec::new() }
    }
}

fn kinds(keywords: &Map<String, Value>) -> Vec<&str> {
    match keywords.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec!["null", "boolean", "number", "string", "array", "object"],
    }
}

fn bound(keywords: &Map<String, Value>, keyword: &str) -> Option<f64> {
    keywords.get(keyword).and_then(Value::as_f64)
}

fn count(keywords: &Map<String, Value>, keyword: &str) -> Option<u64> {
    keywords.get(keyword).and_then(Value::as_u64)
}

fn number(keywords: &Map<String, Value>, whole: bool) -> Number {
    let (above, below) = (bound(keywords, "exclusiveMinimum"), bound(keywords, "exclusiveMaximum"));
    let next = |above: f64| if whole { above.floor() + 1.0 } else { above };
    let last = |below: f64| if whole { below.ceil() - 1.0 } else { below };
    let least = tighter(bound(keywords, "minimum"), above.map(next), f64::max);
    let most = tighter(bound(keywords, "maximum"), below.map(last), f64::min);
    let nonzero = least.is_some_and(|least| least > 0.0)
        || most.is_some_and(|most| most < 0.0)
        || above.is_some_and(|above| above >= 0.0)
        || below.is_some_and(|below| below <= 0.0);
    let multiple = keywords.get("multipleOf").and_then(Value::as_u64);
    let facts = multiple.into_iter().map(Fact::MultipleOf).collect();
    Number { whole, least, most, nonzero, literals: None, facts }
}

fn text(keywords: &Map<String, Value>) -> Text {
    let word = |keyword: &str| keywords.get(keyword).and_then(Value::as_str);
    let format = word("format").map(|format| Fact::Format(format.into()));
    let pattern = word("pattern").map(|pattern| Fact::Pattern(pattern.into()));
    Text {
        literals: None,
        least: count(keywords, "minLength").unwrap_or(0),
        most: count(keywords, "maxLength"),
        facts: format.into_iter().chain(pattern).collect(),
    }
}

/// Where the condition is that one required field is one value, the field is not that in what is left.
fn without_tag(all: &Type, condition: &Value) -> Type {
    let Some((name, value)) = tag_of(condition) else { return all.clone() };
    let mut left = all.clone();
    left.objects.retain_mut(|object| {
        let object = Arc::make_mut(object);
        let Some(field) = object.fields.get_mut(name) else { return true };
        field.value = different(&field.value, value);
        !(field.required && field.value.is_never())
    });
    left
}

/// The field and the value of `{properties: {field: {const: value}}, required: [field]}`.
fn tag_of(condition: &Value) -> Option<(&str, &Value)> {
    const KNOWN: [&str; 3] = ["properties", "required", "type"];
    let keywords = condition.as_object()?;
    let fields = keywords.get("properties")?.as_object()?;
    let mut fields = fields.iter();
    let (Some((name, schema)), None) = (fields.next(), fields.next()) else { return None };
    let is_required = keywords.get("required")? == &serde_json::json!([name]);
    let is_all = keywords.keys().all(|keyword| KNOWN.contains(&keyword.as_str()));
    let only_const = schema.as_object().is_some_and(|schema| schema.len() == 1);
    let value = schema.get("const")?;
    (is_required && is_all && only_const).then_some((name, value))
}

impl Type {
    /// Whether a schema's `type` has a word for this kind of value.
    pub(super) fn is_allowed(&self, keywords: &Map<String, Value>) -> bool {
        let kinds = kinds(keywords);
        let Some(kind) = self.kinds().next() else { return true };
        match kind {
            Kind::Null => kinds.contains(&"null"),
            Kind::Boolean => kinds.contains(&"boolean"),
            Kind::Number => {
                let whole = self.number.as_ref().is_some_and(|number| number.whole);
                kinds.contains(&"number") || (whole && kinds.contains(&"integer"))
            }
            Kind::Text => kinds.contains(&"string"),
            Kind::List => kinds.contains(&"array"),
            Kind::Object => kinds.contains(&"object"),
        }
    }
}

/// Whether a schema's `type` allows this word.
pub(super) fn allows(keywords: &Map<String, Value>, word: &str) -> bool {
    kinds(keywords).contains(&word) || (word == "integer" && kinds(keywords).contains(&"number"))
}
