//! Is this the text of an access token, and whose is it?
//!
//! A token is `pct_<id>_<secret>`: the name of its entry in the file of tokens, and 32 random bytes. The file holds only
//! the SHA-256 of the whole text. Relies on that randomness: a digest without salt or stretching is enough for it. Never
//! keeps, prints or logs the text of a token.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::{ApiRole, ApiToken};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// What every token begins with, so that scanners of leaked secrets can find it.
const PREFIX: &str = "pct_";
/// How many characters the secret is long: 32 bytes in base64url.
const SECRET: usize = 43;
/// The longest token that is looked at, in bytes.
const LONGEST: usize = 256;

/// Who is asking, as the API knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The person or service; two callers of one owner are one where two are asked for.
    pub owner: Arc<str>,
    /// The name of what they proved themselves with: requests are limited by it.
    pub token: Arc<str>,
    /// What they may.
    pub roles: Vec<ApiRole>,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It is not known, or not whole, or not signed by whom it should be.
    #[error("the token is not known")]
    Unknown,
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// It is genuine, but gives no role here.
    #[error("the token gives no role here")]
    NoRole,
}

/// The tokens that count.
#[derive(Debug, Default)]
pub struct Tokens {
    by_id: HashMap<String, ApiToken>,
}

impl Tokens {
    /// The tokens of a file.
    #[must_use]
    pub fn new(tokens: Vec<ApiToken>) -> Self {
        Self { by_id: tokens.into_iter().map(|token| (token.id.clone(), token)).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whose token this is. Takes as long for a wrong secret as for the right one.
    ///
    /// # Errors
    /// [`Unproven`] when it is nobody's, or nobody's any more.
    pub fn check(&self, text: &str, now: Timestamp) -> Result<Caller, Unproven> {
        let id = id_of(text).ok_or(Unproven::Unknown)?;
        let digest: [u8; 32] = Sha256::digest(text).into();
        let token = self.by_id.get(id).ok_or(Unproven::Unknown)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(&digest, &token.sha256)
            .map_err(|_| Unproven::Unknown)?;
        if now >= token.expires {
            return Err(Unproven::Expired);
        }
        Ok(Caller {
            owner: token.owner.as_str().into(),
            token: format!("token:{}", token.id).into(),
            roles: token.roles.clone(),
        })
    }
}

/// Whether it has the form of a token of the file; an access token of another issuer never has.
pub(super) fn has_form(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The name in a token's text. The secret may have a `_` in it, a name never.
fn id_of(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX).filter(|_| text.len() <= LONGEST)?.split_once('_')?;
    (secret.len() == SECRET).then_some(id)
}

/// Makes a token of this name: its text, to be told once, and the SHA-256 that the file of tokens keeps.
///
/// # Errors
/// When the system gives no random bytes.
pub fn make_token(id: &str) -> Result<(String, [u8; 32]), aws_lc_rs::error::Unspecified> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret)?;
    let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    let digest = Sha256::digest(&text).into();
    Ok((text, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, sha256: [u8; 32]) -> ApiToken {
        ApiToken {
            id: id.into(),
            sha256,
            owner: "alice@example.com".parse().unwrap(),
            roles: vec![ApiRole::Revoker],
            expires: Timestamp::from_second(1_000).unwrap(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_known_until_it_expires() {
        let (text, digest) = make_token("t-7f3a").unwrap();
        assert_eq!(text.len(), "pct_t-7f3a_".len() + SECRET);
        let tokens = Tokens::new(vec![entry("t-7f3a", digest)]);
        let caller = tokens.check(&text, at(999)).unwrap();
        assert_eq!((&*caller.owner, &*caller.token), ("alice@example.com", "token:t-7f3a"));
        assert_eq!(caller.roles, [ApiRole::Revoker]);
        assert_eq!(tokens.check(&text, at(1_000)), Err(Unproven::Expired));
    }

    #[test]
    fn whatever_is_not_the_very_text_is_unknown() {
        let (text, digest) = make_token("t-1").unwrap();
        let (other, _) = make_token("t-1").unwrap();
        let tokens = Tokens::new(vec![entry("t-1", digest), entry("t-2", [0; 32])]);
        let moved = text.replace("t-1", "t-2");
        let longer = format!("{text}A");
        let upper = text.to_uppercase();
        for wrong in
            ["", "pct_", "pct_t-1_", "pct__", &other, &moved, &longer, &upper, &text[..text.len() - 1]]
        {
            assert_eq!(tokens.check(wrong, at(0)), Err(Unproven::Unknown), "{wrong:?}");
        }
        assert_eq!(tokens.check(&"pct_".repeat(1 << 20), at(0)), Err(Unproven::Unknown));
        // The expiry of a token is told only to whoever has it.
        assert_eq!(tokens.check(&other, at(2_000)), Err(Unproven::Unknown));
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let made: std::collections::HashSet<_> = (0..100).map(|_| make_token("t").unwrap().0).collect();
        assert_eq!(made.len(), 100);
    }
}
