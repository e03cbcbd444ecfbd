//! The key ring's file, `keys.toml`: a list of `[[keys]]` with `id`, `public` and `roles`.
//!
//! Every problem is reported with file, line and field, all at once. A file with a problem gives no ring at all.

use config::{Problem, Problems};
use serde::Deserialize;
use toml::Spanned;

use super::{KeyId, KeyRing, PublicKey, Role, TrustedKey};

/// The largest file of keys, in bytes.
const LARGEST_FILE: usize = 1 << 20;

impl KeyRing {
    /// Reads the text of a `keys.toml`; `file` is its name for problems.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let reader = Reader { file, text };
        if text.len() > LARGEST_FILE {
            return Err(Problems::one(reader.problem(None, "", "the file is over 1 MiB".to_owned())));
        }
        let raw: RawRing = toml::from_str(text).map_err(|fault| {
            Problems::one(reader.problem(fault.span().map(|span| span.start), "", fault.message().to_owned()))
        })?;
        reader.ring(&raw)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRing {
    #[serde(default)]
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: Spanned<String>,
    public: Spanned<String>,
    roles: Spanned<Vec<Spanned<String>>>,
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn ring(&self, raw: &RawRing) -> Result<KeyRing, Problems> {
        let mut ring = KeyRing::default();
        let mut problems = Problems::default();
        for (index, raw) in raw.keys.iter().enumerate() {
            if let Some(key) = self.key(index, raw, &mut problems)
                && let Err(fault) = ring.add(key)
            {
                let place = Some(raw.id.span().start);
                problems.extend(Problems::one(self.problem(
                    place,
                    &format!("keys[{index}]"),
                    fault.to_string(),
                )));
            }
        }
        if raw.keys.is_empty() {
            problems.extend(Problems::one(self.problem(
                None,
                "keys",
                "no key is listed, so nobody could sign".into(),
            )));
        }
        if problems.is_empty() { Ok(ring) } else { Err(problems) }
    }

    fn key(&self, index: usize, raw: &RawKey, problems: &mut Problems) -> Option<TrustedKey> {
        let mut note = |span: std::ops::Range<usize>, field: String, message: String| {
            let path = format!("keys[{index}].{field}");
            problems.extend(Problems::one(self.problem(Some(span.start), &path, message)));
        };
        let id = KeyId::new(raw.id.as_ref());
        if id.is_none() {
            note(raw.id.span(), "id".into(), "expected 1 to 128 letters, digits or . _ @ + -".into());
        }
        let public = PublicKey::parse(raw.public.as_ref())
            .map_err(|fault| note(raw.public.span(), "public".into(), fault.to_string()))
            .ok();
        let mut roles = Vec::new();
        for (number, role) in raw.roles.as_ref().iter().enumerate() {
            match Role::parse(role.as_ref()) {
                Some(role) if roles.contains(&role) => {
                    note(
                        role_span(raw, number),
                        format!("roles[{number}]"),
                        "the role is listed twice".into(),
                    );
                }
                Some(role) => roles.push(role),
                None => {
                    let message = "expected author, approver, security or revoker".into();
                    note(role_span(raw, number), format!("roles[{number}]"), message);
                }
            }
        }
        if raw.roles.as_ref().is_empty() {
            note(raw.roles.span(), "roles".into(), "a key without a role counts for nothing".into());
        }
        Some(TrustedKey::new(id?, public?, &roles))
    }

    fn problem(&self, offset: Option<usize>, path: &str, message: String) -> Problem {
        let before = offset.and_then(|offset| self.text.get(..offset));
        let start = before.map(|before| before.rfind('\n').map_or(0, |end| end + 1));
        Problem {
            file: self.file.to_owned(),
            line: before.map_or(0, |before| before.matches('\n').count() + 1),
            column: before
                .zip(start)
                .map_or(0, |(text, start)| text.get(start..).unwrap_or("").chars().count() + 1),
            path: path.to_owned(),
            message,
            help: None,
            excerpt: start.and_then(|start| self.text.get(start..)?.lines().next().map(str::to_owned)),
        }
    }
}

fn role_span(raw: &RawKey, number: usize) -> std::ops::Range<usize> {
    raw.roles.as_ref().get(number).map_or_else(|| raw.roles.span(), Spanned::span)
}
