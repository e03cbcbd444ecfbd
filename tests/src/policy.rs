//! The signed policy of a lab: a directory as a GitOps checkout would fill it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use policy_sync::{Envelope, PayloadType, SigningKey, Target, sign_revocation};

use crate::keys::Keys;
use crate::manifest::Draft;

/// The policy directory and the keys it is signed with.
#[derive(Debug)]
pub struct PolicyDir {
    dir: PathBuf,
    /// What it is signed with.
    pub keys: Keys,
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
        Self { dir, keys: Keys::found(lab), files: AtomicU64::new(0) }
    }
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
    /// Signs a manifest, issued now or, where that would not be later than the last, a second after it, and puts it
    /// in place of the one with the same id.
    pub fn push(&self, draft: &Draft) {
        self.push_signed(draft, self.next_issue(), &self.keys.author);
    }

    /// Signs a manifest as issued at that second, with this key.
    pub fn push_signed(&self, draft: &Draft, issued_at: i64, key: &SigningKey) {
        self.put_manifest(&draft.id_text(), &signed_manifest(draft, issued_at, key));
    }

    /// The key that the gateway takes manifests from.
    #[must_use]
    pub fn author(&self) -> &SigningKey {
        &self.keys.author
    }

    /// The key that the gateway takes revocations from.
    #[must_use]
    pub fn revoker(&self) -> &SigningKey {
        &self.keys.revoker
    }

    /// The key that approves manifests and lifts revocations.
    #[must_use]
    pub fn approver(&self) -> &SigningKey {
        &self.keys.approver
    }

    /// The key that approves manifests as the second of two.
    #[must_use]
    pub fn security(&self) -> &SigningKey {
        &self.keys.security
    }

    /// The second in which the next manifest is issued: later than every other.
    pub fn next_issue(&self) -> i64 {
        self.keys.next_issue()
    }

    /// Puts the bytes of an envelope where the manifest of this name belongs.
    pub fn put_manifest(&self, name: &str, envelope: &[u8]) {
        replace(&self.manifest_path(name), envelope);
    }

    /// Where the manifest of this name stands.
    #[must_use]
    pub fn manifest_path(&self, name: &str) -> PathBuf {
        self.dir.join("manifests").join(format!("{name}.dsse.json"))
    }

    /// Signs a revocation.
    pub fn revoke(&self, target: Target) {
        self.put_statement(&signed_revocation(target, &self.keys.revoker).to_json());
    }

    /// Puts the bytes of an envelope among the revocations.
    pub fn put_statement(&self, envelope: &[u8]) {
        let number = self.files.fetch_add(1, Ordering::SeqCst);
        replace(&self.dir.join("revocations").join(format!("r{number}.dsse.json")), envelope);
    }

    /// Puts a CRL in place.
    pub fn crl(&self, pem: &str) {
        replace(&self.dir.join("crls/device-ca.pem"), pem.as_bytes());
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

/// The envelope of a manifest, signed by this key.
#[must_use]
pub fn signed_manifest(draft: &Draft, issued_at: i64, key: &SigningKey) -> Vec<u8> {
    let mut payload = draft.0.clone();
    let instant = jiff::Timestamp::from_second(issued_at).expect("a second that the calendar knows");
    payload["issued_at"] = instant.to_string().into();
    Envelope::sign(PayloadType::Manifest, payload.to_string().into_bytes(), key).to_json()
}

/// The envelope of a revocation, signed by this key.
#[must_use]
pub fn signed_revocation(target: Target, key: &SigningKey) -> Envelope {
    sign_revocation(target, "for the test", jiff::Timestamp::now(), key).expect("a nonce").0
}
