//! `$ref`, `allOf`, `anyOf`, `oneOf`, `if`, `not`: schemas made of schemas.
//!
//! Invariant: `oneOf` fits where one alternative fits and all others have provably nothing in common.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{At, Fits, Misfit, bound, count, misfits, properties};
use crate::types::{
    Bug, Field, Kind, Number, Object, Text, Type,
    library::{Node, allows, listed},
    seeded,
};

impl<'s> Fits<'_, 's> {
    pub(super) fn combined(&mut self, at: At<'_, 's>) {
        if at.keywords.contains_key("$ref") {
            match self.library.target(at.node) {
                Some(target) => self.piece(at.piece, at.whole, target),
                None => self.unknown(at, "a reference that leads nowhere"),
            }
        }
        for part in listed(at.keywords, "allOf") {
            self.piece(at.piece, at.whole, at.node.with(part));
        }
        for (keyword, only_one) in [("anyOf", false), ("oneOf", true)] {
            if at.keywords.contains_key(keyword) {
                self.branches(at, listed(at.keywords, keyword), only_one);
            }
        }
        self.conditional(at);
        if let Some(refused) = at.keywords.get("not")
            && !self.is_disjoint(at.piece, at.node.with(refused))
        {
            self.unknown(at, "`not` is shown only where the types have nothing in common");
        }
    }

    fn conditional(&mut self, at: At<'_, 's>) {
        let Some(condition) = at.keywords.get("if").map(|schema| at.node.with(schema)) else {
            return;
        };
        let part = |keyword: &str| at.keywords.get(keyword).map(|schema| at.node.with(schema));
        if let Some(then) = part("then").filter(|_| !self.is_disjoint(at.piece, condition)) {
            self.piece(at.piece, at.whole, then);
        }
        if let Some(otherwise) = part("else").filter(|_| !self.fits_quietly(at.piece, condition)) {
            self.piece(at.piece, at.whole, otherwise);
        }
    }

    fn branches(&mut self, at: At<'_, 's>, schemas: &'s [Value], only_one: bool) {
        let nodes: Vec<Node<'s>> = schemas.iter().map(|schema| at.node.with(schema)).collect();
        let tried: Vec<Vec<Misfit>> =
            nodes.iter().map(|node| misfits(self.library, at.piece, *node)).collect();
        if let Some(fit) = tried.iter().position(Vec::is_empty) {
            let mut others = nodes.iter().enumerate().filter(|(index, _)| *index != fit);
            let overlap = others.any(|(_, node)| !self.is_disjoint(at.piece, *node));
            if only_one && overlap && !seeded(Bug::OneOfIsAnyOf) {
                self.unknown(at, "nothing shows that exactly one alternative of `oneOf` holds");
            }
            return;
        }
        let parts = split(at.piece);
        if parts.len() > 1 {
            for part in &parts {
                self.branches(At { piece: part, ..at }, schemas, only_one);
            }
            return;
        }
        self.nearest_branch(at, &nodes, tried);
    }

    /// Says what is wrong with the alternative that was meant: its tag fits, and least is wrong.
    fn nearest_branch(&mut self, at: At<'_, 's>, nodes: &[Node<'s>], tried: Vec<Vec<Misfit>>) {
        let key = |(index, found): &(usize, Vec<Misfit>)| {
            let apart = self.is_disjoint(at.piece, nodes[*index]);
            (apart, found.iter().all(Misfit::is_unknown), found.len())
        };
        let Some((index, found)) = tried.into_iter().enumerate().min_by_key(key) else { return };
        if nodes.len() > 1 && self.is_disjoint(at.piece, nodes[index]) {
            if at.piece.null {
                return self.say(at, "SN0202", "it may be null", super::DEFAULT_OR_LEFT_OUT);
            }
            let write = "write the fields of one of them";
            return self.say(at, "SN0203", "it fits none of the alternatives", write);
        }
        for mut misfit in found {
            misfit.path = [self.path.as_slice(), &misfit.path].concat();
            self.misfits.push(misfit);
        }
    }

    /// Whether no value of the type satisfies the schema, provably.
    pub(super) fn is_disjoint(&self, of: &Type, node: Node<'s>) -> bool {
        !of.is_unknown() && of.pieces().all(|piece| self.is_apart(&piece, node))
    }

    fn is_apart(&self, piece: &Type, node: Node<'s>) -> bool {
        let node = self.library.resolved(node);
        let Some(keywords) = node.keywords() else { return *node.schema == Value::Bool(false) };
        let may_be_whole = piece.number.as_ref().is_some_and(|number| {
            let literals = number.literals.as_ref();
            literals.is_none_or(|literals| literals.iter().any(|number| number.fract() == 0.0))
        });
        let kind = piece.is_allowed(keywords) || (may_be_whole && allows(keywords, "integer"));
        let is_other = |object: &Arc<Object>| self.is_other_object(object, node, keywords);
        !kind
            || shares_no_value(piece, keywords)
            || is_out_of_bounds(piece, keywords)
            || piece.objects.first().is_some_and(is_other)
            || self.is_apart_from_parts(piece, node, keywords)
    }

    fn is_apart_from_parts(
        &self,
        piece: &Type,
        node: Node<'s>,
        keywords: &'s Map<String, Value>,
    ) -> bool {
        let apart = |schema: &'s Value| self.is_disjoint(piece, node.with(schema));
        let any_of = |keyword: &str| {
            keywords.contains_key(keyword) && listed(keywords, keyword).iter().all(apart)
        };
        let target = self.library.target(node);
        target.is_some_and(|target| self.is_disjoint(piece, target))
            || listed(keywords, "allOf").iter().any(apart)
            || any_of("anyOf")
            || any_of("oneOf")
    }

    fn is_other_object(
        &self,
        object: &Object,
        node: Node<'s>,
        keywords: &'s Map<String, Value>,
    ) -> bool {
        let fields = properties(keywords);
        let is_absent = |name: &str| match object.fields.get(name) {
            Some(field) => field.value.is_never(),
            None => object.others.is_none(),
        };
        let is_present = |field: &Field| field.required && !field.value.is_never();
        let mut required = listed(keywords, "required").iter().filter_map(Value::as_str);
        let mut present = object.fields.iter().filter(|(_, field)| is_present(field));
        let closed = keywords.get("additionalProperties") == Some(&Value::Bool(false))
            && !keywords.contains_key("patternProperties");
        let differs = |(name, field): (&Arc<str>, &Field)| match fields
            .and_then(|fields| fields.get(&**name))
        {
            Some(schema) => self.is_disjoint(&field.value, node.with(schema)),
            None => closed,
        };
        required.any(is_absent) || present.any(differs)
    }
}

fn shares_no_value(piece: &Type, keywords: &Map<String, Value>) -> bool {
    let values = match (keywords.get("const"), keywords.get("enum")) {
        (Some(one), _) => std::slice::from_ref(one),
        (None, Some(_)) => listed(keywords, "enum"),
        (None, None) => return false,
    };
    values.iter().all(|value| is_not(piece, value))
}

/// Whether no value of the type is this one.
fn is_not(piece: &Type, value: &Value) -> bool {
    match value {
        Value::Null => !piece.null,
        Value::Bool(true) => !piece.yes,
        Value::Bool(false) => !piece.no,
        Value::Number(number) => match (piece.number.as_ref(), number.as_f64()) {
            (Some(of), Some(number)) => excludes(of, number),
            (of, _) => of.is_none(),
        },
        Value::String(word) => piece.text.as_ref().is_none_or(|of: &Text| {
            of.literals.as_ref().is_some_and(|all| !all.iter().any(|one| **one == **word))
        }),
        Value::Array(_) => piece.list.is_none(),
        Value::Object(_) => piece.objects.is_empty(),
    }
}

/// Whether literals, bounds or steps of a number leave out this one.
fn excludes(of: &Number, number: f64) -> bool {
    of.literals.as_ref().is_some_and(|all| !all.contains(&number))
        || of.least.is_some_and(|least| number < least)
        || of.most.is_some_and(|most| number > most)
        || (of.nonzero && number == 0.0)
        || (of.whole && number.fract() != 0.0)
}

fn is_out_of_bounds(piece: &Type, keywords: &Map<String, Value>) -> bool {
    let below = |most: Option<f64>| {
        most.zip(bound(keywords, "minimum")).is_some_and(|(most, least)| most < least)
    };
    let above = |least: Option<f64>| {
        least.zip(bound(keywords, "maximum")).is_some_and(|(least, most)| least > most)
    };
    let lengths = |least: u64, most: Option<u64>, fewest: &str, largest: &str| {
        most.zip(count(keywords, fewest)).is_some_and(|(most, least)| most < least)
            || count(keywords, largest).is_some_and(|most| least > most)
    };
    let (number, text, list) = (piece.number.as_ref(), piece.text.as_ref(), piece.list.as_ref());
    number.is_some_and(|number| below(number.most) || above(number.least))
        || text.is_some_and(|text| lengths(text.least, text.most, "minLength", "maxLength"))
        || list.is_some_and(|list| lengths(list.least, list.most, "minItems", "maxItems"))
}

/// Finer than pieces: single literals, and objects by their tag.
fn split(piece: &Type) -> Vec<Type> {
    if let Some(text @ Text { literals: Some(words), .. }) = &piece.text {
        let one = |word: &Arc<str>| {
            let literal = Text::literals(vec![Arc::clone(word)]);
            Type::text(Text { facts: text.facts.clone(), ..literal })
        };
        return words.iter().map(one).collect();
    }
    if piece.yes && piece.no {
        return vec![Type::truth(true), Type::truth(false)];
    }
    let by_tag = piece.objects.first().and_then(|object| split_by_tag(object));
    by_tag.unwrap_or_else(|| vec![piece.clone()])
}

/// One object for each literal of the first field that tells alternatives apart.
fn split_by_tag(object: &Object) -> Option<Vec<Type>> {
    let is_tag = |field: &Field| field.required && field.value.is_only(Kind::Text);
    let mut tags = object.fields.iter().filter(|(_, field)| is_tag(field));
    tags.find_map(|(name, field)| {
        let values = split(&field.value);
        let with = |value| {
            let mut object = Object::clone(object);
            object.fields.insert(Arc::clone(name), Field { value, required: true });
            Type::object(object)
        };
        (values.len() > 1).then(|| values.into_iter().map(with).collect())
    })
}
