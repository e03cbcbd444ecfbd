//! Where does a peer live? In a directory of its own: certificates, an allowlist, the names of the origin, its log.
//!
//! The directory is apart from the deployment's because Squid refuses to run as root: started by root, it runs as `nobody`,
//! who then owns these files and may not read the deployment's. All of it goes when the premises are dropped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::Context as _;
use tempfile::TempDir;

use super::Asked;
use crate::aim::DEVICE;
use crate::deployment::Deployment;
use crate::origin::Origin;

/// Entries of an allowlist, the origin's among them: as many as a manifest of the gateway has.
const ENTRIES: usize = 100;
/// The certificate that the proxy shows, PEM.
pub(super) const CERTIFICATE: &str = "gateway.pem";
/// Its key, PEM.
pub(super) const KEY: &str = "gateway.key";
/// The authority of the devices, PEM.
pub(super) const AUTHORITY: &str = "ca.pem";
/// The addresses of the origin's names, as in `/etc/hosts`.
pub(super) const HOSTS: &str = "hosts";
/// What may be reached: an authority on each line.
pub(super) const ALLOWLIST: &str = "allowlist";
const LOG: &str = "log";

/// The premises of one peer.
#[derive(Debug)]
pub(super) struct Premises {
    dir: TempDir,
    port: u16,
    tenant: Option<Tenant>,
    /// Under which names its shared memory stands, when it leaves some behind.
    shared_memory: String,
    /// The names of the origin and their addresses.
    pub(super) origins: Vec<(String, Ipv4Addr)>,
    /// The port of the origin.
    pub(super) origin_port: u16,
    /// The URI in the certificate of the device.
    pub(super) device: String,
}

/// As whom a peer runs when root starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// As root.
    AsRoot,
    /// As the user `nobody`.
    AsNobody,
}

/// A user who owns premises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tenant {
    user: u32,
    group: u32,
}

impl Premises {
    /// Makes the directory, with everything in it that any peer may need.
    ///
    /// # Errors
    /// What could not be made.
    pub(super) fn found(
        peer: &str,
        runs: Runs,
        deployment: &Deployment,
        origin: &Origin,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix(&format!("loadtest-{peer}-")).tempdir()?;
        let becomes_nobody = runs == Runs::AsNobody && rustix::process::geteuid().is_root();
        let tenant = becomes_nobody.then(Tenant::nobody).transpose()?;
        if let Some(Tenant { user, group }) = tenant {
            chown(dir.path(), Some(user), Some(group))?;
        }
        let mut premises = Self {
            dir,
            port: free_port()?,
            tenant,
            shared_memory: format!("loadtest{}{peer}", std::process::id()),
            origins: origin.names(),
            origin_port: origin.port,
            device: Deployment::device_uri(DEVICE),
        };
        let deployed = deployment.path();
        for (file, from) in [(CERTIFICATE, "gateway.pem"), (KEY, "gateway.key"), (AUTHORITY, "ca/ca.pem")] {
            premises.write(file, &fs::read_to_string(deployed.join(from))?)?;
        }
        premises.write(ALLOWLIST, &lines(premises.allowed().iter()))?;
        let hosts = premises.origins.iter().map(|(name, address)| format!("{address} {name}"));
        premises.write(HOSTS, &lines(hosts))?;
        Ok(premises)
    }

    /// A file here, whose text only the peer may read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.file(file);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if let Some(Tenant { user, group }) = self.tenant {
            chown(&path, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// Starts a process that runs here and says everything into the log.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn spawn(&self, mut command: Command) -> anyhow::Result<Child> {
        let log = fs::File::create(self.log())?;
        command.current_dir(self.dir.path()).stdout(log.try_clone()?).stderr(log);
        if let Some(Tenant { user, group }) = self.tenant {
            chown(self.log(), Some(user), Some(group))?;
            command.uid(user).gid(group);
        }
        Ok(command.spawn()?)
    }

    /// The path of a file here.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path of a file here, as text.
    pub(super) fn named(&self, name: &str) -> String {
        self.file(name).to_string_lossy().into_owned()
    }

    /// What the peer said.
    pub(super) fn log(&self) -> PathBuf {
        self.file(LOG)
    }

    /// Where the peer is to listen.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// A name for what the peer shares in memory; whatever stands under it goes with the premises.
    pub(super) fn shared_memory(&self) -> &str {
        &self.shared_memory
    }

    /// Hosts that may be reached beside the origin: with its names, or addresses, a hundred.
    pub(super) fn others(&self) -> impl Iterator<Item = String> {
        (1..=ENTRIES.saturating_sub(self.origins.len())).map(|number| format!("api-{number}.example.com"))
    }

    /// The whole allowlist, as authorities.
    pub(super) fn allowed(&self) -> Vec<String> {
        self.others().map(|host| format!("{host}:443")).chain(self.destinations(Asked::Names)).collect()
    }

    /// What the peer is asked for.
    pub(super) fn destinations(&self, asked: Asked) -> Vec<String> {
        let port = self.origin_port;
        let one = |(name, address): &(String, Ipv4Addr)| match asked {
            Asked::Names => format!("{name}:{port}"),
            Asked::Addresses => format!("{address}:{port}"),
        };
        self.origins.iter().map(one).collect()
    }
}

impl Drop for Premises {
    fn drop(&mut self) {
        for segment in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if segment.file_name().to_string_lossy().starts_with(&format!("{}-", self.shared_memory)) {
                // What cannot be removed is in nobody's way: the name is this run's alone.
                let _stays = fs::remove_file(segment.path());
            }
        }
    }
}

impl Tenant {
    fn nobody() -> anyhow::Result<Self> {
        let users = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
        Self::of(&users, "nobody").context("there is no user `nobody` to run peers as")
    }

    fn of(users: &str, name: &str) -> Option<Self> {
        let mut fields = users
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        let user = fields.nth(1)?.parse().ok()?;
        Some(Self { user, group: fields.next()?.parse().ok()? })
    }
}

/// Lines of a file.
fn lines(lines: impl Iterator<Item = impl AsRef<str>>) -> String {
    lines.map(|line| format!("{}\n", line.as_ref())).collect()
}

/// A port of loopback on which nobody listens at this moment.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
impl Premises {
    /// Premises for the tests of recipes: two origins, fixed ports.
    pub(super) fn example() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            port: 3128,
            tenant: None,
            shared_memory: "loadtestexample".into(),
            origins: vec![
                ("o0.origin.test".into(), Ipv4Addr::new(127, 0, 1, 1)),
                ("o1.origin.test".into(), Ipv4Addr::new(127, 0, 1, 2)),
            ],
            origin_port: 8080,
            device: "spiffe://loadtest.test/device/device-0".into(),
        }
    }

    /// The directory, for tests that compare paths.
    pub(super) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowlist_has_a_hundred_entries_and_ends_with_the_origin() {
        let allowed = Premises::example().allowed();
        assert_eq!(allowed.len(), ENTRIES);
        assert_eq!(allowed.first().unwrap(), "api-1.example.com:443");
        assert_eq!(allowed.last().unwrap(), "o1.origin.test:8080");
    }

    #[test]
    fn an_origin_is_asked_for_by_name_or_by_address() {
        let premises = Premises::example();
        assert_eq!(premises.destinations(Asked::Names), ["o0.origin.test:8080", "o1.origin.test:8080"]);
        assert_eq!(premises.destinations(Asked::Addresses), ["127.0.1.1:8080", "127.0.1.2:8080"]);
    }

    #[test]
    fn a_tenant_is_read_from_the_list_of_users() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        assert_eq!(Tenant::of(users, "nobody"), Some(Tenant { user: 65_534, group: 65_533 }));
        assert_eq!(Tenant::of(users, "squid"), None);
    }

    #[test]
    fn nobody_else_reads_the_files() {
        let mut premises = Premises::example();
        premises.write(KEY, "secret").unwrap();
        let mode = fs::metadata(premises.file(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
