//! The key of a PDND client: signs, and draws what must be random. The one home of cryptography here.
//!
//! Invariant: a key lives for one call, and nothing of it is shown, by `Debug` or in an error text.

use std::{fmt, path::Path};

use aws_lc_rs::{
    rand::{self, SystemRandom},
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use snodo_core::fault::{Fault, FaultClass};
use uuid::Uuid;

/// An RSA key.
pub(super) struct Key(RsaKeyPair);

impl fmt::Debug for Key {
    /// Says that it is one, and nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Reads it at every call: who replaces the file needs no restart.
    pub(super) async fn read(file: &Path) -> Result<Self, Fault> {
        let pem = tokio::fs::read(file).await.map_err(|_| unusable())?;
        Self::of_pem(&pem).ok_or_else(unusable)
    }

    /// The key in a PEM text (`BEGIN PRIVATE KEY`, PKCS#8).
    pub(super) fn of_pem(pem: &[u8]) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
        RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok().map(Self)
    }

    /// RS256: RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut signature)
            .map_err(|_| unusable())?;
        Ok(signature)
    }
}

/// An outage, not a refusal: deliveries wait, unharmed, until somebody mends the file.
fn unusable() -> Fault {
    let text = "the file with the key of our PDND client cannot be read or holds no RSA key";
    Fault::new(FaultClass::Outage, "SN0780", text)
}

/// A token's id, never used twice.
pub(super) fn fresh_id() -> Result<Uuid, Fault> {
    let mut bytes = [0; 16];
    draw(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// A number of 13 digits (AUDIT_REST_02).
pub(super) fn dnonce() -> Result<u64, Fault> {
    const SMALLEST: u64 = 1_000_000_000_000;
    let mut bytes = [0; 8];
    draw(&mut bytes)?;
    Ok(SMALLEST + u64::from_be_bytes(bytes) % (9 * SMALLEST))
}

fn draw(bytes: &mut [u8]) -> Result<(), Fault> {
    rand::fill(bytes).map_err(|_| {
        Fault::new(FaultClass::Outage, "SN0780", "this machine gives no random numbers")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_rsa_key_is_no_key() {
        let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for pem in ["", "hunter2", empty] {
            assert!(Key::of_pem(pem.as_bytes()).is_none(), "{pem}");
        }
    }

    #[test]
    fn numbers_for_once_have_thirteen_digits_and_differ() {
        let drawn: std::collections::BTreeSet<u64> =
            (0..50).map(|_| dnonce().expect("drawn")).collect();
        assert_eq!(drawn.len(), 50);
        assert!(drawn.iter().all(|number| number.to_string().len() == 13), "{drawn:?}");
    }
}
