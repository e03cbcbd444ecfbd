//! Whose signature is on a JSON Web Token: the keys an issuer publishes (RFC 7517), and the check against them.
//!
//! Relies on whoever configures it for the place of the keys and for the algorithms: a token that names another algorithm is
//! refused before any key is looked at, and symmetric algorithms cannot be configured at all. Keys are fetched when they are
//! first needed, again after a while, and at once, though not more often than [`RETRY`], when a token names a key that is not
//! there. When the issuer cannot be reached, the last keys are good for [`STALE`]. It checks signatures only: what a token
//! claims, and whether that is wanted, is for the caller. It never follows a redirect, and never uses a key that the token
//! itself brings along.

mod fetch;
mod keys;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation};
use serde::de::DeserializeOwned;

use fetch::Endpoint;
use keys::KeySet;

pub use fetch::FetchFault;

/// How long fetched keys are used before they are fetched again.
pub const FRESH: Duration = Duration::from_secs(300);
/// For how long after their last fetch keys are used while the issuer cannot be reached.
pub const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest time between two fetches.
pub const RETRY: Duration = Duration::from_secs(5);
/// The longest token that is looked at, in bytes.
pub const LONGEST_TOKEN: usize = 64 << 10;

/// Why the settings of an issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksSettingsFault {
    /// Not `https://…` and not a path.
    #[error("{0:?} is neither an https URL nor a file")]
    Place(String),
    /// No such algorithm, or one with a shared secret.
    #[error("{0:?} is no signature algorithm that can be verified with a published key")]
    Algorithm(String),
    /// No algorithm is allowed.
    #[error("no algorithm is named")]
    NoAlgorithm,
    /// The authorities for the URL cannot be used.
    #[error("{0}")]
    Authorities(String),
}

/// Why a token does not prove anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It is not a signed token, or what it claims cannot be read.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// Its algorithm is not one of those that are allowed.
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    /// The issuer publishes no key of this name for this algorithm.
    #[error("the issuer publishes no such key")]
    UnknownKey,
    /// The signature is not by that key.
    #[error("the signature does not hold")]
    Signature,
    /// The keys could not be had, so nothing can be said about the token.
    #[error("the issuer's keys cannot be had: {0}")]
    Unavailable(String),
}

/// A token whose signature holds.
#[derive(Debug, Clone)]
pub struct SignedToken<T> {
    /// The media type its header claims, as it is spelled there.
    pub typ: Option<String>,
    /// What it claims. Nothing about it has been checked.
    pub claims: T,
}

/// The published keys of one issuer.
pub struct Jwks {
    place: Place,
    algorithms: Vec<Algorithm>,
    known: Mutex<Known>,
    /// Held while keys are fetched, so that many tokens at once cause one fetch.
    fetching: tokio::sync::Mutex<()>,
}

enum Place {
    File(PathBuf),
    Url(Endpoint),
}

#[derive(Default)]
struct Known {
    keys: Arc<KeySet>,
    /// When they were fetched.
    since: Option<Instant>,
    /// When they were last tried to be fetched, and why that failed.
    tried: Option<Instant>,
    fault: Option<String>,
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwks")
            .field("place", &self.place())
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl Jwks {
    /// Keys at `place`, an `https://` URL or a file; for these `algorithms`, as RFC 7518 and RFC 8037 spell them. `ca` is a
    /// PEM file with the authorities of the URL's certificate, instead of those of the system.
    ///
    /// # Errors
    /// What of these cannot be used. Nothing is fetched yet.
    pub fn new(place: &str, ca: Option<&Path>, algorithms: &[String]) -> Result<Self, JwksSettingsFault> {
        let place = if place.contains("://") {
            Place::Url(Endpoint::new(place, ca)?)
        } else {
            Place::File(place.into())
        };
        let algorithms = algorithms.iter().map(|name| algorithm(name)).collect::<Result<Vec<_>, _>>()?;
        if algorithms.is_empty() {
            return Err(JwksSettingsFault::NoAlgorithm);
        }
        Ok(Self { place, algorithms, known: Mutex::default(), fetching: tokio::sync::Mutex::default() })
    }

    /// Where the keys are.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Url(endpoint) => endpoint.to_string(),
        }
    }

    /// Checks who signed a token, by its algorithm and key, fetching keys when that is needed. Looks at no claim.
    ///
    /// # Errors
    /// [`TokenFault`]; only [`TokenFault::Unavailable`] may be worth another try with the same token.
    pub async fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<SignedToken<T>, TokenFault> {
        if token.len() > LONGEST_TOKEN {
            return Err(TokenFault::Malformed("it is over 64 KiB".into()));
        }
        let header = keys::header(token)?;
        if !self.algorithms.contains(&header.alg) {
            return Err(TokenFault::Algorithm);
        }
        let mut set = self.current().await?;
        let mut candidates = set.candidates(header.kid.as_deref(), header.alg);
        if candidates.is_empty() {
            set = self.refetched().await?;
            candidates = set.candidates(header.kid.as_deref(), header.alg);
        }
        if candidates.is_empty() {
            return Err(TokenFault::UnknownKey);
        }
        let validation = signature_only(header.alg);
        for key in candidates {
            match jsonwebtoken::decode::<T>(token, key, &validation) {
                Ok(token) => return Ok(SignedToken { typ: token.header.typ, claims: token.claims }),
                Err(fault) if matches!(fault.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) => {
                    return Err(TokenFault::Malformed(fault.to_string()));
                }
                Err(_) => {}
            }
        }
        Err(TokenFault::Signature)
    }

    /// Keys that are fresh, or as fresh as they can be had.
    async fn current(&self) -> Result<Arc<KeySet>, TokenFault> {
        if let Some(keys) = self.known_within(FRESH) {
            return Ok(keys);
        }
        let _fetching = self.fetching.lock().await;
        if self.known_within(FRESH).is_none() && self.may_try() {
            self.fetch().await;
        }
        self.known_within(STALE).ok_or_else(|| self.unavailable())
    }

    /// Keys fetched anew because one is missing, unless that was just tried.
    async fn refetched(&self) -> Result<Arc<KeySet>, TokenFault> {
        let _fetching = self.fetching.lock().await;
        if self.may_try() {
            self.fetch().await;
        }
        self.known_within(STALE).ok_or_else(|| self.unavailable())
    }

    fn known_within(&self, age: Duration) -> Option<Arc<KeySet>> {
        let known = self.known();
        known.since.filter(|since| since.elapsed() < age).map(|_| Arc::clone(&known.keys))
    }

    fn may_try(&self) -> bool {
        self.known().tried.is_none_or(|tried| tried.elapsed() >= RETRY)
    }

    fn unavailable(&self) -> TokenFault {
        TokenFault::Unavailable(self.known().fault.clone().unwrap_or_else(|| "not fetched yet".into()))
    }

    async fn fetch(&self) {
        let fetched = match &self.place {
            Place::File(path) => {
                tokio::fs::read(path).await.map(Into::into).map_err(|fault| fault.to_string())
            }
            Place::Url(endpoint) => endpoint.get().await.map_err(|fault| fault.to_string()),
        };
        let read = fetched.and_then(|text: bytes::Bytes| KeySet::read(&text));
        let mut known = self.known();
        known.tried = Some(Instant::now());
        match read {
            Ok(keys) => {
                (known.keys, known.since, known.fault) = (Arc::new(keys), Some(Instant::now()), None);
            }
            Err(fault) => {
                tracing::warn!(place = self.place(), fault, "the keys of an issuer cannot be had");
                known.fault = Some(fault);
            }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn algorithm(name: &str) -> Result<Algorithm, JwksSettingsFault> {
    let known: Option<Algorithm> = name.parse().ok();
    known
        .filter(|known| known.family() != AlgorithmFamily::Hmac)
        .ok_or_else(|| JwksSettingsFault::Algorithm(name.into()))
}

/// Claims are for the caller: each kind of token has its own rules for them.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

#[cfg(test)]
mod tests;
