//! The table that an office can publish: per route and field whom it is asked of, why, who holds it, by law.
//!
//! Invariant: the same house makes the same table, and what cannot be seen stands in it beside the rest.

use super::{Asked, AskedOf, Field, Inventory, Shape, Taker, Verdict, judge::authority};
use crate::facts::Fact;

mod render;
mod words;

pub use words::Language;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Table,
    /// For a page of the administration.
    Markdown,
    /// For a spreadsheet, as RFC 4180 says.
    Csv,
    /// For programs: the words of the schemas, in no language.
    Json,
}

/// What is asked, of whom, and what the check cannot see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By route, in the order of their names; the fields of one in the order of its schema.
    pub rows: Vec<Row>,
    /// What cannot be seen of the house as a whole.
    pub unseen: Vec<Sight>,
}

/// One field of what a route takes, or one fact that it asks for instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The route; "" where a type goes straight to a party.
    pub route: String,
    /// What it does, for people.
    pub title: String,
    /// The office that owns it.
    pub office: String,
    /// The type that it takes.
    pub kind: String,
    /// The field, or the title of the fact.
    pub field: String,
    /// Whom it is asked of; none where the schema does not say, and for a fact.
    pub asked_of: Option<AskedOf>,
    /// Why; none for what nobody is asked, and where the schema does not say.
    pub verdict: Option<Verdict>,
    /// The fact that holds it, checks it, or is asked for.
    pub fact: Option<String>,
    /// Whether the office asks the authority, and no person.
    pub spared: bool,
    /// The authority and its operation.
    pub held_by: Option<String>,
    /// The laws, by id.
    pub laws: Vec<String>,
    /// What cannot be seen of it.
    pub unseen: Vec<Sight>,
}

/// Something that the check cannot see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// There is no fact: of nothing is it known who holds it.
    NoFacts,
    /// The type says of no field who fills it in.
    NotJudged,
    /// It is said that nobody types it.
    NotAsked(AskedOf),
    /// It does not say what it means.
    NoMeaning,
    /// Text in which anything may be asked.
    FreeText,
    /// Fields, or values, that no schema describes.
    Undescribed,
    /// A document of which nobody says what it is.
    Untyped,
    /// It has the name of a part of a fact.
    NameOfPart(String),
    /// A key with which no question is asked.
    UnusedKey,
    /// It is declared, and no fact checks it.
    Unchecked,
}

/// What cannot be seen, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen<'r> {
    /// What.
    pub sight: &'r Sight,
    /// Type and field.
    pub at: Vec<(&'r str, &'r str)>,
}

impl Report {
    /// The report of a house.
    pub fn of(inventory: &Inventory) -> Self {
        let unseen = if inventory.facts.is_empty() { vec![Sight::NoFacts] } else { Vec::new() };
        let mut rows: Vec<Row> =
            inventory.asked.iter().flat_map(|asked| inventory.rows(asked)).collect();
        // Stable: what is of one route and type stays as it is in its schema.
        rows.sort_by(|a, b| (&a.route, &a.kind).cmp(&(&b.route, &b.kind)));
        rows.dedup();
        Self { rows, unseen }
    }

    /// Everything that cannot be seen, each with the places, once.
    pub fn blind(&self) -> Vec<Unseen<'_>> {
        let house = self.unseen.iter().map(|sight| (sight, None));
        let of_rows = self.rows.iter().flat_map(|row| {
            row.unseen
                .iter()
                .map(move |sight| (sight, Some((row.kind.as_str(), row.field.as_str()))))
        });
        let mut found: Vec<Unseen<'_>> = Vec::new();
        for (sight, at) in house.chain(of_rows) {
            let known = found.iter().position(|known| known.sight == sight);
            let index = known.unwrap_or_else(|| {
                found.push(Unseen { sight, at: Vec::new() });
                found.len() - 1
            });
            let place = at.filter(|at| !found[index].at.contains(at));
            found[index].at.extend(place);
        }
        found.sort_by_key(|one| one.sight);
        found
    }

    /// The report as text.
    pub fn render(&self, format: Format, language: Language) -> String {
        match format {
            Format::Table => render::table(self, language),
            Format::Markdown => render::markdown(self, language),
            Format::Csv => render::csv(self, language),
            Format::Json => render::json(self),
        }
    }
}

impl Inventory {
    fn rows(&self, asked: &Asked) -> Vec<Row> {
        let nobody = Taker {
            route: String::new(),
            title: String::new(),
            office: String::new(),
            needs: Vec::new(),
            questions: String::new(),
        };
        let takers = if asked.entry.takers.is_empty() {
            std::slice::from_ref(&nobody)
        } else {
            &asked.entry.takers
        };
        takers.iter().flat_map(|taker| self.of_taker(asked, taker)).collect()
    }

    fn of_taker(&self, asked: &Asked, taker: &Taker) -> Vec<Row> {
        let row = Row {
            route: taker.route.clone(),
            title: taker.title.clone(),
            office: taker.office.clone(),
            kind: asked.entry.kind.clone(),
            field: String::new(),
            asked_of: None,
            verdict: None,
            fact: None,
            spared: false,
            held_by: None,
            laws: Vec::new(),
            unseen: Vec::new(),
        };
        let fields = asked.fields.iter().map(|field| self.field(field, asked, taker, row.clone()));
        let facts = taker.needs.iter().filter_map(|need| self.facts.get(&need.fact));
        let spared = facts.map(|fact| Row {
            field: fact.title.clone(),
            fact: Some(fact.name.clone()),
            spared: true,
            held_by: Some(holder(fact)),
            laws: fact.laws.clone(),
            ..row.clone()
        });
        fields.chain(spared).collect()
    }

    fn field(&self, field: &Field, asked: &Asked, taker: &Taker, row: Row) -> Row {
        let said = &field.said;
        let person = said.is_asked_of_a_person();
        let held = said.held.as_ref().map(|held| &held.fact);
        let named = said.fact.as_ref().and_then(|name| self.facts.get(name));
        let fact = named.or(held).filter(|_| person);
        Row {
            field: field.path.clone(),
            asked_of: said.asked_of(),
            verdict: said.verdict().filter(|_| person),
            fact: fact.map(|fact| fact.name.clone()),
            held_by: fact.map(|fact| holder(fact)),
            laws: if person { said.laws.clone() } else { Vec::new() },
            unseen: self.unseen(field, asked, taker),
            ..row
        }
    }

    /// What cannot be seen of a field.
    fn unseen(&self, field: &Field, asked: &Asked, taker: &Taker) -> Vec<Sight> {
        let said = &field.said;
        if !asked.strict {
            return vec![Sight::NotJudged];
        }
        if !said.is_asked_of_a_person() {
            let not_typed = said.asked_of().filter(|who| *who != AskedOf::Administration);
            return not_typed.map(Sight::NotAsked).into_iter().collect();
        }
        let verdict = said.verdict();
        let no_meaning = !said.means && said.held.is_none();
        let part = self.parts.get(&field.name).filter(|_| no_meaning);
        let part = part.filter(|_| verdict != Some(Verdict::Key));
        let used = || taker.asks_with(&field.path);
        let new = matches!(verdict, Some(Verdict::New | Verdict::NotHeld));
        let shape = match field.shape {
            Shape::FreeText if no_meaning => Some(Sight::FreeText),
            Shape::Map | Shape::Anything => Some(Sight::Undescribed),
            Shape::Document if said.documents.is_empty() => Some(Sight::Untyped),
            Shape::FreeText | Shape::Document | Shape::Formed => None,
        };
        let is_document = field.shape == Shape::Document;
        let meaning = (new && no_meaning && !is_document).then_some(Sight::NoMeaning);
        let key = (verdict == Some(Verdict::Key) && !used()).then_some(Sight::UnusedKey);
        let declared = verdict == Some(Verdict::SelfDeclared) && said.held.is_none();
        let declared = declared.then_some(Sight::Unchecked);
        let part = part.cloned().map(Sight::NameOfPart);
        [meaning, shape, part, key, declared].into_iter().flatten().collect()
    }
}

/// Who holds a fact, and by which operation it is asked: `ANPR C021`.
fn holder(fact: &Fact) -> String {
    format!("{} {}", authority(&fact.held_by), fact.operation.name)
}
