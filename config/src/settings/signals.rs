//! `[[signals]]`: transmitters of security events that are believed, whom their subjects name, and what their events do.
//!
//! What an event revokes follows from two lists: which part of its subject names which kind of target, and which kinds
//! each event withdraws. Whatever is in neither revokes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::jwks::{Signer, signer};
use super::{DefaultValue, SettingDoc, setting};
use crate::reading::{Field, Table};

const IN_THE_SECTION: DefaultValue = DefaultValue::Absent("required in the section");

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "signals",
        "name",
        IN_THE_SECTION,
        "What the transmitter is called in metrics, events and records.",
    ),
    setting("signals", "issuer", IN_THE_SECTION, "The transmitter, as its tokens name it in `iss`."),
    setting("signals", "audience", IN_THE_SECTION, "What its tokens have to say in `aud`."),
    setting("signals", "jwks", IN_THE_SECTION, "Where its keys are: an https:// URL, or a file."),
    setting(
        "signals",
        "ca",
        DefaultValue::Absent("the roots of the system"),
        "PEM file of the authorities that issue the certificate of that URL.",
    ),
    setting(
        "signals",
        "algorithms",
        DefaultValue::Toml(r#"["ES256", "RS256", "EdDSA"]"#),
        "With what its tokens may be signed: some of `ES256`, `RS256` and `EdDSA`.",
    ),
    setting(
        "signals",
        "authorization_sha256",
        DefaultValue::Absent("the signature of the token is enough"),
        "SHA-256, in hex, of the `Authorization` header that its requests must carry besides.",
    ),
    setting(
        "signals",
        "max_age",
        DefaultValue::Toml(r#""24h""#),
        "The oldest token that is taken; for that long, one that comes again is known.",
    ),
    setting(
        "signals",
        "tokens_per_second",
        DefaultValue::Toml("10"),
        "How many of its tokens are acted upon in a second.",
    ),
    setting("signals", "burst", DefaultValue::Toml("50"), "How many may come at once before that counts."),
    setting(
        "signals",
        "subjects",
        IN_THE_SECTION,
        "Whom its subjects name: tables of `format` and `to`, and `member`, `lowercase`, `strip_prefix`, `strip_suffix`, `add_prefix`, `add_suffix` where they are needed.",
    ),
    setting(
        "signals",
        "events",
        IN_THE_SECTION,
        "What its events withdraw: a table of an event each, with a list of `user`, `device`, `agent`, `manifest`, `certificate`; the first that the subject names is revoked.",
    ),
];

/// One transmitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalSettings {
    /// What it is called in metrics, events and records: letters, digits and `-`.
    pub name: String,
    /// `iss`, letter by letter.
    pub issuer: String,
    /// What `aud` has to be or to contain.
    pub audience: String,
    /// Where the keys are.
    pub jwks: String,
    /// PEM file of the roots for the URL; the system's when absent.
    pub ca: Option<PathBuf>,
    /// With what tokens may be signed; at least one.
    pub algorithms: Vec<String>,
    /// SHA-256 of the `Authorization` header that its requests must carry besides.
    pub authorization_sha256: Option<[u8; 32]>,
    /// The oldest token that is taken; that long, replays are known.
    pub max_age: Duration,
    /// How many of its tokens are acted upon in a second.
    pub tokens_per_second: u32,
    /// How many may come at once.
    pub burst: u32,
    /// Which part of a subject names whom; at least one.
    pub subjects: Vec<SubjectMapping>,
    /// What each event withdraws: the first kind of target that its subject names. An event that is not here does nothing.
    pub events: BTreeMap<SignalEvent, Vec<SignalTarget>>,
}

/// Which part of a subject names whom, and how they are spelled here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectMapping {
    /// The member of a complex subject that is looked at, such as `device`; `None` for a subject that is not complex.
    pub member: Option<String>,
    /// The format of the identifier in it.
    pub format: SubjectFormat,
    /// What it names.
    pub to: SignalTarget,
    /// Whether its letters are made small first.
    pub lowercase: bool,
    /// What it must begin with, and is taken off.
    pub strip_prefix: String,
    /// What it must end with, and is taken off.
    pub strip_suffix: String,
    /// What is put in front then.
    pub add_prefix: String,
    /// What is put behind then.
    pub add_suffix: String,
}

/// How a subject is written (RFC 9493 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectFormat {
    /// `{"format": "account", "uri": "acct:…"}`.
    Account,
    /// `{"format": "email", "email": …}`.
    Email,
    /// `{"format": "iss_sub", "iss": …, "sub": …}`; its `iss` has to be the issuer of the token.
    IssuerSubject,
    /// `{"format": "opaque", "id": …}`.
    Opaque,
    /// `{"format": "phone_number", "phone_number": …}`.
    PhoneNumber,
    /// `{"format": "uri", "uri": …}`.
    Uri,
}

impl SubjectFormat {
    /// Every format that can be mapped.
    pub const ALL: [Self; 6] =
        [Self::Account, Self::Email, Self::IssuerSubject, Self::Opaque, Self::PhoneNumber, Self::Uri];

    /// Its name in `format`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Email => "email",
            Self::IssuerSubject => "iss_sub",
            Self::Opaque => "opaque",
            Self::PhoneNumber => "phone_number",
            Self::Uri => "uri",
        }
    }
}

/// What a signal can withdraw. Not everybody: no transmitter is trusted that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignalTarget {
    /// A user, on all devices.
    User,
    /// A device.
    Device,
    /// An agent, on all devices.
    Agent,
    /// A manifest.
    Manifest,
    /// A certificate, by its SHA-256.
    Certificate,
}

impl SignalTarget {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::User, Self::Device, Self::Agent, Self::Manifest, Self::Certificate];

    /// Its name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Device => "device",
            Self::Agent => "agent",
            Self::Manifest => "manifest",
            Self::Certificate => "certificate",
        }
    }
}

/// An event that can withdraw something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignalEvent {
    /// CAEP session-revoked.
    SessionRevoked,
    /// CAEP credential-change, when the credential was revoked or deleted.
    CredentialChange,
    /// CAEP device-compliance-change to not-compliant.
    DeviceNotCompliant,
    /// RISC account-disabled.
    AccountDisabled,
    /// RISC account-purged.
    AccountPurged,
}

impl SignalEvent {
    /// Every such event.
    pub const ALL: [Self; 5] = [
        Self::SessionRevoked,
        Self::CredentialChange,
        Self::DeviceNotCompliant,
        Self::AccountDisabled,
        Self::AccountPurged,
    ];

    /// Its name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionRevoked => "session-revoked",
            Self::CredentialChange => "credential-change",
            Self::DeviceNotCompliant => "device-not-compliant",
            Self::AccountDisabled => "account-disabled",
            Self::AccountPurged => "account-purged",
        }
    }
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<SignalSettings> {
    let name = table.required("name").and_then(|field| name(&field));
    let signer = signer(&mut table, directory);
    let authorization = table.maybe("authorization_sha256", |field| digest(&field));
    let max_age = table.required("max_age").and_then(|field| field.duration());
    let mut number = |key| table.required(key).and_then(|field| field.whole(1_u32, 1_000_000));
    let (tokens_per_second, burst) = (number("tokens_per_second"), number("burst"));
    let subjects = table.required("subjects").and_then(|field| {
        let mappings = field.each(|mapping| subject(&mapping))?;
        if mappings.is_empty() {
            field.refuse("the list is empty: nobody could be named", None)
        } else {
            Some(mappings)
        }
    });
    let events = table.required("events").and_then(|field| events(&field));
    table.finish();
    let Signer { issuer, audience, jwks, ca, algorithms } = signer?;
    Some(SignalSettings {
        name: name?,
        issuer,
        audience,
        jwks,
        ca,
        algorithms,
        authorization_sha256: authorization?,
        max_age: max_age?,
        tokens_per_second: tokens_per_second?,
        burst: burst?,
        subjects: subjects?,
        events: events?,
    })
}

fn name(field: &Field<'_>) -> Option<String> {
    let text = field.line()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.len() <= 64 && text.bytes().all(fits) {
        Some(text.to_owned())
    } else {
        field.refuse("expected at most 64 letters, digits and `-`", None)
    }
}

fn digest(field: &Field<'_>) -> Option<[u8; 32]> {
    let text = field.line()?;
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    match bytes.and_then(|bytes| bytes.try_into().ok()) {
        Some(digest) if hex && text.len() == 64 => Some(digest),
        _ => field.refuse("expected 64 hex digits", Some("it is the SHA-256 of the header, not the header")),
    }
}

fn subject(field: &Field<'_>) -> Option<SubjectMapping> {
    let formats = SubjectFormat::ALL.map(|format| (format.as_str(), format));
    let mut table = field.table()?;
    let format = table.required("format").and_then(|field| field.one_of(&formats));
    let to = table.required("to").and_then(|field| target(&field));
    let member = table.maybe("member", |field| field.line().map(str::to_owned));
    let lowercase = table.maybe("lowercase", |field| field.boolean());
    let mut text =
        |key| table.maybe(key, |field| field.line().map(str::to_owned)).map(Option::unwrap_or_default);
    let (strip_prefix, strip_suffix) = (text("strip_prefix"), text("strip_suffix"));
    let (add_prefix, add_suffix) = (text("add_prefix"), text("add_suffix"));
    table.finish();
    Some(SubjectMapping {
        member: member?,
        format: format?,
        to: to?,
        lowercase: lowercase?.unwrap_or(false),
        strip_prefix: strip_prefix?,
        strip_suffix: strip_suffix?,
        add_prefix: add_prefix?,
        add_suffix: add_suffix?,
    })
}

fn target(field: &Field<'_>) -> Option<SignalTarget> {
    field.one_of(&SignalTarget::ALL.map(|target| (target.as_str(), target)))
}

fn events(field: &Field<'_>) -> Option<BTreeMap<SignalEvent, Vec<SignalTarget>>> {
    let read = |(name, targets): (&str, Field<'_>)| {
        let event = SignalEvent::ALL.into_iter().find(|event| event.as_str() == name);
        let targets_of_event = targets.each(|name| target(&name));
        match event {
            Some(event) => Some((event, targets_of_event?)),
            None => targets.refuse("no event that could withdraw something", None),
        }
    };
    let read: Vec<_> = field.pairs()?.into_iter().map(read).collect();
    let events: BTreeMap<_, _> = read.into_iter().collect::<Option<_>>()?;
    if events.values().all(Vec::is_empty) {
        return field.refuse("nothing would happen: no event withdraws anything", None);
    }
    Some(events)
}
