//! Goes through the schema of a type to its leaves: what somebody fills in, field by field.
//!
//! Invariant: every place at which a value may stand is a field, whichever branch or reference leads to
//! it; a schema that holds itself is gone through once.

use serde_json::{Map, Value};

use super::{
    Around, Field, Shape, Spot,
    said::{self, By, Held, Said},
};
use crate::document;

/// Keywords of which the same value is an instance, each one branch among several.
const BRANCHES: [&str; 5] = ["anyOf", "oneOf", "then", "else", "dependentSchemas"];
/// Keywords that lead further in, or elsewhere.
const STRUCTURE: [&str; 10] = [
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "items",
    "prefixItems",
];
/// Types of values that hold no others.
const SCALARS: [&str; 4] = ["string", "number", "integer", "boolean"];
/// Keywords of text that is a document.
const CONTENT: [&str; 2] = ["contentEncoding", "contentMediaType"];
/// Keywords that give text a form.
const FORMS: [&str; 4] = ["format", "pattern", "enum", "const"];
/// Schemas inside each other.
const DEEPEST: usize = 64;

/// The fields of a type; none where its schema is not there, or was not read from a file.
pub(super) fn fields(kind: &str, around: &Around<'_>) -> Option<Vec<Field>> {
    around.schemas.source(kind)?;
    let schema = around.schemas.document(kind)?;
    let mut walk = Walk { around, found: Vec::new(), open: Vec::new() };
    let root = Node { at: Spot::new(kind, ""), schema };
    let said = walk.said(&root, 0);
    let path = Path { said, at: root.at.clone(), ..Path::default() };
    walk.value(&root, &path);
    Some(grouped(walk.found))
}

/// A schema and where it stands.
struct Node<'s> {
    at: Spot,
    schema: &'s Value,
}

/// The way to a value.
#[derive(Clone, Default)]
struct Path {
    text: String,
    name: String,
    /// The property in which it stands.
    at: Spot,
    /// What is said of it here.
    said: Said,
    /// Whether something is said of this very field, not only around it.
    speaks: bool,
    /// The branch in which it stands; "" for none.
    branch: String,
}

impl Path {
    /// The way on, with what is said there.
    fn further(&self, own: Said) -> Self {
        Self { speaks: own.speaks(), said: own.or(&self.said), ..self.clone() }
    }
}

/// One schema that makes a place a field.
struct Touch {
    path: Path,
    shape: Shape,
}

struct Walk<'w> {
    around: &'w Around<'w>,
    found: Vec<Touch>,
    open: Vec<Spot>,
}

impl<'w> Node<'w> {
    fn keywords(&self) -> Option<&'w Map<String, Value>> {
        self.schema.as_object()
    }

    fn below(&self, pointer: &str, schema: &'w Value) -> Self {
        Self { at: Spot::new(&self.at.kind, format!("{}{pointer}", self.at.pointer)), schema }
    }

    /// The schemas of a keyword: one, a list, or one by name.
    fn each(&self, keyword: &str) -> Vec<(String, Self)> {
        let step = |name: &str| name.replace('~', "~0").replace('/', "~1");
        let held = self.keywords().and_then(|keywords| keywords.get(keyword));
        match (held, keyword) {
            (Some(Value::Array(items)), _) => {
                let item =
                    |(at, item)| (String::new(), self.below(&format!("/{keyword}/{at}"), item));
                items.iter().enumerate().map(item).collect()
            }
            (
                Some(Value::Object(named)),
                "properties" | "patternProperties" | "dependentSchemas",
            ) => {
                let one = |(name, schema): (&String, &'w Value)| {
                    (name.clone(), self.below(&format!("/{keyword}/{}", step(name)), schema))
                };
                named.iter().map(one).collect()
            }
            (Some(schema), _) => {
                vec![(String::new(), self.below(&format!("/{keyword}"), schema))]
            }
            (None, _) => Vec::new(),
        }
    }
}

impl<'w> Walk<'w> {
    fn target(&self, node: &Node<'w>) -> Option<Node<'w>> {
        let reference = node.keywords()?.get("$ref")?.as_str()?;
        let (kind, pointer) = self.around.schemas.target(&node.at.kind, reference)?;
        let schema = self.around.schemas.document(&kind)?.pointer(&pointer)?;
        Some(Node { at: Spot { kind, pointer }, schema })
    }

    /// What a schema says of its value, then what it refers to, then what it is made of.
    fn said(&self, node: &Node<'w>, depth: usize) -> Said {
        let Some(keywords) = node.keywords().filter(|_| depth < DEEPEST) else {
            return Said::default();
        };
        let (own, _) = said::read(keywords, &node.at, self.around);
        let target = self.target(node).into_iter();
        let parts = target.chain(node.each("allOf").into_iter().map(|(_, part)| part));
        parts.fold(own, |said, part| said.or(&self.said(&part, depth + 1)))
    }

    /// Goes into a value of which `path` knows what is said.
    fn value(&mut self, node: &Node<'w>, path: &Path) {
        if self.open.len() > DEEPEST || self.open.contains(&node.at) {
            return;
        }
        let Some(keywords) = node.keywords() else {
            if *node.schema == Value::Bool(true) {
                self.touch(path, Shape::Anything);
            }
            return;
        };
        let target = self.target(node);
        if target.as_ref().is_some_and(|target| target.at == Spot::new(document::KIND, "")) {
            return self.touch(path, Shape::Document);
        }
        self.open.push(node.at.clone());
        for part in target.into_iter().chain(node.each("allOf").into_iter().map(|(_, part)| part)) {
            self.value(&part, path);
        }
        self.branches(node, path);
        self.properties(node, keywords, path);
        self.items(node, keywords, path);
        self.open.pop();
        if let Some(shape) = shape(keywords) {
            self.touch(path, shape);
        }
    }

    fn branches(&mut self, node: &Node<'w>, path: &Path) {
        for keyword in BRANCHES {
            for (_, branch) in node.each(keyword) {
                let own = self.said(&branch, 0);
                let inside = Path {
                    speaks: path.speaks || own.speaks(),
                    said: own.or(&path.said),
                    branch: format!("{}#{}", branch.at.kind, branch.at.pointer),
                    ..path.clone()
                };
                self.value(&branch, &inside);
            }
        }
    }

    fn properties(&mut self, node: &Node<'w>, keywords: &Map<String, Value>, path: &Path) {
        for (name, field) in node.each("properties") {
            let dot = if path.text.is_empty() { "" } else { "." };
            let text = format!("{}{dot}{name}", path.text);
            let own = self.named(self.said(&field, 0), &name, &field.at);
            let inside = Path { text, name, at: field.at.clone(), ..path.further(own) };
            self.value(&field, &inside);
        }
        let is_open = |key: &str| keywords.get(key).is_some_and(|held| *held != Value::Bool(false));
        let others = ["patternProperties", "additionalProperties", "unevaluatedProperties"];
        for (_, field) in others.into_iter().filter(|key| is_open(key)).flat_map(|k| node.each(k)) {
            let own = self.said(&field, 0);
            let dot = if path.text.is_empty() { "" } else { "." };
            let text = format!("{}{dot}*", path.text);
            let inside = Path { text, speaks: path.speaks || own.speaks(), ..path.further(own) };
            let cites = self.target(&field).is_some_and(|target| target.at.kind == document::KIND);
            self.touch(&inside, if cites { Shape::Document } else { Shape::Map });
        }
    }

    fn items(&mut self, node: &Node<'w>, keywords: &Map<String, Value>, path: &Path) {
        let items = ["prefixItems", "items"].into_iter().flat_map(|key| node.each(key));
        let items: Vec<_> = items.filter(|(_, item)| *item.schema != Value::Bool(false)).collect();
        let text = format!("{}[]", path.text);
        if items.is_empty() && has_type(keywords, "array") {
            self.touch(&Path { text: text.clone(), ..path.clone() }, Shape::Anything);
        }
        for (_, item) in items {
            let own = self.said(&item, 0);
            let speaks = path.speaks || own.speaks();
            self.value(&item, &Path { text: text.clone(), speaks, ..path.further(own) });
        }
    }

    /// A field that says nothing of what it means, and is called as a fact, means the fact.
    fn named(&self, mut said: Said, name: &str, at: &Spot) -> Said {
        if !said.means && said.held.is_none() {
            let held = |fact| Held { fact, by: By::Name, at: at.clone() };
            said.held = said::by_name(name, self.around).cloned().map(held);
        }
        said
    }

    fn touch(&mut self, path: &Path, shape: Shape) {
        self.found.push(Touch { path: path.clone(), shape });
    }
}

fn has_type(keywords: &Map<String, Value>, wanted: &str) -> bool {
    match keywords.get("type") {
        Some(Value::Array(words)) => words.iter().any(|word| word == wanted),
        Some(word) => word == wanted,
        None => false,
    }
}

/// What a schema holds itself, where that is no object and no list.
fn shape(keywords: &Map<String, Value>) -> Option<Shape> {
    let has = |all: &[&str]| all.iter().any(|key| keywords.contains_key(*key));
    if has(&CONTENT) {
        return Some(Shape::Document);
    }
    if has(&FORMS) && !has_type(keywords, "object") {
        return Some(Shape::Formed);
    }
    if has_type(keywords, "string") {
        return Some(Shape::FreeText);
    }
    if SCALARS.iter().any(|word| has_type(keywords, word)) {
        return Some(Shape::Formed);
    }
    (!has(&STRUCTURE) && !keywords.contains_key("type")).then_some(Shape::Anything)
}

/// One field per place, and per branch that says something of its own.
fn grouped(found: Vec<Touch>) -> Vec<Field> {
    let mut places: Vec<(String, Vec<Touch>)> = Vec::new();
    for touch in found {
        match places.iter_mut().find(|(path, _)| *path == touch.path.text) {
            Some((_, touches)) => touches.push(touch),
            None => places.push((touch.path.text.clone(), vec![touch])),
        }
    }
    places.into_iter().flat_map(|(_, touches)| of_place(touches)).collect()
}

fn of_place(mut touches: Vec<Touch>) -> Vec<Field> {
    // What only restricts a field that is described elsewhere is no field of its own.
    let restricts = |touch: &Touch| touch.shape == Shape::Anything;
    if !touches.iter().all(restricts) {
        touches.retain(|touch| touch.path.speaks || !restricts(touch));
        touches.sort_by_key(restricts);
    }
    let (base, branches): (Vec<Touch>, Vec<Touch>) =
        touches.into_iter().partition(|touch| touch.path.branch.is_empty());
    let base = base.into_iter().fold(None, |base, touch| Some(joined(base, touch)));
    let speaks = branches.iter().any(|touch| touch.path.speaks);
    let mut variants: Vec<Touch> = Vec::new();
    for touch in branches.into_iter().filter(|touch| touch.path.speaks || base.is_none()) {
        let same = variants.iter().position(|known| known.path.branch == touch.path.branch);
        let known = same.map(|at| variants.remove(at));
        variants.push(joined(known, touch));
    }
    if let Some(base) = base {
        let only_branches = speaks && !base.path.speaks;
        for variant in &mut variants {
            variant.path.said = variant.path.said.clone().or(&base.path.said);
        }
        if !only_branches {
            variants.insert(0, base);
        }
    }
    variants.into_iter().map(field).collect()
}

/// Two schemas of one value: what stands at the field itself comes before what is said around it.
fn joined(known: Option<Touch>, touch: Touch) -> Touch {
    let Some(known) = known else { return touch };
    let shape = if known.shape == Shape::FreeText && touch.shape != Shape::Anything {
        touch.shape
    } else {
        known.shape
    };
    let speaks = known.path.speaks || touch.path.speaks;
    let said = if touch.path.speaks && !known.path.speaks {
        touch.path.said.or(&known.path.said)
    } else {
        known.path.said.or(&touch.path.said)
    };
    Touch { path: Path { said, speaks, ..known.path }, shape }
}

fn field(touch: Touch) -> Field {
    let Path { text, name, at, said, .. } = touch.path;
    Field { path: text, name, at, said, shape: touch.shape }
}
