//! `snodo send`: takes a CloudEvent from a file to the edge.

use std::fmt::Write as _;
use std::{io::Read as _, path::PathBuf};

use axum::body::Body;
use clap::Args;
use hyper::{
    Method, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use serde_json::{Value, json};

use super::{Common, client};
use crate::{
    exit::{Exit, Failure},
    settings::SecretFile,
};

#[derive(Debug, Args)]
pub(super) struct Send {
    /// A file that holds a CloudEvent as JSON, or `-` for the standard input
    file: PathBuf,
    /// The file that holds the party's token
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// Where the bus is
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    to: String,
    /// Have it checked and not accepted
    #[arg(long)]
    check: bool,
}

impl Send {
    pub(super) async fn run(&self, common: &Common) -> Result<Exit, Failure> {
        let answer = client::ask_tcp(&self.to, self.request()?).await?;
        let told = answer.json();
        if !answer.status.is_success() {
            common.print(&told, problem)?;
            return Ok(Exit::Failed);
        }
        common.print(&told, |told| match told["id"].as_str() {
            Some(id) => format!("{id}\n"),
            None => "valid\n".to_owned(),
        })?;
        Ok(Exit::Done)
    }

    fn request(&self) -> Result<Request<Body>, Failure> {
        let named = |path: &PathBuf, error| Failure::failed(format!("{}: {error}", path.display()));
        let token = SecretFile(self.token.clone()).read().map_err(|e| named(&self.token, e))?;
        let body = if self.file.as_os_str() == "-" {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body)?;
            body
        } else {
            std::fs::read(&self.file).map_err(|error| named(&self.file, error))?
        };
        Request::builder()
            .method(Method::POST)
            .uri(if self.check { "/v1/messages?check=true" } else { "/v1/messages" })
            .header(HOST, &self.to)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/cloudevents+json")
            .body(Body::from(body))
            .map_err(|_| Failure::mistake("the token or the address is not one line of text"))
    }
}

/// A problem as a person reads it.
pub(super) fn problem(told: &Value) -> String {
    let word = |key: &str| told[key].as_str().unwrap_or_default();
    let mut text = format!("{}: {}\n", word("code"), word("title"));
    for (name, key) in [
        ("where", "pointer"),
        ("detail", "detail"),
        ("expected", "expected"),
        ("who", "who_must_act"),
    ] {
        if !word(key).is_empty() {
            let _ = writeln!(text, "  {name}: {}", word(key));
        }
    }
    if told["retryable"] == json!(true) {
        text.push_str("  may be sent again as it is\n");
    }
    text
}
