//! `portcullis manifest keygen`: who may sign?

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use policy_sync::{KeyId, KeyRing, Role, SigningKey};
use serde_json::json;

use crate::cli::exit::{During as _, Exit, Failure, Outcome};
use crate::cli::write;
use crate::cli::{Printer, Table};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The name of the key, by which signatures call it.
    #[arg(long, value_name = "NAME", value_parser = key_id)]
    id: KeyId,
    /// What it may vouch for; repeatable. Authors sign manifests, approvers and security give further signatures,
    /// revokers sign revocations, and approvers lift them; control planes sign the log of policy, and gateways what they
    /// report over NATS.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<RoleName>,
    /// Write the private key to DIR/NAME.key.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Add the public key to this key ring, which is made when missing.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// The roles, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Author,
    Approver,
    Security,
    Revoker,
    Control,
    Gateway,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Author => Self::Author,
            RoleName::Approver => Self::Approver,
            RoleName::Security => Self::Security,
            RoleName::Revoker => Self::Revoker,
            RoleName::Control => Self::Control,
            RoleName::Gateway => Self::Gateway,
        }
    }
}

pub(crate) fn key_id(text: &str) -> Result<KeyId, String> {
    KeyId::new(text).ok_or_else(|| "expected 1 to 128 letters, digits or . _ @ + -".into())
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let key = SigningKey::generate(arguments.id.clone()).map_err(Failure::new)?;
    let roles: Vec<Role> = arguments.roles.iter().copied().map(Role::from).collect();
    let entry = ring_entry(&key, &roles);
    let ring = arguments.keys.as_deref().map(|path| extended(path, &entry)).transpose()?;
    fs::create_dir_all(&arguments.out).during(arguments.out.display())?;
    let path = arguments.out.join(format!("{}.key", arguments.id));
    key.write(&path).map_err(|fault| Failure::new(fault).help("an existing key is never overwritten"))?;
    if let Some((path, text)) = &arguments.keys.as_ref().zip(ring) {
        write::replace(path, text.as_bytes())?;
    }
    let made = json!({
        "key": path,
        "id": arguments.id.as_str(),
        "public": key.public().to_base64(),
        "roles": roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
    });
    printer.data(&made, |_| {
        let mut table = Table::default();
        table.row([&"private key", &path.display()]);
        table.row([&"public key", &key.public().to_base64()]);
        table
    })?;
    if arguments.keys.is_none() {
        printer.note(format_args!("for the key ring that gateways read (policy.keys):\n\n{entry}"));
    }
    Ok(Exit::Done)
}

/// A key's entry in a key ring.
pub(crate) fn ring_entry(key: &SigningKey, roles: &[Role]) -> String {
    let roles: Vec<String> = roles.iter().map(|role| format!("\"{role}\"")).collect();
    let public = key.public().to_base64();
    format!("[[keys]]\nid = \"{}\"\npublic = \"{public}\"\nroles = [{}]\n", key.id(), roles.join(", "))
}

/// The text of the ring with one more entry, if that makes a ring.
fn extended(path: &Path, entry: &str) -> Result<String, Failure> {
    let old = match fs::read_to_string(path) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.during(path.display())?,
    };
    let separator = if old.is_empty() { "" } else { "\n" };
    let text = format!("{old}{separator}{entry}");
    KeyRing::parse(&path.to_string_lossy(), &text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_back_as_the_key() {
        let key = SigningKey::generate(KeyId::new("alice").unwrap()).unwrap();
        let ring = KeyRing::parse("keys.toml", &ring_entry(&key, &[Role::Author, Role::Revoker])).unwrap();
        let read = ring.key("alice").unwrap();
        assert_eq!(read.public(), &key.public());
        assert_eq!(read.roles(), [Role::Author, Role::Revoker]);
    }

    #[test]
    fn a_ring_is_extended_but_never_by_the_same_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.toml");
        let entry =
            |name| ring_entry(&SigningKey::generate(KeyId::new(name).unwrap()).unwrap(), &[Role::Author]);
        fs::write(&path, extended(&path, &entry("alice")).unwrap()).unwrap();
        fs::write(&path, extended(&path, &entry("bob")).unwrap()).unwrap();
        assert!(extended(&path, &entry("bob")).is_err());
    }
}
