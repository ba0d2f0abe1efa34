//! The options of an `anpr` instance.
//!
//! Invariant: routes name no host and no id of PDND: both stand here, and a purpose that is not written
//! here cannot be asked for.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

pub use super::{
    question::Search,
    services::{Answers, ServiceOptions},
};
use crate::{
    http::{
        SecretFile,
        options::{default_deadline, duration},
    },
    pdnd::{ClientOptions, EvidencePattern, Purposes, default_loa, default_location},
};

/// What stands under an instance of kind `anpr`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where the services are: `https://…/govway/rest/in/MinInternoPortaANPR-PDND`.
    pub base: String,
    /// The token service of PDND.
    pub token: String,
    /// Whom client assertions are for; the host of `token` and `/client-assertion` where left out.
    #[serde(default)]
    pub token_audience: Option<String>,
    /// The id of our client at PDND.
    pub client: String,
    /// The id of its key at PDND.
    pub kid: String,
    /// Its key: PEM, PKCS#8, RSA.
    pub key: SecretFile,
    /// Which evidence the services want.
    #[serde(default)]
    pub evidence: EvidencePattern,
    /// The ids of our purposes at PDND, by service: `{ school-canteen: { C021: … } }`.
    pub purposes: Purposes,
    /// Services that the bus does not know, or knows otherwise.
    #[serde(default)]
    pub services: BTreeMap<String, ServiceOptions>,
    /// How a person is looked for.
    #[serde(default)]
    pub search: Search,
    /// Our numbers begin after this one: where another program asked before, or a ledger was lost.
    #[serde(default)]
    pub numbers_after: u64,
    /// Where whoever asks works, where the message does not say it.
    #[serde(default = "default_location")]
    pub location: String,
    /// How surely whoever asks is known, where the message does not say it.
    #[serde(default = "default_loa")]
    pub loa: String,
    /// A question is over by then, voucher included.
    #[serde(default = "default_deadline", deserialize_with = "duration")]
    pub deadline: Duration,
}

impl Options {
    /// What the client of PDND needs of them.
    pub(super) fn client(&self) -> ClientOptions {
        ClientOptions {
            token: self.token.clone(),
            token_audience: self.token_audience.clone(),
            client: self.client.clone(),
            kid: self.kid.clone(),
            key: self.key.0.clone(),
            evidence: self.evidence,
            location: self.location.clone(),
            loa: self.loa.clone(),
        }
    }
}
