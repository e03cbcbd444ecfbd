//! The paths that verified lately, so that a device that comes back costs no signature but its own.
//!
//! Relies on nothing but the digest of everything that was presented. A path counts only under the very trust that it
//! verified under: a change of trust forgets all. It is bounded, oldest out first, and holds no decision: whoever takes a
//! path from here checks again what time can change.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use rustls_pki_types::CertificateDer;

use crate::certificate::VerifiedDevice;

/// How many paths are kept: the devices of a large gateway, at about 1 KiB each.
const MOST: usize = 16_384;

/// What was presented, by digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Presented([u8; 32]);

impl Presented {
    /// Of all certificates, each with its length, in order.
    pub(crate) fn of<'a>(certificates: impl Iterator<Item = &'a CertificateDer<'a>>) -> Self {
        let mut context = Context::new(&SHA256);
        for certificate in certificates {
            context.update(&certificate.len().to_be_bytes());
            context.update(certificate);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref()); // SHA-256 has 32 bytes
        Self(digest)
    }
}

#[derive(Default)]
struct Paths {
    /// The trust that all of them verified under.
    epoch: u64,
    by_presented: HashMap<Presented, Path>,
    oldest_first: VecDeque<Presented>,
}

struct Path {
    /// When it verified, Unix seconds. It says nothing of earlier moments.
    at: i64,
    device: Arc<VerifiedDevice>,
}

/// The paths that verified lately.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<Paths>);

impl Remembered {
    /// Keeps what verified under the trust of `epoch` at `at`.
    pub(crate) fn keep(&self, presented: Presented, epoch: u64, at: i64, device: Arc<VerifiedDevice>) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch < paths.epoch {
            return;
        }
        if epoch > paths.epoch {
            *paths = Paths { epoch, ..Paths::default() };
        }
        if paths.by_presented.insert(presented, Path { at, device }).is_some() {
            return;
        }
        paths.oldest_first.push_back(presented);
        if paths.oldest_first.len() > MOST
            && let Some(oldest) = paths.oldest_first.pop_front()
        {
            paths.by_presented.remove(&oldest);
        }
    }

    /// What verified under the trust of `epoch`, not later than `now`.
    pub(crate) fn find(&self, presented: &Presented, epoch: u64, now: i64) -> Option<Arc<VerifiedDevice>> {
        let paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let path = paths.by_presented.get(presented).filter(|path| paths.epoch == epoch && path.at <= now)?;
        Some(Arc::clone(&path.device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::CertificateId;

    fn device() -> Arc<VerifiedDevice> {
        let id = CertificateId { fingerprint: [0; 32], issuer: Arc::new([]), serial: Arc::new([1]) };
        Arc::new(VerifiedDevice {
            device: "d".parse().unwrap(),
            agent: None,
            leaf: id.clone(),
            chain: vec![id],
            issuer_keys: vec![[0; 32]],
            not_after: 0,
            subject: String::new(),
        })
    }

    fn presented(number: usize) -> Presented {
        Presented::of([CertificateDer::from(number.to_be_bytes().to_vec())].iter())
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let remembered = Remembered::default();
        for number in 0..=MOST {
            remembered.keep(presented(number), 1, 0, device());
            remembered.keep(presented(number), 1, 0, device());
        }
        assert!(remembered.find(&presented(0), 1, 0).is_none());
        assert!(remembered.find(&presented(1), 1, 0).is_some());
        assert!(remembered.find(&presented(MOST), 1, 0).is_some());
    }

    #[test]
    fn what_verified_counts_under_the_same_trust_and_not_earlier() {
        let remembered = Remembered::default();
        remembered.keep(presented(1), 2, 100, device());
        for (epoch, now, found) in [(2, 100, true), (2, 99, false), (1, 100, false), (3, 100, false)] {
            assert_eq!(remembered.find(&presented(1), epoch, now).is_some(), found, "{epoch} {now}");
        }
        remembered.keep(presented(2), 1, 100, device());
        assert!(remembered.find(&presented(2), 1, 100).is_none(), "too late for an older trust");
        remembered.keep(presented(2), 3, 100, device());
        assert!(remembered.find(&presented(1), 2, 100).is_none(), "a newer trust forgets all");
    }

    #[test]
    fn where_one_certificate_ends_matters() {
        let der = |bytes: &[u8]| CertificateDer::from(bytes.to_vec());
        let one = Presented::of([der(b"ab"), der(b"c")].iter());
        let other = Presented::of([der(b"a"), der(b"bc")].iter());
        assert!(one != other);
    }
}
