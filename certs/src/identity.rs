//! Who a verified certificate says it is: one rule, read from exactly one name.
//!
//! Relies on the chain having been verified; names of an unverified certificate mean nothing. It never normalises:
//! a name in another case, with blanks, escapes or control characters is refused, not repaired, because whoever
//! compares it later might repair it differently.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use config::{AgentName, DeviceId, GatewayName};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::refusal::Refusal;

/// Which name of a certificate identifies the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityRule {
    /// The URI SAN `spiffe://<trust domain>/device/<device>[/agent/<agent>]`. URI SANs elsewhere are tolerated.
    Spiffe(TrustDomain),
    /// The only DNS SAN: lower case, no wildcard.
    Dns,
    /// The only common name of the subject.
    CommonName,
}

/// The authority part of our SPIFFE URIs: lower-case letters, digits, `.`, `-` and `_`; 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustDomain(Arc<str>);

/// Why text is not a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a trust domain: 1 to 255 lower-case letters, digits, dots, hyphens and underscores")]
pub struct MalformedTrustDomain(String);

impl FromStr for TrustDomain {
    type Err = MalformedTrustDomain;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        let edge =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let edges = edge(text.bytes().next()) && edge(text.bytes().last());
        if edges && text.len() <= 255 && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(MalformedTrustDomain(text.chars().take(64).collect()))
        }
    }
}

impl TrustDomain {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The device, and the agent it is bound to if any.
pub(crate) type Identity = (DeviceId, Option<AgentName>);

/// The URI that names a device, and perhaps one agent on it.
pub(crate) fn device_uri(domain: &TrustDomain, device: &DeviceId, agent: Option<&AgentName>) -> String {
    let agent = agent.map(|agent| format!("/agent/{agent}")).unwrap_or_default();
    format!("spiffe://{domain}/device/{device}{agent}")
}

/// The URI that names a gateway.
pub(crate) fn gateway_uri(domain: &TrustDomain, name: &str) -> String {
    format!("spiffe://{domain}/gateway/{name}")
}

/// The URI that names a control plane.
pub(crate) fn control_uri(domain: &TrustDomain, name: &str) -> String {
    format!("spiffe://{domain}/control/{name}")
}

/// The gateway that a verified certificate names: in exactly one URI SAN, `spiffe://<trust domain>/gateway/<name>`.
///
/// # Errors
/// As [`read`]; also when it names a device besides.
pub(crate) fn gateway(
    domain: &TrustDomain,
    certificate: &X509Certificate<'_>,
) -> Result<GatewayName, Refusal> {
    let names = alternative_names(certificate)?;
    let uris = || names.iter().filter_map(Name::uri);
    if let Some(device) = uris().find_map(|uri| path_below(domain, "device", uri)) {
        return Err(device.err().unwrap_or(Refusal::WrongUsage));
    }
    identifier(exactly_one(uris().filter_map(|uri| path_below(domain, "gateway", uri)))??)
}

/// Reads the identity by `rule`.
///
/// # Errors
/// [`Refusal::IdentityMissing`], [`Refusal::IdentityAmbiguous`] or [`Refusal::IdentityMalformed`]; and
/// [`Refusal::WrongUsage`] when the certificate names a gateway or a control plane, whichever name the rule is about.
pub(crate) fn read(rule: &IdentityRule, certificate: &X509Certificate<'_>) -> Result<Identity, Refusal> {
    if alternative_names(certificate)?.iter().filter_map(Name::uri).any(is_ours_but_no_device) {
        return Err(Refusal::WrongUsage);
    }
    match rule {
        IdentityRule::Spiffe(domain) => from_uris(domain, &alternative_names(certificate)?),
        IdentityRule::Dns => from_dns(&alternative_names(certificate)?),
        IdentityRule::CommonName => from_common_name(certificate),
    }
}

enum Name<'a> {
    Uri(&'a str),
    Dns(&'a str),
}

impl<'a> Name<'a> {
    fn uri(&self) -> Option<&'a str> {
        match self {
            Self::Uri(uri) => Some(uri),
            Self::Dns(_) => None,
        }
    }
}

/// Whether a URI is one that only gateways and control planes have, of any trust domain: their certificates are for clients
/// too, and other rules than [`IdentityRule::Spiffe`] would find a name in them.
fn is_ours_but_no_device(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_at_checked("spiffe://".len()) else { return false };
    let kind = rest.split(['/', '?', '#']).nth(1).unwrap_or_default();
    let ours = ["gateway", "control"].iter().any(|ours| kind.eq_ignore_ascii_case(ours));
    scheme.eq_ignore_ascii_case("spiffe://") && ours
}

/// The URI and DNS SANs. One that is not plain printable ASCII spoils the certificate, whichever the rule.
fn alternative_names<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<Name<'a>>, Refusal> {
    let extension = certificate.subject_alternative_name().map_err(|_| Refusal::IdentityMalformed)?;
    let names = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut found = Vec::new();
    for name in names {
        let (name, text) = match name {
            GeneralName::URI(text) => (Name::Uri(text), text),
            GeneralName::DNSName(text) => (Name::Dns(text), text),
            GeneralName::Invalid(..) => return Err(Refusal::IdentityMalformed),
            _ => continue,
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::IdentityMalformed);
        }
        found.push(name);
    }
    Ok(found)
}

fn from_uris(domain: &TrustDomain, names: &[Name<'_>]) -> Result<Identity, Refusal> {
    let uris = names.iter().filter_map(Name::uri).filter_map(|uri| path_below(domain, "device", uri));
    let device = |path: Result<&str, Refusal>| {
        let mut parts = path?.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(device), None, ..) => Ok((identifier(device)?, None)),
            (Some(device), Some("agent"), Some(agent), None) => {
                Ok((identifier(device)?, Some(identifier(agent)?)))
            }
            _ => Err(Refusal::IdentityMalformed),
        }
    };
    device(exactly_one(uris)?)
}

/// What follows `spiffe://<trust domain>/<kind>/`. `None` when the URI is not about one of ours of that kind; an error when
/// it is, in anything but the exact spelling.
fn path_below<'a>(domain: &TrustDomain, kind: &str, uri: &'a str) -> Option<Result<&'a str, Refusal>> {
    let ours = format!("spiffe://{domain}");
    let (head, path) = uri.split_at_checked(ours.len())?;
    if !head.eq_ignore_ascii_case(&ours) || !path.is_empty() && !path.starts_with(['/', '?', '#']) {
        return None;
    }
    if head != ours || path.contains(['%', '?', '#', '\\']) || path.contains("//") {
        return Some(Err(Refusal::IdentityMalformed));
    }
    let mut segments = path.split('/').skip(1);
    if segments.next()?.eq_ignore_ascii_case(kind) {
        return Some(path.strip_prefix(&format!("/{kind}/")).ok_or(Refusal::IdentityMalformed));
    }
    None
}

fn from_dns(names: &[Name<'_>]) -> Result<Identity, Refusal> {
    let dns = names.iter().filter_map(|name| match name {
        Name::Dns(dns) => Some(*dns),
        Name::Uri(_) => None,
    });
    let name = exactly_one(dns)?;
    let canonical = !name.bytes().any(|byte| byte.is_ascii_uppercase()) && !name.ends_with('.');
    if !canonical || name.split('.').any(str::is_empty) {
        return Err(Refusal::IdentityMalformed);
    }
    Ok((identifier(name)?, None))
}

fn from_common_name(certificate: &X509Certificate<'_>) -> Result<Identity, Refusal> {
    let name = exactly_one(certificate.subject().iter_common_name())?;
    let text = name.as_str().map_err(|_| Refusal::IdentityMalformed)?;
    Ok((identifier(text)?, None))
}

fn identifier<T: FromStr>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::IdentityMalformed)
}

fn exactly_one<T>(mut names: impl Iterator<Item = T>) -> Result<T, Refusal> {
    let first = names.next().ok_or(Refusal::IdentityMissing)?;
    if names.next().is_some() { Err(Refusal::IdentityAmbiguous) } else { Ok(first) }
}

#[cfg(test)]
mod tests;
