//! What the log holds, as far as this gateway is concerned: the manifests it has live, and what its key ring does not admit.
//!
//! A manifest of the log counts as one holder of that payload, however often it is brought. What is refused for its
//! signatures, or because its time has not come, is parked on disk and looked at again: when the key ring changes, at the
//! next start, or every second. Everything goes through the intake.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use certs::{CRL_MAX_ENTRIES, CrlSummary, Document, TrustFault};
use config::ManifestId;
use sha2::{Digest as _, Sha256};

use super::proof::{Checked, Opened};
use crate::envelope::Envelope;
use crate::log::Entry;
use crate::signed::SignedManifest;
use crate::source::dir::CrlSink;
use crate::source::intake::{Held, Intake, Kind, Refused};
use crate::source::memory::FileWork;
use crate::target::to_hex;

pub(super) struct Holdings {
    /// The manifests that the log holds and this gateway has admitted, by the digest of the payload.
    held: HashMap<[u8; 32], ManifestId>,
    /// What the log holds and this gateway has not admitted.
    parked: HashMap<[u8; 32], Parked>,
    /// The CRLs of the log, by issuer.
    crls: HashMap<String, Arc<Document>>,
    crls_changed: bool,
    sink: CrlSink,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parked {
    kind: Kind,
    /// Whether only its time has to come.
    passes: bool,
    /// The manifest it would be.
    id: Option<ManifestId>,
}

impl Holdings {
    /// Nothing but the CRLs that were kept, which are handed on.
    pub(super) fn new(sink: CrlSink, crls: Vec<Document>) -> Self {
        let name = |crl: &Document| crl.origin.trim_start_matches("kept:").to_owned();
        let crls: HashMap<_, _> = crls.into_iter().map(|crl| (name(&crl), Arc::new(crl))).collect();
        let crls_changed = !crls.is_empty();
        Self { held: HashMap::new(), parked: HashMap::new(), crls, crls_changed, sink }
    }

    /// Puts what an entry decides in force with the next publication. `origin` is how events call it.
    pub(super) fn take(&mut self, intake: &mut Intake, origin: &str, entry: &Entry, checked: Checked) {
        match (entry, checked) {
            (Entry::Manifest(envelope), Checked::Manifest(manifest)) => {
                self.take_manifest(intake, origin, envelope, *manifest);
            }
            (Entry::Revocation(envelope) | Entry::Lift(envelope), Checked::Statement(Ok(statement))) => {
                self.unpark(intake, &payload_digest(envelope));
                intake.apply_verified(statement);
            }
            (Entry::Revocation(envelope) | Entry::Lift(envelope), _) => {
                if intake.offer_statement(origin, envelope).is_err() {
                    self.park(intake, Kind::Revocation, envelope, None, false);
                }
            }
            (Entry::Withdrawal { id, digest }, _) => self.withdraw(intake, id, digest),
            (Entry::Crl(der), _) => self.take_crl(intake, der),
            (Entry::Manifest(envelope), _) => {
                let refused = Refused::Unreadable("it was not looked at".into());
                self.take_manifest(intake, origin, envelope, Err(refused));
            }
        }
    }

    fn take_manifest(
        &mut self,
        intake: &mut Intake,
        origin: &str,
        envelope: &Bytes,
        manifest: Result<SignedManifest, Refused>,
    ) {
        let id = manifest.as_ref().ok().map(|signed| signed.manifest.id.clone());
        let admitted = manifest.and_then(|signed| Ok(intake.admit_verified(signed, envelope.clone())?));
        match admitted {
            Ok(admitted) => {
                self.unpark(intake, &admitted.held.digest);
                for digest in &admitted.displaced {
                    self.release(intake, digest);
                }
                let Held { id, digest } = admitted.held.clone();
                if self.held.insert(digest, id).is_some() {
                    // The log is one holder, however often it says so.
                    intake.release(&admitted.held);
                }
            }
            Err(refused) => {
                let waited = self.parked.get(&payload_digest(envelope)).is_some_and(|parked| parked.passes);
                if !(waited && refused.passes()) {
                    intake.refuse_manifest(origin, &refused);
                }
                let lost = matches!(&refused, Refused::NotAdmitted(_)) && !refused.passes();
                if lost {
                    self.unpark(intake, &payload_digest(envelope));
                } else {
                    self.park(intake, Kind::Manifest, envelope, id, refused.passes());
                }
            }
        }
    }

    fn withdraw(&mut self, intake: &mut Intake, id: &ManifestId, digest: &[u8; 32]) {
        if self.held.get(digest) == Some(id) {
            self.release(intake, digest);
        }
        if self.parked.get(digest).is_some_and(|parked| parked.id.as_ref().is_none_or(|parked| parked == id))
        {
            self.unpark(intake, digest);
        }
    }

    fn release(&mut self, intake: &mut Intake, digest: &[u8; 32]) {
        if let Some(id) = self.held.remove(digest) {
            intake.release(&Held { id, digest: *digest });
        }
    }

    /// Withdraws every manifest that is not one of these.
    pub(super) fn retain(&mut self, intake: &mut Intake, named: &HashSet<[u8; 32]>) {
        let gone: Vec<_> = self.held.keys().filter(|digest| !named.contains(*digest)).copied().collect();
        gone.iter().for_each(|digest| self.release(intake, digest));
        let manifests = self.parked.iter().filter(|(_, parked)| parked.kind == Kind::Manifest);
        let gone: Vec<_> =
            manifests.map(|(digest, _)| *digest).filter(|digest| !named.contains(digest)).collect();
        gone.iter().for_each(|digest| self.unpark(intake, digest));
    }

    /// Everything whose proof depends on the key ring: what is held, and what is parked.
    pub(super) fn depending_on_keys(&self) -> Vec<[u8; 32]> {
        self.held.keys().chain(self.parked.keys()).copied().collect()
    }

    /// What was parked because its time had not come.
    pub(super) fn waiting(&self) -> Vec<[u8; 32]> {
        self.parked.iter().filter(|(_, parked)| parked.passes).map(|(digest, _)| *digest).collect()
    }

    /// Looks again at something held or parked, under what its envelope now proves. Without an envelope it is given up.
    pub(super) fn reconsider(&mut self, intake: &mut Intake, digest: &[u8; 32], envelope: Option<Opened>) {
        match envelope {
            Some((Entry::Manifest(bytes), Checked::Manifest(manifest))) => {
                let stands = manifest.is_ok();
                self.take_manifest(intake, "kept", &bytes, *manifest);
                if !stands {
                    self.release(intake, digest);
                }
            }
            Some((entry, checked)) => self.take(intake, "kept", &entry, checked),
            None => {
                self.release(intake, digest);
                self.unpark(intake, digest);
            }
        }
    }

    /// Holds again what was kept of the last good policy, if it still proves what it proved.
    pub(super) fn restore(&mut self, intake: &mut Intake, digest: &[u8; 32], envelope: Option<Opened>) {
        if let Some((entry @ Entry::Manifest(_), checked)) = envelope {
            self.take(intake, "kept", &entry, checked);
        }
        if !self.held.contains_key(digest) {
            intake.file(FileWork::Drop { digest: *digest });
        }
    }

    /// Everything that is parked.
    pub(super) fn all_parked(&self) -> Vec<[u8; 32]> {
        self.parked.keys().copied().collect()
    }

    /// Notes something that was parked before a restart.
    pub(super) fn was_parked(&mut self, digest: [u8; 32]) {
        self.parked.insert(digest, Parked { kind: Kind::Manifest, passes: false, id: None });
    }

    fn park(
        &mut self,
        intake: &mut Intake,
        kind: Kind,
        envelope: &Bytes,
        id: Option<ManifestId>,
        passes: bool,
    ) {
        let digest = payload_digest(envelope);
        let parked = Parked { kind, passes, id };
        if self.parked.insert(digest, parked).is_none() {
            intake.file(FileWork::Park { digest, envelope: envelope.clone() });
        }
    }

    fn unpark(&mut self, intake: &mut Intake, digest: &[u8; 32]) {
        if self.parked.remove(digest).is_some() {
            intake.file(FileWork::Unpark { digest: *digest });
        }
    }

    /// How many envelopes of this kind are parked.
    pub(super) fn parked(&self, kind: Kind) -> usize {
        self.parked.values().filter(|parked| parked.kind == kind).count()
    }

    fn take_crl(&mut self, intake: &mut Intake, der: &Bytes) {
        let summary = match summary(der) {
            Ok(summary) => summary,
            Err(fault) => {
                return intake.unreadable(Kind::Crl, "log", &std::io::Error::other(fault.to_string()));
            }
        };
        let name = format!("{}.crl", to_hex(&Sha256::digest(&summary.issuer)));
        let known = self.crls.get(&name).and_then(|crl| self::summary(&crl.bytes).ok());
        if known.is_some_and(|known| known.number > summary.number) {
            return;
        }
        let document = Document::new(format!("log:{name}"), der.to_vec());
        self.crls.insert(name.clone(), Arc::new(document));
        self.crls_changed = true;
        intake.file(FileWork::KeepCrl { name, document: der.clone() });
    }

    /// Hands the CRLs on when one of them has changed.
    pub(super) fn hand_on_crls(&mut self) {
        if std::mem::take(&mut self.crls_changed) {
            (self.sink)(self.crls.values().map(|crl| Document::clone(crl)).collect());
        }
    }
}

/// What a CRL says of itself. Whether its time has come is for the trust to say, which is asked again and again.
fn summary(der: &[u8]) -> Result<CrlSummary, TrustFault> {
    CrlSummary::read("the crl", der, CRL_MAX_ENTRIES, i64::MAX)
}

/// The digest of the payload; that of everything when it is no envelope.
pub(super) fn payload_digest(envelope: &[u8]) -> [u8; 32] {
    match Envelope::read(envelope) {
        Ok(read) => Sha256::digest(read.unverified_payload()).into(),
        Err(_) => Sha256::digest(envelope).into(),
    }
}
