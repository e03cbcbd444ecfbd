//! What is a gateway given? A throw-away deployment in a temporary directory: authority, keys, manifests, settings.
//!
//! It is made as an operator makes one: certificates by the authority of `certs`, everything signed by the `portcullis`
//! command itself. The directory goes when the deployment is dropped, after the gateway was ended.

mod control;
pub(crate) mod manifest;
mod others;
mod program;
mod settings;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use certs::authority::{Authority, Issued, Profile, Revocable};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dial::ask;
use crate::origin::Origin;
use crate::process::Running;
use crate::subject::{Hop, Protocol, Subject, client_tls};

pub(crate) use control::Control;
pub(crate) use manifest::Grant;
pub(crate) use program::Program;

/// Whose authority it is.
const TRUST_DOMAIN: &str = "loadtest.test";
/// Certificates live this long.
const DAY: Duration = Duration::from_secs(86_400);
/// How long a child may take until it listens.
const START: Duration = Duration::from_secs(30);
/// How much longer a gateway may take for each manifest that it has to verify.
const FOR_EACH: Duration = Duration::from_millis(1);
/// How often it is asked whether it does.
const TICK: Duration = Duration::from_millis(20);
/// How much of a log is shown when a start fails, in bytes.
const TAIL: usize = 2000;

/// A deployment, and its gateway once it was started.
#[derive(Debug)]
pub(crate) struct Deployment {
    // Declared first, dropped first: the gateway ends before its directory goes.
    gateway: Option<Running>,
    control: Option<Control>,
    dir: TempDir,
    program: Program,
    authority: Authority,
    destinations: Arc<[String]>,
    port: u16,
    admin: Option<SocketAddr>,
}

/// What revocations are aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Aimed {
    /// The device, with whatever certificate.
    Device,
    /// Its manifest.
    Manifest,
    /// Its user.
    User,
    /// Its certificate.
    Certificate,
}

impl Deployment {
    /// Makes everything but manifests and devices.
    ///
    /// # Errors
    /// What could not be made.
    pub(crate) fn found(program: Program, origin: &Origin) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("portcullis-loadtest-").tempdir()?;
        let root = dir.path();
        for part in ["policy/manifests", "policy/revocations", "policy/crls", "staged/revocations", "devices"]
        {
            fs::create_dir_all(root.join(part))?;
        }
        let authority = Authority::init(&root.join("ca"), TRUST_DOMAIN, 30 * DAY)?;
        let gateway =
            authority.issue_gateway("loadtest", &["localhost"], &[[127, 0, 0, 1].into()], 7 * DAY)?;
        gateway.write(&root.join("gateway.pem"), &root.join("gateway.key"))?;
        fs::write(root.join("device-ca.crl"), authority.crl(7 * DAY)?)?;
        for (key, role) in [("author", "author"), ("revoker", "revoker")] {
            let id = ["manifest", "keygen", "--id", key, "--role", role];
            program.run(root, id.into_iter().chain(["--out", ".", "--keys", "keys.toml"]))?;
        }
        fs::write(root.join("gateway.toml"), settings::text(&origin.names(), "dir:policy"))?;
        let names = origin.names().into_iter().map(|(name, _)| format!("{name}:{}", origin.port));
        let destinations = names.collect();
        Ok(Self {
            gateway: None,
            control: None,
            dir,
            program,
            authority,
            destinations,
            port: origin.port,
            admin: None,
        })
    }

    /// Starts a control plane, which the gateway is to follow instead of the directory.
    ///
    /// # Errors
    /// What could not be made or started.
    pub(crate) fn under_control(&mut self, origin: &Origin) -> anyhow::Result<()> {
        let control = Control::start(self.dir.path(), &self.program, &self.authority)?;
        let settings = settings::text(&origin.names(), &control.source());
        fs::write(self.path().join("gateway.toml"), settings)?;
        self.control = Some(control);
        Ok(())
    }

    /// The control plane that was started.
    ///
    /// # Errors
    /// When none was.
    pub(crate) fn control(&self) -> anyhow::Result<&Control> {
        self.control.as_ref().context("there is no control plane")
    }

    /// The order by which the API revokes.
    pub(crate) fn order(&self, aimed: Aimed, device: &str) -> anyhow::Result<Value> {
        let mut order = match aimed {
            Aimed::Device => json!({"device": device}),
            Aimed::Manifest => json!({"manifest_id": manifest::id(device)}),
            Aimed::User => json!({"user": manifest::user(device)}),
            Aimed::Certificate => {
                let pem = fs::read(self.device_file(device, "pem"))?;
                json!({"certificate": fingerprint(&CertificateDer::from_pem_slice(&pem)?)?})
            }
        };
        if let Some(order) = order.as_object_mut() {
            order.insert("reason".into(), "load test".into());
        }
        Ok(order)
    }

    /// A device with a certificate and a manifest of its own that allows the origin among a hundred entries.
    ///
    /// # Errors
    /// What could not be issued or signed.
    pub(crate) fn device(&self, name: &str) -> anyhow::Result<Arc<ClientConfig>> {
        self.device_with(name, &Grant::Plenty)
    }

    /// The same, granted something else.
    ///
    /// # Errors
    /// What could not be issued or signed.
    pub(crate) fn device_with(&self, name: &str, grant: &Grant) -> anyhow::Result<Arc<ClientConfig>> {
        let issued = self.authority.issue_device(&name.parse()?, None, 7 * DAY)?;
        issued.write(&self.device_file(name, "pem"), &self.device_file(name, "key"))?;
        let draft = self.device_file(name, "json");
        fs::write(&draft, manifest::text(name, self.port, grant))?;
        let arguments = ["manifest", "sign", "--key", "author.key", "--policy", "policy"];
        self.program.run(self.path(), arguments.into_iter().chain([draft.to_string_lossy().as_ref()]))?;
        self.tls(&issued)
    }

    /// Another certificate of a device, which the gateway's CRL revokes. Only before the gateway starts.
    ///
    /// # Errors
    /// What could not be issued or written.
    pub(crate) fn revoked(&self, name: &str) -> anyhow::Result<Arc<ClientConfig>> {
        let issued = self.authority.issue_device(&name.parse()?, None, 7 * DAY)?;
        self.authority.revoke(Revocable::Serial(issued.serial()))?;
        fs::write(self.path().join("device-ca.crl"), self.authority.crl(7 * DAY)?)?;
        self.tls(&issued)
    }

    /// Another certificate of a device, which was good until an hour ago.
    ///
    /// # Errors
    /// What could not be issued.
    pub(crate) fn expired(&self, name: &str) -> anyhow::Result<Arc<ClientConfig>> {
        let mut profile = Profile::device(self.authority.trust_domain(), &name.parse()?, None, DAY);
        profile.not_after = profile.not_before - 3600;
        profile.not_before = profile.not_after - 3600;
        self.tls(&self.authority.issue(&profile)?)
    }

    /// A certificate that names a device, of an authority that nobody trusts.
    ///
    /// # Errors
    /// What could not be issued.
    pub(crate) fn forged(&self, name: &str) -> anyhow::Result<Arc<ClientConfig>> {
        let other = Authority::init(&self.path().join("other-ca"), TRUST_DOMAIN, DAY)?;
        self.tls(&other.issue_device(&name.parse()?, None, DAY)?)
    }

    /// Where the gateway writes down what happens.
    pub(crate) fn events(&self) -> PathBuf {
        self.path().join("events.jsonl")
    }

    /// The certificate of a device, PEM.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.device_file(name, "pem")
    }

    /// The URI in the certificate of a device.
    pub(crate) fn device_uri(device: &str) -> String {
        format!("spiffe://{TRUST_DOMAIN}/device/{device}")
    }

    /// Signs a revocation and keeps it beside the policy. Moving it to [`Self::revocations`] makes it known.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(crate) fn staged_revocation(&self, aimed: Aimed, device: &str) -> anyhow::Result<PathBuf> {
        let certificate = self.device_file(device, "pem").to_string_lossy().into_owned();
        let (option, target) = match aimed {
            Aimed::Device => ("--device", device.to_owned()),
            Aimed::Manifest => ("--manifest", manifest::id(device)),
            Aimed::User => ("--user", manifest::user(device)),
            Aimed::Certificate => ("--certificate", certificate),
        };
        let before = files_of(&self.path().join("staged/revocations"))?;
        let arguments = ["revoke", option, &target, "--reason", "load test", "--key", "revoker.key"];
        self.program.run(self.path(), arguments.into_iter().chain(["--policy", "staged"]))?;
        let mut after = files_of(&self.path().join("staged/revocations"))?;
        after.retain(|file| !before.contains(file));
        after.pop().context("the revocation is nowhere")
    }

    /// The directory that the gateway watches for revocations.
    pub(crate) fn revocations(&self) -> PathBuf {
        self.path().join("policy/revocations")
    }

    /// Starts the gateway, waits until it is ready, and says how `device` sees it.
    ///
    /// # Errors
    /// The end of its log, when it does not become ready.
    pub(crate) fn start(&mut self, device: Arc<ClientConfig>) -> anyhow::Result<Subject> {
        if let Some(control) = &self.control {
            control.push(&self.path().join("policy/manifests"))?;
        }
        let log = fs::File::create(self.path().join("gateway.log"))?;
        let child = Command::new(self.program.path())
            .args(["gateway", "--config", "gateway.toml"])
            .current_dir(self.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the gateway")?;
        let gateway = self.gateway.insert(Running(child));
        let manifests = files_of(&self.dir.path().join("policy/manifests"))?.len();
        let patience = START + FOR_EACH * u32::try_from(manifests)?;
        let began = Instant::now();
        let addresses = loop {
            if let Some(addresses) = ready(self.dir.path(), gateway.id()) {
                break addresses;
            }
            if gateway.0.try_wait()?.is_some() || began.elapsed() > patience {
                bail!("the gateway does not become ready; the end of its log:\n{}", self.log());
            }
            std::thread::sleep(TICK);
        };
        self.admin = Some(addresses.admin);
        if let Some(control) = &self.control {
            control.followed()?;
        }
        Ok(Subject {
            name: "portcullis".to_owned(),
            address: *addresses.device.first().context("the gateway listens nowhere")?,
            hop: Hop::Tls { server_name: ServerName::try_from("localhost")?, config: device },
            protocol: Protocol::H1,
            process: Some(addresses.pid),
            destinations: Arc::clone(&self.destinations),
        })
    }

    /// Sessions and connections that the gateway counts as live.
    ///
    /// # Errors
    /// When its admin port does not answer.
    pub(crate) fn live_sessions(&self) -> anyhow::Result<f64> {
        let metrics = ask(self.admin.context("no gateway was started")?, "/metrics")?;
        Ok(sum_of(&metrics, "portcullis_sessions_live"))
    }

    /// The end of the gateway's log, and of the control plane's.
    pub(crate) fn log(&self) -> String {
        let control = self.control.as_ref().map(Control::log).unwrap_or_default();
        tail(&self.path().join("gateway.log")) + &control
    }

    /// Where all its files are.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves the files where they are, and says where that is.
    pub(crate) fn keep(&mut self) -> &Path {
        self.dir.disable_cleanup(true);
        self.dir.path()
    }

    fn device_file(&self, device: &str, extension: &str) -> PathBuf {
        self.path().join("devices").join(device).with_extension(extension)
    }

    fn tls(&self, issued: &Issued) -> anyhow::Result<Arc<ClientConfig>> {
        let authority = CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes())?;
        client_tls(&authority, issued.chain(), issued.key().context("the device has no key")?)
    }
}

/// What a gateway says of itself in its state directory.
#[derive(Debug, Deserialize)]
struct Addresses {
    pid: u32,
    device: Vec<SocketAddr>,
    admin: SocketAddr,
}

fn ready(dir: &Path, pid: u32) -> Option<Addresses> {
    let text = fs::read_to_string(dir.join("state/addresses.json")).ok()?;
    let addresses: Addresses = serde_json::from_str(&text).ok()?;
    let answer = ask(addresses.admin, "/readyz").ok()?;
    (addresses.pid == pid && answer.starts_with("HTTP/1.1 200")).then_some(addresses)
}

/// The end of a log.
pub(crate) fn tail(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let begin = log.len().saturating_sub(TAIL);
    log.get(begin..).unwrap_or(&log).to_owned()
}

/// SHA-256 of a certificate in hex.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> anyhow::Result<String> {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    let hash = suite.context("a suite of TLS 1.3")?.common.hash_provider.hash(certificate);
    Ok(hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn files_of(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

/// The values of a metric, over all its labels.
fn sum_of(metrics: &str, name: &str) -> f64 {
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    samples.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let metrics =
            "# TYPE a_live gauge\na_live{kind=\"tunnel\"} 3\na_live{kind=\"forward\"} 1\nb_live 7\n";
        assert!((sum_of(metrics, "a_live") - 4.0).abs() < f64::EPSILON);
    }
}
