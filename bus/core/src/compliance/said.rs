//! What the `x-` keywords of a schema say of the field to which it applies.
//!
//! Invariant: a word that is written wrong is said once, where it stands, and nothing else follows from it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Around, AskedOf, Spot, Verdict};
use crate::{
    diagnostic::{Words, help_with_nearest, nearest},
    facts::Fact,
    schema::holds,
};

/// The keywords beside those of JSON Schema that mean something here.
const KEYWORDS: [&str; 8] = [
    "x-asked-of",
    "x-document",
    "x-fact",
    "x-law",
    "x-looked",
    "x-term",
    "x-unclaimed",
    "x-verdict",
];

/// A word of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word<T> {
    Right(T),
    /// It was said why not.
    Wrong,
}

impl<T: Copy> Word<T> {
    pub(super) fn right(&self) -> Option<T> {
        match self {
            Self::Right(word) => Some(*word),
            Self::Wrong => None,
        }
    }
}

/// What is said of a field, by its own schema or by what is around it.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) asked_of: Option<Word<AskedOf>>,
    pub(super) verdict: Option<Word<Verdict>>,
    /// The schema that says the verdict.
    pub(super) verdict_at: Spot,
    /// `x-fact`, where it names one.
    pub(super) fact: Option<String>,
    /// The fact that holds what it means.
    pub(super) held: Option<Held>,
    /// Whether it says what it means, or its `x-fact` was wrong.
    pub(super) means: bool,
    pub(super) laws: Vec<String>,
    /// A law is named that there is not, which was said.
    pub(super) law_is_wrong: bool,
    /// Who looked whether an administration holds it, and when.
    pub(super) looked: Option<Word<()>>,
    /// The types of documents that it may be.
    pub(super) documents: Vec<String>,
}

/// A fact that holds what a field means.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) fact: Arc<Fact>,
    pub(super) by: By,
    /// The property that means it.
    pub(super) at: Spot,
}

/// How it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    Fact,
    Term(String),
    Document(String),
    Name,
}

/// A word that is written wrong: the keyword, a code and what is said.
pub(super) struct Wrong {
    pub(super) code: &'static str,
    pub(super) keyword: String,
    pub(super) words: Words,
}

impl Said {
    /// Whether anything is said at all.
    pub(super) fn speaks(&self) -> bool {
        self.asked_of.is_some() || self.verdict.is_some() || self.means || self.held.is_some()
    }

    /// With what `other` says where this is silent.
    pub(super) fn or(mut self, other: &Self) -> Self {
        if self.verdict.is_none() {
            self.verdict.clone_from(&other.verdict);
            self.verdict_at.clone_from(&other.verdict_at);
        }
        self.asked_of = self.asked_of.or_else(|| other.asked_of.clone());
        self.fact = self.fact.or_else(|| other.fact.clone());
        self.held = self.held.or_else(|| other.held.clone());
        self.means |= other.means;
        self.law_is_wrong |= other.law_is_wrong;
        self.looked = self.looked.or_else(|| other.looked.clone());
        for (own, others) in
            [(&mut self.laws, &other.laws), (&mut self.documents, &other.documents)]
        {
            if own.is_empty() {
                own.clone_from(others);
            }
        }
        self
    }

    pub(super) fn asked_of(&self) -> Option<AskedOf> {
        self.asked_of.as_ref().and_then(Word::right)
    }

    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.as_ref().and_then(Word::right)
    }

    pub(super) fn is_asked_of_a_person(&self) -> bool {
        self.asked_of().is_some_and(AskedOf::is_person)
    }
}

/// Reads the keywords of one schema.
pub(super) fn read(
    schema: &Map<String, Value>,
    at: &Spot,
    around: &Around<'_>,
) -> (Said, Vec<Wrong>) {
    let mut reader = Reader { schema, at, around, meant: Vec::new(), wrong: Vec::new() };
    let said = reader.read();
    (said, reader.wrong)
}

struct Reader<'r> {
    schema: &'r Map<String, Value>,
    at: &'r Spot,
    around: &'r Around<'r>,
    /// Keywords that are written, misspelt.
    meant: Vec<&'static str>,
    wrong: Vec<Wrong>,
}

impl<'r> Reader<'r> {
    fn read(&mut self) -> Said {
        self.misspelt();
        let asked_of = self.word("x-asked-of", &AskedOf::ALL.map(|word| (word.word(), word)));
        let verdict = self.word("x-verdict", &Verdict::ALL.map(|word| (word.word(), word)));
        let laws = self.laws();
        let (fact, held) = self.meaning();
        Said {
            verdict_at: verdict.as_ref().map(|_| self.at.clone()).unwrap_or_default(),
            asked_of,
            verdict,
            means: fact.is_some()
                || self.schema.contains_key("x-term")
                || ["x-fact", "x-term"].iter().any(|word| self.meant.contains(word)),
            fact,
            held,
            law_is_wrong: laws.is_none() || self.meant.contains(&"x-law"),
            laws: laws.unwrap_or_default(),
            looked: self.looked(),
            documents: self.texts("x-document").into_iter().map(str::to_owned).collect(),
        }
    }

    fn say(&mut self, code: &'static str, keyword: &str, words: Words) {
        self.wrong.push(Wrong { code, keyword: keyword.to_owned(), words });
    }

    /// A keyword with a letter too many would say nothing, and nobody would see it.
    fn misspelt(&mut self) {
        let unknown = |key: &&String| key.starts_with("x-") && !KEYWORDS.contains(&key.as_str());
        for key in self.schema.keys().filter(unknown) {
            if let Some(meant) = nearest(key, KEYWORDS) {
                self.meant.push(meant);
                let title = format!("`{key}` says nothing");
                let help = format!("write `{meant}`, the nearest of the keywords that are read");
                self.say("SN0507", key, Words::new(title, "not read by anybody", help));
            }
        }
    }

    fn word<T: Copy>(&mut self, keyword: &str, words: &[(&str, T)]) -> Option<Word<T>> {
        let misspelt = self.meant.contains(&keyword);
        let Some(written) = self.schema.get(keyword) else {
            return misspelt.then_some(Word::Wrong);
        };
        let known = words.iter().find(|(word, _)| written.as_str() == Some(word));
        if let Some((_, word)) = known {
            return Some(Word::Right(*word));
        }
        let written = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
        let all = words.iter().map(|(word, _)| *word);
        let help = help_with_nearest(&written, all, &format!("words of `{keyword}`"));
        let title = format!("`{written}` is no word of `{keyword}`");
        self.say("SN0504", keyword, Words::new(title, "not a word of it", help));
        Some(Word::Wrong)
    }

    /// A text or a list of texts.
    fn texts(&mut self, keyword: &str) -> Vec<&'r str> {
        let schema = self.schema;
        let Some(written) = schema.get(keyword) else { return Vec::new() };
        let one = std::slice::from_ref(written);
        let items = written.as_array().map_or(one, Vec::as_slice);
        let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
        if texts.len() < items.len() || texts.is_empty() {
            let title = format!("`{keyword}` is a text or a list of texts");
            let help = "write it in quotes, or several of them in [ ]";
            self.say("SN0504", keyword, Words::new(title, "not a text", help));
        }
        texts
    }

    /// The laws; none where one is not there, which is said.
    fn laws(&mut self) -> Option<Vec<String>> {
        let (written, known) = (self.texts("x-law"), self.around.laws);
        let is_known = |law: &str| known.iter().any(|known| known == law);
        let unknown = written.iter().find(|law| !is_known(law));
        if let Some(law) = unknown {
            let names = known.iter().map(String::as_str);
            let help = help_with_nearest(law, names, "laws of routes/laws.yaml");
            let words = Words::new(format!("there is no law `{law}`"), "no such law", help);
            self.say("SN0307", "x-law", words);
            return None;
        }
        Some(written.into_iter().map(str::to_owned).collect())
    }

    /// What it means: the name of `x-fact`, and the fact that holds it.
    fn meaning(&mut self) -> (Option<String>, Option<Held>) {
        let named = self.texts("x-fact").first().copied();
        if let Some(name) = named {
            let fact = self.fact(name);
            let held = fact.map(|fact| self.held(fact, By::Fact));
            return (Some(name.to_owned()), held);
        }
        let facts = self.around.facts.values().flatten();
        let (terms, documents) = (self.texts("x-term"), self.texts("x-document"));
        for fact in facts {
            let term = terms.iter().find(|term| fact.terms.iter().any(|known| same(known, term)));
            let document =
                documents.iter().find(|word| fact.documents.iter().any(|known| known == *word));
            let by = match (term, document) {
                (Some(term), _) => By::Term((*term).to_owned()),
                (None, Some(document)) => By::Document((*document).to_owned()),
                (None, None) => continue,
            };
            return (None, Some(self.held(fact, by)));
        }
        (None, None)
    }

    fn fact(&mut self, name: &str) -> Option<&'r Arc<Fact>> {
        let facts = self.around.facts;
        let fact = facts.get(name);
        if fact.is_none() {
            let known = facts.keys().map(String::as_str);
            let help = help_with_nearest(name, known, "facts in routes/facts/");
            let words = Words::new(format!("there is no fact `{name}`"), "no such fact", help);
            self.say("SN0312", "x-fact", words);
        }
        fact.and_then(Option::as_ref)
    }

    fn held(&self, fact: &Arc<Fact>, by: By) -> Held {
        Held { fact: Arc::clone(fact), by, at: self.at.property() }
    }

    fn looked(&mut self) -> Option<Word<()>> {
        let Some(written) = self.schema.get("x-looked") else {
            return self.meant.contains(&"x-looked").then_some(Word::Wrong);
        };
        let text = |key: &str| written[key].as_str().filter(|text| !text.trim().is_empty());
        let keys = written.as_object().map_or(0, Map::len);
        let is_day = text("when").is_some_and(|when| holds::format("date", when));
        if text("who").is_some() && is_day && keys == 2 {
            return Some(Word::Right(()));
        }
        let words = Words::new("`x-looked` says who looked, and when", "not both", LOOKED);
        self.say("SN0506", "x-looked", words);
        Some(Word::Wrong)
    }
}

/// How `x-looked` is written.
pub(super) const LOOKED: &str =
    "write \"x-looked\": { \"who\": \"the office that looked\", \"when\": \"2026-11-26\" }";

/// Whether two terms are the same: an address may end with a stroke or not.
fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// The fact that has the name of a field: `household`, and `isee_value` for `iseeValue`.
pub(super) fn by_name<'h>(name: &str, around: &Around<'h>) -> Option<&'h Arc<Fact>> {
    let fact = around.facts.iter().find(|(fact, _)| *fact == name || camel(fact) == name)?;
    fact.1.as_ref()
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |all, word| {
        let mut letters = word.chars();
        let head = letters.next().map(|letter| letter.to_ascii_uppercase());
        all + &head.into_iter().chain(letters).collect::<String>()
    })
}
