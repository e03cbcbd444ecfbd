//! How a fleet is set up before anything of it starts.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use policy_sync::transport::nats::NatsOptions;

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
    planes: Vec<NatsOptions>,
    members: Vec<NatsOptions>,
    enrolled: usize,
}

impl Default for FleetBuilder {
    fn default() -> Self {
        let (control, member) = (Settings::of_control(), Settings::of_member());
        Self {
            gateways: 1,
            manifests: Vec::new(),
            control,
            member,
            planes: Vec::new(),
            members: Vec::new(),
            enrolled: 0,
        }
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

    /// Has NATS servers keep the log: a control plane for each way to them, and gateways that take theirs in turn.
    #[must_use]
    pub fn over(mut self, planes: Vec<NatsOptions>, gateways: Vec<NatsOptions>) -> Self {
        (self.planes, self.members) = (planes, gateways);
        self
    }

    /// Makes keys for the reports of so many gateways, though fewer may be started.
    #[must_use]
    pub fn enrolled(mut self, count: usize) -> Self {
        self.enrolled = count;
        self
    }

    /// Has this manifest written down before the gateways start.
    #[must_use]
    pub fn manifest(mut self, draft: Draft) -> Self {
        self.manifests.push(draft);
        self
    }

    /// Starts the control planes, has the manifests written down, starts the gateways and waits until all are ready.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(mut self) -> Fleet {
        let dir = tempfile::Builder::new().prefix("portcullis-fleet-").tempdir().expect("a directory");
        let pki = Pki::found(dir.path());
        let keys = Keys::found(dir.path());
        let mut reports = Vec::new();
        if !self.planes.is_empty() {
            let enrolled = self.gateways.max(self.enrolled);
            let names: Vec<_> = (1..=enrolled).map(|number| format!("gw-{number}")).collect();
            reports = keys.enrol(dir.path(), &names);
        }
        std::fs::create_dir(dir.path().join(place(0))).expect("a directory");
        let tokens = Tokens::found(&dir.path().join(place(0)).join("tokens.toml"));
        let (first, settings) = self.start_plane(0, dir.path(), &pki, &keys).await;
        let mut planes = vec![Some(first)];
        for number in 1..self.planes.len() {
            planes.push(Some(self.start_plane(number, dir.path(), &pki, &keys).await.0));
        }
        let mut fleet = Fleet {
            pki,
            keys,
            tokens,
            gateways: Vec::new(),
            settings,
            member: self.member,
            planes,
            reports,
            ways: self.members,
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

    /// Starts the control plane of this number. Its settings have it listen where it listens, from now on.
    async fn start_plane(
        &mut self,
        number: usize,
        dir: &Path,
        pki: &Pki,
        keys: &Keys,
    ) -> (ControlPlane, Settings) {
        let place = dir.join(place(number));
        if number > 0 {
            std::fs::create_dir(&place).expect("a directory");
            std::fs::copy(dir.join(self::place(0)).join("tokens.toml"), place.join("tokens.toml"))
                .expect("a copy");
        }
        let address = address();
        equip_control(&place, pki, keys, address);
        let mut settings = self.control.clone();
        settings.set("control.name", format!("control-{}", number + 1));
        match self.planes.get(number) {
            Some(nats) => {
                settings.reach("store.source", nats);
                self.member.leave_out("control");
            }
            None => listen(&mut settings, "gateways", address),
        }
        listen(&mut settings, "ops", Ipv4Addr::LOCALHOST);
        listen(&mut settings, "api", address);
        settings.write(&place.join("control.toml"));
        let control = ControlPlane::start(&place, 2 * PATIENCE).await;
        let control = control.unwrap_or_else(|status| {
            let log = std::fs::read_to_string(place.join("control.log")).unwrap_or_default();
            panic!("the control plane ended at its start: {status}\n{log}")
        });
        // From now on it listens where it listens: gateways find it again after a restart.
        let told = control.addresses.clone();
        settings.set("listen.api", told.api.to_string()).set("listen.ops", told.ops.to_string());
        if let Some(gateways) = told.gateways {
            settings.set("listen.gateways", gateways.to_string());
            self.member.set("policy.source", format!("control:https://{gateways}"));
        }
        if let Some(agents) = told.agents {
            settings.set("listen.agents", agents.to_string());
        }
        settings.write(&place.join("control.toml"));
        (control, settings)
    }
}

/// Has it listen on a port that the system picks, unless the settings say where.
fn listen(settings: &mut Settings, listener: &str, address: Ipv4Addr) {
    let path = format!("listen.{listener}");
    if settings.text(&path).is_none() {
        settings.set(&path, format!("{address}:0"));
    }
}

/// The directory of the control plane of this number, from 0.
pub(super) fn place(number: usize) -> String {
    if number == 0 { "control".to_owned() } else { format!("control-{}", number + 1) }
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
    if let Some(nats) = fleet.ways.iter().cycle().nth(number - 1) {
        settings.reach("policy.source", nats);
        settings.set("nats.report_key", format!("../{name}.report")).set("nats.report_key_id", name.clone());
    }
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
