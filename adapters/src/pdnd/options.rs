//! What an authority's instance says of its client at PDND, and the purposes under which it may ask.
//!
//! Invariant: what passes here cannot fail for its configuration while asking, but for the key's file.

use std::{collections::BTreeMap, path::PathBuf, sync::Mutex};

use serde::Deserialize;
use snodo_core::{
    adapter::{Asking, OpenError},
    fault::{Fault, FaultClass},
};
use uuid::Uuid;

use super::Pdnd;
use crate::http::{
    open::{address, client},
    options::mistake,
};

/// Which evidence of who asks an e-service wants (its descriptor in the catalogue of PDND says so).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum EvidencePattern {
    /// AUDIT_REST_01: who asks.
    #[serde(rename = "audit_01")]
    Audit01,
    /// AUDIT_REST_02: who asks, bound to the voucher.
    #[default]
    #[serde(rename = "audit_02")]
    Audit02,
    /// None.
    #[serde(rename = "none")]
    None,
}

/// The options that every authority behind PDND has.
#[derive(Debug)]
pub struct ClientOptions {
    /// The token service of PDND.
    pub token: String,
    /// Whom client assertions are for; where left out, made of the host of the token service.
    pub token_audience: Option<String>,
    /// The id of the client at PDND.
    pub client: String,
    /// The id of its key at PDND.
    pub kid: String,
    /// The file of its key: PEM, PKCS#8.
    pub key: PathBuf,
    /// Which evidence the e-services want.
    pub evidence: EvidencePattern,
    /// `userLocation` where nobody says it.
    pub location: String,
    /// `LoA` where nobody says it.
    pub loa: String,
}

impl Pdnd {
    /// Builds the client. No network, and the key is not read.
    pub fn open(written: ClientOptions) -> Result<Self, OpenError> {
        let token = address("token", &written.token)?;
        let audience = written.token_audience.unwrap_or_else(|| {
            format!("{}/client-assertion", token.host_str().unwrap_or_default())
        });
        named("client", &written.client, "write the id of the client at PDND, a UUID")?;
        named("kid", &written.kid, "write the id that PDND gave the key")?;
        named("location", &written.location, "write a short name of the place, such as snodo")?;
        named("loa", &written.loa, "write at most 20 letters and digits, such as LoA1")?;
        Ok(Self {
            token,
            audience,
            client: written.client,
            kid: written.kid,
            key: written.key,
            evidence: written.evidence,
            location: written.location,
            loa: written.loa,
            http: client()?,
            vouchers: Mutex::default(),
        })
    }
}

/// The bus itself.
pub(crate) fn default_location() -> String {
    "snodo".to_owned()
}

/// The lowest: nothing is claimed that nobody said.
pub(crate) fn default_loa() -> String {
    "LoA1".to_owned()
}

fn named(key: &str, text: &str, help: &str) -> Result<(), OpenError> {
    let most = if key == "loa" { 20 } else { 128 };
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=most).contains(&text.len()) && text.bytes().all(of_name) {
        return Ok(());
    }
    Err(mistake(&format!("/{key}"), format!("`{key}` is no name"), help))
}

/// The purposes of our routes as PDND knows them: one id for each e-service.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Purposes(BTreeMap<String, BTreeMap<String, Uuid>>);

impl Purposes {
    /// The id for asking `service` on behalf of somebody.
    pub fn of(&self, service: &str, asking: &Asking<'_>) -> Result<Uuid, Fault> {
        let ids = self.0.get(asking.purpose);
        ids.and_then(|ids| ids.get(service)).copied().ok_or_else(|| {
            let text =
                format!("{service} may not be asked for this purpose: PDND has no id for it");
            Fault::new(FaultClass::Refused, "SN0783", text).with_reason("no_purpose_id")
        })
    }

    /// Whether some purpose may ask `service`.
    pub fn have(&self, service: &str) -> bool {
        self.0.values().any(|ids| ids.contains_key(service))
    }

    /// Each purpose with the services that it may ask.
    pub fn iter(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.0.iter().map(|(purpose, ids)| (purpose.as_str(), ids.keys().map(String::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use snodo_core::timestamp::Timestamp;

    use super::*;

    fn opened(change: impl FnOnce(&mut ClientOptions)) -> Result<Pdnd, OpenError> {
        let mut written = ClientOptions {
            token: "https://auth.uat.example/token.oauth2".to_owned(),
            token_audience: None,
            client: "9f6a".to_owned(),
            kid: "k-1".to_owned(),
            key: PathBuf::from("/nowhere"),
            evidence: EvidencePattern::default(),
            location: "snodo".to_owned(),
            loa: "LoA1".to_owned(),
        };
        change(&mut written);
        Pdnd::open(written)
    }

    #[test]
    fn the_audience_of_an_assertion_comes_from_the_host() {
        let pdnd = opened(|_| {}).expect("opens");
        assert_eq!(pdnd.audience, "auth.uat.example/client-assertion");
        let other = opened(|written| written.token_audience = Some("x".to_owned()));
        assert_eq!(other.expect("opens").audience, "x");
    }

    #[test]
    fn a_mistake_has_its_place() {
        let place = |change: fn(&mut ClientOptions)| opened(change).expect_err("refused").pointer;
        assert_eq!(place(|w| w.token = "http://auth.example".to_owned()), "/token");
        assert_eq!(place(|w| w.client = String::new()), "/client");
        assert_eq!(place(|w| w.kid = "../../etc/passwd".to_owned()), "/kid");
        assert_eq!(place(|w| w.loa = "L".repeat(21)), "/loa");
    }

    #[test]
    fn a_purpose_without_an_id_for_the_service_is_refused() {
        let purposes: Purposes =
            serde_json::from_value(json!({ "school-canteen": { "C021": Uuid::from_u128(7) } }))
                .expect("valid");
        let asking = |purpose| Asking {
            number: 1,
            at: Timestamp::default(),
            purpose,
            case: "0001234/2026",
            actor: "system",
            actor_location: None,
            actor_loa: None,
        };
        assert_eq!(purposes.of("C021", &asking("school-canteen")), Ok(Uuid::from_u128(7)));
        for (service, purpose) in [("C030", "school-canteen"), ("C021", "other")] {
            let fault = purposes.of(service, &asking(purpose)).expect_err("refused");
            assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Refused, "SN0783"));
        }
    }
}
