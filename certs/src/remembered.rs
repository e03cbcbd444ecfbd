//! The paths that verified lately, so that asking after the handshake who it was costs no signature.
//!
//! Relies on nothing but the digest of everything that was presented. It is bounded, oldest out first, and holds no decision:
//! whoever takes a path from here checks it again against the trust of that moment.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use rustls_pki_types::CertificateDer;

use crate::certificate::VerifiedDevice;

/// How many paths are kept: more than handshakes can be under way at once.
const MOST: usize = 4096;

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
    by_presented: HashMap<Presented, Arc<VerifiedDevice>>,
    oldest_first: VecDeque<Presented>,
}

/// The paths that verified lately.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<Paths>);

impl Remembered {
    pub(crate) fn keep(&self, presented: Presented, device: VerifiedDevice) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.by_presented.insert(presented, Arc::new(device)).is_some() {
            return;
        }
        paths.oldest_first.push_back(presented);
        if paths.oldest_first.len() > MOST
            && let Some(oldest) = paths.oldest_first.pop_front()
        {
            paths.by_presented.remove(&oldest);
        }
    }

    pub(crate) fn find(&self, presented: &Presented) -> Option<Arc<VerifiedDevice>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_presented.get(presented).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::CertificateId;

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let id = CertificateId { fingerprint: [0; 32], issuer: Arc::new([]), serial: Arc::new([1]) };
        let device = VerifiedDevice {
            device: "d".parse().unwrap(),
            agent: None,
            leaf: id.clone(),
            chain: vec![id],
            issuer_keys: vec![[0; 32]],
            not_after: 0,
            subject: String::new(),
        };
        let remembered = Remembered::default();
        let presented = |number: usize| {
            let der = CertificateDer::from(number.to_be_bytes().to_vec());
            Presented::of([der].iter())
        };
        for number in 0..=MOST {
            remembered.keep(presented(number), device.clone());
            remembered.keep(presented(number), device.clone());
        }
        assert!(remembered.find(&presented(0)).is_none());
        assert!(remembered.find(&presented(1)).is_some());
        assert!(remembered.find(&presented(MOST)).is_some());
    }

    #[test]
    fn where_one_certificate_ends_matters() {
        let der = |bytes: &[u8]| CertificateDer::from(bytes.to_vec());
        let one = Presented::of([der(b"ab"), der(b"c")].iter());
        let other = Presented::of([der(b"a"), der(b"bc")].iter());
        assert!(one != other);
    }
}
