//! What a certificate is to say. The ordinary calls fill one in; tests fill in the ones that must be refused.

use std::net::IpAddr;
use std::time::Duration;

use config::{AgentName, DeviceId};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};

use super::BACKDATED;
use super::fault::AuthorityFault;
use super::issued::Issued;
use crate::clock::{calendar, now};
use crate::identity::{self, TrustDomain};

/// An extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// `id-kp-clientAuth`: devices, and gateways towards their control plane.
    ClientAuth,
    /// `id-kp-serverAuth`: gateways and control planes.
    ServerAuth,
    /// `anyExtendedKeyUsage`: nobody here.
    Any,
}

/// Whether the subject may issue in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A device, a gateway or a control plane.
    EndEntity,
    /// An authority.
    Authority {
        /// How many authorities may stand between it and an end entity; `None` is any number.
        path_length: Option<u8>,
        /// Whether its key usage lets it sign CRLs.
        signs_crls: bool,
    },
}

/// Where the subject's key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectKey {
    /// A new ECDSA P-256 key.
    P256,
    /// A new RSA key of 2048 bits.
    Rsa2048,
    /// A new Ed25519 key.
    Ed25519,
    /// Somebody else's public key, as DER `SubjectPublicKeyInfo`.
    Public(Vec<u8>),
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Subject common name.
    pub common_name: Option<String>,
    /// URI SANs.
    pub uris: Vec<String>,
    /// DNS SANs.
    pub dns: Vec<String>,
    /// IP SANs.
    pub ips: Vec<IpAddr>,
    /// Beginning, Unix seconds.
    pub not_before: i64,
    /// End, Unix seconds.
    pub not_after: i64,
    /// Extended key usages; empty leaves the extension out.
    pub usages: Vec<Usage>,
    /// Whether the subject may issue.
    pub standing: Standing,
    /// The subject's key.
    pub key: SubjectKey,
    /// Serial number, big-endian; random when absent.
    pub serial: Option<Vec<u8>>,
    /// The device, for the index.
    pub device: Option<DeviceId>,
    /// The agent, for the index.
    pub agent: Option<AgentName>,
    /// The gateway, for the index.
    pub gateway: Option<String>,
}

impl Profile {
    /// An end entity that says nothing yet, valid from five minutes ago for `validity`.
    #[must_use]
    pub fn blank(validity: Duration) -> Self {
        let now = now();
        Self {
            common_name: None,
            uris: Vec::new(),
            dns: Vec::new(),
            ips: Vec::new(),
            not_before: now - BACKDATED,
            not_after: now.saturating_add(i64::try_from(validity.as_secs()).unwrap_or(i64::MAX)),
            usages: Vec::new(),
            standing: Standing::EndEntity,
            key: SubjectKey::P256,
            serial: None,
            device: None,
            agent: None,
            gateway: None,
        }
    }

    /// A device, perhaps bound to one agent.
    #[must_use]
    pub fn device(
        domain: &TrustDomain,
        device: &DeviceId,
        agent: Option<&AgentName>,
        validity: Duration,
    ) -> Self {
        Self {
            common_name: Some(device.to_string()),
            uris: vec![identity::device_uri(domain, device, agent)],
            usages: vec![Usage::ClientAuth],
            device: Some(device.clone()),
            agent: agent.cloned(),
            ..Self::blank(validity)
        }
    }

    /// A gateway: a server for devices, and a client of its control plane.
    #[must_use]
    pub fn gateway(
        domain: &TrustDomain,
        name: &str,
        dns: &[&str],
        ips: &[IpAddr],
        validity: Duration,
    ) -> Self {
        Self {
            uris: vec![identity::gateway_uri(domain, name)],
            usages: vec![Usage::ServerAuth, Usage::ClientAuth],
            gateway: Some(name.to_owned()),
            ..Self::server(name, dns, ips, validity)
        }
    }

    /// A control plane: a server for gateways, agents and whoever uses its API.
    #[must_use]
    pub fn control(
        domain: &TrustDomain,
        name: &str,
        dns: &[&str],
        ips: &[IpAddr],
        validity: Duration,
    ) -> Self {
        Self { uris: vec![identity::control_uri(domain, name)], ..Self::server(name, dns, ips, validity) }
    }

    fn server(name: &str, dns: &[&str], ips: &[IpAddr], validity: Duration) -> Self {
        Self {
            common_name: Some(name.to_owned()),
            dns: dns.iter().map(ToString::to_string).collect(),
            ips: ips.to_vec(),
            usages: vec![Usage::ServerAuth],
            ..Self::blank(validity)
        }
    }

    /// An authority that signs certificates and CRLs.
    #[must_use]
    pub fn authority(common_name: &str, path_length: Option<u8>, validity: Duration) -> Self {
        Self {
            common_name: Some(common_name.to_owned()),
            standing: Standing::Authority { path_length, signs_crls: true },
            ..Self::blank(validity)
        }
    }

    pub(super) fn parameters(&self) -> Result<CertificateParams, AuthorityFault> {
        let mut parameters = CertificateParams::default();
        parameters.not_before = calendar(self.not_before);
        parameters.not_after = calendar(self.not_after);
        parameters.serial_number = self.serial.clone().map(SerialNumber::from);
        parameters.distinguished_name = self.subject();
        parameters.subject_alt_names = self.alternative_names()?;
        (parameters.is_ca, parameters.key_usages) = self.standing();
        parameters.extended_key_usages = self.usages.iter().map(|usage| purpose(*usage)).collect();
        parameters.use_authority_key_identifier_extension = true;
        Ok(parameters)
    }

    pub(super) fn signed_by(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        intermediates_pem: &str,
    ) -> Result<Issued, AuthorityFault> {
        let parameters = self.parameters()?;
        let (certificate, key_pem) = match &self.key {
            SubjectKey::Public(spki) => {
                let public = SubjectPublicKeyInfo::from_der(spki).map_err(AuthorityFault::Issuing)?;
                (parameters.signed_by(&public, issuer), None)
            }
            SubjectKey::P256 => generated(&parameters, issuer, &rcgen::PKCS_ECDSA_P256_SHA256)?,
            SubjectKey::Rsa2048 => generated(&parameters, issuer, &rcgen::PKCS_RSA_SHA256)?,
            SubjectKey::Ed25519 => generated(&parameters, issuer, &rcgen::PKCS_ED25519)?,
        };
        let certificate = certificate.map_err(AuthorityFault::Issuing)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            intermediates_pem: intermediates_pem.to_owned(),
            key_pem,
            serial: self.serial.clone().unwrap_or_default(),
        })
    }

    fn subject(&self) -> DistinguishedName {
        let mut subject = DistinguishedName::new();
        if let Some(common_name) = &self.common_name {
            subject.push(DnType::CommonName, common_name.as_str());
        }
        subject
    }

    fn alternative_names(&self) -> Result<Vec<SanType>, AuthorityFault> {
        let text = |value: &String| Ia5String::try_from(value.as_str()).map_err(AuthorityFault::Issuing);
        let uris = self.uris.iter().map(|uri| text(uri).map(SanType::URI));
        let dns = self.dns.iter().map(|name| text(name).map(SanType::DnsName));
        let ips = self.ips.iter().map(|ip| Ok(SanType::IpAddress(*ip)));
        uris.chain(dns).chain(ips).collect()
    }

    fn standing(&self) -> (IsCa, Vec<KeyUsagePurpose>) {
        match self.standing {
            Standing::EndEntity => (IsCa::ExplicitNoCa, vec![KeyUsagePurpose::DigitalSignature]),
            Standing::Authority { path_length, signs_crls } => {
                let length =
                    path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained);
                let crls = signs_crls.then_some(KeyUsagePurpose::CrlSign);
                (IsCa::Ca(length), std::iter::once(KeyUsagePurpose::KeyCertSign).chain(crls).collect())
            }
        }
    }
}

type Generated = (Result<rcgen::Certificate, rcgen::Error>, Option<String>);

fn generated(
    parameters: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> Result<Generated, AuthorityFault> {
    let key = KeyPair::generate_for(algorithm).map_err(AuthorityFault::Issuing)?;
    Ok((parameters.signed_by(&key, issuer), Some(key.serialize_pem())))
}

fn purpose(usage: Usage) -> ExtendedKeyUsagePurpose {
    match usage {
        Usage::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
        Usage::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
        Usage::Any => ExtendedKeyUsagePurpose::Any,
    }
}
