//! What the tests of this crate share: authorities in a temporary directory, odd documents, and handshakes in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::DeviceId;
use rcgen::{KeyPair, SigningKey as _};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::ServerConfig;
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, ServerConnection,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::authority::{Authority, Issued, Profile, Usage};
use crate::der;
use crate::identity::{IdentityRule, TrustDomain};
use crate::{
    CRL_MAX_ENTRIES, DeviceVerifier, Document, HighWater, RefusalObserver, Refused, ServerCertificate,
    TlsVersions, Trust, TrustSettings, server_config,
};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// One root authority with a fresh CRL, and what else a test adds.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    pub(crate) root: Authority,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Authority::init(&dir.path().join("ca"), "example.org", 90 * DAY).unwrap();
        Self { dir, root }
    }

    /// Another root in the same trust domain.
    pub(crate) fn other_root(&self, name: &str) -> Authority {
        Authority::init(&self.dir.path().join(name), "example.org", 90 * DAY).unwrap()
    }

    pub(crate) fn domain(&self) -> TrustDomain {
        self.root.trust_domain().clone()
    }

    /// Trusts the root with its CRL as it is now.
    pub(crate) fn settings(&self) -> TrustSettings {
        self.settings_with(&[], &[&self.root])
    }

    /// Trusts the root and `known` besides, with CRLs of `covered`.
    pub(crate) fn settings_with(&self, known: &[&Authority], covered: &[&Authority]) -> TrustSettings {
        let authorities = std::iter::once(&self.root).chain(known.iter().copied());
        TrustSettings {
            authorities: authorities.map(|authority| pem("ca.pem", authority.certificate_pem())).collect(),
            crls: covered.iter().map(|authority| pem("ca.crl", &authority.crl(DAY).unwrap())).collect(),
            rule: IdentityRule::Spiffe(self.domain()),
            crl_max_entries: CRL_MAX_ENTRIES,
        }
    }

    pub(crate) fn device(&self, name: &str) -> Issued {
        self.root.issue_device(&id(name), None, DAY).unwrap()
    }

    /// A device profile to be spoilt.
    pub(crate) fn profile(&self) -> Profile {
        Profile::device(&self.domain(), &id("d-1"), None, DAY)
    }

    pub(crate) fn gateway(&self) -> ServerCertificate {
        let issued = self.root.issue_gateway("gw-1", &["localhost"], &[], DAY).unwrap();
        ServerCertificate::new(issued.chain(), issued.key().unwrap()).unwrap()
    }

    /// A server for devices under `settings`.
    pub(crate) fn server(&self, settings: &TrustSettings) -> Server {
        let seen = Arc::new(Seen::default());
        let trust = Trust::load(settings, &HighWater::default(), now()).unwrap();
        let verifier = Arc::new(DeviceVerifier::new(trust, Some(seen.clone())));
        let config =
            server_config(&self.gateway(), verifier.clone(), TlsVersions::Tls12And13, &[b"h2"], None, None);
        Server { config: config.unwrap(), verifier, seen }
    }
}

/// A device port without sockets.
pub(crate) struct Server {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) verifier: Arc<DeviceVerifier>,
    pub(crate) seen: Arc<Seen>,
}

/// What the verifier reported as refused.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<Refused>>);

impl Seen {
    pub(crate) fn take(&self) -> Vec<Refused> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl RefusalObserver for Seen {
    fn refused(&self, refused: &Refused) {
        self.0.lock().unwrap().push(refused.clone());
    }
}

/// What a peer presents.
#[derive(Clone, Debug)]
pub(crate) struct Presents {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Arc<PrivateKeyDer<'static>>,
}

impl From<Issued> for Presents {
    fn from(issued: Issued) -> Self {
        Self { key: Arc::new(issued.key().unwrap_or_else(new_key)), chain: issued.chain() }
    }
}

pub(crate) fn new_key() -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap()
}

pub(crate) fn now() -> i64 {
    crate::clock::now()
}

pub(crate) fn id(name: &str) -> DeviceId {
    name.parse().unwrap()
}

pub(crate) fn pem(origin: &str, text: &str) -> Document {
    Document::new(origin, text.as_bytes())
}

/// The private key of an authority, for documents that it would never sign.
pub(crate) fn key_of(authority: &Authority) -> KeyPair {
    KeyPair::from_pem(&std::fs::read_to_string(authority.dir().join("ca.key")).unwrap()).unwrap()
}

/// The DER name of an authority.
pub(crate) fn name_of(authority: &Authority) -> Vec<u8> {
    let der = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    parsed.subject().as_raw().to_vec()
}

/// One DER element.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = der::sequence(&parts.concat());
    out[0] = tag;
    out
}

pub(crate) const ECDSA_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
pub(crate) const ECDSA_SHA1: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];

/// Signs a body as certificates and CRLs are signed.
pub(crate) fn signed_by(key: &KeyPair, algorithm: &[u8], body: &[u8]) -> Vec<u8> {
    let signature = key.sign(body).unwrap();
    tlv(0x30, &[body, &tlv(0x30, &[algorithm]), &tlv(0x03, &[&[0], &signature])])
}

/// A CRL made by hand. `extensions` and `revoked` are DER, ready to be placed.
pub(crate) fn crl(
    authority: &Authority,
    this: i64,
    next: i64,
    revoked: &[u8],
    extensions: &[u8],
) -> Document {
    let revoked = if revoked.is_empty() { Vec::new() } else { tlv(0x30, &[revoked]) };
    let body = tlv(
        0x30,
        &[
            &[0x02, 1, 1],
            &tlv(0x30, &[ECDSA_SHA256]),
            &name_of(authority),
            &time(this),
            &time(next),
            &revoked,
            &tlv(0xa0, &[&tlv(0x30, &[extensions])]),
        ],
    );
    Document::new("odd.crl", signed_by(&key_of(authority), ECDSA_SHA256, &body))
}

/// An extension of `2.5.29`.
pub(crate) fn extension(arc: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    tlv(0x30, &[&[0x06, 0x03, 0x55, 0x1d, arc], critical, &tlv(0x04, &[value])])
}

/// A CRL number extension.
pub(crate) fn number(number: u8) -> Vec<u8> {
    extension(20, false, &[0x02, 1, number])
}

/// One entry of a CRL.
pub(crate) fn entry(serial: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(0x02, &[serial]), &time(now() - 10)])
}

/// `GeneralizedTime`.
pub(crate) fn time(unix: i64) -> Vec<u8> {
    let at = crate::clock::calendar(unix);
    let (month, day) = (u8::from(at.month()), at.day());
    let text =
        format!("{:04}{month:02}{day:02}{:02}{:02}{:02}Z", at.year(), at.hour(), at.minute(), at.second());
    tlv(0x18, &[text.as_bytes()])
}

/// A client profile with only `clientAuth` and no names.
pub(crate) fn nameless() -> Profile {
    Profile { usages: vec![Usage::ClientAuth], ..Profile::blank(DAY) }
}

/// What became of a handshake.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What the server says.
    pub(crate) server: Result<Vec<CertificateDer<'static>>, Error>,
    /// What the client says, after everything the server sent.
    pub(crate) client: Result<(), Error>,
    pub(crate) kind: Option<HandshakeKind>,
    pub(crate) tickets: u32,
}

/// A client configuration that presents `presents`, or nothing, and keeps sessions as clients do.
pub(crate) fn client(
    presents: Option<Presents>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer));
    let mut config = match presents {
        None => builder.with_no_client_auth(),
        Some(presents) => {
            let key = provider.key_provider.load_private_key(presents.key.clone_key()).unwrap();
            let key = CertifiedKey::new(presents.chain, key);
            builder.with_client_cert_resolver(Arc::new(Fixed(Arc::new(key))))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Runs one handshake until neither side has anything to say.
pub(crate) fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Outcome {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let (mut server_says, mut client_says) = (Ok(()), Ok(()));
    loop {
        let to_server = drain(|out| client.write_tls(out));
        let to_client = drain(|out| server.write_tls(out));
        if to_server.is_empty() && to_client.is_empty() {
            break;
        }
        if server_says.is_ok() {
            server_says = feed(&to_server, |input| {
                server.read_tls(input).unwrap();
                server.process_new_packets().map(|_| ())
            });
        }
        if client_says.is_ok() {
            client_says = feed(&to_client, |input| {
                client.read_tls(input).unwrap();
                client.process_new_packets().map(|_| ())
            });
        }
    }
    let peer =
        server.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned()).collect();
    Outcome {
        server: server_says.map(|()| peer),
        client: client_says,
        kind: server.handshake_kind(),
        tickets: client.tls13_tickets_received(),
    }
}

fn drain(mut write: impl FnMut(&mut Vec<u8>) -> std::io::Result<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    while write(&mut out).unwrap() > 0 {}
    out
}

fn feed(mut bytes: &[u8], mut read: impl FnMut(&mut &[u8]) -> Result<(), Error>) -> Result<(), Error> {
    while !bytes.is_empty() {
        read(&mut bytes)?;
    }
    Ok(())
}

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesClientCert for Fixed {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// These tests are about the device's certificate, not the gateway's.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
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
        crate::signed::algorithms().supported_schemes()
    }
}
