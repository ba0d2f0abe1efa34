//! What is signed towards PDND and an authority: client assertion, TrackingEvidence, Signature. Pure but
//! for the signature itself.
//!
//! Invariant: no token says that it was made in the future, and none lives longer than [`LIFE`]; what the
//! Signature says of a header is the value that is sent, byte for byte.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use snodo_core::{
    fault::{Fault, FaultClass},
    ids::Digest,
};
use uuid::Uuid;

use super::key::Key;

/// Authorities refuse an `iat` of the future without tolerance: our clock may be ahead by so much.
const BEHIND: i64 = 5;
/// From `iat` to `exp`, in seconds.
const LIFE: i64 = 120;

/// Who signs.
pub(super) struct Signer<'a> {
    /// The key.
    pub(super) key: &'a Key,
    /// Its id at PDND.
    pub(super) kid: &'a str,
    /// The client that it belongs to.
    pub(super) client: &'a str,
}

/// What every token has of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Seconds since 1970.
    pub(super) now: i64,
    /// Its `jti`.
    pub(super) id: Uuid,
}

/// Who acts, as AUDIT_REST_01 and AUDIT_REST_02 tell it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actor<'a> {
    /// Somebody's id in our house.
    pub(super) id: &'a str,
    /// Where that person works.
    pub(super) location: &'a str,
    /// How surely that person is known.
    pub(super) loa: &'a str,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    kid: &'a str,
    typ: &'static str,
}

/// What every token says.
#[derive(Serialize)]
struct Common<'a> {
    iss: &'a str,
    aud: &'a str,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

#[derive(Serialize)]
struct Assertion<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    sub: &'a str,
    #[serde(rename = "purposeId")]
    purpose: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<DigestClaim>,
}

#[derive(Serialize)]
struct DigestClaim {
    alg: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Evidence<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    #[serde(rename = "purposeId")]
    purpose: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    dnonce: Option<u64>,
    #[serde(rename = "userID")]
    user: &'a str,
    #[serde(rename = "userLocation")]
    location: &'a str,
    #[serde(rename = "LoA")]
    loa: &'a str,
}

#[derive(Serialize)]
struct Signature<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    sub: &'a str,
    signed_headers: [SignedHeader<'a>; 2],
}

/// One header in an object of its own: the pattern wants a list that keeps its order.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum SignedHeader<'a> {
    Digest(&'a str),
    ContentType(&'a str),
}

impl Signer<'_> {
    /// The client assertion: who asks for a voucher, for which purpose; with the digest of the evidence
    /// to which the voucher is to be bound.
    pub(super) fn assertion(
        &self,
        audience: &str,
        purpose: Uuid,
        evidence: Option<&str>,
        moment: Moment,
    ) -> Result<String, Fault> {
        let digest = evidence.map(|evidence| DigestClaim {
            alg: "SHA256",
            value: Digest::of(evidence.as_bytes()).to_string(),
        });
        let common = self.common(audience, moment);
        self.sign(&Assertion { common, sub: self.client, purpose, digest })
    }

    /// `Agid-JWT-TrackingEvidence`; with `dnonce` as AUDIT_REST_02 wants it.
    pub(super) fn evidence(
        &self,
        audience: &str,
        purpose: Uuid,
        actor: Actor<'_>,
        dnonce: Option<u64>,
        moment: Moment,
    ) -> Result<String, Fault> {
        let Actor { id: user, location, loa } = actor;
        let common = self.common(audience, moment);
        self.sign(&Evidence { common, purpose, dnonce, user, location, loa })
    }

    /// `Agid-JWT-Signature` (INTEGRITY_REST_02) over the headers that are sent.
    pub(super) fn signature(
        &self,
        audience: &str,
        digest: &str,
        content_type: &str,
        moment: Moment,
    ) -> Result<String, Fault> {
        let common = self.common(audience, moment);
        let signed_headers =
            [SignedHeader::Digest(digest), SignedHeader::ContentType(content_type)];
        self.sign(&Signature { common, sub: self.client, signed_headers })
    }

    fn common<'b>(&'b self, aud: &'b str, moment: Moment) -> Common<'b> {
        let iat = moment.now - BEHIND;
        Common { iss: self.client, aud, jti: moment.id, iat, exp: iat + LIFE }
    }

    /// Compact serialisation: three parts, base64url without padding.
    fn sign(&self, claims: &impl Serialize) -> Result<String, Fault> {
        let header = part(&Header { alg: "RS256", kid: self.kid, typ: "JWT" })?;
        let signed = format!("{header}.{}", part(claims)?);
        let signature = self.key.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn part(value: &impl Serialize) -> Result<String, Fault> {
    let unwritable = |_| {
        let text = "the claims of a token cannot be written; this is a mistake of the bus";
        Fault::new(FaultClass::Poison, "SN0901", text)
    };
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).map_err(unwritable)?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::tests::pem, *};

    const SERVICE: &str = "https://authority.example/govway/rest/in/Porta/C021-x/v1";
    const PURPOSE: Uuid = Uuid::from_u128(7);
    const MOMENT: Moment = Moment { now: 1_795_424_400, id: Uuid::from_u128(9) };

    /// What a signer says: header and claims, with the check that it has three parts.
    fn said(make: impl FnOnce(&Signer<'_>) -> Result<String, Fault>) -> (Value, Value) {
        let key = Key::of_pem(pem().as_bytes()).expect("a key");
        let signer = Signer { key: &key, kid: "k1", client: "client-1" };
        let token = make(&signer).expect("signed");
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, _signature] = parts.as_slice() else { panic!("three parts") };
        let read = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
            serde_json::from_slice(&bytes).expect("JSON")
        };
        (read(header), read(claims))
    }

    #[test]
    fn an_assertion_names_client_purpose_and_evidence() {
        let (header, claims) =
            said(|signer| signer.assertion("auth.example/x", PURPOSE, Some("a.b.c"), MOMENT));
        assert_eq!(header, json!({ "alg": "RS256", "kid": "k1", "typ": "JWT" }));
        let digest = Digest::of(b"a.b.c").to_string();
        assert_eq!(
            claims,
            json!({
                "iss": "client-1", "sub": "client-1", "aud": "auth.example/x",
                "jti": MOMENT.id, "iat": 1_795_424_395, "exp": 1_795_424_515,
                "purposeId": PURPOSE, "digest": { "alg": "SHA256", "value": digest }
            })
        );
        let (_, claims) = said(|signer| signer.assertion("a", PURPOSE, None, MOMENT));
        assert_eq!(claims.get("digest"), None);
    }

    #[test]
    fn an_evidence_tells_who_acts() {
        let actor = Actor { id: "op-4711", location: "desk-3", loa: "LoA3" };
        let (_, claims) = said(|signer| {
            signer.evidence(SERVICE, PURPOSE, actor, Some(1_234_567_890_123), MOMENT)
        });
        assert_eq!(
            claims,
            json!({
                "iss": "client-1", "aud": SERVICE, "jti": MOMENT.id,
                "iat": 1_795_424_395, "exp": 1_795_424_515, "purposeId": PURPOSE,
                "dnonce": 1_234_567_890_123_u64,
                "userID": "op-4711", "userLocation": "desk-3", "LoA": "LoA3"
            })
        );
    }

    #[test]
    fn signed_headers_are_a_list_in_order() {
        let (_, claims) =
            said(|signer| signer.signature(SERVICE, "SHA-256=x", "application/json", MOMENT));
        let expected = json!([{ "digest": "SHA-256=x" }, { "content-type": "application/json" }]);
        assert_eq!(claims["signed_headers"], expected);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("client-1"), &json!("client-1")));
    }
}
