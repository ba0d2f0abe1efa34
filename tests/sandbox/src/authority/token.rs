//! The token service of PDND: a client assertion in, a voucher out.
//!
//! Invariant: why it says no is noted for the tests and never told to the client: PDND does not tell.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    House, Purpose,
    jws::{self, Parts},
    modi::{self, audience, seen_once},
    now,
};

/// Seconds that a voucher lasts.
const LIFE: i64 = 600;
/// Seconds that an assertion may last.
const LIFE_OF_ASSERTION: i64 = 120;
/// The id of PDND's own key.
pub(super) const KID: &str = "pdnd-sandbox";
/// Who gives vouchers.
pub(super) const ISSUER: &str = "interop.sandbox";

/// Answers a request for a voucher.
pub(super) fn answer(house: &House, headers: &HeaderMap, body: &[u8]) -> Response {
    match voucher(house, headers, body) {
        Ok((token, assertion)) => {
            house.state().assertions.push(assertion);
            let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": LIFE });
            ([(header::CACHE_CONTROL, "no-cache, no-store")], Json(body)).into_response()
        }
        Err(rule) => {
            house.refuse("token", rule);
            problem()
        }
    }
}

/// As the interface of PDND has it: nothing about the cause but a number.
fn problem() -> Response {
    let text = "Unable to generate a token for the given request";
    let body = json!({ "type": "about:blank", "status": 400, "title": "Bad request", "detail": text,
                       "errors": [{ "code": "015-0008", "detail": text }] });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// A voucher, with the assertion for which it is given.
fn voucher(
    house: &House,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(String, String), &'static str> {
    let form = form(headers, body)?;
    let field = |name: &str| form.get(name).map(String::as_str).ok_or("form_field");
    if field("grant_type")? != "client_credentials" {
        return Err("grant_type");
    }
    if field("client_assertion_type")? != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
        return Err("client_assertion_type");
    }
    let client = field("client_id")?;
    let assertion = field("client_assertion")?;
    let claims = asserted(house, client, assertion)?;
    let purpose = purpose(house, client, &claims)?;
    let digest = claims.get("digest").map(digest).transpose()?;
    let now = now();
    let mut granted = json!({
        "iss": ISSUER, "aud": audience(&house.base, &purpose.service), "sub": client,
        "client_id": client, "purposeId": purpose.id, "jti": jws::fresh(),
        "iat": now, "nbf": now, "exp": now + LIFE
    });
    if let Some(digest) = digest {
        granted["digest"] = digest;
    }
    let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": KID });
    let token = house.key.sign(&header, &granted).ok_or("signing")?;
    Ok((token, assertion.to_owned()))
}

fn form(headers: &HeaderMap, body: &[u8]) -> Result<BTreeMap<String, String>, &'static str> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind != Some("application/x-www-form-urlencoded") {
        return Err("form_type");
    }
    let text = std::str::from_utf8(body).map_err(|_| "form_text")?;
    text.split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or("form_text")?;
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// Undoes the encoding of forms.
fn decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next().ok_or("form_text")?, rest.next().ok_or("form_text")?];
                let pair = std::str::from_utf8(&pair).map_err(|_| "form_text")?;
                u8::from_str_radix(pair, 16).map_err(|_| "form_text")?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "form_text")
}

/// The claims of an assertion that this client made just now, and never before.
fn asserted(house: &House, client: &str, assertion: &str) -> Result<Value, &'static str> {
    let parts = Parts::of(assertion)?;
    let key = modi::key_of(house, client, parts.kid("JWT")?)?;
    let claims = parts.claims(&key)?;
    if claims["iss"] != client || claims["sub"] != client {
        return Err("iss_sub");
    }
    if claims["aud"] != "127.0.0.1/client-assertion" {
        return Err("aud");
    }
    modi::times(&claims, LIFE_OF_ASSERTION)?;
    seen_once(house, &claims)?;
    Ok(claims)
}

fn purpose(house: &House, client: &str, claims: &Value) -> Result<Purpose, &'static str> {
    let state = house.state();
    let id = claims["purposeId"].as_str().ok_or("purpose")?;
    let known = state.world.purposes.iter().find(|known| known.id == id && known.client == client);
    let purpose = known.ok_or("purpose")?;
    if purpose.active { Ok(purpose.clone()) } else { Err("purpose_suspended") }
}

/// `{ alg: SHA256, value: 64 hexadecimal digits }`.
fn digest(claim: &Value) -> Result<Value, &'static str> {
    let value = claim["value"].as_str().unwrap_or_default();
    let hex = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if claim["alg"] == "SHA256" && hex { Ok(claim.clone()) } else { Err("digest_claim") }
}
