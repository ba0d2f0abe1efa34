//! Looks at the certificates that hosts show. The only home of TLS that is not a library's own.
//!
//! Invariant: a handshake and nothing after it; nothing is ever sent over what is opened here, which is
//! why a certificate that nobody trusts may be looked at.

use std::{sync::Arc, time::Duration};

use snodo_core::{doctor::Shown, timestamp::Timestamp};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::settings::Tls;

/// A handshake is over by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `host` shows at the place that `tls` names.
pub(super) async fn look(host: &str, tls: Tls) -> Result<Shown, String> {
    timeout(PATIENCE, handshake(host, tls)).await.map_err(|_| "no answer".to_owned())?
}

async fn handshake(host: &str, tls: Tls) -> Result<Shown, String> {
    let (Tls::AtOnce(port) | Tls::Postgres(port)) = tls;
    let told = |error: std::io::Error| match error.get_ref() {
        Some(inner) => inner.to_string(),
        None => error.kind().to_string(),
    };
    let mut stream = TcpStream::connect((host, port)).await.map_err(told)?;
    if let Tls::Postgres(_) = tls
        && !starts_tls(&mut stream).await.map_err(told)?
    {
        return Ok(Shown::Nothing);
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| "no name of a host".to_owned())?;
    let stream = connector()?.connect(name, stream).await.map_err(told)?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    dates(shown.ok_or("it shows none")?)
}

/// PostgreSQL's `SSLRequest`: one byte says whether a handshake may follow.
async fn starts_tls(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
    Ok(stream.read_u8().await? == b'S')
}

fn dates(certificate: &CertificateDer<'_>) -> Result<Shown, String> {
    let (_, certificate) = X509Certificate::from_der(certificate)
        .map_err(|_| "what it shows is no certificate".to_owned())?;
    let validity = certificate.validity();
    let at = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Ok(Shown::Certificate { from: at(from), until: at(until) })
}

fn connector() -> Result<TlsConnector, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Onlooker(provider)))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts every certificate, to be looked at.
#[derive(Debug)]
struct Onlooker(Arc<CryptoProvider>);

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
