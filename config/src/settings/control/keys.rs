//! `[keys]`: what the control plane signs with, and whose signatures count.

use std::path::{Path, PathBuf};

use crate::identifiers::UserName;
use crate::reading::Table;
use crate::settings::{DefaultValue, SettingDoc, setting};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "keys",
        "ring",
        DefaultValue::Required,
        "TOML file of the public keys that may sign, with their roles.",
    ),
    setting(
        "keys",
        "control",
        DefaultValue::Required,
        "File of the key that signs the log of policy; the ring gives it the role `control`.",
    ),
    setting("keys", "control_id", DefaultValue::Required, "The name of this key in the ring."),
    setting(
        "keys",
        "revoker",
        DefaultValue::Absent("only revocations that are signed already are taken"),
        "File of the key that signs revocations which come without a signature; the ring gives it the role `revoker`.",
    ),
    setting("keys", "revoker_id", DefaultValue::Absent("none"), "The name of this key in the ring."),
    setting(
        "keys",
        "approver",
        DefaultValue::Absent("only liftings that are signed already are taken"),
        "File of the key that signs the lifting of revocations; the ring gives it the role `approver`.",
    ),
    setting("keys", "approver_id", DefaultValue::Absent("none"), "The name of this key in the ring."),
];

/// `[keys]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlKeys {
    /// TOML file of the public keys that may sign.
    pub ring: PathBuf,
    /// The key that signs the log.
    pub control: KeyFile,
    /// The key that signs revocations which come unsigned.
    pub revoker: Option<KeyFile>,
    /// The key that signs the lifting of revocations.
    pub approver: Option<KeyFile>,
}

/// A private key, and what the ring calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// PEM file of the private key.
    pub path: PathBuf,
    /// Its name in the ring.
    pub id: String,
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<ControlKeys> {
    let ring = table.required("ring").and_then(|field| field.path(directory));
    let control = key_file(&mut table, "control", "control_id", directory);
    let revoker = optional_key_file(&mut table, "revoker", "revoker_id", directory);
    let approver = optional_key_file(&mut table, "approver", "approver_id", directory);
    table.finish();
    Some(ControlKeys { ring: ring?, control: control?, revoker: revoker?, approver: approver? })
}

/// A key that has to be there, by the settings of its file and of its name.
pub(in crate::settings) fn key_file(
    table: &mut Table<'_>,
    path: &'static str,
    id: &'static str,
    directory: &Path,
) -> Option<KeyFile> {
    let path = table.required(path).and_then(|field| field.path(directory));
    let id = table.required(id).and_then(|field| field.by(UserName::new));
    Some(KeyFile { path: path?, id: id?.to_string() })
}

#[allow(clippy::option_option, reason = "absent, wrong and right are three things")]
fn optional_key_file(
    table: &mut Table<'_>,
    path: &'static str,
    id: &'static str,
    directory: &Path,
) -> Option<Option<KeyFile>> {
    let found = table.maybe(path, |field| field.path(directory));
    let named = table.maybe(id, |field| field.by(UserName::new));
    match (found?, named?) {
        (Some(path), Some(id)) => Some(Some(KeyFile { path, id: id.to_string() })),
        (None, None) => Some(None),
        (Some(_), None) => table.refuse_below(path, &format!("`{path}` needs `{id}`"), None),
        (None, Some(_)) => table.refuse_below(id, &format!("`{id}` needs `{path}`"), None),
    }
}
