//! What does the body of a request say? Whole, bounded, declared, and not one field more than is known.
//!
//! JSON is read by hand and not into types: a key that occurs twice or that nobody asked for, or a value of another type,
//! is refused with the path of its field. What is signed stays the text that it was.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::refusal::Refusal;

/// How long a body may take to come.
const DEADLINE: Duration = Duration::from_secs(10);
/// What a body of JSON has to be declared as.
pub(super) const JSON: &str = "application/json";

/// The whole body, declared as one of `kinds`, of at most `most` bytes.
pub(super) async fn whole(
    request: Request,
    kinds: &[&str],
    expected: &'static str,
    most: usize,
) -> Result<Bytes, Refusal> {
    let declared = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = declared.and_then(|value| value.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kinds.iter().any(|known| known.eq_ignore_ascii_case(kind))) {
        return Err(Refusal::MediaType(expected));
    }
    // Before anything of it is read.
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > most as u64) {
        return Err(Refusal::TooLarge(most));
    }
    let body = Limited::new(request.into_body(), most).collect();
    match tokio::time::timeout(DEADLINE, body).await {
        Err(_) => Err(Refusal::Slow),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(fault)) if fault.is::<LengthLimitError>() => Err(Refusal::TooLarge(most)),
        Ok(Err(_)) => Err(Refusal::field("", "the body broke off")),
    }
}

/// The whole body as JSON.
pub(super) async fn json(request: Request, most: usize) -> Result<Bytes, Refusal> {
    whole(request, &[JSON], JSON, most).await
}

/// Whether there is no body at all.
pub(super) fn is_absent(request: &Request) -> bool {
    use http_body::Body as _;
    request.body().is_end_stream()
}

/// The fields of one object that have not been asked for yet.
#[derive(Debug)]
pub(super) struct Fields {
    path: String,
    fields: Vec<(String, Box<RawValue>)>,
}

impl Fields {
    /// Reads an object.
    pub(super) fn read(text: &[u8]) -> Result<Self, Refusal> {
        Self::below(String::new(), text)
    }

    fn below(path: String, text: &[u8]) -> Result<Self, Refusal> {
        let object: Object = serde_json::from_slice(text).map_err(|fault| {
            let hint = if fault.is_data() {
                "expected an object".into()
            } else {
                // The place, but not the words: they may repeat what was sent.
                format!("it is not JSON from line {}, column {}", fault.line(), fault.column())
            };
            Refusal::field(path.clone(), hint)
        })?;
        let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
        for (key, value) in object.0 {
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(Refusal::field(join(&path, &key), "the field is there twice"));
            }
            fields.push((key, value));
        }
        Ok(Self { path, fields })
    }

    /// The raw value of a field, if it is there.
    pub(super) fn raw(&mut self, key: &str) -> Option<Box<RawValue>> {
        let at = self.fields.iter().position(|(known, _)| known == key)?;
        Some(self.fields.remove(at).1)
    }

    /// A text, if the field is there.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        let Some(value) = self.raw(key) else { return Ok(None) };
        let text = serde_json::from_str(value.get());
        text.map(Some).map_err(|_| self.wrong(key, "expected text in quotes"))
    }

    /// A text that has to be there.
    pub(super) fn required(&mut self, key: &str) -> Result<String, Refusal> {
        self.text(key)?.ok_or_else(|| self.wrong(key, "the field is missing"))
    }

    /// `true`, if the field is there.
    pub(super) fn only_true(&mut self, key: &str) -> Result<Option<()>, Refusal> {
        match self.raw(key) {
            None => Ok(None),
            Some(value) if value.get() == "true" => Ok(Some(())),
            Some(_) => Err(self.wrong(key, "expected true")),
        }
    }

    /// A text that means something, if the field is there.
    pub(super) fn parsed<T>(&mut self, key: &str) -> Result<Option<T>, Refusal>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let Some(text) = self.text(key)? else { return Ok(None) };
        text.parse().map(Some).map_err(|fault: T::Err| self.wrong(key, fault.to_string()))
    }

    /// The object in a field.
    pub(super) fn object(&self, key: &str, value: &RawValue) -> Result<Self, Refusal> {
        Self::below(join(&self.path, key), value.get().as_bytes())
    }

    /// A refusal of a field of this object.
    pub(super) fn wrong(&self, key: &str, hint: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::field(join(&self.path, key), hint)
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.fields.first() {
            None => Ok(()),
            Some((key, _)) => Err(self.wrong(key, "there is no such field here")),
        }
    }
}

/// The path of a field. A name that is no plain word is not repeated.
fn join(path: &str, key: &str) -> String {
    let plain = (1..=64).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let key = if plain { key } else { "(unnamed)" };
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The members of an object, in order, those that occur twice included.
struct Object(Vec<(String, Box<RawValue>)>);

/// The most members of an object that are looked at; no body has as many.
const MOST_MEMBERS: usize = 64;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() < MOST_MEMBERS {
                        members.push(member);
                    }
                }
                Ok(Object(members))
            }
        }
        from.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(refusal: Refusal) -> (String, String) {
        match refusal {
            Refusal::Field { field, hint } => (field.into(), hint.into()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (text, path) in [
            (r#"{"a":"x","b":"y","c":1}"#, "c"),
            (r#"{"a":"x","b":"y","a":"x"}"#, "a"),
            (r#"{"a":"x","b":"y","\u0061":"x"}"#, "a"),
            (r#"{"a":1,"b":"y"}"#, "a"),
            (r#"{"a":null,"b":"y"}"#, "a"),
            (r#"{"a":["x"],"b":"y"}"#, "a"),
            (r#"{"a":"x"}"#, "b"),
            (r#"{"a":"x","b":"y","</script>":1}"#, "(unnamed)"),
            ("[]", ""),
            ("\"a\"", ""),
            ("", ""),
            ("{", ""),
            (r#"{"a":"x","b":"y"} {}"#, ""),
            (r#"{"a":"x","b":"y",}"#, ""),
            (r#"{"a":"x","b":NaN}"#, ""),
            ("\u{feff}{}", ""),
        ] {
            let read = || {
                let mut fields = Fields::read(text.as_bytes())?;
                fields.required("a")?;
                fields.required("b")?;
                fields.finish()
            };
            assert_eq!(refused(read().expect_err(text)).0, path, "{text}");
        }
    }

    #[test]
    fn an_object_in_an_object_has_a_longer_path() {
        let mut fields = Fields::read(br#"{"certificate":{"issuer":7}}"#).unwrap();
        let inner = fields.raw("certificate").unwrap();
        let mut inner = fields.object("certificate", &inner).unwrap();
        assert_eq!(refused(inner.text("issuer").unwrap_err()).0, "certificate.issuer");
        assert!(fields.finish().is_ok());
    }

    #[test]
    fn deep_and_hostile_text_is_refused_and_not_repeated() {
        for text in ["[".repeat(1 << 20), format!("{{\"a\":{}", "[".repeat(1 << 20)), "\u{0}".into()] {
            let (_, hint) = refused(Fields::read(text.as_bytes()).unwrap_err());
            assert!(hint.len() < 80, "{hint}");
        }
        let (path, hint) = refused(Fields::read(br#"{"canary-4711":1}"#).unwrap().finish().unwrap_err());
        assert_eq!((path.as_str(), hint.contains("4711")), ("canary-4711", false));
    }
}
