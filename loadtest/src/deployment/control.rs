//! The control plane of a deployment: its files, its process, and its API.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::authority::Authority;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;

use super::{DAY, Program, START, TICK, tail};
use crate::api::Api;
use crate::dial::ask;
use crate::process::Running;

const SETTINGS: &str = r#"[control]
name = "control"
state_dir = "state"

[listen]
api = "127.0.0.1:0"
gateways = "127.0.0.1:0"
ops = "127.0.0.1:0"

[tls]
certificate = "tls.pem"
key = "tls.key"

[trust]
gateway_ca = ["../ca/ca.pem"]
trust_domain = "loadtest.test"

[keys]
ring = "../keys.toml"
control = "../control.key"
control_id = "control"
revoker = "../revoker.key"
revoker_id = "revoker"

[api]
tokens = "tokens.toml"
requests_per_second = 100000
burst = 100000

[audit]
file = "events.jsonl"
"#;

/// A running control plane.
#[derive(Debug)]
pub(crate) struct Control {
    process: Running,
    addresses: Addresses,
    tls: Arc<ClientConfig>,
    token: String,
    dir: PathBuf,
}

/// What a control plane says of itself in its state directory.
#[derive(Debug, Deserialize)]
struct Addresses {
    pid: u32,
    api: SocketAddr,
    gateways: SocketAddr,
    ops: SocketAddr,
}

impl Control {
    /// Makes its files under `root`, starts it, and waits until it is ready.
    ///
    /// # Errors
    /// What could not be made, or the end of its log when it does not become ready.
    pub(super) fn start(root: &Path, program: &Program, authority: &Authority) -> anyhow::Result<Self> {
        let dir = root.join("control");
        fs::create_dir_all(&dir)?;
        let issued = authority.issue_control("control", &["localhost"], &[[127, 0, 0, 1].into()], 7 * DAY)?;
        issued.write(&dir.join("tls.pem"), &dir.join("tls.key"))?;
        let id = ["manifest", "keygen", "--id", "control", "--role", "control"];
        program.run(root, id.into_iter().chain(["--out", ".", "--keys", "keys.toml"]))?;
        fs::write(dir.join("control.toml"), SETTINGS)?;
        let (token, entry) = token()?;
        fs::write(dir.join("tokens.toml"), entry)?;
        let log = fs::File::create(dir.join("control.log"))?;
        let child = Command::new(program.path())
            .args(["control", "--config", "control.toml"])
            .current_dir(&dir)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the control plane")?;
        let mut process = Running(child);
        let began = Instant::now();
        let addresses = loop {
            if let Some(addresses) = ready(&dir, process.id()) {
                break addresses;
            }
            if process.0.try_wait()?.is_some() || began.elapsed() > START {
                bail!(
                    "the control plane does not become ready; the end of its log:\n{}",
                    tail(&dir.join("control.log"))
                );
            }
            std::thread::sleep(TICK);
        };
        let tls = tls(authority)?;
        Ok(Self { process, addresses, tls, token, dir })
    }

    /// Another connection to its API.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn api(&self) -> anyhow::Result<Api> {
        Api::connect(self.addresses.api, Arc::clone(&self.tls), &self.token)
    }

    /// Where gateways connect.
    pub(super) fn source(&self) -> String {
        format!("control:https://localhost:{}", self.addresses.gateways.port())
    }

    /// Has every manifest of a directory written down.
    ///
    /// # Errors
    /// The first that it does not take.
    pub(super) fn push(&self, manifests: &Path) -> anyhow::Result<()> {
        let mut api = self.api()?;
        for file in super::files_of(manifests)? {
            let envelope = fs::read(&file)?;
            api.done("PUT", "/api/v1/manifests", &envelope).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// Waits until its gateway follows all that is written down.
    ///
    /// # Errors
    /// When it does not in time.
    pub(super) fn followed(&self) -> anyhow::Result<()> {
        let mut api = self.api()?;
        let began = Instant::now();
        while began.elapsed() < START {
            let last = api.done("GET", "/api/v1/policy", b"")?;
            let last = sequence(&last);
            let listed = api.done("GET", "/api/v1/gateways", b"")?;
            let listed = listed.get("gateways").and_then(Value::as_array).cloned();
            let follows =
                |gateway: &Value| gateway["connected"] == true && gateway["sequence"].as_u64() >= last;
            if last.is_some() && listed.is_some_and(|listed| listed.iter().any(follows)) {
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
        bail!("the gateway does not follow the control plane")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        tail(&self.dir.join("control.log"))
    }
}

/// The sequence that an answer names.
fn sequence(said: &Value) -> Option<u64> {
    said.get("sequence")?.as_u64()
}

fn ready(dir: &Path, pid: u32) -> Option<Addresses> {
    let text = fs::read_to_string(dir.join("state/addresses.json")).ok()?;
    let addresses: Addresses = serde_json::from_str(&text).ok()?;
    let answer = ask(addresses.ops, "/readyz").ok()?;
    (addresses.pid == pid && answer.starts_with("HTTP/1.1 200")).then_some(addresses)
}

/// A token that may do everything, and its entry in the file of tokens.
fn token() -> anyhow::Result<(String, String)> {
    let provider = aws_lc_rs::default_provider();
    let mut secret = [0_u8; 32];
    let filled = provider.secure_random.fill(&mut secret);
    filled.map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    let token = format!("pct_load_{}", URL_SAFE_NO_PAD.encode(secret));
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    let hash = suite.context("a suite of TLS 1.3")?.common.hash_provider.hash(token.as_bytes());
    let digest: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = format!(
        "[[tokens]]\nid = \"load\"\nsha256 = \"{digest}\"\nowner = \"load@example.com\"\nroles = [\"admin\"]\n\
         expires = \"2099-01-01T00:00:00Z\"\n"
    );
    Ok((token, entry))
}

/// What the API's certificate is checked against.
fn tls(authority: &Authority) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes())?)?;
    let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}
