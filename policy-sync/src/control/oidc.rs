//! Whose access token is this, if an OpenID Connect provider has issued it?
//!
//! The signature is checked against the keys that the issuer publishes, by the algorithms that the settings name. Then the
//! claims: the very issuer, the very audience, `exp` always and `nbf` if it is there. What the token says about roles means
//! only what the settings say that it means. Keeps no session, and follows nothing that a token names.

use std::collections::HashMap;
use std::time::Duration;

use config::ApiRole;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::jwks::{Jwks, TokenFault};
use super::tokens::{Caller, Unproven};

/// The longest name of an owner, in bytes.
const LONGEST_OWNER: usize = 256;

/// What has to be true of an access token, and what it then means.
#[derive(Debug)]
pub struct OidcRules {
    /// The exact `iss`.
    pub issuer: String,
    /// What `aud` has to be, or to contain.
    pub audience: String,
    /// The claim with the caller's roles: a text, or a list of them. A dot leads into a nested claim.
    pub role_claim: String,
    /// What the values of that claim mean. Other values mean nothing.
    pub roles: HashMap<String, ApiRole>,
    /// By how much the clocks may differ.
    pub leeway: Duration,
}

/// Checks access tokens of one issuer.
#[derive(Debug)]
pub struct Oidc {
    keys: Jwks,
    rules: OidcRules,
}

/// Why an access token does not let anybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OidcFault {
    /// It proves nothing.
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// Whether it does cannot be said without the issuer's keys.
    #[error("the keys of the issuer cannot be had")]
    Unavailable,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    sub: String,
    exp: Number,
    nbf: Option<Number>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// RFC 7519 §4.1.3: one, or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// RFC 7519 §2, NumericDate: seconds, possibly with a fraction.
#[derive(Deserialize)]
#[serde(transparent)]
struct Number(f64);

impl Oidc {
    /// Tokens signed by one of these keys, under these rules.
    #[must_use]
    pub fn new(keys: Jwks, rules: OidcRules) -> Self {
        Self { keys, rules }
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`OidcFault`] when it is nobody's, or that cannot be known.
    pub async fn check(&self, text: &str, now: Timestamp) -> Result<Caller, OidcFault> {
        let signed = self.keys.verify::<Claims>(text).await.map_err(|fault| match fault {
            TokenFault::Unavailable(_) => OidcFault::Unavailable,
            TokenFault::Malformed(_)
            | TokenFault::Algorithm
            | TokenFault::UnknownKey
            | TokenFault::Signature => Unproven::Unknown.into(),
        })?;
        // RFC 9068 §2.1 names the type of access tokens; many issuers still say `JWT`, or nothing.
        let typ = signed.typ.as_deref().map(str::to_ascii_lowercase);
        if !matches!(typ.as_deref(), None | Some("jwt" | "at+jwt" | "application/at+jwt")) {
            return Err(Unproven::Unknown.into());
        }
        Ok(self.caller(&signed.claims, now)?)
    }

    fn caller(&self, claims: &Claims, now: Timestamp) -> Result<Caller, Unproven> {
        let meant = match &claims.aud {
            Audience::One(audience) => *audience == self.rules.audience,
            Audience::Several(audiences) => audiences.contains(&self.rules.audience),
        };
        let named = (1..=LONGEST_OWNER).contains(&claims.sub.len()) && !claims.sub.contains(char::is_control);
        if claims.iss != self.rules.issuer || !meant || !named {
            return Err(Unproven::Unknown);
        }
        let (now, leeway) = (now.as_duration().as_secs_f64(), self.rules.leeway.as_secs_f64());
        if claims.nbf.as_ref().is_some_and(|nbf| nbf.0 > now + leeway) {
            return Err(Unproven::Unknown);
        }
        if claims.exp.0 + leeway <= now {
            return Err(Unproven::Expired);
        }
        let roles = self.roles(&claims.others);
        if roles.is_empty() {
            return Err(Unproven::NoRole);
        }
        Ok(Caller {
            owner: claims.sub.as_str().into(),
            token: format!("subject:{}", claims.sub).into(),
            roles,
        })
    }

    fn roles(&self, claims: &Map<String, Value>) -> Vec<ApiRole> {
        // A claim may have a dot in its own name, as the URLs that some issuers use have.
        let claim = claims.get(&self.rules.role_claim).or_else(|| {
            let mut steps = self.rules.role_claim.split('.');
            let first = claims.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.get(step))
        });
        let values = match claim {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let mut roles: Vec<_> =
            values.iter().filter_map(|value| self.rules.roles.get(*value).copied()).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::testing::Issuer;

    const NOW: i64 = 1_000_000;

    struct Provider {
        _dir: tempfile::TempDir,
        issuer: Issuer,
        oidc: Oidc,
    }

    fn provider(role_claim: &str) -> Provider {
        let issuer = Issuer::new("key-1");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        std::fs::write(&path, issuer.jwks().to_string()).unwrap();
        let keys = Jwks::new(path.to_str().unwrap(), None, &["ES256".to_owned()]).unwrap();
        let roles = [("sec-ops", ApiRole::Revoker), ("readers", ApiRole::Viewer)];
        let rules = OidcRules {
            issuer: "https://issuer.example".into(),
            audience: "portcullis".into(),
            role_claim: role_claim.into(),
            roles: roles.map(|(value, role)| (value.to_owned(), role)).into(),
            leeway: Duration::from_secs(30),
        };
        Provider { _dir: dir, issuer, oidc: Oidc::new(keys, rules) }
    }

    fn claims() -> Value {
        json!({"iss": "https://issuer.example", "aud": "portcullis", "sub": "alice", "exp": NOW + 60,
               "roles": ["sec-ops", "others"], "realm": {"access": {"roles": "readers"}}, "https://x.example/r": ["readers"]})
    }

    impl Provider {
        async fn check(&self, claims: &Value, typ: Option<&str>) -> Result<Caller, OidcFault> {
            let now = Timestamp::from_second(NOW).unwrap();
            self.oidc.check(&self.issuer.sign(claims, typ), now).await
        }
    }

    #[tokio::test]
    async fn the_claim_of_roles_means_what_the_settings_say() {
        for (claim, expected) in [
            ("roles", vec![ApiRole::Revoker]),
            ("realm.access.roles", vec![ApiRole::Viewer]),
            ("https://x.example/r", vec![ApiRole::Viewer]),
        ] {
            let caller = provider(claim).check(&claims(), Some("at+jwt")).await.unwrap();
            assert_eq!((&*caller.owner, caller.roles), ("alice", expected), "{claim}");
        }
        for claim in ["sub", "realm", "realm.access", "none", "roles.0", ""] {
            let refused = provider(claim).check(&claims(), None).await;
            assert_eq!(refused, Err(Unproven::NoRole.into()), "{claim}");
        }
    }

    #[tokio::test]
    async fn every_claim_that_matters_is_checked() {
        let provider = provider("roles");
        for (claim, value, expected) in [
            ("iss", json!("https://issuer.example/"), Err(Unproven::Unknown)),
            ("iss", json!(["https://issuer.example"]), Err(Unproven::Unknown)),
            ("iss", json!(null), Err(Unproven::Unknown)),
            ("aud", json!("other"), Err(Unproven::Unknown)),
            ("aud", json!([]), Err(Unproven::Unknown)),
            ("aud", json!(["other", "portcullis"]), Ok(())),
            ("aud", json!(null), Err(Unproven::Unknown)),
            ("exp", json!(NOW - 29), Ok(())),
            ("exp", json!(NOW - 30), Err(Unproven::Expired)),
            ("exp", json!("later"), Err(Unproven::Unknown)),
            ("exp", json!(null), Err(Unproven::Unknown)),
            ("nbf", json!(NOW + 30), Ok(())),
            ("nbf", json!(NOW + 31), Err(Unproven::Unknown)),
            ("nbf", json!("x"), Err(Unproven::Unknown)),
            ("sub", json!(""), Err(Unproven::Unknown)),
            ("sub", json!("a\nb"), Err(Unproven::Unknown)),
            ("sub", json!(null), Err(Unproven::Unknown)),
            ("roles", json!("sec-ops"), Ok(())),
            ("roles", json!([1, {}]), Err(Unproven::NoRole)),
        ] {
            let mut claims = claims();
            claims[claim] = value.clone();
            let checked = provider.check(&claims, None).await.map(|_| ());
            assert_eq!(checked, expected.map_err(OidcFault::Unproven), "{claim}: {value}");
        }
    }

    #[tokio::test]
    async fn a_token_of_another_kind_or_of_another_issuer_is_nobodys() {
        let provider = provider("roles");
        let refused = provider.check(&claims(), Some("secevent+jwt")).await;
        assert_eq!(refused, Err(Unproven::Unknown.into()));
        let now = Timestamp::from_second(NOW).unwrap();
        for forged in [Issuer::new("key-1"), Issuer::new("../../key-1"), Issuer::new("' OR 1=1 --")] {
            let checked = provider.oidc.check(&forged.sign(&claims(), None), now).await;
            assert_eq!(checked, Err(Unproven::Unknown.into()));
        }
    }

    #[tokio::test]
    async fn without_the_keys_nothing_can_be_said() {
        let issuer = Issuer::new("key-1");
        let keys = Jwks::new("/nonexistent/jwks.json", None, &["ES256".to_owned()]).unwrap();
        let oidc = Oidc::new(keys, provider("roles").oidc.rules);
        let checked = oidc.check(&issuer.sign(&claims(), None), Timestamp::UNIX_EPOCH).await;
        assert_eq!(checked, Err(OidcFault::Unavailable));
    }
}
