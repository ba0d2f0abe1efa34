//! What is wrong with what is asked: the rules, each with its code, its place and its words.
//!
//! Invariant: a mistake is said once, at the smallest part that is wrong, however many types have it.

use std::collections::BTreeSet;

use super::{
    Around, Asked, AskedOf, Field, Need, Shape, Spot, Verdict,
    said::{self, By, Held, Word},
};
use crate::{
    diagnostic::{Place, Problems, Words, line_and_column},
    facts::Fact,
};

/// Says every word of ours that is written wrong, in all schemas.
pub(super) fn words(around: &Around<'_>, problems: &mut Problems) {
    for kind in around.schemas.kinds() {
        let Some(document) = around.schemas.document(kind) else { continue };
        for (pointer, schema) in crate::schema::each_schema(document) {
            let at = Spot::new(kind, pointer);
            let (_, wrong) = said::read(schema, &at, around);
            for said::Wrong { code, keyword, words } in wrong {
                let place = if code == "SN0507" {
                    Spot::new(kind, format!("{}/{keyword}", at.pointer)).name(around.schemas)
                } else {
                    at.value(&keyword, around.schemas)
                };
                if let Some(place) = place {
                    problems.error(code, place, words);
                }
            }
        }
    }
}

/// Says what is wrong with the fields of the entry types.
pub(super) fn fields(all: &[Asked], around: &Around<'_>, problems: &mut Problems) {
    let mut judge = Judge { around, said: BTreeSet::new(), problems };
    for asked in all.iter().filter(|asked| asked.strict) {
        let silent = asked.fields.iter().all(|field| field.said.asked_of.is_none());
        if silent && !asked.fields.is_empty() {
            let title = format!("`{}` does not say who fills it in", asked.entry.kind);
            judge.nobody(&Spot::new(&asked.entry.kind, ""), title, "not one of its fields does");
            continue;
        }
        for field in &asked.fields {
            judge.field(field, asked);
        }
        for need in asked.entry.takers.iter().flat_map(|taker| &taker.needs) {
            judge.declarations(need, asked);
        }
    }
}

struct Judge<'j> {
    around: &'j Around<'j>,
    said: BTreeSet<(&'static str, Spot)>,
    problems: &'j mut Problems,
}

impl Judge<'_> {
    fn field(&mut self, field: &Field, asked: &Asked) {
        let said = &field.said;
        match &said.asked_of {
            None => {
                let title = format!("`{}` does not say who fills it in", shown(field));
                self.nobody(&field.at, title, "nobody is named, here or around it");
            }
            Some(Word::Right(who)) if who.is_person() => self.of_a_person(field, *who, asked),
            Some(_) => {}
        }
    }

    fn nobody(&mut self, at: &Spot, title: String, label: &str) {
        let help = "write \"x-asked-of\": \"citizen\", or business, administration, system, login; what is \
                    said of an object is said of everything in it";
        self.say("SN0503", at, at.name(self.around.schemas), Words::new(title, label, help));
    }

    fn of_a_person(&mut self, field: &Field, who: AskedOf, asked: &Asked) {
        let said = &field.said;
        // A verdict that is written wrong was said.
        if said.verdict == Some(Word::Wrong) {
            return;
        }
        match (said.verdict(), &said.held) {
            (Some(Verdict::SelfDeclared), _) => self.declared(field),
            (_, Some(held)) => self.held(held, who, asked),
            (None, None) => self.no_verdict(field, who),
            (Some(Verdict::NotHeld), None) if said.looked.is_none() => {
                let words = Words::new(
                    format!("nobody says who looked whether `{}` is held", shown(field)),
                    "who looked, and when?",
                    said::LOOKED,
                );
                let place = said.verdict_at.value("x-verdict", self.around.schemas);
                self.say("SN0506", &said.verdict_at, place, words);
            }
            (Some(_), None) => {}
        }
    }

    fn no_verdict(&mut self, field: &Field, who: AskedOf) {
        let (what, key) = match field.shape {
            Shape::Document => ("the document ", "\"x-document\": \"<type of document>\" and "),
            _ => ("", ""),
        };
        let person = who.word();
        let words = Words::new(
            format!("nothing says why the {person} is asked for {what}`{}`", shown(field)),
            "no verdict",
            format!(
                "write {key}\"x-verdict\": \"key\" where it is needed to find what is held, \"new\" where \
                 the {person} is its source, \"self-declared\" with \"x-fact\" and \"x-law\", or \
                 \"not-held\" with \"x-looked\""
            ),
        );
        self.say("SN0502", &field.at, field.at.name(self.around.schemas), words);
    }

    /// What may be declared is declared under a law.
    fn declared(&mut self, field: &Field) {
        let said = &field.said;
        if !said.laws.is_empty() || said.law_is_wrong {
            return;
        }
        let words = Words::new(
            format!("no law is named under which `{}` may be declared", shown(field)),
            "under which law?",
            "write \"x-law\": \"<id of routes/laws.yaml>\" beside it, such as that of DPR 445/2000 art. 46",
        );
        let place = said.verdict_at.value("x-verdict", self.around.schemas);
        self.say("SN0505", &said.verdict_at, place, words);
    }

    /// What is declared of a fact stands in for it where the law lets it be declared, and is compared
    /// with it where both are there.
    fn declarations(&mut self, need: &Need, asked: &Asked) {
        let fact = need.fact.as_str();
        let of_it = |field: &&Field| {
            field.said.verdict() == Some(Verdict::SelfDeclared)
                && field.said.fact.as_deref() == Some(fact)
        };
        let by_people = || asked.fields.iter().filter(|field| field.said.is_asked_of_a_person());
        let read = || by_people().filter(|field| need.reads(&field.path));
        if need.stands_in && (read().next().is_none() || !read().all(|field| of_it(&field))) {
            let other = read().find(|field| !of_it(field));
            let label = other.map_or_else(
                || "it reads no field that a person fills in".to_owned(),
                |field| format!("`{}` is not declared under a law", shown(field)),
            );
            let title = format!("nothing lets `{fact}` be declared by whom it is about");
            let help = format!(
                "write \"x-verdict\": \"self-declared\", \"x-fact\": \"{fact}\" and \"x-law\" at the fields \
                 that `declared` reads, where a law says so; else `then: continue`"
            );
            self.problems.error("SN0508", need.place.clone(), Words::new(title, label, help));
        }
        if let Some(left) = by_people().filter(of_it).find(|field| !need.reads(&field.path)) {
            let title =
                format!("`{}` declares `{fact}`, and is compared with nothing", shown(left));
            let help = format!(
                "write `declared:` with what `.{}` says of the fact, so that a difference is seen; or \
                 delete the field: `{fact}` is asked for",
                shown(left)
            );
            let words = Words::new(title, "the fact is asked for here", help);
            self.problems.warning("SN0509", need.place.clone(), words);
        }
    }

    fn held(&mut self, held: &Held, who: AskedOf, asked: &Asked) {
        let fact = &held.fact;
        let authority = authority(&fact.held_by);
        let title = format!("the {} is asked for what {authority} holds", who.word());
        let by = match &held.by {
            By::Fact => String::new(),
            By::Term(term) => format!(", by the term {term}"),
            By::Document(document) => format!(", by the document `{document}`"),
            By::Name => ", by its name".to_owned(),
        };
        let label = format!(
            "held: fact `{}`, {authority} {} ({}:{}){by}",
            fact.name,
            fact.operation.name,
            fact.file.path,
            line(fact)
        );
        let help = format!(
            "write: delete the field, and under `needs:` {name}: {{ fact: {name}, about: \"${{ {} }}\" }}, \
             with the number of the case in `case:`\n\
             or:    if it may be self-declared (art. 46): \"x-verdict\": \"self-declared\", \
             \"x-fact\": \"{name}\", with \"x-law\"\n\
             who:   the author of the schema",
            about(fact, asked),
            name = fact.name,
        );
        let place = held.at.name(self.around.schemas);
        self.say("SN0501", &held.at, place, Words::new(title, label, help));
    }

    fn say(&mut self, code: &'static str, at: &Spot, place: Option<Place>, words: Words) {
        if self.said.insert((code, at.clone()))
            && let Some(place) = place
        {
            self.problems.error(code, place, words);
        }
    }
}

/// A field as people read it.
fn shown(field: &Field) -> &str {
    if field.path.is_empty() { "the whole" } else { &field.path }
}

/// An authority, by the name of its instance; a short one is an abbreviation: `anpr` is ANPR.
pub(crate) fn authority(instance: &str) -> String {
    let short = instance.len() <= 5 && instance.bytes().all(|byte| byte.is_ascii_lowercase());
    if short { instance.to_uppercase() } else { instance.to_owned() }
}

/// The line on which a fact says its name.
fn line(fact: &Fact) -> usize {
    let text = &fact.file.text;
    let at = text.find("\nfact:").map_or(0, |newline| newline + 1);
    line_and_column(text, at).0
}

/// Where a message says about whom the fact is asked: what a route asks with, else a field of that name
/// that is a key, any of that name, any key.
fn about(fact: &Fact, asked: &Asked) -> String {
    let plain = |path: &str| path.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let fields = || asked.fields.iter().filter(|field| plain(&field.path));
    let key = |field: &&Field| field.said.verdict() == Some(Verdict::Key);
    let named = |field: &&Field| field.name == fact.about;
    let used = |field: &&Field| asked.entry.takers.iter().any(|taker| taker.asks_with(&field.path));
    let found = fields()
        .find(|field| named(field) && used(field))
        .or_else(|| fields().find(|field| key(field) && named(field)))
        .or_else(|| fields().find(named))
        .or_else(|| fields().find(key));
    found.map_or_else(|| "…".to_owned(), |field| format!(".{}", field.path))
}
