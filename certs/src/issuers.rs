//! Who has signed a CRL that somebody submits, before anybody relies on it?
//!
//! Relies on the files of authorities being the operator's. An authority that is known here must have signed what carries
//! its name; whether a list of an unknown one is taken is for the settings to say. It keeps no CRL and no number: which list
//! is the latest is decided by whoever keeps them.

use std::fmt;

use crate::authorities::{Authorities, AuthorityKey};
use crate::certificate::name_text;
use crate::crl::{Crl, CrlSummary};
use crate::document::Document;
use crate::trust::{TrustFault, TrustFaults};

/// What becomes of the CRL of an authority that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// It is taken: somebody else will check its signature.
    Taken,
    /// It is refused.
    Refused,
}

/// The authorities whose CRLs are taken.
pub struct CrlIssuers {
    known: Vec<AuthorityKey>,
    strangers: Strangers,
}

impl CrlIssuers {
    /// Nobody in particular: every CRL is taken at its word.
    #[must_use]
    pub const fn anybody() -> Self {
        Self { known: Vec::new(), strangers: Strangers::Taken }
    }

    /// The authorities in these documents, anchors and intermediates alike.
    ///
    /// # Errors
    /// Everything that is wrong with the documents.
    pub fn read(authorities: &[Document], strangers: Strangers) -> Result<Self, TrustFaults> {
        if authorities.is_empty() {
            return Ok(Self { known: Vec::new(), strangers });
        }
        let known = Authorities::read(authorities).map_err(TrustFaults)?.into_keys();
        Ok(Self { known, strangers })
    }

    /// Reads one DER CRL of at most `most_entries`, if its issuer signed it. `now` is in Unix seconds.
    ///
    /// # Errors
    /// As [`CrlSummary::read`], and [`TrustFault::CrlNotSigned`] and [`TrustFault::CrlOfStranger`].
    pub fn check(
        &self,
        origin: &str,
        document: &[u8],
        most_entries: usize,
        now: i64,
    ) -> Result<CrlSummary, TrustFault> {
        let crl = Crl::parse(origin, document, most_entries, now)?;
        let (origin, issuer) = (crl.origin.clone(), name_text(&crl.issuer));
        let named = self.known.iter().filter(|key| *key.subject == *crl.issuer);
        let proofs: Vec<bool> = named.map(|key| crl.is_proved_by(key)).collect();
        match (proofs.as_slice(), self.strangers) {
            ([], Strangers::Refused) => Err(TrustFault::CrlOfStranger { origin, issuer }),
            ([], Strangers::Taken) => Ok(CrlSummary::of(crl)),
            (proofs, _) if proofs.contains(&true) => Ok(CrlSummary::of(crl)),
            _ => Err(TrustFault::CrlNotSigned { origin, issuer }),
        }
    }
}

impl fmt::Debug for CrlIssuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrlIssuers")
            .field("known", &self.known.len())
            .field("strangers", &self.strangers)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use config::DeviceId;
    use rustls_pki_types::CertificateRevocationListDer;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;
    use crate::authority::{Authority, Revocable};
    use crate::certificate::CertificateId;

    const DAY: Duration = Duration::from_secs(86_400);
    const MOST: usize = 1000;

    fn authority(dir: &std::path::Path, name: &str) -> Authority {
        Authority::init(&dir.join(name), "example.org", DAY).unwrap()
    }

    fn der(authority: &Authority) -> Vec<u8> {
        let pem = authority.crl(DAY).unwrap();
        CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }

    fn now() -> i64 {
        crate::clock::now()
    }

    #[test]
    fn a_list_counts_if_the_authority_whose_name_it_carries_signed_it() {
        let dir = tempfile::tempdir().unwrap();
        let ours = authority(dir.path(), "ours");
        let device: DeviceId = "device-1".parse().unwrap();
        let issued = ours.issue_device(&device, None, DAY).unwrap();
        ours.revoke(Revocable::Device(&device)).unwrap();
        let known = [Document::new("ca.pem", ours.certificate_pem().as_bytes().to_vec())];
        let issuers = CrlIssuers::read(&known, Strangers::Refused).unwrap();
        let genuine = der(&ours);
        let summary = issuers.check("the crl", &genuine, MOST, now()).unwrap();
        let leaf = rustls_pki_types::CertificateDer::from_pem_slice(issued.certificate_pem().as_bytes());
        let leaf = CertificateId::of(&leaf.unwrap()).unwrap();
        assert!(summary.lists(&leaf));
        assert!(!summary.lists(&CertificateId { serial: [9_u8; 8].as_slice().into(), ..leaf.clone() }));
        assert!(!summary.lists(&CertificateId { issuer: b"another".as_slice().into(), ..leaf }));

        let mut bent = genuine;
        *bent.last_mut().unwrap() ^= 1;
        assert!(matches!(issuers.check("", &bent, MOST, now()), Err(TrustFault::CrlNotSigned { .. })));
        assert!(CrlIssuers::anybody().check("", &bent, MOST, now()).is_ok());
    }

    #[test]
    fn whether_a_list_of_an_unknown_authority_is_taken_is_a_setting() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (authority(dir.path(), "ours"), dir.path().join("other"));
        let other = Authority::init(&other, "other.example", DAY).unwrap();
        let known = [Document::new("ca.pem", ours.certificate_pem().as_bytes().to_vec())];
        for (strangers, taken) in [(Strangers::Taken, true), (Strangers::Refused, false)] {
            let issuers = CrlIssuers::read(&known, strangers).unwrap();
            let checked = issuers.check("", &der(&other), MOST, now());
            assert_eq!(checked.is_ok(), taken, "{checked:?}");
        }
    }
}
