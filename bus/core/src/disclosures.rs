//! "Who has looked at my data": the question of a party that shows people their own, and its answer, in the
//! shape of the Estonian data tracker (`dumonitor`, v2: `findUsage`).
//!
//! Invariant: the tax code comes in a body and goes into no answer; what a law conceals is neither shown nor
//! counted.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    admission::Rejection,
    formats::codice_fiscale,
    json::{self, JsonLimits},
    problem::Problem,
    route::Routes,
    timestamp::Timestamp,
};

/// A page has at most so many; so many where the question does not say.
pub const MOST: u32 = 500;
const USUAL: u32 = 50;
/// What a question may say.
const EXPECTED: &str = "{ \"userCode\": \"<tax code>\" } and, if wanted, \"periodStart\" and \"periodEnd\" \
    (RFC 3339), \"offset\", \"limit\" (1 to 500), \"language\" (\"it\" or \"en\")";
const KEYS: [&str; 6] = ["userCode", "periodStart", "periodEnd", "offset", "limit", "language"];

/// The languages in which an answer says what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Italian.
    #[default]
    It,
    /// English.
    En,
}

/// A question.
#[derive(Clone, PartialEq, Eq)]
pub struct Search {
    /// The person.
    pub user_code: String,
    /// Not before the first, before the second.
    pub within: (Timestamp, Timestamp),
    /// How many of the newest are left out.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
    /// The language of `action`.
    pub language: Language,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Search")
    }
}

impl Search {
    /// Reads a question. A problem never repeats what stands in it.
    pub fn read<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        body: &Bytes,
        limits: &JsonLimits,
    ) -> Result<Self, Box<Problem>> {
        crate::envelope::http::expect_json(headers).map_err(Problem::from)?;
        let said = json::parse(body, limits).map_err(|error| Rejection::unread(&error, None));
        let Value::Object(said) = said.map_err(Problem::from)? else { return Err(refused("")) };
        if said.keys().any(|key| !KEYS.contains(&key.as_str())) {
            return Err(refused(""));
        }
        let user = said.get("userCode").and_then(Value::as_str).map(str::to_ascii_uppercase);
        let user_code =
            user.filter(|code| codice_fiscale(code)).ok_or_else(|| refused("/userCode"))?;
        let start = time(&said, "periodStart", Timestamp(0))?;
        let end = time(&said, "periodEnd", Timestamp(i64::MAX))?;
        let language = match said.get("language").map(Value::as_str) {
            None | Some(Some("it")) => Language::It,
            Some(Some("en")) => Language::En,
            Some(_) => return Err(refused("/language")),
        };
        let limit = number(&said, "limit", USUAL)?;
        if !(1..=MOST).contains(&limit) {
            return Err(refused("/limit"));
        }
        let offset = number(&said, "offset", 0)?;
        Ok(Self { user_code, within: (start, end), offset, limit, language })
    }
}

fn time(said: &Map<String, Value>, key: &str, usual: Timestamp) -> Result<Timestamp, Box<Problem>> {
    let Some(value) = said.get(key) else { return Ok(usual) };
    value.as_str().and_then(Timestamp::parse).ok_or_else(|| refused(&format!("/{key}")))
}

fn number(said: &Map<String, Value>, key: &str, usual: u32) -> Result<u32, Box<Problem>> {
    let Some(value) = said.get(key) else { return Ok(usual) };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| refused(&format!("/{key}")))
}

fn refused(pointer: &str) -> Box<Problem> {
    let pointer = Some(pointer.to_owned()).filter(|pointer| !pointer.is_empty());
    Box::new(Problem::not_searched(pointer, EXPECTED))
}

/// One use of a fact about the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// When.
    pub logtime: Timestamp,
    /// What was done and why, in a sentence.
    pub action: String,
    /// The office.
    pub receiver_code: String,
    /// What it did it for: the title of the route.
    pub receiver_name: String,
    /// The route.
    pub receiver_system: String,
}

/// What rows say of a use.
#[derive(Clone, Copy, Debug)]
pub struct Used<'u> {
    /// When.
    pub at: Timestamp,
    /// Which fact.
    pub fact: &'u str,
    /// Its question: `anpr.C021`.
    pub source: &'u str,
    /// For what.
    pub purpose: &'u str,
    /// Under which case.
    pub case: &'u str,
    /// Whether an earlier answer was used again.
    pub reused: bool,
    /// By which route.
    pub route: &'u str,
}

/// How a house calls what rows name by ids.
#[derive(Clone, Debug, Default)]
pub struct Titles {
    facts: BTreeMap<String, String>,
    purposes: BTreeMap<String, String>,
    /// The office and the title of a route.
    routes: BTreeMap<String, (String, String)>,
    concealed: BTreeMap<String, Timestamp>,
}

impl Titles {
    /// Those of the routes that run.
    pub fn of(routes: &Routes) -> Self {
        let mut titles = Self::default();
        for route in routes.iter() {
            for ask in route.asked() {
                titles.facts.insert(ask.fact.name.clone(), ask.fact.title.clone());
            }
            let told = (route.office.clone(), route.title.clone());
            titles.routes.insert(route.name.clone(), told);
        }
        for (id, purpose) in routes.purposes() {
            titles.purposes.insert(id.clone(), purpose.title.clone());
            if let Some(concealed) = &purpose.concealed {
                titles.concealed.insert(id.clone(), concealed.until);
            }
        }
        titles
    }

    /// The purposes of which nobody outside is told at `now`.
    pub fn concealed(&self, now: Timestamp) -> Vec<String> {
        let hidden = self.concealed.iter().filter(|(_, until)| now < **until);
        hidden.map(|(purpose, _)| purpose.clone()).collect()
    }

    /// A use in words. What the house does not know any more keeps its id.
    pub fn usage(&self, used: &Used<'_>, language: Language) -> Usage {
        let named = |titles: &BTreeMap<String, String>, id: &str| {
            titles.get(id).cloned().unwrap_or_else(|| id.to_owned())
        };
        let (fact, purpose) = (named(&self.facts, used.fact), named(&self.purposes, used.purpose));
        let (instance, operation) = used.source.split_once('.').unwrap_or((used.source, ""));
        let authority = crate::compliance::authority(instance);
        let source = format!("{authority} {operation}");
        let source = source.trim_end();
        let case = used.case;
        let action = match (language, used.reused) {
            (Language::It, false) => {
                format!("{fact}: dato chiesto presso {source} per {purpose}, pratica {case}")
            }
            (Language::It, true) => {
                format!(
                    "{fact}: dato già chiesto presso {source}, usato di nuovo per {purpose}, pratica {case}"
                )
            }
            (Language::En, false) => {
                format!("{fact}: asked of {source} for {purpose}, case {case}")
            }
            (Language::En, true) => {
                format!("{fact}: asked of {source} before, used again for {purpose}, case {case}")
            }
        };
        let unknown = || (String::new(), used.route.to_owned());
        let (office, title) = self.routes.get(used.route).cloned().unwrap_or_else(unknown);
        Usage {
            logtime: used.at,
            action,
            receiver_code: office,
            receiver_name: title,
            receiver_system: used.route.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CODE: &str = "RSSMRA80A01G273Z";

    fn read(body: &Value) -> Result<Search, Box<Problem>> {
        let headers = [("content-type", &b"application/json"[..])];
        Search::read(headers, &Bytes::from(body.to_string()), &JsonLimits::default())
    }

    #[test]
    fn a_question_is_read_or_its_place_is_named_and_nothing_of_it_repeated() {
        let all = json!({
            "userCode": CODE.to_lowercase(), "periodStart": "1970-01-01T00:00:01Z",
            "periodEnd": "1970-01-01T00:00:02Z", "offset": 3, "limit": 7, "language": "en",
        });
        let search = read(&all).expect("a question");
        assert_eq!(search.user_code, CODE);
        assert_eq!(search.within, (Timestamp(1000), Timestamp(2000)));
        assert_eq!((search.offset, search.limit, search.language), (3, 7, Language::En));
        assert_eq!(format!("{search:?}"), "Search");
        let usual = read(&json!({ "userCode": CODE })).expect("a question");
        assert_eq!((usual.offset, usual.limit, usual.language), (0, USUAL, Language::It));
        for (key, value, pointer) in [
            ("userCode", json!("RSSMRA80A01G273X"), Some("/userCode")),
            ("userCode", json!(7), Some("/userCode")),
            ("periodStart", json!("yesterday"), Some("/periodStart")),
            ("limit", json!(0), Some("/limit")),
            ("limit", json!(501), Some("/limit")),
            ("offset", json!(-1), Some("/offset")),
            ("language", json!("de"), Some("/language")),
            ("person", json!(CODE), None),
        ] {
            let mut body = json!({ "userCode": CODE });
            body[key] = value;
            let problem = read(&body).expect_err("refused");
            assert_eq!((problem.code, problem.pointer.as_deref()), ("SN0642", pointer), "{key}");
            let told = serde_json::to_string(&problem).expect("JSON");
            assert!(!told.contains(CODE), "{told}");
        }
    }

    #[test]
    fn a_use_is_said_in_a_sentence() {
        let text = |text: &str| text.to_owned();
        let titles = Titles {
            facts: BTreeMap::from([(text("household"), text("Stato di famiglia"))]),
            purposes: BTreeMap::from([(text("school-canteen"), text("Mensa scolastica"))]),
            routes: BTreeMap::from([(text("canteen"), (text("scuola"), text("Iscrizione")))]),
            concealed: BTreeMap::from([(text("inquiry"), Timestamp(10))]),
        };
        let used = Used {
            at: Timestamp(0),
            fact: "household",
            source: "anpr.C021",
            purpose: "school-canteen",
            case: "0000007/2026",
            reused: false,
            route: "canteen",
        };
        let said = |used: &Used<'_>, language| titles.usage(used, language).action;
        assert_eq!(
            said(&used, Language::It),
            "Stato di famiglia: dato chiesto presso ANPR C021 per Mensa scolastica, pratica 0000007/2026"
        );
        let again = Used { reused: true, fact: "gone", ..used };
        assert_eq!(
            said(&again, Language::En),
            "gone: asked of ANPR C021 before, used again for Mensa scolastica, case 0000007/2026"
        );
        let told = serde_json::to_value(titles.usage(&used, Language::It)).expect("JSON");
        assert_eq!(
            (&told["receiverCode"], &told["receiverName"]),
            (&json!("scuola"), &json!("Iscrizione"))
        );
        assert_eq!(titles.concealed(Timestamp(9)), ["inquiry"]);
        assert_eq!(titles.concealed(Timestamp(10)), Vec::<String>::new());
    }
}
