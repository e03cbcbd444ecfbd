//! Which file of a policy directory is what, and how tools put one there: whole, or not at all.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use config::files::{Reach, Readers, replace};
use sha2::{Digest as _, Sha256};

use crate::envelope::{Envelope, LARGEST_ENVELOPE};
use crate::revocations::StatementId;
use crate::signed::SignedManifest;
use crate::source::intake::Kind;
use crate::target::to_hex;

/// The longest name of a file that is derived from what it holds, in bytes.
const LONGEST_NAME: usize = 200;
/// The largest CRL, in bytes.
const LARGEST_CRL: usize = 256 << 20;

impl Kind {
    /// The folder for files of this kind.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Manifest => "manifests",
            Self::Revocation => "revocations",
            Self::Crl => "crls",
        }
    }

    /// The name of a file of this kind, if it is one: hidden files and other endings do not count.
    pub(crate) fn name(self, file_name: &OsStr) -> Option<&str> {
        let name = file_name.to_str().filter(|name| !name.starts_with('.'))?;
        let endings: &[&str] = match self {
            Self::Manifest | Self::Revocation => &["json"],
            Self::Crl => &["crl", "pem", "der"],
        };
        let ending = Path::new(name).extension()?.to_str()?;
        endings.contains(&ending).then_some(name)
    }

    /// The largest file of this kind, in bytes.
    pub(crate) const fn largest(self) -> usize {
        match self {
            Self::Manifest | Self::Revocation => LARGEST_ENVELOPE,
            Self::Crl => LARGEST_CRL,
        }
    }
}

/// Puts a signed manifest into the policy directory, in place of the one for the same agent on the same device.
///
/// # Errors
/// When the payload is no manifest, or the file cannot be written.
pub fn write_manifest(directory: &Path, envelope: &Envelope) -> io::Result<PathBuf> {
    let signed = SignedManifest::read(envelope.unverified_payload(), Vec::new())
        .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault.to_string()))?;
    // `~` is in no identifier, so no two pairs share a name.
    let name = format!("{}~{}.json", signed.manifest.device, signed.manifest.agent);
    let short = || format!("{}.json", to_hex(&Sha256::digest(&name)));
    let name = if name.len() > LONGEST_NAME { short() } else { name };
    write(directory, Kind::Manifest, &name, &envelope.to_json())
}

/// Puts a signed revocation, or the lifting of one, into the policy directory.
///
/// # Errors
/// When the file cannot be written.
pub fn write_revocation(directory: &Path, envelope: &Envelope) -> io::Result<PathBuf> {
    let digest: [u8; 32] = Sha256::digest(envelope.unverified_payload()).into();
    let name = format!("{}.json", StatementId::of_digest(&digest));
    write(directory, Kind::Revocation, &name, &envelope.to_json())
}

/// Puts a CRL, PEM or DER, into the policy directory under this name.
///
/// # Errors
/// When the name is not that of a CRL file, or the file cannot be written.
pub fn write_crl(directory: &Path, name: &str, crl: &[u8]) -> io::Result<PathBuf> {
    if name.contains('/') || Kind::Crl.name(OsStr::new(name)).is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a CRL file is called something.crl, .pem or .der",
        ));
    }
    write(directory, Kind::Crl, name, crl)
}

fn write(directory: &Path, kind: Kind, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let folder = directory.join(kind.folder());
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    replace(&path, bytes, Readers::Everybody, Reach::Disk)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_files_with_the_ending_of_their_kind_count() {
        for (kind, name, expected) in [
            (Kind::Manifest, "a.json", true),
            (Kind::Manifest, "a.dsse.json", true),
            (Kind::Manifest, ".a.json", false),
            (Kind::Manifest, "..data", false),
            (Kind::Manifest, "a.json~", false),
            (Kind::Manifest, "a.JSON", false),
            (Kind::Manifest, "json", false),
            (Kind::Revocation, "rv-1.json", true),
            (Kind::Revocation, "README.md", false),
            (Kind::Crl, "ca.crl", true),
            (Kind::Crl, "ca.pem", true),
            (Kind::Crl, "ca.json", false),
        ] {
            assert_eq!(kind.name(OsStr::new(name)).is_some(), expected, "{name}");
        }
    }

    #[test]
    fn a_crl_cannot_be_written_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["../ca.crl", "ca", ".ca.crl", "a/ca.crl"] {
            assert!(write_crl(directory.path(), name, b"x").is_err(), "{name}");
        }
        assert!(write_crl(directory.path(), "ca.crl", b"x").unwrap().ends_with("crls/ca.crl"));
    }
}
