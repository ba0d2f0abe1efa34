//! Functions of objects.
//!
//! Invariant: a field that may be dropped is not required in what is claimed.

use std::{collections::BTreeMap, sync::Arc};

use super::Call;
use crate::template::tree::{Part, Path, Term};
use crate::types::{
    Field, Kind, List, Number, Object, Text, Type,
    infer::{Context, Inference, Stream, literal_text},
};

impl<'s> Inference<'s> {
    pub(super) fn of_object(&mut self, call: Call<'_, 's>) -> Option<Stream> {
        Some(match call.name {
            "keys" => self.keys(call),
            "has" => self.has(call),
            "in" => {
                let within = self.infer(call.argument(0), call.context);
                if within.of.is_never() {
                    return Some(Stream::stopped());
                }
                within.each(Stream::one(Type::boolean()))
            }
            "to_entries" => self.entries(call),
            "from_entries" => self.of_entries(call, call.input()),
            "with_entries" => self.with_entries(call),
            "map_values" => self.map_values(call),
            "del" => self.del(call),
            _ => return None,
        })
    }

    fn keys(&mut self, call: Call<'_, 's>) -> Stream {
        let input = call.input();
        if input.is_unknown() {
            return self.unknown(call.term, "`keys` of an unknown value");
        }
        if let Some(other) = input.besides(&[Kind::List, Kind::Object]) {
            return self.cannot(call, other, "an object");
        }
        let objects = input
            .objects
            .iter()
            .map(|object| List::of(Type::text(names(object)), object.least(), object.most()));
        let list = input
            .list
            .iter()
            .map(|list| List::of(Type::number(Number::from(0.0)), list.least, list.most));
        let all = objects.chain(list).map(|keys| Type::list(List { distinct: true, ..keys }));
        Stream::one(all.fold(Type::never(), |all, one| all.join(&one)))
    }

    fn has(&mut self, call: Call<'_, 's>) -> Stream {
        let given = self.infer(call.argument(0), call.context);
        if given.of.is_never() {
            return Stream::stopped();
        }
        let input = call.input();
        if input.is_unknown() || given.of.is_unknown() {
            self.unknown(call.term, "`has` of an unknown value");
        } else {
            let name = given.of.is_only(Kind::Text);
            let fit = if name { Kind::Object } else { Kind::List };
            // On null it is false, which is what is meant.
            if let Some(other) = input.besides(&[fit, Kind::Null]) {
                return self.cannot(call, other, "an object");
            }
        }
        given.each(Stream::one(Type::boolean()))
    }

    /// The input where it is an object; none where that was said to be wrong.
    fn objects(&mut self, call: Call<'_, 's>) -> Option<Type> {
        self.only_of(call, Kind::Object, "an object")
    }

    fn entries(&mut self, call: Call<'_, 's>) -> Stream {
        let Some(given) = self.objects(call) else { return Stream::stopped() };
        if given.is_unknown() {
            return Stream::one(Type::unknown());
        }
        let lists = given.objects.iter().map(|object| Type::list(entries(object)));
        Stream::one(lists.fold(Type::never(), |all, one| all.join(&one)))
    }

    fn of_entries(&mut self, call: Call<'_, 's>, given: &Type) -> Stream {
        let entries = self.iterate(call.term, given, false);
        if entries.stops() {
            return Stream::stopped();
        }
        if entries.of.is_never() {
            return Stream::one(Type::object(Object::default()));
        }
        if entries.of.is_unknown() {
            return self.unknown(call.term, "`from_entries` of unknown entries");
        }
        if let Some(other) = entries.of.besides(&[Kind::Object]) {
            let title = format!("`{}` of {} stops the message", call.name, other.with_article());
            return self.wrong(call.term, "SN0219", title, &entries.of, "{ key: …, value: … }");
        }
        let read = |name: &str| {
            let fields = entries.of.objects.iter().map(|object| object.get(name));
            fields.fold(Type::never(), |all, one| all.join(&one))
        };
        let key = read("key");
        if !key.is_only(Kind::Text) {
            let title = "a field name must be text; jaq would write what is not JSON";
            return self.wrong(
                call.term,
                "SN0219",
                title,
                &key,
                "entries with `key` (not `name`), which is text",
            );
        }
        Stream::one(Type::object(Object { others: Some(read("value")), ..Object::default() }))
    }

    fn with_entries(&mut self, call: Call<'_, 's>) -> Stream {
        let given = self.entries(call);
        if given.stops() || given.of.is_unknown() {
            return given;
        }
        let each = self.iterate(call.term, &given.of, false);
        if each.of.is_never() {
            return Stream::one(Type::object(Object::default()));
        }
        let made = self.infer(call.argument(0), &call.context.at(each.of.clone()));
        if made.stops() {
            return Stream::stopped();
        }
        let all = each.each(made);
        let list = Type::list(List::of(all.of, all.least, all.most));
        self.of_entries(call, &list)
    }

    fn map_values(&mut self, call: Call<'_, 's>) -> Stream {
        let input = call.input();
        if input.is_unknown() {
            return self.unknown(call.term, "`map_values` of an unknown value");
        }
        if let Some(other) = input.besides(&[Kind::List, Kind::Object]) {
            return self.cannot(call, other, "an object");
        }
        let mut all = Type::never();
        for object in &input.objects {
            match self.mapped(call, object) {
                Some(mapped) => all = all.join(&Type::object(mapped)),
                None => return Stream::stopped(),
            }
        }
        if let Some(list) = &input.list {
            let given = self.infer(call.argument(0), &call.context.at(list.element()));
            let least = if given.least > 0 { list.least } else { 0 };
            all = all.join(&Type::list(List::of(given.of, least, list.most)));
        }
        Stream::one(all)
    }

    /// An object whose values are mapped; the first value counts, and without one the field goes.
    fn mapped(&mut self, call: Call<'_, 's>, object: &Object) -> Option<Object> {
        let mut value = |of: &Type, context: &Context| {
            let given = self.infer(call.argument(0), &context.at(of.clone()));
            (!given.stops()).then_some(given)
        };
        let mut fields: BTreeMap<Arc<str>, Field> = BTreeMap::new();
        for (name, field) in &object.fields {
            if field.value.is_never() {
                continue;
            }
            let given = value(&field.value, call.context)?;
            let required = field.required && given.least > 0;
            fields.insert(Arc::clone(name), Field { value: given.of, required });
        }
        let others = match &object.others {
            Some(others) => Some(value(others, call.context)?.of),
            None => None,
        };
        Some(Object { fields, others, undescribed: object.undescribed, facts: Vec::new() })
    }

    /// `del(.name)`
    fn del(&mut self, call: Call<'_, 's>) -> Stream {
        let name = match call.argument(0) {
            Term::Path(head, Path(parts)) if matches!(**head, Term::Id) => match parts.as_slice() {
                [(Part::Index(index), _)] => literal_text(index),
                _ => None,
            },
            _ => None,
        };
        let (Some(name), true) = (name, call.input().is_only(Kind::Object)) else {
            return self.unknown(call.term, "`del` of anything but one field of an object");
        };
        let without = |object: &Arc<Object>| {
            let mut object = Object { facts: Vec::new(), ..Object::clone(object) };
            // A field of that name is not there, nor among the others.
            object.fields.insert(name.as_str().into(), Field::default());
            Type::object(object)
        };
        let all = call.input().objects.iter().map(without);
        Stream::one(all.fold(Type::never(), |all, one| all.join(&one)))
    }
}

/// The names that an object may have.
fn names(object: &Object) -> Text {
    if object.others.is_some() {
        return Text::default();
    }
    let possible = object.fields.iter().filter(|(_, field)| !field.value.is_never());
    Text::literals(possible.map(|(name, _)| Arc::clone(name)).collect())
}

fn entries(object: &Object) -> List {
    let field = |value| Field { value, required: true };
    let entry = Object::closed(BTreeMap::from([
        ("key".into(), field(Type::text(names(object)))),
        ("value".into(), field(object.values())),
    ]));
    List::of(Type::object(entry), object.least(), object.most())
}
