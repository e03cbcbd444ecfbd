//! A set of published keys, and which of them a token may be signed with.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header};
use serde::Deserialize;

use super::TokenFault;

/// How many keys of a set are looked at.
const MOST_KEYS: usize = 64;

/// The keys of one issuer that could verify anything.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    /// The only algorithm it is for, if it says so.
    algorithm: Option<String>,
    family: AlgorithmFamily,
    curve: Option<EllipticCurve>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct RawSet {
    /// One at a time, so that a key of a kind that nobody here knows does not spoil the others (RFC 7517 §5).
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let set: RawSet = serde_json::from_slice(text).map_err(|fault| format!("no set of keys: {fault}"))?;
        let keys: Vec<_> = set.keys.into_iter().take(MOST_KEYS).filter_map(Key::read).collect();
        if keys.is_empty() { Err("the set has no usable key".into()) } else { Ok(Self { keys }) }
    }

    /// The keys of this name for this algorithm; without a name all for this algorithm.
    pub(super) fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<&DecodingKey> {
        let named = |key: &&Key| id.is_none() || key.id.as_deref() == id;
        self.keys.iter().filter(named).filter(|key| key.serves(algorithm)).map(|key| &key.key).collect()
    }
}

impl Key {
    fn read(value: serde_json::Value) -> Option<Self> {
        let algorithm = value.get("alg").and_then(|name| name.as_str()).map(str::to_owned);
        let key: Jwk = serde_json::from_value(value).ok()?;
        if key.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        let (family, curve) = match &key.algorithm {
            AlgorithmParameters::RSA(_) => (AlgorithmFamily::Rsa, None),
            AlgorithmParameters::EllipticCurve(params) => (AlgorithmFamily::Ec, Some(params.curve.clone())),
            AlgorithmParameters::OctetKeyPair(params) => (AlgorithmFamily::Ed, Some(params.curve.clone())),
            // A shared secret has no business in a published set.
            _ => return None,
        };
        let decoding = DecodingKey::from_jwk(&key).ok()?;
        Some(Self { id: key.common.key_id, algorithm, family, curve, key: decoding })
    }

    fn serves(&self, algorithm: Algorithm) -> bool {
        let curve = match algorithm {
            Algorithm::ES256 => Some(EllipticCurve::P256),
            Algorithm::ES384 => Some(EllipticCurve::P384),
            Algorithm::EdDSA => Some(EllipticCurve::Ed25519),
            _ => None,
        };
        let says = self.algorithm.as_deref().is_none_or(|name| name.parse().ok() == Some(algorithm));
        self.family == algorithm.family() && self.curve == curve && says
    }
}

/// The header of a token, before anything about it is known to be true.
pub(super) fn header(token: &str) -> Result<Header, TokenFault> {
    let header = jsonwebtoken::decode_header(token)
        .map_err(|_| TokenFault::Malformed("its header cannot be read".into()))?;
    // RFC 7515 §4.1.11: what has to be understood is not, whatever it is.
    if header.crit.as_ref().is_some_and(|names| !names.is_empty()) {
        return Err(TokenFault::Malformed("its header asks for extensions".into()));
    }
    Ok(header)
}
