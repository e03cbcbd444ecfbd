//! What does a deployment consist of? Certificates, keys, a signed manifest, a token, settings: every file of the demo.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use certs::authority::{Authority, AuthorityFault, Issued};
use config::{ApiRole, DeviceId, ManifestDraft, Source, UserName};
use policy_sync::{KeyId, Role, SigningKey, sign_manifest};

use super::place::Place;
use super::ports::Ports;
use crate::cli::control::token;
use crate::cli::exit::{During as _, Failure};
use crate::cli::manifest::keygen::ring_entry;
use crate::cli::manifest::sign::line;
use crate::cli::policy;
use crate::cli::write;

/// Everything is good for a day.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The trust domain of the demo.
const DOMAIN: &str = "quickstart.example";
/// The device of the demo.
pub(super) const DEVICE: &str = "laptop-1";
/// The manifest of the demo.
pub(super) const MANIFEST: &str = "cm-quickstart";
/// The name of the demo's origin, which only the gateway can look up.
pub(super) const ORIGIN: &str = "origin.example";

/// What the demo still needs after everything is written.
#[derive(Debug)]
pub(super) struct Files {
    /// The origin's certificate.
    pub(super) origin: Issued,
}

impl Files {
    /// Writes everything.
    pub(super) fn write(place: &Place, ports: &Ports) -> Result<Self, Failure> {
        let fault = |fault: AuthorityFault| Failure::new(fault);
        let authority = Authority::init(&place.path("ca"), DOMAIN, DAY).map_err(fault)?;
        let gateway = authority
            .issue_gateway("gw-quickstart", &["localhost"], &[ports.device.ip()], DAY)
            .map_err(fault)?;
        gateway.write(&place.path("gateway.pem"), &place.path("gateway.key")).map_err(fault)?;
        let control = authority
            .issue_control("control-quickstart", &["localhost"], &[ports.api.ip()], DAY)
            .map_err(fault)?;
        control.write(&place.path("control.pem"), &place.path("control-tls.key")).map_err(fault)?;
        let device: DeviceId = DEVICE.parse().during("the device")?;
        let device = authority.issue_device(&device, None, DAY).map_err(fault)?;
        device.write(&place.path("device.pem"), &place.path("device.key")).map_err(fault)?;
        let crl = authority.crl(DAY).map_err(fault)?;
        public(place, "policy/crls/device-ca.pem", &crl)?;
        write_policy(place, ports.origin)?;
        write_token(place)?;
        public(place, "control.toml", &control_settings(ports))?;
        public(place, "gateway.toml", &gateway_settings(ports))?;
        public(place, "curl.conf", &curl_settings(place, ports))?;
        let world = Authority::init(&place.path("origin-ca"), "origin.example", DAY).map_err(fault)?;
        let origin = world.issue_gateway("origin", &[ORIGIN], &[], DAY).map_err(fault)?;
        Ok(Self { origin })
    }
}

fn public(place: &Place, name: &str, text: &str) -> Result<(), Failure> {
    write::replace(&place.path(name), text.as_bytes())
}

/// A token that may revoke and look, and what the control plane knows of it.
fn write_token(place: &Place) -> Result<(), Failure> {
    let owner: UserName = "you@example.com".parse().during("the owner of the token")?;
    let made = token::make(Some("quickstart"), &owner, &[ApiRole::Revoker, ApiRole::Viewer], DAY)?;
    public(place, "tokens.toml", &made.entry)?;
    let mut file = std::fs::OpenOptions::new();
    let path = place.path("token");
    let written = file.write(true).create_new(true).mode(0o600).open(&path);
    written.and_then(|mut file| file.write_all(made.token.as_bytes())).during(path.display())
}

/// Keys with one role each, and the manifest signed by the first.
fn write_policy(place: &Place, origin: SocketAddr) -> Result<(), Failure> {
    let mut ring = String::from("# Whose signatures count, and for what.\n");
    let mut author = None;
    for role in [Role::Author, Role::Revoker, Role::Approver, Role::Control] {
        let id = KeyId::new(role.as_str())
            .ok_or_else(|| Failure::new("the name of a role is no name of a key"))?;
        let key = SigningKey::generate(id).map_err(Failure::new)?;
        key.write(&place.path(&format!("{role}.key"))).map_err(Failure::new)?;
        ring.push_str(&format!("\n{}", ring_entry(&key, &[role])));
        author = author.or(Some(key));
    }
    public(place, "keys.toml", &ring)?;
    let manifest = manifest(origin.port());
    public(place, "manifest.yaml", &manifest)?;
    let draft = ManifestDraft::read(&Source::new("manifest.yaml", manifest))?;
    let author = author.ok_or_else(|| Failure::new("no key was made"))?;
    let envelope = sign_manifest(draft, policy::now(), &author);
    std::fs::create_dir_all(place.path("policy/revocations")).during("policy/revocations")?;
    public(place, &format!("policy/manifests/{MANIFEST}.dsse.json"), &line(&envelope))
}

fn manifest(origin: u16) -> String {
    format!(
        "# What the demo's agent may do. Signed into policy/manifests.\n\
         id: {MANIFEST}\n\
         agent: demo-agent\n\
         identity:\n\
         \x20 user: you@example.com\n\
         \x20 device: {DEVICE}\n\
         capabilities:\n\
         \x20 network:\n\
         \x20   allow:\n\
         \x20     - host: {ORIGIN}:{origin}\n\
         \x20       tls: sni\n\
         \x20   upload_bytes_per_session: 1MiB\n\
         \x20   upload_bytes: 20MiB\n\
         \x20   sessions: 16\n\
         ttl_seconds: 43200\n"
    )
}

fn gateway_settings(ports: &Ports) -> String {
    let Ports { device, admin, pac, gateways, .. } = ports;
    format!(
        "# The settings of the demo's gateway. `portcullis check` checks such a file; deploy/examples/gateway.toml has every key.\n\
         [gateway]\nname = \"gw-quickstart\"\nstate_dir = \"state\"\n\
         # It begins without a policy, which is no news here.\nlog = \"warn,proxy::sweep=error\"\n\n\
         [listen]\ndevice = [\"{device}\"]\nadmin = \"{admin}\"\npac = \"{pac}\"\npac_proxy = \"{device}\"\n\n\
         [tls]\ncertificate = \"gateway.pem\"\nkey = \"gateway.key\"\n\n\
         [trust]\ndevice_ca = [\"ca/ca.pem\"]\ntrust_domain = \"{DOMAIN}\"\n\n\
         [policy]\nsource = \"control:https://{gateways}\"\nkeys = \"keys.toml\"\n\n\
         [control]\nca = \"ca/ca.pem\"\n\n\
         [destinations]\n# The demo's origin is on this machine, where no manifest reaches unless this permits it.\n\
         internal = [\"127.0.0.1/32\"]\n\n\
         [dns]\nhosts = {{ \"{ORIGIN}\" = [\"127.0.0.1\"] }}\n\n\
         [limits]\nconnections = 256\n\n\
         [deadlines]\ndrain = \"1s\"\n\n\
         [audit]\nfile = \"events.jsonl\"\n"
    )
}

fn control_settings(ports: &Ports) -> String {
    let Ports { api, gateways, ops, .. } = ports;
    format!(
        "# The settings of the demo's control plane; deploy/examples/control.toml has every key.\n\
         [control]\nname = \"control-quickstart\"\nstate_dir = \"control-state\"\nlog = \"warn\"\n\n\
         [listen]\napi = \"{api}\"\ngateways = \"{gateways}\"\nops = \"{ops}\"\n\n\
         [tls]\ncertificate = \"control.pem\"\nkey = \"control-tls.key\"\n\n\
         [trust]\ngateway_ca = [\"ca/ca.pem\"]\ntrust_domain = \"{DOMAIN}\"\n\n\
         [keys]\nring = \"keys.toml\"\ncontrol = \"control.key\"\ncontrol_id = \"control\"\n\
         revoker = \"revoker.key\"\nrevoker_id = \"revoker\"\n\
         approver = \"approver.key\"\napprover_id = \"approver\"\n\n\
         [policy]\n# What is signed into this directory is brought into the log.\ndirectory = \"policy\"\n\n\
         [api]\ntokens = \"tokens.toml\"\n\n\
         [audit]\nfile = \"control-events.jsonl\"\n"
    )
}

/// The long half of every curl line.
fn curl_settings(place: &Place, ports: &Ports) -> String {
    let file = |name: &str| place.path(name).display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "# For `curl --config`: through the gateway, as the demo's device.\n\
         proxy = \"https://{}\"\nproxy-cacert = \"{}\"\nproxy-cert = \"{}\"\nproxy-key = \"{}\"\ncacert = \"{}\"\n",
        ports.device,
        file("ca/ca.pem"),
        file("device.pem"),
        file("device.key"),
        file("origin-ca/ca.pem"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{ApiToken, ControlSettings, GatewaySettings};

    #[test]
    fn every_file_is_one_that_its_program_takes() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::take(directory.path()).unwrap();
        let ports = Ports::find([0; 7]).unwrap();
        Files::write(&place, &ports).unwrap();
        let source = |name: &str| Source::open(&place.path(name)).unwrap();
        let settings = GatewaySettings::read(&source("gateway.toml")).unwrap();
        let control = ControlSettings::read(&source("control.toml")).unwrap();
        assert_eq!(ApiToken::read_all(&Source::open(&control.api.tokens).unwrap()).unwrap().len(), 1);
        let ring = policy::ring(&settings.policy.keys).unwrap();
        let offline = policy::read(
            &control.policy.directory.unwrap(),
            &ring,
            &policy_sync::Approvals::default(),
            policy::bounds(Some(&settings)),
        )
        .unwrap();
        assert_eq!(offline.ignored, []);
        assert_eq!(offline.snapshot.manifest_count(), 1);
    }
}
