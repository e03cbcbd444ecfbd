//! Which revocation lists does the log hold, and whom do they list?
//!
//! Of each issuer the latest counts. Whether its issuer signed a list was looked at when it was offered; here it is taken at
//! the log's word. A list that is out of date goes on listing whom it lists: it only clears nobody, and here nobody is cleared.

use std::collections::HashMap;
use std::sync::Arc;

use certs::{CertificateId, CrlNumber, CrlSummary};
use jiff::Timestamp;

use super::fault::SubmitFault;
use super::state::Verdict;

/// The latest CRL of an issuer, and where it stands in the log.
#[derive(Debug, Clone)]
pub struct CrlNote {
    /// What it says of itself.
    pub summary: CrlSummary,
    /// SHA-256 of its DER.
    pub digest: [u8; 32],
    /// The sequence of its record.
    pub sequence: u64,
    /// When it was written down.
    pub at: Timestamp,
    /// Who had it written down.
    pub by: Arc<str>,
}

/// The latest CRL of every issuer.
#[derive(Debug, Clone, Default)]
pub struct Crls(HashMap<Arc<[u8]>, CrlNote>);

impl Crls {
    /// Whether one of them lists this certificate.
    #[must_use]
    pub fn list(&self, certificate: &CertificateId) -> bool {
        self.0.get(&certificate.issuer).is_some_and(|note| note.summary.lists(certificate))
    }

    /// All of them, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &CrlNote> {
        self.0.values()
    }

    /// What this one would do.
    pub(super) fn judge(&self, summary: &CrlSummary, digest: &[u8; 32]) -> Result<Verdict, SubmitFault> {
        match self.0.get(&summary.issuer) {
            Some(note) if note.digest == *digest => Ok(Verdict::Known(note.sequence)),
            Some(note) if age(&note.summary) >= age(summary) => {
                let (offered, known) = (summary.number, note.summary.number);
                Err(SubmitFault::OldCrl { offered, known })
            }
            _ => Ok(Verdict::New),
        }
    }

    /// Whether this one is later than what is known of its issuer.
    pub(super) fn lacks(&self, summary: &CrlSummary) -> bool {
        self.0.get(&summary.issuer).is_none_or(|known| age(&known.summary) < age(summary))
    }

    /// Takes this one in place of what is known of its issuer.
    pub(super) fn take(&mut self, note: CrlNote) {
        self.0.insert(Arc::clone(&note.summary.issuer), note);
    }
}

fn age(summary: &CrlSummary) -> (CrlNumber, i64) {
    (summary.number, summary.this_update)
}
