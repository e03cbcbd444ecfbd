//! All CRLs of one trust, by issuer: which one speaks for an authority, and what a newer set adds.
//!
//! Relies on [`Crl`] to know who signed it. A CRL of an authority from the files is proved when it is read and refused when it is
//! not genuine; a CRL of an authority that is not known yet waits for its certificate to appear on a verified path, and until
//! then clears nobody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::fault::TrustFault;
use super::high_water::HighWater;
use crate::authorities::{Authorities, AuthorityKey};
use crate::certificate::{Serial, name_text, sha256};
use crate::crl::Crl;
use crate::document::Document;

/// How many CRLs may wait for one unknown issuer.
const MOST_WAITING: usize = 8;

/// Serial numbers that a CRL lists and its predecessor did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewlyRevoked {
    /// The issuer's name: DER `Name`, as in [`crate::CertificateId::issuer`].
    pub issuer: Arc<[u8]>,
    /// The serial numbers, ascending.
    pub serials: Vec<Serial>,
}

/// CRLs by issuer, the latest first.
#[derive(Clone, Default)]
pub(super) struct Crls(HashMap<Arc<[u8]>, Vec<Arc<Crl>>>);

impl Crls {
    /// The latest CRL that `key` of `issuer` signed.
    pub(super) fn of(&self, issuer: &[u8], key: &[u8; 32], authorities: &Authorities) -> Option<&Arc<Crl>> {
        self.0.get(issuer)?.iter().find(|crl| match crl.proof(key) {
            Some(proved) => proved,
            None => {
                authorities.known(issuer).iter().any(|known| known.key == *key && crl.is_proved_by(known))
            }
        })
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Crl>> {
        self.0.values().flatten()
    }

    /// Adds the CRLs of `documents` and drops what they supersede. Returns what was refused; the rest is in force.
    pub(super) fn add(
        &mut self,
        documents: &[Document],
        authorities: &Authorities,
        marks: &HighWater,
        most_entries: usize,
        now: i64,
    ) -> Vec<TrustFault> {
        let mut faults = Vec::new();
        let mut fresh = Vec::new();
        for document in documents {
            match document.crls() {
                Ok(crls) => fresh.extend(crls.into_iter().map(|crl| (document.origin.as_str(), crl))),
                Err(fault) => faults.push(fault),
            }
        }
        let mut proved = Vec::new();
        let mut present = HashSet::new();
        for (origin, der) in fresh {
            present.insert(sha256(&der));
            match Crl::parse(origin, &der, most_entries, now) {
                Ok(crl) if self.holds(&crl) => {}
                Ok(crl) => match prove(crl, authorities) {
                    Ok(crl) if crl.signers().is_empty() => faults.extend(self.keep_waiting(crl).err()),
                    Ok(crl) => proved.push(crl),
                    Err(fault) => faults.push(fault),
                },
                Err(fault) => faults.push(fault),
            }
        }
        faults.extend(self.supersede(proved, &present, marks));
        faults
    }

    /// What this set revokes and `previous` did not, of authorities whose signature is known.
    pub(super) fn beyond(&self, previous: &Self, authorities: &Authorities) -> Vec<NewlyRevoked> {
        let mut all = Vec::new();
        for crl in self.iter() {
            for key in crl.signers() {
                let before = previous.of(&crl.issuer, &key, authorities);
                if before.is_some_and(|before| before.digest == crl.digest) {
                    continue;
                }
                let serials =
                    missing(crl.serials(), before.map(|before| before.serials()).unwrap_or_default());
                if !serials.is_empty() {
                    all.push(NewlyRevoked { issuer: Arc::clone(&crl.issuer), serials });
                }
            }
        }
        all
    }

    fn holds(&self, crl: &Crl) -> bool {
        self.0.get(&crl.issuer).is_some_and(|held| held.iter().any(|held| held.digest == crl.digest))
    }

    fn keep_waiting(&mut self, crl: Crl) -> Result<(), TrustFault> {
        let held = self.0.entry(Arc::clone(&crl.issuer)).or_default();
        if held.len() >= MOST_WAITING {
            return Err(TrustFault::CrlsUnproven { issuer: name_text(&crl.issuer), origin: crl.origin });
        }
        held.push(Arc::new(crl));
        held.sort_by_key(|crl| std::cmp::Reverse(crl.age()));
        Ok(())
    }

    /// For each signer the latest stays. One that is older than what is in force is a rollback, unless it came with its
    /// successor: a directory may keep old files.
    fn supersede(
        &mut self,
        mut proved: Vec<Crl>,
        present: &HashSet<[u8; 32]>,
        marks: &HighWater,
    ) -> Vec<TrustFault> {
        let mut faults = Vec::new();
        proved.sort_by_key(|crl| std::cmp::Reverse(crl.age()));
        for crl in proved {
            let held = self.0.entry(Arc::clone(&crl.issuer)).or_default();
            let signers = crl.signers();
            let by_same = |held: &Crl| signers.iter().any(|key| held.proof(key) == Some(true));
            let mut later = held.iter().filter(|held| by_same(held) && held.age() > crl.age());
            if later.any(|later| present.contains(&later.digest)) {
                continue;
            }
            if let Some(fault) = rollback(&crl, marks) {
                faults.push(fault);
                continue;
            }
            if held.iter().any(|held| by_same(held) && held.age() > crl.age()) {
                continue; // the same number issued earlier
            }
            held.retain(|held| !by_same(held));
            held.insert(0, Arc::new(crl));
            held.sort_by_key(|crl| std::cmp::Reverse(crl.age()));
        }
        faults
    }
}

/// Tries the known keys of its issuer; an issuer that is known from the files must have signed it.
fn prove(mut crl: Crl, authorities: &Authorities) -> Result<Crl, TrustFault> {
    let keys: Vec<AuthorityKey> = authorities.known(&crl.issuer);
    let proved = keys.iter().filter(|key| crl.is_proved_by(key)).count() > 0;
    if proved {
        crl.settle();
    } else if authorities.configured(&crl.issuer).next().is_some() {
        return Err(TrustFault::CrlNotSigned { issuer: name_text(&crl.issuer), origin: crl.origin });
    }
    Ok(crl)
}

fn rollback(crl: &Crl, marks: &HighWater) -> Option<TrustFault> {
    let seen = crl.signers().iter().filter_map(|key| marks.of(&crl.issuer, key)).max()?;
    (crl.number < seen).then(|| TrustFault::CrlRolledBack {
        origin: crl.origin.clone(),
        issuer: name_text(&crl.issuer),
        number: crl.number,
        seen,
    })
}

/// What `all` has and `known` has not; both ascending.
fn missing(all: &[Serial], known: &[Serial]) -> Vec<Serial> {
    let mut known = known.iter().peekable();
    let is_new = |serial: &&Serial| {
        while known.next_if(|other| other < serial).is_some() {}
        known.peek() != Some(serial)
    };
    all.iter().filter(is_new).copied().collect()
}
