//! Who sends this request to the API, and may they send another one?
//!
//! A caller proves themselves with a token of the file, or with an access token of the OpenID Connect issuer. Attempts that
//! prove nothing are counted by address; an address with too many is not looked at any further for a while, except that a
//! token of the file is always recognised: nobody can lock a revoker out by failing from his network, and its secret cannot
//! be found by trying. Requests are counted by caller. Whoever is over is told when to come again.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

use super::oidc::{Oidc, OidcFault};
use super::rates::Rates;
use super::tokens::{Caller, Tokens, Unproven, has_form};

/// How often somebody may ask.
#[derive(Debug, Clone, Copy)]
pub struct CallerLimits {
    /// Requests per second and caller, in the long run.
    pub requests_per_second: u32,
    /// Requests that a caller may send at once.
    pub burst: u32,
    /// Failed attempts per minute and address.
    pub attempts_per_minute: u32,
}

/// Who may ask, and how often.
#[derive(Debug)]
pub struct Callers {
    tokens: ArcSwap<Tokens>,
    oidc: ArcSwapOption<Oidc>,
    requests: Rates<Arc<str>>,
    attempts: Rates<IpAddr>,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// No token, or what is no token at all.
    NoToken,
    /// A token that proves nothing.
    Unproven(Unproven),
    /// An access token that cannot be checked now.
    Unavailable,
    /// Too many failed attempts from this address; so long until the next.
    Attempts(Duration),
    /// Too many requests of this caller; so long until the next.
    Requests(Duration),
}

impl Callers {
    /// Callers with these tokens, or with access tokens of this issuer.
    #[must_use]
    pub fn new(tokens: Tokens, oidc: Option<Oidc>, limits: CallerLimits) -> Self {
        let per = |span: Duration, turns: u32| span / turns.max(1);
        Self {
            tokens: ArcSwap::from_pointee(tokens),
            oidc: ArcSwapOption::from_pointee(oidc),
            requests: Rates::new(per(Duration::from_secs(1), limits.requests_per_second), limits.burst),
            attempts: Rates::new(
                per(Duration::from_secs(60), limits.attempts_per_minute),
                limits.attempts_per_minute,
            ),
        }
    }

    /// Puts other tokens and another issuer in force, at once and for every request. The limits stay.
    pub fn reload(&self, tokens: Tokens, oidc: Option<Oidc>) {
        self.tokens.store(Arc::new(tokens));
        self.oidc.store(oidc.map(Arc::new));
    }

    /// Who sends a request from `address` with these fields. Takes a turn of theirs, or notes a failed attempt.
    ///
    /// # Errors
    /// [`TurnedAway`] when the request is not to be answered.
    pub async fn identify(&self, address: IpAddr, fields: &HeaderMap) -> Result<Caller, TurnedAway> {
        let address = network(address);
        let caller = match self.check(address, fields).await {
            Ok(caller) => caller,
            Err(why @ (TurnedAway::NoToken | TurnedAway::Unproven(_))) => {
                self.attempts.take(&address, Instant::now()).map_err(TurnedAway::Attempts)?;
                return Err(why);
            }
            Err(why) => return Err(why),
        };
        self.requests.take(&caller.token, Instant::now()).map_err(TurnedAway::Requests)?;
        Ok(caller)
    }

    async fn check(&self, address: IpAddr, fields: &HeaderMap) -> Result<Caller, TurnedAway> {
        let text = bearer(fields).ok_or(TurnedAway::NoToken)?;
        let now = Timestamp::now();
        if has_form(text) {
            return self.tokens.load().check(text, now).map_err(TurnedAway::Unproven);
        }
        let oidc = self.oidc.load_full().ok_or(TurnedAway::Unproven(Unproven::Unknown))?;
        self.attempts.look(&address, Instant::now()).map_err(TurnedAway::Attempts)?;
        oidc.check(text, now).await.map_err(|fault| match fault {
            OidcFault::Unproven(why) => TurnedAway::Unproven(why),
            OidcFault::Unavailable => TurnedAway::Unavailable,
        })
    }
}

/// RFC 6750 §2.1: exactly one field, the scheme in any case, one space, and what may be a token.
fn bearer(fields: &HeaderMap) -> Option<&str> {
    let mut values = fields.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let is_token = !token.is_empty() && token.bytes().all(fits);
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}

/// Whom an address stands for: of IPv6 a network of /64, whose owner can use any address in it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use config::{ApiRole, ApiToken};

    use super::*;
    use crate::control::tokens::make_token;

    const LIMITS: CallerLimits = CallerLimits { requests_per_second: 1, burst: 3, attempts_per_minute: 2 };

    fn tokens() -> (String, Tokens) {
        let (text, sha256) = make_token("t-1").unwrap();
        let owner = "alice".parse().unwrap();
        let (roles, expires) = (vec![ApiRole::Viewer], Timestamp::MAX);
        (text, Tokens::new(vec![ApiToken { id: "t-1".into(), sha256, owner, roles, expires }]))
    }

    fn fields(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_is_taken_from_one_field_in_one_form() {
        for (values, expected) in [
            (vec!["Bearer abc"], Some("abc")),
            (vec!["bearer a.b-c_~+/="], Some("a.b-c_~+/=")),
            (vec![], None),
            (vec!["Bearer abc", "Bearer abc"], None),
            (vec!["Bearer"], None),
            (vec!["Bearer "], None),
            (vec!["Bearer  abc"], None),
            (vec!["Bearer a b"], None),
            (vec!["Bearer a,b"], None),
            (vec!["Basic abc"], None),
            (vec!["abc"], None),
        ] {
            assert_eq!(bearer(&fields(&values)), expected, "{values:?}");
        }
    }

    #[tokio::test]
    async fn failed_attempts_are_limited_per_network_and_lock_nobody_out() {
        let (text, tokens) = tokens();
        let callers = Callers::new(tokens, None, LIMITS);
        let wrong = fields(&["Bearer pct_t-1_wrong"]);
        let (here, same, there) = (address("2001:db8::1"), address("2001:db8::2"), address("192.0.2.1"));
        for _ in 0..2 {
            let refused = callers.identify(here, &wrong).await;
            assert_eq!(refused, Err(TurnedAway::Unproven(Unproven::Unknown)));
        }
        for fields in [&wrong, &HeaderMap::new()] {
            assert!(matches!(callers.identify(same, fields).await, Err(TurnedAway::Attempts(_))));
        }
        assert_eq!(callers.identify(there, &HeaderMap::new()).await, Err(TurnedAway::NoToken));
        assert!(callers.identify(here, &fields(&[&format!("Bearer {text}")])).await.is_ok());
    }

    #[tokio::test]
    async fn requests_are_limited_per_token_from_wherever_they_come() {
        let (text, tokens) = tokens();
        let callers = Callers::new(tokens, None, LIMITS);
        let right = fields(&[&format!("Bearer {text}")]);
        for number in 1..=3 {
            assert!(callers.identify(address(&format!("192.0.2.{number}")), &right).await.is_ok());
        }
        let Err(TurnedAway::Requests(wait)) = callers.identify(address("192.0.2.9"), &right).await else {
            panic!("the burst is used up");
        };
        assert!(wait <= Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_token_that_a_reload_drops_is_nobodys_at_once() {
        let (text, tokens) = tokens();
        let callers = Callers::new(tokens, None, LIMITS);
        let right = fields(&[&format!("Bearer {text}")]);
        assert!(callers.identify(address("192.0.2.1"), &right).await.is_ok());
        callers.reload(Tokens::default(), None);
        let refused = callers.identify(address("192.0.2.1"), &right).await;
        assert_eq!(refused, Err(TurnedAway::Unproven(Unproven::Unknown)));
    }
}
