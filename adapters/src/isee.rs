//! `isee`: the indicator of a family's means, asked of INPS through PDND for one person at a time.
//!
//! Invariant: only the indicator is asked for, never the declaration behind it: a route that needs a number
//! gets no accounts and no incomes. Nothing is asked without a purpose and a case.

mod answer;
mod question;

use std::{collections::BTreeMap, time::Duration};

use reqwest::{
    Request, Url,
    header::{ACCEPT, HeaderMap, HeaderName, HeaderValue},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use snodo_core::{
    adapter::{Adapter, Asking, Call, Example, OpenError, Opening, Operation, Receipt},
    fault::Fault,
    verdict::EffectKind,
};
use tokio::time::Instant;

use crate::{
    http::{
        SecretFile,
        open::address,
        options::{checked_deadline, default_deadline, duration, mistake},
    },
    pdnd::{
        ClientOptions, EvidencePattern, Pdnd, Purposes, Question, asked, default_loa,
        default_location,
    },
    typed::{input_schema, output_schema, read_input, unknown, write_result},
};

/// The one operation, and the service of which PDND knows our purposes.
const OPERATION: &str = "indicator";
const CONTENT_TYPE: &str = "text/xml; charset=utf-8";
const ACTION: &str =
    "\"http://inps.it/ConsultazioneISEE/ISvcConsultazione/ConsultazioneIndicatore\"";

/// What stands under an instance of kind `isee`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where the service is: `https://…/pdnd/soap/ConsultazioneISEE/v1`.
    pub base: String,
    /// Whom its tokens are for; `base` where left out.
    #[serde(default)]
    pub audience: Option<String>,
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
    /// Which evidence the service wants.
    #[serde(default)]
    pub evidence: EvidencePattern,
    /// The ids of our purposes at PDND: `{ school-canteen: { indicator: … } }`.
    pub purposes: Purposes,
    /// The benefit (*prestazione da erogare*) of a purpose, in INPS's codes: `{ school-canteen: A1.01 }`.
    #[serde(default)]
    pub benefits: BTreeMap<String, String>,
    /// Our office, as INPS knows it.
    pub office: String,
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
    fn client(&self) -> ClientOptions {
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

/// INPS as one client of PDND sees it.
#[derive(Debug)]
pub struct Isee {
    base: Url,
    audience: String,
    pdnd: Pdnd,
    purposes: Purposes,
    benefits: BTreeMap<String, String>,
    office: String,
    deadline: Duration,
}

/// About whom the question is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct About {
    /// Codice fiscale of somebody in the family.
    #[schemars(extend("format" = "codice-fiscale"))]
    pub tax_code: String,
    /// Which indicator; `ordinary` where left out.
    #[serde(default)]
    #[schemars(with = "Kind")]
    pub kind: Option<Kind>,
}

/// The indicators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Ordinario.
    #[default]
    Ordinary,
    /// Minorenne.
    Minor,
    /// Universitario.
    University,
    /// Socio-sanitario.
    SocialCare,
    /// Dottorato.
    Doctorate,
    /// Residenziale.
    Residential,
}

impl Kind {
    /// In INPS's word.
    fn word(self) -> &'static str {
        match self {
            Self::Ordinary => "Ordinario",
            Self::Minor => "Minorenne",
            Self::University => "Universitario",
            Self::SocialCare => "SocioSanitario",
            Self::Doctorate => "Dottorato",
            Self::Residential => "Residenziale",
        }
    }
}

/// An indicator.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Indicator {
    /// ISEE, in euro cents.
    #[schemars(range(min = 0))]
    pub value_cents: i64,
    /// Which one.
    pub kind: Kind,
    /// When the declaration (DSU) was presented.
    #[schemars(extend("format" = "date"))]
    pub presented_on: String,
    /// Until when it holds: the last day of the year in which it was presented.
    #[schemars(extend("format" = "date"))]
    pub valid_until: String,
    /// The number of the declaration at INPS.
    pub declaration: String,
}

impl Adapter for Isee {
    const KIND: &'static str = "isee";
    const EXAMPLE: Example = Example { options: include_str!("isee/example.yaml"), schemas: &[] };
    type Options = Options;

    fn open(options: Options, _opening: &Opening) -> Result<Self, OpenError> {
        let base = address("base", &options.base)?;
        known(&options)?;
        checked_deadline("/deadline", options.deadline)?;
        let pdnd = Pdnd::open(options.client())?;
        Ok(Self {
            audience: options.audience.unwrap_or(options.base),
            base,
            pdnd,
            purposes: options.purposes,
            benefits: options.benefits,
            office: options.office,
            deadline: options.deadline,
        })
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation {
            name: OPERATION.to_owned(),
            input: input_schema::<About>(),
            output: output_schema::<Indicator>(),
            effect: EffectKind::Idempotent,
            deadline: self.deadline,
            settles_within: self.deadline * 2,
            fact_only: true,
        }]
    }

    async fn call(&self, call: Call<'_>) -> Result<Receipt, Fault> {
        if call.operation != OPERATION {
            return Err(unknown(call.operation));
        }
        let asking = asked(&call)?;
        let about: About = read_input(call.input)?;
        let kind = about.kind.unwrap_or_default();
        let benefit = self.benefits.get(asking.purpose).map(String::as_str);
        let body = question::envelope(&about.tax_code, kind, benefit, &self.office, asking);
        self.ask(asking, kind, body.into_bytes()).await
    }

    async fn probe(&self) -> Result<(), Fault> {
        let request = Request::new(reqwest::Method::HEAD, self.base.clone());
        self.pdnd.probe(request).await
    }
}

impl Isee {
    async fn ask(&self, asking: &Asking<'_>, kind: Kind, body: Vec<u8>) -> Result<Receipt, Fault> {
        let until = Instant::now() + self.deadline;
        let purpose = self.purposes.of(OPERATION, asking)?;
        let headers = [
            (HeaderName::from_static("soapaction"), HeaderValue::from_static(ACTION)),
            (ACCEPT, HeaderValue::from_static("text/xml")),
        ];
        let question = Question {
            purpose,
            audience: &self.audience,
            asking,
            door: self.base.clone(),
            headers: HeaderMap::from_iter(headers),
            body,
            content_type: CONTENT_TYPE,
        };
        let (exchange, evidence) = self.pdnd.put(question, until).await?;
        let judged = answer::classify(exchange, kind);
        let (indicator, reference) =
            judged.inspect_err(|fault| self.pdnd.notice(purpose, fault))?;
        Ok(Receipt { result: write_result(&indicator)?, reference, evidence: Some(evidence) })
    }
}

/// Purposes are for the one service, benefits are codes of INPS's table, and so is the office.
fn known(options: &Options) -> Result<(), OpenError> {
    for (purpose, mut services) in options.purposes.iter() {
        if let Some(other) = services.find(|service| *service != OPERATION) {
            let text = format!("there is no service `{other}`");
            let help = "write purposes: { my-purpose: { indicator: id } }";
            return Err(mistake(&format!("/purposes/{purpose}/{other}"), text, help));
        }
    }
    for (purpose, code) in &options.benefits {
        let digits = |at: usize| code.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
        let of_table = code.len() == 5 && code.is_char_boundary(1) && code.as_bytes()[2] == b'.';
        if !(of_table
            && code.as_bytes()[0].is_ascii_uppercase()
            && [1, 3, 4].into_iter().all(digits))
        {
            let text = "this is no code of a benefit";
            return Err(mistake(&format!("/benefits/{purpose}"), text, "write A1.01"));
        }
    }
    let of_office = |byte: u8| byte.is_ascii_alphanumeric();
    if options.office.is_empty() || !options.office.bytes().all(of_office) {
        let help = "write the code that INPS gave the office, such as 001";
        return Err(mistake("/office", "`office` is no code", help));
    }
    Ok(())
}
