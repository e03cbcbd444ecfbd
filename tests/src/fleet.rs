//! A fleet: control planes, gateways that follow them, and the API that steers both.
//!
//! In reading order: [`Fleet`] is what a test holds, [`builder`] says how it is set up, [`control`] is the process of a
//! control plane, [`api`] speaks to it, and [`simulated`] are gateways without a process. Every gateway is a [`Site`] in a directory of its own.

pub mod api;
pub mod builder;
pub mod control;
pub mod simulated;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use policy_sync::SigningKey;
use policy_sync::transport::nats::NatsOptions;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use api::{Api, Role, Tokens};
pub use builder::FleetBuilder;
pub use control::ControlPlane;

use crate::device::{self, Device};
use crate::keys::Keys;
use crate::manifest::Draft;
use crate::pki::{Credentials, Pki};
use crate::policy::signed_manifest;
use crate::settings::Settings;
use crate::site::{Site, tail};
use crate::wait::{PATIENCE, eventually};

/// A control plane with its gateways.
#[derive(Debug)]
pub struct Fleet {
    /// The authority of devices, gateways and control planes.
    pub pki: Pki,
    /// What policy is signed with.
    pub keys: Keys,
    /// What the API is asked with.
    pub tokens: Tokens,
    /// The gateways: `gw-1`, `gw-2`, …
    pub gateways: Vec<Site>,
    /// The settings of the first control plane as they were written last.
    pub settings: Settings,
    member: Settings,
    /// The control planes: one, or several over NATS.
    planes: Vec<Option<ControlPlane>>,
    /// The keys of the gateways' reports, where these go over NATS.
    pub reports: Vec<SigningKey>,
    /// How gateways reach NATS servers, in turn; nothing where they do not.
    ways: Vec<NatsOptions>,
    // The last: processes end before their directory goes.
    dir: TempDir,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print();
        }
    }
}

impl Fleet {
    /// A fleet to be set up.
    #[must_use]
    pub fn builder() -> FleetBuilder {
        FleetBuilder::default()
    }

    /// So many gateways under one control plane, with these manifests.
    pub async fn with(gateways: usize, manifests: impl IntoIterator<Item = Draft>) -> Self {
        let builder = Self::builder().gateways(gateways);
        manifests.into_iter().fold(builder, FleetBuilder::manifest).start().await
    }

    /// The directory of everything.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The running control plane.
    ///
    /// # Panics
    /// When it is not running.
    #[must_use]
    pub fn control(&self) -> &ControlPlane {
        self.plane(0)
    }

    /// The same, to be asked for its end.
    ///
    /// # Panics
    /// When it is not running.
    pub fn control_mut(&mut self) -> &mut ControlPlane {
        self.planes[0].as_mut().expect("the control plane runs")
    }

    /// The control plane of this number, from 0.
    ///
    /// # Panics
    /// When it is not running.
    #[must_use]
    pub fn plane(&self, number: usize) -> &ControlPlane {
        self.planes[number].as_ref().expect("the control plane runs")
    }

    /// The API of the control plane of this number, from 0, with a token that has this role and no other.
    #[must_use]
    pub fn api_of(&self, plane: usize, role: Role) -> Api {
        Api::new(self.plane(plane).addresses.api, self.pki.roots(), self.tokens.of(role))
    }

    /// The API, with a token that has this role and no other.
    #[must_use]
    pub fn api(&self, role: Role) -> Api {
        self.api_with(self.tokens.of(role))
    }

    /// The API, with this token.
    #[must_use]
    pub fn api_with(&self, token: &str) -> Api {
        Api::new(self.control().addresses.api, self.pki.roots(), token)
    }

    /// A device with a certificate of its own, at the gateway of this number, from 0.
    #[must_use]
    pub fn device(&self, gateway: usize, device: &str) -> Device {
        self.device_with(gateway, self.pki.device(device))
    }

    /// A device with this certificate, at the gateway of this number, from 0.
    #[must_use]
    pub fn device_with(&self, gateway: usize, credentials: Credentials) -> Device {
        Device {
            credentials: Some(Arc::new(credentials)),
            gateway: self.entrance(gateway),
            roots: self.pki.roots(),
            versions: &device::TLS13,
            preamble: Vec::new(),
            resumption: rustls::client::Resumption::disabled(),
        }
    }

    /// Where the gateway of this number, from 0, listens for devices.
    #[must_use]
    pub fn entrance(&self, gateway: usize) -> SocketAddr {
        self.gateways[gateway].gateway().addresses.device[0]
    }

    /// Starts another gateway; it need not be ready yet.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn add_gateway(&mut self) {
        let site = builder::member(self, self.gateways.len() + 1).await;
        self.gateways.push(site);
    }

    /// Has the control plane write down a manifest, and waits until every running gateway enforces it.
    ///
    /// # Panics
    /// When the control plane refuses it.
    pub async fn push(&self, draft: &Draft) -> u64 {
        let sequence = self.submit(draft).await;
        self.enforced(sequence).await;
        sequence
    }

    /// Has the control plane write down a manifest, and says at which sequence.
    ///
    /// # Panics
    /// When the control plane refuses it.
    pub async fn submit(&self, draft: &Draft) -> u64 {
        let envelope = signed_manifest(draft, self.keys.issue(&draft.id_text()), &self.keys.author);
        let answer = self.api(Role::Author).push(&envelope).await.expect("an answer");
        assert!(answer.status < 300, "{answer:?}");
        sequence_of(&answer.json())
    }

    /// Revokes, waits for every running gateway, and returns the receipt.
    ///
    /// # Panics
    /// When it is refused, or a running gateway has not applied it in time.
    pub async fn revoke(&self, target: Value) -> Value {
        let receipt = self.api(Role::Revoker).revoke(&target, "for the test", PATIENCE).await;
        let running = self.gateways.iter().filter(|site| site.runs()).count();
        assert_eq!(receipt["applied"].as_array().map(Vec::len), Some(running), "{receipt}");
        receipt
    }

    /// Lifts a revocation by its sequence, and waits until every running gateway has followed.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn lift(&self, sequence: u64) {
        let answer = self.api(Role::Approver).lift(sequence).await.expect("an answer");
        assert!(answer.status < 300, "{answer:?}");
        self.enforced(sequence_of(&answer.json())).await;
    }

    /// Has the control plane write down the authority's current CRL, and waits until every running gateway enforces it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn crl(&self) {
        let answer = self.api(Role::Admin).crl(&self.pki.crl()).await.expect("an answer");
        assert!(answer.status < 300, "{answer:?}");
        self.enforced(sequence_of(&answer.json())).await;
    }

    /// What the control plane knows of its gateways.
    pub async fn listed(&self) -> Vec<Value> {
        self.try_listed().await.expect("the control plane lists its gateways")
    }

    async fn try_listed(&self) -> Option<Vec<Value>> {
        let answer = self.api(Role::Viewer).get(api::GATEWAYS).await.ok()?;
        answer.json()["gateways"].as_array().cloned()
    }

    /// The revocations that the control plane holds, lifted ones included.
    ///
    /// # Panics
    /// When it does not list them.
    pub async fn revocations(&self) -> Vec<Value> {
        let (api, mut all, mut after) = (self.api(Role::Viewer), Vec::new(), 0);
        loop {
            let path = format!("{}?limit=1000&after={after}", api::REVOCATIONS);
            let said = api.get(&path).await.expect("an answer").json();
            let list = said["revocations"].as_array();
            all.extend(list.unwrap_or_else(|| panic!("no list of revocations in {said}")).iter().cloned());
            match said["next"].as_u64() {
                Some(next) => after = next,
                None => return all,
            }
        }
    }

    /// Waits until the control plane lists exactly these gateways as connected, whatever others it knows.
    pub async fn connected(&self, names: &[&str]) {
        let what = format!("{names:?} are connected");
        eventually(PATIENCE, &what, async || {
            let listed = self.try_listed().await?;
            let connected = listed.iter().filter(|gateway| gateway["connected"] == json!(true));
            let mut connected: Vec<&str> = connected.filter_map(|gateway| gateway["name"].as_str()).collect();
            connected.sort_unstable();
            (connected == names).then_some(())
        })
        .await;
    }

    /// Waits until every running gateway is known to enforce what the log says up to this sequence.
    pub async fn enforced(&self, sequence: u64) {
        let what = format!("every gateway enforces sequence {sequence}");
        let running = || self.gateways.iter().filter(|site| site.runs());
        eventually(PATIENCE, &what, async || {
            let listed = self.try_listed().await?;
            let has = |site: &Site| {
                listed.iter().any(|gateway| {
                    gateway["name"] == site.name()
                        && gateway["connected"] == json!(true)
                        && gateway["sequence"].as_u64() >= Some(sequence)
                })
            };
            running().all(has).then_some(())
        })
        .await;
    }

    /// Waits until every running gateway is ready and connected.
    pub async fn ready(&self) {
        for site in self.gateways.iter().filter(|site| site.runs()) {
            site.ready().await;
        }
        let running = self.gateways.iter().filter(|site| site.runs());
        let mut names: Vec<String> = running.map(Site::name).collect();
        names.sort_unstable();
        self.connected(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// Ends the control plane without warning.
    pub fn crash_control(&mut self) {
        self.crash_plane(0);
    }

    /// Ends the control plane of this number, from 0, without warning.
    pub fn crash_plane(&mut self, number: usize) {
        self.planes[number] = None;
    }

    /// Ends the control plane in good order.
    ///
    /// # Panics
    /// When it does not end in time, or not well.
    pub async fn stop_control(&mut self) {
        self.control().signal(rustix::process::Signal::TERM);
        let status = self.control_mut().ended(PATIENCE).await;
        assert!(status.success(), "the control plane ended with {status}");
        self.planes[0] = None;
    }

    /// Starts an ended control plane over the same files and at the same addresses, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_control(&mut self) {
        self.start_control_within(PATIENCE).await;
    }

    /// The same, with so long to become ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_control_within(&mut self, limit: Duration) {
        self.start_plane_within(0, limit).await;
    }

    /// Starts the ended control plane of this number, from 0, within so long.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_plane_within(&mut self, number: usize, limit: Duration) {
        let started = ControlPlane::start(&self.dir.path().join(builder::place(number)), limit).await;
        self.planes[number] = Some(started.expect("the control plane starts again"));
    }

    /// Prints the ends of the logs of all processes.
    pub fn print(&self) {
        for place in (0..self.planes.len()).map(builder::place) {
            for file in ["control.log", "events.jsonl"] {
                let text =
                    std::fs::read_to_string(self.dir.path().join(&place).join(file)).unwrap_or_default();
                eprintln!("--- {place}/{file}\n{}", tail(&text));
            }
        }
    }
}

/// The sequence that an answer of the API names.
///
/// # Panics
/// When it names none.
#[must_use]
pub fn sequence_of(answer: &Value) -> u64 {
    answer["sequence"].as_u64().unwrap_or_else(|| panic!("no sequence in {answer}"))
}
