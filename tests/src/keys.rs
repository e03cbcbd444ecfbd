//! The keys of a lab: what policy is signed with, and the ring by which gateways and control planes know them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use policy_sync::{KeyId, SigningKey};

/// A key for each role, and the seconds in which manifests are issued.
#[derive(Debug)]
pub struct Keys {
    /// Signs manifests.
    pub author: SigningKey,
    /// Signs revocations.
    pub revoker: SigningKey,
    /// Approves manifests, and signs the lifting of revocations.
    pub approver: SigningKey,
    /// Approves manifests as the second of two.
    pub security: SigningKey,
    /// Signs the log of a control plane.
    pub control: SigningKey,
    issued: AtomicI64,
    issues: Mutex<HashMap<String, i64>>,
}

impl Keys {
    /// Makes new keys, and writes their ring to `keys.toml` in `dir`.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn found(dir: &Path) -> Self {
        let keys = Self {
            author: key("author-1"),
            revoker: key("revoker-1"),
            approver: key("approver-1"),
            security: key("security-1"),
            control: key("control-1"),
            issued: AtomicI64::new(jiff::Timestamp::now().as_second() - 1),
            issues: Mutex::default(),
        };
        std::fs::write(dir.join("keys.toml"), keys.ring()).expect("the ring is written");
        keys
    }

    /// Makes a key for the reports of each of these gateways, writes them to `NAME.report` in `dir`, and adds them to the ring
    /// there.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn enrol(&self, dir: &Path, gateways: &[String]) -> Vec<SigningKey> {
        let (mut ring, mut keys) = (self.ring(), Vec::new());
        for name in gateways {
            let key = key(name);
            key.write(&dir.join(format!("{name}.report"))).expect("the key is written");
            ring += &entry((&key, "gateway"));
            keys.push(key);
        }
        std::fs::write(dir.join("keys.toml"), ring).expect("the ring is written");
        keys
    }

    fn ring(&self) -> String {
        let keys = [
            (&self.author, "author"),
            (&self.revoker, "revoker"),
            (&self.approver, "approver"),
            (&self.security, "security"),
            (&self.control, "control"),
        ];
        keys.map(entry).concat()
    }

    /// The second in which the manifest of this id is issued: now, or a second after the last of this id.
    ///
    /// # Panics
    /// Never.
    pub fn issue(&self, id: &str) -> i64 {
        let mut issues = self.issues.lock().expect("nobody panics with this lock");
        let now = jiff::Timestamp::now().as_second();
        let issued = issues.get(id).map_or(now, |last| now.max(last + 1));
        issues.insert(id.to_owned(), issued);
        issued
    }

    /// The second in which the next manifest is issued: later than every other.
    pub fn next_issue(&self) -> i64 {
        let now = jiff::Timestamp::now().as_second();
        let take = |last: i64| Some(now.max(last + 1));
        match self.issued.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(last) | Err(last) => now.max(last + 1),
        }
    }
}

/// What a ring says of a key with a role.
fn entry((key, role): (&SigningKey, &str)) -> String {
    let public = key.public().to_base64();
    format!("[[keys]]\nid = \"{}\"\npublic = \"{public}\"\nroles = [\"{role}\"]\n", key.id())
}

/// A new key under this name.
///
/// # Panics
/// When the system gives no randomness.
#[must_use]
pub fn key(id: &str) -> SigningKey {
    SigningKey::generate(KeyId::new(id).expect("a key id")).expect("a key")
}
