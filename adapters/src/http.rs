//! `http`: any JSON service over HTTP, its operations named and typed in the configuration.
//!
//! Invariant: every call carries its step key as `Idempotency-Key`, goes to `base` and nowhere else, and
//! what comes of it is decided in [`classify`](classify::classify) alone.

pub mod classify;
pub(crate) mod exchange;
pub(crate) mod open;
pub(crate) mod options;
mod request;

use std::{collections::BTreeMap, path::PathBuf};

use reqwest::{
    Client, Request, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION},
};
use serde_json::Value;
use snodo_core::{
    adapter::{Adapter, Call, Evidence, Example, OpenError, Opening, Operation, Recalled, Receipt},
    fault::{Fault, FaultClass},
    ids::Digest,
};

pub use self::options::{Auth, Effect, Method, OperationOptions, Options, SecretFile};
use self::{
    classify::{Rules, classify, classify_probe, classify_recall},
    exchange::exchange,
    request::Path,
};
use crate::typed::unknown;

/// An instance: one far side and its operations.
#[derive(Debug)]
pub struct Http {
    base: Url,
    client: Client,
    bearer: Option<PathBuf>,
    answer_limit: usize,
    operations: BTreeMap<String, Checked>,
}

/// An operation that makes sense.
#[derive(Debug)]
struct Checked {
    method: Method,
    path: Path,
    rules: Rules,
    /// The operation by which this one is recalled.
    lookup: Option<String>,
    /// As routes see it; none where it is there for recalls only.
    typed: Option<Operation>,
    deadline: std::time::Duration,
}

impl Adapter for Http {
    const KIND: &'static str = "http";
    const EXAMPLE: Example = Example {
        options: include_str!("http/example.yaml"),
        schemas: &[
            ("NAME/message.v1", include_str!("http/message.json")),
            ("NAME/answer.v1", include_str!("http/answer.json")),
        ],
    };
    type Options = Options;

    fn open(options: Options, opening: &Opening) -> Result<Self, OpenError> {
        open::open(options, &|kind| opening.schemas.document(kind).cloned())
    }

    fn operations(&self) -> Vec<Operation> {
        self.operations.values().filter_map(|operation| operation.typed.clone()).collect()
    }

    async fn call(&self, call: Call<'_>) -> Result<Receipt, Fault> {
        let operation = self.operation(call.operation)?;
        let (request, digest) = self.request(operation, &call).await?;
        let exchange = exchange(&self.client, request, operation.deadline, self.answer_limit).await;
        let evidence = Evidence { request: digest, answer: exchange.answer };
        let location = exchange.header(&LOCATION);
        let result = classify(exchange.outcome, &operation.rules)?;
        Ok(receipt(result, location, evidence))
    }

    async fn recall(&self, call: Call<'_>) -> Result<Recalled, Fault> {
        let operation = self.operation(call.operation)?;
        let lookup = operation.lookup.as_deref().ok_or_else(|| unknown(call.operation))?;
        let lookup = self.operation(lookup)?;
        let url = request::lookup_address(&self.base, &lookup.path, &call.step_key.to_string())?;
        let digest = Digest::of(target(&url).as_bytes());
        let mut request = Request::new(lookup.method.into(), url);
        *request.headers_mut() = self.headers(call.traceparent).await?;
        let exchange = exchange(&self.client, request, lookup.deadline, self.answer_limit).await;
        let evidence = Evidence { request: digest, answer: exchange.answer };
        let location = exchange.header(&LOCATION);
        Ok(match classify_recall(exchange.outcome, operation.rules.answers)? {
            Some(result) => Recalled::Done(receipt(result, location, evidence)),
            None => Recalled::NotDone,
        })
    }

    async fn probe(&self) -> Result<(), Fault> {
        let mut request = Request::new(reqwest::Method::HEAD, self.base.clone());
        *request.headers_mut() = self.headers(None).await?;
        let deadline = std::time::Duration::from_secs(5);
        classify_probe(exchange(&self.client, request, deadline, self.answer_limit).await.outcome)
    }
}

impl Http {
    fn operation(&self, name: &str) -> Result<&Checked, Fault> {
        self.operations.get(name).ok_or_else(|| unknown(name))
    }

    async fn request(
        &self,
        operation: &Checked,
        call: &Call<'_>,
    ) -> Result<(Request, Digest), Fault> {
        let has_body = operation.method.has_body();
        let url = request::address(&self.base, &operation.path, call.input, !has_body)?;
        let mut headers = self.headers(call.traceparent).await?;
        add(&mut headers, "idempotency-key", &call.step_key.to_string());
        if let Some(order) = call.order_no {
            add(&mut headers, "snodo-order-number", &order.to_string());
        }
        let body = has_body.then(|| call.input.to_string().into_bytes());
        let digest =
            body.as_deref().map_or_else(|| Digest::of(target(&url).as_bytes()), Digest::of);
        let mut request = Request::new(operation.method.into(), url);
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.into());
        }
        *request.headers_mut() = headers;
        Ok((request, digest))
    }

    /// What every request carries.
    async fn headers(&self, traceparent: Option<&str>) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        let accept = HeaderValue::from_static("application/json, application/problem+json");
        headers.insert(ACCEPT, accept);
        if let Some(traceparent) = traceparent {
            add(&mut headers, "traceparent", traceparent);
        }
        if let Some(file) = &self.bearer {
            headers.insert(AUTHORIZATION, bearer(file).await?);
        }
        Ok(headers)
    }
}

/// Adds a header whose value may come from outside; one that no header can hold is left out.
fn add(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Reads the token at every call: who replaces the file needs no restart.
async fn bearer(file: &std::path::Path) -> Result<HeaderValue, Fault> {
    let unreadable = || {
        // An outage, not a refusal: deliveries wait, unharmed, until somebody mends the file.
        let text = "the file with the target's token cannot be read or holds no token";
        Fault::new(FaultClass::Outage, "SN0769", text)
    };
    let token = tokio::fs::read_to_string(file).await.map_err(|_| unreadable())?;
    let token = token.trim();
    if token.is_empty() {
        return Err(unreadable());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| unreadable())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Path and query: what a request without a body says.
fn target(url: &Url) -> String {
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// The receipt of a result: its reference is `Location`, or the `id` of the answer.
fn receipt(result: Value, location: Option<String>, evidence: Evidence) -> Receipt {
    let id = result.get("id").and_then(|id| match id {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    Receipt { reference: location.or(id), result, evidence: Some(evidence) }
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
            Method::Delete => Self::DELETE,
        }
    }
}
