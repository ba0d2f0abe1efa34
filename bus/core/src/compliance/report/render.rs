//! The report as a table, Markdown, CSV or JSON.
//!
//! Invariant: all four say the same of every field; only JSON says it in the words of the schemas.

use serde_json::{Value, json};

use super::{
    Report, Row, Sight,
    words::{Language, Phrase},
};
use crate::compliance::{AskedOf, Verdict};

/// The columns of a route.
const COLUMNS: [Phrase; 5] =
    [Phrase::Field, Phrase::AskedOf, Phrase::Verdict, Phrase::HeldBy, Phrase::Law];

/// One table per route and type: its heading, and its rows.
fn sections(report: &Report, language: Language) -> Vec<(String, Vec<&Row>)> {
    let mut sections: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in &report.rows {
        let heading = heading(row, language);
        match sections.last_mut() {
            Some((last, rows)) if *last == heading => rows.push(row),
            _ => sections.push((heading, vec![row])),
        }
    }
    sections
}

fn heading(row: &Row, language: Language) -> String {
    if row.route.is_empty() {
        return format!("{}: {}", row.kind, language.say(Phrase::NoRoute));
    }
    let Row { route, title, office, kind, .. } = row;
    let (of_office, of_kind) = (language.say(Phrase::Office), language.say(Phrase::Kind));
    format!("{route}: {title} ({of_office} {office}, {of_kind} {kind})")
}

fn cells(row: &Row, language: Language) -> [String; 5] {
    let field = if row.field.is_empty() { language.say(Phrase::Whole) } else { &row.field };
    [
        field.to_owned(),
        language.asked_of(row).to_owned(),
        language.verdict(row).to_owned(),
        row.held_by.clone().unwrap_or_default(),
        row.laws.join(", "),
    ]
}

pub(super) fn table(report: &Report, language: Language) -> String {
    let mut text = format!("{}\n", language.say(Phrase::Title));
    if report.rows.is_empty() {
        text += &format!("\n{}\n", language.say(Phrase::Nothing));
    }
    for (heading, rows) in sections(report, language) {
        text += &format!("\n{heading}\n");
        let head = COLUMNS.map(|column| language.say(column).to_owned());
        let lines: Vec<[String; 5]> =
            std::iter::once(head).chain(rows.iter().map(|row| cells(row, language))).collect();
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max();
        let widths: Vec<usize> = (0..5).map(|at| width(at).unwrap_or_default()).collect();
        for line in &lines {
            let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            text += &format!("  {}\n", padded.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
    text + &blind(report, language, ("\n", "", "  "))
}

pub(super) fn markdown(report: &Report, language: Language) -> String {
    let mut text = format!("# {}\n", language.say(Phrase::Title));
    if report.rows.is_empty() {
        text += &format!("\n{}\n", language.say(Phrase::Nothing));
    }
    for (heading, rows) in sections(report, language) {
        text += &format!("\n## {heading}\n\n");
        let head = COLUMNS.map(|column| language.say(column).to_owned());
        text += &marked(&head);
        text += &format!("|{}\n", " --- |".repeat(COLUMNS.len()));
        for row in rows {
            text += &marked(&cells(row, language));
        }
    }
    text + &blind(report, language, ("\n## ", "\n", "- "))
}

fn marked(cells: &[String; 5]) -> String {
    let escaped = cells.iter().map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", escaped.collect::<Vec<_>>().join(" | "))
}

/// What cannot be seen: a heading, then a line each, and below it a line per type.
fn blind(report: &Report, language: Language, marks: (&str, &str, &str)) -> String {
    let (head, after, item) = marks;
    let blind = report.blind();
    if blind.is_empty() {
        return String::new();
    }
    let mut text = format!("{head}{}\n{after}", language.say(Phrase::Unseen));
    for one in blind {
        text += &format!("{item}{}\n", language.sight(one.sight));
        for (kind, fields) in by_kind(&one.at) {
            let fields = match one.sight {
                Sight::NotJudged => String::new(),
                _ => format!(": {}", fields.join(", ")),
            };
            text += &format!("  {item}{kind}{fields}\n");
        }
    }
    text
}

/// The fields of each type.
fn by_kind<'r>(at: &[(&'r str, &'r str)]) -> Vec<(&'r str, Vec<&'r str>)> {
    let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
    for (kind, field) in at {
        match kinds.iter_mut().find(|(known, _)| known == kind) {
            Some((_, fields)) => fields.push(field),
            None => kinds.push((kind, vec![field])),
        }
    }
    kinds
}

pub(super) fn csv(report: &Report, language: Language) -> String {
    let around = [Phrase::Route, Phrase::Office, Phrase::Kind];
    let head = around.iter().chain(&COLUMNS).chain([&Phrase::Unseen]);
    let mut text = line(head.map(|phrase| language.say(*phrase).to_owned()));
    let said = |unseen: &[Sight]| {
        unseen.iter().map(|sight| language.sight(sight)).collect::<Vec<_>>().join("; ")
    };
    for row in &report.rows {
        let around = [row.route.clone(), row.office.clone(), row.kind.clone()];
        let all = around.into_iter().chain(cells(row, language)).chain([said(&row.unseen)]);
        text += &line(all);
    }
    if !report.unseen.is_empty() {
        let empty = std::iter::repeat_n(String::new(), around.len() + COLUMNS.len());
        text += &line(empty.chain([said(&report.unseen)]));
    }
    text
}

/// A record of RFC 4180: quoted where it must be, ended by CR LF.
fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted = cells.map(|cell| {
        let must = cell.contains([',', '"', '\r', '\n']);
        if must { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
    });
    format!("{}\r\n", quoted.collect::<Vec<_>>().join(","))
}

pub(super) fn json(report: &Report) -> String {
    let rows: Vec<Value> = report.rows.iter().map(as_json).collect();
    let unseen: Vec<Value> = report
        .blind()
        .iter()
        .map(|one| {
            let at = |(kind, field): &(&str, &str)| json!({ "type": kind, "field": field });
            json!({ "what": word(one.sight), "at": one.at.iter().map(at).collect::<Vec<_>>() })
        })
        .collect();
    format!("{:#}\n", json!({ "fields": rows, "unseen": unseen }))
}

fn as_json(row: &Row) -> Value {
    let asked_of = if row.spared { Some("nobody") } else { row.asked_of.map(AskedOf::word) };
    let verdict = if row.spared { Some("held") } else { row.verdict.map(Verdict::word) };
    json!({
        "route": row.route,
        "title": row.title,
        "office": row.office,
        "type": row.kind,
        "field": row.field,
        "askedOf": asked_of,
        "verdict": verdict,
        "fact": row.fact,
        "heldBy": row.held_by,
        "laws": row.laws,
        "unseen": row.unseen.iter().map(word).collect::<Vec<_>>(),
    })
}

/// What cannot be seen, for programs.
fn word(sight: &Sight) -> String {
    match sight {
        Sight::NoFacts => "no-facts".to_owned(),
        Sight::NotJudged => "not-judged".to_owned(),
        Sight::NotAsked(who) => format!("asked-of-{}", who.word()),
        Sight::NoMeaning => "no-meaning".to_owned(),
        Sight::FreeText => "free-text".to_owned(),
        Sight::Undescribed => "undescribed".to_owned(),
        Sight::Untyped => "untyped-document".to_owned(),
        Sight::NameOfPart(fact) => format!("name-of-part-of-{fact}"),
        Sight::UnusedKey => "unused-key".to_owned(),
        Sight::Unchecked => "unchecked".to_owned(),
    }
}
