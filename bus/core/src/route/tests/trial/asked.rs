//! Facts and needs by chance: what an authority answers, about whom it is asked, and who reads it.
//!
//! Invariant: a need is asked with nothing but what can be read where it is made, and every need of the
//! route is read.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{FACTS, MESSAGE, Making, STEPS, Source, claim, close, file, parse, type_of};
use crate::{
    adapter::Operation,
    diagnostic::SourceFile,
    facts::VERDICTS,
    types::{
        Kind, Type,
        infer::{Context, Inference},
        tests::random,
    },
    verdict::EffectKind,
};

/// A fact of the catalogue.
pub(super) struct Made {
    file: Value,
    question: Operation,
    of: Type,
    /// What the sender may say of it.
    said: Option<(String, Type)>,
}

/// A need of the route.
pub(super) struct Need {
    name: String,
    written: Value,
    /// Its fact, by its place in the catalogue.
    fact: usize,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// What a question is made of beside the one about whom it is.
const ABOUT: &str = "p";
const LAW: &str = "dpr-223-1989";

impl Making {
    /// A fact to read: a need that is there, or another one.
    pub(super) fn fact(&mut self) -> Option<Source> {
        let known: Vec<Source> = self.sources.iter().filter(|one| one.is_fact()).cloned().collect();
        if !known.is_empty() && self.dice.chance(60) {
            return Some(self.dice.pick(&known).clone());
        }
        self.need()
    }

    /// The conditions that together say all that a verification may say; seldom one is forgotten, which is
    /// to be refused.
    pub(super) fn verdicts(&mut self) -> Option<Vec<String>> {
        let known = self.sources.iter().rfind(|one| one.is_fact() && is_verdict(&one.of)).cloned();
        let Source { path, of, .. } =
            known.or_else(|| self.need()).filter(|one| is_verdict(&one.of))?;
        let is = |word: &str| format!("{path} == \"{word}\"");
        let [holds, fails, undetermined] = VERDICTS.map(is);
        let mut whens = match self.dice.below(4) {
            0 if self.dice.chance(60) => vec![holds, fails],
            0 => vec![holds, format!("{fails} or {undetermined}")],
            1 => vec![format!("{fails} or {holds}"), undetermined],
            _ => vec![fails, holds, undetermined],
        };
        if of.null && self.dice.chance(90) {
            whens.push(format!("{path} == null"));
        }
        Some(whens)
    }

    /// Makes a need that can be asked here.
    fn need(&mut self) -> Option<Source> {
        if self.within > 1 || self.needs.len() >= NAMES.len() {
            return None;
        }
        self.within += 1;
        let (fact, mut written) = self.question();
        let case = self.case();
        let when = self.dice.chance(25).then(|| self.condition());
        self.within -= 1;
        written["case"] = case.into();
        if let Some(when) = when {
            written["when"] = when.into();
        }
        let may_be_null = self.outcomes(fact, &mut written);
        // One may have been made to say about whom this one is.
        let name = format!("n_{}", NAMES.get(self.needs.len())?);
        let (text, of) = (written.to_string(), &self.facts[fact].of);
        let is_read = |source: &&Source| text.contains(&source.path);
        let made_of = self.sources.iter().filter(is_read).map(|source| source.path.clone());
        let source = Source {
            path: format!("{FACTS}{name}"),
            of: if may_be_null { of.or_null() } else { of.clone() },
            made_of: made_of.collect(),
        };
        self.needs.push(Need { name, written, fact });
        self.sources.push(source.clone());
        Some(source)
    }

    /// About whom, and what else; of a new fact, or of one that is asked alike elsewhere.
    fn question(&mut self) -> (usize, Value) {
        if self.dice.chance(20)
            && let Some(need) = self.needs.first()
        {
            let same = |key| Some((key, need.written.get(key)?.clone()));
            let written: Value = ["fact", "about", "with"].into_iter().filter_map(same).collect();
            let text = written.to_string();
            if !text.contains(STEPS) && !text.contains(FACTS) {
                return (need.fact, written);
            }
        }
        let (about, of) = self.about();
        let (with, mut input) =
            if self.dice.chance(40) { self.with() } else { (json!({}), nothing()) };
        input["properties"][ABOUT] = claim(&of);
        if let Some(required) = input["required"].as_array_mut() {
            required.push(ABOUT.into());
        }
        let fact = self.made(input);
        let mut written = json!({ "fact": self.facts[fact].file["fact"], "about": about });
        if with.as_object().is_some_and(|with| !with.is_empty()) {
            written["with"] = with;
        }
        (fact, written)
    }

    /// A text, with its type; seldom something else, which is to be refused.
    fn about(&mut self) -> (String, Type) {
        let anything = self.dice.chance(3);
        for _ in 0..4 {
            if let Some((source, of)) = self.expression()
                && (anything || of.is_only(Kind::Text))
            {
                return (format!("${{ {source} }}"), of);
            }
        }
        ("RSSMRA80A01G273Z".to_owned(), Type::word("RSSMRA80A01G273Z"))
    }

    fn case(&mut self) -> String {
        match self.expression() {
            Some((source, of)) if of.is_only(Kind::Text) && self.dice.chance(50) => {
                format!("${{ {source} }}")
            }
            Some((source, of)) if of.is_only(Kind::Text) || of.is_only(Kind::Number) => {
                format!("pratica ${{ {source} }}")
            }
            _ => "${ $message.id }".to_owned(),
        }
    }

    /// What becomes of the route without a value; whether it may see null.
    fn outcomes(&mut self, fact: usize, written: &mut Value) -> bool {
        let said = self.facts[fact].said.clone().filter(|_| self.dice.chance(80));
        let stood_in = said.is_some() && self.dice.chance(70);
        // Where only what is not said may be null, that it may be is to be noticed.
        let only_said = stood_in && self.dice.chance(60);
        let mut may_be_null = written.get("when").is_some();
        for key in ["if_not_found", "if_ambiguous"] {
            match self.dice.below(10) {
                0..=3 if !only_said => {
                    written[key] = "continue".into();
                    may_be_null = true;
                }
                4 => written[key] = "park".into(),
                _ => {}
            }
        }
        if let Some((source, _)) = &said {
            written["declared"] = format!("${{ {source} }}").into();
        }
        match said {
            Some((source, of)) if stood_in => {
                written["if_unavailable"] = json!({ "wait": "3d", "then": "self_declared" });
                self.may_be_declared(&source, fact);
                may_be_null |= of.null;
            }
            _ if self.dice.chance(15) => {
                written["if_unavailable"] = json!({ "wait": "3d", "then": "continue" });
                may_be_null = true;
            }
            _ => {}
        }
        may_be_null
    }

    /// Something of the message alone that is not always null; what may be null is of most interest.
    fn said(&mut self) -> Option<(String, Type)> {
        let expressions = |making: &mut Self| (0..3).filter_map(|_| making.expression()).collect();
        let any: Vec<_> = self.of_message(expressions);
        let any = any.into_iter().filter(|(_, of)| !of.is_unknown() && !of.is_only(Kind::Null));
        any.max_by_key(|(_, of)| of.null)
    }

    /// The fields of the message that `source` names are declared under a law; one that is declared of
    /// another fact already is to be refused.
    fn may_be_declared(&mut self, source: &str, fact: usize) {
        let fact = self.facts[fact].file["fact"].clone();
        let message = self.schemas.get_mut(MESSAGE).and_then(|schema| schema.get_mut("properties"));
        for (name, field) in message.and_then(Value::as_object_mut).into_iter().flatten() {
            if source.contains(&format!(".{name}")) && field.is_object() {
                field["x-asked-of"] = "citizen".into();
                field["x-verdict"] = "self-declared".into();
                field["x-law"] = LAW.into();
                field["x-fact"] = fact.clone();
            }
        }
    }

    /// A fact that is asked with `input`, by its place in the catalogue.
    fn made(&mut self, input: Value) -> usize {
        let (place, name) = (self.facts.len(), format!("f{}", self.facts.len()));
        let mut file = json!({
            "fact": name, "held_by": "held", "query": format!("ask_{place}"), "about": ABOUT,
            "law": [LAW], "fresh_for": "24h",
        });
        let (said, (output, of)) = if self.dice.chance(30) {
            (None, self.verification(&mut file))
        } else {
            let said = if self.dice.chance(40) { None } else { self.said() };
            let value = self.value(&mut file, said.as_ref().map(|(_, of)| of));
            (said, value)
        };
        if self.dice.chance(20) {
            file["refresh_on"] = json!([MESSAGE]);
        }
        if self.dice.chance(40)
            && let Some(subjects) = self.subjects(&of)
        {
            file["subjects"] = format!("${{ {subjects} }}").into();
        }
        let question = Operation {
            fact_only: self.dice.chance(50),
            ..Operation::of(&format!("ask_{place}"), input, output, EffectKind::Idempotent)
        };
        self.facts.push(Made { file, question, of, said });
        place
    }

    fn verification(&mut self, file: &mut Value) -> (Value, Type) {
        file["kind"] = "verification".into();
        let words = &VERDICTS[..=self.dice.below(VERDICTS.len())];
        let output = json!({
            "type": "object", "additionalProperties": false, "required": ["outcome"],
            "properties": { "outcome": { "enum": words }, "at": { "type": "string" } },
        });
        (output, type_of(&json!({ "enum": VERDICTS })))
    }

    /// Of the type that the sender may say it has, where he may.
    fn value(&mut self, file: &mut Value, said: Option<&Type>) -> (Value, Type) {
        let mut output =
            said.map_or_else(|| random::schema(&mut self.dice), |of| claim(&of.not_null()));
        close(&mut output);
        let (place, of) = (self.facts.len(), type_of(&output));
        let schema = if self.dice.chance(85) { output.clone() } else { claim(&of) };
        let of = type_of(&schema);
        file["schema"] = format!("facts/f{place}.v1").into();
        self.schemas.insert(format!("facts.f{place}.v1"), schema);
        (output, of)
    }

    /// Whom an answer concerns, if something in it is text.
    fn subjects(&mut self, of: &Type) -> Option<String> {
        for _ in 0..6 {
            let source = random::expression(&mut self.dice, of, 3);
            let term = parse(&source)?;
            let mut inference = Inference::new(&source);
            let context = Context { input: of.clone(), variables: Vec::new() };
            let found = inference.value(&term, &context);
            let texts = found.list.as_ref().is_some_and(|list| list.element().is_only(Kind::Text));
            let right = found.is_only(Kind::Text) || found.is_only(Kind::List) && texts;
            if right && inference.findings.is_empty() && inference.may_stop.is_empty() {
                return Some(source);
            }
        }
        None
    }

    /// The needs that something in `steps` reads, or another need that is read.
    pub(super) fn needs_read_by(&self, steps: &Value) -> Map<String, Value> {
        let mut read: Vec<&Need> = Vec::new();
        let mut text = steps.to_string();
        // The later ones read the earlier ones.
        for need in self.needs.iter().rev() {
            if text.contains(&format!("{FACTS}{}", need.name)) {
                text.push_str(&need.written.to_string());
                read.push(need);
            }
        }
        read.iter().map(|need| (need.name.clone(), need.written.clone())).collect()
    }

    /// The operations of the authority.
    pub(super) fn questions(&self) -> Vec<Operation> {
        self.facts.iter().map(|fact| fact.question.clone()).collect()
    }

    /// The catalogue.
    pub(super) fn fact_files(&self) -> Vec<Arc<SourceFile>> {
        let written = |fact: &Made| {
            let name = fact.file["fact"].as_str().unwrap_or_default();
            file(&format!("routes/facts/{name}.yaml"), &fact.file.to_string())
        };
        self.facts.iter().map(written).collect()
    }
}

fn is_verdict(of: &Type) -> bool {
    let words = of.not_null().values();
    words.is_some_and(|words| words.len() == VERDICTS.len() && words.contains(&VERDICTS[0].into()))
}

fn nothing() -> Value {
    json!({ "type": "object", "additionalProperties": false, "required": [], "properties": {} })
}
