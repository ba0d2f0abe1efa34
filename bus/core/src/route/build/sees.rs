//! What the expressions of a route see, in types: the message, the results of steps, an item.
//!
//! Invariant: what a step gives is null where it may not have run; values never change, so what a
//! condition showed holds in the whole branch.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{
    adapter::Operation,
    route::{IfRefused, refusal::REFUSED},
    template::{compile::Read, uses::FACTS},
    types::{Fact, Field, Object, Text, Type, infer::Context, library::Library},
};

const STEPS: &str = "$steps";
const ITEM: &str = "$item";

fn required(value: Type) -> Field {
    Field { value, required: true }
}

fn optional(value: Type) -> Field {
    Field { value, required: false }
}

fn text() -> Type {
    Type::text(Text::default())
}

fn object<const N: usize>(fields: [(&str, Field); N]) -> Object {
    Object::closed(fields.into_iter().map(|(name, field)| (name.into(), field)).collect())
}

/// What a route sees before its first step.
pub(super) fn begin(kind: &str, body: Type) -> Context {
    // That a step is read that has not run is said by its name, not by its type.
    let steps = Object { others: Some(Type::unknown()), ..Object::closed(BTreeMap::new()) };
    let party = Type::object(object([("id", required(Type::text(Text::from(1))))])).or_null();
    let variables = [
        ("$message", Type::object(message(kind, body.clone()))),
        ("$party", party),
        (STEPS, Type::object(steps)),
        (FACTS, Type::unknown()),
    ];
    let variables = variables.into_iter().map(|(name, of)| (name.to_owned(), of));
    Context { input: body, variables: variables.collect() }
}

/// The envelope as `$message` has it, with the body as `data`.
fn message(kind: &str, body: Type) -> Object {
    let time = Type::text(Text::from("2026-11-24T00:00:00Z".len() as u64));
    let time = time.with(&Fact::Format("date-time".into()));
    let mut message = object([
        ("id", required(Type::text(Text::from(1)))),
        ("source", required(text())),
        ("type", required(Type::word(kind))),
        ("time", required(time)),
        ("data", required(body)),
    ]);
    let others = [
        "subject",
        "correlationid",
        "causationid",
        "traceparent",
        "party",
        "purpose",
        "case",
        "actor",
        "actorlocation",
        "actorloa",
        "dataref",
    ];
    message.fields.extend(others.map(|name| (name.into(), optional(text()))));
    message
}

/// What `$steps.<id>` reads where the step has run.
pub(super) fn result<'h>(
    library: &Library<'h>,
    operation: &'h Operation,
    if_refused: IfRefused,
) -> Type {
    let mut given = library.type_of(Library::guest(&operation.output));
    for object in &mut given.objects {
        // Declared, so that reading it is no mistake of a name.
        let object = Arc::make_mut(object);
        object.fields.entry(REFUSED.into()).or_insert_with(|| optional(Type::never()));
    }
    match if_refused {
        IfRefused::Park => given,
        IfRefused::Continue => given.join(&Type::object(refusal())),
    }
}

fn refusal() -> Object {
    let no = object([("code", required(text())), ("reason", required(text().or_null()))]);
    object([(REFUSED, required(Type::object(no)))])
}

/// What `$steps.<id>` of a `choose` reads: which branch was taken.
pub(super) fn chosen<'n>(branches: impl Iterator<Item = &'n str>) -> Type {
    let names = branches.map(Type::word).fold(Type::never(), |all, one| all.join(&one));
    Type::object(object([("branch", required(names))]))
}

impl Context {
    fn variable(&mut self, name: &str) -> Option<&mut Type> {
        self.variables.iter_mut().rev().find(|(known, _)| known == name).map(|(_, of)| of)
    }

    /// The facts that steps see.
    pub(super) fn set_facts(&mut self, facts: Vec<(String, Type)>) {
        // That there is no such need is said by its name.
        let fields = facts.into_iter().map(|(name, of)| (name.as_str().into(), required(of)));
        let facts = Object { others: Some(Type::unknown()), ..Object::closed(fields.collect()) };
        if let Some(seen) = self.variable(FACTS) {
            *seen = Type::object(facts);
        }
    }

    /// A step has run, or may have.
    pub(super) fn add_step(&mut self, id: &str, of: &Type, surely: bool) {
        let Some(steps) = self.variable(STEPS) else { return };
        for object in &mut steps.objects {
            let field = Field { value: of.clone(), required: surely };
            Arc::make_mut(object).fields.insert(id.into(), field);
        }
    }

    /// `$item` is there, or no more.
    pub(super) fn set_item(&mut self, item: Option<Type>) {
        self.variables.retain(|(name, _)| name != ITEM);
        self.variables.extend(item.map(|of| (ITEM.to_owned(), of)));
    }

    /// Every value that a path may have, null included, where they are few and known.
    pub(super) fn values(&self, read: &Read) -> Option<Vec<Value>> {
        let begin = match &read.variable {
            None => &self.input,
            Some(name) => {
                self.variables.iter().rev().find(|(known, _)| known == name).map(|(_, of)| of)?
            }
        };
        let names = read.names.iter().map(|(name, _)| name);
        let of = names.fold(begin.clone(), |of, name| {
            let null = if of.null { Type::null() } else { Type::never() };
            of.objects.iter().fold(null, |all, object| all.join(&object.get(name)))
        });
        of.values()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::{Type, message};
    use crate::envelope::Envelope;

    /// Else reading the attribute that was forgotten would be called a mistake.
    #[test]
    fn every_attribute_of_an_envelope_is_declared() {
        let id = "00000000-0000-7000-8000-000000000001";
        let whole = json!({
            "id": id, "source": "/desk", "type": "demo.in.v1", "subject": "s", "time": "2026-11-24T02:30:00Z",
            "correlationid": id, "causationid": id, "traceparent": "t", "party": "p", "purpose": "u",
            "case": "c", "actor": "a", "actorlocation": "l", "actorloa": "o", "dataref": "d",
        });
        let envelope: Envelope = serde_json::from_value(whole).expect("an envelope");
        let Envelope {
            id: _,
            source: _,
            kind: _,
            subject: _,
            time: _,
            correlation: _,
            causation: _,
            traceparent: _,
            party: _,
            purpose: _,
            case: _,
            actor: _,
            actor_location: _,
            actor_loa: _,
            data_ref: _,
        } = &envelope;
        let Value::Object(attributes) = crate::route::message_value(&envelope) else {
            panic!("no object")
        };
        let declared = message("demo.in.v1", Type::unknown());
        let missing: Vec<&String> =
            attributes.keys().filter(|name| !declared.fields.contains_key(name.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(declared.fields.len(), attributes.len() + 1, "and the body");
        assert!(declared.fields.contains_key(&Arc::from("data")));
    }
}
