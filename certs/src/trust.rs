//! What is believed about certificates: anchors, CRLs, and the rule that names the device. Immutable; a change makes the next one.
//!
//! Relies on the caller for the time, for files, and for keeping the [`HighWater`] across restarts. It never believes in the
//! absence of data: an authority without a CRL that is signed, numbered, complete and fresh clears nobody.

mod crls;
mod fault;
mod high_water;

use std::fmt;
use std::sync::Arc;

use crate::authorities::{Anchor, Authorities};
use crate::certificate::{Serial, VerifiedDevice, name_text};
use crate::document::Document;
use crate::identity::IdentityRule;
use crate::refusal::Refusal;
use crls::Crls;

pub use crls::NewlyRevoked;
pub use fault::{TrustFault, TrustFaults};
pub use high_water::HighWater;

/// The default of [`TrustSettings::crl_max_entries`].
pub const CRL_MAX_ENTRIES: usize = 2_000_000;

/// What a trust is made from.
#[derive(Clone, Debug)]
pub struct TrustSettings {
    /// Authority certificates. One whose issuer is among them is an intermediate, any other an anchor.
    pub authorities: Vec<Document>,
    /// CRLs. There must be one for every authority that issues on a path, or devices on that path are refused.
    pub crls: Vec<Document>,
    /// Which name identifies a device.
    pub rule: IdentityRule,
    /// How many entries one CRL may have.
    pub crl_max_entries: usize,
}

/// What is believed about certificates.
pub struct Trust {
    pub(crate) authorities: Authorities,
    pub(crate) rule: IdentityRule,
    crls: Crls,
    marks: HighWater,
    set_aside: Vec<TrustFault>,
    crl_max_entries: usize,
    epoch: u64,
}

/// What [`Trust::with_crls`] and [`Trust::reload`] make.
#[derive(Debug)]
pub struct Update {
    /// The next trust.
    pub trust: Arc<Trust>,
    /// What it revokes and the previous one did not. Sessions are judged by [`Trust::recheck`]; this is for events.
    pub newly_revoked: Vec<NewlyRevoked>,
    /// CRLs that were refused. Everything else is in force.
    pub refused: Vec<TrustFault>,
}

/// What is known of one CRL, for status pages and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlStatus {
    /// The file or source it came from.
    pub origin: String,
    /// Its issuer, escaped.
    pub issuer: String,
    /// Its number.
    pub number: crate::CrlNumber,
    /// When it was issued, Unix seconds.
    pub this_update: i64,
    /// When the next one is due, Unix seconds: from then on it clears nobody.
    pub next_update: i64,
    /// How many certificates it revokes.
    pub entries: usize,
    /// Whether its signature is known to be its issuer's. If not, it waits for the issuer's certificate.
    pub proved: bool,
}

impl Trust {
    /// The first trust of a process. `marks` is what [`Trust::high_water`] gave before a restart.
    ///
    /// A CRL that is older than the marks is set aside, not a fault: its successor may still come from elsewhere, and until
    /// then nobody of that authority is cleared. See [`Trust::set_aside`]. A stale CRL refuses devices in the same way.
    ///
    /// # Errors
    /// Everything else that is wrong with the files, all at once.
    pub fn load(settings: &TrustSettings, marks: &HighWater, now: i64) -> Result<Self, TrustFaults> {
        Self::build(settings, Authorities::read(&settings.authorities), Crls::default(), marks.clone(), now)
    }

    /// The next trust after the settings were read again. CRLs in force stay, unless the settings bring their successor.
    ///
    /// # Errors
    /// As [`Trust::load`], and [`TrustFault::RuleChanged`]. The previous trust stays what it was.
    pub fn reload(&self, settings: &TrustSettings, now: i64) -> Result<Update, TrustFaults> {
        if settings.rule != self.rule {
            return Err(TrustFault::RuleChanged.into());
        }
        let authorities = Authorities::read(&settings.authorities);
        let authorities = authorities.map(|authorities| authorities.remembering(&self.authorities));
        let trust = Self::build(settings, authorities, self.crls.clone(), self.high_water(), now)?;
        let refused = trust.set_aside.clone();
        Ok(Self { epoch: self.epoch + 1, ..trust }.after(self, refused))
    }

    fn build(
        settings: &TrustSettings,
        authorities: Result<Authorities, Vec<TrustFault>>,
        mut crls: Crls,
        marks: HighWater,
        now: i64,
    ) -> Result<Self, TrustFaults> {
        let most = settings.crl_max_entries;
        let authorities = authorities.map_err(|mut faults| {
            faults.extend(settings.crls.iter().filter_map(|document| document.crls().err()));
            TrustFaults(faults)
        })?;
        let faults = crls.add(&settings.crls, &authorities, &marks, most, now);
        let is_rollback = |fault: &TrustFault| matches!(fault, TrustFault::CrlRolledBack { .. });
        let (set_aside, faults): (Vec<_>, Vec<_>) = faults.into_iter().partition(is_rollback);
        if !faults.is_empty() {
            return Err(TrustFaults(faults));
        }
        let rule = settings.rule.clone();
        Ok(Self { authorities, rule, crls, marks, set_aside, crl_max_entries: most, epoch: 1 })
    }

    /// The next trust with these CRLs besides the ones in force: of each authority the one with the highest number counts.
    ///
    /// A CRL that is malformed, forged, unsupported or rolled back is refused on its own; it cannot keep the others out.
    #[must_use]
    pub fn with_crls(&self, documents: &[Document], now: i64) -> Update {
        let mut crls = self.crls.clone();
        let marks = self.high_water();
        let refused = crls.add(documents, &self.authorities, &marks, self.crl_max_entries, now);
        let trust = Self {
            authorities: self.authorities.clone(),
            rule: self.rule.clone(),
            crls,
            marks,
            set_aside: Vec::new(),
            crl_max_entries: self.crl_max_entries,
            epoch: self.epoch + 1,
        };
        trust.after(self, refused)
    }

    /// Rises with every change.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The rule that names the device.
    #[must_use]
    pub fn rule(&self) -> &IdentityRule {
        &self.rule
    }

    /// CRLs of the settings that are not in force because they are older than one that was: to be warned of.
    #[must_use]
    pub fn set_aside(&self) -> &[TrustFault] {
        &self.set_aside
    }

    /// The highest CRL numbers seen; to be kept for the next start.
    #[must_use]
    pub fn high_water(&self) -> HighWater {
        let mut marks = self.marks.clone();
        for crl in self.crls.iter() {
            for key in crl.signers() {
                marks.raise(&crl.issuer, &key, crl.number);
            }
        }
        marks
    }

    /// The CRLs in force.
    #[must_use]
    pub fn crl_status(&self) -> Vec<CrlStatus> {
        let status = |crl: &Arc<crate::crl::Crl>| CrlStatus {
            origin: crl.origin.clone(),
            issuer: name_text(&crl.issuer),
            number: crl.number,
            this_update: crl.this_update,
            next_update: crl.next_update(),
            entries: crl.serials().len(),
            proved: !crl.signers().is_empty(),
        };
        self.crls.iter().map(status).collect()
    }

    /// The configured authorities whose certificates nobody can clear now: no CRL, or a stale one. Names are escaped.
    #[must_use]
    pub fn uncovered(&self, now: i64) -> Vec<String> {
        let names = self.authorities.names();
        let covered = |name: &[u8]| {
            let mut keys = self.authorities.configured(name);
            keys.all(|key| {
                self.crls.of(name, &key.key, &self.authorities).is_some_and(|crl| crl.is_fresh(now))
            })
        };
        names.iter().filter(|name| !covered(name)).map(|name| name_text(name)).collect()
    }

    /// Whether a path that verified earlier is still good under this trust, at `now` (Unix seconds): its anchor known,
    /// nothing on it expired or revoked, and every CRL fresh.
    ///
    /// # Errors
    /// The first check that fails, from the leaf up.
    pub fn recheck(&self, device: &VerifiedDevice, now: i64) -> Result<(), Refusal> {
        let whole =
            device.chain.len() == device.issuer_keys.len() && device.chain.first() == Some(&device.leaf);
        let (true, Some(last), Some(anchor)) = (whole, device.chain.last(), device.issuer_keys.last()) else {
            return Err(Refusal::UnknownIssuer);
        };
        if now > device.not_after {
            return Err(Refusal::Expired);
        }
        self.anchor(&last.issuer, anchor, now)?;
        for (depth, (certificate, key)) in device.chain.iter().zip(&device.issuer_keys).enumerate() {
            self.is_clear(&certificate.issuer, key, &certificate.serial, depth, now)?;
        }
        Ok(())
    }

    /// The anchor of this name and key, when it is valid at `now`.
    pub(crate) fn anchor(&self, subject: &[u8], key: &[u8; 32], now: i64) -> Result<&Anchor, Refusal> {
        let anchor = self.authorities.anchor(subject, key).ok_or(Refusal::UnknownIssuer)?;
        if now < anchor.not_before {
            Err(Refusal::NotYetValid)
        } else if now > anchor.not_after {
            Err(Refusal::Expired)
        } else {
            Ok(anchor)
        }
    }

    /// Whether the CRL of this authority clears the certificate with this serial number; `depth` 0 is the leaf.
    pub(crate) fn is_clear(
        &self,
        issuer: &[u8],
        key: &[u8; 32],
        serial: &[u8],
        depth: usize,
        now: i64,
    ) -> Result<(), Refusal> {
        let serial = Serial::read(serial).ok_or(Refusal::Malformed)?;
        let crl = self.crls.of(issuer, key, &self.authorities).ok_or(Refusal::RevocationUnknown)?;
        if crl.contains(&serial) {
            return Err(if depth == 0 { Refusal::Revoked } else { Refusal::AuthorityRevoked });
        }
        let rolled_back = self.marks.of(issuer, key).is_some_and(|seen| crl.number < seen);
        if rolled_back || !crl.is_fresh(now) { Err(Refusal::CrlStale) } else { Ok(()) }
    }

    fn after(self, previous: &Self, refused: Vec<TrustFault>) -> Update {
        let newly_revoked = self.crls.beyond(&previous.crls, &self.authorities);
        Update { trust: Arc::new(self), newly_revoked, refused }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("epoch", &self.epoch)
            .field("crls", &self.crl_status())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
