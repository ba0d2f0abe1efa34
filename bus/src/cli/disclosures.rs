//! `snodo disclosures`: who was told what about a person.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
};

use clap::Args;
use serde_json::{Value, json};
use snodo_core::{adapter::Catalog, formats::codice_fiscale};

use super::{Common, desk::Question};
use crate::exit::{Exit, Failure};

/// The tax code is read from standard input: what stands on a command line is seen by everybody.
#[derive(Debug, Args)]
#[command(after_help = "Newest first. In brackets stand the parts of the fact that were used: \
    `members[].taxCode` are values, of `members[]?` only how many there are.")]
pub(super) struct Disclosures {
    /// Why you look, in one line without personal data; it goes into the log, with your name
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only before this one: the `next` that --json shows, when there are more
    #[arg(long, value_name = "SEQ")]
    before: Option<i64>,
}

impl Disclosures {
    pub(super) async fn run(&self, common: &Common, catalog: &Catalog) -> Result<Exit, Failure> {
        let person = person()?;
        let mut body = json!({ "person": person, "reason": self.reason });
        let times = [("from", &self.from), ("until", &self.until)];
        for (name, time) in
            times.into_iter().filter_map(|(name, time)| Some((name, time.as_ref()?)))
        {
            body[name] = json!(time);
        }
        if let Some(before) = self.before {
            body["before"] = json!(before);
        }
        let question = Question::post("/disclosures/search", body);
        common.tell(catalog, &question, table).await
    }
}

fn person() -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        let _ = write!(io::stderr(), "tax code: ");
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let code = line.trim().to_ascii_uppercase();
    if codice_fiscale(&code) {
        return Ok(code);
    }
    Err(Failure::mistake("write a tax code to standard input: 16 characters, or 11 digits"))
}

/// A line per use of a fact, newest first.
fn table(told: &Value) -> String {
    let mut text = String::new();
    let all = told["disclosures"].as_array().into_iter().flatten();
    for one in all {
        let word = |name: &str| one[name].as_str().unwrap_or("-").to_owned();
        let fields = one["fields"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let fields = fields.collect::<Vec<_>>().join(", ");
        let under = match one["askedUnder"].as_str() {
            Some(case) => format!("reused, asked under {case}"),
            None => format!("asked {}", word("source")),
        };
        let differs = one["differs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let differs = differs.collect::<Vec<_>>().join(", ");
        let differs =
            if differs.is_empty() { differs } else { format!("  declared otherwise: {differs}") };
        let until =
            one["concealedUntil"].as_str().map(|until| format!("  concealed until {until}"));
        let until = until.unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {}: {}  {} ({fields})  case {}  {under}{differs}{until}",
            word("at"),
            word("purpose"),
            word("fact"),
            word("answer"),
            word("case"),
        );
    }
    if text.is_empty() { "nothing was told of this person\n".to_owned() } else { text }
}
