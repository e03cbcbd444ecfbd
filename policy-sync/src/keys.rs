//! Keys: whose signature counts, and for what.
//!
//! A gateway trusts keys, not transports. The ring is read from a file of public keys with roles; a ring that exists has no
//! two entries for one key, so counting distinct entries is counting distinct keys. Private keys live in files of mode
//! 0600 and are never printed, not even by `Debug`.

mod ring_file;
mod signing;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use ed25519_dalek::{Signature, VerifyingKey};

pub use signing::{SigningKey, SigningKeyFault};

/// What a key may vouch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Manifests: the first signature that every one needs.
    Author,
    /// The second signature where a manifest needs approval, and the lifting of revocations.
    Approver,
    /// The signature of security where a manifest needs approval.
    Security,
    /// Revocations.
    Revoker,
    /// The log of policy: the order of its records, its heartbeats and snapshots, and the leases of budgets.
    Control,
    /// What a gateway reports and asks for over a bus that others share.
    Gateway,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Author, Self::Approver, Self::Security, Self::Revoker, Self::Control, Self::Gateway];

    /// The role as it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Author => "author",
            Self::Approver => "approver",
            Self::Security => "security",
            Self::Revoker => "revoker",
            Self::Control => "control",
            Self::Gateway => "gateway",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a key: letters, digits and `. _ @ + -`, 1 to 128 bytes. It says nothing by itself; the ring says whose it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Checks and keeps the name; `None` when it is not one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        // The alphabet of every other identifier.
        config::UserName::new(text).ok().map(|_| Self(Arc::from(text)))
    }

    /// The name, as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A public key that is safe to verify with: a point of the curve, and none of the weak ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads base64 of the 32 bytes, or PEM.
    ///
    /// # Errors
    /// [`MalformedPublicKey`] when it is neither, or a key with which anybody could sign.
    pub fn parse(text: &str) -> Result<Self, MalformedPublicKey> {
        let key = if text.trim_start().starts_with("-----BEGIN") {
            VerifyingKey::from_public_key_pem(text.trim()).map_err(|_| MalformedPublicKey::Encoding)?
        } else {
            let bytes = STANDARD.decode(text.trim()).map_err(|_| MalformedPublicKey::Encoding)?;
            let bytes = bytes.try_into().map_err(|_| MalformedPublicKey::Encoding)?;
            VerifyingKey::from_bytes(&bytes).map_err(|_| MalformedPublicKey::Point)?
        };
        if key.is_weak() { Err(MalformedPublicKey::Weak) } else { Ok(Self(key)) }
    }

    /// Base64 of the 32 bytes.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0.as_bytes())
    }

    /// PEM, as OpenSSL writes it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF).unwrap_or_default()
    }
}

/// Why text is not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPublicKey {
    /// Neither base64 of 32 bytes nor PEM of an Ed25519 key.
    #[error("expected base64 of 32 bytes, or PEM of an Ed25519 public key")]
    Encoding,
    /// 32 bytes that are no point of the curve.
    #[error("the 32 bytes are not an Ed25519 public key")]
    Point,
    /// A point of small order.
    #[error("the key is weak: signatures by it can be made by anybody")]
    Weak,
}

/// One entry of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    id: KeyId,
    public: PublicKey,
    roles: Vec<Role>,
}

impl TrustedKey {
    /// The key, its name, and what it may vouch for.
    #[must_use]
    pub fn new(id: KeyId, public: PublicKey, roles: &[Role]) -> Self {
        Self { id, public, roles: roles.to_vec() }
    }

    /// The name.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key itself.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// What it may vouch for.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Whether the signature is this key's over exactly these bytes. Malleable and mixed-order forms do not count.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        self.public.0.verify_strict(message, signature).is_ok()
    }
}

/// The keys that count. An empty ring trusts nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: HashMap<String, TrustedKey>,
}

impl KeyRing {
    /// Adds a key.
    ///
    /// # Errors
    /// [`DuplicateKey`] when the ring has this name or this key already: one key under two names would count twice.
    pub fn add(&mut self, key: TrustedKey) -> Result<(), DuplicateKey> {
        if self.keys.contains_key(key.id.as_str()) {
            return Err(DuplicateKey::Name(key.id));
        }
        if let Some(other) = self.keys.values().find(|other| other.public == key.public) {
            return Err(DuplicateKey::Key(other.id.clone()));
        }
        self.keys.insert(key.id.as_str().to_owned(), key);
        Ok(())
    }

    /// The key of this name.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<&TrustedKey> {
        self.keys.get(id)
    }

    /// Every key, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &TrustedKey> {
        self.keys.values()
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the signers cover the roles, each role by a key of its own.
    #[must_use]
    pub fn cover(&self, signers: &[KeyId], roles: &[Role]) -> bool {
        let Some((role, rest)) = roles.split_first() else { return true };
        signers.iter().enumerate().any(|(index, signer)| {
            let fits = self.key(signer.as_str()).is_some_and(|key| key.roles.contains(role));
            fits && {
                let mut others = signers.to_vec();
                others.remove(index);
                self.cover(&others, rest)
            }
        })
    }
}

/// Why a key cannot be added to a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DuplicateKey {
    /// The name is taken.
    #[error("the name {0} is used twice")]
    Name(KeyId),
    /// The key stands there under this other name.
    #[error("the same key is already listed as {0}")]
    Key(KeyId),
}

#[cfg(test)]
mod tests;
