//! One verification: from what a device presented to the path that proves it, or to a refusal.
//!
//! Relies on webpki for path building, signatures, validity and name constraints. Around it stand the checks that webpki
//! leaves to its caller: bounds, extended key usage demanded rather than tolerated, key usage, key strength, the
//! anchor's own validity, and revocation of every certificate of the path. Presented certificates that no known authority
//! signed are dropped before path building, so that nobody can present a maze; and only the verified path is kept,
//! so that nobody can add to an identity by presenting more.

use std::cell::RefCell;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;

use crate::authorities::{AuthorityKey, is_weak};
use crate::certificate::{CertificateId, Serial, VerifiedDevice, escaped, sha256};
use crate::der;
use crate::identity;
use crate::refusal::Refusal;
use crate::signed::{Signed, algorithms};
use crate::trust::Trust;

/// The most certificates that are looked at.
const MOST_PRESENTED: usize = 10;
/// The most bytes of certificates that are looked at.
const MOST_BYTES: usize = 64 * 1024;
/// The longest verified path, the anchor not counted.
const LONGEST_PATH: usize = 5;
/// The most signatures that are checked to find out which presented certificates are an authority's.
const MOST_SIGNATURES: usize = 24;

/// Verifies `leaf` with what was presented after it, at `now` (Unix seconds).
///
/// # Errors
/// The check that refused it. When several paths were tried, the most telling one.
pub(crate) fn verify(
    trust: &Trust,
    leaf: &CertificateDer<'_>,
    presented: &[CertificateDer<'_>],
    now: i64,
) -> Result<VerifiedDevice, Refusal> {
    within_bounds(leaf, presented)?;
    let end_entity = EndEntityCert::try_from(leaf)?;
    let parsed = parse(leaf)?;
    is_for_clients(&parsed)?;
    let links = path(trust, &end_entity, &issued(trust, presented), now)?;
    let (device, agent) = identity::read(&trust.rule, &parsed)?;
    let chain: Vec<_> = links.certificates.iter().map(|link| link.id.clone()).collect();
    Ok(VerifiedDevice {
        device,
        agent,
        leaf: chain.first().cloned().ok_or(Refusal::Malformed)?,
        chain,
        issuer_keys: links.certificates.iter().map(|link| link.issuer_key).collect(),
        not_after: links.not_after,
        subject: escaped(parsed.subject()),
    })
}

/// The subject of a certificate for logs, verified or not.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> String {
    parse(certificate).map_or_else(|_| "(unreadable certificate)".into(), |parsed| escaped(parsed.subject()))
}

pub(crate) fn within_bounds(
    leaf: &CertificateDer<'_>,
    presented: &[CertificateDer<'_>],
) -> Result<(), Refusal> {
    let bytes =
        presented.iter().fold(leaf.len(), |bytes, certificate| bytes.saturating_add(certificate.len()));
    if presented.len() >= MOST_PRESENTED || bytes > MOST_BYTES { Err(Refusal::ChainTooLong) } else { Ok(()) }
}

pub(crate) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Refusal> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(Refusal::Malformed),
    }
}

/// What must be true of the leaf itself: no authority, strong key, `clientAuth` stated, and signing not excluded.
pub(crate) fn is_for_clients(leaf: &X509Certificate<'_>) -> Result<(), Refusal> {
    let constraints = leaf.basic_constraints().map_err(|_| Refusal::Malformed)?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(Refusal::AuthorityAsDevice);
    }
    if is_weak(leaf) {
        return Err(Refusal::WeakKey);
    }
    let extended = leaf.extended_key_usage().map_err(|_| Refusal::Malformed)?;
    let usage = leaf.key_usage().map_err(|_| Refusal::Malformed)?;
    let for_clients = extended.is_some_and(|extended| extended.value.client_auth);
    let may_sign = usage.is_none_or(|usage| usage.value.digital_signature());
    if for_clients && may_sign { Ok(()) } else { Err(Refusal::WrongUsage) }
}

/// Those of `presented` that a known authority, or one of them in turn, really signed.
///
/// This costs at most [`MOST_SIGNATURES`] signatures and makes everything that path building later sees an authority's work.
fn issued<'a>(trust: &Trust, presented: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
    let mut open: Vec<_> =
        presented.iter().filter_map(|der| Some((der, parse(der).ok()?, Signed::read(der)?))).collect();
    let mut kept: Vec<(CertificateDer<'a>, AuthorityKey)> = Vec::new();
    let mut signatures = 0;
    let mut is_signed =
        |certificate: &X509Certificate<'_>, signed: &Signed<'_>, kept: &[(_, AuthorityKey)]| {
            let issuer = certificate.issuer().as_raw();
            let of_kept = kept.iter().map(|(_, key)| key).filter(|key| *key.subject == *issuer);
            trust.authorities.configured(issuer).chain(of_kept).any(|key| {
                signatures += 1;
                signatures <= MOST_SIGNATURES && signed.is_by(&key.spki)
            })
        };
    loop {
        let before = kept.len();
        open.retain(|(der, certificate, signed)| {
            let key = AuthorityKey::of(certificate).filter(|_| is_signed(certificate, signed, &kept));
            let keep = key.is_none();
            let der: &'a [u8] = (*der).as_ref();
            kept.extend(key.map(|key| (CertificateDer::from(der), key)));
            keep
        });
        if kept.len() == before {
            return kept.into_iter().map(|(der, _)| der).collect();
        }
    }
}

/// A verified path.
struct Links {
    /// Leaf first.
    certificates: Vec<Link>,
    /// The earliest end, anchor included.
    not_after: i64,
}

struct Link {
    id: CertificateId,
    issuer_key: [u8; 32],
}

fn path(
    trust: &Trust,
    leaf: &EndEntityCert<'_>,
    issued: &[CertificateDer<'_>],
    now: i64,
) -> Result<Links, Refusal> {
    let configured = trust.authorities.intermediates.iter().map(|der| CertificateDer::from(der.as_ref()));
    let intermediates: Vec<_> =
        issued.iter().map(|der| CertificateDer::from(der.as_ref())).chain(configured).collect();
    let examined = RefCell::new(Err(Refusal::UnknownIssuer));
    let refused = RefCell::new(None);
    let examine = |path: &VerifiedPath<'_>| match links(trust, path, now) {
        Ok(links) => {
            *examined.borrow_mut() = Ok(links);
            Ok(())
        }
        Err(refusal) => {
            refused.borrow_mut().get_or_insert(refusal);
            Err(webpki::Error::CertRevoked) // only says "try another path"; `refused` has the reason
        }
    };
    let seconds = u64::try_from(now).map_err(|_| Refusal::NotYetValid)?;
    let outcome = leaf.verify_for_usage(
        algorithms().all,
        &trust.authorities.roots,
        &intermediates,
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
        KeyUsage::client_auth(),
        None, // revocation is checked in `links`, where a CRL is verified once and not at each handshake
        Some(&examine),
    );
    match outcome {
        Ok(_) => examined.into_inner(),
        Err(error) => Err(refused.into_inner().unwrap_or_else(|| Refusal::from(error))),
    }
}

/// Examines a path that webpki has verified up to an anchor.
fn links(trust: &Trust, path: &VerifiedPath<'_>, now: i64) -> Result<Links, Refusal> {
    let intermediates: Vec<_> = path.intermediate_certificates().map(webpki::Cert::der).collect();
    if intermediates.len() >= LONGEST_PATH {
        return Err(Refusal::ChainTooLong);
    }
    let parsed = intermediates.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let keys = parsed.iter().map(|authority| AuthorityKey::of(authority).ok_or(Refusal::WrongUsage));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    keys.iter().for_each(|key| trust.authorities.meet(key));
    let anchor_name = der::sequence(&path.anchor().subject);
    let anchor_key = sha256(&webpki::spki_for_anchor(path.anchor()));
    let anchor = trust.anchor(&anchor_name, &anchor_key, now)?;
    let leaf = path.end_entity().der();
    let leaf = parse(&leaf)?;
    let mut not_after = anchor.not_after;
    let mut certificates = Vec::with_capacity(keys.len() + 1);
    let issuers =
        keys.iter().map(|key| (&*key.subject, key.key)).chain([(anchor_name.as_slice(), anchor_key)]);
    for (depth, (certificate, (issuer, issuer_key))) in
        std::iter::once(&leaf).chain(&parsed).zip(issuers).enumerate()
    {
        trust.is_clear(issuer, &issuer_key, certificate.raw_serial(), depth, now)?;
        not_after = not_after.min(certificate.validity().not_after.timestamp());
        certificates.push(Link { id: id(certificate, issuer)?, issuer_key });
    }
    Ok(Links { certificates, not_after })
}

fn id(certificate: &X509Certificate<'_>, issuer: &[u8]) -> Result<CertificateId, Refusal> {
    let serial = Serial::read(certificate.raw_serial()).ok_or(Refusal::Malformed)?;
    Ok(CertificateId {
        fingerprint: sha256(certificate.as_raw()),
        issuer: issuer.into(),
        serial: Arc::from(serial.as_bytes()),
    })
}
