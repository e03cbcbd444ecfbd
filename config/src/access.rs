//! Who may ask a control plane for what? The roles, and the file of access tokens.
//!
//! The file holds no token, only the SHA-256 of each: tokens are made with so much randomness that nobody finds one by
//! trying. A file with a problem is refused whole. Nothing here compares a token with anything.

use std::fmt;

use jiff::Timestamp;

use crate::identifiers::UserName;
use crate::problems::Problems;
use crate::reading::{self, Field, Source, Walk};

/// What somebody may do at the API of a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ApiRole {
    /// Reads policy, revocations and gateways.
    Viewer,
    /// Puts and withdraws manifests.
    Author,
    /// Approves the manifests of others, and lifts revocations.
    Approver,
    /// Revokes.
    Revoker,
    /// Reads everything, the signed records included, and changes nothing.
    Auditor,
    /// Everything, except approving what is its own.
    Admin,
}

impl ApiRole {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Viewer, Self::Author, Self::Approver, Self::Revoker, Self::Auditor, Self::Admin];

    /// The role as it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Author => "author",
            Self::Approver => "approver",
            Self::Revoker => "revoker",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    /// Each name with its role.
    pub(crate) const NAMES: [(&'static str, Self); 6] = {
        let [viewer, author, approver, revoker, auditor, admin] = Self::ALL;
        [
            (viewer.as_str(), viewer),
            (author.as_str(), author),
            (approver.as_str(), approver),
            (revoker.as_str(), revoker),
            (auditor.as_str(), auditor),
            (admin.as_str(), admin),
        ]
    };
}

impl fmt::Display for ApiRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of the file of tokens: whom a token stands for, and what it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Its name, which is a part of its text: letters, digits, `-` and `.`.
    pub id: String,
    /// SHA-256 of its whole text.
    pub sha256: [u8; 32],
    /// Whose it is. Two tokens of one owner are one person where two are asked for.
    pub owner: UserName,
    /// What it may; at least one, none twice.
    pub roles: Vec<ApiRole>,
    /// From when on it is worth nothing.
    pub expires: Timestamp,
}

impl ApiToken {
    /// Reads the file of tokens, TOML: a list of `[[tokens]]`, which may be empty.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn read_all(source: &Source) -> Result<Vec<Self>, Problems> {
        let source = source.clone().with_format(reading::Format::Toml);
        let walk = Walk::new(&source);
        let root = reading::tree(&source, &walk);
        let tokens = root.as_ref().and_then(|root| read(&Field::root(&walk, root)));
        walk.finish(tokens)
    }
}

fn read(root: &Field<'_>) -> Option<Vec<ApiToken>> {
    let mut file = root.table()?;
    let mut ids: Vec<String> = Vec::new();
    let tokens = file.maybe("tokens", |field| {
        field.each(|field| {
            let token = token(&field)?;
            if ids.contains(&token.id) {
                return field.refuse("another token has this `id`", None);
            }
            ids.push(token.id.clone());
            Some(token)
        })
    });
    file.finish();
    Some(tokens?.unwrap_or_default())
}

fn token(field: &Field<'_>) -> Option<ApiToken> {
    let mut table = field.table()?;
    let id = table.required("id").and_then(|field| id(&field));
    let sha256 = table.required("sha256").and_then(|field| digest(&field));
    let owner = table.required("owner").and_then(|field| field.parsed::<UserName>());
    let roles = table.required("roles").and_then(|field| roles(&field));
    let expires = table.required("expires").and_then(|field| {
        field.by(|text| {
            text.parse::<Timestamp>().map_err(|_| "expected an instant like \"2027-01-01T00:00:00Z\"")
        })
    });
    table.finish();
    Some(ApiToken { id: id?, sha256: sha256?, owner: owner?, roles: roles?, expires: expires? })
}

fn id(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        Some(text.to_owned())
    } else {
        field.refuse("expected 1 to 64 letters, digits, `-` or `.`", None)
    }
}

fn digest(field: &Field<'_>) -> Option<[u8; 32]> {
    let text = field.text()?;
    let mut digest = [0_u8; 32];
    let mut pairs = text.as_bytes().chunks_exact(2);
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 64 || !lower {
        let help = "it is the SHA-256 of the whole token, not the token";
        return field.refuse("expected 64 lower-case hex digits", Some(help));
    }
    for byte in &mut digest {
        let pair = pairs.next().and_then(|pair| std::str::from_utf8(pair).ok());
        *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
    }
    Some(digest)
}

fn roles(field: &Field<'_>) -> Option<Vec<ApiRole>> {
    let roles = field.each(|role| role.one_of(&ApiRole::NAMES))?;
    if roles.is_empty() {
        return field.refuse("a token without a role is good for nothing", None);
    }
    let twice =
        roles.iter().enumerate().any(|(at, role)| roles.iter().skip(at + 1).any(|other| other == role));
    if twice { field.refuse("a role is there twice", None) } else { Some(roles) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "00ff000000000000000000000000000000000000000000000000000000000001";

    fn read(text: &str) -> Result<Vec<ApiToken>, Problems> {
        ApiToken::read_all(&Source::new("tokens.toml", text))
    }

    fn one(field: &str, value: &str) -> String {
        let fields = [
            ("id", "\"t-7f3a\""),
            ("sha256", &format!("\"{DIGEST}\"")),
            ("owner", "\"alice@example.com\""),
            ("roles", "[\"revoker\", \"viewer\"]"),
            ("expires", "\"2027-01-01T00:00:00Z\""),
        ];
        let mut text = "[[tokens]]\n".to_owned();
        for (key, default) in fields {
            let value = if key == field { value } else { default };
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }

    #[test]
    fn a_token_is_read_with_all_its_fields() {
        let tokens = read(&one("", "")).unwrap();
        let [token] = tokens.as_slice() else { panic!("{tokens:?}") };
        assert_eq!((token.id.as_str(), token.owner.as_str()), ("t-7f3a", "alice@example.com"));
        assert_eq!((token.sha256[0], token.sha256[1], token.sha256[31]), (0, 255, 1));
        assert_eq!(token.roles, [ApiRole::Revoker, ApiRole::Viewer]);
        assert_eq!(token.expires.as_second(), 1_798_761_600);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn every_problem_has_its_line_and_field() {
        for (field, value, path) in [
            ("id", "\"a_b\"", "tokens[0].id"),
            ("id", "\"\"", "tokens[0].id"),
            ("sha256", "\"pct_t-7f3a_x\"", "tokens[0].sha256"),
            ("sha256", "7", "tokens[0].sha256"),
            ("owner", "\"two words\"", "tokens[0].owner"),
            ("roles", "[]", "tokens[0].roles"),
            ("roles", "[\"root\"]", "tokens[0].roles[0]"),
            ("roles", "[\"admin\", \"admin\"]", "tokens[0].roles"),
            ("expires", "\"never\"", "tokens[0].expires"),
            ("expires", "2027-01-01T00:00:00Z", "tokens[0].expires"),
        ] {
            let problems = read(&one(field, value)).expect_err(value);
            let problem = problems.iter().next().unwrap();
            assert_eq!(problem.path, path, "{problems}");
            assert!(problem.line > 1, "{problems}");
        }
        let unknown = read(&format!("{}role = \"admin\"\n", one("", ""))).unwrap_err();
        assert_eq!(unknown.iter().next().unwrap().path, "tokens[0].role");
        let twice = read(&format!("{}{}", one("", ""), one("", ""))).unwrap_err();
        assert!(twice.to_string().contains("another token has this `id`"), "{twice}");
    }
}
