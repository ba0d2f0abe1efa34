//! `snodo explain SN0103`: the page of a code.

use clap::Args;
use serde_json::json;

use super::Common;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The code, e.g. SN0103
    code: String,
}

impl Explain {
    pub(super) fn run(&self, common: &Common) -> Result<Exit, Failure> {
        let code = self.code.to_ascii_uppercase();
        let page = crate::edge::problems::page_of(&code)
            .ok_or_else(|| Failure::mistake(format!("there is no code {code}")))?;
        common.print(&json!({ "code": code, "page": page }), |_| page.to_owned())?;
        Ok(Exit::Done)
    }
}
