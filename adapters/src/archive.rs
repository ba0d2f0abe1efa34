//! `archive`: files the documents of a message under its protocol number, in the bus's own store.
//!
//! Invariant: what it says is filed was read to its last byte first, and its digest was right. Filing is by
//! number and document, so a repeat files nothing twice.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use snodo_core::{
    adapter::{Adapter, Call, OpenError, Opening, Operation, Receipt},
    document::Document,
    fault::{Fault, FaultClass},
    kept::{Filed, Filing},
    register::NUMBER_PATTERN,
    timestamp::Timestamp,
    verdict::EffectKind,
};

use crate::typed::{input_schema, output_schema, unknown, write_result};

/// Documents of one call at most: each is read whole.
const MOST: usize = 100;

/// What stands under an instance of kind `archive`: nothing yet; its documents lie in the data folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {}

/// The archive of one instance.
#[derive(Debug)]
pub struct Archive {
    name: String,
}

/// The input of `store`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// What is filed: documents that the message cites, or that an earlier step has made. Null is none.
    #[schemars(length(max = MOST))]
    pub documents: Option<Vec<Document>>,
    /// `0001234/2026`.
    #[schemars(extend("pattern" = NUMBER_PATTERN))]
    pub protocol: String,
}

/// The input of `describe`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Describe {
    /// `0001234/2026`.
    #[schemars(extend("pattern" = NUMBER_PATTERN))]
    pub protocol: String,
}

/// The input of `fetch`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// `0001234/2026`.
    #[schemars(extend("pattern" = NUMBER_PATTERN))]
    pub protocol: String,
    /// The file name under which it was filed.
    pub name: String,
}

/// The result of `store` and `describe`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Held {
    /// `0001234/2026`.
    #[schemars(extend("pattern" = NUMBER_PATTERN))]
    pub protocol: String,
    /// The documents, each with when it was filed first.
    pub documents: Vec<HeldDocument>,
}

/// A document in the archive.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldDocument {
    /// The document, as messages cite it.
    pub document: Document,
    /// When it was filed first, UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub filed_at: Timestamp,
}

impl Adapter for Archive {
    const KIND: &'static str = "archive";
    type Options = Options;

    fn open(_: Options, opening: &Opening) -> Result<Self, OpenError> {
        Ok(Self { name: opening.instance.clone() })
    }

    fn operations(&self) -> Vec<Operation> {
        vec![
            operation::<Store, Held>("store"),
            operation::<Describe, Held>("describe"),
            operation::<Fetch, Document>("fetch"),
        ]
    }

    async fn call(&self, call: Call<'_>) -> Result<Receipt, Fault> {
        match call.operation {
            "store" => self.store(&call).await,
            "describe" => self.describe(&call).await,
            "fetch" => self.fetch(&call).await,
            other => Err(unknown(other)),
        }
    }
}

impl Archive {
    async fn store(&self, call: &Call<'_>) -> Result<Receipt, Fault> {
        let Store { documents, protocol } = read(call)?;
        let documents = documents.unwrap_or_default();
        call.kept.may_have(call.step_key, &documents).await?;
        for document in &documents {
            call.kept.verify(document).await?;
        }
        let filing = Filing {
            archive: &self.name,
            protocol: &protocol,
            documents: &documents,
            step: call.step_key,
        };
        let filed = if documents.is_empty() { Vec::new() } else { call.kept.file(&filing).await? };
        receipt(&Held::of(protocol, filed))
    }

    async fn describe(&self, call: &Call<'_>) -> Result<Receipt, Fault> {
        let Describe { protocol } = read(call)?;
        let filed = call.kept.filed(&self.name, &protocol).await?;
        receipt(&Held::of(protocol, filed))
    }

    async fn fetch(&self, call: &Call<'_>) -> Result<Receipt, Fault> {
        let Fetch { protocol, name } = read(call)?;
        let filed = call.kept.filed(&self.name, &protocol).await?;
        let found = filed.into_iter().find(|filed| filed.document.name == name);
        let found = found.ok_or_else(|| {
            let text = "nothing is filed under this number and name";
            Fault::new(FaultClass::Refused, "SN0733", text).with_reason("not_found")
        })?;
        call.kept.verify(&found.document).await?;
        receipt(&found.document)
    }
}

impl Held {
    fn of(protocol: String, filed: Vec<Filed>) -> Self {
        let held = |Filed { document, at }| HeldDocument { document, filed_at: at };
        Self { protocol, documents: filed.into_iter().map(held).collect() }
    }
}

fn operation<Input: JsonSchema, Output: JsonSchema>(name: &str) -> Operation {
    Operation {
        name: name.to_owned(),
        input: input_schema::<Input>(),
        output: output_schema::<Output>(),
        effect: EffectKind::Idempotent,
        // All documents of a call are read: a hundred of 50 MiB.
        deadline: Duration::from_mins(5),
        settles_within: Duration::ZERO,
        fact_only: false,
    }
}

/// The words of a serde error may repeat a value, which may be a person's: they are not passed on.
fn read<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, Fault> {
    T::deserialize(call.input).map_err(|_| {
        let text = format!("the input of `{}` is not of its shape", call.operation);
        Fault::new(FaultClass::Poison, "SN0734", text)
    })
}

fn receipt(result: &impl Serialize) -> Result<Receipt, Fault> {
    Ok(Receipt { result: write_result(result)?, reference: None, evidence: None })
}
