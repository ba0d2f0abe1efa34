//! What GovWay checks before a service sees a question: voucher, evidence, digest, signature.
//!
//! Invariant: in the order of the patterns, over what came, with no tolerance for a future `iat`.

use axum::http::{HeaderMap, header};
use serde_json::Value;

use super::{
    House, inps,
    jws::{Parts, Public, digest_header, hex},
    now,
    token::{ISSUER, KID},
};

/// Seconds that a token of a client may last.
const LIFE: i64 = 600;

/// How a question that breaks a rule is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    /// The status.
    pub(super) status: u16,
    /// GovWay's name for it.
    pub(super) title: &'static str,
    /// The rule.
    pub(super) rule: &'static str,
}

/// Who asks, as far as it was proved.
#[derive(Debug)]
pub(super) struct Caller {
    /// The client.
    pub(super) client: String,
    /// The purpose.
    pub(super) purpose: String,
    /// The claims of the evidence.
    pub(super) evidence: Value,
}

/// Whom tokens for a service are for: its address, at ANPR without `-PDND`.
pub(crate) fn audience(base: &str, service: &str) -> String {
    if service == inps::SERVICE {
        return format!("{base}{}", inps::PATH);
    }
    let segment = super::anpr::segment(service).unwrap_or(service);
    format!("{base}/govway/rest/in/MinInternoPortaANPR/{segment}/v1")
}

/// Checks everything that comes before the content.
pub(super) fn check(
    house: &House,
    service: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Caller, Breach> {
    let audience = audience(&house.base, service);
    let voucher = voucher(house, &audience, headers).map_err(unauthenticated)?;
    let client = voucher["client_id"].as_str().unwrap_or_default().to_owned();
    let purpose = voucher["purposeId"].as_str().unwrap_or_default().to_owned();
    allowed(house, &purpose).map_err(|rule| Breach {
        status: 403,
        title: "AuthorizationDeny",
        rule,
    })?;
    let sender = Sender { house, client: &client, audience: &audience };
    let evidence = sender.evidence(headers, &voucher).map_err(invalid)?;
    digest(headers, body).map_err(invalid)?;
    sender.signature(headers).map_err(invalid)?;
    Ok(Caller { client, purpose, evidence })
}

fn unauthenticated(rule: &'static str) -> Breach {
    Breach { status: 401, title: "TokenAuthenticationFailed", rule }
}

fn invalid(rule: &'static str) -> Breach {
    Breach { status: 400, title: "InteroperabilityInvalidRequest", rule }
}

/// The value of a header that is there once.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &str,
    rule: &'static str,
) -> Result<&'a str, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| rule),
        _ => Err(rule),
    }
}

fn voucher(house: &House, audience: &str, headers: &HeaderMap) -> Result<Value, &'static str> {
    let bearer = only(headers, header::AUTHORIZATION.as_str(), "authorization")?;
    let token = bearer.strip_prefix("Bearer ").ok_or("authorization")?;
    let parts = Parts::of(token)?;
    if parts.kid("at+jwt")? != KID {
        return Err("kid");
    }
    let claims = parts.claims(&house.key.public())?;
    if claims["iss"] != ISSUER {
        return Err("iss");
    }
    if claims["aud"] != audience {
        return Err("aud");
    }
    times(&claims, LIFE)?;
    Ok(claims)
}

fn allowed(house: &House, purpose: &str) -> Result<(), &'static str> {
    let state = house.state();
    let known = state.world.purposes.iter().find(|known| known.id == purpose);
    if known.ok_or("purpose")?.active { Ok(()) } else { Err("purpose_suspended") }
}

/// `Digest` is of the bytes that came.
fn digest(headers: &HeaderMap, body: &[u8]) -> Result<(), &'static str> {
    let said = only(headers, "digest", "digest_header")?;
    if said == digest_header(body) { Ok(()) } else { Err("digest_mismatch") }
}

/// Whose tokens are expected, for whom.
struct Sender<'a> {
    house: &'a House,
    client: &'a str,
    audience: &'a str,
}

impl Sender<'_> {
    /// The claims of a token of this client for this service, made just now and never seen.
    fn claims(&self, token: &str) -> Result<Value, &'static str> {
        let parts = Parts::of(token)?;
        let key = key_of(self.house, self.client, parts.kid("JWT")?)?;
        let claims = parts.claims(&key)?;
        if claims["iss"] != self.client {
            return Err("iss");
        }
        if claims["aud"] != self.audience {
            return Err("aud");
        }
        times(&claims, LIFE)?;
        seen_once(self.house, &claims)?;
        Ok(claims)
    }

    /// AUDIT_REST_02: who asks, bound to the voucher; or AUDIT_REST_01, which is not bound.
    fn evidence(&self, headers: &HeaderMap, voucher: &Value) -> Result<Value, &'static str> {
        let token = only(headers, "agid-jwt-trackingevidence", "evidence")?;
        let unbound = self.house.state().world.unbound;
        if !unbound && voucher["digest"]["value"] != hex(token.as_bytes()) {
            return Err("evidence_digest");
        }
        let claims = self.claims(token)?;
        if claims["purposeId"] != voucher["purposeId"] {
            return Err("evidence_purpose");
        }
        let dnonce = claims["dnonce"].as_u64().filter(|number| number.to_string().len() == 13);
        if !unbound && dnonce.is_none() {
            return Err("dnonce");
        }
        let text = |name: &str| claims[name].as_str().map_or(0, str::len);
        if text("userID") == 0 {
            return Err("user_id");
        }
        if text("userLocation") == 0 {
            return Err("user_location");
        }
        if !(1..=20).contains(&text("LoA")) {
            return Err("loa");
        }
        Ok(claims)
    }

    /// INTEGRITY_REST_02: what is signed is what came.
    fn signature(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let claims = self.claims(only(headers, "agid-jwt-signature", "signature_header")?)?;
        if claims["sub"] != self.client {
            return Err("sub");
        }
        let signed = claims["signed_headers"].as_array().ok_or("signed_headers")?;
        let mut names = Vec::new();
        for entry in signed {
            let entry = entry.as_object().filter(|entry| entry.len() == 1);
            let (name, value) =
                entry.and_then(|entry| entry.iter().next()).ok_or("signed_headers")?;
            let came = only(headers, name, "signed_header_missing")?;
            if value.as_str() != Some(came) {
                return Err("signed_header_differs");
            }
            if names.contains(name) {
                return Err("signed_header_twice");
            }
            names.push(name.clone());
        }
        let must = ["digest", "content-type", "content-encoding"];
        let unsigned = |name: &&str| {
            let here = *name == "digest" || headers.contains_key(*name);
            here && !names.iter().any(|signed| signed == name)
        };
        if must.iter().any(unsigned) { Err("header_not_signed") } else { Ok(()) }
    }
}

/// The key that a client deposited under `kid`.
pub(super) fn key_of(house: &House, client: &str, kid: &str) -> Result<Public, &'static str> {
    let state = house.state();
    let known = state.world.clients.iter().find(|known| known.id == client);
    let known = known.ok_or("client")?;
    if known.kid == kid { Ok(known.key.clone()) } else { Err("kid") }
}

/// Made in the past, not over, not too long-lived; all whole numbers.
pub(super) fn times(claims: &Value, life: i64) -> Result<(), &'static str> {
    let now = now();
    let iat = claims["iat"].as_i64().ok_or("iat")?;
    let exp = claims["exp"].as_i64().ok_or("exp")?;
    if iat > now {
        return Err("iat_in_the_future");
    }
    if exp <= now {
        return Err("expired");
    }
    if exp - iat > life {
        return Err("lives_too_long");
    }
    match claims.get("nbf") {
        None => Ok(()),
        Some(nbf) if nbf.as_i64().is_some_and(|nbf| nbf <= now) => Ok(()),
        Some(_) => Err("nbf"),
    }
}

/// A token is taken once.
pub(super) fn seen_once(house: &House, claims: &Value) -> Result<(), &'static str> {
    let id = claims["jti"].as_str().filter(|id| !id.is_empty()).ok_or("jti")?;
    let issuer = claims["iss"].as_str().unwrap_or_default();
    let new = house.state().seen.insert((issuer.to_owned(), id.to_owned()));
    if new { Ok(()) } else { Err("jti_replay") }
}
