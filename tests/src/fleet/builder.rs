//! How a fleet is set up before anything of it starts.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::fleet::{ControlPlane, Fleet, Tokens};
use crate::gateway::Gateway;
use crate::keys::Keys;
use crate::manifest::Draft;
use crate::pki::{DAY, Pki};
use crate::settings::Settings;
use crate::site::Site;
use crate::wait::PATIENCE;

/// A fleet that has not started yet.
#[derive(Debug)]
pub struct FleetBuilder {
    gateways: usize,
    manifests: Vec<Draft>,
    control: Settings,
    member: Settings,
}

impl Default for FleetBuilder {
    fn default() -> Self {
        let (control, member) = (Settings::of_control(), Settings::of_member());
        Self { gateways: 1, manifests: Vec::new(), control, member }
    }
}

impl FleetBuilder {
    /// How many gateways there are.
    #[must_use]
    pub fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// Changes the settings of the control plane.
    #[must_use]
    pub fn control(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.control);
        self
    }

    /// Changes the settings of every gateway.
    #[must_use]
    pub fn member(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.member);
        self
    }

    /// Has this manifest written down before the gateways start.
    #[must_use]
    pub fn manifest(mut self, draft: Draft) -> Self {
        self.manifests.push(draft);
        self
    }

    /// Starts the control plane, has the manifests written down, starts the gateways and waits until all are ready.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(mut self) -> Fleet {
        let dir = tempfile::Builder::new().prefix("portcullis-fleet-").tempdir().expect("a directory");
        let pki = Pki::found(dir.path());
        let keys = Keys::found(dir.path());
        let place = dir.path().join("control");
        std::fs::create_dir(&place).expect("a directory");
        let tokens = Tokens::found(&place.join("tokens.toml"));
        let address = address();
        equip_control(&place, &pki, &keys, address);
        for listener in ["api", "gateways", "ops"] {
            if self.control.text(&format!("listen.{listener}")).is_some() {
                continue;
            }
            let ip = if listener == "ops" { Ipv4Addr::LOCALHOST } else { address };
            self.control.set(&format!("listen.{listener}"), format!("{ip}:0"));
        }
        self.control.write(&place.join("control.toml"));
        let control = ControlPlane::start(&place, PATIENCE).await;
        let control = control.unwrap_or_else(|status| {
            let log = std::fs::read_to_string(place.join("control.log")).unwrap_or_default();
            panic!("the control plane ended at its start: {status}\n{log}")
        });
        // From now on it listens where it listens: gateways find it again after a restart.
        let told = control.addresses.clone();
        self.control.set("listen.api", told.api.to_string());
        self.control.set("listen.ops", told.ops.to_string());
        let gateways = told.gateways.expect("a control plane with an embedded log listens for gateways");
        self.control.set("listen.gateways", gateways.to_string());
        if let Some(agents) = told.agents {
            self.control.set("listen.agents", agents.to_string());
        }
        self.control.write(&place.join("control.toml"));
        self.member.set("policy.source", format!("control:https://{gateways}"));
        let mut fleet = Fleet {
            pki,
            keys,
            tokens,
            gateways: Vec::new(),
            settings: self.control,
            member: self.member,
            control: Some(control),
            dir,
        };
        for draft in &self.manifests {
            fleet.submit(draft).await;
        }
        for _ in 0..self.gateways {
            fleet.add_gateway().await;
        }
        fleet.ready().await;
        fleet
    }
}

/// The files that a control plane reads.
fn equip_control(place: &Path, pki: &Pki, keys: &Keys, address: Ipv4Addr) {
    let issued = pki.authority.issue_control("control-1", &["localhost"], &[address.into()], DAY);
    let issued = issued.expect("a certificate");
    issued.write(&place.join("tls.pem"), &place.join("tls.key")).expect("the files are written");
    for (key, file) in
        [(&keys.control, "control.key"), (&keys.revoker, "revoker.key"), (&keys.approver, "approver.key")]
    {
        key.write(&place.join(file)).expect("the key is written");
    }
}

/// Starts the gateway of this number in a directory of its own.
pub(super) async fn member(fleet: &Fleet, number: usize) -> Site {
    let name = format!("gw-{number}");
    let place = fleet.dir().join(&name);
    std::fs::create_dir(&place).expect("a directory");
    let ip = Ipv4Addr::LOCALHOST.into();
    let issued = fleet.pki.authority.issue_gateway(&name, &["localhost"], &[ip], DAY).expect("a certificate");
    issued.write(&place.join("gateway.pem"), &place.join("gateway.key")).expect("the files are written");
    let mut settings = fleet.member.clone();
    settings.set("gateway.name", name);
    let file = place.join("gateway.toml");
    settings.write(&file);
    let gateway = Gateway::start(&place, &file, None).await;
    let mut site = Site { settings, gateway: None, dir: place };
    match gateway {
        Ok(gateway) => site.gateway = Some(gateway),
        Err(status) => panic!("a gateway ended at its start: {status}\n{}", site.log()),
    }
    site
}

/// An address of loopback that no other fleet uses: its ports stay free while its control plane is away.
fn address() -> Ipv4Addr {
    static FLEETS: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 63), low, FLEETS.fetch_add(1, Ordering::SeqCst))
}
