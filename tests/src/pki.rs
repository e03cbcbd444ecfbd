//! The lab's certificates: one throw-away authority, and what devices and the gateway get from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use certs::authority::{Authority, Issued, Profile, Revocable};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Credentials {
    /// What is presented, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// SHA-256 of the leaf.
    pub fingerprint: [u8; 32],
    /// The chain and the key as PEM, for programs that read files.
    pub pem: (String, String),
}

impl Credentials {
    /// The issuer's name, DER.
    ///
    /// # Panics
    /// Never: a certificate that was issued here can be read.
    #[must_use]
    pub fn issuer(&self) -> Vec<u8> {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let (_, certificate) = X509Certificate::from_der(&self.chain[0]).expect("a certificate");
        certificate.issuer().as_raw().to_vec()
    }
}

impl From<Issued> for Credentials {
    fn from(issued: Issued) -> Self {
        let key_pem = issued.key_pem().expect("the key was made here").to_owned();
        Self {
            chain: issued.chain(),
            key: issued.key().expect("the key was made here"),
            serial: issued.serial().to_vec(),
            fingerprint: issued.fingerprint(),
            pem: (issued.chain_pem(), key_pem),
        }
    }
}

/// The authority of a lab.
#[derive(Debug)]
pub struct Pki {
    /// The authority itself, for certificates that are out of the ordinary.
    pub authority: Authority,
    dir: PathBuf,
}

/// Long enough for every test.
pub const DAY: Duration = Duration::from_secs(86_400);

impl Pki {
    /// Makes an authority, the gateway's certificate and a first CRL in `dir`.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn found(dir: &Path) -> Self {
        let authority = Authority::init(&dir.join("ca"), "example.org", 30 * DAY).expect("an authority");
        let ips = ["127.0.0.1".parse().expect("an address"), "::1".parse().expect("an address")];
        let gateway = authority.issue_gateway("gw-lab", &["localhost"], &ips, DAY).expect("a certificate");
        gateway.write(&dir.join("gateway.pem"), &dir.join("gateway.key")).expect("the files are written");
        let pki = Self { authority, dir: dir.to_owned() };
        pki.publish_crl();
        pki
    }

    /// An ordinary device certificate.
    ///
    /// # Panics
    /// When it cannot be issued.
    #[must_use]
    pub fn device(&self, device: &str) -> Credentials {
        self.device_for(device, None, DAY)
    }

    /// A device certificate, perhaps bound to an agent, that ends after `validity`.
    ///
    /// # Panics
    /// When it cannot be issued.
    #[must_use]
    pub fn device_for(&self, device: &str, agent: Option<&str>, validity: Duration) -> Credentials {
        let device = device.parse().expect("a device id");
        let agent = agent.map(|agent| agent.parse().expect("an agent"));
        self.authority.issue_device(&device, agent.as_ref(), validity).expect("a certificate").into()
    }

    /// A gateway's certificate.
    ///
    /// # Panics
    /// When it cannot be issued.
    #[must_use]
    pub fn gateway(&self, name: &str) -> Credentials {
        let ip = [127, 0, 0, 1].into();
        self.authority.issue_gateway(name, &["localhost"], &[ip], DAY).expect("a certificate").into()
    }

    /// A TLS client that shows this certificate and trusts this authority alone.
    ///
    /// # Panics
    /// When the credentials do not belong together.
    #[must_use]
    pub fn client(&self, credentials: &Credentials) -> rustls::ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the version is supported")
            .with_root_certificates(self.roots())
            .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
            .expect("the key is the certificate's")
    }

    /// A certificate that says whatever the profile says.
    ///
    /// # Panics
    /// When it cannot be issued.
    #[must_use]
    pub fn odd(&self, profile: &Profile) -> Credentials {
        self.authority.issue(profile).expect("a certificate").into()
    }

    /// The profile of an ordinary device, to be made odd.
    ///
    /// # Panics
    /// When the name is no device id.
    #[must_use]
    pub fn profile(&self, device: &str) -> Profile {
        Profile::device(self.authority.trust_domain(), &device.parse().expect("a device id"), None, DAY)
    }

    /// Revokes a certificate in the authority's own list; it takes effect with the next CRL.
    ///
    /// # Panics
    /// When the list cannot be written.
    pub fn revoke(&self, credentials: &Credentials) {
        self.authority.revoke(Revocable::Serial(&credentials.serial)).expect("the list is written");
    }

    /// A new CRL, PEM.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn crl(&self) -> String {
        self.authority.crl(DAY).expect("a CRL")
    }

    /// Writes a new CRL where the settings name it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn publish_crl(&self) {
        crate::policy::replace(&self.dir.join("device-ca.crl"), self.crl().as_bytes());
    }

    /// What a device checks the gateway's certificate against.
    ///
    /// # Panics
    /// Never: the authority's certificate was made here.
    #[must_use]
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let pem = self.authority.certificate_pem();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("an anchor");
        Arc::new(roots)
    }
}
