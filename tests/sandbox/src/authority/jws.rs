//! JWS, RS256: keys, signing and checking. The sandbox's own, so that what the adapter makes is judged by
//! other code.
//!
//! Invariant: a token is read only after its signature was checked over the bytes that came.

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rand::{self, SystemRandom},
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

/// The longest token.
const LONGEST: usize = 8 * 1024;

/// A pair of RSA keys.
pub struct Key(KeyPair);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// The public half of a key (PKCS#1); base64 of its DER in data files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public(Vec<u8>);

impl<'de> Deserialize<'de> for Public {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|_| de::Error::custom("base64 of a key"))
    }
}

impl Key {
    /// A new pair.
    pub fn generate() -> Option<Self> {
        KeyPair::generate(KeySize::Rsa2048).ok().map(Self)
    }

    /// The public half.
    pub fn public(&self) -> Public {
        Public(self.0.public_key().as_ref().to_vec())
    }

    /// The private half as a file holds it: PEM, PKCS#8.
    pub fn pem(&self) -> Option<String> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().ok()?;
        Some(pem("PRIVATE KEY", der.as_ref()))
    }

    /// The public half as others read it: PEM, SubjectPublicKeyInfo.
    pub fn public_pem(&self) -> Option<String> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().ok()?;
        Some(pem("PUBLIC KEY", der.as_ref()))
    }

    /// A token of this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> Option<String> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

/// The header of a token that our keys sign.
pub fn header(kid: &str) -> Value {
    json!({ "alg": "RS256", "typ": "JWT", "kid": kid })
}

/// A token in its parts, not believed yet.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    signed: &'a str,
    header: Value,
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    /// Takes a token apart.
    pub(crate) fn of(token: &'a str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { return Err("three_parts") };
        if token.len() > LONGEST {
            return Err("token_too_long");
        }
        let signed = &token[..header.len() + 1 + claims.len()];
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| "base64url")?;
        let header = serde_json::from_slice(&header).map_err(|_| "header_json")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "base64url")?;
        Ok(Self { signed, header, claims, signature })
    }

    /// `kid`, where the header says what ours say and nothing that leads elsewhere.
    pub(crate) fn kid(&self, typ: &str) -> Result<&str, &'static str> {
        if self.header["alg"] != "RS256" {
            return Err("alg");
        }
        if self.header["typ"] != typ {
            return Err("typ");
        }
        if ["crit", "jku", "jwk", "x5u", "x5c"].iter().any(|odd| self.header.get(odd).is_some()) {
            return Err("odd_header");
        }
        let kid = self.header["kid"].as_str().ok_or("kid")?;
        let of_kid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=128).contains(&kid.len()) && kid.bytes().all(of_kid);
        fits.then_some(kid).ok_or("kid")
    }

    /// The claims, where `key` signed them.
    pub(crate) fn claims(&self, key: &Public) -> Result<Value, &'static str> {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.0)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| "signature")?;
        let claims = URL_SAFE_NO_PAD.decode(self.claims).map_err(|_| "base64url")?;
        serde_json::from_slice(&claims).map_err(|_| "claims_json")
    }
}

/// SHA-256 in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `SHA-256=…`, as the header `Digest` has it.
pub fn digest_header(bytes: &[u8]) -> String {
    format!("SHA-256={}", STANDARD.encode(digest(&SHA256, bytes).as_ref()))
}

/// Base64, as data of a test needs it.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// An id that no other token has.
pub fn fresh() -> String {
    let mut bytes = [0; 16];
    // Without randomness an id would repeat, and be refused: nothing worse.
    let _ = rand::fill(&mut bytes);
    hex(&bytes)[..32].to_owned()
}
