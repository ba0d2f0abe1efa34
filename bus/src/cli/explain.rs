//! `snodo explain SN0103`: the page of a code; without one, every code with its title.

use clap::Args;
use serde_json::{Value, json};
use snodo_core::{codes, diagnostic::nearest};

use super::Common;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The code, e.g. SN0103; without it every code is listed
    code: Option<String>,
}

impl Explain {
    pub(super) fn run(&self, common: &Common) -> Result<Exit, Failure> {
        let Some(code) = &self.code else {
            common.print(&list(), lines)?;
            return Ok(Exit::Done);
        };
        let code = code.to_ascii_uppercase();
        let page = codes::page(&code).ok_or_else(|| unknown(&code))?;
        common.print(&json!({ "code": code, "page": page }), |_| page.to_owned())?;
        Ok(Exit::Done)
    }
}

fn list() -> Value {
    codes::all().map(|code| json!({ "code": code, "title": codes::title(code) })).collect()
}

fn lines(listed: &Value) -> String {
    let line = |entry: &Value| {
        let word = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        format!("{}  {}\n", word("code"), word("title"))
    };
    listed.as_array().into_iter().flatten().map(line).collect()
}

fn unknown(code: &str) -> Failure {
    let help = match nearest(code, codes::all()) {
        Some(near) => format!("the nearest is {near}, {}", codes::title(near)),
        None => "a code is SN and four digits".to_owned(),
    };
    Failure::mistake(format!("there is no code `{code}`; {help}; `snodo explain` lists all"))
}
