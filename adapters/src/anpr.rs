//! `anpr`: the national register of residents, asked through PDND about one person at a time.
//!
//! Invariant: nothing is asked without a purpose and a case; the same question is the same bytes under the
//! same number, which ANPR answers as it did before; what comes of it is decided in `classify` alone.

mod answer;
mod classify;
mod options;
mod question;
mod results;
mod services;

use std::{collections::BTreeMap, time::Duration};

use reqwest::{
    Request,
    header::{ACCEPT, HeaderMap, HeaderValue},
};
use serde_json::Value;
use snodo_core::{
    adapter::{Adapter, Asking, Call, Example, OpenError, Opening, Operation, Receipt},
    fault::Fault,
    verdict::EffectKind,
};
use tokio::time::Instant;

pub use self::{
    options::{Answers, Options, Search, ServiceOptions},
    results::{
        About, Address, AddressKind, Death, Declaration, Household, Identity, Member, Outcome,
        Person, Role, Sex, Verified,
    },
};
use self::{
    question::Criteria,
    services::{ID_SERVICE, Service, services},
};
use crate::{
    http::{
        exchange::Exchange,
        open::address,
        options::{checked_deadline, mistake},
    },
    pdnd::{Pdnd, Purposes, Question, asked},
    typed::{input_schema, output_schema, unknown},
};

/// ANPR as one client of PDND sees it.
#[derive(Debug)]
pub struct Anpr {
    pdnd: Pdnd,
    purposes: Purposes,
    services: BTreeMap<String, Service>,
    search: Search,
    numbers_after: u64,
    deadline: Duration,
}

impl Adapter for Anpr {
    const KIND: &'static str = "anpr";
    const EXAMPLE: Example = Example { options: include_str!("anpr/example.yaml"), schemas: &[] };
    /// Numbers must come in order: ANPR refuses one that is lower than the last.
    const AT_ONCE: u32 = 1;
    type Options = Options;

    fn open(options: Options, _opening: &Opening) -> Result<Self, OpenError> {
        let base = address("base", &options.base)?;
        let services = services(&base, &options.services, &options.purposes)?;
        if services.is_empty() {
            let help = "write purposes: { my-purpose: { C021: id } }, the id as PDND shows it";
            return Err(mistake("/purposes", "no purpose may ask anything", help));
        }
        if options.search == Search::NationalId {
            knows_ids(&options.purposes, &services)?;
        }
        checked_deadline("/deadline", options.deadline)?;
        let pdnd = Pdnd::open(options.client())?;
        Ok(Self {
            pdnd,
            purposes: options.purposes,
            services,
            search: options.search,
            numbers_after: options.numbers_after,
            deadline: options.deadline,
        })
    }

    fn operations(&self) -> Vec<Operation> {
        self.services.values().map(|service| self.operation(service)).collect()
    }

    async fn call(&self, call: Call<'_>) -> Result<Receipt, Fault> {
        let service = self.services.get(call.operation).ok_or_else(|| unknown(call.operation))?;
        let asking = asked(&call)?;
        let until = Instant::now() + self.deadline;
        let asked = question::read(service.answers, call.input)?;
        let (number, number_of_id) = self.search.numbers(asking.number, self.numbers_after);
        let criteria = match self.search {
            Search::NationalId if service.code != ID_SERVICE => {
                self.national_id(&number_of_id, asked.tax_code, asking, until).await?
            }
            Search::NationalId | Search::TaxCode => Criteria::CodiceFiscale(asked.tax_code),
        };
        let verify = asked.verify.as_ref();
        let body = question::bytes(&service.code, &number, &criteria, verify, asking)?;
        self.ask(service, asking, body, until).await
    }

    /// The first of its services: they stand behind one door.
    async fn probe(&self) -> Result<(), Fault> {
        let Some(service) = self.services.values().next() else { return Ok(()) };
        let mut request = Request::new(reqwest::Method::GET, service.door("status"));
        let accept = HeaderValue::from_static("application/problem+json, application/json");
        request.headers_mut().insert(ACCEPT, accept);
        self.pdnd.probe(request).await
    }
}

impl Anpr {
    fn operation(&self, service: &Service) -> Operation {
        let (input, output) = match service.answers {
            Answers::Household => (input_schema::<About>(), output_schema::<Household>()),
            Answers::Person => (input_schema::<About>(), output_schema::<Person>()),
            Answers::Identity => (input_schema::<About>(), output_schema::<Identity>()),
            Answers::Death => (input_schema::<Death>(), output_schema::<Verified>()),
            Answers::Verification => (input_schema::<Declaration>(), output_schema::<Verified>()),
        };
        Operation {
            name: service.code.clone(),
            input,
            output,
            effect: EffectKind::Idempotent,
            deadline: self.deadline,
            settles_within: self.deadline * 2,
            fact_only: true,
        }
    }

    /// The person's id, which C030 knows.
    async fn national_id(
        &self,
        number: &str,
        tax_code: String,
        asking: &Asking<'_>,
        until: Instant,
    ) -> Result<Criteria, Fault> {
        let service = self.services.get(ID_SERVICE).ok_or_else(|| unknown(ID_SERVICE))?;
        let criteria = Criteria::CodiceFiscale(tax_code);
        let body = question::bytes(ID_SERVICE, number, &criteria, None, asking)?;
        let found = self.ask(service, asking, body, until).await?;
        let id = answer::text(&found.result, "/idANPR").unwrap_or_default();
        Ok(Criteria::IdAnpr(id))
    }

    async fn ask(
        &self,
        service: &Service,
        asking: &Asking<'_>,
        body: Vec<u8>,
        until: Instant,
    ) -> Result<Receipt, Fault> {
        let purpose = self.purposes.of(&service.code, asking)?;
        let accept = HeaderValue::from_static("application/json, application/problem+json");
        let question = Question {
            purpose,
            audience: &service.audience,
            asking,
            door: service.door("anpr-service-e002"),
            headers: HeaderMap::from_iter([(ACCEPT, accept)]),
            body,
            content_type: "application/json",
        };
        let (exchange, evidence) = self.pdnd.put(question, until).await?;
        let judged = judged(exchange, service);
        let value = judged.inspect_err(|fault| self.pdnd.notice(purpose, fault))?;
        let result = answer::read(service.answers, &value)
            .map_err(|why| classify::without_result(why, &service.code))?;
        Ok(Receipt { reference: answer::reference(&value), result, evidence: Some(evidence) })
    }
}

fn judged(exchange: Exchange, service: &Service) -> Result<Value, Fault> {
    let transaction = exchange.header("govway-transaction-id");
    classify::classify(exchange.outcome, transaction.as_deref(), &service.code)
}

/// Whoever looks by national id asks C030 first: every purpose needs its id for that.
fn knows_ids(purposes: &Purposes, services: &BTreeMap<String, Service>) -> Result<(), OpenError> {
    let without = purposes.iter().find_map(|(purpose, mut codes)| {
        (!codes.any(|code| code == ID_SERVICE)).then(|| purpose.to_owned())
    });
    match without {
        Some(purpose) => {
            let text = "`search: idANPR` asks C030 first, and this purpose has no id for it";
            let help = "add C030: id, or write search: codiceFiscale";
            Err(mistake(&format!("/purposes/{purpose}"), text, help))
        }
        None => match services.get(ID_SERVICE) {
            Some(service) if service.answers != Answers::Identity => {
                let text = "`search: idANPR` needs C030 to answer with an identity";
                Err(mistake("/services/C030/answers", text, "write answers: identity"))
            }
            Some(_) | None => Ok(()),
        },
    }
}
