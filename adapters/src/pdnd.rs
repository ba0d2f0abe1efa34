//! PDND: for which purpose an authority is asked, and by whom; the headers that ModI wants of a question.
//!
//! Invariant: a voucher that is bound to a TrackingEvidence serves one question; the digest is of the
//! very bytes that are sent; no token and no key is shown, logged or kept beyond its use.

mod key;
mod options;
mod tokens;
mod voucher;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Client, Request, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use snodo_core::{
    adapter::{Asking, Call, Evidence},
    fault::{Fault, FaultClass},
    ids::Digest,
};
use tokio::time::Instant;
use uuid::Uuid;

pub use self::options::{ClientOptions, EvidencePattern, Purposes};
pub(crate) use self::options::{default_loa, default_location};
use self::{
    key::Key,
    tokens::{Actor, Moment, Signer},
    voucher::Voucher,
};
use crate::http::{
    classify::classify_probe,
    exchange::{Exchange, exchange},
};

/// The longest answer of the token service that is read.
const VOUCHER_LIMIT: usize = 64 * 1024;
/// The longest answer of an authority that is read.
const ANSWER_LIMIT: usize = 1024 * 1024;
/// A probe is over by then.
const PROBE: Duration = Duration::from_secs(5);
const FORM: &str = "application/x-www-form-urlencoded";
/// An authority refuses our credentials.
const NOT_TAKEN: &str = "SN0765";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client of PDND: one key, the vouchers of its purposes.
pub struct Pdnd {
    token: Url,
    audience: String,
    client: String,
    kid: String,
    key: PathBuf,
    evidence: EvidencePattern,
    location: String,
    loa: String,
    http: Client,
    vouchers: Mutex<BTreeMap<Uuid, Voucher>>,
}

impl std::fmt::Debug for Pdnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pdnd").field("client", &self.client).finish_non_exhaustive()
    }
}

/// A question to an authority behind PDND.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The purpose as PDND knows it, for this service.
    pub(crate) purpose: Uuid,
    /// Whom the signed tokens are for.
    pub(crate) audience: &'a str,
    /// On whose behalf.
    pub(crate) asking: &'a Asking<'a>,
    /// Where it is sent.
    pub(crate) door: Url,
    /// What the authority wants beside what PDND wants.
    pub(crate) headers: HeaderMap,
    /// The very bytes that are sent.
    pub(crate) body: Vec<u8>,
    /// Their type, as it is sent.
    pub(crate) content_type: &'static str,
}

impl Pdnd {
    /// Puts a question to an authority; what has come of it is the authority's to judge. It is over by
    /// `until`, voucher included.
    pub(crate) async fn put(
        &self,
        question: Question<'_>,
        until: Instant,
    ) -> Result<(Exchange, Evidence), Fault> {
        let signed = self.headers(&question, until).await?;
        let mut request = Request::new(reqwest::Method::POST, question.door);
        *request.headers_mut() = question.headers;
        request.headers_mut().extend(signed);
        let asked = Digest::of(&question.body);
        *request.body_mut() = Some(question.body.into());
        let left = until.saturating_duration_since(Instant::now());
        let exchange = exchange(&self.http, request, left, ANSWER_LIMIT).await;
        let evidence = Evidence { request: asked, answer: exchange.answer };
        Ok((exchange, evidence))
    }

    /// Asks an authority for nothing, to see whether it is there.
    pub(crate) async fn probe(&self, request: Request) -> Result<(), Fault> {
        classify_probe(exchange(&self.http, request, PROBE, ANSWER_LIMIT).await.outcome)
    }

    /// Forgets the voucher of a purpose where an authority did not take it.
    pub(crate) fn notice(&self, purpose: Uuid, fault: &Fault) {
        if fault.code == NOT_TAKEN {
            self.vouchers().remove(&purpose);
        }
    }

    /// Voucher, evidence, signature, digest.
    async fn headers(&self, question: &Question<'_>, until: Instant) -> Result<HeaderMap, Fault> {
        let key = Key::read(&self.key).await?;
        let signer = Signer { key: &key, kid: &self.kid, client: &self.client };
        let evidence = self.evidence(&signer, question)?;
        let voucher = self.voucher(&signer, question.purpose, evidence.as_deref(), until).await?;
        let digest = format!("SHA-256={}", STANDARD.encode(Digest::of(&question.body).0));
        let signature =
            signer.signature(question.audience, &digest, question.content_type, moment()?)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(question.content_type));
        headers.insert(AUTHORIZATION, secret(&voucher.authorization())?);
        headers.insert(HeaderName::from_static("digest"), secret(&digest)?);
        headers.insert(HeaderName::from_static("agid-jwt-signature"), secret(&signature)?);
        if let Some(evidence) = evidence {
            let name = HeaderName::from_static("agid-jwt-trackingevidence");
            headers.insert(name, secret(&evidence)?);
        }
        Ok(headers)
    }

    fn evidence(
        &self,
        signer: &Signer<'_>,
        question: &Question<'_>,
    ) -> Result<Option<String>, Fault> {
        let dnonce = match self.evidence {
            EvidencePattern::None => return Ok(None),
            EvidencePattern::Audit01 => None,
            EvidencePattern::Audit02 => Some(key::dnonce()?),
        };
        let Question { purpose, audience, asking, .. } = question;
        let actor = Actor {
            id: asking.actor,
            location: asking.actor_location.unwrap_or(&self.location),
            loa: asking.actor_loa.unwrap_or(&self.loa),
        };
        signer.evidence(audience, *purpose, actor, dnonce, moment()?).map(Some)
    }

    /// A voucher: a kept one where none is bound to an evidence, else a new one.
    async fn voucher(
        &self,
        signer: &Signer<'_>,
        purpose: Uuid,
        evidence: Option<&str>,
        until: Instant,
    ) -> Result<Voucher, Fault> {
        let bound = evidence.filter(|_| self.evidence == EvidencePattern::Audit02);
        if bound.is_none()
            && let Some(kept) = self.kept(purpose)
        {
            return Ok(kept);
        }
        let assertion = signer.assertion(&self.audience, purpose, bound, moment()?)?;
        let asked = now();
        let left = until.saturating_duration_since(Instant::now());
        let granted = self.ask(&assertion, left).await?;
        let voucher = voucher::granted(granted, asked)?;
        if bound.is_none() {
            self.vouchers().insert(purpose, voucher.clone());
        }
        Ok(voucher)
    }

    fn kept(&self, purpose: Uuid) -> Option<Voucher> {
        self.vouchers().get(&purpose).filter(|voucher| voucher.lasts(now())).cloned()
    }

    async fn ask(
        &self,
        assertion: &str,
        deadline: Duration,
    ) -> Result<crate::http::classify::Outcome, Fault> {
        let mut request = Request::new(reqwest::Method::POST, self.token.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(self.form(assertion).into());
        Ok(exchange(&self.http, request, deadline, VOUCHER_LIMIT).await.outcome)
    }

    fn form(&self, assertion: &str) -> String {
        let mut form = self.token.clone();
        form.query_pairs_mut()
            .clear()
            .append_pair("client_id", &self.client)
            .append_pair("client_assertion", assertion)
            .append_pair("client_assertion_type", ASSERTION_TYPE)
            .append_pair("grant_type", "client_credentials");
        form.query().unwrap_or_default().to_owned()
    }

    /// A panic elsewhere leaves whole vouchers.
    fn vouchers(&self) -> MutexGuard<'_, BTreeMap<Uuid, Voucher>> {
        self.vouchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On whose behalf a call asks: authorities want a purpose and the number of a case.
pub(crate) fn asked<'a>(call: &'a Call<'_>) -> Result<&'a Asking<'a>, Fault> {
    call.asking.as_ref().filter(|asking| !asking.case.trim().is_empty()).ok_or_else(|| {
        let text = "an authority is asked for one purpose and one case: as a fact, not as a step";
        Fault::new(FaultClass::Poison, "SN0781", text)
    })
}

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn moment() -> Result<Moment, Fault> {
    Ok(Moment { now: now(), id: key::fresh_id()? })
}

/// A header value that no log shows.
fn secret(text: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        let text = "a signed token fits into no header; this is a mistake of the bus";
        Fault::new(FaultClass::Poison, "SN0901", text)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use aws_lc_rs::{
        encoding::{AsDer as _, Pkcs8V1Der},
        rsa::{KeyPair, KeySize},
    };

    use super::*;

    /// A key of this run.
    pub(super) fn pem() -> &'static str {
        static PEM: LazyLock<String> = LazyLock::new(|| {
            let key = KeyPair::generate(KeySize::Rsa2048).expect("generated");
            let der: Pkcs8V1Der<'_> = key.as_der().expect("written");
            let text = STANDARD.encode(der.as_ref());
            format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
        });
        &PEM
    }

    fn pdnd() -> Pdnd {
        let written = ClientOptions {
            token: "https://auth.example/token.oauth2".to_owned(),
            token_audience: None,
            client: "client-1".to_owned(),
            kid: "k1".to_owned(),
            key: PathBuf::from("/nowhere"),
            evidence: EvidencePattern::Audit02,
            location: "snodo".to_owned(),
            loa: "LoA1".to_owned(),
        };
        Pdnd::open(written).expect("opens")
    }

    #[test]
    fn the_request_for_a_voucher_is_a_form() {
        insta::assert_snapshot!(pdnd().form("a.b.c"), @"client_id=client-1&client_assertion=a.b.c&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&grant_type=client_credentials");
    }

    #[test]
    fn an_instance_shows_no_secret() {
        insta::assert_snapshot!(format!("{:?}", pdnd()), @r#"Pdnd { client: "client-1", .. }"#);
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_read_is_an_outage() {
        let fault = Key::read(std::path::Path::new("/nowhere")).await.expect_err("a fault");
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Outage, "SN0780"));
    }
}
