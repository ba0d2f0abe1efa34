//! Whether every value of a type satisfies a schema.
//!
//! Invariant: the schema itself is walked, keyword by keyword, never its type: a yes is a proof.

use serde_json::{Map, Value};

use super::{
    Bug, Fact, Field, Kind, List, Number, Object, Text, Type,
    library::{Library, Node, listed},
    seeded,
};
use crate::{diagnostic::nearest, schema::holds};

mod branches;

/// Why a type does not fit, at one place of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) code: &'static str,
    /// The names on the way to the place; `*` is any element, or any field.
    pub(crate) path: Vec<String>,
    pub(crate) title: String,
    pub(crate) is: String,
    pub(crate) wants: String,
    /// What to write instead.
    pub(crate) write: String,
}

impl Misfit {
    /// Not shown either way: what comes is checked when it has come.
    pub(crate) fn is_unknown(&self) -> bool {
        self.code == UNKNOWN
    }
}

/// What is not known.
pub(crate) const UNKNOWN: &str = "SN0290";

/// Keywords that are shown only by the identity of the schema.
const UNPROVEN: [&str; 6] = [
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
    "propertyNames",
];

/// One comparison of a type with a schema.
pub(crate) struct Fits<'l, 's> {
    library: &'l Library<'s>,
    misfits: Vec<Misfit>,
    path: Vec<String>,
}

/// A piece of a type, the type of which it is a piece (for the words), and the schema.
#[derive(Clone, Copy)]
struct At<'t, 's> {
    piece: &'t Type,
    whole: &'t Type,
    node: Node<'s>,
    keywords: &'s Map<String, Value>,
}

/// Where `of` does not fit the schema.
pub(crate) fn misfits<'s>(library: &Library<'s>, of: &Type, node: Node<'s>) -> Vec<Misfit> {
    let mut fits = Fits { library, misfits: Vec::new(), path: Vec::new() };
    fits.all(of, node);
    let mut misfits = fits.misfits;
    misfits.dedup();
    misfits
}

fn count(keywords: &Map<String, Value>, keyword: &str) -> Option<u64> {
    keywords.get(keyword).and_then(Value::as_u64)
}

fn bound(keywords: &Map<String, Value>, keyword: &str) -> Option<f64> {
    keywords.get(keyword).and_then(Value::as_f64)
}

const DEFAULT_OR_LEFT_OUT: &str =
    "give a default with `// …`, or leave the field out where it is null: `name?:`";

impl<'s> Fits<'_, 's> {
    fn say(
        &mut self,
        at: At<'_, 's>,
        code: &'static str,
        title: impl Into<String>,
        write: impl Into<String>,
    ) {
        let (is, wants) = (at.whole.to_string(), self.wants(at.node));
        let path = self.path.clone();
        self.misfits.push(Misfit {
            code,
            path,
            title: title.into(),
            is,
            wants,
            write: write.into(),
        });
    }

    fn unknown(&mut self, at: At<'_, 's>, title: impl Into<String>) {
        self.say(at, UNKNOWN, title, "nothing: it is checked when a message has come");
    }

    fn wants(&self, node: Node<'s>) -> String {
        self.library.type_of(node).to_string()
    }

    fn within(&mut self, name: impl Into<String>, check: impl FnOnce(&mut Self)) {
        self.path.push(name.into());
        check(self);
        self.path.pop();
    }

    fn all(&mut self, of: &Type, node: Node<'s>) {
        for piece in of.pieces() {
            self.piece(&piece, of, node);
        }
    }

    /// Whether every value fits, without a word.
    fn fits_quietly(&self, of: &Type, node: Node<'s>) -> bool {
        misfits(self.library, of, node).is_empty()
    }

    /// `piece` has one kind.
    fn piece(&mut self, piece: &Type, whole: &Type, node: Node<'s>) {
        let node = self.library.resolved(node);
        let Some(keywords) = node.keywords() else {
            if *node.schema == Value::Bool(false) {
                let (is, path) = (whole.to_string(), self.path.clone());
                let (title, wants) = ("nothing is allowed here".to_owned(), "nothing".to_owned());
                let write = "delete the field".to_owned();
                self.misfits.push(Misfit { code: "SN0203", path, title, is, wants, write });
            }
            return;
        };
        let shown = Fact::Schema(self.library.digest(node));
        if keywords.is_empty() || piece.facts().contains(&shown) {
            return;
        }
        let at = At { piece, whole, node, keywords };
        if piece.is_unknown() {
            return self.unknown(at, "the type is not known here");
        }
        if !piece.is_allowed(keywords) {
            return self.kind(at);
        }
        self.values(at);
        self.own(at);
        self.combined(at);
    }

    /// What its own keywords ask.
    fn own(&mut self, at: At<'_, 's>) {
        let piece = at.piece;
        if let Some(text) = &piece.text {
            self.text(text, at);
        }
        if let Some(number) = &piece.number {
            self.number(number, at);
        }
        if let Some(list) = &piece.list {
            self.list(list, at);
        }
        if let Some(object) = piece.objects.first() {
            self.object(object, at);
        }
        for keyword in UNPROVEN {
            if at.keywords.contains_key(keyword) && !says_nothing(keyword, piece) {
                self.unknown(at, format!("`{keyword}` is shown only for values copied unchanged"));
            }
        }
    }

    fn kind(&mut self, at: At<'_, 's>) {
        let Some(kind) = at.piece.kinds().next() else { return };
        let allowed = |word: &str| super::library::allows(at.keywords, word);
        let decimals = at.piece.number.as_ref().is_some_and(|number| !number.whole);
        match kind {
            Kind::Null => self.say(at, "SN0202", "it may be null", DEFAULT_OR_LEFT_OUT),
            Kind::Number if decimals && allowed("integer") => {
                let write = "write `| floor` or `| round` after it; for money `cents(…)`";
                self.say(at, "SN0203", "it may have decimals", write);
            }
            kind => {
                let title = format!("it is {}", kind.with_article());
                self.say(at, "SN0203", title, hint(kind, &allowed));
            }
        }
    }

    /// `enum` and `const`.
    fn values(&mut self, at: At<'_, 's>) {
        let allowed = match (at.keywords.get("const"), at.keywords.get("enum")) {
            (Some(one), _) => std::slice::from_ref(one),
            (None, Some(_)) => listed(at.keywords, "enum"),
            (None, None) => return,
        };
        if let Some(words) = at.piece.text.as_ref().and_then(|text| text.literals.as_ref()) {
            let is_allowed = |word: &str| allowed.iter().any(|one| one.as_str() == Some(word));
            let Some(other) = words.iter().find(|word| !is_allowed(word)) else { return };
            let near = nearest(other, allowed.iter().filter_map(Value::as_str));
            let write = near.map_or_else(
                || "write one of those allowed".to_owned(),
                |near| format!("write \"{near}\", the nearest of those allowed"),
            );
            let title = format!("\"{other}\" is not among the allowed values");
            return self.say(at, "SN0204", title, write);
        }
        if Self::are_allowed(at.piece, allowed) {
            return;
        }
        if at.piece.null {
            return self.say(at, "SN0202", "it may be null", DEFAULT_OR_LEFT_OUT);
        }
        let write = "map it with if/elif, or give the source field the same enum";
        self.say(at, "SN0204", "it may be another value than those allowed", write);
    }

    fn are_allowed(piece: &Type, allowed: &[Value]) -> bool {
        let has = |value: &Value| allowed.contains(value);
        let numbers = |number: &f64| allowed.iter().any(|one| one.as_f64() == Some(*number));
        match piece.kinds().next() {
            Some(Kind::Null) => has(&Value::Null),
            Some(Kind::Boolean) => {
                (!piece.yes || has(&Value::Bool(true))) && (!piece.no || has(&Value::Bool(false)))
            }
            Some(Kind::Number) => {
                let literals = piece.number.as_ref().and_then(|number| number.literals.as_ref());
                literals.is_some_and(|literals| literals.iter().all(numbers))
            }
            Some(Kind::Text) | None => false,
            Some(Kind::List | Kind::Object) => allowed.iter().any(|value| piece.is_exactly(value)),
        }
    }

    fn text(&mut self, text: &Text, at: At<'_, 's>) {
        let word = |keyword: &str| at.keywords.get(keyword).and_then(Value::as_str);
        if let Some(format) = word("format") {
            let fact = Fact::Format(format.into());
            if !text.has_format(format) && !text.satisfies(&fact) {
                let write = "copy a field that has this format, unchanged; or give the source field \
                             the format";
                self.say(at, "SN0205", format!("nothing shows that it is a {format}"), write);
            }
        }
        if let Some(pattern) = word("pattern") {
            let fact = Fact::Pattern(pattern.into());
            if !text.facts.contains(&fact) && !text.satisfies(&fact) {
                let write = "copy a field that has this pattern, unchanged; or give the source field \
                             the pattern";
                self.say(at, "SN0205", format!("nothing shows that it matches {pattern}"), write);
            }
        }
        let shown = |least: &u64| text.least < *least && !(*least == 1 && is_never_empty(text));
        if let Some(least) = count(at.keywords, "minLength").filter(shown) {
            let title = if least == 1 {
                "the text may be empty".to_owned()
            } else {
                format!("it may be shorter than {least} characters")
            };
            let write = "give the source field the same minLength, or test its length with `if`";
            self.say(at, "SN0205", title, write);
        }
        let longer = |most: &u64| text.most.is_none_or(|length| length > *most);
        if let Some(most) = count(at.keywords, "maxLength").filter(longer) {
            let write =
                format!("write `.[:{most}]` after it, or give the source field the same maxLength");
            self.say(at, "SN0205", format!("it may be longer than {most} characters"), write);
        }
    }

    fn number(&mut self, number: &Number, at: At<'_, 's>) {
        let below = |least: f64| number.least.is_none_or(|from| from < least);
        let not_above = |least: f64| {
            let at_bound = number.least.is_some_and(|from| from == least);
            below(least) || (at_bound && !(least == 0.0 && number.nonzero))
        };
        let above = |most: f64| number.most.is_none_or(|to| to > most);
        let not_below = |most: f64| {
            let at_bound = number.most.is_some_and(|to| to == most);
            above(most) || (at_bound && !(most == 0.0 && number.nonzero))
        };
        let small = bound(at.keywords, "minimum").is_some_and(below)
            || bound(at.keywords, "exclusiveMinimum").is_some_and(not_above);
        let large = bound(at.keywords, "maximum").is_some_and(above)
            || bound(at.keywords, "exclusiveMaximum").is_some_and(not_below);
        if small {
            let write = "give the source field the same minimum, or test it with `if`";
            self.say(at, "SN0205", "it may be too small", write);
        }
        if large {
            let write = "give the source field the same maximum, or test it with `if`";
            self.say(at, "SN0205", "it may be too large", write);
        }
        let multiple = bound(at.keywords, "multipleOf");
        if let Some(of) = multiple.filter(|of| !is_multiple(number, *of)) {
            let write = "copy a field that says so, unchanged";
            self.say(at, "SN0205", format!("nothing shows that it is a multiple of {of}"), write);
        }
    }

    fn list(&mut self, list: &List, at: At<'_, 's>) {
        self.length(list, at);
        let first = listed(at.keywords, "prefixItems");
        let reaches = |index: usize| list.most.is_none_or(|most| (index as u64) < most);
        for (index, schema) in first.iter().enumerate().filter(|(index, _)| reaches(*index)) {
            let node = at.node.with(schema);
            self.within(index.to_string(), |fits| fits.all(list.at(index), node));
        }
        let Some(items) = at.keywords.get("items") else { return };
        let node = at.node.with(items);
        let after = list.first.iter().enumerate().skip(first.len());
        for (index, of) in after.filter(|(index, _)| reaches(*index)) {
            self.within(index.to_string(), |fits| fits.all(of, node));
        }
        if reaches(list.first.len().max(first.len())) {
            self.within("*", |fits| fits.all(&list.others, node));
        }
    }

    fn length(&mut self, list: &List, at: At<'_, 's>) {
        if let Some(least) = count(at.keywords, "minItems").filter(|least| list.least < *least) {
            let title = if least == 1 {
                "the list may be empty".to_owned()
            } else {
                format!("the list may have fewer than {least} elements")
            };
            let write =
                "test it with `if (… | length) > 0`, or give the source list the same minItems";
            self.say(at, "SN0205", title, write);
        }
        let longer = |most: &u64| list.most.is_none_or(|length| length > *most);
        if let Some(most) = count(at.keywords, "maxItems").filter(longer) {
            let write =
                format!("write `.[:{most}]` after it, or give the source list the same maxItems");
            self.say(at, "SN0205", format!("the list may have more than {most} elements"), write);
        }
        let distinct = list.distinct || list.most.is_some_and(|most| most <= 1);
        if at.keywords.get("uniqueItems") == Some(&Value::Bool(true)) && !distinct {
            self.say(
                at,
                "SN0205",
                "the list may hold the same element twice",
                "write `| unique` after it",
            );
        }
    }

    fn object(&mut self, object: &Object, at: At<'_, 's>) {
        self.required(object, at);
        for (name, field) in object.fields.iter().filter(|(_, field)| !field.value.is_never()) {
            self.field(name, field, object, at);
        }
        if let Some(others) = object.others.as_ref().filter(|others| !others.is_never()) {
            self.others(others, object, at);
        }
        let few = count(at.keywords, "minProperties").is_some_and(|least| object.least() < least);
        let many = count(at.keywords, "maxProperties")
            .is_some_and(|most| object.most().is_none_or(|fields| fields > most));
        if few || many {
            self.unknown(at, "the number of fields is not known");
        }
    }

    fn required(&mut self, object: &Object, at: At<'_, 's>) {
        let fields = properties(at.keywords);
        for name in listed(at.keywords, "required").iter().filter_map(Value::as_str) {
            // A field that is required and never comes is one of which a mistake was said.
            let known =
                object.fields.get(name).filter(|field| field.required || !field.value.is_never());
            let wanted =
                fields.and_then(|fields| fields.get(name)).map(|schema| at.node.with(schema));
            match known {
                Some(field) if field.required => {}
                Some(field) => {
                    let is = field.value.or_null();
                    let write = "give it a default with `// …`, or make it required at the source";
                    self.absent(
                        name,
                        format!("`{name}` may be absent"),
                        "SN0202",
                        (&is, wanted),
                        write.to_owned(),
                        at,
                    );
                }
                // It may be among the fields of which only the type is known, or nothing is.
                None if object.others.is_some() => self.perhaps(name, object, wanted, at),
                None => {
                    let near = nearest(name, object.fields.keys().map(AsRef::as_ref));
                    let near =
                        near.filter(|near| fields.is_none_or(|fields| !fields.contains_key(*near)));
                    let write = near.map_or_else(
                        || format!("write `{name}: ${{ … }}`"),
                        |near| format!("write {name} in place of {near}"),
                    );
                    let title = format!("the required field `{name}` is missing");
                    self.absent(name, title, "SN0211", (at.whole, wanted), write, at);
                }
            }
        }
    }

    /// A required field that the source does not describe.
    fn perhaps(&mut self, name: &str, object: &Object, wanted: Option<Node<'s>>, at: At<'_, 's>) {
        let others = object.others.clone().unwrap_or_default();
        if others.is_unknown() {
            return self.within(name, |fits| {
                fits.unknown(at, format!("nothing is known of a field `{name}`"));
            });
        }
        let write = "declare it at the source, or build the object field by field";
        let title = format!("`{name}` may be absent");
        self.absent(name, title, "SN0202", (&others.or_null(), wanted), write.to_owned(), at);
    }

    fn absent(
        &mut self,
        name: &str,
        title: String,
        code: &'static str,
        (is, wanted): (&Type, Option<Node<'s>>),
        write: String,
        at: At<'_, 's>,
    ) {
        let wants = self.wants(wanted.unwrap_or(at.node));
        let mut path = self.path.clone();
        path.push(name.to_owned());
        self.misfits.push(Misfit { code, path, title, is: is.to_string(), wants, write });
    }

    fn field(&mut self, name: &str, field: &Field, object: &Object, at: At<'_, 's>) {
        let declared = properties(at.keywords).and_then(|fields| fields.get(name));
        let patterns = at.keywords.get("patternProperties").and_then(Value::as_object);
        let matching =
            patterns.into_iter().flatten().filter(|(pattern, _)| holds::pattern(pattern, name));
        let mut found = false;
        for schema in declared.into_iter().chain(matching.map(|(_, schema)| schema)) {
            found = true;
            let node = at.node.with(schema);
            self.within(name, |fits| fits.all(&field.value, node));
        }
        if found {
            return;
        }
        match at.keywords.get("additionalProperties") {
            Some(Value::Bool(false)) => self.undeclared(name, at),
            Some(schema) => {
                let node = at.node.with(schema);
                self.within(name, |fits| fits.all(&field.value, node));
            }
            // A name that an open target does not know is a mistake in what the route builds itself.
            None if at.keywords.contains_key("properties") && object.is_built() => {
                self.undeclared(name, at);
            }
            None => {}
        }
    }

    fn undeclared(&mut self, name: &str, at: At<'_, 's>) {
        let known = properties(at.keywords).into_iter().flatten().map(|(name, _)| name.as_str());
        let near = nearest(name, known);
        let write = near.map_or_else(
            || "delete it, or declare it in the target's schema".to_owned(),
            |near| format!("write {near}, the nearest of the target's fields"),
        );
        self.within(name, |fits| {
            fits.say(at, "SN0212", format!("the target has no field `{name}`"), write);
        });
    }

    /// Fields of which only the type is known may have any name, also one that the target declares.
    fn others(&mut self, others: &Type, object: &Object, at: At<'_, 's>) {
        let declared = properties(at.keywords).into_iter().flatten();
        let collides =
            |name: &str| !object.fields.contains_key(name) && !seeded(Bug::OthersNeverCollide);
        for (name, schema) in declared.filter(|(name, _)| collides(name)) {
            let node = at.node.with(schema);
            self.within(name, |fits| fits.all(others, node));
        }
        let patterns = at.keywords.get("patternProperties").and_then(Value::as_object);
        for schema in patterns.into_iter().flatten().map(|(_, schema)| schema) {
            let node = at.node.with(schema);
            self.within("*", |fits| fits.all(others, node));
        }
        match at.keywords.get("additionalProperties") {
            Some(Value::Bool(false)) => {
                let title = "it may carry fields that the target does not allow";
                let write = "say `additionalProperties: false` at the source, or build the object \
                             field by field";
                self.say(at, "SN0212", title, write);
            }
            Some(schema) => {
                let node = at.node.with(schema);
                self.within("*", |fits| fits.all(others, node));
            }
            None => {}
        }
    }
}

fn properties(keywords: &Map<String, Value>) -> Option<&Map<String, Value>> {
    keywords.get("properties").and_then(Value::as_object)
}

/// Whether a keyword that cannot be proven says nothing of this kind of value.
fn says_nothing(keyword: &str, piece: &Type) -> bool {
    match keyword {
        "contains" | "unevaluatedItems" => piece.list.is_none(),
        _ => piece.objects.is_empty(),
    }
}

fn is_multiple(number: &Number, of: f64) -> bool {
    let literals = number.literals.as_ref();
    let known = |fact: &Fact| {
        #[expect(clippy::cast_precision_loss, reason = "a bound in a schema")]
        let known = if let Fact::MultipleOf(known) = fact { *known as f64 } else { return false };
        known == of
    };
    (of == 1.0 && number.whole)
        || number.facts.iter().any(known)
        || literals.is_some_and(|literals| literals.iter().all(|literal| literal % of == 0.0))
}

/// Whether a pattern that the text has leaves out the empty text.
fn is_never_empty(text: &Text) -> bool {
    let excludes = |fact: &Fact| match fact {
        Fact::Pattern(pattern) => holds::is_pattern(pattern) && !holds::pattern(pattern, ""),
        Fact::Format(_) | Fact::Schema(_) | Fact::MultipleOf(_) => false,
    };
    text.facts.iter().any(excludes)
}

fn hint(kind: Kind, allowed: &dyn Fn(&str) -> bool) -> &'static str {
    match kind {
        Kind::Number | Kind::Boolean if allowed("string") => "write `| tostring` after it",
        Kind::Text if allowed("number") || allowed("integer") => {
            "write `cents(…)` for money, `number(…)` for a number written as text"
        }
        Kind::Text | Kind::Object | Kind::Number | Kind::Boolean if allowed("array") => {
            "write `[ … ]`"
        }
        Kind::List if allowed("string") => "write `| join(\", \")` after it",
        Kind::List => "write `first(…)` with a default, or `each:` for one message per element",
        Kind::Object => "write one of its fields",
        _ => "write a value of the wanted type",
    }
}

impl Object {
    /// Whether a route made it: what comes of a schema satisfies that schema.
    fn is_built(&self) -> bool {
        !self.undescribed && !self.facts.iter().any(|fact| matches!(fact, Fact::Schema(_)))
    }
}

impl Type {
    /// Whether it is nothing but this value.
    fn is_exactly(&self, value: &Value) -> bool {
        match value {
            Value::Array(items) => self.list.as_ref().is_some_and(|list| {
                let length = items.len() as u64;
                let items = items.iter().enumerate();
                self.is_only(Kind::List)
                    && (list.least, list.most) == (length, Some(length))
                    && items.into_iter().all(|(index, item)| list.at(index).is_exactly(item))
            }),
            Value::Object(fields) => match self.objects.as_slice() {
                [object] => {
                    let is = |name: &str, field: &Field| {
                        let value = fields.get(name);
                        field.required && value.is_some_and(|value| field.value.is_exactly(value))
                    };
                    self.is_only(Kind::Object)
                        && object.others.is_none()
                        && object.fields.len() == fields.len()
                        && object.fields.iter().all(|(name, field)| is(name, field))
                }
                _ => false,
            },
            value => {
                let mut plain = self.clone();
                plain.number.iter_mut().for_each(|number| number.facts.clear());
                plain.text.iter_mut().for_each(|text| text.facts.clear());
                let is = Self::of(value);
                match (&plain.number, &is.number) {
                    (Some(a), Some(b)) => {
                        b.literals.is_some()
                            && a.literals == b.literals
                            && plain.is_only(Kind::Number)
                    }
                    (None, None) => match (&plain.text, &is.text) {
                        (Some(a), Some(b)) => a.literals == b.literals && plain.is_only(Kind::Text),
                        _ => plain == is,
                    },
                    _ => false,
                }
            }
        }
    }
}
