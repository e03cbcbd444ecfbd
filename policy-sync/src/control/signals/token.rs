//! Is this a security event token of that transmitter, for us, and of a time that counts?

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::settings::SignalSettings;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::Digest as _;

use super::refusal::Refusal;
use crate::control::jwks::{LONGEST_TOKEN, SignedToken};

/// By how much a transmitter's clock may be ahead, in seconds.
const LEEWAY: f64 = 60.0;
/// The longest `jti`, in bytes.
const LONGEST_ID: usize = 512;
/// The most events of one token.
const MOST_EVENTS: usize = 16;

/// A security event token that is in order.
#[derive(Debug)]
pub(super) struct Token {
    /// Its `jti`.
    pub(super) id: String,
    /// Its `iss`.
    pub(super) issuer: String,
    /// Its `iat`.
    pub(super) issued: Timestamp,
    /// Its `sub_id`, if it has one.
    pub(super) subject: Option<Value>,
    /// Its `events`; at least one.
    pub(super) events: Vec<SecurityEvent>,
}

/// One event of a token.
#[derive(Debug)]
pub(super) struct SecurityEvent {
    /// The URI that says what happened.
    pub(super) uri: String,
    /// What else is said of it.
    pub(super) fields: Map<String, Value>,
}

impl SecurityEvent {
    /// A field that is text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// What the transmitter says to administrators: text, or text by language (CAEP §2).
    pub(super) fn reason(&self) -> Option<String> {
        let said = self.fields.get("reason_admin").or_else(|| self.fields.get("reason"))?;
        let text = said.as_str().or_else(|| {
            let by_language = said.as_object()?;
            by_language.get("en").or_else(|| by_language.values().next())?.as_str()
        })?;
        Some(shown(text))
    }
}

/// What a token claims (RFC 8417 §2.2).
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: Audience,
    iat: f64,
    jti: String,
    exp: Option<f64>,
    sub_id: Option<Value>,
    events: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Whether a request's body is said to be a security event token.
pub(super) fn is_security_event_token(content_type: Option<&str>) -> bool {
    let media_type = content_type.and_then(|text| text.split(';').next()).map(str::trim);
    media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/secevent+jwt"))
}

/// Whose token this says it is, before anything about it is known to be true: only to find the keys that tell.
pub(super) fn claimed_issuer(text: &str) -> Result<String, Refusal> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    let malformed = || Refusal::Request("it is no signed token with an `iss`".into());
    if text.len() > LONGEST_TOKEN {
        return Err(Refusal::Request("the token is over 64 KiB".into()));
    }
    let payload = text.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claimed: Claimed =
        payload.and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(malformed)?;
    Ok(claimed.iss)
}

/// Whether a request carries the `Authorization` that was agreed upon; compared in constant time.
pub(super) fn authorized(sent: Option<&[u8]>, expected: Option<&[u8; 32]>) -> Result<(), Refusal> {
    let Some(expected) = expected else { return Ok(()) };
    let digest: [u8; 32] = sha2::Sha256::digest(sent.unwrap_or_default()).into();
    aws_lc_rs::constant_time::verify_slices_are_equal(&digest, expected).map_err(|_| Refusal::Authentication)
}

/// Reads a token whose signature holds.
pub(super) fn read(
    signed: SignedToken<Claims>,
    settings: &SignalSettings,
    now: Timestamp,
) -> Result<Token, Refusal> {
    let typ = signed.typ.unwrap_or_default().to_ascii_lowercase();
    if typ.strip_prefix("application/").unwrap_or(&typ) != "secevent+jwt" {
        return Err(Refusal::Request("its `typ` is not secevent+jwt".into()));
    }
    let claims = signed.claims;
    if claims.iss != settings.issuer {
        return Err(Refusal::Issuer);
    }
    let meant = match &claims.aud {
        Audience::One(one) => *one == settings.audience,
        Audience::Several(several) => several.contains(&settings.audience),
    };
    if !meant {
        return Err(Refusal::Audience);
    }
    if claims.jti.is_empty() || claims.jti.len() > LONGEST_ID {
        return Err(Refusal::Request("its `jti` is not 1 to 512 bytes long".into()));
    }
    let issued = issued(&claims, settings, now)?;
    let (id, issuer, subject) = (claims.jti, claims.iss, claims.sub_id);
    Ok(Token { id, issuer, issued, subject, events: events(claims.events)? })
}

fn issued(claims: &Claims, settings: &SignalSettings, now: Timestamp) -> Result<Timestamp, Refusal> {
    let wall = now.as_duration().as_secs_f64();
    let issued = Timestamp::from_duration(
        jiff::SignedDuration::try_from_secs_f64(claims.iat)
            .map_err(|_| Refusal::Request("its `iat` is no instant".into()))?,
    )
    .map_err(|_| Refusal::Request("its `iat` is no instant".into()))?;
    if claims.iat > wall + LEEWAY {
        return Err(Refusal::Request("its `iat` is in the future".into()));
    }
    if claims.iat < wall - settings.max_age.as_secs_f64() {
        return Err(Refusal::Request("it is too old".into()));
    }
    if claims.exp.is_some_and(|exp| exp + LEEWAY <= wall) {
        return Err(Refusal::Request("it has expired".into()));
    }
    // Whole seconds: as exact as the clocks on both sides are.
    Timestamp::from_second(issued.as_second()).map_err(|_| Refusal::Request("its `iat` is no instant".into()))
}

fn events(events: Map<String, Value>) -> Result<Vec<SecurityEvent>, Refusal> {
    if events.is_empty() || events.len() > MOST_EVENTS {
        return Err(Refusal::Request("its `events` are not 1 to 16".into()));
    }
    let event = |(uri, value)| match value {
        Value::Object(fields) => Ok(SecurityEvent { uri, fields }),
        _ => Err(Refusal::Request("one of its `events` is no object".into())),
    };
    events.into_iter().map(event).collect()
}

/// Text of a transmitter as it is shown: short, without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
