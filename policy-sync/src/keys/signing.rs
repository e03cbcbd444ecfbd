//! Private keys, and the files they live in.
//!
//! A key file is PKCS#8 in PEM, as OpenSSL reads and writes it, with mode 0600. A file that others can read is refused,
//! and an existing file is never overwritten.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signature, Signer as _};

use super::{KeyId, PublicKey};

/// The largest key file, in bytes.
const LARGEST_FILE: u64 = 16 * 1024;

/// A private key and its name in the ring. `Debug` shows the name only; the bytes are wiped when it is dropped.
pub struct SigningKey {
    id: KeyId,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`SigningKeyFault::Randomness`] when the system gives no random bytes.
    pub fn generate(id: KeyId) -> Result<Self, SigningKeyFault> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| SigningKeyFault::Randomness)?;
        Ok(Self { id, key: ed25519_dalek::SigningKey::from_bytes(&seed) })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`SigningKeyFault`] when it cannot be read, others could read it too, or it is no Ed25519 key.
    pub fn read(id: KeyId, path: &Path) -> Result<Self, SigningKeyFault> {
        let place = || path.display().to_string();
        let file = fs::File::open(path).map_err(|source| SigningKeyFault::File { file: place(), source })?;
        let metadata = file.metadata().map_err(|source| SigningKeyFault::File { file: place(), source })?;
        if metadata.mode() & 0o077 != 0 {
            return Err(SigningKeyFault::Exposed { file: place() });
        }
        let mut pem = String::new();
        file.take(LARGEST_FILE)
            .read_to_string(&mut pem)
            .map_err(|source| SigningKeyFault::File { file: place(), source })?;
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(&pem);
        Ok(Self { id, key: key.map_err(|_| SigningKeyFault::Malformed { file: place() })? })
    }

    /// Writes the key into a new file of mode 0600.
    ///
    /// # Errors
    /// [`SigningKeyFault::File`] when the file exists already or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), SigningKeyFault> {
        let pem = self.key.to_pkcs8_pem(LineEnding::LF);
        let pem = pem.map_err(|_| SigningKeyFault::Malformed { file: path.display().to_string() })?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let written = options.open(path).and_then(|mut file| {
            file.write_all(pem.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|source| SigningKeyFault::File { file: path.display().to_string(), source })
    }

    /// The name under which the ring knows it.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// The same key once more: for tests in which two planes have one.
    #[cfg(test)]
    pub(crate) fn duplicate(&self) -> Self {
        Self { id: self.id.clone(), key: self.key.clone() }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        self.key.sign(message)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyFault {
    /// The file cannot be read or written.
    #[error("cannot use the key file {file}: {source}")]
    File {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner have access to the file.
    #[error("the key file {file} is open to others than its owner; its mode has to be 0600")]
    Exposed {
        /// The file.
        file: String,
    },
    /// Not PKCS#8 PEM of an Ed25519 key.
    #[error("the key file {file} is not an Ed25519 private key in PKCS#8 PEM")]
    Malformed {
        /// The file.
        file: String,
    },
    /// The system's random source failed.
    #[error("the system gives no random bytes")]
    Randomness,
}
